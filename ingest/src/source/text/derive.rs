//! Ophthalmic keywords derived by a statistic.
//!
//! In-domain texts (captions of the dataset folder and corpora declared
//! ophthalmic; in a language without either, the utterances that hold a core word)
//! stand against the other corpora. A term (one to three English words, two to six Chinese
//! characters) is a keyword when
//! 1. it occurs in at least [`MIN_COUNT`] in-domain texts,
//! 2. Dunning's log-likelihood ratio (1993) of its rates is at least [`MIN_LLR`]
//!    and its in-domain rate is the higher one,
//! 3. of the corpus texts that hold it, at least [`MIN_SPECIFIC`] also hold a
//!    core word, so that general medical words (`hemorrhage`, 出血) stay out,
//! 4. if Chinese, it is a word and no piece of one: what stands beside a word varies (Harris 1955), so on
//!    either side at least [`MIN_NEIGHBOURS`] different things do in the in-domain texts, none of them
//!    in more than [`MAX_SAME_NEIGHBOUR`] of the places (网膜 hardly ever stands without 视 before it),
//! 5. no shorter keyword within it says the same.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::keywords::{CORE_EN, CORE_ZH, Keyword, Keywords, is_cjk, words};

/// In-domain texts a keyword occurs in at least.
pub const MIN_COUNT: u32 = 3;
/// Least log-likelihood ratio (chi-squared, one degree of freedom, p < 0.0001).
pub const MIN_LLR: f64 = 15.13;
/// Least share of a term's corpus texts that hold a core word too.
pub const MIN_SPECIFIC: f64 = 0.6;
/// Different neighbours of a Chinese word on either side; every end of a run of Chinese characters is one.
pub const MIN_NEIGHBOURS: usize = 3;
/// Largest share of a Chinese word's places with the same character on one side.
pub const MAX_SAME_NEIGHBOUR: f64 = 0.6;
/// Keywords kept per language, best first.
pub const MAX_PER_LANGUAGE: usize = 600;

/// Words at the edge of no term.
const STOP_EN: [&str; 70] = [
    "a", "an", "the", "of", "in", "on", "at", "to", "for", "from", "by", "with", "without", "and", "or", "is", "are",
    "was", "were", "be", "been", "has", "have", "had", "this", "that", "these", "those", "it", "its", "as", "not",
    "no", "can", "may", "will", "which", "who", "their", "his", "her", "he", "she", "they", "we", "you", "your", "i",
    "my", "but", "if", "so", "than", "then", "there", "also", "after", "before", "during", "both", "each", "any",
    "all", "same", "patient", "patients", "year", "years", "old", "figure",
];
/// Characters at the edge of no Chinese term.
const STOP_ZH: &str = "的了在是有和与或及为于以被把对从到等也都而其之可见示呈者后前中内外上下左右不无未已一二三四五六七八九十个年月日时患病人于";

/// Terms of a text that may become keywords, each once.
fn terms(text: &str) -> HashSet<String> {
    let mut out = HashSet::new();
    let words = words(text);
    for k in 0..words.len() {
        for len in 1..=3.min(words.len() - k) {
            let gram = &words[k..k + len];
            let edge = |w: &String| {
                STOP_EN.contains(&w.as_str()) || w.chars().count() < 3 || !w.chars().all(char::is_alphabetic)
            };
            if edge(&gram[0]) || edge(&gram[len - 1]) {
                continue;
            }
            out.insert(gram.join(" "));
        }
    }
    for run in text.split(|c: char| !is_cjk(c)).filter(|r| !r.is_empty()) {
        let chars: Vec<char> = run.chars().collect();
        for_each_chinese_term(&chars, |from, to| {
            out.insert(chars[from..to].iter().collect());
        });
    }
    out
}

/// Calls `f` with the first and the last place (exclusive) of every possible term in a run of Chinese characters.
fn for_each_chinese_term(run: &[char], mut f: impl FnMut(usize, usize)) {
    for from in 0..run.len() {
        for to in from + 2..=(from + 6).min(run.len()) {
            if !STOP_ZH.contains(run[from]) && !STOP_ZH.contains(run[to - 1]) {
                f(from, to);
            }
        }
    }
}

/// What stands on one side of a Chinese term.
#[derive(Default)]
struct Neighbours {
    places: u32,
    characters: HashMap<char, u32>,
    /// Places where a run of Chinese characters begins or ends.
    ends: u32,
}

impl Neighbours {
    fn add(&mut self, neighbour: Option<char>) {
        self.places += 1;
        match neighbour {
            Some(c) => *self.characters.entry(c).or_default() += 1,
            None => self.ends += 1,
        }
    }

    /// True where so much varies as beside a word.
    fn vary(&self) -> bool {
        let most = self.characters.values().copied().max().unwrap_or(0);
        self.characters.len() + self.ends as usize >= MIN_NEIGHBOURS
            && f64::from(most) <= MAX_SAME_NEIGHBOUR * f64::from(self.places)
    }
}

/// Counts for the derivation; feed in-domain texts first, the same once more as contexts, then every corpus text.
#[derive(Default)]
pub struct Derivation {
    domain: HashMap<String, u32>,
    domain_texts: u32,
    /// Chinese in-domain term → what stands before it and behind it.
    contexts: HashMap<String, [Neighbours; 2]>,
    /// Term → corpus texts that hold it, and those of them with a core word.
    corpus: HashMap<String, (u32, u32)>,
    corpus_texts: u32,
    core: Option<Keywords>,
}

impl Derivation {
    /// Counts one in-domain text.
    pub fn add_domain(&mut self, text: &str) {
        self.domain_texts += 1;
        for term in terms(text) {
            *self.domain.entry(term).or_default() += 1;
        }
    }

    /// Ends the in-domain part: terms that are too rare are forgotten.
    pub fn end_domain(&mut self) {
        self.domain.retain(|_, count| *count >= MIN_COUNT);
        self.core = Some(Keywords::core());
    }

    /// Counts what stands beside the Chinese terms of one in-domain text.
    pub fn add_context(&mut self, text: &str) {
        for run in text.split(|c: char| !is_cjk(c)).filter(|r| !r.is_empty()) {
            let chars: Vec<char> = run.chars().collect();
            for_each_chinese_term(&chars, |from, to| {
                let term: String = chars[from..to].iter().collect();
                if self.domain.contains_key(&term) {
                    let [before, behind] = self.contexts.entry(term).or_default();
                    before.add(from.checked_sub(1).map(|k| chars[k]));
                    behind.add(chars.get(to).copied());
                }
            });
        }
    }

    /// True for an English term, and for a Chinese one that is no piece of a word.
    fn is_word(&self, term: &str) -> bool {
        !term.chars().any(is_cjk)
            || self
                .contexts
                .get(term)
                .is_some_and(|sides| sides.iter().all(Neighbours::vary))
    }

    /// Counts one text of the corpora.
    pub fn add_corpus(&mut self, text: &str) {
        let has_core = self.core.as_ref().is_some_and(|core| !core.matches(text).is_empty());
        self.corpus_texts += 1;
        for term in terms(text) {
            if self.domain.contains_key(&term) {
                let entry = self.corpus.entry(term).or_default();
                entry.0 += 1;
                entry.1 += u32::from(has_core);
            }
        }
    }

    /// The keywords, best first; core words come first of all.
    pub fn finish(self) -> Vec<Keyword> {
        let core: HashSet<&str> = CORE_EN.into_iter().chain(CORE_ZH).collect();
        let mut scored: Vec<Keyword> = Vec::new();
        for (term, &count) in &self.domain {
            if core.contains(term.as_str()) {
                continue;
            }
            let (corpus, with_core) = self.corpus.get(term).copied().unwrap_or((0, 0));
            let score = log_likelihood(count, self.domain_texts, corpus, self.corpus_texts);
            let specific = if corpus == 0 {
                holds_core(term, &core)
            } else {
                f64::from(with_core) >= MIN_SPECIFIC * f64::from(corpus)
            };
            let higher = f64::from(count) * f64::from(self.corpus_texts.max(1))
                > f64::from(corpus) * f64::from(self.domain_texts.max(1));
            if score >= MIN_LLR && specific && higher && self.is_word(term) {
                scored.push(Keyword {
                    term: term.clone(),
                    score,
                });
            }
        }
        scored.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.term.cmp(&b.term)));
        let mut kept: Vec<Keyword> = core
            .iter()
            .map(|term| Keyword {
                term: (*term).to_owned(),
                score: f64::INFINITY,
            })
            .collect();
        kept.sort_by(|a, b| a.term.cmp(&b.term));
        // A term that holds a keyword lets in nothing that the keyword does not.
        let mut have = Keywords::core();
        let mut counts: BTreeMap<bool, usize> = BTreeMap::new();
        scored.sort_by(|a, b| {
            a.term
                .chars()
                .count()
                .cmp(&b.term.chars().count())
                .then_with(|| b.score.total_cmp(&a.score))
                .then_with(|| a.term.cmp(&b.term))
        });
        let mut plain: Vec<Keyword> = Vec::new();
        for keyword in scored {
            if have.matches(&keyword.term).is_empty() {
                have.insert(&keyword.term);
                plain.push(keyword);
            }
        }
        plain.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.term.cmp(&b.term)));
        for keyword in plain {
            let count = counts.entry(keyword.term.chars().any(is_cjk)).or_default();
            if *count < MAX_PER_LANGUAGE {
                *count += 1;
                kept.push(keyword);
            }
        }
        kept
    }
}

/// A term that no corpus text holds is specific when a core word is part of it.
fn holds_core(term: &str, core: &HashSet<&str>) -> bool {
    core.iter().any(|c| term.contains(c))
}

/// Dunning's log-likelihood ratio of two rates: `a` of `n` against `b` of `m`.
pub fn log_likelihood(a: u32, n: u32, b: u32, m: u32) -> f64 {
    let (a, n, b, m) = (f64::from(a), f64::from(n), f64::from(b), f64::from(m));
    let likelihood = |k: f64, n: f64, p: f64| {
        let term = |x: f64, p: f64| {
            if x > 0.0 {
                x * p.max(f64::MIN_POSITIVE).ln()
            } else {
                0.0
            }
        };
        term(k, p) + term(n - k, 1.0 - p)
    };
    if n <= 0.0 || m <= 0.0 {
        return if n > 0.0 && m <= 0.0 { 2.0 * a } else { 0.0 };
    }
    let pooled = (a + b) / (n + m);
    2.0 * (likelihood(a, n, a / n) + likelihood(b, m, b / m) - likelihood(a, n, pooled) - likelihood(b, m, pooled))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_statistic_finds_eye_words_and_leaves_general_ones() {
        let mut derivation = Derivation::default();
        let verbs = ["示", "见", "查", "提"];
        let domain: Vec<String> = (0..20)
            .map(|k| {
                let verb = verbs[k % 4];
                let found = ["渗漏", "染色", "充盈", "遮蔽"][k / 5];
                format!("Late angiogram with staphyloma and hemorrhage, image {k}. 晚期{verb}荧光素{found}伴出血")
            })
            .collect();
        domain.iter().for_each(|text| derivation.add_domain(text));
        derivation.end_domain();
        domain.iter().for_each(|text| derivation.add_context(text));
        for k in 0..200 {
            derivation.add_corpus(&format!(
                "Brain hemorrhage case number {k} needs surgery. 脑出血患者需要手术"
            ));
        }
        for _ in 0..5 {
            derivation.add_corpus("Posterior staphyloma of the eye seen on the angiogram. 荧光素造影见视网膜渗漏");
        }
        let keywords = derivation.finish();
        let has = |t: &str| keywords.iter().any(|k| k.term == t);
        assert!(
            has("staphyloma") && has("angiogram") && has("retina") && has("荧光素"),
            "{keywords:?}"
        );
        // Pieces of 荧光素.
        assert!(!has("荧光") && !has("光素"), "{keywords:?}");
        assert!(!has("hemorrhage") && !has("出血") && !has("image"));
        assert!(!has("late angiogram"), "the shorter keyword says the same");
    }

    #[test]
    fn log_likelihood_of_equal_rates_is_zero() {
        assert!(log_likelihood(10, 100, 20, 200).abs() < 1e-9);
        assert!(log_likelihood(50, 100, 1, 1000) > 100.0);
        assert_eq!(log_likelihood(0, 0, 1, 10), 0.0);
        // Hand check: 2 * (5 ln(0.5) + 5 ln(0.5) + 0 - 10*... ) against the closed form.
        let want = 2.0
            * ((5.0 * 0.5f64.ln() + 5.0 * 0.5f64.ln()) + (10.0 * 1.0f64.ln())
                - (5.0 * 0.25f64.ln() + 15.0 * 0.75f64.ln()));
        assert!((log_likelihood(5, 10, 0, 10) - want).abs() < 1e-9);
    }
}
