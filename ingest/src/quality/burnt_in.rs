//! Print burnt into the rim of a picture: names, numbers, dates, what the machine wrote.
//!
//! A line of print is told by its shape alone, so no OCR is needed: several small
//! marks of one height that stand on one line, of one ink, each clear of its
//! ground, and not all alike (the ticks of a scale and the dots of a frame are).
//! Single letters that name a panel are too few to be a line. What is found says
//! that there is print, not that a person is named: somebody must look.

use image::RgbImage;

use crate::layout::components::components;
use crate::layout::geometry::Rect;
use crate::layout::sheet::reduce;

/// The flag of a picture that bears print in its rim.
pub const BURNT_IN_TEXT: &str = "burnt-in-text";

/// Why such a picture goes to a person.
pub const BURNT_IN_REASON: &str = "print is burnt into the rim of the picture and may name the patient";

/// Marks of a line at least; panel letters, `OD` and `A1` have fewer.
const LEAST_MARKS: usize = 4;
/// Depth of the bands at the top and the bottom that are searched, share of the height.
const BAND: f64 = 0.22;
/// Pictures are reduced by a whole factor to at most this side, pixels.
const LONGEST: u32 = 1100;
/// Least height of a character, pixels.
const LEAST_HEIGHT: i32 = 6;
/// Largest height of a character, share of the picture's height.
const TALLEST: f64 = 0.065;
/// Differences between ink and ground, levels: faint print shows at the first,
/// characters that touch each other come apart at the second.
const CONTRASTS: [i32; 2] = [38, 95];

/// Boxes of the lines of print in the upper and lower rim, in pixels of `image`.
pub fn burnt_in_text(image: &RgbImage) -> Vec<Rect> {
    let factor = image.width().max(image.height()).div_ceil(LONGEST).max(1);
    let small = if factor > 1 {
        reduce(image, factor)
    } else {
        image.clone()
    };
    let (width, height) = (small.width() as i32, small.height() as i32);
    if width < 8 * LEAST_HEIGHT || height < 8 * LEAST_HEIGHT {
        return Vec::new();
    }
    let tallest = ((f64::from(height) * TALLEST) as i32).max(2 * LEAST_HEIGHT);
    let depth = ((f64::from(height) * BAND) as i32).max(2 * tallest).min(height / 2);
    let bands = [
        Rect::new(0, 0, width, depth),
        Rect::new(0, height - depth, width, height),
    ];
    let mut found: Vec<Rect> = Vec::new();
    for band in bands {
        for light in [true, false] {
            let levels = levels_of(&small, &band, light);
            let radius = (tallest as usize * 3 / 4).max(8);
            let means = local_means(&levels, band.width() as usize, band.height() as usize, radius);
            for contrast in CONTRASTS {
                let mask: Vec<bool> = levels
                    .iter()
                    .zip(&means)
                    .map(|(v, mean)| i32::from(*v) - i32::from(*mean) > contrast)
                    .collect();
                let marks = marks_of(&levels, &mask, band.width(), band.height(), tallest);
                for line in lines_of(marks).into_iter().filter(|line| is_print(line, light)) {
                    let bbox = line.iter().map(|m| m.bbox).reduce(|a, b| a.union(&b));
                    let bbox = bbox.filter(|b| !has_bar(&mask, &band, b));
                    let bbox = bbox.map(|b| Rect::new(b.x0, b.y0 + band.y0, b.x1, b.y1 + band.y0));
                    found.extend(bbox.filter(|b| found.iter().all(|f| f.intersection(b).is_empty())));
                }
            }
        }
    }
    let scale = factor as i32;
    found
        .into_iter()
        .map(|b| {
            Rect::new(b.x0 * scale, b.y0 * scale, b.x1 * scale, b.y1 * scale).clipped(image.width(), image.height())
        })
        .collect()
}

/// True for the words beside a scale: a straight bar lies closely above or under them.
fn has_bar(mask: &[bool], band: &Rect, print: &Rect) -> bool {
    /// Largest distance of the bar, heights of the print.
    const REACH: i32 = 2;
    let (width, tall) = (band.width(), print.height());
    let long = (print.width() / 2).max(3 * tall);
    let (from, to) = ((print.x0 - print.width()).max(0), (print.x1 + print.width()).min(width));
    // The rim of a picture runs on beyond the window, a bar ends in it.
    let is_bar = |y: i32| {
        let (mut run, mut longest) = (0, 0);
        for x in from..to {
            run = if mask[(y * width + x) as usize] { run + 1 } else { 0 };
            longest = longest.max(run);
        }
        longest >= long && longest < to - from
    };
    let rows = (print.y0 - REACH * tall).max(0)..(print.y1 + REACH * tall).min(band.height());
    let bar = rows.filter(|y| !(print.y0..print.y1).contains(y) && is_bar(*y)).count() as i32;
    (1..=tall).contains(&bar)
}

/// Brightness of a band, turned round where dark print is looked for. Light print may
/// be coloured, so its strongest channel counts; dark print is dark in all of them.
fn levels_of(image: &RgbImage, band: &Rect, light: bool) -> Vec<u8> {
    let stride = image.width() as usize * 3;
    let rows = band.y0 as usize * stride..band.y1 as usize * stride;
    image.as_raw()[rows]
        .chunks_exact(3)
        .map(|rgb| {
            let strongest = rgb[0].max(rgb[1]).max(rgb[2]);
            if light { strongest } else { 255 - strongest }
        })
        .collect()
}

/// A connected mark that may be a character.
#[derive(Debug, Clone, Copy)]
struct Mark {
    bbox: Rect,
    /// Share of its box that is ink.
    fill: f64,
    /// Brightness of its ink.
    ink: f64,
    /// Brightness around it.
    ground: f64,
}

/// Marks of the size of characters. Parts that stand above each other are one
/// character: the dot of an i, the strokes of 三.
fn marks_of(levels: &[u8], mask: &[bool], width: i32, height: i32, tallest: i32) -> Vec<Mark> {
    let stride = width as usize;
    let all = Rect::new(0, 0, width, height);
    let parts = components(mask, stride, &all)
        .into_iter()
        // What the band or the picture cuts off is a vessel or a rim.
        .filter(|c| c.bbox.y0 > 0 && c.bbox.y1 < height && c.bbox.x0 > 0 && c.bbox.x1 < width)
        .filter(|c| c.bbox.height() <= tallest && c.bbox.width() <= 2 * tallest && c.pixels >= 3);
    let mut boxes: Vec<Rect> = parts.map(|c| c.bbox).collect();
    join_above(&mut boxes, tallest);
    boxes
        .into_iter()
        .filter(|b| b.height() >= LEAST_HEIGHT && b.width() <= 2 * b.height())
        .map(|bbox| {
            let outer = bbox.grown(1).intersection(&all);
            let (mut ink, mut ground, mut n_ink, mut n_ground) = (0u32, 0u32, 0u32, 0u32);
            for y in outer.y0..outer.y1 {
                for x in outer.x0..outer.x1 {
                    let at = y as usize * stride + x as usize;
                    let v = u32::from(levels[at]);
                    if mask[at] {
                        (ink, n_ink) = (ink + v, n_ink + 1);
                    } else {
                        (ground, n_ground) = (ground + v, n_ground + 1);
                    }
                }
            }
            Mark {
                bbox,
                fill: f64::from(n_ink) / bbox.area().max(1) as f64,
                ink: f64::from(ink) / f64::from(n_ink.max(1)),
                ground: f64::from(ground) / f64::from(n_ground.max(1)),
            }
        })
        .collect()
}

/// Joins boxes that stand closely above each other, as long as they stay no taller than a character.
fn join_above(boxes: &mut Vec<Rect>, tallest: i32) {
    boxes.sort_by_key(|b| (b.x0, b.y0));
    let mut index = 0;
    while index < boxes.len() {
        let own = boxes[index];
        let limit = own.x1 + tallest;
        let hit = (index + 1..boxes.len())
            .take_while(|&other| boxes[other].x0 < limit)
            .find(|&other| {
                let b = boxes[other];
                let both = own.union(&b);
                let narrow = own.width().min(b.width());
                2 * own.overlap_x(&b) > narrow
                    && both.height() <= tallest
                    && 3 * own.gap_y(&b) <= both.height()
                    && 10 * both.width() <= 13 * both.height().max(own.width()).max(b.width())
            });
        match hit {
            Some(other) => {
                let gone = boxes.remove(other);
                boxes[index] = own.union(&gone);
            }
            None => index += 1,
        }
    }
}

/// Mean of the square of side `2 * radius + 1` around each pixel.
fn local_means(levels: &[u8], width: usize, height: usize, radius: usize) -> Vec<u8> {
    // sums[y][x]: everything above and left of (x, y).
    let stride = width + 1;
    let mut sums = vec![0u32; stride * (height + 1)];
    for y in 0..height {
        let mut row = 0u32;
        for x in 0..width {
            row += u32::from(levels[y * width + x]);
            sums[(y + 1) * stride + x + 1] = sums[y * stride + x + 1] + row;
        }
    }
    let mut out = vec![0u8; width * height];
    for y in 0..height {
        let (y0, y1) = (y.saturating_sub(radius), (y + radius + 1).min(height));
        for x in 0..width {
            let (x0, x1) = (x.saturating_sub(radius), (x + radius + 1).min(width));
            let sum = sums[y1 * stride + x1] + sums[y0 * stride + x0] - sums[y0 * stride + x1] - sums[y1 * stride + x0];
            out[y * width + x] = (sum / ((x1 - x0) * (y1 - y0)) as u32) as u8;
        }
    }
    out
}

/// Marks of like height and ink that follow each other on a line.
fn lines_of(mut marks: Vec<Mark>) -> Vec<Vec<Mark>> {
    /// Largest blank between two marks of a line, heights of the taller one.
    const BLANK: f64 = 1.6;
    marks.sort_by_key(|m| (m.bbox.x0, m.bbox.y0));
    let mut lines: Vec<Vec<Mark>> = Vec::new();
    for mark in marks {
        let home = lines
            .iter_mut()
            .filter(|line| line.last().is_some_and(|last| follows(last, &mark, BLANK)))
            .min_by_key(|line| line.last().map_or(i32::MAX, |last| mark.bbox.x0 - last.bbox.x1));
        match home {
            Some(line) => line.push(mark),
            None => lines.push(vec![mark]),
        }
    }
    lines
}

fn follows(last: &Mark, mark: &Mark, blank: f64) -> bool {
    /// Ink of one line differs by less, levels.
    const SAME_INK: f64 = 45.0;
    let (a, b) = (last.bbox, mark.bbox);
    let tall = f64::from(a.height().max(b.height()));
    let short = f64::from(a.height().min(b.height()));
    let gap = f64::from(b.x0 - a.x1);
    let feet = f64::from((a.y1 - b.y1).abs());
    let heads = f64::from((a.y0 - b.y0).abs());
    short >= 0.5 * tall
        && gap <= blank * tall
        && gap >= -0.3 * tall
        && feet.min(heads) <= 0.22 * tall + 1.0
        && feet.max(heads) <= 0.55 * tall
        && (last.ink - mark.ink).abs() < SAME_INK
}

/// Enough marks, most of them of the full height and on one base line, of one ink, and not all alike.
fn is_print(line: &[Mark], light: bool) -> bool {
    /// Share of the marks that must keep to the rule of the line.
    const MOST: f64 = 0.7;
    /// Contrast of the line's ink with the ground just around it, levels.
    const CLEAR: f64 = 45.0;
    /// Dark print stands on a ground at least as bright as this: dark islands between bright vessels do not.
    const BRIGHT_GROUND: f64 = 150.0;
    let count = line.len() as f64;
    let ground = line.iter().map(|m| m.ground).sum::<f64>() / count.max(1.0);
    if line.len() < LEAST_MARKS || !light && 255.0 - ground < BRIGHT_GROUND {
        return false;
    }
    let mut heights: Vec<i32> = line.iter().map(|m| m.bbox.height()).collect();
    heights.sort_unstable();
    let tall = heights[heights.len() * 3 / 4].max(1);
    let slack = |share: f64| (share * f64::from(tall)).max(1.0);
    // Capitals and digits have the full height, small letters two thirds to three quarters of it.
    let fits = line
        .iter()
        .filter(|m| {
            let h = f64::from(m.bbox.height());
            let t = f64::from(tall);
            (h - t).abs() <= slack(0.12) || (h - 0.72 * t).abs() <= slack(0.1)
        })
        .count() as f64;
    let on_base = on_one_line(line, slack(0.12));
    let clear = line.iter().map(|m| m.ink - m.ground).sum::<f64>() / count;
    let mut inks: Vec<f64> = line.iter().map(|m| m.ink).collect();
    inks.sort_by(f64::total_cmp);
    let one_ink = inks[inks.len() - 1 - inks.len() / 8] - inks[inks.len() / 8] < 50.0;
    // Characters are wider than a fifth of their height, but for 1, l and I, and differ in shape.
    let broad = line
        .iter()
        .filter(|m| f64::from(m.bbox.width()) >= 0.3 * f64::from(m.bbox.height()))
        .count();
    let full = line.iter().filter(|m| m.fill > 0.85).count();
    fits >= MOST * count
        && on_base >= MOST * count
        && clear >= CLEAR
        && one_ink
        && 2 * broad >= line.len()
        && 2 * full < line.len()
        && shapes(line) >= 3
}

/// Marks whose feet lie on the line that the most of them lie on; it may be slightly turned.
fn on_one_line(line: &[Mark], slack: f64) -> f64 {
    let foot = |m: &Mark| (f64::from(m.bbox.center_x()), f64::from(m.bbox.y1));
    let mut best = 0;
    for (i, a) in line.iter().enumerate() {
        for b in &line[i + 1..] {
            let ((xa, ya), (xb, yb)) = (foot(a), foot(b));
            let slope = (yb - ya) / (xb - xa).max(1.0);
            if slope.abs() > 0.06 {
                continue;
            }
            let on = line
                .iter()
                .filter(|m| {
                    let (x, y) = foot(m);
                    (y - ya - slope * (x - xa)).abs() <= slack
                })
                .count();
            best = best.max(on);
        }
    }
    best as f64
}

/// Number of different shapes, by width and filling.
fn shapes(line: &[Mark]) -> usize {
    let mut kinds: Vec<(f64, f64)> = Vec::new();
    for mark in line {
        let h = f64::from(mark.bbox.height().max(1));
        let own = (f64::from(mark.bbox.width()) / h, mark.fill);
        if kinds
            .iter()
            .all(|k| (k.0 - own.0).abs() > 1.3 / h || (k.1 - own.1).abs() > 0.06)
        {
            kinds.push(own);
        }
    }
    kinds.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    /// Digits of 5 x 7 points, rows from the top, the leftmost point in bit 4.
    const DIGITS: [[u8; 7]; 10] = [
        [14, 17, 19, 21, 25, 17, 14],
        [4, 12, 4, 4, 4, 4, 14],
        [14, 17, 1, 2, 4, 8, 31],
        [31, 2, 4, 2, 1, 17, 14],
        [2, 6, 10, 18, 31, 2, 2],
        [31, 16, 30, 1, 1, 17, 14],
        [6, 8, 16, 30, 17, 17, 14],
        [31, 1, 2, 4, 8, 8, 8],
        [14, 17, 17, 14, 17, 17, 14],
        [14, 17, 17, 15, 1, 2, 12],
    ];

    /// A round field with faint texture on black, or the same on white.
    fn photograph(paper: u8) -> RgbImage {
        RgbImage::from_fn(600, 500, |x, y| {
            let d = (f64::from(x) - 300.0).hypot(f64::from(y) - 250.0);
            if d < 240.0 {
                let v = 120 + ((x * 7 + y * 5) % 13) as u8;
                Rgb([v, v / 2, v / 3])
            } else {
                Rgb([paper; 3])
            }
        })
    }

    fn write(image: &mut RgbImage, text: &str, at: (u32, u32), point: u32, colour: [u8; 3]) {
        for (index, digit) in text.chars().enumerate() {
            let Some(digit) = digit.to_digit(10) else { continue };
            for (row, bits) in DIGITS[digit as usize].iter().enumerate() {
                for column in (0..5).filter(|c| bits >> (4 - c) & 1 == 1) {
                    for (dy, dx) in (0..point).flat_map(|dy| (0..point).map(move |dx| (dy, dx))) {
                        let x = at.0 + (index as u32 * 6 + column) * point + dx;
                        let y = at.1 + row as u32 * point + dy;
                        image.put_pixel(x, y, Rgb(colour));
                    }
                }
            }
        }
    }

    #[test]
    fn dates_and_numbers_are_found_in_every_corner() {
        let white = [255, 255, 255];
        for (paper, colour) in [(0, white), (0, [250, 240, 60]), (0, [40, 230, 60]), (255, [10, 10, 10])] {
            for at in [(12, 12), (400, 14), (12, 466), (410, 462)] {
                for point in [2, 3] {
                    let mut image = photograph(paper);
                    assert_eq!(burnt_in_text(&image), Vec::<Rect>::new());
                    write(&mut image, "2018 0312", at, point, colour);
                    let found = burnt_in_text(&image);
                    let (x, y, size) = (at.0 as i32, at.1 as i32, point as i32);
                    let place = Rect::new(x, y, x + 54 * size, y + 7 * size);
                    assert!(
                        found.iter().any(|f| f.iou(&place) > 0.5),
                        "{paper} {colour:?} {at:?} {point}: {found:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn panel_letters_scales_and_frames_are_no_print() {
        let white = [255, 255, 255];
        let mut letter = photograph(0);
        write(&mut letter, "2", (12, 12), 4, white);
        write(&mut letter, "17", (500, 12), 4, white);
        assert_eq!(burnt_in_text(&letter), []);
        // A scale with ticks, and a dotted line.
        let mut scale = photograph(0);
        for tick in 0..20 {
            for (x, y) in (0..2).flat_map(|x| (0..10).map(move |y| (x, y))) {
                scale.put_pixel(20 + tick * 14 + x, 470 + y, Rgb(white));
            }
            for (x, y) in (0..8).flat_map(|x| (0..8).map(move |y| (x, y))) {
                scale.put_pixel(20 + tick * 20 + x, 10 + y, Rgb(white));
            }
        }
        assert_eq!(burnt_in_text(&scale), []);
        // The length of a scale, over its bar.
        let mut length = photograph(0);
        write(&mut length, "2174", (20, 460), 2, white);
        assert_eq!(burnt_in_text(&length).len(), 1);
        for (x, y) in (0..70).flat_map(|x| (0..2).map(move |y| (x, y))) {
            length.put_pixel(20 + x, 482 + y, Rgb(white));
        }
        assert_eq!(burnt_in_text(&length), []);
        for side in [1, 20, 47] {
            assert_eq!(burnt_in_text(&RgbImage::new(side, side)), []);
        }
    }
}
