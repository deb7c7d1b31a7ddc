//! Compares two builds of a dataset folder row by row.

use crate::error::Result;
use crate::read::{Columns, Dataset, Rows};
use crate::record::{LabelRecord, PairRecord, TextRecord};
use crate::rows::Row;
use serde::Serialize;
use serde_json::Value;
use std::collections::HashMap;

/// A row that differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// `pairs`, `text` or `labels`.
    pub table: &'static str,
    /// `added`, `removed` or `changed`.
    pub change: &'static str,
    /// The row.
    pub id: String,
    /// Fields that changed: old and new value.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<FieldChange>,
}

/// A field that differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FieldChange {
    /// Column.
    pub field: String,
    /// Value in the old folder.
    pub old: Value,
    /// Value in the new folder.
    pub new: Value,
}

/// All rows that differ between `old` and `new`, in the order of `new`, removed
/// rows last. Pictures are compared by their SHA-256.
///
/// # Errors
/// A file cannot be read.
pub fn diff(old: &Dataset, new: &Dataset) -> Result<Vec<Change>> {
    let mut changes = diff_table::<PairRecord>(old, new)?;
    changes.extend(diff_table::<TextRecord>(old, new)?);
    changes.extend(diff_table::<LabelRecord>(old, new)?);
    Ok(changes)
}

fn rows<R: Row>(dataset: &Dataset) -> Result<Rows<R>> {
    Ok(Rows::new(dataset.files(R::TABLE)?, Columns::WithoutImageBytes))
}

fn diff_table<R: Row>(old: &Dataset, new: &Dataset) -> Result<Vec<Change>> {
    let json = |row: &R| serde_json::to_string(row).unwrap_or_default();
    let mut before: HashMap<String, String> = HashMap::new();
    let mut order = Vec::new();
    for row in rows::<R>(old)? {
        let row = row?;
        order.push(row.id().to_owned());
        before.insert(row.id().to_owned(), json(&row));
    }
    let mut changes = Vec::new();
    let change = |change, id: &str, fields| Change {
        table: R::TABLE.name(),
        change,
        id: id.to_owned(),
        fields,
    };
    for row in rows::<R>(new)? {
        let row = row?;
        match before.remove(row.id()) {
            None => changes.push(change("added", row.id(), Vec::new())),
            Some(old) => {
                let fields = field_changes(&old, &json(&row));
                if !fields.is_empty() {
                    changes.push(change("changed", row.id(), fields));
                }
            }
        }
    }
    let removed = order.into_iter().filter(|id| before.contains_key(id));
    changes.extend(removed.map(|id| change("removed", &id, Vec::new())));
    Ok(changes)
}

fn field_changes(old: &str, new: &str) -> Vec<FieldChange> {
    if old == new {
        return Vec::new();
    }
    let parse = |text: &str| serde_json::from_str::<serde_json::Map<String, Value>>(text).unwrap_or_default();
    let (old, new) = (parse(old), parse(new));
    new.into_iter()
        .filter_map(|(field, new)| {
            let old = old.get(&field).cloned().unwrap_or_default();
            (old != new).then_some(FieldChange { field, old, new })
        })
        .collect()
}
