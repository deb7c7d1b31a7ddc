//! Configuration of `trainer codebook`.

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use super::shared::{place_of_a_run, training_keys};
use super::{StageConfig, in_range};

/// Everything that decides an IBQ codebook run (Section IV-C.3 and the IBQ paper).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CodebookConfig {
    /// Dataset folders to read.
    pub datasets: Vec<String>,
    /// Modalities to read (`CFP`, `FFA`, `OCT`); empty means all but OTHER.
    pub modalities: Vec<String>,
    /// Read the image-text pairs of `data/`.
    pub pairs: bool,
    /// Label sets of `labels/` to read by name; `["*"]` means all, empty none.
    pub label_sets: Vec<String>,
    /// Side of the square input, pixels.
    pub image_size: usize,
    /// Width of the first level.
    pub channels: usize,
    /// Width multiplier of each level; every level but the last halves the side.
    pub multipliers: Vec<usize>,
    /// Residual blocks a level (one more in the decoder).
    pub blocks: usize,
    /// Number of codes K.
    pub codes: usize,
    /// Width of a code D.
    pub code_dim: usize,
    /// Weight of the third quantiser term (sg on z), IBQ's beta.
    pub commitment: f64,
    /// Weight of the quantiser loss.
    pub quant_weight: f64,
    /// Weight of the entropy term.
    pub entropy_weight: f64,
    /// Temperature of the entropy term.
    pub entropy_temperature: f64,
    /// Weight of the perceptual term (LPIPS); 0 leaves it out.
    pub perceptual_weight: f64,
    /// VGG16 weights of the perceptual term: torchvision's, or LPIPS in one file.
    pub perceptual_vgg: String,
    /// Linear layers of LPIPS; empty when `perceptual_vgg` holds them too.
    pub perceptual_linear: String,
    /// Weight of the adversarial term; 0 leaves the discriminator out.
    pub adversarial_weight: f64,
    /// Weight of LeCam in the discriminator's loss.
    pub lecam_weight: f64,
    /// Width of the discriminator's first layer.
    pub discriminator_channels: usize,
    /// Layers of the discriminator that halve the side.
    pub discriminator_layers: usize,
    /// Images in a batch.
    pub batch: usize,
    /// Passes over the images; ignored when `steps` is above 0.
    pub epochs: f64,
    /// Optimiser steps; 0 means by epochs.
    pub steps: u64,
    /// Learning rate of Adam.
    pub learning_rate: f64,
    /// First-moment decay of Adam.
    pub beta1: f64,
    /// Second-moment decay of Adam.
    pub beta2: f64,
    /// Epochs after which the rate is multiplied by 0.1.
    pub milestones: Vec<f64>,
    /// Share of the steps spent warming up linearly.
    pub warmup_share: f64,
    /// Largest global gradient norm; 0 switches clipping off.
    pub clip_norm: f64,
    /// Steps in a row that may be passed over because a number was not finite; 0 ends the run.
    pub skip_nonfinite: u64,
    /// Decay of the exponential moving average of the weights; 0 switches it off.
    pub ema: f64,
    /// Flip images at random.
    pub augment: bool,
    /// Share of images held out for the reconstruction error.
    pub heldout: f64,
    /// Warn when fewer codes than this share are used.
    pub warn_usage: f64,
    /// Stop when fewer codes than this share are used at an evaluation; 0 never.
    pub stop_usage: f64,
    /// Evaluate and draw reconstructions every so many steps; 0 only at the end.
    pub eval_every: u64,
    /// Images in the reconstruction grid.
    pub grid: usize,
    /// Seed of everything random.
    pub seed: u64,
    /// Save every so many steps; 0 never by steps.
    pub save_every_steps: u64,
    /// Save every so many minutes; 0 never by time.
    pub save_every_minutes: f64,
    /// Checkpoints kept.
    pub keep_last: usize,
    /// Keep the best checkpoint too, by a number of the evaluation: `max:NAME`, `min:NAME`, or empty.
    pub best: String,
    /// Memory for decoded images before they go to a file, MiB.
    pub cache_mib: usize,
    /// Threads that prepare batches.
    pub workers: usize,
    /// Device: `cpu`, `wgpu`, `wgpu:1`, `cuda`, `cuda:1`.
    pub device: String,
    /// Run folder.
    pub out: String,
}

impl Default for CodebookConfig {
    fn default() -> Self {
        CodebookConfig {
            datasets: Vec::new(),
            modalities: Vec::new(),
            pairs: true,
            label_sets: vec!["*".to_owned()],
            image_size: 256,
            channels: 64,
            multipliers: vec![1, 1, 2, 2, 4],
            blocks: 2,
            codes: 16_384,
            code_dim: 256,
            commitment: 0.25,
            quant_weight: 1.0,
            entropy_weight: 0.05,
            entropy_temperature: 0.01,
            perceptual_weight: 0.0,
            perceptual_vgg: String::new(),
            perceptual_linear: String::new(),
            adversarial_weight: 0.0,
            lecam_weight: 0.05,
            discriminator_channels: 64,
            discriminator_layers: 3,
            batch: 256,
            epochs: 330.0,
            steps: 0,
            learning_rate: 1e-4,
            beta1: 0.5,
            beta2: 0.9,
            milestones: vec![250.0, 300.0],
            warmup_share: 0.0,
            clip_norm: 0.0,
            skip_nonfinite: 0,
            ema: 0.999,
            augment: true,
            heldout: 0.02,
            warn_usage: 0.05,
            stop_usage: 0.0,
            eval_every: 1000,
            grid: 8,
            seed: 1,
            save_every_steps: 1000,
            save_every_minutes: 15.0,
            keep_last: 2,
            best: String::new(),
            cache_mib: 2048,
            workers: 2,
            device: "cpu".to_owned(),
            out: String::new(),
        }
    }
}

impl CodebookConfig {
    /// How many times the encoder shrinks a side.
    pub fn stride(&self) -> usize {
        1 << self.multipliers.len().saturating_sub(1)
    }
}

impl StageConfig for CodebookConfig {
    const KIND: &'static str = "codebook";

    fn check(&self) -> Result<()> {
        training_keys!(self).check()?;
        if !self.pairs && self.label_sets.is_empty() {
            bail!("`pairs` is false and `label_sets` is empty, so there are no images; set one of them");
        }
        in_range("image_size", self.image_size, 8, 4096)?;
        in_range("levels in `multipliers`", self.multipliers.len(), 1, 8)?;
        if !self.image_size.is_multiple_of(self.stride()) {
            bail!(
                "key `image_size` is {}, which {} levels cannot halve; take a multiple of {}",
                self.image_size,
                self.multipliers.len(),
                self.stride()
            );
        }
        in_range("channels", self.channels, 4, 1024)?;
        in_range("blocks", self.blocks, 1, 8)?;
        in_range("codes", self.codes, 2, 1 << 20)?;
        in_range("code_dim", self.code_dim, 2, 4096)?;
        in_range("batch", self.batch, 1, 1 << 16)?;
        in_range("beta1", self.beta1, 0.0, 0.9999)?;
        in_range("beta2", self.beta2, 0.0, 0.999_999)?;
        in_range("commitment", self.commitment, 0.0, 1e6)?;
        in_range("quant_weight", self.quant_weight, 0.0, 1e6)?;
        in_range("entropy_weight", self.entropy_weight, 0.0, 1e6)?;
        in_range("entropy_temperature", self.entropy_temperature, 1e-6, 1e6)?;
        in_range("perceptual_weight", self.perceptual_weight, 0.0, 1e6)?;
        if self.perceptual_weight > 0.0 && self.perceptual_vgg.is_empty() {
            bail!(
                "`perceptual_weight` is {} and `perceptual_vgg` is empty; name torchvision's VGG16 and LPIPS's linear \
                 layers (perceptual_linear), or set perceptual_weight to 0",
                self.perceptual_weight
            );
        }
        if self.perceptual_weight > 0.0 && self.image_size < 16 {
            bail!(
                "key `image_size` is {}; the perceptual term needs at least 16",
                self.image_size
            );
        }
        in_range("adversarial_weight", self.adversarial_weight, 0.0, 1e6)?;
        in_range("lecam_weight", self.lecam_weight, 0.0, 1e6)?;
        in_range("discriminator_channels", self.discriminator_channels, 1, 1024)?;
        in_range("discriminator_layers", self.discriminator_layers, 1, 6)?;
        if self.adversarial_weight > 0.0 && self.image_size >> self.discriminator_layers < 3 {
            bail!(
                "key `image_size` is {}, too small for {} discriminator layers; take at least {}, or fewer layers",
                self.image_size,
                self.discriminator_layers,
                3 << self.discriminator_layers
            );
        }
        in_range("warmup_share", self.warmup_share, 0.0, 0.9)?;
        in_range("ema", self.ema, 0.0, 0.999_999)?;
        in_range("grid", self.grid, 1, 64)?;
        Ok(())
    }

    place_of_a_run!();

    fn essence(&self) -> Self {
        CodebookConfig {
            save_every_steps: 0,
            save_every_minutes: 0.0,
            keep_last: 1,
            cache_mib: 0,
            workers: 1,
            device: String::new(),
            out: String::new(),
            ..self.clone()
        }
    }
}
