//! Flags for poor pictures and duplicates. Nothing is dropped for a flag.

use image::{GrayImage, RgbImage};

pub mod burnt_in;

/// The paper asks for at least 800 x 800 px an image (Section III).
pub const LEAST_SIDE: u32 = 800;

/// Flags of a single picture, in fixed order: `low-resolution`, `blurred`, `dark`,
/// `low-information`, `burnt-in-text`.
pub fn quality_flags(image: &RgbImage) -> Vec<String> {
    /// Mean luminance under which a photograph shows little, levels.
    const DARK: f64 = 18.0;
    /// Entropy of the luminance under which a picture is nearly empty, bits.
    const LITTLE: f64 = 1.5;
    let mut flags = Vec::new();
    if image.width().min(image.height()) < LEAST_SIDE {
        flags.push("low-resolution");
    }
    let gray = luminance(image);
    if sharpness(&gray) < LEAST_SHARPNESS {
        flags.push("blurred");
    }
    let mean = gray.pixels().map(|p| f64::from(p.0[0])).sum::<f64>() / f64::from(gray.width() * gray.height()).max(1.0);
    if mean < DARK {
        flags.push("dark");
    }
    if entropy(&gray) < LITTLE {
        flags.push("low-information");
    }
    if !burnt_in::burnt_in_text(image).is_empty() {
        flags.push(burnt_in::BURNT_IN_TEXT);
    }
    flags.into_iter().map(str::to_owned).collect()
}

/// Sharpness under which a panel is flagged; a field blurred by 2 % of its width falls below.
const LEAST_SHARPNESS: f64 = 0.012;

fn luminance(image: &RgbImage) -> GrayImage {
    // Reduced to one size, so that the bounds do not depend on the print's resolution.
    let factor = (image.width().max(image.height()) / 384).max(1);
    crate::ocr::prepare::to_gray(&crate::layout::sheet::reduce(image, factor))
}

/// Mean absolute Laplacian of lit pixels relative to their mean brightness.
fn sharpness(gray: &GrayImage) -> f64 {
    let (width, height) = gray.dimensions();
    if width < 3 || height < 3 {
        return 0.0;
    }
    let at = |x: u32, y: u32| f64::from(gray.get_pixel(x, y).0[0]);
    let (mut sum, mut light, mut count) = (0.0, 0.0, 0usize);
    for y in 1..height - 1 {
        for x in 1..width - 1 {
            let c = at(x, y);
            if c <= 20.0 {
                continue;
            }
            sum += (4.0 * c - at(x - 1, y) - at(x + 1, y) - at(x, y - 1) - at(x, y + 1)).abs();
            light += c;
            count += 1;
        }
    }
    if count == 0 { 0.0 } else { sum / light.max(1.0) }
}

/// Shannon entropy of the luminance, bits.
fn entropy(gray: &GrayImage) -> f64 {
    let mut histogram = [0u32; 256];
    for p in gray.pixels() {
        histogram[usize::from(p.0[0])] += 1;
    }
    let total = f64::from(gray.width() * gray.height()).max(1.0);
    histogram
        .iter()
        .filter(|n| **n > 0)
        .map(|n| {
            let share = f64::from(*n) / total;
            -share * share.log2()
        })
        .sum()
}

/// 64-bit difference hash: each bit says whether brightness rises from one cell to the next in a 9 x 8 grid.
pub fn difference_hash(image: &RgbImage) -> u64 {
    let gray = luminance(image);
    let small = image::imageops::resize(&gray, 9, 8, image::imageops::FilterType::Triangle);
    let mut hash = 0u64;
    for y in 0..8 {
        for x in 0..8 {
            hash = hash << 1 | u64::from(small.get_pixel(x, y).0 < small.get_pixel(x + 1, y).0);
        }
    }
    hash
}

/// Largest number of differing bits of near duplicates.
pub const NEAR_DUPLICATE_BITS: u32 = 3;

/// True when two difference hashes show nearly the same picture.
pub fn is_near_duplicate(a: u64, b: u64) -> bool {
    (a ^ b).count_ones() <= NEAR_DUPLICATE_BITS
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    fn field(side: u32, seed: u32) -> RgbImage {
        RgbImage::from_fn(side, side, |x, y| {
            let v = 90 + ((x * 7 + y * seed) % 61) as u8 + (x * 100 / side) as u8;
            Rgb([v, v / 2, v / 3])
        })
    }

    #[test]
    fn flags_name_what_is_wrong() {
        assert_eq!(quality_flags(&field(900, 13)), Vec::<String>::new());
        assert_eq!(quality_flags(&field(300, 13)), ["low-resolution"]);
        let black = RgbImage::from_pixel(900, 900, Rgb([3, 3, 3]));
        assert_eq!(quality_flags(&black), ["blurred", "dark", "low-information"]);
        let soft = RgbImage::from_fn(900, 900, |x, y| Rgb([60 + (x / 8) as u8, 40 + (y / 9) as u8, 30]));
        assert_eq!(quality_flags(&soft), ["blurred"]);
    }

    #[test]
    fn near_duplicates_survive_scaling() {
        let image = RgbImage::from_fn(400, 400, |x, y| {
            Rgb([(x / 2) as u8, (y / 2) as u8, ((x * y) / 700) as u8])
        });
        let smaller = image::imageops::resize(&image, 300, 300, image::imageops::FilterType::Triangle);
        assert!(is_near_duplicate(difference_hash(&image), difference_hash(&smaller)));
        let other = RgbImage::from_fn(400, 400, |x, y| Rgb([(y / 2) as u8, (255 - x / 2) as u8, 0]));
        assert!(!is_near_duplicate(difference_hash(&image), difference_hash(&other)));
    }
}
