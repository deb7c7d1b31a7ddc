//! `trainer knowledge`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use serde_json::json;

use super::EXIT_SOME_REJECTED;
use super::embed::{list_files, read_pictures};
use crate::embed::Embedder;
use crate::knowledge::{KnowledgeBank, folders};

/// Images decoded at a time.
const TOGETHER: usize = 32;

/// Trace the expert knowledge of images back to MM-Retinal pairs.
#[derive(clap::Args)]
#[command(after_help = "\
Writes one JSON line an image: {\"path\", \"semantic\": [{\"id\", \"caption\", \"weight\", \"heads\"}…], \"appearance\": […]},
largest share first. A share is of the attention to all training pairs of the dataset folders, mean over heads.

Example:
  trainer knowledge --checkpoint runs/keepfit --images photographs --top 5 --out provenance.jsonl")]
pub struct Args {
    /// Run folder of `trainer keepfit`, a checkpoint folder, or a model.safetensors inside one
    #[arg(long, value_name = "FILE")]
    checkpoint: PathBuf,
    /// Folder of images, searched with its subfolders
    #[arg(long, value_name = "DIR")]
    images: PathBuf,
    /// Dataset folder whose pairs are attended to; may be given several times; default: those of the run
    #[arg(long, value_name = "DIR")]
    dataset: Vec<String>,
    /// Pairs named for each image and module
    #[arg(long, default_value_t = 5)]
    top: usize,
    /// File to write (JSON lines)
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Device: cpu, wgpu, wgpu:N, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    device: String,
}

/// Runs the command.
///
/// # Errors
/// The model or the pairs cannot be read, no image can, or the file cannot be written.
pub fn run(args: &Args) -> Result<ExitCode> {
    let files = list_files(&args.images)?;
    let embedder = Embedder::open(&args.checkpoint, &args.device)?;
    let bank = KnowledgeBank::read(&embedder, &folders(&embedder, &args.dataset)?)?;
    let (mut text, mut count, mut rejected) = (String::new(), 0, 0);
    for chunk in files.chunks(TOGETHER) {
        let (paths, images, bad) = read_pictures(&args.images, chunk);
        rejected += bad;
        for (path, found) in paths.iter().zip(bank.trace(&embedder, &images, args.top.max(1))?) {
            let line = json!({ "path": path, "semantic": found.semantic, "appearance": found.appearance });
            text += &line.to_string();
            text.push('\n');
            count += 1;
        }
    }
    if count == 0 {
        bail!("{}: no usable image among {} files", args.images.display(), files.len());
    }
    dataset::fs::write_atomic(&args.out, text.as_bytes())?;
    println!(
        "{}",
        json!({
            "images": count, "rejected": rejected, "pairs": bank.len(),
            "weights_sha256": embedder.weights_sha256(),
        })
    );
    Ok(if rejected > 0 {
        ExitCode::from(EXIT_SOME_REJECTED)
    } else {
        ExitCode::SUCCESS
    })
}
