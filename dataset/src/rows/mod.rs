//! Records to Arrow record batches and back.

pub(crate) mod cells;
pub(crate) mod columns;

use crate::error::Result;
use crate::fs::natural_key;
use crate::modality::Modality;
use crate::record::{BoundingBox, ImageFile, LabelRecord, PairRecord, ReviewStatus, TextRecord};
use crate::schema::{Table, arrow_schema, bbox_fields, image_fields, metadata_schema};
use arrow::array::{
    ArrayRef, BinaryArray, Float32Array, Int32Array, Int32Builder, ListBuilder, RecordBatch, StringArray,
    StringBuilder, StructArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field};
use cells::Cells;
use columns::Columns;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::Path;
use std::sync::Arc;

/// A record of one of the three tables.
pub trait Row: Serialize + DeserializeOwned + Send + Sized {
    /// Its table.
    const TABLE: Table;
    fn id(&self) -> &str;
    /// The source whose update replaces this row.
    fn source(&self) -> &str;
    /// First part of the file name of its shard: rows of one stem lie together.
    fn stem(&self) -> &str;
    fn image(&self) -> Option<&ImageFile>;
    fn image_mut(&mut self) -> Option<&mut ImageFile>;
    /// What must hold before a row may be written.
    fn check(&self) -> Result<(), String>;
    /// Bytes whose plain order is the order of rows in the files: split,
    /// modality, source, figure, panel, page, image name, id.
    fn sort_key(&self) -> Vec<u8>;
    fn to_batch(rows: &[Self]) -> Result<RecordBatch, arrow::error::ArrowError>;
    fn from_cells(cells: &impl Cells) -> Result<Self>;

    fn from_batch(batch: &RecordBatch, file: &Path) -> Result<Vec<Self>> {
        let columns = Columns::new(batch, Self::TABLE, file)?;
        columns.rows().map(|row| Self::from_cells(&row)).collect()
    }

    /// Bytes this row adds to a row group, roughly.
    fn size(&self) -> usize {
        self.image().map_or(0, |image| image.bytes.len()) + 512
    }
}

fn key_of(parts: &[&str], modality: Option<Modality>, id: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(96);
    for (index, part) in parts.iter().enumerate() {
        natural_key(part, &mut key);
        key.push(0);
        if index == 0 {
            key.push(modality.map_or(0, |m| m as u8));
        }
    }
    key.extend(id.as_bytes());
    key
}

fn check_common(id: &str, split: &str, source: &str) -> Result<(), String> {
    if id.is_empty() {
        return Err("`id` is empty".to_owned());
    }
    if source.is_empty() {
        return Err(format!("row {id}: the source's name is empty"));
    }
    check_split(split).map_err(|message| format!("row {id}: {message}"))
}

/// Split names become file names: letters, digits and `_` only.
pub(crate) fn check_split(split: &str) -> Result<(), String> {
    let good = !split.is_empty() && split.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if good {
        return Ok(());
    }
    Err(format!("split `{split}` must consist of letters, digits and `_`"))
}

/// Paths inside `image.path` are relative and stay inside: tools unpack them.
pub(crate) fn check_image_path(path: &str) -> Result<(), String> {
    let bad = path.is_empty()
        || path.contains('\\')
        || path.contains('\0')
        || path.contains(':')
        || path.split('/').any(|part| matches!(part, "" | "." | ".."));
    if bad {
        return Err(format!(
            "image path `{path}` must be a relative name with `/`, without `..`, `:` or `\\`"
        ));
    }
    Ok(())
}

fn check_image(id: &str, image: &ImageFile, width: i32, height: i32) -> Result<(), String> {
    check_image_path(&image.path).map_err(|message| format!("row {id}: {message}"))?;
    if width <= 0 || height <= 0 {
        return Err(format!("row {id}: image size {width}x{height}"));
    }
    Ok(())
}

impl Row for PairRecord {
    const TABLE: Table = Table::Pairs;

    fn id(&self) -> &str {
        &self.id
    }

    fn source(&self) -> &str {
        &self.source_id
    }

    fn stem(&self) -> &str {
        &self.split
    }

    fn image(&self) -> Option<&ImageFile> {
        Some(&self.image)
    }

    fn image_mut(&mut self) -> Option<&mut ImageFile> {
        Some(&mut self.image)
    }

    fn check(&self) -> Result<(), String> {
        check_common(&self.id, &self.split, &self.source_id)?;
        check_image(&self.id, &self.image, self.width, self.height)?;
        let shares = [
            ("ocr_confidence", self.ocr_confidence),
            ("pair_confidence", self.pair_confidence),
            ("modality_confidence", self.modality_confidence),
        ];
        for (name, value) in shares {
            if let Some(value) = value
                && !(0.0..=1.0).contains(&value)
            {
                return Err(format!("row {}: `{name}` is {value}, allowed is 0 to 1", self.id));
            }
        }
        Ok(())
    }

    fn sort_key(&self) -> Vec<u8> {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let parts = [
            &self.split,
            &self.source_id,
            &text(&self.figure_no),
            &text(&self.panel),
            &text(&self.source_page),
            &self.image.path,
        ];
        key_of(&parts.map(String::as_str), Some(self.modality), &self.id)
    }

    fn to_batch(rows: &[Self]) -> Result<RecordBatch, arrow::error::ArrowError> {
        let mut columns = pair_columns(rows);
        columns[1] = image_column(rows.iter().map(|row| &row.image));
        RecordBatch::try_new(arrow_schema(Self::TABLE), columns)
    }

    fn from_cells(cells: &impl Cells) -> Result<Self> {
        let id = cells.required("id")?.to_owned();
        let status = |word: Option<&str>| match word {
            Some(word) => word
                .parse::<ReviewStatus>()
                .map_err(|message| cells.error(&format!("review_status, id {id}"), &message)),
            None => Ok(ReviewStatus::Auto),
        };
        Ok(Self {
            image: cells.image()?,
            width: cells.int("width")?.unwrap_or(0),
            height: cells.int("height")?.unwrap_or(0),
            modality: cells.modality()?,
            caption_en: cells.owned("caption_en")?,
            caption_zh: cells.owned("caption_zh")?,
            caption_en_origin: cells.owned("caption_en_origin")?,
            caption_zh_origin: cells.owned("caption_zh_origin")?,
            caption_figure: cells.owned("caption_figure")?,
            lang_original: cells.owned("lang_original")?,
            figure_no: cells.owned("figure_no")?,
            panel: cells.owned("panel")?,
            panel_bbox: cells.panel_bbox()?,
            source_id: cells.owned("source_id")?.unwrap_or_default(),
            source_page: cells.owned("source_page")?,
            source_page_sha256: cells.owned("source_page_sha256")?,
            ocr_confidence: cells.float("ocr_confidence")?,
            pair_confidence: cells.float("pair_confidence")?,
            modality_confidence: cells.float("modality_confidence")?,
            review_status: status(cells.text("review_status")?)?,
            review_reasons: cells.texts("review_reasons")?,
            quality_flags: cells.texts("quality_flags")?,
            split: cells.owned("split")?.unwrap_or_else(|| "train".to_owned()),
            split_group: cells.owned("split_group")?.unwrap_or_else(|| id.clone()),
            image_sha256: cells.owned("image_sha256")?.unwrap_or_default(),
            licence: cells.owned("licence")?,
            id,
        })
    }
}

/// All columns of `data/`; column 1 is `image_path` in place of the image.
fn pair_columns(rows: &[PairRecord]) -> Vec<ArrayRef> {
    fn texts<'a>(rows: &'a [PairRecord], get: impl Fn(&'a PairRecord) -> Option<&'a str>) -> ArrayRef {
        Arc::new(rows.iter().map(get).collect::<StringArray>())
    }
    vec![
        texts(rows, |r| Some(&r.id)),
        texts(rows, |r| Some(&r.image.path)),
        Arc::new(rows.iter().map(|r| Some(r.width)).collect::<Int32Array>()),
        Arc::new(rows.iter().map(|r| Some(r.height)).collect::<Int32Array>()),
        texts(rows, |r| Some(r.modality.as_str())),
        texts(rows, |r| r.caption_en.as_deref()),
        texts(rows, |r| r.caption_zh.as_deref()),
        texts(rows, |r| r.caption_en_origin.as_deref()),
        texts(rows, |r| r.caption_zh_origin.as_deref()),
        texts(rows, |r| r.caption_figure.as_deref()),
        texts(rows, |r| r.lang_original.as_deref()),
        texts(rows, |r| r.figure_no.as_deref()),
        texts(rows, |r| r.panel.as_deref()),
        bbox_column(rows.iter().map(|r| r.panel_bbox)),
        texts(rows, |r| Some(&r.source_id)),
        texts(rows, |r| r.source_page.as_deref()),
        texts(rows, |r| r.source_page_sha256.as_deref()),
        Arc::new(rows.iter().map(|r| r.ocr_confidence).collect::<Float32Array>()),
        Arc::new(rows.iter().map(|r| r.pair_confidence).collect::<Float32Array>()),
        Arc::new(rows.iter().map(|r| r.modality_confidence).collect::<Float32Array>()),
        texts(rows, |r| Some(r.review_status.as_str())),
        list_column(rows.iter().map(|r| &r.review_reasons)),
        list_column(rows.iter().map(|r| &r.quality_flags)),
        texts(rows, |r| Some(&r.split)),
        texts(rows, |r| Some(&r.split_group)),
        texts(rows, |r| Some(&r.image_sha256)),
        texts(rows, |r| r.licence.as_deref()),
    ]
}

/// The rows of `data/` without image bytes, for the analysts' copy.
pub(crate) fn metadata_batch(rows: &[PairRecord]) -> Result<RecordBatch, arrow::error::ArrowError> {
    RecordBatch::try_new(metadata_schema(), pair_columns(rows))
}

impl Row for TextRecord {
    const TABLE: Table = Table::Text;

    fn id(&self) -> &str {
        &self.id
    }

    fn source(&self) -> &str {
        &self.source_id
    }

    fn stem(&self) -> &str {
        "train"
    }

    fn image(&self) -> Option<&ImageFile> {
        None
    }

    fn image_mut(&mut self) -> Option<&mut ImageFile> {
        None
    }

    fn check(&self) -> Result<(), String> {
        check_common(&self.id, "train", &self.source_id)
    }

    fn sort_key(&self) -> Vec<u8> {
        key_of(&["train", &self.source_id], None, &self.id)
    }

    fn size(&self) -> usize {
        self.text.len() + 256
    }

    fn to_batch(rows: &[Self]) -> Result<RecordBatch, arrow::error::ArrowError> {
        let texts = |values: Vec<Option<&str>>| -> ArrayRef { Arc::new(StringArray::from(values)) };
        let columns = vec![
            texts(rows.iter().map(|r| Some(r.id.as_str())).collect()),
            texts(rows.iter().map(|r| Some(r.text.as_str())).collect()),
            texts(rows.iter().map(|r| Some(r.language.as_str())).collect()),
            texts(rows.iter().map(|r| Some(r.source_id.as_str())).collect()),
            texts(rows.iter().map(|r| r.licence.as_deref()).collect()),
            list_column(rows.iter().map(|r| &r.keywords)),
        ];
        RecordBatch::try_new(arrow_schema(Self::TABLE), columns)
    }

    fn from_cells(cells: &impl Cells) -> Result<Self> {
        Ok(Self {
            id: cells.required("id")?.to_owned(),
            text: cells.required("text")?.to_owned(),
            language: cells.owned("language")?.unwrap_or_default(),
            source_id: cells.owned("source_id")?.unwrap_or_default(),
            licence: cells.owned("licence")?,
            keywords: cells.texts("keywords")?,
        })
    }
}

impl Row for LabelRecord {
    const TABLE: Table = Table::Labels;

    fn id(&self) -> &str {
        &self.id
    }

    fn source(&self) -> &str {
        &self.dataset
    }

    fn stem(&self) -> &str {
        &self.dataset
    }

    fn image(&self) -> Option<&ImageFile> {
        Some(&self.image)
    }

    fn image_mut(&mut self) -> Option<&mut ImageFile> {
        Some(&mut self.image)
    }

    fn check(&self) -> Result<(), String> {
        check_common(&self.id, &self.split, &self.dataset)?;
        check_image(&self.id, &self.image, self.width, self.height)
    }

    fn sort_key(&self) -> Vec<u8> {
        let parts = [self.split.as_str(), &self.dataset, &self.image.path];
        key_of(&parts, Some(self.modality), &self.id)
    }

    fn to_batch(rows: &[Self]) -> Result<RecordBatch, arrow::error::ArrowError> {
        let texts = |values: Vec<Option<&str>>| -> ArrayRef { Arc::new(StringArray::from(values)) };
        let columns = vec![
            texts(rows.iter().map(|r| Some(r.id.as_str())).collect()),
            image_column(rows.iter().map(|r| &r.image)),
            Arc::new(rows.iter().map(|r| Some(r.width)).collect::<Int32Array>()),
            Arc::new(rows.iter().map(|r| Some(r.height)).collect::<Int32Array>()),
            texts(rows.iter().map(|r| Some(r.modality.as_str())).collect()),
            list_column(rows.iter().map(|r| &r.categories)),
            list_column(rows.iter().map(|r| &r.attributes)),
            texts(rows.iter().map(|r| Some(r.dataset.as_str())).collect()),
            texts(rows.iter().map(|r| Some(r.split.as_str())).collect()),
            texts(rows.iter().map(|r| Some(r.split_group.as_str())).collect()),
            texts(rows.iter().map(|r| Some(r.image_sha256.as_str())).collect()),
            texts(rows.iter().map(|r| r.licence.as_deref()).collect()),
        ];
        RecordBatch::try_new(arrow_schema(Self::TABLE), columns)
    }

    fn from_cells(cells: &impl Cells) -> Result<Self> {
        let id = cells.required("id")?.to_owned();
        Ok(Self {
            image: cells.image()?,
            width: cells.int("width")?.unwrap_or(0),
            height: cells.int("height")?.unwrap_or(0),
            modality: cells.modality()?,
            categories: cells.texts("categories")?,
            attributes: cells.texts("attributes")?,
            dataset: cells.owned("dataset")?.unwrap_or_default(),
            split: cells.owned("split")?.unwrap_or_else(|| "train".to_owned()),
            split_group: cells.owned("split_group")?.unwrap_or_else(|| id.clone()),
            image_sha256: cells.owned("image_sha256")?.unwrap_or_default(),
            licence: cells.owned("licence")?,
            id,
        })
    }
}

fn image_column<'a>(images: impl Iterator<Item = &'a ImageFile>) -> ArrayRef {
    let (bytes, paths): (Vec<&[u8]>, Vec<&str>) = images
        .map(|image| (image.bytes.as_slice(), image.path.as_str()))
        .unzip();
    Arc::new(StructArray::new(
        image_fields(),
        vec![
            Arc::new(BinaryArray::from_vec(bytes)),
            Arc::new(StringArray::from(paths)),
        ],
        None,
    ))
}

fn bbox_column(boxes: impl Iterator<Item = Option<BoundingBox>>) -> ArrayRef {
    let mut edges: [Int32Builder; 4] = Default::default();
    let mut present = Vec::new();
    for bbox in boxes {
        let values = bbox.map(|b| [b.x0, b.y0, b.x1, b.y1]);
        for (at, edge) in edges.iter_mut().enumerate() {
            edge.append_option(values.map(|v| v[at]));
        }
        present.push(bbox.is_some());
    }
    let columns = edges.map(|mut edge| Arc::new(edge.finish()) as ArrayRef);
    let nulls = NullBuffer::from(present);
    Arc::new(StructArray::new(bbox_fields(), columns.into(), Some(nulls)))
}

fn list_column<'a>(lists: impl Iterator<Item = &'a Vec<String>>) -> ArrayRef {
    let field = Field::new("element", DataType::Utf8, true);
    let mut builder = ListBuilder::new(StringBuilder::new()).with_field(field);
    for list in lists {
        for word in list {
            builder.values().append_value(word);
        }
        builder.append(true);
    }
    Arc::new(builder.finish())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{drawn_label, drawn_pair, drawn_text};

    #[test]
    fn rows_go_through_arrow_unchanged() {
        let mut pairs: Vec<_> = (0..7).map(|n| drawn_pair("book", n)).collect();
        pairs[3].panel_bbox = None;
        pairs[4].ocr_confidence = None;
        pairs[5].review_reasons = vec!["low ocr".to_owned(), "两个".to_owned()];
        let batch = PairRecord::to_batch(&pairs).unwrap();
        assert_eq!(PairRecord::from_batch(&batch, Path::new("f")).unwrap(), pairs);
        let texts: Vec<_> = (0..3).map(|n| drawn_text("c", n)).collect();
        let batch = TextRecord::to_batch(&texts).unwrap();
        assert_eq!(TextRecord::from_batch(&batch, Path::new("f")).unwrap(), texts);
        let labels: Vec<_> = (0..3).map(|n| drawn_label("set", n)).collect();
        let batch = LabelRecord::to_batch(&labels).unwrap();
        assert_eq!(LabelRecord::from_batch(&batch, Path::new("f")).unwrap(), labels);
        assert_eq!(metadata_batch(&pairs).unwrap().num_rows(), 7);
    }

    #[test]
    fn wrong_columns_are_named() {
        let batch = TextRecord::to_batch(&[drawn_text("c", 1)]).unwrap();
        let error = PairRecord::from_batch(&batch, Path::new("x.parquet"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("x.parquet") && error.contains("`image`"), "{error}");
        let numbers: ArrayRef = Arc::new(Int32Array::from(vec![1]));
        let batch = RecordBatch::try_from_iter([("id", numbers)]).unwrap();
        let error = TextRecord::from_batch(&batch, Path::new("x.parquet"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("`id`") && error.contains("Int32"), "{error}");
    }

    #[test]
    fn names_that_leave_the_folder_are_refused() {
        for path in [
            "",
            "/etc/x.png",
            "a/../b.png",
            "C:\\x.png",
            "c:/x",
            "a//b",
            "./a",
            "a\0b",
        ] {
            assert!(check_image_path(path).is_err(), "{path}");
        }
        for path in ["a.png", "book1/p012-fig2-12-A.png", "图/一.png", "a..b.png"] {
            assert!(check_image_path(path).is_ok(), "{path}");
        }
        for split in ["", "../train", "a-b", "a b"] {
            assert!(check_split(split).is_err(), "{split}");
        }
    }
}
