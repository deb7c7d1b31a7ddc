//! The `dataset` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    dataset::cli::run()
}
