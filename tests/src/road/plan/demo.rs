//! The demo: draws a sample and runs every step on it.

use std::path::Path;

use super::{LabelledSet, Plan, closing_steps, dataset_steps, files, step, strings, text, training_steps};

/// Licence of what the sample draws.
const DRAWN_LICENCE: &str = "CC0-1.0";

/// The steps of `make demo`; with `short` on the smaller sample of the tests.
pub fn demo(out: &Path, short: bool) -> Plan {
    let sample = out.join("sample");
    let dataset = text(&out.join("dataset"));
    let mut draw = vec!["--out".to_owned(), text(&sample)];
    if short {
        draw.push("--short".to_owned());
    }
    let mut steps = vec![step("draw", "draw-sample", &draw)];
    let mut screenshots = Vec::new();
    for book in ["atlas-zh", "atlas-en", "atlas-bilingual"] {
        let folder = sample.join("books").join(book);
        let mut args = strings(["book", "--input"]);
        args.push(text(&folder));
        args.extend(strings([
            "--source-id",
            book,
            "--licence",
            DRAWN_LICENCE,
            "--out",
            &dataset,
        ]));
        steps.push(step(&format!("book-{book}"), "ingest", &args));
        screenshots.push((book.to_owned(), folder));
    }
    let mut args = strings(["text", "--keywords", "auto", "--out", &dataset]);
    for (name, file) in [
        ("questions", "questions.json"),
        ("textbook-zh", "textbook-zh.txt"),
        ("clinic", "clinic.csv"),
    ] {
        args.extend([
            "--corpus".to_owned(),
            format!("{name}={}", text(&sample.join("texts").join(file))),
        ]);
        args.extend(["--licence".to_owned(), format!("{name}={DRAWN_LICENCE}")]);
    }
    steps.push(step("text", "ingest", &args));
    let set = |name, modality, folder: &str, classes| LabelledSet {
        name,
        modality,
        folder: sample.join("labelled").join(folder),
        holdout: "0.34",
        group_regex: None,
        licence: DRAWN_LICENCE,
        full_names: &[],
        classes,
    };
    let cfp = &[
        "normal",
        "diabetic retinopathy",
        "glaucoma",
        "age related macular degeneration",
    ];
    let sets = [
        set("drawn-cfp", "CFP", "cfp", cfp),
        set("drawn-ffa", "FFA", "ffa", &["normal", "microaneurysms", "leakage"]),
        set("drawn-oct", "OCT", "oct", &["normal", "macular edema", "drusen"]),
    ];
    dataset_steps(&mut steps, &sets, &dataset, out);
    let trained = &sets[..1];
    let models = training_steps(&mut steps, "tiny", &dataset, &out.join("runs"), trained, None);
    closing_steps(&mut steps, out, trained, &models);
    Plan {
        name: if short { "demo-short" } else { "demo" }.to_owned(),
        out: out.to_owned(),
        screenshots,
        models,
        files: files(out, &sets, trained),
        steps,
    }
}
