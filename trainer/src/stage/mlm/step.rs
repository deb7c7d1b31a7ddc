//! Loss and gradients of one masked-language step, over the whole batch or in chunks on several devices.

use burn::tensor::Device;

use crate::loss;
use crate::model::dropout::Dropout;
use crate::model::mlm_head::{MaskedBatch, MaskedLm};
use crate::model::walk::to_vec;
use crate::optim::NamedGradients;
use crate::stage::team::Team;

/// What a step found; nothing has changed yet.
pub struct Found {
    /// Mean loss over the masked positions.
    pub loss: f64,
    /// Masked positions.
    pub count: usize,
    /// Of these, predicted rightly.
    pub correct: i64,
    /// Gradients of all trained tensors.
    pub gradients: NamedGradients,
}

/// The whole batch at once; None when nothing is masked.
pub fn whole(model: &mut MaskedLm, batch: &MaskedBatch, dropout: &mut Dropout) -> Option<Found> {
    part(model, batch, dropout, None)
}

/// The batch in `count` chunks of rows, which `devices` share; None when nothing is masked.
///
/// The loss is a mean over positions, so each chunk counts by its share of them and the sum is the whole batch's
/// loss. Everything is added in the order of the chunks, whatever the number of devices. Dropout draws by
/// (seed, step, chunk).
pub fn in_chunks(
    model: &MaskedLm,
    batch: &MaskedBatch,
    count: usize,
    devices: &[Device],
    (seed, step): (u64, u64),
) -> Option<Found> {
    let positions = batch.labelled();
    let chunks: Vec<(u64, MaskedBatch)> = (0..).zip(batch.chunks(batch.shape[0].div_ceil(count))).collect();
    let mut sum: Option<Found> = None;
    Team::new(model, devices).share(
        &chunks,
        |model, _, (number, chunk)| {
            let mut dropout = Dropout::for_part(seed, step, *number);
            let found = part(model, chunk, &mut dropout, Some(positions))?;
            Some(Found {
                gradients: found.gradients.to_device(&devices[0]),
                ..found
            })
        },
        |found| {
            let Some(found) = found else { return };
            match &mut sum {
                None => sum = Some(found),
                Some(sum) => {
                    sum.loss += found.loss;
                    sum.count += found.count;
                    sum.correct += found.correct;
                    sum.gradients.accumulate(found.gradients);
                }
            }
        },
    );
    sum
}

/// One pass over `batch`, weighted by its share of `positions` where that is given.
fn part(model: &mut MaskedLm, batch: &MaskedBatch, dropout: &mut Dropout, positions: Option<usize>) -> Option<Found> {
    let predictions = model.forward(batch, dropout)?;
    let count = predictions.labels.dims()[0];
    let correct = loss::mlm::correct(predictions.logits.clone(), predictions.labels.clone());
    let mut total = loss::mlm::loss(predictions.logits, predictions.labels);
    if let Some(positions) = positions {
        total = total * (count as f64 / positions as f64);
    }
    Some(Found {
        loss: f64::from(to_vec(&total)[0]),
        count,
        correct,
        gradients: NamedGradients::collect(model, total.backward()),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::bert::TextConfig;
    use crate::model::layers::Init;
    use crate::model::mlm_head::IGNORE_LABEL;

    fn model() -> MaskedLm {
        let config = TextConfig {
            vocab_size: 30,
            hidden_size: 16,
            num_hidden_layers: 2,
            num_attention_heads: 2,
            intermediate_size: 24,
            max_position_embeddings: 12,
            ..TextConfig::bert_base()
        };
        MaskedLm::init(&config, &mut Init::new(4, &Device::flex().autodiff()))
    }

    /// Five rows of 3 to 7 tokens; the third has nothing masked.
    fn batch() -> MaskedBatch {
        let (rows, tokens) = (5, 7);
        let (mut ids, mut mask, mut labels) = (Vec::new(), Vec::new(), Vec::new());
        for row in 0..rows {
            for at in 0..tokens {
                let real = at < 3 + row;
                ids.push(if real {
                    (5 + row * 11 + at * 3) as i64 % 25 + 5
                } else {
                    0
                });
                mask.push(i64::from(real));
                let chosen = real && row != 2 && at % 2 == 1;
                labels.push(if chosen { (7 + row + at) as i64 } else { IGNORE_LABEL });
            }
        }
        MaskedBatch {
            shape: [rows, tokens],
            ids,
            mask,
            labels,
        }
    }

    /// Largest difference in units of the norm over everything.
    fn apart(a: &NamedGradients, b: &NamedGradients) -> f64 {
        assert_eq!(a.names().collect::<Vec<_>>(), b.names().collect::<Vec<_>>());
        let norm = a.norm();
        a.names()
            .flat_map(|name| a.values(name).unwrap().into_iter().zip(b.values(name).unwrap()))
            .fold(0.0, |most, (a, b)| f64::max(most, f64::from((a - b).abs()) / norm))
    }

    #[test]
    fn chunks_on_any_number_of_devices_give_the_whole_batch() {
        let (mut model, batch) = (model(), batch());
        for layer in [false, true] {
            model.bert.set_checkpointing(layer);
            model.bert.set_dropout(crate::model::bert::DropoutRates {
                hidden: 0.0,
                attention: 0.0,
            });
            let whole = whole(&mut model, &batch, &mut Dropout::off()).unwrap();
            for count in [1, 2, 3, 5] {
                let one = in_chunks(&model, &batch, count, &[Device::flex()], (1, 2)).unwrap();
                assert_eq!((one.count, one.correct), (whole.count, whole.correct));
                assert!((one.loss - whole.loss).abs() < 1e-6 * whole.loss, "{count} chunks");
                // The same terms in another order of addition.
                assert!(apart(&whole.gradients, &one.gradients) < 1e-6, "{count} chunks");
                let two = in_chunks(&model, &batch, count, &vec![Device::flex(); 2], (1, 2)).unwrap();
                assert_eq!(one.loss, two.loss);
                assert_eq!(apart(&one.gradients, &two.gradients), 0.0);
            }
        }
    }

    #[test]
    fn several_devices_draw_the_masks_of_one() {
        let (model, batch) = (model(), batch());
        let one = in_chunks(&model, &batch, 3, &[Device::flex()], (1, 2)).unwrap();
        let three = in_chunks(&model, &batch, 3, &vec![Device::flex(); 3], (1, 2)).unwrap();
        assert_eq!(apart(&one.gradients, &three.gradients), 0.0);
        let other = in_chunks(&model, &batch, 3, &[Device::flex()], (1, 3)).unwrap();
        assert!(apart(&one.gradients, &other.gradients) > 0.0, "dropout is on");
    }
}
