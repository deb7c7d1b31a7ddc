//! Where an image's expert knowledge comes from: which MM-Retinal pairs each extraction module attends to.
//!
//! In training the modules see one batch of pairs at a time; here they attend to all pairs of the dataset
//! folders at once, so that the answer does not depend on a draw.

use anyhow::{Result, bail};
use burn::tensor::Tensor;
use image::RgbImage;
use serde::Serialize;

use crate::data::ban::BanRules;
use crate::data::images::ImageStore;
use crate::data::leakage::{OnLeak, TestImages};
use crate::data::pairs::{PairQuery, load_pairs};
use crate::embed::Embedder;
use crate::model::keepfit::Looks;
use crate::model::walk::to_vec;

/// Pairs put through the model together.
const TOGETHER: usize = 16;
/// Memory for the prepared pictures of the pairs, MiB; beyond it they go to a temporary file.
const CACHE_MIB: usize = 512;

/// One pair that an image draws on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Match {
    /// Row id of the pair.
    pub id: String,
    /// Its English caption.
    pub caption: String,
    /// Share of the attention, mean over the heads, 0..1.
    pub weight: f32,
    /// Share of each head's attention.
    pub heads: Vec<f32>,
}

/// What an image's knowledge draws on, largest share first; None for a branch that the model has not.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Provenance {
    /// Semantics-oriented extraction (eq. 5-10).
    pub semantic: Option<Vec<Match>>,
    /// Appearance-oriented extraction (eq. 16-19).
    pub appearance: Option<Vec<Match>>,
}

/// The pairs that knowledge is drawn from, as a model's extraction modules see them.
pub struct KnowledgeBank {
    ids: Vec<String>,
    captions: Vec<String>,
    looks: Looks,
}

impl KnowledgeBank {
    /// Reads the training pairs of the model's modality from `datasets` and passes them through the model.
    ///
    /// # Errors
    /// The model extracts no knowledge, a folder cannot be read, or it holds no usable pair.
    pub fn read(embedder: &Embedder, datasets: &[String]) -> Result<Self> {
        let config = embedder.config();
        if !config.semantic && !config.appearance {
            bail!("this model extracts no knowledge (semantic and appearance are false), so nothing can be traced");
        }
        let modalities = [config.modality];
        let (ban, none) = (BanRules::parse(&config.ban_categories)?, BanRules::default());
        let query = PairQuery {
            datasets,
            modalities: &modalities,
            with_unreviewed: config.unreviewed,
            without_caption: false,
            ban: if config.ban_pairs { &ban } else { &none },
            tests: &TestImages::read(datasets, &[])?,
            on_leak: OnLeak::Drop,
        };
        let mut store = ImageStore::new(config.image_size, CACHE_MIB, &std::env::temp_dir());
        let set = load_pairs(&query, &mut store)?;
        if set.pairs.is_empty() {
            bail!(
                "no usable {} pair in {}; give the dataset folders that the model was trained on",
                config.modality,
                datasets.join(", ")
            );
        }
        let (mut projected, mut tokens) = (Vec::new(), Vec::new());
        let progress = dataset::progress::bar(Some(set.pairs.len() as u64), "reading the pairs' pictures");
        for chunk in set.pairs.chunks(TOGETHER) {
            let mut planes = Vec::new();
            for pair in chunk {
                planes.extend(store.planes(pair.image)?);
            }
            let looks = embedder.look(planes, chunk.len());
            projected.push(looks.projected);
            tokens.extend(looks.tokens);
            progress.inc(chunk.len() as u64);
        }
        progress.finish();
        let (ids, captions) = set.pairs.into_iter().map(|pair| (pair.id, pair.caption)).unzip();
        Ok(KnowledgeBank {
            ids,
            captions,
            looks: Looks {
                projected: Tensor::cat(projected, 0),
                tokens: (!tokens.is_empty()).then(|| Tensor::cat(tokens, 0)),
            },
        })
    }

    /// Number of pairs.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The `top` pairs that each of `images` (upright RGB) draws on most, in order of the images.
    ///
    /// # Errors
    /// An image without pixels.
    pub fn trace(&self, embedder: &Embedder, images: &[RgbImage], top: usize) -> Result<Vec<Provenance>> {
        let mut found = Vec::with_capacity(images.len());
        for chunk in images.chunks(TOGETHER) {
            let queries = embedder.look(embedder.planes(chunk)?, chunk.len());
            let (semantic, appearance) = embedder.model().attention_over(&queries, &self.looks);
            let [mut semantic, mut appearance] =
                [semantic, appearance].map(|weights| weights.map(|weights| self.matches(&weights, top).into_iter()));
            for _ in chunk {
                found.push(Provenance {
                    semantic: semantic.as_mut().and_then(Iterator::next),
                    appearance: appearance.as_mut().and_then(Iterator::next),
                });
            }
        }
        Ok(found)
    }

    /// The largest shares of each query; `weights` `[heads, queries, pairs]`.
    fn matches(&self, weights: &Tensor<3>, top: usize) -> Vec<Vec<Match>> {
        let [heads, queries, pairs] = weights.dims();
        let values = to_vec(weights);
        (0..queries)
            .map(|query| {
                let shares: Vec<Vec<f32>> = (0..heads)
                    .map(|head| shares(&values[(head * queries + query) * pairs..][..pairs]))
                    .collect();
                let mean = |pair: usize| shares.iter().map(|row| row[pair]).sum::<f32>() / heads as f32;
                let mut order: Vec<usize> = (0..pairs).collect();
                order.sort_by(|a, b| mean(*b).total_cmp(&mean(*a)).then(a.cmp(b)));
                order
                    .into_iter()
                    .take(top)
                    .map(|pair| Match {
                        id: self.ids[pair].clone(),
                        caption: self.captions[pair].clone(),
                        weight: mean(pair),
                        heads: shares.iter().map(|row| row[pair]).collect(),
                    })
                    .collect()
            })
            .collect()
    }
}

/// Weights scaled to sum to 1: with the softmax over heads of the released code they do not.
fn shares(weights: &[f32]) -> Vec<f32> {
    let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
    weights
        .iter()
        .map(|weight| (f64::from(*weight) / total.max(f64::MIN_POSITIVE)) as f32)
        .collect()
}

/// Dataset folders to trace in: those given, or those of the run's config.
///
/// # Errors
/// None are given and those of the run are not there.
pub fn folders(embedder: &Embedder, given: &[String]) -> Result<Vec<String>> {
    let folders = if given.is_empty() {
        embedder.config().datasets.clone()
    } else {
        given.to_vec()
    };
    if let Some(gone) = folders.iter().find(|folder| !std::path::Path::new(folder).is_dir()) {
        bail!("{gone}: there is no such dataset folder; name the folders of the run with --dataset");
    }
    Ok(folders)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::walk::from_vec;
    use burn::tensor::Device;

    #[test]
    fn the_largest_mean_share_comes_first() {
        let device = Device::flex();
        let bank = KnowledgeBank {
            ids: vec!["a".into(), "b".into(), "c".into()],
            captions: vec![String::new(); 3],
            looks: Looks {
                projected: Tensor::zeros([3, 1], &device),
                tokens: None,
            },
        };
        // Two heads, one query; the second head's weights do not sum to 1.
        let weights = from_vec(vec![0.2, 0.5, 0.3, 0.1, 0.1, 0.6], [2, 1, 3], &device);
        let found = bank.matches(&weights, 2);
        let ids: Vec<&str> = found[0].iter().map(|found| found.id.as_str()).collect();
        assert_eq!(ids, ["c", "b"]);
        assert!((found[0][0].weight - (0.3 + 0.75) / 2.0).abs() < 1e-6);
        assert!((found[0][1].heads[1] - 0.125).abs() < 1e-6);
    }
}
