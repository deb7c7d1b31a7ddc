//! Text tower with both poolings.

use anyhow::Result;
use burn::tensor::{Device, Int, Tensor};

use super::{bundle::Bundle, image::host, train::gradient_tensors};
use crate::{
    model::{
        dropout::Dropout,
        layers::Init,
        towers::{Pool, TextTower},
        walk::{Role, Slot, Walk, join},
    },
    optim::NamedGradients,
    weights::{Tensors, load},
};

/// Channels of a hidden state that full-size outputs keep.
const FULL_SIZE_CHANNELS: usize = 128;

/// The tower under its key prefix in the whole model.
struct Model(TextTower);

impl Walk for Model {
    fn walk(&mut self, path: &str, visit: &mut dyn FnMut(&str, Role, Slot)) {
        self.0.walk(&join(path, "text_model"), visit);
    }
}

pub fn run(bundle: Bundle, device: &Device) -> Result<Tensors> {
    let mut output = Tensors::new();
    let batch = bundle.batch(0)?;
    let ids: Tensor<2, Int> = batch.ints("input_ids", device)?;
    let mask: Tensor<2, Int> = batch.ints("attention_mask", device)?;
    let upstream: Tensor<2> = batch.floats("upstream", device)?;
    for (prefix, pool) in [("all", Pool::All), ("masked", Pool::Masked)] {
        let tower = TextTower::init(
            &bundle.config("text")?,
            pool,
            bundle.config("proj_dim")?,
            &mut Init::new(0, device),
        );
        let mut model = Model(tower);
        load::apply(&mut model, bundle.weights.clone(), &load::Allow::nothing())?;
        let states = model.0.model.forward(ids.clone(), mask.clone(), &mut Dropout::off());
        if pool == Pool::All {
            for (name, index) in [("1", 1), ("2", 2), ("last", states.len() - 1)] {
                let state = &states[index.min(states.len() - 1)];
                let [rows, tokens, hidden] = state.dims();
                let kept = if bundle.full_size {
                    hidden.min(FULL_SIZE_CHANNELS)
                } else {
                    hidden
                };
                output.insert(
                    format!("hidden/{name}"),
                    host(&state.clone().slice([0..rows, 0..tokens, 0..kept])),
                );
            }
        }
        let encoded = model.0.project(&states, &mask);
        output.insert(format!("{prefix}/features"), host(&encoded.features));
        output.insert(format!("{prefix}/projected"), host(&encoded.projected));
        let loss = (encoded.projected * upstream.clone()).sum();
        let gradients = NamedGradients::collect(&mut model, loss.backward());
        output.extend(gradient_tensors(&mut model, &gradients, &format!("{prefix}/")));
    }
    Ok(output)
}
