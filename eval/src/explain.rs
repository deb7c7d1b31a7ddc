//! Why a model answers as it does for one image: probabilities, prompts, nearest captions, and a heat map.
//!
//! Two heat maps. One comes from the feature map (class activation mapping, Zhou et al. 2016): the similarity of an
//! image and a text is a sum over the places of the last feature map, so each place has its share in how much nearer
//! the answer is than the mean of the other classes. The other is occlusion sensitivity (Zeiler & Fergus 2014): how much
//! the probability of the answer falls when a patch is covered; it asks nothing of the model but its answers.

use image::{Rgb, RgbImage};
use serde::Serialize;
use trainer::embed::FeatureMap;

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
/// Colour of places that speak for the answer.
const FOR_ANSWER: [u8; 3] = [235, 70, 20];
/// Colour of places that speak against it.
const AGAINST_ANSWER: [u8; 3] = [30, 100, 235];
/// Share of the colour at the strongest place.
const OVERLAY_STRENGTH: f64 = 0.6;

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

/// What each place of the feature map adds to the answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Activation {
    /// Share in cosine(answer) − mean cosine(other classes), [row][column], top left first; their sum is that margin.
    pub shares: Vec<Vec<f64>>,
    /// Part of the map's width and height that the image covers; the rest is padding.
    pub inside: (f64, f64),
    /// Sum of all shares.
    pub margin: f64,
    /// Sum over places in the padding alone, where the model sees black.
    pub of_padding: f64,
}

impl Activation {
    /// Share at a point of the image (0 to 1 from left and top), linear between the middles of the places.
    pub fn at(&self, x: f64, y: f64) -> f64 {
        let (rows, columns) = (self.shares.len(), self.shares.first().map_or(0, Vec::len));
        let place = |part: f64, inside: f64, count: usize| {
            let at = (part * inside * count as f64 - 0.5).clamp(0.0, count.saturating_sub(1) as f64);
            (
                at.floor() as usize,
                (at.floor() as usize + 1).min(count.saturating_sub(1)),
                at.fract(),
            )
        };
        let (left, right, dx) = place(x, self.inside.0, columns);
        let (top, bottom, dy) = place(y, self.inside.1, rows);
        let row = |r: usize| (1.0 - dx) * self.shares[r][left] + dx * self.shares[r][right];
        if rows == 0 || columns == 0 {
            return 0.0;
        }
        (1.0 - dy) * row(top) + dy * row(bottom)
    }

    /// The picture with what speaks for the answer in red and what speaks against it in blue; the strongest place of
    /// the map has the full colour.
    pub fn overlay(&self, picture: &RgbImage) -> RgbImage {
        let strongest = self.shares.iter().flatten().fold(0.0f64, |m, s| m.max(s.abs()));
        let mut shown = picture.clone();
        if strongest == 0.0 {
            return shown;
        }
        let (width, height) = (f64::from(picture.width()), f64::from(picture.height()));
        for (x, y, pixel) in shown.enumerate_pixels_mut() {
            let share = self.at((f64::from(x) + 0.5) / width, (f64::from(y) + 0.5) / height) / strongest;
            let colour = if share > 0.0 { FOR_ANSWER } else { AGAINST_ANSWER };
            let strength = OVERLAY_STRENGTH * share.abs().min(1.0);
            for (channel, to) in pixel.0.iter_mut().zip(colour) {
                *channel = (f64::from(*channel) * (1.0 - strength) + f64::from(to) * strength).round() as u8;
            }
        }
        shown
    }
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
    /// What the places of the feature map add to the answer, for models that can tell.
    pub activation: Option<Activation>,
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

/// Shares of the places in how much nearer the answer is than the other classes are on average.
fn activation(map: &FeatureMap, texts: &Rows, answer: usize) -> Activation {
    let others = (texts.len() - 1).max(1) as f64;
    let direction: Vec<f64> = (0..texts.width)
        .map(|i| {
            let rest: f64 = (0..texts.len()).filter(|&c| c != answer).map(|c| texts.row(c)[i]).sum();
            texts.row(answer)[i] - rest / others
        })
        .collect();
    let share = |place: &Vec<f32>| {
        place
            .iter()
            .zip(&direction)
            .map(|(s, d)| f64::from(*s) * d)
            .sum::<f64>()
    };
    let flat: Vec<f64> = map.shares.iter().map(share).collect();
    let shares: Vec<Vec<f64>> = flat.chunks(map.columns.max(1)).map(<[f64]>::to_vec).collect();
    // a place belongs to the padding when it begins beyond the image
    let beyond = |i: usize, count: usize, inside: f64| i as f64 >= inside * count as f64;
    let padding = |i: usize| {
        beyond(i / map.columns, map.rows, map.inside.1) || beyond(i % map.columns, map.columns, map.inside.0)
    };
    Activation {
        margin: flat.iter().sum(),
        of_padding: flat
            .iter()
            .enumerate()
            .filter(|(i, _)| padding(*i))
            .fold(0.0, |sum, (_, s)| sum + s),
        shares,
        inside: map.inside,
    }
}

/// Sorted texts, each once: repetitions are counted behind the row of the first.
fn once_each(sorted: Vec<Similar>) -> Vec<Similar> {
    let mut kept: Vec<(Similar, usize)> = Vec::new();
    for similar in sorted {
        match kept.iter_mut().find(|k| k.0.text == similar.text) {
            Some((_, more)) => *more += 1,
            None => kept.push((similar, 0)),
        }
    }
    let with_count = |(similar, more): (Similar, usize)| match more {
        0 => similar,
        _ => Similar {
            from: format!("{} and {more} more", similar.from),
            ..similar
        },
    };
    kept.into_iter().map(with_count).collect()
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
    let activation = source.feature_map(image)?.map(|map| activation(&map, &texts, answer));

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
    let mut nearest = once_each(nearest);
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
        activation,
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
    fn shares_add_up_and_colour_the_right_corner() {
        let texts = Rows {
            values: vec![1.0, 0.0, 0.0, 1.0],
            width: 2,
        };
        // four places; the first speaks for class 0, the last lies in the padding below
        let map = FeatureMap {
            rows: 2,
            columns: 2,
            shares: vec![vec![0.6, 0.0], vec![0.0, 0.2], vec![0.0, 0.1], vec![0.0, 0.1]],
            inside: (1.0, 0.5),
        };
        let told = activation(&map, &texts, 0);
        let near = |a: f64, b: f64| (a - b).abs() < 1e-6;
        assert!(near(told.margin, 0.6 - 0.4) && near(told.of_padding, -0.2), "{told:?}");
        assert!(near(told.shares[0][0], 0.6) && near(told.at(0.0, 0.0), 0.6) && told.at(1.0, 0.0) < 0.0);
        let shown = told.overlay(&RgbImage::from_pixel(20, 10, Rgb([100, 100, 100])));
        let (left, right) = (shown.get_pixel(0, 0).0, shown.get_pixel(19, 0).0);
        assert!(left[0] > 150 && right[2] > right[0], "{left:?} {right:?}");
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
            ("c".to_string(), "a blue thing".to_string()),
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
        // a caption that several pairs have is shown once
        assert_eq!(
            (told.captions.len(), told.captions[1].from.as_str()),
            (2, "a and 1 more")
        );
        for (r, line) in told.heat.iter().enumerate() {
            for (c, heat) in line.iter().enumerate() {
                assert_eq!(*heat > 1e-6, r < 4 && c < 4, "{r} {c}: {heat}");
            }
        }
    }
}
