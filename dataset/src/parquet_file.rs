//! An opened Parquet file whose footer has been checked against the file.

use crate::error::{DatasetError, Result};
use crate::file_at::{FileAt, Windowed};
use crate::guard::quietly;
use crate::read::Columns;
use crate::shard::MAX_ROW_GROUP_ROWS;
use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowSelection,
};
use parquet::bloom_filter::Sbbf;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetStatisticsPolicy};
use parquet::file::reader::Length;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Row groups up to this size are read from disk in one piece per run of
/// neighbouring columns; larger ones, of other makers, page by page.
const MAX_WINDOW_BYTES: u64 = 160 << 20;
/// Columns closer together than this are fetched in one read.
const MAX_GAP_BYTES: u64 = 16 << 10;

/// No file has more rows; sums over many files stay far from the end of 64 bits.
const MAX_ROWS: i64 = 1 << 48;

/// Leaf columns and where they lie in a buffer.
pub(crate) type Chunks = Vec<(usize, Range<usize>)>;

/// What a file is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Its rows. The stored Arrow schema is only a hint, and may be foreign or
    /// wrong: the Parquet schema alone decides.
    Rows,
    /// Single rows: as `Rows`, with the places of pages.
    SingleRows,
    /// Checking it: its schema as other readers see it, the places of pages.
    Check,
}

/// An open file with its footer.
pub(crate) struct ParquetFile {
    path: PathBuf,
    input: FileAt,
    metadata: ArrowReaderMetadata,
}

impl ParquetFile {
    pub fn open(path: &Path, purpose: Purpose) -> Result<Self> {
        let input = FileAt::open(path).map_err(|e| DatasetError::io(path, "open", e))?;
        let length = input.len();
        let bad = |message: String| DatasetError::Parquet {
            path: path.to_path_buf(),
            message,
        };
        if length == 0 {
            return Err(bad("the file is empty; ingest its source again".to_owned()));
        }
        let pages = if purpose == Purpose::Rows {
            PageIndexPolicy::Skip
        } else {
            PageIndexPolicy::Optional
        };
        let options = ArrowReaderOptions::new()
            .with_skip_arrow_metadata(purpose != Purpose::Check)
            .with_offset_index_policy(pages)
            .with_column_stats_policy(ParquetStatisticsPolicy::SkipAll)
            .with_size_stats_policy(ParquetStatisticsPolicy::SkipAll);
        let metadata = quietly(|| ArrowReaderMetadata::load(&input, options))
            .map_err(|message| damaged(path, &message))?
            .map_err(|e| bad(format!("{e}; the file is truncated, damaged, or of another kind")))?;
        check_footer(metadata.metadata(), length).map_err(bad)?;
        Ok(Self {
            path: path.to_path_buf(),
            input,
            metadata,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn metadata(&self) -> &ParquetMetaData {
        self.metadata.metadata()
    }

    pub fn schema(&self) -> &SchemaRef {
        self.metadata.schema()
    }

    pub fn groups(&self) -> usize {
        self.metadata().num_row_groups()
    }

    /// Rows in the whole file.
    pub fn rows(&self) -> u64 {
        u64::try_from(self.metadata().file_metadata().num_rows()).unwrap_or(0)
    }

    /// The columns of the file that are wanted, `image.bytes` only if
    /// `image_bytes` is true as well.
    pub fn mask(&self, columns: Columns, image_bytes: bool) -> ProjectionMask {
        let schema = self.metadata().file_metadata().schema_descr();
        let wanted = (0..schema.num_columns()).filter(|&at| {
            let column = schema.column(at);
            let parts = column.path().parts();
            let is_bytes = parts == ["image", "bytes"];
            if is_bytes && !image_bytes {
                return false;
            }
            match columns {
                Columns::All => true,
                Columns::WithoutImageBytes => !is_bytes,
                Columns::Only(names) => parts.first().is_some_and(|root| names.contains(&root.as_str())),
            }
        });
        ProjectionMask::leaves(schema, wanted)
    }

    /// Whole columns of these names.
    pub fn mask_of(&self, names: &[&str]) -> ProjectionMask {
        ProjectionMask::columns(self.metadata().file_metadata().schema_descr(), names.iter().copied())
    }

    /// The file with these string columns as dictionary codes; `None` if one is
    /// no string column.
    pub fn with_codes(&self, names: &[&str]) -> Result<Option<Self>> {
        let mut fields: Vec<FieldRef> = self.schema().fields().to_vec();
        for name in names {
            let Ok(at) = self.schema().index_of(name) else {
                return Ok(None);
            };
            if *fields[at].data_type() != DataType::Utf8 {
                return Ok(None);
            }
            let codes = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
            fields[at] = Arc::new(fields[at].as_ref().clone().with_data_type(codes));
        }
        let schema = Arc::new(Schema::new(fields));
        let options = ArrowReaderOptions::new().with_schema(schema);
        let metadata = ArrowReaderMetadata::try_new(self.metadata.metadata().clone(), options)
            .map_err(|e| DatasetError::parquet(&self.path, &e))?;
        Ok(Some(Self {
            path: self.path.clone(),
            input: self.input.clone(),
            metadata,
        }))
    }

    /// All rows of a row group in one batch of our own files.
    pub fn group(&self, group: usize, mask: &ProjectionMask) -> Result<ParquetRecordBatchReader> {
        self.group_in_batches(group, mask, MAX_ROW_GROUP_ROWS)
    }

    /// All rows of a row group, so many rows at a time.
    pub fn group_in_batches(
        &self,
        group: usize,
        mask: &ProjectionMask,
        rows: usize,
    ) -> Result<ParquetRecordBatchReader> {
        let ranges = self.ranges(group, mask);
        let size: u64 = ranges.iter().map(|(start, end)| end - start).sum();
        if size > MAX_WINDOW_BYTES {
            let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(self.input.clone(), self.metadata.clone());
            return self.finish(builder.with_batch_size(rows), group, mask);
        }
        let windowed = Windowed::new(&self.input, &ranges).map_err(|e| DatasetError::parquet(&self.path, &e))?;
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(windowed, self.metadata.clone());
        self.finish(builder.with_batch_size(rows), group, mask)
    }

    /// Some rows of a row group; only their pages are read.
    pub fn selected(
        &self,
        group: usize,
        mask: &ProjectionMask,
        rows: RowSelection,
    ) -> Result<ParquetRecordBatchReader> {
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(self.input.clone(), self.metadata.clone());
        let builder = builder.with_batch_size(MAX_ROW_GROUP_ROWS);
        self.finish(builder.with_row_selection(rows), group, mask)
    }

    fn finish<T: parquet::file::reader::ChunkReader + 'static>(
        &self,
        builder: ParquetRecordBatchReaderBuilder<T>,
        group: usize,
        mask: &ProjectionMask,
    ) -> Result<ParquetRecordBatchReader> {
        let builder = builder.with_row_groups(vec![group]).with_projection(mask.clone());
        quietly(|| builder.build())
            .map_err(|message| damaged(&self.path, &message))?
            .map_err(|e| DatasetError::parquet(&self.path, &e))
    }

    /// Reads the wanted columns of a row group into `stored`, whose length only
    /// grows: each leaf column and where it lies there. `None` if they are more
    /// than `limit` bytes.
    pub fn chunks(
        &self,
        group: usize,
        mask: &ProjectionMask,
        limit: u64,
        stored: &mut Vec<u8>,
    ) -> Result<Option<Chunks>> {
        let ranges = self.ranges(group, mask);
        let size: u64 = ranges.iter().map(|(start, end)| end - start).sum();
        if size > limit {
            return Ok(None);
        }
        let too_large = |_| damaged(&self.path, "a column does not fit into memory");
        let size = usize::try_from(size).map_err(too_large)?;
        if stored.len() < size {
            stored.resize(size, 0);
        }
        // Start and end in the file, and the place in `stored`.
        let mut pieces = Vec::with_capacity(ranges.len());
        let mut at = 0;
        for (start, end) in ranges {
            // Not more than `size`.
            let next = at + (end - start) as usize;
            let read = self.input.read_exact_at(&mut stored[at..next], start);
            read.map_err(|e| DatasetError::parquet(&self.path, &e))?;
            pieces.push((start, end, at));
            at = next;
        }
        let columns = self.metadata().row_group(group).columns().iter().enumerate();
        let chunks = columns
            .filter(|(leaf, _)| mask.leaf_included(*leaf))
            .map(|(leaf, column)| {
                let (start, length) = column.byte_range();
                let holds = |(first, end, _): &&(u64, u64, usize)| *first <= start && start + length <= *end;
                let (first, _, at) = pieces.iter().find(holds)?;
                let from = at + (start - first) as usize;
                Some((leaf, from..from + length as usize))
            });
        let chunks = chunks.collect::<Option<_>>();
        chunks
            .map(Some)
            .ok_or_else(|| damaged(&self.path, "the place of a column"))
    }

    /// Reads `length` bytes from `start` on into `buffer`, whose length only grows.
    pub fn read<'a>(&self, start: u64, length: usize, buffer: &'a mut Vec<u8>) -> Result<&'a [u8]> {
        let error = |e| DatasetError::parquet(&self.path, &e);
        self.input.check(start, length).map_err(error)?;
        if buffer.len() < length {
            buffer.resize(length, 0);
        }
        self.input.read_exact_at(&mut buffer[..length], start).map_err(error)?;
        Ok(&buffer[..length])
    }

    /// Where the wanted columns of a row group lie, neighbours joined.
    fn ranges(&self, group: usize, mask: &ProjectionMask) -> Vec<(u64, u64)> {
        let columns = self.metadata().row_group(group).columns();
        let mut ranges: Vec<(u64, u64)> = columns
            .iter()
            .enumerate()
            .filter(|(at, _)| mask.leaf_included(*at))
            .filter_map(|(_, column)| {
                let start = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
                let start = u64::try_from(start).ok()?;
                Some((start, start + u64::try_from(column.compressed_size()).ok()?))
            })
            .collect();
        ranges.sort_unstable();
        ranges.dedup_by(|next, before| {
            let near = next.0 <= before.1 + MAX_GAP_BYTES;
            if near {
                before.1 = before.1.max(next.1);
            }
            near
        });
        ranges
    }

    /// The leaf column of this name.
    pub fn leaf(&self, name: &str) -> Option<usize> {
        let schema = self.metadata().file_metadata().schema_descr();
        (0..schema.num_columns()).find(|&at| schema.column(at).path().string() == name)
    }

    /// The bloom filter of a column, if the file has one that can be asked: one
    /// without a block of bits, as damage leaves it, cannot.
    pub fn filter(&self, group: usize, leaf: usize) -> Result<Option<Sbbf>> {
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(self.input.clone(), self.metadata.clone());
        let filter = quietly(|| builder.get_row_group_column_bloom_filter(group, leaf))
            .map_err(|message| damaged(&self.path, &message))?
            .map_err(|e| DatasetError::parquet(&self.path, &e))?;
        Ok(filter.filter(|filter| filter.num_blocks() > 0))
    }
}

pub(crate) fn damaged(path: &Path, message: &str) -> DatasetError {
    DatasetError::Parquet {
        path: path.to_path_buf(),
        message: format!("damaged data ({message}); make the file again or restore it from a copy"),
    }
}

/// Sizes and counts in the footer must fit the file: they decide how much
/// memory is taken.
fn check_footer(metadata: &ParquetMetaData, length: u64) -> Result<(), String> {
    let lie = |what: &str| Err(format!("the footer lies about {what}; the file is damaged or hostile"));
    let mut rows: i64 = 0;
    for group in metadata.row_groups() {
        if group.num_rows() < 0 {
            return lie("the number of rows");
        }
        rows = match rows.checked_add(group.num_rows()) {
            Some(sum) if sum <= MAX_ROWS => sum,
            _ => return lie("the number of rows"),
        };
        for column in group.columns() {
            let start = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
            let (Ok(start), Ok(size)) = (u64::try_from(start), u64::try_from(column.compressed_size())) else {
                return lie("the place of a column");
            };
            if start.checked_add(size).is_none_or(|end| end > length) {
                return lie("the size of a column");
            }
            if column.num_values() < 0 || column.uncompressed_size() < 0 {
                return lie("the number of values");
            }
            // Every row has at least one level in every column.
            if column.num_values() < group.num_rows() {
                return lie("the number of rows");
            }
        }
    }
    if rows != metadata.file_metadata().num_rows() {
        return lie("the number of rows");
    }
    Ok(())
}
