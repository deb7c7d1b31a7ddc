//! Groups over columns that the file holds as dictionary codes.
//!
//! polars makes a string of every cell and looks each one up in a table of
//! groups. Where the file says "code 2" for a run of rows, counting codes is
//! enough: strings are touched once per row group and value. Statements stay as
//! they are: only the grouping of a scan in polars' plan is replaced by its
//! result, and everything above it (expressions, `ORDER BY`, joins) is run by
//! polars. What is not met here (other aggregates, filters, many values) is left
//! to polars altogether.

mod aggregate;
mod codes;

use crate::parquet_file::{ParquetFile, Purpose};
use aggregate::{Aggregate, Kind, Total, aggregate};
use arrow::array::{Array, ArrowPrimitiveType, PrimitiveArray, RecordBatch};
use arrow::datatypes::{Float32Type, Int32Type};
use codes::Codes;
use polars::prelude::{
    Column, DataFrame, DslPlan, Expr, IdxSize, IntoLazy, LazyFrame, NamedFrom, PlSmallStr, ScanSources, Series,
};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// Values of one column, and groups of one row group, up to which this is worth
/// its while.
const MAX_VALUES: usize = 4096;
const MAX_GROUPS: usize = 1 << 16;
/// Row groups of fewer rows, as the shards have, cost more to open than is won.
const MIN_GROUP_ROWS: u64 = 256;
/// Rows at a time.
const BATCH_ROWS: usize = 1 << 16;

/// The frame with each grouping that can be done here replaced by its result.
pub(super) fn grouped_by_codes(mut frame: LazyFrame) -> LazyFrame {
    replace(&mut frame.logical_plan);
    frame
}

/// How many groupings were replaced.
fn replace(plan: &mut DslPlan) -> usize {
    match plan {
        DslPlan::GroupBy {
            input,
            keys,
            predicates,
            aggs,
            options,
            apply,
            ..
        } => {
            if predicates.is_empty()
                && apply.is_none()
                && options.slice.is_none()
                && let Some(done) = grouped(input, keys, aggs)
            {
                *plan = done.lazy().logical_plan;
                return 1;
            }
            replace(Arc::make_mut(input))
        }
        DslPlan::Filter { input, .. }
        | DslPlan::Select { input, .. }
        | DslPlan::HStack { input, .. }
        | DslPlan::Distinct { input, .. }
        | DslPlan::Sort { input, .. }
        | DslPlan::Slice { input, .. }
        | DslPlan::MapFunction { input, .. } => replace(Arc::make_mut(input)),
        DslPlan::Join {
            input_left,
            input_right,
            ..
        } => replace(Arc::make_mut(input_left)) + replace(Arc::make_mut(input_right)),
        DslPlan::Union { inputs, .. } => inputs.iter_mut().map(replace).sum(),
        DslPlan::IR { dsl, .. } => {
            let mut inner = dsl.as_ref().clone();
            let replaced = replace(&mut inner);
            if replaced > 0 {
                *plan = inner;
            }
            replaced
        }
        _ => 0,
    }
}

/// The groups of a scan, or `None` where polars has to do it.
fn grouped(input: &DslPlan, keys: &[Expr], aggregates: &[Expr]) -> Option<DataFrame> {
    let paths = match input {
        // A plan whose columns polars has looked up.
        DslPlan::IR { dsl, .. } => return grouped(dsl, keys, aggregates),
        DslPlan::Scan {
            sources: ScanSources::Paths(paths),
            ..
        } => paths,
        _ => return None,
    };
    let keys: Vec<PlSmallStr> = keys
        .iter()
        .map(|key| match key {
            Expr::Column(name) => Some(name.clone()),
            _ => None,
        })
        .collect::<Option<_>>()?;
    let aggregates: Vec<(PlSmallStr, Aggregate)> = aggregates.iter().map(aggregate).collect::<Option<_>>()?;
    let mut groups = Groups::default();
    for path in paths.iter() {
        add_file(&mut groups, Path::new(path.as_str()), &keys, &aggregates)?;
    }
    let Groups { rows, kinds, .. } = groups;
    let mut columns = Vec::new();
    for (at, name) in keys.iter().enumerate() {
        let cells: Vec<Option<&str>> = rows.iter().map(|group| group.key[at].as_deref()).collect();
        columns.push(Column::from(Series::new(name.clone(), cells)));
    }
    for (at, (name, aggregate)) in aggregates.iter().enumerate() {
        let totals = rows.iter().map(|group| group.totals[at]);
        let kind = kinds.get(at).copied()?;
        columns.push(Column::from(aggregate.series(name.clone(), totals, kind)));
    }
    DataFrame::new_infer_height(columns).ok()
}

struct Group {
    key: Vec<Option<String>>,
    totals: Vec<Total>,
}

/// The groups so far, in the order in which they were met.
#[derive(Default)]
struct Groups {
    places: HashMap<Vec<Option<String>>, usize>,
    rows: Vec<Group>,
    /// Types of the aggregated columns, once known.
    kinds: Vec<Kind>,
}

fn add_file(
    groups: &mut Groups,
    path: &Path,
    keys: &[PlSmallStr],
    aggregates: &[(PlSmallStr, Aggregate)],
) -> Option<()> {
    let file = ParquetFile::open(path, Purpose::Rows).ok()?;
    if file.rows() / MIN_GROUP_ROWS < file.groups() as u64 {
        return None;
    }
    let columns = aggregates.iter().filter_map(|(_, aggregate)| aggregate.column());
    let names: Vec<&str> = keys.iter().map(PlSmallStr::as_str).collect();
    let wanted: Vec<&str> = names.iter().copied().chain(columns).collect();
    let file = file.with_codes(&names).ok()??;
    let mask = file.mask_of(&wanted);
    for group in 0..file.groups() {
        for batch in file.group_in_batches(group, &mask, BATCH_ROWS).ok()? {
            groups.add(&batch.ok()?, keys, aggregates)?;
        }
    }
    Some(())
}

impl Groups {
    fn add(&mut self, batch: &RecordBatch, keys: &[PlSmallStr], aggregates: &[(PlSmallStr, Aggregate)]) -> Option<()> {
        let codes: Vec<Codes> = keys
            .iter()
            .map(|name| Codes::of(batch.column_by_name(name)?))
            .collect::<Option<_>>()?;
        let combinations = codes
            .iter()
            .try_fold(1_usize, |product, codes| product.checked_mul(codes.values.len() + 1))?;
        if combinations > MAX_GROUPS {
            return None;
        }
        // Groups of the batch's combinations of codes, as they are met.
        let mut known: Vec<Option<usize>> = vec![None; combinations];
        // Runs of rows of one group: the group and the row behind the last one.
        let mut runs: Vec<(usize, usize)> = Vec::new();
        let mut last = None;
        for row in 0..batch.num_rows() {
            let mut place = 0;
            for codes in &codes {
                place = place * (codes.values.len() + 1) + codes.at(row)?;
            }
            if last == Some(place)
                && let Some(run) = runs.last_mut()
            {
                run.1 = row + 1;
                continue;
            }
            last = Some(place);
            let group = match *known.get(place)? {
                Some(group) => group,
                None => {
                    let key = codes.iter().map(|codes| codes.value(row)).collect();
                    let group = self.group(key, aggregates.len());
                    known[place] = Some(group);
                    group
                }
            };
            runs.push((group, row + 1));
        }
        for (at, (_, aggregate)) in aggregates.iter().enumerate() {
            let kind = self.aggregate(batch, at, aggregate, &runs)?;
            match self.kinds.get(at) {
                Some(&before) if before != kind => return None,
                Some(_) => {}
                None => self.kinds.push(kind),
            }
        }
        Some(())
    }

    /// The place of a group, a new one if there is none with this key.
    fn group(&mut self, key: Vec<Option<String>>, aggregates: usize) -> usize {
        let next = self.rows.len();
        let place = *self.places.entry(key.clone()).or_insert(next);
        if place == next {
            self.rows.push(Group {
                key,
                totals: vec![Total::default(); aggregates],
            });
        }
        place
    }

    fn aggregate(
        &mut self,
        batch: &RecordBatch,
        at: usize,
        aggregate: &Aggregate,
        runs: &[(usize, usize)],
    ) -> Option<Kind> {
        let mut start = 0;
        let Some(name) = aggregate.column() else {
            for &(group, end) in runs {
                let total = &mut self.rows[group].totals[at];
                total.count = total.count.checked_add(IdxSize::try_from(end - start).ok()?)?;
                start = end;
            }
            return Some(Kind::Any);
        };
        let column = batch.column_by_name(name)?;
        if let Aggregate::Count(_) = aggregate {
            let nulls = column.logical_nulls();
            for &(group, end) in runs {
                let missing = nulls
                    .as_ref()
                    .map_or(0, |nulls| nulls.slice(start, end - start).null_count());
                let total = &mut self.rows[group].totals[at];
                total.count = total
                    .count
                    .checked_add(IdxSize::try_from(end - start - missing).ok()?)?;
                start = end;
            }
            return Some(Kind::Any);
        }
        if let Some(cells) = column.as_any().downcast_ref::<PrimitiveArray<Float32Type>>() {
            self.numbers(cells, at, aggregate, runs, f64::from);
            return Some(Kind::Float32);
        }
        let cells = column.as_any().downcast_ref::<PrimitiveArray<Int32Type>>()?;
        self.numbers(cells, at, aggregate, runs, f64::from);
        Some(Kind::Int32)
    }

    fn numbers<T: ArrowPrimitiveType>(
        &mut self,
        cells: &PrimitiveArray<T>,
        at: usize,
        aggregate: &Aggregate,
        runs: &[(usize, usize)],
        exact: impl Fn(T::Native) -> f64,
    ) {
        let mut start = 0;
        for &(group, end) in runs {
            let mut total = self.rows[group].totals[at];
            let values = cells.values()[start..end].iter().map(|&value| exact(value));
            match cells.nulls() {
                None => total.add_all(values, aggregate),
                Some(nulls) => {
                    let nulls = nulls.slice(start, end - start);
                    let present = values
                        .zip(nulls.iter())
                        .filter_map(|(value, valid)| valid.then_some(value));
                    total.add_all(present, aggregate);
                }
            }
            self.rows[group].totals[at] = total;
            start = end;
        }
    }
}

#[cfg(test)]
mod tests;
