//! Lists of images to audit: CSV files, dataset folders, folders of images.

use std::path::Path;

use dataset::image_input::decode_rgb8;
use dataset::read::{Columns, Dataset};

use super::Listed;
use super::fingerprint::fingerprint;
use crate::error::{EvalError, Result};

/// File extensions that count as images in a folder.
const IMAGE_EXTENSIONS: [&str; 9] = ["jpg", "jpeg", "png", "tif", "tiff", "bmp", "webp", "gif", "ppm"];

/// SHA-256 of a file, from its name in the list and its path.
pub type HashOf<'a> = &'a mut dyn FnMut(&str, &Path) -> std::io::Result<String>;

/// A place as it is written: `PATH`, `PATH#SET`, `PATH@SPLIT` or `PATH#SET@SPLIT`.
#[derive(Debug, PartialEq)]
struct Place<'a> {
    path: &'a Path,
    set: Option<&'a str>,
    split: Option<&'a str>,
}

impl<'a> Place<'a> {
    /// A path that exists as it stands is taken as it stands, whatever signs it holds.
    fn parse(place: &'a str) -> Self {
        if Path::new(place).exists() {
            return Self {
                path: Path::new(place),
                set: None,
                split: None,
            };
        }
        let (rest, split) = place.rsplit_once('@').map_or((place, None), |(r, s)| (r, Some(s)));
        let (path, set) = rest.rsplit_once('#').map_or((rest, None), |(p, s)| (p, Some(s)));
        Self {
            path: Path::new(path),
            set,
            split,
        }
    }
}

/// Reads a list of images: a CSV with a column `image`, a dataset folder (`FOLDER#SET` for one label set,
/// `FOLDER@SPLIT` or `FOLDER#SET@SPLIT` for one split), or a folder of images. Images that cannot be read or
/// decoded are named in the second value.
pub fn read_list(place: &str, with_pictures: bool) -> Result<(Vec<Listed>, Vec<String>)> {
    read_list_with(place, with_pictures, &mut |_, file| {
        dataset::hash::sha256_file(file).map_err(std::io::Error::other)
    })
}

/// As [`read_list`]; hashes of files in a folder of images come from `hash_of` when no pictures are asked for.
pub fn read_list_with(place: &str, with_pictures: bool, hash_of: HashOf<'_>) -> Result<(Vec<Listed>, Vec<String>)> {
    let place = Place::parse(place);
    if place.path.is_file() && place.set.is_none() && place.split.is_none() {
        return Ok((read_csv(place.path)?, Vec::new()));
    }
    if ["data", "labels", "text"].iter().any(|d| place.path.join(d).is_dir()) {
        return read_dataset(&place, with_pictures);
    }
    if place.set.is_some() || place.split.is_some() {
        return Err(EvalError::input(
            place.path,
            "is no dataset folder, so #SET and @SPLIT mean nothing here; name a dataset folder, or leave them away",
        ));
    }
    read_folder(place.path, with_pictures, hash_of)
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

fn read_dataset(place: &Place<'_>, with_pictures: bool) -> Result<(Vec<Listed>, Vec<String>)> {
    let (path, set) = (place.path, place.set);
    let bad = |e: dataset::error::DatasetError| EvalError::input(path, e.to_string());
    let open = Dataset::open(path).map_err(bad)?;
    let columns = if with_pictures {
        Columns::All
    } else {
        Columns::WithoutImageBytes
    };
    let (mut list, mut rejected) = (Vec::new(), Vec::new());
    let mut splits = std::collections::BTreeSet::new();
    let mut take = |image: dataset::record::ImageFile, sha256: String, split: String| {
        if place.split.is_none_or(|s| s == split) {
            let bytes = with_pictures.then_some(image.bytes.as_slice());
            list.push(listed(image.path, sha256, bytes, &mut rejected));
        }
        splits.insert(split);
    };
    if set.is_none() {
        for record in open.pairs(columns).map_err(bad)? {
            let record = record.map_err(bad)?;
            take(record.image, record.image_sha256, record.split.to_string());
        }
    } else if let Some(name) = set.filter(|s| !open.label_sets().iter().any(|l| l == s)) {
        return Err(EvalError::input(
            path,
            format!("has no label set '{name}' (sets there: {:?})", open.label_sets()),
        ));
    }
    for record in open.labels(set, columns).map_err(bad)? {
        let record = record.map_err(bad)?;
        take(record.image, record.image_sha256, record.split.to_string());
    }
    if list.is_empty() {
        let split = place
            .split
            .map(|s| format!(" in split '{s}' (splits there: {splits:?})"));
        return Err(EvalError::input(
            path,
            format!("holds no image{}", split.unwrap_or_default()),
        ));
    }
    Ok((list, rejected))
}

fn read_folder(path: &Path, with_pictures: bool, hash_of: HashOf<'_>) -> Result<(Vec<Listed>, Vec<String>)> {
    let (mut list, mut rejected) = (Vec::new(), Vec::new());
    for entry in walkdir::WalkDir::new(path).sort_by_file_name() {
        let entry = entry.map_err(|e| EvalError::input(path, e.to_string()))?;
        let file = entry.path();
        let extension = file
            .extension()
            .map(|e| e.to_string_lossy().to_lowercase())
            .unwrap_or_default();
        if !entry.file_type().is_file() || !IMAGE_EXTENSIONS.contains(&extension.as_str()) {
            continue;
        }
        let name = file.strip_prefix(path).unwrap_or(file).to_string_lossy().into_owned();
        if with_pictures {
            match std::fs::read(file) {
                Ok(bytes) => list.push(listed(
                    name,
                    dataset::hash::sha256_hex(&bytes),
                    Some(&bytes),
                    &mut rejected,
                )),
                Err(error) => rejected.push(format!("{name}: {error}")),
            }
        } else {
            match hash_of(&name, file) {
                Ok(sha256) => list.push(listed(name, sha256, None, &mut rejected)),
                Err(error) => rejected.push(format!("{name}: {error}")),
            }
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
    use super::*;

    #[test]
    fn places_name_set_and_split() {
        let parsed = |text| {
            let p = Place::parse(text);
            (p.path.to_string_lossy().into_owned(), p.set, p.split)
        };
        assert_eq!(parsed("no/d#cfp@train"), ("no/d".into(), Some("cfp"), Some("train")));
        assert_eq!(parsed("no/d@train"), ("no/d".into(), None, Some("train")));
        assert_eq!(parsed("no/d#cfp"), ("no/d".into(), Some("cfp"), None));
        let folder = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
        let odd = folder.path().join("a@b#c");
        std::fs::create_dir(&odd).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(parsed(&odd.to_string_lossy()).1, None);
    }
}
