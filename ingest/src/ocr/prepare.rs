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
    let mut gray = GrayImage::new(image.width(), image.height());
    for (out, rgb) in gray.iter_mut().zip(image.as_raw().chunks_exact(3)) {
        let [r, g, b] = [rgb[0], rgb[1], rgb[2]].map(u32::from);
        *out = ((r * 299 + g * 587 + b * 114 + 500) / 1000) as u8;
    }
    gray
}

/// How much print of a line height is enlarged before it is read, 1 for not at all.
pub fn enlargement(line_height: Option<f32>, languages: Languages) -> f32 {
    let small = match languages {
        Languages::Chinese => SMALL_CHINESE,
        Languages::English => SMALL_LATIN,
    };
    match line_height {
        Some(h) if h > 4.0 && h < small => (GOOD_PRINT / h).clamp(1.0, 3.0),
        _ => 1.0,
    }
}

/// Cuts `rect` out of `page`. `line_height` is the print's height in pixels, when known.
pub fn prepare(page: &GrayImage, rect: &Rect, line_height: Option<f32>, languages: Languages) -> Prepared {
    let rect = rect.clipped(page.width(), page.height());
    let cut = crop(page, &rect);
    let (low, high, dark_ground) = levels(&cut);
    let spread = f32::from(high.saturating_sub(low)).max(40.0);
    let table: Vec<u8> = (0..=255u8)
        .map(|v| {
            let v = ((f32::from(v) - f32::from(low)) / spread * 255.0).clamp(0.0, 255.0) as u8;
            if dark_ground { 255 - v } else { v }
        })
        .collect();
    let mut stretched = cut;
    for v in stretched.iter_mut() {
        *v = table[usize::from(*v)];
    }
    let scale = enlargement(line_height, languages);
    let enlarged = if scale > 1.01 {
        let side = |v: u32| ((v as f32 * scale).round() as u32).max(1);
        enlarge(&stretched, side(stretched.width()), side(stretched.height()))
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

/// The pixels of a box that lies inside of the page.
pub fn crop(page: &GrayImage, rect: &Rect) -> GrayImage {
    let (width, height) = (rect.width().max(0) as u32, rect.height().max(0) as u32);
    let stride = page.width() as usize;
    let mut out = GrayImage::new(width, height);
    if width > 0 {
        for (row, y) in out.chunks_exact_mut(width as usize).zip(rect.y0.max(0) as usize..) {
            let start = y * stride + rect.x0.max(0) as usize;
            row.copy_from_slice(&page.as_raw()[start..start + width as usize]);
        }
    }
    out
}

/// The image in another size, by cubic interpolation (Catmull-Rom).
pub fn enlarge(image: &GrayImage, width: u32, height: u32) -> GrayImage {
    use fast_image_resize::images::{Image, ImageRef};
    use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
    let mut out = Image::new(width, height, PixelType::U8);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom));
    let done = ImageRef::new(image.width(), image.height(), image.as_raw(), PixelType::U8)
        .ok()
        .and_then(|source| Resizer::new().resize(&source, &mut out, &options).ok())
        .and_then(|()| GrayImage::from_raw(width, height, out.into_vec()));
    // It declines empty images only; those have nothing to enlarge.
    done.unwrap_or_else(|| GrayImage::from_pixel(width, height, Luma([255])))
}

/// Ink level, paper level, and whether the ground is dark: the ground is the commoner half.
pub fn levels(cut: &GrayImage) -> (u8, u8, bool) {
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
