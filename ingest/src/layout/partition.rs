//! Panels of a figure: its blocks, cut again and again, best evidence first.
//!
//! The caption's number of labels is a constraint: weak cuts are made while
//! panels are missing and left alone once the number is reached. Strong
//! evidence is never overruled; the caller sees the two numbers differ.

use std::collections::HashMap;

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

/// The panels of a figure.
#[derive(Debug, Clone, PartialEq)]
pub struct Partition {
    /// In reading order.
    pub panels: Vec<Panel>,
    /// Evidence, 0..=1, of the best border that was left uncut.
    pub spare: f64,
}

impl Partition {
    /// Confidence of the least sure panel.
    fn weakest(&self) -> f64 {
        self.panels.iter().map(|p| p.confidence).fold(1.0, f64::min)
    }

    /// How well the borders are seen, and how much the panels look like pictures of
    /// one figure: of like area, none much taller than wide or wider than 2 : 1.
    fn likelihood(&self) -> f64 {
        /// Width to height of the tallest and the widest picture that is nothing unusual.
        const USUAL: (f64, f64) = (0.7, 2.2);
        let areas = self.panels.iter().map(|p| p.bbox.area() as f64);
        let (small, large) = areas.fold((f64::INFINITY, 1.0_f64), |(s, l), a| (s.min(a), l.max(a)));
        let shape = self.panels.iter().map(|p| {
            let aspect = f64::from(p.bbox.width()) / f64::from(p.bbox.height().max(1));
            (aspect / USUAL.0).min(USUAL.1 / aspect.max(1e-6)).min(1.0)
        });
        self.weakest() * (small.min(large) / large).sqrt() * shape.fold(1.0, f64::min)
    }
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
    /// Likely cuts, best first.
    cuts: Vec<Cut>,
}

/// Cuts `blocks` (sheet boxes of one figure) into panels, in reading order.
///
/// Best evidence first is wrong for some ragged figures (a column cut first hides
/// the row below it). When the caption's number is missed, or met by a cut that
/// nobody would make without it, other choices are tried, and of those that lead
/// to the number the most likely one is taken.
pub fn partition(sheet: &Sheet, blocks: &[Rect], least: i32, options: &PartitionOptions) -> Partition {
    let mut search = Search {
        sheet,
        least,
        options,
        known: HashMap::new(),
    };
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
                cuts: Vec::new(),
            };
            search.with_cuts(whole)
        })
        .collect();
    let first = search.cut_up(roots.clone(), &[]);
    let Some(expected) = options.expected else {
        return first;
    };
    if first.panels.len() == expected && first.weakest() >= options.threshold {
        return first;
    }
    let mut best = first;
    for begin in 0..TRIED {
        for later in 0..expected.clamp(2, MOST_STEPS) {
            let plan = [(0, begin), (later, usize::from(later > 0))];
            let found = search.cut_up(roots.clone(), if later == 0 { &plan[..1] } else { &plan });
            let better = best.panels.len() != expected || found.likelihood() > best.likelihood() + 1e-9;
            if found.panels.len() == expected && better {
                best = found;
            }
        }
    }
    best
}

/// Steps at which another cut than the best is tried.
const MOST_STEPS: usize = 8;

/// A node's box, its block, and whether its ground is dark.
type Place = ([i32; 4], usize, bool);

/// What a search for panels goes by, and the cuts it has already looked for.
struct Search<'a> {
    sheet: &'a Sheet,
    least: i32,
    options: &'a PartitionOptions,
    /// The box that remains at a place, and its likely cuts.
    known: HashMap<Place, (Rect, Vec<Cut>)>,
}

impl Search<'_> {
    fn with_cuts(&mut self, node: Node) -> Node {
        let key = (node.bbox.to_array(), node.block, node.on_dark);
        if let Some((bbox, cuts)) = self.known.get(&key) {
            return Node {
                bbox: *bbox,
                cuts: cuts.clone(),
                ..node
            };
        }
        let node = with_cuts(self.sheet, node, self.least);
        self.known.insert(key, (node.bbox, node.cuts.clone()));
        node
    }

    /// Cuts while there is evidence. `plan` names steps at which another cut than the best is made.
    fn cut_up(&mut self, mut nodes: Vec<Node>, plan: &[(usize, usize)]) -> Partition {
        let options = self.options;
        let mut spare: f64 = 0.0;
        for step in 0.. {
            let best = nodes
                .iter()
                .enumerate()
                .filter_map(|(i, n)| n.cuts.first().map(|cut| (i, cut.score)))
                .max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)));
            let Some((index, score)) = best else { break };
            let choice = plan.iter().find(|(at, _)| *at == step).map_or(0, |(_, choice)| *choice);
            let cut = match nodes[index].cuts.get(choice) {
                Some(cut) if choice == 0 || cut.score >= options.weak_threshold => cut.clone(),
                // There is no other choice here: the plan leads nowhere new.
                _ => nodes[index].cuts[0].clone(),
            };
            let needed = match options.expected {
                None => options.threshold,
                Some(n) if nodes.len() < n => options.weak_threshold,
                // Only a gutter is evidence enough against the caption.
                Some(_) if cut.kind == CutKind::Seam => f64::INFINITY,
                Some(_) => options.strong_threshold,
            };
            if cut.score < needed {
                spare = score;
                break;
            }
            let parent = nodes.swap_remove(index);
            let on_dark = parent.on_dark || is_dark_ground(&cut);
            for part in split(&parent.bbox, &cut) {
                let bbox = trim(self.sheet, &part, parent.dark, on_dark);
                if bbox.short_side() >= self.least / 2 {
                    let part = Node {
                        bbox,
                        block: parent.block,
                        confidence: parent.confidence.min(cut.score).min(1.0),
                        dark: parent.dark,
                        on_dark,
                        cuts: Vec::new(),
                    };
                    let part = self.with_cuts(part);
                    nodes.push(part);
                }
            }
        }
        finish(nodes, spare)
    }
}

fn finish(mut nodes: Vec<Node>, spare: f64) -> Partition {
    level_rows(&mut nodes);
    let mut panels: Vec<Panel> = nodes
        .into_iter()
        .map(|n| Panel {
            bbox: n.bbox,
            confidence: n.confidence,
        })
        .collect();
    reading_order(&mut panels, |p| p.bbox);
    tracing::debug!("{} panels, spare {spare:.2}", panels.len());
    Partition { panels, spare }
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

fn with_cuts(sheet: &Sheet, node: Node, least: i32) -> Node {
    let cuts = all_cuts(sheet, &node, least);
    let ground = cuts
        .iter()
        .find_map(|cut| beside_black(sheet, &node, cut))
        .filter(|lit| is_plausible(lit, least) && *lit != node.bbox);
    if let Some(bbox) = ground {
        return with_cuts(sheet, Node { bbox, ..node }, least);
    }
    let cuts = likely_of(sheet, &node, cuts, least);
    Node { cuts, ..node }
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
    /// Paper between black gutters is the inside of a chart, however thin its lines.
    const SHEET: f64 = 0.5;
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
    let lit = fillings.iter().all(|f| {
        f.content + f.paper >= least_light
            && (f.content >= 0.02 || (cut.kind == CutKind::DarkGutter && f.paper >= SHEET))
    });
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
