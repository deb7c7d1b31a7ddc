//! Other looks that a picture can have in a book or on a screen, to learn from.
//!
//! Collections show each modality by few cameras. What a page, a screen or another device does to a picture is
//! known, so each labelled picture is learnt in those looks, too.

use dataset::modality::Modality;
use image::imageops::{FilterType, blur, crop_imm, resize};
use image::{Rgb, RgbImage};

use super::measures::shrink;

/// Red, green and blue of false colours from dark to bright, as OCT devices show them.
const FALSE_COLOURS: [[[f32; 3]; 5]; 3] = [
    [
        [0.0, 0.0, 60.0],
        [0.0, 90.0, 220.0],
        [40.0, 200.0, 90.0],
        [250.0, 220.0, 40.0],
        [250.0, 250.0, 250.0],
    ],
    [
        [0.0, 0.0, 0.0],
        [120.0, 0.0, 0.0],
        [235.0, 60.0, 0.0],
        [255.0, 200.0, 30.0],
        [255.0, 255.0, 255.0],
    ],
    [
        [0.0, 0.0, 140.0],
        [0.0, 140.0, 255.0],
        [120.0, 255.0, 130.0],
        [255.0, 140.0, 0.0],
        [140.0, 0.0, 0.0],
    ],
];

fn recoloured(image: &RgbImage, change: impl Fn([f32; 3]) -> [f32; 3]) -> RgbImage {
    let mut copy = image.clone();
    for p in copy.pixels_mut() {
        p.0 = change(p.0.map(f32::from)).map(|v| v.round().clamp(0.0, 255.0) as u8);
    }
    copy
}

fn light([r, g, b]: [f32; 3]) -> f32 {
    0.299 * r + 0.587 * g + 0.114 * b
}

fn false_coloured(image: &RgbImage, scale: &[[f32; 3]; 5]) -> RgbImage {
    recoloured(image, |p| {
        let place = light(p) / 255.0 * (scale.len() - 1) as f32;
        let below = (place as usize).min(scale.len() - 2);
        let share = place - below as f32;
        [0, 1, 2].map(|c| scale[below][c] * (1.0 - share) + scale[below + 1][c] * share)
    })
}

/// Noise of -1..=1 that depends on the place alone.
fn noise(x: u32, y: u32) -> f32 {
    let mut h = u64::from(x).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ u64::from(y).wrapping_mul(0xC2B2_AE3D_27D4_EB4F);
    h ^= h >> 29;
    h = h.wrapping_mul(0xBF58_476D_1CE4_E5B9);
    h ^= h >> 32;
    (h % 2001) as f32 / 1000.0 - 1.0
}

fn speckled(image: &RgbImage, strength: f32) -> RgbImage {
    let mut copy = image.clone();
    for (x, y, p) in copy.enumerate_pixels_mut() {
        let n = noise(x, y) * strength;
        p.0 =
            p.0.map(|v| (f32::from(v) * (1.0 + n) + 30.0 * n).round().clamp(0.0, 255.0) as u8);
    }
    copy
}

/// Turned by `slope` (rise over run) about the middle; `fill` comes in at the corners.
fn sheared(image: &RgbImage, slope: f32, fill: [u8; 3]) -> RgbImage {
    let (width, height) = image.dimensions();
    RgbImage::from_fn(width, height, |x, y| {
        let (dx, dy) = (x as f32 - width as f32 / 2.0, y as f32 - height as f32 / 2.0);
        let (sx, sy) = (x as f32 - slope * dy, y as f32 + slope * dx);
        if sx < 0.0 || sy < 0.0 || sx >= width as f32 || sy >= height as f32 {
            Rgb(fill)
        } else {
            *image.get_pixel(sx as u32, sy as u32)
        }
    })
}

/// With a letter's strokes, an arrow and a bar drawn into it.
fn marked(image: &RgbImage, colour: [u8; 3]) -> RgbImage {
    let (width, height) = image.dimensions();
    let unit = (width.min(height) / 40).max(1);
    let mut copy = image.clone();
    let mut bar = |x0: u32, y0: u32, w: u32, h: u32| {
        for y in y0..(y0 + h).min(height) {
            for x in x0..(x0 + w).min(width) {
                copy.put_pixel(x, y, Rgb(colour));
            }
        }
    };
    bar(unit * 2, height - unit * 6, unit, unit * 4);
    bar(unit * 2, height - unit * 6, unit * 3, unit);
    bar(unit * 2, height - unit * 4, unit * 3, unit);
    bar(width / 8, height * 7 / 8, width / 6, unit);
    for step in 0..unit * 5 {
        bar(width / 2 + step, height / 3 + step, unit, unit);
        bar(width * 2 / 3 - step / 2, height * 2 / 3 + step, unit, unit);
    }
    copy
}

/// Lines in two colours along the brightest of each column, as devices mark the layers.
fn outlined(image: &RgbImage) -> RgbImage {
    let smooth = blur(image, 4.0);
    let mut copy = image.clone();
    let (width, height) = image.dimensions();
    for x in 0..width {
        let brightest = (0..height)
            .max_by_key(|&y| (smooth.get_pixel(x, y).0[1], y))
            .unwrap_or(0);
        for (shift, colour) in [(0, [255, 0, 0]), (height / 8, [0, 255, 0])] {
            for y in brightest.saturating_sub(shift)..=brightest.saturating_sub(shift) + 1 {
                if y < height {
                    copy.put_pixel(x, y, Rgb(colour));
                }
            }
        }
    }
    copy
}

/// The looks with the modality that each shows. Small copies, good for [`super::measures::measure`] alone.
pub fn looks(image: &RgbImage, modality: Modality) -> Vec<(Modality, RgbImage)> {
    let (w, h) = image.dimensions();
    let part = |share: f64, left: f64, top: f64| {
        let (cw, ch) = ((f64::from(w) * share) as u32, (f64::from(h) * share) as u32);
        let (x, y) = (f64::from(w - cw) * left, f64::from(h - ch) * top);
        shrink(&crop_imm(image, x as u32, y as u32, cw.max(1), ch.max(1)).to_image())
    };
    let small = shrink(image);
    let middle = part(0.5, 0.5, 0.5);
    let tint = |picture: &RgbImage, t: [f32; 3]| recoloured(picture, |p| [0, 1, 2].map(|c| p[c] * t[c]));
    let gray = recoloured(&small, |p| [light(p); 3]);
    let mut looks = vec![
        tint(&small, [1.0, 0.94, 0.78]),
        tint(&small, [0.84, 0.93, 1.0]),
        recoloured(&small, |p| p.map(|v| 45.0 + 0.72 * v)),
        recoloured(&small, |p| p.map(|v| 150.0 * (v / 255.0).powf(1.5))),
        speckled(&small, 0.2),
        blur(&small, 1.5),
    ];
    looks.extend([
        middle.clone(),
        part(0.66, 0.2, 0.7),
        marked(&middle, [255, 255, 255]),
        marked(&small, [255, 230, 0]),
    ]);
    let mut shown: Vec<(Modality, RgbImage)> = looks.into_iter().map(|look| (modality, look)).collect();
    match modality {
        Modality::Cfp => {
            let pale = recoloured(&small, |p| {
                let l = light(p);
                p.map(|v| l + 0.45 * (v - l))
            });
            shown.push((modality, pale));
            // Ultra-widefield scanners have no blue; some show green as strong as red.
            let means = small
                .pixels()
                .fold([0.0f32; 3], |s, p| [0, 1, 2].map(|c| s[c] + f32::from(p.0[c])));
            let balance = means[0] / means[1].max(1.0);
            for (picture, green) in [(&small, 0.85), (&middle, 0.85), (&small, 1.05)] {
                let wide = |p: [f32; 3]| [0.8 * p[0], green * balance * p[1], 0.15 * p[1]];
                shown.push((modality, recoloured(picture, wide)));
            }
            // Without its colour a photograph looks like a red-free or infrared one, of which collections hold few.
            for picture in [&small, &middle] {
                shown.push((Modality::Other, recoloured(picture, |p| [light(p); 3])));
                shown.push((Modality::Other, recoloured(picture, |p| [p[1]; 3])));
            }
            shown.push((Modality::Other, recoloured(&small, |p| [p[0]; 3])));
            for picture in [&small, &middle] {
                shown.push((
                    Modality::Other,
                    recoloured(picture, |p| [0.3 * p[1], p[1], 0.35 * p[1]]),
                ));
            }
            // Maps of thickness and height are coloured so.
            for scale in [&FALSE_COLOURS[0], &FALSE_COLOURS[2]] {
                shown.push((Modality::Other, false_coloured(&small, scale)));
            }
        }
        Modality::Ffa => {
            shown.push((modality, tint(&gray, [0.5, 1.0, 0.6])));
            shown.push((modality, tint(&gray, [1.0, 0.82, 0.6])));
        }
        Modality::Oct => {
            let square = shrink(&resize(image, 400, 320, FilterType::Triangle));
            shown.push((modality, recoloured(&small, |p| p.map(|v| 255.0 - v))));
            shown.push((modality, recoloured(&square, |p| p.map(|v| 255.0 - v))));
            for scale in &FALSE_COLOURS {
                shown.push((modality, false_coloured(&square, scale)));
            }
            shown.push((modality, tint(&gray, [0.5, 1.0, 0.6])));
            shown.push((modality, speckled(&square, 0.45)));
            shown.push((modality, sheared(&speckled(&square, 0.2), 0.14, [255; 3])));
            shown.push((modality, sheared(&square, -0.2, [0; 3])));
            shown.push((modality, outlined(&square)));
            shown.push((modality, square));
        }
        Modality::Other => {
            shown.push((modality, tint(&gray, [0.35, 1.0, 0.4])));
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_photograph_without_its_colour_is_none_and_the_same_picture_looks_the_same() {
        let picture = RgbImage::from_fn(300, 200, |x, y| Rgb([200, (x / 2) as u8, (y / 2) as u8]));
        for modality in Modality::ALL {
            let shown = looks(&picture, modality);
            assert_eq!(shown, looks(&picture, modality));
            for (said, look) in &shown {
                let gray = look.pixels().all(|p| p.0[0] == p.0[1] && p.0[1] == p.0[2]);
                let want = if gray && modality == Modality::Cfp {
                    Modality::Other
                } else {
                    *said
                };
                assert_eq!(*said, want);
                assert!(modality == Modality::Cfp || *said == modality);
            }
            assert!(shown.iter().filter(|(said, _)| *said == modality).count() >= 10);
        }
    }
}
