//! Lines by the eigenvalues of the Hessian, inside of the field of view.

use super::BLACK;
use super::plane::Plane;

/// See [`super::NAMES`].
pub(super) struct Lines {
    pub bright_lines: f64,
    pub line_contrast: f64,
}

/// Measures lines. `high` and `low` are the largest and least channel.
pub(super) fn measure(gray: &Plane, high: &Plane, low: &Plane) -> Lines {
    /// Keeps the relative strength finite in the dark, levels.
    const DARK_FLOOR: f32 = 15.0;
    let (width, height) = (gray.width, gray.height);
    // The rims of the field, of burnt-in letters and of arrows are no vessels.
    let lit = high.mask(|i| high.values[i] > BLACK).blurred(6);
    let white = low.mask(|i| low.values[i] > 225.0).blurred(3);
    let fine = gray.blurred(1);
    let smooth = fine.blurred(1);
    let inside = |i: usize| lit.values[i] > 0.98 && white.values[i] < 0.02;
    let within = (0..width * height).filter(|&i| inside(i)).count() >= 100;
    let energy = |plane: &Plane| {
        let (mut bright, mut dark, mut count) = (0.0f64, 0.0f64, 0usize);
        for y in 1..height - 1 {
            for x in 1..width - 1 {
                if within && !inside(y * width + x) {
                    continue;
                }
                let c = plane.at(x, y);
                let yy = plane.at(x, y + 1) - 2.0 * c + plane.at(x, y - 1);
                let xx = plane.at(x + 1, y) - 2.0 * c + plane.at(x - 1, y);
                let xy = (plane.at(x + 1, y + 1) - plane.at(x - 1, y + 1) - plane.at(x + 1, y - 1)
                    + plane.at(x - 1, y - 1))
                    / 4.0;
                let spread = (((xx - yy) / 2.0).powi(2) + xy * xy).sqrt();
                let (l1, l2) = ((xx + yy) / 2.0 + spread, (xx + yy) / 2.0 - spread);
                let around = c + DARK_FLOOR;
                bright += f64::from(((-l2 - l1.abs()).max(0.0) / around).powi(2));
                dark += f64::from(((l1 - l2.abs()).max(0.0) / around).powi(2));
                count += 1;
            }
        }
        let n = count.max(1) as f64;
        (bright / n, dark / n)
    };
    let (bright, dark) = energy(&smooth);
    let (fine_bright, fine_dark) = energy(&fine);
    Lines {
        bright_lines: (bright - dark) / (bright + dark + 1e-5),
        line_contrast: (fine_bright + fine_dark + 1e-6).ln(),
    }
}
