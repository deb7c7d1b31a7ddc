//! Tesseract 5 in process, one handle per language set and thread.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use ::tesseract::{PageSegMode, Tesseract};
use image::GrayImage;

use super::{Languages, Mode, OcrEngine, OcrError, OcrText, join};

/// Debian's packages for what we use.
const ENGLISH: (&str, &str) = ("eng", "tesseract-ocr tesseract-ocr-eng");
const CHINESE: (&str, &str) = ("chi_sim", "tesseract-ocr tesseract-ocr-chi-sim");

/// Resolution told to the engine; it only scales its reports of font sizes.
const RESOLUTION: i32 = 300;

/// The Tesseract engine. Handles are opened when first needed.
#[derive(Default)]
pub struct TesseractEngine {
    chinese: Option<Tesseract>,
    english: Option<Tesseract>,
}

impl TesseractEngine {
    /// Loads both language models.
    pub fn new() -> Result<Self, OcrError> {
        Ok(Self {
            english: Some(open(ENGLISH.0)?),
            chinese: Some(open(CHINESE.0)?),
        })
    }

    /// Makes an engine for each worker. Both language models are loaded at once for
    /// the first of them (a tenth of a second each); the others load what they need.
    pub fn for_workers() -> Result<impl Fn() -> Self + Sync, OcrError> {
        let first = Mutex::new(Some(Self::new()?));
        Ok(move || {
            let ready = first.lock().unwrap_or_else(PoisonError::into_inner).take();
            ready.unwrap_or_default()
        })
    }

    fn slot(&mut self, languages: Languages) -> (&mut Option<Tesseract>, &'static str) {
        match languages {
            Languages::Chinese => (&mut self.chinese, CHINESE.0),
            Languages::English => (&mut self.english, ENGLISH.0),
        }
    }
}

fn open(languages: &'static str) -> Result<Tesseract, OcrError> {
    let (language, packages) = if languages == CHINESE.0 { CHINESE } else { ENGLISH };
    Tesseract::new(None, Some(languages))
        .ok()
        .and_then(|handle| handle.set_variable("debug_file", "/dev/null").ok())
        // Regions come dark on light: reading doubtful words once more inverted is lost time.
        .and_then(|handle| handle.set_variable("tessedit_do_invert", "0").ok())
        .ok_or(OcrError::Language { language, packages })
}

impl OcrEngine for TesseractEngine {
    fn recognize(&mut self, image: &GrayImage, languages: Languages, mode: &Mode) -> Result<OcrText, OcrError> {
        let (width, height) = image.dimensions();
        let failed = |reason: String| OcrError::Failed { width, height, reason };
        let start = Instant::now();
        let (slot, code) = self.slot(languages);
        // The handle is consumed and given back by each call; it is lost only on an error.
        let mut handle = match slot.take() {
            Some(handle) => handle,
            None => open(code)?,
        };
        let (segmentation, allowed) = match mode {
            Mode::Block => (PageSegMode::PsmSingleBlock, ""),
            Mode::Line => (PageSegMode::PsmSingleLine, ""),
            Mode::Page => (PageSegMode::PsmAuto, ""),
            Mode::Character { allowed } => (PageSegMode::PsmSingleChar, allowed.as_str()),
        };
        handle.set_page_seg_mode(segmentation);
        let mut handle = handle
            .set_variable("tessedit_char_whitelist", allowed)
            .map_err(|e| failed(e.to_string()))?
            .set_frame(image.as_raw(), width as i32, height as i32, 1, width as i32)
            .map_err(|e| failed(e.to_string()))?
            .set_source_resolution(RESOLUTION);
        let table = handle.get_tsv_text(0).map_err(|e| failed(e.to_string()))?;
        *slot = Some(handle);
        tracing::trace!(
            "{code} {mode:?} {width}x{height}: {:.1} ms",
            start.elapsed().as_secs_f64() * 1e3
        );
        Ok(join::read_tsv(&table))
    }

    fn name(&self) -> String {
        "tesseract-5/chi_sim,eng".to_owned()
    }
}
