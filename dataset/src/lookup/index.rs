//! Where every id is: one sorted number for each row, half hash, half place.

use super::OpenFile;
use super::group::OpenGroup;
use crate::error::{DatasetError, Result};
use crate::guard::quietly;
use crate::parquet_file::damaged;
use arrow::array::{Array, AsArray};
use parquet::arrow::ProjectionMask;
use std::hash::{DefaultHasher, Hasher};

/// Larger columns of ids are read batch by batch.
const MAX_CHUNK_BYTES: u64 = 16 << 20;

/// Footers may lie about the number of rows: no more entries are reserved at once.
const MAX_RESERVED: usize = 1 << 24;

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
        let rows = files.last().map_or(0, OpenFile::end);
        let mut entries = Vec::with_capacity(usize::try_from(rows).unwrap_or(0).min(MAX_RESERVED));
        let mut stored = Vec::new();
        for file in files {
            for group in 0..file.file.groups() {
                add(&mut entries, file, group, &mut stored)?;
            }
        }
        entries.sort_unstable();
        Ok(Self { entries })
    }

    /// The first entry whose hash is not below `wanted`. Hashes are spread evenly,
    /// so that it lies near its share of the entries: few places in memory are
    /// touched on the way to it.
    fn first_not_below(&self, wanted: u64) -> usize {
        let end = self.entries.len();
        let below = |at: usize| self.entries[at] >> 32 < wanted;
        let guess = ((wanted * end as u64) >> 32) as usize;
        let (mut low, mut high) = (guess, guess);
        let mut step = 8;
        while low > 0 && !below(low - 1) {
            low = low.saturating_sub(step);
            step *= 2;
        }
        step = 8;
        while high < end && below(high) {
            high = (high + step).min(end);
            step *= 2;
        }
        low + self.entries[low..high].partition_point(|entry| entry >> 32 < wanted)
    }

    /// Places of rows that may have this id: nearly always one or none.
    pub fn candidates(&self, id: &str) -> impl Iterator<Item = u64> {
        let wanted = hash(id.as_bytes());
        let first = self.first_not_below(wanted);
        let found = self.entries[first..]
            .iter()
            .take_while(move |&&entry| entry >> 32 == wanted);
        found.map(|entry| entry & u64::from(u32::MAX))
    }
}

/// Adds the ids of a row group; `stored` is what they are read into.
fn add(entries: &mut Vec<u64>, file: &OpenFile, group: usize, stored: &mut Vec<u8>) -> Result<()> {
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
    if file.places.is_some()
        && let Some(chunks) = file.file.chunks(group, &mask, MAX_CHUNK_BYTES, stored)?
        && let Ok(Some(ids)) = quietly(|| OpenGroup::open(metadata.row_group(group), stored, &chunks))
    {
        return (0..ids.rows()).try_for_each(|row| push(ids.value(row, 0)));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_entry_is_found_wherever_hashes_lie() {
        let highest = u64::from(u32::MAX);
        let cases: [Vec<u64>; 5] = [
            vec![],
            vec![7],
            (0..3000).map(|at| at * (highest / 3000)).collect(),
            // All at one end, and many alike.
            (0..500).map(|at| at / 100).collect(),
            (0..500).map(|at| highest - 4 + at / 100).collect(),
        ];
        for hashes in cases {
            let entries: Vec<u64> = hashes.iter().zip(0..).map(|(hash, row)| hash << 32 | row).collect();
            let index = IdIndex { entries };
            for wanted in hashes
                .iter()
                .flat_map(|&hash| [hash, hash.saturating_sub(1), hash + 1])
                .chain([0, highest])
            {
                let wanted = wanted.min(highest);
                let expected = hashes.partition_point(|&hash| hash < wanted);
                assert_eq!(index.first_not_below(wanted), expected, "{wanted}");
            }
        }
    }
}
