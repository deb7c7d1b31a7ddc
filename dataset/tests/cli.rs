//! The `dataset` program as users run it.
#![allow(clippy::unwrap_used)]

use assert_cmd::Command;
use dataset::testing::{drawn_label, drawn_pair, drawn_pair_ledger, drawn_png, drawn_text, shared_dir};
use dataset::{Columns, Dataset, LedgerEntry, PairRecord, SourceUpdate};
use std::collections::BTreeMap;
use std::path::Path;

#[path = "limits/mod.rs"]
mod limits;

#[path = "../examples/analyst.rs"]
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
    assert_eq!(report["rows"]["pairs"], 170);
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
fn query_writes_every_format() {
    let folder = sample();
    let sql = "SELECT modality, COUNT(*) AS n FROM pairs GROUP BY modality ORDER BY modality";
    let (code, stdout, _) = run(&["query", path(&folder), sql]);
    assert_eq!(code, 0);
    assert_eq!(
        stdout,
        "modality   n\n--------  --\nCFP       58\nFFA       56\nOCT       56\n"
    );
    for (name, start) in [
        ("a.csv", "modality,n\nCFP,58"),
        ("a.json", "{\"modality\":\"CFP\",\"n\":58}"),
        ("a.parquet", "PAR1"),
    ] {
        let out = folder.path().join(name);
        let (code, stdout, stderr) = run(&["query", path(&folder), sql, "--out", out.to_str().unwrap()]);
        assert!(code == 0 && stdout.is_empty(), "{stderr}");
        assert!(std::fs::read(&out).unwrap().starts_with(start.as_bytes()), "{name}");
    }
}

#[test]
fn explain_and_edit_work_together() {
    let folder = sample();
    let record = drawn_pair("book1", 7);
    let set = "caption_en=Soft drusen";
    let (code, stdout, stderr) = run(&["edit", path(&folder), &record.id, "--set", set, "--editor", "ann"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("\"edits_applied\":1"), "{stdout}");
    let (code, stdout, _) = run(&["explain", path(&folder), &record.id]);
    assert_eq!(code, 0);
    for part in [
        "page7.png",
        "Soft drusen",
        "ann",
        "corrected",
        "Figure 1-8 A Drusen at the macula",
    ] {
        assert!(stdout.contains(part), "{part}: {stdout}");
    }
    let (_, json, _) = run(&["explain", path(&folder), &record.id, "--json"]);
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&json).unwrap()["table"],
        "pairs"
    );
    let (code, _, stderr) = run(&["edit", path(&folder), &record.id, "--set", "modality=MRI"]);
    assert!(code == 2 && stderr.contains("MRI"), "{stderr}");
    assert_eq!(run(&["validate", path(&folder)]).0, 0);
}

#[test]
fn operations_keep_the_folder_valid_and_the_ledger_balanced() {
    let folder = sample();
    let valid = || {
        let (code, stdout, stderr) = run(&["validate", path(&folder)]);
        assert_eq!(code, 0, "{stderr}");
        serde_json::from_str::<serde_json::Value>(&stdout).unwrap()
    };
    let (code, stdout, stderr) = run(&["split", path(&folder), "--share", "test=0.2", "--seed", "3"]);
    assert_eq!(code, 0, "{stderr}");
    let split: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(split["rows"]["test"], 34);
    assert!(folder.path().join("data/test-00000-of-00001.parquet").exists());
    valid();
    let id = drawn_pair("book1", 7).id;
    let (code, stdout, _) = run(&[
        "takedown",
        path(&folder),
        "--id",
        &id,
        "--source",
        "corpus",
        "--reason",
        "asked",
    ]);
    assert_eq!(
        (code, stdout.trim()),
        (
            0,
            r#"{"pairs":1,"text":25,"labels":0,"unknown_ids":[],"unknown_sources":[],"unknown_licences":[]}"#
        )
    );
    let report = valid();
    assert_eq!(report["rows"]["pairs"], 169);
    assert_eq!(report["ledger"]["rejected"], 26);
    assert!(!folder.path().join("text").exists());
    let (code, stdout, _) = run(&["explain", path(&folder), &id]);
    assert!(code == 0 && stdout.contains("taken down: asked"), "{stdout}");
    let (code, _, stderr) = run(&["takedown", path(&folder), "--id", "pair-none", "--reason", "x"]);
    assert!(code == 1 && stderr.contains("pair-none"));
    let (code, _, stderr) = run(&["takedown", path(&folder), "--source", "bok1", "--reason", "x"]);
    assert!(code == 1 && stderr.contains("no row has the source `bok1`"), "{stderr}");
}

/// Files of the folder that hold `text` somewhere.
fn holding(folder: &Path, text: &[u8]) -> Vec<String> {
    let files = snapshot(folder).into_iter();
    files
        .filter(|(_, bytes)| bytes.windows(text.len()).any(|window| window == text))
        .map(|(name, _)| name)
        .collect()
}

#[test]
fn rows_taken_down_leave_nothing_behind_and_stay_away() {
    let folder = tempfile::tempdir().unwrap();
    write_pairs(folder.path(), "book", 20);
    let (gone, stays) = (drawn_pair("book", 7), drawn_pair("book", 8));
    for row in [&gone, &stays] {
        let (code, _, stderr) = run(&[
            "edit",
            path(&folder),
            &row.id,
            "--set",
            "caption_en=A secret finding",
            "--editor",
            "ann",
        ]);
        assert_eq!(code, 0, "{stderr}");
    }
    std::fs::create_dir_all(folder.path().join(".cache/book")).unwrap();
    std::fs::write(folder.path().join(".cache/book/page.json"), b"A secret finding").unwrap();
    assert!(!holding(folder.path(), &gone.image.bytes).is_empty());
    let (code, _, stderr) = run(&["takedown", path(&folder), "--id", &gone.id, "--reason", "asked"]);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(holding(folder.path(), &gone.image.bytes), Vec::<String>::new());
    assert!(!folder.path().join(".cache").exists());
    // The correction of the row that stays is whole; that of the other one is blank.
    let edits = std::fs::read_to_string(folder.path().join("edits.jsonl")).unwrap();
    let secrets: Vec<_> = edits.lines().filter(|line| line.contains("secret")).collect();
    assert!(secrets.len() == 1 && secrets[0].contains(&stays.id), "{edits}");
    let (code, _, stderr) = run(&["validate", path(&folder)]);
    assert!(code == 0 && !stderr.contains("warning:"), "{stderr}");
    // Ingested again, its source brings all rows but this one.
    write_pairs(folder.path(), "book", 20);
    let ids = |sql: &str| run(&["query", path(&folder), sql, "--format", "csv"]).1;
    assert_eq!(ids("SELECT COUNT(*) AS n FROM pairs"), "n\n19\n");
    let sql = format!("SELECT state, reason FROM ledger WHERE id = '{}'", gone.id);
    assert_eq!(ids(&sql), "state,reason\nrejected,rejected by takedown: asked\n");
    // A source goes whole, corrections included.
    let (code, _, stderr) = run(&["takedown", path(&folder), "--source", "book", "--reason", "asked"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(holding(folder.path(), b"secret").is_empty());
    let (code, _, stderr) = run(&["takedown", path(&folder), "--id", &gone.id, "--reason", " "]);
    assert!(code == 2 && stderr.contains("--reason"), "{stderr}");
}

#[test]
fn the_page_for_analysts_shows_examples_that_run() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("../docs/analysts.md")).unwrap();
    for (language, file) in [("rust", "examples/analyst.rs"), ("python", "examples/analyst.py")] {
        let example = std::fs::read_to_string(root.join(file)).unwrap();
        assert!(
            page.contains(&format!("```{language}\n{example}```")),
            "copy {file} into docs/analysts.md"
        );
    }
    let folder = sample();
    analyst::look(folder.path()).unwrap();
    // Every query of the page runs.
    let mut queries = 0;
    let out = tempfile::tempdir().unwrap();
    for line in page
        .lines()
        .filter_map(|line| line.strip_prefix("dataset query DATASET "))
    {
        let (sql, rest) = line.trim_start_matches('"').split_once('"').unwrap();
        let mut arguments = vec!["query", path(&folder), sql];
        let target = rest
            .trim()
            .strip_prefix("--out ")
            .map(|name| out.path().join(name).to_string_lossy().into_owned());
        if let Some(target) = &target {
            arguments.extend(["--out", target.as_str()]);
        }
        let (code, _, stderr) = run(&arguments);
        assert_eq!(code, 0, "{sql}: {stderr}");
        queries += 1;
    }
    assert!(queries >= 5, "{queries}");
    for condition in ["ARRAY_CONTAINS(quality_flags, 'burnt-in-text')", "panel_bbox.x0 > 0"] {
        let sql = format!("SELECT id FROM pairs WHERE {condition}");
        let (code, _, stderr) = run(&["query", path(&folder), &sql]);
        assert_eq!(code, 0, "{condition}: {stderr}");
    }
}

#[test]
fn merge_and_diff_see_the_same_rows() {
    let (one, two, out) = (sample(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write_pairs(two.path(), "book3", 12);
    let merged = out.path().join("new");
    let merged = merged.to_str().unwrap();
    let (code, _, stderr) = run(&["merge", path(&one), path(&two), "--out", merged]);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(run(&["validate", merged]).0, 0);
    let (code, stdout, stderr) = run(&["diff", path(&one), merged]);
    assert_eq!(code, 1);
    assert_eq!(stdout.lines().count(), 12);
    assert!(stderr.contains("12 added, 0 removed, 0 changed"), "{stderr}");
    let before = snapshot(Path::new(merged));
    let empty = tempfile::tempdir().unwrap();
    let (code, _, stderr) = run(&["merge", path(&one), path(&empty), "--out", merged]);
    assert!(code == 2 && stderr.contains("is no dataset folder"), "{stderr}");
    assert_eq!(snapshot(Path::new(merged)), before);
    run(&["merge", path(&two), path(&one), "--out", merged]);
    let mut after = snapshot(Path::new(merged));
    // Merging the same rows again changes rows nowhere, and the ledger not at all.
    after.retain(|name, bytes| before.get(name) != Some(bytes));
    assert!(after.keys().all(|name| name == "ledger.jsonl"), "{:?}", after.keys());
    assert_eq!(run(&["diff", merged, merged]).0, 0);
}

#[test]
fn twins_are_found_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let mut update = SourceUpdate::pairs(folder.path(), "book").unwrap();
    for number in 0..6 {
        let mut record = drawn_pair("book", number % 5);
        if number == 5 {
            // The same picture and captions under another figure.
            record.figure_no = Some("9-9".to_owned());
            record.id = "pair-again".to_owned();
            record.source_page = Some("page99.png".to_owned());
        }
        update.push_ledger(drawn_pair_ledger(&record)).unwrap();
        update.push_pair(record).unwrap();
    }
    update.commit().unwrap();
    let (code, stdout, _) = run(&["dedup", path(&folder)]);
    assert_eq!(code, 1);
    let twin: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(
        (&twin["kind"], &twin["second"]),
        (&"exact".into(), &"pair-again".into())
    );
    assert_eq!(run(&["dedup", path(&folder), "--remove"]).0, 0);
    let rows = Dataset::open(folder.path())
        .unwrap()
        .pairs(Columns::All)
        .unwrap()
        .count();
    assert_eq!(rows, 5);
    let (code, stdout, stderr) = run(&["validate", path(&folder)]);
    assert!(code == 0 && stdout.contains("\"duplicate\":1"), "{stderr}");
    // Against a folder that holds all of it.
    let (code, stdout, _) = run(&["dedup", path(&folder), "--against", path(&folder), "--similar", "2"]);
    assert_eq!((code, stdout.lines().count()), (1, 5));
    // A labelled image that is a pair's picture is a twin as well, and stays.
    let mut label = dataset::testing::drawn_label("set", 1);
    let pair = drawn_pair("book", 2);
    (label.image.bytes, label.image_sha256) = (pair.image.bytes, pair.image_sha256);
    let mut update = SourceUpdate::labels(folder.path(), "set").unwrap();
    update.push_label(label).unwrap();
    update.commit().unwrap();
    let (code, stdout, _) = run(&["dedup", path(&folder), "--remove"]);
    let twin: serde_json::Value = serde_json::from_str(stdout.trim()).unwrap();
    assert_eq!((code, &twin["first"]), (1, &pair.id.into()));
    assert_eq!(twin["same_captions"], false);
    assert_eq!(
        (&twin["first_table"], &twin["second_table"]),
        (&"pairs".into(), &"labels".into())
    );
}

#[test]
fn exports_hold_every_picture() {
    let folder = sample();
    let out = tempfile::tempdir().unwrap();
    let target = |name: &str| out.path().join(name).to_str().unwrap().to_owned();
    for (form, list, lines) in [
        ("keepfit", "captions.csv", 171),
        ("images", "pairs.csv", 171),
        ("flair", "set1.csv", 21),
    ] {
        let (code, _, stderr) = run(&["export", path(&folder), "--form", form, "--out", &target(form)]);
        assert_eq!(code, 0, "{stderr}");
        let text = std::fs::read_to_string(out.path().join(form).join(list)).unwrap();
        assert_eq!(text.lines().count(), lines, "{form}");
    }
    let first = std::fs::read(out.path().join("keepfit/images/book1/fig1-1-A.png")).unwrap();
    assert_eq!(first, drawn_pair("book1", 0).image.bytes);
    let (code, _, _) = run(&["export", path(&folder), "--form", "webdataset", "--out", &target("wds")]);
    assert_eq!(code, 0);
    let tar = std::fs::read(out.path().join("wds/pairs-00000.tar")).unwrap();
    assert_eq!(tar.len() % 512, 0);
    assert!(tar.windows(5).any(|bytes| bytes == b"ustar"));
    let (code, _, stderr) = run(&["export", path(&folder), "--form", "images", "--out", &target("wds")]);
    assert!(code == 2 && stderr.contains("not empty"));
}

#[test]
fn statistics_are_complete_and_the_same_with_any_threads() {
    let folder = sample();
    let out = tempfile::tempdir().unwrap();
    let mut results = Vec::new();
    for threads in ["1", "2"] {
        let target = out.path().join(threads);
        let output = program()
            .args(["stats", path(&folder), "--out", target.to_str().unwrap()])
            .env("RAYON_NUM_THREADS", threads)
            .env("POLARS_MAX_THREADS", threads)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        results.push(snapshot(&target));
    }
    assert!(results[0] == results[1]);
    let files = &results[0];
    let json: serde_json::Value = serde_json::from_slice(&files["statistics.json"]).unwrap();
    assert_eq!(json["pairs"]["all"]["pairs"], 170);
    assert_eq!(json["pairs"]["CFP"]["chinese"], 58);
    assert_eq!(json["labels"][0]["categories"]["normal"], 10);
    assert_eq!(json["text"][0]["utterances"], 25);
    let page = String::from_utf8(files["index.html"].clone()).unwrap();
    for part in ["data:image/jpeg;base64,", "玻璃膜疣", "labels-set1", "<svg", "Ledger"] {
        assert!(
            page.contains(part) || files.keys().any(|name| name.contains(part)),
            "{part}"
        );
    }
    assert!(!page.contains("src=\"http") && !page.contains(path(&folder)));
}

/// Bytes of all files below a folder; 0 when it is not there.
fn bytes_below(folder: &Path) -> u64 {
    let files = walkdir::WalkDir::new(folder).into_iter().flatten();
    files
        .filter_map(|entry| entry.metadata().ok())
        .map(|found| found.len())
        .sum()
}

#[test]
fn a_killed_writer_leaves_a_whole_folder() {
    let goal = sample();
    assert_eq!(run(&["split", path(&goal), "--share", "test=0.3"]).0, 0);
    let goal = snapshot(goal.path());
    for kilobytes in [0, 10, 40, 80, 120, 160, 100_000] {
        let folder = sample();
        let old = snapshot(folder.path());
        let binary = assert_cmd::cargo::cargo_bin("dataset");
        let mut child = std::process::Command::new(binary)
            .args(["split", path(&folder), "--share", "test=0.3"])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // Killed once it has written so much beside the old files, or has ended.
        let staging = folder.path().join(".dataset");
        while child.try_wait().unwrap().is_none() && bytes_below(&staging) < kilobytes * 1000 {
            std::thread::yield_now();
        }
        // SIGKILL on Unix; fails when the program has already ended.
        let _ = child.kill();
        child.wait().unwrap();
        let (code, _, stderr) = run(&["validate", path(&folder)]);
        assert_eq!(code, 0, "killed after {kilobytes} kB: {stderr}");
        let mut state = snapshot(folder.path());
        state.retain(|name, _| !name.starts_with(".dataset"));
        assert!(
            state == old || state == goal,
            "killed after {kilobytes} kB: neither old nor new"
        );
        assert_eq!(run(&["split", path(&folder), "--share", "test=0.3"]).0, 0);
        assert!(
            snapshot(folder.path()) == goal,
            "killed after {kilobytes} kB: the rerun differs"
        );
    }
}

#[test]
fn real_captions_give_the_known_numbers() {
    let Some(shared) = shared_dir() else { return };
    let list = shared.join("data/captions/mm_retinal_v1.csv");
    let out = tempfile::tempdir().unwrap();
    let (code, _, stderr) = run(&["stats", "--captions", list.to_str().unwrap(), "--out", path(&out)]);
    assert_eq!(code, 0, "{stderr}");
    let text = std::fs::read(out.path().join("statistics.json")).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&text).unwrap();
    // Computed once with pandas from the same list by the same definitions.
    let all = json["captions"].as_array().unwrap().last().unwrap();
    assert_eq!(all["captions"], 3017);
    assert_eq!(all["words"], 110_248);
    assert_eq!(all["vocabulary"], 4495);
    assert_eq!(all["lexical_diversity"], 28.0948);
    assert_eq!(all["length_words"][1]["captions"], 1459);
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
