//! The images an autoencoder learns from.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use dataset::modality::Modality;
use rand::RngExt;

use crate::config::CodebookConfig;
use crate::data::Rejected;
use crate::data::ban::BanRules;
use crate::data::images::ImageStore;
use crate::data::labels::{LabelQuery, load_labelled};
use crate::data::leakage::{OnLeak, TestImages};
use crate::data::pairs::{PairQuery, load_pairs};
use crate::data::sampler::EpochSampler;
use crate::data::seeds::{Purpose, generator};

/// Prepared images, split into training and held-out ones.
pub(super) struct Images {
    pub(super) store: ImageStore,
    pub(super) training: Vec<usize>,
    pub(super) held: Vec<usize>,
    pub(super) sampler: Mutex<EpochSampler>,
    pub(super) augment: bool,
    pub(super) seed: u64,
}

impl Images {
    /// Values of a batch in [−1, 1], `[batch, 3, side, side]` row-major.
    pub(super) fn batch(&self, step: u64) -> Result<Vec<f32>> {
        let draws = self.sampler.lock().unwrap_or_else(PoisonError::into_inner).draw(step);
        let mut values = Vec::new();
        for draw in draws {
            let mut planes = self.store.planes(self.training[draw.index])?;
            if self.augment && generator(self.seed, Purpose::Augment, draw.position).random_bool(0.5) {
                planes.chunks_exact_mut(self.store.side()).for_each(<[f32]>::reverse);
            }
            values.extend(planes.into_iter().map(|value| value * 2.0 - 1.0));
        }
        Ok(values)
    }

    /// Images shown and measured at evaluations: held out, or training images where none are.
    pub(super) fn shown(&self) -> &[usize] {
        if self.held.is_empty() {
            &self.training
        } else {
            &self.held
        }
    }
}

/// Modalities of a config; empty means all but OTHER.
fn modalities(names: &[String]) -> Result<Vec<Modality>> {
    if names.is_empty() {
        return Ok(vec![Modality::Cfp, Modality::Ffa, Modality::Oct]);
    }
    names
        .iter()
        .map(|name| name.parse().with_context(|| "key `modalities`".to_owned()))
        .collect()
}

pub(super) type Keyed = Vec<(usize, String)>;

/// Reads the images that a config names, each with a key that decides whether it is held out.
pub(super) fn load_images(config: &CodebookConfig, spool: &Path) -> Result<(ImageStore, Keyed, Vec<Rejected>)> {
    let modalities = modalities(&config.modalities)?;
    let tests = TestImages::read(&config.datasets, &[])?;
    let ban = BanRules::default();
    let mut store = ImageStore::new(config.image_size, config.cache_mib, spool);
    let (mut keys, mut rejected) = (Vec::new(), Vec::new());
    if config.pairs {
        let query = PairQuery {
            datasets: &config.datasets,
            modalities: &modalities,
            with_unreviewed: true,
            without_caption: true,
            ban: &ban,
            tests: &tests,
            on_leak: OnLeak::Drop,
        };
        let set = load_pairs(&query, &mut store)?;
        keys.extend(set.pairs.into_iter().map(|pair| (pair.image, pair.id)));
        rejected.extend(set.rejected);
    }
    if !config.label_sets.is_empty() {
        let query = LabelQuery {
            datasets: &config.datasets,
            label_sets: &config.label_sets,
            modalities: &modalities,
            ban: &ban,
            tests: &tests,
            on_leak: OnLeak::Drop,
        };
        let set = load_labelled(&query, &mut store)?;
        keys.extend(set.images.into_iter().map(|image| (image.image, image.group)));
        rejected.extend(set.rejected);
    }
    if keys.is_empty() {
        bail!(
            "no usable image with split \"train\" in {} for modalities {:?} ({} unreadable); add some with `ingest book` or `ingest labels`",
            config.datasets.join(", "),
            modalities,
            rejected.len()
        );
    }
    Ok((store, keys, rejected))
}
