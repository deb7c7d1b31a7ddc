//! Streaming readers over a dataset folder.

use crate::edits::{self, Edits};
use crate::error::{DatasetError, Result};
use crate::fs::list_sorted;
use crate::guard::quietly;
use crate::hash::{sha256_file, sha256_hex};
use crate::journal;
use crate::ledger::{self, LEDGER_FILE, LedgerEntry};
use crate::parquet_file::{ParquetFile, Purpose, damaged};
use crate::record::{LabelRecord, PairRecord, TextRecord};
use crate::rows::Row;
use crate::schema::Table;
use crate::shard::shard_stem;
use arrow::array::RecordBatch;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Which columns a reader fetches from disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Columns {
    /// Everything.
    All,
    /// Everything but `image.bytes`, which come back empty.
    WithoutImageBytes,
    /// These columns only; all others come back empty. Records always need
    /// `id`, those with pictures also `image` and `modality`.
    Only(&'static [&'static str]),
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

    /// A table as Arrow record batches in file order, at most a row group at a
    /// time in memory.
    ///
    /// # Errors
    /// As [`Dataset::pairs`].
    pub fn batches(&self, table: Table, columns: Columns) -> Result<Batches> {
        Ok(Batches::new(self.files(table)?, columns))
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

/// Record batches of several files, one after the other, at most a row group
/// at a time in memory. Ends after the first error.
pub struct Batches {
    files: std::vec::IntoIter<PathBuf>,
    columns: Columns,
    open: Option<OpenFile>,
}

struct OpenFile {
    file: ParquetFile,
    mask: ProjectionMask,
    next_group: usize,
    reader: Option<ParquetRecordBatchReader>,
}

impl Batches {
    pub(crate) fn new(files: Vec<PathBuf>, columns: Columns) -> Self {
        Self {
            files: files.into_iter(),
            columns,
            open: None,
        }
    }

    /// The file of the last batch.
    fn path(&self) -> &Path {
        self.open.as_ref().map_or(Path::new(""), |open| open.file.path())
    }

    fn stop(&mut self) {
        self.files = Vec::new().into_iter();
        self.open = None;
    }

    fn step(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            let Some(open) = &mut self.open else {
                let Some(path) = self.files.next() else {
                    return Ok(None);
                };
                let file = ParquetFile::open(&path, Purpose::Rows)?;
                self.open = Some(OpenFile {
                    mask: file.mask(self.columns, true),
                    file,
                    next_group: 0,
                    reader: None,
                });
                continue;
            };
            if let Some(reader) = &mut open.reader {
                let next = quietly(|| reader.next()).map_err(|message| damaged(open.file.path(), &message))?;
                if let Some(batch) = next {
                    return batch.map(Some).map_err(|e| DatasetError::parquet(open.file.path(), &e));
                }
                open.reader = None;
            }
            if open.next_group == open.file.groups() {
                self.open = None;
                continue;
            }
            open.reader = Some(open.file.group(open.next_group, &open.mask)?);
            open.next_group += 1;
        }
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Result<RecordBatch>> {
        let item = self.step().transpose();
        if matches!(item, Some(Err(_))) {
            self.stop();
        }
        item
    }
}

/// Rows of several files, one after the other. Ends after the first error.
pub struct Rows<R> {
    batches: Batches,
    ready: std::vec::IntoIter<R>,
}

impl<R> Rows<R> {
    pub(crate) fn new(files: Vec<PathBuf>, columns: Columns) -> Self {
        Self {
            batches: Batches::new(files, columns),
            ready: Vec::new().into_iter(),
        }
    }
}

impl<R: Row> Rows<R> {
    fn refill(&mut self) -> Result<bool> {
        let Some(batch) = self.batches.next() else {
            return Ok(false);
        };
        let batch = batch?;
        let path = self.batches.path();
        let rows = quietly(|| R::from_batch(&batch, path));
        self.ready = rows.map_err(|message| damaged(path, &message))??.into_iter();
        Ok(true)
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
                    self.batches.stop();
                    return Some(Err(error));
                }
            }
        }
    }
}
