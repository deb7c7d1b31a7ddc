//! What the two kinds with optimiser steps share: gradients, clipping, logs and weight changes by name.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Deserialize;

use super::bundle::Bundle;
use crate::{
    model::walk::{Role, Walk},
    optim::{AdamW, AdamWConfig, NamedGradients},
    schedule::CosineSchedule,
    weights::{HostTensor, Tensors, save},
};

#[derive(Deserialize)]
struct OptimizerConfig {
    lr: f64,
    weight_decay: f64,
    betas: [f64; 2],
    eps: f64,
    clip_norm: f64,
}

/// Optimiser steps with everything the output reports about them.
pub struct Trainer {
    optimizer: AdamW,
    config: OptimizerConfig,
    schedule: CosineSchedule,
    modules: &'static [(&'static str, &'static str)],
    start: Tensors,
    log: BTreeMap<String, Vec<f32>>,
    output: Tensors,
}

impl Trainer {
    /// `modules`: name in the report and key prefix of each part whose gradient norm is logged.
    ///
    /// # Errors
    /// The bundle lacks the optimiser or the schedule.
    pub fn new(
        bundle: &Bundle,
        model: &mut impl Walk,
        modules: &'static [(&'static str, &'static str)],
    ) -> Result<Self> {
        let config: OptimizerConfig = bundle.config("optimizer")?;
        let optimizer = AdamW::new(AdamWConfig {
            betas: config.betas,
            eps: config.eps,
            weight_decay: config.weight_decay,
        });
        Ok(Self {
            optimizer,
            config,
            schedule: bundle.config("schedule")?,
            modules,
            start: save::tensors(model),
            log: BTreeMap::new(),
            output: Tensors::new(),
        })
    }

    /// Notes one number of the current step.
    pub fn note(&mut self, name: &str, value: f64) {
        self.log.entry(name.to_owned()).or_default().push(value as f32);
    }

    /// Clips and applies the gradients of one step.
    pub fn step(&mut self, model: &mut impl Walk, mut gradients: NamedGradients) {
        let step = self.optimizer.steps();
        if step == 0 {
            self.output.extend(gradient_tensors(model, &gradients, ""));
        }
        for (name, prefix) in self.modules {
            if let Some(norm) = gradients.prefix_norm(prefix) {
                self.note(&format!("grad_norm/{name}"), norm);
            }
        }
        let (norm, factor) = gradients.clip(self.config.clip_norm);
        let lr = self.schedule.rate(self.config.lr, step);
        self.note("grad_norm/total", norm);
        self.note("clip_coef", factor);
        self.note("lr", lr);
        self.optimizer.step(model, gradients, lr);
    }

    /// All logs, weights, their change and the buffers after the last step.
    ///
    /// # Errors
    /// Never for a model that could be run.
    pub fn finish(mut self, model: &mut impl Walk) -> Result<Tensors> {
        for (name, values) in &self.log {
            self.output
                .insert(name.clone(), HostTensor::from_f32(vec![values.len()], values));
        }
        let end = save::tensors(model);
        let mut trained = Vec::new();
        model.each(|key, role, _| trained.push((key.to_owned(), role)));
        for (key, role) in trained {
            let (before, after) = (&self.start[&key], &end[&key]);
            match role {
                Role::Buffer => drop(self.output.insert(format!("buffer/{key}"), after.clone())),
                Role::Frozen => {}
                Role::Trained => {
                    let change: Vec<f32> = after
                        .to_f32()?
                        .iter()
                        .zip(before.to_f32()?)
                        .map(|(a, b)| a - b)
                        .collect();
                    self.output.insert(
                        format!("delta/{key}"),
                        HostTensor::from_f32(after.shape.clone(), &change),
                    );
                    self.output.insert(format!("param/{key}"), after.clone());
                }
            }
        }
        Ok(self.output)
    }
}

/// `PREFIXgrad/NAME` and `PREFIXgradnorm/NAME` of every gradient.
pub fn gradient_tensors(model: &mut impl Walk, gradients: &NamedGradients, prefix: &str) -> Tensors {
    let mut tensors = Tensors::new();
    model.each(|key, _, slot| {
        if let (Some(values), Some(norm)) = (gradients.values(key), gradients.tensor_norm(key)) {
            tensors.insert(
                format!("{prefix}grad/{key}"),
                HostTensor::from_f32(slot.shape(), &values),
            );
            tensors.insert(
                format!("{prefix}gradnorm/{key}"),
                HostTensor::from_f32(vec![], &[norm as f32]),
            );
        }
    });
    tensors
}
