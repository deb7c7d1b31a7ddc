//! Patch discriminator of the codebook's full recipe, and its losses (PatchGAN with hinge and LeCam).
//!
//! Keys as in the public tokenisers: `main.0.weight`, `main.2.weight`, `main.3.running_mean`, …

use burn::tensor::{Tensor, activation::relu, module, ops::ConvOptions};
use serde::{Deserialize, Serialize};

use super::{
    cpu,
    layers::{BatchMoments, BatchNorm, BatchStats, Init},
    resnet::BatchNormConfig,
    walk::{Role, Slot, Walk, join},
};

/// Slope of the leaky ReLU below zero.
const LEAK: f64 = 0.2;
/// Side of the discriminator's kernels.
const KERNEL: usize = 4;
/// Padding on every side.
const PADDING: usize = 1;
/// Standard deviation of the initial weights.
const STD: f64 = 0.02;
/// Widest layer, in units of the first.
const WIDEST: usize = 8;
/// Decay of the moving averages of LeCam.
const LECAM_DECAY: f32 = 0.999;

/// Convolutions that judge overlapping patches of an image.
#[derive(Clone, Debug)]
pub struct PatchDiscriminator {
    first: PatchConv,
    middle: Vec<(PatchConv, BatchNorm)>,
    last: PatchConv,
}

impl PatchDiscriminator {
    /// Fresh weights: `width` channels in the first layer (64), `layers` that halve the side (3).
    pub fn init(width: usize, layers: usize, init: &mut Init) -> Self {
        let norm = BatchNormConfig::default();
        let mut inputs = width;
        let middle = (1..=layers)
            .map(|layer| {
                let outputs = width * (1usize << layer.min(8)).min(WIDEST);
                let stride = if layer < layers { 2 } else { 1 };
                let pair = (
                    PatchConv::init(inputs, outputs, stride, false, init),
                    BatchNorm::init(outputs, &norm, init),
                );
                inputs = outputs;
                pair
            })
            .collect();
        Self {
            first: PatchConv::init(3, width, 2, true, init),
            middle,
            last: PatchConv::init(inputs, 1, 1, true, init),
        }
    }

    /// images `[batch, 3, height, width]` to a logit a patch, `[batch, 1, h, w]`; high says real. The batch
    /// statistics are appended to `moments`.
    pub fn forward(&self, images: Tensor<4>, moments: &mut Vec<BatchMoments>) -> Tensor<4> {
        let mut x = leaky(self.first.forward(images));
        for (conv, norm) in &self.middle {
            let y = conv.forward(x);
            x = leaky(norm.forward(y, None, false, &mut BatchStats::Batch(moments)));
        }
        self.last.forward(x)
    }

    /// Moves the running statistics by one pass.
    pub fn update_statistics(&mut self, moments: Vec<BatchMoments>) {
        for ((_, norm), moments) in self.middle.iter_mut().zip(moments) {
            norm.update(moments);
        }
    }
}

/// Convolution with a kernel of even side.
#[derive(Clone, Debug)]
struct PatchConv {
    /// `[out, in, 4, 4]`
    weight: Tensor<4>,
    /// `[out]`
    bias: Option<Tensor<1>>,
    stride: usize,
}

impl PatchConv {
    fn init(inputs: usize, outputs: usize, stride: usize, bias: bool, init: &mut Init) -> Self {
        let bound = 1.0 / ((inputs * KERNEL * KERNEL) as f64).sqrt();
        Self {
            weight: init.normal([outputs, inputs, KERNEL, KERNEL], STD),
            bias: bias.then(|| init.uniform([outputs], bound)),
            stride,
        }
    }

    /// x `[batch, in, h, w]` to `[batch, out, (h − 2)/stride + 1, (w − 2)/stride + 1]`.
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        if cpu::applies(&x) {
            let y = cpu::conv::conv2d(x, self.weight.clone(), self.stride, PADDING, cpu::product::Sums::Plain);
            let [_, outputs, _, _] = y.dims();
            return match &self.bias {
                Some(bias) => y + bias.clone().reshape([1, outputs, 1, 1]),
                None => y,
            };
        }
        let options = ConvOptions::new([self.stride; 2], [PADDING; 2], [1, 1], 1);
        module::conv2d(x, self.weight.clone(), self.bias.clone(), options)
    }
}

impl Walk for PatchConv {
    fn walk(&mut self, path: &str, visit: &mut dyn FnMut(&str, Role, Slot)) {
        visit(&join(path, "weight"), Role::Trained, Slot::Kernel(&mut self.weight));
        if let Some(bias) = &mut self.bias {
            visit(&join(path, "bias"), Role::Trained, Slot::Vector(bias));
        }
    }
}

fn leaky(x: Tensor<4>) -> Tensor<4> {
    // max(x, leak·x) = leak·x + (1 − leak)·relu(x)
    relu(x.clone()) * (1.0 - LEAK) + x * LEAK
}

impl Walk for PatchDiscriminator {
    fn walk(&mut self, path: &str, visit: &mut dyn FnMut(&str, Role, Slot)) {
        let at = |place: usize| join(path, &format!("main.{place}"));
        self.first.walk(&at(0), visit);
        for (number, (conv, norm)) in self.middle.iter_mut().enumerate() {
            conv.walk(&at(2 + 3 * number), visit);
            norm.walk(&at(3 + 3 * number), visit);
        }
        self.last.walk(&at(2 + 3 * self.middle.len()), visit);
    }
}

/// ½[mean relu(1 − real) + mean relu(1 + fake)], `[1]`.
pub fn hinge(real: &Tensor<4>, fake: &Tensor<4>) -> Tensor<1> {
    (relu(real.clone().neg() + 1.0).mean() + relu(fake.clone() + 1.0).mean()) * 0.5
}

/// What the autoencoder adds to its loss: −mean(fake), `[1]`.
pub fn generator(fake: &Tensor<4>) -> Tensor<1> {
    fake.clone().mean().neg()
}

/// Moving averages of the discriminator's logits, against which LeCam holds it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LeCam {
    /// Average logit of real images.
    pub real: f32,
    /// Average logit of reconstructions.
    pub fake: f32,
}

impl LeCam {
    /// Takes a step's mean logits into the averages.
    pub fn update(&mut self, real: f32, fake: f32) {
        self.real = self.real * LECAM_DECAY + real * (1.0 - LECAM_DECAY);
        self.fake = self.fake * LECAM_DECAY + fake * (1.0 - LECAM_DECAY);
    }

    /// mean relu(real − fake average)² + mean relu(real average − fake)², `[1]`.
    pub fn loss(&self, real: &Tensor<4>, fake: &Tensor<4>) -> Tensor<1> {
        let over = relu(real.clone() - self.fake).square().mean();
        let under = relu(fake.clone().neg() + self.real).square().mean();
        over + under
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::walk::{from_vec, to_vec};
    use burn::tensor::Device;

    #[test]
    fn shapes_and_keys_are_those_of_the_public_one() {
        let mut network = PatchDiscriminator::init(64, 3, &mut Init::new(1, &Device::flex()));
        let mut found = Vec::new();
        network.each(|key, _, slot| found.push((key.to_owned(), slot.shape())));
        let shape = |key: &str| found.iter().find(|(name, _)| name == key).unwrap().1.clone();
        for (key, expected) in [
            ("main.0.weight", vec![64, 3, 4, 4]),
            ("main.0.bias", vec![64]),
            ("main.2.weight", vec![128, 64, 4, 4]),
            ("main.3.running_var", vec![128]),
            ("main.5.weight", vec![256, 128, 4, 4]),
            ("main.8.weight", vec![512, 256, 4, 4]),
            ("main.9.weight", vec![512]),
            ("main.11.weight", vec![1, 512, 4, 4]),
            ("main.11.bias", vec![1]),
        ] {
            assert_eq!(shape(key), expected, "{key}");
        }
        assert!(!found.iter().any(|(key, _)| key == "main.2.bias"));
        let images = Tensor::<4>::ones([1, 3, 64, 64], &Device::flex());
        let mut moments = Vec::new();
        assert_eq!(network.forward(images, &mut moments).dims(), [1, 1, 6, 6]);
        assert_eq!(moments.len(), 3);
    }

    /// Expected values come from PyTorch in float64 on the same numbers: sin(0.618…·i + seed)·scale.
    #[test]
    fn logits_and_gradients_equal_the_reference() {
        let wave = |count: usize, seed: f64, scale: f64| -> Vec<f32> {
            (0..count)
                .map(|i| ((i as f64 * 0.618_033_988_75 + seed).sin() * scale) as f32)
                .collect()
        };
        let device = Device::flex();
        let mut network = PatchDiscriminator::init(8, 3, &mut Init::new(1, &device.clone().autodiff()));
        network.each(|key, role, mut slot| {
            if role == Role::Trained {
                let place: f64 = key.split('.').nth(1).unwrap().parse().unwrap();
                let seed = if key.ends_with("bias") { place + 0.5 } else { place };
                let values = wave(slot.len(), seed, 0.2);
                slot.set_values(values);
            }
        });
        let first = from_vec::<4>(wave(2 * 3 * 32 * 32, 3.0, 1.0), [2, 3, 32, 32], &device);
        let images = Tensor::cat(vec![first.clone(), first.flip([2]) * 0.7], 0);
        let images = images.autodiff().require_grad();
        let mut moments = Vec::new();
        let logits = network.forward(images.clone(), &mut moments);
        assert_eq!(logits.dims(), [4, 1, 2, 2]);
        let near = |found: f64, expected: f64| assert!((found / expected - 1.0).abs() < 2e-4, "{found} {expected}");
        near(f64::from(to_vec(&logits).iter().sum::<f32>()), -3.204_841_752_686_632);
        // The second argument halved, as the reference did.
        let loss = hinge(&logits, &(logits.clone() * 0.5));
        near(f64::from(to_vec(&loss)[0]), 1.050_075_652_385_728_6);
        let gradients = loss.backward();
        let norm = |values: Vec<f32>| values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        near(norm(to_vec(&images.grad(&gradients).unwrap())), 0.106_728_884_508_322_3);
        let weight = network.middle[0].0.weight.grad(&gradients).unwrap();
        near(norm(to_vec(&weight)), 0.224_687_978_682_500_82);
        network.update_statistics(moments);
        let mut sum = 0.0;
        network.each(|key, _, slot| {
            if key == "main.9.running_var" {
                sum = slot.values().unwrap().iter().map(|v| f64::from(*v)).sum();
            }
        });
        near(sum, 57.678_734_162_338_074);
    }

    #[test]
    fn losses_are_the_formulas() {
        let device = Device::flex();
        let map = |values: [f32; 2]| from_vec::<4>(values.to_vec(), [2, 1, 1, 1], &device);
        let (real, fake) = (map([2.0, 0.5]), map([-2.0, 0.25]));
        assert!((to_vec(&hinge(&real, &fake))[0] - 0.5 * (0.25 + 0.625)).abs() < 1e-6);
        assert!((to_vec(&generator(&fake))[0] - 0.875).abs() < 1e-6);
        let mut lecam = LeCam::default();
        lecam.update(1000.0, -500.0);
        assert!((lecam.real - 1.0).abs() < 1e-3 && (lecam.fake + 0.5).abs() < 1e-3);
        // real + 0.5: 2.5, 1.0; 1 − fake: 3.0, 0.75
        let expected = (6.25 + 1.0) / 2.0 + (9.0 + 0.5625) / 2.0;
        assert!((to_vec(&lecam.loss(&real, &fake))[0] - expected).abs() < 1e-3);
    }
}
