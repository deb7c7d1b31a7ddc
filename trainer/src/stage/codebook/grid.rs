//! Pictures of what the autoencoder makes of images.

use std::path::Path;

use anyhow::{Context, Result};

/// Originals above, reconstructions below, side by side.
pub(super) struct Grid {
    side: usize,
    limit: usize,
    columns: Vec<(Vec<f32>, Vec<f32>)>,
}

impl Grid {
    /// A grid of images of side `side`, at most `limit` of them.
    pub(super) fn new(side: usize, limit: usize) -> Self {
        Grid {
            side,
            limit,
            columns: Vec::new(),
        }
    }

    /// Takes images and their reconstructions, values in [−1, 1], until the grid is full.
    pub(super) fn add(&mut self, originals: &[f32], rebuilt: &[f32]) {
        let pixels = 3 * self.side * self.side;
        for (original, copy) in originals.chunks_exact(pixels).zip(rebuilt.chunks_exact(pixels)) {
            if self.columns.len() < self.limit {
                self.columns.push((original.to_vec(), copy.to_vec()));
            }
        }
    }

    /// Writes the grid as PNG, making the folder.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let (side, area) = (self.side, self.side * self.side);
        let width = u32::try_from(side * self.columns.len().max(1))?;
        let picture = image::RgbImage::from_fn(width, u32::try_from(2 * side)?, |x, y| {
            let (column, x) = (x as usize / side, x as usize % side);
            let (row, y) = (y as usize / side, y as usize % side);
            let Some((original, copy)) = self.columns.get(column) else {
                return image::Rgb([0; 3]);
            };
            let planes = if row == 0 { original } else { copy };
            image::Rgb([0, 1, 2].map(|c| {
                ((planes[c * area + y * side + x] + 1.0) * 127.5)
                    .round()
                    .clamp(0.0, 255.0) as u8
            }))
        });
        let mut bytes = std::io::Cursor::new(Vec::new());
        picture
            .write_to(&mut bytes, image::ImageFormat::Png)
            .context("encoding the reconstruction grid")?;
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        dataset::fs::write_atomic(path, bytes.get_ref())?;
        Ok(())
    }
}
