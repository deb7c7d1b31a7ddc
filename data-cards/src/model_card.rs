//! Model card of a trainer run, from what the run folder and evaluation reports say.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::{Map, Value, json};

use crate::front_matter;

/// Files whose hash the card states.
const WEIGHTS: &str = "model.safetensors";

fn read_json(file: &Path) -> anyhow::Result<Value> {
    let bytes = std::fs::read(file).with_context(|| file.display().to_string())?;
    serde_json::from_slice(&bytes).with_context(|| file.display().to_string())
}

/// First and last training line of metrics.jsonl, and their number.
fn first_and_last(run: &Path) -> anyhow::Result<Option<(Value, Value, usize)>> {
    let file = run.join("metrics.jsonl");
    let Ok(text) = std::fs::read_to_string(&file) else {
        return Ok(None);
    };
    let mut lines = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
        let value: Value =
            serde_json::from_str(line).with_context(|| format!("{}: line {}", file.display(), number + 1))?;
        if value["kind"].as_str().is_none_or(|k| k == "train") {
            lines.push(value);
        }
    }
    Ok(lines
        .first()
        .zip(lines.last())
        .map(|(a, b)| (a.clone(), b.clone(), lines.len())))
}

/// The card of a run folder with the results of `reports` (eval run or eval suite).
pub fn card(run: &Path, reports: &[PathBuf]) -> anyhow::Result<String> {
    if !run.join("run.json").is_file() {
        bail!("{} is no run folder: run.json is absent", run.display());
    }
    let facts = read_json(&run.join("run.json"))?;
    let config = std::fs::read_to_string(run.join("config.toml")).unwrap_or_default();
    let weights = run.join(WEIGHTS);
    let finished = run.join("done.json").exists();
    let kind = facts["kind"].as_str().unwrap_or("unknown");
    let read: Vec<(String, Value)> = reports
        .iter()
        .map(|r| {
            Ok((
                r.file_name()
                    .map(|n| n.to_string_lossy().into_owned())
                    .unwrap_or_default(),
                read_json(r)?,
            ))
        })
        .collect::<anyhow::Result<_>>()?;

    let mut front = Map::new();
    front.insert("library_name".into(), "burn".into());
    front.insert("tags".into(), json!(["medical", "ophthalmology", "retina", kind]));
    if kind == "keepfit" {
        front.insert("pipeline_tag".into(), "zero-shot-image-classification".into());
    }
    front.insert("license".into(), "unknown".into());
    let mut page = front_matter::write(&front);
    let name = run
        .file_name()
        .map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_else(|| kind.to_string());
    let _ = writeln!(page, "\n# {name}: {kind} model of retinal images and texts\n");
    if !finished {
        page.push_str("**The run is not finished**: done.json is absent; numbers are those so far.\n\n");
    }
    page.push_str("## Training\n\n| | |\n| --- | --- |\n");
    for (key, value) in facts.as_object().into_iter().flatten() {
        let _ = writeln!(page, "| {key} | {} |", cell(value));
    }
    if weights.is_file() {
        let _ = writeln!(
            page,
            "| weights (SHA-256) | `{}` |",
            dataset::hash::sha256_file(&weights)?
        );
    } else {
        page.push_str("| weights | not written yet |\n");
    }
    page.push('\n');
    if let Some((first, last, count)) = first_and_last(run)? {
        let _ = writeln!(
            page,
            "## Losses\n\n{count} training lines in metrics.jsonl.\n\n| | first | last |\n| --- | --- | --- |"
        );
        for (key, value) in last.as_object().into_iter().flatten().filter(|(_, v)| v.is_number()) {
            let _ = writeln!(page, "| {key} | {} | {} |", cell(&first[key]), cell(value));
        }
        page.push('\n');
    }
    results(&read, &mut page);
    let _ = writeln!(page, "## Configuration\n\n```toml\n{}\n```\n", config.trim());
    page.push_str("## Open questions\n\n- Under which licence are the weights released? It depends on the licences of the training data.\n- What is the model for, and what must it not be used for? It is no medical device.\n- Which biases do the training data carry (see the dataset card)?\n");
    Ok(page)
}

fn cell(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "none".into(),
        Value::Array(items) if items.iter().all(Value::is_string) => {
            items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("; ")
        }
        Value::Object(map) => map
            .iter()
            .map(|(k, v)| format!("{k} {}", cell(v)))
            .collect::<Vec<_>>()
            .join(", "),
        Value::Null => "–".into(),
        other => other.to_string(),
    };
    text.replace('|', "\\|").replace('\n', " ")
}

/// Rows of (data set, report) in a report of eval run or eval suite.
fn runs<'a>(name: &'a str, report: &'a Value) -> Vec<(String, &'a Value)> {
    match report["results"].as_array() {
        Some(results) => results
            .iter()
            .filter(|r| r["report"].is_object())
            .map(|r| {
                let left_out = r["without_leaked"].as_u64();
                (
                    format!(
                        "{} ({}{})",
                        r["dataset"].as_str().unwrap_or("?"),
                        r["model"].as_str().unwrap_or("?"),
                        left_out.map_or(String::new(), |n| format!(", without {n} leaked images"))
                    ),
                    &r["report"],
                )
            })
            .collect(),
        None if report["mean"].is_object() => vec![(name.to_string(), report)],
        None => Vec::new(),
    }
}

fn results(reports: &[(String, Value)], page: &mut String) {
    page.push_str("## Results\n\n");
    let rows: Vec<_> = reports.iter().flat_map(|(name, report)| runs(name, report)).collect();
    if rows.is_empty() {
        page.push_str("No evaluation report was given.\n\n");
        return;
    }
    page.push_str("Percent; 95 % bootstrap intervals over images.\n\n| data set | method | shots | images | runs | ACC | AUC | AUPR | ECE | chance ACC |\n|");
    page.push_str(&" --- |".repeat(10));
    page.push('\n');
    let percent = |v: &Value| v.as_f64().map_or("–".to_string(), |v| format!("{:.1}", 100.0 * v));
    for (set, report) in rows {
        let metric = |m: &str| {
            let ci = &report["ci95"][m];
            if ci.is_array() {
                format!(
                    "{} ({} – {})",
                    percent(&report["mean"][m]),
                    percent(&ci[0]),
                    percent(&ci[1])
                )
            } else {
                percent(&report["mean"][m])
            }
        };
        let fields = [
            set,
            cell(&report["method"]),
            cell(&report["shots"]),
            cell(&report["images"]),
            cell(&report["runs"]),
            metric("acc"),
            metric("auc"),
            metric("aupr"),
            percent(&report["ece"]),
            percent(&report["chance"]),
        ];
        let _ = writeln!(page, "| {} |", fields.join(" | "));
    }
    page.push('\n');
}
