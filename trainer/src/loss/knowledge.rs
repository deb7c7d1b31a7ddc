//! Distance between expert knowledge and the text embedding (eq. 20-21).

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// How the squared differences of eq. 20-21 become one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reduction {
    /// Mean over batch and dimensions (what the released code does).
    Mean,
    /// Mean over the batch, sum over dimensions.
    Sum,
}

/// Mean over the batch of the squared differences, reduced over dimensions as `reduction` says, `[1]`.
/// Both `[batch, d]`; nothing is detached.
pub fn loss(knowledge: &Tensor<2>, text: &Tensor<2>, reduction: Reduction) -> Tensor<1> {
    let squares = (knowledge.clone() - text.clone()).square();
    match reduction {
        Reduction::Mean => squares.mean(),
        Reduction::Sum => {
            let rows = squares.dims()[0] as f64;
            squares.sum() / rows
        }
    }
}
