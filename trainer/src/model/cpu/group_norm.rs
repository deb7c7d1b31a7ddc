//! Group normalisation on the CPU, with the swish behind it in the same pass.

use std::ops::Range;

use burn::tensor::Tensor;
use rayon::prelude::*;

use super::{
    super::custom::{Rule, with_gradient},
    Values, add_all, double_sum_of, exp, owned, sum_of, tensor, wide,
};

/// Mean and 1/√(variance + ε) of one group of one image.
#[derive(Clone, Copy)]
struct Moments {
    mean: f32,
    inverse: f32,
}

/// Group normalisation of x `[batch, channels, height, width]` over `groups` equal parts of the channels, with weight
/// and bias `[channels]`, then y·σ(y) where `swish` says so.
pub fn group_norm(x: Tensor<4>, affine: [Tensor<1>; 2], groups: usize, epsilon: f64, swish: bool) -> Tensor<4> {
    let shape @ [_, channels, height, width] = x.dims();
    let (area, members) = (height * width, channels / groups);
    let [weight, bias] = affine;
    let (input, gamma, beta) = (Values::of(&x), Values::of(&weight), Values::of(&bias));
    let mut output = vec![0f32; input.get().len()];
    let moments: Vec<Moments> = output
        .par_chunks_mut(members * area)
        .zip(input.get().par_chunks(members * area))
        .enumerate()
        .map(|(at, (y, x))| {
            wide(
                #[inline(always)]
                || {
                    let found = moments(x, epsilon);
                    for (channel, range) in planes(at % groups * members, members, area) {
                        let (gamma, beta) = (gamma.get()[channel], beta.get()[channel]);
                        let (scale, mean) = (gamma * found.inverse, found.mean);
                        for (y, x) in y[range.clone()].iter_mut().zip(&x[range]) {
                            let value = (x - mean) * scale + beta;
                            *y = if swish { value * sigmoid(value) } else { value };
                        }
                    }
                    found
                },
            )
        })
        .collect();
    let output = tensor(output, shape);
    let rule: Rule<3> = Box::new(move |g, _| {
        let mut g = owned(Tensor::<4>::from_dispatch(g)); // becomes the gradient of x
        // Gradients of weight and bias of each group of each image.
        let sums: Vec<(Vec<f32>, Vec<f32>)> = g
            .par_chunks_mut(members * area)
            .zip(input.get().par_chunks(members * area))
            .zip(&moments)
            .enumerate()
            .map(|(at, ((g, x), moments))| {
                let channels = at % groups * members..(at % groups + 1) * members;
                let affine = [&gamma.get()[channels.clone()], &beta.get()[channels]];
                wide(
                    #[inline(always)]
                    || backward(g, x, affine, *moments, swish),
                )
            })
            .collect();
        let (mut of_weight, mut of_bias) = (Vec::new(), Vec::new());
        for image in sums.chunks(groups) {
            of_weight.push(image.iter().flat_map(|(weight, _)| weight).copied().collect());
            of_bias.push(image.iter().flat_map(|(_, bias)| bias).copied().collect());
        }
        [
            Some(tensor(g, shape).into_dispatch()),
            Some(tensor(add_all(of_weight, channels), [channels]).into_dispatch()),
            Some(tensor(add_all(of_bias, channels), [channels]).into_dispatch()),
        ]
    });
    with_gradient(
        [x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch()],
        output,
        rule,
    )
}

/// Channel and place of each plane of a group that begins with channel `first`.
#[inline(always)]
fn planes(first: usize, members: usize, area: usize) -> impl Iterator<Item = (usize, Range<usize>)> {
    (0..members).map(move |member| (first + member, member * area..(member + 1) * area))
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[inline(always)]
fn moments(x: &[f32], epsilon: f64) -> Moments {
    let n = x.len() as f64;
    let mean = double_sum_of(x.len(), |i| f64::from(x[i])) / n;
    let variance = double_sum_of(x.len(), |i| (f64::from(x[i]) - mean) * (f64::from(x[i]) - mean)) / n;
    Moments {
        mean: mean as f32,
        inverse: (1.0 / (variance + epsilon).sqrt()) as f32,
    }
}

/// Turns g, the gradient of a group's output, into that of x; returns those of weight and bias.
///
/// With n = (x − mean)·inverse, u = γ·n + β and d the gradient of u (g, or g·σ(u)·(1 + u·(1 − σ(u)))): dγ = Σ d·n and
/// dβ = Σ d over a plane, dx = inverse·(γ·d − ⟨γ·d⟩ − n·⟨γ·d·n⟩) with means over the group.
#[inline(always)]
fn backward(
    g: &mut [f32],
    x: &[f32],
    [gamma, beta]: [&[f32]; 2],
    Moments { mean, inverse }: Moments,
    swish: bool,
) -> (Vec<f32>, Vec<f32>) {
    let (members, n) = (gamma.len(), x.len() as f32);
    let area = x.len() / members;
    let (mut of_weight, mut of_bias) = (vec![0f32; members], vec![0f32; members]);
    let (mut along, mut shift) = (0f32, 0f32);
    for (channel, range) in planes(0, members, area) {
        let (gamma, beta) = (gamma[channel], beta[channel]);
        let g = &mut g[range.clone()];
        let x = &x[range][..g.len()];
        if swish {
            for (g, x) in g.iter_mut().zip(x) {
                let u = (x - mean) * inverse * gamma + beta;
                let s = sigmoid(u);
                *g *= s * (1.0 + u * (1.0 - s));
            }
        }
        of_weight[channel] = inverse * sum_of(g.len(), |i| g[i] * (x[i] - mean));
        of_bias[channel] = sum_of(g.len(), |i| g[i]);
        along += gamma * of_weight[channel] / n;
        shift += gamma * of_bias[channel] / n;
    }
    for (channel, range) in planes(0, members, area) {
        let gamma = gamma[channel];
        for (g, x) in g[range.clone()].iter_mut().zip(&x[range]) {
            *g = inverse * (gamma * *g - shift - (x - mean) * inverse * along);
        }
    }
    (of_weight, of_bias)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::autoencoder::group_norm_plain;
    use crate::model::cpu::checks::{close, random, same_gradient};

    #[test]
    fn group_norm_equals_its_plain_form_with_and_without_swish() {
        for (swish, groups, channels, side) in [(false, 2, 6, 5), (true, 3, 6, 7), (true, 1, 4, 40)] {
            let (x, weight, bias) = (
                random([2, channels, side, side + 1]),
                random([channels]),
                random([channels]),
            );
            let affine = || [weight.clone(), bias.clone()];
            let plain = group_norm_plain(x.clone(), affine(), groups, 1e-6, swish);
            let fused = group_norm(x.clone(), affine(), groups, 1e-6, swish);
            close(&fused, &plain);
            let g = random(plain.dims()).inner();
            let (a, b) = ((plain * g.clone()).mean().backward(), (fused * g).mean().backward());
            same_gradient(&x, &a, &b);
            same_gradient(&weight, &a, &b);
            same_gradient(&bias, &a, &b);
        }
    }
}
