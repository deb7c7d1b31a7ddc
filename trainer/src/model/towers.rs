//! The image and the text tower: an encoder, its pooling and its projection head (eq. 1-2).

use burn::tensor::{Int, Tensor};
use serde::{Deserialize, Serialize};

use super::{
    bert::{Bert, TextConfig},
    dropout::Dropout,
    layers::{BatchStats, Init},
    projection::ProjectionHead,
    resnet::{BatchNormConfig, ResNet, ResNetOutput, VisionConfig, spatial_mean},
    walk::{Role, Slot, Walk, join},
};

/// Which token positions the text feature averages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pool {
    /// All, padding included: what released weights rely on.
    All,
    /// Tokens only.
    Masked,
}

/// Features and unit vectors of one batch.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// `[batch, C4]` (images) or `[batch, hidden]` (texts), not normalised.
    pub features: Tensor<2>,
    /// Unit vectors `[batch, proj_dim]`.
    pub projected: Tensor<2>,
}

/// Keys `model.*` and `projection_head.projection.weight`.
#[derive(Clone, Debug)]
pub struct VisionTower {
    /// The encoder.
    pub model: ResNet,
    projection_head: ProjectionHead,
}

impl VisionTower {
    /// Fresh weights.
    pub fn init(config: &VisionConfig, norm: &BatchNormConfig, proj_dim: usize, init: &mut Init) -> Self {
        Self {
            model: ResNet::init(config, norm, init),
            projection_head: ProjectionHead::init(config.features(), proj_dim, init),
        }
    }

    /// images `[batch, 3, height, width]` in [0, 1].
    pub fn forward(&self, images: Tensor<4>, stats: &mut BatchStats) -> (ResNetOutput, Encoded) {
        let output = self.model.forward(images, stats);
        let features = spatial_mean(output.map.clone());
        let projected = self.projection_head.forward(features.clone());
        (output, Encoded { features, projected })
    }
}

impl Walk for VisionTower {
    fn walk(&mut self, path: &str, visit: &mut dyn FnMut(&str, Role, Slot)) {
        self.model.walk(&join(path, "model"), visit);
        self.projection_head.walk(&join(path, "projection_head"), visit);
    }
}

/// Keys `model.*` and `projection_head.projection.weight`.
#[derive(Clone, Debug)]
pub struct TextTower {
    /// The encoder.
    pub model: Bert,
    projection_head: ProjectionHead,
    pool: Pool,
}

impl TextTower {
    /// Fresh weights.
    pub fn init(config: &TextConfig, pool: Pool, proj_dim: usize, init: &mut Init) -> Self {
        Self {
            model: Bert::init(config, true, init),
            projection_head: ProjectionHead::init(config.hidden_size, proj_dim, init),
            pool,
        }
    }

    /// ids and mask `[batch, tokens]`; mask is 1 for tokens and 0 for padding.
    pub fn forward(&self, ids: Tensor<2, Int>, mask: Tensor<2, Int>, dropout: &mut Dropout) -> Encoded {
        let states = self.model.forward(ids, mask.clone(), dropout);
        self.project(&states, &mask)
    }

    /// Pools and projects the encoder's hidden states.
    pub fn project(&self, states: &[Tensor<3>], mask: &Tensor<2, Int>) -> Encoded {
        let features = pool_states(states, mask, self.pool);
        let projected = self.projection_head.forward(features.clone());
        Encoded { features, projected }
    }
}

impl Walk for TextTower {
    fn walk(&mut self, path: &str, visit: &mut dyn FnMut(&str, Role, Slot)) {
        self.model.walk(&join(path, "model"), visit);
        self.projection_head.walk(&join(path, "projection_head"), visit);
    }
}

/// Mean over positions of hidden states 1, 2 and last (index 0 is the embeddings), then over the three.
/// An encoder with one layer has no state 2; its last state stands in.
fn pool_states(states: &[Tensor<3>], mask: &Tensor<2, Int>, pool: Pool) -> Tensor<2> {
    let last = states.len() - 1;
    let mean = |state: &Tensor<3>| {
        let [batch, tokens, hidden] = state.dims();
        match pool {
            Pool::All => state.clone().mean_dim(1).reshape([batch, hidden]),
            Pool::Masked => {
                let mask = mask.clone().float();
                let count = mask.clone().sum_dim(1); // [batch, 1]
                let summed = (state.clone() * mask.reshape([batch, tokens, 1])).sum_dim(1);
                summed.reshape([batch, hidden]) / count
            }
        }
    };
    (mean(&states[1.min(last)]) + mean(&states[2.min(last)]) + mean(&states[last])) / 3.0
}
