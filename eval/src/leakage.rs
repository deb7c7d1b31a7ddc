//! Leakage audit: which test images does a training set hold already?
//!
//! Evidence, strongest first: same bytes, same picture (correlation of details), same file name, and, as a weaker
//! hint, the other eye of the same patient. File names come from public lists, so they work without images.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

pub mod fingerprint;
pub mod lists;

use fingerprint::{Fingerprint, SAME_PICTURE, likeness};

/// One image of a list.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Name or path as listed.
    pub name: String,
    /// Hash of its bytes, when they are known.
    pub sha256: Option<String>,
    /// Fingerprint of the picture, when it was asked for, and the image decodes and shows something.
    pub picture: Option<Fingerprint>,
}

/// Why a test image counts as leaked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Evidence {
    /// The same bytes.
    SameBytes,
    /// The same picture, perhaps resized or compressed again.
    SamePicture,
    /// The same file name.
    SameName,
    /// The other eye of a patient; a hint, not counted as leaked.
    OtherEye,
}

/// A test image found in the training set.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Finding {
    /// Row in the test list, from 0.
    pub row: usize,
    /// Test image.
    pub test: String,
    /// Training image.
    pub train: String,
    /// How they agree.
    pub evidence: Evidence,
    /// Both hashes are known and differ, and the pictures were not compared: two different images may share a name.
    pub unconfirmed: bool,
}

/// Outcome of an audit.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Audit {
    /// Training images.
    pub train_images: usize,
    /// Test images.
    pub test_images: usize,
    /// Test images held by the training set.
    pub leaked: usize,
    /// The same by evidence; each image counts once, under its strongest.
    pub by_evidence: BTreeMap<String, usize>,
    /// Test images listed more than once (same name or bytes).
    pub repeated_in_test: usize,
    /// Every finding.
    pub findings: Vec<Finding>,
}

impl Audit {
    /// Rows of the test list that the training set holds, rising. The other eye of a patient is only a hint.
    pub fn leaked_rows(&self) -> BTreeSet<usize> {
        let held = self.findings.iter().filter(|f| f.evidence != Evidence::OtherEye);
        held.map(|f| f.row).collect()
    }
}

/// File name without folders, lower case.
fn base_name(name: &str) -> String {
    name.rsplit(['/', '\\']).next().unwrap_or(name).to_lowercase()
}

/// Stem with the marks of the eye taken away, when it has any: "12_left.jpg" → "12".
fn patient(name: &str) -> Option<(String, &'static str)> {
    let base = base_name(name);
    let stem = base.rsplit_once('.').map_or(base.as_str(), |s| s.0);
    let eyes = [
        ("_left", "left"),
        ("_right", "right"),
        ("_os", "left"),
        ("_od", "right"),
        ("-left", "left"),
        ("-right", "right"),
    ];
    eyes.iter().find_map(|(mark, eye)| {
        stem.strip_suffix(mark)
            .filter(|p| !p.is_empty())
            .map(|p| (p.to_string(), *eye))
    })
}

/// Compares two lists.
pub fn audit(train: &[Listed], test: &[Listed]) -> Audit {
    let by = |key: &dyn Fn(&Listed) -> Option<String>| {
        let mut map: HashMap<String, usize> = HashMap::new();
        train.iter().enumerate().for_each(|(i, l)| {
            if let Some(key) = key(l) {
                map.entry(key).or_insert(i);
            }
        });
        map
    };
    let bytes = by(&|l| l.sha256.clone());
    let names = by(&|l| Some(base_name(&l.name)));
    let patients = by(&|l| patient(&l.name).map(|p| p.0));
    let pictures: Vec<(usize, &Fingerprint)> = train
        .iter()
        .enumerate()
        .filter_map(|(i, l)| Some((i, l.picture.as_ref()?)))
        .collect();

    let find = |test: &Listed| -> Option<(usize, Evidence, bool)> {
        if let Some(&i) = test.sha256.as_ref().and_then(|h| bytes.get(h)) {
            return Some((i, Evidence::SameBytes, false));
        }
        let alike = |own: &Fingerprint| {
            let all = pictures
                .iter()
                .map(|(i, p)| (*i, likeness(own, p)))
                .filter(|p| p.1 >= SAME_PICTURE);
            all.max_by(|a, b| a.1.total_cmp(&b.1))
        };
        if let Some((i, _)) = test.picture.as_ref().and_then(alike) {
            return Some((i, Evidence::SamePicture, false));
        }
        // two pictures that were compared and differ are not the same for having one name
        let refuted = |i: usize| train[i].picture.is_some() && test.picture.is_some();
        if let Some(&i) = names.get(&base_name(&test.name)).filter(|i| !refuted(**i)) {
            let differ = train[i].sha256.is_some() && test.sha256.is_some();
            return Some((i, Evidence::SameName, differ));
        }
        patient(&test.name)
            .and_then(|(p, _)| patients.get(&p))
            .map(|&i| (i, Evidence::OtherEye, false))
    };
    let findings: Vec<Finding> = test
        .iter()
        .enumerate()
        .filter_map(|(row, t)| {
            let (i, evidence, unconfirmed) = find(t)?;
            Some(Finding {
                row,
                test: t.name.clone(),
                train: train[i].name.clone(),
                evidence,
                unconfirmed,
            })
        })
        .collect();
    let mut by_evidence = BTreeMap::new();
    for evidence in [
        Evidence::SameBytes,
        Evidence::SamePicture,
        Evidence::SameName,
        Evidence::OtherEye,
    ] {
        let name = serde_json::to_value(evidence)
            .ok()
            .and_then(|v| v.as_str().map(str::to_string))
            .unwrap_or_default();
        by_evidence.insert(name, findings.iter().filter(|f| f.evidence == evidence).count());
    }
    let mut seen: HashMap<String, usize> = HashMap::new();
    test.iter().for_each(|t| {
        *seen
            .entry(t.sha256.clone().unwrap_or_else(|| base_name(&t.name)))
            .or_default() += 1
    });
    Audit {
        train_images: train.len(),
        test_images: test.len(),
        leaked: findings.iter().filter(|f| f.evidence != Evidence::OtherEye).count(),
        by_evidence,
        repeated_in_test: seen.values().map(|n| n - 1).sum(),
        findings,
    }
}
#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use lists::read_list;

    fn named(names: &[&str]) -> Vec<Listed> {
        names
            .iter()
            .map(|n| Listed {
                name: n.to_string(),
                sha256: None,
                picture: None,
            })
            .collect()
    }

    #[test]
    fn names_and_eyes() {
        let audit = audit(
            &named(&["train/2_left.jpg", "train/7_right.jpg"]),
            &named(&["x/2_LEFT.jpg", "x/7_left.jpg", "x/8_left.jpg", "y/2_left.jpg"]),
        );
        assert_eq!((audit.leaked, audit.findings.len(), audit.repeated_in_test), (2, 3, 1));
        assert_eq!(audit.findings[1].evidence, Evidence::OtherEye);
    }

    #[test]
    fn finds_the_leaked_odir_photographs() {
        let Some(shared) = dataset::testing::shared_dir() else {
            eprintln!("skipped: the shared material is not there");
            return;
        };
        let list = |name: &str| {
            read_list(&shared.join("data/labels").join(name).to_string_lossy(), false)
                .unwrap()
                .0
        };
        let found = audit(&list("08_ODIR.csv"), &list("08_ODIR200x3.csv"));
        assert_eq!((found.test_images, found.leaked), (600, 112));
        assert_eq!(audit(&list("25_REFUGE.csv"), &list("08_ODIR200x3.csv")).leaked, 0);
    }
}
