//! Which commands make up the demo and the real run.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::step::Step;

/// A list of commands, the files they need, and where everything goes.
#[derive(Debug)]
pub struct Plan {
    /// `demo`, `demo-short` or `real`.
    pub name: String,
    /// Output folder.
    pub out: PathBuf,
    /// Folders with the screenshots, for the pictures on the final page: (source id, folder).
    pub screenshots: Vec<(String, PathBuf)>,
    /// Trained KeepFIT models: (modality, run folder).
    pub models: Vec<(String, PathBuf)>,
    /// Files written before the first step.
    pub files: Vec<(PathBuf, String)>,
    /// The commands in order.
    pub steps: Vec<Step>,
}

/// A labelled set for training and evaluation.
struct LabelledSet {
    name: &'static str,
    modality: &'static str,
    folder: PathBuf,
    /// Share of the pictures kept for evaluation.
    holdout: &'static str,
    /// Groups pictures of one patient or eye, when the file names tell.
    group_regex: Option<&'static str>,
    licence: &'static str,
    /// Class folder and the descriptions it is prompted with.
    classes: &'static [(&'static str, &'static [&'static str])],
}

impl LabelledSet {
    /// `cfp`, `ffa` or `oct`, as part of file names.
    fn key(&self) -> String {
        self.modality.to_lowercase()
    }

    /// The sentence that a class name is put into, as in training without an attribute.
    fn prompt_template(&self) -> &'static str {
        match self.modality {
            "OCT" => "A Optical coherence tomography(OCT) photograph of {}",
            "FFA" => "A fundus fluorescein angiography of {}",
            _ => "A fundus photograph of {}",
        }
    }
}

/// The seed of every step.
const SEED: &str = "7";

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// The steps from labelled folders to a dataset that is checked, counted and queried.
fn dataset_steps(steps: &mut Vec<Step>, sets: &[LabelledSet], dataset: &str, out: &Path) {
    for set in sets {
        let folder = text(&set.folder);
        let mut args = vec![
            "labels",
            "--images",
            &folder,
            "--dataset",
            set.name,
            "--modality",
            set.modality,
            "--holdout",
            set.holdout,
            "--seed",
            SEED,
            "--licence",
            set.licence,
            "--out",
            dataset,
        ];
        if let Some(regex) = set.group_regex {
            args.extend(["--group-regex", regex]);
        }
        steps.push(Step::new(&format!("labels-{}", set.name), "ingest", &args));
    }
    steps.push(Step::new("cards", "data-cards", &["dataset", dataset]));
    steps.push(Step::new("validate", "dataset", &["validate", dataset]));
    steps.push(Step::new(
        "stats",
        "dataset",
        &["stats", dataset, "--out", &text(&out.join("stats"))],
    ));
    let sql = "SELECT source_id, modality, review_status, count(*) AS pairs FROM pairs GROUP BY source_id, modality, review_status ORDER BY source_id, modality, review_status";
    steps.push(Step::new("query", "dataset", &["query", dataset, sql]));
}

/// One suite file per trained modality, beside the folders it names: (path, text).
fn suite_files(out: &Path, sets: &[LabelledSet]) -> Vec<(PathBuf, String)> {
    sets.iter()
        .map(|set| (out.join(format!("suite-{}.toml", set.key())), suite_toml(set)))
        .collect()
}

/// The suite that `eval suite` runs on the held-out pictures of one labelled set.
fn suite_toml(set: &LabelledSet) -> String {
    let mut toml = format!(
        "# Written by the road program. Paths count from this folder.\nname = \"{0}\"\ndescription = \"Pictures of {0} that training did not see\"\nseed = 7\nshots = [1, 5]\nallow_short_classes = true\n\n[[model]]\nname = \"keepfit-{1}\"\nrun = \"runs/keepfit-{1}\"\n\n[[dataset]]\nname = \"{0}\"\nmodality = \"{2}\"\nfolder = \"dataset\"\nset = \"{0}\"\nsplit = \"test\"\ntemplate = \"{3}\"\n",
        set.name,
        set.key(),
        set.modality,
        set.prompt_template(),
    );
    for (class, prompts) in set.classes {
        toml += &format!("\n[[dataset.class]]\nname = \"{class}\"\nprompts = {prompts:?}\n");
    }
    toml
}

/// Trains one KeepFIT model per set on top of a text encoder and a codebook.
fn training_steps(
    steps: &mut Vec<Step>,
    size: &str,
    dataset: &str,
    runs: &Path,
    sets: &[LabelledSet],
    vocabulary: Option<&Path>,
) -> Vec<(String, PathBuf)> {
    let config = |stage: &str| format!("trainer/configs/{size}-{stage}.toml");
    let datasets = format!("datasets=[{dataset:?}]");
    let mut train = |stage: &str, run: &Path, settings: &[String]| {
        let mut args = vec![
            stage.to_owned(),
            "--config".to_owned(),
            config(stage),
            "--set".to_owned(),
            datasets.clone(),
        ];
        for setting in settings {
            args.extend(["--set".to_owned(), setting.clone()]);
        }
        args.extend(["--out".to_owned(), text(run)]);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let name = run
            .file_name()
            .map(|n| n.to_string_lossy().into_owned())
            .unwrap_or_default();
        steps.push(Step::new(&name, "trainer", &args));
    };
    let vocabulary = match vocabulary {
        Some(path) => path.to_owned(),
        None => {
            train("tokenizer", &runs.join("tokenizer"), &[]);
            runs.join("tokenizer")
        }
    };
    let tokenizer = format!("tokenizer={:?}", text(&vocabulary));
    let (mlm, codebook) = (runs.join("mlm"), runs.join("codebook"));
    train("mlm", &mlm, std::slice::from_ref(&tokenizer));
    train("codebook", &codebook, &[]);
    let mut models = Vec::new();
    for set in sets {
        let run = runs.join(format!("keepfit-{}", set.key()));
        let settings = [
            tokenizer.clone(),
            format!("text_init={:?}", text(&mlm)),
            format!("codebook_init={:?}", text(&codebook)),
            format!("modality={:?}", set.modality),
            format!("label_sets=[{:?}]", set.name),
        ];
        train("keepfit", &run, &settings);
        models.push((set.modality.to_owned(), run));
    }
    models
}

/// Evaluation and the model cards.
fn closing_steps(steps: &mut Vec<Step>, out: &Path, sets: &[LabelledSet], models: &[(String, PathBuf)]) {
    for set in sets {
        let (suite, eval) = (
            text(&out.join(format!("suite-{}.toml", set.key()))),
            text(&out.join("eval").join(set.key())),
        );
        steps.push(Step::new(
            &format!("eval-{}", set.key()),
            "eval",
            &["suite", "--config", &suite, "--out", &eval],
        ));
    }
    for (modality, run) in models {
        steps.push(Step::new(
            &format!("card-{}", modality.to_lowercase()),
            "data-cards",
            &["model", &text(run)],
        ));
    }
}

/// The demo: draws a sample and runs every step on it.
pub fn demo(out: &Path, short: bool) -> Plan {
    let sample = out.join("sample");
    let dataset = text(&out.join("dataset"));
    let mut draw = vec!["--out".to_owned(), text(&sample)];
    if short {
        draw.push("--short".to_owned());
    }
    let draw: Vec<&str> = draw.iter().map(String::as_str).collect();
    let mut steps = vec![Step::new("draw", "draw-sample", &draw)];
    let mut screenshots = Vec::new();
    for book in ["atlas-zh", "atlas-en", "atlas-bilingual"] {
        let folder = sample.join("books").join(book);
        steps.push(Step::new(
            &format!("book-{book}"),
            "ingest",
            &[
                "book",
                "--input",
                &text(&folder),
                "--source-id",
                book,
                "--licence",
                "CC0-1.0",
                "--out",
                &dataset,
            ],
        ));
        screenshots.push((book.to_owned(), folder));
    }
    let corpus = |name: &str, file: &str| format!("{name}={}", text(&sample.join("texts").join(file)));
    steps.push(Step::new(
        "text",
        "ingest",
        &[
            "text",
            "--corpus",
            &corpus("questions", "questions.json"),
            "--corpus",
            &corpus("textbook-zh", "textbook-zh.txt"),
            "--corpus",
            &corpus("clinic", "clinic.csv"),
            "--keywords",
            "auto",
            "--licence",
            "CC0-1.0",
            "--out",
            &dataset,
        ],
    ));
    let set = |name, modality, folder: &str, classes| LabelledSet {
        name,
        modality,
        folder: sample.join("labelled").join(folder),
        holdout: "0.34",
        group_regex: None,
        licence: "CC0-1.0",
        classes,
    };
    let sets = vec![
        set(
            "drawn-cfp",
            "CFP",
            "cfp",
            &[
                ("normal", &["normal"][..]),
                ("diabetic_retinopathy", &["diabetic retinopathy"]),
                ("glaucoma", &["glaucoma"]),
                (
                    "age_related_macular_degeneration",
                    &["age related macular degeneration"],
                ),
            ],
        ),
        set(
            "drawn-ffa",
            "FFA",
            "ffa",
            &[
                ("normal", &["normal"][..]),
                ("microaneurysms", &["microaneurysms"]),
                ("leakage", &["leakage"]),
            ],
        ),
        set(
            "drawn-oct",
            "OCT",
            "oct",
            &[
                ("normal", &["normal"][..]),
                ("macular_edema", &["macular edema"]),
                ("drusen", &["drusen"]),
            ],
        ),
    ];
    dataset_steps(&mut steps, &sets, &dataset, out);
    let trained = &sets[..1];
    let models = training_steps(&mut steps, "tiny", &dataset, &out.join("runs"), trained, None);
    let files = suite_files(out, trained);
    closing_steps(&mut steps, out, trained, &models);
    Plan {
        name: if short { "demo-short" } else { "demo" }.to_owned(),
        out: out.to_owned(),
        screenshots,
        models,
        files,
        steps,
    }
}

/// The real run: screenshots with real photographs, labelled photographs, real texts.
///
/// # Errors
/// When the shared material is not where it should be.
pub fn real(shared: &Path, out: &Path) -> Result<Plan> {
    let screens = shared.join("bench/screens/images");
    let data = shared.join("data");
    for needed in [
        &screens,
        &data.join("texts"),
        &data.join("labelled/cfp"),
        &data.join("models/bert-base-cased-vocab.txt"),
    ] {
        if !needed.exists() {
            bail!(
                "{} is not there; remedy: name the folder that holds bench/ and data/ with --shared",
                needed.display()
            );
        }
    }
    let dataset = text(&out.join("dataset"));
    let mut steps = vec![
        Step::new(
            "book",
            "ingest",
            &[
                "book",
                "--input",
                &text(&screens),
                "--source-id",
                "screens",
                "--out",
                &dataset,
            ],
        )
        .rejects_expected(),
    ];
    let texts = data.join("texts");
    let corpus = |name: &str, file: &str| format!("{name}={}", text(&texts.join(file)));
    let corpora: Vec<String> = [
        ("medquad", "medquad_eye.json"),
        ("medquad-xml", "medquad_xml"),
        ("medical-meadow", "medical_meadow_small.json"),
        ("eye-notes", "eye_notes"),
        ("chatdoctor", "chatdoctor5k.json"),
        ("chatdoctor-csv", "chatdoctor_format_dataset.csv"),
        ("huatuo", "huatuo_llama_data.json"),
        ("corpus-zh", "medical_corpus_zh.txt"),
        ("promptcblue", "promptcblue"),
    ]
    .iter()
    .map(|(name, file)| corpus(name, file))
    .collect();
    let mut args = vec!["text"];
    for corpus in &corpora {
        args.extend(["--corpus", corpus]);
    }
    args.extend(["--keywords", "auto", "--out", &dataset]);
    steps.push(Step::new("text", "ingest", &args).rejects_expected());
    for (file, name) in [("06_DEN.csv", "den-list"), ("13_FIVES.csv", "fives-list")] {
        // The lists come without their photographs: every row ends in the ledger with that reason.
        let list = text(&data.join("labels").join(file));
        let images = text(&data.join("labels"));
        steps.push(
            Step::new(
                &format!("list-{name}"),
                "ingest",
                &[
                    "labels",
                    "--csv",
                    &list,
                    "--images",
                    &images,
                    "--dataset",
                    name,
                    "--modality",
                    "CFP",
                    "--out",
                    &dataset,
                ],
            )
            .rejects_expected(),
        );
    }
    let set = |name, modality, folder: &str, group_regex, classes| LabelledSet {
        name,
        modality,
        folder: data.join("labelled").join(folder),
        holdout: "0.25",
        group_regex,
        licence: "other",
        classes,
    };
    let sets = vec![
        set(
            "real-cfp",
            "CFP",
            "cfp",
            Some(r"(\d+)_(?:left|right)"),
            &[
                ("cataract", &["cataract"][..]),
                ("diabetic_retinopathy", &["diabetic retinopathy"]),
                ("glaucoma", &["glaucoma"]),
                ("normal", &["normal"]),
            ],
        ),
        set(
            "real-oct",
            "OCT",
            "oct",
            None,
            &[
                ("AMD", &["age related macular degeneration"][..]),
                ("DME", &["diabetic macular edema"]),
                ("ERM", &["epiretinal membrane"]),
                ("NO", &["normal"]),
                ("RAO", &["retinal artery occlusion"]),
                ("RVO", &["retinal vein occlusion"]),
                ("VID", &["vitreomacular interface disease"]),
            ],
        ),
        set(
            "real-ffa",
            "FFA",
            "ffa",
            None,
            &[
                ("arterial_phase", &["arterial phase"][..]),
                ("brvo", &["branch retinal vein occlusion"]),
                ("none_np", &["no non-perfusion"]),
                ("normal", &["normal"]),
                ("venous_phase", &["venous phase"]),
                ("with_np", &["non-perfusion"]),
            ],
        ),
    ];
    dataset_steps(&mut steps, &sets, &dataset, out);
    let vocabulary = data.join("models/bert-base-cased-vocab.txt");
    let models = training_steps(
        &mut steps,
        "small",
        &dataset,
        &out.join("runs"),
        &sets,
        Some(&vocabulary),
    );
    let files = suite_files(out, &sets);
    closing_steps(&mut steps, out, &sets, &models);
    Ok(Plan {
        name: "real".to_owned(),
        out: out.to_owned(),
        screenshots: vec![("screens".to_owned(), screens)],
        models,
        files,
        steps,
    })
}
