//! What stands before and behind a mark.

use super::normalize::{Normalized, is_cjk};

/// Sorted: words before a label that make it a reference or the name of something.
const REFERENCE_WORDS: [&str; 44] = [
    "area",
    "as",
    "at",
    "box",
    "by",
    "case",
    "category",
    "class",
    "factor",
    "fig",
    "figs",
    "figure",
    "figures",
    "for",
    "from",
    "grade",
    "group",
    "haemophilia",
    "hemophilia",
    "hepatitis",
    "in",
    "influenza",
    "inset",
    "insets",
    "level",
    "of",
    "on",
    "panel",
    "panels",
    "patient",
    "section",
    "sections",
    "see",
    "stage",
    "table",
    "than",
    "to",
    "type",
    "types",
    "vitamin",
    "vitamins",
    "with",
    "zone",
    "zones",
];

/// What stands before a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boundary {
    /// The beginning of the caption's words.
    Start,
    /// `.` `;` `。` `:` or another end of a sentence or clause.
    Stop,
    /// A line break or a wide gap.
    Line,
    /// `,` or `、`
    Comma,
    /// `and`, `和`
    Conjunction,
    /// A space after a Chinese character, a digit or a closing bracket.
    Space,
    /// A Chinese character, no space.
    Cjk,
    /// A word of running text.
    Word,
    /// A word that points at a panel (`in`, `see`, `from`): the mark is a reference.
    Reference,
}

/// What follows a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    /// A capital letter or a Chinese character.
    Text,
    /// A digit.
    Digit,
    /// A lower-case word.
    Lower,
    /// `, . ; 。` and the like.
    Punctuation,
    /// `and`, `or`, `和`
    Conjunction,
    /// The end of the caption or of a line.
    End,
    /// Anything else.
    Other,
}

/// What stands before `i`.
pub fn boundary(n: &Normalized, i: usize, from: usize) -> Boundary {
    if i <= from {
        return Boundary::Start;
    }
    let mut j = i;
    let mut line = false;
    while j > from && matches!(n.before(j), ' ' | '\n') {
        line |= n.before(j) == '\n';
        j -= 1;
    }
    if j <= from {
        return Boundary::Start;
    }
    let blanks = i - j;
    let p = n.before(j);
    match p {
        // The digits behind a decimal point.
        '.' if blanks == 0 && n.at(i).is_ascii_digit() && j > from + 1 && n.at(j - 2).is_ascii_digit() => {
            return Boundary::Word;
        }
        '.' | ';' | '。' | ':' | '!' | '?' | '|' => return Boundary::Stop,
        _ if line || blanks > 1 => return Boundary::Line,
        ',' | '、' | '(' | '[' => return Boundary::Comma,
        ')' | ']' | '"' | '\'' | '%' | '*' => return Boundary::Space,
        '和' | '及' | '与' => return Boundary::Conjunction,
        '见' | '如' | '同' | '图' => return Boundary::Reference,
        _ if is_cjk(p) => return if blanks > 0 { Boundary::Space } else { Boundary::Cjk },
        _ => {}
    }
    if !p.is_ascii_alphanumeric() {
        return Boundary::Word;
    }
    let mut k = j;
    while k > from && n.before(k).is_alphanumeric() && !is_cjk(n.before(k)) {
        k -= 1;
    }
    let mut word = [0u8; 12];
    if j - k > word.len() {
        return Boundary::Word;
    }
    for (slot, at) in word.iter_mut().zip(k..j) {
        *slot = u8::try_from(n.at(at).to_ascii_lowercase()).unwrap_or(b'?');
    }
    let word = std::str::from_utf8(&word[..j - k]).unwrap_or("");
    if matches!(word, "and" | "or") {
        Boundary::Conjunction
    } else if REFERENCE_WORDS.binary_search(&word).is_ok() {
        Boundary::Reference
    } else if blanks > 0 && (word.bytes().all(|b| b.is_ascii_digit()) || (k > from && is_cjk(n.before(k)))) {
        Boundary::Space
    } else {
        Boundary::Word
    }
}

/// What follows a mark that ends at `end`.
pub(super) fn follow(n: &Normalized, end: usize, to: usize) -> Follow {
    let i = n.skip_space(end);
    if i >= to || (n.at(end) == '\n' && i > end + 1) {
        return Follow::End;
    }
    match n.at(i) {
        '和' | '及' | '与' => Follow::Conjunction,
        c if is_cjk(c) => Follow::Text,
        c if c.is_ascii_digit() => Follow::Digit,
        c if c.is_uppercase() => Follow::Text,
        c if c.is_lowercase() => {
            let word = |w: &str| w.chars().enumerate().all(|(k, c)| n.at(i + k) == c) && n.at(i + w.len()) == ' ';
            if word("and") || word("or") {
                Follow::Conjunction
            } else {
                Follow::Lower
            }
        }
        ',' | '.' | ';' | ':' | '。' | '、' | ')' | '?' | '!' => Follow::Punctuation,
        _ => Follow::Other,
    }
}

/// True when a bracket opened before `i` is still open there.
pub(super) fn inside_open_bracket(n: &Normalized, i: usize, from: usize) -> bool {
    (from..i)
        .rev()
        .take(80)
        .map(|k| n.at(k))
        .find(|c| matches!(c, '(' | ')' | '[' | ']'))
        .is_some_and(|c| matches!(c, '(' | '['))
}
