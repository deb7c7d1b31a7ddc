//! Table VII: what each module of the training adds, averaged over the seeds of a row.

use std::collections::BTreeMap;

use super::config::Ablation;
use super::printed::Printed;
use super::results::{DatasetInfo, SuiteReport};
use super::tables::{Cell, Row, RowKind, Table, ours, printed_cell};
use crate::protocol::Method;

/// Settings of the table, in the paper's order: name in the printed numbers, words above the columns.
const SETTINGS: [(&str, &str); 3] = [
    ("zero-shot", "Zero-shot"),
    ("few-shot", "Few-shot"),
    ("linear-probe", "Linear probing"),
];

/// Name of the setting that a method belongs to.
fn setting_of(method: &str) -> &'static str {
    match method {
        m if m == Method::ZeroShot.name() => SETTINGS[0].0,
        m if m == Method::LinearProbe.name() => SETTINGS[2].0,
        _ => SETTINGS[1].0,
    }
}

/// Mean and deviation between seeds (n − 1) of some values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// Mean.
    pub mean: f64,
    /// Standard deviation; absent for a single value.
    pub deviation: Option<f64>,
    /// How many values.
    pub count: usize,
}

impl Spread {
    /// Of values; `None` when there are none.
    pub fn of(values: &[f64]) -> Option<Self> {
        if values.is_empty() {
            return None;
        }
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
        Some(Self {
            mean,
            deviation: (values.len() > 1).then(|| (squares / (values.len() - 1) as f64).sqrt()),
            count: values.len(),
        })
    }

    /// As a cell in percent: `61.2 ± 3.4`.
    fn cell(of: Option<Self>) -> Cell {
        let Some(spread) = of else {
            return ours(None, String::new());
        };
        let mut cell = ours(Some(spread.mean), format!("mean of {} seeds", spread.count));
        if let Some(deviation) = spread.deviation {
            cell.text = format!("{} ± {:.1}", cell.text, 100.0 * deviation);
        }
        cell
    }
}

/// The average (over metrics, adapters and shots) of one model on one data set in a setting; `None` unless every
/// method of the setting was run.
fn average(report: &SuiteReport, model: &str, set: &str, setting: &str) -> Option<f64> {
    let of: Vec<Option<f64>> = report
        .results
        .iter()
        .filter(|r| r.model == model && r.dataset == set && r.without_leaked.is_none())
        .filter(|r| setting_of(&r.method) == setting)
        .map(|r| r.report.as_ref().map(|n| n.mean.avg))
        .collect();
    let known = of.into_iter().collect::<Option<Vec<f64>>>()?;
    (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
}

/// Models of each row, rows from no module to all.
fn rows(report: &SuiteReport) -> BTreeMap<Ablation, Vec<&str>> {
    let mut rows: BTreeMap<Ablation, Vec<&str>> = BTreeMap::new();
    for model in &report.models {
        if let Some(ablation) = model.ablation {
            rows.entry(ablation).or_default().push(&model.name);
        }
    }
    rows
}

/// Data sets on which a setting has a result of some ablation model.
fn sets<'a>(report: &'a SuiteReport, setting: &str, models: &[&str]) -> Vec<&'a DatasetInfo> {
    let has = |d: &&DatasetInfo| models.iter().any(|m| average(report, m, &d.name, setting).is_some());
    report.datasets.iter().filter(has).collect()
}

fn name(semantic: bool, textual: bool, appearance: bool) -> String {
    let mark = |on| if on { "✓" } else { "✗" };
    format!(
        "semantic KI {}, textual pretraining {}, appearance KI {}",
        mark(semantic),
        mark(textual),
        mark(appearance)
    )
}

/// The table, when models of the suite name their row.
pub fn table(report: &SuiteReport, printed: &Printed) -> Option<Table> {
    let rows = rows(report);
    let all: Vec<&str> = rows.values().flatten().copied().collect();
    let columns: Vec<(&str, Vec<&DatasetInfo>)> = SETTINGS
        .iter()
        .map(|(setting, _)| (*setting, sets(report, setting, &all)))
        .collect();
    let used = |setting: &str| columns.iter().any(|c| c.0 == setting && !c.1.is_empty());
    if !SETTINGS.iter().any(|s| used(s.0)) {
        return None;
    }
    let columns: Vec<_> = columns.into_iter().filter(|c| !c.1.is_empty()).collect();
    let our_row = |(ablation, models): (&Ablation, &Vec<&str>)| {
        let cells = columns.iter().flat_map(|(setting, sets)| {
            let values = |set: &DatasetInfo| -> Vec<Option<f64>> {
                models.iter().map(|m| average(report, m, &set.name, setting)).collect()
            };
            let by_set: Vec<Vec<Option<f64>>> = sets.iter().map(|s| values(s)).collect();
            // the average of a model counts only where all its data sets do
            let overall: Vec<f64> = (0..models.len())
                .filter_map(|m| by_set.iter().map(|s| s[m]).collect::<Option<Vec<f64>>>())
                .map(|v| v.iter().sum::<f64>() / v.len() as f64)
                .collect();
            let spread = |v: &Vec<Option<f64>>| Spread::of(&v.iter().flatten().copied().collect::<Vec<_>>());
            let mut cells: Vec<Cell> = by_set.iter().map(|v| Spread::cell(spread(v))).collect();
            cells.push(Spread::cell(Spread::of(&overall)));
            cells
        });
        Row {
            name: format!(
                "{} ({} seeds)",
                name(ablation.semantic, ablation.textual, ablation.appearance),
                models.len()
            ),
            kind: RowKind::Ours,
            cells: cells.collect(),
        }
    };
    let mut table_rows: Vec<Row> = rows.iter().map(our_row).collect();
    for row in printed.ablation() {
        let cells: Vec<Option<f64>> = columns
            .iter()
            .flat_map(|(setting, sets)| {
                let known: Vec<Option<f64>> = sets
                    .iter()
                    .map(|s| printed.ablation_average(&row, setting, &s.name))
                    .collect();
                let whole: Option<Vec<f64>> = known.iter().copied().collect();
                let average = whole.map(|v| v.iter().sum::<f64>() / v.len() as f64);
                known.into_iter().chain([average])
            })
            .collect();
        if cells.iter().any(Option::is_some) {
            table_rows.push(Row {
                name: format!("{} (printed)", name(row.semantic, row.textual, row.appearance)),
                kind: RowKind::Printed,
                cells: cells.into_iter().map(printed_cell).collect(),
            });
        }
    }
    let words = |setting: &str| SETTINGS.iter().find(|s| s.0 == setting).map_or("", |s| s.1).to_string();
    Some(Table {
        title: "Ablation (paper: Table VII)".into(),
        note: "Percent: AVG of ACC, AUC and AUPR (few-shot: over all adapters and shots), mean ± standard deviation over the seeds of a row. KI: knowledge injection.".into(),
        headers: vec![
            columns.iter().map(|(s, sets)| (words(s), sets.len() + 1)).collect(),
            columns
                .iter()
                .flat_map(|(_, sets)| sets.iter().map(|s| (s.name.clone(), 1)).chain([("AVG".to_string(), 1)]))
                .collect(),
        ],
        rows: table_rows,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_is_the_sample_deviation() {
        assert_eq!(Spread::of(&[]), None);
        let one = Spread::of(&[0.5]).map(|s| (s.mean, s.deviation, s.count));
        assert_eq!(one, Some((0.5, None, 1)));
        let cell = Spread::cell(Spread::of(&[0.5, 0.6, 0.7]));
        assert_eq!(cell.text, "60.0 ± 10.0");
    }
}
