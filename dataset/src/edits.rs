//! Corrections by people: `edits.jsonl`, append-only, applied whenever rows are
//! written. The row's original reading stays in `caption_figure` and in the
//! ledger; every correction stays in the file.

use crate::error::{DatasetError, Result};
use crate::fs::refuse_link;
use crate::record::{BoundingBox, PairRecord, ReviewStatus};
use crate::rows::check_split;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};
use std::fs::{self, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

/// File name inside the dataset folder.
pub const EDITS_FILE: &str = "edits.jsonl";

/// The fields that a person may set.
pub const EDITABLE: [&str; 11] = [
    "caption_en",
    "caption_zh",
    "modality",
    "figure_no",
    "panel",
    "lang_original",
    "split",
    "split_group",
    "licence",
    "review_status",
    REJECTED,
];

/// The field that takes a row out: its value is the reason. Emptied, the row
/// comes back when its source is ingested again.
pub const REJECTED: &str = "rejected";

/// Where a text comes from that another program or person made out of the
/// other language; such a text never takes the place of an original.
pub const TRANSLATION: &str = "translation";

/// The origins that an edit may name.
const ORIGINS: [&str; 2] = ["person", TRANSLATION];

/// Boxes that overlap at least this much (intersection over union) are the
/// same panel, cut a little differently by another version of the program.
const SAME_PANEL_IOU: f64 = 0.7;

/// Where on which page the corrected panel lies; finds the row again after its
/// id has changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    /// SHA-256 of the screenshot file.
    pub source_page_sha256: String,
    /// The panel's box on that page.
    pub panel_bbox: BoundingBox,
}

/// One correction: a line of `edits.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit {
    /// The row.
    pub id: String,
    /// One of [`EDITABLE`].
    pub field: String,
    /// The new value; `null` empties the field.
    pub value: Option<String>,
    /// Who did it.
    #[serde(default)]
    pub editor: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Finds the row when its id has changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchor: Option<Anchor>,
    /// Where a caption comes from: `person` (when absent) or `translation`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// SHA-256 of the text that a translation renders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
}

impl Edit {
    /// Checks field and value.
    ///
    /// # Errors
    /// The field is not one of [`EDITABLE`], or the value is not allowed in it.
    pub fn check(&self) -> Result<(), String> {
        if self.id.is_empty() {
            return Err("`id` is empty".to_owned());
        }
        let value = self.value.as_deref();
        let is_caption = matches!(self.field.as_str(), "caption_en" | "caption_zh");
        match self.origin.as_deref() {
            Some(origin) if !ORIGINS.contains(&origin) => {
                return Err(format!("origin `{origin}`; use {}", ORIGINS.join(" or ")));
            }
            Some(_) if !is_caption => return Err(format!("`{}` has no origin; leave it out", self.field)),
            _ => {}
        }
        match (self.field.as_str(), value) {
            ("modality", Some(word)) => word.parse::<crate::Modality>().map(drop).map_err(|e| e.to_string()),
            ("review_status", Some(word)) => word.parse::<ReviewStatus>().map(drop),
            ("split", Some(word)) => check_split(word),
            ("lang_original", Some(word)) if !["en", "zh"].contains(&word) => {
                Err(format!("language `{word}`; use en or zh"))
            }
            (REJECTED, Some(reason)) if reason.trim().is_empty() => Err("a row is rejected for a reason".to_owned()),
            ("modality" | "review_status" | "split" | "split_group", None) => {
                Err(format!("`{}` cannot be empty", self.field))
            }
            (field, _) if EDITABLE.contains(&field) => Ok(()),
            (field, _) => Err(format!(
                "field `{field}` cannot be edited; use one of {}",
                EDITABLE.join(", ")
            )),
        }
    }

    /// Sets the field; the edit must have passed [`Edit::check`].
    fn apply(&self, row: &mut PairRecord) {
        if self.origin.as_deref() == Some(TRANSLATION) {
            return self.translate(row);
        }
        let value = self.value.clone();
        let person = value.as_ref().map(|_| "person".to_owned());
        match self.field.as_str() {
            "caption_en" => (row.caption_en, row.caption_en_origin) = (value, person),
            "caption_zh" => (row.caption_zh, row.caption_zh_origin) = (value, person),
            "figure_no" => row.figure_no = value,
            "panel" => row.panel = value,
            "lang_original" => row.lang_original = value,
            "licence" => row.licence = value,
            "split" => row.split = value.unwrap_or_default(),
            "split_group" => row.split_group = value.unwrap_or_default(),
            "modality" => {
                if let Some(modality) = value.and_then(|word| word.parse().ok()) {
                    row.modality = modality;
                }
            }
            "review_status" => {
                if let Some(status) = value.and_then(|word| word.parse().ok()) {
                    row.review_status = status;
                }
                return;
            }
            _ => return,
        }
        row.review_status = ReviewStatus::Corrected;
    }

    /// Fills an empty caption, or one that is a translation itself. The review
    /// state stays, unless the translation comes with a doubt.
    fn translate(&self, row: &mut PairRecord) {
        let (text, origin) = match self.field.as_str() {
            "caption_en" => (&mut row.caption_en, &mut row.caption_en_origin),
            _ => (&mut row.caption_zh, &mut row.caption_zh_origin),
        };
        if text.is_some() && origin.as_deref() != Some(TRANSLATION) {
            return;
        }
        text.clone_from(&self.value);
        *origin = self.value.as_ref().map(|_| TRANSLATION.to_owned());
        if let Some(doubt) = &self.reason
            && !row.review_reasons.contains(doubt)
        {
            row.review_reasons.push(doubt.clone());
            row.review_status = ReviewStatus::NeedsReview;
        }
    }
}

/// Appends a correction. It takes effect when rows are written next: by
/// `dataset edit --apply`, or when any source is ingested.
///
/// # Errors
/// The edit fails [`Edit::check`], or the file cannot be written.
pub fn append(folder: &Path, edit: &Edit) -> Result<()> {
    append_all(folder, std::slice::from_ref(edit))
}

/// Appends several corrections in one write: all of them or, when one is no
/// good, none.
///
/// # Errors
/// As [`append`].
pub fn append_all(folder: &Path, edits: &[Edit]) -> Result<()> {
    if edits.is_empty() {
        return Ok(());
    }
    let path = folder.join(EDITS_FILE);
    let invalid = |message: String| DatasetError::invalid(path.display().to_string(), message);
    let mut line = String::new();
    for edit in edits {
        edit.check().map_err(invalid)?;
        line += &serde_json::to_string(edit).map_err(|e| invalid(e.to_string()))?;
        line.push('\n');
    }
    refuse_link(&path)?;
    if lacks_line_end(&path) {
        line.insert(0, '\n');
    }
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .and_then(|mut file| file.write_all(line.as_bytes()).and_then(|()| file.sync_all()))
        .map_err(|e| DatasetError::io(&path, "append to", e).with_needed(line.len() as u64))
}

/// Blanks the corrections of rows that were taken down: their values are captions.
/// Rejections stay. Lines are overwritten by spaces where they stand, so that
/// nothing is lost that somebody else appends meanwhile.
///
/// # Errors
/// The file cannot be read or written.
pub(crate) fn erase(folder: &Path, ids: &BTreeSet<String>) -> Result<()> {
    let path = folder.join(EDITS_FILE);
    if ids.is_empty() || !path.is_file() {
        return Ok(());
    }
    refuse_link(&path)?;
    let failed = |e| DatasetError::io(&path, "blank lines of", e);
    let text = fs::read(&path).map_err(failed)?;
    let mut file = OpenOptions::new().write(true).open(&path).map_err(failed)?;
    let mut start = 0;
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        let content = line.trim_ascii_end();
        let gone =
            serde_json::from_slice::<Edit>(content).is_ok_and(|edit| edit.field != REJECTED && ids.contains(&edit.id));
        if gone {
            file.seek(SeekFrom::Start(start))
                .and_then(|_| file.write_all(&vec![b' '; content.len()]))
                .map_err(failed)?;
        }
        start += line.len() as u64;
    }
    file.sync_all().map_err(failed)
}

/// A line that a killed run left unfinished must not swallow the next one.
fn lacks_line_end(path: &Path) -> bool {
    let last = || -> std::io::Result<u8> {
        let mut file = fs::File::open(path)?;
        file.seek(SeekFrom::End(-1))?;
        let mut byte = [b'\n'];
        file.read_exact(&mut byte)?;
        Ok(byte[0])
    };
    last().is_ok_and(|byte| byte != b'\n')
}

/// All corrections of a folder, ready to be applied.
#[derive(Debug, Default)]
pub struct Edits {
    /// Good edits in file order.
    pub edits: Vec<Edit>,
    /// Lines that are no good edit, with line number and reason. They stay in
    /// the file.
    pub problems: Vec<String>,
    by_id: HashMap<String, Vec<usize>>,
    by_page: HashMap<String, Vec<usize>>,
}

/// Reads `edits.jsonl`; a missing file has no edits.
///
/// # Errors
/// The file exists and cannot be read.
pub fn read(folder: &Path) -> Result<Edits> {
    let path = folder.join(EDITS_FILE);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Edits::default()),
        Err(error) => return Err(DatasetError::io(&path, "read", error)),
    };
    let mut edits = Edits::default();
    for (number, line) in text.split(|&byte| byte == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let parsed = serde_json::from_slice::<Edit>(line)
            .map_err(|e| e.to_string())
            .and_then(|edit| edit.check().map(|()| edit));
        match parsed {
            Ok(edit) => edits.add(edit),
            Err(message) => edits.problems.push(format!("{EDITS_FILE}:{}: {message}", number + 1)),
        }
    }
    Ok(edits)
}

impl Edits {
    fn add(&mut self, edit: Edit) {
        let at = self.edits.len();
        self.by_id.entry(edit.id.clone()).or_default().push(at);
        if let Some(anchor) = &edit.anchor {
            let page = anchor.source_page_sha256.clone();
            self.by_page.entry(page).or_default().push(at);
        }
        self.edits.push(edit);
    }

    /// Which edits are meant for this row: those with its id, else those whose
    /// anchor is its place on its page. In file order.
    #[must_use]
    pub fn matching(&self, row: &PairRecord) -> Vec<usize> {
        if let Some(found) = self.by_id.get(&row.id) {
            return found.clone();
        }
        let (Some(page), Some(bbox)) = (&row.source_page_sha256, row.panel_bbox) else {
            return Vec::new();
        };
        let on_page = self.by_page.get(page).map(Vec::as_slice).unwrap_or_default();
        let same_place = |at: &&usize| {
            let anchor = self.edits[**at].anchor.as_ref();
            anchor.is_some_and(|anchor| anchor.panel_bbox.iou(bbox) >= SAME_PANEL_IOU)
        };
        on_page.iter().filter(same_place).copied().collect()
    }

    /// Why a person took this row out, given its matching edits; the last word counts.
    #[must_use]
    pub fn rejection(&self, matching: &[usize]) -> Option<String> {
        let edit = matching
            .iter()
            .rev()
            .map(|&at| &self.edits[at])
            .find(|edit| edit.field == REJECTED)?;
        let reason = edit.value.as_ref()?;
        Some(match edit.editor.as_str() {
            "" => format!("rejected by a person: {reason}"),
            editor => format!("rejected by {editor}: {reason}"),
        })
    }

    /// Whether the last word on the row `id` takes it out.
    #[must_use]
    pub fn is_rejected(&self, id: &str) -> bool {
        self.by_id
            .get(id)
            .is_some_and(|matching| self.rejection(matching).is_some())
    }

    /// Applies all matching edits; returns which.
    pub fn apply(&self, row: &mut PairRecord) -> Vec<usize> {
        let matching = self.matching(row);
        for &at in &matching {
            self.edits[at].apply(row);
        }
        matching
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::drawn_pair;

    fn edit(id: &str, field: &str, value: Option<&str>) -> Edit {
        Edit {
            id: id.to_owned(),
            field: field.to_owned(),
            value: value.map(str::to_owned),
            editor: "ann".to_owned(),
            reason: None,
            anchor: None,
            origin: None,
            of: None,
        }
    }

    #[test]
    fn fields_and_values_are_checked() {
        for (field, value, good) in [
            ("caption_en", Some("x"), true),
            ("caption_en", None, true),
            ("modality", Some("OCT"), true),
            ("modality", Some("MRI"), false),
            ("modality", None, false),
            ("review_status", Some("approved"), true),
            ("review_status", Some("ok"), false),
            ("split", Some("../x"), false),
            ("image_sha256", Some("0"), false),
            ("colour", Some("0"), false),
            ("rejected", Some("a drawing"), true),
            ("rejected", Some(" "), false),
            ("rejected", None, true),
        ] {
            assert_eq!(edit("a", field, value).check().is_ok(), good, "{field} {value:?}");
        }
    }

    #[test]
    fn edits_set_fields_and_the_review_state() {
        let folder = tempfile::tempdir().unwrap();
        let mut row = drawn_pair("book", 1);
        append(folder.path(), &edit(&row.id, "caption_en", Some("Soft drusen"))).unwrap();
        append(folder.path(), &edit(&row.id, "modality", Some("FFA"))).unwrap();
        let edits = read(folder.path()).unwrap();
        let figure = row.caption_figure.clone();
        assert_eq!(edits.apply(&mut row), [0, 1]);
        assert_eq!(row.caption_en.as_deref(), Some("Soft drusen"));
        assert_eq!(row.caption_en_origin.as_deref(), Some("person"));
        assert_eq!(row.modality, crate::Modality::Ffa);
        assert_eq!(row.review_status, ReviewStatus::Corrected);
        assert_eq!(row.caption_figure, figure);
        let once = row.clone();
        edits.apply(&mut row);
        assert_eq!(row, once, "applying twice changes nothing");
    }

    #[test]
    fn anchors_find_rows_whose_id_changed() {
        let mut row = drawn_pair("book", 1);
        let mut edits = Edits::default();
        let mut one = edit("pair-of-an-older-run", "panel", Some("B"));
        let mut bbox = row.panel_bbox.unwrap();
        bbox.x1 += 3;
        one.anchor = Some(Anchor {
            source_page_sha256: row.source_page_sha256.clone().unwrap(),
            panel_bbox: bbox,
        });
        edits.add(one);
        assert_eq!(edits.apply(&mut row), [0]);
        assert_eq!(row.panel.as_deref(), Some("B"));
        let mut elsewhere = drawn_pair("book", 2);
        assert!(edits.apply(&mut elsewhere).is_empty());
    }

    #[test]
    fn translations_never_replace_originals() {
        let mut row = drawn_pair("book", 1);
        let original = row.clone();
        let translated = |field: &str, text: &str, doubt: Option<&str>| Edit {
            origin: Some(TRANSLATION.to_owned()),
            reason: doubt.map(str::to_owned),
            ..edit(&original.id, field, Some(text))
        };
        let mut edits = Edits::default();
        edits.add(translated("caption_en", "another text", None));
        edits.add(translated("caption_zh", "黄斑区玻璃膜疣", None));
        edits.apply(&mut row);
        assert_eq!(row.caption_en, original.caption_en);
        assert_eq!(row.caption_zh.as_deref(), Some("黄斑区玻璃膜疣"));
        assert_eq!(row.caption_zh_origin.as_deref(), Some("translation"));
        assert_eq!(row.review_status, ReviewStatus::Auto);
        edits.add(translated("caption_zh", "黄斑区疣", Some("a term is missing")));
        edits.add(edit(&original.id, "review_status", Some("approved")));
        edits.apply(&mut row);
        let once = row.clone();
        edits.apply(&mut row);
        assert_eq!(row, once, "applying twice changes nothing");
        assert_eq!(row.caption_zh.as_deref(), Some("黄斑区疣"));
        assert_eq!(row.review_status, ReviewStatus::Approved);
        assert_eq!(row.review_reasons, ["a term is missing"]);
        let mut bad = translated("modality", "CFP", None);
        assert!(bad.check().is_err(), "only captions have an origin");
        bad = translated("caption_en", "x", None);
        bad.origin = Some("robot".to_owned());
        assert!(bad.check().is_err());
    }

    #[test]
    fn the_last_word_on_a_rejection_counts() {
        let row = drawn_pair("book", 1);
        let mut edits = Edits::default();
        assert_eq!(edits.rejection(&edits.matching(&row)), None);
        edits.add(edit(&row.id, REJECTED, Some("a drawing")));
        assert_eq!(
            edits.rejection(&edits.matching(&row)).as_deref(),
            Some("rejected by ann: a drawing")
        );
        assert!(edits.is_rejected(&row.id));
        edits.add(edit(&row.id, REJECTED, None));
        assert!(!edits.is_rejected(&row.id));
    }

    #[test]
    fn broken_lines_are_reported_and_do_not_swallow_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(EDITS_FILE);
        fs::write(
            &path,
            "{\"id\":\"a\",\"field\":\"colour\",\"value\":\"x\"}\n{\"id\":\"a\",\"fie",
        )
        .unwrap();
        append(folder.path(), &edit("a", "panel", Some("C"))).unwrap();
        let edits = read(folder.path()).unwrap();
        assert_eq!(edits.edits.len(), 1);
        assert_eq!(edits.problems.len(), 2);
        assert!(edits.problems[0].contains("edits.jsonl:1") && edits.problems[0].contains("colour"));
        assert!(append(folder.path(), &edit("a", "colour", None)).is_err());
    }
}
