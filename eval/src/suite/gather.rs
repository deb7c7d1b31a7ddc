//! The vectors of one model for one data set: from the cache, from the model, or from feature files.

use std::collections::BTreeSet;

use dataset::image_input::decode_rgb8;
use dataset::progress::bar;

use super::cache::FeatureCache;
use super::config::{DatasetConfig, Several};
use super::model::{FeatureSource, class_vector};
use super::sources::{ImageSet, Rejected, SetImage, read_images};
use crate::features::{
    VectorColumn, Vectors, check_same_width, class_indices, read_images as read_feature_file, read_texts,
};
use crate::vectors::Rows;

/// Images embedded at a time.
const BATCH: usize = 16;
/// How much work a run needed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    /// Image files or rows whose bytes were read.
    pub images_read: u64,
    /// Images that went through a model.
    pub images_embedded: u64,
}

/// Vectors of one model for the images of one data set; rows follow `images`.
pub(super) struct Table {
    /// Images with vectors.
    pub(super) images: Vec<SetImage>,
    /// Raw features.
    pub(super) features: Option<Vectors>,
    /// Projected vectors.
    pub(super) projected: Option<Vectors>,
    /// Class texts.
    pub(super) texts: Option<Rows>,
    /// Why `projected` or `features` is missing, when a method asks for it.
    pub(super) missing: String,
}

/// Vectors of a set from the cache; what is missing there is computed first. Images that fail are left out and named.
pub(super) fn embed_set(
    config: &DatasetConfig,
    set: &ImageSet,
    source: &dyn FeatureSource,
    cache: &mut FeatureCache,
    work: &mut Work,
    rejected: &mut Vec<Rejected>,
) -> anyhow::Result<Table> {
    let missing: BTreeSet<String> = set
        .images
        .iter()
        .filter(|i| cache.get(&i.sha256).is_none())
        .map(|i| i.sha256.clone())
        .collect();
    if !missing.is_empty() {
        let progress = bar(Some(missing.len() as u64), "images embedded");
        progress.message(config.name.clone());
        let mut batch: Vec<(String, image::RgbImage)> = Vec::new();
        let mut bad: Vec<Rejected> = Vec::new();
        let mut flush = |batch: &mut Vec<(String, image::RgbImage)>, work: &mut Work| -> anyhow::Result<()> {
            let (keys, images): (Vec<String>, Vec<image::RgbImage>) = std::mem::take(batch).into_iter().unzip();
            let vectors = source.embed_images(&images)?;
            progress.inc(keys.len() as u64);
            work.images_embedded += keys.len() as u64;
            keys.into_iter().zip(vectors).for_each(|(key, v)| cache.insert(key, v));
            Ok(())
        };
        read_images(config, set, &missing, |image, bytes| {
            work.images_read += 1;
            match decode_rgb8(&bytes, &image.name) {
                Ok(decoded) => batch.push((image.sha256.clone(), decoded.rgb)),
                Err(error) => bad.push(Rejected {
                    image: image.name.clone(),
                    reason: error.to_string(),
                }),
            }
            if batch.len() == BATCH {
                flush(&mut batch, work)
            } else {
                Ok(())
            }
        })?;
        if !batch.is_empty() {
            flush(&mut batch, work)?;
        }
        progress.finish();
        for entry in bad
            .into_iter()
            .filter(|b| !rejected.iter().any(|r| r.image == b.image))
            .collect::<Vec<_>>()
        {
            rejected.push(entry);
        }
    }
    let mut table = Table {
        images: Vec::new(),
        features: Some(Vectors::default()),
        projected: Some(Vectors::default()),
        texts: None,
        missing: String::new(),
    };
    for image in &set.images {
        let Some(vectors) = cache.get(&image.sha256) else {
            continue;
        };
        for (to, from, what) in [
            (&mut table.features, &vectors.features, "features"),
            (&mut table.projected, &vectors.projected, "projected"),
        ] {
            let Some(to) = to else { continue };
            append(to, from).map_err(|problem| anyhow::anyhow!("{}: {what} {problem}", image.name))?;
        }
        table.images.push(image.clone());
    }
    for (class, with) in config.classes.iter().enumerate() {
        if !table.images.iter().any(|i| i.classes.contains(&class) && i.in_split) {
            anyhow::bail!(
                "class '{}': none of its images can be used; the reasons are listed with the data set",
                with.name
            );
        }
    }
    let mut texts = Vectors::default();
    for class in &config.classes {
        append(&mut texts, &class_vector(source, &config.prompts(class))?)
            .map_err(|p| anyhow::anyhow!("class '{}': text vector {p}", class.name))?;
    }
    table.texts = Some(texts.to_rows());
    Ok(table)
}

/// Adds one vector; all must be finite and of one length.
fn append(to: &mut Vectors, from: &[f32]) -> Result<(), String> {
    if to.width == 0 {
        to.width = from.len();
    }
    if from.is_empty() || from.len() != to.width {
        return Err(format!("has {} numbers, the first has {}", from.len(), to.width));
    }
    if let Some(at) = from.iter().position(|v| !v.is_finite()) {
        return Err(format!(
            "holds {} at position {at}; were the weights trained to the end?",
            from[at]
        ));
    }
    to.values.extend_from_slice(from);
    Ok(())
}

/// A table from the feature files of any other model. Labels count the classes of the suite from 0.
pub(super) fn read_table(config: &DatasetConfig, files: &super::config::FeatureFiles) -> anyhow::Result<Table> {
    let projected = files
        .texts
        .as_ref()
        .map(|_| read_feature_file(&files.images, VectorColumn::Projected))
        .transpose();
    let features = read_feature_file(&files.images, VectorColumn::Features);
    let missing = [projected.as_ref().err(), features.as_ref().err()]
        .into_iter()
        .flatten()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ");
    let projected = projected.ok().flatten();
    let features = features.ok();
    let Some(any) = projected.as_ref().or(features.as_ref()) else {
        anyhow::bail!("{missing}")
    };
    let labels = match &files.texts {
        Some(file) => {
            let texts = read_texts(file)?;
            let names: Vec<&str> = config.classes.iter().map(|c| c.name.as_str()).collect();
            if texts.classes.len() != names.len()
                || !texts.classes.iter().zip(&names).all(|(a, b)| a.eq_ignore_ascii_case(b))
            {
                anyhow::bail!(
                    "{}: classes by label are {:?}, the suite has {names:?}",
                    file.display(),
                    texts.classes
                );
            }
            if projected.is_some() {
                check_same_width(any, &texts, file)?;
            }
            (class_indices(any, &texts, file)?, Some(texts.vectors.to_rows()))
        }
        None => {
            let index = |row: usize, label: i64| {
                let class = usize::try_from(label).ok().filter(|&c| c < config.classes.len());
                class.ok_or_else(|| {
                    anyhow::anyhow!(
                        "{}: row {row} has label {label}, the suite has classes 0 to {}",
                        files.images.display(),
                        config.classes.len() - 1
                    )
                })
            };
            let of_row = |(row, labels): (usize, &Vec<i64>)| {
                labels
                    .iter()
                    .map(|&label| index(row, label))
                    .collect::<anyhow::Result<Vec<usize>>>()
            };
            (
                any.labels
                    .iter()
                    .enumerate()
                    .map(of_row)
                    .collect::<anyhow::Result<_>>()?,
                None,
            )
        }
    };
    if any.several != (config.several == Several::MultiLabel) {
        anyhow::bail!(
            "{}: column 'label' holds {}, but the data set says several = \"{}\"; lists of labels go with several = \"multi-label\"",
            files.images.display(),
            if any.several { "lists" } else { "one label an image" },
            config.several.name()
        );
    }
    let image = |(name, classes): (&String, &Vec<usize>)| SetImage {
        name: name.clone(),
        classes: classes.clone(),
        sha256: String::new(),
        in_split: true,
    };
    Ok(Table {
        images: any.paths.iter().zip(&labels.0).map(image).collect(),
        texts: labels.1,
        projected: projected.map(|p| p.vectors),
        features: features.map(|f| f.vectors),
        missing: if missing.is_empty() {
            "the model's feature files have no texts".to_string()
        } else {
            missing
        },
    })
}
