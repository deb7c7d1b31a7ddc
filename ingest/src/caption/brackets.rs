//! Marks in brackets, and brackets that OCR damaged.

use super::context::{Boundary, Follow, boundary};
use super::group::{Atoms, group, skip_blank};
use super::marks::{Form, Mark, finish, panel_word};
use super::normalize::{Normalized, is_cjk};

/// `(A)`, `[B, C]`, `(Panel A)`, `(AJ` and other brackets that OCR damaged.
pub(super) fn bracketed(n: &Normalized, i: usize, from: usize, to: usize) -> Option<Mark> {
    let form = if n.at(i) == '[' { Form::Bracket } else { Form::Paren };
    let mut j = skip_blank(n, i + 1, to);
    if let Some(after) = panel_word(n, j) {
        j = after;
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
            if n.at(stop) == '(' || boundary(n, i, from) == Boundary::Start {
                return None;
            }
            let mut mark = finish(n, (i, stop + 1), atoms, Form::Note, from, to, 0.0);
            mark.note = Some((n.skip_space(close + 1), stop));
            Some(mark)
        }
        // `[B、C|`, `(A3J`: the closing bracket of a group was misread.
        '|' | '>' if close < to && atoms.len() > 1 => Some(finish(n, (i, close + 1), atoms, form, from, to, 0.6)),
        _ => broken_bracket(n, i, j, from, to),
    }
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
    if !(single && misread) {
        return None;
    }
    let mark = finish(n, (i, j + len + 1), Atoms::one(j, len), Form::Paren, from, to, 0.6);
    (open || matches!(mark.follow, Follow::Punctuation | Follow::End)).then_some(mark)
}

/// `CA)`, `Cii)`, `CAJ`: the opening bracket was read as a letter; `EJ`, `1J`: the closing one was.
pub(super) fn misread_bracket(n: &Normalized, i: usize, from: usize, to: usize) -> Option<Mark> {
    let ends = |k: usize| k < to && (is_cjk(n.at(k)) || matches!(n.at(k), ' ' | '\n') || n.at(k).is_ascii_uppercase());
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
    let open = matches!(
        boundary(n, i, from),
        Boundary::Start | Boundary::Stop | Boundary::Line | Boundary::Comma
    );
    if open && n.at(i).is_ascii_alphanumeric() && n.at(i + 1) == 'J' && ends(i + 2) {
        let atoms = Atoms::one(i, 1);
        return Some(finish(n, (i, i + 2), atoms, Form::Close, from, to, 0.6));
    }
    None
}
