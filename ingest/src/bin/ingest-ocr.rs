//! `ingest` with the OCR library: `ingest` goes on here for the commands that read images.

use std::process::ExitCode;

fn main() -> ExitCode {
    ingest::cli::run_with_ocr()
}
