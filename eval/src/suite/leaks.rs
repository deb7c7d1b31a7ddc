//! The leakage audit within a suite: which images of a set a model was trained on, and its results without them.
//!
//! An audit is stored beside the feature cache under the hash of both lists, so that a later run compares nothing again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use dataset::image_input::decode_rgb8;

use super::config::{DatasetConfig, FoldRows, ModelConfig, Suite};
use super::gather::{Table, Work};
use super::results::LeakInfo;
use super::run::file_name;
use super::sources::{HashIndex, ImageSet, read_images};
use crate::leakage::fingerprint::fingerprint;
use crate::leakage::lists::{read_list, read_list_with};
use crate::leakage::{Audit, Listed, audit};
use crate::protocol::FoldOutcome;
use crate::truth::Truth;

/// The images of some places with what was left out of them, or why they could not be read.
type Reading = Result<(Vec<Listed>, Vec<String>), String>;

/// Training lists that were read, by their places.
#[derive(Default)]
pub(super) struct TrainingLists(BTreeMap<Vec<String>, Reading>);

/// What an audit needs besides the model and the set.
pub(super) struct AuditRoom<'a> {
    pub(super) suite: &'a Suite,
    pub(super) out: &'a Path,
    pub(super) index: &'a mut HashIndex,
    pub(super) lists: &'a mut TrainingLists,
}

impl AuditRoom<'_> {
    /// Audits one set for one model: rows of the table that training held, and the words for the report.
    /// `None` when nobody says what the model was trained on.
    pub(super) fn audit(
        &mut self,
        config: &DatasetConfig,
        model: &ModelConfig,
        set: Option<&ImageSet>,
        table: &Table,
        work: &mut Work,
    ) -> anyhow::Result<Option<(BTreeSet<usize>, LeakInfo)>> {
        let places = model.training.as_ref().unwrap_or(&self.suite.training);
        if places.is_empty() {
            return Ok(None);
        }
        let pictures = self.suite.compare_pictures;
        let mut info = LeakInfo {
            dataset: config.name.clone(),
            model: model.name.clone(),
            train_images: 0,
            test_images: 0,
            leaked: 0,
            by_evidence: BTreeMap::new(),
            unconfirmed: 0,
            pictures_compared: pictures,
            rejected: Vec::new(),
            findings: None,
            error: None,
        };
        let train = self
            .lists
            .0
            .entry(places.clone())
            .or_insert_with(|| read_all(places, self.index, &mut work.images_read).map_err(|e| format!("{e:#}")));
        let (train, rejected) = match train {
            Ok(read) => read,
            Err(error) => {
                info.error = Some(error.clone());
                return Ok(Some((BTreeSet::new(), info)));
            }
        };
        // rows that no result scores cannot leak
        let scored: Vec<usize> = (0..table.images.len())
            .filter(|&r| table.images[r].in_split || config.fold_rows == FoldRows::All)
            .collect();
        let test: Vec<Listed> = scored
            .iter()
            .map(|&r| &table.images[r])
            .map(|i| Listed {
                name: i.name.clone(),
                sha256: Some(i.sha256.clone()).filter(|h| !h.is_empty()),
                picture: None,
            })
            .collect();
        let stored = self
            .out
            .join("features")
            .join(format!("audit-{}.json", key(train, &test, pictures)));
        let known: Option<(Audit, Vec<String>)> = std::fs::read(&stored)
            .ok()
            .and_then(|b| serde_json::from_slice(&b).ok());
        let (found, bad) = match known {
            Some(known) => known,
            None => {
                let done = if pictures {
                    with_pictures(places, config, set, test, work)?
                } else {
                    (audit(train, &test), Vec::new())
                };
                dataset::fs::write_atomic(&stored, &serde_json::to_vec(&done)?)?;
                done
            }
        };
        let file = format!("leakage/{}/{}.json", file_name(&config.name), file_name(&model.name));
        let path = self.out.join(&file);
        std::fs::create_dir_all(path.parent().unwrap_or(self.out))?;
        let mut json = serde_json::to_vec_pretty(&found)?;
        json.push(b'\n');
        dataset::fs::write_atomic(&path, &json)?;
        info.train_images = found.train_images;
        info.test_images = found.test_images;
        info.leaked = found.leaked;
        info.unconfirmed = found.findings.iter().filter(|f| f.unconfirmed).count();
        info.rejected = rejected.iter().cloned().chain(bad).collect();
        info.findings = Some(file);
        let rows = found.leaked_rows().into_iter().map(|r| scored[r]).collect();
        info.by_evidence = found.by_evidence;
        Ok(Some((rows, info)))
    }
}

/// Names and hashes of all training places. Files of a folder are hashed through the index.
fn read_all(
    places: &[String],
    index: &mut HashIndex,
    files_read: &mut u64,
) -> anyhow::Result<(Vec<Listed>, Vec<String>)> {
    let (mut list, mut rejected) = (Vec::new(), Vec::new());
    for place in places {
        let mut hash = |name: &str, file: &Path| index.hash(format!("training {place}/{name}"), file, files_read);
        let (own, bad) = read_list_with(place, false, &mut hash)?;
        list.extend(own);
        rejected.extend(bad);
    }
    Ok((list, rejected))
}

/// Hash of both lists and of the way of comparing.
fn key(train: &[Listed], test: &[Listed], pictures: bool) -> String {
    let mut text = format!("{pictures}\n");
    for list in [train, test] {
        for image in list {
            text.push_str(&image.name);
            text.push('\t');
            text.push_str(image.sha256.as_deref().unwrap_or_default());
            text.push('\n');
        }
        text.push('\n');
    }
    dataset::hash::sha256_hex(text.as_bytes())[..20].to_string()
}

/// The audit that looks at the pictures of both sides, and the images that it could not decode.
fn with_pictures(
    places: &[String],
    config: &DatasetConfig,
    set: Option<&ImageSet>,
    mut test: Vec<Listed>,
    work: &mut Work,
) -> anyhow::Result<(Audit, Vec<String>)> {
    let (mut train, mut bad) = (Vec::new(), Vec::new());
    for place in places {
        let (own, own_bad) = read_list(place, true)?;
        work.images_read += own.len() as u64;
        train.extend(own);
        bad.extend(own_bad);
    }
    if let Some(set) = set {
        let wanted: BTreeSet<String> = test.iter().filter_map(|l| l.sha256.clone()).collect();
        let mut found = BTreeMap::new();
        read_images(config, set, &wanted, |image, bytes| {
            work.images_read += 1;
            match decode_rgb8(&bytes, &image.name) {
                Ok(decoded) => drop(found.insert(image.sha256.clone(), fingerprint(&decoded.rgb))),
                Err(error) => bad.push(format!("{}: {error}", image.name)),
            }
            Ok(())
        })?;
        for listed in &mut test {
            listed.picture = listed.sha256.as_ref().and_then(|h| found.get(h).cloned().flatten());
        }
    }
    Ok((audit(&train, &test), bad))
}

/// Folds and groups of the truth without the leaked rows, numbered anew.
///
/// # Errors
/// A fold with no test row, or with rows of one class alone, is left.
pub(super) fn without_rows(
    folds: &[FoldOutcome],
    truth: Truth<'_>,
    leaked: impl Fn(usize) -> bool,
) -> crate::error::Result<(Vec<FoldOutcome>, Vec<usize>)> {
    let mut kept = Vec::new();
    let place: Vec<Option<usize>> = (0..truth.groups.len())
        .map(|row| {
            (!leaked(row)).then(|| {
                kept.push(truth.groups[row]);
                kept.len() - 1
            })
        })
        .collect();
    let folds = folds
        .iter()
        .enumerate()
        .map(|(number, fold)| {
            fold.renumbered(&place, truth.with_groups(&kept))
                .map_err(|e| crate::error::EvalError::protocol(format!("fold {number}: {e}")))
        })
        .collect::<crate::error::Result<_>>()?;
    Ok((folds, kept))
}
