//! Image-text pairs of one modality: MM-Retinal.

use anyhow::{Context, Result, bail};
use dataset::modality::Modality;
use dataset::read::Columns;
use dataset::record::{PairRecord, ReviewStatus};

use super::Rejected;
use super::ban::BanRules;
use super::images::{DECODE_TOGETHER, ImageStore, decode_all};
use super::labels::open;
use super::leakage::{Leak, OnLeak, TestImages};

/// One image with its English caption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// Number in the image store.
    pub image: usize,
    /// Row id.
    pub id: String,
    /// English caption.
    pub caption: String,
}

/// Pairs with what was left out.
#[derive(Debug, Default)]
pub struct PairSet {
    /// Usable pairs, in the datasets' order.
    pub pairs: Vec<Pair>,
    /// Rows that could not be used.
    pub rejected: Vec<Rejected>,
    /// Pairs of the modality without an English caption.
    pub without_english: usize,
    /// Pairs left out because they still need review.
    pub unreviewed: usize,
    /// Pairs whose image is a labelled test image.
    pub leaks: Vec<Leak>,
    /// Pairs left out because their caption matches a rule.
    pub banned: u64,
}

/// Which pairs to read.
pub struct PairQuery<'a> {
    /// Dataset folders.
    pub datasets: &'a [String],
    /// Modalities.
    pub modalities: &'a [Modality],
    /// Take pairs that still need review.
    pub with_unreviewed: bool,
    /// Take pairs without an English caption too (for images alone).
    pub without_caption: bool,
    /// Rules whose matching captions are left out.
    pub ban: &'a BanRules,
    /// Test images.
    pub tests: &'a TestImages,
    /// What happens to pairs whose image is a test image.
    pub on_leak: OnLeak,
}

/// Reads the pairs with split `train` into `store`.
///
/// # Errors
/// A dataset folder that cannot be read.
pub fn load_pairs(query: &PairQuery, store: &mut ImageStore) -> Result<PairSet> {
    let mut found = PairSet::default();
    for folder in query.datasets {
        let dataset = open(folder)?;
        let progress = dataset::progress::bar(None, "reading image-text pairs");
        let mut waiting: Vec<PairRecord> = Vec::with_capacity(DECODE_TOGETHER);
        for record in dataset.pairs(Columns::All).with_context(|| folder.clone())? {
            let record = record.with_context(|| folder.clone())?;
            if record.split != "train" || !query.modalities.contains(&record.modality) {
                continue;
            }
            if record.review_status == ReviewStatus::NeedsReview && !query.with_unreviewed {
                found.unreviewed += 1;
                continue;
            }
            if !query.without_caption && english(&record).is_none() {
                found.without_english += 1;
                continue;
            }
            if english(&record).is_some_and(|caption| query.ban.matching(caption).is_some()) {
                found.banned += 1;
                continue;
            }
            let (sha256, path) = (&record.image_sha256, &record.image.path);
            if let Some(leak) = query.tests.leak(&record.id, sha256, &record.source_id, path) {
                found.leaks.push(leak);
                if query.on_leak == OnLeak::Drop {
                    continue;
                }
            }
            waiting.push(record);
            if waiting.len() == DECODE_TOGETHER {
                progress.inc(waiting.len() as u64);
                take_rows(folder, std::mem::take(&mut waiting), store, &mut found)?;
            }
        }
        progress.inc(waiting.len() as u64);
        take_rows(folder, waiting, store, &mut found)?;
        progress.finish();
    }
    Ok(found)
}

fn english(record: &PairRecord) -> Option<&str> {
    record
        .caption_en
        .as_deref()
        .map(str::trim)
        .filter(|caption| !caption.is_empty())
}

fn take_rows(folder: &str, rows: Vec<PairRecord>, store: &mut ImageStore, found: &mut PairSet) -> Result<()> {
    let encoded: Vec<(&[u8], &str)> = rows
        .iter()
        .map(|row| (row.image.bytes.as_slice(), row.image.path.as_str()))
        .collect();
    let decoded = decode_all(&encoded, store.side());
    for (row, image) in rows.iter().zip(decoded) {
        match image {
            Ok(image) => found.pairs.push(Pair {
                image: store.push(&image)?,
                id: row.id.clone(),
                caption: english(row).unwrap_or_default().to_owned(),
            }),
            Err(error) => found.rejected.push(Rejected {
                dataset: folder.to_owned(),
                id: row.id.clone(),
                path: row.image.path.clone(),
                reason: format!("{error:#}"),
            }),
        }
    }
    Ok(())
}

/// Refuses sets too small for a contrastive batch.
///
/// # Errors
/// Fewer than two pairs.
pub fn check_trainable(set: &PairSet, query: &PairQuery) -> Result<()> {
    if set.pairs.len() < 2 {
        let modalities: Vec<String> = query.modalities.iter().map(Modality::to_string).collect();
        bail!(
            "only {} usable {} pair(s) with an English caption in {} ({} without one, {} waiting for review, {} unreadable); \
             the MM-Retinal batch needs at least 2. Add pairs with `ingest book`, or set mm, semantic and appearance to false",
            set.pairs.len(),
            modalities.join("/"),
            query.datasets.join(", "),
            set.without_english,
            set.unreviewed,
            set.rejected.len(),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn one_pair_is_too_few_and_the_reason_says_what_was_there() {
        let datasets = ["d".to_owned()];
        let query = PairQuery {
            datasets: &datasets,
            modalities: &[Modality::Oct],
            with_unreviewed: true,
            without_caption: false,
            ban: &BanRules::default(),
            tests: &TestImages::default(),
            on_leak: OnLeak::Drop,
        };
        let set = PairSet {
            pairs: vec![Pair {
                image: 0,
                id: "p".into(),
                caption: "c".into(),
            }],
            without_english: 4,
            ..PairSet::default()
        };
        let error = check_trainable(&set, &query).unwrap_err().to_string();
        assert!(
            error.contains("only 1 usable OCT") && error.contains("4 without one"),
            "{error}"
        );
    }
}
