//! Panels to captions: by letter, position and count. What disagrees goes to
//! review with the reason, never to a guess.

use dataset::hash::sha256_hex;
use dataset::ledger::LedgerEntry;
use dataset::record::{BoundingBox, ImageFile, PairRecord, ReviewStatus, content_id};
use serde_json::json;

use super::analysis::{CaptionContent, Crop, FigureContent, PageContent, PanelContent};
use crate::caption::split::{SplitCaption, SplitOptions, SplitPanel, split_caption};
use crate::layout::geometry::Rect;
use crate::layout::labelling::{Labelling, label_panels};
use crate::layout::letters::PrintedLetter;
use crate::modality::Verdict;

/// What all rows of a page share.
pub struct Context<'a> {
    /// Name of the book.
    pub source_id: &'a str,
    /// Licence for every row.
    pub licence: Option<&'a str>,
    /// File name of the screenshot.
    pub page: &'a str,
    /// SHA-256 of the screenshot.
    pub page_sha256: &'a str,
}

/// A page's rows and ledger lines.
pub struct PairedPage {
    /// Final state of the screenshot.
    pub state: &'static str,
    /// Why, unless all is well.
    pub reason: Option<String>,
    /// Rows with the difference hashes of their pictures.
    pub rows: Vec<(PairRecord, u64)>,
    /// Lines for figures, captions and panels.
    pub ledger: Vec<LedgerEntry>,
}

/// Confidences below these send a row to review.
mod doubt {
    /// Split of the caption; the splitter itself asks for review below this.
    pub const SPLIT: f32 = 0.6;
    /// Mean OCR confidence of the caption.
    pub const OCR: f32 = 0.6;
    /// The least sure line of the caption.
    pub const LINE: f32 = 0.5;
    /// Borders of the panels: below this they are drawn only because the caption names so many.
    pub const BORDER: f64 = 0.48;
    /// Evidence of a border that was left uncut because the caption names no more.
    pub const SPARE: f64 = 0.6;
    /// Modality.
    pub const MODALITY: f64 = 0.5;
}

/// Pairs the panels of a page with its captions. `crops` follow the order of figures and panels.
pub fn pair_page(context: &Context<'_>, content: &PageContent, crops: Vec<Crop>) -> PairedPage {
    let mut page = PairedPage {
        state: "kept",
        reason: None,
        rows: Vec::new(),
        ledger: Vec::new(),
    };
    let mut crops = crops.into_iter();
    let mut names: Vec<String> = Vec::new();
    for figure in &content.figures {
        let name = figure_name(figure, &names);
        names.push(name.clone());
        let own: Vec<Crop> = crops.by_ref().take(figure.panels.len()).collect();
        pair_figure(context, figure, &name, own, &mut page);
    }
    if content.figures.iter().all(|f| f.panels.is_empty()) {
        page.state = "rejected";
        page.reason = Some("no picture was found on the page".to_owned());
    } else if page
        .rows
        .iter()
        .any(|(r, _)| r.review_status == ReviewStatus::NeedsReview)
    {
        page.state = "needs-review";
        page.reason = Some("some of its panels need review".to_owned());
    }
    page
}

/// Name of a figure within its page: its number, or its place.
fn figure_name(figure: &FigureContent, taken: &[String]) -> String {
    let wanted = match figure.caption.as_ref().and_then(|c| c.figure_no.clone()) {
        Some(number) => format!("fig{number}"),
        None => format!("figure{}", taken.len() + 1),
    };
    if taken.contains(&wanted) {
        format!("{wanted}-{}", taken.len() + 1)
    } else {
        wanted
    }
}

/// The text that belongs to a panel.
struct PanelText {
    label: Option<String>,
    caption_en: Option<String>,
    caption_zh: Option<String>,
}

fn pair_figure(context: &Context<'_>, figure: &FigureContent, name: &str, crops: Vec<Crop>, page: &mut PairedPage) {
    let entry = |input: String, kind: &str, state: &str, reason: Option<String>, id: Option<String>| LedgerEntry {
        source_id: context.source_id.to_owned(),
        input,
        kind: kind.to_owned(),
        state: state.to_owned(),
        reason,
        id,
        detail: None,
    };
    let place = format!("{}#{name}", context.page);
    if figure.panels.is_empty() {
        let reason = "a caption without a picture beside it".to_owned();
        page.ledger.push(entry(
            place.clone(),
            "figure",
            "needs-review",
            Some(reason.clone()),
            None,
        ));
        page.ledger.push(entry(
            format!("{place}/caption"),
            "caption",
            "needs-review",
            Some(reason),
            None,
        ));
        return;
    }
    let split = figure.caption.as_ref().map(|c| {
        split_caption(
            &c.text,
            &SplitOptions {
                panels: Some(figure.panels.len()),
            },
        )
    });
    let (texts, mut reasons) = match &split {
        Some(split) => panel_texts(figure, split),
        None => {
            let texts = figure
                .panels
                .iter()
                .map(|p| PanelText {
                    label: p.printed.clone(),
                    caption_en: None,
                    caption_zh: None,
                })
                .collect();
            (texts, vec!["no caption was found for the picture".to_owned()])
        }
    };
    reasons.extend(doubtful_picture(figure));
    if let Some(caption) = &figure.caption {
        reasons.extend(doubtful_reading(caption));
    }
    let start = page.rows.len();
    for (index, ((panel, crop), text)) in figure.panels.iter().zip(crops).zip(texts).enumerate() {
        let row = row(
            context,
            figure,
            split.as_ref(),
            name,
            index,
            panel,
            crop,
            text,
            &reasons,
        );
        let state = if row.review_status == ReviewStatus::NeedsReview {
            "needs-review"
        } else {
            "paired"
        };
        let reason = (!row.review_reasons.is_empty()).then(|| row.review_reasons.join("; "));
        let mut line = entry(
            format!("{place}/panel{}", index + 1),
            "panel",
            state,
            reason,
            Some(row.id.clone()),
        );
        line.detail = Some(json!({"bbox": panel.bbox, "label": row.panel}));
        page.ledger.push(line);
        let hash = u64::from_str_radix(&panel.difference_hash, 16).unwrap_or(0);
        page.rows.push((row, hash));
    }
    let doubtful = page.rows[start..]
        .iter()
        .any(|(r, _)| r.review_status == ReviewStatus::NeedsReview);
    let (state, why) = if doubtful {
        let all = if reasons.is_empty() {
            "some of its panels need review".to_owned()
        } else {
            reasons.join("; ")
        };
        ("needs-review", Some(all))
    } else {
        ("paired", None)
    };
    page.ledger
        .push(entry(place.clone(), "figure", state, why.clone(), None));
    if figure.caption.is_some() {
        page.ledger
            .push(entry(format!("{place}/caption"), "caption", state, why, None));
    }
}

/// What is doubtful about the reading of a caption.
fn doubtful_reading(caption: &CaptionContent) -> Vec<String> {
    let mut reasons = Vec::new();
    if caption.confidence < doubt::OCR {
        reasons.push(format!(
            "the caption was read with confidence {:.2} only",
            caption.confidence
        ));
    } else if caption.worst_line < doubt::LINE {
        reasons.push(format!(
            "a line of the caption was read with confidence {:.2} only",
            caption.worst_line
        ));
    }
    if caption.figure_no.is_none() {
        reasons.push("the figure number was not read".to_owned());
    }
    if caption.other_language_beside {
        reasons.push("print in another language beside the caption was not recognised as part of it".to_owned());
    }
    reasons
}

/// What is doubtful about the borders of a figure's panels. One wrong border
/// shifts the letters of all panels, so it concerns the whole figure.
fn doubtful_picture(figure: &FigureContent) -> Vec<String> {
    let weakest = figure.panels.iter().map(|p| p.border_confidence).fold(1.0, f64::min);
    let mut reasons = Vec::new();
    if weakest < doubt::BORDER {
        reasons.push(format!(
            "a border between panels was found with confidence {weakest:.2} only"
        ));
    }
    if figure.spare_border >= doubt::SPARE {
        reasons.push(format!(
            "the panels may hold one more border (evidence {:.2}) than the caption asks for",
            figure.spare_border
        ));
    }
    reasons
}

/// Texts of the panels in their order, and what is doubtful about the figure.
fn panel_texts(figure: &FigureContent, split: &SplitCaption) -> (Vec<PanelText>, Vec<String>) {
    let mut reasons: Vec<String> = split.issues.clone();
    if split.confidence < doubt::SPLIT {
        reasons.push(format!(
            "the caption was split with confidence {:.2} only",
            split.confidence
        ));
    }
    let labels: Vec<String> = split.panels.iter().flat_map(|p| p.labels.iter().cloned()).collect();
    let boxes: Vec<Rect> = figure
        .panels
        .iter()
        .map(|p| Rect::new(p.bbox[0], p.bbox[1], p.bbox[2], p.bbox[3]))
        .collect();
    let printed: Vec<Option<PrintedLetter>> = figure
        .panels
        .iter()
        .map(|p| p.printed.clone().map(|label| PrintedLetter { label, confidence: 1.0 }))
        .collect();
    let (names, labelling) = label_panels(&boxes, &labels, &printed);
    match labelling {
        Labelling::CountDiffers => reasons.push(format!(
            "the caption names {} panels, the picture shows {}",
            labels.len(),
            boxes.len()
        )),
        Labelling::Contradiction => {
            reasons.push("the letters printed at the panels do not fit the caption's order".to_owned());
        }
        Labelling::RowsOrColumns => reasons.push(
            "no letter read at the panels tells whether they are named row by row or column by column".to_owned(),
        ),
        Labelling::None if boxes.len() > 1 => {
            reasons.push(format!("one caption without labels for {} panels", boxes.len()));
        }
        _ => {}
    }
    // One text is for all panels, also where only one of its labels was read.
    let whole = split
        .panels
        .first()
        .filter(|_| labels.is_empty() || (split.panels.len() == 1 && labels.len() != boxes.len()));
    let texts = names
        .into_iter()
        .map(|label| {
            let own = whole.or_else(|| {
                let label = label.as_ref()?;
                split.panels.iter().find(|p| p.labels.contains(label))
            });
            text_of(label, own)
        })
        .collect();
    (texts, reasons)
}

fn text_of(label: Option<String>, panel: Option<&SplitPanel>) -> PanelText {
    let filled = |text: &Option<String>| text.clone().filter(|t| !t.trim().is_empty());
    PanelText {
        label,
        caption_en: panel.and_then(|p| filled(&p.caption_en)),
        caption_zh: panel.and_then(|p| filled(&p.caption_zh)),
    }
}

#[allow(clippy::too_many_arguments)]
fn row(
    context: &Context<'_>,
    figure: &FigureContent,
    split: Option<&SplitCaption>,
    name: &str,
    index: usize,
    panel: &PanelContent,
    crop: Crop,
    text: PanelText,
    figure_reasons: &[String],
) -> PairRecord {
    let [x0, y0, x1, y1] = panel.bbox;
    let verdict = Verdict::from_scores(panel.modality_scores);
    let mut reasons = figure_reasons.to_vec();
    if verdict.confidence() < doubt::MODALITY {
        reasons.push(format!("the modality is unsure ({:.2})", verdict.confidence()));
    }
    if split.is_some() && text.caption_en.is_none() && text.caption_zh.is_none() {
        reasons.push("no part of the caption belongs to this panel".to_owned());
    }
    let caption: Option<&CaptionContent> = figure.caption.as_ref();
    let pair_confidence = split.map(|s| {
        let sure = if figure_reasons.is_empty() { 1.0 } else { 0.5 };
        (s.confidence * panel.border_confidence as f32 * sure).clamp(0.0, 1.0)
    });
    let stem = context
        .page
        .rsplit_once('.')
        .map_or(context.page, |(stem, _)| stem)
        .replace('/', "-");
    let label = text.label.as_deref().filter(|l| l.chars().all(char::is_alphanumeric));
    let suffix = label.map_or(String::new(), |l| format!("-{l}"));
    let has_zh = text.caption_zh.is_some() || split.is_some_and(|s| s.language.starts_with("zh"));
    PairRecord {
        id: content_id(
            "pair",
            &[
                context.source_id.as_bytes(),
                context.page_sha256.as_bytes(),
                format!("{x0},{y0},{x1},{y1}").as_bytes(),
            ],
        ),
        image_sha256: sha256_hex(&crop.png),
        image: ImageFile {
            bytes: crop.png,
            path: format!("{}/{stem}-{name}-p{}{suffix}.png", context.source_id, index + 1),
        },
        width: crop.width as i32,
        height: crop.height as i32,
        modality: verdict.modality,
        caption_en_origin: text.caption_en.as_ref().map(|_| "ocr".to_owned()),
        caption_zh_origin: text.caption_zh.as_ref().map(|_| "ocr".to_owned()),
        caption_en: text.caption_en,
        caption_zh: text.caption_zh,
        caption_figure: caption.map(|c| c.text.clone()),
        lang_original: split.map(|_| if has_zh { "zh" } else { "en" }.to_owned()),
        figure_no: split
            .and_then(|s| s.figure_no.clone())
            .or_else(|| caption.and_then(|c| c.figure_no.clone())),
        panel: text.label,
        panel_bbox: Some(BoundingBox { x0, y0, x1, y1 }),
        source_id: context.source_id.to_owned(),
        source_page: Some(context.page.to_owned()),
        source_page_sha256: Some(context.page_sha256.to_owned()),
        ocr_confidence: caption.map(|c| c.confidence),
        pair_confidence,
        modality_confidence: Some(verdict.confidence() as f32),
        review_status: if reasons.is_empty() {
            ReviewStatus::Auto
        } else {
            ReviewStatus::NeedsReview
        },
        review_reasons: reasons,
        quality_flags: panel.quality_flags.clone(),
        split: "train".to_owned(),
        split_group: format!("{}/{}", context.source_id, context.page),
        licence: context.licence.map(str::to_owned),
    }
}
