//! Printed lines and the regions they form, outside of the picture blocks.

use super::components::components;
use super::geometry::{Rect, hull};
use super::sheet::Sheet;

/// A region of running text: lines of one column that follow each other.
#[derive(Debug, Clone, PartialEq)]
pub struct TextRegion {
    /// Box around its lines, sheet pixels.
    pub bbox: Rect,
    /// Its lines, top to bottom, sheet pixels.
    pub lines: Vec<Rect>,
}

/// The print on a sheet.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Print {
    /// Regions in reading order.
    pub regions: Vec<TextRegion>,
    /// Short marks close to a block's border: candidates for panel letters.
    pub marks: Vec<Rect>,
    /// Typical line height, sheet pixels, 0 without print.
    pub line_height: i32,
}

/// Finds the print outside of `blocks`.
pub fn find_print(sheet: &Sheet, blocks: &[Rect]) -> Print {
    let mut mask = sheet.ink.clone();
    let width = sheet.width();
    for block in blocks {
        let block = block.grown(2).clipped(sheet.image.width(), sheet.image.height());
        for y in block.y0..block.y1 {
            mask[y as usize * width + block.x0 as usize..y as usize * width + block.x1 as usize].fill(false);
        }
    }
    let glyphs: Vec<Rect> = components(&mask, width, &sheet.bounds())
        .into_iter()
        .filter(|c| !is_rule_or_speck(c.bbox, c.pixels))
        .map(|c| c.bbox)
        .collect();
    let Some(glyph_height) = typical_height(&glyphs) else {
        return Print::default();
    };
    let mut lines = merge_into_lines(&glyphs, glyph_height);
    lines.sort_by_key(|l| (l.y0, l.x0));
    let line_height = median(lines.iter().filter(|l| l.width() > 3 * l.height()).map(Rect::height))
        .unwrap_or(glyph_height)
        .max(4);
    let (marks, lines) = separate_marks(lines, blocks, line_height);
    Print {
        regions: group_regions(&lines, blocks, line_height),
        marks,
        line_height,
    }
}

fn is_rule_or_speck(bbox: Rect, pixels: i64) -> bool {
    let (w, h) = (bbox.width(), bbox.height());
    pixels < 3 || (w > 12 * h && h <= 5) || (h > 12 * w && w <= 5)
}

fn median(values: impl Iterator<Item = i32>) -> Option<i32> {
    let mut values: Vec<i32> = values.collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

/// Height of full-size glyphs: parts of Chinese characters and dots are smaller, so the upper quartile counts.
fn typical_height(glyphs: &[Rect]) -> Option<i32> {
    let mut heights: Vec<i32> = glyphs.iter().map(Rect::height).filter(|&h| h >= 4).collect();
    heights.sort_unstable();
    heights.get(heights.len() * 3 / 4).copied()
}

/// Joins glyphs into lines: neighbours that share most of their rows and lie close.
fn merge_into_lines(glyphs: &[Rect], glyph_height: i32) -> Vec<Rect> {
    /// Largest blank inside a line, glyph heights (a full-width blank beside a full stop is 2).
    const REACH: f64 = 2.1;
    let reach = (f64::from(glyph_height) * REACH) as i32;
    let mut sorted: Vec<Rect> = glyphs.to_vec();
    // Full-size glyphs found lines, small marks join them afterwards.
    sorted.sort_by_key(|g| (g.height() * 2 < glyph_height, g.x0, g.y0));
    let mut lines: Vec<Rect> = Vec::new();
    for glyph in sorted {
        let small = glyph.height() * 2 < glyph_height;
        let home = lines
            .iter()
            .enumerate()
            .filter(|(_, line)| {
                let shared = line.overlap_y(&glyph);
                let enough = if small {
                    shared * 2 > glyph.height() || line.gap_y(&glyph) <= glyph_height / 4
                } else {
                    shared * 2 > glyph.height().min(line.height())
                };
                enough
                    && line.gap_x(&glyph) <= reach
                    && line.union(&glyph).height() <= 2 * glyph_height.max(line.height())
            })
            .min_by_key(|(_, line)| {
                (
                    line.gap_y(&glyph),
                    line.gap_x(&glyph),
                    (line.center_y() - glyph.center_y()).abs(),
                )
            })
            .map(|(i, _)| i);
        match home {
            Some(i) => lines[i] = lines[i].union(&glyph),
            None => lines.push(glyph),
        }
    }
    // Pieces of a line that grew towards each other.
    let mut index = 0;
    while index < lines.len() {
        let hit = (0..lines.len()).find(|&other| {
            other != index
                && lines[index].gap_x(&lines[other]) <= reach
                && 2 * lines[index].overlap_y(&lines[other]) > lines[index].height().min(lines[other].height())
        });
        match hit {
            Some(other) => {
                let gone = lines.swap_remove(other.max(index));
                let keep = other.min(index);
                lines[keep] = lines[keep].union(&gone);
                index = 0;
            }
            None => index += 1,
        }
    }
    lines.retain(|l| l.height() * 3 >= glyph_height);
    lines
}

/// Splits off short marks that stand alone near a block's upper or lower border.
fn separate_marks(lines: Vec<Rect>, blocks: &[Rect], line_height: i32) -> (Vec<Rect>, Vec<Rect>) {
    let is_mark = |line: &Rect| {
        let short = line.width() <= 3 * line_height && line.height() <= 3 * line_height;
        let beside_block = blocks.iter().any(|b| {
            line.center_x() > b.x0
                && line.center_x() < b.x1
                && b.gap_y(line) <= 2 * line_height
                && b.overlap_y(line) == 0
        });
        // The last word of a caption set above a figure hangs on the line before it.
        let continues = lines.iter().any(|other| {
            other != line
                && other.width() > 3 * line_height
                && other.y1 <= line.center_y()
                && other.gap_y(line) <= line_height
                && (other.x0 - line.x0).abs() <= 2 * line_height
        });
        short && beside_block && !continues
    };
    lines.iter().partition(|line| is_mark(line))
}

/// Groups lines that follow each other in one column.
fn group_regions(lines: &[Rect], blocks: &[Rect], line_height: i32) -> Vec<TextRegion> {
    /// Largest distance between the middles of following lines, line heights.
    const PITCH: f64 = 2.05;
    let mut groups: Vec<Vec<Rect>> = Vec::new();
    for line in lines {
        let home = groups.iter_mut().find(|group| {
            group.last().is_some_and(|last: &Rect| {
                let pitch = f64::from(line.center_y() - last.center_y());
                let limit = PITCH * f64::from(line_height.max(last.height().min(line.height())));
                let column = last.overlap_x(line) * 2 > last.width().min(line.width());
                let between = last.union(line);
                let crossed = blocks
                    .iter()
                    .any(|b| b.overlap_x(&between) > 0 && b.y0 >= last.center_y() && b.y1 <= line.center_y());
                pitch > 0.0 && pitch <= limit && column && !crossed && similar_size(last, line)
            })
        });
        match home {
            Some(group) => group.push(*line),
            None => groups.push(vec![*line]),
        }
    }
    let mut regions: Vec<TextRegion> = groups
        .into_iter()
        .flat_map(split_at_wide_gaps)
        .filter_map(|lines| hull(&lines).map(|bbox| TextRegion { bbox, lines }))
        .collect();
    regions.sort_by_key(|r| (r.bbox.y0, r.bbox.x0));
    regions
}

fn similar_size(a: &Rect, b: &Rect) -> bool {
    let (low, high) = (a.height().min(b.height()), a.height().max(b.height()));
    low * 5 >= high * 2
}

/// A blank clearly wider than the paragraph's own leading begins a new region.
fn split_at_wide_gaps(lines: Vec<Rect>) -> Vec<Vec<Rect>> {
    /// How much wider than the smallest pitch so far.
    const WIDER: f64 = 1.3;
    let mut out: Vec<Vec<Rect>> = Vec::new();
    let mut pitch = f64::INFINITY;
    for line in lines {
        let step = out
            .last()
            .and_then(|group| group.last())
            .map(|last| f64::from(line.y1 - last.y1));
        match (step, out.last_mut()) {
            (Some(step), Some(group)) if step <= pitch * WIDER => {
                pitch = pitch.min(step.max(1.0));
                group.push(line);
            }
            _ => {
                pitch = f64::INFINITY;
                out.push(vec![line]);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wider_gap_begins_a_new_region() {
        let line = |y| Rect::new(0, y, 100, y + 10);
        let groups = split_at_wide_gaps(vec![line(0), line(15), line(30), line(52), line(67)]);
        assert_eq!(groups.iter().map(Vec::len).collect::<Vec<_>>(), [3, 2]);
    }

    #[test]
    fn glyphs_form_lines_and_dots_join_them() {
        let mut glyphs: Vec<Rect> = (0..6).map(|i| Rect::new(i * 12, 0, i * 12 + 10, 10)).collect();
        glyphs.push(Rect::new(72, 8, 74, 10));
        glyphs.extend((0..4).map(|i| Rect::new(i * 12, 16, i * 12 + 10, 26)));
        glyphs.push(Rect::new(200, 0, 210, 10));
        let mut lines = merge_into_lines(&glyphs, 10);
        lines.sort_by_key(|l| (l.y0, l.x0));
        assert_eq!(
            lines,
            [
                Rect::new(0, 0, 74, 10),
                Rect::new(200, 0, 210, 10),
                Rect::new(0, 16, 46, 26)
            ]
        );
    }
}
