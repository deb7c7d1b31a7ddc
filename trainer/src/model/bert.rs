//! BERT encoder with Hugging Face's key names (Section IV-A.2).

use burn::tensor::{Bool, Device, Int, Tensor, activation, module};
use serde::{Deserialize, Serialize};

use super::{
    checkpointing::checkpointed,
    cpu::{self, attention::Segment},
    dropout::Dropout,
    layers::{Init, LayerNorm, Linear, gelu},
    walk::{Role, Slot, Walk, ints, join},
};

/// Standard deviation of fresh weights (BERT's `initializer_range`).
const INITIALIZER_RANGE: f64 = 0.02;

/// Size of the text tower, under Hugging Face's names; unknown keys of a `config.json` are ignored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TextConfig {
    /// Entries of the vocabulary.
    pub vocab_size: usize,
    /// Width of the hidden states.
    pub hidden_size: usize,
    /// Transformer layers.
    pub num_hidden_layers: usize,
    /// Attention heads; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// Longest sequence.
    pub max_position_embeddings: usize,
    /// Segment types; only type 0 is used.
    #[serde(default = "two")]
    pub type_vocab_size: usize,
    /// Added to the variance in layer normalisation.
    #[serde(default = "layer_norm_eps")]
    pub layer_norm_eps: f64,
    /// Activation; only `gelu` (the erf form) is known.
    #[serde(default = "erf_gelu")]
    pub hidden_act: String,
    /// Token id of padding; its embedding gets no gradient from look-ups.
    #[serde(default)]
    pub pad_token_id: i64,
}

fn two() -> usize {
    2
}

fn layer_norm_eps() -> f64 {
    1e-12
}

fn erf_gelu() -> String {
    "gelu".to_owned()
}

impl TextConfig {
    /// BERT-base with Bio_ClinicalBERT's cased vocabulary.
    pub fn bert_base() -> Self {
        Self {
            vocab_size: 28_996,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            max_position_embeddings: 512,
            type_vocab_size: 2,
            layer_norm_eps: 1e-12,
            hidden_act: erf_gelu(),
            pad_token_id: 0,
        }
    }

    /// Checks what the layers rely on.
    ///
    /// # Errors
    /// Names the field, its value and what would be accepted.
    pub fn validate(&self) -> anyhow::Result<()> {
        let (hidden, heads) = (self.hidden_size, self.num_attention_heads);
        if heads == 0 || !hidden.is_multiple_of(heads) {
            anyhow::bail!("text.num_attention_heads = {heads} must divide text.hidden_size = {hidden}");
        }
        if self.hidden_act != "gelu" {
            anyhow::bail!(
                "text.hidden_act = {:?} is not supported; only \"gelu\" (erf form) is",
                self.hidden_act
            );
        }
        for (name, value) in [
            ("vocab_size", self.vocab_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("intermediate_size", self.intermediate_size),
            ("max_position_embeddings", self.max_position_embeddings),
            ("type_vocab_size", self.type_vocab_size),
        ] {
            if value == 0 {
                anyhow::bail!("text.{name} must be at least 1");
            }
        }
        Ok(())
    }
}

/// Word + position + type embeddings, normalised.
#[derive(Clone, Debug)]
struct Embeddings {
    word: Tensor<2>,
    position: Tensor<2>,
    token_type: Tensor<2>,
    norm: LayerNorm,
    pad: i64,
}

impl Embeddings {
    /// Token ids and positions `[rows]` to `[rows, hidden]`.
    fn forward(&self, ids: Tensor<1, Int>, positions: Tensor<1, Int>) -> Tensor<2> {
        let [rows] = ids.dims();
        let [_, hidden] = self.word.dims();
        let look_up = |table: &Tensor<2>, ids: Tensor<1, Int>| {
            module::embedding(table.clone(), ids.reshape([1, rows])).reshape([rows, hidden])
        };
        let words = look_up(&self.word, ids.clone());
        // PyTorch's padding_idx: look-ups of the padding row carry no gradient.
        let words = if words.is_autodiff() {
            let padding: Tensor<2, Bool> = ids.equal_scalar(self.pad).reshape([rows, 1]).expand([rows, hidden]);
            let constant = words.clone().detach();
            words.mask_where(padding, constant)
        } else {
            words
        };
        let token_type = self.token_type.clone().slice([0..1, 0..hidden]);
        self.norm
            .forward(words + look_up(&self.position, positions) + token_type, None)
    }
}

/// Who attends to whom among the rows of a batch.
#[allow(clippy::large_enum_variant, reason = "one lives per forward pass")]
#[derive(Clone)]
enum Layout {
    /// Sequences of the given rows (CPU).
    Segments(Vec<Segment>),
    /// A full rectangle: rows of equal length, `hidden_keys` `[batch, 1, 1, tokens]` is true at padding.
    Rectangle {
        batch: usize,
        tokens: usize,
        hidden_keys: Tensor<4, Bool>,
    },
}

/// One transformer layer: post-norm self-attention and feed-forward.
#[derive(Clone, Debug)]
struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    attention_output: Linear,
    attention_norm: LayerNorm,
    intermediate: Linear,
    output: Linear,
    output_norm: LayerNorm,
    heads: usize,
}

impl Layer {
    fn init(config: &TextConfig, init: &mut Init) -> Self {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let mut linear = |inputs, outputs| Linear::init_normal(inputs, outputs, INITIALIZER_RANGE, init);
        let (query, key, value) = (linear(hidden, hidden), linear(hidden, hidden), linear(hidden, hidden));
        let (attention_output, intermediate, output) =
            (linear(hidden, hidden), linear(hidden, inner), linear(inner, hidden));
        let norm = || LayerNorm::init(hidden, config.layer_norm_eps, init);
        Self {
            query,
            key,
            value,
            attention_output,
            attention_norm: norm(),
            intermediate,
            output,
            output_norm: norm(),
            heads: config.num_attention_heads,
        }
    }

    /// x `[rows, hidden]`.
    fn forward(&self, x: Tensor<2>, layout: &Layout, rates: DropoutRates, dropout: &mut Dropout) -> Tensor<2> {
        let qkv = [&self.query, &self.key, &self.value].map(|linear| linear.forward(x.clone()));
        let context = match layout {
            Layout::Segments(segments) => {
                cpu::attention::attention(qkv, segments.clone(), self.heads, rates.attention, dropout)
            }
            Layout::Rectangle {
                batch,
                tokens,
                hidden_keys,
            } => self.attend(qkv, [*batch, *tokens], hidden_keys, rates.attention, dropout),
        };
        let attended = dropout.apply(self.attention_output.forward(context), rates.hidden);
        let x = self.attention_norm.forward(attended, Some(x));
        let inner = gelu(self.intermediate.forward(x.clone()));
        let inner = dropout.apply(self.output.forward(inner), rates.hidden);
        self.output_norm.forward(inner, Some(x))
    }

    /// Attention over a rectangle by plain tensor operations.
    fn attend(
        &self,
        qkv: [Tensor<2>; 3],
        [batch, tokens]: [usize; 2],
        hidden_keys: &Tensor<4, Bool>,
        rate: f64,
        dropout: &mut Dropout,
    ) -> Tensor<2> {
        let [rows, hidden] = qkv[0].dims();
        let width = hidden / self.heads;
        let [q, k, v] = qkv.map(|t| t.reshape([batch, tokens, self.heads, width]).swap_dims(1, 2));
        let precision = self.query.precision;
        let scores = precision.matmul(q, k.swap_dims(2, 3)) / (width as f64).sqrt(); // [batch, heads, tokens, tokens]
        let scores = scores.mask_fill(
            hidden_keys.clone().expand([batch, self.heads, tokens, tokens]),
            f32::MIN,
        );
        let weights = dropout.apply(activation::softmax(scores, 3), rate);
        precision.matmul(weights, v).swap_dims(1, 2).reshape([rows, hidden])
    }
}

impl Walk for Layer {
    fn walk(&mut self, path: &str, visit: &mut dyn FnMut(&str, Role, Slot)) {
        let at = |field: &str| join(path, field);
        self.query.walk(&at("attention.self.query"), visit);
        self.key.walk(&at("attention.self.key"), visit);
        self.value.walk(&at("attention.self.value"), visit);
        self.attention_output.walk(&at("attention.output.dense"), visit);
        self.attention_norm.walk(&at("attention.output.LayerNorm"), visit);
        self.intermediate.walk(&at("intermediate.dense"), visit);
        self.output.walk(&at("output.dense"), visit);
        self.output_norm.walk(&at("output.LayerNorm"), visit);
    }
}

/// Dropout probabilities of the encoder.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DropoutRates {
    /// On embeddings and layer outputs.
    pub hidden: f64,
    /// On attention weights.
    pub attention: f64,
}

impl Default for DropoutRates {
    /// BERT's 0.1 everywhere; applied only with an active [`Dropout`].
    fn default() -> Self {
        Self {
            hidden: 0.1,
            attention: 0.1,
        }
    }
}

/// The text encoder.
#[derive(Clone, Debug)]
pub struct Bert {
    embeddings: Embeddings,
    layers: Vec<Layer>,
    /// Loaded and saved so that files keep every key; never used.
    pooler: Option<Linear>,
    rates: DropoutRates,
    checkpointing: bool,
}

impl Bert {
    /// Fresh weights as BERT makes them. `pooler`: whether the (unused) pooler is part of the files.
    pub fn init(config: &TextConfig, pooler: bool, init: &mut Init) -> Self {
        let hidden = config.hidden_size;
        let mut table = |rows| init.normal([rows, hidden], INITIALIZER_RANGE);
        let (word, position, token_type) = (
            table(config.vocab_size),
            table(config.max_position_embeddings),
            table(config.type_vocab_size),
        );
        let norm = LayerNorm::init(hidden, config.layer_norm_eps, init);
        let embeddings = Embeddings {
            word,
            position,
            token_type,
            norm,
            pad: config.pad_token_id,
        };
        let layers = (0..config.num_hidden_layers)
            .map(|_| Layer::init(config, init))
            .collect();
        let pooler = pooler.then(|| {
            let linear = Linear::init_normal(hidden, hidden, INITIALIZER_RANGE, init);
            Linear {
                weight: linear.weight.set_require_grad(false),
                bias: linear.bias.map(|b| b.set_require_grad(false)),
                precision: linear.precision,
            }
        });
        Self {
            embeddings,
            layers,
            pooler,
            rates: DropoutRates::default(),
            checkpointing: false,
        }
    }

    /// Sets the dropout probabilities (default 0.1).
    pub fn set_dropout(&mut self, rates: DropoutRates) {
        self.rates = rates;
    }

    /// Whether training computes each layer's inner values again in the backward pass instead of keeping them.
    pub fn set_checkpointing(&mut self, on: bool) {
        self.checkpointing = on;
    }

    /// Word embeddings `[vocabulary, hidden]`, for the tied decoder.
    pub fn word_embeddings(&self) -> Tensor<2> {
        self.embeddings.word.clone()
    }

    /// Longest sequence that has position embeddings.
    pub fn max_tokens(&self) -> usize {
        self.embeddings.position.dims()[0]
    }

    /// Hidden states `[batch, tokens, hidden]`: index 0 the embeddings, then one per layer.
    ///
    /// `ids` `[batch, tokens]`, `mask` `[batch, tokens]` is 1 for tokens and 0 for padding. States are
    /// computed at padding too; tokens never attend to it.
    pub fn forward(&self, ids: Tensor<2, Int>, mask: Tensor<2, Int>, dropout: &mut Dropout) -> Vec<Tensor<3>> {
        let [batch, tokens] = ids.dims();
        let hidden = self.word_embeddings().dims()[1];
        let device = ids.device();
        let on_cpu = cpu::applies(&self.embeddings.word);
        let segments = if on_cpu { rectangle_segments(&mask) } else { None };
        let layout = match segments {
            Some(segments) => Layout::Segments(segments),
            None => Layout::Rectangle {
                batch,
                tokens,
                hidden_keys: mask.equal_scalar(0).reshape([batch, 1, 1, tokens]),
            },
        };
        let positions = (0..batch).flat_map(|_| 0..tokens as i64).collect();
        let positions = ints(positions, [batch * tokens], &device);
        let states = self.encode(ids.reshape([batch * tokens]), positions, &layout, dropout);
        states
            .into_iter()
            .map(|state| state.reshape([batch, tokens, hidden]))
            .collect()
    }

    /// Last hidden state of the tokens alone, one row after the other: `[tokens of all rows, hidden]`.
    /// `rows`: token ids without padding, each row 1 to [`Bert::max_tokens`] long.
    pub fn forward_packed(&self, rows: &[&[i64]], dropout: &mut Dropout) -> Tensor<2> {
        let device = self.embeddings.word.device().without_autodiff();
        let count = rows.iter().map(|row| row.len()).sum();
        if !cpu::applies(&self.embeddings.word) {
            return self.forward_padded(rows, count, &device, dropout);
        }
        let ids = ints(rows.concat(), [count], &device);
        let positions = rows.iter().flat_map(|row| 0..row.len() as i64).collect();
        let mut start = 0;
        let segments = rows.iter().map(|row| {
            start += row.len();
            Segment {
                queries: start - row.len()..start,
                keys: start - row.len()..start,
            }
        });
        let layout = Layout::Segments(segments.collect());
        let states = self.encode(ids, ints(positions, [count], &device), &layout, dropout);
        last(states)
    }

    /// [`Bert::forward_packed`] by padding, for devices that want rectangles.
    fn forward_padded(&self, rows: &[&[i64]], count: usize, device: &Device, dropout: &mut Dropout) -> Tensor<2> {
        let tokens = rows.iter().map(|row| row.len()).max().unwrap_or(0);
        let shape = [rows.len(), tokens];
        let pad = self.embeddings.pad;
        let fill = |row: &&[i64], value: i64| vec![value; tokens - row.len()];
        let ids = rows
            .iter()
            .flat_map(|row| [row.to_vec(), fill(row, pad)].concat())
            .collect();
        let mask = rows
            .iter()
            .flat_map(|row| [vec![1; row.len()], fill(row, 0)].concat())
            .collect();
        let state = last(self.forward(ints(ids, shape, device), ints(mask, shape, device), dropout));
        let hidden = state.dims()[2];
        let real = rows.iter().enumerate();
        let real = real
            .flat_map(|(i, row)| (0..row.len()).map(move |t| (i * tokens + t) as i64))
            .collect();
        state
            .reshape([rows.len() * tokens, hidden])
            .select(0, ints(real, [count], device))
    }

    /// All hidden states `[rows, hidden]` of tokens laid out as `layout` says.
    fn encode(
        &self,
        ids: Tensor<1, Int>,
        positions: Tensor<1, Int>,
        layout: &Layout,
        dropout: &mut Dropout,
    ) -> Vec<Tensor<2>> {
        let mut x = dropout.apply(self.embeddings.forward(ids, positions), self.rates.hidden);
        let mut states = vec![x.clone()];
        for layer in &self.layers {
            x = if self.checkpointing {
                let (rates, layout_again, mut dropout_again) = (self.rates, layout.clone(), dropout.clone());
                checkpointed(
                    layer,
                    x,
                    |layer, x| layer.forward(x, layout, rates, dropout),
                    move |layer, x| layer.forward(x, &layout_again, rates, &mut dropout_again),
                )
            } else {
                layer.forward(x, layout, self.rates, dropout)
            };
            states.push(x.clone());
        }
        states
    }
}

/// The embeddings are always there, so there is a last state.
fn last<const D: usize>(mut states: Vec<Tensor<D>>) -> Tensor<D> {
    states
        .pop()
        .unwrap_or_else(|| unreachable!("an encoder has at least the state of its embeddings"))
}

/// Segments of a padded batch: every row asks, its tokens answer. None where padding is not on the right
/// or a row has no token at all.
fn rectangle_segments(mask: &Tensor<2, Int>) -> Option<Vec<Segment>> {
    let [batch, tokens] = mask.dims();
    let mask: Vec<i64> = mask.to_data().iter::<i64>().collect();
    (0..batch)
        .map(|row| {
            let start = row * tokens;
            let of_row = &mask[start..start + tokens];
            let length = of_row.iter().take_while(|&&m| m != 0).count();
            let right_padded = length > 0 && of_row[length..].iter().all(|&m| m == 0);
            right_padded.then(|| Segment {
                queries: start..start + tokens,
                keys: start..start + length,
            })
        })
        .collect()
}

impl Walk for Bert {
    fn walk(&mut self, path: &str, visit: &mut dyn FnMut(&str, Role, Slot)) {
        let at = |field: &str| join(path, field);
        let e = &mut self.embeddings;
        visit(
            &at("embeddings.word_embeddings.weight"),
            Role::Trained,
            Slot::Matrix(&mut e.word),
        );
        visit(
            &at("embeddings.position_embeddings.weight"),
            Role::Trained,
            Slot::Matrix(&mut e.position),
        );
        visit(
            &at("embeddings.token_type_embeddings.weight"),
            Role::Trained,
            Slot::Matrix(&mut e.token_type),
        );
        e.norm.walk(&at("embeddings.LayerNorm"), visit);
        for (index, layer) in self.layers.iter_mut().enumerate() {
            layer.walk(&at(&format!("encoder.layer.{index}")), visit);
        }
        if let Some(pooler) = &mut self.pooler {
            pooler.walk(&at("pooler.dense"), &mut |key, _, slot| visit(key, Role::Frozen, slot));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::walk::to_vec;

    fn tiny(device: &Device) -> Bert {
        let config: TextConfig = serde_json::from_value(serde_json::json!({
            "vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2,
            "intermediate_size": 12, "max_position_embeddings": 9,
        }))
        .unwrap();
        Bert::init(&config, false, &mut Init::new(4, device))
    }

    fn close(a: &[f32], b: &[f32]) {
        assert_eq!(a.len(), b.len());
        for (a, b) in a.iter().zip(b) {
            assert!((a - b).abs() < 1e-5, "{a} {b}");
        }
    }

    /// Three roads to the same states: packed rows, padded segments, and the rectangle other devices use.
    #[test]
    fn packing_and_padding_give_the_same_states() {
        let device = Device::flex();
        let bert = tiny(&device);
        let rows: [&[i64]; 3] = [&[2, 7, 9, 3], &[2, 3], &[2, 11, 3]];
        let packed = to_vec(&bert.forward_packed(&rows, &mut Dropout::off()));
        let padded = bert.forward_padded(&rows, 9, &device, &mut Dropout::off());
        close(&packed, &to_vec(&padded));
        let ids = ints(vec![2, 7, 9, 3, 2, 3, 0, 0, 2, 11, 3, 0], [3, 4], &device);
        let mask = ints(vec![1, 1, 1, 1, 1, 1, 0, 0, 1, 1, 1, 0], [3, 4], &device);
        let states = bert.forward(ids.clone(), mask.clone(), &mut Dropout::off());
        let layout = Layout::Rectangle {
            batch: 3,
            tokens: 4,
            hidden_keys: mask.equal_scalar(0).reshape([3, 1, 1, 4]),
        };
        let positions = ints((0..3).flat_map(|_| 0..4).collect(), [12], &device);
        let plain = bert.encode(ids.reshape([12]), positions, &layout, &mut Dropout::off());
        for (a, b) in states.iter().zip(&plain) {
            close(&to_vec(a), &to_vec(b));
        }
    }

    #[test]
    fn segments_need_padding_on_the_right() {
        let device = Device::flex();
        let of = |mask: Vec<i64>| rectangle_segments(&ints(mask, [2, 3], &device));
        let segments = of(vec![1, 1, 0, 1, 1, 1]).unwrap();
        assert_eq!(
            segments[0],
            Segment {
                queries: 0..3,
                keys: 0..2
            }
        );
        assert_eq!(
            segments[1],
            Segment {
                queries: 3..6,
                keys: 3..6
            }
        );
        assert_eq!(of(vec![0, 1, 1, 1, 1, 1]), None);
        assert_eq!(of(vec![0, 0, 0, 1, 1, 1]), None);
    }
}
