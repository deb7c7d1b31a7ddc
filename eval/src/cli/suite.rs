//! `eval suite`: a results table from one TOML file.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;

use crate::suite::config::Suite;
use crate::suite::html::{csv_text, markdown, page};
use crate::suite::model::open_model;
use crate::suite::printed::Printed;
use crate::suite::run::run_suite;
use crate::suite::tables;

/// Arguments of `eval suite`.
#[derive(Args)]
pub struct SuiteArgs {
    /// Data sets, models and settings
    #[arg(long, value_name = "SUITE.toml")]
    config: PathBuf,
    /// Folder for report.html, report.md, report.csv, report.json, predictions and cached features
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// cpu, wgpu, wgpu:N, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    device: String,
    /// The paper's printed numbers (JSON), instead of the path in the suite
    #[arg(long, value_name = "paper-tables.json")]
    printed: Option<PathBuf>,
}

/// Runs a suite; whether everything in it could be evaluated.
pub fn run(args: &SuiteArgs) -> anyhow::Result<bool> {
    let suite = Suite::read(&args.config)?;
    let printed = match args.printed.as_ref().or(suite.printed.as_ref()) {
        Some(file) if file.exists() || args.printed.is_some() => Printed::read(file)?,
        Some(file) => {
            tracing::warn!("{} is absent: the paper's printed numbers are left out", file.display());
            Printed::default()
        }
        None => Printed::default(),
    };
    std::fs::create_dir_all(&args.out).with_context(|| format!("cannot create {}", args.out.display()))?;
    let (report, work) = run_suite(&suite, &args.out, &args.device, &open_model)?;
    let problems = report.problems();
    problems.iter().for_each(|p| tracing::warn!("{p}"));
    if report.results.iter().all(|r| r.report.is_none()) {
        bail!("nothing could be evaluated: {}", problems.join("; "));
    }
    let tables = tables::all(&report, &printed);
    let mut json = serde_json::to_vec_pretty(&report)?;
    json.push(b'\n');
    dataset::fs::write_atomic(&args.out.join("report.json"), &json)?;
    dataset::fs::write_atomic(&args.out.join("report.csv"), &csv_text(&report)?)?;
    dataset::fs::write_atomic(&args.out.join("report.md"), markdown(&report, &tables).as_bytes())?;
    dataset::fs::write_atomic(
        &args.out.join("report.html"),
        page(&report, &tables, &args.out)?.as_bytes(),
    )?;
    for result in &report.results {
        let numbers = result.report.as_ref();
        println!(
            "{}",
            serde_json::json!({"dataset": result.dataset, "model": result.model, "method": result.method, "shots": result.shots,
                "mean": numbers.map(|n| n.mean), "ci95": numbers.map(|n| n.ci95), "error": result.error})
        );
    }
    println!(
        "{}",
        serde_json::json!({"report": "report.html", "results": report.results.iter().filter(|r| r.report.is_some()).count(),
            "problems": problems.len(), "images_read": work.images_read, "images_embedded": work.images_embedded})
    );
    Ok(problems.is_empty())
}
