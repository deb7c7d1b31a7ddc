//! Configuration of `trainer tokenizer`.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::{StageConfig, has_datasets, in_range};

/// Everything that decides a vocabulary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenizerConfig {
    /// Dataset folders to read.
    pub datasets: Vec<String>,
    /// Languages of texts and captions to read (`en`, `zh`); empty means all.
    pub languages: Vec<String>,
    /// Read the utterances of `text/`.
    pub texts: bool,
    /// Read the captions of `data/`.
    pub captions: bool,
    /// Read the categories and attributes of `labels/`, and the built-in definitions.
    pub labels: bool,
    /// Pieces in the vocabulary, special tokens included.
    pub vocab_size: usize,
    /// A pair of pieces is merged only when it occurs this often.
    pub min_frequency: u64,
    /// Largest share of the vocabulary spent on single characters.
    pub alphabet_share: f64,
    /// Lower-case the text.
    pub lowercase: bool,
    /// Strip accents.
    pub strip_accents: bool,
    /// Run folder.
    pub out: String,
}

impl Default for TokenizerConfig {
    fn default() -> Self {
        TokenizerConfig {
            datasets: Vec::new(),
            languages: Vec::new(),
            texts: true,
            captions: true,
            labels: true,
            vocab_size: 28_996,
            min_frequency: 2,
            alphabet_share: 0.4,
            lowercase: true,
            strip_accents: true,
            out: String::new(),
        }
    }
}

impl StageConfig for TokenizerConfig {
    const KIND: &'static str = "tokenizer";

    fn check(&self) -> Result<()> {
        has_datasets(&self.datasets)?;
        in_range("vocab_size", self.vocab_size, 100, 1_000_000)?;
        in_range("min_frequency", self.min_frequency, 1, 1_000_000)?;
        in_range("alphabet_share", self.alphabet_share, 0.05, 1.0)
    }

    fn datasets(&self) -> &[String] {
        &self.datasets
    }

    fn out(&self) -> &str {
        &self.out
    }

    fn set_out(&mut self, out: &str) {
        out.clone_into(&mut self.out);
    }

    fn device(&self) -> &str {
        "cpu"
    }

    fn set_device(&mut self, _device: &str) {}

    fn essence(&self) -> Self {
        TokenizerConfig {
            out: String::new(),
            ..self.clone()
        }
    }
}
