//! The two languages of a bilingual caption: found again where OCR hid that one belongs to the other, and joined.

use super::captions::{CaptionRegion, begins_with_number};
use super::geometry::Rect;
use super::text::TextRegion;
use crate::caption::start::{find_caption_start, same_figure};
use crate::ocr::figure_number::with_number;
use crate::ocr::join::language_of;
use crate::ocr::{OcrLine, mean_confidence};

/// The caption in another language that a region stands beside. In a bilingual book one of the two
/// may be read so badly that it does not begin like a caption: the other must not pass for the whole.
pub(super) fn caption_beside<'a>(
    captions: &'a mut [CaptionRegion],
    region: &TextRegion,
    lines: &[OcrLine],
) -> Option<&'a mut CaptionRegion> {
    let height = region.lines.iter().map(Rect::height).max().unwrap_or(0);
    let text: Vec<&str> = lines.iter().map(|l| l.text.as_str()).collect();
    let text = text.join("\n");
    captions.iter_mut().find(|caption| {
        region.bbox.gap_y(&caption.bbox) <= height
            && 2 * region.bbox.overlap_x(&caption.bbox) > region.bbox.width().min(caption.bbox.width())
            && is_other_language(&caption.language, &text)
    })
}

/// Lines of which the first is 图 and a destroyed number, with `number` for it.
pub(super) fn restored(mut lines: Vec<OcrLine>, number: Option<&str>) -> Option<Vec<OcrLine>> {
    let first = lines.first_mut()?;
    first.text = with_number(&first.text, number?)?;
    find_caption_start(&first.text).is_some().then_some(lines)
}

/// A region that begins with the bare number of the caption that follows in it is
/// the same caption in another language: its 图 was lost and is put back. So is a number destroyed behind 图.
pub(super) fn restore_lost_head(mut lines: Vec<OcrLine>) -> Vec<OcrLine> {
    let start = lines.iter().find_map(|l| find_caption_start(&l.text));
    let (Some(start), Some(first)) = (start, lines.first_mut()) else {
        return lines;
    };
    if find_caption_start(&first.text).is_some() {
        return lines;
    }
    let number = &start.figure_no;
    if begins_with_number(&first.text) {
        let from = first.text.find(|c: char| c.is_ascii_digit()).unwrap_or(0);
        let restored = format!("图{}", &first.text[from..]);
        if find_caption_start(&restored).is_some_and(|s| same_figure(&s.figure_no, number)) {
            first.text = restored;
        }
    } else if start.language == "en"
        && let Some(restored) = with_number(&first.text, number)
    {
        first.text = restored;
    }
    lines
}

/// True for print of some length in a language that the caption is not in.
pub(super) fn is_other_language(caption: &str, text: &str) -> bool {
    /// Shorter print is a running head or a page number.
    const LEAST_CHARS: usize = 12;
    text.chars().filter(|c| !c.is_whitespace()).count() >= LEAST_CHARS
        && caption != "zh+en"
        && caption != language_of(text)
}

/// A Chinese and an English caption of one number belong to one figure. So do two of which one stands under the
/// other when OCR put a digit too many into one of the numbers; with other numbers, neither may pass for the whole.
pub(super) fn join_same_figures(captions: Vec<CaptionRegion>) -> Vec<CaptionRegion> {
    let mut out: Vec<CaptionRegion> = Vec::new();
    for caption in captions {
        let home = out
            .iter_mut()
            .find(|c| matches!((&c.figure_no, &caption.figure_no), (Some(a), Some(b)) if same_figure(a, b)));
        match home {
            Some(first) => first.join(caption),
            None => out.push(caption),
        }
    }
    let mut apart = std::mem::take(&mut out);
    while let Some(mut caption) = apart.pop() {
        if let Some(other) = apart.iter_mut().find(|other| are_two_languages(other, &caption)) {
            if agree_but_for_a_digit(other, &mut caption) {
                other.join(caption);
                continue;
            }
            other.other_language_beside = true;
            caption.other_language_beside = true;
        }
        out.push(caption);
    }
    out.sort_by_key(|c| (c.bbox.y0, c.bbox.x0));
    out
}

/// Puts the English number into the Chinese caption when that has one digit more (a stroke of 图); false otherwise.
fn agree_but_for_a_digit(a: &mut CaptionRegion, b: &mut CaptionRegion) -> bool {
    let (chinese, english) = if a.language == "zh" { (a, b) } else { (b, a) };
    let (Some(long), Some(number)) = (&chinese.figure_no, &english.figure_no) else {
        return false;
    };
    let one_more = long
        .char_indices()
        .any(|(at, c)| c.is_ascii_digit() && same_figure(&[&long[..at], &long[at + c.len_utf8()..]].concat(), number));
    if !one_more || !chinese.text.contains(long.as_str()) {
        return false;
    }
    chinese.text = chinese.text.replacen(long.as_str(), number, 1);
    chinese.figure_no = Some(number.clone());
    true
}

impl CaptionRegion {
    /// Takes up another part of the same caption, mostly its other language.
    fn join(&mut self, other: CaptionRegion) {
        self.bbox = self.bbox.union(&other.bbox);
        self.text = format!("{}\n{}", self.text, other.text);
        self.language = language_of(&self.text).to_owned();
        self.lines.extend(other.lines);
        self.confidence = mean_confidence(self.lines.iter().map(|l| (l.text.as_str(), l.confidence)));
    }
}

/// True for a Chinese and an English caption of which one stands right under the other.
fn are_two_languages(a: &CaptionRegion, b: &CaptionRegion) -> bool {
    let height = a.lines.iter().chain(&b.lines).map(|l| l.rect().height()).max();
    let beside = a.bbox.gap_y(&b.bbox) <= height.unwrap_or(0)
        && 2 * a.bbox.overlap_x(&b.bbox) > a.bbox.width().min(b.bbox.width());
    beside && matches!((a.language.as_str(), b.language.as_str()), ("zh", "en") | ("en", "zh"))
}

#[cfg(test)]
mod tests {
    use super::super::captions::cut_captions;
    use super::super::sheet::Sheet;
    use super::*;

    #[test]
    fn neighbours_in_two_languages_are_one_caption_or_doubtful() {
        let sheet = Sheet::new(&image::RgbImage::from_pixel(700, 200, image::Rgb([255; 3])));
        let line = |text: &str, y: i32| crate::ocr::replay::line(text, [0, y, 600, y + 20], 0.9);
        let chinese =
            |number: &str, y: i32| cut_captions(&sheet, vec![line(&format!("图{number} 视网膜炎，病灶渗漏。"), y)]);
        let english = || cut_captions(&sheet, vec![line("Fig. 9-45 Retinitis with leakage.", 40)]);
        let joined = |number: &str, y: i32| join_same_figures([chinese(number, y), english()].concat());

        // A digit too many is put right by the English number.
        let one = joined("19-45", 15);
        assert_eq!(one.len(), 1);
        assert_eq!(one[0].figure_no.as_deref(), Some("9-45"));
        assert!(
            one[0].text.starts_with("图9-45 视网膜炎") && one[0].text.contains("Fig. 9-45"),
            "{}",
            one[0].text
        );
        // Another number leaves both in doubt, a caption elsewhere neither.
        assert!(joined("9-46", 15).iter().all(|c| c.other_language_beside));
        let far = joined("9-46", 150);
        assert!(far.len() == 2 && far.iter().all(|c| !c.other_language_beside));
    }

    #[test]
    fn a_chinese_caption_with_a_destroyed_number_joins_the_english_one() {
        let sheet = Sheet::new(&image::RgbImage::from_pixel(700, 200, image::Rgb([255; 3])));
        let line = |text: &str, y: i32| crate::ocr::replay::line(text, [0, y, 600, y + 20], 0.9);
        let lines = vec![
            line("图;4 (A) 视盘凹陷，血管由边缘发出。(B) 晚期着染。", 10),
            line("Figure 5-45. A. Excavated disc. B. Late staining.", 60),
        ];
        let found = cut_captions(&sheet, lines);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].language, "zh+en");
        assert!(!found[0].other_language_beside);
        assert!(found[0].text.starts_with("图5-45 (A) 视盘凹陷"), "{}", found[0].text);
    }
}
