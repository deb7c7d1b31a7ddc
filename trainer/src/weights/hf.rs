//! The text encoder as a Hugging Face folder: `config.json`, `vocab.txt`, `tokenizer_config.json`,
//! `model.safetensors`.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{Tensors, save};
use crate::checkpoint::MODEL_FILE;
use crate::model::bert::TextConfig;
use crate::model::keepfit::KeepFitConfig;
use crate::run_folder::{RUN_FILE, read_facts};
use crate::text::wordpiece::WordPieceTokenizer;

/// File of the shape within a Hugging Face folder.
const CONFIG_FILE: &str = "config.json";

/// What a text encoder needs besides its weights.
pub struct TextSide {
    /// Shape of the encoder.
    pub shape: TextConfig,
    /// Its tokeniser.
    pub tokenizer: WordPieceTokenizer,
}

/// Finds shape and tokeniser of the checkpoint `path`: in the run folder around it, or in the Hugging Face
/// folder that it is or lies in.
///
/// # Errors
/// Neither is there, or it is not of a text encoder; weights alone do not tell the number of heads.
pub fn text_side(path: &Path) -> Result<TextSide> {
    let whole = path
        .canonicalize()
        .with_context(|| format!("cannot read {}", path.display()))?;
    let folders = || whole.ancestors().take(4).filter(|folder| folder.is_dir());
    if let Some(run) = folders().find(|folder| folder.join(RUN_FILE).is_file()) {
        let facts = read_facts(run)?;
        let place = || run.join(RUN_FILE).display().to_string();
        let shape = match facts.kind.as_str() {
            "mlm" => serde_json::from_value(facts.model).with_context(place)?,
            "keepfit" => {
                serde_json::from_value::<KeepFitConfig>(facts.model)
                    .with_context(place)?
                    .text
            }
            other => bail!("{}: a {other} run has no text encoder", run.display()),
        };
        let tokenizer = WordPieceTokenizer::open(run)?;
        return Ok(TextSide { shape, tokenizer });
    }
    let Some(folder) = folders().take(2).find(|folder| folder.join(CONFIG_FILE).is_file()) else {
        bail!(
            "{}: there is neither {RUN_FILE} nor {CONFIG_FILE} beside these weights, so the number of heads is unknown; \
             name a run folder or a Hugging Face folder",
            path.display()
        );
    };
    let file = folder.join(CONFIG_FILE);
    let place = || file.display().to_string();
    let text = std::fs::read_to_string(&file).with_context(place)?;
    Ok(TextSide {
        shape: serde_json::from_str(&text).with_context(place)?,
        tokenizer: WordPieceTokenizer::open(folder)?,
    })
}

/// `config.json` of a BERT of this shape. `architecture`: `BertModel` or `BertForMaskedLM`.
pub fn config(shape: &TextConfig, architecture: &str) -> Result<Value> {
    let mut config = serde_json::to_value(shape)?;
    if let Some(config) = config.as_object_mut() {
        for (key, value) in [
            ("architectures", json!([architecture])),
            ("model_type", json!("bert")),
            ("hidden_dropout_prob", json!(0.1)),
            ("attention_probs_dropout_prob", json!(0.1)),
            ("initializer_range", json!(0.02)),
            ("position_embedding_type", json!("absolute")),
            ("tie_word_embeddings", json!(true)),
        ] {
            config.insert(key.to_owned(), value);
        }
    }
    Ok(config)
}

/// Writes the folder. `tensors` have the names of `architecture`.
///
/// # Errors
/// The vocabulary does not fit the word embeddings, or the folder cannot be written.
pub fn write(folder: &Path, tensors: &Tensors, side: &TextSide, architecture: &str) -> Result<()> {
    if side.tokenizer.len() != side.shape.vocab_size {
        bail!(
            "the vocabulary has {} pieces, the word embeddings {} rows; name the folder that both came from",
            side.tokenizer.len(),
            side.shape.vocab_size
        );
    }
    std::fs::create_dir_all(folder).with_context(|| format!("{}: cannot make the folder", folder.display()))?;
    save::write(&folder.join(MODEL_FILE), tensors, &[])?;
    side.tokenizer.save(folder)?;
    let config = serde_json::to_string_pretty(&config(&side.shape, architecture)?)? + "\n";
    dataset::fs::write_atomic(&folder.join(CONFIG_FILE), config.as_bytes())?;
    Ok(())
}
