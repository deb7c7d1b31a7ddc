//! Finds pictures that occur more than once, as pairs or as labelled images: byte
//! for byte, or to the eye (difference hash); within a folder, or between two.

use super::{Fate, rewrite};
use crate::error::Result;
use crate::image_input::decode_rgb8;
use crate::progress;
use crate::read::{Columns, Dataset, Rows};
use crate::record::{LabelRecord, PairRecord};
use crate::rows::Row;
use crate::schema::Table;
use image_hasher::{HashAlg, HasherConfig, ImageHash};
use rayon::prelude::*;
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// A picture that is there twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Twin {
    /// `exact` or `similar`.
    pub kind: &'static str,
    /// The row that was first.
    pub first: String,
    /// Its table, `pairs` or `labels`.
    pub first_table: &'static str,
    /// The row that repeats it.
    pub second: String,
    /// Its table.
    pub second_table: &'static str,
    /// Bits of 64 in which the difference hashes differ.
    pub distance: u32,
    /// Whether both have the same captions, or the same labels.
    pub same_captions: bool,
}

struct Picture {
    table: &'static str,
    id: String,
    sha256: String,
    /// Captions, or categories and attributes.
    words: Vec<String>,
    hash: Option<ImageHash>,
}

/// Largest distance of 64 bits that counts as similar.
pub const DEFAULT_DISTANCE: u32 = 4;

/// Pictures hashed side by side; bounds the memory.
const CHUNK: usize = 128;

/// Bits of a hash part: two hashes within distance 4 agree in at least one of
/// five parts, so only pictures that share a part are compared.
fn parts(hash: &ImageHash, count: usize) -> Vec<(usize, Vec<bool>)> {
    let bits: Vec<bool> = hash
        .as_bytes()
        .iter()
        .flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 == 1))
        .collect();
    // Rounded down: at least `count` parts, or a close pair could share none.
    let size = (bits.len() / count).max(1);
    bits.chunks(size)
        .enumerate()
        .map(|(at, part)| (at, part.to_vec()))
        .collect()
}

/// A row with a picture.
trait Pictured: Row {
    /// What is written about the picture, and its hash.
    fn words_and_sha256(self) -> (Vec<String>, String);
}

impl Pictured for PairRecord {
    fn words_and_sha256(self) -> (Vec<String>, String) {
        let captions = [self.caption_en, self.caption_zh];
        (captions.map(Option::unwrap_or_default).into(), self.image_sha256)
    }
}

impl Pictured for LabelRecord {
    fn words_and_sha256(self) -> (Vec<String>, String) {
        let words = [self.categories.join("; "), self.attributes.join("; ")];
        (words.into(), self.image_sha256)
    }
}

/// The pictures of both tables, pairs first.
fn pictures(dataset: &Dataset, similar: bool) -> Result<Vec<Picture>> {
    let columns = if similar {
        Columns::All
    } else {
        Columns::WithoutImageBytes
    };
    let progress = progress::bar(None, "hashing pictures");
    let mut found = Vec::new();
    add_pictures(&mut found, dataset.pairs(columns)?, similar, &progress)?;
    add_pictures(&mut found, dataset.labels(None, columns)?, similar, &progress)?;
    progress.finish();
    Ok(found)
}

fn add_pictures<R: Pictured>(
    found: &mut Vec<Picture>,
    mut rows: Rows<R>,
    similar: bool,
    progress: &progress::Progress,
) -> Result<()> {
    let hasher = HasherConfig::new()
        .hash_alg(HashAlg::Gradient)
        .hash_size(8, 8)
        .to_hasher();
    loop {
        let chunk: Vec<R> = rows.by_ref().take(CHUNK).collect::<Result<_>>()?;
        if chunk.is_empty() {
            return Ok(());
        }
        progress.inc(chunk.len() as u64);
        let hashed: Vec<Picture> = chunk
            .into_par_iter()
            .map(|row| {
                let decoded = row
                    .image()
                    .filter(|_| similar)
                    .and_then(|image| decode_rgb8(&image.bytes, &image.path).ok());
                let id = row.id().to_owned();
                let (words, sha256) = row.words_and_sha256();
                Picture {
                    table: R::TABLE.name(),
                    id,
                    sha256,
                    words,
                    hash: decoded.map(|decoded| hasher.hash_image(&decoded.rgb)),
                }
            })
            .collect();
        found.extend(hashed);
    }
}

/// Twins among the pictures of a folder; with `other`, between the two folders
/// (`first` is then a row of `other`). `similar` is the largest distance of
/// difference hashes, or `None` for exact twins only.
///
/// # Errors
/// A file cannot be read.
pub fn find(folder: &Path, other: Option<&Path>, similar: Option<u32>) -> Result<Vec<Twin>> {
    let own = pictures(&Dataset::open(folder)?, similar.is_some())?;
    let before = match other {
        Some(other) => pictures(&Dataset::open(other)?, similar.is_some())?,
        None => Vec::new(),
    };
    Ok(twins(&before, &own, other.is_none(), similar))
}

fn twins(before: &[Picture], own: &[Picture], within: bool, similar: Option<u32>) -> Vec<Twin> {
    let part_count = similar.map_or(1, |distance| distance as usize + 1);
    let mut exact: HashMap<&str, &Picture> = HashMap::new();
    let mut by_part: HashMap<(usize, Vec<bool>), Vec<&Picture>> = HashMap::new();
    let mut twins = Vec::new();
    let all = before
        .iter()
        .map(|picture| (picture, false))
        .chain(own.iter().map(|picture| (picture, true)));
    for (picture, is_own) in all {
        let twin = |first: &Picture, kind, distance| Twin {
            kind,
            first: first.id.clone(),
            first_table: first.table,
            second: picture.id.clone(),
            second_table: picture.table,
            distance,
            same_captions: first.table == picture.table && first.words == picture.words,
        };
        let first = exact
            .get(picture.sha256.as_str())
            .copied()
            .filter(|_| !picture.sha256.is_empty());
        if let Some(first) = first.filter(|_| is_own) {
            twins.push(twin(first, "exact", 0));
        }
        if first.is_some() {
            continue;
        }
        if let (Some(hash), Some(limit)) = (&picture.hash, similar) {
            let parts = parts(hash, part_count);
            if is_own {
                let close = parts.iter().filter_map(|part| by_part.get(part)).flatten();
                let mut seen = HashSet::new();
                let near = close
                    .filter(|other| seen.insert((other.table, other.id.as_str())))
                    .filter_map(|other| {
                        let distance = other.hash.as_ref()?.dist(hash);
                        (distance <= limit).then_some((distance, *other))
                    });
                if let Some((distance, first)) = near.min_by_key(|(distance, other)| (*distance, other.id.clone())) {
                    twins.push(twin(first, "similar", distance));
                }
            }
            if within || !is_own {
                for part in parts {
                    by_part.entry(part).or_default().push(picture);
                }
            }
        }
        if within || !is_own {
            exact.insert(&picture.sha256, picture);
        }
    }
    twins
}

/// Removes the second of exact twins among the pairs with the same captions; the
/// ledger calls them `duplicate`. All other twins stay: a person should decide. Returns how many rows went.
///
/// # Errors
/// A file cannot be read or written; the folder is then as it was.
pub fn remove_exact(folder: &Path, twins: &[Twin]) -> Result<u64> {
    let gone: HashMap<&str, &str> = twins
        .iter()
        .filter(|twin| twin.kind == "exact" && twin.same_captions && twin.second_table == Table::Pairs.name())
        .map(|twin| (twin.second.as_str(), twin.first.as_str()))
        .collect();
    if gone.is_empty() {
        return Ok(0);
    }
    let (count, _) = rewrite::<PairRecord>(folder, |row| match gone.get(row.id.as_str()) {
        Some(first) => Fate::Drop {
            state: "duplicate",
            reason: format!("same picture and captions as {first}"),
        },
        None => Fate::Keep,
    })?;
    Ok(count)
}
