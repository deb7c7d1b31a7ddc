//! What a run of the road found: losses that fall, and accuracy on unseen pictures.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;

use super::{bench, plan::Plan};

/// One line of the results table; numbers are ready to print, in percent.
#[derive(Debug, Serialize)]
pub struct ResultRow {
    /// Model name.
    pub model: String,
    /// Data set name.
    pub set: String,
    /// Method and shots.
    pub method: String,
    /// Pictures scored.
    pub images: u64,
    /// Mean per-class recall.
    pub accuracy: String,
    /// Area under the ROC curve, mean of one-vs-rest.
    pub auc: String,
    /// 95 % bootstrap interval of the accuracy.
    pub interval: String,
    /// Accuracy of guessing.
    pub chance: String,
}

/// The `total` or `loss` of every training line of a run, in order.
///
/// # Errors
/// When the metrics file exists and is damaged.
pub fn losses(run: &Path) -> Result<Vec<f64>> {
    let path = run.join("metrics.jsonl");
    if !path.exists() {
        return Ok(Vec::new());
    }
    let lines = trainer::telemetry::metrics::read_lines(&path)?;
    let value = |line: &trainer::telemetry::metrics::Line| {
        ["loss/total", "total", "loss"]
            .iter()
            .find_map(|key| line.values.iter().find(|(name, _)| name == key).map(|(_, v)| *v))
    };
    Ok(lines.iter().filter(|l| l.kind == "train").filter_map(value).collect())
}

/// Mean of the first and of the last tenth of the losses, at least three values each.
pub fn first_and_last(losses: &[f64]) -> Option<(f64, f64)> {
    let window = (losses.len() / 10).max(3);
    if losses.len() < 2 * window {
        return None;
    }
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    Some((mean(&losses[..window]), mean(&losses[losses.len() - window..])))
}

fn percent(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |v| format!("{:.1}", 100.0 * v))
}

/// The rows of every evaluation report below the output folder.
///
/// # Errors
/// When a report is there and cannot be read.
pub fn table_rows(plan: &Plan) -> Result<Vec<ResultRow>> {
    let mut rows = Vec::new();
    for (modality, _) in &plan.models {
        let path = plan.out.join("eval").join(modality.to_lowercase()).join("report.json");
        if !path.exists() {
            continue;
        }
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let report: Value = serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))?;
        for result in report["results"].as_array().into_iter().flatten() {
            let numbers = &result["report"];
            let name = |key: &str| result[key].as_str().unwrap_or_default().to_owned();
            let shots = match &result["shots"] {
                Value::Number(n) if n.as_u64() == Some(0) => String::new(),
                Value::Number(n) => format!(", {n} shot{}", if n.as_u64() == Some(1) { "" } else { "s" }),
                Value::String(share) => format!(", {share}"),
                _ => String::new(),
            };
            let interval = &numbers["ci95"]["acc"];
            rows.push(ResultRow {
                model: name("model"),
                set: name("dataset"),
                method: name("method")
                    + &shots
                    + if result["without_leaked"].is_null() {
                        ""
                    } else {
                        ", without leaked rows"
                    },
                images: numbers["images"].as_u64().unwrap_or(0),
                accuracy: percent(numbers["mean"]["acc"].as_f64()),
                auc: percent(numbers["mean"]["auc"].as_f64()),
                interval: format!("{}–{}", percent(interval[0].as_f64()), percent(interval[1].as_f64())),
                chance: percent(numbers["chance"].as_f64()),
            });
        }
    }
    Ok(rows)
}

/// The results as lines for a terminal.
///
/// # Errors
/// As [`table_rows`].
pub fn lines(plan: &Plan) -> Result<Vec<String>> {
    let mut lines = vec![format!(
        "{:<16} {:<12} {:<44} {:>8} {:>9} {:>14} {:>7}",
        "model", "set", "method", "pictures", "accuracy", "95 % interval", "chance"
    )];
    for row in table_rows(plan)? {
        lines.push(format!(
            "{:<16} {:<12} {:<44} {:>8} {:>9} {:>14} {:>7}",
            row.model, row.set, row.method, row.images, row.accuracy, row.interval, row.chance
        ));
    }
    Ok(lines)
}

/// Writes the results page of a run as Markdown: what the road made, and the benchmark where it was scored.
///
/// # Errors
/// When a report, score or ledger cannot be read, or the page cannot be written.
pub fn write_markdown(plan: &Plan, shared: &Path, path: &Path) -> Result<()> {
    let mut text = String::from(
        "# Results on real material\n\nWritten by `make real`; do not edit. Percentages; accuracy is the mean per-class recall, the interval a 95 % bootstrap\ninterval over pictures. Small models trained from scratch on a CPU: they show that the road works, not what the\nmethod can reach. Class and camera are partly confounded in the photographs, so read the accuracies with caution.\n\n",
    );
    text += "## Unseen photographs\n\n| model | set | method | pictures | accuracy | 95 % interval | AUC | chance |\n| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |\n";
    for row in table_rows(plan)? {
        writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            row.model, row.set, row.method, row.images, row.accuracy, row.interval, row.auc, row.chance
        )?;
    }
    text += "\n## Training losses\n\n| run | steps recorded | mean of the first tenth | mean of the last tenth |\n| --- | ---: | ---: | ---: |\n";
    for run in ["mlm", "codebook"]
        .map(str::to_owned)
        .into_iter()
        .chain(plan.models.iter().map(|(m, _)| format!("keepfit-{}", m.to_lowercase())))
    {
        let losses = losses(&plan.out.join("runs").join(&run))?;
        if let Some((first, last)) = first_and_last(&losses) {
            writeln!(text, "| {run} | {} | {first:.3} | {last:.3} |", losses.len())?;
        }
    }
    text += &bench::markdown(shared, &plan.out)?;
    text += "\n## Where every input went\n\n| source | kind | state | count |\n| --- | --- | --- | ---: |\n";
    let dataset = plan.out.join("dataset");
    let counts = if dataset.exists() {
        ledger_counts(&dataset)?
    } else {
        BTreeMap::new()
    };
    for ((source, kind, state), count) in counts {
        writeln!(text, "| {source} | {kind} | {state} | {count} |")?;
    }
    text += "\n## Commands\n\nTime and memory of each stand in the `road.json` of the run.\n\n```\n";
    for step in &plan.steps {
        writeln!(text, "{}", step.command_line())?;
    }
    text += "```\n";
    dataset::fs::write_atomic(path, text.as_bytes())?;
    Ok(())
}

/// Ledger entries by source, kind and state; an entry that stands for several counts them all.
fn ledger_counts(folder: &Path) -> Result<BTreeMap<(String, String, String), u64>> {
    let mut counts = BTreeMap::new();
    for entry in dataset::read::Dataset::open(folder)?.ledger()? {
        let weight = entry
            .detail
            .as_ref()
            .and_then(|d| d.get("count"))
            .and_then(Value::as_u64)
            .unwrap_or(1);
        *counts.entry((entry.source_id, entry.kind, entry.state)).or_insert(0) += weight;
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_windows_are_the_ends() {
        let losses: Vec<f64> = (0..100).map(|i| 100.0 - f64::from(i)).collect();
        assert_eq!(first_and_last(&losses), Some((95.5, 5.5)));
        assert_eq!(first_and_last(&losses[..5]), None);
    }
}
