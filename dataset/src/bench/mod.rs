//! Measurements on generated folders: `dataset bench`. The comparison with
//! other readers and writers is `dataset/bench/compare.py`.

mod make;

use crate::cost::{Cost, Meter};
use crate::error::{DatasetError, Result};
use crate::image_input::decode_rgb8;
use crate::read::{Columns, Dataset};
use crate::record::PairRecord;
use crate::rows::Row;
use crate::schema::{Table, arrow_schema};
use crate::shard::FileWriter;
use clap::Subcommand;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// What to measure.
#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Generate a folder of pairs with drawn pictures and captions
    Make {
        /// Pairs
        #[arg(long, default_value_t = 100_000)]
        rows: u64,
        /// Another seed gives other pictures and captions
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// What the pictures are
        #[arg(long, value_enum, default_value = "small")]
        pictures: make::Pictures,
        /// A new folder
        #[arg(long, value_name = "FOLDER")]
        out: PathBuf,
    },
    /// Replace one source of 1,000 pairs in a folder
    Add {
        /// The folder
        dataset: PathBuf,
        /// The source
        #[arg(long, default_value = "late-book")]
        source: String,
    },
    /// Read all columns of all pairs in file order
    Read {
        /// The folder
        dataset: PathBuf,
        /// Make typed records instead of Arrow batches
        #[arg(long)]
        records: bool,
        /// Leave the image bytes out
        #[arg(long)]
        without_images: bool,
    },
    /// Write pairs that are in memory as Arrow batches into one Parquet file
    Write {
        /// The folder they come from
        dataset: PathBuf,
        /// Largest number of pairs
        #[arg(long, default_value_t = 50_000)]
        rows: usize,
        /// The file; it is written anew
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Read single pairs from random places and decode their pictures
    Random {
        /// The folder
        dataset: PathBuf,
        /// Pairs
        #[arg(long, default_value_t = 1000)]
        rows: u64,
        /// Another seed gives other pairs
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// How a pair is named
        #[arg(long, value_enum, default_value = "place")]
        by: By,
        /// Only id, modality, picture and captions instead of all columns
        #[arg(long)]
        few_columns: bool,
    },
}

/// How a row is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum By {
    /// Its number in file order.
    Place,
    /// Its id.
    Id,
}

/// What a measurement found.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    task: &'static str,
    rows: u64,
    /// Bytes of the batches, files or pictures that went through.
    bytes: u64,
    #[serde(flatten)]
    cost: Cost,
    /// Seconds to open the files before the measured work.
    #[serde(skip_serializing_if = "Option::is_none")]
    open_seconds: Option<f64>,
}

pub(crate) fn run(task: &Task) -> Result<Measured> {
    match task {
        Task::Make {
            rows,
            seed,
            pictures,
            out,
        } => make::make(out, *rows, *seed, *pictures),
        Task::Add { dataset, source } => make::add(dataset, source),
        Task::Read {
            dataset,
            records,
            without_images,
        } => read(dataset, *records, *without_images),
        Task::Write { dataset, rows, out } => write(dataset, *rows, out),
        Task::Random {
            dataset,
            rows,
            seed,
            by,
            few_columns,
        } => random(dataset, *rows, *seed, *by, *few_columns),
    }
}

fn read(folder: &Path, records: bool, without_images: bool) -> Result<Measured> {
    let columns = if without_images {
        Columns::WithoutImageBytes
    } else {
        Columns::All
    };
    let dataset = Dataset::open(folder)?;
    let meter = Meter::start();
    let (mut rows, mut bytes) = (0, 0);
    if records {
        for row in dataset.pairs(columns)? {
            rows += 1;
            bytes += row?.size() as u64;
        }
    } else {
        for batch in dataset.batches(Table::Pairs, columns)? {
            let batch = batch?;
            rows += batch.num_rows() as u64;
            bytes += batch.get_array_memory_size() as u64;
        }
    }
    Ok(Measured {
        task: "read",
        rows,
        bytes,
        cost: meter.cost(),
        open_seconds: None,
    })
}

fn write(folder: &Path, limit: usize, out: &Path) -> Result<Measured> {
    let dataset = Dataset::open(folder)?;
    let mut batches = Vec::new();
    let mut rows = 0;
    let schema = arrow_schema(Table::Pairs);
    for batch in dataset.batches(Table::Pairs, Columns::All)? {
        let batch = batch?;
        if rows >= limit {
            break;
        }
        rows += batch.num_rows();
        // The same columns under the schema of the format, metadata included.
        let batch = arrow::array::RecordBatch::try_new(schema.clone(), batch.columns().to_vec())
            .map_err(|e| DatasetError::invalid(folder.display().to_string(), e.to_string()))?;
        batches.push(batch);
    }
    let meter = Meter::start();
    let mut file = FileWriter::create(out.to_path_buf(), schema)?;
    for batch in &batches {
        file.write(batch)?;
    }
    file.close()?;
    Ok(Measured {
        task: "write",
        rows: rows as u64,
        bytes: std::fs::metadata(out).map_or(0, |metadata| metadata.len()),
        cost: meter.cost(),
        open_seconds: None,
    })
}

fn random(folder: &Path, count: u64, seed: u64, by: By, few_columns: bool) -> Result<Measured> {
    let columns = if few_columns {
        Columns::Only(&["id", "modality", "image", "caption_en", "caption_zh"])
    } else {
        Columns::All
    };
    let dataset = Dataset::open(folder)?;
    let opening = Meter::start();
    let reader = dataset.pair_reader(columns)?;
    if reader.is_empty() {
        return Err(DatasetError::invalid(folder.display().to_string(), "has no pairs"));
    }
    let mut open_seconds = opening.cost().seconds;
    let mut random = make::Random(seed);
    let places: Vec<u64> = (0..count).map(|_| random.below(reader.len())).collect();
    let ids = match by {
        By::Place => Vec::new(),
        By::Id => ids_at(&dataset, &places)?,
    };
    if let Some(id) = ids.first() {
        // The first look-up reads the bloom filters.
        let opening = Meter::start();
        reader.by_id(id)?;
        open_seconds += opening.cost().seconds;
    }
    let meter = Meter::start();
    let mut bytes = 0;
    let mut check = |row: PairRecord| {
        let decoded = decode_rgb8(&row.image.bytes, &row.image.path)
            .map_err(|e| DatasetError::invalid(row.id.clone(), e.to_string()))?;
        bytes += decoded.rgb.as_raw().len() as u64;
        Ok::<_, DatasetError>(())
    };
    match by {
        By::Place => places.iter().try_for_each(|&place| check(reader.at(place)?))?,
        By::Id => ids.iter().try_for_each(|id| {
            let row = reader.by_id(id)?;
            check(row.ok_or_else(|| DatasetError::invalid(id.clone(), "is in no row"))?)
        })?,
    }
    Ok(Measured {
        task: "random",
        rows: count,
        bytes,
        cost: meter.cost(),
        open_seconds: Some(open_seconds),
    })
}

fn ids_at(dataset: &Dataset, places: &[u64]) -> Result<Vec<String>> {
    let reader = dataset.pair_reader(Columns::Only(&["id", "modality", "image"]))?;
    places.iter().map(|&place| Ok(reader.at(place)?.id)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::validate;

    #[test]
    fn generated_folders_are_valid_and_measured() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("made");
        let made = run(&Task::Make {
            rows: 450,
            seed: 3,
            pictures: make::Pictures::Small,
            out: out.clone(),
        });
        assert_eq!(made.unwrap().rows, 450);
        let added = run(&Task::Add {
            dataset: out.clone(),
            source: "late-book".to_owned(),
        });
        assert_eq!(added.unwrap().rows, 1000);
        let report = validate::validate(&out, validate::Options { pictures: true }).unwrap();
        assert!(report.valid && report.warnings.is_empty(), "{report:?}");
        assert_eq!((report.rows["pairs"], report.pictures_checked), (1450, 1450));
        for (records, without_images) in [(false, false), (true, false), (true, true)] {
            assert_eq!(read(&out, records, without_images).unwrap().rows, 1450);
        }
        let file = folder.path().join("one.parquet");
        let written = write(&out, 1000, &file).unwrap();
        assert!(written.rows == 1000 && written.bytes > 2_000_000, "{written:?}");
        for by in [By::Place, By::Id] {
            assert_eq!(random(&out, 20, 5, by, true).unwrap().rows, 20);
        }
        let photographs = folder.path().join("photographs");
        let made = run(&Task::Make {
            rows: 2,
            seed: 3,
            pictures: make::Pictures::Photographs,
            out: photographs.clone(),
        });
        assert!(made.unwrap().bytes > 200_000);
        let report = validate::validate(&photographs, validate::Options { pictures: true }).unwrap();
        assert!(report.valid, "{report:?}");
        let task = Task::Make {
            rows: 1,
            seed: 1,
            pictures: make::Pictures::Small,
            out,
        };
        let error = run(&task).unwrap_err().to_string();
        assert!(error.contains("new folder"), "{error}");
    }
}
