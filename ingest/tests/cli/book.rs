use super::draw::{page_jpeg, page_with_figure, two_fields};
use assert_cmd::Command;
use std::fs;

fn ingest() -> Command {
    Command::cargo_bin("ingest").unwrap()
}

#[test]
fn a_folder_without_files_cannot_start() {
    let dir = tempfile::tempdir().unwrap();
    let run = ingest()
        .args(["book", "--source-id", "b", "--input"])
        .arg(dir.path())
        .arg("--out")
        .arg(dir.path().join("ds"))
        .assert()
        .code(2);
    let message = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    assert!(message.contains("holds no files"), "{message}");
    assert!(!dir.path().join("ds").exists());
}

/// Real OCR on a drawn page, bad files beside it, and the same bytes whatever the number of jobs.
#[test]
fn pages_become_rows_and_bad_files_ledger_lines() {
    let dir = tempfile::tempdir().unwrap();
    let input = dir.path().join("in");
    fs::create_dir(&input).unwrap();
    page_with_figure(&two_fields()).save(input.join("p2.png")).unwrap();
    fs::copy(input.join("p2.png"), input.join("p10.png")).unwrap();
    fs::write(input.join("p3.jpg"), b"").unwrap();
    let whole = page_jpeg(&page_with_figure(&two_fields()));
    fs::write(input.join("p4.jpg"), &whole[..whole.len() / 2]).unwrap();
    let mut ledgers = Vec::new();
    let mut tables = Vec::new();
    for jobs in ["1", "3"] {
        let out = dir.path().join(format!("ds{jobs}"));
        let run = ingest()
            .args(["book", "--source-id", "atlas", "--jobs", jobs, "--input"])
            .arg(&input)
            .arg("--out")
            .arg(&out)
            .assert()
            .code(1);
        let summary: serde_json::Value = serde_json::from_slice(&run.get_output().stdout).unwrap();
        assert_eq!(summary["inputs"], 4);
        assert_eq!(summary["pairs"], 2);
        assert_eq!(summary["balanced"], true, "{summary}");
        assert_eq!(summary["ledger"]["screenshot"]["rejected"], 2);
        assert_eq!(summary["ledger"]["screenshot"]["duplicate"], 1);
        ledgers.push(fs::read(out.join("ledger.jsonl")).unwrap());
        tables.push(fs::read(out.join("data/train-00000-of-00001.parquet")).unwrap());
    }
    assert!(ledgers[0] == ledgers[1] && tables[0] == tables[1]);
    // A second run finds every page in the cache and writes the same again.
    let out = dir.path().join("ds1");
    ingest()
        .args(["book", "--source-id", "atlas", "--input"])
        .arg(&input)
        .arg("--out")
        .arg(&out)
        .assert()
        .code(1);
    assert!(tables[0] == fs::read(out.join("data/train-00000-of-00001.parquet")).unwrap());
    let ledger = String::from_utf8(ledgers.remove(0)).unwrap();
    assert!(ledger.contains("p3.jpg") && ledger.contains("empty"), "{ledger}");
}
