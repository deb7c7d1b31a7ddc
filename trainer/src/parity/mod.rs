//! Numerical agreement with the PyTorch reference: runs one prepared case and compares tensors.
//!
//! A bundle is a folder with `bundle.json` (kind, configuration, tolerances), `weights.safetensors` and
//! `batch.safetensors`; the expected output lies beside it in `expected.safetensors`.

pub mod bundle;
pub mod compare;
mod ibq;
mod image;
mod keepfit;
mod mlm;
mod text;
mod train;

use anyhow::{Result, bail};
use burn::tensor::Device;

use crate::weights::Tensors;
use bundle::{Bundle, Kind};

/// Computes the tensors of a bundle on `device` (without gradients; they are switched on here).
///
/// # Errors
/// A bundle that cannot be run, or that asks for a tensor this program does not compute.
pub fn run(bundle: Bundle, device: &Device) -> Result<Tensors> {
    let device = crate::device::training(device);
    let wanted = bundle.wanted.clone();
    let mut computed = match bundle.kind {
        Kind::ImageEncoder => image::run(bundle, &device)?,
        Kind::TextEncoder => text::run(bundle, &device)?,
        Kind::Mlm => mlm::run(bundle, &device)?,
        Kind::Ibq => ibq::run(bundle, &device)?,
        Kind::Keepfit => keepfit::run(bundle, &device)?,
    };
    let Some(wanted) = wanted else { return Ok(computed) };
    let mut output = Tensors::new();
    let mut absent = Vec::new();
    for name in wanted {
        match computed.remove(&name) {
            Some(tensor) => drop(output.insert(name, tensor)),
            None => absent.push(name),
        }
    }
    if !absent.is_empty() {
        bail!(
            "the bundle asks for tensors that are not computed for its kind: {}",
            absent.join(", ")
        );
    }
    Ok(output)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Every stored tiny case, within its own tolerances.
    #[test]
    fn stored_bundles_agree_with_the_reference() {
        let Some(shared) = dataset::testing::shared_dir() else {
            eprintln!("skipped: no shared material");
            return;
        };
        let mut cases = 0;
        for size in ["tiny-1", "tiny-2", "tiny-3"] {
            for kind in ["image-encoder", "text-encoder", "mlm", "ibq", "keepfit-1", "keepfit-5"] {
                let folder = shared.join("parity/bundles").join(size).join(kind);
                let bundle = Bundle::open(&folder).unwrap();
                let tolerance = bundle.tolerance.clone();
                let expected = crate::weights::load::read(&folder.join("expected.safetensors")).unwrap();
                let output = run(bundle, &Device::flex()).unwrap();
                let failures = compare::failures(&expected, &output, &tolerance);
                assert!(failures.is_empty(), "{size}/{kind}:\n{}", failures.join("\n"));
                cases += 1;
            }
        }
        assert_eq!(cases, 18);
    }
}
