//! Groups of atoms: `A`, `B、C`, `a-c`, `②③`, `A1 and A2`.

use super::labels::{Family, value};
use super::normalize::{Normalized, circled_value, is_circled_digit, is_cjk};

/// Chinese characters after a letter that make it part of a word: A超, B型, C级.
pub(super) const GLUED_WORDS: &str = "超型级区类组期字族波链群等段例株亚淋维肝抗肽蛋形";
/// Characters of the longest atom (`viii`).
pub(super) const LONGEST_ATOM: usize = 4;

/// Most places from one label of a list to the next.
const FARTHEST: u16 = 8;

/// One letter, number or circled digit of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Atom {
    /// First character.
    pub start: usize,
    /// Number of characters.
    pub len: usize,
    /// True when a range sign stands between the atom before and this one.
    pub range: bool,
}

/// The atoms of a mark in order, never none; hardly ever more than one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Atoms {
    /// A lone label.
    One(Atom),
    /// Several.
    Many(Vec<Atom>),
}

impl Atoms {
    /// A lone atom.
    pub fn one(start: usize, len: usize) -> Self {
        Atoms::One(Atom {
            start,
            len,
            range: false,
        })
    }

    fn push(&mut self, next: Atom) {
        match self {
            Atoms::One(first) => *self = Atoms::Many(vec![*first, next]),
            Atoms::Many(all) => all.push(next),
        }
    }
}

impl std::ops::Deref for Atoms {
    type Target = [Atom];

    fn deref(&self) -> &[Atom] {
        match self {
            Atoms::One(atom) => std::slice::from_ref(atom),
            Atoms::Many(atoms) => atoms,
        }
    }
}

/// Class and place of an atom as printed, to tell lists from accidents.
fn class(n: &Normalized, atom: &Atom) -> Option<(u8, u16)> {
    let c = n.at(atom.start);
    if is_circled_digit(c) {
        return circled_value(c).map(|v| (0, v));
    }
    if atom.len == 1 {
        return match c {
            'A'..='Z' => Some((1, c as u16 - 64)),
            'a'..='z' => Some((2, c as u16 - 96)),
            '0'..='9' => Some((3, c as u16 - 48)),
            _ => None,
        };
    }
    let d = n.at(atom.start + 1);
    if c.is_ascii_digit() && d.is_ascii_digit() && atom.len == 2 {
        return Some((3, (c as u16 - 48) * 10 + d as u16 - 48));
    }
    if c.is_ascii_alphabetic() && d.is_ascii_digit() && atom.len == 2 {
        let upper = c.is_ascii_uppercase();
        return Some((
            if upper { 4 } else { 5 },
            (c.to_ascii_uppercase() as u16 - 64) * 100 + d as u16 - 48,
        ));
    }
    let chars = n.slice(atom.start, atom.start + atom.len);
    value(chars, Family::RomanLower)
        .map(|v| (6, v))
        .or_else(|| value(chars, Family::RomanUpper).map(|v| (7, v)))
}

/// Reads one atom: a circled digit, or up to four Latin letters and digits.
pub(super) fn atom(n: &Normalized, i: usize, to: usize) -> Option<Atom> {
    if i >= to {
        return None;
    }
    if is_circled_digit(n.at(i)) {
        return Some(Atom {
            start: i,
            len: 1,
            range: false,
        });
    }
    let mut len = 0;
    while i + len < to && n.at(i + len).is_ascii_alphanumeric() {
        len += 1;
        if len > LONGEST_ATOM {
            return None;
        }
    }
    let one = Atom {
        start: i,
        len,
        range: false,
    };
    match len {
        0 => None,
        1 => Some(one),
        2 => {
            // Two characters: a number, a letter with a digit, a roman numeral, or one misread letter.
            let (a, b) = (n.at(i), n.at(i + 1));
            let pair = a.is_ascii_digit() && b.is_ascii_digit()
                || a.is_ascii_alphabetic() && b.is_ascii_digit()
                || class(n, &one).is_some()
                || matches!(
                    (a, b),
                    ('c', 'l' | '1' | 'i') | ('e', 'c') | ('l', 'i') | ('A' | 'B' | 'a' | 'b', 'l' | 'I')
                )
                || matches!((a, b), ('1' | 'l' | 'I', '1' | 'l' | 'I' | 'i' | '3' | 'V' | 'v'));
            pair.then_some(one)
        }
        _ if !matches!(n.at(i), 'i' | 'v' | 'x' | 'I' | 'V' | 'X' | '1' | 'l') => None,
        _ => {
            (class(n, &one).is_some() || (0..len).all(|k| matches!(n.at(i + k), '1' | 'l' | 'I' | 'i'))).then_some(one)
        }
    }
}

/// Reads a group: atoms joined by list or range signs. Returns them and the place after.
pub fn group(n: &Normalized, i: usize, to: usize) -> Option<(Atoms, usize)> {
    let first = atom(n, i, to)?;
    let mut atoms = Atoms::One(first);
    let mut end = i + first.len;
    while let Some((next_at, range, strict)) = joiner(n, end, to) {
        let Some(mut next) = atom(n, next_at, to) else { break };
        next.range = range;
        let last = atoms[atoms.len() - 1];
        let (Some((ca, va)), Some((cb, vb))) = (class(n, &last), class(n, &next)) else {
            break;
        };
        // `[C and 0]`: a letter read as a digit, where nothing else can stand.
        let misread = matches!(ca, 1 | 2)
            && cb == 3
            && next.len == 1
            && matches!(n.at(next_at + next.len), ')' | ']' | '}')
            && inside_bracket(n, end);
        let one_roman = |a: &Atom| matches!(n.at(a.start), 'i' | 'v' | 'x' | 'I' | 'V' | 'X');
        let roman = |c: u8| matches!(c, 1 | 2 | 6 | 7);
        let same = misread
            || ca == cb
            || (roman(ca) && roman(cb) && ca.max(cb) >= 6 && one_roman(&last) && one_roman(&next))
            || (ca == 1 && cb == 4)
            || (ca == 2 && cb == 5);
        let steps = if ca == cb { vb == va + 1 } else { true };
        // `A、M. tuberculosis`: a list leaves few labels out, a range as many as it likes.
        let near = range || ca != cb || vb <= va + FARTHEST || ca > 3;
        let after = n.at(next_at + next.len);
        // `B-scan`, `C/D`, `A, A 40-year-old`: the second letter belongs to a word.
        let word = matches!(after, '-' | '/' | '+' | '\'' | '=')
            && n.at(next_at + next.len + 1).is_ascii_alphanumeric()
            && joiner(n, next_at + next.len, to)
                .is_none_or(|(at, _, _)| atom(n, at, to).and_then(|a| class(n, &a)).is_none_or(|(c, _)| c != cb));
        let increasing = ca != cb || vb > va;
        let glued = is_cjk(after) && GLUED_WORDS.contains(after);
        // `A — M. tuberculosis`: the dash is the label's own, `B．C. albicans`: so is the stop.
        let own_sign = match n.at(end) {
            '-' => false,
            '.' => true,
            _ => n.before(next_at) == ' ' || is_species(n, next_at + 2),
        };
        let word = word || ca == 1 && own_sign && range == (n.at(end) != '.') && is_initial(n, next_at);
        if !same || word || glued || !increasing || !near || !(steps || range || strict || misread) {
            break;
        }
        atoms.push(next);
        end = next_at + next.len;
        if atoms.len() >= 26 {
            break;
        }
    }
    Some((atoms, end))
}

/// `M. tuberculosis`: a capital, a stop, a blank and a lower-case letter.
fn is_initial(n: &Normalized, i: usize) -> bool {
    n.at(i).is_ascii_uppercase() && n.slice(i + 1, i + 3) == ['.', ' '] && n.at(i + 3).is_ascii_lowercase()
}

/// True for a blank and a lone lower-case word among Chinese ones at `end`: `E. coli感染`.
pub(super) fn is_species(n: &Normalized, end: usize) -> bool {
    const SHORTEST: usize = 4;
    let at = end + usize::from(n.at(end) == ' ');
    let letters = n.slice(at, n.len()).iter().take_while(|c| c.is_ascii_lowercase());
    let word = letters.count();
    at > end && word >= SHORTEST && (is_cjk(n.at(at + word)) || n.at(at + word) == ' ' && is_cjk(n.at(at + word + 1)))
}

/// A sign that joins two labels at `end`: the place of the next atom, whether it is a
/// range, and whether it may also skip labels (`A and C`).
fn joiner(n: &Normalized, end: usize, to: usize) -> Option<(usize, bool, bool)> {
    let i = skip_blank(n, end, to);
    if i >= to {
        return None;
    }
    let then = |len: usize, range: bool, strict: bool| Some((skip_blank(n, i + len, to), range, strict));
    let word = |w: &str| {
        i > end && w.chars().enumerate().all(|(k, c)| n.at(i + k) == c) && matches!(n.at(i + w.len()), ' ' | '\n')
    };
    match n.at(i) {
        '-' | '—' | '~' | '至' | '到' | '一' => then(1, true, true),
        '、' | '&' | '和' | '与' | '及' | '+' => {
            // `A、B和C`, `A、 and B`
            then(1, false, true)
        }
        ',' => {
            let j = skip_blank(n, i + 1, to);
            let and = n.at(j) == 'a' && n.at(j + 1) == 'n' && n.at(j + 2) == 'd' && n.at(j + 3) == ' ';
            if and {
                Some((j + 4, false, true))
            } else {
                Some((j, false, inside_bracket(n, end)))
            }
        }
        // `B/C:` is a list, `C/D ratio` is none.
        '/' if i == end && matches!(n.at(i + 2), '.' | ':' | ')' | ']' | '、') => then(1, false, false),
        '.' if i == end && n.at(i + 1) != ' ' && !n.at(i).is_ascii_digit() => {
            // A pause that was read as a stop (`B.C.造影`); only for the very next letter.
            (!n.before(end).is_ascii_digit()).then_some((i + 1, false, false))
        }
        // `and`, also misread (`und`, `aud`) or run into the letter (`andC`).
        'a' | 'u' if i > end && and_word(n, i) => then(3, false, true),
        't' if word("to") => then(2, true, true),
        't' if word("through") => then(7, true, true),
        c if is_circled_digit(c) && i == end && is_circled_digit(n.before(end)) => Some((i, false, true)),
        _ => None,
    }
}

/// `and` with at most one letter misread, followed by a blank or one lone letter.
pub(super) fn and_word(n: &Normalized, i: usize) -> bool {
    let wrong = usize::from(n.at(i) != 'a') + usize::from(n.at(i + 1) != 'n');
    wrong <= 1
        && matches!(n.at(i + 1), 'n' | 'u')
        && n.at(i + 2) == 'd'
        && (matches!(n.at(i + 3), ' ' | '\n')
            || n.at(i + 3).is_ascii_alphanumeric() && !n.at(i + 4).is_ascii_alphanumeric())
}

/// True when an opening bracket stands a few characters before `end` with only labels between.
fn inside_bracket(n: &Normalized, end: usize) -> bool {
    let mut k = end;
    let mut steps = 0;
    while k > 0 && steps < 40 {
        match n.before(k) {
            '(' | '[' => return true,
            c if c.is_ascii_alphanumeric() || matches!(c, ' ' | ',' | '、' | '-' | '—' | '~') => {}
            _ => return false,
        }
        k -= 1;
        steps += 1;
    }
    false
}

/// The first place at or after `i` that is no blank and no end of a line.
pub(super) fn skip_blank(n: &Normalized, mut i: usize, to: usize) -> usize {
    while i < to && matches!(n.at(i), ' ' | '\n') {
        i += 1;
    }
    i
}
