//! Training images that are test images as well, found before the first step by content hash and by name.
//!
//! `eval leakage` compares pictures too; this audit reads no pixel of a test set and so costs nothing. File names
//! count within sets of the same name only: `1.png` exists everywhere.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use dataset::read::Columns;
use serde::{Deserialize, Serialize};

use super::labels::{TRAIN, open};

/// What happens to a training image that is a test image too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnLeak {
    /// It is left out of training.
    Drop,
    /// It is trained on, with a warning.
    Warn,
    /// The run does not start.
    Stop,
}

/// Why an image counts as leaked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Evidence {
    /// The same bytes.
    SameBytes,
    /// The same file name in a set of the same name.
    SameName,
}

/// One leaked training image.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Leak {
    /// Training row.
    pub id: String,
    /// File name of the training image.
    pub path: String,
    /// File name of the test image.
    pub test: String,
    /// How they agree.
    pub evidence: Evidence,
}

/// All test images.
#[derive(Debug, Default)]
pub struct TestImages {
    /// Path by content hash.
    by_hash: BTreeMap<String, String>,
    /// Path by set and file name.
    by_name: BTreeMap<(String, String), String>,
}

impl TestImages {
    /// Reads the test rows of `datasets` (any split but `train`) and all rows of `test_datasets`. Names are
    /// taken from `test_datasets` only, because a split within one folder is made by content.
    ///
    /// # Errors
    /// A dataset folder that cannot be read.
    pub fn read(datasets: &[String], test_datasets: &[String]) -> Result<Self> {
        let mut found = TestImages::default();
        for (folders, all) in [(datasets, false), (test_datasets, true)] {
            for folder in folders {
                let rows = open(folder)?
                    .labels(None, Columns::WithoutImageBytes)
                    .with_context(|| folder.clone())?;
                for record in rows {
                    let record = record.with_context(|| folder.clone())?;
                    if !all && record.split == TRAIN {
                        continue;
                    }
                    if all {
                        let key = (record.dataset.to_lowercase(), file_name(&record.image.path));
                        found.by_name.entry(key).or_insert_with(|| record.image.path.clone());
                    }
                    found.by_hash.entry(record.image_sha256).or_insert(record.image.path);
                }
            }
        }
        Ok(found)
    }

    /// Whether a training image is a test image; `set` is the name of its label set.
    pub fn leak(&self, id: &str, sha256: &str, set: &str, path: &str) -> Option<Leak> {
        let (test, evidence) = match self.by_hash.get(sha256) {
            Some(test) => (test, Evidence::SameBytes),
            None => {
                let key = (set.to_lowercase(), file_name(path));
                (self.by_name.get(&key)?, Evidence::SameName)
            }
        };
        Some(Leak {
            id: id.to_owned(),
            path: path.to_owned(),
            test: test.clone(),
            evidence,
        })
    }
}

/// Last part of a path without its extension, lower case.
fn file_name(path: &str) -> String {
    let name = path.rsplit(['/', '\\']).next().unwrap_or(path);
    name.rsplit_once('.').map_or(name, |(stem, _)| stem).to_lowercase()
}

/// Says what was found, or refuses to start.
///
/// # Errors
/// There are leaks and `rule` is [`OnLeak::Stop`].
pub fn judge(leaks: &[Leak], rule: OnLeak) -> Result<()> {
    let Some(first) = leaks.first() else { return Ok(()) };
    let kinds: BTreeSet<Evidence> = leaks.iter().map(|leak| leak.evidence).collect();
    let how: Vec<&str> = kinds
        .iter()
        .map(|kind| match kind {
            Evidence::SameBytes => "same bytes",
            Evidence::SameName => "same name in the same set",
        })
        .collect();
    let found = format!(
        "{} training images are also labelled test images ({}), for example {} (row {}), which is {}",
        leaks.len(),
        how.join(", "),
        first.path,
        first.id,
        first.test
    );
    match rule {
        OnLeak::Drop => tracing::warn!("{found}; they were left out and are listed in leakage.jsonl"),
        OnLeak::Warn => tracing::warn!("{found}; on_leak is warn, so they are trained on"),
        OnLeak::Stop => bail!("{found}; on_leak is stop. Take them out of the training sets, or set on_leak to drop"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn tests() -> TestImages {
        TestImages {
            by_hash: BTreeMap::from([("aa".into(), "t/one.png".into())]),
            by_name: BTreeMap::from([(("odir".into(), "17_left".into()), "odir200/17_left.jpg".into())]),
        }
    }

    #[test]
    fn hashes_count_everywhere_and_names_within_a_set() {
        let tests = tests();
        assert_eq!(
            tests.leak("r", "aa", "x", "q.png").unwrap().evidence,
            Evidence::SameBytes
        );
        let leak = tests.leak("r", "bb", "ODIR", "training\\17_LEFT.png").unwrap();
        assert_eq!(
            (leak.evidence, leak.test.as_str()),
            (Evidence::SameName, "odir200/17_left.jpg")
        );
        assert_eq!(tests.leak("r", "bb", "other", "17_left.png"), None);
        assert_eq!(tests.leak("r", "bb", "odir", "17_right.png"), None);
    }

    #[test]
    fn stop_refuses_and_the_others_go_on() {
        let leak = tests().leak("row9", "aa", "x", "q.png").unwrap();
        let leaks = [leak];
        assert!(judge(&leaks, OnLeak::Drop).is_ok() && judge(&leaks, OnLeak::Warn).is_ok());
        assert!(judge(&[], OnLeak::Stop).is_ok());
        let error = judge(&leaks, OnLeak::Stop).unwrap_err().to_string();
        assert!(error.contains("row9") && error.contains("t/one.png"), "{error}");
    }
}
