//! Batch normalisation on the CPU, with the sum and the ReLU behind it in the same pass.
//!
//! A channel is worked on at a time, statistics and result one after the other, so that its planes come from memory
//! once and are read again from the cache.

use burn::tensor::Tensor;
use rayon::prelude::*;

use super::{
    super::custom::{Raw, Rule, with_gradient},
    Values, double_sum_of, owned, sum_of, tensor, wide,
};

/// Elements of a plane whose partial sums are added in single precision.
const STRETCH: usize = 1 << 12;

/// Statistics of one training batch, `[channels]` each.
pub struct Moments {
    /// Mean.
    pub mean: Tensor<1>,
    /// Biased variance.
    pub variance: Tensor<1>,
}

/// What batch normalisation does to a channel: (x − center)·scale + shift.
#[derive(Clone, Copy, Debug)]
pub struct Affine {
    /// Mean.
    pub center: f64,
    /// Weight over the standard deviation.
    pub scale: f64,
    /// Bias.
    pub shift: f64,
}

impl Affine {
    /// Of a channel with this mean and this variance, epsilon added.
    pub fn new(mean: f64, variance: f64, gamma: f32, beta: f32) -> Self {
        Self {
            center: mean,
            scale: f64::from(gamma) / variance.sqrt(),
            shift: f64::from(beta),
        }
    }

    #[inline(always)]
    fn at(self, x: f32) -> f64 {
        (f64::from(x) - self.center) * self.scale + self.shift
    }

    /// The value of one element from x and the skip; with `relu` at least 0.
    #[inline(always)]
    fn value(self, x: f32, skip: f32, relu: bool) -> f32 {
        let value = self.at(x) + f64::from(skip);
        // Written so that NaN stays NaN.
        if relu && value < 0.0 { 0.0 } else { value as f32 }
    }

    /// A plane x to y.
    fn write(self, y: &mut [f32], x: &[f32], skip: Option<&[f32]>, relu: bool) {
        wide(
            #[inline(always)]
            || match skip {
                Some(skip) => {
                    for ((y, &x), &skip) in y.iter_mut().zip(x).zip(skip) {
                        *y = self.value(x, skip, relu);
                    }
                }
                None => {
                    for (y, &x) in y.iter_mut().zip(x) {
                        *y = self.value(x, 0.0, relu);
                    }
                }
            },
        );
    }

    /// A plane in place.
    fn apply(self, y: &mut [f32], skip: Option<&[f32]>, relu: bool) {
        wide(
            #[inline(always)]
            || match skip {
                Some(skip) => {
                    for (y, &skip) in y.iter_mut().zip(skip) {
                        *y = self.value(*y, skip, relu);
                    }
                }
                None => {
                    for y in y.iter_mut() {
                        *y = self.value(*y, 0.0, relu);
                    }
                }
            },
        );
    }
}

/// The planes of every channel of `values` `[batch, channels, area]`.
fn channels_of(values: &mut [f32], channels: usize, area: usize) -> Vec<Vec<&mut [f32]>> {
    let mut planes: Vec<Vec<&mut [f32]>> = (0..channels).map(|_| Vec::new()).collect();
    for (plane, values) in values.chunks_exact_mut(area).enumerate() {
        planes[plane % channels].push(values);
    }
    planes
}

/// Batch normalisation, then `+ skip` and ReLU where asked; x and skip `[batch, channels, height, width]`, `affine`
/// weight and bias. By the `running` mean and variance, or by the batch's own; with the statistics it went by.
pub fn batch_norm(
    x: Tensor<4>,
    skip: Option<Tensor<4>>,
    affine: [Tensor<1>; 2],
    running: Option<[&Tensor<1>; 2]>,
    epsilon: f64,
    relu: bool,
) -> (Tensor<4>, Moments) {
    let [weight, bias] = affine;
    let running = running.map(|statistics| statistics.map(Values::of));
    let shape @ [batch, channels, height, width] = x.dims();
    let area = height * width;
    let input = Values::of(&x);
    let (gamma, beta) = (Values::of(&weight), Values::of(&bias));
    let added = skip.as_ref().map(Values::of);
    let mut output = vec![0f32; batch * channels * area];
    let moments: Vec<(f64, f64)> = channels_of(&mut output, channels, area)
        .into_par_iter()
        .enumerate()
        .map(|(c, planes)| {
            let (mean, variance) = match &running {
                Some([mean, variance]) => (f64::from(mean.get()[c]), f64::from(variance.get()[c])),
                None => wide(|| moments(input.get(), c, [batch, channels, area])),
            };
            let affine = Affine::new(mean, variance + epsilon, gamma.get()[c], beta.get()[c]);
            for (image, y) in planes.into_iter().enumerate() {
                let start = (image * channels + c) * area;
                let skip = added.as_ref().map(|v| &v.get()[start..start + area]);
                affine.write(y, &input.get()[start..start + area], skip, relu);
            }
            (mean, variance)
        })
        .collect();
    let output = tensor(output, shape);
    let result = Moments {
        mean: tensor(moments.iter().map(|m| m.0 as f32).collect(), [channels]),
        variance: tensor(moments.iter().map(|m| m.1 as f32).collect(), [channels]),
    };
    let pass = Pass {
        gate: match (relu, &skip) {
            (false, _) => Gate::Open,
            (true, None) => Gate::OfInput,
            (true, Some(_)) => Gate::OfOutput(Values::of(&output)),
        },
        input,
        fixed: running.is_some(),
        moments,
        epsilon,
        gamma,
        beta,
        shape,
    };
    let [raw_x, raw_weight, raw_bias] = [x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch()];
    let output = match skip {
        None => {
            let rule: Rule<3> = Box::new(move |g, _| pass.backward(Tensor::from_dispatch(g)).map(Some));
            with_gradient([raw_x, raw_weight, raw_bias], output, rule)
        }
        Some(skip) => {
            let rule: Rule<4> = Box::new(move |g, _| pass.backward_with_skip(Tensor::from_dispatch(g)).map(Some));
            with_gradient([raw_x, skip.into_dispatch(), raw_weight, raw_bias], output, rule)
        }
    };
    (output, result)
}

/// Where the ReLU behind a normalisation lets gradients through.
enum Gate {
    /// There is no ReLU.
    Open,
    /// Nothing was added, so the normalised input tells.
    OfInput,
    /// The output tells.
    OfOutput(Values),
}

/// What the backward pass needs of a forward pass.
struct Pass {
    gate: Gate,
    input: Values,
    /// Whether the statistics did not come from the input.
    fixed: bool,
    moments: Vec<(f64, f64)>,
    epsilon: f64,
    gamma: Values,
    beta: Values,
    shape: [usize; 4],
}

/// Numbers of one channel in the backward pass.
#[derive(Clone, Copy)]
struct Channel {
    index: usize,
    affine: Affine,
    mean: f32,
    inverse: f32,
    gamma: f32,
}

/// Gradients of one channel's bias and weight.
#[derive(Clone, Copy, Default)]
struct Sums {
    of_bias: f64,
    of_weight: f64,
}

impl Pass {
    /// Gradients of x, weight and bias.
    fn backward(&self, g: Tensor<4>) -> [Raw; 3] {
        let [_, channels, height, width] = self.shape;
        let mut g = owned(g); // becomes the gradient of x
        let sums = channels_of(&mut g, channels, height * width)
            .into_par_iter()
            .enumerate()
            .map(|(c, planes)| {
                let channel = self.channel(c);
                let mut planes: Vec<_> = planes.into_iter().zip(self.planes(&self.input, c)).collect();
                let sums = self.sums(channel, planes.iter_mut().map(|(g, x)| (&mut **g, *x)));
                for (g, x) in planes {
                    let spread = self.spread(channel, sums);
                    wide(
                        #[inline(always)]
                        || {
                            for (g, &x) in g.iter_mut().zip(x) {
                                *g = spread.at(*g, x);
                            }
                        },
                    );
                }
                sums
            })
            .collect();
        let [of_weight, of_bias] = of_affine(sums);
        [tensor(g, self.shape).into_dispatch(), of_weight, of_bias]
    }

    /// Gradients of x, skip, weight and bias.
    fn backward_with_skip(&self, g: Tensor<4>) -> [Raw; 4] {
        let [_, channels, height, width] = self.shape;
        let area = height * width;
        let mut g = owned(g); // becomes the gradient of the skip
        let mut of_x = vec![0f32; g.len()];
        let sums = channels_of(&mut g, channels, area)
            .into_par_iter()
            .zip(channels_of(&mut of_x, channels, area))
            .enumerate()
            .map(|(c, (planes, of_x))| {
                let channel = self.channel(c);
                let mut planes: Vec<_> = planes.into_iter().zip(self.planes(&self.input, c)).collect();
                let sums = self.sums(channel, planes.iter_mut().map(|(g, x)| (&mut **g, *x)));
                for ((g, x), of_x) in planes.into_iter().zip(of_x) {
                    let spread = self.spread(channel, sums);
                    wide(
                        #[inline(always)]
                        || {
                            for ((of_x, &g), &x) in of_x.iter_mut().zip(g.iter()).zip(x) {
                                *of_x = spread.at(g, x);
                            }
                        },
                    );
                }
                sums
            })
            .collect();
        let [of_weight, of_bias] = of_affine(sums);
        let [of_x, of_skip] = [of_x, g].map(|values| tensor(values, self.shape).into_dispatch());
        [of_x, of_skip, of_weight, of_bias]
    }

    fn channel(&self, index: usize) -> Channel {
        let (mean, variance) = self.moments[index];
        let inverse = 1.0 / (variance + self.epsilon).sqrt();
        let gamma = self.gamma.get()[index];
        Channel {
            index,
            affine: Affine::new(mean, variance + self.epsilon, gamma, self.beta.get()[index]),
            mean: mean as f32,
            inverse: inverse as f32,
            gamma,
        }
    }

    /// The planes of one channel, image by image.
    fn planes<'a>(&self, values: &'a Values, channel: usize) -> impl Iterator<Item = &'a [f32]> {
        let [_, channels, height, width] = self.shape;
        values
            .get()
            .chunks_exact(height * width)
            .skip(channel)
            .step_by(channels)
    }

    /// Closes the gate in the planes of g and sums what is left over a channel; `planes` are g and x of every image.
    fn sums<'a>(&self, channel: Channel, planes: impl Iterator<Item = (&'a mut [f32], &'a [f32])>) -> Sums {
        let mut sums = Sums::default();
        let Channel { affine, mean, .. } = channel;
        for (image, (g, x)) in planes.enumerate() {
            let area = g.len();
            let start = (image * self.shape[1] + channel.index) * area;
            for (at, (g, x)) in g.chunks_mut(STRETCH).zip(x.chunks(STRETCH)).enumerate() {
                let start = start + at * STRETCH;
                wide(
                    #[inline(always)]
                    || {
                        match &self.gate {
                            Gate::Open => {}
                            Gate::OfInput => {
                                for (g, &x) in g.iter_mut().zip(x) {
                                    *g = if affine.at(x) as f32 > 0.0 { *g } else { 0.0 };
                                }
                            }
                            Gate::OfOutput(y) => {
                                for (g, &y) in g.iter_mut().zip(&y.get()[start..]) {
                                    *g = if y > 0.0 { *g } else { 0.0 };
                                }
                            }
                        }
                        sums.of_bias += f64::from(sum_of(g.len(), |i| g[i]));
                        sums.of_weight += f64::from(sum_of(g.len(), |i| g[i] * (x[i] - mean)));
                    },
                );
            }
        }
        sums.of_weight /= (self.moments[channel.index].1 + self.epsilon).sqrt();
        sums
    }

    fn spread(&self, channel: Channel, sums: Sums) -> Spread {
        let [batch, _, height, width] = self.shape;
        let count = (batch * height * width) as f64;
        let sums = if self.fixed { Sums::default() } else { sums };
        Spread {
            scale: channel.gamma * channel.inverse,
            mean: channel.mean,
            shift: (sums.of_bias / count) as f32,
            slope: (sums.of_weight / count) as f32 * channel.inverse,
        }
    }
}

/// The gradient of x from that of the normalised value, in one channel.
#[derive(Clone, Copy)]
struct Spread {
    scale: f32,
    mean: f32,
    shift: f32,
    slope: f32,
}

impl Spread {
    #[inline(always)]
    fn at(self, g: f32, x: f32) -> f32 {
        self.scale * (g - self.shift - (x - self.mean) * self.slope)
    }
}

/// Gradients of weight and bias, `[channels]` each.
fn of_affine(sums: Vec<Sums>) -> [Raw; 2] {
    let channels = sums.len();
    [|s: &Sums| s.of_weight, |s: &Sums| s.of_bias]
        .map(|pick| tensor(sums.iter().map(|s| pick(s) as f32).collect(), [channels]).into_dispatch())
}

/// Batch normalisation with fixed statistics (one [`Affine`] a channel), then `+ skip` and ReLU where
/// asked; without a graph.
pub fn batch_norm_eval(x: Tensor<4>, skip: Option<Tensor<4>>, affine: &[Affine], relu: bool) -> Tensor<4> {
    let shape @ [_, channels, height, width] = x.dims();
    let area = height * width;
    let added = skip.as_ref().map(Values::of);
    let mut values = owned(x);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::cpu::checks::{close, random, same_gradient};
    use burn::tensor::{activation::relu, module};

    #[test]
    fn batch_norm_equals_its_plain_form_with_and_without_skip_gate_and_running_statistics() {
        let (short, long) = ([3, 4, 5, 7], [2, 4, 70, 60]); // planes of more than one stretch
        let running = [random([4]).inner(), random([4]).inner().square()];
        for (with_skip, gate, shape, fixed) in [
            (false, false, short, false),
            (false, true, long, false),
            (true, true, long, false),
            (true, false, short, false),
            (true, true, short, true),
            (false, true, short, true),
        ] {
            let (x, skip) = (random(shape), random(shape));
            let (weight, bias) = (random([4]), random([4]));
            let [mean, variance] = running.clone();
            let (plain, mean, variance) = if fixed {
                let y = module::batch_norm(
                    x.clone(),
                    weight.clone(),
                    bias.clone(),
                    mean.clone(),
                    variance.clone(),
                    1e-5,
                );
                (y, mean, variance)
            } else {
                let result = module::batch_norm_train(x.clone(), weight.clone(), bias.clone(), 1e-5);
                (result.output, result.mean, result.variance)
            };
            let plain = if with_skip { plain + skip.clone() } else { plain };
            let plain = if gate { relu(plain) } else { plain };
            let added = with_skip.then(|| skip.clone());
            let affine = [weight.clone(), bias.clone()];
            let given = fixed.then(|| running.each_ref());
            let (fused, moments) = batch_norm(x.clone(), added, affine, given, 1e-5, gate);
            close(&fused, &plain);
            close(&moments.mean, &mean);
            close(&moments.variance, &variance);
            let g = random(shape).inner();
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
