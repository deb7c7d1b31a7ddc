//! Gradients of one joint step over chunks of the batch, exact for the contrastive loss.
//!
//! A contrastive loss compares all rows, so summing the losses of chunks would be another loss. Instead the
//! towers run twice: first without a graph, to get every row's embeddings; the loss and its gradients with
//! respect to these come from the whole batch; then each chunk runs again with a graph and passes its rows'
//! gradients on to the weights. Dropout draws the same masks in both passes. Batch normalisation sees
//! chunks; the running statistics move once, by the moments of the whole half.
//!
//! Several devices share the chunks. The loss is computed on the first, and everything is added there in the order
//! of the chunks, so the number of devices changes no bit of a step on the CPU.

use burn::tensor::{Device, Gradients, Tensor};

use super::batches::{HostBatch, HostHalf};
use crate::model::dropout::Dropout;
use crate::model::keepfit::{Half, KeepFitModel, StepOutput, Tokens};
use crate::model::layers::BatchMoments;
use crate::model::towers::Encoded;
use crate::optim::NamedGradients;
use crate::stage::team::Team;

/// What a step in chunks computed.
pub struct Accumulated {
    /// Loss terms and gauges of the whole batch; its graph is spent.
    pub output: StepOutput,
    /// Gradients of all trained tensors.
    pub gradients: NamedGradients,
    /// Moments of the two halves, as [`KeepFitModel::update_statistics`] takes them.
    pub moments: Vec<Vec<BatchMoments>>,
}

/// How a step is cut and drawn.
#[derive(Clone, Copy, Debug)]
pub struct Chunked<'a> {
    /// Rows of a chunk.
    pub rows: usize,
    /// Side of the images.
    pub side: usize,
    /// Plain devices that share the chunks, at least one; the model lives on the first.
    pub devices: &'a [Device],
    /// Seed and step of the dropout masks; None is without dropout.
    pub dropout: Option<(u64, u64)>,
}

impl Chunked<'_> {
    /// Masks of a numbered part of the step.
    fn masks(&self, part: u64) -> Dropout {
        match self.dropout {
            Some((seed, step)) => Dropout::for_part(seed, step, part),
            None => Dropout::off(),
        }
    }
}

/// Part numbers of the masks: what joins the halves, then the chunks of each half.
const JOIN: u64 = 0;
const PUBLIC: u64 = 1;
const PAIRS: u64 = 1 << 7;

/// A chunk of one half.
struct Chunk {
    input: HostHalf,
    /// Whether it belongs to the MM-Retinal half.
    of_pairs: bool,
    /// Number of its dropout masks.
    part: u64,
    /// Its first row in the half.
    first: usize,
}

/// The chunks of a batch, the public half's first.
fn chunks(batch: &HostBatch, rows: usize) -> Vec<Chunk> {
    let halves = [
        (Some(&batch.public), false, PUBLIC),
        (batch.pairs.as_ref(), true, PAIRS),
    ];
    let mut chunks = Vec::new();
    for (half, of_pairs, part) in halves {
        let mut first = 0;
        for (number, input) in half.into_iter().flat_map(|half| half.chunks(rows)).enumerate() {
            let next = first + input.rows;
            chunks.push(Chunk {
                input,
                of_pairs,
                part: part + number as u64,
                first,
            });
            first = next;
        }
    }
    chunks
}

/// One step of `batch` in chunks; `model` is on an autodiff device.
pub fn step(model: &mut KeepFitModel, batch: &HostBatch, cut: Chunked) -> Accumulated {
    let with_tokens = batch.pairs.is_some();
    let chunks = chunks(batch, cut.rows);
    let mut team = Team::new(model, cut.devices);

    let first = &cut.devices[0];
    let (mut public, mut pairs): (Vec<Half>, Vec<Half>) = (Vec::new(), Vec::new());
    let mut of_pairs = chunks.iter().map(|chunk| chunk.of_pairs);
    team.plain().share(
        &chunks,
        |plain, device, chunk| {
            let input = chunk.input.clone().to_device(cut.side, device);
            let half = plain.encode_half(input, with_tokens, &mut cut.masks(chunk.part), &mut Vec::new());
            half_on(half, first)
        },
        |half| match of_pairs.next() {
            Some(true) => pairs.push(half),
            _ => public.push(half),
        },
    );

    let (public, public_leaves) = leaves(joined(&public));
    let (pairs, pair_leaves) = match pairs.is_empty() {
        true => (None, None),
        false => {
            let (half, leaves) = leaves(joined(&pairs));
            (Some(half), Some(leaves))
        }
    };
    let output = model.join(public, &batch.categories, pairs, &mut cut.masks(JOIN));
    let mut found = output.total.clone().backward();
    let wanted = public_leaves.gradients(&mut found);
    let wanted_pairs = pair_leaves.map(|leaves| leaves.gradients(&mut found));
    let mut gradients = NamedGradients::collect(model, found);

    let mut moments: Vec<Vec<BatchMoments>> = Vec::new();
    team.share(
        &chunks,
        |model, device, chunk| {
            let wanted = if chunk.of_pairs {
                wanted_pairs.as_ref()
            } else {
                Some(&wanted)
            };
            let (found, moments) = again(model, device, chunk, wanted, cut);
            let moments = moments.into_iter().map(|moments| moments.to_device(first)).collect();
            (chunk.of_pairs, found.map(|found| found.to_device(first)), moments)
        },
        |(of_pairs, found, of_chunk): (bool, Option<NamedGradients>, Vec<BatchMoments>)| {
            if let Some(found) = found {
                gradients.accumulate(found);
            }
            let half = usize::from(of_pairs);
            moments.resize_with(moments.len().max(half + 1), Vec::new);
            let so_far = std::mem::take(&mut moments[half]);
            moments[half] = join_moments(so_far, of_chunk);
        },
    );
    Accumulated {
        output,
        gradients,
        moments,
    }
}

/// A half's embeddings on `device`.
fn half_on(half: Half, device: &Device) -> Half {
    let on = |encoded: Encoded| Encoded {
        features: encoded.features.to_device(device),
        projected: encoded.projected.to_device(device),
    };
    Half {
        images: on(half.images),
        texts: on(half.texts),
        tokens: half.tokens.map(|tokens| Tokens {
            mean: tokens.mean.to_device(device),
            codes: tokens.codes.to_device(device),
        }),
    }
}

/// The rows of chunks one after the other, as one half.
fn joined(chunks: &[Half]) -> Half {
    let rows = |pick: &dyn Fn(&Half) -> Tensor<2>| Tensor::cat(chunks.iter().map(pick).collect(), 0);
    let tokens: Option<Vec<Tokens>> = chunks.iter().map(|half| half.tokens.clone()).collect();
    Half {
        images: Encoded {
            features: rows(&|half| half.images.features.clone()),
            projected: rows(&|half| half.images.projected.clone()),
        },
        texts: Encoded {
            features: rows(&|half| half.texts.features.clone()),
            projected: rows(&|half| half.texts.projected.clone()),
        },
        tokens: tokens.filter(|parts| !parts.is_empty()).map(|parts| Tokens {
            mean: Tensor::cat(parts.iter().map(|tokens| tokens.mean.clone()).collect(), 0),
            codes: Tensor::cat(parts.into_iter().map(|tokens| tokens.codes).collect(), 0),
        }),
    }
}

/// The tensors of a half that the joined loss depends on.
struct Leaves {
    images: Tensor<2>,
    texts: Tensor<2>,
    tokens: Option<Tensor<2>>,
}

/// Gradients of the joined loss with respect to a half's embeddings, all rows.
struct Wanted {
    images: Option<Tensor<2>>,
    texts: Option<Tensor<2>>,
    tokens: Option<Tensor<2>>,
}

/// The half with its embeddings as leaves of a new graph.
fn leaves(mut half: Half) -> (Half, Leaves) {
    let leaf = |tensor: &mut Tensor<2>| {
        *tensor = tensor.clone().autodiff().require_grad();
        tensor.clone()
    };
    let leaves = Leaves {
        images: leaf(&mut half.images.projected),
        texts: leaf(&mut half.texts.projected),
        tokens: half.tokens.as_mut().map(|tokens| leaf(&mut tokens.mean)),
    };
    (half, leaves)
}

impl Leaves {
    fn gradients(&self, found: &mut Gradients) -> Wanted {
        Wanted {
            images: self.images.grad_remove(found),
            texts: self.texts.grad_remove(found),
            tokens: self.tokens.as_ref().and_then(|tokens| tokens.grad_remove(found)),
        }
    }
}

/// Second pass: one chunk with a graph; its gradients, unless nothing of it is trained, and its moments.
fn again(
    model: &mut KeepFitModel,
    device: &Device,
    chunk: &Chunk,
    wanted: Option<&Wanted>,
    cut: Chunked,
) -> (Option<NamedGradients>, Vec<BatchMoments>) {
    let Some(wanted) = wanted else {
        return (None, Vec::new());
    };
    let rows = chunk.first..chunk.first + chunk.input.rows;
    let mut moments = Vec::new();
    let input = chunk.input.clone().to_device(cut.side, device);
    let encoded = model.encode_half(input, wanted.tokens.is_some(), &mut cut.masks(chunk.part), &mut moments);
    let passed = [
        (Some(encoded.images.projected), &wanted.images),
        (Some(encoded.texts.projected), &wanted.texts),
        (encoded.tokens.map(|tokens| tokens.mean), &wanted.tokens),
    ];
    // ⟨embedding, its gradient⟩ has the gradients of the whole loss with respect to the weights.
    let terms = passed.into_iter().filter_map(|(value, gradient)| {
        let (value, gradient) = (value?, gradient.clone()?);
        let [_, width] = value.dims();
        let own = gradient.slice([rows.clone(), 0..width]).to_device(device);
        value.is_autodiff().then(|| (value * own).sum())
    });
    let sum = terms.reduce(|a, b| a + b);
    let found = sum.map(|sum| NamedGradients::collect(model, sum.backward()));
    (found, moments)
}

/// Moments of two sets of elements together, layer by layer.
fn join_moments(a: Vec<BatchMoments>, b: Vec<BatchMoments>) -> Vec<BatchMoments> {
    if a.is_empty() {
        return b;
    }
    a.into_iter()
        .zip(b)
        .map(|(a, b)| {
            let count = a.count + b.count;
            let (of_a, of_b) = (a.count as f64 / count as f64, b.count as f64 / count as f64);
            let apart = a.mean.clone() - b.mean.clone();
            BatchMoments {
                mean: a.mean * of_a + b.mean * of_b,
                variance: a.variance * of_a + b.variance * of_b + apart.square() * (of_a * of_b),
                count,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::keepfit::KeepFitConfig;
    use crate::model::walk::{from_vec, to_vec};

    fn model() -> KeepFitModel {
        let config: KeepFitConfig = serde_json::from_value(serde_json::json!({
            "vision": { "layers": [1, 1, 1, 1], "base_width": 2 },
            "text": {
                "vocab_size": 40, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2,
                "intermediate_size": 16, "max_position_embeddings": 16,
            },
            "proj_dim": 8,
            "appearance": { "codes": 12, "code_dim": 4 },
        }))
        .unwrap();
        KeepFitModel::init(&config, 3, &Device::flex().autodiff()).unwrap()
    }

    fn half(rows: usize, seed: usize) -> HostHalf {
        let (side, tokens) = (32, 6);
        HostHalf {
            images: (0..rows * 3 * side * side)
                .map(|i| ((i * 37 + seed * 11 + i / 97) % 101) as f32 / 101.0)
                .collect(),
            ids: (0..rows * tokens).map(|i| (5 + (i * 7 + seed) % 30) as i64).collect(),
            mask: (0..rows * tokens)
                .map(|i| i64::from(i % tokens < 4 + (i / tokens) % 3))
                .collect(),
            rows,
        }
    }

    fn batch() -> HostBatch {
        HostBatch {
            public: half(6, 1),
            categories: vec![0, 1, 0, 2, 2, 1],
            pairs: Some(half(6, 2)),
        }
    }

    fn cut(rows: usize, devices: &[Device]) -> Chunked<'_> {
        Chunked {
            rows,
            side: 32,
            devices,
            dropout: None,
        }
    }

    /// Largest difference over all gradients, in units of the largest gradient of its tensor.
    fn apart(a: &NamedGradients, b: &NamedGradients) -> (usize, f32) {
        let names: Vec<&str> = a.names().collect();
        assert_eq!(names, b.names().collect::<Vec<_>>());
        let largest = a.norm() as f32;
        let mut worst = 0f32;
        for name in &names {
            let (a, b) = (a.values(name).unwrap(), b.values(name).unwrap());
            let difference = a.iter().zip(&b).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
            worst = worst.max(difference / largest);
        }
        (names.len(), worst)
    }

    /// Without batch statistics, chunks must give what one pass over the whole batch gives.
    #[test]
    fn chunks_equal_one_big_batch() {
        let device = Device::flex();
        let mut whole = model();
        whole.freeze(&["vision_model.model."]);
        let mut parts = whole.clone();
        let batch = batch();
        let output = whole.forward_step(batch.clone().to_device(32, &device), &mut Dropout::off());
        let total = to_vec(&output.total)[0];
        let expected = NamedGradients::collect(&mut whole, output.total.backward());
        for rows in [1, 2, 4, 6] {
            let found = step(&mut parts, &batch, cut(rows, std::slice::from_ref(&device)));
            assert!((to_vec(&found.output.total)[0] - total).abs() < 1e-5 * total.abs());
            let (count, worst) = apart(&expected, &found.gradients);
            assert!(
                count > 30 && worst < 2e-5,
                "{rows} rows a chunk: {count} tensors, {worst}"
            );
        }
    }

    /// A step shared by several devices is the step of one device, bit for bit: chunks are the same and everything
    /// is added in their order. With dropout and batch statistics.
    #[test]
    fn devices_share_a_step_without_changing_a_bit() {
        let device = Device::flex();
        let batch = batch();
        let run = |count: usize, rows: usize, checkpointing: bool| {
            let mut model = model();
            model.set_checkpointing(checkpointing);
            let devices = vec![device.clone(); count];
            let cut = Chunked {
                dropout: Some((5, 7)),
                ..cut(rows, &devices)
            };
            let found = step(&mut model, &batch, cut);
            let means: Vec<Vec<f32>> = found.moments.iter().flatten().map(|m| to_vec(&m.mean)).collect();
            (found.gradients, means, to_vec(&found.output.total))
        };
        for (rows, counts) in [(3, vec![2, 3]), (2, vec![2, 3, 4]), (1, vec![2])] {
            let one = run(1, rows, false);
            for count in counts {
                for checkpointing in [false, true] {
                    let several = run(count, rows, checkpointing);
                    assert_eq!(one.2, several.2);
                    assert_eq!(one.1, several.1);
                    assert_eq!(apart(&one.0, &several.0).1, 0.0, "{count} devices, {rows} rows a chunk");
                }
            }
        }
    }

    /// Two devices with half of the batch each give what one device gives that has the joined batch, to the
    /// rounding of f32: the sums over rows are taken in another order.
    #[test]
    fn two_devices_equal_one_with_the_joined_batch() {
        let device = Device::flex();
        let mut whole = model();
        whole.freeze(&["vision_model.model."]);
        let mut shared = whole.clone();
        let batch = batch();
        let output = whole.forward_step(batch.clone().to_device(32, &device), &mut Dropout::off());
        let total = to_vec(&output.total)[0];
        let expected = NamedGradients::collect(&mut whole, output.total.backward());
        let devices = [device.clone(), device];
        let found = step(&mut shared, &batch, cut(3, &devices));
        assert!((to_vec(&found.output.total)[0] - total).abs() < 1e-5 * total.abs());
        let (count, worst) = apart(&expected, &found.gradients);
        assert!(count > 30 && worst < 2e-5, "{count} tensors, {worst}");
    }

    /// With batch statistics, chunks must give what one graph over the same chunks gives.
    #[test]
    fn chunks_equal_one_graph_over_the_same_chunks() {
        let device = Device::flex();
        let (mut whole, mut parts) = (model(), model());
        let batch = batch();
        let found = step(&mut parts, &batch, cut(3, std::slice::from_ref(&device)));
        let encode = |half: &HostHalf| {
            let mut moments = Vec::new();
            let halves: Vec<Half> = half
                .chunks(3)
                .into_iter()
                .map(|chunk| {
                    let input = chunk.to_device(32, &device);
                    whole.encode_half(input, true, &mut Dropout::off(), &mut moments)
                })
                .collect();
            let cat = |pick: &dyn Fn(&Half) -> Tensor<2>| Tensor::cat(halves.iter().map(pick).collect(), 0);
            Half {
                images: Encoded {
                    features: cat(&|half| half.images.features.clone()),
                    projected: cat(&|half| half.images.projected.clone()),
                },
                texts: Encoded {
                    features: cat(&|half| half.texts.features.clone()),
                    projected: cat(&|half| half.texts.projected.clone()),
                },
                tokens: Some(Tokens {
                    mean: cat(&|half| half.tokens.as_ref().unwrap().mean.clone()),
                    codes: Tensor::cat(
                        halves
                            .iter()
                            .map(|half| half.tokens.as_ref().unwrap().codes.clone())
                            .collect(),
                        0,
                    ),
                }),
            }
        };
        let (public, pairs) = (encode(&batch.public), encode(batch.pairs.as_ref().unwrap()));
        let output = whole.join(public, &batch.categories, Some(pairs), &mut Dropout::off());
        let expected = NamedGradients::collect(&mut whole, output.total.backward());
        let (count, worst) = apart(&expected, &found.gradients);
        assert!(count > 60 && worst < 2e-5, "{count} tensors, {worst}");
        // One update a half, with the moments of all its elements.
        assert_eq!(found.moments.len(), 2);
        let stem = 6 * 16 * 16;
        assert_eq!(found.moments[0][0].count, stem);
    }

    #[test]
    fn joined_moments_are_those_of_all_elements() {
        let device = Device::flex();
        let moments = |values: &[f32]| {
            let count = values.len();
            let mean = values.iter().sum::<f32>() / count as f32;
            let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / count as f32;
            BatchMoments {
                mean: from_vec(vec![mean], [1], &device),
                variance: from_vec(vec![variance], [1], &device),
                count,
            }
        };
        let all = [1.0, 4.0, -2.0, 7.5, 0.25];
        let joined = join_moments(vec![moments(&all[..2])], vec![moments(&all[2..])]);
        let expected = moments(&all);
        assert!((to_vec(&joined[0].mean)[0] - to_vec(&expected.mean)[0]).abs() < 1e-6);
        assert!((to_vec(&joined[0].variance)[0] - to_vec(&expected.variance)[0]).abs() < 1e-5);
        assert_eq!(joined[0].count, 5);
    }
}
