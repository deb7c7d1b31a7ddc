//! What a page holds, as plain data that can be kept: the slow part of the work.

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder, RgbImage, imageops};
use serde::{Deserialize, Serialize};

use crate::layout::analyse::analyse_page;
use crate::layout::geometry::Rect;
use crate::modality::ModalityModel;
use crate::ocr::{OcrEngine, OcrError, OcrLine};
use crate::page::Page;
use crate::quality::{difference_hash, quality_flags};

/// Everything found on a page but pixels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PageContent {
    /// What decoding changed.
    pub notes: Vec<String>,
    /// Figures, top to bottom.
    pub figures: Vec<FigureContent>,
}

/// A figure: caption and panels, either of which may be missing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FigureContent {
    /// The caption.
    pub caption: Option<CaptionContent>,
    /// Panels in reading order.
    pub panels: Vec<PanelContent>,
    /// Evidence, 0..=1, of a further border inside the panels that was left uncut.
    #[serde(default)]
    pub spare_border: f64,
}

/// A caption as read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaptionContent {
    /// Running text; each language on a line of its own.
    pub text: String,
    /// Figure number as read.
    pub figure_no: Option<String>,
    /// Mean OCR confidence, 0..=1.
    pub confidence: f32,
    /// Confidence of the least sure line, 0..=1.
    pub worst_line: f32,
    /// Print in another language stands beside the caption and is not part of it.
    pub other_language_beside: bool,
    /// Page pixels.
    pub bbox: [i32; 4],
}

/// A panel, measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PanelContent {
    /// Page pixels.
    pub bbox: [i32; 4],
    /// Label read at the panel.
    pub printed: Option<String>,
    /// How sure its borders are, 0..=1.
    pub border_confidence: f64,
    /// CFP, FFA, OCT, OTHER; summing to 1.
    pub modality_scores: [f64; 4],
    /// Flags of [`quality_flags`].
    pub quality_flags: Vec<String>,
    /// [`difference_hash`] in hexadecimal.
    pub difference_hash: String,
}

/// A panel's picture: the original pixels, PNG.
pub struct Crop {
    /// PNG file.
    pub png: Vec<u8>,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

/// Finds and measures everything on a page.
pub fn analyse(engine: &mut dyn OcrEngine, page: &Page, model: &ModalityModel) -> Result<PageContent, OcrError> {
    let layout = analyse_page(engine, &page.image)?;
    let figures = layout
        .figures
        .into_iter()
        .map(|figure| FigureContent {
            spare_border: figure.spare_border,
            caption: figure.caption.map(|c| CaptionContent {
                text: c.text,
                figure_no: c.figure_no,
                confidence: c.confidence,
                worst_line: worst_line(&c.lines),
                other_language_beside: c.other_language_beside,
                bbox: c.bbox.to_array(),
            }),
            panels: figure
                .panels
                .into_iter()
                .map(|panel| {
                    let picture = cut(&page.image, panel.bbox.to_array());
                    PanelContent {
                        bbox: panel.bbox.to_array(),
                        printed: panel.printed.map(|p| p.label),
                        border_confidence: panel.confidence,
                        modality_scores: model.classify(&without_rim(&picture)).scores,
                        quality_flags: quality_flags(&picture),
                        difference_hash: format!("{:016x}", difference_hash(&picture)),
                    }
                })
                .collect(),
        })
        .collect();
    Ok(PageContent {
        notes: page.notes.clone(),
        figures,
    })
}

/// A picture without its outermost pixels, where paper or a neighbour may show:
/// a white rim of a few pixels makes an angiogram look like a chart.
fn without_rim(picture: &RgbImage) -> RgbImage {
    /// Share of each side that is left out.
    const RIM: f64 = 0.02;
    let (width, height) = picture.dimensions();
    let off = |side: u32| (f64::from(side) * RIM).round() as u32;
    let (dx, dy) = (off(width), off(height));
    imageops::crop_imm(picture, dx, dy, width - 2 * dx, height - 2 * dy).to_image()
}

/// Confidence of the least sure line that has some length, 1 without one. A line
/// without text is one that could not be read.
fn worst_line(lines: &[OcrLine]) -> f32 {
    /// Shorter lines tell nothing.
    const LEAST_CHARS: usize = 6;
    lines
        .iter()
        .filter(|l| l.text.is_empty() || l.text.chars().filter(|c| !c.is_whitespace()).count() >= LEAST_CHARS)
        .map(|l| l.confidence)
        .fold(1.0, f32::min)
}

fn cut(page: &RgbImage, [x0, y0, x1, y1]: [i32; 4]) -> RgbImage {
    let rect = Rect::new(x0, y0, x1, y1).clipped(page.width(), page.height());
    imageops::crop_imm(
        page,
        rect.x0.max(0) as u32,
        rect.y0.max(0) as u32,
        rect.width() as u32,
        rect.height() as u32,
    )
    .to_image()
}

/// The panels' pictures in the order of the figures and their panels.
pub fn crops(page: &RgbImage, content: &PageContent) -> Result<Vec<Crop>, image::ImageError> {
    content
        .figures
        .iter()
        .flat_map(|f| &f.panels)
        .map(|panel| {
            let picture = cut(page, panel.bbox);
            let mut png = Vec::new();
            PngEncoder::new_with_quality(&mut png, CompressionType::Fast, FilterType::Adaptive).write_image(
                picture.as_raw(),
                picture.width(),
                picture.height(),
                ExtendedColorType::Rgb8,
            )?;
            Ok(Crop {
                png,
                width: picture.width(),
                height: picture.height(),
            })
        })
        .collect()
}
