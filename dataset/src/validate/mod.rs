//! Checks a dataset folder against the rules of the format: files, schema,
//! rows, pictures, ids, splits, ledger and edits.

mod card;
mod files;
mod ledger;
mod rows;

use crate::error::Result;
use crate::journal;
use crate::lock::STATE_FOLDER;
use crate::progress;
use crate::read::Dataset;
use crate::schema::Table;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// What to check.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Read every picture: check its SHA-256, decode it, compare its size.
    pub pictures: bool,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Short name of the check: `schema`, `sha256`, `decode`, `id`, `split`, ...
    pub check: &'static str,
    /// File, row id or ledger line.
    pub place: String,
    /// What was found, what was expected, what to do.
    pub message: String,
}

/// Findings kept per check; the rest is only counted.
const KEPT_PER_CHECK: u64 = 100;

/// The outcome.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// No problems; warnings are allowed.
    pub valid: bool,
    /// Rows by table; labelled sets by name under `labels/NAME`.
    pub rows: BTreeMap<String, u64>,
    /// Pictures decoded and compared.
    pub pictures_checked: u64,
    /// Ledger lines by state.
    pub ledger: BTreeMap<String, u64>,
    /// Problems by check.
    pub problems: BTreeMap<&'static str, u64>,
    /// Warnings by check.
    pub warnings: BTreeMap<&'static str, u64>,
    /// The first findings of each check, problems before warnings.
    pub problem_list: Vec<Finding>,
    /// See `problem_list`.
    pub warning_list: Vec<Finding>,
}

impl Report {
    pub(crate) fn problem(&mut self, check: &'static str, place: impl Into<String>, message: impl Into<String>) {
        keep(
            &mut self.problems,
            &mut self.problem_list,
            check,
            place.into(),
            message.into(),
        );
    }

    pub(crate) fn warning(&mut self, check: &'static str, place: impl Into<String>, message: impl Into<String>) {
        keep(
            &mut self.warnings,
            &mut self.warning_list,
            check,
            place.into(),
            message.into(),
        );
    }

    /// Problems found, kept or not.
    #[must_use]
    pub fn problem_count(&self) -> u64 {
        self.problems.values().sum()
    }
}

fn keep(
    counts: &mut BTreeMap<&'static str, u64>,
    list: &mut Vec<Finding>,
    check: &'static str,
    place: String,
    message: String,
) {
    let count = counts.entry(check).or_default();
    *count += 1;
    if *count <= KEPT_PER_CHECK {
        list.push(Finding { check, place, message });
    }
}

/// Checks a folder. A damaged file is a finding; the other files are checked
/// all the same.
///
/// # Errors
/// The folder does not exist or cannot be listed.
pub fn validate(folder: &Path, options: Options) -> Result<Report> {
    let mut report = Report::default();
    if journal::is_pending(folder) {
        report.warning("commit", STATE_FOLDER, "an interrupted commit was finished now");
    }
    let dataset = Dataset::open(folder)?;
    if folder.join(STATE_FOLDER).join("staging").exists() {
        report.warning(
            "commit",
            STATE_FOLDER,
            "unfinished files of a killed or running `ingest`; the next write removes those of a killed one",
        );
    }
    let mut shards = Vec::new();
    for table in Table::ALL {
        shards.extend(files::check_table(&dataset, table, &mut report)?);
    }
    // Files that cannot be read have been told by name.
    if shards.is_empty() && report.problem_count() == 0 {
        report.problem(
            "empty",
            folder.display().to_string(),
            "no Parquet file in data/, text/ or labels/; run `ingest` first",
        );
    }
    let total = shards.iter().map(|shard| shard.rows).sum();
    let progress = progress::bar(Some(total), "checking rows");
    let mut known = rows::Known::default();
    for shard in &shards {
        progress.message(shard.name.clone());
        rows::check_shard(shard, options, &mut known, &mut report, &progress);
    }
    progress.finish();
    ledger::check(&dataset, &known, &mut report)?;
    ledger::check_edits(&dataset, &known, &mut report)?;
    card::check(folder, &mut report);
    report.valid = report.problems.is_empty();
    Ok(report)
}
