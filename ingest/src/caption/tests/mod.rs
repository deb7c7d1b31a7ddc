//! Tables of invented captions, and what a careful reader makes of each.
#![allow(clippy::unwrap_used)]

mod grammar;
mod styles;
mod textbooks;

use super::split::{SplitCaption, SplitOptions, SplitPanel, split_caption};

/// Panels as `A,B=words|C=words`.
fn panels(split: &SplitCaption) -> String {
    let one = |p: &SplitPanel| format!("{}={}", p.labels.join(","), p.text);
    split.panels.iter().map(one).collect::<Vec<_>>().join("|")
}

/// Parts with ` :: ` between them, empty ones left out.
fn joined(parts: &[&str]) -> String {
    let parts: Vec<&str> = parts.iter().copied().filter(|p| !p.is_empty()).collect();
    parts.join(" :: ")
}

/// Every caption of the table is read as is written beside it.
fn check(table: &[(&str, &str)], read: impl Fn(&SplitCaption) -> String) {
    let wrong = |(caption, want): &(&str, &str)| {
        let got = read(&split_caption(caption, &SplitOptions::default()));
        (got != *want).then(|| format!("{caption}\n  want {want}\n  got  {got}"))
    };
    let wrong: Vec<String> = table.iter().filter_map(wrong).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
