//! Augmentation of public-set images: flip, small affine, brightness and contrast.
//!
//! Every draw comes from a generator seeded by (run seed, epoch, image), so neither the order of
//! work nor the number of threads matters.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// Probabilities and ranges; the defaults are the reference's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Augmentation {
    /// Probability of a horizontal flip.
    pub flip: f64,
    /// Probability of the affine change.
    pub affine: f64,
    /// Largest rotation either way, degrees.
    pub degrees: f64,
    /// Smallest and largest scale.
    pub scale: (f64, f64),
    /// Probability of the brightness and contrast change.
    pub colour: f64,
    /// Largest relative change of brightness and of contrast.
    pub colour_range: f64,
}

impl Default for Augmentation {
    fn default() -> Self {
        Augmentation {
            flip: 0.5,
            affine: 0.25,
            degrees: 5.0,
            scale: (0.9, 1.0),
            colour: 0.25,
            colour_range: 0.2,
        }
    }
}

/// Applies one random draw to the planes R, G, B of side `size` (values in [0, 1]).
///
/// The same number of random values is drawn whatever is applied.
pub fn augment(planes: &mut Vec<f32>, size: usize, settings: &Augmentation, rng: &mut ChaCha8Rng) {
    let flip = rng.random_bool(settings.flip);
    let affine = rng.random_bool(settings.affine);
    let degrees = rng.random_range(-1.0..=1.0) * settings.degrees;
    let scale = settings.scale.0 + rng.random::<f64>() * (settings.scale.1 - settings.scale.0);
    let colour = rng.random_bool(settings.colour);
    let brightness = 1.0 + rng.random_range(-1.0..=1.0) * settings.colour_range;
    let contrast = 1.0 + rng.random_range(-1.0..=1.0) * settings.colour_range;
    if flip {
        flip_horizontally(planes, size);
    }
    if affine {
        *planes = rotate_and_scale(planes, size, degrees, scale);
    }
    if colour {
        change_colour(planes, size, brightness as f32, contrast as f32);
    }
}

fn flip_horizontally(planes: &mut [f32], size: usize) {
    for row in planes.chunks_exact_mut(size) {
        row.reverse();
    }
}

/// Rotation about the centre and scaling, bilinear, zeros outside.
fn rotate_and_scale(planes: &[f32], size: usize, degrees: f64, scale: f64) -> Vec<f32> {
    let (sin, cos) = degrees.to_radians().sin_cos();
    let center = (size as f64 - 1.0) / 2.0;
    let mut out = vec![0.0; planes.len()];
    for y in 0..size {
        for x in 0..size {
            let (dx, dy) = ((x as f64 - center) / scale, (y as f64 - center) / scale);
            let (source_x, source_y) = (cos * dx + sin * dy + center, -sin * dx + cos * dy + center);
            let (x0, y0) = (source_x.floor(), source_y.floor());
            let (fx, fy) = ((source_x - x0) as f32, (source_y - y0) as f32);
            let corners = [
                (x0, y0, (1.0 - fx) * (1.0 - fy)),
                (x0 + 1.0, y0, fx * (1.0 - fy)),
                (x0, y0 + 1.0, (1.0 - fx) * fy),
                (x0 + 1.0, y0 + 1.0, fx * fy),
            ];
            for (corner_x, corner_y, weight) in corners {
                let inside = (0.0..size as f64).contains(&corner_x) && (0.0..size as f64).contains(&corner_y);
                if inside {
                    let at = corner_y as usize * size + corner_x as usize;
                    for channel in 0..3 {
                        out[channel * size * size + y * size + x] += weight * planes[channel * size * size + at];
                    }
                }
            }
        }
    }
    out
}

/// Brightness as a factor, then contrast about the mean grey, clamped to [0, 1].
fn change_colour(planes: &mut [f32], size: usize, brightness: f32, contrast: f32) {
    /// Luma weights of ITU-R BT.601, as torchvision uses them.
    const LUMA: [f32; 3] = [0.299, 0.587, 0.114];
    let area = size * size;
    for value in planes.iter_mut() {
        *value = (*value * brightness).clamp(0.0, 1.0);
    }
    let mean: f32 = (0..3)
        .map(|channel| LUMA[channel] * planes[channel * area..(channel + 1) * area].iter().sum::<f32>() / area as f32)
        .sum();
    for value in planes.iter_mut() {
        *value = ((*value - mean) * contrast + mean).clamp(0.0, 1.0);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rand::SeedableRng;

    const SIZE: usize = 9;

    fn picture() -> Vec<f32> {
        (0..3 * SIZE * SIZE).map(|i| (i % 17) as f32 / 17.0).collect()
    }

    #[test]
    fn flipping_twice_is_nothing() {
        let mut planes = picture();
        flip_horizontally(&mut planes, SIZE);
        assert_ne!(planes, picture());
        flip_horizontally(&mut planes, SIZE);
        assert_eq!(planes, picture());
    }

    #[test]
    fn the_identity_affine_changes_nothing_and_rotation_keeps_the_centre() {
        assert_eq!(rotate_and_scale(&picture(), SIZE, 0.0, 1.0), picture());
        let turned = rotate_and_scale(&picture(), SIZE, 5.0, 0.9);
        let centre = (SIZE / 2) * SIZE + SIZE / 2;
        assert!((turned[centre] - picture()[centre]).abs() < 1e-5);
        assert_eq!(turned[0], 0.0, "scaling below 1 brings zeros in at the corner");
    }

    #[test]
    fn values_stay_in_range_and_the_seed_decides() {
        let always = Augmentation {
            flip: 0.5,
            affine: 1.0,
            colour: 1.0,
            ..Augmentation::default()
        };
        let run = |seed| {
            let mut planes = picture();
            augment(&mut planes, SIZE, &always, &mut ChaCha8Rng::seed_from_u64(seed));
            planes
        };
        for seed in 0..20 {
            let planes = run(seed);
            assert!(planes.iter().all(|v| (0.0..=1.0).contains(v)));
            assert_eq!(planes, run(seed));
        }
        assert_ne!(run(1), run(2));
    }
}
