//! `ingest oct` from the command line.

use super::command::run;
use dataset::testing::drawn_png;
use dataset::{Columns, Dataset, PairRecord};
use std::path::Path;

fn oct(folder: &Path, more: &[&str]) -> (i32, serde_json::Value, String) {
    let files = [
        "oct",
        "--assessor",
        "a.csv",
        "--assessor",
        "b.csv",
        "--definitions",
        "d.toml",
        "--images",
        "img",
        "--salt",
        "salt.bin",
        "--source-id",
        "hospital",
        "--conflicts",
        "open.csv",
        "--out",
        "set",
    ];
    run(folder, &[&files, more].concat())
}

fn pairs(folder: &Path) -> Vec<PairRecord> {
    Dataset::open(&folder.join("set"))
        .unwrap()
        .pairs(Columns::All)
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

#[test]
fn conflicts_go_to_the_seniors_and_come_back_as_pairs() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    std::fs::create_dir(at.join("img")).unwrap();
    for k in 1..=4 {
        std::fs::write(at.join(format!("img/zhangsan_{k}.png")), drawn_png(24, 18, k)).unwrap();
    }
    std::fs::write(at.join("salt.bin"), b"0123456789abcdef").unwrap();
    std::fs::write(
        at.join("d.toml"),
        "[normal]\nen = \"Normal layers\"\nzh = \"各层结构正常\"\n[[finding]]\nname = \"SRF\"\nen = \"Subretinal fluid\"\nzh = \"视网膜下液\"\n",
    )
    .unwrap();
    let list = |rows: &str| format!("image,patient,findings,diagnosable\n{rows}");
    std::fs::write(at.join("a.csv"), list("zhangsan_1.png,Zhang San,SRF,\nzhangsan_2.png,Zhang San,SRF,\nzhangsan_3.png,Li Si,,no\nzhangsan_4.png,Li Si,,\n")).unwrap();
    std::fs::write(at.join("b.csv"), list("zhangsan_1.png,Zhang San,SRF,\nzhangsan_2.png,Zhang San,,\nzhangsan_3.png,Li Si,,no\nzhangsan_4.png,Li Si,normal,\n")).unwrap();
    let (code, summary, stderr) = oct(at, &[]);
    assert_eq!(code, 1, "{stderr}");
    assert_eq!(
        (
            summary["rows"].as_u64(),
            summary["open"].as_u64(),
            summary["patients"].as_u64()
        ),
        (Some(2), Some(1), Some(2))
    );
    assert_eq!(summary["agreement"][0]["only_a"], 1);
    let sheet = std::fs::read_to_string(at.join("open.csv")).unwrap();
    assert!(sheet.contains("zhangsan_2.png,SRF,yes,no,"), "{sheet}");

    std::fs::write(at.join("filled.csv"), sheet.replace("yes,no,", "yes,no,yes")).unwrap();
    let (code, summary, stderr) = oct(at, &["--adjudication", "filled.csv", "--holdout", "0.5"]);
    assert_eq!(code, 1, "one picture is not diagnosable: {stderr}");
    assert_eq!(
        (
            summary["rows"].as_u64(),
            summary["open"].as_u64(),
            summary["adjudicated"].as_u64()
        ),
        (Some(3), Some(0), Some(1))
    );
    let rows = pairs(at);
    assert!(rows.iter().any(
        |r| r.caption_en.as_deref() == Some("Subretinal fluid.") && r.caption_zh.as_deref() == Some("视网膜下液。")
    ));
    assert!(rows.iter().any(|r| r.caption_en.as_deref() == Some("Normal layers")));
    // A patient is on one side only, and appears nowhere by name.
    for row in &rows {
        assert!(
            rows.iter()
                .filter(|r| r.split_group == row.split_group)
                .all(|r| r.split == row.split)
        );
    }
    assert_eq!(summary["splits"].as_object().unwrap().len(), 2);
    let ledger = std::fs::read_to_string(at.join("set/ledger.jsonl")).unwrap();
    let told = format!("{ledger}{rows:?}").to_lowercase();
    assert!(!told.contains("zhang") && !told.contains("li si"), "{ledger}");
}

#[test]
fn wrong_files_stop_before_any_work() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    assert_eq!(oct(at, &[]).0, 2);
    std::fs::create_dir(at.join("img")).unwrap();
    std::fs::write(
        at.join("d.toml"),
        "[[finding]]\nname = \"SRF\"\nen = \"x\"\nextra = 1\n",
    )
    .unwrap();
    let (code, _, stderr) = oct(at, &[]);
    assert_eq!(code, 2);
    assert!(stderr.contains("d.toml"), "{stderr}");
    assert!(!at.join("set").exists());
}
