//! Figure numbers (`2-12`, `5.3.1`, `S2`, `IV`) and the panel letters glued to them (`2-3A、B`).

use super::group::{GLUED_WORDS, group};
use super::labels::{Family, damaged_values, value};
use super::normalize::{Normalized, is_cjk};

/// Letters from here on are no panel's.
const MOST_PANELS: u16 = 19;

/// A figure number: digits with `-` or `.`, a leading S or a letter, or a roman numeral.
pub(super) fn number(n: &Normalized, i: usize) -> Option<(String, usize)> {
    let mut out = String::new();
    let mut at = i;
    if matches!(n.at(at), 'S' | 'A'..='E')
        && (n.at(at + 1).is_ascii_digit() || (matches!(n.at(at + 1), '-' | '—') && n.at(at + 2).is_ascii_digit()))
    {
        out.push(n.at(at));
        at += 1;
        if matches!(n.at(at), '-' | '—') {
            out.push('-');
            at += 1;
        }
    }
    let (first, end) = digits(n, at, false);
    if first.is_empty() {
        return roman_or_chinese(n, i);
    }
    out.push_str(&first);
    at = end;
    let mut dashed = None;
    let width = |k: usize| n.span(k).map_or(0, |(start, end)| end - start);
    for _ in 1..5 {
        // A separator belongs to the number only when digits follow it.
        let sep = at + usize::from(n.at(at) == ' ');
        // A stop may be read as a comma: `图5.1,3`.
        let mark = if n.at(sep) == ',' { '.' } else { n.at(sep) };
        let dash = matches!(mark, '-' | '—' | '~' | '一' | '_');
        if !(dash || (mark == '.' && sep == at)) {
            break;
        }
        // One number has one sign: `图5-9．1型糖尿病` has no third part, `图5.9．1：` neither.
        let one = *dashed.get_or_insert((dash, width(sep)));
        let label = !dash && one.1 != width(sep) && is_label(n, sep + 1);
        if one.0 != dash || label || mark == '.' && is_amount(n, sep + 1) {
            break;
        }
        let next = sep + 1 + usize::from(dash && n.at(sep + 1) == ' ' && n.at(sep + 2).is_ascii_digit());
        let (part, end) = digits(n, next, true);
        if part.is_empty() {
            break;
        }
        out.push(if dash { '-' } else { '.' });
        out.push_str(&part);
        at = end;
    }
    // A lone S or letter with a long number is no figure number; years are none either.
    (out.len() <= 16).then_some((out, at))
}

/// `1：`, `2）`: digits at `i` that stand before words.
fn is_label(n: &Normalized, i: usize) -> bool {
    let end = n.find(i, (i + 3).min(n.len()), |c| !c.is_ascii_digit());
    end > i && matches!(n.at(end), ':' | ')' | '、')
}

/// `1型`, `2期`: the number at `i` counts what follows, it is no part of a figure number.
fn is_amount(n: &Normalized, i: usize) -> bool {
    let end = n.find(i, (i + 3).min(n.len()), |c| !c.is_ascii_digit());
    end > i
        && matches!(
            n.at(end),
            '型' | '期' | '级' | '例' | '岁' | '年' | '天' | '周' | '个' | '月'
        )
}

/// A run of digits; O, l, I, S stand for the digits they look like inside it and, behind a
/// separator of the number (`inner`), alone.
fn digits(n: &Normalized, i: usize, inner: bool) -> (String, usize) {
    let mut out = String::new();
    let mut at = i;
    while out.len() < 4 {
        let next = n.at(at + 1);
        let begins = next.is_ascii_digit() || matches!(next, '-' | '—' | '.') && n.at(at + 2).is_ascii_digit();
        let ends = (inner || !out.is_empty()) && (!next.is_ascii_alphanumeric() || inner && is_lone_letter(n, at + 1));
        let read = match n.at(at) {
            c @ '0'..='9' => c,
            // `9-1OC`: a panel letter may follow.
            'O' | 'o' if !out.is_empty() && (!next.is_ascii_alphabetic() || is_lone_letter(n, at + 1)) => '0',
            // `Figure 2-13-I.`: a label, no misread digit.
            'I' if begins => '1',
            'l' if begins || ends => '1',
            '|' if begins && out.is_empty() => '1',
            'S' | 's' if begins || ends => '5',
            _ => break,
        };
        out.push(read);
        at += 1;
    }
    (out, at)
}

/// True for one of the first capitals that no letter or digit follows.
fn is_lone_letter(n: &Normalized, i: usize) -> bool {
    matches!(n.at(i), 'A'..='H') && !n.at(i + 1).is_ascii_alphanumeric()
}

fn roman_or_chinese(n: &Normalized, i: usize) -> Option<(String, usize)> {
    let mut chars = Vec::new();
    while chars.len() < 6 && n.at(i + chars.len()).is_ascii_alphabetic() {
        chars.push(n.at(i + chars.len()));
    }
    if !chars.is_empty() {
        let known = value(&chars, Family::RomanUpper).or_else(|| value(&chars, Family::RomanLower))?;
        return Some((Family::RomanUpper.render(known), i + chars.len()));
    }
    const DIGITS: &str = "一二三四五六七八九十";
    let c = n.at(i);
    let end = n.at(i + 1);
    (DIGITS.contains(c) && (matches!(end, ' ' | '.' | ':' | '、') || end.is_ascii_alphabetic())).then(|| {
        (
            DIGITS.chars().position(|d| d == c).map_or(0, |p| p + 1).to_string(),
            i + 1,
        )
    })
}

/// Panel letters directly behind the number.
pub(super) fn glued_letters(n: &Normalized, at: usize) -> Option<(Vec<u16>, usize)> {
    if !n.at(at).is_ascii_alphabetic() {
        return None;
    }
    let (atoms, end) = group(n, at, n.len())?;
    let mut values: Vec<u16> = Vec::new();
    for atom in atoms.iter() {
        let c = [n.at(atom.start)];
        let family = if c[0].is_ascii_uppercase() {
            Family::Upper
        } else {
            Family::Lower
        };
        let v = (atom.len == 1).then(|| value(&c, family)).flatten()?;
        // No figure has twenty panels: `2-3u` is `2-3a`.
        let v = match damaged_values(&c, family, false, 0).first() {
            Some(&(meant, _)) if v > MOST_PANELS && values.is_empty() => meant,
            _ => v,
        };
        match values.last() {
            Some(&last) if atom.range && v > last && v - last < 26 => values.extend(last + 1..=v),
            _ => values.push(v),
        }
    }
    let mut end = end;
    if let Some((next, after)) = misread_letter(n, end, &values) {
        values.push(next);
        end = after;
    }
    let word = is_cjk(n.at(end)) && GLUED_WORDS.contains(n.at(end));
    (!n.at(end).is_ascii_alphanumeric() && !word).then_some((values, end))
}

/// `2-3A and R`, `2-3A、8`: a sign that stands for the next letter ends the list.
fn misread_letter(n: &Normalized, end: usize, values: &[u16]) -> Option<(u16, usize)> {
    let at = match n.at(end) {
        '、' | ',' | '&' => n.skip_space(end + 1),
        ' ' if n.slice(end, end + 5) == [' ', 'a', 'n', 'd', ' '] => end + 5,
        _ => return None,
    };
    let wanted = values.last()? + 1;
    let known = damaged_values(n.slice(at, at + 1), Family::Upper, false, 0);
    let ends = matches!(n.at(at + 1), ' ' | '.' | ':' | ',');
    (ends && known.iter().any(|v| v.0 == wanted)).then_some((wanted, at + 1))
}
