//! Utterances for masked language modelling: tokens in one flat array, batches of similar length.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use dataset::read::Columns;
use rand::seq::SliceRandom;

use super::labels::open;
use super::seeds::{Purpose, generator, hash_order};
use crate::model::mlm_head::MaskedBatch;
use crate::text::masking::{IGNORE_LABEL, MaskingSettings, MaskingVocabulary, mask};
use crate::text::wordpiece::WordPieceTokenizer;

/// Batches whose utterances are sorted by length together; larger pools waste less padding and
/// mix less.
const BATCHES_PER_POOL: usize = 32;

/// Word stems that mark ophthalmic terms, for the separate held-out figures. Latin stems match a
/// lower-cased word that contains them; Chinese ones match the character.
pub const OPHTHALMIC_STEMS: [&str; 43] = [
    "retin",
    "macul",
    "ocul",
    "ophthal",
    "glauco",
    "catarac",
    "corne",
    "vitre",
    "fundus",
    "fundi",
    "optic",
    "uveit",
    "choroid",
    "fovea",
    "drusen",
    "edema",
    "exudat",
    "microaneur",
    "neovascul",
    "papill",
    "sclera",
    "conjunctiv",
    "kerat",
    "myop",
    "intraocular",
    "pupil",
    "visual",
    "vision",
    "eye",
    "angiogra",
    "fluoresc",
    "tomograph",
    "hemorrhag",
    "haemorrhag",
    "photoreceptor",
    "\u{773c}",
    "\u{7738}",
    "\u{775b}",
    "\u{89c6}",
    "\u{7f51}",
    "\u{9ec4}",
    "\u{6591}",
    "\u{77b3}",
];

/// Whether `word` (lower-cased) is an ophthalmic term by [`OPHTHALMIC_STEMS`].
pub fn is_ophthalmic(word: &str) -> bool {
    OPHTHALMIC_STEMS.iter().any(|stem| word.contains(stem))
}

/// Tokenised utterances.
#[derive(Debug, Default)]
pub struct Utterances {
    tokens: Vec<u32>,
    /// Start of each utterance in `tokens`, and the total at the end.
    starts: Vec<usize>,
    groups: Vec<u64>,
}

/// Which rows to read.
pub struct UtteranceQuery<'a> {
    /// Dataset folders.
    pub datasets: &'a [String],
    /// Languages; empty means all.
    pub languages: &'a [String],
    /// Read captions of pairs too.
    pub captions: bool,
    /// Longest utterance in tokens; longer texts are cut into several.
    pub max_tokens: usize,
}

impl UtteranceQuery<'_> {
    fn wants(&self, language: &str) -> bool {
        self.languages.is_empty() || self.languages.iter().any(|wanted| wanted == language)
    }
}

impl Utterances {
    /// Reads and tokenises the texts (and captions); `seed` decides later what is held out.
    ///
    /// # Errors
    /// A dataset folder that cannot be read, or no usable text in any of them.
    pub fn load(query: &UtteranceQuery, tokenizer: &WordPieceTokenizer, seed: u64) -> Result<Self> {
        let mut all = Utterances {
            starts: vec![0],
            ..Utterances::default()
        };
        let mut other_languages: BTreeMap<String, u64> = BTreeMap::new();
        for folder in query.datasets {
            let dataset = open(folder)?;
            let progress = dataset::progress::bar(None, "reading utterances");
            for record in dataset.text().with_context(|| folder.clone())? {
                let record = record.with_context(|| folder.clone())?;
                progress.inc(1);
                if query.wants(&record.language) {
                    all.push_text(
                        &record.text,
                        tokenizer,
                        query.max_tokens,
                        hash_order(seed, &record.text),
                    )?;
                } else {
                    *other_languages.entry(record.language).or_default() += 1;
                }
            }
            if query.captions {
                for record in dataset
                    .pairs(Columns::WithoutImageBytes)
                    .with_context(|| folder.clone())?
                {
                    let record = record.with_context(|| folder.clone())?;
                    progress.inc(1);
                    for (language, caption) in [("en", &record.caption_en), ("zh", &record.caption_zh)] {
                        if let (true, Some(caption), "train") = (query.wants(language), caption, record.split.as_str())
                        {
                            all.push_text(caption, tokenizer, query.max_tokens, hash_order(seed, caption))?;
                        }
                    }
                }
            }
            progress.finish();
        }
        if all.is_empty() {
            let there: Vec<String> = other_languages
                .iter()
                .map(|(name, count)| format!("{count} in {name:?}"))
                .collect();
            bail!(
                "no usable text in {}: languages wanted {:?}, other texts there: {}. Add texts with `ingest text`, or change `languages`",
                query.datasets.join(", "),
                query.languages,
                if there.is_empty() {
                    "none".to_owned()
                } else {
                    there.join(", ")
                }
            );
        }
        Ok(all)
    }

    /// Adds a text, cut into utterances of at most `max_tokens` with `[CLS]` and `[SEP]`.
    fn push_text(&mut self, text: &str, tokenizer: &WordPieceTokenizer, max_tokens: usize, group: u64) -> Result<()> {
        let special = tokenizer.special();
        let pieces = tokenizer.encode_pieces(text)?;
        for part in pieces.chunks(max_tokens - 2) {
            self.tokens.push(special.cls);
            self.tokens.extend_from_slice(part);
            self.tokens.push(special.sep);
            self.starts.push(self.tokens.len());
            self.groups.push(group);
        }
        Ok(())
    }

    /// Number of utterances.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Tokens of one utterance.
    pub fn tokens(&self, index: usize) -> &[u32] {
        &self.tokens[self.starts[index]..self.starts[index + 1]]
    }

    /// Tokens of all utterances together.
    pub fn total_tokens(&self) -> usize {
        self.tokens.len()
    }

    /// Splits the numbers of all utterances into (training, held out); equal texts stay together.
    pub fn hold_out(&self, share: f64) -> (Vec<u32>, Vec<u32>) {
        let limit = (share * u64::MAX as f64) as u64;
        let (mut training, mut held) = (Vec::new(), Vec::new());
        for (index, group) in self.groups.iter().enumerate() {
            let side = if *group < limit { &mut held } else { &mut training };
            side.push(index as u32);
        }
        if training.is_empty() {
            std::mem::swap(&mut training, &mut held);
        }
        (training, held)
    }
}

/// Batches of one epoch over `rows`: shuffled, then sorted by length within pools, so that little
/// is padded; the batches are shuffled again. Depends on (seed, epoch) alone.
pub fn epoch_batches(utterances: &Utterances, rows: &[u32], batch: usize, seed: u64, epoch: u64) -> Vec<Vec<u32>> {
    let mut rng = generator(seed, Purpose::Order, epoch);
    let mut order = rows.to_vec();
    order.shuffle(&mut rng);
    let mut batches = Vec::with_capacity(rows.len().div_ceil(batch));
    for pool in order.chunks_mut(batch * BATCHES_PER_POOL) {
        pool.sort_by_key(|row| utterances.tokens(*row as usize).len());
        batches.extend(pool.chunks(batch).map(<[u32]>::to_vec));
    }
    batches.shuffle(&mut rng);
    batches
}

/// Masks and pads the utterances `rows`; `position` seeds the masks (the same for the same step).
pub fn masked_batch(
    utterances: &Utterances,
    rows: &[u32],
    vocabulary: &MaskingVocabulary,
    settings: MaskingSettings,
    pad: u32,
    seed: u64,
    position: u64,
) -> MaskedBatch {
    let longest = rows
        .iter()
        .map(|row| utterances.tokens(*row as usize).len())
        .max()
        .unwrap_or(0);
    let mut rng = generator(seed, Purpose::Mask, position);
    let mut batch = MaskedBatch {
        shape: [rows.len(), longest],
        ids: Vec::with_capacity(rows.len() * longest),
        mask: Vec::with_capacity(rows.len() * longest),
        labels: Vec::with_capacity(rows.len() * longest),
    };
    for row in rows {
        let mut ids = utterances.tokens(*row as usize).to_vec();
        let labels = mask(&mut ids, vocabulary, settings, &mut rng);
        let padding = longest - ids.len();
        batch.ids.extend(ids.iter().map(|id| i64::from(*id)));
        batch.mask.extend(std::iter::repeat_n(1, ids.len()));
        batch.labels.extend(labels);
        batch.ids.extend(std::iter::repeat_n(i64::from(pad), padding));
        batch.mask.extend(std::iter::repeat_n(0, padding));
        batch.labels.extend(std::iter::repeat_n(IGNORE_LABEL, padding));
    }
    batch
}

/// For each token of an utterance, whether the word it belongs to is an ophthalmic term.
pub fn ophthalmic_positions(ids: &[u32], tokenizer: &WordPieceTokenizer) -> Vec<bool> {
    let mut marks = vec![false; ids.len()];
    let mut start = 0;
    while start < ids.len() {
        let mut end = start + 1;
        while end < ids.len() && tokenizer.continues_word(ids[end]) {
            end += 1;
        }
        let word: String = ids[start..end]
            .iter()
            .map(|id| {
                tokenizer.vocabulary()[*id as usize]
                    .trim_start_matches("##")
                    .to_lowercase()
            })
            .collect();
        let found = is_ophthalmic(&word);
        marks[start..end].fill(found);
        start = end;
    }
    marks
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::text::wordpiece::Casing;

    fn tokenizer() -> WordPieceTokenizer {
        let pieces = [
            "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "retin", "##opathy", "of", "the", "dog",
        ];
        WordPieceTokenizer::from_vocabulary(pieces.map(str::to_owned).to_vec(), Casing::default()).unwrap()
    }

    fn utterances() -> Utterances {
        let tokenizer = tokenizer();
        let mut all = Utterances {
            starts: vec![0],
            ..Utterances::default()
        };
        for i in 0..97 {
            let text = vec!["the dog of"; 1 + i % 7].join(" ");
            all.push_text(&text, &tokenizer, 64, hash_order(1, &format!("{i}")))
                .unwrap();
        }
        all
    }

    #[test]
    fn long_texts_are_cut_and_nothing_is_lost() {
        let tokenizer = tokenizer();
        let mut all = Utterances {
            starts: vec![0],
            ..Utterances::default()
        };
        all.push_text(&vec!["dog"; 20].join(" "), &tokenizer, 8, 0).unwrap();
        assert_eq!(all.len(), 4);
        assert_eq!((0..4).map(|i| all.tokens(i).len() - 2).sum::<usize>(), 20);
        for i in 0..4 {
            assert_eq!((all.tokens(i)[0], *all.tokens(i).last().unwrap()), (2, 3));
        }
    }

    #[test]
    fn an_epoch_has_every_row_once_and_little_padding() {
        let all = utterances();
        let rows: Vec<u32> = (0..97).collect();
        let batches = epoch_batches(&all, &rows, 8, 5, 0);
        let mut seen: Vec<u32> = batches.concat();
        seen.sort_unstable();
        assert_eq!(seen, rows);
        assert_ne!(batches, epoch_batches(&all, &rows, 8, 5, 1));
        assert_eq!(batches, epoch_batches(&all, &rows, 8, 5, 0));
        let padded: usize = batches
            .iter()
            .map(|batch| batch.len() * batch.iter().map(|r| all.tokens(*r as usize).len()).max().unwrap())
            .sum();
        assert!(
            (padded as f64) < 1.15 * all.total_tokens() as f64,
            "{padded} of {}",
            all.total_tokens()
        );
    }

    #[test]
    fn batches_are_padded_and_masked_by_position() {
        let all = utterances();
        let vocabulary = MaskingVocabulary::new(&tokenizer());
        let settings = MaskingSettings {
            probability: 0.5,
            whole_word: false,
        };
        let batch = masked_batch(&all, &[0, 6], &vocabulary, settings, 0, 1, 9);
        assert_eq!(batch.shape, [2, 23]);
        assert_eq!(batch.mask.iter().sum::<i64>(), 5 + 23);
        assert!((5..23).all(|i| batch.ids[i] == 0 && batch.labels[i] == IGNORE_LABEL));
        assert!(batch.labels.iter().any(|label| *label != IGNORE_LABEL));
        let again = masked_batch(&all, &[0, 6], &vocabulary, settings, 0, 1, 9);
        assert_eq!((batch.ids, batch.labels), (again.ids, again.labels));
    }

    #[test]
    fn ophthalmic_terms_are_found_across_pieces() {
        let tokenizer = tokenizer();
        let ids = tokenizer.encode("the retinopathy of the dog", 32).unwrap();
        let marks = ophthalmic_positions(&ids, &tokenizer);
        assert_eq!(marks, [false, false, true, true, false, false, false, false]);
    }

    #[test]
    fn the_held_out_share_is_met_without_overlap() {
        let all = utterances();
        let (training, held) = all.hold_out(0.2);
        assert_eq!(training.len() + held.len(), 97);
        assert!((8..32).contains(&held.len()), "{}", held.len());
        assert!(all.hold_out(0.0).1.is_empty());
    }
}
