//! Generated pairs: noise pictures of 2 to 4 KiB, or drawn photographs, and
//! captions drawn from a short vocabulary. The same seed gives the same folder.

use super::Measured;
use crate::cost::Meter;
use crate::error::{DatasetError, Result};
use crate::hash::sha256_hex;
use crate::ledger::LedgerEntry;
use crate::modality::Modality;
use crate::progress;
use crate::record::{BoundingBox, ImageFile, PairRecord, ReviewStatus, content_id};
use crate::shard::SHARD_BYTES;
use crate::write::TableUpdate;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};
use rayon::prelude::*;
use std::path::Path;

/// Pairs of one generated book.
const BOOK: u64 = 25_000;
/// Pairs that `bench add` brings.
const ADDED: u64 = 1000;
/// Pairs drawn side by side; bounds the memory.
const CHUNK: u64 = 512;

/// SplitMix64 (Steele, Lea and Flood 2014).
pub(super) struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number in `0..limit`; the bias of the remainder does not matter here.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }
}

/// Generates a folder of `rows` pairs.
pub(super) fn make(out: &Path, rows: u64, seed: u64, pictures: Pictures) -> Result<Measured> {
    if out.exists() {
        return Err(DatasetError::invalid(
            out.display().to_string(),
            "exists already; give a new folder",
        ));
    }
    let meter = Meter::start();
    let update = TableUpdate::open_whole(out)?;
    fill(update, "make", rows, meter, |number| {
        pair(seed, number, &format!("book{}", 1 + number / BOOK), pictures)
    })
}

/// Replaces the source `source` by 1,000 pairs.
pub(super) fn add(folder: &Path, source: &str) -> Result<Measured> {
    let meter = Meter::start();
    let update = TableUpdate::open(folder, source)?;
    fill(update, "add", ADDED, meter, |number| {
        pair(u64::MAX, number, source, Pictures::Small)
    })
}

fn fill(
    mut update: TableUpdate<PairRecord>,
    task: &'static str,
    rows: u64,
    meter: Meter,
    pair: impl Fn(u64) -> Result<PairRecord> + Sync,
) -> Result<Measured> {
    let progress = progress::bar(Some(rows), "drawing pairs");
    let mut bytes = 0;
    for start in (0..rows).step_by(CHUNK as usize) {
        let chunk: Vec<PairRecord> = (start..rows.min(start + CHUNK))
            .into_par_iter()
            .map(&pair)
            .collect::<Result<_>>()?;
        progress.inc(chunk.len() as u64);
        for record in chunk {
            bytes += record.image.bytes.len() as u64;
            update.push_ledger(ledger_line(&record))?;
            update.push(record)?;
        }
    }
    progress.finish();
    let rows = update.commit(SHARD_BYTES)?.rows;
    Ok(Measured {
        task,
        rows,
        bytes,
        cost: meter.cost(),
        open_seconds: None,
    })
}

fn ledger_line(record: &PairRecord) -> LedgerEntry {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    LedgerEntry {
        source_id: record.source_id.clone(),
        input: format!(
            "{}#{}/{}",
            text(&record.source_page),
            text(&record.figure_no),
            text(&record.panel)
        ),
        kind: "panel".to_owned(),
        state: "paired".to_owned(),
        reason: None,
        id: Some(record.id.clone()),
        detail: None,
    }
}

const ENGLISH: &[&str] = &[
    "the",
    "of",
    "and",
    "with",
    "in",
    "shows",
    "a",
    "drusen",
    "macula",
    "macular",
    "edema",
    "hard",
    "exudates",
    "cotton",
    "wool",
    "spots",
    "hemorrhage",
    "retinal",
    "vein",
    "occlusion",
    "artery",
    "branch",
    "central",
    "fovea",
    "optic",
    "disc",
    "cup",
    "neovascularization",
    "choroidal",
    "leakage",
    "late",
    "phase",
    "early",
    "fluorescein",
    "angiogram",
    "hyperfluorescence",
    "hypofluorescence",
    "blocked",
    "detachment",
    "serous",
    "pigment",
    "epithelium",
    "subretinal",
    "fluid",
    "intraretinal",
    "cyst",
    "epiretinal",
    "membrane",
    "hole",
    "traction",
    "vitreous",
    "laser",
    "scar",
    "atrophy",
    "geographic",
    "myopic",
    "staphyloma",
    "diabetic",
    "retinopathy",
    "proliferative",
    "moderate",
    "severe",
    "mild",
    "patient",
    "year-old",
    "man",
    "woman",
    "right",
    "left",
    "eye",
    "visual",
    "acuity",
];

const CHINESE: &[&str] = &[
    "黄斑区",
    "视网膜",
    "玻璃膜疣",
    "出血",
    "渗出",
    "水肿",
    "荧光素",
    "血管造影",
    "晚期",
    "早期",
    "渗漏",
    "强荧光",
    "弱荧光",
    "视盘",
    "右眼",
    "左眼",
    "可见",
    "散在",
    "后极部",
    "脉络膜",
    "新生血管",
    "脱离",
    "分支静脉",
    "阻塞",
    "中央动脉",
    "患者",
    "糖尿病",
    "瘢痕",
    "萎缩",
    "色素上皮",
];

/// `count` words, frequent ones first in their list.
fn sentence(random: &mut Random, words: &[&str], count: u64, between: &str) -> String {
    let mut text = String::new();
    for at in 0..count {
        if at > 0 {
            text += between;
        }
        let limit = 1 + random.below(words.len() as u64);
        text += words[random.below(limit) as usize];
    }
    text
}

/// What the pictures are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Pictures {
    /// PNG, 26 to 36 pixels a side, noise: 2.1 to 3.9 KiB.
    Small,
    /// JPEG, 1,000 to 2,000 pixels wide, like fundus photographs.
    Photographs,
}

struct Picture {
    bytes: Vec<u8>,
    width: u32,
    height: u32,
    extension: &'static str,
}

fn picture(random: &mut Random, pictures: Pictures) -> Result<Picture> {
    let failed = |e: image::ImageError| DatasetError::invalid("drawn picture", e.to_string());
    let mut bytes = Vec::with_capacity(4096);
    let (width, height, extension) = match pictures {
        Pictures::Small => {
            let (width, height) = (26 + random.below(11) as u32, 26 + random.below(11) as u32);
            let pixels: Vec<u8> = (0..width * height * 3).map(|_| random.next() as u8).collect();
            PngEncoder::new_with_quality(&mut bytes, CompressionType::Fast, FilterType::NoFilter)
                .write_image(&pixels, width, height, ExtendedColorType::Rgb8)
                .map_err(failed)?;
            (width, height, "png")
        }
        Pictures::Photographs => {
            let width = 1000 + random.below(1001) as u32;
            let height = width * (70 + random.below(31) as u32) / 100;
            let pixels = fundus(random, width, height);
            JpegEncoder::new_with_quality(&mut bytes, 90)
                .write_image(&pixels, width, height, ExtendedColorType::Rgb8)
                .map_err(failed)?;
            (width, height, "jpg")
        }
    };
    Ok(Picture {
        bytes,
        width,
        height,
        extension,
    })
}

/// An orange disc on black with a bright spot, darker waves for vessels, and noise.
fn fundus(random: &mut Random, width: u32, height: u32) -> Vec<u8> {
    let (half_width, half_height) = (f64::from(width) / 2.0, f64::from(height) / 2.0);
    let spot = 0.3 + random.below(40) as f64 / 100.0;
    let waves = 5.0 + random.below(6) as f64;
    let mut pixels = Vec::with_capacity(width as usize * height as usize * 3);
    for y in 0..height {
        for x in 0..width {
            let (across, down) = (
                (f64::from(x) - half_width) / half_height,
                (f64::from(y) - half_height) / half_height,
            );
            let radius = across.hypot(down);
            let noise = (random.next() & 15) as f64 - 8.0;
            let bright = 1.3 * (-40.0 * ((across - spot).powi(2) + down.powi(2))).exp();
            let vessel = ((down + 0.1 * (across * 9.0).sin()) * waves).sin().abs().powf(0.2);
            let light = if radius > 0.97 {
                0.0
            } else {
                (1.0 - 0.5 * radius * radius) * (0.6 + 0.4 * vessel) + bright
            };
            pixels.extend([200.0, 100.0, 45.0].map(|tone| (tone * light + noise).clamp(0.0, 255.0) as u8));
        }
    }
    pixels
}

fn pair(seed: u64, number: u64, source: &str, pictures: Pictures) -> Result<PairRecord> {
    let mut random = Random(seed.wrapping_mul(0x2545_F491_4F6C_DD1D) ^ number.wrapping_mul(0xD6E8_FEB8_6659_FD93));
    let Picture {
        bytes,
        width,
        height,
        extension,
    } = picture(&mut random, pictures)?;
    let in_book = number % BOOK;
    let figure = format!("{}-{}", 1 + in_book / 400, 1 + in_book % 400 / 4);
    let panel = ["A", "B", "C", "D"][(number % 4) as usize];
    let chinese = number % 4 == 3;
    let english = (!chinese || number % 8 == 7).then(|| {
        let words = 5 + random.below(55);
        sentence(&mut random, ENGLISH, words, " ")
    });
    let chinese = chinese.then(|| {
        let words = 5 + random.below(20);
        sentence(&mut random, CHINESE, words, "")
    });
    let origin = |caption: &Option<String>| caption.as_ref().map(|_| "ocr".to_owned());
    Ok(PairRecord {
        id: content_id("pair", &[source.as_bytes(), &number.to_le_bytes(), &bytes]),
        width: width as i32,
        height: height as i32,
        modality: Modality::ALL[(number / 4 % 3) as usize],
        caption_en_origin: origin(&english),
        caption_zh_origin: origin(&chinese),
        caption_figure: english.clone().or_else(|| chinese.clone()),
        lang_original: Some(if english.is_some() { "en" } else { "zh" }.to_owned()),
        caption_en: english,
        caption_zh: chinese,
        figure_no: Some(figure.clone()),
        panel: Some(panel.to_owned()),
        panel_bbox: Some(BoundingBox {
            x0: 10,
            y0: 20,
            x1: 10 + width as i32,
            y1: 20 + height as i32,
        }),
        source_id: source.to_owned(),
        source_page: Some(format!("page{}.png", 1 + in_book / 8)),
        source_page_sha256: Some(sha256_hex(format!("{source} {}", in_book / 8).as_bytes())),
        ocr_confidence: Some(0.5 + random.below(50) as f32 / 100.0),
        pair_confidence: Some(0.5 + random.below(50) as f32 / 100.0),
        modality_confidence: Some(0.5 + random.below(50) as f32 / 100.0),
        review_status: ReviewStatus::Auto,
        review_reasons: Vec::new(),
        quality_flags: Vec::new(),
        split: "train".to_owned(),
        split_group: format!("{source}/{figure}"),
        image_sha256: sha256_hex(&bytes),
        licence: Some("CC0-1.0".to_owned()),
        image: ImageFile {
            path: format!("{source}/fig{figure}-{panel}.{extension}"),
            bytes,
        },
    })
}
