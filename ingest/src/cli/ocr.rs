//! `ingest ocr`: the text of page or caption images.

use std::path::{Path, PathBuf};

use clap::Args;
use image::GrayImage;
use serde::Serialize;

use super::Outcome;
use super::images::for_each_image;
use crate::layout::geometry::Rect;
use crate::ocr::OcrEngine;
use crate::ocr::prepare::to_gray;
use crate::ocr::read::{RegionText, read_region};
use crate::ocr::tesseract::TesseractEngine;
use crate::page::open_page;

/// Arguments of `ingest ocr`.
#[derive(Debug, Args)]
#[command(after_help = "\
Prints a JSON object a line: path, language (en, zh, zh+en), text, confidence (0..1)
and lines with their boxes in pixels (`raw` is what was read where look-alikes were put
right). Images that cannot be read are named on stderr.

Examples:
  ingest ocr caption.png
  ingest ocr captions/*.png > captions.jsonl")]
pub struct OcrArgs {
    /// Page or caption images
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// Images read at the same time; 0 takes one per core
    #[arg(long, default_value_t = 1)]
    jobs: usize,
}

#[derive(Serialize)]
struct Answer<'a> {
    path: &'a str,
    language: &'static str,
    text: String,
    confidence: f32,
    lines: Vec<AnswerLine>,
}

#[derive(Serialize)]
struct AnswerLine {
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    raw: Option<String>,
    bbox: [i32; 4],
    confidence: f32,
}

/// Runs the command.
pub fn run(arguments: &OcrArgs) -> anyhow::Result<Outcome> {
    super::single_threaded_openmp();
    let engine = TesseractEngine::for_workers()?;
    for_each_image(&arguments.images, arguments.jobs, engine, |engine, path| {
        read_image(engine, path)
    })
}

fn read_image(engine: &mut dyn OcrEngine, path: &Path) -> Result<String, String> {
    let page = open_page(path)?;
    let gray = to_gray(&page.image);
    let text = read_whole(engine, &gray).map_err(|e| format!("{}: {e}", path.display()))?;
    let answer = Answer {
        path: &path.display().to_string(),
        language: text.language,
        text: text.text(),
        confidence: crate::ocr::mean_confidence(text.lines.iter().map(|l| (l.text.as_str(), l.confidence))),
        lines: text
            .lines
            .into_iter()
            .map(|l| AnswerLine {
                text: l.text,
                raw: l.raw,
                bbox: l.bbox,
                confidence: l.confidence,
            })
            .collect(),
    };
    serde_json::to_string(&answer).map_err(|e| e.to_string())
}

/// Reads an image as one block of text.
fn read_whole(engine: &mut dyn OcrEngine, gray: &GrayImage) -> Result<RegionText, crate::ocr::OcrError> {
    let whole = Rect::new(0, 0, gray.width() as i32, gray.height() as i32);
    read_region(engine, gray, &whole, &[], None)
}
