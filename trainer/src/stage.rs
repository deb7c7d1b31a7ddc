//! The training loop that all stages share: steps, evaluation, saving, signals, progress.

pub mod best;
pub mod codebook;
pub mod guard;
pub mod keepfit;
pub mod mlm;
mod start;
mod state;
pub mod team;
pub mod tokenizer;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::checkpoint::{self, MODEL_FILE};
use crate::run_folder::RunFolder;
use crate::telemetry::metrics::{LineKind, METRICS_FILE, MetricsWriter, read_lines};
use best::Best;

pub use start::{Request, Started, resolve, start};

/// Numbers of one step or evaluation, by name.
pub type Numbers = Vec<(String, f64)>;

/// What one training step did.
pub struct StepReport {
    /// Losses, norms and gauges by name; `loss/total` is shown to the user.
    pub numbers: Numbers,
    /// What the step trained on, by name (`images`, `tokens`); the first is shown to the user.
    pub units: Vec<(&'static str, u64)>,
}

/// One of the trainings. Everything random follows from the step number, so a stage's state is its
/// weights and moments alone.
pub trait Stage {
    /// Called once, before the first step that this process does (0-based).
    ///
    /// # Errors
    /// The data cannot be prepared.
    fn begin(&mut self, first_step: u64) -> Result<()>;

    /// Trains on the batch of `step` (0-based). A number that is not finite must meet
    /// [`guard::NanGuard`] before any weight changes.
    ///
    /// # Errors
    /// The batch cannot be prepared or a number is not finite.
    fn train_step(&mut self, step: u64) -> Result<StepReport>;

    /// Evaluates after `steps` steps; must not change the training state.
    ///
    /// # Errors
    /// Evaluation data cannot be read or results not written.
    fn evaluate(&mut self, steps: u64, run: &Path) -> Result<Numbers>;

    /// Writes model and optimiser into `folder`.
    ///
    /// # Errors
    /// The files cannot be written.
    fn save(&mut self, folder: &Path) -> Result<()>;

    /// Reads model and optimiser from `folder`.
    ///
    /// # Errors
    /// The files are missing or of another shape.
    fn restore(&mut self, folder: &Path) -> Result<()>;

    /// Time spent waiting for batches since the last call.
    fn take_waited(&mut self) -> Duration;
}

/// How long to train and how often to look and save.
#[derive(Debug, Clone)]
pub struct LoopPlan {
    /// Name of the stage.
    pub kind: &'static str,
    /// Steps of the whole run.
    pub total_steps: u64,
    /// Evaluate every so many steps; 0 only at the end.
    pub eval_every: u64,
    /// Save every so many steps; 0 never by steps.
    pub save_every_steps: u64,
    /// Save every so many minutes; 0 never by time.
    pub save_every_minutes: f64,
    /// Checkpoints kept.
    pub keep_last: usize,
    /// Number by which the best checkpoint is kept as well.
    pub best: Option<Best>,
}

/// How a call of [`train`] ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Ending {
    /// All steps are done; the summary is in `done.json` too.
    Finished(Value),
    /// Stopped by a signal after so many steps, and saved.
    Stopped(u64),
}

/// Refuses a step whose loss terms are not all finite.
///
/// # Errors
/// Names the step, the term and what to do.
pub fn check_finite(step: u64, terms: &[(String, f64)]) -> Result<()> {
    if let Some((name, value)) = terms.iter().find(|(_, value)| !value.is_finite()) {
        bail!(
            "step {}: {name} is {value}; no weight was changed by this step. Lower learning_rate, set clip_norm to 1, \
             or look at the rows of this step; then start with another --out (the checkpoints so far are kept)",
            step + 1
        );
    }
    Ok(())
}

/// Trains until the plan's last step or a signal, continuing from the newest sound checkpoint.
///
/// # Errors
/// A step failed, a number was not finite, or the disk is full; earlier checkpoints stay.
pub fn train(stage: &mut dyn Stage, plan: &LoopPlan, run: &RunFolder) -> Result<Ending> {
    let stop = stop_flag()?;
    let first = restore(stage, plan, run)?;
    stage.begin(first)?;
    let mut metrics = MetricsWriter::open(&run.path, first)?;
    let progress = dataset::progress::bar(Some(plan.total_steps - first), plan.kind);
    let mut saved_at = Instant::now();
    let mut last_saved = first;
    let mut last_eval: Option<(u64, Numbers)> = None;
    let mut best = best_so_far(plan, run)?;
    for step in first..plan.total_steps {
        let began = Instant::now();
        let report = stage.train_step(step).inspect_err(|_| progress.finish())?;
        let seconds = began.elapsed().as_secs_f64();
        let done = step + 1;
        let mut numbers = report.numbers;
        progress.message(message(&numbers, &report.units, seconds));
        for (unit, count) in &report.units {
            numbers.push((format!("{unit}_per_second"), *count as f64 / seconds.max(1e-9)));
        }
        numbers.push((
            "data_wait_share".to_owned(),
            stage.take_waited().as_secs_f64() / seconds.max(1e-9),
        ));
        metrics.write(done, LineKind::Train, &numbers)?;
        progress.inc(1);
        let last = done == plan.total_steps;
        if last || (plan.eval_every > 0 && done % plan.eval_every == 0) {
            let numbers = stage.evaluate(done, &run.path)?;
            progress.println(format!("{} step {done}: {}", plan.kind, shown(&numbers)));
            metrics.write(done, LineKind::Eval, &numbers)?;
            keep_best(stage, plan, run, done, &numbers, &mut best)?;
            last_eval = Some((done, numbers));
        }
        let stopping = stop.load(Ordering::SeqCst);
        let due = (plan.save_every_steps > 0 && done % plan.save_every_steps == 0)
            || (plan.save_every_minutes > 0.0 && saved_at.elapsed().as_secs_f64() >= plan.save_every_minutes * 60.0);
        if last || stopping || due {
            checkpoint::save(&run.path, done, &mut |folder| stage.save(folder))?;
            checkpoint::prune(&run.path, plan.keep_last)?;
            (saved_at, last_saved) = (Instant::now(), done);
        }
        if stopping && !last {
            progress.finish();
            return Ok(Ending::Stopped(done));
        }
    }
    progress.finish();
    if first == plan.total_steps && last_saved == first {
        // Killed after the last checkpoint and before the end was recorded.
        last_eval = Some((first, stage.evaluate(first, &run.path)?));
    }
    let evaluation = last_eval.map(|(_, numbers)| numbers).unwrap_or_default();
    finish(plan, run, evaluation, best).map(Ending::Finished)
}

/// Step and value of the best evaluation so far, from the lines that a continued run keeps.
fn best_so_far(plan: &LoopPlan, run: &RunFolder) -> Result<Option<(u64, f64)>> {
    match &plan.best {
        Some(best) => Ok(best.so_far(&read_lines(&run.path.join(METRICS_FILE))?)),
        None => Ok(None),
    }
}

/// Saves the stage as the run's best one when the evaluation of `step` says so.
fn keep_best(
    stage: &mut dyn Stage,
    plan: &LoopPlan,
    run: &RunFolder,
    step: u64,
    numbers: &Numbers,
    so_far: &mut Option<(u64, f64)>,
) -> Result<()> {
    let Some(best) = &plan.best else { return Ok(()) };
    let Some(value) = best.value(numbers) else {
        let names: Vec<&str> = numbers.iter().map(|(name, _)| name.as_str()).collect();
        tracing::warn!(
            "the evaluation of step {step} has no number {:?}, so no best checkpoint is kept; it has: {}",
            best.metric,
            names.join(", ")
        );
        return Ok(());
    };
    if best.improves(value, so_far.map(|(_, value)| value)) {
        checkpoint::save_best(&run.path, step, &mut |folder| stage.save(folder))?;
        *so_far = Some((step, value));
    }
    Ok(())
}

/// Puts the newest sound checkpoint into the stage; returns the steps it had done.
fn restore(stage: &mut dyn Stage, plan: &LoopPlan, run: &RunFolder) -> Result<u64> {
    let (checkpoint, damaged) = checkpoint::newest_sound(&run.path)?;
    for problem in damaged {
        tracing::warn!("passing over a damaged checkpoint: {problem}");
    }
    let Some(checkpoint) = checkpoint else {
        return Ok(0);
    };
    if checkpoint.step > plan.total_steps {
        bail!(
            "{}: is past the {} steps of this run",
            checkpoint.folder.display(),
            plan.total_steps
        );
    }
    stage
        .restore(&checkpoint.folder)
        .with_context(|| format!("{}: cannot continue from this checkpoint", checkpoint.folder.display()))?;
    tracing::info!("continuing after step {} of {}", checkpoint.step, plan.total_steps);
    Ok(checkpoint.step)
}

/// Copies the last checkpoint's weights to the run folder and records the end.
fn finish(plan: &LoopPlan, run: &RunFolder, evaluation: Numbers, best: Option<(u64, f64)>) -> Result<Value> {
    let checkpoints = checkpoint::list(&run.path)?;
    let last = checkpoints.last().context("no checkpoint was written")?;
    let weights = last.folder.join(MODEL_FILE);
    let bytes = std::fs::read(&weights).with_context(|| weights.display().to_string())?;
    dataset::fs::write_atomic(&run.path.join(MODEL_FILE), &bytes)?;
    let evaluation: serde_json::Map<String, Value> = evaluation
        .into_iter()
        .map(|(name, value)| (name, Value::from(value)))
        .collect();
    let mut summary = json!({
        "kind": plan.kind,
        "steps": plan.total_steps,
        "model_sha256": dataset::hash::sha256_hex(&bytes),
        "evaluation": evaluation,
    });
    if let (Some(rule), Some((step, value))) = (&plan.best, best) {
        summary["best"] = json!({ "metric": rule.metric, "step": step, "value": value });
    }
    run.set_done(&summary)?;
    Ok(summary)
}

/// Set by SIGINT and SIGTERM; a second signal ends the process at once.
fn stop_flag() -> Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register_conditional_default(signal, Arc::clone(&flag))?;
        signal_hook::flag::register(signal, Arc::clone(&flag))?;
    }
    Ok(flag)
}

fn message(numbers: &Numbers, units: &[(&'static str, u64)], seconds: f64) -> String {
    let loss = numbers
        .iter()
        .find(|(name, _)| name == "loss/total")
        .map_or(f64::NAN, |(_, value)| *value);
    let rate = units.first().map_or(String::new(), |(unit, count)| {
        format!(", {:.1} {unit}/s", *count as f64 / seconds.max(1e-9))
    });
    format!("loss {loss:.4}{rate}")
}

fn shown(numbers: &Numbers) -> String {
    numbers
        .iter()
        .map(|(name, value)| format!("{name} {value:.4}"))
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_is_not_finite_is_named_with_step_and_remedy() {
        let terms = [("loss/a".to_owned(), 1.0), ("loss/b".to_owned(), f64::NAN)];
        let error = check_finite(41, &terms)
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        for part in ["step 42", "loss/b is NaN", "learning_rate"] {
            assert!(error.contains(part), "{error}");
        }
        assert!(check_finite(1, &terms[..1]).is_ok());
    }
}
