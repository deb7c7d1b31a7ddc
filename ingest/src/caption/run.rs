//! The best run of labels in a caption, by dynamic programming over its marks.
//!
//! A caption uses one family of labels. A run is a sequence of marks of that
//! family with rising values from the first one; every mark earns points for
//! its wrapper, for what stands before and after it, and pays for being misread;
//! every label left out between two marks costs. The best run over families and
//! over the two modes (label before its text, label after its text) wins.

use super::context::{Boundary, Follow};
use super::labels::{Family, damaged_values, value};
use super::marks::{Form, Mark};
use super::normalize::Normalized;

/// Where the labels stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// `A. Photograph`
    Before,
    /// `Photograph (A)`
    After,
}

/// One mark of a run and the labels it stands for.
#[derive(Debug, Clone)]
pub struct Item {
    /// First character of the mark.
    pub start: usize,
    /// First character after it.
    pub end: usize,
    /// Its labels as the contract prints them.
    pub labels: Vec<String>,
    /// Their values in the family (empty for positions).
    pub values: Vec<u16>,
    /// True when the label was read through damage.
    pub damaged: bool,
    /// A remark inside the label's brackets.
    pub note: Option<(usize, usize)>,
    /// Where this label stands; single labels may differ from the run's mode.
    pub side: Mode,
}

/// A run of labels.
#[derive(Debug, Clone)]
pub struct Run {
    /// The family, none for positions.
    pub family: Option<Family>,
    /// Where labels stand.
    pub mode: Mode,
    /// The marks in order.
    pub items: Vec<Item>,
    /// Points; comparable between families.
    pub score: f32,
    /// Values left out inside the run.
    pub missing: Vec<u16>,
}

impl Run {
    /// Number of labels in the run.
    pub fn count(&self) -> usize {
        self.items.iter().map(|i| i.labels.len()).sum()
    }
}

/// What the caller knows about the caption.
#[derive(Debug, Clone, Copy, Default)]
pub struct Context {
    /// True for a caption in Chinese.
    pub chinese: bool,
    /// Number of panels in the picture, when known.
    pub panels: Option<usize>,
    /// The value that the run begins with, 1 unless the figure number took labels.
    pub first: u16,
}

/// Price of one label left out in the middle of a run.
const GAP: f32 = 1.0;
/// Price of one label left out before the first.
const LATE_START: f32 = 1.6;
/// Points for every further label of one mark.
const EXTRA_LABEL: f32 = 1.2;
/// Price of a first label behind its text when the others stand before theirs.
const SWITCH: f32 = 0.8;
/// Points below which a run is no run.
const ENOUGH: f32 = 1.3;
/// Points for agreeing with the number of panels; the same is lost for disagreeing.
const COUNT_AGREES: f32 = 1.0;
/// Longest list of candidates; a caption with more marks is not one.
const MAX_CANDIDATES: usize = 600;

struct Candidate {
    mark: usize,
    values: Vec<u16>,
    cost: f32,
}

/// The best run of letters, digits or numerals among `marks`, if any is good enough.
pub fn best_run(n: &Normalized, marks: &[Mark], context: Context) -> Option<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for family in Family::ALL {
        let exact = candidates(n, marks, family, None);
        if exact.is_empty() {
            continue;
        }
        let mut family_best: Option<Run> = None;
        for mode in [Mode::Before, Mode::After] {
            let Some(run) = best_of_mode(marks, &exact, family, mode, context) else {
                continue;
            };
            keep_better(&mut family_best, run);
        }
        let repair = family_best.as_ref().is_none_or(|run| needs_repair(marks, run, context));
        if repair {
            // Any glyph may stand for a label inside the run or up to the panels counted, not beyond.
            let highest = |r: &Run| r.items.iter().flat_map(|i| i.values.iter().copied()).max().unwrap_or(0);
            let wild = usize::from(family_best.as_ref().map_or(0, highest))
                .max(context.panels.unwrap_or(0))
                .min(14);
            let wild = if family == Family::Circled {
                wild.max(3) + 2
            } else {
                wild
            };
            let all = candidates(n, marks, family, Some((wild as u16, family_best.is_some())));
            for mode in [Mode::Before, Mode::After] {
                let Some(run) = best_of_mode(marks, &all, family, mode, context) else {
                    continue;
                };
                let sound = run.items.iter().filter(|i| !i.damaged).count() * 2 >= run.items.len();
                if sound {
                    keep_better(&mut family_best, run);
                }
            }
        }
        if let Some(run) = family_best {
            runs.push(run);
        }
    }
    outermost(runs)
}

fn keep_better(best: &mut Option<Run>, run: Run) {
    if best.as_ref().is_none_or(|b| run.score > b.score + 1e-4) {
        *best = Some(run);
    }
}

/// The run with most points, unless it is nested between two labels of another run
/// (numbered arrows inside panel B).
fn outermost(runs: Vec<Run>) -> Option<Run> {
    let mut best = 0;
    for i in 1..runs.len() {
        if runs[i].score > runs[best].score + 1e-4 {
            best = i;
        }
    }
    let nested = |inner: &Run, outer: &Run| {
        let (first, last) = (inner.items[0].start, inner.items[inner.items.len() - 1].start);
        outer.items.len() > 1
            && outer.items[0].start < first
            && (outer.items.windows(2).any(|w| w[0].start < first && last < w[1].start)
                || outer.mode == Mode::Before && outer.items[outer.items.len() - 1].start < first)
    };
    let outer = (0..runs.len())
        .find(|&i| i != best && runs[i].score > 0.6 * runs[best].score.min(4.0) && nested(&runs[best], &runs[i]));
    runs.into_iter().nth(outer.unwrap_or(best))
}

/// True when misread labels may hide: a gap, a count that disagrees, or a strong mark left over.
fn needs_repair(marks: &[Mark], run: &Run, context: Context) -> bool {
    if !run.missing.is_empty()
        || run
            .items
            .first()
            .is_some_and(|i| i.values.first().is_some_and(|&v| v > context.first && v < 90))
    {
        return true;
    }
    if let Some(panels) = context.panels {
        return panels != run.count();
    }
    let used = |m: &Mark| run.items.iter().any(|i| i.start == m.start);
    let forms: Vec<Form> = marks.iter().filter(|m| used(m)).map(|m| m.form).collect();
    marks.iter().any(|m| {
        !used(m)
            && m.atoms.len() == 1
            && (forms.contains(&m.form) || run.family == Some(Family::Circled))
            && match run.mode {
                Mode::Before => matches!(
                    m.boundary,
                    Boundary::Start | Boundary::Stop | Boundary::Line | Boundary::Comma | Boundary::Space
                ),
                Mode::After => true,
            }
    })
}

/// Marks as labels of one family. With `damage`, misread ones too: `(highest value, any glyph)`.
fn candidates(n: &Normalized, marks: &[Mark], family: Family, damage: Option<(u16, bool)>) -> Vec<Candidate> {
    let mut out = Vec::new();
    for (index, mark) in marks.iter().enumerate() {
        if out.len() >= MAX_CANDIDATES {
            break;
        }
        let exact = exact_values(n, mark, family);
        let had_exact = exact.is_some();
        if let Some(values) = exact {
            out.push(Candidate {
                mark: index,
                values,
                cost: mark.damage,
            });
        }
        let Some((up_to, any)) = damage else { continue };
        let single = mark.atoms.len() == 1;
        if !single {
            if !had_exact {
                out.extend(damaged_group(n, mark, family, index));
            }
            continue;
        }
        let atom = mark.atoms[0];
        let chars: Vec<char> = (atom.start..atom.start + atom.len).map(|k| n.at(k)).collect();
        let strict = !matches!(mark.form, Form::Bare | Form::Glued | Form::Comma);
        for (v, cost) in damaged_values(&chars, family, any && strict, up_to) {
            if out
                .last()
                .is_some_and(|c: &Candidate| c.mark == index && c.values == [v])
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
            out.push(Candidate {
                mark: index,
                values: vec![v],
                cost: cost + mark.damage,
            });
        }
    }
    out
}

fn exact_values(n: &Normalized, mark: &Mark, family: Family) -> Option<Vec<u16>> {
    let mut values: Vec<u16> = Vec::with_capacity(mark.atoms.len());
    for atom in &mark.atoms {
        let mut chars = ['\0'; 4];
        if atom.len > chars.len() {
            return None;
        }
        for (slot, k) in chars.iter_mut().zip(atom.start..atom.start + atom.len) {
            *slot = n.at(k);
        }
        let v = value(&chars[..atom.len], family)?;
        push_value(&mut values, v, atom.range, family)?;
    }
    Some(values)
}

fn push_value(values: &mut Vec<u16>, v: u16, range: bool, family: Family) -> Option<()> {
    if let Some(&last) = values.last() {
        if v <= last || v > family.max() {
            return None;
        }
        if range {
            if v - last > 30 {
                return None;
            }
            values.extend(family.range(last + 1, v));
            return Some(());
        }
    }
    values.push(v);
    Some(())
}

/// A group with one misread atom: `B、0` for `B、D`, `4-C` for `A-C`.
fn damaged_group(n: &Normalized, mark: &Mark, family: Family, index: usize) -> Option<Candidate> {
    let mut values: Vec<u16> = Vec::new();
    let mut cost = mark.damage;
    for (k, atom) in mark.atoms.iter().enumerate() {
        let chars: Vec<char> = (atom.start..atom.start + atom.len).map(|k| n.at(k)).collect();
        let v = match value(&chars, family) {
            Some(v) => v,
            None => {
                let options = damaged_values(&chars, family, false, 12);
                let wanted = values.last().map(|&l| l + 1);
                let pick = options.iter().find(|o| wanted == Some(o.0)).or(options.first())?;
                cost += pick.1;
                pick.0
            }
        };
        push_value(&mut values, v, atom.range && k > 0, family)?;
    }
    Some(Candidate {
        mark: index,
        values,
        cost,
    })
}

fn best_of_mode(marks: &[Mark], all: &[Candidate], family: Family, mode: Mode, context: Context) -> Option<Run> {
    if mode == Mode::After {
        return dynamic(marks, all, family, mode, Form::Paren, context);
    }
    let mut best: Option<Run> = None;
    let count = |form: Form| all.iter().filter(|c| marks[c.mark].form == form).count();
    let most = Form::ALL.into_iter().map(count).max().unwrap_or(0);
    for form in Form::ALL {
        // A form that few marks have is not the caption's.
        let here = count(form);
        if here == 0 || here * 3 < most {
            continue;
        }
        if let Some(run) = dynamic(marks, all, family, mode, form, context) {
            keep_better(&mut best, run);
        }
    }
    best
}

/// Points of a mark as a label before its text, when most labels have the form `target`.
fn before_points(mark: &Mark, family: Family, value: u16, target: Form, chinese: bool) -> f32 {
    let form = match mark.form {
        Form::Circled => 1.1,
        Form::Paren => 1.0,
        Form::Bracket | Form::Word => 0.9,
        Form::Close | Form::Dot => 0.8,
        Form::Colon => 0.7,
        Form::Comma | Form::Dash => 0.5,
        Form::Pause => 0.4,
        Form::Bare => 0.1,
        Form::Glued => 0.0,
        Form::Note => -3.0,
    };
    let wrapped = matches!(mark.form, Form::Paren | Form::Bracket | Form::Circled);
    let before = match mark.boundary {
        Boundary::Start | Boundary::Stop => 0.8,
        Boundary::Line if wrapped || matches!(mark.form, Form::Dot | Form::Colon | Form::Close) => 0.8,
        Boundary::Line => 0.4,
        Boundary::Comma => 0.3,
        Boundary::Conjunction => 0.1,
        Boundary::Space if chinese => 0.4,
        Boundary::Space => 0.1,
        Boundary::Cjk if wrapped => 0.0,
        Boundary::Cjk => -0.5,
        Boundary::Word if wrapped => -0.2,
        Boundary::Word if mark.form == Form::Close => -0.4,
        Boundary::Word => -2.0,
        // `from (A) one and (B) the other` is a list, `in (A).` a reference.
        Boundary::Reference if wrapped && matches!(mark.follow, Follow::Text | Follow::Lower) => -0.6,
        Boundary::Reference if wrapped => -1.6,
        Boundary::Reference if mark.form == Form::Close => -0.6,
        Boundary::Reference => -2.5,
    };
    let clause_start = matches!(mark.boundary, Boundary::Start | Boundary::Stop | Boundary::Line);
    let after = match mark.follow {
        Follow::Text => 0.2,
        Follow::Digit => 0.1,
        // `E. coli` and other names of species.
        Follow::Lower if mark.form == Form::Dot && family == Family::Upper => -0.7,
        Follow::Lower | Follow::Other => 0.0,
        Follow::Punctuation if clause_start => -0.3,
        Follow::Punctuation => -0.9,
        Follow::Conjunction => -0.6,
        Follow::End => -1.2,
    };
    let article = !chinese
        && mark.form == Form::Bare
        && matches!(value, 1 | 100)
        && matches!(mark.follow, Follow::Lower | Follow::Digit)
        && !matches!(family, Family::Digit);
    let bare_number = matches!(mark.form, Form::Bare | Form::Glued) && family == Family::Digit;
    let mismatch = match (mark.form, target) {
        (a, b) if a == b => 0.0,
        // The same sign under OCR: a stop, a comma, a colon.
        (Form::Dot | Form::Comma | Form::Colon | Form::Pause, Form::Dot | Form::Comma | Form::Colon | Form::Pause) => {
            0.3
        }
        (Form::Paren | Form::Bracket | Form::Close, Form::Paren | Form::Bracket | Form::Close) => 0.2,
        (Form::Bare | Form::Glued, _) => 0.7,
        _ => 0.6,
    };
    form + before + after - mismatch - if article { 0.5 } else { 0.0 } - if bare_number { 0.9 } else { 0.0 }
}

/// Points of a mark as a label behind its text.
fn after_points(mark: &Mark) -> f32 {
    if !matches!(mark.form, Form::Paren | Form::Bracket | Form::Circled | Form::Note) {
        return -3.0;
    }
    let before = match mark.boundary {
        Boundary::Word | Boundary::Cjk | Boundary::Space => 0.5,
        Boundary::Comma | Boundary::Conjunction => -0.3,
        Boundary::Stop => -1.2,
        Boundary::Reference => -0.9,
        Boundary::Line => 0.0,
        Boundary::Start => -2.0,
    };
    let after = match mark.follow {
        Follow::Punctuation => 0.5,
        Follow::End => 0.6,
        Follow::Conjunction => 0.5,
        Follow::Text | Follow::Digit => -0.2,
        Follow::Lower => 0.0,
        Follow::Other => 0.0,
    };
    (if matches!(mark.form, Form::Circled | Form::Note) {
        0.8
    } else {
        0.9
    }) + before
        + after
}

/// Where one label stands: by its own surroundings where they are clear, else as the run.
fn side(mark: &Mark, mode: Mode) -> Mode {
    if !matches!(mark.form, Form::Paren | Form::Bracket) {
        return mode;
    }
    let begins = matches!(mark.boundary, Boundary::Start | Boundary::Stop | Boundary::Line);
    let ends = matches!(mark.follow, Follow::Punctuation | Follow::End | Follow::Conjunction);
    let inside = matches!(mark.boundary, Boundary::Word | Boundary::Cjk);
    match (begins, inside, ends) {
        (true, _, false) => Mode::Before,
        (_, true, true) => Mode::After,
        _ => mode,
    }
}

fn dynamic(
    marks: &[Mark],
    all: &[Candidate],
    family: Family,
    mode: Mode,
    target: Form,
    context: Context,
) -> Option<Run> {
    // best[i]: the points of the best run that ends with candidate i, and the candidate before it.
    let mut best: Vec<(f32, usize)> = Vec::with_capacity(all.len());
    let mut top: Option<usize> = None;
    for (i, candidate) in all.iter().enumerate() {
        let mark = &marks[candidate.mark];
        let first = candidate.values[0];
        let points = match mode {
            // `Photograph (a). b Angiogram. c Scan`: only the first label stands behind its text.
            Mode::Before if !context.chinese && first == context.first && side(mark, mode) == Mode::After => {
                before_points(mark, family, first, target, context.chinese).max(after_points(mark) - SWITCH)
            }
            Mode::Before => before_points(mark, family, first, target, context.chinese),
            Mode::After => after_points(mark),
        } - candidate.cost
            + EXTRA_LABEL * (candidate.values.len() - 1).min(8) as f32;
        let late = if family.starts(first) && context.first <= 1 || first == context.first {
            0
        } else {
            let zero = if matches!(family, Family::UpperDigit | Family::LowerDigit) {
                100
            } else {
                context.first
            };
            if first < zero {
                50
            } else {
                family.missing(zero, first) + 1
            }
        };
        let mut entry = (points - LATE_START * f32::from(late.min(50)), usize::MAX);
        for (j, previous) in all[..i].iter().enumerate() {
            if marks[previous.mark].end > mark.start || previous.mark >= candidate.mark {
                continue;
            }
            let values = &previous.values;
            let low = values[0];
            if first <= low {
                continue;
            }
            // `A and C` may be followed by `B and D`.
            let from = values.iter().copied().take_while(|&v| v < first).last().unwrap_or(low);
            if values.contains(&first) {
                continue;
            }
            let gap = family.missing(from, first);
            if gap > 2 {
                continue;
            }
            let total = best[j].0 + points - GAP * f32::from(gap);
            if total > entry.0 + 1e-4 {
                entry = (total, j);
            }
        }
        best.push(entry);
        if top.is_none_or(|t| entry.0 > best[t].0 + 1e-4) {
            top = Some(i);
        }
    }
    let mut i = top?;
    let mut score = best[i].0;
    let mut items = Vec::new();
    loop {
        let mark = &marks[all[i].mark];
        items.push(Item {
            start: mark.start,
            end: mark.end,
            labels: all[i].values.iter().map(|&v| family.render(v)).collect(),
            values: all[i].values.clone(),
            damaged: all[i].cost > mark.damage + 1e-4,
            note: mark.note,
            side: side(mark, mode),
        });
        if best[i].1 == usize::MAX {
            break;
        }
        i = best[i].1;
    }
    items.reverse();
    let mut seen: Vec<u16> = items.iter().flat_map(|i| i.values.iter().copied()).collect();
    seen.sort_unstable();
    let count = seen.len();
    seen.dedup();
    let mut missing = Vec::new();
    if !matches!(family, Family::UpperDigit | Family::LowerDigit) {
        missing.extend((context.first..seen[seen.len() - 1]).filter(|v| !seen.contains(v)));
    }
    if let Some(panels) = context.panels {
        score += if count == panels { COUNT_AGREES } else { -COUNT_AGREES };
    }
    // The last label behind its text is followed by an end; a run of one label is a run
    // only when the wrapper leaves no doubt.
    let single = count < 2;
    if single && (context.first <= 1 && !single_is_clear(marks, &items, mode, context)) {
        return None;
    }
    (score >= if single { 1.0 } else { ENOUGH }).then_some(Run {
        family: Some(family),
        mode,
        items,
        score,
        missing,
    })
}

/// One lone label counts when it is in brackets at the very start, or when the figure number took the first.
fn single_is_clear(marks: &[Mark], items: &[Item], mode: Mode, context: Context) -> bool {
    let mark = marks.iter().find(|m| m.start == items[0].start);
    mode == Mode::Before
        && !items[0].damaged
        && context.panels.is_none_or(|p| p == 1)
        && mark.is_some_and(|m| {
            m.boundary == Boundary::Start && matches!(m.form, Form::Paren | Form::Bracket | Form::Circled)
        })
}
