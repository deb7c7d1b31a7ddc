//! Captions: normalisation, caption starts, and the split into panels.
//!
//! Everything here is pure: values in, values out, no file is opened. A caption
//! goes through [`normalize`] (one form per character, with offsets into the raw
//! text), [`start`] (figure numbers), [`marks`] (what looks like a label),
//! [`labels`] (what a label may mean), [`run`] (the best run of labels) and
//! [`split`] (panels with their own words).

mod brackets;
mod candidates;
pub mod context;
mod doubts;
mod entries;
pub mod group;
mod headword;
pub mod labels;
pub mod marks;
mod mirror;
pub mod normalize;
mod number;
pub mod positions;
pub mod run;
pub mod split;
pub mod start;
mod stretch;
#[cfg(test)]
mod tests;
mod text;
mod worn;
