//! The quantities by which the modalities differ, each with a physical reason.
//!
//! Everything is measured on a small copy whose rim of page is cut off and whose levels are
//! stretched, so that margins, faded print and dark exposures do not count.

use image::RgbImage;

mod colour;
mod copy;
mod lines;
mod plane;
mod shape;

pub(super) use copy::shrink;
use plane::Plane;
pub(super) use plane::moments;

/// Number of measures.
pub const COUNT: usize = 20;

/// What each of [`Measures::values`] is.
pub const NAMES: [&str; COUNT] = [
    // Log of the saturation of lit pixels, weighted by their brightness: colour photographs against gray modalities.
    "saturation",
    // Log of what remains of the colours when each channel is explained by the brightness alone, relative to the
    // brightness: a gray picture on yellowed paper or of a tinted screen has one tint, a colour photograph has many.
    "tints",
    // Share of all colour that is red, orange or yellow: blood and pigment.
    "warm",
    // Log of the saturation in green, blue and violet: false colours, stains, drawings.
    "cold",
    // Entropy of the hues, bits: a fundus keeps to a few neighbouring hues, maps and drawings use all.
    "hues",
    // Share of bright, pale, flat pixels: paper of charts, drawings and text.
    "paper",
    // Log share of the variance that lies in details finer than a few pixels of the copy: strokes of print, against
    // the soft tissue of photographs and scans.
    "fine",
    // Share of flat pixels that are neither black nor paper: areas that somebody filled.
    "filled",
    // Log share of steep edges: print, drawings, photographs of things.
    "edges",
    // Share of pure white.
    "white",
    // Share of black.
    "black",
    // Black outside of the inscribed ellipse less black inside of it: a round field of view.
    "field",
    // Log ratio of vertical to horizontal gradient energy: the layers of a B-scan lie level.
    "layers",
    // Share of the blocks with structure whose gradients are mostly vertical: layers are level everywhere.
    "level",
    // Share of the variance in narrow upright strips that row means hold: layers cross each strip.
    "strips",
    // Share of the variance that column means hold: a round field is brightest in its middle columns, a B-scan in all.
    "columns",
    // Difference of middle and outer rows in brightness: retina between vitreous and sclera.
    "band",
    // Energy of bright against dark lines, -1..=1: dye makes vessels bright, blood without dye dark.
    "bright_lines",
    // Log energy of lines relative to the brightness around: vessel contrast.
    "line_contrast",
    // Skewness of the brightness inside of the field.
    "skew",
];

/// Measures of one picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measures {
    /// Values in the order of [`NAMES`].
    pub values: [f64; COUNT],
}

impl Measures {
    /// The value called `name`, one of [`NAMES`].
    pub fn get(&self, name: &str) -> Option<f64> {
        let index = NAMES.iter().position(|n| *n == name)?;
        Some(self.values[index])
    }
}

/// Pixels up to this value are the black around the field of view.
const BLACK: f32 = 20.0;

/// Measures a picture.
pub fn measure(image: &RgbImage) -> Measures {
    let small = copy::stretched(&copy::without_rim(&copy::shrink(image)));
    let pixels: Vec<[f32; 3]> = small.pixels().map(|p| p.0.map(f32::from)).collect();
    let (width, height) = (small.width() as usize, small.height() as usize);
    let plane = |value: &dyn Fn(&[f32; 3]) -> f32| Plane {
        width,
        height,
        values: pixels.iter().map(value).collect(),
    };
    let gray = plane(&|[r, g, b]| 0.299 * r + 0.587 * g + 0.114 * b);
    let high = plane(&|[r, g, b]| r.max(*g).max(*b));
    let low = plane(&|[r, g, b]| r.min(*g).min(*b));
    let colour = colour::measure(&pixels, width, height);
    let areas = shape::areas(&gray, &high, &low);
    let layers = shape::layers(&gray, &low);
    let lines = lines::measure(&gray, &high, &low);
    Measures {
        values: [
            colour.saturation,
            colour.tints,
            colour.warm,
            colour.cold,
            colour.hues,
            areas.paper,
            areas.fine,
            areas.filled,
            areas.edges,
            areas.white,
            areas.black,
            areas.field,
            layers.layers,
            layers.level,
            layers.strips,
            layers.columns,
            layers.band,
            lines.bright_lines,
            lines.line_contrast,
            areas.skew,
        ],
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use image::Rgb;

    fn gray_image(value: impl Fn(f64, f64) -> f64) -> RgbImage {
        RgbImage::from_fn(300, 300, |x, y| {
            let v = value(f64::from(x) / 300.0, f64::from(y) / 300.0).clamp(0.0, 255.0) as u8;
            Rgb([v; 3])
        })
    }

    fn of(image: &RgbImage, name: &str) -> f64 {
        measure(image).get(name).unwrap()
    }

    #[test]
    fn shapes_are_told() {
        let layers = gray_image(|_, y| 80.0 + 60.0 * (y * 40.0).sin());
        let field = gray_image(|x, y| {
            if (x - 0.5).hypot(y - 0.5) < 0.49 {
                120.0 + 20.0 * (x * 50.0).sin() * (y * 50.0).sin()
            } else {
                0.0
            }
        });
        assert!(of(&layers, "layers") > 3.0 && of(&field, "layers").abs() < 0.5);
        assert!(of(&layers, "level") > 0.9 && of(&field, "level") < 0.7);
        assert!(of(&layers, "strips") > 0.9);
        assert!(of(&layers, "columns") < 0.01 && of(&field, "columns") > 0.1);
        assert!(of(&field, "field") > 0.8 && of(&layers, "field").abs() < 0.3);
        let line = |sign: f64| {
            gray_image(move |x, y| {
                60.0 + 180.0 * x * y + sign * 25.0 * f64::from(u8::from(((x + y) * 10.0).fract() < 0.1))
            })
        };
        assert!(of(&line(1.0), "bright_lines") > 0.15);
        assert!(of(&line(-1.0), "bright_lines") < -0.15);
    }

    #[test]
    fn colours_are_told() {
        let shade =
            |tint: [f32; 3]| RgbImage::from_fn(200, 200, |x, y| Rgb(tint.map(|t| (t * (x + y) as f32 / 2.0) as u8)));
        let gray = shade([1.0; 3]);
        let aged = shade([1.0, 0.94, 0.78]);
        let green = shade([0.3, 1.0, 0.3]);
        let many = RgbImage::from_fn(200, 200, |x, y| Rgb([200, x as u8, y as u8 / 2]));
        // One tint is no variety of colours, however strong it is.
        for one in [&gray, &aged, &green] {
            assert!(of(one, "tints") < -3.5, "{:?}", measure(one));
        }
        assert!(of(&many, "tints") > -2.0);
        assert!(of(&gray, "saturation") < -3.5 && of(&green, "saturation") > -0.6);
        assert!(of(&aged, "warm") > 0.8 && of(&green, "warm") < 0.05 && of(&green, "cold") > -0.6);
        // An arrow drawn into a gray picture does not make it a coloured one.
        let mut arrow = gray.clone();
        for i in 0..60 {
            for w in 0..6 {
                arrow.put_pixel(70 + i, 70 + w, Rgb([255, 220, 0]));
            }
        }
        assert!(of(&arrow, "tints") < -3.0, "{:?}", measure(&arrow));
    }

    #[test]
    fn rims_and_levels_do_not_count() {
        let picture = gray_image(|x, y| 60.0 + 90.0 * (x * 9.0).sin() * (y * 7.0).cos() + 60.0);
        let faint = RgbImage::from_fn(300, 300, |x, y| Rgb(picture.get_pixel(x, y).0.map(|v| 60 + v / 2)));
        let mut framed = RgbImage::from_pixel(360, 360, Rgb([255, 255, 250]));
        image::imageops::replace(&mut framed, &picture, 30, 30);
        let plain = measure(&picture);
        for (name, (a, b)) in NAMES.iter().zip(plain.values.iter().zip(measure(&faint).values)) {
            assert!((a - b).abs() < 0.15 + 0.1 * a.abs(), "{name}: {a} and {b}");
        }
        for name in ["paper", "white", "black", "columns"] {
            assert!(
                (of(&framed, name) - of(&picture, name)).abs() < 0.1,
                "{name}: {}",
                of(&framed, name)
            );
        }
    }
}
