//! Projection heads and the unit sphere they map to (eq. 1-2).

use burn::tensor::Tensor;

use super::{
    layers::{Init, Linear},
    walk::{Role, Slot, Walk, join},
};

/// Smallest norm divided by, as in `torch.nn.functional.normalize`.
const NORM_FLOOR: f64 = 1e-12;

/// x/‖x‖ → linear without bias → y/‖y‖.
#[derive(Clone, Debug)]
pub struct ProjectionHead {
    projection: Linear,
}

impl ProjectionHead {
    /// Fresh weights.
    pub fn init(inputs: usize, outputs: usize, init: &mut Init) -> Self {
        Self {
            projection: Linear::init(inputs, outputs, false, init),
        }
    }

    /// features `[batch, in]` to unit vectors `[batch, out]`.
    pub fn forward(&self, features: Tensor<2>) -> Tensor<2> {
        normalize(self.projection.forward(normalize(features)))
    }
}

impl Walk for ProjectionHead {
    fn walk(&mut self, path: &str, visit: &mut dyn FnMut(&str, Role, Slot)) {
        self.projection.walk(&join(path, "projection"), visit);
    }
}

/// Rows divided by their Euclidean norm.
pub fn normalize(x: Tensor<2>) -> Tensor<2> {
    let norm = x.clone().square().sum_dim(1).sqrt().clamp_min(NORM_FLOOR);
    x / norm
}
