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
    for (index, mark) in marks.iter().enumerate() {
        if out.list.len() >= MAX_CANDIDATES {
            break;
        }
        let from = out.values.len();
        let had_exact = exact_values(n, mark, family, &mut out.values).is_some();
        if had_exact {
            out.add(index, from, mark.damage);
        } else {
            out.values.truncate(from);
        }
        let Some((up_to, any)) = damage else { continue };
        let single = mark.atoms.len() == 1;
        if !single {
            if !had_exact {
                match damaged_group(n, mark, family, &mut out.values) {
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
            // A good label of the family is rarely a misread other one.
            let firm = matches!(mark.boundary, Boundary::Start | Boundary::Stop | Boundary::Line);
            let cost = match (had_exact, firm) {
                (true, true) => cost + 0.3,
                (true, false) => cost + 1.2,
                _ => cost,
            };
            let from = out.values.len();
            out.values.push(v);
            out.add(index, from, cost + mark.damage);
        }
    }
}

/// Pushes the values of a mark whose atoms all belong to the family.
fn exact_values(n: &Normalized, mark: &Mark, family: Family, values: &mut Vec<u16>) -> Option<()> {
    let from = values.len();
    for atom in mark.atoms.iter() {
        let v = value(n.slice(atom.start, atom.start + atom.len), family)?;
        push_value(values, from, v, atom.range, family)?;
    }
    Some(())
}

/// Pushes one more value of the mark whose values begin at `from`.
fn push_value(values: &mut Vec<u16>, from: usize, v: u16, range: bool, family: Family) -> Option<()> {
    if let Some(&last) = values[from..].last() {
        if v <= last || v > family.max() {
            return None;
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
fn damaged_group(n: &Normalized, mark: &Mark, family: Family, values: &mut Vec<u16>) -> Option<f32> {
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
        push_value(values, from, v, atom.range && k > 0, family)?;
    }
    Some(cost)
}
