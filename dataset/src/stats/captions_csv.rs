//! Captions from a CSV file such as MM-Retinal V1's list.

use super::CaptionRow;
use super::text::Language;
use crate::error::{DatasetError, Result};
use std::path::Path;

/// Column names for captions of either language, in order of preference.
const CAPTION: [&str; 6] = ["caption", "captions", "text", "report", "description", "en_caption"];
const ENGLISH: [&str; 4] = ["caption_en", "en_caption", "english", "caption_english"];
const CHINESE: [&str; 4] = ["caption_zh", "zh_caption", "chinese", "caption_chinese"];
const MODALITY: [&str; 2] = ["modality", "modal"];

/// Reads a CSV file with a header: a column `caption` (its language is told
/// from the words) or `caption_en` and `caption_zh`, and maybe `modality`.
///
/// # Errors
/// The file cannot be read, is no CSV, or has no caption column.
pub fn read_captions(path: &Path) -> Result<Vec<CaptionRow>> {
    let bytes = std::fs::read(path).map_err(|e| DatasetError::io(path, "read", e))?;
    let place = path.display().to_string();
    let text = String::from_utf8(bytes).map_err(|e| {
        DatasetError::invalid(
            &place,
            format!(
                "is not UTF-8 at byte {}; save it as UTF-8",
                e.utf8_error().valid_up_to()
            ),
        )
    })?;
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(&text);
    let mut reader = csv::ReaderBuilder::new().flexible(false).from_reader(text.as_bytes());
    let error = |e: csv::Error| DatasetError::invalid(&place, format!("{e}; repair this line"));
    let header: Vec<String> = reader
        .headers()
        .map_err(error)?
        .iter()
        .map(|name| name.trim().to_lowercase())
        .collect();
    let column = |names: &[&str]| {
        names
            .iter()
            .find_map(|name| header.iter().position(|found| found == name))
    };
    let (either, english, chinese) = (column(&CAPTION), column(&ENGLISH), column(&CHINESE));
    if either.or(english).or(chinese).is_none() {
        return Err(DatasetError::invalid(
            &place,
            format!(
                "no caption column; found [{}], expected `caption`, or `caption_en` and `caption_zh`",
                header.join(", ")
            ),
        ));
    }
    let modality = column(&MODALITY);
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(error)?;
        let cell = |at: Option<usize>| {
            at.and_then(|at| record.get(at))
                .map(str::trim)
                .filter(|text| !text.is_empty())
        };
        let mut row = CaptionRow {
            modality: cell(modality).unwrap_or_default().to_uppercase(),
            english: cell(english).map(str::to_owned),
            chinese: cell(chinese).map(str::to_owned),
        };
        if english.is_none()
            && chinese.is_none()
            && let Some(caption) = cell(either)
        {
            match Language::of(caption) {
                Language::En => row.english = Some(caption.to_owned()),
                Language::Zh => row.chinese = Some(caption.to_owned()),
            }
        }
        rows.push(row);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn columns_are_found_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        std::fs::write(
            &path,
            "\u{FEFF}Modality,image,Caption\ncfp,a.jpg,\"Soft, drusen\"\nOCT,b.jpg,黄斑水肿\n",
        )
        .unwrap();
        let rows = read_captions(&path).unwrap();
        assert_eq!(rows[0].modality, "CFP");
        assert_eq!(rows[0].english.as_deref(), Some("Soft, drusen"));
        assert_eq!(rows[1].chinese.as_deref(), Some("黄斑水肿"));
        std::fs::write(&path, "a,b\n1,2\n").unwrap();
        assert!(read_captions(&path).unwrap_err().to_string().contains("found [a, b]"));
        std::fs::write(&path, "caption,b\n1,2\n3\n").unwrap();
        assert!(read_captions(&path).unwrap_err().to_string().contains("line"));
        std::fs::write(&path, b"caption\n\xFF\xFE\n").unwrap();
        assert!(read_captions(&path).unwrap_err().to_string().contains("UTF-8"));
    }
}
