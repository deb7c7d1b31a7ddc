//! Thin binary: everything is in the library.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Captions are made of many short texts.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    ingest::cli::run()
}
