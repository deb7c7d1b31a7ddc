//! Runs a suite: lists images, fills the feature cache, evaluates every cell, collects the report.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context;
use dataset::progress::{Progress, bar};

use super::cache::FeatureCache;
use super::config::{DatasetConfig, FoldRows, ModelConfig, Several, Suite};
use super::gather::{Table, Work, embed_set, read_table};
use super::leaks::{AuditRoom, TrainingLists, without_rows};
use super::model::FeatureSource;
use super::results::{ClassInfo, DatasetInfo, ModelInfo, SuiteReport, SuiteResult};
use super::samples::{add_samples, remember_samples};
use super::sources::{HashIndex, ImageSet, SetImage, list};
use crate::error::EvalError;
use crate::features::Vectors;
use crate::folds::Amount;
use crate::protocol::{DEFAULT_LOGIT_SCALE, Inputs, Method, Setting, run as run_protocol};
use crate::report::{RunReport, distinct_folds, predictions_csv, summarise};
use crate::truth::Task;

/// Opens a model of the suite on a device; `None` for a model of feature files.
pub type OpenModel<'a> = &'a dyn Fn(&ModelConfig, &str) -> anyhow::Result<Option<Box<dyn FeatureSource>>>;

/// Runs a suite. Predictions, thumbnails and cached features go below `out`; the report comes back.
pub fn run_suite(suite: &Suite, out: &Path, device: &str, open: OpenModel<'_>) -> anyhow::Result<(SuiteReport, Work)> {
    let cache_folder = out.join("features");
    std::fs::create_dir_all(&cache_folder).with_context(|| format!("cannot create {}", cache_folder.display()))?;
    let mut work = Work::default();
    let index_file = cache_folder.join("files.json");
    let mut index: HashIndex = std::fs::read(&index_file)
        .ok()
        .and_then(|b| serde_json::from_slice(&b).ok())
        .unwrap_or_default();
    let sets: Vec<anyhow::Result<ImageSet>> = suite
        .datasets
        .iter()
        .map(|config| list(config, &mut index, &mut work.images_read))
        .collect();
    let mut training = TrainingLists::default();
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
        leaks: Vec::new(),
        samples: Vec::new(),
    };
    let cells = suite.models.len() * suite.datasets.len() * suite.settings().len();
    let progress = bar(Some(cells as u64), "settings evaluated");
    for model in &suite.models {
        let opened = open(model, device).with_context(|| format!("model '{}' cannot be opened", model.name));
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
            let table = match table {
                Ok(table) => table,
                Err(error) => {
                    report
                        .results
                        .push(failed(config, model, "all", serde_json::Value::Null, &error));
                    continue;
                }
            };
            let mut room = AuditRoom {
                suite,
                out,
                index: &mut index,
                lists: &mut training,
            };
            let leaked = match room.audit(config, model, sets[number].as_ref().ok(), &table, &mut work)? {
                Some((rows, info)) => {
                    report.leaks.push(info);
                    rows
                }
                None => BTreeSet::new(),
            };
            let logit_scale = report.models.last().map_or(DEFAULT_LOGIT_SCALE, |m| m.logit_scale);
            let cell = Cell {
                suite,
                config,
                model,
                table: &table,
                leaked: &leaked,
                logit_scale,
                out,
            };
            evaluate(&cell, &mut report, &progress);
        }
    }
    progress.finish();
    dataset::fs::write_atomic(&index_file, &serde_json::to_vec(&index)?)?;
    add_samples(suite, &sets, out, &mut report, &mut work)?;
    Ok((report, work))
}

fn dataset_info(config: &DatasetConfig, set: &anyhow::Result<ImageSet>) -> DatasetInfo {
    let images: &[SetImage] = set.as_ref().map_or(&[], |s| s.images.as_slice());
    let class = |(index, class): (usize, &super::config::ClassConfig)| ClassInfo {
        name: class.name.clone(),
        images: images
            .iter()
            .filter(|i| i.classes.contains(&index) && i.in_split)
            .count(),
        images_all_splits: images.iter().filter(|i| i.classes.contains(&index)).count(),
        prompts: config.prompts(class),
    };
    let classes: Vec<ClassInfo> = config.classes.iter().enumerate().map(class).collect();
    let odd = config.classes.iter().zip(&classes).filter_map(|(c, info)| {
        let known = c.images.filter(|&n| set.is_ok() && n != info.images_all_splits)?;
        Some(format!(
            "class '{}' has {} images here, {known} in the published set",
            c.name, info.images_all_splits
        ))
    });
    let features_only = config.folder.is_none() && config.tree.is_none();
    DatasetInfo {
        name: config.name.clone(),
        modality: config.modality.to_string(),
        split: config.split.clone(),
        fold_rows: config.fold_rows,
        several: config.several == Several::MultiLabel,
        remarks: odd.collect(),
        classes,
        left_out: set.as_ref().map(|s| s.left_out.clone()).unwrap_or_default(),
        rejected: set.as_ref().map(|s| s.rejected.clone()).unwrap_or_default(),
        error: set.as_ref().err().filter(|_| !features_only).map(|e| format!("{e:#}")),
    }
}

fn model_info(model: &ModelConfig, source: Option<&dyn FeatureSource>, error: Option<String>) -> ModelInfo {
    ModelInfo {
        name: model.name.clone(),
        kind: match (&model.run, &model.released) {
            (Some(_), _) => "trainer run",
            (_, Some(_)) => "released weights",
            _ => "feature files",
        }
        .to_string(),
        ablation: model.ablation,
        weights_sha256: source.map(FeatureSource::weights_sha256),
        preprocessing: source.map(FeatureSource::preprocessing),
        logit_scale: model
            .logit_scale
            .or(source.map(FeatureSource::logit_scale))
            .unwrap_or(DEFAULT_LOGIT_SCALE),
        error,
    }
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
        without_leaked: None,
        predictions: None,
        report: None,
        error: Some(format!("{error:#}")),
    }
}

/// One model on one data set, with everything that its settings share.
struct Cell<'a> {
    suite: &'a Suite,
    config: &'a DatasetConfig,
    model: &'a ModelConfig,
    table: &'a Table,
    /// Rows of the table that training held.
    leaked: &'a BTreeSet<usize>,
    logit_scale: f64,
    out: &'a Path,
}

/// Runs every setting of the suite on one table; with leaked rows, scores each a second time without them.
fn evaluate(cell: &Cell<'_>, report: &mut SuiteReport, progress: &Progress) {
    for (method, shots) in cell.suite.settings() {
        let setting = Setting {
            folds: cell.suite.folds,
            splitting: cell.suite.splits,
            mode: cell.suite.mode,
            logit_scale: cell.logit_scale,
            seed: cell.suite.seed,
            allow_short_classes: cell.suite.allow_short_classes,
            ..Setting::of_paper(method, shots)
        };
        match evaluate_one(cell, &setting, report) {
            Ok(results) => report.results.extend(results),
            Err(error) => report
                .results
                .push(failed(cell.config, cell.model, method.name(), shots.to_json(), &error)),
        }
        progress.inc(1);
    }
}

/// One setting: the result on every row and, where rows leaked, the one without them.
fn evaluate_one(cell: &Cell<'_>, setting: &Setting, report: &mut SuiteReport) -> anyhow::Result<Vec<SuiteResult>> {
    let (config, model, table) = (cell.config, cell.model, cell.table);
    let whole = config.fold_rows == FoldRows::All && setting.method != Method::ZeroShot;
    let rows: Vec<usize> = (0..table.images.len())
        .filter(|&r| whole || table.images[r].in_split)
        .collect();
    let labels: Vec<Vec<usize>> = rows.iter().map(|&r| table.images[r].classes.clone()).collect();
    let several = config.several == Several::MultiLabel;
    let task = Task::new(&labels, config.classes.len(), several, setting.method);
    let rows: Vec<usize> = task.rows.iter().map(|&r| rows[r]).collect();
    let paths: Vec<String> = rows.iter().map(|&r| table.images[r].name.clone()).collect();
    let classes: Vec<String> = task.classes.iter().map(|&c| config.classes[c].name.clone()).collect();
    let texts = table.texts.as_ref().map(|t| t.select(&task.classes));
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
        let vectors = table
            .projected
            .as_ref()
            .ok_or_else(|| lacking("no projected vectors"))?;
        projected = Some(pick(vectors).to_rows());
    }
    let inputs = Inputs {
        truth: task.truth(),
        classes: &classes,
        texts: texts.as_ref(),
        projected: projected.as_ref(),
        features: features.as_ref(),
    };
    let folds = run_protocol(&inputs, setting)?;
    let distinct = distinct_folds(setting, &folds);
    let file = format!(
        "predictions/{}/{}/{}.csv",
        file_name(&config.name),
        file_name(&model.name),
        file_name(&format!("{}-{}", setting.method.name(), setting.shots))
    );
    let path = cell.out.join(&file);
    std::fs::create_dir_all(path.parent().unwrap_or(cell.out))?;
    dataset::fs::write_atomic(&path, &predictions_csv(&paths, &inputs, distinct)?)?;
    if setting.method == Method::ZeroShot {
        remember_samples(config, model, &paths, &inputs, &distinct[0], report);
    }
    let result = |without_leaked, numbers: Result<RunReport, EvalError>| {
        let (report, error) = match numbers {
            Ok(numbers) => (Some(numbers), None),
            Err(error) => (None, Some(error.to_string())),
        };
        SuiteResult {
            dataset: config.name.clone(),
            model: model.name.clone(),
            method: setting.method.name().to_string(),
            shots: setting.shots.to_json(),
            without_leaked,
            predictions: Some(file.clone()),
            report,
            error,
        }
    };
    let mut results = vec![result(
        None,
        Ok(summarise(&inputs, setting, &folds, cell.suite.bootstrap)),
    )];
    if !cell.leaked.is_empty() {
        let held = |row: usize| cell.leaked.contains(&rows[row]);
        let clean = without_rows(&folds, task.truth(), held).map(|(folds, groups)| {
            let inputs = Inputs {
                truth: task.truth().with_groups(&groups),
                ..inputs
            };
            summarise(&inputs, setting, &folds, cell.suite.bootstrap)
        });
        results.push(result(Some(cell.leaked.len()), clean));
    }
    Ok(results)
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::cell::Cell;

    use super::*;
    use crate::suite::cache::ImageVectors;

    /// Mean colour as vector: tells red from green folders.
    struct Colours<'a> {
        embedded: &'a Cell<usize>,
        weights: &'static str,
    }

    impl FeatureSource for Colours<'_> {
        fn embed_images(&self, images: &[image::RgbImage]) -> anyhow::Result<Vec<ImageVectors>> {
            self.embedded.set(self.embedded.get() + images.len());
            let mean = |image: &image::RgbImage| {
                let sums = image
                    .pixels()
                    .fold([0.0f32; 3], |s, p| [0, 1, 2].map(|c| s[c] + f32::from(p.0[c])));
                let length = sums.iter().map(|s| s * s).sum::<f32>().sqrt();
                sums.map(|s| s / length).to_vec()
            };
            Ok(images
                .iter()
                .map(|i| ImageVectors {
                    features: mean(i),
                    projected: mean(i),
                })
                .collect())
        }
        fn embed_texts(&self, texts: &[String]) -> anyhow::Result<Vec<Vec<f32>>> {
            Ok(texts
                .iter()
                .map(|t| {
                    if t.contains("red") {
                        vec![2.0, 0.0, 0.0]
                    } else {
                        vec![0.0, 0.5, 0.0]
                    }
                })
                .collect())
        }
        fn logit_scale(&self) -> f64 {
            2.0
        }
        fn weights_sha256(&self) -> String {
            self.weights.into()
        }
        fn preprocessing(&self) -> String {
            "as it is".into()
        }
    }

    const SUITE: &str = r#"
name = "colours"
shots = [2]
bootstrap = 20
[[model]]
name = "mean colour"
run = "run"
[[dataset]]
name = "boxes"
modality = "CFP"
tree = "tree"
template = "a {} box"
class = [ { name = "red", prompts = ["red", "very red"] }, { name = "green", match = ["Verde-Claro"], prompts = ["green"] } ]
"#;

    fn draw_tree(folder: &Path) {
        for (name, red) in [("red", 200u8), ("verde_claro", 40), ("blue", 90)] {
            std::fs::create_dir_all(folder.join("tree").join(name)).unwrap();
            for i in 0..12u8 {
                let picture = image::RgbImage::from_pixel(8, 8, image::Rgb([red - i, 240 - red + 2 * i, 30 + i]));
                picture.save(folder.join(format!("tree/{name}/{i}.png"))).unwrap();
            }
        }
        std::fs::write(folder.join("suite.toml"), SUITE).unwrap();
    }

    #[test]
    fn a_second_run_reads_no_image_and_gives_the_same_report() {
        let folder = tempfile::tempdir().unwrap();
        draw_tree(folder.path());
        std::fs::write(folder.path().join("tree/red/broken.png"), b"no picture").unwrap();
        let suite = Suite::read(&folder.path().join("suite.toml")).unwrap();
        let embedded = Cell::new(0);
        let run = |weights: &'static str| {
            // the closure must own nothing that outlives the test: count through a leaked cell
            let count: &'static Cell<usize> = Box::leak(Box::new(Cell::new(0)));
            let open = move |_: &ModelConfig, _: &str| -> anyhow::Result<Option<Box<dyn FeatureSource>>> {
                Ok(Some(Box::new(Colours {
                    embedded: count,
                    weights,
                })))
            };
            let result = run_suite(&suite, &folder.path().join("out"), "cpu", &open).unwrap();
            embedded.set(embedded.get() + count.get());
            result
        };
        let (first, work) = run("w1");
        assert_eq!((work.images_embedded, embedded.get()), (24, 24));
        assert_eq!(first.datasets[0].left_out["blue"], 12);
        assert!(
            first.problems().iter().any(|p| p.contains("red/broken.png")),
            "{:?}",
            first.problems()
        );
        let zero_shot = first
            .find("boxes", "mean colour", "zero-shot", &shots_value(0))
            .unwrap();
        assert_eq!(
            (zero_shot.images, zero_shot.mean.acc, zero_shot.logit_scale),
            (24, 1.0, 2.0)
        );
        assert!(
            first.results.iter().all(|r| r.report.is_some()),
            "{:?}",
            first.problems()
        );
        assert_eq!(first.samples.len(), 4);

        // the broken file is tried again; everything else comes from the cache
        std::fs::remove_file(folder.path().join("tree/red/broken.png")).unwrap();
        let (second, work) = run("w1");
        assert_eq!((work.images_read, work.images_embedded), (0, 0));
        let numbers = |r: &SuiteReport| serde_json::to_string(&r.results).unwrap();
        assert_eq!(numbers(&first), numbers(&second));
        // other weights are another cache
        assert_eq!(run("w2").1.images_embedded, 24);
    }

    #[test]
    fn a_class_without_images_and_a_missing_model_are_named() {
        let folder = tempfile::tempdir().unwrap();
        draw_tree(folder.path());
        std::fs::remove_dir_all(folder.path().join("tree/verde_claro")).unwrap();
        let suite = Suite::read(&folder.path().join("suite.toml")).unwrap();
        let open = |model: &ModelConfig, _: &str| -> anyhow::Result<Option<Box<dyn FeatureSource>>> {
            anyhow::bail!("{:?} is absent", model.run)
        };
        let (report, _) = run_suite(&suite, &folder.path().join("out"), "cpu", &open).unwrap();
        let problems = report.problems().join("\n");
        assert!(
            problems.contains("class 'green' has no image") && problems.contains("Verde-Claro"),
            "{problems}"
        );
        assert!(
            problems.contains("model 'mean colour'") && problems.contains("is absent"),
            "{problems}"
        );
    }
}
