//! Takes rows down by id, source or licence; the ledger keeps the reason, and
//! nothing else of the rows stays in the folder.

use super::{Fate, Licensed, rewrite};
use crate::edits::{self, Anchor, Edit, Edits, REJECTED};
use crate::error::{DatasetError, Result};
use crate::record::{LabelRecord, PairRecord, TextRecord};
use crate::rows::Row;
use crate::write::Editable;
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::Path;

/// Page results of `ingest book`: captions as they were read.
const CACHE_FOLDER: &str = ".cache";

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
    /// Ids under which `edits.jsonl` holds corrections of the rows.
    corrected: BTreeSet<String>,
}

/// Takes the selected rows down. Tables without such rows are not touched.
///
/// Pairs named by id stay away when their source is ingested again: a line of
/// `edits.jsonl` rejects them. Earlier corrections of the rows are blanked in
/// that file, and the cache of page results goes, since both hold captions.
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
    if reason.trim().is_empty() {
        return Err(DatasetError::invalid(
            "--reason",
            "is empty; the ledger keeps why the rows went",
        ));
    }
    let edits = edits::read(folder)?;
    keep_away(folder, &selection.ids, reason, &edits)?;
    let mut found = Found::default();
    let taken = Takedown {
        pairs: from_table::<PairRecord>(folder, selection, reason, &edits, &mut found)?,
        text: from_table::<TextRecord>(folder, selection, reason, &edits, &mut found)?,
        labels: from_table::<LabelRecord>(folder, selection, reason, &edits, &mut found)?,
        ..Takedown::default()
    };
    edits::erase(folder, &found.corrected)?;
    if taken.pairs > 0 {
        remove_cache(folder)?;
    }
    let unknown = |asked: &BTreeSet<String>, found: &BTreeSet<String>| asked.difference(found).cloned().collect();
    Ok(Takedown {
        unknown_ids: unknown(&selection.ids, &found.ids),
        unknown_sources: unknown(&selection.sources, &found.sources),
        unknown_licences: unknown(&selection.licences, &found.licences),
        ..taken
    })
}

/// Rejects the pairs with these ids, whenever they come again.
fn keep_away(folder: &Path, ids: &BTreeSet<String>, reason: &str, edits: &Edits) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let wanted: Vec<&str> = ids.iter().map(String::as_str).collect();
    let rows = crate::Dataset::open(folder)?.pairs_by_id(&wanted)?;
    let rejections: Vec<Edit> = rows
        .into_iter()
        .filter(|row| !edits.is_rejected(&row.id))
        .map(|row| Edit {
            id: row.id,
            field: REJECTED.to_owned(),
            value: Some(reason.to_owned()),
            editor: "takedown".to_owned(),
            reason: None,
            anchor: row
                .source_page_sha256
                .zip(row.panel_bbox)
                .map(|(source_page_sha256, panel_bbox)| Anchor {
                    source_page_sha256,
                    panel_bbox,
                }),
            origin: None,
            of: None,
        })
        .collect();
    edits::append_all(folder, &rejections)
}

fn remove_cache(folder: &Path) -> Result<()> {
    let cache = folder.join(CACHE_FOLDER);
    match std::fs::remove_dir_all(&cache) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(DatasetError::io(&cache, "remove", error)),
        _ => Ok(()),
    }
}

fn from_table<R: Row + Editable + Licensed>(
    folder: &Path,
    selection: &Selection,
    reason: &str,
    edits: &Edits,
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
            found.corrected.extend(row.corrected_as(edits));
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
