//! Labels that reading destroyed, put back by their place in the row.
//!
//! `(A) … ；) … ；(C) …` lacks its B, `A. … ；也. … ；C. …` shows it as a
//! character. A scrap is taken for a label only where the labels that were read
//! leave exactly that room: as many scraps as letters are missing, standing where a
//! label of this caption stands, before or between whole ones. Behind the last
//! whole label a scrap counts only when it cannot be anything else.

use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::join::is_han;

/// How labels of a caption are marked off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    /// `(A)`, `A)`, `[A]`.
    Closed,
    /// `A.`, `A：`.
    Stopped,
    /// `a ` before Chinese.
    Bare,
}

/// A whole label, or a list of them, at a place of the text.
struct Whole {
    start: usize,
    end: usize,
    first: u8,
    last: u8,
}

/// What may be the rest of a label.
struct Scrap {
    start: usize,
    end: usize,
}

#[allow(clippy::unwrap_used)] // the patterns are constants, compiled by the tests
static WHOLE: LazyLock<[(Style, Regex); 3]> = LazyLock::new(|| {
    let list = r"((?:[A-Za-z1-9]\s?[、,，~～-]\s?)*)([A-Za-z1-9])";
    [
        (
            Style::Closed,
            Regex::new(&format!(r"(?:^|[^A-Za-z0-9]){list}\s?[)）】\]]")).unwrap(),
        ),
        (
            Style::Stopped,
            Regex::new(&format!(
                r"(?:^|[。；;，,：:\s]|\p{{Han}}){list}\s?[.．:：]\s?\p{{Han}}"
            ))
            .unwrap(),
        ),
        (
            Style::Bare,
            Regex::new(r"(?:^|[。；;，,]\s?|\s)((?:[a-z]、)*)([a-z])\s\p{Han}").unwrap(),
        ),
    ]
});

#[allow(clippy::unwrap_used)]
static SCRAP: LazyLock<[(Style, Regex); 3]> = LazyLock::new(|| {
    [
        (
            Style::Closed,
            Regex::new(r"(?:^|[。；;，,.]\s?|[)）]\s)([（(【\[]{0,2}[^\s（()）【】\[\]。；;，,.]{0,2}[)）】\]])")
                .unwrap(),
        ),
        (
            Style::Stopped,
            Regex::new(r"(?:^|[。；;]\s?)([^\s。；;，,.:：A-Z0-9]{1,2}[.．])\s?\p{Han}").unwrap(),
        ),
        (
            Style::Bare,
            Regex::new(r"(?:[。；;，,]\s?)([^\s\p{Han}。；;，,.0-9]{1,2}|[0-9][a-z])\s\p{Han}").unwrap(),
        ),
    ]
});

/// Puts lost labels back into the lines of a region.
pub fn fill_gaps(texts: &mut [String]) {
    let joined = texts.join("\n");
    let filled = fill(&part_number(&joined));
    if filled != joined && filled.matches('\n').count() + 1 == texts.len() {
        for (text, line) in texts.iter_mut().zip(filled.split('\n')) {
            line.clone_into(text);
        }
    }
}

/// `图9-38A. … B. …`: the blank between number and first label was not read.
fn part_number(text: &str) -> String {
    #[allow(clippy::unwrap_used)]
    static NUMBER: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"^((?:附|彩)?图\s?[0-9]+(?:[-–][0-9]+)*)(A|a)(\s?[.．:：)）]\s?)(\p{Han})").unwrap()
    });
    let Some(found) = NUMBER.captures(text) else {
        return text.to_owned();
    };
    let (label, mark) = (&found[2], found[3].trim());
    let next = if label == "A" { 'B' } else { 'b' };
    let repeated = text.contains(&format!("{}{next}", &found[1]));
    let follows = text.contains(&format!("{next}{mark}"));
    if follows && !repeated {
        NUMBER.replace(text, "${1} ${2}${3}${4}").into_owned()
    } else {
        text.to_owned()
    }
}

fn fill(text: &str) -> String {
    let best = WHOLE
        .iter()
        .map(|(style, regex)| (*style, chain(text, regex)))
        .max_by_key(|(style, chain)| (chain.len(), *style == Style::Closed))
        .filter(|(_, chain)| !chain.is_empty());
    let Some((style, chain)) = best else {
        return lookalike_pair(text);
    };
    let scraps = scraps_of(text, style, &chain);
    let base = case_base(chain[0].first);
    let mut changes: Vec<(usize, usize, u8)> = Vec::new();
    let mut room = |from: usize, to: usize, first: u8, next: Option<u8>| {
        let own: Vec<&Scrap> = scraps.iter().filter(|s| s.start >= from && s.end <= to).collect();
        let fits = match next {
            Some(next) => usize::from(next.saturating_sub(first)) == own.len(),
            None => own.len() == 1,
        };
        if fits {
            changes.extend((first..).zip(&own).map(|(label, s)| (s.start, s.end, label)));
        }
    };
    room(0, chain[0].start, base, Some(chain[0].first));
    for pair in chain.windows(2) {
        room(pair[0].end, pair[1].start, pair[0].last + 1, Some(pair[1].first));
    }
    let last = &chain[chain.len() - 1];
    if chain.len() >= 2 || style == Style::Closed {
        room(last.end, text.len(), last.last + 1, None);
    }
    changes.sort_unstable();
    let mut out = text.to_owned();
    for (start, end, label) in changes.into_iter().rev() {
        let scrap = &text[start..end];
        let marks: String = match style {
            Style::Closed => {
                let close = scrap.chars().last().unwrap_or(')');
                let open = match close {
                    '）' => "（",
                    ']' => "[",
                    '】' => "【",
                    _ => "(",
                };
                let opened = text[..chain[0].start].ends_with(['(', '（', '[', '【']);
                format!("{}{}{close}", if opened { open } else { "" }, char::from(label))
            }
            Style::Stopped => format!("{}.", char::from(label)),
            Style::Bare => char::from(label).to_string(),
        };
        out.replace_range(start..end, &marks);
    }
    out
}

fn case_base(label: u8) -> u8 {
    match label {
        b'a'..=b'z' => b'a',
        b'1'..=b'9' => b'1',
        _ => b'A',
    }
}

/// Whole labels that follow each other from the first of the alphabet on.
fn chain(text: &str, regex: &Regex) -> Vec<Whole> {
    /// A row begins with one of the first labels.
    const LATEST_FIRST: u8 = 2;
    let mut out: Vec<Whole> = Vec::new();
    let mut from = 0;
    while let Some(found) = regex.captures_at(text, from) {
        let (Some(list), Some(letter)) = (found.get(1), found.get(2)) else {
            break;
        };
        from = letter.end();
        let last = letter.as_str().as_bytes()[0];
        let first = list.as_str().bytes().next().unwrap_or(last);
        let whole = Whole {
            start: list.start(),
            end: letter.end(),
            first,
            last,
        };
        let base = case_base(first);
        let follows = match out.last() {
            Some(before) => case_base(before.last) == base && first > before.last,
            None => first - base <= LATEST_FIRST,
        };
        if follows && last >= first && case_base(last) == base {
            out.push(whole);
        }
    }
    out
}

fn scraps_of(text: &str, style: Style, chain: &[Whole]) -> Vec<Scrap> {
    let Some((_, regex)) = SCRAP.iter().find(|(s, _)| *s == style) else {
        return Vec::new();
    };
    let mut out = Vec::new();
    let mut from = 0;
    while let Some(found) = regex.captures_at(text, from) {
        let Some(scrap) = found.get(1) else { break };
        from = scrap.end().max(from + 1);
        while !text.is_char_boundary(from) {
            from += 1;
        }
        let known = chain.iter().any(|w| scrap.start() < w.end && w.start < scrap.end());
        if !known && (style != Style::Closed || is_lost(text, &found)) {
            out.push(Scrap {
                start: scrap.start(),
                end: scrap.end(),
            });
        }
    }
    out
}

/// True unless the brackets hold words of their own: `（左）`, `(OD)`, or close a bracket opened before.
fn is_lost(text: &str, found: &Captures<'_>) -> bool {
    let Some(scrap) = found.get(1) else { return false };
    let opened = scrap.as_str().starts_with(['(', '（', '[', '【']);
    let inside: Vec<char> = scrap
        .as_str()
        .chars()
        .filter(|c| !"（()）【】[]".contains(*c))
        .collect();
    if opened {
        return inside.len() <= 1 && !inside.iter().any(|c| c.is_alphanumeric());
    }
    let before = &text[..scrap.start()];
    let open = before.matches(['(', '（', '[', '【']).count();
    let closed = before.matches([')', '）', ']', '】']).count();
    open <= closed && !inside.iter().all(char::is_ascii_digit) | inside.is_empty()
}

/// No label is whole, but two characters that A and B are read as stand where labels stand.
fn lookalike_pair(text: &str) -> String {
    /// What `chi_sim` makes of a lone A or B before a stop.
    const READINGS: [(&str, char); 2] = [("人入八", 'A'), ("也日巴已", 'B')];
    let scraps = scraps_of(text, Style::Stopped, &[]);
    let [first, second] = &scraps[..] else {
        return text.to_owned();
    };
    let mut out = text.to_owned();
    for (scrap, (readings, label)) in [second, first].into_iter().zip(READINGS.iter().rev()) {
        let read = &text[scrap.start..scrap.end];
        if !read.starts_with(|c| is_han(c) && readings.contains(c)) {
            return text.to_owned();
        }
        out.replace_range(scrap.start..scrap.end, &format!("{label}."));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lost_labels_come_back() {
        let cases = [
            // Between whole ones, before the first, behind the last.
            (
                "图8-4 病。(a)萎缩) () 背景荧光; (c) 囊腔; (d)曲线。",
                "图8-4 病。(a)萎缩) (b) 背景荧光; (c) 囊腔; (d)曲线。",
            ),
            (
                "(a)早期低荧光; )晚期着染; (c)治疗后。",
                "(a)早期低荧光; (b)晚期着染; (c)治疗后。",
            ),
            ("病。[A]光凝斑。巴]背景荧光。", "病。[A]光凝斑。[B]背景荧光。"),
            ("病。人和. 坏死灶。B. 荧光。C. 囊腔", "病。A. 坏死灶。B. 荧光。C. 囊腔"),
            ("病。a) 瘢痕，可见; bc)积液吸收。", "病。a) 瘢痕，可见; b)积液吸收。"),
            ("病，a 隆起，b 早期，* 断裂。", "病，a 隆起，b 早期，c 断裂。"),
            ("病。8a 水肿，b 绘图。", "病。a 水肿，b 绘图。"),
            ("病。人.陈旧瘢痕;也.造影早期。", "病。A.陈旧瘢痕;B.造影早期。"),
            ("图 9-38A. 黄斑隆起B. 荧光C. 水肿", "图 9-38 A. 黄斑隆起B. 荧光C. 水肿"),
            // Left alone: brackets with words, numbers, several scraps, no room.
            ("(A)出血（左）；(B)渗出", "(A)出血（左）；(B)渗出"),
            ("(A)出血；(OD)正常；(B)渗出", "(A)出血；(OD)正常；(B)渗出"),
            ("(A)出血(见前，此处省略)；(B)渗出", "(A)出血(见前，此处省略)；(B)渗出"),
            ("图9-3A. 出血。图9-3B. 渗出", "图9-3A. 出血。图9-3B. 渗出"),
            ("A. 出血。B. 渗出。C. 水肿", "A. 出血。B. 渗出。C. 水肿"),
            ("病，a 隆起，3 个月后，b 早期", "病，a 隆起，3 个月后，b 早期"),
            ("黄斑区出血，渗出。", "黄斑区出血，渗出。"),
            ("", ""),
        ];
        for (read, wanted) in cases {
            let mut texts = vec![read.to_owned()];
            fill_gaps(&mut texts);
            assert_eq!(texts, [wanted], "{read}");
        }
    }

    #[test]
    fn lines_stay_lines() {
        let mut texts = vec!["(A)出血；".to_owned(), ")渗出；(C)水肿".to_owned()];
        fill_gaps(&mut texts);
        assert_eq!(texts, ["(A)出血；", "(B)渗出；(C)水肿"]);
    }

    proptest! {
        #[test]
        fn any_lines_are_taken(texts in prop::collection::vec("[ABCabc1-3()（）。；. ，左人也8*\u{4e00}-\u{4e20}]{0,24}", 0..4)) {
            let mut own = texts.clone();
            fill_gaps(&mut own);
            prop_assert_eq!(own.len(), texts.len());
        }
    }
}
