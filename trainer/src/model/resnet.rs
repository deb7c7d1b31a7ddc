//! Bottleneck ResNet with torchvision's key names, without the classifier (Section IV-A.1).

use burn::tensor::{Tensor, module, ops::MaxPoolOptions};
use serde::{Deserialize, Serialize};

use super::{
    checkpointing::checkpointed,
    cpu,
    layers::{BatchMoments, BatchNorm, BatchStats, Conv, Init},
    walk::{Role, Slot, Walk, join},
};

/// Output channels of a block over its width.
const EXPANSION: usize = 4;

/// Size of the image tower.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VisionConfig {
    /// Bottleneck blocks per stage; ResNet50 is [3, 4, 6, 3].
    pub layers: [usize; 4],
    /// Channels of the stem; ResNet50 is 64. The feature has 32 times as many.
    pub base_width: usize,
}

impl VisionConfig {
    /// ResNet50.
    pub fn resnet50() -> Self {
        Self {
            layers: [3, 4, 6, 3],
            base_width: 64,
        }
    }

    /// Channels of the last map, C4.
    pub fn features(&self) -> usize {
        self.base_width * 8 * EXPANSION
    }
}

/// Constants of batch normalisation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BatchNormConfig {
    /// Added to the variance.
    pub eps: f64,
    /// Share of the new batch in the running statistics.
    pub momentum: f64,
}

impl Default for BatchNormConfig {
    /// PyTorch's defaults.
    fn default() -> Self {
        Self {
            eps: 1e-5,
            momentum: 0.1,
        }
    }
}

/// 1×1 → 3×3 (carries the stride) → 1×1 with four times the width.
#[derive(Clone, Debug)]
struct Bottleneck {
    conv1: Conv,
    bn1: BatchNorm,
    conv2: Conv,
    bn2: BatchNorm,
    conv3: Conv,
    bn3: BatchNorm,
    downsample: Option<(Conv, BatchNorm)>,
}

impl Bottleneck {
    fn init(
        inputs: usize,
        width: usize,
        stride: usize,
        downsample: bool,
        norm: &BatchNormConfig,
        init: &mut Init,
    ) -> Self {
        let outputs = EXPANSION * width;
        Self {
            conv1: Conv::init(inputs, width, 1, 1, init),
            bn1: BatchNorm::init(width, norm, init),
            conv2: Conv::init(width, width, 3, stride, init),
            bn2: BatchNorm::init(width, norm, init),
            conv3: Conv::init(width, outputs, 1, 1, init),
            bn3: BatchNorm::init(outputs, norm, init),
            downsample: downsample.then(|| {
                (
                    Conv::init(inputs, outputs, 1, stride, init),
                    BatchNorm::init(outputs, norm, init),
                )
            }),
        }
    }

    fn forward(&self, x: Tensor<4>, stats: &mut BatchStats) -> Tensor<4> {
        let y = self
            .bn1
            .forward(self.conv1.forward_before_gate(x.clone(), stats), None, true, stats);
        let y = self
            .bn2
            .forward(self.conv2.forward_before_gate(y, stats), None, true, stats);
        let y = self.conv3.forward_before_gate(y, stats);
        match &self.downsample {
            None => self.bn3.forward(y, Some(x), true, stats),
            Some((conv, norm)) => {
                // bn3 comes before the downsampling norm in forward order, whatever is added to what.
                let y = self.bn3.forward(y, None, false, stats);
                norm.forward(conv.forward_before_gate(x, stats), Some(y), true, stats)
            }
        }
    }

    /// In forward order.
    fn batch_norms(&mut self) -> impl Iterator<Item = &mut BatchNorm> {
        let inner = [&mut self.bn1, &mut self.bn2, &mut self.bn3];
        inner.into_iter().chain(self.downsample.as_mut().map(|(_, norm)| norm))
    }
}

impl Walk for Bottleneck {
    fn walk(&mut self, path: &str, visit: &mut dyn FnMut(&str, Role, Slot)) {
        self.conv1.walk(&join(path, "conv1"), visit);
        self.bn1.walk(&join(path, "bn1"), visit);
        self.conv2.walk(&join(path, "conv2"), visit);
        self.bn2.walk(&join(path, "bn2"), visit);
        self.conv3.walk(&join(path, "conv3"), visit);
        self.bn3.walk(&join(path, "bn3"), visit);
        if let Some((conv, norm)) = &mut self.downsample {
            conv.walk(&join(path, "downsample.0"), visit);
            norm.walk(&join(path, "downsample.1"), visit);
        }
    }
}

/// The image encoder.
#[derive(Clone, Debug)]
pub struct ResNet {
    conv1: Conv,
    bn1: BatchNorm,
    stages: Vec<Vec<Bottleneck>>,
    checkpointing: bool,
}

/// What the image encoder computed.
pub struct ResNetOutput {
    /// Last map before pooling, `[batch, C4, height/32, width/32]`.
    pub map: Tensor<4>,
    /// Maps after the stem's pooling and after each stage, for reports; the last is `map`.
    pub taps: Vec<Tensor<4>>,
}

impl ResNet {
    /// Fresh weights as torchvision makes them.
    pub fn init(config: &VisionConfig, norm: &BatchNormConfig, init: &mut Init) -> Self {
        let mut inputs = config.base_width;
        let conv1 = Conv::init(3, inputs, 7, 2, init);
        let bn1 = BatchNorm::init(inputs, norm, init);
        let mut stages = Vec::with_capacity(config.layers.len());
        for (stage, &blocks) in config.layers.iter().enumerate() {
            let width = config.base_width << stage;
            let mut built = Vec::with_capacity(blocks);
            for block in 0..blocks {
                let stride = if block == 0 && stage > 0 { 2 } else { 1 };
                built.push(Bottleneck::init(inputs, width, stride, block == 0, norm, init));
                inputs = EXPANSION * width;
            }
            stages.push(built);
        }
        Self {
            conv1,
            bn1,
            stages,
            checkpointing: false,
        }
    }

    /// Whether training computes each block's inner values again in the backward pass instead of keeping them.
    pub fn set_checkpointing(&mut self, on: bool) {
        self.checkpointing = on;
    }

    /// images `[batch, 3, height, width]` in [0, 1]; any height and width from 1.
    pub fn forward(&self, images: Tensor<4>, stats: &mut BatchStats) -> ResNetOutput {
        let x = self
            .bn1
            .forward(self.conv1.forward_before_gate(images, stats), None, true, stats);
        let mut x = max_pool(x);
        let mut taps = vec![x.clone()];
        for stage in &self.stages {
            for block in stage {
                x = match &mut *stats {
                    BatchStats::Batch(moments) if self.checkpointing => checkpointed(
                        block,
                        x,
                        |block, x| block.forward(x, &mut BatchStats::Batch(moments)),
                        // The running statistics move by the first pass alone.
                        |block, x| block.forward(x, &mut BatchStats::Batch(&mut Vec::new())),
                    ),
                    stats => block.forward(x, stats),
                };
            }
            taps.push(x.clone());
        }
        ResNetOutput { map: x, taps }
    }

    /// Applies the moments that one training forward pass collected to the running statistics.
    pub fn update_statistics(&mut self, moments: Vec<BatchMoments>) {
        let blocks = self.stages.iter_mut().flatten().flat_map(Bottleneck::batch_norms);
        for (norm, moments) in std::iter::once(&mut self.bn1).chain(blocks).zip(moments) {
            norm.update(moments);
        }
    }
}

impl Walk for ResNet {
    fn walk(&mut self, path: &str, visit: &mut dyn FnMut(&str, Role, Slot)) {
        self.conv1.walk(&join(path, "conv1"), visit);
        self.bn1.walk(&join(path, "bn1"), visit);
        for (stage, blocks) in self.stages.iter_mut().enumerate() {
            for (index, block) in blocks.iter_mut().enumerate() {
                block.walk(&join(path, &format!("layer{}.{index}", stage + 1)), visit);
            }
        }
    }
}

/// The stem's pooling: 3×3, stride 2, a border of 1.
fn max_pool(x: Tensor<4>) -> Tensor<4> {
    if cpu::applies(&x) {
        return cpu::pool::max_pool(x);
    }
    let options = MaxPoolOptions::new([3, 3]).with_stride([2, 2]).with_padding([1, 1]);
    module::max_pool2d(x, options)
}

/// Mean over height and width: `[batch, channels, h, w]` to `[batch, channels]`.
pub fn spatial_mean(map: Tensor<4>) -> Tensor<2> {
    let [batch, channels, height, width] = map.dims();
    map.reshape([batch, channels, height * width])
        .mean_dim(2)
        .reshape([batch, channels])
}
