//! `trainer ablations`

use std::process::ExitCode;

use anyhow::Result;

use crate::ablation::ROWS;

/// List the rows of the ablation table.
#[derive(clap::Args)]
#[command(after_help = "\
One JSON line a row: name, row of Table VII, what is on, and the changes of the config. Every row is a run
of its own over one config that names tokenizer, text_init and codebook_init:

  trainer ablations
  trainer keepfit --config C.toml --set mm=true --set semantic=true --set textual=false \\
                  --set appearance=false --out runs/ablation/semantic")]
pub struct Args {}

/// Runs the command.
///
/// # Errors
/// None today.
pub fn run(_: &Args) -> Result<ExitCode> {
    for row in ROWS {
        println!("{}", serde_json::to_string(&row)?);
    }
    Ok(ExitCode::SUCCESS)
}
