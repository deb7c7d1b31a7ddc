//! The discriminator's side of the full recipe: trained first in every step, then asked by the autoencoder.

use std::path::Path;

use anyhow::Result;
use burn::tensor::{Device, Tensor};

use super::adam;
use crate::config::CodebookConfig;
use crate::model::discriminator::{LeCam, PatchDiscriminator, generator, hinge};
use crate::model::layers::Init;
use crate::model::walk::{Walk, to_vec};
use crate::optim::{AdamW, NamedGradients};
use crate::stage::Numbers;
use crate::stage::guard::NanGuard;
use crate::weights::{self, HostTensor, Tensors, load};

/// Optimiser moments of the discriminator within a checkpoint.
const MOMENTS_FILE: &str = "discriminator-optimizer.safetensors";
/// Prefix of the discriminator's keys, as the public tokenisers have it.
const PREFIX: &str = "loss.discriminator.";
/// The moving averages of LeCam.
const LECAM: &str = "loss.lecam_ema";

/// Discriminator, its optimiser and LeCam's averages.
pub(super) struct Rival {
    network: PatchDiscriminator,
    optimizer: AdamW,
    lecam: LeCam,
    lecam_weight: f64,
}

impl Rival {
    /// Fresh; `device` records gradients.
    pub(super) fn new(config: &CodebookConfig, device: &Device) -> Self {
        let mut init = Init::new(config.seed ^ 0x5249_5641_4c00, device);
        Rival {
            network: PatchDiscriminator::init(config.discriminator_channels, config.discriminator_layers, &mut init),
            optimizer: AdamW::new(adam(config)),
            lecam: LeCam::default(),
            lecam_weight: config.lecam_weight,
        }
    }

    /// One step on real images and reconstructions (without a graph); None when a number was not finite
    /// and the step is to be passed over, before anything changed.
    ///
    /// # Errors
    /// The guard has had enough.
    pub(super) fn train(
        &mut self,
        real: Tensor<4>,
        rebuilt: Tensor<4>,
        rate: f64,
        step: u64,
        guard: &mut NanGuard,
    ) -> Result<Option<Numbers>> {
        let (mut of_real, mut of_fake) = (Vec::new(), Vec::new());
        let real = self.network.forward(real, &mut of_real);
        let fake = self.network.forward(rebuilt, &mut of_fake);
        let mean = |logits: &Tensor<4>| to_vec(&logits.clone().inner().mean())[0];
        let means = (mean(&real), mean(&fake));
        let mut lecam = self.lecam;
        lecam.update(means.0, means.1);
        let loss = hinge(&real, &fake);
        let held = lecam.loss(&real, &fake);
        let value = |tensor: &Tensor<1>| f64::from(to_vec(tensor)[0]);
        let mut numbers = vec![
            ("loss/discriminator".to_owned(), value(&loss)),
            ("loss/lecam".to_owned(), value(&held)),
            ("discriminator/real".to_owned(), f64::from(means.0)),
            ("discriminator/fake".to_owned(), f64::from(means.1)),
        ];
        let total = loss + held * self.lecam_weight;
        let gradients = NamedGradients::collect(&mut self.network, total.backward());
        numbers.push(("grad_norm/discriminator".to_owned(), gradients.norm()));
        if !guard.goes_on(step, &numbers)? {
            return Ok(None);
        }
        self.lecam = lecam;
        self.optimizer.step(&mut self.network, gradients, rate);
        self.network.update_statistics(of_real);
        self.network.update_statistics(of_fake);
        Ok(Some(numbers))
    }

    /// What the autoencoder is to make smaller; gradients pass to `rebuilt` alone.
    pub(super) fn judge(&mut self, rebuilt: Tensor<4>) -> Tensor<1> {
        let mut moments = Vec::new();
        let judged = generator(&self.network.plain().forward(rebuilt, &mut moments));
        self.network.update_statistics(moments);
        judged
    }

    /// Adds the weights to a checkpoint's tensors and writes the moments into `folder`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn save(&mut self, tensors: &mut Tensors, folder: &Path) -> Result<()> {
        for (key, tensor) in weights::save::tensors(&mut self.network) {
            tensors.insert(format!("{PREFIX}{key}"), tensor);
        }
        let averages = HostTensor::from_f32(vec![2], &[self.lecam.real, self.lecam.fake]);
        tensors.insert(LECAM.to_owned(), averages);
        weights::save::write(&folder.join(MOMENTS_FILE), &self.optimizer.state(), &[])
    }

    /// Takes the weights out of a checkpoint's tensors and reads the moments from `folder`.
    ///
    /// # Errors
    /// Something is missing or of another shape.
    pub(super) fn restore(&mut self, tensors: &mut Tensors, folder: &Path, config: &CodebookConfig) -> Result<()> {
        let own: Vec<String> = tensors.keys().filter(|key| key.starts_with(PREFIX)).cloned().collect();
        let own = own
            .into_iter()
            .filter_map(|key| Some((key[PREFIX.len()..].to_owned(), tensors.remove(&key)?)))
            .collect();
        load::apply(&mut self.network, own, &load::Allow::nothing())?;
        if let Some(averages) = tensors.remove(LECAM) {
            let values = averages.to_f32()?;
            self.lecam = LeCam {
                real: values.first().copied().unwrap_or(0.0),
                fake: values.get(1).copied().unwrap_or(0.0),
            };
        }
        let state = load::read(&folder.join(MOMENTS_FILE))?;
        self.optimizer = AdamW::restore(adam(config), &mut self.network, state)?;
        Ok(())
    }
}
