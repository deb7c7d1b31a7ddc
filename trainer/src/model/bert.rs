//! BERT encoder with Hugging Face's key names (Section IV-A.2).

use burn::tensor::{Bool, Int, Tensor, activation, module};
use serde::{Deserialize, Serialize};

use super::{
    dropout::Dropout,
    layers::{Init, LayerNorm, Linear},
    walk::{Role, Slot, Walk, join},
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
    #[serde(default = "gelu")]
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

fn gelu() -> String {
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
            hidden_act: gelu(),
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
    fn forward(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let [_, length] = ids.dims();
        let padding: Tensor<2, Bool> = ids.clone().equal_scalar(self.pad);
        let words = module::embedding(self.word.clone(), ids);
        // PyTorch's padding_idx: look-ups of the padding row carry no gradient.
        let words = if words.is_autodiff() {
            let dims = words.dims();
            let padding = padding.unsqueeze_dim::<3>(2).expand(dims);
            let constant = words.clone().detach();
            words.mask_where(padding, constant)
        } else {
            words
        };
        let position = self.position.clone().slice([0..length]).unsqueeze::<3>();
        let token_type = self.token_type.clone().slice([0..1]).unsqueeze::<3>();
        self.norm.forward(words + position + token_type)
    }
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

    /// x `[batch, tokens, hidden]`; `hidden_keys` `[batch, 1, 1, tokens]` is true where a key is padding.
    fn forward(
        &self,
        x: Tensor<3>,
        hidden_keys: &Tensor<4, Bool>,
        rates: DropoutRates,
        dropout: &mut Dropout,
    ) -> Tensor<3> {
        let [batch, tokens, hidden] = x.dims();
        let width = hidden / self.heads;
        let split = |t: Tensor<3>| t.reshape([batch, tokens, self.heads, width]).swap_dims(1, 2);
        let q = split(self.query.forward(x.clone())); // [batch, heads, tokens, width]
        let k = split(self.key.forward(x.clone()));
        let v = split(self.value.forward(x.clone()));
        let scores = q.matmul(k.swap_dims(2, 3)) / (width as f64).sqrt();
        let scores = scores.mask_fill(
            hidden_keys.clone().expand([batch, self.heads, tokens, tokens]),
            f32::MIN,
        );
        let weights = dropout.apply(activation::softmax(scores, 3), rates.attention);
        let context = weights.matmul(v).swap_dims(1, 2).reshape([batch, tokens, hidden]);
        let attended = dropout.apply(self.attention_output.forward(context), rates.hidden);
        let x = self.attention_norm.forward(attended + x);
        let inner = activation::gelu(self.intermediate.forward(x.clone()));
        let inner = dropout.apply(self.output.forward(inner), rates.hidden);
        self.output_norm.forward(inner + x)
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
            }
        });
        Self {
            embeddings,
            layers,
            pooler,
            rates: DropoutRates::default(),
        }
    }

    /// Sets the dropout probabilities (default 0.1).
    pub fn set_dropout(&mut self, rates: DropoutRates) {
        self.rates = rates;
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
    /// `ids` `[batch, tokens]`, `mask` `[batch, tokens]` is 1 for tokens and 0 for padding.
    pub fn forward(&self, ids: Tensor<2, Int>, mask: Tensor<2, Int>, dropout: &mut Dropout) -> Vec<Tensor<3>> {
        let [batch, tokens] = ids.dims();
        let hidden_keys = mask.equal_scalar(0).reshape([batch, 1, 1, tokens]);
        let mut x = dropout.apply(self.embeddings.forward(ids), self.rates.hidden);
        let mut states = vec![x.clone()];
        for layer in &self.layers {
            x = layer.forward(x, &hidden_keys, self.rates, dropout);
            states.push(x.clone());
        }
        states
    }
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
            let at = |field: &str| join(path, &format!("encoder.layer.{index}.{field}"));
            layer.query.walk(&at("attention.self.query"), visit);
            layer.key.walk(&at("attention.self.key"), visit);
            layer.value.walk(&at("attention.self.value"), visit);
            layer.attention_output.walk(&at("attention.output.dense"), visit);
            layer.attention_norm.walk(&at("attention.output.LayerNorm"), visit);
            layer.intermediate.walk(&at("intermediate.dense"), visit);
            layer.output.walk(&at("output.dense"), visit);
            layer.output_norm.walk(&at("output.LayerNorm"), visit);
        }
        if let Some(pooler) = &mut self.pooler {
            pooler.walk(&at("pooler.dense"), &mut |key, _, slot| visit(key, Role::Frozen, slot));
        }
    }
}
