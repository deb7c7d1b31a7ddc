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
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

/// Rows that a person can correct; only pairs are.
pub(crate) trait Editable {
    const EDITABLE: bool = false;

    /// Applies matching edits; returns which, and why a person took the row out.
    fn apply_edits(&mut self, _: &Edits) -> (Vec<usize>, Option<String>) {
        (Vec::new(), None)
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

    fn apply_edits(&mut self, edits: &Edits) -> (Vec<usize>, Option<String>) {
        let matching = edits.apply(self);
        let rejection = edits.rejection(&matching);
        (matching, rejection)
    }

    fn as_pairs(rows: &[Self]) -> &[PairRecord] {
        rows
    }
}

impl Editable for TextRecord {}
impl Editable for LabelRecord {}

/// Key of the copy's metadata under which the shards stand that it was made with.
pub(crate) const DATA_FILES_KEY: &str = "mm_retinal_data_files";

/// Bytes of each shard by its name in the folder.
pub(crate) type DataFiles = BTreeMap<String, u64>;

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

    /// Ends the copy; `files` are names and bytes of the shards it belongs to.
    /// Returns its rows.
    pub(super) fn close(&self, files: &DataFiles) -> Result<u64> {
        match self.open.borrow_mut().take() {
            Some((mut file, count)) => {
                let text =
                    serde_json::to_string(files).map_err(|e| DatasetError::invalid(METADATA_FILE, e.to_string()))?;
                file.describe(DATA_FILES_KEY, text);
                file.close().map(|()| count)
            }
            None => Ok(0),
        }
    }
}
