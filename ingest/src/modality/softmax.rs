//! The default method: multinomial logistic regression on the measures, their squares and their products.
//!
//! A quadratic form bends the borders between the modalities; a strong penalty keeps it from
//! following single collections. Measures beyond the range that was learnt count as its end, so
//! that no picture is judged by extrapolation.

use std::collections::BTreeMap;

use dataset::modality::Modality;
use serde::{Deserialize, Serialize};

use super::measures::{COUNT, Measures, NAMES};
use super::{Sample, Verdict};

/// Products of two measures, squares included, and the measures themselves.
const TERMS: usize = COUNT + COUNT * (COUNT + 1) / 2;
/// Weight of half the squared weights against the mean loss.
const PENALTY: f64 = 0.025;
/// Share of the samples beyond either end of a measure's range.
const BEYOND: f64 = 0.002;

/// What was learnt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct SoftmaxModel {
    scales: Vec<Scale>,
    /// Of each of [`Modality::ALL`].
    bias: [f64; 4],
    /// Of each term and each of [`Modality::ALL`].
    weights: Vec<[f64; 4]>,
}

/// Range and standardisation of a measure.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scale {
    least: f64,
    most: f64,
    mean: f64,
    deviation: f64,
}

/// The model as the file holds it: everything by name.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    /// The order of all weights: CFP, FFA, OCT, OTHER.
    modalities: Vec<Modality>,
    scales: BTreeMap<String, Scale>,
    bias: [f64; 4],
    /// `name` or `name * name`, of standardised measures.
    weights: BTreeMap<String, [f64; 4]>,
}

/// Names of the terms in their order.
fn term_names() -> impl Iterator<Item = String> {
    let products = (0..COUNT).flat_map(|i| (i..COUNT).map(move |j| format!("{} * {}", NAMES[i], NAMES[j])));
    NAMES.iter().map(|n| (*n).to_owned()).chain(products)
}

impl From<SoftmaxModel> for Written {
    fn from(model: SoftmaxModel) -> Self {
        Self {
            modalities: Modality::ALL.to_vec(),
            scales: NAMES.iter().map(|n| (*n).to_owned()).zip(model.scales).collect(),
            bias: model.bias,
            weights: term_names().zip(model.weights).collect(),
        }
    }
}

impl TryFrom<Written> for SoftmaxModel {
    type Error = String;

    fn try_from(mut written: Written) -> Result<Self, String> {
        if written.modalities != Modality::ALL {
            return Err("`modalities` must be CFP, FFA, OCT, OTHER in this order".to_owned());
        }
        let mut scales = Vec::with_capacity(COUNT);
        for name in NAMES {
            let scale = written
                .scales
                .remove(name)
                .ok_or_else(|| format!("no scale of `{name}`"))?;
            if scale.deviation <= 0.0 || scale.least > scale.most {
                return Err(format!(
                    "scale of `{name}`: deviation must be above 0, least not above most"
                ));
            }
            scales.push(scale);
        }
        let mut weights = Vec::with_capacity(TERMS);
        for name in term_names() {
            weights.push(
                written
                    .weights
                    .remove(&name)
                    .ok_or_else(|| format!("no weights of `{name}`"))?,
            );
        }
        if let Some(name) = written.scales.keys().chain(written.weights.keys()).next() {
            return Err(format!("`{name}` is no measure"));
        }
        Ok(Self {
            scales,
            bias: written.bias,
            weights,
        })
    }
}

impl SoftmaxModel {
    /// Probabilities for a measured picture.
    pub fn classify(&self, measures: &Measures) -> Verdict {
        let mut scores = self.bias;
        for (value, weights) in self.terms(measures).into_iter().zip(&self.weights) {
            for (score, weight) in scores.iter_mut().zip(weights) {
                *score += value * weight;
            }
        }
        Verdict::from_scores(probabilities(scores))
    }

    fn terms(&self, measures: &Measures) -> Vec<f64> {
        let mut terms: Vec<f64> = measures
            .values
            .iter()
            .zip(&self.scales)
            .map(|(v, s)| (v.clamp(s.least, s.most) - s.mean) / s.deviation)
            .collect();
        terms.reserve(TERMS - COUNT);
        for i in 0..COUNT {
            for j in i..COUNT {
                terms.push(terms[i] * terms[j]);
            }
        }
        terms
    }
}

fn probabilities(scores: [f64; 4]) -> [f64; 4] {
    let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights = scores.map(|s| (s - most).exp());
    let sum: f64 = weights.iter().sum();
    weights.map(|w| w / sum)
}

/// A row to learn from.
struct Row {
    /// 1, then the terms.
    terms: Vec<f64>,
    class: usize,
    weight: f64,
}

/// Learns from the samples and their other looks. The modalities weigh alike, and so do the pictures of one modality.
pub fn fit(samples: &[Sample]) -> SoftmaxModel {
    let mut shown: Vec<(&Measures, usize, f64)> = Vec::new();
    for sample in samples {
        let weight = 1.0 / (1 + sample.looks.len()) as f64;
        let own = std::iter::once((sample.modality, &sample.measures));
        for (modality, measures) in own.chain(sample.looks.iter().map(|(m, l)| (*m, l))) {
            let class = Modality::ALL.iter().position(|m| *m == modality).unwrap_or(3);
            shown.push((measures, class, weight));
        }
    }
    let mut totals = [0.0; 4];
    for (_, class, weight) in &shown {
        totals[*class] += weight;
    }
    let present = totals.iter().filter(|t| **t > 0.0).count().max(1) as f64;
    let mut model = SoftmaxModel {
        scales: (0..COUNT)
            .map(|k| scale(shown.iter().map(|(m, ..)| m.values[k]).collect()))
            .collect(),
        bias: [0.0; 4],
        weights: vec![[0.0; 4]; TERMS],
    };
    let rows: Vec<Row> = shown
        .iter()
        .map(|(measures, class, weight)| Row {
            terms: std::iter::once(1.0).chain(model.terms(measures)).collect(),
            class: *class,
            weight: weight / (totals[*class] * present),
        })
        .collect();
    let learnt = descend(&rows);
    model.bias = learnt[0].map(round);
    model.weights = learnt[1..].iter().map(|w| w.map(round)).collect();
    model
}

fn scale(mut values: Vec<f64>) -> Scale {
    let (mean, variance) = super::measures::moments(values.iter().copied());
    values.sort_by(f64::total_cmp);
    let beyond = (values.len() as f64 * BEYOND) as usize;
    Scale {
        least: round(values.get(beyond).copied().unwrap_or(0.0)),
        most: round(values.iter().rev().nth(beyond).copied().unwrap_or(0.0)),
        mean: round(mean),
        deviation: round(variance.sqrt()).max(1e-5),
    }
}

/// Five decimals are more than the samples can tell, and read better.
fn round(value: f64) -> f64 {
    // Adding 0 turns -0 into 0.
    (value * 1e5).round() / 1e5 + 0.0
}

/// Minimises the weighted log loss plus the penalty. The curvature is bounded by half of the terms' second moments
/// (Böhning 1992), which is factored once; Nesterov's momentum, started anew when the loss rises, speeds up the rest.
/// The minimum is unique, so the result depends on nothing but the samples.
fn descend(rows: &[Row]) -> Vec<[f64; 4]> {
    const STEPS: usize = 400;
    /// Largest change of a weight in the last step.
    const ENOUGH: f64 = 2e-4;
    let width = TERMS + 1;
    let mut bound = vec![0.0; width * width];
    for row in rows {
        for i in 0..width {
            let factor = 0.5 * row.weight * row.terms[i];
            for (slot, term) in bound[i * width..=i * width + i].iter_mut().zip(&row.terms) {
                *slot += factor * term;
            }
        }
    }
    for i in 0..width {
        bound[i * width + i] += if i == 0 { 1e-6 } else { PENALTY };
    }
    let factor = cholesky(bound, width);
    let mut weights = vec![[0.0; 4]; width];
    let mut ahead = weights.clone();
    let (mut momentum, mut before) = (1.0f64, f64::INFINITY);
    for _ in 0..STEPS {
        let (loss, gradient) = loss_and_gradient(rows, &ahead);
        if loss > before {
            momentum = 1.0;
            ahead.clone_from(&weights);
            before = f64::INFINITY;
            continue;
        }
        before = loss;
        let step = solve(&factor, width, gradient);
        let next_momentum = (1.0 + (1.0 + 4.0 * momentum * momentum).sqrt()) / 2.0;
        let carry = (momentum - 1.0) / next_momentum;
        let mut largest = 0.0f64;
        for i in 0..width {
            for k in 0..4 {
                let next = ahead[i][k] - step[i][k];
                let change = next - weights[i][k];
                largest = largest.max(change.abs());
                weights[i][k] = next;
                ahead[i][k] = next + carry * change;
            }
        }
        momentum = next_momentum;
        if largest < ENOUGH {
            break;
        }
    }
    weights
}

fn loss_and_gradient(rows: &[Row], weights: &[[f64; 4]]) -> (f64, Vec<[f64; 4]>) {
    let mut gradient: Vec<[f64; 4]> = weights.iter().map(|w| w.map(|v| PENALTY * v)).collect();
    gradient[0] = weights[0].map(|v| 1e-6 * v);
    let mut loss = weights[1..]
        .iter()
        .flatten()
        .map(|v| PENALTY * v * v / 2.0)
        .sum::<f64>();
    for row in rows {
        let mut scores = [0.0; 4];
        for (term, weight) in row.terms.iter().zip(weights) {
            for k in 0..4 {
                scores[k] += term * weight[k];
            }
        }
        let p = probabilities(scores);
        loss -= row.weight * p[row.class].max(1e-300).ln();
        let mut error = p.map(|v| v * row.weight);
        error[row.class] -= row.weight;
        for (term, slot) in row.terms.iter().zip(&mut gradient) {
            for k in 0..4 {
                slot[k] += term * error[k];
            }
        }
    }
    (loss, gradient)
}

/// The lower triangular factor of a positive definite matrix of which the lower half is given.
fn cholesky(mut a: Vec<f64>, n: usize) -> Vec<f64> {
    for i in 0..n {
        for j in 0..=i {
            let dot: f64 = (0..j).map(|k| a[i * n + k] * a[j * n + k]).sum();
            let rest = a[i * n + j] - dot;
            a[i * n + j] = if i == j {
                rest.max(1e-12).sqrt()
            } else {
                rest / a[j * n + j]
            };
        }
    }
    a
}

/// Solves `factor · factorᵀ · x = b` for four right-hand sides.
fn solve(factor: &[f64], n: usize, mut b: Vec<[f64; 4]>) -> Vec<[f64; 4]> {
    let less = |mut row: [f64; 4], known: &mut dyn Iterator<Item = (f64, [f64; 4])>, diagonal: f64| {
        for (weight, other) in known {
            for (value, other) in row.iter_mut().zip(other) {
                *value -= weight * other;
            }
        }
        row.map(|value| value / diagonal)
    };
    for i in 0..n {
        b[i] = less(b[i], &mut (0..i).map(|j| (factor[i * n + j], b[j])), factor[i * n + i]);
    }
    for i in (0..n).rev() {
        b[i] = less(
            b[i],
            &mut (i + 1..n).map(|j| (factor[j * n + i], b[j])),
            factor[i * n + i],
        );
    }
    b
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn sample(modality: Modality, at: [f64; 2]) -> Sample {
        let mut values = [0.0; COUNT];
        values[..2].copy_from_slice(&at);
        Sample {
            modality,
            source: "s".to_owned(),
            measures: Measures { values },
            looks: Vec::new(),
            histogram: Vec::new(),
        }
    }

    #[test]
    fn borders_bend_and_what_lies_beyond_counts_as_the_end() {
        // FFA in the middle, CFP around: no straight line parts them.
        let mut samples = Vec::new();
        for i in 0..40 {
            let angle = f64::from(i) * 0.157;
            samples.push(sample(Modality::Cfp, [3.0 * angle.cos(), 3.0 * angle.sin()]));
            samples.push(sample(Modality::Ffa, [0.6 * angle.cos(), 0.6 * angle.sin()]));
        }
        let model = fit(&samples);
        for s in &samples {
            let verdict = model.classify(&s.measures);
            assert_eq!(verdict.modality, s.modality, "{:?}", s.measures);
            assert!((verdict.scores.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        }
        let at = |x: f64| model.classify(&sample(Modality::Cfp, [x, 0.0]).measures).scores;
        assert_eq!(at(3.0), at(1e9));
        assert_eq!(model, fit(&samples));
    }

    #[test]
    fn the_file_names_what_it_lacks() {
        let model = fit(&[sample(Modality::Cfp, [1.0, 0.0]), sample(Modality::Oct, [0.0, 1.0])]);
        let json = serde_json::to_string(&model).unwrap();
        assert_eq!(serde_json::from_str::<SoftmaxModel>(&json).unwrap(), model);
        let error = |from: &str, to: &str| {
            let text = json.replacen(from, to, 1);
            assert_ne!(text, json);
            serde_json::from_str::<SoftmaxModel>(&text).unwrap_err().to_string()
        };
        assert!(error("\"level * strips\"", "\"level\"").contains("level * strips"));
        assert!(error("\"OCT\"", "\"FFA\"").contains("in this order"));
    }
}
