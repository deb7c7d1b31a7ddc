//! Scaled pictures inside an HTML page.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use dataset::image_input::decode_rgb8;
use dataset::query::output::base64;
use image::RgbImage;
use image::codecs::jpeg::JpegEncoder;

/// JPEG quality of pictures that only serve to be looked at.
const QUALITY: u8 = 80;

/// A picture scaled down for a page.
pub struct Thumb {
    /// `data:` address of the JPEG.
    pub data: String,
    /// Width of the original in pixels.
    pub width: u32,
    /// Height of the original in pixels.
    pub height: u32,
}

/// Decodes a picture and scales it so that its longer side is at most `side` pixels.
///
/// # Errors
/// The bytes are no picture; the message starts with `name`.
pub fn thumb(bytes: &[u8], name: &str, side: u32) -> Result<Thumb, String> {
    let rgb = decode_rgb8(bytes, name).map_err(|e| e.to_string())?.rgb;
    let (width, height) = rgb.dimensions();
    let scale = f64::from(side) / f64::from(width.max(height).max(1));
    let small = if scale < 1.0 {
        let scaled = |length: u32| ((f64::from(length) * scale).round() as u32).max(1);
        resize(&rgb, scaled(width), scaled(height))
    } else {
        rgb
    };
    let mut jpeg = Cursor::new(Vec::new());
    JpegEncoder::new_with_quality(&mut jpeg, QUALITY)
        .encode_image(&small)
        .map_err(|e| format!("{name}: cannot be made a JPEG: {e}"))?;
    Ok(Thumb {
        data: format!("data:image/jpeg;base64,{}", base64(jpeg.get_ref())),
        width,
        height,
    })
}

fn resize(rgb: &RgbImage, width: u32, height: u32) -> RgbImage {
    // Averages whole blocks first: enough for looking, and fast on large scans.
    let factor = (rgb.width() / (2 * width).max(1)).max(1);
    let reduced = crate::layout::sheet::reduce(rgb, factor);
    image::imageops::resize(&reduced, width, height, image::imageops::FilterType::Triangle)
}

/// Folders of screenshots, each for one source or for all.
#[derive(Debug, Clone, Default)]
pub struct PageFolders {
    folders: Vec<(Option<String>, PathBuf)>,
}

impl PageFolders {
    /// Adds `DIR` or `SOURCE=DIR`.
    ///
    /// # Errors
    /// There is no such folder.
    pub fn add(&mut self, text: &str) -> Result<(), String> {
        let (source, folder) = match text.split_once('=') {
            Some((source, folder)) if !Path::new(text).is_dir() => (Some(source.to_owned()), PathBuf::from(folder)),
            _ => (None, PathBuf::from(text)),
        };
        if !folder.is_dir() {
            return Err(format!(
                "--pages {text}: no such folder; give the folder that `ingest book --input` read"
            ));
        }
        self.folders.push((source, folder));
        Ok(())
    }

    /// The bytes of a page, and a remark when the file is no longer the ingested one.
    pub fn read(&self, source: &str, page: &str, sha256: Option<&str>) -> Result<(Vec<u8>, Option<String>), String> {
        let fits = |wanted: &Option<String>| wanted.as_deref().is_none_or(|s| s == source);
        let mut changed = None;
        for (_, folder) in self.folders.iter().filter(|(wanted, _)| fits(wanted)) {
            let Ok(bytes) = std::fs::read(folder.join(page)) else {
                continue;
            };
            if sha256.is_none_or(|sha| dataset::hash::sha256_hex(&bytes) == sha) {
                return Ok((bytes, None));
            }
            changed.get_or_insert(bytes);
        }
        match changed {
            Some(bytes) => {
                let remark = "the file has changed since it was ingested; the boxes may not fit".to_owned();
                Ok((bytes, Some(remark)))
            }
            None if self.folders.is_empty() => Err("give the folder of screenshots with --pages to see it".to_owned()),
            None => Err("not found in the folders of --pages".to_owned()),
        }
    }
}
