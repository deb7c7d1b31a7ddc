//! KeepFIT V2: two towers, two kinds of expert knowledge and all loss terms (Section IV-C).

use burn::tensor::{Device, Int, Tensor};
use serde::{Deserialize, Serialize};

use super::{
    attention::{KnowledgeAttention, SoftmaxDim},
    bert::{DropoutRates, TextConfig},
    dropout::Dropout,
    ibq::{Quantizer, to_tokens},
    layers::{BatchMoments, BatchStats, Conv, Init},
    resnet::{BatchNormConfig, VisionConfig},
    towers::{Encoded, Pool, TextTower, VisionTower},
    walk::{Role, Slot, Walk, join},
};
use crate::loss::knowledge::Reduction;

mod step;

pub use step::{AppearanceMaps, Half, ImageTextBatch, KeepFitBatch, Knowledge, KnowledgeSide, StepOutput, Tokens};

/// ln(1/0.07), where the logit scale starts.
pub const INITIAL_LOGIT_SCALE: f64 = 2.659_260_036_932_778;

/// The appearance branch: 1×1 convolution, frozen codebook, attention.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AppearanceConfig {
    /// Rows of the codebook, K.
    pub codes: usize,
    /// Width of a code, D.
    pub code_dim: usize,
    /// Temperature of eq. 18; None is √(proj_dim / heads).
    #[serde(default)]
    pub tau: Option<f64>,
    /// Kernel of the convolution on the feature map, 1 or 3.
    #[serde(default = "one")]
    pub conv_kernel: usize,
    /// Whether the temperature of eq. 18 is trained, starting at `tau`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub learn_tau: bool,
    /// Whether W_V and W_O are the semantic branch's.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tied: bool,
    /// What the attention sees of a quantised map.
    #[serde(default, skip_serializing_if = "is_default")]
    pub summary: Summary,
    /// Positions of the map; only `flatten` needs to know.
    #[serde(default, skip_serializing_if = "is_default")]
    pub positions: usize,
}

/// One vector of a quantised map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Summary {
    /// Mean over the positions, `[D]`.
    #[default]
    Mean,
    /// All positions one after the other, `[positions·D]`.
    Flatten,
    /// Share of each code, `[K]`.
    Histogram,
}

impl AppearanceConfig {
    /// Width of the vector that the attention sees.
    pub fn summary_width(&self) -> usize {
        match self.summary {
            Summary::Mean => self.code_dim,
            Summary::Flatten => self.positions * self.code_dim,
            Summary::Histogram => self.codes,
        }
    }
}

/// New fields are left out of files where they say nothing.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn one() -> usize {
    1
}

/// Everything that shapes the model and its loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeepFitConfig {
    /// Image tower.
    pub vision: VisionConfig,
    /// Text tower.
    pub text: TextConfig,
    /// Width of the shared space, d.
    pub proj_dim: usize,
    /// Heads of both knowledge attentions, H.
    #[serde(default = "two")]
    pub heads: usize,
    /// Positions averaged in the text feature.
    #[serde(default = "pool_all")]
    pub pool: Pool,
    /// Normalisation of the attention weights.
    #[serde(default = "keys")]
    pub softmax_dim: SoftmaxDim,
    /// Whether the semantic branch exists (KeepFIT V1 and V2 have it, FLAIR has not).
    #[serde(default = "yes")]
    pub semantic: bool,
    /// Score divisor of the semantic attention; None is √(proj_dim / heads).
    #[serde(default)]
    pub semantic_tau: Option<f64>,
    /// The appearance branch; None leaves it out.
    #[serde(default)]
    pub appearance: Option<AppearanceConfig>,
    /// Weight of the semantic term (eq. 22).
    #[serde(default = "lambda1")]
    pub lambda1: f64,
    /// Weight of the appearance term (eq. 22).
    #[serde(default = "lambda2")]
    pub lambda2: f64,
    /// Bounds of the logit scale, in the logarithm.
    #[serde(default = "logit_scale_clamp")]
    pub logit_scale_clamp: [f64; 2],
    /// Batch normalisation of the image tower.
    #[serde(default)]
    pub batch_norm: BatchNormConfig,
    /// Dropout of the text tower in training.
    #[serde(default)]
    pub text_dropout: DropoutRates,
    /// Dropout on the knowledge attention weights in training.
    #[serde(default = "half")]
    pub knowledge_dropout: f64,
    /// How the squared differences of eq. 20-21 become one number.
    #[serde(default = "mean")]
    pub knowledge_reduction: Reduction,
    /// Where the knowledge terms send no gradient; nowhere in the paper.
    #[serde(default)]
    pub stop_gradient: Vec<Stop>,
}

/// A place of the knowledge terms that can be kept from receiving gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stop {
    /// The MM-Retinal text embeddings that are read (T_m).
    PairTexts,
    /// The extracted knowledge (EK).
    Knowledge,
    /// The public text embeddings that are compared with it (T_p).
    PublicTexts,
}

fn mean() -> Reduction {
    Reduction::Mean
}

fn two() -> usize {
    2
}
fn pool_all() -> Pool {
    Pool::All
}
fn keys() -> SoftmaxDim {
    SoftmaxDim::Keys
}
fn yes() -> bool {
    true
}
fn lambda1() -> f64 {
    100.0
}
fn lambda2() -> f64 {
    1e4
}
fn logit_scale_clamp() -> [f64; 2] {
    [0.0, 4.6052]
}
fn half() -> f64 {
    0.5
}

impl KeepFitConfig {
    /// Checks what the layers rely on.
    ///
    /// # Errors
    /// Names the field, its value and what would be accepted.
    pub fn validate(&self) -> anyhow::Result<()> {
        self.text.validate()?;
        if self.heads == 0 || !self.proj_dim.is_multiple_of(self.heads) {
            anyhow::bail!("heads = {} must divide proj_dim = {}", self.heads, self.proj_dim);
        }
        if self.vision.base_width == 0 || self.vision.layers.contains(&0) {
            anyhow::bail!("vision.base_width and every entry of vision.layers must be at least 1");
        }
        if let Some(a) = &self.appearance
            && (a.codes == 0 || a.code_dim == 0 || !matches!(a.conv_kernel, 1 | 3))
        {
            anyhow::bail!("appearance needs codes and code_dim of at least 1 and conv_kernel 1 or 3, not {a:?}");
        }
        if let Some(a) = &self.appearance {
            if a.tied && !self.semantic {
                anyhow::bail!("appearance.tied takes W_V and W_O of the semantic branch, which is left out");
            }
            if a.summary == Summary::Flatten && a.positions == 0 {
                anyhow::bail!("appearance.summary = \"flatten\" needs appearance.positions, the positions of a map");
            }
        }
        let [low, high] = self.logit_scale_clamp;
        if low.is_nan() || high.is_nan() || low > high {
            anyhow::bail!("logit_scale_clamp = [{low}, {high}] must be [low, high]");
        }
        Ok(())
    }
}

/// The model. Keys as in released checkpoints, V2 form.
#[derive(Clone, Debug)]
pub struct KeepFitModel {
    /// Logarithm of the similarity scale, `[1]`.
    pub logit_scale: Tensor<1>,
    /// Image tower.
    pub vision: VisionTower,
    /// Text tower.
    pub text: TextTower,
    semantic: Option<KnowledgeAttention>,
    appearance: Option<Branch>,
    config: KeepFitConfig,
    frozen: Frozen,
}

/// Towers whose encoder is not trained; they run as in evaluation.
#[derive(Clone, Copy, Debug, Default)]
struct Frozen {
    vision: bool,
    text: bool,
}

/// Prefix of the image encoder's keys.
const VISION: &str = "vision_model.model.";
/// Prefix of the text encoder's keys.
const TEXT: &str = "text_model.model.";

#[derive(Clone, Debug)]
struct Branch {
    conv: Conv,
    quantizer: Quantizer,
    attention: KnowledgeAttention,
    summary: Summary,
}

impl KeepFitModel {
    /// Fresh weights from `seed`. On an autodiff device all but the codebook and BERT's pooler are trained.
    ///
    /// # Errors
    /// A configuration that contradicts itself.
    pub fn init(config: &KeepFitConfig, seed: u64, device: &Device) -> anyhow::Result<Self> {
        Self::init_in(config, Init::new(seed, device))
    }

    /// The same from a source of weights that also says what the layers multiply in.
    ///
    /// # Errors
    /// As [`KeepFitModel::init`].
    pub fn init_in(config: &KeepFitConfig, mut init: Init) -> anyhow::Result<Self> {
        config.validate()?;
        let (d, heads, softmax) = (config.proj_dim, config.heads, config.softmax_dim);
        let default_tau = (d as f64 / heads as f64).sqrt();
        let vision = VisionTower::init(&config.vision, &config.batch_norm, d, &mut init);
        let mut text = TextTower::init(&config.text, config.pool, d, &mut init);
        text.model.set_dropout(config.text_dropout);
        let semantic = config.semantic.then(|| {
            KnowledgeAttention::init(
                d,
                d,
                heads,
                config.semantic_tau.unwrap_or(default_tau),
                softmax,
                &mut init,
            )
        });
        let appearance = config.appearance.as_ref().map(|a| Branch {
            conv: Conv::init_biased(config.vision.features(), a.code_dim, a.conv_kernel, 1, &mut init),
            quantizer: Quantizer {
                codebook: init.normal([a.codes, a.code_dim], 1.0).set_require_grad(false),
            },
            attention: {
                let tau = a.tau.unwrap_or(default_tau);
                let mut attention = KnowledgeAttention::init(a.summary_width(), d, heads, tau, softmax, &mut init);
                if a.learn_tau {
                    attention.learn_tau(&init);
                }
                if a.tied {
                    attention.tie();
                }
                attention
            },
            summary: a.summary,
        });
        let logit_scale = init.constant([1], INITIAL_LOGIT_SCALE);
        Ok(Self {
            logit_scale,
            vision,
            text,
            semantic,
            appearance,
            config: config.clone(),
            frozen: Frozen::default(),
        })
    }

    /// Stops training the tensors whose key starts with one of `prefixes`; returns how many there were.
    /// A tower whose encoder is frozen whole runs as in evaluation from now on: running statistics, no dropout.
    pub fn freeze(&mut self, prefixes: &[&str]) -> usize {
        let mut count = 0;
        let mut open = Frozen::default();
        self.each(|key, role, mut slot| {
            if role != Role::Trained {
                return;
            }
            if prefixes.iter().any(|prefix| key.starts_with(prefix)) {
                slot.to_plain();
                count += 1;
            } else {
                // BERT's pooler never takes part.
                open.vision |= key.starts_with(VISION);
                open.text |= key.starts_with(TEXT) && !key.starts_with("text_model.model.pooler.");
            }
        });
        self.frozen = Frozen {
            vision: !open.vision,
            text: !open.text,
        };
        count
    }

    /// Whether training computes inner values of both towers again in the backward pass instead of keeping
    /// them: less memory for about a third more time, the same gradients.
    pub fn set_checkpointing(&mut self, on: bool) {
        self.vision.model.set_checkpointing(on);
        self.text.model.set_checkpointing(on);
    }

    /// Sets λ₂ of eq. 22, for a ramp at the beginning of a run.
    pub fn set_lambda2(&mut self, value: f64) {
        self.config.lambda2 = value;
    }

    /// How strongly each head of each knowledge branch would attend to each key image: semantic and, where
    /// there is one, appearance weights, `[heads, queries, keys]`. From [`KeepFitModel::look`] of both.
    pub fn attention_over(&self, queries: &Looks, keys: &Looks) -> (Option<Tensor<3>>, Option<Tensor<3>>) {
        let semantic = self
            .semantic
            .as_ref()
            .map(|attention| attention.weights(queries.projected.clone(), keys.projected.clone()));
        let appearance = match (&self.appearance, &queries.tokens, &keys.tokens) {
            (Some(branch), Some(own), Some(theirs)) => Some(branch.attention.weights(own.clone(), theirs.clone())),
            _ => None,
        };
        (semantic, appearance)
    }

    /// What the knowledge branches see of images, with running statistics. images as for
    /// [`KeepFitModel::encode_images`].
    pub fn look(&self, images: Tensor<4>) -> Looks {
        let (maps, encoded) = self.vision.forward(images, &mut BatchStats::Running);
        Looks {
            projected: encoded.projected,
            tokens: self.appearance.as_ref().map(|branch| branch.tokens(maps.map).mean),
        }
    }

    /// The configuration the model was built from.
    pub fn config(&self) -> &KeepFitConfig {
        &self.config
    }

    /// Image embeddings with running statistics. images `[batch, 3, height, width]` in [0, 1].
    pub fn encode_images(&self, images: Tensor<4>) -> Encoded {
        self.vision.forward(images, &mut BatchStats::Running).1
    }

    /// Text embeddings without dropout. With [`Pool::All`] they depend on the padding of the batch.
    pub fn encode_texts(&self, ids: Tensor<2, Int>, mask: Tensor<2, Int>) -> Encoded {
        self.text.forward(ids, mask, &mut Dropout::off())
    }

    /// Clamps the logit scale in place; call before each [`KeepFitModel::forward_step`].
    pub fn clamp_logit_scale(&mut self) {
        let [low, high] = self.config.logit_scale_clamp;
        let (recorded, tracked) = (self.logit_scale.is_autodiff(), self.logit_scale.is_require_grad());
        let clamped = self.logit_scale.clone().inner().clamp(low, high);
        self.logit_scale = if recorded {
            clamped.autodiff().set_require_grad(tracked)
        } else {
            clamped
        };
    }

    /// Moves the running statistics, once per image pass of a step and in its order.
    pub fn update_statistics(&mut self, moments: Vec<Vec<BatchMoments>>) {
        for pass in moments {
            self.vision.model.update_statistics(pass);
        }
    }
}

/// What the knowledge branches see of a batch of images.
#[derive(Clone, Debug)]
pub struct Looks {
    /// Unit vectors `[batch, proj_dim]`, for the semantic branch.
    pub projected: Tensor<2>,
    /// Mean quantised tokens `[batch, D]`, for the appearance branch.
    pub tokens: Option<Tensor<2>>,
}

impl Walk for KeepFitModel {
    fn walk(&mut self, path: &str, visit: &mut dyn FnMut(&str, Role, Slot)) {
        let at = |field: &str| join(path, field);
        visit(&at("logit_scale"), Role::Trained, Slot::Scalar(&mut self.logit_scale));
        self.vision.walk(&at("vision_model"), visit);
        self.text.walk(&at("text_model"), visit);
        if let Some(attention) = &mut self.semantic {
            attention.walk(&at("attention"), visit);
        }
        if let Some(branch) = &mut self.appearance {
            branch.conv.walk(&at("appearance_conv"), visit);
            branch.quantizer.walk(&at("quantize"), visit);
            branch.attention.walk(&at("attention_appearance"), visit);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::walk::{from_vec, ints, to_vec};
    use crate::optim::NamedGradients;

    fn config(appearance: serde_json::Value) -> KeepFitConfig {
        let mut all = serde_json::json!({ "codes": 12, "code_dim": 4 });
        all.as_object_mut()
            .unwrap()
            .extend(appearance.as_object().unwrap().clone());
        serde_json::from_value(serde_json::json!({
            "vision": { "layers": [1, 1, 1, 1], "base_width": 2 },
            "text": {
                "vocab_size": 40, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2,
                "intermediate_size": 16, "max_position_embeddings": 16,
            },
            "proj_dim": 8,
            "appearance": all,
        }))
        .unwrap()
    }

    fn loss(model: &KeepFitModel) -> Tensor<1> {
        let device = Device::flex();
        let half = |shift: usize| ImageTextBatch {
            images: from_vec(
                (0..4 * 3 * 64 * 64)
                    .map(|i| (i * (37 + shift) % 101) as f32 / 101.0)
                    .collect(),
                [4, 3, 64, 64],
                &device,
            ),
            ids: ints((0..4 * 6).map(|i| 5 + i * 7 % 30).collect(), [4, 6], &device),
            mask: ints(vec![1; 4 * 6], [4, 6], &device),
        };
        let batch = KeepFitBatch {
            public: half(0),
            categories: vec![0, 1, 0, 2],
            knowledge: Some(half(6)),
        };
        model.forward_step(batch, &mut Dropout::off()).total
    }

    /// Options of the appearance branch: which weights there are, and that the learnt temperature's gradient is the
    /// slope of the loss.
    #[test]
    fn appearance_options_have_their_weights_and_gradients() {
        let device = Device::flex().autodiff();
        for (summary, width) in [("mean", 4), ("flatten", 16), ("histogram", 12)] {
            let options = serde_json::json!({
                "learn_tau": true, "tied": true, "summary": summary, "positions": 4, "tau": 0.5,
            });
            let mut model = KeepFitModel::init(&config(options), 3, &device).unwrap();
            let gradients = loss(&model).backward();
            let gradients = NamedGradients::collect(&mut model, gradients);
            let mut shapes = std::collections::BTreeMap::new();
            model.each(|key, _, slot| {
                if let Some(name) = key.strip_prefix("attention_appearance.") {
                    shapes.insert(name.to_owned(), slot.shape());
                }
            });
            let expected: [(String, Vec<usize>); 3] = [
                ("W_k.weight".to_owned(), vec![8, width]),
                ("W_q.weight".to_owned(), vec![8, width]),
                ("log_tau".to_owned(), vec![]),
            ];
            assert_eq!(shapes, expected.into(), "{summary}");
            let slope = gradients.values("attention_appearance.log_tau").unwrap()[0];
            let mut at = |shift: f32| {
                model.each(|key, _, mut slot| {
                    if key == "attention_appearance.log_tau" {
                        let value = slot.values().unwrap()[0];
                        slot.set_values(vec![value + shift]);
                    }
                });
                f64::from(to_vec(&loss(&model))[0])
            };
            let (up, down) = (at(0.05), at(-0.1));
            let measured = (up - down) / 0.1;
            assert!(
                (measured - f64::from(slope)).abs() < 0.02 * f64::from(slope.abs()).max(0.5),
                "{summary}: {measured} {slope}"
            );
            assert!(
                gradients
                    .values("attention_appearance.W_q.weight")
                    .unwrap()
                    .iter()
                    .any(|g| *g != 0.0)
            );
            assert!(
                gradients
                    .values("appearance_conv.weight")
                    .unwrap()
                    .iter()
                    .any(|g| *g != 0.0)
            );
        }
    }

    #[test]
    fn options_that_contradict_each_other_are_refused() {
        let mut tied = config(serde_json::json!({ "tied": true }));
        tied.semantic = false;
        assert!(tied.validate().unwrap_err().to_string().contains("semantic branch"));
        let flat = config(serde_json::json!({ "summary": "flatten" }));
        assert!(flat.validate().unwrap_err().to_string().contains("positions"));
        // Options that are off leave no trace in a written config.
        let written = serde_json::to_value(config(serde_json::json!({}))).unwrap();
        assert_eq!(written["appearance"].as_object().unwrap().len(), 4, "{written}");
    }
}
