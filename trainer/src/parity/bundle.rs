//! Reading a parity bundle.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, Result, bail};
use burn::tensor::{Device, Int, Tensor};
use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    model::walk::{from_vec, ints},
    weights::{HostTensor, Tensors, load},
};

/// Newest bundle format this program reads.
const FORMAT: u64 = 1;

/// What a bundle exercises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Image tower, evaluation and training mode.
    ImageEncoder,
    /// Text tower, both poolings.
    TextEncoder,
    /// Masked language modelling with optimiser steps.
    Mlm,
    /// The quantiser alone.
    Ibq,
    /// The joint training step.
    Keepfit,
}

/// How far an output may be from the expected tensor.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Tolerance {
    /// Integers, equal.
    Exact {
        /// Always true.
        exact: bool,
    },
    /// ‖out − exp‖/‖exp‖ ≤ rel and max|out − exp| ≤ abs.
    Close {
        /// Relative, over the whole tensor.
        rel: f64,
        /// Absolute, of the worst element.
        abs: f64,
    },
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    format: Option<u64>,
    kind: Kind,
    #[serde(default)]
    steps: u64,
    #[serde(default)]
    size: Option<String>,
    config: serde_json::Value,
    #[serde(default)]
    tolerance: BTreeMap<String, Tolerance>,
}

/// One prepared case.
pub struct Bundle {
    /// What to run.
    pub kind: Kind,
    /// Optimiser steps.
    pub steps: u64,
    /// Full-size bundles keep only the first columns of some outputs.
    pub full_size: bool,
    /// Names the output must hold; None when the bundle does not say.
    pub wanted: Option<Vec<String>>,
    /// Tolerances by name.
    pub tolerance: BTreeMap<String, Tolerance>,
    /// Weights under canonical keys.
    pub weights: Tensors,
    config: serde_json::Value,
    batches: Vec<Batch>,
}

/// One batch of inputs by name.
#[derive(Clone, Debug, Default)]
pub struct Batch(Tensors);

impl Bundle {
    /// Reads the folder; `expected.safetensors` is only looked at for names, and only when `bundle.json` has none.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join("bundle.json");
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let document: Document = serde_json::from_str(&text).with_context(|| format!("in {}", path.display()))?;
        if document.format.unwrap_or(FORMAT) != FORMAT {
            bail!(
                "{} has format {:?}; this program reads format {FORMAT}",
                path.display(),
                document.format
            );
        }
        let weights = load::canonical(load::read(&folder.join("weights.safetensors"))?)?;
        let batches = split_batches(load::read(&folder.join("batch.safetensors"))?)?;
        let mut wanted: Vec<String> = document.tolerance.keys().cloned().collect();
        let expected = folder.join("expected.safetensors");
        if wanted.is_empty() && expected.is_file() {
            wanted = load::read(&expected)?.into_keys().collect();
        }
        Ok(Self {
            kind: document.kind,
            steps: document.steps,
            full_size: document.size.as_deref() == Some("full"),
            wanted: (!wanted.is_empty()).then_some(wanted),
            tolerance: document.tolerance,
            weights,
            config: document.config,
            batches,
        })
    }

    /// Part of the configuration by path; the whole for an empty path.
    ///
    /// # Errors
    /// The part is absent or of another form.
    pub fn config<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let mut value = &self.config;
        for key in path.split('.').filter(|key| !key.is_empty()) {
            value = value
                .get(key)
                .with_context(|| format!("bundle.json lacks config.{path}"))?;
        }
        T::deserialize(value).with_context(|| format!("config.{path} of bundle.json"))
    }

    /// The batch of step `step`: step modulo the number of batches.
    ///
    /// # Errors
    /// There is no batch at all.
    pub fn batch(&self, step: u64) -> Result<&Batch> {
        if self.batches.is_empty() {
            bail!("batch.safetensors holds no tensors");
        }
        Ok(&self.batches[(step % self.batches.len() as u64) as usize])
    }
}

/// `batchI.NAME` to batch I; a name without that prefix belongs to batch 0.
fn split_batches(tensors: Tensors) -> Result<Vec<Batch>> {
    let mut batches: BTreeMap<usize, Batch> = BTreeMap::new();
    for (name, tensor) in tensors {
        let numbered = name.strip_prefix("batch").and_then(|rest| {
            let (index, rest) = rest.split_once('.')?;
            Some((index.parse::<usize>().ok()?, rest.to_owned()))
        });
        let (index, name) = numbered.unwrap_or((0, name));
        batches.entry(index).or_default().0.insert(name, tensor);
    }
    if let Some((last, _)) = batches.last_key_value()
        && last + 1 != batches.len()
    {
        bail!(
            "batch.safetensors numbers its batches up to {last} but holds {}",
            batches.len()
        );
    }
    Ok(batches.into_values().collect())
}

impl Batch {
    fn get(&self, name: &str, rank: usize) -> Result<&HostTensor> {
        let tensor = self
            .0
            .get(name)
            .with_context(|| format!("batch.safetensors lacks {name:?}"))?;
        if tensor.shape.len() != rank {
            bail!(
                "{name:?} of batch.safetensors has shape {:?}; {rank} dimensions are expected",
                tensor.shape
            );
        }
        Ok(tensor)
    }

    /// Float input.
    ///
    /// # Errors
    /// Absent, of another rank or type.
    pub fn floats<const D: usize>(&self, name: &str, device: &Device) -> Result<Tensor<D>> {
        let tensor = self.get(name, D)?;
        Ok(from_vec(
            tensor.to_f32().with_context(|| name.to_owned())?,
            dims(&tensor.shape),
            &device.clone().without_autodiff(),
        ))
    }

    /// Integer input on the host, with its shape.
    ///
    /// # Errors
    /// Absent, of another rank or type.
    pub fn integers<const D: usize>(&self, name: &str) -> Result<(Vec<i64>, [usize; D])> {
        let tensor = self.get(name, D)?;
        Ok((tensor.to_i64().with_context(|| name.to_owned())?, dims(&tensor.shape)))
    }

    /// Integer input on the device.
    ///
    /// # Errors
    /// Absent, of another rank or type.
    pub fn ints<const D: usize>(&self, name: &str, device: &Device) -> Result<Tensor<D, Int>> {
        let (values, shape) = self.integers(name)?;
        Ok(ints(values, shape, &device.clone().without_autodiff()))
    }
}

fn dims<const D: usize>(shape: &[usize]) -> [usize; D] {
    let mut dims = [1; D];
    dims.copy_from_slice(shape);
    dims
}
