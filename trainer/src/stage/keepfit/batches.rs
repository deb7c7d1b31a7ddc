//! Host-side batches of a joint step: images, tokens and category numbers, made in worker threads.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use burn::tensor::Device;
use rand::RngExt;

use crate::data::images::ImageStore;
use crate::data::labels::LabelledImage;
use crate::data::pairs::Pair;
use crate::data::sampler::{Draw, EpochSampler, draw_with_replacement};
use crate::data::seeds::{Purpose, generator};
use crate::image::augment::{Augmentation, augment};
use crate::model::keepfit::{ImageTextBatch, KeepFitBatch};
use crate::model::walk::{from_vec, ints};
use crate::text::definitions::{Definitions, normal_form};
use crate::text::prompt::{LabelStyle, training_caption};
use crate::text::wordpiece::WordPieceTokenizer;

/// Images and tokens of one half of a step, on the host.
#[derive(Clone, Debug)]
pub struct HostHalf {
    /// `[batch, 3, side, side]` row-major, values in [0, 1].
    pub images: Vec<f32>,
    /// Token ids, one row an image, padded to the longest.
    pub ids: Vec<i64>,
    /// 1 for tokens, 0 for padding.
    pub mask: Vec<i64>,
    /// Rows.
    pub rows: usize,
}

/// One step's input, on the host.
#[derive(Clone, Debug)]
pub struct HostBatch {
    /// Public half.
    pub public: HostHalf,
    /// Sampled category of each public row.
    pub categories: Vec<i64>,
    /// MM-Retinal half, unless it is switched off.
    pub pairs: Option<HostHalf>,
}

/// Everything that batches are made from.
pub struct TrainingData {
    /// Prepared images.
    pub store: ImageStore,
    /// Public images.
    pub public: Vec<LabelledImage>,
    /// Numbers of the categories by normal form.
    pub numbers: BTreeMap<String, i64>,
    /// MM-Retinal pairs; empty when switched off.
    pub pairs: Vec<Pair>,
    /// Tokeniser.
    pub tokenizer: WordPieceTokenizer,
    /// Definitions of categories.
    pub definitions: Definitions,
    /// Caption template.
    pub template: String,
    /// How labels become text.
    pub style: LabelStyle,
    /// Longest caption in tokens.
    pub max_tokens: usize,
    /// Rows of each half.
    pub batch: usize,
    /// Augment the public images.
    pub augment: bool,
    /// Seed of everything random.
    pub seed: u64,
    /// Order of the public images.
    pub sampler: Mutex<EpochSampler>,
}

impl TrainingData {
    /// The batch of `step`, the same whenever and wherever it is made.
    ///
    /// # Errors
    /// An image cannot be read back, or a caption cannot be tokenised.
    pub fn batch(&self, step: u64) -> Result<HostBatch> {
        let draws = self.sampler.lock().unwrap_or_else(PoisonError::into_inner).draw(step);
        let (mut images, mut captions, mut categories) = (Vec::new(), Vec::new(), Vec::new());
        for draw in draws {
            let (planes, caption, category) = self.public_sample(draw)?;
            images.extend(planes);
            captions.push(caption);
            categories.push(category);
        }
        let pairs = if self.pairs.is_empty() {
            None
        } else {
            let rows = draw_with_replacement(self.pairs.len(), self.batch, self.seed, step);
            let mut images = Vec::new();
            for row in &rows {
                images.extend(self.store.planes(self.pairs[*row].image)?);
            }
            let captions: Vec<&str> = rows.iter().map(|row| self.pairs[*row].caption.as_str()).collect();
            Some(self.half(images, &captions)?)
        };
        let captions: Vec<&str> = captions.iter().map(String::as_str).collect();
        Ok(HostBatch {
            public: self.half(images, &captions)?,
            categories,
            pairs,
        })
    }

    fn public_sample(&self, draw: Draw) -> Result<(Vec<f32>, String, i64)> {
        let row = &self.public[draw.index];
        let mut planes = self.store.planes(row.image)?;
        if self.augment {
            let mut rng = generator(self.seed, Purpose::Augment, draw.position);
            augment(&mut planes, self.store.side(), &Augmentation::default(), &mut rng);
        }
        let mut rng = generator(self.seed, Purpose::Caption, draw.position);
        let category = &row.categories[rng.random_range(0..row.categories.len())];
        let attribute = match row.attributes.len() {
            0 => None,
            count => Some(row.attributes[rng.random_range(0..count)].as_str()),
        };
        let caption = training_caption(
            &self.template,
            category,
            attribute,
            &self.definitions,
            self.style,
            &mut rng,
        );
        let number = self.numbers.get(&normal_form(category)).copied().unwrap_or(-1);
        Ok((planes, caption, number))
    }

    fn half(&self, images: Vec<f32>, captions: &[&str]) -> Result<HostHalf> {
        let (ids, mask) = tokenize(&self.tokenizer, captions, self.max_tokens)?;
        Ok(HostHalf {
            images,
            ids,
            mask,
            rows: captions.len(),
        })
    }
}

/// Token ids and mask of `texts`, row-major, right-padded to the longest.
///
/// # Errors
/// A text cannot be tokenised.
pub fn tokenize(tokenizer: &WordPieceTokenizer, texts: &[&str], max_tokens: usize) -> Result<(Vec<i64>, Vec<i64>)> {
    let rows: Vec<Vec<u32>> = texts
        .iter()
        .map(|text| tokenizer.encode(text, max_tokens))
        .collect::<Result<_>>()?;
    let longest = rows.iter().map(Vec::len).max().unwrap_or(0);
    let pad = i64::from(tokenizer.special().pad);
    let (mut ids, mut mask) = (
        Vec::with_capacity(rows.len() * longest),
        Vec::with_capacity(rows.len() * longest),
    );
    for row in rows {
        let padding = longest - row.len();
        mask.extend(std::iter::repeat_n(1, row.len()).chain(std::iter::repeat_n(0, padding)));
        ids.extend(row.into_iter().map(i64::from).chain(std::iter::repeat_n(pad, padding)));
    }
    Ok((ids, mask))
}

impl HostHalf {
    /// Pieces of at most `rows` rows, in order; their texts keep the padding of the whole half.
    pub fn chunks(&self, rows: usize) -> Vec<HostHalf> {
        let rows = rows.max(1);
        let (pixels, tokens) = (self.images.len() / self.rows.max(1), self.ids.len() / self.rows.max(1));
        (0..self.rows)
            .step_by(rows)
            .map(|first| {
                let last = (first + rows).min(self.rows);
                HostHalf {
                    images: self.images[first * pixels..last * pixels].to_vec(),
                    ids: self.ids[first * tokens..last * tokens].to_vec(),
                    mask: self.mask[first * tokens..last * tokens].to_vec(),
                    rows: last - first,
                }
            })
            .collect()
    }

    /// Tokens without padding.
    pub fn tokens(&self) -> u64 {
        self.mask.iter().sum::<i64>().max(0) as u64
    }

    /// Moves the half to `device`; `side` is the images' side.
    pub fn to_device(self, side: usize, device: &Device) -> ImageTextBatch {
        let (rows, tokens) = (self.rows, self.ids.len() / self.rows.max(1));
        ImageTextBatch {
            images: from_vec(self.images, [rows, 3, side, side], device),
            ids: ints(self.ids, [rows, tokens], device),
            mask: ints(self.mask, [rows, tokens], device),
        }
    }
}

impl HostBatch {
    /// Moves the batch to `device`; `side` is the images' side.
    pub fn to_device(self, side: usize, device: &Device) -> KeepFitBatch {
        KeepFitBatch {
            public: self.public.to_device(side, device),
            categories: self.categories,
            knowledge: self.pairs.map(|half| half.to_device(side, device)),
        }
    }
}
