//! Prepared images kept in memory, or in one file of the run folder when they are too many.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result};
use rayon::prelude::*;

use crate::image::Prepared;
use crate::image::prepare::prepare;

/// Rows decoded together; bounds how many encoded images are held at once.
pub const DECODE_TOGETHER: usize = 64;

#[derive(Clone, Copy)]
struct Entry {
    offset: u64,
    width: u32,
    height: u32,
}

enum Backing {
    Memory(Vec<u8>),
    File(File),
}

/// Images by number, already resized to the model's side.
pub struct ImageStore {
    side: usize,
    entries: Vec<Entry>,
    backing: Backing,
    bytes: u64,
    budget: u64,
    spool_folder: std::path::PathBuf,
}

impl ImageStore {
    /// An empty store for images of side `side`; beyond `budget_mib` they go to an unnamed
    /// temporary file in `spool_folder`.
    pub fn new(side: usize, budget_mib: usize, spool_folder: &Path) -> Self {
        ImageStore {
            side,
            entries: Vec::new(),
            backing: Backing::Memory(Vec::new()),
            bytes: 0,
            budget: budget_mib as u64 * 1024 * 1024,
            spool_folder: spool_folder.to_path_buf(),
        }
    }

    /// Side of the square the images fit.
    pub fn side(&self) -> usize {
        self.side
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds an image and returns its number.
    ///
    /// # Errors
    /// The temporary file cannot be made or written (a full disk).
    pub fn push(&mut self, image: &Prepared) -> Result<usize> {
        if let Backing::Memory(held) = &self.backing
            && self.bytes + image.bytes() as u64 > self.budget
        {
            let mut file = tempfile::tempfile_in(&self.spool_folder).with_context(|| {
                format!(
                    "{}: cannot make a temporary file for images",
                    self.spool_folder.display()
                )
            })?;
            file.write_all(held).with_context(|| self.disk_full())?;
            self.backing = Backing::File(file);
        }
        let offset = self.bytes;
        match &mut self.backing {
            Backing::Memory(held) => held.extend_from_slice(&image.rgb),
            Backing::File(file) => {
                let written = file.write_all(&image.rgb);
                written.with_context(|| self.disk_full())?;
            }
        }
        self.bytes += image.bytes() as u64;
        self.entries.push(Entry {
            offset,
            width: u32::try_from(image.width)?,
            height: u32::try_from(image.height)?,
        });
        Ok(self.entries.len() - 1)
    }

    fn disk_full(&self) -> String {
        format!(
            "{}: cannot write prepared images (disk full?); free space or raise cache_mib so that they stay in memory",
            self.spool_folder.display()
        )
    }

    /// The image with number `index`.
    ///
    /// # Errors
    /// Reading the temporary file failed.
    pub fn get(&self, index: usize) -> Result<Prepared> {
        let entry = self
            .entries
            .get(index)
            .with_context(|| format!("there is no image {index}"))?;
        let (width, height) = (entry.width as usize, entry.height as usize);
        let mut rgb = vec![0; width * height * 3];
        match &self.backing {
            Backing::Memory(held) => {
                let start = usize::try_from(entry.offset)?;
                rgb.copy_from_slice(&held[start..start + width * height * 3]);
            }
            Backing::File(file) => file
                .read_exact_at(&mut rgb, entry.offset)
                .context("reading prepared images back")?,
        }
        Ok(Prepared { width, height, rgb })
    }

    /// The image's planes R, G, B of the store's side, zero-padded, in [0, 1].
    ///
    /// # Errors
    /// As [`ImageStore::get`].
    pub fn planes(&self, index: usize) -> Result<Vec<f32>> {
        let mut planes = vec![0.0; 3 * self.side * self.side];
        self.get(index)?.write_planes(self.side, &mut planes);
        Ok(planes)
    }
}

/// Decodes and resizes many encoded images at once, each with its own outcome, in order.
pub fn decode_all(encoded: &[(&[u8], &str)], side: usize) -> Vec<Result<Prepared>> {
    encoded
        .par_iter()
        .map(|(bytes, name)| dataset::image_input::with_rgb8(bytes, name, |decoded| prepare(&decoded.rgb, side))?)
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn picture(width: usize, height: usize, tone: u8) -> Prepared {
        Prepared {
            width,
            height,
            rgb: (0..width * height * 3).map(|i| tone.wrapping_add(i as u8)).collect(),
        }
    }

    #[test]
    fn memory_and_file_give_back_the_same_images() {
        let folder = tempfile::tempdir().unwrap();
        let images: Vec<Prepared> = (0..8).map(|i| picture(400 + i, 300, i as u8)).collect();
        for budget_mib in [0, 1, 64] {
            let mut store = ImageStore::new(400, budget_mib, folder.path());
            for (number, image) in images.iter().enumerate() {
                assert_eq!(store.push(image).unwrap(), number);
            }
            for (number, image) in images.iter().enumerate().rev() {
                assert_eq!(&store.get(number).unwrap(), image, "budget {budget_mib}");
            }
            assert!(store.get(8).is_err());
        }
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            0,
            "nothing is left behind"
        );
    }

    #[test]
    fn broken_images_are_reported_one_by_one() {
        let good = dataset::testing::drawn_png(20, 10, 1);
        let outcomes = decode_all(&[(&good, "a.png"), (b"nonsense", "b.png"), (&good[..40], "c.png")], 16);
        assert_eq!(
            outcomes.iter().map(Result::is_ok).collect::<Vec<_>>(),
            [true, false, false]
        );
        assert!(format!("{:#}", outcomes[1].as_ref().unwrap_err()).contains("b.png"));
        assert_eq!(outcomes[0].as_ref().unwrap().width, 16);
    }
}
