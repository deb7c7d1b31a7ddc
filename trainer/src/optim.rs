//! AdamW with PyTorch's arithmetic, and gradients by name: norms, global clipping, accumulation.
//!
//! On the CPU moments and gradients are plain vectors and one pass updates a weight in place; on other
//! devices the same formulas run as tensor operations.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{
    device::is_cpu,
    model::walk::{Role, Slot, Walk, from_vec, to_vec},
    weights::HostTensor,
};

/// Added to the norm before dividing, as in `torch.nn.utils.clip_grad_norm_`.
const CLIP_EPSILON: f64 = 1e-6;
/// Elements a thread works on at a time; sums are formed per block so that threads do not change them.
const BLOCK: usize = 1 << 16;

/// Constants of AdamW (Section IV-D; PyTorch's defaults but for the weight decay).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdamWConfig {
    /// Decay rates of the two moments.
    #[serde(default = "betas")]
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    #[serde(default = "eps")]
    pub eps: f64,
    /// Decoupled weight decay, multiplied by the learning rate.
    pub weight_decay: f64,
}

fn betas() -> [f64; 2] {
    [0.9, 0.999]
}
fn eps() -> f64 {
    1e-8
}

/// Values of one tensor as a flat array.
#[allow(clippy::large_enum_variant, reason = "a handful live at a time")]
enum Flat {
    Host(Vec<f32>),
    Device(Tensor<1>),
}

impl Flat {
    fn new(tensor: Tensor<1>) -> Self {
        if is_cpu(&tensor.device()) {
            Self::Host(into_host(tensor))
        } else {
            Self::Device(tensor)
        }
    }

    fn zeros_like(&self) -> Self {
        match self {
            Self::Host(values) => Self::Host(vec![0.0; values.len()]),
            Self::Device(tensor) => Self::Device(tensor.zeros_like()),
        }
    }

    fn to_host(&self) -> Vec<f32> {
        match self {
            Self::Host(values) => values.clone(),
            Self::Device(tensor) => to_vec(tensor),
        }
    }

    fn sum_of_squares(&self) -> f64 {
        match self {
            Self::Host(values) => {
                let blocks: Vec<f64> = values
                    .par_chunks(BLOCK)
                    .map(|block| block.iter().map(|&x| f64::from(x) * f64::from(x)).sum())
                    .collect();
                blocks.iter().sum()
            }
            Self::Device(tensor) => f64::from(tensor.clone().square().sum().into_scalar::<f32>()),
        }
    }

    fn scale(&mut self, factor: f64) {
        match self {
            Self::Host(values) => {
                let factor = factor as f32;
                values
                    .par_chunks_mut(BLOCK)
                    .for_each(|block| block.iter_mut().for_each(|x| *x *= factor));
            }
            Self::Device(tensor) => *tensor = tensor.clone() * factor,
        }
    }

    fn add(&mut self, other: Self) {
        match (self, other) {
            (Self::Host(a), Self::Host(b)) => a.iter_mut().zip(b).for_each(|(a, b)| *a += b),
            (Self::Device(a), Self::Device(b)) => *a = a.clone() + b,
            // Gradients of one model live on one device.
            (Self::Host(a), Self::Device(b)) => a.iter_mut().zip(to_vec(&b)).for_each(|(a, b)| *a += b),
            (Self::Device(a), Self::Host(b)) => {
                let shape = [b.len()];
                *a = a.clone() + from_vec(b, shape, &a.device());
            }
        }
    }
}

/// Without a copy when nobody else holds the values.
fn into_host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor
        .into_data()
        .try_into_vec::<f32>()
        .expect("a float tensor is f32 on every device we build")
}

/// Gradients of all trained tensors that took part in a loss, by reference key.
pub struct NamedGradients(BTreeMap<String, Flat>);

impl NamedGradients {
    /// Takes the gradients of `model`'s trained tensors out of a backward pass.
    pub fn collect(model: &mut impl Walk, mut gradients: Gradients) -> Self {
        let mut named = BTreeMap::new();
        model.each(|key, role, slot| {
            if role == Role::Trained
                && let Some(gradient) = slot.take_gradient(&mut gradients)
            {
                named.insert(key.to_owned(), Flat::new(gradient));
            }
        });
        Self(named)
    }

    /// Keys in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// One gradient, row-major.
    pub fn values(&self, name: &str) -> Option<Vec<f32>> {
        self.0.get(name).map(Flat::to_host)
    }

    /// Euclidean norm of one gradient.
    pub fn tensor_norm(&self, name: &str) -> Option<f64> {
        self.0.get(name).map(|g| g.sum_of_squares().sqrt())
    }

    /// Norm over all gradients together.
    pub fn norm(&self) -> f64 {
        self.0.values().map(Flat::sum_of_squares).sum::<f64>().sqrt()
    }

    /// Norm over the gradients whose key starts with `prefix`; None when there is none.
    pub fn prefix_norm(&self, prefix: &str) -> Option<f64> {
        let mut of_prefix = self.0.iter().filter(|(key, _)| key.starts_with(prefix)).peekable();
        of_prefix.peek()?;
        Some(of_prefix.map(|(_, g)| g.sum_of_squares()).sum::<f64>().sqrt())
    }

    /// Multiplies all gradients by min(1, max_norm / (norm + 1e-6)); returns (norm before, factor).
    pub fn clip(&mut self, max_norm: f64) -> (f64, f64) {
        let norm = f64::from(self.norm() as f32);
        let factor = (max_norm / (norm + CLIP_EPSILON)).min(1.0);
        if factor < 1.0 {
            self.scale(factor);
        }
        (norm, factor)
    }

    /// Multiplies all gradients by `factor`.
    pub fn scale(&mut self, factor: f64) {
        for gradient in self.0.values_mut() {
            gradient.scale(factor);
        }
    }

    /// Adds another pass's gradients, name by name.
    pub fn accumulate(&mut self, other: Self) {
        for (name, gradient) in other.0 {
            match self.0.entry(name) {
                std::collections::btree_map::Entry::Occupied(mut mine) => mine.get_mut().add(gradient),
                std::collections::btree_map::Entry::Vacant(slot) => {
                    slot.insert(gradient);
                }
            }
        }
    }

    /// Moves the gradients to `device`, where another device's are to be added.
    pub fn to_device(mut self, device: &Device) -> Self {
        for gradient in self.0.values_mut() {
            if let Flat::Device(tensor) = gradient {
                *tensor = tensor.clone().to_device(device);
            }
        }
        self
    }

    /// Whether every value is finite.
    pub fn is_finite(&self) -> bool {
        self.norm().is_finite()
    }
}

struct Moments {
    first: Flat,
    second: Flat,
}

/// AdamW; tensors without a gradient are skipped altogether, decay included.
pub struct AdamW {
    config: AdamWConfig,
    moments: BTreeMap<String, Moments>,
    steps: u64,
}

/// Scalars of one step.
#[derive(Clone, Copy)]
struct Step {
    beta1: f64,
    beta2: f64,
    decay: f64,
    step_size: f64,
    root_correction: f64,
    eps: f64,
}

impl AdamW {
    /// Before the first step.
    pub fn new(config: AdamWConfig) -> Self {
        Self {
            config,
            moments: BTreeMap::new(),
            steps: 0,
        }
    }

    /// Steps taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// One step with learning rate `lr`.
    pub fn step(&mut self, model: &mut impl Walk, gradients: NamedGradients, lr: f64) {
        self.step_scaled(model, gradients, lr, &|_| 1.0);
    }

    /// One step with learning rate `lr · factor(key)` for each tensor (layer-wise rates).
    pub fn step_scaled(
        &mut self,
        model: &mut impl Walk,
        mut gradients: NamedGradients,
        lr: f64,
        factor: &dyn Fn(&str) -> f64,
    ) {
        self.steps += 1;
        let [beta1, beta2] = self.config.betas;
        let power = self.steps.min(i32::MAX as u64) as i32;
        let (c1, c2) = (1.0 - beta1.powi(power), 1.0 - beta2.powi(power));
        model.each(|key, role, mut slot| {
            let Some(gradient) = (role == Role::Trained).then(|| gradients.0.remove(key)).flatten() else {
                return;
            };
            let lr = lr * factor(key);
            let step = Step {
                beta1,
                beta2,
                decay: 1.0 - lr * self.config.weight_decay,
                step_size: lr / c1,
                root_correction: c2.sqrt(),
                eps: self.config.eps,
            };
            let moments = self.moments.entry(key.to_owned()).or_insert_with(|| Moments {
                first: gradient.zeros_like(),
                second: gradient.zeros_like(),
            });
            update(&mut slot, gradient, moments, step);
        });
    }

    /// Both moments by name (`exp_avg/KEY`, `exp_avg_sq/KEY`) and the step count, for a checkpoint.
    pub fn state(&self) -> BTreeMap<String, HostTensor> {
        let mut state = BTreeMap::new();
        for (key, moments) in &self.moments {
            for (kind, flat) in [("exp_avg", &moments.first), ("exp_avg_sq", &moments.second)] {
                let values = flat.to_host();
                state.insert(
                    format!("{kind}/{key}"),
                    HostTensor::from_f32(vec![values.len()], &values),
                );
            }
        }
        state.insert("step".to_owned(), HostTensor::from_i64(vec![], &[self.steps as i64]));
        state
    }

    /// Continues from [`AdamW::state`].
    ///
    /// # Errors
    /// A missing, extra or wrongly shaped tensor, by name.
    pub fn restore(
        config: AdamWConfig,
        model: &mut impl Walk,
        mut state: BTreeMap<String, HostTensor>,
    ) -> Result<Self> {
        let Some(steps) = state.remove("step") else {
            bail!("optimizer state has no tensor \"step\"")
        };
        let steps = steps.to_i64()?.first().copied().unwrap_or(0).max(0) as u64;
        let mut moments = BTreeMap::new();
        let mut problem = None;
        model.each(|key, role, slot| {
            if role != Role::Trained {
                return;
            }
            let (first, second) = (
                state.remove(&format!("exp_avg/{key}")),
                state.remove(&format!("exp_avg_sq/{key}")),
            );
            let (Some(first), Some(second)) = (first, second) else {
                return;
            };
            let read = |tensor: HostTensor| -> Result<Flat> {
                let values = tensor.to_f32()?;
                if values.len() != slot.len() {
                    bail!(
                        "optimizer state of {key} has {} values, the model {}",
                        values.len(),
                        slot.len()
                    );
                }
                let device = slot.flat().map(|t| t.device());
                Ok(match device {
                    Some(device) if !is_cpu(&device) => Flat::Device(from_vec(values, [slot.len()], &device)),
                    _ => Flat::Host(values),
                })
            };
            match (read(first), read(second)) {
                (Ok(first), Ok(second)) => {
                    moments.insert(key.to_owned(), Moments { first, second });
                }
                (Err(e), _) | (_, Err(e)) => problem = Some(e),
            }
        });
        if let Some(problem) = problem {
            return Err(problem);
        }
        if let Some(extra) = state.keys().next() {
            bail!(
                "optimizer state holds {extra:?}, which this model does not train; resume with the configuration of the run"
            );
        }
        Ok(Self { config, moments, steps })
    }
}

fn update(slot: &mut Slot, gradient: Flat, moments: &mut Moments, s: Step) {
    match (gradient, &mut moments.first, &mut moments.second) {
        (Flat::Host(gradient), Flat::Host(first), Flat::Host(second)) => {
            let Some(mut weights) = slot.take_host() else { return };
            update_host(&mut weights, &gradient, first, second, s);
            slot.put_host(weights);
        }
        (Flat::Device(g), Flat::Device(first), Flat::Device(second)) => {
            let Some(weights) = slot.flat() else { return };
            *first = first.clone() * s.beta1 + g.clone() * (1.0 - s.beta1);
            *second = second.clone() * s.beta2 + g.square() * (1.0 - s.beta2);
            let root = second.clone().sqrt() / s.root_correction + s.eps;
            slot.set_flat(weights * s.decay - first.clone() / root * s.step_size);
        }
        // Moments are made like the gradient, which comes from the model's own device.
        _ => unreachable!("gradient and moments of a tensor live on one device"),
    }
}

fn update_host(weights: &mut TensorData, gradient: &[f32], first: &mut [f32], second: &mut [f32], s: Step) {
    let (b1, b2) = (s.beta1 as f32, s.beta2 as f32);
    let (c1, c2) = ((1.0 - s.beta1) as f32, (1.0 - s.beta2) as f32);
    let (decay, size) = (s.decay as f32, s.step_size as f32);
    let (root_correction, eps) = (s.root_correction as f32, s.eps as f32);
    let weights = weights
        .as_mut_slice::<f32>()
        .expect("weights are f32 on every device we build");
    weights
        .par_chunks_mut(BLOCK)
        .zip(gradient.par_chunks(BLOCK))
        .zip(first.par_chunks_mut(BLOCK).zip(second.par_chunks_mut(BLOCK)))
        .for_each(|((w, g), (m, v))| {
            for (((w, &g), m), v) in w.iter_mut().zip(g).zip(m).zip(v) {
                *m = *m * b1 + g * c1;
                *v = *v * b2 + g * g * c2;
                *w = *w * decay - size * *m / (v.sqrt() / root_correction + eps);
            }
        });
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::layers::{Init, Linear};

    fn quadratic_step(model: &mut Linear, optimizer: &mut AdamW) {
        let loss = (model.weight.clone() - 3.0).square().sum();
        let mut gradients = NamedGradients::collect(model, loss.backward());
        gradients.clip(1.0);
        optimizer.step(model, gradients, 0.01);
    }

    fn linear() -> Linear {
        Linear::init(5, 4, true, &mut Init::new(1, &Device::flex().autodiff()))
    }

    #[test]
    fn first_step_moves_every_weight_by_the_rate_and_skips_what_has_no_gradient() {
        let mut model = linear();
        let (before, bias) = (to_vec(&model.weight), to_vec(model.bias.as_ref().unwrap()));
        let mut optimizer = AdamW::new(AdamWConfig {
            betas: betas(),
            eps: 1e-12,
            weight_decay: 0.0,
        });
        quadratic_step(&mut model, &mut optimizer);
        for (a, b) in before.iter().zip(to_vec(&model.weight)) {
            assert!((b - a - 0.01).abs() < 1e-6, "{a} -> {b}");
        }
        assert_eq!(bias, to_vec(model.bias.as_ref().unwrap()));
    }

    #[test]
    fn continuing_from_saved_state_is_bit_exact() {
        let config = AdamWConfig {
            betas: betas(),
            eps: 1e-8,
            weight_decay: 0.1,
        };
        let (mut straight, mut optimizer) = (linear(), AdamW::new(config.clone()));
        for _ in 0..5 {
            quadratic_step(&mut straight, &mut optimizer);
        }
        let (mut resumed, mut first_half) = (linear(), AdamW::new(config.clone()));
        for _ in 0..2 {
            quadratic_step(&mut resumed, &mut first_half);
        }
        let mut second_half = AdamW::restore(config, &mut resumed, first_half.state()).unwrap();
        for _ in 0..3 {
            quadratic_step(&mut resumed, &mut second_half);
        }
        assert_eq!(to_vec(&straight.weight), to_vec(&resumed.weight));
        assert_eq!(second_half.steps(), 5);
    }

    #[test]
    fn clipping_uses_one_norm_over_everything() {
        let mut gradients = NamedGradients(BTreeMap::from([
            ("a".to_owned(), Flat::Host(vec![3.0])),
            ("b".to_owned(), Flat::Host(vec![0.0, 4.0])),
        ]));
        let (norm, factor) = gradients.clip(1.0);
        assert_eq!(norm, 5.0);
        assert!((factor - 1.0 / (5.0 + 1e-6)).abs() < 1e-15);
        assert!((gradients.norm() - 1.0).abs() < 1e-6);
        assert_eq!(gradients.prefix_norm("c"), None);
    }

    #[test]
    fn foreign_state_is_refused_by_name() {
        let config = AdamWConfig {
            betas: betas(),
            eps: 1e-8,
            weight_decay: 0.0,
        };
        let mut state = AdamW::new(config.clone()).state();
        state.insert("exp_avg/other".to_owned(), HostTensor::from_f32(vec![1], &[0.0]));
        let error = AdamW::restore(config, &mut linear(), state).err().unwrap().to_string();
        assert!(error.contains("exp_avg/other"), "{error}");
    }
}
