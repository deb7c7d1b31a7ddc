//! The real run: screenshots with real photographs, labelled photographs, real texts.

use std::path::Path;

use anyhow::{Result, bail};

use super::{LabelledSet, Plan, Step, closing_steps, dataset_steps, files, step, strings, text, training_steps};

/// Corpora for text pretraining: name, file or folder below `data/texts`.
const CORPORA: &[(&str, &str)] = &[
    ("medquad", "medquad_eye.json"),
    ("medquad-xml", "medquad_xml"),
    ("medical-meadow", "medical_meadow_small.json"),
    ("eye-notes", "eye_notes"),
    ("chatdoctor", "chatdoctor5k.json"),
    ("chatdoctor-csv", "chatdoctor_format_dataset.csv"),
    ("huatuo", "huatuo_llama_data.json"),
    ("corpus-zh", "medical_corpus_zh.txt"),
    ("promptcblue", "promptcblue"),
];

/// Category lists that come without their photographs: every row ends in the ledger with that reason.
const LISTS: &[(&str, &str)] = &[("06_DEN.csv", "den-list"), ("13_FIVES.csv", "fives-list")];

/// The steps of `make real`.
///
/// # Errors
/// When the shared material is not where it should be.
pub fn real(shared: &Path, out: &Path) -> Result<Plan> {
    let screens = shared.join("bench/screens/images");
    let data = shared.join("data");
    let vocabulary = data.join("models/bert-base-cased-vocab.txt");
    for needed in [
        &screens,
        &data.join("texts"),
        &data.join("labels"),
        &data.join("labelled/cfp"),
        &vocabulary,
    ] {
        if !needed.exists() {
            bail!(
                "{} is not there; remedy: name the folder that holds bench/ and data/ with --shared",
                needed.display()
            );
        }
    }
    let dataset = text(&out.join("dataset"));
    let mut args = strings(["book", "--input"]);
    args.push(text(&screens));
    args.extend(strings(["--source-id", "screens", "--out", &dataset]));
    let mut steps = vec![step("book", "ingest", &args).rejects_expected()];
    let mut args = strings(["text", "--keywords", "auto", "--out", &dataset]);
    for (name, file) in CORPORA {
        args.extend([
            "--corpus".to_owned(),
            format!("{name}={}", text(&data.join("texts").join(file))),
        ]);
    }
    steps.push(step("text", "ingest", &args).rejects_expected());
    for (file, name) in LISTS {
        let (list, images) = (text(&data.join("labels").join(file)), text(&data.join("labels")));
        let args = [
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
        ];
        steps.push(Step::new(&format!("list-{name}"), "ingest", &args).rejects_expected());
    }
    let set = |name, modality, folder: &str, group_regex, full_names, classes| LabelledSet {
        name,
        modality,
        folder: data.join("labelled").join(folder),
        holdout: "0.25",
        group_regex,
        licence: "other",
        full_names,
        classes,
    };
    let sets = [
        set(
            "real-cfp",
            "CFP",
            "cfp",
            Some(r"(\d+)_(?:left|right)"),
            &[],
            &["cataract", "diabetic retinopathy", "glaucoma", "normal"],
        ),
        set(
            "real-oct",
            "OCT",
            "oct",
            Some(r"_(\d+)_"),
            &[
                ("AMD", "age related macular degeneration"),
                ("DME", "diabetic macular edema"),
                ("ERM", "epiretinal membrane"),
                ("NO", "normal"),
                ("RAO", "retinal artery occlusion"),
                ("RVO", "retinal vein occlusion"),
                ("VID", "vitreomacular interface disease"),
            ],
            &[
                "age related macular degeneration",
                "diabetic macular edema",
                "epiretinal membrane",
                "normal",
                "retinal artery occlusion",
                "retinal vein occlusion",
                "vitreomacular interface disease",
            ],
        ),
        set(
            "real-ffa",
            "FFA",
            "ffa",
            None,
            &[
                ("brvo", "branch retinal vein occlusion"),
                ("none np", "no capillary non-perfusion"),
                ("with np", "capillary non-perfusion"),
            ],
            &[
                "arterial phase",
                "venous phase",
                "normal",
                "branch retinal vein occlusion",
                "no capillary non-perfusion",
                "capillary non-perfusion",
            ],
        ),
    ];
    dataset_steps(&mut steps, &sets, &dataset, out);
    let models = training_steps(
        &mut steps,
        "small",
        &dataset,
        &out.join("runs"),
        &sets,
        Some(&vocabulary),
    );
    closing_steps(&mut steps, out, &sets, &models);
    Ok(Plan {
        name: "real".to_owned(),
        out: out.to_owned(),
        screenshots: vec![("screens".to_owned(), screens)],
        models,
        files: files(out, &sets, &sets),
        steps,
    })
}
