//! Pages drawn for the tests.

use ab_glyph::{Font, FontVec, PxScale, ScaleFont};
use image::{Rgb, RgbImage};

/// Height of the drawn text, pixels.
const TEXT: f32 = 30.0;

/// Fonts that Debian's font packages bring; any one will do.
const FONTS: [&str; 4] = [
    "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf",
    "/usr/share/fonts/truetype/liberation/LiberationSans-Regular.ttf",
    "/usr/share/fonts/truetype/liberation2/LiberationSans-Regular.ttf",
    "/usr/share/fonts/truetype/freefont/FreeSans.ttf",
];

/// White paper.
pub fn canvas(width: u32, height: u32) -> RgbImage {
    RgbImage::from_pixel(width, height, Rgb([255; 3]))
}

fn font() -> FontVec {
    let bytes = FONTS
        .iter()
        .find_map(|f| std::fs::read(f).ok())
        .expect("a Latin font: apt-get install fonts-dejavu-core");
    FontVec::try_from_vec(bytes).unwrap()
}

/// Writes black text with its top left corner at (x, y).
pub fn text(image: &mut RgbImage, x: u32, y: u32, words: &str) {
    let font = font();
    let scaled = font.as_scaled(PxScale::from(TEXT));
    let mut pen = x as f32;
    for c in words.chars() {
        let glyph = scaled.scaled_glyph(c);
        let id = glyph.id;
        let placed = ab_glyph::Glyph {
            position: ab_glyph::point(pen, y as f32 + scaled.ascent()),
            ..glyph
        };
        if let Some(outline) = font.outline_glyph(placed) {
            let bounds = outline.px_bounds();
            outline.draw(|gx, gy, cover| {
                let (px, py) = (bounds.min.x as i64 + i64::from(gx), bounds.min.y as i64 + i64::from(gy));
                if px >= 0 && py >= 0 && (px as u32) < image.width() && (py as u32) < image.height() {
                    let v = (255.0 * (1.0 - cover)) as u8;
                    let old = image.get_pixel(px as u32, py as u32).0[0];
                    image.put_pixel(px as u32, py as u32, Rgb([v.min(old); 3]));
                }
            });
        }
        pen += scaled.h_advance(id);
    }
}

/// A colour field and a gray one with bright lines, side by side with a white gutter.
pub fn two_fields() -> RgbImage {
    RgbImage::from_fn(1040, 500, |x, y| {
        if (500..540).contains(&x) {
            return Rgb([255; 3]);
        }
        let (cx, gray) = if x < 500 { (250.0, false) } else { (790.0, true) };
        let d = (f64::from(x) - cx).hypot(f64::from(y) - 250.0);
        if d > 246.0 {
            return Rgb([0; 3]);
        }
        let wave = ((f64::from(x) * 0.21).sin() + (f64::from(y) * 0.17).cos()) * 14.0;
        let level = 150.0 - d * 0.2 + wave;
        if gray {
            let vessel = ((f64::from(x) + 0.6 * f64::from(y)) % 90.0) < 5.0;
            Rgb([if vessel { 220 } else { (level * 0.6) as u8 }; 3])
        } else {
            Rgb([level as u8, (level * 0.5) as u8, (level * 0.2) as u8])
        }
    })
}

/// A page with the figure and an English caption under it.
pub fn page_with_figure(figure: &RgbImage) -> RgbImage {
    let mut page = canvas(figure.width() + 120, figure.height() + 260);
    image::imageops::replace(&mut page, figure, 60, 60);
    let y = figure.height() + 90;
    text(
        &mut page,
        60,
        y,
        "Figure 2-12. Retina of one eye. A. Colour photograph with",
    );
    text(
        &mut page,
        60,
        y + 44,
        "drusen. B. Angiogram with leakage from the macula.",
    );
    page
}

/// As a JPEG file.
pub fn page_jpeg(page: &RgbImage) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    page.write_to(&mut bytes, image::ImageFormat::Jpeg).unwrap();
    bytes.into_inner()
}
