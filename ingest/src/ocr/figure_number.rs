//! Figure numbers that the Chinese model destroyed, read again with English.
//!
//! `chi_sim` takes figures of book faces for letters and marks: `图;-6-2>A、B` for
//! `图5-6-22A、B`. A caption without its number is no caption, so what stands behind
//! 图 at the start of a line and is no clean number is cut out, up to the first
//! Chinese character, and read with `eng`, which knows such figures.

use std::sync::LazyLock;

use image::GrayImage;
use regex::Regex;

use super::join::is_han;
use super::read::recognize;
use super::{Languages, Mode, OcrEngine, OcrError, OcrLine};
use crate::layout::geometry::Rect;

/// Widest number with its labels, in line heights.
const WIDEST: i32 = 9;

#[allow(clippy::unwrap_used)] // the patterns are constants, compiled by the tests
static HEAD: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^(?:附|彩|插)?图").unwrap());

/// A number as it is printed: what follows is neither more of it nor a letter that is no label.
#[allow(clippy::unwrap_used)]
static CLEAN: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^\s*[0-9]+(?:\s?[-–—.．]\s?[0-9]+)*(?:$|[A-Ha-h]\b|[A-Ha-h][^A-Za-z]|[^0-9A-Za-z>+;*?-])").unwrap()
});

/// A word of its own behind the number.
#[allow(clippy::unwrap_used)]
static WORD: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\s[A-Za-z]{3,}").unwrap());

/// Labels behind a number.
#[allow(clippy::unwrap_used)]
static LABELS: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^[(\[]?[A-Ha-h](?:\s?[、,-]\s?[A-Ha-h])*\s?[)\].:]?$").unwrap());

/// A compound number as English reads it, and its labels. Figures of an old style are now and then taken for letters.
#[allow(clippy::unwrap_used)]
static READ: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^[^0-9A-Za-z]{0,2}([0-9oOlI]+(?:\s?[-–—.]\s?[0-9oOlI]+){1,3})([^0-9].*)?$").unwrap());

/// Where what stands behind 图 and should be a number begins and ends, if it is none.
fn damaged(text: &str) -> Option<(usize, usize)> {
    let head = HEAD.find(text)?.end();
    let rest = &text[head..];
    let run = rest.find(is_han).map_or(rest, |end| &rest[..end]);
    let run = WORD.find(run).map_or(run, |word| &run[..word.start()]);
    let count = run.chars().filter(char::is_ascii_alphanumeric).count();
    let marks = run.chars().filter(|c| !c.is_whitespace()).count() - count;
    let number_like = count >= 2 || (count == 1 && marks >= 1);
    (number_like && !CLEAN.is_match(run)).then_some((head, head + run.len()))
}

/// Where the characters `from..from + count` of a line stand, blanks left out, by the boxes of its words. Within a
/// word a Chinese character takes twice the room of another, and the cut is made at the nearest gap in the print.
fn place(page: &GrayImage, line: &OcrLine, from: usize, count: usize) -> Option<Rect> {
    let (mut at, mut found): (usize, Option<Rect>) = (0, None);
    for word in &line.words {
        let room: Vec<i32> = word
            .text
            .chars()
            .filter(|c| !c.is_whitespace())
            .map(|c| if is_han(c) { 2 } else { 1 })
            .collect();
        let (first, last) = (from.max(at), (from + count).min(at + room.len()));
        if first < last {
            let [x0, y0, x1, y1] = word.bbox;
            let cut = |character: usize| match character - at {
                0 => x0,
                inside if inside == room.len() => x1,
                inside => {
                    let share = |rooms: &[i32]| rooms.iter().sum::<i32>();
                    let x = x0 + (x1 - x0) * share(&room[..inside]) / share(&room);
                    nearest_gap(page, &Rect::new(x0, y0, x1, y1), x).unwrap_or(x)
                }
            };
            let part = Rect::new(cut(first), y0, cut(last), y1);
            found = Some(found.map_or(part, |rect| rect.union(&part)));
        }
        at += room.len();
    }
    found.filter(|rect| !rect.is_empty())
}

/// The middle of the columns without print that lie nearest to `x` in a line's rectangle, at most two thirds of its
/// height away.
fn nearest_gap(page: &GrayImage, line: &Rect, x: i32) -> Option<i32> {
    let bounds = Rect::new(0, 0, page.width() as i32, page.height() as i32);
    let line = line.intersection(&bounds);
    let reach = line.height() * 2 / 3;
    if line.is_empty() {
        return None;
    }
    let column = |x: i32| (line.y0..line.y1).map(move |y| i32::from(page.get_pixel(x as u32, y as u32)[0]));
    // The ground is what most pixels show, whether the print is dark or light.
    let mut values: Vec<i32> = (line.x0..line.x1).flat_map(column).collect();
    values.sort_unstable();
    let (darkest, ground, lightest) = (values[0], values[values.len() / 2], values[values.len() - 1]);
    let contrast = (lightest - ground).max(ground - darkest);
    let blank = |x: i32| column(x).all(|v| (v - ground).abs() * 3 <= contrast);
    let columns: Vec<i32> = ((x - reach).max(line.x0)..(x + reach).min(line.x1))
        .filter(|&x| blank(x))
        .collect();
    columns
        .chunk_by(|a, b| a + 1 == *b)
        .map(|gap| i32::midpoint(gap[0], gap[gap.len() - 1]))
        .min_by_key(|middle| (middle - x).abs())
}

/// The number and labels in an English reading; `before` is the Chinese one, which knows letters at its end better.
fn number_in(read: &str, before: &str) -> Option<String> {
    let found = READ.captures(read.trim())?;
    let mut number: Vec<char> = found[1]
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| match c {
            'o' | 'O' => '0',
            'l' | 'I' => '1',
            '–' | '—' => '-',
            c => c,
        })
        .collect();
    if !found[1].chars().any(|c| c.is_ascii_digit()) {
        return None;
    }
    let rest = found.get(2).map_or("", |rest| rest.as_str()).trim();
    let letter = before.trim().chars().last().filter(char::is_ascii_uppercase);
    let glued = number.len() >= 2 && number[number.len() - 1].is_ascii_digit() && number[number.len() - 2] != '-';
    if let (Some(letter @ ('B' | 'I')), true, true) = (letter, rest.is_empty(), glued) {
        // `36B` is read `368`.
        number.pop();
        number.push(letter);
    }
    let number: String = number.into_iter().collect();
    Some(if LABELS.is_match(rest) {
        format!("{number}{rest}")
    } else {
        number
    })
}

/// A caption that begins with 图 and a destroyed number, parted into 图 and the words behind the number, labels included.
fn without_number(text: &str) -> Option<(&str, String)> {
    let (head, end) = damaged(text)?;
    let run = &text[head..end];
    let labels = run
        .char_indices()
        .map(|(at, _)| run[at..].trim_end())
        .find(|rest| LABELS.is_match(rest) && (rest.starts_with(['(', '[']) || rest.ends_with([')', ']', '.', ':'])))
        .unwrap_or("");
    Some((&text[..head], format!("{labels} {}", text[end..].trim_start())))
}

/// A caption whose destroyed number is known from elsewhere, with it; `None` for a line with a number of its own, or
/// that does not begin with 图. Labels behind the destroyed number stay.
pub fn with_number(text: &str, number: &str) -> Option<String> {
    let (head, words) = without_number(text)?;
    Some(format!("{head}{number} {}", words.trim_start()))
}

/// The words of a caption that begins with 图 and a destroyed number.
pub fn words_behind_number(text: &str) -> Option<String> {
    without_number(text).map(|(_, words)| words.trim_start().to_owned())
}

/// Reads damaged numbers of a Chinese reading again; a line whose number English cannot read either stays as it is.
pub fn reread_numbers(
    engine: &mut dyn OcrEngine,
    page: &GrayImage,
    height: Option<f32>,
    lines: &mut [OcrLine],
) -> Result<(), OcrError> {
    for line in lines {
        let Some((head, end)) = damaged(&line.text) else {
            continue;
        };
        let (before, run, behind) = (&line.text[..head], &line.text[head..end], &line.text[end..]);
        let printed = |text: &str| text.chars().filter(|c| !c.is_whitespace()).count();
        let Some(mut rect) = place(page, line, printed(before), printed(run)) else {
            continue;
        };
        // What the Chinese model passed over behind 图 belongs to the number, a stroke of 图 does not.
        if let Some(head) = place(page, line, 0, printed(before)) {
            let edge = nearest_gap(page, &line.rect(), head.x1).unwrap_or(head.x1);
            rect.x0 = edge;
        }
        rect.x1 = rect.x1.min(rect.x0 + WIDEST * rect.height());
        let margin = rect.grown(3);
        let rect = Rect::new(rect.x0, margin.y0, margin.x1, margin.y1);
        let read = recognize(engine, page, &rect, height, Languages::English, &Mode::Line)?;
        if let Some(number) = read.lines.first().and_then(|l| number_in(&l.text, run)) {
            let text = format!("{before}{number} {}", behind.trim_start())
                .trim_end()
                .to_owned();
            let read = std::mem::replace(&mut line.text, text);
            line.raw.get_or_insert(read);
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::join::line_of;
    use super::super::replay::{ReplayEngine, line};
    use super::super::{OcrText, OcrWord};
    use super::*;
    use image::Luma;
    use proptest::prelude::*;

    #[test]
    fn only_numbers_that_are_none_are_damaged() {
        for text in [
            "图;-6-2>A、B 坏死",
            "附图7-rzz  综合征",
            "图-2z3 : 无",
            "图,+-36A 炎",
            "图b1 永存",
        ] {
            assert!(damaged(text).is_some(), "{text}");
        }
        for text in [
            "图5-6-22A、B 坏死",
            "图 9-47 【A】右眼",
            "图9-38A. 隆起",
            "图3 黄斑",
            "图2.3：黄斑",
            "图5-1①水肿",
            "图示病灶",
            "图像 1-2",
            "图6-45　 非增生性",
            "图8-12“ 卵黄",
            "图5-45 Purtscher视网膜病变",
            "图4-2B、C 出血",
            "图9-2c) 出血",
            "图",
            "见图;3A",
            "黄斑",
        ] {
            assert_eq!(damaged(text), None, "{text}");
        }
    }

    #[test]
    fn a_number_known_from_elsewhere_is_put_in() {
        for (text, want) in [
            ("图;4 (A) 视盘凹陷", Some("图5-45 (A) 视盘凹陷")),
            ("图 -45视网膜炎", Some("图5-45 视网膜炎")),
            ("图s-+s A. 出血", Some("图5-45 A. 出血")),
            ("图5-44 出血", None),
            ("图示病灶", None),
            ("黄斑;4 出血", None),
        ] {
            assert_eq!(with_number(text, "5-45").as_deref(), want, "{text}");
        }
        assert_eq!(words_behind_number("图r->-zo 视锥细胞").as_deref(), Some("视锥细胞"));
        assert_eq!(words_behind_number("图3?-35 (A) 出血").as_deref(), Some("(A) 出血"));
        assert_eq!(words_behind_number("图3-35 出血"), None);
    }

    #[test]
    fn english_readings_give_numbers() {
        for (read, before, number) in [
            ("5-6-22A, B", ";-6-2>A、B ", Some("5-6-22A, B")),
            ("4-36A", ",+-36A ", Some("4-36A")),
            ("1-368", "- +-36B ", Some("1-36B")),
            ("5 - 4o", ";4 ", Some("5-40")),
            ("5-45 (A)", ";4 (A) ", Some("5-45(A)")),
            ("“9-47.", "-47", Some("9-47")),
            ("7-122 FER L", "7-rzz", Some("7-122")),
            ("7", "7-rzz", None),
            ("ey WLS", ";4", None),
        ] {
            assert_eq!(number_in(read, before).as_deref(), number, "{read}");
        }
    }

    #[test]
    fn a_number_within_a_word_is_cut_at_the_gaps_in_the_print() {
        let word = OcrWord {
            text: "图;-6坏死".to_owned(),
            bbox: [10, 10, 130, 40],
            confidence: 0.6,
        };
        // 图, three narrow figures, two wide characters; equal shares of the word would cut through 图.
        let strokes = [(10, 40), (44, 50), (52, 58), (60, 66), (70, 98), (101, 130)];
        for (ground, ink) in [(255, 0), (40, 200)] {
            let mut page = GrayImage::from_pixel(150, 50, Luma([ground]));
            for (x, y) in strokes.iter().flat_map(|&(x0, x1)| x0..x1).zip((12..38).cycle()) {
                page.put_pixel(x, y, Luma([ink]));
            }
            let rect = place(&page, &line_of(vec![word.clone()]), 1, 3).unwrap();
            assert_eq!((rect.x0, rect.x1), (41, 67));
        }
        // Without print there is no gap to be found, only shares.
        let page = GrayImage::from_pixel(150, 50, Luma([255]));
        assert!(place(&page, &line_of(vec![word]), 1, 3).is_some());
    }

    #[test]
    fn a_destroyed_number_is_cut_out_and_read_again() {
        let word = |text: &str, x: i32, width: i32| OcrWord {
            text: text.to_owned(),
            bbox: [x, 10, x + width, 40],
            confidence: 0.6,
        };
        let own = line_of(vec![
            word("图", 10, 30),
            word(";-6-2>A", 42, 100),
            word("坏死", 160, 60),
        ]);
        let mut engine = ReplayEngine::new(|image, languages, _| {
            assert_eq!(languages, Languages::English);
            assert!(image.width() < 160, "{}", image.width());
            Some(OcrText {
                lines: vec![line("5-6-22A", [0, 0, 90, 30], 0.9)],
            })
        });
        let page = GrayImage::from_pixel(300, 60, Luma([255]));
        let mut lines = vec![own.clone(), line("图3-1 黄斑", [10, 50, 200, 80], 0.9)];
        reread_numbers(&mut engine, &page, None, &mut lines).unwrap();
        assert_eq!(lines[0].text, "图5-6-22A 坏死");
        assert_eq!(lines[0].raw.as_deref(), Some(own.text.as_str()));
        assert_eq!(lines[1].text, "图3-1 黄斑");
    }

    proptest! {
        #[test]
        fn any_line_is_taken(text in "(附|彩)?图[;0-9a-zA-Z>,. 、-]{0,12}[坏死图\u{3000}]{0,4}", read in ".{0,20}") {
            let page = GrayImage::from_pixel(300, 60, Luma([255]));
            let mut engine = ReplayEngine::new(move |_, _, _| Some(OcrText { lines: vec![line(&read, [0, 0, 90, 30], 0.9)] }));
            let mut lines = vec![line(&text, [10, 10, 200, 40], 0.9)];
            reread_numbers(&mut engine, &page, None, &mut lines).unwrap();
            prop_assert!(lines[0].text.contains('图'));
        }
    }
}
