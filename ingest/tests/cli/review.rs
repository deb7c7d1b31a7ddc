//! `ingest review` from the command line.

use super::command::run;
use super::draw::{page_with_figure, two_fields};
use dataset::testing::{drawn_pair, drawn_pair_ledger};
use dataset::{Columns, Dataset, PairRecord, ReviewStatus, SourceUpdate};
use ingest::sheet::Sheet;
use std::fs;
use std::path::Path;

/// Six pairs, of which three wait for a person.
fn drawn_dataset(folder: &Path) {
    let mut update = SourceUpdate::pairs(folder, "atlas").unwrap();
    for number in 1..=6 {
        let mut row = drawn_pair("atlas", number);
        if number % 2 == 0 {
            row.review_status = ReviewStatus::NeedsReview;
            row.review_reasons = vec![format!("doubt {number}")];
        }
        let line = drawn_pair_ledger(&row);
        update.push_ledger(line).unwrap();
        update.push_pair(row).unwrap();
    }
    update.commit().unwrap();
}

fn pairs(folder: &Path) -> Vec<PairRecord> {
    let rows = Dataset::open(folder).unwrap().pairs(Columns::All).unwrap();
    rows.map(Result::unwrap).collect()
}

/// The sheet with some cells of the row of `id` filled.
fn fill(text: &str, id: &str, cells: &[(&str, &str)]) -> String {
    let mut reader = csv::ReaderBuilder::new().from_reader(text.trim_start_matches('\u{feff}').as_bytes());
    let header = reader.headers().unwrap().clone();
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(&header).unwrap();
    for record in reader.records() {
        let record = record.unwrap();
        let mut row: Vec<String> = record.iter().map(str::to_owned).collect();
        if row[1] == id {
            for (column, value) in cells {
                row[header.iter().position(|h| h == *column).unwrap()] = (*value).to_owned();
            }
        }
        writer.write_record(&row).unwrap();
    }
    String::from_utf8(writer.into_inner().unwrap()).unwrap()
}

#[test]
fn a_sheet_goes_out_and_comes_back_as_corrections() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    drawn_dataset(&at.join("ds"));
    let (code, summary, stderr) = run(at, &["review", "export", "ds", "--out", "review"]);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(
        (summary["pairs"].as_u64(), summary["pages"][0].as_str()),
        (Some(3), Some("review.html"))
    );
    let html = fs::read_to_string(at.join("review/review.html")).unwrap();
    assert!(html.contains("doubt 4") && html.matches("data:image/jpeg;base64,").count() == 3);
    let text = fs::read_to_string(at.join("review/review.csv")).unwrap();
    let sheet = Sheet::parse(text.as_bytes(), &["id"]).unwrap();
    let id = |k: usize| sheet.cell(&sheet.rows[k], "id").unwrap().to_owned();
    let before = pairs(&at.join("ds"));

    // An untouched sheet, and one that cannot be read, change nothing.
    let untouched = fs::read(at.join("ds/ledger.jsonl")).unwrap();
    let (code, summary, _) = run(at, &["review", "apply", "ds", "review/review.csv"]);
    assert_eq!((code, summary["decisions"]["undecided"].as_u64()), (0, Some(3)));
    fs::write(at.join("broken.csv"), format!("{text}x,\"never closed")).unwrap();
    let (code, _, stderr) = run(at, &["review", "apply", "ds", "broken.csv"]);
    assert!(
        code == 2 && stderr.contains("broken.csv") && stderr.contains("never closed"),
        "{stderr}"
    );
    assert!(!at.join("ds/edits.jsonl").exists());
    assert_eq!(before, pairs(&at.join("ds")));
    assert_eq!(untouched, fs::read(at.join("ds/ledger.jsonl")).unwrap());

    let filled = fill(&text, &id(0), &[("decision", "approve"), ("modality_new", "oct")]);
    let filled = fill(
        &filled,
        &id(1),
        &[("caption_zh_new", "'=黄斑裂孔"), ("figure_new", "3-4")],
    );
    let filled = fill(&filled, &id(2), &[("decision", "reject"), ("remark", "a drawing")]);
    fs::write(at.join("filled.csv"), &filled).unwrap();
    let (code, summary, _) = run(at, &["review", "apply", "ds", "filled.csv", "--dry-run"]);
    assert_eq!((code, summary["edits"].as_u64()), (0, Some(5)));
    assert!(!at.join("ds/edits.jsonl").exists());
    let (code, summary, stderr) = run(at, &["review", "apply", "ds", "filled.csv", "--editor", "ann"]);
    assert_eq!((code, summary["pairs"].as_u64()), (0, Some(5)), "{stderr}");
    let after = pairs(&at.join("ds"));
    let row = |id: &str| after.iter().find(|r| r.id == id);
    let approved = row(&id(0)).unwrap();
    assert_eq!(approved.modality, dataset::Modality::Oct);
    assert_eq!(approved.review_status, ReviewStatus::Approved);
    let corrected = row(&id(1)).unwrap();
    assert_eq!(corrected.caption_zh.as_deref(), Some("=黄斑裂孔"));
    assert_eq!(corrected.caption_zh_origin.as_deref(), Some("person"));
    assert_eq!(corrected.figure_no.as_deref(), Some("3-4"));
    assert_eq!(corrected.review_status, ReviewStatus::Corrected);
    assert!(row(&id(2)).is_none());
    let ledger = fs::read_to_string(at.join("ds/ledger.jsonl")).unwrap();
    assert!(ledger.contains("rejected by ann: a drawing"), "{ledger}");
    let report = dataset::validate::validate(&at.join("ds"), dataset::validate::Options { pictures: true }).unwrap();
    assert!(report.valid, "{report:?}");

    // Once more: nothing is left to do, and no byte changes.
    let log = fs::read(at.join("ds/edits.jsonl")).unwrap();
    let table = fs::read(at.join("ds/data/train-00000-of-00001.parquet")).unwrap();
    let (code, summary, _) = run(at, &["review", "apply", "ds", "filled.csv", "--editor", "ann"]);
    assert_eq!((code, summary["decisions"]["already done"].as_u64()), (0, Some(3)));
    assert_eq!(log, fs::read(at.join("ds/edits.jsonl")).unwrap());
    assert_eq!(
        table,
        fs::read(at.join("ds/data/train-00000-of-00001.parquet")).unwrap()
    );

    // Replaying the log on the pairs as they were ingested gives the same bytes.
    fs::create_dir(at.join("replay")).unwrap();
    fs::copy(at.join("ds/edits.jsonl"), at.join("replay/edits.jsonl")).unwrap();
    drawn_dataset(&at.join("replay"));
    for file in [
        "data/train-00000-of-00001.parquet",
        "ledger.jsonl",
        "pairs-metadata.parquet",
    ] {
        assert!(
            fs::read(at.join("ds").join(file)).unwrap() == fs::read(at.join("replay").join(file)).unwrap(),
            "{file} differs"
        );
    }

    // Taken back, the rejected pair returns with the next ingest.
    let back = fill(&filled, &id(2), &[("decision", "approve"), ("remark", "")]);
    fs::write(at.join("back.csv"), back).unwrap();
    assert_eq!(run(at, &["review", "apply", "ds", "back.csv", "--editor", "ann"]).0, 0);
    drawn_dataset(&at.join("ds"));
    let back = pairs(&at.join("ds"));
    assert_eq!(back.len(), 6);
    let returned = back.iter().find(|r| r.id == id(2)).unwrap();
    assert_eq!(returned.review_status, ReviewStatus::Approved);
}

#[test]
fn every_bad_cell_is_told_and_the_good_rows_are_taken() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    drawn_dataset(&at.join("ds"));
    assert_eq!(
        run(at, &["review", "export", "ds", "--status", "all", "--out", "review"]).0,
        0
    );
    let text = fs::read_to_string(at.join("review/review.csv")).unwrap();
    let sheet = Sheet::parse(text.as_bytes(), &["id"]).unwrap();
    let id = |k: usize| sheet.cell(&sheet.rows[k], "id").unwrap().to_owned();
    let filled = fill(&text, &id(0), &[("decision", "maybe")]);
    let filled = fill(&filled, &id(1), &[("modality_new", "MRI")]);
    let filled = fill(&filled, &id(2), &[("caption_en", "typed over")]);
    let filled = fill(&filled, &id(3), &[("caption_zh_new", "??????")]);
    let filled = fill(&filled, &id(4), &[("decision", "correct")]);
    let filled = fill(&filled, &id(5), &[("decision", "ok")])
        + "9,pair-unknown,,,,,,,,,,,,reject,,,,,,,,00000000-00000000-00000000-00000000-00000000\n";
    fs::write(at.join("filled.csv"), filled).unwrap();
    let (code, summary, stderr) = run(at, &["review", "apply", "ds", "filled.csv"]);
    assert_eq!(code, 1);
    assert_eq!(summary["decisions"]["approve"], 1, "{summary}");
    for told in [
        "filled.csv: line 2, column `decision`, value `maybe`",
        "filled.csv: line 3, column `modality_new`, value `MRI`: use CFP",
        "filled.csv: line 4, column `caption_en`, value `typed over`: was changed in place",
        "column `caption_zh_new`, value `??????`: the spreadsheet lost characters",
        "line 6, column `decision`, value `correct`",
        "value `pair-unknown`",
    ] {
        assert!(stderr.contains(told), "{told}\n{stderr}");
    }
    let approved = pairs(&at.join("ds"));
    let approved: Vec<_> = approved
        .iter()
        .filter(|r| r.review_status == ReviewStatus::Approved)
        .collect();
    assert_eq!(approved.len(), 1);

    // Somebody else's later correction is not written over.
    let one = id(1);
    let other = fill(&text, &one, &[("caption_en_new", "by bob")]);
    fs::write(at.join("bob.csv"), other).unwrap();
    assert_eq!(run(at, &["review", "apply", "ds", "bob.csv", "--editor", "bob"]).0, 0);
    fs::write(at.join("ann.csv"), fill(&text, &one, &[("caption_en_new", "by ann")])).unwrap();
    let (code, _, stderr) = run(at, &["review", "apply", "ds", "ann.csv", "--editor", "ann"]);
    assert!(code == 1 && stderr.contains("somebody else"), "{stderr}");
}

/// A second `ingest book` keeps every correction.
#[test]
fn a_new_book_run_keeps_the_corrections() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    fs::create_dir(at.join("pages")).unwrap();
    page_with_figure(&two_fields()).save(at.join("pages/p1.png")).unwrap();
    let book = ["book", "--source-id", "atlas", "--input", "pages", "--out", "ds"];
    assert_eq!(run(at, &book).0, 0);
    let export = [
        "review", "export", "ds", "--status", "all", "--pages", "pages", "--out", "review",
    ];
    let (code, summary, stderr) = run(at, &export);
    assert_eq!((code, summary["pages_missing"].as_u64()), (0, Some(0)), "{stderr}");
    let html = fs::read_to_string(at.join("review/review.html")).unwrap();
    assert_eq!(
        (html.matches("<image ").count(), html.matches("<rect ").count()),
        (1, 2)
    );
    let text = fs::read_to_string(at.join("review/review.csv")).unwrap();
    let sheet = Sheet::parse(text.as_bytes(), &["id"]).unwrap();
    let id = |k: usize| sheet.cell(&sheet.rows[k], "id").unwrap().to_owned();
    let filled = fill(
        &text,
        &id(0),
        &[("caption_en_new", "Drusen, by hand"), ("decision", "approve")],
    );
    fs::write(at.join("filled.csv"), fill(&filled, &id(1), &[("decision", "reject")])).unwrap();
    assert_eq!(run(at, &["review", "apply", "ds", "filled.csv"]).0, 0);
    let applied = pairs(&at.join("ds"));
    assert_eq!(applied.len(), 1);
    assert_eq!(applied[0].caption_en.as_deref(), Some("Drusen, by hand"));
    let (code, summary, stderr) = run(at, &book);
    assert_eq!((code, summary["pairs"].as_u64()), (0, Some(1)), "{stderr}");
    assert_eq!(summary["balanced"], true, "{summary}");
    assert_eq!(pairs(&at.join("ds")), applied);
}
