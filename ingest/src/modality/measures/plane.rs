//! A plane of numbers.

/// A plane of `width` x `height` values.
#[derive(Clone)]
pub(super) struct Plane {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Values, row by row.
    pub values: Vec<f32>,
}

impl Plane {
    /// The value in column `x` of row `y`.
    pub fn at(&self, x: usize, y: usize) -> f32 {
        self.values[y * self.width + x]
    }

    /// Mean over (2 r + 1)^2 pixels, the border repeated.
    pub fn blurred(&self, r: usize) -> Self {
        let pass = |source: &[f32], length: usize, lines: usize, along: usize, across: usize| {
            let mut out = vec![0.0; source.len()];
            for line in 0..lines {
                let at = |i: isize| source[line * across + i.clamp(0, length as isize - 1) as usize * along];
                let mut sum: f64 = (-(r as isize)..=r as isize).map(|i| f64::from(at(i))).sum();
                for i in 0..length {
                    out[line * across + i * along] = (sum / (2 * r + 1) as f64) as f32;
                    sum += f64::from(at(i as isize + r as isize + 1)) - f64::from(at(i as isize - r as isize));
                }
            }
            out
        };
        let rows = pass(&self.values, self.width, self.height, 1, self.width);
        Self {
            width: self.width,
            height: self.height,
            values: pass(&rows, self.height, self.width, self.width, 1),
        }
    }

    /// 1 where `test` holds for the index, else 0.
    pub fn mask(&self, test: impl Fn(usize) -> bool) -> Self {
        Self {
            width: self.width,
            height: self.height,
            values: (0..self.values.len()).map(|i| f32::from(u8::from(test(i)))).collect(),
        }
    }

    /// Least and largest value of the 3x3 pixels around.
    pub fn range(&self, x: usize, y: usize) -> (f32, f32) {
        let (mut least, mut most) = (f32::INFINITY, f32::NEG_INFINITY);
        for ny in y.saturating_sub(1)..=(y + 1).min(self.height - 1) {
            for nx in x.saturating_sub(1)..=(x + 1).min(self.width - 1) {
                least = least.min(self.at(nx, ny));
                most = most.max(self.at(nx, ny));
            }
        }
        (least, most)
    }
}

/// Mean and variance; 0 and 0 of nothing.
pub fn moments(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let count = values.clone().count().max(1) as f64;
    let mean = values.clone().sum::<f64>() / count;
    (mean, values.map(|v| (v - mean).powi(2)).sum::<f64>() / count)
}
