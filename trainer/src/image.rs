//! Images for the model: resize, padding, augmentation and layout as tensors.

pub mod augment;
pub mod prepare;

pub use prepare::Prepared;
