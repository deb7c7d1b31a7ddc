//! The command line: `data-cards dataset | lint | model | source`.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use serde_json::json;
use tracing_subscriber::EnvFilter;

use crate::info::CardInfo;
use crate::{croissant, dataset_card, facts, lint, model_card, source_card};

/// Everything is in order.
const ALL_DONE: u8 = 0;
/// The command finished and found faults.
const FAULTS: u8 = 1;
/// The command could not start or go on.
const FAILED: u8 = 2;

const EXAMPLES: &str = "\
Examples:
  data-cards dataset DATASET                     write README.md and croissant.json into the folder
  data-cards lint DATASET                        check them against the Parquet files, offline
  data-cards model RUN --report out/report.json  model card of a trainer run with its results
  data-cards source book.toml --out book.md      source card; unanswered questions are listed

Exit codes: 0 in order; 1 finished and found faults; 2 could not start or go on.";

#[derive(Parser)]
#[command(name = "data-cards", version, about = "Dataset, source and model cards, Croissant metadata", after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write README.md and croissant.json of a dataset folder; every number is computed
    Dataset {
        /// The dataset folder
        folder: PathBuf,
        /// Answers of people (TOML), instead of card.toml in the folder
        #[arg(long, value_name = "FILE.toml")]
        info: Option<PathBuf>,
    },
    /// Check card and Croissant file of a dataset folder against its Parquet files
    Lint {
        /// The dataset folder
        folder: PathBuf,
        /// Skip hashing every file
        #[arg(long)]
        no_hashes: bool,
    },
    /// Write MODEL_CARD.md of a trainer run
    Model {
        /// The run folder
        run: PathBuf,
        /// Reports of eval run or eval suite (JSON)
        #[arg(long, value_name = "REPORT.json", num_args = 1..)]
        report: Vec<PathBuf>,
        /// Where to write it
        #[arg(long, value_name = "FILE.md")]
        out: Option<PathBuf>,
    },
    /// Write the card of one source from a short TOML
    Source {
        /// The TOML
        file: PathBuf,
        /// Where to write it; beside the TOML when left out
        #[arg(long, value_name = "FILE.md")]
        out: Option<PathBuf>,
    },
}

/// Parses the command line and does what it says.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .without_time()
        .with_target(false)
        .init();
    let done = match cli.command {
        Command::Dataset { folder, info } => write_dataset_card(&folder, info.as_deref()),
        Command::Lint { folder, no_hashes } => run_lint(&folder, !no_hashes),
        Command::Model { run, report, out } => write_model_card(&run, &report, out.as_deref()),
        Command::Source { file, out } => write_source_card(&file, out.as_deref()),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("data-cards: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}

fn write_dataset_card(folder: &Path, info: Option<&Path>) -> anyhow::Result<u8> {
    let facts = facts::compute(folder)?;
    let info = CardInfo::read(folder, info)?;
    let readme = folder.join("README.md");
    let earlier = std::fs::read_to_string(&readme).unwrap_or_default();
    let date = croissant::date_published(folder, &facts, &info);
    let mut document = serde_json::to_vec_pretty(&croissant::document(&facts, &info, &date))?;
    document.push(b'\n');
    dataset::fs::write_atomic(
        &readme,
        dataset_card::card(&facts, &info, dataset_card::kept_notes(&earlier)).as_bytes(),
    )?;
    dataset::fs::write_atomic(&folder.join("croissant.json"), &document)?;
    let open: Vec<&str> = info.open_questions().into_iter().map(|q| q.0).collect();
    if !open.is_empty() {
        tracing::info!(
            "open questions, to be answered in {}: {}",
            crate::info::INFO_FILE,
            open.join(", ")
        );
    }
    println!(
        "{}",
        json!({"readme": "README.md", "croissant": "croissant.json", "rows": facts.rows(), "tables": facts.tables.iter().map(|t| t.config_name()).collect::<Vec<_>>(),
            "license": dataset_card::licence(&facts, &info), "size_category": crate::vocabulary::size_category(facts.rows()), "content_hash": facts.content_hash, "open_questions": open})
    );
    Ok(ALL_DONE)
}

fn run_lint(folder: &Path, hashes: bool) -> anyhow::Result<u8> {
    let faults = lint::lint(folder, hashes)?;
    for fault in &faults {
        println!("{}", serde_json::to_string(fault)?);
    }
    tracing::info!("{}: {} faults", folder.display(), faults.len());
    Ok(if faults.is_empty() { ALL_DONE } else { FAULTS })
}

fn write_model_card(run: &Path, reports: &[PathBuf], out: Option<&Path>) -> anyhow::Result<u8> {
    let card = model_card::card(run, reports)?;
    let file = out.map_or_else(|| run.join("MODEL_CARD.md"), Path::to_path_buf);
    dataset::fs::write_atomic(&file, card.as_bytes()).with_context(|| file.display().to_string())?;
    println!(
        "{}",
        json!({"model_card": file.file_name().map(|n| n.to_string_lossy()), "reports": reports.len()})
    );
    Ok(ALL_DONE)
}

fn write_source_card(file: &Path, out: Option<&Path>) -> anyhow::Result<u8> {
    let source = source_card::Source::read(file)?;
    let target = out.map_or_else(|| file.with_extension("md"), Path::to_path_buf);
    dataset::fs::write_atomic(&target, source.card().as_bytes())?;
    let open = source.open_questions();
    println!(
        "{}",
        json!({"source_card": target.file_name().map(|n| n.to_string_lossy()), "open_questions": open})
    );
    Ok(ALL_DONE)
}
