//! `ingest review export` and `ingest review apply`.

use std::path::PathBuf;

use anyhow::bail;
use clap::{Args, Subcommand};
use dataset::ReviewStatus;

use super::Outcome;
use crate::review::apply::{ApplyOptions, apply};
use crate::review::export::{ExportOptions, export};
use crate::review::pictures::PageFolders;

/// Arguments of `ingest review`.
#[derive(Debug, Args)]
#[command(after_help = "\
`export` writes a sheet and pages with pictures, `apply` takes the filled sheet back. Corrections
go into DATASET/edits.jsonl, which only grows: every later `ingest book` keeps each of them.

Examples:
  ingest review export DATASET --pages screenshots/ --out review/
  ingest review apply DATASET review/review.csv --editor ann")]
pub struct ReviewArgs {
    #[command(subcommand)]
    command: ReviewCommand,
}

#[derive(Debug, Subcommand)]
enum ReviewCommand {
    /// Write doubtful pairs as a sheet and as pages with pictures, riskiest first
    Export(ExportArgs),
    /// Take a filled sheet back as corrections
    Apply(ApplyArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Writes OUT/review.csv, which Excel and LibreOffice open (UTF-8; cells that begin a formula or look
like a date carry an apostrophe that `apply` takes off again), and OUT/review.html with page picture,
panels, texts and reason side by side. Decide in either: the page's button `Save decisions` gives a
sheet as well.

In the sheet fill `decision` (approve, correct, reject; empty for later), the columns that end in
`_new` with what should stand there, and `remark`. `(empty)` empties a field. Leave the others as they
are: a change in them is reported and not taken over.

Examples:
  ingest review export DATASET --pages screenshots/ --out review/
  ingest review export DATASET --pages atlas1=scans1/ --pages atlas2=scans2/ --status all --limit 500 --out review/")]
struct ExportArgs {
    /// Dataset folder
    dataset: PathBuf,
    /// Folder that is written
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Folder of screenshots, for all sources or for one; may be given several times
    #[arg(long, value_name = "[SOURCE=]DIR")]
    pages: Vec<String>,
    /// Only this source
    #[arg(long, value_name = "ID")]
    source_id: Option<String>,
    /// Only pairs in this state (needs-review, auto, corrected, approved), or `all`
    #[arg(long, value_name = "STATE", default_value = "needs-review")]
    status: Vec<String>,
    /// At most so many pairs, the riskiest; 0 for all
    #[arg(long, value_name = "N", default_value_t = 0)]
    limit: usize,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Good rows are taken over beside bad ones; each bad cell is told with file, line, column, value and
remedy, and the exit code is 1. A sheet that cannot be read as a whole (no UTF-8, an open quote, columns
missing) changes nothing. Applying a sheet again changes nothing. A rejected pair leaves data/ and stays
in the ledger with the reason; approve it in a later sheet and it comes back with the next `ingest book`.

Examples:
  ingest review apply DATASET review/review.csv --editor ann
  ingest review apply DATASET review.csv decisions-2.csv --editor ann --dry-run")]
struct ApplyArgs {
    /// Dataset folder
    dataset: PathBuf,
    /// Filled sheets
    #[arg(required = true, value_name = "SHEET")]
    sheets: Vec<PathBuf>,
    /// Who decided; written into every correction. Without it the name that you are logged in with
    #[arg(long, value_name = "NAME")]
    editor: Option<String>,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

/// Runs the command; prints a one-line JSON summary.
pub fn run(arguments: &ReviewArgs) -> anyhow::Result<Outcome> {
    match &arguments.command {
        ReviewCommand::Export(arguments) => run_export(arguments),
        ReviewCommand::Apply(arguments) => run_apply(arguments),
    }
}

fn run_export(arguments: &ExportArgs) -> anyhow::Result<Outcome> {
    let mut pages = PageFolders::default();
    for text in &arguments.pages {
        pages.add(text).map_err(anyhow::Error::msg)?;
    }
    let mut statuses = Vec::new();
    if !arguments.status.iter().any(|s| s == "all") {
        for word in &arguments.status {
            match word.parse::<ReviewStatus>() {
                Ok(status) => statuses.push(status),
                Err(message) => bail!("--status {word}: {message}, or all"),
            }
        }
    }
    let summary = export(&ExportOptions {
        dataset: arguments.dataset.clone(),
        out: arguments.out.clone(),
        pages,
        source_id: arguments.source_id.clone(),
        statuses,
        limit: arguments.limit,
    })?;
    eprintln!(
        "{} pairs; open {} and fill {}",
        summary.pairs,
        arguments.out.join("review.html").display(),
        arguments.out.join(&summary.sheet).display()
    );
    if summary.left_out > 0 {
        eprintln!("{} more pairs fit and are left out by --limit", summary.left_out);
    }
    if summary.pages_missing > 0 {
        eprintln!(
            "{} screenshots could not be shown (the page says why); give their folder with --pages",
            summary.pages_missing
        );
    }
    println!("{}", serde_json::to_string(&summary)?);
    Ok(Outcome::Complete)
}

fn run_apply(arguments: &ApplyArgs) -> anyhow::Result<Outcome> {
    let summary = apply(&ApplyOptions {
        dataset: arguments.dataset.clone(),
        sheets: arguments.sheets.clone(),
        editor: super::editor_name(arguments.editor.as_deref()),
        dry_run: arguments.dry_run,
    })?;
    super::tell_bad_cells(&summary.problems);
    println!("{}", serde_json::to_string(&summary)?);
    Ok(Outcome::from_rejected(summary.problems.len()))
}
