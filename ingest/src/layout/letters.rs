//! Letters printed at the panels: in a corner, under or over them.
//!
//! Corners of photographs are full of vessels and noise, so a print counts only
//! when it has the size of a letter, stands clear of its ground, and is read as
//! one of the labels that the caption names. All panels of a figure carry their
//! letter in the same place: the place that names most panels wins.

use image::{GrayImage, Luma, imageops};

use super::components::components;
use super::geometry::Rect;
use crate::ocr::circled::find_circled;
use crate::ocr::prepare::enlarge;
use crate::ocr::{Languages, Mode, OcrEngine, OcrError};

/// A label read at a panel.
#[derive(Debug, Clone, PartialEq)]
pub struct PrintedLetter {
    /// The label in the caption's form.
    pub label: String,
    /// 0..=1.
    pub confidence: f32,
}

/// Where the letter of a panel is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Under,
    Over,
    TopLeft,
    TopRight,
    BottomLeft,
    BottomRight,
}

const CORNERS: [Place; 4] = [Place::TopLeft, Place::TopRight, Place::BottomLeft, Place::BottomRight];

/// Share of a panel's shorter side that a corner takes.
const CORNER_SHARE: f64 = 0.17;
/// Least height of a letter, page pixels.
const LEAST_HEIGHT: i32 = 10;
/// Least confidence of a letter, 0..=1.
const SURE: f32 = 0.55;
/// Height to which letters are scaled before they are read, pixels.
const READ_HEIGHT: f64 = 44.0;
/// Marks farther from a panel than this share of its height do not name it.
const MARK_REACH: f64 = 0.18;
/// Candidates read in one corner at most.
const PER_CORNER: usize = 3;

/// Reads the letter of each panel (page boxes). `marks` are short prints between
/// the panels (page boxes), `labels` what the caption names; without labels
/// nothing is read.
pub fn read_letters(
    engine: &mut dyn OcrEngine,
    gray: &GrayImage,
    panels: &[Rect],
    marks: &[Rect],
    labels: &[String],
) -> Result<Vec<Option<PrintedLetter>>, OcrError> {
    let none = vec![None; panels.len()];
    let Some(alphabet) = Alphabet::of(labels) else {
        return Ok(none);
    };
    let mut best = none;
    let mut most = 0;
    let mut consider = |most: &mut usize, found: Vec<Option<PrintedLetter>>| {
        let distinct: std::collections::BTreeSet<&str> = found.iter().flatten().map(|p| p.label.as_str()).collect();
        // A place where every panel bears the same letter is texture.
        if distinct.len() > *most {
            *most = distinct.len();
            best = found;
        }
    };
    for place in [Place::Under, Place::Over] {
        let mut found = vec![None; panels.len()];
        for (panel, mark) in marks_of(panels, marks, place) {
            let glyph = cut(gray, &marks[mark].grown(3), false);
            found[panel] = read_glyph(engine, &glyph, &alphabet)?;
        }
        consider(&mut most, found);
    }
    for place in CORNERS {
        let mut found: Vec<Option<PrintedLetter>> = Vec::with_capacity(panels.len());
        for (index, panel) in panels.iter().enumerate() {
            // This place names no more panels than the best so far: the rest of it need not be read.
            if found.iter().flatten().count() + panels.len() - index <= most {
                break;
            }
            found.push(read_corner(engine, gray, panel, place, &alphabet)?);
        }
        if found.len() == panels.len() {
            consider(&mut most, found);
        }
    }
    // One letter alone among several panels proves nothing.
    Ok(if most >= 2 || panels.len() < 2 {
        best
    } else {
        vec![None; panels.len()]
    })
}

/// The characters that labels are made of.
struct Alphabet {
    allowed: String,
    circled: bool,
    labels: Vec<String>,
}

impl Alphabet {
    /// `None` for labels that are not printed as single characters (positions, roman numerals, none).
    fn of(labels: &[String]) -> Option<Self> {
        let singles: Option<Vec<char>> = labels
            .iter()
            .map(|l| {
                let mut chars = l.chars();
                chars.next().filter(|_| chars.next().is_none())
            })
            .collect();
        let first = *singles?.first()?;
        let circled = ('①'..='⑳').contains(&first);
        let allowed = if circled || first.is_ascii_digit() {
            "123456789".to_owned()
        } else if first.is_ascii_alphabetic() {
            // Print may use either case whatever the caption does.
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghijmnqrt".to_owned()
        } else {
            return None;
        };
        Some(Self {
            allowed,
            circled,
            labels: labels.to_vec(),
        })
    }

    /// The label that a character stands for.
    fn label(&self, read: char) -> Option<String> {
        let wanted = if self.circled {
            char::from_u32(0x2460 + read.to_digit(10)?.checked_sub(1)?)?
        } else {
            read
        };
        self.labels
            .iter()
            .find(|l| l.chars().all(|c| c.eq_ignore_ascii_case(&wanted)))
            .cloned()
    }
}

/// For each panel the nearest mark below or above it; a mark serves one panel.
fn marks_of(panels: &[Rect], marks: &[Rect], place: Place) -> Vec<(usize, usize)> {
    let mut candidates: Vec<(i32, usize, usize)> = Vec::new();
    for (p, panel) in panels.iter().enumerate() {
        for (m, mark) in marks.iter().enumerate() {
            let inside = mark.center_x() >= panel.x0 && mark.center_x() < panel.x1;
            let gap = match place {
                Place::Under => mark.y0 - panel.y1,
                _ => panel.y0 - mark.y1,
            };
            let reach = (f64::from(panel.height()) * MARK_REACH) as i32;
            if inside && gap >= -mark.height() / 2 && gap <= reach {
                candidates.push((gap, p, m));
            }
        }
    }
    candidates.sort_unstable();
    let mut out: Vec<(usize, usize)> = Vec::new();
    for (_, p, m) in candidates {
        if out.iter().all(|(op, om)| *op != p && *om != m) {
            out.push((p, m));
        }
    }
    out
}

fn corner_window(panel: &Rect, place: Place) -> Rect {
    let side = ((f64::from(panel.short_side()) * CORNER_SHARE) as i32).clamp(40, 150);
    let (x0, x1) = match place {
        Place::TopLeft | Place::BottomLeft => (panel.x0, panel.x0 + side),
        _ => (panel.x1 - side, panel.x1),
    };
    let (y0, y1) = match place {
        Place::TopLeft | Place::TopRight => (panel.y0, panel.y0 + side),
        _ => (panel.y1 - side, panel.y1),
    };
    Rect::new(x0, y0, x1, y1)
}

fn read_corner(
    engine: &mut dyn OcrEngine,
    gray: &GrayImage,
    panel: &Rect,
    place: Place,
    alphabet: &Alphabet,
) -> Result<Option<PrintedLetter>, OcrError> {
    let window = corner_window(panel, place).clipped(gray.width(), gray.height());
    let mut best: Option<PrintedLetter> = None;
    for light in [true, false] {
        for glyph in letter_shapes(gray, &window, light).into_iter().take(PER_CORNER) {
            let image = cut(gray, &glyph.grown(3).intersection(&window.grown(2)), light);
            if let Some(read) = read_glyph(engine, &image, alphabet)?
                && best.as_ref().is_none_or(|b| read.confidence > b.confidence)
            {
                best = Some(read);
            }
        }
    }
    Ok(best)
}

/// Shapes of the size of a letter that are clearly lighter (or darker) than all around them, clearest first.
fn letter_shapes(gray: &GrayImage, window: &Rect, light: bool) -> Vec<Rect> {
    /// Ink of a white letter, levels; black ones mirrored. Thin strokes in small
    /// print are whole at the lower level only, letters on a bright ground come
    /// clear of it at the higher one.
    const BRIGHT: [u8; 2] = [135, 190];
    let mut shapes: Vec<(f64, Rect)> = Vec::new();
    for bright in BRIGHT {
        for shape in shapes_at(gray, window, light, bright) {
            if shapes.iter().all(|(_, s)| s.intersection(&shape.1).is_empty()) {
                shapes.push(shape);
            }
        }
    }
    shapes.sort_by(|a, b| b.0.total_cmp(&a.0));
    let all: Vec<Rect> = shapes.iter().map(|(_, b)| *b).collect();
    all.iter().filter(|b| !is_bracket(b, &all)).copied().collect()
}

/// One of two narrow shapes of one height with something between them: `(A)`.
fn is_bracket(shape: &Rect, all: &[Rect]) -> bool {
    let narrow = |b: &Rect| 20 * b.width() <= 9 * b.height();
    let alike = |b: &Rect| {
        10 * b.height().min(shape.height()) >= 8 * b.height().max(shape.height())
            && 10 * b.overlap_y(shape) >= 8 * b.height().min(shape.height())
            && b.gap_x(shape) <= 3 * shape.height()
    };
    let between = |a: &Rect, b: &Rect| {
        let (left, right) = if a.x0 < b.x0 { (a, b) } else { (b, a) };
        all.iter().any(|c| {
            c.x0 >= left.x1
                && c.x1 <= right.x0
                && c.overlap_y(a) > 0
                && 20 * c.height() <= 21 * a.height().max(b.height())
        })
    };
    narrow(shape)
        && all
            .iter()
            .any(|b| b != shape && narrow(b) && alike(b) && between(shape, b))
}

/// The shapes at one level of ink, with their contrast.
fn shapes_at(gray: &GrayImage, window: &Rect, light: bool, bright: u8) -> Vec<(f64, Rect)> {
    /// Mean difference between a letter and its ground, levels.
    const CONTRAST: f64 = 70.0;
    let (width, height) = (window.width() as usize, window.height() as usize);
    if width < 8 || height < 8 {
        return Vec::new();
    }
    let value = |x: i32, y: i32| {
        let v = gray.get_pixel((window.x0 + x) as u32, (window.y0 + y) as u32).0[0];
        if light { v } else { 255 - v }
    };
    let mask: Vec<bool> = (0..width * height)
        .map(|i| value((i % width) as i32, (i / width) as i32) >= bright)
        .collect();
    components(&mask, width, &Rect::new(0, 0, width as i32, height as i32))
        .into_iter()
        .filter(|c| {
            let (w, h) = (c.bbox.width(), c.bbox.height());
            let fill = c.pixels as f64 / c.bbox.area() as f64;
            h >= LEAST_HEIGHT
                && f64::from(h) <= 0.7 * height as f64
                && f64::from(w) <= 1.5 * f64::from(h)
                && f64::from(w) >= 0.12 * f64::from(h)
                && (0.12..0.93).contains(&fill)
        })
        .filter_map(|c| {
            let outer = c
                .bbox
                .grown(2)
                .intersection(&Rect::new(0, 0, width as i32, height as i32));
            let (mut ink, mut ground, mut n_ink, mut n_ground) = (0.0, 0.0, 0.0, 0.0);
            let mut rim_ink = 0;
            let mut rim = 0;
            for y in outer.y0..outer.y1 {
                for x in outer.x0..outer.x1 {
                    let v = f64::from(value(x, y));
                    let on = mask[y as usize * width + x as usize];
                    if on {
                        ink += v;
                        n_ink += 1.0;
                    } else {
                        ground += v;
                        n_ground += 1.0;
                    }
                    let border = x == outer.x0 || y == outer.y0 || x == outer.x1 - 1 || y == outer.y1 - 1;
                    rim += i32::from(border);
                    rim_ink += i32::from(border && on);
                }
            }
            let contrast = ink / f64::max(n_ink, 1.0) - ground / f64::max(n_ground, 1.0);
            let b = c.bbox;
            let shape = Rect::new(b.x0 + window.x0, b.y0 + window.y0, b.x1 + window.x0, b.y1 + window.y0);
            (contrast >= CONTRAST && rim_ink * 8 <= rim).then_some((contrast, shape))
        })
        .collect()
}

/// The shape as dark print on white, scaled for the engine.
fn cut(gray: &GrayImage, rect: &Rect, light: bool) -> GrayImage {
    let rect = rect.clipped(gray.width(), gray.height());
    let image = GrayImage::from_fn(rect.width() as u32, rect.height() as u32, |x, y| {
        let v = gray.get_pixel(rect.x0 as u32 + x, rect.y0 as u32 + y).0[0];
        Luma([if light { 255 - v } else { v }])
    });
    let (low, high) = image
        .pixels()
        .fold((255u8, 0u8), |(l, h), p| (l.min(p.0[0]), h.max(p.0[0])));
    let span = f32::from(high.saturating_sub(low)).max(1.0);
    let stretched = GrayImage::from_fn(image.width(), image.height(), |x, y| {
        let v = f32::from(image.get_pixel(x, y).0[0].saturating_sub(low)) / span;
        // A photograph behind the letter goes to white.
        Luma([if v > 0.6 { 255 } else { (v / 0.6 * 255.0) as u8 }])
    });
    let scale = (READ_HEIGHT / f64::from(stretched.height().max(1))).clamp(0.5, 4.0);
    let side = |v: u32| ((f64::from(v) * scale).round() as u32).max(4);
    let scaled = enlarge(&stretched, side(stretched.width()), side(stretched.height()));
    let rim = 14;
    let mut out = GrayImage::from_pixel(scaled.width() + 2 * rim, scaled.height() + 2 * rim, Luma([255]));
    imageops::replace(&mut out, &scaled, i64::from(rim), i64::from(rim));
    out
}

fn read_glyph(
    engine: &mut dyn OcrEngine,
    image: &GrayImage,
    alphabet: &Alphabet,
) -> Result<Option<PrintedLetter>, OcrError> {
    if alphabet.circled {
        return Ok(find_circled(image).into_iter().next().and_then(|c| {
            let digit = u32::from(c.character) - 0x2460 + 1;
            Some(PrintedLetter {
                label: alphabet.label(char::from_digit(digit, 10)?)?,
                confidence: c.confidence,
            })
        }));
    }
    let mode = Mode::Character {
        allowed: alphabet.allowed.clone(),
    };
    let text = engine.recognize(image, Languages::English, &mode)?;
    let Some(line) = text.lines.first() else {
        return Ok(None);
    };
    let mut letters = line.text.chars().filter(|c| c.is_alphanumeric());
    let (Some(letter), None) = (letters.next(), letters.next()) else {
        return Ok(None);
    };
    if line.confidence < SURE {
        return Ok(None);
    }
    Ok(alphabet.label(letter).map(|label| PrintedLetter {
        label,
        confidence: line.confidence,
    }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn marks_belong_to_the_nearest_panel() {
        let panels = [
            Rect::new(0, 0, 100, 100),
            Rect::new(110, 0, 210, 100),
            Rect::new(0, 130, 100, 230),
        ];
        let marks = [
            Rect::new(45, 105, 55, 117),
            Rect::new(155, 105, 165, 117),
            Rect::new(45, 235, 55, 247),
        ];
        assert_eq!(marks_of(&panels, &marks, Place::Under), [(0, 0), (1, 1), (2, 2)]);
        assert_eq!(marks_of(&panels, &marks, Place::Over), [(2, 0)]);
    }

    #[test]
    fn letters_stand_clear_of_their_ground() {
        let gray = GrayImage::from_fn(400, 400, |x, y| {
            let stem = (8..12).contains(&x) && (8..30).contains(&y);
            let foot = (8..24).contains(&x) && (26..30).contains(&y);
            Luma([if stem || foot {
                250
            } else {
                40 + ((x * 7 + y * 3) % 30) as u8
            }])
        });
        let window = corner_window(&Rect::new(0, 0, 400, 400), Place::TopLeft);
        assert_eq!(letter_shapes(&gray, &window, true), [Rect::new(8, 8, 24, 30)]);
        assert!(letter_shapes(&gray, &window, false).is_empty());
        assert!(
            letter_shapes(
                &gray,
                &corner_window(&Rect::new(0, 0, 400, 400), Place::BottomRight),
                true
            )
            .is_empty()
        );
    }

    #[test]
    fn thin_letters_are_whole_and_brackets_are_none() {
        // A bright stem, an arm of half the light, and brackets around them.
        let gray = GrayImage::from_fn(400, 400, |x, y| {
            let tall = (10..40).contains(&y);
            let value = if tall && ((10..13).contains(&x) || (40..43).contains(&x)) {
                250
            } else if (20..23).contains(&x) && (14..34).contains(&y) {
                240
            } else if (23..34).contains(&x) && (22..25).contains(&y) {
                160
            } else {
                30
            };
            Luma([value])
        });
        let window = corner_window(&Rect::new(0, 0, 400, 400), Place::TopLeft);
        assert_eq!(letter_shapes(&gray, &window, true), [Rect::new(20, 14, 34, 34)]);
    }

    #[test]
    fn labels_come_back_in_the_captions_form() {
        let alphabet = Alphabet::of(&["①".to_owned(), "②".to_owned()]).unwrap();
        assert_eq!(alphabet.label('2').as_deref(), Some("②"));
        let alphabet = Alphabet::of(&["a".to_owned(), "b".to_owned()]).unwrap();
        assert_eq!(alphabet.label('B').as_deref(), Some("b"));
        assert!(Alphabet::of(&["左".to_owned()]).is_none());
        assert!(Alphabet::of(&["left".to_owned()]).is_none());
    }
}
