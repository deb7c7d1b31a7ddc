//! Normalisations on the CPU, with what follows or precedes them in the same pass.

use burn::tensor::Tensor;
use rayon::prelude::*;

use super::{
    super::custom::{Rule, with_gradient},
    BLOCK, Values, add_all, double_sum_of, sum_of, tensor, wide,
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

/// Statistics of one training batch, `[channels]` each.
pub struct Moments {
    /// Mean.
    pub mean: Tensor<1>,
    /// Biased variance.
    pub variance: Tensor<1>,
}

/// Batch normalisation with the batch's statistics, then `+ skip` and ReLU where asked.
/// x and skip `[batch, channels, height, width]`.
pub fn batch_norm_train(
    x: Tensor<4>,
    skip: Option<Tensor<4>>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    epsilon: f64,
    relu: bool,
) -> (Tensor<4>, Moments) {
    let shape @ [batch, channels, height, width] = x.dims();
    let area = height * width;
    let input = Values::of(&x);
    let moments: Vec<(f64, f64)> = (0..channels)
        .into_par_iter()
        .map(|c| wide(|| moments(input.get(), c, [batch, channels, area])))
        .collect();
    let (gamma, beta) = (Values::of(&weight), Values::of(&bias));
    let inverse: Vec<f32> = moments
        .iter()
        .map(|(_, v)| (1.0 / (v + epsilon).sqrt()) as f32)
        .collect();
    let mean: Vec<f32> = moments.iter().map(|m| m.0 as f32).collect();
    let added = skip.as_ref().map(Values::of);
    let mut output = vec![0f32; batch * channels * area];
    output.par_chunks_mut(area).enumerate().for_each(|(plane, y)| {
        let c = plane % channels;
        let (center, variance) = moments[c];
        let scale = f64::from(gamma.get()[c]) / (variance + epsilon).sqrt();
        let affine = Affine {
            center,
            scale,
            shift: f64::from(beta.get()[c]),
        };
        let range = plane * area..(plane + 1) * area;
        let skip = added.as_ref().map(|v| &v.get()[range.clone()]);
        y.copy_from_slice(&input.get()[range]);
        affine.apply(y, skip, relu);
    });
    let output = tensor(output, shape);
    let result = Moments {
        mean: tensor(mean.clone(), [channels]),
        variance: tensor(moments.iter().map(|m| m.1 as f32).collect(), [channels]),
    };
    let rectified = relu.then(|| Values::of(&output));
    let backward = move |g: Tensor<4>| {
        let g = Values::of(&g);
        batch_norm_backward(
            g.get(),
            rectified.as_ref().map(Values::get),
            input.get(),
            &mean,
            &inverse,
            gamma.get(),
            shape,
        )
    };
    let [raw_x, raw_weight, raw_bias] = [x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch()];
    let output = match skip {
        None => {
            let rule: Rule<3> = Box::new(move |g, _| {
                let (of_x, _, of_weight, of_bias) = backward(Tensor::from_dispatch(g));
                [of_x.into_dispatch(), of_weight.into_dispatch(), of_bias.into_dispatch()].map(Some)
            });
            with_gradient([raw_x, raw_weight, raw_bias], output, rule)
        }
        Some(skip) => {
            let rule: Rule<4> = Box::new(move |g, _| {
                let plain = g.clone();
                let (of_x, of_skip, of_weight, of_bias) = backward(Tensor::from_dispatch(g));
                let of_skip = of_skip.map_or(plain, Tensor::into_dispatch);
                [
                    of_x.into_dispatch(),
                    of_skip,
                    of_weight.into_dispatch(),
                    of_bias.into_dispatch(),
                ]
                .map(Some)
            });
            with_gradient([raw_x, skip.into_dispatch(), raw_weight, raw_bias], output, rule)
        }
    };
    (output, result)
}

/// What batch normalisation with fixed statistics does to a channel: (x − center)·scale + shift.
#[derive(Clone, Copy, Debug)]
pub struct Affine {
    /// Running mean.
    pub center: f64,
    /// Weight over the running standard deviation.
    pub scale: f64,
    /// Bias.
    pub shift: f64,
}

impl Affine {
    /// In place, then `+ skip` and ReLU where asked.
    #[inline]
    fn apply(self, y: &mut [f32], skip: Option<&[f32]>, relu: bool) {
        let Self { center, scale, shift } = self;
        let floor = if relu { 0.0 } else { f64::NEG_INFINITY };
        wide(
            #[inline(always)]
            || match skip {
                Some(skip) => {
                    for (y, s) in y.iter_mut().zip(skip) {
                        let value = (f64::from(*y) - center) * scale + shift + f64::from(*s);
                        // Written so that NaN stays NaN.
                        *y = if value < floor { floor as f32 } else { value as f32 };
                    }
                }
                None => {
                    for y in y.iter_mut() {
                        let value = (f64::from(*y) - center) * scale + shift;
                        *y = if value < floor { floor as f32 } else { value as f32 };
                    }
                }
            },
        );
    }
}

/// Batch normalisation with fixed statistics (one [`Affine`] a channel), then `+ skip` and ReLU where
/// asked; without a graph.
pub fn batch_norm_eval(x: Tensor<4>, skip: Option<Tensor<4>>, affine: &[Affine], relu: bool) -> Tensor<4> {
    let shape @ [_, channels, height, width] = x.dims();
    let area = height * width;
    let added = skip.as_ref().map(Values::of);
    let mut values = super::owned(x);
    values.par_chunks_mut(area).enumerate().for_each(|(plane, y)| {
        let skip = added.as_ref().map(|v| &v.get()[plane * area..(plane + 1) * area]);
        affine[plane % channels].apply(y, skip, relu);
    });
    tensor(values, shape)
}

/// Mean and biased variance of one channel, in double precision as PyTorch does on the CPU: a ReLU that
/// follows turns on the last digit of values near the mean.
#[inline(always)]
fn moments(values: &[f32], channel: usize, [batch, channels, area]: [usize; 3]) -> (f64, f64) {
    let plane = |b: usize| &values[(b * channels + channel) * area..][..area];
    let n = (batch * area) as f64;
    let mut sum = 0f64;
    for b in 0..batch {
        let plane = plane(b);
        sum += double_sum_of(area, |i| f64::from(plane[i]));
    }
    let mean = sum / n;
    let mut squares = 0f64;
    for b in 0..batch {
        let plane = plane(b);
        squares += double_sum_of(area, |i| (f64::from(plane[i]) - mean) * (f64::from(plane[i]) - mean));
    }
    (mean, squares / n)
}

/// Gradients of x, of the skip (None when it equals the incoming one), of weight and bias.
fn batch_norm_backward(
    g: &[f32],
    rectified: Option<&[f32]>,
    x: &[f32],
    mean: &[f32],
    inverse: &[f32],
    gamma: &[f32],
    shape: [usize; 4],
) -> (Tensor<4>, Option<Tensor<4>>, Tensor<1>, Tensor<1>) {
    let [batch, channels, height, width] = shape;
    let area = height * width;
    // The ReLU's gate applied once; the same array is the skip's gradient.
    let gated: Option<Vec<f32>> = rectified.map(|y| {
        let mut gated = vec![0f32; g.len()];
        gated
            .par_chunks_mut(BLOCK)
            .zip(g.par_chunks(BLOCK))
            .zip(y.par_chunks(BLOCK))
            .for_each(|((out, g), y)| {
                wide(
                    #[inline(always)]
                    || {
                        for ((out, &g), &y) in out.iter_mut().zip(g).zip(y) {
                            *out = if y > 0.0 { g } else { 0.0 };
                        }
                    },
                );
            });
        gated
    });
    let g = gated.as_deref().unwrap_or(g);
    let sums: Vec<(f32, f32)> = (0..channels)
        .into_par_iter()
        .map(|c| {
            let (mut of_bias, mut of_weight) = (0f64, 0f64);
            wide(
                #[inline(always)]
                || {
                    for b in 0..batch {
                        let start = (b * channels + c) * area;
                        let (g, x) = (&g[start..start + area], &x[start..start + area]);
                        of_bias += f64::from(sum_of(area, |i| g[i]));
                        of_weight += f64::from(sum_of(area, |i| g[i] * (x[i] - mean[c])));
                    }
                },
            );
            (of_bias as f32, (of_weight * f64::from(inverse[c])) as f32)
        })
        .collect();
    let n = (batch * area) as f32;
    let mut of_x = vec![0f32; g.len()];
    of_x.par_chunks_mut(area).enumerate().for_each(|(plane, out)| {
        let c = plane % channels;
        let range = plane * area..(plane + 1) * area;
        let (g, x) = (&g[range.clone()], &x[range]);
        let scale = gamma[c] * inverse[c];
        let (shift, slope) = (sums[c].0 / n, sums[c].1 / n * inverse[c]);
        wide(
            #[inline(always)]
            || {
                for ((out, g), x) in out.iter_mut().zip(g).zip(x) {
                    *out = scale * (g - shift - (x - mean[c]) * slope);
                }
            },
        );
    });
    let of_weight = tensor(sums.iter().map(|s| s.1).collect(), [channels]);
    let of_bias = tensor(sums.iter().map(|s| s.0).collect(), [channels]);
    (tensor(of_x, shape), gated.map(|g| tensor(g, shape)), of_weight, of_bias)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::walk::to_vec;
    use burn::tensor::{Device, Distribution, Gradients, activation::relu, module};

    fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
        let device = Device::flex().autodiff();
        Tensor::random(shape, Distribution::Normal(0.3, 1.0), &device).require_grad()
    }

    fn close<const D: usize>(a: &Tensor<D>, b: &Tensor<D>) {
        for (a, b) in to_vec(a).iter().zip(to_vec(b)) {
            assert!((a - b).abs() < 2e-5 * (1.0 + b.abs()), "{a} {b}");
        }
    }

    fn same_gradient<const D: usize>(x: &Tensor<D>, a: &Gradients, b: &Gradients) {
        close(&x.grad(a).unwrap(), &x.grad(b).unwrap());
    }

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

    #[test]
    fn batch_norm_equals_its_plain_form_with_and_without_skip_and_gate() {
        for (with_skip, gate) in [(false, false), (false, true), (true, true), (true, false)] {
            let (x, skip) = (random([3, 4, 5, 7]), random([3, 4, 5, 7]));
            let (weight, bias) = (random([4]), random([4]));
            let result = module::batch_norm_train(x.clone(), weight.clone(), bias.clone(), 1e-5);
            let plain = if with_skip {
                result.output + skip.clone()
            } else {
                result.output
            };
            let plain = if gate { relu(plain) } else { plain };
            let added = with_skip.then(|| skip.clone());
            let (fused, moments) = batch_norm_train(x.clone(), added, weight.clone(), bias.clone(), 1e-5, gate);
            close(&fused, &plain);
            close(&moments.mean, &result.mean);
            close(&moments.variance, &result.variance);
            let g = random([3, 4, 5, 7]).inner();
            let (a, b) = ((plain * g.clone()).sum().backward(), (fused * g).sum().backward());
            same_gradient(&x, &a, &b);
            same_gradient(&weight, &a, &b);
            same_gradient(&bias, &a, &b);
            if with_skip {
                same_gradient(&skip, &a, &b);
            }
        }
    }
}
