//! Image-text contrastive loss with soft targets (eq. 3-4).

use burn::tensor::{Device, Tensor, activation::log_softmax};

use crate::model::walk::from_vec;

/// Y_ij = [c_i = c_j] / n_i, rows sum to 1; `[n, n]`.
pub fn soft_targets(categories: &[i64], device: &Device) -> Tensor<2> {
    let n = categories.len();
    let mut values = Vec::with_capacity(n * n);
    for a in categories {
        let equal = categories.iter().filter(|b| *b == a).count() as f32;
        values.extend(categories.iter().map(|b| if a == b { 1.0 / equal } else { 0.0 }));
    }
    from_vec(values, [n, n], device)
}

/// ½[CE(s·T·Vᵀ, Y) + CE(s·V·Tᵀ, Y)], mean over rows, and the logits s·T·Vᵀ `[n, n]` (rows are texts).
///
/// `image`, `text`: unit vectors `[n, d]`; `scale`: s, `[1]`; `target`: Y, rows sum to 1 (and symmetric,
/// as soft targets and the identity are).
pub fn loss(image: &Tensor<2>, text: &Tensor<2>, scale: &Tensor<1>, target: &Tensor<2>) -> (Tensor<1>, Tensor<2>) {
    let similarity = text.clone().matmul(image.clone().transpose());
    let logits = similarity * scale.clone().reshape([1, 1]);
    let rows = logits.dims()[0] as f64;
    let cross_entropy = |logits: Tensor<2>| (log_softmax(logits, 1) * target.clone()).sum() / -rows;
    let both = cross_entropy(logits.clone()) + cross_entropy(logits.clone().transpose());
    (both * 0.5, logits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::walk::to_vec;

    #[test]
    fn soft_targets_share_a_row_among_equal_categories() {
        let target = soft_targets(&[4, 9, 4, 4], &Device::flex());
        let third = 1.0 / 3.0;
        let row = [third, 0.0, third, third];
        assert_eq!(to_vec(&target), [row, [0.0, 1.0, 0.0, 0.0], row, row].concat());
    }

    #[test]
    fn equal_embeddings_cost_the_entropy_of_a_uniform_guess() {
        let device = Device::flex();
        let x = from_vec(vec![1.0, 0.0, 1.0, 0.0, 1.0, 0.0], [3, 2], &device);
        let scale = Tensor::<1>::from_floats([5.0], &device);
        let (value, _) = loss(&x, &x, &scale, &soft_targets(&[1, 2, 3], &device));
        assert!((to_vec(&value)[0] - 3f32.ln()).abs() < 1e-6);
    }
}
