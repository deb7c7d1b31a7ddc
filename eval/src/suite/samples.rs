//! Sample images of the report: which, with which answer, and their thumbnails.

use std::collections::BTreeSet;
use std::path::Path;

use dataset::image_input::decode_rgb8;

use super::config::{DatasetConfig, ModelConfig, Suite};
use super::gather::Work;
use super::results::{Sample, SuiteReport};
use super::sources::{ImageSet, read_images};
use crate::protocol::{FoldOutcome, Inputs};
use crate::truth::joined;

/// Sample images per class in the report.
const SAMPLES_PER_CLASS: usize = 2;
/// Longer side of a thumbnail, pixels.
const THUMBNAIL_PIXELS: u32 = 160;

/// Notes the first images of each class with the model's answer.
pub(super) fn remember_samples(
    config: &DatasetConfig,
    model: &ModelConfig,
    paths: &[String],
    inputs: &Inputs<'_>,
    fold: &FoldOutcome,
    report: &mut SuiteReport,
) {
    let mut order: Vec<usize> = (0..fold.test.len()).collect();
    order.sort_by(|&a, &b| dataset::fs::natural_cmp(&paths[fold.test[a]], &paths[fold.test[b]]));
    let mut chosen = BTreeSet::new();
    for class in 0..inputs.classes.len() {
        let own = order.iter().filter(|&&i| inputs.truth.has(fold.test[i], class));
        for &i in own.take(SAMPLES_PER_CLASS) {
            // an image of several classes is shown once
            if !chosen.insert(i) {
                continue;
            }
            let mut ranking: Vec<(String, f64)> = inputs
                .classes
                .iter()
                .cloned()
                .zip(fold.probabilities[i].iter().copied())
                .collect();
            ranking.sort_by(|a, b| b.1.total_cmp(&a.1));
            let image = paths[fold.test[i]].clone();
            let own = inputs.truth.classes(fold.test[i]);
            report.samples.push(Sample {
                dataset: config.name.clone(),
                model: model.name.clone(),
                image,
                truth: joined(inputs.classes, &own),
                right: ranking
                    .first()
                    .is_some_and(|r| own.iter().any(|&c| inputs.classes[c] == r.0)),
                ranking,
                thumbnail: String::new(),
            });
        }
    }
}

/// Makes the thumbnails that are not there yet and drops samples whose picture cannot be had.
pub(super) fn add_samples(
    suite: &Suite,
    sets: &[anyhow::Result<ImageSet>],
    out: &Path,
    report: &mut SuiteReport,
    work: &mut Work,
) -> anyhow::Result<()> {
    for (config, set) in suite.datasets.iter().zip(sets) {
        let Ok(set) = set else { continue };
        let mut wanted = BTreeSet::new();
        for sample in report.samples.iter_mut().filter(|s| s.dataset == config.name) {
            let Some(image) = set.images.iter().find(|i| i.name == sample.image) else {
                continue;
            };
            sample.thumbnail = format!("features/thumbnails/{}.jpg", image.sha256);
            if !out.join(&sample.thumbnail).exists() {
                wanted.insert(image.sha256.clone());
            }
        }
        if wanted.is_empty() {
            continue;
        }
        std::fs::create_dir_all(out.join("features/thumbnails"))?;
        read_images(config, set, &wanted, |image, bytes| {
            work.images_read += 1;
            let picture = decode_rgb8(&bytes, &image.name)?.rgb;
            let small = image::DynamicImage::ImageRgb8(picture).thumbnail(THUMBNAIL_PIXELS, THUMBNAIL_PIXELS);
            let mut jpeg = std::io::Cursor::new(Vec::new());
            small.write_to(&mut jpeg, image::ImageFormat::Jpeg)?;
            dataset::fs::write_atomic(
                &out.join(format!("features/thumbnails/{}.jpg", image.sha256)),
                jpeg.get_ref(),
            )?;
            Ok(())
        })?;
    }
    report.samples.retain(|s| !s.thumbnail.is_empty());
    Ok(())
}
