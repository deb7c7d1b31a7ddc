//! Words into lines, lines into running text, with the blanks where they belong.

use super::{OcrLine, OcrText, OcrWord, mean_confidence};

/// True for Chinese characters, full-width forms and Chinese punctuation.
pub fn is_cjk(c: char) -> bool {
    matches!(c,
        '\u{2e80}'..='\u{303f}' | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}'
        | '\u{ff00}'..='\u{ff60}' | '\u{20000}'..='\u{2fa1f}')
}

/// True for Chinese characters proper.
pub fn is_han(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{2fa1f}')
}

/// Reads Tesseract's table of words: one line an entry of level 5, twelve columns.
pub fn read_tsv(table: &str) -> OcrText {
    let mut lines: Vec<((i32, i32, i32), Vec<OcrWord>)> = Vec::new();
    for row in table.lines() {
        let fields: Vec<&str> = row.splitn(12, '\t').collect();
        if fields.len() < 12 || fields[0] != "5" {
            continue;
        }
        let number = |i: usize| fields[i].trim().parse::<i32>().unwrap_or(0);
        let text = fields[11].trim();
        if text.is_empty() {
            continue;
        }
        let key = (number(2), number(3), number(4));
        let (left, top) = (number(6), number(7));
        let word = OcrWord {
            text: text.to_owned(),
            bbox: [left, top, left + number(8), top + number(9)],
            confidence: fields[10].trim().parse::<f32>().unwrap_or(0.0).clamp(0.0, 100.0) / 100.0,
        };
        match lines.last_mut() {
            Some((last, words)) if *last == key => words.push(word),
            _ => lines.push((key, vec![word])),
        }
    }
    OcrText {
        lines: lines.into_iter().map(|(_, words)| line_of(words)).collect(),
    }
}

/// A line from its words.
pub fn line_of(words: Vec<OcrWord>) -> OcrLine {
    let bbox = words
        .iter()
        .fold([i32::MAX, i32::MAX, i32::MIN, i32::MIN], |[x0, y0, x1, y1], w| {
            [
                x0.min(w.bbox[0]),
                y0.min(w.bbox[1]),
                x1.max(w.bbox[2]),
                y1.max(w.bbox[3]),
            ]
        });
    OcrLine {
        text: join_words(&words),
        raw: None,
        bbox,
        confidence: mean_confidence(words.iter().map(|w| (w.text.as_str(), w.confidence))),
        words,
    }
}

/// Joins the words of a line. Chinese characters stand without blanks; between
/// Chinese and Latin a blank is kept where the print shows a wide one.
pub fn join_words(words: &[OcrWord]) -> String {
    /// Least width of a printed blank, in line heights.
    const BLANK: f32 = 0.4;
    let mut text = String::new();
    let mut last: Option<&OcrWord> = None;
    for word in words {
        if let Some(before) = last {
            let (left, right) = (before.text.chars().last(), word.text.chars().next());
            let cjk = [left, right].map(|c| c.is_some_and(is_cjk));
            let height = (before.bbox[3] - before.bbox[1])
                .max(word.bbox[3] - word.bbox[1])
                .max(1) as f32;
            let gap = (word.bbox[0] - before.bbox[2]) as f32 / height;
            let blank = match cjk {
                [true, true] => false,
                [false, false] => true,
                _ => gap > BLANK,
            };
            if blank {
                text.push(' ');
            }
        }
        text.push_str(&drop_cjk_blanks(&word.text));
        last = Some(word);
    }
    text
}

/// Removes blanks between two Chinese characters.
pub fn drop_cjk_blanks(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    for (i, &c) in chars.iter().enumerate() {
        if c == ' ' {
            let before = out.chars().last();
            let after = chars[i + 1..].iter().copied().find(|c| *c != ' ');
            if before.is_some_and(is_cjk) && after.is_some_and(is_cjk) {
                continue;
            }
        }
        out.push(c);
    }
    out
}

/// Joins lines into running text: Chinese without, English with a blank, and
/// words divided at the line's end made whole.
pub fn join_lines<'a>(lines: impl IntoIterator<Item = &'a str>) -> String {
    let mut text = String::new();
    for line in lines {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        let Some(last) = text.chars().last() else {
            text.push_str(line);
            continue;
        };
        let first = line.chars().next().unwrap_or(' ');
        let mut tail = text.chars().rev();
        let divided = tail.next() == Some('-') && tail.next().is_some_and(char::is_lowercase) && first.is_lowercase();
        if divided {
            text.pop();
        } else if !(is_cjk(last) || is_cjk(first)) && last != '-' {
            text.push(' ');
        }
        text.push_str(line);
    }
    text
}

/// `zh`, `en` or `zh+en` by the share of Chinese characters and English words.
pub fn language_of(text: &str) -> &'static str {
    /// English words of four letters and more that make a text bilingual, in runs of this length.
    const RUN: usize = 6;
    let han = text.chars().filter(|c| is_han(*c)).count();
    if han < 2 {
        return "en";
    }
    let mut run = 0;
    let mut longest = 0;
    for word in text.split_whitespace() {
        if word.chars().any(is_cjk) {
            run = 0;
        } else if word.chars().any(|c| c.is_ascii_alphabetic()) {
            run += 1;
            longest = longest.max(run);
        }
    }
    if longest >= RUN { "zh+en" } else { "zh" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_table_become_lines() {
        let table = "level\tpage_num\tblock_num\tpar_num\tline_num\tword_num\tleft\ttop\twidth\theight\tconf\ttext\n\
            1\t1\t0\t0\t0\t0\t0\t0\t500\t90\t-1\t\n\
            5\t1\t1\t1\t1\t1\t10\t5\t20\t20\t90.0\t图\n\
            5\t1\t1\t1\t1\t2\t31\t5\t40\t20\t80.0\t2-12\n\
            5\t1\t1\t1\t1\t3\t90\t5\t20\t20\t96.5\tA.\n\
            5\t1\t1\t1\t1\t4\t111\t5\t60\t20\t96.5\t视网膜\n\
            5\t1\t1\t1\t2\t1\t10\t35\t60\t20\t50\tdrusen\n\
            5\t1\t1\t1\t2\t2\t78\t35\t60\t20\t50\tseen\n";
        let text = read_tsv(table);
        assert_eq!(text.lines.len(), 2);
        assert_eq!(text.lines[0].text, "图2-12 A.视网膜");
        assert_eq!(text.lines[0].bbox, [10, 5, 171, 25]);
        assert_eq!(text.lines[1].text, "drusen seen");
        assert!((text.lines[1].confidence - 0.5).abs() < 1e-6);
    }

    #[test]
    fn lines_join_as_they_are_read() {
        assert_eq!(join_lines(["fluores-", "cein leak", "age."]), "fluorescein leak age.");
        assert_eq!(join_lines(["视网膜", "脱离"]), "视网膜脱离");
        assert_eq!(join_lines(["Figure 2-", "12 B-", "Scan"]), "Figure 2-12 B-Scan");
        assert_eq!(drop_cjk_blanks("视 网 膜 OCT 像"), "视网膜 OCT 像");
    }

    #[test]
    fn language_by_script() {
        assert_eq!(language_of("Figure 2. Drusen"), "en");
        assert_eq!(language_of("图2 视网膜 drusen"), "zh");
        assert_eq!(
            language_of("图2 视网膜。\nFigure 2 shows a large area of drusen in the macula"),
            "zh+en"
        );
    }
}
