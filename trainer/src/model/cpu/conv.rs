//! Convolutions on the CPU as matrix products over unfolded tiles, gradients included.

use std::ops::Range;

use burn::tensor::Tensor;
use rayon::prelude::*;

use super::{
    super::custom::{Rule, with_gradient},
    Values, owned,
    product::{Sums, add_in_place},
    tensor,
};

/// Elements of a cache line.
const LINE: usize = 16;

/// Bytes of an unfolded tile: about what the second cache holds, and enough columns to fill the matrix product.
const TILE_BYTES: usize = 2 << 20;

/// Parts of a batch whose gradients of the weight are summed apart (in parallel) and then added in order.
const PARTS: usize = 4;

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

/// Output rows that are computed by one product: some rows of one image, or all rows of several.
#[derive(Clone)]
struct Tile {
    images: Range<usize>,
    rows: Range<usize>,
}

impl Geometry {
    /// Rows of the unfolded matrix.
    fn taps(&self) -> usize {
        self.inputs * self.kernel * self.kernel
    }

    /// Positions of an output plane.
    fn out_area(&self) -> usize {
        self.out_height * self.out_width
    }

    /// Output rows a tile covers.
    fn tile_rows(&self) -> usize {
        (TILE_BYTES / (4 * self.taps() * self.out_width)).clamp(1, self.out_height)
    }

    /// Images a tile covers: more than one where a whole image is less than a tile.
    fn tile_images(&self) -> usize {
        (TILE_BYTES / (4 * self.taps() * self.out_area())).clamp(1, self.batch.max(1))
    }

    /// The tiles of some images, in order.
    fn tiles(&self, images: Range<usize>) -> Vec<Tile> {
        let (rows, together, end) = (self.tile_rows(), self.tile_images(), images.end);
        let bands = (0..self.out_height).step_by(rows);
        images
            .step_by(together)
            .flat_map(|first| {
                bands.clone().map(move |row| Tile {
                    images: first..(first + together).min(end),
                    rows: row..(row + rows).min(self.out_height),
                })
            })
            .collect()
    }

    /// Columns of a tile's matrices.
    fn count(&self, tile: &Tile) -> usize {
        tile.images.len() * tile.rows.len() * self.out_width
    }

    /// The output columns whose tap `kx` lies inside the image.
    fn columns(&self, kx: usize) -> Range<usize> {
        let first = self.padding.saturating_sub(kx).div_ceil(self.stride);
        let end = (self.width + self.padding).saturating_sub(kx).div_ceil(self.stride);
        first.min(self.out_width)..end.min(self.out_width)
    }

    /// Whether the gradient of the weight is formed as `[taps, out]`. The product then packs the gradient, which is
    /// a k²-th of the unfolded matrix; with few positions turning the result round would cost more.
    fn is_transposed(&self) -> bool {
        self.batch * self.out_area() >= self.outputs
    }

    /// The image row that tap `ky` of output row `oy` reads.
    fn row(&self, oy: usize, ky: usize) -> Option<usize> {
        (oy * self.stride + ky)
            .checked_sub(self.padding)
            .filter(|&y| y < self.height)
    }
}

/// Convolution without bias. x `[batch, in, h, w]`, weight `[out, in, k, k]`; `sums` of the forward pass.
pub fn conv2d(x: Tensor<4>, weight: Tensor<4>, stride: usize, padding: usize, sums: Sums) -> Tensor<4> {
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
    let output = forward(input.get(), &matrix, &geometry, sums);
    let rule: Rule<2> = Box::new(move |g, needed| {
        let (of_x, of_weight) = backward(&Tensor::from_dispatch(g), input.get(), &matrix, &geometry, needed);
        [of_x.map(Tensor::into_dispatch), of_weight.map(Tensor::into_dispatch)]
    });
    with_gradient([x.into_dispatch(), weight.into_dispatch()], output, rule)
}

/// The pieces of the output planes that each tile computes, in the order of its images and then the channels.
fn pieces<'a>(output: &'a mut [f32], g: &Geometry) -> Vec<Vec<&'a mut [f32]>> {
    let mut pieces = Vec::new();
    for images in output.chunks_mut(g.tile_images() * g.outputs * g.out_area()) {
        let first = pieces.len();
        for plane in images.chunks_exact_mut(g.out_area()) {
            for (band, piece) in plane.chunks_mut(g.tile_rows() * g.out_width).enumerate() {
                if pieces.len() <= first + band {
                    pieces.push(Vec::new());
                }
                pieces[first + band].push(piece);
            }
        }
    }
    pieces
}

fn forward(x: &[f32], matrix: &Tensor<2>, g: &Geometry, sums: Sums) -> Tensor<4> {
    let mut output = vec![0f32; g.batch * g.outputs * g.out_area()];
    pieces(&mut output, g)
        .into_par_iter()
        .zip(g.tiles(0..g.batch))
        .for_each(|(pieces, tile)| {
            let values = Values::of(&sums.product(matrix.clone(), unfold(x, g, &tile)));
            let (count, each) = (g.count(&tile), tile.rows.len() * g.out_width);
            for (at, piece) in pieces.into_iter().enumerate() {
                let (image, channel) = (at / g.outputs, at % g.outputs);
                piece.copy_from_slice(&values.get()[channel * count + image * each..][..each]);
            }
        });
    tensor(output, [g.batch, g.outputs, g.out_height, g.out_width])
}

fn backward(
    gradient: &Tensor<4>,
    x: &[f32],
    matrix: &Tensor<2>,
    g: &Geometry,
    needed: [bool; 2],
) -> (Option<Tensor<4>>, Option<Tensor<4>>) {
    let image = g.inputs * g.height * g.width;
    let gradient = gradient.clone().reshape([g.batch, g.outputs, g.out_area()]);
    // Whole tiles a part, so that the parts depend on the sizes alone.
    let share = g.batch.div_ceil(PARTS).next_multiple_of(g.tile_images());
    let starts = (0..g.batch).step_by(share);
    let mut of_x = needed[0].then(|| vec![0f32; g.batch * image]);
    let planes: Vec<Option<&mut [f32]>> = match &mut of_x {
        Some(of_x) => of_x.chunks_mut(share * image).map(Some).collect(),
        None => starts.clone().map(|_| None).collect(),
    };
    let sums: Vec<Option<Vec<f32>>> = planes
        .into_par_iter()
        .zip(starts.collect::<Vec<_>>())
        .map(|(mut of_x, first)| {
            let mut of_weight = None;
            for tile in g.tiles(first..(first + share).min(g.batch)) {
                let part = of_tile(&gradient, g, &tile);
                if needed[1] {
                    add_to(&mut of_weight, weight_gradient(&part, unfold(x, g, &tile), g));
                }
                if let Some(of_x) = &mut of_x {
                    let taps = Values::of(&matrix.clone().transpose().matmul(part)); // [taps, count]
                    let images = tile.images.start - first..tile.images.end - first;
                    fold(
                        &mut of_x[images.start * image..images.end * image],
                        taps.get(),
                        g,
                        &tile,
                    );
                }
            }
            of_weight
        })
        .collect();
    let mut of_weight = None;
    for sum in sums.into_iter().flatten() {
        add_to(&mut of_weight, sum);
    }
    (
        of_x.map(|v| tensor(v, [g.batch, g.inputs, g.height, g.width])),
        of_weight.map(|v| {
            let matrix = if g.is_transposed() {
                tensor(v, [g.taps(), g.outputs]).transpose()
            } else {
                tensor(v, [g.outputs, g.taps()])
            };
            matrix.reshape([g.outputs, g.inputs, g.kernel, g.kernel])
        }),
    )
}

/// The gradient of a tile's output, `[out, tile]`.
fn of_tile(gradient: &Tensor<3>, g: &Geometry, tile: &Tile) -> Tensor<2> {
    let columns = tile.rows.start * g.out_width..tile.rows.end * g.out_width;
    gradient
        .clone()
        .slice([tile.images.clone(), 0..g.outputs, columns])
        .swap_dims(0, 1)
        .reshape([g.outputs, g.count(tile)])
}

fn weight_gradient(part: &Tensor<2>, unfolded: Tensor<2>, g: &Geometry) -> Vec<f32> {
    owned(if g.is_transposed() {
        unfolded.matmul(part.clone().transpose())
    } else {
        part.clone().matmul(unfolded.transpose())
    })
}

/// Adds `part` to the sum, element by element.
fn add_to(sum: &mut Option<Vec<f32>>, part: Vec<f32>) {
    match sum {
        None => *sum = Some(part),
        Some(sum) => add_in_place(sum, &part),
    }
}

/// `[in·k², tile]`: every tap of every output position of a tile.
///
/// Rows lie an odd number of cache lines apart. The product walks down a dozen of them at once, and rows a power
/// of two apart would compete for the same few places of the first cache.
fn unfold(x: &[f32], g: &Geometry, tile: &Tile) -> Tensor<2> {
    let (count, each, plane) = (g.count(tile), tile.rows.len() * g.out_width, g.height * g.width);
    let apart = count.next_multiple_of(2 * LINE) + LINE;
    let mut taps = vec![0f32; g.taps() * apart];
    taps.par_chunks_mut(apart).enumerate().for_each(|(tap, out)| {
        let (channel, ky, kx) = (tap / (g.kernel * g.kernel), tap / g.kernel % g.kernel, tap % g.kernel);
        let columns = g.columns(kx);
        let Some(first) = (columns.start * g.stride + kx).checked_sub(g.padding) else {
            return;
        };
        for (image, out) in tile.images.clone().zip(out.chunks_mut(each)) {
            let input = &x[(image * g.inputs + channel) * plane..][..plane];
            for (row, oy) in tile.rows.clone().enumerate() {
                let Some(y) = g.row(oy, ky) else { continue };
                let out = &mut out[row * g.out_width..][columns.clone()];
                let source = &input[y * g.width + first.min(g.width)..(y + 1) * g.width];
                if g.stride == 1 {
                    out.copy_from_slice(&source[..out.len()]);
                } else {
                    for (out, x) in out.iter_mut().zip(source.iter().step_by(g.stride)) {
                        *out = *x;
                    }
                }
            }
        }
    });
    tensor(taps, [g.taps(), apart]).slice([0..g.taps(), 0..count])
}

/// Adds the taps of a tile back to its images, which they were read from.
fn fold(images: &mut [f32], taps: &[f32], g: &Geometry, tile: &Tile) {
    let (count, each, window) = (g.count(tile), tile.rows.len() * g.out_width, g.kernel * g.kernel);
    let plane = g.height * g.width;
    images.par_chunks_mut(plane).enumerate().for_each(|(at, plane)| {
        let (image, channel) = (at / g.inputs, at % g.inputs);
        let taps = &taps[channel * window * count..][..window * count];
        for (tap, values) in taps.chunks_exact(count).enumerate() {
            let (values, ky, kx) = (&values[image * each..][..each], tap / g.kernel, tap % g.kernel);
            let columns = g.columns(kx);
            let Some(first) = (columns.start * g.stride + kx).checked_sub(g.padding) else {
                continue;
            };
            for (row, oy) in tile.rows.clone().enumerate() {
                let Some(y) = g.row(oy, ky) else { continue };
                let values = &values[row * g.out_width..][columns.clone()];
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
            let tiled = conv2d(x.clone(), w.clone(), stride, padding, Sums::Halved);
            close(&tiled, &plain);
            let g = Tensor::<4>::random(plain.dims(), Distribution::Normal(0.0, 1.0), &Device::flex());
            let (a, b) = ((plain * g.clone()).sum().backward(), (tiled * g).sum().backward());
            close(&x.grad(&a).unwrap(), &x.grad(&b).unwrap());
            close(&w.grad(&a).unwrap(), &w.grad(&b).unwrap());
        }
    }
}
