//! Dropout whose masks depend on (seed, step) alone, so that a resumed run draws the same ones.

use burn::tensor::{Device, Tensor};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

use super::walk::from_vec;

/// Masks of one training step. Off for evaluation and parity. A copy draws what the original would.
#[derive(Clone)]
pub struct Dropout(Option<ChaCha8Rng>);

impl Dropout {
    /// No dropout: evaluation.
    pub fn off() -> Self {
        Self(None)
    }

    /// Masks of optimiser step `step` of the run seeded with `seed`.
    pub fn for_step(seed: u64, step: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(step);
        Self(Some(rng))
    }

    /// Masks of one part of a step that is done in parts, each of which may be passed through again.
    pub fn for_part(seed: u64, step: u64, part: u64) -> Self {
        Self::for_step(seed ^ ((part + 1) << 48), step)
    }

    /// Zeroes each element with probability `rate` and scales the rest by 1/(1−rate).
    pub fn apply<const D: usize>(&mut self, x: Tensor<D>, rate: f64) -> Tensor<D> {
        match self.draw(x.dims(), rate, &x.device().without_autodiff()) {
            Some(mask) => x * mask,
            None => x,
        }
    }

    /// The factors of the next [`Dropout::apply`], on the CPU; None when nothing is dropped.
    pub fn mask<const D: usize>(&mut self, shape: [usize; D], rate: f64) -> Option<Tensor<D>> {
        self.draw(shape, rate, &Device::flex())
    }

    fn draw<const D: usize>(&mut self, shape: [usize; D], rate: f64, device: &Device) -> Option<Tensor<D>> {
        match &mut self.0 {
            Some(rng) if rate > 0.0 => Some(mask(rng, shape, rate, device)),
            _ => None,
        }
    }
}

/// 0 with probability `rate` (to 16 bits), else 1/(1−rate).
fn mask<const D: usize>(rng: &mut ChaCha8Rng, shape: [usize; D], rate: f64, device: &Device) -> Tensor<D> {
    let count: usize = shape.iter().product();
    let threshold = (rate * 65536.0).round() as u16;
    let keep = (1.0 / (1.0 - f64::from(threshold) / 65536.0)) as f32;
    let mut bytes = vec![0u8; count * 2];
    rng.fill_bytes(&mut bytes);
    let values = bytes
        .chunks_exact(2)
        .map(|pair| {
            if u16::from_le_bytes([pair[0], pair[1]]) < threshold {
                0.0
            } else {
                keep
            }
        })
        .collect();
    from_vec(values, shape, device)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::walk::to_vec;

    #[test]
    fn masks_repeat_for_a_step_differ_between_steps_and_keep_the_mean() {
        let device = Device::flex();
        let draw = |step| {
            let x = Tensor::<2>::ones([200, 300], &device);
            to_vec(&Dropout::for_step(7, step).apply(x, 0.5))
        };
        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3), draw(4));
        let mean = draw(3).iter().sum::<f32>() / 60_000.0;
        assert!((mean - 1.0).abs() < 0.02, "{mean}");
        let x = Tensor::<1>::ones([5], &device);
        assert_eq!(to_vec(&Dropout::off().apply(x, 0.5)), [1.0; 5]);
    }
}
