//! Matrix products with short partial sums.

use burn::tensor::Tensor;
use rayon::prelude::*;

use super::{BLOCK, LANES, Values, owned, tensor, wide};

/// Longest stretch of products that are added one after the other in [`Sums::Halved`].
///
/// By measurement (ResNet50, 224 px, batch statistics): features are off by 5.5e-7 without halving, by 4.2e-7 with
/// stretches of 128, by 3.7e-7 with 64.
const STRETCH: usize = 128;

/// How a product adds up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sums {
    /// As the library does: stretches of 512 and more.
    Plain,
    /// The sum is cut into halves until they are short, and the sums of the halves are added. For what a ReLU follows
    /// where gradients are wanted: each gate that rounding turns moves gradients by far more than rounding does.
    Halved,
}

impl Sums {
    /// a·b of the last two dimensions, `[.., m, k]` and `[.., k, n]`; what lies before may be 1 in one of them.
    pub fn product<const D: usize>(self, a: Tensor<D>, b: Tensor<D>) -> Tensor<D> {
        let depth = a.dims()[D - 1];
        if self == Self::Plain || depth <= STRETCH {
            return a.matmul(b);
        }
        let half = (depth / 2).next_multiple_of(LANES);
        let part = |from: usize, to: usize| {
            self.product(
                a.clone().narrow(D - 1, from, to - from),
                b.clone().narrow(D - 2, from, to - from),
            )
        };
        let (first, second) = (part(0, half), part(half, depth));
        let shape = first.dims();
        let mut sum = owned(first);
        add_in_place(&mut sum, Values::of(&second).get());
        tensor(sum, shape)
    }
}

/// Adds `part` to `sum`, element by element; both are equally long.
pub fn add_in_place(sum: &mut [f32], part: &[f32]) {
    sum.par_chunks_mut(BLOCK)
        .zip(part.par_chunks(BLOCK))
        .for_each(|(sum, part)| {
            wide(
                #[inline(always)]
                || {
                    for (sum, x) in sum.iter_mut().zip(part) {
                        *sum += x;
                    }
                },
            );
        });
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::walk::to_vec;
    use burn::tensor::{Device, Distribution};

    #[test]
    fn a_long_product_is_nearer_to_the_exact_one_than_a_sum_in_one_go() {
        let device = Device::flex();
        device.seed(7);
        let (m, k, n) = (3, 2000, 5);
        let random = |shape| Tensor::<2>::random(shape, Distribution::Normal(0.5, 1.0), &device);
        let (a, b) = (random([m, k]), random([n, k]));
        let (x, y) = (to_vec(&a), to_vec(&b));
        let found = to_vec(&Sums::Halved.product(a, b.transpose()));
        let (mut by_halves, mut in_one_go) = (0f64, 0f64);
        for at in 0..m * n {
            let (x, y) = (&x[at / n * k..][..k], &y[at % n * k..][..k]);
            let exact: f64 = x.iter().zip(y).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum();
            let simple = x.iter().zip(y).fold(0f32, |sum, (x, y)| x.mul_add(*y, sum));
            by_halves += (f64::from(found[at]) - exact).powi(2);
            in_one_go += (f64::from(simple) - exact).powi(2);
        }
        assert!(by_halves < in_one_go / 4.0, "{by_halves} {in_one_go}");
    }

    #[test]
    fn batches_broadcast() {
        let device = Device::flex();
        let a = Tensor::<3>::ones([1, 2, 300], &device);
        let b = Tensor::<3>::ones([4, 300, 3], &device) * 0.5;
        let c = Sums::Halved.product(a, b);
        assert_eq!(c.dims(), [4, 2, 3]);
        assert!(to_vec(&c).iter().all(|&x| x == 150.0));
    }
}
