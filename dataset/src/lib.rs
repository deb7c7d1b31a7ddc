//! The dataset folder: one vocabulary of records for all programs, their
//! Parquet schema, crash-safe writing, streaming reading, validation,
//! statistics and queries.
//!
//! Write with [`write::SourceUpdate`], read with [`read::Dataset`].

mod bench;
pub mod cli;
pub mod cost;
pub mod edits;
pub mod error;
pub mod explain;
mod file_at;
pub mod fs;
mod guard;
pub mod hash;
pub mod image_input;
mod journal;
pub mod ledger;
mod lock;
mod lookup;
pub mod modality;
pub mod ops;
mod parquet_file;
pub mod progress;
pub mod query;
pub mod read;
pub mod record;
mod rows;
pub mod schema;
mod shard;
mod spool;
pub mod stats;
pub mod testing;
pub mod validate;
pub mod write;

pub use error::{DatasetError, Result};
pub use ledger::LedgerEntry;
pub use lookup::RowReader;
pub use modality::Modality;
pub use read::{Columns, Dataset};
pub use record::{BoundingBox, ImageFile, LabelRecord, PairRecord, ReviewStatus, TextRecord, content_id};
pub use write::{CommitSummary, SourceUpdate};

#[cfg(test)]
mod write_tests;
