//! `ingest book`: a folder of screenshots into image-text pairs.

use std::path::PathBuf;

use clap::Args;

use super::Outcome;
use crate::modality::ModalityModel;
use crate::ocr::tesseract::TesseractEngine;
use crate::source::book::{BookOptions, list_screenshots, run as run_book};

/// Arguments of `ingest book`.
#[derive(Debug, Args)]
#[command(after_help = "\
Prints one JSON line with the totals: every screenshot, figure, caption and panel has
exactly one final state in DATASET/ledger.jsonl. What the program is not sure of is
written with review_status needs-review and the reasons. Running it again replaces the
book's rows and keeps every correction; pages already worked on are not read again.

Examples:
  ingest book --input screenshots/ --source-id atlas1 --out DATASET
  ingest book --input screenshots/ --source-id atlas1 --out DATASET --jobs 0 --licence CC-BY-4.0")]
pub struct BookArgs {
    /// Folder of screenshots, folders inside included
    #[arg(long, value_name = "DIR")]
    input: PathBuf,
    /// Name of the book in the dataset
    #[arg(long, value_name = "ID")]
    source_id: String,
    /// Dataset folder, made when it is not there
    #[arg(long, value_name = "DATASET")]
    out: PathBuf,
    /// Pages worked on at the same time; 0 takes one per core. The result does not depend on it
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Licence written to every row
    #[arg(long, value_name = "TEXT")]
    licence: Option<String>,
    /// Modality statistics made by `ingest modality-fit`; without it the built-in ones
    #[arg(long, value_name = "FILE")]
    modality_model: Option<PathBuf>,
}

/// Runs the command.
pub fn run(arguments: &BookArgs) -> anyhow::Result<Outcome> {
    super::single_threaded_openmp();
    let pages = list_screenshots(&arguments.input)?.len();
    let model = match &arguments.modality_model {
        Some(path) => ModalityModel::open(path)?,
        None => ModalityModel::built_in()?,
    };
    let engine = TesseractEngine::for_workers()?;
    let options = BookOptions {
        input: arguments.input.clone(),
        source_id: arguments.source_id.clone(),
        out: arguments.out.clone(),
        jobs: arguments.jobs,
        licence: arguments.licence.clone(),
    };
    let progress = dataset::progress::bar(Some(pages as u64), "pages");
    let summary = run_book(&options, &model, engine, &progress)?;
    progress.finish();
    println!("{}", serde_json::to_string(&summary)?);
    let rejected = summary
        .ledger
        .get("screenshot")
        .and_then(|s| s.get("rejected"))
        .copied()
        .unwrap_or(0);
    Ok(Outcome::from_rejected(rejected as usize))
}
