//! Training a vocabulary: `trainer tokenizer`.

use anyhow::{Context, Result};
use dataset::modality::Modality;
use dataset::read::Columns;
use serde_json::{Value, json};

use super::Started;
use crate::config::TokenizerConfig;
use crate::data::labels::open;
use crate::run_folder::{RunFacts, dataset_facts, versions};
use crate::text::definitions::Definitions;
use crate::text::prompt::{LabelStyle, class_descriptions, prediction_template, spoken};
use crate::text::vocabulary::{VocabularySettings, WordCounts, train};
use crate::text::wordpiece::Casing;

/// Counts the words of the datasets, trains the vocabulary and writes it into the run folder.
///
/// # Errors
/// Unreadable datasets, no text at all, or a folder that cannot be written.
pub fn run(started: &Started<TokenizerConfig>) -> Result<Value> {
    let config = &started.config;
    let casing = Casing {
        lowercase: config.lowercase,
        strip_accents: Some(config.strip_accents),
        split_chinese: true,
    };
    let counts = count_words(config, casing)?;
    let settings = VocabularySettings {
        size: config.vocab_size,
        min_frequency: config.min_frequency,
        alphabet_share: config.alphabet_share,
        casing,
    };
    let (tokenizer, report) = train(&counts, &settings).with_context(|| config.datasets.join(", "))?;
    let report = serde_json::to_value(report)?;
    started.run.set_facts(&RunFacts {
        kind: "tokenizer".to_owned(),
        seed: 0,
        mode: "paper".to_owned(),
        deviations: vec!["the paper uses the vocabulary of Bio_ClinicalBERT".to_owned()],
        modality: None,
        datasets: dataset_facts(&config.datasets)?,
        data: report.clone(),
        model: json!({ "vocab_size": tokenizer.len() }),
        parameters: 0,
        preprocessing: None,
        steps: 0,
        versions: versions(),
    })?;
    tokenizer.save(&started.run.path.join("tokenizer"))?;
    let summary = json!({ "kind": "tokenizer", "evaluation": report });
    started.run.set_done(&summary)?;
    Ok(summary)
}

fn count_words(config: &TokenizerConfig, casing: Casing) -> Result<WordCounts> {
    let wants = |language: &str| config.languages.is_empty() || config.languages.iter().any(|l| l == language);
    let mut counts = WordCounts::default();
    for folder in &config.datasets {
        let dataset = open(folder)?;
        let progress = dataset::progress::bar(None, "counting words");
        if config.texts {
            for record in dataset.text().with_context(|| folder.clone())? {
                let record = record.with_context(|| folder.clone())?;
                progress.inc(1);
                if wants(&record.language) {
                    counts.add(&record.text, casing)?;
                }
            }
        }
        if config.captions {
            for record in dataset
                .pairs(Columns::WithoutImageBytes)
                .with_context(|| folder.clone())?
            {
                let record = record.with_context(|| folder.clone())?;
                progress.inc(1);
                for (language, caption) in [("en", &record.caption_en), ("zh", &record.caption_zh)] {
                    if let (true, Some(caption)) = (wants(language), caption) {
                        counts.add(caption, casing)?;
                    }
                }
            }
        }
        if config.labels {
            for record in dataset
                .labels(None, Columns::WithoutImageBytes)
                .with_context(|| folder.clone())?
            {
                let record = record.with_context(|| folder.clone())?;
                progress.inc(1);
                for word in record.categories.iter().chain(&record.attributes) {
                    counts.add(&spoken(word), casing)?;
                }
            }
        }
        progress.finish();
    }
    if config.labels {
        for modality in [Modality::Cfp, Modality::Ffa, Modality::Oct] {
            let definitions = Definitions::builtin(modality)?;
            for name in definitions.names() {
                for text in class_descriptions(prediction_template(modality), name, &definitions, LabelStyle::V2) {
                    counts.add(&text, casing)?;
                }
            }
        }
    }
    Ok(counts)
}
