//! What only pairs have: corrections, and the copy of `data/` without image
//! bytes for analysts.

use super::METADATA_FILE;
use crate::edits::Edits;
use crate::error::{DatasetError, Result};
use crate::record::{LabelRecord, PairRecord, TextRecord};
use crate::rows::metadata_batch;
use crate::schema::{Table, metadata_schema};
use crate::shard::FileWriter;
use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

/// Rows that a person can correct; only pairs are.
pub(crate) trait Editable {
    const EDITABLE: bool = false;

    fn apply_edits(&mut self, _: &Edits) -> Vec<usize> {
        Vec::new()
    }

    /// Itself as pairs, for the copy without image bytes.
    fn as_pairs(_: &[Self]) -> &[PairRecord]
    where
        Self: Sized,
    {
        &[]
    }
}

impl Editable for PairRecord {
    const EDITABLE: bool = true;

    fn apply_edits(&mut self, edits: &Edits) -> Vec<usize> {
        edits.apply(self)
    }

    fn as_pairs(rows: &[Self]) -> &[PairRecord] {
        rows
    }
}

impl Editable for TextRecord {}
impl Editable for LabelRecord {}

/// The analysts' copy of `data/`, written beside the shards.
#[derive(Clone)]
pub(super) struct MetadataCopy {
    open: Rc<RefCell<Option<(FileWriter, u64)>>>,
}

impl MetadataCopy {
    pub(super) fn create(staging: &Path, table: Table) -> Result<Self> {
        let open = match table {
            Table::Pairs => Some((FileWriter::create(staging.join(METADATA_FILE), metadata_schema())?, 0)),
            _ => None,
        };
        Ok(Self {
            open: Rc::new(RefCell::new(open)),
        })
    }

    pub(super) fn write<R: Editable>(&self, rows: &[R]) -> Result<()> {
        if let Some((file, count)) = &mut *self.open.borrow_mut() {
            let pairs = R::as_pairs(rows);
            let batch = metadata_batch(pairs).map_err(|e| DatasetError::invalid(METADATA_FILE, e.to_string()))?;
            file.append(&batch)?;
            *count += pairs.len() as u64;
        }
        Ok(())
    }

    pub(super) fn close(&self) -> Result<u64> {
        match self.open.borrow_mut().take() {
            Some((file, count)) => file.close().map(|()| count),
            None => Ok(0),
        }
    }
}
