//! Weights and moments of a training in a checkpoint's folder.

use std::path::Path;

use anyhow::Result;

use crate::checkpoint::{MODEL_FILE, OPTIMIZER_FILE};
use crate::model::walk::Walk;
use crate::optim::{AdamW, AdamWConfig};
use crate::weights::load::{Allow, apply, read};
use crate::weights::{Tensors, save};

/// Writes `tensors`, the model's and what goes with them, and the moments of `optimizer`; `notes` go with the weights.
///
/// # Errors
/// The files cannot be written.
pub fn write(folder: &Path, tensors: &Tensors, notes: &[(&str, String)], optimizer: &AdamW) -> Result<()> {
    save::write(&folder.join(MODEL_FILE), tensors, notes)?;
    save::write(&folder.join(OPTIMIZER_FILE), &optimizer.state(), &[])
}

/// The tensors that [`write`] put into `folder`.
///
/// # Errors
/// The file is missing or damaged.
pub fn weights(folder: &Path) -> Result<Tensors> {
    read(&folder.join(MODEL_FILE))
}

/// Gives `model` its `tensors`, every one of them, and returns its optimiser with the moments in `folder`.
///
/// # Errors
/// Tensors or moments of another model; moments missing.
pub fn restore(folder: &Path, model: &mut impl Walk, tensors: Tensors, adam: AdamWConfig) -> Result<AdamW> {
    apply(model, tensors, &Allow::nothing())?;
    AdamW::restore(adam, model, read(&folder.join(OPTIMIZER_FILE))?)
}
