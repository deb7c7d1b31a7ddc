//! Logistic regression of a yes-or-no question on a few measures.

use serde::{Deserialize, Serialize};

/// One question: the probability of "yes" from standardised measures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// Names of the measures used.
    pub measures: Vec<String>,
    /// Mean of each measure over the samples.
    pub mean: Vec<f64>,
    /// Standard deviation of each measure over the samples.
    pub deviation: Vec<f64>,
    /// Weight of each standardised measure.
    pub weight: Vec<f64>,
    /// Intercept.
    pub bias: f64,
}

impl Question {
    /// Probability of "yes" for the values of [`Question::measures`].
    pub fn probability(&self, values: &[f64]) -> f64 {
        let score = self.bias
            + values
                .iter()
                .zip(&self.mean)
                .zip(&self.deviation)
                .zip(&self.weight)
                .map(|(((v, m), d), w)| w * (v - m) / d)
                .sum::<f64>();
        1.0 / (1.0 + (-score).exp())
    }
}

/// Fits by Newton's method with an L2 penalty of 1 on the standardised weights,
/// both answers weighted alike. The minimum is unique, so the result depends on
/// nothing but the samples.
pub fn fit(measures: &[&str], samples: &[(Vec<f64>, bool)]) -> Question {
    const PENALTY: f64 = 1.0;
    const STEPS: usize = 60;
    let width = measures.len();
    let count = samples.len().max(1) as f64;
    let mean: Vec<f64> = (0..width)
        .map(|k| samples.iter().map(|(v, _)| v[k]).sum::<f64>() / count)
        .collect();
    let deviation: Vec<f64> = (0..width)
        .map(|k| {
            let variance = samples.iter().map(|(v, _)| (v[k] - mean[k]).powi(2)).sum::<f64>() / count;
            variance.sqrt().max(1e-6)
        })
        .collect();
    let yes = samples.iter().filter(|(_, answer)| *answer).count() as f64;
    let balance = |answer: bool| {
        let n = if answer { yes } else { count - yes };
        count / (2.0 * n.max(1.0))
    };
    // beta[0] is the bias.
    let mut beta = vec![0.0; width + 1];
    for _ in 0..STEPS {
        let mut gradient = vec![0.0; width + 1];
        let mut hessian = vec![vec![0.0; width + 1]; width + 1];
        for (values, answer) in samples {
            let mut row = vec![1.0];
            row.extend((0..width).map(|k| (values[k] - mean[k]) / deviation[k]));
            let score: f64 = row.iter().zip(&beta).map(|(x, b)| x * b).sum();
            let p = 1.0 / (1.0 + (-score).exp());
            let weight = balance(*answer);
            let error = weight * (p - f64::from(u8::from(*answer)));
            let curve = weight * (p * (1.0 - p)).max(1e-9);
            for i in 0..=width {
                gradient[i] += error * row[i];
                for j in 0..=width {
                    hessian[i][j] += curve * row[i] * row[j];
                }
            }
        }
        for i in 1..=width {
            gradient[i] += PENALTY * beta[i];
            hessian[i][i] += PENALTY;
        }
        hessian[0][0] += 1e-9;
        let step = solve(hessian, gradient);
        let longest = step.iter().fold(0.0f64, |m, s| m.max(s.abs()));
        // Newton steps on separable samples are cut short to stay stable.
        let scale = if longest > 2.0 { 2.0 / longest } else { 1.0 };
        for (b, s) in beta.iter_mut().zip(&step) {
            *b -= s * scale;
        }
        if longest < 1e-10 {
            break;
        }
    }
    Question {
        measures: measures.iter().map(|m| (*m).to_owned()).collect(),
        mean: mean.iter().map(|v| round(*v)).collect(),
        deviation: deviation.iter().map(|v| round(*v)).collect(),
        weight: beta[1..].iter().map(|v| round(*v)).collect(),
        bias: round(beta[0]),
    }
}

/// Six decimals are more than the samples can tell, and read better.
fn round(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

/// Gauss elimination with row exchange; the matrix is small and positive definite.
fn solve(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Vec<f64> {
    let n = b.len();
    for column in 0..n {
        let pivot = (column..n)
            .max_by(|&i, &j| a[i][column].abs().total_cmp(&a[j][column].abs()))
            .unwrap_or(column);
        a.swap(column, pivot);
        b.swap(column, pivot);
        if a[column][column].abs() < 1e-12 {
            continue;
        }
        for row in column + 1..n {
            let factor = a[row][column] / a[column][column];
            let (above, below) = a.split_at_mut(row);
            for (value, pivot) in below[0][column..].iter_mut().zip(&above[column][column..]) {
                *value -= factor * pivot;
            }
            b[row] -= factor * b[column];
        }
    }
    let mut x = vec![0.0; n];
    for row in (0..n).rev() {
        let rest: f64 = (row + 1..n).map(|k| a[row][k] * x[k]).sum();
        x[row] = if a[row][row].abs() < 1e-12 {
            0.0
        } else {
            (b[row] - rest) / a[row][row]
        };
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_border_lies_between_the_groups() {
        let samples: Vec<(Vec<f64>, bool)> = (0..40)
            .map(|i| (vec![f64::from(i), f64::from(i % 3)], i >= 20))
            .collect();
        let question = fit(&["a", "b"], &samples);
        assert!(question.probability(&[5.0, 1.0]) < 0.05);
        assert!(question.probability(&[35.0, 1.0]) > 0.95);
        assert!((question.probability(&[19.5, 1.0]) - 0.5).abs() < 0.1);
        assert_eq!(question, fit(&["a", "b"], &samples));
    }
}
