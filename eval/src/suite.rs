//! Suites: many data sets, models and settings in one command, with cached features and one report.

pub mod ablation;
pub mod cache;
pub mod charts;
mod check;
pub mod config;
pub mod gather;
pub mod html;
mod leaks;
pub mod model;
pub mod printed;
pub mod results;
pub mod run;
pub mod samples;
pub mod sources;
pub mod tables;
