//! Replaces everything of one source in a dataset folder, in one crash-safe
//! step, and leaves everything else as it is.
//!
//! Rows go to a spool file as they come; only their sort keys stay in memory.
//! `commit` merges them with the rows of other sources, writes new shards and
//! ledger beside the old ones and swaps them in through the journal.

mod copy;
mod ledger;
mod table;

pub(crate) use copy::{DATA_FILES_KEY, DataFiles, Editable};
pub(crate) use table::TableUpdate;

use crate::error::{DatasetError, Result};
use crate::ledger::{LedgerEntry, LedgerTotals};
use crate::record::{LabelRecord, PairRecord, TextRecord};
use crate::shard::SHARD_BYTES;
use serde::Serialize;
use std::path::Path;

/// The copy of `data/` without image bytes, for analysts.
pub const METADATA_FILE: &str = "pairs-metadata.parquet";

/// What a commit did.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct CommitSummary {
    /// Rows of this source now in the folder.
    pub rows: u64,
    /// Ledger counts of this source in this table: kind, then state.
    pub ledger: LedgerTotals,
    /// Edits that found their row, over the whole table.
    pub edits_applied: u64,
    /// Edits that were not applied, each with the reason; they stay in the file.
    pub edits_unmatched: Vec<String>,
    /// Files of the table now in the folder, relative to it.
    pub files: Vec<String>,
}

/// An update of one source. Dropped without [`SourceUpdate::commit`], the
/// folder is as it was before.
///
/// The folder is locked for other writers from construction on, so two updates
/// of one folder must follow each other.
pub struct SourceUpdate {
    table: AnyTable,
}

enum AnyTable {
    Pairs(TableUpdate<PairRecord>),
    Text(TableUpdate<TextRecord>),
    Labels(TableUpdate<LabelRecord>),
}

impl SourceUpdate {
    /// Starts replacing the pairs of `source_id`.
    ///
    /// # Errors
    /// The folder cannot be made, another process writes to it, or the name is
    /// empty.
    pub fn pairs(folder: &Path, source_id: &str) -> Result<Self> {
        let table = AnyTable::Pairs(TableUpdate::open(folder, source_id)?);
        Ok(Self { table })
    }

    /// Starts replacing the utterances of the corpus `source_id`.
    ///
    /// # Errors
    /// As [`SourceUpdate::pairs`].
    pub fn text(folder: &Path, source_id: &str) -> Result<Self> {
        let table = AnyTable::Text(TableUpdate::open(folder, source_id)?);
        Ok(Self { table })
    }

    /// Starts replacing the labelled set `dataset_name`, which also names its
    /// file: letters, digits, `.`, `_` and `-` only.
    ///
    /// # Errors
    /// As [`SourceUpdate::pairs`]; or the name cannot be a file name.
    pub fn labels(folder: &Path, dataset_name: &str) -> Result<Self> {
        check_set_name(dataset_name)?;
        let table = AnyTable::Labels(TableUpdate::open(folder, dataset_name)?);
        Ok(Self { table })
    }

    /// Adds a pair. Edits that match it are applied at once. Of two rows with
    /// one id the first in file order stays; its twin's ledger line becomes
    /// `duplicate` on commit.
    ///
    /// # Errors
    /// The row breaks a rule of the format, belongs to another source, or
    /// cannot be spooled; or this is no update of pairs.
    pub fn push_pair(&mut self, record: PairRecord) -> Result<()> {
        match &mut self.table {
            AnyTable::Pairs(table) => table.push(record),
            _ => Err(wrong_table("a pair")),
        }
    }

    /// Adds an utterance.
    ///
    /// # Errors
    /// As [`SourceUpdate::push_pair`].
    pub fn push_text(&mut self, record: TextRecord) -> Result<()> {
        match &mut self.table {
            AnyTable::Text(table) => table.push(record),
            _ => Err(wrong_table("an utterance")),
        }
    }

    /// Adds a labelled image.
    ///
    /// # Errors
    /// As [`SourceUpdate::push_pair`].
    pub fn push_label(&mut self, record: LabelRecord) -> Result<()> {
        match &mut self.table {
            AnyTable::Labels(table) => table.push(record),
            _ => Err(wrong_table("a labelled image")),
        }
    }

    /// Adds a ledger line of this source.
    ///
    /// # Errors
    /// The line belongs to another source or cannot be spooled.
    pub fn push_ledger(&mut self, entry: LedgerEntry) -> Result<()> {
        match &mut self.table {
            AnyTable::Pairs(table) => table.push_ledger(entry),
            AnyTable::Text(table) => table.push_ledger(entry),
            AnyTable::Labels(table) => table.push_ledger(entry),
        }
    }

    /// Writes everything and swaps it in.
    ///
    /// # Errors
    /// A file of the folder cannot be read or written; the folder is then as it
    /// was before.
    pub fn commit(self) -> Result<CommitSummary> {
        match self.table {
            AnyTable::Pairs(table) => table.commit(SHARD_BYTES),
            AnyTable::Text(table) => table.commit(SHARD_BYTES),
            AnyTable::Labels(table) => table.commit(SHARD_BYTES),
        }
    }
}

fn wrong_table(what: &str) -> DatasetError {
    DatasetError::invalid("update", format!("{what} was given to an update of another table"))
}

/// A set's name is part of its file's name.
pub(crate) fn check_set_name(name: &str) -> Result<()> {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !name.is_empty() && !name.starts_with('.') && name.chars().all(plain) {
        return Ok(());
    }
    Err(DatasetError::invalid(
        format!("labelled set `{name}`"),
        "the name becomes a file name; use letters, digits, `.`, `_` and `-`",
    ))
}
