//! Image tower in evaluation and in training mode.

use anyhow::Result;
use burn::tensor::{Device, Tensor};

use super::{bundle::Bundle, train::gradient_tensors};
use crate::{
    model::{
        layers::{BatchStats, Init},
        resnet::spatial_mean,
        towers::VisionTower,
        walk::{Role, Slot, Walk, join, to_vec},
    },
    optim::NamedGradients,
    weights::{HostTensor, Tensors, load, save},
};

const TAPS: [&str; 5] = ["stem", "layer1", "layer2", "layer3", "layer4"];

/// The tower under its key prefix in the whole model.
struct Model(VisionTower);

impl Walk for Model {
    fn walk(&mut self, path: &str, visit: &mut dyn FnMut(&str, Role, Slot)) {
        self.0.walk(&join(path, "vision_model"), visit);
    }
}

pub fn run(bundle: Bundle, device: &Device) -> Result<Tensors> {
    let mut output = Tensors::new();
    let batch = bundle.batch(0)?;
    let images: Tensor<4> = batch.floats("images", device)?;
    let upstream: Tensor<2> = batch.floats("upstream", device)?;
    for mode in ["eval", "train"] {
        let tower = VisionTower::init(
            &bundle.config("vision")?,
            &bundle.config("batch_norm")?,
            bundle.config("proj_dim")?,
            &mut Init::new(0, device),
        );
        let mut model = Model(tower);
        load::apply(&mut model, bundle.weights.clone(), &load::Allow::nothing())?;
        let mut moments = Vec::new();
        let mut stats = if mode == "train" {
            BatchStats::Batch(&mut moments)
        } else {
            BatchStats::Running
        };
        let (maps, encoded) = model.0.forward(images.clone(), &mut stats);
        let mut put = |name: String, tensor: HostTensor| drop(output.insert(format!("{mode}/{name}"), tensor));
        for (name, map) in TAPS.iter().zip(&maps.taps) {
            put(format!("tap/{name}"), host(&spatial_mean(map.clone())));
        }
        put("map".into(), host(&maps.map));
        put("features".into(), host(&encoded.features));
        put("projected".into(), host(&encoded.projected));
        let loss = (encoded.projected * upstream.clone()).sum();
        let gradients = NamedGradients::collect(&mut model, loss.backward());
        output.extend(gradient_tensors(&mut model, &gradients, &format!("{mode}/")));
        if mode == "train" {
            model.0.model.update_statistics(moments);
            let end = save::tensors(&mut model);
            model.each(|key, role, _| {
                if role == Role::Buffer {
                    output.insert(format!("train/buffer/{key}"), end[key].clone());
                }
            });
        }
    }
    Ok(output)
}

/// A tensor as it goes to the output.
pub fn host<const D: usize>(tensor: &Tensor<D>) -> HostTensor {
    HostTensor::from_f32(tensor.dims().to_vec(), &to_vec(tensor))
}

/// A one-element tensor as a scalar of the output.
pub fn scalar(tensor: &Tensor<1>) -> HostTensor {
    HostTensor::from_f32(vec![], &to_vec(tensor))
}
