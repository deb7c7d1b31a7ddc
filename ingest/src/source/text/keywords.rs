//! Ophthalmic keywords: kept in a file that a person can edit, and matched in utterances.
//! [`super::derive`] finds them.

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Context, bail};
use dataset::hash::sha256_hex;

/// Words that are about the eye beyond doubt. They are keywords themselves.
pub(super) const CORE_EN: [&str; 54] = [
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
pub(super) const CORE_ZH: [&str; 46] = [
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
            out.insert(term);
        }
        out
    }

    /// Adds a term; an empty one adds nothing.
    pub fn insert(&mut self, term: &str) {
        let term = term.trim().to_lowercase();
        if term.chars().any(is_cjk) {
            self.longest_chars = self.longest_chars.max(term.chars().count());
            self.chinese.insert(term);
        } else if !term.is_empty() {
            let words: Vec<String> = words(&term);
            self.longest_words = self.longest_words.max(words.len());
            self.english.insert(words.join(" "));
        }
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

pub(super) fn is_cjk(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{9fff}')
}

/// Lower-case words of a text: runs of Latin letters, digits and inner hyphens.
pub(super) fn words(text: &str) -> Vec<String> {
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
