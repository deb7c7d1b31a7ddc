//! Reads regions of a page: the language is found from the print itself.

use image::GrayImage;

use super::circled::{find_circled, paint_over, put_back};
use super::figure_number::reread_numbers;
use super::join::{is_han, join_lines, language_of};
use super::prepare::{Prepared, enlargement, prepare};
use super::repair::repair_lines;
use super::script::{self, Script, beginning, script_of};
use super::{Languages, Mode, OcrEngine, OcrError, OcrLine, OcrText};
use crate::layout::geometry::Rect;

/// A region that English reads with at least this confidence is English, 0..=1.
const ENGLISH: f32 = 0.72;
/// The same for a single line, which tells less.
const SURELY_ENGLISH: f32 = 0.82;

/// What stands in a region.
#[derive(Debug, Clone, PartialEq)]
pub struct RegionText {
    /// Lines top to bottom, boxes in page pixels.
    pub lines: Vec<OcrLine>,
    /// `zh`, `en` or `zh+en`.
    pub language: &'static str,
}

impl RegionText {
    fn new(lines: Vec<OcrLine>) -> Self {
        let all: Vec<&str> = lines.iter().map(|l| l.text.as_str()).collect();
        let language = language_of(&all.join("\n"));
        Self { lines, language }
    }

    /// Lines as printed, one a line.
    pub fn text(&self) -> String {
        let all: Vec<&str> = self.lines.iter().map(|l| l.text.as_str()).collect();
        all.join("\n")
    }

    /// Lines joined into running text.
    pub fn running_text(&self) -> String {
        join_lines(self.lines.iter().map(|l| l.text.as_str()))
    }
}

/// Reads a region of running text. `lines` are the boxes of its printed lines in
/// page pixels, as far as the layout knows them. `languages` is what its first
/// line turned out to be, when that was read before ([`read_line`]).
pub fn read_region(
    engine: &mut dyn OcrEngine,
    page: &GrayImage,
    rect: &Rect,
    lines: &[Rect],
    languages: Option<Languages>,
) -> Result<RegionText, OcrError> {
    let mut found = read_lines(engine, page, rect, lines, languages)?;
    add_missed(engine, page, lines, &mut found)?;
    Ok(RegionText::new(found))
}

/// Now and then the engine passes over a line of a block; it is read by itself. A
/// line of some length that cannot be read at all stays as one without text and
/// confidence, so that the loss is seen.
fn add_missed(
    engine: &mut dyn OcrEngine,
    page: &GrayImage,
    lines: &[Rect],
    found: &mut Vec<OcrLine>,
) -> Result<(), OcrError> {
    for line in lines {
        // By the middles: a box may reach over the line below it.
        let is_read = |l: &OcrLine| {
            let own = l.rect();
            10 * (own.center_y() - line.center_y()).abs() <= 6 * line.height().max(own.height())
        };
        if line.width() < line.height() || found.iter().any(is_read) {
            continue;
        }
        let own = read_line(engine, page, &line.grown(2))?.1;
        let legible = |l: &OcrLine| l.text.chars().filter(|c| c.is_alphanumeric()).count() >= 2;
        let own = match own.filter(legible) {
            Some(own) => own,
            None if line.width() >= 3 * line.height() => OcrLine {
                text: String::new(),
                raw: None,
                bbox: line.to_array(),
                confidence: 0.0,
                words: Vec::new(),
            },
            None => continue,
        };
        let place = found.iter().position(|l| l.bbox[1] > line.y0).unwrap_or(found.len());
        found.insert(place, own);
    }
    Ok(())
}

fn read_lines(
    engine: &mut dyn OcrEngine,
    page: &GrayImage,
    rect: &Rect,
    lines: &[Rect],
    languages: Option<Languages>,
) -> Result<Vec<OcrLine>, OcrError> {
    let height = line_height(lines);
    let runs = script::runs(page, lines);
    if (2..=MOST_RUNS).contains(&runs.len())
        && let Some(text) = read_runs(engine, page, rect, lines, &runs)?
    {
        return Ok(text);
    }
    let tried = match (languages, runs.as_slice(), lines.first()) {
        (Some(known), _, _) => Some(known == Languages::English),
        (None, [(script, ..)], _) => Some(*script == Script::Latin),
        (None, _, Some(first)) if lines.len() > 1 => {
            let first = beginning(page, first).grown(3);
            let trial = recognize(engine, page, &first, height, Languages::English, &Mode::Line)?;
            Some(looks_english(&trial, SURELY_ENGLISH))
        }
        _ => None,
    };
    if tried != Some(false) {
        let text = recognize(engine, page, rect, height, Languages::English, &Mode::Block)?;
        let least = if tried.is_some() { ENGLISH } else { SURELY_ENGLISH };
        if is_english(&text, least) {
            return Ok(text.lines);
        }
    }
    let text = recognize(engine, page, rect, height, Languages::Chinese, &Mode::Block)?;
    corrected(engine, page, height, text)
}

/// A Chinese reading, with what other means read better.
fn corrected(
    engine: &mut dyn OcrEngine,
    page: &GrayImage,
    height: Option<f32>,
    text: OcrText,
) -> Result<Vec<OcrLine>, OcrError> {
    let mut lines = reread_english(engine, page, height, text.lines)?;
    reread_numbers(engine, page, height, &mut lines)?;
    repair_lines(&mut lines, Languages::Chinese);
    Ok(lines)
}

/// Stretches of lines of one script that are read one by one; print that changes more often is read whole.
const MOST_RUNS: usize = 4;

/// Reads each stretch of lines in its own language. `None` when a stretch that
/// looks Latin does not read like English.
fn read_runs(
    engine: &mut dyn OcrEngine,
    page: &GrayImage,
    rect: &Rect,
    lines: &[Rect],
    runs: &[(Script, usize, usize)],
) -> Result<Option<Vec<OcrLine>>, OcrError> {
    // English first: where it fails the whole region is read anew.
    let mut parts: Vec<Option<Vec<OcrLine>>> = vec![None; runs.len()];
    for wanted in [Script::Latin, Script::Han] {
        for (part, &(script, first, end)) in parts.iter_mut().zip(runs) {
            if script != wanted {
                continue;
            }
            let own = &lines[first..end];
            let between = |above: usize| (lines[above].y1 + lines[above + 1].y0) / 2;
            let part_rect = Rect::new(
                rect.x0,
                if first == 0 { rect.y0 } else { between(first - 1) },
                rect.x1,
                if end == lines.len() { rect.y1 } else { between(end - 1) },
            );
            let height = line_height(own);
            let languages = match script {
                Script::Latin => Languages::English,
                Script::Han => Languages::Chinese,
            };
            let text = recognize(engine, page, &part_rect, height, languages, &Mode::Block)?;
            *part = Some(match script {
                Script::Latin if !is_english(&text, ENGLISH) => return Ok(None),
                Script::Latin => text.lines,
                Script::Han => corrected(engine, page, height, text)?,
            });
        }
    }
    Ok(Some(parts.into_iter().flatten().flatten().collect()))
}

/// English throughout: a Chinese paragraph may follow an English one.
fn is_english(text: &OcrText, least: f32) -> bool {
    text.lines.iter().all(|l| l.confidence >= 0.5) && looks_english(text, least)
}

/// Reads the beginning of a line, to see how a region begins and in which language.
pub fn read_beginning(
    engine: &mut dyn OcrEngine,
    page: &GrayImage,
    line: &Rect,
) -> Result<(Languages, Option<OcrLine>), OcrError> {
    read_line_part(engine, page, line, &beginning(page, line))
}

/// Reads one line, in the language that it turns out to be in.
pub fn read_line(
    engine: &mut dyn OcrEngine,
    page: &GrayImage,
    line: &Rect,
) -> Result<(Languages, Option<OcrLine>), OcrError> {
    read_line_part(engine, page, line, line)
}

fn read_line_part(
    engine: &mut dyn OcrEngine,
    page: &GrayImage,
    line: &Rect,
    part: &Rect,
) -> Result<(Languages, Option<OcrLine>), OcrError> {
    let height = Some(line.height() as f32);
    let rect = part.grown(3);
    if script_of(page, line) != Some(Script::Han) {
        let english = recognize(engine, page, &rect, height, Languages::English, &Mode::Line)?;
        if looks_english(&english, SURELY_ENGLISH) {
            return Ok((Languages::English, english.lines.into_iter().next()));
        }
    }
    let mut chinese = recognize(engine, page, &rect, height, Languages::Chinese, &Mode::Line)?;
    reread_numbers(engine, page, height, &mut chinese.lines)?;
    repair_lines(&mut chinese.lines, Languages::Chinese);
    Ok((Languages::Chinese, chinese.lines.into_iter().next()))
}

/// Runs of English lines in a Chinese reading are read again with English alone,
/// which is better at Latin print.
fn reread_english(
    engine: &mut dyn OcrEngine,
    page: &GrayImage,
    height: Option<f32>,
    lines: Vec<OcrLine>,
) -> Result<Vec<OcrLine>, OcrError> {
    /// A line with more Chinese characters than this is Chinese.
    const STRAY: usize = 1;
    /// Letters of a line that may hold a few more of them.
    const LONG: usize = 25;
    let latin: Vec<bool> = lines
        .iter()
        .map(|l| {
            let letters = l.text.chars().filter(|c| c.is_alphanumeric()).count();
            let han = l.text.chars().filter(|c| is_han(*c)).count();
            (han <= STRAY && letters >= 3) || (han <= 3 * STRAY && letters >= LONG)
        })
        .collect();
    let mut out: Vec<OcrLine> = Vec::new();
    let mut index = 0;
    while index < lines.len() {
        if !latin[index] {
            out.push(lines[index].clone());
            index += 1;
            continue;
        }
        let start = index;
        while index < lines.len() && latin[index] {
            index += 1;
        }
        let run = &lines[start..index];
        let hull = run
            .iter()
            .map(OcrLine::rect)
            .reduce(|a, b| a.union(&b))
            .map(|r| r.grown(4));
        let Some(hull) = hull else { continue };
        let mode = if run.len() == 1 { Mode::Line } else { Mode::Block };
        let again = recognize(engine, page, &hull, height, Languages::English, &mode)?;
        let better = again.lines.len() == run.len()
            && again.confidence() + 0.02 >= super::mean_confidence(run.iter().map(|l| (l.text.as_str(), l.confidence)));
        if better {
            out.extend(again.lines);
        } else {
            out.extend(run.iter().cloned());
        }
    }
    Ok(out)
}

/// Reads a region in one language; boxes come back in page pixels.
pub(super) fn recognize(
    engine: &mut dyn OcrEngine,
    page: &GrayImage,
    rect: &Rect,
    height: Option<f32>,
    languages: Languages,
    mode: &Mode,
) -> Result<OcrText, OcrError> {
    let mut ready = prepare(page, rect, height, languages);
    // Circled digits stand in running text only; a trial of one line can do without.
    // They are small, so print that holds them is enlarged as Latin print is.
    let circled = if *mode == Mode::Block {
        if enlargement(height, languages) == enlargement(height, Languages::English) {
            find_circled(&ready.image)
        } else {
            let large = prepare(page, rect, height, Languages::English);
            let circled = find_circled(&large.image);
            if !circled.is_empty() {
                ready = large;
            }
            circled
        }
    } else {
        Vec::new()
    };
    paint_over(&mut ready.image, &circled);
    let mut text = engine.recognize(&ready.image, languages, mode)?;
    put_back(&mut text, &circled);
    for line in &mut text.lines {
        back_to_page(&ready, line);
    }
    Ok(text)
}

fn back_to_page(ready: &Prepared, line: &mut OcrLine) {
    line.bbox = ready.to_source(line.bbox);
    for word in &mut line.words {
        word.bbox = ready.to_source(word.bbox);
    }
}

/// English reads Chinese print as low-confidence scraps.
fn looks_english(text: &OcrText, least: f32) -> bool {
    let letters: usize = text
        .lines
        .iter()
        .flat_map(|l| l.text.chars())
        .filter(|c| c.is_ascii_alphabetic())
        .count();
    let low = text
        .lines
        .iter()
        .flat_map(|l| &l.words)
        .filter(|w| w.confidence < 0.5)
        .map(|w| w.text.chars().count())
        .sum::<usize>();
    letters >= 6 && text.confidence() >= least && low * 5 < letters
}

/// Median height of printed lines.
fn line_height(lines: &[Rect]) -> Option<f32> {
    let mut heights: Vec<i32> = lines.iter().map(Rect::height).collect();
    heights.sort_unstable();
    heights.get(heights.len() / 2).map(|&h| h as f32)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::replay::{ReplayEngine, line};
    use super::*;
    use image::Luma;

    fn page() -> GrayImage {
        GrayImage::from_pixel(400, 200, Luma([255]))
    }

    #[test]
    fn english_is_read_once_with_english() {
        let mut engine = ReplayEngine::new(|_, languages, _| {
            assert_eq!(languages, Languages::English);
            let text = "FIGURE 2-1. Drusen of the macula";
            Some(OcrText {
                lines: vec![line(text, [12, 12, 300, 40], 0.95)],
            })
        });
        let rect = Rect::new(10, 10, 390, 40);
        let text = read_region(&mut engine, &page(), &rect, &[rect], None).unwrap();
        assert_eq!(text.language, "en");
        assert_eq!(text.lines[0].bbox[..2], [10, 10]);
    }

    #[test]
    fn a_line_that_was_passed_over_is_read_by_itself() {
        let mut engine = ReplayEngine::new(|_, _, mode| {
            let lines = match mode {
                Mode::Line => vec![line("at the posterior pole", [12, 12, 300, 40], 0.9)],
                _ => vec![
                    line("FIGURE 2-1. Drusen of the macula", [12, 12, 300, 40], 0.95),
                    line("and a round hemorrhage", [12, 92, 300, 120], 0.95),
                ],
            };
            Some(OcrText { lines })
        });
        // 30 px: print that is not enlarged.
        let rows: Vec<Rect> = [10, 50, 90].map(|y| Rect::new(10, y, 390, y + 30)).to_vec();
        let text = read_region(
            &mut engine,
            &page(),
            &Rect::new(10, 10, 390, 120),
            &rows,
            Some(Languages::English),
        )
        .unwrap();
        assert_eq!(
            text.running_text(),
            "FIGURE 2-1. Drusen of the macula at the posterior pole and a round hemorrhage"
        );
    }

    #[test]
    fn a_line_that_nothing_reads_is_seen_to_be_lost() {
        let mut engine = ReplayEngine::new(|_, _, mode| {
            let lines = match mode {
                Mode::Line => Vec::new(),
                _ => vec![line("FIGURE 2-1. Drusen of the macula", [12, 12, 300, 40], 0.95)],
            };
            Some(OcrText { lines })
        });
        let rows: Vec<Rect> = [10, 50].map(|y| Rect::new(10, y, 390, y + 30)).to_vec();
        let text = read_region(
            &mut engine,
            &page(),
            &Rect::new(10, 10, 390, 80),
            &rows,
            Some(Languages::English),
        )
        .unwrap();
        let read: Vec<(&str, f32)> = text.lines.iter().map(|l| (l.text.as_str(), l.confidence)).collect();
        assert_eq!(read, [("FIGURE 2-1. Drusen of the macula", 0.95), ("", 0.0)]);
    }

    #[test]
    fn english_lines_of_a_bilingual_region_are_read_again() {
        let mut engine = ReplayEngine::new(|_, languages, mode| {
            let lines = match (languages, mode) {
                (Languages::English, Mode::Line) => vec![line("Figure 2. Drusen.", [12, 52, 300, 80], 0.97)],
                (Languages::English, _) => vec![line("2-12 AH|", [12, 12, 300, 40], 0.3)],
                (Languages::Chinese, _) => vec![
                    line("图2 玻璃膜疣。", [12, 12, 300, 40], 0.9),
                    line("Figvre 2. Drusen.", [12, 52, 300, 80], 0.8),
                ],
            };
            Some(OcrText { lines })
        });
        let rect = Rect::new(0, 0, 400, 100);
        let text = read_region(&mut engine, &page(), &rect, &[], None).unwrap();
        assert_eq!(text.lines[1].text, "Figure 2. Drusen.");
        assert_eq!(text.running_text(), "图2 玻璃膜疣。Figure 2. Drusen.");
    }
}
