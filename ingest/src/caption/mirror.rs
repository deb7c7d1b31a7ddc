//! A language whose labels were destroyed, cut like the other language of the same caption.

use std::sync::LazyLock;

use regex::Regex;

use super::split::Block;
use super::text::{sentences, words};

/// How sure the other language must be of its labels.
const MOST_DOUBT: f32 = 0.3;
/// What is doubtful about words that were cut so: enough for a person to look.
const DOUBT: f32 = 0.5;

/// What may be left of a label at the beginning of an entry: marks with a letter or digit among them.
#[allow(clippy::unwrap_used)] // the pattern is a constant, compiled by the tests
static SCRAP: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"^\s*(?:[(（\[【@®©]+\s*[A-Za-z0-9]?\s*[)）\]】'’”@®©]*|[A-Za-z0-9]\s*[)）\]】'’@®©]+|[A-Za-z][.．:：、]|[@®©“”]+)\s*",
    )
    .unwrap()
});

/// The panels of `text`, one language of a caption, cut where those of `model` are: as many sentences
/// lead as lead there, and the rest has as many entries, parted by semicolons or else sentence by sentence.
/// `None` where it is not so.
pub(super) fn cut_like(model: &Block, text: &str) -> Option<Block> {
    let wanted = model.panels.len();
    if wanted < 2 || model.doubt > MOST_DOUBT || model.panels.iter().any(|p| p.0.is_empty()) {
        return None;
    }
    let lead = sentences(&model.preface).len();
    let starts: Vec<usize> = sentences(text).iter().map(|s| s.0).collect();
    let (preface, rest) = text.split_at(*starts.get(lead)?);
    let by_mark: Vec<&str> = rest.split([';', '；']).filter(|part| !words(part).is_empty()).collect();
    let entries = if by_mark.len() == wanted {
        by_mark
    } else if by_mark.len() == 1 {
        sentences(rest).into_iter().map(|s| s.1).collect()
    } else {
        return None;
    };
    let texts: Vec<String> = entries
        .into_iter()
        .map(|entry| words(&SCRAP.replace(entry, "")))
        .collect();
    if texts.len() != wanted || texts.iter().any(String::is_empty) {
        return None;
    }
    let (lost, kept) = if model.chinese {
        ("English", "Chinese")
    } else {
        ("Chinese", "English")
    };
    Some(Block {
        chinese: !model.chinese,
        preface: words(preface),
        panels: model.panels.iter().map(|p| p.0.clone()).zip(texts).collect(),
        issues: vec![format!(
            "the labels of the {lost} text were not read: it was cut like the {kept} one"
        )],
        doubt: DOUBT,
        ..Block::default()
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::split::{SplitOptions, split_caption};
    use super::*;
    use proptest::prelude::*;

    /// Labels and Chinese texts of a caption.
    fn chinese(raw: &str) -> Vec<(String, String)> {
        split_caption(raw, &SplitOptions::default())
            .panels
            .into_iter()
            .map(|p| (p.labels.concat(), p.text_zh.unwrap_or_default()))
            .collect()
    }

    #[test]
    fn destroyed_labels_are_taken_from_the_other_language() {
        let english =
            "Fig. 3-7 Retinal tear. ① Superior tear; ② Laser scars around the tear. No fluid; ③ Attached retina.";
        let want = [("①", "上方裂孔"), ("②", "裂孔周围激光斑。无积液"), ("③", "视网膜平伏")];
        for lost in [
            "图3-7 视网膜裂孔。@上方裂孔；@@裂孔周围激光斑。无积液；9)视网膜平伏。",
            "图3-7 视网膜裂孔。(D上方裂孔；“裂孔周围激光斑。无积液；®) 视网膜平伏。",
        ] {
            let raw = format!("{lost}\n{english}");
            let found = chinese(&raw);
            let found: Vec<(&str, &str)> = found.iter().map(|(l, t)| (l.as_str(), t.as_str())).collect();
            assert_eq!(found, want, "{lost}");
            let split = split_caption(&raw, &SplitOptions::default());
            assert!(split.confidence < 0.6, "a person has to look: {split:?}");
        }
    }

    #[test]
    fn another_number_of_entries_is_not_guessed_at() {
        let raw = "图3-7 视网膜裂孔。@上方裂孔；@@裂孔周围激光斑。\nFig. 3-7 Retinal tear. (a) Tear; (b) Laser; (c) Attached.";
        assert!(chinese(raw).iter().all(|(_, text)| text.is_empty()));
    }

    proptest! {
        #[test]
        fn any_text_is_taken(text in "[\\PC。.;； ()@A-C]{0,60}", preface in "[a-z. ]{0,20}") {
            let model = Block {
                preface,
                panels: vec![(vec!["A".to_owned()], "one".to_owned()), (vec!["B".to_owned()], "two".to_owned())],
                ..Block::default()
            };
            if let Some(block) = cut_like(&model, &text) {
                prop_assert_eq!(block.panels.len(), 2);
            }
        }
    }
}
