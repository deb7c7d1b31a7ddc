//! Strict offline linter: card, Croissant file, ledger and Parquet files must tell the same story.

use std::collections::BTreeSet;
use std::path::Path;

use dataset::schema::Table;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::dataset_card::features;
use crate::facts::{Facts, TableFacts, compute};
use crate::front_matter;
use crate::lint_croissant::check_croissant;
use crate::vocabulary::{
    ANNOTATION_CREATORS, MULTILINGUALITY, TASKS, is_language, is_licence_id, is_size_category, size_category,
};

/// One fault.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fault {
    /// Short name of the rule.
    pub rule: &'static str,
    /// File, relative to the folder.
    pub file: String,
    /// Place in it.
    pub place: String,
    /// What is there, what should be, and what to do.
    pub problem: String,
}

impl Fault {
    /// A fault.
    pub fn new(rule: &'static str, file: &str, place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            rule,
            file: file.to_string(),
            place: place.into(),
            problem: problem.into(),
        }
    }
}

const CARD: &str = "README.md";
const WRITE_AGAIN: &str = "write the card again with data-cards dataset";

/// Checks a dataset folder. `hashes`: compare the SHA-256 of every file with the Croissant file.
pub fn lint(folder: &Path, hashes: bool) -> anyhow::Result<Vec<Fault>> {
    anyhow::ensure!(
        folder.is_dir(),
        "{} is no folder; give a dataset folder",
        folder.display()
    );
    let facts = match compute(folder) {
        Ok(facts) => facts,
        // nothing can be compared with files that do not open
        Err(error) => return Ok(vec![Fault::new("parquet", ".", "", format!("{error:#}"))]),
    };
    let mut faults = Vec::new();
    let front = read_front_matter(folder, &mut faults);
    if let Some(front) = &front {
        check_words(front, &mut faults);
        check_numbers(front, &facts, &mut faults);
        check_configs(front, &facts, &mut faults);
    }
    check_croissant(folder, &facts, front.as_ref(), hashes, &mut faults);
    check_rows(&facts, &mut faults);
    Ok(faults)
}

fn read_front_matter(folder: &Path, faults: &mut Vec<Fault>) -> Option<Map<String, Value>> {
    let Ok(card) = std::fs::read_to_string(folder.join(CARD)) else {
        faults.push(Fault::new(
            "card-missing",
            CARD,
            "",
            format!("is absent or not UTF-8 text; {WRITE_AGAIN}"),
        ));
        return None;
    };
    let Some((front, body)) = front_matter::split(&card) else {
        faults.push(Fault::new(
            "front-matter",
            CARD,
            "line 1",
            format!("has no front matter between two lines of ---; {WRITE_AGAIN}"),
        ));
        return None;
    };
    if body.trim().is_empty() {
        faults.push(Fault::new("card-empty", CARD, "", "has nothing below the front matter"));
    }
    front_matter::parse(front)
        .map_err(|error| faults.push(Fault::new("front-matter", CARD, "", error)))
        .ok()
}

/// The values of a key as texts; a single value counts as a list of one.
fn texts(front: &Map<String, Value>, key: &str) -> Vec<String> {
    let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_string);
    match front.get(key) {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(items)) => items.iter().map(text).collect(),
        Some(one) => vec![text(one)],
    }
}

fn check_words(front: &Map<String, Value>, faults: &mut Vec<Fault>) {
    type Known = fn(&str) -> bool;
    let rules: [(&str, &'static str, bool, Known, &str); 6] = [
        (
            "license",
            "licence-id",
            true,
            is_licence_id,
            "a licence id of the Hugging Face hub, such as cc-by-4.0, other or unknown",
        ),
        (
            "language",
            "language-code",
            false,
            is_language,
            "an ISO 639 code, such as en or zh",
        ),
        (
            "size_categories",
            "size-category",
            true,
            is_size_category,
            "a size category, such as 1K<n<10K",
        ),
        (
            "task_categories",
            "task-category",
            true,
            |t| TASKS.contains(&t),
            "a task category of the hub, such as image-to-text",
        ),
        (
            "multilinguality",
            "multilinguality",
            false,
            |m| MULTILINGUALITY.contains(&m),
            "monolingual, multilingual, translation or other",
        ),
        (
            "annotations_creators",
            "annotations-creators",
            true,
            |a| ANNOTATION_CREATORS.contains(&a),
            "a value of the hub, such as expert-generated",
        ),
    ];
    for (key, rule, required, known, expected) in rules {
        let values = texts(front, key);
        if values.is_empty() && required {
            faults.push(Fault::new(rule, CARD, key, format!("is missing; expected {expected}")));
        }
        for value in values.iter().filter(|v| !known(v)) {
            faults.push(Fault::new(
                rule,
                CARD,
                key,
                format!("'{value}' is not known; expected {expected}"),
            ));
        }
    }
    if texts(front, "pretty_name").concat().trim().is_empty() {
        faults.push(Fault::new(
            "pretty-name",
            CARD,
            "pretty_name",
            "is missing; give the dataset a name for people",
        ));
    }
    if texts(front, "license") == ["other"] && texts(front, "license_name").is_empty() {
        faults.push(Fault::new(
            "licence-id",
            CARD,
            "license_name",
            "is missing; licence 'other' needs a name and a link",
        ));
    }
}

fn check_numbers(front: &Map<String, Value>, facts: &Facts, faults: &mut Vec<Fault>) {
    let size = size_category(facts.rows());
    for stated in texts(front, "size_categories")
        .iter()
        .filter(|s| is_size_category(s) && *s != size)
    {
        faults.push(Fault::new(
            "size-category",
            CARD,
            "size_categories",
            format!(
                "says {stated}, the files hold {} rows: {size}; {WRITE_AGAIN}",
                facts.rows()
            ),
        ));
    }
    let languages = texts(front, "language");
    let stated: BTreeSet<&str> = languages.iter().map(String::as_str).collect();
    for language in facts.languages.iter().filter(|l| !stated.contains(l.as_str())) {
        faults.push(Fault::new(
            "language-missing",
            CARD,
            "language",
            format!("does not name '{language}', which the data hold"),
        ));
    }
    for language in stated
        .iter()
        .filter(|l| is_language(l) && !facts.languages.contains(**l))
    {
        faults.push(Fault::new(
            "language-absent",
            CARD,
            "language",
            format!("names '{language}', which the data do not hold"),
        ));
    }
    let many = facts.languages.len() > 1;
    for value in texts(front, "multilinguality") {
        if (value == "monolingual" && many) || (value == "multilingual" && !many) {
            faults.push(Fault::new(
                "multilinguality",
                CARD,
                "multilinguality",
                format!("says {value}, the data hold {} languages", facts.languages.len()),
            ));
        }
    }
    let infos: Vec<&Value> = match front.get("dataset_info") {
        Some(Value::Array(items)) => items.iter().collect(),
        Some(Value::Null) | None => Vec::new(),
        Some(one) => vec![one],
    };
    for table in &facts.tables {
        let name = table.config_name();
        let Some(info) = infos.iter().find(|i| i["config_name"] == name) else {
            faults.push(Fault::new(
                "dataset-info",
                CARD,
                "dataset_info",
                format!("says nothing of configuration '{name}'; {WRITE_AGAIN}"),
            ));
            continue;
        };
        check_dataset_info(table, info, faults);
    }
    for info in infos
        .iter()
        .filter(|i| !facts.tables.iter().any(|t| i["config_name"] == t.config_name()))
    {
        faults.push(Fault::new(
            "dataset-info",
            CARD,
            "dataset_info",
            format!("describes configuration {}, which has no files", info["config_name"]),
        ));
    }
}

fn check_dataset_info(table: &TableFacts, info: &Value, faults: &mut Vec<Fault>) {
    let name = table.config_name();
    if info["features"] != Value::Array(features(table.table)) {
        faults.push(Fault::new(
            "features",
            CARD,
            format!("dataset_info of {name}, features"),
            format!("differ from the columns of the files; {WRITE_AGAIN}"),
        ));
    }
    let stated: Vec<&Value> = info["splits"]
        .as_array()
        .map(|s| s.iter().collect())
        .unwrap_or_default();
    for split in &table.splits {
        let place = format!("dataset_info of {name}, split {}", split.name);
        let Some(own) = stated.iter().find(|s| s["name"] == split.name.as_str()) else {
            faults.push(Fault::new(
                "split-missing",
                CARD,
                place,
                format!("is missing, the files hold {} rows", split.rows()),
            ));
            continue;
        };
        if own["num_examples"].as_u64() != Some(split.rows()) {
            faults.push(Fault::new(
                "row-count",
                CARD,
                &place,
                format!(
                    "num_examples is {}, the Parquet footers count {}; {WRITE_AGAIN}",
                    own["num_examples"],
                    split.rows()
                ),
            ));
        }
        if own["num_bytes"].as_u64() != Some(split.uncompressed_bytes()) {
            faults.push(Fault::new(
                "byte-count",
                CARD,
                &place,
                format!(
                    "num_bytes is {}, the Parquet footers count {}",
                    own["num_bytes"],
                    split.uncompressed_bytes()
                ),
            ));
        }
    }
    for own in stated
        .iter()
        .filter(|s| !table.splits.iter().any(|t| s["name"] == t.name.as_str()))
    {
        faults.push(Fault::new(
            "split-absent",
            CARD,
            format!("dataset_info of {name}"),
            format!("names split {}, which has no files", own["name"]),
        ));
    }
    let bytes: u64 = table.files().map(|f| f.bytes).sum();
    if info["download_size"].as_u64() != Some(bytes) {
        faults.push(Fault::new(
            "byte-count",
            CARD,
            format!("dataset_info of {name}, download_size"),
            format!("is {}, the files have {bytes} bytes", info["download_size"]),
        ));
    }
}

/// Whether a glob pattern with `*` and `?` names a path.
pub fn matches(pattern: &str, path: &str) -> bool {
    let (pattern, path): (Vec<char>, Vec<char>) = (pattern.chars().collect(), path.chars().collect());
    // reach[j]: the pattern so far can end at path[..j]; a star does not cross a folder
    let mut reach = vec![false; path.len() + 1];
    reach[0] = true;
    for p in pattern {
        let mut next = vec![false; path.len() + 1];
        for j in 0..=path.len() {
            next[j] = match p {
                '*' => reach[j] || (j > 0 && next[j - 1] && path[j - 1] != '/'),
                _ => j > 0 && reach[j - 1] && (p == path[j - 1] || (p == '?' && path[j - 1] != '/')),
            };
        }
        reach = next;
    }
    reach[path.len()]
}

fn check_configs(front: &Map<String, Value>, facts: &Facts, faults: &mut Vec<Fault>) {
    let configs: Vec<&Value> = front
        .get("configs")
        .and_then(Value::as_array)
        .map(|c| c.iter().collect())
        .unwrap_or_default();
    let files: Vec<&str> = facts
        .tables
        .iter()
        .flat_map(TableFacts::files)
        .map(|f| f.path.as_str())
        .collect();
    let mut covered: BTreeSet<&str> = BTreeSet::new();
    let mut names = BTreeSet::new();
    for config in &configs {
        let name = config["config_name"].as_str().unwrap_or("?");
        if !names.insert(name) {
            faults.push(Fault::new(
                "config-twice",
                CARD,
                "configs",
                format!("configuration '{name}' appears twice"),
            ));
        }
        for pattern in config_patterns(config) {
            let found: Vec<&str> = files.iter().copied().filter(|f| matches(&pattern, f)).collect();
            if found.is_empty() {
                faults.push(Fault::new(
                    "config-files",
                    CARD,
                    format!("configs, {name}"),
                    format!("pattern '{pattern}' names no file of the folder"),
                ));
            }
            covered.extend(found);
        }
    }
    for file in files.iter().filter(|f| !covered.contains(**f)) {
        faults.push(Fault::new(
            "config-files",
            CARD,
            "configs",
            format!("no configuration names {file}; {WRITE_AGAIN}"),
        ));
    }
}

fn config_patterns(config: &Value) -> Vec<String> {
    let one = |v: &Value| v.as_str().map(str::to_string);
    match &config["data_files"] {
        Value::Array(entries) => entries
            .iter()
            .flat_map(|e| match &e["path"] {
                Value::Array(paths) => paths.iter().filter_map(one).collect::<Vec<_>>(),
                path => one(path).or_else(|| one(e)).into_iter().collect(),
            })
            .collect(),
        other => one(other).into_iter().collect(),
    }
}

/// Rows against the ledger: every pair, utterance and labelled image has a line that says it was kept.
fn check_rows(facts: &Facts, faults: &mut Vec<Fault>) {
    let Some(in_ledger) = facts.ledger_rows else {
        faults.push(Fault::new(
            "ledger-missing",
            "ledger.jsonl",
            "",
            "is absent; what was left out, and why, cannot be told",
        ));
        return;
    };
    if in_ledger != facts.rows() {
        let tables: Vec<String> = Table::ALL
            .iter()
            .filter_map(|t| facts.table(*t))
            .map(|t| format!("{} {}", t.config_name(), t.rows()))
            .collect();
        faults.push(Fault::new(
            "ledger-count",
            "ledger.jsonl",
            "",
            format!(
                "{in_ledger} rows are accounted for, the tables hold {} ({})",
                facts.rows(),
                tables.join(", ")
            ),
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        assert!(matches("data/train-*.parquet", "data/train-00000-of-00001.parquet"));
        assert!(matches(
            "data/train-*-of-*.parquet",
            "data/train-00000-of-00001.parquet"
        ));
        assert!(!matches("data/train-*.parquet", "data/test-00000-of-00001.parquet"));
        assert!(!matches("*.parquet", "data/train.parquet"));
        assert!(matches("labels/?.parquet", "labels/a.parquet"));
    }
}
