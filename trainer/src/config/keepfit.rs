//! Configuration of `trainer keepfit`.

mod check;

use dataset::modality::Modality;
use serde::{Deserialize, Serialize};

use crate::data::leakage::OnLeak;
use crate::loss::knowledge::Reduction;
use crate::model::keepfit::{Stop, Summary};
use crate::model::precision::Precision;
use crate::model::towers::Pool;
use crate::text::prompt::LabelStyle;

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
    /// Text-encoder weights before textual pretraining (Bio_ClinicalBERT), for `textual = false`; empty for
    /// random ones.
    pub text_base: String,
    /// Word rules of categories whose rows are left out of training (unseen-class experiments).
    pub ban_categories: Vec<String>,
    /// Leave out MM-Retinal pairs whose caption matches a rule of `ban_categories` as well.
    pub ban_pairs: bool,
    /// Dataset folders whose labelled images are test images, besides the test rows of `datasets`.
    pub test_datasets: Vec<String>,
    /// What happens to training images that are test images too: `drop`, `warn` or `stop`.
    pub on_leak: OnLeak,
    /// Use pairs whose review status is still `needs-review`.
    pub unreviewed: bool,
    /// Use the MM-Retinal batch: its contrastive loss and both knowledge terms (ablation).
    pub mm: bool,
    /// Semantics-oriented knowledge, eq. 5-10 (ablation).
    pub semantic: bool,
    /// Textual pretraining, Section IV-B: start from `text_init`; false starts from `text_base` (ablation).
    pub textual: bool,
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
    /// Temperature of eq. 7; 0 means √(d/H).
    pub semantic_tau: f64,
    /// Kernel of the convolution before the quantiser: 1, or 3 as the V2 line has it.
    pub appearance_kernel: usize,
    /// Temperature of eq. 18; 0 means √(d/H).
    pub appearance_tau: f64,
    /// Train the temperature of eq. 18, starting at `appearance_tau`.
    pub appearance_tau_learnt: bool,
    /// Take W_V and W_O of the semantic branch in the appearance branch too.
    pub appearance_tied: bool,
    /// What the appearance attention sees of a quantised map: `mean`, `flatten` or `histogram`.
    pub appearance_summary: Summary,
    /// Text pooling.
    pub pooling: Pool,
    /// Dropout in the text encoder.
    pub dropout: f64,
    /// λ₁ of eq. 22.
    pub lambda_semantic: f64,
    /// λ₂ of eq. 22.
    pub lambda_appearance: f64,
    /// Epochs over which λ₂ rises linearly from 0; 0 has it whole from the first step.
    pub appearance_ramp_epochs: f64,
    /// Squared differences of eq. 20-21 over dimensions: `mean` or `sum`.
    pub knowledge_reduction: Reduction,
    /// Where the knowledge terms send no gradient: `pair-texts`, `knowledge`, `public-texts`.
    pub stop_gradient: Vec<Stop>,
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
    /// Chunks that a batch is cut into to save memory; the contrastive loss still compares all its rows.
    pub accumulate: usize,
    /// Keep the inputs of the towers' layers alone for the backward pass and compute the rest again: less memory,
    /// more time, the same gradients.
    pub checkpointing: bool,
    /// What linear layers, convolutions and attention multiply in: `f32`, or `bf16` where the device can.
    pub precision: Precision,
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
    /// Parts that are not trained: `vision`, `text`, `vision_projection`, …, or prefixes of weight names.
    pub freeze: Vec<String>,
    /// Factor on the learning rate of the image encoder.
    pub rate_vision: f64,
    /// Factor on the learning rate of the text encoder.
    pub rate_text: f64,
    /// Factor on the rate from each layer of the encoders to the one below.
    pub layer_decay: f64,
    /// Steps in a row that may be passed over because a number was not finite; 0 ends the run.
    pub skip_nonfinite: u64,
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
    /// Report each loss term's own gradient norm every so many steps (a pass a term); 0 never.
    pub term_norms_every: u64,
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
    /// Device: `cpu`, `wgpu`, `wgpu:1`, `cuda`, `cuda:1`; several share the chunks of `accumulate`: `cpu:0,cpu:1`.
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
            text_base: String::new(),
            ban_categories: Vec::new(),
            ban_pairs: false,
            test_datasets: Vec::new(),
            on_leak: OnLeak::Drop,
            unreviewed: true,
            mm: true,
            semantic: true,
            textual: true,
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
            semantic_tau: 0.0,
            appearance_kernel: 1,
            appearance_tau: 0.0,
            appearance_tau_learnt: false,
            appearance_tied: false,
            appearance_summary: Summary::Mean,
            pooling: Pool::All,
            dropout: 0.1,
            lambda_semantic: 100.0,
            lambda_appearance: 1e4,
            appearance_ramp_epochs: 0.0,
            knowledge_reduction: Reduction::Mean,
            stop_gradient: Vec::new(),
            template: String::new(),
            definitions: "builtin".to_owned(),
            label_style: LabelStyle::V2,
            image_size: 512,
            max_tokens: 256,
            batch: 48,
            accumulate: 1,
            checkpointing: false,
            precision: Precision::F32,
            epochs: 25.0,
            steps: 0,
            learning_rate: 1e-4,
            weight_decay: 1e-5,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            clip_norm: 1.0,
            freeze: Vec::new(),
            rate_vision: 1.0,
            rate_text: 1.0,
            layer_decay: 1.0,
            skip_nonfinite: 0,
            warmup_epochs: 1,
            horizon_epochs: 0,
            augment: true,
            heldout: 0.05,
            eval_every: 1000,
            term_norms_every: 0,
            seed: 1,
            save_every_steps: 500,
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
