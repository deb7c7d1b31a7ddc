//! Cuts a region out of the page for the engine: dark on light, padded, and
//! enlarged where the print is small.

use image::{GrayImage, Luma, RgbImage, imageops};

use super::Languages;
use crate::layout::geometry::Rect;

/// Blank rim around the text; Tesseract loses characters that touch the border.
const RIM: u32 = 12;
/// Line height (ascender to descender) up to which English is enlarged, pixels.
const SMALL_LATIN: f32 = 30.0;
/// The same for Chinese, whose reading does not gain from it above this height.
const SMALL_CHINESE: f32 = 19.0;
/// Line height aimed at when enlarging, pixels.
const GOOD_PRINT: f32 = 40.0;

/// A region ready for the engine and the way back.
pub struct Prepared {
    /// Dark text on a light ground.
    pub image: GrayImage,
    scale: f32,
    origin: (i32, i32),
}

impl Prepared {
    /// Box in pixels of the source image.
    pub fn to_source(&self, bbox: [i32; 4]) -> [i32; 4] {
        let [x0, y0, x1, y1] = bbox;
        let back = |v: i32| ((v - RIM as i32) as f32 / self.scale).round() as i32;
        let (ox, oy) = self.origin;
        [back(x0) + ox, back(y0) + oy, back(x1) + ox, back(y1) + oy]
    }
}

/// Luminance of an image (ITU-R BT.601 weights, as Tesseract's own conversion).
pub fn to_gray(image: &RgbImage) -> GrayImage {
    GrayImage::from_fn(image.width(), image.height(), |x, y| {
        let [r, g, b] = image.get_pixel(x, y).0.map(u32::from);
        Luma([((r * 299 + g * 587 + b * 114 + 500) / 1000) as u8])
    })
}

/// Cuts `rect` out of `page`. `line_height` is the print's height in pixels, when known.
pub fn prepare(page: &GrayImage, rect: &Rect, line_height: Option<f32>, languages: Languages) -> Prepared {
    let rect = rect.clipped(page.width(), page.height());
    let cut = imageops::crop_imm(
        page,
        rect.x0.max(0) as u32,
        rect.y0.max(0) as u32,
        rect.width() as u32,
        rect.height() as u32,
    )
    .to_image();
    let (low, high, dark_ground) = levels(&cut);
    let spread = f32::from(high.saturating_sub(low)).max(40.0);
    let stretched = GrayImage::from_fn(cut.width(), cut.height(), |x, y| {
        let v = (f32::from(cut.get_pixel(x, y).0[0]) - f32::from(low)) / spread * 255.0;
        let v = v.clamp(0.0, 255.0) as u8;
        Luma([if dark_ground { 255 - v } else { v }])
    });
    let small = match languages {
        Languages::Chinese => SMALL_CHINESE,
        Languages::English => SMALL_LATIN,
    };
    let scale = match line_height {
        Some(h) if h > 4.0 && h < small => (GOOD_PRINT / h).clamp(1.0, 3.0),
        _ => 1.0,
    };
    let enlarged = if scale > 1.01 {
        imageops::resize(
            &stretched,
            ((cut.width() as f32 * scale).round() as u32).max(1),
            ((cut.height() as f32 * scale).round() as u32).max(1),
            imageops::FilterType::CatmullRom,
        )
    } else {
        stretched
    };
    let mut image = GrayImage::from_pixel(enlarged.width() + 2 * RIM, enlarged.height() + 2 * RIM, Luma([255]));
    imageops::replace(&mut image, &enlarged, i64::from(RIM), i64::from(RIM));
    Prepared {
        image,
        scale,
        origin: (rect.x0, rect.y0),
    }
}

/// Ink level, paper level, and whether the ground is dark: the ground is the commoner half.
fn levels(cut: &GrayImage) -> (u8, u8, bool) {
    let mut histogram = [0u32; 256];
    for p in cut.pixels() {
        histogram[usize::from(p.0[0])] += 1;
    }
    let total: u32 = histogram.iter().sum();
    let at = |share: f64| {
        let mut seen = 0;
        (0..256usize)
            .find(|&v| {
                seen += histogram[v];
                f64::from(seen) >= share * f64::from(total)
            })
            .unwrap_or(0) as u8
    };
    let (low, high, median) = (at(0.005), at(0.9), at(0.5));
    let (brightest, dark_side) = (at(0.995), at(0.1));
    let middle = (u32::from(low) + u32::from(brightest)) / 2;
    if u32::from(median) < middle {
        (dark_side, brightest, true)
    } else {
        (low, high, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn light_text_on_dark_is_turned_and_stretched() {
        let page = GrayImage::from_fn(60, 40, |x, y| {
            Luma([if (20..24).contains(&x) && (10..30).contains(&y) {
                200
            } else {
                60
            }])
        });
        let ready = prepare(&page, &Rect::new(0, 0, 60, 40), Some(50.0), Languages::English);
        assert_eq!(ready.image.dimensions(), (84, 64));
        assert_eq!(ready.image.get_pixel(40, 20).0, [255]);
        assert!(ready.image.get_pixel(33, 30).0[0] < 20);
        assert_eq!(ready.to_source([32, 22, 36, 42]), [20, 10, 24, 30]);
    }

    #[test]
    fn small_print_is_enlarged_and_boxes_come_back() {
        let page = GrayImage::from_pixel(200, 50, Luma([255]));
        let ready = prepare(&page, &Rect::new(10, 5, 110, 35), Some(20.0), Languages::English);
        assert_eq!(ready.image.dimensions(), (224, 84));
        assert_eq!(ready.to_source([12, 12, 212, 72]), [10, 5, 110, 35]);
    }
}
