//! `data-cards`: see `data-cards --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    data_cards::cli::run()
}
