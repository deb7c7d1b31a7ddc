//! Looking at every picture of a mixed set (DEN, Section III-A1 of the paper):
//! collages and foreign modalities go, the rest is told apart by the same
//! classifier as the books' panels, and the labels are put in order.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dataset::fs::write_atomic;
use dataset::image_input::decode_rgb8;
use dataset::{DatasetError, Modality};
use image::{Rgb, RgbImage};

use super::list::ListRow;
use crate::glossary::Glossary;
use crate::layout::blocks::{find_blocks, min_side};
use crate::layout::partition::{PartitionOptions, partition};
use crate::layout::sheet::Sheet;
use crate::modality::histogram::hsv_histogram;
use crate::modality::{ModalityModel, Verdict};

/// How pictures are judged.
#[derive(Debug, Clone)]
pub struct Screen {
    /// Statistics of the classifier.
    pub model: Arc<ModalityModel>,
    /// Judge by the paper's K-means on colour histograms instead of the default.
    pub kmeans: bool,
    /// Modalities that stay.
    pub keep: Vec<Modality>,
    /// Below this confidence a picture is left out.
    pub least_confidence: f64,
    /// Leave collages in.
    pub keep_collages: bool,
    /// Where a list of every modality goes.
    pub lists: Option<PathBuf>,
    /// Terms that labels are mapped to.
    pub glossary: Arc<Glossary>,
}

/// What a picture was judged to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seen {
    /// Its modality.
    pub modality: Modality,
    /// How sure that is, 0 to 1.
    pub confidence: f64,
}

/// Words of a label from which on it is a description and no name.
const DESCRIPTION_WORDS: usize = 7;

impl Screen {
    /// Judges a picture; the error is a short word and the reason.
    pub fn look(&self, bytes: &[u8], name: &str) -> Result<Seen, (&'static str, String)> {
        let image = decode_rgb8(bytes, name).map_err(|e| (e.code(), e.to_string()))?.rgb;
        if !self.keep_collages {
            let parts = pictures_in(&image);
            if parts > 1 {
                return Err(("collage", format!("{name}: a collage of {parts} pictures")));
            }
        }
        let verdict: Verdict = if self.kmeans {
            self.model.kmeans.classify(&hsv_histogram(&image))
        } else {
            self.model.classify(&image)
        };
        let (modality, confidence) = (verdict.modality, verdict.confidence());
        if !self.keep.contains(&modality) {
            let reason = format!("{name}: looks like {modality} (confidence {confidence:.2}), which is not kept");
            return Err(("foreign modality", reason));
        }
        if confidence < self.least_confidence {
            let reason = format!("{name}: the modality is unsure ({modality} {confidence:.2})");
            return Err(("unsure modality", reason));
        }
        Ok(Seen { modality, confidence })
    }

    /// Puts a row's labels in order: known names become the glossary's, full
    /// stops and repetitions go, descriptions become attributes. A row of
    /// descriptions alone gets the diseases and findings that they name.
    pub fn tidy(&self, row: &mut ListRow) {
        let mut names: Vec<String> = Vec::new();
        let mut told: Vec<String> = Vec::new();
        let add = |list: &mut Vec<String>, text: String| {
            if !text.is_empty() && !list.iter().any(|t| t.eq_ignore_ascii_case(&text)) {
                list.push(text);
            }
        };
        for label in &row.categories {
            let label = label.trim().trim_end_matches(['.', ',', ';', ':']).trim();
            if let Some(term) = self.glossary.named(label) {
                add(&mut names, term.en[0].clone());
            } else if is_description(label) {
                add(&mut told, label.to_owned());
            } else {
                add(&mut names, label.to_owned());
            }
        }
        if names.is_empty() {
            for text in &told {
                for found in self.glossary.find(text) {
                    let term = &self.glossary.terms[found.term];
                    if matches!(term.kind.as_str(), "disease" | "finding") && !is_denied(&text[..found.start]) {
                        add(&mut names, term.en[0].clone());
                    }
                }
            }
        }
        if names.is_empty() {
            // Better a description as its label than none.
            names.append(&mut told);
        }
        row.categories = names;
        for text in told {
            if !row.attributes.contains(&text) {
                row.attributes.push(text);
            }
        }
    }
}

/// `43-year-old female, macular hole`, or a whole sentence.
fn is_description(label: &str) -> bool {
    let words = label.split_whitespace().count();
    let aged = label.to_lowercase().contains("year") && label.contains(|c: char| c.is_ascii_digit());
    words >= DESCRIPTION_WORDS || aged
}

/// The words before a term deny it.
pub(super) fn is_denied(before: &str) -> bool {
    let clause = before
        .rsplit(['.', ',', ';', '。', '，', '；'])
        .next()
        .unwrap_or_default();
    let clause = clause.to_lowercase();
    let english = clause
        .split_whitespace()
        .rev()
        .take(4)
        .any(|w| matches!(w, "no" | "not" | "without" | "absent" | "denies" | "exclude"));
    english
        || ["无", "未见", "未发现", "排除", "没有"]
            .iter()
            .any(|w| clause.contains(w))
}

/// White margin around a picture when its parts are counted, share of its shorter side.
const MARGIN: f64 = 0.06;
/// A part of a collage covers at least this share of the picture.
const LEAST_PART: f64 = 0.06;
/// Confidence in a cut from which on a picture counts as a collage.
const SURE_CUT: f64 = 0.6;

/// How many pictures a picture is made of; 1 for one that is not a collage.
pub fn pictures_in(image: &RgbImage) -> usize {
    let margin = ((f64::from(image.width().min(image.height())) * MARGIN) as u32).max(8);
    let mut page = RgbImage::from_pixel(image.width() + 2 * margin, image.height() + 2 * margin, Rgb([255; 3]));
    image::imageops::replace(&mut page, image, i64::from(margin), i64::from(margin));
    let sheet = Sheet::new(&page);
    let parts = partition(
        &sheet,
        &find_blocks(&sheet),
        min_side(&sheet),
        &PartitionOptions::default(),
    );
    let whole = (f64::from(image.width()) * f64::from(image.height())).max(1.0);
    let counted = parts
        .panels
        .iter()
        .filter(|p| p.confidence >= SURE_CUT && sheet.to_page(&p.bbox).area() as f64 / whole >= LEAST_PART)
        .count();
    counted.max(1)
}

/// Writes `NAME-CFP.csv` and so on, in FLAIR's form.
pub fn write_lists<'a>(
    folder: &Path,
    name: &str,
    rows: impl Iterator<Item = (Modality, &'a ListRow)> + Clone,
) -> Result<(), DatasetError> {
    for modality in Modality::ALL {
        let mut text = String::from("image,atributes,categories\n");
        let mut count = 0;
        for (_, row) in rows.clone().filter(|(m, _)| *m == modality) {
            let cells = [
                &row.image,
                &list_literal(&row.attributes),
                &list_literal(&row.categories),
            ];
            text += &cells.map(|c| format!("\"{}\"", c.replace('"', "\"\""))).join(",");
            text.push('\n');
            count += 1;
        }
        if count > 0 {
            write_atomic(&folder.join(format!("{name}-{modality}.csv")), text.as_bytes())?;
        }
    }
    Ok(())
}

/// Python's `['a', 'b']`.
fn list_literal(words: &[String]) -> String {
    let quoted: Vec<String> = words
        .iter()
        .map(|w| format!("'{}'", w.replace('\\', "\\\\").replace('\'', "\\'")))
        .collect();
    format!("[{}]", quoted.join(", "))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use dataset::testing::shared_dir;

    fn screen() -> Screen {
        Screen {
            model: Arc::new(ModalityModel::built_in().unwrap()),
            kmeans: false,
            keep: vec![Modality::Cfp, Modality::Ffa],
            least_confidence: 0.0,
            keep_collages: false,
            lists: None,
            glossary: Arc::new(Glossary::built_in().unwrap()),
        }
    }

    #[test]
    fn labels_are_put_in_order() {
        let mut row = ListRow {
            categories: [
                "Macular hole.",
                "macular hole (MH)",
                "43-year-old female, macular hole,",
                "SRNV-MD",
            ]
            .map(str::to_owned)
            .to_vec(),
            ..ListRow::default()
        };
        screen().tidy(&mut row);
        assert_eq!(row.categories, ["macular hole", "SRNV-MD"]);
        assert_eq!(row.attributes, ["43-year-old female, macular hole"]);
        let mut row = ListRow {
            categories: vec!["60-year-old male with drusen, no macular hole".to_owned()],
            ..ListRow::default()
        };
        screen().tidy(&mut row);
        assert_eq!(row.categories, ["drusen"]);
    }

    #[test]
    fn lists_come_back_through_the_reader() {
        let dir = tempfile::tempdir().unwrap();
        let row = ListRow {
            image: "a, b/1.jpg".to_owned(),
            categories: vec!["Best's disease".to_owned(), "drusen".to_owned()],
            attributes: vec!["\"old\" eye".to_owned()],
            ..ListRow::default()
        };
        write_lists(dir.path(), "DEN", [(Modality::Ffa, &row)].into_iter()).unwrap();
        let (rows, bad) = super::super::list::read_csv(&dir.path().join("DEN-FFA.csv")).unwrap();
        assert!(bad.is_empty() && !dir.path().join("DEN-CFP.csv").exists());
        assert_eq!((&rows[0].image, &rows[0].categories), (&row.image, &row.categories));
        assert_eq!(rows[0].attributes, row.attributes);
    }

    /// Photographs are one picture, collages of them several.
    #[test]
    fn collages_of_photographs_are_found() {
        let Some(shared) = shared_dir() else { return };
        let mut pictures: Vec<RgbImage> = Vec::new();
        for folder in ["CFP", "FFA"] {
            for path in dataset::fs::list_sorted(&shared.join("data/images").join(folder)).unwrap() {
                let bytes = std::fs::read(&path).unwrap();
                pictures.push(decode_rgb8(&bytes, "x").unwrap().rgb);
            }
        }
        if pictures.is_empty() {
            return;
        }
        let single = pictures.iter().filter(|p| pictures_in(p) == 1).count();
        let mut collages = (0, 0);
        for (at, pair) in pictures.chunks_exact(2).enumerate() {
            let height = 400;
            let scaled = |p: &RgbImage| {
                let width = (p.width() * height / p.height()).max(1);
                image::imageops::resize(p, width, height, image::imageops::FilterType::Triangle)
            };
            let (a, b) = (scaled(&pair[0]), scaled(&pair[1]));
            let (gap, ground) = [(12, 255), (12, 0), (0, 0), (4, 128)][at % 4];
            let mut both = RgbImage::from_pixel(a.width() + gap + b.width(), height, Rgb([ground; 3]));
            image::imageops::replace(&mut both, &a, 0, 0);
            image::imageops::replace(&mut both, &b, i64::from(a.width() + gap), 0);
            collages.1 += 1;
            collages.0 += usize::from(pictures_in(&both) > 1);
        }
        eprintln!(
            "{single} of {} single, {} of {} collages found",
            pictures.len(),
            collages.0,
            collages.1
        );
        assert!(single * 100 >= pictures.len() * 96);
        assert!(collages.0 * 100 >= collages.1 * 85);
    }
}
