//! Masked language model: BERT with a decoder tied to its word embeddings (Section IV-B).

use burn::tensor::{Int, Tensor};

use super::{
    bert::{Bert, TextConfig},
    dropout::Dropout,
    layers::{Init, LayerNorm, Linear, gelu},
    walk::{Role, Slot, Walk, ints, join},
};

/// BERT's initial standard deviation.
const INITIALIZER_RANGE: f64 = 0.02;

/// Dense + GELU + layer norm, then the tied decoder with a bias of its own.
#[derive(Clone, Debug)]
pub struct MlmHead {
    dense: Linear,
    norm: LayerNorm,
    bias: Tensor<1>,
}

impl MlmHead {
    /// Fresh weights.
    pub fn init(config: &TextConfig, init: &mut Init) -> Self {
        let hidden = config.hidden_size;
        Self {
            dense: Linear::init_normal(hidden, hidden, INITIALIZER_RANGE, init),
            norm: LayerNorm::init(hidden, config.layer_norm_eps, init),
            bias: init.constant([config.vocab_size], 0.0),
        }
    }

    /// hidden `[n, hidden]`, words `[vocabulary, hidden]` to logits `[n, vocabulary]`.
    pub fn forward(&self, hidden: Tensor<2>, words: Tensor<2>) -> Tensor<2> {
        let x = gelu(self.dense.forward(hidden));
        let x = self.norm.forward(x, None);
        let decoder = Linear {
            weight: words,
            bias: Some(self.bias.clone()),
            precision: self.dense.precision,
        };
        decoder.forward(x)
    }
}

impl Walk for MlmHead {
    fn walk(&mut self, path: &str, visit: &mut dyn FnMut(&str, Role, Slot)) {
        visit(&join(path, "bias"), Role::Trained, Slot::Vector(&mut self.bias));
        self.dense.walk(&join(path, "transform.dense"), visit);
        self.norm.walk(&join(path, "transform.LayerNorm"), visit);
    }
}

/// `BertForMaskedLM`: keys `bert.*` and `cls.predictions.*`, the decoder tied.
#[derive(Clone, Debug)]
pub struct MaskedLm {
    /// The encoder.
    pub bert: Bert,
    /// The prediction head.
    pub head: MlmHead,
}

/// Tokens of one masked batch, on the host.
pub struct MaskedBatch {
    /// Rows, and tokens a row after padding.
    pub shape: [usize; 2],
    /// `[rows, tokens]` row by row, some replaced by the mask token.
    pub ids: Vec<i64>,
    /// 1 for tokens, 0 for padding.
    pub mask: Vec<i64>,
    /// The original token where it is to be predicted, [`IGNORE_LABEL`] elsewhere.
    pub labels: Vec<i64>,
}

impl MaskedBatch {
    /// Positions to be predicted.
    pub fn labelled(&self) -> usize {
        self.labels.iter().filter(|&&label| label != IGNORE_LABEL).count()
    }

    /// Pieces of at most `rows` rows, in order.
    pub fn chunks(&self, rows: usize) -> Vec<MaskedBatch> {
        let size = (rows * self.shape[1]).max(1);
        let fields = self
            .ids
            .chunks(size)
            .zip(self.mask.chunks(size))
            .zip(self.labels.chunks(size));
        fields
            .map(|((ids, mask), labels)| MaskedBatch {
                shape: [ids.len() / self.shape[1], self.shape[1]],
                ids: ids.to_vec(),
                mask: mask.to_vec(),
                labels: labels.to_vec(),
            })
            .collect()
    }
}

/// Label of a position that does not count.
pub const IGNORE_LABEL: i64 = -100;

/// Logits of the labelled positions, row-major, and their labels.
pub struct MaskedPredictions {
    /// `[n, vocabulary]`
    pub logits: Tensor<2>,
    /// `[n]`
    pub labels: Tensor<1, Int>,
}

impl MaskedLm {
    /// Fresh weights.
    pub fn init(config: &TextConfig, init: &mut Init) -> Self {
        Self {
            bert: Bert::init(config, false, init),
            head: MlmHead::init(config, init),
        }
    }

    /// Predicts the labelled positions only; `None` when the batch has none.
    ///
    /// Padding is left out of the computation altogether: no token attends to it and it has no label.
    pub fn forward(&self, batch: &MaskedBatch, dropout: &mut Dropout) -> Option<MaskedPredictions> {
        let tokens = batch.shape[1];
        let (mut rows, mut chosen, mut labels) = (Vec::new(), Vec::new(), Vec::new());
        let mut packed = 0;
        let row_masks = batch.mask.chunks_exact(tokens.max(1));
        for (start, mask) in (0..).step_by(tokens.max(1)).zip(row_masks) {
            let length = mask.iter().rposition(|&m| m != 0).map_or(0, |last| last + 1);
            for at in 0..length {
                let label = batch.labels[start + at];
                if label != IGNORE_LABEL {
                    chosen.push(packed + at as i64);
                    labels.push(label);
                }
            }
            if length > 0 {
                rows.push(&batch.ids[start..start + length]);
                packed += length as i64;
            }
        }
        if chosen.is_empty() {
            return None;
        }
        let words = self.bert.word_embeddings();
        let device = words.device().without_autodiff();
        let count = chosen.len();
        let states = self.bert.forward_packed(&rows, dropout); // [packed, hidden]
        let picked = states.select(0, ints(chosen, [count], &device));
        Some(MaskedPredictions {
            logits: self.head.forward(picked, words),
            labels: ints(labels, [count], &device),
        })
    }
}

impl Walk for MaskedLm {
    fn walk(&mut self, path: &str, visit: &mut dyn FnMut(&str, Role, Slot)) {
        self.bert.walk(&join(path, "bert"), visit);
        self.head.walk(&join(path, "cls.predictions"), visit);
    }
}
