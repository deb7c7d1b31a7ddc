//! Word rules that name categories to keep out of training, for experiments on unseen classes.
//!
//! A list of exact names misses rows: of the public manifests it keeps "severe glaucoma" or "suspected
//! glaucoma" while banning "glaucoma". A rule here is one or more words; it matches where these words stand
//! next to each other anywhere in a name. A word that ends in `*` matches by its beginning.

use anyhow::{Result, bail};

use crate::text::definitions::normal_form;

/// Parsed rules.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BanRules {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq)]
struct Rule {
    text: String,
    words: Vec<(String, bool)>,
}

impl BanRules {
    /// Reads rules such as `glaucom*` or `retinal detachment`. Case, hyphens and British spelling do not matter.
    ///
    /// # Errors
    /// A rule without a word.
    pub fn parse(rules: &[String]) -> Result<Self> {
        let rules = rules
            .iter()
            .map(|text| {
                let mut words = Vec::new();
                for part in text.split_whitespace() {
                    let (part, open) = match part.strip_suffix('*') {
                        Some(stem) => (stem, true),
                        None => (part, false),
                    };
                    let normal = normal_form(part);
                    let pieces: Vec<&str> = normal.split(' ').filter(|piece| !piece.is_empty()).collect();
                    for (number, piece) in pieces.iter().enumerate() {
                        words.push(((*piece).to_owned(), open && number + 1 == pieces.len()));
                    }
                }
                if words.is_empty() {
                    bail!("rule {text:?} holds no word; write for example \"glaucom*\" or \"retinal detachment\"");
                }
                Ok(Rule {
                    text: text.clone(),
                    words,
                })
            })
            .collect::<Result<_>>()?;
        Ok(BanRules { rules })
    }

    /// Whether there is no rule.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The first rule that matches `name`.
    pub fn matching(&self, name: &str) -> Option<&str> {
        if self.rules.is_empty() {
            return None;
        }
        let normal = normal_form(name);
        let words: Vec<&str> = normal.split(' ').collect();
        let found = self.rules.iter().find(|rule| {
            words.windows(rule.words.len()).any(|window| {
                window.iter().zip(&rule.words).all(|(word, (wanted, open))| {
                    if *open {
                        word.starts_with(wanted.as_str())
                    } else {
                        word == wanted
                    }
                })
            })
        });
        found.map(|rule| rule.text.as_str())
    }

    /// The first rule that matches one of `names`.
    pub fn matching_any<'a>(&self, names: impl IntoIterator<Item = &'a String>) -> Option<&str> {
        names.into_iter().find_map(|name| self.matching(name))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn rules(list: &[&str]) -> BanRules {
        BanRules::parse(&list.iter().map(|rule| (*rule).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn whole_words_in_order_decide() {
        let rules = rules(&["glaucom*", "retinal detachment", "Age-related macular"]);
        for (name, expected) in [
            ("Severe Glaucoma", Some("glaucom*")),
            ("suspected glaucomatous disc", Some("glaucom*")),
            ("Rhegmatogenous retinal-detachment", Some("retinal detachment")),
            ("detachment, retinal", None),
            ("preretinal detachment", None),
            ("dry age related macular degeneration", Some("Age-related macular")),
            ("macular hole", None),
            ("", None),
        ] {
            assert_eq!(rules.matching(name), expected, "{name}");
        }
    }

    #[test]
    fn spelling_does_not_matter_and_empty_rules_are_refused() {
        assert!(rules(&["macular oedema"]).matching("Cystoid macular edema").is_some());
        assert!(rules(&[]).matching("anything").is_none());
        let error = BanRules::parse(&["  -".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("no word"), "{error}");
    }
}
