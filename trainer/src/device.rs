//! Choice of the compute device at run time.
//!
//! burn 0.22 picks the backend through a [`Device`] value, so the same binary
//! serves the CPU (`cpu`, the pure-Rust flex backend) and, when built with the
//! features of these names, graphics cards: `wgpu` (Vulkan, Metal, DirectX 12)
//! and `cuda`. Gradients are a property of the device too: a model that is
//! trained is created on [`training`]`(device)`, a model that only embeds on the
//! plain device.

use anyhow::{Result, bail};
use burn::tensor::{Device, FloatDType};

use crate::model::precision::Precision;

/// Device named on the command line: `cpu`, `wgpu` (the best adapter), `wgpu:N` (the N-th discrete GPU), `cuda` or
/// `cuda:N` (`cuda` is `cuda:0`). `cpu:N` is the CPU too; several of them share work as [`select_several`] says.
///
/// # Errors
/// Names the value, and what this binary offers instead, when the name is
/// unknown, the feature was left out of the build or no adapter answers.
pub fn select(name: &str) -> Result<Device> {
    if name.contains(',') {
        bail!("{name:?} names several devices; only `trainer keepfit` and `trainer mlm` share their work");
    }
    check_names(name)?;
    let (kind, number) = parts(name);
    let number = number.map(str::parse).transpose()?;
    match kind {
        "wgpu" => wgpu(name, number),
        "cuda" => cuda(name, number),
        _ => Ok(Device::flex()),
    }
}

/// Devices named one after the other, `cpu:0,cpu:1` or `wgpu:0,wgpu:1`: one kind, each named once; the first holds
/// weights and moments. `cpu:N` is the N-th thread that a share of a step runs in; the threads share the pool that
/// computes.
///
/// # Errors
/// As [`select`]; a device named twice, or devices of several kinds.
pub fn select_several(names: &str) -> Result<Vec<Device>> {
    check_names(names)?.into_iter().map(select).collect()
}

/// The names in `names`, without opening any device.
///
/// # Errors
/// As [`select_several`], but for devices that do not answer.
pub fn check_names(names: &str) -> Result<Vec<&str>> {
    let list: Vec<&str> = names.split(',').map(str::trim).collect();
    for (place, name) in list.iter().enumerate() {
        if list[..place].contains(name) {
            bail!("device {names:?} names {name} twice; number them, as in cpu:0,cpu:1");
        }
        let (kind, number) = parts(name);
        if !matches!(kind, "cpu" | "wgpu" | "cuda") {
            bail!("unknown device {name:?}; use cpu, wgpu, wgpu:N, cuda or cuda:N");
        }
        if let Some(number) = number.filter(|number| number.parse::<usize>().is_err()) {
            bail!("device {name:?}: {number:?} is not a device number; write {kind}:0, {kind}:1, ...");
        }
        if !list[0].starts_with(kind) {
            bail!(
                "device {names:?} names devices of several kinds; results would depend on who computed what. Name one kind"
            );
        }
    }
    Ok(list)
}

/// Kind and number of a device's name.
fn parts(name: &str) -> (&str, Option<&str>) {
    name.split_once(':')
        .map_or((name, None), |(kind, number)| (kind, Some(number)))
}

/// Refuses a precision that no device of that name has, before anything is opened.
///
/// # Errors
/// bf16 on the CPU.
pub fn may_compute_in(names: &str, precision: Precision) -> Result<()> {
    if precision == Precision::Bf16 && check_names(names)?.iter().any(|name| name.starts_with("cpu")) {
        bail!(
            "key `precision` is bf16, but device {names} computes in f32; set precision to f32, or take a graphics card \
             that computes in bf16"
        );
    }
    Ok(())
}

/// Asks each device whether it computes in `precision`.
///
/// # Errors
/// Names the device that does not, and the remedy.
pub fn computes_in(devices: &[Device], names: &str, precision: Precision) -> Result<()> {
    may_compute_in(names, precision)?;
    for (device, name) in devices.iter().zip(check_names(names)?) {
        if precision == Precision::Bf16 && !device.supports_dtype(FloatDType::BF16) {
            bail!(
                "key `precision` is bf16, but device {name} says that it does not compute in it (Vulkan has bf16 for \
                 storage and dot products, not for arithmetic); set precision to f32"
            );
        }
    }
    Ok(())
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
fn wgpu(name: &str, number: Option<usize>) -> Result<Device> {
    use burn::tensor::DeviceKind;

    let kind = number.map_or(DeviceKind::DefaultDevice, DeviceKind::DiscreteGpu);
    answering(name, "check the driver (Vulkan, Metal or DirectX 12)", || {
        Device::wgpu(kind)
    })
}

#[cfg(feature = "cuda")]
fn cuda(name: &str, number: Option<usize>) -> Result<Device> {
    answering(name, "check NVIDIA's driver and the CUDA libraries", || {
        Device::cuda(number.unwrap_or(0))
    })
}

/// The device that `open` gives, once it has computed a small sum rightly. It is only looked for when the first tensor is
/// made; asking for one here turns a late panic into an early message.
#[cfg(any(feature = "wgpu", feature = "cuda"))]
fn answering(name: &str, remedy: &str, open: impl FnOnce() -> Device + std::panic::UnwindSafe) -> Result<Device> {
    let probe = std::panic::catch_unwind(|| {
        let device = open();
        let sum = burn::tensor::Tensor::<1>::ones([4], &device)
            .sum()
            .try_into_scalar::<f32>();
        sum.map(|sum| (device, sum)).map_err(|e| e.to_string())
    });
    match probe {
        Ok(Ok((device, 4.0))) => Ok(device),
        Ok(Ok((_, sum))) => bail!("device {name} computes wrongly (1+1+1+1 = {sum}); use --device cpu"),
        Ok(Err(reason)) => bail!("device {name} does not answer: {reason}; {remedy} or use --device cpu"),
        Err(_) => bail!("there is no device {name}; {remedy} or use --device cpu"),
    }
}

#[cfg(not(feature = "wgpu"))]
fn wgpu(name: &str, _number: Option<usize>) -> Result<Device> {
    left_out(name, "wgpu")
}

#[cfg(not(feature = "cuda"))]
fn cuda(name: &str, _number: Option<usize>) -> Result<Device> {
    left_out(name, "cuda")
}

#[cfg(not(all(feature = "wgpu", feature = "cuda")))]
fn left_out(name: &str, feature: &str) -> Result<Device> {
    bail!(
        "device {name}: this program was built without the feature {feature}; build it with `cargo build --release \
         --features trainer/{feature},eval/{feature}` or use --device cpu"
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
        for (name, remedy) in [
            ("gpu", "use cpu"),
            ("wgpu:x", "wgpu:0"),
            ("cuda:x", "cuda:0"),
            ("", "use cpu"),
        ] {
            let message = select(name).unwrap_err().to_string();
            assert!(message.contains(remedy), "{message}");
        }
    }

    #[cfg(not(any(feature = "wgpu", feature = "cuda")))]
    #[test]
    fn a_device_that_was_left_out_of_the_build_says_how_to_build_it() {
        for (name, feature) in [("wgpu:1", "eval/wgpu"), ("cuda", "trainer/cuda")] {
            let message = select(name).unwrap_err().to_string();
            assert!(message.contains(name) && message.contains(feature), "{message}");
        }
    }

    #[test]
    fn several_devices_are_of_one_kind_and_named_once() {
        assert_eq!(select_several("cpu").unwrap().len(), 1);
        assert_eq!(select_several("cpu:0, cpu:1,cpu:2").unwrap().len(), 3);
        for (names, part) in [
            ("cpu:0,cpu:0", "cpu:0 twice"),
            ("cpu,wgpu", "several kinds"),
            ("wgpu:0,cuda:0", "several kinds"),
            ("cpu:x", "not a device number"),
            ("cpu,", "unknown device \"\""),
        ] {
            let message = select_several(names).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
        let message = select("cpu:0,cpu:1").unwrap_err().to_string();
        assert!(message.contains("several devices"), "{message}");
    }
}
