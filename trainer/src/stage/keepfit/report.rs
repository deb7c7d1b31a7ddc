//! Numbers of a joint step: loss terms, gradient norms, attention entropy, codebook use.

use anyhow::{Context, Result};
use burn::tensor::Tensor;

use crate::loss::ibq::usage;
use crate::model::dropout::Dropout;
use crate::model::keepfit::{KeepFitBatch, KeepFitConfig, KeepFitModel, Knowledge, StepOutput};
use crate::model::walk::to_vec;
use crate::optim::NamedGradients;
use crate::stage::Numbers;

/// Modules whose gradient norms are reported: key prefix and name.
pub const MODULES: [(&str, &str); 8] = [
    ("vision_model.model.", "vision"),
    ("vision_model.projection_head.", "vision_projection"),
    ("text_model.model.", "text"),
    ("text_model.projection_head.", "text_projection"),
    ("attention.", "attention"),
    ("attention_appearance.", "attention_appearance"),
    ("appearance_conv.", "appearance_conv"),
    ("logit_scale", "logit_scale"),
];

/// The only element of a tensor.
pub fn scalar(tensor: &Tensor<1>) -> f64 {
    f64::from(to_vec(tensor)[0])
}

/// Loss terms of a step: name, value, weight in the total.
fn weighted<'a>(output: &'a StepOutput, shape: &KeepFitConfig) -> Vec<(&'static str, &'a Tensor<1>, f64)> {
    let mut terms = vec![("itc_public", &output.itc_public, 1.0)];
    terms.extend(output.knowledge.as_ref().map(|side| ("itc_mm", &side.itc, 1.0)));
    let found = |knowledge: &'a Option<Knowledge>| knowledge.as_ref().map(|knowledge| &knowledge.loss);
    terms.extend(found(&output.semantic).map(|loss| ("ek_semantic", loss, shape.lambda1)));
    terms.extend(found(&output.appearance).map(|loss| ("ek_appearance", loss, shape.lambda2)));
    terms
}

/// All loss terms of a step, raw and weighted. `shape` holds the weights that the step used.
pub fn terms(output: &StepOutput, shape: &KeepFitConfig) -> Numbers {
    let mut numbers = vec![("loss/total".to_owned(), scalar(&output.total))];
    for (name, value, weight) in weighted(output, shape) {
        let raw = scalar(value);
        numbers.push((format!("loss/{name}"), raw));
        numbers.push((format!("loss_weighted/{name}"), raw * weight));
    }
    numbers
}

/// Gradient norms of the modules that were trained.
pub fn module_norms(gradients: &NamedGradients) -> Numbers {
    MODULES
        .iter()
        .filter_map(|(prefix, name)| Some((format!("grad_norm/{name}"), gradients.prefix_norm(prefix)?)))
        .collect()
}

/// Norm of each weighted loss term's own gradient, over all trained weights. Each term takes a pass of
/// its own with the step's dropout masks; nothing of the model changes.
///
/// # Errors
/// A step without a term that another pass of it had, which cannot be.
pub fn term_norms(
    model: &mut KeepFitModel,
    seed: u64,
    step: u64,
    batch: &mut dyn FnMut() -> KeepFitBatch,
) -> Result<Numbers> {
    let shape = model.config().clone();
    let names: Vec<&'static str> = {
        let output = model.forward_step(batch(), &mut Dropout::for_step(seed, step));
        weighted(&output, &shape).into_iter().map(|(name, _, _)| name).collect()
    };
    let mut numbers = Numbers::new();
    for wanted in names {
        let output = model.forward_step(batch(), &mut Dropout::for_step(seed, step));
        let term = weighted(&output, &shape)
            .into_iter()
            .find(|(name, _, _)| *name == wanted);
        let (_, value, weight) = term.with_context(|| format!("loss term {wanted} vanished"))?;
        let value = value.clone() * weight;
        drop(output);
        let gradients = NamedGradients::collect(model, value.backward());
        numbers.push((format!("term_grad_norm/{wanted}"), gradients.norm()));
    }
    Ok(numbers)
}

/// Attention entropies and codebook use of a step. `codes`: rows of the codebook.
pub fn gauges(output: &StepOutput, codes: Option<usize>) -> Numbers {
    let mut numbers = Numbers::new();
    for (name, knowledge) in [("semantic", &output.semantic), ("appearance", &output.appearance)] {
        if let Some(knowledge) = knowledge {
            numbers.push((format!("attention_entropy/{name}"), attention_entropy(knowledge)));
        }
    }
    if let (Some(maps), Some(codes)) = (&output.maps, codes) {
        let mut counts = vec![0u64; codes];
        for map in [&maps.public_codes, &maps.knowledge_codes] {
            for code in map.clone().into_data().iter::<i64>() {
                if let Some(count) = usize::try_from(code).ok().and_then(|code| counts.get_mut(code)) {
                    *count += 1;
                }
            }
        }
        let gauge = usage(&counts);
        numbers.push(("codebook/fraction".to_owned(), gauge.fraction));
        numbers.push(("codebook/perplexity".to_owned(), gauge.perplexity));
    }
    numbers
}

/// Mean over heads and queries of −Σ p ln p, each row scaled to sum to 1 (dropout changes the sum).
fn attention_entropy(knowledge: &Knowledge) -> f64 {
    let [heads, queries, keys] = knowledge.weights.dims();
    let weights = to_vec(&knowledge.weights);
    let mut sum = 0.0;
    for row in weights.chunks_exact(keys) {
        let total: f64 = row.iter().map(|p| f64::from(*p)).sum();
        sum += row
            .iter()
            .map(|p| f64::from(*p) / total)
            .filter(|p| *p > 0.0)
            .map(|p| -p * p.ln())
            .sum::<f64>();
    }
    sum / (heads * queries) as f64
}
