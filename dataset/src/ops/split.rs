//! Splits a table by groups: rows of one figure, patient or book stay together.

use super::{Fate, Grouped, rewrite};
use crate::error::{DatasetError, Result};
use crate::hash::sha256_hex;
use crate::read::{Columns, Dataset, Rows};
use crate::rows::check_split;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// What counts as a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum GroupBy {
    /// The row's `split_group`: its figure or patient.
    Group,
    /// The whole book, set or hospital.
    Source,
}

/// Rows by split after the change.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct SplitSummary {
    /// Rows of each split.
    pub rows: BTreeMap<String, u64>,
    /// Groups of each split.
    pub groups: BTreeMap<String, u64>,
}

/// Gives every row of a table a split. `shares` are the splits besides `train`
/// with their shares of the rows, such as `[("test", 0.2)]`. Groups are taken in
/// an order that depends on `seed` and the group's name alone, so new rows of an
/// old group follow it, and old groups rarely move.
///
/// # Errors
/// Shares are not between 0 and 1, names are no split names, or a file cannot
/// be read or written.
pub(crate) fn split<R: Grouped>(
    folder: &Path,
    shares: &[(String, f64)],
    by: GroupBy,
    seed: u64,
) -> Result<SplitSummary> {
    for (name, share) in shares {
        check_split(name).map_err(|message| DatasetError::invalid("split", message))?;
        if !(0.0..1.0).contains(share) || name == "train" {
            return Err(DatasetError::invalid(
                format!("split {name}={share}"),
                "the share must be at least 0 and below 1, and `train` takes the rest",
            ));
        }
    }
    let total: f64 = shares.iter().map(|(_, share)| share).sum();
    if total >= 1.0 {
        return Err(DatasetError::invalid(
            "split",
            format!("the shares add up to {total}; something must be left for `train`"),
        ));
    }
    let dataset = Dataset::open(folder)?;
    let mut sizes: BTreeMap<String, u64> = BTreeMap::new();
    for row in Rows::<R>::new(dataset.files(R::TABLE)?, Columns::WithoutImageBytes) {
        *sizes.entry(group_name(&row?, by)).or_default() += 1;
    }
    let assigned = assign(&sizes, shares, seed);
    let mut summary = SplitSummary::default();
    for (group, split) in &assigned {
        *summary.rows.entry(split.clone()).or_default() += sizes[group];
        *summary.groups.entry(split.clone()).or_default() += 1;
    }
    rewrite::<R>(folder, |row| {
        if let Some(split) = assigned.get(&group_name(row, by)) {
            split.clone_into(row.split_mut());
        }
        Fate::Keep
    })?;
    Ok(summary)
}

fn group_name<R: Grouped>(row: &R, by: GroupBy) -> String {
    match by {
        GroupBy::Group => row.group().to_owned(),
        GroupBy::Source => row.source().to_owned(),
    }
}

/// Fills the splits one after the other with groups in the order of their
/// hashes, until each has its share of the rows.
fn assign(sizes: &BTreeMap<String, u64>, shares: &[(String, f64)], seed: u64) -> BTreeMap<String, String> {
    let total: u64 = sizes.values().sum();
    let mut order: Vec<(String, &String)> = sizes
        .keys()
        .map(|group| (sha256_hex(format!("{seed}\n{group}").as_bytes()), group))
        .collect();
    order.sort();
    let mut order = order.into_iter().map(|(_, group)| group).peekable();
    let mut assigned = BTreeMap::new();
    for (name, share) in shares {
        let wanted = share * total as f64;
        let mut have = 0.0;
        while let Some(group) = order.peek() {
            let size = sizes[*group] as f64;
            // The group that would overshoot by more than it fills stays out.
            if have + size / 2.0 > wanted {
                break;
            }
            have += size;
            assigned.insert((*group).clone(), name.clone());
            order.next();
        }
    }
    assigned.extend(order.map(|group| (group.clone(), "train".to_owned())));
    assigned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_stay_whole_and_shares_are_met() {
        let sizes: BTreeMap<String, u64> = (0..300).map(|n| (format!("g{n}"), 1 + n % 5)).collect();
        let shares = [("test".to_owned(), 0.2), ("val".to_owned(), 0.1)];
        let assigned = assign(&sizes, &shares, 7);
        assert_eq!(assigned.len(), 300);
        let rows = |split: &str| -> u64 {
            assigned
                .iter()
                .filter(|(_, s)| *s == split)
                .map(|(g, _)| sizes[g])
                .sum()
        };
        let total: u64 = sizes.values().sum();
        assert!((rows("test") as f64 / total as f64 - 0.2).abs() < 0.01);
        assert!((rows("val") as f64 / total as f64 - 0.1).abs() < 0.01);
        assert_eq!(assigned, assign(&sizes, &shares, 7));
        assert_ne!(assigned, assign(&sizes, &shares, 8));
    }
}
