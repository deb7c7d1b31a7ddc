//! What a suite found, as written to report.json.

use std::collections::BTreeMap;

use serde::Serialize;

use super::config::{Ablation, FoldRows};
use super::sources::Rejected;
use crate::report::RunReport;

/// One class of a data set.
#[derive(Debug, Clone, Serialize)]
pub struct ClassInfo {
    /// Name.
    pub name: String,
    /// Images in the scored split.
    pub images: usize,
    /// Images in all splits.
    pub images_all_splits: usize,
    /// Texts embedded for it.
    pub prompts: Vec<String>,
}

/// One data set.
#[derive(Debug, Clone, Serialize)]
pub struct DatasetInfo {
    /// Name.
    pub name: String,
    /// Modality.
    pub modality: String,
    /// Split that zero-shot scores; every row when absent.
    pub split: Option<String>,
    /// Rows that few-shot and linear-probe folds are drawn from.
    pub fold_rows: FoldRows,
    /// Classes in label order.
    pub classes: Vec<ClassInfo>,
    /// Whether images may have several classes.
    pub several: bool,
    /// Images that no class of the suite names, by category.
    pub left_out: BTreeMap<String, u64>,
    /// Images that could not be used.
    pub rejected: Vec<Rejected>,
    /// What is odd about the set, such as a class with another number of images than the published one.
    pub remarks: Vec<String>,
    /// Why the set could not be scored at all.
    pub error: Option<String>,
}

/// One model.
#[derive(Debug, Clone, Serialize)]
pub struct ModelInfo {
    /// Name.
    pub name: String,
    /// "trainer run", "released weights" or "feature files".
    pub kind: String,
    /// Hash of the weights.
    pub weights_sha256: Option<String>,
    /// Name of the preprocessing.
    pub preprocessing: Option<String>,
    /// Log of the logit scale.
    pub logit_scale: f64,
    /// Row of the ablation table.
    pub ablation: Option<Ablation>,
    /// Why the model could not be used at all.
    pub error: Option<String>,
}

/// One cell block of the tables: a model on a data set with a method.
#[derive(Debug, Clone, Serialize)]
pub struct SuiteResult {
    /// Data set name.
    pub dataset: String,
    /// Model name.
    pub model: String,
    /// Method name.
    pub method: String,
    /// Shots as in reports.
    pub shots: serde_json::Value,
    /// Scored without the test images that training held: how many images that takes away from the set.
    pub without_leaked: Option<usize>,
    /// File with per-image predictions, relative to the report.
    pub predictions: Option<String>,
    /// The numbers.
    pub report: Option<RunReport>,
    /// Why there are none.
    pub error: Option<String>,
}

/// What the leakage audit found for one model on one data set.
#[derive(Debug, Clone, Serialize)]
pub struct LeakInfo {
    /// Data set name.
    pub dataset: String,
    /// Model name.
    pub model: String,
    /// Training images audited.
    pub train_images: usize,
    /// Images of the set.
    pub test_images: usize,
    /// Images of the set that training held.
    pub leaked: usize,
    /// The same by evidence.
    pub by_evidence: std::collections::BTreeMap<String, usize>,
    /// Of these, images that share a name with a training image of other bytes.
    pub unconfirmed: usize,
    /// Whether the pictures were compared.
    pub pictures_compared: bool,
    /// Images that could not be read or decoded for the audit.
    pub rejected: Vec<String>,
    /// File with every finding, relative to the report.
    pub findings: Option<String>,
    /// Why there was no audit.
    pub error: Option<String>,
}

/// A sample image with what the first model says of it.
#[derive(Debug, Clone, Serialize)]
pub struct Sample {
    /// Data set name.
    pub dataset: String,
    /// Model name.
    pub model: String,
    /// Image name.
    pub image: String,
    /// Its true class, or its classes.
    pub truth: String,
    /// Whether the most probable class is one of them.
    pub right: bool,
    /// Classes by falling probability.
    pub ranking: Vec<(String, f64)>,
    /// Thumbnail, relative to the report.
    pub thumbnail: String,
}

/// Everything a suite found.
#[derive(Debug, Clone, Serialize)]
pub struct SuiteReport {
    /// Title.
    pub name: String,
    /// Words below it.
    pub description: String,
    /// Version of this program.
    pub eval_version: String,
    /// Seed.
    pub seed: u64,
    /// Folds.
    pub folds: usize,
    /// random or stratified.
    pub splits: crate::folds::Splitting,
    /// paper or reference.
    pub mode: crate::tip_adapter::Mode,
    /// Data sets.
    pub datasets: Vec<DatasetInfo>,
    /// Models.
    pub models: Vec<ModelInfo>,
    /// Results in suite order.
    pub results: Vec<SuiteResult>,
    /// Leakage audits, for models whose training images are named.
    pub leaks: Vec<LeakInfo>,
    /// Sample images.
    pub samples: Vec<Sample>,
}

impl SuiteReport {
    /// The report of one cell block on every row, when there is one.
    pub fn find(&self, dataset: &str, model: &str, method: &str, shots: &serde_json::Value) -> Option<&RunReport> {
        self.cell(dataset, model, method, shots, false)
    }

    /// The same without leaked rows. Where the audit found none, that is the report on every row.
    pub fn find_clean(
        &self,
        dataset: &str,
        model: &str,
        method: &str,
        shots: &serde_json::Value,
    ) -> Option<&RunReport> {
        let leak = self.leaks.iter().find(|l| l.dataset == dataset && l.model == model)?;
        self.cell(dataset, model, method, shots, leak.leaked > 0)
    }

    fn cell(
        &self,
        dataset: &str,
        model: &str,
        method: &str,
        shots: &serde_json::Value,
        clean: bool,
    ) -> Option<&RunReport> {
        let same = |r: &&SuiteResult| {
            r.dataset == dataset
                && r.model == model
                && r.method == method
                && r.shots == *shots
                && r.without_leaked.is_some() == clean
        };
        self.results.iter().find(same)?.report.as_ref()
    }

    /// Whether some rows of one of the data sets leaked into the training of the model.
    pub fn has_leaks(&self, model: &str, datasets: &[&DatasetInfo]) -> bool {
        self.leaks
            .iter()
            .any(|l| l.model == model && l.leaked > 0 && datasets.iter().any(|d| d.name == l.dataset))
    }

    /// Everything that went wrong, one line each.
    pub fn problems(&self) -> Vec<String> {
        let sets = self.datasets.iter().flat_map(|d| {
            let whole = d.error.clone();
            let images = d
                .rejected
                .iter()
                .map(|r| format!("dataset '{}': {}: {}", d.name, r.image, r.reason));
            whole.into_iter().chain(images.collect::<Vec<_>>())
        });
        let models = self.models.iter().filter_map(|m| m.error.clone());
        let results = self.results.iter().filter_map(|r| {
            let error = r.error.as_ref()?;
            let rows = r.without_leaked.map_or("", |_| ", without leaked rows");
            Some(format!(
                "{} on {}, {} {}{rows}: {error}",
                r.model, r.dataset, r.method, r.shots
            ))
        });
        let leaks = self.leaks.iter().flat_map(|l| {
            let named = |e: &String| format!("leakage audit of {} on {}: {e}", l.model, l.dataset);
            l.error.iter().chain(&l.rejected).map(named).collect::<Vec<_>>()
        });
        sets.chain(models).chain(results).chain(leaks).collect()
    }
}
