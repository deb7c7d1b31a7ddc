//! Zero-shot, few-shot and linear-probe evaluation with the protocol of the MM-Retinal V2 paper (Section V).
//!
//! The core takes vectors and returns numbers; files are touched in `features`, `suite`, `leakage` and `cli` alone.

pub mod adamw;
pub mod cli;
pub mod clip_adapter;
pub mod error;
pub mod explain;
pub mod features;
pub mod folds;
pub mod lbfgs;
pub mod leakage;
pub mod linear_probe;
pub mod metrics;
pub mod protocol;
pub mod python_random;
pub mod report;
pub mod statistics;
pub mod suite;
pub mod tip_adapter;
pub mod truth;
pub mod vectors;
pub mod zero_shot;
