//! `ingest panels`: panels, letters and captions of whole screenshots.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::Outcome;
use super::images::for_each_image;
use crate::layout::analyse::analyse_page;
use crate::ocr::OcrEngine;
use crate::ocr::tesseract::TesseractEngine;
use crate::page::open_page;

/// Arguments of `ingest panels`.
#[derive(Debug, Args)]
#[command(after_help = "\
Prints a JSON object a line: path, panels (bbox in page pixels, label or null) and
captions (bbox, text, figure_no).

Examples:
  ingest panels page-012.png
  ingest panels screenshots/*.jpg --jobs 2 > panels.jsonl")]
pub struct PanelsArgs {
    /// Whole screenshots
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// Pages worked on at the same time; 0 takes one per core
    #[arg(long, default_value_t = 1)]
    jobs: usize,
}

#[derive(Serialize)]
struct Answer {
    path: String,
    panels: Vec<AnswerPanel>,
    captions: Vec<AnswerCaption>,
}

#[derive(Serialize)]
struct AnswerPanel {
    bbox: [i32; 4],
    label: Option<String>,
}

#[derive(Serialize)]
struct AnswerCaption {
    bbox: [i32; 4],
    text: String,
    figure_no: Option<String>,
}

/// Runs the command.
pub fn run(arguments: &PanelsArgs) -> anyhow::Result<Outcome> {
    super::single_threaded_openmp();
    let engine = TesseractEngine::for_workers()?;
    for_each_image(&arguments.images, arguments.jobs, engine, |engine, path| {
        find_panels(engine, path)
    })
}

fn find_panels(engine: &mut dyn OcrEngine, path: &Path) -> Result<String, String> {
    let page = open_page(path)?;
    let layout = analyse_page(engine, &page.image).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut answer = Answer {
        path: path.display().to_string(),
        panels: Vec::new(),
        captions: Vec::new(),
    };
    for figure in layout.figures {
        answer.panels.extend(figure.panels.into_iter().map(|p| AnswerPanel {
            bbox: p.bbox.to_array(),
            label: p.label,
        }));
        answer.captions.extend(figure.caption.map(|c| AnswerCaption {
            bbox: c.bbox.to_array(),
            text: c.text,
            figure_no: c.figure_no,
        }));
    }
    serde_json::to_string(&answer).map_err(|e| e.to_string())
}
