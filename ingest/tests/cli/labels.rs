//! `ingest labels` from the command line.

use super::command::run;
use dataset::testing::drawn_png;
use dataset::{Columns, Dataset, LabelRecord};
use std::path::Path;

fn labels(arguments: &[&str]) -> (i32, serde_json::Value, String) {
    run(Path::new("."), &[&["labels"], arguments].concat())
}

fn rows(folder: &Path) -> Vec<LabelRecord> {
    Dataset::open(folder)
        .unwrap()
        .labels(None, Columns::All)
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

fn draw(folder: &Path, name: &str, seed: u32) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, drawn_png(20, 16, seed)).unwrap();
}

#[test]
fn class_folders_are_split_by_group_and_written_the_same_twice() {
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("images");
    for seed in 0..8 {
        let class = if seed % 2 == 0 { "macular_hole" } else { "normal" };
        draw(&images, &format!("{class}/p{}_{seed}.png", seed / 4), seed);
    }
    let out = folder.path().join("set");
    let run = |out: &Path| {
        labels(&[
            "--images",
            images.to_str().unwrap(),
            "--dataset",
            "drawn",
            "--modality",
            "CFP",
            "--out",
            out.to_str().unwrap(),
            "--holdout",
            "0.5",
            "--group-regex",
            "/(p\\d+)_",
            "--licence",
            "CC0-1.0",
        ])
    };
    let (code, summary, stderr) = run(&out);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(
        (summary["rows"].as_u64(), summary["categories"]["macular hole"].as_u64()),
        (Some(8), Some(4))
    );
    let first = rows(&out);
    assert_eq!(first.len(), 8);
    let test: Vec<&str> = first
        .iter()
        .filter(|r| r.split == "test")
        .map(|r| r.split_group.as_str())
        .collect();
    assert_eq!(test.len(), 4, "one of two groups of four is held out");
    assert!(test.windows(2).all(|w| w[0] == w[1]));
    assert!(first.iter().all(|r| r.licence.as_deref() == Some("CC0-1.0")));
    let other = folder.path().join("again");
    run(&other);
    assert_eq!(rows(&other), first);
}

#[test]
fn lists_lose_missing_damaged_and_repeated_pictures_to_the_ledger() {
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("images");
    draw(&images, "a/1.png", 1);
    draw(&images, "a/2.png", 2);
    draw(&images, "a/copy.png", 1);
    std::fs::write(images.join("broken.png"), b"\x89PNG\r\n\x1a\n").unwrap();
    let csv = folder.path().join("list.csv");
    std::fs::write(
        &csv,
        ",image,atributes,categories\n0,SET/a/1.png,[],\"['normal', 'clear']\"\n1,a/2.png,['old'],['glaucoma']\n\
         2,a/copy.png,[],['amd']\n3,gone.png,[],['normal']\n4,broken.png,[],['normal']\n5,../x.png,[],['normal']\n6,a/1.png,[],['x\n",
    )
    .unwrap();
    let map = folder.path().join("map.toml");
    std::fs::write(&map, "[categories]\nglaucoma = \"open angle glaucoma\"\n").unwrap();
    let out = folder.path().join("set");
    let arguments = [
        "--csv",
        csv.to_str().unwrap(),
        "--images",
        images.to_str().unwrap(),
        "--dataset",
        "listed",
        "--modality",
        "CFP",
        "--out",
        out.to_str().unwrap(),
        "--label-map",
        map.to_str().unwrap(),
    ];
    let (code, summary, stderr) = labels(&arguments);
    assert_eq!(code, 1, "{stderr}");
    assert_eq!(summary["rows"], 2);
    assert_eq!(summary["duplicates"], 1);
    assert_eq!(summary["inputs"], 7);
    let rejected: u64 = summary["rejected"]
        .as_object()
        .unwrap()
        .values()
        .map(|v| v.as_u64().unwrap())
        .sum();
    assert_eq!(rejected, 4, "{summary}");
    let written = rows(&out);
    assert_eq!(written[0].categories, ["normal", "clear"]);
    assert_eq!(
        (written[1].categories.clone(), written[1].attributes.clone()),
        (vec!["open angle glaucoma".to_owned()], vec!["old".to_owned()])
    );
    let ledger = Dataset::open(&out).unwrap().ledger().unwrap();
    assert_eq!(ledger.len(), 7);
    assert!(
        ledger
            .iter()
            .any(|l| l.state == "duplicate" && l.reason.as_deref().unwrap().contains("amd"))
    );

    // Nothing found: the earlier rows stay.
    let empty = folder.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let mut wrong = arguments;
    wrong[3] = empty.to_str().unwrap();
    let (code, _, stderr) = labels(&wrong);
    assert_eq!(code, 2);
    assert!(stderr.contains("check --images"), "{stderr}");
    assert_eq!(rows(&out).len(), 2);
}

#[test]
fn wrong_arguments_stop_before_any_work() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("set");
    let base = [
        "--images",
        "/nonexistent",
        "--dataset",
        "x",
        "--modality",
        "CFP",
        "--out",
        out.to_str().unwrap(),
    ];
    assert_eq!(labels(&base).0, 2);
    assert_eq!(labels(&[&base[..], &["--holdout", "1.5"]].concat()).0, 2);
    assert_eq!(labels(&[&base[..], &["--group-regex", "("]].concat()).0, 2);
    let mut wrong = base;
    wrong[5] = "MRI";
    assert_eq!(labels(&wrong).0, 2);
    assert!(!out.exists());
}
