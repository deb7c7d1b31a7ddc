//! `eval leakage`: test images that a training set holds already.

use std::path::PathBuf;

use clap::Args;

use crate::leakage::audit;
use crate::leakage::lists::read_list;

/// Arguments of `eval leakage`.
#[derive(Args)]
pub struct LeakageArgs {
    /// Training images: a dataset folder (FOLDER#SET for one label set, FOLDER@SPLIT for one split), a folder of images, or a CSV with a column image
    #[arg(long, required = true, num_args = 1..)]
    train: Vec<String>,
    /// Test images, in the same forms
    #[arg(long)]
    test: String,
    /// Compare the pictures too: finds resized and recompressed copies, reads every image
    #[arg(long)]
    perceptual: bool,
    /// Every finding (JSON)
    #[arg(long, value_name = "FILE.json")]
    out: Option<PathBuf>,
}

/// Runs the audit; whether every image could be read.
pub fn run(args: &LeakageArgs) -> anyhow::Result<bool> {
    let (mut train, mut rejected) = (Vec::new(), Vec::new());
    for place in &args.train {
        let (list, bad) = read_list(place, args.perceptual)?;
        train.extend(list);
        rejected.extend(bad);
    }
    let (test, bad) = read_list(&args.test, args.perceptual)?;
    rejected.extend(bad);
    let found = audit(&train, &test);
    rejected.iter().for_each(|r| tracing::warn!("{r}"));
    if let Some(file) = &args.out {
        let mut json = serde_json::to_vec_pretty(&found)?;
        json.push(b'\n');
        dataset::fs::write_atomic(file, &json)?;
    }
    let unconfirmed = found.findings.iter().filter(|f| f.unconfirmed).count();
    if unconfirmed > 0 {
        tracing::warn!(
            "{unconfirmed} images share a name with a training image of other bytes; --perceptual tells whether they are the same picture"
        );
    }
    println!(
        "{}",
        serde_json::json!({
            "train_images": found.train_images, "test_images": found.test_images, "leaked": found.leaked,
            "by_evidence": found.by_evidence, "repeated_in_test": found.repeated_in_test, "unconfirmed": unconfirmed, "rejected": rejected.len()
        })
    );
    Ok(rejected.is_empty())
}
