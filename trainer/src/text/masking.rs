//! Dynamic masking for masked language modelling (reference: BERT, 15 % and 80/10/10).

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::wordpiece::WordPieceTokenizer;

/// Label of positions that do not enter the loss.
pub const IGNORE_LABEL: i64 = -100;
/// Share of the chosen positions that become `[MASK]` (BERT, Section 3.1).
const SHARE_MASK: f64 = 0.8;
/// Share of the chosen positions that become a random piece.
const SHARE_RANDOM: f64 = 0.1;

/// How to mask.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MaskingSettings {
    /// Probability of choosing a piece, or a word with `whole_word`.
    pub probability: f64,
    /// Choose whole words: a first piece and its `##` continuations together.
    pub whole_word: bool,
}

/// What masking needs to know of a vocabulary.
pub struct MaskingVocabulary {
    continues: Vec<bool>,
    special: Vec<bool>,
    ordinary: Vec<u32>,
    mask: u32,
}

impl MaskingVocabulary {
    /// Reads the vocabulary of `tokenizer`; random replacements are drawn from ordinary pieces.
    pub fn new(tokenizer: &WordPieceTokenizer) -> Self {
        let ids = tokenizer.special();
        let specials = [ids.pad, ids.unk, ids.cls, ids.sep, ids.mask];
        let total = tokenizer.len() as u32;
        let reserved = |id: u32| specials.contains(&id) || tokenizer.vocabulary()[id as usize].starts_with("[unused");
        MaskingVocabulary {
            continues: (0..total).map(|id| tokenizer.continues_word(id)).collect(),
            special: (0..total).map(|id| [ids.pad, ids.cls, ids.sep].contains(&id)).collect(),
            ordinary: (0..total).filter(|id| !reserved(*id)).collect(),
            mask: ids.mask,
        }
    }
}

/// Masks `ids` in place and returns the labels: the original id at chosen positions,
/// [`IGNORE_LABEL`] elsewhere. `[CLS]`, `[SEP]` and `[PAD]` are never chosen.
pub fn mask(
    ids: &mut [u32],
    vocabulary: &MaskingVocabulary,
    settings: MaskingSettings,
    rng: &mut ChaCha8Rng,
) -> Vec<i64> {
    let mut labels = vec![IGNORE_LABEL; ids.len()];
    let mut chosen = false;
    for position in 0..ids.len() {
        let id = ids[position];
        if vocabulary.special[id as usize] {
            chosen = false;
            continue;
        }
        let inside_word = settings.whole_word && position > 0 && vocabulary.continues[id as usize];
        if !inside_word {
            chosen = rng.random_bool(settings.probability);
        }
        if !chosen {
            continue;
        }
        labels[position] = i64::from(id);
        let draw: f64 = rng.random();
        if draw < SHARE_MASK || vocabulary.ordinary.is_empty() {
            ids[position] = vocabulary.mask;
        } else if draw < SHARE_MASK + SHARE_RANDOM {
            ids[position] = vocabulary.ordinary[rng.random_range(0..vocabulary.ordinary.len())];
        }
    }
    labels
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::text::wordpiece::Casing;
    use rand::SeedableRng;

    fn vocabulary() -> MaskingVocabulary {
        let mut pieces: Vec<String> = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
            .map(str::to_owned)
            .to_vec();
        pieces.extend((0..50).map(|i| format!("w{i}")));
        pieces.extend((0..50).map(|i| format!("##x{i}")));
        MaskingVocabulary::new(&WordPieceTokenizer::from_vocabulary(pieces, Casing::default()).unwrap())
    }

    fn sentence(length: usize) -> Vec<u32> {
        let mut ids = vec![2];
        ids.extend((0..length).map(|i| {
            if i % 3 == 0 {
                5 + (i % 50) as u32
            } else {
                55 + (i % 50) as u32
            }
        }));
        ids.push(3);
        ids
    }

    #[test]
    fn shares_are_as_stated_and_specials_stay() {
        let vocabulary = vocabulary();
        let original = sentence(60_000);
        let mut ids = original.clone();
        let settings = MaskingSettings {
            probability: 0.15,
            whole_word: false,
        };
        let labels = mask(&mut ids, &vocabulary, settings, &mut ChaCha8Rng::seed_from_u64(1));
        let chosen = labels.iter().filter(|label| **label != IGNORE_LABEL).count() as f64;
        let masked = ids.iter().filter(|id| **id == 4).count() as f64;
        let same = (0..ids.len())
            .filter(|i| labels[*i] != IGNORE_LABEL && ids[*i] == original[*i])
            .count() as f64;
        assert!((chosen / 60_000.0 - 0.15).abs() < 0.01);
        assert!((masked / chosen - 0.8).abs() < 0.02);
        assert!((same / chosen - 0.1).abs() < 0.02);
        assert_eq!((ids[0], ids[60_001]), (2, 3));
        for i in 0..ids.len() {
            assert!(labels[i] == IGNORE_LABEL || labels[i] == i64::from(original[i]));
            assert!(labels[i] != IGNORE_LABEL || ids[i] == original[i]);
        }
    }

    #[test]
    fn whole_words_are_chosen_together() {
        let vocabulary = vocabulary();
        let mut ids = sentence(3_000);
        let settings = MaskingSettings {
            probability: 0.3,
            whole_word: true,
        };
        let labels = mask(&mut ids, &vocabulary, settings, &mut ChaCha8Rng::seed_from_u64(2));
        for word in 0..1_000 {
            let chosen: Vec<bool> = (0..3).map(|k| labels[1 + 3 * word + k] != IGNORE_LABEL).collect();
            assert!(chosen.iter().all(|c| *c == chosen[0]), "word {word}: {chosen:?}");
        }
    }

    #[test]
    fn the_same_seed_masks_the_same() {
        let vocabulary = vocabulary();
        let settings = MaskingSettings {
            probability: 0.15,
            whole_word: false,
        };
        let run = |seed| {
            let mut ids = sentence(500);
            let labels = mask(&mut ids, &vocabulary, settings, &mut ChaCha8Rng::seed_from_u64(seed));
            (ids, labels)
        };
        assert_eq!(run(3), run(3));
        assert_ne!(run(3), run(4));
    }
}
