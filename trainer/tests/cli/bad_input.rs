//! What goes wrong is named with its place and its remedy, and harms nothing.

use std::path::Path;

use crate::drawn::{config, dataset, label, picture, run_stages_before_keepfit, trainer, write_labels};

/// Runs a stage that must fail with code 2 and returns what it said.
fn fails(place: &Path, stage: &str, extra: &[&str]) -> String {
    let output = trainer(place)
        .args(config(stage))
        .args(["--out", "bad"])
        .args(extra)
        .assert()
        .code(2)
        .get_output()
        .clone();
    assert!(output.stdout.is_empty(), "nothing on stdout");
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!message.contains("panicked"), "{message}");
    message
}

fn says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
}

#[test]
fn configs_with_mistakes_stop_before_any_work() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    std::fs::write(
        place.join("run.toml"),
        "datasets = [\"dataset\"]\nlearning_rat = 1e-3\n",
    )
    .unwrap();
    let output = trainer(place)
        .args(["keepfit", "--config", "run.toml", "--out", "r"])
        .assert()
        .code(2)
        .get_output()
        .clone();
    says(
        &String::from_utf8_lossy(&output.stderr),
        &["run.toml, line 2", "`learning_rat`", "`learning_rate`"],
    );
    assert!(!place.join("r").exists());
    says(
        &fails(place, "keepfit", &["--set", "image_size=0"]),
        &["image_size", "0"],
    );
    says(&fails(place, "keepfit", &["--set", "bach=2"]), &["bach", "`batch`"]);
    for (pair, parts) in [
        ("accumulate=3", ["accumulate", "does not divide `batch` = 4"]),
        ("freeze=[\"visoin\"]", ["visoin", "vision_projection"]),
        ("best=accuracy", ["`best` is \"accuracy\"", "max:NAME"]),
        ("ban_categories=[\"--\"]", ["ban_categories", "no word"]),
        ("layer_decay=2", ["layer_decay", "0.01 to 1"]),
        ("stop_gradient=[\"texts\"]", ["stop_gradient", "pair-texts"]),
        ("device=cpu:0,cpu:1", ["2 devices", "set accumulate to 2"]),
        ("device=cpu:a", ["\"a\" is not a device number", "cpu:0, cpu:1"]),
        ("precision=bf16", ["device cpu computes in f32", "set precision to f32"]),
        ("on_leak=keep", ["on_leak", "warn"]),
    ] {
        says(&fails(place, "keepfit", &["--set", pair]), &parts);
    }
    assert!(!place.join("bad").exists());
    let output = trainer(place)
        .args(["keepfit", "--out", "r"])
        .assert()
        .code(2)
        .get_output()
        .clone();
    says(
        &String::from_utf8_lossy(&output.stderr),
        &["--config FILE", "--resume RUN"],
    );
    let output = trainer(place)
        .args(["mlm", "--resume", "nowhere"])
        .assert()
        .code(2)
        .get_output()
        .clone();
    says(
        &String::from_utf8_lossy(&output.stderr),
        &["nowhere", "no run to continue"],
    );
}

#[test]
fn datasets_that_cannot_be_learnt_from_are_named() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    says(
        &fails(place, "tokenizer", &[]),
        &["dataset: there is no such dataset folder"],
    );
    let folder = dataset(place);
    run_stages_before_keepfit(place);
    says(
        &fails(place, "keepfit", &["--set", "modality=OCT"]),
        &["no labelled OCT image", "ingest labels"],
    );
    says(
        &fails(place, "keepfit", &["--set", "label_sets=[\"odir\"]"]),
        &["label set \"odir\"", "they have: drawn"],
    );
    says(
        &fails(place, "keepfit", &["--set", "codebook_init="]),
        &["codebook_init", "trainer codebook"],
    );
    says(
        &fails(place, "keepfit", &["--set", "codebook_init=mlm"]),
        &["codebook_init", "quantize.embedding.weight"],
    );
    says(
        &fails(
            place,
            "keepfit",
            &["--set", "text_init=codebook", "--set", "tokenizer=tokenizer"],
        ),
        &["codebook is a codebook run"],
    );
    says(
        &fails(place, "keepfit", &["--device", "tpu"]),
        &["unknown device", "cpu"],
    );
    says(
        &fails(place, "mlm", &["--set", "languages=[\"fr\"]"]),
        &["no usable text", "40 in \"en\""],
    );
    // A vocabulary of another size does not fit the checkpoint: key and both shapes.
    says(
        &fails(
            place,
            "mlm",
            &["--set", "text_init=mlm/model.safetensors", "--set", "text_hidden=32"],
        ),
        &["text_init", "word_embeddings", "16]", "32]"],
    );

    write_labels(&folder, (0..6).map(|i| label(1, i, picture(1, i), "train")).collect());
    says(
        &fails(place, "keepfit", &[]),
        &["one category \"normal\"", "at least two"],
    );
    write_labels(&folder, vec![label(1, 1, picture(1, 1), "test")]);
    says(
        &fails(place, "keepfit", &[]),
        &["no labelled CFP image", "split \"train\""],
    );
}

#[test]
fn broken_and_leaking_rows_are_left_out_and_listed() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    let folder = dataset(place);
    run_stages_before_keepfit(place);
    let mut rows: Vec<_> = (0..12).map(|i| label(i % 3, i, picture(i % 3, i), "train")).collect();
    rows.push(label(0, 90, b"no picture at all".to_vec(), "train"));
    rows.push(label(1, 91, picture(1, 1), "test"));
    write_labels(&folder, rows);
    let output = trainer(place)
        .args(config("keepfit"))
        .args(["--out", "keepfit", "--set", "steps=2"])
        .assert()
        .code(1)
        .get_output()
        .clone();
    says(
        &String::from_utf8_lossy(&output.stderr),
        &[
            "drawn/0-90.png",
            "left out",
            "1 training images are also labelled test images",
        ],
    );
    let listed = std::fs::read_to_string(place.join("keepfit/rejected.jsonl")).unwrap();
    assert_eq!(listed.lines().count(), 1);
    says(&listed, &["drawn/0-90.png"]);
    let leaks = std::fs::read_to_string(place.join("keepfit/leakage.jsonl")).unwrap();
    says(&leaks, &["\"evidence\":\"same-bytes\"", "drawn/1-1.png"]);
    let stopped = fails(place, "keepfit", &["--set", "on_leak=stop"]);
    says(
        &stopped,
        &["1 training images are also labelled test images", "on_leak is stop"],
    );
    // The finished run's data changed: it is not said to be finished, nor continued.
    write_labels(
        &folder,
        (0..12).map(|i| label(i % 3, i, picture(i % 3, i), "train")).collect(),
    );
    for done in [true, false] {
        let expected = if done {
            "this run is finished, but the dataset dataset changed since it began"
        } else {
            "this run was interrupted, but the dataset dataset changed since it began"
        };
        let resume = ["keepfit", "--resume", "keepfit"].map(str::to_owned).to_vec();
        let same = [
            config("keepfit"),
            ["--out", "keepfit", "--set", "steps=2"].map(str::to_owned).to_vec(),
        ]
        .concat();
        for command in [resume, same] {
            let output = trainer(place).args(command).assert().code(2).get_output().clone();
            says(&String::from_utf8_lossy(&output.stderr), &[expected, "another --out"]);
            assert!(output.stdout.is_empty());
        }
        if done {
            std::fs::remove_file(place.join("keepfit/done.json")).unwrap();
        }
    }
}

#[test]
fn a_loss_that_is_not_finite_names_step_term_and_remedy() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    dataset(place);
    run_stages_before_keepfit(place);
    let wild = [
        "--set",
        "learning_rate=1e9",
        "--set",
        "clip_norm=0",
        "--set",
        "save_every_steps=1",
        "--set",
        "steps=60",
    ];
    let message = fails(place, "codebook", &wild);
    says(&message, &["step ", "learning_rate", "--out"]);
    assert!(message.contains("NaN") || message.contains("inf"), "{message}");
    let kept = trainer::checkpoint::newest_sound(&place.join("bad"))
        .unwrap()
        .0
        .unwrap();
    assert!(kept.step >= 1);
    // Another config in the same place is refused, and the run stays as it was.
    says(
        &fails(place, "codebook", &["--set", "batch=5"]),
        &["batch", "--resume bad"],
    );
    assert_eq!(
        trainer::checkpoint::newest_sound(&place.join("bad"))
            .unwrap()
            .0
            .unwrap(),
        kept
    );
}

#[test]
fn embedding_names_what_is_missing() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    std::fs::write(place.join("t.txt"), "x\n").unwrap();
    let fails = |arguments: &[&str]| {
        let output = trainer(place)
            .arg("embed")
            .args(arguments)
            .args(["--out", "o"])
            .assert()
            .code(2)
            .get_output()
            .clone();
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    says(&fails(&["--checkpoint", "nowhere"]), &["nothing to embed"]);
    says(
        &fails(&["--checkpoint", "nowhere", "--texts", "t.txt"]),
        &["nowhere", "model.safetensors"],
    );
    says(
        &fails(&["--checkpoint", "nowhere", "--images", "none"]),
        &["none", "no such folder"],
    );
    says(
        &fails(&["--checkpoint", "t.txt", "--texts", "t.txt"]),
        &["t.txt", "run.json"],
    );
    assert!(!place.join("o").exists());
}
