//! The whole road, from a dataset folder to embeddings.

use std::path::Path;

use serde_json::Value;

use crate::drawn::{config, dataset, picture, run_stage, run_stages_before_keepfit, trainer};

fn json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn every_stage_runs_and_leaves_a_complete_folder() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    dataset(place);
    run_stages_before_keepfit(place);
    run_stage(place, "keepfit");
    for stage in ["mlm", "codebook", "keepfit"] {
        let run = place.join(stage);
        for file in [
            "config.toml",
            "run.json",
            "metrics.jsonl",
            "events.out.tfevents.0",
            "model.safetensors",
            "done.json",
        ] {
            assert!(run.join(file).is_file(), "{stage}/{file}");
        }
        assert_eq!(
            std::fs::read_dir(run.join("checkpoints")).unwrap().count(),
            2,
            "{stage}: keep_last"
        );
        let text = std::fs::read_to_string(run.join("config.toml")).unwrap();
        assert!(!text.contains(&*place.to_string_lossy()), "{stage}: no absolute path");
    }
    assert!(place.join("tokenizer/tokenizer/vocab.txt").is_file());
    assert!(place.join("keepfit/tokenizer/vocab.txt").is_file());
    assert!(place.join("codebook/codebook.safetensors").is_file());
    assert!(place.join("codebook/reconstructions/step-00000006.png").is_file());

    let facts = json(&place.join("keepfit/run.json"));
    assert_eq!(facts["modality"], "CFP");
    assert_eq!(facts["datasets"][0]["content_hash"].as_str().unwrap().len(), 64);
    let evaluation = json(&place.join("mlm/done.json"))["evaluation"].clone();
    assert!(evaluation["heldout_perplexity"].as_f64().unwrap() > 1.0, "{evaluation}");
    let text = std::fs::read_to_string(place.join("keepfit/metrics.jsonl")).unwrap();
    let first: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    for name in [
        "lr",
        "logit_scale",
        "loss/total",
        "loss/itc_mm",
        "loss_weighted/ek_appearance",
        "grad_norm/vision",
        "attention_entropy/semantic",
        "codebook/perplexity",
        "images_per_second",
        "data_wait_share",
    ] {
        assert!(first[name].is_number(), "{name} in {first}");
    }

    std::fs::create_dir_all(place.join("photographs/deep")).unwrap();
    for number in 0..3 {
        std::fs::write(
            place.join(format!("photographs/p{}.png", number * 9)),
            picture(number, 50 + number),
        )
        .unwrap();
    }
    std::fs::write(place.join("photographs/deep/broken.png"), b"no picture").unwrap();
    std::fs::write(place.join("photographs/notes.txt"), b"not a picture").unwrap();
    std::fs::write(
        place.join("prompts.txt"),
        "A fundus photograph of glaucoma\n\nA fundus photograph of normal\n",
    )
    .unwrap();
    let embed = [
        "embed",
        "--checkpoint",
        "keepfit",
        "--images",
        "photographs",
        "--texts",
        "prompts.txt",
        "--out",
        "out",
    ];
    let output = trainer(place).args(embed).assert().code(1).get_output().clone();
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&summary["images"], &summary["rejected"], &summary["texts"]),
        (&3.into(), &1.into(), &2.into())
    );
    assert!(String::from_utf8_lossy(&output.stderr).contains("deep/broken.png"));
    check_embeddings(place);

    let listing = trainer(place)
        .args(["runs", ".", "--svg", "curves.svg"])
        .assert()
        .success()
        .get_output()
        .stdout
        .clone();
    assert_eq!(String::from_utf8(listing).unwrap().lines().count(), 4);
    assert!(
        std::fs::read_to_string(place.join("curves.svg"))
            .unwrap()
            .contains("<polyline")
    );

    text_encoders_leave_for_transformers(place);

    // The same command on a finished run says so and changes nothing.
    let before = std::fs::read(place.join("keepfit/model.safetensors")).unwrap();
    let again = trainer(place)
        .args(config("keepfit"))
        .args(["--out", "keepfit"])
        .assert()
        .success();
    assert!(String::from_utf8_lossy(&again.get_output().stderr).contains("finished"));
    assert_eq!(std::fs::read(place.join("keepfit/model.safetensors")).unwrap(), before);
}

/// Hugging Face folders of both stages, and weights that come back as they went.
fn text_encoders_leave_for_transformers(place: &Path) {
    for (run, names, architecture, key) in [
        (
            "keepfit",
            "bert",
            "BertModel",
            "encoder.layer.0.attention.self.query.weight",
        ),
        ("mlm", "mlm", "BertForMaskedLM", "cls.predictions.bias"),
    ] {
        let folder = format!("hf-{run}");
        let arguments = ["convert", run, "--names", names, "--hf", "--out", folder.as_str()];
        let output = trainer(place)
            .args(arguments)
            .assert()
            .success()
            .get_output()
            .stdout
            .clone();
        let report: Value = serde_json::from_slice(&output).unwrap();
        assert_eq!(report["parity"]["compared"], report["parity"]["identical"], "{report}");
        assert!(report["parity"]["compared"].as_u64().unwrap() > 30);
        assert_eq!(report["parity"]["different"].as_array().unwrap().len(), 0);
        let config = json(&place.join(&folder).join("config.json"));
        assert_eq!(
            (&config["architectures"][0], &config["model_type"]),
            (&architecture.into(), &"bert".into())
        );
        assert_eq!(config["num_attention_heads"], 2);
        let tensors = trainer::weights::load::read(&place.join(&folder)).unwrap();
        assert!(tensors.contains_key(key), "{:?}", tensors.keys());
        let vocabulary = std::fs::read_to_string(place.join(&folder).join("vocab.txt")).unwrap();
        assert_eq!(config["vocab_size"], vocabulary.lines().count());
        // The folder is an input again.
        let arguments = [
            "convert",
            folder.as_str(),
            "--names",
            "mlm",
            "--out",
            "again.safetensors",
        ];
        trainer(place).args(arguments).assert().success();
    }
    for (from, names, to) in [
        ("keepfit/model.safetensors", "keepfit-v1", "v1.safetensors"),
        ("v1.safetensors", "keepfit", "v2.safetensors"),
    ] {
        trainer(place)
            .args(["convert", from, "--names", names, "--out", to])
            .assert()
            .success();
    }
    let [before, after] = ["keepfit/model.safetensors", "v2.safetensors"]
        .map(|path| trainer::weights::load::read(&place.join(path)).unwrap());
    let agreement = trainer::weights::compare(&after, &before).unwrap();
    assert_eq!(agreement.compared, agreement.identical);
    assert!(
        agreement
            .different
            .iter()
            .all(|key| key.contains("appearance") || key.starts_with("quantize."))
    );
    let bare = [
        "convert",
        "v2.safetensors",
        "--names",
        "bert",
        "--hf",
        "--out",
        "hf-bare",
    ];
    let said = trainer(place).args(bare).assert().code(2).get_output().stderr.clone();
    // v2.safetensors lies in no run folder.
    assert!(String::from_utf8_lossy(&said).contains("number of heads is unknown"));
}

/// Rows are unit vectors, and a text's vector does not depend on its neighbours.
fn check_embeddings(place: &Path) {
    let embedder = trainer::embed::Embedder::open(&place.join("keepfit"), "cpu").unwrap();
    let texts: Vec<String> = [
        "A fundus photograph of glaucoma",
        "normal",
        "a much longer text about the retina of the eye",
    ]
    .map(str::to_owned)
    .to_vec();
    let together = embedder.embed_texts(&texts).unwrap();
    for (text, vector) in texts.iter().zip(&together) {
        assert_eq!(&embedder.embed_texts(std::slice::from_ref(text)).unwrap()[0], vector);
        let norm: f32 = vector.iter().map(|value| value * value).sum();
        assert!((norm - 1.0).abs() < 1e-4, "{norm}");
    }
    let file = std::fs::File::open(place.join("out/images.parquet")).unwrap();
    let mut reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file)
        .unwrap()
        .build()
        .unwrap();
    let batch = reader.next().unwrap().unwrap();
    let names: Vec<String> = batch
        .schema()
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    assert_eq!(names, ["path", "features", "projected"]);
    let paths = batch
        .column(0)
        .as_any()
        .downcast_ref::<arrow::array::StringArray>()
        .unwrap()
        .clone();
    assert_eq!(
        (0..3).map(|i| paths.value(i).to_owned()).collect::<Vec<_>>(),
        ["p0.png", "p9.png", "p18.png"]
    );
    // A checkpoint folder and the file in it open the same model.
    let last = trainer::checkpoint::list(&place.join("keepfit"))
        .unwrap()
        .pop()
        .unwrap();
    for path in [last.folder.clone(), last.folder.join("model.safetensors")] {
        let other = trainer::embed::Embedder::open(&path, "cpu").unwrap();
        assert_eq!(other.weights_sha256(), embedder.weights_sha256());
    }
}
