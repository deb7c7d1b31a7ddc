//! Run configurations: one flat TOML a run, strict about its keys.
//!
//! Paths in a config are relative to the current directory. `--set key=value` changes single keys;
//! the resolved config is written into the run folder and is what a resumed run reads.

mod codebook;
pub mod keepfit;
mod mlm;
mod shared;
mod source;
mod tokenizer;

pub use codebook::CodebookConfig;
pub use keepfit::KeepfitConfig;
pub use mlm::MlmConfig;
pub use source::{load, parse};
pub use tokenizer::TokenizerConfig;

use anyhow::{Result, bail};
use serde::{Serialize, de::DeserializeOwned};

/// A stage's configuration.
pub trait StageConfig: Serialize + DeserializeOwned + Default + Clone + PartialEq {
    /// The stage's name: `tokenizer`, `mlm`, `codebook`, `keepfit`.
    const KIND: &'static str;

    /// Refuses values outside their range, naming key, value and what is allowed.
    ///
    /// # Errors
    /// The first value that cannot work.
    fn check(&self) -> Result<()>;

    /// Dataset folders to read.
    fn datasets(&self) -> &[String];

    /// Where the run folder goes when no flag says so.
    fn out(&self) -> &str;

    /// Sets the run folder.
    fn set_out(&mut self, out: &str);

    /// Device name, `cpu` or `wgpu…`; several with commas between.
    fn device(&self) -> &str;

    /// Sets the device name.
    fn set_device(&mut self, device: &str);

    /// The config without what may differ between a run and its continuation (place, device,
    /// threads, how often to save).
    fn essence(&self) -> Self;
}

/// Refuses a number outside `range`.
pub(crate) fn in_range<T: PartialOrd + std::fmt::Display>(key: &str, value: T, low: T, high: T) -> Result<()> {
    if value < low || value > high || value.partial_cmp(&value).is_none() {
        bail!("key `{key}` is {value}; allowed is {low} to {high}");
    }
    Ok(())
}

/// Refuses more devices than a batch has chunks.
pub(crate) fn has_chunks(accumulate: usize, devices: &str) -> Result<()> {
    let count = crate::device::check_names(devices)?.len();
    if count > accumulate {
        bail!(
            "key `device` names {count} devices ({devices}), but `accumulate` is {accumulate}; devices share the chunks of a \
             batch: set accumulate to {count} or a multiple of it"
        );
    }
    Ok(())
}

/// Refuses an empty list of dataset folders.
pub(crate) fn has_datasets(datasets: &[String]) -> Result<()> {
    if datasets.is_empty() {
        bail!("key `datasets` is empty; name at least one dataset folder, as made by `ingest`");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn shipped<C: StageConfig>(sizes: &[&str]) {
        for size in sizes {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("configs")
                .join(format!("{size}-{}.toml", C::KIND));
            let config: C = load(&path, &[]).unwrap();
            config.check().unwrap();
            // Every key stands in the file, so that one page shows the whole run.
            let text = std::fs::read_to_string(&path).unwrap();
            let table: toml::Table = toml::from_str(&text).unwrap();
            let keys = serde_json::to_value(&config).unwrap();
            for key in keys.as_object().unwrap().keys() {
                assert!(
                    table.contains_key(key),
                    "{}: key {key} is not written out",
                    path.display()
                );
            }
        }
    }

    #[test]
    fn every_shipped_config_is_complete_and_sound() {
        let sizes = ["tiny", "small", "paper"];
        shipped::<TokenizerConfig>(&sizes);
        shipped::<MlmConfig>(&sizes);
        shipped::<CodebookConfig>(&["tiny", "lite", "small", "paper"]);
        shipped::<KeepfitConfig>(&sizes);
    }

    #[test]
    fn the_paper_keepfit_config_equals_the_defaults() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/paper-keepfit.toml");
        let config: KeepfitConfig = load(&path, &[]).unwrap();
        let defaults = KeepfitConfig::default();
        assert_eq!(
            (config.learning_rate, config.weight_decay),
            (defaults.learning_rate, defaults.weight_decay)
        );
        assert_eq!((config.image_size, config.max_tokens, config.batch), (512, 256, 48));
        assert_eq!((config.lambda_semantic, config.lambda_appearance), (100.0, 1e4));
    }
}
