//! Review by file: doubtful pairs go out as a sheet and pages with pictures,
//! and come back as corrections in the dataset's append-only log.

pub mod apply;
pub mod export;
mod html;
pub mod pictures;

use dataset::hash::sha256_hex;
use dataset::{PairRecord, ReviewStatus};

/// The sheet's file name.
pub const SHEET_FILE: &str = "review.csv";

/// Columns of the sheet. The first ones tell, those from `decision` on are the
/// person's; `seen` ties a row to what was exported.
pub const COLUMNS: [&str; 22] = [
    "no",
    "id",
    "source",
    "page",
    "figure",
    "panel",
    "modality",
    "caption_en",
    "caption_zh",
    "reason",
    "flags",
    "confidence",
    "status",
    "decision",
    "modality_new",
    "figure_new",
    "panel_new",
    "caption_en_new",
    "caption_zh_new",
    "remark",
    "caption_figure",
    "seen",
];

/// What a person writes to empty a field.
pub const EMPTY: &str = "(empty)";

/// A field that a person may correct: its name in the dataset, the column that
/// shows it and the column that takes the correction.
struct Field {
    name: &'static str,
    shown: &'static str,
    new: &'static str,
}

/// The fields of the sheet, in the order of `seen`.
const FIELDS: [Field; 5] = [
    Field {
        name: "modality",
        shown: "modality",
        new: "modality_new",
    },
    Field {
        name: "figure_no",
        shown: "figure",
        new: "figure_new",
    },
    Field {
        name: "panel",
        shown: "panel",
        new: "panel_new",
    },
    Field {
        name: "caption_en",
        shown: "caption_en",
        new: "caption_en_new",
    },
    Field {
        name: "caption_zh",
        shown: "caption_zh",
        new: "caption_zh_new",
    },
];

/// What a field of [`FIELDS`] holds.
fn value_of(row: &PairRecord, field: &str) -> Option<String> {
    match field {
        "modality" => Some(row.modality.to_string()),
        "figure_no" => row.figure_no.clone(),
        "panel" => row.panel.clone(),
        "caption_en" => row.caption_en.clone(),
        _ => row.caption_zh.clone(),
    }
}

/// Eight digits that tell whether a text is the exported one; blanks do not count.
fn fingerprint(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    sha256_hex(words.as_bytes())[..8].to_owned()
}

/// The cell `seen`: a fingerprint of each field.
fn seen(row: &PairRecord) -> String {
    let prints: Vec<String> = FIELDS
        .iter()
        .map(|field| fingerprint(&value_of(row, field.name).unwrap_or_default()))
        .collect();
    prints.join("-")
}

/// How much a pair needs a person, 0 to 2: what is marked `needs-review` stands
/// above the rest; then the chance that picture, text or modality is wrong.
pub fn risk(row: &PairRecord) -> f64 {
    let sure = |confidence: Option<f32>| f64::from(confidence.unwrap_or(0.5)).clamp(0.0, 1.0);
    let right = sure(row.pair_confidence) * sure(row.modality_confidence) * sure(row.ocr_confidence);
    let marked = match row.review_status {
        ReviewStatus::NeedsReview => 1.0,
        _ => 0.0,
    };
    marked + 1.0 - right
}
