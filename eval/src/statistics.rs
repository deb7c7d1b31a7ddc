//! Uncertainty of a result: bootstrap intervals, and paired comparison of two models.
//!
//! The images are resampled (within their class or combination of classes, so that its size stays), not the folds: an image that
//! several folds test gets the same weight in all of them, so overlapping folds do not narrow the interval.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::metrics::{Metrics, descending_order, ranking_scores};
use crate::truth::Truth;

/// Replicates when nothing else is asked for.
pub const DEFAULT_REPLICATES: usize = 1000;

/// Lower and upper end of a 95 % percentile interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval(pub f64, pub f64);

/// 95 % intervals of the mean metrics over the folds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Intervals {
    /// Balanced accuracy.
    pub acc: Interval,
    /// Mean one-vs-rest AUC.
    pub auc: Interval,
    /// Mean average precision.
    pub aupr: Interval,
    /// Mean of the three.
    pub avg: Interval,
}

/// Predictions of one fold: image rows and their class probabilities.
pub struct FoldPredictions<'a> {
    /// Rows of the image table that the fold tests.
    pub rows: &'a [usize],
    /// `[test rows][classes]`.
    pub probabilities: &'a [Vec<f64>],
}

/// A fold with everything sorted once, so that a replicate costs one pass.
struct Prepared<'a> {
    fold: &'a FoldPredictions<'a>,
    truth: Truth<'a>,
    judged: Vec<Vec<(usize, bool)>>, // [class] positions in the fold that its ACC counts, and whether they are right
    orders: Vec<Vec<usize>>,         // [class][rank] position in the fold
}

impl<'a> Prepared<'a> {
    fn new(fold: &'a FoldPredictions<'a>, truth: Truth<'a>) -> Self {
        let classes = fold.probabilities.first().map_or(0, Vec::len);
        let judge = |class: usize| {
            let rows = fold.rows.iter().zip(fold.probabilities).enumerate();
            rows.filter_map(|(i, (&row, p))| Some((i, truth.judge(row, class, p)?)))
                .collect()
        };
        Self {
            fold,
            truth,
            judged: (0..classes).map(judge).collect(),
            orders: (0..classes).map(|c| descending_order(fold.probabilities, c)).collect(),
        }
    }

    /// Metrics with image weights; classes without weight take no part. `None` when no class is left.
    fn weighted(&self, weights: &[f64]) -> Option<Metrics> {
        let weight = |i: usize| weights[self.fold.rows[i]];
        let (mut sums, mut classes) = ([0.0; 3], 0.0);
        for (class, order) in self.orders.iter().enumerate() {
            let scores = ranking_scores(
                order,
                |i| self.fold.probabilities[i][class],
                |i| self.truth.has(self.fold.rows[i], class),
                weight,
            );
            let Some((auc, ap)) = scores else { continue };
            let (mut hit, mut all) = (0.0, 0.0);
            for &(i, right) in &self.judged[class] {
                all += weight(i);
                hit += if right { weight(i) } else { 0.0 };
            }
            classes += 1.0;
            for (sum, value) in sums.iter_mut().zip([hit / all, auc, ap]) {
                *sum += value;
            }
        }
        (classes > 0.0).then(|| Metrics {
            acc: sums[0] / classes,
            auc: sums[1] / classes,
            aupr: sums[2] / classes,
        })
    }
}

/// Folds without repetitions of the same test rows (zero-shot tests everything in every fold).
fn distinct<'a>(folds: &'a [FoldPredictions<'a>], truth: Truth<'a>) -> Vec<Prepared<'a>> {
    let key = |f: &FoldPredictions<'_>| {
        let mut rows = f.rows.to_vec();
        rows.sort_unstable();
        rows
    };
    let all_equal = folds.len() > 1
        && folds
            .iter()
            .all(|f| f.rows.len() == truth.groups.len() && key(f) == key(&folds[0]));
    let used = if all_equal { &folds[..1] } else { folds };
    used.iter().map(|f| Prepared::new(f, truth)).collect()
}

/// Image weights of replicate `number`: a draw with replacement within every group.
fn resample(groups: &[usize], by_group: &[Vec<usize>], seed: u64, number: usize) -> Vec<f64> {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    generator.set_stream(number as u64);
    let mut weights = vec![0.0; groups.len()];
    for rows in by_group.iter().filter(|r| !r.is_empty()) {
        for _ in 0..rows.len() {
            weights[rows[generator.random_range(0..rows.len())]] += 1.0;
        }
    }
    weights
}

fn rows_by_group(groups: &[usize]) -> Vec<Vec<usize>> {
    let mut by_group = vec![Vec::new(); groups.iter().max().map_or(0, |m| m + 1)];
    groups
        .iter()
        .enumerate()
        .for_each(|(row, &group)| by_group[group].push(row));
    by_group
}

/// Percentile interval of unsorted values, linear between ranks.
fn percentile_interval(mut values: Vec<f64>) -> Interval {
    values.sort_by(f64::total_cmp);
    let at = |q: f64| {
        let place = q * (values.len() - 1) as f64;
        let (low, part) = (place.floor() as usize, place.fract());
        values[low] + part * (values[(low + 1).min(values.len() - 1)] - values[low])
    };
    Interval(at(0.025), at(0.975))
}

/// Mean metrics of the folds for every replicate.
fn replicates(folds: &[Prepared<'_>], groups: &[usize], count: usize, seed: u64) -> Vec<Option<Metrics>> {
    let by_group = rows_by_group(groups);
    let one = |number: usize| {
        let weights = resample(groups, &by_group, seed, number);
        let metrics: Option<Vec<Metrics>> = folds.iter().map(|f| f.weighted(&weights)).collect();
        metrics.map(|m| Metrics::mean(&m))
    };
    (0..count).into_par_iter().map(one).collect()
}

/// 95 % bootstrap intervals of the fold means. `truth` holds the classes of every image of the table.
/// `None` when `count` is 0 or the test sets are too small to resample.
pub fn bootstrap(folds: &[FoldPredictions<'_>], truth: Truth<'_>, count: usize, seed: u64) -> Option<Intervals> {
    let drawn: Vec<Metrics> = replicates(&distinct(folds, truth), truth.groups, count, seed)
        .into_iter()
        .flatten()
        .collect();
    let interval = |f: fn(&Metrics) -> f64| percentile_interval(drawn.iter().map(f).collect());
    (!drawn.is_empty()).then(|| Intervals {
        acc: interval(|m| m.acc),
        auc: interval(|m| m.auc),
        aupr: interval(|m| m.aupr),
        avg: interval(Metrics::avg),
    })
}

/// Outcome of a paired comparison, second model minus first.
#[derive(Debug, Clone, Serialize)]
pub struct PairedComparison {
    /// Mean differences.
    pub difference: Metrics,
    /// Their 95 % intervals: the same resampled images for both models.
    pub ci95: Intervals,
    /// Two-sided bootstrap p value of the difference in AVG.
    pub p_avg: f64,
    /// Test images that only the first model gets right, over all folds.
    pub only_first_right: u64,
    /// Test images that only the second model gets right, over all folds.
    pub only_second_right: u64,
    /// Two-sided exact McNemar p value; given only when no image is tested twice.
    pub p_mcnemar: Option<f64>,
}

/// Compares two models on the same folds and images.
pub fn compare(
    first: &[FoldPredictions<'_>],
    second: &[FoldPredictions<'_>],
    truth: Truth<'_>,
    count: usize,
    seed: u64,
) -> Option<PairedComparison> {
    let (a, b) = (distinct(first, truth), distinct(second, truth));
    let ones = vec![1.0; truth.groups.len()];
    let mean = |p: &[Prepared<'_>]| {
        p.iter()
            .map(|f| f.weighted(&ones))
            .collect::<Option<Vec<_>>>()
            .map(|m| Metrics::mean(&m))
    };
    let minus = |x: Metrics, y: Metrics| Metrics {
        acc: x.acc - y.acc,
        auc: x.auc - y.auc,
        aupr: x.aupr - y.aupr,
    };
    let difference = minus(mean(&b)?, mean(&a)?);
    let drawn: Vec<Metrics> = replicates(&a, truth.groups, count, seed)
        .into_iter()
        .zip(replicates(&b, truth.groups, count, seed))
        .filter_map(|(x, y)| Some(minus(y?, x?)))
        .collect();
    if drawn.is_empty() {
        return None;
    }
    let interval = |f: fn(&Metrics) -> f64| percentile_interval(drawn.iter().map(f).collect());
    let share = |test: fn(f64) -> bool| drawn.iter().filter(|m| test(m.avg())).count() as f64 + 1.0;
    let p_avg = (2.0 * share(|d| d <= 0.0).min(share(|d| d >= 0.0)) / (drawn.len() as f64 + 1.0)).min(1.0);
    let (mut only_first, mut only_second) = (0, 0);
    let mut tested = vec![0u32; truth.groups.len()];
    for (x, y) in a.iter().zip(&b) {
        for (&row, (p, q)) in x
            .fold
            .rows
            .iter()
            .zip(x.fold.probabilities.iter().zip(y.fold.probabilities))
        {
            let (first, second) = (truth.right(row, p), truth.right(row, q));
            only_first += u64::from(first && !second);
            only_second += u64::from(second && !first);
            tested[row] += 1;
        }
    }
    let once = tested.iter().all(|&t| t <= 1);
    Some(PairedComparison {
        difference,
        ci95: Intervals {
            acc: interval(|m| m.acc),
            auc: interval(|m| m.auc),
            aupr: interval(|m| m.aupr),
            avg: interval(Metrics::avg),
        },
        p_avg,
        only_first_right: only_first,
        only_second_right: only_second,
        p_mcnemar: once.then(|| mcnemar_exact(only_first, only_second)),
    })
}

/// Two-sided exact McNemar test: binomial with p = ½ over the discordant pairs.
pub fn mcnemar_exact(only_first: u64, only_second: u64) -> f64 {
    let n = only_first + only_second;
    // log binomial coefficients by recurrence, so that large n does not overflow
    let mut log_term = -(n as f64) * std::f64::consts::LN_2;
    let mut sum = 0.0;
    for k in 0..=only_first.min(only_second) {
        sum += log_term.exp();
        log_term += ((n - k) as f64 / (k + 1) as f64).ln();
    }
    (2.0 * sum).min(1.0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn predictions(labels: &[usize], right: impl Fn(usize) -> bool) -> Vec<Vec<f64>> {
        let one = |(i, &l): (usize, &usize)| {
            let p = if right(i) {
                0.8 + 0.1 * (i % 7) as f64 / 7.0
            } else {
                0.3
            };
            if l == 0 { vec![p, 1.0 - p] } else { vec![1.0 - p, p] }
        };
        labels.iter().enumerate().map(one).collect()
    }

    #[test]
    fn intervals_hold_the_estimate_and_shrink_with_more_images() {
        let width = |n: usize| {
            let labels: Vec<usize> = (0..n).map(|i| i % 2).collect();
            let rows: Vec<usize> = (0..n).collect();
            let p = predictions(&labels, |i| i % 5 != 0);
            let ci = bootstrap(
                &[FoldPredictions {
                    rows: &rows,
                    probabilities: &p,
                }],
                Truth::one(&labels),
                400,
                1,
            )
            .unwrap();
            assert!(ci.acc.0 < 0.8 && ci.acc.1 > 0.8, "{ci:?}");
            ci.acc.1 - ci.acc.0
        };
        let (small, large) = (width(60), width(960));
        assert!((small / large - 4.0).abs() < 1.0, "{small} {large}");
        // about 4 standard errors of a share of 0.8 in 960
        assert!((large - 3.92 * (0.16f64 / 960.0).sqrt()).abs() < 0.01, "{large}");
    }

    #[test]
    fn repeated_folds_do_not_narrow_the_interval() {
        let labels: Vec<usize> = (0..100).map(|i| i % 2).collect();
        let rows: Vec<usize> = (0..100).collect();
        let p = predictions(&labels, |i| i % 4 != 0);
        let fold = || FoldPredictions {
            rows: &rows,
            probabilities: &p,
        };
        let one = bootstrap(&[fold()], Truth::one(&labels), 200, 5).unwrap();
        let five = bootstrap(&[fold(), fold(), fold(), fold(), fold()], Truth::one(&labels), 200, 5).unwrap();
        assert_eq!(one, five);
    }

    #[test]
    fn comparison_sees_a_better_model_and_no_difference() {
        let labels: Vec<usize> = (0..200).map(|i| i % 2).collect();
        let rows: Vec<usize> = (0..200).collect();
        let (weak, strong) = (
            predictions(&labels, |i| i % 3 != 0),
            predictions(&labels, |i| i % 20 != 0),
        );
        let fold = |p| {
            [FoldPredictions {
                rows: &rows,
                probabilities: p,
            }]
        };
        let c = compare(&fold(&weak), &fold(&strong), Truth::one(&labels), 500, 3).unwrap();
        assert!(
            c.p_avg < 0.01 && c.difference.acc > 0.2 && c.ci95.acc.0 > 0.0 && c.p_mcnemar.unwrap() < 1e-6,
            "{c:?}"
        );
        let same = compare(&fold(&weak), &fold(&weak), Truth::one(&labels), 500, 3).unwrap();
        assert!(same.p_avg == 1.0 && same.difference.acc == 0.0 && same.p_mcnemar == Some(1.0));
    }

    #[test]
    fn mcnemar_matches_the_binomial_table() {
        assert!((mcnemar_exact(0, 5) - 0.0625).abs() < 1e-12);
        assert!((mcnemar_exact(2, 8) - 0.109_375).abs() < 1e-12);
        assert_eq!(mcnemar_exact(4, 4), 1.0);
        assert!(mcnemar_exact(3000, 3300) < 1e-3);
    }
}
