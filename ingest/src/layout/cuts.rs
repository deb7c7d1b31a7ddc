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
/// `at(line, across)` runs `line` along the direction of travel.
pub struct Grid<'a> {
    sheet: &'a Sheet,
    region: Rect,
    axis: Axis,
    dark: u8,
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

impl<'a> Grid<'a> {
    /// A view of `region` for cuts along `axis`.
    pub fn new(sheet: &'a Sheet, region: Rect, axis: Axis, dark: u8) -> Self {
        Self {
            sheet,
            region,
            axis,
            dark,
        }
    }

    /// Number of candidate positions.
    fn length(&self) -> i32 {
        match self.axis {
            Axis::Vertical => self.region.width(),
            Axis::Horizontal => self.region.height(),
        }
    }

    /// Number of pixels that a cut crosses.
    fn breadth(&self) -> i32 {
        match self.axis {
            Axis::Vertical => self.region.height(),
            Axis::Horizontal => self.region.width(),
        }
    }

    fn pixel(&self, position: i32, across: i32) -> [u8; 3] {
        let (x, y) = match self.axis {
            Axis::Vertical => (self.region.x0 + position, self.region.y0 + across),
            Axis::Horizontal => (self.region.x0 + across, self.region.y0 + position),
        };
        self.sheet.image.get_pixel(x as u32, y as u32).0
    }

    fn class(&self, pixel: [u8; 3]) -> u8 {
        /// Same bound as the sheet's ink mask.
        const PAPER_DISTANCE: u8 = 24;
        if (0..3).all(|c| pixel[c].abs_diff(self.sheet.paper[c]) <= PAPER_DISTANCE) {
            PAPER
        } else if pixel.iter().all(|&v| v <= self.dark) {
            DARK
        } else {
            CONTENT
        }
    }

    /// Share of each line's pixels that carry picture content.
    fn content_profile(&self) -> Vec<f64> {
        let breadth = self.breadth();
        (0..self.length())
            .map(|position| {
                let content = (0..breadth)
                    .filter(|&across| self.class(self.pixel(position, across)) == CONTENT)
                    .count();
                content as f64 / f64::from(breadth.max(1))
            })
            .collect()
    }

    /// Share of a line's pixels that are of `class`.
    fn share_of(&self, class: u8, position: i32) -> f64 {
        let breadth = self.breadth();
        let count = (0..breadth)
            .filter(|&across| self.class(self.pixel(position, across)) == class)
            .count();
        count as f64 / f64::from(breadth.max(1))
    }

    /// True when the line has one colour throughout.
    fn is_uniform(&self, position: i32) -> bool {
        /// Largest mean distance from the line's own mean, levels.
        const FLAT: f64 = 3.0;
        let breadth = self.breadth();
        let mut sum = [0u64; 3];
        for across in 0..breadth {
            for (total, value) in sum.iter_mut().zip(self.pixel(position, across)) {
                *total += u64::from(value);
            }
        }
        let mean = sum.map(|s| s as f64 / f64::from(breadth.max(1)));
        let mut off = 0.0;
        for across in 0..breadth {
            let p = self.pixel(position, across);
            off += (0..3).map(|c| (f64::from(p[c]) - mean[c]).abs()).fold(0.0, f64::max);
        }
        off / f64::from(breadth.max(1)) < FLAT
    }
}

/// Distance between the pixels compared across a cut: the boundary itself is smeared over 2-3 px.
const STEP_SPAN: i32 = 3;

/// Support and contradiction of the boundary between lines `position - 1` and `position`.
struct Evidence {
    support: f64,
    against: f64,
    /// Mean jump across the boundary over the whole breadth, levels.
    jump: f64,
}

fn evidence(grid: &Grid<'_>, position: i32) -> Evidence {
    /// A jump must exceed the picture's own roughness by this much, levels.
    const LEAST_JUMP: f64 = 9.0;
    let length = grid.length();
    let clamp = |p: i32| p.clamp(0, length - 1);
    let (near_a, near_b) = (clamp(position - 2), clamp(position + 1));
    let (far_a, far_b) = (clamp(position - 2 - STEP_SPAN), clamp(position + 1 + STEP_SPAN));
    let distance = |a: [u8; 3], b: [u8; 3]| (0..3).map(|c| a[c].abs_diff(b[c])).max().map_or(0.0, f64::from);
    let breadth = grid.breadth();
    let (mut support, mut against, mut jump) = (0.0, 0.0, 0.0);
    for across in 0..breadth {
        let (a, b) = (grid.pixel(near_a, across), grid.pixel(near_b, across));
        let (class_a, class_b) = (grid.class(a), grid.class(b));
        let d = distance(a, b);
        jump += d;
        if class_a != CONTENT && class_a == class_b {
            continue;
        }
        let rough = (distance(a, grid.pixel(far_a, across)) + distance(b, grid.pixel(far_b, across))) / 2.0;
        if d > LEAST_JUMP + 1.2 * rough {
            support += 1.0;
        } else if d > LEAST_JUMP * 0.5 + rough {
            support += 0.5;
            against += 0.5;
        } else {
            against += 1.0;
        }
    }
    Evidence {
        support,
        against,
        jump: jump / f64::from(breadth.max(1)),
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
    let grid = Grid::new(sheet, *part, Axis::Horizontal, dark);
    let (mut content, mut paper, mut total) = (0u32, 0u32, 0u32);
    for position in (0..grid.length()).step_by(2) {
        for across in (0..grid.breadth()).step_by(2) {
            match grid.class(grid.pixel(position, across)) {
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
    let grid = Grid::new(sheet, *region, axis, dark);
    let origin = match axis {
        Axis::Vertical => region.x0,
        Axis::Horizontal => region.y0,
    };
    let length = grid.length();
    if length < 2 * least || grid.breadth() < least {
        return Vec::new();
    }
    let profile = grid.content_profile();
    let mut cuts = gutter_cuts(&grid, &profile, least, origin);
    cuts.extend(edge_cuts(&grid, &profile, least, origin));
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
fn gutter_cuts(grid: &Grid<'_>, profile: &[f64], least: i32, origin: i32) -> Vec<Cut> {
    /// Letters, arrows and dust may cross a gutter: lines up to this share of content still count.
    const ALMOST_EMPTY: f64 = 0.02;
    let length = grid.length();
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
        let sharp = is_sharp_rim(grid, start) && is_sharp_rim(grid, end);
        if start >= least / 2 && length - end >= least / 2 && sharp && (dark || wide) {
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
fn is_sharp_rim(grid: &Grid<'_>, position: i32) -> bool {
    /// Lines that may say nothing or the contrary when the rest is black on black.
    const QUIET: f64 = 0.15;
    let best = (-1..=1)
        .map(|d| evidence(grid, position + d))
        .max_by(|a, b| (a.support - a.against).total_cmp(&(b.support - b.against)));
    best.is_some_and(|e| {
        let breadth = f64::from(grid.breadth().max(1));
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
fn edge_cuts(grid: &Grid<'_>, profile: &[f64], least: i32, origin: i32) -> Vec<Cut> {
    /// Cuts below this are noise.
    const FLOOR: f64 = 0.31;
    let length = grid.length();
    let breadth = f64::from(grid.breadth());
    let all: Vec<Evidence> = (0..length).map(|p| evidence(grid, p)).collect();
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
