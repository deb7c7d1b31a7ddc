//! What a suite found, as written to report.json.

use std::collections::BTreeMap;

use serde::Serialize;

use super::config::FoldRows;
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
    /// Images that no class of the suite names, by category.
    pub left_out: BTreeMap<String, u64>,
    /// Images that could not be used.
    pub rejected: Vec<Rejected>,
    /// Why the set could not be scored at all.
    pub error: Option<String>,
}

/// One model.
#[derive(Debug, Clone, Serialize)]
pub struct ModelInfo {
    /// Name.
    pub name: String,
    /// "trainer run" or "feature files".
    pub kind: String,
    /// Hash of the weights.
    pub weights_sha256: Option<String>,
    /// Name of the preprocessing.
    pub preprocessing: Option<String>,
    /// Log of the logit scale.
    pub logit_scale: f64,
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
    /// File with per-image predictions, relative to the report.
    pub predictions: Option<String>,
    /// The numbers.
    pub report: Option<RunReport>,
    /// Why there are none.
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
    /// Its true class.
    pub truth: String,
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
    /// Sample images.
    pub samples: Vec<Sample>,
}

impl SuiteReport {
    /// The report of one cell block, when there is one.
    pub fn find(&self, dataset: &str, model: &str, method: &str, shots: &serde_json::Value) -> Option<&RunReport> {
        self.results
            .iter()
            .find(|r| r.dataset == dataset && r.model == model && r.method == method && r.shots == *shots)?
            .report
            .as_ref()
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
            Some(format!(
                "{} on {}, {} {}: {error}",
                r.model, r.dataset, r.method, r.shots
            ))
        });
        sets.chain(models).chain(results).collect()
    }
}
