//! Masked language modelling with optimiser steps.

use anyhow::{Context, Result};
use burn::tensor::Device;

use super::{bundle::Bundle, image::host, train::Trainer};
use crate::{
    loss::mlm,
    model::{
        dropout::Dropout,
        layers::Init,
        mlm_head::{IGNORE_LABEL, MaskedBatch, MaskedLm},
        walk::to_vec,
    },
    optim::NamedGradients,
    weights::{Tensors, load},
};

/// Vocabulary columns of the logits that full-size outputs keep.
const FULL_SIZE_COLUMNS: usize = 512;

const MODULES: &[(&str, &str)] = &[("bert", "bert."), ("head", "cls.")];

pub fn run(bundle: Bundle, device: &Device) -> Result<Tensors> {
    let mut model = MaskedLm::init(&bundle.config("text")?, &mut Init::new(0, device));
    load::apply(&mut model, bundle.weights.clone(), &load::Allow::nothing())?;
    let ignore: i64 = bundle.config("ignore_label")?;
    let mut output = Tensors::new();
    let mut trainer = Trainer::new(&bundle, &mut model, MODULES)?;
    for step in 0..bundle.steps {
        let batch = bundle.batch(step)?;
        let (ids, shape) = batch.integers::<2>("input_ids")?;
        let (mask, _) = batch.integers::<2>("attention_mask")?;
        let (labels, _) = batch.integers::<2>("labels")?;
        let labels = labels
            .into_iter()
            .map(|l| if l == ignore { IGNORE_LABEL } else { l })
            .collect();
        let batch = MaskedBatch {
            shape,
            ids,
            mask,
            labels,
        };
        let predictions = model
            .forward(&batch, &mut Dropout::off())
            .context("a batch has no labelled position")?;
        if step == 0 {
            let logits = predictions.logits.clone();
            let [rows, columns] = logits.dims();
            let kept = if bundle.full_size {
                columns.min(FULL_SIZE_COLUMNS)
            } else {
                columns
            };
            output.insert("logits/masked".into(), host(&logits.slice([0..rows, 0..kept])));
        }
        let loss = mlm::loss(predictions.logits, predictions.labels);
        trainer.note("loss/total", f64::from(to_vec(&loss)[0]));
        let gradients = NamedGradients::collect(&mut model, loss.backward());
        trainer.step(&mut model, gradients);
    }
    output.extend(trainer.finish(&mut model)?);
    Ok(output)
}
