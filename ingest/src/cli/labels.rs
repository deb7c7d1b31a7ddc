//! `ingest labels`: a labelled set into the dataset folder.

use std::path::PathBuf;

use anyhow::{Context, bail};
use dataset::Modality;
use regex::Regex;

use super::Outcome;
use crate::source::labels::list::LabelMap;
use crate::source::labels::{LabelsOptions, ingest_labels};

/// Reads a labelled set: a FLAIR-style list or a folder per class.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A list is a CSV file with the columns image, atributes and categories; cells hold Python or JSON lists.
Without --csv, the folders below --images name the categories. A list may name pictures that are not
there: such rows are rejected in the ledger and the exit code is 1.

Examples:
  ingest labels --images photos/ --dataset clinic --modality CFP --out DATASET
  ingest labels --csv 11_STARE.csv --images stare/ --dataset STARE --modality CFP --out DATASET \\
      --licence 'research only' --holdout 0.25 --seed 7
  ingest labels --images oct/ --dataset OCTDL --modality OCT --out DATASET --holdout 0.2 \\
      --group-regex '_(\\d+)_' --label-map names.toml

A label map is TOML: [categories] with lines like \"NO\" = \"normal\", \"dme\" = \"diabetic macular edema\".")]
pub struct LabelsArgs {
    /// List of pictures and categories; without it, folders name the categories
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Folder that the list's paths lie in, or the folder of class folders
    #[arg(long, value_name = "DIR")]
    images: PathBuf,
    /// Name of the set (letters, digits, `.`, `_`, `-`)
    #[arg(long, value_name = "NAME")]
    dataset: String,
    /// How the pictures were taken: CFP, FFA, OCT or OTHER
    #[arg(long, value_name = "MODALITY")]
    modality: Modality,
    /// Dataset folder
    #[arg(long, value_name = "DATASET")]
    out: PathBuf,
    /// Share of each category's groups held out as split `test` (0 to below 1)
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    holdout: f64,
    /// Seed of the choice of held-out groups
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Pattern on the picture's path; capture 1 names its group (a patient), which never crosses splits
    #[arg(long, value_name = "RE")]
    group_regex: Option<String>,
    /// Licence of the set, as an SPDX id or in words
    #[arg(long, value_name = "TEXT")]
    licence: Option<String>,
    /// TOML file of synonyms
    #[arg(long, value_name = "FILE")]
    label_map: Option<PathBuf>,
}

/// Runs the command; prints a one-line JSON summary.
pub fn run(arguments: &LabelsArgs) -> anyhow::Result<Outcome> {
    if !(0.0..1.0).contains(&arguments.holdout) {
        bail!(
            "--holdout {}: give a share from 0 to below 1, such as 0.25",
            arguments.holdout
        );
    }
    let group = arguments
        .group_regex
        .as_deref()
        .map(|text| Regex::new(text).with_context(|| format!("--group-regex `{text}` is no regular expression")))
        .transpose()?;
    let label_map = arguments
        .label_map
        .as_deref()
        .map(LabelMap::read)
        .transpose()?
        .unwrap_or_default();
    let summary = ingest_labels(&LabelsOptions {
        csv: arguments.csv.clone(),
        images: arguments.images.clone(),
        dataset: arguments.dataset.clone(),
        modality: arguments.modality,
        out: arguments.out.clone(),
        holdout: arguments.holdout,
        seed: arguments.seed,
        group,
        licence: arguments.licence.clone(),
        label_map,
    })?;
    for (reason, count) in &summary.rejected {
        eprintln!("{}: {count} rejected: {reason} (each in the ledger)", summary.dataset);
    }
    println!("{}", serde_json::to_string(&summary)?);
    Ok(Outcome::from_rejected(summary.rejected.values().sum()))
}
