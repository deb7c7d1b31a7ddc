//! Diagram books: a folder of screenshots into image-text pairs.
//!
//! Pages are analysed in parallel ([`analysis`], kept in a [`cache`] so that a
//! killed run goes on where it stopped), paired in order ([`pairing`]) and
//! written as one update of the dataset folder. Every screenshot, figure,
//! caption and panel gets exactly one line in the ledger.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, bail};
use dataset::fs::natural_cmp;
use dataset::ledger::LedgerEntry;
use dataset::progress::Progress;
use dataset::write::SourceUpdate;
use dataset::{Dataset, ReviewStatus};
use serde::Serialize;

use crate::modality::ModalityModel;
use crate::ocr::OcrEngine;
use crate::parallel::map_ordered;
use crate::quality::burnt_in::BURNT_IN_TEXT;
use crate::quality::is_near_duplicate;

pub mod analysis;
pub mod cache;
pub mod pairing;

use analysis::{PageContent, analyse, crops};
use cache::{PageCache, cache_key};
use pairing::{Context as PairingContext, pair_page};

/// What a run over a book needs to know.
pub struct BookOptions {
    /// Folder of screenshots.
    pub input: PathBuf,
    /// Name of the book.
    pub source_id: String,
    /// Dataset folder.
    pub out: PathBuf,
    /// Worker threads.
    pub jobs: usize,
    /// Licence written to every row.
    pub licence: Option<String>,
}

/// Totals of a run, printed as one JSON line.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BookSummary {
    /// Name of the book.
    pub source_id: String,
    /// Files found in the folder.
    pub inputs: u64,
    /// Rows of the source in the dataset after the run.
    pub pairs: u64,
    /// Of these, rows nobody needs to look at.
    pub auto: u64,
    /// Rows a person should look at.
    pub needs_review: u64,
    /// Rows that a person approved or corrected.
    pub reviewed: u64,
    /// Rows whose picture bears burnt-in print, which may name a patient.
    pub burnt_in_text: u64,
    /// Earlier corrections that were applied again.
    pub edits_applied: u64,
    /// Lines of the ledger: by kind, then by final state.
    pub ledger: BTreeMap<String, BTreeMap<String, u64>>,
    /// True when every input has exactly one final state and every row one line.
    pub balanced: bool,
}

/// A page as it comes from a worker.
struct WorkedPage {
    sha256: String,
    /// An error too where an earlier page has the same bytes, so that nothing was done.
    result: Result<(PageContent, Vec<analysis::Crop>), String>,
}

/// Screenshots below `folder`, as relative names with `/`, in natural order. Hidden files are no inputs.
pub fn list_screenshots(folder: &Path) -> anyhow::Result<Vec<String>> {
    if !folder.is_dir() {
        bail!(
            "{}: no such folder; give the folder of screenshots with --input",
            folder.display()
        );
    }
    let visible = |name: &std::ffi::OsStr| {
        let name = name.to_string_lossy();
        !name.starts_with('.') && name != "Thumbs.db" && name != "desktop.ini"
    };
    let mut names = Vec::new();
    let walk = walkdir::WalkDir::new(folder)
        .follow_links(true)
        .into_iter()
        .filter_entry(|e| e.depth() == 0 || visible(e.file_name()));
    for entry in walk {
        let entry = entry.with_context(|| format!("{}: cannot list", folder.display()))?;
        if entry.file_type().is_file() {
            let below = entry.path().strip_prefix(folder)?;
            names.push(below.to_string_lossy().replace('\\', "/"));
        }
    }
    names.sort_by(|a, b| natural_cmp(a, b));
    if names.is_empty() {
        bail!(
            "{}: the folder holds no files; put the screenshots (PNG, JPEG, TIFF, WebP, BMP) there",
            folder.display()
        );
    }
    Ok(names)
}

/// Turns the screenshots into pairs. `engine` makes one OCR engine for each worker.
pub fn run<E: OcrEngine + Send>(
    options: &BookOptions,
    model: &ModalityModel,
    engine: impl Fn() -> E + Sync,
    progress: &Progress,
) -> anyhow::Result<BookSummary> {
    let names = list_screenshots(&options.input)?;
    let mut update = SourceUpdate::pairs(&options.out, &options.source_id)?;
    let cache = PageCache::open(&options.out)?;
    let first = engine();
    let code = cache::code_key(&first.name(), model)?;
    let first = Mutex::new(Some(first));
    let mut writer = Writer {
        options,
        update: &mut update,
        pages_seen: HashMap::new(),
        pages_rejected: HashMap::new(),
        pictures_seen: HashMap::new(),
        hashes: Vec::new(),
    };
    let numbered: Vec<(usize, &str)> = names.iter().map(String::as_str).enumerate().collect();
    let first_of = Mutex::new(HashMap::new());
    map_ordered(
        &numbered,
        options.jobs,
        || {
            let ready = first.lock().unwrap_or_else(PoisonError::into_inner).take();
            ready.unwrap_or_else(&engine)
        },
        |engine, (index, name)| {
            let is_first = |sha256: &str| {
                let mut first_of = first_of.lock().unwrap_or_else(PoisonError::into_inner);
                let first = first_of.entry(sha256.to_owned()).or_insert(*index);
                *first = (*first).min(*index);
                *first == *index
            };
            work_on_page(options, model, &cache, &code, engine, name, &is_first)
        },
        |index, page| {
            progress.inc(1);
            writer.write_page(&names[index], page)
        },
    )?;
    let summary = update.commit()?;
    let counts = count_rows(options)?;
    let screenshots: u64 = summary.ledger.get("screenshot").map_or(0, |s| s.values().sum());
    let row_lines: u64 = summary.ledger.get("panel").map_or(0, |s| {
        s.iter()
            .filter(|(k, _)| *k == "paired" || *k == "needs-review")
            .map(|(_, n)| n)
            .sum()
    });
    Ok(BookSummary {
        source_id: options.source_id.clone(),
        inputs: names.len() as u64,
        pairs: summary.rows,
        auto: counts.auto,
        needs_review: counts.needs_review,
        reviewed: counts.reviewed,
        burnt_in_text: counts.burnt_in_text,
        edits_applied: summary.edits_applied,
        balanced: screenshots == names.len() as u64 && row_lines == summary.rows,
        ledger: summary.ledger,
    })
}

#[derive(Default)]
struct RowCounts {
    auto: u64,
    needs_review: u64,
    reviewed: u64,
    burnt_in_text: u64,
}

/// Counts the book's rows as they are now in the dataset, corrections and rejections included.
fn count_rows(options: &BookOptions) -> anyhow::Result<RowCounts> {
    let mut counts = RowCounts::default();
    for row in Dataset::open(&options.out)?.pairs(dataset::Columns::WithoutImageBytes)? {
        let row = row?;
        if row.source_id != options.source_id {
            continue;
        }
        match row.review_status {
            ReviewStatus::Auto => counts.auto += 1,
            ReviewStatus::NeedsReview => counts.needs_review += 1,
            ReviewStatus::Corrected | ReviewStatus::Approved => counts.reviewed += 1,
        }
        counts.burnt_in_text += u64::from(row.quality_flags.iter().any(|f| f == BURNT_IN_TEXT));
    }
    Ok(counts)
}

/// `is_first` says whether no earlier page has these bytes.
fn work_on_page(
    options: &BookOptions,
    model: &ModalityModel,
    cache: &PageCache,
    code: &str,
    engine: &mut dyn OcrEngine,
    name: &str,
    is_first: &dyn Fn(&str) -> bool,
) -> WorkedPage {
    let path = options.input.join(name);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) => {
            return WorkedPage {
                sha256: String::new(),
                result: Err(format!("{name}: cannot be read: {error}; check its permissions")),
            };
        }
    };
    let sha256 = dataset::hash::sha256_hex(&bytes);
    if !is_first(&sha256) {
        let result = Err(format!("{name}: the same file as an earlier one"));
        return WorkedPage { sha256, result };
    }
    let result = crate::page::decode_page(&bytes, name).and_then(|page| {
        let key = cache_key(code, &sha256);
        let content = match cache.load(&key) {
            Some(content) => content,
            None => {
                let content = analyse(engine, &page, model).map_err(|e| format!("{name}: {e}"))?;
                if let Err(error) = cache.store(&key, &content) {
                    tracing::warn!("{name}: the result could not be kept for later runs: {error}");
                }
                content
            }
        };
        let crops = crops(&page.image, &content).map_err(|e| format!("{name}: {e}"))?;
        Ok((content, crops))
    });
    WorkedPage { sha256, result }
}

/// Writes pages in order; knows what came before.
struct Writer<'a> {
    options: &'a BookOptions,
    update: &'a mut SourceUpdate,
    /// First file with these bytes.
    pages_seen: HashMap<String, String>,
    /// First file with these bytes that was rejected, and why.
    pages_rejected: HashMap<String, String>,
    /// First row with these picture bytes.
    pictures_seen: HashMap<String, String>,
    /// Difference hash and id of every row.
    hashes: Vec<(u64, String)>,
}

impl Writer<'_> {
    fn write_page(&mut self, name: &str, page: WorkedPage) -> anyhow::Result<()> {
        let entry = |state: &str, reason: Option<String>| LedgerEntry {
            source_id: self.options.source_id.clone(),
            input: name.to_owned(),
            kind: "screenshot".to_owned(),
            state: state.to_owned(),
            reason,
            id: None,
            detail: None,
        };
        if let Some(first) = self.pages_seen.get(&page.sha256) {
            let reason = format!("the same file as {first}");
            self.update.push_ledger(entry("duplicate", Some(reason)))?;
            return Ok(());
        }
        let (content, crops) = match page.result {
            Ok(result) => result,
            Err(own) => {
                let reason = match self.pages_rejected.get(&page.sha256) {
                    Some(first) => format!("{name}: the same file as an earlier one: {first}"),
                    None => {
                        if !page.sha256.is_empty() {
                            self.pages_rejected.insert(page.sha256, own.clone());
                        }
                        own
                    }
                };
                eprintln!("rejected: {reason}");
                self.update.push_ledger(entry("rejected", Some(reason)))?;
                return Ok(());
            }
        };
        self.pages_seen.insert(page.sha256.clone(), name.to_owned());
        let context = PairingContext {
            source_id: &self.options.source_id,
            licence: self.options.licence.as_deref(),
            page: name,
            page_sha256: &page.sha256,
        };
        let paired = pair_page(&context, &content, crops);
        let mut screenshot = entry(paired.state, paired.reason);
        screenshot.detail = (!content.notes.is_empty()).then(|| serde_json::json!({"notes": content.notes}));
        self.update.push_ledger(screenshot)?;
        for line in paired.ledger {
            self.update.push_ledger(line)?;
        }
        for (mut row, hash) in paired.rows {
            if let Some(first) = self.pictures_seen.get(&row.image_sha256) {
                row.quality_flags.push(format!("exact-duplicate of {first}"));
            } else if let Some((_, first)) = self.hashes.iter().find(|(h, _)| is_near_duplicate(*h, hash)) {
                row.quality_flags.push(format!("near-duplicate of {first}"));
            }
            self.pictures_seen
                .entry(row.image_sha256.clone())
                .or_insert_with(|| row.id.clone());
            self.hashes.push((hash, row.id.clone()));
            self.update.push_pair(row)?;
        }
        Ok(())
    }
}
