//! Times one training or embedding step on random weights, sizes as users have them.
//!
//! The cases mirror the reference's `torch_speed.py`, so the two can be run side by side.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use burn::tensor::{Device, Tensor};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use rayon::prelude::*;

use crate::{
    image::prepare::prepare,
    loss::{ibq, mlm},
    model::{
        autoencoder::{Autoencoder, AutoencoderConfig},
        bert::TextConfig,
        dropout::Dropout,
        keepfit::{AppearanceConfig, ImageTextBatch, KeepFitBatch, KeepFitConfig, KeepFitModel},
        layers::{BatchStats, Init},
        mlm_head::{IGNORE_LABEL, MaskedBatch, MaskedLm},
        resnet::{BatchNormConfig, VisionConfig},
        towers::VisionTower,
        walk::{from_vec, ints},
    },
    optim::{AdamW, AdamWConfig, NamedGradients},
};

/// First token id that is a word in BERT's vocabularies, and the mask token's id here.
const FIRST_WORD: u32 = 5;
const MASK_TOKEN: i64 = 4;

/// Time of one repetition.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Seconds on the clock.
    pub wall: f64,
    /// Processor seconds of all threads, where the system tells; steadier on a busy machine.
    pub processor: Option<f64>,
}

/// One step, repeated; returns the time of each repetition after `warmup` unmeasured ones.
///
/// # Errors
/// What the step fails with.
pub fn timed(steps: usize, warmup: usize, mut step: impl FnMut() -> Result<()>) -> Result<Vec<Timing>> {
    for _ in 0..warmup {
        step()?;
    }
    let mut timings = Vec::with_capacity(steps);
    for _ in 0..steps {
        let (start, processor) = (Instant::now(), processor_seconds());
        step()?;
        let processor = processor_seconds().zip(processor).map(|(end, start)| end - start);
        timings.push(Timing {
            wall: start.elapsed().as_secs_f64(),
            processor,
        });
    }
    Ok(timings)
}

/// Processor time of this process so far, from Linux's process table.
fn processor_seconds() -> Option<f64> {
    // Clock ticks of /proc are 1/100 s on every Linux we know of.
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The command name may hold spaces; fields are counted after its closing bracket.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let (user, system): (f64, f64) = (fields.get(11)?.parse().ok()?, fields.get(12)?.parse().ok()?);
    Some((user + system) / TICKS_PER_SECOND)
}

/// Peak resident memory of this process in MiB, where the system tells.
pub fn peak_memory_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? / 1024)
}

/// Memory that a new program could take on this machine in MiB, where the system tells.
pub fn free_memory_mib() -> Option<u64> {
    let memory = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = memory.lines().find(|line| line.starts_with("MemAvailable:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? / 1024)
}

/// Row lengths like captions': quantiles of a log-normal with median 30 tokens, 6 to `longest`, mixed.
pub fn caption_lengths(rows: usize, longest: usize) -> Vec<usize> {
    const MEDIAN: f64 = 30.0;
    const SPREAD: f64 = 0.65;
    let length = |i: usize| {
        let z = normal_quantile((i as f64 + 0.5) / rows as f64);
        ((MEDIAN * (SPREAD * z).exp()).round() as usize).max(6).min(longest)
    };
    let stride = if rows.is_multiple_of(5) { 1 } else { 5 };
    (0..rows).map(|i| length((i * stride) % rows)).collect()
}

/// Standard normal quantile by bisection of the error function's series; p in (0, 1).
fn normal_quantile(p: f64) -> f64 {
    let cdf = |x: f64| {
        // Phi(x) = 1/2 + phi(x)(x + x^3/3 + x^5/15 + ...), convergent everywhere.
        let (mut term, mut sum, mut n) = (x, x, 1.0);
        while f64::abs(term) > 1e-16 && n < 400.0 {
            n += 2.0;
            term *= x * x / n;
            sum += term;
        }
        0.5 + sum * (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt()
    };
    let (mut low, mut high) = (-8.0, 8.0);
    for _ in 0..80 {
        let middle = (low + high) / 2.0;
        if cdf(middle) < p { low = middle } else { high = middle }
    }
    (low + high) / 2.0
}

/// Masked language modelling with BERT-base; `lengths`: real tokens of each row.
pub fn mlm(
    device: &Device,
    layers: usize,
    lengths: &[usize],
    checkpointing: bool,
    steps: usize,
    warmup: usize,
) -> Result<Vec<Timing>> {
    let config = TextConfig {
        num_hidden_layers: layers,
        ..TextConfig::bert_base()
    };
    let mut model = MaskedLm::init(&config, &mut Init::new(0, &crate::device::training(device)));
    model.bert.set_checkpointing(checkpointing);
    let mut optimizer = AdamW::new(AdamWConfig {
        betas: [0.9, 0.999],
        eps: 1e-8,
        weight_decay: 0.01,
    });
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let longest = lengths.iter().copied().max().unwrap_or(1);
    let shape = [lengths.len(), longest];
    let count = shape[0] * shape[1];
    let (mut ids, mut mask, mut labels) = (vec![0; count], vec![0; count], vec![IGNORE_LABEL; count]);
    for (row, &length) in lengths.iter().enumerate() {
        for at in row * longest..row * longest + length {
            let word = i64::from(FIRST_WORD + rng.next_u32() % (config.vocab_size as u32 - FIRST_WORD));
            let chosen = rng.next_u32() % 100 < 15 || at % longest == 1;
            (ids[at], mask[at]) = (if chosen { MASK_TOKEN } else { word }, 1);
            if chosen {
                labels[at] = word;
            }
        }
    }
    let batch = MaskedBatch {
        shape,
        ids,
        mask,
        labels,
    };
    timed(steps, warmup, || {
        let Some(predictions) = model.forward(&batch, &mut Dropout::off()) else {
            return Ok(());
        };
        let loss = mlm::loss(predictions.logits, predictions.labels);
        let mut gradients = NamedGradients::collect(&mut model, loss.backward());
        gradients.clip(1.0);
        optimizer.step(&mut model, gradients, 5e-5);
        Ok(())
    })
}

/// Sizes of a joint step.
#[derive(Clone, Copy, Debug)]
pub struct JointSizes {
    /// Image side in pixels.
    pub image: usize,
    /// Public rows.
    pub public: usize,
    /// MM-Retinal rows.
    pub pairs: usize,
    /// Tokens a row.
    pub tokens: usize,
    /// BERT layers.
    pub layers: usize,
    /// Codebook rows.
    pub codes: usize,
    /// Codebook width.
    pub code_dim: usize,
    /// Layers are computed again in the backward pass.
    pub checkpointing: bool,
}

/// The joint training step, ResNet50 and BERT-base.
pub fn keepfit(device: &Device, sizes: JointSizes, steps: usize, warmup: usize) -> Result<Vec<Timing>> {
    let mut config: KeepFitConfig = serde_json::from_value(serde_json::json!({
        "vision": VisionConfig::resnet50(),
        "text": TextConfig { num_hidden_layers: sizes.layers, ..TextConfig::bert_base() },
        "proj_dim": 512,
    }))?;
    config.appearance = Some(AppearanceConfig {
        codes: sizes.codes,
        code_dim: sizes.code_dim,
        tau: None,
        conv_kernel: 1,
        learn_tau: false,
        tied: false,
        summary: Default::default(),
        positions: 0,
    });
    let mut model = KeepFitModel::init(&config, 0, &crate::device::training(device))?;
    model.set_checkpointing(sizes.checkpointing);
    let mut optimizer = AdamW::new(AdamWConfig {
        betas: [0.9, 0.999],
        eps: 1e-8,
        weight_decay: 1e-5,
    });
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut side = |rows: usize| {
        let ids = (0..rows * sizes.tokens)
            .map(|_| i64::from(FIRST_WORD + rng.next_u32() % 28_000))
            .collect();
        let images = random_images(&mut rng, [rows, 3, sizes.image, sizes.image], device);
        (
            images,
            ints(ids, [rows, sizes.tokens], device),
            ints(vec![1; rows * sizes.tokens], [rows, sizes.tokens], device),
        )
    };
    let (public, pairs) = (side(sizes.public), side(sizes.pairs));
    timed(steps, warmup, || {
        let batch = |side: &(Tensor<4>, _, _)| {
            let (images, ids, mask): &(Tensor<4>, Tensor<2, burn::tensor::Int>, Tensor<2, burn::tensor::Int>) = side;
            ImageTextBatch {
                images: images.clone(),
                ids: ids.clone(),
                mask: mask.clone(),
            }
        };
        let categories = (0..sizes.public as i64).map(|i| i / 2).collect();
        let input = KeepFitBatch {
            public: batch(&public),
            categories,
            knowledge: Some(batch(&pairs)),
        };
        model.clamp_logit_scale();
        let mut result = model.forward_step(input, &mut Dropout::off());
        let moments = std::mem::take(&mut result.moments);
        let total = result.total.clone();
        drop(result);
        let mut gradients = NamedGradients::collect(&mut model, total.backward());
        gradients.clip(1.0);
        optimizer.step(&mut model, gradients, 1e-4);
        model.update_statistics(moments);
        Ok(())
    })
}

/// Image embedding with ResNet50, evaluation mode.
pub fn embed(device: &Device, image: usize, batch: usize, steps: usize, warmup: usize) -> Result<Vec<Timing>> {
    let mut init = Init::new(0, device);
    let tower = VisionTower::init(&VisionConfig::resnet50(), &BatchNormConfig::default(), 512, &mut init);
    let images = random_images(&mut ChaCha8Rng::seed_from_u64(0), [batch, 3, image, image], device);
    timed(steps, warmup, || {
        let (_, encoded) = tower.forward(images.clone(), &mut BatchStats::Running);
        // Reading back waits for devices that compute in the background.
        encoded.projected.try_into_data()?;
        Ok(())
    })
}

/// The same from files: a step reads, decodes, fits and embeds `batch` of `files`, in turn.
///
/// # Errors
/// A file cannot be read or decoded.
pub fn embed_files(
    device: &Device,
    files: &[PathBuf],
    image: usize,
    batch: usize,
    steps: usize,
    warmup: usize,
) -> Result<Vec<Timing>> {
    let mut init = Init::new(0, device);
    let tower = VisionTower::init(&VisionConfig::resnet50(), &BatchNormConfig::default(), 512, &mut init);
    let mut next = files.iter().cycle();
    let plane = 3 * image * image;
    timed(steps, warmup, || {
        let names: Vec<&PathBuf> = next.by_ref().take(batch).collect();
        let mut planes = vec![0.0; names.len() * plane];
        planes
            .par_chunks_mut(plane)
            .zip(&names)
            .try_for_each(|(planes, name)| {
                let bytes = std::fs::read(name).with_context(|| name.display().to_string())?;
                let decoded = dataset::image_input::decode_rgb8(&bytes, &name.to_string_lossy())?;
                prepare(&decoded.rgb, image)?.write_planes(image, planes);
                anyhow::Ok(())
            })?;
        let images = from_vec(planes, [names.len(), 3, image, image], device);
        let (_, encoded) = tower.forward(images, &mut BatchStats::Running);
        encoded.projected.try_into_data()?;
        Ok(())
    })
}

/// Draws `count` JPEG files of 1600 × 1200 pixels like photographs of an eye's fundus into `folder`.
///
/// # Errors
/// The folder cannot be written.
pub fn draw_files(folder: &Path, count: usize) -> Result<()> {
    const SIZE: (u32, u32) = (1600, 1200);
    for number in 0..count {
        let mut rng = ChaCha8Rng::seed_from_u64(number as u64);
        let picture = image::RgbImage::from_fn(SIZE.0, SIZE.1, |x, y| {
            let (dx, dy) = (f64::from(x) - 800.0, f64::from(y) - 600.0);
            if dx.hypot(dy) > 580.0 {
                return image::Rgb([0; 3]);
            }
            let vessel = ((dx * 0.013 + (dy * 0.02).sin() * 2.0 + number as f64).sin() * 40.0).abs();
            let noise = f64::from(rng.next_u32() % 12);
            image::Rgb(
                [200.0 - vessel + noise, 90.0 - vessel * 0.8 + noise, 40.0 + noise].map(|v| v.clamp(0.0, 255.0) as u8),
            )
        });
        let mut bytes = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut bytes, image::ImageFormat::Jpeg)?;
        dataset::fs::write_atomic(&folder.join(format!("{number:03}.jpg")), &bytes.into_inner())?;
    }
    Ok(())
}

/// A training step of the image tokeniser.
pub fn tokenizer(
    device: &Device,
    config: &AutoencoderConfig,
    image: usize,
    batch: usize,
    steps: usize,
    warmup: usize,
) -> Result<Vec<Timing>> {
    let mut model = Autoencoder::init(config, &mut Init::new(0, &crate::device::training(device)))?;
    let mut optimizer = AdamW::new(AdamWConfig {
        betas: [0.5, 0.9],
        eps: 1e-8,
        weight_decay: 0.0,
    });
    let images = random_images(&mut ChaCha8Rng::seed_from_u64(0), [batch, 3, image, image], device) * 2.0 - 1.0;
    timed(steps, warmup, || {
        let result = model.forward(images.clone());
        let quant = ibq::quantisation(&result.tokens, &result.quantized, 0.25).total;
        let (sample, average) = model.quantizer.entropies(result.tokens.clone(), 0.01, 1e-5);
        let entropy = sample - average;
        let loss = (result.images - images.clone()).abs().mean() + quant + entropy * 0.05;
        let gradients = NamedGradients::collect(&mut model, loss.backward());
        optimizer.step(&mut model, gradients, 1e-4);
        Ok(())
    })
}

fn random_images(rng: &mut ChaCha8Rng, shape: [usize; 4], device: &Device) -> Tensor<4> {
    let values = (0..shape.iter().product())
        .map(|_| (rng.next_u32() >> 8) as f32 / (1u32 << 24) as f32)
        .collect();
    from_vec(values, shape, device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_and_lengths() {
        for (p, z) in [(0.5, 0.0), (0.975, 1.959_964), (0.0005, -3.290_527)] {
            assert!((normal_quantile(p) - z).abs() < 1e-5, "{p}");
        }
        let lengths = caption_lengths(8, 128);
        assert_eq!(lengths.len(), 8);
        assert!(lengths.iter().all(|l| (6..=128).contains(l)));
        assert_eq!(caption_lengths(1, 20), [20]);
    }
}
