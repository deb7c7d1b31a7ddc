//! What happens when a loss or a gradient is not finite.

use anyhow::Result;

use super::{Numbers, check_finite};

/// Lets a run pass over a few bad steps instead of ending; no weight, moment or statistic changes in them.
#[derive(Debug, Clone)]
pub struct NanGuard {
    allowed: u64,
    in_a_row: u64,
}

impl NanGuard {
    /// Passes over at most `allowed` steps in a row; with 0 the first one ends the run.
    pub fn new(allowed: u64) -> Self {
        NanGuard { allowed, in_a_row: 0 }
    }

    /// Whether the step may go on with these numbers; false means that it is to be passed over.
    ///
    /// # Errors
    /// A number is not finite and no more steps may be passed over; names step, number and remedy.
    pub fn goes_on(&mut self, step: u64, numbers: &Numbers) -> Result<bool> {
        match check_finite(step, numbers) {
            Ok(()) => Ok(true),
            Err(error) if self.in_a_row >= self.allowed => Err(error),
            Err(error) => {
                self.in_a_row += 1;
                tracing::warn!(
                    "passed over ({} of {} in a row): {error:#}",
                    self.in_a_row,
                    self.allowed
                );
                Ok(false)
            }
        }
    }

    /// A step was done to its end.
    pub fn done(&mut self) {
        self.in_a_row = 0;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn so_many_in_a_row_and_no_more() {
        let (good, bad) = (vec![("a".to_owned(), 1.0)], vec![("a".to_owned(), f64::INFINITY)]);
        let mut guard = NanGuard::new(2);
        assert!(!guard.goes_on(0, &bad).unwrap());
        assert!(!guard.goes_on(1, &bad).unwrap());
        assert!(guard.goes_on(2, &good).unwrap());
        guard.done();
        assert!(!guard.goes_on(3, &bad).unwrap() && !guard.goes_on(4, &bad).unwrap());
        assert!(guard.goes_on(5, &bad).unwrap_err().to_string().contains("step 6"));
        assert!(NanGuard::new(0).goes_on(0, &bad).is_err());
    }
}
