//! Classification metrics, equal to scikit-learn's.
//!
//! Rule for absent classes: a class without a test row takes no part in any mean (its score column still
//! competes in the argmax). One class alone among the test rows makes AUC undefined: that is an error.
//!
//! Where images may have several classes, ACC of a class is the share of right answers at a probability of ½ (as
//! the released code counts it), and a class that every test row has takes no part either.

use serde::Serialize;

use crate::error::{EvalError, Result};
use crate::truth::{Truth, YES};

/// Bins of the expected calibration error (Guo et al. 2017).
pub const CALIBRATION_BINS: usize = 15;

/// Mean metrics of one set of predictions, fractions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Metrics {
    /// Balanced accuracy: mean per-class recall of the argmax. Several classes an image: mean share of right answers.
    pub acc: f64,
    /// Mean one-vs-rest area under the ROC curve, ties counting half.
    pub auc: f64,
    /// Mean per-class average precision (step form, no interpolation).
    pub aupr: f64,
}

impl Metrics {
    /// Mean of the three, the paper's AVG.
    pub fn avg(&self) -> f64 {
        (self.acc + self.auc + self.aupr) / 3.0
    }

    /// Mean over folds.
    pub fn mean(all: &[Self]) -> Self {
        let mean = |f: fn(&Self) -> f64| all.iter().map(f).sum::<f64>() / all.len() as f64;
        Self {
            acc: mean(|m| m.acc),
            auc: mean(|m| m.auc),
            aupr: mean(|m| m.aupr),
        }
    }

    /// Population standard deviation over folds (ddof 0, as the released code).
    pub fn deviation(all: &[Self]) -> Self {
        let mean = Self::mean(all);
        let std = |f: fn(&Self) -> f64| {
            let centre = f(&mean);
            (all.iter().map(|m| (f(m) - centre).powi(2)).sum::<f64>() / all.len() as f64).sqrt()
        };
        Self {
            acc: std(|m| m.acc),
            auc: std(|m| m.auc),
            aupr: std(|m| m.aupr),
        }
    }
}

/// Scores of one class against the rest.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ClassScores {
    /// Class index.
    pub class: usize,
    /// Test rows of the class.
    pub rows: usize,
    /// What the mean ACC is made of: the recall, or the share of right answers where images may have several classes.
    pub accuracy: f64,
    /// Share of its rows that are named so.
    pub recall: f64,
    /// One-vs-rest area under the ROC curve.
    pub auc: f64,
    /// Average precision.
    pub average_precision: f64,
}

/// Index of the largest value; the first of equals, as numpy's argmax.
pub fn argmax(values: &[f64]) -> usize {
    let mut best = 0;
    for (i, v) in values.iter().enumerate() {
        if *v > values[best] {
            best = i;
        }
    }
    best
}

/// Rows by falling score of `class`.
pub(crate) fn descending_order(scores: &[Vec<f64>], class: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b][class].total_cmp(&scores[a][class]));
    order
}

/// Area under the ROC curve and average precision of one class, rows weighted.
///
/// `order` lists the rows by falling score. Returns `None` when positives or negatives have no weight.
pub(crate) fn ranking_scores(
    order: &[usize],
    score: impl Fn(usize) -> f64,
    positive: impl Fn(usize) -> bool,
    weight: impl Fn(usize) -> f64,
) -> Option<(f64, f64)> {
    let (mut hits, mut misses) = (0.0, 0.0); // weight of positives and negatives so far
    let (mut area, mut precision_sum) = (0.0, 0.0);
    let mut at = 0;
    while at < order.len() {
        let value = score(order[at]);
        let (mut new_hits, mut new_misses) = (0.0, 0.0);
        while at < order.len() && score(order[at]) == value {
            let w = weight(order[at]);
            if positive(order[at]) {
                new_hits += w;
            } else {
                new_misses += w;
            }
            at += 1;
        }
        area += new_misses * (hits + 0.5 * new_hits);
        hits += new_hits;
        misses += new_misses;
        if new_hits > 0.0 {
            precision_sum += new_hits * hits / (hits + misses);
        }
    }
    (hits > 0.0 && misses > 0.0).then(|| (area / (hits * misses), precision_sum / hits))
}

/// Per-class scores of the classes present in `truth`. `scores` is `[rows][classes]`.
pub fn per_class(truth: Truth<'_>, scores: &[Vec<f64>]) -> Result<Vec<ClassScores>> {
    let classes = scores.first().map_or(0, Vec::len);
    let mut result = Vec::new();
    for class in 0..classes {
        let own: Vec<usize> = (0..scores.len()).filter(|&r| truth.has(r, class)).collect();
        if own.is_empty() {
            continue;
        }
        let order = descending_order(scores, class);
        let Some((auc, average_precision)) =
            ranking_scores(&order, |r| scores[r][class], |r| truth.has(r, class), |_| 1.0)
        else {
            if truth.several() {
                continue;
            }
            return Err(EvalError::protocol(format!(
                "all {} test rows belong to class {class}: AUC is undefined with a single class; test on at least two",
                scores.len()
            )));
        };
        let share = |rows: &mut dyn Iterator<Item = usize>| {
            let judged: Vec<bool> = rows.filter_map(|r| truth.judge(r, class, &scores[r])).collect();
            judged.iter().filter(|right| **right).count() as f64 / judged.len() as f64
        };
        result.push(ClassScores {
            class,
            rows: own.len(),
            accuracy: share(&mut (0..scores.len())),
            recall: share(&mut own.iter().copied()),
            auc,
            average_precision,
        });
    }
    if result.is_empty() && scores.is_empty() {
        return Err(EvalError::protocol(
            "there are no test rows; every class needs at least 5 images for a 20 % test share",
        ));
    }
    if result.is_empty() {
        return Err(EvalError::protocol(format!(
            "AUC is undefined: each class is that of all {} test rows or of none",
            scores.len()
        )));
    }
    Ok(result)
}

/// Mean of the per-class scores.
pub fn mean_of_classes(classes: &[ClassScores]) -> Metrics {
    let mean = |f: fn(&ClassScores) -> f64| classes.iter().map(f).sum::<f64>() / classes.len() as f64;
    Metrics {
        acc: mean(|c| c.accuracy),
        auc: mean(|c| c.auc),
        aupr: mean(|c| c.average_precision),
    }
}

/// numpy's `round(x, 3)`: multiply, round half to even, divide.
pub fn round3(x: f64) -> f64 {
    (x * 1000.0).round_ties_even() / 1000.0
}

/// The released code's rounding: AUC and AUPR per class before the mean, ACC after it.
pub fn rounded_of_classes(classes: &[ClassScores]) -> Metrics {
    let mean = |f: fn(&ClassScores) -> f64| classes.iter().map(|c| round3(f(c))).sum::<f64>() / classes.len() as f64;
    Metrics {
        acc: round3(mean_of_classes(classes).acc),
        auc: mean(|c| c.auc),
        aupr: mean(|c| c.average_precision),
    }
}

/// Confusion counts, [true class][predicted class]. Several classes an image: for each class the rows
/// [rightly not named, named wrongly, missed, named rightly], as scikit-learn's `multilabel_confusion_matrix` has them.
pub fn confusion(truth: Truth<'_>, scores: &[Vec<f64>], classes: usize) -> Vec<Vec<u64>> {
    let mut counts = vec![vec![0; if truth.several() { 4 } else { classes }]; classes];
    for (row, s) in scores.iter().enumerate() {
        if truth.several() {
            for (class, counts) in counts.iter_mut().enumerate() {
                counts[2 * usize::from(truth.has(row, class)) + usize::from(s[class] > YES)] += 1;
            }
        } else {
            counts[truth.groups[row]][argmax(s)] += 1;
        }
    }
    counts
}

/// One bar of a reliability diagram.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct CalibrationBin {
    /// Rows whose highest probability lies in the bin (lower edge out, upper edge in).
    pub rows: u64,
    /// Their mean highest probability.
    pub confidence: f64,
    /// Share of them that are right.
    pub accuracy: f64,
}

/// Reliability bins of equal width over the highest probability. Several classes an image: over every answer, yes or
/// no, with the probability of that answer.
pub fn calibration_bins(truth: Truth<'_>, probabilities: &[Vec<f64>]) -> Vec<CalibrationBin> {
    let mut bins = vec![CalibrationBin::default(); CALIBRATION_BINS];
    let mut add = |confidence: f64, right: bool| {
        let place = (confidence * CALIBRATION_BINS as f64).ceil() as usize;
        let bin = &mut bins[place.clamp(1, CALIBRATION_BINS) - 1];
        bin.rows += 1;
        bin.confidence += confidence;
        bin.accuracy += f64::from(u8::from(right));
    };
    for (row, p) in probabilities.iter().enumerate() {
        if truth.several() {
            for (class, &yes) in p.iter().enumerate() {
                add(yes.max(1.0 - yes), truth.judge(row, class, p) == Some(true));
            }
        } else {
            add(p[argmax(p)], truth.right(row, p));
        }
    }
    for bin in bins.iter_mut().filter(|b| b.rows > 0) {
        bin.confidence /= bin.rows as f64;
        bin.accuracy /= bin.rows as f64;
    }
    bins
}

/// Expected calibration error: row-weighted mean distance of confidence and accuracy.
pub fn expected_calibration_error(bins: &[CalibrationBin]) -> f64 {
    let rows: u64 = bins.iter().map(|b| b.rows).sum();
    bins.iter()
        .map(|b| b.rows as f64 * (b.confidence - b.accuracy).abs())
        .sum::<f64>()
        / rows.max(1) as f64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::protocol::Method;
    use crate::truth::Task;
    use proptest::prelude::*;

    fn binary(truth: &[usize], score: &[f64]) -> Vec<ClassScores> {
        let scores: Vec<Vec<f64>> = score.iter().map(|s| vec![1.0 - s, *s]).collect();
        per_class(Truth::one(truth), &scores).unwrap()
    }

    #[test]
    fn agrees_with_scikit_learn() {
        // sklearn.metrics.roc_auc_score / average_precision_score of these lists
        let s = binary(&[0, 0, 1, 1], &[0.1, 0.4, 0.35, 0.8]);
        assert!((s[1].auc - 0.75).abs() < 1e-12 && (s[1].average_precision - 0.833_333_333_333_333_3).abs() < 1e-12);
        // ties: one block of three
        let s = binary(&[0, 1, 1, 0, 1], &[0.5, 0.5, 0.5, 0.2, 0.9]);
        assert!((s[1].auc - 5.0 / 6.0).abs() < 1e-12, "{}", s[1].auc);
        assert!((s[1].average_precision - (1.0 / 3.0 + 2.0 / 3.0 * 0.75)).abs() < 1e-12);
        // all scores equal
        let s = binary(&[0, 1, 0, 1], &[0.5; 4]);
        assert!((s[1].auc - 0.5).abs() < 1e-12 && (s[1].average_precision - 0.5).abs() < 1e-12);
    }

    /// Random cases with ties and absent classes; `tests/data/make_metrics.py` wrote them with scikit-learn.
    #[test]
    fn random_cases_equal_scikit_learn() {
        let cases: serde_json::Value = serde_json::from_str(include_str!("../tests/data/metrics.json")).unwrap();
        let cases = cases.as_array().unwrap();
        assert_eq!(cases.len(), 24);
        for (number, case) in cases.iter().enumerate() {
            let truth: Vec<usize> = serde_json::from_value(case["truth"].clone()).unwrap();
            let scores: Vec<Vec<f64>> = serde_json::from_value(case["scores"].clone()).unwrap();
            let found = mean_of_classes(&per_class(Truth::one(&truth), &scores).unwrap());
            for (name, value) in [("acc", found.acc), ("auc", found.auc), ("aupr", found.aupr)] {
                let expected = case[name].as_f64().unwrap();
                assert!(
                    (value - expected).abs() < 1e-9,
                    "case {number}: {name} {value} {expected}"
                );
            }
        }
    }

    /// The same where a row has any number of classes; `tests/data/make_metrics_several.py` wrote them.
    #[test]
    fn several_classes_a_row_equal_scikit_learn() {
        let cases: serde_json::Value =
            serde_json::from_str(include_str!("../tests/data/metrics_several.json")).unwrap();
        let cases = cases.as_array().unwrap();
        assert_eq!(cases.len(), 24);
        for (number, case) in cases.iter().enumerate() {
            let labels: Vec<Vec<usize>> = serde_json::from_value(case["truth"].clone()).unwrap();
            let scores: Vec<Vec<f64>> = serde_json::from_value(case["scores"].clone()).unwrap();
            let classes = scores[0].len();
            let task = Task::new(&labels, classes, true, Method::ZeroShot);
            let found = mean_of_classes(&per_class(task.truth(), &scores).unwrap());
            for (name, value) in [("acc", found.acc), ("auc", found.auc), ("aupr", found.aupr)] {
                let expected = case[name].as_f64().unwrap();
                assert!(
                    (value - expected).abs() < 1e-9,
                    "case {number}: {name} {value} {expected}"
                );
            }
            let counts: Vec<Vec<u64>> = serde_json::from_value(case["confusion"].clone()).unwrap();
            assert_eq!(confusion(task.truth(), &scores, classes), counts, "case {number}");
            let bins = calibration_bins(task.truth(), &scores);
            assert_eq!(
                bins.iter().map(|b| b.rows).sum::<u64>() as usize,
                scores.len() * classes
            );
        }
        // classes that no row or every row has tell nothing
        let task = Task::new(&[vec![1], vec![1]], 2, true, Method::ZeroShot);
        let error = per_class(task.truth(), &[vec![0.1, 0.2], vec![0.3, 0.1]]).unwrap_err();
        assert!(error.to_string().contains("AUC is undefined"), "{error}");
    }

    #[test]
    fn absent_classes_take_no_part_and_one_class_is_an_error() {
        let scores = vec![vec![0.7, 0.2, 0.1], vec![0.1, 0.1, 0.8], vec![0.2, 0.7, 0.1]];
        let classes = per_class(Truth::one(&[0, 2, 2]), &scores).unwrap();
        assert_eq!(classes.iter().map(|c| c.class).collect::<Vec<_>>(), [0, 2]);
        assert_eq!(mean_of_classes(&classes).acc, 0.75);
        let error = per_class(Truth::one(&[1, 1, 1]), &scores).unwrap_err().to_string();
        assert!(error.contains("belong to class 1"), "{error}");
        assert!(per_class(Truth::one(&[]), &[]).is_err());
    }

    #[test]
    fn calibration_of_a_perfect_and_a_vain_model() {
        let sure = vec![vec![1.0, 0.0], vec![0.0, 1.0]];
        assert_eq!(
            expected_calibration_error(&calibration_bins(Truth::one(&[0, 1]), &sure)),
            0.0
        );
        assert_eq!(
            expected_calibration_error(&calibration_bins(Truth::one(&[1, 0]), &sure)),
            1.0
        );
    }

    proptest! {
        /// AUC is the share of (positive, negative) pairs in the right order.
        #[test]
        fn auc_counts_pairs(rows in prop::collection::vec((any::<bool>(), 0u8..6), 4..40)) {
            let truth: Vec<usize> = rows.iter().map(|r| usize::from(r.0)).collect();
            prop_assume!(truth.contains(&0) && truth.contains(&1));
            let scores: Vec<Vec<f64>> = rows.iter().map(|r| vec![0.0, f64::from(r.1)]).collect();
            let (mut good, mut pairs) = (0.0, 0.0);
            for p in rows.iter().filter(|r| r.0) {
                for n in rows.iter().filter(|r| !r.0) {
                    pairs += 1.0;
                    good += if p.1 > n.1 { 1.0 } else if p.1 == n.1 { 0.5 } else { 0.0 };
                }
            }
            let auc = per_class(Truth::one(&truth), &scores).unwrap()[1].auc;
            prop_assert!((auc - good / pairs).abs() < 1e-12);
        }
    }
}
