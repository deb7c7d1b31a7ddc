//! The ledger of a rewritten table.

use super::copy::Editable;
use super::table::TableUpdate;
use crate::error::{DatasetError, Result};
use crate::ledger::{self, LEDGER_FILE, LedgerEntry, LedgerLine, LedgerTotals};
use crate::rows::Row;
use crate::spool::{Slot, Spool};
use std::collections::{HashMap, HashSet};
use std::io::{BufWriter, Write};

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

        let others = self.ledger_of_others()?;
        let path = staging.join(LEDGER_FILE);
        let file = std::fs::File::create(&path).map_err(|e| DatasetError::io(&path, "create", e))?;
        let mut out = BufWriter::new(file);
        let mut write = |line: &[u8]| {
            out.write_all(line)
                .and_then(|()| out.write_all(b"\n"))
                .map_err(|e| DatasetError::io(&path, "write", e))
        };
        let mut totals = LedgerTotals::new();
        let mut first_input: HashMap<(String, String), String> = HashMap::new();
        let mut write_own = |slot: Slot, write: &mut dyn FnMut(&[u8]) -> Result<()>| {
            let (json, _) = spool.read(slot)?;
            let mut line: LedgerLine = serde_json::from_slice(&json)
                .map_err(|e| DatasetError::invalid(spool.path().display().to_string(), e.to_string()))?;
            mark_duplicate(&mut line.entry, &mut first_input, taken);
            ledger::count(&mut totals, &line.entry);
            write(&serde_json::to_vec(&line).map_err(|e| DatasetError::invalid(LEDGER_FILE, e.to_string()))?)
        };
        for (key, line) in others {
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

    /// Lines of other sources and tables with their keys, sorted. Lines that
    /// cannot be read are nobody's: they stay, at the end.
    fn ledger_of_others(&self) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let path = self.workspace.folder().join(LEDGER_FILE);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(DatasetError::io(&path, "read", error)),
        };
        let mut others = Vec::new();
        for line in text
            .split(|&byte| byte == b'\n')
            .filter(|line| !line.trim_ascii().is_empty())
        {
            match serde_json::from_slice::<LedgerLine>(line) {
                Ok(known) if self.scope.owns(&known.entry.source_id) && known.table_name() == R::TABLE.name() => {}
                Ok(known) => others.push((known.sort_key(), line.to_vec())),
                Err(_) => others.push((vec![u8::MAX], line.to_vec())),
            }
        }
        others.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(others)
    }
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
