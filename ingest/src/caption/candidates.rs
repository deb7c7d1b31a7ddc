//! What the marks of a caption may mean in one family of labels, as printed or through OCR damage.

use super::context::Boundary;
use super::labels::{Family, damaged_values, value};
use super::marks::{Form, Mark};
use super::normalize::Normalized;

/// Longest list of candidates; a caption with more marks is not one.
const MAX_CANDIDATES: usize = 600;

/// A mark as labels of one family.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    /// Its mark.
    pub mark: usize,
    /// Where its values stand in [`Candidates::values`].
    values: (usize, usize),
    /// Price of what was misread.
    pub cost: f32,
}

/// Marks as labels of one family, in printed order.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    pub list: Vec<Candidate>,
    values: Vec<u16>,
}

impl Candidates {
    fn clear(&mut self) {
        self.list.clear();
        self.values.clear();
    }

    /// The values of a candidate, never none.
    pub fn values(&self, candidate: &Candidate) -> &[u16] {
        &self.values[candidate.values.0..candidate.values.1]
    }

    /// Adds a candidate whose values begin at `from`, the last that were pushed.
    fn add(&mut self, mark: usize, from: usize, cost: f32) {
        self.list.push(Candidate {
            mark,
            values: (from, self.values.len()),
            cost,
        });
    }
}

/// Finds the marks as labels of one family. With `damage`, misread ones too: `(highest value, any glyph)`.
pub(super) fn candidates(
    n: &Normalized,
    marks: &[Mark],
    family: Family,
    damage: Option<(u16, bool)>,
    out: &mut Candidates,
) {
    out.clear();
    let columns = columns(n, marks, family);
    for (index, mark) in marks.iter().enumerate() {
        if out.list.len() >= MAX_CANDIDATES {
            break;
        }
        let from = out.values.len();
        let had_exact = exact_values(n, mark, (family, columns), &mut out.values).is_some();
        if had_exact {
            out.add(index, from, mark.damage);
        } else {
            out.values.truncate(from);
        }
        let Some((up_to, any)) = damage else { continue };
        let single = mark.atoms.len() == 1;
        if !single {
            if !had_exact {
                match damaged_group(n, mark, (family, columns), &mut out.values) {
                    Some(cost) => out.add(index, from, cost),
                    None => out.values.truncate(from),
                }
            }
            continue;
        }
        let atom = mark.atoms[0];
        let chars = n.slice(atom.start, atom.start + atom.len);
        let strict = !matches!(mark.form, Form::Bare | Form::Glued | Form::Comma);
        for (v, cost) in damaged_values(chars, family, any && strict, up_to) {
            if out
                .list
                .last()
                .is_some_and(|c| c.mark == index && out.values[c.values.0..] == [v])
            {
                continue;
            }
            let cost = cost + if had_exact { exact_price(mark) } else { 0.0 };
            let from = out.values.len();
            out.values.push(v);
            out.add(index, from, cost + mark.damage);
        }
    }
}

/// Price of taking a good label of the family for another one that was misread: more than one label
/// left out where it stands inside a sentence, less than two where it is set apart.
fn exact_price(mark: &Mark) -> f32 {
    let begins = matches!(mark.boundary, Boundary::Start | Boundary::Stop | Boundary::Line);
    match (begins, mark.form) {
        (true, _) => 0.3,
        (false, Form::Paren | Form::Bracket) => 0.6,
        _ => 1.2,
    }
}

/// The highest digit behind a letter: how many columns the grid has that such labels count.
fn columns(n: &Normalized, marks: &[Mark], family: Family) -> u16 {
    if !matches!(family, Family::UpperDigit | Family::LowerDigit) {
        return 0;
    }
    let digits = marks.iter().flat_map(|m| m.atoms.iter()).filter(|a| a.len == 2);
    let values = digits.filter_map(|a| value(n.slice(a.start, a.start + 2), family));
    values.map(|v| v % 100).max().unwrap_or(0)
}

/// Pushes the values of a mark whose atoms all belong to the family.
fn exact_values(n: &Normalized, mark: &Mark, kind: (Family, u16), values: &mut Vec<u16>) -> Option<()> {
    let from = values.len();
    for atom in mark.atoms.iter() {
        let v = value(n.slice(atom.start, atom.start + atom.len), kind.0)?;
        push_value(values, from, v, atom.range, kind)?;
    }
    Some(())
}

/// Pushes one more value of the mark whose values begin at `from`.
fn push_value(values: &mut Vec<u16>, from: usize, v: u16, range: bool, (family, columns): (Family, u16)) -> Option<()> {
    if let Some(&last) = values[from..].last() {
        if v <= last || v > family.max() {
            return None;
        }
        if range && v / 100 > last / 100 {
            // `A1-B2` runs over the rows of a grid, which are all as long as its longest.
            let lone = v.is_multiple_of(100) || last.is_multiple_of(100);
            if lone || (v / 100 - last / 100) * columns > 30 {
                return None;
            }
            values.extend(last + 1..=last / 100 * 100 + columns);
            values.extend((last / 100 + 1..v / 100).flat_map(|row| row * 100 + 1..=row * 100 + columns));
            values.extend(v / 100 * 100 + 1..=v);
            return Some(());
        }
        if range {
            if v - last > 30 {
                return None;
            }
            values.extend(last + 1..=v);
            return Some(());
        }
    }
    values.push(v);
    Some(())
}

/// A group with one misread atom: `B、0` for `B、D`, `4-C` for `A-C`. Pushes its values, gives its price.
fn damaged_group(n: &Normalized, mark: &Mark, kind: (Family, u16), values: &mut Vec<u16>) -> Option<f32> {
    let family = kind.0;
    let from = values.len();
    let mut cost = mark.damage;
    for (k, atom) in mark.atoms.iter().enumerate() {
        let chars = n.slice(atom.start, atom.start + atom.len);
        let v = match value(chars, family) {
            Some(v) => v,
            None => {
                let options = damaged_values(chars, family, false, 12);
                let wanted = values[from..].last().map(|&l| l + 1);
                let pick = options.iter().find(|o| wanted == Some(o.0)).or(options.first())?;
                cost += pick.1;
                pick.0
            }
        };
        push_value(values, from, v, atom.range && k > 0, kind)?;
    }
    Some(cost)
}
