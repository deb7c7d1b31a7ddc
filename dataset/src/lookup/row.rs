//! Rows out of opened pages.

use super::group::OpenGroup;
use crate::error::{DatasetError, Result};
use crate::parquet_file::{ParquetFile, damaged};
use crate::record::{BoundingBox, ImageFile};
use crate::rows::cells::Cells;
use crate::schema::{Table, columns};
use arrow::datatypes::DataType;
use parquet::arrow::ProjectionMask;
use std::cell::Cell;
use std::path::Path;

/// Leaf columns of a file by name (lists by their own, struct children as
/// `struct.child`), with their numbers in an [`OpenGroup`] if they are wanted.
pub(super) struct ColumnPlaces(Vec<(String, Option<usize>)>);

impl ColumnPlaces {
    /// The place in the file of the leaf column of this name. `hint` is where to
    /// look first: records are made in the order of the columns, so that the next
    /// one is nearly always there.
    fn find(&self, name: &str, hint: &Cell<usize>) -> Option<usize> {
        let start = hint.get().min(self.0.len());
        let mut leaves = (start..self.0.len()).chain(0..start);
        let found = leaves.find(|&leaf| self.0[leaf].0 == name)?;
        hint.set(found + 1);
        Some(found)
    }

    /// The number in an [`OpenGroup`] of a leaf column.
    pub fn number(&self, leaf: usize) -> Option<usize> {
        self.0.get(leaf)?.1
    }
}

/// The places of the columns, if every column that the file has is of the type
/// that the format says. `mask` tells which are wanted.
pub(super) fn column_places(file: &ParquetFile, table: Table, mask: &ProjectionMask) -> Option<ColumnPlaces> {
    for field in columns(table) {
        if let Ok(found) = file.schema().field_with_name(field.name())
            && !same_type(found.data_type(), field.data_type())
        {
            return None;
        }
    }
    let schema = file.metadata().file_metadata().schema_descr();
    let mut numbers = 0..;
    let places = (0..schema.num_columns()).map(|leaf| {
        let column = schema.column(leaf);
        let parts = column.path().parts();
        let name = if column.max_rep_level() > 0 {
            parts.first().cloned().unwrap_or_default()
        } else {
            parts.join(".")
        };
        let wanted = mask.leaf_included(leaf).then(|| numbers.next());
        (name, wanted.flatten())
    });
    Some(ColumnPlaces(places.collect()))
}

/// Equal but for the names of list items and for nullability.
fn same_type(found: &DataType, wanted: &DataType) -> bool {
    match (found, wanted) {
        (DataType::List(found), DataType::List(wanted)) => same_type(found.data_type(), wanted.data_type()),
        (DataType::Struct(found), DataType::Struct(wanted)) => wanted.iter().all(|wanted| {
            let same =
                |found: &std::sync::Arc<arrow::datatypes::Field>| same_type(found.data_type(), wanted.data_type());
            found.iter().filter(|field| field.name() == wanted.name()).any(same)
        }),
        _ => found == wanted,
    }
}

/// One row of an [`OpenGroup`].
pub(super) struct RowOfPages<'a> {
    pub group: &'a OpenGroup,
    /// [`column_places`].
    pub places: &'a ColumnPlaces,
    /// For [`ColumnPlaces::find`].
    pub hint: Cell<usize>,
    pub at: usize,
    pub path: &'a Path,
}

impl<'a> RowOfPages<'a> {
    /// The column's number in the group.
    fn number(&self, column: &str) -> Option<usize> {
        self.places.number(self.places.find(column, &self.hint)?)
    }

    fn value(&self, column: &str) -> Option<&'a [u8]> {
        self.group.value(self.at, self.number(column)?)
    }

    fn four(&self, column: &str) -> Result<Option<[u8; 4]>> {
        let Some(bytes) = self.value(column) else {
            return Ok(None);
        };
        let four = bytes.try_into();
        four.map(Some)
            .map_err(|_| self.error(column, "has values of a wrong size"))
    }

    fn utf8<'b>(&self, column: &str, bytes: &'b [u8]) -> Result<&'b str> {
        std::str::from_utf8(bytes).map_err(|e| damaged(self.path, &format!("column `{column}` is no UTF-8 text: {e}")))
    }
}

impl Cells for RowOfPages<'_> {
    fn text(&self, column: &str) -> Result<Option<&str>> {
        let bytes = self.value(column);
        bytes.map(|bytes| self.utf8(column, bytes)).transpose()
    }

    fn int(&self, column: &str) -> Result<Option<i32>> {
        Ok(self.four(column)?.map(i32::from_le_bytes))
    }

    fn float(&self, column: &str) -> Result<Option<f32>> {
        Ok(self.four(column)?.map(f32::from_le_bytes))
    }

    fn texts(&self, column: &str) -> Result<Vec<String>> {
        let Some(number) = self.number(column) else {
            return Ok(Vec::new());
        };
        let items = self.group.items(self.at, number);
        items.map(|bytes| self.utf8(column, bytes).map(str::to_owned)).collect()
    }

    fn panel_bbox(&self) -> Result<Option<BoundingBox>> {
        let edges = (
            self.int("panel_bbox.x0")?,
            self.int("panel_bbox.y0")?,
            self.int("panel_bbox.x1")?,
            self.int("panel_bbox.y1")?,
        );
        let (Some(x0), Some(y0), Some(x1), Some(y1)) = edges else {
            return Ok(None);
        };
        Ok(Some(BoundingBox { x0, y0, x1, y1 }))
    }

    fn image(&self) -> Result<ImageFile> {
        if !self.has("image.bytes") && !self.has("image.path") {
            return Err(self.error("image", "is missing"));
        }
        Ok(ImageFile {
            bytes: Vec::new(),
            path: self.owned("image.path")?.unwrap_or_default(),
        })
    }

    fn has(&self, column: &str) -> bool {
        self.places.find(column, &Cell::new(0)).is_some()
    }

    fn error(&self, column: &str, message: &str) -> DatasetError {
        DatasetError::Schema {
            path: self.path.to_path_buf(),
            column: column.to_owned(),
            message: message.to_owned(),
        }
    }
}
