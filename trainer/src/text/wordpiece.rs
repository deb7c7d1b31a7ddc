//! BERT's WordPiece tokeniser over a `vocab.txt`.
//!
//! Bio_ClinicalBERT ships the cased vocabulary without a `tokenizer_config.json`, so the reference
//! code lower-cases and strips accents; a `tokenizer_config.json` beside the vocabulary is honoured.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::{AddedToken, Tokenizer as HfTokenizer};

/// The five special tokens of BERT, in the order in which a new vocabulary starts.
pub const SPECIAL_TOKENS: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];

/// How text is normalised before it is cut into pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Casing {
    /// Lower-case the text.
    pub lowercase: bool,
    /// Strip accents; `None` follows `lowercase`, as Hugging Face does.
    pub strip_accents: Option<bool>,
    /// Put spaces around CJK ideographs, so that each becomes a word.
    pub split_chinese: bool,
}

impl Default for Casing {
    fn default() -> Self {
        Casing {
            lowercase: true,
            strip_accents: None,
            split_chinese: true,
        }
    }
}

impl Casing {
    /// The casing that `tokenizer_config.json` asks for; absent keys keep the default.
    ///
    /// # Errors
    /// Not JSON, or a key of another type.
    pub fn from_tokenizer_config(json: &str) -> Result<Casing> {
        let value: serde_json::Value = serde_json::from_str(json)?;
        let flag = |key: &str| -> Result<Option<bool>> {
            match value.get(key) {
                None | Some(serde_json::Value::Null) => Ok(None),
                Some(serde_json::Value::Bool(flag)) => Ok(Some(*flag)),
                Some(other) => bail!("key `{key}` is {other}, expected true or false"),
            }
        };
        Ok(Casing {
            lowercase: flag("do_lower_case")?.unwrap_or(true),
            strip_accents: flag("strip_accents")?,
            split_chinese: flag("tokenize_chinese_chars")?.unwrap_or(true),
        })
    }

    /// The normaliser of the `tokenizers` crate with this casing.
    pub fn normalizer(self) -> BertNormalizer {
        BertNormalizer::new(true, self.split_chinese, self.strip_accents, self.lowercase)
    }
}

/// The ids of the special tokens in one vocabulary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpecialIds {
    /// `[PAD]`
    pub pad: u32,
    /// `[UNK]`
    pub unk: u32,
    /// `[CLS]`
    pub cls: u32,
    /// `[SEP]`
    pub sep: u32,
    /// `[MASK]`
    pub mask: u32,
}

/// A WordPiece tokeniser with its vocabulary file kept for the run folder.
pub struct WordPieceTokenizer {
    inner: HfTokenizer,
    vocabulary: Vec<String>,
    special: SpecialIds,
    casing: Casing,
}

/// The place of `vocab.txt` for what a config or flag names: the file itself, a folder that holds
/// it, or a run folder (`tokenizer/vocab.txt`).
///
/// # Errors
/// Nothing of the kind is there.
pub fn find_vocabulary(path: &Path) -> Result<PathBuf> {
    if path.is_file() {
        return Ok(path.to_path_buf());
    }
    let candidates = [path.join("vocab.txt"), path.join("tokenizer").join("vocab.txt")];
    candidates.into_iter().find(|file| file.is_file()).with_context(|| {
        format!(
            "{}: no vocabulary here; expected a vocab.txt, a folder holding one, or a run folder of `trainer tokenizer`",
            path.display()
        )
    })
}

impl WordPieceTokenizer {
    /// Opens `vocab.txt` (one piece a line) and the `tokenizer_config.json` beside it, if any.
    ///
    /// # Errors
    /// Unreadable files, repeated pieces, or a missing special token, each naming the file.
    pub fn open(path: &Path) -> Result<Self> {
        let file = find_vocabulary(path)?;
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("{}: cannot read the vocabulary", file.display()))?;
        let vocabulary: Vec<String> = text
            .lines()
            .map(|line| line.trim_end_matches('\r').to_owned())
            .collect();
        let config = file.with_file_name("tokenizer_config.json");
        let casing = match std::fs::read_to_string(&config) {
            Ok(json) => Casing::from_tokenizer_config(&json).with_context(|| config.display().to_string())?,
            Err(_) => Casing::default(),
        };
        Self::from_vocabulary(vocabulary, casing).with_context(|| file.display().to_string())
    }

    /// Builds the tokeniser from pieces in id order.
    ///
    /// # Errors
    /// Repeated pieces or a missing special token.
    pub fn from_vocabulary(vocabulary: Vec<String>, casing: Casing) -> Result<Self> {
        let mut ids = std::collections::HashMap::with_capacity(vocabulary.len());
        for (line, piece) in vocabulary.iter().enumerate() {
            if let Some(earlier) = ids.insert(piece.clone(), u32::try_from(line)?) {
                bail!(
                    "line {}: piece {piece:?} stands already on line {}",
                    line + 1,
                    earlier + 1
                );
            }
        }
        let id = |token: &str| {
            ids.get(token)
                .copied()
                .with_context(|| format!("the vocabulary has no {token}; BERT needs {}", SPECIAL_TOKENS.join(" ")))
        };
        let special = SpecialIds {
            pad: id("[PAD]")?,
            unk: id("[UNK]")?,
            cls: id("[CLS]")?,
            sep: id("[SEP]")?,
            mask: id("[MASK]")?,
        };
        let pieces =
            WordPiece::read_bytes(vocabulary.join("\n").as_bytes()).map_err(|error| anyhow::anyhow!("{error}"))?;
        let model = WordPiece::builder()
            .vocab(pieces)
            .unk_token("[UNK]".to_owned())
            .continuing_subword_prefix("##".to_owned())
            .max_input_chars_per_word(100)
            .build()
            .map_err(|error| anyhow::anyhow!("{error}"))?;
        let mut inner = HfTokenizer::new(model);
        inner
            .with_normalizer(Some(casing.normalizer()))
            .map_err(|error| anyhow::anyhow!("{error}"))?;
        inner.with_pre_tokenizer(Some(BertPreTokenizer));
        inner.with_post_processor(Some(BertProcessing::new(
            ("[SEP]".to_owned(), special.sep),
            ("[CLS]".to_owned(), special.cls),
        )));
        inner
            .add_special_tokens(SPECIAL_TOKENS.map(|token| AddedToken::from(token, true)))
            .map_err(|error| anyhow::anyhow!("{error}"))?;
        Ok(WordPieceTokenizer {
            inner,
            vocabulary,
            special,
            casing,
        })
    }

    /// Token ids of `text` with `[CLS]` and `[SEP]`, cut to at most `max_tokens` (the last one is
    /// then `[SEP]`).
    ///
    /// # Errors
    /// `max_tokens` under 2, or a failure of the tokeniser.
    pub fn encode(&self, text: &str, max_tokens: usize) -> Result<Vec<u32>> {
        if max_tokens < 2 {
            bail!("at most {max_tokens} tokens leaves no room for [CLS] and [SEP]");
        }
        let pieces = self.encode_pieces(text)?;
        let mut ids = Vec::with_capacity(pieces.len().min(max_tokens) + 2);
        ids.push(self.special.cls);
        ids.extend(pieces.into_iter().take(max_tokens - 2));
        ids.push(self.special.sep);
        Ok(ids)
    }

    /// Token ids of `text` without special tokens and without a limit.
    ///
    /// # Errors
    /// A failure of the tokeniser.
    pub fn encode_pieces(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self
            .inner
            .encode_fast(text, false)
            .map_err(|error| anyhow::anyhow!("tokenising {text:?}: {error}"))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The pieces in id order.
    pub fn vocabulary(&self) -> &[String] {
        &self.vocabulary
    }

    /// Number of pieces.
    pub fn len(&self) -> usize {
        self.vocabulary.len()
    }

    /// Whether the vocabulary is empty (never, since the special tokens are required).
    pub fn is_empty(&self) -> bool {
        self.vocabulary.is_empty()
    }

    /// Ids of the special tokens.
    pub fn special(&self) -> SpecialIds {
        self.special
    }

    /// The casing in force.
    pub fn casing(&self) -> Casing {
        self.casing
    }

    /// Whether piece `id` continues a word (`##…`).
    pub fn continues_word(&self, id: u32) -> bool {
        self.vocabulary
            .get(id as usize)
            .is_some_and(|piece| piece.starts_with("##"))
    }

    /// Writes `vocab.txt` and `tokenizer_config.json` into `folder`, in Hugging Face's form.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn save(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let mut text = self.vocabulary.join("\n");
        text.push('\n');
        dataset::fs::write_atomic(&folder.join("vocab.txt"), text.as_bytes())?;
        let config = serde_json::json!({
            "do_lower_case": self.casing.lowercase,
            "strip_accents": self.casing.strip_accents,
            "tokenize_chinese_chars": self.casing.split_chinese,
            "tokenizer_class": "BertTokenizer",
        });
        let json = serde_json::to_string_pretty(&config)? + "\n";
        dataset::fs::write_atomic(&folder.join("tokenizer_config.json"), json.as_bytes())?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn toy(casing: Casing) -> WordPieceTokenizer {
        let pieces = [
            "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "macula", "##r", "edema", "視", "網", "Macula",
        ];
        WordPieceTokenizer::from_vocabulary(pieces.map(str::to_owned).to_vec(), casing).unwrap()
    }

    #[test]
    fn lower_cases_strips_accents_and_splits_chinese() {
        let tokenizer = toy(Casing::default());
        assert_eq!(tokenizer.encode("Macular édema", 16).unwrap(), [2, 5, 6, 7, 3]);
        assert_eq!(tokenizer.encode("視網", 16).unwrap(), [2, 8, 9, 3]);
        assert_eq!(tokenizer.encode("a [MASK]", 16).unwrap(), [2, 1, 4, 3]);
    }

    #[test]
    fn keeps_case_where_the_config_says_so() {
        let casing = Casing::from_tokenizer_config(r#"{"do_lower_case": false}"#).unwrap();
        let tokenizer = toy(casing);
        assert_eq!(tokenizer.encode("Macula", 16).unwrap(), [2, 10, 3]);
        assert_eq!(tokenizer.encode("macula édema", 16).unwrap(), [2, 5, 1, 3]);
    }

    #[test]
    fn truncation_keeps_the_separator() {
        let tokenizer = toy(Casing::default());
        assert_eq!(tokenizer.encode("macula macula macula", 4).unwrap(), [2, 5, 5, 3]);
        assert!(tokenizer.encode("macula", 1).is_err());
    }

    #[test]
    fn repeated_and_missing_pieces_are_refused() {
        let repeated = ["[PAD]", "[PAD]"].map(str::to_owned).to_vec();
        let error = WordPieceTokenizer::from_vocabulary(repeated, Casing::default())
            .err()
            .unwrap();
        assert!(error.to_string().contains("line 2"), "{error}");
        let missing = vec!["[PAD]".to_owned()];
        let error = WordPieceTokenizer::from_vocabulary(missing, Casing::default())
            .err()
            .unwrap();
        assert!(error.to_string().contains("[UNK]"), "{error}");
    }

    #[test]
    fn equals_the_published_token_ids() {
        let Some(shared) = dataset::testing::shared_dir() else {
            eprintln!("skipped: no shared material");
            return;
        };
        let models = shared.join("data/models");
        let text = std::fs::read_to_string(models.join("bert-base-cased-vocab.txt")).unwrap();
        let vocabulary: Vec<String> = text.lines().map(str::to_owned).collect();
        let casing = Casing {
            lowercase: false,
            ..Casing::default()
        };
        let tokenizer = WordPieceTokenizer::from_vocabulary(vocabulary, casing).unwrap();
        let inputs = std::fs::read_to_string(models.join("small_input.txt")).unwrap();
        let tokens = std::fs::read_to_string(models.join("small_tokens_bert_base_cased.txt")).unwrap();
        let mut compared = 0;
        for (input, expected) in inputs.lines().zip(tokens.lines()) {
            let expected: Vec<u32> = expected.split(", ").filter_map(|id| id.trim().parse().ok()).collect();
            // The file writes line ends and spaces at the end of a line as escapes.
            let input = input.replace("\\n", "\n").replace("\\s", " ");
            assert_eq!(tokenizer.encode_pieces(&input).unwrap(), expected, "{input:?}");
            compared += 1;
        }
        assert!(compared >= 20, "{compared} lines compared");
    }

    /// SHA-256 over the ids of `lines`, each line ended by the largest number.
    fn digest(tokenizer: &WordPieceTokenizer, lines: &[String]) -> String {
        let mut bytes = Vec::new();
        for line in lines {
            let ids = tokenizer.encode_pieces(line).unwrap();
            bytes.extend(ids.into_iter().chain([u32::MAX]).flat_map(u32::to_le_bytes));
        }
        dataset::hash::sha256_hex(&bytes)
    }

    /// The digests were made with transformers 5.23 in Python, `BertTokenizer(vocab, do_lower_case=True)`, on the
    /// same lines: 10,000 English and 2,000 Chinese utterances.
    #[test]
    fn ten_thousand_utterances_equal_hugging_faces() {
        let Some(shared) = dataset::testing::shared_dir() else {
            eprintln!("skipped: no shared material");
            return;
        };
        let tokenizer = WordPieceTokenizer::open(&shared.join("data/models/bert-base-cased-vocab.txt")).unwrap();
        let take = |rows: Vec<serde_json::Value>, keys: [&str; 2], count: usize| -> Vec<String> {
            let texts = rows
                .iter()
                .flat_map(|row| keys.map(|key| row[key].as_str().unwrap().to_owned()));
            let lines: Vec<String> = texts
                .flat_map(|text| text.split('\n').map(str::to_owned).collect::<Vec<_>>())
                .filter(|line| !line.trim().is_empty())
                .take(count)
                .collect();
            assert_eq!(lines.len(), count);
            lines
        };
        let read = |name: &str| std::fs::read_to_string(shared.join("data/texts").join(name)).unwrap();
        let english = serde_json::from_str(&read("medical_meadow_small.json")).unwrap();
        let chinese = read("huatuo_llama_data.json");
        let chinese = chinese
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        for (lines, expected) in [
            (
                take(english, ["input", "output"], 10_000),
                "2ae1b358734993fb133d210ad85fd744842b47b0dfcc3a9a33903221d2007c2c",
            ),
            (
                take(chinese, ["instruction", "output"], 2000),
                "c03591930cb0f3568477d36788104ed240426d7511bf6370fda6c94c211152d6",
            ),
        ] {
            assert_eq!(digest(&tokenizer, &lines), expected);
        }
    }
}
