//! `ingest text`: corpora of every public format into utterances about the eye.
//!
//! Two passes at most: the first derives keywords (with `auto`), the second cleans,
//! cuts, filters and writes. One file is in memory at a time.

pub mod clean;
pub mod dedup;
pub mod derive;
pub mod formats;
pub mod keywords;
pub mod outline;
pub mod record;
pub mod segment;
pub mod stream;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use dataset::fs::write_atomic;
use dataset::{Columns, Dataset, LedgerEntry, SourceUpdate, TextRecord, content_id};
use rayon::prelude::*;
use serde::Serialize;

use clean::clean;
use dedup::{Dedup, Seen};
use derive::Derivation;
use formats::{FileRecords, Record, corpus_files};
use keywords::Keywords;
use segment::{is_long_enough, language, utterances};
use stream::{Stop, for_each_stretch};

/// Name of the keyword file in the dataset folder.
pub const KEYWORDS_FILE: &str = "keywords.txt";
/// Places of bad records that a ledger line names.
const EXAMPLES: usize = 5;

/// One corpus.
#[derive(Debug, Clone)]
pub struct Corpus {
    /// Its name, the `source_id` of its rows.
    pub name: String,
    /// A file or a folder.
    pub path: PathBuf,
    /// True when it is about the eye as a whole (a textbook): nothing is filtered.
    pub domain: bool,
    /// Its licence.
    pub licence: Option<String>,
}

/// Where keywords come from.
#[derive(Debug, Clone)]
pub enum KeywordSource {
    /// Derived from the texts.
    Auto,
    /// A file.
    File(PathBuf),
}

/// What to read and how.
#[derive(Debug, Clone)]
pub struct TextOptions {
    /// Corpora in the order in which duplicates are decided.
    pub corpora: Vec<Corpus>,
    /// Where keywords come from.
    pub keywords: KeywordSource,
    /// Derive keywords from the captions of the dataset folder alone.
    pub from_dataset: bool,
    /// Dataset folder to write.
    pub out: PathBuf,
}

/// What became of one corpus.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct CorpusSummary {
    /// Its name.
    pub corpus: String,
    /// Files read.
    pub files: usize,
    /// Files by format.
    pub formats: BTreeMap<String, usize>,
    /// Files that could not be read.
    pub bad_files: u64,
    /// Records with text.
    pub records: u64,
    /// Records without text.
    pub bad_records: u64,
    /// Utterances cut from the records: kept, duplicates and rejected together.
    pub utterances: u64,
    /// Rows written.
    pub kept: u64,
    /// Utterances left out, by reason.
    pub rejected: BTreeMap<String, u64>,
    /// Utterances that came before, by kind.
    pub duplicates: BTreeMap<String, u64>,
    /// Inputs in the ledger: by kind, then by final state.
    pub ledger: BTreeMap<String, BTreeMap<String, u64>>,
    /// True when every file, record and utterance has exactly one final state.
    pub balanced: bool,
}

/// What became of all corpora.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct TextSummary {
    /// Corpora in the order given.
    pub corpora: Vec<CorpusSummary>,
    /// Number of keywords used.
    pub keywords: usize,
    /// Where the keywords are, relative to the dataset folder or as given.
    pub keywords_from: String,
    /// Rows written.
    pub rows: u64,
}

/// Reads corpora into the dataset folder.
///
/// # Errors
/// A corpus or the keyword file does not exist, a corpus holds no readable record, or
/// the folder cannot be written.
pub fn ingest_text(options: &TextOptions) -> anyhow::Result<TextSummary> {
    let mut names = HashSet::new();
    let mut files: Vec<Vec<PathBuf>> = Vec::new();
    for corpus in &options.corpora {
        if !names.insert(corpus.name.as_str()) {
            bail!(
                "--corpus {}: this name is given twice; each corpus needs its own",
                corpus.name
            );
        }
        files.push(corpus_files(&corpus.path).with_context(|| format!("--corpus {}", corpus.name))?);
    }
    let (keywords, keywords_from) = find_keywords(options, &files)?;
    let mut summary = TextSummary {
        keywords: keywords.len(),
        keywords_from,
        ..TextSummary::default()
    };
    let mut dedup = Dedup::default();
    remember_other_sources(options, &names, &mut dedup)?;
    for (corpus, files) in options.corpora.iter().zip(&files) {
        let one = ingest_corpus(corpus, files, &keywords, &mut dedup, &options.out)?;
        summary.rows += one.kept;
        summary.corpora.push(one);
    }
    Ok(summary)
}

/// Utterances of other corpora in the folder count as seen.
fn remember_other_sources(options: &TextOptions, names: &HashSet<&str>, dedup: &mut Dedup) -> anyhow::Result<()> {
    if !options.out.is_dir() {
        return Ok(());
    }
    for row in Dataset::open(&options.out)?.text()? {
        let row = row?;
        if !names.contains(row.source_id.as_str()) {
            dedup.check(&row.text);
        }
    }
    Ok(())
}

/// The keywords and where they come from.
fn find_keywords(options: &TextOptions, files: &[Vec<PathBuf>]) -> anyhow::Result<(Keywords, String)> {
    match &options.keywords {
        KeywordSource::File(path) => Ok((
            keywords::read(path)?,
            path.file_name()
                .map_or_else(String::new, |n| n.to_string_lossy().into_owned()),
        )),
        KeywordSource::Auto => {
            let path = options.out.join(KEYWORDS_FILE);
            if let Ok(text) = std::fs::read_to_string(&path)
                && keywords::is_edited(&text)
            {
                eprintln!(
                    "{}: edited by hand, used as it is (remove it to derive keywords again)",
                    path.display()
                );
                return Ok((keywords::read(&path)?, KEYWORDS_FILE.to_owned()));
            }
            let list = derive(options, files)?;
            std::fs::create_dir_all(&options.out)
                .with_context(|| format!("cannot make the folder {}", options.out.display()))?;
            let text = keywords::render(&list);
            write_atomic(&path, text.as_bytes())?;
            Ok((keywords::parse(&text), KEYWORDS_FILE.to_owned()))
        }
    }
}

/// Derives keywords, see [`keywords`].
fn derive(options: &TextOptions, files: &[Vec<PathBuf>]) -> anyhow::Result<Vec<keywords::Keyword>> {
    let mut derivation = Derivation::default();
    let progress = dataset::progress::bar(None, "deriving keywords");
    for_each_domain_text(options, files, |text| {
        derivation.add_domain(text);
        progress.inc(1);
    })?;
    derivation.end_domain();
    for_each_domain_text(options, files, |text| {
        derivation.add_context(text);
        progress.inc(1);
    })?;
    // A textbook on the eye says nothing about how specific a word is.
    for (_, files) in options.corpora.iter().zip(files).filter(|(corpus, _)| !corpus.domain) {
        for_each_utterance(files, |text| {
            derivation.add_corpus(text);
            progress.inc(1);
        });
    }
    progress.finish();
    Ok(derivation.finish())
}

/// Calls `f` with every in-domain text: the captions of the dataset folder and the utterances of corpora on the eye.
fn for_each_domain_text(options: &TextOptions, files: &[Vec<PathBuf>], mut f: impl FnMut(&str)) -> anyhow::Result<()> {
    let mut covered: BTreeSet<&str> = BTreeSet::new();
    if options.out.is_dir() {
        for row in Dataset::open(&options.out)?.pairs(Columns::WithoutImageBytes)? {
            let row = row?;
            for (tongue, caption) in [("en", &row.caption_en), ("zh", &row.caption_zh)] {
                if let Some(caption) = caption {
                    f(caption);
                    covered.insert(tongue);
                }
            }
        }
    }
    if options.from_dataset {
        if covered.is_empty() {
            bail!(
                "--from-dataset: {} holds no captions; run `ingest book` first or leave the option out",
                options.out.display()
            );
        }
        return Ok(());
    }
    for (_, files) in options.corpora.iter().zip(files).filter(|(corpus, _)| corpus.domain) {
        for_each_utterance(files, |text| {
            f(text);
            covered.insert(language(text).unwrap_or("en"));
        });
    }
    // In a language without captions and textbooks, what holds a core word stands for the domain.
    let core = Keywords::core();
    let missing: Vec<&str> = ["en", "zh"].into_iter().filter(|l| !covered.contains(l)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for (_, files) in options.corpora.iter().zip(files).filter(|(corpus, _)| !corpus.domain) {
        for_each_utterance(files, |text| {
            if language(text).is_some_and(|l| missing.contains(&l)) && !core.matches(text).is_empty() {
                f(text);
            }
        });
    }
    Ok(())
}

/// Calls `f` with every utterance of readable records, in order.
fn for_each_utterance(files: &[PathBuf], mut f: impl FnMut(&str)) {
    for file in files {
        // A file that cannot be read is told when it is taken over.
        let _ = for_each_stretch(file, |found| {
            let cut: Vec<Vec<String>> = found.records.par_iter().map(cut_record).collect();
            cut.iter().flatten().for_each(|text| f(text));
            Ok::<(), std::convert::Infallible>(())
        });
    }
}

fn cut_record(record: &Record) -> Vec<String> {
    record.texts.iter().flat_map(|text| utterances(&clean(text))).collect()
}

/// One utterance with its verdict before duplicates are looked for.
struct Judged {
    place: String,
    text: String,
    language: &'static str,
    keywords: Vec<String>,
    reason: Option<&'static str>,
}

fn judge(record: &Record, file: &str, corpus: &Corpus, keywords: &Keywords) -> Vec<Judged> {
    cut_record(record)
        .into_iter()
        .enumerate()
        .map(|(k, text)| {
            let place = format!("{file}#{}.{}", record.place, k + 1);
            let tongue = language(&text);
            let found = keywords.matches(&text);
            let reason = match tongue {
                None => Some("neither English nor Chinese"),
                _ if !is_long_enough(&text) => Some("too short"),
                _ if found.is_empty() && !corpus.domain => Some("no keyword"),
                _ => None,
            };
            Judged {
                place,
                text,
                language: tongue.unwrap_or("en"),
                keywords: found,
                reason,
            }
        })
        .collect()
}

/// Reads, filters and writes one corpus.
fn ingest_corpus(
    corpus: &Corpus,
    files: &[PathBuf],
    keywords: &Keywords,
    dedup: &mut Dedup,
    out: &Path,
) -> anyhow::Result<CorpusSummary> {
    let mut summary = CorpusSummary {
        corpus: corpus.name.clone(),
        files: files.len(),
        ..CorpusSummary::default()
    };
    let mut update = SourceUpdate::text(out, &corpus.name)?;
    let mut unread: Option<String> = None;
    let progress = dataset::progress::bar(Some(files.len() as u64), &corpus.name);
    for path in files {
        let file = file_name(corpus, path);
        // Rejected inputs of one kind share a line with their number and first places.
        let mut shared = Shared::new();
        let read = for_each_stretch(path, |found| {
            ingest_records(
                corpus,
                &file,
                found,
                keywords,
                dedup,
                &mut update,
                &mut summary,
                &mut shared,
            )
        });
        match read {
            Ok(format) => *summary.formats.entry(format.to_owned()).or_default() += 1,
            Err(Stop::Own(error)) => return Err(error),
            Err(Stop::File(reason)) => {
                summary.bad_files += 1;
                let reason = format!("{file}: {reason}");
                // Where nothing can be read there will be no ledger to tell it.
                if summary.records == 0 {
                    unread.get_or_insert_with(|| reason.clone());
                }
                update.push_ledger(line(corpus, &file, "file", "rejected", Some(reason), None, None))?;
            }
        }
        for ((kind, state, reason), (count, places)) in shared {
            let detail = serde_json::json!({ "count": count, "examples": places });
            let input = format!("{file} ({kind}, {reason})");
            update.push_ledger(line(corpus, &input, kind, state, Some(reason), None, Some(detail)))?;
        }
        progress.inc(1);
    }
    progress.finish();
    if summary.records == 0 {
        bail!(
            "--corpus {}: none of the {} files holds a readable record; the rows of an earlier run stay. Supported are JSON, \
             JSON Lines, alpaca, ShareGPT, MedQuAD XML, PubMedQA, CSV, Parquet and plain text{}",
            corpus.name,
            files.len(),
            unread.map_or_else(String::new, |reason| format!(". The first one: {reason}"))
        );
    }
    let commit = update.commit()?;
    summary.kept = commit.rows;
    summary.ledger = commit.ledger;
    summary.balanced = balances(&summary);
    Ok(summary)
}

/// The ledger holds every utterance, record and file once, and a line for every row.
fn balances(summary: &CorpusSummary) -> bool {
    let states = |kind: &str| summary.ledger.get(kind);
    let total = |kind: &str| states(kind).map_or(0, |s| s.values().sum::<u64>());
    let state = |kind: &str, state: &str| states(kind).and_then(|s| s.get(state)).copied().unwrap_or(0);
    let left_out: u64 = summary.rejected.values().chain(summary.duplicates.values()).sum();
    // Rows of another corpus that were there first turn `kept` into `duplicate` on commit.
    total("utterance") == summary.utterances
        && state("utterance", "kept") == summary.kept
        && left_out + summary.kept <= summary.utterances
        && total("record") == summary.bad_records
        && total("file") == summary.bad_files
}

/// The file's path below the corpus' own path.
fn file_name(corpus: &Corpus, path: &Path) -> String {
    let relative = path
        .strip_prefix(&corpus.path)
        .ok()
        .filter(|p| !p.as_os_str().is_empty());
    let relative = relative
        .map(Path::to_path_buf)
        .or_else(|| path.file_name().map(PathBuf::from))
        .unwrap_or_default();
    relative
        .components()
        .map(|c| c.as_os_str().to_string_lossy())
        .collect::<Vec<_>>()
        .join("/")
}

/// Number and first places of inputs by kind, state and reason.
type Shared = BTreeMap<(&'static str, &'static str, String), (u64, Vec<String>)>;

#[allow(clippy::too_many_arguments)]
fn ingest_records(
    corpus: &Corpus,
    file: &str,
    found: FileRecords,
    keywords: &Keywords,
    dedup: &mut Dedup,
    update: &mut SourceUpdate,
    summary: &mut CorpusSummary,
    shared: &mut Shared,
) -> anyhow::Result<()> {
    summary.records += found.records.len() as u64;
    summary.bad_records += found.bad.len() as u64;
    let mut share = |kind: &'static str, state: &'static str, reason: &str, place: &str| {
        let entry = shared.entry((kind, state, reason.to_owned())).or_default();
        entry.0 += 1;
        if entry.1.len() < EXAMPLES {
            entry.1.push(place.to_owned());
        }
    };
    for (place, reason) in &found.bad {
        share("record", "rejected", reason, place);
    }
    let judged: Vec<Vec<Judged>> = found
        .records
        .par_iter()
        .map(|r| judge(r, file, corpus, keywords))
        .collect();
    for one in judged.into_iter().flatten() {
        summary.utterances += 1;
        if let Some(reason) = one.reason {
            *summary.rejected.entry(reason.to_owned()).or_default() += 1;
            share("utterance", "rejected", reason, &one.place);
            continue;
        }
        let twin = match dedup.check(&one.text) {
            Seen::New => None,
            Seen::Exact => Some("the same words came before"),
            Seen::Near => Some("nearly the same words came before"),
        };
        if let Some(reason) = twin {
            *summary.duplicates.entry(reason.to_owned()).or_default() += 1;
            share("utterance", "duplicate", reason, &one.place);
            continue;
        }
        let id = content_id("text", &[corpus.name.as_bytes(), one.text.as_bytes()]);
        update.push_ledger(line(
            corpus,
            &one.place,
            "utterance",
            "kept",
            None,
            Some(id.clone()),
            None,
        ))?;
        update.push_text(TextRecord {
            id,
            text: one.text,
            language: one.language.to_owned(),
            source_id: corpus.name.clone(),
            licence: corpus.licence.clone(),
            keywords: one.keywords,
        })?;
    }
    Ok(())
}

fn line(
    corpus: &Corpus,
    input: &str,
    kind: &str,
    state: &str,
    reason: Option<String>,
    id: Option<String>,
    detail: Option<serde_json::Value>,
) -> LedgerEntry {
    LedgerEntry {
        source_id: corpus.name.clone(),
        input: input.to_owned(),
        kind: kind.to_owned(),
        state: state.to_owned(),
        reason,
        id,
        detail,
    }
}
