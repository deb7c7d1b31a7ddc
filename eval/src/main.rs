//! `eval`: see `eval --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    eval::cli::run()
}
