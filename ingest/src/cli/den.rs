//! `ingest den`: a mixed set of photographs and angiograms into the dataset folder.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use dataset::Modality;
use regex::Regex;

use super::Outcome;
use super::modality::Method;
use crate::glossary::Glossary;
use crate::modality::ModalityModel;
use crate::source::labels::list::LabelMap;
use crate::source::labels::screen::Screen;
use crate::source::labels::{LabelsOptions, ingest_labels};

/// Pictures of one case carry its name and a number: `uveitis-with-nvd-6.jpg`.
const CASE_NAME: &str = r"([^/]+?)[-_ ]?\d*\.[^./]+$";

/// Reads a set that mixes modalities (DEN): looks at every picture, drops collages and foreign ones.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
As the paper does with DEN (Section III-A1): pictures that are collages of several, or neither colour
photographs nor angiograms, are left out with the reason in the ledger; the others are told apart by the
same classifier as the books' panels (`--method kmeans` for the paper's own colour histograms), and each row
carries its modality. Labels are put in order: known names become the glossary's, descriptions such as
`43-year-old female, macular hole` become attributes. --lists writes one FLAIR-style list a modality.

Examples:
  ingest den --csv 06_DEN.csv --images DEN/ --dataset DEN --out DATASET
  ingest den --csv 06_DEN.csv --images DEN/ --dataset DEN --lists lists/ --method kmeans --holdout 0.1 --out DATASET
  ingest den --images class-folders/ --dataset mixed --keep CFP --keep FFA --keep OCT --out DATASET")]
pub struct DenArgs {
    /// List of pictures and labels (columns image, atributes, categories); without it, folders name the labels
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Folder that the list's paths lie in, or the folder of class folders
    #[arg(long, value_name = "DIR")]
    images: PathBuf,
    /// Name of the set (letters, digits, `.`, `_`, `-`)
    #[arg(long, value_name = "NAME", default_value = "DEN")]
    dataset: String,
    /// Dataset folder
    #[arg(long, value_name = "DATASET")]
    out: PathBuf,
    /// Modality that stays; may be given several times
    #[arg(long, value_name = "MODALITY", default_values = ["CFP", "FFA"])]
    keep: Vec<Modality>,
    /// Leave pictures out whose modality is less sure than this (0 to 1)
    #[arg(long, value_name = "P", default_value_t = 0.5)]
    least_confidence: f64,
    /// Leave collages in
    #[arg(long)]
    keep_collages: bool,
    /// Which method judges
    #[arg(long, value_enum, default_value_t = Method::Measures)]
    method: Method,
    /// Modality statistics made by `ingest modality-fit`; without it the built-in ones
    #[arg(long, value_name = "FILE")]
    modality_model: Option<PathBuf>,
    /// Folder that gets a list of each modality
    #[arg(long, value_name = "DIR")]
    lists: Option<PathBuf>,
    /// Share of each category's groups held out as split `test` (0 to below 1)
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    holdout: f64,
    /// Seed of the choice of held-out groups
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Pattern on the picture's path; capture 1 names its case. Without it, the file name less its number
    #[arg(long, value_name = "RE")]
    group_regex: Option<String>,
    /// Licence of the set, as an SPDX id or in words
    #[arg(long, value_name = "TEXT")]
    licence: Option<String>,
    /// TOML file of synonyms, see `ingest labels --help`
    #[arg(long, value_name = "FILE")]
    label_map: Option<PathBuf>,
}

/// Runs the command; prints a one-line JSON summary.
pub fn run(arguments: &DenArgs) -> anyhow::Result<Outcome> {
    for (name, share) in [
        ("--holdout", arguments.holdout),
        ("--least-confidence", arguments.least_confidence),
    ] {
        if !(0.0..1.0).contains(&share) {
            bail!("{name} {share}: give a number from 0 to below 1");
        }
    }
    let pattern = arguments.group_regex.as_deref().unwrap_or(CASE_NAME);
    let group = Regex::new(pattern).with_context(|| format!("--group-regex `{pattern}` is no regular expression"))?;
    let model = match &arguments.modality_model {
        Some(path) => ModalityModel::open(path)?,
        None => ModalityModel::built_in()?,
    };
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
        modality: Modality::Other,
        out: arguments.out.clone(),
        holdout: arguments.holdout,
        seed: arguments.seed,
        group: Some(group),
        licence: arguments.licence.clone(),
        label_map,
        ffa_ir: None,
        as_pairs: false,
        screen: Some(Screen {
            model: Arc::new(model),
            kmeans: arguments.method == Method::Kmeans,
            keep: arguments.keep.clone(),
            least_confidence: arguments.least_confidence,
            keep_collages: arguments.keep_collages,
            lists: arguments.lists.clone(),
            glossary: Arc::new(Glossary::built_in()?),
        }),
    })?;
    super::labels::finish(&summary)
}
