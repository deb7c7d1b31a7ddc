//! One training step: the towers on each half, then what joins the halves.

use burn::tensor::{Int, Tensor};

use super::{Branch, KeepFitModel, Stop, Summary};
use crate::loss::{contrastive, knowledge};
use crate::model::{
    attention::KnowledgeAttention,
    dropout::Dropout,
    layers::{BatchMoments, BatchStats},
    towers::Encoded,
};

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

/// Appearance tokens of one half.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// The map's summary, by default its mean quantised token: `[rows, D]`.
    pub mean: Tensor<2>,
    /// Codes, `[rows, h, w]`.
    pub codes: Tensor<3, Int>,
}

/// One half of a step after its towers: all that the rest of the step needs of it.
#[derive(Clone, Debug)]
pub struct Half {
    /// Image side.
    pub images: Encoded,
    /// Text side.
    pub texts: Encoded,
    /// Tokens of the appearance branch, where it takes part.
    pub tokens: Option<Tokens>,
}

impl KeepFitModel {
    /// Forward pass of one training step: public batch, then MM-Retinal batch, then knowledge.
    pub fn forward_step(&self, batch: KeepFitBatch, dropout: &mut Dropout) -> StepOutput {
        let with_tokens = batch.knowledge.is_some();
        let mut moments = vec![Vec::new()];
        let public = self.encode_half(batch.public, with_tokens, dropout, &mut moments[0]);
        let pairs = batch.knowledge.map(|half| {
            moments.push(Vec::new());
            self.encode_half(half, true, dropout, &mut moments[1])
        });
        let mut output = self.join(public, &batch.categories, pairs, dropout);
        output.moments = moments;
        output
    }

    /// Both towers on one half of a step, images first. The batch statistics of the image tower are
    /// appended to `moments`. A frozen tower runs as in evaluation.
    pub fn encode_half(
        &self,
        half: ImageTextBatch,
        with_tokens: bool,
        dropout: &mut Dropout,
        moments: &mut Vec<BatchMoments>,
    ) -> Half {
        let (maps, images) = if self.frozen.vision {
            self.vision.forward(half.images, &mut BatchStats::Running)
        } else {
            self.vision.forward(half.images, &mut BatchStats::Batch(moments))
        };
        let texts = if self.frozen.text {
            self.text.forward(half.ids, half.mask, &mut Dropout::off())
        } else {
            self.text.forward(half.ids, half.mask, dropout)
        };
        let tokens = match &self.appearance {
            Some(branch) if with_tokens => Some(branch.tokens(maps.map)),
            _ => None,
        };
        Half { images, texts, tokens }
    }

    /// All loss terms from the encoded halves (eq. 3-10 and 16-22); `moments` of the result is empty.
    pub fn join(&self, public: Half, categories: &[i64], pairs: Option<Half>, dropout: &mut Dropout) -> StepOutput {
        let scale = self.logit_scale.clone().exp(); // [1]
        let plain = scale.device().without_autodiff();
        let target = contrastive::soft_targets(categories, &plain);
        let (itc_public, logits_public) =
            contrastive::loss(&public.images.projected, &public.texts.projected, &scale, &target);
        let mut out = StepOutput {
            total: itc_public.clone(),
            itc_public,
            public_images: public.images,
            public_texts: public.texts,
            target,
            logits_public,
            knowledge: None,
            semantic: None,
            appearance: None,
            maps: None,
            moments: Vec::new(),
        };
        let Some(pairs) = pairs else { return out };
        let (images, texts) = (pairs.images, pairs.texts);
        let count = images.projected.dims()[0];
        let identity = Tensor::eye(count, &plain);
        let (itc, logits) = contrastive::loss(&images.projected, &texts.projected, &scale, &identity);
        out.total = out.total + itc.clone();
        if let Some(attention) = &self.semantic {
            let (query, key) = (out.public_images.projected.clone(), images.projected.clone());
            let found = self.extract(attention, [query, key], &texts, &out.public_texts, dropout);
            out.total = out.total + found.loss.clone() * self.config.lambda1;
            out.semantic = Some(found);
        }
        if let (Some(Branch { attention, .. }), Some(own), Some(theirs)) =
            (&self.appearance, public.tokens, pairs.tokens)
        {
            let (query, key) = (own.mean.clone(), theirs.mean.clone());
            let found = self.extract(attention, [query, key], &texts, &out.public_texts, dropout);
            out.total = out.total + found.loss.clone() * self.config.lambda2;
            out.appearance = Some(found);
            out.maps = Some(AppearanceMaps {
                public: own.mean,
                knowledge: theirs.mean,
                public_codes: own.codes,
                knowledge_codes: theirs.codes,
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

    /// Knowledge of one branch and its distance to the public texts.
    fn extract(
        &self,
        attention: &KnowledgeAttention,
        [query, key]: [Tensor<2>; 2],
        pair_texts: &Encoded,
        public_texts: &Encoded,
        dropout: &mut Dropout,
    ) -> Knowledge {
        let held = |stop: Stop, tensor: Tensor<2>| {
            if self.config.stop_gradient.contains(&stop) {
                tensor.detach()
            } else {
                tensor
            }
        };
        let value = held(Stop::PairTexts, pair_texts.projected.clone());
        let rate = self.config.knowledge_dropout;
        let (vectors, weights) = attention.forward([query, key, value], self.semantic.as_ref(), rate, dropout);
        let loss = knowledge::loss(
            &held(Stop::Knowledge, vectors.clone()),
            &held(Stop::PublicTexts, public_texts.projected.clone()),
            self.config.knowledge_reduction,
        );
        Knowledge { vectors, weights, loss }
    }
}

impl Branch {
    /// Feature map `[batch, C4, h, w]` to the mean quantised token `[batch, D]` and the codes `[batch, h, w]`.
    pub(super) fn tokens(&self, map: Tensor<4>) -> Tokens {
        let z = self.conv.forward(map);
        let [batch, width, h, w] = z.dims();
        let tokens = super::to_tokens(z);
        let (codes, mean) = match self.summary {
            Summary::Histogram => self.quantizer.histogram(tokens, batch),
            summary => {
                let (codes, z_q) = self.quantizer.quantise(tokens);
                let maps = z_q.reshape([batch, h * w, width]);
                let vector = match summary {
                    Summary::Flatten => maps.reshape([batch, h * w * width]),
                    _ => maps.mean_dim(1).reshape([batch, width]),
                };
                (codes, vector)
            }
        };
        Tokens {
            mean,
            codes: codes.reshape([batch, h, w]),
        }
    }
}
