//! The door to what is done specially on the CPU: whole layers as one pass over plain arrays, with
//! hand-written gradients. Every function here has a plain tensor form beside its caller, which other
//! devices use and which the tests compare with.

pub mod attention;
pub mod batch_norm;
pub mod conv;
pub mod group_norm;
pub mod layers;
pub mod norm;
pub mod pointwise;
pub mod pool;
pub mod product;

use burn::{
    backend::{Flex, flex::FlexTensor},
    tensor::Tensor,
};
use rayon::prelude::*;

use super::walk::from_vec;
use crate::device::is_cpu;

/// Whether the functions of this module apply to `x`.
pub fn applies<const D: usize>(x: &Tensor<D>) -> bool {
    is_cpu(&x.device())
}

/// Read access to a tensor's values, row-major, without a copy where they already lie so.
#[derive(Clone)]
pub struct Values(FlexTensor);

impl Values {
    /// `tensor` lives on the CPU; its graph, if any, is left behind.
    pub fn of<const D: usize>(tensor: &Tensor<D>) -> Self {
        let tensor = tensor.clone().inner().try_into_primitive::<Flex>();
        let tensor = tensor.unwrap_or_else(|_| unreachable!("callers ask `applies` first"));
        Self(if tensor.is_contiguous() {
            tensor
        } else {
            tensor.to_contiguous()
        })
    }

    /// The values.
    pub fn get(&self) -> &[f32] {
        self.0
            .as_slice::<f32>()
            .unwrap_or_else(|| unreachable!("made contiguous, and floats are f32"))
    }
}

/// Values of a tensor to be changed in place: moved when nobody else holds them, copied otherwise.
pub fn owned<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor
        .inner()
        .into_data()
        .try_into_vec::<f32>()
        .unwrap_or_else(|_| unreachable!("floats are f32 on the CPU"))
}

/// Tensor on the CPU from values.
pub fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
    from_vec(values, shape, &burn::tensor::Device::flex())
}

/// Runs `body` compiled for the widest vector instructions of this processor.
#[inline]
pub(super) fn wide<R>(body: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(body)
}

/// Elements a task handles at a time in element-wise passes.
pub(super) const BLOCK: usize = 1 << 14;

/// Lanes of partial sums, enough for two AVX-512 registers.
pub(super) const LANES: usize = 32;

/// Sum of `f(i)` for i in 0..n with [`LANES`] partial sums, so that it vectorises and its order is fixed.
#[inline(always)]
pub(super) fn sum_of(n: usize, f: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let whole = n / LANES * LANES;
    let mut i = 0;
    while i < whole {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += f(i + lane);
        }
        i += LANES;
    }
    let mut total: f32 = lanes.iter().sum();
    for i in whole..n {
        total += f(i);
    }
    total
}

/// [`sum_of`] in double precision.
#[inline(always)]
pub(super) fn double_sum_of(n: usize, f: impl Fn(usize) -> f64) -> f64 {
    let mut lanes = [0f64; LANES];
    let whole = n / LANES * LANES;
    let mut i = 0;
    while i < whole {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += f(i + lane);
        }
        i += LANES;
    }
    let mut total: f64 = lanes.iter().sum();
    for i in whole..n {
        total += f(i);
    }
    total
}

/// Adds `bias` `[width]` to every row of `values` `[n, width]`.
pub(super) fn add_bias(values: &mut [f32], bias: &[f32]) {
    let rows = (BLOCK / bias.len()).max(1) * bias.len();
    values.par_chunks_mut(rows).for_each(|block| {
        wide(|| {
            for row in block.chunks_exact_mut(bias.len()) {
                for (x, b) in row.iter_mut().zip(bias) {
                    *x += b;
                }
            }
        });
    });
}

/// Column sums of `values` `[n, width]`, in a fixed order.
pub(super) fn column_sums(values: &[f32], width: usize) -> Vec<f32> {
    let rows = (BLOCK / width).max(8) * width;
    let partial: Vec<Vec<f32>> = values
        .par_chunks(rows)
        .map(|block| {
            let mut sums = vec![0f32; width];
            wide(|| {
                for row in block.chunks_exact(width) {
                    for (sum, x) in sums.iter_mut().zip(row) {
                        *sum += x;
                    }
                }
            });
            sums
        })
        .collect();
    add_all(partial, width)
}

/// Element-wise sum of equally long arrays.
pub(super) fn add_all(parts: Vec<Vec<f32>>, width: usize) -> Vec<f32> {
    let mut total = vec![0f32; width];
    for part in parts {
        for (sum, x) in total.iter_mut().zip(part) {
            *sum += x;
        }
    }
    total
}

/// e^x by range reduction and a polynomial (relative error about 1e-7); 0 below −87.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // Coefficients of Cephes' expf.
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    const ROUND: f32 = 12_582_912.0; // adding and subtracting 1.5·2^23 rounds to an integer
    let clamped = x.clamp(-87.0, 88.0);
    let shifted = clamped * LOG2_E + ROUND; // its last bits are the integer
    let n = shifted - ROUND;
    let r = clamped - n * LN2_HIGH - n * LN2_LOW;
    let p =
        ((((1.987_569_1e-4 * r + 1.398_2e-3) * r + 8.333_452e-3) * r + 4.166_579_6e-2) * r + 1.666_666_5e-1) * r + 0.5;
    let mantissa = p * r * r + r + 1.0;
    // 2^n; a conversion with its checks would keep the compiler from using vectors.
    let scale = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    if x < -87.0 { 0.0 } else { mantissa * scale }
}

/// Φ(x) and φ(x): the standard normal distribution and density (absolute error about 1e-7).
#[inline(always)]
pub(super) fn normal(x: f32) -> (f32, f32) {
    // Abramowitz and Stegun 7.1.26 for erf; the exponential serves the density too.
    const INVERSE_ROOT_2PI: f32 = 0.398_942_3;
    const A: [f32; 5] = [0.254_829_6, -0.284_496_74, 1.421_413_7, -1.453_152_1, 1.061_405_4];
    let e = exp(-0.5 * x * x);
    let t = 1.0 / (1.0 + 0.327_591_1 * (x.abs() * std::f32::consts::FRAC_1_SQRT_2));
    let tail = 0.5 * e * t * (A[0] + t * (A[1] + t * (A[2] + t * (A[3] + t * A[4]))));
    (if x < 0.0 { tail } else { 1.0 - tail }, e * INVERSE_ROOT_2PI)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn exponential_and_normal_distribution_are_accurate() {
        for i in -3000..=3000 {
            let x = i as f32 / 100.0;
            let exact = f64::from(x).exp();
            assert!((f64::from(exp(x)) / exact - 1.0).abs() < 4e-7, "exp({x})");
        }
        assert_eq!(exp(-1000.0), 0.0);
        for (x, phi) in [
            (0.0, 0.5),
            (1.0, 0.841_344_8),
            (-1.0, 0.158_655_25),
            (3.0, 0.998_650_1),
            (-6.0, 9.866e-10),
        ] {
            assert!((normal(x).0 - phi).abs() < 3e-7, "{x}");
        }
    }

    #[test]
    fn sums_in_lanes_cover_every_element() {
        for n in [0, 1, 31, 32, 33, 100] {
            assert_eq!(sum_of(n, |i| i as f32), (0..n).sum::<usize>() as f32);
        }
        let values: Vec<f32> = (0..6).map(|i| i as f32).collect();
        assert_eq!(column_sums(&values, 3), [3.0, 5.0, 7.0]);
    }
}

/// What the tests of whole layers share.
#[cfg(test)]
mod checks {
    #![allow(clippy::unwrap_used)]
    use std::cell::Cell;

    use crate::model::layers::Init;
    use crate::model::walk::to_vec;
    use burn::tensor::{Device, Gradients, Tensor};

    thread_local! {
        /// Tensors drawn so far by this test: each is another, in every run the same.
        static DRAWN: Cell<u64> = const { Cell::new(0) };
    }

    /// Random values, the same in every run, that want gradients.
    pub fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
        let device = Device::flex().autodiff();
        let seed = DRAWN.replace(DRAWN.get() + 1);
        (Init::new(seed, &device).normal(shape, 1.0).detach() + 0.3)
            .detach()
            .require_grad()
    }

    /// Equal to the rounding of sums in single precision, which goes with the largest of the values.
    pub fn close<const D: usize>(a: &Tensor<D>, b: &Tensor<D>) {
        assert_eq!(a.dims(), b.dims());
        let (a, b) = (to_vec(a), to_vec(b));
        let largest = b.iter().fold(0.0f32, |most, v| most.max(v.abs()));
        for (a, b) in a.iter().zip(&b) {
            assert!((a - b).abs() < 2e-5 * (1.0 + largest), "{a} {b}");
        }
    }

    /// The gradient of `x` is the same in both.
    pub fn same_gradient<const D: usize>(x: &Tensor<D>, a: &Gradients, b: &Gradients) {
        close(&x.grad(a).unwrap(), &x.grad(b).unwrap());
    }
}
