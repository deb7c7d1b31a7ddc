//! Runs `ingest` as a person would.

use assert_cmd::Command;
use serde_json::Value;
use std::path::Path;

/// Exit code, summary (null when stdout is not one JSON value) and messages of a call within `folder`.
pub fn run(folder: &Path, arguments: &[&str]) -> (i32, Value, String) {
    let output = Command::cargo_bin("ingest")
        .unwrap()
        .current_dir(folder)
        .args(arguments)
        .output()
        .unwrap();
    let summary = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    let stderr = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), summary, stderr)
}
