//! Which rows are held out for testing: whole groups, every category in
//! proportion, decided by hashes alone.

use std::collections::BTreeMap;

use dataset::hash::sha256_hex;

/// Groups held out, given each row's group and stratum (its first category).
///
/// `share` is the part of each stratum's groups that is held out (0..1). A
/// stratum with at least two groups and a positive share gives at least one and
/// keeps at least one. The answer depends on `seed` and the groups' names, not
/// on the order of rows.
pub fn held_out_groups(rows: &[(String, String)], share: f64, seed: u64) -> Vec<String> {
    // A group belongs to the stratum most of its rows have; ties go to the first name.
    let mut votes: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    for (group, stratum) in rows {
        *votes.entry(group).or_default().entry(stratum).or_default() += 1;
    }
    let mut strata: BTreeMap<&str, Vec<(String, &str)>> = BTreeMap::new();
    for (group, counts) in votes {
        let most = counts.values().copied().max().unwrap_or(0);
        let stratum = counts.into_iter().find(|c| c.1 == most).map_or("", |c| c.0);
        let rank = sha256_hex(format!("{seed}\n{group}").as_bytes());
        strata.entry(stratum).or_default().push((rank, group));
    }
    let mut held = Vec::new();
    for groups in strata.values_mut() {
        groups.sort();
        let wanted = (share * groups.len() as f64).round() as usize;
        let wanted = if share > 0.0 && groups.len() > 1 {
            wanted.clamp(1, groups.len() - 1)
        } else {
            0
        };
        held.extend(groups[..wanted].iter().map(|g| g.1.to_owned()));
    }
    held.sort();
    held
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rows(groups: usize, strata: usize) -> Vec<(String, String)> {
        (0..groups)
            .map(|g| (format!("g{g}"), format!("s{}", g % strata)))
            .collect()
    }

    #[test]
    fn every_stratum_gives_its_share() {
        let held = held_out_groups(&rows(40, 2), 0.25, 1);
        assert_eq!(held.len(), 10);
        assert_eq!(
            held.iter()
                .filter(|g| g[1..].parse::<usize>().unwrap() % 2 == 0)
                .count(),
            5
        );
        assert!(held_out_groups(&rows(3, 3), 0.5, 1).is_empty());
        assert!(held_out_groups(&rows(9, 2), 0.0, 1).is_empty());
        assert_ne!(held, held_out_groups(&rows(40, 2), 0.25, 2));
    }

    proptest! {
        #[test]
        fn order_and_repetition_do_not_matter(groups in 2usize..30, strata in 1usize..4, share in 0.0f64..1.0, seed in 0u64..9) {
            let mut all = rows(groups, strata);
            let held = held_out_groups(&all, share, seed);
            all.reverse();
            all.extend(all.clone());
            prop_assert_eq!(held_out_groups(&all, share, seed), held);
        }
    }
}
