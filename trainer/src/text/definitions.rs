//! Expert definitions of categories: one TOML a modality, matched by normal form.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use dataset::modality::Modality;
use serde::Deserialize;

/// A name reduced to what decides equality: lower case, words of letters and digits only, single
/// spaces, British spellings in American form. "Age-related  Macular Degeneration." and
/// "age related macular degeneration" are the same.
pub fn normal_form(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for character in name.chars().flat_map(char::to_lowercase) {
        if character.is_alphanumeric() {
            out.push(character);
        } else if character != '\'' && character != '\u{2019}' && !out.ends_with(' ') {
            out.push(' ');
        }
    }
    SPELLINGS
        .iter()
        .fold(out.trim().to_owned(), |text, (british, american)| {
            text.replace(british, american)
        })
}

/// British stems and their American form.
const SPELLINGS: [(&str, &str); 5] = [
    ("oedema", "edema"),
    ("haemorrhag", "hemorrhag"),
    ("ischaemi", "ischemi"),
    ("tumour", "tumor"),
    ("anaemi", "anemi"),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    category: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    #[serde(default)]
    aliases: Vec<String>,
    definitions: Vec<String>,
}

/// Definitions by the normal form of a category's name or alias.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Definitions {
    by_name: BTreeMap<String, Vec<String>>,
}

impl Definitions {
    /// The definitions that come with the program, written for `modality`.
    ///
    /// # Errors
    /// The modality has none (`OTHER`).
    pub fn builtin(modality: Modality) -> Result<Self> {
        let (text, name) = match modality {
            Modality::Cfp => (include_str!("../../knowledge/cfp.toml"), "cfp.toml"),
            Modality::Oct => (include_str!("../../knowledge/oct.toml"), "oct.toml"),
            Modality::Ffa => (include_str!("../../knowledge/ffa.toml"), "ffa.toml"),
            Modality::Other => {
                bail!("there are no definitions for modality OTHER; set definitions = \"none\" or a file")
            }
        };
        Self::parse(text).with_context(|| format!("built-in {name}"))
    }

    /// Reads what a config names: `none`, `builtin`, or a TOML file.
    ///
    /// # Errors
    /// The file cannot be read or breaks the format.
    pub fn open(choice: &str, modality: Modality) -> Result<Self> {
        match choice {
            "none" | "" => Ok(Self::default()),
            "builtin" => Self::builtin(modality),
            path => {
                let text = std::fs::read_to_string(Path::new(path))
                    .with_context(|| format!("{path}: cannot read the definitions"))?;
                Self::parse(&text).with_context(|| path.to_owned())
            }
        }
    }

    /// Reads the TOML text: a list `[[category]]` of `name`, `aliases`, `definitions`.
    ///
    /// # Errors
    /// Unknown keys, an empty definition, or one name used by two entries.
    pub fn parse(text: &str) -> Result<Self> {
        let file: File = toml::from_str(text)?;
        let mut by_name = BTreeMap::new();
        for entry in file.category {
            if entry.definitions.iter().any(|definition| definition.trim().is_empty()) {
                bail!(
                    "category {:?} has an empty definition; write one or leave it out",
                    entry.name
                );
            }
            for name in std::iter::once(&entry.name).chain(&entry.aliases) {
                if by_name.insert(normal_form(name), entry.definitions.clone()).is_some() {
                    bail!("the name {name:?} belongs to two categories; keep it in one");
                }
            }
        }
        Ok(Definitions { by_name })
    }

    /// All names and aliases in normal form.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// The definitions of `category`, or none.
    pub fn of(&self, category: &str) -> &[String] {
        self.by_name.get(&normal_form(category)).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_match_by_normal_form() {
        let cases = [
            ("Age-Related Macular Degeneration.", "age related macular degeneration"),
            ("cystoid macular oedema", "cystoid macular edema"),
            ("Best's disease", "bests disease"),
            ("  hard   exudates ", "hard exudates"),
            ("haemorrhages", "hemorrhages"),
        ];
        for (written, normal) in cases {
            assert_eq!(normal_form(written), normal);
        }
    }

    #[test]
    fn every_builtin_file_is_sound_and_knows_the_common_names() {
        let expected = [
            (
                Modality::Cfp,
                &[
                    "cataract",
                    "diabetic_retinopathy",
                    "glaucoma",
                    "normal",
                    "age-related macular degeneration",
                ][..],
            ),
            (Modality::Oct, &["AMD", "DME", "ERM", "NO", "RAO", "RVO", "VID"][..]),
            (
                Modality::Ffa,
                &["arterial_phase", "venous_phase", "normal", "brvo", "with_np", "none_np"][..],
            ),
        ];
        for (modality, names) in expected {
            let definitions = Definitions::builtin(modality).unwrap();
            for name in names {
                assert!(!definitions.of(name).is_empty(), "{modality} {name}");
            }
            assert!(definitions.of("no such thing").is_empty());
        }
    }

    #[test]
    fn faults_are_named() {
        let twice = "[[category]]\nname='a'\ndefinitions=['x']\n[[category]]\nname='A.'\ndefinitions=['y']";
        assert!(
            Definitions::parse(twice)
                .unwrap_err()
                .to_string()
                .contains("two categories")
        );
        let empty = "[[category]]\nname='a'\ndefinitions=[' ']";
        assert!(
            Definitions::parse(empty)
                .unwrap_err()
                .to_string()
                .contains("empty definition")
        );
        assert!(Definitions::parse("[[category]]\nnam='a'\ndefinitions=[]").is_err());
    }
}
