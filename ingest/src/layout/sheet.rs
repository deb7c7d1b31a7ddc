//! The straightened, reduced copy of a page on which the layout is found.
//!
//! Gutters are told by straight lines of pixels, so the page is turned upright
//! first; boxes are turned back to the page at the end. Reduction by a whole
//! factor averages scanner and JPEG noise away and keeps gutters of 6 px at 2-3 px.

use image::{GrayImage, Luma, Rgb, RgbImage};

use super::geometry::Rect;

/// Pages are reduced by the smallest whole factor that makes them no longer than this.
const LONGEST_SHEET: u32 = 1500;
/// Largest skew looked for, degrees.
const MAX_SKEW: f64 = 2.0;
/// Skew below this is left alone (a drift of 1 px over 1200 px), degrees.
const MIN_SKEW: f64 = 0.045;

/// A reduced, upright page with the way back to page pixels.
pub struct Sheet {
    /// Reduced, straightened pixels.
    pub image: RgbImage,
    /// Colour of the paper.
    pub paper: [u8; 3],
    /// `mask[y * width + x]`: the pixel differs from the paper.
    pub ink: Vec<bool>,
    /// Page pixels per sheet pixel.
    pub factor: u32,
    /// Angle of the page's rows against the horizontal, degrees, positive when they fall to the right.
    pub skew: f64,
    page_width: u32,
    page_height: u32,
}

impl Sheet {
    /// Reduces and straightens `page`.
    pub fn new(page: &RgbImage) -> Self {
        let longest = page.width().max(page.height());
        let factor = longest.div_ceil(LONGEST_SHEET).max(1);
        let reduced = reduce(page, factor);
        let paper = paper_colour(&reduced);
        let ink = ink_mask(&reduced, paper);
        let skew = estimate_skew(&ink, reduced.width() as usize, reduced.height() as usize);
        let (image, ink) = if skew.abs() < MIN_SKEW {
            (reduced, ink)
        } else {
            let upright = rotate(&reduced, skew, paper);
            let ink = ink_mask(&upright, paper);
            (upright, ink)
        };
        let skew = if skew.abs() < MIN_SKEW { 0.0 } else { skew };
        Self {
            image,
            paper,
            ink,
            factor,
            skew,
            page_width: page.width(),
            page_height: page.height(),
        }
    }

    /// Width in sheet pixels.
    pub fn width(&self) -> usize {
        self.image.width() as usize
    }

    /// Height in sheet pixels.
    pub fn height(&self) -> usize {
        self.image.height() as usize
    }

    /// The whole sheet.
    pub fn bounds(&self) -> Rect {
        Rect::new(0, 0, self.width() as i32, self.height() as i32)
    }

    /// True when the pixel differs from the paper.
    pub fn has_ink(&self, x: i32, y: i32) -> bool {
        self.ink[y as usize * self.width() + x as usize]
    }

    /// Smallest page rectangle around a sheet rectangle turned back onto the page.
    pub fn to_page(&self, rect: &Rect) -> Rect {
        let factor = f64::from(self.factor);
        let (sin, cos) = self.skew.to_radians().sin_cos();
        let (cx, cy) = (self.width() as f64 / 2.0, self.height() as f64 / 2.0);
        let corners = [
            (rect.x0, rect.y0),
            (rect.x1, rect.y0),
            (rect.x0, rect.y1),
            (rect.x1, rect.y1),
        ]
        .map(|(x, y)| {
            let (dx, dy) = (f64::from(x) - cx, f64::from(y) - cy);
            ((cx + dx * cos - dy * sin) * factor, (cy + dx * sin + dy * cos) * factor)
        });
        let low = |pick: fn(&(f64, f64)) -> f64| corners.iter().map(pick).fold(f64::INFINITY, f64::min).round() as i32;
        let high =
            |pick: fn(&(f64, f64)) -> f64| corners.iter().map(pick).fold(f64::NEG_INFINITY, f64::max).round() as i32;
        Rect::new(low(|c| c.0), low(|c| c.1), high(|c| c.0), high(|c| c.1)).clipped(self.page_width, self.page_height)
    }

    /// The page's luminance, turned upright at full size: what is read.
    pub fn upright(&self, page: GrayImage) -> GrayImage {
        if self.skew == 0.0 {
            return page;
        }
        let fill = (0.299 * f64::from(self.paper[0])
            + 0.587 * f64::from(self.paper[1])
            + 0.114 * f64::from(self.paper[2])) as u8;
        rotate_gray(&page, self.skew, fill, self.centre())
    }

    /// A sheet rectangle in pixels of the upright page.
    pub fn to_upright(&self, rect: &Rect) -> Rect {
        let factor = self.factor as i32;
        Rect::new(rect.x0 * factor, rect.y0 * factor, rect.x1 * factor, rect.y1 * factor)
    }

    /// The sheet rectangle around a rectangle of the upright page.
    pub fn from_upright(&self, rect: &Rect) -> Rect {
        let factor = self.factor as i32;
        Rect::new(
            rect.x0.div_euclid(factor),
            rect.y0.div_euclid(factor),
            (rect.x1 + factor - 1).div_euclid(factor),
            (rect.y1 + factor - 1).div_euclid(factor),
        )
    }

    /// Page pixels about which the page is turned.
    fn centre(&self) -> (f64, f64) {
        let factor = f64::from(self.factor);
        (self.width() as f64 / 2.0 * factor, self.height() as f64 / 2.0 * factor)
    }
}

/// As [`rotate`], for luminance, about `centre`.
fn rotate_gray(image: &GrayImage, degrees: f64, fill: u8, (cx, cy): (f64, f64)) -> GrayImage {
    let (width, height) = image.dimensions();
    let (sin, cos) = degrees.to_radians().sin_cos();
    let raw = image.as_raw();
    let stride = width as usize;
    let mut out = GrayImage::from_pixel(width, height, Luma([fill]));
    for (y, row) in out.enumerate_rows_mut() {
        let dy = f64::from(y) + 0.5 - cy;
        for (x, _, pixel) in row {
            let dx = f64::from(x) + 0.5 - cx;
            let sx = cx + dx * cos - dy * sin - 0.5;
            let sy = cy + dx * sin + dy * cos - 0.5;
            if sx < 0.0 || sy < 0.0 || sx >= f64::from(width - 1) || sy >= f64::from(height - 1) {
                continue;
            }
            let (x0, y0) = (sx as usize, sy as usize);
            let (fx, fy) = ((sx - x0 as f64) as f32, (sy - y0 as f64) as f32);
            let at = y0 * stride + x0;
            let top = f32::from(raw[at]) * (1.0 - fx) + f32::from(raw[at + 1]) * fx;
            let bottom = f32::from(raw[at + stride]) * (1.0 - fx) + f32::from(raw[at + stride + 1]) * fx;
            pixel.0[0] = (top * (1.0 - fy) + bottom * fy).round() as u8;
        }
    }
    out
}

/// Averages `factor` x `factor` pixels; the rest at the right and bottom rim is averaged over fewer.
pub fn reduce(page: &RgbImage, factor: u32) -> RgbImage {
    if factor <= 1 {
        return page.clone();
    }
    let (width, height) = (page.width().div_ceil(factor), page.height().div_ceil(factor));
    let stride = page.width() as usize * 3;
    let raw = page.as_raw();
    let mut out = RgbImage::new(width, height);
    for (y, row) in out.enumerate_rows_mut() {
        let y0 = y * factor;
        let y1 = (y0 + factor).min(page.height());
        for (x, _, pixel) in row {
            let x0 = x * factor;
            let x1 = (x0 + factor).min(page.width());
            let mut sum = [0u32; 3];
            for sy in y0..y1 {
                let start = sy as usize * stride + x0 as usize * 3;
                for rgb in raw[start..start + (x1 - x0) as usize * 3].chunks_exact(3) {
                    sum[0] += u32::from(rgb[0]);
                    sum[1] += u32::from(rgb[1]);
                    sum[2] += u32::from(rgb[2]);
                }
            }
            let count = (x1 - x0) * (y1 - y0);
            *pixel = Rgb(sum.map(|s| ((s + count / 2) / count) as u8));
        }
    }
    out
}

/// The commonest colour of the page's rim: paper reaches the rim even where pictures fill the page.
fn paper_colour(image: &RgbImage) -> [u8; 3] {
    /// Colours are counted in cubes of 16 levels a side.
    const BIN: u8 = 16;
    let (width, height) = image.dimensions();
    let rim = (width.min(height) / 50).max(2);
    let mut count = vec![0u32; 16 * 16 * 16];
    let mut sum = vec![[0u64; 3]; 16 * 16 * 16];
    for (x, y, pixel) in image.enumerate_pixels() {
        let in_rim = x < rim || y < rim || x + rim >= width || y + rim >= height;
        // The inside counts too, but thinly, in case a dark scanner bar fills the rim.
        if in_rim || (x % 5 == 0 && y % 5 == 0) {
            let [r, g, b] = pixel.0;
            let bin = (usize::from(r / BIN) * 16 + usize::from(g / BIN)) * 16 + usize::from(b / BIN);
            let weight = if in_rim { 3 } else { 1 };
            count[bin] += weight;
            for (total, value) in sum[bin].iter_mut().zip(pixel.0) {
                *total += u64::from(value) * u64::from(weight);
            }
        }
    }
    // Paper is seldom pure black: among the rim's colours a light one wins at half the count.
    let score = |bin: usize| {
        let light = (bin / 256 + bin / 16 % 16 + bin % 16) as f64 / 45.0;
        f64::from(count[bin]) * (0.4 + light)
    };
    let best = (0..count.len())
        .max_by(|&a, &b| score(a).total_cmp(&score(b)))
        .unwrap_or(0);
    let n = u64::from(count[best].max(1));
    sum[best].map(|s| (s / n) as u8)
}

/// Marks pixels that differ from the paper by more than noise and JPEG ringing do.
fn ink_mask(image: &RgbImage, paper: [u8; 3]) -> Vec<bool> {
    /// Largest distance in any channel that still counts as paper.
    const PAPER_DISTANCE: u8 = 24;
    image
        .pixels()
        .map(|p| (0..3).any(|c| p.0[c].abs_diff(paper[c]) > PAPER_DISTANCE))
        .collect()
}

/// Angle (degrees) at which the rows' ink counts change most sharply: text lines
/// and picture edges both line up there.
fn estimate_skew(ink: &[bool], width: usize, height: usize) -> f64 {
    let mut points: Vec<(f32, f32)> = Vec::new();
    // Upper and lower ends of vertical ink runs carry the information; the inside of pictures does not.
    for x in (0..width).step_by(2) {
        let mut before = false;
        for y in 0..height {
            let now = ink[y * width + x];
            if now != before {
                points.push((x as f32, y as f32));
            }
            before = now;
        }
    }
    if points.len() < 200 {
        return 0.0;
    }
    let mid = width as f32 / 2.0;
    let mut histogram = vec![0u32; height + width / 8 + 16];
    let offset = (width / 16 + 8) as f32;
    let mut sharpness = |degrees: f64| -> f64 {
        histogram.fill(0);
        let slope = degrees.to_radians().tan() as f32;
        for &(x, y) in &points {
            let row = y - (x - mid) * slope + offset;
            if row >= 0.0 && (row as usize) < histogram.len() {
                histogram[row as usize] += 1;
            }
        }
        histogram.iter().map(|&n| f64::from(n) * f64::from(n)).sum()
    };
    let mut best = (0.0, sharpness(0.0) * 1.02);
    let coarse = 0.1;
    let steps = (MAX_SKEW / coarse) as i32;
    for step in -steps..=steps {
        let angle = f64::from(step) * coarse;
        let value = sharpness(angle);
        if value > best.1 {
            best = (angle, value);
        }
    }
    let centre = best.0;
    for step in -4..=4 {
        let angle = centre + f64::from(step) * 0.02;
        let value = sharpness(angle);
        if value > best.1 {
            best = (angle, value);
        }
    }
    best.0
}

/// Turns the image so that rows which fall by `degrees` become level (bilinear, same size).
fn rotate(image: &RgbImage, degrees: f64, fill: [u8; 3]) -> RgbImage {
    let (width, height) = image.dimensions();
    let (sin, cos) = degrees.to_radians().sin_cos();
    let (cx, cy) = (f64::from(width) / 2.0, f64::from(height) / 2.0);
    let mut out = RgbImage::from_pixel(width, height, Rgb(fill));
    for (x, y, pixel) in out.enumerate_pixels_mut() {
        let (dx, dy) = (f64::from(x) + 0.5 - cx, f64::from(y) + 0.5 - cy);
        let sx = cx + dx * cos - dy * sin - 0.5;
        let sy = cy + dx * sin + dy * cos - 0.5;
        if sx < 0.0 || sy < 0.0 || sx > f64::from(width - 1) || sy > f64::from(height - 1) {
            continue;
        }
        let (x0, y0) = (sx as u32, sy as u32);
        let (x1, y1) = ((x0 + 1).min(width - 1), (y0 + 1).min(height - 1));
        let (fx, fy) = (sx - f64::from(x0), sy - f64::from(y0));
        let (a, b, c, d) = (
            image.get_pixel(x0, y0),
            image.get_pixel(x1, y0),
            image.get_pixel(x0, y1),
            image.get_pixel(x1, y1),
        );
        for k in 0..3 {
            let top = f64::from(a.0[k]) * (1.0 - fx) + f64::from(b.0[k]) * fx;
            let bottom = f64::from(c.0[k]) * (1.0 - fx) + f64::from(d.0[k]) * fx;
            pixel.0[k] = (top * (1.0 - fy) + bottom * fy).round() as u8;
        }
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn page_with_bars(width: u32, height: u32, slope: f64) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| {
            let row = f64::from(y) - (f64::from(x) - f64::from(width) / 2.0) * slope;
            let inside = x > 60 && x < width - 60 && row > 80.0 && row < f64::from(height) - 80.0;
            if inside && (row / 20.0) as i64 % 2 == 0 {
                Rgb([20, 20, 20])
            } else {
                Rgb([250, 248, 240])
            }
        })
    }

    #[test]
    fn skew_is_measured_and_boxes_come_back() {
        for degrees in [-0.7, 0.0, 0.4, 1.2] {
            let page = page_with_bars(1000, 800, f64::to_radians(degrees).tan());
            let sheet = Sheet::new(&page);
            assert!((sheet.skew - degrees).abs() < 0.06, "{degrees} read as {}", sheet.skew);
            // The same place on the upright page holds the same pixels.
            let rect = Rect::new(300, 200, 500, 400);
            assert_eq!(sheet.from_upright(&sheet.to_upright(&rect)), rect);
            let upright = sheet.upright(crate::ocr::prepare::to_gray(&page));
            let level = |x: u32| (60..700).find(|y| upright.get_pixel(x, *y).0[0] < 128);
            let (left, right) = (level(100).unwrap(), level(900).unwrap());
            assert!(left.abs_diff(right) <= 2, "{degrees}: {left} {right}");
            let page_rect = sheet.to_page(&rect);
            assert!(page_rect.contains(&Rect::new(302, 202, 498, 398)), "{page_rect:?}");
        }
    }

    #[test]
    fn paper_is_the_rim_colour() {
        let sheet = Sheet::new(&page_with_bars(600, 400, 0.0));
        assert_eq!(sheet.paper, [250, 248, 240]);
        assert!(!sheet.has_ink(5, 5));
    }

    #[test]
    fn reduction_averages_and_keeps_the_rim() {
        let page = RgbImage::from_fn(5, 3, |x, _| Rgb([(x * 10) as u8; 3]));
        let small = reduce(&page, 2);
        assert_eq!(small.dimensions(), (3, 2));
        assert_eq!(small.get_pixel(0, 0).0, [5; 3]);
        assert_eq!(small.get_pixel(2, 1).0, [40; 3]);
    }
}
