//! The command line: `dataset validate | stats | query | explain | ...`.

mod args;
mod change;

use crate::cost::Meter;
use crate::error::DatasetError;
use crate::read::Dataset;
use crate::{explain, query, stats, validate};
use args::{Arguments, Command};
use clap::Parser;
use query::output::Format;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Everything was processed.
const DONE: u8 = 0;
/// Finished, but something was found or rejected.
const FOUND: u8 = 1;
/// Could not start or go on.
const FAILED: u8 = 2;

/// Parses the arguments and runs the command.
#[must_use]
pub fn run() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { FAILED } else { DONE });
        }
    };
    match execute(arguments.command) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(FAILED)
        }
    }
}

fn execute(command: Command) -> Result<u8, DatasetError> {
    match command {
        Command::Validate { dataset, skip_pictures } => {
            let options = validate::Options {
                pictures: !skip_pictures,
            };
            let report = validate::validate(&dataset, options)?;
            print_report(&report);
            emit_json(&report)?;
            Ok(if report.valid { DONE } else { FOUND })
        }
        Command::Query {
            dataset,
            sql,
            format,
            out,
            rows,
            cost,
        } => {
            let format = choose_format(format, out.as_deref())?;
            let meter = Meter::start();
            let dataset = Dataset::open(&dataset)?;
            let frame = query::run(&dataset, &sql)?;
            if cost {
                eprintln!("cost: {}", serde_json::json!(meter.cost()));
            }
            let limit = (rows > 0 && out.is_none()).then_some(rows);
            let bytes = query::output::render(&frame, format, limit)?;
            match out {
                Some(path) => {
                    crate::fs::write_atomic(&path, &bytes)?;
                    eprintln!("{} rows written to {}", frame.height(), path.display());
                }
                None => emit(&bytes)?,
            }
            Ok(DONE)
        }
        Command::Stats {
            dataset,
            captions,
            out,
            compare,
            title,
        } => write_statistics(dataset, captions, &out, &compare, &title),
        Command::Explain { dataset, id, json } => {
            let dataset = Dataset::open(&dataset)?;
            let explanation = explain::explain(&dataset, &id)?;
            if json {
                emit_json(&explanation)?;
            } else {
                emit(explain::render(&explanation).as_bytes())?;
            }
            Ok(DONE)
        }
        Command::Bench { task } => emit_json(&crate::bench::run(&task)?).map(|()| DONE),
        other => change::execute(other),
    }
}

fn write_statistics(
    folder: Option<PathBuf>,
    captions: Option<PathBuf>,
    out: &std::path::Path,
    compare: &[String],
    title: &str,
) -> Result<u8, DatasetError> {
    let mut others = Vec::new();
    for pair in compare {
        let (name, file) = pair
            .split_once('=')
            .ok_or_else(|| DatasetError::invalid(format!("--compare {pair}"), "give it as NAME=FILE.csv"))?;
        others.push((name, stats::read_captions(file.as_ref())?));
    }
    let dataset = folder.map(|folder| Dataset::open(&folder)).transpose()?;
    let mut statistics = match (&dataset, &captions) {
        (Some(dataset), _) => stats::of_dataset(dataset)?,
        (None, Some(path)) => {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            stats::of_captions(&name, &stats::read_captions(path)?)
        }
        (None, None) => stats::Statistics::default(),
    };
    for (name, rows) in &others {
        stats::compare_with(&mut statistics, name, rows);
    }
    let files = stats::write_page(&statistics, dataset.as_ref(), title, out)?;
    let count = |name: &str| statistics.pairs.get(name).map_or(0, |counts| counts.pairs);
    eprintln!(
        "{} files written; open {}",
        files.len(),
        out.join("index.html").display()
    );
    emit_json(&serde_json::json!({
        "pairs": count(stats::ALL),
        "labelled_images": statistics.labels.iter().map(|set| set.images).sum::<u64>(),
        "utterances": statistics.text.iter().map(|corpus| corpus.utterances).sum::<u64>(),
        "files": files,
    }))?;
    Ok(DONE)
}

fn choose_format(format: Option<Format>, out: Option<&std::path::Path>) -> Result<Format, DatasetError> {
    let extension = out.and_then(|path| path.extension()).and_then(|e| e.to_str());
    match (format, out, extension) {
        (Some(Format::Parquet), None, _) => Err(DatasetError::invalid(
            "--format parquet",
            "is no text; give a file with --out FILE",
        )),
        (Some(format), ..) => Ok(format),
        (None, None, _) => Ok(Format::Table),
        (None, Some(_), Some("csv")) => Ok(Format::Csv),
        (None, Some(_), Some("json" | "jsonl")) => Ok(Format::Json),
        (None, Some(_), Some("parquet")) => Ok(Format::Parquet),
        (None, Some(_), Some("txt")) => Ok(Format::Table),
        (None, Some(path), _) => Err(DatasetError::invalid(
            path.display().to_string(),
            "the name does not tell the format; add --format csv, json, parquet or table",
        )),
    }
}

fn print_report(report: &validate::Report) {
    for finding in &report.warning_list {
        eprintln!("warning: [{}] {}: {}", finding.check, finding.place, finding.message);
    }
    for finding in &report.problem_list {
        eprintln!("problem: [{}] {}: {}", finding.check, finding.place, finding.message);
    }
    let shown = (report.problem_list.len() + report.warning_list.len()) as u64;
    let all: u64 = report.problem_count() + report.warnings.values().sum::<u64>();
    if all > shown {
        eprintln!("... and {} more findings", all - shown);
    }
    let rows: Vec<String> = report
        .rows
        .iter()
        .map(|(table, count)| format!("{table} {count}"))
        .collect();
    let verdict = if report.valid { "valid" } else { "NOT valid" };
    let rows = if rows.is_empty() {
        "no rows".to_owned()
    } else {
        rows.join(", ")
    };
    eprintln!(
        "{verdict}: {rows}; {} pictures decoded; {} problems, {} warnings",
        report.pictures_checked,
        report.problem_count(),
        report.warnings.values().sum::<u64>()
    );
}

fn emit_json(value: &impl serde::Serialize) -> Result<(), DatasetError> {
    let mut text = serde_json::to_vec(value).map_err(|e| DatasetError::invalid("output", e.to_string()))?;
    text.push(b'\n');
    emit(&text)
}

/// Writes to stdout; a reader that has gone away is no error.
fn emit(bytes: &[u8]) -> Result<(), DatasetError> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(DatasetError::io(std::path::Path::new("stdout"), "write", error))
        }
        _ => Ok(()),
    }
}
