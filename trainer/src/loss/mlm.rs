//! Masked-token cross entropy (Section IV-B).

use burn::tensor::{Int, Tensor, activation::log_softmax};

/// Mean negative log probability of the labels, `[1]`. logits `[n, vocabulary]`, labels `[n]`.
pub fn loss(logits: Tensor<2>, labels: Tensor<1, Int>) -> Tensor<1> {
    let [count, _] = logits.dims();
    let picked = log_softmax(logits, 1).gather(1, labels.reshape([count, 1]));
    picked.mean().neg()
}

/// How many predictions equal their label.
pub fn correct(logits: Tensor<2>, labels: Tensor<1, Int>) -> i64 {
    let [count, _] = logits.dims();
    let best = logits.inner().argmax(1).reshape([count]);
    best.equal(labels).int().sum().into_scalar::<i64>()
}
