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
    /// None reads through another branch's projections.
    reading: Option<Reading>,
    heads: usize,
    tau: Tau,
    softmax: SoftmaxDim,
}

/// W_V and W_O.
#[derive(Clone, Debug)]
struct Reading {
    value: Linear,
    output: Linear,
}

/// What scores are divided by.
#[derive(Clone, Debug)]
enum Tau {
    Fixed(f64),
    /// Its logarithm, trained, `[1]`.
    Learnt(Box<Tensor<1>>),
}

impl KnowledgeAttention {
    /// Fresh weights. `inputs`: width of queries and keys; `width`: width of values and output.
    pub fn init(inputs: usize, width: usize, heads: usize, tau: f64, softmax: SoftmaxDim, init: &mut Init) -> Self {
        Self {
            query: Linear::init(inputs, width, false, init),
            key: Linear::init(inputs, width, false, init),
            reading: Some(Reading {
                value: Linear::init(width, width, false, init),
                output: Linear::init(width, width, false, init),
            }),
            heads,
            tau: Tau::Fixed(tau),
            softmax,
        }
    }

    /// The temperature becomes a weight (`log_tau`), starting where it is.
    pub fn learn_tau(&mut self, init: &Init) {
        if let Tau::Fixed(tau) = self.tau {
            self.tau = Tau::Learnt(Box::new(init.constant([1], tau.ln())));
        }
    }

    /// Gives up W_V and W_O; [`KnowledgeAttention::forward`] must be told whose to use.
    pub fn tie(&mut self) {
        self.reading = None;
    }

    /// query `[public, inputs]`, key `[pairs, inputs]`, value `[pairs, width]` to the knowledge
    /// `[public, width]` and the attention weights `[heads, public, pairs]` (before dropout). `tied`: the branch
    /// whose W_V and W_O are used where this one has none.
    ///
    /// # Panics
    /// Neither has any, which [`super::keepfit::KeepFitConfig::validate`] refuses.
    pub fn forward(
        &self,
        [query, key, value]: [Tensor<2>; 3],
        tied: Option<&Self>,
        rate: f64,
        dropout: &mut Dropout,
    ) -> (Tensor<2>, Tensor<3>) {
        let reading = self.reading.as_ref().or_else(|| tied?.reading.as_ref());
        let reading = reading.unwrap_or_else(|| unreachable!("a tied branch has another to read through"));
        let [rows, _] = query.dims();
        let weights = self.weights(query, key);
        let v = reading.value.forward(value);
        let [_, width] = v.dims();
        let read = dropout.apply(weights.clone(), rate).matmul(self.split(v)); // [heads, rows, width/heads]
        let joined = read.swap_dims(0, 1).reshape([rows, width]);
        (reading.output.forward(joined), weights)
    }

    /// Attention weights `[heads, public, pairs]` alone, from query `[public, inputs]` and key `[pairs, inputs]`.
    pub fn weights(&self, query: Tensor<2>, key: Tensor<2>) -> Tensor<3> {
        let (q, k) = (self.query.forward(query), self.key.forward(key));
        let scores = self.split(q).matmul(self.split(k).swap_dims(1, 2));
        let scores = match &self.tau {
            Tau::Fixed(tau) => scores / *tau,
            Tau::Learnt(log) => scores / log.as_ref().clone().exp().reshape([1, 1, 1]),
        };
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
        if let Some(reading) = &mut self.reading {
            reading.value.walk(&join(path, "W_v"), visit);
            reading.output.walk(&join(path, "W_o"), visit);
        }
        if let Tau::Learnt(log) = &mut self.tau {
            visit(&join(path, "log_tau"), Role::Trained, Slot::Scalar(log));
        }
    }
}
