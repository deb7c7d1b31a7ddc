//! `trainer speed images`: what batches of a dataset's pictures cost, in one pass or over several epochs.
//!
//! `dataset/bench/compare.py --part batches` sets it beside torchvision.

use std::path::PathBuf;

use anyhow::{Result, bail};
use dataset::cost::Meter;
use dataset::{Columns, Dataset, PairRecord};
use serde_json::json;

use crate::data::images::{DECODE_TOGETHER, ImageStore, decode_all};
use crate::data::sampler::EpochSampler;
use crate::image::Prepared;

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
    /// Epochs in random order from prepared pictures, as a training reads them; without it, one
    /// pass in file order that keeps nothing
    #[arg(long)]
    epochs: Option<u64>,
    /// Memory for prepared pictures in MiB; beyond it they go to a temporary file
    #[arg(long, default_value_t = 2048)]
    cache_mib: usize,
}

/// Reads, decodes, resizes and lays out batches of `batch × 3 × image × image` numbers in [0, 1];
/// prints one JSON line with the pictures of all batches and what they cost.
///
/// # Errors
/// The folder cannot be read, or one of the pictures cannot be decoded.
pub fn run(args: &Args) -> Result<()> {
    if args.image == 0 || args.batch == 0 || args.epochs == Some(0) {
        bail!("--image, --batch and --epochs must be at least 1");
    }
    let meter = Meter::start();
    let mut batches = Batches::new(args);
    let bytes = match args.epochs {
        None => each_picture(args, |picture| {
            batches.add(&picture);
            Ok(())
        })?,
        Some(epochs) => {
            let mut store = ImageStore::new(args.image, args.cache_mib, &std::env::temp_dir());
            let bytes = each_picture(args, |picture| store.push(&picture).map(drop))?;
            let mut sampler = EpochSampler::new(store.len(), args.batch, 1);
            for step in 0..(epochs * store.len() as u64).div_ceil(args.batch as u64) {
                for draw in sampler.draw(step) {
                    batches.add(&store.get(draw.index)?);
                }
            }
            bytes
        }
    };
    let cost = meter.cost();
    println!(
        "{}",
        json!({
            "case": "images", "rows": batches.pictures, "image": args.image, "batch": args.batch,
            "epochs": args.epochs, "encoded_bytes": bytes, "seconds": cost.seconds, "cpu_seconds": cost.cpu_seconds,
            "peak_memory_bytes": cost.peak_memory_bytes, "check": batches.sum,
        })
    );
    Ok(())
}

/// One batch after the other, in the same memory.
struct Batches {
    side: usize,
    // [batch, 3, side, side]
    numbers: Vec<f32>,
    pictures: usize,
    /// Of one number of each batch: they were really made.
    sum: f64,
}

impl Batches {
    fn new(args: &Args) -> Self {
        Batches {
            side: args.image,
            numbers: vec![0.0; args.batch * 3 * args.image * args.image],
            pictures: 0,
            sum: 0.0,
        }
    }

    fn add(&mut self, picture: &Prepared) {
        let plane = 3 * self.side * self.side;
        let batch = self.numbers.len() / plane;
        let place = self.pictures % batch;
        picture.write_planes(self.side, &mut self.numbers[place * plane..(place + 1) * plane]);
        self.pictures += 1;
        if self.pictures.is_multiple_of(batch) {
            self.sum += f64::from(self.numbers[plane / 2]);
        }
    }
}

/// Decodes and resizes the folder's pictures in file order; their encoded bytes.
fn each_picture(args: &Args, mut take: impl FnMut(Prepared) -> Result<()>) -> Result<usize> {
    let folder = Dataset::open(&args.dataset)?;
    let mut rows = folder
        .pairs(Columns::Only(&["id", "modality", "image"]))?
        .take(args.rows);
    let mut bytes = 0;
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
            take(prepared?)?;
        }
    }
    if bytes == 0 {
        bail!("{}: has no pairs", args.dataset.display());
    }
    Ok(bytes)
}
