//! `dataset validate`, and what cannot start.

use super::*;

#[test]
fn a_good_folder_is_valid() {
    let folder = sample();
    let (code, stdout, stderr) = run(&["validate", path(&folder)]);
    assert_eq!(code, 0, "{stderr}");
    let report: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(report["valid"], true);
    assert_eq!(report["rows"]["pairs"], 170);
    assert_eq!(report["rows"]["labels/set1"], 20);
    assert_eq!(report["pictures_checked"], 190);
    assert_eq!(report["ledger"]["kept"], 45);
    assert_eq!(report["warnings"].as_object().unwrap().len(), 0, "{stderr}");
    assert!(stderr.contains("valid: "), "{stderr}");
}

#[test]
fn each_fault_is_found_and_named() {
    // A row that is not in the ledger, a wrong hash, a broken picture, a wrong
    // size, a group in two splits: written through the library, which trusts
    // its caller in these.
    type Breaks = fn(&mut PairRecord);
    let cases: [(&str, Breaks); 5] = [
        ("sha256", |row| row.image_sha256 = "0".repeat(64)),
        ("decode", |row| {
            row.image.bytes.truncate(60);
            row.image_sha256 = dataset::hash::sha256_hex(&row.image.bytes);
        }),
        ("size", |row| row.width += 1),
        ("split", |row| row.split = "test".to_owned()),
        ("bbox", |row| row.panel_bbox.as_mut().unwrap().x1 = 0),
    ];
    for (check, spoil) in cases {
        let folder = tempfile::tempdir().unwrap();
        let mut update = SourceUpdate::pairs(folder.path(), "book").unwrap();
        for number in 0..5 {
            let mut record = drawn_pair("book", number);
            record.split_group = "one".to_owned();
            if number == 3 {
                spoil(&mut record);
            }
            update.push_ledger(drawn_pair_ledger(&record)).unwrap();
            update.push_pair(record).unwrap();
        }
        update.commit().unwrap();
        let (code, stdout, stderr) = run(&["validate", path(&folder)]);
        assert_eq!(code, 1, "{check}: {stderr}");
        let report: serde_json::Value = serde_json::from_str(&stdout).unwrap();
        assert!(report["problems"][check].as_u64() >= Some(1), "{check}: {stdout}");
        assert!(
            stderr.contains(&drawn_pair("book", 3).id) || check == "split",
            "{check}: {stderr}"
        );
    }
}

#[test]
fn ledger_faults_are_found() {
    let folder = sample();
    let file = folder.path().join("ledger.jsonl");
    let text = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let check = |lines: &[String], expected: &str| {
        std::fs::write(&file, lines.join("\n")).unwrap();
        let (code, _, stderr) = run(&["validate", path(&folder), "--skip-pictures"]);
        assert_eq!(code, 1, "{expected}");
        assert!(stderr.contains(expected), "{expected}: {stderr}");
    };
    let owned = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    check(&owned(&lines[1..]), "has no line in the ledger");
    check(
        &[owned(&lines), vec![lines[0].to_owned()]].concat(),
        "exactly one state",
    );
    let mut bad = owned(&lines);
    bad[0] = bad[0].replace("\"paired\"", "\"rejected\"");
    check(&bad, "without a reason");
    bad[0] = "{".to_owned();
    check(&bad, "ledger.jsonl:1");
    std::fs::remove_file(&file).unwrap();
    let (code, _, stderr) = run(&["validate", path(&folder), "--skip-pictures"]);
    assert!(code == 1 && stderr.contains("is missing"), "{stderr}");
}

#[test]
fn damaged_files_do_not_hide_the_others() {
    let folder = sample();
    let file = folder.path().join("text/train-00000-of-00001.parquet");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    std::fs::write(
        folder.path().join("labels/note-00000-of-00001.parquet"),
        b"PAR1 not really PAR1",
    )
    .unwrap();
    let (code, stdout, stderr) = run(&["validate", path(&folder)]);
    assert_eq!(code, 1);
    let report: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(report["problems"]["parquet"], 2, "{stderr}");
    assert!(
        report["problems"]["empty"].is_null(),
        "files that cannot be read are no missing files"
    );
    assert_eq!(report["rows"]["pairs"], 170);
    // Files that cannot be read are not missing.
    let alone = tempfile::tempdir().unwrap();
    std::fs::create_dir(alone.path().join("text")).unwrap();
    std::fs::copy(&file, alone.path().join("text/train-00000-of-00001.parquet")).unwrap();
    let (_, stdout, _) = run(&["validate", path(&alone)]);
    let report: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(report["problems"], serde_json::json!({"parquet": 1}));
    assert!(
        stderr.contains("text/train-00000-of-00001.parquet") && stderr.contains("labels/note"),
        "{stderr}"
    );
    for command in ["query", "explain"] {
        let (code, _, stderr) = run(&[command, path(&folder), "SELECT * FROM text"]);
        assert_eq!(code, 2);
        assert!(
            stderr.contains("train-00000-of-00001.parquet") || stderr.contains("note"),
            "{stderr}"
        );
    }
}

#[test]
fn what_cannot_start_is_exit_code_2() {
    let folder = sample();
    for (arguments, expected) in [
        (vec!["validate", "/nowhere/at/all"], "is no folder"),
        (vec!["query", path(&folder), "SELECT nothing FROM pairs"], "caption_en"),
        (vec!["query", path(&folder), "SELEKT"], "Tables: pairs"),
        (
            vec!["query", path(&folder), "SELECT id FROM pairs", "--format", "parquet"],
            "--out",
        ),
        (vec!["explain", path(&folder), "pair-no"], "nothing has the id"),
        (
            vec!["stats", "--captions", "/nowhere.csv", "--out", "/tmp/never"],
            "/nowhere.csv",
        ),
        (vec!["stats", "--out", "/tmp/never"], "required"),
        (vec!["split", path(&folder), "--share", "test=1.5"], "below 1"),
        (vec!["takedown", path(&folder), "--reason", "x"], "nothing is selected"),
        (vec!["frobnicate"], "unrecognized"),
    ] {
        let (code, stdout, stderr) = run(&arguments);
        assert_eq!(code, 2, "{arguments:?}: {stderr}");
        assert!(
            stdout.is_empty() && stderr.contains(expected),
            "{arguments:?}: {stderr}"
        );
    }
    let (code, stdout, _) = run(&["query", "--help"]);
    assert!(code == 0 && stdout.contains("Examples"));
}

#[test]
fn pictures_with_bytes_of_other_formats_are_checked_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut update = SourceUpdate::pairs(folder.path(), "book").unwrap();
    let mut record = drawn_pair("book", 1);
    record.image.bytes = drawn_png(17, 12, 9);
    record.image_sha256 = dataset::hash::sha256_hex(&record.image.bytes);
    record.image.path = "book/odd.jpg".to_owned();
    update.push_ledger(drawn_pair_ledger(&record)).unwrap();
    update.push_pair(record).unwrap();
    update.commit().unwrap();
    assert_eq!(run(&["validate", path(&folder)]).0, 0);
}
