//! The records of a dataset folder: image-text pairs, utterances and labelled
//! images. Field names are the column names of the Parquet files.

use crate::hash::to_hex;
use crate::modality::Modality;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;

/// A box in page pixels; `x1` and `y1` are exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BoundingBox {
    /// Left edge, inclusive.
    pub x0: i32,
    /// Top edge, inclusive.
    pub y0: i32,
    /// Right edge, exclusive.
    pub x1: i32,
    /// Bottom edge, exclusive.
    pub y1: i32,
}

impl BoundingBox {
    /// Width times height; 0 for an empty or inverted box.
    #[must_use]
    pub fn area(self) -> i64 {
        i64::from(self.x1 - self.x0).max(0) * i64::from(self.y1 - self.y0).max(0)
    }

    /// Intersection over union, 0..=1.
    #[must_use]
    pub fn iou(self, other: Self) -> f64 {
        let inner = Self {
            x0: self.x0.max(other.x0),
            y0: self.y0.max(other.y0),
            x1: self.x1.min(other.x1),
            y1: self.y1.min(other.y1),
        };
        let shared = inner.area();
        let union = self.area() + other.area() - shared;
        if union <= 0 { 0.0 } else { shared as f64 / union as f64 }
    }
}

/// An encoded image (PNG, JPEG, ...) and its relative file name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ImageFile {
    /// The encoded file, byte for byte. Empty when read without image bytes.
    /// Never part of JSON.
    #[serde(skip)]
    pub bytes: Vec<u8>,
    /// Relative name with `/`, such as `book1/p012-fig2-12-A.png`.
    pub path: String,
}

/// Who has looked at a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReviewStatus {
    /// Made by the program; nothing doubtful was found.
    Auto,
    /// Made by the program; a person should look (see `review_reasons`).
    NeedsReview,
    /// A person changed a field.
    Corrected,
    /// A person approved it as it is.
    Approved,
}

impl ReviewStatus {
    /// All states in their fixed order.
    pub const ALL: [Self; 4] = [Self::Auto, Self::NeedsReview, Self::Corrected, Self::Approved];

    /// `auto`, `needs-review`, `corrected` or `approved`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::NeedsReview => "needs-review",
            Self::Corrected => "corrected",
            Self::Approved => "approved",
        }
    }
}

impl fmt::Display for ReviewStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl FromStr for ReviewStatus {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str() == word)
            .ok_or_else(|| format!("`{word}` is no review status; use auto, needs-review, corrected or approved"))
    }
}

/// One image with its caption(s): a row of `data/`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PairRecord {
    /// Stable id from content, see [`content_id`].
    pub id: String,
    /// The picture.
    pub image: ImageFile,
    /// Width in pixels.
    pub width: i32,
    /// Height in pixels.
    pub height: i32,
    /// How the picture was taken.
    pub modality: Modality,
    /// English caption of this picture.
    pub caption_en: Option<String>,
    /// Chinese caption of this picture.
    pub caption_zh: Option<String>,
    /// Where `caption_en` comes from: `ocr`, `person`, `translation`, `findings`.
    pub caption_en_origin: Option<String>,
    /// Where `caption_zh` comes from, as above.
    pub caption_zh_origin: Option<String>,
    /// The whole figure's caption as read; never edited.
    pub caption_figure: Option<String>,
    /// Language of the original caption: `en` or `zh`.
    pub lang_original: Option<String>,
    /// Figure number such as `2-12`.
    pub figure_no: Option<String>,
    /// Panel letter such as `A`.
    pub panel: Option<String>,
    /// Where the panel lies on its page.
    pub panel_bbox: Option<BoundingBox>,
    /// The book, set or hospital it comes from.
    pub source_id: String,
    /// The screenshot's file name.
    pub source_page: Option<String>,
    /// SHA-256 of the screenshot file.
    pub source_page_sha256: Option<String>,
    /// Mean OCR confidence of the caption, 0..=1.
    pub ocr_confidence: Option<f32>,
    /// How sure it is that picture and caption belong together, 0..=1.
    pub pair_confidence: Option<f32>,
    /// How sure the modality is, 0..=1.
    pub modality_confidence: Option<f32>,
    /// Who has looked at it.
    pub review_status: ReviewStatus,
    /// Why a person should look.
    pub review_reasons: Vec<String>,
    /// Remarks on the picture or text that need no review.
    pub quality_flags: Vec<String>,
    /// `train` unless split otherwise.
    pub split: String,
    /// Rows of one group (figure, patient, book) never cross splits.
    pub split_group: String,
    /// SHA-256 of `image.bytes`.
    pub image_sha256: String,
    /// Licence of picture and caption, as an SPDX id or in words.
    pub licence: Option<String>,
}

/// One utterance for text pretraining: a row of `text/`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TextRecord {
    /// Stable id from content.
    pub id: String,
    /// The utterance.
    pub text: String,
    /// `en` or `zh`.
    pub language: String,
    /// The corpus.
    pub source_id: String,
    /// Licence, as an SPDX id or in words.
    pub licence: Option<String>,
    /// Keywords that made it relevant.
    pub keywords: Vec<String>,
}

/// One image with categories: a row of `labels/`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LabelRecord {
    /// Stable id from content.
    pub id: String,
    /// The picture.
    pub image: ImageFile,
    /// Width in pixels.
    pub width: i32,
    /// Height in pixels.
    pub height: i32,
    /// How the picture was taken.
    pub modality: Modality,
    /// Category names.
    pub categories: Vec<String>,
    /// Attribute words that are no category.
    pub attributes: Vec<String>,
    /// The labelled set's name.
    pub dataset: String,
    /// `train`, `test` or another split.
    pub split: String,
    /// Rows of one group (patient) never cross splits.
    pub split_group: String,
    /// SHA-256 of `image.bytes`.
    pub image_sha256: String,
    /// Licence, as an SPDX id or in words.
    pub licence: Option<String>,
}

/// Digits of SHA-256 kept in an id: 80 bits, so that a billion rows collide
/// with probability below one in a million.
const ID_HEX_DIGITS: usize = 20;

/// A stable id: `prefix`, `-` and 20 hex digits of the SHA-256 over the parts,
/// each preceded by its length (so that `["ab","c"]` and `["a","bc"]` differ).
#[must_use]
pub fn content_id(prefix: &str, parts: &[&[u8]]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let digits = to_hex(&hasher.finalize());
    format!("{prefix}-{}", &digits[..ID_HEX_DIGITS])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ids_depend_on_every_part_and_its_borders() {
        let id = content_id("pair", &[b"ab", b"c"]);
        assert_eq!(id, content_id("pair", &[b"ab", b"c"]));
        assert_eq!(id.len(), "pair-".len() + ID_HEX_DIGITS);
        assert_ne!(id, content_id("pair", &[b"a", b"bc"]));
        assert_ne!(id, content_id("pair", &[b"abc"]));
    }

    #[test]
    fn review_words_go_there_and_back() {
        for status in ReviewStatus::ALL {
            assert_eq!(status.to_string().parse::<ReviewStatus>().unwrap(), status);
            assert_eq!(serde_json::to_string(&status).unwrap(), format!("\"{status}\""));
        }
        assert!("done".parse::<ReviewStatus>().is_err());
    }

    #[test]
    fn overlap_of_boxes() {
        let a = BoundingBox {
            x0: 0,
            y0: 0,
            x1: 10,
            y1: 10,
        };
        let b = BoundingBox {
            x0: 5,
            y0: 0,
            x1: 15,
            y1: 10,
        };
        assert!((a.iou(b) - 50.0 / 150.0).abs() < 1e-12);
        assert_eq!(a.iou(a), 1.0);
        assert_eq!(
            a.iou(BoundingBox {
                x0: 20,
                y0: 0,
                x1: 20,
                y1: 10
            }),
            0.0
        );
    }
}
