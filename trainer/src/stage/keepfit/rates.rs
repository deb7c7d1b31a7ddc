//! Which weights are trained, and how fast each: frozen parts and layer-wise rates.

use anyhow::{Result, bail};

use super::MODULES;
use crate::config::KeepfitConfig;

/// First parts of weight names, for `freeze` entries that are no module.
const ROOTS: [&str; 5] = [
    "vision_model.",
    "text_model.",
    "attention.",
    "attention_appearance.",
    "appearance_conv.",
];

/// Prefixes of weight names from the config's `freeze`: modules by name, or prefixes as they are.
///
/// # Errors
/// An entry that is neither.
pub fn prefixes(freeze: &[String]) -> Result<Vec<&str>> {
    freeze
        .iter()
        .map(|entry| {
            if let Some((prefix, _)) = MODULES.iter().find(|(_, name)| name == entry) {
                return Ok(*prefix);
            }
            if ROOTS.iter().any(|root| entry.starts_with(root)) {
                return Ok(entry.as_str());
            }
            let names: Vec<&str> = MODULES.iter().map(|(_, name)| *name).collect();
            bail!(
                "key `freeze` holds {entry:?}, which names no part of the model; use {}, or the beginning of a weight's \
                 name such as text_model.model.embeddings. or vision_model.model.layer1.",
                names.join(", ")
            )
        })
        .collect()
}

/// Factor on the learning rate of the weight `key`. `text_layers`: layers of the text encoder.
///
/// The encoders' rates fall by `layer_decay` from each layer to the one below; the image encoder has five
/// (stem and four stages), the text encoder its layers and the embeddings. All else has factor 1.
pub fn factor(config: &KeepfitConfig, text_layers: usize, key: &str) -> f64 {
    const STAGES: usize = 4;
    if let Some(rest) = key.strip_prefix("vision_model.model.") {
        let stage = number_after(rest, "layer").unwrap_or(0);
        return config.rate_vision * decayed(config.layer_decay, STAGES.saturating_sub(stage));
    }
    if let Some(rest) = key.strip_prefix("text_model.model.") {
        let layer = match number_after(rest, "encoder.layer.") {
            Some(layer) => layer + 1,
            None => 0,
        };
        return config.rate_text * decayed(config.layer_decay, text_layers.saturating_sub(layer));
    }
    1.0
}

fn decayed(decay: f64, depth: usize) -> f64 {
    decay.powi(i32::try_from(depth).unwrap_or(i32::MAX))
}

fn number_after(text: &str, prefix: &str) -> Option<usize> {
    let rest = text.strip_prefix(prefix)?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn freeze_takes_modules_and_prefixes() {
        let list = ["vision", "text_projection", "text_model.model.embeddings."].map(str::to_owned);
        assert_eq!(
            prefixes(&list).unwrap(),
            [
                "vision_model.model.",
                "text_model.projection_head.",
                "text_model.model.embeddings."
            ]
        );
        let error = prefixes(&["visoin".to_owned()]).unwrap_err().to_string();
        assert!(
            error.contains("visoin") && error.contains("vision_projection"),
            "{error}"
        );
    }

    #[test]
    fn rates_fall_layer_by_layer() {
        let config = KeepfitConfig {
            rate_vision: 0.5,
            rate_text: 2.0,
            layer_decay: 0.1,
            ..KeepfitConfig::default()
        };
        for (key, expected) in [
            ("vision_model.model.layer4.0.conv1.weight", 0.5),
            ("vision_model.model.layer2.0.conv1.weight", 0.005),
            ("vision_model.model.bn1.bias", 0.5e-4),
            ("text_model.model.encoder.layer.11.output.dense.weight", 2.0),
            ("text_model.model.encoder.layer.10.output.dense.weight", 0.2),
            ("text_model.model.embeddings.LayerNorm.weight", 2e-12),
            ("vision_model.projection_head.projection.weight", 1.0),
            ("logit_scale", 1.0),
        ] {
            let found = factor(&config, 12, key);
            assert!((found / expected - 1.0).abs() < 1e-9, "{key}: {found}");
        }
        assert_eq!(
            factor(&KeepfitConfig::default(), 12, "vision_model.model.conv1.weight"),
            1.0
        );
    }
}
