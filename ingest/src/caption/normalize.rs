//! One form per character, with the place in the raw text it came from.
//!
//! Layout of printed captions varies in ways that carry no meaning: full-width
//! letters and marks, half a dozen dashes, circled letters, spaces between
//! Chinese characters, line breaks of the OCR. The normalised text has one form
//! for each; every character remembers its byte range in the raw caption, so
//! that panel texts are cut from the raw caption and not from this form.

use unicode_normalization::UnicodeNormalization;

/// A caption in normalised form.
#[derive(Debug, Clone, Default)]
pub struct Normalized {
    /// The normalised characters in order.
    chars: Vec<char>,
    /// Byte range in the raw text of every character; starts never decrease.
    spans: Vec<(u32, u32)>,
    /// True when there is a Chinese character among them.
    pub has_cjk: bool,
    /// True when there is a circled digit among them.
    pub has_circled: bool,
}

impl Normalized {
    /// The character at `i`, or `'\0'` outside the text.
    #[inline]
    pub fn at(&self, i: usize) -> char {
        self.chars.get(i).copied().unwrap_or('\0')
    }

    /// The character before `i`, or `'\0'` at the start.
    #[inline]
    pub fn before(&self, i: usize) -> char {
        if i == 0 { '\0' } else { self.at(i - 1) }
    }

    /// The characters `from..to`, cut to the text.
    pub fn slice(&self, from: usize, to: usize) -> &[char] {
        let to = to.min(self.chars.len());
        &self.chars[from.min(to)..to]
    }

    /// Number of characters.
    #[inline]
    pub fn len(&self) -> usize {
        self.chars.len()
    }

    /// True when there is no character.
    pub fn is_empty(&self) -> bool {
        self.chars.is_empty()
    }

    /// The byte range in the raw text of the character at `i`.
    pub fn span(&self, i: usize) -> Option<(usize, usize)> {
        self.spans.get(i).map(|&(a, b)| (a as usize, b as usize))
    }

    /// The part of `raw` that the characters `from..to` came from.
    pub fn raw_slice<'a>(&self, raw: &'a str, from: usize, to: usize) -> &'a str {
        let to = to.min(self.spans.len());
        if from >= to {
            return "";
        }
        let (a, b) = (self.spans[from].0 as usize, self.spans[to - 1].1 as usize);
        raw.get(a..b).unwrap_or("")
    }

    /// The normalised characters as a string.
    pub fn text(&self) -> String {
        self.chars.iter().collect()
    }

    /// The first index at or after `i` that is not white space.
    #[inline]
    pub fn skip_space(&self, mut i: usize) -> usize {
        while matches!(self.at(i), ' ' | '\n') {
            i += 1;
        }
        i
    }

    /// The first place in `from..to` whose character is `wanted`, or `to`.
    #[inline]
    pub fn find(&self, from: usize, to: usize, wanted: impl Fn(char) -> bool) -> usize {
        let found = self.slice(from, to).iter().position(|&c| wanted(c));
        found.map_or(to, |step| from + step)
    }

    /// Keeps the characters for which `keep` holds; it sees their places and those kept so far.
    fn retain(&mut self, mut keep: impl FnMut(&[char], usize, &[char]) -> bool) {
        let mut kept = 0;
        for i in 0..self.chars.len() {
            let (done, rest) = self.chars.split_at_mut(i);
            if keep(rest, i, &done[..kept]) {
                self.chars[kept] = self.chars[i];
                self.spans[kept] = self.spans[i];
                kept += 1;
            }
        }
        self.chars.truncate(kept);
        self.spans.truncate(kept);
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
    let bytes = raw.as_bytes();
    // A Chinese character takes three bytes.
    let room = if raw.is_ascii() { limit } else { limit / 2 + 16 };
    let mut out = Normalized {
        chars: Vec::with_capacity(room),
        spans: Vec::with_capacity(room),
        has_cjk: false,
        has_circled: false,
    };
    let mut odd = Oddities::default();
    let mut at = 0;
    while at < limit {
        // Printable ASCII is its own normal form.
        let odd_byte = bytes[at..limit].iter().position(|b| !(b' '..=b'~').contains(b));
        let plain = odd_byte.unwrap_or(limit - at);
        out.chars.extend(bytes[at..at + plain].iter().map(|&b| char::from(b)));
        // `limit` leaves room: no end overflows, and unchecked sums are done many at a time.
        out.spans
            .extend((at as u32..(at + plain) as u32).map(|k| (k, k.wrapping_add(1))));
        at += plain;
        let Some(rest) = raw.get(at..limit) else { break };
        for c in rest.chars() {
            if (' '..='~').contains(&c) {
                break;
            }
            let (start, end) = (at as u32, (at + c.len_utf8()) as u32);
            if ('\u{4e00}'..='\u{9fff}').contains(&c) {
                out.has_cjk = true;
                out.chars.push(c);
                out.spans.push((start, end));
            } else {
                push(&mut out, c, start, end, &mut odd);
            }
            at = end as usize;
        }
    }
    if out.has_cjk {
        drop_cjk_spaces(&mut out);
        full_stops(&mut out.chars);
    }
    if odd.brackets || raw.contains("((") {
        nested_brackets(&mut out.chars);
    }
    if odd.lines {
        join_hyphenation(&mut out);
    }
    out
}

/// What [`push`] met that later steps look for.
#[derive(Default)]
struct Oddities {
    /// A line break.
    lines: bool,
    /// An opening bracket.
    brackets: bool,
}

/// Adds the normal form of one character that is neither printable ASCII nor plainly Chinese.
fn push(out: &mut Normalized, c: char, start: u32, end: u32, odd: &mut Oddities) {
    let mut one = |c: char| {
        out.chars.push(c);
        out.spans.push((start, end));
    };
    match c {
        '\r' | '\u{200b}' | '\u{200c}' | '\u{200d}' | '\u{feff}' | '\u{ad}' => {}
        '\n' | '\u{2028}' | '\u{2029}' | '\u{b}' | '\u{c}' => {
            odd.lines = true;
            one('\n');
        }
        '。' | '、' => one(c),
        '，' => one(','),
        '；' => one(';'),
        '：' => one(':'),
        '．' | '｡' | '\u{2024}' | '·' | '•' | '・' | '∙' | '‧' => one('.'),
        '‐' | '‑' | '‒' | '–' | '−' | '－' | '﹣' | '⁃' => one('-'),
        // The long dash also sets a label apart (`A—Photograph`), which a hyphen never does.
        '—' | '―' | '─' => one('—'),
        '～' | '〜' | '∼' | '˜' => one('~'),
        '【' | '〔' | '［' | '「' | '﹝' => one('['),
        '】' | '〕' | '］' | '」' | '﹞' => one(']'),
        '〈' | '《' | '（' | '﹙' | '｛' => {
            odd.brackets = true;
            one('(');
        }
        '〉' | '》' | '）' | '﹚' | '｝' => one(')'),
        // A blank as wide as a character is set on purpose: no reading error, like a wide gap.
        '\u{3000}' => [' ', ' '].into_iter().for_each(one),
        '“' | '”' | '„' | '＂' => one('"'),
        '‘' | '’' | '′' | '＇' => one('\''),
        _ if c.is_whitespace() || c.is_control() => one(' '),
        '\u{3400}'..='\u{4dbf}' => {
            out.has_cjk = true;
            out.chars.push(c);
            out.spans.push((start, end));
        }
        _ if is_circled_digit(c) => {
            one(c);
            out.has_circled = true;
        }
        // Circled and boxed letters are letters that bring their own wrapper.
        'Ⓐ'..='Ⓩ' | 'ⓐ'..='ⓩ' | '\u{249c}'..='\u{24b5}' => {
            odd.brackets = true;
            let letter = match c {
                'Ⓐ'..='Ⓩ' => offset(c, 'Ⓐ', b'A'),
                'ⓐ'..='ⓩ' => offset(c, 'ⓐ', b'a'),
                _ => offset(c, '\u{249c}', b'a'),
            };
            ['(', letter, ')'].into_iter().for_each(one);
        }
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
                out.has_cjk |= is_cjk(n);
                odd.brackets |= n == '(';
                out.chars.push(if n.is_whitespace() { ' ' } else { n });
                out.spans.push((start, end));
            }
        }
    }
}

fn offset(c: char, first: char, base: u8) -> char {
    char::from(base + (c as u32 - first as u32) as u8)
}

/// Spaces and line breaks inside a line of Chinese carry no meaning.
fn drop_cjk_spaces(n: &mut Normalized) {
    // One space between two Chinese characters is the OCR's; wider gaps are layout.
    // A line that ends within `左上` or `下图` does not, either.
    let place = |c: char| matches!(c, '左' | '右' | '上' | '下' | '中' | '侧');
    let parted = |w: &[char]| w[1] == '\n' && place(w[0]) && (place(w[2]) || w[2] == '图');
    let spurious = |w: &[char]| w[1] == ' ' && (is_cjk(w[0]) || w[0] == '、') && is_cjk(w[2]) || parted(w);
    if n.chars.windows(3).any(spurious) {
        n.retain(|rest, _, kept| match (kept.last(), rest) {
            (Some(&left), &[c, right, ..]) => !spurious(&[left, c, right]),
            _ => true,
        });
    }
}

/// A lone `o` behind a Chinese character is the ring of a full stop.
fn full_stops(chars: &mut [char]) {
    for i in 1..chars.len() {
        if chars[i] != 'o' || !(is_cjk(chars[i - 1]) || matches!(chars[i - 1], ')' | ']')) {
            continue;
        }
        let at = |k: usize| chars.get(k).copied().unwrap_or(' ');
        let label = matches!(at(i + 2), ')' | '.' | '、' | ':' | ',');
        if label || !at(i + 1).is_ascii_lowercase() && !at(i + 1).is_ascii_digit() {
            chars[i] = '。';
        }
    }
}

/// `((a), (b))` is `(a, b)`: the inner brackets become blanks.
fn nested_brackets(chars: &mut [char]) {
    let mut i = 0;
    while i + 1 < chars.len() {
        if chars[i] == '(' && chars[i + 1] == '(' {
            let inner = nested_labels(chars, i + 1);
            for &k in &inner {
                chars[k] = ' ';
            }
            i = inner.last().copied().unwrap_or(i);
        }
        i += 1;
    }
}

/// The brackets around the labels of a list that begins at `i` and is closed by one more
/// bracket; none when it is no such list.
fn nested_labels(chars: &[char], mut i: usize) -> Vec<usize> {
    const LONGEST_LABEL: usize = 3;
    let at = |k: usize| chars.get(k).copied().unwrap_or('\0');
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
fn join_hyphenation(n: &mut Normalized) {
    if !n.chars.windows(2).any(|w| w == ['-', '\n']) {
        return;
    }
    let mut line_end = usize::MAX;
    n.retain(|rest, i, kept| {
        let joins = matches!(rest, ['-', '\n', next, ..] if next.is_ascii_lowercase())
            && kept.last().is_some_and(char::is_ascii_lowercase);
        if joins {
            line_end = i + 1;
        }
        !joins && i != line_end
    });
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
            ("图 2—12　黄 斑 水肿", "图 2—12  黄斑水肿"),
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
        /// Of any text, control characters and every plane among them; the second half is what normalising changes.
        #[test]
        fn offsets_are_ordered_and_on_character_borders(
            any in proptest::collection::vec(any::<char>(), 0..60),
            odd in "[A-Za-o0-9 \n\r\t\u{3000}\u{200b}\u{ad}\u{301}\u{fe0f}ﬁ㎜ⒶⓐⅣ⑴①（）()【】「」。．、：；～—－·\u{d7a3}黄斑𠮷\u{2f800}\u{fdfa}-]{0,60}",
        ) {
            let raw: String = any.into_iter().chain(odd.chars()).collect();
            let normalized = normalize(&raw);
            let mut last = 0;
            for i in 0..normalized.len() {
                let (start, end) = normalized.span(i).unwrap();
                prop_assert!(start >= last && end > start);
                // One character of the raw text, whatever its normal form became.
                prop_assert_eq!(raw.get(start..end).map(|c| c.chars().count()), Some(1));
                last = start;
            }
            prop_assert_eq!(normalized.span(normalized.len()), None);
            for i in 0..=normalized.len() {
                let _ = normalized.raw_slice(&raw, i, normalized.len() + 1);
            }
        }
    }
}
