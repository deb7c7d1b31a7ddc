//! Compares two sets of tensors as the reference's `compare.py` does.

use std::collections::{BTreeMap, BTreeSet};

use super::bundle::Tolerance;
use crate::weights::{HostTensor, Tensors};

/// One line for each tensor that is missing, extra, of another shape or type, not finite, all zero or too far off.
pub fn failures(expected: &Tensors, output: &Tensors, tolerance: &BTreeMap<String, Tolerance>) -> Vec<String> {
    let names: BTreeSet<&String> = expected.keys().chain(output.keys()).collect();
    let check = |name: &String| match (expected.get(name), output.get(name), tolerance.get(name)) {
        (None, _, _) => Some("extra".to_owned()),
        (_, None, _) => Some("missing".to_owned()),
        (_, _, None) => Some("no tolerance stored".to_owned()),
        (Some(a), Some(b), Some(tolerance)) => difference(a, b, tolerance),
    };
    names
        .into_iter()
        .filter_map(|name| Some(format!("{name}: {}", check(name)?)))
        .collect()
}

fn difference(expected: &HostTensor, output: &HostTensor, tolerance: &Tolerance) -> Option<String> {
    if expected.shape != output.shape {
        return Some(format!("shape {:?} instead of {:?}", output.shape, expected.shape));
    }
    match tolerance {
        Tolerance::Exact { .. } => {
            let (Ok(a), Ok(b)) = (expected.to_i64(), output.to_i64()) else {
                return Some(format!("type {:?} instead of integers", output.dtype));
            };
            let wrong = a.iter().zip(&b).filter(|(a, b)| a != b).count();
            (wrong > 0).then(|| format!("{wrong} of {} values differ", a.len()))
        }
        Tolerance::Close { rel, abs } => {
            let (Ok(a), Ok(b)) = (expected.to_f32(), output.to_f32()) else {
                return Some(format!("type {:?} instead of floats", output.dtype));
            };
            if b.iter().any(|x| !x.is_finite()) {
                return Some("not finite".to_owned());
            }
            if !b.is_empty() && b.iter().all(|&x| x == 0.0) {
                return Some("all zero".to_owned());
            }
            let squares = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
            let difference = || a.iter().zip(&b).map(|(&a, &b)| f64::from(a) - f64::from(b));
            let relative = squares(&mut difference()) / squares(&mut a.iter().map(|&x| f64::from(x))).max(1e-300);
            let largest = difference().map(f64::abs).fold(0.0, f64::max);
            if relative > *rel {
                return Some(format!("relative error {relative:.2e} above {rel:.2e}"));
            }
            (largest > *abs).then(|| format!("largest error {largest:.2e} above {abs:.2e}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_failure_is_named() {
        let close = Tolerance::Close { rel: 1e-3, abs: 1.0 };
        let one = |values: &[f32]| HostTensor::from_f32(vec![values.len()], values);
        let case = |expected: &[f32], output: &[f32]| difference(&one(expected), &one(output), &close);
        assert_eq!(case(&[1.0, 2.0], &[1.0, 2.0005]), None);
        for (output, reason) in [
            (&[1.0][..], "shape"),
            (&[0.0, 0.0], "all zero"),
            (&[f32::NAN, 2.0], "not finite"),
            (&[1.0, 2.1], "relative"),
        ] {
            assert!(
                case(&[1.0, 2.0], output).is_some_and(|why| why.contains(reason)),
                "{reason}"
            );
        }
        let tolerance = BTreeMap::from([("a".to_owned(), close)]);
        let (a, b) = (
            Tensors::from([("a".to_owned(), one(&[1.0]))]),
            Tensors::from([("b".to_owned(), one(&[1.0]))]),
        );
        assert_eq!(failures(&a, &b, &tolerance), ["a: missing", "b: extra"]);
    }
}
