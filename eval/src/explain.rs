//! Why a model answers as it does for one image: probabilities, prompts, nearest captions, and a heat map.
//!
//! The heat map is occlusion sensitivity (Zeiler & Fergus 2014): how much the probability of the answer falls
//! when a patch is covered with the mean colour. It asks nothing of the model but its answers.

use image::{Rgb, RgbImage};
use serde::Serialize;

use crate::suite::cache::ImageVectors;
use crate::suite::config::DatasetConfig;
use crate::suite::model::{FeatureSource, class_vector};
use crate::vectors::{Rows, dot, norm};
use crate::zero_shot;

/// Patches along each side of the heat map.
pub const GRID: u32 = 8;
/// Captions shown.
const NEAREST: usize = 5;
/// Captions embedded at a time.
const BATCH: usize = 32;

/// A text and its cosine with the image.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Similar {
    /// The text.
    pub text: String,
    /// Cosine of text and image vector.
    pub cosine: f64,
    /// Where the text comes from.
    pub from: String,
}

/// The explanation of one image.
#[derive(Debug, Clone, Serialize)]
pub struct Explanation {
    /// Classes with probability, most probable first.
    pub classes: Vec<(String, f64)>,
    /// Prompts of all classes, most similar first; `from` is the class.
    pub prompts: Vec<Similar>,
    /// Nearest captions; `from` is the row id.
    pub captions: Vec<Similar>,
    /// Fall of the answer's probability when a patch is covered, [row][column], top left first.
    pub heat: Vec<Vec<f64>>,
}

fn rows(vectors: &[Vec<f32>]) -> Rows {
    Rows {
        values: vectors.iter().flatten().map(|v| f64::from(*v)).collect(),
        width: vectors.first().map_or(0, Vec::len),
    }
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    dot(a, b) / (norm(a) * norm(b))
}

/// Copies of the image, each with one patch covered with the mean colour, row by row.
fn covered(image: &RgbImage) -> Vec<RgbImage> {
    let pixels = (image.width() as u64 * image.height() as u64).max(1);
    let sums = image
        .pixels()
        .fold([0u64; 3], |s, p| [0, 1, 2].map(|c| s[c] + u64::from(p.0[c])));
    let mean = Rgb(sums.map(|s| (s / pixels) as u8));
    let edge = |size: u32, i: u32| (u64::from(size) * u64::from(i) / u64::from(GRID)) as u32;
    let cover = |(row, column): (u32, u32)| {
        let mut copy = image.clone();
        for y in edge(image.height(), row)..edge(image.height(), row + 1) {
            for x in edge(image.width(), column)..edge(image.width(), column + 1) {
                copy.put_pixel(x, y, mean);
            }
        }
        copy
    };
    (0..GRID)
        .flat_map(|r| (0..GRID).map(move |c| (r, c)))
        .map(cover)
        .collect()
}

/// Explains an image. `captions` holds (row id, text).
pub fn explain(
    source: &dyn FeatureSource,
    config: &DatasetConfig,
    image: &RgbImage,
    captions: &[(String, String)],
) -> anyhow::Result<Explanation> {
    let projected = |images: &[RgbImage]| -> anyhow::Result<Rows> {
        let vectors: Vec<ImageVectors> = source.embed_images(images)?;
        Ok(rows(&vectors.into_iter().map(|v| v.projected).collect::<Vec<_>>()))
    };
    let own = projected(std::slice::from_ref(image))?;
    let vector = own.row(0);
    let texts = config
        .classes
        .iter()
        .map(|c| class_vector(source, &config.prompts(c)))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let texts = rows(&texts);
    let scale = source.logit_scale().exp();
    let probabilities = zero_shot::probabilities(&own, &texts, scale).concat();
    anyhow::ensure!(
        probabilities.iter().all(|p| p.is_finite()),
        "the model's answer holds a value that is not a number"
    );
    let answer = crate::metrics::argmax(&probabilities);

    let mut heat = Vec::new();
    for line in covered(image).chunks(GRID as usize) {
        let fallen = zero_shot::probabilities(&projected(line)?, &texts, scale);
        heat.push(fallen.iter().map(|p| probabilities[answer] - p[answer]).collect());
    }
    let mut prompts = Vec::new();
    for class in &config.classes {
        let own_prompts = config.prompts(class);
        for (text, v) in own_prompts.iter().zip(source.embed_texts(&own_prompts)?) {
            prompts.push(Similar {
                text: text.clone(),
                cosine: cosine(vector, rows(&[v]).row(0)),
                from: class.name.clone(),
            });
        }
    }
    let mut nearest = Vec::new();
    for batch in captions.chunks(BATCH) {
        let texts: Vec<String> = batch.iter().map(|c| c.1.clone()).collect();
        for ((id, text), v) in batch.iter().zip(source.embed_texts(&texts)?) {
            nearest.push(Similar {
                text: text.clone(),
                cosine: cosine(vector, rows(&[v]).row(0)),
                from: id.clone(),
            });
        }
    }
    for list in [&mut prompts, &mut nearest] {
        list.sort_by(|a, b| b.cosine.total_cmp(&a.cosine).then_with(|| a.text.cmp(&b.text)));
    }
    nearest.truncate(NEAREST);
    let mut classes: Vec<(String, f64)> = config
        .classes
        .iter()
        .map(|c| c.name.clone())
        .zip(probabilities)
        .collect();
    classes.sort_by(|a, b| b.1.total_cmp(&a.1));
    Ok(Explanation {
        classes,
        prompts,
        captions: nearest,
        heat,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Red share of the upper left quarter against green elsewhere.
    struct Corner;

    impl FeatureSource for Corner {
        fn embed_images(&self, images: &[RgbImage]) -> anyhow::Result<Vec<ImageVectors>> {
            let vector = |image: &RgbImage| {
                let mut red = 0.0f32;
                for y in 0..image.height() / 2 {
                    for x in 0..image.width() / 2 {
                        red += f32::from(image.get_pixel(x, y).0[0]);
                    }
                }
                let red = red / (255.0 * (image.width() * image.height() / 4) as f32);
                let length = (red * red + 0.25).sqrt();
                vec![red / length, 0.5 / length]
            };
            Ok(images
                .iter()
                .map(|i| ImageVectors {
                    features: vector(i),
                    projected: vector(i),
                })
                .collect())
        }
        fn embed_texts(&self, texts: &[String]) -> anyhow::Result<Vec<Vec<f32>>> {
            Ok(texts
                .iter()
                .map(|t| {
                    if t.contains("red") {
                        vec![1.0, 0.0]
                    } else {
                        vec![0.0, 1.0]
                    }
                })
                .collect())
        }
        fn logit_scale(&self) -> f64 {
            1.0
        }
        fn weights_sha256(&self) -> String {
            "w".into()
        }
        fn preprocessing(&self) -> String {
            "p".into()
        }
    }

    #[test]
    fn the_heat_lies_where_the_model_looks() {
        let config: DatasetConfig = toml::from_str(
            "name = \"c\"\nmodality = \"CFP\"\nclass = [{ name = \"red\", prompts = [\"red\"] }, { name = \"other\", prompts = [\"blue\"] }]",
        )
        .unwrap();
        let image = RgbImage::from_fn(64, 64, |x, y| {
            if x < 32 && y < 32 {
                Rgb([250, 0, 0])
            } else {
                Rgb([0, 90, 0])
            }
        });
        let captions = [
            ("a".to_string(), "a blue thing".to_string()),
            ("b".to_string(), "a red thing".to_string()),
        ];
        let told = explain(&Corner, &config, &image, &captions).unwrap();
        assert_eq!(
            (
                told.classes[0].0.as_str(),
                told.captions[0].from.as_str(),
                told.prompts[0].from.as_str()
            ),
            ("red", "b", "red")
        );
        for (r, line) in told.heat.iter().enumerate() {
            for (c, heat) in line.iter().enumerate() {
                assert_eq!(*heat > 1e-6, r < 4 && c < 4, "{r} {c}: {heat}");
            }
        }
    }
}
