//! Checkpoints of a run: `checkpoints/step-00000010/{model.safetensors, optimizer.safetensors,
//! state.json}`, written beside their place and renamed, so that each is whole or absent.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// Folder of the checkpoints within a run folder.
pub const CHECKPOINTS: &str = "checkpoints";
/// Folder of the best checkpoint within a run folder.
pub const BEST: &str = "best";
/// Model weights within a checkpoint or a finished run.
pub const MODEL_FILE: &str = "model.safetensors";
/// Optimiser moments within a checkpoint.
pub const OPTIMIZER_FILE: &str = "optimizer.safetensors";
/// Step and file hashes within a checkpoint; written last.
pub const STATE_FILE: &str = "state.json";

const PREFIX: &str = "step-";
const UNFINISHED: &str = ".unfinished-";
const DISCARDED: &str = ".discarded-";

/// What `state.json` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Steps done; all random draws and the sampler's place follow from it and the seed.
    pub step: u64,
    /// SHA-256 of every other file of the checkpoint.
    pub files: BTreeMap<String, String>,
}

/// A checkpoint that is whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// Its folder.
    pub folder: PathBuf,
    /// Steps done.
    pub step: u64,
}

/// Writes the checkpoint of `step`: `write` puts the files into the folder it is given.
///
/// # Errors
/// Writing failed (a full disk); nothing of an earlier checkpoint is touched then.
pub fn save(run: &Path, step: u64, write: &mut dyn FnMut(&Path) -> Result<()>) -> Result<Checkpoint> {
    save_as(&run.join(CHECKPOINTS), &format!("{PREFIX}{step:08}"), step, write)
}

/// Writes the checkpoint of `step` as the run's best one, in `best/`.
///
/// # Errors
/// As [`save`].
pub fn save_best(run: &Path, step: u64, write: &mut dyn FnMut(&Path) -> Result<()>) -> Result<Checkpoint> {
    save_as(run, BEST, step, write)
}

fn save_as(all: &Path, name: &str, step: u64, write: &mut dyn FnMut(&Path) -> Result<()>) -> Result<Checkpoint> {
    std::fs::create_dir_all(all).with_context(|| all.display().to_string())?;
    let (unfinished, folder) = (all.join(format!("{UNFINISHED}{name}")), all.join(name));
    remove_if_there(&unfinished)?;
    std::fs::create_dir(&unfinished).with_context(|| unfinished.display().to_string())?;
    let written = write(&unfinished).and_then(|()| write_state(&unfinished, step));
    if let Err(error) = written {
        // The message of the failure matters more than that of a failed clean-up.
        let _ = std::fs::remove_dir_all(&unfinished);
        return Err(error.context(format!(
            "cannot write the checkpoint of step {step} in {}; earlier checkpoints are untouched. Free disk space and run the same command again",
            all.display()
        )));
    }
    if folder.exists() {
        discard(&folder)?;
    }
    std::fs::rename(&unfinished, &folder).with_context(|| folder.display().to_string())?;
    Ok(Checkpoint { folder, step })
}

fn write_state(folder: &Path, step: u64) -> Result<()> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        files.insert(name, dataset::hash::sha256_file(&path)?);
        std::fs::File::open(&path)?.sync_all()?;
    }
    let text = serde_json::to_string_pretty(&State { step, files })? + "\n";
    dataset::fs::write_atomic(&folder.join(STATE_FILE), text.as_bytes())?;
    Ok(())
}

/// All whole checkpoints in order of step; remains of killed runs are removed.
///
/// # Errors
/// The folder cannot be read.
pub fn list(run: &Path) -> Result<Vec<Checkpoint>> {
    let all = run.join(CHECKPOINTS);
    if !all.is_dir() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&all).with_context(|| all.display().to_string())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with(UNFINISHED) || name.starts_with(DISCARDED) {
            remove_if_there(&path)?;
        } else if let Some(step) = name.strip_prefix(PREFIX).and_then(|step| step.parse().ok())
            && path.join(STATE_FILE).is_file()
        {
            found.push(Checkpoint { folder: path, step });
        }
    }
    found.sort_by_key(|checkpoint| checkpoint.step);
    Ok(found)
}

/// The newest checkpoint whose files have the hashes it recorded; damaged ones are named in the
/// second value.
///
/// # Errors
/// The folder cannot be read.
pub fn newest_sound(run: &Path) -> Result<(Option<Checkpoint>, Vec<String>)> {
    let mut damaged = Vec::new();
    for checkpoint in list(run)?.into_iter().rev() {
        match verify(&checkpoint.folder) {
            Ok(_) => return Ok((Some(checkpoint), damaged)),
            Err(error) => damaged.push(format!("{error:#}")),
        }
    }
    Ok((None, damaged))
}

/// Checks a checkpoint's files against the hashes in its `state.json`.
///
/// # Errors
/// A missing, changed or unreadable file, by name.
pub fn verify(folder: &Path) -> Result<State> {
    let path = folder.join(STATE_FILE);
    let text = std::fs::read_to_string(&path).with_context(|| format!("{}: cannot read", path.display()))?;
    let state: State = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
    for (name, expected) in &state.files {
        let file = folder.join(name);
        let found = dataset::hash::sha256_file(&file).with_context(|| file.display().to_string())?;
        if &found != expected {
            bail!("{}: damaged (SHA-256 {found}, recorded {expected})", file.display());
        }
    }
    Ok(state)
}

/// Removes all but the newest `keep` checkpoints.
///
/// # Errors
/// A folder cannot be removed.
pub fn prune(run: &Path, keep: usize) -> Result<()> {
    let all = list(run)?;
    for checkpoint in all.iter().take(all.len().saturating_sub(keep.max(1))) {
        discard(&checkpoint.folder)?;
    }
    Ok(())
}

/// Renames first, so that a kill in between never leaves half a checkpoint under a good name.
fn discard(folder: &Path) -> Result<()> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let aside = folder.with_file_name(format!("{DISCARDED}{name}"));
    remove_if_there(&aside)?;
    std::fs::rename(folder, &aside).with_context(|| folder.display().to_string())?;
    remove_if_there(&aside)
}

fn remove_if_there(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{}: cannot remove", folder.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn write(run: &Path, step: u64) -> Checkpoint {
        save(run, step, &mut |folder| {
            Ok(std::fs::write(folder.join(MODEL_FILE), step.to_le_bytes())?)
        })
        .unwrap()
    }

    #[test]
    fn the_newest_k_stay() {
        let run = tempfile::tempdir().unwrap();
        for step in [2, 10, 100] {
            write(run.path(), step);
        }
        prune(run.path(), 2).unwrap();
        let steps: Vec<u64> = list(run.path()).unwrap().iter().map(|c| c.step).collect();
        assert_eq!(steps, [10, 100]);
        assert_eq!(std::fs::read_dir(run.path().join(CHECKPOINTS)).unwrap().count(), 2);
    }

    #[test]
    fn a_failed_write_leaves_the_earlier_ones() {
        let run = tempfile::tempdir().unwrap();
        write(run.path(), 1);
        let error = save(run.path(), 2, &mut |_| bail!("no space left")).unwrap_err();
        assert!(format!("{error:#}").contains("no space left"));
        assert_eq!(list(run.path()).unwrap().len(), 1);
        // What a killed run leaves is removed and never taken for a checkpoint.
        std::fs::create_dir(run.path().join(CHECKPOINTS).join(".unfinished-step-00000003")).unwrap();
        assert_eq!(newest_sound(run.path()).unwrap().0.unwrap().step, 1);
        assert_eq!(std::fs::read_dir(run.path().join(CHECKPOINTS)).unwrap().count(), 1);
    }

    #[test]
    fn damaged_checkpoints_are_passed_over_and_named() {
        let run = tempfile::tempdir().unwrap();
        write(run.path(), 1);
        let last = write(run.path(), 2);
        std::fs::write(last.folder.join(MODEL_FILE), "x").unwrap();
        let (found, damaged) = newest_sound(run.path()).unwrap();
        assert_eq!(found.unwrap().step, 1);
        assert!(damaged[0].contains("model.safetensors: damaged"), "{damaged:?}");
    }

    #[test]
    fn the_best_one_lies_apart_and_is_replaced_whole() {
        let run = tempfile::tempdir().unwrap();
        for step in [3, 8] {
            let write = &mut |folder: &Path| Ok(std::fs::write(folder.join(MODEL_FILE), step.to_string())?);
            save_best(run.path(), step, write).unwrap();
            assert_eq!(verify(&run.path().join(BEST)).unwrap().step, step);
        }
        assert_eq!(list(run.path()).unwrap().len(), 0);
        assert_eq!(std::fs::read_dir(run.path()).unwrap().count(), 1);
    }

    #[test]
    fn saving_a_step_again_replaces_it() {
        let run = tempfile::tempdir().unwrap();
        write(run.path(), 5);
        write(run.path(), 5);
        assert_eq!(list(run.path()).unwrap().len(), 1);
    }
}
