//! The small copy that is measured.

use image::RgbImage;
use image::imageops::{FilterType, crop_imm, resize};

/// Longest side of the copy, pixels.
const LONGEST: u32 = 192;
/// Shortest side, pixels: the measures need some neighbours.
const SHORTEST: u32 = 24;

/// The copy: at most [`LONGEST`] pixels wide and high.
pub fn shrink(image: &RgbImage) -> RgbImage {
    let longest = image.width().max(image.height());
    // Whole-factor averages first: fast, and free of aliasing.
    let factor = (longest / (2 * LONGEST)).max(1);
    let reduced = crate::layout::sheet::reduce(image, factor);
    let scale = f64::from(LONGEST) / f64::from(reduced.width().max(reduced.height()).max(1));
    let side = |v: u32| ((f64::from(v) * scale).round() as u32).max(SHORTEST);
    resize(
        &reduced,
        side(reduced.width()),
        side(reduced.height()),
        FilterType::Triangle,
    )
}

/// Cuts off the page or the black around the picture: even rows and columns at the sides, light or dark.
pub(super) fn without_rim(image: &RgbImage) -> RgbImage {
    /// Largest share of a side's length that is cut off at each end.
    const DEEPEST: f64 = 0.25;
    /// Least value of a page, largest of black.
    const LIGHT: u8 = 200;
    const DARK: u8 = 12;
    /// Largest difference within a row or column of the rim.
    const EVEN: u8 = 24;
    let even = |pixels: &mut dyn Iterator<Item = (u32, u32)>| {
        let (mut least, mut most) = (255, 0);
        for (x, y) in pixels {
            for v in image.get_pixel(x, y).0 {
                least = least.min(v);
                most = most.max(v);
            }
        }
        most <= DARK || (least >= LIGHT && most - least <= EVEN)
    };
    let (width, height) = image.dimensions();
    let depth = |length: u32, rim: &dyn Fn(u32) -> bool| {
        let limit = ((f64::from(length) * DEEPEST) as u32).min(length.saturating_sub(SHORTEST) / 2);
        (0..limit).take_while(|&i| rim(i)).count() as u32
    };
    let row = |y: u32| even(&mut (0..width).map(|x| (x, y)));
    let column = |x: u32| even(&mut (0..height).map(|y| (x, y)));
    let (left, right) = (depth(width, &column), depth(width, &|i| column(width - 1 - i)));
    let (top, bottom) = (depth(height, &row), depth(height, &|i| row(height - 1 - i)));
    crop_imm(image, left, top, width - left - right, height - top - bottom).to_image()
}

/// Stretches the levels: the darkest to 0, the brightest to 255, all channels alike so that colours stay.
pub(super) fn stretched(image: &RgbImage) -> RgbImage {
    /// Share of the pixels that may lie beyond either end.
    const BEYOND: f64 = 0.005;
    /// Largest gain: noise of an almost black picture stays dark.
    const MOST: f32 = 4.0;
    let level = |high: bool| {
        let mut counts = [0usize; 256];
        for p in image.pixels() {
            let v = if high { p.0.iter().max() } else { p.0.iter().min() };
            counts[usize::from(v.copied().unwrap_or(0))] += 1;
        }
        let mut left = (image.pixels().len() as f64 * BEYOND) as usize;
        let mut order: Vec<usize> = (0..256).collect();
        if high {
            order.reverse();
        }
        for v in order {
            if counts[v] > left {
                return v as f32;
            }
            left -= counts[v];
        }
        0.0
    };
    let (dark, bright) = (level(false), level(true));
    let gain = (255.0 / (bright - dark).max(1.0)).min(MOST);
    let mut copy = image.clone();
    for p in copy.pixels_mut() {
        p.0 =
            p.0.map(|v| ((f32::from(v) - dark) * gain).round().clamp(0.0, 255.0) as u8);
    }
    copy
}
