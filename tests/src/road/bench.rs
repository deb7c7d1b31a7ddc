//! Scores `ingest` on the benchmark in `../shared/bench` and holds each figure against the baseline and its target.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::step::program_folder;

/// The parts of the benchmark: name of the scorer's task, its material below `shared`.
const PARTS: &[(&str, &str)] = &[
    ("split", "bench/captions/dev.jsonl"),
    ("modality", "data/images"),
    ("panels", "bench/screens"),
    ("ocr", "bench/screens"),
    ("book", "bench/screens"),
];

/// Captions a second: the captions of `split` [`REPEATS`] times over, on one core. The scorer looks every 20 ms whether
/// the program has ended, which is about as long as it takes for the captions once.
const SPLIT_SPEED: &str = "split-one-core";
const REPEATS: usize = 10;

/// Which side of the target is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Good {
    AtLeast,
    AtMost,
}

/// One figure of the benchmark.
struct Measure {
    /// File of scores, `PART.json`.
    part: &'static str,
    /// Keys from the top of that file to the number.
    keys: &'static [&'static str],
    good: Good,
    target: f64,
}

const fn measure(part: &'static str, keys: &'static [&'static str], good: Good, target: f64) -> Measure {
    Measure {
        part,
        keys,
        good,
        target,
    }
}

/// Every figure that the toolkit wants to reach, in the order of the page.
const MEASURES: &[Measure] = {
    use Good::{AtLeast, AtMost};
    &[
        measure("split", &["caption_only", "en/clean", "exact"], AtLeast, 0.97),
        measure("split", &["caption_only", "en/clean", "label_f1"], AtLeast, 0.985),
        measure("split", &["caption_only", "en/clean", "text_sim"], AtLeast, 0.97),
        measure("split", &["caption_only", "zh/clean", "exact"], AtLeast, 0.97),
        measure("split", &["caption_only", "zh/clean", "label_f1"], AtLeast, 0.985),
        measure("split", &["caption_only", "zh/clean", "text_sim"], AtLeast, 0.97),
        measure("split", &["caption_only", "zh+en/clean", "exact"], AtLeast, 0.97),
        measure("split", &["caption_only", "zh+en/clean", "label_f1"], AtLeast, 0.985),
        measure("split", &["caption_only", "zh+en/clean", "text_sim"], AtLeast, 0.97),
        measure("split", &["caption_only", "own/noised", "exact"], AtLeast, 0.90),
        measure("split", &["caption_only", "own/noised", "label_f1"], AtLeast, 0.95),
        measure("split", &["caption_only", "real/clean", "exact"], AtLeast, 0.90),
        measure("split", &["caption_only", "real/clean", "text_sim"], AtLeast, 0.92),
        measure(SPLIT_SPEED, &["caption_only", "captions_per_s"], AtLeast, 50_000.0),
        measure("panels", &["imageclef_accuracy"], AtLeast, 0.97),
        measure("panels", &["pages_all_right"], AtLeast, 0.93),
        measure("panels", &["label_accuracy"], AtLeast, 0.95),
        measure("panels", &["caption_box_recall_050"], AtLeast, 0.97),
        measure(
            "left-out",
            &["leave_one_collection_out", "measures", "accuracy_cfp_ffa_oct"],
            AtLeast,
            0.98,
        ),
        measure(
            "left-out",
            &["leave_one_collection_out", "measures", "macro_f1"],
            AtLeast,
            0.92,
        ),
        measure("ocr", &["cer", "en"], AtMost, 0.002),
        measure("ocr", &["cer", "zh"], AtMost, 0.04),
        measure("ocr", &["cer", "zh+en"], AtMost, 0.008),
        measure("ocr", &["spaces_between_cjk"], AtMost, 0.0),
        measure("ocr", &["language_accuracy"], AtLeast, 0.99),
        measure("book", &["correct_pair_rate"], AtLeast, 0.93),
        measure("book", &["silent_wrong_rate"], AtMost, 0.02),
        measure("book", &["misfiled_rate"], AtMost, 0.005),
        measure("book", &["modality_accuracy"], AtLeast, 0.98),
    ]
};

/// Runs the scorer on every part and keeps its figures in `OUT/bench/PART.json`.
///
/// With `speed`, the book part is also run by the baseline, and with two jobs.
///
/// # Errors
/// When Python, one of its modules, the material or the program is missing, or the scorer fails: the end of what
/// it said stands in the message.
pub fn run(shared: &Path, out: &Path, speed: bool) -> Result<()> {
    let folder = out.join("bench");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let bench = shared.join("bench");
    let ingest = program_folder()?.join("ingest");
    if !ingest.exists() {
        bail!(
            "{} is not built; remedy: cargo build --release --workspace",
            ingest.display()
        );
    }
    let own = ingest.display().to_string();
    for (part, material) in PARTS {
        let target = folder.join(format!("{part}.json"));
        score(&bench, part, &shared.join(material), &own, 1, &target)?;
    }
    let measured = Command::new(&ingest)
        .arg("modality-fit")
        .arg("--images")
        .arg(shared.join("data/images"))
        .arg("--out")
        .arg(folder.join("modality.statistics.json"))
        .output()
        .context("cannot start ingest modality-fit")?;
    if !measured.status.success() {
        bail!("ingest modality-fit failed: {}", last_lines(&measured.stderr));
    }
    dataset::fs::write_atomic(&folder.join("left-out.json"), &measured.stdout)?;
    if speed {
        let captions = folder.join("captions-repeated.jsonl");
        repeat_captions(&shared.join("bench/captions/dev.jsonl"), &captions)?;
        let pinned = format!("taskset -c 0 {own}");
        let target = folder.join(format!("{SPLIT_SPEED}.json"));
        score(&bench, "split", &captions, &pinned, 1, &target)?;
        let screens = bench.join("screens");
        score(&bench, "book", &screens, &own, 2, &folder.join("book-two-jobs.json"))?;
        let baseline = format!("{} {}", python(), bench.join("baseline.py").display());
        score(
            &bench,
            "book",
            &screens,
            &baseline,
            1,
            &folder.join("book-baseline.json"),
        )?;
    }
    Ok(())
}

/// Writes the captions of `from` [`REPEATS`] times to `to`, each under an id of its own.
fn repeat_captions(from: &Path, to: &Path) -> Result<()> {
    let text = std::fs::read_to_string(from).with_context(|| format!("cannot read {}", from.display()))?;
    let mut lines = String::new();
    for round in 0..REPEATS {
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let mut caption: Value = serde_json::from_str(line)
                .with_context(|| format!("{} line {} is not JSON", from.display(), number + 1))?;
            caption["id"] = format!("{round}-{number}").into();
            writeln!(lines, "{caption}")?;
        }
    }
    Ok(dataset::fs::write_atomic(to, lines.as_bytes())?)
}

/// The Python interpreter: `$PYTHON`, else `python3`.
fn python() -> String {
    std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned())
}

/// Runs one part of the scorer.
fn score(bench: &Path, part: &str, material: &Path, program: &str, jobs: usize, target: &Path) -> Result<()> {
    eprintln!(
        "scoring {part}, {jobs} job{}: {program}",
        if jobs == 1 { "" } else { "s" }
    );
    let scorer = bench.join("score.py");
    if !scorer.exists() {
        bail!(
            "{} is not there; remedy: name the folder that holds bench/ and data/ with --shared",
            scorer.display()
        );
    }
    let said = Command::new(python())
        .arg(&scorer)
        .args([part, "--bin", program, "--jobs", &jobs.to_string()])
        .arg("--set")
        .arg(material)
        .arg("--json")
        .arg(target)
        .env("OMP_THREAD_LIMIT", "1")
        .output()
        .with_context(|| {
            format!(
                "cannot start {}; remedy: install Python, or name it in $PYTHON",
                python()
            )
        })?;
    if !said.status.success() {
        bail!(
            "the scorer failed on {part}: {}\n(it needs the Python modules pillow, numpy and pyarrow; the baseline also opencv-python-headless and scikit-learn)",
            last_lines(&said.stderr)
        );
    }
    Ok(())
}

fn last_lines(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(6)..].join("\n")
}

/// The scores of a finished run, or `None` where the part was not run.
fn read(out: &Path, part: &str) -> Result<Option<Value>> {
    let path: PathBuf = out.join("bench").join(format!("{part}.json"));
    if !path.exists() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let value = serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))?;
    Ok(Some(value))
}

fn number(scores: &Value, keys: &[&str]) -> Option<f64> {
    keys.iter().try_fold(scores, |value, key| value.get(key))?.as_f64()
}

fn digits(value: f64) -> String {
    if value >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.4}")
            .trim_end_matches('0')
            .trim_end_matches('.')
            .to_owned()
    }
}

/// The benchmark section of the results page; empty where nothing was scored.
///
/// # Errors
/// When a file of scores is there and cannot be read.
pub fn markdown(shared: &Path, out: &Path) -> Result<String> {
    let baseline_path = shared.join("bench/baseline-dev.json");
    let baseline: Value = match std::fs::read_to_string(&baseline_path) {
        Ok(text) => serde_json::from_str(&text).with_context(|| format!("{} is not JSON", baseline_path.display()))?,
        Err(_) => Value::Null,
    };
    let mut rows = String::new();
    for measure in MEASURES {
        let Some(scores) = read(out, measure.part)? else {
            continue;
        };
        let base_part = match measure.part {
            "left-out" => "modality",
            SPLIT_SPEED => "split",
            part => part,
        };
        let base = number(&baseline[base_part], measure.keys).map_or_else(|| "–".to_owned(), digits);
        let ours = number(&scores, measure.keys);
        let (sign, reached) = match measure.good {
            Good::AtLeast => ("≥", ours.map(|v| v >= measure.target)),
            Good::AtMost => ("≤", ours.map(|v| v <= measure.target)),
        };
        let reached = match reached {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "not measured",
        };
        writeln!(
            rows,
            "| {} | {} | {base} | {sign} {} | {} | {} |",
            measure.part,
            measure.keys.join(" "),
            digits(measure.target),
            ours.map_or_else(|| "–".to_owned(), digits),
            reached
        )?;
    }
    if rows.is_empty() {
        return Ok(String::new());
    }
    let mut text = format!(
        "\n## Ingest on the benchmark\n\nWritten by `make bench`: development set, one job, scored by `bench/score.py`; `left-out` classifies each image\nwith statistics learnt from the other collections; the only collection of its modality is cut into four groups\nof like pictures (`ingest modality-fit` names them). `split-one-core` answers the captions ten times over on one core\n(`--speed`), the start of the program included: the scorer looks at the clock every 20 ms, as long as the captions take once.\n\n| part | measure | baseline | target | here | reached |\n| --- | --- | ---: | ---: | ---: | --- |\n{rows}"
    );
    text += &speed_lines(out)?;
    text += &super::many::lines(out)?;
    text += &breakdown(out)?;
    Ok(text)
}

/// Pages a minute beside the baseline's, where `--speed` was given.
fn speed_lines(out: &Path) -> Result<String> {
    let (Some(one), Some(two), Some(base)) = (
        read(out, "book")?,
        read(out, "book-two-jobs")?,
        read(out, "book-baseline")?,
    ) else {
        return Ok(String::new());
    };
    let rate = |scores: &Value| number(scores, &["pages_per_minute"]).unwrap_or(f64::NAN);
    let memory = |scores: &Value| number(scores, &["peak_rss_mib"]).unwrap_or(f64::NAN);
    Ok(format!(
        "\nPages a minute in this run: baseline {:.0}, one job {:.0} ({:.2} ×, target 2.5), two jobs {:.0} ({:.2} × one, target 1.8).\nPeak memory: baseline {:.0} MiB, one job {:.0} MiB, two jobs {:.0} MiB.\n",
        rate(&base),
        rate(&one),
        rate(&one) / rate(&base),
        rate(&two),
        rate(&two) / rate(&one),
        memory(&base),
        memory(&one),
        memory(&two)
    ))
}

/// Where the misses lie: by kind of caption, way of printing, book, and pair of modalities.
fn breakdown(out: &Path) -> Result<String> {
    let mut text = String::from("\n### Where the misses lie\n\n| part | group | figures |\n| --- | --- | --- |\n");
    if let Some(split) = read(out, "split")? {
        for (group, row) in split["caption_only"].as_object().into_iter().flatten() {
            if let Some(exact) = row.get("exact").and_then(Value::as_f64)
                && group.starts_with("kind:")
            {
                writeln!(
                    text,
                    "| split | {group} | exact {}, label_f1 {}, text_sim {} |",
                    digits(exact),
                    digits(row["label_f1"].as_f64().unwrap_or(f64::NAN)),
                    digits(row["text_sim"].as_f64().unwrap_or(f64::NAN))
                )?;
            }
        }
    }
    let mut rows = |part: &str, table: &Value, what: &str| -> Result<()> {
        for (group, value) in table.as_object().into_iter().flatten() {
            if let Some(value) = value.as_f64() {
                writeln!(text, "| {part} | {group} | {what} {} |", digits(value))?;
            }
        }
        Ok(())
    };
    if let Some(panels) = read(out, "panels")? {
        rows("panels", &panels["found_by"], "found")?;
    }
    if let Some(ocr) = read(out, "ocr")? {
        rows("ocr", &ocr["cer"], "character error rate")?;
    }
    if let Some(modality) = read(out, "modality")? {
        rows("modality, in sample", &modality["confusion"], "images")?;
    }
    if let Some(book) = read(out, "book")? {
        for (name, row) in book["books"].as_object().into_iter().flatten() {
            writeln!(
                text,
                "| book | {name} | expected {}, matched {}, correct {}, misfiled {} |",
                row["expected"], row["matched"], row["correct"], row["misfiled"]
            )?;
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_figure_is_held_against_its_target() {
        let out = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(out.path().join("bench")).unwrap();
        std::fs::write(
            out.path().join("bench/ocr.json"),
            r#"{"cer":{"en":0.001,"zh":0.05},"spaces_between_cjk":0}"#,
        )
        .unwrap();
        let page = markdown(Path::new("nowhere"), out.path()).unwrap();
        assert!(page.contains("| ocr | cer en | – | ≤ 0.002 | 0.001 | yes |"), "{page}");
        assert!(page.contains("| ocr | cer zh | – | ≤ 0.04 | 0.05 | **no** |"), "{page}");
        assert!(
            page.contains("| ocr | language_accuracy | – | ≥ 0.99 | – | not measured |"),
            "{page}"
        );
        assert!(!page.contains("| book |"), "{page}");
    }

    #[test]
    fn nothing_scored_leaves_no_section() {
        let out = tempfile::tempdir().unwrap();
        assert_eq!(markdown(Path::new("nowhere"), out.path()).unwrap(), "");
    }
}
