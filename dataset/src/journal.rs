//! Swaps many files in as one step.
//!
//! New files are first written completely into `.dataset/staging/`. Then one
//! small file, `.dataset/commit.json`, appears by rename: from that moment the
//! commit counts as done, and whoever opens the folder next finishes it. So a
//! kill at any moment leaves the old state (no commit file) or the new one
//! (commit file: redo).

use crate::error::{DatasetError, Result};
use crate::fs::{sync_folder, write_atomic};
use crate::lock::{FolderLock, STATE_FOLDER};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Component, Path, PathBuf};

pub(crate) const COMMIT_FILE: &str = "commit.json";
const STAGING: &str = "staging";
const FORMAT: u32 = 1;

/// What a commit does. All names are relative to the dataset folder, with `/`.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plan {
    format: u32,
    /// File in staging, its place in the folder, its size in bytes.
    pub moves: Vec<Move>,
    /// Files that the new state no longer has.
    pub deletes: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Move {
    pub staged: String,
    pub target: String,
    pub bytes: u64,
}

/// Write access to a folder: the lock is held, no commit is half done, no
/// leftovers of killed runs lie around.
pub(crate) struct Workspace {
    folder: PathBuf,
    /// Made by us; goes again if nothing was committed.
    made_folder: bool,
    lock: Option<FolderLock>,
}

impl Workspace {
    pub fn open(folder: &Path) -> Result<Self> {
        let made_folder = !folder.exists();
        fs::create_dir_all(folder).map_err(|e| DatasetError::io(folder, "create the folder", e))?;
        let lock = FolderLock::acquire(folder)?;
        let workspace = Self {
            folder: folder.to_path_buf(),
            made_folder,
            lock: Some(lock),
        };
        redo(folder)?;
        workspace.clear_staging()?;
        fs::create_dir_all(workspace.staging())
            .map_err(|e| DatasetError::io(&workspace.staging(), "create the folder", e))?;
        Ok(workspace)
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn staging(&self) -> PathBuf {
        self.folder.join(STATE_FOLDER).join(STAGING)
    }

    fn clear_staging(&self) -> Result<()> {
        match fs::remove_dir_all(self.staging()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(DatasetError::io(&self.staging(), "remove", error))
            }
            _ => Ok(()),
        }
    }

    /// Adds a staged file to the plan, synced to disk.
    pub fn stage(&self, plan: &mut Plan, staged: &str, target: String) -> Result<()> {
        let path = self.staging().join(staged);
        let bytes = File::open(&path)
            .and_then(|file| file.sync_all().and_then(|()| file.metadata()))
            .map_err(|e| DatasetError::io(&path, "sync", e))?
            .len();
        plan.moves.push(Move {
            staged: staged.to_owned(),
            target,
            bytes,
        });
        Ok(())
    }

    /// Makes the plan the new state of the folder.
    pub fn commit(self, mut plan: Plan) -> Result<()> {
        plan.format = FORMAT;
        let targets: BTreeSet<&str> = plan.moves.iter().map(|m| m.target.as_str()).collect();
        plan.deletes = plan
            .deletes
            .iter()
            .filter(|name| !targets.contains(name.as_str()))
            .cloned()
            .collect();
        check(&plan, &self.folder)?;
        sync_folder(&self.staging())?;
        interrupt("staged")?;
        let text = serde_json::to_vec_pretty(&plan).map_err(|e| DatasetError::invalid("commit plan", e.to_string()))?;
        write_atomic(&self.folder.join(STATE_FOLDER).join(COMMIT_FILE), &text)?;
        interrupt("recorded")?;
        redo(&self.folder)
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        let recorded = self.folder.join(STATE_FOLDER).join(COMMIT_FILE).exists();
        if !recorded {
            let _ = self.clear_staging();
        }
        drop(self.lock.take());
        if self.made_folder {
            // Only succeeds when nothing was committed.
            let _ = fs::remove_dir(&self.folder);
        }
    }
}

/// Whether a recorded commit waits to be finished.
pub(crate) fn is_pending(folder: &Path) -> bool {
    folder.join(STATE_FOLDER).join(COMMIT_FILE).exists()
}

/// Finishes an interrupted commit, if there is one and nobody else is at it.
pub(crate) fn recover(folder: &Path) -> Result<()> {
    if !is_pending(folder) {
        return Ok(());
    }
    let _lock = FolderLock::acquire(folder)?;
    redo(folder)?;
    let staging = folder.join(STATE_FOLDER).join(STAGING);
    let _ = fs::remove_dir_all(staging);
    Ok(())
}

/// Carries out the recorded commit; any prefix of it may have happened before.
/// The lock must be held.
fn redo(folder: &Path) -> Result<()> {
    let state = folder.join(STATE_FOLDER);
    let record = state.join(COMMIT_FILE);
    let text = match fs::read(&record) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(DatasetError::io(&record, "read", error)),
    };
    let plan: Plan = serde_json::from_slice(&text).map_err(|e| {
        DatasetError::invalid(
            record.display().to_string(),
            format!("not a commit record of this program ({e}); if no newer version wrote it, remove the folder `{STATE_FOLDER}`"),
        )
    })?;
    check(&plan, folder)?;
    let mut folders = BTreeSet::from([folder.to_path_buf()]);
    for one in &plan.moves {
        let staged = state.join(STAGING).join(&one.staged);
        let target = folder.join(&one.target);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(|e| DatasetError::io(parent, "create the folder", e))?;
            folders.insert(parent.to_path_buf());
        }
        if staged.exists() {
            fs::rename(&staged, &target).map_err(|e| DatasetError::io(&target, "rename into place", e))?;
        } else if fs::metadata(&target).map(|m| m.len()).ok() != Some(one.bytes) {
            return Err(DatasetError::invalid(
                record.display().to_string(),
                format!(
                    "`{}` of an interrupted commit is gone; ingest the source again after removing `{STATE_FOLDER}`",
                    one.target
                ),
            ));
        }
        interrupt("moved")?;
    }
    for name in &plan.deletes {
        let path = folder.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(DatasetError::io(&path, "remove", error));
            }
            _ => {}
        }
        if let Some(parent) = path.parent().filter(|parent| parent.is_dir()) {
            folders.insert(parent.to_path_buf());
        }
        interrupt("deleted")?;
    }
    for changed in folders {
        sync_folder(&changed)?;
        // A table without rows has no folder.
        if changed != folder {
            let _ = fs::remove_dir(&changed);
        }
    }
    interrupt("synced")?;
    fs::remove_file(&record).map_err(|e| DatasetError::io(&record, "remove", e))?;
    sync_folder(&state)
}

/// A commit record is a file that anybody could have put there: nothing
/// outside the dataset's own files may be touched.
fn check(plan: &Plan, folder: &Path) -> Result<()> {
    let bad = |name: &str| {
        Err(DatasetError::invalid(
            folder.join(STATE_FOLDER).join(COMMIT_FILE).display().to_string(),
            format!("`{name}` is no file of a dataset folder; remove `{STATE_FOLDER}` if you did not expect it"),
        ))
    };
    if plan.format != FORMAT {
        return bad(&format!("format {}", plan.format));
    }
    for name in plan.moves.iter().map(|m| &m.target).chain(&plan.deletes) {
        let parts: Vec<Component<'_>> = Path::new(name).components().collect();
        let plain = parts.iter().all(|part| matches!(part, Component::Normal(_)));
        let first = parts
            .first()
            .map(|part| part.as_os_str().to_string_lossy().into_owned());
        let ours = match (parts.len(), first.as_deref()) {
            (1, Some(name)) => !name.starts_with('.'),
            (2, Some("data" | "text" | "labels")) => true,
            _ => false,
        };
        if !plain || !ours {
            return bad(name);
        }
    }
    for one in &plan.moves {
        let parts: Vec<Component<'_>> = Path::new(&one.staged).components().collect();
        if parts.len() != 1 || !matches!(parts[0], Component::Normal(_)) {
            return bad(&one.staged);
        }
    }
    Ok(())
}

#[cfg(not(test))]
#[allow(clippy::unnecessary_wraps)]
fn interrupt(_: &str) -> Result<()> {
    Ok(())
}

#[cfg(test)]
pub(crate) use crash::{crash_after, interrupt};

/// Lets a test stop the commit at its n-th step, as a kill would.
#[cfg(test)]
mod crash {
    use crate::error::{DatasetError, Result};
    use std::cell::Cell;

    thread_local! {
        static STEPS_LEFT: Cell<Option<u32>> = const { Cell::new(None) };
    }

    pub(crate) fn crash_after(steps: Option<u32>) {
        STEPS_LEFT.with(|left| left.set(steps));
    }

    pub(crate) fn interrupt(step: &str) -> Result<()> {
        STEPS_LEFT.with(|left| match left.get() {
            Some(0) => Err(DatasetError::invalid(step, "simulated kill")),
            Some(count) => {
                left.set(Some(count - 1));
                Ok(())
            }
            None => Ok(()),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn records_that_reach_outside_are_refused() {
        for target in [
            "../x",
            "/etc/passwd",
            "data/../../x",
            ".git/config",
            "data/a/b",
            "other/x",
            "",
        ] {
            let folder = tempfile::tempdir().unwrap();
            let state = folder.path().join(STATE_FOLDER);
            fs::create_dir(&state).unwrap();
            let record = format!(r#"{{"format":1,"moves":[],"deletes":["{target}"]}}"#);
            fs::write(state.join(COMMIT_FILE), record).unwrap();
            let message = recover(folder.path()).unwrap_err().to_string();
            assert!(message.contains("no file of a dataset folder"), "{target}: {message}");
        }
    }

    #[test]
    fn a_foreign_record_is_an_error_with_a_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join(STATE_FOLDER);
        fs::create_dir(&state).unwrap();
        fs::write(state.join(COMMIT_FILE), "{").unwrap();
        let message = recover(folder.path()).unwrap_err().to_string();
        assert!(message.contains("remove the folder"), "{message}");
    }
}
