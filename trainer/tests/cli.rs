//! Command-line tests: whole runs on drawn data, interruptions, and what bad input gets.
#![allow(clippy::unwrap_used)]

#[path = "cli/ablation.rs"]
mod ablation;
#[path = "cli/bad_input.rs"]
mod bad_input;
#[path = "cli/devices.rs"]
mod devices;
#[path = "cli/drawn.rs"]
mod drawn;
#[path = "cli/memory.rs"]
mod memory;
#[path = "cli/reports.rs"]
mod reports;
#[path = "cli/resume.rs"]
mod resume;
#[path = "cli/road.rs"]
mod road;
