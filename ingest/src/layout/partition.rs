//! Panels of a figure: its blocks, cut again and again, best evidence first.
//!
//! The caption's number of labels is a constraint: weak cuts are made while
//! panels are missing and left alone once the number is reached. Strong
//! evidence is never overruled; the caller sees the two numbers differ.

use super::cuts::{Axis, Cut, CutKind, dark_level, filling, find_cuts};
use super::geometry::Rect;
use super::sheet::Sheet;

/// How cuts are accepted.
#[derive(Debug, Clone, Copy)]
pub struct PartitionOptions {
    /// Number of panels that the caption names, when known.
    pub expected: Option<usize>,
    /// Least score without a caption.
    pub threshold: f64,
    /// Least score while the caption names more panels.
    pub weak_threshold: f64,
    /// Score at which a cut is made although the caption names no more panels.
    pub strong_threshold: f64,
}

impl Default for PartitionOptions {
    /// Thresholds chosen on drawn pages (see the tests) and checked on photographs.
    fn default() -> Self {
        Self {
            expected: None,
            threshold: 0.48,
            weak_threshold: 0.33,
            strong_threshold: 0.9,
        }
    }
}

/// A panel and how sure its borders are.
#[derive(Debug, Clone, PartialEq)]
pub struct Panel {
    /// Box in sheet pixels.
    pub bbox: Rect,
    /// Score of the weakest cut that made it, 1.0 for a block of its own.
    pub confidence: f64,
}

#[derive(Clone)]
struct Node {
    bbox: Rect,
    /// Which block it is part of.
    block: usize,
    confidence: f64,
    dark: u8,
    /// The figure's own ground is black: what is cut off a panel's rim is not picture.
    on_dark: bool,
    best: Option<Cut>,
}

/// Cuts `blocks` (sheet boxes of one figure) into panels, in reading order.
///
/// Best evidence first is wrong for some ragged figures (a column cut first hides
/// the row below it). When the caption's number is missed, the other likely first
/// cuts are tried, and the first that leads to the number is taken.
pub fn partition(sheet: &Sheet, blocks: &[Rect], least: i32, options: &PartitionOptions) -> Vec<Panel> {
    let roots: Vec<Node> = blocks
        .iter()
        .enumerate()
        .map(|(block, bbox)| {
            let whole = Node {
                bbox: *bbox,
                block,
                confidence: 1.0,
                dark: dark_level(sheet, bbox),
                on_dark: false,
                best: None,
            };
            with_best_cut(sheet, whole, least)
        })
        .collect();
    let first = cut_up(sheet, roots.clone(), least, options);
    let Some(expected) = options.expected.filter(|n| *n != first.len()) else {
        return first;
    };
    let Some(largest) = (0..roots.len()).max_by_key(|&i| roots[i].bbox.area()) else {
        return first;
    };
    for cut in likely_cuts(sheet, &roots[largest], least) {
        if roots[largest].best.as_ref() == Some(&cut) || cut.score < options.weak_threshold {
            continue;
        }
        let mut other = roots.clone();
        other[largest].best = Some(Cut { score: FORCED, ..cut });
        let panels = cut_up(sheet, other, least, options);
        if panels.len() == expected {
            return panels;
        }
    }
    first
}

/// Score of a cut that is tried before all others.
const FORCED: f64 = 2.0;

fn cut_up(sheet: &Sheet, mut nodes: Vec<Node>, least: i32, options: &PartitionOptions) -> Vec<Panel> {
    while let Some((index, score)) = nodes
        .iter()
        .enumerate()
        .filter_map(|(i, n)| n.best.as_ref().map(|cut| (i, cut.score)))
        .max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)))
    {
        let seam = nodes[index].best.as_ref().is_some_and(|c| c.kind == CutKind::Seam);
        let needed = match options.expected {
            None => options.threshold,
            Some(n) if nodes.len() < n => options.weak_threshold,
            // Only a gutter is evidence enough against the caption.
            Some(_) if seam => break,
            Some(_) => options.strong_threshold,
        };
        if score < needed {
            break;
        }
        let parent = nodes.swap_remove(index);
        let Some(cut) = parent.best else { break };
        let on_dark = parent.on_dark || is_dark_ground(&cut);
        for part in split(&parent.bbox, &cut) {
            let bbox = trim(sheet, &part, parent.dark, on_dark);
            if bbox.short_side() >= least / 2 {
                let part = Node {
                    bbox,
                    block: parent.block,
                    confidence: parent.confidence.min(cut.score).min(1.0),
                    dark: parent.dark,
                    on_dark,
                    best: None,
                };
                nodes.push(with_best_cut(sheet, part, least));
            }
        }
    }
    level_rows(&mut nodes);
    let mut panels: Vec<Panel> = nodes
        .into_iter()
        .map(|n| Panel {
            bbox: n.bbox,
            confidence: n.confidence,
        })
        .collect();
    reading_order(&mut panels, |p| p.bbox);
    panels
}

/// Cuts of a region, best evidence first.
fn all_cuts(sheet: &Sheet, node: &Node, least: i32) -> Vec<Cut> {
    // Parts of a block are seldom smaller than an eighth of it.
    let part = least.max(node.bbox.short_side() / 8);
    let mut cuts: Vec<Cut> = [Axis::Horizontal, Axis::Vertical]
        .into_iter()
        .flat_map(|axis| find_cuts(sheet, &node.bbox, axis, node.dark, part))
        .collect();
    cuts.sort_by(|a, b| b.score.total_cmp(&a.score));
    tracing::debug!(
        "{:?}: {:?}",
        node.bbox,
        cuts.iter()
            .take(6)
            .map(|c| (c.axis, c.position, c.score))
            .collect::<Vec<_>>()
    );
    cuts
}

/// The few best cuts that leave pictures on both sides, best first.
fn likely_cuts(sheet: &Sheet, node: &Node, least: i32) -> Vec<Cut> {
    likely_of(sheet, node, all_cuts(sheet, node, least), least)
}

fn likely_of(sheet: &Sheet, node: &Node, cuts: Vec<Cut>, least: i32) -> Vec<Cut> {
    let mut likely: Vec<Cut> = cuts
        .into_iter()
        .filter(|cut| makes_pictures(sheet, node, cut, least))
        .take(TRIED)
        .map(|cut| Cut {
            score: cut.score * (1.0 - 0.5 * common_paper(sheet, node, &cut)),
            ..cut
        })
        .collect();
    likely.sort_by(|a, b| b.score.total_cmp(&a.score));
    likely
}

fn with_best_cut(sheet: &Sheet, node: Node, least: i32) -> Node {
    let cuts = all_cuts(sheet, &node, least);
    let ground = cuts
        .iter()
        .find_map(|cut| beside_black(sheet, &node, cut))
        .filter(|lit| is_plausible(lit, least) && *lit != node.bbox);
    if let Some(bbox) = ground {
        return with_best_cut(sheet, Node { bbox, ..node }, least);
    }
    let best = likely_of(sheet, &node, cuts, least).into_iter().next();
    Node { best, ..node }
}

/// Cuts compared by what they leave on both sides.
const TRIED: usize = 4;

/// Share of paper on the side that has less of it: the lines of a chart are no borders of pictures.
fn common_paper(sheet: &Sheet, node: &Node, cut: &Cut) -> f64 {
    if cut.kind != CutKind::Seam {
        return 0.0;
    }
    let [a, b] = split(&node.bbox, cut).map(|p| filling(sheet, &trim(sheet, &p, node.dark, false), node.dark).paper);
    a.min(b)
}

/// A black gutter of at least 2 sheet px shows that the figure's own ground is black.
fn is_dark_ground(cut: &Cut) -> bool {
    cut.kind == CutKind::DarkGutter && cut.position - cut.first_end >= 2
}

/// True when both sides of the cut look like pictures of their own.
fn makes_pictures(sheet: &Sheet, node: &Node, cut: &Cut, least: i32) -> bool {
    /// A part takes at least this share of the region across the cut.
    const SHARE: f64 = 0.14;
    /// A picture between gutters is lit at least this far: bands of dark vitreous are none.
    const LIT: f64 = 0.2;
    /// At a seam a dark B-scan is told by the jump.
    const DIM: f64 = 0.06;
    /// A part with more paper than this is a chart; charts are not cut.
    const CHART: f64 = 0.2;
    /// Between light gutters stand pictures that fill their rectangles.
    const DENSE: f64 = 0.6;
    let extent = |r: &Rect| match cut.axis {
        Axis::Vertical => r.width(),
        Axis::Horizontal => r.height(),
    };
    let parts = split(&node.bbox, cut).map(|p| trim(sheet, &p, node.dark, node.on_dark || is_dark_ground(cut)));
    let fillings = parts.map(|p| filling(sheet, &p, node.dark));
    let sized = parts
        .iter()
        .all(|p| is_plausible(p, least) && f64::from(extent(p)) >= SHARE * f64::from(extent(&node.bbox)));
    let least_light = if cut.kind == CutKind::Seam { DIM } else { LIT };
    let lit = fillings
        .iter()
        .all(|f| f.content + f.paper >= least_light && f.content >= 0.02);
    let charts = fillings.iter().filter(|f| f.paper > CHART).count();
    let dense = fillings.iter().all(|f| f.content >= DENSE);
    sized
        && lit
        && match cut.kind {
            CutKind::DarkGutter => charts < 2,
            CutKind::LightGutter => dense,
            // A ragged figure has paper beside its shorter rows: the parts are trimmed of it, but an L stays one.
            CutKind::Seam => charts < 2,
        }
}

/// Parts are not slivers: a row of four panels is about 6 : 1, a column of them 1 : 4.
fn is_plausible(bbox: &Rect, least: i32) -> bool {
    const WIDEST: f64 = 7.0;
    const TALLEST: f64 = 5.0;
    let (w, h) = (f64::from(bbox.width()), f64::from(bbox.height()));
    bbox.short_side() >= least && w / h.max(1.0) <= WIDEST && h / w.max(1.0) <= TALLEST
}

/// The lit part of a cut whose other part is nothing but black, beyond a sharp edge.
fn beside_black(sheet: &Sheet, node: &Node, cut: &Cut) -> Option<Rect> {
    /// Evidence of the edge.
    const SHARP: f64 = 0.72;
    /// Light that black ground may still hold.
    const NOTHING: f64 = 0.01;
    if cut.score < SHARP {
        return None;
    }
    let parts = split(&node.bbox, cut);
    let lit = parts.map(|p| {
        let f = filling(sheet, &p, node.dark);
        f.content + f.paper > NOTHING
    });
    match lit {
        [true, false] => Some(parts[0]),
        [false, true] => Some(parts[1]),
        _ => None,
    }
}

fn split(bbox: &Rect, cut: &Cut) -> [Rect; 2] {
    let (mut first, mut second) = (*bbox, *bbox);
    match cut.axis {
        Axis::Vertical => {
            first.x1 = cut.first_end;
            second.x0 = cut.position;
        }
        Axis::Horizontal => {
            first.y1 = cut.first_end;
            second.y0 = cut.position;
        }
    }
    [first, second]
}

/// Takes paper off the rim of a part, then, if `strip_dark`, the black of the
/// figure's own ground. Never paper again after black: a chart's frame is black
/// and its inside is paper.
pub fn trim(sheet: &Sheet, bbox: &Rect, dark: u8, strip_dark: bool) -> Rect {
    let paper = |x: i32, y: i32| !sheet.has_ink(x, y);
    let black = |x: i32, y: i32| sheet.image.get_pixel(x as u32, y as u32).0.iter().all(|&v| v <= dark);
    let out = shrink(bbox, paper);
    // The outermost pixels mix paper and black.
    let bare = shrink(&out.grown(-2), black);
    if strip_dark {
        return bare;
    }
    let width = f64::from(out.width());
    let (left, right) = (f64::from(bare.x0 - out.x0), f64::from(out.x1 - bare.x1));
    let between = left.min(right) > 4.0 && left + right > WIDE_GROUND * width;
    let mut ground = out;
    if between || left > ONE_SIDED_GROUND * width {
        ground.x0 = bare.x0;
    }
    if between || right > ONE_SIDED_GROUND * width {
        ground.x1 = bare.x1;
    }
    ground
}

/// Share of a part's width that black on both sides must take to be ground: a
/// round field in a 4 : 3 frame leaves a quarter.
const WIDE_GROUND: f64 = 0.3;
/// The same for black on one side only.
const ONE_SIDED_GROUND: f64 = 0.28;

/// Takes lines off the rim that are `empty` nearly throughout.
fn shrink(bbox: &Rect, empty: impl Fn(i32, i32) -> bool) -> Rect {
    /// Share of other pixels at which a line belongs to the picture.
    const SOME: f64 = 0.015;
    let mut out = *bbox;
    let column =
        |x: i32, r: &Rect| (r.y0..r.y1).filter(|&y| !empty(x, y)).count() as f64 > SOME * f64::from(r.height());
    let row = |y: i32, r: &Rect| (r.x0..r.x1).filter(|&x| !empty(x, y)).count() as f64 > SOME * f64::from(r.width());
    while out.y0 < out.y1 && !row(out.y0, &out) {
        out.y0 += 1;
    }
    while out.y1 > out.y0 && !row(out.y1 - 1, &out) {
        out.y1 -= 1;
    }
    while out.x0 < out.x1 && !column(out.x0, &out) {
        out.x0 += 1;
    }
    while out.x1 > out.x0 && !column(out.x1 - 1, &out) {
        out.x1 -= 1;
    }
    out
}

/// Gives panels of one row of a block that was trimmed of black the same top
/// and bottom: the dark upper part of a B-scan is picture, not ground.
fn level_rows(nodes: &mut [Node]) {
    /// Share of the row's height up to which a panel is stretched.
    const STRETCH: f64 = 0.45;
    let boxes: Vec<(usize, Rect, bool)> = nodes.iter().map(|n| (n.block, n.bbox, n.on_dark)).collect();
    for (index, node) in nodes.iter_mut().enumerate() {
        if !node.on_dark {
            continue;
        }
        let own = node.bbox;
        let row = boxes
            .iter()
            .enumerate()
            .filter(|(other, (block, b, _))| {
                *other != index
                    && *block == node.block
                    && b.overlap_x(&own) == 0
                    && 2 * b.overlap_y(&own) > b.height().min(own.height())
            })
            .fold(own, |all, (_, (_, b, _))| {
                Rect::new(own.x0, all.y0.min(b.y0), own.x1, all.y1.max(b.y1))
            });
        let free = boxes
            .iter()
            .enumerate()
            .all(|(other, (_, b, _))| other == index || b.intersection(&row).is_empty());
        if free && f64::from(own.height()) >= (1.0 - STRETCH) * f64::from(row.height()) {
            node.bbox = row;
        }
    }
}

/// Sorts into rows from the top, each row from the left. Boxes share a row when
/// they overlap by half of the lower one's height.
pub fn reading_order<T>(items: &mut Vec<T>, bbox: impl Fn(&T) -> Rect) {
    let mut rest: Vec<T> = std::mem::take(items);
    rest.sort_by_key(|i| (bbox(i).y0, bbox(i).x0));
    while !rest.is_empty() {
        let first = bbox(&rest[0]);
        let (mut row, others): (Vec<T>, Vec<T>) = rest.into_iter().partition(|i| {
            let b = bbox(i);
            2 * b.overlap_y(&first) >= b.height().min(first.height())
        });
        row.sort_by_key(|i| (bbox(i).x0, bbox(i).y0));
        items.extend(row);
        rest = others;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_before_columns_with_ragged_tops() {
        let mut boxes = vec![
            Rect::new(100, 4, 190, 90),
            Rect::new(0, 100, 90, 190),
            Rect::new(0, 0, 90, 90),
            Rect::new(100, 110, 190, 180),
        ];
        reading_order(&mut boxes, |b| *b);
        assert_eq!(
            boxes.iter().map(|b| (b.x0, b.y0)).collect::<Vec<_>>(),
            [(0, 0), (100, 4), (0, 100), (100, 110)]
        );
    }
}
