//! The run folder: resolved config, facts about the run, and what decides whether a command starts,
//! continues or refuses.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::{StageConfig, load};
use crate::data::Rejected;

/// Resolved config.
pub const CONFIG_FILE: &str = "config.toml";
/// Facts about the run.
pub const RUN_FILE: &str = "run.json";
/// Written last; its presence says that the run is finished.
pub const DONE_FILE: &str = "done.json";
/// Rows that could not be used, one a line.
pub const REJECTED_FILE: &str = "rejected.jsonl";
const LOCK_FILE: &str = ".lock";

/// What `run.json` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunFacts {
    /// `tokenizer`, `mlm`, `codebook` or `keepfit`.
    pub kind: String,
    /// Seed of everything random.
    pub seed: u64,
    /// `paper` or `reference`.
    pub mode: String,
    /// Where this run departs from the paper's setting, in words.
    pub deviations: Vec<String>,
    /// Modality, for stages that have one.
    pub modality: Option<String>,
    /// Dataset folders (name only) with their content hashes.
    pub datasets: Vec<DatasetFacts>,
    /// Counts of what was read.
    pub data: Value,
    /// The model's shape; enough to build it again.
    pub model: Value,
    /// Trained weights.
    pub parameters: usize,
    /// Identifies the preprocessing of images, for stages that have one.
    pub preprocessing: Option<String>,
    /// Optimiser steps of the whole run.
    pub steps: u64,
    /// Versions of the program and of burn.
    pub versions: Value,
}

/// One dataset folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetFacts {
    /// Name of the folder.
    pub name: String,
    /// SHA-256 over its tables.
    pub content_hash: String,
}

/// Hashes the dataset folders.
///
/// # Errors
/// A folder cannot be read.
pub fn dataset_facts(folders: &[String]) -> Result<Vec<DatasetFacts>> {
    folders
        .iter()
        .map(|folder| {
            let content_hash = crate::data::labels::open(folder)?
                .content_hash()
                .with_context(|| folder.clone())?;
            let name = Path::new(folder)
                .file_name()
                .map_or(folder.clone(), |name| name.to_string_lossy().into_owned());
            Ok(DatasetFacts { name, content_hash })
        })
        .collect()
}

/// Compares the dataset folders with those that the run in `run` began with.
///
/// A folder that is no longer there cannot be compared, which is said.
///
/// # Errors
/// Their content differs, with both hashes and what to do.
pub fn check_datasets(run: &Path, folders: &[String], finished: bool) -> Result<()> {
    let earlier = read_facts(run)?.datasets;
    let present: Vec<String> = folders
        .iter()
        .filter(|folder| Path::new(folder).is_dir())
        .cloned()
        .collect();
    for gone in folders.iter().filter(|folder| !present.contains(folder)) {
        tracing::warn!("{gone}: is no longer there, so it cannot be compared with what the run was trained on");
    }
    for now in dataset_facts(&present)? {
        if earlier.contains(&now) {
            continue;
        }
        let then = earlier
            .iter()
            .find(|then| then.name == now.name)
            .map_or("not part of it", |then| then.content_hash.as_str());
        let (what, cannot) = if finished {
            (
                "this run is finished",
                "so its weights are not those of the present data",
            )
        } else {
            ("this run was interrupted", "so it cannot be continued step by step")
        };
        bail!(
            "{}: {what}, but the dataset {} changed since it began (content hash {then} then, {} now), {cannot}. \
             Give another --out to train on the present data, or remove this run folder",
            run.display(),
            now.name,
            now.content_hash
        );
    }
    Ok(())
}

/// Program versions for `run.json`.
pub fn versions() -> Value {
    serde_json::json!({ "trainer": env!("CARGO_PKG_VERSION"), "burn": "0.22.1" })
}

/// How a command stands to its run folder.
pub enum Standing {
    /// Nothing there yet.
    Fresh,
    /// Begun by the same config; goes on from its newest checkpoint.
    Continue,
    /// Finished by the same config.
    Done,
}

/// A run folder held by this process.
pub struct RunFolder {
    /// Its path.
    pub path: PathBuf,
    _lock: File,
}

/// Opens or makes the folder `out` for `config`, and holds it against other processes.
///
/// # Errors
/// The folder belongs to another run, to another process, or holds other things.
pub fn open<C: StageConfig>(out: &Path, config: &C) -> Result<(RunFolder, Standing)> {
    let shown = out.display();
    let config_path = out.join(CONFIG_FILE);
    // A run counts as begun once its facts are written, which happens when its data could be read.
    let begun = out.join(RUN_FILE).is_file();
    if !begun && out.is_dir() {
        let other = std::fs::read_dir(out)
            .with_context(|| format!("{shown}: cannot read"))?
            .filter_map(|entry| entry.ok().map(|entry| entry.file_name().to_string_lossy().into_owned()))
            .find(|name| name != LOCK_FILE && name != CONFIG_FILE);
        if let Some(other) = other {
            bail!("{shown}: is no run folder but holds {other:?}; give a new or empty folder with --out");
        }
    }
    if begun {
        let earlier: C = load(&config_path, &[]).with_context(|| {
            format!(
                "{shown}: holds a run that is not a {} run of this version; give another --out",
                C::KIND
            )
        })?;
        if earlier.essence() != config.essence() {
            bail!(
                "{shown}: holds a run with another config ({}). Give another --out, or continue that run with --resume {shown}",
                differences(&earlier, config)?
            );
        }
    }
    std::fs::create_dir_all(out).with_context(|| format!("{shown}: cannot make the run folder"))?;
    let lock_path = out.join(LOCK_FILE);
    let lock = File::create(&lock_path).with_context(|| format!("{}: cannot write", lock_path.display()))?;
    if lock.try_lock().is_err() {
        bail!("{shown}: another trainer is working on this run; wait for it or give another --out");
    }
    let standing = match (begun, out.join(DONE_FILE).is_file()) {
        (true, true) => Standing::Done,
        (true, false) => Standing::Continue,
        (false, _) => Standing::Fresh,
    };
    if !begun {
        dataset::fs::write_atomic(&config_path, toml::to_string(config)?.as_bytes())?;
    }
    Ok((
        RunFolder {
            path: out.to_path_buf(),
            _lock: lock,
        },
        standing,
    ))
}

/// The keys in which two configs differ, for the message.
fn differences<C: StageConfig>(earlier: &C, now: &C) -> Result<String> {
    let (earlier, now) = (
        serde_json::to_value(earlier.essence())?,
        serde_json::to_value(now.essence())?,
    );
    let empty = serde_json::Map::new();
    let now = now.as_object().unwrap_or(&empty).clone();
    let parts: Vec<String> = earlier
        .as_object()
        .unwrap_or(&empty)
        .iter()
        .filter(|(key, value)| now.get(*key) != Some(value))
        .map(|(key, value)| format!("{key}: {value} there, {} here", now.get(key).unwrap_or(&Value::Null)))
        .collect();
    Ok(parts.join("; "))
}

impl RunFolder {
    /// Writes `run.json`, or compares it with the one of the run that is continued.
    ///
    /// # Errors
    /// The data or the model changed since the run began, with both values.
    pub fn set_facts(&self, facts: &RunFacts) -> Result<()> {
        let path = self.path.join(RUN_FILE);
        if path.is_file() {
            let earlier = read_facts(&self.path)?;
            if earlier.datasets != facts.datasets {
                bail!(
                    "{}: the dataset folders changed since this run began ({:?} then, {:?} now), so it cannot be continued step by step; start a new run with another --out",
                    path.display(),
                    earlier.datasets,
                    facts.datasets
                );
            }
            if earlier.model != facts.model || earlier.data != facts.data {
                bail!(
                    "{}: the model or its data are not those of the run ({} {} then, {} {} now); start a new run with another --out",
                    path.display(),
                    earlier.model,
                    earlier.data,
                    facts.model,
                    facts.data
                );
            }
            return Ok(());
        }
        let text = serde_json::to_string_pretty(facts)? + "\n";
        dataset::fs::write_atomic(&path, text.as_bytes())?;
        Ok(())
    }

    /// Writes the rows that could not be used and says so on stderr.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set_rejected(&self, rejected: &[Rejected]) -> Result<()> {
        const SHOWN: usize = 5;
        for row in rejected.iter().take(SHOWN) {
            tracing::warn!(
                "{}: row {} ({}) left out: {}",
                row.dataset,
                row.id,
                row.path,
                row.reason
            );
        }
        if rejected.len() > SHOWN {
            tracing::warn!(
                "{} more rows left out; all are in {}",
                rejected.len() - SHOWN,
                self.path.join(REJECTED_FILE).display()
            );
        }
        self.set_lines(REJECTED_FILE, rejected)
    }

    /// Writes `rows` as JSON lines into the file `name` of the run folder.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set_lines<T: Serialize>(&self, name: &str, rows: &[T]) -> Result<()> {
        let mut text = String::new();
        for row in rows {
            text += &serde_json::to_string(row)?;
            text.push('\n');
        }
        dataset::fs::write_atomic(&self.path.join(name), text.as_bytes())?;
        Ok(())
    }

    /// Marks the run as finished.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set_done(&self, summary: &Value) -> Result<()> {
        let text = serde_json::to_string_pretty(summary)? + "\n";
        dataset::fs::write_atomic(&self.path.join(DONE_FILE), text.as_bytes())?;
        Ok(())
    }

    /// The summary of a finished run.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn done(&self) -> Result<Value> {
        let path = self.path.join(DONE_FILE);
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        serde_json::from_str(&text).with_context(|| path.display().to_string())
    }
}

/// Reads `run.json` of the run folder `run`.
///
/// # Errors
/// It is missing or of another version.
pub fn read_facts(run: &Path) -> Result<RunFacts> {
    let path = run.join(RUN_FILE);
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("{}: cannot read; is this a run folder of the trainer?", path.display()))?;
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::TokenizerConfig;

    fn config() -> TokenizerConfig {
        TokenizerConfig {
            datasets: vec!["d".into()],
            out: "x".into(),
            ..TokenizerConfig::default()
        }
    }

    fn facts() -> RunFacts {
        RunFacts {
            kind: "tokenizer".into(),
            seed: 1,
            mode: "paper".into(),
            deviations: Vec::new(),
            modality: None,
            datasets: vec![DatasetFacts {
                name: "d".into(),
                content_hash: "a".into(),
            }],
            data: Value::Null,
            model: Value::Null,
            parameters: 0,
            preprocessing: None,
            steps: 1,
            versions: versions(),
        }
    }

    #[test]
    fn changed_data_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let (run, _) = open(&place.path().join("run"), &config()).unwrap();
        run.set_facts(&facts()).unwrap();
        run.set_facts(&facts()).unwrap();
        let mut other = facts();
        other.datasets[0].content_hash = "b".into();
        let error = run.set_facts(&other).unwrap_err().to_string();
        assert!(error.contains("changed since this run began"), "{error}");
    }

    #[test]
    fn the_same_command_goes_on_and_another_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let out = place.path().join("run");
        assert!(matches!(open(&out, &config()).unwrap().1, Standing::Fresh));
        let (run, standing) = open(
            &out,
            &TokenizerConfig {
                out: "elsewhere".into(),
                ..config()
            },
        )
        .unwrap();
        assert!(matches!(standing, Standing::Fresh), "no facts are written yet");
        run.set_facts(&facts()).unwrap();
        drop(run);
        let (run, standing) = open(&out, &config()).unwrap();
        assert!(matches!(standing, Standing::Continue));
        let error = open(&out, &config()).err().unwrap().to_string();
        assert!(error.contains("another trainer"), "{error}");
        run.set_done(&serde_json::json!({})).unwrap();
        drop(run);
        assert!(matches!(open(&out, &config()).unwrap().1, Standing::Done));
        let error = open(
            &out,
            &TokenizerConfig {
                vocab_size: 500,
                ..config()
            },
        )
        .err()
        .unwrap()
        .to_string();
        assert!(error.contains("vocab_size: 28996 there, 500 here"), "{error}");
    }

    #[test]
    fn a_folder_with_other_things_is_left_alone() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("thesis.txt"), "x").unwrap();
        let error = open(place.path(), &config()).err().unwrap().to_string();
        assert!(error.contains("thesis.txt"), "{error}");
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1);
    }
}
