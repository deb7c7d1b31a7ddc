//! The ledger: every input of every source, one final state each.
//!
//! `ledger.jsonl` holds one JSON object a line, in natural order of source,
//! table and input. Each line is a [`LedgerEntry`] plus `table`, so that a
//! source that feeds two tables keeps the lines of both.

use crate::error::{DatasetError, Result};
use crate::fs::natural_key;
use crate::schema::Table;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// File name inside the dataset folder.
pub const LEDGER_FILE: &str = "ledger.jsonl";

/// One input and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// The book, set, corpus or hospital.
    pub source_id: String,
    /// File, `file#figure`, `file#figure/panel` or `corpus:record`.
    pub input: String,
    /// `screenshot`, `figure`, `panel`, `caption`, `utterance`, `label-row`, `image`.
    pub kind: String,
    /// `paired`, `kept`, `rejected`, `duplicate`, `needs-review`.
    pub state: String,
    /// Why, for every state but `paired` and `kept`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The row it became.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Anything that helps `dataset explain`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<serde_json::Value>,
}

impl LedgerEntry {
    /// States whose input became a row (when `id` is given).
    pub const ROW_STATES: [&'static str; 3] = ["paired", "kept", "needs-review"];

    /// How many inputs the line stands for: one, or `detail.count` where rejected
    /// inputs of one kind share a line.
    #[must_use]
    pub fn inputs(&self) -> u64 {
        let count = self.detail.as_ref().and_then(|detail| detail.get("count"));
        match count.and_then(serde_json::Value::as_u64) {
            Some(count) if self.id.is_none() => count,
            _ => 1,
        }
    }

    /// Whether this input became the row `id`.
    #[must_use]
    pub fn is_row(&self) -> bool {
        self.id.is_some() && Self::ROW_STATES.contains(&self.state.as_str())
    }
}

/// Counts by kind, then state.
pub type LedgerTotals = BTreeMap<String, BTreeMap<String, u64>>;

/// Adds the inputs of one entry to the totals.
pub fn count(totals: &mut LedgerTotals, entry: &LedgerEntry) {
    *totals
        .entry(entry.kind.clone())
        .or_default()
        .entry(entry.state.clone())
        .or_default() += entry.inputs();
}

/// A ledger line with the table it belongs to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LedgerLine {
    /// `pairs`, `text` or `labels`; empty in ledgers that others made.
    #[serde(default)]
    pub table: String,
    /// The entry.
    #[serde(flatten)]
    pub entry: LedgerEntry,
}

impl LedgerLine {
    /// The table's name; told from `kind` when the line does not say.
    #[must_use]
    pub fn table_name(&self) -> &str {
        match (self.table.as_str(), self.entry.kind.as_str()) {
            ("", "utterance") => Table::Text.name(),
            ("", "label-row" | "image") => Table::Labels.name(),
            ("", _) => Table::Pairs.name(),
            (named, _) => named,
        }
    }

    /// Bytes whose plain order is the ledger's order.
    pub(crate) fn sort_key(&self) -> Vec<u8> {
        let mut key = Vec::new();
        for part in [
            &self.entry.source_id,
            self.table_name(),
            &self.entry.input,
            &self.entry.kind,
        ] {
            natural_key(part, &mut key);
            key.push(0);
        }
        key
    }
}

/// Reads a ledger line by line; a missing file is an empty ledger.
///
/// # Errors
/// The file cannot be opened. Each line that is no ledger entry is an error of
/// its own and names its line number.
pub fn read_lines(path: &Path) -> Result<impl Iterator<Item = Result<LedgerLine>> + use<>> {
    let lines = match File::open(path) {
        Ok(file) => Some(BufReader::new(file).lines()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(DatasetError::io(path, "open", error)),
    };
    let path = path.to_path_buf();
    Ok(lines
        .into_iter()
        .flatten()
        .enumerate()
        .filter(|(_, line)| !matches!(line, Ok(text) if text.trim().is_empty()))
        .map(move |(number, line)| {
            let line = line.map_err(|e| DatasetError::io(&path, "read", e))?;
            serde_json::from_str(&line).map_err(|e| {
                DatasetError::invalid(
                    format!("{}:{}", path.display(), number + 1),
                    format!("no ledger entry: {e}; repair or remove the line, or ingest the source again"),
                )
            })
        }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn line(source: &str, input: &str, kind: &str) -> LedgerLine {
        LedgerLine {
            table: String::new(),
            entry: LedgerEntry {
                source_id: source.to_owned(),
                input: input.to_owned(),
                kind: kind.to_owned(),
                state: "rejected".to_owned(),
                reason: Some("no caption".to_owned()),
                id: None,
                detail: None,
            },
        }
    }

    #[test]
    fn lines_sort_by_source_table_and_input() {
        let mut lines = [
            line("b", "p2.png", "screenshot"),
            line("a10", "p1.png", "screenshot"),
            line("a2", "p10.png", "screenshot"),
            line("a2", "p9.png#1-1/A", "panel"),
            line("a2", "p9.png", "screenshot"),
            line("a2", "x:1", "utterance"),
        ];
        lines.sort_by_key(LedgerLine::sort_key);
        let order: Vec<_> = lines
            .iter()
            .map(|l| (l.entry.source_id.as_str(), l.entry.input.as_str()))
            .collect();
        assert_eq!(
            order,
            [
                ("a2", "p9.png"),
                ("a2", "p9.png#1-1/A"),
                ("a2", "p10.png"),
                ("a2", "x:1"),
                ("a10", "p1.png"),
                ("b", "p2.png")
            ]
        );
    }

    #[test]
    fn shared_lines_count_all_their_inputs() {
        let mut shared = line("corpus", "a.json (no keyword)", "utterance").entry;
        shared.detail = Some(serde_json::json!({ "count": 41, "examples": ["a.json#1"] }));
        let mut totals = LedgerTotals::new();
        count(&mut totals, &shared);
        count(&mut totals, &line("corpus", "a.json#2", "utterance").entry);
        assert_eq!(totals["utterance"]["rejected"], 42);
        shared.id = Some("text-1".to_owned());
        assert_eq!(shared.inputs(), 1, "a row is one input");
    }

    #[test]
    fn a_bad_line_names_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(LEDGER_FILE);
        let good = serde_json::to_string(&line("a", "p", "screenshot")).unwrap();
        std::fs::write(&path, format!("{good}\n\n{{\"source_id\":1}}\n{good}\n")).unwrap();
        let read: Vec<_> = read_lines(&path).unwrap().collect();
        assert_eq!(read.len(), 3);
        assert!(read[0].is_ok() && read[2].is_ok());
        let message = read[1].as_ref().unwrap_err().to_string();
        assert!(message.contains("ledger.jsonl:3"), "{message}");
        assert_eq!(read_lines(&folder.path().join("none")).unwrap().count(), 0);
    }
}
