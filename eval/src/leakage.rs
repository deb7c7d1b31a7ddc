//! Leakage audit: which test images does a training set hold already?
//!
//! Evidence, strongest first: same bytes, same picture (perceptual hash), same file name, and, as a weaker
//! hint, the other eye of the same patient. File names come from public lists, so they work without images.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use dataset::image_input::decode_rgb8;
use dataset::read::{Columns, Dataset};
use image::imageops::{FilterType, crop_imm, grayscale, resize};
use serde::Serialize;

use crate::error::{EvalError, Result};

/// Bits of a perceptual hash: 16 × 16 horizontal brightness changes.
const HASH_SIDE: u32 = 16;
/// Two pictures with at most so many differing bits (of 256) count as the same picture.
pub const SAME_PICTURE_BITS: u32 = 16;
/// Pixels darker than this belong to the black frame of a photograph.
const FRAME_LEVEL: u8 = 16;

/// A difference hash of the picture within its frame.
pub type PictureHash = [u64; 4];

/// One image of a list.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Name or path as listed.
    pub name: String,
    /// Hash of its bytes, when they are known.
    pub sha256: Option<String>,
    /// Perceptual hash, when it was asked for and the image decodes.
    pub picture: Option<PictureHash>,
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
    /// Both hashes are known and differ, and no picture hash confirms: two different images may share a name.
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
    let pictures: Vec<(usize, PictureHash)> = train
        .iter()
        .enumerate()
        .filter_map(|(i, l)| Some((i, l.picture?)))
        .collect();

    let find = |test: &Listed| -> Option<(usize, Evidence, bool)> {
        if let Some(&i) = test.sha256.as_ref().and_then(|h| bytes.get(h)) {
            return Some((i, Evidence::SameBytes, false));
        }
        if let Some(own) = test.picture
            && let Some((i, _)) = pictures
                .iter()
                .map(|(i, p)| (*i, distance(&own, p)))
                .filter(|p| p.1 <= SAME_PICTURE_BITS)
                .min_by_key(|p| p.1)
        {
            return Some((i, Evidence::SamePicture, false));
        }
        if let Some(&i) = names.get(&base_name(&test.name)) {
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

fn distance(a: &PictureHash, b: &PictureHash) -> u32 {
    a.iter().zip(b).map(|(x, y)| (x ^ y).count_ones()).sum()
}

/// Hash of the picture inside its black frame: for each cell of a 16 × 16 grid, whether it is brighter than
/// its right neighbour. `None` for a picture without contrast, which would match every other such picture.
pub fn picture_hash(picture: &image::RgbImage) -> Option<PictureHash> {
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
    let small = resize(&inner, HASH_SIDE + 1, HASH_SIDE, FilterType::Triangle);
    let (low, high) = small
        .pixels()
        .fold((u8::MAX, 0), |(l, h), p| (l.min(p.0[0]), h.max(p.0[0])));
    if high - low < 8 {
        return None;
    }
    let mut hash = [0u64; 4];
    for y in 0..HASH_SIDE {
        for x in 0..HASH_SIDE {
            let bit = (y * HASH_SIDE + x) as usize;
            if small.get_pixel(x, y).0[0] > small.get_pixel(x + 1, y).0[0] {
                hash[bit / 64] |= 1 << (bit % 64);
            }
        }
    }
    Some(hash)
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
        Ok(decoded) => picture_hash(&decoded.rgb),
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
                let wave =
                    ((u * 9.0 + f64::from(seed)).sin() + (v * (7.0 + f64::from(seed))).cos() + (u * v * 23.0).sin())
                        * 30.0;
                image::Rgb([(140.0 + wave) as u8; 3])
            })
        };
        let hash = |p: &image::RgbImage| picture_hash(p).unwrap();
        let first = hash(&paint(1, 400, 0));
        assert!(distance(&first, &hash(&paint(1, 220, 0))) <= SAME_PICTURE_BITS);
        assert!(distance(&first, &hash(&paint(1, 460, 30))) <= SAME_PICTURE_BITS);
        assert!(distance(&first, &hash(&paint(2, 400, 0))) > 3 * SAME_PICTURE_BITS);
        assert!(picture_hash(&image::RgbImage::from_pixel(50, 50, image::Rgb([90; 3]))).is_none());
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
