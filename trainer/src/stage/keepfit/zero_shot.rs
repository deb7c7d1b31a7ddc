//! Zero-shot classification of held-out training photographs while the model trains.

use std::collections::BTreeMap;

use anyhow::Result;
use burn::tensor::Device;

use super::batches::{TrainingData, tokenize};
use crate::data::labels::LabelledImage;
use crate::model::keepfit::KeepFitModel;
use crate::model::walk::{from_vec, ints, to_vec};
use crate::stage::Numbers;
use crate::text::definitions::normal_form;
use crate::text::prompt::class_descriptions;

/// Images embedded at a time.
const TOGETHER: usize = 16;

/// Accuracy and balanced accuracy of `held` over the training categories; a prediction is right
/// when it is one of the image's categories. Class vectors are the mean of the normalised
/// embeddings of the class's descriptions, each text embedded alone.
///
/// # Errors
/// An image cannot be read back.
pub fn evaluate(model: &KeepFitModel, data: &TrainingData, held: &[LabelledImage], device: &Device) -> Result<Numbers> {
    if held.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<&String> = data.numbers.keys().collect();
    let mut classes = Vec::with_capacity(names.len());
    for name in &names {
        classes.push(class_vector(model, data, name, device)?);
    }
    let side = data.store.side();
    let mut hits = 0;
    let mut by_class: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for chunk in held.chunks(TOGETHER) {
        let mut planes = Vec::new();
        for row in chunk {
            planes.extend(data.store.planes(row.image)?);
        }
        let embedded = model.encode_images(from_vec(planes, [chunk.len(), 3, side, side], device));
        let width = embedded.projected.dims()[1];
        for (row, vector) in chunk.iter().zip(to_vec(&embedded.projected).chunks_exact(width)) {
            let own: Vec<String> = row.categories.iter().map(|category| normal_form(category)).collect();
            let hit = best(vector, &classes).is_some_and(|class| own.contains(names[class]));
            hits += u64::from(hit);
            let tally = by_class.entry(own[0].clone()).or_default();
            tally.0 += u64::from(hit);
            tally.1 += 1;
        }
    }
    let recalls: f64 = by_class
        .values()
        .map(|(hits, count)| *hits as f64 / *count as f64)
        .sum();
    Ok(vec![
        ("zero_shot_accuracy".to_owned(), hits as f64 / held.len() as f64),
        (
            "zero_shot_balanced_accuracy".to_owned(),
            recalls / by_class.len() as f64,
        ),
        ("zero_shot_images".to_owned(), held.len() as f64),
        ("zero_shot_classes".to_owned(), names.len() as f64),
    ])
}

fn class_vector(model: &KeepFitModel, data: &TrainingData, name: &str, device: &Device) -> Result<Vec<f32>> {
    let texts = class_descriptions(&data.template, name, &data.definitions, data.style);
    let mut sum: Vec<f32> = Vec::new();
    for text in &texts {
        let (ids, mask) = tokenize(&data.tokenizer, &[text], data.max_tokens)?;
        let tokens = ids.len();
        let embedded = model.encode_texts(ints(ids, [1, tokens], device), ints(mask, [1, tokens], device));
        let vector = to_vec(&embedded.projected);
        sum.resize(vector.len(), 0.0);
        sum.iter_mut().zip(vector).for_each(|(sum, value)| *sum += value);
    }
    sum.iter_mut().for_each(|value| *value /= texts.len() as f32);
    Ok(sum)
}

/// The class with the largest dot product; the first of equals.
fn best(vector: &[f32], classes: &[Vec<f32>]) -> Option<usize> {
    let score = |class: &Vec<f32>| class.iter().zip(vector).map(|(a, b)| a * b).sum::<f32>();
    let mut best: Option<(usize, f32)> = None;
    for (number, class) in classes.iter().enumerate() {
        let score = score(class);
        if best.is_none_or(|(_, highest)| score > highest) {
            best = Some((number, score));
        }
    }
    best.map(|(number, _)| number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_class_wins_and_ties_go_to_the_first() {
        let classes = [vec![1.0, 0.0], vec![0.0, 1.0], vec![0.0, 1.0]];
        assert_eq!(best(&[0.9, 0.1], &classes), Some(0));
        assert_eq!(best(&[0.1, 0.9], &classes), Some(1));
        assert_eq!(best(&[0.1, 0.9], &[]), None);
    }
}
