//! The words before a figure number: `图`, `附图`, `Fig.`, `Supplementary Figure`, `Plate`.

use super::normalize::Normalized;

/// Words before an English figure number.
const ENGLISH_WORDS: [&str; 8] = ["figures", "figure", "plates", "plate", "figs", "fig", "photo", "image"];
/// What OCR makes of 图.
pub(super) fn figure_shape(c: char) -> bool {
    matches!(c, '图' | '圖' | '阁' | '罗' | '园' | '国' | '囹' | '圈' | '冈' | '回')
}
/// Words that may stand before an English head word.
const PREFIXES: [&str; 9] = [
    "supplementary ",
    "supplemental ",
    "suppl. ",
    "supp. ",
    "online ",
    "extended data ",
    "color ",
    "colour ",
    "web ",
];

/// Where the head begins whose word stands at `i`: at `Supplementary` for `Supplementary Figure 2`.
pub(super) fn prefix_start(n: &Normalized, i: usize) -> usize {
    if n.before(i) == 'e' {
        return i - 1;
    }
    if !matches!(n.before(i), ' ' | '\n') {
        return i;
    }
    let here = |prefix: &&&str| i >= prefix.len() && same_word(n, i - prefix.len(), prefix);
    PREFIXES.iter().find(here).map_or(i, |prefix| i - prefix.len())
}

/// The place after a head word at `i`, and whether it is Chinese.
pub(super) fn head_word(n: &Normalized, i: usize) -> Option<(usize, bool)> {
    let c = n.at(i);
    if figure_shape(c) {
        // `图版3` is a plate.
        return Some((i + 1 + usize::from(n.at(i + 1) == '版'), true));
    }
    if matches!(c, '附' | '彩' | '插' | '组') {
        let j = n.skip_space(i + 1);
        if figure_shape(n.at(j)) && (matches!(n.at(j), '图' | '圖') || n.at(n.skip_space(j + 1)).is_ascii_digit()) {
            return Some((j + 1, true));
        }
        if c == '彩' && n.at(i + 1) == '色' && matches!(n.at(i + 2), '图' | '插') {
            return Some((i + 3, true));
        }
        return None;
    }
    let mut at = i;
    if matches!(c, 's' | 'S' | 'o' | 'O' | 'e' | 'E' | 'c' | 'C' | 'w' | 'W') {
        let prefix = PREFIXES.iter().find(|prefix| same_word(n, i, prefix));
        at += prefix.map_or(0, |prefix| prefix.len());
    }
    if matches!(n.at(at), 'e') && n.at(at + 1) == 'F' {
        at += 1;
    }
    for word in ENGLISH_WORDS {
        if same_word(n, at, word) {
            let mut end = at + word.len();
            if n.at(end).is_ascii_alphabetic() {
                continue;
            }
            if matches!(n.at(end), '.' | ',' | ':') {
                end += 1;
            }
            let number_word = n.skip_space(end);
            if number_word > end && matches!(n.at(number_word), 'n' | 'N') && n.at(number_word + 1) == 'o' {
                end = number_word + 2 + usize::from(n.at(number_word + 2) == '.');
            }
            // A head word is followed by its number, not by running text.
            let next = n.at(n.skip_space(end));
            if next.is_ascii_digit() || matches!(next, 'I' | 'V' | 'X' | 'S' | 'l' | 'O' | 'A'..='E' | 'i' | 'v' | 'x')
            {
                return Some((end, false));
            }
            return None;
        }
    }
    None
}

/// Compares with a lower-case word, forgiving the usual misreadings (l, 1 for i; q, 9 for g):
/// one in a short word, two in a long one.
fn same_word(n: &Normalized, i: usize, word: &str) -> bool {
    let most = if word.len() < 5 { 1 } else { 2 };
    let mut misread = 0;
    for (k, want) in word.bytes().map(char::from).enumerate() {
        let c = n.at(i + k).to_ascii_lowercase();
        if c == want || want == ' ' && c == '\n' {
            continue;
        }
        if k == 0 {
            return false;
        }
        let close = matches!(
            (want, c),
            ('i', '1' | 'l' | '!' | '|')
                | ('l', '1' | 'i' | '|')
                | ('g', 'q' | '9')
                | ('u', 'n' | 'v')
                | ('e', 'c' | 'o')
                | ('r', 't')
                | ('t', 'r')
                | ('a', 'u')
                | ('n', 'u')
                | ('o', '0')
        );
        misread += 1;
        if !close || misread > most {
            return false;
        }
    }
    true
}
