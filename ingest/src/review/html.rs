//! Pages on which page picture, panels, texts and reason stand side by side.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use dataset::fs::write_atomic;
use dataset::{Dataset, PairRecord};
use minijinja::{Environment, context};
use serde::Serialize;

use super::export::confidence;
use super::pictures::{PageFolders, thumb};
use super::seen;

/// The template, which brings its own style and script.
const TEMPLATE: &str = include_str!("review.html");
/// Longest side of a page picture in the HTML.
const PAGE_SIDE: u32 = 1100;
/// Longest side of a panel in the HTML.
const CROP_SIDE: u32 = 420;
/// Screenshots on one HTML page: bounds its size (about 15 MB) and our memory.
const SHEETS_PER_FILE: usize = 60;
/// Inputs without a pair that the last page lists.
const ORPHANS_SHOWN: usize = 500;

/// An input that became no pair.
#[derive(Debug, Clone, Serialize)]
pub struct Orphan {
    /// The source.
    pub source: String,
    /// File, figure and panel.
    pub input: String,
    /// What kind of input.
    pub kind: String,
    /// What became of it.
    pub state: String,
    /// Why.
    pub reason: String,
}

/// Pages that were written.
pub struct Written {
    /// Their names.
    pub files: Vec<String>,
    /// Screenshots that could not be shown.
    pub missing: usize,
}

/// A screenshot with its pairs.
#[derive(Serialize)]
struct Screenshot<'a> {
    source: &'a str,
    name: &'a str,
    picture: Option<PagePicture>,
    remark: Option<String>,
    pairs: Vec<Pair<'a>>,
}

#[derive(Serialize)]
struct PagePicture {
    data: String,
    width: u32,
    height: u32,
}

#[derive(Serialize)]
struct Pair<'a> {
    number: usize,
    id: &'a str,
    seen: String,
    data: Option<String>,
    problem: Option<String>,
    size: String,
    modality: String,
    status: String,
    figure: &'a str,
    panel: &'a str,
    caption_en: &'a str,
    caption_zh: &'a str,
    en_origin: &'a str,
    zh_origin: &'a str,
    caption_figure: &'a str,
    reasons: &'a [String],
    flags: &'a [String],
    confidence: String,
    bbox: Option<[i32; 4]>,
}

/// Writes `review.html`, `review-2.html` and so on. `rows` are sorted, riskiest first;
/// a screenshot stands where its riskiest pair does.
pub fn write(
    dataset: &Dataset,
    rows: &[PairRecord],
    orphans: &[Orphan],
    folders: &PageFolders,
    out: &Path,
) -> anyhow::Result<Written> {
    let sheets = by_screenshot(rows);
    let parts: Vec<_> = sheets.chunks(SHEETS_PER_FILE).collect();
    let name = |at: usize| match at {
        0 => "review.html".to_owned(),
        _ => format!("review-{}.html", at + 1),
    };
    let mut environment = Environment::new();
    environment.add_template("review.html", TEMPLATE)?;
    let template = environment.get_template("review.html")?;
    let answered: Vec<&str> = super::COLUMNS
        .into_iter()
        .skip_while(|column| *column != "decision")
        .filter(|column| *column != "caption_figure")
        .collect();
    let progress = dataset::progress::bar(Some(sheets.len() as u64), "screenshots");
    let mut written = Written {
        files: Vec::new(),
        missing: 0,
    };
    for (at, part) in parts.iter().enumerate() {
        let mut screenshots = Vec::new();
        for numbers in *part {
            let screenshot = screenshot(dataset, rows, numbers, folders)?;
            written.missing += usize::from(screenshot.picture.is_none());
            screenshots.push(screenshot);
            progress.inc(1);
        }
        let last = at + 1 == parts.len();
        let html = template
            .render(context! {
                screenshots => minijinja::Value::from(minijinja::value::Serde(&screenshots)),
                pairs => rows.len(),
                part => at + 1,
                parts => parts.len(),
                previous => (at > 0).then(|| name(at - 1)),
                next => (!last).then(|| name(at + 1)),
                orphans => minijinja::Value::from(minijinja::value::Serde(if last { &orphans[..orphans.len().min(ORPHANS_SHOWN)] } else { &[] })),
                more_orphans => orphans.len().saturating_sub(ORPHANS_SHOWN),
                columns => serde_json::to_string(&answered)?,
            })
            .with_context(|| format!("{}: cannot be made", name(at)))?;
        write_atomic(&out.join(name(at)), html.as_bytes())?;
        written.files.push(name(at));
    }
    progress.finish();
    Ok(written)
}

/// Indexes of `rows` by screenshot, in order of their first row.
fn by_screenshot(rows: &[PairRecord]) -> Vec<Vec<usize>> {
    let mut order: Vec<Vec<usize>> = Vec::new();
    let mut place: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for (at, row) in rows.iter().enumerate() {
        let Some(page) = row.source_page.as_deref() else {
            order.push(vec![at]);
            continue;
        };
        let slot = *place.entry((&row.source_id, page)).or_insert(order.len());
        match order.get_mut(slot) {
            Some(numbers) => numbers.push(at),
            None => order.push(vec![at]),
        }
    }
    order
}

fn screenshot<'a>(
    dataset: &Dataset,
    rows: &'a [PairRecord],
    numbers: &[usize],
    folders: &PageFolders,
) -> anyhow::Result<Screenshot<'a>> {
    let ids: Vec<&str> = numbers.iter().map(|&at| rows[at].id.as_str()).collect();
    let with_bytes = dataset.pairs_by_id(&ids)?;
    let first = &rows[numbers[0]];
    let (picture, remark) = match &first.source_page {
        None => (None, None),
        Some(page) => match folders.read(&first.source_id, page, first.source_page_sha256.as_deref()) {
            Err(reason) => (None, Some(reason)),
            Ok((bytes, remark)) => match thumb(&bytes, page, PAGE_SIDE) {
                Ok(thumb) => {
                    let picture = PagePicture {
                        data: thumb.data,
                        width: thumb.width,
                        height: thumb.height,
                    };
                    (Some(picture), remark)
                }
                Err(reason) => (None, Some(reason)),
            },
        },
    };
    let pairs = numbers
        .iter()
        .map(|&at| {
            let row = &rows[at];
            let bytes = with_bytes.iter().find(|r| r.id == row.id).map(|r| &r.image.bytes);
            pair(at + 1, row, bytes.map_or(&[], Vec::as_slice))
        })
        .collect();
    Ok(Screenshot {
        source: &first.source_id,
        name: first.source_page.as_deref().unwrap_or(&first.image.path),
        picture,
        remark,
        pairs,
    })
}

fn pair<'a>(number: usize, row: &'a PairRecord, bytes: &[u8]) -> Pair<'a> {
    let (data, problem) = match thumb(bytes, &row.image.path, CROP_SIDE) {
        Ok(thumb) => (Some(thumb.data), None),
        Err(reason) => (None, Some(reason)),
    };
    fn text(value: &Option<String>) -> &str {
        value.as_deref().unwrap_or_default()
    }
    Pair {
        number,
        id: &row.id,
        seen: seen(row),
        data,
        problem,
        size: format!("{} × {}", row.width, row.height),
        modality: row.modality.to_string(),
        status: row.review_status.to_string(),
        figure: text(&row.figure_no),
        panel: text(&row.panel),
        caption_en: text(&row.caption_en),
        caption_zh: text(&row.caption_zh),
        en_origin: text(&row.caption_en_origin),
        zh_origin: text(&row.caption_zh_origin),
        caption_figure: text(&row.caption_figure),
        reasons: &row.review_reasons,
        flags: &row.quality_flags,
        confidence: confidence(row),
        bbox: row.panel_bbox.map(|b| [b.x0, b.y0, b.x1 - b.x0, b.y1 - b.y0]),
    }
}
