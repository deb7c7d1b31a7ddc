//! Masked language modelling of the text encoder: `trainer mlm` (Section IV-B).

mod step;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use burn::tensor::{Device, Tensor, activation::log_softmax};
use serde_json::json;

use super::best::Best;
use super::guard::NanGuard;
use super::{LoopPlan, Numbers, Stage, StepReport, state};
use crate::config::MlmConfig;
use crate::data::prefetch::Prefetcher;
use crate::data::utterances::{UtteranceQuery, Utterances, epoch_batches, masked_batch, ophthalmic_positions};
use crate::device;
use crate::model::bert::{DropoutRates, TextConfig};
use crate::model::dropout::Dropout;
use crate::model::layers::Init;
use crate::model::mlm_head::{IGNORE_LABEL, MaskedBatch, MaskedLm};
use crate::model::precision::Precision;
use crate::model::walk::{Walk, ints, to_vec};
use crate::optim::{AdamW, AdamWConfig, NamedGradients};
use crate::run_folder::{RunFacts, RunFolder, dataset_facts, versions};
use crate::schedule::LinearSchedule;
use crate::text::masking::{MaskingSettings, MaskingVocabulary};
use crate::text::wordpiece::WordPieceTokenizer;
use crate::weights;

/// The text-encoder shape a config asks for.
pub fn text_config(config: &MlmConfig, tokenizer: &WordPieceTokenizer) -> TextConfig {
    TextConfig {
        pad_token_id: i64::from(tokenizer.special().pad),
        ..text_config_for(config, tokenizer.len())
    }
}

/// The same for a vocabulary of which only the size is known.
pub fn text_config_for(config: &MlmConfig, vocab_size: usize) -> TextConfig {
    TextConfig {
        vocab_size,
        hidden_size: config.text_hidden,
        num_hidden_layers: config.text_layers,
        num_attention_heads: config.text_heads,
        intermediate_size: config.text_intermediate,
        max_position_embeddings: config.text_positions,
        ..TextConfig::bert_base()
    }
}

struct Corpus {
    utterances: Utterances,
    training: Vec<u32>,
    held: Vec<u32>,
    vocabulary: MaskingVocabulary,
    masking: MaskingSettings,
    pad: u32,
    batch: usize,
    seed: u64,
    cached: Mutex<Option<(u64, Vec<Vec<u32>>)>>,
}

impl Corpus {
    fn steps_per_epoch(&self) -> u64 {
        (self.training.len() as u64).div_ceil(self.batch as u64)
    }

    fn batch(&self, step: u64) -> MaskedBatch {
        let (epoch, place) = (step / self.steps_per_epoch(), (step % self.steps_per_epoch()) as usize);
        let rows = {
            let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
            if cached.as_ref().is_none_or(|(of, _)| *of != epoch) {
                let batches = epoch_batches(&self.utterances, &self.training, self.batch, self.seed, epoch);
                *cached = Some((epoch, batches));
            }
            cached
                .as_ref()
                .map_or_else(Vec::new, |(_, batches)| batches[place].clone())
        };
        masked_batch(
            &self.utterances,
            &rows,
            &self.vocabulary,
            self.masking,
            self.pad,
            self.seed,
            step,
        )
    }
}

/// The stage's data, model and optimiser.
pub struct MlmStage {
    config: MlmConfig,
    text: TextConfig,
    tokenizer: WordPieceTokenizer,
    corpus: Arc<Corpus>,
    /// Where the model lives first, then those that share the chunks with it.
    devices: Vec<Device>,
    model: MaskedLm,
    optimizer: AdamW,
    guard: NanGuard,
    schedule: LinearSchedule,
    prefetcher: Option<Prefetcher<MaskedBatch>>,
}

impl MlmStage {
    /// Reads the data and builds the model, from `text_init` where there is one.
    ///
    /// # Errors
    /// Unreadable data, a vocabulary or checkpoint that does not fit, an unknown device.
    pub fn new(config: &MlmConfig) -> Result<Self> {
        let devices = device::select_several(&config.device)?;
        device::computes_in(&devices, &config.device, config.precision)?;
        let tokenizer = WordPieceTokenizer::open(Path::new(&config.tokenizer)).context("key `tokenizer`")?;
        let text = text_config(config, &tokenizer);
        text.validate()?;
        let query = UtteranceQuery {
            datasets: &config.datasets,
            languages: &config.languages,
            captions: config.captions,
            max_tokens: config.max_tokens,
        };
        let utterances = Utterances::load(&query, &tokenizer, config.seed)?;
        let (training, held) = utterances.hold_out(config.heldout);
        let corpus = Corpus {
            vocabulary: MaskingVocabulary::new(&tokenizer),
            masking: MaskingSettings {
                probability: config.mask_probability,
                whole_word: config.whole_word,
            },
            pad: tokenizer.special().pad,
            batch: config.batch,
            seed: config.seed,
            cached: Mutex::new(None),
            utterances,
            training,
            held,
        };
        let mut model = init_model(&text, config, &device::training(&devices[0]));
        model.bert.set_checkpointing(config.checkpointing);
        if !config.text_init.is_empty() {
            load_text(&mut model, &config.text_init)?;
        }
        let total_steps = total_steps(config, corpus.steps_per_epoch());
        Ok(MlmStage {
            config: config.clone(),
            text,
            tokenizer,
            corpus: Arc::new(corpus),
            devices,
            model,
            optimizer: AdamW::new(adam(config)),
            guard: NanGuard::new(config.skip_nonfinite),
            schedule: LinearSchedule {
                total_steps,
                warmup_share: config.warmup_share,
            },
            prefetcher: None,
        })
    }

    /// Steps of the whole run and how often to look and save.
    ///
    /// # Errors
    /// The key `best` cannot be read.
    pub fn plan(&self) -> Result<LoopPlan> {
        Ok(LoopPlan {
            kind: "mlm",
            total_steps: self.schedule.total_steps,
            eval_every: self.config.eval_every,
            save_every_steps: self.config.save_every_steps,
            save_every_minutes: self.config.save_every_minutes,
            keep_last: self.config.keep_last,
            best: Best::parse(&self.config.best)?,
        })
    }

    /// Writes `run.json` and the tokenizer into the run folder.
    ///
    /// # Errors
    /// The data changed since the run began, or the folder cannot be written.
    pub fn describe(&mut self, run: &RunFolder) -> Result<()> {
        let corpus = &self.corpus;
        run.set_facts(&RunFacts {
            kind: "mlm".to_owned(),
            seed: self.config.seed,
            mode: "paper".to_owned(),
            deviations: deviations(&self.config),
            modality: None,
            datasets: dataset_facts(&self.config.datasets)?,
            data: json!({
                "utterances": corpus.utterances.len(),
                "tokens": corpus.utterances.total_tokens(),
                "training": corpus.training.len(),
                "heldout": corpus.held.len(),
                "steps_per_epoch": corpus.steps_per_epoch(),
            }),
            model: serde_json::to_value(&self.text)?,
            parameters: self.model.trained_elements(),
            preprocessing: None,
            steps: self.schedule.total_steps,
            versions: versions(),
        })?;
        self.tokenizer.save(&run.path.join("tokenizer"))
    }
}

/// Steps of the run: `steps`, or `epochs` passes.
fn total_steps(config: &MlmConfig, steps_per_epoch: u64) -> u64 {
    if config.steps > 0 {
        return config.steps;
    }
    ((config.epochs * steps_per_epoch as f64).ceil() as u64).max(1)
}

fn adam(config: &MlmConfig) -> AdamWConfig {
    AdamWConfig {
        betas: [0.9, 0.999],
        eps: config.epsilon,
        weight_decay: config.weight_decay,
    }
}

fn init_model(text: &TextConfig, config: &MlmConfig, device: &Device) -> MaskedLm {
    let mut init = Init::new(config.seed, device).with_precision(config.precision);
    let mut model = MaskedLm::init(text, &mut init);
    model.bert.set_dropout(DropoutRates {
        hidden: config.dropout,
        attention: config.dropout,
    });
    model
}

/// Applies a BERT checkpoint; the prediction head is taken where the checkpoint has it.
fn load_text(model: &mut MaskedLm, init: &str) -> Result<()> {
    let path = Path::new(init);
    let place = || format!("key `text_init`: {init}");
    let tensors = weights::load::canonical(weights::load::read(path).with_context(place)?)?;
    let (layout, tensors, _) = weights::load::map_keys(tensors, weights::names::to_masked_lm);
    let allow = weights::load::Allow::prefixes(&["cls."], &[]);
    let report = weights::load::apply(model, tensors, &allow).with_context(place)?;
    tracing::info!(
        "{init}: {layout:?}, {} tensors applied, {} fresh",
        report.applied.len(),
        report.missing.len()
    );
    Ok(())
}

fn deviations(config: &MlmConfig) -> Vec<String> {
    let mut list = Vec::new();
    if config.text_init.is_empty() {
        list.push("starts from random weights (paper: Bio_ClinicalBERT)".to_owned());
    }
    if config.text_layers != 12 || config.text_hidden != 768 {
        list.push(format!(
            "{} layers of width {} (paper: 12 of 768)",
            config.text_layers, config.text_hidden
        ));
    }
    if config.precision != Precision::F32 {
        list.push("linear layers and attention multiply in bf16 (precision)".to_owned());
    }
    if config.max_tokens != 256 {
        list.push(format!("at most {} tokens (paper: 256)", config.max_tokens));
    }
    list
}

impl Stage for MlmStage {
    fn begin(&mut self, first_step: u64) -> Result<()> {
        if self.corpus.training.is_empty() {
            bail!("no utterance is left for training");
        }
        let corpus = Arc::clone(&self.corpus);
        self.prefetcher = Some(Prefetcher::start(
            first_step,
            self.schedule.total_steps,
            self.config.workers,
            2 * self.config.workers,
            move |step| Ok(corpus.batch(step)),
        ));
        Ok(())
    }

    fn train_step(&mut self, step: u64) -> Result<StepReport> {
        let batch = self
            .prefetcher
            .as_mut()
            .context("the stage was not begun")?
            .next_batch()?;
        let rate = self.schedule.rate(self.config.learning_rate, step);
        let tokens = batch.mask.iter().sum::<i64>() as u64;
        let mut numbers = vec![("lr".to_owned(), rate)];
        let found = if self.config.accumulate > 1 {
            let draw = (self.config.seed, step);
            step::in_chunks(&self.model, &batch, self.config.accumulate, &self.devices, draw)
        } else {
            let mut dropout = Dropout::for_step(self.config.seed, step);
            step::whole(&mut self.model, &batch, &mut dropout)
        };
        // A batch of very short utterances may have nothing masked; it teaches nothing then.
        if let Some(found) = found {
            let mut gradients = found.gradients;
            numbers.push(("loss/total".to_owned(), found.loss));
            if !self.guard.goes_on(step, &numbers)? {
                return Ok(StepReport {
                    numbers,
                    units: vec![("tokens", tokens)],
                });
            }
            let norms: Numbers = [("bert.", "grad_norm/bert"), ("cls.", "grad_norm/head")]
                .into_iter()
                .filter_map(|(prefix, name)| Some((name.to_owned(), gradients.prefix_norm(prefix)?)))
                .collect();
            let norm = clip(&mut gradients, self.config.clip_norm);
            numbers.push(("masked_accuracy".to_owned(), found.correct as f64 / found.count as f64));
            numbers.push(("masked".to_owned(), found.count as f64));
            numbers.push(("grad_norm/total".to_owned(), norm));
            numbers.extend(norms);
            if self.guard.goes_on(step, &numbers)? {
                self.optimizer.step(&mut self.model, gradients, rate);
                self.guard.done();
            }
        }
        let padding = 1.0 - tokens as f64 / batch.ids.len().max(1) as f64;
        numbers.push(("padding_share".to_owned(), padding));
        Ok(StepReport {
            numbers,
            units: vec![("tokens", tokens)],
        })
    }

    fn evaluate(&mut self, _steps: u64, _run: &Path) -> Result<Numbers> {
        let rows = &self.corpus.held[..self.corpus.held.len().min(self.config.heldout_limit)];
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let model = self.model.plain();
        let (mut all, mut terms) = (Score::default(), Score::default());
        let corpus = &self.corpus;
        for (number, chunk) in rows.chunks(corpus.batch).enumerate() {
            // Places far from any training step, the same at every evaluation.
            let position = u64::MAX - number as u64;
            let batch = masked_batch(
                &corpus.utterances,
                chunk,
                &corpus.vocabulary,
                corpus.masking,
                corpus.pad,
                corpus.seed,
                position,
            );
            let ophthalmic = chosen_ophthalmic(&batch, chunk, corpus, &self.tokenizer);
            let Some(predictions) = model.forward(&batch, &mut Dropout::off()) else {
                continue;
            };
            let (losses, hits) = per_position(predictions.logits, predictions.labels, &self.devices[0]);
            for ((loss, hit), is_term) in losses.into_iter().zip(hits).zip(ophthalmic) {
                all.add(loss, hit);
                if is_term {
                    terms.add(loss, hit);
                }
            }
        }
        let mut numbers = all.numbers("heldout");
        numbers.extend(terms.numbers("heldout_ophthalmic"));
        Ok(numbers)
    }

    fn save(&mut self, folder: &Path) -> Result<()> {
        let notes = [
            ("kind", "mlm".to_owned()),
            ("model", serde_json::to_string(&self.text)?),
        ];
        let tensors = weights::save::tensors(&mut self.model);
        state::write(folder, &tensors, &notes, &self.optimizer)
    }

    fn restore(&mut self, folder: &Path) -> Result<()> {
        let tensors = state::weights(folder)?;
        self.optimizer = state::restore(folder, &mut self.model, tensors, adam(&self.config))?;
        Ok(())
    }

    fn take_waited(&mut self) -> Duration {
        self.prefetcher.as_mut().map_or(Duration::ZERO, Prefetcher::take_waited)
    }
}

/// Clips to `limit` (0: no clipping) and returns the norm before.
pub(super) fn clip(gradients: &mut NamedGradients, limit: f64) -> f64 {
    if limit > 0.0 {
        gradients.clip(limit).0
    } else {
        gradients.norm()
    }
}

/// Sums of negative log likelihood and hits over masked positions.
#[derive(Default)]
struct Score {
    loss: f64,
    hits: u64,
    count: u64,
}

impl Score {
    fn add(&mut self, loss: f64, hit: bool) {
        self.loss += loss;
        self.hits += u64::from(hit);
        self.count += 1;
    }

    /// Perplexity, accuracy and count; nothing when no position was masked.
    fn numbers(&self, prefix: &str) -> Numbers {
        if self.count == 0 {
            return Vec::new();
        }
        let count = self.count as f64;
        vec![
            (format!("{prefix}_perplexity"), (self.loss / count).exp()),
            (format!("{prefix}_masked_accuracy"), self.hits as f64 / count),
            (format!("{prefix}_masked"), count),
        ]
    }
}

/// Negative log likelihood and whether the best guess is right, for each masked position.
fn per_position(logits: Tensor<2>, labels: Tensor<1, burn::tensor::Int>, device: &Device) -> (Vec<f64>, Vec<bool>) {
    let [count, _] = logits.dims();
    let best: Vec<i64> = logits
        .clone()
        .argmax(1)
        .reshape([count])
        .into_data()
        .iter::<i64>()
        .collect();
    let wanted: Vec<i64> = labels.into_data().iter::<i64>().collect();
    let columns = ints(wanted.clone(), [count, 1], device);
    let picked = log_softmax(logits, 1).gather(1, columns);
    let losses = to_vec(&picked).into_iter().map(|value| -f64::from(value)).collect();
    (losses, best.iter().zip(&wanted).map(|(a, b)| a == b).collect())
}

/// For each labelled position of `batch`, row-major, whether its word is an ophthalmic term.
fn chosen_ophthalmic(batch: &MaskedBatch, rows: &[u32], corpus: &Corpus, tokenizer: &WordPieceTokenizer) -> Vec<bool> {
    let [_, width] = batch.shape;
    let mut chosen = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        let marks = ophthalmic_positions(corpus.utterances.tokens(*row as usize), tokenizer);
        for (place, mark) in marks.into_iter().enumerate() {
            if batch.labels[number * width + place] != IGNORE_LABEL {
                chosen.push(mark);
            }
        }
    }
    chosen
}
