//! The paper's colour statistic: an 8x8x8 histogram in HSV.

use image::RgbImage;

/// Bins a channel.
pub const BINS: usize = 8;

/// Hue 0..=1, saturation 0..=1, value 0..=1 of an 8-bit colour.
pub fn to_hsv([r, g, b]: [u8; 3]) -> [f32; 3] {
    let [r, g, b] = [r, g, b].map(f32::from);
    let high = r.max(g).max(b);
    let low = r.min(g).min(b);
    let span = high - low;
    let hue = if span == 0.0 {
        0.0
    } else if high == r {
        ((g - b) / span).rem_euclid(6.0)
    } else if high == g {
        (b - r) / span + 2.0
    } else {
        (r - g) / span + 4.0
    };
    let saturation = if high == 0.0 { 0.0 } else { span / high };
    [hue / 6.0, saturation, high / 255.0]
}

/// Share of pixels in each bin, index `(hue * 8 + saturation) * 8 + value`, summing to 1.
pub fn hsv_histogram(image: &RgbImage) -> Vec<f32> {
    /// Pixels looked at along each side; more do not change the shares.
    const SAMPLES: u32 = 256;
    let mut counts = vec![0u32; BINS * BINS * BINS];
    let step = (image.width().max(image.height()) / SAMPLES).max(1);
    let mut total = 0u32;
    for y in (0..image.height()).step_by(step as usize) {
        for x in (0..image.width()).step_by(step as usize) {
            let bins = to_hsv(image.get_pixel(x, y).0).map(|v| ((v * BINS as f32) as usize).min(BINS - 1));
            counts[(bins[0] * BINS + bins[1]) * BINS + bins[2]] += 1;
            total += 1;
        }
    }
    counts.into_iter().map(|n| n as f32 / total.max(1) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    #[test]
    fn colours_land_in_their_bins() {
        assert_eq!(to_hsv([255, 0, 0]), [0.0, 1.0, 1.0]);
        let [h, s, v] = to_hsv([0, 128, 128]);
        assert!((h - 0.5).abs() < 1e-6 && s == 1.0 && (v - 0.502).abs() < 1e-3);
        let image = RgbImage::from_fn(4, 2, |x, _| if x < 1 { Rgb([255, 0, 0]) } else { Rgb([0; 3]) });
        let histogram = hsv_histogram(&image);
        assert_eq!(histogram[63], 0.25);
        assert_eq!(histogram[0], 0.75);
        assert!((histogram.iter().sum::<f32>() - 1.0).abs() < 1e-6);
    }
}
