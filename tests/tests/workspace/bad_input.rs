//! Hostile and odd files: each gets a reason, none harms the others.

use std::io::Cursor;
use std::path::Path;
use std::process::{Command, Output};

use dataset::ledger::LedgerEntry;
use dataset::read::{Columns, Dataset};
use image::{DynamicImage, ImageFormat, RgbImage};
use tests::page::{BookLanguage, draw_book};
use tests::retina::{Finding, colour_photograph};

use super::programs;

fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// A JPEG that says in its EXIF block that it must be turned by 90 degrees.
fn rotated_jpeg(picture: &RgbImage) -> Vec<u8> {
    let jpeg = encoded(&DynamicImage::ImageRgb8(picture.clone()), ImageFormat::Jpeg);
    let exif: &[u8] = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let mut bytes = jpeg[..2].to_vec();
    bytes.extend([0xff, 0xe1]);
    bytes.extend(u16::try_from(exif.len() + 2).unwrap().to_be_bytes());
    bytes.extend(exif);
    bytes.extend(&jpeg[2..]);
    bytes
}

/// The head of a PNG that claims 20000 × 20000 pixels.
fn huge_png() -> Vec<u8> {
    let small = encoded(&DynamicImage::new_luma8(1, 1), ImageFormat::Png);
    let mut header = b"IHDR".to_vec();
    header.extend(20_000u32.to_be_bytes());
    header.extend(20_000u32.to_be_bytes());
    header.extend([8, 0, 0, 0, 0]);
    let mut bytes = small[..8].to_vec();
    bytes.extend(13u32.to_be_bytes());
    let crc = crc32(&header);
    bytes.extend(&header);
    bytes.extend(crc.to_be_bytes());
    bytes.extend(&small[33..]);
    bytes
}

/// The checksum of PNG chunks (ISO 3309).
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |c, _| {
            if c & 1 == 1 { 0xedb8_8320 ^ (c >> 1) } else { c >> 1 }
        })
    })
}

/// Writes the odd files into a folder; returns those that must be rejected.
fn odd_files(folder: &Path) -> Vec<&'static str> {
    let picture = colour_photograph(160, 120, Finding::Normal, 3);
    let rgb = DynamicImage::ImageRgb8(picture.clone());
    let png = encoded(&rgb, ImageFormat::Png);
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.join(name), bytes).unwrap();
    write(
        "deep16.png",
        &encoded(&DynamicImage::ImageRgb16(rgb.to_rgb16()), ImageFormat::Png),
    );
    write(
        "transparent.png",
        &encoded(&DynamicImage::ImageRgba8(rgb.to_rgba8()), ImageFormat::Png),
    );
    write(
        "wrong_name.jpg",
        &encoded(
            &DynamicImage::ImageRgb8(colour_photograph(160, 120, Finding::Glaucoma, 4)),
            ImageFormat::Png,
        ),
    );
    write("rotated.jpg", &rotated_jpeg(&picture));
    write("empty.png", b"");
    write("half.png", &png[..png.len() / 2]);
    write("text.png", b"this is not a picture");
    write("huge.png", &huge_png());
    vec!["empty.png", "half.png", "text.png", "huge.png"]
}

fn ingest(args: &[&str], paths: &[(&str, &Path)]) -> Output {
    let mut command = Command::new(programs().join("ingest"));
    command.args(args);
    for (flag, path) in paths {
        command.arg(flag).arg(path);
    }
    command.output().unwrap()
}

fn ledger(folder: &Path) -> Vec<LedgerEntry> {
    Dataset::open(folder).unwrap().ledger().unwrap()
}

fn assert_rejected(ledger: &[LedgerEntry], file: &str) {
    let entry = ledger
        .iter()
        .find(|e| e.input.contains(file))
        .unwrap_or_else(|| panic!("{file} is not in the ledger"));
    assert_eq!(entry.state, "rejected", "{file}");
    assert!(entry.reason.as_ref().is_some_and(|r| r.len() > 10), "{file}: no reason");
}

#[test]
fn odd_photographs_are_kept_or_rejected_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let (images, out) = (folder.path().join("images"), folder.path().join("dataset"));
    let class = images.join("normal");
    std::fs::create_dir_all(&class).unwrap();
    let rejected = odd_files(&class);
    let output = ingest(
        &["labels", "--dataset", "odd", "--modality", "CFP"],
        &[("--images", &images), ("--out", &out)],
    );
    assert_eq!(
        output.status.code(),
        Some(1),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let ledger = ledger(&out);
    for file in &rejected {
        assert_rejected(&ledger, file);
    }
    let dataset = Dataset::open(&out).unwrap();
    let rows: Vec<_> = dataset
        .labels(None, Columns::All)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(
        rows.len() + rejected.len(),
        ledger.iter().filter(|e| e.state != "duplicate").count(),
        "{ledger:?}"
    );
    let upright = rows
        .iter()
        .find(|r| r.image.path.contains("rotated"))
        .expect("the rotated photograph is kept");
    assert_eq!(
        (upright.width, upright.height),
        (120, 160),
        "orientation 6 turns 160 × 120 upright"
    );
}

#[test]
fn odd_screenshots_do_not_stop_the_book() {
    let folder = tempfile::tempdir().unwrap();
    let (pages, out) = (folder.path().join("pages"), folder.path().join("dataset"));
    draw_book(&pages, &folder.path().join("truth"), BookLanguage::English, 2, 5).unwrap();
    let rejected = odd_files(&pages);
    let output = ingest(&["book", "--source-id", "odd"], &[("--input", &pages), ("--out", &out)]);
    assert_eq!(
        output.status.code(),
        Some(1),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let ledger = ledger(&out);
    for file in &rejected {
        assert_rejected(&ledger, file);
    }
    let rows = Dataset::open(&out)
        .unwrap()
        .pairs(Columns::WithoutImageBytes)
        .unwrap()
        .map(Result::unwrap);
    let drawn = rows
        .filter(|r| r.source_page.as_deref().is_some_and(|p| p.starts_with("page-")))
        .count();
    assert!(drawn >= 2, "only {drawn} pairs of the two good pages");
}

#[test]
fn a_folder_without_pictures_cannot_start() {
    let folder = tempfile::tempdir().unwrap();
    let (pages, out) = (folder.path().join("pages"), folder.path().join("dataset"));
    std::fs::create_dir_all(&pages).unwrap();
    let output = ingest(
        &["book", "--source-id", "none"],
        &[("--input", &pages), ("--out", &out)],
    );
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("pages"), "the message names the folder: {message}");
}
