//! The ledger of a rewritten table.

use super::copy::Editable;
use super::table::TableUpdate;
use crate::error::{DatasetError, Result};
use crate::ledger::{self, LEDGER_FILE, LedgerEntry, LedgerLine, LedgerTotals};
use crate::rows::Row;
use crate::spool::{Slot, Spool};
use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

impl<R: Row + Editable> TableUpdate<R> {
    /// Writes the new ledger: lines of others as they are, ours replaced, all
    /// in order. Second lines of one row become `duplicate`.
    pub(super) fn write_ledger(&mut self, taken: &HashSet<Box<str>>) -> Result<LedgerTotals> {
        let staging = self.workspace.staging();
        let spool = std::mem::replace(&mut self.ledger_spool, Spool::create(staging.join("empty2.spool"))?);
        let mut spool = spool.into_reader()?;
        let mut own = std::mem::take(&mut self.ledger);
        own.sort_by(|a, b| a.0.cmp(&b.0));
        let mut own = own.into_iter().peekable();

        let rejected = &self.rejected;
        let path = staging.join(LEDGER_FILE);
        let file = std::fs::File::create(&path).map_err(|e| DatasetError::io(&path, "create", e))?;
        let mut out = BufWriter::new(file);
        let mut write = |line: &[u8]| {
            out.write_all(line)
                .and_then(|()| out.write_all(b"\n"))
                .map_err(|e| DatasetError::io(&path, "write", e))
        };
        let others = self.ledger_of_others()?;
        let mut totals = LedgerTotals::new();
        let mut first_input: HashMap<(String, String), String> = HashMap::new();
        let mut write_own = |slot: Slot, write: &mut dyn FnMut(&[u8]) -> Result<()>| {
            let (json, _) = spool.read(slot)?;
            let mut line: LedgerLine = serde_json::from_slice(&json)
                .map_err(|e| DatasetError::invalid(spool.path().display().to_string(), e.to_string()))?;
            mark_rejected(&mut line.entry, rejected);
            mark_duplicate(&mut line.entry, &mut first_input, taken);
            ledger::count(&mut totals, &line.entry);
            write(&serde_json::to_vec(&line).map_err(|e| DatasetError::invalid(LEDGER_FILE, e.to_string()))?)
        };
        for other in others {
            let (key, line) = other?;
            while own.peek().is_some_and(|(own_key, _)| *own_key < key) {
                if let Some((_, slot)) = own.next() {
                    write_own(slot, &mut write)?;
                }
            }
            write(&line)?;
        }
        for (_, slot) in own {
            write_own(slot, &mut write)?;
        }
        out.flush().map_err(|e| DatasetError::io(&path, "write", e))?;
        Ok(totals)
    }

    /// Lines of other sources and tables with their keys, in order. A ledger
    /// that is in order, as every commit leaves it, is streamed; another one
    /// is sorted in memory. Lines that cannot be read are nobody's: they stay,
    /// at the end.
    fn ledger_of_others(&self) -> Result<KeyedLines<'_>> {
        let path = self.workspace.folder().join(LEDGER_FILE);
        let keyed = move |line: Vec<u8>| match serde_json::from_slice::<LedgerLine>(&line) {
            Ok(mut known) => {
                let in_table = known.table_name() == R::TABLE.name();
                if in_table && self.scope.owns(&known.entry.source_id) {
                    return None;
                }
                let key = known.sort_key();
                if in_table
                    && mark_rejected(&mut known.entry, &self.rejected)
                    && let Ok(changed) = serde_json::to_vec(&known)
                {
                    return Some((key, changed));
                }
                Some((key, line))
            }
            Err(_) => Some((vec![u8::MAX], line)),
        };
        let mut last = Vec::new();
        let mut ordered = true;
        for line in raw_lines(&path)? {
            if let Some((key, _)) = keyed(line?) {
                ordered &= last <= key;
                last = key;
            }
        }
        let lines = raw_lines(&path)?.filter_map(move |line| line.map(keyed).transpose());
        if ordered {
            return Ok(Box::new(lines));
        }
        let mut sorted = lines.collect::<Result<Vec<_>>>()?;
        sorted.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(Box::new(sorted.into_iter().map(Ok)))
    }
}

/// Ledger lines with the keys that order them.
type KeyedLines<'a> = Box<dyn Iterator<Item = Result<(Vec<u8>, Vec<u8>)>> + 'a>;

/// Lines with something in them; none if the file does not exist.
fn raw_lines(path: &Path) -> Result<impl Iterator<Item = Result<Vec<u8>>> + use<>> {
    let file = match std::fs::File::open(path) {
        Ok(file) => Some(file),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(DatasetError::io(path, "open", error)),
    };
    let path = path.to_path_buf();
    let lines = file.into_iter().flat_map(|file| BufReader::new(file).split(b'\n'));
    Ok(lines
        .filter(|line| !matches!(line, Ok(text) if text.trim_ascii().is_empty()))
        .map(move |line| line.map_err(|e| DatasetError::io(&path, "read", e))))
}

/// A row that a person took out leaves its reason. True when the line changed.
fn mark_rejected(entry: &mut LedgerEntry, rejected: &HashMap<Box<str>, String>) -> bool {
    let reason = entry.id.as_deref().and_then(|id| rejected.get(id));
    let Some(reason) = reason.filter(|_| entry.is_row()) else {
        return false;
    };
    "rejected".clone_into(&mut entry.state);
    entry.reason = Some(reason.clone());
    true
}

/// Only one input can have become a row; the others are its duplicates.
fn mark_duplicate(
    entry: &mut LedgerEntry,
    first_input: &mut HashMap<(String, String), String>,
    taken: &HashSet<Box<str>>,
) {
    let Some(id) = entry.id.clone().filter(|_| entry.is_row()) else {
        return;
    };
    let reason = if taken.contains(id.as_str()) {
        Some("another source already has this row".to_owned())
    } else {
        match first_input.entry((entry.kind.clone(), id)) {
            std::collections::hash_map::Entry::Occupied(first) => Some(format!("same content as {}", first.get())),
            std::collections::hash_map::Entry::Vacant(slot) => {
                slot.insert(entry.input.clone());
                None
            }
        }
    };
    if let Some(reason) = reason {
        entry.state = "duplicate".to_owned();
        entry.reason = Some(reason);
    }
}
