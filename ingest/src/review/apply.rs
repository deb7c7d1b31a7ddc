//! `ingest review apply`: a filled sheet into the dataset's log of corrections.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use dataset::edits::{self, Anchor, Edit, Edits, REJECTED};
use dataset::{Columns, Dataset, PairRecord, ReviewStatus};
use serde::Serialize;

use super::{EMPTY, FIELDS, Field, fingerprint, value_of};
use crate::sheet::{Problem, Sheet, SheetRow};

/// Columns without which a sheet cannot be taken back.
pub const NEEDED: [&str; 3] = ["id", "decision", "seen"];

/// What to take over, into which dataset.
#[derive(Debug, Clone, Default)]
pub struct ApplyOptions {
    /// The dataset folder.
    pub dataset: PathBuf,
    /// Filled sheets.
    pub sheets: Vec<PathBuf>,
    /// Who decided; written into every correction.
    pub editor: String,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// A cell that was not taken over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BadCell {
    /// The sheet.
    pub file: String,
    /// Line of the sheet, from 1.
    pub line: u64,
    /// Column; empty when the whole row is meant.
    pub column: String,
    /// What the cell holds.
    pub value: String,
    /// What is wrong and what to do.
    pub remedy: String,
}

/// What became of the sheets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ApplySummary {
    /// Rows of the sheets.
    pub rows: usize,
    /// Rows by decision: `approve`, `correct`, `reject`, `undecided`, `already done`, `bad`.
    pub decisions: BTreeMap<String, usize>,
    /// Corrections appended to the log.
    pub edits: usize,
    /// Pairs in the dataset after the run; absent with `--dry-run`.
    pub pairs: Option<u64>,
    /// Cells that were not taken over.
    pub problems: Vec<BadCell>,
}

/// What a person decided on a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    Approve,
    Correct,
    Reject,
    Undecided,
}

impl Decision {
    fn name(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Correct => "correct",
            Self::Reject => "reject",
            Self::Undecided => "undecided",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        Some(match word.trim().to_lowercase().as_str() {
            "" => Self::Undecided,
            "approve" | "approved" | "ok" | "yes" | "y" | "通过" | "同意" | "正确" => Self::Approve,
            "correct" | "corrected" | "edit" | "change" | "修改" | "更正" => Self::Correct,
            "reject" | "rejected" | "drop" | "delete" | "no" | "n" | "拒绝" | "删除" => Self::Reject,
            _ => return None,
        })
    }
}

/// Takes filled sheets over. Good rows are taken over beside bad ones; a sheet
/// that cannot be read as a whole changes nothing at all.
///
/// # Errors
/// A sheet cannot be read or parsed, or the dataset cannot be read or written.
pub fn apply(options: &ApplyOptions) -> anyhow::Result<ApplySummary> {
    let mut sheets = Vec::new();
    for path in &options.sheets {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read the sheet {}", path.display()))?;
        let sheet = Sheet::parse(&bytes, &NEEDED).map_err(|m| anyhow::anyhow!("{}: {m}", path.display()))?;
        sheets.push((path, sheet));
    }
    let dataset = Dataset::open(&options.dataset)?;
    let log = dataset.edits()?;
    let rows = rows_of(&dataset, &sheets)?;
    let mut summary = ApplySummary::default();
    let mut edits = Vec::new();
    let mut places: HashMap<String, String> = HashMap::new();
    for (path, sheet) in &sheets {
        let file = path
            .file_name()
            .map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        let mut problems = sheet.problems.clone();
        summary.rows += sheet.rows.len() + sheet.problems.len();
        *summary.decisions.entry("bad".to_owned()).or_default() += problems.len();
        for row in &sheet.rows {
            let mut reader = Reader {
                sheet,
                row,
                log: &log,
                editor: &options.editor,
                problems: Vec::new(),
            };
            let found = reader.read(&rows);
            let mut name = found.as_ref().map_or("bad", |f| f.decision.name());
            if let Some(found) = found
                && found.decision != Decision::Undecided
            {
                if let Some(first) = places.insert(found.id.clone(), format!("{file} line {}", row.line)) {
                    let text = format!("this pair was decided already ({first}); keep one of the rows");
                    reader.problem("id", text);
                    name = "bad";
                    edits.retain(|edit: &Edit| edit.id != found.id);
                } else if found.edits.is_empty() {
                    name = "already done";
                }
                if reader.problems.is_empty() {
                    edits.extend(found.edits);
                }
            }
            *summary.decisions.entry(name.to_owned()).or_default() += 1;
            problems.append(&mut reader.problems);
        }
        summary.problems.extend(problems.into_iter().map(|p| BadCell {
            file: file.clone(),
            line: p.line,
            column: p.column,
            value: p.value,
            remedy: p.remedy,
        }));
    }
    summary.decisions.retain(|_, count| *count > 0);
    summary.edits = edits.len();
    if options.dry_run {
        return Ok(summary);
    }
    summary.pairs = Some(write(&options.dataset, &edits)?);
    Ok(summary)
}

/// Appends corrections and writes the pairs anew; gives the number of pairs.
pub(crate) fn write(folder: &Path, edits: &[Edit]) -> anyhow::Result<u64> {
    edits::append_all(folder, edits)?;
    if edits.is_empty() {
        let mut pairs = 0;
        for row in Dataset::open(folder)?.pairs(Columns::WithoutImageBytes)? {
            row?;
            pairs += 1;
        }
        return Ok(pairs);
    }
    let commit = dataset::ops::apply_edits(folder).with_context(|| {
        format!(
            "the corrections stand in {}/edits.jsonl; `dataset edit {} --apply` writes them into the pairs",
            folder.display(),
            folder.display()
        )
    })?;
    Ok(commit.rows)
}

/// The dataset's rows that the sheets name.
fn rows_of(dataset: &Dataset, sheets: &[(&PathBuf, Sheet)]) -> anyhow::Result<HashMap<String, PairRecord>> {
    let named: std::collections::HashSet<&str> = sheets
        .iter()
        .flat_map(|(_, sheet)| sheet.rows.iter().filter_map(|row| sheet.filled(row, "id")))
        .collect();
    let mut rows = HashMap::new();
    for row in dataset.pairs(Columns::WithoutImageBytes)? {
        let row = row?;
        if named.contains(row.id.as_str()) {
            rows.insert(row.id.clone(), row);
        }
    }
    if !named.is_empty() && rows.is_empty() && dataset.edits()?.edits.is_empty() {
        bail!(
            "{}: holds none of the {} pairs of the sheet; is it the dataset that the sheet was exported from?",
            dataset.folder().display(),
            named.len()
        );
    }
    Ok(rows)
}

/// A decided row.
struct Found {
    id: String,
    decision: Decision,
    edits: Vec<Edit>,
}

/// Reads one row of a sheet.
struct Reader<'a> {
    sheet: &'a Sheet,
    row: &'a SheetRow,
    log: &'a Edits,
    editor: &'a str,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn problem(&mut self, column: &str, remedy: impl Into<String>) {
        self.problems.push(Problem {
            line: self.row.line,
            column: column.to_owned(),
            value: self.sheet.cell(self.row, column).unwrap_or_default().to_owned(),
            remedy: remedy.into(),
        });
    }

    /// The row's decision and what follows from it; nothing when a cell is bad.
    fn read(&mut self, rows: &HashMap<String, PairRecord>) -> Option<Found> {
        let Some(id) = self.sheet.filled(self.row, "id") else {
            self.problem("id", "is empty; copy it from the exported sheet");
            return None;
        };
        let word = self.sheet.cell(self.row, "decision").unwrap_or_default();
        let Some(mut decision) = Decision::parse(word) else {
            self.problem("decision", "write approve, correct or reject, or leave it empty");
            return None;
        };
        self.check_untouched();
        let corrections = self.corrections();
        match decision {
            Decision::Undecided if !corrections.is_empty() => decision = Decision::Correct,
            Decision::Correct if corrections.is_empty() && self.problems.is_empty() => {
                self.problem(
                    "decision",
                    "says correct, but no column that ends in _new is filled; write the new text there",
                );
            }
            Decision::Reject if !corrections.is_empty() => {
                self.problem(
                    "decision",
                    "says reject, but there are corrections; empty the columns that end in _new, or write correct",
                );
            }
            _ => {}
        }
        let current = rows.get(id);
        if current.is_none() && decision != Decision::Undecided && !self.log.edits.iter().any(|e| e.id == id) {
            self.problem("id", "the dataset has no such pair (any more); export the sheet again");
        }
        if !self.problems.is_empty() {
            return None;
        }
        let edits = self.edits(id, current, decision, corrections)?;
        Some(Found {
            id: id.to_owned(),
            decision,
            edits,
        })
    }

    /// The columns that only show must be as they were exported: whoever wrote
    /// into them wanted a correction, or the spreadsheet lost characters.
    fn check_untouched(&mut self) {
        let seen = self.sheet.filled(self.row, "seen").unwrap_or_default();
        let prints: Vec<&str> = seen.split('-').collect();
        if prints.len() != FIELDS.len() || prints.iter().any(|p| p.len() != 8) {
            self.problem("seen", "is not as exported; copy it from the exported sheet");
            return;
        }
        for (Field { shown, new, .. }, print) in FIELDS.iter().zip(prints) {
            if let Some(text) = self.sheet.cell(self.row, shown)
                && fingerprint(text) != print
            {
                let remedy = if lost_characters(text) {
                    "the spreadsheet lost characters; save it as `CSV UTF-8`".to_owned()
                } else {
                    format!("was changed in place; write the new text into `{new}` and leave this column as exported")
                };
                self.problem(shown, remedy);
            }
        }
    }

    /// Filled `_new` cells, each checked.
    fn corrections(&mut self) -> Vec<(&'static Field, Option<String>)> {
        let mut out = Vec::new();
        for field in &FIELDS {
            let Some(text) = self.sheet.filled(self.row, field.new) else {
                continue;
            };
            let value = (text.to_lowercase() != EMPTY).then(|| match field.name {
                "modality" => text.to_uppercase(),
                _ => text.to_owned(),
            });
            if lost_characters(text) {
                self.problem(field.new, "the spreadsheet lost characters; save it as `CSV UTF-8`");
            } else if let Err(message) = edit("x", field.name, value.clone(), "", None, None).check() {
                let remedy = match field.name {
                    "modality" => "use CFP, FFA, OCT or OTHER".to_owned(),
                    _ => message,
                };
                self.problem(field.new, remedy);
            } else {
                out.push((field, value));
            }
        }
        out
    }

    /// What has to be appended so that the row becomes as decided; nothing when it already is.
    /// None when somebody else changed it in the meantime.
    fn edits(
        &mut self,
        id: &str,
        current: Option<&PairRecord>,
        decision: Decision,
        corrections: Vec<(&'static Field, Option<String>)>,
    ) -> Option<Vec<Edit>> {
        let remark = self.sheet.filled(self.row, "remark").map(str::to_owned);
        let anchor = current
            .and_then(|row| row.source_page_sha256.clone().zip(row.panel_bbox))
            .map(|(source_page_sha256, panel_bbox)| Anchor {
                source_page_sha256,
                panel_bbox,
            })
            .or_else(|| self.last(id, None).and_then(|e| e.anchor.clone()));
        let new =
            |field: &str, value: Option<String>| edit(id, field, value, self.editor, remark.clone(), anchor.clone());
        let mut out = Vec::new();
        if decision == Decision::Undecided {
            return Some(out);
        }
        let out_by_hand = self.log.is_rejected(id);
        if decision == Decision::Reject {
            if !out_by_hand {
                let reason = remark.clone().unwrap_or_else(|| "without a remark".to_owned());
                out.push(new(REJECTED, Some(reason)));
            }
            return Some(out);
        }
        if out_by_hand {
            // It comes back when its source is ingested again.
            out.push(new(REJECTED, None));
        }
        let seen = self.sheet.filled(self.row, "seen").unwrap_or_default().to_owned();
        let prints: Vec<&str> = seen.split('-').collect();
        let mut conflicts = Vec::new();
        for (field, value) in corrections {
            let (now, at) = match current {
                Some(row) => (
                    value_of(row, field.name),
                    FIELDS.iter().position(|f| f.name == field.name),
                ),
                None => (self.last(id, Some(field.name)).and_then(|e| e.value.clone()), None),
            };
            if now == value {
                continue;
            }
            let print = fingerprint(now.as_deref().unwrap_or_default());
            let changed = at.is_some_and(|at| prints.get(at).is_some_and(|p| *p != print));
            let by_other = self.last(id, Some(field.name)).is_some_and(|e| e.editor != self.editor);
            if changed && by_other {
                conflicts.push(field.new);
            }
            out.push(new(field.name, value));
        }
        for column in conflicts {
            self.problem(
                column,
                "somebody else has corrected this since the sheet was exported; export it again and decide anew",
            );
        }
        if !self.problems.is_empty() {
            return None;
        }
        let status = match current {
            Some(row) => Some(row.review_status),
            None => self
                .last(id, Some("review_status"))
                .and_then(|e| e.value.as_deref()?.parse().ok()),
        };
        let settled = match decision {
            Decision::Approve => status == Some(ReviewStatus::Approved),
            _ => matches!(status, Some(ReviewStatus::Corrected | ReviewStatus::Approved)),
        };
        let corrected = out.iter().any(|e| e.field != REJECTED);
        let reopened = out.iter().any(|e| e.field == REJECTED);
        if decision == Decision::Approve && (!settled || corrected || reopened) {
            out.push(new("review_status", Some(ReviewStatus::Approved.to_string())));
        } else if decision == Decision::Correct && !settled && !corrected && current.is_some() {
            out.push(new("review_status", Some(ReviewStatus::Corrected.to_string())));
        }
        Some(out)
    }

    /// The last correction of a row, or of one of its fields.
    fn last(&self, id: &str, field: Option<&str>) -> Option<&Edit> {
        self.log
            .edits
            .iter()
            .rev()
            .find(|e| e.id == id && field.is_none_or(|f| e.field == f))
    }
}

fn edit(
    id: &str,
    field: &str,
    value: Option<String>,
    editor: &str,
    reason: Option<String>,
    anchor: Option<Anchor>,
) -> Edit {
    Edit {
        id: id.to_owned(),
        field: field.to_owned(),
        value,
        editor: editor.to_owned(),
        reason,
        anchor,
        origin: None,
        of: None,
    }
}

/// Question marks and replacement characters where a code page had no letter.
fn lost_characters(text: &str) -> bool {
    text.contains("??") || text.contains('\u{fffd}')
}
