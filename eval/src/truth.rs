//! The true classes of images: exactly one each, or any number, as the angiograms of AngioReport have.
//!
//! Images of several classes are split into folds by their combination of classes, as the released code does.
//! Zero-shot and the linear probe answer every class apart, with a probability of its own; the adapters know one
//! class an image and work on the images of exactly one.

use std::collections::BTreeMap;

use crate::metrics::argmax;
use crate::protocol::Method;

/// Where images may have several classes, a probability above this says that the image has the class.
pub const YES: f64 = 0.5;
/// Between the names of the classes of one image.
pub const AND: &str = " + ";

/// The true classes of some images.
#[derive(Debug, Clone, Copy)]
pub struct Truth<'a> {
    /// Group of every image: its class or, with `combinations`, the place of its combination.
    pub groups: &'a [usize],
    /// Classes of every group, rising, where images may have several; without it the group is the class.
    pub combinations: Option<&'a [Vec<usize>]>,
}

impl<'a> Truth<'a> {
    /// One class an image.
    pub fn one(classes: &'a [usize]) -> Self {
        Self {
            groups: classes,
            combinations: None,
        }
    }

    /// The same rule for other images of the same groups.
    pub fn with_groups<'b>(self, groups: &'b [usize]) -> Truth<'b>
    where
        'a: 'b,
    {
        Truth {
            groups,
            combinations: self.combinations,
        }
    }

    /// Whether an image may have several classes.
    pub fn several(self) -> bool {
        self.combinations.is_some()
    }

    /// Whether an image has a class.
    pub fn has(self, image: usize, class: usize) -> bool {
        let group = self.groups[image];
        self.combinations
            .map_or(group == class, |all| all[group].contains(&class))
    }

    /// The classes of an image, rising.
    pub fn classes(self, image: usize) -> Vec<usize> {
        let group = self.groups[image];
        self.combinations.map_or_else(|| vec![group], |all| all[group].clone())
    }

    /// Whether the answer for a class is right; `None` where ACC of the class does not count the image.
    ///
    /// One class an image: ACC of a class is the recall of the argmax, so that it counts the images of the class.
    /// Several: it is the share of right answers, yes or no, over all images.
    pub fn judge(self, image: usize, class: usize, probabilities: &[f64]) -> Option<bool> {
        if self.several() {
            Some((probabilities[class] > YES) == self.has(image, class))
        } else {
            self.has(image, class).then(|| argmax(probabilities) == class)
        }
    }

    /// Whether the whole answer for an image is right.
    pub fn right(self, image: usize, probabilities: &[f64]) -> bool {
        (0..probabilities.len()).all(|c| self.judge(image, c, probabilities).unwrap_or(true))
    }

    /// Share of the images that have a class.
    pub fn share(self, class: usize) -> f64 {
        let count = (0..self.groups.len()).filter(|&i| self.has(i, class)).count();
        count as f64 / self.groups.len().max(1) as f64
    }
}

/// The classes that an answer names: the most probable, or where images may have several, all above [`YES`].
pub fn named(probabilities: &[f64], several: bool) -> Vec<usize> {
    if several {
        (0..probabilities.len()).filter(|&c| probabilities[c] > YES).collect()
    } else {
        vec![argmax(probabilities)]
    }
}

/// Names of classes, joined.
pub fn joined(names: &[String], classes: &[usize]) -> String {
    let own: Vec<&str> = classes.iter().map(|&c| names[c].as_str()).collect();
    own.join(AND)
}

/// The rows, classes and groups that a method works with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Rows of the table, rising.
    pub rows: Vec<usize>,
    /// Classes of the table that can be answered, rising.
    pub classes: Vec<usize>,
    /// Group of every row, as [`Truth`] has it.
    pub groups: Vec<usize>,
    /// Combinations of places in `classes`, as [`Truth`] has them.
    pub combinations: Option<Vec<Vec<usize>>>,
}

impl Task {
    /// The task of a method on images with these classes (each list rising); `several` where they may have several.
    pub fn new(labels: &[Vec<usize>], classes: usize, several: bool, method: Method) -> Self {
        if several && matches!(method, Method::ZeroShot | Method::LinearProbe) {
            // combinations of few classes first, so that single classes keep their order
            let mut place: BTreeMap<(usize, &Vec<usize>), usize> = labels.iter().map(|l| ((l.len(), l), 0)).collect();
            place.values_mut().enumerate().for_each(|(i, p)| *p = i);
            return Self {
                rows: (0..labels.len()).collect(),
                classes: (0..classes).collect(),
                groups: labels.iter().map(|l| place[&(l.len(), l)]).collect(),
                combinations: Some(place.keys().map(|k| k.1.clone()).collect()),
            };
        }
        let rows: Vec<usize> = (0..labels.len())
            .filter(|&r| !several || labels[r].len() == 1)
            .collect();
        let present = |class: &usize| !several || rows.iter().any(|&r| labels[r][0] == *class);
        let kept: Vec<usize> = (0..classes).filter(present).collect();
        let place = |class: usize| kept.partition_point(|&k| k < class);
        Self {
            groups: rows.iter().map(|&r| place(labels[r][0])).collect(),
            rows,
            classes: kept,
            combinations: None,
        }
    }

    /// The true classes of the rows.
    pub fn truth(&self) -> Truth<'_> {
        Truth {
            groups: &self.groups,
            combinations: self.combinations.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn methods_see_the_images_that_they_can_answer() {
        // class 1 occurs with class 2 alone; image 3 has no class at all
        let labels = [vec![2], vec![1, 2], vec![0], vec![], vec![1, 2]];
        let all = Task::new(&labels, 3, true, Method::ZeroShot);
        assert_eq!(
            all.combinations.as_ref().unwrap(),
            &[vec![], vec![0], vec![2], vec![1, 2]]
        );
        assert_eq!(all.groups, [2, 3, 1, 0, 3]);
        assert!(all.truth().has(4, 1) && !all.truth().has(0, 1));
        assert_eq!((all.truth().classes(1), all.truth().share(2)), (vec![1, 2], 0.6));
        let single = Task::new(&labels, 3, true, Method::TipAdapter);
        assert_eq!(
            (single.rows, single.classes, single.groups, single.combinations),
            (vec![0, 2], vec![0, 2], vec![1, 0], None)
        );
        // one class an image: nothing is left out, not even a class without images
        let one = Task::new(&[vec![2], vec![0]], 3, false, Method::TipAdapter);
        assert_eq!(
            (one.rows, one.classes, one.groups),
            (vec![0, 1], vec![0, 1, 2], vec![2, 0])
        );
    }

    #[test]
    fn answers_are_judged_class_by_class() {
        let combinations = [vec![0, 2]];
        let several = Truth {
            groups: &[0],
            combinations: Some(&combinations),
        };
        let p = [0.9, 0.6, 0.2];
        let judged: Vec<Option<bool>> = (0..3).map(|c| several.judge(0, c, &p)).collect();
        assert_eq!(judged, [Some(true), Some(false), Some(false)]);
        assert!(several.right(0, &[0.9, 0.1, 0.7]) && !several.right(0, &p));
        assert_eq!((named(&p, true), named(&p, false)), (vec![0, 1], vec![0]));
        let one = Truth::one(&[1]);
        assert_eq!((one.judge(0, 0, &p), one.judge(0, 1, &p)), (None, Some(false)));
        assert_eq!(
            joined(&["a".to_string(), "b".into(), "c".into()], &several.classes(0)),
            "a + c"
        );
    }
}
