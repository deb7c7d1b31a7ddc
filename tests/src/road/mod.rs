//! The road: every step from screenshots to a results table, as a person would type it.

pub mod ablation;
pub mod bench;
pub mod many;
pub mod page;
pub mod plan;
pub mod results;
pub mod step;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;

use plan::Plan;
use step::{StepResult, run_step};

/// What the whole road did.
#[derive(Debug, Serialize)]
pub struct RoadReport {
    /// `demo`, `demo-short` or `real`.
    pub name: String,
    /// One entry per command, in order.
    pub steps: Vec<StepResult>,
    /// Wall time of all steps.
    pub seconds: f64,
    /// The largest peak memory of any step.
    pub peak_mib: f64,
}

/// Runs a plan from its first step to the HTML page; prints progress and the final table to stderr.
///
/// # Errors
/// When a step fails: the message names the step, its command and the end of its log.
pub fn run(plan: &Plan) -> Result<RoadReport> {
    std::fs::create_dir_all(&plan.out).with_context(|| format!("cannot create {}", plan.out.display()))?;
    for (path, text) in &plan.files {
        dataset::fs::write_atomic(path, text.as_bytes())?;
    }
    let logs = plan.out.join("logs");
    let mut steps = Vec::new();
    for (number, step) in plan.steps.iter().enumerate() {
        eprintln!("[{:>2}/{}] {}", number + 1, plan.steps.len(), step.command_line());
        let result = run_step(step, &logs)?;
        eprintln!(
            "        {:.1} s, {:.0} MiB{}",
            result.seconds,
            result.peak_mib,
            summary_note(&result)
        );
        steps.push(result);
    }
    let report = RoadReport {
        name: plan.name.clone(),
        seconds: steps.iter().map(|s| s.seconds).sum(),
        peak_mib: steps.iter().map(|s| s.peak_mib).fold(0.0, f64::max),
        steps,
    };
    dataset::fs::write_atomic(
        &plan.out.join("road.json"),
        serde_json::to_string_pretty(&report)?.as_bytes(),
    )?;
    Ok(report)
}

/// Takes away what an earlier demo left in `out`, so that a demo of another version starts anew; a folder that no
/// demo made is left as it is.
///
/// # Errors
/// When something cannot be removed.
pub fn clear_demo(out: &Path) -> Result<()> {
    if !out.join("sample").is_dir() || !out.join("logs").is_dir() {
        return Ok(());
    }
    for part in ["sample", "dataset", "runs", "eval", "stats", "logs"] {
        let path = out.join(part);
        if path.exists() {
            std::fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

/// A short note on what a step's summary counted.
fn summary_note(result: &StepResult) -> String {
    let Some(rows) = result
        .summary
        .as_ref()
        .and_then(|s| s.get("rows"))
        .and_then(serde_json::Value::as_u64)
    else {
        return String::new();
    };
    format!(", {rows} rows")
}

/// The table that a run ends with: step, time, memory, outcome.
pub fn table(report: &RoadReport) -> String {
    let width = report.steps.iter().map(|s| s.name.len()).max().unwrap_or(4);
    let mut text = format!("{:width$}  {:>8}  {:>8}  outcome\n", "step", "seconds", "MiB");
    for step in &report.steps {
        let outcome = if step.exit_code == 0 {
            "complete"
        } else {
            "finished, some inputs rejected"
        };
        text += &format!(
            "{:width$}  {:>8.1}  {:>8.0}  {outcome}\n",
            step.name, step.seconds, step.peak_mib
        );
    }
    text += &format!(
        "{:width$}  {:>8.1}  {:>8.0}\n",
        "total", report.seconds, report.peak_mib
    );
    text
}

/// Ends a road: page, table, paths.
///
/// # Errors
/// When the page cannot be written.
pub fn finish(plan: &Plan, report: &RoadReport) -> Result<PathBuf> {
    let page = page::write_page(plan, report)?;
    eprintln!("\n{}", table(report));
    for line in results::lines(plan)? {
        eprintln!("{line}");
    }
    eprintln!("\nMade in {}:", plan.out.display());
    for (path, what) in made(&plan.out) {
        eprintln!("  {:<34} {what}", path.display().to_string());
    }
    eprintln!("\nOpen {}", page.display());
    Ok(page)
}

/// What lies in the output folder, with a word on each.
fn made(out: &Path) -> Vec<(PathBuf, &'static str)> {
    [
        ("dataset", "the dataset folder: Parquet, ledger, card, Croissant"),
        ("stats/index.html", "statistics of the dataset"),
        ("runs", "training runs: metrics, checkpoints, weights"),
        ("eval", "evaluation: tables, pictures, predictions"),
        ("logs", "what each command printed"),
        ("road.json", "time and memory of each command"),
    ]
    .into_iter()
    .map(|(path, what)| (out.join(path), what))
    .filter(|(path, _)| path.exists())
    .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_what_a_demo_made_is_cleared() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("dataset/mine.txt");
        std::fs::create_dir_all(own.parent().unwrap()).unwrap();
        std::fs::write(&own, "mine").unwrap();
        clear_demo(folder.path()).unwrap();
        assert!(own.exists(), "no demo made this folder");
        for part in ["sample", "logs", "runs"] {
            std::fs::create_dir(folder.path().join(part)).unwrap();
        }
        std::fs::write(folder.path().join("notes.txt"), "mine").unwrap();
        clear_demo(folder.path()).unwrap();
        assert!(!folder.path().join("dataset").exists() && !folder.path().join("runs").exists());
        assert!(folder.path().join("notes.txt").exists());
    }
}
