//! Reading the columns of a record batch by name.

use crate::error::{DatasetError, Result};
use crate::modality::{Modality, UnknownModality};
use crate::record::{BoundingBox, ImageFile};
use crate::schema::{Table, bbox_fields};
use arrow::array::{Array, ArrayRef, AsArray, Float32Array, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Float32Type, Int32Type};
use std::path::Path;
use std::sync::Arc;

/// Access to the columns of a batch by name; a missing column reads as nulls,
/// a column of another but convertible type is converted.
pub(super) struct Columns<'a> {
    batch: &'a RecordBatch,
    table: Table,
    file: &'a Path,
}

impl<'a> Columns<'a> {
    pub(super) fn new(batch: &'a RecordBatch, table: Table, file: &'a Path) -> Self {
        Self { batch, table, file }
    }

    pub(super) fn error(&self, column: &str, message: &str) -> DatasetError {
        DatasetError::Schema {
            path: self.file.to_path_buf(),
            column: column.to_owned(),
            message: message.to_owned(),
        }
    }

    pub(super) fn cast(&self, name: &str, array: &ArrayRef, target: &DataType) -> Result<ArrayRef> {
        if array.data_type() == target {
            return Ok(Arc::clone(array));
        }
        let found = array.data_type();
        let fail = |why: String| {
            self.error(
                name,
                &format!("type is {found}, expected {target}{why}; is this a file of another kind?"),
            )
        };
        if target == &DataType::Utf8 && (found.is_numeric() || found.is_nested()) {
            return Err(fail(String::new()));
        }
        arrow::compute::cast(array, target).map_err(|e| fail(format!(" ({e})")))
    }

    pub(super) fn column(&self, name: &str, target: &DataType) -> Result<Option<ArrayRef>> {
        self.batch
            .column_by_name(name)
            .map(|array| self.cast(name, array, target))
            .transpose()
    }

    pub(super) fn strings(&self, name: &str) -> Result<Option<StringArray>> {
        Ok(self
            .column(name, &DataType::Utf8)?
            .map(|array| array.as_string::<i32>().clone()))
    }

    pub(super) fn required_strings(&self, name: &str) -> Result<StringArray> {
        let array = self.strings(name)?.ok_or_else(|| {
            let table = self.table.name();
            self.error(name, &format!("is missing; every file of `{table}` needs it"))
        })?;
        if array.null_count() > 0 {
            return Err(self.error(
                name,
                &format!("has {} empty cells; every row needs a value", array.null_count()),
            ));
        }
        Ok(array)
    }

    pub(super) fn ints(&self, name: &str) -> Result<Option<Int32Array>> {
        Ok(self
            .column(name, &DataType::Int32)?
            .map(|array| array.as_primitive::<Int32Type>().clone()))
    }

    pub(super) fn floats(&self, name: &str) -> Result<Option<Float32Array>> {
        Ok(self
            .column(name, &DataType::Float32)?
            .map(|array| array.as_primitive::<Float32Type>().clone()))
    }

    pub(super) fn modalities(&self) -> Result<Vec<Modality>> {
        let names = self.required_strings("modality")?;
        names
            .iter()
            .flatten()
            .enumerate()
            .map(|(row, name)| {
                name.parse().map_err(|e: UnknownModality| {
                    self.error(&format!("modality, row {row} of its batch"), &e.to_string())
                })
            })
            .collect()
    }

    /// The images; bytes are empty when they were not read.
    pub(super) fn images(&self) -> Result<Vec<ImageFile>> {
        let array = self
            .batch
            .column_by_name("image")
            .ok_or_else(|| self.error("image", "is missing"))?;
        let Some(image) = array.as_struct_opt() else {
            let found = array.data_type();
            return Err(self.error("image", &format!("type is {found}, expected struct<bytes, path>")));
        };
        let child = |name: &str, target: DataType| {
            image
                .column_by_name(name)
                .map(|array| self.cast(&format!("image.{name}"), array, &target))
                .transpose()
        };
        let bytes = child("bytes", DataType::Binary)?;
        let bytes = bytes.as_ref().map(|array| array.as_binary::<i32>());
        let paths = child("path", DataType::Utf8)?;
        let paths = paths.as_ref().map(|array| array.as_string::<i32>());
        let images = (0..self.batch.num_rows()).map(|at| ImageFile {
            bytes: bytes
                .filter(|array| image.is_valid(at) && array.is_valid(at))
                .map(|array| array.value(at).to_vec())
                .unwrap_or_default(),
            path: paths
                .filter(|array| image.is_valid(at) && array.is_valid(at))
                .map(|array| array.value(at).to_owned())
                .unwrap_or_default(),
        });
        Ok(images.collect())
    }

    pub(super) fn boxes(&self, name: &str) -> Result<Vec<Option<BoundingBox>>> {
        let rows = self.batch.num_rows();
        let Some(array) = self.column(name, &DataType::Struct(bbox_fields()))? else {
            return Ok(vec![None; rows]);
        };
        let array = array.as_struct();
        let edge = |at: usize| array.column(at).as_primitive::<Int32Type>();
        let edges = [edge(0), edge(1), edge(2), edge(3)];
        let boxes = (0..rows).map(|at| {
            let whole = array.is_valid(at) && edges.iter().all(|edge| edge.is_valid(at));
            whole.then(|| BoundingBox {
                x0: edges[0].value(at),
                y0: edges[1].value(at),
                x1: edges[2].value(at),
                y1: edges[3].value(at),
            })
        });
        Ok(boxes.collect())
    }

    pub(super) fn lists(&self, name: &str) -> Result<Vec<Vec<String>>> {
        let rows = self.batch.num_rows();
        let target = DataType::List(Arc::new(Field::new("element", DataType::Utf8, true)));
        let Some(array) = self.column(name, &target)? else {
            return Ok(vec![Vec::new(); rows]);
        };
        let list = array.as_list::<i32>();
        let lists = (0..rows).map(|at| {
            if list.is_null(at) {
                return Vec::new();
            }
            let words = list.value(at);
            words.as_string::<i32>().iter().flatten().map(str::to_owned).collect()
        });
        Ok(lists.collect())
    }
}

pub(super) fn cell(column: &Option<StringArray>, at: usize) -> Option<String> {
    let array = column.as_ref()?;
    array.is_valid(at).then(|| array.value(at).to_owned())
}

pub(super) fn int_cell(column: &Option<Int32Array>, at: usize) -> i32 {
    column.as_ref().filter(|a| a.is_valid(at)).map_or(0, |a| a.value(at))
}

pub(super) fn float_cell(column: &Option<Float32Array>, at: usize) -> Option<f32> {
    column.as_ref().filter(|a| a.is_valid(at)).map(|a| a.value(at))
}
