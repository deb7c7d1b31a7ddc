//! Words of captions: length, vocabulary, lexical diversity, frequent terms.

use super::chinese;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Width of a bin of the caption-length histogram, in words (paper, Fig. 2b).
pub const BIN: usize = 25;

/// Terms kept per group.
const TOP_TERMS: usize = 60;

/// Two words count as one term when they stand side by side in at least this
/// share of the rarer word's occurrences, and at least [`MIN_PAIR`] times.
const PAIR_SHARE: f64 = 0.3;
const MIN_PAIR: u64 = 3;

/// Language of a caption's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// English and other texts with spaces between words.
    En,
    /// Chinese.
    Zh,
}

impl Language {
    /// `en` or `zh`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Zh => "zh",
        }
    }

    /// Chinese when at least a third of the letters are Chinese signs.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let letters = text.chars().filter(|c| c.is_alphabetic()).count();
        let chinese = text.chars().filter(|&c| chinese::is_sign(c)).count();
        if chinese * 3 >= letters && chinese > 0 {
            Self::Zh
        } else {
            Self::En
        }
    }
}

/// English words: pieces between white space that hold a letter or digit, in
/// lower case, without punctuation at their ends.
#[must_use]
pub fn english_words(text: &str) -> Vec<String> {
    text.split_whitespace()
        .map(|piece| piece.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase())
        .filter(|word| !word.is_empty())
        .collect()
}

/// Words of a caption in its language.
#[must_use]
pub fn words(text: &str, language: Language) -> Vec<String> {
    match language {
        Language::En => english_words(text),
        Language::Zh => chinese::words(text),
    }
}

/// Signs of a Chinese caption: all but white space.
fn sign_count(text: &str) -> usize {
    text.chars().filter(|c| !c.is_whitespace()).count()
}

/// Collects the words of a group of captions.
#[derive(Debug, Default, Clone)]
pub struct Collector {
    captions: u64,
    words: u64,
    unique_sum: u64,
    ratio_sum: f64,
    longest: usize,
    by_words: BTreeMap<usize, u64>,
    by_signs: BTreeMap<usize, u64>,
    counts: HashMap<String, u64>,
    pairs: HashMap<(String, String), u64>,
}

/// Text statistics of one group of captions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TextStatistics {
    /// Captions with at least one word.
    pub captions: u64,
    /// Words in all captions.
    pub words: u64,
    /// Mean words of a caption.
    pub mean_words: f64,
    /// Words of the longest caption.
    pub longest: u64,
    /// Different words over all captions ("vocabulary size", Fig. 2c).
    pub vocabulary: u64,
    /// Mean number of different words in a caption (paper, caption of Fig. 2).
    pub lexical_diversity: f64,
    /// Vocabulary divided by words: the ratio variant of MM-Retinal V1.
    pub lexical_diversity_ratio: f64,
    /// Mean over captions of different words divided by words.
    pub caption_ratio: f64,
    /// Captions by length in words; bins of 25.
    pub length_words: Vec<Bin>,
    /// Chinese only: captions by length in signs; bins of 25.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub length_signs: Vec<Bin>,
    /// Most frequent terms without function words.
    pub terms: Vec<Term>,
}

/// One bar of a histogram.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bin {
    /// `1-25`, `26-50`, ...
    pub range: String,
    /// Captions.
    pub captions: u64,
    /// Share of the group's captions, 0..=1.
    pub share: f64,
}

/// A frequent term.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Term {
    /// One word or two.
    pub term: String,
    /// Occurrences.
    pub count: u64,
}

impl Collector {
    /// Adds a caption; one without words is not counted.
    pub fn add(&mut self, text: &str, language: Language) {
        if language == Language::En {
            self.add_pairs(text);
        }
        self.add_words(text, language);
    }

    /// Adds a text whose frequent terms are not wanted: saves the memory for
    /// pairs of words.
    pub fn add_words(&mut self, text: &str, language: Language) {
        let words = words(text, language);
        if words.is_empty() {
            return;
        }
        let unique: HashSet<&String> = words.iter().collect();
        self.captions += 1;
        self.words += words.len() as u64;
        self.unique_sum += unique.len() as u64;
        self.ratio_sum += unique.len() as f64 / words.len() as f64;
        self.longest = self.longest.max(words.len());
        *self.by_words.entry((words.len() - 1) / BIN).or_default() += 1;
        if language == Language::Zh {
            let signs = sign_count(text);
            *self.by_signs.entry((signs.max(1) - 1) / BIN).or_default() += 1;
        }
        for word in words {
            *self.counts.entry(word).or_default() += 1;
        }
    }

    /// Neighbours within a clause, both of them content words.
    fn add_pairs(&mut self, text: &str) {
        for clause in text.split(['.', ',', ';', ':', '(', ')', '?', '!']) {
            for two in english_words(clause).windows(2) {
                if is_content(&two[0]) && is_content(&two[1]) && two[0] != two[1] {
                    *self.pairs.entry((two[0].clone(), two[1].clone())).or_default() += 1;
                }
            }
        }
    }

    /// The finished statistics.
    #[must_use]
    pub fn finish(&self) -> TextStatistics {
        let captions = self.captions.max(1) as f64;
        let words = self.words.max(1) as f64;
        TextStatistics {
            captions: self.captions,
            words: self.words,
            mean_words: round(self.words as f64 / captions),
            longest: self.longest as u64,
            vocabulary: self.counts.len() as u64,
            lexical_diversity: round(self.unique_sum as f64 / captions),
            lexical_diversity_ratio: round(self.counts.len() as f64 / words),
            caption_ratio: round(self.ratio_sum / captions),
            length_words: bins(&self.by_words, self.captions),
            length_signs: bins(&self.by_signs, self.captions),
            terms: self.terms(),
        }
    }

    fn terms(&self) -> Vec<Term> {
        let mut left: HashMap<&str, u64> = self
            .counts
            .iter()
            .filter(|(word, _)| is_content(word))
            .map(|(word, &count)| (word.as_str(), count))
            .collect();
        let mut pairs: Vec<_> = self.pairs.iter().filter(|&(_, &count)| count >= MIN_PAIR).collect();
        pairs.sort_by(|a, b| b.1.cmp(a.1).then_with(|| a.0.cmp(b.0)));
        let mut terms = Vec::new();
        for ((first, second), &count) in pairs {
            let rarer = self
                .counts
                .get(first)
                .min(self.counts.get(second))
                .copied()
                .unwrap_or(0);
            if (count as f64) < PAIR_SHARE * rarer as f64 {
                continue;
            }
            for word in [first, second] {
                if let Some(rest) = left.get_mut(word.as_str()) {
                    *rest = rest.saturating_sub(count);
                }
            }
            terms.push(Term {
                term: format!("{first} {second}"),
                count,
            });
        }
        let singles = left.into_iter().filter(|&(_, count)| count > 0);
        terms.extend(singles.map(|(word, count)| Term {
            term: word.to_owned(),
            count,
        }));
        terms.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.term.cmp(&b.term)));
        terms.truncate(TOP_TERMS);
        terms
    }
}

/// Four digits behind the point: enough to compare, the same on every machine.
pub(crate) fn round(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}

/// All bins from the first to the last one that holds a caption.
fn bins(counts: &BTreeMap<usize, u64>, captions: u64) -> Vec<Bin> {
    let Some((&last, _)) = counts.last_key_value() else {
        return Vec::new();
    };
    (0..=last)
        .map(|index| {
            let count = counts.get(&index).copied().unwrap_or(0);
            Bin {
                range: format!("{}-{}", index * BIN + 1, (index + 1) * BIN),
                captions: count,
                share: round(count as f64 / captions.max(1) as f64),
            }
        })
        .collect()
}

/// Whether a word says something by itself: no function word, number, letter.
fn is_content(word: &str) -> bool {
    let letters = word.chars().filter(|c| c.is_alphabetic()).count();
    let chinese = word.chars().any(chinese::is_sign);
    if chinese {
        return word.chars().count() > 1 && !chinese::FUNCTION_WORDS.contains(&word);
    }
    letters > 1 && letters * 2 > word.len() && !FUNCTION_WORDS.contains(&word)
}

/// English words without a meaning of their own in captions.
const FUNCTION_WORDS: &[&str] = &[
    "a", "about", "above", "after", "all", "also", "an", "and", "any", "are", "around", "as", "at", "be", "because",
    "been", "before", "being", "below", "between", "both", "but", "by", "can", "did", "do", "does", "down", "due",
    "during", "each", "either", "fig", "figs", "figure", "few", "for", "from", "further", "had", "has", "have",
    "having", "here", "how", "however", "if", "in", "into", "is", "it", "its", "itself", "just", "may", "more", "most",
    "much", "multiple", "near", "no", "nor", "not", "of", "off", "on", "once", "one", "only", "or", "other", "our",
    "out", "over", "own", "per", "same", "see", "seen", "several", "she", "he", "his", "her", "should", "show",
    "showed", "showing", "shown", "shows", "so", "some", "such", "than", "that", "the", "their", "them", "then",
    "there", "these", "they", "this", "those", "through", "to", "too", "two", "under", "until", "up", "very", "was",
    "well", "were", "what", "when", "where", "which", "while", "who", "will", "with", "within", "without",
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn english_words_lose_case_and_outer_punctuation() {
        let words = english_words("(A) The fovea's edge: star-shaped,  \"hard\" exudates -- 1/2 PD.");
        assert_eq!(
            words,
            [
                "a",
                "the",
                "fovea's",
                "edge",
                "star-shaped",
                "hard",
                "exudates",
                "1/2",
                "pd"
            ]
        );
    }

    #[test]
    fn numbers_of_a_small_group() {
        let mut collector = Collector::default();
        collector.add("soft drusen, soft drusen", Language::En);
        collector.add("Soft drusen in the macula", Language::En);
        collector.add(&"word ".repeat(26), Language::En);
        collector.add(" -- ", Language::En);
        let found = collector.finish();
        assert_eq!(
            (found.captions, found.words, found.vocabulary, found.longest),
            (3, 35, 6, 26)
        );
        // Different words: 2, 5 and 1.
        assert_eq!(found.lexical_diversity, round(8.0 / 3.0));
        assert_eq!(found.lexical_diversity_ratio, round(6.0 / 35.0));
        assert_eq!(found.caption_ratio, round((0.5 + 1.0 + 1.0 / 26.0) / 3.0));
        let bins: Vec<_> = found
            .length_words
            .iter()
            .map(|bin| (bin.range.as_str(), bin.captions))
            .collect();
        assert_eq!(bins, [("1-25", 2), ("26-50", 1)]);
        assert_eq!(
            found.terms[0],
            Term {
                term: "word".to_owned(),
                count: 26
            }
        );
        assert_eq!(
            found.terms[1],
            Term {
                term: "soft drusen".to_owned(),
                count: 3
            }
        );
        assert!(found.terms.iter().all(|term| term.term != "soft" && term.term != "the"));
    }

    #[test]
    fn chinese_counts_signs_and_words() {
        let mut collector = Collector::default();
        collector.add("黄斑区玻璃膜疣，右眼底后极部", Language::Zh);
        let found = collector.finish();
        assert_eq!(found.length_signs[0].captions, 1);
        assert!(found.words >= 4 && found.words < 13, "{found:?}");
        assert_eq!(Language::of("黄斑 OCT 图"), Language::Zh);
        assert_eq!(Language::of("Color photograph of the fundus (眼)"), Language::En);
        assert_eq!(Language::of(""), Language::En);
    }

    proptest! {
        #[test]
        fn bins_hold_every_caption_once(texts in proptest::collection::vec("[a-c ,.]{0,300}", 0..20)) {
            let mut collector = Collector::default();
            for text in &texts {
                collector.add(text, Language::En);
            }
            let found = collector.finish();
            prop_assert_eq!(found.length_words.iter().map(|bin| bin.captions).sum::<u64>(), found.captions);
            prop_assert!(found.lexical_diversity <= found.vocabulary as f64 + 1e-3);
            prop_assert!(found.vocabulary <= found.words);
        }
    }
}
