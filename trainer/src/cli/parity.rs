//! `trainer parity`: runs one prepared case and writes what it computed.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use serde_json::json;

use crate::{
    device,
    parity::{bundle::Bundle, compare, run as run_bundle},
    weights::{load, save},
};

/// Arguments of `trainer parity`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  trainer parity --bundle bundles/tiny-1/keepfit-5 --out out.safetensors
  trainer parity --bundle bundles/tiny-1/mlm --out out.safetensors --device wgpu --check

A bundle folder holds bundle.json, weights.safetensors and batch.safetensors. With --check the result is
compared with expected.safetensors beside them: one JSON line a tensor outside its tolerance, exit code 1.")]
pub struct Args {
    /// Folder of the prepared case
    #[arg(long)]
    bundle: PathBuf,
    /// File to write the computed tensors to
    #[arg(long)]
    out: PathBuf,
    /// Where to compute: cpu, wgpu, wgpu:N, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Compare with the bundle's expected.safetensors
    #[arg(long)]
    check: bool,
}

/// Runs the command.
///
/// # Errors
/// The device, the bundle or the output file does not work.
pub fn run(args: &Args) -> Result<ExitCode> {
    let device = device::select(&args.device)?;
    let bundle = Bundle::open(&args.bundle)?;
    let tolerance = bundle.tolerance.clone();
    let output = run_bundle(bundle, &device).with_context(|| format!("running {}", args.bundle.display()))?;
    save::write(&args.out, &output, &[])?;
    if !args.check {
        return Ok(ExitCode::SUCCESS);
    }
    let expected = load::read(&args.bundle.join("expected.safetensors"))?;
    let failures = compare::failures(&expected, &output, &tolerance);
    for failure in &failures {
        println!("{}", json!({ "failed": failure }));
    }
    println!("{}", json!({ "tensors": expected.len(), "failed": failures.len() }));
    Ok(if failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(super::EXIT_SOME_REJECTED)
    })
}
