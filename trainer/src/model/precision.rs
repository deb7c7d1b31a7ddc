//! Precision of the large products: f32, or bf16 with everything else in f32.

use burn::tensor::{FloatDType, Tensor};
use serde::{Deserialize, Serialize};

/// What linear layers, convolutions and attention multiply in. Weights, sums over a batch, normalisations, softmax,
/// the quantiser, losses and the optimiser are f32 in both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits with f32's range (bfloat16), where the device computes in it.
    Bf16,
}

impl Precision {
    /// The tensor as factor of a product.
    pub fn factor<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Precision::F32 => x,
            Precision::Bf16 => x.cast(FloatDType::BF16),
        }
    }

    /// A product as the rest of the model takes it.
    pub fn result<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Precision::F32 => x,
            Precision::Bf16 => x.cast(FloatDType::F32),
        }
    }

    /// Matrix product.
    pub fn matmul<const D: usize>(self, a: Tensor<D>, b: Tensor<D>) -> Tensor<D> {
        self.result(self.factor(a).matmul(self.factor(b)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::dropout::Dropout;
    use crate::model::keepfit::{ImageTextBatch, KeepFitBatch, KeepFitConfig, KeepFitModel};
    use crate::model::layers::{Conv, Init, Linear};
    use crate::model::walk::{from_vec, ints, to_vec};
    use crate::optim::NamedGradients;
    use burn::tensor::Device;

    fn values(count: usize, scale: f32) -> Vec<f32> {
        (0..count)
            .map(|i| ((i * 37 % 101) as f32 / 50.0 - 1.0) * scale)
            .collect()
    }

    /// The CPU backend can emulate bf16, which no run does; it shows that every layer casts where it should.
    #[test]
    fn layers_in_bf16_are_near_those_in_f32_and_not_equal() {
        let device = Device::flex().autodiff();
        let init = |precision| Init::new(7, &device).with_precision(precision);
        let x = from_vec::<2>(values(6 * 20, 1.0), [6, 20], &Device::flex());
        let images = from_vec::<4>(values(2 * 3 * 9 * 9, 1.0), [2, 3, 9, 9], &Device::flex());
        let run = |precision| {
            let linear = Linear::init(20, 5, true, &mut init(precision));
            let wide = Conv::init_biased(3, 4, 3, 2, &mut init(precision));
            let narrow = Conv::init_biased(3, 4, 1, 1, &mut init(precision));
            let parts = [
                linear.forward(x.clone()).flatten::<1>(0, 1),
                wide.forward(images.clone()).flatten::<1>(0, 3),
                narrow.forward(images.clone()).flatten::<1>(0, 3),
            ];
            let gradients = parts
                .iter()
                .map(|part| part.clone().square().sum())
                .reduce(|a, b| a + b);
            let gradients = gradients.unwrap().backward();
            let mut found: Vec<Vec<f32>> = parts.iter().map(to_vec).collect();
            found.push(to_vec(&linear.weight.grad(&gradients).unwrap()));
            found.push(to_vec(&wide.weight.grad(&gradients).unwrap()));
            found.push(to_vec(&narrow.bias.unwrap().grad(&gradients).unwrap()));
            found
        };
        for (a, b) in run(Precision::F32).iter().zip(run(Precision::Bf16)) {
            let size = a.iter().fold(0f32, |most, v| most.max(v.abs()));
            let apart = a.iter().zip(&b).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
            // bf16 keeps 8 bits.
            assert!(apart > 0.0 && apart < 0.03 * size, "{apart} of {size}");
        }
    }

    #[test]
    fn a_joint_step_in_bf16_goes_the_way_of_f32() {
        let config: KeepFitConfig = serde_json::from_value(serde_json::json!({
            "vision": { "layers": [1, 1, 1, 1], "base_width": 4 },
            "text": {
                "vocab_size": 40, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2,
                "intermediate_size": 16, "max_position_embeddings": 16,
            },
            "proj_dim": 8,
        }))
        .unwrap();
        let device = Device::flex();
        let run = |precision| {
            let init = Init::new(3, &device.clone().autodiff()).with_precision(precision);
            let mut model = KeepFitModel::init_in(&config, init).unwrap();
            // Batch statistics of four near-equal pictures would amplify any rounding.
            model.freeze(&["vision_model.model."]);
            let half = || ImageTextBatch {
                images: from_vec(values(4 * 3 * 64 * 64, 1.0), [4, 3, 64, 64], &device),
                ids: ints((0..4 * 6).map(|i| 5 + i * 7 % 30).collect(), [4, 6], &device),
                mask: ints(vec![1; 4 * 6], [4, 6], &device),
            };
            let batch = KeepFitBatch {
                public: half(),
                categories: vec![0, 1, 0, 2],
                knowledge: None,
            };
            let output = model.forward_step(batch, &mut Dropout::off());
            let total = to_vec(&output.total)[0];
            (total, NamedGradients::collect(&mut model, output.total.backward()))
        };
        let ((a, of_a), (b, of_b)) = (run(Precision::F32), run(Precision::Bf16));
        assert!(a != b && (a - b).abs() < 0.05 * a, "{a} {b}");
        let mut along = 0.0;
        for name in of_a.names() {
            let (a, b) = (of_a.values(name).unwrap(), of_b.values(name).unwrap());
            along += a
                .iter()
                .zip(&b)
                .map(|(a, b)| f64::from(*a) * f64::from(*b))
                .sum::<f64>();
        }
        let cosine = along / (of_a.norm() * of_b.norm());
        assert!(cosine > 0.95 && cosine < 1.0 - 1e-9, "cosine of the gradients {cosine}");
    }
}
