//! Weights out: safetensors under the reference key names.

use std::{collections::HashMap, path::Path};

use anyhow::{Context, Result};
use safetensors::tensor::TensorView;

use super::{HostTensor, Tensors};
use crate::model::walk::{Slot, Walk};

/// All tensors of a model under the reference names: weights, frozen tensors and buffers.
pub fn tensors(model: &mut impl Walk) -> Tensors {
    let mut named = Tensors::new();
    model.each(|key, _, slot| {
        let tensor = match &slot {
            Slot::Counter(count) => HostTensor::from_i64(vec![], &[**count]),
            other => HostTensor::from_f32(other.shape(), &other.values().unwrap_or_default()),
        };
        named.insert(key.to_owned(), tensor);
    });
    named
}

/// Safetensors bytes; the same tensors and notes give the same bytes.
///
/// `notes`: text written into the header's `__metadata__`.
///
/// # Errors
/// A tensor whose bytes do not fit its shape.
pub fn to_bytes(tensors: &Tensors, notes: &[(&str, String)]) -> Result<Vec<u8>> {
    let views = tensors
        .iter()
        .map(|(name, tensor)| {
            let view = TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes)
                .with_context(|| format!("tensor {name:?} of shape {:?}", tensor.shape))?;
            Ok((name.as_str(), view))
        })
        .collect::<Result<Vec<_>>>()?;
    // A hash map of one entry has one order, so the header does not vary between runs.
    let mut metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    if !notes.is_empty() {
        let notes: serde_json::Map<_, _> = notes
            .iter()
            .map(|(k, v)| ((*k).to_owned(), serde_json::Value::from(v.as_str())))
            .collect();
        metadata = HashMap::from([("notes".to_owned(), serde_json::Value::Object(notes).to_string())]);
    }
    Ok(safetensors::serialize(views, Some(metadata))?)
}

/// Writes a safetensors file in one step (temporary file, then rename).
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, tensors: &Tensors, notes: &[(&str, String)]) -> Result<()> {
    dataset::fs::write_atomic(path, &to_bytes(tensors, notes)?).with_context(|| format!("writing {}", path.display()))
}
