//! Drawn sample data, the road that runs every step on it, and the tests that cross crates.

pub mod page;
pub mod retina;
pub mod road;
pub mod sample;
