//! A model as the suite sees it: something that turns images and texts into vectors.

use anyhow::Context;
use image::RgbImage;
use trainer::embed::{Embedder, FeatureMap, ReleasedShape};
use trainer::knowledge::{KnowledgeBank, Provenance};

use super::cache::ImageVectors;
use super::config::ModelConfig;

/// Source of image and text vectors. Text vectors must not depend on their neighbours in a call.
pub trait FeatureSource {
    /// Vectors of images, in order.
    fn embed_images(&self, images: &[RgbImage]) -> anyhow::Result<Vec<ImageVectors>>;
    /// Projected vectors of texts, in order.
    fn embed_texts(&self, texts: &[String]) -> anyhow::Result<Vec<Vec<f32>>>;
    /// Log of the learnt logit scale.
    fn logit_scale(&self) -> f64;
    /// Hash of the weights.
    fn weights_sha256(&self) -> String;
    /// Name of the preprocessing; with the weights it keys the feature cache.
    fn preprocessing(&self) -> String;
    /// The image's vector as a sum over places, for models that can tell.
    ///
    /// # Errors
    /// An image without pixels.
    fn feature_map(&self, _image: &RgbImage) -> anyhow::Result<Option<FeatureMap>> {
        Ok(None)
    }
    /// The pairs of dataset folders that the knowledge extraction modules attend to most, for models that have them.
    ///
    /// # Errors
    /// A folder cannot be read or holds no usable pair.
    fn knowledge(&self, _image: &RgbImage, _datasets: &[String], _top: usize) -> anyhow::Result<Option<Provenance>> {
        Ok(None)
    }
}

impl FeatureSource for Embedder {
    fn embed_images(&self, images: &[RgbImage]) -> anyhow::Result<Vec<ImageVectors>> {
        let vectors = Embedder::embed_images(self, images)?;
        Ok(vectors
            .into_iter()
            .map(|v| ImageVectors {
                features: v.features,
                projected: v.projected,
            })
            .collect())
    }

    fn embed_texts(&self, texts: &[String]) -> anyhow::Result<Vec<Vec<f32>>> {
        Embedder::embed_texts(self, texts)
    }

    fn logit_scale(&self) -> f64 {
        f64::from(Embedder::logit_scale(self))
    }

    fn weights_sha256(&self) -> String {
        Embedder::weights_sha256(self).to_string()
    }

    fn preprocessing(&self) -> String {
        self.preprocessing_id()
    }

    fn feature_map(&self, image: &RgbImage) -> anyhow::Result<Option<FeatureMap>> {
        Embedder::feature_map(self, image).map(Some)
    }

    fn knowledge(&self, image: &RgbImage, datasets: &[String], top: usize) -> anyhow::Result<Option<Provenance>> {
        if !self.config().semantic && !self.config().appearance {
            return Ok(None);
        }
        let bank = KnowledgeBank::read(self, datasets)?;
        Ok(bank.trace(self, std::slice::from_ref(image), top)?.pop())
    }
}

/// Opens a model of a suite on a device: a trainer run or released weights. `None` for feature files.
pub fn open_model(model: &ModelConfig, device: &str) -> anyhow::Result<Option<Box<dyn FeatureSource>>> {
    Ok(match (&model.run, &model.released) {
        (Some(run), _) => Some(Box::new(Embedder::open(run, device)?)),
        (_, Some(released)) => {
            let shape = ReleasedShape {
                image_size: released.image_size,
                max_tokens: released.max_tokens,
                text_heads: released.text_heads,
            };
            let opened = Embedder::open_released(&released.weights, &released.tokenizer, &shape, device);
            Some(Box::new(
                opened.with_context(|| released.weights.display().to_string())?,
            ))
        }
        _ => None,
    })
}

/// Class vector: mean of the normalised vectors of its descriptions, not normalised again (as the released code).
pub fn class_vector(source: &dyn FeatureSource, prompts: &[String]) -> anyhow::Result<Vec<f32>> {
    let vectors = source.embed_texts(prompts)?;
    let width = vectors.first().map_or(0, Vec::len);
    let mut mean = vec![0.0f64; width];
    for (vector, prompt) in vectors.iter().zip(prompts) {
        let length = vector.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        if vector.len() != width || !length.is_finite() || length == 0.0 {
            anyhow::bail!(
                "the vector of prompt '{prompt}' has {} numbers and length {length}",
                vector.len()
            );
        }
        mean.iter_mut()
            .zip(vector)
            .for_each(|(m, v)| *m += f64::from(*v) / length / vectors.len() as f64);
    }
    Ok(mean.into_iter().map(|m| m as f32).collect())
}
