//! Rows out of opened pages.

use super::group::{LeafPages, spans_of_page};
use crate::error::{DatasetError, Result};
use crate::parquet_file::{ParquetFile, damaged};
use crate::record::{BoundingBox, ImageFile};
use crate::rows::cells::Cells;
use crate::schema::{Table, columns};
use arrow::datatypes::DataType;
use bytes::Bytes;
use parquet::basic::Compression;
use parquet::file::metadata::RowGroupMetaData;
use std::cell::Cell;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// The wanted columns of a row group, image bytes not among them.
pub(super) struct OpenGroup {
    /// By leaf column.
    leaves: Vec<Option<LeafPages>>,
    rows: usize,
    /// Where pictures lie in the file, as far as their pages have been read:
    /// start and length.
    pictures: Mutex<Vec<Option<(u64, usize)>>>,
}

impl OpenGroup {
    /// Opens the chunks of leaf columns; `None` where one is out of the ordinary.
    pub fn open(metadata: &RowGroupMetaData, chunks: &[(usize, Bytes)]) -> Option<Self> {
        let rows = usize::try_from(metadata.num_rows()).ok()?;
        let mut leaves: Vec<Option<LeafPages>> = Vec::new();
        leaves.resize_with(metadata.num_columns(), || None);
        for (leaf, chunk) in chunks {
            leaves[*leaf] = Some(LeafPages::open(metadata.column(*leaf), chunk, rows)?);
        }
        Some(Self {
            leaves,
            rows,
            pictures: Mutex::default(),
        })
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn memory(&self) -> usize {
        let leaves: usize = self.leaves.iter().flatten().map(LeafPages::memory).sum();
        leaves + self.rows * size_of::<Option<(u64, usize)>>() + size_of::<Self>()
    }

    /// The row with this id.
    pub fn find(&self, leaf: usize, id: &str) -> Option<usize> {
        let ids = self.leaves.get(leaf)?.as_ref()?;
        (0..self.rows).find(|&row| ids.value(row) == Some(id.as_bytes()))
    }

    /// The picture of a row; `None` where its page is out of the ordinary.
    pub fn picture(&self, file: &ParquetFile, at: usize, leaf: usize, row: usize) -> Result<Option<Vec<u8>>> {
        let known = || self.pictures.lock().unwrap_or_else(PoisonError::into_inner);
        let place = known().get(row).copied().flatten();
        if let Some((start, length)) = place {
            return file.bytes(start, length).map(|bytes| Some(bytes.into()));
        }
        let Some((start, length, rows)) = page_of(file, at, leaf, row, self.rows) else {
            return Ok(None);
        };
        let page = file.bytes(start, length)?;
        let column = file.metadata().row_group(at).column(leaf);
        let highest = u32::try_from(column.column_descr().max_def_level()).unwrap_or(0);
        let Some(spans) = spans_of_page(&page, highest, rows.len()) else {
            return Ok(None);
        };
        let mut known = known();
        known.resize(self.rows, None);
        for (row, span) in rows.clone().zip(&spans) {
            known[row] = Some(span.map_or((start, 0), |span| (start + u64::from(span.start), span.length as usize)));
        }
        let bytes = spans[row - rows.start].and_then(|span| span.of(&page));
        Ok(Some(bytes.unwrap_or_default().to_vec()))
    }
}

/// Start, length and rows of the uncompressed page that holds a row.
fn page_of(
    file: &ParquetFile,
    at: usize,
    leaf: usize,
    row: usize,
    rows: usize,
) -> Option<(u64, usize, std::ops::Range<usize>)> {
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
    let start = u64::try_from(pages[page].offset).ok()?;
    Some((start, usize::try_from(pages[page].compressed_page_size).ok()?, range))
}

/// Leaf columns by name (lists by their own, struct children as `struct.child`).
pub(super) struct ColumnPlaces(Vec<String>);

impl ColumnPlaces {
    /// The leaf column of this name. `hint` is where to look first: records are
    /// made in the order of the columns, so that the next one is nearly always there.
    fn find(&self, name: &str, hint: &Cell<usize>) -> Option<usize> {
        let start = hint.get().min(self.0.len());
        let mut leaves = (start..self.0.len()).chain(0..start);
        let found = leaves.find(|&leaf| self.0[leaf] == name)?;
        hint.set(found + 1);
        Some(found)
    }
}

/// The places of the columns, if every column that the file has is of the type
/// that the format says.
pub(super) fn column_places(file: &ParquetFile, table: Table) -> Option<ColumnPlaces> {
    for field in columns(table) {
        if let Ok(found) = file.schema().field_with_name(field.name())
            && !same_type(found.data_type(), field.data_type())
        {
            return None;
        }
    }
    let schema = file.metadata().file_metadata().schema_descr();
    let places = (0..schema.num_columns()).map(|leaf| {
        let column = schema.column(leaf);
        let parts = column.path().parts();
        if column.max_rep_level() > 0 {
            parts.first().cloned().unwrap_or_default()
        } else {
            parts.join(".")
        }
    });
    Some(ColumnPlaces(places.collect()))
}

/// Equal but for the names of list items and for nullability.
fn same_type(found: &DataType, wanted: &DataType) -> bool {
    match (found, wanted) {
        (DataType::List(found), DataType::List(wanted)) => same_type(found.data_type(), wanted.data_type()),
        (DataType::Struct(found), DataType::Struct(wanted)) => wanted.iter().all(|wanted| {
            let same =
                |found: &std::sync::Arc<arrow::datatypes::Field>| same_type(found.data_type(), wanted.data_type());
            found.iter().filter(|field| field.name() == wanted.name()).any(same)
        }),
        _ => found == wanted,
    }
}

/// One row of an [`OpenGroup`].
pub(super) struct RowOfPages<'a> {
    pub group: &'a OpenGroup,
    /// [`column_places`].
    pub places: &'a ColumnPlaces,
    /// For [`ColumnPlaces::find`].
    pub hint: Cell<usize>,
    pub at: usize,
    pub path: &'a Path,
}

impl<'a> RowOfPages<'a> {
    fn leaf(&self, column: &str) -> Option<&'a LeafPages> {
        self.group.leaves.get(self.places.find(column, &self.hint)?)?.as_ref()
    }

    fn four(&self, column: &str) -> Result<Option<[u8; 4]>> {
        let Some(bytes) = self.leaf(column).and_then(|leaf| leaf.value(self.at)) else {
            return Ok(None);
        };
        let four = bytes.try_into();
        four.map(Some)
            .map_err(|_| self.error(column, "has values of a wrong size"))
    }

    fn utf8<'b>(&self, column: &str, bytes: &'b [u8]) -> Result<&'b str> {
        std::str::from_utf8(bytes).map_err(|e| damaged(self.path, &format!("column `{column}` is no UTF-8 text: {e}")))
    }
}

impl Cells for RowOfPages<'_> {
    fn text(&self, column: &str) -> Result<Option<&str>> {
        let bytes = self.leaf(column).and_then(|leaf| leaf.value(self.at));
        bytes.map(|bytes| self.utf8(column, bytes)).transpose()
    }

    fn int(&self, column: &str) -> Result<Option<i32>> {
        Ok(self.four(column)?.map(i32::from_le_bytes))
    }

    fn float(&self, column: &str) -> Result<Option<f32>> {
        Ok(self.four(column)?.map(f32::from_le_bytes))
    }

    fn texts(&self, column: &str) -> Result<Vec<String>> {
        let Some(leaf) = self.leaf(column) else {
            return Ok(Vec::new());
        };
        leaf.items(self.at)
            .map(|bytes| self.utf8(column, bytes).map(str::to_owned))
            .collect()
    }

    fn panel_bbox(&self) -> Result<Option<BoundingBox>> {
        let edges = (
            self.int("panel_bbox.x0")?,
            self.int("panel_bbox.y0")?,
            self.int("panel_bbox.x1")?,
            self.int("panel_bbox.y1")?,
        );
        let (Some(x0), Some(y0), Some(x1), Some(y1)) = edges else {
            return Ok(None);
        };
        Ok(Some(BoundingBox { x0, y0, x1, y1 }))
    }

    fn image(&self) -> Result<ImageFile> {
        if !self.has("image.bytes") && !self.has("image.path") {
            return Err(self.error("image", "is missing"));
        }
        Ok(ImageFile {
            bytes: Vec::new(),
            path: self.owned("image.path")?.unwrap_or_default(),
        })
    }

    fn has(&self, column: &str) -> bool {
        self.places.find(column, &Cell::new(0)).is_some()
    }

    fn error(&self, column: &str, message: &str) -> DatasetError {
        DatasetError::Schema {
            path: self.path.to_path_buf(),
            column: column.to_owned(),
            message: message.to_owned(),
        }
    }
}
