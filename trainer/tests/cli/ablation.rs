//! Rows of the ablation, keys of a joint run that change what is trained, and where knowledge comes from.

use std::collections::BTreeSet;
use std::path::Path;

use dataset::read::{Columns, Dataset};
use serde_json::Value;
use trainer::weights::{Tensors, load};

use crate::drawn::{config, dataset, picture, run_stages_before_keepfit, trainer};

fn run(place: &Path, out: &str, set: &[&str]) -> Value {
    let set: Vec<String> = ["steps=2", "label_style=plain"]
        .iter()
        .chain(set)
        .flat_map(|pair| ["--set".to_owned(), (*pair).to_owned()])
        .collect();
    let output = trainer(place)
        .args(config("keepfit"))
        .args(["--out", out])
        .args(set)
        .assert()
        .success()
        .get_output()
        .clone();
    serde_json::from_slice(&output.stdout).unwrap()
}

fn first_line(place: &Path, out: &str) -> Value {
    let text = std::fs::read_to_string(place.join(out).join("metrics.jsonl")).unwrap();
    serde_json::from_str(text.lines().next().unwrap()).unwrap()
}

fn model(place: &Path, out: &str) -> Tensors {
    load::read(&place.join(out).join("model.safetensors")).unwrap()
}

fn facts(place: &Path, out: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(place.join(out).join("run.json")).unwrap()).unwrap()
}

#[test]
fn every_row_runs_and_differs() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    dataset(place);
    run_stages_before_keepfit(place);
    let listed = trainer(place)
        .arg("ablations")
        .assert()
        .success()
        .get_output()
        .stdout
        .clone();
    let mut weights = BTreeSet::new();
    for line in String::from_utf8(listed).unwrap().lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let name = row["name"].as_str().unwrap();
        let set: Vec<&str> = row["set"]
            .as_array()
            .unwrap()
            .iter()
            .map(|pair| pair.as_str().unwrap())
            .collect();
        let summary = run(place, name, &set);
        assert!(
            weights.insert(summary["model_sha256"].to_string()),
            "{name} equals another row"
        );
        let metrics = first_line(place, name);
        for (term, on) in [
            ("itc_mm", "pairs"),
            ("ek_semantic", "semantic"),
            ("ek_appearance", "appearance"),
        ] {
            assert_eq!(
                metrics[format!("loss/{term}")].is_number(),
                row[on] == true,
                "{name}: {term}"
            );
        }
        let keys = model(place, name);
        for (key, on) in [
            ("attention.W_q.weight", "semantic"),
            ("attention_appearance.W_q.weight", "appearance"),
        ] {
            assert_eq!(keys.contains_key(key), row[on] == true, "{name}: {key}");
        }
        let untaught = facts(place, name)["deviations"]
            .to_string()
            .contains("without textual pretraining");
        assert_eq!(untaught, row["textual"] == false, "{name}");
    }
    assert_eq!(weights.len(), trainer::ablation::ROWS.len());
    knowledge_is_traced(place);
}

/// The pairs that the modules of the `full` row attend to.
fn knowledge_is_traced(place: &Path) {
    std::fs::create_dir_all(place.join("eyes")).unwrap();
    for number in 0..3 {
        std::fs::write(place.join(format!("eyes/{number}.png")), picture(number, 70)).unwrap();
    }
    let arguments = [
        "knowledge",
        "--images",
        "eyes",
        "--top",
        "4",
        "--out",
        "found.jsonl",
        "--checkpoint",
    ];
    trainer(place).args(arguments).arg("full").assert().success();
    let ids: BTreeSet<String> = Dataset::open(&place.join("dataset"))
        .unwrap()
        .pairs(Columns::WithoutImageBytes)
        .unwrap()
        .map(|record| record.unwrap().id)
        .collect();
    let text = std::fs::read_to_string(place.join("found.jsonl")).unwrap();
    assert_eq!(text.lines().count(), 3);
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        for module in ["semantic", "appearance"] {
            let matches = line[module].as_array().unwrap();
            assert_eq!(matches.len(), 4, "{line}");
            let weights: Vec<f64> = matches.iter().map(|found| found["weight"].as_f64().unwrap()).collect();
            assert!(weights.windows(2).all(|pair| pair[0] >= pair[1]) && weights.iter().sum::<f64>() <= 1.0001);
            for found in matches {
                assert!(ids.contains(found["id"].as_str().unwrap()));
                assert!(found["caption"].as_str().unwrap().contains("drusen"));
            }
        }
    }
    let output = trainer(place)
        .args(arguments)
        .arg("none")
        .assert()
        .code(2)
        .get_output()
        .clone();
    assert!(String::from_utf8_lossy(&output.stderr).contains("extracts no knowledge"));
}

#[test]
fn keys_reach_what_they_name() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    dataset(place);
    run_stages_before_keepfit(place);
    let summary = run(place, "base", &[]);

    // Frozen towers keep their weights; the others move.
    run(place, "frozen", &["freeze=[\"vision\", \"text\", \"logit_scale\"]"]);
    let (frozen, mlm) = (
        model(place, "frozen"),
        load::read(&place.join("mlm/model.safetensors")).unwrap(),
    );
    for (key, tensor) in &mlm {
        if let Some(rest) = key.strip_prefix("bert.") {
            assert_eq!(&frozen[&format!("text_model.model.{rest}")], tensor, "{key}");
        }
    }
    let counter = frozen["vision_model.model.bn1.num_batches_tracked"].to_i64().unwrap();
    assert_eq!(counter, [0], "a frozen tower keeps its running statistics");
    let metrics = first_line(place, "frozen");
    assert!(metrics["grad_norm/vision"].is_null() && metrics["grad_norm/vision_projection"].is_number());
    assert!(facts(place, "frozen")["parameters"].as_u64() < facts(place, "base")["parameters"].as_u64());

    // Chunks, rates, ramps, stops and kernels change the weights; each key alone.
    let mut seen = BTreeSet::from([summary["model_sha256"].to_string()]);
    for (number, pair) in [
        "accumulate=2",
        "rate_vision=0.1",
        "rate_text=0.1",
        "layer_decay=0.5",
        "appearance_ramp_epochs=3.0",
        "stop_gradient=[\"public-texts\"]",
        "knowledge_reduction=sum",
        "semantic_tau=0.5",
        "appearance_kernel=3",
        "ban_categories=[\"CATAR*\"]",
    ]
    .into_iter()
    .enumerate()
    {
        let summary = run(place, &format!("key{number}"), &[pair]);
        assert!(
            seen.insert(summary["model_sha256"].to_string()),
            "{pair} changes nothing"
        );
    }
    let banned = facts(place, "key9")["data"].clone();
    assert_eq!(
        (&banned["banned"]["CATAR*"], &banned["categories"]),
        (&10.into(), &2.into()),
        "{banned}"
    );

    // Telemetry changes nothing but what is written.
    let watched = run(place, "watched", &["term_norms_every=1", "best=min:zero_shot_images"]);
    assert_eq!(watched["model_sha256"], summary["model_sha256"]);
    let metrics = first_line(place, "watched");
    for term in ["itc_public", "itc_mm", "ek_semantic", "ek_appearance"] {
        assert!(
            metrics[format!("term_grad_norm/{term}")].as_f64().unwrap() > 0.0,
            "{metrics}"
        );
        assert!(metrics[format!("loss_weighted/{term}")].is_number(), "{metrics}");
    }
    assert!(metrics["tokens_per_second"].as_f64().unwrap() > 0.0);
    assert!(place.join("watched/best/model.safetensors").is_file());
}
