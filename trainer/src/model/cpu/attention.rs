//! Self-attention over sequences laid one after the other, without computing on padding.

use std::ops::Range;

use burn::tensor::Tensor;
use rayon::prelude::*;

use super::{
    super::{
        custom::{Rule, with_gradient},
        dropout::Dropout,
    },
    Values, double_sum_of, exp, owned, sum_of, tensor, wide,
};

/// One sequence: which rows ask and which rows answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Rows whose context is computed.
    pub queries: Range<usize>,
    /// Rows attended to; at least one.
    pub keys: Range<usize>,
}

/// What a segment's backward pass needs.
struct Kept {
    /// Softmax of the scores `[heads, queries, keys]`.
    weights: Tensor<3>,
    /// Dropout mask of the same shape.
    mask: Option<Tensor<3>>,
}

impl Kept {
    fn dropped(&self) -> Tensor<3> {
        match &self.mask {
            Some(mask) => self.weights.clone() * mask.clone(),
            None => self.weights.clone(),
        }
    }
}

/// softmax(q·kᵀ/√width)·v per segment and head; q, k, v and the result `[rows, hidden]`.
/// Head h owns the columns [h·hidden/heads, (h+1)·hidden/heads). Rows outside every segment give 0.
pub fn attention(
    [q, k, v]: [Tensor<2>; 3],
    segments: Vec<Segment>,
    heads: usize,
    rate: f64,
    dropout: &mut Dropout,
) -> Tensor<2> {
    let [rows, hidden] = q.dims();
    let scale = 1.0 / ((hidden / heads) as f32).sqrt();
    let inner = [&q, &k, &v].map(|t| t.clone().inner());
    // Masks come from one generator, so they are drawn in order before the parallel part.
    let masks: Vec<_> = segments
        .iter()
        .map(|s| dropout.mask([heads, s.queries.len(), s.keys.len()], rate))
        .collect();
    let [inner_q, inner_k, inner_v] = &inner;
    let computed: Vec<(Kept, Tensor<3>)> = segments
        .par_iter()
        .zip(masks)
        .map(|(segment, mask)| {
            let queries = split(inner_q, &segment.queries, heads); // [heads, queries, width]
            let keys = split(inner_k, &segment.keys, heads);
            let scores = queries.matmul(keys.swap_dims(1, 2));
            let kept = Kept {
                weights: softmax(scores, scale),
                mask,
            };
            let read = kept.dropped().matmul(split(inner_v, &segment.keys, heads));
            (kept, read)
        })
        .collect();
    let mut output = vec![0f32; rows * hidden];
    let mut kept = Vec::with_capacity(segments.len());
    for (segment, (keep, read)) in segments.iter().zip(computed) {
        add_rows(&mut output, &read, &segment.queries, hidden);
        kept.push(keep);
    }
    let rule: Rule<3> = Box::new(move |g, _| {
        let g = Tensor::<2>::from_dispatch(g);
        let [q, k, v] = &inner;
        let parts: Vec<[Tensor<3>; 3]> = segments
            .par_iter()
            .zip(&kept)
            .map(|(segment, kept)| {
                let g = split(&g, &segment.queries, heads);
                let of_v = kept.dropped().swap_dims(1, 2).matmul(g.clone());
                let of_weights = g.matmul(split(v, &segment.keys, heads).swap_dims(1, 2));
                let of_weights = match &kept.mask {
                    Some(mask) => of_weights * mask.clone(),
                    None => of_weights,
                };
                let of_scores = softmax_backward(of_weights, &kept.weights, scale);
                let of_q = of_scores.clone().matmul(split(k, &segment.keys, heads));
                let of_k = of_scores.swap_dims(1, 2).matmul(split(q, &segment.queries, heads));
                [of_q, of_k, of_v]
            })
            .collect();
        let mut sums = [(); 3].map(|()| vec![0f32; rows * hidden]);
        for (segment, parts) in segments.iter().zip(parts) {
            let ranges = [&segment.queries, &segment.keys, &segment.keys];
            for ((sum, part), range) in sums.iter_mut().zip(parts).zip(ranges) {
                add_rows(sum, &part, range, hidden);
            }
        }
        sums.map(|sum| Some(tensor(sum, [rows, hidden]).into_dispatch()))
    });
    with_gradient(
        [q, k, v].map(Tensor::into_dispatch),
        tensor(output, [rows, hidden]),
        rule,
    )
}

/// Rows of `x` `[rows, hidden]` as `[heads, range, hidden/heads]`, a view.
fn split(x: &Tensor<2>, range: &Range<usize>, heads: usize) -> Tensor<3> {
    let [_, hidden] = x.dims();
    x.clone()
        .slice([range.clone(), 0..hidden])
        .reshape([range.len(), heads, hidden / heads])
        .swap_dims(0, 1)
}

/// Adds `part` `[heads, range, width]` to the rows `range` of `output` `[rows, hidden]`.
fn add_rows(output: &mut [f32], part: &Tensor<3>, range: &Range<usize>, hidden: usize) {
    let [_, length, width] = part.dims();
    let values = Values::of(part);
    for (index, row) in values.get().chunks_exact(width).enumerate() {
        let (head, at) = (index / length, index % length);
        let start = (range.start + at) * hidden + head * width;
        for (out, x) in output[start..start + width].iter_mut().zip(row) {
            *out += x;
        }
    }
}

/// Softmax of scale·scores over the last dimension.
fn softmax(scores: Tensor<3>, scale: f32) -> Tensor<3> {
    let shape @ [_, _, keys] = scores.dims();
    let mut values = owned(scores);
    wide(
        #[inline(always)]
        || {
            for row in values.chunks_exact_mut(keys) {
                let top = row.iter().fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a });
                for x in row.iter_mut() {
                    *x = exp((*x - top) * scale);
                }
                let inverse = 1.0 / sum_of(keys, |i| row[i]);
                for x in row.iter_mut() {
                    *x *= inverse;
                }
            }
        },
    );
    tensor(values, shape)
}

/// scale·w∘(g − ⟨g, w⟩) over the last dimension, in double precision: the gradient of the scores.
fn softmax_backward(g: Tensor<3>, weights: &Tensor<3>, scale: f32) -> Tensor<3> {
    let shape @ [_, _, keys] = g.dims();
    let weights = Values::of(weights);
    let mut values = owned(g);
    wide(
        #[inline(always)]
        || {
            for (g, w) in values.chunks_exact_mut(keys).zip(weights.get().chunks_exact(keys)) {
                // The sum over the keys must vanish: a remainder is multiplied by what all keys have in common.
                let total = double_sum_of(keys, |i| f64::from(w[i]));
                let along = double_sum_of(keys, |i| f64::from(g[i]) * f64::from(w[i])) / total;
                for (g, w) in g.iter_mut().zip(w) {
                    *g = (f64::from(scale) * f64::from(*w) * (f64::from(*g) - along)) as f32;
                }
            }
        },
    );
    tensor(values, shape)
}
