//! Merges dataset folders into one.

use crate::edits::{append, read as read_edits};
use crate::error::{DatasetError, Result};
use crate::ledger::{LEDGER_FILE, read_lines};
use crate::read::{Columns, Dataset, Rows, table_files};
use crate::record::{LabelRecord, PairRecord, TextRecord};
use crate::rows::Row;
use crate::schema::Table;
use crate::shard::SHARD_BYTES;
use crate::write::{CommitSummary, Editable, TableUpdate};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

/// What the merge made.
#[derive(Debug, Default, Serialize)]
pub struct MergeSummary {
    /// Rows by table.
    pub rows: BTreeMap<&'static str, u64>,
    /// Corrections taken over.
    pub edits_added: u64,
    /// Corrections that found no row; they stay in `edits.jsonl`.
    pub edits_unmatched: Vec<String>,
}

/// Adds all rows, ledger lines and edits of `inputs` to `out`, which may be new.
/// Rows with the same id are one row; the ledger calls the others `duplicate`.
///
/// # Errors
/// A folder cannot be read, or `out` cannot be written; or one input of a source
/// became different rows in two folders, as in two builds of one book. Each table
/// is committed by itself; a merge that was cut short can be run again.
pub fn merge(inputs: &[PathBuf], out: &Path) -> Result<MergeSummary> {
    // All inputs must be readable before anything is written.
    let inputs = inputs
        .iter()
        .map(|path| {
            let dataset = Dataset::open(path)?;
            let has_rows = [Table::Pairs, Table::Text, Table::Labels]
                .iter()
                .any(|&table| dataset.files(table).is_ok_and(|files| !files.is_empty()));
            if has_rows || path.join(LEDGER_FILE).is_file() {
                return Ok(dataset);
            }
            Err(DatasetError::invalid(
                path.display().to_string(),
                "is no dataset folder: it has no rows in data/, text/ or labels/ and no ledger.jsonl",
            ))
        })
        .collect::<Result<Vec<_>>>()?;
    let mut summary = MergeSummary::default();
    std::fs::create_dir_all(out).map_err(|e| DatasetError::io(out, "create the folder", e))?;
    for input in &inputs {
        let known = read_edits(out)?.edits;
        for edit in input.edits()?.edits {
            if !known.contains(&edit) {
                append(out, &edit)?;
                summary.edits_added += 1;
            }
        }
    }
    let pairs = merge_table::<PairRecord>(&inputs, out)?;
    summary.edits_unmatched = pairs.edits_unmatched;
    summary.rows.insert("pairs", pairs.rows);
    summary
        .rows
        .insert("text", merge_table::<TextRecord>(&inputs, out)?.rows);
    summary
        .rows
        .insert("labels", merge_table::<LabelRecord>(&inputs, out)?.rows);
    Ok(summary)
}

/// 16 bytes that stand for texts: a million inputs are looked up in little memory.
fn fingerprint(parts: &[&str]) -> u128 {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, parts).hash(&mut hasher);
        u128::from(hasher.finish())
    };
    half(0) << 64 | half(1)
}

fn merge_table<R: Row + Editable>(inputs: &[Dataset], out: &Path) -> Result<CommitSummary> {
    let mut update = TableUpdate::<R>::open_whole(out)?;
    let folders: Vec<&Path> = std::iter::once(out).chain(inputs.iter().map(Dataset::folder)).collect();
    let mut became = HashMap::new();
    for (number, &folder) in folders.iter().enumerate() {
        for row in Rows::<R>::new(table_files(folder, R::TABLE)?, Columns::All) {
            update.push(row?)?;
        }
        for line in read_lines(&folder.join(LEDGER_FILE))? {
            let line = line?;
            if line.table_name() != R::TABLE.name() {
                continue;
            }
            let entry = line.entry;
            if let Some(id) = entry.id.as_deref().filter(|_| entry.is_row()) {
                let (first, row) = *became
                    .entry(fingerprint(&[&entry.source_id, &entry.kind, &entry.input]))
                    .or_insert((number, fingerprint(&[id])));
                if first != number && row != fingerprint(&[id]) {
                    return Err(DatasetError::invalid(
                        format!("{} and {}", folders[first].display(), folder.display()),
                        format!(
                            "source `{}`: `{}` became different rows, these are two builds of one source; merge one of \
                             them (`dataset diff OLD NEW` tells the rows that differ)",
                            entry.source_id, entry.input
                        ),
                    ));
                }
            }
            update.push_ledger(entry)?;
        }
    }
    update.commit(SHARD_BYTES)
}
