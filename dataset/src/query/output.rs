//! Query results as a table for people, CSV, JSON lines or Parquet.

use crate::error::{DatasetError, Result};
use polars::prelude::{AnyValue, DataFrame, ParquetWriter};
use serde_json::Value;

/// How a result is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Aligned columns for reading.
    Table,
    /// Comma-separated with a header; lists and structs as JSON, bytes as base64.
    Csv,
    /// One JSON object a line; bytes as base64.
    Json,
    /// A Parquet file.
    Parquet,
}

/// Widest cell of the table for people, in columns of the terminal.
const MAX_CELL: usize = 60;

/// The result as bytes in the wanted format. `rows` limits the table for people.
///
/// # Errors
/// The result cannot be written as Parquet.
pub fn render(frame: &DataFrame, format: Format, rows: Option<usize>) -> Result<Vec<u8>> {
    match format {
        Format::Table => Ok(table(frame, rows).into_bytes()),
        Format::Csv => csv(frame),
        Format::Json => Ok(json_lines(frame).into_bytes()),
        Format::Parquet => {
            let mut bytes = Vec::new();
            ParquetWriter::new(&mut bytes)
                .finish(&mut frame.clone())
                .map_err(|e| DatasetError::invalid("Parquet output", e.to_string()))?;
            Ok(bytes)
        }
    }
}

fn rows_of(frame: &DataFrame) -> impl Iterator<Item = Vec<Value>> + '_ {
    (0..frame.height()).map(|row| {
        let cell = |column: &polars::prelude::Column| column.get(row).map_or(Value::Null, |value| to_json(&value));
        frame.columns().iter().map(cell).collect()
    })
}

fn names(frame: &DataFrame) -> Vec<String> {
    frame.get_column_names().into_iter().map(ToString::to_string).collect()
}

fn to_json(value: &AnyValue<'_>) -> Value {
    match value {
        AnyValue::Null => Value::Null,
        AnyValue::Boolean(b) => (*b).into(),
        AnyValue::String(text) => (*text).into(),
        AnyValue::StringOwned(text) => text.as_str().into(),
        AnyValue::Float32(number) => {
            // Through the shortest text, so that 0.9 stays 0.9.
            number.to_string().parse::<f64>().map_or(Value::Null, Value::from)
        }
        AnyValue::Float64(number) => Value::from(*number),
        AnyValue::Binary(bytes) => base64(bytes).into(),
        AnyValue::BinaryOwned(bytes) => base64(bytes).into(),
        AnyValue::List(series) => series.iter().map(|item| to_json(&item)).collect(),
        AnyValue::StructOwned(fields) => {
            let named = fields.1.iter().zip(&fields.0);
            Value::Object(
                named
                    .map(|(field, value)| (field.name().to_string(), to_json(value)))
                    .collect(),
            )
        }
        AnyValue::Struct(..) => to_json(&value.clone().into_static()),
        other => match (other.extract::<i64>(), other.extract::<u64>()) {
            (Some(number), _) => number.into(),
            (None, Some(number)) => number.into(),
            (None, None) => other.to_string().into(),
        },
    }
}

/// RFC 4648 base64 with padding.
pub fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0_u32, |sum, &byte| sum << 8 | u32::from(byte)) << (8 * (3 - chunk.len()));
        for at in 0..4 {
            if at <= chunk.len() {
                text.push(char::from(DIGITS[(group >> (18 - 6 * at) & 63) as usize]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

/// A cell as text: plain strings bare, nested values as JSON.
fn text_of(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn csv(frame: &DataFrame) -> Result<Vec<u8>> {
    let error = |e: csv::Error| DatasetError::invalid("CSV output", e.to_string());
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(names(frame)).map_err(error)?;
    for row in rows_of(frame) {
        writer.write_record(row.iter().map(text_of)).map_err(error)?;
    }
    writer
        .into_inner()
        .map_err(|e| DatasetError::invalid("CSV output", e.to_string()))
}

fn json_lines(frame: &DataFrame) -> String {
    let names = names(frame);
    let mut text = String::new();
    for row in rows_of(frame) {
        let object: serde_json::Map<String, Value> = names.iter().cloned().zip(row).collect();
        text += &Value::Object(object).to_string();
        text.push('\n');
    }
    text
}

fn table(frame: &DataFrame, limit: Option<usize>) -> String {
    let names = names(frame);
    let shown = limit.unwrap_or(usize::MAX).min(frame.height());
    let numeric: Vec<bool> = frame
        .columns()
        .iter()
        .map(|column| column.dtype().is_numeric())
        .collect();
    let mut cells = vec![names];
    for row in rows_of(frame).take(shown) {
        cells.push(row.iter().map(|value| shorten(&text_of(value))).collect());
    }
    let widths: Vec<usize> = (0..numeric.len())
        .map(|column| cells.iter().map(|row| width(&row[column])).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for (index, row) in cells.iter().enumerate() {
        let mut line = String::new();
        for ((cell, &wide), &right) in row.iter().zip(&widths).zip(&numeric) {
            let fill = " ".repeat(wide - width(cell));
            let padded = if right {
                format!("{fill}{cell}")
            } else {
                format!("{cell}{fill}")
            };
            line += &padded;
            line += "  ";
        }
        text += line.trim_end();
        text.push('\n');
        if index == 0 {
            let rule: Vec<String> = widths.iter().map(|&wide| "-".repeat(wide)).collect();
            text += &rule.join("  ");
            text.push('\n');
        }
    }
    if shown < frame.height() {
        text += &format!(
            "... {} more rows; `--rows 0` shows all, `--out FILE` writes them\n",
            frame.height() - shown
        );
    }
    text
}

/// Columns a terminal needs: Chinese and full-width signs take two.
fn width(text: &str) -> usize {
    text.chars().map(|c| if wide(c) { 2 } else { 1 }).sum()
}

fn wide(c: char) -> bool {
    matches!(c as u32, 0x1100..=0x115F | 0x2E80..=0xA4CF | 0xAC00..=0xD7A3 | 0xF900..=0xFAFF | 0xFE30..=0xFE6F | 0xFF00..=0xFF60 | 0xFFE0..=0xFFE6 | 0x20000..=0x3FFFD)
}

fn shorten(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if width(&line) <= MAX_CELL {
        return line;
    }
    let mut short = String::new();
    let mut used = 0;
    for c in line.chars() {
        used += if wide(c) { 2 } else { 1 };
        if used > MAX_CELL - 3 {
            break;
        }
        short.push(c);
    }
    short + "..."
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use polars::prelude::{Column, NamedFrom, Series};

    fn frame() -> DataFrame {
        let long = "x".repeat(100);
        DataFrame::new_infer_height(vec![
            Column::from(Series::new("name".into(), ["a,\"b\"", "黄斑", long.as_str()])),
            Column::from(Series::new("n".into(), [1_i64, 20, 300])),
            Column::from(Series::new("share".into(), [Some(0.9_f32), None, Some(1.0)])),
        ])
        .unwrap()
    }

    #[test]
    fn formats() {
        let text = |format| String::from_utf8(render(&frame(), format, Some(2)).unwrap()).unwrap();
        assert!(text(Format::Csv).starts_with("name,n,share\n\"a,\"\"b\"\"\",1,0.9\n黄斑,20,\n"));
        assert_eq!(
            text(Format::Json).lines().nth(1),
            Some(r#"{"name":"黄斑","n":20,"share":null}"#)
        );
        let lines = text(Format::Table);
        let lines: Vec<_> = lines.lines().collect();
        assert_eq!(lines[2], "a,\"b\"   1    0.9");
        assert_eq!(lines[3], "黄斑   20");
        assert!(lines[4].starts_with("... 1 more row"));
        let parquet = render(&frame(), Format::Parquet, None).unwrap();
        assert!(parquet.starts_with(b"PAR1") && parquet.ends_with(b"PAR1"));
        assert_eq!(shorten(&"黄".repeat(40)), format!("{}...", "黄".repeat(28)));
    }

    #[test]
    fn base64_of_the_standard() {
        // RFC 4648, section 10.
        for (bytes, expected) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), expected);
        }
    }
}
