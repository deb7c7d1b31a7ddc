//! `ingest oct`: assessed hospital OCT into the dataset folder.

use std::path::PathBuf;

use anyhow::bail;

use super::Outcome;
use crate::source::oct::{OctOptions, ingest_oct};

/// Reads hospital OCT that two assessors described (agreement, adjudication, captions).
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Each assessor's list is a CSV file with the columns image, patient, findings and optional diagnosable (yes, no);
findings are separated by `;` or a Python or JSON list; an empty cell or `normal` says that there is none.
Definitions are TOML:

  [normal]
  en = \"Normal retinal layers\"
  [[finding]]
  name = \"SRF\"
  en = \"Subretinal fluid: a hyporeflective space between neurosensory retina and RPE\"
  zh = \"视网膜下液\"

Where the assessors differ, --conflicts gets a sheet for the seniors; give it back with --adjudication.
Cohen's kappa of every finding is part of the summary. Patients appear as salted hashes only.

Examples:
  ingest oct --assessor a.csv --assessor b.csv --definitions findings.toml --images oct/ --salt secret.bin \\
      --source-id hospital --conflicts open.csv --out DATASET
  ingest oct --assessor a.csv --assessor b.csv --definitions findings.toml --images oct/ --salt secret.bin \\
      --source-id hospital --adjudication open-filled.csv --holdout 0.2 --out DATASET")]
pub struct OctArgs {
    /// List of one assessor; give it twice
    #[arg(long, value_name = "FILE", required = true)]
    assessor: Vec<PathBuf>,
    /// Definitions of findings
    #[arg(long, value_name = "FILE")]
    definitions: PathBuf,
    /// Filled sheet of conflicts
    #[arg(long, value_name = "FILE")]
    adjudication: Option<PathBuf>,
    /// Where open conflicts go
    #[arg(long, value_name = "FILE")]
    conflicts: Option<PathBuf>,
    /// Folder of the pictures
    #[arg(long, value_name = "DIR")]
    images: PathBuf,
    /// File with the secret that patients are hashed with (at least 16 bytes; keep it)
    #[arg(long, value_name = "FILE")]
    salt: PathBuf,
    /// Name of the source
    #[arg(long, value_name = "ID")]
    source_id: String,
    /// Dataset folder
    #[arg(long, value_name = "DATASET")]
    out: PathBuf,
    /// Share of patients held out as split `test` (0 to below 1)
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    holdout: f64,
    /// Seed of the choice of held-out patients
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Licence, as an SPDX id or in words
    #[arg(long, value_name = "TEXT")]
    licence: Option<String>,
}

/// Runs the command; prints a one-line JSON summary. Open conflicts count as inputs not processed.
pub fn run(arguments: &OctArgs) -> anyhow::Result<Outcome> {
    let [a, b] = arguments.assessor.as_slice() else {
        bail!(
            "--assessor is given {} times; two lists are needed",
            arguments.assessor.len()
        );
    };
    if !(0.0..1.0).contains(&arguments.holdout) {
        bail!(
            "--holdout {}: give a share from 0 to below 1, such as 0.2",
            arguments.holdout
        );
    }
    let summary = ingest_oct(&OctOptions {
        assessors: [a.clone(), b.clone()],
        definitions: arguments.definitions.clone(),
        adjudication: arguments.adjudication.clone(),
        conflicts: arguments.conflicts.clone(),
        images: arguments.images.clone(),
        salt: arguments.salt.clone(),
        source_id: arguments.source_id.clone(),
        out: arguments.out.clone(),
        holdout: arguments.holdout,
        seed: arguments.seed,
        licence: arguments.licence.clone(),
    })?;
    for (reason, count) in &summary.rejected {
        eprintln!("{}: {count} rejected: {reason} (each in the ledger)", summary.source_id);
    }
    println!("{}", serde_json::to_string(&summary)?);
    Ok(Outcome::from_rejected(
        summary.rejected.values().sum::<usize>() + summary.open,
    ))
}
