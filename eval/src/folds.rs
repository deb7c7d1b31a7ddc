//! Which rows train and which rows test, fold by fold.
//!
//! Two ways of splitting: the paper's five overlapping random splits (so the published numbers can be
//! repeated), and true stratified k-fold, in which every row is tested exactly once.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{EvalError, Result};
use crate::python_random::PythonRandom;

/// Share of every class that the random splits keep for testing, in percent (released evaluation code).
pub const TEST_PERCENT: u32 = 20;

/// How many rows of a class to take: a number, or a share of the class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// So many rows of each class.
    Count(usize),
    /// So many percent of each class, rounded down.
    Percent(u32),
}

impl Amount {
    /// Rows to take of a class with `n` rows: Python's `int(int(P) / 100 * n)` for a share.
    pub fn of(self, n: usize) -> usize {
        match self {
            Self::Count(k) => k,
            Self::Percent(p) => (f64::from(p) / 100.0 * n as f64) as usize,
        }
    }

    /// The form used in reports: a number, or a text such as `"80%"`.
    pub fn to_json(self) -> serde_json::Value {
        match self {
            Self::Count(k) => k.into(),
            Self::Percent(_) => self.to_string().into(),
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(k) => write!(f, "{k}"),
            Self::Percent(p) => write!(f, "{p}%"),
        }
    }
}

impl FromStr for Amount {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let wrong = || format!("'{text}' is neither a number of images per class (5) nor a share (80%)");
        match text.trim().strip_suffix('%') {
            Some(share) => match share.trim().parse() {
                Ok(p @ 0..=100) => Ok(Self::Percent(p)),
                _ => Err(wrong()),
            },
            None => text.trim().parse().map(Self::Count).map_err(|_| wrong()),
        }
    }
}

/// How the folds are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Splitting {
    /// The paper's protocol: fold f shuffles all rows with Python's seed f; folds overlap.
    Random,
    /// Stratified k-fold: every row is tested exactly once.
    Stratified,
}

/// Rows of one fold, label-major, in shuffled order within a label, and the generator as the split left it.
pub struct Fold {
    /// Test rows.
    pub test: Vec<usize>,
    /// Training rows.
    pub train: Vec<usize>,
    /// Trained adapters draw their sample order from here (the reference does not seed again).
    pub random: PythonRandom,
}

/// What a split must give.
#[derive(Debug, Clone, Copy)]
pub struct SplitPlan {
    /// How the folds are made.
    pub splitting: Splitting,
    /// Number of folds.
    pub folds: usize,
    /// Training rows per class.
    pub train: Amount,
    /// Every row is a test row and none trains (zero-shot).
    pub test_everything: bool,
    /// Take what there is of a class with too few rows (the released code does so silently).
    pub allow_short_classes: bool,
    /// The labels are combinations of classes: one with too few rows for a share trains or tests none of them.
    pub sparse: bool,
}

/// Rows of every label present, labels ascending; `order` gives the order of the rows.
fn rows_by_label(labels: &[usize], order: &[usize]) -> Vec<(usize, Vec<usize>)> {
    let classes = labels.iter().max().map_or(0, |m| m + 1);
    let mut rows = vec![Vec::new(); classes];
    for &row in order {
        rows[labels[row]].push(row);
    }
    rows.into_iter().enumerate().filter(|(_, r)| !r.is_empty()).collect()
}

/// Makes fold `fold` of the plan. `labels` holds class indices; `class_names` serve messages only.
pub fn split(labels: &[usize], class_names: &[String], plan: &SplitPlan, fold: usize) -> Result<Fold> {
    let seed = match plan.splitting {
        Splitting::Random => fold as u64,
        Splitting::Stratified => 0, // one shuffle, dealt out to the folds
    };
    let mut random = PythonRandom::new(seed);
    let mut order: Vec<usize> = (0..labels.len()).collect();
    random.shuffle(&mut order);

    let (mut test, mut train) = (Vec::new(), Vec::new());
    for (label, own) in rows_by_label(labels, &order) {
        if plan.test_everything {
            test.extend(own);
            continue;
        }
        let (for_test, pool): (Vec<usize>, Vec<usize>) = match plan.splitting {
            Splitting::Random => {
                let cut = Amount::Percent(TEST_PERCENT).of(own.len());
                (own[..cut].to_vec(), own[cut..].to_vec())
            }
            Splitting::Stratified => {
                let deal = |keep: bool| {
                    own.iter()
                        .enumerate()
                        .filter(move |(i, _)| (i % plan.folds == fold) == keep)
                        .map(|(_, &r)| r)
                        .collect()
                };
                (deal(true), deal(false))
            }
        };
        // a share counts the whole class; dealt folds may leave one row less than it asks for
        let wanted = match plan.train {
            Amount::Count(k) => k,
            share @ Amount::Percent(_) => share.of(own.len()).min(pool.len()),
        };
        let short = pool.len() < wanted && !plan.allow_short_classes || wanted == 0 || pool.is_empty();
        if short && !plan.sparse {
            let name = class_names.get(label).map_or("?", String::as_str);
            return Err(EvalError::protocol(format!(
                "class {label} ({name}) has {} images: {} test it in fold {fold} and {} are left to train on, but --shots {} asks for {}; \
                 use fewer shots, add images{}",
                own.len(),
                for_test.len(),
                pool.len(),
                plan.train,
                wanted.max(1),
                if pool.is_empty() {
                    ""
                } else {
                    ", or take what there is with --allow-short-classes"
                },
            )));
        }
        test.extend(for_test);
        train.extend(pool.into_iter().take(wanted));
    }
    Ok(Fold { test, train, random })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn plan(splitting: Splitting, train: Amount) -> SplitPlan {
        SplitPlan {
            splitting,
            folds: 5,
            train,
            test_everything: false,
            allow_short_classes: false,
            sparse: false,
        }
    }

    #[test]
    fn amounts_read_and_count_as_in_python() {
        assert_eq!("5".parse(), Ok(Amount::Count(5)));
        assert_eq!("80%".parse(), Ok(Amount::Percent(80)));
        for wrong in ["-1", "101%", "", "%", "five", "0.2"] {
            assert!(wrong.parse::<Amount>().is_err(), "{wrong}");
        }
        // int(int('20')/100*n) and int(int('80')/100*n), n = 1..12
        let twenty: Vec<usize> = (1..=12).map(|n| Amount::Percent(20).of(n)).collect();
        assert_eq!(twenty, [0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2]);
        assert_eq!(Amount::Percent(80).of(35), 28);
        assert_eq!(Amount::Percent(29).of(100), 28); // 28.999999999999996 in Python too
    }

    #[test]
    fn too_few_images_name_the_class() {
        let labels = [vec![0; 40], vec![1; 6]].concat();
        let names = ["normal".to_string(), "glaucoma".to_string()];
        let Err(error) = split(&labels, &names, &plan(Splitting::Random, Amount::Count(10)), 0) else {
            panic!("must fail")
        };
        let text = error.to_string();
        assert!(
            text.contains("class 1 (glaucoma) has 6 images") && text.contains("--allow-short-classes"),
            "{text}"
        );
        let short = SplitPlan {
            allow_short_classes: true,
            ..plan(Splitting::Random, Amount::Count(10))
        };
        assert_eq!(split(&labels, &names, &short, 0).unwrap().train.len(), 15);
    }

    proptest! {
        #[test]
        fn stratified_folds_test_every_row_once(labels in prop::collection::vec(0usize..3, 60..200)) {
            let names = vec![String::new(); 3];
            let plan = plan(Splitting::Stratified, Amount::Percent(80));
            let mut seen = vec![0; labels.len()];
            for fold in 0..5 {
                let Ok(f) = split(&labels, &names, &plan, fold) else { continue };
                prop_assert!(f.train.iter().all(|r| !f.test.contains(r)));
                f.test.iter().for_each(|&r| seen[r] += 1);
            }
            prop_assert!(seen.iter().all(|&n| n == 1));
        }

        #[test]
        fn random_folds_are_label_major_and_disjoint(labels in prop::collection::vec(0usize..4, 80..200), fold in 0usize..5) {
            let names = vec![String::new(); 4];
            if let Ok(f) = split(&labels, &names, &plan(Splitting::Random, Amount::Count(5)), fold) {
                prop_assert!(f.train.iter().all(|r| !f.test.contains(r)));
                let order: Vec<usize> = f.train.iter().map(|&r| labels[r]).collect();
                prop_assert!(order.is_sorted());
                prop_assert_eq!(f.train.len() % 5, 0);
            }
        }
    }
}
