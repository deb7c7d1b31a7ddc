//! The paper's method (Section III): K-means on HSV histograms, then the distance
//! to reference histograms decides.

use dataset::modality::Modality;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::{Sample, Verdict};

/// Clusters learnt: four modalities, two looks each.
const CLUSTERS: usize = 8;
/// Lloyd steps; the assignment settles long before.
const STEPS: usize = 100;

/// Reference histograms with the modality that most of their members have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KmeansModel {
    /// Seed of the first centres.
    pub seed: u64,
    /// Reference histograms.
    pub references: Vec<Reference>,
}

/// A cluster centre.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// Modality of most members.
    pub modality: Modality,
    /// Members.
    pub images: u64,
    /// Bins that are not empty: index and share.
    pub histogram: Vec<(u32, f32)>,
}

/// Bhattacharyya distance of two histograms, 0..=1.
fn distance(a: &[f32], b: &[f32]) -> f64 {
    let common: f64 = a
        .iter()
        .zip(b)
        .map(|(x, y)| (f64::from(*x) * f64::from(*y)).sqrt())
        .sum();
    (1.0 - common).max(0.0).sqrt()
}

impl KmeansModel {
    /// Judges a histogram by its distances to the references; scores fall with the distance to a modality's nearest one.
    pub fn classify(&self, histogram: &[f32]) -> Verdict {
        /// Distance at which a score falls to 1/e; about the spread inside a cluster.
        const SPREAD: f64 = 0.08;
        let mut nearest = [f64::INFINITY; 4];
        for reference in &self.references {
            let mut full = vec![0.0; histogram.len()];
            for (bin, share) in &reference.histogram {
                if let Some(slot) = full.get_mut(*bin as usize) {
                    *slot = *share;
                }
            }
            let d = distance(histogram, &full);
            if let Some(slot) = Modality::ALL.iter().position(|m| *m == reference.modality) {
                nearest[slot] = nearest[slot].min(d);
            }
        }
        let least = nearest.iter().copied().fold(f64::INFINITY, f64::min);
        let weights = nearest.map(|d| {
            if d.is_finite() {
                (-(d - least) / SPREAD).exp()
            } else {
                0.0
            }
        });
        let sum: f64 = weights.iter().sum();
        Verdict::from_scores(weights.map(|w| w / sum.max(1e-12)))
    }
}

/// Clusters of like rows: the centres and the cluster of each row.
fn cluster(rows: &[&[f32]], clusters: usize, seed: u64) -> (Vec<Vec<f32>>, Vec<usize>) {
    let mut centres = first_centres(rows, clusters, seed);
    let mut home = vec![usize::MAX; rows.len()];
    for _ in 0..STEPS {
        let next: Vec<usize> = rows
            .iter()
            .map(|row| {
                (0..centres.len())
                    .min_by(|&a, &b| distance(row, &centres[a]).total_cmp(&distance(row, &centres[b])))
                    .unwrap_or(0)
            })
            .collect();
        if next == home {
            break;
        }
        home = next;
        for (index, centre) in centres.iter_mut().enumerate() {
            let members: Vec<&&[f32]> = rows
                .iter()
                .zip(&home)
                .filter(|(_, h)| **h == index)
                .map(|(r, _)| r)
                .collect();
            if members.is_empty() {
                continue;
            }
            for (bin, value) in centre.iter_mut().enumerate() {
                *value = members.iter().map(|m| m[bin]).sum::<f32>() / members.len() as f32;
            }
        }
    }
    (centres, home)
}

/// Cuts samples into `groups` groups of like histograms; the number of its group for each sample.
pub fn alike(samples: &[&Sample], groups: usize, seed: u64) -> Vec<usize> {
    let rows: Vec<&[f32]> = samples.iter().map(|s| s.histogram.as_slice()).collect();
    cluster(&rows, groups, seed).1
}

/// Clusters the samples' histograms and names each cluster by its majority.
pub fn fit(samples: &[Sample], seed: u64) -> KmeansModel {
    let rows: Vec<&[f32]> = samples.iter().map(|s| s.histogram.as_slice()).collect();
    let (centres, home) = cluster(&rows, CLUSTERS, seed);
    let references = centres
        .into_iter()
        .enumerate()
        .filter_map(|(index, centre)| {
            let votes = Modality::ALL.map(|m| {
                samples
                    .iter()
                    .zip(&home)
                    .filter(|(s, h)| **h == index && s.modality == m)
                    .count()
            });
            let images: usize = votes.iter().sum();
            let winner = (0..4).rev().max_by_key(|&i| votes[i])?;
            (images > 0).then(|| Reference {
                modality: Modality::ALL[winner],
                images: images as u64,
                histogram: centre
                    .into_iter()
                    .enumerate()
                    .map(|(bin, share)| (bin as u32, (share * 1e5).round() / 1e5))
                    .filter(|(_, share)| *share > 0.0)
                    .collect(),
            })
        })
        .collect();
    KmeansModel { seed, references }
}

/// K-means++: each further centre is drawn with the squared distance to the nearest one so far.
fn first_centres(rows: &[&[f32]], clusters: usize, seed: u64) -> Vec<Vec<f32>> {
    if rows.is_empty() {
        return Vec::new();
    }
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut centres = vec![rows[random.random_range(0..rows.len())].to_vec()];
    while centres.len() < clusters.min(rows.len()) {
        let weights: Vec<f64> = rows
            .iter()
            .map(|row| {
                centres
                    .iter()
                    .map(|c| distance(row, c))
                    .fold(f64::INFINITY, f64::min)
                    .powi(2)
            })
            .collect();
        let total: f64 = weights.iter().sum();
        if total <= 0.0 {
            break;
        }
        let mut left = random.random::<f64>() * total;
        let chosen = weights
            .iter()
            .position(|w| {
                left -= w;
                left <= 0.0
            })
            .unwrap_or(rows.len() - 1);
        centres.push(rows[chosen].to_vec());
    }
    centres
}
