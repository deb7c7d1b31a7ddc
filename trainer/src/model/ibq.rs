//! Index-backpropagation quantiser (eq. 11-15): dot-product logits, argmax, straight-through one-hot.

use std::ops::Range;

use burn::tensor::{
    IndexingUpdateOp, Int, Tensor,
    activation::{log_softmax, softmax},
};

use super::{
    custom::{Raw, Rule, with_gradient},
    walk::{Role, Slot, Walk, join},
};

/// Most logits held at a time by [`Quantizer::quantise`]: 16 MiB of f32, 256 tokens over 16384 codes.
const CHUNK_ELEMENTS: usize = 1 << 22;

/// A codebook `[codes, width]`, trained (codebook stage) or frozen (KeepFIT stage).
#[derive(Clone, Debug)]
pub struct Quantizer {
    /// `[codes, width]`
    pub codebook: Tensor<2>,
}

/// What quantising a map computed; n = batch·height·width tokens, row-major over (batch, height, width).
pub struct Quantized {
    /// Index of the best code, `[n]`.
    pub codes: Tensor<1, Int>,
    /// Quantised tokens with the straight-through gradient, `[n, width]`.
    pub z_q: Tensor<2>,
    /// The chosen codebook rows, gradient to the codebook only, `[n, width]`.
    pub z_hard: Tensor<2>,
}

impl Quantizer {
    /// Quantises tokens z `[n, width]`.
    ///
    /// The reference takes index = onehot − sg(p) + p and z_q = index·C with p = softmax(z·Cᵀ). In value
    /// that is the chosen row; its gradient is g·Cᵀ through p for z (and C inside the logits) and
    /// onehotᵀ·g for C. The same gradients come from `C[code] + (p·sg(C) − sg(p·sg(C)))`.
    ///
    /// Returns the logits `[n, codes]` too; [`Quantizer::encode`] does without holding them.
    pub fn forward(&self, z: Tensor<2>) -> (Tensor<2>, Quantized) {
        let logits = z.matmul(self.codebook.clone().transpose());
        let [tokens, _] = logits.dims();
        let codes: Tensor<1, Int> = logits.clone().detach().argmax(1).reshape([tokens]);
        let z_hard = self.codebook.clone().select(0, codes.clone());
        let soft = softmax(logits.clone(), 1).matmul(self.codebook.clone().detach());
        let z_q = z_hard.clone() + (soft.clone() - soft.detach());
        (logits, Quantized { codes, z_q, z_hard })
    }

    /// [`Quantizer::forward`] with bounded memory.
    pub fn encode(&self, z: Tensor<2>) -> Quantized {
        let (codes, z_q) = self.quantise(z);
        let z_hard = self.codebook.clone().select(0, codes.clone());
        Quantized { codes, z_q, z_hard }
    }

    /// Entropies of the code distribution of z `[n, width]`: mean over tokens of −Σ q log q and
    /// −Σ q̄ log(q̄ + epsilon), `[1]` each, with q = softmax(z·Cᵀ/temperature) and q̄ its mean. Exact
    /// gradients, and never more than `CHUNK_ELEMENTS` logits at a time.
    pub fn entropies(&self, z: Tensor<2>, temperature: f64, epsilon: f64) -> (Tensor<1>, Tensor<1>) {
        self.entropies_in_chunks(z, temperature, epsilon, CHUNK_ELEMENTS)
    }

    /// With H the entropy of a token and w = ∂average/∂q̄ = −log(q̄+ε) − q̄/(q̄+ε), the logits l = z·Cᵀ get
    /// dl = [−gₛ·q∘(log q + H) + gₐ·q∘(w − ⟨q, w⟩)] / (n·temperature); dz = dl·C, dC = dlᵀ·z.
    fn entropies_in_chunks(
        &self,
        z: Tensor<2>,
        temperature: f64,
        epsilon: f64,
        limit: usize,
    ) -> (Tensor<1>, Tensor<1>) {
        let codebook = self.codebook.clone().inner();
        let plain = z.clone().inner();
        let [tokens, _] = plain.dims();
        let mut sample = Tensor::<1>::zeros([1], &plain.device());
        let mut mean = Tensor::<2>::zeros([1, codebook.dims()[0]], &plain.device());
        for rows in chunks(&plain, &codebook, limit) {
            let log_q = log_shares(&plain, rows, &codebook, temperature);
            let q = log_q.clone().exp();
            sample = sample - (q.clone() * log_q).sum();
            mean = mean + q.sum_dim(0);
        }
        let (sample, mean) = (sample / tokens as f64, mean / tokens as f64);
        let average = (mean.clone() * (mean.clone() + epsilon).log()).sum().neg();
        let output = Tensor::cat(vec![sample, average], 0); // [2]
        let rule: Rule<2> = Box::new(move |g, needed| {
            let g = Tensor::<1>::from_dispatch(g);
            let of_sample = g.clone().narrow(0, 0, 1).reshape([1, 1]);
            let of_average = g.narrow(0, 1, 1).reshape([1, 1]);
            let shifted = mean.clone() + epsilon;
            let w = (shifted.clone().log() + mean / shifted).neg(); // [1, codes]
            let of_logits = |rows| {
                let log_q = log_shares(&plain, rows, &codebook, temperature);
                let q = log_q.clone().exp();
                let entropy = (q.clone() * log_q.clone()).sum_dim(1).neg(); // [rows, 1]
                let along = (q.clone() * w.clone()).sum_dim(1);
                ((w.clone() - along) * of_average.clone() - (log_q + entropy) * of_sample.clone()) * q
                    / (tokens as f64 * temperature)
            };
            let of_codebook = needed[1].then(|| codebook.zeros_like());
            through_logits([&plain, &codebook], limit, needed[0], of_codebook, of_logits)
        });
        let inputs = [z.into_dispatch(), self.codebook.clone().into_dispatch()];
        let both = with_gradient(inputs, output, rule);
        (both.clone().narrow(0, 0, 1), both.narrow(0, 1, 1))
    }

    /// Codes `[n]` and quantised tokens `[n, width]` of z `[n, width]`, with the same gradients as
    /// [`Quantizer::forward`] but never more than `CHUNK_ELEMENTS` logits at a time.
    ///
    /// With g the gradient of z_q and p = softmax(z·Cᵀ): a = g·Cᵀ, d = p∘(a − ⟨a, p⟩), dz = d·C and,
    /// unless the codebook is frozen, dC = onehotᵀ·g + dᵀ·z.
    pub fn quantise(&self, z: Tensor<2>) -> (Tensor<1, Int>, Tensor<2>) {
        self.quantise_in_chunks(z, CHUNK_ELEMENTS)
    }

    /// [`Quantizer::quantise`] with at most `limit` logits at a time (at least one token's).
    fn quantise_in_chunks(&self, z: Tensor<2>, limit: usize) -> (Tensor<1, Int>, Tensor<2>) {
        let codebook = self.codebook.clone().inner();
        let plain = z.clone().inner();
        let codes = Tensor::cat(
            chunks(&plain, &codebook, limit)
                .into_iter()
                .map(|rows| {
                    let count = rows.len();
                    logits(&plain, rows, &codebook).argmax(1).reshape([count])
                })
                .collect::<Vec<Tensor<1, Int>>>(),
            0,
        );
        let output = codebook.clone().select(0, codes.clone());
        let chosen = codes.clone();
        let rule: Rule<2> = Box::new(move |g, needed| {
            let g = Tensor::<2>::from_dispatch(g);
            let of_logits = |rows: Range<usize>| {
                let p = softmax(logits(&plain, rows.clone(), &codebook), 1);
                through_softmax(p, logits(&g, rows, &codebook))
            };
            let of_codebook = needed[1].then(|| {
                codebook
                    .zeros_like()
                    .select_assign(0, chosen, g.clone(), IndexingUpdateOp::Add)
            });
            through_logits([&plain, &codebook], limit, needed[0], of_codebook, of_logits)
        });
        let inputs = [z.into_dispatch(), self.codebook.clone().into_dispatch()];
        (codes, with_gradient(inputs, output, rule))
    }
}

impl Quantizer {
    /// Codes `[n]` and the share of each code in each of `images` equal parts of z `[n, width]`, `[images, codes]`.
    ///
    /// The share is the mean of index = onehot − sg(p) + p with p = softmax(z·Cᵀ), so its gradient is that of the
    /// mean of p: with a the gradient of an image's shares over its tokens, d = p∘(a − ⟨a, p⟩), dz = d·C and, unless
    /// the codebook is frozen, dC = dᵀ·z. Never more than `CHUNK_ELEMENTS` logits at a time.
    pub fn histogram(&self, z: Tensor<2>, images: usize) -> (Tensor<1, Int>, Tensor<2>) {
        self.histogram_in_chunks(z, images, CHUNK_ELEMENTS)
    }

    fn histogram_in_chunks(&self, z: Tensor<2>, images: usize, limit: usize) -> (Tensor<1, Int>, Tensor<2>) {
        let codebook = self.codebook.clone().inner();
        let plain = z.clone().inner();
        let ([tokens, _], [count, _]) = (plain.dims(), codebook.dims());
        let (codes, _) = Self {
            codebook: codebook.clone(),
        }
        .quantise_in_chunks(plain.clone(), limit);
        let each = (tokens / images.max(1)).max(1);
        let owner: Vec<i64> = (0..tokens).map(|token| (token / each) as i64).collect();
        let owner = super::walk::ints(owner, [tokens], &plain.device());
        let places = owner.clone() * count as i64 + codes.clone();
        let shares = Tensor::<1>::zeros([images * count], &plain.device())
            .select_assign(
                0,
                places,
                Tensor::full([tokens], 1.0 / each as f64, &plain.device()),
                IndexingUpdateOp::Add,
            )
            .reshape([images, count]);
        let rule: Rule<2> = Box::new(move |g, needed| {
            let g = Tensor::<2>::from_dispatch(g) / each as f64;
            let of_logits = |rows: Range<usize>| {
                let p = softmax(logits(&plain, rows.clone(), &codebook), 1);
                through_softmax(p, g.clone().select(0, owner.clone().slice([rows])))
            };
            let of_codebook = needed[1].then(|| codebook.zeros_like());
            through_logits([&plain, &codebook], limit, needed[0], of_codebook, of_logits)
        });
        let inputs = [z.into_dispatch(), self.codebook.clone().into_dispatch()];
        (codes, with_gradient(inputs, shares, rule))
    }
}

/// Gradients of z, if wanted, and of the codebook C, added to `of_codebook`, through the logits z·Cᵀ whose gradient for
/// some rows, d `[rows, codes]`, `of_logits` gives: dz = d·C, dC = dᵀ·z. Never more than `limit` logits at a time.
fn through_logits(
    [z, codebook]: [&Tensor<2>; 2],
    limit: usize,
    of_z_wanted: bool,
    mut of_codebook: Option<Tensor<2>>,
    of_logits: impl Fn(Range<usize>) -> Tensor<2>,
) -> [Option<Raw>; 2] {
    let mut of_z = Vec::new();
    for rows in chunks(z, codebook, limit) {
        let d = of_logits(rows.clone());
        if let Some(sum) = of_codebook {
            of_codebook = Some(sum + d.clone().transpose().matmul(part(z, rows)));
        }
        of_z.push(d.matmul(codebook.clone()));
    }
    let of_z = of_z_wanted.then(|| Tensor::cat(of_z, 0).into_dispatch());
    [of_z, of_codebook.map(Tensor::into_dispatch)]
}

/// Gradient of the logits of p = softmax, from a, that of p: p∘(a − ⟨a, p⟩).
fn through_softmax(p: Tensor<2>, a: Tensor<2>) -> Tensor<2> {
    let along = (a.clone() * p.clone()).sum_dim(1);
    p * (a - along)
}

/// Rows of z whose logits are at most `limit` (but at least one row), in order.
fn chunks(z: &Tensor<2>, codebook: &Tensor<2>, limit: usize) -> Vec<Range<usize>> {
    let ([tokens, _], [codes, _]) = (z.dims(), codebook.dims());
    let step = (limit / codes.max(1)).max(1);
    (0..tokens)
        .step_by(step)
        .map(|start| start..(start + step).min(tokens))
        .collect()
}

/// z·Cᵀ of some rows of z, `[rows, codes]`.
fn logits(z: &Tensor<2>, rows: Range<usize>, codebook: &Tensor<2>) -> Tensor<2> {
    part(z, rows).matmul(codebook.clone().transpose())
}

/// log softmax(z·Cᵀ/temperature) of some rows of z, `[rows, codes]`.
fn log_shares(z: &Tensor<2>, rows: Range<usize>, codebook: &Tensor<2>, temperature: f64) -> Tensor<2> {
    log_softmax(logits(z, rows, codebook) / temperature, 1)
}

fn part(z: &Tensor<2>, rows: Range<usize>) -> Tensor<2> {
    let [_, width] = z.dims();
    z.clone().slice([rows, 0..width])
}

impl Walk for Quantizer {
    fn walk(&mut self, path: &str, visit: &mut dyn FnMut(&str, Role, Slot)) {
        let role = if self.codebook.is_require_grad() {
            Role::Trained
        } else {
            Role::Frozen
        };
        visit(&join(path, "embedding.weight"), role, Slot::Matrix(&mut self.codebook));
    }
}

/// Map `[batch, width, h, w]` to tokens `[batch·h·w, width]`.
pub fn to_tokens(map: Tensor<4>) -> Tensor<2> {
    let [batch, width, h, w] = map.dims();
    map.permute([0, 2, 3, 1]).reshape([batch * h * w, width])
}

/// Tokens `[batch·h·w, width]` back to a map of `shape` = `[batch, width, h, w]`.
pub fn to_map(tokens: Tensor<2>, shape: [usize; 4]) -> Tensor<4> {
    let [batch, width, h, w] = shape;
    tokens.reshape([batch, h, w, width]).permute([0, 3, 1, 2])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::walk::to_vec;
    use burn::tensor::{Device, Distribution};

    /// The chunked rule against burn's gradients of the whole expression, over several chunks.
    #[test]
    fn chunked_gradients_equal_the_plain_expression() {
        let device = Device::flex().autodiff();
        device.seed(3);
        let (codes, limit) = (7, 15); // two tokens a chunk
        let z = Tensor::<2>::random([5, 4], Distribution::Normal(0.0, 1.0), &device).require_grad();
        let codebook = Tensor::<2>::random([codes, 4], Distribution::Normal(0.0, 1.0), &device).require_grad();
        let g = Tensor::<2>::random([5, 4], Distribution::Normal(0.0, 1.0), &Device::flex());
        let quantizer = Quantizer {
            codebook: codebook.clone(),
        };
        assert_eq!(chunks(&z, &codebook, limit).len(), 3);
        let (_, plain) = quantizer.forward(z.clone());
        let (chosen, z_q) = quantizer.quantise_in_chunks(z.clone(), limit);
        assert_eq!(chosen.to_data(), plain.codes.to_data());
        assert_eq!(to_vec(&z_q), to_vec(&plain.z_hard));
        let (a, b) = ((plain.z_q * g.clone()).sum().backward(), (z_q * g).sum().backward());
        for tensor in [&z, &codebook] {
            let (a, b) = (to_vec(&tensor.grad(&a).unwrap()), to_vec(&tensor.grad(&b).unwrap()));
            let scale = a.iter().fold(0f32, |m, x| m.max(x.abs()));
            assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= 1e-5 * scale));
        }
    }

    /// Entropies in chunks against burn's gradients of the whole expression.
    #[test]
    fn chunked_entropies_equal_the_plain_expression() {
        let device = Device::flex().autodiff();
        device.seed(5);
        let z = Tensor::<2>::random([6, 4], Distribution::Normal(0.0, 0.5), &device).require_grad();
        let codebook = Tensor::<2>::random([9, 4], Distribution::Normal(0.0, 0.5), &device).require_grad();
        let quantizer = Quantizer {
            codebook: codebook.clone(),
        };
        let (temperature, epsilon) = (0.3, 1e-5);
        let (logits, _) = quantizer.forward(z.clone());
        let whole = crate::loss::ibq::entropy(logits, temperature, epsilon);
        let (sample, average) = quantizer.entropies_in_chunks(z.clone(), temperature, epsilon, 20);
        for (a, b) in [(&whole.sample, &sample), (&whole.average, &average)] {
            assert!((to_vec(a)[0] - to_vec(b)[0]).abs() < 1e-5);
        }
        let expected = (whole.sample * 0.7 - whole.average * 1.9).backward();
        let found = (sample * 0.7 - average * 1.9).backward();
        for tensor in [&z, &codebook] {
            let (a, b) = (
                to_vec(&tensor.grad(&expected).unwrap()),
                to_vec(&tensor.grad(&found).unwrap()),
            );
            let scale = a.iter().fold(0f32, |m, x| m.max(x.abs()));
            assert!(scale > 0.0 && a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= 2e-5 * scale));
        }
    }

    /// At the published size the logits of 512 tokens would take 32 MiB a copy; a chunk holds 16 MiB.
    #[test]
    fn a_large_codebook_is_worked_through_in_chunks() {
        let device = Device::flex();
        let z = Tensor::<2>::zeros([512, 2], &device);
        let codebook = Tensor::<2>::zeros([16_384, 2], &device);
        let rows: Vec<usize> = chunks(&z, &codebook, CHUNK_ELEMENTS).iter().map(Range::len).collect();
        assert_eq!(rows, [256, 256]);
    }

    /// Values and both gradients of the shares against the explicit index = onehot − sg(p) + p.
    #[test]
    fn shares_equal_the_mean_of_the_explicit_index() {
        let device = Device::flex().autodiff();
        let random = |shape| Tensor::<2>::random(shape, Distribution::Normal(0.0, 0.6), &device).require_grad();
        let (z, codebook) = (random([12, 5]), random([7, 5]));
        let quantizer = Quantizer {
            codebook: codebook.clone(),
        };
        let p = softmax(z.clone().matmul(codebook.clone().transpose()), 1);
        let codes: Tensor<1, Int> = p.clone().detach().argmax(1).reshape([12]);
        let onehot: Tensor<2> = codes.clone().one_hot::<2>(7).float();
        let index = p.clone() + (onehot - p.inner().autodiff().detach());
        let explicit = index.reshape([3, 4, 7]).mean_dim(1).reshape([3, 7]);
        let g = random([3, 7]).inner();
        let expected = (explicit.clone() * g.clone()).sum().backward();
        for limit in [1, 20, 1000] {
            let (found, shares) = quantizer.histogram_in_chunks(z.clone(), 3, limit);
            assert_eq!(found.into_data(), codes.clone().into_data());
            let near = |a: Tensor<2>, b: Tensor<2>| {
                for (a, b) in to_vec(&a).iter().zip(to_vec(&b)) {
                    assert!((a - b).abs() < 1e-5 * (1.0 + b.abs()), "{a} {b}");
                }
            };
            near(shares.clone(), explicit.clone());
            let gradients = (shares * g.clone()).sum().backward();
            near(z.grad(&gradients).unwrap(), z.grad(&expected).unwrap());
            near(codebook.grad(&gradients).unwrap(), codebook.grad(&expected).unwrap());
        }
    }
}
