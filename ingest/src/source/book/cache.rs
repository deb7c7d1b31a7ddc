//! Results of pages already worked on, kept beside the dataset: `.cache/book/KEY.json`.
//!
//! The key covers the page's bytes and everything that decides the result, so a
//! changed page, program, engine or model finds nothing. A damaged file counts
//! as absent.

use std::path::{Path, PathBuf};

use dataset::fs::write_atomic;
use dataset::hash::sha256_hex;

use super::analysis::PageContent;
use crate::layout::analyse::LAYOUT_VERSION;
use crate::modality::ModalityModel;

/// The cache of one dataset folder.
pub struct PageCache {
    folder: PathBuf,
}

/// Key of program, engine and model.
pub fn code_key(engine: &str, model: &ModalityModel) -> serde_json::Result<String> {
    let model = serde_json::to_string(model)?;
    Ok(sha256_hex(
        format!("{} {LAYOUT_VERSION} {engine} {model}", env!("CARGO_PKG_VERSION")).as_bytes(),
    ))
}

/// Key of one page.
pub fn cache_key(code: &str, page_sha256: &str) -> String {
    sha256_hex(format!("{code} {page_sha256}").as_bytes())
}

impl PageCache {
    /// Opens the cache in a dataset folder, making it when it is not there.
    pub fn open(dataset: &Path) -> std::io::Result<Self> {
        let folder = dataset.join(".cache").join("book");
        std::fs::create_dir_all(&folder)?;
        Ok(Self { folder })
    }

    /// The result of a page, if it is there and whole.
    pub fn load(&self, key: &str) -> Option<PageContent> {
        let bytes = std::fs::read(self.path(key)).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Keeps the result of a page.
    pub fn store(&self, key: &str, content: &PageContent) -> anyhow::Result<()> {
        write_atomic(&self.path(key), &serde_json::to_vec(content)?)?;
        Ok(())
    }

    fn path(&self, key: &str) -> PathBuf {
        self.folder.join(format!("{key}.json"))
    }
}
