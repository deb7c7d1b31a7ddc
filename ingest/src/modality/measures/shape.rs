//! Measures of areas and layers.

use super::BLACK;
use super::plane::{Plane, moments};

/// See [`super::NAMES`].
pub(super) struct Areas {
    pub paper: f64,
    pub fine: f64,
    pub filled: f64,
    pub edges: f64,
    pub white: f64,
    pub black: f64,
    pub field: f64,
    pub skew: f64,
}

/// Measures areas by their brightness and evenness. `high` and `low` are the largest and least channel.
pub(super) fn areas(gray: &Plane, high: &Plane, low: &Plane) -> Areas {
    /// Largest difference in a 3x3 neighbourhood of a flat area, levels.
    const FLAT: f32 = 4.0;
    /// Least value of paper.
    const LIGHT: f32 = 165.0;
    /// Largest saturation of paper, tinted sheets included.
    const PALE: f32 = 0.3;
    /// Least value of pure white.
    const WHITE: f32 = 235.0;
    /// Least difference in a 3x3 neighbourhood at a steep edge.
    const STEEP: f32 = 90.0;
    let (mut paper, mut filled, mut edges, mut white) = (0usize, 0usize, 0usize, 0usize);
    let (mut black_in, mut black_out, mut inside) = (0usize, 0usize, 0usize);
    let mut tissue: Vec<f64> = Vec::new();
    for y in 0..gray.height {
        for x in 0..gray.width {
            let (h, l) = (high.at(x, y), low.at(x, y));
            let (least, most) = gray.range(x, y);
            let flat = most - least <= FLAT;
            let light = h > LIGHT && h - l < PALE * h;
            paper += usize::from(flat && light);
            filled += usize::from(flat && !light && h > BLACK);
            edges += usize::from(most - least >= STEEP);
            white += usize::from(l >= WHITE);
            let place = |i: usize, n: usize| 2.0 * (i as f64 + 0.5) / n as f64 - 1.0;
            let in_ellipse = place(x, gray.width).hypot(place(y, gray.height)) < 1.0;
            inside += usize::from(in_ellipse);
            if h <= BLACK {
                black_in += usize::from(in_ellipse);
                black_out += usize::from(!in_ellipse);
            } else if in_ellipse {
                tissue.push(f64::from(gray.at(x, y)));
            }
        }
    }
    let all = gray.values.len().max(1) as f64;
    let (mean, variance) = moments(tissue.iter().copied());
    let third = tissue.iter().map(|v| (v - mean).powi(3)).sum::<f64>() / tissue.len().max(1) as f64;
    Areas {
        paper: paper as f64 / all,
        fine: fine(gray),
        filled: filled as f64 / all,
        edges: (edges as f64 / all + 0.001).ln(),
        white: white as f64 / all,
        black: (black_in + black_out) as f64 / all,
        field: black_out as f64 / (all - inside as f64).max(1.0) - black_in as f64 / inside.max(1) as f64,
        skew: third / (variance + 1.0).powf(1.5),
    }
}

fn fine(gray: &Plane) -> f64 {
    let (_, all) = moments(gray.values.iter().map(|v| f64::from(*v)));
    let smooth = gray.blurred(2);
    let pairs = gray.values.iter().zip(&smooth.values);
    let detail = pairs.map(|(v, s)| f64::from(v - s).powi(2)).sum::<f64>() / gray.values.len().max(1) as f64;
    ((detail + 0.1) / (all + 1.0)).ln()
}

/// See [`super::NAMES`].
pub(super) struct Layers {
    pub layers: f64,
    pub level: f64,
    pub strips: f64,
    pub columns: f64,
    pub band: f64,
}

/// Measures how level the structures lie.
pub(super) fn layers(gray: &Plane, low: &Plane) -> Layers {
    /// Upright strips, and blocks along each side.
    const STRIPS: usize = 12;
    const BLOCKS: usize = 10;
    // Speckle is averaged away, layers stay.
    let smooth = gray.blurred(2);
    // The rims of white letters, bars and of the white that fills a turned scan are no layers.
    let drawn = low.mask(|i| low.values[i] >= 250.0).blurred(4);
    let (width, height) = (smooth.width, smooth.height);
    let (mut vertical, mut horizontal) = (0.0f64, 0.0f64);
    let mut blocks = vec![(0.0f64, 0.0f64); BLOCKS * BLOCKS];
    for y in 0..height - 1 {
        for x in 0..width - 1 {
            if drawn.at(x, y) > 0.0 {
                continue;
            }
            let down = f64::from(smooth.at(x, y + 1) - smooth.at(x, y)).powi(2);
            let right = f64::from(smooth.at(x + 1, y) - smooth.at(x, y)).powi(2);
            vertical += down;
            horizontal += right;
            let block = &mut blocks[(y * BLOCKS / height) * BLOCKS + x * BLOCKS / width];
            block.0 += down;
            block.1 += right;
        }
    }
    blocks.sort_by(|a, b| (b.0 + b.1).total_cmp(&(a.0 + a.1)));
    blocks.truncate(BLOCKS * BLOCKS / 2);
    let level = blocks.iter().filter(|(v, h)| *v > 2.0 * h).count() as f64 / blocks.len() as f64;
    let at = |x: usize, y: usize| f64::from(smooth.at(x, y));
    let (_, variance) = moments(smooth.values.iter().map(|v| f64::from(*v)));
    let (_, of_columns) = moments((0..width).map(|x| (0..height).map(|y| at(x, y)).sum::<f64>() / height as f64));
    let (mut of_rows, mut of_strips) = (0.0, 0.0);
    let (mut outer, mut middle) = (0.0, 0.0);
    for strip in 0..STRIPS {
        let (from, to) = (
            strip * width / STRIPS,
            ((strip + 1) * width / STRIPS).max(strip * width / STRIPS + 1),
        );
        let rows: Vec<f64> = (0..height)
            .map(|y| (from..to).map(|x| at(x, y)).sum::<f64>() / (to - from) as f64)
            .collect();
        of_rows += moments(rows.iter().copied()).1;
        of_strips += moments(
            (0..height)
                .flat_map(|y| (from..to).map(move |x| (x, y)))
                .map(|(x, y)| at(x, y)),
        )
        .1;
        let fifth = (height / 5).max(1);
        let best = rows.windows(fifth).map(|w| w.iter().sum::<f64>()).fold(0.0, f64::max) / fifth as f64;
        middle += best;
        outer += rows
            .iter()
            .take(fifth)
            .chain(rows.iter().rev().take(fifth))
            .sum::<f64>()
            / (2 * fifth) as f64;
    }
    Layers {
        layers: (vertical + 1.0).ln() - (horizontal + 1.0).ln(),
        level,
        strips: of_rows / (of_strips + 1.0),
        columns: of_columns / (variance + 1.0),
        band: (middle - outer) / (middle + outer + 1.0),
    }
}
