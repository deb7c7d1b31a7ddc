//! report.html, report.md and report.csv of a suite.

use std::path::Path;

use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, context};
use serde::Serialize;

use super::charts::{Bar, BarGroups, bars, radar, reliability};
use super::results::{LeakInfo, SuiteReport, SuiteResult};
use super::tables::{RowKind, Table, to_markdown};
use crate::protocol::Method;
use crate::report::RunReport;

const TEMPLATE: &str = include_str!("../../templates/report.html");
/// Prompts shown with a class before the rest is only counted.
const SHOWN_PROMPTS: usize = 3;

/// A confusion matrix ready to show; where images may have several classes, the answers of each class.
#[derive(Serialize)]
struct ConfusionView {
    title: String,
    several: bool,
    /// Words above the counts.
    columns: Vec<String>,
    rows: Vec<ConfusionRow>,
    reliability: String,
    ece: String,
}

#[derive(Serialize)]
struct ConfusionRow {
    class: String,
    recall: String,
    auc: String,
    average_precision: String,
    cells: Vec<ConfusionCell>,
}

#[derive(Serialize)]
struct ConfusionCell {
    count: u64,
    /// Share of the row, percent; the shade of the cell.
    share: u64,
}

#[derive(Serialize)]
struct SampleView {
    dataset: String,
    model: String,
    image: String,
    truth: String,
    picture: String,
    right: bool,
    ranking: Vec<(String, String)>,
}

#[derive(Serialize)]
struct ResultRow {
    dataset: String,
    model: String,
    method: String,
    shots: String,
    metrics: Vec<(String, String)>,
    ece: String,
    chance: String,
    images: usize,
    /// Images left out because training held them; empty when every row counts.
    left_out: String,
    runs: usize,
    predictions: String,
}

/// One line of the leakage section.
#[derive(Serialize)]
struct LeakRow {
    dataset: String,
    model: String,
    train_images: usize,
    test_images: usize,
    leaked: usize,
    evidence: String,
    findings: String,
    /// Zero-shot and linear-probe AVG on every row, and without leaked rows.
    averages: Vec<(String, String)>,
}

/// Any serialisable value in the form that templates read.
pub(crate) fn template_value(value: impl Serialize) -> anyhow::Result<Value> {
    fn convert(value: serde_json::Value) -> Value {
        match value {
            serde_json::Value::Null => Value::from(()),
            serde_json::Value::Bool(b) => Value::from(b),
            serde_json::Value::Number(n) => n
                .as_i64()
                .map(Value::from)
                .or(n.as_f64().map(Value::from))
                .unwrap_or_default(),
            serde_json::Value::String(s) => Value::from(s),
            serde_json::Value::Array(items) => items.into_iter().map(convert).collect(),
            serde_json::Value::Object(map) => Value::from_pairs(map.into_iter().map(|(k, v)| (k, convert(v)))),
        }
    }
    Ok(convert(serde_json::to_value(value)?))
}

fn percent(v: f64) -> String {
    format!("{:.1}", 100.0 * v)
}

fn shots_text(shots: &serde_json::Value) -> String {
    shots.as_str().map_or_else(|| shots.to_string(), str::to_string)
}

fn method_title(name: &str) -> String {
    let all = [
        Method::ZeroShot,
        Method::ClipAdapter,
        Method::TipAdapter,
        Method::TipAdapterF,
        Method::LinearProbe,
    ];
    all.iter()
        .find(|m| m.name() == name)
        .map_or_else(|| name.to_string(), |m| m.title().to_string())
}

fn finished(report: &SuiteReport) -> impl Iterator<Item = (&SuiteResult, &RunReport)> {
    report.results.iter().filter_map(|r| Some((r, r.report.as_ref()?)))
}

/// Renders the page. `folder` holds the thumbnails that it embeds.
pub fn page(report: &SuiteReport, tables: &[Table], folder: &Path) -> anyhow::Result<String> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.add_template("report", TEMPLATE)?;
    let rows: Vec<ResultRow> = finished(report).map(|(r, n)| result_row(r, n)).collect();
    let page = environment.get_template("report")?.render(context! {
        report => template_value(report)?,
        shown_prompts => SHOWN_PROMPTS,
        tables => template_value(tables)?,
        printed_rows => tables.iter().any(|t| t.rows.iter().any(|r| r.kind == RowKind::Printed)),
        charts => template_value(charts(report)?)?,
        confusions => template_value(confusions(report)?)?,
        samples => template_value(samples(report, folder))?,
        rows => template_value(rows)?,
        problems => report.problems(),
        leaks => template_value(leaks(report))?,
        absent_rule => crate::report::ABSENT_CLASS_RULE,
        several_rule => report.datasets.iter().any(|d| d.several).then_some(crate::report::SEVERAL_CLASSES_RULE),
    })?;
    Ok(page)
}

fn result_row(result: &SuiteResult, report: &RunReport) -> ResultRow {
    let with = |value: f64, interval: Option<crate::statistics::Interval>| {
        (
            percent(value),
            interval
                .map(|i| format!("{} – {}", percent(i.0), percent(i.1)))
                .unwrap_or_default(),
        )
    };
    let ci = report.ci95;
    ResultRow {
        dataset: result.dataset.clone(),
        model: result.model.clone(),
        method: method_title(&result.method),
        shots: shots_text(&result.shots),
        metrics: vec![
            with(report.mean.acc, ci.map(|c| c.acc)),
            with(report.mean.auc, ci.map(|c| c.auc)),
            with(report.mean.aupr, ci.map(|c| c.aupr)),
            with(report.mean.avg, ci.map(|c| c.avg)),
        ],
        ece: percent(report.ece),
        chance: percent(report.chance),
        images: report.images,
        left_out: result.without_leaked.map(|n| n.to_string()).unwrap_or_default(),
        runs: report.runs,
        predictions: result.predictions.clone().unwrap_or_default(),
    }
}

/// Evidence of an audit in words: "112 by same name (3 of other bytes)".
fn evidence(leak: &LeakInfo) -> String {
    let words = |(kind, count): (&String, &usize)| (*count > 0).then(|| format!("{count} {}", kind.replace('-', " ")));
    let mut all: Vec<String> = leak.by_evidence.iter().filter_map(words).collect();
    if leak.unconfirmed > 0 {
        all.push(format!("{} of these with other bytes", leak.unconfirmed));
    }
    if !leak.pictures_compared {
        all.push("pictures not compared".into());
    }
    all.join(", ")
}

fn leaks(report: &SuiteReport) -> Vec<LeakRow> {
    let average = |leak: &LeakInfo, method: Method| {
        let of = |clean: bool| {
            let same = |(r, _): &(&SuiteResult, &RunReport)| {
                r.dataset == leak.dataset
                    && r.model == leak.model
                    && r.method == method.name()
                    && r.without_leaked.is_some() == clean
            };
            finished(report).find(same).map(|(_, n)| percent(n.mean.avg))
        };
        let all = of(false);
        let clean = if leak.leaked == 0 { all.clone() } else { of(true) };
        (all.unwrap_or("–".into()), clean.unwrap_or("–".into()))
    };
    let row = |leak: &LeakInfo| LeakRow {
        dataset: leak.dataset.clone(),
        model: leak.model.clone(),
        train_images: leak.train_images,
        test_images: leak.test_images,
        leaked: leak.leaked,
        evidence: evidence(leak),
        findings: leak.findings.clone().unwrap_or_default(),
        averages: [Method::ZeroShot, Method::LinearProbe]
            .map(|m| average(leak, m))
            .to_vec(),
    };
    report.leaks.iter().filter(|l| l.error.is_none()).map(row).collect()
}

/// (title, SVG) of zero-shot and linear-probe bars, and a radar over data sets when there are three or more.
fn charts(report: &SuiteReport) -> anyhow::Result<Vec<(String, String)>> {
    let all_models: Vec<String> = report.models.iter().map(|m| m.name.clone()).collect();
    let mut pictures = Vec::new();
    for method in [Method::ZeroShot, Method::LinearProbe] {
        let of = |set: &str, model: &str| {
            finished(report)
                .find(|(r, _)| r.dataset == set && r.model == model && r.method == method.name())
                .map(|f| f.1)
        };
        let sets: Vec<String> = report
            .datasets
            .iter()
            .map(|d| d.name.clone())
            .filter(|d| all_models.iter().any(|m| of(d, m).is_some()))
            .collect();
        if sets.is_empty() {
            continue;
        }
        let models: Vec<String> = all_models
            .iter()
            .filter(|m| sets.iter().any(|s| of(s, m).is_some()))
            .cloned()
            .collect();
        let bar = |r: &RunReport| Bar {
            value: r.mean.acc,
            interval: r.ci95.map(|c| (c.acc.0, c.acc.1)),
        };
        let values: Vec<Vec<Option<Bar>>> = sets
            .iter()
            .map(|s| models.iter().map(|m| of(s, m).map(bar)).collect())
            .collect();
        let chance: Vec<Option<f64>> = sets
            .iter()
            .map(|s| models.iter().find_map(|m| of(s, m)).map(|r| r.chance))
            .collect();
        let groups = BarGroups {
            axis: "ACC, %",
            groups: &sets,
            series: &models,
            bars: &values,
            chance: &chance,
        };
        pictures.push((
            format!("{}: ACC, 95 % intervals, dashed: chance", method.title()),
            bars(&groups)?,
        ));
        let axes: Vec<String> = if sets.len() >= 3 {
            sets.clone()
        } else {
            sets.iter()
                .flat_map(|s| ["ACC", "AUC", "AUPR"].map(|m| format!("{s} {m}")))
                .collect()
        };
        if method == Method::LinearProbe {
            let value = |m: &String, s: &String| of(s, m).map(|r| r.mean);
            let spokes: Vec<Vec<Option<f64>>> = models
                .iter()
                .map(|m| {
                    if sets.len() >= 3 {
                        sets.iter().map(|s| value(m, s).map(|v| v.avg)).collect()
                    } else {
                        sets.iter()
                            .flat_map(|s| {
                                [
                                    value(m, s).map(|v| v.acc),
                                    value(m, s).map(|v| v.auc),
                                    value(m, s).map(|v| v.aupr),
                                ]
                            })
                            .collect()
                    }
                })
                .collect();
            let what = if sets.len() >= 3 {
                "AVG of each data set"
            } else {
                "ACC, AUC and AUPR"
            };
            pictures.push((format!("Linear probe: {what}, %"), radar(&axes, &models, &spokes)?));
        }
    }
    Ok(pictures)
}

/// Confusion matrices of zero-shot and linear probe.
fn confusions(report: &SuiteReport) -> anyhow::Result<Vec<ConfusionView>> {
    let wanted = |r: &&(&SuiteResult, &RunReport)| {
        let method = r.0.method.as_str();
        r.0.without_leaked.is_none() && (method == Method::ZeroShot.name() || method == Method::LinearProbe.name())
    };
    let all: Vec<_> = finished(report).collect();
    let view = |(result, numbers): &(&SuiteResult, &RunReport)| -> anyhow::Result<ConfusionView> {
        let names: Vec<String> = report
            .datasets
            .iter()
            .find(|d| d.name == result.dataset)
            .map(|d| d.classes.iter().map(|c| c.name.clone()).collect())
            .unwrap_or_default();
        let columns = if numbers.several {
            ["rightly not named", "named wrongly", "missed", "named rightly"]
                .map(String::from)
                .to_vec()
        } else {
            names.clone()
        };
        let row = |(counts, name): (&Vec<u64>, &String)| {
            let total = |place: usize| match numbers.several {
                // shares of the images without the class, and of those with it
                true => counts[place / 2 * 2] + counts[place / 2 * 2 + 1],
                false => counts.iter().sum::<u64>(),
            };
            let scores = numbers.classes.iter().find(|c| c.class == *name);
            ConfusionRow {
                class: name.clone(),
                recall: scores.map_or("–".into(), |s| percent(s.recall)),
                auc: scores.map_or("–".into(), |s| percent(s.auc)),
                average_precision: scores.map_or("–".into(), |s| percent(s.aupr)),
                cells: counts
                    .iter()
                    .enumerate()
                    .map(|(place, &count)| ConfusionCell {
                        count,
                        share: 100 * count / total(place).max(1),
                    })
                    .collect(),
            }
        };
        Ok(ConfusionView {
            title: format!("{}, {}, {}", result.dataset, result.model, method_title(&result.method)),
            rows: numbers.confusion.iter().zip(&names).map(row).collect(),
            several: numbers.several,
            columns,
            reliability: reliability(&numbers.calibration)?,
            ece: percent(numbers.ece),
        })
    };
    all.iter().filter(wanted).map(view).collect()
}

fn samples(report: &SuiteReport, folder: &Path) -> Vec<SampleView> {
    let first_model = report
        .models
        .iter()
        .find(|m| report.samples.iter().any(|s| s.model == m.name))
        .map(|m| m.name.clone());
    let shown = report.samples.iter().filter(|s| Some(&s.model) == first_model.as_ref());
    let view = |s: &super::results::Sample| {
        let jpeg = std::fs::read(folder.join(&s.thumbnail)).ok()?;
        Some(SampleView {
            dataset: s.dataset.clone(),
            model: s.model.clone(),
            image: s.image.clone(),
            truth: s.truth.clone(),
            picture: base64(&jpeg),
            right: s.right,
            ranking: s
                .ranking
                .iter()
                .take(3)
                .map(|(name, p)| (name.clone(), percent(*p)))
                .collect(),
        })
    };
    shown.filter_map(view).collect()
}

/// Base64 with padding (RFC 4648).
pub(crate) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0u32, |w, b| (w << 8) | u32::from(*b)) << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            let value = (word >> (18 - 6 * digit)) & 63;
            text.push(if digit <= chunk.len() {
                DIGITS[value as usize] as char
            } else {
                '='
            });
        }
    }
    text
}

/// report.md: the tables, then every result with its interval.
pub fn markdown(report: &SuiteReport, tables: &[Table]) -> String {
    let mut text = format!("# {}\n\n{}\n\n", report.name, report.description);
    for table in tables {
        text.push_str(&to_markdown(table));
        text.push('\n');
    }
    let leaks = leaks(report);
    if !leaks.is_empty() {
        text.push_str("### Leakage\n\nTest images that training held. AVG in percent, on every row and without the leaked ones.\n\n");
        text.push_str("| data set | model | training images | test images | leaked | evidence | zero-shot | without | linear probe | without |\n");
        text.push_str("| --- | --- | ---: | ---: | ---: | --- | ---: | ---: | ---: | ---: |\n");
        for leak in leaks {
            let averages: Vec<String> = leak.averages.iter().map(|(a, b)| format!("{a} | {b}")).collect();
            text.push_str(&format!(
                "| {} | {} | {} | {} | {} | {} | {} |\n",
                leak.dataset,
                leak.model,
                leak.train_images,
                leak.test_images,
                leak.leaked,
                leak.evidence,
                averages.join(" | ")
            ));
        }
        text.push('\n');
    }
    text.push_str("### All results\n\n95 % bootstrap intervals over images, percent.\n\n");
    text.push_str(
        "| data set | model | method | shots | images | leaked left out | runs | ACC | AUC | AUPR | AVG | ECE | chance ACC |\n",
    );
    text.push_str("| --- | --- | --- | ---: | ---: | ---: | ---: | --- | --- | --- | --- | ---: | ---: |\n");
    for (result, numbers) in finished(report) {
        let row = result_row(result, numbers);
        let metrics: Vec<String> = row
            .metrics
            .iter()
            .map(|(v, ci)| {
                if ci.is_empty() {
                    v.clone()
                } else {
                    format!("{v} ({ci})")
                }
            })
            .collect();
        let line = [
            row.dataset,
            row.model,
            row.method,
            row.shots,
            row.images.to_string(),
            row.left_out,
            row.runs.to_string(),
        ];
        text.push_str(&format!(
            "| {} | {} | {} | {} |\n",
            line.join(" | "),
            metrics.join(" | "),
            row.ece,
            row.chance
        ));
    }
    let problems = report.problems();
    if !problems.is_empty() {
        text.push_str("\n### Not evaluated\n\n");
        problems.iter().for_each(|p| text.push_str(&format!("- {p}\n")));
    }
    text
}

/// report.csv: a line a result, fractions.
pub fn csv_text(report: &SuiteReport) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record([
        "dataset",
        "model",
        "method",
        "shots",
        "images",
        "runs",
        "acc",
        "auc",
        "aupr",
        "avg",
        "acc_low",
        "acc_high",
        "auc_low",
        "auc_high",
        "aupr_low",
        "aupr_high",
        "ece",
        "chance",
        "leaked_left_out",
        "error",
    ])?;
    for result in &report.results {
        let mut fields = vec![
            result.dataset.clone(),
            result.model.clone(),
            result.method.clone(),
            shots_text(&result.shots),
        ];
        match &result.report {
            Some(n) => {
                fields.extend([n.images.to_string(), n.runs.to_string()]);
                fields.extend([n.mean.acc, n.mean.auc, n.mean.aupr, n.mean.avg].map(|v| v.to_string()));
                let ends = n
                    .ci95
                    .map(|c| [c.acc.0, c.acc.1, c.auc.0, c.auc.1, c.aupr.0, c.aupr.1].map(|v| v.to_string()));
                fields.extend(ends.unwrap_or_default());
                fields.extend([n.ece.to_string(), n.chance.to_string()]);
                fields.push(result.without_leaked.map(|l| l.to_string()).unwrap_or_default());
                fields.push(String::new());
            }
            None => {
                fields.extend(vec![String::new(); 14]);
                fields.push(result.without_leaked.map(|l| l.to_string()).unwrap_or_default());
                fields.push(result.error.clone().unwrap_or_default());
            }
        }
        writer.write_record(&fields)?;
    }
    writer.into_inner().map_err(|e| e.into_error().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_as_in_the_rfc() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
        ] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }
}
