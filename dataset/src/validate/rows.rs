//! Checks of rows: ids, groups, pictures, captions.

use super::files::ShardFile;
use super::{Options, Report};
use crate::hash::sha256_hex;
use crate::image_input::with_rgb8;
use crate::modality::Modality;
use crate::progress::Progress;
use crate::read::{Columns, Rows};
use crate::record::{BoundingBox, ImageFile, LabelRecord, PairRecord, TextRecord};
use crate::rows::{Row, check_image_path};
use crate::schema::Table;
use rayon::prelude::*;
use std::collections::HashMap;

/// What all rows together tell.
#[derive(Default)]
pub(super) struct Known {
    /// Row ids of each table with the index of their source.
    pub ids: HashMap<(Table, Box<str>), u32>,
    /// Names of sources, by index.
    pub sources: Vec<String>,
    source_index: HashMap<String, u32>,
    /// The split of each group, by table.
    groups: HashMap<(Table, Box<str>), Box<str>>,
}

impl Known {
    fn source(&mut self, name: &str) -> u32 {
        if let Some(&index) = self.source_index.get(name) {
            return index;
        }
        let index = u32::try_from(self.sources.len()).unwrap_or(u32::MAX);
        self.sources.push(name.to_owned());
        self.source_index.insert(name.to_owned(), index);
        index
    }
}

/// Rows whose pictures are checked side by side; bounds the memory.
const CHUNK: usize = 64;

pub(super) fn check_shard(
    shard: &ShardFile,
    options: Options,
    known: &mut Known,
    report: &mut Report,
    progress: &Progress,
) {
    match shard.table {
        Table::Pairs => check_rows::<PairRecord>(shard, options, known, report, progress),
        Table::Text => check_rows::<TextRecord>(shard, options, known, report, progress),
        Table::Labels => check_rows::<LabelRecord>(shard, options, known, report, progress),
    }
}

fn check_rows<R: Checked + Sync>(
    shard: &ShardFile,
    options: Options,
    known: &mut Known,
    report: &mut Report,
    progress: &Progress,
) {
    let columns = if options.pictures {
        Columns::All
    } else {
        Columns::WithoutImageBytes
    };
    let mut rows = Rows::<R>::new(vec![shard.path.clone()], columns);
    let mut last_key = Vec::new();
    let mut ordered = true;
    loop {
        let mut chunk = Vec::with_capacity(CHUNK);
        let mut ended = false;
        while chunk.len() < CHUNK {
            match rows.next() {
                Some(Ok(row)) => chunk.push(row),
                Some(Err(error)) => {
                    report.problem("parquet", &shard.name, error.to_string());
                    ended = true;
                    break;
                }
                None => {
                    ended = true;
                    break;
                }
            }
        }
        if options.pictures {
            let findings: Vec<_> = chunk.par_iter().map(picture_findings).collect();
            for (row, findings) in chunk.iter().zip(findings) {
                report.pictures_checked += u64::from(row.picture().is_some());
                for (check, message) in findings {
                    report.problem(check, place(shard, row.id()), message);
                }
            }
        }
        for row in &chunk {
            let key = row.sort_key();
            ordered &= last_key <= key;
            last_key = key;
            check_row(row, shard, known, report);
        }
        progress.inc(chunk.len() as u64);
        if ended {
            break;
        }
    }
    if !ordered {
        report.warning(
            "order",
            &shard.name,
            "rows are not in the order of the format; the next `ingest` sorts them",
        );
    }
}

fn place(shard: &ShardFile, id: &str) -> String {
    format!("{} id {id}", shard.name)
}

fn check_row<R: Checked>(row: &R, shard: &ShardFile, known: &mut Known, report: &mut Report) {
    let here = || place(shard, row.id());
    let source = known.source(row.source());
    if known.ids.insert((shard.table, row.id().into()), source).is_some() {
        report.problem("id", here(), "this id occurs twice; ingest the source again");
    }
    if let Some(split) = row.split() {
        let group = (shard.table, row.group().into());
        let first = known.groups.entry(group).or_insert_with(|| split.into());
        if &**first != split {
            let message = format!(
                "group `{}` lies in splits `{first}` and `{split}`; keep each group in one",
                row.group()
            );
            report.problem("split", here(), message);
        }
    }
    if row.stem() != shard.stem {
        let message = format!("row of `{}` in a file of `{}`", row.stem(), shard.stem);
        report.problem("split", here(), message);
    }
    if row.source().is_empty() {
        report.problem("source", here(), "the source's name is empty");
    }
    for (check, problem, message) in row.findings() {
        if problem {
            report.problem(check, here(), message);
        } else {
            report.warning(check, here(), message);
        }
    }
}

/// Problems of a row's picture.
fn picture_findings<R: Checked>(row: &R) -> Vec<(&'static str, String)> {
    let Some(picture) = row.picture() else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    if let Err(message) = check_image_path(&picture.image.path) {
        findings.push(("path", message));
    }
    if picture.image.bytes.is_empty() {
        findings.push(("decode", "the picture's bytes are missing".to_owned()));
        return findings;
    }
    let found = sha256_hex(&picture.image.bytes);
    if found != picture.sha256 {
        findings.push((
            "sha256",
            format!("image_sha256 is `{}`, the bytes have {found}", picture.sha256),
        ));
    }
    let found = with_rgb8(&picture.image.bytes, &picture.image.path, |decoded| {
        let turned = decoded.notes.iter().any(|note| note == "exif-rotated");
        (decoded.rgb.dimensions(), turned)
    });
    match found {
        Err(error) => findings.push(("decode", error.to_string())),
        Ok(((width, height), turned)) => {
            let stored = (i64::from(picture.width), i64::from(picture.height));
            let upright = (i64::from(width), i64::from(height));
            if stored != upright && !(turned && stored == (upright.1, upright.0)) {
                let message = format!(
                    "width x height is {}x{}, the picture has {width}x{height}",
                    stored.0, stored.1
                );
                findings.push(("size", message));
            }
        }
    }
    findings
}

struct Picture<'a> {
    image: &'a ImageFile,
    width: i32,
    height: i32,
    sha256: &'a str,
}

/// Check name, whether it is a problem (else a warning), message.
type RowFinding = (&'static str, bool, String);

/// What the checks need of a record.
trait Checked: Row {
    fn picture(&self) -> Option<Picture<'_>>;
    /// `None` where rows have no split.
    fn split(&self) -> Option<&str>;
    fn group(&self) -> &str;
    fn findings(&self) -> Vec<RowFinding>;
}

impl Checked for PairRecord {
    fn picture(&self) -> Option<Picture<'_>> {
        Some(Picture {
            image: &self.image,
            width: self.width,
            height: self.height,
            sha256: &self.image_sha256,
        })
    }

    fn split(&self) -> Option<&str> {
        Some(&self.split)
    }

    fn group(&self) -> &str {
        &self.split_group
    }

    fn findings(&self) -> Vec<RowFinding> {
        let mut findings = Vec::new();
        if let Err(message) = self.check() {
            findings.push(("row", true, message));
        }
        let filled = |caption: &Option<String>| caption.as_ref().is_some_and(|text| !text.trim().is_empty());
        if !filled(&self.caption_en) && !filled(&self.caption_zh) {
            findings.push(("caption", false, "neither an English nor a Chinese caption".to_owned()));
        }
        if let Some(lang) = &self.lang_original
            && !["en", "zh"].contains(&lang.as_str())
        {
            findings.push((
                "language",
                true,
                format!("lang_original is `{lang}`, allowed are en and zh"),
            ));
        }
        if let Some(bbox) = self.panel_bbox
            && !sane(bbox)
        {
            let message = format!(
                "panel_bbox is {},{},{},{}: empty or negative",
                bbox.x0, bbox.y0, bbox.x1, bbox.y1
            );
            findings.push(("bbox", true, message));
        }
        findings
    }
}

fn sane(bbox: BoundingBox) -> bool {
    bbox.x0 >= 0 && bbox.y0 >= 0 && bbox.x1 > bbox.x0 && bbox.y1 > bbox.y0
}

impl Checked for TextRecord {
    fn picture(&self) -> Option<Picture<'_>> {
        None
    }

    fn split(&self) -> Option<&str> {
        None
    }

    fn group(&self) -> &str {
        &self.id
    }

    fn findings(&self) -> Vec<RowFinding> {
        let mut findings = Vec::new();
        if self.text.trim().is_empty() {
            findings.push(("text", true, "the text is empty".to_owned()));
        }
        if !["en", "zh"].contains(&self.language.as_str()) {
            findings.push((
                "language",
                false,
                format!("language is `{}`, expected en or zh", self.language),
            ));
        }
        findings
    }
}

impl Checked for LabelRecord {
    fn picture(&self) -> Option<Picture<'_>> {
        Some(Picture {
            image: &self.image,
            width: self.width,
            height: self.height,
            sha256: &self.image_sha256,
        })
    }

    fn split(&self) -> Option<&str> {
        Some(&self.split)
    }

    fn group(&self) -> &str {
        &self.split_group
    }

    fn findings(&self) -> Vec<RowFinding> {
        let mut findings = Vec::new();
        if self.categories.is_empty() {
            findings.push(("label", false, "no category".to_owned()));
        }
        if self.modality == Modality::Other {
            findings.push(("label", false, "modality OTHER in a labelled set".to_owned()));
        }
        findings
    }
}
