//! Tables in the paper's layout (I to VI and the linear-probe figures), printed numbers beside ours.

use std::collections::BTreeSet;

use serde::Serialize;

use super::printed::{Average, Printed};
use super::results::{DatasetInfo, SuiteReport};
use super::run::shots_value;
use crate::protocol::Method;
use crate::report::RunReport;

/// Adapters in the order of Tables II, IV and VI.
const ADAPTERS: [Method; 3] = [Method::ClipAdapter, Method::TipAdapter, Method::TipAdapterF];

/// One cell: its words, and whether it is the best of our models in its column.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Cell {
    /// What is shown.
    pub text: String,
    /// Explanation shown on hovering.
    pub hint: String,
    /// Best of our models in this column.
    pub best: bool,
    #[serde(skip)]
    value: Option<f64>,
}

/// What kind of row this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RowKind {
    /// One of our models.
    Ours,
    /// The same model without the rows that its training held.
    Clean,
    /// A number printed in the paper.
    Printed,
    /// What guessing gives.
    Chance,
}

/// One row.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Model.
    pub name: String,
    /// Kind.
    pub kind: RowKind,
    /// Cells.
    pub cells: Vec<Cell>,
}

/// A table with up to three header lines.
#[derive(Debug, Clone, Serialize)]
pub struct Table {
    /// Heading.
    pub title: String,
    /// Words below it.
    pub note: String,
    /// Header lines: (words, columns spanned), without the model column.
    pub headers: Vec<Vec<(String, usize)>>,
    /// Rows.
    pub rows: Vec<Row>,
}

fn percent(value: f64) -> String {
    format!("{:.1}", 100.0 * value)
}

/// A number of ours, a fraction.
pub(super) fn ours(value: Option<f64>, hint: String) -> Cell {
    Cell {
        text: value.map_or("–".into(), percent),
        hint,
        best: false,
        value,
    }
}

/// A printed number, percent already.
pub(super) fn printed_cell(value: Option<f64>) -> Cell {
    Cell {
        text: value.map_or("–".into(), |v| format!("{v:.1}")),
        ..Cell::default()
    }
}

fn printed_average(average: Option<Average>) -> Cell {
    let Some(average) = average else {
        return printed_cell(None);
    };
    match average.printed {
        None => printed_cell(Some(average.of_cells)),
        Some(printed) => Cell {
            text: format!("{:.1}*", average.of_cells),
            hint: format!("mean of the printed cells; the paper prints {printed:.1}"),
            ..Cell::default()
        },
    }
}

fn interval_hint(report: &RunReport) -> String {
    let Some(ci) = report.ci95 else {
        return format!("{} runs", report.runs);
    };
    let show = |i: crate::statistics::Interval| format!("{}–{}", percent(i.0), percent(i.1));
    format!(
        "95 % intervals: ACC {}, AUC {}, AUPR {}; {} runs",
        show(ci.acc),
        show(ci.auc),
        show(ci.aupr),
        report.runs
    )
}

/// Marks the best of our models in every column, when there are at least two of them.
fn mark_best(table: &mut Table) {
    let columns = table.rows.iter().map(|r| r.cells.len()).max().unwrap_or(0);
    for column in 0..columns {
        let values: Vec<f64> = table
            .rows
            .iter()
            .filter(|r| r.kind == RowKind::Ours)
            .filter_map(|r| r.cells.get(column)?.value)
            .collect();
        let best = values.iter().copied().fold(f64::MIN, f64::max);
        for row in table
            .rows
            .iter_mut()
            .filter(|r| r.kind == RowKind::Ours && values.len() > 1)
        {
            if let Some(cell) = row.cells.get_mut(column) {
                cell.best = cell.value.is_some_and(|v| v >= best);
            }
        }
    }
}

/// Models that have at least one result on the data sets, in suite order.
fn models<'a>(report: &'a SuiteReport, sets: &[&DatasetInfo]) -> Vec<&'a str> {
    let has = |model: &str| {
        report
            .results
            .iter()
            .any(|r| r.model == model && r.report.is_some() && sets.iter().any(|d| d.name == r.dataset))
    };
    report
        .models
        .iter()
        .map(|m| m.name.as_str())
        .filter(|m| has(m))
        .collect()
}

fn sets_by_modality(report: &SuiteReport) -> Vec<(&str, Vec<&DatasetInfo>)> {
    let modalities: BTreeSet<&str> = report.datasets.iter().map(|d| d.modality.as_str()).collect();
    let of = |m| {
        report
            .datasets
            .iter()
            .filter(|d| d.modality == m && report.results.iter().any(|r| r.dataset == d.name && r.report.is_some()))
            .collect::<Vec<_>>()
    };
    modalities
        .into_iter()
        .map(|m| (m, of(m)))
        .filter(|(_, sets)| !sets.is_empty())
        .collect()
}

fn title(words: String, ids: BTreeSet<String>) -> String {
    let ids: Vec<String> = ids.into_iter().collect();
    if ids.is_empty() {
        words
    } else {
        format!("{words} (paper: Table {})", ids.join(", "))
    }
}

/// A model, on every row or without those that its training held.
#[derive(Clone, Copy)]
struct Shown<'a> {
    model: &'a str,
    clean: bool,
}

impl<'a> Shown<'a> {
    /// Every model with results on the data sets, and again without leaked rows where some leaked.
    fn all(report: &'a SuiteReport, sets: &[&DatasetInfo]) -> Vec<Self> {
        let both = |model| {
            let clean = report.has_leaks(model, sets).then_some(Self { model, clean: true });
            std::iter::once(Self { model, clean: false }).chain(clean)
        };
        models(report, sets).into_iter().flat_map(both).collect()
    }

    fn name(self) -> String {
        if self.clean {
            format!("{}, without leaked rows", self.model)
        } else {
            self.model.to_string()
        }
    }

    fn kind(self) -> RowKind {
        if self.clean { RowKind::Clean } else { RowKind::Ours }
    }

    fn find(
        self,
        report: &'a SuiteReport,
        set: &DatasetInfo,
        method: Method,
        shots: &serde_json::Value,
    ) -> Option<&'a RunReport> {
        if self.clean {
            report.find_clean(&set.name, self.model, method.name(), shots)
        } else {
            report.find(&set.name, self.model, method.name(), shots)
        }
    }
}

/// All tables of a suite.
pub fn all(report: &SuiteReport, printed: &Printed) -> Vec<Table> {
    let mut tables = Vec::new();
    for (modality, sets) in sets_by_modality(report) {
        tables.extend(zero_shot(report, printed, modality, &sets));
        for set in &sets {
            tables.extend(few_shot(report, printed, modality, set));
        }
        tables.extend(linear_probe(report, printed, modality, &sets));
    }
    tables.extend(super::ablation::table(report, printed));
    tables.iter_mut().for_each(mark_best);
    tables
}

/// ACC, AUC, AUPR, AVG of one method over the data sets of a modality; `None` when nothing was run.
fn metric_rows(
    report: &SuiteReport,
    sets: &[&DatasetInfo],
    method: Method,
    shots: &serde_json::Value,
) -> Option<Vec<Row>> {
    let mut rows = Vec::new();
    for model in Shown::all(report, sets) {
        let find = |set: &DatasetInfo| model.find(report, set, method, shots);
        if !sets.iter().any(|s| find(s).is_some()) {
            continue;
        }
        let cells = sets.iter().flat_map(|set| {
            let r = find(set);
            let hint = r.map(interval_hint).unwrap_or_default();
            let pick = |f: fn(&RunReport) -> f64| ours(r.map(f), hint.clone());
            [
                pick(|r| r.mean.acc),
                pick(|r| r.mean.auc),
                pick(|r| r.mean.aupr),
                pick(|r| r.mean.avg),
            ]
        });
        rows.push(Row {
            name: model.name(),
            kind: model.kind(),
            cells: cells.collect(),
        });
    }
    if rows.is_empty() {
        return None;
    }
    let chance = sets.iter().flat_map(|set| {
        let of = report
            .results
            .iter()
            .filter(|r| r.dataset == set.name && r.method == method.name())
            .find_map(|r| r.report.as_ref());
        let text = |v: Option<f64>| Cell {
            text: v.map_or("–".into(), percent),
            ..Cell::default()
        };
        [
            text(of.map(|r| r.chance)),
            text(of.map(|_| 0.5)),
            text(of.map(|r| r.chance_aupr)),
            Cell::default(),
        ]
    });
    rows.insert(
        0,
        Row {
            name: "chance".into(),
            kind: RowKind::Chance,
            cells: chance.collect(),
        },
    );
    Some(rows)
}

fn metric_headers(sets: &[&DatasetInfo]) -> Vec<Vec<(String, usize)>> {
    let names = sets.iter().map(|s| (s.name.clone(), 4)).collect();
    let metrics = sets
        .iter()
        .flat_map(|_| ["ACC", "AUC", "AUPR", "AVG"].map(|m| (m.to_string(), 1)))
        .collect();
    vec![names, metrics]
}

fn zero_shot(report: &SuiteReport, printed: &Printed, modality: &str, sets: &[&DatasetInfo]) -> Option<Table> {
    let mut rows = metric_rows(report, sets, Method::ZeroShot, &shots_value(0))?;
    let mut seen = BTreeSet::new();
    for model in sets.iter().flat_map(|s| printed.models("zero-shot", &s.name)) {
        if !seen.insert(model.clone()) {
            continue;
        }
        let cells = sets.iter().flat_map(|s| match printed.zero_shot(&s.name, &model) {
            Some((cells, average)) => cells
                .map(|c| printed_cell(Some(c)))
                .into_iter()
                .chain([printed_average(Some(average))])
                .collect::<Vec<_>>(),
            None => vec![printed_cell(None); 4],
        });
        rows.push(Row {
            name: format!("{model} (printed)"),
            kind: RowKind::Printed,
            cells: cells.collect(),
        });
    }
    let ids = sets
        .iter()
        .filter_map(|s| printed.table_id("zero-shot", &s.name).map(str::to_string))
        .collect();
    Some(Table {
        title: title(format!("Zero-shot classification, {modality}"), ids),
        note: format!(
            "Percent. All images of the scored split; every class vector is the mean of its prompts.{}",
            several_note(sets)
        ),
        headers: metric_headers(sets),
        rows,
    })
}

fn few_shot(report: &SuiteReport, printed: &Printed, modality: &str, set: &DatasetInfo) -> Option<Table> {
    let shots: BTreeSet<usize> = report
        .results
        .iter()
        .filter(|r| r.dataset == set.name && r.report.is_some() && ADAPTERS.iter().any(|a| a.name() == r.method))
        .filter_map(|r| r.shots.as_u64().map(|s| s as usize))
        .collect();
    let adapters: Vec<Method> = ADAPTERS
        .into_iter()
        .filter(|a| {
            report
                .results
                .iter()
                .any(|r| r.dataset == set.name && r.method == a.name() && r.report.is_some())
        })
        .collect();
    if shots.is_empty() {
        return None;
    }
    let columns: Vec<(Method, usize)> = adapters
        .iter()
        .flat_map(|&a| shots.iter().map(move |&k| (a, k)))
        .collect();
    let mut rows = Vec::new();
    for model in Shown::all(report, &[set]) {
        let found: Vec<Option<&RunReport>> = columns
            .iter()
            .map(|(a, k)| model.find(report, set, *a, &shots_value(*k)))
            .collect();
        if found.iter().all(Option::is_none) {
            continue;
        }
        let mut cells: Vec<Cell> = found
            .iter()
            .flat_map(|r| {
                let hint = r.map(interval_hint).unwrap_or_default();
                [r.map(|r| r.mean.acc), r.map(|r| r.mean.auc), r.map(|r| r.mean.aupr)].map(|v| ours(v, hint.clone()))
            })
            .collect();
        let values: Vec<f64> = cells.iter().filter_map(|c| c.value).collect();
        let complete = values.len() == cells.len();
        cells.push(ours(
            complete.then(|| values.iter().sum::<f64>() / values.len() as f64),
            format!("mean of {} cells", values.len()),
        ));
        rows.push(Row {
            name: model.name(),
            kind: model.kind(),
            cells,
        });
    }
    for model in printed.models("few-shot", &set.name) {
        let mut cells: Vec<Cell> = columns
            .iter()
            .flat_map(|(a, k)| match printed.few_shot(&set.name, &model, a.name(), *k) {
                Some(values) => values.map(|v| printed_cell(Some(v))),
                None => [const { None }; 3].map(printed_cell),
            })
            .collect();
        cells.push(printed_average(printed.few_shot_average(&set.name, &model)));
        rows.push(Row {
            name: format!("{model} (printed)"),
            kind: RowKind::Printed,
            cells,
        });
    }
    let mut names: Vec<(String, usize)> = adapters
        .iter()
        .map(|a| (a.title().to_string(), 3 * shots.len()))
        .collect();
    let mut counts: Vec<(String, usize)> = columns.iter().map(|(_, k)| (format!("{k} per class"), 3)).collect();
    let mut metrics: Vec<(String, usize)> = columns
        .iter()
        .flat_map(|_| ["ACC", "AUC", "AUPR"].map(|m| (m.to_string(), 1)))
        .collect();
    names.push((String::new(), 1));
    counts.push((String::new(), 1));
    metrics.push(("AVG".into(), 1));
    let ids = printed
        .table_id("few-shot", &set.name)
        .map(str::to_string)
        .into_iter()
        .collect();
    Some(Table {
        title: title(format!("Few-shot classification, {modality}: {}", set.name), ids),
        note: format!(
            "Percent, mean of {} runs; 20 % of each class is tested. AVG is the mean of all cells of the row.{}",
            report.folds,
            if set.several {
                " Images of exactly one class and classes that have such images."
            } else {
                ""
            }
        ),
        headers: vec![names, counts, metrics],
        rows,
    })
}

fn linear_probe(report: &SuiteReport, printed: &Printed, modality: &str, sets: &[&DatasetInfo]) -> Option<Table> {
    let shots = report
        .results
        .iter()
        .find(|r| r.method == Method::LinearProbe.name())?
        .shots
        .clone();
    let mut rows = metric_rows(report, sets, Method::LinearProbe, &shots)?;
    let mut seen = BTreeSet::new();
    for (model, _) in sets.iter().flat_map(|s| printed.linear_probe(&s.name)) {
        if !seen.insert(model.clone()) {
            continue;
        }
        let cells = sets.iter().flat_map(|s| {
            let average = printed
                .linear_probe(&s.name)
                .into_iter()
                .find(|p| p.0 == model)
                .map(|p| p.1);
            [
                printed_cell(None),
                printed_cell(None),
                printed_cell(None),
                printed_cell(average),
            ]
        });
        rows.push(Row {
            name: format!("{model} (printed)"),
            kind: RowKind::Printed,
            cells: cells.collect(),
        });
    }
    // the paper draws these results; Table VII prints the averages of some
    let drawn = sets
        .iter()
        .any(|s| printed.table_id("zero-shot", &s.name).is_some() || !printed.linear_probe(&s.name).is_empty());
    let figure = match (drawn, modality) {
        (false, _) => "",
        (true, "CFP") => " (paper: Fig. 4, Table VII)",
        (true, _) => " (paper: Fig. 5)",
    };
    Some(Table {
        title: format!("Linear probe, {modality}{figure}"),
        note: format!(
            "Percent, mean of {} runs; {} of each class train a logistic regression on raw image features.{}",
            report.folds,
            shots.as_str().unwrap_or("a fixed number"),
            several_note(sets)
        ),
        headers: metric_headers(sets),
        rows,
    })
}

/// What ACC and chance mean for data sets whose images may have several classes.
fn several_note(sets: &[&DatasetInfo]) -> String {
    let names: Vec<&str> = sets.iter().filter(|s| s.several).map(|s| s.name.as_str()).collect();
    if names.is_empty() {
        return String::new();
    }
    format!(
        " {}: images may have several classes; ACC is the mean share of right answers, yes or no at a probability of 0.5, \
         and chance the answer that names no class.",
        names.join(", ")
    )
}

/// A table as GitHub Markdown; header lines are joined into one.
pub fn to_markdown(table: &Table) -> String {
    let wide = |line: &Vec<(String, usize)>| {
        line.iter()
            .flat_map(|(words, span)| std::iter::repeat_n(words.clone(), *span))
            .collect::<Vec<_>>()
    };
    let lines: Vec<Vec<String>> = table.headers.iter().map(wide).collect();
    let columns = lines.first().map_or(0, Vec::len);
    let head: Vec<String> = (0..columns)
        .map(|c| {
            lines
                .iter()
                .map(|l| l[c].as_str())
                .filter(|w| !w.is_empty())
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    let mut text = format!(
        "### {}\n\n{}\n\n| model | {} |\n| --- |{}\n",
        table.title,
        table.note,
        head.join(" | "),
        " ---: |".repeat(columns)
    );
    for row in &table.rows {
        let cell = |c: &Cell| {
            if c.best {
                format!("**{}**", c.text)
            } else {
                c.text.clone()
            }
        };
        let cells: Vec<String> = row.cells.iter().map(cell).collect();
        let name = match row.kind {
            RowKind::Ours | RowKind::Clean => row.name.replace('|', "/"),
            RowKind::Printed | RowKind::Chance => format!("*{}*", row.name),
        };
        text.push_str(&format!("| {name} | {} |\n", cells.join(" | ")));
    }
    text
}
