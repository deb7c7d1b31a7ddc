//! The YAML block at the head of a card: writing it, and reading the part of YAML that cards use.
//!
//! Read: block mappings and sequences, flow sequences of scalars, plain and quoted scalars, comments.
//! Anything else (anchors, tags, block scalars, flow mappings) is an error with its line, never a guess.

use serde_json::{Map, Value};

/// Splits a card into its front matter and body. `None` when there is none.
pub fn split(card: &str) -> Option<(&str, &str)> {
    let rest = card.strip_prefix("---\n").or_else(|| card.strip_prefix("---\r\n"))?;
    let end = rest.find("\n---")?;
    let body = rest[end + 4..].trim_start_matches(['\r', '\n']);
    Some((&rest[..end], body))
}

/// Writes a mapping as a front matter block, markers included.
pub fn write(values: &Map<String, Value>) -> String {
    let mut text = String::from("---\n");
    mapping(values, 0, &mut text);
    text.push_str("---\n");
    text
}

fn mapping(values: &Map<String, Value>, indent: usize, to: &mut String) {
    for (key, value) in values {
        to.push_str(&format!(
            "{}{}:",
            " ".repeat(indent),
            scalar(&Value::String(key.clone()))
        ));
        node(value, indent, to);
    }
}

/// What follows a key: a scalar on the line, or a block below it.
fn node(value: &Value, indent: usize, to: &mut String) {
    match value {
        Value::Object(inner) if !inner.is_empty() => {
            to.push('\n');
            mapping(inner, indent + 2, to);
        }
        Value::Array(items) if !items.is_empty() => {
            to.push('\n');
            items.iter().for_each(|item| sequence_item(item, indent, to));
        }
        _ => to.push_str(&format!(" {}\n", scalar(value))),
    }
}

fn sequence_item(item: &Value, indent: usize, to: &mut String) {
    let Value::Object(inner) = item else {
        to.push_str(&format!("{}- {}\n", " ".repeat(indent), scalar(item)));
        return;
    };
    let mut block = String::new();
    mapping(inner, indent + 2, &mut block);
    to.push_str(&format!("{}- {}", " ".repeat(indent), &block[indent + 2..]));
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) if needs_quotes(text) => serde_json::to_string(text).unwrap_or_default(), // JSON strings are YAML strings
        Value::String(text) => text.clone(),
        Value::Array(_) => "[]".into(),
        Value::Object(_) => "{}".into(),
        other => other.to_string(),
    }
}

fn needs_quotes(text: &str) -> bool {
    let plain_start = text
        .chars()
        .next()
        .is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '/' | '.'));
    let special = text.contains(": ")
        || text.contains(" #")
        || text.ends_with(':')
        || text.chars().any(char::is_control)
        || text.trim() != text;
    // "n" and "no" and their like are booleans for old readers
    let word = matches!(
        text.to_lowercase().as_str(),
        "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
    );
    !plain_start || special || word || text.parse::<f64>().is_ok() || looks_like_date(text)
}

fn looks_like_date(text: &str) -> bool {
    text.len() >= 8 && text.bytes().all(|b| b.is_ascii_digit() || b == b'-') && text.contains('-')
}

struct Line<'a> {
    number: usize,
    indent: usize,
    text: &'a str,
}

/// Reads a front matter block (without its markers).
pub fn parse(text: &str) -> Result<Map<String, Value>, String> {
    let mut lines = Vec::new();
    for (index, raw) in text.lines().enumerate() {
        let number = index + 2; // the opening marker is line 1
        if raw.contains('\t') && raw[..raw.len() - raw.trim_start().len()].contains('\t') {
            return Err(format!("line {number}: a tab indents it; YAML allows spaces only"));
        }
        let content = strip_comment(raw).trim_end();
        if !content.trim().is_empty() {
            lines.push(Line {
                number,
                indent: content.len() - content.trim_start().len(),
                text: content.trim_start(),
            });
        }
    }
    let mut at = 0;
    let value = block(&lines, &mut at, 0)?;
    if let Some(line) = lines.get(at) {
        return Err(format!(
            "line {}: '{}' does not fit the indentation above it",
            line.number, line.text
        ));
    }
    match value {
        Value::Object(map) => Ok(map),
        _ => Err("line 2: the front matter must be a mapping of keys to values".into()),
    }
}

/// Cuts a comment off, unless the # is inside quotes.
fn strip_comment(line: &str) -> &str {
    let mut quote = None;
    let mut previous = ' ';
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (None, '\'' | '"') if previous == ' ' || previous == '[' || previous == ',' => quote = Some(c),
            (Some(q), c) if c == q && previous != '\\' => quote = None,
            (None, '#') if previous == ' ' => return &line[..at],
            _ => {}
        }
        previous = c;
    }
    line
}

fn block(lines: &[Line<'_>], at: &mut usize, indent: usize) -> Result<Value, String> {
    match lines.get(*at) {
        Some(line) if line.indent >= indent && (line.text.starts_with("- ") || line.text == "-") => {
            sequence(lines, at, line.indent)
        }
        Some(line) if line.indent >= indent => block_mapping(lines, at, line.indent),
        _ => Ok(Value::Null),
    }
}

fn sequence(lines: &[Line<'_>], at: &mut usize, indent: usize) -> Result<Value, String> {
    let mut items = Vec::new();
    while let Some(line) = lines
        .get(*at)
        .filter(|l| l.indent == indent && (l.text.starts_with("- ") || l.text == "-"))
    {
        let rest = line.text[1..].trim_start();
        let inner = indent + (line.text.len() - rest.len());
        if rest.is_empty() {
            *at += 1;
            items.push(block(lines, at, indent + 1)?);
        } else if key_of(rest).is_some() {
            // a mapping that starts on the line of its dash
            let mut own = vec![Line {
                number: line.number,
                indent: inner,
                text: rest,
            }];
            *at += 1;
            while let Some(next) = lines.get(*at).filter(|l| l.indent >= inner) {
                own.push(Line {
                    number: next.number,
                    indent: next.indent,
                    text: next.text,
                });
                *at += 1;
            }
            let mut start = 0;
            items.push(block_mapping(&own, &mut start, inner)?);
            if let Some(line) = own.get(start) {
                return Err(format!(
                    "line {}: '{}' does not fit the indentation above it",
                    line.number, line.text
                ));
            }
        } else {
            items.push(read_scalar(rest, line.number)?);
            *at += 1;
        }
    }
    Ok(Value::Array(items))
}

/// Key and rest of a line `key: rest`.
fn key_of(text: &str) -> Option<(String, &str)> {
    if let Some(quoted) = text.strip_prefix('"') {
        let end = quoted.find('"')?;
        return Some((
            quoted[..end].to_string(),
            quoted[end + 1..].strip_prefix(':')?.trim_start(),
        ));
    }
    let end = text
        .find(": ")
        .or_else(|| text.ends_with(':').then(|| text.len() - 1))?;
    Some((text[..end].trim_matches('\'').to_string(), text[end + 1..].trim_start()))
}

fn block_mapping(lines: &[Line<'_>], at: &mut usize, indent: usize) -> Result<Value, String> {
    let mut map = Map::new();
    while let Some(line) = lines.get(*at).filter(|l| l.indent == indent) {
        let Some((key, rest)) = key_of(line.text) else {
            return Err(format!("line {}: '{}' is no 'key: value'", line.number, line.text));
        };
        *at += 1;
        let value = if rest.is_empty() {
            // a sequence may stand at the same indentation as its key
            let below = lines.get(*at).map(|l| (l.indent, l.text.starts_with('-')));
            match below {
                Some((inner, dash)) if inner > indent || (inner == indent && dash) => block(lines, at, inner)?,
                _ => Value::Null,
            }
        } else {
            read_scalar(rest, line.number)?
        };
        if map.insert(key.clone(), value).is_some() {
            return Err(format!("line {}: key '{key}' appears twice", line.number));
        }
    }
    Ok(Value::Object(map))
}

fn read_scalar(text: &str, line: usize) -> Result<Value, String> {
    let text = text.trim();
    if let Some(inner) = text.strip_prefix('[') {
        let inner = inner
            .strip_suffix(']')
            .ok_or(format!("line {line}: the list '{text}' does not end on its line"))?;
        let items = inner.split(',').map(str::trim).filter(|i| !i.is_empty());
        return items
            .map(|i| read_scalar(i, line))
            .collect::<Result<Vec<_>, _>>()
            .map(Value::Array);
    }
    if text.starts_with('"') {
        return serde_json::from_str(text).map_err(|_| format!("line {line}: {text} is no complete quoted text"));
    }
    if let Some(inner) = text.strip_prefix('\'') {
        let inner = inner
            .strip_suffix('\'')
            .ok_or(format!("line {line}: {text} is no complete quoted text"))?;
        return Ok(Value::String(inner.replace("''", "'")));
    }
    if text == "{}" {
        return Ok(Value::Object(Map::new()));
    }
    if text.starts_with(['&', '*', '!', '|', '>', '{', '%', '@', '`']) {
        return Err(format!(
            "line {line}: '{text}' uses YAML that cards do not need; write a plain or quoted value"
        ));
    }
    Ok(match text {
        "null" | "~" => Value::Null,
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ => match text.parse::<i64>() {
            Ok(number) => number.into(),
            Err(_) => text
                .parse::<f64>()
                .ok()
                .filter(|n| n.is_finite())
                .map_or_else(|| Value::String(text.to_string()), Value::from),
        },
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_written_is_read() {
        let value = json!({
            "language": ["en", "zh", "no"],
            "license": "cc-by-4.0",
            "pretty_name": "Eyes: a \"first\" set # 1",
            "size_categories": ["n<1K"],
            "configs": [{"config_name": "pairs", "data_files": [{"split": "train", "path": "data/train-*.parquet"}], "default": true}, {"config_name": "2024-01-02"}],
            "dataset_info": [{"config_name": "pairs", "features": [{"name": "bbox", "struct": [{"name": "x0", "dtype": "int32"}]}], "splits": [{"name": "train", "num_bytes": 12, "num_examples": 3}]}],
            "empty": [],
        });
        let text = write(value.as_object().unwrap());
        let page = format!("{text}\n# Title\n");
        let (front, body) = split(&page).unwrap();
        assert_eq!(body, "# Title\n");
        assert_eq!(Value::Object(parse(front).unwrap()), value, "{text}");
    }

    #[test]
    fn hand_written_forms() {
        let parsed = parse("language: [en, 'zh']   # both\ntags:\n  - a\n  - \"b # c\"\nlicense: mit\nsplits:\n- name: train\n  rows: 3\n").unwrap();
        assert_eq!(
            Value::Object(parsed),
            json!({"language": ["en", "zh"], "tags": ["a", "b # c"], "license": "mit", "splits": [{"name": "train", "rows": 3}]})
        );
    }

    #[test]
    fn faults_name_their_line() {
        for (text, words) in [
            ("a: 1\nb", "line 3"),
            ("a: 1\na: 2", "twice"),
            ("a: [1, 2", "does not end"),
            ("a: \"x", "quoted"),
            ("a: &x 1", "YAML that cards"),
            ("a: 1\n   b: 2", "indentation"),
            ("\ta: 1", "tab"),
            ("- a", "mapping"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(words), "{text:?}: {error}");
        }
    }
}
