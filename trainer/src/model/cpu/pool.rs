//! The stem's pooling on the CPU.

use burn::tensor::Tensor;
use rayon::prelude::*;

use super::{
    super::custom::{Rule, with_gradient},
    Values, owned, tensor, wide,
};

/// Side of the window, distance of two windows, and border around the image.
const WINDOW: usize = 3;
const STRIDE: usize = 2;
const PADDING: usize = 1;

/// Maximum over 3×3 windows two apart, with a border of one: `[batch, channels, h, w]` to
/// `[batch, channels, ⌈h/2⌉, ⌈w/2⌉]`. As in PyTorch the gradient goes to the first of equal values and a NaN wins.
/// One byte an output is kept for the backward pass.
pub fn max_pool(x: Tensor<4>) -> Tensor<4> {
    let shape @ [batch, channels, height, width] = x.dims();
    let (out_height, out_width) = (height.div_ceil(STRIDE), width.div_ceil(STRIDE));
    let (area, out_area) = (height * width, out_height * out_width);
    let input = Values::of(&x);
    let mut output = vec![0f32; batch * channels * out_area];
    let mut taps = vec![0u8; output.len()];
    output
        .par_chunks_mut(out_area)
        .zip(taps.par_chunks_mut(out_area))
        .zip(input.get().par_chunks(area))
        .for_each(|((output, taps), plane)| {
            let rows = output.chunks_exact_mut(out_width).zip(taps.chunks_exact_mut(out_width));
            wide(
                #[inline(always)]
                || {
                    for (row, (output, taps)) in rows.enumerate() {
                        pool_row(plane, [height, width], row, output, taps);
                    }
                },
            );
        });
    let rule: Rule<1> = Box::new(move |g, _| {
        let g = owned(Tensor::<4>::from_dispatch(g));
        let mut of_x = vec![0f32; batch * channels * area];
        of_x.par_chunks_mut(area)
            .zip(g.par_chunks(out_area))
            .zip(taps.par_chunks(out_area))
            .for_each(|((plane, g), taps)| {
                for (at, (g, &tap)) in g.iter().zip(taps).enumerate() {
                    let (row, column) = (at / out_width, at % out_width);
                    let (down, right) = (usize::from(tap) / WINDOW, usize::from(tap) % WINDOW);
                    let (y, x) = (row * STRIDE + down - PADDING, column * STRIDE + right - PADDING);
                    plane[y * width + x] += g;
                }
            });
        [Some(tensor(of_x, shape).into_dispatch())]
    });
    with_gradient(
        [x.into_dispatch()],
        tensor(output, [batch, channels, out_height, out_width]),
        rule,
    )
}

/// One row of outputs, and which of the window's nine places each was taken from.
#[inline(always)]
fn pool_row(plane: &[f32], [height, width]: [usize; 2], row: usize, output: &mut [f32], taps: &mut [u8]) {
    output.fill(f32::NEG_INFINITY);
    // The middle of a window always lies in the image.
    taps.fill((WINDOW * WINDOW / 2) as u8);
    for down in 0..WINDOW {
        let Some(y) = (row * STRIDE + down).checked_sub(PADDING).filter(|&y| y < height) else {
            continue;
        };
        let line = &plane[y * width..(y + 1) * width];
        for right in 0..WINDOW {
            // The border's place left of the first output is not there.
            let first = usize::from(right < PADDING);
            let source = &line[first * STRIDE + right - PADDING..];
            let tap = (down * WINDOW + right) as u8;
            let targets = output[first..].iter_mut().zip(&mut taps[first..]);
            for ((best, taken), &x) in targets.zip(source.iter().step_by(STRIDE)) {
                let better = x > *best || x.is_nan();
                *best = if better { x } else { *best };
                *taken = if better { tap } else { *taken };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        cpu::checks::{close, random, same_gradient},
        walk::{from_vec, to_vec},
    };
    use burn::tensor::{Device, module, ops::MaxPoolOptions};

    #[test]
    fn pooling_equals_its_plain_form_at_odd_and_even_sizes() {
        for (height, width) in [(1, 1), (2, 2), (7, 8), (8, 7), (33, 64)] {
            let x = random([2, 3, height, width]);
            let options = MaxPoolOptions::new([3, 3]).with_stride([2, 2]).with_padding([1, 1]);
            let (plain, ours) = (module::max_pool2d(x.clone(), options), max_pool(x.clone()));
            close(&ours, &plain);
            let g = random(plain.dims()).inner();
            let (a, b) = ((plain * g.clone()).sum().backward(), (ours * g).sum().backward());
            same_gradient(&x, &a, &b);
        }
    }

    #[test]
    fn the_first_of_equal_values_gets_the_gradient_and_nan_stays() {
        let of = |values: Vec<f32>| {
            let x = from_vec(values, [1, 1, 2, 2], &Device::flex().autodiff()).require_grad();
            let y = max_pool(x.clone());
            let gradients = y.clone().sum().backward();
            (to_vec(&y)[0], x.grad(&gradients).map(|g| to_vec(&g)))
        };
        assert_eq!(of(vec![0.0; 4]), (0.0, Some(vec![1.0, 0.0, 0.0, 0.0])));
        let (value, gradient) = of(vec![1.0, f32::NAN, 3.0, 2.0]);
        assert!(value.is_nan());
        assert_eq!(gradient, Some(vec![0.0, 1.0, 0.0, 0.0]));
    }
}
