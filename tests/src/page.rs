//! Draws book pages: figures of one to four panels with letters, gutters and captions in
//! English, Chinese or both, a running head and a page number; and says what is on them.

use std::path::{Path, PathBuf};

use ab_glyph::{Font, FontVec, PxScale, ScaleFont, point};
use anyhow::{Context, Result, bail};
use dataset::modality::Modality;
use image::{Rgb, RgbImage};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::retina::{Finding, picture, seed_for};

/// Where Debian's `fonts-noto-cjk` puts the font, and the index of simplified Chinese in it.
const CJK_FONT: (&str, u32) = ("/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc", 2);
const WHITE: Rgb<u8> = Rgb([255, 255, 255]);
const INK: Rgb<u8> = Rgb([24, 24, 24]);
const BODY_SIZE: f32 = 26.0;
const MARGIN: u32 = 70;

/// The language of an atlas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BookLanguage {
    /// English captions, labels like `(A)`.
    English,
    /// Chinese captions, labels like `A．`.
    Chinese,
    /// A Chinese caption followed by its English translation.
    Bilingual,
}

/// What is printed in one panel, for comparison with what was read.
#[derive(Clone, Debug, Serialize)]
pub struct PanelTruth {
    /// Printed letter; `None` for the only panel of a figure.
    pub label: Option<String>,
    /// Page pixels `[x0, y0, x1, y1]`, ends exclusive.
    pub bbox: [u32; 4],
    /// CFP, FFA or OCT.
    pub modality: Modality,
    /// English words of this panel, when the book has English.
    pub text_en: Option<String>,
    /// Chinese words of this panel, when the book has Chinese.
    pub text_zh: Option<String>,
}

/// What is printed on one page.
#[derive(Clone, Debug, Serialize)]
pub struct PageTruth {
    /// File name of the screenshot.
    pub file: String,
    /// Number of the figure, like `2-3`.
    pub figure_no: String,
    /// English preface (the diagnosis), when the book has English.
    pub preface_en: Option<String>,
    /// Chinese preface, when the book has Chinese.
    pub preface_zh: Option<String>,
    /// The panels in reading order.
    pub panels: Vec<PanelTruth>,
}

/// Loads the Chinese font that the pages are set in.
///
/// # Errors
/// When the font is missing; the message names the Debian package.
pub fn load_font() -> Result<FontVec> {
    let (path, index) = (PathBuf::from(CJK_FONT.0), CJK_FONT.1);
    let bytes = std::fs::read(&path).with_context(|| {
        format!(
            "cannot read the font {}; remedy: apt-get install fonts-noto-cjk",
            path.display()
        )
    })?;
    FontVec::try_from_vec_and_index(bytes, index)
        .with_context(|| format!("{} is not a usable font collection", path.display()))
}

/// One thing that a panel can show: modality, finding, English and Chinese words.
struct Scene {
    modality: Modality,
    finding: Finding,
    english: &'static str,
    chinese: &'static str,
}

/// A disease with the pictures that belong to it.
struct Disease {
    english: &'static str,
    chinese: &'static str,
    scenes: &'static [Scene],
}

const DISEASES: &[Disease] = &[
    Disease {
        english: "Diabetic retinopathy",
        chinese: "糖尿病视网膜病变",
        scenes: &[
            Scene {
                modality: Modality::Cfp,
                finding: Finding::DiabeticRetinopathy,
                english: "Color fundus photograph shows scattered dot hemorrhages and hard exudates",
                chinese: "彩色眼底照相可见散在点状出血及硬性渗出",
            },
            Scene {
                modality: Modality::Ffa,
                finding: Finding::DiabeticRetinopathy,
                english: "Fluorescein angiogram shows many hyperfluorescent microaneurysms",
                chinese: "荧光素眼底血管造影可见大量微血管瘤呈点状强荧光",
            },
            Scene {
                modality: Modality::Oct,
                finding: Finding::MacularOedema,
                english: "OCT shows cystoid spaces within the thickened macula",
                chinese: "光学相干断层扫描显示黄斑增厚伴囊样低反射腔",
            },
        ],
    },
    Disease {
        english: "Age-related macular degeneration",
        chinese: "年龄相关性黄斑变性",
        scenes: &[
            Scene {
                modality: Modality::Cfp,
                finding: Finding::MacularDegeneration,
                english: "The fundus photograph shows a yellowish-white lesion at the macula",
                chinese: "眼底彩照显示黄斑区黄白色病灶",
            },
            Scene {
                modality: Modality::Ffa,
                finding: Finding::MacularDegeneration,
                english: "Late phase angiogram shows leakage of the neovascular membrane",
                chinese: "造影晚期新生血管膜荧光素渗漏",
            },
            Scene {
                modality: Modality::Oct,
                finding: Finding::Drusen,
                english: "OCT shows drusen elevating the pigment epithelium",
                chinese: "断层扫描显示玻璃膜疣使色素上皮层隆起",
            },
        ],
    },
    Disease {
        english: "Glaucoma",
        chinese: "青光眼",
        scenes: &[
            Scene {
                modality: Modality::Cfp,
                finding: Finding::Glaucoma,
                english: "The optic disc is pale with an enlarged cup",
                chinese: "视盘色淡，杯盘比扩大",
            },
            Scene {
                modality: Modality::Ffa,
                finding: Finding::Normal,
                english: "Angiogram shows normal filling of the retinal vessels",
                chinese: "造影显示视网膜血管充盈正常",
            },
        ],
    },
    Disease {
        english: "Normal fundus",
        chinese: "正常眼底",
        scenes: &[
            Scene {
                modality: Modality::Cfp,
                finding: Finding::Normal,
                english: "Color photograph of a normal fundus with a clear disc margin",
                chinese: "正常眼底彩照，视盘边界清楚",
            },
            Scene {
                modality: Modality::Oct,
                finding: Finding::Normal,
                english: "OCT shows a normal foveal contour and regular layers",
                chinese: "断层扫描显示黄斑中心凹形态正常，各层结构清晰",
            },
        ],
    },
];

/// Draws page `index` of a book.
///
/// # Errors
/// When the page cannot hold what it should (a bug in the drawing).
pub fn draw_page(font: &FontVec, language: BookLanguage, index: usize, seed: u64) -> Result<(RgbImage, PageTruth)> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed_for(seed, &format!("{language:?}"), index));
    let disease = &DISEASES[index % DISEASES.len()];
    let count = 1 + (index + rng.random_range(0..2usize)) % disease.scenes.len();
    let size = 440u32;
    let dark_gutter = index % 3 == 1;
    let gutter = 12 + 4 * (index as u32 % 3);
    let letters_under = index % 4 == 3;
    let figure_no = format!("{}-{}", 2 + index / DISEASES.len(), 1 + index % DISEASES.len());
    let columns = count.min(3) as u32;
    let width = 2 * MARGIN + columns * size + (columns - 1) * gutter;
    let width = width.max(1100);
    let strip = if letters_under && count > 1 { 40 } else { 0 };

    let captions = caption_lines(font, language, disease, count, &figure_no, (width - 2 * MARGIN) as f32);
    let line_height = (BODY_SIZE * 1.45) as u32;
    let text_height: u32 = captions.iter().map(|lines| lines.len() as u32 * line_height + 14).sum();
    let top = MARGIN + 60;
    let height = top + size + strip + 30 + text_height + MARGIN + 40;
    let mut page = RgbImage::from_pixel(width, height, WHITE);
    let head = match language {
        BookLanguage::English => "Chapter 2  Retinal diseases",
        _ => "第二章 视网膜疾病",
    };
    draw_text(&mut page, font, INK, (MARGIN, 40), 22.0, head);

    let left = (width - (columns * size + (columns - 1) * gutter)) / 2;
    if dark_gutter && count > 1 {
        fill(
            &mut page,
            [left, top, left + columns * size + (columns - 1) * gutter, top + size],
            Rgb([6, 6, 6]),
        );
    }
    let mut panels = Vec::new();
    for (number, scene) in disease.scenes.iter().take(count).enumerate() {
        let drawn = picture(
            scene.modality,
            size,
            scene.finding,
            seed_for(seed, &format!("{language:?}/{figure_no}"), number),
        );
        let drawn = image::imageops::resize(&drawn, size, size, image::imageops::FilterType::Triangle);
        let x = left + number as u32 * (size + gutter);
        image::imageops::replace(&mut page, &drawn, i64::from(x), i64::from(top));
        let letter = (count > 1).then(|| char::from(b'A' + number as u8).to_string());
        if let Some(letter) = &letter {
            let (lx, ly, colour) = if letters_under {
                (x + size / 2 - 8, top + size + 6, INK)
            } else {
                (x + 12, top + 8, WHITE)
            };
            draw_text(&mut page, font, colour, (lx, ly), 34.0, letter);
        }
        panels.push(PanelTruth {
            label: letter,
            bbox: [x, top, x + size, top + size],
            modality: scene.modality,
            text_en: (language != BookLanguage::Chinese).then(|| scene.english.to_owned()),
            text_zh: (language != BookLanguage::English).then(|| scene.chinese.to_owned()),
        });
    }
    let mut y = top + size + strip + 30;
    for lines in &captions {
        for line in lines {
            draw_text(&mut page, font, INK, (MARGIN, y), BODY_SIZE, line);
            y += line_height;
        }
        y += 14;
    }
    if y > height {
        bail!("page {index}: the captions end at {y}, below the page of {height} pixels");
    }
    draw_text(
        &mut page,
        font,
        INK,
        (width / 2, height - 50),
        22.0,
        &(20 + index).to_string(),
    );
    let truth = PageTruth {
        file: format!("page-{:03}.png", index + 1),
        figure_no,
        preface_en: (language != BookLanguage::Chinese).then(|| disease.english.to_owned()),
        preface_zh: (language != BookLanguage::English).then(|| disease.chinese.to_owned()),
        panels,
    };
    Ok((page, truth))
}

/// The captions of a figure, each wrapped to `width` pixels.
fn caption_lines(
    font: &FontVec,
    language: BookLanguage,
    disease: &Disease,
    count: usize,
    number: &str,
    width: f32,
) -> Vec<Vec<String>> {
    let letter = |i: usize| char::from(b'A' + i as u8);
    let scenes = disease.scenes.iter().take(count).enumerate();
    let mut captions = Vec::new();
    if language != BookLanguage::English {
        let words: Vec<String> = scenes
            .clone()
            .map(|(i, scene)| {
                if count > 1 {
                    format!("{}．{}", letter(i), scene.chinese)
                } else {
                    scene.chinese.to_owned()
                }
            })
            .collect();
        captions.push(format!("图{number} {}。{}。", disease.chinese, words.join("；")));
    }
    if language != BookLanguage::Chinese {
        let words: Vec<String> = scenes
            .map(|(i, scene)| {
                if count > 1 {
                    format!("({}) {}.", letter(i), scene.english)
                } else {
                    format!("{}.", scene.english)
                }
            })
            .collect();
        captions.push(format!("Figure {number}. {}. {}", disease.english, words.join(" ")));
    }
    captions.iter().map(|caption| wrap(font, caption, width)).collect()
}

/// Breaks a text into lines: Chinese anywhere, Latin words only at spaces.
fn wrap(font: &FontVec, text: &str, width: f32) -> Vec<String> {
    let scaled = font.as_scaled(PxScale::from(BODY_SIZE));
    let measure = |piece: &str| piece.chars().map(|c| scaled.h_advance(font.glyph_id(c))).sum::<f32>();
    let mut pieces: Vec<String> = Vec::new();
    for c in text.chars() {
        let joins = c.is_ascii()
            && c != ' '
            && pieces
                .last()
                .is_some_and(|p| p.chars().last().is_some_and(|l| l.is_ascii() && l != ' '));
        let closes = "。，；．、".contains(c);
        match pieces.last_mut() {
            Some(last) if joins || closes || c == ' ' => last.push(c),
            _ => pieces.push(c.to_string()),
        }
    }
    let (mut lines, mut line) = (Vec::new(), String::new());
    for piece in pieces {
        if !line.is_empty() && measure(line.trim_end()) + measure(piece.trim_end()) > width {
            lines.push(std::mem::take(&mut line).trim_end().to_owned());
        }
        line.push_str(&piece);
    }
    lines.push(line.trim_end().to_owned());
    lines
}

/// Writes one line of text with its top left corner at `at`, `size` pixels high.
fn draw_text(page: &mut RgbImage, font: &FontVec, colour: Rgb<u8>, at: (u32, u32), size: f32, text: &str) {
    let scaled = font.as_scaled(PxScale::from(size));
    let mut x = at.0 as f32;
    for c in text.chars() {
        let glyph = scaled.scaled_glyph(c);
        let (id, advance) = (glyph.id, scaled.h_advance(glyph.id));
        let placed = id.with_scale_and_position(PxScale::from(size), point(x, at.1 as f32 + scaled.ascent()));
        if let Some(outline) = font.outline_glyph(placed) {
            let bounds = outline.px_bounds();
            outline.draw(|dx, dy, cover| {
                let (px, py) = (bounds.min.x as i64 + i64::from(dx), bounds.min.y as i64 + i64::from(dy));
                if px >= 0 && py >= 0 && px < i64::from(page.width()) && py < i64::from(page.height()) {
                    let pixel = page.get_pixel_mut(px as u32, py as u32);
                    for (channel, ink) in pixel.0.iter_mut().zip(colour.0) {
                        *channel = (f32::from(*channel) * (1.0 - cover) + f32::from(ink) * cover).round() as u8;
                    }
                }
            });
        }
        x += advance;
    }
}

fn fill(page: &mut RgbImage, [x0, y0, x1, y1]: [u32; 4], colour: Rgb<u8>) {
    for y in y0..y1 {
        for x in x0..x1 {
            page.put_pixel(x, y, colour);
        }
    }
}

/// Draws `pages` pages of one book into `folder`, and `truth.json` beside it in `truth_folder`.
///
/// # Errors
/// When the font is missing or a file cannot be written.
pub fn draw_book(
    folder: &Path,
    truth_folder: &Path,
    language: BookLanguage,
    pages: usize,
    seed: u64,
) -> Result<Vec<PageTruth>> {
    let font = load_font()?;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    std::fs::create_dir_all(truth_folder).with_context(|| format!("cannot create {}", truth_folder.display()))?;
    let mut truths = Vec::new();
    for index in 0..pages {
        let (page, truth) = draw_page(&font, language, index, seed)?;
        let path = folder.join(&truth.file);
        page.save(&path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        truths.push(truth);
    }
    let name = folder.file_name().and_then(|n| n.to_str()).unwrap_or("book");
    dataset::fs::write_atomic(
        &truth_folder.join(format!("{name}.json")),
        serde_json::to_string_pretty(&truths)?.as_bytes(),
    )?;
    Ok(truths)
}
