//! Suite files: data sets, models and settings of one results table, in TOML.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use trainer::text::definitions::Definitions;

use crate::error::{EvalError, Result};
use crate::folds::{Amount, Splitting};
use crate::protocol::{DEFAULT_FOLDS, Method};
use crate::statistics::DEFAULT_REPLICATES;
use crate::tip_adapter::Mode;

/// A suite as written in its file. Relative paths count from the folder of the file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suite {
    /// Title of the report.
    pub name: String,
    /// Words below the title.
    #[serde(default)]
    pub description: String,
    /// Seed of adapter weights and bootstrap.
    #[serde(default)]
    pub seed: u64,
    /// Folds behind every number.
    #[serde(default = "default_folds")]
    pub folds: usize,
    /// random (the paper's) or stratified.
    #[serde(default = "default_splits")]
    pub splits: Splitting,
    /// paper or reference.
    #[serde(default = "default_mode")]
    pub mode: Mode,
    /// Bootstrap draws behind the intervals.
    #[serde(default = "default_bootstrap")]
    pub bootstrap: usize,
    /// Train on what there is of a class with too few images.
    #[serde(default)]
    pub allow_short_classes: bool,
    /// The paper's printed numbers (paper-tables.json), to print beside ours.
    #[serde(default)]
    pub printed: Option<PathBuf>,
    /// Methods to run.
    #[serde(default = "all_methods")]
    pub methods: Vec<Method>,
    /// Training images per class for the three adapters.
    #[serde(default = "paper_shots")]
    pub shots: Vec<usize>,
    /// Training share of the linear probe.
    #[serde(default = "probe_share")]
    pub linear_probe_shots: String,
    /// Images that the models were trained on, in the forms of `eval leakage --train`; a model's own list replaces it.
    #[serde(default)]
    pub training: Vec<String>,
    /// Compare the pictures in the leakage audit too, not names and bytes alone.
    #[serde(default)]
    pub compare_pictures: bool,
    /// Data sets.
    #[serde(rename = "dataset")]
    pub datasets: Vec<DatasetConfig>,
    /// Models.
    #[serde(rename = "model")]
    pub models: Vec<ModelConfig>,
}

fn default_folds() -> usize {
    DEFAULT_FOLDS
}
fn default_splits() -> Splitting {
    Splitting::Random
}
fn default_mode() -> Mode {
    Mode::Paper
}
fn default_bootstrap() -> usize {
    DEFAULT_REPLICATES
}
fn all_methods() -> Vec<Method> {
    vec![
        Method::ZeroShot,
        Method::ClipAdapter,
        Method::TipAdapter,
        Method::TipAdapterF,
        Method::LinearProbe,
    ]
}
fn paper_shots() -> Vec<usize> {
    vec![1, 5, 10]
}
fn probe_share() -> String {
    "80%".to_string()
}

/// Which rows the folds of few-shot methods and the linear probe are drawn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FoldRows {
    /// The rows of the named split, as zero-shot: nothing that the model may have trained on is scored.
    #[default]
    Split,
    /// All rows of the set, as the paper does with sets that the model never saw.
    All,
}

/// What becomes of an image whose categories belong to several classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Several {
    /// It is listed with its categories and not scored.
    #[default]
    LeaveOut,
    /// It counts for the first of its categories that a class names, in the order of its label.
    First,
    /// It counts for all of them: zero-shot and the linear probe answer every class apart, the adapters work on the
    /// images of exactly one class.
    MultiLabel,
}

impl Several {
    /// The word in a suite.
    pub fn name(self) -> &'static str {
        match self {
            Self::LeaveOut => "leave-out",
            Self::First => "first",
            Self::MultiLabel => "multi-label",
        }
    }
}

/// One data set: exactly one of `folder` (with `set`), `tree` or `features_only`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetConfig {
    /// Name in the tables; a name of the paper finds its printed numbers.
    pub name: String,
    /// CFP, FFA, OCT or OTHER: groups the tables.
    pub modality: dataset::modality::Modality,
    /// A dataset folder.
    #[serde(default)]
    pub folder: Option<PathBuf>,
    /// Label set in the dataset folder.
    #[serde(default)]
    pub set: Option<String>,
    /// Split to score; without it every row.
    #[serde(default)]
    pub split: Option<String>,
    /// A folder with one folder of images per class.
    #[serde(default)]
    pub tree: Option<PathBuf>,
    /// Rows of the few-shot folds.
    #[serde(default)]
    pub fold_rows: FoldRows,
    /// Images of several classes.
    #[serde(default)]
    pub several: Several,
    /// Where to get the images, shown when they are absent.
    #[serde(default)]
    pub download: Option<String>,
    /// "builtin", or a file like those in trainer/knowledge/: what it says of a class is added to the class's prompts.
    #[serde(default)]
    pub definitions: Option<String>,
    /// Pattern around every prompt, `{}` stands for it.
    #[serde(default = "bare_prompt")]
    pub template: String,
    /// Classes in label order.
    #[serde(rename = "class")]
    pub classes: Vec<ClassConfig>,
}

fn bare_prompt() -> String {
    "{}".to_string()
}

/// One class: how to find its images and how to describe it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassConfig {
    /// Name in the tables.
    pub name: String,
    /// Categories or folder names that mean this class; the name itself when left out. Case, underscores and
    /// dashes do not matter.
    #[serde(default, rename = "match")]
    pub matches: Vec<String>,
    /// Images that the published set has of this class; another number is remarked on.
    #[serde(default)]
    pub images: Option<usize>,
    /// Descriptions; the class vector is the mean of their vectors. May be left out where `definitions` has the class.
    #[serde(default)]
    pub prompts: Vec<String>,
}

impl ClassConfig {
    /// Categories or folder names that mean this class.
    pub fn match_names(&self) -> Vec<&str> {
        if self.matches.is_empty() {
            vec![self.name.as_str()]
        } else {
            self.matches.iter().map(String::as_str).collect()
        }
    }
}

/// The modules that a model was trained with: one row of Table VII. Models of one row differ by their seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ablation {
    /// Semantics-oriented knowledge injection.
    pub semantic: bool,
    /// Preliminary textual pretraining.
    pub textual: bool,
    /// Appearance-oriented knowledge injection.
    pub appearance: bool,
}

/// Released weights of KeepFIT or FLAIR, with what the file does not say.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleasedWeights {
    /// Weights: .pth, .bin or .safetensors.
    pub weights: PathBuf,
    /// Vocabulary of the text encoder: vocab.txt or a folder holding it.
    pub tokenizer: PathBuf,
    /// Side of the square input, pixels.
    #[serde(default = "released_image_size")]
    pub image_size: usize,
    /// Longest text, tokens.
    #[serde(default = "released_max_tokens")]
    pub max_tokens: usize,
    /// Attention heads of the text encoder; a 64th of its width when left out.
    #[serde(default)]
    pub text_heads: Option<usize>,
}

fn released_image_size() -> usize {
    512
}
fn released_max_tokens() -> usize {
    256
}

/// One model: a trainer run, released weights, or feature files of any other model.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Name in the tables.
    pub name: String,
    /// Run folder or checkpoint of the trainer.
    #[serde(default)]
    pub run: Option<PathBuf>,
    /// Released weights of KeepFIT or FLAIR.
    #[serde(default)]
    pub released: Option<ReleasedWeights>,
    /// Feature files by data set name.
    #[serde(default)]
    pub features: BTreeMap<String, FeatureFiles>,
    /// Log of the logit scale; a trainer run brings its own.
    #[serde(default)]
    pub logit_scale: Option<f64>,
    /// Images that this model was trained on; without it, those of the suite.
    #[serde(default)]
    pub training: Option<Vec<String>>,
    /// Row of the ablation table.
    #[serde(default)]
    pub ablation: Option<Ablation>,
}

/// Feature files of one model for one data set, as `eval run` reads them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureFiles {
    /// path, label, features and/or projected.
    pub images: PathBuf,
    /// class, label, projected; without it only the linear probe runs.
    #[serde(default)]
    pub texts: Option<PathBuf>,
}

impl Suite {
    /// Reads and checks a suite; paths come back relative to the current folder.
    pub fn read(file: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(file).map_err(|e| EvalError::io(file, e))?;
        let mut suite: Self = toml::from_str(&text).map_err(|e| EvalError::input(file, e.to_string()))?;
        let base = file.parent().unwrap_or(Path::new(""));
        let resolve = |path: &mut PathBuf| *path = base.join(&*path);
        let resolve_place = |place: &mut String| *place = base.join(&*place).to_string_lossy().into_owned();
        suite.training.iter_mut().for_each(resolve_place);
        suite.printed.iter_mut().for_each(resolve);
        for set in &mut suite.datasets {
            set.add_definitions(base)
                .map_err(|problem| EvalError::input(file, format!("dataset '{}': {problem}", set.name)))?;
            set.folder.iter_mut().chain(&mut set.tree).for_each(resolve);
        }
        for model in &mut suite.models {
            model.run.iter_mut().for_each(resolve);
            model.training.iter_mut().flatten().for_each(resolve_place);
            if let Some(released) = &mut model.released {
                resolve(&mut released.weights);
                resolve(&mut released.tokenizer);
            }
            for files in model.features.values_mut() {
                resolve(&mut files.images);
                files.texts.iter_mut().for_each(resolve);
            }
        }
        suite.check().map_err(|problem| EvalError::input(file, problem))?;
        Ok(suite)
    }

    /// Settings of the linear probe.
    pub fn probe_amount(&self) -> std::result::Result<Amount, String> {
        self.linear_probe_shots.parse()
    }

    /// (method, shots) of every run, in table order.
    pub fn settings(&self) -> Vec<(Method, Amount)> {
        let probe = self.probe_amount().unwrap_or(Amount::Percent(80));
        let of = |method: Method| match method {
            Method::ZeroShot => vec![(method, Amount::Count(0))],
            Method::LinearProbe => vec![(method, probe)],
            _ => self.shots.iter().map(|&k| (method, Amount::Count(k))).collect(),
        };
        self.methods.iter().flat_map(|&m| of(m)).collect()
    }
}

impl DatasetConfig {
    /// Adds to each class's prompts what the definitions say of its name or of one that it matches.
    fn add_definitions(&mut self, base: &Path) -> std::result::Result<(), String> {
        let Some(choice) = &self.definitions else { return Ok(()) };
        let place = if choice == "builtin" {
            choice.clone()
        } else {
            base.join(choice).to_string_lossy().into_owned()
        };
        let known = Definitions::open(&place, self.modality).map_err(|e| format!("definitions: {e:#}"))?;
        for class in &mut self.classes {
            let names = [class.name.as_str()].into_iter().chain(class.match_names());
            let found = names.map(|n| known.of(n)).find(|d| !d.is_empty()).unwrap_or_default();
            let new: Vec<String> = found.iter().filter(|d| !class.prompts.contains(d)).cloned().collect();
            class.prompts.extend(new);
        }
        Ok(())
    }

    /// The prompts of a class, each within the template.
    pub fn prompts(&self, class: &ClassConfig) -> Vec<String> {
        class.prompts.iter().map(|p| self.template.replace("{}", p)).collect()
    }
}

/// A category or class name as it is compared: case, and underscores or dashes for spaces, do not matter.
pub fn plain_name(name: &str) -> String {
    let spaced = name.to_lowercase().replace(['_', '-'], " ");
    spaced.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const GOOD: &str = r#"
name = "demo"
[[dataset]]
name = "ODIR200x3"
modality = "CFP"
tree = "images"
template = "A fundus photograph of {}"
class = [ { name = "normal", prompts = ["healthy"] }, { name = "cataract", match = ["cat", "CAT2"], prompts = ["opaque lens", "haze"] } ]
[[model]]
name = "tiny"
run = "run"
"#;

    fn read(text: &str) -> Result<Suite> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("suite.toml");
        std::fs::write(&file, text).unwrap();
        Suite::read(&file)
    }

    #[test]
    fn defaults_are_the_papers() {
        let suite = read(GOOD).unwrap();
        assert_eq!(suite.settings().len(), 1 + 9 + 1);
        assert_eq!((suite.folds, suite.bootstrap), (5, 1000));
        assert_eq!(
            suite.datasets[0].prompts(&suite.datasets[0].classes[1])[0],
            "A fundus photograph of opaque lens"
        );
        assert!(suite.datasets[0].tree.as_ref().unwrap().is_absolute());
    }

    #[test]
    fn definitions_add_to_the_prompts() {
        let with = GOOD.replace("tree = \"images\"", "tree = \"images\"\ndefinitions = \"builtin\"");
        let suite = read(&with.replace("prompts = [\"healthy\"] }", "prompts = [] }")).unwrap();
        let builtin = Definitions::open("builtin", dataset::modality::Modality::Cfp).unwrap();
        assert_eq!(suite.datasets[0].classes[0].prompts, builtin.of("normal"));
        let cataract = &suite.datasets[0].classes[1].prompts;
        assert_eq!((cataract[0].as_str(), cataract.len() > 2), ("opaque lens", true));
        let unknown = with.replace("name = \"normal\", prompts = [\"healthy\"]", "name = \"xyz\"");
        let error = read(&unknown).unwrap_err().to_string();
        assert!(
            error.contains("class 'xyz' needs prompts") && error.contains("builtin"),
            "{error}"
        );
        let absent = with.replace("\"builtin\"", "\"nowhere.toml\"");
        assert!(read(&absent).unwrap_err().to_string().contains("nowhere.toml"));
    }

    #[test]
    fn faults_are_named() {
        for (change, to, expected) in [
            ("name = \"demo\"", "name = \"demo\"\nfold = 5", "unknown field `fold`"),
            ("run = \"run\"", "", "model 'tiny': give either run"),
            (
                "run = \"run\"",
                "run = \"run\"\nablation = { semantic = true, textual = false }",
                "missing field `appearance`",
            ),
            ("tree = \"images\"", "folder = \"d\"", "folder needs set"),
            (
                "prompts = [\"healthy\"]",
                "prompts = []",
                "class 'normal' needs prompts",
            ),
            ("\"CAT2\"", "\"Normal\"", "match 'normal' appears twice"),
            ("fundus photograph of {}", "fundus photograph", "has no {}"),
            ("\"CFP\"", "\"XRAY\"", "XRAY"),
            (
                "name = \"demo\"",
                "name = \"demo\"\nshots = [1, 5, 1]",
                "shots names 1 twice",
            ),
            (
                "name = \"demo\"",
                "name = \"demo\"\nmethods = [\"zero-shot\", \"zero-shot\"]",
                "\"zero-shot\" twice",
            ),
            (
                "name = \"demo\"",
                "name = \"demo\"\nlinear_probe_shots = \"0%\"",
                "linear_probe_shots must be more than none",
            ),
            (
                "run = \"run\"",
                "run = \"run\"\nlogit_scale = nan",
                "model 'tiny': logit_scale is NaN",
            ),
            (
                "run = \"run\"",
                "run = \"run\"\n[[model]]\nname = \"tiny!\"\nrun = \"run\"\n[[model]]\nname = \"tiny?\"\nrun = \"run\"",
                "models 'tiny!' and 'tiny?' would both write",
            ),
            (
                "run = \"run\"",
                "features.OTHER = { images = \"x\" }",
                "no dataset of this suite",
            ),
        ] {
            assert!(GOOD.contains(change), "{change}");
            let error = read(&GOOD.replace(change, to)).unwrap_err().to_string();
            assert!(
                error.contains(expected) && error.contains("suite.toml"),
                "{change}: {error}"
            );
        }
    }
}
