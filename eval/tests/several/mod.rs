//! Images of several classes, as the angiograms of AngioReport: `eval run`, `eval compare` and suites.

use serde_json::Value;

use super::drawn::{FeatureSet, write_images, write_several};
use super::{Files, eval, json};

/// Ninety images of one of three classes; every fifth has the next class, too, and every ninth has none.
fn labels(set: &FeatureSet) -> Vec<Vec<i64>> {
    let of = |(i, &l): (usize, &i64)| match i {
        i if i % 9 == 4 => vec![],
        i if i % 5 == 0 => vec![(l + 1) % 3, l],
        _ => vec![l],
    };
    set.labels.iter().enumerate().map(of).collect()
}

fn files() -> (Files, FeatureSet) {
    let set = FeatureSet::drawn(30);
    let files = Files::new(&set);
    write_several(&files.path("images.parquet"), &set, &labels(&set));
    (files, set)
}

fn run(files: &Files, method: &str, shots: &str) -> Value {
    let arguments = files.run(&[
        "--method",
        method,
        "--shots",
        shots,
        "--bootstrap",
        "40",
        "--predictions",
        &files.text("p.csv"),
    ]);
    eval().args(&arguments).assert().success();
    json(&files.path("report.json"))
}

#[test]
fn zero_shot_and_the_linear_probe_answer_every_class_apart() {
    let (files, set) = files();
    for (method, shots) in [("zero-shot", "0"), ("linear-probe", "80%")] {
        let report = run(&files, method, shots);
        assert_eq!((&report["several"], &report["images"]), (&true.into(), &90.into()));
        assert_eq!(report["classes"].as_array().unwrap().len(), 3);
        // every answer of the counted folds is in the counts of its class
        let folds = if method == "zero-shot" { 1 } else { 5 };
        let tested: u64 = (0..folds)
            .map(|f| report["folds"][f]["test_images"].as_u64().unwrap())
            .sum();
        for counts in report["confusion"].as_array().unwrap() {
            let counts: Vec<u64> = serde_json::from_value(counts.clone()).unwrap();
            assert_eq!((counts.len(), counts.iter().sum::<u64>()), (4, tested), "{method}");
        }
        assert!(report["mean"]["auc"].as_f64().unwrap() > 0.6, "{method}: {report}");
        assert!(report["absent_classes"].as_str().unwrap().contains("several classes"));
        let has = labels(&set).concat().len() as f64 / 270.0;
        assert!((report["chance"].as_f64().unwrap() + has - 1.0).abs() < 1e-12);
        assert!((report["chance_aupr"].as_f64().unwrap() - has).abs() < 1e-12);
        let ends = &report["ci95"]["acc"];
        let acc = report["mean"]["acc"].as_f64().unwrap();
        assert!(ends[0].as_f64().unwrap() <= acc && acc <= ends[1].as_f64().unwrap());

        let mut predictions = csv::Reader::from_path(files.path("p.csv")).unwrap();
        assert_eq!(&predictions.headers().unwrap()[3], "labels");
        let rows: Vec<csv::StringRecord> = predictions.records().map(Result::unwrap).collect();
        assert!(rows.iter().any(|r| r[3].contains("class 0 + class 1")) && rows.iter().any(|r| r[3].is_empty()));
        // each class has a probability of its own: they do not add up to one
        let sum = |r: &csv::StringRecord| (5..8).map(|i| r[i].parse::<f64>().unwrap()).sum::<f64>();
        assert!(rows.iter().any(|r| (sum(r) - 1.0).abs() > 0.1));
        let same = eval()
            .args([
                "compare",
                &files.text("p.csv"),
                &files.text("p.csv"),
                "--bootstrap",
                "20",
            ])
            .output()
            .unwrap();
        let line: Value = serde_json::from_slice(&same.stdout)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&same.stderr)));
        assert_eq!((&line["difference"]["acc"], &line["p_avg"]), (&0.0.into(), &1.0.into()));
    }
}

#[test]
fn adapters_work_on_the_images_of_one_class() {
    let (files, set) = files();
    let single: Vec<usize> = (0..90).filter(|&i| labels(&set)[i].len() == 1).collect();
    let alone = FeatureSet {
        labels: single.iter().map(|&i| set.labels[i]).collect(),
        projected: single.iter().map(|&i| set.projected[i].clone()).collect(),
        features: single.iter().map(|&i| set.features[i].clone()).collect(),
        ..FeatureSet::drawn(30)
    };
    let others = Files::new(&alone);
    for method in ["tip-adapter", "clip-adapter", "tip-adapter-f"] {
        let (found, expected) = (run(&files, method, "2"), run(&others, method, "2"));
        assert_eq!(found, expected, "{method}");
        assert_eq!(found["several"], false);
    }
}

#[test]
fn a_class_that_no_training_image_has_is_named() {
    let (files, set) = files();
    let mut own = labels(&set);
    own.iter_mut().for_each(|l| l.retain(|c| *c != 2));
    write_several(&files.path("images.parquet"), &set, &own);
    let text = files.refusal(&["--method", "linear-probe"]);
    assert!(
        text.contains("none of the") && text.contains("class 2 (class 2)"),
        "{text}"
    );
}

const SUITE: &str = r#"
name = "Several"
shots = [2]
bootstrap = 20
[[dataset]]
name = "AngioReport"
modality = "FFA"
several = "multi-label"
class = [ { name = "class 0", prompts = ["a"] }, { name = "class 1", prompts = ["b"] }, { name = "class 2", prompts = ["c"] } ]
[[model]]
name = "m"
features.AngioReport = { images = "images.parquet", texts = "texts.parquet" }
"#;

#[test]
fn a_suite_says_what_its_numbers_mean() {
    let (files, set) = files();
    let (code, text, report) = files.suite(SUITE);
    assert_eq!(code, Some(0), "{text}");
    let results = report["results"].as_array().unwrap();
    let images: Vec<(&str, u64)> = results
        .iter()
        .map(|r| (r["method"].as_str().unwrap(), r["report"]["images"].as_u64().unwrap()))
        .collect();
    let single = labels(&set).iter().filter(|l| l.len() == 1).count() as u64;
    let expected = [
        ("zero-shot", 90),
        ("clip-adapter", single),
        ("tip-adapter", single),
        ("tip-adapter-f", single),
        ("linear-probe", 90),
    ];
    assert_eq!(images, expected);
    let page = std::fs::read_to_string(files.path("out/report.html")).unwrap();
    for words in [
        "rightly not named",
        "several classes an image",
        "Images of exactly one class",
    ] {
        assert!(page.contains(words), "{words}");
    }
    assert!(
        std::fs::read_to_string(files.path("out/report.md"))
            .unwrap()
            .contains("AngioReport: images may have several classes")
    );

    // labels of the other kind, in either direction
    let (code, text, _) = files.suite(&SUITE.replace("several = \"multi-label\"\n", ""));
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("holds lists") && text.contains("multi-label"), "{text}");
    write_images(&files.path("images.parquet"), &set);
    let (code, text, _) = files.suite(SUITE);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("holds one label an image"), "{text}");
    let (_, text, _) = files.suite(&SUITE.replace("class 1", "a + b"));
    assert!(text.contains("must not hold ' + '"), "{text}");
}
