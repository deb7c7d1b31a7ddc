//! The five tables as polars frames.

use crate::error::{DatasetError, Result};
use crate::ledger::{LEDGER_FILE, read_lines};
use crate::parquet_file::{ParquetFile, Purpose};
use crate::read::Dataset;
use crate::schema::{Table, arrow_schema, metadata_schema};
use crate::write::{DATA_FILES_KEY, DataFiles, METADATA_FILE};
use arrow::datatypes::{DataType as ArrowType, Schema as ArrowSchema};
use polars::prelude::{
    Column, DataFrame, DataType, Field, IntoLazy, LazyFrame, NamedFrom, PlRefPath, PlSmallStr, ScanArgsParquet, Schema,
    Series, col, cols, lit,
};
use std::path::{Path, PathBuf};

const LEDGER_COLUMNS: [&str; 8] = [
    "source_id",
    "row_table",
    "input",
    "kind",
    "state",
    "reason",
    "id",
    "detail",
];
const EDIT_COLUMNS: [&str; 5] = ["id", "field", "value", "editor", "reason"];

/// A table by its SQL name.
pub(super) fn table(dataset: &Dataset, name: &str, with_images: bool) -> Result<LazyFrame> {
    match name {
        "pairs" => pairs(dataset, with_images),
        "text" => parquet(dataset, Table::Text, false),
        "labels" => parquet(dataset, Table::Labels, with_images),
        "ledger" => ledger(dataset),
        _ => edits(dataset),
    }
}

/// Column names of a table, for messages.
pub(super) fn columns(dataset: &Dataset, name: &str) -> Vec<String> {
    let frame = table(dataset, name, true).ok();
    let schema = frame.and_then(|mut frame| frame.collect_schema().ok());
    schema.map_or_else(Vec::new, |schema| {
        schema.iter_names().map(ToString::to_string).collect()
    })
}

/// Pairs from the copy without image bytes when it is there and complete.
fn pairs(dataset: &Dataset, with_images: bool) -> Result<LazyFrame> {
    let copy = dataset.folder().join(METADATA_FILE);
    let wants_bytes = with_images;
    if !wants_bytes && copy.is_file() && copy_is_current(dataset, &copy) {
        return scan(&[copy]);
    }
    parquet(dataset, Table::Pairs, with_images)
}

/// Whether the copy belongs to the shards that are there. It names them with
/// their bytes, so that no shard is opened; in the copy of another maker the
/// numbers of rows must agree.
fn copy_is_current(dataset: &Dataset, copy: &Path) -> bool {
    let Ok(copy) = ParquetFile::open(copy, Purpose::Rows) else {
        return false;
    };
    let files = dataset.files(Table::Pairs).unwrap_or_default();
    if let Some(made_with) = made_with(&copy) {
        let found: DataFiles = files
            .iter()
            .map(|path| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let bytes = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
                (format!("{}/{name}", Table::Pairs.folder()), bytes)
            })
            .collect();
        return made_with == found;
    }
    let rows = |path: &PathBuf| Some(ParquetFile::open(path, Purpose::Rows).ok()?.rows());
    files.iter().map(rows).sum::<Option<u64>>() == Some(copy.rows())
}

/// The shards that a copy says it was made with.
fn made_with(copy: &ParquetFile) -> Option<DataFiles> {
    let pairs = copy.metadata().file_metadata().key_value_metadata()?;
    let found = pairs.iter().find(|pair| pair.key == DATA_FILES_KEY)?;
    serde_json::from_str(found.value.as_deref()?).ok()
}

fn parquet(dataset: &Dataset, table: Table, with_images: bool) -> Result<LazyFrame> {
    let files = dataset.files(table)?;
    let has_image = table != Table::Text;
    if files.is_empty() {
        let schema = match (table, with_images) {
            (Table::Pairs, false) => metadata_schema(),
            _ => arrow_schema(table),
        };
        let mut frame = DataFrame::empty_with_schema(&polars_schema(&schema)).lazy();
        if has_image && with_images {
            frame = frame.with_column(lit("").cast(DataType::String).alias("image_path"));
        } else if table == Table::Labels {
            frame = frame.drop(cols(["image"]));
        }
        return Ok(frame);
    }
    for path in &files {
        // A clear message before polars sees the file.
        ParquetFile::open(path, Purpose::Rows)?;
    }
    let frame = scan(&files)?;
    if !has_image {
        return Ok(frame);
    }
    if with_images {
        let path = col("image").struct_().field_by_name("path").alias("image_path");
        return Ok(frame.with_column(path));
    }
    Ok(frame.drop(cols(["image"])))
}

/// The files as one table, not yet read.
pub(super) fn scan(files: &[PathBuf]) -> Result<LazyFrame> {
    let error = |e: polars::prelude::PolarsError| DatasetError::invalid("Parquet files", e.to_string());
    let paths = files
        .iter()
        .map(|path| PlRefPath::try_from_path(path))
        .collect::<Result<Vec<_>, _>>()
        .map_err(error)?;
    let args = ScanArgsParquet {
        glob: false,
        allow_missing_columns: true,
        ..ScanArgsParquet::default()
    };
    LazyFrame::scan_parquet_files(paths.into(), args).map_err(error)
}

fn polars_schema(schema: &ArrowSchema) -> Schema {
    schema
        .fields()
        .iter()
        .map(|field| Field::new(PlSmallStr::from(field.name().as_str()), polars_type(field.data_type())))
        .collect()
}

fn polars_type(found: &ArrowType) -> DataType {
    match found {
        ArrowType::Int32 => DataType::Int32,
        ArrowType::Float32 => DataType::Float32,
        ArrowType::Binary => DataType::Binary,
        ArrowType::List(item) => DataType::List(Box::new(polars_type(item.data_type()))),
        ArrowType::Struct(children) => DataType::Struct(
            children
                .iter()
                .map(|child| Field::new(PlSmallStr::from(child.name().as_str()), polars_type(child.data_type())))
                .collect(),
        ),
        _ => DataType::String,
    }
}

fn ledger(dataset: &Dataset) -> Result<LazyFrame> {
    let mut cells: Vec<Vec<Option<String>>> = vec![Vec::new(); LEDGER_COLUMNS.len()];
    for line in read_lines(&dataset.folder().join(LEDGER_FILE))? {
        let line = line?;
        let table = line.table_name().to_owned();
        let entry = line.entry;
        let detail = entry.detail.map(|detail| detail.to_string());
        let row = [
            Some(entry.source_id),
            Some(table),
            Some(entry.input),
            Some(entry.kind),
            Some(entry.state),
            entry.reason,
            entry.id,
            detail,
        ];
        for (column, cell) in cells.iter_mut().zip(row) {
            column.push(cell);
        }
    }
    string_frame(&LEDGER_COLUMNS, cells)
}

fn edits(dataset: &Dataset) -> Result<LazyFrame> {
    let mut cells: Vec<Vec<Option<String>>> = vec![Vec::new(); EDIT_COLUMNS.len()];
    for edit in dataset.edits()?.edits {
        let row = [
            Some(edit.id),
            Some(edit.field),
            edit.value,
            Some(edit.editor),
            edit.reason,
        ];
        for (column, cell) in cells.iter_mut().zip(row) {
            column.push(cell);
        }
    }
    string_frame(&EDIT_COLUMNS, cells)
}

fn string_frame(names: &[&str], cells: Vec<Vec<Option<String>>>) -> Result<LazyFrame> {
    let columns = names
        .iter()
        .zip(cells)
        .map(|(name, cells)| Column::from(Series::new(PlSmallStr::from(*name), cells)))
        .collect();
    DataFrame::new_infer_height(columns)
        .map(IntoLazy::lazy)
        .map_err(|e| DatasetError::invalid("table", e.to_string()))
}
