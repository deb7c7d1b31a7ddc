//! Choice of the compute device at run time.
//!
//! burn 0.22 picks the backend through a [`Device`] value, so the same binary
//! serves the CPU (`cpu`, the pure-Rust flex backend) and, when built with the
//! `wgpu` feature, graphics cards (`wgpu`, `wgpu:1`, ...). Gradients are a
//! property of the device too: a model that is trained is created on
//! [`training`]`(device)`, a model that only embeds on the plain device.

use anyhow::{Result, bail};
use burn::tensor::Device;

/// Device named on the command line: `cpu`, `wgpu` (the best adapter) or `wgpu:N` (the N-th discrete GPU).
///
/// # Errors
/// Names the value, and what this binary offers instead, when the name is
/// unknown, the feature was left out of the build or no adapter answers.
pub fn select(name: &str) -> Result<Device> {
    match name.split_once(':') {
        None if name == "cpu" => Ok(Device::flex()),
        None if name == "wgpu" => wgpu(None),
        Some(("wgpu", index)) => match index.parse::<usize>() {
            Ok(index) => wgpu(Some(index)),
            Err(_) => bail!("device {name:?}: {index:?} is not a GPU number; write wgpu:0, wgpu:1, ..."),
        },
        _ => bail!("unknown device {name:?}; use cpu, wgpu or wgpu:N"),
    }
}

/// The same device with gradient recording, for models that are trained.
pub fn training(device: &Device) -> Device {
    device.clone().autodiff()
}

/// Whether tensors of this device live in main memory as plain rows, so that
/// the CPU kernels of [`crate::model::cpu`] apply.
pub fn is_cpu(device: &Device) -> bool {
    device.clone().without_autodiff() == Device::flex()
}

#[cfg(feature = "wgpu")]
fn wgpu(index: Option<usize>) -> Result<Device> {
    use burn::tensor::{DeviceKind, Tensor};

    let kind = index.map_or(DeviceKind::DefaultDevice, DeviceKind::DiscreteGpu);
    let shown = index.map_or("wgpu".to_owned(), |i| format!("wgpu:{i}"));
    // The adapter is only looked for when the first tensor is made; asking for
    // one here turns a late panic into an early message.
    let probe = std::panic::catch_unwind(|| {
        let device = Device::wgpu(kind);
        let sum = Tensor::<1>::ones([4], &device).sum().try_into_scalar::<f32>();
        sum.map(|sum| (device, sum)).map_err(|e| e.to_string())
    });
    match probe {
        Ok(Ok((device, 4.0))) => Ok(device),
        Ok(Ok((_, sum))) => bail!("device {shown} computes wrongly (1+1+1+1 = {sum}); use --device cpu"),
        Ok(Err(reason)) => bail!("device {shown} does not answer: {reason}; use --device cpu"),
        Err(_) => {
            bail!("no graphics adapter for {shown}; check the driver (Vulkan, Metal or DirectX 12) or use --device cpu")
        }
    }
}

#[cfg(not(feature = "wgpu"))]
fn wgpu(_index: Option<usize>) -> Result<Device> {
    bail!(
        "this trainer was built without GPU support; build it with `cargo build --release -p trainer --features wgpu` or use --device cpu"
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_are_understood_or_refused_with_a_remedy() {
        assert!(is_cpu(&select("cpu").unwrap()));
        assert!(is_cpu(&training(&select("cpu").unwrap())));
        assert!(training(&select("cpu").unwrap()).is_autodiff());
        for (name, remedy) in [("cuda", "use cpu"), ("wgpu:x", "wgpu:0"), ("", "use cpu")] {
            let message = select(name).unwrap_err().to_string();
            assert!(message.contains(remedy), "{message}");
        }
    }
}
