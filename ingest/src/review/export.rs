//! `ingest review export`: the sheet and the pages with pictures.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use dataset::fs::{natural_cmp, write_atomic};
use dataset::{Columns, Dataset, LedgerEntry, PairRecord, ReviewStatus};
use serde::Serialize;

use super::html::{self, Orphan};
use super::pictures::PageFolders;
use super::{COLUMNS, SHEET_FILE, risk, seen};
use crate::sheet;

/// What to export and where to.
#[derive(Debug, Clone, Default)]
pub struct ExportOptions {
    /// The dataset folder.
    pub dataset: PathBuf,
    /// The folder that is written.
    pub out: PathBuf,
    /// Where the screenshots are.
    pub pages: PageFolders,
    /// Only this source.
    pub source_id: Option<String>,
    /// Only pairs with one of these states; none for all.
    pub statuses: Vec<ReviewStatus>,
    /// At most so many pairs, the riskiest; 0 for all.
    pub limit: usize,
}

/// What was exported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExportSummary {
    /// Pairs in the sheet.
    pub pairs: usize,
    /// Pairs that fit the choice but not the limit.
    pub left_out: usize,
    /// Figures and captions that became no pair, listed on the last page.
    pub without_pair: usize,
    /// The sheet.
    pub sheet: String,
    /// The pages, the riskiest first.
    pub pages: Vec<String>,
    /// Screenshots that could not be shown.
    pub pages_missing: usize,
}

/// Writes the sheet and the pages of a dataset folder.
///
/// # Errors
/// The dataset cannot be read, no pair fits, or the folder cannot be written.
pub fn export(options: &ExportOptions) -> anyhow::Result<ExportSummary> {
    let dataset = Dataset::open(&options.dataset)?;
    let mut rows = Vec::new();
    let mut held = 0usize;
    for row in dataset.pairs(Columns::WithoutImageBytes)? {
        let row = row?;
        held += 1;
        let status = options.statuses.is_empty() || options.statuses.contains(&row.review_status);
        if status && options.source_id.as_ref().is_none_or(|s| *s == row.source_id) {
            rows.push(row);
        }
    }
    if held == 0 {
        bail!("{}: holds no pairs; run `ingest book` first", options.dataset.display());
    }
    if rows.is_empty() {
        bail!(
            "{}: none of the {held} pairs fits; see all with --status all",
            options.dataset.display()
        );
    }
    sort_by_risk(&mut rows);
    let fitting = rows.len();
    if options.limit > 0 {
        rows.truncate(options.limit);
    }
    let orphans = without_pair(&dataset, options.source_id.as_deref())?;
    let sheet = render(&rows);
    let pages = html::write(&dataset, &rows, &orphans, &options.pages, &options.out)?;
    write_atomic(&options.out.join(SHEET_FILE), &sheet)?;
    remove_old_pages(&options.out, &pages.files)?;
    Ok(ExportSummary {
        pairs: rows.len(),
        left_out: fitting - rows.len(),
        without_pair: orphans.len(),
        sheet: SHEET_FILE.to_owned(),
        pages: pages.files,
        pages_missing: pages.missing,
    })
}

/// The riskiest first; equal ones in reading order.
fn sort_by_risk(rows: &mut [PairRecord]) {
    rows.sort_by(|a, b| {
        risk(b)
            .total_cmp(&risk(a))
            .then_with(|| natural_cmp(&a.source_id, &b.source_id))
            .then_with(|| {
                let page = |row: &PairRecord| row.source_page.clone().unwrap_or_default();
                natural_cmp(&page(a), &page(b))
            })
            .then_with(|| a.panel.cmp(&b.panel))
            .then_with(|| a.id.cmp(&b.id))
    });
}

/// The sheet of these rows.
fn render(rows: &[PairRecord]) -> Vec<u8> {
    let cells = rows.iter().enumerate().map(|(at, row)| {
        let text = |value: &Option<String>| Cow::Owned(value.clone().unwrap_or_default());
        let mut cells: Vec<Cow<'_, str>> = vec![
            Cow::Owned((at + 1).to_string()),
            Cow::Borrowed(row.id.as_str()),
            Cow::Borrowed(row.source_id.as_str()),
            text(&row.source_page),
            text(&row.figure_no),
            text(&row.panel),
            Cow::Owned(row.modality.to_string()),
            text(&row.caption_en),
            text(&row.caption_zh),
            Cow::Owned(row.review_reasons.join("; ")),
            Cow::Owned(row.quality_flags.join("; ")),
            Cow::Owned(confidence(row)),
            Cow::Owned(row.review_status.to_string()),
        ];
        cells.extend(std::iter::repeat_n(Cow::Borrowed(""), 7));
        cells.push(text(&row.caption_figure));
        cells.push(Cow::Owned(seen(row)));
        cells
    });
    sheet::render(&COLUMNS, cells)
}

/// The three confidences in words that no spreadsheet turns into a date.
pub(super) fn confidence(row: &PairRecord) -> String {
    [
        ("pair", row.pair_confidence),
        ("modality", row.modality_confidence),
        ("text", row.ocr_confidence),
    ]
    .iter()
    .filter_map(|(name, value)| value.map(|v| format!("{name} {v:.2}")))
    .collect::<Vec<_>>()
    .join(", ")
}

/// Figures and captions that became no pair and that a person may want to see.
fn without_pair(dataset: &Dataset, source: Option<&str>) -> anyhow::Result<Vec<Orphan>> {
    let wanted = |entry: &LedgerEntry| {
        matches!(entry.kind.as_str(), "screenshot" | "figure" | "caption" | "panel")
            && matches!(entry.state.as_str(), "rejected" | "needs-review")
            && !entry.is_row()
            && source.is_none_or(|s| s == entry.source_id)
    };
    let entries = dataset.ledger()?.into_iter().filter(wanted);
    Ok(entries
        .map(|entry| Orphan {
            source: entry.source_id,
            input: entry.input,
            kind: entry.kind,
            state: entry.state,
            reason: entry.reason.unwrap_or_default(),
        })
        .collect())
}

/// Pages of an earlier, longer export go.
fn remove_old_pages(out: &Path, pages: &[String]) -> anyhow::Result<()> {
    for path in dataset::fs::list_sorted(out)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let number = name
            .strip_prefix("review-")
            .and_then(|rest| rest.strip_suffix(".html"))
            .and_then(|rest| rest.parse::<usize>().ok());
        if number.is_some() && !pages.contains(&name) {
            std::fs::remove_file(&path).with_context(|| format!("{}: cannot be removed", path.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use dataset::testing::drawn_pair;

    #[test]
    fn the_riskiest_come_first_and_every_column_is_filled() {
        let mut rows: Vec<PairRecord> = (1..=6).map(|k| drawn_pair("book", k)).collect();
        rows[4].review_status = ReviewStatus::NeedsReview;
        rows[4].pair_confidence = Some(0.99);
        rows[2].caption_en = Some("=HYPERLINK(\"http://x\")".to_owned());
        let marked = rows[4].id.clone();
        sort_by_risk(&mut rows);
        assert_eq!(rows[0].id, marked);
        assert!(
            rows[1..]
                .windows(2)
                .all(|two| two[0].pair_confidence <= two[1].pair_confidence)
        );
        let text = String::from_utf8(render(&rows)).unwrap();
        assert!(text.starts_with('\u{feff}'));
        assert!(!text.contains(",=HYPER") && text.contains("'=HYPERLINK"), "{text}");
        let sheet = sheet::Sheet::parse(text.as_bytes(), &COLUMNS).unwrap();
        assert_eq!(sheet.rows.len(), 6);
        assert_eq!(sheet.cell(&sheet.rows[0], "figure"), rows[0].figure_no.as_deref());
    }
}
