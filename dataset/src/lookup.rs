//! Single rows by id or place: bloom filters say which row groups can hold an
//! id, the page index lets the reader fetch just the pages of that row.

use crate::error::{DatasetError, Result};
use crate::guard::quietly;
use crate::parquet_file::{ParquetFile, Purpose, damaged};
use crate::read::{Columns, Dataset};
use crate::record::{LabelRecord, PairRecord};
use crate::rows::Row;
use arrow::array::{Array, AsArray};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::RowSelector;
use parquet::bloom_filter::Sbbf;
use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

impl Dataset {
    /// Random access to the pairs.
    ///
    /// # Errors
    /// A file's footer cannot be read.
    pub fn pair_reader(&self, columns: Columns) -> Result<RowReader<PairRecord>> {
        RowReader::open(self, columns)
    }

    /// Random access to the labelled images.
    ///
    /// # Errors
    /// A file's footer cannot be read.
    pub fn label_reader(&self, columns: Columns) -> Result<RowReader<LabelRecord>> {
        RowReader::open(self, columns)
    }

    /// Pairs with these ids, pictures included, in the order of `ids`; unknown
    /// ids are left out.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn pairs_by_id(&self, ids: &[&str]) -> Result<Vec<PairRecord>> {
        by_ids(&self.pair_reader(Columns::All)?, ids)
    }

    /// Labelled images with these ids, as [`Dataset::pairs_by_id`].
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn labels_by_id(&self, ids: &[&str]) -> Result<Vec<LabelRecord>> {
        by_ids(&self.label_reader(Columns::All)?, ids)
    }
}

fn by_ids<R: Row + Clone>(reader: &RowReader<R>, ids: &[&str]) -> Result<Vec<R>> {
    ids.iter().filter_map(|id| reader.by_id(id).transpose()).collect()
}

/// Random access to the rows of a table. Footers and page places are read once;
/// a row then costs the page of its picture, and the other columns of its row
/// group unless they are still in memory. Threads may share one reader.
pub struct RowReader<R> {
    files: Vec<OpenFile>,
    rows: u64,
    with_bytes: bool,
    groups: Mutex<Groups<R>>,
}

/// Memory for the records of row groups, image bytes not among them: enough
/// for about 130,000 pairs.
const GROUP_MEMORY: usize = 256 << 20;
/// Texts of one record, roughly.
const TEXTS_OF_RECORD: usize = 1400;

/// Records without image bytes by file and row group, the oldest first to go.
struct Groups<R> {
    kept: HashMap<(usize, usize), Arc<Vec<R>>>,
    order: VecDeque<(usize, usize)>,
    bytes: usize,
}

impl<R> Groups<R> {
    fn new() -> Self {
        Self {
            kept: HashMap::new(),
            order: VecDeque::new(),
            bytes: 0,
        }
    }

    fn keep(&mut self, key: (usize, usize), rows: Arc<Vec<R>>) {
        let size = |rows: &Vec<R>| rows.len() * (size_of::<R>() + TEXTS_OF_RECORD);
        let bytes = size(&rows);
        if self.kept.insert(key, rows).is_some() {
            return;
        }
        self.bytes += bytes;
        self.order.push_back(key);
        while self.bytes > GROUP_MEMORY && self.order.len() > 1 {
            let oldest = self.order.pop_front().and_then(|key| self.kept.remove(&key));
            self.bytes = self.bytes.saturating_sub(oldest.map_or(0, |rows| size(&rows)));
        }
    }
}

struct OpenFile {
    file: ParquetFile,
    /// The wanted columns without image bytes.
    mask: ProjectionMask,
    /// `image.bytes` alone.
    bytes: ProjectionMask,
    /// The leaf column `id`.
    id: usize,
    /// Number of the first row of each row group, and of the end.
    starts: Vec<u64>,
    /// One bloom filter for each row group, read when first needed.
    filters: OnceLock<Vec<Option<Sbbf>>>,
}

impl<R: Row + Clone> RowReader<R> {
    fn open(dataset: &Dataset, columns: Columns) -> Result<Self> {
        let mut rows = 0;
        let mut files = Vec::new();
        for path in dataset.files(R::TABLE)? {
            files.push(OpenFile::open(path, columns, &mut rows)?);
        }
        let with_bytes = match columns {
            Columns::All => true,
            Columns::WithoutImageBytes => false,
            Columns::Only(names) => names.contains(&"image"),
        };
        Ok(Self {
            files,
            rows,
            with_bytes,
            groups: Mutex::new(Groups::new()),
        })
    }

    /// Rows of the table.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.rows
    }

    /// Whether the table is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The row at a place in file order, `0..len()`.
    ///
    /// # Errors
    /// There is no such row, or its pages cannot be read.
    pub fn at(&self, place: u64) -> Result<R> {
        let number = self.files.partition_point(|file| file.end() <= place);
        let Some(file) = self.files.get(number) else {
            return Err(DatasetError::invalid(
                format!("row {place}"),
                format!("the table has {} rows", self.rows),
            ));
        };
        let group = file.starts.partition_point(|&start| start <= place) - 1;
        let within =
            usize::try_from(place - file.starts[group]).map_err(|_| damaged(file.file.path(), "row number"))?;
        self.row(number, group, within, &self.group(number, group)?)
    }

    /// The row with this id, or `None`.
    ///
    /// # Errors
    /// A page cannot be read.
    pub fn by_id(&self, id: &str) -> Result<Option<R>> {
        for (number, file) in self.files.iter().enumerate() {
            for group in file.groups_that_may_hold(id)? {
                let rows = self.group(number, group)?;
                if let Some(place) = rows.iter().position(|row| row.id() == id) {
                    return self.row(number, group, place, &rows).map(Some);
                }
            }
        }
        Ok(None)
    }

    /// The records of a row group without image bytes.
    fn group(&self, number: usize, group: usize) -> Result<Arc<Vec<R>>> {
        let groups = || self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rows) = groups().kept.get(&(number, group)) {
            return Ok(Arc::clone(rows));
        }
        let file = &self.files[number].file;
        let path = file.path();
        let mut rows = Vec::new();
        let mut reader = file.group(group, &self.files[number].mask)?;
        while let Some(batch) = quietly(|| reader.next()).map_err(|message| damaged(path, &message))? {
            let batch = batch.map_err(|e| DatasetError::parquet(path, &e))?;
            rows.extend(quietly(|| R::from_batch(&batch, path)).map_err(|message| damaged(path, &message))??);
        }
        let rows = Arc::new(rows);
        groups().keep((number, group), Arc::clone(&rows));
        Ok(rows)
    }

    fn row(&self, number: usize, group: usize, place: usize, rows: &[R]) -> Result<R> {
        let file = &self.files[number];
        let mut row = rows
            .get(place)
            .cloned()
            .ok_or_else(|| damaged(file.file.path(), "a row is missing"))?;
        if self.with_bytes
            && let Some(image) = row.image_mut()
        {
            image.bytes = file.image_bytes(group, place)?;
        }
        Ok(row)
    }
}

impl OpenFile {
    fn open(path: PathBuf, columns: Columns, rows: &mut u64) -> Result<Self> {
        let file = ParquetFile::open(&path, Purpose::SingleRows)?;
        let id = file.leaf("id").ok_or_else(|| DatasetError::Schema {
            path,
            column: "id".to_owned(),
            message: "is missing".to_owned(),
        })?;
        let mut starts = vec![*rows];
        for group in file.metadata().row_groups() {
            *rows += u64::try_from(group.num_rows()).unwrap_or(0);
            starts.push(*rows);
        }
        let schema = file.metadata().file_metadata().schema_descr();
        Ok(Self {
            mask: file.mask(columns, false),
            bytes: ProjectionMask::leaves(schema, file.leaf("image.bytes")),
            id,
            starts,
            filters: OnceLock::new(),
            file,
        })
    }

    /// Number of the row behind the last one.
    fn end(&self) -> u64 {
        self.starts.last().copied().unwrap_or(0)
    }

    fn filters(&self) -> Result<&[Option<Sbbf>]> {
        if let Some(filters) = self.filters.get() {
            return Ok(filters);
        }
        let filters = (0..self.file.groups())
            .map(|group| self.file.filter(group, self.id))
            .collect::<Result<Vec<_>>>()?;
        Ok(self.filters.get_or_init(|| filters))
    }

    /// Row groups whose bloom filter does not rule the id out. Files of other
    /// makers may have no filter: all their groups are looked into.
    fn groups_that_may_hold(&self, id: &str) -> Result<Vec<usize>> {
        let filters = self.filters()?.iter().enumerate();
        let may_hold = |filter: &Option<Sbbf>| filter.as_ref().is_none_or(|filter| filter.check(id));
        Ok(filters
            .filter(|(_, filter)| may_hold(filter))
            .map(|(group, _)| group)
            .collect())
    }

    /// The picture of one row; reads its page alone.
    fn image_bytes(&self, group: usize, place: usize) -> Result<Vec<u8>> {
        let path = self.file.path();
        let selection = vec![RowSelector::skip(place), RowSelector::select(1)];
        let mut reader = self.file.selected(group, &self.bytes, selection.into())?;
        let batch = quietly(|| reader.next())
            .map_err(|message| damaged(path, &message))?
            .ok_or_else(|| damaged(path, "a row is missing"))?
            .map_err(|e| DatasetError::parquet(path, &e))?;
        let bytes = batch
            .column_by_name("image")
            .and_then(|image| image.as_struct_opt()?.column_by_name("bytes"))
            .and_then(|bytes| bytes.as_binary_opt::<i32>())
            .ok_or_else(|| damaged(path, "`image.bytes` is no column of bytes"))?;
        let found = (bytes.len() == 1 && bytes.is_valid(0)).then(|| bytes.value(0).to_vec());
        Ok(found.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::drawn_pair;
    use crate::write::SourceUpdate;

    #[test]
    fn rows_come_by_id_in_the_order_asked() {
        let folder = tempfile::tempdir().unwrap();
        let mut update = SourceUpdate::pairs(folder.path(), "book").unwrap();
        for number in 0..330 {
            update.push_pair(drawn_pair("book", number)).unwrap();
        }
        update.commit().unwrap();
        let dataset = Dataset::open(folder.path()).unwrap();
        let wanted: Vec<PairRecord> = [300, 7, 150, 151].into_iter().map(|n| drawn_pair("book", n)).collect();
        let mut ids: Vec<&str> = wanted.iter().map(|row| row.id.as_str()).collect();
        ids.insert(1, "pair-unknown");
        assert_eq!(dataset.pairs_by_id(&ids).unwrap(), wanted);
        assert!(dataset.labels_by_id(&ids).unwrap().is_empty());
        let reader = dataset.pair_reader(Columns::All).unwrap();
        // The bloom filters leave few row groups to look into.
        assert!(reader.files[0].groups_that_may_hold(ids[0]).unwrap().len() <= 2);
        let every: Vec<PairRecord> = dataset.pairs(Columns::All).unwrap().map(Result::unwrap).collect();
        assert_eq!(reader.len(), 330);
        for place in [0, 99, 100, 215, 329] {
            assert_eq!(reader.at(place).unwrap(), every[place as usize]);
        }
        assert!(reader.at(330).unwrap_err().to_string().contains("330 rows"));
        let plain = dataset
            .pair_reader(Columns::WithoutImageBytes)
            .unwrap()
            .at(215)
            .unwrap();
        assert!(plain.image.bytes.is_empty() && plain.id == every[215].id);
        let some = Columns::Only(&["id", "modality", "image", "caption_en"]);
        let row = dataset.pair_reader(some).unwrap().by_id(ids[0]).unwrap().unwrap();
        assert_eq!((&row.image, &row.caption_en), (&wanted[0].image, &wanted[0].caption_en));
        assert_eq!(row.source_id, "");
    }
}
