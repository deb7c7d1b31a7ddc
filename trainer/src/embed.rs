//! A trained model rebuilt from its run folder alone, for evaluation and export.
//!
//! Texts are embedded one by one, each at its own length: with pooling over all positions an
//! embedding depends on the padding of its batch, so neighbours would change the result.

mod map;
mod released;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use burn::tensor::Device;
use dataset::modality::Modality;
use image::RgbImage;

use crate::checkpoint::MODEL_FILE;
use crate::config::{KeepfitConfig, load};
use crate::device;
use crate::image::prepare::{prepare, preprocessing_id};
use crate::model::keepfit::{KeepFitConfig, KeepFitModel, Looks};
use crate::model::walk::{from_vec, ints, to_vec};
use crate::run_folder::{CONFIG_FILE, RUN_FILE, read_facts};
use crate::stage::keepfit::batches::tokenize;
use crate::text::wordpiece::WordPieceTokenizer;
use crate::weights::load::{Allow, apply, canonical, read};

pub use map::FeatureMap;
pub use released::ReleasedShape;

/// Images put through the model together.
const TOGETHER: usize = 8;

/// What the image encoder says of one image.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageFeatures {
    /// Average-pooled features, not normalised; what the linear probe uses.
    pub features: Vec<f32>,
    /// Unit vector in the shared space.
    pub projected: Vec<f32>,
}

/// A trained KeepFIT model with its tokeniser and preprocessing.
pub struct Embedder {
    model: KeepFitModel,
    tokenizer: WordPieceTokenizer,
    config: KeepfitConfig,
    device: Device,
    logit_scale: f32,
    sha256: String,
}

impl Embedder {
    /// Opens a run folder, a checkpoint folder within one, or a `model.safetensors` within either.
    ///
    /// # Errors
    /// No such file, no run folder around it, another kind of run, or weights of another shape.
    pub fn open(checkpoint: &Path, device_name: &str) -> Result<Self> {
        let device = device::select(device_name)?;
        let weights = find_weights(checkpoint)?;
        let run = find_run(&weights)?;
        let facts = read_facts(&run)?;
        if facts.kind != "keepfit" {
            bail!(
                "{}: is a {} run; embedding needs a run of `trainer keepfit`",
                run.display(),
                facts.kind
            );
        }
        let shape: KeepFitConfig = serde_json::from_value(facts.model).with_context(|| {
            format!(
                "{}: its `model` is not one of this version",
                run.join(RUN_FILE).display()
            )
        })?;
        let config: KeepfitConfig = load(&run.join(CONFIG_FILE), &[])?;
        let tokenizer = WordPieceTokenizer::open(&run)?;
        let mut model = KeepFitModel::init(&shape, 0, &device)?;
        let tensors = canonical(read(&weights)?)?;
        apply(&mut model, tensors, &Allow::nothing()).with_context(|| weights.display().to_string())?;
        let logit_scale = to_vec(&model.logit_scale)[0];
        let sha256 = dataset::hash::sha256_file(&weights)?;
        Ok(Embedder {
            model,
            tokenizer,
            config,
            device,
            logit_scale,
            sha256,
        })
    }

    /// Features and shared-space vectors of upright RGB images, in order.
    ///
    /// # Errors
    /// An image without pixels.
    pub fn embed_images(&self, images: &[RgbImage]) -> Result<Vec<ImageFeatures>> {
        let side = self.config.image_size;
        let mut found = Vec::with_capacity(images.len());
        for chunk in images.chunks(TOGETHER) {
            let planes = self.planes(chunk)?;
            let embedded = self
                .model
                .encode_images(from_vec(planes, [chunk.len(), 3, side, side], &self.device));
            let (wide, width) = (embedded.features.dims()[1], embedded.projected.dims()[1]);
            let (features, projected) = (to_vec(&embedded.features), to_vec(&embedded.projected));
            found.extend(features.chunks_exact(wide).zip(projected.chunks_exact(width)).map(
                |(features, projected)| ImageFeatures {
                    features: features.to_vec(),
                    projected: projected.to_vec(),
                },
            ));
        }
        Ok(found)
    }

    /// Images as the model takes them, `[count, 3, side, side]` row-major.
    pub(crate) fn planes(&self, images: &[RgbImage]) -> Result<Vec<f32>> {
        let side = self.config.image_size;
        let mut planes = vec![0.0; images.len() * 3 * side * side];
        for (image, planes) in images.iter().zip(planes.chunks_exact_mut(3 * side * side)) {
            prepare(image, side)?.write_planes(side, planes);
        }
        Ok(planes)
    }

    /// What the knowledge branches see of `count` images given as [`Embedder::planes`] gives them.
    pub(crate) fn look(&self, planes: Vec<f32>, count: usize) -> Looks {
        let side = self.config.image_size;
        self.model.look(from_vec(planes, [count, 3, side, side], &self.device))
    }

    /// The model.
    pub(crate) fn model(&self) -> &KeepFitModel {
        &self.model
    }

    /// Unit vectors of texts in the shared space, in order; each is embedded alone, so it does not
    /// depend on its neighbours. Texts beyond the model's limit are cut.
    ///
    /// # Errors
    /// A text cannot be tokenised.
    pub fn embed_texts(&self, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        texts
            .iter()
            .map(|text| {
                let (ids, mask) = tokenize(&self.tokenizer, &[text], self.config.max_tokens)?;
                let tokens = ids.len();
                let (ids, mask) = (
                    ints(ids, [1, tokens], &self.device),
                    ints(mask, [1, tokens], &self.device),
                );
                Ok(to_vec(&self.model.encode_texts(ids, mask).projected))
            })
            .collect()
    }

    /// The stored logit scale: the logarithm, as trained (before any clamp).
    pub fn logit_scale(&self) -> f32 {
        self.logit_scale
    }

    /// SHA-256 of the weights file.
    pub fn weights_sha256(&self) -> &str {
        &self.sha256
    }

    /// Identifies the image preprocessing; with the weights' hash it keys a feature cache.
    pub fn preprocessing_id(&self) -> String {
        preprocessing_id(self.config.image_size)
    }

    /// The modality the model was trained on.
    pub fn modality(&self) -> Option<Modality> {
        Some(self.config.modality)
    }

    /// The config of the run, with template, label style and definitions.
    pub fn config(&self) -> &KeepfitConfig {
        &self.config
    }
}

/// The weights that `checkpoint` names; of an unfinished run, its newest checkpoint's.
fn find_weights(checkpoint: &Path) -> Result<PathBuf> {
    if checkpoint.is_file() {
        return Ok(checkpoint.to_path_buf());
    }
    let inside = checkpoint.join(MODEL_FILE);
    if inside.is_file() {
        return Ok(inside);
    }
    if let Some(last) = crate::checkpoint::newest_sound(checkpoint)?.0 {
        tracing::warn!(
            "{}: the run is not finished; taking step {}",
            checkpoint.display(),
            last.step
        );
        return Ok(last.folder.join(MODEL_FILE));
    }
    bail!(
        "{}: there is no {MODEL_FILE} here; name a run folder of `trainer keepfit`, a checkpoint folder or the file itself",
        checkpoint.display()
    )
}

/// The run folder around a weights file: where `run.json` lies.
fn find_run(weights: &Path) -> Result<PathBuf> {
    // The file lies in RUN or in RUN/checkpoints/step-N.
    let here = weights.parent().map(|folder| {
        if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        }
    });
    let found = here
        .into_iter()
        .flat_map(|folder| folder.ancestors().take(3))
        .find(|folder| folder.join(RUN_FILE).is_file());
    found.map(Path::to_path_buf).with_context(|| {
        format!(
            "{}: there is no {RUN_FILE} beside it; the model can only be rebuilt from within its run folder",
            weights.display()
        )
    })
}
