//! Commands that change, compare or export folders.

use super::args::{Command, PictureTable};
use super::{DONE, FOUND, emit_json};
use crate::edits::{Anchor, Edit, append};
use crate::error::DatasetError;
use crate::ops::{self, dedup, diff, export, merge, split, takedown};
use crate::read::Dataset;
use crate::record::{LabelRecord, PairRecord};
use std::path::Path;

pub(super) fn execute(command: Command) -> Result<u8, DatasetError> {
    match command {
        Command::Edit {
            dataset,
            id,
            set,
            editor,
            reason,
            apply,
        } => {
            if !apply {
                add_edits(
                    &dataset,
                    id.as_deref().unwrap_or_default(),
                    &set,
                    &editor,
                    reason.as_deref(),
                )?;
            }
            let summary = ops::apply_edits(&dataset)?;
            for line in &summary.edits_unmatched {
                eprintln!("not applied: {line}");
            }
            emit_json(&summary)?;
            Ok(if summary.edits_unmatched.is_empty() {
                DONE
            } else {
                FOUND
            })
        }
        Command::Split {
            dataset,
            share,
            by,
            seed,
            table,
        } => {
            let shares = share
                .iter()
                .map(|text| parse_share(text))
                .collect::<Result<Vec<_>, _>>()?;
            emit_json(&match table {
                PictureTable::Pairs => split::split::<PairRecord>(&dataset, &shares, by, seed)?,
                PictureTable::Labels => split::split::<LabelRecord>(&dataset, &shares, by, seed)?,
            })?;
            Ok(DONE)
        }
        Command::Dedup {
            dataset,
            against,
            similar,
            remove,
        } => {
            let twins = dedup::find(&dataset, against.as_deref(), similar)?;
            for twin in &twins {
                emit_json(twin)?;
            }
            let removed = if remove {
                dedup::remove_exact(&dataset, &twins)?
            } else {
                0
            };
            eprintln!("{} twins, {removed} removed", twins.len());
            Ok(if twins.len() as u64 == removed { DONE } else { FOUND })
        }
        Command::Merge { inputs, out } => {
            let summary = merge::merge(&inputs, &out)?;
            for line in &summary.edits_unmatched {
                eprintln!("not applied: {line}");
            }
            emit_json(&summary)?;
            Ok(DONE)
        }
        Command::Diff { old, new } => {
            let changes = diff::diff(&Dataset::open(&old)?, &Dataset::open(&new)?)?;
            for change in &changes {
                emit_json(change)?;
            }
            let count = |word: &str| changes.iter().filter(|change| change.change == word).count();
            eprintln!(
                "{} added, {} removed, {} changed",
                count("added"),
                count("removed"),
                count("changed")
            );
            Ok(if changes.is_empty() { DONE } else { FOUND })
        }
        Command::Takedown {
            dataset,
            id,
            source,
            licence,
            reason,
        } => {
            let selection = takedown::Selection {
                ids: id.into_iter().collect(),
                sources: source.into_iter().collect(),
                licences: licence.into_iter().collect(),
            };
            let taken = takedown::takedown(&dataset, &selection, &reason)?;
            let not_found = taken.not_found();
            for line in &not_found {
                eprintln!("{line}");
            }
            emit_json(&taken)?;
            Ok(if not_found.is_empty() { DONE } else { FOUND })
        }
        Command::Export { dataset, form, out } => {
            let summary = export::export(&Dataset::open(&dataset)?, form, &out)?;
            for line in &summary.left_out {
                eprintln!("left out: {line}");
            }
            emit_json(&summary)?;
            Ok(if summary.left_out.is_empty() { DONE } else { FOUND })
        }
        // The commands that only read are in the parent module.
        _ => Ok(DONE),
    }
}

/// Writes edits for a pair that exists, anchored to its place on its page.
fn add_edits(folder: &Path, id: &str, set: &[String], editor: &str, reason: Option<&str>) -> Result<(), DatasetError> {
    let dataset = Dataset::open(folder)?;
    let Some(row) = dataset.pairs_by_id(&[id])?.pop() else {
        return Err(DatasetError::invalid(
            folder.display().to_string(),
            format!("no pair has the id `{id}`"),
        ));
    };
    let anchor = row
        .source_page_sha256
        .zip(row.panel_bbox)
        .map(|(source_page_sha256, panel_bbox)| Anchor {
            source_page_sha256,
            panel_bbox,
        });
    let mut edits = Vec::new();
    for text in set {
        let (field, value) = text
            .split_once('=')
            .ok_or_else(|| DatasetError::invalid(format!("--set {text}"), "give it as FIELD=VALUE"))?;
        let edit = Edit {
            id: id.to_owned(),
            field: field.to_owned(),
            value: (!value.is_empty()).then(|| value.to_owned()),
            editor: editor.to_owned(),
            reason: reason.map(str::to_owned),
            anchor: anchor.clone(),
            origin: None,
            of: None,
        };
        edit.check()
            .map_err(|message| DatasetError::invalid(format!("--set {text}"), message))?;
        edits.push(edit);
    }
    edits.iter().try_for_each(|edit| append(folder, edit))
}

fn parse_share(text: &str) -> Result<(String, f64), DatasetError> {
    let parsed = text
        .split_once('=')
        .and_then(|(name, share)| Some((name.to_owned(), share.parse().ok()?)));
    parsed.ok_or_else(|| DatasetError::invalid(format!("--share {text}"), "give it as NAME=SHARE, such as test=0.2"))
}
