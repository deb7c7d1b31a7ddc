//! A screenshot opened safely.

use std::path::Path;

use dataset::hash::sha256_hex;
use dataset::image_input::decode_rgb8;
use image::RgbImage;

/// A decoded screenshot.
pub struct Page {
    /// Pixels, upright, 8 bits a channel.
    pub image: RgbImage,
    /// What decoding changed: "16-bit reduced", "alpha composited on white" and so on.
    pub notes: Vec<String>,
    /// SHA-256 of the file's bytes, hexadecimal.
    pub sha256: String,
}

/// Reads and decodes `path`. The error names the file, the reason and the remedy.
pub fn open_page(path: &Path) -> Result<Page, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    decode_page(&bytes, &path.display().to_string())
}

/// Decodes the bytes of a file called `name`.
pub fn decode_page(bytes: &[u8], name: &str) -> Result<Page, String> {
    let decoded = decode_rgb8(bytes, name).map_err(|error| error.to_string())?;
    Ok(Page {
        image: decoded.rgb,
        notes: decoded.notes,
        sha256: sha256_hex(bytes),
    })
}
