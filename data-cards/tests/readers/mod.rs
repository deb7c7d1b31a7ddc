//! Python readers open a small folder, all columns of all rows.
//!
//! Off unless `MM_READERS` is set, because it installs packages: `MM_READERS=1` makes a virtual environment under
//! the target folder on the first run; `MM_READERS=/path/to/python` uses that one.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use dataset::testing::readers_python;
use dataset::{Columns, Dataset};
use serde::Serialize;

use super::{carded, text};

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/readers/readers.py");

fn write_rows<R: Serialize>(file: PathBuf, rows: impl Iterator<Item = dataset::Result<R>>) {
    let lines: String = rows
        .map(|row| serde_json::to_string(&row.unwrap()).unwrap() + "\n")
        .collect();
    std::fs::write(file, lines).unwrap();
}

fn expect_rows(folder: &Path, out: &Path) {
    let data = Dataset::open(folder).unwrap();
    write_rows(out.join("pairs.jsonl"), data.pairs(Columns::All).unwrap());
    write_rows(out.join("labels.jsonl"), data.labels(None, Columns::All).unwrap());
    write_rows(out.join("text.jsonl"), data.text().unwrap());
}

fn java_is_there() -> bool {
    Command::new("java")
        .arg("-version")
        .output()
        .is_ok_and(|o| o.status.success())
}

#[test]
fn python_readers_see_what_was_written() {
    let python = match readers_python(Path::new(env!("CARGO_TARGET_TMPDIR"))) {
        Ok(python) => python,
        Err(reason) => {
            eprintln!("skipped: Python readers: {reason}");
            return;
        }
    };
    let data = carded();
    let expected = tempfile::tempdir().unwrap();
    expect_rows(&data.folder, expected.path());
    let cache = tempfile::tempdir().unwrap();
    let mut failed = Vec::new();
    for reader in [
        "datasets",
        "polars",
        "duckdb",
        "pandas",
        "pyarrow",
        "spark",
        "mlcroissant",
    ] {
        if reader == "spark" && !java_is_there() {
            eprintln!("skipped: spark: no java");
            continue;
        }
        let Output { status, stdout, stderr } = Command::new(&python)
            .arg(PROGRAM)
            .args([data.folder.as_path(), expected.path(), Path::new(reader)])
            .env("HF_HOME", cache.path())
            .env("HF_HUB_OFFLINE", "1")
            .env("HF_HUB_DISABLE_PROGRESS_BARS", "1")
            .output()
            .unwrap();
        let (out, errors) = (text(&stdout), text(&stderr));
        let whole = ["pairs: 14 rows", "labels: 10 rows", "text: 4 rows"];
        if !status.success() || whole.iter().any(|line| !out.contains(line)) {
            failed.push(format!("{reader}: {out}{errors}"));
        }
        if reader == "mlcroissant" && errors.to_lowercase().contains("warning") {
            failed.push(format!("{reader} warns: {errors}"));
        }
        eprintln!("{reader}: done");
    }
    // The example for analysts runs as it stands.
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../dataset/examples/analyst.py");
    let output = Command::new(&python)
        .arg(example)
        .arg(&data.folder)
        .env("HF_HOME", cache.path())
        .env("HF_HUB_OFFLINE", "1")
        .output()
        .unwrap();
    if !output.status.success() || !text(&output.stdout).contains("paired") {
        failed.push(format!("analyst.py: {}{}", text(&output.stdout), text(&output.stderr)));
    }
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}
