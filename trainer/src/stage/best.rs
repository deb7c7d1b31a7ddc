//! The best checkpoint of a run by one of its evaluation numbers.

use anyhow::{Result, bail};

use super::Numbers;
use crate::telemetry::metrics::{Line, LineKind};

/// Which number decides, and which way.
#[derive(Debug, Clone, PartialEq)]
pub struct Best {
    /// Name of the evaluation number.
    pub metric: String,
    /// Whether more is better.
    pub highest: bool,
}

impl Best {
    /// Reads the config's `best` key: `max:NAME`, `min:NAME`, or nothing.
    ///
    /// # Errors
    /// The value has another form.
    pub fn parse(text: &str) -> Result<Option<Self>> {
        if text.is_empty() {
            return Ok(None);
        }
        let (highest, metric) = match text.split_once(':') {
            Some(("max", metric)) => (true, metric),
            Some(("min", metric)) => (false, metric),
            _ => (true, ""),
        };
        if metric.is_empty() {
            bail!(
                "key `best` is {text:?}; write max:NAME or min:NAME with a number of the evaluation, for example \
                 max:zero_shot_accuracy, or leave it empty"
            );
        }
        Ok(Some(Best {
            metric: metric.to_owned(),
            highest,
        }))
    }

    /// Whether `value` is better than `so_far`.
    pub fn improves(&self, value: f64, so_far: Option<f64>) -> bool {
        match so_far {
            _ if !value.is_finite() => false,
            None => true,
            Some(so_far) if self.highest => value > so_far,
            Some(so_far) => value < so_far,
        }
    }

    /// The deciding number among `numbers`.
    pub fn value(&self, numbers: &Numbers) -> Option<f64> {
        let found = numbers.iter().find(|(name, _)| *name == self.metric);
        found.map(|(_, value)| *value)
    }

    /// The best value in the evaluation lines of a run, and the step it was reached at.
    pub fn so_far(&self, lines: &[Line]) -> Option<(u64, f64)> {
        let mut best: Option<(u64, f64)> = None;
        for line in lines.iter().filter(|line| line.kind == LineKind::Eval.name()) {
            if let Some((_, value)) = line.values.iter().find(|(name, _)| *name == self.metric)
                && self.improves(*value, best.map(|(_, value)| value))
            {
                best = Some((line.step, *value));
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_key_is_read_or_refused() {
        assert_eq!(Best::parse("").unwrap(), None);
        let best = Best::parse("min:heldout_perplexity").unwrap().unwrap();
        assert_eq!((best.metric.as_str(), best.highest), ("heldout_perplexity", false));
        for wrong in ["accuracy", "max:", "most:accuracy"] {
            assert!(
                Best::parse(wrong).unwrap_err().to_string().contains("max:NAME"),
                "{wrong}"
            );
        }
    }

    #[test]
    fn ties_keep_the_earlier_and_what_is_not_finite_never_wins() {
        let best = Best::parse("max:a").unwrap().unwrap();
        let line = |step, value| Line {
            step,
            kind: "eval".into(),
            values: vec![("a".into(), value)],
        };
        let lines = [
            line(1, f64::NAN),
            line(2, 0.5),
            line(3, 0.7),
            line(4, 0.7),
            line(5, 0.1),
        ];
        assert_eq!(best.so_far(&lines), Some((3, 0.7)));
        assert_eq!(Best { highest: false, ..best }.so_far(&lines), Some((5, 0.1)));
    }
}
