//! The HTML page that a run of the road ends with: pictures first, then numbers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use dataset::read::{Columns, Dataset};
use dataset::record::PairRecord;
use minijinja::Environment;
use serde::Serialize;

use super::plan::Plan;
use super::{RoadReport, results};

const TEMPLATE: &str = include_str!("page.html");
/// Screenshots shown per source.
const PAGES_PER_SOURCE: usize = 3;
/// Width of a screenshot on the page, in pixels.
const PAGE_WIDTH: u32 = 900;
/// Pairs shown per modality.
const PAIRS_PER_MODALITY: usize = 6;
/// Longest side of a pair's picture on the page, in pixels.
const PAIR_SIDE: u32 = 260;

/// One screenshot with the panels that were found on it.
#[derive(Serialize)]
struct ShownPage {
    source: String,
    file: String,
    picture: String,
    width: u32,
    height: u32,
    panels: Vec<ShownPanel>,
}

#[derive(Serialize)]
struct ShownPanel {
    x: i32,
    y: i32,
    width: i32,
    height: i32,
    label: String,
    modality: String,
    needs_review: bool,
}

/// One pair of the dataset.
#[derive(Serialize)]
struct ShownPair {
    picture: String,
    id: String,
    modality: String,
    caption_en: Option<String>,
    caption_zh: Option<String>,
    review: String,
    reasons: String,
}

/// A loss curve.
#[derive(Serialize)]
struct Curve {
    title: String,
    first: String,
    last: String,
    steps: usize,
    points: String,
}

/// Writes `index.html` and its pictures; returns the path of the page.
///
/// # Errors
/// When the dataset cannot be read or a file cannot be written.
pub fn write_page(plan: &Plan, report: &RoadReport) -> Result<PathBuf> {
    let pictures = plan.out.join("pictures");
    std::fs::create_dir_all(&pictures).with_context(|| format!("cannot create {}", pictures.display()))?;
    let dataset = Dataset::open(&plan.out.join("dataset"))?;
    let mut by_page: BTreeMap<(String, String), Vec<PairRecord>> = BTreeMap::new();
    let mut shown: BTreeMap<String, Vec<ShownPair>> = BTreeMap::new();
    for pair in dataset.pairs(Columns::All)? {
        let mut pair = pair?;
        let list = shown.entry(pair.modality.to_string()).or_default();
        if list.len() < PAIRS_PER_MODALITY {
            list.push(show_pair(&pair, &pictures)?);
        }
        pair.image.bytes.clear();
        if let Some(page) = &pair.source_page {
            by_page
                .entry((pair.source_id.clone(), page.clone()))
                .or_default()
                .push(pair);
        }
    }
    let mut pages = Vec::new();
    for (source, folder) in &plan.screenshots {
        let of_source = by_page.iter().filter(|((id, _), _)| id == source);
        for ((_, file), pairs) in of_source.take(PAGES_PER_SOURCE) {
            pages.push(show_page(source, file, &folder.join(file), pairs, &pictures)?);
        }
    }
    let curves = curves(&plan.out.join("runs"))?;
    let reconstructions = newest_picture(&plan.out.join("runs/codebook"));
    let query = report
        .steps
        .iter()
        .find(|s| s.name == "query")
        .map(|s| s.stdout.clone());
    let mut environment = Environment::new();
    environment.add_template("page.html", TEMPLATE)?;
    let html = environment
        .get_template("page.html")?
        .render(minijinja::value::Serde(serde_json::json!({
            "name": report.name, "steps": report.steps, "seconds": report.seconds, "peak_mib": report.peak_mib,
            "pages": pages, "pairs": shown, "curves": curves, "query": query,
            "reconstructions": reconstructions.and_then(|p| p.strip_prefix(&plan.out).ok().map(Path::to_path_buf)),
            "results": results::table_rows(plan)?,
            "keys": plan.models.iter().map(|(modality, _)| modality.to_lowercase()).collect::<Vec<_>>(),
        })))?;
    let path = plan.out.join("index.html");
    dataset::fs::write_atomic(&path, html.as_bytes())?;
    Ok(path)
}

/// Writes a smaller copy of a picture as JPEG; returns its path relative to the page.
fn small_copy(bytes: &[u8], name: &str, side: u32, pictures: &Path) -> Result<(String, u32, u32)> {
    let decoded = dataset::image_input::decode_rgb8(bytes, name)?;
    let (width, height) = decoded.rgb.dimensions();
    let small =
        image::DynamicImage::ImageRgb8(decoded.rgb).resize(side, side * 4, image::imageops::FilterType::Triangle);
    let file: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' })
        .collect();
    let path = pictures.join(format!("{file}.jpg"));
    small
        .to_rgb8()
        .save(&path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok((format!("pictures/{file}.jpg"), width, height))
}

fn show_pair(pair: &PairRecord, pictures: &Path) -> Result<ShownPair> {
    let (picture, _, _) = small_copy(&pair.image.bytes, &pair.id, PAIR_SIDE, pictures)?;
    Ok(ShownPair {
        picture,
        id: pair.id.clone(),
        modality: pair.modality.to_string(),
        caption_en: pair.caption_en.clone(),
        caption_zh: pair.caption_zh.clone(),
        review: pair.review_status.to_string(),
        reasons: pair.review_reasons.join("; "),
    })
}

fn show_page(source: &str, file: &str, path: &Path, pairs: &[PairRecord], pictures: &Path) -> Result<ShownPage> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let (picture, width, height) = small_copy(&bytes, &format!("{source}-{file}"), PAGE_WIDTH, pictures)?;
    let panels = pairs
        .iter()
        .filter_map(|pair| {
            let bbox = pair.panel_bbox?;
            Some(ShownPanel {
                x: bbox.x0,
                y: bbox.y0,
                width: bbox.x1 - bbox.x0,
                height: bbox.y1 - bbox.y0,
                label: pair.panel.clone().unwrap_or_default(),
                modality: pair.modality.to_string(),
                needs_review: !pair.review_reasons.is_empty(),
            })
        })
        .collect();
    Ok(ShownPage {
        source: source.to_owned(),
        file: file.to_owned(),
        picture,
        width,
        height,
        panels,
    })
}

/// The loss curve of each run, scaled to a 300 × 120 picture.
fn curves(runs: &Path) -> Result<Vec<Curve>> {
    let mut curves = Vec::new();
    let Ok(entries) = std::fs::read_dir(runs) else {
        return Ok(curves);
    };
    let mut folders: Vec<PathBuf> = entries.filter_map(|e| e.ok().map(|e| e.path())).collect();
    folders.sort();
    for folder in folders {
        let losses = results::losses(&folder)?;
        let (Some(first), Some(last)) = (losses.first(), losses.last()) else {
            continue;
        };
        let top = losses.iter().copied().fold(f64::MIN, f64::max);
        let bottom = losses.iter().copied().fold(f64::MAX, f64::min);
        let span = (top - bottom).max(1e-9);
        let across = (losses.len() - 1).max(1) as f64;
        let points: Vec<String> = losses
            .iter()
            .enumerate()
            .map(|(i, loss)| {
                format!(
                    "{:.1},{:.1}",
                    300.0 * i as f64 / across,
                    115.0 - 110.0 * (loss - bottom) / span
                )
            })
            .collect();
        let title = folder
            .file_name()
            .map(|n| n.to_string_lossy().into_owned())
            .unwrap_or_default();
        curves.push(Curve {
            title,
            first: format!("{first:.3}"),
            last: format!("{last:.3}"),
            steps: losses.len(),
            points: points.join(" "),
        });
    }
    Ok(curves)
}

/// The last PNG (by name) below a folder.
fn newest_picture(folder: &Path) -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = walkdir::WalkDir::new(folder)
        .into_iter()
        .filter_map(Result::ok)
        .map(walkdir::DirEntry::into_path)
        .filter(|p| p.extension().is_some_and(|e| e == "png"))
        .collect();
    found.sort();
    found.pop()
}
