//! Checks of ledger and edits against the rows.

use super::Report;
use super::rows::Known;
use crate::edits::EDITS_FILE;
use crate::error::Result;
use crate::ledger::{LEDGER_FILE, LedgerEntry, read_lines};
use crate::read::Dataset;
use crate::schema::Table;
use std::collections::HashSet;

/// The states an input can end in.
const STATES: [&str; 5] = ["paired", "kept", "needs-review", "rejected", "duplicate"];

/// Every input in exactly one state; every row one ledger line, and the other
/// way round.
pub(super) fn check(dataset: &Dataset, known: &Known, report: &mut Report) -> Result<()> {
    let path = dataset.folder().join(LEDGER_FILE);
    if !path.exists() {
        if !known.ids.is_empty() {
            report.problem(
                "ledger",
                LEDGER_FILE,
                "is missing; the rows' inputs cannot be accounted for",
            );
        }
        return Ok(());
    }
    let mut inputs: HashSet<Vec<u8>> = HashSet::new();
    let mut covered: HashSet<(Table, Box<str>)> = HashSet::new();
    for line in read_lines(&path)? {
        let line = match line {
            Ok(line) => line,
            Err(error) => {
                report.problem("ledger", LEDGER_FILE, error.to_string());
                continue;
            }
        };
        let entry = &line.entry;
        *report.ledger.entry(entry.state.clone()).or_default() += entry.inputs();
        let here = format!("{LEDGER_FILE} {} {} {}", entry.source_id, entry.kind, entry.input);
        if !inputs.insert(line.sort_key()) {
            report.problem(
                "ledger",
                &here,
                "this input has two lines; it must end in exactly one state",
            );
        }
        check_entry(entry, &here, report);
        let table = Table::ALL.into_iter().find(|table| table.name() == line.table_name());
        let Some(table) = table else {
            report.problem("ledger", &here, format!("table `{}` does not exist", line.table));
            continue;
        };
        if let Some(id) = entry.id.as_deref().filter(|_| entry.is_row()) {
            let key = (table, Box::from(id));
            match known.ids.get(&key) {
                None => report.problem(
                    "ledger",
                    &here,
                    format!("is `{}` as row {id}, which does not exist", entry.state),
                ),
                Some(&source) if known.sources[source as usize] != entry.source_id => {
                    report.problem("ledger", &here, format!("row {id} belongs to another source"));
                }
                Some(_) => {
                    covered.insert(key);
                }
            }
        }
    }
    let mut missing: Vec<_> = known.ids.keys().filter(|key| !covered.contains(*key)).collect();
    missing.sort();
    for (table, id) in missing {
        report.problem(
            "ledger",
            format!("{} id {id}", table.name()),
            "this row has no line in the ledger",
        );
    }
    Ok(())
}

fn check_entry(entry: &LedgerEntry, here: &str, report: &mut Report) {
    if !STATES.contains(&entry.state.as_str()) {
        let message = format!("state `{}` is unknown; allowed are {}", entry.state, STATES.join(", "));
        report.problem("ledger", here, message);
    }
    let needs_reason = matches!(entry.state.as_str(), "rejected" | "duplicate");
    if needs_reason && entry.reason.as_deref().is_none_or(|reason| reason.trim().is_empty()) {
        report.problem("ledger", here, format!("is `{}` without a reason", entry.state));
    }
}

/// Edits that will not take effect are warnings: they are kept, and a person
/// may still repair them.
pub(super) fn check_edits(dataset: &Dataset, known: &Known, report: &mut Report) -> Result<()> {
    let edits = dataset.edits()?;
    for problem in &edits.problems {
        report.warning("edits", EDITS_FILE, problem);
    }
    for edit in &edits.edits {
        let found = known.ids.contains_key(&(Table::Pairs, edit.id.as_str().into()));
        if !found && edit.anchor.is_none() && !edits.is_rejected(&edit.id) {
            report.warning(
                "edits",
                EDITS_FILE,
                format!("no row `{}` for the edit of `{}`", edit.id, edit.field),
            );
        }
    }
    Ok(())
}
