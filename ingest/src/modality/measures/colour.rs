//! Measures of colour.

use super::BLACK;
use super::plane::Plane;

/// Bins of the hue histogram, 30 degrees each.
const HUES: usize = 12;
/// Those of them that are red, orange and yellow: -30 to 60 degrees.
const WARM: [usize; 3] = [11, 0, 1];

/// See [`super::NAMES`].
pub(super) struct Colour {
    pub saturation: f64,
    pub tints: f64,
    pub warm: f64,
    pub cold: f64,
    pub hues: f64,
}

/// Measures the colours. The channels are blurred first: the coloured noise of a scan is no colour.
pub(super) fn measure(pixels: &[[f32; 3]], width: usize, height: usize) -> Colour {
    /// Keeps gray pictures finite: the tint of gray scans is about this large.
    const SATURATION_FLOOR: f64 = 0.02;
    /// The same for what compression leaves of one tint.
    const TINTS_FLOOR: f64 = 0.01;
    /// Share of the lit pixels, the most coloured ones, that are left out: arrows, marks and lines drawn into the picture.
    const DRAWN: f64 = 0.12;
    let channels = [0, 1, 2].map(|c| {
        let values = pixels.iter().map(|p| p[c]).collect();
        Plane { width, height, values }.blurred(2)
    });
    let mut lit: Vec<[f64; 3]> = (0..pixels.len())
        .map(|i| [0, 1, 2].map(|c| f64::from(channels[c].values[i])))
        .filter(|p| high(p) > f64::from(BLACK))
        .collect();
    // What one tint for all explains badly goes first; then the tint is found anew.
    let residuals = unexplained(&lit);
    let mut sorted = residuals.clone();
    sorted.sort_by(f64::total_cmp);
    let limit = sorted
        .get((sorted.len() as f64 * (1.0 - DRAWN)) as usize)
        .copied()
        .unwrap_or(f64::INFINITY);
    let mut residual = residuals.iter();
    lit.retain(|_| residual.next().is_none_or(|r| *r <= limit));
    let count = lit.len().max(1) as f64;
    let left = unexplained(&lit).iter().sum::<f64>() / count;
    let mean_light = lit.iter().map(light).sum::<f64>() / count;
    let (mut span, mut brightness) = (0.0, 0.0);
    let mut histogram = [0.0; HUES];
    for p in &lit {
        let chroma = high(p) - p[0].min(p[1]).min(p[2]);
        span += chroma;
        brightness += high(p);
        let hue = hue_of(p);
        histogram[((hue * HUES as f64) as usize).min(HUES - 1)] += chroma;
    }
    let warm: f64 = WARM.iter().map(|&bin| histogram[bin]).sum();
    let noise = SATURATION_FLOOR * brightness.max(1.0);
    let entropy: f64 = histogram
        .iter()
        .map(|h| h / (span + noise))
        .filter(|share| *share > 0.0)
        .map(|share| -share * share.log2())
        .sum();
    Colour {
        saturation: (span / brightness.max(1.0) + SATURATION_FLOOR).ln(),
        tints: (left.sqrt() / mean_light.max(1.0) + TINTS_FLOOR).ln(),
        warm: warm / (span + noise),
        cold: ((span - warm).max(0.0) / brightness.max(1.0) + SATURATION_FLOOR).ln(),
        hues: entropy,
    }
}

fn high(p: &[f64; 3]) -> f64 {
    p[0].max(p[1]).max(p[2])
}

fn light(p: &[f64; 3]) -> f64 {
    0.299 * p[0] + 0.587 * p[1] + 0.114 * p[2]
}

/// Hue, 0..1.
fn hue_of(p: &[f64; 3]) -> f64 {
    let span = high(p) - p[0].min(p[1]).min(p[2]);
    let hue = if span <= 0.0 {
        0.0
    } else if high(p) == p[0] {
        ((p[1] - p[2]) / span).rem_euclid(6.0)
    } else if high(p) == p[1] {
        (p[2] - p[0]) / span + 2.0
    } else {
        (p[0] - p[1]) / span + 4.0
    };
    hue / 6.0
}

/// Square of what remains of each pixel's colour when the channels follow the brightness.
fn unexplained(lit: &[[f64; 3]]) -> Vec<f64> {
    let count = lit.len().max(1) as f64;
    let mean_light = lit.iter().map(light).sum::<f64>() / count;
    let variance = lit.iter().map(|p| (light(p) - mean_light).powi(2)).sum::<f64>();
    let lines = [0, 1, 2].map(|c| {
        let mean = lit.iter().map(|p| p[c]).sum::<f64>() / count;
        let together: f64 = lit.iter().map(|p| (p[c] - mean) * (light(p) - mean_light)).sum();
        (mean, together / variance.max(1e-9))
    });
    lit.iter()
        .map(|p| {
            (0..3)
                .map(|c| (p[c] - lines[c].0 - lines[c].1 * (light(p) - mean_light)).powi(2))
                .sum()
        })
        .collect()
}
