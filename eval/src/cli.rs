//! The command line: `eval run | suite | leakage | compare | explain`.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

mod compare;
mod explain;
mod leakage;
mod run;
mod suite;

/// Everything was evaluated.
const ALL_DONE: u8 = 0;
/// The command finished, some inputs were rejected.
const SOME_REJECTED: u8 = 1;
/// The command could not start or go on.
const FAILED: u8 = 2;

#[derive(Parser)]
#[command(name = "eval", version, about = "Zero-shot, few-shot and linear-probe evaluation with the paper's protocol", after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  eval run --images images.parquet --texts texts.parquet --method zero-shot --out zero-shot.json
  eval run --images images.parquet --texts texts.parquet --method tip-adapter-f --shots 5 --out tip-f.json
  eval run --images images.parquet --method linear-probe --shots 80% --out probe.json --predictions probe.csv
  eval suite --config suites/demo.toml --out report
  eval leakage --train DATASET --test ODIR200x3.csv --out leaked.json
  eval compare first.csv second.csv
  eval explain eye.jpg --config suite.toml --captions DATASET --out eye.html

Exit codes: 0 everything was processed; 1 finished, some inputs were rejected; 2 could not start or go on.";

#[derive(Subcommand)]
enum Command {
    /// Evaluate one feature file with one method.
    Run(run::RunArgs),
    /// Evaluate data sets × models × settings of a TOML file into one report
    Suite(suite::SuiteArgs),
    /// Find test images that a training set holds already
    Leakage(leakage::LeakageArgs),
    /// Show what a model says of one image, with prompts, nearest captions and a heat map
    Explain(explain::ExplainArgs),
    /// Compare the predictions of two models on the same images
    Compare(compare::CompareArgs),
}

fn code(complete: bool) -> u8 {
    if complete { ALL_DONE } else { SOME_REJECTED }
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
        Command::Run(args) => run::run(&args).map(|()| ALL_DONE),
        Command::Suite(args) => suite::run(&args).map(code),
        Command::Leakage(args) => leakage::run(&args).map(code),
        Command::Explain(args) => explain::run(&args).map(|()| ALL_DONE),
        Command::Compare(args) => compare::run(&args).map(|()| ALL_DONE),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("eval: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}
