//! Safe decoding of picture files that strangers made: limits before memory is
//! taken, truncation found, and every change to the pixels noted.

use image::error::{LimitError, LimitErrorKind};
use image::metadata::Orientation;
use image::{ColorType, DynamicImage, ExtendedColorType, ImageDecoder, ImageFormat, ImageReader, Limits};
use std::cell::Cell;
use std::io::Cursor;
use std::path::Path;

/// Largest picture that is decoded: 200 megapixels.
pub const MAX_PIXELS: u64 = 200_000_000;

/// Memory that a decoder may take: 8 bytes for each pixel of the largest picture.
const MAX_DECODER_BYTES: u64 = MAX_PIXELS * 8;

/// Memory of larger pictures is not kept for the next one.
const MAX_SPARE_BYTES: usize = 64 << 20;

/// A decoded picture.
#[derive(Debug, Clone)]
pub struct DecodedImage {
    /// 8-bit RGB, upright.
    pub rgb: image::RgbImage,
    /// What was changed: `16-bit reduced`, `alpha composited on white`,
    /// `cmyk converted`, `exif-rotated`, `named .jpg but is png`.
    pub notes: Vec<String>,
}

/// Why a picture was not decoded. Every message starts with the file's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageInputError {
    /// No bytes at all.
    #[error("{name}: the file is empty; copy or export it again")]
    Empty {
        /// The file.
        name: String,
    },
    /// The bytes are no picture of a known format.
    #[error("{name}: {found}; supported are PNG, JPEG, TIFF, BMP, WebP, GIF and PNM")]
    Unsupported {
        /// The file.
        name: String,
        /// What the bytes are instead, as far as known.
        found: String,
    },
    /// More than [`MAX_PIXELS`].
    #[error(
        "{name}: {width}x{height} pixels are more than the limit of {} megapixels; scale it down",
        MAX_PIXELS / 1_000_000
    )]
    TooLarge {
        /// The file.
        name: String,
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// The file ends before its picture does.
    #[error("{name}: the {format} data is truncated; copy or export the file again")]
    Truncated {
        /// The file.
        name: String,
        /// The format.
        format: &'static str,
    },
    /// The decoder gave up.
    #[error("{name}: damaged {format} data ({reason}); copy or export the file again")]
    Damaged {
        /// The file.
        name: String,
        /// The format.
        format: &'static str,
        /// The decoder's reason.
        reason: String,
    },
}

impl ImageInputError {
    /// A short stable word for the ledger: `empty`, `unsupported`, `too-large`,
    /// `truncated`, `damaged`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty { .. } => "empty",
            Self::Unsupported { .. } => "unsupported",
            Self::TooLarge { .. } => "too-large",
            Self::Truncated { .. } => "truncated",
            Self::Damaged { .. } => "damaged",
        }
    }
}

/// Decodes an encoded picture into upright 8-bit RGB. The format is told by
/// content, never by name; `name` serves messages and the check of its
/// extension.
///
/// # Errors
/// See [`ImageInputError`]; nothing panics on hostile bytes, and pictures above
/// [`MAX_PIXELS`] are refused before memory is taken.
pub fn decode_rgb8(bytes: &[u8], name: &str) -> Result<DecodedImage, ImageInputError> {
    decode_into(bytes, name, Vec::new())
}

/// Decodes a picture as [`decode_rgb8`] and gives it to `work`. The memory of its
/// pixels is used again for this thread's next picture: fresh memory costs the
/// system more than a resize.
///
/// # Errors
/// As [`decode_rgb8`].
pub fn with_rgb8<T>(bytes: &[u8], name: &str, work: impl FnOnce(&DecodedImage) -> T) -> Result<T, ImageInputError> {
    let decoded = decode_into(bytes, name, SPARE.take())?;
    let result = work(&decoded);
    let memory = decoded.rgb.into_raw();
    if memory.capacity() <= MAX_SPARE_BYTES {
        SPARE.set(memory);
    }
    Ok(result)
}

thread_local! {
    /// Memory of a picture that is no longer needed.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

fn decode_into(bytes: &[u8], name: &str, memory: Vec<u8>) -> Result<DecodedImage, ImageInputError> {
    // Decoders are foreign code fed with foreign bytes: a bug there must cost
    // one picture, not the run.
    crate::guard::quietly(|| decode(bytes, name, memory)).unwrap_or_else(|reason| {
        Err(ImageInputError::Damaged {
            name: name.to_owned(),
            format: "image",
            reason: format!("the decoder failed: {reason}"),
        })
    })
}

fn decode(bytes: &[u8], name: &str, memory: Vec<u8>) -> Result<DecodedImage, ImageInputError> {
    let format = format_of(bytes, name)?;
    let label = format_name(format);
    let damaged = |error: image::ImageError| match &error {
        image::ImageError::IoError(io) if io.kind() == std::io::ErrorKind::UnexpectedEof => {
            ImageInputError::Truncated {
                name: name.to_owned(),
                format: label,
            }
        }
        _ => ImageInputError::Damaged {
            name: name.to_owned(),
            format: label,
            reason: error.to_string(),
        },
    };
    let mut notes = extension_note(format, label, name);
    if format == ImageFormat::Jpeg {
        let jpeg = scan_jpeg(bytes);
        if !jpeg.complete {
            return Err(ImageInputError::Truncated {
                name: name.to_owned(),
                format: label,
            });
        }
        if jpeg.components == 4 {
            notes.push("cmyk converted".to_owned());
        }
    }
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_DECODER_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(damaged)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(ImageInputError::TooLarge {
            name: name.to_owned(),
            width,
            height,
        });
    }
    if width == 0 || height == 0 {
        return Err(ImageInputError::Damaged {
            name: name.to_owned(),
            format: label,
            reason: format!("{width}x{height} pixels"),
        });
    }
    if matches!(
        decoder.original_color_type(),
        ExtendedColorType::Cmyk8 | ExtendedColorType::Cmyk16
    ) && !notes.iter().any(|note| note == "cmyk converted")
    {
        notes.push("cmyk converted".to_owned());
    }
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut picture = if decoder.color_type() == ColorType::Rgb8 {
        read_rgb8(decoder, memory).map_err(damaged)?
    } else {
        DynamicImage::from_decoder(decoder).map_err(damaged)?
    };
    if orientation != Orientation::NoTransforms {
        picture.apply_orientation(orientation);
        notes.push("exif-rotated".to_owned());
    }
    Ok(DecodedImage {
        rgb: to_rgb8(picture, &mut notes),
        notes,
    })
}

/// The pixels of a picture that is 8-bit RGB by itself, in `memory`. It is cleared:
/// what a damaged picture leaves out must not show another one.
fn read_rgb8(decoder: impl ImageDecoder, mut memory: Vec<u8>) -> image::ImageResult<DynamicImage> {
    let too_large = || image::ImageError::Limits(LimitError::from_kind(LimitErrorKind::InsufficientMemory));
    let (width, height) = decoder.dimensions();
    let length = usize::try_from(decoder.total_bytes()).map_err(|_| too_large())?;
    if memory.capacity() < length {
        memory = vec![0; length];
    } else {
        memory.clear();
        memory.resize(length, 0);
    }
    decoder.read_image(&mut memory)?;
    let picture = image::RgbImage::from_raw(width, height, memory).ok_or_else(too_large)?;
    Ok(picture.into())
}

/// The format by content; says what the bytes look like when it is none.
fn format_of(bytes: &[u8], name: &str) -> Result<ImageFormat, ImageInputError> {
    if bytes.is_empty() {
        return Err(ImageInputError::Empty { name: name.to_owned() });
    }
    if let Ok(format) = image::guess_format(bytes)
        && SUPPORTED.iter().any(|(known, ..)| *known == format)
    {
        return Ok(format);
    }
    let found = if bytes.starts_with(b"%PDF") {
        "this is a PDF; export its pages as PNG"
    } else if bytes.starts_with(b"PK\x03\x04") {
        "this is a ZIP archive or an office document"
    } else if bytes.get(4..12) == Some(b"ftypheic") || bytes.get(4..12) == Some(b"ftypavif") {
        "this is HEIC or AVIF; convert it to PNG or JPEG"
    } else if bytes.iter().all(|&byte| byte == 0) {
        "all bytes are zero"
    } else if std::str::from_utf8(&bytes[..bytes.len().min(512)]).is_ok() {
        "this is text, not a picture"
    } else {
        "the bytes are no known picture format"
    };
    Err(ImageInputError::Unsupported {
        name: name.to_owned(),
        found: found.to_owned(),
    })
}

/// Format, its name in messages, and the extensions it goes by.
const SUPPORTED: [(ImageFormat, &str, &[&str]); 7] = [
    (ImageFormat::Png, "png", &["png"]),
    (ImageFormat::Jpeg, "jpeg", &["jpg", "jpeg", "jpe", "jfif"]),
    (ImageFormat::Tiff, "tiff", &["tif", "tiff"]),
    (ImageFormat::Bmp, "bmp", &["bmp", "dib"]),
    (ImageFormat::WebP, "webp", &["webp"]),
    (ImageFormat::Gif, "gif", &["gif"]),
    (ImageFormat::Pnm, "pnm", &["pnm", "pbm", "pgm", "ppm", "pam"]),
];

fn format_name(format: ImageFormat) -> &'static str {
    SUPPORTED
        .iter()
        .find(|(known, ..)| *known == format)
        .map_or("image", |(_, name, _)| name)
}

fn extension_note(format: ImageFormat, label: &str, name: &str) -> Vec<String> {
    let Some(extension) = Path::new(name).extension().and_then(|e| e.to_str()) else {
        return Vec::new();
    };
    let extension = extension.to_ascii_lowercase();
    let is = |entry: &(ImageFormat, &str, &[&str])| entry.2.contains(&extension.as_str());
    match SUPPORTED.iter().find(|entry| is(entry)) {
        Some((named, ..)) if *named != format => vec![format!("named .{extension} but is {label}")],
        _ => Vec::new(),
    }
}

fn to_rgb8(picture: DynamicImage, notes: &mut Vec<String>) -> image::RgbImage {
    let color = picture.color();
    if color.bytes_per_pixel() / color.channel_count() > 1 {
        notes.push("16-bit reduced".to_owned());
    }
    if !color.has_alpha() {
        return picture.into_rgb8();
    }
    let rgba = picture.into_rgba8();
    if rgba.pixels().any(|pixel| pixel.0[3] != u8::MAX) {
        notes.push("alpha composited on white".to_owned());
    }
    image::RgbImage::from_fn(rgba.width(), rgba.height(), |x, y| {
        let [r, g, b, a] = rgba.get_pixel(x, y).0;
        let over_white = |value: u8| {
            let (value, alpha) = (u32::from(value), u32::from(a));
            ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8
        };
        image::Rgb([over_white(r), over_white(g), over_white(b)])
    })
}

struct JpegScan {
    /// An end-of-image marker follows the first scan.
    complete: bool,
    /// Components of the frame: 1 grey, 3 colour, 4 CMYK.
    components: u8,
}

/// Walks the JPEG's segments. The decoder fills what is missing with grey and
/// says nothing, so truncation is told by the end-of-image marker.
fn scan_jpeg(bytes: &[u8]) -> JpegScan {
    let mut scan = JpegScan {
        complete: false,
        components: 0,
    };
    let mut at = 2;
    while at + 4 <= bytes.len() {
        if bytes[at] != 0xFF {
            at += 1;
            continue;
        }
        let marker = bytes[at + 1];
        match marker {
            0xFF => {
                at += 1;
                continue;
            }
            0x01 | 0xD0..=0xD8 | 0x00 => {
                at += 2;
                continue;
            }
            0xD9 => break,
            0xDA => {
                // Entropy-coded data holds no FF D9 of its own; it mostly is at the very end.
                scan.complete = bytes[at..].windows(2).rev().any(|pair| pair == [0xFF, 0xD9]);
                break;
            }
            _ => {}
        }
        let is_frame = matches!(marker, 0xC0..=0xCF) && !matches!(marker, 0xC4 | 0xC8 | 0xCC);
        if is_frame && let Some(&components) = bytes.get(at + 9) {
            scan.components = components;
        }
        let length = usize::from(bytes[at + 2]) << 8 | usize::from(bytes[at + 3]);
        at += 2 + length.max(2);
    }
    scan
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use image::{ImageBuffer, Luma, Rgb, RgbImage, Rgba};

    fn encode(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn gradient() -> DynamicImage {
        RgbImage::from_fn(40, 30, |x, y| Rgb([(x * 6) as u8, (y * 8) as u8, 90])).into()
    }

    #[test]
    fn memory_used_again_does_not_show() {
        let jpeg = encode(&gradient(), ImageFormat::Jpeg);
        let tall = encode(
            &RgbImage::from_fn(30, 90, |x, y| Rgb([9, (x * 8) as u8, (y * 2) as u8])).into(),
            ImageFormat::Png,
        );
        // Its data ends early, its end marker is there: the rest is grey or black.
        let mut cut = jpeg[..jpeg.len() - 60].to_vec();
        cut.extend([0xFF, 0xD9]);
        let grey = encode(&DynamicImage::from(gradient().into_luma8()), ImageFormat::Png);
        for (bytes, name) in [
            (&jpeg, "a.jpg"),
            (&tall, "b.png"),
            (&cut, "c.jpg"),
            (&grey, "d.png"),
            (&jpeg, "e.jpg"),
        ] {
            let alone = decode_rgb8(bytes, name);
            let again = with_rgb8(bytes, name, |found| (found.rgb.clone(), found.notes.clone()));
            match (alone, again) {
                (Ok(alone), Ok(again)) => assert!(again == (alone.rgb, alone.notes), "{name}"),
                (alone, again) => assert_eq!(alone.map(|_| ()), again.map(|_| ()), "{name}"),
            }
        }
        let spare = SPARE.take();
        assert!(spare.capacity() >= 40 * 30 * 3, "kept for the next picture");
        assert!(with_rgb8(b"", "x.png", |_| ()).is_err());
    }

    #[test]
    fn every_format_is_read_by_content() {
        for (format, label, extensions) in SUPPORTED {
            let bytes = encode(&gradient(), format);
            let good = decode_rgb8(&bytes, &format!("a.{}", extensions[0])).unwrap();
            assert_eq!(good.rgb.dimensions(), (40, 30), "{label}");
            assert!(good.notes.is_empty(), "{label}: {:?}", good.notes);
        }
        let png = encode(&gradient(), ImageFormat::Png);
        let wrong = decode_rgb8(&png, "a.JPG").unwrap();
        assert_eq!(wrong.notes, ["named .jpg but is png"]);
        assert_eq!(wrong.rgb, gradient().into_rgb8());
    }

    #[test]
    fn bad_files_get_their_reason() {
        let png = encode(&gradient(), ImageFormat::Png);
        let jpeg = encode(&gradient(), ImageFormat::Jpeg);
        let mut huge = png.clone();
        // IHDR width and height, then its CRC.
        huge[16..24].copy_from_slice(&[0, 0, 0x80, 0, 0, 0, 0x80, 0]);
        let crc = crc32(&huge[12..29]);
        huge[29..33].copy_from_slice(&crc.to_be_bytes());
        let cases: [(&str, Vec<u8>, &str); 8] = [
            ("empty.png", vec![], "empty"),
            ("note.png", b"just words".to_vec(), "unsupported"),
            ("book.png", b"%PDF-1.7".to_vec(), "unsupported"),
            ("zero.jpg", vec![0; 500], "unsupported"),
            ("half.png", png[..png.len() / 2].to_vec(), "truncated"),
            ("half.jpg", jpeg[..jpeg.len() * 2 / 3].to_vec(), "truncated"),
            ("head.jpg", jpeg[..40].to_vec(), "truncated"),
            ("huge.png", huge, "too-large"),
        ];
        for (name, bytes, code) in cases {
            let error = decode_rgb8(&bytes, name).unwrap_err();
            assert_eq!(error.code(), code, "{error}");
            assert!(error.to_string().starts_with(name), "{error}");
        }
    }

    /// CRC-32 as PNG uses it (ISO 3309).
    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(u32::MAX, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |c, _| {
                if c & 1 == 1 { 0xEDB8_8320 ^ (c >> 1) } else { c >> 1 }
            })
        })
    }

    #[test]
    fn changes_to_pixels_are_noted() {
        let deep: ImageBuffer<Luma<u16>, Vec<u16>> = ImageBuffer::from_pixel(4, 4, Luma([0xFFFF]));
        let out = decode_rgb8(&encode(&deep.into(), ImageFormat::Png), "a.png").unwrap();
        assert_eq!(out.notes, ["16-bit reduced"]);
        assert_eq!(out.rgb.get_pixel(0, 0).0, [255; 3]);

        let clear = image::RgbaImage::from_pixel(4, 4, Rgba([0, 0, 0, 0]));
        let out = decode_rgb8(&encode(&clear.into(), ImageFormat::Png), "a.png").unwrap();
        assert_eq!(out.notes, ["alpha composited on white"]);
        assert_eq!(out.rgb.get_pixel(0, 0).0, [255; 3]);

        let opaque = image::RgbaImage::from_pixel(4, 4, Rgba([9, 8, 7, 255]));
        let out = decode_rgb8(&encode(&opaque.into(), ImageFormat::Png), "a.png").unwrap();
        assert!(out.notes.is_empty());
        assert_eq!(out.rgb.get_pixel(0, 0).0, [9, 8, 7]);
    }

    #[test]
    fn exif_orientation_is_applied() {
        let jpeg = encode(&gradient(), ImageFormat::Jpeg);
        // APP1 Exif, little endian, one entry: orientation (0x0112) = 6, turn right.
        let exif: [u8; 36] = [
            0xFF, 0xE1, 0, 34, b'E', b'x', b'i', b'f', 0, 0, b'I', b'I', 42, 0, 8, 0, 0, 0, 1, 0, 0x12, 0x01, 3, 0, 1,
            0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0,
        ];
        let mut turned = jpeg[..2].to_vec();
        turned.extend(exif);
        turned.extend(&jpeg[2..]);
        let out = decode_rgb8(&turned, "a.jpg").unwrap();
        assert_eq!(out.rgb.dimensions(), (30, 40));
        assert_eq!(out.notes, ["exif-rotated"]);
    }

    #[test]
    fn random_bytes_never_panic() {
        let png = encode(&gradient(), ImageFormat::Png);
        let jpeg = encode(&gradient(), ImageFormat::Jpeg);
        for good in [png, jpeg] {
            for at in 0..good.len() {
                let mut bad = good.clone();
                bad[at] ^= 0x5A;
                let _ = decode_rgb8(&bad, "bad");
            }
        }
    }
}
