//! The few quantities by which the modalities differ, each with a physical reason.

use dataset::modality::Modality;
use image::{Rgb, RgbImage};

/// Longest side of the copy that is measured, pixels.
const LONGEST: u32 = 192;
/// Pixels up to this value are the black around the field of view.
const BLACK: f32 = 20.0;

/// Measures of one picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measures {
    /// Log of the saturation of lit pixels, weighted by their brightness: colour photographs against gray modalities.
    pub saturation: f64,
    /// Log of what remains of the colours when each channel is explained by the brightness alone, relative to the
    /// brightness: a gray picture on yellowed paper or of a tinted screen has one tint, a colour photograph has many.
    pub tints: f64,
    /// Share of bright, pale, flat pixels: paper of charts, drawings and text.
    pub paper: f64,
    /// Log share of the variance that lies in details finer than a few pixels of the copy: strokes of print, against
    /// the soft tissue of photographs and scans.
    pub fine: f64,
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
pub const NAMES: [&str; 8] = [
    "saturation",
    "tints",
    "paper",
    "fine",
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
                self.tints,
                self.paper,
                self.fine,
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
    let small = without_rim(&shrink(image));
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
    let colour = colour(&pixels, width, height);
    let (layers, columns) = layering(&gray);
    let (bright_lines, line_contrast) = lines(&gray, &high, &low);
    Measures {
        saturation: colour.0,
        tints: colour.1,
        paper: paper(&gray, &high, &saturation),
        fine: fine(&gray),
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

/// Looks that the same picture can have in a book or on a screen: on yellowed paper, under bluish light, faded in print;
/// the middle of a picture alone; an OCT scan as a negative and in false colours. Small copies, good for [`measure`] alone.
pub fn other_looks(image: &RgbImage, modality: Modality) -> Vec<RgbImage> {
    /// Red, green and blue of false colours from dark to bright, as OCT devices show them.
    const FALSE_COLOURS: [[f32; 3]; 5] = [
        [0.0, 0.0, 60.0],
        [0.0, 90.0, 220.0],
        [40.0, 200.0, 90.0],
        [250.0, 220.0, 40.0],
        [250.0, 250.0, 250.0],
    ];
    let small = shrink(image);
    let with = |change: &dyn Fn([f32; 3]) -> [f32; 3]| {
        let mut copy = small.clone();
        for p in copy.pixels_mut() {
            p.0 = change(p.0.map(f32::from)).map(|v| v.round().clamp(0.0, 255.0) as u8);
        }
        copy
    };
    let light = |[r, g, b]: [f32; 3]| 0.299 * r + 0.587 * g + 0.114 * b;
    let mut looks = vec![
        with(&|[r, g, b]| [r, 0.94 * g, 0.78 * b]),
        with(&|[r, g, b]| [0.84 * r, 0.93 * g, b]),
        with(&|p| p.map(|v| 45.0 + 0.72 * v)),
    ];
    if modality != Modality::Other {
        let (w, h) = (image.width(), image.height());
        let middle = image::imageops::crop_imm(image, w / 4, h / 4, (w / 2).max(1), (h / 2).max(1)).to_image();
        looks.push(shrink(&middle));
    }
    if modality == Modality::Oct {
        looks.push(with(&|p| p.map(|v| 255.0 - v)));
        looks.push(with(&|p| {
            let place = light(p) / 255.0 * (FALSE_COLOURS.len() - 1) as f32;
            let below = (place as usize).min(FALSE_COLOURS.len() - 2);
            let share = place - below as f32;
            [0, 1, 2].map(|c| FALSE_COLOURS[below][c] * (1.0 - share) + FALSE_COLOURS[below + 1][c] * share)
        }));
    }
    looks
}

/// Cuts off what a generous crop left of the page around the picture: even, light rows and columns at the sides.
fn without_rim(image: &RgbImage) -> RgbImage {
    /// Largest share of a side's length that counts as rim.
    const DEEPEST: f64 = 0.1;
    /// Least value of the page.
    const LIGHT: u8 = 200;
    /// Largest difference within a row or column of it.
    const EVEN: u8 = 24;
    let even = |pixels: &mut dyn Iterator<Item = (u32, u32)>| {
        let (mut least, mut most) = (255, 0);
        for (x, y) in pixels {
            for v in image.get_pixel(x, y).0 {
                least = least.min(v);
                most = most.max(v);
            }
        }
        least >= LIGHT && most - least <= EVEN
    };
    let (width, height) = image.dimensions();
    let depth = |length: u32, rim: &dyn Fn(u32) -> bool| {
        let limit = (f64::from(length) * DEEPEST) as u32;
        (0..limit).take_while(|&i| rim(i)).count() as u32
    };
    let row = |y: u32| even(&mut (0..width).map(|x| (x, y)));
    let column = |x: u32| even(&mut (0..height).map(|y| (x, y)));
    let (left, right) = (depth(width, &column), depth(width, &|i| column(width - 1 - i)));
    let (top, bottom) = (depth(height, &row), depth(height, &|i| row(height - 1 - i)));
    image::imageops::crop_imm(image, left, top, width - left - right, height - top - bottom).to_image()
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

/// Logs of saturation and of the variety of tints. The channels are blurred first: the coloured noise of a scan is no colour.
fn colour(pixels: &[[f32; 3]], width: usize, height: usize) -> (f64, f64) {
    /// Keeps gray pictures finite: the tint of gray scans is about this large.
    const SATURATION_FLOOR: f64 = 0.02;
    /// The same for what compression leaves of one tint.
    const TINTS_FLOOR: f64 = 0.01;
    let channels = [0, 1, 2].map(|c| {
        let values = pixels.iter().map(|p| p[c]).collect();
        Plane { width, height, values }.blurred(4)
    });
    let lit: Vec<[f64; 3]> = (0..pixels.len())
        .map(|i| [0, 1, 2].map(|c| f64::from(channels[c].values[i])))
        .filter(|p| p[0].max(p[1]).max(p[2]) > f64::from(BLACK))
        .collect();
    let count = lit.len().max(1) as f64;
    let light = |p: &[f64; 3]| 0.299 * p[0] + 0.587 * p[1] + 0.114 * p[2];
    let (mut span, mut high) = (0.0, 0.0);
    for p in &lit {
        let most = p[0].max(p[1]).max(p[2]);
        span += most - p[0].min(p[1]).min(p[2]);
        high += most;
    }
    let mean_light = lit.iter().map(light).sum::<f64>() / count;
    let light_variance = lit.iter().map(|p| (light(p) - mean_light).powi(2)).sum::<f64>();
    let unexplained: f64 = (0..3)
        .map(|c| {
            let mean = lit.iter().map(|p| p[c]).sum::<f64>() / count;
            let together: f64 = lit.iter().map(|p| (p[c] - mean) * (light(p) - mean_light)).sum();
            let slope = together / light_variance.max(1e-9);
            lit.iter()
                .map(|p| (p[c] - mean - slope * (light(p) - mean_light)).powi(2))
                .sum::<f64>()
        })
        .sum();
    (
        (span / high.max(1.0) + SATURATION_FLOOR).ln(),
        ((unexplained / count).sqrt() / mean_light.max(1.0) + TINTS_FLOOR).ln(),
    )
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

fn fine(gray: &Plane) -> f64 {
    let count = gray.values.len().max(1) as f64;
    let mean = gray.values.iter().map(|v| f64::from(*v)).sum::<f64>() / count;
    let all = gray.values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / count;
    let smooth = gray.blurred(2);
    let pairs = gray.values.iter().zip(&smooth.values);
    let detail = pairs.map(|(v, s)| f64::from(v - s).powi(2)).sum::<f64>() / count;
    ((detail + 0.1) / (all + 1.0)).ln()
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
        let aged = measure(&RgbImage::from_fn(200, 200, |x, y| {
            let v = (x + y) as f32 / 2.0;
            Rgb([v as u8, (0.94 * v) as u8, (0.78 * v) as u8])
        }));
        assert!(aged.saturation > -1.6 && aged.tints < -4.0, "{aged:?}");
        let many = measure(&RgbImage::from_fn(200, 200, |x, y| Rgb([200, x as u8, y as u8 / 2])));
        assert!(many.tints > -2.0, "{many:?}");
        assert!(measure_without_colour(&RgbImage::from_pixel(40, 40, Rgb([200, 80, 30]))).saturation < -3.8);
    }
}
