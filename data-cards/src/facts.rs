//! Everything a card says about a dataset folder, computed from its files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;

use anyhow::{Context, bail};
use dataset::read::{Columns, Dataset};
use dataset::schema::Table;
use parquet::file::reader::{FileReader, SerializedFileReader};

/// Shown where a row states no licence.
pub const UNSTATED: &str = "not stated";

/// One Parquet file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileFacts {
    /// Path relative to the folder, with `/`.
    pub path: String,
    /// Size on disk.
    pub bytes: u64,
    /// Hash of its bytes.
    pub sha256: String,
    /// Rows by its footer.
    pub rows: u64,
    /// Uncompressed bytes by its footer.
    pub uncompressed_bytes: u64,
    /// Column names by its footer.
    pub columns: Vec<String>,
}

/// One split of a table. Labelled sets are files of one split, named by their stem.
#[derive(Debug, Clone)]
pub struct SplitFacts {
    /// Name.
    pub name: String,
    /// Files in order.
    pub files: Vec<FileFacts>,
}

impl SplitFacts {
    /// Rows of all files.
    pub fn rows(&self) -> u64 {
        self.files.iter().map(|f| f.rows).sum()
    }

    /// Uncompressed bytes of all files.
    pub fn uncompressed_bytes(&self) -> u64 {
        self.files.iter().map(|f| f.uncompressed_bytes).sum()
    }
}

/// One table: `data/`, `text/` or `labels/`.
#[derive(Debug, Clone)]
pub struct TableFacts {
    /// Which.
    pub table: Table,
    /// Splits in order.
    pub splits: Vec<SplitFacts>,
}

impl TableFacts {
    /// Files of all splits.
    pub fn files(&self) -> impl Iterator<Item = &FileFacts> {
        self.splits.iter().flat_map(|s| &s.files)
    }

    /// Rows of all splits.
    pub fn rows(&self) -> u64 {
        self.splits.iter().map(SplitFacts::rows).sum()
    }

    /// Configuration name on the card.
    pub fn config_name(&self) -> &'static str {
        self.table.name()
    }
}

/// Pairs of one modality.
#[derive(Debug, Clone, Copy, Default)]
pub struct ModalityFacts {
    /// Pairs.
    pub pairs: u64,
    /// With an English caption.
    pub english: u64,
    /// With a Chinese caption.
    pub chinese: u64,
    /// Labelled images.
    pub labelled: u64,
}

/// One labelled set.
#[derive(Debug, Clone, Default)]
pub struct LabelSetFacts {
    /// Rows by split.
    pub splits: BTreeMap<String, u64>,
    /// Rows by modality.
    pub modalities: BTreeMap<String, u64>,
    /// Rows by category.
    pub categories: BTreeMap<String, u64>,
}

/// A dataset folder in numbers.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Name of the folder.
    pub folder_name: String,
    /// Tables that have files.
    pub tables: Vec<TableFacts>,
    /// Hash over all Parquet files.
    pub content_hash: String,
    /// Rows by stated licence.
    pub licences: BTreeMap<String, u64>,
    /// Language codes in captions and text.
    pub languages: BTreeSet<String>,
    /// Pairs and labelled images by modality.
    pub modalities: BTreeMap<String, ModalityFacts>,
    /// Pairs by split.
    pub pair_splits: BTreeMap<String, u64>,
    /// Pairs by review status.
    pub review: BTreeMap<String, u64>,
    /// Captions by origin (ocr, person, translation, findings).
    pub caption_origins: BTreeMap<String, u64>,
    /// Pairs and utterances by source.
    pub sources: BTreeMap<String, u64>,
    /// Utterances by language.
    pub text_languages: BTreeMap<String, u64>,
    /// Labelled sets by name.
    pub label_sets: BTreeMap<String, LabelSetFacts>,
    /// Ledger: source → kind → state → inputs.
    pub ledger: BTreeMap<String, BTreeMap<String, BTreeMap<String, u64>>>,
    /// Ledger: reasons of inputs that became no row, with their number.
    pub reasons: BTreeMap<String, u64>,
    /// Rows that ledger lines claim to have become, each counted once; `None` when there is no ledger.
    pub ledger_rows: Option<u64>,
    /// Corrections in edits.jsonl.
    pub edits: u64,
}

impl Facts {
    /// Rows of all tables.
    pub fn rows(&self) -> u64 {
        self.tables.iter().map(TableFacts::rows).sum()
    }

    /// The table, when it has files.
    pub fn table(&self, table: Table) -> Option<&TableFacts> {
        self.tables.iter().find(|t| t.table == table)
    }
}

/// Reads one Parquet file's footer and hash.
pub fn file_facts(folder: &Path, file: &Path) -> anyhow::Result<FileFacts> {
    let name = || file.display().to_string();
    let reader = SerializedFileReader::new(File::open(file).with_context(name)?).with_context(name)?;
    let footer = reader.metadata();
    let rows = u64::try_from(footer.file_metadata().num_rows()).with_context(name)?;
    let uncompressed = footer
        .row_groups()
        .iter()
        .map(|g| u64::try_from(g.total_byte_size()).unwrap_or(0))
        .sum();
    let columns = footer
        .file_metadata()
        .schema_descr()
        .root_schema()
        .get_fields()
        .iter()
        .map(|f| f.name().to_string())
        .collect();
    let relative = file
        .strip_prefix(folder)
        .unwrap_or(file)
        .to_string_lossy()
        .replace('\\', "/");
    Ok(FileFacts {
        path: relative,
        bytes: std::fs::metadata(file).with_context(name)?.len(),
        sha256: dataset::hash::sha256_file(file)?,
        rows,
        uncompressed_bytes: uncompressed,
        columns,
    })
}

/// Split of a shard name such as `train-00000-of-00001.parquet`; other names count as a split of their own.
pub fn split_of(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path).trim_end_matches(".parquet");
    let parts: Vec<&str> = name.rsplitn(4, '-').collect();
    match parts[..] {
        [count, "of", number, split]
            if [count, number]
                .iter()
                .all(|d| d.len() == 5 && d.bytes().all(|b| b.is_ascii_digit())) =>
        {
            split.to_string()
        }
        _ => name.to_string(),
    }
}

fn table_facts(dataset: &Dataset, table: Table) -> anyhow::Result<TableFacts> {
    let mut splits: Vec<SplitFacts> = Vec::new();
    for file in dataset.files(table)? {
        let facts = file_facts(dataset.folder(), &file)?;
        // labelled sets are told apart by a column, not by splits
        let name = if table == Table::Labels {
            "train".to_string()
        } else {
            split_of(&facts.path)
        };
        match splits.iter_mut().find(|s| s.name == name) {
            Some(split) => split.files.push(facts),
            None => splits.push(SplitFacts {
                name,
                files: vec![facts],
            }),
        }
    }
    Ok(TableFacts { table, splits })
}

fn add(map: &mut BTreeMap<String, u64>, key: impl Into<String>) {
    *map.entry(key.into()).or_default() += 1;
}

/// Computes everything. Reads all columns except image bytes.
pub fn compute(folder: &Path) -> anyhow::Result<Facts> {
    if !folder.is_dir() {
        bail!("{} is no folder; give a dataset folder", folder.display());
    }
    let dataset = Dataset::open(folder)?;
    let canonical = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf());
    let mut facts = Facts {
        folder_name: canonical
            .file_name()
            .map(|n| n.to_string_lossy().into_owned())
            .unwrap_or_default(),
        content_hash: dataset.content_hash()?,
        ..Facts::default()
    };
    for table in Table::ALL {
        let found = table_facts(&dataset, table)?;
        if !found.splits.is_empty() {
            facts.tables.push(found);
        }
    }
    if facts.tables.is_empty() {
        bail!(
            "{} holds no Parquet file in data/, text/ or labels/; build it with ingest first",
            folder.display()
        );
    }
    let licence = |l: Option<String>| {
        l.filter(|l| !l.trim().is_empty())
            .unwrap_or_else(|| UNSTATED.to_string())
    };
    for pair in dataset.pairs(Columns::WithoutImageBytes)? {
        let pair = pair?;
        let modality = facts.modalities.entry(pair.modality.to_string()).or_default();
        modality.pairs += 1;
        for (caption, origin, code) in [
            (&pair.caption_en, &pair.caption_en_origin, "en"),
            (&pair.caption_zh, &pair.caption_zh_origin, "zh"),
        ] {
            if caption.as_ref().is_some_and(|c| !c.is_empty()) {
                *if code == "en" {
                    &mut modality.english
                } else {
                    &mut modality.chinese
                } += 1;
                facts.languages.insert(code.to_string());
                add(
                    &mut facts.caption_origins,
                    origin.clone().unwrap_or_else(|| "not recorded".into()),
                );
            }
        }
        let status = serde_json::to_value(pair.review_status)?;
        add(&mut facts.review, status.as_str().unwrap_or("unknown"));
        add(&mut facts.pair_splits, pair.split);
        add(&mut facts.sources, pair.source_id);
        add(&mut facts.licences, licence(pair.licence));
    }
    for text in dataset.text()? {
        let text = text?;
        facts.languages.insert(text.language.clone());
        add(&mut facts.text_languages, text.language);
        add(&mut facts.sources, text.source_id);
        add(&mut facts.licences, licence(text.licence));
    }
    for label in dataset.labels(None, Columns::WithoutImageBytes)? {
        let label = label?;
        facts.modalities.entry(label.modality.to_string()).or_default().labelled += 1;
        let set = facts.label_sets.entry(label.dataset).or_default();
        add(&mut set.splits, label.split);
        add(&mut set.modalities, label.modality.to_string());
        label.categories.into_iter().for_each(|c| add(&mut set.categories, c));
        add(&mut facts.licences, licence(label.licence));
    }
    if folder.join(dataset::ledger::LEDGER_FILE).exists() {
        let mut rows = BTreeSet::new();
        for entry in dataset.ledger()? {
            if let Some(id) = entry.id.as_ref().filter(|_| entry.is_row()) {
                rows.insert(id.clone());
            }
            if let Some(reason) = entry.reason.as_ref().filter(|_| !entry.is_row()) {
                add(&mut facts.reasons, format!("{} {}: {reason}", entry.kind, entry.state));
            }
            add(
                facts
                    .ledger
                    .entry(entry.source_id)
                    .or_default()
                    .entry(entry.kind)
                    .or_default(),
                entry.state,
            );
        }
        facts.ledger_rows = Some(rows.len() as u64);
    }
    let edits = std::fs::read_to_string(folder.join("edits.jsonl")).unwrap_or_default();
    facts.edits = edits.lines().filter(|l| !l.trim().is_empty()).count() as u64;
    Ok(facts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_are_read_from_shard_names() {
        assert_eq!(split_of("data/train-00000-of-00001.parquet"), "train");
        assert_eq!(split_of("labels/eye-set-2-00003-of-00010.parquet"), "eye-set-2");
        assert_eq!(split_of("data/odd.parquet"), "odd");
    }
}
