//! Chinese words without a dictionary of the whole language: longest match
//! against a list of words of ophthalmology and of captions; signs that no
//! word covers stand for themselves. Latin words and numbers stay whole.

use std::collections::HashSet;
use std::sync::OnceLock;

/// One word a line; lines with `#` are headings.
const WORDS: &str = include_str!("chinese_words.txt");

/// Words without a meaning of their own in captions.
pub(super) const FUNCTION_WORDS: &[&str] = &[
    "可见", "以及", "同时", "部分", "表现", "显示", "为主", "之间", "图示", "图为", "伴有", "一个", "其他", "由于",
    "所示", "呈现", "较大", "较小",
];

struct Lexicon {
    words: HashSet<&'static str>,
    longest: usize,
}

fn lexicon() -> &'static Lexicon {
    static LEXICON: OnceLock<Lexicon> = OnceLock::new();
    LEXICON.get_or_init(|| {
        let lines = WORDS.lines().filter(|line| !line.starts_with('#'));
        let words: HashSet<&str> = lines.flat_map(str::split_whitespace).collect();
        let longest = words.iter().map(|word| word.chars().count()).max().unwrap_or(1);
        Lexicon { words, longest }
    })
}

/// A Chinese sign (CJK Unified Ideographs and extension A).
pub(super) fn is_sign(c: char) -> bool {
    matches!(c, '\u{4E00}'..='\u{9FFF}' | '\u{3400}'..='\u{4DBF}')
}

/// Words in reading order, punctuation left out, Latin in lower case.
pub(super) fn words(text: &str) -> Vec<String> {
    let signs: Vec<char> = text.chars().collect();
    let lexicon = lexicon();
    let mut words = Vec::new();
    let mut at = 0;
    while at < signs.len() {
        if is_sign(signs[at]) {
            let room = signs[at..]
                .iter()
                .take(lexicon.longest)
                .take_while(|&&c| is_sign(c))
                .count();
            let length = (2..=room)
                .rev()
                .find(|&length| {
                    let word: String = signs[at..at + length].iter().collect();
                    lexicon.words.contains(word.as_str())
                })
                .unwrap_or(1);
            words.push(signs[at..at + length].iter().collect());
            at += length;
        } else if signs[at].is_alphanumeric() {
            let length = signs[at..]
                .iter()
                .take_while(|&&c| c.is_alphanumeric() && !is_sign(c))
                .count();
            words.push(signs[at..at + length].iter().collect::<String>().to_lowercase());
            at += length;
        } else {
            at += 1;
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_longest_word_wins() {
        assert_eq!(
            words("右眼视网膜中央静脉阻塞，OCT示黄斑水肿3处"),
            ["右眼", "视网膜中央静脉阻塞", "oct", "示", "黄斑水肿", "3", "处"]
        );
        assert!(words("，。 ").is_empty());
    }

    proptest! {
        #[test]
        fn nothing_is_lost(text in "[一-龥a-z0-9，。 ]{0,40}") {
            let kept: String = text.chars().filter(|c| c.is_alphanumeric()).collect();
            prop_assert_eq!(words(&text).concat(), kept);
        }
    }
}
