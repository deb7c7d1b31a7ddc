//! Index-backpropagation quantiser (eq. 11-15): dot-product logits, argmax, straight-through one-hot.

use burn::tensor::{Int, Tensor, activation::softmax};

use super::walk::{Role, Slot, Walk, join};

/// A codebook `[codes, width]`, trained (codebook stage) or frozen (KeepFIT stage).
#[derive(Clone, Debug)]
pub struct Quantizer {
    /// `[codes, width]`
    pub codebook: Tensor<2>,
}

/// What quantising a map computed; n = batch·height·width tokens, row-major over (batch, height, width).
pub struct Quantized {
    /// `[n, codes]`
    pub logits: Tensor<2>,
    /// Index of the best code, `[n]`.
    pub codes: Tensor<1, Int>,
    /// Quantised tokens with the straight-through gradient, `[n, width]`.
    pub z_q: Tensor<2>,
    /// The chosen codebook rows, gradient to the codebook only, `[n, width]`.
    pub z_hard: Tensor<2>,
}

impl Quantizer {
    /// Quantises tokens z `[n, width]`.
    ///
    /// The reference takes index = onehot − sg(p) + p and z_q = index·C with p = softmax(z·Cᵀ). In value
    /// that is the chosen row; its gradient is g·Cᵀ through p for z (and C inside the logits) and
    /// onehotᵀ·g for C. The same gradients come from C[code] + (p·sg(C) − sg(p·sg(C))).
    pub fn forward(&self, z: Tensor<2>) -> Quantized {
        let logits = z.matmul(self.codebook.clone().transpose());
        let [tokens, _] = logits.dims();
        let codes: Tensor<1, Int> = logits.clone().detach().argmax(1).reshape([tokens]);
        let z_hard = self.codebook.clone().select(0, codes.clone());
        let soft = softmax(logits.clone(), 1).matmul(self.codebook.clone().detach());
        let z_q = z_hard.clone() + (soft.clone() - soft.detach());
        Quantized {
            logits,
            codes,
            z_q,
            z_hard,
        }
    }
}

impl Walk for Quantizer {
    fn walk(&mut self, path: &str, visit: &mut dyn FnMut(&str, Role, Slot)) {
        let role = if self.codebook.is_require_grad() {
            Role::Trained
        } else {
            Role::Frozen
        };
        visit(&join(path, "embedding.weight"), role, Slot::Matrix(&mut self.codebook));
    }
}

/// Map `[batch, width, h, w]` to tokens `[batch·h·w, width]`.
pub fn to_tokens(map: Tensor<4>) -> Tensor<2> {
    let [batch, width, h, w] = map.dims();
    map.permute([0, 2, 3, 1]).reshape([batch * h * w, width])
}

/// Tokens `[batch·h·w, width]` back to a map of `shape` = `[batch, width, h, w]`.
pub fn to_map(tokens: Tensor<2>, shape: [usize; 4]) -> Tensor<4> {
    let [batch, width, h, w] = shape;
    tokens.reshape([batch, h, w, width]).permute([0, 3, 1, 2])
}
