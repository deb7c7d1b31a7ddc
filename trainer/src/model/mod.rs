//! Networks: plain forward passes over tensors; nothing here opens files or reads configurations.
//!
//! How the parts are used:
//!
//! ```text
//! KeepFitModel::init(&KeepFitConfig, seed, &Device)       a device from device::training records gradients
//!   .clamp_logit_scale()                                  before each step
//!   .forward_step(KeepFitBatch, &mut Dropout) -> StepOutput   total, every term, embeddings, weights
//!   .update_statistics(output.moments)                    running statistics, once per image pass
//!   .encode_images([b,3,h,w]) / .encode_texts(ids, mask) -> Encoded { features, projected }
//! NamedGradients::collect(&mut model, output.total.backward())   then norm, prefix_norm, clip, accumulate
//! AdamW::step(&mut model, gradients, lr)
//! MaskedLm::init(&TextConfig, &mut Init), .forward(&MaskedBatch, &mut Dropout) -> Option<MaskedPredictions>
//! Autoencoder::init(&AutoencoderConfig, &mut Init), .forward(images) -> reconstruction, tokens, Quantized
//! ```
//!
//! A model lists its tensors under the reference keys through [`walk::Walk`]; `weights::{load, save}`, the
//! optimiser and the parity report are written over that alone.

pub mod attention;
pub mod autoencoder;
pub mod bert;
pub mod checkpointing;
pub mod cpu;
pub mod custom;
pub mod discriminator;
pub mod dropout;
pub mod ibq;
pub mod keepfit;
pub mod layers;
pub mod mlm_head;
pub mod perceptual;
pub mod precision;
pub mod projection;
pub mod resnet;
pub mod towers;
pub mod walk;
