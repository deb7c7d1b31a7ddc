//! `trainer convert`: any supported checkpoint to safetensors.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde_json::json;

use crate::weights::{
    Agreement, Tensors, compare, hf,
    load::{self, CodebookCopy},
    names, save,
};

/// Key names of the written file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Target {
    /// As stored in the input
    Stored,
    /// The KeepFIT model's reference names (V2 form); what it has no use for is left out
    Keepfit,
    /// KeepFIT V1's names; the appearance branch, which V1 has not, is left out
    KeepfitV1,
    /// Hugging Face BertForMaskedLM, decoder tied; what it has no use for is left out
    Mlm,
    /// The text encoder as a bare Hugging Face BertModel
    Bert,
    /// The image encoder as a torchvision ResNet without classifier
    Resnet,
    /// The codebook alone, as quantize.embedding.weight
    Codebook,
}

/// Which codebook a tokeniser checkpoint gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Copy {
    /// The moving average where there is one
    Ema,
    /// The raw weights
    Raw,
}

/// Arguments of `trainer convert`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  trainer convert keepfit_v1.pth --out stored.safetensors
  trainer convert keepfit_v1.pth --names keepfit --out v2.safetensors
  trainer convert Bio_ClinicalBERT/ --names mlm --out bert.safetensors
  trainer convert RUN/model.safetensors --names bert --out text_encoder.safetensors
  trainer convert RUN --names mlm --hf --out text_encoder/      (a folder for transformers)
  trainer convert v2.safetensors --names keepfit-v1 --out v1.safetensors
  trainer convert ibq.ckpt --names codebook --codebook raw --out codebook.safetensors

Input: safetensors, PyTorch files (.pth, .pt, .bin, .ckpt: zip, legacy or tar container) or a Hugging Face
folder, sharded or not. Pickles are read as data: nothing in them is executed. Element types and values are
kept as stored. One JSON line on stdout reports what was written and what was left out (with the reason); `parity`
compares the written file, read back, with the input's tensors under the written names.")]
pub struct Args {
    /// Checkpoint file or Hugging Face folder
    input: PathBuf,
    /// Safetensors file to write, or with --hf the folder
    #[arg(long)]
    out: PathBuf,
    /// Write a Hugging Face folder with config.json and vocabulary; with --names bert or mlm, from a run folder
    /// or a Hugging Face folder
    #[arg(long)]
    hf: bool,
    /// Key names to write
    #[arg(long, value_enum, default_value = "stored")]
    names: Target,
    /// Copy of the codebook, with --names codebook
    #[arg(long, value_enum, default_value = "ema")]
    codebook: Copy,
}

/// Runs the command.
///
/// # Errors
/// The input cannot be read or lacks what was asked for; the output cannot be written.
pub fn run(args: &Args) -> Result<ExitCode> {
    let architecture = match (args.hf, args.names) {
        (false, _) => None,
        (true, Target::Bert) => Some("BertModel"),
        (true, Target::Mlm) => Some("BertForMaskedLM"),
        (true, _) => bail!("--hf writes a text encoder; give --names bert or --names mlm with it"),
    };
    let stored = load::read(&args.input)?;
    let total = stored.len();
    let original = stored.clone();
    let input = || args.input.display().to_string();
    let (tensors, left_out) = match args.names {
        Target::Stored => (stored, LeftOut::new()),
        Target::Keepfit => renamed(stored, names::to_keepfit)?,
        Target::KeepfitV1 => renamed(stored, names::to_keepfit_v1)?,
        Target::Mlm => renamed(stored, names::to_masked_lm)?,
        Target::Bert => renamed(stored, names::to_bert)?,
        Target::Resnet => renamed(stored, names::to_resnet)?,
        Target::Codebook => {
            let copy = match args.codebook {
                Copy::Ema => CodebookCopy::Ema,
                Copy::Raw => CodebookCopy::Raw,
            };
            let mut left_out: Vec<String> = stored.keys().cloned().collect();
            let (key, tensor) = load::codebook(stored, copy).with_context(input)?;
            left_out.retain(|name| *name != key);
            let left_out = with_reasons(left_out);
            tracing::info!("taking {key}");
            (Tensors::from([(names::CODEBOOK.to_owned(), tensor)]), left_out)
        }
    };
    if tensors.is_empty() {
        bail!(
            "{}: none of its {total} tensors has a place in this target; see `trainer convert --help` for others",
            input()
        );
    }
    let file = match architecture {
        Some(architecture) => {
            hf::write(&args.out, &tensors, &hf::text_side(&args.input)?, architecture)?;
            args.out.join(crate::checkpoint::MODEL_FILE)
        }
        None => {
            save::write(&args.out, &tensors, &[])?;
            args.out.clone()
        }
    };
    let parity = agreement(&file, original, args.names, &tensors)?;
    let listed: serde_json::Map<_, _> = tensors
        .iter()
        .map(|(name, tensor)| {
            (
                name.clone(),
                json!({ "dtype": format!("{:?}", tensor.dtype), "shape": tensor.shape }),
            )
        })
        .collect();
    println!(
        "{}",
        json!({ "read": total, "written": tensors.len(), "left_out": left_out, "parity": parity, "tensors": listed })
    );
    Ok(ExitCode::SUCCESS)
}

/// Names that were not written, and why.
type LeftOut = BTreeMap<String, &'static str>;

fn with_reasons(names: Vec<String>) -> LeftOut {
    let reason = |name: &str| {
        if names::is_ignored(name) {
            "numbers that BERT counts itself"
        } else {
            "has no place in this target"
        }
    };
    names
        .into_iter()
        .map(|name| {
            let why = reason(&name);
            (name, why)
        })
        .collect()
}

/// Reads the written file back and compares it, under the target's names, with what was read.
fn agreement(file: &Path, original: Tensors, target: Target, made: &Tensors) -> Result<Agreement> {
    let rename: fn(names::Layout, &str) -> Option<String> = match target {
        Target::Stored => return compare(&original, &load::read(file)?),
        Target::Codebook => return compare(made, &load::read(file)?),
        Target::Keepfit => names::to_keepfit,
        Target::KeepfitV1 => names::to_keepfit_v1,
        Target::Mlm => names::to_masked_lm,
        Target::Bert => names::to_bert,
        Target::Resnet => names::to_resnet,
    };
    let (_, expected, _) = load::map_keys(load::canonical(original)?, rename);
    compare(&expected, &load::read(file)?)
}

/// Tensors under another program's names, and the keys that have none.
fn renamed(stored: Tensors, target: fn(names::Layout, &str) -> Option<String>) -> Result<(Tensors, LeftOut)> {
    let mut left_out: Vec<String> = stored.keys().filter(|key| names::is_ignored(key)).cloned().collect();
    let (_, tensors, unplaced) = load::map_keys(load::canonical(stored)?, target);
    left_out.extend(unplaced);
    Ok((tensors, with_reasons(left_out)))
}
