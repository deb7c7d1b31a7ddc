//! Joint training on public label sets and MM-Retinal pairs: `trainer keepfit` (Section IV-C).

pub mod batches;
pub mod build;
mod zero_shot;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use burn::tensor::{Device, Tensor};
use serde_json::json;

use super::mlm::clip;
use super::{LoopPlan, Numbers, Stage, StepReport, check_finite};
use crate::checkpoint::{MODEL_FILE, OPTIMIZER_FILE};
use crate::config::KeepfitConfig;
use crate::config::keepfit::Mode;
use crate::data::Rejected;
use crate::data::images::ImageStore;
use crate::data::labels::{self, LabelQuery, LabelledImage, category_numbers, hold_out, load_labelled};
use crate::data::pairs::{self, PairQuery, load_pairs};
use crate::data::prefetch::Prefetcher;
use crate::data::sampler::EpochSampler;
use crate::device;
use crate::image::prepare::preprocessing_id;
use crate::loss::ibq::usage;
use crate::model::dropout::Dropout;
use crate::model::keepfit::{KeepFitConfig, KeepFitModel, Knowledge, StepOutput};
use crate::model::walk::{Walk, to_vec};
use crate::optim::{AdamW, AdamWConfig, NamedGradients};
use crate::run_folder::{RunFacts, RunFolder, dataset_facts, versions};
use crate::schedule::CosineSchedule;
use crate::text::definitions::Definitions;
use crate::text::prompt::training_template;
use crate::weights;
use batches::{HostBatch, TrainingData};

/// Modules whose gradient norms are reported: key prefix and name.
const MODULES: [(&str, &str); 8] = [
    ("vision_model.model.", "vision"),
    ("vision_model.projection_head.", "vision_projection"),
    ("text_model.model.", "text"),
    ("text_model.projection_head.", "text_projection"),
    ("attention.", "attention"),
    ("attention_appearance.", "attention_appearance"),
    ("appearance_conv.", "appearance_conv"),
    ("logit_scale", "logit_scale"),
];

/// The stage's data, model and optimiser.
pub struct KeepfitStage {
    config: KeepfitConfig,
    shape: KeepFitConfig,
    data: Arc<TrainingData>,
    held: Vec<LabelledImage>,
    rejected: Vec<Rejected>,
    counts: serde_json::Value,
    device: Device,
    model: KeepFitModel,
    optimizer: AdamW,
    schedule: CosineSchedule,
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
        let device = device::select(&config.device)?;
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
        let label_query = LabelQuery {
            datasets: &config.datasets,
            label_sets: &config.label_sets,
            modalities: &modalities,
        };
        let labelled = load_labelled(&label_query, &mut store)?;
        labels::check_trainable(&labelled.images, &label_query)?;
        let mut same_as_test = labelled.same_as_test;
        let mut rejected = labelled.rejected;
        let (public, held) = hold_out(labelled.images, config.heldout, config.seed);
        let mut pairs = Vec::new();
        let (mut without_english, mut unreviewed) = (0, 0);
        if config.mm {
            let query = PairQuery {
                datasets: &config.datasets,
                modalities: &modalities,
                with_unreviewed: config.unreviewed,
                without_caption: false,
            };
            let set = load_pairs(&query, &mut store)?;
            pairs::check_trainable(&set, &query)?;
            (without_english, unreviewed) = (set.without_english, set.unreviewed);
            rejected.extend(set.rejected);
            same_as_test.extend(set.same_as_test);
            pairs = set.pairs;
        }
        if let Some(first) = same_as_test.first() {
            tracing::warn!(
                "{} training images are also labelled test images (same bytes) and were left out, for example row {first}",
                same_as_test.len()
            );
        }
        let sampler = EpochSampler::new(public.len(), config.batch, config.seed);
        let steps_per_epoch = sampler.steps_per_epoch();
        let total_steps = total_steps(config, steps_per_epoch);
        let counts = json!({
            "public_training": public.len(),
            "public_heldout": held.len(),
            "same_as_test": same_as_test.len(),
            "categories": category_numbers(&public).len(),
            "pairs": pairs.len(),
            "pairs_without_english": without_english,
            "pairs_unreviewed": unreviewed,
            "rejected": rejected.len(),
            "steps_per_epoch": steps_per_epoch,
        });
        let model = build::init_model(config, &shape, codebook, &device::training(&device))?;
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
            counts,
            device,
            model,
            optimizer: AdamW::new(adam(config)),
            // Counted in steps, so that runs given in steps have a horizon too.
            schedule: CosineSchedule {
                its_per_epoch: 1,
                warmup_epochs: warmup,
                horizon_epochs: horizon,
            },
            total_steps,
            prefetcher: None,
        })
    }

    /// Steps of the whole run and how often to look and save.
    pub fn plan(&self) -> LoopPlan {
        LoopPlan {
            kind: "keepfit",
            total_steps: self.total_steps,
            eval_every: self.config.eval_every,
            save_every_steps: self.config.save_every_steps,
            save_every_minutes: self.config.save_every_minutes,
            keep_last: self.config.keep_last,
        }
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

fn scalar(tensor: &Tensor<1>) -> f64 {
    f64::from(to_vec(tensor)[0])
}

/// All loss terms of a step, raw and weighted.
fn terms(output: &StepOutput, shape: &KeepFitConfig) -> Numbers {
    let mut numbers = vec![
        ("loss/total".to_owned(), scalar(&output.total)),
        ("loss/itc_public".to_owned(), scalar(&output.itc_public)),
    ];
    if let Some(side) = &output.knowledge {
        numbers.push(("loss/itc_mm".to_owned(), scalar(&side.itc)));
    }
    for (name, knowledge, weight) in [
        ("ek_semantic", &output.semantic, shape.lambda1),
        ("ek_appearance", &output.appearance, shape.lambda2),
    ] {
        if let Some(knowledge) = knowledge {
            let raw = scalar(&knowledge.loss);
            numbers.push((format!("loss/{name}"), raw));
            numbers.push((format!("loss_weighted/{name}"), raw * weight));
        }
    }
    numbers
}

/// Attention entropies and codebook use of a step.
fn gauges(output: &StepOutput, codes: Option<usize>) -> Numbers {
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

impl Stage for KeepfitStage {
    fn unit(&self) -> &'static str {
        "images"
    }

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
        let units = (batch.public.rows + batch.pairs.as_ref().map_or(0, |half| half.rows)) as u64;
        let rate = self.schedule.rate(self.config.learning_rate, step);
        self.model.clamp_logit_scale();
        let logit_scale = scalar(&self.model.logit_scale.clone().inner());
        let mut dropout = Dropout::for_step(self.config.seed, step);
        let output = self
            .model
            .forward_step(batch.to_device(self.config.image_size, &self.device), &mut dropout);
        let mut numbers = vec![
            (
                "epoch".to_owned(),
                step as f64 * self.config.batch as f64 / self.data.public.len() as f64,
            ),
            ("lr".to_owned(), rate),
            ("logit_scale".to_owned(), logit_scale),
        ];
        numbers.extend(terms(&output, &self.shape));
        check_finite(step, &numbers)?;
        numbers.extend(gauges(
            &output,
            self.shape.appearance.as_ref().map(|branch| branch.codes),
        ));
        let StepOutput { total, moments, .. } = output;
        let mut gradients = NamedGradients::collect(&mut self.model, total.backward());
        for (prefix, name) in MODULES {
            if let Some(norm) = gradients.prefix_norm(prefix) {
                numbers.push((format!("grad_norm/{name}"), norm));
            }
        }
        let norm = clip(&mut gradients, self.config.clip_norm);
        check_finite(step, &[("grad_norm/total".to_owned(), norm)])?;
        numbers.push(("grad_norm/total".to_owned(), norm));
        self.optimizer.step(&mut self.model, gradients, rate);
        self.model.update_statistics(moments);
        Ok(StepReport { numbers, units })
    }

    fn evaluate(&mut self, _steps: u64, _run: &Path) -> Result<Numbers> {
        let mut model = KeepFitModel::init(&self.shape, self.config.seed, &self.device)?;
        let tensors = weights::save::tensors(&mut self.model);
        weights::load::apply(&mut model, tensors, &weights::load::Allow::nothing())?;
        zero_shot::evaluate(&model, &self.data, &self.held, &self.device)
    }

    fn save(&mut self, folder: &Path) -> Result<()> {
        let notes = [
            ("kind", "keepfit".to_owned()),
            ("mode", format!("{:?}", self.config.mode).to_lowercase()),
            ("deviations", serde_json::to_string(&build::deviations(&self.config))?),
            ("model", serde_json::to_string(&self.shape)?),
        ];
        weights::save::write(
            &folder.join(MODEL_FILE),
            &weights::save::tensors(&mut self.model),
            &notes,
        )?;
        weights::save::write(&folder.join(OPTIMIZER_FILE), &self.optimizer.state(), &[])
    }

    fn restore(&mut self, folder: &Path) -> Result<()> {
        let tensors = weights::load::read(&folder.join(MODEL_FILE))?;
        weights::load::apply(&mut self.model, tensors, &weights::load::Allow::nothing())?;
        let state = weights::load::read(&folder.join(OPTIMIZER_FILE))?;
        self.optimizer = AdamW::restore(adam(&self.config), &mut self.model, state)?;
        Ok(())
    }

    fn take_waited(&mut self) -> Duration {
        self.prefetcher.as_mut().map_or(Duration::ZERO, Prefetcher::take_waited)
    }
}
