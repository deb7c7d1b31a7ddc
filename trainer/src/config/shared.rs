//! What the configs of the three trainings have in common: keys of the same name and meaning.

use anyhow::Result;

use super::{has_datasets, in_range};
use crate::stage::best::Best;

/// Values of the keys that every training has, for one check of their ranges.
pub(super) struct TrainingKeys<'a> {
    pub datasets: &'a [String],
    pub epochs: f64,
    pub learning_rate: f64,
    pub clip_norm: f64,
    pub skip_nonfinite: u64,
    pub heldout: f64,
    pub keep_last: usize,
    pub best: &'a str,
    pub workers: usize,
}

impl TrainingKeys<'_> {
    /// Refuses values outside their range.
    pub fn check(&self) -> Result<()> {
        has_datasets(self.datasets)?;
        in_range("epochs", self.epochs, 0.0, 1e6)?;
        in_range("learning_rate", self.learning_rate, 0.0, 1e9)?;
        in_range("clip_norm", self.clip_norm, 0.0, 1e9)?;
        in_range("skip_nonfinite", self.skip_nonfinite, 0, 1_000_000)?;
        in_range("heldout", self.heldout, 0.0, 0.9)?;
        in_range("keep_last", self.keep_last, 1, 1000)?;
        Best::parse(self.best)?;
        in_range("workers", self.workers, 1, 256)
    }
}

/// The [`TrainingKeys`] of a config, by the names of its fields.
macro_rules! training_keys {
    ($config:expr) => {
        $crate::config::shared::TrainingKeys {
            datasets: &$config.datasets,
            epochs: $config.epochs,
            learning_rate: $config.learning_rate,
            clip_norm: $config.clip_norm,
            skip_nonfinite: $config.skip_nonfinite,
            heldout: $config.heldout,
            keep_last: $config.keep_last,
            best: &$config.best,
            workers: $config.workers,
        }
    };
}

/// The methods of [`super::StageConfig`] that read and set the place of a run.
macro_rules! place_of_a_run {
    () => {
        fn datasets(&self) -> &[String] {
            &self.datasets
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
    };
}

pub(super) use {place_of_a_run, training_keys};
