//! Command-line tests of the `ingest` binary, one module per command.
#![allow(clippy::unwrap_used)]

mod book;
mod command;
mod den;
mod draw;
mod labels;
mod ocr;
mod oct;
mod panels;
mod review;
mod split;
mod text;
mod translate;
