//! Takes rows down by id, source or licence; the ledger keeps the reason.

use super::{Fate, Licensed, rewrite};
use crate::error::{DatasetError, Result};
use crate::record::{LabelRecord, PairRecord, TextRecord};
use crate::rows::Row;
use crate::write::Editable;
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::Path;

/// Which rows go. A row goes when any of the lists names it.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Row ids.
    pub ids: BTreeSet<String>,
    /// Sources, corpora or labelled sets.
    pub sources: BTreeSet<String>,
    /// Licences, as the rows spell them.
    pub licences: BTreeSet<String>,
}

/// What went.
#[derive(Debug, Default, Serialize)]
pub struct Takedown {
    /// Pairs taken down.
    pub pairs: u64,
    /// Utterances taken down.
    pub text: u64,
    /// Labelled images taken down.
    pub labels: u64,
    /// Ids that no row has.
    pub unknown_ids: Vec<String>,
    /// Sources that no row has.
    pub unknown_sources: Vec<String>,
    /// Licences that no row has.
    pub unknown_licences: Vec<String>,
}

impl Takedown {
    /// What was asked for and is not there, one line each.
    #[must_use]
    pub fn not_found(&self) -> Vec<String> {
        let kinds = [
            ("id", &self.unknown_ids),
            ("source", &self.unknown_sources),
            ("licence", &self.unknown_licences),
        ];
        let lines = kinds.iter().flat_map(|(kind, names)| {
            names
                .iter()
                .map(move |name| format!("no row has the {kind} `{name}`; nothing was taken down for it"))
        });
        lines.collect()
    }
}

/// Ids, sources and licences of the selection that rows have.
#[derive(Default)]
struct Found {
    ids: BTreeSet<String>,
    sources: BTreeSet<String>,
    licences: BTreeSet<String>,
}

/// Takes the selected rows down. Tables without such rows are not touched.
///
/// # Errors
/// The selection is empty, or a file cannot be read or written.
pub fn takedown(folder: &Path, selection: &Selection, reason: &str) -> Result<Takedown> {
    if selection.ids.is_empty() && selection.sources.is_empty() && selection.licences.is_empty() {
        return Err(DatasetError::invalid(
            "takedown",
            "nothing is selected; give --id, --source or --licence",
        ));
    }
    let mut found = Found::default();
    let taken = Takedown {
        pairs: from_table::<PairRecord>(folder, selection, reason, &mut found)?,
        text: from_table::<TextRecord>(folder, selection, reason, &mut found)?,
        labels: from_table::<LabelRecord>(folder, selection, reason, &mut found)?,
        ..Takedown::default()
    };
    let unknown = |asked: &BTreeSet<String>, found: &BTreeSet<String>| asked.difference(found).cloned().collect();
    Ok(Takedown {
        unknown_ids: unknown(&selection.ids, &found.ids),
        unknown_sources: unknown(&selection.sources, &found.sources),
        unknown_licences: unknown(&selection.licences, &found.licences),
        ..taken
    })
}

fn from_table<R: Row + Editable + Licensed>(
    folder: &Path,
    selection: &Selection,
    reason: &str,
    found: &mut Found,
) -> Result<u64> {
    let selected = |row: &R| {
        selection.ids.contains(row.id())
            || selection.sources.contains(row.source())
            || row
                .licence()
                .is_some_and(|licence| selection.licences.contains(licence))
    };
    let dataset = crate::Dataset::open(folder)?;
    let rows = crate::read::Rows::<R>::new(dataset.files(R::TABLE)?, crate::Columns::WithoutImageBytes);
    let mut any = false;
    for row in rows {
        let row = row?;
        if selected(&row) {
            any = true;
            found.ids.insert(row.id().to_owned());
            if !found.sources.contains(row.source()) {
                found.sources.insert(row.source().to_owned());
            }
            if let Some(licence) = row.licence()
                && !found.licences.contains(licence)
            {
                found.licences.insert(licence.to_owned());
            }
        }
    }
    if !any {
        return Ok(0);
    }
    let (count, _) = rewrite::<R>(folder, |row| {
        if selected(row) {
            Fate::Drop {
                state: "rejected",
                reason: format!("taken down: {reason}"),
            }
        } else {
            Fate::Keep
        }
    })?;
    Ok(count)
}
