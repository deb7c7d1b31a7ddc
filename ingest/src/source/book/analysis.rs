//! What a page holds, as plain data that can be kept: the slow part of the work.

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder, RgbImage, imageops};
use serde::{Deserialize, Serialize};

use crate::layout::analyse::analyse_page;
use crate::layout::geometry::Rect;
use crate::modality::ModalityModel;
use crate::ocr::{OcrEngine, OcrError};
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
            caption: figure.caption.map(|c| CaptionContent {
                text: c.text,
                figure_no: c.figure_no,
                confidence: c.confidence,
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
                        modality_scores: model.classify(&picture).scores,
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
