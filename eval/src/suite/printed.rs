//! The paper's printed numbers, read from a JSON file that the user names (`printed` in the suite).

use std::path::Path;

use serde::Deserialize;

use crate::error::{EvalError, Result};

/// A printed average this far from the mean of its own cells (percent points) is shown with both values.
const AVERAGE_TOLERANCE: f64 = 0.06;

/// The tables of the paper, as far as they are used here.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Printed {
    datasets: std::collections::BTreeMap<String, PrintedDataset>,
    tables: Vec<PrintedTable>,
}

#[derive(Debug, Clone, Deserialize)]
struct PrintedDataset {
    #[serde(default)]
    also_printed: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct PrintedTable {
    id: String,
    setting: String,
    rows: Vec<PrintedRow>,
}

#[derive(Debug, Clone, Deserialize)]
struct PrintedRow {
    #[serde(default)]
    dataset: String,
    #[serde(default)]
    model: String,
    #[serde(default)]
    avg_printed: Option<f64>,
    #[serde(default)]
    acc: Option<f64>,
    #[serde(default)]
    auc: Option<f64>,
    #[serde(default)]
    aupr: Option<f64>,
    #[serde(default)]
    same_averages_as: Option<String>,
    #[serde(default)]
    semantic_ki: bool,
    #[serde(default)]
    textual_pretraining: bool,
    #[serde(default)]
    appearance_ki: bool,
    #[serde(default)]
    results: Vec<PrintedCell>,
}

#[derive(Debug, Clone, Deserialize)]
struct PrintedCell {
    #[serde(default)]
    adapter: String,
    #[serde(default)]
    setting: String,
    #[serde(default)]
    shots: usize,
    acc: Option<f64>,
    auc: Option<f64>,
    aupr: Option<f64>,
    #[serde(default)]
    averages: std::collections::BTreeMap<String, f64>,
}

/// One printed row of Table VII.
#[derive(Debug, Clone)]
pub struct PrintedAblation {
    /// Semantics-oriented knowledge injection.
    pub semantic: bool,
    /// Preliminary textual pretraining.
    pub textual: bool,
    /// Appearance-oriented knowledge injection.
    pub appearance: bool,
    /// Setting → data set → average, percent.
    averages: std::collections::BTreeMap<String, std::collections::BTreeMap<String, f64>>,
}

/// A printed average and whether it agrees with its cells.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Average {
    /// Mean of the printed cells.
    pub of_cells: f64,
    /// The average as printed, when it differs from that.
    pub printed: Option<f64>,
}

fn average(cells: &[f64], printed: Option<f64>) -> Average {
    let of_cells = cells.iter().sum::<f64>() / cells.len().max(1) as f64;
    Average {
        of_cells,
        printed: printed.filter(|p| (p - of_cells).abs() > AVERAGE_TOLERANCE),
    }
}

impl Printed {
    /// Reads the printed tables.
    pub fn read(file: &Path) -> Result<Self> {
        let text = std::fs::read(file).map_err(|e| EvalError::io(file, e))?;
        serde_json::from_slice(&text).map_err(|e| EvalError::input(file, format!("not a table file: {e}")))
    }

    /// The name under which the paper knows a data set.
    fn known_name(&self, dataset: &str) -> Option<&str> {
        let same = |name: &str| name.eq_ignore_ascii_case(dataset);
        self.datasets
            .iter()
            .find(|(name, d)| same(name) || d.also_printed.iter().any(|a| same(a)))
            .map(|(name, _)| name.as_str())
    }

    /// Number of the table that prints a data set in a setting (`zero-shot`, `few-shot`).
    pub fn table_id(&self, setting: &str, dataset: &str) -> Option<&str> {
        let name = self.known_name(dataset)?;
        self.tables
            .iter()
            .find(|t| t.setting == setting && t.rows.iter().any(|r| r.dataset == name))
            .map(|t| t.id.as_str())
    }

    fn rows<'a>(&'a self, setting: &'a str, dataset: &str) -> impl Iterator<Item = &'a PrintedRow> {
        let name = self.known_name(dataset).map(str::to_string);
        self.tables
            .iter()
            .filter(move |t| t.setting == setting)
            .flat_map(|t| &t.rows)
            .filter(move |r| name.as_deref() == Some(r.dataset.as_str()))
    }

    /// Models printed for a data set, in the paper's order.
    pub fn models(&self, setting: &str, dataset: &str) -> Vec<String> {
        self.rows(setting, dataset).map(|r| r.model.clone()).collect()
    }

    /// Zero-shot ACC, AUC, AUPR in percent and their average.
    pub fn zero_shot(&self, dataset: &str, model: &str) -> Option<([f64; 3], Average)> {
        let row = self.rows("zero-shot", dataset).find(|r| r.model == model)?;
        let cells = [row.acc?, row.auc?, row.aupr?];
        Some((cells, average(&cells, row.avg_printed)))
    }

    /// Few-shot ACC, AUC, AUPR in percent of one adapter and number of shots.
    pub fn few_shot(&self, dataset: &str, model: &str, adapter: &str, shots: usize) -> Option<[f64; 3]> {
        let row = self.rows("few-shot", dataset).find(|r| r.model == model)?;
        let cell = row.results.iter().find(|c| c.adapter == adapter && c.shots == shots)?;
        Some([cell.acc?, cell.auc?, cell.aupr?])
    }

    /// Average over the 27 few-shot cells.
    pub fn few_shot_average(&self, dataset: &str, model: &str) -> Option<Average> {
        let row = self.rows("few-shot", dataset).find(|r| r.model == model)?;
        let cells: Vec<f64> = row
            .results
            .iter()
            .filter_map(|c| Some([c.acc?, c.auc?, c.aupr?]))
            .flatten()
            .collect();
        Some(average(&cells, row.avg_printed))
    }

    /// Rows of Table VII: (semantic, textual, appearance) and the average of each setting and data set, percent.
    pub fn ablation(&self) -> Vec<PrintedAblation> {
        let rows = self
            .tables
            .iter()
            .filter(|t| t.setting == "ablation")
            .flat_map(|t| &t.rows);
        rows.map(|r| PrintedAblation {
            semantic: r.semantic_ki,
            textual: r.textual_pretraining,
            appearance: r.appearance_ki,
            averages: r
                .results
                .iter()
                .map(|c| (c.setting.clone(), c.averages.clone()))
                .collect(),
        })
        .collect()
    }

    /// Average of a setting for a data set in a row of Table VII.
    pub fn ablation_average(&self, row: &PrintedAblation, setting: &str, dataset: &str) -> Option<f64> {
        row.averages.get(setting)?.get(self.known_name(dataset)?).copied()
    }

    /// Printed linear-probe averages of a data set by model: Table VII prints them for models that are one of its rows.
    pub fn linear_probe(&self, dataset: &str) -> Vec<(String, f64)> {
        let Some(name) = self.known_name(dataset) else {
            return Vec::new();
        };
        let rows = self
            .tables
            .iter()
            .filter(|t| t.setting == "ablation")
            .flat_map(|t| &t.rows);
        rows.filter_map(|r| {
            let cell = r.results.iter().find(|c| c.setting == "linear-probe")?;
            Some((r.same_averages_as.clone()?, *cell.averages.get(name)?))
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_papers_tables_can_be_read() {
        let Some(shared) = dataset::testing::shared_dir() else {
            eprintln!("skipped: the shared material is not there");
            return;
        };
        let printed = Printed::read(&shared.join("reference/paper-tables.json")).unwrap();
        let (cells, avg) = printed.zero_shot("REFUGE", "KeepFITV2").unwrap();
        assert_eq!(cells, [89.6, 96.2, 92.7]);
        assert!((avg.of_cells - 92.833).abs() < 1e-3 && avg.printed.is_none());
        // the printed average of RetiZero on Retina does not follow from its cells
        assert_eq!(printed.zero_shot("retina", "RetiZero").unwrap().1.printed, Some(65.0));
        assert_eq!(printed.table_id("few-shot", "AngioReport"), Some("IV"));
        assert_eq!(
            printed.few_shot("ODIR", "FLAIR", "tip-adapter-f", 10),
            Some([53.8, 88.0, 77.5])
        );
        assert_eq!(
            printed
                .linear_probe("APTOS")
                .iter()
                .find(|p| p.0 == "KeepFITV2")
                .unwrap()
                .1,
            88.3
        );
        assert!(printed.zero_shot("my own set", "FLAIR").is_none());
        let rows = printed.ablation();
        let last = rows.last().unwrap();
        assert_eq!(
            (rows.len(), last.semantic, last.textual, last.appearance),
            (4, true, true, true)
        );
        assert_eq!(printed.ablation_average(last, "few-shot", "AMD"), Some(86.0));
    }
}
