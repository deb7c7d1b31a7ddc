//! The drawn sample that `make demo` and the cross-crate tests run on.

use std::path::Path;

use anyhow::{Context, Result};
use dataset::modality::Modality;

use crate::page::{BookLanguage, draw_book};
use crate::retina::{Finding, picture, seed_for};

/// How much is drawn.
#[derive(Clone, Copy, Debug)]
pub struct SampleSize {
    /// Pages per book; there are three books.
    pub pages: usize,
    /// Pictures per class of each labelled set.
    pub pictures_per_class: usize,
    /// Side of a labelled picture in pixels.
    pub picture_size: u32,
}

impl SampleSize {
    /// The size of `make demo`.
    pub const DEMO: Self = Self {
        pages: 6,
        pictures_per_class: 24,
        picture_size: 128,
    };
    /// The size of the shortened demo that the tests run.
    pub const SHORT: Self = Self {
        pages: 4,
        pictures_per_class: 18,
        picture_size: 96,
    };
}

/// Class folders and what their pictures show.
type Classes = &'static [(&'static str, Finding)];

/// The labelled sets: folder, modality, classes.
pub const LABELLED: &[(&str, Modality, Classes)] = &[
    (
        "cfp",
        Modality::Cfp,
        &[
            ("normal", Finding::Normal),
            ("diabetic_retinopathy", Finding::DiabeticRetinopathy),
            ("glaucoma", Finding::Glaucoma),
            ("age_related_macular_degeneration", Finding::MacularDegeneration),
        ],
    ),
    (
        "ffa",
        Modality::Ffa,
        &[
            ("normal", Finding::Normal),
            ("microaneurysms", Finding::DiabeticRetinopathy),
            ("leakage", Finding::MacularDegeneration),
        ],
    ),
    (
        "oct",
        Modality::Oct,
        &[
            ("normal", Finding::Normal),
            ("macular_edema", Finding::MacularOedema),
            ("drusen", Finding::Drusen),
        ],
    ),
];

/// Sentences with `{}` for a disease; together with the diseases they make the drawn corpora.
const ENGLISH: &[&str] = &[
    "Patients with {} often notice blurred vision before any other symptom.",
    "The diagnosis of {} rests on fundus photography and optical coherence tomography.",
    "Treatment of {} should begin early, and the retina is examined again after three months.",
    "In {} the retinal vessels, the macula and the optic disc are examined with dilated pupils.",
    "Screening programmes for {} photograph both eyes once a year.",
    "Risk factors for {} include age, smoking and arterial hypertension.",
];
const ENGLISH_DISEASES: &[&str] = &[
    "diabetic retinopathy",
    "glaucoma",
    "age-related macular degeneration",
    "retinal vein occlusion",
    "macular edema",
    "retinal detachment",
    "uveitis",
];
const CHINESE: &[&str] = &[
    "{}患者常以视物模糊为首发症状。",
    "诊断{}需要眼底照相和光学相干断层扫描检查。",
    "{}应尽早治疗，三个月后复查视网膜。",
    "{}的危险因素包括年龄、吸烟和高血压。",
];
const CHINESE_DISEASES: &[&str] = &[
    "糖尿病视网膜病变",
    "青光眼",
    "年龄相关性黄斑变性",
    "视网膜静脉阻塞",
    "黄斑水肿",
];
/// Records of other specialties, which the keyword filter must leave out.
const OTHER: &[(&str, &str)] = &[
    (
        "What is asthma?",
        "Asthma narrows the airways of the lung and causes wheezing and a cough at night.",
    ),
    (
        "How is a fracture of the wrist treated?",
        "A plaster cast holds the bones of the wrist in place for about six weeks.",
    ),
    (
        "What is gastritis?",
        "Gastritis is an inflammation of the stomach that causes pain after meals.",
    ),
    (
        "Why does the knee hurt after running?",
        "Overuse strains the tendons below the knee cap, and rest is the first treatment.",
    ),
];

/// Draws the whole sample into `folder`: `books/`, `labelled/`, `texts/`, `truth/`.
///
/// # Errors
/// When the font is missing or a file cannot be written.
pub fn draw_sample(folder: &Path, size: SampleSize, seed: u64) -> Result<()> {
    for (name, language) in [
        ("atlas-zh", BookLanguage::Chinese),
        ("atlas-en", BookLanguage::English),
        ("atlas-bilingual", BookLanguage::Bilingual),
    ] {
        draw_book(
            &folder.join("books").join(name),
            &folder.join("truth"),
            language,
            size.pages,
            seed,
        )?;
    }
    for (set, modality, classes) in LABELLED {
        for (class, finding) in *classes {
            let class_folder = folder.join("labelled").join(set).join(class);
            std::fs::create_dir_all(&class_folder)
                .with_context(|| format!("cannot create {}", class_folder.display()))?;
            for index in 0..size.pictures_per_class {
                let path = class_folder.join(format!("{class}_{index:03}.png"));
                let drawn = picture(
                    *modality,
                    size.picture_size,
                    *finding,
                    seed_for(seed, &format!("{set}/{class}"), index),
                );
                drawn
                    .save(&path)
                    .with_context(|| format!("cannot write {}", path.display()))?;
            }
        }
    }
    write_texts(&folder.join("texts"))
}

/// Writes three small corpora: question-answer pairs (alpaca JSON), plain Chinese text, CSV.
fn write_texts(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let mut records = Vec::new();
    for (number, disease) in ENGLISH_DISEASES.iter().enumerate() {
        let sentences: Vec<String> = ENGLISH
            .iter()
            .skip(number % 3)
            .map(|s| s.replace("{}", disease))
            .collect();
        records.push(serde_json::json!({ "instruction": format!("What should I know about {disease}?"), "input": "", "output": sentences.join(" ") }));
    }
    for (question, answer) in OTHER {
        records.push(serde_json::json!({ "instruction": question, "input": "", "output": answer }));
    }
    dataset::fs::write_atomic(
        &folder.join("questions.json"),
        serde_json::to_string_pretty(&records)?.as_bytes(),
    )?;
    let chinese: String = CHINESE_DISEASES
        .iter()
        .flat_map(|disease| CHINESE.iter().map(move |s| s.replace("{}", disease) + "\n"))
        .collect();
    dataset::fs::write_atomic(&folder.join("textbook-zh.txt"), chinese.as_bytes())?;
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record(["question", "answer"])?;
    for (number, disease) in ENGLISH_DISEASES.iter().enumerate() {
        csv.write_record([
            format!("How is {disease} found?"),
            ENGLISH[number % ENGLISH.len()].replace("{}", &format!("early {disease}")),
        ])?;
    }
    dataset::fs::write_atomic(&folder.join("clinic.csv"), &csv.into_inner()?)?;
    Ok(())
}
