//! `trainer codebook`

use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;

use super::training::{TrainingArgs, already_done, floats_mib, outlook, train_and_report, weights_mib};
use crate::config::CodebookConfig;
use crate::model::autoencoder::Autoencoder;
use crate::model::layers::Init;
use crate::model::walk::Walk;
use crate::stage::codebook::{CodebookStage, autoencoder_config};
use crate::stage::{Started, resolve, start};

/// Train the IBQ codebook.
#[derive(clap::Args)]
#[command(after_help = "\
Trains an autoencoder on all images of dataset folders and hands its codebook to `trainer keepfit`
(codebook_init). Gauges show how many codes are in use; reconstructions are drawn as PNG in
RUN/reconstructions. Losses: L1, quantiser and entropy terms (no perceptual or adversarial term).

Examples:
  trainer codebook --config trainer/configs/tiny-codebook.toml
  trainer codebook --config trainer/configs/paper-codebook.toml --dry-run")]
pub struct Args {
    #[command(flatten)]
    training: TrainingArgs,
}

/// Runs the command.
///
/// # Errors
/// The config, the data or the checkpoint cannot be used, or a step failed.
pub fn run(args: &Args) -> Result<ExitCode> {
    let request = args.training.request();
    if args.training.dry_run {
        return dry_run(&resolve(&request)?);
    }
    let started: Started<CodebookConfig> = start(&request)?;
    if let Some(code) = already_done(&started.run, &started.standing)? {
        return Ok(code);
    }
    let mut stage = CodebookStage::new(&started.config, &started.run.path)?;
    stage.describe(&started.run)?;
    let plan = stage.plan()?;
    let rejected = stage.rejected().len();
    train_and_report(&mut stage, &plan, &started.run, rejected)
}

fn dry_run(config: &CodebookConfig) -> Result<ExitCode> {
    let device = crate::device::training(&crate::device::select("cpu")?);
    let shape = autoencoder_config(config);
    let parameters = Autoencoder::init(&shape, &mut Init::new(config.seed, &device))?.trained_elements();
    let spool = std::env::temp_dir();
    // About eight maps a residual block on the way down and up, and six of [tokens, codes].
    let (mut floats, mut side) = (0.0, config.image_size as f64);
    for (level, multiplier) in config.multipliers.iter().enumerate() {
        let map = side * side * (config.channels * multiplier) as f64;
        floats += 8.0 * map * (2 * config.blocks + 1) as f64;
        if level + 1 < config.multipliers.len() {
            side /= 2.0;
        }
    }
    floats += 6.0 * side * side * config.codes as f64;
    let outlook = outlook(
        CodebookStage::new(config, &spool),
        CodebookStage::plan,
        weights_mib(parameters) + floats_mib(floats * config.batch as f64),
    );
    println!(
        "{}",
        json!({
            "kind": "codebook",
            "parameters": parameters,
            "memory_mib": {
                "weights_gradients_moments": weights_mib(parameters),
                "activations_estimate": floats_mib(floats * config.batch as f64),
            },
            "steps": outlook["steps"],
            "steps_unknown_because": outlook["steps_unknown_because"],
            "time_estimate": outlook["time_estimate"],
        })
    );
    Ok(ExitCode::SUCCESS)
}
