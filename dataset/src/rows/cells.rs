//! The cells of one row by column name: what records are made from.

use crate::error::{DatasetError, Result};
use crate::modality::{Modality, UnknownModality};
use crate::record::{BoundingBox, ImageFile};

/// Access to the cells of one row. A missing column reads as empty.
pub trait Cells {
    fn text(&self, column: &str) -> Result<Option<&str>>;
    fn int(&self, column: &str) -> Result<Option<i32>>;
    fn float(&self, column: &str) -> Result<Option<f32>>;
    fn texts(&self, column: &str) -> Result<Vec<String>>;
    fn panel_bbox(&self) -> Result<Option<BoundingBox>>;
    /// The picture; bytes are empty when they were not read.
    fn image(&self) -> Result<ImageFile>;
    /// Whether the file has this column.
    fn has(&self, column: &str) -> bool;
    /// An error about a column, with the file's name.
    fn error(&self, column: &str, message: &str) -> DatasetError;

    fn owned(&self, column: &str) -> Result<Option<String>> {
        Ok(self.text(column)?.map(str::to_owned))
    }

    /// A text that every row must have.
    fn required(&self, column: &str) -> Result<&str> {
        self.text(column)?.ok_or_else(|| {
            let message = if self.has(column) {
                "has an empty cell; every row needs a value"
            } else {
                "is missing; every file of this table needs it"
            };
            self.error(column, message)
        })
    }

    fn modality(&self) -> Result<Modality> {
        let name = self.required("modality")?;
        name.parse()
            .map_err(|e: UnknownModality| self.error("modality", &e.to_string()))
    }
}
