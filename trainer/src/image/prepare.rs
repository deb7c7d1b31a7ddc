//! From a decoded image to the square that the image encoder takes.
//!
//! Reference behaviour: the longer side becomes `size`, sides are floored, bilinear with antialias
//! (triangle filter, as PIL), zero padding right and bottom, values in [0, 1], no mean/std step.

use anyhow::{Context, Result, bail};
use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;

/// An image resized to fit a square of a model's side, not yet padded; 8-bit RGB, row-major.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// Width in pixels, at most the model's side.
    pub width: usize,
    /// Height in pixels, at most the model's side.
    pub height: usize,
    /// `height × width × 3` bytes.
    pub rgb: Vec<u8>,
}

/// Identifies this preprocessing; feature caches are keyed by it.
pub fn preprocessing_id(size: usize) -> String {
    format!("fit{size}-triangle-pad-rb-unit-v1")
}

/// The size to which an image of `width × height` is resized for a square of side `size`.
///
/// Sides are floored as the reference does (`h / (max(h, w) / size)` in floating point, so that
/// 1000 × 750 at 512 gives 512 × 384), and never become zero.
pub fn fitted_size(width: usize, height: usize, size: usize) -> (usize, usize) {
    let longest = width.max(height).max(1);
    let fit = |side: usize| ((side as f64 / (longest as f64 / size as f64)) as usize).clamp(1, size);
    let (mut fitted_width, mut fitted_height) = (fit(width), fit(height));
    // Rounding may floor the longer side to size − 1; it is size by construction.
    if width >= height {
        fitted_width = size;
    }
    if height >= width {
        fitted_height = size;
    }
    (fitted_width, fitted_height)
}

/// Resizes a decoded image to fit a square of side `size`.
///
/// # Errors
/// An image without pixels.
pub fn prepare(image: &RgbImage, size: usize) -> Result<Prepared> {
    let (width, height) = (image.width() as usize, image.height() as usize);
    if width == 0 || height == 0 {
        bail!("the image has no pixels ({width} × {height})");
    }
    let (new_width, new_height) = fitted_size(width, height, size);
    let rgb = resize(image.as_raw(), (width, height), (new_width, new_height))?;
    Ok(Prepared {
        width: new_width,
        height: new_height,
        rgb,
    })
}

/// Antialiased bilinear resize of 8-bit RGB, sizes as (width, height).
fn resize(rgb: &[u8], from: (usize, usize), to: (usize, usize)) -> Result<Vec<u8>> {
    if from == to {
        return Ok(rgb.to_vec());
    }
    let source = ImageRef::new(u32::try_from(from.0)?, u32::try_from(from.1)?, rgb, PixelType::U8x3)
        .context("wrapping the pixels")?;
    let mut target = Image::new(u32::try_from(to.0)?, u32::try_from(to.1)?, PixelType::U8x3);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    Resizer::new()
        .resize(&source, &mut target, &options)
        .with_context(|| format!("resizing {}×{} to {}×{}", from.0, from.1, to.0, to.1))?;
    Ok(target.into_vec())
}

impl Prepared {
    /// Writes the image as planes R, G, B of side `size` in [0, 1], zero-padded, into `planes`
    /// (`3 × size × size` values, all overwritten).
    pub fn write_planes(&self, size: usize, planes: &mut [f32]) {
        debug_assert_eq!(planes.len(), 3 * size * size);
        planes.fill(0.0);
        let units: [f32; 256] = std::array::from_fn(|value| value as f32 / 255.0);
        let (red, rest) = planes.split_at_mut(size * size);
        let (green, blue) = rest.split_at_mut(size * size);
        let rows = self.rgb.chunks_exact(self.width.max(1) * 3).take(self.height.min(size));
        for (y, row) in rows.enumerate() {
            let line = y * size..(y + 1) * size;
            let (red, green, blue) = (&mut red[line.clone()], &mut green[line.clone()], &mut blue[line]);
            let outputs = red.iter_mut().zip(green).zip(blue);
            for (pixel, ((red, green), blue)) in row.chunks_exact(3).zip(outputs) {
                *red = units[usize::from(pixel[0])];
                *green = units[usize::from(pixel[1])];
                *blue = units[usize::from(pixel[2])];
            }
        }
    }

    /// Bytes that the pixels take.
    pub fn bytes(&self) -> usize {
        self.rgb.len()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn sizes_are_floored_and_fit() {
        let cases = [
            ((1000, 750), 512, (512, 384)),
            ((750, 1000), 512, (384, 512)),
            ((100, 100), 512, (512, 512)),
            ((1000, 333), 64, (64, 21)),
            ((5000, 1), 64, (64, 1)),
            ((1, 1), 64, (64, 64)),
        ];
        for ((w, h), size, expected) in cases {
            assert_eq!(fitted_size(w, h, size), expected, "{w}×{h} at {size}");
        }
        for w in 1..200 {
            let (a, b) = fitted_size(w, 97, 64);
            assert!(a.max(b) == 64 && a.min(b) >= 1, "{w}");
        }
    }

    /// The triangle filter in exact arithmetic with PIL's two passes and rounding to 8 bits between.
    fn reference(image: &RgbImage, to: (usize, usize)) -> Vec<u8> {
        let pass = |src: &[u8], from: usize, to: usize, index: &dyn Fn(usize, usize) -> usize, lines: usize| {
            let scale = from as f64 / to as f64;
            let support = scale.max(1.0);
            let mut out = vec![0u8; lines * to];
            for line in 0..lines {
                for o in 0..to {
                    let center = (o as f64 + 0.5) * scale;
                    let (lo, hi) = (
                        (center - support).max(0.0) as usize,
                        ((center + support) as usize + 1).min(from),
                    );
                    let (mut sum, mut total) = (0.0, 0.0);
                    for i in lo..hi {
                        let weight = (1.0 - ((i as f64 + 0.5 - center) / support).abs()).max(0.0);
                        sum += weight * f64::from(src[index(line, i)]);
                        total += weight;
                    }
                    out[line * to + o] = (sum / total).round().clamp(0.0, 255.0) as u8;
                }
            }
            out
        };
        let (w, h) = (image.width() as usize, image.height() as usize);
        let mut result = vec![0u8; to.0 * to.1 * 3];
        for c in 0..3 {
            let plane: Vec<u8> = image.pixels().map(|p| p.0[c]).collect();
            let wide = pass(&plane, w, to.0, &|line, i| line * w + i, h);
            let tall = pass(&wide, h, to.1, &|line, i| i * to.0 + line, to.0);
            for y in 0..to.1 {
                for x in 0..to.0 {
                    result[(y * to.0 + x) * 3 + c] = tall[x * to.1 + y];
                }
            }
        }
        result
    }

    #[test]
    fn resize_equals_the_triangle_filter_within_one_grey_level() {
        for (w, h, size) in [
            (300, 200, 64),
            (97, 203, 64),
            (40, 33, 64),
            (640, 641, 96),
            (64, 64, 64),
        ] {
            let mut state = 12345u32;
            let image = RgbImage::from_fn(w, h, |x, y| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let noise = (state >> 24) as u8;
                image::Rgb([noise, (x * 255 / w) as u8, (y * 255 / h) as u8 / 2 + noise / 2])
            });
            let prepared = prepare(&image, size).unwrap();
            let expected = reference(&image, (prepared.width, prepared.height));
            let worst = prepared
                .rgb
                .iter()
                .zip(&expected)
                .map(|(a, b)| a.abs_diff(*b))
                .max()
                .unwrap();
            assert!(worst <= 1, "{w}×{h} to {size}: off by {worst}");
        }
    }

    #[test]
    fn planes_are_padded_right_and_below() {
        let image = RgbImage::from_pixel(8, 4, image::Rgb([255, 51, 0]));
        let prepared = prepare(&image, 8).unwrap();
        let mut planes = vec![9.0; 3 * 64];
        prepared.write_planes(8, &mut planes);
        assert_eq!(planes[3 * 8 + 7], 1.0);
        assert_eq!(planes[4 * 8], 0.0);
        assert_eq!(planes[64], 0.2);
        assert_eq!(planes[128], 0.0);
    }
}
