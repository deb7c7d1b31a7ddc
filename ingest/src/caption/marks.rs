//! Everything in a caption that has the shape of a label, before anything is decided.
//!
//! A mark is a group of atoms (`A`, `B、C`, `(a-c)`, `②`) with its wrapper, what
//! stands before it and what follows. [`super::run`] chooses among them.

use super::brackets::{bracketed, misread_bracket, stroke};
use super::context::{Boundary, Follow, boundary, follow, inside_open_bracket};
use super::group::{Atoms, GLUED_WORDS, LONGEST_ATOM, atom, group, is_species, skip_blank};
use super::normalize::{Normalized, is_circled_digit, is_cjk};
use super::worn::{before_abbreviation, odd, run_together, worn_circle};

/// How a label group is set apart from the words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Form {
    /// `(A)`
    Paren,
    /// `[A]`
    Bracket,
    /// `A)`
    Close,
    /// `A.`
    Dot,
    /// `A:`
    Colon,
    /// `A,`
    Comma,
    /// `A、` before words
    Pause,
    /// `A -`, `A =`
    Dash,
    /// `Panel A`, `图A`, `A图`
    Word,
    /// `①`
    Circled,
    /// `A` and a space
    Bare,
    /// `A` directly before a Chinese word
    Glued,
    /// `(A, arrow)` behind its text
    Note,
}

impl Form {
    /// Every form.
    pub const ALL: [Form; 13] = [
        Form::Paren,
        Form::Bracket,
        Form::Close,
        Form::Dot,
        Form::Colon,
        Form::Comma,
        Form::Pause,
        Form::Dash,
        Form::Word,
        Form::Circled,
        Form::Bare,
        Form::Glued,
        Form::Note,
    ];
}

/// A group of atoms with the shape of a label.
#[derive(Debug, Clone)]
pub struct Mark {
    /// First character of the mark with its wrapper.
    pub start: usize,
    /// First character after the mark with its wrapper.
    pub end: usize,
    /// The atoms in order, never empty.
    pub atoms: Atoms,
    /// Its wrapper.
    pub form: Form,
    /// What stands before it.
    pub boundary: Boundary,
    /// What follows it.
    pub follow: Follow,
    /// True when white space follows.
    pub spaced: bool,
    /// True when the label, its stop and a lone lower-case word look like a species (`E. coli`).
    pub species: bool,
    /// True when a conjunction and the next label in brackets follow (`(A) and (B) show`).
    pub joined: bool,
    /// True when a verb of Chinese captions follows (`（A）示出血`).
    pub verb: bool,
    /// Price of a damaged wrapper (`(A〉`, `A .`).
    pub damage: f32,
    /// A remark inside the brackets, behind the label.
    pub note: Option<(usize, usize)>,
}

/// Words that name a panel before its label.
const PANEL_WORDS: [&str; 12] = [
    "panels",
    "panel",
    "images",
    "image",
    "photographs",
    "photograph",
    "photos",
    "photo",
    "parts",
    "part",
    "frames",
    "frame",
];
/// Letters of the longest of them, and of the shortest.
const LONGEST_PANEL_WORD: usize = 11;
const SHORTEST_PANEL_WORD: usize = 4;
/// Chinese characters after a number that make it an amount.
pub(super) const MEASURE_WORDS: &str = "个天周年月日次级分秒时岁眼例期度种条处只倍小号型类者名位毫厘微米组至到余多点";

/// Finds all marks in the characters `from..to`.
pub fn scan(n: &Normalized, from: usize, to: usize) -> Vec<Mark> {
    let mut marks = Vec::new();
    let mut i = from;
    while i < to {
        let c = n.at(i);
        let worn = if n.has_circled {
            worn_circle(n, i, from, to)
        } else {
            None
        };
        let mark = match c {
            _ if worn.is_some() => worn,
            ' ' | '\n' | ',' | '.' | ';' | ':' | '。' | '、' | ')' => None,
            '(' | '[' | '{' => bracketed(n, i, from, to).or_else(|| odd(n, i, from, to)),
            'a'..='z' | 'A'..='Z' | '0'..='9' => match in_word(n, i, from, to) {
                Ok(mark) => Some(mark),
                Err(next) => {
                    i = next;
                    continue;
                }
            },
            '图' => open(n, i, from, to),
            '|' => stroke(n, i, from, to).or_else(|| odd(n, i, from, to)),
            _ if is_circled_digit(c) => circled(n, i, from, to),
            _ => odd(n, i, from, to),
        };
        match mark {
            Some(m) => {
                // A group is read once; its own wrapper may hide no other mark.
                i = m.end.max(i + 1);
                marks.push(m);
            }
            None => i += 1,
        }
    }
    marks
}

/// The mark that the Latin word at `i` is or ends with, or the place from which on to look further.
fn in_word(n: &Normalized, i: usize, from: usize, to: usize) -> Result<Mark, usize> {
    let word = word_end(n, i, to);
    let panel = matches!(n.at(i), 'p' | 'P' | 'i' | 'I' | 'f' | 'F') && panel_word(n, i).is_some();
    let bracket = n.slice(i + 1, i + LONGEST_ATOM).contains(&'J');
    if let Some(mark) = before_abbreviation(n, (i, word), from, to) {
        return Ok(mark);
    }
    // No label is longer than four characters, and none starts inside a word.
    if word - i > LONGEST_ATOM && !panel && !bracket {
        return run_together(n, word, from, to).ok_or(word);
    }
    // Most words have nothing of a label, their first letters least of all.
    if !panel && !bracket && n.at(i) != 'C' && atom(n, i, to).is_none() {
        return Err(word);
    }
    let initials = initialism(n, i, to);
    if initials > 0 {
        return Err(initials.max(word));
    }
    open(n, i, from, to).ok_or_else(|| end_of_list(n, i, from, to).max(word))
}

/// The end of initials such as `C.N.V.` at `i`, or 0.
fn initialism(n: &Normalized, i: usize, to: usize) -> usize {
    if n.at(i + 1) != '.' {
        return 0;
    }
    let width = |k: usize| n.span(k).map_or(0, |(start, end)| end - start);
    // `C．C.N.V.`: the label's own stop is printed in another width.
    if width(i + 1) != width(i + 3) && n.at(i + 3) == '.' {
        return 0;
    }
    let mut at = i;
    let mut rising = true;
    while at + 1 < to && n.at(at).is_ascii_uppercase() && n.at(at + 1) == '.' {
        rising &= at == i || n.at(at) as u32 == n.at(at - 2) as u32 + 1;
        at += 2;
    }
    if at >= i + 4 && !rising { at } else { 0 }
}

/// The end of the Latin word at `i`.
fn word_end(n: &Normalized, i: usize, to: usize) -> usize {
    n.find(i + 1, to.min(n.len()), |c| !c.is_ascii_alphanumeric())
}

/// The end of a list (`vitamins B and C`) whose members are no labels because the first is none.
fn end_of_list(n: &Normalized, i: usize, from: usize, to: usize) -> usize {
    match group(n, i, to) {
        Some((atoms, end))
            if atoms.len() > 1
                && matches!(
                    boundary(n, i, from),
                    Boundary::Word | Boundary::Reference | Boundary::Cjk
                ) =>
        {
            end
        }
        _ => i + 1,
    }
}

fn circled(n: &Normalized, i: usize, from: usize, to: usize) -> Option<Mark> {
    let (atoms, end) = group(n, i, to)?;
    let mut end = end;
    // Behind words the stop is theirs: `裂孔①、出血②。`
    let behind = matches!(boundary(n, i, from), Boundary::Cjk | Boundary::Word);
    if matches!(n.at(end), '.' | ':' | '、' | ')') && end < to && !behind {
        end += 1;
    }
    Some(finish(n, (i, end), atoms, Form::Circled, from, to, 0.0))
}

/// A group without an opening bracket: `A.`, `B、C.`, `a text`, `A右眼`, `Panel A`, `图A:`.
fn open(n: &Normalized, i: usize, from: usize, to: usize) -> Option<Mark> {
    if n.before(i).is_ascii_alphanumeric() && i > from {
        return None;
    }
    let boundary = boundary(n, i, from);
    if boundary == Boundary::Word && !matches!(n.before(i), ' ' | '\n') {
        return None;
    }
    if let Some(j) = panel_word(n, i).or_else(|| (n.at(i) == '图' && !n.at(i + 1).is_ascii_digit()).then_some(i + 1)) {
        // `Panel (a): text`; photographs and images are what a label behind its text belongs to.
        if n.at(j) == '(' && matches!(n.at(i), 'p' | 'P') && n.at(i + 3).eq_ignore_ascii_case(&'e') {
            let mut mark = bracketed(n, j, from, to)?;
            (mark.start, mark.boundary) = (i, boundary);
            return Some(mark);
        }
        let odd = || matches!(n.at(j + 1), ':' | '.' | ',').then(|| (Atoms::one(j, 1), j + 1));
        let (atoms, end) = group(n, j, to).or_else(odd).filter(|g| g.1 <= to)?;
        // `55 seconds, image ③`: a circled label brings its own wrapper.
        let part = n.at(i) == '图' || n.at(i + 1) == 'a';
        if is_circled_digit(n.at(j)) && !part {
            return None;
        }
        if n.at(end) == ')' && end < to {
            // `(antigen; image C)`
            let mut mark = finish(n, (i, end + 1), atoms, Form::Paren, from, to, 0.1);
            mark.boundary = Boundary::Space;
            return Some(mark);
        }
        let end = match n.at(end) {
            '示' | '为' if n.at(i) == '图' => end + 1,
            _ => skip_terminator(n, end, to),
        };
        return Some(finish(n, (i, end), atoms, Form::Word, from, to, 0.0));
    }
    if let Some(mark) = misread_bracket(n, i, from, to) {
        return Some(mark);
    }
    let (atoms, group_end) = group(n, i, to)?;
    let mut end = group_end;
    let mut damage = 0.0;
    let blank = n.at(end) == ' ' && end < to;
    if blank && matches!(n.at(end + 1), '.' | ':' | ')' | ',' | ']') && end + 1 < to {
        end += 1;
        damage = 0.1;
    }
    if end >= to {
        return None;
    }
    let next = n.at(end + 1);
    let digits = n.at(atoms[0].start).is_ascii_digit();
    let (form, end) = match n.at(end) {
        ')' | ']' | '}' => (Form::Close, end + 1),
        // `A' 彩照`: a bracket of old faces.
        '\'' if !digits && (matches!(next, ' ' | '\n') || is_cjk(next)) => {
            damage = 0.3;
            (Form::Close, end + 1)
        }
        '.' if !(digits && next.is_ascii_digit()) => (Form::Dot, end + 1),
        // `；3．5分钟`: a label before a number, or a decimal number; only the run can tell.
        '.' if matches!(boundary, Boundary::Stop | Boundary::Line) => {
            damage = 0.6;
            (Form::Dot, end + 1)
        }
        ':' if !(digits && next.is_ascii_digit()) => (Form::Colon, end + 1),
        // `；3：3期病变`; with two digits behind the colon it is a time.
        ':' if matches!(boundary, Boundary::Stop | Boundary::Line | Boundary::Comma)
            && !n.at(end + 2).is_ascii_digit() =>
        {
            damage = 0.6;
            (Form::Colon, end + 1)
        }
        ',' if !(digits && next.is_ascii_digit()) => (Form::Comma, end + 1),
        ';' if !digits => (Form::Colon, end + 1),
        '。' => (Form::Dot, end + 1),
        '、' => (Form::Pause, end + 1),
        '—' => (Form::Dash, if next == '—' { end + 2 } else { end + 1 }),
        '-' | '=' | '~' if !next.is_ascii_alphanumeric() => (Form::Dash, end + 1),
        '-' if next == '-' => (Form::Dash, end + 2),
        '阁' | '圈' | '园' if matches!(next, ':' | '示' | '为') => (Form::Word, after_figure_word(n, end, to)),
        '图' if !matches!(next, '谱' | '案') => (Form::Word, after_figure_word(n, end, to)),
        ' ' | '\n' => {
            let j = n.skip_space(end);
            match n.at(j) {
                '—' => (Form::Dash, j + 1),
                '-' | '=' if !n.at(j + 1).is_ascii_alphanumeric() => (Form::Dash, j + 1),
                _ => (Form::Bare, end + 1),
            }
        }
        c if is_cjk(c) && !digits && !GLUED_WORDS.contains(c) && (c, next) != ('细', '胞') => (Form::Glued, end),
        c if is_cjk(c) && digits && !MEASURE_WORDS.contains(c) => (Form::Glued, end),
        _ => return None,
    };
    let strict = !matches!(form, Form::Bare | Form::Glued | Form::Comma | Form::Pause);
    // `Macular hole A．彩照`: a foreign word before a label of a Chinese caption.
    let text = n.at(n.skip_space(end));
    let before_chinese = boundary == Boundary::Word
        && (strict && is_cjk(text)
            || is_after_abbreviation(n, i, from)
                && (is_cjk(text) && !GLUED_WORDS.contains(text) || text.is_ascii_uppercase()));
    let wanted = match boundary {
        Boundary::Word | Boundary::Reference => {
            before_chinese || form == Form::Close && damage == 0.0 && !inside_open_bracket(n, i, from)
        }
        Boundary::Cjk => matches!(form, Form::Dot | Form::Colon | Form::Close),
        _ => true,
    };
    // `and C text` in English is a list, not a label of its own.
    if !wanted || (!strict && boundary == Boundary::Conjunction && atoms.len() == 1) {
        return None;
    }
    let mut mark = finish(n, (i, end), atoms, form, from, to, damage);
    if before_chinese {
        mark.boundary = Boundary::Space;
    }
    Some(mark)
}

/// `CRVO A 彩照 B FFA C OCT`: in a Chinese caption, a blank and an abbreviation in capitals stand before `i`.
fn is_after_abbreviation(n: &Normalized, i: usize, from: usize) -> bool {
    let mut k = i;
    while k > from && n.before(k) == ' ' {
        k -= 1;
    }
    let end = k;
    while k > from && n.before(k).is_ascii_uppercase() {
        k -= 1;
    }
    n.has_cjk && i - end == 1 && end >= k + 2 && !n.before(k).is_ascii_alphanumeric()
}

pub(super) fn finish(
    n: &Normalized,
    (start, end): (usize, usize),
    atoms: Atoms,
    form: Form,
    from: usize,
    to: usize,
    damage: f32,
) -> Mark {
    let after = follow(n, end, to);
    Mark {
        start,
        end,
        atoms,
        form,
        boundary: boundary(n, start, from),
        follow: after,
        joined: after == Follow::Conjunction && next_is_bracket(n, end),
        spaced: matches!(n.at(end), ' ' | '\n') || matches!(n.before(end), ' ' | '\n'),
        species: form == Form::Dot && is_species(n, end),
        verb: matches!(n.at(n.skip_space(end)), '示' | '显' | '可' | '见' | '呈' | '提') && end < to,
        damage,
        note: None,
    }
}

/// The place after `图`, `图像`, `图示`, `图：` at `end`.
fn after_figure_word(n: &Normalized, end: usize, to: usize) -> usize {
    match n.at(end + 1) {
        '示' | '为' => end + 2,
        '像' | '片' | '中' => skip_terminator(n, end + 2, to),
        _ => skip_terminator(n, end + 1, to),
    }
}

/// True when the word behind `end` is followed by an opening bracket.
fn next_is_bracket(n: &Normalized, end: usize) -> bool {
    let mut word = n.skip_space(end);
    while n.at(word).is_alphabetic() {
        word += 1;
    }
    matches!(n.at(n.skip_space(word)), '(' | '[')
}

fn skip_terminator(n: &Normalized, end: usize, to: usize) -> usize {
    let j = skip_blank(n, end, to);
    if j < to && matches!(n.at(j), '.' | ':' | ',' | '、' | '-' | '—' | ')') {
        j + 1
    } else {
        end
    }
}

/// The place after `panel `, `image `, when such a word and a space stand at `i`.
pub(super) fn panel_word(n: &Normalized, i: usize) -> Option<usize> {
    if !matches!(n.at(i), 'p' | 'P' | 'i' | 'I' | 'f' | 'F') || n.before(i).is_ascii_alphanumeric() {
        return None;
    }
    let letters = n.slice(i, i + LONGEST_PANEL_WORD + 2);
    let end = letters
        .iter()
        .position(|c| !(c.is_ascii_alphanumeric() || c.is_alphanumeric()));
    let end = end.filter(|&end| end >= SHORTEST_PANEL_WORD)?;
    let (label, next) = (n.at(i + end - 1), n.at(i + end));
    // `PanelB:`, `(panelb)` without the blank.
    let joined =
        label.is_ascii_uppercase() && matches!(next, ':' | '.' | ',') || label.is_ascii_alphabetic() && next == ')';
    PANEL_WORDS.iter().find_map(|word| {
        let len = word.len();
        let first = word.as_bytes().first().copied().map(char::from);
        if first != Some(n.at(i).to_ascii_lowercase())
            || !(end == len && matches!(next, ' ' | '\n') || joined && end == len + 1)
        {
            return None;
        }
        // One letter may be misread: `PaneI A`, `Pancl A`.
        let letters = word.chars().enumerate();
        let wrong = letters.filter(|(k, c)| n.at(i + k).to_ascii_lowercase() != *c).count();
        (wrong <= 1).then_some(if end == len { i + len + 1 } else { i + len })
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::normalize::normalize;
    use super::*;
    use proptest::prelude::*;

    /// The marks of a caption as `form:atoms`.
    fn marks(raw: &str) -> Vec<String> {
        let n = normalize(raw);
        scan(&n, 0, n.len())
            .iter()
            .map(|m| {
                let atoms: Vec<String> = m
                    .atoms
                    .iter()
                    .map(|a| {
                        let text: String = (a.start..a.start + a.len).map(|k| n.at(k)).collect();
                        if a.range { format!("..{text}") } else { text }
                    })
                    .collect();
                format!("{:?}:{}", m.form, atoms.join(" "))
            })
            .collect()
    }

    #[test]
    fn wrappers_and_groups() {
        for (raw, want) in [
            ("A．彩照；B、C．造影", vec!["Dot:A", "Dot:B C"]),
            ("（A～C）造影", vec!["Paren:A ..C"]),
            ("(a, b) Early phase", vec!["Paren:a b"]),
            ("A, Early phase. B and C, Late phase", vec!["Comma:A", "Comma:B C"]),
            ("A: photograph. B, C: angiograms", vec!["Colon:A", "Colon:B C"]),
            ("①②造影；③OCT", vec!["Circled:① ②", "Circled:③"]),
            ("A1: first. A2: second", vec!["Colon:A1", "Colon:A2"]),
            ("A至C 造影", vec!["Bare:A ..C"]),
            ("Panel A shows", vec!["Word:A"]),
            ("A, B-scan shows", vec!["Comma:A"]),
            ("（A、D）和（B）", vec!["Paren:A D", "Paren:B"]),
            ("(i) one (ii) two", vec!["Paren:i", "Paren:ii"]),
        ] {
            assert_eq!(marks(raw), want, "{raw}");
        }
    }

    #[test]
    fn names_and_references_are_no_open_marks() {
        for raw in [
            "维生素A缺乏",
            "如图1-2A所示",
            "HLA-B27阳性",
            "C3F8气体",
            "the vitamin A. deficiency",
            "D-15色觉",
            "病灶B区",
        ] {
            assert!(
                marks(raw)
                    .iter()
                    .all(|m| m.starts_with("Bare") || m.starts_with("Dash")),
                "{raw}: {:?}",
                marks(raw)
            );
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_scan_panic(raw in "[A-Ca-c1-3()\\[\\].,:;、。 和图至~\\-①②\n日@]{0,60}") {
            let n = normalize(&raw);
            for m in scan(&n, 0, n.len()) {
                prop_assert!(m.start < m.end && m.end <= n.len() + 1 && !m.atoms.is_empty());
            }
        }
    }
}
