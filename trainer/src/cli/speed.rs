//! `trainer speed`: seconds and peak memory of a step on this machine.

mod compare;
mod images;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Subcommand, ValueEnum};
use serde_json::json;

use crate::{device, model::autoencoder::AutoencoderConfig, speed};

/// Arguments of `trainer speed`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  trainer speed mlm --batch 8 --max-length 128
  trainer speed keepfit --image 512 --steps 2
  trainer speed keepfit --image 224 --checkpointing
  trainer speed embed --image 512 --batch 4
  trainer speed embed-files --images photographs --image 512
  trainer speed tokenizer --profile lite --image 64
  trainer speed images DATASET --image 512
  trainer speed images DATASET --image 512 --epochs 5
  trainer speed compare --python venv/bin/python --script ../shared/parity/torch_speed.py --core 1 \\
                        --out docs/performance.md
  trainer speed compare --cases keepfit-224 --rounds 1 --core 1 --script ... --out docs/performance.md
  trainer speed compare --cases keepfit-224 --threads 2 --script ... --out docs/performance.md

One JSON line: seconds_per_step is the median of the steps after the warm-up, peak_rss_mib the highest
memory of the process. Weights and inputs are random; sizes are ResNet50 and BERT-base.")]
pub struct Args {
    #[command(subcommand)]
    case: Case,
    /// Where to compute: cpu, wgpu, wgpu:N, cuda or cuda:N
    #[arg(long, default_value = "cpu", global = true)]
    device: String,
    /// Measured steps
    #[arg(long, default_value_t = 3, global = true)]
    steps: usize,
    /// Steps before measuring
    #[arg(long, default_value_t = 1, global = true)]
    warmup: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum Profile {
    Tiny,
    Lite,
    Full,
}

#[derive(Subcommand)]
enum Case {
    /// Masked language modelling, BERT-base
    Mlm {
        /// Rows
        #[arg(long, default_value_t = 8)]
        batch: usize,
        /// Longest row in tokens
        #[arg(long, default_value_t = 128)]
        max_length: usize,
        /// Compute layers again in the backward pass instead of keeping their inner values
        #[arg(long)]
        checkpointing: bool,
        /// Real tokens of each row; default: caption-like lengths
        #[arg(long, value_delimiter = ',')]
        lengths: Vec<usize>,
        /// BERT layers
        #[arg(long, default_value_t = 12)]
        layers: usize,
    },
    /// Joint training step, ResNet50 and BERT-base
    Keepfit {
        /// Image side in pixels
        #[arg(long, default_value_t = 224)]
        image: usize,
        /// Public rows
        #[arg(long, default_value_t = 4)]
        public: usize,
        /// MM-Retinal rows
        #[arg(long, default_value_t = 4)]
        mm: usize,
        /// Tokens a row
        #[arg(long, default_value_t = 64)]
        length: usize,
        /// BERT layers
        #[arg(long, default_value_t = 12)]
        layers: usize,
        /// Compute layers again in the backward pass instead of keeping their inner values
        #[arg(long)]
        checkpointing: bool,
        /// Codebook rows
        #[arg(long, default_value_t = 16384)]
        codes: usize,
        /// Codebook width
        #[arg(long, default_value_t = 256)]
        code_dim: usize,
    },
    /// Image embedding, ResNet50
    Embed {
        /// Image side in pixels
        #[arg(long, default_value_t = 512)]
        image: usize,
        /// Images a step
        #[arg(long, default_value_t = 4)]
        batch: usize,
    },
    /// Batches of a dataset folder's pictures: read, decoded, resized, as planes of numbers
    Images(images::Args),
    /// Image embedding from JPEG files, ResNet50: reading, decoding and fitting included
    EmbedFiles {
        /// Folder of images
        #[arg(long)]
        images: PathBuf,
        /// Image side in pixels
        #[arg(long, default_value_t = 512)]
        image: usize,
        /// Images a step
        #[arg(long, default_value_t = 4)]
        batch: usize,
    },
    /// This program and PyTorch in turns, as a table in Markdown
    Compare(compare::Args),
    /// Training step of the image tokeniser
    Tokenizer {
        /// Image side in pixels
        #[arg(long, default_value_t = 64)]
        image: usize,
        /// Images a step
        #[arg(long, default_value_t = 4)]
        batch: usize,
        /// Size of the network
        #[arg(long, value_enum, default_value = "lite")]
        profile: Profile,
    },
}

/// Runs the command.
///
/// # Errors
/// The device does not work.
pub fn run(args: &Args) -> Result<ExitCode> {
    if let Case::Compare(args) = &args.case {
        compare::run(args)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Case::Images(args) = &args.case {
        images::run(args)?;
        return Ok(ExitCode::SUCCESS);
    }
    let device = device::select(&args.device)?;
    let (steps, warmup) = (args.steps.max(1), args.warmup);
    let (name, rows, tokens, timings) = match &args.case {
        Case::Mlm {
            batch,
            max_length,
            lengths,
            layers,
            checkpointing,
        } => {
            let given = !lengths.is_empty();
            let lengths = if given {
                lengths.clone()
            } else {
                speed::caption_lengths(*batch, *max_length)
            };
            if lengths.iter().any(|&l| l == 0 || l > 512) {
                anyhow::bail!("--lengths must be 1 to 512 tokens, BERT's longest sequence");
            }
            (
                "mlm",
                lengths.len(),
                Some(lengths.iter().sum::<usize>()),
                speed::mlm(&device, *layers, &lengths, *checkpointing, steps, warmup)?,
            )
        }
        Case::Keepfit {
            image,
            public,
            mm,
            length,
            layers,
            codes,
            code_dim,
            checkpointing,
        } => {
            let (image, public, pairs, tokens, layers, codes, code_dim) =
                (*image, *public, *mm, *length, *layers, *codes, *code_dim);
            let sizes = speed::JointSizes {
                image,
                public,
                pairs,
                tokens,
                layers,
                codes,
                code_dim,
                checkpointing: *checkpointing,
            };
            (
                "keepfit",
                public + pairs,
                None,
                speed::keepfit(&device, sizes, steps, warmup)?,
            )
        }
        Case::Compare(_) | Case::Images(_) => return Ok(ExitCode::SUCCESS),
        Case::Embed { image, batch } => (
            "embed",
            *batch,
            None,
            speed::embed(&device, *image, *batch, steps, warmup)?,
        ),
        Case::EmbedFiles { images, image, batch } => {
            let files: Vec<PathBuf> = super::embed::list_files(images)?
                .iter()
                .map(|name| images.join(name))
                .collect();
            (
                "embed-files",
                *batch,
                None,
                speed::embed_files(&device, &files, *image, *batch, steps, warmup)?,
            )
        }
        Case::Tokenizer { image, batch, profile } => {
            let config = match profile {
                Profile::Tiny => AutoencoderConfig::tiny(),
                Profile::Lite => AutoencoderConfig::lite(),
                Profile::Full => AutoencoderConfig::full(),
            };
            if !image.is_multiple_of(config.stride()) {
                anyhow::bail!("--image {image} must be a multiple of {}", config.stride());
            }
            (
                "tokenizer",
                *batch,
                None,
                speed::tokenizer(&device, &config, *image, *batch, steps, warmup)?,
            )
        }
    };
    let mut seconds: Vec<f64> = timings.iter().map(|t| t.wall).collect();
    seconds.sort_by(f64::total_cmp);
    let median = (seconds[(seconds.len() - 1) / 2] + seconds[seconds.len() / 2]) / 2.0;
    let mut processor: Vec<f64> = timings.iter().filter_map(|t| t.processor).collect();
    processor.sort_by(f64::total_cmp);
    println!(
        "{}",
        json!({
            "case": name, "device": args.device, "batch": rows, "real_tokens": tokens, "steps": seconds.len(),
            "seconds_per_step": median, "fastest": seconds[0], "slowest": seconds[seconds.len() - 1],
            "processor_seconds_per_step": processor.get(processor.len() / 2), "per_second": rows as f64 / median, "peak_rss_mib": speed::peak_memory_mib(),
        })
    );
    Ok(ExitCode::SUCCESS)
}
