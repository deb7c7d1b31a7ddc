//! 1×1 convolutions on the CPU, which are matrix products over the channels.

use burn::tensor::Tensor;
use rayon::prelude::*;

use super::{
    super::custom::{Rule, with_gradient},
    Values, add_all, owned,
    product::Sums,
    sum_of, tensor, wide,
};

/// 1×1 convolution with stride 1. x `[batch, in, h, w]`, weight `[out, in, 1, 1]`; `sums` of the forward pass.
pub fn pointwise(x: Tensor<4>, weight: Tensor<4>, sums: Sums) -> Tensor<4> {
    let [batch, inputs, height, width] = x.dims();
    let [outputs, ..] = weight.dims();
    let area = height * width;
    let flat = x.clone().inner().reshape([batch, inputs, area]);
    let matrix = weight.clone().inner().reshape([1, outputs, inputs]);
    let output = sums
        .product(matrix.clone(), flat.clone())
        .reshape([batch, outputs, height, width]);
    let rule: Rule<2> = Box::new(move |g, needed| {
        let g = Tensor::<4>::from_dispatch(g).reshape([batch, outputs, area]);
        let of_x = needed[0].then(|| {
            matrix
                .swap_dims(1, 2)
                .matmul(g.clone())
                .reshape([batch, inputs, height, width])
                .into_dispatch()
        });
        let of_weight = needed[1].then(|| {
            // The product packs its right side, so the one with fewer channels stands there.
            let each = if outputs < inputs {
                flat.matmul(g.swap_dims(1, 2)).sum_dim(0).swap_dims(1, 2)
            } else {
                g.matmul(flat.swap_dims(1, 2)).sum_dim(0)
            };
            each.reshape([outputs, inputs, 1, 1]).into_dispatch()
        });
        [of_x, of_weight]
    });
    with_gradient([x.into_dispatch(), weight.into_dispatch()], output, rule)
}

/// Adds `bias` `[channels]` to the planes of x `[batch, channels, h, w]`.
pub fn add_bias(x: Tensor<4>, bias: Tensor<1>) -> Tensor<4> {
    let shape @ [_, channels, height, width] = x.dims();
    let area = height * width;
    let raw = [x.clone().into_dispatch(), bias.clone().into_dispatch()];
    let mut output = Values::of(&x).get().to_vec();
    let values = Values::of(&bias);
    output.par_chunks_mut(area).enumerate().for_each(|(plane, y)| {
        let bias = values.get()[plane % channels];
        wide(|| y.iter_mut().for_each(|y| *y += bias));
    });
    let rule: Rule<2> = Box::new(move |g, needed| {
        let of_bias = needed[1].then(|| {
            let g = Values::of(&Tensor::<4>::from_dispatch(g.clone()));
            let planes: Vec<f32> = g
                .get()
                .par_chunks(area)
                .map(|g| wide(|| sum_of(area, |i| g[i])))
                .collect();
            let sums = add_all(planes.chunks(channels).map(<[f32]>::to_vec).collect(), channels);
            tensor(sums, [channels]).into_dispatch()
        });
        [needed[0].then_some(g), of_bias]
    });
    with_gradient(raw, tensor(output, shape), rule)
}

/// Every second row and column (from 0), as a plain array. x `[batch, channels, h, w]`.
pub fn every_second(x: Tensor<4>) -> Tensor<4> {
    let shape @ [batch, channels, height, width] = x.dims();
    let (half_height, half_width) = (height.div_ceil(2), width.div_ceil(2));
    let input = Values::of(&x);
    let mut output = vec![0f32; batch * channels * half_height * half_width];
    output
        .par_chunks_mut(half_height * half_width)
        .zip(input.get().par_chunks(height * width))
        .for_each(|(out, plane)| {
            for (row, out) in out.chunks_exact_mut(half_width).enumerate() {
                for (out, x) in out.iter_mut().zip(plane[2 * row * width..].iter().step_by(2)) {
                    *out = *x;
                }
            }
        });
    let rule: Rule<1> = Box::new(move |g, _| {
        let g = owned(Tensor::<4>::from_dispatch(g));
        let mut of_x = vec![0f32; shape.iter().product()];
        of_x.par_chunks_mut(height * width)
            .zip(g.par_chunks(half_height * half_width))
            .for_each(|(plane, g)| {
                for (row, g) in g.chunks_exact(half_width).enumerate() {
                    for (out, g) in plane[2 * row * width..].iter_mut().step_by(2).zip(g) {
                        *out = *g;
                    }
                }
            });
        [Some(tensor(of_x, shape).into_dispatch())]
    });
    with_gradient(
        [x.into_dispatch()],
        tensor(output, [batch, channels, half_height, half_width]),
        rule,
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::{
        cpu::checks::{close, random, same_gradient},
        walk::to_vec,
    };
    use burn::tensor::Device;

    #[test]
    fn a_pointwise_convolution_equals_the_plain_product() {
        for (inputs, outputs) in [(3, 5), (300, 2)] {
            let (x, weight) = (random([2, inputs, 4, 3]), random([outputs, inputs, 1, 1]) * 0.1);
            let weight = weight.detach().require_grad();
            let flat = x.clone().reshape([2, inputs, 12]);
            let plain = weight
                .clone()
                .reshape([1, outputs, inputs])
                .matmul(flat)
                .reshape([2, outputs, 4, 3]);
            let found = pointwise(x.clone(), weight.clone(), Sums::Halved);
            close(&found, &plain);
            let g = random([2, outputs, 4, 3]).inner();
            let (a, b) = ((plain * g.clone()).sum().backward(), (found * g).sum().backward());
            same_gradient(&x, &a, &b);
            same_gradient(&weight, &a, &b);
        }
    }

    #[test]
    fn a_bias_is_added_plane_by_plane() {
        let (x, bias) = (random([2, 3, 5, 9]), random([3]));
        let plain = x.clone() + bias.clone().reshape([1, 3, 1, 1]);
        let found = add_bias(x.clone(), bias.clone());
        close(&found, &plain);
        let g = random([2, 3, 5, 9]).inner();
        let (a, b) = ((plain * g.clone()).sum().backward(), (found * g).sum().backward());
        same_gradient(&x, &a, &b);
        same_gradient(&bias, &a, &b);
    }

    #[test]
    fn every_second_takes_even_rows_and_columns() {
        let device = Device::flex().autodiff();
        let x = tensor((0..15).map(|i| i as f32).collect(), [1, 1, 3, 5])
            .autodiff()
            .to_device(&device)
            .require_grad();
        let y = every_second(x.clone());
        assert_eq!(to_vec(&y), [0.0, 2.0, 4.0, 10.0, 12.0, 14.0]);
        let gradients = (y * 2.0).sum().backward();
        assert_eq!(to_vec(&x.grad(&gradients).unwrap()).iter().sum::<f32>(), 12.0);
    }
}
