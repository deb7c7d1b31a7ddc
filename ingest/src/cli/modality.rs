//! `ingest modality` and `ingest modality-fit`.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use dataset::modality::Modality;
use serde_json::json;

use super::Outcome;
use super::images::for_each_image;
use crate::modality::check::leave_one_collection_out;
use crate::modality::histogram::hsv_histogram;
use crate::modality::{ModalityModel, Sample, Verdict, fit, sample};
use crate::page::open_page;
use crate::parallel::map_ordered;

/// Which way to judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Method {
    /// Measures of the colour histogram and of shape, weighed by a regression
    Measures,
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
    #[arg(long, value_enum, default_value_t = Method::Measures)]
    method: Method,
    /// Images worked on at the same time; 0 takes one per core
    #[arg(long, default_value_t = 1)]
    jobs: usize,
}

/// Arguments of `ingest modality-fit`.
#[derive(Debug, Args)]
#[command(after_help = "\
DIR holds folders CFP, FFA, OCT and OTHER. The manifest is a CSV with the columns
`file` (path below DIR) and `source`; the images of one source and modality are one
collection. Each collection is judged by what the others taught: accuracy, macro-F1 and
calibration go to stdout as JSON, the statistics (no pictures) to FILE. The same images
give the same bytes.

Examples:
  ingest modality-fit --images panels/ --out modality.json
  ingest modality-fit --images panels/ --images clinic/ --other pages/ --out modality.json")]
pub struct ModalityFitArgs {
    /// Folder with the labelled images; may be given several times
    #[arg(long, required = true, value_name = "DIR")]
    images: Vec<PathBuf>,
    /// CSV with columns `file` and `source`, in the order of the folders; default DIR/manifest.csv
    #[arg(long, value_name = "FILE")]
    manifest: Vec<PathBuf>,
    /// Folder with pictures that are none of the three, such as pages, charts and photographs of things; DIR/manifest.csv
    /// names their sources, else each folder below it is one. May be given several times
    #[arg(long, value_name = "DIR")]
    other: Vec<PathBuf>,
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
                Method::Measures => model.classify(&page.image),
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
    if arguments.manifest.len() > arguments.images.len() {
        bail!(
            "--manifest is given {} times, --images {} times; each manifest belongs to one folder",
            arguments.manifest.len(),
            arguments.images.len()
        );
    }
    let mut inputs: Vec<(PathBuf, Modality, String)> = Vec::new();
    for (index, folder) in arguments.images.iter().enumerate() {
        let manifest = arguments.manifest.get(index).cloned();
        let manifest = manifest.unwrap_or_else(|| folder.join("manifest.csv"));
        inputs.extend(labelled_images(folder, &manifest)?);
    }
    if inputs.is_empty() {
        bail!("no images in folders named CFP, FFA, OCT or OTHER; check --images");
    }
    for folder in &arguments.other {
        let found = other_images(folder)?;
        if found.is_empty() {
            bail!("{}: no images in it; check --other", folder.display());
        }
        inputs.extend(found);
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
    let missing: Vec<&str> = Modality::ALL
        .iter()
        .filter(|m| !samples.iter().any(|s| s.modality == **m))
        .map(|m| m.as_str())
        .collect();
    if !missing.is_empty() {
        bail!(
            "no readable image of {}; statistics need all of CFP, FFA, OCT and OTHER (charts, pages, drawings)",
            missing.join(", ")
        );
    }
    let model = fit(&samples, arguments.seed);
    dataset::fs::write_atomic(&arguments.out, readable(&model)?.as_bytes())?;
    println!(
        "{}",
        leave_one_collection_out(&samples, arguments.seed, arguments.jobs)?
    );
    Ok(Outcome::from_rejected(rejected))
}

/// Images in the folders CFP, FFA, OCT, OTHER (any case) with the source that the manifest names.
fn labelled_images(folder: &Path, manifest: &Path) -> anyhow::Result<Vec<(PathBuf, Modality, String)>> {
    let sources = sources(manifest)?;
    let mut out = Vec::new();
    for (path, below) in files(folder)? {
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
        out.push((path, modality, source.clone()));
    }
    Ok(out)
}

/// Images anywhere below `folder`; files that are none by their first bytes are passed over.
fn other_images(folder: &Path) -> anyhow::Result<Vec<(PathBuf, Modality, String)>> {
    let manifest = folder.join("manifest.csv");
    let sources = if manifest.exists() {
        sources(&manifest)?
    } else {
        HashMap::new()
    };
    let mut out = Vec::new();
    for (path, below) in files(folder)? {
        let mut start = Vec::new();
        std::fs::File::open(&path)
            .and_then(|file| file.take(64).read_to_end(&mut start))
            .with_context(|| path.display().to_string())?;
        if image::guess_format(&start).is_err() {
            continue;
        }
        let place = below.rsplit_once('/').map_or(".", |(parents, _)| parents);
        let source = sources.get(&below).cloned().unwrap_or_else(|| place.to_owned());
        out.push((path, Modality::Other, source));
    }
    Ok(out)
}

/// Files below `folder` in natural order, each with its path below it.
fn files(folder: &Path) -> anyhow::Result<Vec<(PathBuf, String)>> {
    let mut out = Vec::new();
    for entry in walkdir::WalkDir::new(folder)
        .sort_by(|a, b| dataset::fs::natural_cmp(&a.file_name().to_string_lossy(), &b.file_name().to_string_lossy()))
    {
        let entry = entry.with_context(|| format!("{}: cannot list", folder.display()))?;
        if entry.file_type().is_file() {
            let below = entry.path().strip_prefix(folder)?.to_string_lossy().replace('\\', "/");
            out.push((entry.path().to_owned(), below));
        }
    }
    Ok(out)
}

/// The columns `file` and `source` of a manifest.
fn sources(manifest: &Path) -> anyhow::Result<HashMap<String, String>> {
    let mut reader = csv::Reader::from_path(manifest)
        .with_context(|| format!("{}: cannot read the manifest", manifest.display()))?;
    let header = reader.headers()?.clone();
    let column = |name: &str| {
        header
            .iter()
            .position(|h| h.trim_start_matches('\u{feff}') == name)
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
    Ok(sources)
}

/// The model as JSON, an entry a line: lists of numbers stay on one.
fn readable(model: &ModalityModel) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    let mut writer = serde_json::Serializer::with_formatter(&mut bytes, ListsInLine::default());
    serde::Serialize::serialize(model, &mut writer)?;
    bytes.push(b'\n');
    Ok(String::from_utf8(bytes)?)
}

/// Objects over several lines, arrays on one.
#[derive(Default)]
struct ListsInLine {
    objects: serde_json::ser::PrettyFormatter<'static>,
}

impl serde_json::ser::Formatter for ListsInLine {
    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        self.objects.begin_object(writer)
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        self.objects.end_object(writer)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        self.objects.begin_object_key(writer, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        self.objects.begin_object_value(writer)
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        self.objects.end_object_value(writer)
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }
}
