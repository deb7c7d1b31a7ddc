//! `eval run`: one feature file, one method.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;

use crate::features::{
    VectorColumn, Vectors, check_same_width, class_indices, read_adapter_weights, read_images, read_texts,
};
use crate::folds::{Amount, Splitting};
use crate::protocol::{DEFAULT_FOLDS, DEFAULT_LOGIT_SCALE, Inputs, Method, Setting, run as run_protocol};
use crate::report::{distinct_folds, predictions_csv, summarise};
use crate::statistics::DEFAULT_REPLICATES;
use crate::tip_adapter::Mode;
use crate::truth::Task;

/// Arguments of `eval run`.
#[derive(Args)]
pub struct RunArgs {
    /// Image features: Parquet with path, label (a number, or a list where images may have several classes), features and/or projected
    #[arg(long, value_name = "F.parquet")]
    images: PathBuf,
    /// Class texts: Parquet with class, label, projected (not needed for linear-probe)
    #[arg(long, value_name = "T.parquet")]
    texts: Option<PathBuf>,
    /// What to do
    #[arg(long, value_enum)]
    method: Method,
    /// Training images per class, a number or a share such as 80% (zero-shot 0, linear-probe 80% when left out)
    #[arg(long, value_name = "K")]
    shots: Option<Amount>,
    /// Number of folds
    #[arg(long, default_value_t = DEFAULT_FOLDS)]
    folds: usize,
    /// The paper's overlapping random splits, or true stratified k-fold
    #[arg(long, value_enum, default_value = "random")]
    splits: Splitting,
    /// The published formulas, or the released code with its deviations (tip-adapter-f alone differs)
    #[arg(long, value_enum, default_value = "paper")]
    mode: Mode,
    /// Learnt log of the logit scale; its exponential multiplies the similarities
    #[arg(long, value_name = "S", default_value_t = DEFAULT_LOGIT_SCALE, allow_negative_numbers = true)]
    logit_scale: f64,
    /// First CLIP-Adapter weights (safetensors), the same in every fold
    #[arg(long, value_name = "FILE")]
    init: Option<PathBuf>,
    /// Seed of the first CLIP-Adapter weights and of the bootstrap
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Bootstrap draws for the confidence intervals; 0 for none
    #[arg(long, default_value_t = DEFAULT_REPLICATES)]
    bootstrap: usize,
    /// Train on what there is when a class has too few images, as the released code does
    #[arg(long)]
    allow_short_classes: bool,
    /// Report (JSON)
    #[arg(long, value_name = "REPORT.json")]
    out: PathBuf,
    /// Per-image predictions (CSV)
    #[arg(long, value_name = "FILE.csv")]
    predictions: Option<PathBuf>,
}

/// Runs the command and writes the report; a one-line summary goes to stdout.
pub fn run(args: &RunArgs) -> anyhow::Result<()> {
    let shots = match args.shots.or(args.method.fixed_shots()) {
        Some(shots) => shots,
        None => bail!("{} needs --shots, for example 1, 5 or 10", args.method.name()),
    };
    args.method.check_shots(shots)?;
    if !args.logit_scale.exp().is_finite() {
        bail!(
            "--logit-scale {} is too large: its exponential is not a finite number",
            args.logit_scale
        );
    }
    let with_texts = args.method != Method::LinearProbe;
    let column = if with_texts {
        VectorColumn::Projected
    } else {
        VectorColumn::Features
    };
    let images = read_images(&args.images, column)?;

    let (labels, classes, texts) = match (&args.texts, with_texts) {
        (None, true) => bail!("{} compares images with class texts: give --texts", args.method.name()),
        (None, false) => {
            let mut present = images.labels.concat();
            present.sort_unstable();
            present.dedup();
            let place = |label: &i64| present.partition_point(|p| p < label);
            let labels = images.labels.iter().map(|l| l.iter().map(place).collect()).collect();
            let names: Vec<String> = present.iter().map(|l| format!("label {l}")).collect();
            (labels, names, None)
        }
        (Some(file), _) => {
            let texts = read_texts(file)?;
            if with_texts {
                check_same_width(&images, &texts, file)?;
            }
            (
                class_indices(&images, &texts, file)?,
                texts.classes,
                Some(texts.vectors.to_rows()),
            )
        }
    };
    warn_about_lengths(&args.images, column, &images.vectors);
    let labels: Vec<Vec<usize>> = labels;
    let task = Task::new(&labels, classes.len(), images.several, args.method);
    if task.rows.len() < labels.len() {
        tracing::warn!(
            "{}: {} of {} images have exactly one class and {} of {} classes have such images; {} works on these",
            args.images.display(),
            task.rows.len(),
            labels.len(),
            task.classes.len(),
            classes.len(),
            args.method.name()
        );
    }
    let paths: Vec<String> = task.rows.iter().map(|&r| images.paths[r].clone()).collect();
    let vectors = images.vectors.select(&task.rows);
    let classes: Vec<String> = task.classes.iter().map(|&c| classes[c].clone()).collect();
    let texts = texts.map(|t| t.select(&task.classes));
    let projected = with_texts.then(|| vectors.to_rows());
    let first_weights = match (&args.init, args.method) {
        (Some(file), Method::ClipAdapter) => Some(read_adapter_weights(file, vectors.width)?),
        _ => None,
    };
    let setting = Setting {
        method: args.method,
        shots,
        folds: args.folds,
        splitting: args.splits,
        mode: args.mode,
        logit_scale: args.logit_scale,
        seed: args.seed,
        first_weights,
        allow_short_classes: args.allow_short_classes,
    };
    let inputs = Inputs {
        truth: task.truth(),
        classes: &classes,
        texts: texts.as_ref(),
        projected: projected.as_ref(),
        features: Some(&vectors),
    };
    let folds = run_protocol(&inputs, &setting).with_context(|| args.images.display().to_string())?;
    let report = summarise(&inputs, &setting, &folds, args.bootstrap);
    if !report.converged {
        tracing::warn!("the linear probe stopped at its iteration limit before the gradient vanished");
    }
    if let Some(file) = &args.predictions {
        dataset::fs::write_atomic(
            file,
            &predictions_csv(&paths, &inputs, distinct_folds(&setting, &folds))?,
        )?;
    }
    let mut json = serde_json::to_vec_pretty(&report)?;
    json.push(b'\n');
    dataset::fs::write_atomic(&args.out, &json)?;
    println!(
        "{}",
        serde_json::json!({"method": report.method, "shots": report.shots, "mean": report.mean, "ci95": report.ci95, "runs": report.runs})
    );
    Ok(())
}

/// Projected vectors should have length 1; others are used as they are, and said so.
fn warn_about_lengths(file: &Path, column: VectorColumn, vectors: &Vectors) {
    if column != VectorColumn::Projected {
        return;
    }
    let squared = |v: &[f32]| v.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
    let odd = vectors
        .values
        .chunks_exact(vectors.width)
        .filter(|v| (squared(v) - 1.0).abs() > 1e-2)
        .count();
    if odd > 0 {
        tracing::warn!(
            "{}: {odd} projected vectors are not of length 1; they are used as they are",
            file.display()
        );
    }
}
