//! Text recognition behind one small trait, so that most tests need no engine.

use image::GrayImage;
use serde::{Deserialize, Serialize};

use crate::layout::geometry::Rect;

pub mod circled;
pub mod digit;
pub mod figure_number;
pub mod gaps;
pub mod join;
pub mod prepare;
pub mod read;
pub mod repair;
pub mod replay;
pub mod script;
pub mod tesseract;

/// Which language models read a region.
///
/// Chinese is read with `chi_sim` alone: it knows Latin letters and figures too, and
/// beside `eng` it loses whole stretches of Chinese to Latin capitals. Lines of
/// English in a Chinese region are read again with `eng`. Measurements are in
/// `docs/decisions/0210-chinese-is-read-alone.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Languages {
    /// `chi_sim`: Chinese, or Chinese with Latin words in it.
    Chinese,
    /// `eng`: English alone.
    English,
}

/// What the image holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Mode {
    /// A block of lines of one column.
    Block,
    /// A single line.
    Line,
    /// One character out of the given ones.
    Character {
        /// The characters allowed.
        allowed: String,
    },
    /// A page of unknown layout.
    Page,
}

/// A word (or a run of Chinese characters) as the engine cut it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OcrWord {
    /// The characters.
    pub text: String,
    /// Box in pixels of the image given.
    pub bbox: [i32; 4],
    /// 0..=1.
    pub confidence: f32,
}

/// A line of text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OcrLine {
    /// Words joined, without blanks between Chinese characters, look-alikes put right.
    pub text: String,
    /// What was read, where [`repair`] changed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
    /// Box in pixels of the image given.
    pub bbox: [i32; 4],
    /// Mean confidence of its words weighted by length, 0..=1.
    pub confidence: f32,
    /// The words, left to right.
    pub words: Vec<OcrWord>,
}

impl OcrLine {
    /// The line's box as a rectangle.
    pub fn rect(&self) -> Rect {
        let [x0, y0, x1, y1] = self.bbox;
        Rect::new(x0, y0, x1, y1)
    }
}

/// What an engine read, top to bottom.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct OcrText {
    /// Lines with at least one visible character.
    pub lines: Vec<OcrLine>,
}

impl OcrText {
    /// Mean confidence weighted by length, 0 when nothing was read.
    pub fn confidence(&self) -> f32 {
        mean_confidence(self.lines.iter().map(|l| (l.text.as_str(), l.confidence)))
    }
}

/// Mean of confidences weighted by the number of characters.
pub fn mean_confidence<'a>(parts: impl Iterator<Item = (&'a str, f32)>) -> f32 {
    let (sum, count) = parts.fold((0.0, 0usize), |(sum, count), (text, confidence)| {
        let n = text.chars().filter(|c| !c.is_whitespace()).count();
        (sum + confidence * n as f32, count + n)
    });
    if count == 0 { 0.0 } else { sum / count as f32 }
}

/// Why a region was not read.
#[derive(Debug, thiserror::Error)]
pub enum OcrError {
    /// The engine did not start.
    #[error(
        "Tesseract could not load the language `{language}`: install {packages} \
         (`apt-get install {packages}`), or set TESSDATA_PREFIX to the folder that holds \
         {language}.traineddata"
    )]
    Language {
        /// Tesseract's language code.
        language: &'static str,
        /// Debian packages that hold it.
        packages: &'static str,
    },
    /// The engine failed on an image.
    #[error("Tesseract failed on an image of {width}x{height} px: {reason}")]
    Failed {
        /// Width of the image given, pixels.
        width: u32,
        /// Height of the image given, pixels.
        height: u32,
        /// The engine's words.
        reason: String,
    },
    /// A replay has no answer for this request.
    #[error("the replay holds no reading of {0}")]
    NotRecorded(String),
}

/// A text recogniser. One handle serves one thread.
pub trait OcrEngine {
    /// Reads dark text on a light ground; boxes are in pixels of `image`.
    fn recognize(&mut self, image: &GrayImage, languages: Languages, mode: &Mode) -> Result<OcrText, OcrError>;

    /// Name and version, part of the cache key of whatever is derived from its answers.
    fn name(&self) -> String;
}
