//! `draw-sample`: draws book pages, labelled pictures and texts to try the toolkit on.

use std::path::PathBuf;

use clap::Parser;
use tests::sample::{SampleSize, draw_sample};

/// Draw a small sample: three atlases, three labelled sets, three corpora.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Folder to fill.
    #[arg(long)]
    out: PathBuf,
    /// Everything drawn follows from this number.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Draw the smaller sample that the tests use.
    #[arg(long)]
    short: bool,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let size = if args.short {
        SampleSize::SHORT
    } else {
        SampleSize::DEMO
    };
    draw_sample(&args.out, size, args.seed)
}
