//! Learning rate of an optimiser step.

use serde::{Deserialize, Serialize};

/// Warm-up, then cosine to zero (Section IV-D; keepfit reference, section 6).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CosineSchedule {
    /// Optimiser steps in an epoch.
    pub its_per_epoch: u64,
    /// Epochs of linear warm-up.
    pub warmup_epochs: u64,
    /// Epoch at which the cosine reaches zero: the epochs trained (paper) or 100 (reference mode).
    pub horizon_epochs: u64,
}

impl CosineSchedule {
    /// Rate of step `step` (from 0): w = warm-up steps, h = horizon steps;
    /// `lr/w + t(lr − lr/w)/(w−1)` while t < w, then `lr/2·(1 + cos π(t−w)/(h−w))`.
    pub fn rate(&self, base: f64, step: u64) -> f64 {
        let warmup = self.warmup_epochs * self.its_per_epoch;
        let horizon = self.horizon_epochs * self.its_per_epoch;
        let (t, w) = (step as f64, warmup as f64);
        if step < warmup {
            let start = base / w;
            if warmup == 1 {
                start
            } else {
                start + t * (base - start) / (w - 1.0)
            }
        } else if step >= horizon {
            // Past the horizon the cosine would rise again.
            0.0
        } else {
            base / 2.0 * (1.0 + (std::f64::consts::PI * (t - w) / (horizon as f64 - w)).cos())
        }
    }
}

/// Linear warm-up, then linear decay to zero (masked language modelling).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LinearSchedule {
    /// Steps of the whole run.
    pub total_steps: u64,
    /// Share of them that warms up, 0..1 (0.06).
    pub warmup_share: f64,
}

impl LinearSchedule {
    /// Rate of step `step` (from 0).
    pub fn rate(&self, base: f64, step: u64) -> f64 {
        let total = self.total_steps as f64;
        let warmup = (total * self.warmup_share).ceil();
        let t = step as f64;
        if t < warmup {
            base * (t + 1.0) / warmup
        } else {
            base * ((total - t) / (total - warmup).max(1.0)).max(0.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosine_warms_up_to_the_base_rate_and_ends_at_zero() {
        let schedule = CosineSchedule {
            its_per_epoch: 10,
            warmup_epochs: 1,
            horizon_epochs: 4,
        };
        let rates: Vec<f64> = (0..41).map(|t| schedule.rate(1e-4, t)).collect();
        assert!((rates[0] - 1e-5).abs() < 1e-18);
        assert!((rates[9] - 1e-4).abs() < 1e-18);
        assert!((rates[10] - 1e-4).abs() < 1e-18);
        assert!((rates[25] - 5e-5).abs() < 1e-18);
        assert!(rates[11..40].windows(2).all(|w| w[0] > w[1]));
        assert_eq!(rates[40], 0.0);
    }

    #[test]
    fn one_warmup_step_uses_the_base_rate() {
        let schedule = CosineSchedule {
            its_per_epoch: 1,
            warmup_epochs: 1,
            horizon_epochs: 3,
        };
        assert_eq!(schedule.rate(0.5, 0), 0.5);
    }

    #[test]
    fn linear_rises_and_falls() {
        let schedule = LinearSchedule {
            total_steps: 100,
            warmup_share: 0.06,
        };
        assert!((schedule.rate(6.0, 0) - 1.0).abs() < 1e-12);
        assert!((schedule.rate(6.0, 5) - 6.0).abs() < 1e-12);
        assert!((schedule.rate(94.0, 99) - 1.0).abs() < 1e-12);
        assert_eq!(schedule.rate(1.0, 100), 0.0);
    }
}
