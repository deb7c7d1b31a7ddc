//! Circled digits: Tesseract reads ① as 人 or @. They are found and read by their
//! shape, painted over, and put back into the line as characters.

use image::{GrayImage, Luma};

use super::digit::{LEAST_MATCH, digit_in};
use super::{OcrText, OcrWord, join};
use crate::layout::components::{Component, components};
use crate::layout::geometry::Rect;

/// Smallest circle, pixels.
const LEAST: i32 = 11;

/// A circled digit in an image.
#[derive(Debug, Clone, PartialEq)]
pub struct Circled {
    /// Box of the circle.
    pub bbox: Rect,
    /// ①..⑨
    pub character: char,
    /// Confidence of the digit, 0..=1.
    pub confidence: f32,
}

/// Finds and reads the circled digits of a dark-on-light image.
pub fn find_circled(image: &GrayImage) -> Vec<Circled> {
    find_rings(image)
        .into_iter()
        .filter_map(|bbox| {
            let (digit, confidence) = digit_in(image, &bbox)?;
            tracing::debug!("circle {bbox:?}: {digit} ({confidence:.2})");
            // U+2460 is ①.
            let character = char::from_u32(0x2460 + digit - 1)?;
            (confidence >= LEAST_MATCH).then_some(Circled {
                bbox,
                character,
                confidence,
            })
        })
        .collect()
}

/// Boxes of round rings with something small inside.
pub fn find_rings(image: &GrayImage) -> Vec<Rect> {
    // Faint rings close at a high threshold, crowded ones come apart at a low one.
    let mut found: Vec<Rect> = Vec::new();
    for share in [0.6, 0.35] {
        for ring in rings_at(image, share) {
            if found.iter().all(|f| f.intersection(&ring).is_empty()) {
                found.push(ring);
            }
        }
    }
    found.sort_by_key(|r| (r.y0, r.x0));
    found
}

/// Rings among the pixels darker than `share` of the way from ink to paper.
fn rings_at(image: &GrayImage, share: f64) -> Vec<Rect> {
    let (width, height) = image.dimensions();
    let threshold = ink_threshold(image, share);
    let mask: Vec<bool> = image.pixels().map(|p| p.0[0] < threshold).collect();
    let all = components(&mask, width as usize, &Rect::new(0, 0, width as i32, height as i32));
    let Some(text_height) = glyph_height(&all) else {
        return Vec::new();
    };
    let ink = |x: i32, y: i32| {
        x >= 0 && y >= 0 && x < width as i32 && y < height as i32 && mask[y as usize * width as usize + x as usize]
    };
    all.iter()
        .map(|c| c.bbox)
        .filter(|b| {
            let (w, h) = (b.width(), b.height());
            b.short_side() >= LEAST
                && 10 * w.max(h) <= 12 * w.min(h)
                && 10 * h >= 7 * text_height
                && 10 * h <= 19 * text_height
                && is_ring(b, &ink)
        })
        .collect()
}

/// Level at `share` of the way from the darkest pixels to the paper.
fn ink_threshold(image: &GrayImage, share: f64) -> u8 {
    let mut histogram = [0u32; 256];
    for p in image.pixels() {
        histogram[usize::from(p.0[0])] += 1;
    }
    let total: u32 = histogram.iter().sum();
    let at = |part: f64| {
        let mut seen = 0;
        (0..256usize)
            .find(|&v| {
                seen += histogram[v];
                f64::from(seen) >= part * f64::from(total)
            })
            .unwrap_or(0) as f64
    };
    let (dark, paper) = (at(0.01), at(0.8));
    (dark + share * (paper - dark)) as u8
}

/// Upper quartile of the glyphs' heights.
fn glyph_height(all: &[Component]) -> Option<i32> {
    let mut heights: Vec<i32> = all.iter().map(|c| c.bbox.height()).filter(|h| *h >= 6).collect();
    heights.sort_unstable();
    heights.get(heights.len() * 3 / 4).copied()
}

/// Ink all around near the rim, none in the corners, something in the middle.
fn is_ring(b: &Rect, ink: &dyn Fn(i32, i32) -> bool) -> bool {
    /// Directions looked at.
    const DIRECTIONS: usize = 36;
    let (cx, cy) = (f64::from(b.x0 + b.x1 - 1) / 2.0, f64::from(b.y0 + b.y1 - 1) / 2.0);
    let (rx, ry) = (f64::from(b.width()) / 2.0, f64::from(b.height()) / 2.0);
    let at = |angle: f64, share: f64| {
        ink(
            (cx + angle.cos() * rx * share).round() as i32,
            (cy + angle.sin() * ry * share).round() as i32,
        )
    };
    let mut rim = 0;
    for k in 0..DIRECTIONS {
        let angle = k as f64 / DIRECTIONS as f64 * std::f64::consts::TAU;
        let hit = [1.0, 0.93, 0.86, 0.8].iter().any(|&s| at(angle, s));
        rim += usize::from(hit);
    }
    // A square's corners lie at 1.41 radii; a circle's rim is far inside of them.
    let corners = [0.25f64, 0.75, 1.25, 1.75]
        .iter()
        .filter(|&&k| [1.15, 1.25, 1.32].iter().any(|&s| at(k * std::f64::consts::PI, s)))
        .count();
    let mut inside = 0;
    let mut seen = 0;
    let mut between = 0;
    for y in b.y0..b.y1 {
        for x in b.x0..b.x1 {
            let d = ((f64::from(x) - cx) / rx).hypot((f64::from(y) - cy) / ry);
            if d < 0.55 {
                seen += 1;
                inside += usize::from(ink(x, y));
            }
        }
    }
    for k in 0..DIRECTIONS {
        let angle = k as f64 / DIRECTIONS as f64 * std::f64::consts::TAU;
        between += usize::from(!at(angle, 0.7));
    }
    let share = f64::from(inside as i32) / f64::from(seen.max(1));
    rim * 100 >= DIRECTIONS * 86 && corners == 0 && (0.06..0.75).contains(&share) && between * 10 >= DIRECTIONS * 6
}

/// Paints the circles over, so that the engine reads on undisturbed.
pub fn paint_over(image: &mut GrayImage, circled: &[Circled]) {
    for c in circled {
        let b = c.bbox.grown(1).clipped(image.width(), image.height());
        for y in b.y0..b.y1 {
            for x in b.x0..b.x1 {
                image.put_pixel(x as u32, y as u32, Luma([255]));
            }
        }
    }
}

/// Puts the characters back into the lines they stood in.
pub fn put_back(text: &mut OcrText, circled: &[Circled]) {
    for c in circled {
        let line = text
            .lines
            .iter_mut()
            .filter(|l| {
                let r = l.rect();
                r.y0 <= c.bbox.center_y() && c.bbox.center_y() < r.y1
            })
            .min_by_key(|l| (l.rect().center_y() - c.bbox.center_y()).abs());
        let Some(line) = line else { continue };
        let mut words = std::mem::take(&mut line.words);
        let place = words
            .iter()
            .position(|w| (w.bbox[0] + w.bbox[2]) / 2 > c.bbox.center_x())
            .unwrap_or(words.len());
        words.insert(
            place,
            OcrWord {
                text: c.character.to_string(),
                bbox: c.bbox.to_array(),
                confidence: c.confidence,
            },
        );
        *line = join::line_of(words);
    }
}

#[cfg(test)]
mod tests {
    use super::super::replay::line;
    use super::*;

    /// A ring of `radius` with a bar inside, and a few bars beside it.
    fn drawing(radius: f64) -> GrayImage {
        GrayImage::from_fn(160, 60, |x, y| {
            let d = (f64::from(x) - 30.0).hypot(f64::from(y) - 30.0);
            let ring = (d - radius).abs() < 1.2;
            let digit = (29..=31).contains(&x) && (25..=35).contains(&y);
            let bars = x > 60 && x % 16 < 3 && (20..40).contains(&y);
            Luma([if ring || digit || bars { 20 } else { 255 }])
        })
    }

    #[test]
    fn rings_are_found_and_letters_are_not() {
        let rings = find_rings(&drawing(11.0));
        assert_eq!(rings.len(), 1);
        assert!(rings[0].iou(&Rect::new(19, 19, 42, 42)) > 0.8);
        let square = GrayImage::from_fn(60, 60, |x, y| {
            let edge = |v: u32| v == 20 || v == 40;
            let inside = (20..=40).contains(&x) && (20..=40).contains(&y);
            let dot = (28..33).contains(&x) && (28..33).contains(&y);
            Luma([if inside && (edge(x) || edge(y)) || dot { 0 } else { 255 }])
        });
        assert!(find_rings(&square).is_empty());
    }

    #[test]
    fn the_character_returns_to_its_line() {
        let mut image = drawing(11.0);
        let found = find_circled(&image);
        assert_eq!(found.iter().map(|c| c.character).collect::<Vec<_>>(), ['①']);
        paint_over(&mut image, &found);
        assert!(find_rings(&image).is_empty());
        let mut text = OcrText {
            lines: vec![line("视盘水肿", [60, 18, 150, 42], 0.9)],
        };
        put_back(&mut text, &found);
        assert!(text.lines[0].text.starts_with('①'));
    }
}
