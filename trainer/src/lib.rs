//! Training and embedding for KeepFIT V2: masked-language pretraining, the IBQ codebook and the
//! joint image-text training, on burn.
//!
//! Each training stage reads dataset folders (crate `dataset`) and writes one run folder; the
//! evaluation crate rebuilds a model from that folder alone through [`embed::Embedder`].

pub mod ablation;
pub mod checkpoint;
pub mod cli;
pub mod config;
pub mod data;
pub mod device;
pub mod embed;
pub mod image;
pub mod knowledge;
pub mod loss;
pub mod model;
pub mod optim;
pub mod parity;
pub mod run_folder;
pub mod schedule;
pub mod speed;
pub mod stage;
pub mod telemetry;
pub mod text;
pub mod weights;
