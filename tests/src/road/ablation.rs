//! The rows of the paper's Table VII at the size of the real run, several seeds each, in one table.
//!
//! Everything before the joint training is taken from a finished real run: dataset, masked-language run, codebook.
//! A run that is finished is not trained again, so the command goes on where it was stopped.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use eval::suite::ablation::Spread;
use serde_json::Value;
use trainer::ablation::{ROWS, Row};

use super::step::{Step, run_step};

/// What is trained and how often.
#[derive(Debug, Clone)]
pub struct Ablation {
    /// Output folder of a finished real run.
    pub real: PathBuf,
    /// Folder for runs, suite and evaluation.
    pub out: PathBuf,
    /// Training steps of each run.
    pub steps: u64,
    /// Seeds 1 to this number for each row.
    pub seeds: u64,
}

/// The rows of Table VII, in its order.
fn rows() -> impl Iterator<Item = &'static Row> {
    ROWS.iter().filter(|row| row.table_row.is_some())
}

/// Columns of the page: method names and heading.
const SETTINGS: [(&str, &[&str]); 3] = [
    ("zero-shot", &["zero-shot"]),
    ("few-shot", &["clip-adapter", "tip-adapter", "tip-adapter-f"]),
    ("linear probe", &["linear-probe"]),
];

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

impl Ablation {
    fn run(&self, row: &Row, seed: u64) -> PathBuf {
        self.out.join("runs").join(format!("{}-{seed}", row.name))
    }

    /// The command that trains one row with one seed.
    fn training(&self, row: &Row, seed: u64) -> Step {
        let real = |part: &str| format!("{:?}", text(&self.real.join(part)));
        let mut settings = vec![
            format!("datasets=[{}]", real("dataset")),
            format!("tokenizer={}", real("runs/mlm/tokenizer")),
            format!("text_init={}", real("runs/mlm")),
            format!("codebook_init={}", real("runs/codebook")),
            "modality=\"CFP\"".to_owned(),
            "label_sets=[\"real-cfp\"]".to_owned(),
        ];
        settings.extend(row.set.iter().map(|change| (*change).to_owned()));
        settings.extend([
            format!("steps={}", self.steps),
            "eval_every=0".to_owned(),
            format!("seed={seed}"),
        ]);
        let mut args = vec!["keepfit", "--config", "trainer/configs/small-keepfit.toml"];
        for setting in &settings {
            args.extend(["--set", setting]);
        }
        let out = text(&self.run(row, seed));
        args.extend(["--out", &out]);
        Step::new(&format!("ablation-{}-{seed}", row.name), "trainer", &args)
    }

    /// Finished runs, row by row.
    fn finished(&self) -> Vec<(&'static Row, u64)> {
        let all = rows().flat_map(|row| (1..=self.seeds).map(move |seed| (row, seed)));
        all.filter(|(row, seed)| self.run(row, *seed).join("done.json").is_file())
            .collect()
    }

    /// The suite over all finished runs, written into the output folder.
    fn suite(&self, finished: &[(&Row, u64)]) -> Result<String> {
        let source = self.real.join("suite-cfp.toml");
        let whole = std::fs::read_to_string(&source)
            .with_context(|| format!("{} cannot be read; remedy: make real", source.display()))?;
        let Some(at) = whole.find("[[dataset]]") else {
            bail!("{} names no dataset", source.display())
        };
        // paths of a suite count from its folder
        let dataset = match self.out.strip_prefix(&self.real) {
            Ok(below) => below.components().map(|_| "..").collect::<PathBuf>().join("dataset"),
            Err(_) => std::fs::canonicalize(self.real.join("dataset"))?,
        };
        let sets = whole[at..].replace("folder = \"dataset\"", &format!("folder = {:?}", text(&dataset)));
        let mut suite = format!(
            "# Written by the road program: the finished runs of the ablation.\nname = \"Ablation\"\n\
             description = \"Rows of Table VII at the size of make real, {} steps\"\nseed = 7\nbootstrap = 200\n\
             allow_short_classes = true\n",
            self.steps
        );
        for (row, seed) in finished {
            write!(
                suite,
                "\n[[model]]\nname = \"{name}, seed {seed}\"\nrun = \"runs/{name}-{seed}\"\n\
                 ablation = {{ semantic = {}, textual = {}, appearance = {} }}\n",
                row.semantic,
                row.textual,
                row.appearance,
                name = row.name
            )?;
        }
        Ok(format!("{suite}\n{sets}"))
    }

    /// Trains what is not finished, seed by seed, so that a stopped run has whole tables of fewer seeds.
    ///
    /// # Errors
    /// The real run is not there, or a training fails: the message holds the end of its log.
    pub fn train(&self) -> Result<()> {
        for needed in [
            "dataset",
            "runs/mlm/done.json",
            "runs/codebook/done.json",
            "suite-cfp.toml",
        ] {
            if !self.real.join(needed).exists() {
                bail!(
                    "{} is not there; remedy: make real, or name its output folder with --real",
                    self.real.join(needed).display()
                );
            }
        }
        let total = self.seeds * rows().count() as u64;
        let mut number = 0;
        for seed in 1..=self.seeds {
            for row in rows() {
                number += 1;
                let step = self.training(row, seed);
                let state = if self.run(row, seed).join("done.json").is_file() {
                    "finished before"
                } else {
                    "training"
                };
                eprintln!("[{number:>2}/{total}] {state}: {}", step.command_line());
                // a finished run of the same config says so; one of another config is an error
                run_step(&step, &self.out.join("logs"))?;
            }
        }
        Ok(())
    }

    /// Evaluates the finished runs in one suite and writes the page.
    ///
    /// # Errors
    /// No run is finished, the evaluation fails, or the page cannot be written.
    pub fn report(&self, page: &Path) -> Result<()> {
        let finished = self.finished();
        if finished.is_empty() {
            bail!("{}: no run of the ablation is finished", self.out.display());
        }
        let suite = self.out.join("suite.toml");
        dataset::fs::write_atomic(&suite, self.suite(&finished)?.as_bytes())?;
        let report = self.out.join("eval");
        let step = Step::new(
            "ablation-eval",
            "eval",
            &["suite", "--config", &text(&suite), "--out", &text(&report)],
        );
        eprintln!("evaluating {} finished runs: {}", finished.len(), step.command_line());
        run_step(&step, &self.out.join("logs"))?;
        let file = report.join("report.json");
        let json: Value = serde_json::from_slice(&std::fs::read(&file)?)
            .with_context(|| format!("{} is not JSON", file.display()))?;
        dataset::fs::write_atomic(page, self.page(&finished, &json)?.as_bytes())?;
        Ok(())
    }

    fn page(&self, finished: &[(&Row, u64)], report: &Value) -> Result<String> {
        let mut page = format!(
            "# Ablation on real photographs\n\nWritten by `make ablation`; do not edit. The rows of the paper's Table VII with the small model of `make real` on the\n\
             photographs of `real-cfp` that training did not see: {} steps a run, each row with seeds 1 to {}, all from the same\n\
             dataset, masked-language run and codebook. Percent, mean ± standard deviation over seeds (n − 1); few-shot is the mean\n\
             over three adapters and all shots, AVG the mean of ACC, AUC and AUPR. The deviation between seeds is the measure for\n\
             every difference between rows: what is not clearly larger says nothing.\n\n",
            self.steps, self.seeds
        );
        let wanted = rows().count() as u64 * self.seeds;
        if (finished.len() as u64) < wanted {
            let missing: Vec<String> = rows()
                .flat_map(|row| (1..=self.seeds).map(move |seed| (row, seed)))
                .filter(|(row, seed)| !finished.iter().any(|(r, s)| r.name == row.name && s == seed))
                .map(|(row, seed)| format!("{}-{seed}", row.name))
                .collect();
            writeln!(
                page,
                "**Not complete: {} of {wanted} runs are finished.** Missing: {}. `make ablation` goes on from there.\n",
                finished.len(),
                missing.join(", ")
            )?;
        }
        let images = &report["results"][0]["report"]["images"];
        writeln!(
            page,
            "Photographs scored: {images}; guessing gives 25.0 ACC and 50.0 AUC.\n"
        )?;
        for (heading, methods) in SETTINGS {
            writeln!(
                page,
                "## {heading}\n\n| row | semantic KI | textual pretraining | appearance KI | seeds | ACC | AUC | AUPR | AVG |\n\
                 | --- | :---: | :---: | :---: | ---: | ---: | ---: | ---: | ---: |"
            )?;
            for row in rows() {
                let own: Vec<String> = finished
                    .iter()
                    .filter(|(r, _)| r.name == row.name)
                    .map(|(r, seed)| format!("{}, seed {seed}", r.name))
                    .collect();
                let mark = |on: bool| if on { "✓" } else { "✗" };
                let cells: Vec<String> = ["acc", "auc", "aupr", "avg"]
                    .iter()
                    .map(|metric| spread_text(report, &own, methods, metric))
                    .collect();
                writeln!(
                    page,
                    "| {} | {} | {} | {} | {} | {} |",
                    row.name,
                    mark(row.semantic),
                    mark(row.textual),
                    mark(row.appearance),
                    own.len(),
                    cells.join(" | ")
                )?;
            }
            page.push('\n');
        }
        page.push_str(
            "## Commands\n\nOne of each row; the seed is the only difference between the runs of a row.\n\n```\n",
        );
        for row in rows() {
            writeln!(page, "{}", self.training(row, 1).command_line())?;
        }
        writeln!(
            page,
            "eval suite --config {} --out {}\n```",
            self.out.join("suite.toml").display(),
            self.out.join("eval").display()
        )?;
        Ok(page)
    }
}

/// `61.2 ± 3.4` over the models of a row; a model counts with its mean over the methods and shots.
fn spread_text(report: &Value, models: &[String], methods: &[&str], metric: &str) -> String {
    let of_model = |model: &String| -> Option<f64> {
        let values: Vec<Option<f64>> = report["results"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|r| r["model"] == model.as_str() && methods.iter().any(|m| r["method"] == *m))
            .map(|r| r["report"]["mean"][metric].as_f64())
            .collect();
        let known: Vec<f64> = values.into_iter().collect::<Option<_>>()?;
        (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
    };
    let values: Vec<f64> = models.iter().filter_map(of_model).collect();
    match Spread::of(&values) {
        None => "–".to_owned(),
        Some(spread) => {
            let deviation = spread.deviation.map(|d| format!(" ± {:.1}", 100.0 * d));
            format!("{:.1}{}", 100.0 * spread.mean, deviation.unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn plan(folder: &Path) -> Ablation {
        Ablation {
            real: folder.join("real"),
            out: folder.join("out"),
            steps: 20,
            seeds: 2,
        }
    }

    #[test]
    fn rows_differ_in_their_modules_alone() {
        let plan = plan(Path::new("x"));
        let lines: Vec<String> = rows().map(|r| plan.training(r, 1).command_line()).collect();
        assert_eq!(lines.len(), 4);
        assert!(lines[0].contains("mm=false"), "{}", lines[0]);
        assert!(lines[1].contains("semantic=true") && lines[1].contains("textual=false"));
        assert!(lines[2].contains("textual=true") && lines[2].contains("appearance=false"));
        assert!(lines[3].contains("appearance=true") && lines[3].contains("x/real/runs/codebook"));
    }

    #[test]
    fn the_page_says_what_is_missing_and_averages_over_seeds() {
        let plan = plan(Path::new("x"));
        let result = |model: &str, avg: f64| serde_json::json!({"model": model, "method": "zero-shot", "report": {"images": 77, "mean": {"acc": avg, "auc": avg, "aupr": avg, "avg": avg}}});
        let report = serde_json::json!({"results": [result("none, seed 1", 0.5), result("none, seed 2", 0.6)]});
        let page = plan.page(&[(&ROWS[0], 1), (&ROWS[0], 2)], &report).unwrap();
        assert!(
            page.contains("2 of 8 runs are finished") && page.contains("semantic-1"),
            "{page}"
        );
        assert!(page.contains("| none | ✗ | ✗ | ✗ | 2 | 55.0 ± 7.1 |"), "{page}");
        assert!(page.contains("| full | ✓ | ✓ | ✓ | 0 | – |"), "{page}");
    }

    #[test]
    fn without_a_real_run_the_remedy_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = plan(folder.path()).train().unwrap_err().to_string();
        assert!(error.contains("make real"), "{error}");
    }
}
