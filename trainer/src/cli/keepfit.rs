//! `trainer keepfit`

use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;

use super::training::{
    CLINICAL_BERT_VOCABULARY, TrainingArgs, already_done, bert_floats, floats_mib, outlook, train_and_report,
    weights_mib,
};
use crate::config::KeepfitConfig;
use crate::model::bert::TextConfig;
use crate::model::keepfit::KeepFitModel;
use crate::model::walk::Walk;
use crate::stage::keepfit::{KeepfitStage, build};
use crate::stage::{Started, resolve, start};

/// Joint training on public label sets and MM-Retinal pairs.
#[derive(clap::Args)]
#[command(after_help = "\
Public images and their categories come from labels/ of the dataset folders, MM-Retinal pairs from
data/; only rows with split \"train\" are used. Ablations of the paper are keys of the config (see
`trainer ablations`). RUN/model.safetensors has the reference's key names; RUN/best holds the best checkpoint
where the config's `best` asks for one. Where memory is short: `accumulate` cuts the batch into chunks (the loss
still compares all rows), `checkpointing` computes layers again in the backward pass. Devices share chunks.

Examples:
  trainer keepfit --config trainer/configs/tiny-keepfit.toml
  trainer keepfit --config trainer/configs/small-keepfit.toml --set modality=OCT --out runs/oct
  trainer keepfit --config trainer/configs/paper-keepfit.toml --dry-run
  trainer keepfit --config trainer/configs/paper-keepfit.toml --device wgpu:0,wgpu:1 --set accumulate=2
  trainer keepfit --resume runs/oct")]
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
    let started: Started<KeepfitConfig> = start(&request)?;
    if let Some(code) = already_done(&started.run, &started.standing)? {
        return Ok(code);
    }
    let mut stage = KeepfitStage::new(&started.config, &started.run.path)?;
    stage.describe(&started.run)?;
    let plan = stage.plan()?;
    let rejected = stage.rejected().len();
    train_and_report(&mut stage, &plan, &started.run, rejected)
}

fn dry_run(config: &KeepfitConfig) -> Result<ExitCode> {
    let mut assumed = Vec::new();
    let text = match build::open_tokenizer(config).and_then(|tokenizer| build::text_config(config, &tokenizer)) {
        Ok(text) => text,
        Err(error) => {
            assumed.push(format!("a vocabulary of {CLINICAL_BERT_VOCABULARY} pieces ({error:#})"));
            TextConfig {
                vocab_size: CLINICAL_BERT_VOCABULARY,
                hidden_size: config.text_hidden,
                num_hidden_layers: config.text_layers,
                num_attention_heads: config.text_heads,
                intermediate_size: config.text_intermediate,
                max_position_embeddings: config.text_positions,
                ..TextConfig::bert_base()
            }
        }
    };
    let codebook = if config.appearance {
        Some(match build::read_codebook(&config.codebook_init) {
            Ok(tensor) => [tensor.shape[0], tensor.shape[1]],
            Err(error) => {
                assumed.push(format!("a codebook of 16384 codes of width 256 ({error:#})"));
                [16_384, 256]
            }
        })
    } else {
        None
    };
    let shape = build::model_config(config, text, codebook);
    let device = crate::device::training(&crate::device::select("cpu")?);
    let parameters = KeepFitModel::init(&shape, config.seed, &device)?.trained_elements();
    let spool = std::env::temp_dir();
    let halves = if config.mm { 2.0 } else { 1.0 };
    // Chunks of an accumulated batch hold their activations one at a time; the quantiser's logits are bounded.
    let rows = config.batch / config.accumulate;
    let floats = bert_floats(&shape.text, rows, config.max_tokens) + vision_floats(config, rows);
    let halves = if config.accumulate > 1 { 1.0 } else { halves };
    let outlook = outlook(
        KeepfitStage::new(config, &spool),
        KeepfitStage::plan,
        weights_mib(parameters) + floats_mib(halves * floats),
    );
    println!(
        "{}",
        json!({
            "kind": "keepfit",
            "parameters": parameters,
            "memory_mib": {
                "weights_gradients_moments": weights_mib(parameters),
                "activations_estimate": floats_mib(halves * floats),
            },
            "steps": outlook["steps"],
            "steps_unknown_because": outlook["steps_unknown_because"],
            "time_estimate": outlook["time_estimate"],
            "assumed": assumed,
            "deviations": build::deviations(config),
        })
    );
    Ok(ExitCode::SUCCESS)
}

/// Values that a ResNet pass over one batch keeps for its backward pass: a block keeps about two
/// maps for each of its three convolutions.
fn vision_floats(config: &KeepfitConfig, rows: usize) -> f64 {
    let mut side = config.image_size as f64 / 2.0;
    let mut floats = 2.0 * side * side * config.vision_width as f64;
    side /= 2.0;
    for (stage, blocks) in config.vision_layers.iter().enumerate() {
        if stage > 0 {
            side /= 2.0;
        }
        let width = (config.vision_width << stage) as f64;
        floats += *blocks as f64 * 2.0 * side * side * (width + width + 4.0 * width);
    }
    floats * rows as f64
}
