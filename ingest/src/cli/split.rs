//! `ingest split`: captions as JSON lines on stdin, panels as JSON lines on stdout.

use std::io::{BufRead, BufWriter, Write};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Outcome;
use crate::caption::split::{SplitCaption, SplitOptions, SplitPanel, split_lean};

/// Splits captions into one text per panel.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Reads {\"id\", \"caption\", optional \"panels\": N} lines, writes for each, in order,
{\"id\", \"figure_no\", \"language\", \"preface\", \"panels\": [{\"labels\", \"text\", \"caption\"}], \"issues\", \"confidence\"}.
A line that cannot be read is answered with {\"id\": null, \"line\": N, \"error\": ...} and the exit code is 1.

Examples:
  echo '{\"id\": 1, \"caption\": \"图2-3 黄斑裂孔。A．彩照；B、C．造影\"}' | ingest split
  ingest split < captions.jsonl > panels.jsonl
  jq -c '{id: .name, caption: .text, panels: .count}' figures.jsonl | ingest split")]
pub struct SplitArgs {}

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
struct Output<'a> {
    id: &'a Value,
    figure_no: Option<&'a str>,
    language: &'a str,
    preface: &'a str,
    panels: Vec<Panel<'a>>,
    issues: &'a [String],
    confidence: f32,
}

#[derive(Serialize)]
struct Panel<'a> {
    labels: &'a [String],
    text: &'a str,
    caption: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    text_en: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text_zh: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    caption_en: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    caption_zh: Option<&'a str>,
}

#[derive(Serialize)]
struct Rejected {
    id: Option<()>,
    line: usize,
    error: String,
}

/// Runs the command on stdin and stdout.
pub fn run(_arguments: &SplitArgs) -> anyhow::Result<Outcome> {
    let stdin = std::io::stdin().lock();
    let stdout = std::io::stdout().lock();
    split_lines(stdin, BufWriter::with_capacity(1 << 16, stdout))
}

/// Splits every line of `input` to `output`; blank lines are passed over.
fn split_lines(mut input: impl BufRead, mut output: impl Write) -> anyhow::Result<Outcome> {
    let mut rejected = 0;
    let mut bytes = Vec::new();
    let mut number = 0;
    loop {
        bytes.clear();
        if input
            .read_until(b'\n', &mut bytes)
            .context("reading captions from stdin")?
            == 0
        {
            break;
        }
        number += 1;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        match serde_json::from_slice::<Input>(&bytes) {
            Ok(line) => {
                let options = SplitOptions {
                    panels: line.panels.map(|p| p as usize),
                };
                let split = split_lean(&line.caption, &options);
                serde_json::to_writer(&mut output, &answer(&line.id, &split))?;
            }
            Err(error) => {
                rejected += 1;
                let error = format!("not a caption line: {error}; expected {{\"id\": ..., \"caption\": \"...\"}}");
                serde_json::to_writer(
                    &mut output,
                    &Rejected {
                        id: None,
                        line: number,
                        error,
                    },
                )?;
            }
        }
        output.write_all(b"\n")?;
    }
    output.flush()?;
    Ok(Outcome::from_rejected(rejected))
}

fn answer<'a>(id: &'a Value, split: &'a SplitCaption) -> Output<'a> {
    // One language needs no second copy of every text.
    let both = split.language == "zh+en";
    let panel = |p: &'a SplitPanel| Panel {
        labels: &p.labels,
        text: &p.text,
        caption: &p.caption,
        text_en: p.text_en.as_deref().filter(|_| both),
        text_zh: p.text_zh.as_deref().filter(|_| both),
        caption_en: p.caption_en.as_deref().filter(|_| both),
        caption_zh: p.caption_zh.as_deref().filter(|_| both),
    };
    Output {
        id,
        figure_no: split.figure_no.as_deref(),
        language: &split.language,
        preface: &split.preface,
        panels: split.panels.iter().map(panel).collect(),
        issues: &split.issues,
        confidence: (split.confidence * 1000.0).round() / 1000.0,
    }
}
