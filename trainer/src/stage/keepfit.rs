//! Joint training on public label sets and MM-Retinal pairs: `trainer keepfit` (Section IV-C).

pub mod accumulate;
pub mod batches;
pub mod build;
pub mod rates;
mod report;
mod zero_shot;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use burn::tensor::Device;
use serde_json::json;

use super::best::Best;
use super::guard::NanGuard;
use super::mlm::clip;
use super::{LoopPlan, Numbers, Stage, StepReport, state};
use crate::config::KeepfitConfig;
use crate::config::keepfit::Mode;
use crate::data::Rejected;
use crate::data::ban::BanRules;
use crate::data::images::ImageStore;
use crate::data::labels::{self, LabelQuery, LabelledImage, category_numbers, hold_out, load_labelled};
use crate::data::leakage::{Leak, TestImages, judge};
use crate::data::pairs::{self, PairQuery, load_pairs};
use crate::data::prefetch::Prefetcher;
use crate::data::sampler::EpochSampler;
use crate::device;
use crate::image::prepare::preprocessing_id;
use crate::model::dropout::Dropout;
use crate::model::keepfit::{KeepFitConfig, KeepFitModel, StepOutput};
use crate::model::layers::BatchMoments;
use crate::model::walk::Walk;
use crate::optim::{AdamW, AdamWConfig, NamedGradients};
use crate::run_folder::{RunFacts, RunFolder, dataset_facts, versions};
use crate::schedule::CosineSchedule;
use crate::text::definitions::Definitions;
use crate::text::prompt::training_template;
use crate::weights;
use accumulate::Chunked;
use batches::{HostBatch, TrainingData};
pub use report::MODULES;
use report::scalar;

/// The stage's data, model and optimiser.
pub struct KeepfitStage {
    config: KeepfitConfig,
    shape: KeepFitConfig,
    data: Arc<TrainingData>,
    held: Vec<LabelledImage>,
    rejected: Vec<Rejected>,
    leaks: Vec<Leak>,
    counts: serde_json::Value,
    /// Where the model lives first, then those that share the chunks with it.
    devices: Vec<Device>,
    model: KeepFitModel,
    optimizer: AdamW,
    schedule: CosineSchedule,
    guard: NanGuard,
    steps_per_epoch: u64,
    total_steps: u64,
    prefetcher: Option<Prefetcher<HostBatch>>,
}

impl KeepfitStage {
    /// Reads the data and builds the model with its starting weights. `spool` is a folder for large
    /// temporary files.
    ///
    /// # Errors
    /// Unreadable or insufficient data, checkpoints that do not fit, an unknown device.
    pub fn new(config: &KeepfitConfig, spool: &Path) -> Result<Self> {
        let devices = device::select_several(&config.device)?;
        device::computes_in(&devices, &config.device, config.precision)?;
        let tokenizer = build::open_tokenizer(config)?;
        let text = build::text_config(config, &tokenizer)?;
        let codebook = if config.appearance {
            Some(build::read_codebook(&config.codebook_init)?)
        } else {
            None
        };
        let codebook_shape = codebook.as_ref().map(|tensor| [tensor.shape[0], tensor.shape[1]]);
        let shape = build::model_config(config, text, codebook_shape);
        let definitions = Definitions::open(&config.definitions, config.modality).context("key `definitions`")?;

        let modalities = [config.modality];
        let mut store = ImageStore::new(config.image_size, config.cache_mib, spool);
        let ban = BanRules::parse(&config.ban_categories)?;
        let tests = TestImages::read(&config.datasets, &config.test_datasets)?;
        let label_query = LabelQuery {
            datasets: &config.datasets,
            label_sets: &config.label_sets,
            modalities: &modalities,
            ban: &ban,
            tests: &tests,
            on_leak: config.on_leak,
        };
        let labelled = load_labelled(&label_query, &mut store)?;
        labels::check_trainable(&labelled.images, &label_query)?;
        let (mut leaks, mut rejected) = (labelled.leaks, labelled.rejected);
        let (public, held) = hold_out(labelled.images, config.heldout, config.seed);
        let mut pairs = Vec::new();
        let (mut without_english, mut unreviewed, mut banned_pairs) = (0, 0, 0);
        if config.mm {
            let none = BanRules::default();
            let query = PairQuery {
                datasets: &config.datasets,
                modalities: &modalities,
                with_unreviewed: config.unreviewed,
                without_caption: false,
                ban: if config.ban_pairs { &ban } else { &none },
                tests: &tests,
                on_leak: config.on_leak,
            };
            let set = load_pairs(&query, &mut store)?;
            pairs::check_trainable(&set, &query)?;
            (without_english, unreviewed, banned_pairs) = (set.without_english, set.unreviewed, set.banned);
            rejected.extend(set.rejected);
            leaks.extend(set.leaks);
            pairs = set.pairs;
        }
        judge(&leaks, config.on_leak)?;
        let sampler = EpochSampler::new(public.len(), config.batch, config.seed);
        let steps_per_epoch = sampler.steps_per_epoch();
        let total_steps = total_steps(config, steps_per_epoch);
        let counts = json!({
            "public_training": public.len(),
            "public_heldout": held.len(),
            "same_as_test": leaks.len(),
            "banned": labelled.banned,
            "banned_pairs": banned_pairs,
            "categories": category_numbers(&public).len(),
            "pairs": pairs.len(),
            "pairs_without_english": without_english,
            "pairs_unreviewed": unreviewed,
            "rejected": rejected.len(),
            "steps_per_epoch": steps_per_epoch,
        });
        let mut model = build::init_model(config, &shape, codebook, &device::training(&devices[0]))?;
        build::freeze(&mut model, config)?;
        model.set_checkpointing(config.checkpointing);
        let (warmup, horizon) = build::schedule_steps(config, steps_per_epoch, total_steps);
        let template = match config.template.as_str() {
            "" => training_template(config.modality),
            template => template,
        };
        let data = TrainingData {
            store,
            numbers: category_numbers(&public),
            public,
            pairs,
            tokenizer,
            definitions,
            template: template.to_owned(),
            style: config.label_style,
            max_tokens: config.max_tokens,
            batch: config.batch,
            augment: config.augment,
            seed: config.seed,
            sampler: Mutex::new(sampler),
        };
        Ok(KeepfitStage {
            config: config.clone(),
            shape,
            data: Arc::new(data),
            held,
            rejected,
            leaks,
            counts,
            devices,
            model,
            optimizer: AdamW::new(adam(config)),
            // Counted in steps, so that runs given in steps have a horizon too.
            schedule: CosineSchedule {
                its_per_epoch: 1,
                warmup_epochs: warmup,
                horizon_epochs: horizon,
            },
            guard: NanGuard::new(config.skip_nonfinite),
            steps_per_epoch,
            total_steps,
            prefetcher: None,
        })
    }

    /// Steps of the whole run and how often to look and save.
    ///
    /// # Errors
    /// The key `best` cannot be read.
    pub fn plan(&self) -> Result<LoopPlan> {
        Ok(LoopPlan {
            kind: "keepfit",
            total_steps: self.total_steps,
            eval_every: self.config.eval_every,
            save_every_steps: self.config.save_every_steps,
            save_every_minutes: self.config.save_every_minutes,
            keep_last: self.config.keep_last,
            best: Best::parse(&self.config.best)?,
        })
    }

    /// Rows that could not be used.
    pub fn rejected(&self) -> &[Rejected] {
        &self.rejected
    }

    /// Writes `run.json`, the tokenizer and the list of rejected rows.
    ///
    /// # Errors
    /// The data changed since the run began, or the folder cannot be written.
    pub fn describe(&mut self, run: &RunFolder) -> Result<()> {
        run.set_facts(&RunFacts {
            kind: "keepfit".to_owned(),
            seed: self.config.seed,
            mode: match self.config.mode {
                Mode::Paper => "paper".to_owned(),
                Mode::Reference => "reference".to_owned(),
            },
            deviations: build::deviations(&self.config),
            modality: Some(self.config.modality.to_string()),
            datasets: dataset_facts(&self.config.datasets)?,
            data: self.counts.clone(),
            model: serde_json::to_value(&self.shape)?,
            parameters: self.model.trained_elements(),
            preprocessing: Some(preprocessing_id(self.config.image_size)),
            steps: self.total_steps,
            versions: versions(),
        })?;
        self.data.tokenizer.save(&run.path.join("tokenizer"))?;
        run.set_lines("leakage.jsonl", &self.leaks)?;
        run.set_rejected(&self.rejected)
    }
}

/// Steps of the run: `steps`, or `epochs` passes over the public sets.
pub fn total_steps(config: &KeepfitConfig, steps_per_epoch: u64) -> u64 {
    match config.steps {
        0 => ((config.epochs * steps_per_epoch as f64).ceil() as u64).max(1),
        steps => steps,
    }
}

fn adam(config: &KeepfitConfig) -> AdamWConfig {
    AdamWConfig {
        betas: [config.beta1, config.beta2],
        eps: config.epsilon,
        weight_decay: config.weight_decay,
    }
}

/// Loss terms, gradients and statistics of a step, before anything changes.
struct Found {
    terms: Numbers,
    gradients: NamedGradients,
    moments: Vec<Vec<BatchMoments>>,
}

/// Images and tokens of a batch.
fn units(batch: &HostBatch) -> Vec<(&'static str, u64)> {
    let halves = || std::iter::once(&batch.public).chain(&batch.pairs);
    vec![
        ("images", halves().map(|half| half.rows as u64).sum()),
        ("tokens", halves().map(batches::HostHalf::tokens).sum()),
    ]
}

impl KeepfitStage {
    /// Share of λ₂ at `step`.
    fn ramp(&self, step: u64) -> f64 {
        let steps = self.config.appearance_ramp_epochs * self.steps_per_epoch as f64;
        if steps > 0.0 {
            (step as f64 / steps).min(1.0)
        } else {
            1.0
        }
    }

    fn term_norms(&mut self, step: u64, batch: &HostBatch) -> Result<Numbers> {
        let (side, device) = (self.config.image_size, &self.devices[0]);
        let mut again = || batch.clone().to_device(side, device);
        report::term_norms(&mut self.model, self.config.seed, step, &mut again)
    }

    /// Forward and backward pass, in one or in chunks.
    fn gradients(&mut self, step: u64, batch: HostBatch) -> Found {
        let codes = self.shape.appearance.as_ref().map(|branch| branch.codes);
        let numbers = |output: &StepOutput, model: &KeepFitModel| {
            let mut numbers = report::terms(output, model.config());
            numbers.extend(report::gauges(output, codes));
            numbers
        };
        if self.config.accumulate > 1 {
            let cut = Chunked {
                rows: self.config.batch / self.config.accumulate,
                side: self.config.image_size,
                devices: &self.devices,
                dropout: Some((self.config.seed, step)),
            };
            let found = accumulate::step(&mut self.model, &batch, cut);
            return Found {
                terms: numbers(&found.output, &self.model),
                gradients: found.gradients,
                moments: found.moments,
            };
        }
        let mut dropout = Dropout::for_step(self.config.seed, step);
        let output = self
            .model
            .forward_step(batch.to_device(self.config.image_size, &self.devices[0]), &mut dropout);
        let terms = numbers(&output, &self.model);
        let StepOutput { total, moments, .. } = output;
        Found {
            terms,
            gradients: NamedGradients::collect(&mut self.model, total.backward()),
            moments,
        }
    }
}

impl Stage for KeepfitStage {
    fn begin(&mut self, first_step: u64) -> Result<()> {
        let data = Arc::clone(&self.data);
        let (workers, depth) = (self.config.workers, 2 * self.config.workers);
        self.prefetcher = Some(Prefetcher::start(
            first_step,
            self.total_steps,
            workers,
            depth,
            move |step| data.batch(step),
        ));
        Ok(())
    }

    fn train_step(&mut self, step: u64) -> Result<StepReport> {
        let batch = self
            .prefetcher
            .as_mut()
            .context("the stage was not begun")?
            .next_batch()?;
        let units = units(&batch);
        let rate = self.schedule.rate(self.config.learning_rate, step);
        self.model.clamp_logit_scale();
        self.model.set_lambda2(self.shape.lambda2 * self.ramp(step));
        let logit_scale = scalar(&self.model.logit_scale.clone().inner());
        let mut numbers = vec![
            (
                "epoch".to_owned(),
                step as f64 * self.config.batch as f64 / self.data.public.len() as f64,
            ),
            ("lr".to_owned(), rate),
            ("logit_scale".to_owned(), logit_scale),
        ];
        if self.config.term_norms_every > 0 && step.is_multiple_of(self.config.term_norms_every) {
            numbers.extend(self.term_norms(step, &batch)?);
        }
        let found = self.gradients(step, batch);
        numbers.extend(found.terms);
        // A step that is not finite changes nothing and is written down.
        if !self.guard.goes_on(step, &numbers)? {
            return Ok(StepReport { numbers, units });
        }
        let (mut gradients, moments) = (found.gradients, found.moments);
        numbers.extend(report::module_norms(&gradients));
        let norm = clip(&mut gradients, self.config.clip_norm);
        numbers.push(("grad_norm/total".to_owned(), norm));
        if !self.guard.goes_on(step, &numbers)? {
            return Ok(StepReport { numbers, units });
        }
        let (config, layers) = (&self.config, self.shape.text.num_hidden_layers);
        let factor = |key: &str| rates::factor(config, layers, key);
        self.optimizer.step_scaled(&mut self.model, gradients, rate, &factor);
        self.model.update_statistics(moments);
        self.guard.done();
        Ok(StepReport { numbers, units })
    }

    fn evaluate(&mut self, _steps: u64, _run: &Path) -> Result<Numbers> {
        zero_shot::evaluate(&self.model.plain(), &self.data, &self.held, &self.devices[0])
    }

    fn save(&mut self, folder: &Path) -> Result<()> {
        let notes = [
            ("kind", "keepfit".to_owned()),
            ("mode", format!("{:?}", self.config.mode).to_lowercase()),
            ("deviations", serde_json::to_string(&build::deviations(&self.config))?),
            ("model", serde_json::to_string(&self.shape)?),
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
