//! Translation by people: a sheet out and back.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use dataset::edits::Edit;
use dataset::fs::write_atomic;
use serde::Serialize;

use super::{Choice, Language, Task, take, tasks};
use crate::glossary::Glossary;
use crate::review::apply::{BadCell, write};
use crate::sheet::{Problem, Sheet, render};

/// Columns of the sheet; the person fills `translation`.
pub const COLUMNS: [&str; 8] = ["no", "id", "to", "pairs", "text", "terms", "draft", "translation"];

/// Writes the texts that wait for a translation; gives their number.
///
/// # Errors
/// The dataset cannot be read, nothing waits, or the file cannot be written.
pub fn export(folder: &Path, choice: &Choice, glossary: &Glossary, out: &Path) -> anyhow::Result<usize> {
    let tasks = tasks(folder, choice)?;
    if tasks.is_empty() {
        bail!(
            "{}: no caption waits for a translation; --again gives those that have one",
            folder.display()
        );
    }
    let rows = tasks.iter().enumerate().map(|(at, task)| {
        let terms: Vec<String> = task
            .terms(glossary)
            .iter()
            .map(|(name, target)| format!("{name} → {target}"))
            .collect();
        vec![
            Cow::Owned((at + 1).to_string()),
            Cow::Borrowed(task.id.as_str()),
            Cow::Borrowed(task.to.code()),
            Cow::Owned(task.rows.len().to_string()),
            Cow::Borrowed(task.text.as_str()),
            Cow::Owned(terms.join("; ")),
            Cow::Owned(task.draft.clone().unwrap_or_default()),
            Cow::Borrowed(""),
        ]
    });
    write_atomic(out, &render(&COLUMNS, rows))?;
    Ok(tasks.len())
}

/// What became of a filled sheet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SheetSummary {
    /// Rows of the sheets.
    pub rows: usize,
    /// Texts that were translated.
    pub translated: usize,
    /// Pairs that carry them.
    pub pairs: usize,
    /// Texts whose translation is there already.
    pub already_done: usize,
    /// Texts without a translation in the sheet.
    pub undecided: usize,
    /// How often each term of the glossary is missing.
    pub missing_terms: BTreeMap<String, usize>,
    /// Cells that were not taken over.
    pub problems: Vec<BadCell>,
}

/// Takes filled sheets over.
///
/// # Errors
/// A sheet cannot be read as a whole (then nothing changes), or the dataset cannot be written.
pub fn apply(folder: &Path, sheets: &[PathBuf], glossary: &Glossary, editor: &str) -> anyhow::Result<SheetSummary> {
    let mut parsed = Vec::new();
    for path in sheets {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read the sheet {}", path.display()))?;
        let sheet = Sheet::parse(&bytes, &["id", "translation"])
            .map_err(|message| anyhow::anyhow!("{}: {message}", path.display()))?;
        parsed.push((path, sheet));
    }
    let choice = Choice {
        to: vec![Language::Zh, Language::En],
        source_id: None,
        again: true,
    };
    let tasks = tasks(folder, &choice)?;
    let by_id: HashMap<&str, &Task> = tasks.iter().map(|t| (t.id.as_str(), t)).collect();
    let mut summary = SheetSummary::default();
    let mut edits: Vec<Edit> = Vec::new();
    for (path, sheet) in &parsed {
        let file = path
            .file_name()
            .map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        let mut problems = sheet.problems.clone();
        summary.rows += sheet.rows.len() + sheet.problems.len();
        for row in &sheet.rows {
            let mut bad = |column: &str, value: &str, remedy: &str| {
                problems.push(Problem {
                    line: row.line,
                    column: column.to_owned(),
                    value: value.to_owned(),
                    remedy: remedy.to_owned(),
                });
            };
            let Some(translation) = sheet.filled(row, "translation") else {
                summary.undecided += 1;
                continue;
            };
            let id = sheet.filled(row, "id").unwrap_or_default();
            let Some(task) = by_id.get(id) else {
                let remedy =
                    "no caption without an original in that language has this id (any more); export the sheet again";
                bad("id", id, remedy);
                continue;
            };
            if let Some(text) = sheet.cell(row, "text")
                && text.split_whitespace().ne(task.text.split_whitespace())
            {
                let remedy =
                    "the text was changed; correct captions with `ingest review`, and leave this column as exported";
                bad("text", text, remedy);
                continue;
            }
            if task.draft.as_deref() == Some(translation) {
                summary.already_done += 1;
                continue;
            }
            match take(task, translation, glossary, editor) {
                Err(reason) => bad("translation", translation, &reason),
                Ok(taken) => {
                    if task.draft.is_some() && task.draft == taken.edits.first().and_then(|e| e.value.clone()) {
                        summary.already_done += 1;
                        continue;
                    }
                    summary.translated += 1;
                    summary.pairs += taken.edits.len();
                    for (en, zh) in taken.missing {
                        *summary.missing_terms.entry(format!("{en} ({zh})")).or_default() += 1;
                    }
                    edits.extend(taken.edits);
                }
            }
        }
        summary.problems.extend(problems.into_iter().map(|p| BadCell {
            file: file.clone(),
            line: p.line,
            column: p.column,
            value: p.value,
            remedy: p.remedy,
        }));
    }
    write(folder, &edits)?;
    Ok(summary)
}
