//! `ingest split`: captions as JSON lines on stdin, panels as JSON lines on stdout.

use std::io::{ErrorKind, Read, Write};

use anyhow::Context;
use memchr::{memchr, memchr_iter, memrchr};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Outcome;
use crate::caption::split::{SplitCaption, SplitOptions, SplitPanel, split_lean};
use crate::parallel::{map_ordered, resolve_jobs};

/// Splits captions into one text per panel.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Reads {\"id\", \"caption\", optional \"panels\": N} lines, writes for each, in order,
{\"id\", \"figure_no\", \"language\", \"preface\", \"panels\": [{\"labels\", \"text\", \"caption\"}], \"issues\", \"confidence\"}.
A line that cannot be read is answered with {\"id\", \"line\": N, \"error\"} (its id, or null where that is not to be
read either) and the exit code is 1.

Examples:
  echo '{\"id\": 1, \"caption\": \"图2-3 黄斑裂孔。A．彩照；B、C．造影\"}' | ingest split
  ingest split < captions.jsonl > panels.jsonl
  jq -c '{id: .name, caption: .text, panels: .count}' figures.jsonl | ingest split")]
pub struct SplitArgs {
    /// Threads; 0 for one per core. The answers are the same for any number
    #[arg(long, default_value_t = 0)]
    jobs: usize,
}

/// One line of input. The id may be any JSON value and comes back unchanged.
#[derive(Deserialize)]
struct Input<'a> {
    #[serde(default)]
    id: Value,
    #[serde(borrow)]
    caption: std::borrow::Cow<'a, str>,
    #[serde(default)]
    panels: Option<u32>,
}

#[derive(Serialize)]
struct Rejected {
    id: Value,
    line: usize,
    error: String,
}

/// Runs the command on stdin and stdout.
pub fn run(arguments: &SplitArgs) -> anyhow::Result<Outcome> {
    let jobs = resolve_jobs(arguments.jobs);
    split_lines(std::io::stdin().lock(), std::io::stdout().lock(), jobs)
}

/// Bytes of captions that one thread answers at a time.
const PART: usize = 1 << 15;

/// Splits every line of `input` to `output` with `jobs` threads; blank lines are passed over.
///
/// What has come is answered at once, so that a program may write a caption and wait for its panels.
fn split_lines(mut input: impl Read, mut output: impl Write, jobs: usize) -> anyhow::Result<Outcome> {
    let mut rejected = 0;
    let mut number = 0;
    // Bytes without an answer: `block[..filled]`.
    let mut block = vec![0; 4 * PART * jobs];
    let mut filled = 0;
    loop {
        if filled == block.len() {
            block.resize(2 * filled, 0);
        }
        let read = match input.read(&mut block[filled..]) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            read => read.context("reading captions from stdin")?,
        };
        let unseen = filled;
        filled += read;
        let whole = match memrchr(b'\n', &block[unseen..filled]) {
            Some(at) => unseen + at + 1,
            // The last line may have no end.
            None if read == 0 => filled,
            None => continue,
        };
        let mut write = |answered: anyhow::Result<(Vec<u8>, usize)>| {
            let (bytes, wrong) = answered?;
            rejected += wrong;
            anyhow::Ok(output.write_all(&bytes)?)
        };
        let parts = parts(&block[..whole], number);
        if jobs == 1 || parts.len() == 1 {
            // A few lines are not worth a thread.
            parts.iter().try_for_each(|part| write(split_part(part)))?;
        } else {
            map_ordered(
                &parts,
                jobs,
                || (),
                |(), part| split_part(part),
                |_, answered| write(answered),
            )?;
        }
        output.flush()?;
        number += count_lines(&block[..whole]);
        block.copy_within(whole..filled, 0);
        filled -= whole;
        if read == 0 {
            return Ok(Outcome::from_rejected(rejected));
        }
    }
}

/// Lines to answer, and the number of lines before them.
struct Part<'a> {
    lines: &'a [u8],
    before: usize,
}

/// Whole lines in parts of about [`PART`] bytes; `before` stand before the first.
fn parts(mut lines: &[u8], mut before: usize) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    while !lines.is_empty() {
        let end = match lines.get(PART..).and_then(|rest| memchr(b'\n', rest)) {
            Some(at) => PART + at + 1,
            None => lines.len(),
        };
        let (part, rest) = lines.split_at(end);
        parts.push(Part { lines: part, before });
        before += count_lines(part);
        lines = rest;
    }
    parts
}

fn count_lines(bytes: &[u8]) -> usize {
    memchr_iter(b'\n', bytes).count()
}

/// The answers to a part, and how many of its lines were rejected.
fn split_part(part: &Part) -> anyhow::Result<(Vec<u8>, usize)> {
    let mut output = Vec::with_capacity(2 * part.lines.len());
    let mut rejected = 0;
    let (mut rest, mut number) = (part.lines, part.before);
    while !rest.is_empty() {
        number += 1;
        let end = memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
        let (line, behind) = rest.split_at(end);
        rest = behind;
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
        match serde_json::from_slice::<Input>(line) {
            Ok(line) => {
                let options = SplitOptions {
                    panels: line.panels.map(|p| p as usize),
                };
                let split = split_lean(&line.caption, &options);
                write_answer(&mut output, &line.id, &split)?;
            }
            Err(error) => {
                rejected += 1;
                serde_json::to_writer(&mut output, &reject(line, number, &error))?;
            }
        }
        output.push(b'\n');
    }
    Ok((output, rejected))
}

/// What some editors write before the first line.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Says what is wrong with a line, as near to the value as possible.
fn reject(line: &[u8], number: usize, error: &serde_json::Error) -> Rejected {
    let value = serde_json::from_slice::<Value>(line);
    let problem = match &value {
        Err(error) => without_place(error),
        Ok(Value::Object(fields)) => match (fields.get("caption"), fields.get("panels")) {
            (None, _) => "`caption` is missing".to_owned(),
            (Some(Value::String(_)), Some(panels)) if !is_count(panels) => format!(
                "`panels` is {}, not a whole number from 0 to {} or null",
                short(panels),
                u32::MAX
            ),
            (Some(Value::String(_)), _) => without_place(error),
            (Some(other), _) => format!("`caption` is {}, not a text", short(other)),
        },
        Ok(other) => format!("{} is no object", short(other)),
    };
    let id = value.ok().and_then(|v| v.get("id").cloned()).unwrap_or(Value::Null);
    let error = format!(
        "not a caption line: {problem}; expected {{\"id\": ..., \"caption\": \"...\"}}, optionally with \"panels\": N"
    );
    Rejected {
        id,
        line: number,
        error,
    }
}

/// True for what `panels` may be.
fn is_count(panels: &Value) -> bool {
    panels.is_null() || panels.as_u64().is_some_and(|n| u32::try_from(n).is_ok())
}

/// A value as a message can hold it.
fn short(value: &Value) -> String {
    const LONGEST: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// The message of an error with its column alone: every line is read by itself.
fn without_place(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let message = message.split(" at line ").next().unwrap_or_default();
    format!("{message} at column {}", error.column())
}

/// Writes the answer to one caption. Field by field: serde looks at every byte of every text for
/// something to escape, which takes longer than normalising the caption.
fn write_answer(out: &mut impl Write, id: &Value, split: &SplitCaption) -> anyhow::Result<()> {
    out.write_all(b"{\"id\":")?;
    serde_json::to_writer(&mut *out, id)?;
    out.write_all(b",\"figure_no\":")?;
    match &split.figure_no {
        Some(number) => write_text(out, number)?,
        None => out.write_all(b"null")?,
    }
    write_field(out, ",\"language\":", &split.language)?;
    write_field(out, ",\"preface\":", &split.preface)?;
    for (k, panel) in split.panels.iter().enumerate() {
        out.write_all(if k == 0 { b",\"panels\":[" } else { b"," })?;
        write_panel(out, panel, split.language == "zh+en")?;
    }
    out.write_all(b"],\"issues\":")?;
    serde_json::to_writer(&mut *out, &split.issues)?;
    out.write_all(b",\"confidence\":")?;
    serde_json::to_writer(&mut *out, &((split.confidence * 1000.0).round() / 1000.0))?;
    Ok(out.write_all(b"}")?)
}

/// Writes one panel; `both` languages apart where the caption has two, else one copy is enough.
fn write_panel(out: &mut impl Write, panel: &SplitPanel, both: bool) -> anyhow::Result<()> {
    out.write_all(b"{\"labels\":")?;
    serde_json::to_writer(&mut *out, &panel.labels)?;
    write_field(out, ",\"text\":", &panel.text)?;
    write_field(out, ",\"caption\":", &panel.caption)?;
    let languages = [
        (",\"text_en\":", &panel.text_en),
        (",\"text_zh\":", &panel.text_zh),
        (",\"caption_en\":", &panel.caption_en),
        (",\"caption_zh\":", &panel.caption_zh),
    ];
    for (name, text) in languages {
        if let Some(text) = text.as_ref().filter(|_| both) {
            write_field(out, name, text)?;
        }
    }
    Ok(out.write_all(b"}")?)
}

fn write_field(out: &mut impl Write, name: &str, text: &str) -> anyhow::Result<()> {
    out.write_all(name.as_bytes())?;
    write_text(out, text)
}

/// A JSON string; what needs no escape is copied as it is.
fn write_text(out: &mut impl Write, text: &str) -> anyhow::Result<()> {
    let escaped = text
        .bytes()
        .fold(false, |any, b| any | (b < b' ') | (b == b'"') | (b == b'\\'));
    if escaped {
        return Ok(serde_json::to_writer(out, text)?);
    }
    out.write_all(b"\"")?;
    out.write_all(text.as_bytes())?;
    Ok(out.write_all(b"\"")?)
}
