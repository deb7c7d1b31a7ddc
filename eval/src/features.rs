//! Feature files: Parquet tables of image and text vectors, from our trainer or from any other model.
//!
//! Images: `path`, `label` (integer, or a list of integers where images may have several classes), `features` and/or
//! `projected` (lists of floats).
//! Texts: `class`, `label`, `projected`, one row a class.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float32Type, Int64Type};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::error::{EvalError, Result};
use crate::vectors::Rows;

/// Rows read at a time.
const BATCH_ROWS: usize = 1024;

/// Vectors of equal length, f32 as stored.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Vectors {
    /// Row-major values, [rows, width].
    pub values: Vec<f32>,
    /// Length of a vector.
    pub width: usize,
}

impl Vectors {
    /// The rows named, in that order.
    pub fn select(self, rows: &[usize]) -> Self {
        if rows.iter().copied().eq(0..self.values.len() / self.width.max(1)) {
            return self;
        }
        let of = |&r: &usize| &self.values[r * self.width..(r + 1) * self.width];
        Self {
            values: rows.iter().flat_map(of).copied().collect(),
            width: self.width,
        }
    }

    /// The same in f64.
    pub fn to_rows(&self) -> Rows {
        Rows {
            values: self.values.iter().map(|v| f64::from(*v)).collect(),
            width: self.width,
        }
    }
}

/// An image feature file.
#[derive(Debug, Clone)]
pub struct ImageTable {
    /// Where it came from.
    pub file: PathBuf,
    /// Image names.
    pub paths: Vec<String>,
    /// Labels as stored, rising and each once; exactly one an image unless `several`.
    pub labels: Vec<Vec<i64>>,
    /// Whether the labels are stored as lists: images may have several classes.
    pub several: bool,
    /// The vectors of the column asked for.
    pub vectors: Vectors,
}

/// A class text file, classes by rising label.
#[derive(Debug, Clone)]
pub struct TextTable {
    /// Class names.
    pub classes: Vec<String>,
    /// Labels, rising.
    pub labels: Vec<i64>,
    /// One vector a class.
    pub vectors: Vectors,
}

/// Which image vectors a method reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VectorColumn {
    /// Raw encoder output, for the linear probe.
    Features,
    /// Output of the projection head, unit length, for everything with texts.
    Projected,
}

impl VectorColumn {
    /// Name of the column.
    pub fn name(self) -> &'static str {
        match self {
            Self::Features => "features",
            Self::Projected => "projected",
        }
    }
}

/// Reads `path`, `label` and one vector column of an image file.
pub fn read_images(file: &Path, column: VectorColumn) -> Result<ImageTable> {
    let batches = read_columns(file, &["path", "label", column.name()])?;
    let mut table = ImageTable {
        file: file.to_path_buf(),
        paths: Vec::new(),
        labels: Vec::new(),
        several: false,
        vectors: Vectors::default(),
    };
    for batch in &batches {
        let first_row = table.paths.len();
        table.paths.extend(strings(file, batch, "path", first_row)?);
        match label_lists(file, batch, first_row)? {
            Some(lists) => {
                table.several = true;
                table.labels.extend(lists);
            }
            None => table
                .labels
                .extend(labels(file, batch, first_row)?.into_iter().map(|l| vec![l])),
        }
        append_vectors(file, batch, column.name(), first_row, &table.paths, &mut table.vectors)?;
    }
    if table.paths.is_empty() {
        return Err(EvalError::input(file, "holds no rows; there is nothing to evaluate"));
    }
    agreeing_labels(&table)?;
    Ok(table)
}

/// Reads a class text file and sorts it by label.
pub fn read_texts(file: &Path) -> Result<TextTable> {
    let batches = read_columns(file, &["class", "label", "projected"])?;
    let (mut names, mut values, mut vectors) = (Vec::new(), Vec::new(), Vectors::default());
    for batch in &batches {
        let first_row = names.len();
        names.extend(strings(file, batch, "class", first_row)?);
        values.extend(labels(file, batch, first_row)?);
        append_vectors(file, batch, "projected", first_row, &names, &mut vectors)?;
    }
    if names.is_empty() {
        return Err(EvalError::input(
            file,
            "holds no rows; every class needs one text vector",
        ));
    }
    unique_classes(file, &names)?;
    let mut by_label: BTreeMap<i64, usize> = BTreeMap::new();
    for (row, &label) in values.iter().enumerate() {
        if let Some(earlier) = by_label.insert(label, row) {
            return Err(EvalError::input(
                file,
                format!(
                    "rows {earlier} ({}) and {row} ({}) both carry label {label}; keep one text vector a class (the mean of its descriptions)",
                    names[earlier], names[row]
                ),
            ));
        }
    }
    let order: Vec<usize> = by_label.values().copied().collect();
    let width = vectors.width;
    Ok(TextTable {
        classes: order.iter().map(|&r| names[r].clone()).collect(),
        labels: by_label.into_keys().collect(),
        vectors: Vectors {
            values: order
                .iter()
                .flat_map(|&r| vectors.values[r * width..(r + 1) * width].to_vec())
                .collect(),
            width,
        },
    })
}

/// Stops at an image that two rows give different labels. Rows that repeat an image with its label count each, as the
/// reference counts them: the list of ODIR200x3 holds 19 photographs twice.
fn agreeing_labels(table: &ImageTable) -> Result<()> {
    let mut seen: HashMap<&str, usize> = HashMap::with_capacity(table.paths.len());
    for (row, path) in table.paths.iter().enumerate() {
        let earlier = *seen.entry(path).or_insert(row);
        if table.labels[earlier] != table.labels[row] {
            return Err(EvalError::input(
                &table.file,
                format!(
                    "rows {earlier} and {row} both carry path '{path}', with labels {:?} and {:?}; give each image its \
                     own path, with its folder, or one label",
                    table.labels[earlier], table.labels[row]
                ),
            ));
        }
    }
    Ok(())
}

/// Stops at a class name that two rows carry.
fn unique_classes(file: &Path, names: &[String]) -> Result<()> {
    let mut seen: HashMap<&str, usize> = HashMap::with_capacity(names.len());
    for (row, name) in names.iter().enumerate() {
        if let Some(earlier) = seen.insert(name, row) {
            return Err(EvalError::input(
                file,
                format!("rows {earlier} and {row} both carry class '{name}'; give each class its own name"),
            ));
        }
    }
    Ok(())
}

/// Class indices of every image: the places of its labels among the text labels.
pub fn class_indices(images: &ImageTable, texts: &TextTable, text_file: &Path) -> Result<Vec<Vec<usize>>> {
    let find = |row: usize, label: &i64| {
        texts.labels.binary_search(label).map_err(|_| {
            EvalError::input(
                &images.file,
                format!(
                    "row {row} ({}) has label {label}, for which {} has no text (labels there: {:?})",
                    images.paths[row],
                    text_file.display(),
                    texts.labels
                ),
            )
        })
    };
    let of_row = |(row, labels): (usize, &Vec<i64>)| labels.iter().map(|label| find(row, label)).collect();
    images.labels.iter().enumerate().map(of_row).collect()
}

/// Stops when image and text vectors differ in length.
pub fn check_same_width(images: &ImageTable, texts: &TextTable, text_file: &Path) -> Result<()> {
    if images.vectors.width == texts.vectors.width {
        return Ok(());
    }
    Err(EvalError::input(
        &images.file,
        format!(
            "image vectors have {} numbers, text vectors in {} have {}; both must come from the same model",
            images.vectors.width,
            text_file.display(),
            texts.vectors.width
        ),
    ))
}

fn read_columns(file: &Path, wanted: &[&str]) -> Result<Vec<RecordBatch>> {
    let parquet =
        |e: parquet::errors::ParquetError| EvalError::input(file, format!("not a readable Parquet file: {e}"));
    let open = File::open(file).map_err(|e| EvalError::io(file, e))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(open).map_err(parquet)?;
    let present: Vec<String> = builder.schema().fields().iter().map(|f| f.name().clone()).collect();
    for name in wanted {
        if !present.iter().any(|p| p == name) {
            return Err(EvalError::input(
                file,
                format!("has no column '{name}' (columns: {})", present.join(", ")),
            ));
        }
    }
    let roots: Vec<usize> = present
        .iter()
        .enumerate()
        .filter(|(_, p)| wanted.contains(&p.as_str()))
        .map(|(i, _)| i)
        .collect();
    let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
    let reader = builder
        .with_projection(mask)
        .with_batch_size(BATCH_ROWS)
        .build()
        .map_err(parquet)?;
    reader
        .collect::<std::result::Result<_, _>>()
        .map_err(|e| EvalError::input(file, format!("damaged Parquet file: {e}")))
}

fn column(file: &Path, batch: &RecordBatch, name: &str, to: &DataType) -> Result<arrow::array::ArrayRef> {
    let array = batch
        .column_by_name(name)
        .ok_or_else(|| EvalError::input(file, format!("has no column '{name}'")))?;
    cast(array, to).map_err(|_| {
        EvalError::input(
            file,
            format!("column '{name}' has type {}, expected {to}", array.data_type()),
        )
    })
}

fn strings(file: &Path, batch: &RecordBatch, name: &str, first_row: usize) -> Result<Vec<String>> {
    let array = column(file, batch, name, &DataType::Utf8)?;
    let texts = array.as_string::<i32>();
    let one = |(i, text): (usize, Option<&str>)| {
        text.map(str::to_string)
            .ok_or_else(|| EvalError::input(file, format!("row {}: '{name}' is null", first_row + i)))
    };
    texts.iter().enumerate().map(one).collect()
}

fn labels(file: &Path, batch: &RecordBatch, first_row: usize) -> Result<Vec<i64>> {
    let stored = batch
        .column_by_name("label")
        .map(|c| c.data_type().clone())
        .unwrap_or(DataType::Null);
    if !stored.is_integer() {
        return Err(EvalError::input(
            file,
            format!(
                "column 'label' has type {stored}, expected int64 (a class number), in an image file also list<int64>"
            ),
        ));
    }
    let array = column(file, batch, "label", &DataType::Int64)?;
    let labels = array.as_primitive::<Int64Type>();
    let one = |(i, label)| usable(file, first_row + i, label);
    labels.iter().enumerate().map(one).collect()
}

/// A stored label that names a class.
fn usable(file: &Path, row: usize, label: Option<i64>) -> Result<i64> {
    match label {
        Some(label) if label >= 0 => Ok(label),
        Some(label) => Err(EvalError::input(file, format!("row {row}: label {label} is negative"))),
        None => Err(EvalError::input(file, format!("row {row}: 'label' is null"))),
    }
}

/// Labels stored as lists, each rising and without repetition; `None` when they are stored as numbers.
fn label_lists(file: &Path, batch: &RecordBatch, first_row: usize) -> Result<Option<Vec<Vec<i64>>>> {
    let item = match batch.column_by_name("label").map(|c| c.data_type()) {
        Some(DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _)) => item,
        _ => return Ok(None),
    };
    if !item.data_type().is_integer() {
        return Err(EvalError::input(
            file,
            format!(
                "column 'label' holds lists of {}, expected lists of int64 (class numbers)",
                item.data_type()
            ),
        ));
    }
    let list = DataType::List(Field::new_list_field(DataType::Int64, true).into());
    let array = column(file, batch, "label", &list)?;
    let lists = array.as_list::<i32>();
    let one = |i: usize| {
        if lists.is_null(i) {
            return usable(file, first_row + i, None).map(|l| vec![l]);
        }
        let own = lists.value(i);
        let own = own.as_primitive::<Int64Type>().iter();
        let mut labels: Vec<i64> = own.map(|l| usable(file, first_row + i, l)).collect::<Result<_>>()?;
        labels.sort_unstable();
        labels.dedup();
        Ok(labels)
    };
    (0..lists.len()).map(one).collect::<Result<_>>().map(Some)
}

/// Appends the vectors of one batch, each checked for length and finite numbers. `names` names the rows.
fn append_vectors(
    file: &Path,
    batch: &RecordBatch,
    name: &str,
    first_row: usize,
    names: &[String],
    to: &mut Vectors,
) -> Result<()> {
    let list = DataType::List(Field::new_list_field(DataType::Float32, true).into());
    let array = column(file, batch, name, &list)?;
    let lists = array.as_list::<i32>();
    for i in 0..lists.len() {
        let row = first_row + i;
        let wrong = |what: String| Err(EvalError::input(file, format!("row {row} ({}): {what}", names[row])));
        if lists.is_null(i) {
            return wrong(format!("'{name}' is null"));
        }
        let vector = lists.value(i);
        let numbers = vector.as_primitive::<Float32Type>();
        if row == 0 {
            to.width = numbers.len();
        }
        if numbers.is_empty() || numbers.len() != to.width {
            return wrong(format!(
                "'{name}' has {} numbers, the first row has {}; all must come from one model",
                numbers.len(),
                to.width
            ));
        }
        if let Some(at) = (0..numbers.len()).find(|&k| numbers.is_null(k) || !numbers.value(k).is_finite()) {
            let value = if numbers.is_null(at) {
                "null".to_string()
            } else {
                numbers.value(at).to_string()
            };
            return wrong(format!(
                "{name}[{at}] is {value}; compute the features of this image again"
            ));
        }
        if name == "projected" && numbers.values().iter().all(|v| *v == 0.0) {
            return wrong("'projected' is a zero vector, it has no direction to compare".to_string());
        }
        to.values.extend_from_slice(numbers.values());
    }
    Ok(())
}

/// First CLIP-Adapter weights from a safetensors file: `clip_adapter.down.weight` [hidden, width] and
/// `clip_adapter.up.weight` [width, hidden], F32.
pub fn read_adapter_weights(file: &Path, width: usize) -> Result<crate::clip_adapter::AdapterWeights> {
    let bytes = std::fs::read(file).map_err(|e| EvalError::io(file, e))?;
    let tensors = safetensors::SafeTensors::deserialize(&bytes)
        .map_err(|e| EvalError::input(file, format!("not a safetensors file: {e}")))?;
    let matrix = |name: &str| -> Result<(Vec<usize>, Vec<f64>)> {
        let tensor = tensors
            .tensor(name)
            .map_err(|_| EvalError::input(file, format!("has no tensor '{name}' (tensors: {:?})", tensors.names())))?;
        if tensor.dtype() != safetensors::Dtype::F32 || tensor.shape().len() != 2 {
            return Err(EvalError::input(
                file,
                format!(
                    "tensor '{name}' is {:?} {:?}, expected a matrix of F32",
                    tensor.dtype(),
                    tensor.shape()
                ),
            ));
        }
        let (values, _) = tensor.data().as_chunks::<4>();
        let values: Vec<f64> = values.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect();
        if let Some(at) = values.iter().position(|v| !v.is_finite()) {
            return Err(EvalError::input(
                file,
                format!("tensor '{name}' holds {} at position {at}", values[at]),
            ));
        }
        Ok((tensor.shape().to_vec(), values))
    };
    let (down_shape, down) = matrix("clip_adapter.down.weight")?;
    let (up_shape, up) = matrix("clip_adapter.up.weight")?;
    if down_shape[1] != width || up_shape[0] != width || down_shape[0] != up_shape[1] || down_shape[0] == 0 {
        return Err(EvalError::input(
            file,
            format!(
                "adapter weights have shapes {down_shape:?} and {up_shape:?}; image vectors of {width} numbers need [h, {width}] and [{width}, h]"
            ),
        ));
    }
    Ok(crate::clip_adapter::AdapterWeights {
        down: Rows { values: down, width },
        up: Rows {
            values: up,
            width: down_shape[0],
        },
    })
}
