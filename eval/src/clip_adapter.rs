//! CLIP-Adapter (Gao et al. 2021) as the released evaluation code trains it.
//!
//! a = relu(relu(x Dᵀ) Uᵀ), v = 0.2 a + 0.8 x, v/‖v‖, logits exp(s) · v Tᵀ; batch 1, 40 epochs, cosine rate.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::adamw::{AdamW, LEARNING_RATE};
use crate::python_random::PythonRandom;
use crate::vectors::{Rows, add_scaled, dot, norm, softmax};

/// Epochs of both trained adapters.
pub const EPOCHS: usize = 40;
/// Share of the adapter's answer in the mixed vector.
const RATIO: f64 = 0.2;
/// The hidden layer is this many times narrower than the input.
pub const REDUCTION: usize = 4;

/// First weights of the adapter: `down` [hidden, width], `up` [width, hidden].
#[derive(Debug, Clone)]
pub struct AdapterWeights {
    /// D, [hidden, width].
    pub down: Rows,
    /// U, [width, hidden].
    pub up: Rows,
}

impl AdapterWeights {
    /// Uniform in ±1/√(inputs), PyTorch's default for a linear layer, from our own seeded generator.
    pub fn random(width: usize, seed: u64) -> Self {
        let hidden = (width / REDUCTION).max(1);
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        let mut draw = |count: usize, inputs: usize| {
            let bound = 1.0 / (inputs as f64).sqrt();
            let values = (0..count * inputs)
                .map(|_| generator.random_range(-bound..bound))
                .collect();
            Rows { values, width: inputs }
        };
        Self {
            down: draw(hidden, width),
            up: draw(width, hidden),
        }
    }
}

/// What the forward pass keeps for the backward pass.
struct Pass {
    hidden: Vec<f64>,  // relu(x Dᵀ), [hidden]
    adapted: Vec<f64>, // relu(hidden Uᵀ), [width]
    unit: Vec<f64>,    // mixed vector at unit length, [width]
    length: f64,       // its length before
}

fn forward(down: &AdamW, up: &AdamW, hidden_width: usize, x: &[f64]) -> Pass {
    let hidden: Vec<f64> = (0..hidden_width).map(|r| dot(down.row(r), x).max(0.0)).collect();
    let adapted: Vec<f64> = (0..x.len()).map(|r| dot(up.row(r), &hidden).max(0.0)).collect();
    let mut unit: Vec<f64> = adapted
        .iter()
        .zip(x)
        .map(|(a, x)| RATIO * a + (1.0 - RATIO) * x)
        .collect();
    let length = norm(&unit);
    unit.iter_mut().for_each(|u| *u /= length);
    Pass {
        hidden,
        adapted,
        unit,
        length,
    }
}

fn class_probabilities(unit: &[f64], texts: &Rows, scale: f64) -> Vec<f64> {
    let mut logits: Vec<f64> = texts.iter().map(|t| scale * dot(unit, t)).collect();
    softmax(&mut logits);
    logits
}

/// Trains on `train` with class indices `labels` and returns the probabilities of `test`, `[rows][classes]`.
pub fn probabilities(
    train: &Rows,
    labels: &[usize],
    test: &Rows,
    texts: &Rows,
    scale: f64,
    first: &AdapterWeights,
    random: &mut PythonRandom,
) -> Vec<Vec<f64>> {
    let (width, hidden_width) = (train.width, first.down.len());
    let mut down = AdamW::new(first.down.values.clone(), width);
    let mut up = AdamW::new(first.up.values.clone(), hidden_width);
    let mut order: Vec<usize> = (0..train.len()).collect();
    random.shuffle(&mut order);

    let steps = (EPOCHS * order.len()) as f64;
    let mut step = 0.0;
    for _ in 0..EPOCHS {
        for &i in &order {
            let x = train.row(i);
            let pass = forward(&down, &up, hidden_width, x);
            let mut logit_gradient = class_probabilities(&pass.unit, texts, scale);
            logit_gradient[labels[i]] -= 1.0;
            let mut unit_gradient = vec![0.0; width];
            for (t, g) in texts.iter().zip(&logit_gradient) {
                add_scaled(&mut unit_gradient, scale * g, t);
            }
            // through v/‖v‖ and the second ReLU
            let along = dot(&pass.unit, &unit_gradient);
            let adapted_gradient: Vec<f64> = (0..width)
                .map(|r| {
                    if pass.adapted[r] > 0.0 {
                        RATIO * (unit_gradient[r] - pass.unit[r] * along) / pass.length
                    } else {
                        0.0
                    }
                })
                .collect();
            let mut hidden_gradient = vec![0.0; hidden_width];
            for (r, &g) in adapted_gradient.iter().enumerate().filter(|(_, g)| **g != 0.0) {
                add_scaled(&mut hidden_gradient, g, up.row(r));
            }
            for (g, h) in hidden_gradient.iter_mut().zip(&pass.hidden) {
                *g = if *h > 0.0 { *g } else { 0.0 };
            }
            let rate = 0.5 * LEARNING_RATE * (1.0 + (std::f64::consts::PI * step / steps).cos());
            down.step(&hidden_gradient, x, rate);
            up.step(&adapted_gradient, &pass.hidden, rate);
            step += 1.0;
        }
    }
    test.iter()
        .map(|x| class_probabilities(&forward(&down, &up, hidden_width, x).unit, texts, scale))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn learns_two_classes_that_the_texts_confuse() {
        // texts point at the wrong class; a few samples must turn that round
        let unit = |a: f64| vec![a.cos(), a.sin(), 0.3, 0.3, 0.1, 0.2, 0.3, 0.4];
        let rows = |angles: &[f64]| Rows {
            values: angles.iter().flat_map(|a| unit(*a)).collect(),
            width: 8,
        };
        let (train, test) = (rows(&[0.1, 0.2, 1.3, 1.4]), rows(&[0.15, 1.35]));
        let texts = rows(&[0.9, 0.6]);
        let first = AdapterWeights::random(8, 4);
        let p = probabilities(
            &train,
            &[0, 0, 1, 1],
            &test,
            &texts,
            30.0,
            &first,
            &mut PythonRandom::new(0),
        );
        let before = class_probabilities(test.row(0), &texts, 30.0);
        assert!(
            p[0][0] > before[0],
            "training must move the first sample towards its class: {p:?} {before:?}"
        );
    }
}
