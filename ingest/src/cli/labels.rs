//! `ingest labels`: a labelled set into the dataset folder.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use dataset::Modality;
use regex::Regex;

use super::Outcome;
use crate::glossary::Glossary;
use crate::source::labels::ffa_ir::FfaIrFiles;
use crate::source::labels::list::LabelMap;
use crate::source::labels::{LabelsOptions, LabelsSummary, ingest_labels};

/// Reads a labelled set: a FLAIR-style list, a folder per class or FFA-IR.
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

A label map is TOML: [categories] with lines like \"NO\" = \"normal\", \"dme\" = \"diabetic macular edema\";
`--synonyms` maps what it does not name by the glossary of retinal terms (BVO, branch vein occlusion and
视网膜分支静脉阻塞 become branch retinal vein occlusion).

FFA-IR: its annotation (JSON: split, case, Image_path, En_Report, Ch_Report) instead of a list. Categories are
the lesions marked in each picture, else the findings that the report names; both reports go along as
attributes. With --as-pairs the reports become captions of image-text pairs instead. Pictures of a case
never cross splits; the set's own splits hold unless --holdout is given.

  ingest labels --ffa-ir ffair_annotation.json --lesions lesion_info.json --lesion-names lesion_dict.json \\
      --images FFAIR/ --dataset FFA-IR --modality FFA --out DATASET")]
pub struct LabelsArgs {
    /// List of pictures and categories; without it, folders name the categories
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// FFA-IR's annotation (JSON) instead of a list
    #[arg(long, value_name = "FILE", conflicts_with = "csv")]
    ffa_ir: Option<PathBuf>,
    /// FFA-IR's lesions by picture (JSON)
    #[arg(long, value_name = "FILE", requires = "ffa_ir")]
    lesions: Option<PathBuf>,
    /// Names of FFA-IR's lesion categories (JSON)
    #[arg(long, value_name = "FILE", requires = "lesions")]
    lesion_names: Option<PathBuf>,
    /// Write FFA-IR's reports as image-text pairs
    #[arg(long, requires = "ffa_ir")]
    as_pairs: bool,
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
    /// Map abbreviations and synonyms by the glossary of retinal terms
    #[arg(long)]
    synonyms: bool,
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
    let glossary = Arc::new(Glossary::built_in()?);
    let mut label_map = arguments
        .label_map
        .as_deref()
        .map(LabelMap::read)
        .transpose()?
        .unwrap_or_default();
    label_map.glossary = arguments.synonyms.then(|| glossary.clone());
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
        ffa_ir: arguments.ffa_ir.clone().map(|annotation| FfaIrFiles {
            annotation,
            lesions: arguments.lesions.clone(),
            lesion_names: arguments.lesion_names.clone(),
            glossary,
            own_splits: arguments.holdout == 0.0,
        }),
        as_pairs: arguments.as_pairs,
        screen: None,
    })?;
    finish(&summary)
}

/// Tells what was rejected and prints the summary.
pub(super) fn finish(summary: &LabelsSummary) -> anyhow::Result<Outcome> {
    for (reason, count) in &summary.rejected {
        eprintln!("{}: {count} rejected: {reason} (each in the ledger)", summary.dataset);
    }
    if summary.rows == 0 && summary.rejected.contains_key("missing") {
        eprintln!(
            "{}: no picture was found; --images is the folder that the list's paths begin in",
            summary.dataset
        );
    }
    println!("{}", serde_json::to_string(summary)?);
    Ok(Outcome::from_rejected(summary.rejected.values().sum()))
}
