//! Cards: dataset cards with computed numbers, Croissant metadata, model cards, source cards, and an offline linter.
//!
//! Invariant: a number on a card is computed from the files it describes; what nobody told us is shown as an
//! open question, never filled in.

pub mod cli;
pub mod croissant;
pub mod dataset_card;
pub mod facts;
pub mod front_matter;
pub mod info;
pub mod lint;
pub mod lint_croissant;
pub mod model_card;
pub mod source_card;
pub mod vocabulary;
