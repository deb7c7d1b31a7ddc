//! Marks that print or OCR wore down: lost blanks, circles read as letters, odd characters.

use super::context::{Boundary, Follow, boundary, follow, inside_open_bracket};
use super::group::{Atoms, skip_blank};
use super::labels::CIRCLE_SHAPES;
use super::marks::{Form, Mark, finish};
use super::normalize::Normalized;

/// A circled label that was read as another round sign: `水肿D、`, `edema @,`, `。O 彩照`. Only where
/// other labels are circled.
pub(super) fn worn_circle(n: &Normalized, i: usize, from: usize, to: usize) -> Option<Mark> {
    let c = n.at(i);
    if !(c.is_ascii_digit() || CIRCLE_SHAPES.contains(c)) || n.at(i + 1).is_ascii_alphanumeric() {
        return None;
    }
    let end = skip_blank(n, i + 1, to);
    let before = boundary(n, i, from);
    let begins = !c.is_ascii_digit() && matches!(before, Boundary::Start | Boundary::Stop | Boundary::Line);
    let behind = matches!(before, Boundary::Word | Boundary::Cjk)
        && !n.before(i).is_ascii_alphanumeric()
        && !matches!(n.before(i), '.' | ':' | '/' | '=' | '-');
    let ends = end >= to
        || matches!(n.at(end), ',' | '、' | ';' | '.' | '。' | '\n')
        || matches!(follow(n, i + 1, to), Follow::Conjunction);
    (begins || behind && ends).then(|| finish(n, (i, i + 1), Atoms::one(i, 1), Form::Circled, from, to, 0.2))
}

/// What stands at the beginning of Chinese panel texts in Latin capitals.
const METHODS: [&str; 20] = [
    "FFA", "FA", "FAF", "AF", "OCT", "OCTA", "ICGA", "ICG", "EDI", "SD", "SS", "ERG", "EOG", "VEP", "UBM", "MRI", "CT",
    "IR", "MP", "HRT",
];

/// `BFFA示渗漏`, `C2OCT`, `BB超示混浊`: nothing stands between the label and an abbreviation.
pub(super) fn before_abbreviation(n: &Normalized, (i, word): (usize, usize), from: usize, to: usize) -> Option<Mark> {
    if !n.has_cjk || word < i + 2 || !matches!(n.at(i), 'A'..='L') {
        return None;
    }
    let len = 1 + usize::from(n.at(i + 1).is_ascii_digit());
    let rest = n.slice(i + len, word);
    let method = |chars: &[char]| {
        METHODS
            .iter()
            .any(|m| m.len() == chars.len() && m.chars().eq(chars.iter().copied()))
    };
    let known = match rest {
        ['A' | 'B'] => len == 1 && matches!(n.at(word), '超' | '扫' | '型'),
        _ => method(rest) && !method(n.slice(i, word)),
    };
    let begins = known
        && matches!(
            boundary(n, i, from),
            Boundary::Start | Boundary::Stop | Boundary::Line | Boundary::Comma | Boundary::Space
        );
    begins.then(|| finish(n, (i, i + len), Atoms::one(i, len), Form::Glued, from, to, 0.2))
}

/// `tissuesA) Photograph`: the label runs into the word that ends at `word`.
pub(super) fn run_together(n: &Normalized, word: usize, from: usize, to: usize) -> Option<Mark> {
    let joined =
        n.at(word) == ')' && word < to && n.before(word).is_ascii_uppercase() && n.at(word - 2).is_ascii_lowercase();
    if !joined || inside_open_bracket(n, word, from) {
        return None;
    }
    let mut mark = finish(
        n,
        (word - 1, word + 1),
        Atoms::one(word - 1, 1),
        Form::Close,
        from,
        to,
        0.2,
    );
    mark.boundary = Boundary::Space;
    Some(mark)
}

/// One odd character where a label should stand: `@ 造影`, `日．造影`, `(.FFA`.
pub(super) fn odd(n: &Normalized, i: usize, from: usize, to: usize) -> Option<Mark> {
    let end = i + 1 + usize::from(n.at(i + 1) == ' ');
    let (form, end, damage) = match n.at(end) {
        '.' | ',' if end < to => (Form::Dot, end + 1, 0.3),
        ':' if end < to => (Form::Colon, end + 1, 0.3),
        ')' if end < to => (Form::Close, end + 1, 0.3),
        _ if matches!(n.at(i), '@' | '©' | '®' | '○' | '〇' | '◎' | '¢') => (Form::Circled, i + 1, 0.2),
        _ => return None,
    };
    let open = matches!(
        boundary(n, i, from),
        Boundary::Start | Boundary::Stop | Boundary::Line | Boundary::Comma
    );
    open.then(|| finish(n, (i, end), Atoms::one(i, 1), form, from, to, damage))
}
