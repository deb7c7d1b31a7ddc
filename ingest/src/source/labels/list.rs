//! Reading a labelled set: FLAIR-style lists and class folders.
//!
//! FLAIR's lists are CSV files with the columns `image`, `atributes` (so
//! spelt) and `categories`, whose cells are Python list literals.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use dataset::fs::natural_cmp;
use serde::Deserialize;
use walkdir::WalkDir;

use crate::glossary::Glossary;

/// One row of a labelled set before its picture is looked at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListRow {
    /// Where the row stands, for messages: `list.csv:12` or the file's relative path.
    pub place: String,
    /// The picture's relative path as the list gives it, with `/`.
    pub image: String,
    /// Category names.
    pub categories: Vec<String>,
    /// Attribute words.
    pub attributes: Vec<String>,
    /// The patient or case, when the list names it.
    pub group: Option<String>,
    /// The split, when the list names it.
    pub split: Option<String>,
    /// Reports in English and Chinese, when the list holds them.
    pub captions: [Option<String>; 2],
}

/// A row that could not be read, with the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRow {
    /// Where it stands.
    pub place: String,
    /// Why it was rejected.
    pub reason: String,
}

/// Reads a FLAIR-style list. Rows come in file order.
///
/// # Errors
/// The file cannot be read, or has no `image` or no `categories` column.
pub fn read_csv(path: &Path) -> anyhow::Result<(Vec<ListRow>, Vec<BadRow>)> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read the list {}", path.display()))?;
    let name = path
        .file_name()
        .map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    parse_csv(&bytes, &name)
}

/// Parses the bytes of a list called `name`.
fn parse_csv(bytes: &[u8], name: &str) -> anyhow::Result<(Vec<ListRow>, Vec<BadRow>)> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(bytes);
    let headers = reader
        .headers()
        .with_context(|| format!("{name}: the header line is not UTF-8 text"))?
        .clone();
    let column = |names: &[&str]| {
        headers
            .iter()
            .position(|h| names.contains(&h.trim().to_lowercase().as_str()))
    };
    let image = column(&["image", "image_path", "path", "file", "filename", "file_name"]);
    let categories = column(&["categories", "category", "labels", "label", "class"]);
    let attributes = column(&["atributes", "attributes"]);
    let (Some(image), Some(categories)) = (image, categories) else {
        bail!(
            "{name}: the header is `{}`; it needs the columns `image` and `categories` (`atributes` may follow)",
            headers.iter().collect::<Vec<_>>().join(",")
        );
    };
    let (mut rows, mut bad) = (Vec::new(), Vec::new());
    let mut record = csv::ByteRecord::new();
    loop {
        let line = reader.position().line();
        let place = format!("{name}:{line}");
        match reader.read_byte_record(&mut record) {
            Ok(false) => break,
            Ok(true) => match row_of(&record, image, categories, attributes) {
                Ok((image, categories, attributes)) => rows.push(ListRow {
                    place,
                    image,
                    categories,
                    attributes,
                    ..ListRow::default()
                }),
                Err(reason) => bad.push(BadRow { place, reason }),
            },
            Err(error) => bad.push(BadRow {
                place,
                reason: format!("no CSV row: {error}"),
            }),
        }
    }
    Ok((rows, bad))
}

type Cells = (String, Vec<String>, Vec<String>);

fn row_of(
    record: &csv::ByteRecord,
    image: usize,
    categories: usize,
    attributes: Option<usize>,
) -> Result<Cells, String> {
    let cell = |index: usize, what: &str| -> Result<&str, String> {
        let bytes = record
            .get(index)
            .ok_or_else(|| format!("has {} cells, `{what}` is missing", record.len()))?;
        std::str::from_utf8(bytes).map_err(|_| format!("`{what}` is not UTF-8; save the list as UTF-8"))
    };
    let path = cell(image, "image")?.trim().replace('\\', "/");
    if path.is_empty() {
        return Err("`image` is empty".to_owned());
    }
    let categories = parse_list(cell(categories, "categories")?).map_err(|e| format!("`categories`: {e}"))?;
    if categories.is_empty() {
        return Err("`categories` is empty".to_owned());
    }
    let attributes = match attributes {
        Some(index) if record.get(index).is_some() => {
            parse_list(cell(index, "atributes")?).map_err(|e| format!("`atributes`: {e}"))?
        }
        _ => Vec::new(),
    };
    Ok((path, categories, attributes))
}

/// Parses a cell that lists words: a Python or JSON list of strings, or plain text
/// with `;` or `|` between the words. Empty words are left out, repeated ones kept once.
///
/// # Errors
/// The list is not closed, or holds something that is no string or number.
pub fn parse_list(cell: &str) -> Result<Vec<String>, String> {
    let text = cell.trim();
    let words = if text.starts_with(['[', '(']) {
        python_list(text)?
    } else {
        text.split([';', '|']).map(str::to_owned).collect()
    };
    let mut out: Vec<String> = Vec::new();
    for word in words {
        let word = word.split_whitespace().collect::<Vec<_>>().join(" ");
        let word = word.trim_matches([',', ' ']).to_owned();
        if !word.is_empty() && !out.contains(&word) {
            out.push(word);
        }
    }
    Ok(out)
}

/// Python's `['a', "b's", u'c', 3]` and JSON's `["a"]`.
fn python_list(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut chars = text.char_indices().peekable();
    let close = if text.starts_with('[') { ']' } else { ')' };
    chars.next();
    let mut closed = false;
    while let Some((at, c)) = chars.next() {
        match c {
            _ if c == close => {
                closed = true;
                break;
            }
            ',' | ' ' | '\n' | '\t' | '\r' => {}
            'u' | 'U' | 'b' | 'r' if matches!(chars.peek(), Some((_, '\'' | '"'))) => {}
            '\'' | '"' => words.push(
                quoted(&mut chars, c).ok_or_else(|| format!("the string at character {at} is not closed: {text}"))?,
            ),
            _ => {
                let mut word = String::from(c);
                while let Some((_, next)) = chars.peek() {
                    if *next == ',' || *next == close {
                        break;
                    }
                    word.push(*next);
                    chars.next();
                }
                let word = word.trim();
                if word.contains(['\'', '"', '[', '{', '(']) {
                    return Err(format!("`{word}` is no string or number: {text}"));
                }
                if !matches!(word, "None" | "null" | "nan") {
                    words.push(word.to_owned());
                }
            }
        }
    }
    if !closed {
        return Err(format!("the list is not closed: {text}"));
    }
    match chars.find(|(_, c)| !c.is_whitespace()) {
        Some((at, _)) => Err(format!("text follows the list at character {at}: {text}")),
        None => Ok(words),
    }
}

fn quoted(chars: &mut std::iter::Peekable<std::str::CharIndices>, quote: char) -> Option<String> {
    let mut word = String::new();
    while let Some((_, c)) = chars.next() {
        match c {
            '\\' => match chars.next()?.1 {
                'n' | 't' | 'r' => word.push(' '),
                'u' | 'x' => {
                    // \u00e9 and \xe9; anything else stays as it is printed.
                    let digits: String = chars
                        .clone()
                        .take(4)
                        .map(|(_, c)| c)
                        .take_while(char::is_ascii_hexdigit)
                        .collect();
                    let take = if digits.len() == 4 { 4 } else { 2.min(digits.len()) };
                    let value = u32::from_str_radix(&digits[..take], 16).ok().and_then(char::from_u32);
                    for _ in 0..take {
                        chars.next();
                    }
                    word.extend(value);
                }
                other => word.push(other),
            },
            c if c == quote => return Some(word),
            c => word.push(c),
        }
    }
    None
}

/// Reads a tree of class folders: the first folder below `root` names the category.
///
/// Underscores in folder names stand for spaces. Hidden files are no inputs.
///
/// # Errors
/// `root` cannot be read or holds no folder.
pub fn read_class_folders(root: &Path) -> anyhow::Result<(Vec<ListRow>, Vec<BadRow>)> {
    let (mut rows, mut bad) = (Vec::new(), Vec::new());
    let mut folders = 0;
    for entry in WalkDir::new(root)
        .follow_links(true)
        .sort_by(|a, b| natural_cmp(&a.file_name().to_string_lossy(), &b.file_name().to_string_lossy()))
    {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) if error.depth() == 0 => {
                return Err(error).with_context(|| format!("cannot read the folder {}", root.display()));
            }
            Err(error) => {
                let place = error.path().map_or_else(String::new, |p| relative(root, p));
                bad.push(BadRow {
                    place,
                    reason: format!("cannot be read: {error}"),
                });
                continue;
            }
        };
        let path = relative(root, entry.path());
        if path.split('/').any(|part| part.starts_with('.')) {
            continue;
        }
        if entry.file_type().is_dir() {
            folders += usize::from(entry.depth() == 1);
            continue;
        }
        match path.split_once('/') {
            Some((class, _)) => rows.push(ListRow {
                place: path.clone(),
                categories: vec![class.replace('_', " ").split_whitespace().collect::<Vec<_>>().join(" ")],
                image: path,
                ..ListRow::default()
            }),
            None => bad.push(BadRow {
                place: path,
                reason: "lies beside the class folders; move it into the folder of its class".to_owned(),
            }),
        }
    }
    if folders == 0 {
        bail!(
            "{} holds no class folders; expected DIR/CLASS/picture.jpg, or give the list with --csv",
            root.display()
        );
    }
    Ok((rows, bad))
}

fn relative(root: &Path, path: &Path) -> String {
    let path = path.strip_prefix(root).unwrap_or(path);
    path.components()
        .map(|c| c.as_os_str().to_string_lossy())
        .collect::<Vec<_>>()
        .join("/")
}

/// A label map: one name for synonyms, several names for combined labels, none to drop one.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelMap {
    /// Category as listed → name or names; `""` or `[]` drops it.
    #[serde(default)]
    pub categories: BTreeMap<String, OneOrMore>,
    /// Attribute as listed → name or names.
    #[serde(default)]
    pub attributes: BTreeMap<String, OneOrMore>,
    /// Synonyms and abbreviations for what the tables do not name.
    #[serde(skip)]
    pub glossary: Option<Arc<Glossary>>,
}

/// One name or a list of names.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum OneOrMore {
    /// One name.
    One(String),
    /// Several names.
    More(Vec<String>),
}

impl LabelMap {
    /// Reads a TOML file with the tables `[categories]` and `[attributes]`.
    ///
    /// # Errors
    /// The file cannot be read or is no such file.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read the label map {}", path.display()))?;
        toml::from_str(&text).with_context(|| {
            format!(
                "{}: no label map; expected a table [categories] with lines like \"dr\" = \"diabetic retinopathy\"",
                path.display()
            )
        })
    }

    /// Applies the map to one row. Names are compared without case.
    pub fn apply(&self, row: &mut ListRow) {
        row.categories = mapped(&row.categories, &self.categories, self.glossary.as_deref());
        row.attributes = mapped(&row.attributes, &self.attributes, None);
    }
}

fn mapped(words: &[String], table: &BTreeMap<String, OneOrMore>, glossary: Option<&Glossary>) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for word in words {
        let found = table
            .iter()
            .find(|(from, _)| from.to_lowercase() == word.to_lowercase())
            .map(|(_, to)| to);
        let names: Vec<&str> = match found {
            None => vec![
                glossary
                    .and_then(|g| g.named(word))
                    .map_or(word, |term| term.en[0].as_str()),
            ],
            Some(OneOrMore::One(name)) => vec![name],
            Some(OneOrMore::More(names)) => names.iter().map(String::as_str).collect(),
        };
        for name in names.into_iter().map(str::trim).filter(|n| !n.is_empty()) {
            if !out.iter().any(|o| o == name) {
                out.push(name.to_owned());
            }
        }
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lists_of_words() {
        for (cell, want) in [
            ("['normal']", vec!["normal"]),
            ("['a', \"b's disease\", 'c\\'d']", vec!["a", "b's disease", "c'd"]),
            ("[\"a\",\"b\"]", vec!["a", "b"]),
            ("[]", vec![]),
            ("", vec![]),
            ("normal", vec!["normal"]),
            ("glaucoma; cataract|normal", vec!["glaucoma", "cataract", "normal"]),
            (
                "['macular hole', '43-year-old female, macular hole,']",
                vec!["macular hole", "43-year-old female, macular hole"],
            ),
            ("['x', 'x', ' ']", vec!["x"]),
            ("[u'x', 3, None]", vec!["x", "3"]),
            ("['caf\\u00e9']", vec!["café"]),
        ] {
            assert_eq!(parse_list(cell).unwrap(), want, "{cell}");
        }
        for bad in ["['a'", "['a] ", "['a'] b", "[['a']]"] {
            assert!(parse_list(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_list_keeps_good_rows_and_names_bad_ones() {
        let text = "\u{feff},image,atributes,categories\n0,a/1.jpg,[],['normal']\n1,,[],['x']\n2,b.jpg,[],[]\n3,c.jpg\n4,d\\e.png,\"['old']\",\"['dr', 'amd']\"\n";
        let (rows, bad) = parse_csv(text.as_bytes(), "list.csv").unwrap();
        assert_eq!(
            rows.iter().map(|r| r.image.as_str()).collect::<Vec<_>>(),
            ["a/1.jpg", "d/e.png"]
        );
        assert_eq!(
            (rows[1].place.as_str(), rows[1].attributes.as_slice()),
            ("list.csv:6", ["old".to_owned()].as_slice())
        );
        let places: Vec<&str> = bad.iter().map(|b| b.place.as_str()).collect();
        assert_eq!(places, ["list.csv:3", "list.csv:4", "list.csv:5"]);
        assert!(
            parse_csv(b"a,b\n1,2\n", "x.csv")
                .unwrap_err()
                .to_string()
                .contains("`image` and `categories`")
        );
    }

    #[test]
    fn a_label_map_renames_splits_and_drops() {
        let map: LabelMap = toml::from_str(
            "[categories]\n\"DR\" = \"diabetic retinopathy\"\nmixed = [\"glaucoma\", \"cataract\"]\nother = \"\"\n",
        )
        .unwrap();
        let mut row = ListRow {
            categories: ["dr", "mixed", "Other", "kept"].map(str::to_owned).to_vec(),
            ..ListRow::default()
        };
        map.apply(&mut row);
        assert_eq!(row.categories, ["diabetic retinopathy", "glaucoma", "cataract", "kept"]);
        assert!(toml::from_str::<LabelMap>("[synonyms]\na = \"b\"").is_err());
    }

    proptest! {
        #[test]
        fn no_cell_makes_it_panic(cell in "[\\[\\]()'\"\\\\ux0-9a, ;|é]{0,30}") {
            let _ = parse_list(&cell);
        }
    }
}
