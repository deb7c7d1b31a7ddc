//! What stands before and behind a mark.

use super::normalize::{Normalized, is_cjk};

/// Longest reference word, letters.
const LONGEST_REFERENCE: usize = 12;

/// Words before a label that make it a reference or the name of something, packed and sorted.
const REFERENCE_WORDS: [u128; 44] = [
    packed(b"area"),
    packed(b"as"),
    packed(b"at"),
    packed(b"box"),
    packed(b"by"),
    packed(b"case"),
    packed(b"category"),
    packed(b"class"),
    packed(b"factor"),
    packed(b"fig"),
    packed(b"figs"),
    packed(b"figure"),
    packed(b"figures"),
    packed(b"for"),
    packed(b"from"),
    packed(b"grade"),
    packed(b"group"),
    packed(b"haemophilia"),
    packed(b"hemophilia"),
    packed(b"hepatitis"),
    packed(b"in"),
    packed(b"influenza"),
    packed(b"inset"),
    packed(b"insets"),
    packed(b"level"),
    packed(b"of"),
    packed(b"on"),
    packed(b"panel"),
    packed(b"panels"),
    packed(b"patient"),
    packed(b"section"),
    packed(b"sections"),
    packed(b"see"),
    packed(b"stage"),
    packed(b"table"),
    packed(b"than"),
    packed(b"to"),
    packed(b"type"),
    packed(b"types"),
    packed(b"vitamin"),
    packed(b"vitamins"),
    packed(b"with"),
    packed(b"zone"),
    packed(b"zones"),
];

/// A word of at most 16 letters as a number of the same order: compares faster than text.
const fn packed(word: &[u8]) -> u128 {
    let mut bytes = [0u8; 16];
    let mut i = 0;
    while i < word.len() {
        bytes[i] = word[i];
        i += 1;
    }
    u128::from_be_bytes(bytes)
}

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
        // The digits behind a decimal point or of a ratio.
        '.' | ':' if blanks == 0 && n.at(i).is_ascii_digit() && j > from + 1 && n.at(j - 2).is_ascii_digit() => {
            return Boundary::Word;
        }
        // `as shown in Figs. 3-7`
        '.' if blanks > 0 && is_figure(n.slice(j.saturating_sub(5).max(from), j - 1)) => return Boundary::Reference,
        '.' | ';' | '。' | ':' | '!' | '?' | '|' => return Boundary::Stop,
        // A line ends anywhere, also behind `vitamins` and `type`.
        _ if line && p.is_ascii_lowercase() => {}
        _ if line || blanks > 1 => return Boundary::Line,
        ',' | '、' | '(' | '[' => return Boundary::Comma,
        ')' | ']' | '"' | '\'' | '%' | '*' => return Boundary::Space,
        '和' | '及' | '与' | '&' => return Boundary::Conjunction,
        '如' | '图' => return Boundary::Reference,
        '见' | '同' if blanks == 0 => return Boundary::Reference,
        _ if is_cjk(p) => return if blanks > 0 { Boundary::Space } else { Boundary::Cjk },
        _ => {}
    }
    if !p.is_ascii_alphanumeric() {
        return Boundary::Word;
    }
    if blanks == 0 && matches!(n.at(i), '(' | '[') && p.is_ascii_digit() && is_figure_number(n, j, from) {
        return Boundary::Reference;
    }
    let mut k = j;
    while k > from && n.before(k).is_alphanumeric() && !is_cjk(n.before(k)) {
        k -= 1;
    }
    let running = if line { Boundary::Line } else { Boundary::Word };
    let mut word = [0u8; LONGEST_REFERENCE];
    if j - k > word.len() {
        return running;
    }
    for (slot, at) in word.iter_mut().zip(k..j) {
        *slot = u8::try_from(n.at(at).to_ascii_lowercase()).unwrap_or(b'?');
    }
    let word = &word[..j - k];
    if matches!(word, b"and" | b"or") {
        Boundary::Conjunction
    } else if REFERENCE_WORDS.binary_search(&packed(word)).is_ok() {
        Boundary::Reference
    } else if blanks > 0 && (word.iter().all(u8::is_ascii_digit) || (k > from && is_cjk(n.before(k)))) {
        Boundary::Space
    } else {
        running
    }
}

/// True when a figure number ends at `end`: `Figure 2`(B), `图2-3`（A）.
fn is_figure_number(n: &Normalized, end: usize, from: usize) -> bool {
    let mut k = end;
    while k > from && (n.before(k).is_ascii_digit() || matches!(n.before(k), '-' | '.' | '—')) {
        k -= 1;
    }
    while k > from && matches!(n.before(k), ' ' | '.') {
        k -= 1;
    }
    let word = n.slice(k.saturating_sub(6).max(from), k);
    n.before(k) == '图' || is_figure(word) || word.iter().map(char::to_ascii_lowercase).eq("figure".chars())
}

/// True when the characters end with the word `fig` or `figs`.
fn is_figure(chars: &[char]) -> bool {
    let ends = |word: &[char]| {
        chars.len() >= word.len()
            && chars[chars.len() - word.len()..]
                .iter()
                .map(char::to_ascii_lowercase)
                .eq(word.iter().copied())
            && chars
                .len()
                .checked_sub(word.len() + 1)
                .is_none_or(|k| !chars[k].is_ascii_alphanumeric())
    };
    ends(&['f', 'i', 'g']) || ends(&['f', 'i', 'g', 's'])
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reference_words_are_in_order() {
        assert!(REFERENCE_WORDS.windows(2).all(|two| two[0] < two[1]));
    }
}
