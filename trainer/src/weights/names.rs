//! Key names of other programs and how they map to the reference names.
//!
//! The tables are data: a row each, with where it comes from.

/// Whole-key aliases: released KeepFIT V1 and FLAIR weights.
const KEY_ALIASES: &[(&str, &str)] = &[
    (
        "vision_model.projection_head_vision.projection.weight",
        "vision_model.projection_head.projection.weight",
    ),
    (
        "text_model.projection_head_text.projection.weight",
        "text_model.projection_head.projection.weight",
    ),
];

/// Old spellings inside a key: BERT checkpoints converted from TensorFlow.
const ENDING_ALIASES: &[(&str, &str)] = &[
    ("LayerNorm.gamma", "LayerNorm.weight"),
    ("LayerNorm.beta", "LayerNorm.bias"),
];

/// Keys that carry nothing a model needs: position numbers and token types of old BERT files, which BERT counts itself.
const IGNORED_ENDINGS: &[&str] = &["embeddings.position_ids", "embeddings.token_type_ids"];

/// Where a data-parallel or compiled model put its keys.
const WRAPPERS: &[&str] = &["module.", "_orig_mod."];

/// Before every averaged weight's name in a SEED-Voken checkpoint; the names have no dots.
pub const EMA_PREFIX: &str = "model_ema.";
/// The codebook in a SEED-Voken checkpoint, moving-average copy.
pub const CODEBOOK_EMA: &str = "model_ema.quantizeembeddingweight";
/// The codebook's key in every model, and the raw copy in a SEED-Voken checkpoint.
pub const CODEBOOK: &str = "quantize.embedding.weight";

/// Whether `key`, as stored, carries nothing a model needs and so has no place in any.
pub fn is_ignored(key: &str) -> bool {
    IGNORED_ENDINGS.iter().any(|ending| key.ends_with(ending))
}

/// Key after undoing wrappers, old spellings and version aliases; None for keys to be ignored.
pub fn canonical(key: &str) -> Option<String> {
    let mut key = key;
    while let Some(inner) = WRAPPERS.iter().find_map(|wrapper| key.strip_prefix(wrapper)) {
        key = inner;
    }
    if is_ignored(key) {
        return None;
    }
    if let Some((_, name)) = KEY_ALIASES.iter().find(|(alias, _)| *alias == key) {
        return Some((*name).to_owned());
    }
    for (old, new) in ENDING_ALIASES {
        if let Some(start) = key.strip_suffix(old) {
            return Some(format!("{start}{new}"));
        }
    }
    Some(key.to_owned())
}

/// What a file's keys say it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `vision_model.*`, `text_model.*`: KeepFIT V1, V2 line or FLAIR.
    KeepFit,
    /// `bert.*` with or without `cls.*`: a Hugging Face BERT for pretraining or masked language modelling.
    BertWithHead,
    /// `embeddings.*`, `encoder.layer.*`: a bare BertModel.
    Bert,
    /// `conv1.weight`, `layer1.*`: a torchvision ResNet.
    ResNet,
    /// `encoder.*`, `decoder.*`, `quantize.*`: an image tokeniser with its codebook.
    Tokenizer,
    /// None of these.
    Unknown,
}

/// Recognises the layout from the canonical keys.
pub fn layout<'a>(keys: impl Iterator<Item = &'a str> + Clone) -> Layout {
    let any = |prefix: &str| keys.clone().any(|key| key.starts_with(prefix));
    if any("vision_model.") || any("text_model.") {
        Layout::KeepFit
    } else if any("bert.") {
        Layout::BertWithHead
    } else if any("quantize.embedding") {
        Layout::Tokenizer
    } else if any("encoder.layer.") || any("embeddings.word_embeddings.") {
        Layout::Bert
    } else if any("layer1.") {
        Layout::ResNet
    } else {
        Layout::Unknown
    }
}

/// Key in the KeepFIT model of a canonical key of `layout`; None when the model has no use for it.
pub fn to_keepfit(layout: Layout, key: &str) -> Option<String> {
    match layout {
        Layout::KeepFit | Layout::Unknown => Some(key.to_owned()),
        Layout::BertWithHead => key.strip_prefix("bert.").map(|rest| format!("text_model.model.{rest}")),
        Layout::Bert => Some(format!("text_model.model.{key}")),
        Layout::ResNet => (!key.starts_with("fc.")).then(|| format!("vision_model.model.{key}")),
        Layout::Tokenizer => (key == CODEBOOK).then(|| CODEBOOK.to_owned()),
    }
}

/// Key in a KeepFIT V1 checkpoint of a canonical key of `layout`; None for what V1 has not (the appearance
/// branch and its codebook).
pub fn to_keepfit_v1(layout: Layout, key: &str) -> Option<String> {
    let key = to_keepfit(layout, key)?;
    if ["appearance_conv.", "attention_appearance.", "quantize."]
        .iter()
        .any(|prefix| key.starts_with(prefix))
    {
        return None;
    }
    let old = KEY_ALIASES.iter().find(|(_, name)| *name == key);
    Some(old.map_or(key, |(alias, _)| (*alias).to_owned()))
}

/// Key in the masked language model of a canonical key of `layout`; None when the model has no use for it.
/// The decoder is tied to the word embeddings, so its copies are dropped.
pub fn to_masked_lm(layout: Layout, key: &str) -> Option<String> {
    let key = match layout {
        Layout::BertWithHead | Layout::Unknown => key.to_owned(),
        Layout::Bert => format!("bert.{key}"),
        Layout::KeepFit => format!("bert.{}", key.strip_prefix("text_model.model.")?),
        Layout::ResNet | Layout::Tokenizer => return None,
    };
    let unused = ["bert.pooler.", "cls.predictions.decoder.", "cls.seq_relationship."];
    (!unused.iter().any(|prefix| key.starts_with(prefix))).then_some(key)
}

/// Key in a bare Hugging Face BertModel of a canonical key of `layout`; None when it is no part of one.
pub fn to_bert(layout: Layout, key: &str) -> Option<String> {
    let key = match layout {
        Layout::Bert => key,
        Layout::BertWithHead => key.strip_prefix("bert.")?,
        Layout::KeepFit => key.strip_prefix("text_model.model.")?,
        Layout::ResNet | Layout::Tokenizer | Layout::Unknown => return None,
    };
    Some(key.to_owned())
}

/// Key in a torchvision ResNet without classifier of a canonical key of `layout`; None when it is no part of one.
pub fn to_resnet(layout: Layout, key: &str) -> Option<String> {
    match layout {
        Layout::ResNet => (!key.starts_with("fc.")).then(|| key.to_owned()),
        Layout::KeepFit => key.strip_prefix("vision_model.model.").map(str::to_owned),
        Layout::Bert | Layout::BertWithHead | Layout::Tokenizer | Layout::Unknown => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn canonical_keys() {
        for (key, expected) in [
            (
                "text_model.projection_head_text.projection.weight",
                "text_model.projection_head.projection.weight",
            ),
            ("bert.embeddings.LayerNorm.gamma", "bert.embeddings.LayerNorm.weight"),
            ("module._orig_mod.conv1.weight", "conv1.weight"),
            ("attention.W_q.weight", "attention.W_q.weight"),
        ] {
            assert_eq!(canonical(key).unwrap(), expected);
        }
        assert_eq!(canonical("text_model.model.embeddings.position_ids"), None);
    }

    #[test]
    fn layouts_and_their_targets() {
        let kind = |keys: &[&'static str]| layout(keys.iter().copied());
        assert_eq!(kind(&["bert.x", "cls.predictions.bias"]), Layout::BertWithHead);
        assert_eq!(
            kind(&["encoder.conv_in.weight", "quantize.embedding.weight"]),
            Layout::Tokenizer
        );
        assert_eq!(kind(&["layer1.0.conv1.weight"]), Layout::ResNet);
        assert_eq!(to_keepfit(Layout::ResNet, "fc.bias"), None);
        for (key, expected) in [
            (
                "vision_model.projection_head.projection.weight",
                Some("vision_model.projection_head_vision.projection.weight"),
            ),
            ("attention.W_q.weight", Some("attention.W_q.weight")),
            ("quantize.embedding.weight", None),
        ] {
            let old = to_keepfit_v1(Layout::KeepFit, key);
            assert_eq!(old.as_deref(), expected);
            assert!(old.is_none_or(|old| canonical(&old).as_deref() == Some(key)), "{key}");
        }
        assert_eq!(
            to_keepfit(Layout::BertWithHead, "bert.a").unwrap(),
            "text_model.model.a"
        );
        assert_eq!(to_keepfit(Layout::BertWithHead, "cls.predictions.bias"), None);
        assert_eq!(to_masked_lm(Layout::Bert, "pooler.dense.bias"), None);
        assert_eq!(to_masked_lm(Layout::KeepFit, "text_model.model.a").unwrap(), "bert.a");
        assert_eq!(to_bert(Layout::KeepFit, "text_model.model.a").unwrap(), "a");
        assert_eq!(to_bert(Layout::BertWithHead, "cls.predictions.bias"), None);
        assert_eq!(
            to_resnet(Layout::KeepFit, "vision_model.model.conv1.weight").unwrap(),
            "conv1.weight"
        );
        assert_eq!(to_resnet(Layout::KeepFit, "logit_scale"), None);
    }
}
