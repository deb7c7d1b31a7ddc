//! Suites as a user runs them: ready ones, leaked rows, the ablation table, and what can be wrong with a suite.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use eval::suite::config::Suite;

use super::drawn::{FeatureSet, write_images, write_texts};
use super::{Files, eval, json};

fn ready_suites() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("suites");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files
}

/// Every set of Section V is described, with the classes of its published labels.
#[test]
fn ready_suites_cover_the_papers_sets() {
    let mut classes: BTreeMap<String, usize> = BTreeMap::new();
    for file in ready_suites() {
        let suite = Suite::read(&file).unwrap();
        for set in suite.datasets {
            assert!(
                set.download.is_some(),
                "{}: {} tells no place",
                file.display(),
                set.name
            );
            classes.insert(set.name, set.classes.len());
        }
    }
    let expected = [
        ("APTOS", 5),
        ("AngioReport", 23),
        ("FIVES", 4),
        ("MPOS", 5),
        ("OCTDL", 7),
        ("OCTID", 5),
        ("ODIR200x3", 3),
        ("REFUGE", 2),
        ("Retina", 4),
        ("iChallenge-AMD", 2),
        ("real-cfp", 4),
        ("real-ffa", 6),
        ("real-oct", 7),
    ];
    let found: Vec<(&str, usize)> = classes.iter().map(|(n, c)| (n.as_str(), *c)).collect();
    assert_eq!(found, expected);
}

#[test]
fn an_absent_set_says_what_to_get_and_where_to_put_it() {
    let out = tempfile::tempdir().unwrap();
    for file in ready_suites().iter().filter(|f| f.to_string_lossy().contains("paper-")) {
        let output = eval()
            .args([
                "suite".as_ref(),
                "--config".as_ref(),
                file.as_os_str(),
                "--out".as_ref(),
                out.path().as_os_str(),
            ])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}");
        for set in Suite::read(file).unwrap().datasets {
            let (folder, download) = (set.tree.unwrap(), set.download.unwrap());
            assert!(text.contains(&download), "{}: {text}", set.name);
            assert!(text.contains(&folder.display().to_string()), "{}: {text}", set.name);
        }
    }
}

const DRAWN: &str = r#"
name = "Drawn"
methods = ["zero-shot", "tip-adapter", "linear-probe"]
shots = [2]
bootstrap = 50
training = ["training.csv"]
[[dataset]]
name = "drawn"
modality = "CFP"
class = [ { name = "class 0", prompts = ["a"] }, { name = "class 1", prompts = ["b"] }, { name = "class 2", prompts = ["c"] } ]
[[model]]
name = "m"
features.drawn = { images = "images.parquet", texts = "texts.parquet" }
"#;

#[test]
fn leaked_rows_are_counted_and_left_out_of_a_second_result() {
    let set = FeatureSet::drawn(11);
    let files = Files::new(&set);
    // every seventh image was trained on, under other folders; one image of the list is the other eye of nobody
    let leaked: Vec<usize> = (0..90).step_by(7).collect();
    let lines: Vec<String> = leaked.iter().map(|i| format!("elsewhere/IMG_{i}.png")).collect();
    std::fs::write(
        files.path("training.csv"),
        format!("image\n{}\nnot_in_test.png\n", lines.join("\n")),
    )
    .unwrap();
    let (code, text, report) = files.suite(DRAWN);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(
        (
            report["leaks"][0]["leaked"].as_u64(),
            report["leaks"][0]["train_images"].as_u64()
        ),
        (Some(13), Some(14))
    );
    assert_eq!(report["results"].as_array().unwrap().len(), 6);

    // zero-shot learns nothing from rows, so it must equal a run on a file without the leaked ones
    let keep = |i: &usize| !leaked.contains(i);
    let rows: Vec<usize> = (0..90).filter(keep).collect();
    let clean = FeatureSet {
        labels: rows.iter().map(|&i| set.labels[i]).collect(),
        projected: rows.iter().map(|&i| set.projected[i].clone()).collect(),
        features: rows.iter().map(|&i| set.features[i].clone()).collect(),
        ..FeatureSet::drawn(11)
    };
    let others = Files::new(&clean);
    eval()
        .args(others.run(&["--method", "zero-shot", "--bootstrap", "50"]))
        .assert()
        .success();
    let alone = json(&others.path("report.json"));
    let of = |without: bool| {
        report["results"]
            .as_array()
            .unwrap()
            .iter()
            .find(|r| r["method"] == "zero-shot" && r["without_leaked"].is_u64() == without)
            .unwrap()
            .clone()
    };
    let found = of(true);
    assert_eq!(found["without_leaked"], 13);
    for metric in ["acc", "auc", "aupr"] {
        assert_eq!(found["report"]["mean"][metric], alone["mean"][metric], "{metric}");
    }
    for part in ["confusion", "ci95", "images", "classes"] {
        assert_eq!(found["report"][part], alone[part], "{part}");
    }
    assert_ne!(of(false)["report"]["mean"], found["report"]["mean"]);

    let markdown = std::fs::read_to_string(files.path("out/report.md")).unwrap();
    assert!(
        markdown.contains("| m, without leaked rows |") && markdown.contains("13 same name"),
        "{markdown}"
    );
    let page = std::fs::read_to_string(files.path("out/report.html")).unwrap();
    assert!(page.contains("id=\"leakage\""));
    let findings = json(&files.path("out/leakage/drawn/m.json"));
    assert_eq!(findings["findings"][1]["train"], "elsewhere/IMG_7.png");
    // an audit that was made is not made again, and says the same
    let before = std::fs::read(files.path("out/report.json")).unwrap();
    files.suite(DRAWN);
    assert!(before == std::fs::read(files.path("out/report.json")).unwrap());
}

/// The 112 photographs of ODIR200x3 that the public pretraining list of ODIR holds.
#[test]
fn the_public_lists_leak_as_they_do() {
    let Some(shared) = dataset::testing::shared_dir() else {
        eprintln!("skipped: the shared material is not there");
        return;
    };
    let list = shared.join("data/labels/08_ODIR200x3.csv");
    let rows: Vec<csv::StringRecord> = csv::Reader::from_path(&list)
        .unwrap()
        .records()
        .map(Result::unwrap)
        .collect();
    let names: Vec<String> = rows.iter().map(|r| r[1].to_string()).collect();
    // 19 photographs stand in the list twice; each row counts
    assert_eq!(names.iter().collect::<std::collections::BTreeSet<_>>().len(), 581);
    let categories: Vec<&str> = rows.iter().map(|r| &r[3]).collect();
    let mut classes = categories.clone();
    classes.sort_unstable();
    classes.dedup();
    let labels: Vec<usize> = categories.iter().map(|c| classes.binary_search(c).unwrap()).collect();
    let drawn = FeatureSet::drawn(12);
    // row 3 i + c of the drawn set belongs to class c
    let of_class = |i: usize| 3 * (i % 30) + labels[i];
    let many = |vectors: &[Vec<f32>]| {
        (0..names.len())
            .map(|i| vectors[of_class(i)].clone())
            .collect::<Vec<_>>()
    };
    let set = FeatureSet {
        labels: labels.iter().map(|&c| c as i64).collect(),
        projected: many(&drawn.projected),
        features: many(&drawn.features),
        ..drawn
    };
    let files = Files::new(&set);
    super::drawn::write_named_images(&files.path("images.parquet"), &set, &names);
    let training = shared.join("data/labels/08_ODIR.csv");
    let suite = DRAWN.replace("training.csv", &training.to_string_lossy());
    let (code, text, report) = files.suite(&suite);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(report["leaks"][0]["leaked"], 112);
    let clean = report["results"]
        .as_array()
        .unwrap()
        .iter()
        .find(|r| r["without_leaked"].is_u64())
        .unwrap();
    assert_eq!(clean["report"]["images"], 600 - 112);
}

#[test]
fn ablation_rows_become_table_seven() {
    let files = Files::new(&FeatureSet::drawn(13));
    let mut suite = DRAWN.replace("training = [\"training.csv\"]\n", "");
    let start = suite.find("[[model]]").unwrap();
    suite.truncate(start);
    let mut expected = Vec::new();
    for seed in 0..4u64 {
        let set = FeatureSet::drawn(20 + seed);
        write_images(&files.path(&format!("images-{seed}.parquet")), &set);
        write_texts(&files.path(&format!("texts-{seed}.parquet")), &set);
        suite.push_str(&format!(
            "[[model]]\nname = \"m{seed}\"\nablation = {{ semantic = {on}, textual = false, appearance = false }}\n\
             features.drawn = {{ images = \"images-{seed}.parquet\", texts = \"texts-{seed}.parquet\" }}\n",
            on = seed >= 2
        ));
    }
    let (code, text, report) = files.suite(&suite);
    assert_eq!(code, Some(0), "{text}");
    for result in report["results"].as_array().unwrap() {
        if result["method"] == "zero-shot" {
            expected.push(result["report"]["mean"]["avg"].as_f64().unwrap());
        }
    }
    let mean = 100.0 * (expected[0] + expected[1]) / 2.0;
    let deviation = 100.0 * (expected[0] - expected[1]).abs() / 2f64.sqrt();
    let markdown = std::fs::read_to_string(files.path("out/report.md")).unwrap();
    let table = markdown.split("### Ablation (paper: Table VII)").nth(1).unwrap();
    assert!(
        table.contains(&format!(
            "semantic KI ✗, textual pretraining ✗, appearance KI ✗ (2 seeds) | {mean:.1} ± {deviation:.1} |"
        )),
        "{mean} {deviation} {table}"
    );
}

#[test]
fn faults_of_a_suite_are_named() {
    type Break = fn(&Files);
    let nothing: Break = |_| {};
    let nan: Break = |files| {
        let mut set = FeatureSet::drawn(14);
        set.projected[3][2] = f32::NAN;
        set.features[3][2] = f32::NAN;
        write_images(&files.path("images.parquet"), &set);
    };
    let narrow: Break = |files| {
        let mut set = FeatureSet::drawn(14);
        set.texts.iter_mut().for_each(|t| t.truncate(7));
        write_texts(&files.path("texts.parquet"), &set);
    };
    let one_class: Break = |files| {
        let mut set = FeatureSet::drawn(14);
        set.labels.iter_mut().for_each(|l| *l = 1);
        write_images(&files.path("images.parquet"), &set);
    };
    let empty_tree: Break = |files| std::fs::create_dir_all(files.path("tree/class 0")).unwrap();
    let tree = |s: &str| {
        s.replace("modality = \"CFP\"", "modality = \"CFP\"\ntree = \"tree\"")
            .replace(
                "features.drawn = { images = \"images.parquet\", texts = \"texts.parquet\" }",
                "run = \"nowhere\"",
            )
    };
    let cases: Vec<(&str, Break, String, &[&str])> = vec![
        (
            "unknown key",
            nothing,
            format!("folds_ = 3\n{DRAWN}"),
            &["suite.toml", "folds_"],
        ),
        (
            "twice the same set",
            nothing,
            {
                let set = &DRAWN[DRAWN.find("[[dataset]]").unwrap()..DRAWN.find("[[model]]").unwrap()];
                format!("{DRAWN}{set}")
            },
            &["dataset 'drawn' appears twice"],
        ),
        (
            "twice the same class",
            nothing,
            DRAWN.replace("class 1", "Class_0"),
            &["class 'Class_0' appears twice"],
        ),
        (
            "two sources",
            nothing,
            DRAWN.replace("features.drawn", "run = \"x\"\nfeatures.drawn"),
            &["model 'm'", "one of them"],
        ),
        (
            "no such file",
            nothing,
            DRAWN.replace("images.parquet", "gone.parquet"),
            &["gone.parquet"],
        ),
        (
            "no such training list",
            nothing,
            DRAWN.replace("training.csv", "gone.csv"),
            &["leakage audit of m on drawn", "gone.csv"],
        ),
        ("NaN", nan, DRAWN.into(), &["row 3", "img_3.png", "NaN"]),
        ("wrong dimensions", narrow, DRAWN.into(), &["16 numbers", "7"]),
        (
            "classes differ",
            nothing,
            DRAWN.replace("class 2", "class 9"),
            &["texts.parquet", "class 9"],
        ),
        ("one class alone", one_class, DRAWN.into(), &["single class"]),
        ("missing folder", nothing, tree(DRAWN), &["tree is absent"]),
        (
            "class without images",
            empty_tree,
            tree(DRAWN),
            &["class 'class 0' has no image"],
        ),
        (
            "shots beyond the images",
            nothing,
            DRAWN.replace("shots = [2]", "shots = [40]"),
            &["class 0 (class 0) has 30 images"],
        ),
    ];
    for (name, damage, suite, words) in cases {
        let files = Files::new(&FeatureSet::drawn(14));
        std::fs::write(files.path("training.csv"), "image\nnone.png\n").unwrap();
        damage(&files);
        let (code, text, _) = files.suite(&suite);
        assert!(matches!(code, Some(1 | 2)), "{name}: {code:?} {text}");
        for word in words {
            assert!(text.contains(word), "{name}: '{word}' is not in: {text}");
        }
    }
}
