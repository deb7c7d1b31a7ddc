//! Runs a suite: lists images, fills the feature cache, evaluates every cell, collects the report.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context;
use dataset::image_input::decode_rgb8;
use dataset::progress::{Progress, bar};

use super::cache::FeatureCache;
use super::config::{DatasetConfig, FoldRows, ModelConfig, Suite};
use super::model::{FeatureSource, class_vector};
use super::results::{ClassInfo, DatasetInfo, ModelInfo, Sample, SuiteReport, SuiteResult};
use super::sources::{HashIndex, ImageSet, Rejected, SetImage, list, read_images};
use crate::features::{
    VectorColumn, Vectors, check_same_width, class_indices, read_images as read_feature_file, read_texts,
};
use crate::folds::Amount;
use crate::protocol::{DEFAULT_LOGIT_SCALE, FoldOutcome, Inputs, Method, Setting, run as run_protocol};
use crate::report::{predictions_csv, summarise};
use crate::vectors::Rows;

/// Images embedded at a time.
const BATCH: usize = 16;
/// Sample images per class in the report.
const SAMPLES_PER_CLASS: usize = 2;
/// Longer side of a thumbnail, pixels.
const THUMBNAIL_PIXELS: u32 = 160;

/// Opens a model given its path and a device name.
pub type OpenModel<'a> = &'a dyn Fn(&Path, &str) -> anyhow::Result<Box<dyn FeatureSource>>;

/// How much work a run needed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    /// Image files or rows whose bytes were read.
    pub images_read: u64,
    /// Images that went through a model.
    pub images_embedded: u64,
}

/// Vectors of one model for the images of one data set; rows follow `images`.
struct Table {
    images: Vec<SetImage>,
    features: Option<Vectors>,
    projected: Option<Vectors>,
    texts: Option<Rows>,
    /// Why `projected` or `features` is missing, when a method asks for it.
    missing: String,
}

/// Runs a suite. Predictions, thumbnails and cached features go below `out`; the report comes back.
pub fn run_suite(suite: &Suite, out: &Path, device: &str, open: OpenModel<'_>) -> anyhow::Result<(SuiteReport, Work)> {
    let cache_folder = out.join("features");
    std::fs::create_dir_all(&cache_folder).with_context(|| format!("cannot create {}", cache_folder.display()))?;
    let mut work = Work::default();
    let sets = list_all(suite, &cache_folder, &mut work)?;
    let mut report = SuiteReport {
        name: suite.name.clone(),
        description: suite.description.clone(),
        eval_version: env!("CARGO_PKG_VERSION").to_string(),
        seed: suite.seed,
        folds: suite.folds,
        splits: suite.splits,
        mode: suite.mode,
        datasets: suite
            .datasets
            .iter()
            .zip(&sets)
            .map(|(c, s)| dataset_info(c, s))
            .collect(),
        models: Vec::new(),
        results: Vec::new(),
        samples: Vec::new(),
    };
    let cells = suite.models.len() * suite.datasets.len() * suite.settings().len();
    let progress = bar(Some(cells as u64), "settings evaluated");
    for model in &suite.models {
        let opened = match &model.run {
            Some(run) => open(run, device)
                .with_context(|| format!("model '{}': {} cannot be opened", model.name, run.display()))
                .map(Some),
            None => Ok(None),
        };
        let source = match opened {
            Ok(source) => source,
            Err(error) => {
                report.models.push(model_info(model, None, Some(format!("{error:#}"))));
                continue;
            }
        };
        report.models.push(model_info(model, source.as_deref(), None));
        let mut cache = source
            .as_ref()
            .map(|s| FeatureCache::open(&cache_folder, &format!("{} {}", s.weights_sha256(), s.preprocessing())));
        for (number, config) in suite.datasets.iter().enumerate() {
            progress.message(format!("{} on {}", model.name, config.name));
            let table = match (&source, &mut cache, &sets[number]) {
                (Some(source), Some(cache), Ok(set)) => {
                    let table = embed_set(
                        config,
                        set,
                        source.as_ref(),
                        cache,
                        &mut work,
                        &mut report.datasets[number].rejected,
                    );
                    cache.save()?;
                    table
                }
                (Some(_), _, Err(_)) => continue, // reported with the data set
                _ => match model.features.get(&config.name) {
                    Some(files) => read_table(config, files),
                    None => continue,
                },
            };
            match table {
                Ok(table) => evaluate(
                    suite,
                    config,
                    model,
                    &table,
                    report.models.last().map_or(DEFAULT_LOGIT_SCALE, |m| m.logit_scale),
                    out,
                    &mut report,
                    &progress,
                )?,
                Err(error) => report
                    .results
                    .push(failed(config, model, "all", serde_json::Value::Null, &error)),
            }
        }
    }
    progress.finish();
    add_samples(suite, &sets, out, &mut report, &mut work)?;
    Ok((report, work))
}

/// Lists every set, keeping the hash index beside the cache.
fn list_all(suite: &Suite, folder: &Path, work: &mut Work) -> anyhow::Result<Vec<anyhow::Result<ImageSet>>> {
    let file = folder.join("files.json");
    let mut index: HashIndex = std::fs::read(&file)
        .ok()
        .and_then(|b| serde_json::from_slice(&b).ok())
        .unwrap_or_default();
    let sets = suite
        .datasets
        .iter()
        .map(|config| list(config, &mut index, &mut work.images_read))
        .collect();
    dataset::fs::write_atomic(&file, &serde_json::to_vec(&index)?)?;
    Ok(sets)
}

fn dataset_info(config: &DatasetConfig, set: &anyhow::Result<ImageSet>) -> DatasetInfo {
    let images: &[SetImage] = set.as_ref().map_or(&[], |s| s.images.as_slice());
    let class = |(index, class): (usize, &super::config::ClassConfig)| ClassInfo {
        name: class.name.clone(),
        images: images.iter().filter(|i| i.class == index && i.in_split).count(),
        images_all_splits: images.iter().filter(|i| i.class == index).count(),
        prompts: config.prompts(class),
    };
    let features_only = config.folder.is_none() && config.tree.is_none();
    DatasetInfo {
        name: config.name.clone(),
        modality: config.modality.to_string(),
        split: config.split.clone(),
        fold_rows: config.fold_rows,
        classes: config.classes.iter().enumerate().map(class).collect(),
        left_out: set.as_ref().map(|s| s.left_out.clone()).unwrap_or_default(),
        rejected: set.as_ref().map(|s| s.rejected.clone()).unwrap_or_default(),
        error: set.as_ref().err().filter(|_| !features_only).map(|e| format!("{e:#}")),
    }
}

fn model_info(model: &ModelConfig, source: Option<&dyn FeatureSource>, error: Option<String>) -> ModelInfo {
    ModelInfo {
        name: model.name.clone(),
        kind: if model.run.is_some() {
            "trainer run"
        } else {
            "feature files"
        }
        .to_string(),
        weights_sha256: source.map(FeatureSource::weights_sha256),
        preprocessing: source.map(FeatureSource::preprocessing),
        logit_scale: model
            .logit_scale
            .or(source.map(FeatureSource::logit_scale))
            .unwrap_or(DEFAULT_LOGIT_SCALE),
        error,
    }
}

/// Vectors of a set from the cache; what is missing there is computed first. Images that fail are left out and named.
fn embed_set(
    config: &DatasetConfig,
    set: &ImageSet,
    source: &dyn FeatureSource,
    cache: &mut FeatureCache,
    work: &mut Work,
    rejected: &mut Vec<Rejected>,
) -> anyhow::Result<Table> {
    let missing: BTreeSet<String> = set
        .images
        .iter()
        .filter(|i| cache.get(&i.sha256).is_none())
        .map(|i| i.sha256.clone())
        .collect();
    if !missing.is_empty() {
        let progress = bar(Some(missing.len() as u64), "images embedded");
        progress.message(config.name.clone());
        let mut batch: Vec<(String, image::RgbImage)> = Vec::new();
        let mut bad: Vec<Rejected> = Vec::new();
        let mut flush = |batch: &mut Vec<(String, image::RgbImage)>, work: &mut Work| -> anyhow::Result<()> {
            let (keys, images): (Vec<String>, Vec<image::RgbImage>) = std::mem::take(batch).into_iter().unzip();
            let vectors = source.embed_images(&images)?;
            progress.inc(keys.len() as u64);
            work.images_embedded += keys.len() as u64;
            keys.into_iter().zip(vectors).for_each(|(key, v)| cache.insert(key, v));
            Ok(())
        };
        read_images(config, set, &missing, |image, bytes| {
            work.images_read += 1;
            match decode_rgb8(&bytes, &image.name) {
                Ok(decoded) => batch.push((image.sha256.clone(), decoded.rgb)),
                Err(error) => bad.push(Rejected {
                    image: image.name.clone(),
                    reason: error.to_string(),
                }),
            }
            if batch.len() == BATCH {
                flush(&mut batch, work)
            } else {
                Ok(())
            }
        })?;
        if !batch.is_empty() {
            flush(&mut batch, work)?;
        }
        progress.finish();
        for entry in bad
            .into_iter()
            .filter(|b| !rejected.iter().any(|r| r.image == b.image))
            .collect::<Vec<_>>()
        {
            rejected.push(entry);
        }
    }
    let mut table = Table {
        images: Vec::new(),
        features: Some(Vectors::default()),
        projected: Some(Vectors::default()),
        texts: None,
        missing: String::new(),
    };
    for image in &set.images {
        let Some(vectors) = cache.get(&image.sha256) else {
            continue;
        };
        for (to, from, what) in [
            (&mut table.features, &vectors.features, "features"),
            (&mut table.projected, &vectors.projected, "projected"),
        ] {
            let Some(to) = to else { continue };
            append(to, from).map_err(|problem| anyhow::anyhow!("{}: {what} {problem}", image.name))?;
        }
        table.images.push(image.clone());
    }
    let mut texts = Vectors::default();
    for class in &config.classes {
        append(&mut texts, &class_vector(source, &config.prompts(class))?)
            .map_err(|p| anyhow::anyhow!("class '{}': text vector {p}", class.name))?;
    }
    table.texts = Some(texts.to_rows());
    Ok(table)
}

/// Adds one vector; all must be finite and of one length.
fn append(to: &mut Vectors, from: &[f32]) -> Result<(), String> {
    if to.width == 0 {
        to.width = from.len();
    }
    if from.is_empty() || from.len() != to.width {
        return Err(format!("has {} numbers, the first has {}", from.len(), to.width));
    }
    if let Some(at) = from.iter().position(|v| !v.is_finite()) {
        return Err(format!(
            "holds {} at position {at}; were the weights trained to the end?",
            from[at]
        ));
    }
    to.values.extend_from_slice(from);
    Ok(())
}

/// A table from the feature files of any other model. Labels count the classes of the suite from 0.
fn read_table(config: &DatasetConfig, files: &super::config::FeatureFiles) -> anyhow::Result<Table> {
    let projected = files
        .texts
        .as_ref()
        .map(|_| read_feature_file(&files.images, VectorColumn::Projected))
        .transpose();
    let features = read_feature_file(&files.images, VectorColumn::Features);
    let missing = [projected.as_ref().err(), features.as_ref().err()]
        .into_iter()
        .flatten()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ");
    let projected = projected.ok().flatten();
    let features = features.ok();
    let Some(any) = projected.as_ref().or(features.as_ref()) else {
        anyhow::bail!("{missing}")
    };
    let labels = match &files.texts {
        Some(file) => {
            let texts = read_texts(file)?;
            let names: Vec<&str> = config.classes.iter().map(|c| c.name.as_str()).collect();
            if texts.classes.len() != names.len()
                || !texts.classes.iter().zip(&names).all(|(a, b)| a.eq_ignore_ascii_case(b))
            {
                anyhow::bail!(
                    "{}: classes by label are {:?}, the suite has {names:?}",
                    file.display(),
                    texts.classes
                );
            }
            if projected.is_some() {
                check_same_width(any, &texts, file)?;
            }
            (class_indices(any, &texts, file)?, Some(texts.vectors.to_rows()))
        }
        None => {
            let index = |(row, &label): (usize, &i64)| {
                let class = usize::try_from(label).ok().filter(|&c| c < config.classes.len());
                class.ok_or_else(|| {
                    anyhow::anyhow!(
                        "{}: row {row} has label {label}, the suite has classes 0 to {}",
                        files.images.display(),
                        config.classes.len() - 1
                    )
                })
            };
            (
                any.labels
                    .iter()
                    .enumerate()
                    .map(index)
                    .collect::<anyhow::Result<_>>()?,
                None,
            )
        }
    };
    let image = |(name, &class): (&String, &usize)| SetImage {
        name: name.clone(),
        class,
        sha256: String::new(),
        in_split: true,
    };
    Ok(Table {
        images: any.paths.iter().zip(&labels.0).map(image).collect(),
        texts: labels.1,
        projected: projected.map(|p| p.vectors),
        features: features.map(|f| f.vectors),
        missing: if missing.is_empty() {
            "the model's feature files have no texts".to_string()
        } else {
            missing
        },
    })
}

fn failed(
    config: &DatasetConfig,
    model: &ModelConfig,
    method: &str,
    shots: serde_json::Value,
    error: &anyhow::Error,
) -> SuiteResult {
    SuiteResult {
        dataset: config.name.clone(),
        model: model.name.clone(),
        method: method.to_string(),
        shots,
        predictions: None,
        report: None,
        error: Some(format!("{error:#}")),
    }
}

/// Runs every setting of the suite on one table.
#[allow(clippy::too_many_arguments)]
fn evaluate(
    suite: &Suite,
    config: &DatasetConfig,
    model: &ModelConfig,
    table: &Table,
    logit_scale: f64,
    out: &Path,
    report: &mut SuiteReport,
    progress: &Progress,
) -> anyhow::Result<()> {
    for (method, shots) in suite.settings() {
        let setting = Setting {
            folds: suite.folds,
            splitting: suite.splits,
            mode: suite.mode,
            logit_scale,
            seed: suite.seed,
            allow_short_classes: suite.allow_short_classes,
            ..Setting::of_paper(method, shots)
        };
        let result = match evaluate_one(suite, config, table, &setting, |paths, inputs, folds| {
            let file = format!(
                "predictions/{}/{}/{}.csv",
                file_name(&config.name),
                file_name(&model.name),
                file_name(&format!("{}-{shots}", method.name()))
            );
            let path = out.join(&file);
            std::fs::create_dir_all(path.parent().unwrap_or(out))?;
            dataset::fs::write_atomic(&path, &predictions_csv(paths, inputs, folds)?)?;
            if method == Method::ZeroShot {
                remember_samples(config, model, paths, inputs, &folds[0], report);
            }
            Ok(file)
        }) {
            Ok((numbers, file)) => SuiteResult {
                dataset: config.name.clone(),
                model: model.name.clone(),
                method: method.name().to_string(),
                shots: shots.to_json(),
                predictions: Some(file),
                report: Some(numbers),
                error: None,
            },
            Err(error) => failed(config, model, method.name(), shots.to_json(), &error),
        };
        report.results.push(result);
        progress.inc(1);
    }
    Ok(())
}

fn evaluate_one(
    suite: &Suite,
    config: &DatasetConfig,
    table: &Table,
    setting: &Setting,
    write: impl FnOnce(&[String], &Inputs<'_>, &[FoldOutcome]) -> anyhow::Result<String>,
) -> anyhow::Result<(crate::report::RunReport, String)> {
    let whole = config.fold_rows == FoldRows::All && setting.method != Method::ZeroShot;
    let rows: Vec<usize> = (0..table.images.len())
        .filter(|&r| whole || table.images[r].in_split)
        .collect();
    let labels: Vec<usize> = rows.iter().map(|&r| table.images[r].class).collect();
    let paths: Vec<String> = rows.iter().map(|&r| table.images[r].name.clone()).collect();
    let classes: Vec<String> = config.classes.iter().map(|c| c.name.clone()).collect();
    let pick = |v: &Vectors| Vectors {
        values: rows
            .iter()
            .flat_map(|&r| &v.values[r * v.width..(r + 1) * v.width])
            .copied()
            .collect(),
        width: v.width,
    };
    let lacking = |what: &str| anyhow::anyhow!("{what}: {}", table.missing);
    let (mut features, mut projected) = (None, None);
    if setting.method == Method::LinearProbe {
        features = Some(pick(table.features.as_ref().ok_or_else(|| lacking("no raw features"))?));
    } else {
        projected = Some(
            pick(
                table
                    .projected
                    .as_ref()
                    .ok_or_else(|| lacking("no projected vectors"))?,
            )
            .to_rows(),
        );
    }
    let inputs = Inputs {
        labels: &labels,
        classes: &classes,
        texts: table.texts.as_ref(),
        projected: projected.as_ref(),
        features: features.as_ref(),
    };
    let folds = run_protocol(&inputs, setting)?;
    let numbers = summarise(&inputs, setting, &folds, suite.bootstrap);
    let file = write(&paths, &inputs, &folds)?;
    Ok((numbers, file))
}

/// Letters, digits, dot, dash and percent as they are; everything else becomes an underscore.
pub fn file_name(text: &str) -> String {
    let keep = |c: char| {
        if c.is_alphanumeric() || matches!(c, '-' | '_' | '%') {
            c
        } else {
            '_'
        }
    };
    text.chars().map(keep).collect()
}

/// Shots as an amount, for looking up results.
pub fn shots_value(shots: usize) -> serde_json::Value {
    Amount::Count(shots).to_json()
}

/// Notes the first images of each class with the model's answer.
fn remember_samples(
    config: &DatasetConfig,
    model: &ModelConfig,
    paths: &[String],
    inputs: &Inputs<'_>,
    fold: &FoldOutcome,
    report: &mut SuiteReport,
) {
    let mut order: Vec<usize> = (0..fold.test.len()).collect();
    order.sort_by(|&a, &b| dataset::fs::natural_cmp(&paths[fold.test[a]], &paths[fold.test[b]]));
    for (class, name) in inputs.classes.iter().enumerate() {
        for &i in order
            .iter()
            .filter(|&&i| inputs.labels[fold.test[i]] == class)
            .take(SAMPLES_PER_CLASS)
        {
            let mut ranking: Vec<(String, f64)> = inputs
                .classes
                .iter()
                .cloned()
                .zip(fold.probabilities[i].iter().copied())
                .collect();
            ranking.sort_by(|a, b| b.1.total_cmp(&a.1));
            let image = paths[fold.test[i]].clone();
            report.samples.push(Sample {
                dataset: config.name.clone(),
                model: model.name.clone(),
                image,
                truth: name.clone(),
                ranking,
                thumbnail: String::new(),
            });
        }
    }
}

/// Makes the thumbnails that are not there yet and drops samples whose picture cannot be had.
fn add_samples(
    suite: &Suite,
    sets: &[anyhow::Result<ImageSet>],
    out: &Path,
    report: &mut SuiteReport,
    work: &mut Work,
) -> anyhow::Result<()> {
    for (config, set) in suite.datasets.iter().zip(sets) {
        let Ok(set) = set else { continue };
        let mut wanted = BTreeSet::new();
        for sample in report.samples.iter_mut().filter(|s| s.dataset == config.name) {
            let Some(image) = set.images.iter().find(|i| i.name == sample.image) else {
                continue;
            };
            sample.thumbnail = format!("features/thumbnails/{}.jpg", image.sha256);
            if !out.join(&sample.thumbnail).exists() {
                wanted.insert(image.sha256.clone());
            }
        }
        if wanted.is_empty() {
            continue;
        }
        std::fs::create_dir_all(out.join("features/thumbnails"))?;
        read_images(config, set, &wanted, |image, bytes| {
            work.images_read += 1;
            let picture = decode_rgb8(&bytes, &image.name)?.rgb;
            let small = image::DynamicImage::ImageRgb8(picture).thumbnail(THUMBNAIL_PIXELS, THUMBNAIL_PIXELS);
            let mut jpeg = std::io::Cursor::new(Vec::new());
            small.write_to(&mut jpeg, image::ImageFormat::Jpeg)?;
            dataset::fs::write_atomic(
                &out.join(format!("features/thumbnails/{}.jpg", image.sha256)),
                jpeg.get_ref(),
            )?;
            Ok(())
        })?;
    }
    report.samples.retain(|s| !s.thumbnail.is_empty());
    Ok(())
}
