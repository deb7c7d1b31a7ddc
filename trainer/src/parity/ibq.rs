//! The quantiser alone: values, three loss terms, entropy, and gradients of each part.

use anyhow::Result;
use burn::tensor::{Device, Tensor};
use serde::Deserialize;

use super::{
    bundle::Bundle,
    image::{host, scalar},
};
use crate::{
    loss::ibq::{entropy, quantisation, usage},
    model::{
        ibq::{Quantizer, to_map, to_tokens},
        walk::{from_vec, to_vec},
    },
    weights::{HostTensor, Tensors, names::CODEBOOK},
};

#[derive(Deserialize)]
struct Config {
    beta: f64,
    quant_weight: f64,
    entropy_weight: f64,
    entropy_temperature: f64,
    entropy_eps: f64,
}

pub fn run(bundle: Bundle, device: &Device) -> Result<Tensors> {
    let config: Config = bundle.config("")?;
    let batch = bundle.batch(0)?;
    let map: Tensor<4> = batch.floats("z", device)?;
    let upstream: Tensor<4> = batch.floats("upstream", device)?;
    let Some(stored) = bundle.weights.get(CODEBOOK) else {
        anyhow::bail!("weights.safetensors lacks {CODEBOOK}")
    };
    let [codes, width] = stored.shape[..] else {
        anyhow::bail!("{CODEBOOK} has shape {:?}", stored.shape)
    };
    let codebook = from_vec(stored.to_f32()?, [codes, width], device);
    let shape = map.dims();
    let [rows, _, height, columns] = shape;
    let mut output = Tensors::new();
    // A graph can be walked backwards once, so each part has its own forward pass.
    for part in ["ste", "quant", "entropy", "total"] {
        let z = map.clone().autodiff().require_grad();
        let quantizer = Quantizer {
            codebook: codebook.clone().require_grad(),
        };
        let tokens = to_tokens(z.clone());
        let (logits, quantized) = quantizer.forward(tokens.clone());
        let quant = quantisation(&tokens, &quantized, config.beta);
        let entropies = entropy(logits.clone(), config.entropy_temperature, config.entropy_eps);
        let z_q = to_map(quantized.z_q.clone(), shape);
        let ste = (z_q.clone() * upstream.clone()).sum();
        let total =
            ste.clone() + quant.total.clone() * config.quant_weight + entropies.total.clone() * config.entropy_weight;
        if part == "ste" {
            let codes: Vec<i64> = quantized.codes.to_data().iter::<i64>().collect();
            let mut counts = vec![0u64; stored.shape[0]];
            codes.iter().for_each(|&code| counts[code as usize] += 1);
            let gauge = usage(&counts);
            let number = |x: f64| HostTensor::from_f32(vec![], &[x as f32]);
            let [_, codebook_rows] = logits.dims();
            output.extend(
                [
                    ("codes", HostTensor::from_i64(vec![rows, height, columns], &codes)),
                    (
                        "logits",
                        host(&to_map(logits.clone(), [rows, codebook_rows, height, columns])),
                    ),
                    ("z_q", host(&z_q)),
                    ("quant/term1", scalar(&quant.straight_through)),
                    ("quant/term2", scalar(&quant.commitment)),
                    ("quant/term3", scalar(&quant.codebook)),
                    ("quant/loss", scalar(&quant.total)),
                    ("entropy/sample", scalar(&entropies.sample)),
                    ("entropy/average", scalar(&entropies.average)),
                    ("entropy/loss", scalar(&entropies.total)),
                    ("ste/inner", scalar(&ste)),
                    ("total", scalar(&total)),
                    ("usage/fraction", number(gauge.fraction)),
                    ("usage/perplexity", number(gauge.perplexity)),
                ]
                .map(|(name, tensor)| (name.to_owned(), tensor)),
            );
        }
        let gradients = match part {
            "ste" => ste,
            "quant" => quant.total,
            "entropy" => entropies.total,
            _ => total,
        }
        .backward();
        let (of_z, of_codebook) = (z.grad(&gradients), quantizer.codebook.grad(&gradients));
        if let (Some(of_z), Some(of_codebook)) = (of_z, of_codebook) {
            let norm = to_vec(&of_codebook)
                .iter()
                .map(|&x| f64::from(x).powi(2))
                .sum::<f64>()
                .sqrt();
            output.insert(format!("grad_{part}/z"), host(&of_z));
            output.insert(format!("grad_{part}/codebook"), host(&of_codebook));
            output.insert(
                format!("grad_{part}/codebook_norm"),
                HostTensor::from_f32(vec![], &[norm as f32]),
            );
        }
    }
    Ok(output)
}
