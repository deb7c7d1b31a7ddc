//! `trainer tokenizer`

use std::process::ExitCode;

use anyhow::Result;

use super::training::{TrainingArgs, already_done};
use crate::config::{StageConfig, TokenizerConfig};
use crate::stage::{Started, resolve, start, tokenizer};

/// Train a WordPiece vocabulary.
#[derive(clap::Args)]
#[command(after_help = "\
Writes RUN/tokenizer/{vocab.txt, tokenizer_config.json} in Hugging Face's form. Use it in the other
configs as tokenizer = \"RUN\". Not needed with a published vocabulary (vocab.txt).

Examples:
  trainer tokenizer --config trainer/configs/tiny-tokenizer.toml --out runs/tokenizer
  trainer tokenizer --config trainer/configs/small-tokenizer.toml --set vocab_size=8000 --out runs/t8k")]
pub struct Args {
    #[command(flatten)]
    training: TrainingArgs,
}

/// Runs the command.
///
/// # Errors
/// The config or the data cannot be used.
pub fn run(args: &Args) -> Result<ExitCode> {
    let request = args.training.request();
    if args.training.dry_run {
        let config: TokenizerConfig = resolve(&request)?;
        println!(
            "{}",
            serde_json::json!({ "kind": TokenizerConfig::KIND, "vocab_size": config.vocab_size, "parameters": 0, "steps": 0 })
        );
        return Ok(ExitCode::SUCCESS);
    }
    let started: Started<TokenizerConfig> = start(&request)?;
    if let Some(code) = already_done(&started.run, &started.standing)? {
        return Ok(code);
    }
    let mut summary = tokenizer::run(&started)?;
    if let Some(summary) = summary.as_object_mut() {
        summary.insert("run".to_owned(), serde_json::json!(started.run.path));
    }
    println!("{summary}");
    Ok(ExitCode::SUCCESS)
}
