//! The picture of one row, without the pictures of other rows.

use super::MAX_KEPT_BYTES;
use super::page::{Bytes as Cursor, PageKind, Span};
use crate::error::Result;
use crate::parquet_file::ParquetFile;
use parquet::basic::Compression;
use std::cell::RefCell;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

thread_local! {
    /// Pages are read into it one after the other.
    static PAGE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Where the pictures of a row group lie in the file, as far as they have been
/// met: places from the start of their column on, or [`UNKNOWN`].
#[derive(Debug, Default)]
pub(super) struct Pictures(Mutex<Vec<Span>>);

/// The place of a picture whose page has not been read.
const UNKNOWN: Span = Span {
    start: u32::MAX,
    length: u32::MAX,
};

impl Pictures {
    /// Memory for a row group of so many rows.
    pub fn memory(rows: usize) -> usize {
        rows * size_of::<Span>()
    }

    /// The bytes in leaf column `leaf` at `row` of row group `at`, which has
    /// `rows` rows. Reads their page up to them, and once it has been seen the
    /// bytes alone. `None` where the page is out of the ordinary.
    pub fn get(&self, file: &ParquetFile, at: usize, leaf: usize, row: usize, rows: usize) -> Result<Option<Vec<u8>>> {
        let known = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let column = file.metadata().row_group(at).column(leaf);
        let (column_start, _) = column.byte_range();
        let place = known().get(row).copied().filter(|place| *place != UNKNOWN);
        if let Some(place) = place {
            let mut picture = Vec::new();
            file.read(
                column_start + u64::from(place.start),
                place.length as usize,
                &mut picture,
            )?;
            return Ok(Some(picture));
        }
        let Some(page) = page_of(file, at, leaf, row, rows) else {
            return Ok(None);
        };
        let highest = u32::try_from(column.column_descr().max_def_level()).unwrap_or(0);
        let wanted = row - page.rows.start;
        PAGE.with_borrow_mut(|buffer| {
            let mut bytes = file.read(page.start, page.likely_end(wanted), buffer)?;
            let mut spans = spans_of_page(bytes, highest, page.rows.len());
            if spans.as_ref().is_none_or(|spans| spans.len() <= wanted) {
                bytes = file.read(page.start, page.length, buffer)?;
                spans = spans_of_page(bytes, highest, page.rows.len());
            }
            let Some((spans, span)) = spans.and_then(|spans| spans.get(wanted).copied().map(|span| (spans, span)))
            else {
                return Ok(None);
            };
            let picture = span.of(bytes).unwrap_or_default().to_vec();
            // Columns of pictures that are longer than 4 GiB are not remembered.
            if let Ok(start) = u32::try_from(page.start.saturating_sub(column_start))
                && page.start >= column_start
            {
                let mut known = known();
                known.resize(rows, UNKNOWN);
                for (place, span) in known[page.rows.clone()].iter_mut().zip(spans) {
                    if let Some(start) = start.checked_add(span.start) {
                        *place = Span { start, ..span };
                    }
                }
            }
            buffer.truncate(MAX_KEPT_BYTES);
            buffer.shrink_to_fit();
            Ok(Some(picture))
        })
    }
}

/// A page in the file.
struct Page {
    start: u64,
    length: usize,
    /// Rows of its row group.
    rows: Range<usize>,
}

impl Page {
    /// How much of the page is likely to hold its first `wanted + 1` pictures,
    /// which tell their lengths one after the other: their share and half a
    /// picture more.
    fn likely_end(&self, wanted: usize) -> usize {
        let end = self.length.saturating_mul(2 * wanted + 3) / (2 * self.rows.len().max(1));
        end.min(self.length)
    }
}

/// The uncompressed page that holds a row.
fn page_of(file: &ParquetFile, at: usize, leaf: usize, row: usize, rows: usize) -> Option<Page> {
    let column = file.metadata().row_group(at).column(leaf);
    if column.compression() != Compression::UNCOMPRESSED || column.column_descr().max_rep_level() != 0 {
        return None;
    }
    let pages = file.metadata().page_index()?.page_locations(at, leaf)?;
    let first = |page: usize| usize::try_from(pages[page].first_row_index).ok();
    let page = pages
        .partition_point(|page| usize::try_from(page.first_row_index).is_ok_and(|first| first <= row))
        .checked_sub(1)?;
    let end = if page + 1 < pages.len() { first(page + 1)? } else { rows };
    let range = first(page)?..end;
    if !range.contains(&row) || end > rows {
        return None;
    }
    Some(Page {
        start: u64::try_from(pages[page].offset).ok()?,
        length: usize::try_from(pages[page].compressed_page_size).ok()?,
        rows: range,
    })
}

/// Where the values of an uncompressed page of plain byte arrays lie within it,
/// header included, as far as `page` goes; rows without a value have empty ones.
fn spans_of_page(page: &[u8], highest_definition: u32, rows: usize) -> Option<Vec<Span>> {
    let mut cursor = Cursor::new(page);
    let header = cursor.page_header()?;
    let plain_values = matches!(header.kind, PageKind::Data { .. }) && !header.kind.has_codes();
    if !plain_values || !header.kind.is_known() || header.values != rows || highest_definition == 0 {
        return None;
    }
    let mut definition = Vec::new();
    cursor.levels(highest_definition, header.values, &mut definition)?;
    let spans = definition.into_iter().map_while(|level| {
        if level < highest_definition {
            return Some(Span { start: 0, length: 0 });
        }
        cursor.value(None)
    });
    Some(spans.collect())
}
