//! The command line: one subcommand a file, errors on stderr, JSON on stdout.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod ablations;
mod codebook;
mod convert;
mod embed;
mod keepfit;
mod knowledge;
mod mlm;
mod parity;
mod runs;
mod speed;
mod tokenizer;
mod training;

/// Exit code when a command could not start or could not go on.
pub const EXIT_FAILED: u8 = 2;
/// Exit code when a command finished and some inputs were rejected.
pub const EXIT_SOME_REJECTED: u8 = 1;

/// Masked-language pretraining, IBQ codebook and joint KeepFIT V2 training.
#[derive(Parser)]
#[command(name = "trainer", version, about, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
The three trainings of the paper, in order:
  trainer tokenizer --config trainer/configs/tiny-tokenizer.toml   (only without a published vocabulary)
  trainer mlm       --config trainer/configs/tiny-mlm.toml
  trainer codebook  --config trainer/configs/tiny-codebook.toml
  trainer keepfit   --config trainer/configs/tiny-keepfit.toml

Each writes one run folder; the same command again continues a run that was interrupted.
Exit codes: 0 everything done, or stopped and saved on SIGINT/SIGTERM; 1 finished, but some inputs
were rejected (each with its reason); 2 could not start or could not go on.";

#[derive(Subcommand)]
enum Command {
    /// Train a WordPiece vocabulary from the texts, captions and labels of dataset folders
    Tokenizer(tokenizer::Args),
    /// Pretrain the text encoder by masked language modelling (Section IV-B)
    Mlm(mlm::Args),
    /// Train the IBQ autoencoder whose codebook the appearance branch uses (Section IV-C.3)
    Codebook(codebook::Args),
    /// Joint training on public label sets and MM-Retinal pairs (Section IV-C)
    Keepfit(keepfit::Args),
    /// List the rows of the ablation table with their changes of a keepfit config
    Ablations(ablations::Args),
    /// Embed a folder of images and a file of texts with a trained model
    Embed(embed::Args),
    /// Trace the expert knowledge of images back to MM-Retinal pairs
    Knowledge(knowledge::Args),
    /// Read any supported checkpoint and write safetensors under the reference names
    Convert(convert::Args),
    /// Run one prepared parity bundle and write what was computed
    Parity(parity::Args),
    /// List and compare run folders, with loss curves as SVG
    Runs(runs::Args),
    /// Seconds and peak memory of a training or embedding step on this machine
    Speed(speed::Args),
}

/// Parses the command line, runs the command and returns its exit code.
pub fn run() -> ExitCode {
    let level = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(level)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .without_time()
        .with_target(false)
        .init();
    let outcome = match Cli::parse().command {
        Command::Tokenizer(args) => tokenizer::run(&args),
        Command::Mlm(args) => mlm::run(&args),
        Command::Codebook(args) => codebook::run(&args),
        Command::Keepfit(args) => keepfit::run(&args),
        Command::Ablations(args) => ablations::run(&args),
        Command::Embed(args) => embed::run(&args),
        Command::Knowledge(args) => knowledge::run(&args),
        Command::Convert(args) => convert::run(&args),
        Command::Parity(args) => parity::run(&args),
        Command::Runs(args) => runs::run(&args),
        Command::Speed(args) => speed::run(&args),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(EXIT_FAILED)
        }
    }
}
