//! VQGAN-shaped autoencoder around the quantiser, trained for its codebook (Section IV-C.3).
//!
//! Stride 2^(levels−1): residual blocks of GroupNorm, swish and 3×3 convolutions, attention at the
//! lowest resolution, 1×1 convolutions on both sides of the quantiser. Input in [−1, 1].

use anyhow::{Result, bail};
use burn::tensor::{
    Tensor,
    activation::{silu, softmax},
    module,
    ops::{InterpolateMode, InterpolateOptions},
};
use serde::{Deserialize, Serialize};

use super::{
    cpu,
    ibq::{Quantized, Quantizer, to_map, to_tokens},
    layers::{Conv, Init},
    walk::{Role, Slot, Walk, join},
};

/// Most groups of a group normalisation.
const GROUPS: usize = 32;
/// Added to the variance in group normalisation.
const GROUP_NORM_EPSILON: f64 = 1e-6;

/// Size of the autoencoder and its codebook.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AutoencoderConfig {
    /// Channels of the first level.
    pub channels: usize,
    /// Channel multiplier of each level; each level but the first halves the resolution.
    pub multipliers: Vec<usize>,
    /// Residual blocks a level in the encoder; the decoder has one more.
    pub blocks: usize,
    /// Codes, K.
    pub codes: usize,
    /// Width of a code, D.
    pub code_dim: usize,
}

impl AutoencoderConfig {
    /// For tests and the demo: 64 px, K 256, D 32.
    pub fn tiny() -> Self {
        Self {
            channels: 16,
            multipliers: vec![1, 1, 2, 2, 4],
            blocks: 1,
            codes: 256,
            code_dim: 32,
        }
    }

    /// For a single workstation: half the channels of the full one, two blocks.
    pub fn lite() -> Self {
        Self {
            channels: 64,
            multipliers: vec![1, 1, 2, 2, 4],
            blocks: 2,
            codes: 16_384,
            code_dim: 256,
        }
    }

    /// The published size: 128 channels, four blocks.
    pub fn full() -> Self {
        Self {
            channels: 128,
            multipliers: vec![1, 1, 2, 2, 4],
            blocks: 4,
            codes: 16_384,
            code_dim: 256,
        }
    }

    /// Pixels an input side must be a multiple of.
    pub fn stride(&self) -> usize {
        1 << (self.multipliers.len() - 1)
    }

    /// Checks what the layers rely on.
    ///
    /// # Errors
    /// Names the field, its value and what would be accepted.
    pub fn validate(&self) -> Result<()> {
        if self.multipliers.is_empty() || self.multipliers.len() > 8 || self.multipliers.contains(&0) {
            bail!(
                "multipliers = {:?} must hold 1 to 8 numbers of at least 1",
                self.multipliers
            );
        }
        for (name, value) in [
            ("channels", self.channels),
            ("blocks", self.blocks),
            ("codes", self.codes),
            ("code_dim", self.code_dim),
        ] {
            if value == 0 {
                bail!("{name} must be at least 1");
            }
        }
        Ok(())
    }
}

/// Group normalisation with affine parameters.
#[derive(Clone, Debug)]
struct GroupNorm {
    weight: Tensor<1>,
    bias: Tensor<1>,
    groups: usize,
}

impl GroupNorm {
    fn init(channels: usize, init: &Init) -> Self {
        // The largest group count up to 32 that divides the channels.
        let groups = (1..=GROUPS.min(channels))
            .rev()
            .find(|g| channels.is_multiple_of(*g))
            .unwrap_or(1);
        Self {
            weight: init.constant([channels], 1.0),
            bias: init.constant([channels], 0.0),
            groups,
        }
    }

    /// Normalises x, then y·σ(y) where `swish` says so.
    fn forward(&self, x: Tensor<4>, swish: bool) -> Tensor<4> {
        let affine = [self.weight.clone(), self.bias.clone()];
        if cpu::applies(&x) {
            cpu::group_norm::group_norm(x, affine, self.groups, GROUP_NORM_EPSILON, swish)
        } else {
            group_norm_plain(x, affine, self.groups, GROUP_NORM_EPSILON, swish)
        }
    }
}

/// Group normalisation of x `[batch, channels, height, width]` by tensor operations, with weight and bias
/// `[channels]`; then y·σ(y) where `swish` says so.
pub fn group_norm_plain(
    x: Tensor<4>,
    [weight, bias]: [Tensor<1>; 2],
    groups: usize,
    epsilon: f64,
    swish: bool,
) -> Tensor<4> {
    let [batch, channels, height, width] = x.dims();
    let grouped = x.reshape([batch * groups, channels / groups * height * width]);
    let centered = grouped.clone() - grouped.mean_dim(1);
    let variance = centered.clone().square().mean_dim(1);
    let normal = centered / (variance + epsilon).sqrt();
    let per_channel = [1, channels, 1, 1];
    let y = normal.reshape([batch, channels, height, width]) * weight.reshape(per_channel) + bias.reshape(per_channel);
    if swish { silu(y) } else { y }
}

impl Walk for GroupNorm {
    fn walk(&mut self, path: &str, visit: &mut dyn FnMut(&str, Role, Slot)) {
        visit(&join(path, "weight"), Role::Trained, Slot::Vector(&mut self.weight));
        visit(&join(path, "bias"), Role::Trained, Slot::Vector(&mut self.bias));
    }
}

/// norm → swish → conv, twice, around a skip.
#[derive(Clone, Debug)]
struct ResBlock {
    norm1: GroupNorm,
    conv1: Conv,
    norm2: GroupNorm,
    conv2: Conv,
    shortcut: Option<Conv>,
}

impl ResBlock {
    fn init(inputs: usize, outputs: usize, init: &mut Init) -> Self {
        Self {
            norm1: GroupNorm::init(inputs, init),
            conv1: Conv::init_biased(inputs, outputs, 3, 1, init),
            norm2: GroupNorm::init(outputs, init),
            conv2: Conv::init_biased(outputs, outputs, 3, 1, init),
            shortcut: (inputs != outputs).then(|| Conv::init_biased(inputs, outputs, 1, 1, init)),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let y = self.conv1.forward(self.norm1.forward(x.clone(), true));
        let y = self.conv2.forward(self.norm2.forward(y, true));
        match &self.shortcut {
            Some(conv) => y + conv.forward(x),
            None => y + x,
        }
    }
}

impl Walk for ResBlock {
    fn walk(&mut self, path: &str, visit: &mut dyn FnMut(&str, Role, Slot)) {
        self.norm1.walk(&join(path, "norm1"), visit);
        self.conv1.walk(&join(path, "conv1"), visit);
        self.norm2.walk(&join(path, "norm2"), visit);
        self.conv2.walk(&join(path, "conv2"), visit);
        if let Some(shortcut) = &mut self.shortcut {
            shortcut.walk(&join(path, "nin_shortcut"), visit);
        }
    }
}

/// Self-attention over the positions of a map, one head.
#[derive(Clone, Debug)]
struct SpatialAttention {
    norm: GroupNorm,
    query: Conv,
    key: Conv,
    value: Conv,
    output: Conv,
}

impl SpatialAttention {
    fn init(channels: usize, init: &mut Init) -> Self {
        let norm = GroupNorm::init(channels, init);
        let mut conv = || Conv::init_biased(channels, channels, 1, 1, init);
        Self {
            norm,
            query: conv(),
            key: conv(),
            value: conv(),
            output: conv(),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [batch, channels, height, width] = x.dims();
        let flat = |t: Tensor<4>| t.reshape([batch, channels, height * width]);
        let y = self.norm.forward(x.clone(), false);
        let (q, k, v) = (
            flat(self.query.forward(y.clone())),
            flat(self.key.forward(y.clone())),
            flat(self.value.forward(y)),
        );
        let scores = q.swap_dims(1, 2).matmul(k) / (channels as f64).sqrt(); // [batch, queries, keys]
        let read = v.matmul(softmax(scores, 2).swap_dims(1, 2)); // [batch, channels, queries]
        x + self.output.forward(read.reshape([batch, channels, height, width]))
    }
}

impl Walk for SpatialAttention {
    fn walk(&mut self, path: &str, visit: &mut dyn FnMut(&str, Role, Slot)) {
        self.norm.walk(&join(path, "norm"), visit);
        self.query.walk(&join(path, "q"), visit);
        self.key.walk(&join(path, "k"), visit);
        self.value.walk(&join(path, "v"), visit);
        self.output.walk(&join(path, "proj_out"), visit);
    }
}

/// One step of the encoder or decoder, with its key.
#[derive(Clone, Debug)]
enum Stage {
    Conv(Conv),
    Residual(Box<ResBlock>),
    Attention(Box<SpatialAttention>),
    /// Nearest neighbour, twice the side; no parameters.
    Upsample,
    /// Normalisation, then swish.
    Norm(GroupNorm),
}

type Stages = Vec<(String, Stage)>;

fn run(stages: &[(String, Stage)], mut x: Tensor<4>) -> Tensor<4> {
    for (_, stage) in stages {
        x = match stage {
            Stage::Conv(conv) => conv.forward(x),
            Stage::Residual(block) => block.forward(x),
            Stage::Attention(attention) => attention.forward(x),
            Stage::Upsample => {
                let [_, _, height, width] = x.dims();
                let options =
                    InterpolateOptions::new(InterpolateMode::Nearest).with_output_size([2 * height, 2 * width]);
                module::interpolate(x, options)
            }
            Stage::Norm(norm) => norm.forward(x, true),
        };
    }
    x
}

fn walk_stages(stages: &mut [(String, Stage)], path: &str, visit: &mut dyn FnMut(&str, Role, Slot)) {
    for (key, stage) in stages {
        let key = join(path, key);
        match stage {
            Stage::Conv(conv) => conv.walk(&key, visit),
            Stage::Residual(block) => block.walk(&key, visit),
            Stage::Attention(attention) => attention.walk(&key, visit),
            Stage::Norm(norm) => norm.walk(&key, visit),
            Stage::Upsample => {}
        }
    }
}

/// Residual, attention, residual at the lowest resolution.
fn middle(stages: &mut Stages, channels: usize, init: &mut Init) {
    stages.push((
        "mid.block_1".into(),
        Stage::Residual(Box::new(ResBlock::init(channels, channels, init))),
    ));
    stages.push((
        "mid.attn_1".into(),
        Stage::Attention(Box::new(SpatialAttention::init(channels, init))),
    ));
    stages.push((
        "mid.block_2".into(),
        Stage::Residual(Box::new(ResBlock::init(channels, channels, init))),
    ));
}

fn encoder(config: &AutoencoderConfig, init: &mut Init) -> Stages {
    let mut channels = config.channels;
    let mut stages: Stages = vec![(
        "conv_in".into(),
        Stage::Conv(Conv::init_biased(3, channels, 3, 1, init)),
    )];
    let last = config.multipliers.len() - 1;
    for (level, multiplier) in config.multipliers.iter().enumerate() {
        let outputs = config.channels * multiplier;
        for block in 0..config.blocks {
            stages.push((
                format!("down.{level}.block.{block}"),
                Stage::Residual(Box::new(ResBlock::init(channels, outputs, init))),
            ));
            channels = outputs;
        }
        if level < last {
            stages.push((
                format!("down.{level}.downsample.conv"),
                Stage::Conv(Conv::init_biased(channels, channels, 3, 2, init)),
            ));
        }
    }
    middle(&mut stages, channels, init);
    stages.push(("norm_out".into(), Stage::Norm(GroupNorm::init(channels, init))));
    stages.push((
        "conv_out".into(),
        Stage::Conv(Conv::init_biased(channels, config.code_dim, 3, 1, init)),
    ));
    stages
}

fn decoder(config: &AutoencoderConfig, init: &mut Init) -> Stages {
    let mut channels = config.channels * config.multipliers.last().copied().unwrap_or(1);
    let mut stages: Stages = vec![(
        "conv_in".into(),
        Stage::Conv(Conv::init_biased(config.code_dim, channels, 3, 1, init)),
    )];
    middle(&mut stages, channels, init);
    for (level, multiplier) in config.multipliers.iter().enumerate().rev() {
        let outputs = config.channels * multiplier;
        for block in 0..=config.blocks {
            stages.push((
                format!("up.{level}.block.{block}"),
                Stage::Residual(Box::new(ResBlock::init(channels, outputs, init))),
            ));
            channels = outputs;
        }
        if level > 0 {
            stages.push((format!("up.{level}.upsample"), Stage::Upsample));
            stages.push((
                format!("up.{level}.upsample.conv"),
                Stage::Conv(Conv::init_biased(channels, channels, 3, 1, init)),
            ));
        }
    }
    stages.push(("norm_out".into(), Stage::Norm(GroupNorm::init(channels, init))));
    stages.push((
        "conv_out".into(),
        Stage::Conv(Conv::init_biased(channels, 3, 3, 1, init)),
    ));
    stages
}

/// Encoder, quantiser with a trained codebook, decoder.
#[derive(Clone, Debug)]
pub struct Autoencoder {
    encoder: Stages,
    decoder: Stages,
    quant_conv: Conv,
    post_quant_conv: Conv,
    /// The quantiser; its codebook is what later stages use.
    pub quantizer: Quantizer,
    config: AutoencoderConfig,
}

/// One pass through the autoencoder.
pub struct Reconstruction {
    /// `[batch, 3, height, width]`, about [−1, 1].
    pub images: Tensor<4>,
    /// Tokens before quantisation `[n, D]`, n = batch·height/stride·width/stride.
    pub tokens: Tensor<2>,
    /// What the quantiser made of them.
    pub quantized: Quantized,
}

impl Autoencoder {
    /// Fresh weights; the codebook is drawn from N(0, 1).
    ///
    /// # Errors
    /// A configuration that contradicts itself.
    pub fn init(config: &AutoencoderConfig, init: &mut Init) -> Result<Self> {
        config.validate()?;
        let width = config.code_dim;
        Ok(Self {
            encoder: encoder(config, init),
            decoder: decoder(config, init),
            quant_conv: Conv::init_biased(width, width, 1, 1, init),
            post_quant_conv: Conv::init_biased(width, width, 1, 1, init),
            quantizer: Quantizer {
                codebook: init.normal([config.codes, width], 1.0),
            },
            config: config.clone(),
        })
    }

    /// The configuration the model was built from.
    pub fn config(&self) -> &AutoencoderConfig {
        &self.config
    }

    /// images `[batch, 3, height, width]` in [−1, 1]; both sides multiples of [`AutoencoderConfig::stride`].
    pub fn forward(&self, images: Tensor<4>) -> Reconstruction {
        let z = self.quant_conv.forward(run(&self.encoder, images)); // [batch, D, h, w]
        let shape = z.dims();
        let tokens = to_tokens(z);
        let quantized = self.quantizer.encode(tokens.clone());
        let images = run(
            &self.decoder,
            self.post_quant_conv.forward(to_map(quantized.z_q.clone(), shape)),
        );
        Reconstruction {
            images,
            tokens,
            quantized,
        }
    }
}

impl Walk for Autoencoder {
    fn walk(&mut self, path: &str, visit: &mut dyn FnMut(&str, Role, Slot)) {
        walk_stages(&mut self.encoder, &join(path, "encoder"), visit);
        walk_stages(&mut self.decoder, &join(path, "decoder"), visit);
        self.quant_conv.walk(&join(path, "quant_conv"), visit);
        self.post_quant_conv.walk(&join(path, "post_quant_conv"), visit);
        self.quantizer.walk(&join(path, "quantize"), visit);
    }
}
