//! `trainer mlm`

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use serde_json::json;

use super::training::{
    CLINICAL_BERT_VOCABULARY, TrainingArgs, already_done, bert_floats, floats_mib, outlook, train_and_report,
    weights_mib,
};
use crate::config::MlmConfig;
use crate::model::layers::Init;
use crate::model::mlm_head::MaskedLm;
use crate::model::walk::Walk;
use crate::stage::mlm::{MlmStage, text_config, text_config_for};
use crate::stage::{Started, resolve, start};
use crate::text::wordpiece::WordPieceTokenizer;

/// Pretrain the text encoder by masked language modelling.
#[derive(clap::Args)]
#[command(after_help = "\
Reads the utterances of dataset folders (`ingest text`), masks 15 % of the pieces anew each epoch and
reports held-out perplexity and accuracy, on ophthalmic terms apart. The run folder is what
`text_init` of a keepfit config takes.

Examples:
  trainer mlm --config trainer/configs/tiny-mlm.toml
  trainer mlm --config trainer/configs/paper-mlm.toml --dry-run
  trainer mlm --resume runs/mlm")]
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
    let started: Started<MlmConfig> = start(&request)?;
    if let Some(code) = already_done(&started.run, &started.standing)? {
        return Ok(code);
    }
    let mut stage = MlmStage::new(&started.config)?;
    stage.describe(&started.run)?;
    let plan = stage.plan()?;
    train_and_report(&mut stage, &plan, &started.run, 0)
}

fn dry_run(config: &MlmConfig) -> Result<ExitCode> {
    let mut assumed = Vec::new();
    let text = match WordPieceTokenizer::open(Path::new(&config.tokenizer)).context("key `tokenizer`") {
        Ok(tokenizer) => text_config(config, &tokenizer),
        Err(error) => {
            assumed.push(format!("a vocabulary of {CLINICAL_BERT_VOCABULARY} pieces ({error:#})"));
            text_config_for(config, CLINICAL_BERT_VOCABULARY)
        }
    };
    let device = crate::device::training(&crate::device::select("cpu")?);
    let parameters = MaskedLm::init(&text, &mut Init::new(config.seed, &device)).trained_elements();
    let masked = config.batch as f64 * config.max_tokens as f64 * config.mask_probability;
    let activations = bert_floats(&text, config.batch, config.max_tokens) + 3.0 * masked * text.vocab_size as f64;
    let outlook = outlook(
        MlmStage::new(config),
        MlmStage::plan,
        weights_mib(parameters) + floats_mib(activations),
    );
    println!(
        "{}",
        json!({
            "kind": "mlm",
            "parameters": parameters,
            "memory_mib": { "weights_gradients_moments": weights_mib(parameters), "activations_estimate": floats_mib(activations) },
            "steps": outlook["steps"],
            "steps_unknown_because": outlook["steps_unknown_because"],
            "time_estimate": outlook["time_estimate"],
            "assumed": assumed,
        })
    );
    Ok(ExitCode::SUCCESS)
}
