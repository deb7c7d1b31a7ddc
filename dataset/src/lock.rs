//! One writer at a time: an advisory lock on `DATASET/.dataset/lock`. The
//! system gives it back when its holder dies, however it dies.

use crate::error::{DatasetError, Result};
use crate::fs::refuse_link;
use crate::schema::Table;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// Hidden folder for the lock, spool files and a commit under way. Empty and
/// gone when nobody writes.
pub(crate) const STATE_FOLDER: &str = ".dataset";
const LOCK_FILE: &str = "lock";

/// Holds the folder for writing until dropped.
#[derive(Debug)]
pub(crate) struct FolderLock {
    state: PathBuf,
    /// The handle keeps the lock.
    file: File,
}

impl FolderLock {
    /// Takes the lock, or says who holds it. A folder whose parts are symbolic
    /// links is not written to.
    pub fn acquire(folder: &Path) -> Result<Self> {
        let state = folder.join(STATE_FOLDER);
        let path = state.join(LOCK_FILE);
        for table in Table::ALL {
            refuse_link(&folder.join(table.folder()))?;
        }
        loop {
            refuse_link(&state)?;
            refuse_link(&path)?;
            fs::create_dir_all(&state).map_err(|e| DatasetError::io(&state, "create the folder", e))?;
            let opened = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path);
            let mut file = match opened {
                Ok(file) => file,
                // The last holder removed the state folder in between.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && folder.is_dir() => continue,
                Err(error) => return Err(DatasetError::io(&path, "open the lock", error)),
            };
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(DatasetError::Locked {
                        folder: folder.to_path_buf(),
                        holder: holder(&mut file),
                    });
                }
                Err(TryLockError::Error(error)) => {
                    return Err(DatasetError::io(&path, "lock", error));
                }
            }
            // The last holder may have removed the file between open and lock.
            if same_file(&file, &path) {
                let mut lock = Self { state, file };
                lock.sign();
                return Ok(lock);
            }
        }
    }

    /// Writes who we are into the file, for the message others will get. Only
    /// a courtesy: a failure here changes nothing.
    fn sign(&mut self) {
        let program = std::env::args()
            .next()
            .and_then(|name| Path::new(&name).file_name().map(|n| n.to_string_lossy().into_owned()))
            .unwrap_or_default();
        let _ = self.file.set_len(0);
        let _ = write!(self.file, "process {}, {program}", std::process::id());
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        // Removed while still held, so that nobody else's lock file is hit.
        let _ = fs::remove_file(self.state.join(LOCK_FILE));
        let _ = fs::remove_dir(&self.state);
    }
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let _ = file.take(200).read_to_string(&mut text);
    if text.is_empty() {
        "unknown process".to_owned()
    } else {
        text
    }
}

#[cfg(unix)]
fn same_file(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(named)) => open.ino() == named.ino() && open.dev() == named.dev(),
        _ => false,
    }
}

#[cfg(not(unix))]
fn same_file(_: &File, path: &Path) -> bool {
    path.exists()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_second_writer_is_told_who_holds_it() {
        let folder = tempfile::tempdir().unwrap();
        let first = FolderLock::acquire(folder.path()).unwrap();
        let message = FolderLock::acquire(folder.path()).unwrap_err().to_string();
        assert!(
            message.contains(&format!("process {}", std::process::id())),
            "{message}"
        );
        assert!(message.contains("Wait"), "{message}");
        drop(first);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        drop(FolderLock::acquire(folder.path()).unwrap());
    }

    #[test]
    fn a_dead_holders_file_is_no_obstacle() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join(STATE_FOLDER)).unwrap();
        fs::write(folder.path().join(STATE_FOLDER).join(LOCK_FILE), "process 1, gone").unwrap();
        drop(FolderLock::acquire(folder.path()).unwrap());
    }

    #[test]
    #[cfg(unix)]
    fn links_out_of_the_folder_are_not_followed() {
        let outside = tempfile::tempdir().unwrap();
        let letter = outside.path().join("letter.txt");
        fs::write(&letter, "dear reader").unwrap();
        for (name, target) in [
            ("data", outside.path()),
            ("labels", outside.path()),
            (".dataset", outside.path()),
            (".dataset/lock", letter.as_path()),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let link = folder.path().join(name);
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(target, &link).unwrap();
            let message = FolderLock::acquire(folder.path()).unwrap_err().to_string();
            assert!(message.contains("symbolic link") && message.contains(name), "{message}");
        }
        assert_eq!(fs::read_to_string(&letter).unwrap(), "dear reader");
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    }
}
