//! Weights in: safetensors and PyTorch files, read as data, applied by name with a report.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, bail};
use pytorch_reader::{DType, PickleValue, PytorchReader};
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

use super::{HostTensor, Tensors, names};
use crate::model::walk::{Slot, Walk};

/// Where training programs put the weights inside a checkpoint, most specific first.
const CONTAINERS: &[&str] = &[
    "state_dict",
    "model.weights",
    "model_state_dict",
    "model_state",
    "model",
    "weights",
];

/// Reads every tensor of a checkpoint under the names stored in it.
///
/// `path`: a safetensors file, a PyTorch file (zip, legacy or tar container), or a Hugging Face folder
/// (`model.safetensors`, `pytorch_model.bin`, or the shards of an index file). Pickles are parsed as
/// data; nothing in them is executed. Of a training checkpoint (Lightning and others) the tensors of the
/// inner state dict are returned, without optimiser state.
///
/// # Errors
/// Names the file and what is wrong with it.
pub fn read(path: &Path) -> Result<Tensors> {
    if path.is_dir() {
        return read_folder(path);
    }
    let mut start = [0u8; 9];
    let length = std::fs::File::open(path)
        .and_then(|mut file| std::io::Read::read(&mut file, &mut start))
        .with_context(|| format!("cannot read {}", path.display()))?;
    // A safetensors file starts with its header's length and the header's opening brace.
    let tensors = if length == 9 && start[8] == b'{' {
        read_safetensors(path)
    } else {
        read_pytorch(path)
    };
    tensors.with_context(|| format!("cannot load weights from {}", path.display()))
}

fn read_folder(folder: &Path) -> Result<Tensors> {
    for single in ["model.safetensors", "pytorch_model.bin"] {
        let file = folder.join(single);
        if file.is_file() {
            return read(&file);
        }
        let index = folder.join(format!("{single}.index.json"));
        if index.is_file() {
            return read_shards(&index);
        }
    }
    bail!(
        "{} holds neither model.safetensors nor pytorch_model.bin (nor their index files); name the checkpoint file itself",
        folder.display()
    )
}

/// `{"weight_map": {tensor: file}}` of a sharded Hugging Face model.
#[derive(Deserialize)]
struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

fn read_shards(index: &Path) -> Result<Tensors> {
    let text = std::fs::read_to_string(index).with_context(|| format!("cannot read {}", index.display()))?;
    let parsed: ShardIndex =
        serde_json::from_str(&text).with_context(|| format!("{} is not a shard index", index.display()))?;
    let mut files: Vec<&String> = parsed.weight_map.values().collect();
    files.sort();
    files.dedup();
    let mut all = Tensors::new();
    for file in files {
        // Shards lie beside their index; a path out of the folder is not one.
        if Path::new(file).components().count() != 1 {
            bail!("{} names a shard outside its folder: {file:?}", index.display());
        }
        all.extend(read(&index.with_file_name(file))?);
    }
    if let Some(missing) = parsed.weight_map.keys().find(|key| !all.contains_key(*key)) {
        bail!(
            "{} lists tensor {missing:?}, which its shard does not hold",
            index.display()
        );
    }
    Ok(all)
}

fn read_safetensors(path: &Path) -> Result<Tensors> {
    let bytes = std::fs::read(path)?;
    let file = SafeTensors::deserialize(&bytes).map_err(|e| anyhow!("not a whole safetensors file: {e}"))?;
    Ok(file
        .iter()
        .map(|(name, view)| {
            let tensor = HostTensor {
                dtype: view.dtype(),
                shape: view.shape().to_vec(),
                bytes: view.data().to_vec(),
            };
            (name.to_owned(), tensor)
        })
        .collect())
}

fn read_pytorch(path: &Path) -> Result<Tensors> {
    let all = PytorchReader::new(path)
        .map_err(|e| anyhow!("not a PyTorch file this program accepts: {e}"))?
        .into_tensors();
    let container = container_of(all.keys().map(String::as_str));
    let mut tensors = Tensors::new();
    for (name, tensor) in all {
        let Some(name) = inside(&name, container) else { continue };
        let bytes = tensor.read().with_context(|| format!("tensor {name:?}"))?;
        let shape = tensor.shape().to_vec();
        tensors.insert(
            name.to_owned(),
            HostTensor {
                dtype: dtype(tensor.dtype()),
                shape,
                bytes,
            },
        );
    }
    let foreign = foreign_objects(path)?;
    if tensors.is_empty() {
        match foreign.is_empty() {
            true => bail!("the file holds no tensors"),
            false => bail!(
                "the file holds no tensors, only objects that are never executed: {}",
                foreign.join(", ")
            ),
        }
    }
    if !foreign.is_empty() {
        tracing::warn!(
            "{}: left alone, as only tensors are read: {}",
            path.display(),
            foreign.join(", ")
        );
    }
    Ok(tensors)
}

/// Python types in a checkpoint that are neither tensors nor plain values, by name, sorted.
fn foreign_objects(path: &Path) -> Result<Vec<String>> {
    /// Types that ordinary checkpoints are made of.
    const ORDINARY: &[&str] = &["torch", "collections."];
    fn collect(value: &PickleValue, names: &mut BTreeSet<String>) {
        match value {
            PickleValue::List(items) => items.iter().for_each(|item| collect(item, names)),
            PickleValue::Dict(entries) => entries.values().for_each(|item| collect(item, names)),
            PickleValue::Unsupported(name) if !ORDINARY.iter().any(|prefix| name.starts_with(prefix)) => {
                // Protocol 2 writes Python 2's name of the module that Python 3 calls `builtins`.
                names.insert(name.replacen("__builtin__.", "builtins.", 1));
            }
            _ => {}
        }
    }
    let root = PytorchReader::read_pickle_data(path, None).map_err(|e| anyhow!("not a readable pickle: {e}"))?;
    let mut names = BTreeSet::new();
    collect(&root, &mut names);
    Ok(names.into_iter().collect())
}

/// The container whose tensors are the weights: the first of [`CONTAINERS`] that holds any.
fn container_of<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Option<&'static str> {
    CONTAINERS
        .iter()
        .copied()
        .find(|container| names.clone().any(|name| inside(name, Some(container)).is_some()))
}

fn inside<'a>(name: &'a str, container: Option<&str>) -> Option<&'a str> {
    match container {
        Some(container) => name.strip_prefix(container)?.strip_prefix('.'),
        None => Some(name),
    }
}

fn dtype(dtype: DType) -> Dtype {
    match dtype {
        DType::F64 => Dtype::F64,
        DType::F32 => Dtype::F32,
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::BF16,
        DType::I64 => Dtype::I64,
        DType::I32 => Dtype::I32,
        DType::I16 => Dtype::I16,
        DType::I8 => Dtype::I8,
        DType::U64 => Dtype::U64,
        DType::U32 => Dtype::U32,
        DType::U16 => Dtype::U16,
        DType::U8 => Dtype::U8,
        DType::Bool => Dtype::BOOL,
    }
}

/// Tensors under canonical keys, keys to be ignored left out.
///
/// # Errors
/// Two stored keys that mean the same tensor but differ in content.
pub fn canonical(tensors: Tensors) -> Result<Tensors> {
    let mut renamed = Tensors::new();
    for (key, tensor) in tensors {
        let Some(name) = names::canonical(&key) else { continue };
        match renamed.get(&name) {
            Some(present) if *present != tensor => {
                bail!("{key:?} means {name:?}, which the file also holds with other values")
            }
            _ => renamed.insert(name, tensor),
        };
    }
    Ok(renamed)
}

/// Which copy of the codebook to take from an image tokeniser's checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CodebookCopy {
    /// The moving average where there is one (what the V2 line takes).
    #[default]
    Ema,
    /// The raw weights.
    Raw,
}

/// The codebook `[codes, width]` of a tokeniser checkpoint or codebook artefact, and the key it was stored under.
///
/// # Errors
/// No codebook, or one that is not a matrix of floats.
pub fn codebook(mut tensors: Tensors, copy: CodebookCopy) -> Result<(String, HostTensor)> {
    let order = match copy {
        CodebookCopy::Ema => [names::CODEBOOK_EMA, names::CODEBOOK],
        CodebookCopy::Raw => [names::CODEBOOK, names::CODEBOOK],
    };
    for key in order {
        if let Some(tensor) = tensors.remove(key) {
            if tensor.shape.len() != 2 || !tensor.is_float() {
                bail!(
                    "{key} has shape {:?} and type {:?}; a codebook is a float matrix [codes, width]",
                    tensor.shape,
                    tensor.dtype
                );
            }
            return Ok((key.to_owned(), tensor));
        }
    }
    bail!("the checkpoint has neither {} nor {}", order[0], names::CODEBOOK)
}

/// What applying a checkpoint to a model did.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LoadReport {
    /// Keys whose values the model took, with their shapes.
    pub applied: BTreeMap<String, Vec<usize>>,
    /// Keys of the model that the checkpoint lacks, with their shapes; they keep their fresh values.
    pub missing: BTreeMap<String, Vec<usize>>,
    /// Keys of the checkpoint that the model has no place for, with their shapes.
    pub unused: BTreeMap<String, Vec<usize>>,
}

/// What a load accepts besides a perfect match.
#[derive(Clone, Debug, Default)]
pub struct Allow {
    /// Prefixes of model keys that may be missing; an empty prefix allows all.
    pub missing: Vec<String>,
    /// Prefixes of checkpoint keys that may be left unused; an empty prefix allows all.
    pub unused: Vec<String>,
}

impl Allow {
    /// A perfect match only.
    pub fn nothing() -> Self {
        Self::default()
    }

    /// The given prefixes.
    pub fn prefixes(missing: &[&str], unused: &[&str]) -> Self {
        let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
        Self {
            missing: own(missing),
            unused: own(unused),
        }
    }
}

/// Copies tensors into the model by name. Nothing is changed unless everything fits.
///
/// Floats of any width are converted to f32. A missing `num_batches_tracked` is always accepted (old
/// files have none) and counts from 0.
///
/// # Errors
/// A shape or type that differs (key, both shapes, remedy), or keys missing or unused beyond `allow`.
pub fn apply(model: &mut impl Walk, mut tensors: Tensors, allow: &Allow) -> Result<LoadReport> {
    let mut report = LoadReport::default();
    let mut problems = Vec::new();
    model.each(|key, _, slot| match tensors.get(key) {
        None => {
            report.missing.insert(key.to_owned(), slot.shape());
            if !slot.is_counter() && !allow.missing.iter().any(|prefix| key.starts_with(prefix.as_str())) {
                problems.push(format!("{key} {:?} is missing in the checkpoint", slot.shape()));
            }
        }
        Some(tensor) => {
            if !same_shape(&tensor.shape, &slot.shape()) {
                problems.push(format!(
                    "{key}: the checkpoint has shape {:?}, the model {:?}; set the model's configuration to the checkpoint's sizes, or choose another checkpoint",
                    tensor.shape,
                    slot.shape()
                ));
            } else if tensor.is_float() == slot.is_counter() {
                problems.push(format!("{key}: the checkpoint holds {:?}, which the model cannot use here", tensor.dtype));
            } else {
                report.applied.insert(key.to_owned(), slot.shape());
            }
        }
    });
    for (key, tensor) in &tensors {
        if !report.applied.contains_key(key) {
            report.unused.insert(key.clone(), tensor.shape.clone());
            let known = problems.iter().any(|p| p.starts_with(&format!("{key}:")));
            if !known && !allow.unused.iter().any(|prefix| key.starts_with(prefix.as_str())) {
                problems.push(format!(
                    "{key} {:?} of the checkpoint has no place in the model",
                    tensor.shape
                ));
            }
        }
    }
    if !problems.is_empty() {
        bail!("{}", summary(&problems));
    }
    let mut failed = None;
    model.each(|key, _, mut slot| {
        let Some(tensor) = tensors.remove(key) else { return };
        let outcome = match &mut slot {
            Slot::Counter(count) => tensor.to_i64().map(|v| **count = v[0]),
            other => tensor.to_f32().map(|v| other.set_values(v)),
        };
        if let Err(error) = outcome {
            failed = Some(error.context(key.to_owned()));
        }
    });
    match failed {
        Some(error) => Err(error),
        None => Ok(report),
    }
}

/// Scalars are `[]` in most files and `[1]` in some.
fn same_shape(file: &[usize], model: &[usize]) -> bool {
    file == model || (model.is_empty() && file == [1])
}

/// The first problems and how many more there are.
fn summary(problems: &[String]) -> String {
    const SHOWN: usize = 8;
    let mut text = format!("the checkpoint does not fit the model ({} problems)", problems.len());
    for problem in problems.iter().take(SHOWN) {
        let _ = write!(text, "\n  {problem}");
    }
    if problems.len() > SHOWN {
        let _ = write!(text, "\n  ... and {} more", problems.len() - SHOWN);
    }
    text
}

/// Maps canonical tensors to a model's keys with one of the functions of [`names`]; returns those
/// the model has no use for apart.
pub fn map_keys(
    tensors: Tensors,
    target: impl Fn(names::Layout, &str) -> Option<String>,
) -> (names::Layout, Tensors, Vec<String>) {
    let layout = names::layout(tensors.keys().map(String::as_str));
    let (mut mapped, mut dropped) = (Tensors::new(), Vec::new());
    for (key, tensor) in tensors {
        match target(layout, &key) {
            Some(name) => {
                mapped.insert(name, tensor);
            }
            None => dropped.push(key),
        }
    }
    (layout, mapped, dropped)
}

/// The checkpoint file behind what a user may name: a run folder, a checkpoint folder or the file itself.
pub fn model_file(path: &Path) -> PathBuf {
    if path.is_dir() {
        path.join("model.safetensors")
    } else {
        path.to_owned()
    }
}
