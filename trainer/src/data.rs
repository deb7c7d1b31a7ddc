//! Training data: rows of dataset folders made ready, samplers, and threads that prepare batches.
//!
//! Every random choice comes from a generator seeded by (run seed, purpose, position), so a batch
//! is a pure function of the step: order, threads and interruptions never matter.

pub mod ban;
pub mod images;
pub mod labels;
pub mod leakage;
pub mod pairs;
pub mod prefetch;
pub mod sampler;
pub mod seeds;
pub mod utterances;

use serde::Serialize;

/// A row that could not be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rejected {
    /// Dataset folder, as the config names it.
    pub dataset: String,
    /// Row id.
    pub id: String,
    /// File name of the image, or empty.
    pub path: String,
    /// Why, in words.
    pub reason: String,
}
