//! Checks of Parquet files as wholes: names, schema, layout.

use super::Report;
use crate::error::Result;
use crate::parquet_file::{ParquetFile, Purpose};
use crate::read::{Dataset, file_stem};
use crate::schema::{HUGGINGFACE_KEY, SCHEMA_VERSION, Table, VERSION_KEY, arrow_schema};
use crate::shard::{MAX_ROW_GROUP_BYTES, MAX_ROW_GROUP_ROWS, shard_stem};
use arrow::datatypes::{DataType, Schema};
use parquet::basic::Compression;
use parquet::file::metadata::ParquetMetaData;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A readable Parquet file of the folder.
pub(super) struct ShardFile {
    pub table: Table,
    pub path: PathBuf,
    /// Relative name such as `data/train-00000-of-00001.parquet`.
    pub name: String,
    pub stem: String,
    pub rows: u64,
}

pub(super) fn check_table(dataset: &Dataset, table: Table, report: &mut Report) -> Result<Vec<ShardFile>> {
    let mut shards = Vec::new();
    for path in dataset.files(table)? {
        let file_name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let name = format!("{}/{file_name}", table.folder());
        let file = match ParquetFile::open(&path, Purpose::Check) {
            Ok(file) => file,
            Err(error) => {
                report.problem("parquet", name, error.to_string());
                continue;
            }
        };
        check_schema(table, &name, file.schema(), file.metadata(), report);
        check_layout(table, &name, file.metadata(), report);
        check_pages(&name, file.metadata(), report);
        let rows = file.rows();
        let stem = file_stem(&path).unwrap_or_default();
        let counter = match table {
            Table::Labels => format!("labels/{stem}"),
            _ => table.name().to_owned(),
        };
        *report.rows.entry(counter).or_default() += rows;
        shards.push(ShardFile {
            table,
            path,
            name,
            stem,
            rows,
        });
    }
    check_names(&shards, report);
    Ok(shards)
}

/// Shards of one stem count from 0 to n-1 and agree on n.
fn check_names(shards: &[ShardFile], report: &mut Report) {
    let mut by_stem: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for shard in shards {
        let file_name = shard.name.rsplit('/').next().unwrap_or_default();
        if shard_stem(file_name).is_none() {
            report.warning("name", &shard.name, "name is not like NAME-00000-of-00001.parquet");
            continue;
        }
        by_stem.entry(&shard.stem).or_default().push(&shard.name);
    }
    for (stem, names) in by_stem {
        let folder = names[0].split('/').next().unwrap_or_default();
        for (index, name) in names.iter().enumerate() {
            let expected = format!("{folder}/{stem}-{index:05}-of-{:05}.parquet", names.len());
            if *name != expected {
                let message =
                    format!("expected `{expected}`: a shard is missing or left over; ingest the sources again");
                report.problem("name", *name, message);
                break;
            }
        }
    }
}

fn check_schema(table: Table, name: &str, found: &Schema, metadata: &ParquetMetaData, report: &mut Report) {
    let expected = arrow_schema(table);
    for field in expected.fields() {
        let Ok(actual) = found.field_with_name(field.name()) else {
            report.problem("schema", name, format!("column `{}` is missing", field.name()));
            continue;
        };
        if let Some(difference) = difference(field.data_type(), actual.data_type()) {
            report.problem("schema", name, format!("column `{}`: {difference}", field.name()));
        }
        if !actual.is_nullable() {
            let message = format!("column `{}` is not nullable; readers expect that it is", field.name());
            report.problem("schema", name, message);
        }
    }
    for field in found.fields() {
        if expected.field_with_name(field.name()).is_err() {
            report.warning(
                "schema",
                name,
                format!("column `{}` is not part of the format", field.name()),
            );
        }
    }
    let in_arrow = found.metadata().get(HUGGINGFACE_KEY);
    let key_values = metadata.file_metadata().key_value_metadata();
    let in_file = |key: &str| {
        let found = key_values.into_iter().flatten().find(|pair| pair.key == key);
        found.and_then(|pair| pair.value.as_ref())
    };
    match (in_arrow, in_file(HUGGINGFACE_KEY)) {
        (None, _) | (_, None) => {
            let message = "no Hugging Face features in the Arrow schema and the file's key-value metadata; images load as plain dicts";
            report.problem("schema", name, message);
        }
        (Some(arrow), Some(file)) if arrow != file => {
            report.problem(
                "schema",
                name,
                "Hugging Face features differ between Arrow schema and file metadata",
            );
        }
        (Some(text), _) => {
            let wanted = &expected.metadata()[HUGGINGFACE_KEY];
            let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
            if parse(text) != parse(wanted) {
                report.warning("schema", name, "Hugging Face features are not those of this format");
            }
        }
    }
    match in_file(VERSION_KEY) {
        Some(version) if version == SCHEMA_VERSION => {}
        Some(version) => {
            let message = format!("schema version {version}; this program knows version {SCHEMA_VERSION}");
            report.problem("schema", name, message);
        }
        None => report.warning(
            "schema",
            name,
            format!("no `{VERSION_KEY}`; another program wrote this file"),
        ),
    }
}

/// Why `found` would not load as `expected`; the name of list items is free.
fn difference(expected: &DataType, found: &DataType) -> Option<String> {
    match (expected, found) {
        (DataType::List(a), DataType::List(b)) => difference(a.data_type(), b.data_type()),
        (DataType::Struct(a), DataType::Struct(b)) => {
            let names = |fields: &arrow::datatypes::Fields| -> Vec<String> {
                fields.iter().map(|field| field.name().clone()).collect()
            };
            if names(a) != names(b) {
                return Some(format!(
                    "fields are [{}], expected [{}] in this order",
                    names(b).join(", "),
                    names(a).join(", ")
                ));
            }
            a.iter().zip(b.iter()).find_map(|(a, b)| {
                if !b.is_nullable() {
                    return Some(format!("field `{}` is not nullable", b.name()));
                }
                let inner = difference(a.data_type(), b.data_type())?;
                Some(format!("field `{}`: {inner}", b.name()))
            })
        }
        (a, b) if a == b => None,
        (a, b) => Some(format!("type is {b}, expected {a}")),
    }
}

fn check_layout(table: Table, name: &str, metadata: &ParquetMetaData, report: &mut Report) {
    for (index, group) in metadata.row_groups().iter().enumerate() {
        let rows = usize::try_from(group.num_rows()).unwrap_or(usize::MAX);
        let bytes = usize::try_from(group.total_byte_size()).unwrap_or(usize::MAX);
        // One picture may be larger than a row group should be.
        if rows > MAX_ROW_GROUP_ROWS || (bytes > MAX_ROW_GROUP_BYTES + (1 << 20) && rows > 1) {
            let message = format!(
                "row group {index} has {rows} rows and {bytes} bytes; at most {MAX_ROW_GROUP_ROWS} rows or {MAX_ROW_GROUP_BYTES} bytes serve random access"
            );
            report.warning("layout", name, message);
            break;
        }
    }
    if table == Table::Text {
        return;
    }
    let packed = metadata
        .row_groups()
        .iter()
        .flat_map(|group| group.columns())
        .find(|column| {
            column.column_path().string() == "image.bytes" && column.compression() != Compression::UNCOMPRESSED
        });
    if packed.is_some() {
        report.warning(
            "layout",
            name,
            "`image.bytes` is compressed; pictures already are, so this only costs time",
        );
    }
}

/// Every page holds rows: pyarrow, and with it pandas and Hugging Face
/// `datasets`, takes a page without any for the end of the column and loses
/// the rows behind it. Some writers make such pages at the borders of
/// content-defined chunks.
fn check_pages(name: &str, metadata: &ParquetMetaData, report: &mut Report) {
    for (group, of_group) in metadata.row_groups().iter().enumerate() {
        let index = metadata.page_index_for_row_group(group);
        for (at, column) in of_group.columns().iter().enumerate() {
            let Some(pages) = index.page_locations(at) else {
                continue;
            };
            let firsts = pages.iter().map(|page| page.first_row_index);
            let ends = firsts.clone().skip(1).chain([of_group.num_rows()]);
            if firsts.zip(ends).any(|(first, end)| first >= end) && of_group.num_rows() > 0 {
                let message = format!(
                    "row group {group}, column `{}`: a page holds no rows; pyarrow and pandas lose the row group's \
                     rows, so ingest the source again, or copy the folder with `dataset merge`",
                    column.column_path().string()
                );
                report.problem("pages", name, message);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use arrow::datatypes::Field;

    #[test]
    fn shapes_that_load_as_dicts_are_told() {
        let schema = arrow_schema(Table::Pairs);
        let good = schema.field_with_name("image").unwrap().data_type().clone();
        assert_eq!(difference(&good, &good), None);
        let bytes = |nullable| Field::new("bytes", DataType::Binary, nullable);
        let path = Field::new("path", DataType::Utf8, true);
        let swapped = DataType::Struct(vec![path.clone(), bytes(true)].into());
        assert!(difference(&good, &swapped).unwrap().contains("in this order"));
        let strict = DataType::Struct(vec![bytes(false), path.clone()].into());
        assert!(difference(&good, &strict).unwrap().contains("not nullable"));
        let large = Field::new("bytes", DataType::LargeBinary, true);
        let large = DataType::Struct(vec![large, path].into());
        assert!(difference(&good, &large).unwrap().contains("LargeBinary"));
        let list = |name: &str| DataType::List(Field::new(name, DataType::Utf8, true).into());
        assert_eq!(difference(&list("element"), &list("item")), None);
    }

    /// Content-defined chunks that begin with a row group: the writer ends a
    /// page before the first row.
    #[test]
    fn pages_without_rows_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let schema = std::sync::Arc::new(Schema::new(vec![Field::new("id", DataType::Utf8, true)]));
        let write = |name: &str, chunks| {
            let path = folder.path().join(name);
            let properties = parquet::file::properties::WriterProperties::builder()
                .set_content_defined_chunking(chunks)
                .build();
            let file = std::fs::File::create(&path).unwrap();
            let mut writer = parquet::arrow::ArrowWriter::try_new(file, schema.clone(), Some(properties)).unwrap();
            for group in 0..200 {
                let ids: Vec<String> = (0..10).map(|row| format!("row-{group}-{row}")).collect();
                let ids = arrow::array::StringArray::from(ids);
                let batch = arrow::array::RecordBatch::try_new(schema.clone(), vec![std::sync::Arc::new(ids)]).unwrap();
                writer.write(&batch).unwrap();
                writer.flush().unwrap();
            }
            writer.close().unwrap();
            let mut report = Report::default();
            check_pages(
                name,
                ParquetFile::open(&path, Purpose::Check).unwrap().metadata(),
                &mut report,
            );
            report.problems.get("pages").copied()
        };
        let chunks = parquet::file::properties::CdcOptions {
            min_chunk_size: 64,
            max_chunk_size: 128,
            norm_level: 0,
        };
        assert_eq!(write("chunked.parquet", Some(chunks)), Some(1));
        assert_eq!(write("plain.parquet", None), None);
    }
}
