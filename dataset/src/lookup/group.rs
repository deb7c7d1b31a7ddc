//! The pages of one row group, opened so far that any row can be taken out.

use super::page::{Bytes as Cursor, PageHeader, PageKind, Span};
use bytes::Bytes;
use parquet::basic::{Compression, Type};
use parquet::file::metadata::ColumnChunkMetaData;
use std::cell::RefCell;
use zstd::bulk::Decompressor;

/// Larger pages are left to the parquet crate.
const MAX_PAGE_BYTES: usize = 16 << 20;
/// Column chunks with more values as well.
const MAX_VALUES: usize = 1 << 20;
/// The value of a row that has none.
const NOTHING: u32 = u32::MAX;

thread_local! {
    /// Setting one up costs more than a small page.
    static ZSTD: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// One leaf column of a row group.
#[derive(Debug)]
pub(super) struct LeafPages {
    /// Pages as plain bytes.
    pages: Vec<Bytes>,
    /// Where each different value lies: its page and place.
    values: Vec<(u32, Span)>,
    /// The value of each slot, or [`NOTHING`]: slots are rows, in lists items.
    slots: Vec<u32>,
    /// Lists only: the first slot of each row, and the end.
    starts: Option<Vec<u32>>,
}

impl LeafPages {
    /// Opens a column chunk whose bytes are all of `chunk`.
    pub fn open(column: &ColumnChunkMetaData, chunk: &Bytes, rows: usize) -> Option<Self> {
        let descriptor = column.column_descr();
        let highest_definition = u32::try_from(descriptor.max_def_level()).ok()?;
        let highest_repetition = u32::try_from(descriptor.max_rep_level()).ok()?;
        let width = match column.column_type() {
            Type::BYTE_ARRAY => None,
            Type::INT32 | Type::FLOAT => Some(4),
            _ => return None,
        };
        if highest_repetition > 1 {
            return None;
        }
        let total = usize::try_from(column.num_values()).ok()?;
        if total > MAX_VALUES {
            return None;
        }
        let is_list = highest_repetition == 1;
        let mut leaf = Self {
            pages: Vec::with_capacity(2),
            values: Vec::new(),
            slots: Vec::with_capacity(total),
            starts: is_list.then(Vec::new),
        };
        let (mut at, mut seen, mut dictionary) = (0, 0, 0);
        while seen < total {
            let mut cursor = Cursor::new(chunk.get(at..)?);
            let header = cursor.page_header()?;
            let start = at.checked_add(cursor.at)?;
            let end = start.checked_add(header.stored)?;
            let stored = (end <= chunk.len()).then(|| chunk.slice(start..end))?;
            at = end;
            if !header.kind.is_known() || header.values > MAX_VALUES {
                return None;
            }
            let page = plain(column.compression(), &header, stored)?;
            let number = u32::try_from(leaf.pages.len()).ok()?;
            let mut cursor = Cursor::new(&page);
            leaf.values.reserve_exact(match header.kind {
                PageKind::Data { .. } if header.kind.has_codes() => 0,
                // No more values than bytes: the count in the header may lie.
                _ => header.values.min(page.len()),
            });
            if header.kind == PageKind::Dictionary {
                for _ in 0..header.values {
                    leaf.values.push((number, cursor.value(width)?));
                }
                dictionary = leaf.values.len();
            } else {
                seen = seen.checked_add(header.values)?;
                let count = header.values;
                let repetition = is_list.then(|| cursor.levels(1, count));
                let repetition = match repetition {
                    Some(levels) => Some(levels?),
                    None => None,
                };
                let definition = match highest_definition {
                    0 => None,
                    highest => Some(cursor.levels(highest, count)?),
                };
                let is_there = |slot: usize| {
                    definition
                        .as_ref()
                        .is_none_or(|levels| levels[slot] == highest_definition)
                };
                let there = (0..count).filter(|&slot| is_there(slot)).count();
                let first = leaf.values.len();
                let codes = if header.kind.has_codes() {
                    cursor.codes(there, dictionary)?
                } else {
                    for _ in 0..there {
                        leaf.values.push((number, cursor.value(width)?));
                    }
                    (first..leaf.values.len())
                        .map(u32::try_from)
                        .collect::<Result<_, _>>()
                        .ok()?
                };
                let mut codes = codes.into_iter();
                for slot in 0..count {
                    if let (Some(starts), Some(levels)) = (&mut leaf.starts, &repetition)
                        && levels[slot] == 0
                    {
                        starts.push(u32::try_from(leaf.slots.len()).ok()?);
                    }
                    let value = if is_there(slot) { codes.next()? } else { NOTHING };
                    leaf.slots.push(value);
                }
            }
            leaf.pages.push(page);
        }
        let end = u32::try_from(leaf.slots.len()).ok()?;
        let found = match &mut leaf.starts {
            Some(starts) => {
                starts.push(end);
                starts.len() - 1
            }
            None => leaf.slots.len(),
        };
        (found == rows).then_some(leaf)
    }

    /// The bytes of a row's only value.
    pub fn value(&self, row: usize) -> Option<&[u8]> {
        self.slot(row)
    }

    /// The bytes of a row's items. An item that is null has none and is left out.
    pub fn items(&self, row: usize) -> impl Iterator<Item = &[u8]> {
        let bounds = self.starts.as_ref().and_then(|starts| {
            let (first, end) = (starts.get(row)?, starts.get(row + 1)?);
            Some(*first as usize..*end as usize)
        });
        bounds.unwrap_or(0..0).filter_map(|slot| self.slot(slot))
    }

    fn slot(&self, slot: usize) -> Option<&[u8]> {
        let code = *self.slots.get(slot)?;
        let (page, span) = self.values.get(code as usize)?;
        span.of(self.pages.get(*page as usize)?)
    }

    /// Memory, roughly; pages that share the row group's bytes count as well.
    pub fn memory(&self) -> usize {
        let pages: usize = self.pages.iter().map(Bytes::len).sum();
        let starts = self.starts.as_ref().map_or(0, Vec::capacity);
        pages + self.values.capacity() * size_of::<(u32, Span)>() + (self.slots.capacity() + starts) * 4
    }
}

/// A page's bytes without compression.
fn plain(compression: Compression, header: &PageHeader, stored: Bytes) -> Option<Bytes> {
    if header.plain > MAX_PAGE_BYTES {
        return None;
    }
    match compression {
        Compression::UNCOMPRESSED => Some(stored),
        Compression::ZSTD(_) => {
            let bytes = ZSTD.with_borrow_mut(|kept| {
                let decompressor = match kept {
                    Some(decompressor) => decompressor,
                    None => kept.insert(Decompressor::new().ok()?),
                };
                decompressor.decompress(&stored, header.plain).ok()
            })?;
            (bytes.len() == header.plain).then(|| bytes.into())
        }
        _ => None,
    }
}

/// Where the values of an uncompressed page of plain byte arrays lie within it,
/// header included; rows without a value have none. For pictures, whose pages
/// are read one at a time.
pub(super) fn spans_of_page(page: &[u8], highest_definition: u32, rows: usize) -> Option<Vec<Option<Span>>> {
    let mut cursor = Cursor::new(page);
    let header = cursor.page_header()?;
    let plain_values = matches!(header.kind, PageKind::Data { .. }) && !header.kind.has_codes();
    if !plain_values || !header.kind.is_known() || header.values != rows || highest_definition == 0 {
        return None;
    }
    let definition = cursor.levels(highest_definition, header.values)?;
    definition
        .into_iter()
        .map(|level| {
            if level < highest_definition {
                return Some(None);
            }
            cursor.value(None).map(Some)
        })
        .collect()
}
