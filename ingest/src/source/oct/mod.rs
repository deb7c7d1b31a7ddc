//! `ingest oct`: hospital OCT with two assessors (Section III of the paper).
//!
//! Pictures both assessors describe alike, or the seniors decided, become pairs
//! with captions made of the findings' definitions. Patients appear as salted
//! hashes only, and never cross splits.

pub mod agreement;
pub mod assess;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;

use anyhow::{Context, bail};
use dataset::fs::write_atomic;
use dataset::hash::sha256_hex;
use dataset::{Dataset, ImageFile, LedgerEntry, Modality, PairRecord, ReviewStatus, SourceUpdate, content_id};
use serde::Serialize;

use crate::quality::burnt_in::{BURNT_IN_REASON, BURNT_IN_TEXT};
use crate::source::labels::find_image;
use crate::source::labels::holdout::held_out_groups;
use crate::source::labels::picture::{prepare, prepare_and_look};
use agreement::Agreement;
use assess::{Conflict, Decisions, Definitions, Verdict, compare, conflict_sheet, read_assessor, read_decisions};

/// What to read and how.
#[derive(Debug, Clone)]
pub struct OctOptions {
    /// The two assessors' lists.
    pub assessors: [PathBuf; 2],
    /// Definitions of findings.
    pub definitions: PathBuf,
    /// Decisions of the seniors.
    pub adjudication: Option<PathBuf>,
    /// Where open conflicts go.
    pub conflicts: Option<PathBuf>,
    /// Folder of the pictures.
    pub images: PathBuf,
    /// File with the secret that patients are hashed with.
    pub salt: PathBuf,
    /// Name of the source.
    pub source_id: String,
    /// Dataset folder.
    pub out: PathBuf,
    /// Share of patients held out as `test`.
    pub holdout: f64,
    /// Seed of the choice.
    pub seed: u64,
    /// Licence.
    pub licence: Option<String>,
}

/// What became of the pictures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OctSummary {
    /// Name of the source.
    pub source_id: String,
    /// Pictures in either list, and rows that could not be read.
    pub inputs: usize,
    /// Pairs written.
    pub rows: usize,
    /// Patients among them.
    pub patients: usize,
    /// Pairs by split.
    pub splits: BTreeMap<String, usize>,
    /// Pairs that a senior decided on.
    pub adjudicated: usize,
    /// Pictures that wait for the seniors.
    pub open: usize,
    /// Pictures left out, by reason.
    pub rejected: BTreeMap<String, usize>,
    /// Pairs whose picture bears burnt-in print, which may name a patient; they need review.
    pub burnt_in_text: usize,
    /// Agreement by finding.
    pub agreement: Vec<Agreement>,
}

/// Shortest secret in bytes.
const MIN_SALT: usize = 16;

struct Settled {
    image: String,
    path: PathBuf,
    sha256: String,
    group: String,
    findings: BTreeSet<usize>,
    adjudicated: bool,
    flags: Vec<String>,
}

impl Settled {
    fn names_somebody(&self) -> bool {
        self.flags.iter().any(|f| f == BURNT_IN_TEXT)
    }
}

/// Reads an assessed OCT collection into the dataset folder.
///
/// # Errors
/// A file cannot be read or is not of its form, the salt is too short, nothing could be settled while
/// the folder holds earlier rows, or the folder cannot be written.
pub fn ingest_oct(options: &OctOptions) -> anyhow::Result<OctSummary> {
    let definitions = Definitions::read(&options.definitions)?;
    let salt = std::fs::read(&options.salt).with_context(|| {
        format!(
            "cannot read the salt {}; make one with `head -c 32 /dev/urandom > {0}`",
            options.salt.display()
        )
    })?;
    if salt.len() < MIN_SALT {
        bail!(
            "{}: the salt has {} bytes, at least {MIN_SALT} are needed",
            options.salt.display(),
            salt.len()
        );
    }
    if !options.images.is_dir() {
        bail!("--images {}: no such folder", options.images.display());
    }
    let a = read_assessor(&options.assessors[0], &definitions)?;
    let b = read_assessor(&options.assessors[1], &definitions)?;
    let decisions = options
        .adjudication
        .as_deref()
        .map(|path| read_decisions(path, &definitions))
        .transpose()?
        .unwrap_or_else(Decisions::new);
    let (verdicts, agreement) = compare(&a, &b, &decisions, &definitions);
    let mut book = Book {
        options,
        ledger: Vec::new(),
        rejected: BTreeMap::new(),
    };
    for (place, reason) in a.bad.iter().chain(&b.bad) {
        book.reject(place, "unreadable row", reason.clone());
    }
    let inputs = verdicts.len() + a.bad.len() + b.bad.len();
    let mut settled: Vec<Settled> = Vec::new();
    let mut conflicts: Vec<Conflict> = Vec::new();
    let mut open = 0;
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    let progress = dataset::progress::bar(Some(verdicts.len() as u64), "checking pictures");
    for (image, verdict) in verdicts {
        progress.inc(1);
        match verdict {
            Verdict::Dropped(reason) => {
                let told = format!("{image}: {reason}");
                book.reject(&image, &reason, told);
            }
            Verdict::Open(found) => {
                open += 1;
                let names: Vec<&str> = found.iter().map(|c| c.finding.as_str()).collect();
                let reason = format!("the assessors disagree on {}", names.join(", "));
                book.ledger
                    .push(entry(options, &image, "needs-review", Some(reason), None));
                conflicts.extend(found);
            }
            Verdict::Settled {
                patient,
                findings,
                adjudicated,
            } => {
                if definitions.captions(&findings).is_none() {
                    book.reject(
                        &image,
                        "no [normal] text",
                        format!("{image}: no finding, and the definitions have no [normal] text"),
                    );
                    continue;
                }
                match check(&image, options) {
                    Err((kind, reason)) => book.reject(&image, kind, reason),
                    Ok((path, sha256, flags)) => match seen.get(&sha256) {
                        Some(first) => {
                            let reason = format!("{image}: the same picture as {first}");
                            book.ledger
                                .push(entry(options, &image, "duplicate", Some(reason), None));
                        }
                        None => {
                            seen.insert(sha256.clone(), image.clone());
                            let group = patient_hash(&salt, &patient);
                            settled.push(Settled {
                                image,
                                path,
                                sha256,
                                group,
                                findings,
                                adjudicated,
                                flags,
                            });
                        }
                    },
                }
            }
        }
    }
    progress.finish();
    if let Some(path) = &options.conflicts {
        write_atomic(path, &conflict_sheet(&conflicts))?;
    }
    if settled.is_empty() && holds_rows(options)? {
        bail!(
            "no picture of `{}` is settled; the rows of an earlier run in {} stay",
            options.source_id,
            options.out.display()
        );
    }
    let mut summary = OctSummary {
        source_id: options.source_id.clone(),
        inputs,
        rows: settled.len(),
        patients: settled.iter().map(|s| &s.group).collect::<HashSet<_>>().len(),
        splits: BTreeMap::new(),
        adjudicated: settled.iter().filter(|s| s.adjudicated).count(),
        open,
        burnt_in_text: settled.iter().filter(|s| s.names_somebody()).count(),
        rejected: book.rejected.clone(),
        agreement,
    };
    write(&settled, book.ledger, &definitions, options, &mut summary)?;
    Ok(summary)
}

/// Ledger lines and counts of what was left out.
struct Book<'a> {
    options: &'a OctOptions,
    ledger: Vec<LedgerEntry>,
    rejected: BTreeMap<String, usize>,
}

impl Book<'_> {
    fn reject(&mut self, place: &str, kind: &str, reason: String) {
        *self.rejected.entry(kind.to_owned()).or_default() += 1;
        self.ledger
            .push(entry(self.options, place, "rejected", Some(reason), None));
    }
}

/// The picture's path, the hash of its stored bytes, and its flags.
fn check(image: &str, options: &OctOptions) -> Result<(PathBuf, String, Vec<String>), (&'static str, String)> {
    let path = find_image(&options.images, image).map_err(|reason| ("missing", reason))?;
    let bytes = std::fs::read(&path).map_err(|e| ("unreadable", format!("{image}: cannot be read: {e}")))?;
    let (stored, flags) = prepare_and_look(&bytes, image).map_err(|e| (e.code(), e.to_string()))?;
    Ok((path, sha256_hex(&stored.bytes), flags))
}

/// A patient as the dataset knows them: 16 digits of a salted SHA-256.
fn patient_hash(salt: &[u8], patient: &str) -> String {
    let mut bytes = salt.to_vec();
    bytes.push(0);
    bytes.extend_from_slice(patient.as_bytes());
    format!("patient-{}", &sha256_hex(&bytes)[..16])
}

fn write(
    settled: &[Settled],
    ledger: Vec<LedgerEntry>,
    definitions: &Definitions,
    options: &OctOptions,
    summary: &mut OctSummary,
) -> anyhow::Result<()> {
    let groups: Vec<(String, String)> = settled.iter().map(|s| (s.group.clone(), String::new())).collect();
    let held: HashSet<String> = held_out_groups(&groups, options.holdout, options.seed)
        .into_iter()
        .collect();
    let mut update = SourceUpdate::pairs(&options.out, &options.source_id)?;
    for line in ledger {
        update.push_ledger(line)?;
    }
    for one in settled {
        let bytes =
            std::fs::read(&one.path).with_context(|| format!("{}: cannot be read any more", one.path.display()))?;
        let stored = prepare(&bytes, &one.image)?;
        if sha256_hex(&stored.bytes) != one.sha256 {
            bail!("{}: changed while it was read; run again", one.path.display());
        }
        let Some((caption_en, caption_zh)) = definitions.captions(&one.findings) else {
            continue;
        };
        let split = if held.contains(&one.group) { "test" } else { "train" };
        *summary.splits.entry(split.to_owned()).or_default() += 1;
        let id = content_id("pair", &[options.source_id.as_bytes(), one.sha256.as_bytes()]);
        let reasons: Vec<String> = one
            .names_somebody()
            .then(|| BURNT_IN_REASON.to_owned())
            .into_iter()
            .collect();
        let (state, reason) = match reasons.first() {
            Some(reason) => ("needs-review", Some(reason.clone())),
            None => ("paired", None),
        };
        update.push_ledger(entry(options, &one.image, state, reason, Some(id.clone())))?;
        update.push_pair(PairRecord {
            id,
            // File names of hospitals tell names and dates; the picture's own hash tells nothing.
            image: ImageFile {
                bytes: stored.bytes,
                path: format!("{}/{}.{}", options.source_id, &one.sha256[..20], stored.extension),
            },
            width: stored.width,
            height: stored.height,
            modality: Modality::Oct,
            caption_en_origin: Some("findings".to_owned()),
            caption_zh_origin: caption_zh.as_ref().map(|_| "findings".to_owned()),
            caption_en: Some(caption_en),
            caption_zh,
            caption_figure: None,
            lang_original: Some("en".to_owned()),
            figure_no: None,
            panel: None,
            panel_bbox: None,
            source_id: options.source_id.clone(),
            source_page: None,
            source_page_sha256: None,
            ocr_confidence: None,
            pair_confidence: Some(1.0),
            modality_confidence: Some(1.0),
            // The seniors decided on the findings, not on what the picture tells about the patient.
            review_status: if !reasons.is_empty() {
                ReviewStatus::NeedsReview
            } else if one.adjudicated {
                ReviewStatus::Approved
            } else {
                ReviewStatus::Auto
            },
            review_reasons: reasons,
            quality_flags: one.flags.clone(),
            split: split.to_owned(),
            split_group: one.group.clone(),
            image_sha256: one.sha256.clone(),
            licence: options.licence.clone(),
        })?;
    }
    update.commit()?;
    Ok(())
}

/// A ledger line. Pictures are named by a hash of their path, which may hold a patient's name.
fn entry(options: &OctOptions, place: &str, state: &str, reason: Option<String>, id: Option<String>) -> LedgerEntry {
    let hidden = format!("picture-{}", &sha256_hex(place.as_bytes())[..16]);
    LedgerEntry {
        source_id: options.source_id.clone(),
        reason: reason.map(|r| r.replace(place, &hidden)),
        input: hidden,
        kind: "image".to_owned(),
        state: state.to_owned(),
        id,
        detail: None,
    }
}

fn holds_rows(options: &OctOptions) -> anyhow::Result<bool> {
    if !options.out.is_dir() {
        return Ok(false);
    }
    for row in Dataset::open(&options.out)?.pairs(dataset::Columns::WithoutImageBytes)? {
        if row?.source_id == options.source_id {
            return Ok(true);
        }
    }
    Ok(false)
}
