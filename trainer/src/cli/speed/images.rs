//! `trainer speed images`: what the first pass over a dataset's pictures costs.
//!
//! `dataset/bench/compare.py --part batches` sets it beside torchvision.

use std::path::PathBuf;

use anyhow::{Result, bail};
use dataset::cost::Meter;
use dataset::{Columns, Dataset, PairRecord};
use serde_json::json;

use crate::data::images::{DECODE_TOGETHER, decode_all};

/// Arguments of `trainer speed images`.
#[derive(clap::Args)]
pub struct Args {
    /// Dataset folder with pairs
    dataset: PathBuf,
    /// Image side in pixels
    #[arg(long, default_value_t = 512)]
    image: usize,
    /// Pictures of a batch
    #[arg(long, default_value_t = 16)]
    batch: usize,
    /// Largest number of pictures
    #[arg(long, default_value_t = 256)]
    rows: usize,
}

/// Reads, decodes, resizes and lays out batches of `batch × 3 × image × image` numbers in [0, 1];
/// prints one JSON line with the pictures and what they cost.
///
/// # Errors
/// The folder cannot be read, or one of the pictures cannot be decoded.
pub fn run(args: &Args) -> Result<()> {
    if args.image == 0 || args.batch == 0 {
        bail!("--image and --batch must be at least 1");
    }
    let folder = Dataset::open(&args.dataset)?;
    let meter = Meter::start();
    let mut rows = folder
        .pairs(Columns::Only(&["id", "modality", "image"]))?
        .take(args.rows);
    let plane = 3 * args.image * args.image;
    // [batch, 3, image, image]
    let mut batch = vec![0.0_f32; args.batch * plane];
    let (mut pictures, mut in_batch, mut bytes, mut sum) = (0, 0, 0, 0.0);
    loop {
        let together: Vec<PairRecord> = rows.by_ref().take(DECODE_TOGETHER).collect::<dataset::Result<_>>()?;
        if together.is_empty() {
            break;
        }
        let encoded: Vec<(&[u8], &str)> = together
            .iter()
            .map(|row| (row.image.bytes.as_slice(), row.image.path.as_str()))
            .collect();
        bytes += encoded.iter().map(|(bytes, _)| bytes.len()).sum::<usize>();
        for prepared in decode_all(&encoded, args.image) {
            prepared?.write_planes(args.image, &mut batch[in_batch * plane..(in_batch + 1) * plane]);
            pictures += 1;
            in_batch = (in_batch + 1) % args.batch;
            if in_batch == 0 {
                sum += f64::from(batch[plane / 2]);
            }
        }
    }
    if pictures == 0 {
        bail!("{}: has no pairs", args.dataset.display());
    }
    let cost = meter.cost();
    println!(
        "{}",
        json!({
            "case": "images", "rows": pictures, "image": args.image, "batch": args.batch, "encoded_bytes": bytes,
            "seconds": cost.seconds, "cpu_seconds": cost.cpu_seconds, "peak_memory_bytes": cost.peak_memory_bytes,
            "check": sum,
        })
    );
    Ok(())
}
