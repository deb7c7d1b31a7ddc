//! `trainer convert`: any supported checkpoint to safetensors.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde_json::json;

use crate::weights::{
    Tensors,
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
  trainer convert ibq.ckpt --names codebook --codebook raw --out codebook.safetensors

Input: safetensors, PyTorch files (.pth, .pt, .bin, .ckpt: zip, legacy or tar container) or a Hugging Face
folder, sharded or not. Pickles are read as data: nothing in them is executed. Element types and values are
kept as stored. One JSON line on stdout reports what was written and what was left out.")]
pub struct Args {
    /// Checkpoint file or Hugging Face folder
    input: PathBuf,
    /// Safetensors file to write
    #[arg(long)]
    out: PathBuf,
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
    let stored = load::read(&args.input)?;
    let total = stored.len();
    let input = || args.input.display().to_string();
    let (tensors, left_out) = match args.names {
        Target::Stored => (stored, Vec::new()),
        Target::Keepfit => renamed(stored, names::to_keepfit)?,
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
    save::write(&args.out, &tensors, &[])?;
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
        json!({ "read": total, "written": tensors.len(), "left_out": left_out, "tensors": listed })
    );
    Ok(ExitCode::SUCCESS)
}

/// Tensors under another program's names, and the keys that have none.
fn renamed(stored: Tensors, target: fn(names::Layout, &str) -> Option<String>) -> Result<(Tensors, Vec<String>)> {
    let (_, tensors, left_out) = load::map_keys(load::canonical(stored)?, target);
    Ok((tensors, left_out))
}
