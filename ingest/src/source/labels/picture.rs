//! A picture as it is stored: its own bytes where possible, without what
//! cameras and hospital systems wrote beside the pixels.

use std::io::Cursor;

use dataset::image_input::{DecodedImage, ImageInputError, decode_rgb8};
use image::{ImageFormat, RgbImage};

use crate::quality::quality_flags;

/// A picture fit for the dataset folder.
#[derive(Debug, Clone)]
pub struct StoredPicture {
    /// PNG or JPEG file without metadata.
    pub bytes: Vec<u8>,
    /// `png` or `jpg`.
    pub extension: &'static str,
    /// Width in pixels, upright.
    pub width: i32,
    /// Height in pixels, upright.
    pub height: i32,
    /// What was changed, for the ledger.
    pub notes: Vec<String>,
}

/// As [`prepare`], with the flags of [`quality_flags`].
///
/// # Errors
/// See [`ImageInputError`].
pub fn prepare_and_look(bytes: &[u8], name: &str) -> Result<(StoredPicture, Vec<String>), ImageInputError> {
    let decoded = decode_rgb8(bytes, name)?;
    let flags = quality_flags(&decoded.rgb);
    Ok((store(bytes, name, decoded)?, flags))
}

/// Checks a picture and prepares it for storing.
///
/// JPEG and PNG files keep their pixels bit for bit; their EXIF, XMP, IPTC and
/// comment blocks go. A picture that EXIF turns is turned for good and stored
/// as PNG, and so is every other format.
///
/// # Errors
/// See [`ImageInputError`].
pub fn prepare(bytes: &[u8], name: &str) -> Result<StoredPicture, ImageInputError> {
    store(bytes, name, decode_rgb8(bytes, name)?)
}

fn store(bytes: &[u8], name: &str, decoded: DecodedImage) -> Result<StoredPicture, ImageInputError> {
    let (width, height) = (decoded.rgb.width() as i32, decoded.rgb.height() as i32);
    let mut notes = decoded.notes;
    let turned = notes.iter().any(|n| n == "exif-rotated");
    let stripped = match image::guess_format(bytes) {
        Ok(ImageFormat::Jpeg) if !turned => strip_jpeg(bytes).map(|b| (b, "jpg")),
        Ok(ImageFormat::Png) if !turned => strip_png(bytes).map(|b| (b, "png")),
        _ => None,
    };
    let (stored, extension) = match stripped {
        Some((stored, extension)) => {
            if stored.len() < bytes.len() {
                notes.push("metadata removed".to_owned());
            }
            // What decoding would do to the pixels has not been done to the stored file.
            notes.retain(|n| n != "16-bit reduced" && n != "cmyk converted" && !n.starts_with("alpha"));
            (stored, extension)
        }
        None => {
            notes.push("stored as PNG".to_owned());
            (encode_png(&decoded.rgb, name)?, "png")
        }
    };
    Ok(StoredPicture {
        bytes: stored,
        extension,
        width,
        height,
        notes,
    })
}

fn encode_png(rgb: &RgbImage, name: &str) -> Result<Vec<u8>, ImageInputError> {
    let mut out = Cursor::new(Vec::new());
    rgb.write_to(&mut out, ImageFormat::Png)
        .map_err(|error| ImageInputError::Damaged {
            name: name.to_owned(),
            format: "png",
            reason: error.to_string(),
        })?;
    Ok(out.into_inner())
}

/// A JPEG file without EXIF and XMP (APP1), IPTC (APP13) and comments. JFIF, colour
/// profile and Adobe's colour transform stay, as they change how pixels look.
/// `None` when the segments do not parse.
pub fn strip_jpeg(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(bytes.len());
    out.extend_from_slice(bytes.get(..2)?);
    let mut at = 2;
    loop {
        if *bytes.get(at)? != 0xff {
            return None;
        }
        let marker = *bytes.get(at + 1)?;
        if marker == 0xff {
            at += 1;
            continue;
        }
        if marker == 0xda {
            // Entropy-coded data: nothing after it is touched.
            out.extend_from_slice(&bytes[at..]);
            return Some(out);
        }
        if matches!(marker, 0x01 | 0xd0..=0xd9) {
            out.extend_from_slice(&bytes[at..at + 2]);
            at += 2;
            continue;
        }
        let length = usize::from(*bytes.get(at + 2)?) << 8 | usize::from(*bytes.get(at + 3)?);
        let segment = bytes.get(at..at + 2 + length)?;
        let kept = match marker {
            0xe0 | 0xe2 | 0xee => true,
            0xe1 | 0xe3..=0xed | 0xef | 0xfe => false,
            _ => true,
        };
        if kept {
            out.extend_from_slice(segment);
        }
        at += 2 + length;
    }
}

/// A PNG file without text, EXIF and time chunks. `None` when the chunks do not parse.
pub fn strip_png(bytes: &[u8]) -> Option<Vec<u8>> {
    const SIGNATURE: usize = 8;
    let mut out = Vec::with_capacity(bytes.len());
    out.extend_from_slice(bytes.get(..SIGNATURE)?);
    let mut at = SIGNATURE;
    while at < bytes.len() {
        let length = u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize;
        let kind = bytes.get(at + 4..at + 8)?;
        let chunk = bytes.get(at..at.checked_add(length)?.checked_add(12)?)?;
        if !matches!(kind, b"tEXt" | b"zTXt" | b"iTXt" | b"eXIf" | b"tIME") {
            out.extend_from_slice(chunk);
        }
        at += chunk.len();
        if kind == b"IEND" {
            break;
        }
    }
    Some(out)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn drawn() -> RgbImage {
        RgbImage::from_fn(24, 16, |x, y| image::Rgb([(x * 9) as u8, (y * 13) as u8, 90]))
    }

    fn encoded(format: ImageFormat) -> Vec<u8> {
        let mut out = Cursor::new(Vec::new());
        drawn().write_to(&mut out, format).unwrap();
        out.into_inner()
    }

    /// A JPEG with an EXIF block that gives the orientation and a name.
    fn jpeg_with_exif(orientation: u8) -> Vec<u8> {
        let jpeg = encoded(ImageFormat::Jpeg);
        let mut tiff = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
        tiff.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
        tiff.extend(b"Patient Zhang San");
        let mut out = jpeg[..2].to_vec();
        out.extend([0xff, 0xe1]);
        out.extend(((tiff.len() + 2) as u16).to_be_bytes());
        out.extend(&tiff);
        out.extend([0xff, 0xfe, 0, 8]);
        out.extend(b"Zhang!");
        out.extend(&jpeg[2..]);
        out
    }

    #[test]
    fn metadata_goes_and_pixels_stay() {
        let with = jpeg_with_exif(1);
        let stored = prepare(&with, "a.jpg").unwrap();
        assert_eq!(stored.extension, "jpg");
        assert!(!stored.bytes.windows(5).any(|w| w == b"Zhang"));
        assert_eq!(
            decode_rgb8(&stored.bytes, "a").unwrap().rgb,
            decode_rgb8(&with, "b").unwrap().rgb
        );
        assert!(stored.notes.contains(&"metadata removed".to_owned()));

        let png = encoded(ImageFormat::Png);
        let mut chunk = b"\0\0\0\x0btEXtName\0Zhang!".to_vec();
        chunk.extend([0, 0, 0, 0]);
        let mut noted = png[..33].to_vec();
        noted.extend(&chunk);
        noted.extend(&png[33..]);
        assert_eq!(strip_png(&noted).unwrap(), png);
    }

    #[test]
    fn a_turned_picture_is_turned_for_good() {
        let stored = prepare(&jpeg_with_exif(6), "a.jpg").unwrap();
        assert_eq!((stored.extension, stored.width, stored.height), ("png", 16, 24));
        assert_eq!(decode_rgb8(&stored.bytes, "a.png").unwrap().rgb.dimensions(), (16, 24));
    }

    #[test]
    fn other_formats_become_png_and_damage_is_named() {
        let stored = prepare(&encoded(ImageFormat::Bmp), "a.bmp").unwrap();
        assert_eq!((stored.extension, stored.width), ("png", 24));
        assert!(prepare(b"", "a.png").unwrap_err().to_string().contains("a.png"));
        let png = encoded(ImageFormat::Png);
        assert!(prepare(&png[..png.len() / 2], "a.png").is_err());
        for cut in 0..60.min(png.len()) {
            let _ = (strip_png(&png[..cut]), strip_jpeg(&png[..cut]));
        }
    }
}
