//! The commands of `data-cards`, on a dataset folder drawn by code.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use dataset::testing::{write_drawn_labels, write_drawn_pairs, write_drawn_text};
use serde_json::Value;

#[path = "readers/mod.rs"]
mod readers;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn cards() -> Command {
    Command::cargo_bin("data-cards").unwrap()
}

/// A folder with pairs of two books, two labelled sets and a corpus, each with its ledger.
fn drawn_dataset(folder: &Path) {
    for book in ["book-a", "book-b"] {
        write_drawn_pairs(folder, book, 7);
    }
    for set in ["eyes", "scans-2"] {
        write_drawn_labels(folder, set, 5);
    }
    write_drawn_text(folder, "corpus", 4);
}

struct Carded {
    _keep: tempfile::TempDir,
    folder: PathBuf,
}

fn carded() -> Carded {
    let keep = tempfile::tempdir().unwrap();
    let folder = keep.path().join("eyes-of-paper");
    std::fs::create_dir(&folder).unwrap();
    drawn_dataset(&folder);
    write_card(&folder);
    Carded { _keep: keep, folder }
}

fn write_card(folder: &Path) -> Value {
    let output = cards()
        .arg("dataset")
        .arg(folder)
        .env("SOURCE_DATE_EPOCH", "1700000000")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn lint(folder: &Path) -> (i32, Vec<Value>) {
    let output = cards().arg("lint").arg(folder).output().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    (
        output.status.code().unwrap(),
        lines.lines().map(|l| serde_json::from_str(l).unwrap()).collect(),
    )
}

#[test]
fn a_written_card_has_no_fault_and_the_same_bytes_again() {
    let data = carded();
    let line = write_card(&data.folder);
    assert_eq!(
        (line["rows"].as_u64(), line["size_category"].as_str()),
        (Some(28), Some("n<1K"))
    );
    let (code, faults) = lint(&data.folder);
    assert_eq!((code, faults.len()), (0, 0), "{faults:?}");
    let read = |name: &str| std::fs::read(data.folder.join(name)).unwrap();
    let before = (read("README.md"), read("croissant.json"));
    // the date stays, whatever the clock says
    cards()
        .arg("dataset")
        .arg(&data.folder)
        .env("SOURCE_DATE_EPOCH", "1800000000")
        .assert()
        .success();
    assert_eq!(before, (read("README.md"), read("croissant.json")));
    let card = String::from_utf8(before.0).unwrap();
    assert!(
        card.contains("pretty_name: eyes-of-paper")
            && card.contains("num_examples: 14")
            && card.contains("data/train-*-of-*.parquet"),
        "{card}"
    );
}

#[test]
fn notes_and_answers_of_people_are_kept() {
    let data = carded();
    let readme = data.folder.join("README.md");
    let card = std::fs::read_to_string(&readme).unwrap();
    let marker = "<!-- notes: kept when the card is written again -->";
    std::fs::write(&readme, card.replace(marker, &format!("{marker}\n\nWritten by hand."))).unwrap();
    std::fs::write(
        data.folder.join("card.toml"),
        "pretty_name = \"Eyes\"\nlicense = \"CC-BY-4.0\"\ndate_published = \"2025-03-04\"\n",
    )
    .unwrap();
    write_card(&data.folder);
    let card = std::fs::read_to_string(&readme).unwrap();
    assert!(
        card.contains("Written by hand.")
            && card.contains("pretty_name: Eyes")
            && card.contains("license: cc-by-4.0")
            && !card.contains("(`license`)")
    );
    let croissant: Value = serde_json::from_slice(&std::fs::read(data.folder.join("croissant.json")).unwrap()).unwrap();
    assert_eq!(
        (croissant["datePublished"].as_str(), croissant["license"].as_str()),
        (Some("2025-03-04"), Some("https://spdx.org/licenses/CC-BY-4.0.html"))
    );
    assert_eq!(lint(&data.folder).0, 0);
    for (text, words) in [
        ("license = \"CC-BY-9\"", "CC-BY-9"),
        ("date_published = \"soon\"", "soon"),
        ("licence = \"mit\"", "licence"),
    ] {
        std::fs::write(data.folder.join("card.toml"), text).unwrap();
        let output = cards().arg("dataset").arg(&data.folder).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains(words));
    }
}

/// A way to damage a folder, and the rule that must find it.
type Seeded = (&'static str, &'static str, fn(&Path));

fn edit(folder: &Path, file: &str, from: &str, to: &str) {
    let path = folder.join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "'{from}' is not in {file}:\n{text}");
    std::fs::write(path, text.replacen(from, to, 1)).unwrap();
}

fn edit_json(folder: &Path, change: fn(&mut Value)) {
    let path = folder.join("croissant.json");
    let mut value: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut value);
    std::fs::write(path, serde_json::to_vec_pretty(&value).unwrap()).unwrap();
}

const SHARD: &str = "data/train-00000-of-00001.parquet";

const SEEDED: [Seeded; 28] = [
    ("no card", "card-missing", |f| {
        std::fs::remove_file(f.join("README.md")).unwrap()
    }),
    ("no front matter", "front-matter", |f| edit(f, "README.md", "---\n", "")),
    ("broken yaml", "front-matter", |f| {
        edit(f, "README.md", "pretty_name: ", "pretty_name ")
    }),
    ("licence", "licence-id", |f| {
        edit(f, "README.md", "license: ", "license: my-own-")
    }),
    ("language code", "language-code", |f| {
        edit(f, "README.md", "- en\n", "- english\n")
    }),
    ("language left out", "language-missing", |f| {
        edit(f, "README.md", "- zh\n", "")
    }),
    ("language too many", "language-absent", |f| {
        edit(f, "README.md", "- zh\n", "- zh\n- fr\n")
    }),
    ("size bucket", "size-category", |f| {
        edit(f, "README.md", "n<1K", "1M<n<10M")
    }),
    ("size word", "size-category", |f| edit(f, "README.md", "n<1K", "small")),
    ("task", "task-category", |f| {
        edit(f, "README.md", "- image-to-text", "- image-to-words")
    }),
    ("multilinguality", "multilinguality", |f| {
        edit(f, "README.md", "- multilingual", "- monolingual")
    }),
    ("creators", "annotations-creators", |f| {
        edit(
            f,
            "README.md",
            "annotations_creators:\n- ",
            "annotations_creators:\n- nobody-",
        )
    }),
    ("name", "pretty-name", |f| {
        edit(f, "README.md", "pretty_name: eyes-of-paper\n", "")
    }),
    ("rows on the card", "row-count", |f| {
        edit(f, "README.md", "num_examples: 14", "num_examples: 15")
    }),
    ("bytes on the card", "byte-count", |f| {
        edit(f, "README.md", "download_size: ", "download_size: 9")
    }),
    ("feature", "features", |f| {
        edit(f, "README.md", "dtype: int32", "dtype: int64")
    }),
    ("pattern", "config-files", |f| {
        edit(f, "README.md", "data/train-*-of-*.parquet", "data/test-*-of-*.parquet")
    }),
    ("no croissant", "croissant-missing", |f| {
        std::fs::remove_file(f.join("croissant.json")).unwrap()
    }),
    ("no json", "croissant-json", |f| edit(f, "croissant.json", "{", "")),
    ("hash", "file-hash", |f| {
        edit_json(f, |v| v["distribution"][0]["sha256"] = "0".repeat(64).into())
    }),
    ("size of file", "file-size", |f| {
        edit_json(f, |v| v["distribution"][0]["contentSize"] = "1 B".into())
    }),
    ("rows in croissant", "row-count", |f| {
        edit_json(f, |v| v["distribution"][0]["description"] = "13 rows.".into())
    }),
    ("file away", "file-missing", |f| {
        edit_json(f, |v| v["distribution"][0]["contentUrl"] = "data/gone.parquet".into())
    }),
    ("path out of the folder", "file-outside", |f| {
        edit_json(f, |v| v["distribution"][0]["contentUrl"] = "../x.parquet".into())
    }),
    ("version", "croissant-version", |f| {
        edit_json(f, |v| v["conformsTo"] = "http://mlcommons.org/croissant/0.8".into())
    }),
    ("column", "column-absent", |f| {
        edit_json(f, |v| {
            v["recordSet"][0]["field"][0]["source"]["extract"]["column"] = "ident".into()
        })
    }),
    ("shard cut short", "parquet", |f| {
        let bytes = std::fs::read(f.join(SHARD)).unwrap();
        std::fs::write(f.join(SHARD), &bytes[..bytes.len() / 2]).unwrap();
    }),
    ("ledger", "ledger-count", |f| {
        let text = std::fs::read_to_string(f.join("ledger.jsonl")).unwrap();
        std::fs::write(f.join("ledger.jsonl"), text.split_once('\n').unwrap().1).unwrap();
    }),
];

#[test]
fn every_seeded_fault_is_found() {
    let data = carded();
    let mut missed = Vec::new();
    for (name, rule, damage) in SEEDED {
        let copy = tempfile::tempdir().unwrap();
        copy_folder(&data.folder, copy.path());
        damage(copy.path());
        let (code, faults) = lint(copy.path());
        if code != 1
            || !faults
                .iter()
                .any(|f| f["rule"] == rule && !f["problem"].as_str().unwrap().is_empty())
        {
            missed.push(format!("{name}: {rule} not in {faults:?}"));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

fn copy_folder(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy_folder(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

#[test]
fn folders_that_are_none_are_refused() {
    let empty = tempfile::tempdir().unwrap();
    for (command, folder) in [
        ("dataset", empty.path().join("away")),
        ("lint", empty.path().join("away")),
        ("dataset", empty.path().to_path_buf()),
        ("model", empty.path().to_path_buf()),
    ] {
        let output = cards().arg(command).arg(&folder).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{command}: {text}");
        assert!(
            text.contains(&*folder.to_string_lossy()) && !text.contains("panicked"),
            "{text}"
        );
    }
}

#[test]
fn a_model_card_shows_losses_and_results() {
    let run = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(run.path().join(name), text).unwrap();
    write(
        "run.json",
        r#"{"kind": "keepfit", "seed": 3, "mode": "paper", "deviations": []}"#,
    );
    write("config.toml", "seed = 3\n");
    write(
        "metrics.jsonl",
        "{\"step\": 1, \"loss\": 5.5}\n{\"step\": 9, \"loss\": 2.25}\n",
    );
    write(
        "report.json",
        r#"{"method": "zero-shot", "shots": 0, "runs": 5, "images": 40, "mean": {"acc": 0.75, "auc": 0.8, "aupr": 0.7}, "ci95": {"acc": [0.6, 0.9], "auc": [0.7, 0.9], "aupr": [0.5, 0.8]}, "ece": 0.1, "chance": 0.5}"#,
    );
    cards()
        .args([
            "model".as_ref(),
            run.path().as_os_str(),
            "--report".as_ref(),
            run.path().join("report.json").as_os_str(),
        ])
        .assert()
        .success();
    let card = std::fs::read_to_string(run.path().join("MODEL_CARD.md")).unwrap();
    for words in [
        "not finished",
        "| loss | 5.5 | 2.25 |",
        "75.0 (60.0 – 90.0)",
        "| seed | 3 |",
        "Open questions",
    ] {
        assert!(card.contains(words), "{words}: {card}");
    }
}
