//! Tells CFP, FFA, OCT and OTHER apart by colour histogram and shape statistics.
//!
//! Two methods: [`tree`], the default, asks four questions of the picture, each
//! answered from one or two measured [`measures`]; [`kmeans`] is the paper's own
//! (K-means on 8x8x8 HSV histograms, then distance to reference histograms).
//! Both learn from labelled folders and keep statistics only, in one readable file.

use std::path::Path;

use dataset::modality::Modality;
use image::RgbImage;
use serde::{Deserialize, Serialize};

pub mod histogram;
pub mod kmeans;
pub mod logistic;
pub mod measures;
pub mod tree;

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
    /// The four questions.
    pub tree: tree::TreeModel,
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
pub const MEASURES_VERSION: u32 = 2;

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
    pub fn classify(&self, image: &RgbImage) -> Verdict {
        self.tree.classify(&measures::measure(image))
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
    /// The same of the picture without its colour.
    pub gray_measures: measures::Measures,
    /// The same of the other looks it can have ([`measures::other_looks`]).
    pub look_measures: Vec<measures::Measures>,
    /// 8x8x8 HSV histogram.
    pub histogram: Vec<f32>,
}

/// Measures a labelled picture.
pub fn sample(image: &RgbImage, modality: Modality, source: &str) -> Sample {
    Sample {
        modality,
        source: source.to_owned(),
        measures: measures::measure(image),
        gray_measures: measures::measure_without_colour(image),
        look_measures: measures::other_looks(image, modality)
            .iter()
            .map(measures::measure)
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
        tree: tree::fit(samples),
        kmeans: kmeans::fit(samples, seed),
    }
}
