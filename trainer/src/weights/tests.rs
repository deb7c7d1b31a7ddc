//! Checkpoints as users have them: every stored format, value for value, and what is refused.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use burn::tensor::Device;
use serde_json::Value;

use super::{
    HostTensor, Tensors, load,
    load::{Allow, CodebookCopy},
    names, save,
};
use crate::model::{
    keepfit::{KeepFitConfig, KeepFitModel},
    layers::{Init, Linear},
    mlm_head::MaskedLm,
    walk::{Walk, to_vec},
};

fn checkpoints() -> Option<(PathBuf, Value)> {
    let folder = dataset::testing::shared_dir()?.join("parity/checkpoints");
    let expected = serde_json::from_str(&std::fs::read_to_string(folder.join("expected.json")).unwrap()).unwrap();
    Some((folder, expected))
}

/// Runs `check` on the shared checkpoints, or says that they are not there.
fn with_checkpoints(check: impl FnOnce(PathBuf, Value)) {
    match checkpoints() {
        Some((folder, expected)) => check(folder, expected),
        None => eprintln!("skipped: no shared material"),
    }
}

#[test]
fn every_stored_checkpoint_reads_value_for_value() {
    with_checkpoints(|folder, expected| {
        let mut files = 0;
        for (file, document) in expected.as_object().unwrap() {
            let Some(tensors) = document
                .get("tensors")
                .and_then(Value::as_object)
                .filter(|t| !t.is_empty())
            else {
                continue;
            };
            let read = load::read(&folder.join(file)).unwrap();
            assert_eq!(read.keys().collect::<Vec<_>>(), {
                let mut names: Vec<_> = tensors.keys().collect();
                names.sort();
                names
            });
            for (name, wanted) in tensors {
                let tensor = &read[name];
                let shape: Vec<usize> = serde_json::from_value(wanted["shape"].clone()).unwrap();
                let dtype = match wanted["dtype"].as_str().unwrap() {
                    "float32" => "F32",
                    "float64" => "F64",
                    "float16" => "F16",
                    "bfloat16" => "BF16",
                    "int64" => "I64",
                    "int32" => "I32",
                    "uint8" => "U8",
                    "bool" => "BOOL",
                    other => panic!("{other}"),
                };
                let sha256 = dataset::hash::sha256_hex(&tensor.bytes);
                assert_eq!(
                    (&tensor.shape, format!("{:?}", tensor.dtype).as_str()),
                    (&shape, dtype),
                    "{file} {name}"
                );
                assert_eq!(sha256, wanted["sha256"].as_str().unwrap(), "{file} {name}");
            }
            files += 1;
        }
        assert!(files >= 9, "{files}");
    });
}

#[test]
fn hostile_pickles_run_nothing() {
    with_checkpoints(|folder, _| {
        let read = load::read(&folder.join("malicious.pth")).unwrap();
        assert_eq!(read.keys().collect::<Vec<_>>(), ["vision_model.model.conv1.weight"]);
        let error = format!("{:#}", load::read(&folder.join("malicious_bare.pth")).unwrap_err());
        assert!(
            error.contains("builtins.exec") && error.contains("malicious_bare.pth"),
            "{error}"
        );
        assert!(!std::path::Path::new("PWNED").exists());
    });
}

#[test]
fn codebook_copies() {
    with_checkpoints(|folder, expected| {
        for file in ["tokenizer.ckpt", "tokenizer_namespace.ckpt"] {
            for (copy, rule) in [(CodebookCopy::Ema, "default"), (CodebookCopy::Raw, "raw")] {
                let (key, tensor) = load::codebook(load::read(&folder.join(file)).unwrap(), copy).unwrap();
                let wanted = expected[file]["codebook"][rule].as_str().unwrap();
                assert_eq!(key, wanted);
                let sha256 = dataset::hash::sha256_hex(&tensor.bytes);
                assert_eq!(sha256, expected[file]["tensors"][wanted]["sha256"].as_str().unwrap());
            }
        }
    });
}

/// A released V1 file into the V2 model: all but the appearance branch, which keeps its fresh values.
#[test]
fn keepfit_v1_fills_the_v2_model() {
    with_checkpoints(|folder, expected| {
        let mut config: KeepFitConfig = serde_json::from_value(expected["keepfit_v1.pth"]["config"].clone()).unwrap();
        config.appearance = serde_json::from_value(serde_json::json!({"codes": 8, "code_dim": 4})).unwrap();
        let mut model = KeepFitModel::init(&config, 0, &Device::flex()).unwrap();
        let tensors = load::canonical(load::read(&folder.join("keepfit_v1.pth")).unwrap()).unwrap();
        let strict = load::apply(&mut model, tensors.clone(), &Allow::nothing())
            .unwrap_err()
            .to_string();
        assert!(
            strict.contains("appearance_conv.weight") && strict.contains("missing"),
            "{strict}"
        );
        let allow = Allow::prefixes(&["appearance_conv.", "attention_appearance.", "quantize."], &[]);
        let report = load::apply(&mut model, tensors.clone(), &allow).unwrap();
        assert_eq!(report.applied.len(), tensors.len());
        assert!(report.unused.is_empty());
        assert_eq!(report.missing.len(), 7);
        let written = save::tensors(&mut model);
        for (key, tensor) in &tensors {
            assert_eq!(&written[key], tensor, "{key}");
        }
    });
}

#[test]
fn old_bert_and_resnet_files_fill_their_towers() {
    with_checkpoints(|folder, expected| {
        let text = serde_json::from_value(expected["keepfit_v1.pth"]["config"]["text"].clone()).unwrap();
        for file in ["bert_pretraining_legacy.bin", "hf_mlm", "hf_mlm/pytorch_model.bin"] {
            let mut model = MaskedLm::init(&text, &mut Init::new(0, &Device::flex()));
            let tensors = load::canonical(load::read(&folder.join(file)).unwrap()).unwrap();
            let (_, mapped, _) = load::map_keys(tensors, names::to_masked_lm);
            let report = load::apply(&mut model, mapped, &Allow::nothing()).unwrap();
            assert!(
                report.missing.is_empty() && report.unused.is_empty(),
                "{file} {report:?}"
            );
        }
        let config: KeepFitConfig = serde_json::from_value(expected["keepfit_v1.pth"]["config"].clone()).unwrap();
        for file in ["resnet.pth", "resnet_legacy.pth"] {
            let mut model = KeepFitModel::init(&config, 0, &Device::flex()).unwrap();
            let tensors = load::canonical(load::read(&folder.join(file)).unwrap()).unwrap();
            let (_, mapped, dropped) = load::map_keys(tensors, names::to_keepfit);
            assert_eq!(dropped, ["fc.bias", "fc.weight"]);
            let allow = Allow::prefixes(
                &[
                    "logit_scale",
                    "vision_model.projection_head.",
                    "text_model.",
                    "attention.",
                ],
                &[],
            );
            load::apply(&mut model, mapped, &allow).unwrap();
        }
    });
}

fn linear() -> Linear {
    Linear::init(3, 2, true, &mut Init::new(0, &Device::flex()))
}

#[test]
fn a_shape_that_differs_names_key_both_shapes_and_remedy_and_changes_nothing() {
    let mut model = linear();
    let before = to_vec(&model.weight);
    let tensors = Tensors::from([
        ("weight".to_owned(), HostTensor::from_f32(vec![2, 4], &[0.0; 8])),
        ("bias".to_owned(), HostTensor::from_f32(vec![2], &[9.0; 2])),
        ("extra".to_owned(), HostTensor::from_f32(vec![1], &[9.0])),
    ]);
    let error = load::apply(&mut model, tensors, &Allow::nothing())
        .unwrap_err()
        .to_string();
    for part in ["weight", "[2, 4]", "[2, 3]", "configuration", "extra"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert_eq!(to_vec(&model.weight), before);
    assert_ne!(to_vec(model.bias.as_ref().unwrap()), [9.0; 2]);
}

#[test]
fn half_precision_is_widened_and_integers_are_refused() {
    let halves: Vec<u8> = [1.5f32, -2.0]
        .iter()
        .flat_map(|x| half::f16::from_f32(*x).to_le_bytes())
        .collect();
    let mut tensors = Tensors::from([
        ("weight".to_owned(), HostTensor::from_f32(vec![2, 3], &[0.5; 6])),
        (
            "bias".to_owned(),
            HostTensor {
                dtype: safetensors::Dtype::F16,
                shape: vec![2],
                bytes: halves,
            },
        ),
    ]);
    let mut model = linear();
    load::apply(&mut model, tensors.clone(), &Allow::nothing()).unwrap();
    assert_eq!(to_vec(model.bias.as_ref().unwrap()), [1.5, -2.0]);
    tensors.insert("bias".to_owned(), HostTensor::from_i64(vec![2], &[1, 2]));
    assert!(load::apply(&mut model, tensors, &Allow::nothing()).is_err());
}

#[test]
fn written_files_read_back_and_broken_ones_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let mut model = linear();
    let tensors = save::tensors(&mut model);
    save::write(&path, &tensors, &[("mode", "paper".to_owned())]).unwrap();
    assert_eq!(load::read(&path).unwrap(), tensors);
    assert_eq!(load::read(folder.path()).unwrap(), tensors);
    let whole = std::fs::read(&path).unwrap();
    for (name, bytes) in [
        ("cut.safetensors", &whole[..whole.len() - 3]),
        ("empty.pth", &[][..]),
        ("text.bin", b"hello world"),
    ] {
        let broken = folder.path().join(name);
        std::fs::write(&broken, bytes).unwrap();
        let error = format!("{:#}", load::read(&broken).unwrap_err());
        assert!(error.contains(name), "{error}");
    }
}

#[test]
fn shards_are_joined_and_checked() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let one = |value: f32| HostTensor::from_f32(vec![1], &[value]);
    save::write(
        &at("model-1.safetensors"),
        &Tensors::from([("a".to_owned(), one(1.0))]),
        &[],
    )
    .unwrap();
    save::write(
        &at("model-2.safetensors"),
        &Tensors::from([("b".to_owned(), one(2.0))]),
        &[],
    )
    .unwrap();
    let index = |text: &str| std::fs::write(at("model.safetensors.index.json"), text).unwrap();
    index(r#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}"#);
    assert_eq!(load::read(folder.path()).unwrap().len(), 2);
    for bad in [
        r#"{"weight_map": {"c": "model-1.safetensors"}}"#,
        r#"{"weight_map": {"a": "../model-1.safetensors"}}"#,
        r#"{"weight_map": {"a": "model-3.safetensors"}}"#,
        "{}",
    ] {
        index(bad);
        assert!(load::read(folder.path()).is_err(), "{bad}");
    }
}

#[test]
fn listing_order_and_names_are_those_of_the_reference() {
    let config: KeepFitConfig = serde_json::from_value(serde_json::json!({
        "vision": {"layers": [1, 1, 1, 1], "base_width": 4},
        "text": {"vocab_size": 10, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2,
                 "intermediate_size": 8, "max_position_embeddings": 6},
        "proj_dim": 8, "appearance": {"codes": 5, "code_dim": 4},
    }))
    .unwrap();
    let mut model = KeepFitModel::init(&config, 0, &Device::flex()).unwrap();
    let mut keys = Vec::new();
    model.each(|key, _, _| keys.push(key.to_owned()));
    for key in [
        "logit_scale",
        "vision_model.model.layer4.0.downsample.1.num_batches_tracked",
        "text_model.model.encoder.layer.1.attention.output.LayerNorm.bias",
        "text_model.model.pooler.dense.weight",
        "attention.W_o.weight",
        "appearance_conv.bias",
        "quantize.embedding.weight",
        "attention_appearance.W_q.weight",
    ] {
        assert!(keys.iter().any(|k| k == key), "{key}");
    }
    let count = keys.len();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), count);
}
