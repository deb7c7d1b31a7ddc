//! What is doubtful about the labels of a caption, and labels that were lost.

use super::labels::Family;
use super::normalize::is_cjk;
use super::run::{Item, Mode, Run};
use super::split::Block;
use super::text::words;

/// Notes what is doubtful about a run of labels; a label that was lost gets its words where the picture has a panel for it.
pub(super) fn note_doubts(run: &Run, panels: Option<usize>, block: &mut Block) {
    let damaged: Vec<&Item> = run.items.iter().filter(|i| i.damaged).collect();
    if !damaged.is_empty() {
        let labels: Vec<String> = damaged.iter().flat_map(|i| i.labels.iter().cloned()).collect();
        block
            .issues
            .push(format!("label read through OCR damage: {}", labels.join(", ")));
        block.doubt += 0.12 * damaged.len() as f32;
    }
    if let (Some(family), false) = (run.family, run.missing.is_empty()) {
        let labels: Vec<String> = run.missing.iter().map(|&v| family.render(v)).collect();
        block.issues.push(format!("label not found: {}", labels.join(", ")));
        block.doubt += 0.25 * run.missing.len() as f32;
        if panels == Some(run.count() + run.missing.len()) {
            restore_lost(run, family, block);
        }
    }
    if run.mode == Mode::Before
        && let Some(scrap) = block.panels.iter().find_map(|p| misread_label(&p.1))
    {
        block.issues.push(format!("`{scrap}` may be a label that was misread"));
        block.doubt += 0.45;
    }
    let mean = run.score / run.items.len().max(1) as f32;
    block.doubt += (1.3 - mean).clamp(0.0, 0.5) * 0.5;
}

/// What begins a further entry in the words of one panel as only a label does: `彩照；5，造影`.
fn misread_label(text: &str) -> Option<String> {
    let first_bytes = [b';', "；".as_bytes()[0], "。".as_bytes()[0]];
    let stops = memchr::memchr3_iter(first_bytes[0], first_bytes[1], first_bytes[2], text.as_bytes());
    stops.filter_map(|at| text.get(at..)).find_map(|rest| {
        let behind = rest.strip_prefix(['；', ';', '。'])?;
        let mut behind = behind.chars().filter(|c| *c != ' ');
        let (label, mark, word) = (behind.next()?, behind.next()?, behind.next()?);
        let closed = matches!(mark, '，' | ',' | '.' | '．' | '、' | ':' | '：');
        (label.is_ascii_alphanumeric() && closed && is_cjk(word)).then(|| [label, mark].iter().collect())
    })
}

/// The picture has as many panels as labels found and lost together: the lost ones get the
/// sentence behind the label before them, or share its words.
fn restore_lost(run: &Run, family: Family, block: &mut Block) {
    for &value in &run.missing {
        let before = family.render(value - 1);
        let label = family.render(value);
        let Some(k) = block.panels.iter().position(|p| p.0.contains(&before)) else {
            continue;
        };
        let text = block.panels[k].1.clone();
        let cuts: Vec<usize> = text
            .char_indices()
            .filter(|(at, c)| matches!(c, '。' | '；' | ';') || *c == '.' && text[at + 1..].starts_with(' '))
            .map(|(at, c)| at + c.len_utf8())
            .collect();
        if let [cut] = cuts[..] {
            block.panels[k].1 = words(&text[..cut]);
            block.panels.insert(k + 1, (vec![label.clone()], words(&text[cut..])));
            block
                .issues
                .push(format!("label {label} was lost: its words were cut at a sentence"));
        } else {
            block.panels[k].0.push(label.clone());
            block
                .issues
                .push(format!("label {label} was lost: it shares the words of {before}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::split::{SplitOptions, split_caption};
    use super::*;

    #[test]
    fn what_begins_an_entry_like_a_label_is_doubtful() {
        assert_eq!(misread_label("窗样缺损; 7，中心凹外层缺损").as_deref(), Some("7，"));
        for text in ["窗样缺损; 中心凹", "随访; 5个月后", "宽约 5，高", "one; 5, two"] {
            assert_eq!(misread_label(text), None, "{text}");
        }
        let split = split_caption(
            "图4-1 坏死。A.纤维血管膜；B.缺损呈靶心状；7，中心凹缺损。",
            &SplitOptions::default(),
        );
        assert!(split.confidence < 0.6, "{split:?}");
    }
}
