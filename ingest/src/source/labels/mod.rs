//! `ingest labels`: public sets of categorically labelled pictures.
//!
//! Two passes over the pictures bound the memory: the first checks and hashes
//! each, then groups are held out, then the second writes.

pub mod ffa_ir;
pub mod holdout;
pub mod list;
pub mod picture;
pub mod screen;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, bail};
use dataset::fs::natural_cmp;
use dataset::hash::sha256_hex;
use dataset::{
    Dataset, ImageFile, LabelRecord, LedgerEntry, Modality, PairRecord, ReviewStatus, SourceUpdate, content_id,
};
use rayon::prelude::*;
use regex::Regex;
use serde::Serialize;

use crate::quality::burnt_in::{BURNT_IN_REASON, BURNT_IN_TEXT};
use holdout::held_out_groups;
use list::{BadRow, LabelMap, ListRow, read_class_folders, read_csv};
use picture::{prepare, prepare_and_look};
use screen::{Screen, Seen};

/// What to read and how.
#[derive(Debug, Clone)]
pub struct LabelsOptions {
    /// FLAIR-style list; none for class folders.
    pub csv: Option<PathBuf>,
    /// Folder that the list's paths lie in, or the folder of class folders.
    pub images: PathBuf,
    /// Name of the set.
    pub dataset: String,
    /// How its pictures were taken.
    pub modality: Modality,
    /// Dataset folder to write.
    pub out: PathBuf,
    /// Share of each category's groups held out as `test` (0..1).
    pub holdout: f64,
    /// Seed of the choice.
    pub seed: u64,
    /// Pattern on the picture's path whose first capture names its group.
    pub group: Option<Regex>,
    /// Licence of the set.
    pub licence: Option<String>,
    /// Synonyms.
    pub label_map: LabelMap,
    /// FFA-IR's annotation in place of a list.
    pub ffa_ir: Option<ffa_ir::FfaIrFiles>,
    /// Write reports as image-text pairs instead of labelled pictures.
    pub as_pairs: bool,
    /// Looks at every picture and says its modality, or why it is left out.
    pub screen: Option<Screen>,
}

/// What became of the set.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LabelsSummary {
    /// Name of the set.
    pub dataset: String,
    /// Rows in the list or files in the folders.
    pub inputs: usize,
    /// Rows written.
    pub rows: usize,
    /// Rows by split.
    pub splits: BTreeMap<String, usize>,
    /// Rows by category.
    pub categories: BTreeMap<String, usize>,
    /// Rows by modality.
    pub modalities: BTreeMap<String, usize>,
    /// Rows left out because the picture was there already.
    pub duplicates: usize,
    /// Rows rejected, by reason in short.
    pub rejected: BTreeMap<String, usize>,
    /// Rows whose picture has a flag, by flag; the ledger says which they are.
    pub quality_flags: BTreeMap<String, usize>,
}

/// Pictures looked at between two steps; bounds the memory together with the number of threads.
const CHUNK: usize = 64;

/// What the first pass learnt of one picture.
struct Checked {
    row: ListRow,
    path: PathBuf,
    sha256: String,
    group: String,
    notes: Vec<String>,
    /// What is poor or odd about the picture.
    flags: Vec<String>,
    modality: Modality,
    /// How sure the modality is, when the picture was judged.
    confidence: Option<f64>,
}

/// Reads a labelled set into the dataset folder.
///
/// # Errors
/// The list or folder cannot be read, nothing at all could be read while the
/// dataset folder holds rows of an earlier run, or the folder cannot be written.
pub fn ingest_labels(options: &LabelsOptions) -> anyhow::Result<LabelsSummary> {
    if !options.images.is_dir() {
        bail!("--images {}: no such folder", options.images.display());
    }
    let (mut rows, bad) = match (&options.ffa_ir, &options.csv) {
        (Some(files), _) => ffa_ir::read(files)?,
        (None, Some(csv)) => read_csv(csv)?,
        (None, None) => read_class_folders(&options.images)?,
    };
    for row in &mut rows {
        options.label_map.apply(row);
        if let Some(screen) = &options.screen {
            screen.tidy(row);
        }
    }
    let inputs = rows.len() + bad.len();
    let mut ledger: Vec<LedgerEntry> = Vec::new();
    let mut rejected: BTreeMap<String, usize> = BTreeMap::new();
    let mut reject = |place: &str, kind: &str, reason: String, ledger: &mut Vec<LedgerEntry>| {
        *rejected.entry(kind.to_owned()).or_default() += 1;
        ledger.push(entry(options, place, "rejected", Some(reason), None, Vec::new()));
    };
    for BadRow { place, reason } in bad {
        reject(&place, "unreadable row", reason, &mut ledger);
    }
    let progress = dataset::progress::bar(Some(rows.len() as u64), "checking pictures");
    let mut checked: Vec<Checked> = Vec::new();
    for chunk in rows.chunks(CHUNK) {
        let results: Vec<_> = chunk.par_iter().map(|row| check(row, options)).collect();
        for (row, result) in chunk.iter().zip(results) {
            match result {
                Ok(one) => checked.push(one),
                Err((kind, reason)) => reject(&row.place, kind, reason, &mut ledger),
            }
        }
        progress.inc(chunk.len() as u64);
    }
    progress.finish();
    checked
        .sort_by(|a, b| natural_cmp(&a.row.image, &b.row.image).then_with(|| natural_cmp(&a.row.place, &b.row.place)));
    let (kept, duplicates) = without_duplicates(checked, options, &mut ledger);
    if kept.is_empty() && holds_rows(options)? {
        bail!(
            "none of the {inputs} inputs of `{}` could be read ({}); the rows of an earlier run in {} stay; check --images and --csv",
            options.dataset,
            shortly(&rejected),
            options.out.display()
        );
    }
    write(kept, ledger, duplicates, inputs, rejected, options)
}

/// Looks at one row's picture.
fn check(row: &ListRow, options: &LabelsOptions) -> Result<Checked, (&'static str, String)> {
    if options.as_pairs && row.captions.iter().all(Option::is_none) {
        return Err(("no report", "the case has no report in English or Chinese".to_owned()));
    }
    if row.categories.is_empty() && !options.as_pairs {
        return Err((
            "no category",
            "the row has no category: the label map drops them all, or the report names no known finding".to_owned(),
        ));
    }
    let path = find_image(&options.images, &row.image).map_err(|reason| ("missing", reason))?;
    let bytes = std::fs::read(&path).map_err(|e| ("unreadable", format!("{}: cannot be read: {e}", row.image)))?;
    let (stored, flags) = prepare_and_look(&bytes, &row.image).map_err(|e| (e.code(), e.to_string()))?;
    let sha256 = sha256_hex(&stored.bytes);
    let by_name = options
        .group
        .as_ref()
        .and_then(|g| g.captures(&row.image))
        .and_then(|c| c.get(1).or_else(|| c.get(0)))
        .map(|m| m.as_str().to_owned());
    let group = row.group.clone().or(by_name).unwrap_or_else(|| sha256.clone());
    let (modality, confidence) = match &options.screen {
        None => (options.modality, None),
        Some(screen) => {
            let Seen { modality, confidence } = screen.look(&bytes, &row.image)?;
            (modality, Some(confidence))
        }
    };
    Ok(Checked {
        row: row.clone(),
        path,
        sha256,
        group,
        notes: stored.notes,
        flags,
        modality,
        confidence,
    })
}

/// The file a list means: its path below `images`, also without leading folders of the path.
pub(crate) fn find_image(images: &Path, listed: &str) -> Result<PathBuf, String> {
    let listed_path = Path::new(listed);
    let plain = listed_path
        .components()
        .all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
    if !plain {
        return Err(format!(
            "{listed}: the path leaves the image folder; use a path below it"
        ));
    }
    let parts: Vec<_> = listed_path
        .components()
        .filter(|c| matches!(c, Component::Normal(_)))
        .collect();
    for skip in 0..parts.len() {
        let path = images.join(parts[skip..].iter().collect::<PathBuf>());
        if path.is_file() {
            return Ok(path);
        }
    }
    Err(format!("{listed}: no such file below the image folder"))
}

/// Keeps the first of equal pictures; the others become ledger lines.
fn without_duplicates(
    checked: Vec<Checked>,
    options: &LabelsOptions,
    ledger: &mut Vec<LedgerEntry>,
) -> (Vec<Checked>, usize) {
    let mut first: HashMap<String, (String, Vec<String>)> = HashMap::new();
    let mut kept = Vec::new();
    let mut duplicates = 0;
    for one in checked {
        match first.get(&one.sha256) {
            Some((image, categories)) => {
                duplicates += 1;
                let conflict = if *categories == one.row.categories {
                    String::new()
                } else {
                    format!(
                        ", which is listed as {}; this row says {}",
                        categories.join(", "),
                        one.row.categories.join(", ")
                    )
                };
                let reason = format!("{}: the same picture as {image}{conflict}", one.row.image);
                ledger.push(entry(
                    options,
                    &one.row.place,
                    "duplicate",
                    Some(reason),
                    None,
                    Vec::new(),
                ));
            }
            None => {
                first.insert(one.sha256.clone(), (one.row.image.clone(), one.row.categories.clone()));
                kept.push(one);
            }
        }
    }
    (kept, duplicates)
}

fn write(
    kept: Vec<Checked>,
    ledger: Vec<LedgerEntry>,
    duplicates: usize,
    inputs: usize,
    rejected: BTreeMap<String, usize>,
    options: &LabelsOptions,
) -> anyhow::Result<LabelsSummary> {
    let groups: Vec<(String, String)> = kept
        .iter()
        .map(|c| (c.group.clone(), c.row.categories.first().cloned().unwrap_or_default()))
        .collect();
    let held: HashSet<String> = held_out_groups(&groups, options.holdout, options.seed)
        .into_iter()
        .collect();
    let mut update = if options.as_pairs {
        SourceUpdate::pairs(&options.out, &options.dataset)?
    } else {
        SourceUpdate::labels(&options.out, &options.dataset)?
    };
    let mut splits: BTreeMap<String, usize> = BTreeMap::new();
    let mut categories: BTreeMap<String, usize> = BTreeMap::new();
    let mut modalities: BTreeMap<String, usize> = BTreeMap::new();
    let mut quality_flags: BTreeMap<String, usize> = BTreeMap::new();
    let rows = kept.len();
    let progress = dataset::progress::bar(Some(rows as u64), "writing pictures");
    for one in ledger {
        update.push_ledger(one)?;
    }
    for chunk in kept.chunks(CHUNK) {
        let records: Vec<anyhow::Result<LabelRecord>> =
            chunk.par_iter().map(|one| record(one, &held, options)).collect();
        for (one, record) in chunk.iter().zip(records) {
            let record = record?;
            *splits.entry(record.split.clone()).or_default() += 1;
            *modalities.entry(record.modality.to_string()).or_default() += 1;
            for category in &record.categories {
                *categories.entry(category.clone()).or_default() += 1;
            }
            let pair = options.as_pairs.then(|| report_pair(record.clone(), one));
            let reasons = pair.as_ref().map(|p| p.review_reasons.join("; "));
            let mut kept = entry(
                options,
                &one.row.place,
                match &pair {
                    Some(pair) if pair.review_status == ReviewStatus::NeedsReview => "needs-review",
                    Some(_) => "paired",
                    None => "kept",
                },
                reasons.filter(|r| !r.is_empty()),
                Some(record.id.clone()),
                one.notes.clone(),
            );
            if !one.flags.is_empty() {
                let detail = kept.detail.get_or_insert_with(|| serde_json::json!({}));
                detail["quality_flags"] = one.flags.clone().into();
                for flag in &one.flags {
                    *quality_flags.entry(flag.clone()).or_default() += 1;
                }
            }
            if let Some(confidence) = one.confidence {
                let detail = kept.detail.get_or_insert_with(|| serde_json::json!({}));
                detail["modality"] = one.modality.to_string().into();
                detail["modality_confidence"] = ((confidence * 1000.0).round() / 1000.0).into();
            }
            update.push_ledger(kept)?;
            match pair {
                Some(pair) => update.push_pair(pair)?,
                None => update.push_label(record)?,
            }
        }
        progress.inc(chunk.len() as u64);
    }
    progress.finish();
    update.commit()?;
    if let Some(folder) = options.screen.as_ref().and_then(|s| s.lists.as_ref()) {
        screen::write_lists(folder, &options.dataset, kept.iter().map(|k| (k.modality, &k.row)))?;
    }
    Ok(LabelsSummary {
        dataset: options.dataset.clone(),
        inputs,
        rows,
        splits,
        categories,
        modalities,
        duplicates,
        rejected,
        quality_flags,
    })
}

/// Reads a picture for the second time and makes its row.
fn record(one: &Checked, held: &HashSet<String>, options: &LabelsOptions) -> anyhow::Result<LabelRecord> {
    let bytes = std::fs::read(&one.path).with_context(|| format!("{}: cannot be read any more", one.path.display()))?;
    let stored = prepare(&bytes, &one.row.image)?;
    if sha256_hex(&stored.bytes) != one.sha256 {
        bail!(
            "{}: changed while it was read; run again when nobody writes to the folder",
            one.path.display()
        );
    }
    let stem = one
        .row
        .image
        .rsplit_once('.')
        .map_or(one.row.image.as_str(), |(stem, _)| stem);
    Ok(LabelRecord {
        id: content_id(
            if options.as_pairs { "pair" } else { "label" },
            &[options.dataset.as_bytes(), one.sha256.as_bytes()],
        ),
        image: ImageFile {
            bytes: stored.bytes,
            path: format!("{stem}.{}", stored.extension),
        },
        width: stored.width,
        height: stored.height,
        modality: one.modality,
        categories: one.row.categories.clone(),
        attributes: one.row.attributes.clone(),
        dataset: options.dataset.clone(),
        split: match &one.row.split {
            Some(split) => split.clone(),
            None if held.contains(&one.group) => "test".to_owned(),
            None => "train".to_owned(),
        },
        split_group: one.group.clone(),
        image_sha256: one.sha256.clone(),
        licence: options.licence.clone(),
    })
}

/// A picture with the report of its case.
fn report_pair(record: LabelRecord, one: &Checked) -> PairRecord {
    let [caption_en, caption_zh] = one.row.captions.clone();
    let names_somebody = one.flags.iter().any(|f| f == BURNT_IN_TEXT);
    let origin = |text: &Option<String>| text.as_ref().map(|_| "person".to_owned());
    PairRecord {
        id: record.id,
        image: record.image,
        width: record.width,
        height: record.height,
        modality: record.modality,
        caption_en_origin: origin(&caption_en),
        caption_zh_origin: origin(&caption_zh),
        caption_figure: None,
        lang_original: Some(if caption_zh.is_some() { "zh" } else { "en" }.to_owned()),
        caption_en,
        caption_zh,
        figure_no: None,
        panel: None,
        panel_bbox: None,
        source_id: record.dataset,
        source_page: None,
        source_page_sha256: None,
        ocr_confidence: None,
        pair_confidence: Some(1.0),
        modality_confidence: one.confidence.map(|c| c as f32),
        review_status: if names_somebody {
            ReviewStatus::NeedsReview
        } else {
            ReviewStatus::Auto
        },
        review_reasons: names_somebody.then(|| BURNT_IN_REASON.to_owned()).into_iter().collect(),
        quality_flags: std::iter::once("report of the whole case".to_owned())
            .chain(one.flags.iter().cloned())
            .collect(),
        split: record.split,
        split_group: record.split_group,
        image_sha256: record.image_sha256,
        licence: record.licence,
    }
}

fn entry(
    options: &LabelsOptions,
    place: &str,
    state: &str,
    reason: Option<String>,
    id: Option<String>,
    notes: Vec<String>,
) -> LedgerEntry {
    LedgerEntry {
        source_id: options.dataset.clone(),
        input: place.to_owned(),
        kind: "label-row".to_owned(),
        state: state.to_owned(),
        reason,
        id,
        detail: (!notes.is_empty()).then(|| serde_json::json!({ "notes": notes })),
    }
}

/// True when the dataset folder has rows of this set.
fn holds_rows(options: &LabelsOptions) -> anyhow::Result<bool> {
    if !options.out.is_dir() {
        return Ok(false);
    }
    Ok(Dataset::open(&options.out)?.label_sets().contains(&options.dataset))
}

fn shortly(rejected: &BTreeMap<String, usize>) -> String {
    rejected
        .iter()
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect::<Vec<_>>()
        .join(", ")
}
