//! A digit inside of a circle, told by its shape.
//!
//! In print of 18 px the digit is 8 px high: Tesseract reads nine of ten. Here it
//! is compared with the means of digits drawn in many fonts
//! (`models/circled_digits.txt`, learnt by `scripts/circled-digits.py`; on fonts
//! held out 97 % pass [`LEAST_MATCH`], and 998 of 1000 of those are right).

use std::sync::LazyLock;

use image::GrayImage;

use crate::layout::geometry::Rect;

const MODEL: &str = include_str!("../../models/circled_digits.txt");
/// Cells of a digit: its height is stretched over the rows, its middle stands in the middle column.
const ROWS: usize = 16;
const COLUMNS: usize = 12;
/// Samples of a cell in either direction.
const SAMPLES: usize = 3;
/// Share of the circle's radius inside of which the digit stands.
const INSIDE: f64 = 0.74;
/// Correlation with the best mean from which a digit counts.
pub const LEAST_MATCH: f32 = 0.65;

/// Cells of mean 0 and length 1.
type Cells = Vec<f32>;

static MEANS: LazyLock<Vec<(u32, Cells)>> = LazyLock::new(|| parse(MODEL));

/// Means of the model: a line with the digit, then rows of levels from `.` to `9`.
fn parse(model: &str) -> Vec<(u32, Cells)> {
    let rows = model.lines().filter(|l| !l.starts_with('#') && !l.is_empty());
    let mut means: Vec<(u32, Vec<f32>)> = Vec::new();
    for row in rows {
        match (row.len(), row.parse::<u32>(), means.last_mut()) {
            (1, Ok(digit), _) => means.push((digit, Vec::new())),
            (_, _, Some((_, cells))) => cells.extend(row.chars().map(|c| c.to_digit(10).unwrap_or(0) as f32)),
            _ => {}
        }
    }
    means
        .into_iter()
        .filter_map(|(digit, cells)| Some((digit, centred(cells)?)))
        .collect()
}

/// `None` where every cell is alike.
fn centred(mut cells: Vec<f32>) -> Option<Cells> {
    let mean = cells.iter().sum::<f32>() / cells.len().max(1) as f32;
    cells.iter_mut().for_each(|c| *c -= mean);
    let length = cells.iter().map(|c| c * c).sum::<f32>().sqrt();
    (length > 1e-3).then(|| {
        cells.iter_mut().for_each(|c| *c /= length);
        cells
    })
}

/// The digit in a circle (dark on light) and its correlation with the best mean, -1..=1.
pub fn digit_in(image: &GrayImage, circle: &Rect) -> Option<(u32, f32)> {
    let cells = cells_of(image, circle)?;
    MEANS
        .iter()
        .map(|(digit, mean)| (*digit, mean.iter().zip(&cells).map(|(a, b)| a * b).sum::<f32>()))
        .max_by(|a, b| a.1.total_cmp(&b.1))
}

fn cells_of(image: &GrayImage, circle: &Rect) -> Option<Cells> {
    let (width, height) = (circle.width() as usize, circle.height() as usize);
    if width < 4 || height < 4 {
        return None;
    }
    let (rx, ry) = (width as f64 / 2.0, height as f64 / 2.0);
    // A rim of one blank pixel, so that every sample has neighbours.
    let stride = width + 2;
    let mut ink = vec![0f64; stride * (height + 2)];
    for y in 0..height {
        for x in 0..width {
            let (px, py) = (circle.x0 + x as i32, circle.y0 + y as i32);
            let within = ((x as f64 + 0.5 - rx) / rx).hypot((y as f64 + 0.5 - ry) / ry) < INSIDE;
            if within && px >= 0 && py >= 0 && px < image.width() as i32 && py < image.height() as i32 {
                ink[(y + 1) * stride + x + 1] = f64::from(255 - image.get_pixel(px as u32, py as u32).0[0]);
            }
        }
    }
    let half = ink.iter().fold(0.0, |a: f64, b| a.max(*b)) / 2.0;
    let inked = |x: usize, y: usize| half > 0.0 && ink[y * stride + x] >= half;
    let top = (1..=height).find(|&y| (1..=width).any(|x| inked(x, y)))?;
    let bottom = (1..=height).rev().find(|&y| (1..=width).any(|x| inked(x, y)))? + 1;
    let left = (1..=width).find(|&x| (1..=height).any(|y| inked(x, y)))?;
    let right = (1..=width).rev().find(|&x| (1..=height).any(|y| inked(x, y)))? + 1;
    let step = (bottom - top) as f64 / ROWS as f64;
    let middle = (left + right) as f64 / 2.0;
    let at = |x: f64, y: f64| {
        let (x, y) = (x.clamp(0.0, width as f64 + 0.999), y.clamp(0.0, height as f64 + 0.999));
        let (x0, y0) = (x as usize, y as usize);
        let (fx, fy) = (x - x0 as f64, y - y0 as f64);
        let pixel = |dx: usize, dy: usize| ink[(y0 + dy).min(height + 1) * stride + (x0 + dx).min(width + 1)];
        (pixel(0, 0) * (1.0 - fx) + pixel(1, 0) * fx) * (1.0 - fy) + (pixel(0, 1) * (1.0 - fx) + pixel(1, 1) * fx) * fy
    };
    let samples = SAMPLES as f64;
    let mut cells = vec![0f32; ROWS * COLUMNS];
    for row in 0..ROWS * SAMPLES {
        let y = top as f64 + (row as f64 + 0.5) / samples * step - 0.5;
        for column in 0..COLUMNS * SAMPLES {
            let x = middle + ((column as f64 + 0.5) / samples - COLUMNS as f64 / 2.0) * step - 0.5;
            cells[row / SAMPLES * COLUMNS + column / SAMPLES] += at(x, y) as f32;
        }
    }
    centred(cells)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use image::Luma;

    #[test]
    fn the_model_holds_means_of_every_digit() {
        for digit in 1..=9 {
            let own = MEANS
                .iter()
                .filter(|(d, cells)| *d == digit && cells.len() == ROWS * COLUMNS);
            assert!(own.count() >= 2, "{digit}");
        }
        assert!(
            MEANS
                .iter()
                .all(|(d, cells)| (1..=9).contains(d) && cells.len() == ROWS * COLUMNS)
        );
    }

    /// A mean of the model drawn as a digit of `height` pixels in a circle of twice that.
    fn drawn(mean: &Cells, height: u32) -> GrayImage {
        let most = mean.iter().copied().fold(f32::MIN, f32::max);
        let least = mean.iter().copied().fold(f32::MAX, f32::min);
        let width = height * COLUMNS as u32 / ROWS as u32;
        GrayImage::from_fn(2 * height, 2 * height, |x, y| {
            let (dx, dy) = (x as i32 - (height - width / 2) as i32, y as i32 - (height / 2) as i32);
            if dx < 0 || dy < 0 || dx >= width as i32 || dy >= height as i32 {
                return Luma([255]);
            }
            let cell = (dy as usize * ROWS / height as usize) * COLUMNS + dx as usize * COLUMNS / width as usize;
            Luma([255 - ((mean[cell] - least) / (most - least) * 255.0) as u8])
        })
    }

    #[test]
    fn digits_are_told_at_any_size() {
        for height in [16, 24, 40] {
            for (digit, mean) in MEANS.iter() {
                let image = drawn(mean, height);
                let circle = Rect::new(0, 0, image.width() as i32, image.height() as i32);
                let (found, sure) = digit_in(&image, &circle).unwrap();
                assert_eq!(found, *digit, "{height} px");
                assert!(sure > LEAST_MATCH, "{digit} at {height} px: {sure}");
            }
        }
        let blank = GrayImage::from_pixel(20, 20, Luma([255]));
        assert_eq!(digit_in(&blank, &Rect::new(0, 0, 20, 20)), None);
    }
}
