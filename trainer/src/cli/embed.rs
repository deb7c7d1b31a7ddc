//! `trainer embed`

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use arrow::array::{ArrayRef, Float32Builder, ListBuilder, StringArray};
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use serde_json::json;

use super::EXIT_SOME_REJECTED;
use crate::embed::{Embedder, ImageFeatures};

/// Extensions of files that are taken for pictures; others are tried and passed over when they are
/// none.
const PICTURES: [&str; 14] = [
    "png", "jpg", "jpeg", "jpe", "jfif", "tif", "tiff", "bmp", "webp", "gif", "pnm", "ppm", "pgm", "pbm",
];
/// Images decoded and embedded at a time.
const TOGETHER: usize = 32;

/// Embed a folder of images and a file of texts.
#[derive(clap::Args)]
#[command(after_help = "\
Writes OUT/images.parquet (path, features, projected) and OUT/texts.parquet (text, projected). Paths
are relative to --images, in natural order. Each text is embedded alone, so its vector does not
depend on its neighbours.

Example:
  trainer embed --checkpoint runs/keepfit --images photographs --texts prompts.txt --out embedded")]
pub struct Args {
    /// Run folder of `trainer keepfit`, a checkpoint folder, or a model.safetensors inside one
    #[arg(long, value_name = "FILE")]
    checkpoint: PathBuf,
    /// Folder of images, searched with its subfolders
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// Texts, one a line; empty lines are passed over
    #[arg(long, value_name = "FILE")]
    texts: Option<PathBuf>,
    /// Folder to write into
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Device: cpu, wgpu, wgpu:N, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    device: String,
}

/// Runs the command.
///
/// # Errors
/// The model cannot be opened, there is nothing to embed, or the output cannot be written.
pub fn run(args: &Args) -> Result<ExitCode> {
    if args.images.is_none() && args.texts.is_none() {
        bail!("nothing to embed: give --images DIR, --texts FILE or both");
    }
    let files = args.images.as_deref().map(list_files).transpose()?;
    let texts = args.texts.as_deref().map(read_texts).transpose()?;
    let embedder = Embedder::open(&args.checkpoint, &args.device)?;
    std::fs::create_dir_all(&args.out).with_context(|| format!("{}: cannot make the folder", args.out.display()))?;
    let mut summary = json!({
        "weights_sha256": embedder.weights_sha256(),
        "preprocessing": embedder.preprocessing_id(),
        "logit_scale": embedder.logit_scale(),
    });
    let mut rejected = 0;
    if let (Some(folder), Some(files)) = (&args.images, files) {
        let (paths, features, bad) = embed_files(&embedder, folder, &files)?;
        rejected = bad;
        if paths.is_empty() {
            bail!("{}: no usable image among {} files", folder.display(), files.len());
        }
        summary["images"] = json!(paths.len());
        summary["rejected"] = json!(bad);
        write_images(&args.out.join("images.parquet"), &paths, &features)?;
    }
    if let Some(texts) = texts {
        summary["texts"] = json!(texts.len());
        write_texts(&args.out.join("texts.parquet"), &texts, &embedder.embed_texts(&texts)?)?;
    }
    println!("{summary}");
    Ok(if rejected > 0 {
        ExitCode::from(EXIT_SOME_REJECTED)
    } else {
        ExitCode::SUCCESS
    })
}

/// All files under `folder`, relative to it, in natural order; hidden ones are left out.
pub(super) fn list_files(folder: &Path) -> Result<Vec<String>> {
    if !folder.is_dir() {
        bail!("{}: there is no such folder of images", folder.display());
    }
    let mut files = Vec::new();
    let visible =
        |entry: &walkdir::DirEntry| entry.depth() == 0 || !entry.file_name().to_string_lossy().starts_with('.');
    for entry in walkdir::WalkDir::new(folder)
        .follow_links(true)
        .into_iter()
        .filter_entry(visible)
    {
        let entry = entry.with_context(|| format!("{}: cannot list", folder.display()))?;
        if entry.file_type().is_file() {
            let relative = entry.path().strip_prefix(folder)?;
            files.push(relative.to_string_lossy().into_owned());
        }
    }
    files.sort_by(|a, b| dataset::fs::natural_cmp(a, b));
    if files.is_empty() {
        bail!("{}: the folder has no files", folder.display());
    }
    Ok(files)
}

fn read_texts(path: &Path) -> Result<Vec<String>> {
    let bytes = std::fs::read(path).with_context(|| format!("{}: cannot read the texts", path.display()))?;
    let text = String::from_utf8(bytes).with_context(|| format!("{}: is not UTF-8 text", path.display()))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let texts: Vec<String> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect();
    if texts.is_empty() {
        bail!("{}: holds no text", path.display());
    }
    Ok(texts)
}

type Embedded = (Vec<String>, Vec<ImageFeatures>, usize);

/// Embeds what decodes; a file that does not is named on stderr and counted, unless neither its
/// name nor its content says picture.
fn embed_files(embedder: &Embedder, folder: &Path, files: &[String]) -> Result<Embedded> {
    let progress = dataset::progress::bar(Some(files.len() as u64), "embedding images");
    let (mut paths, mut features, mut rejected) = (Vec::new(), Vec::new(), 0);
    for chunk in files.chunks(TOGETHER) {
        let (named, images, bad) = read_pictures(folder, chunk);
        paths.extend(named);
        rejected += bad;
        features.extend(embedder.embed_images(&images)?);
        progress.inc(chunk.len() as u64);
    }
    progress.finish();
    Ok((paths, features, rejected))
}

/// Pictures of `folder` that decode, with their names, and how many did not; those are named on stderr.
pub(super) fn read_pictures(folder: &Path, names: &[String]) -> (Vec<String>, Vec<image::RgbImage>, usize) {
    let (mut paths, mut images, mut rejected) = (Vec::new(), Vec::new(), 0);
    for name in names {
        let decoded = std::fs::read(folder.join(name))
            .map_err(anyhow::Error::from)
            .and_then(|bytes| Ok(dataset::image_input::decode_rgb8(&bytes, name)?));
        match decoded {
            Ok(decoded) => {
                images.push(decoded.rgb);
                paths.push(name.clone());
            }
            Err(error) if looks_like_picture(name) => {
                rejected += 1;
                tracing::warn!("{name}: left out: {error:#}");
            }
            Err(_) => tracing::info!("{name}: is no picture; passed over"),
        }
    }
    (paths, images, rejected)
}

fn looks_like_picture(name: &str) -> bool {
    let extension = Path::new(name)
        .extension()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    PICTURES.contains(&extension.as_str())
}

fn lists<'a>(rows: impl Iterator<Item = &'a [f32]>) -> ArrayRef {
    let mut builder = ListBuilder::new(Float32Builder::new());
    for row in rows {
        builder.values().append_slice(row);
        builder.append(true);
    }
    Arc::new(builder.finish())
}

fn write_images(path: &Path, paths: &[String], features: &[ImageFeatures]) -> Result<()> {
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("path", Arc::new(StringArray::from_iter_values(paths))),
        ("features", lists(features.iter().map(|row| row.features.as_slice()))),
        ("projected", lists(features.iter().map(|row| row.projected.as_slice()))),
    ];
    write_parquet(path, columns)
}

fn write_texts(path: &Path, texts: &[String], projected: &[Vec<f32>]) -> Result<()> {
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("text", Arc::new(StringArray::from_iter_values(texts))),
        ("projected", lists(projected.iter().map(Vec::as_slice))),
    ];
    write_parquet(path, columns)
}

fn write_parquet(path: &Path, columns: Vec<(&str, ArrayRef)>) -> Result<()> {
    let batch = RecordBatch::try_from_iter(columns)?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties))?;
    writer.write(&batch)?;
    writer.close()?;
    dataset::fs::write_atomic(path, &bytes)?;
    Ok(())
}
