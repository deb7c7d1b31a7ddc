//! Sentences and utterances in English and Chinese.

/// Shortest utterance: letters of English, characters of Chinese.
pub const MIN_LATIN_CHARS: usize = 20;
/// Shortest utterance in English words.
pub const MIN_WORDS: usize = 4;
/// Shortest Chinese utterance in characters.
pub const MIN_CJK_CHARS: usize = 8;
/// Longest English utterance in words (256 tokens of the text encoder hold about 190 words).
pub const MAX_WORDS: usize = 120;
/// Longest Chinese utterance in characters.
pub const MAX_CJK_CHARS: usize = 200;

/// The language of a text: `zh` from a fifth of Chinese characters on, `en` for Latin letters,
/// none for anything else.
pub fn language(text: &str) -> Option<&'static str> {
    let (mut chinese, mut latin, mut other) = (0usize, 0usize, 0usize);
    for c in text.chars() {
        match c {
            '\u{3400}'..='\u{9fff}' => chinese += 1,
            'a'..='z' | 'A'..='Z' | '\u{c0}'..='\u{24f}' => latin += 1,
            c if c.is_alphabetic() => other += 1,
            _ => {}
        }
    }
    // Greek letters and the like stand in good texts, but they do not make one.
    if other > (chinese + latin) / 2 || chinese + latin == 0 {
        return None;
    }
    Some(if chinese * 5 >= latin { "zh" } else { "en" })
}

/// True when a text is long enough to be an utterance.
pub fn is_long_enough(text: &str) -> bool {
    match language(text) {
        Some("zh") => text.chars().filter(|c| c.is_alphanumeric()).count() >= MIN_CJK_CHARS,
        Some(_) => {
            text.chars().filter(|c| c.is_alphabetic()).count() >= MIN_LATIN_CHARS
                && text.split_whitespace().count() >= MIN_WORDS
        }
        None => false,
    }
}

/// Cuts a clean text into utterances: sentences, short ones joined to the next of the same line,
/// long ones cut at clauses.
pub fn utterances(text: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for line in text.lines() {
        let mut waiting = String::new();
        for sentence in sentences(line) {
            let joined = if waiting.is_empty() {
                sentence.to_owned()
            } else {
                join(&waiting, sentence)
            };
            if is_long_enough(&joined) {
                cut_long(&joined, &mut out);
                waiting.clear();
            } else {
                waiting = joined;
            }
        }
        if !waiting.is_empty() {
            out.push(waiting);
        }
    }
    for utterance in &mut out {
        *utterance = tidy(utterance);
    }
    out.retain(|u| !u.is_empty());
    out
}

fn join(a: &str, b: &str) -> String {
    let wide = |c: Option<char>| c.is_some_and(|c| matches!(c, '\u{3000}'..='\u{9fff}' | '\u{ff00}'..='\u{ffef}'));
    if wide(a.chars().next_back()) || wide(b.chars().next()) {
        format!("{a}{b}")
    } else {
        format!("{a} {b}")
    }
}

/// Blanks before stops, bullets and empty brackets go.
fn tidy(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.trim().chars() {
        if matches!(c, '.' | ',' | ';' | ':' | '?' | '!' | ')' | '。' | '，')
            && out.ends_with(' ')
            && !out.trim_end().is_empty()
        {
            out.pop();
        }
        out.push(c);
    }
    for empty in ["()", "（）", "[]"] {
        out = out.replace(empty, "");
    }
    let out = out.trim_start_matches(|c: char| {
        matches!(
            c,
            '-' | '*' | '•' | '·' | '◆' | '■' | ',' | '，' | '.' | ';' | '；' | '、'
        ) || c.is_whitespace()
    });
    out.trim_end().to_owned()
}

/// The sentences of one line.
pub fn sentences(line: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut start = 0;
    let chars: Vec<(usize, char)> = line.char_indices().collect();
    for (k, &(at, c)) in chars.iter().enumerate() {
        let next = chars.get(k + 1).map(|x| x.1);
        let end = match c {
            '。' | '！' | '？' => !matches!(next, Some('”' | '’' | '）' | '」' | '。' | '！' | '？')),
            '”' | '」' => matches!(
                k.checked_sub(1).and_then(|p| chars.get(p)),
                Some((_, '。' | '！' | '？'))
            ),
            '；' => true,
            '.' | '!' | '?' => {
                let after = chars.get(k + 2).map(|x| x.1);
                let blank = next.is_none_or(char::is_whitespace);
                let begins = after.is_none_or(|a| {
                    a.is_uppercase()
                        || a.is_ascii_digit()
                        || matches!(a, '"' | '\'' | '(' | '-' | '•' | '“')
                        || is_wide(a)
                });
                blank && begins && !(c == '.' && is_abbreviation(&line[start..at]))
            }
            _ => false,
        };
        if end {
            let to = at + c.len_utf8();
            push(&mut out, &line[start..to]);
            start = to;
        }
    }
    push(&mut out, &line[start..]);
    out
}

fn is_wide(c: char) -> bool {
    matches!(c, '\u{3000}'..='\u{9fff}')
}

fn push<'a>(out: &mut Vec<&'a str>, text: &'a str) {
    let text = text.trim();
    if text.chars().any(char::is_alphanumeric) {
        out.push(text);
    }
}

/// Words that a stop does not end a sentence after.
const ABBREVIATIONS: [&str; 32] = [
    "dr", "mr", "mrs", "ms", "prof", "vs", "fig", "figs", "e.g", "i.e", "etc", "al", "no", "approx", "ca", "cf", "st",
    "jr", "sr", "dept", "inc", "vol", "ed", "eds", "p", "pp", "resp", "min", "max", "sec", "viz", "eq",
];

fn is_abbreviation(before: &str) -> bool {
    let word = before
        .rsplit(|c: char| c.is_whitespace() || c == '(')
        .next()
        .unwrap_or("");
    let lower = word.to_lowercase();
    let initial = word.chars().count() == 1 && word.chars().all(|c| c.is_uppercase());
    initial || ABBREVIATIONS.contains(&lower.as_str())
}

/// Where a text that is longer than the encoder takes is cut, `None` where it is not. Looks no further than the limit:
/// a text without clauses may be a whole book.
fn past_limit(text: &str, chinese: bool) -> Option<usize> {
    if chinese {
        return text.char_indices().nth(MAX_CJK_CHARS).map(|(at, _)| at);
    }
    let next = text.split_whitespace().nth(MAX_WORDS)?;
    Some(next.as_ptr() as usize - text.as_ptr() as usize)
}

/// Cuts what is longer than the encoder takes at clauses, else at words.
fn cut_long(text: &str, out: &mut Vec<String>) {
    let chinese = language(text) == Some("zh");
    let size = |t: &str| {
        if chinese {
            t.chars().count()
        } else {
            t.split_whitespace().count()
        }
    };
    let limit = if chinese { MAX_CJK_CHARS } else { MAX_WORDS };
    if size(text) <= limit {
        out.push(text.to_owned());
        return;
    }
    let mut piece = String::new();
    for part in text.split_inclusive([',', ';', '，', '；', '、', ':', '：']) {
        if !piece.is_empty() && size(&piece) + size(part) > limit {
            out.push(std::mem::take(&mut piece));
        }
        piece.push_str(part);
        let whole = std::mem::take(&mut piece);
        let mut rest = whole.as_str();
        while let Some(cut) = past_limit(rest, chinese) {
            out.push(rest[..cut].to_owned());
            rest = &rest[cut..];
        }
        rest.clone_into(&mut piece);
    }
    if !piece.trim().is_empty() {
        out.push(piece);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sentences_end_where_they_end() {
        assert_eq!(
            sentences("The disc is 1.5 mm wide. E. coli was found, e.g. in Dr. Li's case. It healed!"),
            [
                "The disc is 1.5 mm wide.",
                "E. coli was found, e.g. in Dr. Li's case.",
                "It healed!"
            ]
        );
        assert_eq!(
            sentences("黄斑水肿。他说：“好。”视力0.3；眼压正常"),
            ["黄斑水肿。", "他说：“好。”", "视力0.3；", "眼压正常"]
        );
    }

    #[test]
    fn short_sentences_join_their_neighbour() {
        assert_eq!(
            utterances("Yes. The macula is swollen in both eyes."),
            ["Yes. The macula is swollen in both eyes."]
        );
        assert_eq!(
            utterances("- Drusen are yellow deposits under the retina .\nNo."),
            ["Drusen are yellow deposits under the retina.", "No."]
        );
        assert_eq!(language("黄斑OCT"), Some("zh"));
        assert_eq!(language("сетчатка"), None);
        assert_eq!(language("α-tocopherol in the eye"), Some("en"));
    }

    #[test]
    fn a_text_without_clauses_is_cut_at_words() {
        // A megabyte: cutting it must not look at the rest again and again.
        let text = "retina macula oedema ".repeat(50_000);
        let out = utterances(&text);
        assert_eq!(out.len(), 150_000_usize.div_ceil(MAX_WORDS));
        assert!(out.iter().all(|u| u.split_whitespace().count() <= MAX_WORDS));
        let chinese = utterances(&"黄斑水肿".repeat(50_000));
        assert_eq!(chinese.len(), 200_000 / MAX_CJK_CHARS);
    }

    proptest! {
        #[test]
        fn utterances_lose_no_letters_and_keep_to_the_limit(text in "([a-zA-Z]{1,9}[ ,.;]{1,2}|[黄斑水肿，。；]{1,9}|\n){0,300}") {
            let out = utterances(&text);
            let letters = |t: &str| t.chars().filter(|c| c.is_alphanumeric()).collect::<String>();
            prop_assert_eq!(letters(&out.concat()), letters(&text));
            for u in &out {
                prop_assert!(u.split_whitespace().count() <= MAX_WORDS || language(u) == Some("zh"));
                prop_assert!(language(u) != Some("zh") || u.chars().count() <= MAX_CJK_CHARS, "{}", u);
            }
        }
    }
}
