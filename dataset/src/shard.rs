//! Writes sorted rows into Parquet shards by the rules of the data format.

use crate::error::{DatasetError, Result};
use crate::rows::Row;
use crate::schema::{HUGGINGFACE_KEY, Table, VERSION_KEY, arrow_schema};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::schema::types::ColumnPath;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Most rows of a row group: few enough for quick random access to images.
pub const MAX_ROW_GROUP_ROWS: usize = 100;
/// A row group is closed before it grows beyond this many bytes.
pub const MAX_ROW_GROUP_BYTES: usize = 64 << 20;
/// Rows of a row group of the copy without image bytes, which is scanned whole.
const METADATA_ROW_GROUP_ROWS: usize = 65_536;
/// A shard is closed once it has this many bytes.
pub const SHARD_BYTES: usize = 500_000_000;
/// zstd level of compressed columns.
const ZSTD_LEVEL: i32 = 3;
/// Columns of the shards that are compressed. In groups of 100 rows all others
/// are a few bytes or kilobytes a page after dictionary encoding, and setting
/// up the compressor would cost more than all other work of reading them.
const COMPRESSED_COLUMNS: [&str; 4] = ["caption_en", "caption_zh", "caption_figure", "text"];
/// Pages of image bytes end after this many bytes, so that one picture costs
/// little more than its own bytes to read.
const IMAGE_PAGE_BYTES: usize = 16 << 10;
/// Share of false positives of the bloom filters: a million rows are ten
/// thousand row groups, of which one is looked into in vain.
const BLOOM_FALSE_POSITIVES: f64 = 1e-4;
/// Columns that are looked up by value.
const BLOOM_COLUMNS: [&str; 3] = ["id", "image_sha256", "source_id"];

/// The writer's settings for a schema.
pub(crate) fn writer_properties(schema: &SchemaRef) -> WriterProperties {
    let image_bytes = ColumnPath::new(vec!["image".to_owned(), "bytes".to_owned()]);
    let key_values = [HUGGINGFACE_KEY, VERSION_KEY]
        .iter()
        .filter_map(|&key| {
            let value = schema.metadata().get(key)?;
            Some(KeyValue::new(key.to_owned(), value.clone()))
        })
        .collect();
    let zstd = Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL).unwrap_or_default());
    // The copy without images has large row groups: everything is compressed.
    let has_images_or_texts = schema.metadata().contains_key(HUGGINGFACE_KEY);
    let usual = if has_images_or_texts {
        Compression::UNCOMPRESSED
    } else {
        zstd
    };
    let mut builder = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_key_value_metadata(Some(key_values))
        .set_max_row_group_row_count(Some(METADATA_ROW_GROUP_ROWS))
        .set_compression(usual)
        .set_dictionary_enabled(true)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_column_compression(image_bytes.clone(), Compression::UNCOMPRESSED)
        .set_column_encoding(image_bytes.clone(), Encoding::PLAIN)
        .set_column_dictionary_enabled(image_bytes.clone(), false)
        .set_column_data_page_size_limit(image_bytes.clone(), IMAGE_PAGE_BYTES)
        .set_column_statistics_enabled(image_bytes, EnabledStatistics::None);
    for name in COMPRESSED_COLUMNS {
        builder = builder.set_column_compression(ColumnPath::from(name), zstd);
    }
    for name in BLOOM_COLUMNS {
        let column = ColumnPath::from(name);
        builder = builder
            .set_column_bloom_filter_enabled(column.clone(), true)
            .set_column_bloom_filter_fpp(column.clone(), BLOOM_FALSE_POSITIVES)
            .set_column_bloom_filter_max_ndv(column, MAX_ROW_GROUP_ROWS as u64);
    }
    builder.build()
}

/// One Parquet file being written.
pub(crate) struct FileWriter {
    path: PathBuf,
    writer: ArrowWriter<File>,
}

impl FileWriter {
    pub fn create(path: PathBuf, schema: SchemaRef) -> Result<Self> {
        let file = File::create(&path).map_err(|e| DatasetError::io(&path, "create", e))?;
        let properties = writer_properties(&schema);
        let writer =
            ArrowWriter::try_new(file, schema, Some(properties)).map_err(|e| DatasetError::parquet(&path, &e))?;
        Ok(Self { path, writer })
    }

    /// Writes one row group.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.writer
            .write(batch)
            .and_then(|()| self.writer.flush())
            .map_err(|e| DatasetError::parquet(&self.path, &e))
    }

    /// Adds rows; the settings decide where row groups end.
    pub fn append(&mut self, batch: &RecordBatch) -> Result<()> {
        self.writer
            .write(batch)
            .map_err(|e| DatasetError::parquet(&self.path, &e))
    }

    pub fn bytes(&self) -> usize {
        self.writer.bytes_written()
    }

    /// Adds a line to the file's key-value metadata.
    pub fn describe(&mut self, key: &str, value: String) {
        self.writer
            .append_key_value_metadata(KeyValue::new(key.to_owned(), value));
    }

    pub fn close(self) -> Result<()> {
        let path = self.path;
        self.writer.close().map_err(|e| DatasetError::parquet(&path, &e))?;
        Ok(())
    }
}

/// A finished shard: its name in the staging folder and the stem of its final name.
pub(crate) struct Shard {
    pub staged: String,
    pub stem: String,
}

/// Sees every row group before it is written.
type Tap<R> = Box<dyn FnMut(&[R]) -> Result<()>>;

/// Takes sorted rows and writes shards `PREFIX-0`, `PREFIX-1`, ... into a folder.
pub(crate) struct ShardWriter<R: Row> {
    folder: PathBuf,
    shard_bytes: usize,
    open: Option<FileWriter>,
    stem: String,
    rows: Vec<R>,
    size: usize,
    shards: Vec<Shard>,
    /// Called with every row group before it is written.
    tap: Option<Tap<R>>,
}

impl<R: Row> ShardWriter<R> {
    pub fn new(folder: &Path, shard_bytes: usize) -> Self {
        Self {
            folder: folder.to_path_buf(),
            shard_bytes,
            open: None,
            stem: String::new(),
            rows: Vec::with_capacity(MAX_ROW_GROUP_ROWS),
            size: 0,
            shards: Vec::new(),
            tap: None,
        }
    }

    pub fn with_tap(mut self, tap: Tap<R>) -> Self {
        self.tap = Some(tap);
        self
    }

    pub fn push(&mut self, row: R) -> Result<()> {
        if row.stem() != self.stem {
            self.close_shard()?;
            row.stem().clone_into(&mut self.stem);
        }
        let size = row.size();
        if self.rows.len() >= MAX_ROW_GROUP_ROWS || (!self.rows.is_empty() && self.size + size > MAX_ROW_GROUP_BYTES) {
            self.close_row_group()?;
        }
        if self.open.as_ref().is_some_and(|file| file.bytes() >= self.shard_bytes) && self.rows.is_empty() {
            self.close_file()?;
        }
        self.size += size;
        self.rows.push(row);
        Ok(())
    }

    fn close_row_group(&mut self) -> Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        if let Some(tap) = &mut self.tap {
            tap(&self.rows)?;
        }
        let batch = R::to_batch(&self.rows)
            .map_err(|e| DatasetError::invalid(R::TABLE.name(), format!("rows do not fit the schema: {e}")))?;
        if self.open.is_none() {
            let staged = format!("{}-{}.parquet", R::TABLE.name(), self.shards.len());
            let path = self.folder.join(&staged);
            self.open = Some(FileWriter::create(path, arrow_schema(R::TABLE))?);
            self.shards.push(Shard {
                staged,
                stem: self.stem.clone(),
            });
        }
        if let Some(file) = &mut self.open {
            file.write(&batch)?;
        }
        self.rows.clear();
        self.size = 0;
        Ok(())
    }

    fn close_file(&mut self) -> Result<()> {
        self.open.take().map_or(Ok(()), FileWriter::close)
    }

    fn close_shard(&mut self) -> Result<()> {
        self.close_row_group()?;
        self.close_file()
    }

    pub fn finish(mut self) -> Result<Vec<Shard>> {
        self.close_shard()?;
        Ok(self.shards)
    }
}

/// `STEM-00000-of-00002.parquet` in the table's folder.
pub(crate) fn shard_name(table: Table, stem: &str, index: usize, count: usize) -> String {
    format!("{}/{stem}-{index:05}-of-{count:05}.parquet", table.folder())
}

/// The stem of a shard's file name: `train` of `train-00000-of-00002.parquet`.
pub(crate) fn shard_stem(file_name: &str) -> Option<&str> {
    let rest = file_name.strip_suffix(".parquet")?;
    let (rest, count) = rest.rsplit_once("-of-")?;
    let (stem, index) = rest.rsplit_once('-')?;
    let number = |text: &str| text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
    (number(index) && number(count) && !stem.is_empty()).then_some(stem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_shards() {
        assert_eq!(
            shard_name(Table::Pairs, "train", 0, 12),
            "data/train-00000-of-00012.parquet"
        );
        assert_eq!(shard_stem("train-00000-of-00012.parquet"), Some("train"));
        assert_eq!(shard_stem("my-set-00000-of-00001.parquet"), Some("my-set"));
        for other in [
            "train.parquet",
            "train-0-of-1.parquet",
            "-00000-of-00001.parquet",
            "a-00000-of-00001.csv",
        ] {
            assert_eq!(shard_stem(other), None, "{other}");
        }
    }
}
