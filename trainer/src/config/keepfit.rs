//! Configuration of `trainer keepfit`.

use anyhow::{Result, bail};
use dataset::modality::Modality;
use serde::{Deserialize, Serialize};

use super::mlm::check_text_shape;
use super::{StageConfig, has_datasets, in_range};
use crate::model::towers::Pool;
use crate::text::prompt::{LabelStyle, check_template};

/// Paper or released-code behaviour where the two differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// As the paper's equations say.
    Paper,
    /// As the released code does (softmax over heads, 100-epoch cosine).
    Reference,
}

/// Everything that decides a joint run (Sections IV-C and V-C).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeepfitConfig {
    /// Dataset folders to read.
    pub datasets: Vec<String>,
    /// Modality to train: CFP, FFA or OCT.
    pub modality: Modality,
    /// Label sets of `labels/` to read by name; `["*"]` means all of the modality.
    pub label_sets: Vec<String>,
    /// Vocabulary: a vocab.txt, a folder holding it, or a tokenizer run.
    pub tokenizer: String,
    /// Image-encoder weights: torchvision ResNet, or empty for random ones.
    pub vision_init: String,
    /// Text-encoder weights: an mlm run or a BERT checkpoint, or empty for random ones.
    pub text_init: String,
    /// Codebook: a codebook run or checkpoint; needed when `appearance` is true.
    pub codebook_init: String,
    /// Use pairs whose review status is still `needs-review`.
    pub unreviewed: bool,
    /// Use the MM-Retinal batch: its contrastive loss and both knowledge terms (ablation).
    pub mm: bool,
    /// Semantics-oriented knowledge, eq. 5-10 (ablation).
    pub semantic: bool,
    /// Appearance-oriented knowledge, eq. 11-19 (ablation).
    pub appearance: bool,
    /// `paper` or `reference`.
    pub mode: Mode,
    /// Bottleneck blocks of the four stages.
    pub vision_layers: [usize; 4],
    /// Width of the image encoder's stem.
    pub vision_width: usize,
    /// Width of the text encoder; it and the next four come from `text_init` where that says.
    pub text_hidden: usize,
    /// Text-encoder layers.
    pub text_layers: usize,
    /// Text-encoder attention heads.
    pub text_heads: usize,
    /// Width of the text encoder's feed-forward layer.
    pub text_intermediate: usize,
    /// Longest position the text encoder can take.
    pub text_positions: usize,
    /// Width of the shared space.
    pub proj_dim: usize,
    /// Heads of the knowledge attention.
    pub heads: usize,
    /// Dropout on the knowledge attention's weights.
    pub attention_dropout: f64,
    /// Temperature of eq. 18; 0 means √(d/H).
    pub appearance_tau: f64,
    /// Text pooling.
    pub pooling: Pool,
    /// Dropout in the text encoder.
    pub dropout: f64,
    /// λ₁ of eq. 22.
    pub lambda_semantic: f64,
    /// λ₂ of eq. 22.
    pub lambda_appearance: f64,
    /// Caption template of labels with `[ATR]` and `[CLS]`; empty takes the modality's own.
    pub template: String,
    /// Definitions of categories: `builtin`, `none`, or a TOML file.
    pub definitions: String,
    /// How labels become text: `v1`, `v2`, `plain`.
    pub label_style: LabelStyle,
    /// Side of the square input, pixels.
    pub image_size: usize,
    /// Longest caption, tokens, `[CLS]` and `[SEP]` included.
    pub max_tokens: usize,
    /// Images of the public batch; the MM-Retinal batch has the same size.
    pub batch: usize,
    /// Passes over the public sets; ignored when `steps` is above 0.
    pub epochs: f64,
    /// Optimiser steps; 0 means by epochs.
    pub steps: u64,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Weight decay of AdamW.
    pub weight_decay: f64,
    /// First-moment decay.
    pub beta1: f64,
    /// Second-moment decay.
    pub beta2: f64,
    /// Epsilon of AdamW.
    pub epsilon: f64,
    /// Largest global gradient norm; 0 switches clipping off.
    pub clip_norm: f64,
    /// Epochs of linear warm-up.
    pub warmup_epochs: u64,
    /// Epochs the cosine spans; 0 takes the run's own (paper) or 100 (reference).
    pub horizon_epochs: u64,
    /// Augment the public images.
    pub augment: bool,
    /// Share of the training photographs held out for zero-shot evaluation during training.
    pub heldout: f64,
    /// Evaluate every so many steps; 0 only at the end.
    pub eval_every: u64,
    /// Seed of everything random.
    pub seed: u64,
    /// Save every so many steps; 0 never by steps.
    pub save_every_steps: u64,
    /// Save every so many minutes; 0 never by time.
    pub save_every_minutes: f64,
    /// Checkpoints kept.
    pub keep_last: usize,
    /// Memory for decoded images before they go to a file, MiB.
    pub cache_mib: usize,
    /// Threads that prepare batches.
    pub workers: usize,
    /// Device: `cpu`, `wgpu`, `wgpu:1`.
    pub device: String,
    /// Run folder.
    pub out: String,
}

impl Default for KeepfitConfig {
    fn default() -> Self {
        KeepfitConfig {
            datasets: Vec::new(),
            modality: Modality::Cfp,
            label_sets: vec!["*".to_owned()],
            tokenizer: String::new(),
            vision_init: String::new(),
            text_init: String::new(),
            codebook_init: String::new(),
            unreviewed: true,
            mm: true,
            semantic: true,
            appearance: true,
            mode: Mode::Paper,
            vision_layers: [3, 4, 6, 3],
            vision_width: 64,
            text_hidden: 768,
            text_layers: 12,
            text_heads: 12,
            text_intermediate: 3072,
            text_positions: 512,
            proj_dim: 512,
            heads: 2,
            attention_dropout: 0.5,
            appearance_tau: 0.0,
            pooling: Pool::All,
            dropout: 0.1,
            lambda_semantic: 100.0,
            lambda_appearance: 1e4,
            template: String::new(),
            definitions: "builtin".to_owned(),
            label_style: LabelStyle::V2,
            image_size: 512,
            max_tokens: 256,
            batch: 48,
            epochs: 25.0,
            steps: 0,
            learning_rate: 1e-4,
            weight_decay: 1e-5,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            clip_norm: 1.0,
            warmup_epochs: 1,
            horizon_epochs: 0,
            augment: true,
            heldout: 0.05,
            eval_every: 1000,
            seed: 1,
            save_every_steps: 500,
            save_every_minutes: 15.0,
            keep_last: 2,
            cache_mib: 2048,
            workers: 2,
            device: "cpu".to_owned(),
            out: String::new(),
        }
    }
}

impl StageConfig for KeepfitConfig {
    const KIND: &'static str = "keepfit";

    fn check(&self) -> Result<()> {
        has_datasets(&self.datasets)?;
        if self.modality == Modality::Other {
            bail!("key `modality` is OTHER; train CFP, FFA or OCT");
        }
        if self.label_sets.is_empty() {
            bail!("key `label_sets` is empty; name label sets of the dataset folder, or [\"*\"] for all");
        }
        if !self.mm && (self.semantic || self.appearance) {
            bail!("`mm` is false, but `semantic` and `appearance` draw on MM-Retinal pairs; set both to false");
        }
        if !self.template.is_empty() {
            check_template(&self.template)?;
        }
        if self.vision_layers.contains(&0) {
            bail!(
                "key `vision_layers` is {:?}; every stage needs at least one block",
                self.vision_layers
            );
        }
        in_range("vision_width", self.vision_width, 1, 1024)?;
        check_text_shape(
            self.text_hidden,
            self.text_layers,
            self.text_heads,
            self.text_intermediate,
        )?;
        in_range("proj_dim", self.proj_dim, 2, 8192)?;
        in_range("heads", self.heads, 1, 256)?;
        if !self.proj_dim.is_multiple_of(self.heads) {
            bail!(
                "key `heads` is {}, which does not divide `proj_dim` = {}",
                self.heads,
                self.proj_dim
            );
        }
        in_range("attention_dropout", self.attention_dropout, 0.0, 0.9)?;
        in_range("appearance_tau", self.appearance_tau, 0.0, 1e6)?;
        in_range("dropout", self.dropout, 0.0, 0.9)?;
        in_range("lambda_semantic", self.lambda_semantic, 0.0, 1e9)?;
        in_range("lambda_appearance", self.lambda_appearance, 0.0, 1e9)?;
        in_range("image_size", self.image_size, 32, 4096)?;
        in_range("max_tokens", self.max_tokens, 3, self.text_positions)?;
        in_range("batch", self.batch, 2, 1 << 16)?;
        in_range("epochs", self.epochs, 0.0, 1e6)?;
        in_range("learning_rate", self.learning_rate, 0.0, 1e9)?;
        in_range("weight_decay", self.weight_decay, 0.0, 10.0)?;
        in_range("beta1", self.beta1, 0.0, 0.9999)?;
        in_range("beta2", self.beta2, 0.0, 0.999_999)?;
        in_range("epsilon", self.epsilon, 1e-20, 1.0)?;
        in_range("clip_norm", self.clip_norm, 0.0, 1e9)?;
        in_range("warmup_epochs", self.warmup_epochs, 0, 1_000_000)?;
        in_range("horizon_epochs", self.horizon_epochs, 0, 1_000_000)?;
        in_range("heldout", self.heldout, 0.0, 0.9)?;
        in_range("keep_last", self.keep_last, 1, 1000)?;
        in_range("workers", self.workers, 1, 256)
    }

    fn out(&self) -> &str {
        &self.out
    }

    fn set_out(&mut self, out: &str) {
        out.clone_into(&mut self.out);
    }

    fn device(&self) -> &str {
        &self.device
    }

    fn set_device(&mut self, device: &str) {
        device.clone_into(&mut self.device);
    }

    fn essence(&self) -> Self {
        KeepfitConfig {
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
