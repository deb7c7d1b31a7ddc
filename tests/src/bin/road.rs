//! `road`: runs every step from screenshots to a results table, and shows what came out.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use tests::road;

/// Run the whole road: ingest, dataset, trainer, eval, cards.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:\n  road demo --out demo-out\n  road real --shared ../shared --out real-out --results docs/results.md"
)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// On a small drawn sample.
    Demo {
        /// Folder for everything that is made.
        #[arg(long, default_value = "demo-out")]
        out: PathBuf,
        /// A smaller sample, for tests.
        #[arg(long)]
        short: bool,
    },
    /// On real screenshots, photographs and texts.
    Real {
        /// Folder that holds `bench/` and `data/`.
        #[arg(long, default_value = "../shared")]
        shared: PathBuf,
        /// Folder for everything that is made.
        #[arg(long, default_value = "real-out")]
        out: PathBuf,
        /// Markdown page to write the results to.
        #[arg(long)]
        results: Option<PathBuf>,
        /// Run nothing; write the results page of the run that lies in --out.
        #[arg(long, requires = "results")]
        results_only: bool,
    },
}

fn main() -> anyhow::Result<()> {
    let (plan, results, results_only) = match Args::parse().command {
        Command::Demo { out, short } => (road::plan::demo(&out, short), None, false),
        Command::Real {
            shared,
            out,
            results,
            results_only,
        } => (road::plan::real(&shared, &out)?, results, results_only),
    };
    if !results_only {
        let report = road::run(&plan)?;
        road::finish(&plan, &report)?;
    }
    if let Some(path) = results {
        road::results::write_markdown(&plan, &path)?;
        eprintln!("Wrote {}", path.display());
    }
    Ok(())
}
