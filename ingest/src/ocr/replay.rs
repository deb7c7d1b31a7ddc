//! A stand-in engine that answers from a script: tests of the pipeline need no Tesseract.

use std::collections::VecDeque;

use image::GrayImage;

use super::{Languages, Mode, OcrEngine, OcrError, OcrLine, OcrText, OcrWord};

type Answer = Box<dyn FnMut(&GrayImage, Languages, &Mode) -> Option<OcrText> + Send>;

/// Answers with what a function returns, or with recorded texts in order.
pub struct ReplayEngine {
    answer: Answer,
}

impl ReplayEngine {
    /// Answers every request with `answer`; `None` becomes [`OcrError::NotRecorded`].
    pub fn new(answer: impl FnMut(&GrayImage, Languages, &Mode) -> Option<OcrText> + Send + 'static) -> Self {
        Self {
            answer: Box::new(answer),
        }
    }

    /// Gives the recorded texts one after the other.
    pub fn recorded(texts: impl IntoIterator<Item = OcrText>) -> Self {
        let mut queue: VecDeque<OcrText> = texts.into_iter().collect();
        Self::new(move |_, _, _| queue.pop_front())
    }
}

impl OcrEngine for ReplayEngine {
    fn recognize(&mut self, image: &GrayImage, languages: Languages, mode: &Mode) -> Result<OcrText, OcrError> {
        (self.answer)(image, languages, mode).ok_or_else(|| {
            OcrError::NotRecorded(format!(
                "an image of {}x{} px as {mode:?} in {languages:?}",
                image.width(),
                image.height()
            ))
        })
    }

    fn name(&self) -> String {
        "replay".to_owned()
    }
}

/// A line as an engine would give it, one word, full confidence.
pub fn line(text: &str, bbox: [i32; 4], confidence: f32) -> OcrLine {
    OcrLine {
        text: text.to_owned(),
        raw: None,
        bbox,
        confidence,
        words: vec![OcrWord {
            text: text.to_owned(),
            bbox,
            confidence,
        }],
    }
}
