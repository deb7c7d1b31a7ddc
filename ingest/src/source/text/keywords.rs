//! Ophthalmic keywords: derived by a statistic, kept in a file that a person can
//! edit, and matched in utterances.
//!
//! Derivation. In-domain texts (captions of the dataset folder and corpora declared
//! ophthalmic; in a language without either, the utterances that hold a core word)
//! stand against the other corpora. A term (one to three English words, two to six Chinese
//! characters) is a keyword when
//! 1. it occurs in at least [`MIN_COUNT`] in-domain texts,
//! 2. Dunning's log-likelihood ratio (1993) of its rates is at least [`MIN_LLR`]
//!    and its in-domain rate is the higher one,
//! 3. of the corpus texts that hold it, at least [`MIN_SPECIFIC`] also hold a
//!    core word, so that general medical words (`hemorrhage`, 出血) stay out,
//! 4. no shorter keyword within it says the same.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use anyhow::{Context, bail};
use dataset::hash::sha256_hex;

/// In-domain texts a keyword occurs in at least.
pub const MIN_COUNT: u32 = 3;
/// Least log-likelihood ratio (chi-squared, one degree of freedom, p < 0.0001).
pub const MIN_LLR: f64 = 15.13;
/// Least share of a term's corpus texts that hold a core word too.
pub const MIN_SPECIFIC: f64 = 0.6;
/// Keywords kept per language, best first.
pub const MAX_PER_LANGUAGE: usize = 600;

/// Words that are about the eye beyond doubt. They are keywords themselves.
const CORE_EN: [&str; 54] = [
    "eye",
    "eyes",
    "eyelid",
    "eyelids",
    "eyeball",
    "ocular",
    "intraocular",
    "ophthalmic",
    "ophthalmology",
    "ophthalmologist",
    "ophthalmoscopy",
    "retina",
    "retinas",
    "retinal",
    "retinopathy",
    "retinitis",
    "retinoblastoma",
    "macula",
    "macular",
    "maculopathy",
    "fovea",
    "foveal",
    "fundus",
    "choroid",
    "choroidal",
    "choroiditis",
    "vitreous",
    "cornea",
    "corneal",
    "keratitis",
    "conjunctiva",
    "conjunctival",
    "conjunctivitis",
    "uvea",
    "uveitis",
    "iris",
    "iritis",
    "sclera",
    "scleritis",
    "glaucoma",
    "cataract",
    "cataracts",
    "drusen",
    "optic nerve",
    "optic disc",
    "optic disk",
    "papilledema",
    "vision",
    "visual acuity",
    "visual field",
    "myopia",
    "strabismus",
    "amblyopia",
    "blindness",
];
const CORE_ZH: [&str; 46] = [
    "眼底",
    "眼科",
    "眼睛",
    "眼球",
    "眼压",
    "眼病",
    "眼部",
    "眼睑",
    "眼眶",
    "眼轴",
    "右眼",
    "左眼",
    "双眼",
    "单眼",
    "患眼",
    "视网膜",
    "黄斑",
    "脉络膜",
    "玻璃体",
    "视神经",
    "视盘",
    "视乳头",
    "视力",
    "视野",
    "角膜",
    "结膜",
    "巩膜",
    "虹膜",
    "晶状体",
    "葡萄膜",
    "瞳孔",
    "青光眼",
    "白内障",
    "近视",
    "远视",
    "散光",
    "斜视",
    "弱视",
    "失明",
    "夜盲",
    "飞蚊症",
    "干眼",
    "中心凹",
    "玻璃膜疣",
    "眼底彩照",
    "眼内炎",
];

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

/// How a list of keywords came about.
#[derive(Debug, Clone, PartialEq)]
pub struct Keyword {
    /// The term, lower case.
    pub term: String,
    /// Log-likelihood ratio; infinite for core words.
    pub score: f64,
}

/// Matches keywords in texts.
#[derive(Debug, Clone, Default)]
pub struct Keywords {
    english: HashSet<String>,
    chinese: HashSet<String>,
    longest_words: usize,
    longest_chars: usize,
}

impl Keywords {
    /// A matcher for these terms.
    pub fn new<'a>(terms: impl IntoIterator<Item = &'a str>) -> Self {
        let mut out = Self::default();
        for term in terms {
            let term = term.trim().to_lowercase();
            if term.is_empty() {
                continue;
            }
            if term.chars().any(is_cjk) {
                out.longest_chars = out.longest_chars.max(term.chars().count());
                out.chinese.insert(term);
            } else {
                let words: Vec<String> = words(&term);
                out.longest_words = out.longest_words.max(words.len());
                out.english.insert(words.join(" "));
            }
        }
        out
    }

    /// The built-in core words of both languages.
    pub fn core() -> Self {
        Self::new(CORE_EN.into_iter().chain(CORE_ZH))
    }

    /// Number of keywords.
    pub fn len(&self) -> usize {
        self.english.len() + self.chinese.len()
    }

    /// True without keywords.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The keywords a text holds, each once, sorted.
    pub fn matches(&self, text: &str) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        if !self.english.is_empty() {
            let words = words(text);
            for k in 0..words.len() {
                for len in 1..=self.longest_words.min(words.len() - k) {
                    let term = words[k..k + len].join(" ");
                    if self.english.contains(&term) {
                        found.push(term);
                    }
                }
            }
        }
        if !self.chinese.is_empty() && text.chars().any(is_cjk) {
            let places: Vec<usize> = text.char_indices().map(|x| x.0).chain([text.len()]).collect();
            for k in 0..places.len().saturating_sub(1) {
                for len in 1..=self.longest_chars.min(places.len() - 1 - k) {
                    let term = &text[places[k]..places[k + len]];
                    if self.chinese.contains(term) {
                        found.push(term.to_owned());
                    }
                }
            }
        }
        found.sort();
        found.dedup();
        found
    }
}

fn is_cjk(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{9fff}')
}

/// Lower-case words of a text: runs of Latin letters, digits and inner hyphens.
fn words(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut word = String::new();
    for c in text.chars().chain([' ']) {
        if c.is_alphanumeric() && !is_cjk(c) {
            word.extend(c.to_lowercase());
        } else if !word.is_empty() {
            out.push(std::mem::take(&mut word));
        }
    }
    out
}

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
        for k in 0..chars.len() {
            for len in 2..=6.min(chars.len() - k) {
                if !STOP_ZH.contains(chars[k]) && !STOP_ZH.contains(chars[k + len - 1]) {
                    out.insert(chars[k..k + len].iter().collect());
                }
            }
        }
    }
    out
}

/// Counts for the derivation; feed in-domain texts first, then every corpus text.
#[derive(Default)]
pub struct Derivation {
    domain: HashMap<String, u32>,
    domain_texts: u32,
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
            if score >= MIN_LLR && specific && higher {
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
                have = extend(have, &keyword.term);
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

fn extend(mut keywords: Keywords, term: &str) -> Keywords {
    if term.chars().any(is_cjk) {
        keywords.longest_chars = keywords.longest_chars.max(term.chars().count());
        keywords.chinese.insert(term.to_owned());
    } else {
        keywords.longest_words = keywords.longest_words.max(term.split(' ').count());
        keywords.english.insert(term.to_owned());
    }
    keywords
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

const HEADER: &str = "# Keywords, one a line; the number behind is the log-likelihood ratio (core: built in).\n\
# Edit freely: lines may be added, removed or put behind a `#`. An edited list is used as it is.\n";

/// The text of a keyword file.
pub fn render(keywords: &[Keyword]) -> String {
    let mut body = String::new();
    for keyword in keywords {
        let score = if keyword.score.is_finite() {
            format!("{:.1}", keyword.score)
        } else {
            "core".to_owned()
        };
        body.push_str(&format!("{}\t{score}\n", keyword.term));
    }
    format!("{HEADER}# derived list, sha256 {}\n{body}", sha256_hex(body.as_bytes()))
}

/// True when a derived keyword file was changed by a person since.
pub fn is_edited(text: &str) -> bool {
    let Some((head, body)) = text.split_once("# derived list, sha256 ") else {
        return true;
    };
    let Some((digest, body)) = body.split_once('\n') else {
        return true;
    };
    head != HEADER || digest.trim() != sha256_hex(body.as_bytes())
}

/// Reads a keyword file: one term a line, `#` begins a remark, a tab ends the term.
///
/// # Errors
/// The file cannot be read, is not UTF-8, or holds no term.
pub fn read(path: &Path) -> anyhow::Result<Keywords> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read the keywords {}", path.display()))?;
    let keywords = parse(&text);
    if keywords.is_empty() {
        bail!("{}: no keywords; write one term a line", path.display());
    }
    Ok(keywords)
}

/// The terms of a keyword file's text.
pub fn parse(text: &str) -> Keywords {
    let lines = text.trim_start_matches('\u{feff}').lines();
    Keywords::new(lines.filter_map(|line| {
        let term = line.split(['#', '\t']).next().unwrap_or("").trim();
        (!term.is_empty()).then_some(term)
    }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn whole_words_match_in_english_and_strings_in_chinese() {
        let keywords = parse("# remark\nretina\t12.0\nOptic nerve\n黄斑\n");
        assert_eq!(keywords.len(), 3);
        assert_eq!(
            keywords.matches("The RETINA and the optic-nerve."),
            ["optic nerve", "retina"]
        );
        assert!(keywords.matches("retinal detachment").is_empty());
        assert_eq!(keywords.matches("右眼黄斑水肿"), ["黄斑"]);
    }

    #[test]
    fn the_statistic_finds_eye_words_and_leaves_general_ones() {
        let mut derivation = Derivation::default();
        for k in 0..20 {
            derivation.add_domain(&format!(
                "Late angiogram with staphyloma and hemorrhage, image {k}. 晚期荧光素渗漏伴出血"
            ));
        }
        derivation.end_domain();
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
            has("staphyloma") && has("angiogram") && has("retina") && has("荧光"),
            "{keywords:?}"
        );
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

    #[test]
    fn files_know_whether_they_were_edited() {
        let text = render(&[
            Keyword {
                term: "retina".to_owned(),
                score: 3.0,
            },
            Keyword {
                term: "眼".to_owned(),
                score: f64::INFINITY,
            },
        ]);
        assert!(!is_edited(&text));
        assert!(is_edited(&text.replace("3.0", "4.0")) && is_edited("retina\n"));
        assert_eq!(parse(&text).len(), 2);
    }
}
