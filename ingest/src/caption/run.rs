//! The best run of labels in a caption, by dynamic programming over its marks.
//!
//! A caption uses one family of labels. A run is a sequence of marks of that
//! family with rising values from the first one; every mark earns points for
//! its wrapper, for what stands before and after it, and pays for being misread;
//! every label left out between two marks costs. The best run over families and
//! over the two modes (label before its text, label after its text) wins.

use super::candidates::{Candidates, candidates};
use super::context::{Boundary, Follow};
use super::labels::Family;
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
    /// True for numbers that a colon in running words opens (`two types: 1) wet; 2) dry`).
    pub enumeration: bool,
}

impl Run {
    /// Number of labels in the run.
    pub fn count(&self) -> usize {
        let of_item = |i: &Item| i.values.len().max(i.labels.len());
        self.items.iter().map(of_item).sum()
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

/// The best run of letters, digits or numerals among `marks`, if any is good enough.
pub fn best_run(n: &Normalized, marks: &[Mark], context: Context) -> Option<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut found = Candidates::default();
    for family in Family::ALL {
        if is_told_by_another(marks, family, context) {
            continue;
        }
        candidates(n, marks, family, None, &mut found);
        if found.list.is_empty() {
            continue;
        }
        let mut family_best: Option<Run> = None;
        for mode in [Mode::Before, Mode::After] {
            let least = family_best.as_ref().map(|r| r.score);
            if let Some(run) = best_of_mode(marks, &found, family, mode, context, least) {
                family_best = Some(run);
            }
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
            candidates(n, marks, family, Some((wild as u16, family_best.is_some())), &mut found);
            for mode in [Mode::Before, Mode::After] {
                let least = family_best.as_ref().map(|r| r.score);
                let Some(run) = best_of_mode(marks, &found, family, mode, context, least) else {
                    continue;
                };
                let sound = run.items.iter().filter(|i| !i.damaged).count() * 2 >= run.items.len();
                if sound {
                    family_best = Some(run);
                }
            }
        }
        if let Some(mut run) = family_best {
            run.enumeration = is_enumeration(n, marks, &run);
            runs.push(run);
        }
    }
    let mut best = outermost(runs)?;
    if let Some(family) = best.family {
        for item in &mut best.items {
            item.labels = item.values.iter().map(|&v| family.render(v)).collect();
        }
    }
    Some(best)
}

/// True for letters with a digit where no label has a digit: lone letters say the same.
fn is_told_by_another(marks: &[Mark], family: Family, context: Context) -> bool {
    let lone = |m: &Mark| m.atoms.iter().all(|a| a.len == 1);
    context.first <= 1 && matches!(family, Family::LowerDigit | Family::UpperDigit) && marks.iter().all(lone)
}

/// Least difference of points that counts.
const BETTER: f32 = 1e-4;

/// The run with most points, unless it is told by another one in whose entries it stands.
fn outermost(runs: Vec<Run>) -> Option<Run> {
    if runs.len() < 2 {
        return runs.into_iter().next();
    }
    let mut best = 0;
    for i in 1..runs.len() {
        if runs[i].score > runs[best].score + BETTER {
            best = i;
        }
    }
    let outer = (0..runs.len()).find(|&i| {
        i != best
            && runs[i].score > 0.6 * runs[best].score.min(4.0)
            && (nested(&runs[best], &runs[i]) || echoed(&runs[best], &runs[i]))
    });
    runs.into_iter().nth(outer.unwrap_or(best))
}

/// True when `inner` stands between two labels of `outer` or behind its last one (numbered arrows
/// inside panel B), or is an enumeration beside it.
fn nested(inner: &Run, outer: &Run) -> bool {
    let (first, last) = (inner.items[0].start, inner.items[inner.items.len() - 1].start);
    let (outer_first, outer_last) = (outer.items[0].start, outer.items[outer.items.len() - 1].start);
    let behind = outer.mode == Mode::Before && outer_last < first && !outer.enumeration;
    let within = || outer.items.windows(2).any(|w| w[0].start < first && last < w[1].start);
    outer.items.len() > 1 && (inner.enumeration && !outer.enumeration || outer_first < first && (behind || within()))
}

/// True for numbers that a colon opens, other than the one behind the head.
fn is_enumeration(n: &Normalized, marks: &[Mark], run: &Run) -> bool {
    let first = run.items[0].start;
    let opens = marks.iter().any(|m| m.start == first && m.boundary == Boundary::Stop);
    run.family == Some(Family::Digit)
        && opens
        && n.slice(0, first).iter().rev().find(|&&c| !matches!(c, ' ' | '\n')) == Some(&':')
}

/// True when every label of `inner` is said again in the entry of the same label of `outer`
/// (`A. Both eyes, loops in the right one (a). B. ...`).
fn echoed(inner: &Run, outer: &Run) -> bool {
    let holds = |label: &Item| {
        let entry = outer.items.iter().rposition(|i| i.start < label.start);
        entry.is_some_and(|k| outer.items[k].values == label.values)
    };
    inner.mode == Mode::After && outer.mode == Mode::Before && outer.items.len() > 1 && inner.items.iter().all(holds)
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

/// The best run with more than `least` points.
fn best_of_mode(
    marks: &[Mark],
    all: &Candidates,
    family: Family,
    mode: Mode,
    context: Context,
    least: Option<f32>,
) -> Option<Run> {
    if mode == Mode::After {
        // Behind its text a label is in brackets or circled.
        let mut forms = all.list.iter().map(|c| marks[c.mark].form);
        if !forms.any(|form| AFTER_FORMS.contains(&form)) {
            return None;
        }
        return dynamic(marks, all, (family, mode, Form::Paren), context, least);
    }
    let mut counts = [0usize; Form::ALL.len()];
    for candidate in &all.list {
        counts[marks[candidate.mark].form as usize] += 1;
    }
    let most = counts.into_iter().max().unwrap_or(0);
    let mut best: Option<Run> = None;
    for form in Form::ALL {
        // A form that few marks have is not the caption's.
        let here = counts[form as usize];
        if here == 0 || here * 3 < most {
            continue;
        }
        let least = best.as_ref().map(|r| r.score).or(least);
        if let Some(run) = dynamic(marks, all, (family, mode, form), context, least) {
            best = Some(run);
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
    let lone_capital = family == Family::Upper || family == Family::UpperDigit && value.is_multiple_of(100);
    let after = match mark.follow {
        Follow::Text => 0.2,
        Follow::Digit => 0.1,
        // `E. coli` and other names of species.
        Follow::Lower if mark.species && lone_capital => -2.0,
        Follow::Lower if mark.form == Form::Dot && lone_capital => -0.7,
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
        // `A1彩照 A2 FFA`: a label before Chinese words needs no blank.
        (Form::Bare | Form::Glued, Form::Bare | Form::Glued) => 0.2,
        (Form::Bare | Form::Glued, _) => 0.7,
        _ => 0.6,
    };
    form + before + after - mismatch - if article { 0.5 } else { 0.0 } - if bare_number { 0.9 } else { 0.0 }
}

/// Forms of labels behind their texts.
const AFTER_FORMS: [Form; 4] = [Form::Paren, Form::Bracket, Form::Circled, Form::Note];

/// Points of a mark as a label behind its text.
fn after_points(mark: &Mark) -> f32 {
    if !AFTER_FORMS.contains(&mark.form) {
        return -3.0;
    }
    let before = match mark.boundary {
        Boundary::Word | Boundary::Cjk | Boundary::Space => 0.5,
        Boundary::Comma => -0.3,
        // `before (A) and after (B)` has words there, `(A) before and (B) after` none.
        Boundary::Conjunction if matches!(mark.follow, Follow::Lower) => -0.6,
        Boundary::Conjunction => -0.3,
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
    let form = if matches!(mark.form, Form::Circled | Form::Note) {
        0.8
    } else {
        0.9
    };
    // `右眼彩照（A）示出血`: the words before the label are its subject.
    let subject = mark.verb && matches!(mark.boundary, Boundary::Word | Boundary::Cjk | Boundary::Space);
    form + before + after + if subject { 0.3 } else { 0.0 }
}

/// Where one label stands: by its own surroundings where they are clear, else as the run.
fn side(mark: &Mark, mode: Mode) -> Mode {
    if !matches!(mark.form, Form::Paren | Form::Bracket) {
        return mode;
    }
    let begins = matches!(mark.boundary, Boundary::Start | Boundary::Stop | Boundary::Line);
    let ends = matches!(mark.follow, Follow::Punctuation | Follow::End | Follow::Conjunction) && !mark.joined;
    let inside = matches!(mark.boundary, Boundary::Word | Boundary::Cjk);
    match (begins, inside, ends) {
        (true, _, false) => Mode::Before,
        (_, true, true) => Mode::After,
        _ => mode,
    }
}

/// What the inner loop of [`dynamic`] needs to know of a candidate.
struct Node {
    /// Points of the best run that ends here.
    best: f32,
    /// The candidate before it in that run, `usize::MAX` for none.
    previous: usize,
    /// Lowest value.
    low: u16,
    /// Number of values.
    count: usize,
    /// One past the mark's last character.
    end: usize,
}

/// The best run by dynamic programming, when it has more than `least` points.
fn dynamic(
    marks: &[Mark],
    all: &Candidates,
    (family, mode, target): (Family, Mode, Form),
    context: Context,
    least: Option<f32>,
) -> Option<Run> {
    let mut nodes: Vec<Node> = Vec::with_capacity(all.list.len());
    let mut top: Option<usize> = None;
    // First candidate of the mark at hand: candidates of one mark exclude each other.
    let mut own = 0;
    for (i, candidate) in all.list.iter().enumerate() {
        let mark = &marks[candidate.mark];
        let values = all.values(candidate);
        let first = values[0];
        if all.list[own].mark != candidate.mark {
            own = i;
        }
        let points = match mode {
            // `Photograph (a). b Angiogram. c Scan`: only the first label stands behind its text.
            Mode::Before if !context.chinese && first == context.first && side(mark, mode) == Mode::After => {
                before_points(mark, family, first, target, context.chinese).max(after_points(mark) - SWITCH)
            }
            Mode::Before => before_points(mark, family, first, target, context.chinese),
            Mode::After => after_points(mark),
        } - candidate.cost
            + EXTRA_LABEL * (values.len() - 1).min(8) as f32;
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
        let (mut best, mut previous) = (points - LATE_START * f32::from(late.min(50)), usize::MAX);
        for (j, node) in nodes[..own].iter().enumerate() {
            if first <= node.low || node.end > mark.start {
                continue;
            }
            // `A and C` may be followed by `B and D`.
            let from = if node.count == 1 {
                node.low
            } else {
                let values = all.values(&all.list[j]);
                if values.contains(&first) {
                    continue;
                }
                let lower = values.iter().copied().take_while(|&v| v < first);
                lower.last().unwrap_or(node.low)
            };
            let gap = family.missing(from, first);
            if gap > 2 {
                continue;
            }
            let total = node.best + points - GAP * f32::from(gap);
            if total > best + BETTER {
                (best, previous) = (total, j);
            }
        }
        nodes.push(Node {
            best,
            previous,
            low: first,
            count: values.len(),
            end: mark.end,
        });
        if top.is_none_or(|t| best > nodes[t].best + BETTER) {
            top = Some(i);
        }
    }
    let top = top?;
    let beats = |score: f32| least.is_none_or(|l| score > l + BETTER);
    let most = if context.panels.is_some() { COUNT_AGREES } else { 0.0 };
    if !beats(nodes[top].best + most) {
        return None;
    }
    let mut chain = vec![top];
    while let Some(next) = chain.last().map(|&i| nodes[i].previous).filter(|&p| p != usize::MAX) {
        chain.push(next);
    }
    chain.reverse();
    let mut seen: Vec<u16> = Vec::with_capacity(chain.len());
    for &i in &chain {
        seen.extend_from_slice(all.values(&all.list[i]));
    }
    seen.sort_unstable();
    let count = seen.len();
    seen.dedup();
    let mut score = nodes[top].best;
    if let Some(panels) = context.panels {
        score += if count == panels { COUNT_AGREES } else { -COUNT_AGREES };
    }
    // The last label behind its text is followed by an end; a run of one label is a run
    // only when the wrapper leaves no doubt.
    let single = count < 2;
    if score < if single { 1.0 } else { ENOUGH } || !beats(score) {
        return None;
    }
    let item = |&i: &usize| {
        let candidate = &all.list[i];
        let mark = &marks[candidate.mark];
        Item {
            start: mark.start,
            end: mark.end,
            labels: Vec::new(),
            values: all.values(candidate).to_vec(),
            damaged: candidate.cost > mark.damage + BETTER,
            note: mark.note,
            side: side(mark, mode),
        }
    };
    let items: Vec<Item> = chain.iter().map(item).collect();
    if single && (context.first <= 1 && !single_is_clear(marks, &items, mode, context)) {
        return None;
    }
    let mut missing = Vec::new();
    if !matches!(family, Family::UpperDigit | Family::LowerDigit) {
        missing.extend((context.first..seen[seen.len() - 1]).filter(|v| !seen.contains(v)));
    }
    Some(Run {
        family: Some(family),
        mode,
        items,
        score,
        missing,
        enumeration: false,
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
