//! Helps for tests of this workspace: optional shared material, drawn records.

use crate::hash::sha256_hex;
use crate::ledger::LedgerEntry;
use crate::modality::Modality;
use crate::record::{BoundingBox, ImageFile, LabelRecord, PairRecord, ReviewStatus, TextRecord, content_id};
use crate::write::SourceUpdate;
use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder with optional real material: `$MM_SHARED`, else `../shared`
/// beside the workspace. `None` (said on stderr) when neither exists.
#[must_use]
pub fn shared_dir() -> Option<PathBuf> {
    let folder = match std::env::var_os("MM_SHARED") {
        Some(folder) => PathBuf::from(folder),
        None => {
            let package = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
            let workspace = package.as_deref().and_then(Path::parent);
            workspace.map_or_else(|| PathBuf::from("../shared"), |w| w.join("../shared"))
        }
    };
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!(
        "skipped: no shared material at {} (set MM_SHARED to its folder)",
        folder.display()
    );
    None
}

/// Python packages that open a dataset folder, in the versions it is tested with.
const READERS: [&str; 8] = [
    "datasets==5.2.0",
    "duckdb==2.0.0",
    "mlcroissant==1.1.1",
    "pandas==3.1.1",
    "pillow==13.0.0",
    "polars==2.1.0",
    "pyarrow==26.0.1",
    "pyspark==4.3.0",
];

/// A Python that has the readers, or why there is none. `$MM_READERS` is `1`,
/// and they are installed in a virtual environment inside `folder` unless they
/// are there; or it names a Python; or it is not set.
///
/// # Errors
/// The variable is not set, or the packages cannot be installed (no network).
pub fn readers_python(folder: &Path) -> Result<PathBuf, String> {
    let asked = std::env::var("MM_READERS").map_err(|_| "set MM_READERS=1 to install the readers and run it")?;
    if asked != "1" {
        return Ok(PathBuf::from(asked));
    }
    let home = folder.join("readers");
    let python = home.join("bin/python");
    let done = home.join("installed.txt");
    let wanted = READERS.join("\n");
    if std::fs::read_to_string(&done).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    let mut make = Command::new("python3");
    make.args(["-m", "venv"]).arg(&home);
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet"]).args(READERS);
    for step in [&mut make, &mut install] {
        let output = step.output().map_err(|e| format!("python3 does not start: {e}"))?;
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            return Err(format!("the readers could not be installed (no network?): {errors}"));
        }
    }
    std::fs::write(done, wanted).map_err(|e| e.to_string())?;
    Ok(python)
}

/// Every file of a folder by its path within, with its bytes; hidden ones included.
///
/// # Panics
/// The folder or a file cannot be read.
#[must_use]
pub fn snapshot(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in walkdir::WalkDir::new(folder) {
        let entry = entry.expect("the folder is readable");
        if entry.file_type().is_file() {
            let within = entry.path().strip_prefix(folder).unwrap_or(entry.path());
            let bytes = std::fs::read(entry.path()).expect("the file is readable");
            files.insert(within.to_string_lossy().into_owned(), bytes);
        }
    }
    files
}

/// Writes `numbers` pairs of a book with their ledger lines, as an ingest does.
///
/// # Panics
/// The folder cannot be written.
pub fn write_drawn_pairs(folder: &Path, source_id: &str, numbers: u32) {
    let mut update = SourceUpdate::pairs(folder, source_id).expect("the folder is writable");
    for number in 0..numbers {
        let record = drawn_pair(source_id, number);
        let entry = drawn_pair_ledger(&record);
        update.push_ledger(entry).expect("the spool is writable");
        update.push_pair(record).expect("the spool is writable");
    }
    update.commit().expect("the folder is writable");
}

/// The same for utterances of a corpus.
///
/// # Panics
/// The folder cannot be written.
pub fn write_drawn_text(folder: &Path, corpus: &str, numbers: u32) {
    let mut update = SourceUpdate::text(folder, corpus).expect("the folder is writable");
    for number in 0..numbers {
        let record = drawn_text(corpus, number);
        let entry = drawn_ledger(corpus, "utterance", number, &record.id);
        update.push_ledger(entry).expect("the spool is writable");
        update.push_text(record).expect("the spool is writable");
    }
    update.commit().expect("the folder is writable");
}

/// The same for images of a labelled set.
///
/// # Panics
/// The folder cannot be written.
pub fn write_drawn_labels(folder: &Path, set: &str, numbers: u32) {
    let mut update = SourceUpdate::labels(folder, set).expect("the folder is writable");
    for number in 0..numbers {
        let record = drawn_label(set, number);
        let entry = drawn_ledger(set, "label-row", number, &record.id);
        update.push_ledger(entry).expect("the spool is writable");
        update.push_label(record).expect("the spool is writable");
    }
    update.commit().expect("the folder is writable");
}

/// The ledger line of an input that became row `id`.
#[must_use]
pub fn drawn_ledger(source_id: &str, kind: &str, number: u32, id: &str) -> LedgerEntry {
    LedgerEntry {
        source_id: source_id.to_owned(),
        input: format!("{source_id}:{number}"),
        kind: kind.to_owned(),
        state: "kept".to_owned(),
        reason: None,
        id: Some(id.to_owned()),
        detail: None,
    }
}

/// A small PNG of `width` x `height` pixels whose colours depend on `seed`.
#[must_use]
pub fn drawn_png(width: u32, height: u32, seed: u32) -> Vec<u8> {
    let picture = image::RgbImage::from_fn(width, height, |x, y| {
        let value = seed.wrapping_mul(2_654_435_761).wrapping_add(x * 7 + y * 13);
        image::Rgb([(value >> 3) as u8, (value >> 11) as u8, (x * y) as u8])
    });
    let mut bytes = Cursor::new(Vec::new());
    picture
        .write_to(&mut bytes, image::ImageFormat::Png)
        .expect("a PNG in memory cannot fail");
    bytes.into_inner()
}

/// A complete pair: figure `number`, panel `A`, modality and language by turns.
#[must_use]
pub fn drawn_pair(source_id: &str, number: u32) -> PairRecord {
    let bytes = drawn_png(16 + number % 5, 12, number);
    let sha = sha256_hex(&bytes);
    let chinese = number.is_multiple_of(3);
    let figure = format!("{}-{}", 1 + number / 10, 1 + number % 10);
    PairRecord {
        id: content_id("pair", &[source_id.as_bytes(), figure.as_bytes(), &bytes]),
        image: ImageFile {
            bytes,
            path: format!("{source_id}/fig{figure}-A.png"),
        },
        width: 16 + (number % 5) as i32,
        height: 12,
        modality: Modality::ALL[number as usize % 3],
        caption_en: (!chinese).then(|| format!("Drusen at the macula, case {number}")),
        caption_zh: chinese.then(|| format!("黄斑区玻璃膜疣，第{number}例")),
        caption_en_origin: (!chinese).then(|| "ocr".to_owned()),
        caption_zh_origin: chinese.then(|| "ocr".to_owned()),
        caption_figure: Some(format!("Figure {figure} A Drusen at the macula")),
        lang_original: Some(if chinese { "zh" } else { "en" }.to_owned()),
        figure_no: Some(figure.clone()),
        panel: Some("A".to_owned()),
        panel_bbox: Some(BoundingBox {
            x0: 1,
            y0: 2,
            x1: 101,
            y1: 82,
        }),
        source_id: source_id.to_owned(),
        source_page: Some(format!("page{number}.png")),
        source_page_sha256: Some(sha256_hex(format!("{source_id} {number}").as_bytes())),
        ocr_confidence: Some(0.9),
        pair_confidence: Some(0.5 + (number % 5) as f32 / 10.0),
        modality_confidence: None,
        review_status: ReviewStatus::Auto,
        review_reasons: Vec::new(),
        quality_flags: vec!["small".to_owned()],
        split: "train".to_owned(),
        split_group: format!("{source_id}/{figure}"),
        image_sha256: sha,
        licence: None,
    }
}

/// The ledger line that belongs to [`drawn_pair`].
#[must_use]
pub fn drawn_pair_ledger(record: &PairRecord) -> LedgerEntry {
    let page = record.source_page.clone().unwrap_or_default();
    let figure = record.figure_no.clone().unwrap_or_default();
    LedgerEntry {
        source_id: record.source_id.clone(),
        input: format!("{page}#{figure}/A"),
        kind: "panel".to_owned(),
        state: "paired".to_owned(),
        reason: None,
        id: Some(record.id.clone()),
        detail: None,
    }
}

/// An utterance.
#[must_use]
pub fn drawn_text(source_id: &str, number: u32) -> TextRecord {
    let text = format!("Question {number}: what does a cotton wool spot mean?");
    TextRecord {
        id: content_id("text", &[text.as_bytes()]),
        text,
        language: "en".to_owned(),
        source_id: source_id.to_owned(),
        licence: Some("CC-BY-4.0".to_owned()),
        keywords: vec!["cotton wool spot".to_owned()],
    }
}

/// A labelled image; every fourth one is in the test split.
#[must_use]
pub fn drawn_label(dataset: &str, number: u32) -> LabelRecord {
    let bytes = drawn_png(20, 20, 1000 + number);
    LabelRecord {
        id: content_id("label", &[dataset.as_bytes(), &bytes]),
        image: ImageFile {
            path: format!("{dataset}/{number}.png"),
            bytes: bytes.clone(),
        },
        width: 20,
        height: 20,
        modality: Modality::Cfp,
        categories: vec![if number.is_multiple_of(2) { "normal" } else { "glaucoma" }.to_owned()],
        attributes: Vec::new(),
        dataset: dataset.to_owned(),
        split: if number.is_multiple_of(4) { "test" } else { "train" }.to_owned(),
        split_group: format!("{dataset}/{number}"),
        image_sha256: sha256_hex(&bytes),
        licence: None,
    }
}
