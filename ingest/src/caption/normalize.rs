//! One form per character, with the place in the raw text it came from.
//!
//! Layout of printed captions varies in ways that carry no meaning: full-width
//! letters and marks, half a dozen dashes, circled letters, spaces between
//! Chinese characters, line breaks of the OCR. The normalised text has one form
//! for each; every character remembers its byte range in the raw caption, so
//! that panel texts are cut from the raw caption and not from this form.

use unicode_normalization::UnicodeNormalization;

/// One normalised character and its byte range in the raw text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Glyph {
    /// The character in its normalised form.
    pub c: char,
    /// First byte in the raw text.
    pub start: u32,
    /// One past the last byte in the raw text.
    pub end: u32,
}

/// A caption in normalised form.
#[derive(Debug, Clone, Default)]
pub struct Normalized {
    /// The characters in order; offsets never decrease.
    pub glyphs: Vec<Glyph>,
    /// True when there is a Chinese character among them.
    pub has_cjk: bool,
}

impl Normalized {
    /// The character at `i`, or `'\0'` outside the text.
    pub fn at(&self, i: usize) -> char {
        self.glyphs.get(i).map_or('\0', |g| g.c)
    }

    /// The character before `i`, or `'\0'` at the start.
    pub fn before(&self, i: usize) -> char {
        if i == 0 { '\0' } else { self.at(i - 1) }
    }

    /// Number of characters.
    pub fn len(&self) -> usize {
        self.glyphs.len()
    }

    /// True when there is no character.
    pub fn is_empty(&self) -> bool {
        self.glyphs.is_empty()
    }

    /// The part of `raw` that the characters `from..to` came from.
    pub fn raw_slice<'a>(&self, raw: &'a str, from: usize, to: usize) -> &'a str {
        let to = to.min(self.glyphs.len());
        if from >= to {
            return "";
        }
        let (a, b) = (self.glyphs[from].start as usize, self.glyphs[to - 1].end as usize);
        raw.get(a..b).unwrap_or("")
    }

    /// The normalised characters as a string.
    pub fn text(&self) -> String {
        self.glyphs.iter().map(|g| g.c).collect()
    }

    /// The first index at or after `i` that is not white space.
    pub fn skip_space(&self, mut i: usize) -> usize {
        while matches!(self.at(i), ' ' | '\n') {
            i += 1;
        }
        i
    }
}

/// True for Chinese characters (not for Chinese punctuation).
pub fn is_cjk(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}')
}

/// True for circled digits 1 to 20, which stay as printed.
pub fn is_circled_digit(c: char) -> bool {
    matches!(c, '\u{2460}'..='\u{2473}' | '\u{2776}'..='\u{277f}' | '\u{2780}'..='\u{2793}')
}

/// The value of a circled digit.
pub fn circled_value(c: char) -> Option<u16> {
    let (base, low) = match c {
        '\u{2460}'..='\u{2473}' => (0x2460, 1),
        '\u{2776}'..='\u{277f}' => (0x2776, 1),
        '\u{2780}'..='\u{2789}' => (0x2780, 1),
        '\u{278a}'..='\u{2793}' => (0x278a, 1),
        _ => return None,
    };
    u16::try_from(c as u32 - base + low).ok()
}

/// Normalises a caption.
pub fn normalize(raw: &str) -> Normalized {
    // Offsets are 32 bits; a caption of 4 GiB does not exist, and a longer text is cut there.
    let limit = raw.len().min(u32::MAX as usize - 8);
    let mut out = Normalized {
        glyphs: Vec::with_capacity(raw.len().min(limit)),
        has_cjk: false,
    };
    for (at, c) in raw.char_indices() {
        if at >= limit {
            break;
        }
        let (start, end) = (at as u32, (at + c.len_utf8()) as u32);
        match c {
            ' '..='~' => out.glyphs.push(Glyph { c, start, end }),
            _ => push(&mut out.glyphs, c, start, end),
        }
    }
    out.has_cjk = !raw.is_ascii() && out.glyphs.iter().any(|g| is_cjk(g.c));
    if out.has_cjk {
        drop_cjk_spaces(&mut out.glyphs);
        full_stops(&mut out.glyphs);
    }
    nested_brackets(&mut out.glyphs);
    join_hyphenation(&mut out.glyphs);
    out
}

fn push(glyphs: &mut Vec<Glyph>, c: char, start: u32, end: u32) {
    let mut one = |c: char| glyphs.push(Glyph { c, start, end });
    match c {
        '\r' | '\u{200b}' | '\u{200c}' | '\u{200d}' | '\u{feff}' | '\u{ad}' => {}
        '\n' | '\u{2028}' | '\u{2029}' | '\u{b}' | '\u{c}' => one('\n'),
        ' '..='~' => one(c),
        _ if c.is_whitespace() => one(' '),
        _ if c.is_control() => one(' '),
        '。' | '、' => one(c),
        '．' | '｡' | '\u{2024}' | '·' | '•' | '・' | '∙' | '‧' => one('.'),
        '‐' | '‑' | '‒' | '–' | '−' | '－' | '﹣' | '⁃' => one('-'),
        // The long dash also sets a label apart (`A—Photograph`), which a hyphen never does.
        '—' | '―' | '─' => one('—'),
        '～' | '〜' | '∼' | '˜' => one('~'),
        '【' | '〔' | '［' | '「' | '﹝' => one('['),
        '】' | '〕' | '］' | '」' | '﹞' => one(']'),
        '〈' | '《' | '（' | '﹙' | '｛' => one('('),
        '〉' | '》' | '）' | '﹚' | '｝' => one(')'),
        '“' | '”' | '„' | '＂' => one('"'),
        '‘' | '’' | '′' | '＇' => one('\''),
        _ if is_cjk(c) && !('\u{f900}'..='\u{faff}').contains(&c) => one(c),
        _ if is_circled_digit(c) => one(c),
        // Circled and boxed letters are letters that bring their own wrapper.
        'Ⓐ'..='Ⓩ' => bracketed(glyphs, offset(c, 'Ⓐ', b'A'), start, end),
        'ⓐ'..='ⓩ' => bracketed(glyphs, offset(c, 'ⓐ', b'a'), start, end),
        '\u{249c}'..='\u{24b5}' => bracketed(glyphs, offset(c, '\u{249c}', b'a'), start, end),
        // Greek and Cyrillic capitals that print exactly like Latin ones.
        'Α' | 'А' => one('A'),
        'Β' | 'В' => one('B'),
        'С' | 'Ϲ' => one('C'),
        'Ε' | 'Е' => one('E'),
        'Η' | 'Н' => one('H'),
        'Ι' | 'І' => one('I'),
        'Κ' | 'К' => one('K'),
        'а' => one('a'),
        'с' => one('c'),
        'е' => one('e'),
        _ => {
            for n in std::iter::once(c).nfkc() {
                glyphs.push(Glyph {
                    c: if n.is_whitespace() { ' ' } else { n },
                    start,
                    end,
                });
            }
        }
    }
}

fn offset(c: char, first: char, base: u8) -> char {
    char::from(base + (c as u32 - first as u32) as u8)
}

fn bracketed(glyphs: &mut Vec<Glyph>, letter: char, start: u32, end: u32) {
    for c in ['(', letter, ')'] {
        glyphs.push(Glyph { c, start, end });
    }
}

/// Spaces and line breaks inside a line of Chinese carry no meaning.
fn drop_cjk_spaces(glyphs: &mut Vec<Glyph>) {
    let chinese = |c: char| is_cjk(c) || matches!(c, '。' | '、');
    let mut kept = Vec::with_capacity(glyphs.len());
    let mut i = 0;
    while i < glyphs.len() {
        let g = glyphs[i];
        if matches!(g.c, ' ' | '\n') {
            let mut end = i;
            while end < glyphs.len() && matches!(glyphs[end].c, ' ' | '\n') {
                end += 1;
            }
            let left = kept.last().map_or('\0', |g: &Glyph| g.c);
            let right = glyphs.get(end).map_or('\0', |g| g.c);
            // One space between two Chinese characters is the OCR's; wider gaps are layout.
            if !(end - i == 1 && g.c == ' ' && chinese(left) && is_cjk(right) && left != '。') {
                kept.extend_from_slice(&glyphs[i..end]);
            }
            i = end;
            continue;
        }
        kept.push(g);
        i += 1;
    }
    *glyphs = kept;
}

/// A lone `o` behind a Chinese character is the ring of a full stop.
fn full_stops(glyphs: &mut [Glyph]) {
    for i in 1..glyphs.len() {
        let ring = matches!(glyphs[i].c, 'o') && is_cjk(glyphs[i - 1].c);
        let at = |k: usize| glyphs.get(k).map_or(' ', |g| g.c);
        let label = matches!(at(i + 2), ')' | '.' | '、' | ':');
        if ring && (label || !at(i + 1).is_ascii_lowercase() && !at(i + 1).is_ascii_digit()) {
            glyphs[i].c = '。';
        }
    }
}

/// `((a), (b))` is `(a, b)`: the inner brackets become blanks.
fn nested_brackets(glyphs: &mut [Glyph]) {
    let mut i = 0;
    while i + 1 < glyphs.len() {
        if glyphs[i].c == '(' && glyphs[i + 1].c == '(' {
            let inner = nested_labels(glyphs, i + 1);
            for &k in &inner {
                glyphs[k].c = ' ';
            }
            i = inner.last().copied().unwrap_or(i);
        }
        i += 1;
    }
}

/// The brackets around the labels of a list that begins at `i` and is closed by one more
/// bracket; none when it is no such list.
fn nested_labels(glyphs: &[Glyph], mut i: usize) -> Vec<usize> {
    const LONGEST_LABEL: usize = 3;
    let at = |k: usize| glyphs.get(k).map_or('\0', |g| g.c);
    let mut inner = Vec::new();
    loop {
        let letters = (i + 1..i + 2 + LONGEST_LABEL)
            .take_while(|&k| at(k).is_ascii_alphanumeric())
            .count();
        let close = i + 1 + letters;
        if at(i) != '(' || letters == 0 || letters > LONGEST_LABEL || at(close) != ')' {
            return Vec::new();
        }
        inner.extend([i, close]);
        i = close + 1;
        if at(i) == ')' {
            return if inner.len() > 2 { inner } else { Vec::new() };
        }
        let between = i;
        while matches!(at(i), ' ' | ',' | '、' | '-' | '~' | 'a' | 'n' | 'd') && i < between + 6 {
            i += 1;
        }
        if i == between {
            return Vec::new();
        }
    }
}

/// `hem-` line break `orrhage` is one word.
fn join_hyphenation(glyphs: &mut Vec<Glyph>) {
    if !glyphs.windows(2).any(|w| w[0].c == '-' && w[1].c == '\n') {
        return;
    }
    let mut kept: Vec<Glyph> = Vec::with_capacity(glyphs.len());
    let mut i = 0;
    while i < glyphs.len() {
        let hyphen = glyphs[i].c == '-'
            && glyphs.get(i + 1).is_some_and(|g| g.c == '\n')
            && glyphs.get(i + 2).is_some_and(|g| g.c.is_ascii_lowercase())
            && kept.last().is_some_and(|g| g.c.is_ascii_lowercase());
        if hyphen {
            i += 2;
            continue;
        }
        kept.push(glyphs[i]);
        i += 1;
    }
    *glyphs = kept;
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn marks_and_letters_get_one_form() {
        for (raw, want) in [
            ("Ａ．彩照", "A.彩照"),
            ("（Ｂ、C）造影", "(B、C)造影"),
            ("图 2—12　黄 斑 水肿", "图 2—12 黄斑水肿"),
            ("Ⓐ Fundus", "(A) Fundus"),
            ("⑴彩照⑵造影", "(1)彩照(2)造影"),
            ("① OCT", "① OCT"),
            ("Ⅲ级 ﬁne", "III级 fine"),
            ("В～D：【а】", "B~D:[a]"),
        ] {
            assert_eq!(normalize(raw).text(), want, "{raw}");
        }
    }

    #[test]
    fn brackets_around_bracketed_labels_are_one() {
        for (raw, want) in [
            ("((a), (b)) Scan", "( a ,  b ) Scan"),
            ("((A)-(C))", "( A - C )"),
            ("((a) one)", "((a) one)"),
            ("((a))", "((a))"),
            ("((", "(("),
            ("((a), (", "((a), ("),
        ] {
            let n = normalize(raw);
            assert_eq!(n.text(), want);
            assert_eq!(n.len(), raw.chars().count());
        }
    }

    #[test]
    fn a_hyphen_at_the_end_of_a_line_joins_the_word() {
        assert_eq!(
            normalize("hem-\norrhage in the B-\nScan").text(),
            "hemorrhage in the B-\nScan"
        );
    }

    proptest! {
        #[test]
        fn offsets_are_ordered_and_on_character_borders(raw in "\\PC*") {
            let normalized = normalize(&raw);
            let mut last = 0;
            for g in &normalized.glyphs {
                prop_assert!(g.start >= last && g.end > g.start);
                prop_assert!(raw.is_char_boundary(g.start as usize) && raw.is_char_boundary(g.end as usize));
                last = g.start;
            }
            for i in 0..=normalized.len() {
                let _ = normalized.raw_slice(&raw, i, normalized.len() + 1);
            }
        }
    }
}
