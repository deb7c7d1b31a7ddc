//! Losses of the quantiser (keepfit reference, sections 5 and 8).

use burn::tensor::{Tensor, activation::log_softmax};

use crate::model::ibq::Quantized;

/// The double quantisation loss; each term is a mean over all elements, `[1]`.
pub struct QuantisationLoss {
    /// mean (z_q − z)²
    pub straight_through: Tensor<1>,
    /// `mean (sg[z_hard] − z)²`
    pub commitment: Tensor<1>,
    /// `mean (z_hard − sg[z])²`
    pub codebook: Tensor<1>,
    /// straight_through + commitment + beta·codebook
    pub total: Tensor<1>,
}

/// `z`: tokens before quantisation `[n, width]`; `beta`: weight of the codebook term (0.25).
pub fn quantisation(z: &Tensor<2>, quantized: &Quantized, beta: f64) -> QuantisationLoss {
    let mean_square = |a: Tensor<2>, b: Tensor<2>| (a - b).square().mean();
    let straight_through = mean_square(quantized.z_q.clone(), z.clone());
    let commitment = mean_square(quantized.z_hard.clone().detach(), z.clone());
    let codebook = mean_square(quantized.z_hard.clone(), z.clone().detach());
    let total = straight_through.clone() + commitment.clone() + codebook.clone() * beta;
    QuantisationLoss {
        straight_through,
        commitment,
        codebook,
        total,
    }
}

/// Entropies of the code distribution, `[1]` each.
pub struct EntropyLoss {
    /// Mean over tokens of −Σ q log q.
    pub sample: Tensor<1>,
    /// −Σ q̄ log(q̄ + eps), q̄ the mean distribution.
    pub average: Tensor<1>,
    /// sample − average
    pub total: Tensor<1>,
}

/// `logits` `[n, codes]`; q = softmax(logits / temperature).
pub fn entropy(logits: Tensor<2>, temperature: f64, epsilon: f64) -> EntropyLoss {
    let tokens = logits.dims()[0] as f64;
    let log_q = log_softmax(logits / temperature, 1);
    let q = log_q.clone().exp();
    let sample = (q.clone() * log_q).sum() / -tokens;
    let mean = q.mean_dim(0); // [1, codes]
    let average = (mean.clone() * (mean + epsilon).log()).sum().neg();
    let total = sample.clone() - average.clone();
    EntropyLoss { sample, average, total }
}

/// How a batch of codes spreads over the codebook.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usage {
    /// Share of the codes used at least once, 0..1.
    pub fraction: f64,
    /// exp of the entropy (natural log) of the code histogram; 1 when one code takes all.
    pub perplexity: f64,
    /// Share of the most frequent code, 0..1.
    pub top_share: f64,
}

/// Usage gauge of a code histogram (one count per code).
pub fn usage(counts: &[u64]) -> Usage {
    let total = counts.iter().sum::<u64>().max(1) as f64;
    let shares = || counts.iter().filter(|&&c| c > 0).map(|&c| c as f64 / total);
    let entropy: f64 = shares().map(|p| -p * p.ln()).sum();
    Usage {
        fraction: shares().count() as f64 / counts.len().max(1) as f64,
        perplexity: entropy.exp(),
        top_share: shares().fold(0.0, f64::max),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_of_even_single_and_empty_histograms() {
        let even = usage(&[3, 3, 0, 0]);
        assert!((even.perplexity - 2.0).abs() < 1e-12 && even.fraction == 0.5 && even.top_share == 0.5);
        let single = usage(&[0, 9]);
        assert_eq!((single.perplexity, single.top_share), (1.0, 1.0));
        assert_eq!(usage(&[0, 0]).fraction, 0.0);
    }
}
