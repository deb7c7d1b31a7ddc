//! Rows wait on disk until they are sorted; only their keys stay in memory.

use crate::error::{DatasetError, Result};
use crate::rows::Row;
use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Where a row lies in the spool file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot {
    offset: u64,
    json: u32,
    bytes: u64,
}

/// An append-only file of records: JSON, then image bytes.
pub(crate) struct Spool {
    path: PathBuf,
    writer: BufWriter<File>,
    length: u64,
}

impl Spool {
    pub fn create(path: PathBuf) -> Result<Self> {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .map_err(|e| DatasetError::io(&path, "create", e))?;
        Ok(Self {
            path,
            writer: BufWriter::with_capacity(1 << 18, file),
            length: 0,
        })
    }

    /// Bytes spooled so far.
    pub fn len(&self) -> u64 {
        self.length
    }

    pub fn push_row<R: Row>(&mut self, row: &R) -> Result<Slot> {
        let json = serde_json::to_vec(row).map_err(|e| DatasetError::invalid(row.id(), e.to_string()))?;
        let bytes = row.image().map_or(&[][..], |image| &image.bytes);
        self.push(&json, bytes)
    }

    pub fn push(&mut self, json: &[u8], bytes: &[u8]) -> Result<Slot> {
        let slot = Slot {
            offset: self.length,
            json: u32::try_from(json.len()).map_err(|_| DatasetError::invalid("record", "longer than 4 GiB"))?,
            bytes: bytes.len() as u64,
        };
        self.writer
            .write_all(json)
            .and_then(|()| self.writer.write_all(bytes))
            .map_err(|e| DatasetError::io(&self.path, "write", e).with_needed(3 * self.length))?;
        self.length += u64::from(slot.json) + slot.bytes;
        Ok(slot)
    }

    /// Ends writing; the reader takes slots in any order.
    pub fn into_reader(self) -> Result<SpoolReader> {
        let needed = 3 * self.length;
        let file = self
            .writer
            .into_inner()
            .map_err(|e| DatasetError::io(&self.path, "write", e.into_error()).with_needed(needed))?;
        Ok(SpoolReader { path: self.path, file })
    }
}

/// Random access to a finished spool.
pub(crate) struct SpoolReader {
    path: PathBuf,
    file: File,
}

impl SpoolReader {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The JSON and the bytes of one slot.
    pub fn read(&mut self, slot: Slot) -> Result<(Vec<u8>, Vec<u8>)> {
        let mut json = vec![0; slot.json as usize];
        let mut bytes = vec![0; usize::try_from(slot.bytes).unwrap_or(usize::MAX)];
        self.file
            .seek(SeekFrom::Start(slot.offset))
            .and_then(|_| self.file.read_exact(&mut json))
            .and_then(|()| self.file.read_exact(&mut bytes))
            .map_err(|e| DatasetError::io(&self.path, "read back", e))?;
        Ok((json, bytes))
    }

    pub fn read_row<R: Row>(&mut self, slot: Slot) -> Result<R> {
        let (json, bytes) = self.read(slot)?;
        let mut row: R = serde_json::from_slice(&json)
            .map_err(|e| DatasetError::invalid(self.path.display().to_string(), e.to_string()))?;
        if let Some(image) = row.image_mut() {
            image.bytes = bytes;
        }
        Ok(row)
    }
}
