//! `ingest modality` and `ingest modality-fit`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use dataset::modality::Modality;
use serde_json::json;

use super::Outcome;
use super::images::for_each_image;
use crate::modality::histogram::hsv_histogram;
use crate::modality::{ModalityModel, Sample, Verdict, fit, sample};
use crate::page::open_page;
use crate::parallel::map_ordered;

/// Which way to judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Method {
    /// Four questions on colour and shape measures
    Tree,
    /// The paper's K-means on HSV histograms and distances to reference histograms
    Kmeans,
}

/// Arguments of `ingest modality`.
#[derive(Debug, Args)]
#[command(after_help = "\
Prints a JSON object a line: path, modality and scores (CFP, FFA, OCT, OTHER; they sum to 1).

Examples:
  ingest modality panels/*.png
  ingest modality --method kmeans panel.png
  ingest modality --model my-modality.json panel.png")]
pub struct ModalityArgs {
    /// Single panel images
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// Statistics made by `ingest modality-fit`; without it the built-in ones
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Which method judges
    #[arg(long, value_enum, default_value_t = Method::Tree)]
    method: Method,
    /// Images worked on at the same time; 0 takes one per core
    #[arg(long, default_value_t = 1)]
    jobs: usize,
}

/// Arguments of `ingest modality-fit`.
#[derive(Debug, Args)]
#[command(after_help = "\
DIR holds folders CFP, FFA, OCT and OTHER. The manifest is a CSV with the columns
`file` (path below DIR, or below the manifest's folder) and `source`; images of one
source are left out together when the result is checked. The checked accuracy goes
to stdout as JSON, the statistics (no pictures) to FILE.

Example:
  ingest modality-fit --images panels/ --manifest panels/manifest.csv --out modality.json")]
pub struct ModalityFitArgs {
    /// Folder with the labelled images; may be given several times
    #[arg(long, required = true, value_name = "DIR")]
    images: Vec<PathBuf>,
    /// CSV with columns `file` and `source`, in the order of the folders; default DIR/manifest.csv
    #[arg(long, value_name = "FILE")]
    manifest: Vec<PathBuf>,
    /// Where the statistics go
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Seed of the K-means method
    #[arg(long, default_value_t = 2024)]
    seed: u64,
    /// Images measured at the same time; 0 takes one per core
    #[arg(long, default_value_t = 0)]
    jobs: usize,
}

/// Runs `ingest modality`.
pub fn run(arguments: &ModalityArgs) -> anyhow::Result<Outcome> {
    let model = match &arguments.model {
        Some(path) => ModalityModel::open(path)?,
        None => ModalityModel::built_in()?,
    };
    for_each_image(
        &arguments.images,
        arguments.jobs,
        || (),
        |(), path| {
            let page = open_page(path)?;
            let verdict = match arguments.method {
                Method::Tree => model.classify(&page.image),
                Method::Kmeans => model.kmeans.classify(&hsv_histogram(&page.image)),
            };
            Ok(line(path, &verdict))
        },
    )
}

fn line(path: &Path, verdict: &Verdict) -> String {
    let scores: serde_json::Map<String, serde_json::Value> = Modality::ALL
        .iter()
        .zip(verdict.scores)
        .map(|(m, s)| (m.to_string(), json!(s)))
        .collect();
    json!({
        "path": path.display().to_string(),
        "modality": verdict.modality.to_string(),
        "scores": scores,
    })
    .to_string()
}

/// Runs `ingest modality-fit`.
pub fn run_fit(arguments: &ModalityFitArgs) -> anyhow::Result<Outcome> {
    let mut inputs: Vec<(PathBuf, Modality, String)> = Vec::new();
    for (index, folder) in arguments.images.iter().enumerate() {
        let manifest = arguments
            .manifest
            .get(index)
            .cloned()
            .unwrap_or_else(|| folder.join("manifest.csv"));
        inputs.extend(labelled_images(folder, &manifest)?);
    }
    if inputs.is_empty() {
        bail!("no images in folders named CFP, FFA, OCT or OTHER; check --images");
    }
    let mut samples: Vec<Sample> = Vec::new();
    let mut rejected = 0;
    map_ordered(
        &inputs,
        arguments.jobs,
        || (),
        |(), (path, modality, source)| open_page(path).map(|page| sample(&page.image, *modality, source)),
        |_, result| -> anyhow::Result<()> {
            match result {
                Ok(s) => samples.push(s),
                Err(reason) => {
                    rejected += 1;
                    eprintln!("rejected: {reason}");
                }
            }
            Ok(())
        },
    )?;
    let model = fit(&samples, arguments.seed);
    let text = serde_json::to_string_pretty(&model)? + "\n";
    dataset::fs::write_atomic(&arguments.out, text.as_bytes())?;
    println!("{}", check(&samples, arguments.seed));
    Ok(Outcome::from_rejected(rejected))
}

/// Images in the folders CFP, FFA, OCT, OTHER (any case) with the source that the manifest names.
fn labelled_images(folder: &Path, manifest: &Path) -> anyhow::Result<Vec<(PathBuf, Modality, String)>> {
    let mut reader = csv::Reader::from_path(manifest)
        .with_context(|| format!("{}: cannot read the manifest", manifest.display()))?;
    let header = reader.headers()?.clone();
    let column = |name: &str| {
        header
            .iter()
            .position(|h| h == name)
            .with_context(|| format!("{}: no column `{name}`", manifest.display()))
    };
    let (file, source) = (column("file")?, column("source")?);
    let mut sources: HashMap<String, String> = HashMap::new();
    for row in reader.records() {
        let row = row.with_context(|| manifest.display().to_string())?;
        sources.insert(
            row.get(file).unwrap_or_default().to_owned(),
            row.get(source).unwrap_or_default().to_owned(),
        );
    }
    let mut out = Vec::new();
    for entry in walkdir::WalkDir::new(folder)
        .sort_by(|a, b| dataset::fs::natural_cmp(&a.file_name().to_string_lossy(), &b.file_name().to_string_lossy()))
    {
        let entry = entry.with_context(|| format!("{}: cannot list", folder.display()))?;
        if !entry.file_type().is_file() {
            continue;
        }
        let below = entry.path().strip_prefix(folder)?.to_string_lossy().replace('\\', "/");
        let Some(modality) = below.split('/').next().and_then(|d| d.parse::<Modality>().ok()) else {
            continue;
        };
        let Some(source) = sources.get(&below) else {
            bail!(
                "{}: {below} is not listed in {}; every image needs a source",
                folder.display(),
                manifest.display()
            );
        };
        out.push((entry.path().to_owned(), modality, source.clone()));
    }
    Ok(out)
}

/// Accuracy when each collection is judged by what the others taught. A collection
/// is a source's images of one modality. `other_looks` judges them on yellowed paper, faded and so on.
fn check(samples: &[Sample], seed: u64) -> serde_json::Value {
    let groups: BTreeSet<(String, Modality)> = samples.iter().map(|s| (s.source.clone(), s.modality)).collect();
    let mut tables = serde_json::Map::new();
    for method in ["tree", "kmeans"] {
        let mut confusion: BTreeMap<(Modality, Modality), usize> = BTreeMap::new();
        let mut by_group = serde_json::Map::new();
        let mut unlearnt = Vec::new();
        let mut looks = (0usize, 0usize); // right, all
        for (source, modality) in &groups {
            let out = |s: &Sample| s.source == *source && s.modality == *modality;
            let rest: Vec<Sample> = samples.iter().filter(|s| !out(s)).cloned().collect();
            if !rest.iter().any(|s| s.modality == *modality) {
                // No other collection shows this modality: nothing to learn it from.
                unlearnt.push(format!("{modality} {source}"));
                continue;
            }
            let model = fit(&rest, seed);
            let (mut right, mut all) = (0usize, 0usize);
            for (s, look) in samples
                .iter()
                .filter(|s| out(s))
                .flat_map(|s| s.look_measures.iter().map(move |l| (s, l)))
            {
                if method == "tree" {
                    looks.0 += usize::from(model.tree.classify(look).modality == s.modality);
                    looks.1 += 1;
                }
            }
            for s in samples.iter().filter(|s| out(s)) {
                let verdict = if method == "tree" {
                    model.tree.classify(&s.measures)
                } else {
                    model.kmeans.classify(&s.histogram)
                };
                *confusion.entry((s.modality, verdict.modality)).or_default() += 1;
                right += usize::from(verdict.modality == s.modality);
                all += 1;
            }
            by_group.insert(
                format!("{modality} {source}"),
                json!({"images": all, "accuracy": right as f64 / all.max(1) as f64}),
            );
        }
        let total: usize = confusion.values().sum();
        let right: usize = confusion.iter().filter(|((a, b), _)| a == b).map(|(_, n)| n).sum();
        tables.insert(
            method.to_owned(),
            json!({
                "images": total,
                "accuracy": right as f64 / total.max(1) as f64,
                "other_looks": (looks.1 > 0).then(|| json!({"images": looks.1, "accuracy": looks.0 as f64 / looks.1 as f64})),
                "collections": by_group,
                "confusion": confusion.iter().map(|((a, b), n)| (format!("{a}->{b}"), json!(n))).collect::<serde_json::Map<_, _>>(),
                "only_collection_of_its_modality": unlearnt,
            }),
        );
    }
    json!({"images": samples.len(), "leave_one_collection_out": tables})
}
