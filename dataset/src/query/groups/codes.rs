//! A column of strings as codes.

use super::MAX_VALUES;
use arrow::array::{Array, DictionaryArray, PrimitiveArray, StringArray};
use arrow::datatypes::Int32Type;
use std::sync::Arc;

/// The codes of one key column of a batch.
pub(super) struct Codes<'a> {
    codes: &'a PrimitiveArray<Int32Type>,
    pub values: &'a StringArray,
    has_nulls: bool,
}

impl<'a> Codes<'a> {
    /// `None` if the column has too many values, or none that codes stand for.
    pub fn of(column: &'a Arc<dyn Array>) -> Option<Self> {
        let column = column.as_any().downcast_ref::<DictionaryArray<Int32Type>>()?;
        let values = column.values().as_any().downcast_ref::<StringArray>()?;
        (values.len() <= MAX_VALUES && values.null_count() == 0).then(|| Self {
            codes: column.keys(),
            values,
            has_nulls: column.keys().null_count() > 0,
        })
    }

    /// The code of a row, or the number of values for a cell without one; `None`
    /// if no value has it.
    pub fn at(&self, row: usize) -> Option<usize> {
        if self.has_nulls && self.codes.is_null(row) {
            return Some(self.values.len());
        }
        let code = usize::try_from(self.codes.value(row)).ok()?;
        (code < self.values.len()).then_some(code)
    }

    /// The value of a row.
    pub fn value(&self, row: usize) -> Option<String> {
        let code = self.at(row).filter(|&code| code < self.values.len())?;
        Some(self.values.value(code).to_owned())
    }
}
