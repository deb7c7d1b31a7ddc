//! Distance between expert knowledge and the text embedding (eq. 20-21).

use burn::tensor::Tensor;

/// Mean over batch and dimensions of (knowledge − text)², `[1]`. Both `[batch, d]`; nothing is detached.
pub fn loss(knowledge: &Tensor<2>, text: &Tensor<2>) -> Tensor<1> {
    (knowledge.clone() - text.clone()).square().mean()
}
