//! Single rows by id: bloom filters say which row groups can hold an id, the
//! page index lets the reader fetch just the pages of that row.

use crate::error::{DatasetError, Result};
use crate::guard::quietly;
use crate::read::{Dataset, damaged, open_parquet_indexed};
use crate::record::{LabelRecord, PairRecord};
use crate::rows::Row;
use arrow::array::AsArray;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{RowSelection, RowSelector};
use std::collections::{HashMap, HashSet};
use std::path::Path;

impl Dataset {
    /// Pairs with these ids, pictures included, in the order of `ids`; unknown
    /// ids are left out.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn pairs_by_id(&self, ids: &[&str]) -> Result<Vec<PairRecord>> {
        by_id(self, ids)
    }

    /// Labelled images with these ids, as [`Dataset::pairs_by_id`].
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn labels_by_id(&self, ids: &[&str]) -> Result<Vec<LabelRecord>> {
        by_id(self, ids)
    }
}

fn by_id<R: Row>(dataset: &Dataset, ids: &[&str]) -> Result<Vec<R>> {
    let mut wanted: HashSet<&str> = ids.iter().copied().collect();
    let mut found: HashMap<String, R> = HashMap::new();
    for path in dataset.files(R::TABLE)? {
        if wanted.is_empty() {
            break;
        }
        for row in rows_of_file::<R>(&path, &wanted)? {
            wanted.remove(row.id());
            found.insert(row.id().to_owned(), row);
        }
    }
    Ok(ids.iter().filter_map(|id| found.remove(*id)).collect())
}

fn rows_of_file<R: Row>(path: &Path, wanted: &HashSet<&str>) -> Result<Vec<R>> {
    let groups = groups_that_may_hold(path, wanted)?;
    let mut rows = Vec::new();
    for group in groups {
        let places = places_in_group(path, group, wanted)?;
        if places.is_empty() {
            continue;
        }
        let builder = open_parquet_indexed(path)?;
        let reader = quietly(|| {
            builder
                .with_row_groups(vec![group])
                .with_row_selection(selection(&places))
                .build()
        });
        let reader = reader
            .map_err(|message| damaged(path, &message))?
            .map_err(|e| DatasetError::parquet(path, &e))?;
        for batch in reader {
            let batch = batch.map_err(|e| DatasetError::parquet(path, &e))?;
            rows.extend(R::from_batch(&batch, path)?);
        }
    }
    Ok(rows)
}

/// Row groups whose bloom filter does not rule the ids out.
fn groups_that_may_hold(path: &Path, wanted: &HashSet<&str>) -> Result<Vec<usize>> {
    let builder = open_parquet_indexed(path)?;
    let schema = builder.parquet_schema();
    let id = (0..schema.num_columns()).find(|&at| schema.column(at).path().string() == "id");
    let Some(id) = id else {
        return Err(DatasetError::Schema {
            path: path.to_path_buf(),
            column: "id".to_owned(),
            message: "is missing".to_owned(),
        });
    };
    let mut groups = Vec::new();
    for group in 0..builder.metadata().num_row_groups() {
        let filter = quietly(|| builder.get_row_group_column_bloom_filter(group, id))
            .map_err(|message| damaged(path, &message))?
            .map_err(|e| DatasetError::parquet(path, &e))?;
        // Files of other makers may have no filter: look inside.
        if filter.is_none_or(|filter| wanted.iter().any(|id| filter.check(id))) {
            groups.push(group);
        }
    }
    Ok(groups)
}

/// Rows of a group that have one of the ids; reads the id column alone.
fn places_in_group(path: &Path, group: usize, wanted: &HashSet<&str>) -> Result<Vec<usize>> {
    let builder = open_parquet_indexed(path)?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), ["id"]);
    let reader = quietly(|| builder.with_row_groups(vec![group]).with_projection(mask).build())
        .map_err(|message| damaged(path, &message))?
        .map_err(|e| DatasetError::parquet(path, &e))?;
    let mut places = Vec::new();
    let mut row = 0;
    for batch in reader {
        let batch = batch.map_err(|e| DatasetError::parquet(path, &e))?;
        if let Some(ids) = batch.column(0).as_string_opt::<i32>() {
            for id in ids {
                if id.is_some_and(|id| wanted.contains(id)) {
                    places.push(row);
                }
                row += 1;
            }
        }
    }
    Ok(places)
}

fn selection(places: &[usize]) -> RowSelection {
    let mut selectors = Vec::new();
    let mut next = 0;
    for &place in places {
        if place > next {
            selectors.push(RowSelector::skip(place - next));
        }
        selectors.push(RowSelector::select(1));
        next = place + 1;
    }
    selectors.into()
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
        // The bloom filters leave few row groups to look into.
        let path = &dataset.files(crate::schema::Table::Pairs).unwrap()[0];
        let one: HashSet<&str> = HashSet::from([ids[0]]);
        assert!(groups_that_may_hold(path, &one).unwrap().len() <= 2);
    }
}
