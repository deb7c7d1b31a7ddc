//! A caption into its panels: figure number, preface, and the words of every label.

use super::doubts::note_doubts;
use super::entries::{after_texts, before_texts, mixed_texts};
use super::labels::Family;
use super::marks::scan;
use super::mirror::cut_like;
use super::normalize::{Normalized, normalize};
use super::positions::position_run;
use super::run::{Context, Mode, Run, best_run};
use super::start::heads;
use super::stretch::{Stretch, order, stretches};
use super::text::{after_first_sentence, entry, join, legend, words};

/// What the caller knows about a caption.
#[derive(Debug, Clone, Copy, Default)]
pub struct SplitOptions {
    /// Number of panels found in the picture, if it was looked at.
    pub panels: Option<usize>,
}

/// A caption split into panels.
#[derive(Debug, Clone, PartialEq)]
pub struct SplitCaption {
    /// The figure number like `2-12`, without the word before it.
    pub figure_no: Option<String>,
    /// `en`, `zh` or `zh+en`.
    pub language: String,
    /// The words before the first label (Chinese ones where both languages are printed).
    pub preface: String,
    /// One entry per label group in printed order, or a single one without labels.
    pub panels: Vec<SplitPanel>,
    /// What is doubtful, in plain words; empty for a clear caption.
    pub issues: Vec<String>,
    /// 0..1: how much the split can be trusted; below 0.6 a person should look.
    pub confidence: f32,
}

/// The words of one panel, or of several that share a text.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SplitPanel {
    /// Capital letters, numbers or roman numerals; positions and circled digits as printed.
    pub labels: Vec<String>,
    /// The panel's own words, in the caption's first language.
    pub text: String,
    /// Preface and own words, in the caption's first language.
    pub caption: String,
    /// Own words in English, when the caption has an English part ([`split_lean`]: and a Chinese one).
    pub text_en: Option<String>,
    /// Own words in Chinese, when the caption has a Chinese part.
    pub text_zh: Option<String>,
    /// Preface and own words in English.
    pub caption_en: Option<String>,
    /// Preface and own words in Chinese.
    pub caption_zh: Option<String>,
}

/// One language of a caption, split.
#[derive(Default)]
pub(super) struct Block {
    pub chinese: bool,
    pub preface: String,
    /// Closing words that belong to the whole figure: scale bars, magnification, abbreviations.
    pub legend: String,
    pub panels: Vec<(Vec<String>, String)>,
    pub issues: Vec<String>,
    pub doubt: f32,
}

/// Splits a caption. Never fails and never panics: what cannot be told apart stays
/// together, with an issue.
///
/// Section 4 of the ingest reference describes the grammar.
pub fn split_caption(raw: &str, options: &SplitOptions) -> SplitCaption {
    let mut split = split_lean(raw, options);
    for panel in &mut split.panels {
        match split.language.as_str() {
            "zh" => {
                panel.text_zh = Some(panel.text.clone());
                panel.caption_zh = Some(panel.caption.clone());
            }
            "en" => {
                panel.text_en = Some(panel.text.clone());
                panel.caption_en = Some(panel.caption.clone());
            }
            _ => {}
        }
    }
    split
}

/// [`split_caption`] without a second copy of every text under its language when the caption has only one.
pub fn split_lean(raw: &str, options: &SplitOptions) -> SplitCaption {
    let n = normalize(raw);
    let found = heads(&n);
    let figure_no = found.first().map(|h| h.number.clone());
    let stretches = stretches(&n, &found);
    let mut blocks: Vec<Block> = Vec::new();
    for chinese in order(&stretches) {
        let own: Vec<&Stretch> = stretches.iter().filter(|s| s.chinese == chinese).collect();
        blocks.push(split_block(&n, raw, &own, chinese, options.panels));
    }
    // Two languages must agree on the labels: the surer one tells the other how many to look for.
    if blocks.len() == 2 && labels_of(&blocks[0]) != labels_of(&blocks[1]) {
        let surer = usize::from(blocks[1].doubt < blocks[0].doubt);
        let wanted = labels_of(&blocks[surer]).len();
        let chinese = blocks[1 - surer].chinese;
        let own: Vec<&Stretch> = stretches.iter().filter(|s| s.chinese == chinese).collect();
        if wanted > 0 && options.panels.is_none() {
            blocks[1 - surer] = split_block(&n, raw, &own, chinese, Some(wanted));
        }
        if labels_of(&blocks[0]) != labels_of(&blocks[1]) {
            let model = usize::from(blocks[1].panels.len() > blocks[0].panels.len());
            let own = stretches.iter().filter(|s| s.chinese != blocks[model].chinese);
            let text: String = own.map(|s| n.raw_slice(raw, s.from, s.to)).collect();
            if let Some(cut) = cut_like(&blocks[model], &text) {
                blocks[1 - model] = cut;
            }
        }
    }
    assemble(figure_no, blocks, options)
}

fn labels_of(block: &Block) -> Vec<&str> {
    let mut labels: Vec<&str> = block
        .panels
        .iter()
        .flat_map(|p| p.0.iter().map(String::as_str))
        .collect();
    labels.sort_unstable();
    labels
}

/// Splits the stretches of one language.
fn split_block(n: &Normalized, raw: &str, own: &[&Stretch], chinese: bool, panels: Option<usize>) -> Block {
    let lettered = own.iter().filter(|s| !s.letters.is_empty()).count();
    let mut block = Block {
        chinese,
        ..Block::default()
    };
    let Some(first) = own.first() else { return block };
    // Every panel repeats the figure number: `Figure 2-3A. ... Figure 2-3B. ...`
    if lettered > 1 || (lettered == 1 && own.len() > 1) {
        let to = own[own.len() - 1].to;
        if labels_before_numbers(n, own, to, chinese, panels) {
            body(n, raw, (first.from, to), &[], panels, &mut block);
        } else {
            repeated_numbers(n, raw, own, &mut block);
        }
        return block;
    }
    // Without letters, further stretches of the language simply go on.
    let to = own[own.len() - 1].to;
    let contiguous = own.windows(2).all(|w| w[0].to <= w[1].from);
    let to = if contiguous && own.len() > 1 && own.windows(2).all(|w| w[1].from - w[0].to < 24) {
        to
    } else {
        first.to
    };
    body(n, raw, (first.from, to), &first.letters, panels, &mut block);
    block
}

/// True when labels of their own stand before the first lettered number: it is said of another
/// panel (`(a) Photograph. (b) Figure 4-1A, late phase`).
fn labels_before_numbers(n: &Normalized, own: &[&Stretch], to: usize, chinese: bool, panels: Option<usize>) -> bool {
    let Some(number) = own.iter().position(|s| !s.letters.is_empty()).filter(|&k| k > 0) else {
        return false;
    };
    let context = Context {
        chinese,
        panels,
        first: 1,
    };
    let from = own[0].from;
    best_run(n, &scan(n, from, to), context).is_some_and(|run| run.count() > 1 && run.items[0].start < own[number].from)
}

fn repeated_numbers(n: &Normalized, raw: &str, own: &[&Stretch], block: &mut Block) {
    let mut last = 0u16;
    for stretch in own {
        let text = entry(n.raw_slice(raw, stretch.from, stretch.to));
        if stretch.letters.is_empty() {
            match block.panels.last_mut() {
                None => block.preface = text,
                Some(_) if stretch.to.saturating_sub(stretch.from) < 4 => {}
                Some(panel) => {
                    // A number without a letter between lettered ones: its letter was lost.
                    if last > 0 {
                        block.panels.push((vec![Family::Upper.render(last + 1)], text));
                        last += 1;
                        block.issues.push("a repeated figure number lost its letter".to_owned());
                        block.doubt += 0.3;
                    } else {
                        panel.1 = join(&panel.1, &text);
                    }
                }
            }
            continue;
        }
        let mut letters = stretch.letters.clone();
        if letters[0] <= last && letters.len() == 1 {
            // The same letter twice: the second was misread.
            letters[0] = last + 1;
            block
                .issues
                .push("a repeated panel letter was read as the next one".to_owned());
            block.doubt += 0.3;
        }
        last = letters[letters.len() - 1];
        block
            .panels
            .push((letters.iter().map(|&v| Family::Upper.render(v)).collect(), text));
    }
}

/// Points a mark from which a run of letters is clear: its wrapper, and a sentence end before each.
const CLEAR: f32 = 1.75;

/// Splits the words of one head.
fn body(
    n: &Normalized,
    raw: &str,
    (from, to): (usize, usize),
    letters: &[u16],
    panels: Option<usize>,
    block: &mut Block,
) {
    let marks = scan(n, from, to);
    let context = Context {
        chinese: block.chinese,
        panels,
        first: 1,
    };
    let letter_run = best_run(n, &marks, context);
    // Clear letters leave nothing to places.
    let clear = letter_run
        .as_ref()
        .is_some_and(|r| r.count() > 1 && !r.enumeration && r.score >= CLEAR * r.items.len() as f32);
    let place_run = if clear {
        None
    } else {
        position_run(n, from, to, context)
    };
    let mut run = pick(letter_run, place_run);
    // `图3-3f`: a run that begins with A leaves no room for another letter at the number.
    let misread = letters.first().is_some_and(|&first| first > 1)
        && run
            .as_ref()
            .is_some_and(|r| r.count() > 1 && r.mode == Mode::Before && r.items[0].values.first() == Some(&1));
    if !letters.is_empty() && !misread {
        let covered = run
            .as_ref()
            .is_some_and(|r| r.count() > 1 && letters.iter().all(|v| r.items.iter().any(|i| i.values.contains(v))));
        if !covered {
            // `Figure 3A. Photograph. B. Angiogram`: the number took the first letter.
            let next = letters[letters.len() - 1] + 1;
            let rest = best_run(
                n,
                &marks,
                Context {
                    first: next,
                    panels: panels.map(|p| p.saturating_sub(letters.len())),
                    ..context
                },
            )
            .filter(|r| r.items[0].values.first() == Some(&next) && r.mode == Mode::Before);
            let labels: Vec<String> = letters.iter().map(|&v| Family::Upper.render(v)).collect();
            match rest {
                Some(rest) => {
                    let head_text = entry(n.raw_slice(raw, from, rest.items[0].start));
                    before_texts(n, raw, to, &rest, block);
                    block.preface = String::new();
                    block.panels.insert(0, (labels, head_text));
                }
                None => block.panels.push((labels, words(n.raw_slice(raw, from, to)))),
            }
            return;
        }
    }
    let Some(found) = run.take() else {
        block.panels.push((Vec::new(), words(n.raw_slice(raw, from, to))));
        return;
    };
    let mixed = found.items.windows(2).any(|w| w[0].side != w[1].side);
    match found.mode {
        _ if mixed => {
            mixed_texts(n, raw, (from, to), &found, block);
            if let Some(last) = block.panels.last().filter(|_| block.legend.is_empty()) {
                block.legend = legend(&last.1).to_owned();
            }
        }
        Mode::Before => {
            block.preface = words(n.raw_slice(raw, from, found.items[0].start));
            before_texts(n, raw, to, &found, block);
            if let Some(last) = block.panels.last().filter(|_| block.panels.len() > 1) {
                block.legend = legend(&last.1).to_owned();
                if block.legend.is_empty() && !block.chinese && is_one_sentence_list(n, raw, &found) {
                    block.legend = after_first_sentence(&last.1).to_owned();
                }
            }
        }
        Mode::After => after_texts(n, raw, (from, to), &found, block),
    }
    note_doubts(&found, panels, block);
}

fn pick(letters: Option<Run>, places: Option<Run>) -> Option<Run> {
    match (letters, places) {
        (Some(l), Some(p)) => {
            // `A. Left: ... Right: ...`: places inside labelled panels are no labels.
            let l_first = l.items[0].start < p.items[0].start;
            let p_first = !l_first;
            if l.enumeration {
                Some(p)
            } else if l_first && l.score > 0.5 * p.score {
                Some(l)
            } else if p_first && p.score > 0.5 * l.score {
                Some(p)
            } else {
                Some(if p.score > l.score { p } else { l })
            }
        }
        (l, p) => l.or(p),
    }
}

/// True when the entries are members of one sentence (`(a) one, (b) two and (c) three.`): what
/// follows that sentence speaks of the whole figure.
fn is_one_sentence_list(n: &Normalized, raw: &str, run: &Run) -> bool {
    run.items.len() > 2
        && run.items.windows(2).all(|w| {
            let text = n.raw_slice(raw, w[0].end, w[1].start).trim();
            let open = !text.ends_with(['.', ';', ':']) || run.items.len() > 3 && text.ends_with(';');
            open && !text.contains(". ")
        })
}

/// Joins the languages of a caption, panel by panel.
fn assemble(figure_no: Option<String>, mut blocks: Vec<Block>, options: &SplitOptions) -> SplitCaption {
    let mut issues: Vec<String> = Vec::new();
    let mut doubt: f32 = 0.0;
    let language = match (blocks.iter().any(|b| b.chinese), blocks.iter().any(|b| !b.chinese)) {
        (true, true) => "zh+en",
        (true, false) => "zh",
        _ => "en",
    };
    for block in &mut blocks {
        issues.append(&mut block.issues);
        doubt = doubt.max(block.doubt);
    }
    if blocks.len() == 2 && labels_of(&blocks[0]) != labels_of(&blocks[1]) {
        issues.push("the two languages have different labels".to_owned());
        doubt += 0.3;
    }
    // The language with labels leads; with both, the one printed first.
    let lead = match &blocks[..] {
        [a, b] if labels_of(a).is_empty() && !labels_of(b).is_empty() => 1,
        [a, b] if labels_of(b).len() > labels_of(a).len() && b.doubt < a.doubt => 1,
        _ => 0,
    };
    let mut panels: Vec<SplitPanel> = Vec::new();
    let mut preface = String::new();
    if !blocks.is_empty() {
        let mut first = blocks.swap_remove(lead);
        let other = blocks.pop();
        for (labels, text) in std::mem::take(&mut first.panels) {
            let mut panel = SplitPanel {
                caption: whole_caption(&first, &text),
                ..SplitPanel::default()
            };
            if let Some(other) = &other {
                let caption = panel.caption.clone();
                set_language(&mut panel, first.chinese, &text, caption);
                match other_text(other, &labels) {
                    Some(text) => set_language(&mut panel, other.chinese, text, whole_caption(other, text)),
                    None => doubt += 0.05,
                }
            }
            (panel.labels, panel.text) = (labels, text);
            panels.push(panel);
        }
        preface = first.preface;
    }
    if panels.is_empty() {
        panels.push(SplitPanel::default());
    }
    let count: usize = panels.iter().map(|p| p.labels.len()).sum();
    if let Some(wanted) = options.panels
        && count > 0
        && count != wanted
    {
        issues.push(format!("{count} labels for {wanted} panels"));
        doubt += 0.35;
    }
    SplitCaption {
        figure_no,
        language: language.to_owned(),
        preface,
        panels,
        issues,
        confidence: (1.0 - doubt).clamp(0.05, 1.0),
    }
}

/// Preface, own words and what is said of the whole figure.
fn whole_caption(block: &Block, text: &str) -> String {
    let caption = join(&block.preface, text);
    if block.legend.is_empty() || text.ends_with(&block.legend) {
        return caption;
    }
    join(&caption, &block.legend)
}

fn set_language(panel: &mut SplitPanel, chinese: bool, text: &str, caption: String) {
    let (text, caption) = (Some(text.to_owned()), Some(caption));
    if chinese {
        (panel.text_zh, panel.caption_zh) = (text, caption);
    } else {
        (panel.text_en, panel.caption_en) = (text, caption);
    }
}

/// The words of the other language for the same labels.
fn other_text<'a>(other: &'a Block, labels: &[String]) -> Option<&'a str> {
    if labels.is_empty() {
        return (other.panels.len() == 1 && other.panels[0].0.is_empty()).then(|| other.panels[0].1.as_str());
    }
    other
        .panels
        .iter()
        .find(|p| p.0.iter().any(|l| labels.contains(l)))
        .map(|p| p.1.as_str())
}
