//! Single rows by id or place: bloom filters or an index say where an id is, the
//! page index lets the reader fetch just the page of that row's picture.

mod group;
mod index;
mod page;
mod picture;
mod row;

use crate::error::{DatasetError, Result};
use crate::guard::quietly;
use crate::parquet_file::{ParquetFile, Purpose, damaged};
use crate::read::{Columns, Dataset};
use crate::record::{LabelRecord, PairRecord};
use crate::rows::Row;
use crate::rows::columns::Columns as BatchColumns;
use arrow::array::RecordBatch;
use group::OpenGroup;
use index::IdIndex;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::RowSelector;
use parquet::bloom_filter::Sbbf;
use row::{ColumnPlaces, RowOfPages, column_places};
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
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

fn by_ids<R: Row>(reader: &RowReader<R>, ids: &[&str]) -> Result<Vec<R>> {
    ids.iter().filter_map(|id| reader.by_id(id).transpose()).collect()
}

/// Random access to the rows of a table. Footers and page places are read once;
/// a row then costs the page of its picture, and the other columns of its row
/// group unless they are still in memory. The first look-ups by id go through
/// the bloom filters; whoever asks more often gets an index of all ids, 8 bytes
/// a row. Threads may share one reader.
pub struct RowReader<R> {
    files: Vec<OpenFile>,
    rows: u64,
    with_bytes: bool,
    groups: Mutex<Groups>,
    lookups: AtomicUsize,
    index: OnceLock<IdIndex>,
    row: PhantomData<fn() -> R>,
}

/// Memory for opened row groups, image bytes not among them.
const GROUP_MEMORY: usize = 256 << 20;
/// Row groups of other makers that are larger (without pictures), or take more than
/// [`GROUP_MEMORY`], are never held whole: only the pages of the wanted row are read.
const MAX_GROUP_BYTES: u64 = 16 << 20;
/// Look-ups by id before the index of all ids is made.
const LOOKUPS_BY_FILTER: usize = 16;

/// Buffers larger than this are not kept for the next row.
const MAX_KEPT_BYTES: usize = 1 << 20;

thread_local! {
    /// Row groups are read into it one after the other.
    static STORED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Opened row groups by file and number, the oldest first to go.
#[derive(Default)]
struct Groups {
    kept: HashMap<(usize, usize), Arc<Group>>,
    order: VecDeque<(usize, usize)>,
    bytes: usize,
}

impl Groups {
    fn keep(&mut self, key: (usize, usize), group: Arc<Group>) {
        let bytes = group.memory();
        if self.kept.insert(key, group).is_some() {
            return;
        }
        self.bytes += bytes;
        self.order.push_back(key);
        while self.bytes > GROUP_MEMORY && self.order.len() > 1 {
            let oldest = self.order.pop_front().and_then(|key| self.kept.remove(&key));
            self.bytes = self.bytes.saturating_sub(oldest.map_or(0, |group| group.memory()));
        }
    }
}

/// A row group without image bytes.
enum Group {
    /// In the layout that the folder's own files have.
    Pages(OpenGroup),
    /// Anything else, read by the parquet crate.
    Batches(Vec<RecordBatch>),
    /// Too large to be held.
    Large,
}

impl Group {
    fn memory(&self) -> usize {
        match self {
            Self::Pages(pages) => pages.memory(),
            Self::Batches(batches) => batches.iter().map(RecordBatch::get_array_memory_size).sum(),
            Self::Large => 64,
        }
    }
}

struct OpenFile {
    file: ParquetFile,
    /// The wanted columns without image bytes.
    mask: ProjectionMask,
    /// `image.bytes` alone.
    bytes: ProjectionMask,
    /// The leaf columns `id` and `image.bytes`.
    id: usize,
    image: Option<usize>,
    /// Leaf columns by name, if all have the types of the format.
    places: Option<ColumnPlaces>,
    /// Number of the first row of each row group, and of the end.
    starts: Vec<u64>,
    /// One bloom filter for each row group, read when first needed.
    filters: OnceLock<Vec<Option<Sbbf>>>,
}

impl<R: Row> RowReader<R> {
    fn open(dataset: &Dataset, columns: Columns) -> Result<Self> {
        let mut rows = 0;
        let mut files = Vec::new();
        for path in dataset.files(R::TABLE)? {
            files.push(OpenFile::open::<R>(path, columns, &mut rows)?);
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
            groups: Mutex::default(),
            lookups: AtomicUsize::new(0),
            index: OnceLock::new(),
            row: PhantomData,
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
        let at = file.starts.partition_point(|&start| start <= place) - 1;
        let within = usize::try_from(place - file.starts[at]).map_err(|_| damaged(file.file.path(), "row number"))?;
        let group = self.group(number, at)?;
        self.row(number, at, within, &group)
    }

    /// The row with this id, or `None`.
    ///
    /// # Errors
    /// A page cannot be read.
    pub fn by_id(&self, id: &str) -> Result<Option<R>> {
        if self.lookups.fetch_add(1, Ordering::Relaxed) >= LOOKUPS_BY_FILTER {
            return self.by_index(id);
        }
        for (number, file) in self.files.iter().enumerate() {
            for at in file.groups_that_may_hold(id)? {
                let group = self.group(number, at)?;
                let place = match &*group {
                    Group::Large => return self.by_index(id),
                    Group::Pages(pages) => file.id_number().and_then(|column| pages.find(column, id)),
                    Group::Batches(batches) => place_in_batches(batches, id),
                };
                if let Some(place) = place {
                    return self.row(number, at, place, &group).map(Some);
                }
            }
        }
        Ok(None)
    }

    fn by_index(&self, id: &str) -> Result<Option<R>> {
        let index = match self.index.get() {
            Some(index) => index,
            None => {
                let made = IdIndex::of(&self.files)?;
                self.index.get_or_init(|| made)
            }
        };
        for place in index.candidates(id) {
            let row = self.at(place)?;
            if row.id() == id {
                return Ok(Some(row));
            }
        }
        Ok(None)
    }

    /// A row group without image bytes.
    fn group(&self, number: usize, at: usize) -> Result<Arc<Group>> {
        let groups = || self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(group) = groups().kept.get(&(number, at)) {
            return Ok(Arc::clone(group));
        }
        let group = Arc::new(self.files[number].group(at)?);
        groups().keep((number, at), Arc::clone(&group));
        Ok(group)
    }

    fn row(&self, number: usize, at: usize, place: usize, group: &Group) -> Result<R> {
        let file = &self.files[number];
        let path = file.file.path();
        let missing = || damaged(path, "a row is missing");
        let of_batch =
            |batch: &RecordBatch, place| R::from_cells(&BatchColumns::new(batch, R::TABLE, path)?.row(place));
        let mut row = match (group, &file.places) {
            (Group::Pages(group), Some(places)) if place < group.rows() => R::from_cells(&RowOfPages {
                group,
                places,
                hint: Cell::new(0),
                at: place,
                path,
            })?,
            (Group::Pages(_), _) => return Err(missing()),
            (Group::Batches(batches), _) => {
                let mut place = place;
                let holder = batches.iter().find(|batch| {
                    let holds = place < batch.num_rows();
                    if !holds {
                        place -= batch.num_rows();
                    }
                    holds
                });
                of_batch(holder.ok_or_else(missing)?, place)?
            }
            (Group::Large, _) => of_batch(&file.one_row(at, &file.mask, place)?, 0)?,
        };
        if self.with_bytes
            && let Some(image) = row.image_mut()
        {
            let group = match group {
                Group::Pages(pages) => Some(pages),
                _ => None,
            };
            image.bytes = file.image_bytes(at, place, group)?;
        }
        Ok(row)
    }
}

fn place_in_batches(batches: &[RecordBatch], id: &str) -> Option<usize> {
    let ids = batches.iter().flat_map(|batch| {
        let column = batch.column_by_name("id");
        let texts = column.and_then(|column| arrow::array::AsArray::as_string_opt::<i32>(column.as_ref()));
        (0..batch.num_rows()).map(move |row| texts.map(|texts| texts.value(row)))
    });
    ids.enumerate()
        .find_map(|(place, found)| (found == Some(id)).then_some(place))
}

impl OpenFile {
    fn open<R: Row>(path: PathBuf, columns: Columns, rows: &mut u64) -> Result<Self> {
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
        let mask = file.mask(columns, false);
        Ok(Self {
            bytes: ProjectionMask::leaves(schema, file.leaf("image.bytes")),
            id,
            image: file.leaf("image.bytes"),
            places: column_places(&file, R::TABLE, &mask),
            mask,
            starts,
            filters: OnceLock::new(),
            file,
        })
    }

    /// The number of the column `id` in opened row groups.
    fn id_number(&self) -> Option<usize> {
        self.places.as_ref()?.number(self.id)
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

    fn group(&self, at: usize) -> Result<Group> {
        let path = self.file.path();
        let opened = STORED.with_borrow_mut(|stored| {
            let Some(chunks) = self.file.chunks(at, &self.mask, MAX_GROUP_BYTES, stored)? else {
                return Ok(Some(Group::Large));
            };
            let metadata = self.file.metadata().row_group(at);
            let open = || OpenGroup::open(metadata, stored, &chunks);
            // A failure here is met again, and told, by the parquet crate.
            let pages = self.places.as_ref().and_then(|_| quietly(open).ok().flatten());
            stored.truncate(MAX_KEPT_BYTES);
            stored.shrink_to_fit();
            Ok::<_, DatasetError>(pages.map(Group::Pages))
        })?;
        if let Some(group) = opened {
            return Ok(group);
        }
        quietly(|| {
            let (mut batches, mut memory) = (Vec::new(), 0_usize);
            for batch in self.file.group(at, &self.mask)? {
                let batch = batch.map_err(|e| damaged(path, &e.to_string()))?;
                memory = memory.saturating_add(batch.get_array_memory_size());
                // Codes and compression can make terabytes out of a few bytes.
                if memory > GROUP_MEMORY {
                    return Ok(Group::Large);
                }
                batches.push(batch);
            }
            Ok(Group::Batches(batches))
        })
        .map_err(|message| damaged(path, &message))?
    }

    /// One row as the parquet crate reads it; only its pages are read.
    fn one_row(&self, group: usize, mask: &ProjectionMask, place: usize) -> Result<RecordBatch> {
        let path = self.file.path();
        let selection = vec![RowSelector::skip(place), RowSelector::select(1)];
        let mut reader = self.file.selected(group, mask, selection.into())?;
        quietly(|| reader.next())
            .map_err(|message| damaged(path, &message))?
            .ok_or_else(|| damaged(path, "a row is missing"))?
            .map_err(|e| DatasetError::parquet(path, &e))
    }

    /// The picture of one row; reads its page alone, or its bytes alone once the
    /// page has been seen.
    fn image_bytes(&self, at: usize, place: usize, group: Option<&OpenGroup>) -> Result<Vec<u8>> {
        if let (Some(group), Some(image)) = (group, self.image)
            && let Some(bytes) = group.pictures.get(&self.file, at, image, place, group.rows())?
        {
            return Ok(bytes);
        }
        let path = self.file.path();
        let batch = self.one_row(at, &self.bytes, place)?;
        let columns = BatchColumns::new(&batch, crate::schema::Table::Pairs, path)?;
        Ok(crate::rows::cells::Cells::image(&columns.row(0))?.bytes)
    }
}

#[cfg(test)]
mod tests;
