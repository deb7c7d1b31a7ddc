//! Stretches of a caption in one language.

use super::normalize::{Normalized, is_cjk};
use super::start::{Head, skip_strays};

/// One stretch of a caption in one language.
pub(super) struct Stretch {
    /// First character.
    pub from: usize,
    /// One past the last character.
    pub to: usize,
    /// Panel letters of its figure number.
    pub letters: Vec<u16>,
    /// True for Chinese.
    pub chinese: bool,
}

/// The languages of a caption in printed order.
pub(super) fn order(stretches: &[Stretch]) -> Vec<bool> {
    let mut out: Vec<bool> = Vec::new();
    for s in stretches {
        if !out.contains(&s.chinese) {
            out.push(s.chinese);
        }
    }
    out
}

/// Cuts a caption at its heads, and at a change of language that has no head.
pub(super) fn stretches(n: &Normalized, heads: &[Head]) -> Vec<Stretch> {
    let mut out = Vec::new();
    let mut push = |from: usize, to: usize, letters: &[u16], head: bool| {
        let cut = if n.has_cjk { language_change(n, from, to) } else { None };
        let parts = match cut {
            Some(cut) => vec![(from, cut), (cut, to)],
            None => vec![(from, to)],
        };
        for (k, (from, to)) in parts.into_iter().enumerate() {
            let letters = if k == 0 { letters.to_vec() } else { Vec::new() };
            out.push(Stretch {
                from,
                to,
                letters,
                chinese: n.has_cjk && is_chinese(n, from, to, head && k == 0),
            });
        }
    };
    if heads.is_empty() {
        push(skip_strays(n, 0), n.len(), &[], false);
    }
    for (k, head) in heads.iter().enumerate() {
        if k == 0 {
            let lead = skip_strays(n, 0);
            if head.start > lead + 3 {
                push(lead, head.start, &[], false);
            }
        }
        let to = heads.get(k + 1).map_or(n.len(), |next| next.start);
        push(head.text_at, to, &head.letters, head.chinese);
    }
    out
}

/// Lower-case letters from which on a stretch without Chinese characters is English.
const LONG: usize = 24;

/// True when a stretch is Chinese: English words may stand in Chinese captions, hardly the reverse.
/// Behind a Chinese head (`图2-3B FFA`) it need not have a Chinese character.
fn is_chinese(n: &Normalized, from: usize, to: usize, headed: bool) -> bool {
    let chars = n.slice(from, to);
    let chinese = chars.iter().filter(|&&c| is_cjk(c)).count();
    let latin = chars.iter().filter(|c| c.is_ascii_lowercase()).count();
    chinese >= 2 && chinese * 5 >= latin || headed && latin < LONG
}

/// Where a stretch turns from Chinese to English, or the reverse, for good.
fn language_change(n: &Normalized, from: usize, to: usize) -> Option<usize> {
    let to = to.min(n.len());
    let chars = n.slice(from, to);
    let first = from + chars.iter().position(|&c| is_cjk(c))?;
    let last = from + chars.iter().rposition(|&c| is_cjk(c))?;
    let lower = |a: usize, b: usize| n.slice(a, b).iter().filter(|c| c.is_ascii_lowercase()).count();
    if chars.iter().filter(|&&c| is_cjk(c)).take(4).count() < 4 {
        return None;
    }
    if lower(last + 1, to) < LONG && lower(from, first) < LONG {
        return None;
    }
    // Long English stretches inside the Chinese part: the caption is bilingual panel by panel.
    let inside = longest_latin(n, first, last);
    if lower(last + 1, to) >= LONG && inside * 3 < lower(last + 1, to) && inside < 40 {
        let letter = |i: usize| n.at(n.skip_space(i)).is_ascii_alphabetic();
        let cut = (last + 1..to)
            .find(|&i| matches!(n.before(i), '。' | '\n') && letter(i))
            .or_else(|| (last + 1..to).find(|&i| matches!(n.at(i), ' ' | '\n') && letter(i)))
            .or_else(|| (last + 1..to).find(|&i| n.at(i).is_ascii_alphabetic()));
        return cut.filter(|&c| c < to);
    }
    if lower(from, first) >= LONG && inside * 3 < lower(from, first) && inside < 40 {
        return Some(first);
    }
    None
}

/// The most lower-case letters in one stretch without Chinese characters.
fn longest_latin(n: &Normalized, from: usize, to: usize) -> usize {
    let (mut best, mut here) = (0, 0);
    for &c in n.slice(from, to) {
        if is_cjk(c) {
            here = 0;
        } else if c.is_ascii_lowercase() {
            here += 1;
            best = best.max(here);
        }
    }
    best
}
