//! Captions into the other language: by people ([`sheet`]), by any program that
//! reads and writes JSON lines ([`command`]), with a glossary that is applied to
//! and checked against every translation.
//!
//! Translations go into the dataset's log of corrections with the origin
//! `translation`. They fill empty captions only; an original is never replaced.

pub mod command;
pub mod sheet;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use dataset::edits::{Anchor, Edit, TRANSLATION};
use dataset::hash::sha256_hex;
use dataset::{Columns, Dataset, PairRecord};
use serde::{Deserialize, Serialize};

use crate::glossary::Glossary;

/// Digits of a text's hash in ids and in the log.
const HASH_DIGITS: usize = 16;

/// A language of the dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// English.
    En,
    /// Chinese.
    Zh,
}

impl Language {
    /// `en` or `zh`.
    pub fn code(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Zh => "zh",
        }
    }

    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::En => Self::Zh,
            Self::Zh => Self::En,
        }
    }

    /// The caption's name in the dataset.
    pub fn field(self) -> &'static str {
        match self {
            Self::En => "caption_en",
            Self::Zh => "caption_zh",
        }
    }

    /// A row's caption in this language and where it comes from.
    fn caption(self, row: &PairRecord) -> (Option<&str>, Option<&str>) {
        match self {
            Self::En => (row.caption_en.as_deref(), row.caption_en_origin.as_deref()),
            Self::Zh => (row.caption_zh.as_deref(), row.caption_zh_origin.as_deref()),
        }
    }
}

/// A text that waits for its translation, with the rows that carry it.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// From the language and the text: the same in every run.
    pub id: String,
    /// The language to translate into.
    pub to: Language,
    /// The text.
    pub text: String,
    /// Rows: id and place.
    pub rows: Vec<(String, Option<Anchor>)>,
    /// The translation that is there, when it is asked for again.
    pub draft: Option<String>,
}

impl Task {
    /// Hash of the text, as the log keeps it.
    pub fn of(&self) -> String {
        hash(&self.text)
    }

    /// Terms of the text with their names in the target language.
    pub fn terms(&self, glossary: &Glossary) -> BTreeMap<String, String> {
        let names = glossary.find(&self.text).into_iter().map(|found| {
            let term = &glossary.terms[found.term];
            let target = match self.to {
                Language::En => &term.en[0],
                Language::Zh => &term.zh[0],
            };
            (self.text[found.start..found.end].to_owned(), target.clone())
        });
        names.collect()
    }
}

fn hash(text: &str) -> String {
    sha256_hex(text.as_bytes())[..HASH_DIGITS].to_owned()
}

/// Which texts are asked for.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// Languages to translate into.
    pub to: Vec<Language>,
    /// Only this source.
    pub source_id: Option<String>,
    /// Texts that have a translation already, too.
    pub again: bool,
}

/// Texts without a translation, each once, in the order of the dataset.
///
/// # Errors
/// The dataset cannot be read.
pub fn tasks(folder: &Path, choice: &Choice) -> anyhow::Result<Vec<Task>> {
    let dataset = Dataset::open(folder)?;
    let log = dataset.edits()?;
    // Translations in the log that are not in the rows yet: those of a run that was stopped.
    let mut logged: HashMap<(&str, &str), &Edit> = HashMap::new();
    for edit in log.edits.iter().filter(|e| e.origin.as_deref() == Some(TRANSLATION)) {
        logged.insert((&edit.id, &edit.field), edit);
    }
    let mut tasks: Vec<Task> = Vec::new();
    let mut places: HashMap<(Language, String), usize> = HashMap::new();
    for row in dataset.pairs(Columns::WithoutImageBytes)? {
        let row = row?;
        if choice.source_id.as_ref().is_some_and(|s| *s != row.source_id) {
            continue;
        }
        for &to in &choice.to {
            let Some(text) = to.other().caption(&row).0.filter(|t| !t.trim().is_empty()) else {
                continue;
            };
            // A translation is not translated back.
            if to.other().caption(&row).1 == Some(TRANSLATION) {
                continue;
            }
            let (there, origin) = to.caption(&row);
            if there.is_some() && origin != Some(TRANSLATION) {
                continue;
            }
            let known = logged.get(&(row.id.as_str(), to.field()));
            let fresh = known.is_some_and(|e| e.of.as_deref() == Some(&hash(text)));
            if fresh && !choice.again {
                continue;
            }
            let key = (to, text.to_owned());
            let place = *places.entry(key).or_insert_with(|| {
                tasks.push(Task {
                    id: format!("{}-{}", to.code(), hash(text)),
                    to,
                    text: text.to_owned(),
                    rows: Vec::new(),
                    draft: None,
                });
                tasks.len() - 1
            });
            let anchor = row.source_page_sha256.clone().zip(row.panel_bbox);
            let anchor = anchor.map(|(source_page_sha256, panel_bbox)| Anchor {
                source_page_sha256,
                panel_bbox,
            });
            let draft = there.map(str::to_owned).or_else(|| known.and_then(|e| e.value.clone()));
            let task = &mut tasks[place];
            task.draft = task.draft.take().or(draft);
            task.rows.push((row.id, anchor));
            // The row is spent when both languages are asked for; a caption has one original.
            break;
        }
    }
    Ok(tasks)
}

/// A translation that was taken: the corrections it becomes, and what it lacks.
#[derive(Debug, Clone, PartialEq)]
pub struct Taken {
    /// One correction a row.
    pub edits: Vec<Edit>,
    /// Preferred names of the terms that are missing: English and Chinese.
    pub missing: Vec<(String, String)>,
    /// Terms that the glossary put in.
    pub applied: usize,
}

/// Checks an answer and makes corrections of it.
///
/// # Errors
/// The answer cannot be a translation of the text; the message says why.
pub fn take(task: &Task, answer: &str, glossary: &Glossary, editor: &str) -> Result<Taken, String> {
    let answer = answer.split_whitespace().collect::<Vec<_>>().join(" ");
    if answer.is_empty() {
        return Err("the translation is empty".to_owned());
    }
    let han = answer.chars().filter(|c| matches!(c, '\u{3400}'..='\u{9fff}')).count();
    let letters = answer.chars().filter(|c| c.is_alphabetic()).count();
    if answer.contains("??") || answer.contains('\u{fffd}') {
        return Err("characters were lost on the way; write UTF-8".to_owned());
    }
    if answer == task.text.split_whitespace().collect::<Vec<_>>().join(" ") && letters > 0 {
        return Err("the translation is the text itself".to_owned());
    }
    match task.to {
        Language::Zh if han == 0 && letters > 0 => return Err("the translation holds no Chinese".to_owned()),
        Language::En if han * 4 > letters => return Err("the translation is Chinese, not English".to_owned()),
        _ => {}
    }
    let (answer, applied) = match task.to {
        Language::Zh => glossary.apply(&answer),
        Language::En => (answer, 0),
    };
    let missing: Vec<(String, String)> = glossary
        .missing(&task.text, &answer)
        .into_iter()
        .map(|t| (glossary.terms[t].en[0].clone(), glossary.terms[t].zh[0].clone()))
        .collect();
    let doubt = (!missing.is_empty()).then(|| {
        let names: Vec<String> = missing.iter().map(|(en, zh)| format!("{en} ({zh})")).collect();
        format!("the translation into {} lacks: {}", task.to.code(), names.join(", "))
    });
    let edits = task
        .rows
        .iter()
        .map(|(id, anchor)| Edit {
            id: id.clone(),
            field: task.to.field().to_owned(),
            value: Some(answer.clone()),
            editor: editor.to_owned(),
            reason: doubt.clone(),
            anchor: anchor.clone(),
            origin: Some(TRANSLATION.to_owned()),
            of: Some(task.of()),
        })
        .collect();
    Ok(Taken {
        edits,
        missing,
        applied,
    })
}

/// A pair whose two captions do not name the same terms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mismatch {
    /// The pair.
    pub id: String,
    /// The translated caption's field.
    pub field: &'static str,
    /// Terms that it lacks: English and Chinese name.
    pub missing: Vec<(String, String)>,
}

/// Checks all translations of a dataset (with `originals`, every pair with two captions).
///
/// # Errors
/// The dataset cannot be read.
pub fn check(folder: &Path, glossary: &Glossary, originals: bool) -> anyhow::Result<(usize, Vec<Mismatch>)> {
    let mut checked = 0;
    let mut out = Vec::new();
    for row in Dataset::open(folder)?.pairs(Columns::WithoutImageBytes)? {
        let row = row?;
        for to in [Language::Zh, Language::En] {
            let ((Some(there), origin), (Some(text), _)) = (to.caption(&row), to.other().caption(&row)) else {
                continue;
            };
            let is_original = origin != Some(TRANSLATION);
            if is_original && !(originals && to == Language::Zh) {
                continue;
            }
            checked += 1;
            let missing: Vec<(String, String)> = glossary
                .missing(text, there)
                .into_iter()
                .map(|t| (glossary.terms[t].en[0].clone(), glossary.terms[t].zh[0].clone()))
                .collect();
            if !missing.is_empty() {
                out.push(Mismatch {
                    id: row.id.clone(),
                    field: to.field(),
                    missing,
                });
            }
        }
    }
    Ok((checked, out))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn task(text: &str, to: Language) -> Task {
        Task {
            id: "x".to_owned(),
            to,
            text: text.to_owned(),
            rows: vec![("pair-1".to_owned(), None)],
            draft: None,
        }
    }

    #[test]
    fn answers_that_are_no_translation_are_refused() {
        let glossary = Glossary::built_in().unwrap();
        for (text, to, answer, word) in [
            ("Drusen", Language::Zh, " ", "empty"),
            ("Drusen", Language::Zh, "drusen of the macula", "no Chinese"),
            ("玻璃膜疣", Language::En, "玻璃膜疣", "itself"),
            ("玻璃膜疣", Language::En, "黄斑玻璃膜疣", "not English"),
            ("Drusen", Language::Zh, "????", "lost"),
        ] {
            let message = take(&task(text, to), answer, &glossary, "x").unwrap_err();
            assert!(message.contains(word), "{message}");
        }
    }

    #[test]
    fn the_glossary_is_applied_and_checked() {
        let glossary = Glossary::built_in().unwrap();
        let drusen = task("Soft drusen and a macular hole", Language::Zh);
        assert_eq!(drusen.terms(&glossary)["macular hole"], "黄斑裂孔");
        let taken = take(&drusen, "可见 soft drusen", &glossary, "prog").unwrap();
        assert_eq!(taken.edits[0].value.as_deref(), Some("可见 软性玻璃膜疣"));
        assert_eq!((taken.applied, taken.missing.len()), (1, 1));
        assert!(
            taken.edits[0]
                .reason
                .as_deref()
                .unwrap()
                .contains("macular hole (黄斑裂孔)")
        );
        let whole = take(&drusen, "软性玻璃疣及黄斑裂孔", &glossary, "prog").unwrap();
        assert_eq!(whole.edits[0].reason, None);
    }
}
