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
use crate::loss::{contrastive, knowledge};

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
        let [low, high] = self.logit_scale_clamp;
        if low.is_nan() || high.is_nan() || low > high {
            anyhow::bail!("logit_scale_clamp = [{low}, {high}] must be [low, high]");
        }
        Ok(())
    }
}

/// Images and their texts on the device; row i of each belongs together.
pub struct ImageTextBatch {
    /// `[batch, 3, height, width]`, RGB in [0, 1].
    pub images: Tensor<4>,
    /// Token ids `[batch, tokens]`.
    pub ids: Tensor<2, Int>,
    /// 1 for tokens, 0 for padding, `[batch, tokens]`.
    pub mask: Tensor<2, Int>,
}

/// One training step's input.
pub struct KeepFitBatch {
    /// The labelled public batch.
    pub public: ImageTextBatch,
    /// Sampled category of each public row; equal numbers are positives of each other.
    pub categories: Vec<i64>,
    /// The MM-Retinal batch; None trains without it (FLAIR), then no knowledge either.
    pub knowledge: Option<ImageTextBatch>,
}

/// One kind of expert knowledge of a step.
pub struct Knowledge {
    /// `[public, proj_dim]`
    pub vectors: Tensor<2>,
    /// How much each MM-Retinal pair contributed, `[heads, public, pairs]`.
    pub weights: Tensor<3>,
    /// Unweighted loss term (eq. 20 or 21), `[1]`.
    pub loss: Tensor<1>,
}

/// The appearance branch's quantised maps.
pub struct AppearanceMaps {
    /// Mean quantised token of the public images, `[public, D]`.
    pub public: Tensor<2>,
    /// Mean quantised token of the MM-Retinal images, `[pairs, D]`.
    pub knowledge: Tensor<2>,
    /// Codes of the public images, `[public, h, w]`.
    pub public_codes: Tensor<3, Int>,
    /// Codes of the MM-Retinal images, `[pairs, h, w]`.
    pub knowledge_codes: Tensor<3, Int>,
}

/// The MM-Retinal half of a step.
pub struct KnowledgeSide {
    /// Image side.
    pub images: Encoded,
    /// Text side.
    pub texts: Encoded,
    /// Contrastive term, `[1]`.
    pub itc: Tensor<1>,
    /// Scaled similarities, rows texts, columns images, `[pairs, pairs]`.
    pub logits: Tensor<2>,
}

/// Everything a training step computed; `total` carries the graph.
pub struct StepOutput {
    /// Weighted sum of all terms, `[1]`.
    pub total: Tensor<1>,
    /// Contrastive term of the public batch, `[1]`.
    pub itc_public: Tensor<1>,
    /// Image side of the public batch.
    pub public_images: Encoded,
    /// Text side of the public batch.
    pub public_texts: Encoded,
    /// Soft targets `[public, public]`.
    pub target: Tensor<2>,
    /// Scaled similarities of the public batch, rows texts, columns images.
    pub logits_public: Tensor<2>,
    /// MM-Retinal half.
    pub knowledge: Option<KnowledgeSide>,
    /// Semantic knowledge.
    pub semantic: Option<Knowledge>,
    /// Appearance knowledge.
    pub appearance: Option<Knowledge>,
    /// Quantised maps of the appearance branch.
    pub maps: Option<AppearanceMaps>,
    /// Batch statistics of the two image passes, for [`KeepFitModel::update_statistics`].
    pub moments: Vec<Vec<BatchMoments>>,
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
    appearance: Option<Appearance>,
    config: KeepFitConfig,
}

#[derive(Clone, Debug)]
struct Appearance {
    conv: Conv,
    quantizer: Quantizer,
    attention: KnowledgeAttention,
}

impl KeepFitModel {
    /// Fresh weights from `seed`. On an autodiff device all but the codebook and BERT's pooler are trained.
    ///
    /// # Errors
    /// A configuration that contradicts itself.
    pub fn init(config: &KeepFitConfig, seed: u64, device: &Device) -> anyhow::Result<Self> {
        config.validate()?;
        let mut init = Init::new(seed, device);
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
        let appearance = config.appearance.as_ref().map(|a| Appearance {
            conv: Conv::init_biased(config.vision.features(), a.code_dim, a.conv_kernel, 1, &mut init),
            quantizer: Quantizer {
                codebook: init.normal([a.codes, a.code_dim], 1.0).set_require_grad(false),
            },
            attention: KnowledgeAttention::init(a.code_dim, d, heads, a.tau.unwrap_or(default_tau), softmax, &mut init),
        });
        let logit_scale = init.constant([1], INITIAL_LOGIT_SCALE);
        Ok(Self {
            logit_scale,
            vision,
            text,
            semantic,
            appearance,
            config: config.clone(),
        })
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
        let tracked = self.logit_scale.is_require_grad();
        let clamped = self.logit_scale.clone().inner().clamp(low, high);
        self.logit_scale = if tracked {
            clamped.autodiff().require_grad()
        } else {
            clamped
        };
    }

    /// Forward pass of one training step: public batch, then MM-Retinal batch, then knowledge.
    pub fn forward_step(&self, batch: KeepFitBatch, dropout: &mut Dropout) -> StepOutput {
        let KeepFitBatch {
            public,
            categories,
            knowledge,
        } = batch;
        let scale = self.logit_scale.clone().exp(); // [1]
        let mut moments = vec![Vec::new()];
        let (public_maps, public_images) = self
            .vision
            .forward(public.images, &mut BatchStats::Batch(&mut moments[0]));
        let public_texts = self.text.forward(public.ids, public.mask, dropout);
        let target = contrastive::soft_targets(&categories, &scale.device().without_autodiff());
        let (itc_public, logits_public) =
            contrastive::loss(&public_images.projected, &public_texts.projected, &scale, &target);
        let mut out = StepOutput {
            total: itc_public.clone(),
            itc_public,
            public_images,
            public_texts,
            target,
            logits_public,
            knowledge: None,
            semantic: None,
            appearance: None,
            maps: None,
            moments: Vec::new(),
        };
        let Some(pairs) = knowledge else {
            out.moments = moments;
            return out;
        };

        moments.push(Vec::new());
        let (pair_maps, images) = self
            .vision
            .forward(pairs.images, &mut BatchStats::Batch(&mut moments[1]));
        out.moments = moments;
        let texts = self.text.forward(pairs.ids, pairs.mask, dropout);
        let count = images.projected.dims()[0];
        let identity = Tensor::eye(count, &scale.device().without_autodiff());
        let (itc, logits) = contrastive::loss(&images.projected, &texts.projected, &scale, &identity);
        out.total = out.total + itc.clone();
        let rate = self.config.knowledge_dropout;
        if let Some(attention) = &self.semantic {
            let (query, key, value) = (
                out.public_images.projected.clone(),
                images.projected.clone(),
                texts.projected.clone(),
            );
            let (vectors, weights) = attention.forward(query, key, value, rate, dropout);
            let loss = knowledge::loss(&vectors, &out.public_texts.projected);
            out.total = out.total + loss.clone() * self.config.lambda1;
            out.semantic = Some(Knowledge { vectors, weights, loss });
        }
        if let Some(branch) = &self.appearance {
            let (query, public_codes) = branch.tokens(public_maps.map);
            let (key, knowledge_codes) = branch.tokens(pair_maps.map);
            let value = texts.projected.clone();
            let (vectors, weights) = branch
                .attention
                .forward(query.clone(), key.clone(), value, rate, dropout);
            let loss = knowledge::loss(&vectors, &out.public_texts.projected);
            out.total = out.total + loss.clone() * self.config.lambda2;
            out.appearance = Some(Knowledge { vectors, weights, loss });
            out.maps = Some(AppearanceMaps {
                public: query,
                knowledge: key,
                public_codes,
                knowledge_codes,
            });
        }
        out.knowledge = Some(KnowledgeSide {
            images,
            texts,
            itc,
            logits,
        });
        out
    }

    /// Moves the running statistics, once per image pass of a step and in its order.
    pub fn update_statistics(&mut self, moments: Vec<Vec<BatchMoments>>) {
        for pass in moments {
            self.vision.model.update_statistics(pass);
        }
    }
}

impl Appearance {
    /// Feature map `[batch, C4, h, w]` to the mean quantised token `[batch, D]` and the codes `[batch, h, w]`.
    fn tokens(&self, map: Tensor<4>) -> (Tensor<2>, Tensor<3, Int>) {
        let z = self.conv.forward(map);
        let [batch, width, h, w] = z.dims();
        let quantized = self.quantizer.forward(to_tokens(z));
        let mean = quantized
            .z_q
            .reshape([batch, h * w, width])
            .mean_dim(1)
            .reshape([batch, width]);
        (mean, quantized.codes.reshape([batch, h, w]))
    }
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
