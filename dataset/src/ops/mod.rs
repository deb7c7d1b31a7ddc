//! Work on whole folders: take rows down, split, find duplicates, merge,
//! compare, export. Each change goes through the same crash-safe commit as an
//! ingest, and every row that goes leaves its reason in the ledger.

pub mod dedup;
pub mod diff;
pub mod export;
pub mod merge;
pub mod split;
pub mod takedown;

use crate::edits::Edits;
use crate::error::Result;
use crate::ledger::{LEDGER_FILE, read_lines};
use crate::read::{Columns, Rows, table_files};
use crate::record::{LabelRecord, PairRecord, TextRecord};
use crate::rows::Row;
use crate::shard::SHARD_BYTES;
use crate::write::{CommitSummary, Editable, TableUpdate};
use std::collections::HashMap;
use std::path::Path;

/// What becomes of a row.
pub(crate) enum Fate {
    /// It stays, maybe changed.
    Keep,
    /// It goes; its ledger line gets this state and reason.
    Drop { state: &'static str, reason: String },
}

/// Passes every row of a table through `decide` and writes the table anew.
/// Returns how many rows went, and the commit.
pub(crate) fn rewrite<R: Row + Editable>(
    folder: &Path,
    mut decide: impl FnMut(&mut R) -> Fate,
) -> Result<(u64, CommitSummary)> {
    let mut update = TableUpdate::<R>::open_whole(folder)?;
    let mut dropped: HashMap<String, (&'static str, String)> = HashMap::new();
    for row in Rows::<R>::new(table_files(folder, R::TABLE)?, Columns::All) {
        let mut row = row?;
        match decide(&mut row) {
            Fate::Keep => update.push(row)?,
            Fate::Drop { state, reason } => {
                dropped.insert(row.id().to_owned(), (state, reason));
            }
        }
    }
    for line in read_lines(&folder.join(LEDGER_FILE))? {
        let mut line = line?;
        if line.table_name() != R::TABLE.name() {
            continue;
        }
        if line.entry.is_row()
            && let Some((state, reason)) = line.entry.id.as_ref().and_then(|id| dropped.get(id))
        {
            (*state).clone_into(&mut line.entry.state);
            line.entry.reason = Some(reason.clone());
        }
        update.push_ledger(line.entry)?;
    }
    let count = dropped.len() as u64;
    Ok((count, update.commit(SHARD_BYTES)?))
}

/// Writes the pairs anew with all corrections of `edits.jsonl` applied.
///
/// # Errors
/// A file cannot be read or written; the folder is then as it was.
pub fn apply_edits(folder: &Path) -> Result<CommitSummary> {
    Ok(rewrite::<PairRecord>(folder, |_| Fate::Keep)?.1)
}

/// Rows with a split and a group that must not be torn apart.
pub(crate) trait Grouped: Row + Editable {
    fn split_mut(&mut self) -> &mut String;
    fn group(&self) -> &str;
}

impl Grouped for PairRecord {
    fn split_mut(&mut self) -> &mut String {
        &mut self.split
    }

    fn group(&self) -> &str {
        &self.split_group
    }
}

impl Grouped for LabelRecord {
    fn split_mut(&mut self) -> &mut String {
        &mut self.split
    }

    fn group(&self) -> &str {
        &self.split_group
    }
}

/// What takedown asks of a row.
pub(crate) trait Licensed {
    fn licence(&self) -> Option<&str>;

    /// Ids in `edits.jsonl` of the corrections that are meant for this row.
    fn corrected_as(&self, _: &Edits) -> Vec<String> {
        Vec::new()
    }
}

impl Licensed for PairRecord {
    fn licence(&self) -> Option<&str> {
        self.licence.as_deref()
    }

    fn corrected_as(&self, edits: &Edits) -> Vec<String> {
        let matching = edits.matching(self).into_iter();
        matching.map(|at| edits.edits[at].id.clone()).collect()
    }
}

impl Licensed for TextRecord {
    fn licence(&self) -> Option<&str> {
        self.licence.as_deref()
    }
}

impl Licensed for LabelRecord {
    fn licence(&self) -> Option<&str> {
        self.licence.as_deref()
    }
}
