//! Checkpoints of other programs and our own: reading, renaming, applying, writing.
//!
//! A file becomes a list of plain tensors ([`load::read`]), key aliases are resolved ([`names`]), and the
//! result is applied to a model with a report of what was applied, missing and unused ([`load::apply`]).

pub mod hf;
pub mod load;
pub mod names;
pub mod save;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use half::{bf16, f16};
use safetensors::Dtype;

/// Tensors by name, in name order.
pub type Tensors = BTreeMap<String, HostTensor>;

/// A tensor in main memory: row-major, little-endian.
#[derive(Clone, Debug, PartialEq)]
pub struct HostTensor {
    /// Element type.
    pub dtype: Dtype,
    /// Extents, outermost first; empty for a scalar.
    pub shape: Vec<usize>,
    /// Row-major little-endian elements.
    pub bytes: Vec<u8>,
}

impl HostTensor {
    /// F32 tensor. `values` has as many elements as `shape`.
    pub fn from_f32(shape: Vec<usize>, values: &[f32]) -> Self {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self {
            dtype: Dtype::F32,
            shape,
            bytes,
        }
    }

    /// I64 tensor. `values` has as many elements as `shape`.
    pub fn from_i64(shape: Vec<usize>, values: &[i64]) -> Self {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self {
            dtype: Dtype::I64,
            shape,
            bytes,
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the elements are floating-point numbers.
    pub fn is_float(&self) -> bool {
        matches!(self.dtype, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16)
    }

    /// Elements as f32, converted from any floating type.
    ///
    /// # Errors
    /// The tensor holds integers or a type that is not supported.
    pub fn to_f32(&self) -> Result<Vec<f32>> {
        Ok(match self.dtype {
            Dtype::F32 => elements(&self.bytes, f32::from_le_bytes),
            Dtype::F64 => elements(&self.bytes, |b| f64::from_le_bytes(b) as f32),
            Dtype::F16 => elements(&self.bytes, |b| f16::from_le_bytes(b).to_f32()),
            Dtype::BF16 => elements(&self.bytes, |b| bf16::from_le_bytes(b).to_f32()),
            other => bail!("holds {other:?}, not floating-point numbers"),
        })
    }

    /// Elements as i64, converted from any integer type.
    ///
    /// # Errors
    /// The tensor holds floats or a type that is not supported.
    pub fn to_i64(&self) -> Result<Vec<i64>> {
        Ok(match self.dtype {
            Dtype::I64 => elements(&self.bytes, i64::from_le_bytes),
            Dtype::I32 => elements(&self.bytes, |b| i64::from(i32::from_le_bytes(b))),
            Dtype::I16 => elements(&self.bytes, |b| i64::from(i16::from_le_bytes(b))),
            Dtype::I8 => elements(&self.bytes, |b| i64::from(i8::from_le_bytes(b))),
            Dtype::U8 | Dtype::BOOL => elements(&self.bytes, |b: [u8; 1]| i64::from(b[0])),
            other => bail!("holds {other:?}, not integers"),
        })
    }
}

/// How two sets of tensors agree.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Agreement {
    /// Tensors of both sets.
    pub compared: usize,
    /// Of these, equal in type, shape and every byte.
    pub identical: usize,
    /// Names of the others, or of tensors that one side lacks.
    pub different: Vec<String>,
    /// Largest difference of an element, over the float tensors of equal shape.
    pub largest_difference: f64,
}

/// Compares two sets of tensors name by name.
///
/// # Errors
/// A float tensor that cannot be read.
pub fn compare(a: &Tensors, b: &Tensors) -> Result<Agreement> {
    let mut found = Agreement::default();
    for (name, left) in a {
        let Some(right) = b.get(name) else {
            found.different.push(name.clone());
            continue;
        };
        found.compared += 1;
        if left == right {
            found.identical += 1;
            continue;
        }
        found.different.push(name.clone());
        if left.shape == right.shape && left.is_float() && right.is_float() {
            for (x, y) in left.to_f32()?.into_iter().zip(right.to_f32()?) {
                found.largest_difference = found.largest_difference.max(f64::from((x - y).abs()));
            }
        }
    }
    found
        .different
        .extend(b.keys().filter(|name| !a.contains_key(*name)).cloned());
    Ok(found)
}

fn elements<const N: usize, T>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes
        .chunks_exact(N)
        .map(|chunk| {
            let mut element = [0u8; N];
            element.copy_from_slice(chunk);
            read(element)
        })
        .collect()
}
