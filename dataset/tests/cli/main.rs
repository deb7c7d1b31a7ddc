//! The `dataset` program as users run it.
#![allow(clippy::unwrap_used)]

use assert_cmd::Command;
use dataset::testing::{drawn_label, drawn_pair, drawn_pair_ledger, drawn_png, drawn_text, shared_dir};
use dataset::{Columns, Dataset, LedgerEntry, PairRecord, SourceUpdate};
use std::collections::BTreeMap;
use std::path::Path;

mod limits;
mod operations;
mod query;
mod statistics;
mod validate;

#[path = "../../examples/analyst.rs"]
#[allow(dead_code)]
mod analyst;

fn program() -> Command {
    Command::cargo_bin("dataset").unwrap()
}

/// Runs the program; exit code, stdout, stderr.
fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = program().args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn path(folder: &tempfile::TempDir) -> &str {
    folder.path().to_str().unwrap()
}

fn ledger(source: &str, input: String, kind: &str, id: &str) -> LedgerEntry {
    LedgerEntry {
        source_id: source.to_owned(),
        input,
        kind: kind.to_owned(),
        state: "kept".to_owned(),
        reason: None,
        id: Some(id.to_owned()),
        detail: None,
    }
}

fn write_pairs(folder: &Path, source: &str, count: u32) {
    let mut update = SourceUpdate::pairs(folder, source).unwrap();
    for number in 0..count {
        let record = drawn_pair(source, number);
        update.push_ledger(drawn_pair_ledger(&record)).unwrap();
        update.push_pair(record).unwrap();
    }
    update.commit().unwrap();
}

/// Two books, a corpus, a labelled set.
fn sample() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_pairs(folder.path(), "book1", 130);
    write_pairs(folder.path(), "book2", 40);
    let mut update = SourceUpdate::text(folder.path(), "corpus").unwrap();
    for number in 0..25 {
        let record = drawn_text("corpus", number);
        update
            .push_ledger(ledger("corpus", format!("corpus:{number}"), "utterance", &record.id))
            .unwrap();
        update.push_text(record).unwrap();
    }
    update.commit().unwrap();
    let mut update = SourceUpdate::labels(folder.path(), "set1").unwrap();
    for number in 0..20 {
        let record = drawn_label("set1", number);
        update
            .push_ledger(ledger("set1", format!("list.csv:{number}"), "label-row", &record.id))
            .unwrap();
        update.push_label(record).unwrap();
    }
    update.commit().unwrap();
    folder
}

fn snapshot(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    walkdir::WalkDir::new(folder)
        .into_iter()
        .map(Result::unwrap)
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| {
            let name = entry
                .path()
                .strip_prefix(folder)
                .unwrap()
                .to_string_lossy()
                .into_owned();
            (name, std::fs::read(entry.path()).unwrap())
        })
        .collect()
}
