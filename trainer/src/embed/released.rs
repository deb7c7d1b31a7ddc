//! A model from released weights alone: KeepFIT V1, the V2 line and FLAIR.
//!
//! Such a file has no run folder around it. The sizes of the network are read from the tensors; the
//! vocabulary and what no tensor tells are given by the caller.

use std::path::Path;

use anyhow::{Context, Result, bail};

use super::Embedder;
use crate::config::KeepfitConfig;
use crate::device;
use crate::model::bert::TextConfig;
use crate::model::keepfit::{KeepFitConfig, KeepFitModel};
use crate::model::resnet::VisionConfig;
use crate::model::walk::to_vec;
use crate::text::wordpiece::WordPieceTokenizer;
use crate::weights::Tensors;
use crate::weights::load::{Allow, apply, canonical, read};

/// Width of a head of BERT-base, which all released text encoders are.
const HEAD_WIDTH: usize = 64;
/// Parts that embedding does not use.
const UNUSED: &[&str] = &[
    POOLER,
    "attention.",
    "attention_appearance.",
    "appearance_conv.",
    "quantize.",
];
/// BERT's pooler is never used; some files leave it out.
const POOLER: &str = "text_model.model.pooler.";

/// What released weights do not tell.
#[derive(Debug, Clone)]
pub struct ReleasedShape {
    /// Side of the square input, pixels.
    pub image_size: usize,
    /// Longest text, tokens.
    pub max_tokens: usize,
    /// Attention heads of the text encoder; a 64th of its width when not given.
    pub text_heads: Option<usize>,
}

/// Shape of a tensor that every such file holds.
fn shape_of<'a>(tensors: &'a Tensors, key: &str, dimensions: usize) -> Result<&'a [usize]> {
    let tensor = tensors
        .get(key)
        .with_context(|| format!("has no tensor {key}; these are no weights of KeepFIT or FLAIR"))?;
    if tensor.shape.len() != dimensions {
        bail!("{key} has shape {:?}, expected {dimensions} dimensions", tensor.shape);
    }
    Ok(&tensor.shape)
}

/// How many of `prefix0.`, `prefix1.`, … the file holds.
fn count(tensors: &Tensors, prefix: &str) -> usize {
    (0..)
        .take_while(|n| tensors.keys().any(|key| key.starts_with(&format!("{prefix}{n}."))))
        .count()
}

/// The network that the tensors (canonical names) belong to, without the knowledge branches.
///
/// # Errors
/// A tensor that every such file holds is absent or has another number of dimensions.
fn network(tensors: &Tensors, text_heads: Option<usize>) -> Result<KeepFitConfig> {
    let stem = shape_of(tensors, "vision_model.model.conv1.weight", 4)?;
    let layers = [1, 2, 3, 4].map(|stage| count(tensors, &format!("vision_model.model.layer{stage}.")));
    let words = shape_of(tensors, "text_model.model.embeddings.word_embeddings.weight", 2)?;
    let positions = shape_of(tensors, "text_model.model.embeddings.position_embeddings.weight", 2)?;
    let types = shape_of(tensors, "text_model.model.embeddings.token_type_embeddings.weight", 2)?;
    let wide = shape_of(tensors, "text_model.model.encoder.layer.0.intermediate.dense.weight", 2)?;
    let projection = shape_of(tensors, "vision_model.projection_head.projection.weight", 2)?;
    let hidden = words[1];
    let text = TextConfig {
        vocab_size: words[0],
        hidden_size: hidden,
        num_hidden_layers: count(tensors, "text_model.model.encoder.layer."),
        num_attention_heads: text_heads.unwrap_or((hidden / HEAD_WIDTH).max(1)),
        intermediate_size: wide[0],
        max_position_embeddings: positions[0],
        type_vocab_size: types[0],
        ..TextConfig::bert_base()
    };
    let vision = VisionConfig {
        layers,
        base_width: stem[0],
    };
    // every other field has a default
    serde_json::from_value(serde_json::json!({
        "vision": vision, "text": text, "proj_dim": projection[0], "heads": 1, "semantic": false
    }))
    .context("the sizes of the tensors fit no network")
}

impl Embedder {
    /// Opens released weights of KeepFIT V1, the V2 line or FLAIR with the vocabulary of their text encoder.
    ///
    /// # Errors
    /// No such file, weights of another model, or a vocabulary of another size.
    pub fn open_released(weights: &Path, tokenizer: &Path, shape: &ReleasedShape, device_name: &str) -> Result<Self> {
        let device = device::select(device_name)?;
        let tensors = canonical(read(weights)?)?;
        let network = network(&tensors, shape.text_heads)?;
        if shape.image_size == 0 || !(3..=network.text.max_position_embeddings).contains(&shape.max_tokens) {
            bail!(
                "image_size = {} and max_tokens = {} do not fit: the text encoder takes 3 to {} tokens",
                shape.image_size,
                shape.max_tokens,
                network.text.max_position_embeddings
            );
        }
        let tokenizer = WordPieceTokenizer::open(tokenizer)?;
        if tokenizer.len() > network.text.vocab_size {
            bail!(
                "the vocabulary has {} entries, the text encoder {}; name the vocabulary that it was trained with",
                tokenizer.len(),
                network.text.vocab_size
            );
        }
        let mut model = KeepFitModel::init(&network, 0, &device)?;
        apply(&mut model, tensors, &Allow::prefixes(&[POOLER], UNUSED))?;
        let logit_scale = to_vec(&model.logit_scale)[0];
        let config = KeepfitConfig {
            image_size: shape.image_size,
            max_tokens: shape.max_tokens,
            semantic: false,
            appearance: false,
            ..KeepfitConfig::default()
        };
        Ok(Embedder {
            model,
            tokenizer,
            config,
            device,
            logit_scale,
            sha256: dataset::hash::sha256_file(weights)?,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::weights::{HostTensor, save};
    use image::RgbImage;

    fn shape() -> ReleasedShape {
        ReleasedShape {
            image_size: 64,
            max_tokens: 16,
            text_heads: Some(2),
        }
    }

    fn vocabulary(folder: &Path) {
        let words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "eye"];
        std::fs::write(folder.join("vocab.txt"), words.join("\n") + "\n").unwrap();
    }

    #[test]
    fn released_names_and_sizes_are_recognised() {
        let folder = tempfile::tempdir().unwrap();
        vocabulary(folder.path());
        let text = TextConfig {
            vocab_size: 8,
            hidden_size: 16,
            num_hidden_layers: 2,
            num_attention_heads: 2,
            intermediate_size: 24,
            max_position_embeddings: 20,
            ..TextConfig::bert_base()
        };
        let config: KeepFitConfig = serde_json::from_value(serde_json::json!({
            "vision": {"layers": [1, 2, 1, 1], "base_width": 4}, "text": text, "proj_dim": 12
        }))
        .unwrap();
        let device = device::select("cpu").unwrap();
        let mut model = KeepFitModel::init(&config, 3, &device).unwrap();
        let mut tensors = save::tensors(&mut model);
        // as the first version was released
        for (ours, released) in [
            ("vision_model.projection_head.", "vision_model.projection_head_vision."),
            ("text_model.projection_head.", "text_model.projection_head_text."),
        ] {
            let key = format!("{ours}projection.weight");
            let tensor = tensors.remove(&key).unwrap();
            tensors.insert(format!("{released}projection.weight"), tensor);
        }
        tensors.insert(
            "text_model.model.embeddings.position_ids".into(),
            HostTensor::from_i64(vec![1, 20], &(0..20).collect::<Vec<i64>>()),
        );
        let file = folder.path().join("v1.safetensors");
        save::write(&file, &tensors, &[]).unwrap();
        let opened = Embedder::open_released(&file, folder.path(), &shape(), "cpu").unwrap();
        let image = RgbImage::from_fn(40, 30, |x, y| image::Rgb([x as u8 * 4, y as u8 * 6, 90]));
        let vectors = opened.embed_images(std::slice::from_ref(&image)).unwrap();
        assert_eq!((vectors[0].features.len(), vectors[0].projected.len()), (128, 12));
        assert_eq!(opened.embed_texts(&["a red eye".into()]).unwrap()[0].len(), 12);

        // the shares of the places add up to the whole vector
        let map = opened.feature_map(&image).unwrap();
        assert_eq!((map.rows, map.columns, map.shares.len()), (2, 2, 4));
        assert_eq!(map.inside, (1.0, 0.75));
        for (i, whole) in vectors[0].projected.iter().enumerate() {
            let sum: f32 = map.shares.iter().map(|s| s[i]).sum();
            assert!((sum - whole).abs() < 1e-5, "{i}: {sum} {whole}");
        }

        tensors.remove("vision_model.model.conv1.weight");
        save::write(&file, &tensors, &[]).unwrap();
        let error = Embedder::open_released(&file, folder.path(), &shape(), "cpu")
            .err()
            .unwrap();
        assert!(error.to_string().contains("conv1.weight"), "{error:#}");
    }
}
