//! Linear layers and GELU on the CPU: no transposed copies, bias in place, activation in one pass.

use burn::tensor::Tensor;
use rayon::prelude::*;

use super::{
    super::custom::{Raw, Rule, with_gradient},
    BLOCK, Values, add_bias, column_sums, normal, owned, tensor, wide,
};

/// y = x Wᵀ + b. x `[n, in]`, weight `[out, in]`, bias `[out]`.
pub fn linear(x: Tensor<2>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
    let (inner_x, inner_w) = (x.clone().inner(), weight.clone().inner());
    let mut output = inner_x.clone().matmul(inner_w.clone().transpose());
    if let Some(bias) = &bias {
        let shape = output.dims();
        let mut values = owned(output);
        add_bias(&mut values, Values::of(bias).get());
        output = tensor(values, shape);
    }
    let gradients = move |g: Raw, needed: [bool; 2]| {
        let g = Tensor::<2>::from_dispatch(g);
        let of_x = needed[0].then(|| g.clone().matmul(inner_w).into_dispatch());
        let of_w = needed[1].then(|| g.clone().transpose().matmul(inner_x).into_dispatch());
        (of_x, of_w, g)
    };
    match bias {
        None => {
            let rule: Rule<2> = Box::new(move |g, needed| {
                let (of_x, of_w, _) = gradients(g, needed);
                [of_x, of_w]
            });
            with_gradient([x.into_dispatch(), weight.into_dispatch()], output, rule)
        }
        Some(bias) => {
            let rule: Rule<3> = Box::new(move |g, needed| {
                let (of_x, of_w, g) = gradients(g, [needed[0], needed[1]]);
                let of_b = needed[2].then(|| {
                    let [_, width] = g.dims();
                    tensor(column_sums(Values::of(&g).get(), width), [width]).into_dispatch()
                });
                [of_x, of_w, of_b]
            });
            with_gradient(
                [x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch()],
                output,
                rule,
            )
        }
    }
}

/// x·Φ(x), the erf form.
pub fn gelu(x: Tensor<2>) -> Tensor<2> {
    let shape = x.dims();
    let input = Values::of(&x);
    let output = map(input.get(), |x| x * normal(x).0);
    let rule: Rule<1> = Box::new(move |g, _| {
        let mut gradient = owned(Tensor::<2>::from_dispatch(g));
        gradient
            .par_chunks_mut(BLOCK)
            .zip(input.get().par_chunks(BLOCK))
            .for_each(|(g, x)| {
                wide(
                    #[inline(always)]
                    || {
                        for (g, &x) in g.iter_mut().zip(x) {
                            let (distribution, density) = normal(x);
                            *g *= distribution + x * density;
                        }
                    },
                );
            });
        [Some(tensor(gradient, shape).into_dispatch())]
    });
    with_gradient([x.into_dispatch()], tensor(output, shape), rule)
}

/// A new array of `f` of each value.
fn map(values: &[f32], f: impl Fn(f32) -> f32 + Sync) -> Vec<f32> {
    let mut output = vec![0f32; values.len()];
    output
        .par_chunks_mut(BLOCK)
        .zip(values.par_chunks(BLOCK))
        .for_each(|(y, x)| {
            wide(
                #[inline(always)]
                || {
                    for (y, &x) in y.iter_mut().zip(x) {
                        *y = f(x);
                    }
                },
            );
        });
    output
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::{layers::gelu_by_erf, walk::to_vec};
    use burn::tensor::{Device, Distribution, module};

    #[test]
    fn linear_and_gelu_equal_their_plain_forms() {
        let device = Device::flex().autodiff();
        let random = |shape| Tensor::<2>::random(shape, Distribution::Normal(0.0, 1.5), &device).require_grad();
        let (x, weight) = (random([9, 6]), random([4, 6]));
        let bias = Tensor::<1>::from_floats([0.5, -1.0, 2.0, 0.0], &device).require_grad();
        let plain = gelu_by_erf(module::linear(
            x.clone(),
            weight.clone().transpose(),
            Some(bias.clone()),
        ));
        let fused = gelu(linear(x.clone(), weight.clone(), Some(bias.clone())));
        let close = |a: Vec<f32>, b: Vec<f32>| {
            for (a, b) in a.iter().zip(b) {
                assert!((a - b).abs() < 2e-5 * (1.0 + b.abs()), "{a} {b}");
            }
        };
        close(to_vec(&fused), to_vec(&plain));
        let g = random([9, 4]).inner();
        let (a, b) = ((plain * g.clone()).sum().backward(), (fused * g).sum().backward());
        close(to_vec(&x.grad(&b).unwrap()), to_vec(&x.grad(&a).unwrap()));
        close(to_vec(&weight.grad(&b).unwrap()), to_vec(&weight.grad(&a).unwrap()));
        close(to_vec(&bias.grad(&b).unwrap()), to_vec(&bias.grad(&a).unwrap()));
    }
}
