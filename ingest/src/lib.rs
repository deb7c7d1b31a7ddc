//! Retinal diagram books, labelled sets and medical texts into the dataset folder.
//!
//! One module per step of the road (Section III of the paper):
//! [`page`] opens a screenshot, [`layout`] finds figures, panels and caption
//! regions, [`ocr`] reads them, [`caption`] splits captions into panels,
//! [`modality`] tells CFP, FFA, OCT and OTHER apart, [`quality`] flags poor
//! pictures, and [`source`] holds one road per source of the paper. [`review`]
//! hands doubtful pairs to people through a [`sheet`] and takes them back,
//! [`translate`] fills the language that a pair lacks.

pub mod caption;
pub mod cli;
pub mod glossary;
pub mod layout;
pub mod modality;
pub mod ocr;
pub mod page;
pub mod parallel;
pub mod quality;
pub mod review;
pub mod sheet;
pub mod source;
pub mod translate;
