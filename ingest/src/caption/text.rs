//! Cutting clean words out of the raw caption.

use super::normalize::is_cjk;

/// Marks that separate entries and belong to none of them.
const EDGE: &[char] = &[
    ' ', '\n', '\t', '\r', '\u{3000}', '；', ';', '，', ',', '。', '.', '．', '、', '：', ':', '|', '·',
];

/// White space to single blanks, none between Chinese characters, words joined that a line end cut.
pub fn tidy(raw: &str) -> String {
    // Most texts are tidy: single blanks between Latin words, none else.
    let plain = |b: &u8| (b' '..0x7f).contains(b);
    if raw.as_bytes().iter().all(plain) && !raw.contains("  ") && !raw.starts_with(' ') && !raw.ends_with(' ') {
        return raw.to_owned();
    }
    let mut out = String::with_capacity(raw.len());
    let mut blank = false;
    let mut line = false;
    // Words are copied whole: `from` is where the one at hand begins.
    let mut from = None;
    for (at, c) in raw.char_indices() {
        let visible = match c {
            '!'..='~' | '\u{3001}'..='\u{9fff}' => true,
            '\u{ad}' | '\u{200b}' | '\u{feff}' => false,
            _ => !(c.is_whitespace() || c.is_control()),
        };
        if visible && from.is_some() {
            continue;
        }
        if let Some(from) = from.take() {
            out.push_str(&raw[from..at]);
        }
        if !visible {
            if !matches!(c, '\u{ad}' | '\u{200b}' | '\u{feff}') {
                blank = !out.is_empty();
                line |= c == '\n';
            }
            continue;
        }
        if blank {
            let left = out.chars().next_back().unwrap_or(' ');
            let before_hyphen = out.chars().rev().nth(1).unwrap_or(' ');
            if line && left == '-' && before_hyphen.is_ascii_lowercase() && c.is_ascii_lowercase() {
                out.pop();
            } else if !(wide(left) && wide(c)) {
                out.push(' ');
            }
        }
        from = Some(at);
        blank = false;
        line = false;
    }
    if let Some(from) = from {
        out.push_str(&raw[from..]);
    }
    out
}

fn wide(c: char) -> bool {
    is_cjk(c) || matches!(c, '。' | '，' | '、' | '；' | '：' | '（' | '）' | '．')
}

/// The words of an entry without the separators around it.
pub fn words(raw: &str) -> String {
    let mut text = raw.trim_matches(EDGE);
    if !text.starts_with([')', '）']) && !text.ends_with([')', '）', '(', '（']) {
        return tidy(text);
    }
    // Brackets whose other half went with a label.
    loop {
        let opens = text.matches(['(', '（']).count();
        let closes = text.matches([')', '）']).count();
        text = if closes > opens && text.starts_with([')', '）']) {
            text.trim_start_matches([')', '）']).trim_matches(EDGE)
        } else if closes > opens && text.ends_with([')', '）']) {
            text.trim_end_matches([')', '）']).trim_matches(EDGE)
        } else if opens > closes && text.ends_with(['(', '（']) {
            text.trim_end_matches(['(', '（']).trim_matches(EDGE)
        } else {
            return tidy(text);
        };
    }
}

/// [`words`] without a conjunction that leads over to the next entry.
pub fn entry(raw: &str) -> String {
    let mut text = words(raw);
    for tail in [" and", " or", "以及", "和", "及", "与"] {
        if let Some(rest) = text.strip_suffix(tail) {
            if !rest.is_empty() {
                text = words(rest);
            }
            break;
        }
    }
    text
}

/// [`entry`] for words that stand before their label.
pub fn entry_before_label(raw: &str) -> String {
    let text = entry(raw);
    if matches!(text.as_str(), "and" | "or" | "和" | "及" | "与") {
        return String::new();
    }
    for head in ["and ", "or ", "as well as ", "以及", "和", "及", "与"] {
        if let Some(rest) = text.strip_prefix(head) {
            return words(rest);
        }
    }
    text
}

/// How sentences begin that close a caption and speak of the whole figure.
const LEGEND_STARTS: [&str; 52] = [
    "scale bar",
    "bar =",
    "bar,",
    "bars",
    "bar:",
    "original magnification",
    "magnification",
    "all ",
    "abbreviation",
    "arrows ",
    "arrowheads ",
    "black arrows",
    "white arrows",
    "red arrows",
    "yellow arrows",
    "asterisks ",
    "stars ",
    "the arrows",
    "these images",
    "these figures",
    "these panels",
    "both ",
    "images ",
    "the images",
    "photographs ",
    "error bars",
    "data ",
    "values ",
    "results ",
    "*",
    "shown ",
    "immunohistochem",
    "immunostain",
    "hematoxylin",
    "haematoxylin",
    "h&e",
    "h & e",
    "h-e",
    "p value",
    "p-value",
    "p <",
    "p<",
    "n =",
    "n=",
    "insets ",
    "note:",
    "courtesy",
    "reproduced",
    "标尺",
    "比例尺",
    "放大倍数",
    "箭头均",
];

/// How sentences begin from which on a caption no longer speaks of one panel.
const WHOLE_STARTS: [&str; 32] = [
    "all images",
    "all panels",
    "all photographs",
    "all pictures",
    "all figures",
    "all sections",
    "all samples",
    "all data",
    "both patients",
    "both eyes",
    "both images",
    "both panels",
    "both cases",
    "both groups",
    "these images",
    "these figures",
    "these panels",
    "these photographs",
    "data ",
    "the data",
    "expression data",
    "scale bar",
    "original magnification",
    "magnification",
    "abbreviation",
    "error bars",
    "images ",
    "the images",
    "各图",
    "以上",
    "所有图",
    "标尺",
];

/// The closing sentences of `text` that speak of the whole figure, empty when there are none.
pub fn legend(text: &str) -> &str {
    let mut cut = text.len();
    let found = sentences(text);
    let begins = |sentence: &str, starts: &[&str]| {
        let sentence = sentence.as_bytes();
        let first = sentence.first().map_or(0, u8::to_ascii_lowercase);
        starts.iter().any(|w| {
            w.as_bytes()[0] == first
                && sentence
                    .get(..w.len())
                    .is_some_and(|s| s.eq_ignore_ascii_case(w.as_bytes()))
        })
    };
    for &(start, sentence) in found.iter().rev() {
        let known = begins(sentence, &LEGEND_STARTS) || is_abbreviation_list(sentence);
        // The first sentence is always the panel's own.
        if !known || start == 0 {
            break;
        }
        cut = start;
    }
    // Who has begun to speak of the whole figure goes on with it.
    let whole = found
        .iter()
        .skip(1)
        .find(|(_, sentence)| begins(sentence, &WHOLE_STARTS));
    if let Some((start, _)) = whole {
        cut = cut.min(*start);
    }
    text.get(cut..).unwrap_or("")
}

/// The sentences behind the first one, when there are any.
pub fn after_first_sentence(text: &str) -> &str {
    sentences(text)
        .get(1)
        .and_then(|(start, _)| text.get(*start..))
        .unwrap_or("")
}

/// `CNV = choroidal neovascularization; RPE = retinal pigment epithelium`, also with commas or colons.
fn is_abbreviation_list(sentence: &str) -> bool {
    let is_entry = |part: &str| {
        let part = part.trim_start();
        let short = part.find([',', ':']).map_or("", |end| &part[..end]);
        (2..=6).contains(&short.len())
            && short.chars().all(|c| c.is_ascii_alphanumeric())
            && short.chars().filter(char::is_ascii_uppercase).count() * 2 > short.len()
    };
    sentence.matches(" = ").count() >= 2 || sentence.split(';').filter(|part| is_entry(part)).count() >= 2
}

/// Sentences and where they begin.
pub fn sentences(text: &str) -> Vec<(usize, &str)> {
    let mut out = Vec::new();
    let mut start = 0;
    let bytes = text.as_bytes();
    const STOP: &[u8] = "。".as_bytes();
    for at in 0..bytes.len() {
        let next = match bytes[at] {
            b'.' if bytes.get(at + 1) == Some(&b' ') => at + 1,
            b if b == STOP[0] && bytes[at..].starts_with(STOP) => at + STOP.len(),
            _ => continue,
        };
        out.push((start, &text[start..next]));
        start = next + usize::from(bytes.get(next) == Some(&b' '));
    }
    if start < text.len() {
        out.push((start, &text[start..]));
    }
    out
}

/// Preface and own words as one caption.
pub fn join(preface: &str, text: &str) -> String {
    if preface.is_empty() {
        return text.to_owned();
    }
    if text.is_empty() {
        return preface.to_owned();
    }
    let chinese = preface.chars().next_back().is_some_and(|c| !c.is_ascii_alphabetic())
        && !preface.is_ascii()
        && preface.chars().any(is_cjk);
    let closed = preface.ends_with(['。', '.', '!', '?', '！', '？']);
    match (chinese, closed) {
        (true, true) => [preface, text].concat(),
        (true, false) => [preface, "。", text].concat(),
        (false, true) => [preface, " ", text].concat(),
        (false, false) => [preface, ". ", text].concat(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn words_are_cut_clean() {
        assert_eq!(words("　彩 照，见  出血；"), "彩照，见出血");
        assert_eq!(
            words(" Early phase,\n of the hem-\norrhage. "),
            "Early phase, of the hemorrhage"
        );
        assert_eq!(entry("Late phase (arrows) and "), "Late phase (arrows)");
        assert_eq!(entry_before_label(", and late leakage "), "late leakage");
        assert_eq!(join("黄斑裂孔", "彩照"), "黄斑裂孔。彩照");
        assert_eq!(join("Macular hole", "Photograph"), "Macular hole. Photograph");
    }
}
