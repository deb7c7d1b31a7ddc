//! `ingest translate`: captions into the other language.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::Outcome;
use crate::glossary::Glossary;
use crate::translate::command::{RunOptions, run as run_command};
use crate::translate::{Choice, Language, check, sheet};

/// Arguments of `ingest translate`.
#[derive(Debug, Args)]
#[command(after_help = "\
Fills empty captions; an original is never replaced. Each translation goes into DATASET/edits.jsonl with
the origin `translation`, so that later runs of `ingest book` keep it. A glossary of retinal terms (English and
Chinese) gives the terms to the translator, replaces English words left in Chinese text, and tells which terms
a translation lacks: such pairs are marked needs-review with the reason.

Examples:
  ingest translate sheet DATASET --to zh --out todo.csv        # a person fills the column `translation`
  ingest translate apply DATASET todo.csv --editor ann
  ingest translate run DATASET --to zh --command 'python3 my_translator.py'
  ingest translate check DATASET")]
pub struct TranslateArgs {
    #[command(subcommand)]
    command: TranslateCommand,
}

#[derive(Debug, Subcommand)]
enum TranslateCommand {
    /// Write the texts that wait as a sheet for people
    Sheet(SheetArgs),
    /// Take a filled sheet back
    Apply(ApplyArgs),
    /// Let a command translate that reads and writes JSON lines
    Run(RunArgs),
    /// Tell which terms translations lack
    Check(CheckArgs),
}

/// The language to translate into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Target {
    /// Chinese
    Zh,
    /// English
    En,
    /// Each caption into the language that it lacks
    Both,
}

#[derive(Debug, Args)]
struct ChoiceArgs {
    /// Dataset folder
    dataset: PathBuf,
    /// Language to translate into
    #[arg(long, value_enum, default_value_t = Target::Both)]
    to: Target,
    /// Only this source
    #[arg(long, value_name = "ID")]
    source_id: Option<String>,
    /// Texts that have a translation already, too
    #[arg(long)]
    again: bool,
    /// Glossary (TOML) instead of the built-in one
    #[arg(long, value_name = "FILE")]
    glossary: Option<PathBuf>,
}

impl ChoiceArgs {
    fn choice(&self) -> Choice {
        Choice {
            to: match self.to {
                Target::Zh => vec![Language::Zh],
                Target::En => vec![Language::En],
                Target::Both => vec![Language::Zh, Language::En],
            },
            source_id: self.source_id.clone(),
            again: self.again,
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
The sheet opens in Excel and LibreOffice. Each text stands once, however many pairs carry it; `terms` holds
what the glossary says, `draft` an earlier translation (with --again). Fill `translation`, leave the rest.

Example:
  ingest translate sheet DATASET --to en --out todo.csv")]
struct SheetArgs {
    #[command(flatten)]
    choice: ChoiceArgs,
    /// The sheet that is written
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Bad cells are told with file, line, column, value and remedy (exit code 1), good ones taken. A sheet that
cannot be read as a whole changes nothing. Applying a sheet again changes nothing.

Example:
  ingest translate apply DATASET todo.csv --editor ann")]
struct ApplyArgs {
    /// Dataset folder
    dataset: PathBuf,
    /// Filled sheets
    #[arg(required = true, value_name = "SHEET")]
    sheets: Vec<PathBuf>,
    /// Who translated
    #[arg(long, value_name = "NAME", default_value = "translator")]
    editor: String,
    /// Glossary (TOML) instead of the built-in one
    #[arg(long, value_name = "FILE")]
    glossary: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The command gets a JSON object a line on stdin,
  {\"id\": \"zh-0f3a...\", \"from\": \"en\", \"to\": \"zh\", \"text\": \"Soft drusen\", \"terms\": {\"Soft drusen\": \"软性玻璃膜疣\"}}
and answers on stdout, in any order, as soon as it likes:
  {\"id\": \"zh-0f3a...\", \"translation\": \"软性玻璃膜疣\"}      or      {\"id\": \"zh-0f3a...\", \"error\": \"why not\"}
Answers are kept as they come. When the command dies, hangs or leaves texts out, run the same line again: only
what is missing is asked for. Answers to unknown ids, second answers, empty ones and those in the wrong language
are told and not taken. Exit code 1 when texts are left, 2 when there was no answer at all.

Examples:
  ingest translate run DATASET --to zh --command 'python3 my_translator.py --model m'
  ingest translate run DATASET --command './translate.sh' --timeout 120 --limit 100 --editor my-model")]
struct RunArgs {
    #[command(flatten)]
    choice: ChoiceArgs,
    /// The command, as `sh -c` runs it
    #[arg(long, value_name = "COMMAND")]
    command: String,
    /// Seconds of silence after which the command is given up
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u64,
    /// At most so many texts; 0 for all
    #[arg(long, value_name = "N", default_value_t = 0)]
    limit: usize,
    /// Name of the translator, written into every correction
    #[arg(long, value_name = "NAME", default_value = "command")]
    editor: String,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Prints a JSON object for each pair whose translation lacks a term of the original; exit code 1 when there is one.

Examples:
  ingest translate check DATASET
  ingest translate check DATASET --originals --glossary my-terms.toml")]
struct CheckArgs {
    /// Dataset folder
    dataset: PathBuf,
    /// Pairs with two original captions, too
    #[arg(long)]
    originals: bool,
    /// Glossary (TOML) instead of the built-in one
    #[arg(long, value_name = "FILE")]
    glossary: Option<PathBuf>,
}

fn glossary(path: &Option<PathBuf>) -> anyhow::Result<Glossary> {
    match path {
        Some(path) => Glossary::open(path),
        None => Glossary::built_in(),
    }
}

/// Runs the command.
pub fn run(arguments: &TranslateArgs) -> anyhow::Result<Outcome> {
    match &arguments.command {
        TranslateCommand::Sheet(a) => {
            let glossary = glossary(&a.choice.glossary)?;
            let texts = sheet::export(&a.choice.dataset, &a.choice.choice(), &glossary, &a.out)?;
            eprintln!("{texts} texts; fill the column `translation` of {}", a.out.display());
            println!("{}", json!({ "texts": texts }));
            Ok(Outcome::Complete)
        }
        TranslateCommand::Apply(a) => {
            let summary = sheet::apply(&a.dataset, &a.sheets, &glossary(&a.glossary)?, &a.editor)?;
            super::tell_bad_cells(&summary.problems);
            println!("{}", serde_json::to_string(&summary)?);
            Ok(Outcome::from_rejected(summary.problems.len()))
        }
        TranslateCommand::Run(a) => {
            let options = RunOptions {
                dataset: a.choice.dataset.clone(),
                choice: a.choice.choice(),
                command: a.command.clone(),
                timeout: Duration::from_secs(a.timeout.max(1)),
                limit: a.limit,
                editor: a.editor.clone(),
            };
            let summary = run_command(&options, &glossary(&a.choice.glossary)?)?;
            if summary.open > 0 {
                eprintln!(
                    "{} of {} texts are left ({}); run the same command again",
                    summary.open, summary.texts, summary.command
                );
            }
            println!("{}", serde_json::to_string(&summary)?);
            Ok(Outcome::from_rejected(summary.open))
        }
        TranslateCommand::Check(a) => {
            let (checked, found) = check(&a.dataset, &glossary(&a.glossary)?, a.originals)?;
            for mismatch in &found {
                println!("{}", serde_json::to_string(mismatch)?);
            }
            eprintln!("{checked} translations checked, {} lack terms", found.len());
            Ok(Outcome::from_rejected(found.len()))
        }
    }
}
