//! Feature files drawn by code.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Builder, Int64Array, Int64Builder, ListBuilder, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::tensor::{Dtype, TensorView};

/// Three classes of thirty images in 16 dimensions, raw features in 24.
pub struct FeatureSet {
    pub width: usize,
    pub labels: Vec<i64>,
    pub projected: Vec<Vec<f32>>,
    pub features: Vec<Vec<f32>>,
    pub text_labels: Vec<i64>,
    pub texts: Vec<Vec<f32>>,
}

fn unit(vector: Vec<f32>) -> Vec<f32> {
    let length = vector.iter().map(|v| v * v).sum::<f32>().sqrt();
    vector.into_iter().map(|v| v / length).collect()
}

impl FeatureSet {
    pub fn drawn(seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut vector = |n: usize, size: f32| (0..n).map(|_| random.random_range(-size..size)).collect::<Vec<f32>>();
        let plus = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x + y).collect::<Vec<f32>>();
        let centres: Vec<Vec<f32>> = (0..3).map(|_| vector(16, 1.0)).collect();
        let raw: Vec<Vec<f32>> = (0..3).map(|_| vector(24, 1.0)).collect();
        let labels: Vec<i64> = (0..90).map(|i| i % 3).collect();
        let projected = labels
            .iter()
            .map(|&l| unit(plus(&centres[l as usize], &vector(16, 1.7))))
            .collect();
        let features = labels
            .iter()
            .map(|&l| plus(&raw[l as usize], &vector(24, 1.5)))
            .collect();
        let texts = centres.iter().map(|c| unit(plus(c, &vector(16, 0.3)))).collect();
        Self {
            width: 16,
            labels,
            projected,
            features,
            text_labels: vec![0, 1, 2],
            texts,
        }
    }
}

fn lists(rows: &[Vec<f32>]) -> ArrayRef {
    let mut builder = ListBuilder::new(Float32Builder::new());
    for row in rows {
        builder.values().append_slice(row);
        builder.append(true);
    }
    Arc::new(builder.finish())
}

fn write(path: &Path, columns: Vec<(&str, ArrayRef)>) {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

pub fn write_images(path: &Path, set: &FeatureSet) {
    let names: Vec<String> = (0..set.labels.len()).map(|i| format!("img_{i}.png")).collect();
    write_named_images(path, set, &names);
}

pub fn write_named_images(path: &Path, set: &FeatureSet, names: &[String]) {
    write_labelled(path, set, names, Arc::new(Int64Array::from(set.labels.clone())));
}

/// Images with any number of labels each, stored as lists.
pub fn write_several(path: &Path, set: &FeatureSet, labels: &[Vec<i64>]) {
    let mut builder = ListBuilder::new(Int64Builder::new());
    for own in labels {
        builder.values().append_slice(own);
        builder.append(true);
    }
    let names: Vec<String> = (0..labels.len()).map(|i| format!("img_{i}.png")).collect();
    write_labelled(path, set, &names, Arc::new(builder.finish()));
}

fn write_labelled(path: &Path, set: &FeatureSet, names: &[String], labels: ArrayRef) {
    let names = StringArray::from_iter_values(names);
    write(
        path,
        vec![
            ("path", Arc::new(names)),
            ("label", labels),
            ("features", lists(&set.features)),
            ("projected", lists(&set.projected)),
        ],
    );
}

pub fn write_texts(path: &Path, set: &FeatureSet) {
    let names = StringArray::from_iter_values((0..set.texts.len()).map(|i| format!("class {i}")));
    let labels = Arc::new(Int64Array::from(set.text_labels.clone())) as ArrayRef;
    write(
        path,
        vec![
            ("class", Arc::new(names)),
            ("label", labels),
            ("projected", lists(&set.texts)),
        ],
    );
}

pub fn write_adapter(path: &Path, width: usize, hidden: usize) {
    let bytes: Vec<u8> = (0..width * hidden)
        .flat_map(|i| (((i * 37 % 101) as f32 - 50.0) / 150.0).to_le_bytes())
        .collect();
    let down = TensorView::new(Dtype::F32, vec![hidden, width], &bytes).unwrap();
    let up = TensorView::new(Dtype::F32, vec![width, hidden], &bytes).unwrap();
    let file = safetensors::serialize(
        [("clip_adapter.down.weight", down), ("clip_adapter.up.weight", up)],
        None,
    )
    .unwrap();
    std::fs::write(path, file).unwrap();
}
