//! Convolutions on the CPU as matrix products over unfolded tiles, gradients included.

use burn::tensor::Tensor;
use rayon::prelude::*;

use super::{
    super::custom::{Rule, with_gradient},
    Values, owned, tensor,
};

/// Elements of a cache line.
const LINE: usize = 16;

/// Bytes of an unfolded tile: about what the second cache holds, and enough columns to fill the matrix product.
const TILE_BYTES: usize = 2 << 20;

/// Sizes of one convolution with square kernels and equal padding.
#[derive(Clone, Copy)]
struct Geometry {
    batch: usize,
    inputs: usize,
    height: usize,
    width: usize,
    outputs: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
    out_height: usize,
    out_width: usize,
}

impl Geometry {
    /// Rows of the unfolded matrix.
    fn taps(&self) -> usize {
        self.inputs * self.kernel * self.kernel
    }

    /// Output rows a tile covers.
    fn tile_rows(&self) -> usize {
        (TILE_BYTES / (4 * self.taps() * self.out_width)).clamp(1, self.out_height)
    }

    /// (image, first output row, one past the last) of every tile.
    fn tiles(&self) -> Vec<(usize, usize, usize)> {
        let step = self.tile_rows();
        let starts = move || (0..self.out_height).step_by(step);
        (0..self.batch)
            .flat_map(|image| starts().map(move |row| (image, row, (row + step).min(self.out_height))))
            .collect()
    }

    /// The output columns whose tap `kx` lies inside the image.
    fn columns(&self, kx: usize) -> std::ops::Range<usize> {
        let first = self.padding.saturating_sub(kx).div_ceil(self.stride);
        let end = (self.width + self.padding).saturating_sub(kx).div_ceil(self.stride);
        first.min(self.out_width)..end.min(self.out_width)
    }

    /// The image row that tap `ky` of output row `oy` reads.
    fn row(&self, oy: usize, ky: usize) -> Option<usize> {
        (oy * self.stride + ky)
            .checked_sub(self.padding)
            .filter(|&y| y < self.height)
    }
}

/// Convolution without bias. x `[batch, in, h, w]`, weight `[out, in, k, k]`.
pub fn conv2d(x: Tensor<4>, weight: Tensor<4>, stride: usize, padding: usize) -> Tensor<4> {
    let [batch, inputs, height, width] = x.dims();
    let [outputs, _, kernel, _] = weight.dims();
    let size = |n: usize| (n + 2 * padding - kernel) / stride + 1;
    let (out_height, out_width) = (size(height), size(width));
    let geometry = Geometry {
        batch,
        inputs,
        height,
        width,
        outputs,
        kernel,
        stride,
        padding,
        out_height,
        out_width,
    };
    let input = Values::of(&x);
    let matrix = weight.clone().inner().reshape([outputs, geometry.taps()]);
    let output = forward(input.get(), &matrix, &geometry);
    let rule: Rule<2> = Box::new(move |g, needed| {
        let (of_x, of_weight) = backward(&Tensor::from_dispatch(g), input.get(), &matrix, &geometry, needed);
        [of_x.map(Tensor::into_dispatch), of_weight.map(Tensor::into_dispatch)]
    });
    with_gradient([x.into_dispatch(), weight.into_dispatch()], output, rule)
}

fn forward(x: &[f32], matrix: &Tensor<2>, g: &Geometry) -> Tensor<4> {
    let area = g.out_height * g.out_width;
    let mut output = vec![0f32; g.batch * g.outputs * area];
    for (image, from, to) in g.tiles() {
        let count = (to - from) * g.out_width;
        let product = Values::of(&matrix.clone().matmul(unfold(x, g, image, from, to)));
        let planes = &mut output[image * g.outputs * area..(image + 1) * g.outputs * area];
        planes
            .par_chunks_mut(area)
            .zip(product.get().par_chunks(count))
            .for_each(|(plane, part)| {
                plane[from * g.out_width..from * g.out_width + count].copy_from_slice(part);
            });
    }
    tensor(output, [g.batch, g.outputs, g.out_height, g.out_width])
}

fn backward(
    gradient: &Tensor<4>,
    x: &[f32],
    matrix: &Tensor<2>,
    g: &Geometry,
    needed: [bool; 2],
) -> (Option<Tensor<4>>, Option<Tensor<4>>) {
    let area = g.out_height * g.out_width;
    let flat = gradient.clone().reshape([g.batch, g.outputs, area]);
    let mut of_x = needed[0].then(|| vec![0f32; g.batch * g.inputs * g.height * g.width]);
    // Transposed, [taps, out]: the product then packs the gradient, which is a k²-th of the unfolded matrix.
    let mut of_weight = needed[1].then(|| vec![0f32; g.taps() * g.outputs]);
    for (image, from, to) in g.tiles() {
        let columns = from * g.out_width..to * g.out_width;
        let count = columns.len();
        let part = flat
            .clone()
            .slice([image..image + 1, 0..g.outputs, columns])
            .reshape([g.outputs, count]);
        if let Some(sum) = &mut of_weight {
            let product = Values::of(&unfold(x, g, image, from, to).matmul(part.clone().transpose()));
            sum.par_chunks_mut(super::BLOCK)
                .zip(product.get().par_chunks(super::BLOCK))
                .for_each(|(sum, part)| {
                    for (sum, x) in sum.iter_mut().zip(part) {
                        *sum += x;
                    }
                });
        }
        if let Some(of_x) = &mut of_x {
            let taps = Values::of(&matrix.clone().transpose().matmul(part)); // [taps, count]
            let plane = g.height * g.width;
            let image = &mut of_x[image * g.inputs * plane..(image + 1) * g.inputs * plane];
            fold(image, taps.get(), g, from, to);
        }
    }
    (
        of_x.map(|v| tensor(v, [g.batch, g.inputs, g.height, g.width])),
        of_weight.map(|v| {
            let transposed = tensor(v, [g.taps(), g.outputs]).transpose();
            transposed.reshape([g.outputs, g.inputs, g.kernel, g.kernel])
        }),
    )
}

/// `[in·k², tile]`: every tap of every output position of a tile.
///
/// Rows lie an odd number of cache lines apart. The product walks down a dozen of them at once, and rows a power
/// of two apart would compete for the same few places of the first cache.
fn unfold(x: &[f32], g: &Geometry, image: usize, from: usize, to: usize) -> Tensor<2> {
    let count = (to - from) * g.out_width;
    let plane = g.height * g.width;
    let apart = count.next_multiple_of(2 * LINE) + LINE;
    let mut taps = vec![0f32; g.taps() * apart];
    taps.par_chunks_mut(apart).enumerate().for_each(|(tap, out)| {
        let (channel, ky, kx) = (tap / (g.kernel * g.kernel), tap / g.kernel % g.kernel, tap % g.kernel);
        let input = &x[(image * g.inputs + channel) * plane..][..plane];
        let columns = g.columns(kx);
        for (row, oy) in (from..to).enumerate() {
            let Some(y) = g.row(oy, ky) else { continue };
            let out = &mut out[row * g.out_width..][columns.clone()];
            let Some(first) = (columns.start * g.stride + kx).checked_sub(g.padding) else {
                continue;
            };
            let source = &input[y * g.width + first.min(g.width)..(y + 1) * g.width];
            if g.stride == 1 {
                out.copy_from_slice(&source[..out.len()]);
            } else {
                for (out, x) in out.iter_mut().zip(source.iter().step_by(g.stride)) {
                    *out = *x;
                }
            }
        }
    });
    tensor(taps, [g.taps(), apart]).slice([0..g.taps(), 0..count])
}

/// Adds the taps of a tile back to the image they were read from.
fn fold(image: &mut [f32], taps: &[f32], g: &Geometry, from: usize, to: usize) {
    let count = (to - from) * g.out_width;
    let window = g.kernel * g.kernel;
    image
        .par_chunks_mut(g.height * g.width)
        .zip(taps.par_chunks(window * count))
        .for_each(|(plane, taps)| {
            for (tap, values) in taps.chunks_exact(count).enumerate() {
                let (ky, kx) = (tap / g.kernel, tap % g.kernel);
                let columns = g.columns(kx);
                for (row, oy) in (from..to).enumerate() {
                    let Some(y) = g.row(oy, ky) else { continue };
                    let values = &values[row * g.out_width..][columns.clone()];
                    let Some(first) = (columns.start * g.stride + kx).checked_sub(g.padding) else {
                        continue;
                    };
                    let target = &mut plane[y * g.width + first.min(g.width)..(y + 1) * g.width];
                    if g.stride == 1 {
                        for (out, x) in target.iter_mut().zip(values) {
                            *out += x;
                        }
                    } else {
                        for (out, x) in target.iter_mut().step_by(g.stride).zip(values) {
                            *out += x;
                        }
                    }
                }
            }
        });
}

/// 1×1 convolution with stride 1. x `[batch, in, h, w]`, weight `[out, in, 1, 1]`.
pub fn pointwise(x: Tensor<4>, weight: Tensor<4>) -> Tensor<4> {
    let [batch, inputs, height, width] = x.dims();
    let [outputs, ..] = weight.dims();
    let area = height * width;
    let flat = x.clone().inner().reshape([batch, inputs, area]);
    let matrix = weight.clone().inner().reshape([1, outputs, inputs]);
    let output = matrix
        .clone()
        .matmul(flat.clone())
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
    use crate::model::walk::to_vec;
    use burn::tensor::{Device, Distribution, module, ops::ConvOptions};

    fn close(a: &Tensor<4>, b: &Tensor<4>) {
        assert_eq!(a.dims(), b.dims());
        for (a, b) in to_vec(a).iter().zip(to_vec(b)) {
            assert!((a - b).abs() < 1e-4 * (1.0 + b.abs()), "{a} {b}");
        }
    }

    /// Values and both gradients against burn's own convolution, over odd sizes, strides and kernels.
    #[test]
    fn tiles_equal_the_plain_convolution() {
        let device = Device::flex().autodiff();
        for (height, width, kernel, stride, padding) in [
            (7, 9, 3, 1, 1),
            (8, 5, 3, 2, 1),
            (13, 12, 7, 2, 3),
            (1, 1, 3, 2, 1),
            (2, 3, 7, 2, 3),
            (6, 6, 1, 2, 0),
        ] {
            let x = Tensor::<4>::random([2, 3, height, width], Distribution::Normal(0.0, 1.0), &device).require_grad();
            let w = Tensor::<4>::random([5, 3, kernel, kernel], Distribution::Normal(0.0, 1.0), &device).require_grad();
            let plain = module::conv2d(
                x.clone(),
                w.clone(),
                None,
                ConvOptions::new([stride; 2], [padding; 2], [1, 1], 1),
            );
            let tiled = conv2d(x.clone(), w.clone(), stride, padding);
            close(&tiled, &plain);
            let g = Tensor::<4>::random(plain.dims(), Distribution::Normal(0.0, 1.0), &Device::flex());
            let (a, b) = ((plain * g.clone()).sum().backward(), (tiled * g).sum().backward());
            close(&x.grad(&a).unwrap(), &x.grad(&b).unwrap());
            close(&w.grad(&a).unwrap(), &w.grad(&b).unwrap());
        }
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
