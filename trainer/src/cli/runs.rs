//! `trainer runs`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::checkpoint;
use crate::run_folder::{DONE_FILE, RUN_FILE, read_facts};
use crate::telemetry::curves::{Curve, svg};
use crate::telemetry::metrics::{Line, METRICS_FILE, read_lines};

/// List and compare run folders.
#[derive(clap::Args)]
#[command(after_help = "\
Prints one JSON line a run: kind, steps done, last loss, last evaluation. With --svg it draws one
number of all runs of the folder over their steps.

Examples:
  trainer runs runs
  trainer runs runs --svg curves.svg --curve loss/itc_public")]
pub struct Args {
    /// A run folder, or a folder of run folders
    dir: PathBuf,
    /// Draw a curve of every run into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// The number to draw, as named in metrics.jsonl
    #[arg(long, default_value = "loss/total")]
    curve: String,
}

/// Runs the command.
///
/// # Errors
/// No run folder, or a damaged one.
pub fn run(args: &Args) -> Result<ExitCode> {
    let runs = find_runs(&args.dir)?;
    let mut curves = Vec::new();
    for run in &runs {
        let lines = match run.join(METRICS_FILE) {
            path if path.is_file() => read_lines(&path)?,
            _ => Vec::new(),
        };
        println!("{}", summary(run, &lines)?);
        let points: Vec<(f64, f64)> = lines
            .iter()
            .filter_map(|line| Some((line.step as f64, value(line, &args.curve)?)))
            .collect();
        if !points.is_empty() {
            curves.push(Curve {
                name: name(run),
                points,
            });
        }
    }
    if let Some(path) = &args.svg {
        if curves.is_empty() {
            bail!(
                "none of the {} runs has a number {:?} to draw; see the names in their {METRICS_FILE}",
                runs.len(),
                args.curve
            );
        }
        dataset::fs::write_atomic(path, svg(&args.curve, &curves).as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `dir` itself or the run folders directly in it, in natural order.
fn find_runs(dir: &Path) -> Result<Vec<PathBuf>> {
    if dir.join(RUN_FILE).is_file() {
        return Ok(vec![dir.to_path_buf()]);
    }
    let entries = std::fs::read_dir(dir).with_context(|| format!("{}: cannot list", dir.display()))?;
    let mut runs: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.join(RUN_FILE).is_file())
        .collect();
    runs.sort_by(|a, b| dataset::fs::natural_cmp(&name(a), &name(b)));
    if runs.is_empty() {
        bail!("{}: holds no run folder (none with {RUN_FILE})", dir.display());
    }
    Ok(runs)
}

fn name(run: &Path) -> String {
    run.file_name()
        .map_or_else(|| run.display().to_string(), |name| name.to_string_lossy().into_owned())
}

fn value(line: &Line, wanted: &str) -> Option<f64> {
    line.values
        .iter()
        .find(|(name, _)| name == wanted)
        .map(|(_, value)| *value)
}

fn summary(run: &Path, lines: &[Line]) -> Result<Value> {
    let facts = read_facts(run)?;
    let last_of = |kind: &str| lines.iter().rev().find(|line| line.kind == kind);
    let evaluation: serde_json::Map<String, Value> = last_of("eval")
        .map(|line| {
            line.values
                .iter()
                .map(|(name, value)| (name.clone(), Value::from(*value)))
                .collect()
        })
        .unwrap_or_default();
    Ok(json!({
        "run": name(run),
        "kind": facts.kind,
        "modality": facts.modality,
        "finished": run.join(DONE_FILE).is_file(),
        "steps": facts.steps,
        "steps_done": lines.last().map_or(0, |line| line.step),
        "checkpoints": checkpoint::list(run)?.len(),
        "parameters": facts.parameters,
        "loss": last_of("train").and_then(|line| value(line, "loss/total")),
        "evaluation": evaluation,
        "deviations": facts.deviations,
    }))
}
