//! FFA-IR's annotation: angiograms by case, with reports in English and Chinese.
//!
//! `ffair_annotation.json` holds `{split: {case: {"Image_path": [...], "En_Report": ...,
//! "Ch_Report": ...}}}`; `lesion_info.json` holds `{picture: [[category, x, y, w, h], ...]}`
//! and `lesion_dict.json` names the categories (Li et al., FFA-IR, NeurIPS 2021 datasets track).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use dataset::fs::natural_cmp;
use serde_json::{Map, Value};

use super::list::{BadRow, ListRow};
use super::screen::is_denied;
use crate::glossary::Glossary;

/// Files of the set.
#[derive(Debug, Clone)]
pub struct FfaIrFiles {
    /// Cases with pictures and reports.
    pub annotation: PathBuf,
    /// Lesions by picture.
    pub lesions: Option<PathBuf>,
    /// Names of the lesions' categories.
    pub lesion_names: Option<PathBuf>,
    /// Terms that become categories where no lesion is marked.
    pub glossary: Arc<Glossary>,
    /// Take the set's own splits.
    pub own_splits: bool,
}

/// Reads the annotation: one row a picture, in natural order of split, case and picture.
///
/// # Errors
/// A file cannot be read, is no JSON, or holds no case.
pub fn read(files: &FfaIrFiles) -> anyhow::Result<(Vec<ListRow>, Vec<BadRow>)> {
    let annotation = read_json(&files.annotation)?;
    let names = match &files.lesion_names {
        Some(path) => lesion_names(&read_json(path)?),
        None => BTreeMap::new(),
    };
    let lesions = match &files.lesions {
        Some(path) => lesions_by_picture(&read_json(path)?, &names),
        None => BTreeMap::new(),
    };
    let file = files
        .annotation
        .file_name()
        .map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    let mut cases = Vec::new();
    collect_cases(&annotation, None, "", &mut cases);
    if cases.is_empty() {
        bail!(
            "{file}: holds no case; expected {{\"train\": {{\"case\": {{\"Image_path\": [...], \"En_Report\": \"...\", \"Ch_Report\": \"...\"}}}}}}"
        );
    }
    cases.sort_by(|a, b| natural_cmp(&a.split, &b.split).then_with(|| natural_cmp(&a.name, &b.name)));
    let (mut rows, mut bad) = (Vec::new(), Vec::new());
    for case in &cases {
        let place = format!(
            "{file}#{}{}",
            if case.split.is_empty() {
                String::new()
            } else {
                format!("{}/", case.split)
            },
            case.name
        );
        if case.pictures.is_empty() {
            let reason = "names no picture; expected a list under `Image_path`".to_owned();
            bad.push(BadRow { place, reason });
            continue;
        }
        let told = told_findings(case, &files.glossary);
        for picture in &case.pictures {
            let marked = lesions.get(picture).filter(|l| !l.is_empty());
            rows.push(ListRow {
                place: format!("{place}/{}", picture.rsplit('/').next().unwrap_or(picture)),
                image: picture.clone(),
                categories: marked.unwrap_or(&told).clone(),
                attributes: [&case.english, &case.chinese].into_iter().flatten().cloned().collect(),
                group: Some(case.name.clone()),
                split: (files.own_splits && !case.split.is_empty()).then(|| case.split.clone()),
                captions: [case.english.clone(), case.chinese.clone()],
            });
        }
    }
    Ok((rows, bad))
}

fn read_json(path: &Path) -> anyhow::Result<Value> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    serde_json::from_slice(bytes).with_context(|| format!("{}: no JSON", path.display()))
}

struct Case {
    split: String,
    name: String,
    pictures: Vec<String>,
    english: Option<String>,
    chinese: Option<String>,
}

/// A field whatever its case and underscores.
fn field<'a>(fields: &'a Map<String, Value>, names: &[&str]) -> Option<&'a Value> {
    fields
        .iter()
        .find(|(key, _)| names.contains(&key.to_lowercase().replace(['_', ' ', '-'], "").as_str()))
        .map(|(_, value)| value)
}

const PICTURES: [&str; 5] = ["imagepath", "imagepaths", "images", "imagelist", "image"];
const ENGLISH: [&str; 5] = ["enreport", "reporten", "englishreport", "report", "finding"];
const CHINESE: [&str; 6] = [
    "chreport",
    "zhreport",
    "cnreport",
    "chinesereport",
    "reportzh",
    "reportch",
];

/// Finds cases in `{split: {case: ...}}`, `{case: ...}`, `{split: [case, ...]}` and `[case, ...]`.
fn collect_cases(value: &Value, name: Option<&str>, split: &str, out: &mut Vec<Case>) {
    match value {
        Value::Object(fields) if field(fields, &PICTURES).is_some() => {
            let text = |names: &[&str]| {
                let text = field(fields, names)?.as_str()?;
                let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
                (!text.is_empty()).then_some(text)
            };
            let own = field(fields, &["id", "caseid", "case", "studyid"]).and_then(|v| match v {
                Value::String(s) => Some(s.clone()),
                Value::Number(n) => Some(n.to_string()),
                _ => None,
            });
            let pictures = match field(fields, &PICTURES) {
                Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).map(plain_path).collect(),
                Some(Value::String(one)) => vec![plain_path(one)],
                _ => Vec::new(),
            };
            let named = fields.get("split").and_then(Value::as_str);
            out.push(Case {
                split: named.unwrap_or(split).to_owned(),
                name: own
                    .or_else(|| name.map(str::to_owned))
                    .unwrap_or_else(|| format!("case-{}", out.len() + 1)),
                pictures,
                english: text(&ENGLISH),
                chinese: text(&CHINESE),
            });
        }
        Value::Object(fields) => {
            for (key, inner) in fields {
                let is_split = matches!(key.as_str(), "train" | "val" | "valid" | "validation" | "test" | "dev");
                let split = match key.as_str() {
                    "valid" | "validation" | "dev" => "val",
                    _ if is_split => key,
                    _ => split,
                };
                collect_cases(inner, (!is_split).then_some(key.as_str()), split, out);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_cases(item, None, split, out)),
        _ => {}
    }
}

fn plain_path(path: &str) -> String {
    path.trim().replace('\\', "/").trim_start_matches("./").to_owned()
}

/// `{"0": "name"}` or `{"name": 0}`: number to name.
fn lesion_names(value: &Value) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    if let Value::Object(fields) = value {
        for (key, value) in fields {
            match value {
                Value::String(name) => out.insert(key.clone(), name.clone()),
                Value::Number(number) => out.insert(number.to_string(), key.clone()),
                _ => None,
            };
        }
    }
    out
}

/// Lesion names by picture, each once.
fn lesions_by_picture(value: &Value, names: &BTreeMap<String, String>) -> BTreeMap<String, Vec<String>> {
    let mut out: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let Value::Object(pictures) = value else {
        return out;
    };
    for (picture, marks) in pictures {
        let slot = out.entry(plain_path(picture)).or_default();
        for mark in marks.as_array().into_iter().flatten() {
            let category = match mark {
                Value::Array(parts) => parts.first(),
                Value::Object(fields) => field(fields, &["category", "label", "lesion", "class"]),
                other => Some(other),
            };
            let key = match category {
                Some(Value::String(text)) => text.clone(),
                Some(Value::Number(number)) => number.to_string(),
                _ => continue,
            };
            let name = match names.get(&key) {
                Some(name) => name.clone(),
                None if key.bytes().all(|b| b.is_ascii_digit()) => format!("lesion {key}"),
                None => key,
            };
            if !slot.contains(&name) {
                slot.push(name);
            }
        }
    }
    out
}

/// Diseases and findings that a case's reports name and do not deny.
fn told_findings(case: &Case, glossary: &Glossary) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for text in [&case.english, &case.chinese].into_iter().flatten() {
        for found in glossary.find(text) {
            let term = &glossary.terms[found.term];
            let counts = matches!(term.kind.as_str(), "disease" | "finding") && !is_denied(&text[..found.start]);
            if counts && !out.contains(&term.en[0]) {
                out.push(term.en[0].clone());
            }
        }
        if !out.is_empty() {
            break;
        }
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn files(folder: &Path) -> FfaIrFiles {
        FfaIrFiles {
            annotation: folder.join("ffair_annotation.json"),
            lesions: None,
            lesion_names: None,
            glossary: Arc::new(Glossary::built_in().unwrap()),
            own_splits: true,
        }
    }

    #[test]
    fn cases_give_a_row_a_picture() {
        let dir = tempfile::tempdir().unwrap();
        let json = r#"{"train": {"case_10": {"Image_path": ["case_10/0.jpg"], "En_Report": "No neovascularization. \n Microaneurysms seen.", "Ch_Report": "可见微血管瘤"},
            "case_2": {"Image_path": ["case_2/1.jpg", "case_2/0.jpg"], "En_Report": "Leakage", "Ch_Report": ""}},
            "val": {"case_3": {"Image_path": [], "En_Report": "x"}},
            "test": {"case_4": {"Image_path": ["case_4/0.jpg"], "Ch_Report": "视网膜中央静脉阻塞"}}}"#;
        std::fs::write(dir.path().join("ffair_annotation.json"), json).unwrap();
        let (rows, bad) = read(&files(dir.path())).unwrap();
        let told: Vec<_> = rows
            .iter()
            .map(|r| (r.image.as_str(), r.categories.join(","), r.split.as_deref().unwrap()))
            .collect();
        assert_eq!(
            told,
            [
                ("case_4/0.jpg", "central retinal vein occlusion".to_owned(), "test"),
                ("case_2/1.jpg", "leakage".to_owned(), "train"),
                ("case_2/0.jpg", "leakage".to_owned(), "train"),
                ("case_10/0.jpg", "microaneurysm".to_owned(), "train"),
            ]
        );
        assert_eq!(rows[3].group.as_deref(), Some("case_10"));
        assert_eq!(
            rows[3].captions[0].as_deref(),
            Some("No neovascularization. Microaneurysms seen.")
        );
        assert_eq!(rows[3].captions[1].as_deref(), Some("可见微血管瘤"));
        assert!(bad.len() == 1 && bad[0].place.ends_with("#val/case_3"), "{bad:?}");

        std::fs::write(
            dir.path().join("lesion_info.json"),
            r#"{"case_2/0.jpg": [[3, 1, 2, 3, 4], [3, 5, 6, 7, 8], [1, 0, 0, 1, 1]]}"#,
        )
        .unwrap();
        std::fs::write(dir.path().join("lesion_dict.json"), r#"{"1": "CNV", "3": "leakage"}"#).unwrap();
        let with = FfaIrFiles {
            lesions: Some(dir.path().join("lesion_info.json")),
            lesion_names: Some(dir.path().join("lesion_dict.json")),
            ..files(dir.path())
        };
        assert_eq!(read(&with).unwrap().0[2].categories, ["leakage", "CNV"]);
    }

    #[test]
    fn other_shapes_and_damage() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ffair_annotation.json");
        std::fs::write(
            &path,
            r#"{"train": [{"id": 7, "image_path": "a/1.jpg", "report": "drusen"}]}"#,
        )
        .unwrap();
        let (rows, _) = read(&files(dir.path())).unwrap();
        assert_eq!(
            (rows[0].group.as_deref(), rows[0].image.as_str()),
            (Some("7"), "a/1.jpg")
        );
        std::fs::write(&path, r#"{"train": 3}"#).unwrap();
        assert!(
            read(&files(dir.path()))
                .unwrap_err()
                .to_string()
                .contains("holds no case")
        );
        std::fs::write(&path, "{").unwrap();
        assert!(format!("{:#}", read(&files(dir.path())).unwrap_err()).contains("no JSON"));
    }
}
