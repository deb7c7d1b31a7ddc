//! Moving average of the autoencoder's weights; its codebook is what later stages take.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use burn::tensor::Tensor;

use crate::model::autoencoder::Autoencoder;
use crate::model::walk::{Role, Walk, from_vec, to_vec};
use crate::weights::names::{CODEBOOK, EMA_PREFIX};
use crate::weights::{HostTensor, Tensors};

/// Updates that the average has seen, in a checkpoint.
const UPDATES: &str = "model_ema.num_updates";

/// The averages by weight name, flat.
pub(super) struct Average {
    decay: f64,
    updates: u64,
    values: BTreeMap<String, Tensor<1>>,
}

/// A weight's key in the public tokenisers' average: prefixed, without dots.
fn ema_key(key: &str) -> String {
    format!("{EMA_PREFIX}{}", key.replace('.', ""))
}

impl Average {
    /// The average at the start of a run: the weights themselves.
    pub(super) fn new(decay: f64, model: &mut Autoencoder) -> Self {
        let mut values = BTreeMap::new();
        model.each(|key, role, slot| {
            if role == Role::Trained
                && let Some(flat) = slot.flat()
            {
                values.insert(key.to_owned(), flat);
            }
        });
        Average {
            decay,
            updates: 0,
            values,
        }
    }

    /// Takes the weights in after a step; the decay rises to its value over the first steps.
    pub(super) fn update(&mut self, model: &mut Autoencoder) {
        self.updates += 1;
        let seen = self.updates as f64;
        let rate = 1.0 - self.decay.min((1.0 + seen) / (10.0 + seen));
        model.each(|key, _, slot| {
            if let (Some(average), Some(now)) = (self.values.get_mut(key), slot.flat()) {
                *average = average.clone() + (now - average.clone()) * rate;
            }
        });
    }

    /// Puts the averages into a model of the same shape.
    pub(super) fn apply(&self, model: &mut Autoencoder) {
        model.each(|key, _, mut slot| {
            if let Some(average) = self.values.get(key) {
                slot.set_flat(average.clone());
            }
        });
    }

    /// The averaged codebook, row by row.
    pub(super) fn codebook(&self) -> Vec<f32> {
        self.values.get(CODEBOOK).map(to_vec).unwrap_or_default()
    }

    /// For a checkpoint.
    pub(super) fn tensors(&self, model: &mut Autoencoder) -> Tensors {
        let mut tensors = Tensors::from([(UPDATES.to_owned(), HostTensor::from_i64(vec![], &[self.updates as i64]))]);
        model.each(|key, _, slot| {
            if let Some(average) = self.values.get(key) {
                tensors.insert(ema_key(key), HostTensor::from_f32(slot.shape(), &to_vec(average)));
            }
        });
        tensors
    }

    /// Takes the averages of a checkpoint out of `tensors`.
    ///
    /// # Errors
    /// One is missing.
    pub(super) fn restore(&mut self, tensors: &mut Tensors) -> Result<()> {
        let updates = tensors
            .remove(UPDATES)
            .with_context(|| format!("{UPDATES} is missing"))?;
        self.updates = updates.to_i64()?.first().copied().unwrap_or(0).max(0) as u64;
        for (key, average) in &mut self.values {
            let stored = ema_key(key);
            let tensor = tensors
                .remove(&stored)
                .with_context(|| format!("{stored} is missing"))?;
            let values = tensor.to_f32()?;
            let length = values.len();
            *average = from_vec(values, [length], &average.device());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::autoencoder::AutoencoderConfig;
    use crate::model::layers::Init;
    use burn::tensor::Device;

    fn model(seed: u64) -> Autoencoder {
        let config = AutoencoderConfig {
            channels: 4,
            multipliers: vec![1, 1],
            blocks: 1,
            codes: 8,
            code_dim: 4,
        };
        Autoencoder::init(&config, &mut Init::new(seed, &Device::flex().autodiff())).unwrap()
    }

    #[test]
    fn averages_follow_the_weights_and_come_back_from_a_checkpoint() {
        let (mut start, mut later) = (model(1), model(2));
        let mut average = Average::new(0.9, &mut start);
        average.update(&mut later);
        average.update(&mut later);
        // Rates 1 − 2/11 and 1 − 3/12 of the first two updates.
        let (a, b) = (to_vec(&start.quantizer.codebook), to_vec(&later.quantizer.codebook));
        let left = (2.0 / 11.0) * (3.0 / 12.0);
        let found = average.codebook();
        assert_eq!(found.len(), 32);
        assert!(
            found
                .iter()
                .zip(a.iter().zip(&b))
                .all(|(x, (a, b))| (x - (b + (a - b) * left)).abs() < 1e-5)
        );
        let mut tensors = average.tensors(&mut later);
        assert!(tensors.contains_key("model_ema.quantizeembeddingweight"));
        let mut other = Average::new(0.9, &mut model(3));
        other.restore(&mut tensors).unwrap();
        assert!(tensors.is_empty());
        assert_eq!(other.codebook(), found);
        let mut applied = model(3);
        other.apply(&mut applied);
        assert_eq!(to_vec(&applied.quantizer.codebook), found);
        assert!(other.restore(&mut Tensors::new()).is_err());
    }
}
