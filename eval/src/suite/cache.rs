//! Feature cache: one Parquet a model and preprocessing, keyed by the hash of the image bytes.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float32Builder, ListBuilder, RecordBatch, StringArray};
use arrow::datatypes::Float32Type;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

/// Vectors of one image.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageVectors {
    /// Raw encoder output.
    pub features: Vec<f32>,
    /// Output of the projection head.
    pub projected: Vec<f32>,
}

/// Cached vectors of one model with one preprocessing.
pub struct FeatureCache {
    file: PathBuf,
    vectors: BTreeMap<String, ImageVectors>,
    changed: bool,
}

impl FeatureCache {
    /// Opens the cache of a model. `key` joins weights and preprocessing. A damaged cache counts as empty.
    pub fn open(folder: &Path, key: &str) -> Self {
        let name = dataset::hash::sha256_hex(key.as_bytes());
        let file = folder.join(format!("{}.parquet", &name[..20]));
        let vectors = match read(&file) {
            Ok(vectors) => vectors,
            Err(error) => {
                if file.exists() {
                    tracing::warn!("{}: {error:#}; the features are computed again", file.display());
                }
                BTreeMap::new()
            }
        };
        Self {
            file,
            vectors,
            changed: false,
        }
    }

    /// Vectors of an image.
    pub fn get(&self, sha256: &str) -> Option<&ImageVectors> {
        self.vectors.get(sha256)
    }

    /// Adds the vectors of an image.
    pub fn insert(&mut self, sha256: String, vectors: ImageVectors) {
        self.vectors.insert(sha256, vectors);
        self.changed = true;
    }

    /// Writes the cache if something was added.
    pub fn save(&mut self) -> anyhow::Result<()> {
        if !std::mem::take(&mut self.changed) {
            return Ok(());
        }
        let lists = |of: fn(&ImageVectors) -> &[f32]| {
            let mut builder = ListBuilder::new(Float32Builder::new());
            for v in self.vectors.values() {
                builder.values().append_slice(of(v));
                builder.append(true);
            }
            Arc::new(builder.finish()) as ArrayRef
        };
        let batch = RecordBatch::try_from_iter([
            (
                "image_sha256",
                Arc::new(StringArray::from_iter_values(self.vectors.keys())) as ArrayRef,
            ),
            ("features", lists(|v| &v.features)),
            ("projected", lists(|v| &v.projected)),
        ])?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
            .build();
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties))?;
        writer.write(&batch)?;
        writer.close()?;
        dataset::fs::write_atomic(&self.file, &bytes)?;
        Ok(())
    }
}

fn read(file: &Path) -> anyhow::Result<BTreeMap<String, ImageVectors>> {
    let mut vectors = BTreeMap::new();
    for batch in ParquetRecordBatchReaderBuilder::try_new(File::open(file)?)?.build()? {
        let batch = batch?;
        let column = |name: &str| {
            batch
                .column_by_name(name)
                .ok_or_else(|| anyhow::anyhow!("has no column '{name}'"))
        };
        let keys = column("image_sha256")?
            .as_string_opt::<i32>()
            .ok_or_else(|| anyhow::anyhow!("image_sha256 is no text"))?;
        let list = |name: &str| -> anyhow::Result<Vec<Vec<f32>>> {
            let lists = column(name)?
                .as_list_opt::<i32>()
                .ok_or_else(|| anyhow::anyhow!("{name} is no list"))?;
            let one = |i: usize| {
                lists
                    .value(i)
                    .as_primitive_opt::<Float32Type>()
                    .map(|v| v.values().to_vec())
                    .ok_or_else(|| anyhow::anyhow!("{name} holds no f32"))
            };
            (0..lists.len()).map(one).collect()
        };
        for ((key, features), projected) in keys.iter().zip(list("features")?).zip(list("projected")?) {
            if let Some(key) = key {
                vectors.insert(key.to_string(), ImageVectors { features, projected });
            }
        }
    }
    Ok(vectors)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn vectors_come_back_and_damage_is_survived() {
        let folder = tempfile::tempdir().unwrap();
        let mut cache = FeatureCache::open(folder.path(), "weights+512");
        let vectors = ImageVectors {
            features: vec![1.0, 2.0],
            projected: vec![0.5],
        };
        cache.insert("aa".into(), vectors.clone());
        cache.save().unwrap();
        assert_eq!(
            FeatureCache::open(folder.path(), "weights+512").get("aa"),
            Some(&vectors)
        );
        assert_eq!(FeatureCache::open(folder.path(), "weights+384").get("aa"), None);
        let file = std::fs::read_dir(folder.path())
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        std::fs::write(&file, b"PAR1 nonsense").unwrap();
        assert_eq!(FeatureCache::open(folder.path(), "weights+512").get("aa"), None);
    }
}
