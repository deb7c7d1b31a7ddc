//! What `convert` and `--dry-run` report.

use std::path::Path;

use serde_json::Value;
use trainer::weights::{HostTensor, Tensors, save};

use crate::drawn::{config, dataset, run_stage, trainer};

fn report(place: &Path, arguments: &[String]) -> Value {
    let output = trainer(place)
        .args(arguments)
        .assert()
        .success()
        .get_output()
        .stdout
        .clone();
    serde_json::from_slice(&output).unwrap()
}

#[test]
fn convert_compares_every_tensor_and_says_why_one_is_left_out() {
    const COUNTED: &str = "text_model.model.embeddings.position_ids";
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    let tensors = Tensors::from([
        (COUNTED.to_owned(), HostTensor::from_i64(vec![1, 3], &[0, 1, 2])),
        ("logit_scale".to_owned(), HostTensor::from_f32(vec![], &[2.5])),
        (
            "appearance_conv.bias".to_owned(),
            HostTensor::from_f32(vec![2], &[1.0, 2.0]),
        ),
    ]);
    save::write(&place.join("in.safetensors"), &tensors, &[]).unwrap();
    let convert = |names: &str| {
        let words = [
            "convert",
            "in.safetensors",
            "--names",
            names,
            "--out",
            "out.safetensors",
        ];
        report(place, &words.map(str::to_owned))
    };
    let stored = convert("stored");
    assert_eq!(stored["parity"]["compared"], 3, "{stored}");
    assert_eq!(stored["parity"]["identical"], 3);
    let older = convert("keepfit-v1");
    assert_eq!((&older["read"], &older["written"]), (&3.into(), &1.into()), "{older}");
    assert_eq!(older["parity"]["identical"], 1);
    assert_eq!(older["left_out"][COUNTED], "numbers that BERT counts itself");
    assert_eq!(older["left_out"]["appearance_conv.bias"], "has no place in this target");
}

#[test]
fn a_dry_run_estimates_the_time_and_leaves_nothing() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    dataset(place);
    run_stage(place, "tokenizer");
    let names = || {
        let mut names: Vec<_> = std::fs::read_dir(place)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        names
    };
    let before = names();
    for stage in ["mlm", "codebook"] {
        let mut arguments = config(stage);
        arguments.push("--dry-run".to_owned());
        let found = report(place, &arguments);
        assert_eq!(found["steps"], 6, "{found}");
        let time = &found["time_estimate"];
        assert_eq!(time["steps_tried"], 2, "{found}");
        let (step, hours) = (
            time["seconds_per_step"].as_f64().unwrap(),
            time["hours"].as_f64().unwrap(),
        );
        assert!(step > 0.0 && (hours - step * 6.0 / 3600.0).abs() < 1e-9, "{found}");
        assert!(time["note"].as_str().unwrap().starts_with("an estimate"), "{found}");
        // Without its tokeniser or images a training has no steps to try.
        arguments.extend(["--set".to_owned(), "datasets=[\"nowhere\"]".to_owned()]);
        let missing = report(place, &arguments);
        assert!(
            missing["steps"].is_null() && missing["time_estimate"].is_null(),
            "{missing}"
        );
        assert!(
            missing["steps_unknown_because"].as_str().unwrap().contains("nowhere"),
            "{missing}"
        );
    }
    assert_eq!(names(), before);
}

#[test]
fn batches_of_several_epochs_come_from_memory_or_file_alike() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    dataset(place);
    let speed = |more: &[&str]| {
        let arguments = ["speed", "images", "dataset", "--image", "64", "--batch", "4"];
        let arguments = arguments.iter().chain(more).map(|&word| word.to_owned());
        report(place, &arguments.collect::<Vec<_>>())
    };
    let once = speed(&[]);
    assert_eq!((&once["rows"], &once["epochs"]), (&12.into(), &Value::Null));
    let kept = speed(&["--epochs", "3"]);
    let spooled = speed(&["--epochs", "3", "--cache-mib", "0"]);
    assert_eq!((&kept["rows"], &spooled["rows"]), (&36.into(), &36.into()));
    assert!(
        kept["check"] == spooled["check"] && kept["check"].as_f64().unwrap() > 0.0,
        "{kept}"
    );
    assert_eq!(kept["encoded_bytes"], once["encoded_bytes"], "decoded once");
    let none = trainer(place)
        .args(["speed", "images", "dataset", "--epochs", "0"])
        .assert()
        .failure();
    assert!(String::from_utf8_lossy(&none.get_output().stderr).contains("at least 1"));
}
