//! Large files of a corpus a stretch at a time: what is in memory does not grow with the file.
//!
//! JSON Lines, CSV and plain text are streamed; a JSON document, XML and UTF-16 are
//! read whole, and Parquet by its own batches. A file below [`SMALL`] is read whole in
//! any case. Streaming gives the same records as reading whole, but for plain text,
//! whose running heads are told within a stretch.

use std::cell::RefCell;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::rc::Rc;

use serde_json::Value;

use super::formats::{FileRecords, Record, looks_like_csv, parse, read_file, read_json_line, read_rows};

/// Files up to this size are read whole, bytes.
pub const SMALL: u64 = 8 << 20;
/// Input that becomes one stretch of records, bytes.
const STRETCH: usize = 4 << 20;
/// Beginning of a file by which its format is told, bytes.
const HEAD: usize = 1 << 20;

/// Why a file was not read to its end: the message for the ledger, or what `each` said.
pub enum Stop<E> {
    /// The file cannot be read, or is in no known format.
    File(String),
    /// `each` failed.
    Own(E),
}

/// Calls `each` with the records of a file, stretch by stretch; returns the format.
///
/// # Errors
/// See [`Stop`].
pub fn for_each_stretch<E>(
    path: &Path,
    each: impl FnMut(FileRecords) -> Result<(), E>,
) -> Result<&'static str, Stop<E>> {
    stretches(path, SMALL, STRETCH, each)
}

enum Kind {
    Jsonl,
    Csv(u8),
    Text,
    Whole,
}

fn stretches<E>(
    path: &Path,
    small: u64,
    stretch: usize,
    mut each: impl FnMut(FileRecords) -> Result<(), E>,
) -> Result<&'static str, Stop<E>> {
    let unreadable = |e: std::io::Error| Stop::File(format!("cannot be read: {e}"));
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    let kind = if size <= small {
        Kind::Whole
    } else {
        kind_of(path).map_err(unreadable)?
    };
    match kind {
        Kind::Whole => {
            let found = read_file(path).map_err(Stop::File)?;
            let format = found.format;
            each(found).map_err(Stop::Own)?;
            Ok(format)
        }
        Kind::Jsonl => {
            check_encoding(path)?;
            let file = File::open(path).map_err(unreadable)?;
            json_lines(BufReader::new(file), stretch, each)
        }
        Kind::Csv(delimiter) => {
            check_encoding(path)?;
            let file = File::open(path).map_err(unreadable)?;
            let bad = Rc::new(RefCell::new(Vec::new()));
            let lines = GoodLines::new(BufReader::new(file), bad.clone());
            let rows = read_rows(lines, delimiter, stretch, |mut found| {
                found.bad.splice(0..0, bad.borrow_mut().drain(..));
                each(found).map_err(Stop::Own)
            });
            rows.map(|()| "csv")
        }
        Kind::Text => {
            check_encoding(path)?;
            let file = File::open(path).map_err(unreadable)?;
            plain_text(BufReader::new(file), stretch, each)
        }
    }
}

/// The format by the beginning of a large file.
fn kind_of(path: &Path) -> std::io::Result<Kind> {
    let mut head = Vec::new();
    File::open(path)?.take(HEAD as u64).read_to_end(&mut head)?;
    let magic = head.starts_with(b"PAR1") || head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff");
    if magic || head.iter().take(8192).any(|b| *b == 0) {
        return Ok(Kind::Whole);
    }
    let text = String::from_utf8_lossy(head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&head));
    let start = text.trim_start();
    let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    Ok(match start.chars().next() {
        None => Kind::Whole,
        Some('<') if start.contains("</") => Kind::Whole,
        Some('[' | '{' | '"') => {
            // A line that is a whole value, and more after it: no document of JSON.
            let (line, rest) = start.split_once('\n').unwrap_or((start, ""));
            if serde_json::from_str::<Value>(line).is_ok() && !rest.trim().is_empty() {
                Kind::Jsonl
            } else {
                Kind::Whole
            }
        }
        _ if matches!(extension.as_deref(), Some("csv" | "tsv")) || looks_like_csv(&text) => {
            let tabs = extension.as_deref() == Some("tsv") || text.lines().next().is_some_and(|l| l.contains('\t'));
            Kind::Csv(if tabs { b'\t' } else { b',' })
        }
        _ => Kind::Text,
    })
}

/// A file of which most lines are in another encoding is one bad file, not a thousand bad lines.
fn check_encoding<E>(path: &Path) -> Result<(), Stop<E>> {
    let unreadable = |e: std::io::Error| Stop::File(format!("cannot be read: {e}"));
    let mut reader = BufReader::new(File::open(path).map_err(unreadable)?);
    let (mut good, mut bad, mut line) = (0u64, 0u64, Vec::new());
    while next_line(&mut reader, &mut line).map_err(unreadable)? {
        match std::str::from_utf8(&line) {
            Ok(text) => good += u64::from(!text.trim().is_empty()),
            Err(_) => bad += 1,
        }
    }
    if good < bad {
        return Err(Stop::File(
            "is not UTF-8 text (perhaps GB18030 or Latin-1); convert it to UTF-8".to_owned(),
        ));
    }
    Ok(())
}

/// The next line with its end; false at the end of the file.
fn next_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> std::io::Result<bool> {
    line.clear();
    Ok(reader.read_until(b'\n', line)? > 0)
}

fn not_utf8(number: usize) -> (String, String) {
    (
        format!("line {number}"),
        "is not UTF-8 text; convert the file to UTF-8".to_owned(),
    )
}

fn json_lines<E>(
    mut reader: impl BufRead,
    stretch: usize,
    mut each: impl FnMut(FileRecords) -> Result<(), E>,
) -> Result<&'static str, Stop<E>> {
    let empty = || FileRecords {
        format: "jsonl",
        ..FileRecords::default()
    };
    let (mut found, mut bytes, mut number, mut any, mut raw) = (empty(), 0, 0, false, Vec::new());
    while next_line(&mut reader, &mut raw).map_err(|e| Stop::File(format!("cannot be read: {e}")))? {
        number += 1;
        bytes += raw.len();
        let line = if number == 1 {
            raw.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&raw)
        } else {
            &raw
        };
        match std::str::from_utf8(line) {
            Err(_) => found.bad.push(not_utf8(number)),
            Ok(line) if line.trim().is_empty() => {}
            Ok(line) => read_json_line(line, number, &mut found),
        }
        any |= !found.records.is_empty();
        // Bad lines wait until a good one shows that these are lines of records.
        if any && bytes >= stretch {
            each(std::mem::replace(&mut found, empty())).map_err(Stop::Own)?;
            bytes = 0;
        }
    }
    if !any {
        return Err(Stop::File("is no JSON: no line holds a record".to_owned()));
    }
    each(found).map_err(Stop::Own)?;
    Ok("jsonl")
}

/// Stretches of paragraphs, cut at blank lines (or at any line where none comes for long).
fn plain_text<E>(
    mut reader: impl BufRead,
    stretch: usize,
    mut each: impl FnMut(FileRecords) -> Result<(), E>,
) -> Result<&'static str, Stop<E>> {
    let (mut text, mut bad, mut number, mut count, mut raw) = (String::new(), Vec::new(), 0, 0usize, Vec::new());
    loop {
        let more = next_line(&mut reader, &mut raw).map_err(|e| Stop::File(format!("cannot be read: {e}")))?;
        if more {
            number += 1;
            let line = if number == 1 {
                raw.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&raw)
            } else {
                &raw
            };
            match std::str::from_utf8(line) {
                Ok(line) => text.push_str(line),
                Err(_) => {
                    bad.push(not_utf8(number));
                    text.push('\n');
                }
            }
        }
        let blank = raw.trim_ascii().is_empty();
        let cut = text.len() >= stretch && blank || text.len() >= 4 * stretch;
        if !more || cut {
            if !text.trim().is_empty() {
                let mut found = parse(format!("\n{text}").as_bytes(), "md").map_err(Stop::File)?;
                found.format = "text";
                found.records = std::mem::take(&mut found.records)
                    .into_iter()
                    .map(|r| {
                        count += 1;
                        Record {
                            place: count.to_string(),
                            texts: r.texts,
                        }
                    })
                    .collect();
                found.bad.splice(0..0, bad.drain(..));
                each(found).map_err(Stop::Own)?;
            }
            text.clear();
        }
        if !more {
            return Ok("text");
        }
    }
}

/// A reader that leaves out lines that are not UTF-8 and notes them.
struct GoodLines<R> {
    inner: R,
    line: Vec<u8>,
    at: usize,
    number: usize,
    bad: Rc<RefCell<Vec<(String, String)>>>,
}

impl<R: BufRead> GoodLines<R> {
    fn new(inner: R, bad: Rc<RefCell<Vec<(String, String)>>>) -> Self {
        Self {
            inner,
            line: Vec::new(),
            at: 0,
            number: 0,
            bad,
        }
    }
}

impl<R: BufRead> Read for GoodLines<R> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self.at == self.line.len() {
            if !next_line(&mut self.inner, &mut self.line)? {
                self.at = 0;
                return Ok(0);
            }
            self.number += 1;
            self.at = if self.number == 1 && self.line.starts_with(b"\xef\xbb\xbf") {
                3
            } else {
                0
            };
            if std::str::from_utf8(&self.line).is_err() {
                self.bad.borrow_mut().push(not_utf8(self.number));
                (self.line, self.at) = (b"\n".to_vec(), 0);
            }
        }
        let count = out.len().min(self.line.len() - self.at);
        out[..count].copy_from_slice(&self.line[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Records, bad places, format and number of stretches.
    type ReadOut = (Vec<Record>, Vec<(String, String)>, &'static str, usize);

    /// What a file gives, read whole and in stretches of 40 bytes.
    fn both(name: &str, bytes: &[u8]) -> [ReadOut; 2] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        [u64::MAX, 0].map(|small| {
            let (mut records, mut bad, mut calls) = (Vec::new(), Vec::new(), 0);
            let read = stretches(&path, small, 40, |found| {
                records.extend(found.records);
                bad.extend(found.bad);
                calls += 1;
                Ok::<(), ()>(())
            });
            let Ok(format) = read else {
                panic!("{name} was not read")
            };
            bad.sort();
            (records, bad, format, calls)
        })
    }

    #[test]
    fn streaming_gives_what_reading_whole_gives() {
        let jsonl: Vec<u8> = (0..20)
            .flat_map(|k| match k {
                3 => b"broken\n".to_vec(),
                5 => b"\n".to_vec(),
                7 => b"\xff\xfe bad\n".to_vec(),
                _ => format!("{{\"text\":\"The retina {k} is thin.\"}}\n").into_bytes(),
            })
            .collect();
        let csv: Vec<u8> = std::iter::once(b"name,words\n".to_vec())
            .chain((0..20).map(|k| match k {
                4 => b"\xff,x\n".to_vec(),
                6 => b"Drusen,\"two\nlines of words here\"\n".to_vec(),
                _ => format!("Glaucoma,A disease of the optic nerve number {k}.\n").into_bytes(),
            }))
            .flatten()
            .collect();
        let mut text = b"\xef\xbb\xbf".to_vec();
        for k in 0..20 {
            text.extend(format!("The retina of eye {k} is thin\nand its vessels are narrow.\n\n").bytes());
        }
        for (name, bytes) in [("a.jsonl", jsonl), ("a.csv", csv), ("a.txt", text)] {
            let [whole, streamed] = both(name, &bytes);
            assert_eq!(
                (&whole.0, &whole.1, whole.2),
                (&streamed.0, &streamed.1, streamed.2),
                "{name}"
            );
            assert!(whole.0.len() >= 17 && whole.3 == 1 && streamed.3 > 3, "{name}");
        }
    }

    #[test]
    fn documents_are_read_whole_and_bad_files_are_named() {
        let [_, streamed] = both("a.json", b"[{\"text\":\"The lens.\"},\n{\"text\":\"The iris.\"}]");
        assert_eq!((streamed.0.len(), streamed.2, streamed.3), (2, "json", 1));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("latin.txt");
        std::fs::write(&path, b"\xb0\xa1\n\xb1\xa1\nfine\n").unwrap();
        let told = stretches(&path, 0, 40, |_| Ok::<(), ()>(()));
        assert!(matches!(told, Err(Stop::File(reason)) if reason.contains("UTF-8")));
    }
}
