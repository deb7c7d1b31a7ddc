//! The commands of `eval`, run as a user runs them.

#![allow(clippy::unwrap_used)]

mod drawn;
mod several;
mod suites;

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use drawn::{FeatureSet, write_adapter, write_images, write_named_images, write_texts};
use serde_json::Value;

fn eval() -> Command {
    Command::cargo_bin("eval").unwrap()
}

fn json(file: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

/// Runs a command that must fail to start and returns what it says.
fn refusal(arguments: &[&str]) -> String {
    let output = eval().args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
    assert!(output.stdout.is_empty());
    assert!(!text.contains("panicked"), "{text}");
    text
}

struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn new(set: &FeatureSet) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_images(&folder.path().join("images.parquet"), set);
        write_texts(&folder.path().join("texts.parquet"), set);
        write_adapter(&folder.path().join("init.safetensors"), set.width, set.width / 4);
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_string_lossy().into_owned()
    }

    /// Runs a suite on these files: exit code, messages, and the report (null where none was written).
    fn suite(&self, suite: &str) -> (Option<i32>, String, Value) {
        std::fs::write(self.path("suite.toml"), suite).unwrap();
        let output = eval()
            .args([
                "suite",
                "--config",
                &self.text("suite.toml"),
                "--out",
                &self.text("out"),
            ])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!text.contains("panicked"), "{text}");
        let report = self.path("out/report.json");
        let report = if report.exists() { json(&report) } else { Value::Null };
        (output.status.code(), text, report)
    }

    /// Arguments of `eval run` on these files.
    fn run(&self, rest: &[&str]) -> Vec<String> {
        let known = [
            "run",
            "--images",
            &self.text("images.parquet"),
            "--texts",
            &self.text("texts.parquet"),
            "--out",
            &self.text("report.json"),
        ];
        known.iter().chain(rest).map(|s| s.to_string()).collect()
    }

    fn refusal(&self, rest: &[&str]) -> String {
        let arguments = self.run(rest);
        let text = refusal(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(!self.path("report.json").exists());
        text
    }
}

/// Every prepared set, method and mode against the oracle, when the shared material is there.
#[test]
fn agrees_with_the_oracle() {
    let Some(shared) = dataset::testing::shared_dir() else {
        eprintln!("skipped: the shared material is not there");
        return;
    };
    let out = tempfile::tempdir().unwrap();
    let mut checked = 0;
    for set in ["dev-1", "dev-2", "dev-binary"] {
        let folder = shared.join("parity/eval").join(set);
        let expected = json(&folder.join("expected.json"));
        check_splits(&folder, &expected["splits"]);
        for want in expected["results"].as_array().unwrap() {
            let (method, mode) = (want["method"].as_str().unwrap(), want["mode"].as_str().unwrap());
            let shots = want["shots"]
                .as_str()
                .map_or_else(|| want["shots"].to_string(), str::to_string);
            let report = out.path().join("report.json");
            eval()
                .args([
                    "run",
                    "--method",
                    method,
                    "--mode",
                    mode,
                    "--shots",
                    &shots,
                    "--folds",
                    "5",
                    "--bootstrap",
                    "0",
                ])
                .args([
                    "--images".as_ref(),
                    folder.join("images.parquet").as_os_str(),
                    "--texts".as_ref(),
                    folder.join("texts.parquet").as_os_str(),
                ])
                .args([
                    "--init".as_ref(),
                    folder.join("init.safetensors").as_os_str(),
                    "--out".as_ref(),
                    report.as_os_str(),
                ])
                .assert()
                .success();
            let got = json(&report);
            let deterministic = ["zero-shot", "tip-adapter", "linear-probe"].contains(&method);
            let number = |v: &Value| v.as_f64().unwrap();
            for fold in 0..5 {
                for metric in ["acc", "auc", "aupr"] {
                    let name = format!("{set} {method} {shots} {mode} fold {fold} {metric}");
                    let ours = number(&got["folds"][fold][metric]);
                    let distance = (ours - number(&want["folds"][fold][metric])).abs();
                    assert!(
                        distance <= number(&want["tolerance"][fold][metric]),
                        "{name}: off by {distance}"
                    );
                    // the oracle's float64 run leaves no room for anything but rounding
                    let exact = (ours - number(&want["folds_float64"][fold][metric])).abs();
                    assert!(!deterministic || exact <= 1e-6, "{name}: off by {exact} from float64");
                    checked += 1;
                }
            }
            assert!(
                (number(&got["mean"]["avg"]) - number(&want["mean"]["avg"])).abs()
                    <= number(&want["mean_tolerance"]["avg"])
            );
            if method == "zero-shot" {
                for metric in ["acc", "auc", "aupr"] {
                    assert!(
                        (number(&got["mean_rounded"][metric]) - number(&want["mean_rounded"][metric])).abs() < 1e-9
                    );
                }
            }
        }
    }
    assert_eq!(checked, 3 * 14 * 15);
}

/// The rows of every fold and the sample order are the oracle's.
fn check_splits(folder: &Path, expected: &Value) {
    use eval::features::{VectorColumn, class_indices, read_images, read_texts};
    use eval::folds::{SplitPlan, Splitting, split};
    let images = read_images(&folder.join("images.parquet"), VectorColumn::Projected).unwrap();
    let texts = read_texts(&folder.join("texts.parquet")).unwrap();
    let labels = class_indices(&images, &texts, folder).unwrap().concat();
    let rows = |v: &Value| {
        v.as_array()
            .unwrap()
            .iter()
            .map(|r| r.as_u64().unwrap() as usize)
            .collect::<Vec<_>>()
    };
    for (number, want) in expected.as_array().unwrap().iter().enumerate() {
        for amount in ["1", "5", "10", "80%"] {
            let plan = SplitPlan {
                splitting: Splitting::Random,
                folds: 5,
                train: amount.parse().unwrap(),
                test_everything: false,
                allow_short_classes: false,
                sparse: false,
            };
            let mut fold = split(&labels, &texts.classes, &plan, number).unwrap();
            assert_eq!(fold.test, rows(&want["test"]));
            assert_eq!(fold.train, rows(&want[format!("train_{amount}")]));
            if amount == "5" {
                let mut order: Vec<usize> = (0..fold.train.len()).collect();
                fold.random.shuffle(&mut order);
                assert_eq!(order, rows(&want["sample_order_5"]));
            }
        }
    }
}

#[test]
fn every_method_reports_the_same_bytes_on_one_and_two_threads() {
    let files = Files::new(&FeatureSet::drawn(7));
    for (method, shots) in [
        ("zero-shot", "0"),
        ("clip-adapter", "2"),
        ("tip-adapter", "2"),
        ("tip-adapter-f", "2"),
        ("linear-probe", "80%"),
    ] {
        let run = |threads: &str| {
            let arguments = files.run(&[
                "--method",
                method,
                "--shots",
                shots,
                "--bootstrap",
                "40",
                "--predictions",
                &files.text("predictions.csv"),
            ]);
            let output = eval()
                .args(&arguments)
                .env("RAYON_NUM_THREADS", threads)
                .output()
                .unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let line: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(line["method"], method);
            (
                std::fs::read(files.path("report.json")).unwrap(),
                std::fs::read(files.path("predictions.csv")).unwrap(),
            )
        };
        let (one, two) = (run("1"), run("2"));
        assert!(one == two, "{method} differs between one and two threads");
        let report = json(&files.path("report.json"));
        assert_eq!(report["folds"].as_array().unwrap().len(), 5);
        let mean = &report["mean"];
        let average =
            (mean["acc"].as_f64().unwrap() + mean["auc"].as_f64().unwrap() + mean["aupr"].as_f64().unwrap()) / 3.0;
        assert!((mean["avg"].as_f64().unwrap() - average).abs() < 1e-12);
        let (low, high) = (
            report["ci95"]["acc"][0].as_f64().unwrap(),
            report["ci95"]["acc"][1].as_f64().unwrap(),
        );
        assert!(
            low <= mean["acc"].as_f64().unwrap() && mean["acc"].as_f64().unwrap() <= high && low < high,
            "{method}"
        );
        // rows are drawn around their class: every method must beat chance by far
        assert!(mean["acc"].as_f64().unwrap() > 0.5, "{method}: {mean}");
    }
}

#[test]
fn stratified_folds_test_every_image_once() {
    let files = Files::new(&FeatureSet::drawn(8));
    let arguments = files.run(&[
        "--method",
        "tip-adapter",
        "--shots",
        "3",
        "--splits",
        "stratified",
        "--predictions",
        &files.text("p.csv"),
    ]);
    eval().args(&arguments).assert().success();
    let mut rows: Vec<usize> = csv::Reader::from_path(files.path("p.csv"))
        .unwrap()
        .records()
        .map(|r| r.unwrap()[1].parse().unwrap())
        .collect();
    rows.sort_unstable();
    assert_eq!(rows, (0..rows.len()).collect::<Vec<_>>());
    assert_eq!(rows.len(), 90);
}

#[test]
fn hostile_feature_files_are_named_with_row_and_reason() {
    type Break = fn(&mut FeatureSet);
    let cases: [(&str, Break, &[&str]); 9] = [
        (
            "NaN",
            |s| s.projected[17][3] = f32::NAN,
            &["row 17", "img_17.png", "projected[3]", "NaN"],
        ),
        ("infinite", |s| s.projected[2][0] = f32::INFINITY, &["row 2", "inf"]),
        (
            "short row",
            |s| s.projected[5].truncate(3),
            &["row 5", "3 numbers", "16"],
        ),
        (
            "zero vector",
            |s| s.projected[9] = vec![0.0; 16],
            &["row 9", "zero vector"],
        ),
        (
            "label without text",
            |s| s.labels[4] = 42,
            &["row 4", "label 42", "[0, 1, 2]"],
        ),
        ("negative label", |s| s.labels[4] = -1, &["row 4", "-1"]),
        (
            "text width",
            |s| s.texts.iter_mut().for_each(|t| t.truncate(8)),
            &["16 numbers", "8"],
        ),
        (
            "text NaN",
            |s| s.texts[1][0] = f32::NAN,
            &["texts.parquet", "row 1", "NaN"],
        ),
        (
            "two texts",
            |s| s.text_labels[2] = 1,
            &["texts.parquet", "label 1", "rows 1", "2"],
        ),
    ];
    for (name, damage, words) in cases {
        let mut set = FeatureSet::drawn(3);
        damage(&mut set);
        let text = Files::new(&set).refusal(&["--method", "tip-adapter", "--shots", "2"]);
        for word in words {
            assert!(text.contains(word), "{name}: '{word}' is not in: {text}");
        }
    }
}

#[test]
fn impossible_requests_are_refused() {
    let files = Files::new(&FeatureSet::drawn(4));
    assert!(
        files
            .refusal(&["--method", "tip-adapter", "--shots", "28"])
            .contains("class 0 (class 0) has 30 images")
    );
    assert!(files.refusal(&["--method", "tip-adapter"]).contains("--shots"));
    assert!(
        files
            .refusal(&["--method", "zero-shot", "--shots", "5"])
            .contains("must be 0")
    );
    assert!(
        files
            .refusal(&["--method", "tip-adapter", "--shots", "0"])
            .contains("needs training images")
    );
    assert!(
        files
            .refusal(&["--method", "zero-shot", "--folds", "0"])
            .contains("0 folds")
    );
    assert!(
        files
            .refusal(&["--method", "zero-shot", "--logit-scale", "1000"])
            .contains("--logit-scale")
    );
    assert!(
        files
            .refusal(&["--method", "tip-adapter", "--shots", "a few"])
            .contains("a few")
    );
    write_adapter(&files.path("narrow.safetensors"), 8, 2);
    assert!(
        files
            .refusal(&[
                "--method",
                "clip-adapter",
                "--shots",
                "2",
                "--init",
                &files.text("narrow.safetensors")
            ])
            .contains("[2, 8]")
    );
    // a file that is no Parquet, an absent one, a missing column
    std::fs::write(files.path("noise.parquet"), b"PAR1 but no more").unwrap();
    let with = |images: &str, method: &str| {
        refusal(&[
            "run",
            "--images",
            images,
            "--texts",
            &files.text("texts.parquet"),
            "--method",
            method,
            "--out",
            &files.text("r.json"),
        ])
    };
    assert!(with(&files.text("noise.parquet"), "zero-shot").contains("not a readable Parquet"));
    assert!(with(&files.text("absent.parquet"), "zero-shot").contains("absent.parquet"));
    assert!(with(&files.text("texts.parquet"), "linear-probe").contains("no column 'path'"));
    // an image with two labels (with one label it counts twice), a table without rows
    let mut names: Vec<String> = (0..90).map(|i| format!("img_{i}.png")).collect();
    names[8] = names[3].clone();
    write_named_images(&files.path("twice.parquet"), &FeatureSet::drawn(4), &names);
    assert!(
        with(&files.text("twice.parquet"), "zero-shot")
            .contains("rows 3 and 8 both carry path 'img_3.png', with labels [0] and [2]")
    );
    let empty = FeatureSet {
        labels: vec![],
        projected: vec![],
        features: vec![],
        ..FeatureSet::drawn(4)
    };
    write_images(&files.path("empty.parquet"), &empty);
    assert!(with(&files.text("empty.parquet"), "zero-shot").contains("holds no rows"));
}

#[test]
fn leakage_counts_names_and_hints() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, lines: &[&str]| {
        let path = folder.path().join(name);
        std::fs::write(&path, format!(",image,categories\n{}", lines.join("\n"))).unwrap();
        path.to_string_lossy().into_owned()
    };
    let train = write("train.csv", &["0,a/10_left.jpg,x", "1,a/11_left.jpg,x"]);
    let test = write(
        "test.csv",
        &["0,b/10_left.jpg,x", "1,b/10_right.jpg,x", "2,b/12_left.jpg,y"],
    );
    let output = eval()
        .args(["leakage", "--train", &train, "--test", &test])
        .output()
        .unwrap();
    let line: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (line["leaked"].as_u64(), line["by_evidence"]["other-eye"].as_u64()),
        (Some(1), Some(1))
    );
    std::fs::write(folder.path().join("odd.csv"), "a,b\n1,2\n").unwrap();
    assert!(
        refusal(&[
            "leakage",
            "--train",
            &train,
            "--test",
            &folder.path().join("odd.csv").to_string_lossy()
        ])
        .contains("no column image")
    );
}

#[test]
fn two_models_are_compared_on_the_same_images() {
    let good = Files::new(&FeatureSet::drawn(5));
    let mut weak = FeatureSet::drawn(5);
    // every fourth image carries the vector of an image of another class
    (0..90)
        .step_by(4)
        .for_each(|i| weak.projected[i] = weak.projected[(i + 1) % 90].clone());
    let bad = Files::new(&weak);
    for files in [&good, &bad] {
        eval()
            .args(files.run(&["--method", "zero-shot", "--predictions", &files.text("p.csv")]))
            .assert()
            .success();
    }
    let output = eval()
        .args(["compare", &bad.text("p.csv"), &good.text("p.csv"), "--bootstrap", "500"])
        .output()
        .unwrap();
    let line: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    assert!(
        line["difference"]["acc"].as_f64().unwrap() > 0.0 && line["p_avg"].as_f64().unwrap() < 0.05,
        "{line}"
    );
    let other = Files::new(&FeatureSet::drawn(6));
    eval()
        .args(other.run(&[
            "--method",
            "tip-adapter",
            "--shots",
            "1",
            "--predictions",
            &other.text("p.csv"),
        ]))
        .assert()
        .success();
    assert!(refusal(&["compare", &good.text("p.csv"), &other.text("p.csv")]).contains("same images"));
}

#[test]
fn a_suite_of_feature_files_writes_all_reports_and_names_what_failed() {
    let files = Files::new(&FeatureSet::drawn(9));
    let suite = r#"
name = "Drawn suite"
shots = [1, 2]
bootstrap = 50
[[dataset]]
name = "drawn"
modality = "CFP"
class = [ { name = "class 0", prompts = ["a"] }, { name = "class 1", prompts = ["b"] }, { name = "class 2", prompts = ["c"] } ]
[[dataset]]
name = "absent"
modality = "OCT"
tree = "nowhere"
download = "get it from example.org and unpack it here"
class = [ { name = "x", prompts = ["a"] }, { name = "y", prompts = ["b"] } ]
[[model]]
name = "other <model>"
features.drawn = { images = "images.parquet", texts = "texts.parquet" }
"#;
    std::fs::write(files.path("suite.toml"), suite).unwrap();
    let out = files.text("out");
    let run = || {
        eval()
            .args(["suite", "--config", &files.text("suite.toml"), "--out", &out])
            .output()
            .unwrap()
    };
    let output = run();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("example.org") && errors.contains("nowhere"), "{errors}");
    let report = json(&files.path("out/report.json"));
    assert_eq!(report["results"].as_array().unwrap().len(), 1 + 3 * 2 + 1);
    assert!(
        report["results"]
            .as_array()
            .unwrap()
            .iter()
            .all(|r| r["report"]["mean"]["acc"].is_number())
    );
    let html = std::fs::read_to_string(files.path("out/report.html")).unwrap();
    assert!(
        html.contains("other &lt;model&gt;")
            && html.contains("Few-shot classification, CFP: drawn")
            && html.contains("<svg")
            && !html.contains("http://localhost")
    );
    let markdown = std::fs::read_to_string(files.path("out/report.md")).unwrap();
    assert!(markdown.contains("| other <model> |") && markdown.contains("example.org"));
    let table = csv::Reader::from_path(files.path("out/report.csv"))
        .unwrap()
        .into_records()
        .count();
    assert_eq!(table, 8);
    run();
    assert_eq!(html, std::fs::read_to_string(files.path("out/report.html")).unwrap());
}
