//! The card of one source (a book, a hospital, a public set), from a short TOML that people fill in.
//!
//! An answer that is absent, empty or "unknown" is an open question and listed as one.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context;
use serde::Deserialize;

/// A source as people describe it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The source_id that its rows carry.
    pub id: String,
    /// Full name.
    pub name: String,
    /// book, public set, hospital or corpus.
    pub kind: Option<String>,
    /// CFP, FFA, OCT, text.
    #[serde(default)]
    pub modalities: Vec<String>,
    /// Who made it, where and when.
    pub origin: Option<String>,
    /// Number of images or texts, as its makers state it.
    pub size: Option<String>,
    /// Classes or categories.
    pub classes: Option<String>,
    /// Licence as stated by its makers.
    pub licence: Option<String>,
    /// Who holds the rights.
    pub rights_holder: Option<String>,
    /// Where to get it.
    pub homepage: Option<String>,
    /// How to cite it.
    pub citation: Option<String>,
    /// Patients, cameras, clinics, years.
    pub collection: Option<String>,
    /// Who labelled, and how.
    pub annotation: Option<String>,
    /// Known bias and confounding.
    pub bias: Option<String>,
    /// Its own splits, or how ours were made.
    pub splits: Option<String>,
    /// Can patients be identified; consent.
    pub privacy: Option<String>,
    /// What we keep, what we drop and why.
    pub kept: Option<String>,
    /// Overlap with other sets.
    pub overlap: Option<String>,
    /// Who answers questions.
    pub contact: Option<String>,
    /// The command that builds its rows again.
    pub regenerate: Option<String>,
}

impl Source {
    /// Reads the TOML.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let source: Self = toml::from_str(&text).with_context(|| file.display().to_string())?;
        if source.id.trim().is_empty() || source.name.trim().is_empty() {
            anyhow::bail!("{}: id and name must not be empty", file.display());
        }
        Ok(source)
    }

    fn answers(&self) -> [(&'static str, &'static str, Option<String>); 18] {
        let list = (!self.modalities.is_empty()).then(|| self.modalities.join(", "));
        [
            ("kind", "Kind", self.kind.clone()),
            ("modalities", "Modalities", list),
            ("origin", "Origin", self.origin.clone()),
            ("size", "Size as stated", self.size.clone()),
            ("classes", "Classes", self.classes.clone()),
            ("licence", "Licence", self.licence.clone()),
            ("rights_holder", "Rights holder", self.rights_holder.clone()),
            ("homepage", "Home", self.homepage.clone()),
            ("citation", "Citation", self.citation.clone()),
            ("collection", "Collection", self.collection.clone()),
            ("annotation", "Annotation", self.annotation.clone()),
            ("bias", "Known bias", self.bias.clone()),
            ("splits", "Splits", self.splits.clone()),
            ("privacy", "Privacy and consent", self.privacy.clone()),
            ("kept", "Kept and dropped", self.kept.clone()),
            ("overlap", "Overlap with other sets", self.overlap.clone()),
            ("contact", "Contact", self.contact.clone()),
            ("regenerate", "How to build its rows", self.regenerate.clone()),
        ]
    }

    /// Keys without an answer.
    pub fn open_questions(&self) -> Vec<&'static str> {
        self.answers()
            .into_iter()
            .filter(|a| !answered(a.2.as_deref()))
            .map(|a| a.0)
            .collect()
    }

    /// The card.
    pub fn card(&self) -> String {
        let mut page = format!("# {}\n\nSource id `{}`.\n\n| | |\n| --- | --- |\n", self.name, self.id);
        for (_, title, answer) in self.answers() {
            let text = answer.filter(|a| answered(Some(a))).unwrap_or_else(|| "unknown".into());
            let _ = writeln!(
                page,
                "| {title} | {} |",
                text.trim().replace('|', "\\|").replace('\n', " ")
            );
        }
        let open = self.open_questions();
        if !open.is_empty() {
            page.push_str("\n## Open questions\n\n");
            for (key, title, _) in self.answers().into_iter().filter(|a| open.contains(&a.0)) {
                let _ = writeln!(page, "- {title} (`{key}`)");
            }
        }
        page
    }
}

fn answered(answer: Option<&str>) -> bool {
    answer.is_some_and(|a| !a.trim().is_empty() && !a.trim().eq_ignore_ascii_case("unknown"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_unknown_stays_open() {
        let source: Source =
            toml::from_str("id = \"a\"\nname = \"A | B\"\nlicence = \"unknown\"\nkind = \"book\"\n").unwrap();
        let open = source.open_questions();
        assert!(open.contains(&"licence") && !open.contains(&"kind") && open.len() == 17);
        assert!(source.card().contains("| Licence | unknown |") && source.card().contains("(`licence`)"));
        assert!(toml::from_str::<Source>("id = \"a\"\nname = \"b\"\nlicense = \"x\"").is_err());
    }

    #[test]
    fn every_template_reads() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates/sources");
        let mut count = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let source = Source::read(&entry.unwrap().path()).unwrap();
            assert!(!source.card().is_empty());
            count += 1;
        }
        assert!(count >= 49, "{count} templates");
    }
}
