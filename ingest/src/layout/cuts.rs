//! Straight cuts through a picture block, from one side to the other.
//!
//! A cut is judged line by line across its length. Where both sides are the
//! same empty colour (paper, or the black around a round field) a line says
//! nothing; where the pixels jump it speaks for the cut; where the picture goes
//! on it speaks against it. So gutters of either polarity and abutting
//! photographs are one question, and whiteness plays no part.

use super::geometry::Rect;
use super::sheet::Sheet;

/// Which way a cut runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axis {
    /// A vertical line: left part and right part.
    Vertical,
    /// A horizontal line: upper part and lower part.
    Horizontal,
}

/// What a cut runs along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CutKind {
    /// A band of black between the parts.
    DarkGutter,
    /// A band of paper, or of another flat colour, between the parts.
    LightGutter,
    /// No band: pictures that abut.
    Seam,
}

/// A cut of a region in two.
#[derive(Debug, Clone, PartialEq)]
pub struct Cut {
    /// What it runs along.
    pub kind: CutKind,
    /// Direction of the line.
    pub axis: Axis,
    /// First sheet column (or row) of the second part.
    pub position: i32,
    /// End of the first part: smaller than `position` where a gutter lies between.
    pub first_end: i32,
    /// Evidence, 0..=1.
    pub score: f64,
}

/// What a pixel can say about the picture it lies in.
const CONTENT: u8 = 0;
const DARK: u8 = 1;
const PAPER: u8 = 2;

/// Pixels of a region, classed, with lines and columns exchanged for vertical cuts:
/// line after line along the direction of travel, each `breadth` long.
struct Grid {
    axis: Axis,
    /// Number of candidate positions.
    length: i32,
    /// Number of pixels that a cut crosses.
    breadth: i32,
    /// Red, green and blue.
    planes: [Vec<u8>; 3],
    /// [`CONTENT`], [`DARK`] or [`PAPER`].
    classes: Vec<u8>,
}

/// Upper limit of "black" in a block: scans and JPEG lift it above 0, dim photographs must stay above it.
pub fn dark_level(sheet: &Sheet, block: &Rect) -> u8 {
    let mut histogram = [0u32; 256];
    let mut total = 0u32;
    for y in (block.y0..block.y1).step_by(2) {
        for x in (block.x0..block.x1).step_by(2) {
            let p = sheet.image.get_pixel(x as u32, y as u32).0;
            histogram[usize::from(p[0].max(p[1]).max(p[2]))] += 1;
            total += 1;
        }
    }
    let mut seen = 0;
    let low = (0..256usize)
        .find(|&v| {
            seen += histogram[v];
            seen * 100 >= total
        })
        .unwrap_or(0);
    (low as u8).saturating_add(10).clamp(12, 26)
}

fn class_of(pixel: [u8; 3], paper: [u8; 3], dark: u8) -> u8 {
    /// Same bound as the sheet's ink mask.
    const PAPER_DISTANCE: u8 = 24;
    if (0..3).all(|c| pixel[c].abs_diff(paper[c]) <= PAPER_DISTANCE) {
        PAPER
    } else if pixel.iter().all(|&v| v <= dark) {
        DARK
    } else {
        CONTENT
    }
}

impl Grid {
    /// A view of `region` for cuts along `axis`.
    fn new(sheet: &Sheet, region: Rect, axis: Axis, dark: u8) -> Self {
        let (width, height) = (region.width().max(0) as usize, region.height().max(0) as usize);
        let size = width * height;
        let mut grid = Self {
            axis,
            length: (if axis == Axis::Vertical { width } else { height }) as i32,
            breadth: (if axis == Axis::Vertical { height } else { width }) as i32,
            planes: [vec![0; size], vec![0; size], vec![0; size]],
            classes: vec![0; size],
        };
        let stride = sheet.width() * 3;
        let raw = sheet.image.as_raw();
        for y in 0..height {
            let start = (region.y0 as usize + y) * stride + region.x0 as usize * 3;
            for (x, rgb) in raw[start..start + width * 3].chunks_exact(3).enumerate() {
                let at = match axis {
                    Axis::Vertical => x * height + y,
                    Axis::Horizontal => y * width + x,
                };
                let pixel = [rgb[0], rgb[1], rgb[2]];
                for (plane, value) in grid.planes.iter_mut().zip(pixel) {
                    plane[at] = value;
                }
                grid.classes[at] = class_of(pixel, sheet.paper, dark);
            }
        }
        grid
    }

    fn span(&self, position: i32) -> std::ops::Range<usize> {
        let breadth = self.breadth as usize;
        position as usize * breadth..(position as usize + 1) * breadth
    }

    fn classes(&self, position: i32) -> &[u8] {
        &self.classes[self.span(position)]
    }

    /// Share of each line's pixels that carry picture content.
    fn content_profile(&self) -> Vec<f64> {
        (0..self.length)
            .map(|position| self.share_of(CONTENT, position))
            .collect()
    }

    /// Share of a line's pixels that are of `class`.
    fn share_of(&self, class: u8, position: i32) -> f64 {
        let count = self
            .classes(position)
            .iter()
            .fold(0u32, |count, c| count.wrapping_add(u32::from(*c == class)));
        f64::from(count) / f64::from(self.breadth.max(1))
    }

    /// True when the line has one colour throughout.
    fn is_uniform(&self, position: i32) -> bool {
        /// Largest mean distance from the line's own mean, levels.
        const FLAT: u32 = 3;
        /// Parts of a level that are counted.
        const PARTS: u32 = 16;
        let [r, g, b] = [0, 1, 2].map(|c| &self.planes[c][self.span(position)]);
        let breadth = self.breadth.max(1) as u32;
        let [mr, mg, mb] = [r, g, b].map(|line| {
            let sum = line.iter().fold(0u32, |sum, v| sum.wrapping_add(u32::from(*v)));
            (PARTS * sum / breadth) as u16
        });
        let mut off = 0u32;
        for ((r, g), b) in r.chunks(64).zip(g.chunks(64)).zip(b.chunks(64)) {
            off += r.iter().zip(g).zip(b).fold(0u32, |sum, ((r, g), b)| {
                let away = |v: u8, mean: u16| (u16::from(v) * PARTS as u16).abs_diff(mean);
                sum.wrapping_add(u32::from(away(*r, mr).max(away(*g, mg)).max(away(*b, mb))))
            });
            if off >= FLAT * PARTS * breadth {
                return false;
            }
        }
        true
    }

    /// Largest difference in any channel between the pixels of two lines.
    fn distances(&self, a: i32, b: i32) -> Vec<u8> {
        let (a, b) = (self.span(a), self.span(b));
        let mut out = vec![0u8; self.breadth as usize];
        for plane in &self.planes {
            for ((out, a), b) in out.iter_mut().zip(&plane[a.clone()]).zip(&plane[b.clone()]) {
                *out = (*out).max(a.abs_diff(*b));
            }
        }
        out
    }
}

/// Distance between the pixels compared across a cut: the boundary itself is smeared over 2-3 px.
const STEP_SPAN: i32 = 3;

/// Support and contradiction of the boundary between lines `position - 1` and `position`.
#[derive(Debug, Clone, Copy)]
struct Evidence {
    support: f64,
    against: f64,
    /// Mean jump across the boundary over the whole breadth, levels.
    jump: f64,
}

/// The evidence at every position.
///
/// The jump at one position is the roughness beside another: the lines compared
/// are [`STEP_SPAN`] apart in both, so each pair of lines is compared once.
fn all_evidence(grid: &Grid) -> Vec<Evidence> {
    let clamp = |p: i32| p.clamp(0, grid.length - 1);
    let mut known: std::collections::VecDeque<((i32, i32), Vec<u8>)> = std::collections::VecDeque::new();
    (0..grid.length)
        .map(|position| {
            let (near_a, near_b) = (clamp(position - 2), clamp(position + 1));
            let (far_a, far_b) = (clamp(position - 2 - STEP_SPAN), clamp(position + 1 + STEP_SPAN));
            let pairs = [(near_a, near_b), (far_a, near_a), (near_b, far_b)];
            for (a, b) in pairs {
                if !known.iter().any(|(key, _)| *key == (a, b)) {
                    known.push_back(((a, b), grid.distances(a, b)));
                }
            }
            let of = |pair: (i32, i32)| known.iter().find(|(key, _)| *key == pair).map_or(&[][..], |(_, d)| d);
            let classes = (grid.classes(near_a), grid.classes(near_b));
            let found = weigh(of(pairs[0]), of(pairs[1]), of(pairs[2]), classes);
            // Pairs further back than the roughness reaches are not asked for again.
            while known.len() > 2 * STEP_SPAN as usize + 8 {
                known.pop_front();
            }
            found
        })
        .collect()
}

/// Evidence from the jump across a boundary and the roughness on both sides.
fn weigh(jumps: &[u8], rough_a: &[u8], rough_b: &[u8], classes: (&[u8], &[u8])) -> Evidence {
    // A jump must exceed 1.2 times the picture's own roughness (the mean of both
    // sides) by 9 levels; in tenths of levels, so that whole numbers suffice.
    let (mut strong, mut weak, mut spoken, mut jump) = (0u32, 0u32, 0u32, 0u32);
    let sides = rough_a.iter().zip(rough_b).zip(classes.0.iter().zip(classes.1));
    for (d, ((a, b), (class_a, class_b))) in jumps.iter().zip(sides) {
        let (d, rough) = (u16::from(*d), u16::from(*a) + u16::from(*b));
        let speaks = u16::from(*class_a == CONTENT || class_a != class_b);
        let is_strong = u16::from(10 * d > 90 + 6 * rough);
        let is_weak = u16::from(2 * d > 9 + rough);
        // A line has far fewer than 2^24 pixels, so nothing wraps; unchecked sums run side by side.
        strong = strong.wrapping_add(u32::from(speaks & is_strong));
        weak = weak.wrapping_add(u32::from(speaks & is_weak & (1 ^ is_strong)));
        spoken = spoken.wrapping_add(u32::from(speaks));
        jump = jump.wrapping_add(u32::from(d));
    }
    let (strong, half) = (f64::from(strong), 0.5 * f64::from(weak));
    Evidence {
        support: strong + half,
        against: f64::from(spoken) - strong - half,
        jump: f64::from(jump) / (jumps.len().max(1) as f64),
    }
}

/// Shares of a part's pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Filling {
    /// Neither paper nor black.
    pub content: f64,
    /// Paper.
    pub paper: f64,
}

/// What a part is filled with.
pub fn filling(sheet: &Sheet, part: &Rect, dark: u8) -> Filling {
    let (mut content, mut paper, mut total) = (0u32, 0u32, 0u32);
    for y in (part.y0..part.y1).step_by(2) {
        for x in (part.x0..part.x1).step_by(2) {
            let pixel = sheet.image.get_pixel(x as u32, y as u32).0;
            match class_of(pixel, sheet.paper, dark) {
                CONTENT => content += 1,
                PAPER => paper += 1,
                _ => {}
            }
            total += 1;
        }
    }
    Filling {
        content: f64::from(content) / f64::from(total.max(1)),
        paper: f64::from(paper) / f64::from(total.max(1)),
    }
}

/// All cuts of `region` along `axis` worth considering, best first. Both parts keep at least `least` pixels.
pub fn find_cuts(sheet: &Sheet, region: &Rect, axis: Axis, dark: u8, least: i32) -> Vec<Cut> {
    let (origin, length, breadth) = match axis {
        Axis::Vertical => (region.x0, region.width(), region.height()),
        Axis::Horizontal => (region.y0, region.height(), region.width()),
    };
    if length < 2 * least || breadth < least {
        return Vec::new();
    }
    let grid = Grid::new(sheet, *region, axis, dark);
    let profile = grid.content_profile();
    let evidence = all_evidence(&grid);
    let mut cuts = gutter_cuts(&grid, &profile, &evidence, least, origin);
    cuts.extend(edge_cuts(&grid, &profile, &evidence, least, origin));
    cuts.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.position.cmp(&b.position)));
    // Of cuts that lie close together the best one stands for all.
    let mut kept: Vec<Cut> = Vec::new();
    for cut in cuts {
        if kept.iter().all(|k| (k.position - cut.position).abs() > least / 3) {
            kept.push(cut);
        }
    }
    kept
}

/// Bands of lines without content, or of one flat colour, between two parts that have content.
fn gutter_cuts(grid: &Grid, profile: &[f64], evidence: &[Evidence], least: i32, origin: i32) -> Vec<Cut> {
    /// Letters, arrows and dust may cross a gutter: lines up to this share of content still count.
    const ALMOST_EMPTY: f64 = 0.02;
    let length = grid.length;
    // The black between two pictures and the white rim of a chart beside it are two bands.
    let bands: Vec<Band> = (0..length)
        .map(|p| {
            if profile[p as usize] > ALMOST_EMPTY && !grid.is_uniform(p) {
                Band::Picture
            } else if grid.share_of(DARK, p) > 0.9 {
                Band::Dark
            } else {
                Band::Light
            }
        })
        .collect();
    let mut cuts = Vec::new();
    let mut start = 0;
    while start < length {
        let band = bands[start as usize];
        if band == Band::Picture {
            start += 1;
            continue;
        }
        let mut end = start;
        while end < length && bands[end as usize] == band {
            end += 1;
        }
        let dark = band == Band::Dark;
        let wide = end - start >= LEAST_LIGHT_GUTTER;
        let inside = start >= least / 2 && length - end >= least / 2;
        let sharp = |at: i32| is_sharp_rim(grid, evidence, at);
        if inside && (dark || wide) && sharp(start) && sharp(end) {
            // A band as wide as a third of a part is more likely the dark rim of one picture.
            let parts = start.min(length - end).max(1);
            let width = f64::from(end - start);
            let broad = (width / f64::from(parts) - 0.25).clamp(0.0, 0.5);
            cuts.push(Cut {
                kind: if dark {
                    CutKind::DarkGutter
                } else {
                    CutKind::LightGutter
                },
                axis: grid.axis,
                position: origin + end,
                first_end: origin + start,
                score: if dark { SURE } else { SURE - 0.01 } - 0.6 * broad,
            });
        }
        start = end;
    }
    cuts
}

/// Evidence of a gutter that nothing speaks against.
const SURE: f64 = 0.98;

/// What a line across a region shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Band {
    Picture,
    Dark,
    Light,
}

/// A light gutter inside of a block is at least this wide, sheet px: charts are full of narrower ones.
const LEAST_LIGHT_GUTTER: i32 = 3;

/// True unless the picture fades into the band: the dark vitreous of a B-scan has
/// no rim, the edge of a photograph has one wherever it is not black itself.
fn is_sharp_rim(grid: &Grid, evidence: &[Evidence], position: i32) -> bool {
    /// Lines that may say nothing or the contrary when the rest is black on black.
    const QUIET: f64 = 0.15;
    let best = (-1..=1)
        .filter_map(|d| evidence.get(usize::try_from(position + d).ok()?))
        .max_by(|a, b| (a.support - a.against).total_cmp(&(b.support - b.against)));
    best.is_some_and(|e| {
        let breadth = f64::from(grid.breadth.max(1));
        e.support >= e.against || e.against / breadth < QUIET
    })
}

/// Brings the evidence of seams below that of gutters.
const SEAM_SCALE: f64 = 0.8;
/// Shares at which equal panels meet.
const EVEN_SHARES: [f64; 5] = [0.25, 1.0 / 3.0, 0.5, 2.0 / 3.0, 0.75];
/// Distance from such a share that still counts.
const EVEN_SLACK: f64 = 0.006;
/// Added to the evidence of a seam at such a share.
const EVEN_BONUS: f64 = 0.12;

/// Single lines across which the picture jumps.
fn edge_cuts(grid: &Grid, profile: &[f64], all: &[Evidence], least: i32, origin: i32) -> Vec<Cut> {
    /// Cuts below this are noise.
    const FLOOR: f64 = 0.31;
    let length = grid.length;
    let breadth = f64::from(grid.breadth);
    let mut cuts = Vec::new();
    for position in least..=length - least {
        let e = &all[position as usize];
        let spoken = e.support + e.against;
        // Local sharpness: a seam is one line wide, texture is everywhere.
        let around: f64 = (4..=9)
            .flat_map(|d| [position - d, position + d])
            .filter_map(|p| all.get(usize::try_from(p).ok()?))
            .map(|o| o.jump)
            .sum::<f64>()
            / 12.0;
        let sharp = (e.jump / (around + 1.0)).min(4.0);
        let agree = e.support / spoken.max(1.0);
        let told = spoken / breadth;
        // Nearly silent lines between two contents (round fields that touch) count as gutters.
        let silent = 1.0 - e.against / breadth;
        let seam = if told > 0.12 {
            agree * (0.55 + 0.15 * sharp.min(3.0)) + 0.01 * sharp
        } else {
            0.0
        };
        let left = profile[(position - least.min(position)) as usize..position as usize]
            .iter()
            .sum::<f64>();
        let right = profile[position as usize..(position + least).min(length) as usize]
            .iter()
            .sum::<f64>();
        let two_sided = left.min(right) / f64::from(least.max(1));
        let tangent = if silent > 0.9 && two_sided > 0.15 {
            (silent - 0.9) * 6.0 + 0.3
        } else {
            0.0
        };
        // Pictures that abut are often of one size.
        let share = f64::from(position) / f64::from(length);
        let even = EVEN_SHARES.iter().any(|s| (share - s).abs() < EVEN_SLACK);
        let found = seam.max(tangent);
        // A gutter is surer than any seam.
        let raw = if even && found > 0.36 {
            found + EVEN_BONUS
        } else {
            found
        };
        let score = SEAM_SCALE * raw.min(1.2);
        if score >= FLOOR {
            let best_near = (-3..=3).all(|d| {
                all.get(usize::try_from(position + d).unwrap_or(usize::MAX))
                    .is_none_or(|o| {
                        o.support - o.against <= e.support - e.against
                            || (o.support - o.against - e.support + e.against).abs() < 1e-9
                    })
            });
            cuts.push(Cut {
                kind: CutKind::Seam,
                axis: grid.axis,
                position: origin + position,
                first_end: origin + position,
                score: if best_near { score } else { score * 0.9 },
            });
        }
    }
    cuts
}
