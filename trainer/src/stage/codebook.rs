//! The IBQ codebook, trained ahead by an autoencoder: `trainer codebook` (Section IV-C.3).
//!
//! Loss: L1 + perceptual + adversarial + quantiser terms + entropy; `run.json` lists as deviations what a
//! config leaves out.

mod average;
mod grid;
mod images;
mod rival;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use burn::tensor::{Device, Tensor};
use serde_json::json;

use super::best::Best;
use super::guard::NanGuard;
use super::mlm::clip;
use super::{LoopPlan, Numbers, Stage, StepReport, state};
use crate::config::CodebookConfig;
use crate::data::Rejected;
use crate::data::prefetch::Prefetcher;
use crate::data::sampler::EpochSampler;
use crate::data::seeds::hash_order;
use crate::device;
use crate::image::prepare::preprocessing_id;
use crate::loss::ibq::{quantisation, usage};
use crate::model::autoencoder::{Autoencoder, AutoencoderConfig, Reconstruction};
use crate::model::layers::Init;
use crate::model::perceptual::Perceptual;
use crate::model::walk::{Walk, from_vec, to_vec};
use crate::optim::{AdamW, AdamWConfig, NamedGradients};
use crate::run_folder::{RunFacts, RunFolder, dataset_facts, versions};
use crate::weights::{self, HostTensor};
use average::Average;
use grid::Grid;
use images::{Images, load_images};
use rival::Rival;

/// Added inside the logarithm of the average entropy (IBQ's code).
const ENTROPY_EPSILON: f64 = 1e-5;
/// Images used for the held-out figures, at most.
const EVAL_IMAGES: usize = 512;
/// The artefact for later stages within a run folder.
pub const CODEBOOK_FILE: &str = "codebook.safetensors";

/// The stage's data, model and optimiser.
pub struct CodebookStage {
    config: CodebookConfig,
    shape: AutoencoderConfig,
    images: Arc<Images>,
    rejected: Vec<Rejected>,
    device: Device,
    model: Autoencoder,
    optimizer: AdamW,
    guard: NanGuard,
    average: Option<Average>,
    perceptual: Option<Perceptual>,
    rival: Option<Rival>,
    steps_per_epoch: u64,
    total_steps: u64,
    prefetcher: Option<Prefetcher<Vec<f32>>>,
}

impl CodebookStage {
    /// Reads the images and builds the autoencoder. `spool` is a folder for large temporary files.
    ///
    /// # Errors
    /// Unreadable data, no usable image, an unknown device.
    pub fn new(config: &CodebookConfig, spool: &Path) -> Result<Self> {
        let device = device::select(&config.device)?;
        let shape = autoencoder_config(config);
        let (store, keys, rejected) = load_images(config, spool)?;
        let limit = (config.heldout * u64::MAX as f64) as u64;
        let (mut held, mut training) = (Vec::new(), Vec::new());
        for (image, key) in keys {
            let side = if hash_order(config.seed, &key) < limit {
                &mut held
            } else {
                &mut training
            };
            side.push(image);
        }
        if training.is_empty() {
            std::mem::swap(&mut training, &mut held);
        }
        let sampler = EpochSampler::new(training.len(), config.batch, config.seed);
        let steps_per_epoch = sampler.steps_per_epoch();
        let total_steps = match config.steps {
            0 => ((config.epochs * steps_per_epoch as f64).ceil() as u64).max(1),
            steps => steps,
        };
        let recording = device::training(&device);
        let mut model = Autoencoder::init(&shape, &mut Init::new(config.seed, &recording))?;
        let average = (config.ema > 0.0).then(|| Average::new(config.ema, &mut model));
        let rival = (config.adversarial_weight > 0.0).then(|| Rival::new(config, &recording));
        let perceptual = (config.perceptual_weight > 0.0)
            .then(|| {
                let linear = match config.perceptual_linear.as_str() {
                    "" => &config.perceptual_vgg,
                    linear => linear,
                };
                Perceptual::open(Path::new(&config.perceptual_vgg), Path::new(linear), &device).context(
                    "keys `perceptual_vgg` and `perceptual_linear`; without these weights set perceptual_weight to 0",
                )
            })
            .transpose()?;
        Ok(CodebookStage {
            config: config.clone(),
            shape,
            images: Arc::new(Images {
                store,
                training,
                held,
                sampler: Mutex::new(sampler),
                augment: config.augment,
                seed: config.seed,
            }),
            rejected,
            device,
            model,
            optimizer: AdamW::new(adam(config)),
            guard: NanGuard::new(config.skip_nonfinite),
            average,
            perceptual,
            rival,
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
            kind: "codebook",
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

    /// Writes `run.json` and the list of rejected rows.
    ///
    /// # Errors
    /// The data changed since the run began, or the folder cannot be written.
    pub fn describe(&mut self, run: &RunFolder) -> Result<()> {
        run.set_facts(&RunFacts {
            kind: "codebook".to_owned(),
            seed: self.config.seed,
            mode: "paper".to_owned(),
            deviations: deviations(&self.config),
            modality: None,
            datasets: dataset_facts(&self.config.datasets)?,
            data: json!({
                "training": self.images.training.len(),
                "heldout": self.images.held.len(),
                "rejected": self.rejected.len(),
                "steps_per_epoch": self.steps_per_epoch,
            }),
            model: serde_json::to_value(&self.shape)?,
            parameters: self.model.trained_elements(),
            preprocessing: Some(preprocessing_id(self.config.image_size)),
            steps: self.total_steps,
            versions: versions(),
        })?;
        run.set_rejected(&self.rejected)
    }

    /// Rate of `step`: linear warm-up, then ×0.1 at each milestone.
    fn rate(&self, step: u64) -> f64 {
        let warmup = (self.config.warmup_share * self.total_steps as f64).ceil();
        let ramp = if (step as f64) < warmup {
            (step + 1) as f64 / warmup
        } else {
            1.0
        };
        let epoch = step as f64 / self.steps_per_epoch as f64;
        let drops = self
            .config
            .milestones
            .iter()
            .filter(|milestone| epoch >= **milestone)
            .count();
        self.config.learning_rate * ramp * 0.1f64.powi(drops as i32)
    }

    /// The codebook for later stages: the moving average where there is one.
    fn handed_over(&self) -> Vec<f32> {
        match &self.average {
            Some(average) => average.codebook(),
            None => to_vec(&self.model.quantizer.codebook.clone().inner()),
        }
    }

    fn tensor(&self, images: Vec<f32>, device: &Device) -> Tensor<4> {
        let side = self.config.image_size;
        let count = images.len() / (3 * side * side);
        from_vec(images, [count, 3, side, side], device)
    }
}

/// The autoencoder a config asks for.
pub fn autoencoder_config(config: &CodebookConfig) -> AutoencoderConfig {
    AutoencoderConfig {
        channels: config.channels,
        multipliers: config.multipliers.clone(),
        blocks: config.blocks,
        codes: config.codes,
        code_dim: config.code_dim,
    }
}

fn adam(config: &CodebookConfig) -> AdamWConfig {
    AdamWConfig {
        betas: [config.beta1, config.beta2],
        eps: 1e-8,
        weight_decay: 0.0,
    }
}

fn deviations(config: &CodebookConfig) -> Vec<String> {
    let mut list = Vec::new();
    if config.perceptual_weight == 0.0 {
        list.push("no perceptual term (LPIPS)".to_owned());
    }
    if config.adversarial_weight == 0.0 {
        list.push("no adversarial term".to_owned());
    }
    let full = AutoencoderConfig::full();
    if autoencoder_config(config) != full {
        list.push(format!(
            "autoencoder of {} channels, {} blocks a level, {} codes of width {} (full: {}, {}, {}, {})",
            config.channels,
            config.blocks,
            config.codes,
            config.code_dim,
            full.channels,
            full.blocks,
            full.codes,
            full.code_dim
        ));
    }
    if config.image_size != 256 {
        list.push(format!("{} px (full: 256 px crops)", config.image_size));
    }
    list
}

/// Counts of each code.
fn histogram(codes: &Tensor<1, burn::tensor::Int>, total: usize) -> Vec<u64> {
    let mut counts = vec![0; total];
    for code in codes.clone().into_data().iter::<i64>() {
        if let Some(count) = usize::try_from(code).ok().and_then(|code| counts.get_mut(code)) {
            *count += 1;
        }
    }
    counts
}

impl Stage for CodebookStage {
    fn begin(&mut self, first_step: u64) -> Result<()> {
        let images = Arc::clone(&self.images);
        let (workers, depth) = (self.config.workers, 2 * self.config.workers);
        self.prefetcher = Some(Prefetcher::start(
            first_step,
            self.total_steps,
            workers,
            depth,
            move |step| images.batch(step),
        ));
        Ok(())
    }

    fn train_step(&mut self, step: u64) -> Result<StepReport> {
        let values = self
            .prefetcher
            .as_mut()
            .context("the stage was not begun")?
            .next_batch()?;
        let images = self.tensor(values, &self.device);
        let units = vec![("images", images.dims()[0] as u64)];
        let Reconstruction {
            images: rebuilt,
            tokens,
            quantized,
        } = self.model.forward(images.clone());
        let l1 = (rebuilt.clone() - images.clone()).abs().mean();
        let quant = quantisation(&tokens, &quantized, self.config.commitment);
        let mut total = l1.clone() + quant.total.clone() * self.config.quant_weight;
        let value = |tensor: &Tensor<1>| f64::from(to_vec(tensor)[0]);
        let mut numbers = vec![
            ("lr".to_owned(), self.rate(step)),
            ("loss/l1".to_owned(), value(&l1)),
            ("loss/straight_through".to_owned(), value(&quant.straight_through)),
            ("loss/commitment".to_owned(), value(&quant.commitment)),
            ("loss/codebook".to_owned(), value(&quant.codebook)),
            ("loss/quant".to_owned(), value(&quant.total)),
        ];
        if self.config.entropy_weight > 0.0 {
            let (sample, average) =
                self.model
                    .quantizer
                    .entropies(tokens, self.config.entropy_temperature, ENTROPY_EPSILON);
            let entropy = sample.clone() - average.clone();
            numbers.push(("loss/entropy_sample".to_owned(), value(&sample)));
            numbers.push(("loss/entropy_average".to_owned(), value(&average)));
            numbers.push(("loss/entropy".to_owned(), value(&entropy)));
            total = total + entropy * self.config.entropy_weight;
        }
        if let Some(perceptual) = &self.perceptual {
            let distance = perceptual.distance(images.clone(), rebuilt.clone());
            numbers.push(("loss/perceptual".to_owned(), value(&distance)));
            total = total + distance * self.config.perceptual_weight;
        }
        if !self.guard.goes_on(step, &numbers)? {
            return Ok(StepReport { numbers, units });
        }
        let rate = self.rate(step);
        if let Some(rival) = &mut self.rival {
            let plain = rebuilt.clone().inner();
            let Some(of_rival) = rival.train(images, plain, rate, step, &mut self.guard)? else {
                return Ok(StepReport { numbers, units });
            };
            numbers.extend(of_rival);
            let judged = rival.judge(rebuilt);
            numbers.push(("loss/adversarial".to_owned(), value(&judged)));
            total = total + judged * self.config.adversarial_weight;
        }
        numbers.insert(1, ("loss/total".to_owned(), value(&total)));
        if !self.guard.goes_on(step, &numbers)? {
            return Ok(StepReport { numbers, units });
        }
        let gauge = usage(&histogram(&quantized.codes, self.config.codes));
        let mut gradients = NamedGradients::collect(&mut self.model, total.backward());
        for (prefix, name) in [
            ("encoder.", "encoder"),
            ("decoder.", "decoder"),
            ("quantize.", "codebook"),
        ] {
            if let Some(norm) = gradients.prefix_norm(prefix) {
                numbers.push((format!("grad_norm/{name}"), norm));
            }
        }
        let norm = clip(&mut gradients, self.config.clip_norm);
        numbers.push(("grad_norm/total".to_owned(), norm));
        if !self.guard.goes_on(step, &numbers)? {
            return Ok(StepReport { numbers, units });
        }
        self.optimizer.step(&mut self.model, gradients, rate);
        if let Some(average) = &mut self.average {
            average.update(&mut self.model);
        }
        self.guard.done();
        numbers.push(("usage/fraction".to_owned(), gauge.fraction));
        numbers.push(("usage/perplexity".to_owned(), gauge.perplexity));
        numbers.push(("usage/top_share".to_owned(), gauge.top_share));
        Ok(StepReport { numbers, units })
    }

    fn evaluate(&mut self, steps: u64, run: &Path) -> Result<Numbers> {
        let mut model = self.model.plain();
        if let Some(average) = &self.average {
            average.apply(&mut model);
        }
        let shown = self.images.shown();
        let measured = &shown[..shown.len().min(EVAL_IMAGES)];
        let mut counts = vec![0u64; self.config.codes];
        let (mut error, mut grid) = (0.0, Grid::new(self.config.image_size, self.config.grid));
        for chunk in measured.chunks(self.config.batch.min(32)) {
            let mut values = Vec::new();
            for image in chunk {
                values.extend(
                    self.images
                        .store
                        .planes(*image)?
                        .into_iter()
                        .map(|value| value * 2.0 - 1.0),
                );
            }
            let originals = self.tensor(values.clone(), &self.device);
            let result = model.forward(originals.clone());
            error += f64::from(to_vec(&(result.images.clone() - originals).abs().mean())[0]) * chunk.len() as f64;
            for (total, count) in counts
                .iter_mut()
                .zip(histogram(&result.quantized.codes, self.config.codes))
            {
                *total += count;
            }
            grid.add(&values, &to_vec(&result.images));
        }
        grid.write(&run.join("reconstructions").join(format!("step-{steps:08}.png")))?;
        self.write_codebook(run, &counts)?;
        self.gauges(error / measured.len().max(1) as f64, &counts)
    }

    fn save(&mut self, folder: &Path) -> Result<()> {
        let mut tensors = weights::save::tensors(&mut self.model);
        if let Some(average) = &self.average {
            tensors.extend(average.tensors(&mut self.model));
        }
        if let Some(rival) = &mut self.rival {
            rival.save(&mut tensors, folder)?;
        }
        let notes = [
            ("kind", "codebook".to_owned()),
            ("model", serde_json::to_string(&self.shape)?),
        ];
        state::write(folder, &tensors, &notes, &self.optimizer)
    }

    fn restore(&mut self, folder: &Path) -> Result<()> {
        let mut tensors = state::weights(folder)?;
        if let Some(average) = &mut self.average {
            average.restore(&mut tensors)?;
        }
        if let Some(rival) = &mut self.rival {
            rival.restore(&mut tensors, folder, &self.config)?;
        }
        self.optimizer = state::restore(folder, &mut self.model, tensors, adam(&self.config))?;
        Ok(())
    }

    fn take_waited(&mut self) -> Duration {
        self.prefetcher.as_mut().map_or(Duration::ZERO, Prefetcher::take_waited)
    }
}

impl CodebookStage {
    /// The artefact for later stages: codebook `[codes, code_dim]` and how often each code was used.
    fn write_codebook(&self, run: &Path, counts: &[u64]) -> Result<()> {
        let counts: Vec<i64> = counts.iter().map(|count| *count as i64).collect();
        let tensors = weights::Tensors::from([
            (
                weights::names::CODEBOOK.to_owned(),
                HostTensor::from_f32(vec![self.config.codes, self.config.code_dim], &self.handed_over()),
            ),
            ("usage".to_owned(), HostTensor::from_i64(vec![counts.len()], &counts)),
        ]);
        let datasets = serde_json::to_string(&dataset_facts(&self.config.datasets)?)?;
        let notes = [("datasets", datasets), ("model", serde_json::to_string(&self.shape)?)];
        weights::save::write(&run.join(CODEBOOK_FILE), &tensors, &notes)
    }

    fn gauges(&self, error: f64, counts: &[u64]) -> Result<Numbers> {
        let gauge = usage(counts);
        let (warn, stop) = (self.config.warn_usage, self.config.stop_usage);
        if gauge.fraction < warn {
            tracing::warn!(
                "only {:.1} % of the codes are used (warn_usage {:.1} %): the codebook is collapsing; raise entropy_weight or lower codes",
                gauge.fraction * 100.0,
                warn * 100.0
            );
        }
        if gauge.fraction < stop {
            bail!(
                "code usage fell to {:.4}, under stop_usage = {stop}; raise entropy_weight, or lower codes or learning_rate",
                gauge.fraction
            );
        }
        let codebook = self.handed_over();
        let norms: f64 = codebook
            .chunks_exact(self.config.code_dim)
            .map(|code| code.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt())
            .sum();
        Ok(vec![
            ("heldout_l1".to_owned(), error),
            ("usage/fraction".to_owned(), gauge.fraction),
            ("usage/perplexity".to_owned(), gauge.perplexity),
            ("usage/top_share".to_owned(), gauge.top_share),
            (
                "usage/dead_codes".to_owned(),
                counts.iter().filter(|count| **count == 0).count() as f64,
            ),
            ("codebook/mean_norm".to_owned(), norms / self.config.codes as f64),
        ])
    }
}
