//! Building the KeepFIT model that a config asks for, with its starting weights.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use burn::tensor::Device;

use crate::config::KeepfitConfig;
use crate::config::keepfit::Mode;
use crate::model::attention::SoftmaxDim;
use crate::model::bert::{DropoutRates, TextConfig};
use crate::model::keepfit::{AppearanceConfig, KeepFitConfig, KeepFitModel, Summary};
use crate::model::layers::Init;
use crate::model::precision::Precision;
use crate::model::resnet::VisionConfig;
use crate::model::walk::{Role, Walk};
use crate::run_folder::{RUN_FILE, read_facts};
use crate::stage::codebook::CODEBOOK_FILE;
use crate::text::wordpiece::WordPieceTokenizer;
use crate::weights::load::{Allow, CodebookCopy, LoadReport, apply, canonical, codebook, map_keys, read};
use crate::weights::names::{CODEBOOK, to_keepfit};
use crate::weights::{HostTensor, Tensors};

/// Epochs the cosine spans in the released code, whatever the run's length.
const REFERENCE_HORIZON: u64 = 100;

/// The tokeniser: the config's own, or the one of the run that `text_init` names.
///
/// # Errors
/// Neither is there.
pub fn open_tokenizer(config: &KeepfitConfig) -> Result<WordPieceTokenizer> {
    if !config.tokenizer.is_empty() {
        return WordPieceTokenizer::open(Path::new(&config.tokenizer)).context("key `tokenizer`");
    }
    if config.text_init.is_empty() && !config.textual && !config.text_base.is_empty() {
        return WordPieceTokenizer::open(Path::new(&config.text_base))
            .context("key `tokenizer` is empty, so `text_base` was searched");
    }
    if config.text_init.is_empty() {
        bail!(
            "key `tokenizer` is empty; name a vocab.txt or a run folder of `trainer tokenizer`, or a `text_init` run that holds one"
        );
    }
    WordPieceTokenizer::open(Path::new(&config.text_init))
        .context("key `tokenizer` is empty, so `text_init` was searched")
}

/// Shape of the text encoder: that of the mlm run which `text_init` names, or the config's own.
///
/// # Errors
/// The run has another vocabulary or too few positions.
pub fn text_config(config: &KeepfitConfig, tokenizer: &WordPieceTokenizer) -> Result<TextConfig> {
    let own = TextConfig {
        vocab_size: tokenizer.len(),
        hidden_size: config.text_hidden,
        num_hidden_layers: config.text_layers,
        num_attention_heads: config.text_heads,
        intermediate_size: config.text_intermediate,
        max_position_embeddings: config.text_positions,
        pad_token_id: i64::from(tokenizer.special().pad),
        ..TextConfig::bert_base()
    };
    // Without textual pretraining the shape stays that of the run it is compared with.
    let source = if config.textual || config.text_base.is_empty() {
        &config.text_init
    } else {
        &config.text_base
    };
    let run = Path::new(source);
    if source.is_empty() || !run.join(RUN_FILE).is_file() {
        return Ok(own);
    }
    let facts = read_facts(run)?;
    if facts.kind != "mlm" {
        bail!(
            "key `text_init`: {} is a {} run, not an mlm run",
            run.display(),
            facts.kind
        );
    }
    let theirs: TextConfig = serde_json::from_value(facts.model).with_context(|| run.display().to_string())?;
    let vocabulary = WordPieceTokenizer::open(run).context("key `text_init`")?;
    if vocabulary.vocabulary() != tokenizer.vocabulary() {
        bail!(
            "key `tokenizer`: {} has another vocabulary ({} pieces) than the mlm run {} ({} pieces); use the run's own by leaving `tokenizer` empty",
            config.tokenizer,
            tokenizer.len(),
            run.display(),
            vocabulary.len()
        );
    }
    if theirs.max_position_embeddings < config.max_tokens {
        bail!(
            "key `max_tokens` is {}, but the text encoder of {} has {} positions; lower max_tokens",
            config.max_tokens,
            run.display(),
            theirs.max_position_embeddings
        );
    }
    Ok(theirs)
}

/// The frozen codebook of `codebook_init`, `[codes, width]`.
///
/// # Errors
/// No codebook is named, or what is named holds none.
pub fn read_codebook(init: &str) -> Result<HostTensor> {
    if init.is_empty() {
        bail!(
            "`appearance` is true and `codebook_init` is empty; name a run of `trainer codebook` or a tokeniser checkpoint, or set appearance to false"
        );
    }
    let path = match Path::new(init).join(CODEBOOK_FILE) {
        artefact if artefact.is_file() => artefact,
        _ => PathBuf::from(init),
    };
    let place = || format!("key `codebook_init`: {}", path.display());
    let (key, tensor) = codebook(read(&path).with_context(place)?, CodebookCopy::Ema).with_context(place)?;
    tracing::info!("{}: codebook {:?} from {key}", path.display(), tensor.shape);
    Ok(tensor)
}

/// The model's shape. `codebook` is `[codes, width]` when there is an appearance branch.
pub fn model_config(config: &KeepfitConfig, text: TextConfig, codebook: Option<[usize; 2]>) -> KeepFitConfig {
    KeepFitConfig {
        vision: VisionConfig {
            layers: config.vision_layers,
            base_width: config.vision_width,
        },
        text,
        proj_dim: config.proj_dim,
        heads: config.heads,
        pool: config.pooling,
        softmax_dim: match config.mode {
            Mode::Paper => SoftmaxDim::Keys,
            Mode::Reference => SoftmaxDim::Heads,
        },
        semantic: config.semantic,
        semantic_tau: (config.semantic_tau > 0.0).then_some(config.semantic_tau),
        appearance: codebook.map(|[codes, code_dim]| AppearanceConfig {
            codes,
            code_dim,
            tau: (config.appearance_tau > 0.0).then_some(config.appearance_tau),
            conv_kernel: config.appearance_kernel,
            learn_tau: config.appearance_tau_learnt,
            tied: config.appearance_tied,
            summary: config.appearance_summary,
            positions: match config.appearance_summary {
                // The image encoder halves a side five times, rounding up.
                Summary::Flatten => config.image_size.div_ceil(32).pow(2),
                _ => 0,
            },
        }),
        lambda1: config.lambda_semantic,
        lambda2: config.lambda_appearance,
        logit_scale_clamp: [0.0, 4.6052],
        batch_norm: Default::default(),
        text_dropout: DropoutRates {
            hidden: config.dropout,
            attention: config.dropout,
        },
        knowledge_dropout: config.attention_dropout,
        knowledge_reduction: config.knowledge_reduction,
        stop_gradient: config.stop_gradient.clone(),
    }
}

/// A model with the starting weights that the config names.
///
/// # Errors
/// A checkpoint that does not fit, with key and shapes.
pub fn init_model(
    config: &KeepfitConfig,
    shape: &KeepFitConfig,
    codebook: Option<HostTensor>,
    device: &Device,
) -> Result<KeepFitModel> {
    let init = Init::new(config.seed, device).with_precision(config.precision);
    let mut model = KeepFitModel::init_in(shape, init)?;
    if let Some(codebook) = codebook {
        let tensors = Tensors::from([(CODEBOOK.to_owned(), codebook)]);
        apply(&mut model, tensors, &Allow::prefixes(&[""], &[])).context("key `codebook_init`")?;
    }
    if !config.vision_init.is_empty() {
        let report = load_part(
            &mut model,
            "vision_init",
            &config.vision_init,
            "vision_model.model.",
            &[],
        )?;
        tracing::info!(
            "{}: {} tensors of the image encoder",
            config.vision_init,
            report.applied.len()
        );
    }
    let (key, text) = if config.textual {
        ("text_init", &config.text_init)
    } else {
        ("text_base", &config.text_base)
    };
    if !text.is_empty() {
        let pooler = ["text_model.model.pooler."];
        let report = load_part(&mut model, key, text, "text_model.model.", &pooler)?;
        tracing::info!("{text}: {} tensors of the text encoder", report.applied.len());
    }
    Ok(model)
}

/// Stops training what the config freezes.
///
/// # Errors
/// An entry that matches no weight of this model, or nothing is left to train.
pub fn freeze(model: &mut KeepFitModel, config: &KeepfitConfig) -> Result<()> {
    let prefixes = super::rates::prefixes(&config.freeze)?;
    for (entry, prefix) in config.freeze.iter().zip(&prefixes) {
        let mut found = false;
        model.each(|key, role, _| found |= role == Role::Trained && key.starts_with(prefix));
        if !found {
            bail!("key `freeze` holds {entry:?}, but this model has no trained weight under {prefix}");
        }
    }
    if !prefixes.is_empty() {
        let tensors = model.freeze(&prefixes);
        tracing::info!("{tensors} tensors are not trained ({})", config.freeze.join(", "));
    }
    if model.trained_elements() == 0 {
        bail!("key `freeze` leaves nothing to train; take an entry out");
    }
    Ok(())
}

/// Applies the tensors under `prefix`; all of them must be there but for those in `optional`.
fn load_part(model: &mut KeepFitModel, key: &str, init: &str, prefix: &str, optional: &[&str]) -> Result<LoadReport> {
    let place = || format!("key `{key}`: {init}");
    let tensors = canonical(read(Path::new(init)).with_context(place)?).with_context(place)?;
    let (_, mut tensors, _) = map_keys(tensors, to_keepfit);
    tensors.retain(|name, _| name.starts_with(prefix));
    if tensors.is_empty() {
        bail!("{}: holds no tensor for {prefix}*", place());
    }
    let mut others: Vec<String> = optional.iter().map(|name| (*name).to_owned()).collect();
    model.each(|name, _, _| {
        if !name.starts_with(prefix) {
            others.push(name.to_owned());
        }
    });
    let allow = Allow {
        missing: others,
        unused: Vec::new(),
    };
    apply(model, tensors, &allow).with_context(place)
}

/// Steps over which the rate warms up, and at which it reaches zero.
pub fn schedule_steps(config: &KeepfitConfig, steps_per_epoch: u64, total_steps: u64) -> (u64, u64) {
    let horizon = match (config.horizon_epochs, config.mode) {
        (0, Mode::Paper) => total_steps,
        (0, Mode::Reference) => REFERENCE_HORIZON * steps_per_epoch,
        (epochs, _) => epochs * steps_per_epoch,
    };
    (config.warmup_epochs * steps_per_epoch, horizon)
}

/// Keys whose numbers the paper states.
const PAPER_KEYS: [&str; 12] = [
    "vision_layers",
    "vision_width",
    "text_layers",
    "text_hidden",
    "proj_dim",
    "image_size",
    "max_tokens",
    "batch",
    "learning_rate",
    "weight_decay",
    "lambda_semantic",
    "lambda_appearance",
];

/// Where the config departs from Section V-C and the reference page, in words.
pub fn deviations(config: &KeepfitConfig) -> Vec<String> {
    let mut list = Vec::new();
    let paper = KeepfitConfig::default();
    let values = |config: &KeepfitConfig| serde_json::to_value(config).unwrap_or_default();
    let (ours, theirs) = (values(config), values(&paper));
    for key in PAPER_KEYS {
        if ours[key] != theirs[key] {
            list.push(format!("{key}: {} (paper: {})", ours[key], theirs[key]));
        }
    }
    for (on, name) in [
        (config.mm, "no MM-Retinal batch (mm = false)"),
        (config.semantic, "no semantic knowledge (semantic = false)"),
        (config.appearance, "no appearance knowledge (appearance = false)"),
        (
            !config.vision_init.is_empty(),
            "image encoder from random weights (paper: ImageNet)",
        ),
        (
            config.textual && !config.text_init.is_empty(),
            "text encoder without textual pretraining (textual is false or text_init is empty)",
        ),
        (config.freeze.is_empty(), "parts of the model are frozen (freeze)"),
        (
            config.rate_vision == 1.0 && config.rate_text == 1.0 && config.layer_decay == 1.0,
            "learning rates differ between layers (rate_vision, rate_text, layer_decay)",
        ),
        (
            config.precision == Precision::F32,
            "linear layers, convolutions and attention multiply in bf16 (precision)",
        ),
        (
            config.accumulate == 1,
            "batch normalisation sees chunks of the batch (accumulate)",
        ),
        (
            config.appearance_ramp_epochs == 0.0,
            "lambda_appearance rises slowly (appearance_ramp_epochs)",
        ),
        (
            config.appearance_kernel == 1,
            "appearance convolution of 3x3 (appearance_kernel)",
        ),
        (
            config.appearance_summary == Summary::Mean,
            "the appearance attention sees another summary than the mean (appearance_summary)",
        ),
        (
            !config.appearance_tied,
            "W_V and W_O are shared by both branches (appearance_tied)",
        ),
        (
            !config.appearance_tau_learnt,
            "the temperature of eq. 18 is trained (appearance_tau_learnt)",
        ),
        (
            config.stop_gradient.is_empty(),
            "knowledge terms with stopped gradients (stop_gradient)",
        ),
        (
            config.knowledge_reduction == paper.knowledge_reduction,
            "knowledge terms summed over dimensions (knowledge_reduction)",
        ),
        (
            config.ban_categories.is_empty(),
            "categories left out of training (ban_categories)",
        ),
    ] {
        if !on {
            list.push(name.to_owned());
        }
    }
    if config.mode == Mode::Reference {
        list.push("mode reference: softmax over heads, cosine over 100 epochs".to_owned());
    }
    list
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_number_that_differs_from_the_papers_is_told() {
        let paper = serde_json::to_value(KeepfitConfig::default()).unwrap();
        for key in PAPER_KEYS {
            let mut changed = paper.clone();
            changed[key] = match key {
                "vision_layers" => serde_json::json!([1, 1, 1, 1]),
                _ => 3.into(),
            };
            let told = deviations(&serde_json::from_value(changed).unwrap());
            assert!(
                told.iter().any(|line| line.starts_with(&format!("{key}: "))),
                "{key}: {told:?}"
            );
        }
    }
}
