//! AdamW as PyTorch computes it, for gradients that are outer products.
//!
//! Training one sample at a time through a matrix product gives a gradient of rank one, so the gradient is
//! never stored: row r of it is `row_factors[r] * input`.

/// First moment decay (PyTorch default).
const BETA1: f64 = 0.9;
/// Second moment decay (PyTorch default).
const BETA2: f64 = 0.999;
/// Denominator term of the released few-shot code.
const EPSILON: f64 = 1e-4;
/// Decoupled weight decay (PyTorch default, used by the released few-shot code).
const WEIGHT_DECAY: f64 = 0.01;
/// Base learning rate of the released few-shot code.
pub const LEARNING_RATE: f64 = 1e-3;

/// Parameters [rows, width] with their moments.
pub struct AdamW {
    /// The parameters, row-major.
    pub parameters: Vec<f64>,
    first: Vec<f64>,
    second: Vec<f64>,
    width: usize,
    steps: i32,
}

impl AdamW {
    /// Starts with zero moments.
    pub fn new(parameters: Vec<f64>, width: usize) -> Self {
        let zeros = vec![0.0; parameters.len()];
        Self {
            first: zeros.clone(),
            second: zeros,
            parameters,
            width,
            steps: 0,
        }
    }

    /// Row `i` of the parameters.
    pub fn row(&self, i: usize) -> &[f64] {
        &self.parameters[i * self.width..(i + 1) * self.width]
    }

    /// One step with the gradient `row_factors ⊗ input`.
    pub fn step(&mut self, row_factors: &[f64], input: &[f64], learning_rate: f64) {
        self.steps += 1;
        let step_size = learning_rate / (1.0 - BETA1.powi(self.steps));
        let inverse_root = 1.0 / (1.0 - BETA2.powi(self.steps)).sqrt();
        let decay = 1.0 - learning_rate * WEIGHT_DECAY;
        let rows = self
            .parameters
            .chunks_exact_mut(self.width)
            .zip(self.first.chunks_exact_mut(self.width));
        for (((p, m), v), &factor) in rows.zip(self.second.chunks_exact_mut(self.width)).zip(row_factors) {
            for (((p, m), v), &x) in p.iter_mut().zip(m.iter_mut()).zip(v.iter_mut()).zip(input) {
                let gradient = factor * x;
                *m = BETA1 * *m + (1.0 - BETA1) * gradient;
                *v = BETA2 * *v + (1.0 - BETA2) * gradient * gradient;
                *p = *p * decay - step_size * *m / (v.sqrt() * inverse_root + EPSILON);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_two_steps_by_hand() {
        // torch.optim.AdamW([tensor(1.)], lr=1e-3, eps=1e-4, weight_decay=0.01), gradients 2 then -1
        let mut adam = AdamW::new(vec![1.0], 1);
        adam.step(&[2.0], &[1.0], 1e-3);
        let first = 1.0 * (1.0 - 1e-5) - 1e-3 * 2.0 / (2.0 + 1e-4);
        assert!((adam.parameters[0] - first).abs() < 1e-12);
        adam.step(&[-1.0], &[1.0], 1e-3);
        let m = (0.9 * 0.2 - 0.1) / (1.0 - 0.81);
        let v: f64 = (0.999 * 0.004 + 0.001) / (1.0 - 0.999 * 0.999);
        let second = first * (1.0 - 1e-5) - 1e-3 * m / (v.sqrt() + 1e-4);
        assert!((adam.parameters[0] - second).abs() < 1e-12);
    }
}
