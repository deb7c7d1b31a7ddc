//! Leakage audit: which test images does a training set hold already?
//!
//! Evidence, strongest first: same bytes, same picture (correlation of details), same file name, and, as a weaker
//! hint, the other eye of the same patient. File names come from public lists, so they work without images.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use dataset::image_input::decode_rgb8;
use dataset::read::{Columns, Dataset};
use image::imageops::{FilterType, crop_imm, grayscale, resize};
use serde::Serialize;

use crate::error::{EvalError, Result};

/// Side of the small grey picture that is compared, pixels.
const SIDE: usize = 40;
/// The brightness around a pixel, this many pixels far, is taken away: it tells the lamp, not the eye.
const BLUR_RADIUS: usize = 4;
/// Pixels left out along the border, where the frame of the photograph lies.
const BORDER: usize = 5;
/// Two pictures at least so alike (correlation of their details) count as the same picture. Copies at 60 % of
/// the size and JPEG quality 60 of 680 real photographs reach 0.98 and more; different ones stay below 0.973.
pub const SAME_PICTURE: f32 = 0.975;
/// Pictures with less detail than this (grey levels, root mean square) would match every other such picture.
const LEAST_DETAIL: f32 = 1.0;
/// Pixels darker than this belong to the black frame of a photograph.
const FRAME_LEVEL: u8 = 16;

/// The details of a picture within its frame, scaled to i8.
#[derive(Debug, Clone)]
pub struct Fingerprint {
    details: Vec<i8>,
    length: f32,
}

/// One image of a list.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Name or path as listed.
    pub name: String,
    /// Hash of its bytes, when they are known.
    pub sha256: Option<String>,
    /// Fingerprint of the picture, when it was asked for, and the image decodes and shows something.
    pub picture: Option<Fingerprint>,
}

/// Why a test image counts as leaked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Evidence {
    /// The same bytes.
    SameBytes,
    /// The same picture, perhaps resized or compressed again.
    SamePicture,
    /// The same file name.
    SameName,
    /// The other eye of a patient; a hint, not counted as leaked.
    OtherEye,
}

/// A test image found in the training set.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// Row in the test list, from 0.
    pub row: usize,
    /// Test image.
    pub test: String,
    /// Training image.
    pub train: String,
    /// How they agree.
    pub evidence: Evidence,
    /// Both hashes are known and differ, and the pictures were not compared: two different images may share a name.
    pub unconfirmed: bool,
}

/// Outcome of an audit.
#[derive(Debug, Clone, Serialize)]
pub struct Audit {
    /// Training images.
    pub train_images: usize,
    /// Test images.
    pub test_images: usize,
    /// Test images held by the training set.
    pub leaked: usize,
    /// The same by evidence; each image counts once, under its strongest.
    pub by_evidence: BTreeMap<String, usize>,
    /// Test images listed more than once (same name or bytes).
    pub repeated_in_test: usize,
    /// Every finding.
    pub findings: Vec<Finding>,
}

/// File name without folders, lower case.
fn base_name(name: &str) -> String {
    name.rsplit(['/', '\\']).next().unwrap_or(name).to_lowercase()
}

/// Stem with the marks of the eye taken away, when it has any: "12_left.jpg" → "12".
fn patient(name: &str) -> Option<(String, &'static str)> {
    let base = base_name(name);
    let stem = base.rsplit_once('.').map_or(base.as_str(), |s| s.0);
    let eyes = [
        ("_left", "left"),
        ("_right", "right"),
        ("_os", "left"),
        ("_od", "right"),
        ("-left", "left"),
        ("-right", "right"),
    ];
    eyes.iter().find_map(|(mark, eye)| {
        stem.strip_suffix(mark)
            .filter(|p| !p.is_empty())
            .map(|p| (p.to_string(), *eye))
    })
}

/// Compares two lists.
pub fn audit(train: &[Listed], test: &[Listed]) -> Audit {
    let by = |key: &dyn Fn(&Listed) -> Option<String>| {
        let mut map: HashMap<String, usize> = HashMap::new();
        train.iter().enumerate().for_each(|(i, l)| {
            if let Some(key) = key(l) {
                map.entry(key).or_insert(i);
            }
        });
        map
    };
    let bytes = by(&|l| l.sha256.clone());
    let names = by(&|l| Some(base_name(&l.name)));
    let patients = by(&|l| patient(&l.name).map(|p| p.0));
    let pictures: Vec<(usize, &Fingerprint)> = train
        .iter()
        .enumerate()
        .filter_map(|(i, l)| Some((i, l.picture.as_ref()?)))
        .collect();

    let find = |test: &Listed| -> Option<(usize, Evidence, bool)> {
        if let Some(&i) = test.sha256.as_ref().and_then(|h| bytes.get(h)) {
            return Some((i, Evidence::SameBytes, false));
        }
        let alike = |own: &Fingerprint| {
            let all = pictures
                .iter()
                .map(|(i, p)| (*i, likeness(own, p)))
                .filter(|p| p.1 >= SAME_PICTURE);
            all.max_by(|a, b| a.1.total_cmp(&b.1))
        };
        if let Some((i, _)) = test.picture.as_ref().and_then(alike) {
            return Some((i, Evidence::SamePicture, false));
        }
        // two pictures that were compared and differ are not the same for having one name
        let refuted = |i: usize| train[i].picture.is_some() && test.picture.is_some();
        if let Some(&i) = names.get(&base_name(&test.name)).filter(|i| !refuted(**i)) {
            let differ = train[i].sha256.is_some() && test.sha256.is_some();
            return Some((i, Evidence::SameName, differ));
        }
        patient(&test.name)
            .and_then(|(p, _)| patients.get(&p))
            .map(|&i| (i, Evidence::OtherEye, false))
    };
    let findings: Vec<Finding> = test
        .iter()
        .enumerate()
        .filter_map(|(row, t)| {
            let (i, evidence, unconfirmed) = find(t)?;
            Some(Finding {
                row,
                test: t.name.clone(),
                train: train[i].name.clone(),
                evidence,
                unconfirmed,
            })
        })
        .collect();
    let mut by_evidence = BTreeMap::new();
    for evidence in [
        Evidence::SameBytes,
        Evidence::SamePicture,
        Evidence::SameName,
        Evidence::OtherEye,
    ] {
        let name = serde_json::to_value(evidence)
            .ok()
            .and_then(|v| v.as_str().map(str::to_string))
            .unwrap_or_default();
        by_evidence.insert(name, findings.iter().filter(|f| f.evidence == evidence).count());
    }
    let mut seen: HashMap<String, usize> = HashMap::new();
    test.iter().for_each(|t| {
        *seen
            .entry(t.sha256.clone().unwrap_or_else(|| base_name(&t.name)))
            .or_default() += 1
    });
    Audit {
        train_images: train.len(),
        test_images: test.len(),
        leaked: findings.iter().filter(|f| f.evidence != Evidence::OtherEye).count(),
        by_evidence,
        repeated_in_test: seen.values().map(|n| n - 1).sum(),
        findings,
    }
}

/// Correlation of the details of two pictures, −1 to 1.
fn likeness(a: &Fingerprint, b: &Fingerprint) -> f32 {
    let sum: i32 = a
        .details
        .iter()
        .zip(&b.details)
        .map(|(x, y)| i32::from(*x) * i32::from(*y))
        .sum();
    sum as f32 / (a.length * b.length)
}

/// Fingerprint of the picture inside its black frame: a small grey copy less its own blur. `None` for a picture
/// without detail.
pub fn fingerprint(picture: &image::RgbImage) -> Option<Fingerprint> {
    let grey = grayscale(picture);
    let lit = |x: u32, y: u32| grey.get_pixel(x, y).0[0] > FRAME_LEVEL;
    let (width, height) = grey.dimensions();
    let columns: Vec<u32> = (0..width)
        .filter(|&x| (0..height).step_by(4).any(|y| lit(x, y)))
        .collect();
    let rows: Vec<u32> = (0..height)
        .filter(|&y| (0..width).step_by(4).any(|x| lit(x, y)))
        .collect();
    let (x0, x1, y0, y1) = (*columns.first()?, *columns.last()?, *rows.first()?, *rows.last()?);
    let inner = crop_imm(&grey, x0, y0, x1 - x0 + 1, y1 - y0 + 1).to_image();
    let small = resize(&inner, SIDE as u32, SIDE as u32, FilterType::Triangle);
    let level = |x: usize, y: usize| f32::from(small.get_pixel(x as u32, y as u32).0[0]);
    let mut details = Vec::new();
    for y in BORDER..SIDE - BORDER {
        for x in BORDER..SIDE - BORDER {
            let around = (y - BLUR_RADIUS..=y + BLUR_RADIUS)
                .flat_map(|v| (x - BLUR_RADIUS..=x + BLUR_RADIUS).map(move |u| (u, v)));
            let (sum, count) = around.fold((0.0, 0.0), |(s, n), (u, v)| (s + level(u, v), n + 1.0));
            details.push(level(x, y) - sum / count);
        }
    }
    let mean = details.iter().sum::<f32>() / details.len() as f32;
    details.iter_mut().for_each(|d| *d -= mean);
    let square = details.iter().map(|d| d * d).sum::<f32>() / details.len() as f32;
    if square.sqrt() < LEAST_DETAIL {
        return None;
    }
    let largest = details.iter().fold(0.0f32, |m, d| m.max(d.abs()));
    let details: Vec<i8> = details.iter().map(|d| (d / largest * 127.0).round() as i8).collect();
    let length = (details.iter().map(|d| i32::from(*d) * i32::from(*d)).sum::<i32>() as f32).sqrt();
    Some(Fingerprint { details, length })
}

/// Reads a list of images: a CSV with a column `image`, a dataset folder (`FOLDER#SET` for one label set), or
/// a folder of images. Images that cannot be read or decoded are named in the second value.
pub fn read_list(place: &str, with_pictures: bool) -> Result<(Vec<Listed>, Vec<String>)> {
    let (file, set) = match place.split_once('#') {
        Some((folder, set)) => (folder, Some(set)),
        None => (place, None),
    };
    let path = Path::new(file);
    let is_dataset = ["data", "labels", "text"].iter().any(|d| path.join(d).is_dir());
    if path.is_file() {
        return Ok((read_csv(path)?, Vec::new()));
    }
    if is_dataset {
        read_dataset(path, set, with_pictures)
    } else {
        read_folder(path, with_pictures)
    }
}

fn read_csv(path: &Path) -> Result<Vec<Listed>> {
    let bad = |e: csv::Error| EvalError::input(path, format!("not a readable CSV file: {e}"));
    let mut reader = csv::Reader::from_path(path).map_err(bad)?;
    let headers = reader.headers().map_err(bad)?.clone();
    let names = ["image", "path", "file", "filename"];
    let Some(column) = headers
        .iter()
        .position(|h| names.contains(&h.trim().to_lowercase().as_str()))
    else {
        return Err(EvalError::input(
            path,
            format!(
                "has no column image, path or file (columns: {})",
                headers.iter().collect::<Vec<_>>().join(", ")
            ),
        ));
    };
    let hash = headers
        .iter()
        .position(|h| matches!(h.trim().to_lowercase().as_str(), "sha256" | "image_sha256"));
    let mut list = Vec::new();
    for (row, record) in reader.records().enumerate() {
        let record = record.map_err(bad)?;
        let name = record.get(column).unwrap_or_default().trim();
        if name.is_empty() {
            return Err(EvalError::input(path, format!("row {row} names no image")));
        }
        let sha256 = hash
            .and_then(|h| record.get(h))
            .filter(|h| !h.is_empty())
            .map(str::to_lowercase);
        list.push(Listed {
            name: name.to_string(),
            sha256,
            picture: None,
        });
    }
    if list.is_empty() {
        return Err(EvalError::input(path, "lists no image"));
    }
    Ok(list)
}

fn listed(name: String, sha256: String, bytes: Option<&[u8]>, rejected: &mut Vec<String>) -> Listed {
    let picture = bytes.and_then(|bytes| match decode_rgb8(bytes, &name) {
        Ok(decoded) => fingerprint(&decoded.rgb),
        Err(error) => {
            rejected.push(format!("{name}: {error}"));
            None
        }
    });
    Listed {
        name,
        sha256: Some(sha256),
        picture,
    }
}

fn read_dataset(path: &Path, set: Option<&str>, with_pictures: bool) -> Result<(Vec<Listed>, Vec<String>)> {
    let bad = |e: dataset::error::DatasetError| EvalError::input(path, e.to_string());
    let open = Dataset::open(path).map_err(bad)?;
    let columns = if with_pictures {
        Columns::All
    } else {
        Columns::WithoutImageBytes
    };
    let bytes = |b: &Vec<u8>| with_pictures.then(|| b.clone());
    let (mut list, mut rejected) = (Vec::new(), Vec::new());
    if set.is_none() {
        for record in open.pairs(columns).map_err(bad)? {
            let record = record.map_err(bad)?;
            list.push(listed(
                record.image.path,
                record.image_sha256,
                bytes(&record.image.bytes).as_deref(),
                &mut rejected,
            ));
        }
    } else if let Some(name) = set.filter(|s| !open.label_sets().iter().any(|l| l == s)) {
        return Err(EvalError::input(
            path,
            format!("has no label set '{name}' (sets there: {:?})", open.label_sets()),
        ));
    }
    for record in open.labels(set, columns).map_err(bad)? {
        let record = record.map_err(bad)?;
        list.push(listed(
            record.image.path,
            record.image_sha256,
            bytes(&record.image.bytes).as_deref(),
            &mut rejected,
        ));
    }
    if list.is_empty() {
        return Err(EvalError::input(path, "holds no image"));
    }
    Ok((list, rejected))
}

fn read_folder(path: &Path, with_pictures: bool) -> Result<(Vec<Listed>, Vec<String>)> {
    let (mut list, mut rejected) = (Vec::new(), Vec::new());
    for entry in walkdir::WalkDir::new(path).sort_by_file_name() {
        let entry = entry.map_err(|e| EvalError::input(path, e.to_string()))?;
        let extension = entry
            .path()
            .extension()
            .map(|e| e.to_string_lossy().to_lowercase())
            .unwrap_or_default();
        if !entry.file_type().is_file()
            || !["jpg", "jpeg", "png", "tif", "tiff", "bmp", "webp", "gif"].contains(&extension.as_str())
        {
            continue;
        }
        let name = entry
            .path()
            .strip_prefix(path)
            .unwrap_or(entry.path())
            .to_string_lossy()
            .into_owned();
        match std::fs::read(entry.path()) {
            Ok(bytes) => list.push(listed(
                name,
                dataset::hash::sha256_hex(&bytes),
                with_pictures.then_some(bytes.as_slice()),
                &mut rejected,
            )),
            Err(error) => rejected.push(format!("{name}: {error}")),
        }
    }
    if list.is_empty() {
        return Err(EvalError::input(
            path,
            "holds no image; give a CSV with a column 'image', a dataset folder or a folder of images",
        ));
    }
    Ok((list, rejected))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn named(names: &[&str]) -> Vec<Listed> {
        names
            .iter()
            .map(|n| Listed {
                name: n.to_string(),
                sha256: None,
                picture: None,
            })
            .collect()
    }

    #[test]
    fn names_and_eyes() {
        let audit = audit(
            &named(&["train/2_left.jpg", "train/7_right.jpg"]),
            &named(&["x/2_LEFT.jpg", "x/7_left.jpg", "x/8_left.jpg", "y/2_left.jpg"]),
        );
        assert_eq!((audit.leaked, audit.findings.len(), audit.repeated_in_test), (2, 3, 1));
        assert_eq!(audit.findings[1].evidence, Evidence::OtherEye);
    }

    #[test]
    fn the_same_picture_is_found_after_resizing_and_framing() {
        let paint = |seed: u32, size: u32, frame: u32| {
            image::RgbImage::from_fn(size, size, |x, y| {
                if x < frame || y < frame || x >= size - frame || y >= size - frame {
                    return image::Rgb([0, 0, 0]);
                }
                let inner = f64::from(size - 2 * frame);
                let (u, v) = (f64::from(x - frame) / inner, f64::from(y - frame) / inner);
                let wave = ((u * 40.0 + f64::from(seed)).sin()
                    + (v * (35.0 + 5.0 * f64::from(seed))).cos()
                    + (u * v * 60.0).sin())
                    * 30.0;
                image::Rgb([(140.0 + wave) as u8; 3])
            })
        };
        let of = |seed, size, frame| fingerprint(&paint(seed, size, frame)).unwrap();
        let first = of(1, 400, 0);
        assert!(likeness(&first, &of(1, 220, 0)) >= SAME_PICTURE);
        assert!(likeness(&first, &of(1, 460, 30)) >= SAME_PICTURE);
        assert!(likeness(&first, &of(2, 400, 0)) < 0.9);
        assert!(fingerprint(&image::RgbImage::from_pixel(50, 50, image::Rgb([90; 3]))).is_none());
    }

    #[test]
    fn finds_the_leaked_odir_photographs() {
        let Some(shared) = dataset::testing::shared_dir() else {
            eprintln!("skipped: the shared material is not there");
            return;
        };
        let list = |name: &str| {
            read_list(&shared.join("data/labels").join(name).to_string_lossy(), false)
                .unwrap()
                .0
        };
        let found = audit(&list("08_ODIR.csv"), &list("08_ODIR200x3.csv"));
        assert_eq!((found.test_images, found.leaked), (600, 112));
        assert_eq!(audit(&list("25_REFUGE.csv"), &list("08_ODIR200x3.csv")).leaked, 0);
    }
}
