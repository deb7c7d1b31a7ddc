//! Where captions begin: `图2-12`, `Fig. 2.12`, `FIGURE 9-5-45.`, `Plate IV`, `附图3`.
//!
//! The same grammar serves whole captions ([`heads`]) and OCR lines
//! ([`find_caption_start`]), where running text such as `如图1-2所示` or
//! `Figure 2-3 shows` must not be taken for a caption.

use super::context::{Boundary, boundary};
use super::group::{GLUED_WORDS, group};
use super::headword::{figure_shape, head_word, prefix_start};
use super::labels::{Family, damaged_values};
use super::normalize::{Normalized, is_cjk, normalize};
use super::number::{glued_letters, number};

/// The beginning of a caption on an OCR line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptionStart {
    /// The figure number with plain hyphens, like `2-12` or `3.1.4`.
    pub figure_no: String,
    /// `zh` or `en`, by the word before the number.
    pub language: String,
    /// Panel letters glued to the number (`图2-3A、B`), in capitals.
    pub letters: Vec<String>,
    /// Byte offset in the line of the first character after number and letters.
    pub text_at: usize,
}

/// A caption head inside a normalised caption.
#[derive(Debug, Clone)]
pub struct Head {
    /// First character of the head.
    pub start: usize,
    /// First character after number, letters and separator.
    pub text_at: usize,
    /// The number with plain hyphens.
    pub number: String,
    /// Values of the panel letters glued to the number.
    pub letters: Vec<u16>,
    /// True for a Chinese head word.
    pub chinese: bool,
}

/// Chinese words after a number that make the line running text.
const ZH_RUNNING: [&str; 17] = [
    "所示", "示)", "显示", "可见", "可以", "为例", "和图", "与图", "及图", "至图", "中,", "中的", "中可", ")", "。",
    ",", "、图",
];
/// English words after a number that make the line running text.
const EN_RUNNING: [&str; 34] = [
    "shows",
    "show",
    "showed",
    "showing",
    "is",
    "are",
    "was",
    "were",
    "illustrates",
    "illustrate",
    "demonstrates",
    "demonstrate",
    "depicts",
    "depict",
    "presents",
    "gives",
    "provides",
    "summarizes",
    "summarises",
    "and",
    "or",
    "to",
    "in",
    "for",
    "with",
    "of",
    "above",
    "below",
    "displays",
    "contains",
    "compares",
    "has",
    "can",
    "reveals",
];

/// Finds the beginning of a caption at the start of an OCR line, or nothing when the line
/// does not begin one.
pub fn find_caption_start(line: &str) -> Option<CaptionStart> {
    let n = normalize(line);
    let at = skip_strays(&n, 0);
    // In round brackets a number is a reference: `（图2-3）。黄斑`.
    let head = if n.at(at) == '[' {
        parse_bracketed(&n, at)?
    } else {
        parse(&n, at, true)?
    };
    if is_running_text(&n, &head) {
        return None;
    }
    let after = n.span(head.text_at).map_or(line.len(), |span| span.0);
    Some(CaptionStart {
        figure_no: head.number,
        language: if head.chinese { "zh" } else { "en" }.to_owned(),
        letters: head.letters.iter().map(|&v| Family::Upper.render(v)).collect(),
        text_at: after,
    })
}

/// All heads of one caption: the first at its beginning, the others with the same number
/// where a sentence may begin (a second language, or one head per panel).
pub fn heads(n: &Normalized) -> Vec<Head> {
    let mut found: Vec<Head> = Vec::new();
    let first_at = skip_strays(n, 0);
    let mut from = first_at;
    let first = match n.at(first_at) {
        '(' | '[' => parse_bracketed(n, first_at),
        _ => parse(n, first_at, true).or_else(|| parse(n, first_at, false)),
    };
    if let Some(mut head) = first {
        if n.at(head.text_at) == ']' {
            // `|图2-3]`: the opening bracket went with the specks before it.
            head.text_at = after_separators(n, head.text_at + 1);
        }
        from = head.text_at;
        found.push(head);
    }
    let mut i = from;
    while i < n.len() {
        i = n.find(i, n.len(), |c| match c {
            '\0'..='\u{7f}' => matches!(c, 'F' | 'f' | 'P' | 'p'),
            _ => matches!(c, '附' | '彩' | '插') || figure_shape(c),
        });
        if head_may_start(n, i) && head_word(n, i).is_some() {
            let start = prefix_start(n, i);
            let bracketed = matches!(n.before(start), '(' | '[');
            let start = start - usize::from(bracketed);
            let here = boundary(n, start, 0);
            let open = matches!(here, Boundary::Stop | Boundary::Line)
                || here == Boundary::Space && matches!(n.before(start), ' ' | '\n')
                || here == Boundary::Word && matches!(n.before(start), '\n');
            // The line break before the second language was lost: it repeats the very number.
            let spaced = here == Boundary::Word && n.before(start) == ' ' && found.len() == 1;
            if (open || spaced || here == Boundary::Comma)
                && let Some(head) = if bracketed {
                    parse_bracketed(n, start)
                } else {
                    parse(n, start, true)
                }
                && !is_said_of_another(n, start, &found, &head)
            {
                let same = found
                    .first()
                    .is_none_or(|first| same_number(&first.number, &head.number));
                let glued_digit = !found.is_empty() && !same;
                // The next letter leaves no doubt, whatever stands on either side.
                let next = same && found.last().is_some_and(|last| is_next(last, &head));
                let other = found
                    .first()
                    .is_some_and(|f| f.chinese != head.chinese && same_number(&f.number, &head.number));
                let begins = open && !bracketed || (spaced || open) && other;
                if next
                    || begins
                        && (same || glued_digit && extends(&found[0].number, &head.number))
                        && (bracketed || !is_running_text(n, &head))
                {
                    i = head.text_at.max(i + 1);
                    found.push(head);
                    continue;
                }
            }
        }
        i += 1;
    }
    settle_letters(&mut found);
    found
}

/// True when the letters of `head` go on where those of `last` end.
fn is_next(last: &Head, head: &Head) -> bool {
    last.chinese == head.chinese
        && matches!((last.letters.last(), head.letters.first()), (Some(a), Some(b)) if *b == a + 1)
}

/// True for a number that is the first word of a panel (`2-3B: Figure 2-3A, late phase`): nothing
/// stands between it and the head before it in the same language.
fn is_said_of_another(n: &Normalized, start: usize, found: &[Head], head: &Head) -> bool {
    found
        .last()
        .is_some_and(|last| last.chinese == head.chinese && n.skip_space(last.text_at) >= start)
}

/// The first place that may begin a caption: specks of dirt and rules beside it are passed over.
pub fn skip_strays(n: &Normalized, from: usize) -> usize {
    let mut i = n.skip_space(from);
    let limit = i + 6;
    while i < limit && i < n.len() {
        let c = n.at(i);
        let stray = matches!(
            c,
            '|' | '\'' | '"' | '.' | '-' | '—' | '~' | '_' | '`' | ',' | '\\' | '*' | '^' | '«' | '»' | '='
        );
        if !stray && !matches!(c, ' ' | '\n') {
            break;
        }
        i += 1;
    }
    i
}

/// True where a further head may start: a quick look before [`head_word`].
fn head_may_start(n: &Normalized, i: usize) -> bool {
    let second = n.at(i + 1);
    let word = match n.at(i) {
        'F' | 'f' => matches!(second, 'i' | 'I' | 'l' | 'L' | '1' | '!' | '|'),
        'P' | 'p' => matches!(second, 'l' | 'L' | 'h' | 'H'),
        '图' | '附' | '彩' | '插' | '圖' => true,
        // A character that looks like 图 is one before a number only.
        c => !c.is_ascii() && figure_shape(c) && n.at(n.skip_space(i + 1)).is_ascii_digit(),
    };
    let electronic = n.before(i) == 'e' && (i < 2 || !n.at(i - 2).is_ascii_alphanumeric());
    word && (!n.before(i).is_ascii_alphanumeric() || electronic)
}

/// The letter that closing brackets are misread as: J.
const MISREAD_BRACKET: u16 = 10;

/// Parses a head in brackets at `i`: `【图2-3】`, `(Figure 2-3)`.
fn parse_bracketed(n: &Normalized, i: usize) -> Option<Head> {
    let mut head = parse(n, n.skip_space(i + 1), true)?;
    let close = n.skip_space(head.text_at);
    if matches!(n.at(close), ')' | ']' | '}' | '|' | '>') {
        head.text_at = close + 1;
    } else if head.letters == [MISREAD_BRACKET] {
        head.letters.clear();
    } else {
        return None;
    }
    head.start = i;
    head.text_at = after_separators(n, head.text_at);
    Some(head)
}

/// Parses a head at `i`. Without `word_needed`, a number with a hyphen alone will do (图 was lost).
fn parse(n: &Normalized, i: usize, word_needed: bool) -> Option<Head> {
    let (mut at, chinese) = match head_word(n, i) {
        Some(found) => found,
        None if !word_needed => (i, true),
        None => return None,
    };
    at = n.skip_space(at);
    let number_at = at;
    let (number, after) = number(n, at)?;
    at = after;
    if !word_needed {
        // `2-3 weeks` and `1-2岁` are no figures.
        let spaced = matches!(n.at(at), ' ' | '\n' | ':') || n.at(at).is_ascii_uppercase();
        let next = n.at(n.skip_space(at));
        if !number.contains('-') || !spaced || !(is_cjk(next) || next.is_uppercase() || matches!(next, '(' | '[')) {
            return None;
        }
    }
    if !chinese && number_at == i {
        return None;
    }
    // Letters glued to the number: `2-3A、B`, `2-3(A)`, `2-3-A`.
    let mut letters = Vec::new();
    let glued = match n.at(at) {
        '-' if n.at(at + 1).is_ascii_alphabetic() => at + 1,
        _ => at,
    };
    if let Some((values, end)) = glued_letters(n, glued) {
        letters = values;
        at = end;
    }
    if n.at(at).is_ascii_alphanumeric() && !text_is_glued(n, at, chinese) {
        return None;
    }
    Some(Head {
        start: i,
        text_at: after_separators(n, at),
        number,
        letters,
        chinese,
    })
}

/// The first character of the words behind a number that ends at `at`.
fn after_separators(n: &Normalized, at: usize) -> usize {
    let mut text_at = at;
    let mut separators = 0;
    while text_at - at <= 12 {
        match n.at(text_at) {
            ' ' | '\n' => {}
            '.' | ':' | ';' | '、' | '-' | '—' | '|' | ',' | '。' if separators < 2 => separators += 1,
            _ => break,
        }
        text_at += 1;
    }
    text_at
}

/// The blank behind a number was lost: `图2-3Leber病`, `Fig. 2-3A1, early phase`.
fn text_is_glued(n: &Normalized, at: usize, chinese: bool) -> bool {
    if chinese && matches!(n.at(at), 'A' | 'B') && GLUED_WORDS.contains(n.at(at + 1)) {
        return true;
    }
    let label = n.at(at).is_ascii_alphabetic()
        && n.at(at + 1).is_ascii_digit()
        && matches!(n.at(at + 2), '.' | ',' | ':' | ')' | ' ' | '、');
    label || chinese && n.at(at).is_ascii_uppercase() && n.at(at + 1).is_ascii_alphabetic()
}

/// The same number, apart from separators.
pub fn same_figure(a: &str, b: &str) -> bool {
    let plain = |s: &str| s.replace(['.', '_'], "-");
    plain(a) == plain(b)
}

/// [`same_figure`], with an S that stands for a 5.
fn same_number(a: &str, b: &str) -> bool {
    same_figure(a, b) || same_figure(&a.replacen("S-", "5-", 1), &b.replacen("S-", "5-", 1))
}

/// `14-14-28` extends `14-14-2`: the panel letter was read as a digit.
fn extends(base: &str, longer: &str) -> bool {
    longer
        .strip_prefix(base)
        .or_else(|| base.strip_prefix(longer))
        .is_some_and(|rest| rest.len() == 1)
}

/// Among heads of one figure, the shortest number is the figure's; a digit behind it is a misread letter.
fn settle_letters(found: &mut [Head]) {
    let Some(base) = found.iter().map(|h| h.number.clone()).min_by_key(String::len) else {
        return;
    };
    for head in found.iter_mut() {
        if head.number != base
            && let Some(rest) = head.number.strip_prefix(base.as_str())
            && let Some(c) = rest.chars().next()
            && rest.len() == 1
        {
            if head.letters.is_empty() {
                head.letters = damaged_values(&[c], Family::Upper, false, 0)
                    .iter()
                    .take(1)
                    .map(|v| v.0)
                    .collect();
            }
            head.number = base.clone();
        }
    }
}

fn is_running_text(n: &Normalized, head: &Head) -> bool {
    let mut at = head.text_at;
    // Look at what stands right behind number and letters, separators included.
    let mut raw_end = head.text_at;
    while raw_end > head.start
        && matches!(
            n.before(raw_end),
            ' ' | '\n' | '.' | ':' | '、' | '-' | '—' | '|' | ',' | '。'
        )
    {
        raw_end -= 1;
    }
    if head.chinese {
        let separated = raw_end < head.text_at && matches!(n.at(raw_end), ' ' | '\n' | '.' | ':');
        let rest: String = (raw_end..(raw_end + 4).min(n.len())).map(|k| n.at(k)).collect();
        let rest = rest.trim_start();
        if ZH_RUNNING.iter().any(|w| rest.starts_with(w)) {
            return !(rest.starts_with('。') && separated);
        }
        return matches!(n.at(raw_end), ')' | ']');
    }
    match n.at(raw_end) {
        ')' | ']' | ';' => return true,
        ',' => {
            let next = n.skip_space(raw_end + 1);
            let label = group(n, next, n.len()).is_some_and(|(_, end)| matches!(n.at(end), ')' | '.' | ':'));
            return n.at(next).is_ascii_lowercase() && !label;
        }
        _ => {}
    }
    at = n.skip_space(at);
    let mut word = String::new();
    while word.len() < 14 && n.at(at).is_ascii_alphabetic() {
        word.push(n.at(at));
        at += 1;
    }
    EN_RUNNING.contains(&word.as_str())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn caption_starts_are_found() {
        for (line, number, language, letters) in [
            ("图2-12　视网膜静脉阻塞", "2-12", "zh", ""),
            ("图 1—3 黄斑裂孔", "1-3", "zh", ""),
            ("图3.1.4 视盘水肿", "3.1.4", "zh", ""),
            ("图12：糖尿病", "12", "zh", ""),
            ("附图5　眼底像", "5", "zh", ""),
            ("彩图 7 A. 眼底", "7", "zh", ""),
            ("图2-3A、B　彩照", "2-3", "zh", "AB"),
            ("图2-3a～c　彩照", "2-3", "zh", "ABC"),
            ("Fig. 3.12 Macular hole", "3.12", "en", ""),
            ("FIGURE 9-5-45. Drusen", "9-5-45", "en", ""),
            ("Figure 2–12, A: Photograph", "2-12", "en", ""),
            ("Figure S2. Angiogram", "S2", "en", ""),
            ("Plate IV. Retinoblastoma", "IV", "en", ""),
            ("Fig 4 (a) Early phase", "4", "en", ""),
            ("Figure 2-12A-C. Angiograms", "2-12", "en", "ABC"),
            ("| Fig. 5-1 Fundus", "5-1", "en", ""),
            ("Flgure 5-1. Fundus", "5-1", "en", ""),
            ("图 5 - 2 黄斑", "5-2", "zh", ""),
        ] {
            let start = find_caption_start(line).unwrap_or_else(|| panic!("no start in {line}"));
            assert_eq!(
                (
                    start.figure_no.as_str(),
                    start.language.as_str(),
                    start.letters.concat()
                ),
                (number, language, letters.to_owned()),
                "{line}"
            );
            assert!(line.is_char_boundary(start.text_at));
        }
    }

    #[test]
    fn running_text_is_no_caption() {
        for line in [
            "如图1-2所示，黄斑区可见出血",
            "图1-2所示为黄斑区出血",
            "as shown in Figure 2-3",
            "Figure 2-3 shows a macular hole in the",
            "Fig. 2-3). The second patient",
            "图2-3显示病灶",
            "图2-3和图2-4为同一患者",
            "Figures 2-3 and 2-4 are from the same",
            "2-3 weeks after treatment",
            "figured out that the lesion",
            "plate of the optic disc",
            "（图2-3）。黄斑",
            "图谱第二版",
            "",
        ] {
            assert_eq!(find_caption_start(line), None, "{line}");
        }
    }

    #[test]
    fn second_heads_need_the_same_number() {
        let n = normalize("图1-2 裂孔。同图3-4。\nFig. 1-2 Hole. As in Fig. 3-4.");
        let found = heads(&n);
        assert_eq!(found.len(), 2);
        assert!(found[0].chinese && !found[1].chinese);
    }

    #[test]
    fn a_letter_read_as_a_digit_is_a_letter() {
        let n = normalize("Figure 4-2A. One.\nFigure 4-28. Two.");
        let found = heads(&n);
        assert_eq!(
            found.iter().map(|h| h.letters.clone()).collect::<Vec<_>>(),
            [vec![1], vec![2]]
        );
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(line in "\\PC{0,40}|(图|Fig\\.|Figure|Plate|附图)[ ]?[0-9A-ZlI一.~\\-]{0,8}[ .:、。)A-Ca-c\\-]{0,6}") {
            if let Some(start) = find_caption_start(&line) {
                prop_assert!(line.get(start.text_at..).is_some());
            }
            let _ = heads(&normalize(&line));
        }
    }
}
