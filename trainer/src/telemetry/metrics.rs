//! `metrics.jsonl` and the TensorBoard file of a run.
//!
//! One object a line: `{"step", "kind": "train" | "eval", NAME: number…}`; a number that is not
//! finite is written as null. The event file holds the same numbers and is made anew from the
//! lines when a run is continued.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Map, Value};

use super::tensorboard::{scalars_event, version_event, write_record};

/// File of the metrics within a run folder.
pub const METRICS_FILE: &str = "metrics.jsonl";
/// File of the TensorBoard events within a run folder.
pub const EVENTS_FILE: &str = "events.out.tfevents.0";

/// What a line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineKind {
    /// A training step.
    Train,
    /// An evaluation after a step.
    Eval,
}

impl LineKind {
    /// As written into the file.
    pub fn name(self) -> &'static str {
        match self {
            LineKind::Train => "train",
            LineKind::Eval => "eval",
        }
    }
}

/// One line read back.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Step number, 1 for the first step.
    pub step: u64,
    /// `train` or `eval`.
    pub kind: String,
    /// All numbers by name, in file order.
    pub values: Vec<(String, f64)>,
}

/// Appends lines and events.
pub struct MetricsWriter {
    lines: BufWriter<File>,
    events: BufWriter<File>,
    path: PathBuf,
}

impl MetricsWriter {
    /// Opens the files of `run`, keeping only lines up to `last_step` (0: none) and dropping a
    /// half-written end.
    ///
    /// # Errors
    /// The files cannot be read or written.
    pub fn open(run: &Path, last_step: u64) -> Result<Self> {
        let path = run.join(METRICS_FILE);
        let kept: Vec<Line> = if path.exists() {
            read_lines(&path)?
                .into_iter()
                .filter(|line| line.step <= last_step)
                .collect()
        } else {
            Vec::new()
        };
        let mut text = Vec::new();
        let mut events = Vec::new();
        write_record(&mut events, &version_event())?;
        for line in &kept {
            text.extend_from_slice(to_json(line).as_bytes());
            text.push(b'\n');
            write_record(&mut events, &to_event(line))?;
        }
        dataset::fs::write_atomic(&path, &text)?;
        let events_path = run.join(EVENTS_FILE);
        dataset::fs::write_atomic(&events_path, &events)?;
        let append = |path: &Path| -> Result<BufWriter<File>> {
            let file = File::options().append(true).open(path);
            Ok(BufWriter::new(file.with_context(|| path.display().to_string())?))
        };
        Ok(MetricsWriter {
            lines: append(&path)?,
            events: append(&events_path)?,
            path,
        })
    }

    /// Appends one line and its event, and hands both to the operating system.
    ///
    /// # Errors
    /// The files cannot be written (a full disk).
    pub fn write(&mut self, step: u64, kind: LineKind, values: &[(String, f64)]) -> Result<()> {
        let line = Line {
            step,
            kind: kind.name().to_owned(),
            values: values.to_vec(),
        };
        let mut append = || -> std::io::Result<()> {
            self.lines.write_all(to_json(&line).as_bytes())?;
            self.lines.write_all(b"\n")?;
            self.lines.flush()?;
            write_record(&mut self.events, &to_event(&line))?;
            self.events.flush()
        };
        append().with_context(|| format!("{}: cannot write metrics; is the disk full?", self.path.display()))
    }
}

fn to_json(line: &Line) -> String {
    let mut object = Map::new();
    object.insert("step".to_owned(), Value::from(line.step));
    object.insert("kind".to_owned(), Value::from(line.kind.clone()));
    for (name, value) in &line.values {
        object.insert(name.clone(), Value::from(*value));
    }
    Value::Object(object).to_string()
}

fn to_event(line: &Line) -> Vec<u8> {
    let prefix = if line.kind == "eval" { "eval/" } else { "" };
    let tags: Vec<(String, f64)> = line
        .values
        .iter()
        .map(|(name, value)| (format!("{prefix}{name}"), *value))
        .collect();
    scalars_event(line.step, tags.iter().map(|(tag, value)| (tag.as_str(), *value)))
}

/// Reads the complete lines of a metrics file; a half-written last line ends the reading.
///
/// # Errors
/// The file cannot be read.
pub fn read_lines(path: &Path) -> Result<Vec<Line>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{}: cannot read", path.display()))?;
    let complete = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut lines = Vec::new();
    for line in complete.lines() {
        let Ok(Value::Object(object)) = serde_json::from_str::<Value>(line) else {
            break;
        };
        lines.push(Line {
            step: object.get("step").and_then(Value::as_u64).unwrap_or(0),
            kind: object
                .get("kind")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
            values: exact_numbers(line),
        });
    }
    Ok(lines)
}

/// The numbers of a line as they were written, in file order; null is NaN. serde_json reads floats to within
/// one unit in the last place only, and a run that is continued often would drift.
fn exact_numbers(line: &str) -> Vec<(String, f64)> {
    // Names hold no quotes, and the one string value, the kind, no commas.
    let inside = line.trim().trim_start_matches('{').trim_end_matches('}');
    inside
        .split(",\"")
        .filter_map(|part| part.trim_start_matches('"').split_once("\":"))
        .filter(|(name, _)| *name != "step" && *name != "kind")
        .map(|(name, value)| (name.to_owned(), value.trim().parse().unwrap_or(f64::NAN)))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn write(run: &Path, from: u64, to: u64) {
        let mut writer = MetricsWriter::open(run, from).unwrap();
        for step in from + 1..=to {
            writer
                .write(step, LineKind::Train, &[("loss/total".into(), 0.1 / step as f64)])
                .unwrap();
            if step % 2 == 0 {
                writer.write(step, LineKind::Eval, &[("accuracy".into(), 0.5)]).unwrap();
            }
        }
    }

    #[test]
    fn a_continued_run_has_the_files_of_an_undisturbed_one() {
        let whole = tempfile::tempdir().unwrap();
        write(whole.path(), 0, 9);
        let cut = tempfile::tempdir().unwrap();
        write(cut.path(), 0, 7);
        // Killed in the middle of a line, then continued from the checkpoint of step 4.
        let path = cut.path().join(METRICS_FILE);
        let mut text = std::fs::read_to_string(&path).unwrap();
        text.push_str("{\"step\":8,\"ki");
        std::fs::write(&path, text).unwrap();
        write(cut.path(), 4, 9);
        for file in [METRICS_FILE, EVENTS_FILE] {
            assert_eq!(
                std::fs::read(whole.path().join(file)).unwrap(),
                std::fs::read(cut.path().join(file)).unwrap(),
                "{file}"
            );
        }
    }

    #[test]
    fn numbers_do_not_drift_however_often_a_run_is_continued() {
        let run = tempfile::tempdir().unwrap();
        let hard = [
            1.385_260_145_094_71,
            447.67937351721275,
            0.11827613251427839,
            5e-324,
            1.0 / 3.0,
            -2.5e300,
        ];
        let values: Vec<(String, f64)> = (0..hard.len()).map(|i| (format!("a/{i}"), hard[i])).collect();
        MetricsWriter::open(run.path(), 0)
            .unwrap()
            .write(1, LineKind::Train, &values)
            .unwrap();
        let first = std::fs::read(run.path().join(METRICS_FILE)).unwrap();
        for _ in 0..5 {
            MetricsWriter::open(run.path(), 1).unwrap();
        }
        assert_eq!(std::fs::read(run.path().join(METRICS_FILE)).unwrap(), first);
        assert_eq!(read_lines(&run.path().join(METRICS_FILE)).unwrap()[0].values, values);
    }

    #[test]
    fn what_is_not_finite_becomes_null() {
        let run = tempfile::tempdir().unwrap();
        let mut writer = MetricsWriter::open(run.path(), 0).unwrap();
        writer
            .write(1, LineKind::Train, &[("loss/total".into(), f64::NAN)])
            .unwrap();
        let text = std::fs::read_to_string(run.path().join(METRICS_FILE)).unwrap();
        assert_eq!(text, "{\"step\":1,\"kind\":\"train\",\"loss/total\":null}\n");
        assert!(
            read_lines(&run.path().join(METRICS_FILE)).unwrap()[0].values[0]
                .1
                .is_nan()
        );
    }
}
