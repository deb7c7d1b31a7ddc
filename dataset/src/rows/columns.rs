//! Reading the columns of a record batch by name.

use super::cells::Cells;
use crate::error::{DatasetError, Result};
use crate::record::{BoundingBox, ImageFile};
use crate::schema::{Table, columns};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float32Type, Int32Type};
use std::path::Path;

/// The columns of a batch by name; a column of another but convertible type is
/// converted.
pub(crate) struct Columns<'a> {
    rows: usize,
    file: &'a Path,
    /// All columns but the image.
    arrays: Vec<(String, ArrayRef)>,
    /// The struct `image` and its two children.
    image: Option<[Option<ArrayRef>; 3]>,
}

/// One row of [`Columns`].
pub(crate) struct RowOfBatch<'a> {
    columns: &'a Columns<'a>,
    at: usize,
}

fn schema_error(file: &Path, column: &str, message: &str) -> DatasetError {
    DatasetError::Schema {
        path: file.to_path_buf(),
        column: column.to_owned(),
        message: message.to_owned(),
    }
}

fn cast(file: &Path, name: &str, array: &ArrayRef, target: &DataType) -> Result<ArrayRef> {
    if array.data_type() == target {
        return Ok(array.clone());
    }
    let found = array.data_type();
    let fail = |why: String| {
        let message = format!("type is {found}, expected {target}{why}; is this a file of another kind?");
        schema_error(file, name, &message)
    };
    if target == &DataType::Utf8 && (found.is_numeric() || found.is_nested()) {
        return Err(fail(String::new()));
    }
    arrow::compute::cast(array, target).map_err(|e| fail(format!(" ({e})")))
}

impl<'a> Columns<'a> {
    pub(crate) fn new(batch: &RecordBatch, table: Table, file: &'a Path) -> Result<Self> {
        let mut found = Self {
            rows: batch.num_rows(),
            file,
            arrays: Vec::new(),
            image: None,
        };
        for field in columns(table) {
            let Some(array) = batch.column_by_name(field.name()) else {
                continue;
            };
            if field.name() != "image" {
                let array = cast(file, field.name(), array, field.data_type())?;
                found.arrays.push((field.name().clone(), array));
                continue;
            }
            let Some(image) = array.as_struct_opt() else {
                let message = format!("type is {}, expected struct<bytes, path>", array.data_type());
                return Err(schema_error(file, "image", &message));
            };
            let child = |name: &str, target: DataType| {
                image
                    .column_by_name(name)
                    .map(|array| cast(file, &format!("image.{name}"), array, &target))
                    .transpose()
            };
            found.image = Some([
                Some(array.clone()),
                child("bytes", DataType::Binary)?,
                child("path", DataType::Utf8)?,
            ]);
        }
        Ok(found)
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = RowOfBatch<'_>> {
        (0..self.rows).map(|at| self.row(at))
    }

    pub(crate) fn row(&self, at: usize) -> RowOfBatch<'_> {
        RowOfBatch { columns: self, at }
    }
}

impl<'a> RowOfBatch<'a> {
    /// The column's array if the row has a value there.
    fn cell(&self, column: &str) -> Option<&'a ArrayRef> {
        let (_, array) = self.columns.arrays.iter().find(|(name, _)| name == column)?;
        array.is_valid(self.at).then_some(array)
    }
}

impl Cells for RowOfBatch<'_> {
    fn text(&self, column: &str) -> Result<Option<&str>> {
        Ok(self.cell(column).map(|array| array.as_string::<i32>().value(self.at)))
    }

    fn int(&self, column: &str) -> Result<Option<i32>> {
        Ok(self
            .cell(column)
            .map(|array| array.as_primitive::<Int32Type>().value(self.at)))
    }

    fn float(&self, column: &str) -> Result<Option<f32>> {
        Ok(self
            .cell(column)
            .map(|array| array.as_primitive::<Float32Type>().value(self.at)))
    }

    fn texts(&self, column: &str) -> Result<Vec<String>> {
        Ok(self.cell(column).map_or_else(Vec::new, |array| {
            let words = array.as_list::<i32>().value(self.at);
            words.as_string::<i32>().iter().flatten().map(str::to_owned).collect()
        }))
    }

    fn panel_bbox(&self) -> Result<Option<BoundingBox>> {
        let edges = self.cell("panel_bbox").and_then(|array| {
            let array = array.as_struct();
            let edge = |child: usize| {
                let edge = array.column(child).as_primitive::<Int32Type>();
                edge.is_valid(self.at).then(|| edge.value(self.at))
            };
            Some([edge(0)?, edge(1)?, edge(2)?, edge(3)?])
        });
        Ok(edges.map(|[x0, y0, x1, y1]| BoundingBox { x0, y0, x1, y1 }))
    }

    fn image(&self) -> Result<ImageFile> {
        let Some([Some(image), bytes, path]) = &self.columns.image else {
            return Err(self.error("image", "is missing"));
        };
        let there = |array: &&ArrayRef| image.is_valid(self.at) && array.is_valid(self.at);
        let bytes = bytes.as_ref().filter(there);
        let path = path.as_ref().filter(there);
        Ok(ImageFile {
            bytes: bytes.map_or_else(Vec::new, |array| array.as_binary::<i32>().value(self.at).to_vec()),
            path: path.map_or_else(String::new, |array| array.as_string::<i32>().value(self.at).to_owned()),
        })
    }

    fn has(&self, column: &str) -> bool {
        self.columns.arrays.iter().any(|(name, _)| name == column)
    }

    fn error(&self, column: &str, message: &str) -> DatasetError {
        schema_error(self.columns.file, column, message)
    }
}
