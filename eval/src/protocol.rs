//! One method under the paper's protocol (Section V): folds, predictions, metrics.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::clip_adapter::{self, AdapterWeights};
use crate::error::{EvalError, Result};
use crate::features::Vectors;
use crate::folds::{Amount, SplitPlan, Splitting, split};
use crate::metrics::{CalibrationBin, ClassScores, calibration_bins, confusion, mean_of_classes, per_class};
use crate::tip_adapter::{self, Mode};
use crate::truth::{Truth, joined};
use crate::vectors::Rows;
use crate::{linear_probe, zero_shot};

/// Log of the logit scale when a model does not bring its own: the bound of training, ln(100).
pub const DEFAULT_LOGIT_SCALE: f64 = 4.6052;
/// Folds behind every printed number.
pub const DEFAULT_FOLDS: usize = 5;

/// The five ways of using a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Texts alone.
    ZeroShot,
    /// A small trained network on the image vector.
    ClipAdapter,
    /// A cache of training vectors, not trained.
    TipAdapter,
    /// A cache of training vectors, trained.
    TipAdapterF,
    /// Logistic regression on raw features.
    LinearProbe,
}

impl Method {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::ZeroShot => "zero-shot",
            Self::ClipAdapter => "clip-adapter",
            Self::TipAdapter => "tip-adapter",
            Self::TipAdapterF => "tip-adapter-f",
            Self::LinearProbe => "linear-probe",
        }
    }

    /// The name in the paper's tables.
    pub fn title(self) -> &'static str {
        match self {
            Self::ZeroShot => "Zero-shot",
            Self::ClipAdapter => "CLIP-Adapter",
            Self::TipAdapter => "Tip-Adapter",
            Self::TipAdapterF => "Tip-Adapter-F",
            Self::LinearProbe => "Linear probe",
        }
    }

    /// Training images when the protocol fixes them: none for zero-shot, 80 % for the linear probe.
    pub fn fixed_shots(self) -> Option<Amount> {
        match self {
            Self::ZeroShot => Some(Amount::Count(0)),
            Self::LinearProbe => Some(Amount::Percent(80)),
            _ => None,
        }
    }

    /// Checks that the amount makes sense for the method.
    pub fn check_shots(self, shots: Amount) -> Result<()> {
        let none = matches!(shots, Amount::Count(0) | Amount::Percent(0));
        match (self, none) {
            (Self::ZeroShot, false) => Err(EvalError::protocol(format!(
                "zero-shot trains on nothing: --shots must be 0, not {shots}"
            ))),
            (Self::ZeroShot, true) | (_, false) => Ok(()),
            (_, true) => Err(EvalError::protocol(format!(
                "{} needs training images: give --shots, for example 5 or 80%",
                self.name()
            ))),
        }
    }
}

/// Settings of a run.
#[derive(Debug, Clone)]
pub struct Setting {
    /// What to do.
    pub method: Method,
    /// Training images per class.
    pub shots: Amount,
    /// Number of folds.
    pub folds: usize,
    /// How folds are made.
    pub splitting: Splitting,
    /// Paper or released code (Tip-Adapter-F alone differs).
    pub mode: Mode,
    /// Log of the logit scale.
    pub logit_scale: f64,
    /// Seed of the adapter's first weights, when none are given.
    pub seed: u64,
    /// Fixed first weights of the CLIP-Adapter, the same in every fold.
    pub first_weights: Option<AdapterWeights>,
    /// Train on what there is when a class has fewer images than shots.
    pub allow_short_classes: bool,
}

impl Setting {
    /// The paper's protocol for a method.
    pub fn of_paper(method: Method, shots: Amount) -> Self {
        Self {
            method,
            shots,
            folds: DEFAULT_FOLDS,
            splitting: Splitting::Random,
            mode: Mode::Paper,
            logit_scale: DEFAULT_LOGIT_SCALE,
            seed: 0,
            first_weights: None,
            allow_short_classes: false,
        }
    }
}

/// What a run works on. Vectors that the method does not read may be `None`.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// The class of every image, or its classes.
    pub truth: Truth<'a>,
    /// Class names.
    pub classes: &'a [String],
    /// Projected class texts, [classes, width].
    pub texts: Option<&'a Rows>,
    /// Projected images, [images, width].
    pub projected: Option<&'a Rows>,
    /// Raw features, [images, width].
    pub features: Option<&'a Vectors>,
}

/// One fold, finished.
pub struct FoldOutcome {
    /// Rows tested.
    pub test: Vec<usize>,
    /// Number of rows trained on.
    pub train_rows: usize,
    /// Class probabilities of the test rows.
    pub probabilities: Vec<Vec<f64>>,
    /// Scores of each class present.
    pub classes: Vec<ClassScores>,
    /// Counts, as [`confusion`] has them.
    pub confusion: Vec<Vec<u64>>,
    /// Reliability bins.
    pub calibration: Vec<CalibrationBin>,
    /// False when the solver of the linear probe stopped at its iteration limit.
    pub converged: bool,
}

impl FoldOutcome {
    /// Scores the probabilities of the test rows; `truth` holds the classes of every image, `classes` counts them.
    ///
    /// # Errors
    /// No test row, or rows of one class alone.
    pub fn score(
        test: Vec<usize>,
        truth: Truth<'_>,
        classes: usize,
        train_rows: usize,
        probabilities: Vec<Vec<f64>>,
        converged: bool,
    ) -> Result<Self> {
        let groups: Vec<usize> = test.iter().map(|&r| truth.groups[r]).collect();
        let of_test = truth.with_groups(&groups);
        Ok(Self {
            classes: per_class(of_test, &probabilities)?,
            confusion: confusion(of_test, &probabilities, classes),
            calibration: calibration_bins(of_test, &probabilities),
            train_rows,
            test,
            probabilities,
            converged,
        })
    }

    /// The fold without some of its test rows. `place` tells the new number of a row, `None` when it goes;
    /// `truth` holds the classes by new number. What was trained stays as it was.
    ///
    /// # Errors
    /// As [`FoldOutcome::score`].
    pub fn renumbered(&self, place: &[Option<usize>], truth: Truth<'_>) -> Result<Self> {
        let kept = self.test.iter().zip(&self.probabilities);
        let (test, probabilities): (Vec<usize>, Vec<Vec<f64>>) =
            kept.filter_map(|(&row, p)| Some((place[row]?, p.clone()))).unzip();
        Self::score(
            test,
            truth,
            self.confusion.len(),
            self.train_rows,
            probabilities,
            self.converged,
        )
    }

    /// Mean metrics of the fold.
    pub fn metrics(&self) -> crate::metrics::Metrics {
        mean_of_classes(&self.classes)
    }
}

/// A class that a linear probe cannot learn, because all of the training rows have it or none.
fn one_sided(inputs: &Inputs<'_>, class: usize, train: &[usize], fold: usize) -> EvalError {
    let has = train.first().is_some_and(|&r| inputs.truth.has(r, class));
    EvalError::protocol(format!(
        "{} of the {} training images of fold {fold} {} class {class} ({}); a linear probe needs images with and without it: \
         add images or take the class out",
        if has { "all" } else { "none" },
        train.len(),
        if has { "have" } else { "has" },
        joined(inputs.classes, &[class]),
    ))
}

/// Runs all folds of a setting, on as many threads as rayon has; the result does not depend on their number.
pub fn run(inputs: &Inputs<'_>, setting: &Setting) -> Result<Vec<FoldOutcome>> {
    setting.method.check_shots(setting.shots)?;
    if inputs.truth.several() && !matches!(setting.method, Method::ZeroShot | Method::LinearProbe) {
        return Err(EvalError::protocol(format!(
            "{} knows one class an image; give it the images of exactly one",
            setting.method.name()
        )));
    }
    if setting.folds == 0
        || (setting.splitting == Splitting::Stratified && setting.folds < 2 && setting.method != Method::ZeroShot)
    {
        return Err(EvalError::protocol(format!(
            "{} folds are too few: use at least 1, stratified splits at least 2",
            setting.folds
        )));
    }
    (0..setting.folds)
        .into_par_iter()
        .map(|fold| run_fold(inputs, setting, fold))
        .collect()
}

fn run_fold(inputs: &Inputs<'_>, setting: &Setting, number: usize) -> Result<FoldOutcome> {
    let plan = SplitPlan {
        splitting: setting.splitting,
        folds: setting.folds,
        train: setting.shots,
        test_everything: setting.method == Method::ZeroShot,
        allow_short_classes: setting.allow_short_classes,
        sparse: inputs.truth.several(),
    };
    let mut fold = split(inputs.truth.groups, inputs.classes, &plan, number)?;
    let mut converged = true;
    let scale = setting.logit_scale.exp();
    let train_labels: Vec<usize> = fold.train.iter().map(|&r| inputs.truth.groups[r]).collect();
    let several = inputs.truth.several();
    let needed = |what: &str| EvalError::protocol(format!("{} needs {what}", setting.method.name()));

    let probabilities = if setting.method == Method::LinearProbe {
        let features = inputs.features.ok_or_else(|| needed("raw image features"))?;
        let mut present = train_labels.clone();
        present.dedup();
        if present.len() < 2 && !several {
            return Err(EvalError::protocol(format!(
                "the images of fold {number} belong to one class alone; a linear probe needs at least two"
            )));
        }
        let matrix = linear_probe::as_matrix(&features.values, features.width)?;
        let classes = inputs.classes.len();
        let result = if several {
            linear_probe::probabilities_of_each(matrix, inputs.truth, &fold.train, &fold.test, classes)
                .map_err(|class| one_sided(inputs, class, &fold.train, number))?
        } else {
            linear_probe::probabilities(matrix, inputs.truth.groups, &fold.train, &fold.test, classes)
        };
        converged = result.outcome.converged;
        tracing::debug!(
            fold = number,
            iterations = result.outcome.iterations,
            gradient = result.outcome.gradient,
            "linear probe solved"
        );
        result.probabilities
    } else {
        let images = inputs.projected.ok_or_else(|| needed("projected image vectors"))?;
        let texts = inputs.texts.ok_or_else(|| needed("class texts"))?;
        let (test, train) = (images.select(&fold.test), images.select(&fold.train));
        match setting.method {
            Method::ClipAdapter => {
                let first = match &setting.first_weights {
                    Some(weights) => weights.clone(),
                    None => AdapterWeights::random(
                        images.width,
                        setting.seed.wrapping_mul(1000).wrapping_add(number as u64),
                    ),
                };
                clip_adapter::probabilities(&train, &train_labels, &test, texts, scale, &first, &mut fold.random)
            }
            Method::TipAdapter => tip_adapter::probabilities(&train, &train_labels, &test, texts),
            Method::TipAdapterF => tip_adapter::probabilities_trained(
                &train,
                &train_labels,
                &test,
                texts,
                setting.mode,
                scale,
                &mut fold.random,
            ),
            _ if several => zero_shot::probabilities_of_each(&test, texts, scale),
            Method::ZeroShot | Method::LinearProbe => zero_shot::probabilities(&test, texts, scale),
        }
    };
    if let Some(at) = probabilities.iter().position(|p| p.iter().any(|v| !v.is_finite())) {
        return Err(EvalError::protocol(format!(
            "{} gave a probability that is not a number for image row {} in fold {number}; check the size of its vector and --logit-scale {}",
            setting.method.name(),
            fold.test[at],
            setting.logit_scale
        )));
    }
    let trained = fold.train.len();
    FoldOutcome::score(
        fold.test,
        inputs.truth,
        inputs.classes.len(),
        trained,
        probabilities,
        converged,
    )
    .map_err(|e| EvalError::protocol(format!("fold {number}: {e}")))
}
