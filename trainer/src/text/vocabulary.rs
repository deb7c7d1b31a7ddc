//! Training a WordPiece vocabulary on the texts of a dataset folder.
//!
//! The trainer of the `tokenizers` crate does the merging. Its result depends on hash order where
//! ids are handed out, so every single character and its `##` form are given to it beforehand in a
//! fixed order; the vocabulary is then the same on every run.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use tokenizers::models::wordpiece::{WordPiece, WordPieceTrainer};
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::{
    AddedToken, Model, NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer,
    Trainer,
};

use super::wordpiece::{Casing, SPECIAL_TOKENS, WordPieceTokenizer};

/// Words longer than this become `[UNK]` at use, so they teach nothing.
const LONGEST_WORD: usize = 100;

/// Occurrences of one word handed to the trainer at a time.
const PORTION: u64 = 4096;

/// What to train.
#[derive(Debug, Clone, Copy)]
pub struct VocabularySettings {
    /// Largest number of pieces, special tokens included.
    pub size: usize,
    /// A pair is merged only when it occurs this often.
    pub min_frequency: u64,
    /// Largest share of `size` spent on single characters; rarer characters become `[UNK]`.
    pub alphabet_share: f64,
    /// Normalisation before counting.
    pub casing: Casing,
}

/// Word counts gathered text by text; memory grows with the number of different words only.
#[derive(Debug, Default)]
pub struct WordCounts {
    words: BTreeMap<String, u64>,
    texts: u64,
}

impl WordCounts {
    /// Adds the words of one text.
    ///
    /// # Errors
    /// A failure of the normaliser.
    pub fn add(&mut self, text: &str, casing: Casing) -> Result<()> {
        let error = |error| anyhow::anyhow!("splitting {text:?}: {error}");
        let mut normalized = NormalizedString::from(text);
        casing.normalizer().normalize(&mut normalized).map_err(error)?;
        let mut split = PreTokenizedString::from(normalized);
        BertPreTokenizer.pre_tokenize(&mut split).map_err(error)?;
        for (word, _, _) in split.get_splits(OffsetReferential::Normalized, OffsetType::Byte) {
            if word.chars().count() <= LONGEST_WORD {
                *self.words.entry(word.to_owned()).or_default() += 1;
            }
        }
        self.texts += 1;
        Ok(())
    }

    /// Number of texts added.
    pub fn texts(&self) -> u64 {
        self.texts
    }

    /// Number of words, repetitions included.
    pub fn words(&self) -> u64 {
        self.words.values().sum()
    }

    /// Number of different words.
    pub fn different_words(&self) -> usize {
        self.words.len()
    }
}

/// What came out, beside the tokeniser.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct VocabularyReport {
    /// Texts read.
    pub texts: u64,
    /// Words read, repetitions included.
    pub words: u64,
    /// Different words.
    pub different_words: usize,
    /// Single characters kept.
    pub characters: usize,
    /// Different characters left out as too rare.
    pub characters_left_out: usize,
    /// Share of the words that need `[UNK]` with the new vocabulary.
    pub unknown_share: f64,
    /// Pieces per word, on average.
    pub pieces_per_word: f64,
    /// Pieces in the vocabulary.
    pub size: usize,
}

/// Trains the vocabulary.
///
/// # Errors
/// No words at all, or a size that leaves no room beside special tokens and characters.
pub fn train(counts: &WordCounts, settings: &VocabularySettings) -> Result<(WordPieceTokenizer, VocabularyReport)> {
    if counts.words.is_empty() {
        bail!("no words to learn from: the dataset folder has no texts, captions or labels");
    }
    let budget = settings.size.saturating_sub(SPECIAL_TOKENS.len());
    let (alphabet, left_out) = choose_alphabet(counts, (budget as f64 * settings.alphabet_share) as usize);
    if alphabet.is_empty() {
        bail!(
            "vocab_size {} leaves no room for characters; take at least 100",
            settings.size
        );
    }
    let kept: BTreeMap<&str, u64> = counts
        .words
        .iter()
        .filter(|(word, _)| word.chars().all(|c| alphabet.contains_key(&c)))
        .map(|(word, count)| (word.as_str(), *count))
        .collect();
    let pieces = merge(&kept, &alphabet, settings)?;
    let tokenizer = WordPieceTokenizer::from_vocabulary(pieces, settings.casing)?;
    let (mut unknown, mut total_pieces) = (0u64, 0u64);
    for (word, count) in &counts.words {
        let ids = tokenizer.encode_pieces(word)?;
        total_pieces += ids.len() as u64 * count;
        if ids.contains(&tokenizer.special().unk) {
            unknown += count;
        }
    }
    let words = counts.words();
    let report = VocabularyReport {
        texts: counts.texts,
        words,
        different_words: counts.words.len(),
        characters: alphabet.len(),
        characters_left_out: left_out,
        unknown_share: unknown as f64 / words as f64,
        pieces_per_word: total_pieces as f64 / words as f64,
        size: tokenizer.len(),
    };
    Ok((tokenizer, report))
}

/// The most frequent characters (ties by code point), each with whether it also continues words;
/// a character takes one or two places of the `budget`.
fn choose_alphabet(counts: &WordCounts, budget: usize) -> (BTreeMap<char, bool>, usize) {
    let mut seen: BTreeMap<char, (u64, bool)> = BTreeMap::new();
    for (word, count) in &counts.words {
        for (place, character) in word.chars().enumerate() {
            let entry = seen.entry(character).or_default();
            entry.0 += count;
            entry.1 |= place > 0;
        }
    }
    let mut ranked: Vec<(char, u64, bool)> = seen.into_iter().map(|(c, (n, inner))| (c, n, inner)).collect();
    ranked.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    let total = ranked.len();
    let mut alphabet = BTreeMap::new();
    let mut places = 0;
    for (character, _, inner) in ranked {
        places += 1 + usize::from(inner);
        if places > budget {
            break;
        }
        alphabet.insert(character, inner);
    }
    let left_out = total - alphabet.len();
    (alphabet, left_out)
}

fn merge(
    words: &BTreeMap<&str, u64>,
    alphabet: &BTreeMap<char, bool>,
    settings: &VocabularySettings,
) -> Result<Vec<String>> {
    let mut fixed: Vec<String> = SPECIAL_TOKENS.map(str::to_owned).to_vec();
    fixed.extend(alphabet.keys().map(char::to_string));
    fixed.extend(
        alphabet
            .iter()
            .filter(|(_, inner)| **inner)
            .map(|(c, _)| format!("##{c}")),
    );
    let mut trainer = WordPieceTrainer::builder()
        .show_progress(false)
        .vocab_size(settings.size)
        .min_frequency(settings.min_frequency)
        .special_tokens(
            fixed
                .iter()
                .map(|piece| AddedToken::from(piece.as_str(), true))
                .collect(),
        )
        .build();
    // The trainer counts occurrences itself, so each word is handed over as often as it was seen,
    // as "count word" (words hold no space), in portions that bound the memory.
    let portions = words.iter().flat_map(|(word, count)| {
        (0..count.div_ceil(PORTION)).map(move |i| format!("{} {word}", PORTION.min(count - i * PORTION)))
    });
    trainer
        .feed(portions, |portion| {
            let (count, word) = portion.split_once(' ').ok_or("portion without a count")?;
            Ok(vec![word.to_owned(); count.parse()?])
        })
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    let mut model = WordPiece::default();
    Trainer::train(&trainer, &mut model).map_err(|error| anyhow::anyhow!("{error}"))?;
    let mut pieces: Vec<(u32, String)> = model.get_vocab().into_iter().map(|(piece, id)| (id, piece)).collect();
    pieces.sort();
    Ok(pieces.into_iter().map(|(_, piece)| piece).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn settings(size: usize) -> VocabularySettings {
        VocabularySettings {
            size,
            min_frequency: 2,
            alphabet_share: 0.5,
            casing: Casing::default(),
        }
    }

    fn counts(texts: &[&str]) -> WordCounts {
        let mut counts = WordCounts::default();
        for text in texts {
            counts.add(text, Casing::default()).unwrap();
        }
        counts
    }

    const TEXTS: [&str; 4] = [
        "Diabetic retinopathy with macular edema; retinopathy again.",
        "Retinopathy of prematurity, macular hole.",
        "\u{7cd6}\u{5c3f}\u{75c5}\u{89c6}\u{7f51}\u{819c}\u{75c5}\u{53d8}, \u{9ec4}\u{6591}\u{6c34}\u{80bf}",
        "macular degeneration, macular drusen",
    ];

    #[test]
    fn frequent_words_become_pieces_and_ids_are_stable() {
        let (first, report) = train(&counts(&TEXTS), &settings(200)).unwrap();
        for _ in 0..5 {
            let (again, _) = train(&counts(&TEXTS), &settings(200)).unwrap();
            assert_eq!(first.vocabulary(), again.vocabulary());
        }
        assert_eq!(&first.vocabulary()[..5], &SPECIAL_TOKENS);
        for word in ["macular", "retinopathy", "\u{9ec4}"] {
            assert!(first.vocabulary().iter().any(|piece| piece == word), "{word}");
        }
        assert_eq!(report.unknown_share, 0.0);
        assert_eq!(report.size, first.len());
    }

    #[test]
    fn order_of_texts_does_not_matter() {
        let mut reversed = TEXTS;
        reversed.reverse();
        let (first, _) = train(&counts(&TEXTS), &settings(120)).unwrap();
        let (second, _) = train(&counts(&reversed), &settings(120)).unwrap();
        assert_eq!(first.vocabulary(), second.vocabulary());
    }

    #[test]
    fn the_size_is_respected_and_rare_characters_go_first() {
        let (tokenizer, report) = train(&counts(&TEXTS), &settings(60)).unwrap();
        assert!(tokenizer.len() <= 60, "{}", tokenizer.len());
        assert!(report.characters_left_out > 0);
        assert!(report.unknown_share > 0.0);
    }

    #[test]
    fn nothing_to_learn_from_is_an_error() {
        let error = train(&WordCounts::default(), &settings(100)).err().unwrap();
        assert!(error.to_string().contains("no texts"), "{error}");
    }
}
