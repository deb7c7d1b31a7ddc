//! One road per source of Section III of the paper into the dataset folder.

pub mod book;
pub mod labels;
pub mod oct;
pub mod text;
