//! Writes `statistics.json`, the charts, and one HTML page that holds all.

use super::charts::{self, Series};
use super::text::{Bin, Language};
use super::{ALL, CaptionGroup, Statistics, cloud};
use crate::error::{DatasetError, Result};
use crate::fs::write_atomic;
use crate::image_input::decode_rgb8;
use crate::modality::Modality;
use crate::query::output::base64;
use crate::read::{Columns, Dataset};
use crate::record::ImageFile;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;

/// Longer side of a thumbnail in pixels.
const THUMBNAIL: u32 = 176;
/// Samples shown per modality, and per labelled set.
const PAIR_SAMPLES: usize = 6;
const LABEL_SAMPLES: usize = 4;
/// Bars of a chart of frequent terms or categories.
const BARS: usize = 25;
const BLUE: &str = "#35618e";

fn color(modality: &str) -> &'static str {
    match modality {
        "CFP" => "#c2553f",
        "FFA" => "#3d7a8c",
        "OCT" => "#7a6bb0",
        ALL => BLUE,
        _ => "#8a8a8a",
    }
}

/// One picture of the page.
#[derive(Serialize)]
struct Chart {
    file: String,
    svg: String,
}

/// Charts under one heading.
#[derive(Serialize)]
struct Section {
    title: &'static str,
    note: &'static str,
    charts: Vec<Chart>,
}

/// A picture with its words.
#[derive(Serialize)]
struct Sample {
    group: String,
    id: String,
    data: String,
    alt: String,
    lines: Vec<String>,
}

/// Writes everything into `out`: `statistics.json`, `*.svg` and `index.html`.
/// Samples are taken from the dataset when one is given. Returns the files'
/// names.
///
/// # Errors
/// A chart cannot be drawn, a file cannot be written, a row cannot be read.
pub fn write_page(statistics: &Statistics, dataset: Option<&Dataset>, title: &str, out: &Path) -> Result<Vec<String>> {
    let sections = sections(statistics)?;
    let (pairs, labels) = match dataset {
        Some(dataset) => (pair_samples(dataset)?, label_samples(dataset)?),
        None => (Vec::new(), Vec::new()),
    };
    let mut files = Vec::new();
    let json = serde_json::to_string_pretty(statistics)
        .map_err(|e| DatasetError::invalid("statistics.json", e.to_string()))?;
    let mut save = |name: &str, text: &str| {
        files.push(name.to_owned());
        write_atomic(&out.join(name), text.as_bytes())
    };
    save("statistics.json", &(json + "\n"))?;
    for chart in sections.iter().flat_map(|section| &section.charts) {
        save(&chart.file, &chart.svg)?;
    }
    save("index.html", &html(statistics, title, &sections, &pairs, &labels)?)?;
    Ok(files)
}

fn html(s: &Statistics, title: &str, sections: &[Section], pairs: &[Sample], labels: &[Sample]) -> Result<String> {
    let failed = |e: minijinja::Error| DatasetError::invalid("index.html", format!("{e:#}"));
    let mut environment = minijinja::Environment::new();
    environment
        .add_template("page.html", include_str!("page.html"))
        .map_err(failed)?;
    let totals = ledger_rows(s);
    let values = serde_json::json!({
        "s": s, "title": title, "sections": sections, "pairs": pairs, "labels": labels, "totals": totals,
    });
    let context = minijinja::value::Serde(&values);
    environment
        .get_template("page.html")
        .and_then(|page| page.render(context))
        .map_err(failed)
}

/// Source, kind, and a count for each state of the ledger.
fn ledger_rows(statistics: &Statistics) -> Vec<(String, String, Vec<u64>)> {
    let mut rows = Vec::new();
    for (source, kinds) in &statistics.ledger {
        for (kind, states) in kinds {
            let of = |state: &str| states.get(state).copied().unwrap_or(0);
            let counts = ["paired", "kept", "needs-review", "duplicate", "rejected"].map(of);
            rows.push((source.clone(), kind.clone(), counts.to_vec()));
        }
    }
    rows
}

fn sections(s: &Statistics) -> Result<Vec<Section>> {
    let mut sections = vec![Section {
        title: "Pairs and captions",
        note: "Pairs by modality and language of their captions (paper, Section III-B).",
        charts: vec![counts_chart(s)?],
    }];
    let mut lengths = Vec::new();
    for language in [Language::En, Language::Zh] {
        lengths.extend(length_chart(s, language, "words", |group| &group.text.length_words)?);
    }
    lengths.extend(length_chart(s, Language::Zh, "signs", |group| {
        &group.text.length_signs
    })?);
    sections.push(Section {
        title: "Caption length",
        note: "Share of each modality's captions by length (paper, Fig. 2b). Chinese words are found by longest match against a list of ophthalmic words; signs are exact.",
        charts: lengths,
    });
    sections.push(Section {
        title: "Vocabulary and lexical diversity",
        note: "Vocabulary: different words over all captions. Lexical diversity: mean number of different words in a caption (paper, Fig. 2c).",
        charts: vocabulary_charts(s)?,
    });
    let mut clouds = Vec::new();
    let mut bars = Vec::new();
    let several = s.captions.iter().filter(|group| group.modality != ALL).count() > 1;
    for group in s.captions.iter().filter(|group| !(several && group.modality == ALL)) {
        let name = format!("{}-{}", group.modality, group.language.as_str());
        let title = format!("{} captions, {}", group.modality, language_name(group.language));
        clouds.push(Chart {
            file: format!("cloud-{name}.svg"),
            svg: cloud::svg(&group.text.terms, &title, color(&group.modality)),
        });
        let top: Vec<(String, u64)> = group
            .text
            .terms
            .iter()
            .take(BARS)
            .map(|term| (term.term.clone(), term.count))
            .collect();
        bars.push(Chart {
            file: format!("terms-{name}.svg"),
            svg: charts::lying(&format!("Most frequent terms: {title}"), &top, color(&group.modality))?,
        });
    }
    sections.push(Section {
        title: "Frequent terms",
        note: "Words and pairs of words without function words (paper, Fig. 2a). Hover over a word for its count.",
        charts: clouds,
    });
    sections.push(Section {
        title: "Frequent terms, counted",
        note: "",
        charts: bars,
    });
    let top: Vec<(String, u64)> = s
        .categories
        .iter()
        .take(BARS)
        .map(|category| (category.category.clone(), category.pairs))
        .collect();
    sections.push(Section {
        title: "Categories",
        note: "Pairs whose captions name a retinal category; found by a fixed list of names, so a floor rather than the truth.",
        charts: vec![Chart {
            file: "categories.svg".to_owned(),
            svg: charts::lying("Categories named in captions", &top, BLUE)?,
        }],
    });
    sections.push(Section {
        title: "Labelled sets",
        note: "",
        charts: label_charts(s)?,
    });
    // Nothing to show is not shown.
    sections.retain(|section| !section.charts.is_empty());
    if s.captions.is_empty() {
        sections.retain(|section| section.title == "Labelled sets");
    }
    Ok(sections)
}

fn language_name(language: Language) -> &'static str {
    match language {
        Language::En => "English",
        Language::Zh => "Chinese",
    }
}

fn counts_chart(s: &Statistics) -> Result<Chart> {
    let names: Vec<String> = modalities(s);
    let values = |get: fn(&super::PairCounts) -> u64| names.iter().map(|name| get(&s.pairs[name]) as f64).collect();
    let mut series = vec![
        Series {
            name: "pairs".to_owned(),
            color: "#b9c4cf",
            values: values(|c| c.pairs),
        },
        Series {
            name: "English caption".to_owned(),
            color: "#35618e",
            values: values(|c| c.english),
        },
        Series {
            name: "Chinese caption".to_owned(),
            color: "#b8862b",
            values: values(|c| c.chinese),
        },
    ];
    // A language without captions takes no room.
    series.retain(|one| one.values.iter().any(|&value| value > 0.0));
    Ok(Chart {
        file: "pairs.svg".to_owned(),
        svg: charts::grouped("Pairs by modality", &names, &series, "pairs")?,
    })
}

/// Modalities with pairs, in their fixed order; other names behind.
fn modalities(s: &Statistics) -> Vec<String> {
    let mut names: Vec<String> = s.pairs.keys().filter(|name| *name != ALL).cloned().collect();
    names.sort_by_key(|name| {
        let rank = Modality::ALL.iter().position(|modality| modality.as_str() == name);
        (rank.unwrap_or(usize::MAX), name.clone())
    });
    if names.is_empty() && s.pairs.contains_key(ALL) {
        names.push(ALL.to_owned());
    }
    names
}

/// Bins shown; what is longer is added to the last one.
const SHOWN_BINS: usize = 8;

fn length_chart(
    s: &Statistics,
    language: Language,
    unit: &str,
    bins: fn(&CaptionGroup) -> &Vec<Bin>,
) -> Result<Option<Chart>> {
    let groups: Vec<&CaptionGroup> = s
        .captions
        .iter()
        .filter(|group| {
            group.language == language && modalities(s).contains(&group.modality) && !bins(group).is_empty()
        })
        .collect();
    let count = groups.iter().map(|group| bins(group).len()).max().unwrap_or(0);
    if count == 0 {
        return Ok(None);
    }
    let shown = count.min(SHOWN_BINS);
    let width = super::text::BIN;
    let mut names: Vec<String> = (0..shown)
        .map(|at| format!("{}-{}", at * width + 1, (at + 1) * width))
        .collect();
    if count > shown {
        names[shown - 1] = format!("over {}", (shown - 1) * width);
    }
    let series: Vec<Series> = groups
        .iter()
        .map(|group| {
            let mut values = vec![0.0; shown];
            for (at, bin) in bins(group).iter().enumerate() {
                values[at.min(shown - 1)] += bin.share * 100.0;
            }
            Series {
                name: group.modality.clone(),
                color: color(&group.modality),
                values,
            }
        })
        .collect();
    let title = format!("{} captions by length in {unit}", language_name(language));
    Ok(Some(Chart {
        file: format!("length-{unit}-{}.svg", language.as_str()),
        svg: charts::grouped(&title, &names, &series, "% of captions")?,
    }))
}

/// Rows of the comparison shown in the charts; the table has all.
const SHOWN_SETS: usize = 12;

fn vocabulary_charts(s: &Statistics) -> Result<Vec<Chart>> {
    let rows: Vec<_> = s.comparison.iter().take(SHOWN_SETS).collect();
    let name = |row: &super::Comparison| format!("{} ({})", row.name, row.language.as_str());
    let vocabulary: Vec<(String, u64)> = rows.iter().map(|row| (name(row), row.vocabulary)).collect();
    let names: Vec<(String, f64)> = rows.iter().map(|row| (name(row), row.lexical_diversity)).collect();
    Ok(vec![
        Chart {
            file: "vocabulary.svg".to_owned(),
            svg: charts::lying("Vocabulary size", &vocabulary, BLUE)?,
        },
        Chart {
            file: "diversity.svg".to_owned(),
            svg: charts::lying_shares(
                "Lexical diversity: mean different words in a caption",
                &names,
                "#b8862b",
            )?,
        },
    ])
}

/// A set's name inside a file's name. Sets of other makers may be called anything:
/// what is no plain sign becomes its number, so that names stay different.
fn file_part(name: &str) -> String {
    name.chars().fold(String::new(), |mut part, c| {
        if c.is_alphanumeric() || matches!(c, '.' | '_' | '-') {
            part.push(c);
        } else {
            part += &format!("%{:02x}", u32::from(c));
        }
        part
    })
}

fn label_charts(s: &Statistics) -> Result<Vec<Chart>> {
    s.labels
        .iter()
        .map(|set| {
            let mut bars: Vec<(String, u64)> = set
                .categories
                .iter()
                .map(|(name, &count)| (name.clone(), count))
                .collect();
            bars.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
            bars.truncate(BARS);
            let modality = set.modalities.keys().next().map_or(ALL, String::as_str);
            Ok(Chart {
                file: format!("labels-{}.svg", file_part(&set.name)),
                svg: charts::lying(&format!("{}: images by category", set.name), &bars, color(modality))?,
            })
        })
        .collect()
}

/// Evenly spread ids of each group, in file order.
fn spread(ids: BTreeMap<String, Vec<String>>, samples: usize) -> Vec<(String, String)> {
    let mut chosen = Vec::new();
    for (group, ids) in ids {
        let count = samples.min(ids.len());
        chosen.extend((0..count).map(|at| (group.clone(), ids[(2 * at + 1) * ids.len() / (2 * count)].clone())));
    }
    chosen
}

fn pair_samples(dataset: &Dataset) -> Result<Vec<Sample>> {
    let mut ids: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in dataset.pairs(Columns::WithoutImageBytes)? {
        let row = row?;
        ids.entry(row.modality.to_string()).or_default().push(row.id);
    }
    let chosen = spread(ids, PAIR_SAMPLES);
    let wanted: Vec<&str> = chosen.iter().map(|(_, id)| id.as_str()).collect();
    let samples = dataset.pairs_by_id(&wanted)?.into_iter().map(|row| {
        let mut lines: Vec<String> = [row.caption_en, row.caption_zh].into_iter().flatten().collect();
        let place = [
            row.figure_no.map(|n| format!("figure {n}")),
            row.panel.map(|p| format!("panel {p}")),
        ];
        lines.push(place.into_iter().flatten().collect::<Vec<_>>().join(", "));
        sample(row.modality.to_string(), row.id, &row.image, lines)
    });
    Ok(samples.collect())
}

fn label_samples(dataset: &Dataset) -> Result<Vec<Sample>> {
    let mut ids: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in dataset.labels(None, Columns::WithoutImageBytes)? {
        let row = row?;
        ids.entry(row.dataset).or_default().push(row.id);
    }
    let chosen = spread(ids, LABEL_SAMPLES);
    let wanted: Vec<&str> = chosen.iter().map(|(_, id)| id.as_str()).collect();
    let samples = dataset.labels_by_id(&wanted)?.into_iter().map(|row| {
        let lines = vec![row.categories.join(", "), row.split];
        sample(row.dataset, row.id, &row.image, lines)
    });
    Ok(samples.collect())
}

/// A picture that cannot be decoded is shown as a note: `validate` reports it.
fn sample(group: String, id: String, image: &ImageFile, mut lines: Vec<String>) -> Sample {
    let data = match decode_rgb8(&image.bytes, &image.path) {
        Ok(decoded) => {
            let small = image::DynamicImage::from(decoded.rgb).thumbnail(THUMBNAIL, THUMBNAIL);
            let mut jpeg = Cursor::new(Vec::new());
            match small.write_to(&mut jpeg, image::ImageFormat::Jpeg) {
                Ok(()) => format!("data:image/jpeg;base64,{}", base64(jpeg.get_ref())),
                Err(_) => String::new(),
            }
        }
        Err(error) => {
            lines.push(format!("cannot be decoded: {error}"));
            String::new()
        }
    };
    lines.retain(|line| !line.is_empty());
    Sample {
        group,
        id,
        data,
        alt: image.path.clone(),
        lines,
    }
}

#[cfg(test)]
mod tests {
    use super::file_part;

    #[test]
    fn names_of_sets_cannot_leave_the_folder() {
        assert_eq!(file_part("ODIR-5K_v1.0"), "ODIR-5K_v1.0");
        assert_eq!(file_part("/../../x"), "%2f..%2f..%2fx");
        assert_ne!(file_part("a b"), file_part("a/b"));
    }
}
