//! Tip-Adapter and Tip-Adapter-F (Zhang et al. 2022).
//!
//! logits = 100 · x Tᵀ + α · exp(−β (1 − x Kᵀ)) · onehot, K = training vectors; Tip-Adapter-F trains K.

use serde::{Deserialize, Serialize};

use crate::adamw::{AdamW, LEARNING_RATE};
use crate::clip_adapter::EPOCHS;
use crate::python_random::PythonRandom;
use crate::vectors::{Rows, dot, softmax};

/// Sharpness of the cache.
const BETA: f64 = 5.0;
/// Weight of the cache.
const ALPHA: f64 = 1.0;
/// Factor of the text logits, whatever scale was learnt.
const TEXT_SCALE: f64 = 100.0;

/// Which of two readings of the protocol to follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The published formula, the same in training and test.
    Paper,
    /// The released code: cache keys alias the training inputs, and training scales differ from test scales.
    Reference,
}

/// exp(−β (1 − x·k)) of one key.
fn affinity(x: &[f64], key: &[f64]) -> f64 {
    (-(BETA - BETA * dot(x, key))).exp()
}

fn predict(x: &[f64], texts: &Rows, keys: &[f64], labels: &[usize]) -> Vec<f64> {
    let mut logits: Vec<f64> = texts.iter().map(|t| TEXT_SCALE * dot(x, t)).collect();
    for (key, &label) in keys.chunks_exact(x.len()).zip(labels) {
        logits[label] += ALPHA * affinity(x, key);
    }
    softmax(&mut logits);
    logits
}

/// Tip-Adapter without training: probabilities of `test`, `[rows][classes]`.
pub fn probabilities(train: &Rows, labels: &[usize], test: &Rows, texts: &Rows) -> Vec<Vec<f64>> {
    test.iter().map(|x| predict(x, texts, &train.values, labels)).collect()
}

/// Tip-Adapter-F: trains the keys, then as [`probabilities`]. `scale` enters in reference mode alone.
pub fn probabilities_trained(
    train: &Rows,
    labels: &[usize],
    test: &Rows,
    texts: &Rows,
    mode: Mode,
    scale: f64,
    random: &mut PythonRandom,
) -> Vec<Vec<f64>> {
    let mut keys = AdamW::new(train.values.clone(), train.width);
    let mut order: Vec<usize> = (0..train.len()).collect();
    random.shuffle(&mut order);
    let (text_scale, cache_scale) = match mode {
        Mode::Paper => (TEXT_SCALE, ALPHA),
        Mode::Reference => (scale, ALPHA * scale / train.len() as f64),
    };
    let text_logits: Rows = match mode {
        Mode::Paper => text_products(train, texts, text_scale),
        Mode::Reference => Rows::default(), // inputs move with the keys
    };
    let mut input = vec![0.0; train.width];
    for _ in 0..EPOCHS {
        for &i in &order {
            let mut logits = match mode {
                Mode::Paper => {
                    input.copy_from_slice(train.row(i));
                    text_logits.row(i).to_vec()
                }
                Mode::Reference => {
                    input.copy_from_slice(keys.row(i));
                    texts.iter().map(|t| text_scale * dot(&input, t)).collect()
                }
            };
            let affinities: Vec<f64> = (0..train.len()).map(|k| affinity(&input, keys.row(k))).collect();
            for (a, &label) in affinities.iter().zip(labels) {
                logits[label] += cache_scale * a;
            }
            softmax(&mut logits);
            logits[labels[i]] -= 1.0; // now the gradient of the cross entropy
            let key_factors: Vec<f64> = affinities
                .iter()
                .zip(labels)
                .map(|(a, &l)| logits[l] * cache_scale * BETA * a)
                .collect();
            keys.step(&key_factors, &input, LEARNING_RATE);
        }
    }
    test.iter()
        .map(|x| predict(x, texts, &keys.parameters, labels))
        .collect()
}

/// Scaled products of all images with all texts, [images, classes].
fn text_products(images: &Rows, texts: &Rows, scale: f64) -> Rows {
    let values = images
        .iter()
        .flat_map(|x| texts.iter().map(move |t| scale * dot(x, t)))
        .collect();
    Rows {
        values,
        width: texts.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_adds_one_for_an_identical_image() {
        let train = Rows {
            values: vec![1.0, 0.0, 0.0, 1.0],
            width: 2,
        };
        let texts = Rows {
            values: vec![0.5, 0.5, 0.5, 0.5],
            width: 2,
        };
        let p = probabilities(&train, &[0, 1], &train, &texts);
        let expected = 1.0 / (1.0 + ((-5.0f64).exp() - 1.0).exp());
        assert!((p[0][0] - expected).abs() < 1e-12 && (p[1][1] - expected).abs() < 1e-12);
    }

    #[test]
    fn training_pulls_towards_the_true_class() {
        let train = Rows {
            values: vec![0.8, 0.6, 0.6, 0.8],
            width: 2,
        };
        let texts = Rows {
            values: vec![0.70, 0.71, 0.71, 0.70],
            width: 2,
        };
        let gain = |mode| {
            let before = probabilities(&train, &[0, 1], &train, &texts);
            let after = probabilities_trained(&train, &[0, 1], &train, &texts, mode, 30.0, &mut PythonRandom::new(1));
            after[0][0] - before[0][0]
        };
        assert!(gain(Mode::Paper) > 0.0);
        assert!(gain(Mode::Reference) > 0.0);
    }
}
