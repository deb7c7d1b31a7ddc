//! Agreement of two assessors: Cohen's κ (1960) for every finding.

use serde::Serialize;

/// Two by two table of one finding.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Agreement {
    /// The finding.
    pub finding: String,
    /// Pictures both assessors say it is on.
    pub both: u64,
    /// Pictures only the first assessor says it is on.
    pub only_a: u64,
    /// Pictures only the second assessor says it is on.
    pub only_b: u64,
    /// Pictures neither says it is on.
    pub neither: u64,
    /// Cohen's κ; none when chance alone explains everything (the finding is on all pictures or on none).
    pub kappa: Option<f64>,
}

impl Agreement {
    /// Counts one picture.
    pub fn count(&mut self, a: bool, b: bool) {
        match (a, b) {
            (true, true) => self.both += 1,
            (true, false) => self.only_a += 1,
            (false, true) => self.only_b += 1,
            (false, false) => self.neither += 1,
        }
    }

    /// Fills in κ from the counts.
    pub fn finish(&mut self) {
        self.kappa = kappa(self.both, self.only_a, self.only_b, self.neither);
    }
}

/// Cohen's κ = (p_o - p_e) / (1 - p_e) of a two by two table.
pub fn kappa(both: u64, only_a: u64, only_b: u64, neither: u64) -> Option<f64> {
    let n = (both + only_a + only_b + neither) as f64;
    if n == 0.0 {
        return None;
    }
    let (a, b) = ((both + only_a) as f64 / n, (both + only_b) as f64 / n);
    let observed = (both + neither) as f64 / n;
    let expected = a * b + (1.0 - a) * (1.0 - b);
    (1.0 - expected > 1e-12).then(|| (observed - expected) / (1.0 - expected))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn kappa_of_known_tables() {
        // Cohen's own kind of example: 20, 5, 10, 15 of 50 gives 0.4.
        assert!((kappa(20, 5, 10, 15).unwrap() - 0.4).abs() < 1e-12);
        assert!((kappa(7, 0, 0, 3).unwrap() - 1.0).abs() < 1e-12);
        assert!(kappa(0, 5, 5, 0).unwrap() < 0.0);
        assert_eq!(kappa(10, 0, 0, 0), None);
        assert_eq!(kappa(0, 0, 0, 0), None);
    }
}
