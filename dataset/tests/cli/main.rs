//! The `dataset` program as users run it.
#![allow(clippy::unwrap_used)]

use assert_cmd::Command;
use dataset::testing::{
    drawn_pair, drawn_pair_ledger, drawn_png, shared_dir, snapshot, write_drawn_labels, write_drawn_pairs,
    write_drawn_text,
};
use dataset::{Columns, Dataset, PairRecord, SourceUpdate};
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

/// Two books, a corpus, a labelled set.
fn sample() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_drawn_pairs(folder.path(), "book1", 130);
    write_drawn_pairs(folder.path(), "book2", 40);
    write_drawn_text(folder.path(), "corpus", 25);
    write_drawn_labels(folder.path(), "set1", 20);
    folder
}
