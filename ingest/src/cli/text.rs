//! `ingest text`: corpora for text pretraining into the dataset folder.

use std::path::PathBuf;

use anyhow::bail;

use super::Outcome;
use crate::source::text::{Corpus, KeywordSource, TextOptions, ingest_text};

/// Reads medical texts, keeps what is about the eye, writes utterances.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Formats are told by content: JSON (alpaca, ShareGPT, PubMedQA, question and answer), JSON Lines, CSV,
MedQuAD XML, Parquet and plain text; a folder is read with everything below it.
`--keywords auto` derives keywords from the captions in DATASET (and from --domain corpora) by a
log-likelihood ratio and writes DATASET/keywords.txt. Edit that file and run again: it is used as it is.

Examples:
  ingest text --corpus medquad=medquad_xml/ --corpus alpaca=chat.json --keywords auto --out DATASET
  ingest text --corpus notes=eye_notes/ --domain notes --licence notes=MIT --keywords auto --out DATASET
  ingest text --corpus huatuo=data.jsonl --keywords keywords.txt --out DATASET")]
pub struct TextArgs {
    /// A corpus: its name and a file or folder
    #[arg(long, value_name = "NAME=PATH", required = true, value_parser = name_and_value)]
    corpus: Vec<(String, String)>,
    /// File of keywords (one a line), or `auto` to derive them
    #[arg(long, value_name = "FILE|auto")]
    keywords: String,
    /// Dataset folder
    #[arg(long, value_name = "DATASET")]
    out: PathBuf,
    /// Derive keywords from the captions in DATASET alone
    #[arg(long)]
    from_dataset: bool,
    /// Name of a corpus that is about the eye as a whole (a textbook): nothing is filtered
    #[arg(long, value_name = "NAME")]
    domain: Vec<String>,
    /// Licence of a corpus
    #[arg(long, value_name = "NAME=TEXT", value_parser = name_and_value)]
    licence: Vec<(String, String)>,
}

fn name_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() && !value.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err(format!("`{text}` is not NAME=VALUE")),
    }
}

/// Runs the command; prints a one-line JSON summary.
pub fn run(arguments: &TextArgs) -> anyhow::Result<Outcome> {
    let known = |name: &String| arguments.corpus.iter().any(|c| c.0 == *name);
    if let Some(name) = arguments
        .domain
        .iter()
        .chain(arguments.licence.iter().map(|l| &l.0))
        .find(|n| !known(n))
    {
        bail!(
            "`{name}` is no --corpus of this call; the corpora are {}",
            names(arguments)
        );
    }
    let corpora = arguments
        .corpus
        .iter()
        .map(|(name, path)| Corpus {
            name: name.clone(),
            path: PathBuf::from(path),
            domain: arguments.domain.contains(name),
            licence: arguments
                .licence
                .iter()
                .rev()
                .find(|l| l.0 == *name)
                .map(|l| l.1.clone()),
        })
        .collect();
    let summary = ingest_text(&TextOptions {
        corpora,
        keywords: match arguments.keywords.as_str() {
            "auto" => KeywordSource::Auto,
            path => KeywordSource::File(PathBuf::from(path)),
        },
        from_dataset: arguments.from_dataset,
        out: arguments.out.clone(),
    })?;
    let mut bad = 0;
    for corpus in &summary.corpora {
        bad += corpus.bad_files + corpus.bad_records;
        if corpus.bad_files + corpus.bad_records > 0 {
            eprintln!(
                "{}: {} files and {} records could not be read (each with its reason in the ledger)",
                corpus.corpus, corpus.bad_files, corpus.bad_records
            );
        }
    }
    println!("{}", serde_json::to_string(&summary)?);
    Ok(Outcome::from_rejected(bad as usize))
}

fn names(arguments: &TextArgs) -> String {
    arguments
        .corpus
        .iter()
        .map(|c| c.0.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}
