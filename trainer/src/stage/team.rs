//! Several devices that share the parts of a step.
//!
//! burn's own multi-device strategy does what is done here: a copy of the model on each device, a thread for each,
//! gradients moved to the first device and added there (its learner wants `Module`s and burn's optimisers). Its
//! `all_reduce` exists for CUDA alone in burn 0.22: wgpu answers `NoDeviceTransport`, flex has no collectives.

use std::panic::resume_unwind;

use burn::tensor::Device;

use crate::model::walk::Walk;

/// Copies of one model, one a device; the first is the model itself.
pub struct Team<M>(Vec<(M, Device)>);

impl<M: Walk + Clone + Send> Team<M> {
    /// Copies `model`, which lives on the first of `devices` (plain ones, at least one). The first copy shares its
    /// graph leaves; the others have their own, so that threads do not meet in one graph.
    pub fn new(model: &M, devices: &[Device]) -> Self {
        let members = devices.iter().enumerate().map(|(number, device)| {
            let copy = match number {
                0 => model.clone(),
                _ => model.on_device(device),
            };
            (copy, device.clone())
        });
        Self(members.collect())
    }

    /// The same team without gradients; it shares the values.
    pub fn plain(&self) -> Self {
        Self(
            self.0
                .iter()
                .map(|(model, device)| (model.plain(), device.clone()))
                .collect(),
        )
    }

    /// Runs `part` on each of `parts`, part i on device i mod n, n at a time; hands the results to `take` in the
    /// order of the parts, so that sums do not depend on who was faster or on the number of devices.
    pub fn share<W: Sync, T: Send>(
        &mut self,
        parts: &[W],
        part: impl Fn(&mut M, &Device, &W) -> T + Sync,
        mut take: impl FnMut(T),
    ) {
        let part = &part;
        for round in parts.chunks(self.0.len()) {
            if let ([(model, device), ..], [alone]) = (self.0.as_mut_slice(), round) {
                take(part(model, device, alone));
                continue;
            }
            let results: Vec<T> = std::thread::scope(|scope| {
                let running: Vec<_> = self
                    .0
                    .iter_mut()
                    .zip(round)
                    .map(|((model, device), work)| scope.spawn(move || part(model, device, work)))
                    .collect();
                running
                    .into_iter()
                    .map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
                    .collect()
            });
            results.into_iter().for_each(&mut take);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::layers::{Init, Linear};

    #[test]
    fn parts_go_to_the_devices_in_turn_and_come_back_in_order() {
        let model = Linear::init(2, 2, true, &mut Init::new(1, &Device::flex().autodiff()));
        for count in 1..=4 {
            let mut team = Team::new(&model, &vec![Device::flex(); count]);
            let parts: Vec<usize> = (0..7).collect();
            let mut found = Vec::new();
            team.share(&parts, |_, _, number| number * 10, |result| found.push(result));
            assert_eq!(found, [0, 10, 20, 30, 40, 50, 60], "{count} devices");
        }
    }
}
