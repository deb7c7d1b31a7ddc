//! One row group opened so far that any row can be taken out.

use super::page::{Bytes as Cursor, PageHeader, PageKind};
use super::picture::Pictures;
use parquet::basic::{Compression, Type};
use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};
use std::cell::RefCell;
use std::ops::Range;
use zstd::bulk::Decompressor;

/// Larger pages are left to the parquet crate.
const MAX_PAGE_BYTES: usize = 16 << 20;
/// Row groups whose pages are more, decompressed, as well: they may grow without limit.
const MAX_PLAIN_BYTES: usize = 64 << 20;
/// Column chunks with more values as well.
const MAX_VALUES: usize = 1 << 20;
/// Row groups with more cells as well; four bytes are taken for each.
const MAX_CELLS: usize = 4 << 20;
/// The cell of a row that has no value.
const NOTHING: u32 = u32::MAX;

thread_local! {
    /// Setting one up costs more than a small page.
    static ZSTD: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
    /// Used again for each column: fresh memory costs more than what is done with it.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Levels and codes of one page, and where each different value of the column
/// begins in [`OpenGroup::bytes`].
#[derive(Debug, Default)]
struct Scratch {
    repetition: Vec<u32>,
    definition: Vec<u32>,
    codes: Vec<u32>,
    values: Vec<u32>,
}

/// Some columns of a row group. Cells lie row by row, so that the cells of a row
/// are neighbours in memory.
#[derive(Debug, Default)]
pub(super) struct OpenGroup {
    rows: usize,
    /// Bytes of each value by column; `None` where values tell their own length.
    widths: Vec<Option<usize>>,
    /// Different values of all columns as Parquet stores them plainly: the bytes,
    /// behind their length (four bytes, the lowest first) where that varies.
    bytes: Vec<u8>,
    /// `rows × columns`: where the value begins in `bytes`, for lists where the
    /// list begins in `lists`, or [`NOTHING`].
    cells: Vec<u32>,
    /// Of each list that is not empty the number of its items, then where each
    /// begins in `bytes`.
    lists: Vec<u32>,
    /// Where pictures lie in the file.
    pub pictures: Pictures,
}

impl OpenGroup {
    /// Opens column chunks: leaf columns and where they lie in `stored`. Columns
    /// of the group are numbered by their places in `chunks`. `None` where one is
    /// out of the ordinary.
    pub fn open(metadata: &RowGroupMetaData, stored: &[u8], chunks: &[(usize, Range<usize>)]) -> Option<Self> {
        let rows = usize::try_from(metadata.num_rows()).ok()?;
        let cells = rows.checked_mul(chunks.len()).filter(|&cells| cells <= MAX_CELLS)?;
        let plain: i64 = chunks
            .iter()
            .map(|(leaf, _)| metadata.column(*leaf).uncompressed_size())
            .fold(0, i64::saturating_add);
        let mut group = Self {
            rows,
            widths: Vec::with_capacity(chunks.len()),
            // The footer may lie about it, and need not be believed.
            bytes: Vec::with_capacity(usize::try_from(plain).ok()?.min(stored.len().saturating_mul(8))),
            cells: vec![NOTHING; cells],
            ..Self::default()
        };
        for (number, (leaf, range)) in chunks.iter().enumerate() {
            let column = metadata.column(*leaf);
            group.widths.push(match column.column_type() {
                Type::BYTE_ARRAY => None,
                Type::INT32 | Type::FLOAT => Some(4),
                _ => return None,
            });
            let chunk = stored.get(range.clone())?;
            SCRATCH.with_borrow_mut(|scratch| group.add(number, chunks.len(), column, chunk, scratch))?;
        }
        Some(group)
    }

    /// Fills one of `columns` columns.
    fn add(
        &mut self,
        number: usize,
        columns: usize,
        column: &ColumnChunkMetaData,
        chunk: &[u8],
        scratch: &mut Scratch,
    ) -> Option<()> {
        let highest = u32::try_from(column.column_descr().max_def_level()).ok()?;
        let is_list = match column.column_descr().max_rep_level() {
            0 => false,
            1 => true,
            _ => return None,
        };
        let width = self.widths[number];
        let total = usize::try_from(column.num_values()).ok()?;
        if total > MAX_VALUES {
            return None;
        }
        scratch.values.clear();
        // Rows begun; for the last one more items may come in the next page.
        let mut rows = 0;
        let (mut at, mut seen, mut dictionary) = (0, 0, 0);
        while seen < total {
            let mut cursor = Cursor::new(chunk.get(at..)?);
            let header = cursor.page_header()?;
            let start = at.checked_add(cursor.at)?;
            at = start.checked_add(header.stored)?;
            let count = header.values;
            if !header.kind.is_known() || count > MAX_VALUES {
                return None;
            }
            let base = self.bytes.len();
            append_plain(&mut self.bytes, column.compression(), &header, chunk.get(start..at)?)?;
            let mut cursor = Cursor::new(&self.bytes[base..]);
            if header.kind == PageKind::Dictionary {
                place_values(&mut cursor, base, width, count, &mut scratch.values)?;
                dictionary = scratch.values.len();
                continue;
            }
            seen = seen.checked_add(count)?;
            if is_list {
                cursor.levels(1, count, &mut scratch.repetition)?;
            }
            // Empty where every slot has a value.
            scratch.definition.clear();
            let mut there = count;
            if highest > 0 {
                cursor.levels(highest, count, &mut scratch.definition)?;
                there = scratch.definition.iter().filter(|&&level| level == highest).count();
                if there == count {
                    scratch.definition.clear();
                }
            }
            if header.kind.has_codes() {
                cursor.codes(there, dictionary, &mut scratch.codes)?;
                // Levels and codes have been read: only values are kept.
                self.bytes.truncate(base);
            } else {
                let first = u32::try_from(scratch.values.len()).ok()?;
                place_values(&mut cursor, base, width, there, &mut scratch.values)?;
                scratch.codes.clear();
                scratch.codes.extend(first..u32::try_from(scratch.values.len()).ok()?);
            }
            let mut values = scratch
                .codes
                .iter()
                .map(|&code| scratch.values.get(code as usize).copied());
            let mut next = |slot: usize| match scratch.definition.get(slot) {
                Some(&level) if level < highest => Some(NOTHING),
                _ => values.next()?,
            };
            if is_list {
                for slot in 0..count {
                    rows += usize::from(scratch.repetition[slot] == 0);
                    let value = next(slot)?;
                    let cell = self.cells.get_mut(rows.checked_sub(1)? * columns + number)?;
                    if value != NOTHING {
                        push_item(&mut self.lists, cell, value)?;
                    }
                }
            } else {
                let cells = self.cells.get_mut(rows * columns..(rows + count) * columns)?;
                for (slot, row) in cells.chunks_exact_mut(columns).enumerate() {
                    row[number] = next(slot)?;
                }
                rows += count;
            }
        }
        (rows == self.rows).then_some(())
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Memory, pictures' places included.
    pub fn memory(&self) -> usize {
        let numbers = self.cells.capacity() + self.lists.capacity();
        self.bytes.capacity() + numbers * 4 + Pictures::memory(self.rows) + size_of::<Self>()
    }

    /// The row whose value in this column is this.
    pub fn find(&self, column: usize, value: &str) -> Option<usize> {
        (0..self.rows).find(|&row| self.value(row, column) == Some(value.as_bytes()))
    }

    /// The bytes of a row's only value.
    pub fn value(&self, row: usize, column: usize) -> Option<&[u8]> {
        self.value_at(self.cell(row, column)?, column)
    }

    /// The bytes of a row's items. An item that is null has none and is left out.
    pub fn items(&self, row: usize, column: usize) -> impl Iterator<Item = &[u8]> {
        let items = self.cell(row, column).and_then(|start| {
            let (&count, items) = self.lists.get(start as usize..)?.split_first()?;
            items.get(..count as usize)
        });
        let items = items.unwrap_or_default().iter();
        items.filter_map(move |&start| self.value_at(start, column))
    }

    fn cell(&self, row: usize, column: usize) -> Option<u32> {
        let cell = *self.cells.get(row.checked_mul(self.widths.len())? + column)?;
        (cell != NOTHING).then_some(cell)
    }

    fn value_at(&self, start: u32, column: usize) -> Option<&[u8]> {
        let bytes = self.bytes.get(start as usize..)?;
        match self.widths.get(column)? {
            Some(width) => bytes.get(..*width),
            None => {
                let (length, bytes) = bytes.split_first_chunk()?;
                bytes.get(..u32::from_le_bytes(*length) as usize)
            }
        }
    }
}

/// Adds an item to the list that begins at `cell`, the last one of `lists`.
fn push_item(lists: &mut Vec<u32>, cell: &mut u32, value: u32) -> Option<()> {
    if *cell == NOTHING {
        *cell = u32::try_from(lists.len()).ok()?;
        lists.push(0);
    }
    *lists.get_mut(*cell as usize)? += 1;
    lists.push(value);
    Some(())
}

/// Steps over `count` values; pushes where each begins, counted from `base` bytes
/// before the cursor's own.
fn place_values(
    cursor: &mut Cursor<'_>,
    base: usize,
    width: Option<usize>,
    count: usize,
    values: &mut Vec<u32>,
) -> Option<()> {
    for _ in 0..count {
        values.push(u32::try_from(base + cursor.at).ok()?);
        cursor.value(width)?;
    }
    Some(())
}

/// Appends a page's bytes without compression.
fn append_plain(bytes: &mut Vec<u8>, compression: Compression, header: &PageHeader, stored: &[u8]) -> Option<()> {
    let base = bytes.len();
    let end = base.checked_add(header.plain)?;
    if header.plain > MAX_PAGE_BYTES || end > MAX_PLAIN_BYTES {
        return None;
    }
    match compression {
        Compression::UNCOMPRESSED => {
            bytes.extend_from_slice(stored);
            Some(())
        }
        Compression::ZSTD(_) => {
            bytes.resize(end, 0);
            let written = ZSTD.with_borrow_mut(|kept| {
                let decompressor = match kept {
                    Some(decompressor) => decompressor,
                    None => kept.insert(Decompressor::new().ok()?),
                };
                decompressor.decompress_to_buffer(stored, &mut bytes[base..]).ok()
            })?;
            (written == header.plain).then_some(())
        }
        _ => None,
    }
}
