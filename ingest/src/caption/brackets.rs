//! Marks in brackets, and brackets that OCR damaged.

use super::context::{Boundary, Follow, boundary};
use super::group::{Atoms, GLUED_WORDS, LONGEST_ATOM, group, skip_blank};
use super::marks::{Form, MEASURE_WORDS, Mark, finish, panel_word};
use super::normalize::{Normalized, is_cjk};

/// `(A)`, `[B, C]`, `(Panel A)`, `(AJ` and other brackets that OCR damaged.
pub(super) fn bracketed(n: &Normalized, i: usize, from: usize, to: usize) -> Option<Mark> {
    let form = if n.at(i) == '[' { Form::Bracket } else { Form::Paren };
    let mut j = skip_blank(n, i + 1, to);
    if let Some(after) = panel_word(n, j) {
        j = after;
    }
    if let Some(mark) = misclosed(n, i, j, from, to) {
        return Some(mark);
    }
    let Some((atoms, end)) = group(n, j, to) else {
        // `(1D)`: a speck or the bracket itself was read twice.
        let doubled = matches!(n.at(j), '1' | 'l' | '|') && n.at(j + 1).is_ascii_uppercase();
        if doubled && matches!(n.at(j + 2), ')' | ']') && j + 2 < to {
            return Some(finish(n, (i, j + 3), Atoms::one(j + 1, 1), form, from, to, 0.6));
        }
        // One odd character in brackets: a label that was misread.
        let odd = !n.at(j).is_ascii() || matches!(n.at(j), '@' | '?' | '|' | '!' | '<' | '(' | '£');
        if odd && matches!(n.at(j + 1), ')' | ']') && j + 1 < to {
            let atoms = Atoms::one(j, 1);
            return Some(finish(n, (i, j + 2), atoms, form, from, to, 0.1));
        }
        return broken_bracket(n, i, j, from, to);
    };
    let close = skip_blank(n, end, to);
    match n.at(close) {
        ')' | ']' | '}' if close < to => {
            let same = matches!((n.at(i), n.at(close)), ('(', ')') | ('[', ']') | ('{', '}'));
            Some(finish(
                n,
                (i, close + 1),
                atoms,
                form,
                from,
                to,
                if same { 0.0 } else { 0.2 },
            ))
        }
        // `(C, arrows)`: a label behind its text with a remark.
        ',' | ';' | ':' if close < to => {
            let stop = (close + 1..to.min(close + 60)).find(|&k| matches!(n.at(k), ')' | '(' | ']'))?;
            let begins = boundary(n, i, from) == Boundary::Start;
            if n.at(stop) == '(' && !begins {
                // `团块（B，47秒（C）`: the closing bracket was misread.
                return Some(finish(n, (i, close), atoms, form, from, to, 0.6));
            }
            if begins {
                return None;
            }
            let mut mark = finish(n, (i, stop + 1), atoms, Form::Note, from, to, 0.0);
            mark.note = Some((n.skip_space(close + 1), stop));
            Some(mark)
        }
        _ => broken_bracket(n, i, j, from, to),
    }
}

/// `[B、C|造影`, `(IIJ 彩照`: a sign that no label has stands where the group should close.
fn misclosed(n: &Normalized, i: usize, j: usize, from: usize, to: usize) -> Option<Mark> {
    const LONGEST_GROUP: usize = 12;
    let close = n.find(j + 1, to.min(j + LONGEST_GROUP), |c| {
        matches!(c, '|' | '>' | 'J' | ')' | ']' | '}' | '(')
    });
    if !matches!(n.at(close), '|' | '>' | 'J') || close >= to {
        return None;
    }
    let (atoms, end) = group(n, j, close)?;
    // `(AJCC stage`
    let word = n.at(close) == 'J' && n.at(close + 1).is_ascii_alphanumeric() && !n.has_cjk;
    let form = if n.at(i) == '[' { Form::Bracket } else { Form::Paren };
    (end == close && !word).then(|| finish(n, (i, close + 1), atoms, form, from, to, 0.6))
}

/// `(AJ 彩照`, `(A.彩照`, `(A|彩照`: the closing bracket was misread.
fn broken_bracket(n: &Normalized, i: usize, j: usize, from: usize, to: usize) -> Option<Mark> {
    let boundary = boundary(n, i, from);
    let open = matches!(
        boundary,
        Boundary::Start | Boundary::Stop | Boundary::Line | Boundary::Comma | Boundary::Space
    );
    let single = n.at(j).is_ascii_alphanumeric() && !matches!(n.at(j + 1), '-' | '/');
    // `(A3J`: a letter with a digit.
    let len = if n.at(j).is_ascii_alphabetic() && n.at(j + 1).is_ascii_digit() && n.at(j + 2) == 'J' {
        2
    } else {
        1
    };
    let tail = n.at(j + len);
    let after = n.at(j + len + 1);
    let misread = matches!(tail, 'J' | '|' | '1' | 'l' | 'I' | '.' | ':' | '>')
        && (!after.is_ascii_alphanumeric() || len == 2)
        && after != ')'
        && j + len < to;
    // `(9` is what is left of `(c)`.
    let letter = n.at(j).is_ascii_uppercase() || n.at(j) == '9' && !MEASURE_WORDS.contains(tail);
    if open && single && is_cjk(tail) && !GLUED_WORDS.contains(tail) && letter {
        // `。【E经病灶`: the closing bracket was lost.
        return Some(finish(n, (i, j + 1), Atoms::one(j, 1), Form::Paren, from, to, 0.8));
    }
    if !(single && misread) {
        return None;
    }
    let mark = finish(n, (i, j + len + 1), Atoms::one(j, len), Form::Paren, from, to, 0.6);
    (open || matches!(mark.follow, Follow::Punctuation | Follow::End)).then_some(mark)
}

/// `CA)`, `Cii)`, `CAJ`: the opening bracket was read as a letter; `EJ`, `1J`: the closing one was.
pub(super) fn misread_bracket(n: &Normalized, i: usize, from: usize, to: usize) -> Option<Mark> {
    let ends = |k: usize| {
        let c = n.at(k);
        k < to && (is_cjk(c) || matches!(c, ' ' | '\n' | ',' | ';' | '。') || c.is_ascii_uppercase())
    };
    if n.at(i) == 'C' && n.at(i + 1).is_ascii_alphanumeric() {
        if n.at(i + 2) == 'J' && ends(i + 3) {
            let atoms = Atoms::one(i + 1, 1);
            return Some(finish(n, (i, i + 3), atoms, Form::Paren, from, to, 0.6));
        }
        if let Some((atoms, end)) = group(n, i + 1, to)
            && matches!(n.at(end), ')' | '}' | ']')
            && end < to
        {
            return Some(finish(n, (i, end + 1), atoms, Form::Paren, from, to, 0.6));
        }
    }
    let close = n.find(i + 1, to.min(i + 1 + LONGEST_ATOM), |c| c == 'J');
    let open = || {
        matches!(
            boundary(n, i, from),
            Boundary::Start | Boundary::Stop | Boundary::Line | Boundary::Comma
        )
    };
    if n.at(close) == 'J' && close < to && ends(close + 1) && open() {
        let (atoms, _) = group(n, i, close).filter(|g| g.1 == close)?;
        return Some(finish(n, (i, close + 1), atoms, Form::Close, from, to, 0.6));
    }
    None
}

/// `|A]`: the opening bracket was read as a stroke.
pub(super) fn stroke(n: &Normalized, i: usize, from: usize, to: usize) -> Option<Mark> {
    let (atoms, end) = group(n, i + 1, to)?;
    let closed = matches!(n.at(end), ']' | ')' | '}') && end < to;
    closed.then(|| finish(n, (i, end + 1), atoms, Form::Bracket, from, to, 0.4))
}
