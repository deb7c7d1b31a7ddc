//! Commands that change, compare or hand out a folder.

use super::*;

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
    write_drawn_pairs(folder.path(), "book", 20);
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
    write_drawn_pairs(folder.path(), "book", 20);
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
fn merge_and_diff_see_the_same_rows() {
    let (one, two, out) = (sample(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write_drawn_pairs(two.path(), "book3", 12);
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
fn two_builds_of_one_source_are_not_merged() {
    let (old, new, out) = (sample(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // The same inputs of the same book became other rows.
    let mut update = SourceUpdate::pairs(new.path(), "book2").unwrap();
    for number in 0..40 {
        let mut record = drawn_pair("book2", number);
        let entry = drawn_pair_ledger(&record);
        record.id = format!("{}x", record.id);
        update
            .push_ledger(dataset::LedgerEntry {
                id: Some(record.id.clone()),
                ..entry
            })
            .unwrap();
        update.push_pair(record).unwrap();
    }
    update.commit().unwrap();
    let merged = out.path().join("new");
    let (code, stdout, stderr) = run(&["merge", path(&old), path(&new), "--out", merged.to_str().unwrap()]);
    assert!(code == 2 && stdout.is_empty(), "{stderr}");
    assert!(
        stderr.contains("source `book2`") && stderr.contains("two builds"),
        "{stderr}"
    );
    // What is there already is not changed.
    let before = snapshot(old.path());
    let (code, _, stderr) = run(&["merge", path(&new), "--out", path(&old)]);
    assert!(code == 2 && stderr.contains("dataset diff"), "{stderr}");
    assert!(snapshot(old.path()) == before);
}

#[test]
fn an_export_that_has_nothing_to_write_leaves_no_folder() {
    let (folder, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write_drawn_pairs(folder.path(), "book", 3);
    let target = out.path().join("list");
    let (code, _, stderr) = run(&[
        "export",
        path(&folder),
        "--form",
        "flair",
        "--out",
        target.to_str().unwrap(),
    ]);
    assert!(code == 2 && stderr.contains("no labelled set"), "{stderr}");
    assert!(!target.exists());
}

#[test]
#[cfg(unix)]
fn corrections_do_not_go_through_links() {
    let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write_drawn_pairs(folder.path(), "book", 3);
    let letter = outside.path().join("letter.txt");
    std::fs::write(&letter, "dear reader\n").unwrap();
    std::os::unix::fs::symlink(&letter, folder.path().join("edits.jsonl")).unwrap();
    let edit = dataset::edits::Edit {
        id: drawn_pair("book", 1).id,
        field: "panel".to_owned(),
        value: Some("B".to_owned()),
        editor: "a".to_owned(),
        reason: None,
        anchor: None,
        origin: None,
        of: None,
    };
    let error = dataset::edits::append(folder.path(), &edit).unwrap_err().to_string();
    assert!(error.contains("symbolic link"), "{error}");
    assert_eq!(std::fs::read_to_string(&letter).unwrap(), "dear reader\n");
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
