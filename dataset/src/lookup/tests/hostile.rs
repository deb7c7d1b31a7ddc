//! Files that lie: an error or the right row, never a panic or memory without end.

use super::*;
use arrow::array::{ArrayRef, DictionaryArray, Int32Array, StringArray};
use arrow::datatypes::{Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::metadata::{
    ColumnChunkMetaDataBuilder, FileMetaData, ParquetMetaData, ParquetMetaDataReader, ParquetMetaDataWriter,
    RowGroupMetaData,
};
use parquet::file::properties::WriterProperties;
use std::path::Path;

const FILE: &str = "data/train-00000-of-00001.parquet";

fn pairs(count: u32) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut update = SourceUpdate::pairs(folder.path(), "book").unwrap();
    for number in 0..count {
        update.push_pair(drawn_pair("book", number)).unwrap();
    }
    update.commit().unwrap();
    folder
}

/// Writes the file's footer anew: its row groups with so many rows, its columns as
/// `column` makes them.
fn with_footer(
    path: &Path,
    rows: Option<i64>,
    column: impl Fn(ColumnChunkMetaDataBuilder) -> ColumnChunkMetaDataBuilder,
) {
    let mut bytes = std::fs::read(path).unwrap();
    let found = ParquetMetaDataReader::new()
        .parse_and_finish(&bytes::Bytes::from(bytes.clone()))
        .unwrap();
    let groups: Vec<RowGroupMetaData> = found
        .row_groups()
        .iter()
        .map(|group| {
            let columns = group
                .columns()
                .iter()
                .map(|found| column(found.clone().into_builder()).build().unwrap());
            let columns = columns.collect();
            let builder = group.clone().into_builder().set_column_metadata(columns);
            builder.set_num_rows(rows.unwrap_or(group.num_rows())).build().unwrap()
        })
        .collect();
    let file = found.file_metadata();
    let all = groups
        .iter()
        .map(RowGroupMetaData::num_rows)
        .fold(0, i64::saturating_add);
    let file = FileMetaData::new(
        file.version(),
        all,
        file.created_by().map(str::to_owned),
        file.key_value_metadata().cloned(),
        file.schema_descr_ptr(),
        file.column_orders().cloned(),
    );
    let footer = bytes.split_off(bytes.len() - 8);
    let length = u32::from_le_bytes(footer[..4].try_into().unwrap()) as usize;
    bytes.truncate(bytes.len() - length);
    let metadata = ParquetMetaData::new(file, groups);
    ParquetMetaDataWriter::new(&mut bytes, &metadata).finish().unwrap();
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn numbers_of_rows_beyond_measure_are_lies() {
    let folder = pairs(330);
    let path = folder.path().join(FILE);
    // Four such files would not fit into 64 bits.
    with_footer(&path, Some(i64::MAX / 4), |column| column.set_num_values(i64::MAX / 4));
    let dataset = Dataset::open(folder.path()).unwrap();
    let error = dataset.pair_reader(Columns::All).err().unwrap().to_string();
    assert!(error.contains("lies about the number of rows"), "{error}");
    let error = crate::query::run(&dataset, "SELECT COUNT(*) FROM pairs").unwrap_err();
    assert!(error.to_string().contains("train-00000-of-00001"), "{error}");
}

#[test]
fn a_bloom_filter_without_bits_rules_nothing_out() {
    let folder = pairs(230);
    let path = folder.path().join(FILE);
    let wanted = drawn_pair("book", 155);
    let file = ParquetFile::open(&path, Purpose::SingleRows).unwrap();
    let leaf = file.leaf("id").unwrap();
    let length = file.metadata().row_group(0).column(leaf).bloom_filter_length().unwrap();
    let bits = file.filter(0, leaf).unwrap().unwrap().num_blocks() * 32;
    // Nothing but the filter's header is left.
    let header = length - i32::try_from(bits).unwrap();
    with_footer(&path, None, |column| column.set_bloom_filter_length(Some(header)));
    let file = ParquetFile::open(&path, Purpose::SingleRows).unwrap();
    assert!(file.filter(0, leaf).unwrap().is_none());
    let dataset = Dataset::open(folder.path()).unwrap();
    let reader = dataset.pair_reader(Columns::All).unwrap();
    assert_eq!(reader.by_id(&wanted.id).unwrap(), Some(wanted));
    assert_eq!(reader.by_id("pair-unknown").unwrap(), None);
}

#[test]
fn codes_that_stand_for_terabytes_are_not_held() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    let rows: Vec<PairRecord> = (0..400).map(|number| drawn_pair("book", number)).collect();
    let batch = PairRecord::to_batch(&rows).unwrap();
    // One caption of a mebibyte, 400 times.
    let caption = "macula ".repeat((1 << 20) / 7);
    let values: ArrayRef = Arc::new(StringArray::from(vec![caption.as_str()]));
    let codes = DictionaryArray::new(Int32Array::from(vec![0; rows.len()]), values);
    let at = batch.schema().index_of("caption_figure").unwrap();
    let (mut columns, schema) = (batch.columns().to_vec(), batch.schema());
    let mut fields: Vec<_> = schema.fields().to_vec();
    columns[at] = Arc::new(codes);
    fields[at] = Arc::new(Field::new("caption_figure", columns[at].data_type().clone(), true));
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    // Compressed in a way that our own pages are not.
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_dictionary_page_size_limit(4 << 20);
    let file = std::fs::File::create(folder.path().join(FILE)).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties.build())).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    assert!(std::fs::metadata(folder.path().join(FILE)).unwrap().len() < 4 << 20);
    let reader = Dataset::open(folder.path()).unwrap().pair_reader(Columns::All).unwrap();
    assert!(matches!(*reader.group(0, 0).unwrap(), Group::Large));
    let row = reader.at(377).unwrap();
    assert_eq!(
        (row.id.as_str(), row.caption_figure),
        (rows[377].id.as_str(), Some(caption))
    );
    assert_eq!(reader.by_id(&rows[3].id).unwrap().unwrap().id, rows[3].id);
}
