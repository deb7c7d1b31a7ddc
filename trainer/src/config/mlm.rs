//! Configuration of `trainer mlm`.

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use super::shared::{place_of_a_run, training_keys};
use super::{StageConfig, has_chunks, in_range};
use crate::model::precision::Precision;

/// Everything that decides a masked-language run (Section IV-B).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MlmConfig {
    /// Dataset folders to read.
    pub datasets: Vec<String>,
    /// Languages to read (`en`, `zh`); empty means all.
    pub languages: Vec<String>,
    /// Read the captions of `data/` as utterances too.
    pub captions: bool,
    /// Vocabulary: a vocab.txt, a folder holding it, or a tokenizer run.
    pub tokenizer: String,
    /// Weights to start from: a BERT checkpoint, or empty for random ones.
    pub text_init: String,
    /// Width of the encoder (when it starts from random weights, as the next four).
    pub text_hidden: usize,
    /// Encoder layers.
    pub text_layers: usize,
    /// Attention heads.
    pub text_heads: usize,
    /// Width of the feed-forward layer.
    pub text_intermediate: usize,
    /// Longest position the encoder can take.
    pub text_positions: usize,
    /// Longest utterance, tokens, `[CLS]` and `[SEP]` included.
    pub max_tokens: usize,
    /// Share of pieces (or words) chosen for prediction.
    pub mask_probability: f64,
    /// Choose whole words.
    pub whole_word: bool,
    /// Utterances in a batch.
    pub batch: usize,
    /// Chunks that a batch is cut into, to save memory or to share it between devices; the gradients are the
    /// whole batch's.
    pub accumulate: usize,
    /// Keep each layer's input alone for the backward pass and compute the rest again: less memory, more time.
    pub checkpointing: bool,
    /// What linear layers, convolutions and attention multiply in: `f32`, or `bf16` where the device can.
    pub precision: Precision,
    /// Passes over the training share; ignored when `steps` is above 0.
    pub epochs: f64,
    /// Optimiser steps; 0 means by epochs.
    pub steps: u64,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Weight decay of AdamW.
    pub weight_decay: f64,
    /// Second-moment decay etc. are AdamW's usual (0.9, 0.999); this is its epsilon.
    pub epsilon: f64,
    /// Largest global gradient norm; 0 switches clipping off.
    pub clip_norm: f64,
    /// Steps in a row that may be passed over because a number was not finite; 0 ends the run.
    pub skip_nonfinite: u64,
    /// Share of the steps spent warming up linearly.
    pub warmup_share: f64,
    /// Dropout in the encoder.
    pub dropout: f64,
    /// Share of utterances held out for perplexity and accuracy.
    pub heldout: f64,
    /// Held-out utterances used at each evaluation, at most.
    pub heldout_limit: usize,
    /// Seed of everything random.
    pub seed: u64,
    /// Evaluate every so many steps; 0 only at the end.
    pub eval_every: u64,
    /// Save every so many steps; 0 never by steps.
    pub save_every_steps: u64,
    /// Save every so many minutes; 0 never by time.
    pub save_every_minutes: f64,
    /// Checkpoints kept.
    pub keep_last: usize,
    /// Keep the best checkpoint too, by a number of the evaluation: `max:NAME`, `min:NAME`, or empty.
    pub best: String,
    /// Threads that prepare batches.
    pub workers: usize,
    /// Device: `cpu`, `wgpu`, `wgpu:1`, `cuda`, `cuda:1`; several share the chunks of `accumulate`: `cpu:0,cpu:1`.
    pub device: String,
    /// Run folder.
    pub out: String,
}

impl Default for MlmConfig {
    fn default() -> Self {
        MlmConfig {
            datasets: Vec::new(),
            languages: vec!["en".to_owned()],
            captions: false,
            tokenizer: String::new(),
            text_init: String::new(),
            text_hidden: 768,
            text_layers: 12,
            text_heads: 12,
            text_intermediate: 3072,
            text_positions: 512,
            max_tokens: 256,
            mask_probability: 0.15,
            whole_word: false,
            batch: 32,
            accumulate: 1,
            checkpointing: false,
            precision: Precision::F32,
            epochs: 3.0,
            steps: 0,
            learning_rate: 5e-5,
            weight_decay: 0.01,
            epsilon: 1e-8,
            clip_norm: 1.0,
            skip_nonfinite: 0,
            warmup_share: 0.06,
            dropout: 0.1,
            heldout: 0.05,
            heldout_limit: 2000,
            seed: 1,
            eval_every: 1000,
            save_every_steps: 1000,
            save_every_minutes: 15.0,
            keep_last: 2,
            best: String::new(),
            workers: 2,
            device: "cpu".to_owned(),
            out: String::new(),
        }
    }
}

impl StageConfig for MlmConfig {
    const KIND: &'static str = "mlm";

    fn check(&self) -> Result<()> {
        training_keys!(self).check()?;
        if self.tokenizer.is_empty() {
            bail!("key `tokenizer` is empty; name a vocab.txt or a run folder of `trainer tokenizer`");
        }
        check_text_shape(
            self.text_hidden,
            self.text_layers,
            self.text_heads,
            self.text_intermediate,
        )?;
        in_range("max_tokens", self.max_tokens, 3, self.text_positions)?;
        in_range("mask_probability", self.mask_probability, 0.01, 0.9)?;
        in_range("batch", self.batch, 1, 1 << 16)?;
        in_range("accumulate", self.accumulate, 1, self.batch)?;
        has_chunks(self.accumulate, &self.device)?;
        crate::device::may_compute_in(&self.device, self.precision)?;
        in_range("weight_decay", self.weight_decay, 0.0, 10.0)?;
        in_range("epsilon", self.epsilon, 1e-20, 1.0)?;
        in_range("warmup_share", self.warmup_share, 0.0, 0.9)?;
        in_range("dropout", self.dropout, 0.0, 0.9)?;
        Ok(())
    }

    place_of_a_run!();

    fn essence(&self) -> Self {
        MlmConfig {
            save_every_steps: 0,
            save_every_minutes: 0.0,
            keep_last: 1,
            workers: 1,
            checkpointing: false,
            device: String::new(),
            out: String::new(),
            ..self.clone()
        }
    }
}

/// Refuses text-encoder shapes that cannot be built.
pub(super) fn check_text_shape(hidden: usize, layers: usize, heads: usize, intermediate: usize) -> Result<()> {
    in_range("text_hidden", hidden, 4, 8192)?;
    in_range("text_layers", layers, 1, 96)?;
    in_range("text_heads", heads, 1, 256)?;
    in_range("text_intermediate", intermediate, 4, 65536)?;
    if !hidden.is_multiple_of(heads) {
        bail!("key `text_heads` is {heads}, which does not divide `text_hidden` = {hidden}");
    }
    Ok(())
}
