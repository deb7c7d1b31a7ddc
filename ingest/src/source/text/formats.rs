//! Files of a corpus in every format that public sets come in, told by content.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use arrow::array::{Array, AsArray};
use arrow::datatypes::DataType;
use dataset::fs::natural_cmp;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use quick_xml::Reader;
use quick_xml::events::Event;
use serde_json::Value;
use walkdir::WalkDir;

use super::outline::paragraphs;
use super::record::texts;
use super::stream::Stop;
use crate::source::labels::list::parse_list;

/// One record: its place in the file and its texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// `12`, `line 7` or the like, unique in the file.
    pub place: String,
    /// Its texts in reading order.
    pub texts: Vec<String>,
}

/// What a file gave.
#[derive(Debug, Default)]
pub struct FileRecords {
    /// `json`, `jsonl`, `csv`, `xml`, `parquet` or `text`.
    pub format: &'static str,
    /// Records with text.
    pub records: Vec<Record>,
    /// Place and reason of each record without text.
    pub bad: Vec<(String, String)>,
}

/// All files of a corpus in natural order: the path itself, or everything below a folder.
///
/// # Errors
/// The path does not exist, or the folder holds no file.
pub fn corpus_files(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_path_buf()]);
    }
    if !path.is_dir() {
        bail!("{}: no such file or folder", path.display());
    }
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in WalkDir::new(path).follow_links(true) {
        let entry = entry.with_context(|| format!("cannot list {}", path.display()))?;
        let hidden = entry.depth() > 0 && entry.file_name().to_string_lossy().starts_with('.');
        if entry.file_type().is_file() && !hidden {
            files.push(entry.into_path());
        }
    }
    if files.is_empty() {
        bail!("{}: the folder holds no files", path.display());
    }
    files.sort_by(|a, b| natural_cmp(&a.to_string_lossy(), &b.to_string_lossy()));
    Ok(files)
}

/// Reads one file.
///
/// # Errors
/// The file cannot be read, or is in no known format; a message for the ledger.
pub fn read_file(path: &Path) -> Result<FileRecords, String> {
    let unreadable = |e: std::io::Error| format!("cannot be read: {e}");
    let mut file = File::open(path).map_err(unreadable)?;
    let mut magic = Vec::new();
    file.by_ref().take(4).read_to_end(&mut magic).map_err(unreadable)?;
    if magic == b"PAR1" {
        return read_parquet(file);
    }
    let mut bytes = magic;
    file.read_to_end(&mut bytes).map_err(unreadable)?;
    let extension = path
        .extension()
        .map_or_else(String::new, |e| e.to_string_lossy().to_lowercase());
    parse(&bytes, &extension)
}

/// Tells the format of text bytes by content (the extension only helps to tell CSV) and reads them.
pub fn parse(bytes: &[u8], extension: &str) -> Result<FileRecords, String> {
    let decoded = decode(bytes)?;
    let (text, bad_lines) = (decoded.0.as_str(), decoded.1);
    let start = text.trim_start();
    let mut found = match start.chars().next() {
        None => return Err("is empty".to_owned()),
        Some('<') if start.contains("</") => read_xml(text)?,
        Some('[' | '{' | '"') => read_json(text)?,
        _ if matches!(extension, "csv" | "tsv") || looks_like_csv(text) => read_csv(
            text,
            if extension == "tsv" || text.lines().next().is_some_and(|l| l.contains('\t')) {
                b'\t'
            } else {
                b','
            },
        )?,
        _ => FileRecords {
            format: "text",
            records: paragraphs(text)
                .into_iter()
                .enumerate()
                .map(|(k, text)| Record {
                    place: (k + 1).to_string(),
                    texts: vec![text],
                })
                .collect(),
            bad: Vec::new(),
        },
    };
    found.bad.splice(0..0, bad_lines);
    Ok(found)
}

/// UTF-8 or UTF-16 with a byte order mark. Lines in another encoding are taken out and named.
fn decode(bytes: &[u8]) -> Result<(String, Vec<(String, String)>), String> {
    if let Some(body) = bytes.strip_prefix(b"\xff\xfe") {
        return utf16(body, u16::from_le_bytes).map(|t| (t, Vec::new()));
    }
    if let Some(body) = bytes.strip_prefix(b"\xfe\xff") {
        return utf16(body, u16::from_be_bytes).map(|t| (t, Vec::new()));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if bytes.iter().take(8192).any(|&b| b == 0) {
        return Err(
            "is a binary file; supported are JSON, JSON Lines, CSV, MedQuAD XML, Parquet and plain text".to_owned(),
        );
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Ok((text.to_owned(), Vec::new()));
    }
    let mut text = String::with_capacity(bytes.len());
    let mut bad = Vec::new();
    let mut good = 0;
    for (k, line) in bytes.split_inclusive(|&b| b == b'\n').enumerate() {
        match std::str::from_utf8(line) {
            Ok(line) => {
                good += usize::from(!line.trim().is_empty());
                text.push_str(line);
            }
            Err(_) => {
                bad.push((
                    format!("line {}", k + 1),
                    "is not UTF-8 text; convert the file to UTF-8".to_owned(),
                ));
                text.push('\n');
            }
        }
    }
    if good < bad.len() {
        return Err("is not UTF-8 text (perhaps GB18030 or Latin-1); convert it to UTF-8".to_owned());
    }
    Ok((text, bad))
}

fn utf16(body: &[u8], read: fn([u8; 2]) -> u16) -> Result<String, String> {
    let units: Vec<u16> = body.chunks_exact(2).map(|p| read([p[0], p[1]])).collect();
    String::from_utf16(&units).map_err(|_| "is damaged UTF-16 text; convert it to UTF-8".to_owned())
}

/// One JSON document, or one JSON value a line.
fn read_json(text: &str) -> Result<FileRecords, String> {
    match serde_json::from_str::<Value>(text) {
        Ok(value) => {
            let mut found = FileRecords {
                format: "json",
                ..FileRecords::default()
            };
            collect(&value, "", &mut found);
            Ok(found)
        }
        Err(whole) => {
            let mut found = FileRecords {
                format: "jsonl",
                ..FileRecords::default()
            };
            for (k, line) in text.lines().enumerate() {
                if !line.trim().is_empty() {
                    read_json_line(line, k + 1, &mut found);
                }
            }
            // A broken document is one bad file, not a thousand bad lines.
            if found.records.is_empty() {
                Err(format!("is no JSON: {whole}"))
            } else {
                Ok(found)
            }
        }
    }
}

/// One line of JSON Lines.
pub(super) fn read_json_line(line: &str, number: usize, found: &mut FileRecords) {
    let place = format!("line {number}");
    match serde_json::from_str::<Value>(line)
        .map_err(|e| format!("is no JSON: {e}"))
        .and_then(|v| texts(&v))
    {
        Ok(texts) => found.records.push(Record { place, texts }),
        Err(reason) => found.bad.push((place, reason)),
    }
}

/// Records of a document: an array of records, a table of records by id, or one record.
fn collect(value: &Value, place: &str, found: &mut FileRecords) {
    let at = |key: &str| {
        if place.is_empty() {
            key.to_owned()
        } else {
            format!("{place}.{key}")
        }
    };
    match value {
        Value::Array(items) => {
            for (k, item) in items.iter().enumerate() {
                let place = at(&(k + 1).to_string());
                match texts(item) {
                    Ok(texts) => found.records.push(Record { place, texts }),
                    Err(reason) => found.bad.push((place, reason)),
                }
            }
        }
        Value::Object(fields) => {
            let table = !fields.is_empty()
                && fields
                    .values()
                    .all(|v| v.is_object() || v.as_array().is_some_and(|a| a.iter().all(Value::is_object)));
            if !table || texts(value).is_ok() {
                match texts(value) {
                    Ok(texts) => found.records.push(Record { place: at("1"), texts }),
                    Err(reason) => found.bad.push((at("1"), reason)),
                }
                return;
            }
            for (key, item) in fields {
                match item {
                    Value::Array(_) => collect(item, &at(key), found),
                    _ => match texts(item) {
                        Ok(texts) => found.records.push(Record { place: at(key), texts }),
                        Err(reason) => found.bad.push((at(key), reason)),
                    },
                }
            }
        }
        _ => found.bad.push((at("1"), "is no object and no text".to_owned())),
    }
}

/// MedQuAD: questions and answers below `QAPair`.
fn read_xml(text: &str) -> Result<FileRecords, String> {
    let mut reader = Reader::from_str(text);
    let mut found = FileRecords {
        format: "xml",
        ..FileRecords::default()
    };
    let mut inside = String::new();
    let mut current = String::new();
    let mut pair: Vec<String> = Vec::new();
    let mut empty_answers = 0;
    loop {
        match reader.read_event() {
            Ok(Event::Start(tag)) => {
                inside = tag.local_name().as_ref().to_owned();
                current.clear();
                if inside == "QAPair" {
                    pair.clear();
                }
            }
            Ok(Event::Text(piece)) if matches!(inside.as_str(), "Question" | "Answer") => {
                current.push_str(&piece);
            }
            Ok(Event::CData(piece)) if matches!(inside.as_str(), "Question" | "Answer") => {
                current.push_str(&piece);
            }
            Ok(Event::GeneralRef(name)) if matches!(inside.as_str(), "Question" | "Answer") => {
                current.push_str(entity(&name));
            }
            Ok(Event::End(tag)) => {
                match tag.local_name().as_ref() {
                    "Question" => pair.push(std::mem::take(&mut current)),
                    "Answer" if current.trim().is_empty() => empty_answers += 1,
                    "Answer" => pair.push(std::mem::take(&mut current)),
                    "QAPair" => {
                        let place = (found.records.len() + found.bad.len() + 1).to_string();
                        if pair.len() > 1 {
                            found.records.push(Record {
                                place,
                                texts: std::mem::take(&mut pair),
                            });
                        } else {
                            found.bad.push((place, "the answer is empty".to_owned()));
                        }
                    }
                    _ => {}
                }
                inside.clear();
            }
            Ok(Event::Eof) => break,
            Ok(_) => {}
            Err(error) => {
                return Err(format!("is damaged XML at byte {}: {error}", reader.buffer_position()));
            }
        }
    }
    if found.records.is_empty() && found.bad.is_empty() && empty_answers == 0 {
        return Err("is XML without <QAPair>; of XML only MedQuAD's form is known".to_owned());
    }
    Ok(found)
}

fn entity(name: &str) -> &str {
    match name {
        "amp" => "&",
        "lt" => "<",
        "gt" => ">",
        "quot" => "\"",
        "apos" | "#39" => "'",
        _ => " ",
    }
}

/// True when the first lines have the same number of commas or tabs, and the first looks like names.
pub(super) fn looks_like_csv(text: &str) -> bool {
    let mut lines = text.lines().filter(|l| !l.trim().is_empty());
    let (Some(header), Some(second)) = (lines.next(), lines.next()) else {
        return false;
    };
    let separator = if header.contains('\t') { '\t' } else { ',' };
    let names: Vec<&str> = header.split(separator).map(str::trim).collect();
    names.len() > 1
        && names
            .iter()
            .all(|n| n.chars().count() <= 24 && !n.contains(['.', '。', '，', ' ']))
        && second.matches(separator).count() + 1 >= names.len()
}

/// A table with a header: every cell of words is a text; lists become one sentence with the column's name.
fn read_csv(text: &str, delimiter: u8) -> Result<FileRecords, String> {
    let mut all = FileRecords::default();
    let read = read_rows(text.as_bytes(), delimiter, usize::MAX, |found| {
        all = found;
        Ok::<(), Stop<()>>(())
    });
    match read {
        Ok(()) => Ok(all),
        Err(Stop::File(reason)) => Err(reason),
        Err(Stop::Own(())) => Err("was not read to its end".to_owned()),
    }
}

/// Reads a table and gives its records on, whenever `stretch` bytes of it were read and at its end.
pub(super) fn read_rows<E>(
    input: impl Read,
    delimiter: u8,
    stretch: usize,
    mut each: impl FnMut(FileRecords) -> Result<(), Stop<E>>,
) -> Result<(), Stop<E>> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .flexible(true)
        .from_reader(input);
    let headers = reader
        .headers()
        .map_err(|e| Stop::File(format!("has no CSV header: {e}")))?
        .clone();
    let empty = || FileRecords {
        format: "csv",
        ..FileRecords::default()
    };
    let (mut found, mut bytes) = (empty(), 0);
    for (k, row) in reader.records().enumerate() {
        let place = format!("row {}", k + 1);
        match row {
            Ok(row) => {
                bytes += row.as_slice().len();
                let texts = row_texts(&headers, &row);
                if texts.is_empty() {
                    found.bad.push((place, "no cell holds words".to_owned()));
                } else {
                    found.records.push(Record { place, texts });
                }
            }
            Err(error) => found.bad.push((place, format!("is no CSV row: {error}"))),
        }
        if bytes >= stretch {
            each(std::mem::replace(&mut found, empty()))?;
            bytes = 0;
        }
    }
    each(found)
}

fn row_texts(headers: &csv::StringRecord, row: &csv::StringRecord) -> Vec<String> {
    // What the row is about: its first short cell of words, such as the name of a disease.
    let is_words = |cell: &str| cell.chars().filter(|c| c.is_alphabetic()).count() >= 3;
    let subject = row
        .iter()
        .find(|c| is_words(c) && c.chars().count() < 60 && !c.starts_with('['))
        .unwrap_or("");
    let mut out = Vec::new();
    for (name, cell) in headers.iter().zip(row.iter()) {
        let cell = cell.trim();
        if cell.starts_with('[') {
            if let Ok(words) = parse_list(cell)
                && !words.is_empty()
            {
                out.push(format!("{subject}, {}: {}.", spaced(name), words.join(", ")));
            }
        } else if is_words(cell) && cell != subject && !cell.starts_with("http") {
            out.push(cell.to_owned());
        }
    }
    if out.is_empty() && subject.chars().count() >= 12 {
        out.push(subject.to_owned());
    }
    out
}

/// `TestsAndProcedures`, `common_medications` as words.
fn spaced(name: &str) -> String {
    let mut out = String::new();
    let mut lower = false;
    for c in name.chars() {
        if c.is_uppercase() && lower {
            out.push(' ');
        }
        lower = c.is_lowercase();
        out.extend(if c == '_' { ' '.to_lowercase() } else { c.to_lowercase() });
    }
    out.trim().to_owned()
}

/// Parquet: text columns by name as in JSON; lists of strings count as contexts.
fn read_parquet(file: File) -> Result<FileRecords, String> {
    let error = |e: &dyn std::fmt::Display| format!("is damaged Parquet: {e}");
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| error(&e))?;
    let reader = builder.build().map_err(|e| error(&e))?;
    let mut found = FileRecords {
        format: "parquet",
        ..FileRecords::default()
    };
    let mut row = 0;
    for batch in reader {
        let batch = batch.map_err(|e| error(&e))?;
        for k in 0..batch.num_rows() {
            row += 1;
            let place = format!("row {row}");
            let mut fields = serde_json::Map::new();
            for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
                if let Some(value) = cell(column.as_ref(), k) {
                    fields.insert(field.name().clone(), value);
                }
            }
            match texts(&Value::Object(fields)) {
                Ok(texts) => found.records.push(Record { place, texts }),
                Err(reason) => found.bad.push((place, reason)),
            }
        }
    }
    Ok(found)
}

/// One cell as JSON: strings, lists and structs of them; other types are no text.
fn cell(column: &dyn Array, row: usize) -> Option<Value> {
    if column.is_null(row) {
        return None;
    }
    match column.data_type() {
        DataType::Utf8 => Some(Value::String(column.as_string::<i32>().value(row).to_owned())),
        DataType::LargeUtf8 => Some(Value::String(column.as_string::<i64>().value(row).to_owned())),
        DataType::Utf8View => Some(Value::String(column.as_string_view().value(row).to_owned())),
        DataType::List(_) => {
            let items = column.as_list::<i32>().value(row);
            Some(Value::Array(
                (0..items.len()).filter_map(|k| cell(items.as_ref(), k)).collect(),
            ))
        }
        DataType::LargeList(_) => {
            let items = column.as_list::<i64>().value(row);
            Some(Value::Array(
                (0..items.len()).filter_map(|k| cell(items.as_ref(), k)).collect(),
            ))
        }
        DataType::Struct(_) => {
            let parts = column.as_struct();
            let fields = parts
                .column_names()
                .iter()
                .zip(parts.columns())
                .filter_map(|(name, part)| cell(part.as_ref(), row).map(|v| ((*name).to_owned(), v)))
                .collect();
            Some(Value::Object(fields))
        }
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(text: &str, extension: &str) -> (&'static str, Vec<Vec<String>>, usize) {
        let found = parse(text.as_bytes(), extension).unwrap();
        (
            found.format,
            found.records.into_iter().map(|r| r.texts).collect(),
            found.bad.len(),
        )
    }

    #[test]
    fn formats_are_told_by_content() {
        let two = |a: &str, b: &str| vec![a.to_owned(), b.to_owned()];
        assert_eq!(
            parsed(r#"[{"input":"q","output":"a"}, {"x": 1}]"#, "txt"),
            ("json", vec![two("q", "a")], 1)
        );
        assert_eq!(
            parsed(
                "{\"input\":\"q\",\"target\":\"a\"}\nbroken\n\n{\"text\":\"t\"}\n",
                "json"
            ),
            ("jsonl", vec![two("q", "a"), vec!["t".to_owned()]], 1)
        );
        assert_eq!(
            parsed(
                r#"{"101":{"QUESTION":"q","CONTEXTS":["c"]},"102":{"QUESTION":"r","LONG_ANSWER":"l"}}"#,
                "json"
            )
            .1,
            [two("q", "c"), two("r", "l")]
        );
        assert_eq!(
            parsed(r#"{"task":[{"input":"q","output":"a"}]}"#, "json").1,
            [two("q", "a")]
        );
        let csv = parsed(
            "idx,disease,Symptom,reason\n0,Glaucoma,\"['Pain', 'Halos']\",A disease of the optic nerve.\n",
            "txt",
        );
        assert_eq!(
            csv,
            (
                "csv",
                vec![two("Glaucoma, symptom: Pain, Halos.", "A disease of the optic nerve.")],
                0
            )
        );
        let xml = parsed(
            "<Document><Focus>AMD</Focus><QAPairs><QAPair><Question>What is AMD?</Question><Answer>A disease of R&amp;D.</Answer></QAPair>\
             <QAPair><Question>Empty?</Question><Answer></Answer></QAPair></QAPairs></Document>",
            "xml",
        );
        assert_eq!(xml, ("xml", vec![two("What is AMD?", "A disease of R&D.")], 1));
        assert_eq!(parsed("The retina is thin.\n\nThe lens is clear.\n", "md").0, "text");
    }

    #[test]
    fn unreadable_bytes_are_named() {
        assert!(parse(b"", "txt").is_err());
        assert!(parse(b"a\0b", "txt").unwrap_err().contains("binary"));
        assert!(parse(b"\xb0\xa1\xb1\xa1", "txt").unwrap_err().contains("UTF-8"));
        assert!(parse(b"<a><b></a>", "xml").is_err());
        assert!(parse(b"[1, 2", "json").is_err());
        let mixed = parse(b"good line of text.\n\nmore good text.\n\xff\xfe bad\n", "txt").unwrap();
        assert_eq!(mixed.bad.len(), 1);
        assert!(mixed.bad[0].0.contains("line 4"));
        let utf16: Vec<u8> = [0xff, 0xfe]
            .into_iter()
            .chain("眼底".encode_utf16().flat_map(u16::to_le_bytes))
            .collect();
        assert_eq!(parse(&utf16, "txt").unwrap().records[0].texts, ["眼底"]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), extension in "csv|json|txt|xml") {
            let _ = parse(&bytes, &extension);
        }

        #[test]
        fn no_markup_makes_it_panic(text in "[<>/{}\\[\\]\":,QAPairtextinput \n]{0,80}") {
            let _ = parse(text.as_bytes(), "txt");
        }
    }
}
