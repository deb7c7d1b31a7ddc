//! Gradient checkpointing: a part of the model keeps its input alone and computes what is inside once more when
//! its gradients are wanted.
//!
//! burn's own strategy (`Device::gradient_checkpointing`) recomputes single operations that it marks as bound
//! by memory. The hand-written layers are none of these, so it would save next to nothing here; this works on
//! whole layers and on every device.

use burn::tensor::Tensor;

use super::custom::{Raw, Rule, with_gradient};
use super::walk::{Role, Walk};

/// Most tensors a part may have, its input counted: a BERT layer has 17, a bottleneck block 13.
const INPUTS: usize = 20;

/// `forward` of `module` at `x`, with the gradients that it would have; only `x` is kept for them.
///
/// `again` must compute what `forward` computed (the same dropout masks), and nothing else.
pub fn checkpointed<M, const D: usize>(
    module: &M,
    x: Tensor<D>,
    forward: impl FnOnce(&M, Tensor<D>) -> Tensor<D>,
    again: impl FnOnce(&M, Tensor<D>) -> Tensor<D> + Send + 'static,
) -> Tensor<D>
where
    M: Walk + Clone + Send + 'static,
{
    let mut weights: Vec<Raw> = Vec::new();
    module.clone().each(|_, role, slot| {
        if role == Role::Trained {
            weights.extend(slot.raw());
        }
    });
    assert!(
        weights.len() < INPUTS,
        "a part with {} tensors is too large to be checkpointed as one",
        weights.len()
    );
    let plain = module.plain();
    let input = x.clone().inner();
    let output = forward(&plain, input.clone());
    // Places beyond the last weight hold a tensor that wants no gradient.
    let filler = input.clone().into_dispatch();
    let mut weights = weights.into_iter();
    let mut x = Some(x.into_dispatch());
    let inputs: [Raw; INPUTS] =
        std::array::from_fn(|_| x.take().or_else(|| weights.next()).unwrap_or_else(|| filler.clone()));
    let rule: Rule<INPUTS> = Box::new(move |g, needed| backward(plain, input, again, Tensor::from_dispatch(g), needed));
    with_gradient(inputs, output, rule)
}

/// Gradients of the input and of the weights in the order of the walk.
fn backward<M: Walk, const D: usize>(
    mut module: M,
    input: Tensor<D>,
    again: impl FnOnce(&M, Tensor<D>) -> Tensor<D>,
    g: Tensor<D>,
    needed: [bool; INPUTS],
) -> [Option<Raw>; INPUTS] {
    let mut place = 0;
    module.each(|_, role, mut slot| {
        if role == Role::Trained {
            place += 1;
            if needed[place] {
                slot.to_leaf();
            }
        }
    });
    let x = if needed[0] {
        input.autodiff().require_grad()
    } else {
        input
    };
    let y = again(&module, x.clone());
    // ⟨y, g⟩ has g as its gradient with respect to y.
    let mut found = (y * g).sum().backward();
    let mut gradients: [Option<Raw>; INPUTS] = std::array::from_fn(|_| None);
    if needed[0] {
        gradients[0] = x.grad_remove(&mut found).map(Tensor::into_dispatch);
    }
    let mut place = 0;
    module.each(|_, role, slot| {
        if role == Role::Trained {
            place += 1;
            gradients[place] = slot.take_raw_gradient(&mut found);
        }
    });
    gradients
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::bert::{Bert, TextConfig};
    use crate::model::dropout::Dropout;
    use crate::model::layers::{BatchStats, Init};
    use crate::model::resnet::{BatchNormConfig, ResNet, VisionConfig};
    use crate::model::walk::{from_vec, ints, to_vec};
    use crate::optim::NamedGradients;
    use burn::tensor::Device;

    fn same(a: &NamedGradients, b: &NamedGradients, least: usize) {
        let names: Vec<&str> = a.names().collect();
        assert_eq!(names, b.names().collect::<Vec<_>>());
        assert!(names.len() >= least, "{} gradients", names.len());
        for name in names {
            assert!(a.values(name).unwrap() == b.values(name).unwrap(), "{name} differs");
        }
    }

    /// Every gradient and every moment of a training pass, bit for bit.
    #[test]
    fn image_encoder_has_the_same_gradients_and_statistics() {
        let run = |on: bool| {
            let device = Device::flex().autodiff();
            let config = VisionConfig {
                layers: [1, 2, 1, 1],
                base_width: 4,
            };
            let mut model = ResNet::init(&config, &BatchNormConfig::default(), &mut Init::new(3, &device));
            model.set_checkpointing(on);
            let images = (0..3 * 3 * 40 * 36).map(|i| (i * 37 % 101) as f32 / 101.0).collect();
            let images = from_vec(images, [3, 3, 40, 36], &Device::flex());
            let mut moments = Vec::new();
            let output = model.forward(images, &mut BatchStats::Batch(&mut moments));
            let weights = (0..to_vec(&output.map).len()).map(|i| (i % 7) as f32 - 3.0).collect();
            let weights = from_vec(weights, output.map.dims(), &Device::flex());
            let gradients = NamedGradients::collect(&mut model, (output.map * weights).sum().backward());
            let means: Vec<Vec<f32>> = moments.iter().map(|m| to_vec(&m.mean)).collect();
            (gradients, means)
        };
        let (plain, checkpointed) = (run(false), run(true));
        assert_eq!(plain.1, checkpointed.1);
        same(&plain.0, &checkpointed.0, 50);
    }

    /// With dropout, so that the second pass must draw the same masks, and with frozen weights.
    #[test]
    fn text_encoder_has_the_same_gradients() {
        let run = |on: bool| {
            let device = Device::flex().autodiff();
            let config = TextConfig {
                vocab_size: 30,
                hidden_size: 16,
                num_hidden_layers: 3,
                num_attention_heads: 2,
                intermediate_size: 24,
                max_position_embeddings: 12,
                ..TextConfig::bert_base()
            };
            let mut model = Bert::init(&config, false, &mut Init::new(4, &device));
            model.each(|key, _, mut slot| {
                if key.starts_with("encoder.layer.1.output.") {
                    slot.to_plain();
                }
            });
            model.set_checkpointing(on);
            let ids = (0..2 * 7).map(|i| 5 + i * 11 % 25).collect();
            let mask = vec![1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0];
            let (ids, mask) = (ints(ids, [2, 7], &Device::flex()), ints(mask, [2, 7], &Device::flex()));
            let states = model.forward(ids, mask, &mut Dropout::for_step(9, 4));
            let loss = states.into_iter().map(|state| state.powi_scalar(3).mean());
            let loss = loss.reduce(|a, b| a + b).unwrap();
            NamedGradients::collect(&mut model, loss.backward())
        };
        same(&run(false), &run(true), 40);
    }
}
