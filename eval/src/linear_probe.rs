//! Linear probe: multinomial logistic regression on raw image features.
//!
//! Minimises C Σᵢ wᵢ loglossᵢ + ½‖W‖², intercept free, wᵢ = n / (classes · n_class) (balanced), as
//! scikit-learn's `LogisticRegression(C=0.316, class_weight="balanced")` does. Two classes use one logit.
//! Where images may have several classes, one such problem of two classes is solved for each of them (scikit-learn's
//! `OneVsRestClassifier`); the released code trains a linear layer there by ten epochs of AdamW instead.
//! Features are centred while solving: the free intercept takes the means up, so the answer is the same and
//! the solver needs far fewer iterations.

use ndarray::{Array1, Array2, ArrayView2, Axis, Zip};

use crate::lbfgs::{LinePoint, Objective, Outcome, minimise};
use crate::truth::Truth;
use crate::vectors::{sigmoid, softmax};

/// Inverse strength of the penalty (CLIP's linear-probe setting, used by the paper).
const C: f64 = 0.316;
/// Iterations allowed by the protocol.
const MAX_ITERATIONS: usize = 1000;
/// Largest gradient component of the mean loss at the end.
const TOLERANCE: f64 = 1e-9;

/// Probabilities of the test rows and how the solver ended.
pub struct ProbeResult {
    /// `[rows][classes]`; classes without a training row have probability 0.
    pub probabilities: Vec<Vec<f64>>,
    /// How the solver ended.
    pub outcome: Outcome,
}

/// The training problem with its current point. `k` logits: 1 for two classes, else one for each class.
struct Problem<'a> {
    features: &'a Array2<f64>, // centred, [n, d]
    targets: Vec<usize>,       // 0..classes present
    weights: Vec<f64>,         // C · wᵢ
    k: usize,
    point: Array2<f64>,          // W, [k, d]
    intercept: Array1<f64>,      // [k]
    logits: Array2<f64>,         // at the point, [n, k]
    line: Array2<f64>,           // direction of W, [k, d]
    line_intercept: Array1<f64>, // direction of the intercept
    line_logits: Array2<f64>,    // change of the logits for a step of 1, [n, k]
}

/// Loss of one row from its logits; leaves d loss / d logit in `logits`.
fn row_loss(logits: &mut [f64], target: usize) -> f64 {
    if let [logit] = logits {
        // one logit, sigmoid: log(1 + exp(z)) − y z, kept stable on both sides
        let z = *logit;
        let y = target as f64;
        let tail = (-z.abs()).exp();
        let probability = if z >= 0.0 {
            1.0 / (1.0 + tail)
        } else {
            tail / (1.0 + tail)
        };
        *logit = probability - y;
        return z.max(0.0) + tail.ln_1p() - y * z;
    }
    let top = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let of_target = logits[target] - top;
    let mut sum = 0.0;
    for l in logits.iter_mut() {
        *l = (*l - top).exp();
        sum += *l;
    }
    logits.iter_mut().for_each(|l| *l /= sum);
    logits[target] -= 1.0;
    sum.ln() - of_target
}

impl Objective for Problem<'_> {
    fn gradient(&mut self) -> Vec<f64> {
        let mut residuals = self.logits.clone(); // [n, k]
        for ((mut row, &target), &weight) in residuals.outer_iter_mut().zip(&self.targets).zip(&self.weights) {
            if let Some(row) = row.as_slice_mut() {
                row_loss(row, target);
                row.iter_mut().for_each(|r| *r *= weight);
            }
        }
        let mut gradient = self.point.clone();
        ndarray::linalg::general_mat_mul(1.0, &residuals.t(), self.features, 1.0, &mut gradient);
        gradient.into_iter().chain(residuals.sum_axis(Axis(0))).collect()
    }

    fn set_direction(&mut self, direction: &[f64]) {
        let (of_weights, of_intercept) = direction.split_at(self.line.len());
        self.line.iter_mut().zip(of_weights).for_each(|(l, d)| *l = *d);
        self.line_intercept
            .iter_mut()
            .zip(of_intercept)
            .for_each(|(l, d)| *l = *d);
        self.line_logits = self.features.dot(&self.line.t()) + &self.line_intercept;
    }

    fn along(&self, step: f64) -> LinePoint {
        let (mut value, mut slope) = (0.0, 0.0);
        let mut row = vec![0.0; self.k];
        let rows = self.logits.outer_iter().zip(self.line_logits.outer_iter());
        for (((at, change), &target), &weight) in rows.zip(&self.targets).zip(&self.weights) {
            row.iter_mut()
                .zip(at.iter().zip(change))
                .for_each(|(r, (a, c))| *r = a + step * c);
            value += weight * row_loss(&mut row, target);
            slope += weight * row.iter().zip(change).map(|(g, c)| g * c).sum::<f64>();
        }
        Zip::from(&self.point).and(&self.line).for_each(|p, l| {
            let moved = p + step * l;
            value += 0.5 * moved * moved;
            slope += moved * l;
        });
        LinePoint { value, slope }
    }

    fn advance(&mut self, step: f64) {
        self.point.scaled_add(step, &self.line);
        self.intercept.scaled_add(step, &self.line_intercept);
        self.logits.scaled_add(step, &self.line_logits);
    }
}

/// Trains on rows `train` of `features` [images, d] and predicts rows `test`.
///
/// `labels` holds the class index of every image, 0..classes. At least two classes must train.
pub fn probabilities(
    features: ArrayView2<'_, f32>,
    labels: &[usize],
    train: &[usize],
    test: &[usize],
    classes: usize,
) -> ProbeResult {
    let mut rows_of = vec![0usize; classes];
    train.iter().for_each(|&r| rows_of[labels[r]] += 1);
    let present: Vec<usize> = (0..classes).filter(|&c| rows_of[c] > 0).collect();
    let place = |class: usize| present.iter().position(|&p| p == class).unwrap_or(0);

    let (data, test_data) = centred(features, train, test);
    let targets = train.iter().map(|&r| place(labels[r])).collect();
    let (logits, outcome) = solve(&data, targets, present.len(), &test_data);
    let to_probabilities = |row: ndarray::ArrayView1<'_, f64>| {
        let own = if present.len() == 2 {
            let p = sigmoid(row[0]);
            vec![1.0 - p, p]
        } else {
            let mut own = row.to_vec();
            softmax(&mut own);
            own
        };
        let mut all = vec![0.0; classes];
        present.iter().zip(own).for_each(|(&c, p)| all[c] = p);
        all
    };
    ProbeResult {
        probabilities: logits.outer_iter().map(to_probabilities).collect(),
        outcome,
    }
}

/// The same where images may have several of `classes`: each class against the rest, one problem each.
///
/// # Errors
/// The number of a class that no training row has, or that all have.
pub fn probabilities_of_each(
    features: ArrayView2<'_, f32>,
    truth: Truth<'_>,
    train: &[usize],
    test: &[usize],
    classes: usize,
) -> Result<ProbeResult, usize> {
    let (data, test_data) = centred(features, train, test);
    let mut all = ProbeResult {
        probabilities: vec![vec![0.0; classes]; test.len()],
        outcome: Outcome {
            iterations: 0,
            gradient: 0.0,
            converged: true,
        },
    };
    for class in 0..classes {
        let targets: Vec<usize> = train.iter().map(|&r| usize::from(truth.has(r, class))).collect();
        if targets.iter().all(|t| *t == targets[0]) {
            return Err(class);
        }
        let (logits, outcome) = solve(&data, targets, 2, &test_data);
        for (row, logit) in all.probabilities.iter_mut().zip(&logits) {
            row[class] = sigmoid(*logit);
        }
        all.outcome = Outcome {
            iterations: all.outcome.iterations.max(outcome.iterations),
            gradient: all.outcome.gradient.max(outcome.gradient),
            converged: all.outcome.converged && outcome.converged,
        };
    }
    Ok(all)
}

/// Rows `train` and `test` of the features in f64, both less the means of the training rows.
fn centred(features: ArrayView2<'_, f32>, train: &[usize], test: &[usize]) -> (Array2<f64>, Array2<f64>) {
    let mut data = features.select(Axis(0), train).mapv(f64::from);
    let means = data.mean_axis(Axis(0)).unwrap_or_else(|| Array1::zeros(data.ncols()));
    data -= &means;
    (data, features.select(Axis(0), test).mapv(f64::from) - &means)
}

/// Solves one problem with targets 0..classes, each of which occurs; logits of the test rows, [rows, classes] or
/// [rows, 1] for two classes.
fn solve(data: &Array2<f64>, targets: Vec<usize>, classes: usize, test: &Array2<f64>) -> (Array2<f64>, Outcome) {
    let mut rows_of = vec![0usize; classes];
    targets.iter().for_each(|&t| rows_of[t] += 1);
    let (n, d) = data.dim();
    let balanced = |target: usize| n as f64 / (classes * rows_of[target]) as f64;
    let k = if classes == 2 { 1 } else { classes };
    let mut problem = Problem {
        weights: targets.iter().map(|&t| C * balanced(t)).collect(),
        targets,
        features: data,
        k,
        point: Array2::zeros((k, d)),
        intercept: Array1::zeros(k),
        logits: Array2::zeros((n, k)),
        line: Array2::zeros((k, d)),
        line_intercept: Array1::zeros(k),
        line_logits: Array2::zeros((n, k)),
    };
    let outcome = minimise(&mut problem, TOLERANCE * C * n as f64, MAX_ITERATIONS);
    (test.dot(&problem.point.t()) + &problem.intercept, outcome)
}

/// The features as an [images, d] view.
pub fn as_matrix(values: &[f32], width: usize) -> crate::error::Result<ArrayView2<'_, f32>> {
    ArrayView2::from_shape((values.len() / width.max(1), width), values)
        .map_err(|e| crate::error::EvalError::protocol(format!("features do not form a table: {e}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A deterministic cloud of points.
    fn cloud(n: usize, d: usize, classes: usize) -> (Vec<f32>, Vec<usize>) {
        let mut state = 12345u64;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            ((state >> 33) as f32 / (1u64 << 31) as f32) - 0.5
        };
        let labels: Vec<usize> = (0..n).map(|i| i % classes).collect();
        let values = labels
            .iter()
            .flat_map(|&l| {
                (0..d)
                    .map(|j| next() + 3.0 + if j % classes == l { 0.3 } else { 0.0 })
                    .collect::<Vec<_>>()
            })
            .collect();
        (values, labels)
    }

    #[test]
    fn the_gradient_vanishes_at_the_answer_and_matches_differences() {
        for classes in [2, 4] {
            let (values, labels) = cloud(60, 7, classes);
            let x = as_matrix(&values, 7).unwrap();
            let all: Vec<usize> = (0..60).collect();
            let result = probabilities(x, &labels, &all, &all, classes);
            assert!(
                result.outcome.converged && result.outcome.gradient < 1e-7,
                "{:?}",
                result.outcome
            );
            // stationarity of the intercepts: weighted residuals of every class sum to zero
            for c in 0..classes {
                let sum: f64 = result
                    .probabilities
                    .iter()
                    .zip(&labels)
                    .map(|(p, &l)| p[c] - f64::from(u8::from(l == c)))
                    .sum();
                assert!(sum.abs() < 1e-5, "class {c}: {sum}");
            }
        }
    }

    #[test]
    fn classes_without_training_rows_get_no_probability() {
        let (values, labels) = cloud(40, 5, 2);
        let x = as_matrix(&values, 5).unwrap();
        let all: Vec<usize> = (0..40).collect();
        let result = probabilities(x, &labels, &all, &[0, 1], 3);
        assert!(
            result
                .probabilities
                .iter()
                .all(|p| p[2] == 0.0 && (p[0] + p[1] - 1.0).abs() < 1e-12)
        );
    }

    #[test]
    fn one_logit_loss_is_stable() {
        for z in [-800.0, -1.0, 0.0, 1.0, 800.0] {
            let mut l = [z];
            let loss = row_loss(&mut l, 1);
            assert!(
                loss.is_finite() && loss >= 0.0 && (-1.0..=0.0).contains(&l[0]),
                "{z}: {loss} {l:?}"
            );
        }
    }
}
