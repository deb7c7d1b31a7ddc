//! Layer normalisation on the CPU, with the sum before it in the same pass.

use burn::tensor::Tensor;
use rayon::prelude::*;

use super::{
    super::custom::{Rule, with_gradient},
    BLOCK, Values, add_all, sum_of, tensor, wide,
};

/// Layer normalisation of `x + skip` (or x alone) over the last dimension. x, skip `[n, width]`.
pub fn layer_norm(
    x: Tensor<2>,
    skip: Option<Tensor<2>>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    epsilon: f64,
) -> Tensor<2> {
    let [rows, width] = x.dims();
    let (gamma, beta) = (Values::of(&weight), Values::of(&bias));
    let (input, added) = (Values::of(&x), skip.as_ref().map(Values::of));
    let mut normal = vec![0f32; rows * width]; // (x − mean)/std, kept for the backward pass
    let mut output = vec![0f32; rows * width];
    let mut inverse = vec![0f32; rows];
    let block = (BLOCK / width).max(1);
    normal
        .par_chunks_mut(block * width)
        .zip(output.par_chunks_mut(block * width))
        .zip(inverse.par_chunks_mut(block))
        .enumerate()
        .for_each(|(at, ((normal, output), inverse))| {
            let start = at * block * width;
            let x = &input.get()[start..start + normal.len()];
            let skip = added.as_ref().map(|v| &v.get()[start..start + normal.len()]);
            wide(
                #[inline(always)]
                || {
                    for (row, inverse) in inverse.iter_mut().enumerate() {
                        let range = row * width..(row + 1) * width;
                        let (x, n, y) = (
                            &x[range.clone()],
                            &mut normal[range.clone()],
                            &mut output[range.clone()],
                        );
                        match skip {
                            Some(skip) => {
                                for ((n, x), s) in n.iter_mut().zip(x).zip(&skip[range]) {
                                    *n = x + s;
                                }
                            }
                            None => n.copy_from_slice(x),
                        }
                        let mean = sum_of(width, |i| n[i]) / width as f32;
                        for n in n.iter_mut() {
                            *n -= mean;
                        }
                        let variance = sum_of(width, |i| n[i] * n[i]) / width as f32;
                        *inverse = 1.0 / (variance + epsilon as f32).sqrt();
                        for (((n, y), gamma), beta) in n.iter_mut().zip(y).zip(gamma.get()).zip(beta.get()) {
                            *n *= *inverse;
                            *y = *n * gamma + beta;
                        }
                    }
                },
            );
        });
    let backward = move |g: Tensor<2>| layer_norm_backward(g, normal, &inverse, gamma.get(), [rows, width]);
    let output = tensor(output, [rows, width]);
    match skip {
        None => {
            let rule: Rule<3> = Box::new(move |g, _| {
                let (of_x, of_weight, of_bias) = backward(Tensor::from_dispatch(g));
                [
                    Some(of_x.into_dispatch()),
                    Some(of_weight.into_dispatch()),
                    Some(of_bias.into_dispatch()),
                ]
            });
            with_gradient(
                [x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch()],
                output,
                rule,
            )
        }
        Some(skip) => {
            let rule: Rule<4> = Box::new(move |g, _| {
                let (of_x, of_weight, of_bias) = backward(Tensor::from_dispatch(g));
                let of_x = of_x.into_dispatch();
                [
                    Some(of_x.clone()),
                    Some(of_x),
                    Some(of_weight.into_dispatch()),
                    Some(of_bias.into_dispatch()),
                ]
            });
            let inputs = [
                x.into_dispatch(),
                skip.into_dispatch(),
                weight.into_dispatch(),
                bias.into_dispatch(),
            ];
            with_gradient(inputs, output, rule)
        }
    }
}

/// Gradients of the sum, the weight and the bias; `normal` becomes the first.
fn layer_norm_backward(
    g: Tensor<2>,
    mut normal: Vec<f32>,
    inverse: &[f32],
    gamma: &[f32],
    [rows, width]: [usize; 2],
) -> (Tensor<2>, Tensor<1>, Tensor<1>) {
    let g = Values::of(&g);
    let block = (BLOCK / width).max(8);
    let partial: Vec<(Vec<f32>, Vec<f32>)> = normal
        .par_chunks_mut(block * width)
        .zip(g.get().par_chunks(block * width))
        .zip(inverse.par_chunks(block))
        .map(|((normal, g), inverse)| {
            let (mut of_weight, mut of_bias) = (vec![0f32; width], vec![0f32; width]);
            wide(
                #[inline(always)]
                || {
                    for (row, &inverse) in inverse.iter().enumerate() {
                        let range = row * width..(row + 1) * width;
                        let (n, g) = (&mut normal[range.clone()], &g[range]);
                        for (((w, b), n), g) in of_weight.iter_mut().zip(of_bias.iter_mut()).zip(n.iter()).zip(g) {
                            *w += g * n;
                            *b += g;
                        }
                        let mean = sum_of(width, |i| g[i] * gamma[i]) / width as f32;
                        let along = sum_of(width, |i| g[i] * gamma[i] * n[i]) / width as f32;
                        for ((n, g), gamma) in n.iter_mut().zip(g).zip(gamma) {
                            *n = inverse * (g * gamma - mean - *n * along);
                        }
                    }
                },
            );
            (of_weight, of_bias)
        })
        .collect();
    let (weights, biases): (Vec<_>, Vec<_>) = partial.into_iter().unzip();
    let of_weight = tensor(add_all(weights, width), [width]);
    (
        tensor(normal, [rows, width]),
        of_weight,
        tensor(add_all(biases, width), [width]),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::cpu::checks::{close, random, same_gradient};
    use burn::tensor::module;

    #[test]
    fn layer_norm_equals_its_plain_form() {
        let (x, skip, weight, bias) = (random([5, 70]), random([5, 70]), random([70]), random([70]));
        let plain = module::layer_norm(x.clone() + skip.clone(), weight.clone(), Some(bias.clone()), 1e-12);
        let fused = layer_norm(x.clone(), Some(skip.clone()), weight.clone(), bias.clone(), 1e-12);
        close(&fused, &plain);
        let g = random([5, 70]).inner();
        let (a, b) = ((plain * g.clone()).sum().backward(), (fused * g).sum().backward());
        same_gradient(&x, &a, &b);
        same_gradient(&skip, &a, &b);
        same_gradient(&weight, &a, &b);
        same_gradient(&bias, &a, &b);
    }
}
