//! Files: atomic writes, natural order of names.

use crate::error::{DatasetError, Result};
use std::cmp::Ordering;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering as AtomicOrdering};

/// Writes `bytes` to `path` so that the file is never seen half written: into
/// a temporary file of the same folder, synced, then renamed. Missing parent
/// folders are made. Temporary files of killed runs are removed on the way.
///
/// # Errors
/// The folder cannot be made or written to, or the disk is full; `path` is
/// then as it was before.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let folder = parent_of(path);
    fs::create_dir_all(&folder).map_err(|e| DatasetError::io(&folder, "create the folder", e))?;
    let name = path
        .file_name()
        .ok_or_else(|| DatasetError::invalid(path.display().to_string(), "names no file"))?
        .to_string_lossy()
        .into_owned();
    remove_stale_temporaries(&folder, &name);
    let number = COUNTER.fetch_add(1, AtomicOrdering::Relaxed);
    let temporary = folder.join(format!(".{name}.{}-{number}.tmp", std::process::id()));
    let outcome = write_synced(&temporary, bytes)
        .and_then(|()| fs::rename(&temporary, path).map_err(|e| DatasetError::io(path, "rename into place", e)))
        .map_err(|e| e.with_needed(bytes.len() as u64));
    if outcome.is_err() {
        let _ = fs::remove_file(&temporary);
        return outcome;
    }
    sync_folder(&folder)
}

/// Refuses a path that is a symbolic link: a folder that came from elsewhere could
/// lead a write to any file of whoever opens it.
///
/// # Errors
/// It is one.
pub(crate) fn refuse_link(path: &Path) -> Result<()> {
    if !fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink()) {
        return Ok(());
    }
    Err(DatasetError::invalid(
        path.display().to_string(),
        "is a symbolic link, and writing would change what lies outside of the dataset folder; put a real file or \
         folder in its place (the dataset folder itself may be a link)",
    ))
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = File::create(path).map_err(|e| DatasetError::io(path, "create", e))?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(|e| DatasetError::io(path, "write", e))
}

/// Removes `.NAME.PID-N.tmp` files whose process is gone (Linux only; elsewhere
/// they stay, hidden and harmless).
fn remove_stale_temporaries(folder: &Path, name: &str) {
    if !Path::new("/proc/self").exists() {
        return;
    }
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    let prefix = format!(".{name}.");
    for entry in entries.flatten() {
        let file_name = entry.file_name().to_string_lossy().into_owned();
        let process = file_name
            .strip_prefix(&prefix)
            .and_then(|rest| rest.strip_suffix(".tmp"))
            .and_then(|rest| rest.split_once('-'))
            .and_then(|(pid, number)| number.parse::<u64>().ok().and(pid.parse::<u32>().ok()));
        if let Some(process) = process
            && !Path::new(&format!("/proc/{process}")).exists()
        {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Makes renames and removals inside `folder` durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<()> {
    if cfg!(unix) {
        File::open(folder)
            .and_then(|handle| handle.sync_all())
            .map_err(|e| DatasetError::io(folder, "sync the folder", e))?;
    }
    Ok(())
}

fn parent_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// Orders names as people do: runs of digits by their number, so that
/// `figure2` comes before `figure10`. A total order: names that differ only in
/// leading zeros are ordered byte by byte.
#[must_use]
pub fn natural_cmp(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (Vec::new(), Vec::new());
    natural_key(a, &mut left);
    natural_key(b, &mut right);
    left.cmp(&right).then_with(|| a.cmp(b))
}

/// Longest run of digits that is compared as one number; longer runs continue
/// as a second number.
const MAX_DIGITS: usize = 0xFFFF;

/// Appends bytes whose plain order is the natural order of `text`: a digit run
/// becomes `0`, the count of its significant digits, and the digits.
pub(crate) fn natural_key(text: &str, key: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if !bytes[at].is_ascii_digit() {
            key.push(bytes[at]);
            at += 1;
            continue;
        }
        let end = bytes[at..]
            .iter()
            .position(|byte| !byte.is_ascii_digit())
            .map_or(bytes.len(), |length| at + length);
        let run = &bytes[at..end];
        let zeros = run.iter().take_while(|&&byte| byte == b'0').count();
        for number in run[zeros..].chunks(MAX_DIGITS) {
            push_number(number, key);
        }
        if zeros == run.len() {
            push_number(&[], key);
        }
        at = end;
    }
}

fn push_number(digits: &[u8], key: &mut Vec<u8>) {
    key.push(b'0');
    key.extend((digits.len() as u16).to_be_bytes());
    key.extend(digits);
}

/// Entries of a folder in natural order of their names; empty if the folder
/// does not exist.
///
/// # Errors
/// The folder exists and cannot be listed.
pub fn list_sorted(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(DatasetError::io(folder, "list the folder", error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| DatasetError::io(folder, "list the folder", e))?;
        paths.push(entry.path());
    }
    paths.sort_by(|a, b| natural_cmp(&a.to_string_lossy(), &b.to_string_lossy()));
    Ok(paths)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_count_as_numbers() {
        let mut names = vec![
            "figure10",
            "figure2",
            "figure1-10",
            "figure1-9",
            "b",
            "figure02",
            "figure",
            "a100b2",
            "a100b10",
            "a99",
            "图10",
            "图2",
            "",
        ];
        names.sort_by(|a, b| natural_cmp(a, b));
        assert_eq!(
            names,
            [
                "",
                "a99",
                "a100b2",
                "a100b10",
                "b",
                "figure",
                "figure1-9",
                "figure1-10",
                "figure02",
                "figure2",
                "figure10",
                "图2",
                "图10"
            ]
        );
    }

    proptest! {
        #[test]
        fn natural_order_is_total(a in "[0-9a-c.-]{0,8}", b in "[0-9a-c.-]{0,8}", c in "[0-9a-c.-]{0,8}") {
            prop_assert_eq!(natural_cmp(&a, &b), natural_cmp(&b, &a).reverse());
            prop_assert_eq!(natural_cmp(&a, &b) == Ordering::Equal, a == b);
            if natural_cmp(&a, &b) != Ordering::Greater && natural_cmp(&b, &c) != Ordering::Greater {
                prop_assert!(natural_cmp(&a, &c) != Ordering::Greater);
            }
        }

        #[test]
        fn natural_order_of_numbers_is_their_order(a: u64, b: u64) {
            prop_assert_eq!(natural_cmp(&format!("p{a}"), &format!("p{b}")), a.cmp(&b));
        }
    }

    #[test]
    fn write_replaces_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sub/report.json");
        write_atomic(&path, b"one").unwrap();
        // A killed run's temporary: no process has this id.
        let stale = folder.path().join("sub/.report.json.4194999-0.tmp");
        fs::write(&stale, b"half").unwrap();
        write_atomic(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        let names = list_sorted(&folder.path().join("sub")).unwrap();
        assert_eq!(names, [path]);
    }

    #[test]
    fn a_failed_write_harms_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("inside"), b"kept").unwrap();
        let error = write_atomic(&path, b"x").unwrap_err().to_string();
        assert!(error.contains("rename into place"), "{error}");
        assert_eq!(list_sorted(folder.path()).unwrap(), std::slice::from_ref(&path));
        assert_eq!(fs::read(path.join("inside")).unwrap(), b"kept");
    }
}
