//! A page from pixels to figures: blocks, print, captions, panels, letters.

use image::{GrayImage, RgbImage};

use super::blocks::{find_blocks, min_side};
use super::captions::{CaptionRegion, CaptionSearch, find_captions, search_inside, search_numbered};
use super::figures::assign_blocks;
use super::geometry::Rect;
use super::labelling::{Labelling, label_panels};
use super::letters::{PrintedLetter, read_letters};
use super::partition::{Partition, PartitionOptions, partition};
use super::sheet::Sheet;
use super::text::{Print, find_print};
use crate::caption::split::{SplitOptions, split_caption};
use crate::ocr::prepare::to_gray;
use crate::ocr::{OcrEngine, OcrError, OcrLine};

/// Version of the layout code: part of the key under which results are kept.
pub const LAYOUT_VERSION: u32 = 7;

/// A panel on the page.
#[derive(Debug, Clone, PartialEq)]
pub struct PagePanel {
    /// Page pixels.
    pub bbox: Rect,
    /// Label of the panel, from the caption and the print.
    pub label: Option<String>,
    /// Label as printed in, under or over the panel, when it could be read.
    pub printed: Option<PrintedLetter>,
    /// How sure the borders are, 0..=1.
    pub confidence: f64,
}

/// A caption on the page.
#[derive(Debug, Clone, PartialEq)]
pub struct PageCaption {
    /// Page pixels.
    pub bbox: Rect,
    /// Running text, a line for each language.
    pub text: String,
    /// Figure number as read.
    pub figure_no: Option<String>,
    /// `zh`, `en`, `zh+en`.
    pub language: String,
    /// Mean OCR confidence, 0..=1.
    pub confidence: f32,
    /// Lines as read, pixels of the upright page.
    pub lines: Vec<OcrLine>,
    /// Print in another language stands beside it that is no caption.
    pub other_language_beside: bool,
}

/// A figure: a caption and its panels. Either may be missing.
#[derive(Debug, Clone, PartialEq)]
pub struct PageFigure {
    /// The caption, if one was found.
    pub caption: Option<PageCaption>,
    /// Panels in reading order.
    pub panels: Vec<PagePanel>,
    /// How the labels were found.
    pub labelling: Labelling,
    /// Evidence, 0..=1, of a further border inside the panels that was left uncut.
    pub spare_border: f64,
}

/// What lies on a page.
#[derive(Debug, Clone, PartialEq)]
pub struct PageLayout {
    /// Figures, top to bottom.
    pub figures: Vec<PageFigure>,
    /// Skew of the page, degrees.
    pub skew: f64,
}

/// Finds figures, panels and captions of a page.
pub fn analyse_page(engine: &mut dyn OcrEngine, page: &RgbImage) -> Result<PageLayout, OcrError> {
    let sheet = Sheet::new(page);
    let gray = sheet.upright(to_gray(page));
    let blocks = find_blocks(&sheet);
    let print = find_print(&sheet, &blocks);
    let search = find_page_captions(engine, &gray, &sheet, &blocks, &print)?;
    let boxes: Vec<Rect> = search.captions.iter().map(|c| c.bbox).collect();
    let home = assign_blocks(&blocks, &boxes);
    let mut figures = Vec::new();
    let mut claims: Vec<(Option<&CaptionRegion>, Vec<Rect>)> = search
        .captions
        .iter()
        .enumerate()
        .map(|(index, caption)| {
            let own = blocks
                .iter()
                .zip(&home)
                .filter(|(_, h)| **h == Some(index))
                .map(|(b, _)| *b)
                .collect();
            (Some(caption), own)
        })
        .collect();
    if search.captions.is_empty() && !blocks.is_empty() {
        claims.push((None, blocks.clone()));
    }
    for (caption, own) in claims {
        figures.push(figure(engine, &gray, &sheet, &print, caption, &own)?);
    }
    Ok(PageLayout {
        figures,
        skew: sheet.skew,
    })
}

fn find_page_captions(
    engine: &mut dyn OcrEngine,
    gray: &GrayImage,
    sheet: &Sheet,
    blocks: &[Rect],
    print: &Print,
) -> Result<CaptionSearch, OcrError> {
    let mut search = find_captions(engine, gray, sheet, &print.regions)?;
    if search.captions.is_empty() && !blocks.is_empty() {
        search_inside(engine, gray, sheet, &print.regions, &mut search)?;
    }
    if search.captions.is_empty() && !blocks.is_empty() {
        search_numbered(engine, gray, sheet, &print.regions, &mut search)?;
    }
    Ok(search)
}

fn figure(
    engine: &mut dyn OcrEngine,
    gray: &GrayImage,
    sheet: &Sheet,
    print: &Print,
    caption: Option<&CaptionRegion>,
    blocks: &[Rect],
) -> Result<PageFigure, OcrError> {
    let labels: Vec<String> = caption
        .map(|c| split_caption(&c.text, &SplitOptions { panels: None }))
        .map(|s| s.panels.into_iter().flat_map(|p| p.labels).collect())
        .unwrap_or_default();
    let options = PartitionOptions {
        // A lone label is what is left of several: it says nothing about their number.
        expected: (labels.len() >= 2).then_some(labels.len()),
        ..PartitionOptions::default()
    };
    let Partition { panels: parts, spare } = partition(sheet, blocks, min_side(sheet), &options);
    let boxes: Vec<Rect> = parts.iter().map(|p| sheet.to_page(&p.bbox)).collect();
    let places: Vec<Rect> = parts.iter().map(|p| sheet.to_upright(&p.bbox)).collect();
    let marks: Vec<Rect> = print.marks.iter().map(|m| sheet.to_upright(m)).collect();
    let printed = if parts.len() > 1 {
        read_letters(engine, gray, &places, &marks, &labels)?
    } else {
        vec![None; boxes.len()]
    };
    let (names, labelling) = label_panels(&places, &labels, &printed);
    Ok(PageFigure {
        caption: caption.map(|c| PageCaption {
            bbox: sheet.to_page(&c.bbox),
            text: c.text.clone(),
            figure_no: c.figure_no.clone(),
            language: c.language.clone(),
            confidence: c.confidence,
            lines: c.lines.clone(),
            other_language_beside: c.other_language_beside,
        }),
        panels: parts
            .iter()
            .zip(boxes)
            .zip(names)
            .zip(printed)
            .map(|(((part, bbox), label), printed)| PagePanel {
                bbox,
                label,
                printed,
                confidence: part.confidence,
            })
            .collect(),
        labelling,
        spare_border: spare,
    })
}
