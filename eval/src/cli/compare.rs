//! `eval compare`: is one model better than another on the same images?

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;

use crate::protocol::Method;
use crate::statistics::{DEFAULT_REPLICATES, FoldPredictions, compare};
use crate::truth::{AND, Task};

/// Arguments of `eval compare`.
#[derive(Args)]
pub struct CompareArgs {
    /// Predictions of the first model (CSV of eval run or eval suite)
    first: PathBuf,
    /// Predictions of the second model, same images and folds
    second: PathBuf,
    /// Bootstrap draws
    #[arg(long, default_value_t = 10 * DEFAULT_REPLICATES)]
    bootstrap: usize,
    /// Seed of the bootstrap
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// Predictions of one file: columns before the probabilities, and the folds.
struct Predictions {
    classes: Vec<String>,
    /// Whether images may have several classes.
    several: bool,
    /// row → (path, classes)
    images: BTreeMap<usize, (String, Vec<usize>)>,
    /// fold → (rows, probabilities)
    folds: BTreeMap<usize, (Vec<usize>, Vec<Vec<f64>>)>,
}

fn read(file: &Path) -> anyhow::Result<Predictions> {
    let mut reader = csv::Reader::from_path(file).with_context(|| file.display().to_string())?;
    let headers = reader.headers()?.clone();
    let several = headers.get(3) == Some("labels");
    let labels = if several { "labels" } else { "label" };
    if headers.iter().take(5).ne(["fold", "row", "path", labels, "predicted"]) {
        bail!(
            "{}: not a predictions file (expected columns fold, row, path, label or labels, predicted, p(...))",
            file.display()
        );
    }
    let classes: Vec<String> = headers
        .iter()
        .skip(5)
        .map(|h| h.trim_start_matches("p(").trim_end_matches(')').to_string())
        .collect();
    let mut read = Predictions {
        classes,
        several,
        images: BTreeMap::new(),
        folds: BTreeMap::new(),
    };
    for (line, record) in reader.records().enumerate() {
        let record = record.with_context(|| file.display().to_string())?;
        let place = || format!("{}: line {}", file.display(), line + 2);
        let number = |i: usize| record[i].parse::<usize>().with_context(place);
        let (fold, row) = (number(0)?, number(1)?);
        let names: Vec<&str> = match (several, &record[3]) {
            (true, "") => Vec::new(),
            (true, all) => all.split(AND).collect(),
            (false, one) => vec![one],
        };
        let column = |name: &&str| match read.classes.iter().position(|c| c == name) {
            Some(class) => Ok(class),
            None => bail!("{}: class '{name}' has no probability column", place()),
        };
        let classes: Vec<usize> = names.iter().map(column).collect::<Result<_, _>>()?;
        let probabilities: Vec<f64> = record
            .iter()
            .skip(5)
            .map(str::parse)
            .collect::<Result<_, _>>()
            .with_context(place)?;
        if probabilities.iter().any(|p| !p.is_finite()) {
            bail!("{}: a probability is not a finite number", place());
        }
        read.images.insert(row, (record[2].to_string(), classes));
        let entry = read.folds.entry(fold).or_default();
        entry.0.push(row);
        entry.1.push(probabilities);
    }
    Ok(read)
}

fn view(folds: &[(Vec<usize>, Vec<Vec<f64>>)]) -> Vec<FoldPredictions<'_>> {
    folds
        .iter()
        .map(|(rows, probabilities)| FoldPredictions { rows, probabilities })
        .collect()
}

/// Prints the comparison as one JSON line.
pub fn run(args: &CompareArgs) -> anyhow::Result<()> {
    let (a, b) = (read(&args.first)?, read(&args.second)?);
    if a.classes != b.classes || a.several != b.several {
        bail!("the files have different classes: {:?} and {:?}", a.classes, b.classes);
    }
    let rows = |p: &Predictions| {
        p.folds
            .iter()
            .map(|(f, (rows, _))| (*f, rows.clone()))
            .collect::<Vec<_>>()
    };
    if a.images != b.images || rows(&a) != rows(&b) {
        bail!(
            "{} and {} do not test the same images in the same folds",
            args.first.display(),
            args.second.display()
        );
    }
    let place: BTreeMap<usize, usize> = a.images.keys().enumerate().map(|(i, &row)| (row, i)).collect();
    let labels: Vec<Vec<usize>> = a.images.values().map(|i| i.1.clone()).collect();
    // every image of the files counts, whatever method made them
    let task = Task::new(&labels, a.classes.len(), a.several, Method::ZeroShot);
    let local = |p: &Predictions| {
        p.folds
            .values()
            .map(|(rows, probabilities)| (rows.iter().map(|r| place[r]).collect::<Vec<_>>(), probabilities.clone()))
            .collect::<Vec<_>>()
    };
    let (first, second) = (local(&a), local(&b));
    let Some(result) = compare(&view(&first), &view(&second), task.truth(), args.bootstrap, args.seed) else {
        bail!("the files cannot be compared: a fold holds images of one class alone, or --bootstrap is 0");
    };
    println!("{}", serde_json::to_string(&result)?);
    Ok(())
}
