//! The words of every label, whichever side of it they stand on.

use super::group::and_word;
use super::normalize::{Normalized, is_cjk};
use super::run::{Mode, Run};
use super::split::Block;
use super::text::{entry, entry_before_label, join, words};

/// Texts that stand behind their labels. Labels without words of their own share the next words.
pub(super) fn before_texts(n: &Normalized, raw: &str, to: usize, run: &Run, block: &mut Block) {
    let mut waiting: Vec<String> = Vec::new();
    for (k, item) in run.items.iter().enumerate() {
        let end = run.items.get(k + 1).map_or(to, |next| next.start);
        let text = entry(n.raw_slice(raw, item.end, end));
        waiting.extend(item.labels.iter().cloned());
        let empty = text.chars().all(|c| !c.is_alphanumeric()) || text == "and";
        if empty && k + 1 < run.items.len() {
            continue;
        }
        block.panels.push((std::mem::take(&mut waiting), text));
    }
}

/// Labels on either side of their texts (`(A) Photograph. Angiogram of the left (B) and right eye (C).`).
/// Between a label before its text and one behind its text, the last sentence belongs to the second.
pub(super) fn mixed_texts(n: &Normalized, raw: &str, (from, to): (usize, usize), run: &Run, block: &mut Block) {
    let mut texts: Vec<String> = vec![String::new(); run.items.len()];
    let mut common = String::new();
    for k in 0..=run.items.len() {
        let left = k.checked_sub(1).map(|k| &run.items[k]);
        let right = run.items.get(k);
        let (a, b) = (left.map_or(from, |i| i.end), right.map_or(to, |i| i.start));
        let takes_right = right.is_some_and(|i| i.side == Mode::After);
        let takes_left = left.is_some_and(|i| i.side == Mode::Before);
        let cut = match (takes_left || k == 0, takes_right) {
            (true, true) => sentence_start(n, a, b),
            (true, false) => b,
            (false, _) => a,
        };
        let (head, tail) = (n.raw_slice(raw, a, cut), n.raw_slice(raw, cut, b));
        if k == 0 {
            block.preface = words(head);
        } else if takes_left {
            texts[k - 1] = entry(head);
        } else if !takes_right {
            // Words behind a label that stands behind its text belong to the figure.
            common = join(&common, &words(tail));
        }
        if takes_right {
            texts[k] = entry_before_label(tail);
        }
    }
    if common.chars().filter(|c| c.is_alphanumeric()).count() >= 3 {
        block.legend = common;
    }
    let mut waiting: Vec<String> = Vec::new();
    for (k, (item, text)) in run.items.iter().zip(texts).enumerate() {
        waiting.extend(item.labels.iter().cloned());
        let empty = text.chars().all(|c| !c.is_alphanumeric()) || text == "and";
        if empty && item.side == Mode::Before && k + 1 < run.items.len() {
            continue;
        }
        match block.panels.last_mut() {
            Some(last) if empty => last.0.append(&mut waiting),
            _ => block.panels.push((std::mem::take(&mut waiting), text)),
        }
    }
}

/// Texts that stand before their labels. The first begins where its sentence begins.
pub(super) fn after_texts(n: &Normalized, raw: &str, (from, to): (usize, usize), run: &Run, block: &mut Block) {
    let first = &run.items[0];
    let sentence = first_sentence(n, from, first.start);
    block.preface = words(n.raw_slice(raw, from, sentence));
    let mut at = sentence;
    let mut predicates = false;
    for item in &run.items {
        // `Photograph (A) shows drusen, OCT (B) shows fluid`: what is said of a label stands behind it.
        let cut = if block.panels.is_empty() {
            at
        } else {
            clause_end(n, at, item.start)
        };
        if let Some(last) = block.panels.last_mut().filter(|_| cut > at) {
            say_of(&mut last.1, n.raw_slice(raw, at, cut));
            predicates = true;
        }
        at = cut;
        let mut text = entry_before_label(n.raw_slice(raw, at, item.start));
        if let Some((a, b)) = item.note {
            text = format!("{text} ({})", words(n.raw_slice(raw, a, b)));
        }
        at = item.end;
        let empty = text.chars().all(|c| !c.is_alphanumeric());
        match block.panels.last_mut() {
            Some(last) if empty => last.0.extend(item.labels.iter().cloned()),
            _ => block.panels.push((item.labels.clone(), text)),
        }
    }
    if let Some(last) = block.panels.last_mut().filter(|_| predicates && says_something(n, at)) {
        let end = (at..to).find(|&i| n.at(i) == '。' || matches!(n.at(i), '.' | ';') && n.at(i + 1) == ' ');
        let end = end.unwrap_or(to);
        say_of(&mut last.1, n.raw_slice(raw, at, end));
        at = end;
    }
    let tail = words(n.raw_slice(raw, at, to));
    // A Chinese character is a syllable: two make a word (`彩照`).
    let weight = |c: char| usize::from(c.is_alphanumeric()) * if is_cjk(c) { 2 } else { 1 };
    if tail.chars().map(weight).sum::<usize>() >= 3 {
        // Words behind the last label belong to the figure as a whole.
        let comma = match n.raw_slice(raw, at, to).trim_start().chars().next() {
            Some(',') => ",",
            Some('，') => "，",
            _ => "",
        };
        let goes_on = n.at(n.skip_space(at)).is_alphanumeric();
        for panel in &mut block.panels {
            panel.1 = match tail.chars().next() {
                Some(c) if is_cjk(c) => [&panel.1, comma, tail.as_str()].concat(),
                Some(c) if c.is_lowercase() => [&panel.1, comma.trim_end_matches('，'), " ", &tail].concat(),
                // Nothing stands between: the words go on (`type 1 (A) and type 2 (B) CNV`).
                Some(c) if goes_on && panel.1.ends_with(is_cjk) && c.is_alphanumeric() => {
                    [&panel.1, tail.as_str()].concat()
                }
                Some(c) if goes_on && c.is_alphanumeric() => [&panel.1, " ", tail.as_str()].concat(),
                _ => join(&panel.1, &tail),
            };
        }
    }
}

/// True when the words behind a label go on with its clause.
fn says_something(n: &Normalized, at: usize) -> bool {
    let i = n.skip_space(at);
    let word = |w: &str| w.chars().enumerate().all(|(k, c)| n.at(i + k) == c);
    let joins = matches!(n.at(i), '和' | '及' | '与' | '或' | '以') || and_word(n, i) || word("or ") || word("as well");
    (is_cjk(n.at(i)) || n.at(i).is_lowercase()) && !joins
}

/// Where the clause ends that goes on behind a label at `at`; `at` where none does.
fn clause_end(n: &Normalized, at: usize, next: usize) -> usize {
    if !says_something(n, at) {
        return at;
    }
    let sentence = sentence_start(n, at, next);
    if sentence > at {
        return sentence;
    }
    let verb = matches!(
        n.at(n.skip_space(at)),
        '示' | '显' | '可' | '见' | '为' | '呈' | '提' | '中'
    );
    let english = !is_cjk(n.at(n.skip_space(at)));
    let comma = |i: &usize| n.at(*i) == ',' && (english || verb);
    let and = |i: &usize| english && n.slice(*i, *i + 5) == [' ', 'a', 'n', 'd', ' '];
    let found = (at..next).rev().find(comma).or_else(|| (at..next).rev().find(and));
    found.unwrap_or(at)
}

/// Adds what is said of a panel behind its label.
fn say_of(text: &mut String, raw: &str) {
    let said = entry(raw);
    if !said.is_empty() && !said.starts_with(is_cjk) {
        text.push(' ');
    }
    text.push_str(&said);
}

/// The start of the sentence that holds the character before `end`.
fn sentence_start(n: &Normalized, from: usize, end: usize) -> usize {
    let mut i = end;
    while i > from {
        let c = n.before(i);
        let here = match c {
            '。' | '!' | '?' => true,
            '\n' => begins_anew(n, i, from),
            '.' => {
                let next = n.at(n.skip_space(i));
                let spaced = matches!(n.at(i), ' ' | '\n') && n.skip_space(i) < end;
                // `a 39-year-old female.Fundus photograph`: the blank was lost.
                let joined = next.is_ascii_uppercase()
                    && n.at(i + 1).is_ascii_lowercase()
                    && i >= from + 3
                    && n.slice(i - 3, i - 1).iter().all(char::is_ascii_lowercase);
                (spaced || joined)
                    && (next.is_uppercase() || is_cjk(next) || next.is_ascii_digit())
                    && !is_abbreviation(n, i - 1, from)
            }
            ';' => true,
            // A ratio or a time of day (`A/V=1:2`, `7:53`) goes on.
            ':' => !is_ratio(n, i - 1) && !is_abbreviated(n, i - 1, from),
            _ => false,
        };
        if here && n.skip_space(i) < end {
            return i;
        }
        i -= 1;
    }
    from
}

/// True when the line that begins at `i` begins a sentence; most lines end where the page does.
fn begins_anew(n: &Normalized, i: usize, from: usize) -> bool {
    let mut k = i - 1;
    while k > from && matches!(n.before(k), ' ' | '\n') {
        k -= 1;
    }
    let c = n.before(k);
    c.is_alphanumeric() && !is_cjk(c) && n.at(n.skip_space(i)).is_uppercase()
}

/// True when the colon stands between digits.
fn is_ratio(n: &Normalized, colon: usize) -> bool {
    n.before(colon).is_ascii_digit() && n.at(colon + 1).is_ascii_digit()
}

/// True when what the colon at `colon` ends is one abbreviation or time: `OCT: fluid`, `14s：静脉期`.
fn is_abbreviated(n: &Normalized, colon: usize, from: usize) -> bool {
    const LONGEST: usize = 7;
    let chars = n.slice(from, colon);
    let part = |c: &&char| c.is_ascii_alphanumeric() || matches!(c, '.' | ':');
    let (before, word) = chars.split_at(chars.len() - chars.iter().rev().take_while(part).count());
    let lower = word.iter().filter(|c| c.is_ascii_lowercase()).count();
    let stop = before.iter().rev().find(|c| !matches!(c, ' ' | '\n'));
    (2..=LONGEST).contains(&word.len()) && lower < 2 && stop.is_none_or(|c| matches!(c, '.' | '。' | ';' | ','))
}

/// The start of the words of the first label at `end`: a semicolon parts them no more than a comma
/// (`Gray membrane; stretched vessels (A)`).
fn first_sentence(n: &Normalized, from: usize, end: usize) -> usize {
    let mut at = sentence_start(n, from, end);
    while at > from && n.before(at) == ';' {
        at = sentence_start(n, from, at - 1);
    }
    at
}

/// True when the stop at `dot` belongs to an abbreviation: one letter, `Fig`, `vs`, `No`.
fn is_abbreviation(n: &Normalized, dot: usize, from: usize) -> bool {
    let mut k = dot;
    while k > from && n.before(k).is_ascii_alphabetic() {
        k -= 1;
    }
    let word: String = (k..dot).map(|i| n.at(i)).collect();
    // `genotype B.`, `Fig. 5-12A.` end a sentence, `by A. Smith` does not.
    let named = k >= 2 && n.before(k) == ' ' && n.at(k - 2).is_ascii_lowercase() || n.before(k).is_ascii_digit();
    (word.len() == 1 && word.chars().all(|c| c.is_ascii_uppercase()) && !named)
        || matches!(
            word.as_str(),
            "Fig" | "Figs" | "vs" | "No" | "Dr" | "cf" | "al" | "ca" | "approx"
        )
}
