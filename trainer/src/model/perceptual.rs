//! Learned perceptual distance (LPIPS) on VGG16 features, with imported weights.
//!
//! Weights: torchvision's VGG16 (`features.N.*`, the classifier is passed over) and the five linear layers of
//! LPIPS (`linK.model.1.weight`), in two files or in one; the one-file form of the public tokenisers
//! (`net.sliceK.N.*`) is understood too. Nothing here is trained; gradients pass to the images.

use std::path::Path;

use anyhow::{Context, Result, bail};
use burn::tensor::{Device, Tensor, activation::relu, module, ops::MaxPoolOptions};

use super::{
    layers::{Conv, Init},
    walk::{Role, Slot, Walk, join},
};
use crate::weights::{Tensors, load};

/// Place in torchvision's VGG16 and widths of each convolution, by block; a block ends in a tap.
const BLOCKS: [&[(usize, usize, usize)]; 5] = [
    &[(0, 3, 64), (2, 64, 64)],
    &[(5, 64, 128), (7, 128, 128)],
    &[(10, 128, 256), (12, 256, 256), (14, 256, 256)],
    &[(17, 256, 512), (19, 512, 512), (21, 512, 512)],
    &[(24, 512, 512), (26, 512, 512), (28, 512, 512)],
];
/// Taken from images in [−1, 1] before VGG, channel by channel (LPIPS).
const SHIFT: [f32; 3] = [-0.030, -0.088, -0.188];
/// Divides what is left.
const SCALE: [f32; 3] = [0.458, 0.448, 0.450];
/// Added to the length of a feature vector before dividing by it.
const LENGTH_EPSILON: f64 = 1e-10;

/// VGG16's convolutions and the five linear layers.
#[derive(Clone, Debug)]
pub struct Perceptual {
    blocks: Vec<Vec<(usize, Conv)>>,
    /// `[1, channels, 1, 1]` each.
    weights: Vec<Tensor<4>>,
    shift: Tensor<4>,
    scale: Tensor<4>,
}

impl Perceptual {
    /// Fresh weights, to be replaced by imported ones.
    fn init(device: &Device) -> Self {
        let mut init = Init::new(0, device);
        let blocks = BLOCKS.map(|block| {
            let convs = block
                .iter()
                .map(|(place, inputs, outputs)| (*place, Conv::init_biased(*inputs, *outputs, 3, 1, &mut init)));
            convs.collect()
        });
        let channels = |values: [f32; 3]| Tensor::<1>::from_floats(values, device).reshape([1, 3, 1, 1]);
        Self {
            blocks: blocks.into(),
            weights: BLOCKS
                .iter()
                .map(|block| Tensor::ones([1, block.last().map_or(1, |last| last.2), 1, 1], device))
                .collect(),
            shift: channels(SHIFT),
            scale: channels(SCALE),
        }
    }

    /// Imports the weights from `vgg` and `linear`, which may be one file. `device` is the plain one.
    ///
    /// # Errors
    /// A file that cannot be read, or weights that are missing or of another shape.
    pub fn open(vgg: &Path, linear: &Path, device: &Device) -> Result<Self> {
        let mut tensors = own_names(load::read(vgg)?);
        if linear != vgg {
            tensors.extend(own_names(load::read(linear)?));
        }
        let mut model = Self::init(device);
        load::apply(&mut model, tensors, &load::Allow::nothing()).with_context(|| {
            format!(
                "{} and {}: not the weights of LPIPS with VGG16",
                vgg.display(),
                linear.display()
            )
        })?;
        if model
            .weights
            .iter()
            .any(|weight| weight.clone().min().into_scalar::<f32>() < 0.0)
        {
            bail!(
                "{}: LPIPS has no negative weights in its linear layers",
                linear.display()
            );
        }
        Ok(model)
    }

    /// Mean distance of two batches `[batch, 3, height, width]` in [−1, 1], `[1]`. Sides of at least 16.
    pub fn distance(&self, a: Tensor<4>, b: Tensor<4>) -> Tensor<1> {
        let prepare = |x: Tensor<4>| (x - self.shift.clone()) / self.scale.clone();
        let (mut a, mut b) = (prepare(a), prepare(b));
        let mut total: Option<Tensor<1>> = None;
        for (number, (block, weight)) in self.blocks.iter().zip(&self.weights).enumerate() {
            let pass = |mut x: Tensor<4>| {
                if number > 0 {
                    x = module::max_pool2d(x, MaxPoolOptions::new([2, 2]).with_stride([2, 2]));
                }
                block.iter().fold(x, |x, (_, conv)| relu(conv.forward(x)))
            };
            (a, b) = (pass(a), pass(b));
            let apart = (unit(a.clone()) - unit(b.clone())).square() * weight.clone();
            // Mean over positions and batch, sum over channels.
            let term = apart.sum_dim(1).mean();
            total = Some(match total {
                Some(sum) => sum + term,
                None => term,
            });
        }
        total.unwrap_or_else(|| Tensor::zeros([1], &a.device()))
    }
}

/// Feature vectors of length 1, channel-wise.
fn unit(x: Tensor<4>) -> Tensor<4> {
    // The root of exactly 0 has no gradient; a number far below the smallest square keeps it 0.
    let length = (x.clone().square().sum_dim(1) + 1e-20).sqrt() + LENGTH_EPSILON;
    x / length
}

/// Keys `features.N.*` and `linK.model.1.weight` of either form; all else is left out.
fn own_names(tensors: Tensors) -> Tensors {
    tensors
        .into_iter()
        .filter_map(|(key, tensor)| {
            let name = match key.strip_prefix("net.slice") {
                Some(rest) => format!("features.{}", rest.split_once('.')?.1),
                None => key,
            };
            (name.starts_with("features.") || name.starts_with("lin")).then_some((name, tensor))
        })
        .collect()
}

impl Walk for Perceptual {
    fn walk(&mut self, path: &str, visit: &mut dyn FnMut(&str, Role, Slot)) {
        for (place, conv) in self.blocks.iter_mut().flatten() {
            conv.walk(&join(path, &format!("features.{place}")), visit);
        }
        for (number, weight) in self.weights.iter_mut().enumerate() {
            let key = join(path, &format!("lin{number}.model.1.weight"));
            visit(&key, Role::Frozen, Slot::Kernel(weight));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::walk::{from_vec, to_vec};
    use crate::weights::{HostTensor, save};

    /// Numbers that both sides of the comparison can make: sin(0.618…·i + seed)·scale.
    pub fn wave(count: usize, seed: f64, scale: f64) -> Vec<f32> {
        (0..count)
            .map(|i| ((i as f64 * 0.618_033_988_75 + seed).sin() * scale) as f32)
            .collect()
    }

    fn files(folder: &Path) -> (std::path::PathBuf, std::path::PathBuf) {
        let (mut vgg, mut linear) = (Tensors::new(), Tensors::new());
        for (number, block) in BLOCKS.iter().enumerate() {
            for (place, inputs, outputs) in block.iter().copied() {
                let weight = wave(outputs * inputs * 9, place as f64, (6.0 / (inputs * 9) as f64).sqrt());
                let bias = wave(outputs, place as f64 + 0.5, 0.1);
                let key = format!("features.{place}");
                vgg.insert(
                    format!("{key}.weight"),
                    HostTensor::from_f32(vec![outputs, inputs, 3, 3], &weight),
                );
                vgg.insert(format!("{key}.bias"), HostTensor::from_f32(vec![outputs], &bias));
            }
            let width = block.last().unwrap().2;
            let values: Vec<f32> = wave(width, number as f64 + 0.25, 1.0).iter().map(|v| v.abs()).collect();
            linear.insert(
                format!("lin{number}.model.1.weight"),
                HostTensor::from_f32(vec![1, width, 1, 1], &values),
            );
        }
        vgg.insert("classifier.0.bias".into(), HostTensor::from_f32(vec![1], &[0.0]));
        let paths = (folder.join("vgg.safetensors"), folder.join("linear.safetensors"));
        save::write(&paths.0, &vgg, &[]).unwrap();
        save::write(&paths.1, &linear, &[]).unwrap();
        paths
    }

    /// Expected values come from PyTorch in float64 on the same numbers.
    #[test]
    fn distance_and_gradient_equal_the_reference() {
        let folder = tempfile::tempdir().unwrap();
        let (vgg, linear) = files(folder.path());
        let device = Device::flex();
        let model = Perceptual::open(&vgg, &linear, &device).unwrap();
        let images = |seed, scale| from_vec::<4>(wave(2 * 3 * 32 * 32, seed, scale), [2, 3, 32, 32], &device);
        let rebuilt = images(2.0, 0.5).autodiff().require_grad();
        let distance = model.distance(images(1.0, 1.0), rebuilt.clone());
        let value = f64::from(to_vec(&distance)[0]);
        assert!((value / 0.839_725_446_263_742_5 - 1.0).abs() < 1e-4, "{value}");
        let gradient = to_vec(&rebuilt.grad(&distance.backward()).unwrap());
        let norm = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
        assert!((norm / 0.261_421_135_987_035 - 1.0).abs() < 1e-3, "{norm}");
        assert!((f64::from(gradient[0]) / 0.000_616_461_919_039_36 - 1.0).abs() < 1e-2);
        // Equal images are at distance 0, dark ones without a bad gradient.
        let dark = Tensor::<4>::zeros([1, 3, 16, 16], &device).autodiff().require_grad();
        let zero = model.distance(Tensor::zeros([1, 3, 16, 16], &device), dark.clone());
        assert_eq!(to_vec(&zero)[0], 0.0);
        assert!(
            to_vec(&dark.grad(&zero.backward()).unwrap())
                .iter()
                .all(|g| g.is_finite())
        );
        // One file in the form of the public tokenisers holds the same.
        let mut one = load::read(&linear).unwrap();
        for (key, tensor) in load::read(&vgg).unwrap() {
            one.insert(key.replace("features.", "net.slice1."), tensor);
        }
        let path = folder.path().join("one.safetensors");
        save::write(&path, &one, &[]).unwrap();
        assert!(Perceptual::open(&path, &path, &device).is_ok());
        let error = Perceptual::open(&vgg, &vgg, &device).unwrap_err();
        assert!(format!("{error:#}").contains("lin0.model.1.weight"), "{error:#}");
    }
}
