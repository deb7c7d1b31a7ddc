//! Caption regions: text that begins like a caption, up to where it ends.

use image::GrayImage;

use super::bilingual::{caption_beside, is_other_language, join_same_figures, restore_lost_head, restored};
use super::geometry::{Rect, hull};
use super::sheet::Sheet;
use super::text::TextRegion;
use crate::caption::start::{find_caption_start, same_figure};
use crate::ocr::figure_number::words_behind_number;
use crate::ocr::join::{is_han, join_lines, language_of};
use crate::ocr::read::{read_beginning, read_line, read_region};
use crate::ocr::{OcrEngine, OcrError, OcrLine, mean_confidence};

/// Rim added to a region before it is read, page pixels.
const RIM: i32 = 6;
/// Regions of at least this many lines are tried by their first line before all of them is read.
const TRY_FIRST: usize = 3;

/// A caption as it stands on the page.
#[derive(Debug, Clone, PartialEq)]
pub struct CaptionRegion {
    /// Box around its lines, sheet pixels.
    pub bbox: Rect,
    /// Lines joined into running text; the languages of a bilingual caption follow each other, each on its own line.
    pub text: String,
    /// Figure number as read, like `2-12`.
    pub figure_no: Option<String>,
    /// `zh`, `en` or `zh+en`.
    pub language: String,
    /// Mean OCR confidence, 0..=1.
    pub confidence: f32,
    /// OCR lines, boxes in pixels of the upright page.
    pub lines: Vec<OcrLine>,
    /// Print in another language stands beside it that is no caption.
    pub other_language_beside: bool,
}

/// What the regions of a page turned out to be.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CaptionSearch {
    /// Captions, top to bottom.
    pub captions: Vec<CaptionRegion>,
    /// Indices of the regions that hold no caption.
    pub other_regions: Vec<usize>,
}

/// Reads the regions and finds the captions among them.
pub fn find_captions(
    engine: &mut dyn OcrEngine,
    page: &GrayImage,
    sheet: &Sheet,
    regions: &[TextRegion],
) -> Result<CaptionSearch, OcrError> {
    let mut search = CaptionSearch::default();
    let mut others: Vec<(usize, Vec<OcrLine>)> = Vec::new();
    for (index, region) in regions.iter().enumerate() {
        let Some(lines) = read_candidate(engine, page, sheet, region)? else {
            search.other_regions.push(index);
            continue;
        };
        let found = cut_captions(sheet, lines.clone());
        if found.is_empty() {
            search.other_regions.push(index);
            others.push((index, lines));
        }
        search.captions.extend(found);
    }
    search.captions = join_same_figures(std::mem::take(&mut search.captions));
    for (index, lines) in others {
        let Some(caption) = caption_beside(&mut search.captions, &regions[index], &lines) else {
            continue;
        };
        match restored(lines, caption.figure_no.as_deref()) {
            Some(lines) => {
                search.captions.extend(cut_captions(sheet, lines));
                search.other_regions.retain(|&i| i != index);
            }
            None => caption.other_language_beside = true,
        }
    }
    search.captions = join_same_figures(std::mem::take(&mut search.captions));
    Ok(search)
}

/// Reads every line of the regions named, wherever a caption might begin in them.
pub fn search_inside(
    engine: &mut dyn OcrEngine,
    page: &GrayImage,
    sheet: &Sheet,
    regions: &[TextRegion],
    search: &mut CaptionSearch,
) -> Result<(), OcrError> {
    let candidates: Vec<usize> = search
        .other_regions
        .iter()
        .copied()
        .filter(|&i| regions[i].lines.len() >= TRY_FIRST)
        .collect();
    for index in candidates {
        let lines = read_all(engine, page, sheet, &regions[index], None)?;
        let found = cut_captions(sheet, lines);
        if !found.is_empty() {
            search.other_regions.retain(|&i| i != index);
            search.captions.extend(found);
        }
    }
    search.captions = join_same_figures(std::mem::take(&mut search.captions));
    Ok(())
}

/// On a page with pictures but no caption, print that begins with a bare figure
/// number is a caption whose 图 was not read, the comma of `图2-46，黄斑` is the wide blank behind the number, and
/// what begins with 图 and no readable number is a caption without one.
pub fn search_numbered(
    engine: &mut dyn OcrEngine,
    page: &GrayImage,
    sheet: &Sheet,
    regions: &[TextRegion],
    search: &mut CaptionSearch,
) -> Result<(), OcrError> {
    for index in std::mem::take(&mut search.other_regions) {
        let mut lines = read_all(engine, page, sheet, &regions[index], None)?;
        if let Some(first) = lines.first_mut()
            && first.text.chars().any(is_han)
        {
            if let Some(text) = without_comma(&first.text) {
                first.text = text;
            } else if begins_with_number(&first.text) {
                let from = first.text.find(|c: char| c.is_ascii_digit()).unwrap_or(0);
                first.text = format!("图{}", &first.text[from..]);
            }
        }
        let unnumbered = lines.first().and_then(|first| words_behind_number(&first.text));
        let found = match (unnumbered, lines.first_mut()) {
            (Some(words), Some(first)) => {
                let read = std::mem::replace(&mut first.text, words);
                first.raw.get_or_insert(read);
                caption_of(sheet, None, lines).into_iter().collect()
            }
            _ => cut_captions(sheet, lines),
        };
        if found.is_empty() {
            search.other_regions.push(index);
        }
        search.captions.extend(found);
    }
    search.captions = join_same_figures(std::mem::take(&mut search.captions));
    Ok(())
}

fn read_candidate(
    engine: &mut dyn OcrEngine,
    page: &GrayImage,
    sheet: &Sheet,
    region: &TextRegion,
) -> Result<Option<Vec<OcrLine>>, OcrError> {
    if region.lines.len() < TRY_FIRST {
        let lines = read_all(engine, page, sheet, region, None)?;
        return with_first_line(engine, page, sheet, region, lines, false).map(Some);
    }
    let first = sheet.to_upright(&region.lines[0]).grown(2);
    let (mut languages, mut line) = read_beginning(engine, page, &first)?;
    // More of the line may show what comes before the number.
    if line
        .as_ref()
        .is_some_and(|l| begins_with_number(&l.text) && find_caption_start(&l.text).is_none())
    {
        (languages, line) = read_line(engine, page, &first)?;
    }
    tracing::debug!(
        "first line {first:?} {languages:?}: {:?}",
        line.as_ref().map(|l| &l.text)
    );
    if line.is_none_or(|l| find_caption_start(&l.text).is_none()) {
        return Ok(None);
    }
    let lines = read_all(engine, page, sheet, region, Some(languages))?;
    with_first_line(engine, page, sheet, region, lines, true).map(Some)
}

/// Tesseract loses a 图 that stands apart at the beginning of a block, but not of
/// a single line: a first line that begins with a bare number, or is known to begin a
/// caption (`begins`), is taken from there.
fn with_first_line(
    engine: &mut dyn OcrEngine,
    page: &GrayImage,
    sheet: &Sheet,
    region: &TextRegion,
    mut lines: Vec<OcrLine>,
    begins: bool,
) -> Result<Vec<OcrLine>, OcrError> {
    let Some(first) = lines.first() else {
        return Ok(lines);
    };
    if find_caption_start(&first.text).is_some() {
        return Ok(lines);
    }
    let alone = if begins || begins_with_number(&first.text) {
        let rect = sheet.to_upright(&region.lines[0]).grown(2);
        read_line(engine, page, &rect)?.1
    } else {
        None
    };
    if let Some(line) = alone.filter(|l| find_caption_start(&l.text).is_some()) {
        lines[0] = line;
    }
    Ok(lines)
}

/// `2-12 ...`, perhaps after a scrap of a character.
pub(super) fn begins_with_number(text: &str) -> bool {
    let mut chars = text.trim_start().chars().skip_while(|c| !c.is_ascii_digit()).peekable();
    let skipped = text.trim_start().chars().take_while(|c| !c.is_ascii_digit()).count();
    let mut digits = 0;
    while chars.next_if(char::is_ascii_digit).is_some() {
        digits += 1;
    }
    let joined = chars.next().is_some_and(|c| matches!(c, '-' | '–' | '—' | '.' | '．'));
    skipped <= 3 && (1..=3).contains(&digits) && joined && chars.next().is_some_and(|c| c.is_ascii_digit())
}

/// `图2-46，黄斑裂孔` with a blank for the comma; `None` for other beginnings.
fn without_comma(text: &str) -> Option<String> {
    let end = text.find(['，', ','])?;
    let with_blank = format!(
        "{} {}",
        &text[..end],
        text[end..].trim_start_matches(['，', ',']).trim_start()
    );
    let start = find_caption_start(&with_blank)?;
    let number = text[..end].chars().filter(|c| !c.is_whitespace()).count();
    // 图 and a separator for each label behind the number.
    let longest = start.figure_no.chars().count() + 2 + 2 * start.letters.len();
    (find_caption_start(text).is_none() && number <= longest).then_some(with_blank)
}

fn read_all(
    engine: &mut dyn OcrEngine,
    page: &GrayImage,
    sheet: &Sheet,
    region: &TextRegion,
    languages: Option<crate::ocr::Languages>,
) -> Result<Vec<OcrLine>, OcrError> {
    let rect = sheet.to_upright(&region.bbox).grown(RIM);
    let lines: Vec<Rect> = region.lines.iter().map(|l| sheet.to_upright(l)).collect();
    let text = read_region(engine, page, &rect, &lines, languages)?;
    tracing::debug!(
        "region {rect:?} of {} lines, {}: {}",
        lines.len(),
        text.language,
        text.text()
    );
    Ok(text.lines)
}

/// Lines from each caption start to the next start of another figure; what stands before the first start is no caption.
pub(super) fn cut_captions(sheet: &Sheet, lines: Vec<OcrLine>) -> Vec<CaptionRegion> {
    let mut out: Vec<(String, Vec<OcrLine>)> = Vec::new();
    let lines = restore_lost_head(lines);
    let begins = beginnings(&lines);
    let mut before: Vec<String> = Vec::new();
    for (line, begins) in lines.into_iter().zip(begins) {
        match find_caption_start(&line.text).filter(|_| begins) {
            Some(start) if !out.last().is_some_and(|(no, _)| same_figure(no, &start.figure_no)) => {
                out.push((start.figure_no, vec![line]));
            }
            _ => match out.last_mut() {
                Some((_, group)) => group.push(line),
                None => before.push(line.text),
            },
        }
    }
    let mut captions: Vec<CaptionRegion> = out
        .into_iter()
        .filter_map(|(number, lines)| caption_of(sheet, Some(number), lines))
        .collect();
    if let Some(first) = captions.first_mut() {
        first.other_language_beside = is_other_language(&first.language, &before.join("\n"));
    }
    captions
}

/// Which lines may begin a caption: not one that goes on with the sentence of the
/// full line before it (`in the same patient as` / `Figure 2-1. A round lesion`).
fn beginnings(lines: &[OcrLine]) -> Vec<bool> {
    let right = lines.iter().map(|l| l.bbox[2]).max().unwrap_or(0);
    let goes_on = |before: &OcrLine, line: &OcrLine| {
        let ended = before
            .text
            .trim_end()
            .ends_with(['.', '。', '．', '!', '?', '！', '？', ';', '；', ':', '：']);
        let full = right - before.bbox[2] <= 3 * (before.bbox[3] - before.bbox[1]);
        let one_script = before.text.chars().any(is_han) == line.text.chars().any(is_han);
        !ended && full && one_script && !before.text.is_empty()
    };
    (0..lines.len())
        .map(|i| i == 0 || !goes_on(&lines[i - 1], &lines[i]))
        .collect()
}

/// A caption from its lines; `None` for no lines.
pub fn caption_of(sheet: &Sheet, figure_no: Option<String>, lines: Vec<OcrLine>) -> Option<CaptionRegion> {
    let boxes: Vec<Rect> = lines.iter().map(|l| sheet.from_upright(&l.rect())).collect();
    let bbox = hull(&boxes)?;
    let text = paragraphs(&lines);
    Some(CaptionRegion {
        bbox,
        language: language_of(&text).to_owned(),
        text,
        figure_no,
        confidence: mean_confidence(lines.iter().map(|l| (l.text.as_str(), l.confidence))),
        lines,
        other_language_beside: false,
    })
}

/// Lines joined, a new line of text wherever a caption start stands (second language, or one number per panel).
fn paragraphs(lines: &[OcrLine]) -> String {
    let mut parts: Vec<Vec<&str>> = Vec::new();
    for (line, begins) in lines.iter().zip(beginnings(lines)) {
        if parts.is_empty() || (begins && find_caption_start(&line.text).is_some()) {
            parts.push(Vec::new());
        }
        if let Some(part) = parts.last_mut() {
            part.push(&line.text);
        }
    }
    parts.into_iter().map(join_lines).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_at_the_beginning_of_a_line_is_no_caption() {
        let line = |text: &str, y: i32, x1: i32| crate::ocr::replay::line(text, [0, y, x1, y + 20], 0.9);
        let lines = [
            line("Fig. 18-14-2 A lesion in the same patient as", 0, 600),
            line("Figure 18-14-1. A tumor-like bulge is seen.", 30, 590),
            line("Figure 18-14-3. Another.", 60, 300),
            line("图18-14-4 病灶", 90, 200),
        ];
        assert_eq!(beginnings(&lines), [true, false, true, true]);
        // A short line ends its paragraph whether it has a stop or not.
        let short = [
            line("图2-1 出血", 0, 200),
            line("图2-2 渗出，范围较大，累及黄斑", 30, 600),
        ];
        assert_eq!(beginnings(&short), [true, true]);
    }

    #[test]
    fn chinese_before_an_english_caption_is_not_lost_in_silence() {
        let sheet = Sheet::new(&image::RgbImage::from_pixel(700, 200, image::Rgb([255; 3])));
        let line = |text: &str, y: i32| crate::ocr::replay::line(text, [0, y, 600, y + 20], 0.9);
        let english = line("Fig. 9-3 Late leakage of the lesion.", 60);
        let cases = [
            ("国视网膜血管炎，晚期病灶渗漏明显。", true),
            ("See the text of the chapter above.", false),
            ("眼科图谱", false),
        ];
        for (above, lost) in cases {
            let found = cut_captions(&sheet, vec![line(above, 10), english.clone()]);
            assert_eq!(found.len(), 1, "{above}");
            assert_eq!(found[0].other_language_beside, lost, "{above}");
        }
    }

    #[test]
    fn a_wide_blank_read_as_a_comma_is_a_blank() {
        assert_eq!(without_comma("图2-46，黄斑裂孔").as_deref(), Some("图2-46 黄斑裂孔"));
        assert_eq!(without_comma("图1-8A、B，裂孔").as_deref(), Some("图1-8A、B 裂孔"));
        for text in ["图2-46 黄斑，裂孔", "如图2-46，可见", "图示，可见", "黄斑，裂孔", "，"] {
            assert_eq!(without_comma(text), None, "{text}");
        }
    }

    #[test]
    fn numbers_without_their_word_are_noticed() {
        for text in ["9-5-45 增生性", "| 2-12 黄斑", "5.3 x"] {
            assert!(begins_with_number(text), "{text}");
        }
        for text in ["黄斑区可见 2-3 处", "12 例", "2-", "图谱第三章 2-1"] {
            assert!(!begins_with_number(text), "{text}");
        }
    }
}
