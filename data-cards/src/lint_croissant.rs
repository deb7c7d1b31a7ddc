//! The linter's part on croissant.json.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

use serde_json::{Map, Value};

use crate::croissant::{CONFORMS_TO, PARQUET, rows_sentence};
use crate::facts::{Facts, FileFacts, TableFacts};
use crate::info::is_date;
use crate::lint::{Fault, matches};
use crate::vocabulary::licence_url;

const FILE: &str = "croissant.json";
const WRITE_AGAIN: &str = "write it again with data-cards dataset";
/// Data types that the tables use.
const DATA_TYPES: [&str; 9] = [
    "sc:Text",
    "sc:ImageObject",
    "sc:Boolean",
    "sc:URL",
    "sc:Date",
    "cr:Int64",
    "cr:Float32",
    "cr:Float64",
    "sc:Integer",
];

/// Checks croissant.json against the files and the card.
pub fn check_croissant(
    folder: &Path,
    facts: &Facts,
    front: Option<&Map<String, Value>>,
    hashes: bool,
    faults: &mut Vec<Fault>,
) {
    let Ok(bytes) = std::fs::read(folder.join(FILE)) else {
        faults.push(Fault::new(
            "croissant-missing",
            FILE,
            "",
            format!("is absent; {WRITE_AGAIN}"),
        ));
        return;
    };
    let document: Value = match serde_json::from_slice(&bytes) {
        Ok(document) => document,
        Err(error) => {
            faults.push(Fault::new("croissant-json", FILE, "", format!("is no JSON: {error}")));
            return;
        }
    };
    check_head(&document, facts, front, faults);
    let ids = check_distribution(folder, &document, facts, hashes, faults);
    check_record_sets(&document, facts, &ids, faults);
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn check_head(document: &Value, facts: &Facts, front: Option<&Map<String, Value>>, faults: &mut Vec<Fault>) {
    if text(document, "@type") != "sc:Dataset" {
        faults.push(Fault::new(
            "croissant-type",
            FILE,
            "@type",
            format!("is {}, expected sc:Dataset", document["@type"]),
        ));
    }
    if text(document, "conformsTo") != CONFORMS_TO {
        faults.push(Fault::new(
            "croissant-version",
            FILE,
            "conformsTo",
            format!("is {}, expected {CONFORMS_TO}", document["conformsTo"]),
        ));
    }
    for key in ["name", "description", "license", "version", "datePublished", "citeAs"] {
        if text(document, key).trim().is_empty() {
            faults.push(Fault::new(
                "croissant-property",
                FILE,
                key,
                format!("is missing; {WRITE_AGAIN}"),
            ));
        }
    }
    let date = text(document, "datePublished");
    if !date.is_empty() && !is_date(date.get(..10).unwrap_or(date)) {
        faults.push(Fault::new(
            "croissant-date",
            FILE,
            "datePublished",
            format!("'{date}' is no date of the form 2026-01-31"),
        ));
    }
    if let Some(card) = front.and_then(|f| f.get("license")).and_then(Value::as_str) {
        let expected = licence_url(card).unwrap_or_else(|| card.to_string());
        if text(document, "license") != expected {
            faults.push(Fault::new(
                "licence-differs",
                FILE,
                "license",
                format!("is {}, the card's '{card}' means {expected}", document["license"]),
            ));
        }
    }
    if let Some(name) = front.and_then(|f| f.get("pretty_name")).and_then(Value::as_str)
        && text(document, "name") != name
    {
        faults.push(Fault::new(
            "name-differs",
            FILE,
            "name",
            format!("is {}, the card says '{name}'", document["name"]),
        ));
    }
    let languages: BTreeSet<String> = document["inLanguage"]
        .as_array()
        .map(|l| l.iter().filter_map(|v| v.as_str().map(str::to_string)).collect())
        .unwrap_or_default();
    if languages != facts.languages {
        faults.push(Fault::new(
            "language-differs",
            FILE,
            "inLanguage",
            format!("is {languages:?}, the data hold {:?}", facts.languages),
        ));
    }
}

/// Checks files and file sets; returns their ids with the paths behind them.
fn check_distribution(
    folder: &Path,
    document: &Value,
    facts: &Facts,
    hashes: bool,
    faults: &mut Vec<Fault>,
) -> BTreeMap<String, Vec<String>> {
    let known: BTreeMap<&str, &FileFacts> = facts
        .tables
        .iter()
        .flat_map(TableFacts::files)
        .map(|f| (f.path.as_str(), f))
        .collect();
    let mut ids: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut listed = BTreeSet::new();
    for entry in document["distribution"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
    {
        let id = text(entry, "@id").to_string();
        let place = format!("distribution, {id}");
        if text(entry, "encodingFormat") != PARQUET {
            faults.push(Fault::new(
                "encoding-format",
                FILE,
                &place,
                format!("encodingFormat is {}, expected {PARQUET}", entry["encodingFormat"]),
            ));
        }
        let mut paths = Vec::new();
        match text(entry, "@type") {
            "cr:FileObject" => {
                let url = text(entry, "contentUrl");
                listed.insert(url.to_string());
                paths.push(url.to_string());
                check_file(folder, entry, &place, known.get(url).copied(), hashes, faults);
            }
            "cr:FileSet" => {
                let patterns: Vec<&str> = match &entry["includes"] {
                    Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
                    one => one.as_str().into_iter().collect(),
                };
                paths = known
                    .keys()
                    .filter(|p| patterns.iter().any(|g| matches(g, p)))
                    .map(|p| p.to_string())
                    .collect();
                if paths.is_empty() {
                    faults.push(Fault::new(
                        "file-set",
                        FILE,
                        &place,
                        format!("includes {} names no file of the folder", entry["includes"]),
                    ));
                }
            }
            other => faults.push(Fault::new(
                "croissant-type",
                FILE,
                &place,
                format!("@type '{other}' is neither cr:FileObject nor cr:FileSet"),
            )),
        }
        if id.is_empty() || ids.insert(id.clone(), paths).is_some() {
            faults.push(Fault::new("croissant-id", FILE, &place, "@id is missing or used twice"));
        }
    }
    for path in known.keys().filter(|p| !listed.contains(**p)) {
        faults.push(Fault::new(
            "file-unlisted",
            FILE,
            "distribution",
            format!("does not list {path}; {WRITE_AGAIN}"),
        ));
    }
    ids
}

fn check_file(
    folder: &Path,
    entry: &Value,
    place: &str,
    facts: Option<&FileFacts>,
    hashes: bool,
    faults: &mut Vec<Fault>,
) {
    let url = text(entry, "contentUrl");
    let inside = Path::new(url).components().all(|c| matches!(c, Component::Normal(_)));
    if url.is_empty() || !inside {
        faults.push(Fault::new(
            "file-outside",
            FILE,
            place,
            format!("contentUrl '{url}' is no path inside the folder"),
        ));
        return;
    }
    let Some(facts) = facts else {
        let there = if folder.join(url).exists() {
            "is no table file of this folder"
        } else {
            "is absent"
        };
        faults.push(Fault::new("file-missing", FILE, place, format!("{url} {there}")));
        return;
    };
    let hash = text(entry, "sha256");
    if hash.len() != 64 || !hash.bytes().all(|b| b.is_ascii_hexdigit()) {
        faults.push(Fault::new(
            "file-hash",
            FILE,
            place,
            format!("sha256 '{hash}' is no SHA-256"),
        ));
    } else if hashes && !hash.eq_ignore_ascii_case(&facts.sha256) {
        faults.push(Fault::new(
            "file-hash",
            FILE,
            place,
            format!("sha256 is {hash}, the file has {}; {WRITE_AGAIN}", facts.sha256),
        ));
    }
    if text(entry, "contentSize") != format!("{} B", facts.bytes) {
        faults.push(Fault::new(
            "file-size",
            FILE,
            place,
            format!(
                "contentSize is {}, the file has {} B",
                entry["contentSize"], facts.bytes
            ),
        ));
    }
    if text(entry, "description") != rows_sentence(facts.rows) {
        faults.push(Fault::new(
            "row-count",
            FILE,
            place,
            format!(
                "says {}, the Parquet footer counts {} rows",
                entry["description"], facts.rows
            ),
        ));
    }
}

fn check_record_sets(document: &Value, facts: &Facts, ids: &BTreeMap<String, Vec<String>>, faults: &mut Vec<Fault>) {
    let sets: Vec<&Value> = document["recordSet"]
        .as_array()
        .map(|s| s.iter().collect())
        .unwrap_or_default();
    for table in &facts.tables {
        let name = table.config_name();
        let Some(set) = sets.iter().find(|s| text(s, "@id") == name) else {
            faults.push(Fault::new(
                "record-set",
                FILE,
                "recordSet",
                format!("has no record set '{name}'; {WRITE_AGAIN}"),
            ));
            continue;
        };
        let fields: Vec<&Value> = set["field"].as_array().map(|f| f.iter().collect()).unwrap_or_default();
        let columns: BTreeSet<&str> = table
            .files()
            .flat_map(|f| f.columns.iter().map(String::as_str))
            .collect();
        let mut described = BTreeSet::new();
        for field in &fields {
            let place = format!("recordSet {name}, {}", text(field, "@id"));
            let leaves: Vec<&Value> = field["subField"]
                .as_array()
                .map_or_else(|| vec![*field], |s| s.iter().collect());
            for leaf in leaves {
                let column = leaf["source"]["extract"]["column"].as_str().unwrap_or_default();
                described.insert(column);
                if !columns.contains(column) {
                    faults.push(Fault::new(
                        "column-absent",
                        FILE,
                        &place,
                        format!("reads column '{column}', which the files do not have"),
                    ));
                }
                if !DATA_TYPES.contains(&text(leaf, "dataType")) {
                    faults.push(Fault::new(
                        "data-type",
                        FILE,
                        &place,
                        format!("dataType {} is not known", leaf["dataType"]),
                    ));
                }
                let source = ["fileObject", "fileSet"]
                    .iter()
                    .find_map(|k| leaf["source"][k]["@id"].as_str());
                let paths = source.and_then(|s| ids.get(s));
                if paths.is_none_or(|p| {
                    !p.iter()
                        .any(|path| path.starts_with(&format!("{}/", table.table.folder())))
                }) {
                    faults.push(Fault::new(
                        "field-source",
                        FILE,
                        &place,
                        format!(
                            "reads from {}, which is no file of the table",
                            source.unwrap_or("nothing")
                        ),
                    ));
                }
            }
        }
        for column in columns.iter().filter(|c| !described.contains(**c)) {
            faults.push(Fault::new(
                "column-missing",
                FILE,
                format!("recordSet {name}"),
                format!("does not describe column '{column}'"),
            ));
        }
        if let Some(image) = fields.iter().find(|f| text(f, "name") == "image")
            && (text(image, "dataType") != "sc:ImageObject" || image["source"]["transform"]["jsonPath"] != "bytes")
        {
            faults.push(Fault::new(
                "image-field",
                FILE,
                format!("recordSet {name}, image"),
                "must be an sc:ImageObject with transform jsonPath bytes",
            ));
        }
    }
}
