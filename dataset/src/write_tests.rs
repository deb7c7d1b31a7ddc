//! Tests of writing: round trips, one source at a time, order, determinism,
//! kills, edits, duplicates.
#![allow(clippy::unwrap_used)]

use crate::edits::{self, Edit};
use crate::journal::crash_after;
use crate::ledger::LEDGER_FILE;
use crate::lock::{FolderLock, STATE_FOLDER};
use crate::testing::{drawn_label, drawn_pair, drawn_pair_ledger, drawn_text, snapshot};
use crate::write::TableUpdate;
use crate::{Columns, CommitSummary, Dataset, LedgerEntry, PairRecord, SourceUpdate};
use std::path::Path;

fn write_book(folder: &Path, source: &str, numbers: impl IntoIterator<Item = u32>) -> crate::Result<CommitSummary> {
    let mut update = SourceUpdate::pairs(folder, source)?;
    for number in numbers {
        let record = drawn_pair(source, number);
        update.push_ledger(drawn_pair_ledger(&record))?;
        update.push_pair(record)?;
    }
    update.commit()
}

fn all_pairs(folder: &Path) -> Vec<PairRecord> {
    let dataset = Dataset::open(folder).unwrap();
    dataset.pairs(Columns::All).unwrap().map(Result::unwrap).collect()
}

#[test]
fn pairs_round_trip_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let summary = write_book(folder.path(), "book1", (0..250).rev()).unwrap();
    assert_eq!(summary.rows, 250);
    assert_eq!(summary.files, ["data/train-00000-of-00001.parquet"]);
    assert_eq!(summary.ledger["panel"]["paired"], 250);
    let rows = all_pairs(folder.path());
    let mut expected: Vec<_> = (0..250).map(|n| drawn_pair("book1", n)).collect();
    expected.sort_by(|a, b| {
        a.modality.cmp(&b.modality).then_with(|| {
            let (left, right) = (a.figure_no.as_deref().unwrap(), b.figure_no.as_deref().unwrap());
            crate::fs::natural_cmp(left, right)
        })
    });
    assert_eq!(rows, expected);
    let dataset = Dataset::open(folder.path()).unwrap();
    let light: Vec<_> = dataset
        .pairs(Columns::WithoutImageBytes)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(light.len(), 250);
    assert!(
        light
            .iter()
            .all(|row| row.image.bytes.is_empty() && !row.image.path.is_empty())
    );
    assert_eq!(dataset.ledger().unwrap().len(), 250);
    assert!(!folder.path().join(STATE_FOLDER).exists());
}

#[test]
fn a_source_is_replaced_and_others_stay() {
    let folder = tempfile::tempdir().unwrap();
    write_book(folder.path(), "book1", 0..30).unwrap();
    write_book(folder.path(), "book2", 0..40).unwrap();
    let before = all_pairs(folder.path());
    assert_eq!(before.len(), 70);
    write_book(folder.path(), "book1", 5..10).unwrap();
    let after = all_pairs(folder.path());
    assert_eq!(after.len(), 45);
    let of_book2 = |rows: &[PairRecord]| -> Vec<PairRecord> {
        rows.iter().filter(|row| row.source_id == "book2").cloned().collect()
    };
    assert_eq!(of_book2(&after), of_book2(&before));
    // A source without rows any more leaves nothing stale behind.
    write_book(folder.path(), "book1", []).unwrap();
    let summary = write_book(folder.path(), "book2", []).unwrap();
    assert_eq!((summary.rows, summary.files.len()), (0, 0));
    assert_eq!(snapshot(folder.path()).keys().collect::<Vec<_>>(), [LEDGER_FILE]);
}

#[test]
fn bytes_do_not_depend_on_order_or_history() {
    let one = tempfile::tempdir().unwrap();
    write_book(one.path(), "book2", 0..150).unwrap();
    write_book(one.path(), "book1", 0..20).unwrap();
    write_book(one.path(), "book1", (0..130).rev()).unwrap();
    let two = tempfile::tempdir().unwrap();
    write_book(two.path(), "book1", 0..130).unwrap();
    write_book(two.path(), "book2", (0..150).rev()).unwrap();
    assert!(snapshot(one.path()) == snapshot(two.path()));
    let hash = |folder: &Path| Dataset::open(folder).unwrap().content_hash().unwrap();
    assert_eq!(hash(one.path()), hash(two.path()));
    write_book(two.path(), "book2", 0..151).unwrap();
    assert_ne!(hash(one.path()), hash(two.path()));
}

#[test]
fn small_shards_are_numbered_and_stale_ones_go() {
    let folder = tempfile::tempdir().unwrap();
    let write = |count: u32, shard_bytes: usize| {
        let mut update = TableUpdate::<PairRecord>::open(folder.path(), "book").unwrap();
        for number in 0..count {
            let mut record = drawn_pair("book", number);
            if number % 10 == 9 {
                record.split = "test".to_owned();
            }
            update.push(record).unwrap();
        }
        update.commit(shard_bytes).unwrap()
    };
    let summary = write(450, 40_000);
    assert!(summary.files.len() > 3, "{:?}", summary.files);
    assert_eq!(summary.files[0], "data/test-00000-of-00001.parquet");
    let train = summary.files.len() - 1;
    assert_eq!(summary.files[1], format!("data/train-00000-of-{train:05}.parquet"));
    assert_eq!(all_pairs(folder.path()).len(), 450);
    let summary = write(40, 40_000);
    assert_eq!(summary.files.len(), 2);
    assert_eq!(all_pairs(folder.path()).len(), 40);
    assert_eq!(std::fs::read_dir(folder.path().join("data")).unwrap().count(), 2);
}

#[test]
fn text_and_labels_share_a_name_and_keep_their_ledgers() {
    let folder = tempfile::tempdir().unwrap();
    let entry = |source: &str, input: &str, kind: &str, id: &str| LedgerEntry {
        source_id: source.to_owned(),
        input: input.to_owned(),
        kind: kind.to_owned(),
        state: "kept".to_owned(),
        reason: None,
        id: Some(id.to_owned()),
        detail: None,
    };
    let mut update = SourceUpdate::text(folder.path(), "IDRiD").unwrap();
    for number in 0..5 {
        let record = drawn_text("IDRiD", number);
        update
            .push_ledger(entry("IDRiD", &format!("c:{number}"), "utterance", &record.id))
            .unwrap();
        update.push_text(record).unwrap();
    }
    update.commit().unwrap();
    let mut update = SourceUpdate::labels(folder.path(), "IDRiD").unwrap();
    for number in 0..8 {
        let record = drawn_label("IDRiD", number);
        update
            .push_ledger(entry("IDRiD", &format!("{number}.png"), "label-row", &record.id))
            .unwrap();
        update.push_label(record).unwrap();
    }
    let summary = update.commit().unwrap();
    assert_eq!(summary.files, ["labels/IDRiD-00000-of-00001.parquet"]);
    let dataset = Dataset::open(folder.path()).unwrap();
    assert_eq!(dataset.label_sets(), ["IDRiD"]);
    assert_eq!(dataset.text().unwrap().count(), 5);
    let labels: Vec<_> = dataset
        .labels(Some("IDRiD"), Columns::All)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(labels.len(), 8);
    assert!(labels.windows(2).all(|two| two[0].split <= two[1].split));
    assert_eq!(dataset.ledger().unwrap().len(), 13);
    let message = dataset.labels(Some("none"), Columns::All).err().unwrap().to_string();
    assert!(message.contains("IDRiD"), "{message}");
    assert!(SourceUpdate::labels(folder.path(), "../x").is_err());
}

#[test]
fn a_kill_at_any_step_leaves_the_old_or_the_new_state() {
    let start = tempfile::tempdir().unwrap();
    write_book(start.path(), "book1", 0..20).unwrap();
    write_book(start.path(), "book2", 0..20).unwrap();
    let old = snapshot(start.path());
    let goal = tempfile::tempdir().unwrap();
    write_book(goal.path(), "book1", 10..45).unwrap();
    write_book(goal.path(), "book2", 0..20).unwrap();
    let new = snapshot(goal.path());
    assert_ne!(old, new);
    let (mut old_seen, mut new_seen) = (0, 0);
    for step in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        write_book(folder.path(), "book1", 0..20).unwrap();
        write_book(folder.path(), "book2", 0..20).unwrap();
        crash_after(Some(step));
        let outcome = write_book(folder.path(), "book1", 10..45);
        crash_after(None);
        // What a real kill leaves as well: spool files and the lock file.
        let staging = folder.path().join(STATE_FOLDER).join("staging");
        std::fs::create_dir_all(&staging).unwrap();
        std::fs::write(staging.join("rows.spool"), b"half").unwrap();
        drop(Dataset::open(folder.path()).unwrap());
        let recovered = all_pairs(folder.path());
        drop(FolderLock::acquire(folder.path()).unwrap());
        let mut state = snapshot(folder.path());
        state.retain(|name, _| !name.starts_with(STATE_FOLDER));
        assert!(state == old || state == new, "step {step}: neither old nor new");
        old_seen += u32::from(state == old);
        new_seen += u32::from(state == new);
        assert_eq!(recovered.len(), if state == old { 40 } else { 55 });
        // Running again gives what an undisturbed run gives.
        write_book(folder.path(), "book1", 10..45).unwrap();
        assert!(snapshot(folder.path()) == new, "step {step}: rerun differs");
        if outcome.is_ok() {
            break;
        }
    }
    assert!(old_seen >= 1 && new_seen >= 5, "{old_seen} old, {new_seen} new");
}

#[test]
fn dropped_updates_leave_no_trace() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("new");
    let mut update = SourceUpdate::pairs(&folder, "book").unwrap();
    update.push_pair(drawn_pair("book", 1)).unwrap();
    drop(update);
    assert!(!folder.exists());
    write_book(&folder, "book", 0..3).unwrap();
    let before = snapshot(&folder);
    let mut update = SourceUpdate::pairs(&folder, "book").unwrap();
    update.push_pair(drawn_pair("book", 9)).unwrap();
    drop(update);
    assert!(snapshot(&folder) == before);
}

#[test]
fn two_writers_do_not_meet() {
    let folder = tempfile::tempdir().unwrap();
    let first = SourceUpdate::pairs(folder.path(), "a").unwrap();
    let message = SourceUpdate::text(folder.path(), "b").err().unwrap().to_string();
    assert!(message.contains("another process is writing"), "{message}");
    drop(first);
    SourceUpdate::text(folder.path(), "b").unwrap();
}

#[test]
fn twins_become_duplicates_in_the_ledger() {
    let folder = tempfile::tempdir().unwrap();
    let mut update = SourceUpdate::pairs(folder.path(), "book").unwrap();
    let mut twin = drawn_pair("book", 4);
    twin.source_page = Some("page99.png".to_owned());
    for record in [twin, drawn_pair("book", 4), drawn_pair("book", 5)] {
        update.push_ledger(drawn_pair_ledger(&record)).unwrap();
        update.push_pair(record).unwrap();
    }
    let summary = update.commit().unwrap();
    assert_eq!(summary.rows, 2);
    assert_eq!(summary.ledger["panel"]["paired"], 2);
    assert_eq!(summary.ledger["panel"]["duplicate"], 1);
    let ledger = Dataset::open(folder.path()).unwrap().ledger().unwrap();
    let duplicate = ledger.iter().find(|entry| entry.state == "duplicate").unwrap();
    assert_eq!(duplicate.input, "page99.png#1-5/A");
    assert_eq!(duplicate.reason.as_deref(), Some("same content as page4.png#1-5/A"));
    assert!(
        all_pairs(folder.path())
            .iter()
            .all(|row| row.source_page.as_deref() != Some("page99.png"))
    );

    // The same row from another source: the first source keeps it.
    let mut update = SourceUpdate::pairs(folder.path(), "copy").unwrap();
    let mut record = drawn_pair("book", 5);
    record.source_id = "copy".to_owned();
    update.push_ledger(drawn_pair_ledger(&record)).unwrap();
    update.push_pair(record).unwrap();
    let summary = update.commit().unwrap();
    assert_eq!((summary.rows, summary.ledger["panel"]["duplicate"]), (0, 1));
    assert_eq!(all_pairs(folder.path()).len(), 2);
}

#[test]
fn edits_apply_to_new_and_old_rows() {
    let folder = tempfile::tempdir().unwrap();
    write_book(folder.path(), "book1", 0..10).unwrap();
    write_book(folder.path(), "book2", 0..10).unwrap();
    let edit = |id: &str, field: &str, value: &str| Edit {
        id: id.to_owned(),
        field: field.to_owned(),
        value: Some(value.to_owned()),
        editor: "ann".to_owned(),
        reason: None,
        anchor: None,
        origin: None,
        of: None,
    };
    let (new, old) = (drawn_pair("book1", 3), drawn_pair("book2", 4));
    edits::append(folder.path(), &edit(&new.id, "caption_en", "Corrected")).unwrap();
    edits::append(folder.path(), &edit(&old.id, "modality", "OTHER")).unwrap();
    edits::append(folder.path(), &edit("pair-gone", "panel", "B")).unwrap();
    let summary = write_book(folder.path(), "book1", 0..10).unwrap();
    assert_eq!(summary.edits_applied, 2);
    assert_eq!(summary.edits_unmatched.len(), 1);
    assert!(summary.edits_unmatched[0].contains("pair-gone"));
    let rows = all_pairs(folder.path());
    assert_eq!(rows.len(), 20);
    let find = |id: &str| rows.iter().find(|row| row.id == id).unwrap();
    assert_eq!(find(&new.id).caption_en.as_deref(), Some("Corrected"));
    assert_eq!(find(&old.id).modality, crate::Modality::Other);
    assert_eq!(find(&old.id).image.bytes, old.image.bytes);
    // The edited row has moved to the place of its new modality.
    assert_eq!(rows.last().unwrap().id, old.id);
    let before = snapshot(folder.path());
    write_book(folder.path(), "book1", 0..10).unwrap();
    assert!(snapshot(folder.path()) == before, "the same edits give the same bytes");
}

#[test]
fn rows_that_break_rules_are_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let mut update = SourceUpdate::pairs(folder.path(), "book").unwrap();
    type Breaks = fn(&mut PairRecord);
    let cases: [(&str, Breaks); 6] = [
        ("belongs to source", |r| r.source_id = "other".to_owned()),
        ("image path", |r| r.image.path = "../../x.png".to_owned()),
        ("image size", |r| r.width = 0),
        ("ocr_confidence", |r| r.ocr_confidence = Some(f32::NAN)),
        ("split", |r| r.split = "a/b".to_owned()),
        ("`id` is empty", |r| r.id.clear()),
    ];
    for (expected, spoil) in cases {
        let mut record = drawn_pair("book", 1);
        spoil(&mut record);
        let message = update.push_pair(record).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
    assert!(update.push_text(drawn_text("book", 1)).is_err());
}

#[test]
fn foreign_ledger_lines_survive() {
    let folder = tempfile::tempdir().unwrap();
    let foreign = "{\"source_id\":\"z\",\"input\":\"a\",\"kind\":\"image\",\"state\":\"kept\",\"extra\":1}";
    std::fs::write(folder.path().join(LEDGER_FILE), format!("not json\n{foreign}\n")).unwrap();
    write_book(folder.path(), "book", 0..2).unwrap();
    let text = std::fs::read_to_string(folder.path().join(LEDGER_FILE)).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 4);
    assert_eq!(&lines[2..], [foreign, "not json"]);
}

#[test]
fn truncated_and_foreign_parquet_are_errors_and_harm_nothing() {
    let folder = tempfile::tempdir().unwrap();
    write_book(folder.path(), "book", 0..150).unwrap();
    let path = folder.path().join("data/train-00000-of-00001.parquet");
    let good = std::fs::read(&path).unwrap();
    let read = || {
        Dataset::open(folder.path())
            .unwrap()
            .pairs(Columns::All)
            .unwrap()
            .collect::<crate::Result<Vec<_>>>()
    };
    for length in [0, 3, 4, 11, 100, good.len() / 2, good.len() - 1] {
        std::fs::write(&path, &good[..length]).unwrap();
        let message = read().unwrap_err().to_string();
        assert!(message.contains("train-00000-of-00001.parquet"), "{message}");
        let before = snapshot(folder.path());
        assert!(write_book(folder.path(), "other", 0..2).is_err());
        assert!(snapshot(folder.path()) == before, "a failed update changed the folder");
    }
    std::fs::write(&path, b"PAR1 this is just text pretending PAR1").unwrap();
    assert!(read().is_err());
    // Every byte of the footer in turn, then samples of the rest: errors or
    // other values, never a panic.
    let footer = good.len() - 2000.min(good.len());
    for at in (0..footer).step_by(401).chain((footer..good.len()).step_by(19)) {
        for flip in [0x01, 0x80, 0xFF] {
            let mut bad = good.clone();
            bad[at] ^= flip;
            std::fs::write(&path, &bad).unwrap();
            let _ = read();
        }
    }
}
