//! What a joint run's configuration must keep to.

use anyhow::{Context, Result, bail};
use dataset::modality::Modality;

use super::KeepfitConfig;
use crate::config::mlm::check_text_shape;
use crate::config::shared::{place_of_a_run, training_keys};
use crate::config::{StageConfig, has_chunks, in_range};
use crate::data::ban::BanRules;
use crate::stage::keepfit::rates;
use crate::text::prompt::check_template;

impl StageConfig for KeepfitConfig {
    const KIND: &'static str = "keepfit";

    fn check(&self) -> Result<()> {
        training_keys!(self).check()?;
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
        in_range("semantic_tau", self.semantic_tau, 0.0, 1e6)?;
        if !matches!(self.appearance_kernel, 1 | 3) {
            bail!(
                "key `appearance_kernel` is {}; allowed is 1 or 3",
                self.appearance_kernel
            );
        }
        in_range("attention_dropout", self.attention_dropout, 0.0, 0.9)?;
        in_range("appearance_tau", self.appearance_tau, 0.0, 1e6)?;
        if self.appearance && self.appearance_tied && !self.semantic {
            bail!(
                "`appearance_tied` takes W_V and W_O of the semantic branch; set semantic to true or appearance_tied to false"
            );
        }
        in_range("dropout", self.dropout, 0.0, 0.9)?;
        in_range("lambda_semantic", self.lambda_semantic, 0.0, 1e9)?;
        in_range("lambda_appearance", self.lambda_appearance, 0.0, 1e9)?;
        in_range("appearance_ramp_epochs", self.appearance_ramp_epochs, 0.0, 1e6)?;
        in_range("image_size", self.image_size, 32, 4096)?;
        in_range("max_tokens", self.max_tokens, 3, self.text_positions)?;
        in_range("batch", self.batch, 2, 1 << 16)?;
        in_range("accumulate", self.accumulate, 1, self.batch)?;
        if !self.batch.is_multiple_of(self.accumulate) {
            bail!(
                "key `accumulate` is {}, which does not divide `batch` = {}; chunks must have one size",
                self.accumulate,
                self.batch
            );
        }
        has_chunks(self.accumulate, &self.device)?;
        crate::device::may_compute_in(&self.device, self.precision)?;
        if self.accumulate > 1 && self.term_norms_every > 0 {
            bail!("`term_norms_every` passes whole batches through the model; set it to 0 with accumulate > 1");
        }
        in_range("weight_decay", self.weight_decay, 0.0, 10.0)?;
        in_range("beta1", self.beta1, 0.0, 0.9999)?;
        in_range("beta2", self.beta2, 0.0, 0.999_999)?;
        in_range("epsilon", self.epsilon, 1e-20, 1.0)?;
        rates::prefixes(&self.freeze)?;
        in_range("rate_vision", self.rate_vision, 0.0, 1e6)?;
        in_range("rate_text", self.rate_text, 0.0, 1e6)?;
        in_range("layer_decay", self.layer_decay, 0.01, 1.0)?;
        BanRules::parse(&self.ban_categories).context("key `ban_categories`")?;
        in_range("warmup_epochs", self.warmup_epochs, 0, 1_000_000)?;
        in_range("horizon_epochs", self.horizon_epochs, 0, 1_000_000)?;
        Ok(())
    }

    place_of_a_run!();

    fn essence(&self) -> Self {
        KeepfitConfig {
            save_every_steps: 0,
            save_every_minutes: 0.0,
            keep_last: 1,
            cache_mib: 0,
            workers: 1,
            checkpointing: false,
            device: String::new(),
            out: String::new(),
            ..self.clone()
        }
    }
}
