//! The report of one run, as JSON, and its per-image predictions, as CSV.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::metrics::{
    CALIBRATION_BINS, CalibrationBin, Metrics, expected_calibration_error, round3, rounded_of_classes,
};
use crate::protocol::{FoldOutcome, Inputs, Method, Setting};
use crate::statistics::{FoldPredictions, Intervals, bootstrap};
use crate::truth::{joined, named};

/// Rule for classes without test images, printed in every report.
pub const ABSENT_CLASS_RULE: &str = "a class without a test image takes no part in any mean";
/// The same where images may have several classes, with what ACC means there.
pub const SEVERAL_CLASSES_RULE: &str = "images may have several classes: ACC is the mean share of right answers, yes or no at a \
    probability of 0.5; a class of no or of every test image takes no part in any mean";

/// Metrics of one fold, unrounded fractions.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FoldReport {
    /// Balanced accuracy.
    pub acc: f64,
    /// Mean one-vs-rest AUC.
    pub auc: f64,
    /// Mean average precision.
    pub aupr: f64,
    /// Expected calibration error, 15 bins.
    pub ece: f64,
    /// Images tested.
    pub test_images: usize,
    /// Images trained on.
    pub train_images: usize,
}

/// Metrics with their mean.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct MeanReport {
    /// Balanced accuracy.
    pub acc: f64,
    /// Mean one-vs-rest AUC.
    pub auc: f64,
    /// Mean average precision.
    pub aupr: f64,
    /// Mean of the three.
    pub avg: f64,
}

impl From<Metrics> for MeanReport {
    fn from(m: Metrics) -> Self {
        Self {
            acc: m.acc,
            auc: m.auc,
            aupr: m.aupr,
            avg: m.avg(),
        }
    }
}

/// Mean scores of one class over the folds that tested it. `accuracy` is what the mean ACC is made of: the recall, or
/// the share of right answers where images may have several classes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ClassReport {
    /// Class name.
    pub class: String,
    /// Images of the class in the whole table.
    pub images: usize,
    /// Share of right answers (several classes an image) or recall.
    pub accuracy: f64,
    /// Recall.
    pub recall: f64,
    /// One-vs-rest AUC.
    pub auc: f64,
    /// Average precision.
    pub aupr: f64,
}

/// One run: a method at a number of shots.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunReport {
    /// Method name.
    pub method: String,
    /// Training images per class: a number or a share such as "80%".
    pub shots: Value,
    /// paper or reference.
    pub mode: String,
    /// random or stratified.
    pub splits: String,
    /// Number of runs behind each mean.
    pub runs: usize,
    /// Fold by fold.
    pub folds: Vec<FoldReport>,
    /// Mean over folds.
    pub mean: MeanReport,
    /// Population standard deviation over folds.
    pub std: MeanReport,
    /// Mean of the folds as the released code rounds them (three decimals).
    pub mean_rounded: MeanReport,
    /// 95 % bootstrap intervals over images.
    pub ci95: Option<Intervals>,
    /// Bootstrap replicates behind the intervals.
    pub bootstrap_replicates: usize,
    /// Mean expected calibration error over folds.
    pub ece: f64,
    /// Whether images may have several classes.
    pub several: bool,
    /// ACC of guessing; where images may have several classes, ACC of an answer that never names a class.
    pub chance: f64,
    /// AUPR of guessing: mean share of images that have a class.
    pub chance_aupr: f64,
    /// Images in the table.
    pub images: usize,
    /// Per-class means.
    pub classes: Vec<ClassReport>,
    /// Counts over all folds (zero-shot: the one distinct fold), `[true][predicted]`; where images may have several
    /// classes, for each class `[rightly not named, named wrongly, missed, named rightly]`.
    pub confusion: Vec<Vec<u64>>,
    /// Reliability bins over the same folds: rows, mean confidence, accuracy.
    pub calibration: Vec<(u64, f64, f64)>,
    /// Log of the logit scale used.
    pub logit_scale: f64,
    /// Seed of the adapter's first weights.
    pub seed: u64,
    /// Whether every solver reached its tolerance.
    pub converged: bool,
    /// Rule for absent classes.
    pub absent_classes: String,
}

fn pooled_calibration(folds: &[FoldOutcome]) -> Vec<(u64, f64, f64)> {
    let bin = |i: usize| {
        let of: Vec<&CalibrationBin> = folds.iter().map(|f| &f.calibration[i]).collect();
        let rows: u64 = of.iter().map(|b| b.rows).sum();
        let mean =
            |f: fn(&CalibrationBin) -> f64| of.iter().map(|b| b.rows as f64 * f(b)).sum::<f64>() / rows.max(1) as f64;
        (rows, mean(|b| b.confidence), mean(|b| b.accuracy))
    };
    (0..CALIBRATION_BINS).map(bin).collect()
}

/// The folds to count images in: every zero-shot fold tests the same images, so the first stands for all.
pub fn distinct_folds<'a>(setting: &Setting, folds: &'a [FoldOutcome]) -> &'a [FoldOutcome] {
    if setting.method == Method::ZeroShot {
        &folds[..folds.len().min(1)]
    } else {
        folds
    }
}

/// Sums up the folds of a run. `replicates` bootstrap draws are made (0: no intervals).
pub fn summarise(inputs: &Inputs<'_>, setting: &Setting, folds: &[FoldOutcome], replicates: usize) -> RunReport {
    let metrics: Vec<Metrics> = folds.iter().map(FoldOutcome::metrics).collect();
    let rounded: Vec<Metrics> = folds.iter().map(|f| rounded_of_classes(&f.classes)).collect();
    let predictions: Vec<FoldPredictions<'_>> = folds
        .iter()
        .map(|f| FoldPredictions {
            rows: &f.test,
            probabilities: &f.probabilities,
        })
        .collect();
    let mean = Metrics::mean(&metrics);
    let deviation = Metrics::deviation(&metrics);
    let avg_deviation = {
        let centre = mean.avg();
        (metrics.iter().map(|m| (m.avg() - centre).powi(2)).sum::<f64>() / metrics.len() as f64).sqrt()
    };
    let mean_rounded = Metrics::mean(&rounded);
    let mean_rounded = Metrics {
        acc: round3(mean_rounded.acc),
        auc: round3(mean_rounded.auc),
        aupr: round3(mean_rounded.aupr),
    };
    let ece = |f: &FoldOutcome| expected_calibration_error(&f.calibration);
    let class = |(index, name): (usize, &String)| {
        let of: Vec<_> = folds
            .iter()
            .flat_map(|f| f.classes.iter().filter(move |c| c.class == index))
            .collect();
        let mean = |f: fn(&crate::metrics::ClassScores) -> f64| of.iter().map(|c| f(c)).sum::<f64>() / of.len() as f64;
        let images = (0..inputs.truth.groups.len())
            .filter(|&r| inputs.truth.has(r, index))
            .count();
        (!of.is_empty()).then(|| ClassReport {
            class: name.clone(),
            images,
            accuracy: mean(|c| c.accuracy),
            recall: mean(|c| c.recall),
            auc: mean(|c| c.auc),
            aupr: mean(|c| c.average_precision),
        })
    };
    let counted = distinct_folds(setting, folds);
    let mut confusion = counted.first().map_or_else(Vec::new, |f| f.confusion.clone());
    for fold in counted.iter().skip(1) {
        for (sum, row) in confusion.iter_mut().zip(&fold.confusion) {
            sum.iter_mut().zip(row).for_each(|(s, c)| *s += c);
        }
    }
    let classes: Vec<ClassReport> = inputs.classes.iter().enumerate().filter_map(class).collect();
    let several = inputs.truth.several();
    let guess = 1.0 / classes.len() as f64;
    let images = inputs.truth.groups.len();
    let prevalence = classes.iter().map(|c| c.images as f64 / images as f64).sum::<f64>() * guess;
    RunReport {
        method: setting.method.name().to_string(),
        shots: setting.shots.to_json(),
        mode: if setting.mode == crate::tip_adapter::Mode::Paper {
            "paper"
        } else {
            "reference"
        }
        .to_string(),
        splits: if setting.splitting == crate::folds::Splitting::Random {
            "random"
        } else {
            "stratified"
        }
        .to_string(),
        runs: folds.len(),
        folds: folds
            .iter()
            .zip(&metrics)
            .map(|(f, m)| FoldReport {
                acc: m.acc,
                auc: m.auc,
                aupr: m.aupr,
                ece: ece(f),
                test_images: f.test.len(),
                train_images: f.train_rows,
            })
            .collect(),
        mean: mean.into(),
        std: MeanReport {
            acc: deviation.acc,
            auc: deviation.auc,
            aupr: deviation.aupr,
            avg: avg_deviation,
        },
        mean_rounded: mean_rounded.into(),
        ci95: bootstrap(&predictions, inputs.truth, replicates, setting.seed),
        bootstrap_replicates: replicates,
        ece: folds.iter().map(ece).sum::<f64>() / folds.len() as f64,
        several,
        chance: if several { 1.0 - prevalence } else { guess },
        chance_aupr: if several { prevalence } else { guess },
        images,
        classes,
        confusion,
        calibration: pooled_calibration(counted),
        logit_scale: setting.logit_scale,
        seed: setting.seed,
        converged: folds.iter().all(|f| f.converged),
        absent_classes: if several {
            SEVERAL_CLASSES_RULE
        } else {
            ABSENT_CLASS_RULE
        }
        .to_string(),
    }
}

/// Per-image predictions as CSV: fold, row, path, label, predicted, then one probability a class. Where images may have
/// several classes, column `labels` holds them, as `predicted` does, joined by ` + `.
pub fn predictions_csv(paths: &[String], inputs: &Inputs<'_>, folds: &[FoldOutcome]) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let several = inputs.truth.several();
    let head = [
        "fold",
        "row",
        "path",
        if several { "labels" } else { "label" },
        "predicted",
    ]
    .map(str::to_string);
    writer.write_record(head.into_iter().chain(inputs.classes.iter().map(|c| format!("p({c})"))))?;
    for (number, fold) in folds.iter().enumerate() {
        for (&row, p) in fold.test.iter().zip(&fold.probabilities) {
            let known = [
                number.to_string(),
                row.to_string(),
                paths[row].clone(),
                joined(inputs.classes, &inputs.truth.classes(row)),
                joined(inputs.classes, &named(p, several)),
            ];
            writer.write_record(known.into_iter().chain(p.iter().map(f64::to_string)))?;
        }
    }
    writer.into_inner().map_err(|e| e.into_error().into())
}
