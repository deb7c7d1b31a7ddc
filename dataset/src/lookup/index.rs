//! Where every id is: one sorted number for each row, half hash, half place.

use super::OpenFile;
use super::group::LeafPages;
use crate::error::{DatasetError, Result};
use crate::guard::quietly;
use crate::parquet_file::damaged;
use arrow::array::{Array, AsArray};
use parquet::arrow::ProjectionMask;
use std::hash::{DefaultHasher, Hasher};

/// Larger columns of ids are read batch by batch.
const MAX_CHUNK_BYTES: u64 = 16 << 20;

/// The index; 8 bytes a row.
pub(super) struct IdIndex {
    /// Upper half: of the id's hash; lower half: the row's place. Sorted.
    entries: Vec<u64>,
}

/// The upper half of an entry.
fn hash(id: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(id);
    hasher.finish() >> 32
}

impl IdIndex {
    /// Reads the ids of all files.
    pub fn of(files: &[OpenFile]) -> Result<Self> {
        let mut entries = Vec::new();
        for file in files {
            for group in 0..file.file.groups() {
                add(&mut entries, file, group)?;
            }
        }
        entries.sort_unstable();
        Ok(Self { entries })
    }

    /// Places of rows that may have this id: nearly always one or none.
    pub fn candidates(&self, id: &str) -> impl Iterator<Item = u64> {
        let wanted = hash(id.as_bytes());
        let first = self.entries.partition_point(|entry| entry >> 32 < wanted);
        let found = self.entries[first..]
            .iter()
            .take_while(move |&&entry| entry >> 32 == wanted);
        found.map(|entry| entry & u64::from(u32::MAX))
    }
}

fn add(entries: &mut Vec<u64>, file: &OpenFile, group: usize) -> Result<()> {
    let path = file.file.path();
    let mut place = file.starts[group];
    let mut push = |id: Option<&[u8]>| {
        let Ok(number) = u32::try_from(place) else {
            let message = "the table has more rows than an index of ids can hold (4,294,967,296)";
            return Err(DatasetError::invalid(path.display().to_string(), message));
        };
        if let Some(id) = id {
            entries.push(hash(id) << 32 | u64::from(number));
        }
        place += 1;
        Ok(())
    };
    let metadata = file.file.metadata();
    let mask = ProjectionMask::leaves(metadata.file_metadata().schema_descr(), [file.id]);
    let rows = usize::try_from(metadata.row_group(group).num_rows()).unwrap_or(0);
    let column = metadata.row_group(group).column(file.id);
    if file.places.is_some()
        && let Some(chunks) = file.file.chunks(group, &mask, MAX_CHUNK_BYTES)?
        && let [(_, chunk)] = chunks.as_slice()
        && let Ok(Some(ids)) = quietly(|| LeafPages::open(column, chunk, rows))
    {
        return (0..rows).try_for_each(|row| push(ids.value(row)));
    }
    let mut reader = file.file.group(group, &mask)?;
    while let Some(batch) = quietly(|| reader.next()).map_err(|message| damaged(path, &message))? {
        let batch = batch.map_err(|e| DatasetError::parquet(path, &e))?;
        let Some(ids) = batch.column(0).as_string_opt::<i32>() else {
            return Err(DatasetError::Schema {
                path: path.to_path_buf(),
                column: "id".to_owned(),
                message: "is no text".to_owned(),
            });
        };
        (0..ids.len()).try_for_each(|row| push(ids.is_valid(row).then(|| ids.value(row).as_bytes())))?;
    }
    Ok(())
}
