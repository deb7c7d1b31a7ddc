//! The `dataset` program.

use mimalloc::MiMalloc;
use std::process::ExitCode;

/// Columns come and go in pieces of a few megabytes; the system's allocator
/// returns each to the kernel and asks for it again.
#[global_allocator]
static MEMORY: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    dataset::cli::run()
}
