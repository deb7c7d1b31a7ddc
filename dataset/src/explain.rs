//! Where a row came from, step by step: from the screenshot to the record,
//! with everything the ledger, the row and the edits know.

use crate::edits::Edits;
use crate::error::{DatasetError, Result};
use crate::ledger::{LEDGER_FILE, LedgerEntry, read_lines};
use crate::read::{Columns, Dataset};
use crate::record::{LabelRecord, PairRecord, TextRecord};
use serde::Serialize;
use serde_json::{Value, json};

/// One step of a row's way.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// What happened, in a word or two.
    pub step: String,
    /// Names and values, in the order they should be read.
    pub facts: Vec<(String, Value)>,
}

/// A row's whole way.
#[derive(Debug, Clone, Serialize)]
pub struct Explanation {
    /// The row's id.
    pub id: String,
    /// `pairs`, `text` or `labels`; `none` when no row has this id.
    pub table: &'static str,
    /// From the input to the row.
    pub steps: Vec<Step>,
}

fn step(name: &str, facts: Vec<(&str, Value)>) -> Step {
    let known = facts.into_iter().filter(|(_, value)| !is_void(value));
    Step {
        step: name.to_owned(),
        facts: known.map(|(name, value)| (name.to_owned(), value)).collect(),
    }
}

fn is_void(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

/// Explains a row by its id.
///
/// # Errors
/// No row, ledger line or edit knows the id (the message names similar ids),
/// or a file cannot be read.
pub fn explain(dataset: &Dataset, id: &str) -> Result<Explanation> {
    let mut similar = Vec::new();
    let mut close = |other: &str| {
        if similar.len() < 5 && id.len() >= 4 && (other.contains(id) || id.contains(other)) {
            similar.push(other.to_owned());
        }
    };
    let edits = dataset.edits()?;
    for row in dataset.pairs(Columns::WithoutImageBytes)? {
        let row = row?;
        if row.id == id {
            return explain_pair(dataset, &row, &edits);
        }
        close(&row.id);
    }
    for row in dataset.text()? {
        let row = row?;
        if row.id == id {
            return explain_text(dataset, &row);
        }
        close(&row.id);
    }
    for row in dataset.labels(None, Columns::WithoutImageBytes)? {
        let row = row?;
        if row.id == id {
            return explain_label(dataset, &row);
        }
        close(&row.id);
    }
    explain_gone(dataset, id, &edits, &similar)
}

/// An id without a row: the ledger or the edits may still know it.
fn explain_gone(dataset: &Dataset, id: &str, edits: &Edits, similar: &[String]) -> Result<Explanation> {
    let lines = ledger_lines(dataset, |entry| entry.id.as_deref() == Some(id))?;
    let mut steps: Vec<Step> = lines.iter().map(ledger_step).collect();
    steps.extend(edit_steps(edits, |at| edits.edits[at].id == id));
    if steps.is_empty() {
        let hint = if similar.is_empty() {
            "list ids with: dataset query DATASET \"SELECT id, figure_no, panel FROM pairs LIMIT 20\"".to_owned()
        } else {
            format!("did you mean {}?", similar.join(", "))
        };
        return Err(DatasetError::invalid(
            dataset.folder().display().to_string(),
            format!("nothing has the id `{id}`; {hint}"),
        ));
    }
    Ok(Explanation {
        id: id.to_owned(),
        table: "none",
        steps,
    })
}

fn ledger_lines(dataset: &Dataset, wanted: impl Fn(&LedgerEntry) -> bool) -> Result<Vec<LedgerEntry>> {
    let mut found = Vec::new();
    for line in read_lines(&dataset.folder().join(LEDGER_FILE))? {
        let entry = line?.entry;
        if wanted(&entry) {
            found.push(entry);
        }
    }
    Ok(found)
}

fn ledger_step(entry: &LedgerEntry) -> Step {
    let mut facts = vec![
        ("source", json!(entry.source_id)),
        ("input", json!(entry.input)),
        ("state", json!(entry.state)),
        ("reason", json!(entry.reason)),
    ];
    let detail = entry.detail.clone().unwrap_or_default();
    let fields: Vec<(String, Value)> = match detail {
        Value::Object(fields) => fields.into_iter().collect(),
        Value::Null => Vec::new(),
        other => vec![("detail".to_owned(), other)],
    };
    facts.extend(fields.iter().map(|(name, value)| (name.as_str(), value.clone())));
    step(&format!("ledger: {}", entry.kind), facts)
}

fn edit_steps(edits: &Edits, wanted: impl Fn(usize) -> bool) -> Vec<Step> {
    let matching = (0..edits.edits.len()).filter(|&at| wanted(at));
    matching
        .map(|at| {
            let edit = &edits.edits[at];
            step(
                "edit by a person",
                vec![
                    ("field", json!(edit.field)),
                    ("value", json!(edit.value)),
                    ("editor", json!(edit.editor)),
                    ("reason", json!(edit.reason)),
                ],
            )
        })
        .collect()
}

/// The page a ledger input lies on: `file` of `file#figure/panel`.
fn page_of(input: &str) -> &str {
    input.split('#').next().unwrap_or(input)
}

fn explain_pair(dataset: &Dataset, row: &PairRecord, edits: &Edits) -> Result<Explanation> {
    let own = ledger_lines(dataset, |entry| entry.id.as_deref() == Some(row.id.as_str()))?;
    let page = row
        .source_page
        .clone()
        .or_else(|| own.first().map(|entry| page_of(&entry.input).to_owned()));
    let inputs: Vec<String> = own.iter().map(|entry| entry.input.clone()).collect();
    // The page, and the figure and captions whose name begins the panel's.
    let around = ledger_lines(dataset, |entry| {
        entry.source_id == row.source_id
            && entry.id.is_none()
            && page.as_deref() == Some(page_of(&entry.input))
            && (!entry.input.contains('#') || inputs.iter().any(|input| input.starts_with(&entry.input)))
    })?;
    let mut steps = vec![step(
        "page",
        vec![
            ("source", json!(row.source_id)),
            ("file", json!(row.source_page)),
            ("sha256", json!(row.source_page_sha256)),
            ("licence", json!(row.licence)),
        ],
    )];
    steps.extend(around.iter().map(ledger_step));
    steps.push(step(
        "cut out",
        vec![
            ("figure", json!(row.figure_no)),
            ("panel", json!(row.panel)),
            (
                "box (x0,y0,x1,y1)",
                json!(row.panel_bbox.map(|b| format!("{},{},{},{}", b.x0, b.y0, b.x1, b.y1))),
            ),
            ("picture", json!(row.image.path)),
            ("size", json!(format!("{}x{}", row.width, row.height))),
            ("image sha256", json!(row.image_sha256)),
        ],
    ));
    steps.push(step(
        "read by OCR",
        vec![
            ("whole caption", json!(row.caption_figure)),
            ("language", json!(row.lang_original)),
            ("OCR confidence", number(row.ocr_confidence)),
        ],
    ));
    steps.push(step(
        "caption of this panel",
        vec![
            ("English", json!(row.caption_en)),
            ("English from", json!(row.caption_en_origin)),
            ("Chinese", json!(row.caption_zh)),
            ("Chinese from", json!(row.caption_zh_origin)),
            ("pair confidence", number(row.pair_confidence)),
        ],
    ));
    steps.push(step(
        "modality",
        vec![
            ("modality", json!(row.modality)),
            ("modality confidence", number(row.modality_confidence)),
        ],
    ));
    steps.extend(own.iter().map(ledger_step));
    let matching = edits.matching(row);
    steps.extend(edit_steps(edits, |at| matching.contains(&at)));
    steps.push(step(
        "record",
        vec![
            ("review", json!(row.review_status)),
            ("review reasons", json!(row.review_reasons)),
            ("quality flags", json!(row.quality_flags)),
            ("split", json!(row.split)),
            ("split group", json!(row.split_group)),
        ],
    ));
    Ok(Explanation {
        id: row.id.clone(),
        table: "pairs",
        steps,
    })
}

/// Through the shortest text, so that 0.9 does not become 0.8999999761581421.
/// A confidence to four places: the last bits of a mean tell nobody anything.
fn number(value: Option<f32>) -> Value {
    value.map_or(Value::Null, |value| Value::from((f64::from(value) * 1e4).round() / 1e4))
}

fn explain_text(dataset: &Dataset, row: &TextRecord) -> Result<Explanation> {
    let own = ledger_lines(dataset, |entry| entry.id.as_deref() == Some(row.id.as_str()))?;
    let mut steps: Vec<Step> = own.iter().map(ledger_step).collect();
    steps.push(step(
        "record",
        vec![
            ("source", json!(row.source_id)),
            ("language", json!(row.language)),
            ("keywords", json!(row.keywords)),
            ("licence", json!(row.licence)),
            ("text", json!(row.text)),
        ],
    ));
    Ok(Explanation {
        id: row.id.clone(),
        table: "text",
        steps,
    })
}

fn explain_label(dataset: &Dataset, row: &LabelRecord) -> Result<Explanation> {
    let own = ledger_lines(dataset, |entry| entry.id.as_deref() == Some(row.id.as_str()))?;
    let mut steps: Vec<Step> = own.iter().map(ledger_step).collect();
    steps.push(step(
        "record",
        vec![
            ("labelled set", json!(row.dataset)),
            ("picture", json!(row.image.path)),
            ("size", json!(format!("{}x{}", row.width, row.height))),
            ("image sha256", json!(row.image_sha256)),
            ("modality", json!(row.modality)),
            ("categories", json!(row.categories)),
            ("attributes", json!(row.attributes)),
            ("split", json!(row.split)),
            ("split group", json!(row.split_group)),
            ("licence", json!(row.licence)),
        ],
    ));
    Ok(Explanation {
        id: row.id.clone(),
        table: "labels",
        steps,
    })
}

/// The explanation for people.
#[must_use]
pub fn render(explanation: &Explanation) -> String {
    let mut text = match explanation.table {
        "none" => format!("{}: no row has this id, but it is known:\n", explanation.id),
        table => format!("{} ({table})\n", explanation.id),
    };
    for (index, step) in explanation.steps.iter().enumerate() {
        text += &format!("\n{}. {}\n", index + 1, step.step);
        for (name, value) in &step.facts {
            let value = match value {
                Value::String(text) => text.clone(),
                Value::Array(items) => {
                    let words: Vec<String> = items
                        .iter()
                        .map(|i| i.as_str().map_or_else(|| i.to_string(), str::to_owned))
                        .collect();
                    words.join(", ")
                }
                other => other.to_string(),
            };
            text += &format!("   {name}: {}\n", value.replace('\n', "\n      "));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::edits::{Edit, append};
    use crate::testing::{drawn_pair, drawn_pair_ledger};
    use crate::write::SourceUpdate;

    #[test]
    fn a_pair_is_told_from_page_to_record() {
        let folder = tempfile::tempdir().unwrap();
        let record = drawn_pair("book", 3);
        let edit = Edit {
            id: record.id.clone(),
            field: "panel".to_owned(),
            value: Some("B".to_owned()),
            editor: "ann".to_owned(),
            reason: Some("misread".to_owned()),
            anchor: None,
            origin: None,
            of: None,
        };
        append(folder.path(), &edit).unwrap();
        let mut update = SourceUpdate::pairs(folder.path(), "book").unwrap();
        let mut page = drawn_pair_ledger(&record);
        page.kind = "screenshot".to_owned();
        page.state = "kept".to_owned();
        page.input = record.source_page.clone().unwrap();
        page.id = None;
        page.detail = Some(json!({"figures": 1}));
        update.push_ledger(page).unwrap();
        update.push_ledger(drawn_pair_ledger(&record)).unwrap();
        update.push_pair(record.clone()).unwrap();
        update.commit().unwrap();
        let dataset = Dataset::open(folder.path()).unwrap();
        let explanation = explain(&dataset, &record.id).unwrap();
        let names: Vec<_> = explanation.steps.iter().map(|step| step.step.as_str()).collect();
        assert_eq!(
            names,
            [
                "page",
                "ledger: screenshot",
                "cut out",
                "read by OCR",
                "caption of this panel",
                "modality",
                "ledger: panel",
                "edit by a person",
                "record"
            ]
        );
        let text = render(&explanation);
        for part in [
            "page3.png",
            "figures: 1",
            "1,2,101,82",
            "0.9",
            "misread",
            "corrected",
            "paired",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        let message = explain(&dataset, &record.id[..12]).unwrap_err().to_string();
        assert!(message.contains(&record.id), "{message}");
        let message = explain(&dataset, "zzzzzz").unwrap_err().to_string();
        assert!(message.contains("SELECT id"), "{message}");
    }
}
