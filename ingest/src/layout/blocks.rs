//! Picture blocks: connected areas of ink too large to be text.

use super::components::components;
use super::geometry::Rect;
use super::sheet::Sheet;

/// A picture is at least this share of the page's shorter side in both directions.
const MIN_SIDE_SHARE: f64 = 0.07;
/// ... and at least this many page pixels.
const MIN_SIDE_PAGE_PX: u32 = 90;
/// Components that fill less of their box than this are line drawings or tables; they must be larger.
const SOLID_FILL: f64 = 0.25;
/// Least share of the page's shorter side for a sparse component.
const MIN_SPARSE_SHARE: f64 = 0.16;

/// Smallest picture side on this sheet, sheet pixels.
pub fn min_side(sheet: &Sheet) -> i32 {
    let share = sheet.width().min(sheet.height()) as f64 * MIN_SIDE_SHARE;
    (share as i32)
        .max((MIN_SIDE_PAGE_PX / sheet.factor) as i32)
        .min(sheet.width().min(sheet.height()) as i32)
}

/// Boxes of the picture blocks, top to bottom.
pub fn find_blocks(sheet: &Sheet) -> Vec<Rect> {
    let least = min_side(sheet);
    let sparse_least = (sheet.width().min(sheet.height()) as f64 * MIN_SPARSE_SHARE) as i32;
    let mut blocks: Vec<Rect> = Vec::new();
    let mut photographs: Vec<Rect> = Vec::new();
    for component in components(&sheet.ink, sheet.width(), &sheet.bounds()) {
        let bbox = component.bbox;
        let fill = component.pixels as f64 / bbox.area().max(1) as f64;
        let floor = if fill >= SOLID_FILL {
            least
        } else {
            sparse_least.max(least)
        };
        if bbox.short_side() < floor {
            continue;
        }
        let bbox = shave(sheet, &bbox);
        if bbox.short_side() >= floor {
            blocks.push(bbox);
            if fill >= SOLID_FILL {
                photographs.push(bbox);
            }
        }
    }
    let framed: Vec<Rect> = blocks.iter().filter(|b| is_framed(sheet, b)).copied().collect();
    let cards = find_cards(sheet, &photographs, sparse_least.max(least));
    // A whole figure may stand on a ground of its own: its framed charts are the pictures then.
    blocks.extend(cards.into_iter().filter(|card| {
        let holds = |f: &Rect| card.contains(f) && 10 * f.area() < 9 * card.area();
        !framed.iter().any(holds)
    }));
    merge_overlapping(&mut blocks);
    blocks.sort_by_key(|b| (b.y0, b.x0));
    blocks
}

/// True when lines run along at least three sides of the box.
fn is_framed(sheet: &Sheet, bbox: &Rect) -> bool {
    /// Share of a side that its line covers.
    const LINE: f64 = 0.7;
    /// Lines at most this far inside count, sheet pixels.
    const INSIDE: i32 = 3;
    let row =
        |y: i32| (bbox.x0..bbox.x1).filter(|&x| sheet.has_ink(x, y)).count() as f64 / f64::from(bbox.width().max(1));
    let column =
        |x: i32| (bbox.y0..bbox.y1).filter(|&y| sheet.has_ink(x, y)).count() as f64 / f64::from(bbox.height().max(1));
    let sides = [
        (bbox.y0..bbox.y0 + INSIDE).any(|y| row(y) >= LINE),
        (bbox.y1 - INSIDE..bbox.y1).any(|y| row(y) >= LINE),
        (bbox.x0..bbox.x0 + INSIDE).any(|x| column(x) >= LINE),
        (bbox.x1 - INSIDE..bbox.x1).any(|x| column(x) >= LINE),
    ];
    sides.iter().filter(|s| **s).count() >= 3
}

/// Side of the squares whose mean colour is compared with the paper, sheet pixels.
const CELL: i32 = 4;

/// Charts without a frame whose ground is a little lighter or darker than the page:
/// rectangles of another shade with thin lines in them, clear of the photographs.
fn find_cards(sheet: &Sheet, photographs: &[Rect], least: i32) -> Vec<Rect> {
    /// Difference from the paper that noise and JPEG do not reach in the mean of a cell, levels.
    const OTHER_SHADE: f64 = 6.0;
    /// Share of its box that a rectangle fills.
    const FILL: f64 = 0.88;
    /// Share of ink: an empty ground has less, a photograph more.
    const LINES: std::ops::Range<f64> = 0.003..0.3;
    let (width, height) = (sheet.width() as i32 / CELL, sheet.height() as i32 / CELL);
    let shade = |cx: i32, cy: i32| -> f64 {
        let mut sum = [0.0; 3];
        for y in cy * CELL..(cy + 1) * CELL {
            for x in cx * CELL..(cx + 1) * CELL {
                let pixel = sheet.image.get_pixel(x as u32, y as u32).0;
                for (total, value) in sum.iter_mut().zip(pixel) {
                    *total += f64::from(value);
                }
            }
        }
        (0..3)
            .map(|c| (sum[c] / f64::from(CELL * CELL) - f64::from(sheet.paper[c])).abs())
            .fold(0.0, f64::max)
    };
    let mut mask: Vec<bool> = (0..width * height)
        .map(|i| shade(i % width, i / width) >= OTHER_SHADE)
        .collect();
    for photograph in photographs {
        let Rect { x0, y0, x1, y1 } = photograph.grown(CELL);
        for cy in (y0 / CELL).max(0)..(y1 / CELL + 1).min(height) {
            for cx in (x0 / CELL).max(0)..(x1 / CELL + 1).min(width) {
                mask[(cy * width + cx) as usize] = false;
            }
        }
    }
    let ink_share = |r: &Rect| {
        let ink = (r.y0..r.y1)
            .flat_map(|y| (r.x0..r.x1).map(move |x| (x, y)))
            .filter(|&(x, y)| sheet.has_ink(x, y))
            .count();
        ink as f64 / r.area().max(1) as f64
    };
    components(&mask, width.max(0) as usize, &Rect::new(0, 0, width, height))
        .into_iter()
        .filter(|c| c.bbox.short_side() * CELL >= least && c.pixels as f64 >= FILL * c.bbox.area() as f64)
        .map(|c| Rect::new(c.bbox.x0 * CELL, c.bbox.y0 * CELL, c.bbox.x1 * CELL, c.bbox.y1 * CELL))
        .filter(|card| LINES.contains(&ink_share(card)))
        .filter(|card| photographs.iter().all(|p| p.intersection(card).is_empty()))
        .collect()
}

/// Takes off sides whose lines hold almost no ink: an arrow or a letter that
/// touches the picture must not widen its box. At most a tenth is taken.
fn shave(sheet: &Sheet, bbox: &Rect) -> Rect {
    /// A line with less ink than this share belongs to something that sticks out.
    const THIN: f64 = 0.04;
    let limit_x = bbox.width() / 10;
    let limit_y = bbox.height() / 10;
    let column = |x: i32| (bbox.y0..bbox.y1).filter(|&y| sheet.has_ink(x, y)).count() as f64 / f64::from(bbox.height());
    let row = |y: i32| (bbox.x0..bbox.x1).filter(|&x| sheet.has_ink(x, y)).count() as f64 / f64::from(bbox.width());
    let mut out = *bbox;
    while out.x0 - bbox.x0 < limit_x && column(out.x0) < THIN {
        out.x0 += 1;
    }
    while bbox.x1 - out.x1 < limit_x && column(out.x1 - 1) < THIN {
        out.x1 -= 1;
    }
    while out.y0 - bbox.y0 < limit_y && row(out.y0) < THIN {
        out.y0 += 1;
    }
    while bbox.y1 - out.y1 < limit_y && row(out.y1 - 1) < THIN {
        out.y1 -= 1;
    }
    out
}

/// Joins boxes that cover a good part of each other (a chart's frame and its parts).
fn merge_overlapping(blocks: &mut Vec<Rect>) {
    /// Share of the smaller box that must lie inside the larger one.
    const INSIDE: f64 = 0.3;
    let mut index = 0;
    while index < blocks.len() {
        let hit = (index + 1..blocks.len()).find(|&other| {
            let both = blocks[index].intersection(&blocks[other]);
            !both.is_empty() && both.area() as f64 > INSIDE * blocks[index].area().min(blocks[other].area()) as f64
        });
        match hit {
            Some(other) => {
                let gone = blocks.swap_remove(other);
                blocks[index] = blocks[index].union(&gone);
                index = 0;
            }
            None => index += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Rgb, RgbImage};

    /// A tinted page with a white chart of two lines; `framed` draws its frame, `ground` is the white rectangle.
    fn page(ground: Rect, chart: Rect, framed: bool) -> RgbImage {
        RgbImage::from_fn(1000, 800, |x, y| {
            let (x, y) = (x as i32, y as i32);
            let inside = |r: &Rect| x >= r.x0 && x < r.x1 && y >= r.y0 && y < r.y1;
            let rim = inside(&chart) && !inside(&chart.grown(-3));
            let line = inside(&chart.grown(-40)) && (y - chart.y0) % 90 < 4;
            if (framed && rim) || line {
                Rgb([20, 20, 20])
            } else if inside(&ground) || inside(&chart) {
                Rgb([255, 255, 255])
            } else {
                Rgb([253, 249, 238])
            }
        })
    }

    #[test]
    fn charts_without_a_frame_are_told_by_their_ground() {
        let chart = Rect::new(200, 160, 600, 560);
        let blocks = find_blocks(&Sheet::new(&page(chart, chart, false)));
        assert_eq!(blocks.len(), 1);
        assert!(blocks[0].iou(&chart) > 0.9, "{:?}", blocks[0]);
    }

    #[test]
    fn the_ground_of_a_figure_is_no_picture() {
        let chart = Rect::new(300, 200, 600, 500);
        let blocks = find_blocks(&Sheet::new(&page(Rect::new(60, 100, 940, 600), chart, true)));
        assert_eq!(blocks.len(), 1);
        assert!(blocks[0].iou(&chart) > 0.9, "{:?}", blocks[0]);
    }
}
