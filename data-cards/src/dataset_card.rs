//! README.md of a dataset folder: front matter for the Hugging Face hub, and a page for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use dataset::schema::{Table, arrow_schema, huggingface_info};
use serde_json::{Map, Value, json};

use crate::facts::{Facts, TableFacts, UNSTATED};
use crate::front_matter;
use crate::info::CardInfo;
use crate::vocabulary::{licence_id, licence_url, size_category};

/// Start and end of the part of a card that people write and this program keeps.
const NOTES: (&str, &str) = (
    "<!-- notes: kept when the card is written again -->",
    "<!-- end of notes -->",
);
/// Rows of a long list on the page.
const LONGEST_LIST: usize = 40;

/// Hub licence id of the whole: as the people behind it say, else the one licence that every row states, else
/// "other" for several and "unknown" when none is stated.
pub fn licence(facts: &Facts, info: &CardInfo) -> &'static str {
    if let Some(id) = info.license.as_deref().and_then(licence_id) {
        return id;
    }
    let stated: Vec<&String> = facts.licences.keys().collect();
    match stated[..] {
        [] => "unknown",
        [one] if one == UNSTATED => "unknown",
        [one] => licence_id(one).unwrap_or("other"),
        _ => "other",
    }
}

/// Name for people.
pub fn pretty_name(facts: &Facts, info: &CardInfo) -> String {
    info.pretty_name.clone().unwrap_or_else(|| facts.folder_name.clone())
}

/// Glob patterns of a split's files.
pub fn patterns(table: &TableFacts, split: &str) -> Vec<String> {
    match table.table {
        Table::Labels => vec![format!("{}/*.parquet", table.table.folder())],
        _ => {
            let shards = table
                .splits
                .iter()
                .find(|s| s.name == split)
                .map(|s| s.files.as_slice())
                .unwrap_or_default();
            let sharded = shards.iter().all(|f| f.path.contains("-of-"));
            if sharded {
                vec![format!("{}/{split}-*-of-*.parquet", table.table.folder())]
            } else {
                shards.iter().map(|f| f.path.clone()).collect()
            }
        }
    }
}

/// The front matter, every number computed.
pub fn front_matter(facts: &Facts, info: &CardInfo) -> Map<String, Value> {
    let licence = licence(facts, info);
    let mut front = Map::new();
    let languages: Vec<&String> = facts.languages.iter().collect();
    if !languages.is_empty() {
        front.insert("language".into(), json!(languages));
    }
    front.insert("license".into(), licence.into());
    if licence == "other" {
        front.insert("license_name".into(), "several-see-card".into());
        front.insert("license_link".into(), "README.md".into());
    }
    front.insert("pretty_name".into(), pretty_name(facts, info).into());
    front.insert("size_categories".into(), json!([size_category(facts.rows())]));
    front.insert("task_categories".into(), json!(tasks(facts)));
    if !languages.is_empty() {
        front.insert(
            "multilinguality".into(),
            json!([if languages.len() > 1 {
                "multilingual"
            } else {
                "monolingual"
            }]),
        );
    }
    front.insert("annotations_creators".into(), json!(annotation_creators(facts)));
    front.insert("source_datasets".into(), json!(source_datasets(facts)));
    front.insert("tags".into(), json!(tags(facts)));
    front.insert(
        "configs".into(),
        facts
            .tables
            .iter()
            .enumerate()
            .map(|(i, t)| config(t, i == 0))
            .collect(),
    );
    front.insert("dataset_info".into(), facts.tables.iter().map(dataset_info).collect());
    front
}

fn tasks(facts: &Facts) -> Vec<&'static str> {
    let mut tasks = Vec::new();
    if facts.table(Table::Pairs).is_some() {
        tasks.extend(["image-to-text", "zero-shot-image-classification"]);
    }
    if facts.table(Table::Labels).is_some() {
        tasks.push("image-classification");
    }
    if facts.table(Table::Text).is_some() {
        tasks.push("fill-mask");
    }
    tasks
}

fn annotation_creators(facts: &Facts) -> Vec<&'static str> {
    let of = |origin: &str| match origin {
        "ocr" | "translation" => "machine-generated",
        "person" => "expert-generated",
        "findings" => "found",
        _ => "other",
    };
    let mut creators: Vec<&str> = facts.caption_origins.keys().map(|o| of(o)).collect();
    if !facts.label_sets.is_empty() {
        creators.push("found");
    }
    if creators.is_empty() {
        creators.push("no-annotation");
    }
    creators.sort_unstable();
    creators.dedup();
    creators
}

fn source_datasets(facts: &Facts) -> Vec<String> {
    let own = facts
        .table(Table::Pairs)
        .or(facts.table(Table::Text))
        .map(|_| "original".to_string());
    own.into_iter()
        .chain(facts.label_sets.keys().map(|s| format!("extended|other-{s}")))
        .collect()
}

fn tags(facts: &Facts) -> Vec<String> {
    let mut tags = vec!["medical".to_string(), "ophthalmology".into(), "retina".into()];
    tags.extend(facts.modalities.keys().map(|m| m.to_lowercase()));
    if facts.table(Table::Pairs).is_some() {
        tags.push("image-text".into());
    }
    tags.push("croissant".into());
    tags
}

fn config(table: &TableFacts, default: bool) -> Value {
    let file = |split: &crate::facts::SplitFacts| {
        let mut paths = patterns(table, &split.name);
        let path = if paths.len() == 1 {
            paths.remove(0).into()
        } else {
            json!(paths)
        };
        json!({"split": split.name, "path": path})
    };
    let mut config =
        json!({"config_name": table.config_name(), "data_files": table.splits.iter().map(file).collect::<Vec<_>>()});
    if default {
        config["default"] = true.into();
    }
    config
}

/// `dataset_info` of one configuration: features in the hub's YAML form, splits, sizes.
fn dataset_info(table: &TableFacts) -> Value {
    let splits: Vec<Value> = table
        .splits
        .iter()
        .map(|s| json!({"name": s.name, "num_bytes": s.uncompressed_bytes(), "num_examples": s.rows()}))
        .collect();
    json!({
        "config_name": table.config_name(),
        "features": features(table.table),
        "splits": splits,
        "download_size": table.files().map(|f| f.bytes).sum::<u64>(),
        "dataset_size": table.splits.iter().map(|s| s.uncompressed_bytes()).sum::<u64>(),
    })
}

/// Features of a table as a YAML list, from the same description that the files carry.
pub fn features(table: Table) -> Vec<Value> {
    let fields: Vec<_> = arrow_schema(table)
        .fields()
        .iter()
        .map(|f| f.as_ref().clone())
        .collect();
    let info = huggingface_info(&fields);
    let features = info["info"]["features"].as_object().cloned().unwrap_or_default();
    features
        .iter()
        .map(|(name, feature)| named_feature(name, feature))
        .collect()
}

fn named_feature(name: &str, feature: &Value) -> Value {
    match feature["_type"].as_str() {
        Some("Value") => json!({"name": name, "dtype": feature["dtype"]}),
        Some("Image") => json!({"name": name, "dtype": "image"}),
        Some("List") => json!({"name": name, "list": feature["feature"]["dtype"]}),
        _ => {
            let children = feature
                .as_object()
                .map(|m| m.iter().map(|(n, f)| named_feature(n, f)).collect::<Vec<_>>());
            json!({"name": name, "struct": children.unwrap_or_default()})
        }
    }
}

/// The notes that people wrote into an earlier card.
pub fn kept_notes(card: &str) -> Option<&str> {
    let start = card.find(NOTES.0)? + NOTES.0.len();
    let end = start + card[start..].find(NOTES.1)?;
    Some(card[start..end].trim()).filter(|n| !n.is_empty())
}

/// The whole card. `notes` comes from an earlier card and is kept.
pub fn card(facts: &Facts, info: &CardInfo, notes: Option<&str>) -> String {
    let mut page = front_matter::write(&front_matter(facts, info));
    let _ = writeln!(page, "\n# {}\n", pretty_name(facts, info));
    let _ = writeln!(page, "{}\n", info.description.clone().unwrap_or_else(|| summary(facts)));
    let _ = writeln!(page, "{}\n\n{}\n\n{}\n", NOTES.0, notes.unwrap_or_default(), NOTES.1);
    contents(facts, &mut page);
    use_it(facts, &mut page);
    origin(facts, &mut page);
    rights(facts, info, &mut page);
    people(info, &mut page);
    page
}

fn summary(facts: &Facts) -> String {
    let count = |table: Table| facts.table(table).map_or(0, TableFacts::rows);
    let mut parts = Vec::new();
    if count(Table::Pairs) > 0 {
        parts.push(format!("{} image-text pairs", grouped(count(Table::Pairs))));
    }
    if count(Table::Labels) > 0 {
        parts.push(format!(
            "{} labelled images in {} sets",
            grouped(count(Table::Labels)),
            facts.label_sets.len()
        ));
    }
    if count(Table::Text) > 0 {
        parts.push(format!(
            "{} utterances for text pretraining",
            grouped(count(Table::Text))
        ));
    }
    let modalities: Vec<&str> = facts.modalities.keys().map(String::as_str).collect();
    let of = if modalities.is_empty() {
        String::new()
    } else {
        format!(" ({})", modalities.join(", "))
    };
    format!("Retinal images and texts{of}: {}.", parts.join(", "))
}

/// 12345 → 12,345.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, d) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(d);
    }
    text
}

fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>, page: &mut String) {
    let _ = writeln!(page, "| {} |\n|{}", head.join(" | "), " --- |".repeat(head.len()));
    for row in rows {
        let cells: Vec<String> = row.iter().map(|c| c.replace('|', "\\|").replace('\n', " ")).collect();
        let _ = writeln!(page, "| {} |", cells.join(" | "));
    }
    page.push('\n');
}

fn contents(facts: &Facts, page: &mut String) {
    page.push_str("## Contents\n\n");
    let splits = facts.tables.iter().flat_map(|t| t.splits.iter().map(move |s| (t, s)));
    let row = |(t, s): (&TableFacts, &crate::facts::SplitFacts)| {
        let bytes: u64 = s.files.iter().map(|f| f.bytes).sum();
        vec![
            t.config_name().into(),
            s.name.clone(),
            grouped(s.rows()),
            s.files.len().to_string(),
            dataset::error::human_bytes(bytes),
        ]
    };
    table(
        &["configuration", "split", "rows", "files", "size"],
        splits.map(row),
        page,
    );
    let _ = writeln!(page, "Content hash over all Parquet files: `{}`.\n", facts.content_hash);
    if !facts.modalities.is_empty() {
        let row = |(name, m): (&String, &crate::facts::ModalityFacts)| {
            vec![
                name.clone(),
                grouped(m.pairs),
                grouped(m.english),
                grouped(m.chinese),
                grouped(m.labelled),
            ]
        };
        table(
            &[
                "modality",
                "pairs",
                "English captions",
                "Chinese captions",
                "labelled images",
            ],
            facts.modalities.iter().map(row),
            page,
        );
    }
    for (title, counts) in [
        ("pairs by split column", &facts.pair_splits),
        ("pairs by review status", &facts.review),
        ("captions by origin", &facts.caption_origins),
        ("utterances by language", &facts.text_languages),
    ] {
        if !counts.is_empty() {
            table(
                &[title, "rows"],
                counts.iter().map(|(k, n)| vec![k.clone(), grouped(*n)]),
                page,
            );
        }
    }
    if !facts.label_sets.is_empty() {
        let list = |counts: &BTreeMap<String, u64>| {
            counts
                .iter()
                .take(LONGEST_LIST)
                .map(|(k, n)| format!("{k} {n}"))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let row = |(name, s): (&String, &crate::facts::LabelSetFacts)| {
            vec![name.clone(), list(&s.modalities), list(&s.splits), list(&s.categories)]
        };
        table(
            &["labelled set", "modality", "splits", "categories"],
            facts.label_sets.iter().map(row),
            page,
        );
    }
}

fn use_it(facts: &Facts, page: &mut String) {
    page.push_str("## Use\n\n```python\nfrom datasets import load_dataset\n\n");
    for table in &facts.tables {
        let _ = writeln!(
            page,
            "{0} = load_dataset(\".\", \"{0}\")  # {1} rows",
            table.config_name(),
            grouped(table.rows())
        );
    }
    page.push_str("```\n\nThe files are plain Parquet: polars, DuckDB, pandas and Spark read them as they are. Images are structs of `bytes` and `path`.\n\n");
}

fn origin(facts: &Facts, page: &mut String) {
    page.push_str("## Where it comes from\n\n");
    if !facts.sources.is_empty() {
        table(
            &["source", "rows"],
            facts
                .sources
                .iter()
                .take(LONGEST_LIST)
                .map(|(k, n)| vec![k.clone(), grouped(*n)]),
            page,
        );
    }
    if facts.ledger.is_empty() {
        page.push_str("There is no ledger: what was left out, and why, is not recorded.\n\n");
        return;
    }
    page.push_str("Every input ends in one state of the ledger (`ledger.jsonl`):\n\n");
    let lines = facts.ledger.iter().flat_map(|(source, kinds)| {
        kinds.iter().map(move |(kind, states)| {
            let states: Vec<String> = states.iter().map(|(s, n)| format!("{s} {}", grouped(*n))).collect();
            vec![source.clone(), kind.clone(), states.join(", ")]
        })
    });
    table(&["source", "kind", "inputs by state"], lines, page);
    if !facts.reasons.is_empty() {
        let mut reasons: Vec<_> = facts.reasons.iter().collect();
        reasons.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        table(
            &["left out because", "inputs"],
            reasons
                .into_iter()
                .take(LONGEST_LIST)
                .map(|(k, n)| vec![k.clone(), grouped(*n)]),
            page,
        );
    }
    let _ = writeln!(page, "Corrections by people (`edits.jsonl`): {}.\n", facts.edits);
}

fn rights(facts: &Facts, info: &CardInfo, page: &mut String) {
    page.push_str("## Licences\n\n");
    let id = licence(facts, info);
    let said = if info.license.is_some() {
        "stated by the maintainers"
    } else {
        "derived from what the rows state"
    };
    let link = licence_url(id).map(|u| format!(" ({u})")).unwrap_or_default();
    let _ = writeln!(page, "Whole: `{id}`{link}, {said}. By row:\n");
    table(
        &["licence as stated", "rows"],
        facts
            .licences
            .iter()
            .take(LONGEST_LIST)
            .map(|(k, n)| vec![k.clone(), grouped(*n)]),
        page,
    );
}

fn people(info: &CardInfo, page: &mut String) {
    let answers = [
        (
            "Creators",
            (!info.creators.is_empty()).then(|| info.creators.join(", ")),
        ),
        ("Published", info.date_published.clone()),
        ("Home", info.homepage.clone()),
        ("Contact", info.contact.clone()),
        ("Intended use", info.intended_use.clone()),
        ("Not for", info.out_of_scope_use.clone()),
        ("Known biases", info.biases.clone()),
        ("Limitations", info.limitations.clone()),
        ("Personal information", info.personal_information.clone()),
        ("Consent and ethics", info.ethics.clone()),
        ("Maintenance and takedown", info.maintenance.clone()),
    ];
    if answers.iter().any(|a| a.1.is_some()) {
        page.push_str("## From the people behind it\n\n");
        for (title, answer) in &answers {
            if let Some(answer) = answer {
                let _ = writeln!(page, "- **{title}**: {answer}");
            }
        }
        page.push('\n');
    }
    if let Some(citation) = &info.citation {
        let _ = writeln!(page, "## Citation\n\n```\n{}\n```\n", citation.trim());
    }
    let open = info.open_questions();
    if !open.is_empty() {
        page.push_str("## Open questions\n\nNobody has answered these yet; answers go into `card.toml`.\n\n");
        for (key, question) in open {
            let _ = writeln!(page, "- {question} (`{key}`)");
        }
    }
}
