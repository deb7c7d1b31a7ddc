//! Paragraphs of plain text: wrapped lines joined, outlines told in sentences,
//! running heads and page numbers left out.

use std::collections::HashMap;

/// A head or foot line returns on at least this many pages.
const HEAD_REPEATS: usize = 3;
/// Longest line that may be a running head, in characters.
const HEAD_CHARS: usize = 60;
/// Share of indented lines from which a file is an outline.
const OUTLINE_SHARE: f64 = 0.4;

/// The paragraphs of a plain text file in reading order.
pub fn paragraphs(text: &str) -> Vec<String> {
    let heads = running_heads(text);
    let kept: Vec<&str> = text
        .lines()
        .map(|line| {
            if is_page_number(line) || heads.contains(&masked(line)) {
                ""
            } else {
                line
            }
        })
        .collect();
    let filled = kept.iter().filter(|l| !l.trim().is_empty()).count();
    let indented = kept.iter().filter(|l| indent(l) > 0 && !l.trim().is_empty()).count();
    if filled > 3 && indented as f64 >= OUTLINE_SHARE * filled as f64 {
        return outline(&kept);
    }
    let mut out: Vec<String> = Vec::new();
    let mut open = false;
    for line in kept {
        let line = line.trim();
        if line.is_empty() {
            open = false;
            continue;
        }
        match out.last_mut() {
            Some(last) if open && !is_item(line) => join_line(last, line),
            _ => out.push(line.to_owned()),
        }
        open = true;
    }
    out
}

/// Joins a wrapped line; a word that the line end cut is one word again.
fn join_line(last: &mut String, line: &str) {
    let cut = last.ends_with('-')
        && last.chars().rev().nth(1).is_some_and(|c| c.is_ascii_lowercase())
        && line.starts_with(|c: char| c.is_ascii_lowercase());
    if cut {
        last.pop();
    } else if !(wide(last.chars().next_back()) && wide(line.chars().next())) {
        last.push(' ');
    }
    last.push_str(line);
}

fn wide(c: Option<char>) -> bool {
    c.is_some_and(|c| matches!(c, '\u{3000}'..='\u{9fff}' | '\u{ff00}'..='\u{ffef}'))
}

/// True for list items, which are paragraphs of their own.
fn is_item(line: &str) -> bool {
    let mut chars = line.chars();
    match chars.next() {
        Some('-' | '*' | '•' | '·' | '◆' | '■') => {
            chars.next().is_some_and(char::is_whitespace) || line.starts_with(['•', '◆', '■'])
        }
        Some(c) if c.is_ascii_digit() => {
            let rest = line.trim_start_matches(|c: char| c.is_ascii_digit());
            rest.starts_with(". ") || rest.starts_with(") ") || rest.starts_with('、')
        }
        _ => false,
    }
}

fn indent(line: &str) -> usize {
    line.chars()
        .take_while(|c| c.is_whitespace())
        .map(|c| if c == '\t' { 4 } else { 1 })
        .sum()
}

fn masked(line: &str) -> String {
    line.trim()
        .chars()
        .map(|c| if c.is_ascii_digit() { '#' } else { c })
        .collect()
}

/// Short lines that come back again and again apart from their numbers, far from each other.
fn running_heads(text: &str) -> Vec<String> {
    let mut places: HashMap<String, Vec<usize>> = HashMap::new();
    let mut count = 0;
    for (k, line) in text.lines().enumerate() {
        count = k + 1;
        let trimmed = line.trim();
        let chars = trimmed.chars().count();
        if (2..=HEAD_CHARS).contains(&chars)
            && indent(line) < 12
            && !trimmed.ends_with(['.', '。', ':', '：', '?', '？', ',', '，'])
        {
            places.entry(masked(line)).or_default().push(k);
        }
    }
    let mut heads: Vec<String> = places
        .into_iter()
        .filter(|(line, at)| {
            let spread = at.windows(2).all(|w| w[1] - w[0] >= 10);
            at.len() >= HEAD_REPEATS && spread && count > 60 && line.chars().any(char::is_alphanumeric)
        })
        .map(|(line, _)| line)
        .collect();
    heads.sort();
    heads
}

/// `12`, `- 12 -`, `第12页`, `Page 12 of 300`.
fn is_page_number(line: &str) -> bool {
    let plain: String = line.trim().to_lowercase().replace(['-', '—', '·', '|', ' '], "");
    if plain.is_empty() {
        return false;
    }
    let rest = plain
        .trim_start_matches("page")
        .trim_start_matches('第')
        .trim_end_matches('页');
    let digits = |s: &str| !s.is_empty() && s.len() <= 4 && s.bytes().all(|b| b.is_ascii_digit());
    digits(rest)
        || rest
            .split_once("of")
            .or_else(|| rest.split_once('/'))
            .is_some_and(|(a, b)| plain.starts_with("page") && digits(a) && digits(b))
}

/// An indented outline: every heading with its points, below the headings above it.
fn outline(lines: &[&str]) -> Vec<String> {
    struct Node {
        indent: usize,
        text: String,
        parent: Option<usize>,
        children: Vec<usize>,
    }
    let mut nodes: Vec<Node> = Vec::new();
    let mut stack: Vec<usize> = Vec::new();
    for line in lines {
        let text = line.split(" // ").next().unwrap_or("").trim();
        if text.starts_with("//") || text.is_empty() {
            if text.starts_with("//") {
                stack.clear();
            }
            continue;
        }
        let depth = indent(line);
        while stack.last().is_some_and(|&top| nodes[top].indent >= depth) {
            stack.pop();
        }
        let parent = stack.last().copied();
        nodes.push(Node {
            indent: depth,
            text: text.trim_end_matches(':').to_owned(),
            parent,
            children: Vec::new(),
        });
        let index = nodes.len() - 1;
        if let Some(parent) = parent {
            nodes[parent].children.push(index);
        }
        stack.push(index);
    }
    let mut out = Vec::new();
    for node in &nodes {
        if node.children.is_empty() {
            if node.parent.is_none() {
                out.push(node.text.clone());
            }
            continue;
        }
        let mut heading = vec![node.text.as_str()];
        let mut above = node.parent;
        while let Some(k) = above.filter(|_| heading.len() < 3) {
            heading.push(&nodes[k].text);
            above = nodes[k].parent;
        }
        heading.reverse();
        let points: Vec<&str> = node.children.iter().map(|&k| nodes[k].text.as_str()).collect();
        out.push(format!("{}: {}.", heading.join(", "), points.join(", ")));
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn wrapped_lines_are_joined_and_items_kept_apart() {
        let text = "The retina lines the\nposterior seg-\nment of the eye.\n\n黄斑位于\n后极部。\n- first point\n- second point\n";
        assert_eq!(
            paragraphs(text),
            [
                "The retina lines the posterior segment of the eye.",
                "黄斑位于后极部。",
                "- first point",
                "- second point"
            ]
        );
    }

    #[test]
    fn page_numbers_and_running_heads_go() {
        let mut text = String::new();
        for page in 1..=8 {
            text += &format!("Retinal Atlas {page}\n");
            for line in 0..12 {
                text += &format!("Sentence {} of the body text is here.\n\n", line * 7 + page);
            }
            text += &format!("- {page} -\n\n");
        }
        let out = paragraphs(&text);
        assert_eq!(out.len(), 96);
        assert!(out.iter().all(|p| p.starts_with("Sentence")));
    }

    #[test]
    fn an_outline_is_told_in_sentences() {
        let text = "// source\n\nptosis\n    causes\n        neurogenic\n            CN3 palsy\n            Horner syndrome\n        myogenic\n";
        assert_eq!(
            paragraphs(text),
            [
                "ptosis: causes.",
                "ptosis, causes: neurogenic, myogenic.",
                "ptosis, causes, neurogenic: CN3 palsy, Horner syndrome."
            ]
        );
    }
}
