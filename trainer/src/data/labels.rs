//! Categorically labelled images of one modality: the public sets of the paper.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, bail};
use dataset::modality::Modality;
use dataset::read::{Columns, Dataset};
use dataset::record::LabelRecord;

use super::Rejected;
use super::ban::BanRules;
use super::images::{DECODE_TOGETHER, ImageStore, decode_all};
use super::leakage::{Leak, OnLeak, TestImages};
use super::seeds::hash_order;
use crate::text::definitions::normal_form;

/// The split used for training.
pub(super) const TRAIN: &str = "train";

/// One labelled image.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelledImage {
    /// Number in the image store.
    pub image: usize,
    /// Row id.
    pub id: String,
    /// Categories, at least one.
    pub categories: Vec<String>,
    /// Attributes, may be none.
    pub attributes: Vec<String>,
    /// Images of one group stay on one side of every split.
    pub group: String,
}

/// Labelled images with what was left out.
#[derive(Debug, Default)]
pub struct LabelledSet {
    /// Usable images, in the datasets' order.
    pub images: Vec<LabelledImage>,
    /// Rows that could not be used.
    pub rejected: Vec<Rejected>,
    /// Training rows whose image is a test image.
    pub leaks: Vec<Leak>,
    /// Rows left out by each rule for categories.
    pub banned: BTreeMap<String, u64>,
}

/// Which rows to read.
pub struct LabelQuery<'a> {
    /// Dataset folders.
    pub datasets: &'a [String],
    /// Label sets by name, or `*` for all.
    pub label_sets: &'a [String],
    /// Modalities.
    pub modalities: &'a [Modality],
    /// Categories to leave out.
    pub ban: &'a BanRules,
    /// Test images.
    pub tests: &'a TestImages,
    /// What happens to training images that are test images.
    pub on_leak: OnLeak,
}

impl LabelQuery<'_> {
    fn wants_set(&self, name: &str) -> bool {
        self.label_sets.iter().any(|wanted| wanted == "*" || wanted == name)
    }
}

/// Reads the training rows into `store`.
///
/// Rows whose image is also a test image are listed, and left out where the query says so.
///
/// # Errors
/// A dataset folder that cannot be read, or a named label set that no folder has.
pub fn load_labelled(query: &LabelQuery, store: &mut ImageStore) -> Result<LabelledSet> {
    let mut found = LabelledSet::default();
    let mut known_sets = BTreeSet::new();
    for folder in query.datasets {
        known_sets.extend(open(folder)?.label_sets());
    }
    for wanted in query.label_sets {
        if wanted != "*" && !known_sets.contains(wanted) {
            bail!(
                "label set {wanted:?} is in none of the dataset folders ({}); they have: {}",
                query.datasets.join(", "),
                list_or_none(&known_sets)
            );
        }
    }
    for folder in query.datasets {
        let dataset = open(folder)?;
        let progress = dataset::progress::bar(None, "reading labelled images");
        let mut waiting: Vec<LabelRecord> = Vec::with_capacity(DECODE_TOGETHER);
        for name in dataset.label_sets().iter().filter(|name| query.wants_set(name)) {
            for record in dataset
                .labels(Some(name.as_str()), Columns::All)
                .with_context(|| folder.clone())?
            {
                let record = record.with_context(|| folder.clone())?;
                if record.split != TRAIN || !query.modalities.contains(&record.modality) {
                    continue;
                }
                if let Some(rule) = query
                    .ban
                    .matching_any(record.categories.iter().chain(&record.attributes))
                {
                    *found.banned.entry(rule.to_owned()).or_default() += 1;
                    continue;
                }
                let (sha256, path) = (&record.image_sha256, &record.image.path);
                if let Some(leak) = query.tests.leak(&record.id, sha256, name, path) {
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
        }
        progress.inc(waiting.len() as u64);
        take_rows(folder, waiting, store, &mut found)?;
        progress.finish();
    }
    Ok(found)
}

fn take_rows(folder: &str, rows: Vec<LabelRecord>, store: &mut ImageStore, found: &mut LabelledSet) -> Result<()> {
    let encoded: Vec<(&[u8], &str)> = rows
        .iter()
        .map(|row| (row.image.bytes.as_slice(), row.image.path.as_str()))
        .collect();
    let decoded = decode_all(&encoded, store.side());
    for (row, image) in rows.iter().zip(decoded) {
        let categories: Vec<String> = row
            .categories
            .iter()
            .filter(|category| !normal_form(category).is_empty())
            .cloned()
            .collect();
        let reason = match (&image, categories.is_empty()) {
            (Err(error), _) => format!("{error:#}"),
            (_, true) => "no category".to_owned(),
            (Ok(image), false) => {
                found.images.push(LabelledImage {
                    image: store.push(image)?,
                    id: row.id.clone(),
                    categories,
                    attributes: row.attributes.clone(),
                    group: row.split_group.clone(),
                });
                continue;
            }
        };
        found.rejected.push(Rejected {
            dataset: folder.to_owned(),
            id: row.id.clone(),
            path: row.image.path.clone(),
            reason,
        });
    }
    Ok(())
}

pub(crate) fn open(folder: &str) -> Result<Dataset> {
    if !Path::new(folder).is_dir() {
        bail!("{folder}: there is no such dataset folder; make it with `ingest`, or correct `datasets`");
    }
    Dataset::open(Path::new(folder)).with_context(|| format!("{folder}: cannot open the dataset folder"))
}

fn list_or_none(names: &BTreeSet<String>) -> String {
    if names.is_empty() {
        return "no label sets".to_owned();
    }
    names.iter().cloned().collect::<Vec<_>>().join(", ")
}

/// Numbers the categories of `images` by normal form, in order of name.
pub fn category_numbers(images: &[LabelledImage]) -> BTreeMap<String, i64> {
    let names: BTreeSet<String> = images
        .iter()
        .flat_map(|image| &image.categories)
        .map(|category| normal_form(category))
        .collect();
    names.into_iter().zip(0..).collect()
}

/// Refuses sets that contrastive training cannot use.
///
/// # Errors
/// No image, or one category only.
pub fn check_trainable(images: &[LabelledImage], query: &LabelQuery) -> Result<()> {
    let modalities: Vec<String> = query.modalities.iter().map(Modality::to_string).collect();
    let place = format!("label sets {:?} of {}", query.label_sets, query.datasets.join(", "));
    if images.is_empty() && !query.ban.is_empty() {
        bail!("ban_categories leaves no labelled image of {place}; ban fewer categories");
    }
    if images.is_empty() {
        bail!(
            "no labelled {} image with split \"train\" in {place}; add some with `ingest labels --modality {} …`",
            modalities.join("/"),
            modalities.first().map_or("CFP", String::as_str)
        );
    }
    let categories = category_numbers(images);
    if categories.len() < 2 {
        let only = categories.keys().next().cloned().unwrap_or_default();
        bail!(
            "all {} labelled images of {place} have the one category {only:?}; contrastive training needs at least two",
            images.len()
        );
    }
    Ok(())
}

/// Splits off a held-out share by whole groups, chosen by hash and so independent of row order.
/// Returns (training, held out); training always keeps at least one image of every category.
pub fn hold_out(images: Vec<LabelledImage>, share: f64, seed: u64) -> (Vec<LabelledImage>, Vec<LabelledImage>) {
    let wanted = (images.len() as f64 * share).round() as usize;
    if wanted == 0 {
        return (images, Vec::new());
    }
    let mut groups: BTreeMap<(u64, String), Vec<LabelledImage>> = BTreeMap::new();
    let mut left: BTreeMap<String, usize> = BTreeMap::new();
    for image in images {
        for category in &image.categories {
            *left.entry(normal_form(category)).or_default() += 1;
        }
        groups
            .entry((hash_order(seed, &image.group), image.group.clone()))
            .or_default()
            .push(image);
    }
    let (mut training, mut held) = (Vec::new(), Vec::new());
    for members in groups.into_values() {
        let mut after = left.clone();
        for category in members.iter().flat_map(|image| &image.categories) {
            if let Some(count) = after.get_mut(&normal_form(category)) {
                *count -= 1;
            }
        }
        if held.len() + members.len() <= wanted && after.values().all(|count| *count > 0) {
            left = after;
            held.extend(members);
        } else {
            training.extend(members);
        }
    }
    // Back in row order, which the store's numbers give.
    training.sort_by_key(|image| image.image);
    held.sort_by_key(|image| image.image);
    (training, held)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn images(count: usize) -> Vec<LabelledImage> {
        (0..count)
            .map(|i| LabelledImage {
                image: i,
                id: format!("row{i}"),
                categories: vec![["Glaucoma", "normal", "cataract"][i % 3].to_owned()],
                attributes: Vec::new(),
                group: format!("group{}", i / 2),
            })
            .collect()
    }

    #[test]
    fn groups_stay_together_and_the_share_is_met() {
        let (training, held) = hold_out(images(100), 0.2, 4);
        assert_eq!((training.len(), held.len()), (80, 20));
        let groups: BTreeSet<&String> = training.iter().map(|image| &image.group).collect();
        assert!(held.iter().all(|image| !groups.contains(&image.group)));
        assert_eq!(hold_out(images(100), 0.2, 4).1, held);
        assert_ne!(hold_out(images(100), 0.2, 5).1, held);
    }

    #[test]
    fn a_category_never_vanishes_from_training() {
        let (training, held) = hold_out(images(4), 0.9, 1);
        assert_eq!(category_numbers(&training), category_numbers(&images(4)));
        assert_eq!(training.len() + held.len(), 4);
    }

    #[test]
    fn sets_that_cannot_be_learnt_from_are_refused() {
        let datasets = ["d".to_owned()];
        let label_sets = ["*".to_owned()];
        let query = LabelQuery {
            datasets: &datasets,
            label_sets: &label_sets,
            modalities: &[Modality::Cfp],
            ban: &BanRules::default(),
            tests: &TestImages::default(),
            on_leak: OnLeak::Drop,
        };
        let error = check_trainable(&[], &query).unwrap_err().to_string();
        assert!(error.contains("no labelled CFP image"), "{error}");
        let error = check_trainable(&images(1), &query).unwrap_err().to_string();
        assert!(error.contains("one category \"glaucoma\""), "{error}");
        assert!(check_trainable(&images(2), &query).is_ok());
    }
}
