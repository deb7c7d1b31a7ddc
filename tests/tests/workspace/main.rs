//! What holds across crates.
#![allow(clippy::unwrap_used)]

mod bad_input;
mod edges;
mod pipeline;
mod readme;

use std::path::{Path, PathBuf};

/// The root of the workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The folder with the built programs: a test runs from `deps/` below it.
fn programs() -> PathBuf {
    std::env::current_exe()
        .unwrap()
        .parent()
        .unwrap()
        .parent()
        .unwrap()
        .to_owned()
}
