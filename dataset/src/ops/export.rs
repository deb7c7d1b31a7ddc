//! Exports pairs or labelled images for tools that do not read Parquet.

use crate::error::{DatasetError, Result};
use crate::fs::sync_folder;
use crate::progress;
use crate::read::{Columns, Dataset};
use crate::record::{ImageFile, LabelRecord, PairRecord};
use crate::rows::check_image_path;
use serde::Serialize;
use serde_json::json;
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Form of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    /// Tar shards with `ID.png`, `ID.txt` and `ID.json` for each pair.
    Webdataset,
    /// A folder of pictures and `pairs.csv` with all columns.
    Images,
    /// A folder of pictures and KeepFIT's list: `modality,image,caption`.
    Keepfit,
    /// A folder of pictures and FLAIR's list of a labelled set:
    /// `image,attributes,categories`.
    Flair,
}

/// What was written.
#[derive(Debug, Default, Serialize)]
pub struct ExportSummary {
    /// Rows written.
    pub rows: u64,
    /// Rows left out, each with the reason.
    pub left_out: Vec<String>,
    /// Lists or shards, relative to the output folder.
    pub files: Vec<String>,
}

/// A tar shard is closed once it has this many bytes.
const TAR_BYTES: u64 = 500_000_000;

/// Exports into `out`, which must not exist or be empty.
///
/// # Errors
/// `out` has files, a file cannot be read or written, or `flair` is asked of a
/// folder without labelled sets.
pub fn export(dataset: &Dataset, form: Form, out: &Path) -> Result<ExportSummary> {
    if out.is_dir()
        && fs::read_dir(out)
            .map_err(|e| DatasetError::io(out, "list", e))?
            .next()
            .is_some()
    {
        return Err(DatasetError::invalid(
            out.display().to_string(),
            "is not empty; give a new folder",
        ));
    }
    let existed = out.is_dir();
    fs::create_dir_all(out).map_err(|e| DatasetError::io(out, "create the folder", e))?;
    let outcome = match form {
        Form::Webdataset => webdataset(dataset, out),
        Form::Images => pairs_as_images(dataset, out, false),
        Form::Keepfit => pairs_as_images(dataset, out, true),
        Form::Flair => labels_as_images(dataset, out),
    };
    if outcome.is_err() && !existed {
        // Goes only where nothing has been written yet.
        let _ = fs::remove_dir(out);
    }
    let summary = outcome?;
    sync_folder(out)?;
    Ok(summary)
}

/// The caption that most tools want: English, else Chinese.
fn caption(row: &PairRecord) -> Option<&str> {
    row.caption_en.as_deref().or(row.caption_zh.as_deref())
}

/// Writes pictures into a folder, never outside of it and never twice.
struct PictureFolder {
    root: PathBuf,
    used: HashSet<String>,
}

impl PictureFolder {
    fn new(out: &Path) -> Self {
        Self {
            root: out.join("images"),
            used: HashSet::new(),
        }
    }

    /// The name the picture got, or why it has none.
    fn save(&mut self, image: &ImageFile, id: &str) -> Result<Result<String, String>> {
        if let Err(message) = check_image_path(&image.path) {
            return Ok(Err(message));
        }
        let mut name = image.path.clone();
        // Two pictures of one name: the id keeps them apart, if it is no path.
        if !self.used.insert(name.to_lowercase()) {
            if let Err(message) = check_member(id) {
                return Ok(Err(message));
            }
            let base = name.rfind('/').map_or(0, |slash| slash + 1);
            let stem = name[base..].rfind('.').map_or(name.len(), |point| base + point);
            name.insert_str(stem, &format!("-{id}"));
            if !self.used.insert(name.to_lowercase()) {
                return Ok(Err(format!("another row has the picture `{}` and this id", image.path)));
            }
        }
        let path = self.root.join(&name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|e| DatasetError::io(parent, "create the folder", e))?;
        }
        fs::write(&path, &image.bytes)
            .map_err(|e| DatasetError::io(&path, "write", e).with_needed(image.bytes.len() as u64))?;
        Ok(Ok(name))
    }
}

fn csv_writer(path: &Path) -> Result<csv::Writer<File>> {
    let file = File::create(path).map_err(|e| DatasetError::io(path, "create", e))?;
    Ok(csv::Writer::from_writer(file))
}

fn pairs_as_images(dataset: &Dataset, out: &Path, keepfit: bool) -> Result<ExportSummary> {
    let list = if keepfit { "captions.csv" } else { "pairs.csv" };
    let path = out.join(list);
    let failed = |e: csv::Error| DatasetError::invalid(path.display().to_string(), e.to_string());
    let mut writer = csv_writer(&path)?;
    let mut pictures = PictureFolder::new(out);
    let mut summary = ExportSummary::default();
    let progress = progress::bar(None, "exporting pairs");
    if keepfit {
        writer.write_record(["modality", "image", "caption"]).map_err(failed)?;
    }
    for row in dataset.pairs(Columns::All)? {
        let row = row?;
        progress.inc(1);
        if keepfit && caption(&row).is_none() {
            summary.left_out.push(format!("{}: no caption", row.id));
            continue;
        }
        let name = match pictures.save(&row.image, &row.id)? {
            Ok(name) => name,
            Err(message) => {
                summary.left_out.push(format!("{}: {message}", row.id));
                continue;
            }
        };
        if keepfit {
            let record = [row.modality.as_str(), &name, caption(&row).unwrap_or_default()];
            writer.write_record(record).map_err(failed)?;
        } else {
            write_flat(&mut writer, &row, &name, summary.rows == 0).map_err(failed)?;
        }
        summary.rows += 1;
    }
    writer.flush().map_err(|e| DatasetError::io(&path, "write", e))?;
    progress.finish();
    summary.files.push(list.to_owned());
    Ok(summary)
}

/// All columns of a pair; nested ones as JSON.
fn write_flat(writer: &mut csv::Writer<File>, row: &PairRecord, name: &str, header: bool) -> Result<(), csv::Error> {
    let value = serde_json::to_value(row).unwrap_or_default();
    let mut names = Vec::new();
    let mut cells = Vec::new();
    for (field, value) in value.as_object().into_iter().flatten() {
        let text = match (field.as_str(), value) {
            ("image", _) => name.to_owned(),
            (_, serde_json::Value::Null) => String::new(),
            (_, serde_json::Value::String(text)) => text.clone(),
            (_, other) => other.to_string(),
        };
        names.push(field.as_str());
        cells.push(text);
    }
    if header {
        writer.write_record(&names)?;
    }
    writer.write_record(&cells)
}

fn labels_as_images(dataset: &Dataset, out: &Path) -> Result<ExportSummary> {
    let sets = dataset.label_sets();
    if sets.is_empty() {
        return Err(DatasetError::invalid(
            dataset.folder().display().to_string(),
            "has no labelled set; use --form keepfit for pairs",
        ));
    }
    let mut summary = ExportSummary::default();
    let mut pictures = PictureFolder::new(out);
    for set in sets {
        let list = format!("{set}.csv");
        let path = out.join(&list);
        let failed = |e: csv::Error| DatasetError::invalid(path.display().to_string(), e.to_string());
        let mut writer = csv_writer(&path)?;
        // FLAIR's own lists have an index column without a name.
        writer
            .write_record(["", "image", "attributes", "categories"])
            .map_err(failed)?;
        for (index, row) in dataset.labels(Some(&set), Columns::All)?.enumerate() {
            let row: LabelRecord = row?;
            match pictures.save(&row.image, &row.id)? {
                Ok(name) => {
                    let record = [
                        index.to_string(),
                        name,
                        python_list(&row.attributes),
                        python_list(&row.categories),
                    ];
                    writer.write_record(record).map_err(failed)?;
                    summary.rows += 1;
                }
                Err(message) => summary.left_out.push(format!("{}: {message}", row.id)),
            }
        }
        writer.flush().map_err(|e| DatasetError::io(&path, "write", e))?;
        summary.files.push(list);
    }
    Ok(summary)
}

/// `['a', 'b']`, as FLAIR's lists have it.
fn python_list(words: &[String]) -> String {
    let quoted: Vec<String> = words
        .iter()
        .map(|word| format!("'{}'", word.replace('\\', "\\\\").replace('\'', "\\'")))
        .collect();
    format!("[{}]", quoted.join(", "))
}

fn webdataset(dataset: &Dataset, out: &Path) -> Result<ExportSummary> {
    let mut summary = ExportSummary::default();
    let mut shard: Option<TarWriter> = None;
    let progress = progress::bar(None, "exporting pairs");
    for row in dataset.pairs(Columns::All)? {
        let row = row?;
        progress.inc(1);
        if let Err(message) = check_member(&row.id) {
            summary.left_out.push(format!("{}: {message}", row.id));
            continue;
        }
        if let Some(full) = shard.take_if(|tar| tar.bytes >= TAR_BYTES) {
            full.finish()?;
        }
        let tar = match &mut shard {
            Some(tar) => tar,
            None => {
                let name = format!("pairs-{:05}.tar", summary.files.len());
                summary.files.push(name.clone());
                shard.insert(TarWriter::create(out.join(name))?)
            }
        };
        let extension = Path::new(&row.image.path)
            .extension()
            .and_then(|e| e.to_str())
            .filter(|extension| extension.len() <= 8 && extension.chars().all(|c| c.is_ascii_alphanumeric()))
            .unwrap_or("png")
            .to_lowercase();
        tar.add(&format!("{}.{extension}", row.id), &row.image.bytes)?;
        tar.add(&format!("{}.txt", row.id), caption(&row).unwrap_or_default().as_bytes())?;
        tar.add(&format!("{}.json", row.id), json!(row).to_string().as_bytes())?;
        summary.rows += 1;
    }
    if let Some(tar) = shard {
        tar.finish()?;
    }
    progress.finish();
    Ok(summary)
}

/// Longest id whose files still fit the name field of a tar header.
const MAX_MEMBER: usize = 80;

/// The id becomes a name in the archive, which tools unpack: one plain part,
/// without a point, because the key of a sample ends at the first one.
fn check_member(id: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !id.is_empty() && id.len() <= MAX_MEMBER && id.chars().all(plain) {
        return Ok(());
    }
    Err(format!(
        "the id becomes a file name; at most {MAX_MEMBER} letters, digits, `-` and `_` are allowed"
    ))
}

/// A tar archive in the ustar form (POSIX.1-1988): regular files only, no
/// dates, no owners.
struct TarWriter {
    path: PathBuf,
    out: BufWriter<File>,
    bytes: u64,
}

const BLOCK: usize = 512;

impl TarWriter {
    fn create(path: PathBuf) -> Result<Self> {
        let file = File::create(&path).map_err(|e| DatasetError::io(&path, "create", e))?;
        Ok(Self {
            path,
            out: BufWriter::new(file),
            bytes: 0,
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes += bytes.len() as u64;
        self.out
            .write_all(bytes)
            .map_err(|e| DatasetError::io(&self.path, "write", e).with_needed(self.bytes))
    }

    fn add(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.write(&tar_header(name, bytes.len() as u64))?;
        self.write(bytes)?;
        self.write(&vec![0; bytes.len().next_multiple_of(BLOCK) - bytes.len()])
    }

    fn finish(mut self) -> Result<()> {
        self.write(&[0; 2 * BLOCK])?;
        self.out.flush().map_err(|e| DatasetError::io(&self.path, "write", e))
    }
}

fn tar_header(name: &str, size: u64) -> [u8; BLOCK] {
    let mut header = [0_u8; BLOCK];
    let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
    // Ids are short ASCII; a longer name is cut to the field.
    put(0, &name.as_bytes()[..name.len().min(100)]);
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{size:011o}\0").as_bytes());
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lists_are_quoted_as_python_does() {
        let words = ["hard exudates".to_owned(), "Best's".to_owned()];
        assert_eq!(python_list(&words), "['hard exudates', 'Best\\'s']");
        assert_eq!(python_list(&[]), "[]");
    }

    #[test]
    fn ids_that_are_paths_stay_out_of_archives() {
        assert_eq!(check_member("pair-0123456789abcdef0123"), Ok(()));
        for id in [
            "",
            "../../etc/passwd",
            "/etc/passwd",
            "a/b",
            "a.b",
            "a\0b",
            "图1",
            &"x".repeat(81),
        ] {
            assert!(check_member(id).is_err(), "{id}");
        }
    }

    #[test]
    fn pictures_of_one_name_stay_apart_and_inside() {
        let folder = tempfile::tempdir().unwrap();
        let mut pictures = PictureFolder::new(folder.path());
        let mut save = |path: &str, id: &str| {
            let image = ImageFile {
                bytes: id.as_bytes().to_vec(),
                path: path.to_owned(),
            };
            pictures.save(&image, id).unwrap()
        };
        assert_eq!(save("v1.2/a", "x"), Ok("v1.2/a".to_owned()));
        assert_eq!(save("v1.2/A", "y"), Ok("v1.2/A-y".to_owned()));
        assert_eq!(save("b.png", "x"), Ok("b.png".to_owned()));
        assert_eq!(save("b.png", "y"), Ok("b-y.png".to_owned()));
        assert!(save("b.png", "y").unwrap_err().contains("another row"));
        assert!(save("b.png", "/../../../out").unwrap_err().contains("file name"));
        assert!(save("../c.png", "z").is_err());
        assert_eq!(fs::read(folder.path().join("images/b-y.png")).unwrap(), b"y");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_tar_header_has_the_right_sum() {
        let header = tar_header("a.txt", 5);
        assert_eq!(&header[..5], b"a.txt");
        assert_eq!(&header[124..136], b"00000000005\0");
        let stored = std::str::from_utf8(&header[148..154]).map(|text| u32::from_str_radix(text, 8));
        let mut blank = header;
        blank[148..156].fill(b' ');
        let sum: u32 = blank.iter().map(|&byte| u32::from(byte)).sum();
        assert_eq!(stored, Ok(Ok(sum)));
    }
}
