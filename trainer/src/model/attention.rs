//! Expert knowledge: cross attention of the public batch over an MM-Retinal batch (eq. 5-10, 16-19).

use burn::tensor::{Tensor, activation::softmax};
use serde::{Deserialize, Serialize};

use super::{
    dropout::Dropout,
    layers::{Init, Linear},
    walk::{Role, Slot, Walk, join},
};

/// What the attention weights sum to one over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SoftmaxDim {
    /// Over the keys: each query distributes its attention (the paper).
    Keys,
    /// Over the heads: what the released V1 code does (an omitted `dim`).
    Heads,
}

/// Queries attend to keys and read values; four projections without bias.
#[derive(Clone, Debug)]
pub struct KnowledgeAttention {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    heads: usize,
    /// Scores are divided by this.
    tau: f64,
    softmax: SoftmaxDim,
}

impl KnowledgeAttention {
    /// Fresh weights. `inputs`: width of queries and keys; `width`: width of values and output.
    pub fn init(inputs: usize, width: usize, heads: usize, tau: f64, softmax: SoftmaxDim, init: &mut Init) -> Self {
        Self {
            query: Linear::init(inputs, width, false, init),
            key: Linear::init(inputs, width, false, init),
            value: Linear::init(width, width, false, init),
            output: Linear::init(width, width, false, init),
            heads,
            tau,
            softmax,
        }
    }

    /// query `[public, inputs]`, key `[pairs, inputs]`, value `[pairs, width]` to the knowledge
    /// `[public, width]` and the attention weights `[heads, public, pairs]` (before dropout).
    pub fn forward(
        &self,
        query: Tensor<2>,
        key: Tensor<2>,
        value: Tensor<2>,
        rate: f64,
        dropout: &mut Dropout,
    ) -> (Tensor<2>, Tensor<3>) {
        let [rows, _] = query.dims();
        let weights = self.weights(query, key);
        let v = self.value.forward(value);
        let [_, width] = v.dims();
        let read = dropout.apply(weights.clone(), rate).matmul(self.split(v)); // [heads, rows, width/heads]
        let joined = read.swap_dims(0, 1).reshape([rows, width]);
        (self.output.forward(joined), weights)
    }

    /// Attention weights `[heads, public, pairs]` alone, from query `[public, inputs]` and key `[pairs, inputs]`.
    pub fn weights(&self, query: Tensor<2>, key: Tensor<2>) -> Tensor<3> {
        let (q, k) = (self.query.forward(query), self.key.forward(key));
        let scores = self.split(q).matmul(self.split(k).swap_dims(1, 2)) / self.tau;
        match self.softmax {
            SoftmaxDim::Keys => softmax(scores, 2),
            SoftmaxDim::Heads => softmax(scores, 0),
        }
    }

    /// `[rows, width]` to `[heads, rows, width/heads]`: head h owns the columns [h·d/H, (h+1)·d/H).
    fn split(&self, x: Tensor<2>) -> Tensor<3> {
        let [rows, width] = x.dims();
        x.reshape([rows, self.heads, width / self.heads]).swap_dims(0, 1)
    }
}

impl Walk for KnowledgeAttention {
    fn walk(&mut self, path: &str, visit: &mut dyn FnMut(&str, Role, Slot)) {
        self.query.walk(&join(path, "W_q"), visit);
        self.key.walk(&join(path, "W_k"), visit);
        self.value.walk(&join(path, "W_v"), visit);
        self.output.walk(&join(path, "W_o"), visit);
    }
}
