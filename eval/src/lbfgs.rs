//! L-BFGS for smooth convex functions that are cheap to follow along a line.
//!
//! Limited-memory BFGS after Nocedal & Wright, algorithm 7.4, with a line search to the strong Wolfe
//! conditions. The function tells how it goes along a direction (`Line`), so that a linear model multiplies
//! its data once for the direction, not once for every trial step.

use std::collections::VecDeque;

use crate::vectors::{add_scaled, dot};

/// Pairs of steps and gradient changes that are remembered.
const MEMORY: usize = 20;
/// Sufficient decrease (Nocedal & Wright, section 3.1).
const DECREASE: f64 = 1e-4;
/// Curvature: a line is followed until its slope is at most this share of the first slope.
const CURVATURE: f64 = 0.1;
/// Trial steps in one line search.
const MAX_TRIALS: usize = 40;

/// Value and slope at a step along a line.
#[derive(Debug, Clone, Copy)]
pub struct LinePoint {
    /// Function value.
    pub value: f64,
    /// Derivative with respect to the step.
    pub slope: f64,
}

/// A convex function with a current point that the solver moves.
pub trait Objective {
    /// Gradient at the current point.
    fn gradient(&mut self) -> Vec<f64>;
    /// Makes `direction` the line that `along` measures from the current point.
    fn set_direction(&mut self, direction: &[f64]);
    /// Value and slope at `step` along the line.
    fn along(&self, step: f64) -> LinePoint;
    /// Moves the current point by `step` along the line.
    fn advance(&mut self, step: f64);
}

/// How the minimisation ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// Iterations used.
    pub iterations: usize,
    /// Largest gradient component at the end.
    pub gradient: f64,
    /// Whether the gradient went below the tolerance (or no further descent was possible in f64).
    pub converged: bool,
}

/// Minimises from the current point until no gradient component exceeds `tolerance`.
pub fn minimise(objective: &mut impl Objective, tolerance: f64, max_iterations: usize) -> Outcome {
    let mut gradient = objective.gradient();
    let mut history: VecDeque<(Vec<f64>, Vec<f64>, f64)> = VecDeque::with_capacity(MEMORY); // (s, y, 1/sᵀy)
    for iteration in 0..max_iterations {
        let largest = largest(&gradient);
        if largest <= tolerance {
            return Outcome {
                iterations: iteration,
                gradient: largest,
                converged: true,
            };
        }
        let direction = descent_direction(&gradient, &history);
        objective.set_direction(&direction);
        let first_step = if history.is_empty() {
            1.0 / dot(&gradient, &gradient).sqrt().max(1.0)
        } else {
            1.0
        };
        let Some(step) = line_search(objective, first_step) else {
            // rounding hides every further decrease: start again from steepest descent, or stop there
            if history.is_empty() {
                return Outcome {
                    iterations: iteration,
                    gradient: largest,
                    converged: true,
                };
            }
            history.clear();
            continue;
        };
        objective.advance(step);
        let next = objective.gradient();
        let change: Vec<f64> = next.iter().zip(&gradient).map(|(a, b)| a - b).collect();
        let moved: Vec<f64> = direction.iter().map(|d| step * d).collect();
        let curvature = dot(&moved, &change);
        if curvature > 0.0 {
            if history.len() == MEMORY {
                history.pop_front();
            }
            history.push_back((moved, change, 1.0 / curvature));
        }
        gradient = next;
    }
    let largest = largest(&gradient);
    Outcome {
        iterations: max_iterations,
        gradient: largest,
        converged: largest <= tolerance,
    }
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |m, v| v.abs().max(m))
}

/// Two-loop recursion: minus the inverse Hessian estimate times the gradient.
fn descent_direction(gradient: &[f64], history: &VecDeque<(Vec<f64>, Vec<f64>, f64)>) -> Vec<f64> {
    let mut q: Vec<f64> = gradient.iter().map(|g| -g).collect();
    let mut alphas = Vec::with_capacity(history.len());
    for (s, y, rho) in history.iter().rev() {
        let alpha = rho * dot(s, &q);
        add_scaled(&mut q, -alpha, y);
        alphas.push(alpha);
    }
    if let Some((s, y, _)) = history.back() {
        let scale = dot(s, y) / dot(y, y);
        q.iter_mut().for_each(|v| *v *= scale);
    }
    for ((s, y, rho), alpha) in history.iter().zip(alphas.into_iter().rev()) {
        let beta = rho * dot(y, &q);
        add_scaled(&mut q, alpha - beta, s);
    }
    q
}

/// A step that meets the strong Wolfe conditions; `None` when the line does not descend in f64.
///
/// On a convex function the slope rises along the line, so the search is for a root of the slope:
/// regula falsi between a falling and a rising point, halving when it lags.
fn line_search(objective: &impl Objective, first_step: f64) -> Option<f64> {
    let start = objective.along(0.0);
    if start.slope >= 0.0 {
        return None;
    }
    let (mut low, mut low_slope) = (0.0, start.slope);
    let mut high: Option<(f64, f64)> = None;
    let mut step = first_step;
    let noise = start.value.abs() * f64::EPSILON * 8.0;
    for trial in 0..MAX_TRIALS {
        let point = objective.along(step);
        let decreases = point.value <= start.value + DECREASE * step * start.slope + noise;
        if decreases && point.slope.abs() <= CURVATURE * start.slope.abs() {
            return Some(step);
        }
        if point.slope < 0.0 && decreases {
            (low, low_slope) = (step, point.slope);
        } else {
            high = Some((step, point.slope));
        }
        step = match high {
            None => step * if trial < 4 { 4.0 } else { 10.0 },
            Some((high, high_slope)) => {
                let secant = low + (high - low) * low_slope / (low_slope - high_slope);
                let inside = secant > low + 0.05 * (high - low) && secant < high - 0.05 * (high - low);
                if inside && trial % 3 != 2 {
                    secant
                } else {
                    0.5 * (low + high)
                }
            }
        };
        if !step.is_finite() {
            return None;
        }
    }
    (low > 0.0).then_some(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ½ Σ dᵢ xᵢ² − Σ xᵢ, minimum at 1/dᵢ.
    struct Bowl {
        d: Vec<f64>,
        x: Vec<f64>,
        line: Vec<f64>,
    }

    impl Objective for Bowl {
        fn gradient(&mut self) -> Vec<f64> {
            self.x.iter().zip(&self.d).map(|(x, d)| d * x - 1.0).collect()
        }
        fn set_direction(&mut self, direction: &[f64]) {
            self.line = direction.to_vec();
        }
        fn along(&self, step: f64) -> LinePoint {
            let (mut value, mut slope) = (0.0, 0.0);
            for ((x, l), d) in self.x.iter().zip(&self.line).zip(&self.d) {
                let at = x + step * l;
                value += 0.5 * d * at * at - at;
                slope += (d * at - 1.0) * l;
            }
            LinePoint { value, slope }
        }
        fn advance(&mut self, step: f64) {
            add_scaled(&mut self.x, step, &self.line);
        }
    }

    #[test]
    fn finds_the_bottom_of_a_badly_scaled_bowl() {
        let d: Vec<f64> = (0..60).map(|i| 10f64.powf(f64::from(i) / 15.0 - 2.0)).collect(); // 0.01 .. 85
        let mut bowl = Bowl {
            x: vec![0.0; 60],
            line: vec![],
            d: d.clone(),
        };
        let outcome = minimise(&mut bowl, 1e-9, 2000);
        assert!(outcome.converged, "{outcome:?}");
        for (x, d) in bowl.x.iter().zip(&d) {
            assert!((x * d - 1.0).abs() < 1e-6, "{x} {d}");
        }
    }

    #[test]
    fn says_when_it_ran_out_of_iterations() {
        let mut bowl = Bowl {
            x: vec![0.0; 3],
            line: vec![],
            d: vec![1.0, 50.0, 3000.0],
        };
        assert!(!minimise(&mut bowl, 1e-12, 2).converged);
    }
}
