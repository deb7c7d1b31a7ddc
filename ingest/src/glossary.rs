//! Retinal terms in English and Chinese: found in texts, mapped to one name,
//! checked against translations.
//!
//! The built-in list is `models/glossary.toml`; people edit a copy.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, bail};
use serde::Deserialize;

/// The list that ships with the program.
const BUILT_IN: &str = include_str!("../models/glossary.toml");

/// Kinds of terms.
const KINDS: [&str; 7] = ["disease", "finding", "anatomy", "imaging", "treatment", "side", "other"];

/// Longest abbreviation; such names count in capitals only, as `ME` is no `me`.
const ABBREVIATION: usize = 6;

/// A term as the file holds it: names separated by `|`, the preferred one first.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    en: String,
    zh: String,
    kind: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    terms: Vec<Line>,
}

/// One term.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    /// English names, the preferred one first.
    pub en: Vec<String>,
    /// Chinese names, the preferred one first.
    pub zh: Vec<String>,
    /// `disease`, `finding`, `anatomy`, `imaging`, `treatment`, `side` or `other`.
    pub kind: String,
}

impl Term {
    /// True when a translation that lacks the term is wrong: anatomy and places
    /// of the fundus are too often said in other words.
    pub fn must_stay(&self) -> bool {
        !matches!(self.kind.as_str(), "anatomy" | "other")
    }
}

/// A term found in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Its number in [`Glossary::terms`].
    pub term: usize,
    /// First byte in the text.
    pub start: usize,
    /// Byte after the last.
    pub end: usize,
}

/// All terms, ready to be searched for.
#[derive(Debug, Clone)]
pub struct Glossary {
    /// The terms in the file's order.
    pub terms: Vec<Term>,
    /// English names by their first word (lower case), longest first: words and term.
    english: HashMap<String, Vec<(Vec<String>, usize)>>,
    /// Chinese names by their first character, longest first.
    chinese: HashMap<char, Vec<(String, usize)>>,
}

impl Glossary {
    /// The list that ships with the program.
    ///
    /// # Errors
    /// Never, as a test reads it.
    pub fn built_in() -> anyhow::Result<Self> {
        Self::parse(BUILT_IN, "built-in glossary")
    }

    /// A file of the same form.
    ///
    /// # Errors
    /// The file cannot be read or is no glossary.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read the glossary {}", path.display()))?;
        Self::parse(&text, &path.display().to_string())
    }

    fn parse(text: &str, name: &str) -> anyhow::Result<Self> {
        let file: File = toml::from_str(text).with_context(|| {
            format!("{name}: no glossary; expected `terms = [ {{ en = \"drusen|druse\", zh = \"玻璃膜疣\", kind = \"finding\" }} ]`")
        })?;
        let mut glossary = Self {
            terms: Vec::new(),
            english: HashMap::new(),
            chinese: HashMap::new(),
        };
        for (at, line) in file.terms.into_iter().enumerate() {
            let names = |text: &str| -> Vec<String> {
                let mut out: Vec<String> = Vec::new();
                for name in text.split('|').map(str::trim).filter(|n| !n.is_empty()) {
                    if !out.iter().any(|n| n == name) {
                        out.push(name.to_owned());
                    }
                }
                out
            };
            let term = Term {
                en: names(&line.en),
                zh: names(&line.zh),
                kind: line.kind,
            };
            if term.en.is_empty() || term.zh.is_empty() || !KINDS.contains(&term.kind.as_str()) {
                bail!(
                    "{name}: term {} (`{}`): it needs a name in each language and one of the kinds {}",
                    at + 1,
                    line.en,
                    KINDS.join(", ")
                );
            }
            glossary.add(term);
        }
        Ok(glossary)
    }

    fn add(&mut self, term: Term) {
        let number = self.terms.len();
        for name in &term.en {
            let words: Vec<String> = words(name).map(|(_, w)| w.to_owned()).collect();
            if let Some(first) = words.first() {
                let key = singular(&first.to_lowercase()).to_owned();
                let slot = self.english.entry(key).or_default();
                slot.push((words, number));
                slot.sort_by_key(|(words, _)| std::cmp::Reverse(words.len()));
            }
        }
        for name in &term.zh {
            if let Some(first) = name.chars().next() {
                let slot = self.chinese.entry(first).or_default();
                slot.push((name.clone(), number));
                slot.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
            }
        }
        self.terms.push(term);
    }

    /// The term that a whole label names, in either language; `macular hole (MH)` counts as its first part.
    pub fn named(&self, label: &str) -> Option<&Term> {
        let label = label.trim().trim_end_matches(['.', ',', ';', ':', '。', '，']);
        let whole = |text: &str| {
            let found = self.find(text);
            match found.as_slice() {
                [one] if text[..one.start].trim().is_empty() && text[one.end..].trim().is_empty() => Some(one.term),
                _ => None,
            }
        };
        let lower = label.to_lowercase();
        let by_name = || {
            self.terms
                .iter()
                .position(|t| t.en.iter().any(|n| n.to_lowercase() == lower))
        };
        let without = label.split_once(" (").map(|(before, _)| before.trim());
        let number = whole(label).or_else(by_name).or_else(|| without.and_then(whole))?;
        self.terms.get(number)
    }

    /// Terms in a text of either language, longest names first, not overlapping, in order.
    pub fn find(&self, text: &str) -> Vec<Found> {
        if text.chars().any(|c| matches!(c, '\u{3400}'..='\u{9fff}')) {
            self.find_chinese(text)
        } else {
            self.find_english(text)
        }
    }

    fn find_english(&self, text: &str) -> Vec<Found> {
        let tokens: Vec<(usize, &str)> = words(text).collect();
        let mut out = Vec::new();
        let mut at = 0;
        while at < tokens.len() {
            let lower = tokens[at].1.to_lowercase();
            let fits = |names: &&(Vec<String>, usize)| {
                names.0.len() <= tokens.len() - at
                    && names
                        .0
                        .iter()
                        .zip(&tokens[at..])
                        .all(|(name, (_, word))| same_word(name, word))
            };
            match self
                .english
                .get(singular(&lower))
                .and_then(|names| names.iter().find(fits))
            {
                Some((words, term)) => {
                    let (last, word) = tokens[at + words.len() - 1];
                    out.push(Found {
                        term: *term,
                        start: tokens[at].0,
                        end: last + word.len(),
                    });
                    at += words.len();
                }
                None => at += 1,
            }
        }
        out
    }

    fn find_chinese(&self, text: &str) -> Vec<Found> {
        let mut out = Vec::new();
        let mut at = 0;
        while let Some(c) = text[at..].chars().next() {
            let fits =
                |(name, _): &&(String, usize)| text[at..].starts_with(name.as_str()) && is_bounded(text, at, name);
            match self.chinese.get(&c).and_then(|names| names.iter().find(fits)) {
                Some((name, term)) => {
                    out.push(Found {
                        term: *term,
                        start: at,
                        end: at + name.len(),
                    });
                    at += name.len();
                }
                None => at += c.len_utf8(),
            }
        }
        // English words among Chinese ones.
        let latin = self.find_english(text);
        out.extend(
            latin
                .into_iter()
                .filter(|l| {
                    let free = |f: &Found| f.end <= l.start || f.start >= l.end;
                    text[l.start..l.end].is_ascii() && out.iter().all(free)
                })
                .collect::<Vec<_>>(),
        );
        out.sort_by_key(|f| f.start);
        out
    }

    /// Terms of `source` that `translation` lacks, each once: their numbers.
    pub fn missing(&self, source: &str, translation: &str) -> Vec<usize> {
        let there = self.find(translation);
        let mut out = Vec::new();
        for found in self.find(source) {
            let term = &self.terms[found.term];
            let kept = there.iter().any(|f| f.term == found.term)
                || term
                    .zh
                    .iter()
                    .any(|name| !name.is_ascii() && translation.contains(name.as_str()))
                || self.is_part_of_longer(found.term, &there);
            if term.must_stay() && !kept && !out.contains(&found.term) {
                out.push(found.term);
            }
        }
        out
    }

    /// A longer term of the translation says the shorter one as well: `drusen` in `soft drusen`.
    fn is_part_of_longer(&self, term: usize, there: &[Found]) -> bool {
        let names = &self.terms[term].en;
        there.iter().any(|f| {
            self.terms[f.term].en.iter().any(|longer| {
                let longer = longer.to_lowercase();
                names.iter().any(|n| n.len() > 3 && longer.contains(&n.to_lowercase()))
            })
        })
    }

    /// Puts the preferred Chinese name where a translation into Chinese left an
    /// English term of several letters as it was. Gives the new text and how many.
    pub fn apply(&self, translation: &str) -> (String, usize) {
        let mut out = String::with_capacity(translation.len());
        let mut done = 0;
        let mut count = 0;
        for found in self.find(translation) {
            let name = &translation[found.start..found.end];
            let is_word =
                name.is_ascii() && (name.len() > ABBREVIATION || name.chars().any(|c| c.is_ascii_lowercase()));
            if is_word {
                out += &translation[done..found.start];
                out += &self.terms[found.term].zh[0];
                done = found.end;
                count += 1;
            }
        }
        out += &translation[done..];
        (out, count)
    }
}

/// A Latin name inside Chinese text is bounded by other letters.
fn is_bounded(text: &str, at: usize, name: &str) -> bool {
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return true;
    }
    let before = text[..at].chars().next_back();
    let after = text[at + name.len()..].chars().next();
    let joined = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    !joined(before) && (!joined(after) || !name.ends_with(|c: char| c.is_ascii_alphanumeric()))
}

/// Words with their place: letters, digits, and `'`, `-`, `/` between them.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_inner =
        |c: char| c.is_alphanumeric() && !matches!(c, '\u{2e80}'..='\u{9fff}') || matches!(c, '\'' | '’' | '-' | '/');
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let rest = &text[at..];
            let start = rest.find(is_inner)?;
            let rest = &rest[start..];
            let end = rest.find(|c: char| !is_inner(c)).unwrap_or(rest.len());
            let word = rest[..end].trim_matches(['\'', '’', '-', '/']);
            let place = at + start + (rest[..end].len() - rest[..end].trim_start_matches(['\'', '’', '-', '/']).len());
            at += start + end;
            if !word.is_empty() {
                return Some((place, word));
            }
        }
    })
}

/// True for the same word, in the plural as well; abbreviations in their own case.
fn same_word(name: &str, word: &str) -> bool {
    let is_abbreviation =
        name.len() <= ABBREVIATION && name.chars().filter(|c| c.is_ascii_uppercase()).count() * 2 > name.len();
    if is_abbreviation {
        return name == word || word.strip_suffix('s') == Some(name);
    }
    let (name, word) = (name.to_lowercase(), word.to_lowercase().replace('’', "'"));
    name == word || singular(&name) == singular(&word)
}

/// Without the `s` of the plural.
fn singular(word: &str) -> &str {
    match word.strip_suffix('s') {
        Some(stem) if stem.len() > 1 && !stem.ends_with(['s', 'i', 'u', '\'']) => stem,
        _ => word,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(text: &str) -> Vec<String> {
        let glossary = Glossary::built_in().unwrap();
        glossary
            .find(text)
            .iter()
            .map(|f| glossary.terms[f.term].en[0].clone())
            .collect()
    }

    #[test]
    fn the_built_in_list_is_long_and_its_names_are_unique_enough() {
        let glossary = Glossary::built_in().unwrap();
        assert!(glossary.terms.len() >= 250, "{}", glossary.terms.len());
        for term in &glossary.terms {
            assert_eq!(glossary.named(&term.en[0]).map(|t| &t.en[0]), Some(&term.en[0]));
        }
        let mut names: Vec<String> = Vec::new();
        for term in &glossary.terms {
            names.extend(term.en.iter().chain(&term.zh).map(|n| n.to_lowercase()));
        }
        // Abbreviations that Chinese texts use as they are stand in both lists of one term.
        let twice = |n: &String| {
            glossary
                .terms
                .iter()
                .filter(|t| t.en.iter().chain(&t.zh).any(|m| m.to_lowercase() == *n))
                .count()
                > 1
        };
        let doubtful: Vec<&String> = names.iter().filter(|n| twice(n)).collect();
        assert!(doubtful.is_empty(), "a name of two terms: {doubtful:?}");
    }

    #[test]
    fn longest_terms_are_found_in_both_languages() {
        assert_eq!(
            names("Soft drusen and a pigment epithelial detachment in the left eye; no CNV."),
            [
                "soft drusen",
                "pigment epithelial detachment",
                "left eye",
                "choroidal neovascularization"
            ]
        );
        assert_eq!(names("it gave me a map of the MEs"), ["macular edema"]);
        assert_eq!(
            names("右眼视网膜前出血，OCT示黄斑囊样水肿"),
            [
                "right eye",
                "preretinal haemorrhage",
                "optical coherence tomography",
                "cystoid macular edema"
            ]
        );
    }

    #[test]
    fn labels_are_mapped_to_one_name() {
        let glossary = Glossary::built_in().unwrap();
        for (label, name) in [
            ("Branch vein occlusion (BVO)", "branch retinal vein occlusion"),
            ("AMD", "age-related macular degeneration"),
            ("amd", "age-related macular degeneration"),
            ("macular hole.", "macular hole"),
            ("老年性黄斑变性", "age-related macular degeneration"),
        ] {
            assert_eq!(glossary.named(label).map(|t| t.en[0].as_str()), Some(name), "{label}");
        }
        assert!(glossary.named("43-year-old female, macular hole").is_none());
    }

    #[test]
    fn missing_terms_are_told() {
        let glossary = Glossary::built_in().unwrap();
        let told = |source: &str, translation: &str| -> Vec<String> {
            let missing = glossary.missing(source, translation);
            missing.iter().map(|&t| glossary.terms[t].en[0].clone()).collect()
        };
        assert_eq!(
            told("Hard exudates and hemorrhages, right eye", "右眼硬性渗出及出血"),
            Vec::<String>::new()
        );
        assert_eq!(told("Hard exudates, right eye", "左眼硬性渗出"), ["right eye"]);
        assert_eq!(
            told("黄斑裂孔，左眼", "Macular oedema of the left eye"),
            ["macular hole"]
        );
        assert_eq!(
            glossary.apply("黄斑区可见drusen及CNV"),
            ("黄斑区可见玻璃膜疣及CNV".to_owned(), 1)
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(a in "\\PC{0,40}", b in "[a-zA-Z'’/ 黄斑裂孔CNV-]{0,40}") {
            let glossary = Glossary::built_in().unwrap();
            for text in [&a, &b] {
                for found in glossary.find(text) {
                    prop_assert!(text.is_char_boundary(found.start) && text.is_char_boundary(found.end));
                }
                let _ = (glossary.apply(text), glossary.named(text));
            }
            let _ = glossary.missing(&a, &b);
        }
    }
}
