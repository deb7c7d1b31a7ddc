//! An analyst's first steps in a dataset folder, in Rust:
//!
//! ```text
//! cargo run --release -p dataset --example analyst -- DATASET
//! ```

use dataset::schema::Table;
use dataset::{Columns, Dataset, DatasetError, query};
use std::path::Path;

fn main() -> Result<(), DatasetError> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "DATASET".to_owned());
    look(Path::new(&folder))
}

/// Prints a few facts about the pairs of a folder.
pub fn look(folder: &Path) -> Result<(), DatasetError> {
    let dataset = Dataset::open(folder)?;

    // SQL gives a polars DataFrame; image bytes are not read.
    let counts = query::run(
        &dataset,
        "SELECT modality, COUNT(*) AS pairs, AVG(pair_confidence) AS confidence FROM pairs GROUP BY modality ORDER BY modality",
    )?;
    println!("{counts}");

    // Records one after the other, a row group at a time in memory.
    let mut longest = 0;
    for pair in dataset.pairs(Columns::WithoutImageBytes)? {
        longest = longest.max(pair?.caption_en.map_or(0, |caption| caption.split_whitespace().count()));
    }
    println!("longest English caption: {longest} words");

    // Arrow record batches, for everything that speaks Arrow.
    let mut image_bytes = 0;
    for batch in dataset.batches(Table::Pairs, Columns::Only(&["image"]))? {
        image_bytes += batch?.get_array_memory_size();
    }
    println!("pictures take {image_bytes} bytes in memory");

    // Single rows by place or id, without reading the file up to them.
    let reader = dataset.pair_reader(Columns::All)?;
    if !reader.is_empty() {
        let middle = reader.at(reader.len() / 2)?;
        let again = reader.by_id(&middle.id)?;
        println!(
            "{}: {} x {} pixels, {} bytes, found again: {}",
            middle.id,
            middle.width,
            middle.height,
            middle.image.bytes.len(),
            again.is_some_and(|pair| pair == middle)
        );
    }
    Ok(())
}
