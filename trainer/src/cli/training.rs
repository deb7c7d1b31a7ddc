//! What the training commands share: flags, the run folder's standing, endings, dry runs.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::EXIT_SOME_REJECTED;
use crate::run_folder::{RunFolder, Standing};
use crate::stage::{Ending, LoopPlan, Request, Stage, train};

/// Steps that a dry run tries; the last is the one that counts.
const TRIED_STEPS: u64 = 2;
/// A dry run leaves it at one step when that took longer, in seconds.
const LONG_STEP: f64 = 60.0;

/// Vocabulary of Bio_ClinicalBERT, assumed by a dry run where no tokeniser is at hand.
pub const CLINICAL_BERT_VOCABULARY: usize = 28_996;

/// Flags of every training command.
#[derive(clap::Args)]
pub struct TrainingArgs {
    /// The run's config (TOML); the shipped ones are trainer/configs/{tiny,small,paper}-*.toml
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Run folder to write; the same command again continues an interrupted run
    #[arg(long, value_name = "RUN")]
    pub out: Option<PathBuf>,
    /// Continue the run in this folder from its newest checkpoint
    #[arg(long, value_name = "RUN")]
    pub resume: Option<PathBuf>,
    /// Device: cpu, wgpu, wgpu:N, cuda or cuda:N; several share a batch: cpu:0,cpu:1 (keepfit and mlm, with accumulate)
    #[arg(long)]
    pub device: Option<String>,
    /// Change one key of the config; may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Print parameters, memory, steps and an estimate of the time as JSON; tries two steps at most, keeps nothing
    #[arg(long)]
    pub dry_run: bool,
}

impl TrainingArgs {
    /// The flags as a request to the stages.
    pub fn request(&self) -> Request {
        Request {
            config: self.config.clone(),
            set: self.set.clone(),
            device: self.device.clone(),
            out: self.out.clone(),
            resume: self.resume.clone(),
        }
    }
}

/// Says that a run is finished already, where it is.
///
/// # Errors
/// The record of the end cannot be read.
pub fn already_done(run: &RunFolder, standing: &Standing) -> Result<Option<ExitCode>> {
    if !matches!(standing, Standing::Done) {
        return Ok(None);
    }
    tracing::info!(
        "{}: this run is finished; give another --out to train again",
        run.path.display()
    );
    print_summary(run, run.done()?);
    Ok(Some(ExitCode::SUCCESS))
}

/// Trains and turns the ending into an exit code; `rejected` rows make it 1.
///
/// # Errors
/// As [`train`].
pub fn train_and_report(stage: &mut dyn Stage, plan: &LoopPlan, run: &RunFolder, rejected: usize) -> Result<ExitCode> {
    match train(stage, plan, run)? {
        Ending::Finished(summary) => print_summary(run, summary),
        Ending::Stopped(step) => {
            tracing::warn!(
                "stopped after step {step} of {} and saved; the same command again, or `trainer {} --resume {}`, goes on from there",
                plan.total_steps,
                plan.kind,
                run.path.display()
            );
            println!(
                "{}",
                serde_json::json!({ "kind": plan.kind, "run": run.path, "stopped_at": step, "steps": plan.total_steps })
            );
        }
    }
    Ok(if rejected > 0 {
        ExitCode::from(EXIT_SOME_REJECTED)
    } else {
        ExitCode::SUCCESS
    })
}

fn print_summary(run: &RunFolder, summary: Value) {
    let mut line = serde_json::json!({ "run": run.path });
    if let (Some(line), Value::Object(summary)) = (line.as_object_mut(), summary) {
        line.extend(summary);
    }
    println!("{line}");
}

/// What a dry run says of the run's length: `steps` (or why they are unknown), and `time_estimate` by trying steps of
/// the real config where the memory it needs, `needed_mib`, is free. Nothing is written.
pub fn outlook<S: Stage>(stage: Result<S>, plan: impl Fn(&S) -> Result<LoopPlan>, needed_mib: f64) -> Value {
    let known = stage.and_then(|stage| {
        let steps = plan(&stage)?.total_steps;
        Ok((stage, steps))
    });
    match known {
        Err(error) => json!({ "steps": null, "steps_unknown_because": format!("{error:#}"), "time_estimate": null }),
        Ok((mut stage, steps)) => {
            let time = time_estimate(&mut stage, steps, needed_mib)
                .unwrap_or_else(|error| json!({ "unknown_because": format!("{error:#}") }));
            json!({ "steps": steps, "steps_unknown_because": null, "time_estimate": time })
        }
    }
}

fn time_estimate(stage: &mut dyn Stage, steps: u64, needed_mib: f64) -> Result<Value> {
    if let Some(free) = crate::speed::free_memory_mib().filter(|&free| (free as f64) < needed_mib) {
        bail!("a step needs about {needed_mib:.0} MiB, and {free} MiB are free here");
    }
    stage.begin(0)?;
    let (mut seconds, mut tried) = (0.0, 0);
    while tried < TRIED_STEPS.min(steps) && seconds <= LONG_STEP {
        let began = Instant::now();
        stage.train_step(tried)?;
        seconds = began.elapsed().as_secs_f64();
        tried += 1;
    }
    Ok(json!({
        "hours": seconds * steps as f64 / 3600.0,
        "seconds_per_step": seconds,
        "steps_tried": tried,
        "note": "an estimate: the last step tried on this machine times all steps, without evaluating and saving",
    }))
}

/// Memory of weights, gradients and both moments, MiB (f32).
pub fn weights_mib(parameters: usize) -> f64 {
    4.0 * 4.0 * parameters as f64 / 1024.0 / 1024.0
}

/// Activations of `floats` values kept for the backward pass, MiB (f32).
pub fn floats_mib(floats: f64) -> f64 {
    4.0 * floats / 1024.0 / 1024.0
}

/// Values that a BERT step keeps for its backward pass: per layer about 14 maps of the hidden width,
/// 3 of the intermediate width, and 3 of attention scores.
pub fn bert_floats(text: &crate::model::bert::TextConfig, rows: usize, tokens: usize) -> f64 {
    let positions = (rows * tokens) as f64;
    let scores = (rows * text.num_attention_heads * tokens * tokens) as f64;
    text.num_hidden_layers as f64
        * (positions * (14 * text.hidden_size + 3 * text.intermediate_size) as f64 + 3.0 * scores)
}
