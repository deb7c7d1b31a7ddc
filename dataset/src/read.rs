//! Streaming readers over a dataset folder.

use crate::edits::{self, Edits};
use crate::error::{DatasetError, Result};
use crate::fs::list_sorted;
use crate::guard::quietly;
use crate::hash::{sha256_file, sha256_hex};
use crate::journal;
use crate::ledger::{self, LEDGER_FILE, LedgerEntry};
use crate::record::{LabelRecord, PairRecord, TextRecord};
use crate::rows::Row;
use crate::schema::Table;
use crate::shard::{MAX_ROW_GROUP_ROWS, shard_stem};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};
use std::fs::File;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Which columns a reader fetches from disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Columns {
    /// Everything.
    All,
    /// Everything but `image.bytes`, which come back empty.
    WithoutImageBytes,
}

/// An opened dataset folder.
#[derive(Debug, Clone)]
pub struct Dataset {
    folder: PathBuf,
}

/// How long to wait for another process that is just swapping files in.
const WAIT_FOR_COMMIT: (u32, Duration) = (50, Duration::from_millis(100));

impl Dataset {
    /// Opens a folder; finishes a commit that a killed run left behind.
    ///
    /// # Errors
    /// The folder does not exist, or an interrupted commit cannot be finished.
    pub fn open(folder: &Path) -> Result<Self> {
        if !folder.is_dir() {
            return Err(DatasetError::invalid(
                folder.display().to_string(),
                "is no folder; give the dataset folder that `ingest ... --out` made",
            ));
        }
        let mut waits = WAIT_FOR_COMMIT.0;
        loop {
            match journal::recover(folder) {
                Err(DatasetError::Locked { .. }) if waits > 0 => {
                    waits -= 1;
                    std::thread::sleep(WAIT_FOR_COMMIT.1);
                }
                outcome => {
                    outcome?;
                    break;
                }
            }
        }
        Ok(Self {
            folder: folder.to_path_buf(),
        })
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The Parquet files of a table in natural order; empty if there are none.
    ///
    /// # Errors
    /// The table's folder cannot be listed.
    pub fn files(&self, table: Table) -> Result<Vec<PathBuf>> {
        table_files(&self.folder, table)
    }

    /// Pairs in file order, a few at a time in memory.
    ///
    /// # Errors
    /// The folder cannot be listed. Later errors come as items; after one the
    /// iterator ends.
    pub fn pairs(&self, columns: Columns) -> Result<Rows<PairRecord>> {
        Ok(Rows::new(self.files(Table::Pairs)?, columns))
    }

    /// Utterances in file order.
    ///
    /// # Errors
    /// As [`Dataset::pairs`].
    pub fn text(&self) -> Result<Rows<TextRecord>> {
        Ok(Rows::new(self.files(Table::Text)?, Columns::All))
    }

    /// Labelled images of one set, or of all.
    ///
    /// # Errors
    /// As [`Dataset::pairs`]; or the folder has no such set.
    pub fn labels(&self, name: Option<&str>, columns: Columns) -> Result<Rows<LabelRecord>> {
        let mut files = self.files(Table::Labels)?;
        if let Some(name) = name {
            files.retain(|path| file_stem(path).as_deref() == Some(name));
            if files.is_empty() {
                let known = self.label_sets().join(", ");
                return Err(DatasetError::invalid(
                    self.folder.join(Table::Labels.folder()).display().to_string(),
                    format!("has no labelled set `{name}`; it has: {known}"),
                ));
            }
        }
        Ok(Rows::new(files, columns))
    }

    /// Names of the labelled sets in natural order.
    #[must_use]
    pub fn label_sets(&self) -> Vec<String> {
        let files = self.files(Table::Labels).unwrap_or_default();
        let mut names: Vec<String> = files.iter().filter_map(|path| file_stem(path)).collect();
        names.dedup();
        names
    }

    /// The whole ledger.
    ///
    /// # Errors
    /// The file cannot be read or has a line that is no ledger entry.
    pub fn ledger(&self) -> Result<Vec<LedgerEntry>> {
        ledger::read_lines(&self.folder.join(LEDGER_FILE))?
            .map(|line| line.map(|line| line.entry))
            .collect()
    }

    /// All corrections.
    ///
    /// # Errors
    /// The file exists and cannot be read.
    pub fn edits(&self) -> Result<Edits> {
        edits::read(&self.folder)
    }

    /// SHA-256 over name and SHA-256 of every file of `data/`, `text/` and
    /// `labels/`; the same content gives the same hash wherever it lies.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn content_hash(&self) -> Result<String> {
        let mut lines = Vec::new();
        for table in Table::ALL {
            for path in self.files(table)? {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                lines.push(format!("{}/{name} {}\n", table.folder(), sha256_file(&path)?));
            }
        }
        lines.sort();
        Ok(sha256_hex(lines.concat().as_bytes()))
    }
}

/// All `*.parquet` files of a table's folder, hidden ones left out.
pub(crate) fn table_files(folder: &Path, table: Table) -> Result<Vec<PathBuf>> {
    let mut files = list_sorted(&folder.join(table.folder()))?;
    files.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.ends_with(".parquet") && !name.starts_with('.') && path.is_file()
    });
    Ok(files)
}

/// The split or set that a shard's name tells; other names count as a whole.
pub(crate) fn file_stem(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let stem = shard_stem(name).or_else(|| name.strip_suffix(".parquet"))?;
    Some(stem.to_owned())
}

/// Rows of several files, one after the other. Ends after the first error.
pub struct Rows<R> {
    files: std::vec::IntoIter<PathBuf>,
    current: Option<(PathBuf, ParquetRecordBatchReader)>,
    ready: std::vec::IntoIter<R>,
    columns: Columns,
    record: PhantomData<R>,
}

impl<R> Rows<R> {
    pub(crate) fn new(files: Vec<PathBuf>, columns: Columns) -> Self {
        Self {
            files: files.into_iter(),
            current: None,
            ready: Vec::new().into_iter(),
            columns,
            record: PhantomData,
        }
    }

    fn stop(&mut self) {
        self.files = Vec::new().into_iter();
        self.current = None;
    }
}

impl<R: Row> Rows<R> {
    /// Fills `ready`; false at the end.
    fn refill(&mut self) -> Result<bool> {
        loop {
            if let Some((path, reader)) = &mut self.current {
                let next = quietly(|| reader.next()).map_err(|message| damaged(path, &message))?;
                match next {
                    Some(batch) => {
                        let batch = batch.map_err(|e| DatasetError::parquet(path, &e))?;
                        let rows = quietly(|| R::from_batch(&batch, path));
                        self.ready = rows.map_err(|message| damaged(path, &message))??.into_iter();
                        return Ok(true);
                    }
                    None => self.current = None,
                }
            }
            let Some(path) = self.files.next() else {
                return Ok(false);
            };
            let reader = open_rows(&path, self.columns)?;
            self.current = Some((path, reader));
        }
    }
}

impl<R: Row> Iterator for Rows<R> {
    type Item = Result<R>;

    fn next(&mut self) -> Option<Result<R>> {
        loop {
            if let Some(row) = self.ready.next() {
                return Some(Ok(row));
            }
            match self.refill() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => {
                    self.stop();
                    return Some(Err(error));
                }
            }
        }
    }
}

pub(crate) fn damaged(path: &Path, message: &str) -> DatasetError {
    DatasetError::Parquet {
        path: path.to_path_buf(),
        message: format!("damaged data ({message}); make the file again or restore it from a copy"),
    }
}

fn open_rows(path: &Path, columns: Columns) -> Result<ParquetRecordBatchReader> {
    // The stored Arrow schema is only a hint, and may be foreign or wrong: the
    // Parquet schema alone decides.
    let builder = open_parquet(path, true)?;
    let schema = builder.parquet_schema();
    let wanted: Vec<usize> = (0..schema.num_columns())
        .filter(|&at| columns == Columns::All || schema.column(at).path().string() != "image.bytes")
        .collect();
    let mask = ProjectionMask::leaves(schema, wanted);
    let built = quietly(|| {
        builder
            .with_projection(mask)
            .with_batch_size(MAX_ROW_GROUP_ROWS)
            .build()
    });
    built
        .map_err(|message| damaged(path, &message))?
        .map_err(|e| DatasetError::parquet(path, &e))
}

/// Opens a Parquet file and checks its footer against the file itself.
pub(crate) fn open_parquet(path: &Path, skip_arrow_schema: bool) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(skip_arrow_schema);
    open_with(path, options)
}

/// As [`open_parquet`], with the page index for reading single rows.
pub(crate) fn open_parquet_indexed(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    let options = ArrowReaderOptions::new()
        .with_skip_arrow_metadata(true)
        .with_page_index_policy(PageIndexPolicy::Optional);
    open_with(path, options)
}

fn open_with(path: &Path, options: ArrowReaderOptions) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    let file = File::open(path).map_err(|e| DatasetError::io(path, "open", e))?;
    let length = file.metadata().map_err(|e| DatasetError::io(path, "read", e))?.len();
    let bad = |message: String| DatasetError::Parquet {
        path: path.to_path_buf(),
        message,
    };
    if length == 0 {
        return Err(bad("the file is empty; ingest its source again".to_owned()));
    }
    let builder = quietly(|| ParquetRecordBatchReaderBuilder::try_new_with_options(file, options))
        .map_err(|message| damaged(path, &message))?
        .map_err(|e| bad(format!("{e}; the file is truncated, damaged, or of another kind")))?;
    check_footer(builder.metadata(), length).map_err(bad)?;
    Ok(builder)
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
        rows = rows.saturating_add(group.num_rows());
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
