//! Statistics of a dataset folder, or of a list of captions: those of the
//! paper's Fig. 2 and Section III-B, the labelled sets, the ledger.

mod captions_csv;
mod categories;
mod charts;
mod chinese;
mod cloud;
mod page;
pub mod text;

pub use captions_csv::read_captions;
pub use page::write_page;

use crate::error::Result;
use crate::ledger::{self, LEDGER_FILE, LedgerTotals};
use crate::modality::Modality;
use crate::read::{Columns, Dataset};
use categories::CategoryCounter;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use text::{Collector, Language, TextStatistics};

/// Everything that `statistics.json` holds.
#[derive(Debug, Default, Serialize)]
pub struct Statistics {
    /// Pairs by modality (`all` for the sum).
    pub pairs: BTreeMap<String, PairCounts>,
    /// Captions by modality (`all` for the sum) and language.
    pub captions: Vec<CaptionGroup>,
    /// Retinal categories that captions name, the most frequent first.
    pub categories: Vec<CategoryCount>,
    /// Pairs by source.
    pub sources: BTreeMap<String, u64>,
    /// Pairs by split.
    pub splits: BTreeMap<String, u64>,
    /// Pairs by review status.
    pub review: BTreeMap<String, u64>,
    /// Reasons for review with their pairs.
    pub review_reasons: BTreeMap<String, u64>,
    /// Labelled sets.
    pub labels: Vec<LabelSet>,
    /// Utterances for text pretraining.
    pub text: Vec<Corpus>,
    /// Ledger: source, then kind, then state.
    pub ledger: BTreeMap<String, LedgerTotals>,
    /// Vocabulary beside other sets: rows of Fig. 2c.
    pub comparison: Vec<Comparison>,
}

/// Counts of pairs.
#[derive(Debug, Default, Clone, PartialEq, Serialize)]
pub struct PairCounts {
    /// Pairs.
    pub pairs: u64,
    /// With an English caption.
    pub english: u64,
    /// With a Chinese caption.
    pub chinese: u64,
    /// With both.
    pub both: u64,
    /// Figures (split groups).
    pub groups: u64,
}

/// Captions of one modality and language.
#[derive(Debug, Clone, Serialize)]
pub struct CaptionGroup {
    /// `CFP`, ..., or `all`.
    pub modality: String,
    /// `en` or `zh`.
    pub language: Language,
    /// The numbers.
    #[serde(flatten)]
    pub text: TextStatistics,
}

/// A category and the pairs whose captions name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CategoryCount {
    /// The category.
    pub category: String,
    /// Pairs.
    pub pairs: u64,
    /// Pairs by modality.
    pub by_modality: BTreeMap<String, u64>,
}

/// A labelled set.
#[derive(Debug, Clone, Serialize)]
pub struct LabelSet {
    /// Its name.
    pub name: String,
    /// Images.
    pub images: u64,
    /// Images by modality.
    pub modalities: BTreeMap<String, u64>,
    /// Images by split.
    pub splits: BTreeMap<String, u64>,
    /// Images by category.
    pub categories: BTreeMap<String, u64>,
}

/// Utterances of one corpus and language.
#[derive(Debug, Clone, Serialize)]
pub struct Corpus {
    /// The corpus.
    pub source_id: String,
    /// `en` or `zh`, as the rows say.
    pub language: String,
    /// Utterances.
    pub utterances: u64,
    /// Words in all.
    pub words: u64,
    /// Different words.
    pub vocabulary: u64,
    /// Mean words of an utterance.
    pub mean_words: f64,
}

/// A row of the comparison of Fig. 2c.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// The set.
    pub name: String,
    /// `captions`, or `template` where only category names are there and the
    /// prompt "A fundus photograph of ..." makes the caption.
    pub texts: &'static str,
    /// Language of the captions.
    pub language: Language,
    /// Captions.
    pub captions: u64,
    /// Different words.
    pub vocabulary: u64,
    /// Mean different words of a caption.
    pub lexical_diversity: f64,
    /// Different words over all words.
    pub lexical_diversity_ratio: f64,
}

impl Comparison {
    fn of(name: &str, texts: &'static str, language: Language, found: &TextStatistics) -> Self {
        Self {
            name: name.to_owned(),
            texts,
            language,
            captions: found.captions,
            vocabulary: found.vocabulary,
            lexical_diversity: found.lexical_diversity,
            lexical_diversity_ratio: found.lexical_diversity_ratio,
        }
    }
}

/// Name of the group over all modalities.
pub const ALL: &str = "all";

/// One pair's part in the statistics.
#[derive(Debug, Clone, Default)]
pub struct CaptionRow {
    /// `CFP`, ...; empty when unknown.
    pub modality: String,
    /// English caption.
    pub english: Option<String>,
    /// Chinese caption.
    pub chinese: Option<String>,
}

/// Collects captions by modality and language.
#[derive(Default)]
struct CaptionCounter {
    pairs: BTreeMap<String, PairCounts>,
    groups: BTreeMap<(String, Language), Collector>,
    categories: BTreeMap<String, CategoryCounter>,
}

impl CaptionCounter {
    fn add(&mut self, row: &CaptionRow) {
        let english = row.english.as_deref().filter(|text| !text.trim().is_empty());
        let chinese = row.chinese.as_deref().filter(|text| !text.trim().is_empty());
        let mut names = vec![ALL.to_owned()];
        if !row.modality.is_empty() {
            names.push(row.modality.clone());
        }
        let captions: Vec<&str> = english.into_iter().chain(chinese).collect();
        let named = categories::named(&captions);
        for name in names {
            let counts = self.pairs.entry(name.clone()).or_default();
            counts.pairs += 1;
            counts.english += u64::from(english.is_some());
            counts.chinese += u64::from(chinese.is_some());
            counts.both += u64::from(english.is_some() && chinese.is_some());
            for (language, caption) in [(Language::En, english), (Language::Zh, chinese)] {
                if let Some(caption) = caption {
                    self.groups
                        .entry((name.clone(), language))
                        .or_default()
                        .add(caption, language);
                }
            }
            self.categories.entry(name).or_default().add(&named);
        }
    }

    fn finish(self, statistics: &mut Statistics) {
        statistics.pairs = self.pairs;
        statistics.captions = self
            .groups
            .iter()
            .map(|((modality, language), collector)| CaptionGroup {
                modality: modality.clone(),
                language: *language,
                text: collector.finish(),
            })
            .collect();
        // `all` last, modalities in their fixed order.
        statistics
            .captions
            .sort_by_key(|group| (modality_rank(&group.modality), group.language));
        let sorted: BTreeMap<String, Vec<(String, u64)>> = self
            .categories
            .iter()
            .map(|(name, counter)| (name.clone(), counter.sorted()))
            .collect();
        let all = sorted.get(ALL).cloned().unwrap_or_default();
        statistics.categories = all
            .into_iter()
            .map(|(category, pairs)| {
                let of = |list: &[(String, u64)]| list.iter().find(|(name, _)| *name == category).map(|(_, n)| *n);
                let by_modality = sorted
                    .iter()
                    .filter(|(name, _)| *name != ALL)
                    .filter_map(|(name, list)| Some((name.clone(), of(list)?)))
                    .collect();
                CategoryCount {
                    category,
                    pairs,
                    by_modality,
                }
            })
            .collect();
    }
}

fn modality_rank(name: &str) -> usize {
    let known = Modality::ALL.iter().position(|modality| modality.as_str() == name);
    known.unwrap_or(if name == ALL { usize::MAX } else { Modality::ALL.len() })
}

/// Statistics of a list of captions.
#[must_use]
pub fn of_captions(name: &str, rows: &[CaptionRow]) -> Statistics {
    let mut counter = CaptionCounter::default();
    for row in rows {
        counter.add(row);
    }
    let mut statistics = Statistics::default();
    counter.finish(&mut statistics);
    compare_all(&mut statistics, name);
    statistics
}

/// Rows of the comparison for the captions of the statistics themselves.
fn compare_all(statistics: &mut Statistics, name: &str) {
    let rows: Vec<Comparison> = statistics
        .captions
        .iter()
        .map(|group| {
            let name = if group.modality == ALL {
                name.to_owned()
            } else {
                format!("{name} {}", group.modality)
            };
            Comparison::of(&name, "captions", group.language, &group.text)
        })
        .collect();
    statistics.comparison.extend(rows);
}

/// Adds another set's captions to the comparison.
pub fn compare_with(statistics: &mut Statistics, name: &str, rows: &[CaptionRow]) {
    let other = of_captions(name, rows);
    let whole = other.comparison.into_iter().zip(other.captions);
    let rows = whole.filter(|(_, group)| group.modality == ALL).map(|(row, _)| row);
    statistics.comparison.extend(rows);
}

/// Statistics of a dataset folder; image bytes are not read.
///
/// # Errors
/// A file of the folder cannot be read.
pub fn of_dataset(dataset: &Dataset) -> Result<Statistics> {
    let mut statistics = Statistics::default();
    let mut counter = CaptionCounter::default();
    let mut groups: BTreeSet<(String, String)> = BTreeSet::new();
    for row in dataset.pairs(Columns::WithoutImageBytes)? {
        let row = row?;
        counter.add(&CaptionRow {
            modality: row.modality.to_string(),
            english: row.caption_en,
            chinese: row.caption_zh,
        });
        groups.insert((row.modality.to_string(), row.split_group.clone()));
        groups.insert((ALL.to_owned(), row.split_group));
        *statistics.sources.entry(row.source_id).or_default() += 1;
        *statistics.splits.entry(row.split).or_default() += 1;
        *statistics.review.entry(row.review_status.to_string()).or_default() += 1;
        for reason in row.review_reasons {
            *statistics.review_reasons.entry(reason).or_default() += 1;
        }
    }
    counter.finish(&mut statistics);
    for (modality, _) in groups {
        if let Some(counts) = statistics.pairs.get_mut(&modality) {
            counts.groups += 1;
        }
    }
    compare_all(&mut statistics, "this dataset");
    statistics.labels = label_sets(dataset, &mut statistics.comparison)?;
    statistics.text = corpora(dataset)?;
    for line in ledger::read_lines(&dataset.folder().join(LEDGER_FILE))? {
        let entry = line?.entry;
        ledger::count(statistics.ledger.entry(entry.source_id.clone()).or_default(), &entry);
    }
    Ok(statistics)
}

/// The paper's prompt for sets that only have categories (Section IV-A).
fn template(categories: &[String]) -> String {
    format!("A fundus photograph of {}", categories.join(", "))
}

fn label_sets(dataset: &Dataset, comparison: &mut Vec<Comparison>) -> Result<Vec<LabelSet>> {
    let mut sets: BTreeMap<String, (LabelSet, Collector)> = BTreeMap::new();
    for row in dataset.labels(None, Columns::WithoutImageBytes)? {
        let row = row?;
        let (set, collector) = sets.entry(row.dataset.clone()).or_insert_with(|| {
            let set = LabelSet {
                name: row.dataset.clone(),
                images: 0,
                modalities: BTreeMap::new(),
                splits: BTreeMap::new(),
                categories: BTreeMap::new(),
            };
            (set, Collector::default())
        });
        set.images += 1;
        *set.modalities.entry(row.modality.to_string()).or_default() += 1;
        *set.splits.entry(row.split).or_default() += 1;
        collector.add(&template(&row.categories), Language::En);
        for category in row.categories {
            *set.categories.entry(category).or_default() += 1;
        }
    }
    let mut list = Vec::new();
    for (name, (set, collector)) in sets {
        comparison.push(Comparison::of(&name, "template", Language::En, &collector.finish()));
        list.push(set);
    }
    Ok(list)
}

fn corpora(dataset: &Dataset) -> Result<Vec<Corpus>> {
    let mut corpora: BTreeMap<(String, String), (u64, Collector)> = BTreeMap::new();
    for row in dataset.text()? {
        let row = row?;
        let language = if row.language == "zh" {
            Language::Zh
        } else {
            Language::En
        };
        let (utterances, collector) = corpora.entry((row.source_id, row.language)).or_default();
        *utterances += 1;
        collector.add_words(&row.text, language);
    }
    let finished = corpora
        .into_iter()
        .map(|((source_id, language), (utterances, collector))| {
            let found = collector.finish();
            Corpus {
                source_id,
                language,
                utterances,
                words: found.words,
                vocabulary: found.vocabulary,
                mean_words: found.mean_words,
            }
        });
    Ok(finished.collect())
}
