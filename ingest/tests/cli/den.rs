//! `ingest den` and FFA-IR from the command line.

use super::command::run as ingest;
use dataset::{Columns, Dataset, Modality};
use image::{Rgb, RgbImage};
use std::fs;

use super::draw::two_fields;

#[test]
fn collages_and_foreign_pictures_go_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    fs::create_dir_all(at.join("img/den")).unwrap();
    let both = two_fields();
    let field = image::imageops::crop_imm(&both, 0, 0, 500, 500).to_image();
    let angiogram = image::imageops::crop_imm(&both, 540, 0, 500, 500).to_image();
    field.save(at.join("img/den/drusen-1.png")).unwrap();
    angiogram.save(at.join("img/den/leak-2.png")).unwrap();
    both.save(at.join("img/den/both-3.png")).unwrap();
    RgbImage::from_fn(300, 300, |x, y| {
        Rgb([255, if (x / 20 + y / 20) % 2 == 0 { 255 } else { 0 }, 255])
    })
    .save(at.join("img/den/drawing-4.png"))
    .unwrap();
    fs::write(
        at.join("den.csv"),
        ",image,atributes,categories\n0,06_DEN/den/drusen-1.png,[],\"['Drusen.', '60-year-old female, drusen']\"\n\
         1,06_DEN/den/leak-2.png,[],\"['amd', 'leakage']\"\n2,06_DEN/den/both-3.png,[],['drusen']\n\
         3,06_DEN/den/drawing-4.png,[],['drusen']\n4,06_DEN/den/none-5.png,[],['drusen']\n",
    )
    .unwrap();
    let (code, summary, stderr) = ingest(
        at,
        &[
            "den",
            "--csv",
            "den.csv",
            "--images",
            "img",
            "--lists",
            "lists",
            "--out",
            "ds",
            "--least-confidence",
            "0",
        ],
    );
    assert_eq!(code, 1, "{stderr}");
    assert_eq!(summary["inputs"], 5);
    assert_eq!(summary["rejected"]["collage"], 1, "{summary}");
    assert_eq!(summary["rejected"]["missing"], 1);
    let rows: Vec<_> = Dataset::open(&at.join("ds"))
        .unwrap()
        .labels(Some("DEN"), Columns::All)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let drusen = rows.iter().find(|r| r.image.path.contains("drusen-1")).unwrap();
    assert_eq!(
        (drusen.modality, drusen.split_group.as_str()),
        (Modality::Cfp, "drusen")
    );
    assert_eq!(drusen.categories, ["drusen"]);
    assert_eq!(drusen.attributes, ["60-year-old female, drusen"]);
    let rejected: u64 = summary["rejected"]
        .as_object()
        .unwrap()
        .values()
        .map(|v| v.as_u64().unwrap())
        .sum();
    assert_eq!(rows.len() as u64 + rejected, 5);
    assert!(
        fs::read_to_string(at.join("lists/DEN-CFP.csv"))
            .unwrap()
            .contains("drusen-1.png")
    );
    let ledger = fs::read_to_string(at.join("ds/ledger.jsonl")).unwrap();
    assert!(
        ledger.contains("a collage of 2 pictures") && ledger.contains("modality_confidence"),
        "{ledger}"
    );
    assert_eq!(ledger.lines().count(), 5);
}

#[test]
fn ffa_ir_gives_labels_or_pairs() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    for (case, seed) in [("case_1", 1), ("case_2", 2)] {
        fs::create_dir_all(at.join("FFAIR").join(case)).unwrap();
        fs::write(
            at.join("FFAIR").join(case).join("0.jpg"),
            dataset::testing::drawn_png(30, 20, seed),
        )
        .unwrap();
    }
    fs::write(
        at.join("ann.json"),
        r#"{"train": {"case_1": {"Image_path": ["case_1/0.jpg", "case_1/9.jpg"], "En_Report": "Leakage in the late phase.", "Ch_Report": "晚期荧光渗漏。"}},
            "test": {"case_2": {"Image_path": ["case_2/0.jpg"], "En_Report": "", "Ch_Report": "微血管瘤"}}}"#,
    )
    .unwrap();
    let base = [
        "labels",
        "--ffa-ir",
        "ann.json",
        "--images",
        "FFAIR",
        "--dataset",
        "FFA-IR",
        "--modality",
        "FFA",
        "--out",
    ];
    let (code, summary, stderr) = ingest(at, &[&base[..], &["ds"]].concat());
    assert_eq!(
        (code, summary["rows"].as_u64(), summary["rejected"]["missing"].as_u64()),
        (1, Some(2), Some(1)),
        "{stderr}"
    );
    assert_eq!(summary["splits"]["test"], 1);
    assert_eq!(summary["categories"]["leakage"], 1);
    let (_, summary, stderr) = ingest(at, &[&base[..], &["pairs", "--as-pairs"]].concat());
    assert_eq!(summary["rows"], 2, "{stderr}");
    let pairs: Vec<_> = Dataset::open(&at.join("pairs"))
        .unwrap()
        .pairs(Columns::All)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let first = pairs.iter().find(|p| p.split == "train").unwrap();
    assert_eq!(first.caption_en.as_deref(), Some("Leakage in the late phase."));
    assert_eq!(first.caption_zh.as_deref(), Some("晚期荧光渗漏。"));
    assert_eq!(first.split_group, "case_1");
    for folder in ["ds", "pairs"] {
        let report =
            dataset::validate::validate(&at.join(folder), dataset::validate::Options { pictures: true }).unwrap();
        assert!(report.valid, "{folder}: {report:?}");
    }
}
