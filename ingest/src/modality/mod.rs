//! Tells CFP, FFA, OCT and OTHER apart by colour histogram and shape statistics.
//!
//! Two methods: [`softmax`], the default, weighs [`measures`] of the colour histogram and of
//! shape; [`kmeans`] is the paper's own (K-means on 8x8x8 HSV histograms, then distance to
//! reference histograms).
//! Both learn from labelled folders and keep statistics only, in one readable file.

use std::path::Path;

use dataset::modality::Modality;
use image::RgbImage;
use serde::{Deserialize, Serialize};

pub mod check;
pub mod histogram;
pub mod kmeans;
pub mod looks;
pub mod measures;
pub mod softmax;

/// What a picture is taken to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verdict {
    /// The likeliest modality.
    pub modality: Modality,
    /// Probability of each of [`Modality::ALL`], summing to 1.
    pub scores: [f64; 4],
}

impl Verdict {
    /// The verdict for four scores; the first of equal ones wins.
    pub fn from_scores(scores: [f64; 4]) -> Self {
        let best = (1..4).fold(0, |best, i| if scores[i] > scores[best] { i } else { best });
        Self {
            modality: Modality::ALL[best],
            scores,
        }
    }

    /// Probability of the likeliest modality, 0..=1.
    pub fn confidence(&self) -> f64 {
        self.scores.iter().copied().fold(0.0, f64::max)
    }
}

/// Learnt statistics of both methods.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModalityModel {
    /// Version of the measures the numbers belong to.
    pub version: u32,
    /// Where the numbers come from: images per source and modality.
    pub learnt_from: Vec<SourceCount>,
    /// The default method.
    pub softmax: softmax::SoftmaxModel,
    /// The paper's method.
    pub kmeans: kmeans::KmeansModel,
}

/// Number of images that a source gave to a modality.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceCount {
    /// The source's name in the manifest.
    pub source: String,
    /// The modality.
    pub modality: Modality,
    /// Images.
    pub images: u64,
}

/// Version of [`measures`] and [`histogram`]: a model of another version is refused.
pub const MEASURES_VERSION: u32 = 3;

/// The model that ships with the program.
const BUILT_IN: &str = include_str!("../../models/modality.json");

/// A model file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The file cannot be read.
    #[error("{path}: {error}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// The file is no model.
    #[error("{path}: {error}; make it anew with `ingest modality-fit`")]
    Parse {
        /// The file.
        path: String,
        /// Why and where.
        error: serde_json::Error,
    },
    /// The file belongs to another version of the measures.
    #[error(
        "{path}: holds statistics of version {found}, this program measures version \
         {MEASURES_VERSION}; make it anew with `ingest modality-fit`"
    )]
    Version {
        /// The file.
        path: String,
        /// Version in the file.
        found: u32,
    },
}

impl ModalityModel {
    /// The statistics that ship with the program.
    pub fn built_in() -> Result<Self, ModelError> {
        Self::parse(BUILT_IN, "built-in modality.json")
    }

    /// Statistics from a file that `ingest modality-fit` wrote.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| ModelError::Read {
            path: name.clone(),
            error,
        })?;
        Self::parse(&text, &name)
    }

    fn parse(text: &str, name: &str) -> Result<Self, ModelError> {
        let model: Self = serde_json::from_str(text).map_err(|error| ModelError::Parse {
            path: name.to_owned(),
            error,
        })?;
        if model.version != MEASURES_VERSION {
            return Err(ModelError::Version {
                path: name.to_owned(),
                found: model.version,
            });
        }
        Ok(model)
    }

    /// Judges a picture with the default method.
    ///
    /// Devices print a scan beside the fundus picture that shows where it lies. Such a pair is OCT: a wide picture
    /// is judged in its square left and right ends, too.
    pub fn classify(&self, image: &RgbImage) -> Verdict {
        /// Least width of such a pair in heights.
        const WIDE: f64 = 1.7;
        /// Least probability of the scan.
        const SURE: f64 = 0.9;
        let judge = |picture: &RgbImage| self.softmax.classify(&measures::measure(picture));
        let whole = judge(image);
        let (width, height) = image.dimensions();
        if whole.modality == Modality::Oct || f64::from(width) < WIDE * f64::from(height) {
            return whole;
        }
        let oct = |v: &Verdict| v.scores[2];
        let rest = width - height;
        let ends = [(height, rest), (0, rest)]
            .map(|(x, w)| judge(&image::imageops::crop_imm(image, x, 0, w, height).to_image()));
        ends.into_iter()
            .filter(|v| v.modality == Modality::Oct && oct(v) >= SURE)
            .max_by(|a, b| oct(a).total_cmp(&oct(b)))
            .unwrap_or(whole)
    }
}

/// A labelled picture, measured.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Its modality.
    pub modality: Modality,
    /// Collection it comes from.
    pub source: String,
    /// Shape and colour measures.
    pub measures: measures::Measures,
    /// The same of the other looks it can have ([`looks::looks`]), with the modality that each shows.
    pub looks: Vec<(Modality, measures::Measures)>,
    /// 8x8x8 HSV histogram.
    pub histogram: Vec<f32>,
}

/// Measures a labelled picture.
pub fn sample(image: &RgbImage, modality: Modality, source: &str) -> Sample {
    Sample {
        modality,
        source: source.to_owned(),
        measures: measures::measure(image),
        looks: looks::looks(image, modality)
            .iter()
            .map(|(shown, look)| (*shown, measures::measure(look)))
            .collect(),
        histogram: histogram::hsv_histogram(image),
    }
}

/// Learns both methods from samples.
pub fn fit(samples: &[Sample], seed: u64) -> ModalityModel {
    let mut counts: std::collections::BTreeMap<(String, Modality), u64> = Default::default();
    for s in samples {
        *counts.entry((s.source.clone(), s.modality)).or_default() += 1;
    }
    ModalityModel {
        version: MEASURES_VERSION,
        learnt_from: counts
            .into_iter()
            .map(|((source, modality), images)| SourceCount {
                source,
                modality,
                images,
            })
            .collect(),
        softmax: softmax::fit(samples),
        kmeans: kmeans::fit(samples, seed),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use image::Rgb;

    fn field(colour: impl Fn(f64, f64) -> [f64; 3]) -> RgbImage {
        RgbImage::from_fn(500, 500, |x, y| {
            let (x, y) = (f64::from(x), f64::from(y));
            if (x - 250.0).hypot(y - 250.0) > 246.0 {
                return Rgb([0; 3]);
            }
            Rgb(colour(x, y).map(|v| v.clamp(0.0, 255.0) as u8))
        })
    }

    #[test]
    fn the_built_in_statistics_know_drawn_pictures() {
        let model = ModalityModel::built_in().unwrap();
        let wave = |x: f64, y: f64| 130.0 + 14.0 * ((x * 0.21).sin() + (y * 0.17).cos());
        let colour = field(|x, y| [1.0, 0.5, 0.2].map(|c| c * wave(x, y)));
        let dye = field(|x, y| {
            [if (x + 0.6 * y) % 90.0 < 5.0 {
                220.0
            } else {
                0.6 * wave(x, y)
            }; 3]
        });
        let scan = RgbImage::from_fn(600, 360, |x, y| {
            let depth = f64::from(y) - 130.0 - 20.0 * (f64::from(x) / 110.0).sin();
            let speckle = f64::from((x * 7 + y * 13 + x * y) % 23);
            let light = match depth {
                d if d < 0.0 => 12.0,
                d if d < 30.0 => 150.0,
                d if d < 60.0 => 80.0,
                d if d < 80.0 => 200.0,
                d => 110.0 * (-(d - 80.0) / 60.0).exp() + 12.0,
            };
            Rgb([(light + speckle) as u8; 3])
        });
        let page = RgbImage::from_fn(400, 300, |x, y| {
            Rgb([if y % 20 < 10 && (x / 6 + y / 20) % 3 != 0 && (x * y) % 7 < 4 {
                20
            } else {
                255
            }; 3])
        });
        for (picture, modality) in [
            (&colour, Modality::Cfp),
            (&dye, Modality::Ffa),
            (&scan, Modality::Oct),
            (&page, Modality::Other),
        ] {
            let verdict = model.classify(picture);
            assert_eq!(verdict.modality, modality, "{verdict:?}");
        }
        // A scan beside the picture that shows where it lies is OCT.
        let mut pair = RgbImage::new(960, 360);
        let place = image::imageops::thumbnail(&dye, 360, 360);
        image::imageops::replace(&mut pair, &place, 0, 0);
        image::imageops::replace(&mut pair, &scan, 360, 0);
        assert_eq!(
            model.classify(&pair).modality,
            Modality::Oct,
            "{:?}",
            model.classify(&pair)
        );
    }
}
