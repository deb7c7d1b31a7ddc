//! What a run tells: metrics as JSON lines, TensorBoard events, curves.

pub mod curves;
pub mod metrics;
pub mod tensorboard;
