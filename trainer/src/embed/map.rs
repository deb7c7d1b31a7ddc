//! Where in the image an embedding comes from.
//!
//! The image feature is the mean of the last feature map, and the projection is linear up to its norms, so the unit
//! vector of an image is a sum with one share for each place of the map (class activation mapping, Zhou et al. 2016).

use anyhow::{Context, Result};
use image::RgbImage;

use super::Embedder;
use crate::image::prepare::{fitted_size, prepare};
use crate::model::layers::BatchStats;
use crate::model::walk::{from_vec, to_vec};
use crate::weights::save;

/// Key of the projection of images.
const PROJECTION: &str = "vision_model.projection_head.projection.weight";

/// The unit vector of an image, place by place.
#[derive(Debug, Clone)]
pub struct FeatureMap {
    /// Places from top to bottom.
    pub rows: usize,
    /// Places from left to right.
    pub columns: usize,
    /// Share of each place in the unit vector, row by row, `[rows × columns][proj_dim]`; their sum is the vector.
    pub shares: Vec<Vec<f32>>,
    /// Part of the map's width and height that the image covers, the rest is padding; 0 to 1.
    pub inside: (f64, f64),
}

impl Embedder {
    /// The shared-space vector of an upright RGB image as a sum over the places of the last feature map.
    ///
    /// # Errors
    /// An image without pixels.
    pub fn feature_map(&self, image: &RgbImage) -> Result<FeatureMap> {
        let side = self.config.image_size;
        let mut planes = vec![0.0; 3 * side * side];
        prepare(image, side)?.write_planes(side, &mut planes);
        let images = from_vec(planes, [1, 3, side, side], &self.device);
        let (output, encoded) = self.model.vision.forward(images, &mut BatchStats::Running);
        let [_, channels, rows, columns] = output.map.dims();
        let map = to_vec(&output.map); // [channels, rows, columns]
        let feature = to_vec(&encoded.features); // [channels]
        let weights = save::tensors(&mut self.model.vision.clone());
        let weight = weights
            .get(PROJECTION.trim_start_matches("vision_model."))
            .context("the image tower has no projection")?
            .to_f32()?; // [proj_dim, channels]
        let length = |values: &[f32]| values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        let apply = |place: &dyn Fn(usize) -> f32| -> Vec<f64> {
            let one = |row: &[f32]| row.iter().enumerate().map(|(c, w)| f64::from(w * place(c))).sum();
            weight.chunks_exact(channels).map(one).collect()
        };
        let whole: Vec<f32> = apply(&|c| feature[c]).iter().map(|v| *v as f32).collect();
        // projected = W f / ‖W f‖; the length of f cancels
        let places = rows * columns;
        let scale = 1.0 / (length(&whole).max(f64::MIN_POSITIVE) * places as f64);
        let shares = (0..places)
            .map(|place| {
                let own = apply(&|c| map[c * places + place]);
                own.iter().map(|v| (v * scale) as f32).collect()
            })
            .collect();
        let (width, height) = fitted_size(image.width() as usize, image.height() as usize, side);
        Ok(FeatureMap {
            rows,
            columns,
            shares,
            inside: (width as f64 / side as f64, height as f64 / side as f64),
        })
    }
}
