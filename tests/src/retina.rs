//! Draws single retina-like pictures: colour photographs, angiograms, OCT B-scans.
//!
//! They are cartoons with the traits that tell the modalities apart in practice (round field
//! of view, colour, bright or dark vessels, horizontal layers) and a finding that a small
//! model can learn to see. Everything follows from the seed.

use image::{Rgb, RgbImage};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What a drawn picture shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// No lesion.
    Normal,
    /// Red dots and yellow flecks spread over the photograph; on an angiogram bright dots.
    DiabeticRetinopathy,
    /// A pale disc with a cup nearly as large as the disc.
    Glaucoma,
    /// A large pale lesion at the macula; on an angiogram a bright leaking spot.
    MacularDegeneration,
    /// Dark cysts inside the retina of an OCT scan.
    MacularOedema,
    /// Bumps under the bright outer band of an OCT scan.
    Drusen,
}

/// A flat field of smooth noise in `[-1, 1]`, sampled bilinearly from a random lattice.
struct SmoothNoise {
    lattice: Vec<f32>,
    side: usize,
}

impl SmoothNoise {
    fn new(rng: &mut ChaCha8Rng, side: usize) -> Self {
        let lattice = (0..side * side).map(|_| rng.random_range(-1.0..1.0)).collect();
        Self { lattice, side }
    }

    /// Value at `u, v` in `[0, 1]`.
    fn at(&self, u: f32, v: f32) -> f32 {
        let last = (self.side - 1) as f32;
        let (x, y) = (u.clamp(0.0, 1.0) * last, v.clamp(0.0, 1.0) * last);
        let (x0, y0) = (x as usize, y as usize);
        let (x1, y1) = ((x0 + 1).min(self.side - 1), (y0 + 1).min(self.side - 1));
        let (fx, fy) = (x - x0 as f32, y - y0 as f32);
        let value = |x: usize, y: usize| self.lattice[y * self.side + x];
        let top = value(x0, y0) * (1.0 - fx) + value(x1, y0) * fx;
        let bottom = value(x0, y1) * (1.0 - fx) + value(x1, y1) * fx;
        top * (1.0 - fy) + bottom * fy
    }
}

/// A soft spot: centre, radius (shares of the field radius), strength and softness of its edge.
struct Spot {
    x: f32,
    y: f32,
    radius: f32,
    strength: f32,
}

impl Spot {
    /// Weight in `[0, strength]` at a point, falling off smoothly over the outer third.
    fn weight(&self, x: f32, y: f32) -> f32 {
        let distance = ((x - self.x).powi(2) + (y - self.y).powi(2)).sqrt() / self.radius;
        self.strength * ((1.25 - distance) / 0.5).clamp(0.0, 1.0)
    }
}

/// Vessel cover in `[0, 1]` over a grid of `side` × `side`, in field coordinates `[-1, 1]²`.
fn draw_vessels(rng: &mut ChaCha8Rng, side: usize, disc: (f32, f32)) -> Vec<f32> {
    let mut cover = vec![0.0f32; side * side];
    let toward_macula = -disc.0.signum();
    let mut paths: Vec<(f32, f32, f32, f32, u32)> = Vec::new(); // x, y, heading, width, generation
    for (heading, width) in [(1.0f32, 0.032f32), (-1.0, 0.034), (2.4, 0.022), (-2.4, 0.022)] {
        let heading = if toward_macula > 0.0 {
            heading
        } else {
            std::f32::consts::PI - heading
        };
        paths.push((disc.0, disc.1, heading, width, 0));
    }
    while let Some((mut x, mut y, mut heading, mut width, generation)) = paths.pop() {
        let bend = if y > disc.1 || (generation == 0 && heading.sin() > 0.0) {
            -1.0
        } else {
            1.0
        };
        let bend = bend * toward_macula * rng.random_range(0.6..1.2) * if generation == 0 { 1.0 } else { 0.4 };
        while x * x + y * y < 1.0 && width > 0.004 {
            stamp(&mut cover, side, x, y, width);
            heading += bend * 0.011 + rng.random_range(-0.05..0.05);
            x += heading.cos() * 0.012;
            y += heading.sin() * 0.012;
            width *= 0.992;
            if generation < 3 && rng.random_range(0.0..1.0) < 0.035 {
                let turn = rng.random_range(0.4..0.9) * if rng.random_range(0..2) == 0 { 1.0 } else { -1.0 };
                paths.push((x, y, heading + turn, width * 0.7, generation + 1));
            }
        }
    }
    cover
}

/// Adds one soft dot of the given radius (field coordinates) to the cover.
fn stamp(cover: &mut [f32], side: usize, x: f32, y: f32, radius: f32) {
    let scale = side as f32 / 2.0;
    let (cx, cy, r) = ((x + 1.0) * scale, (y + 1.0) * scale, (radius * scale).max(0.6));
    let reach = r.ceil() as i32 + 1;
    for dy in -reach..=reach {
        for dx in -reach..=reach {
            let (px, py) = (cx as i32 + dx, cy as i32 + dy);
            if px < 0 || py < 0 || px >= side as i32 || py >= side as i32 {
                continue;
            }
            let distance = ((px as f32 - cx).powi(2) + (py as f32 - cy).powi(2)).sqrt();
            let value = (r + 0.5 - distance).clamp(0.0, 1.0);
            let cell = &mut cover[py as usize * side + px as usize];
            *cell = cell.max(value);
        }
    }
}

fn spots(rng: &mut ChaCha8Rng, count: usize, radius: std::ops::Range<f32>, strength: f32) -> Vec<Spot> {
    (0..count)
        .map(|_| {
            let angle = rng.random_range(0.0..std::f32::consts::TAU);
            let distance = rng.random_range(0.1f32..0.85);
            Spot {
                x: angle.cos() * distance,
                y: angle.sin() * distance,
                radius: rng.random_range(radius.clone()),
                strength,
            }
        })
        .collect()
}

fn mix(base: [f32; 3], other: [f32; 3], share: f32) -> [f32; 3] {
    std::array::from_fn(|c| base[c] * (1.0 - share) + other[c] * share)
}

fn to_pixel(colour: [f32; 3]) -> Rgb<u8> {
    Rgb(colour.map(|v| v.clamp(0.0, 255.0) as u8))
}

/// A colour fundus photograph of `width` × `height` pixels.
pub fn colour_photograph(width: u32, height: u32, finding: Finding, seed: u64) -> RgbImage {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let side = width.min(height) as usize;
    let eye = if rng.random_range(0..2) == 0 { 1.0 } else { -1.0 };
    let disc = (eye * rng.random_range(0.42f32..0.52), rng.random_range(-0.08f32..0.08));
    let vessels = draw_vessels(&mut rng, side, disc);
    let texture = SmoothNoise::new(&mut rng, 14);
    let shade = SmoothNoise::new(&mut rng, 4);
    let tone = rng.random_range(0.85f32..1.1);
    let (disc_radius, cup) = (
        rng.random_range(0.13f32..0.16),
        if finding == Finding::Glaucoma { 0.85 } else { 0.4 },
    );
    let (mut dark, mut bright) = (Vec::new(), Vec::new());
    match finding {
        Finding::DiabeticRetinopathy => {
            dark = spots(&mut rng, 26, 0.015..0.05, 0.85);
            bright = spots(&mut rng, 18, 0.015..0.04, 0.9);
        }
        Finding::MacularDegeneration => {
            bright.push(Spot {
                x: rng.random_range(-0.06..0.06),
                y: rng.random_range(-0.06..0.06),
                radius: rng.random_range(0.2..0.32),
                strength: 0.75,
            });
            bright.extend(spots(&mut rng, 6, 0.02..0.05, 0.7));
        }
        _ => {}
    }
    let (cx, cy, radius) = (width as f32 / 2.0, height as f32 / 2.0, side as f32 * 0.485);
    RgbImage::from_fn(width, height, |px, py| {
        let grain: f32 = rng.random_range(-3.0..3.0);
        let (x, y) = ((px as f32 - cx) / radius, (py as f32 - cy) / radius);
        let r2 = x * x + y * y;
        if r2 > 1.0 {
            return to_pixel([2.0 + grain.abs() * 0.5; 3]);
        }
        let (u, v) = ((x + 1.0) / 2.0, (y + 1.0) / 2.0);
        let light = tone * (1.0 - 0.38 * r2) + 0.05 * texture.at(u, v) + 0.08 * shade.at(u, v);
        let mut colour = [208.0 * light, 96.0 * light, 42.0 * light];
        let macula = Spot {
            x: 0.0,
            y: 0.02,
            radius: 0.16,
            strength: 0.32,
        };
        colour = mix(colour, [110.0 * tone, 38.0 * tone, 18.0 * tone], macula.weight(x, y));
        let disc_spot = Spot {
            x: disc.0,
            y: disc.1,
            radius: disc_radius,
            strength: 0.85,
        };
        let rim = if finding == Finding::Glaucoma {
            [244.0, 196.0, 132.0]
        } else {
            [246.0, 176.0, 96.0]
        };
        colour = mix(colour, rim, disc_spot.weight(x, y));
        let cup_spot = Spot {
            x: disc.0,
            y: disc.1,
            radius: disc_radius * cup,
            strength: 0.9,
        };
        colour = mix(colour, [255.0, 240.0, 204.0], cup_spot.weight(x, y));
        let (gx, gy) = ((u * side as f32) as usize, (v * side as f32) as usize);
        let vessel = vessels[gy.min(side - 1) * side + gx.min(side - 1)];
        colour = mix(colour, [120.0 * light, 22.0 * light, 16.0 * light], vessel * 0.75);
        for spot in &dark {
            colour = mix(colour, [96.0 * light, 8.0, 8.0], spot.weight(x, y));
        }
        for spot in &bright {
            colour = mix(colour, [250.0, 226.0, 120.0], spot.weight(x, y));
        }
        to_pixel(colour.map(|c| c + grain))
    })
}

/// A fluorescein angiogram of `width` × `height` pixels (grey, bright vessels).
pub fn angiogram(width: u32, height: u32, finding: Finding, seed: u64) -> RgbImage {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x00ff_aa11);
    let side = width.min(height) as usize;
    let eye = if rng.random_range(0..2) == 0 { 1.0 } else { -1.0 };
    let disc = (eye * rng.random_range(0.42f32..0.52), rng.random_range(-0.08f32..0.08));
    let vessels = draw_vessels(&mut rng, side, disc);
    let texture = SmoothNoise::new(&mut rng, 22);
    let level = rng.random_range(52.0f32..84.0);
    let bright = match finding {
        Finding::DiabeticRetinopathy => spots(&mut rng, 34, 0.012..0.03, 0.95),
        Finding::MacularDegeneration => vec![Spot {
            x: rng.random_range(-0.08..0.08),
            y: rng.random_range(-0.08..0.08),
            radius: rng.random_range(0.2..0.34),
            strength: 0.95,
        }],
        _ => Vec::new(),
    };
    let (cx, cy, radius) = (width as f32 / 2.0, height as f32 / 2.0, side as f32 * 0.485);
    RgbImage::from_fn(width, height, |px, py| {
        let grain: f32 = rng.random_range(-6.0..6.0);
        let (x, y) = ((px as f32 - cx) / radius, (py as f32 - cy) / radius);
        let r2 = x * x + y * y;
        if r2 > 1.0 {
            return to_pixel([4.0 + grain.abs() * 0.4; 3]);
        }
        let (u, v) = ((x + 1.0) / 2.0, (y + 1.0) / 2.0);
        let mut value = level * (1.0 - 0.45 * r2) * (1.0 + 0.14 * texture.at(u, v));
        value *= 1.0
            - Spot {
                x: 0.0,
                y: 0.02,
                radius: 0.2,
                strength: 0.5,
            }
            .weight(x, y);
        value += 70.0
            * Spot {
                x: disc.0,
                y: disc.1,
                radius: 0.13,
                strength: 0.8,
            }
            .weight(x, y);
        let (gx, gy) = ((u * side as f32) as usize, (v * side as f32) as usize);
        let vessel = vessels[gy.min(side - 1) * side + gx.min(side - 1)];
        value = value * (1.0 - vessel) + 205.0 * (1.0 - 0.3 * r2) * vessel;
        for spot in &bright {
            let weight = spot.weight(x, y);
            value = value * (1.0 - weight) + 240.0 * weight;
        }
        to_pixel([value + grain; 3])
    })
}

/// An OCT B-scan of `width` × `height` pixels (grey, horizontal layers, speckle).
pub fn oct_scan(width: u32, height: u32, finding: Finding, seed: u64) -> RgbImage {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x0c7_0c7);
    let tilt = rng.random_range(-0.06f32..0.06);
    let top = rng.random_range(0.3f32..0.4);
    let pit_depth = if finding == Finding::MacularOedema {
        0.0
    } else {
        rng.random_range(0.08f32..0.12)
    };
    let swelling = if finding == Finding::MacularOedema {
        rng.random_range(0.06f32..0.1)
    } else {
        0.0
    };
    let bumps: Vec<(f32, f32, f32)> = if finding == Finding::Drusen {
        (0..5)
            .map(|i| {
                (
                    0.15 + 0.17 * i as f32 + rng.random_range(-0.04f32..0.04),
                    rng.random_range(0.03f32..0.055),
                    rng.random_range(0.03f32..0.05),
                )
            })
            .collect()
    } else {
        Vec::new()
    };
    let cysts: Vec<Spot> = if finding == Finding::MacularOedema {
        (0..5)
            .map(|_| Spot {
                x: rng.random_range(0.34..0.66),
                y: rng.random_range(0.05..0.16),
                radius: rng.random_range(0.025..0.05),
                strength: 0.92,
            })
            .collect()
    } else {
        Vec::new()
    };
    let wave = SmoothNoise::new(&mut rng, 9);
    // Layers from the inner surface outward: (depth as a share of the height, brightness).
    let layers = [
        (0.0f32, 165.0f32),
        (0.035, 110.0),
        (0.09, 70.0),
        (0.115, 105.0),
        (0.155, 62.0),
        (0.205, 150.0),
        (0.222, 90.0),
        (0.238, 225.0),
        (0.27, 120.0),
    ];
    RgbImage::from_fn(width, height, |px, py| {
        let (u, v) = (px as f32 / width as f32, py as f32 / height as f32);
        let dip = (-((u - 0.5) / 0.09).powi(2)).exp();
        let baseline = top + tilt * (u - 0.5) + 0.012 * wave.at(u, 0.5);
        let inner = baseline + pit_depth * dip - swelling * (-((u - 0.5) / 0.2).powi(2)).exp();
        let lift: f32 = bumps
            .iter()
            .map(|(x, width, height)| height * (-((u - x) / width).powi(2)).exp())
            .sum();
        let outer = baseline + 0.238 - lift;
        let speckle: f32 = rng.random_range(0.55..1.35);
        let mut value = 14.0;
        if v >= inner {
            let thickness = (baseline + 0.238 - inner).max(0.02);
            let depth = if v < outer {
                (v - inner) / thickness * 0.238
            } else {
                0.238 + (v - outer)
            };
            let mut level = layers
                .iter()
                .rev()
                .find(|(start, _)| depth >= *start)
                .map_or(14.0, |(_, level)| *level);
            if depth > 0.27 {
                level = 120.0 * (-(depth - 0.27) / 0.09).exp() + 14.0;
            }
            value = level;
        }
        for cyst in &cysts {
            let weight = Spot {
                x: cyst.x,
                y: baseline + cyst.y,
                radius: cyst.radius,
                strength: cyst.strength,
            }
            .weight(u, baseline + cyst.y + (v - baseline - cyst.y) * 0.7);
            value = value * (1.0 - weight) + 12.0 * weight;
        }
        to_pixel([value * speckle; 3])
    })
}

/// A picture of the named modality (`CFP`, `FFA` or `OCT`); OCT scans are 4:3.
pub fn picture(modality: dataset::modality::Modality, size: u32, finding: Finding, seed: u64) -> RgbImage {
    use dataset::modality::Modality;
    match modality {
        Modality::Ffa => angiogram(size, size, finding, seed),
        Modality::Oct => oct_scan(size, size * 3 / 4, finding, seed),
        _ => colour_photograph(size, size, finding, seed),
    }
}

/// A seed for one drawn thing, so that adding things never changes the others.
pub fn seed_for(seed: u64, kind: &str, index: usize) -> u64 {
    let mut value = seed ^ 0xcbf2_9ce4_8422_2325;
    for byte in kind.bytes().chain(index.to_le_bytes()) {
        value = (value ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    ChaCha8Rng::seed_from_u64(value).next_u64()
}
