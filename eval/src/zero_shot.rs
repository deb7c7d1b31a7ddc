//! Zero-shot classification: softmax(exp(s) · V · Tᵀ), paper Section V.

use crate::vectors::{Rows, dot, sigmoid, softmax};

/// Class probabilities `[rows][classes]` of projected images against projected class texts.
///
/// `scale` is the exponential of the learnt log scale.
pub fn probabilities(images: &Rows, texts: &Rows, scale: f64) -> Vec<Vec<f64>> {
    let one = |image: &[f64]| {
        let mut logits: Vec<f64> = texts.iter().map(|t| scale * dot(image, t)).collect();
        softmax(&mut logits);
        logits
    };
    images.iter().map(one).collect()
}

/// The same where images may have several classes: sigmoid(exp(s) · V · Tᵀ), each class apart, as the released code.
pub fn probabilities_of_each(images: &Rows, texts: &Rows, scale: f64) -> Vec<Vec<f64>> {
    let one = |image: &[f64]| texts.iter().map(|t| sigmoid(scale * dot(image, t))).collect();
    images.iter().map(one).collect()
}
