//! Which commands make up the demo and the real run.

mod demo;
mod real;

use std::path::{Path, PathBuf};

pub use demo::demo;
pub use real::real;

use super::step::Step;

/// A list of commands, the files they need, and where everything goes.
#[derive(Debug)]
pub struct Plan {
    /// `demo`, `demo-short` or `real`.
    pub name: String,
    /// Output folder.
    pub out: PathBuf,
    /// Folders with the screenshots, for the pictures on the final page: (source id, folder).
    pub screenshots: Vec<(String, PathBuf)>,
    /// Trained KeepFIT models: (modality, run folder).
    pub models: Vec<(String, PathBuf)>,
    /// Files written before the first step.
    pub files: Vec<(PathBuf, String)>,
    /// The commands in order.
    pub steps: Vec<Step>,
}

/// A labelled set for training and evaluation.
struct LabelledSet {
    name: &'static str,
    modality: &'static str,
    folder: PathBuf,
    /// Share of the pictures kept for evaluation.
    holdout: &'static str,
    /// Groups pictures of one patient or eye, when the file names tell.
    group_regex: Option<&'static str>,
    licence: &'static str,
    /// Categories that are abbreviations (folder names with spaces for `_`), and what they stand for.
    full_names: &'static [(&'static str, &'static str)],
    /// The categories; each is prompted with its own name.
    classes: &'static [&'static str],
}

impl LabelledSet {
    /// `cfp`, `ffa` or `oct`, as part of file names.
    fn key(&self) -> String {
        self.modality.to_lowercase()
    }

    /// The sentence that a class name is put into, as in training without an attribute.
    fn prompt_template(&self) -> &'static str {
        match self.modality {
            "OCT" => "A Optical coherence tomography(OCT) photograph of {}",
            "FFA" => "A fundus fluorescein angiography of {}",
            _ => "A fundus photograph of {}",
        }
    }

    /// The label map that `ingest labels` reads, when folder names need one.
    fn label_map(&self, out: &Path) -> Option<(PathBuf, String)> {
        if self.full_names.is_empty() {
            return None;
        }
        let lines: String = self
            .full_names
            .iter()
            .map(|(short, full)| format!("{short:?} = {full:?}\n"))
            .collect();
        let text = format!("# Written by the road program: what the folder names stand for.\n[categories]\n{lines}");
        Some((out.join(format!("names-{}.toml", self.key())), text))
    }
}

/// The seed of every step.
const SEED: &str = "7";

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// A step whose arguments are made on the way.
fn step(name: &str, program: &'static str, args: &[String]) -> Step {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    Step::new(name, program, &args)
}

fn strings<const N: usize>(args: [&str; N]) -> Vec<String> {
    args.map(str::to_owned).to_vec()
}

/// The steps from labelled folders to a dataset that is checked, counted and queried.
fn dataset_steps(steps: &mut Vec<Step>, sets: &[LabelledSet], dataset: &str, out: &Path) {
    for set in sets {
        let mut args = strings(["labels", "--images"]);
        args.push(text(&set.folder));
        args.extend(strings([
            "--dataset",
            set.name,
            "--modality",
            set.modality,
            "--holdout",
            set.holdout,
        ]));
        args.extend(strings(["--seed", SEED, "--licence", set.licence, "--out", dataset]));
        if let Some(regex) = set.group_regex {
            args.extend(strings(["--group-regex", regex]));
        }
        if let Some((path, _)) = set.label_map(out) {
            args.extend(["--label-map".to_owned(), text(&path)]);
        }
        steps.push(step(&format!("labels-{}", set.name), "ingest", &args));
    }
    steps.push(Step::new("cards", "data-cards", &["dataset", dataset]));
    steps.push(Step::new("validate", "dataset", &["validate", dataset]));
    steps.push(Step::new(
        "stats",
        "dataset",
        &["stats", dataset, "--out", &text(&out.join("stats"))],
    ));
    let sql = "SELECT source_id, modality, review_status, count(*) AS pairs FROM pairs \
               GROUP BY source_id, modality, review_status ORDER BY source_id, modality, review_status";
    steps.push(Step::new("query", "dataset", &["query", dataset, sql]));
}

/// The files that the steps read: label maps, and one suite per trained set.
fn files(out: &Path, sets: &[LabelledSet], trained: &[LabelledSet]) -> Vec<(PathBuf, String)> {
    let maps = sets.iter().filter_map(|set| set.label_map(out));
    let suites = trained
        .iter()
        .map(|set| (out.join(format!("suite-{}.toml", set.key())), suite_toml(set)));
    maps.chain(suites).collect()
}

/// The suite that `eval suite` runs on the held-out pictures of one labelled set.
fn suite_toml(set: &LabelledSet) -> String {
    let (name, key, modality, template) = (set.name, set.key(), set.modality, set.prompt_template());
    let mut toml = format!(
        r#"# Written by the road program. Paths count from this folder.
name = "{name}"
description = "Pictures of {name} that training did not see"
seed = {SEED}
shots = [1, 5]
allow_short_classes = true
training = ["dataset@train"]
compare_pictures = true

[[model]]
name = "keepfit-{key}"
run = "runs/keepfit-{key}"

[[dataset]]
name = "{name}"
modality = "{modality}"
folder = "dataset"
set = "{name}"
split = "test"
template = "{template}"
"#
    );
    for class in set.classes {
        toml += &format!("\n[[dataset.class]]\nname = \"{class}\"\nprompts = [\"{class}\"]\n");
    }
    toml
}

/// Trains one KeepFIT model per set on top of a text encoder and a codebook.
///
/// `vocabulary` is a vocabulary file; without it a tokeniser is trained first.
fn training_steps(
    steps: &mut Vec<Step>,
    size: &str,
    dataset: &str,
    runs: &Path,
    sets: &[LabelledSet],
    vocabulary: Option<&Path>,
) -> Vec<(String, PathBuf)> {
    let datasets = format!("datasets=[{dataset:?}]");
    let mut train = |stage: &str, run: &Path, settings: &[String]| {
        let mut args = strings([stage, "--config", &format!("trainer/configs/{size}-{stage}.toml")]);
        for setting in std::iter::once(&datasets).chain(settings) {
            args.extend(strings(["--set", setting]));
        }
        args.extend(["--out".to_owned(), text(run)]);
        let name = run
            .file_name()
            .map(|n| n.to_string_lossy().into_owned())
            .unwrap_or_default();
        steps.push(step(&name, "trainer", &args));
    };
    let tokenizer = vocabulary.map_or_else(|| runs.join("tokenizer"), Path::to_owned);
    if vocabulary.is_none() {
        train("tokenizer", &tokenizer, &[]);
    }
    let tokenizer = format!("tokenizer={:?}", text(&tokenizer));
    let (mlm, codebook) = (runs.join("mlm"), runs.join("codebook"));
    train("mlm", &mlm, std::slice::from_ref(&tokenizer));
    train("codebook", &codebook, &[]);
    let mut models = Vec::new();
    for set in sets {
        let run = runs.join(format!("keepfit-{}", set.key()));
        let settings = [
            tokenizer.clone(),
            format!("text_init={:?}", text(&mlm)),
            format!("codebook_init={:?}", text(&codebook)),
            format!("modality={:?}", set.modality),
            format!("label_sets=[{:?}]", set.name),
        ];
        train("keepfit", &run, &settings);
        models.push((set.modality.to_owned(), run));
    }
    models
}

/// Evaluation and the model cards.
fn closing_steps(steps: &mut Vec<Step>, out: &Path, sets: &[LabelledSet], models: &[(String, PathBuf)]) {
    for set in sets {
        let suite = text(&out.join(format!("suite-{}.toml", set.key())));
        let eval = text(&out.join("eval").join(set.key()));
        steps.push(Step::new(
            &format!("eval-{}", set.key()),
            "eval",
            &["suite", "--config", &suite, "--out", &eval],
        ));
    }
    for (modality, run) in models {
        let name = format!("card-{}", modality.to_lowercase());
        let report = text(&out.join("eval").join(modality.to_lowercase()).join("report.json"));
        steps.push(Step::new(
            &name,
            "data-cards",
            &["model", &text(run), "--report", &report],
        ));
    }
}
