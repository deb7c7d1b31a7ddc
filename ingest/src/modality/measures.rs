//! The few quantities by which the modalities differ, each with a physical reason.

use image::{Rgb, RgbImage};

/// Longest side of the copy that is measured, pixels.
const LONGEST: u32 = 192;
/// Pixels up to this value are the black around the field of view.
const BLACK: f32 = 20.0;

/// Measures of one picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measures {
    /// Log of the mean HSV saturation of lit pixels: colour photographs against gray modalities.
    pub saturation: f64,
    /// Share of bright, pale, flat pixels: paper of charts, drawings and text.
    pub paper: f64,
    /// Log ratio of vertical to horizontal gradient energy: the layers of a B-scan lie level.
    pub layers: f64,
    /// Share of the variance that column means hold: a round field is brightest in its middle columns, a B-scan in all.
    pub columns: f64,
    /// Energy of bright against dark lines, -1..=1: dye makes vessels bright, blood without dye dark.
    pub bright_lines: f64,
    /// Log energy of lines relative to the brightness around: vessel contrast.
    pub line_contrast: f64,
}

/// Names of the measures in `Measures::values`.
pub const NAMES: [&str; 6] = [
    "saturation",
    "paper",
    "layers",
    "columns",
    "bright_lines",
    "line_contrast",
];

impl Measures {
    /// The value called `name`, one of [`NAMES`].
    pub fn get(&self, name: &str) -> Option<f64> {
        let index = NAMES.iter().position(|n| *n == name)?;
        Some(
            [
                self.saturation,
                self.paper,
                self.layers,
                self.columns,
                self.bright_lines,
                self.line_contrast,
            ][index],
        )
    }
}

/// A plane of `width` x `height` values.
#[derive(Clone)]
struct Plane {
    width: usize,
    height: usize,
    values: Vec<f32>,
}

impl Plane {
    fn at(&self, x: usize, y: usize) -> f32 {
        self.values[y * self.width + x]
    }

    /// Mean over (2 r + 1)^2 pixels, the border repeated.
    fn blurred(&self, r: usize) -> Self {
        let pass = |source: &[f32], length: usize, lines: usize, along: usize, across: usize| {
            let mut out = vec![0.0; source.len()];
            for line in 0..lines {
                let at = |i: isize| source[line * across + i.clamp(0, length as isize - 1) as usize * along];
                let mut sum: f64 = (-(r as isize)..=r as isize).map(|i| f64::from(at(i))).sum();
                for i in 0..length {
                    out[line * across + i * along] = (sum / (2 * r + 1) as f64) as f32;
                    sum += f64::from(at(i as isize + r as isize + 1)) - f64::from(at(i as isize - r as isize));
                }
            }
            out
        };
        let rows = pass(&self.values, self.width, self.height, 1, self.width);
        Self {
            width: self.width,
            height: self.height,
            values: pass(&rows, self.height, self.width, self.width, 1),
        }
    }
}

/// Measures a picture.
pub fn measure(image: &RgbImage) -> Measures {
    let small = shrink(image);
    let (width, height) = (small.width() as usize, small.height() as usize);
    let pixels: Vec<[f32; 3]> = small.pixels().map(|p| p.0.map(f32::from)).collect();
    let gray = Plane {
        width,
        height,
        values: pixels
            .iter()
            .map(|[r, g, b]| 0.299 * r + 0.587 * g + 0.114 * b)
            .collect(),
    };
    let high: Vec<f32> = pixels.iter().map(|p| p[0].max(p[1]).max(p[2])).collect();
    let low: Vec<f32> = pixels.iter().map(|p| p[0].min(p[1]).min(p[2])).collect();
    let saturation: Vec<f32> = high.iter().zip(&low).map(|(h, l)| (h - l) / h.max(1.0)).collect();
    let (layers, columns) = layering(&gray);
    let (bright_lines, line_contrast) = lines(&gray, &high, &low);
    Measures {
        saturation: mean_saturation(&saturation, &high),
        paper: paper(&gray, &high, &saturation),
        layers,
        columns,
        bright_lines,
        line_contrast,
    }
}

/// Measures of the picture's luminance alone: what a camera without colour would have shown.
pub fn measure_without_colour(image: &RgbImage) -> Measures {
    let gray = RgbImage::from_fn(image.width(), image.height(), |x, y| {
        let [r, g, b] = image.get_pixel(x, y).0.map(u32::from);
        Rgb([((r * 299 + g * 587 + b * 114 + 500) / 1000) as u8; 3])
    });
    measure(&gray)
}

fn shrink(image: &RgbImage) -> RgbImage {
    let longest = image.width().max(image.height());
    // Whole-factor averages first: fast, and free of aliasing.
    let factor = (longest / (2 * LONGEST)).max(1);
    let reduced = crate::layout::sheet::reduce(image, factor);
    let scale = f64::from(LONGEST) / f64::from(reduced.width().max(reduced.height()).max(1));
    let side = |v: u32| ((f64::from(v) * scale).round() as u32).max(24);
    image::imageops::resize(
        &reduced,
        side(reduced.width()),
        side(reduced.height()),
        image::imageops::FilterType::Triangle,
    )
}

fn mean_saturation(saturation: &[f32], high: &[f32]) -> f64 {
    /// Keeps gray pictures finite: the tint of gray scans is about this large.
    const FLOOR: f64 = 0.02;
    let (sum, count) = saturation
        .iter()
        .zip(high)
        .filter(|(_, h)| **h > BLACK)
        .fold((0.0, 0usize), |(sum, n), (s, _)| (sum + f64::from(*s), n + 1));
    (sum / count.max(1) as f64 + FLOOR).ln()
}

fn paper(gray: &Plane, high: &[f32], saturation: &[f32]) -> f64 {
    /// Largest difference in a 3x3 neighbourhood of flat paper, levels.
    const FLAT: f32 = 4.0;
    /// Least value of paper.
    const LIGHT: f32 = 165.0;
    /// Largest saturation of paper, tinted sheets included.
    const PALE: f32 = 0.3;
    let mut count = 0usize;
    for y in 0..gray.height {
        for x in 0..gray.width {
            let index = y * gray.width + x;
            if high[index] <= LIGHT || saturation[index] >= PALE {
                continue;
            }
            let (mut least, mut most) = (f32::INFINITY, f32::NEG_INFINITY);
            for ny in y.saturating_sub(1)..=(y + 1).min(gray.height - 1) {
                for nx in x.saturating_sub(1)..=(x + 1).min(gray.width - 1) {
                    least = least.min(gray.at(nx, ny));
                    most = most.max(gray.at(nx, ny));
                }
            }
            count += usize::from(most - least <= FLAT);
        }
    }
    count as f64 / gray.values.len().max(1) as f64
}

fn layering(gray: &Plane) -> (f64, f64) {
    // Speckle is averaged away, layers stay.
    let smooth = gray.blurred(2);
    let (mut vertical, mut horizontal) = (0.0f64, 0.0f64);
    for y in 0..smooth.height - 1 {
        for x in 0..smooth.width - 1 {
            vertical += f64::from(smooth.at(x, y + 1) - smooth.at(x, y)).powi(2);
            horizontal += f64::from(smooth.at(x + 1, y) - smooth.at(x, y)).powi(2);
        }
    }
    let variance = |values: &[f64]| {
        let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
        values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len().max(1) as f64
    };
    let all: Vec<f64> = smooth.values.iter().map(|v| f64::from(*v)).collect();
    let means: Vec<f64> = (0..smooth.width)
        .map(|x| (0..smooth.height).map(|y| f64::from(smooth.at(x, y))).sum::<f64>() / smooth.height as f64)
        .collect();
    (
        (vertical + 1.0).ln() - (horizontal + 1.0).ln(),
        variance(&means) / (variance(&all) + 1.0),
    )
}

/// Lines by the eigenvalues of the Hessian, inside of the field of view.
fn lines(gray: &Plane, high: &[f32], low: &[f32]) -> (f64, f64) {
    /// Keeps the relative strength finite in the dark, levels.
    const DARK_FLOOR: f32 = 15.0;
    let (width, height) = (gray.width, gray.height);
    let mask = |test: &dyn Fn(usize) -> bool| Plane {
        width,
        height,
        values: (0..width * height).map(|i| f32::from(u8::from(test(i)))).collect(),
    };
    // The rims of the field, of burnt-in letters and of arrows are no vessels.
    let lit = mask(&|i| high[i] > BLACK).blurred(6);
    let white = mask(&|i| low[i] > 225.0).blurred(3);
    let fine = gray.blurred(1);
    let smooth = fine.blurred(1);
    let inside = |i: usize| lit.values[i] > 0.98 && white.values[i] < 0.02;
    let within = (0..width * height).filter(|&i| inside(i)).count() >= 100;
    let energy = |plane: &Plane| {
        let (mut bright, mut dark, mut count) = (0.0f64, 0.0f64, 0usize);
        for y in 1..height - 1 {
            for x in 1..width - 1 {
                if within && !inside(y * width + x) {
                    continue;
                }
                let c = plane.at(x, y);
                let yy = plane.at(x, y + 1) - 2.0 * c + plane.at(x, y - 1);
                let xx = plane.at(x + 1, y) - 2.0 * c + plane.at(x - 1, y);
                let xy = (plane.at(x + 1, y + 1) - plane.at(x - 1, y + 1) - plane.at(x + 1, y - 1)
                    + plane.at(x - 1, y - 1))
                    / 4.0;
                let spread = (((xx - yy) / 2.0).powi(2) + xy * xy).sqrt();
                let (l1, l2) = ((xx + yy) / 2.0 + spread, (xx + yy) / 2.0 - spread);
                let around = c + DARK_FLOOR;
                bright += f64::from(((-l2 - l1.abs()).max(0.0) / around).powi(2));
                dark += f64::from(((l1 - l2.abs()).max(0.0) / around).powi(2));
                count += 1;
            }
        }
        let n = count.max(1) as f64;
        (bright / n, dark / n)
    };
    let (bright, dark) = energy(&smooth);
    let (fine_bright, fine_dark) = energy(&fine);
    (
        (bright - dark) / (bright + dark + 1e-5),
        (fine_bright + fine_dark + 1e-6).ln(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gray_image(value: impl Fn(f64, f64) -> f64) -> RgbImage {
        RgbImage::from_fn(300, 300, |x, y| {
            let v = value(f64::from(x) / 300.0, f64::from(y) / 300.0).clamp(0.0, 255.0) as u8;
            Rgb([v; 3])
        })
    }

    #[test]
    fn each_measure_answers_its_own_question() {
        let layers = measure(&gray_image(|_, y| 80.0 + 60.0 * (y * 40.0).sin()));
        let field = measure(&gray_image(
            |x, y| if (x - 0.5).hypot(y - 0.5) < 0.45 { 120.0 } else { 0.0 },
        ));
        assert!(layers.layers > 3.0 && field.layers.abs() < 0.3);
        assert!(layers.columns < 0.01 && field.columns > 0.15);

        let line = |sign: f64| {
            measure(&gray_image(move |x, y| {
                100.0 + sign * 40.0 * f64::from(u8::from(((x + y) * 10.0).fract() < 0.1))
            }))
        };
        assert!(line(1.0).bright_lines > 0.15, "{:?}", line(1.0));
        assert!(line(-1.0).bright_lines < -0.15, "{:?}", line(-1.0));

        let white = measure(&RgbImage::from_pixel(200, 200, Rgb([250, 250, 245])));
        assert!(white.paper > 0.99);
        let red = measure(&RgbImage::from_pixel(200, 200, Rgb([200, 80, 30])));
        assert!(red.saturation > -0.3 && red.paper == 0.0);
        assert!(measure_without_colour(&RgbImage::from_pixel(40, 40, Rgb([200, 80, 30]))).saturation < -3.8);
    }
}
