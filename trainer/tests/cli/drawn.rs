//! Drawn dataset folders and short configs.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use dataset::hash::sha256_hex;
use dataset::modality::Modality;
use dataset::record::{ImageFile, LabelRecord, TextRecord, content_id};
use dataset::testing::drawn_pair;
use dataset::write::SourceUpdate;

/// Categories of the drawn labelled set, each with its colour.
pub const CATEGORIES: [(&str, [u8; 3]); 3] = [
    ("glaucoma", [200, 60, 40]),
    ("normal", [60, 160, 60]),
    ("cataract", [90, 90, 180]),
];

/// A picture whose colour tells the category.
pub fn picture(category: usize, number: usize) -> Vec<u8> {
    let colour = CATEGORIES[category].1;
    let picture = image::RgbImage::from_fn(48, 40, |x, y| {
        let noise = ((x * 7 + y * 13 + number as u32 * 31) % 23) as u8;
        image::Rgb(colour.map(|tone| tone.saturating_add(noise)))
    });
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// One labelled row.
pub fn label(category: usize, number: usize, bytes: Vec<u8>, split: &str) -> LabelRecord {
    LabelRecord {
        id: content_id("label", &[&bytes, &number.to_le_bytes(), &category.to_le_bytes()]),
        image_sha256: sha256_hex(&bytes),
        image: ImageFile {
            bytes,
            path: format!("drawn/{category}-{number}.png"),
        },
        width: 48,
        height: 40,
        modality: Modality::Cfp,
        categories: vec![CATEGORIES[category].0.to_owned()],
        attributes: Vec::new(),
        dataset: "drawn".to_owned(),
        split: split.to_owned(),
        split_group: format!("{category}-{number}"),
        licence: None,
    }
}

/// Writes rows as the label set `drawn`.
pub fn write_labels(folder: &Path, rows: Vec<LabelRecord>) {
    let mut update = SourceUpdate::labels(folder, "drawn").unwrap();
    for row in rows {
        update.push_label(row).unwrap();
    }
    update.commit().unwrap();
}

/// A dataset folder with 30 labelled photographs, 12 pairs and 40 texts.
pub fn dataset(place: &Path) -> PathBuf {
    let folder = place.join("dataset");
    let rows = (0..30).map(|i| label(i % 3, i, picture(i % 3, i), "train")).collect();
    write_labels(&folder, rows);
    let mut pairs = SourceUpdate::pairs(&folder, "book").unwrap();
    for number in 0..12 {
        let mut pair = drawn_pair("book", number);
        pair.modality = Modality::Cfp;
        pair.caption_en = Some(format!("Figure {number}: drusen and hemorrhages of the retina"));
        pairs.push_pair(pair).unwrap();
    }
    pairs.commit().unwrap();
    let mut texts = SourceUpdate::text(&folder, "notes").unwrap();
    for number in 0..40 {
        let finding = ["drusen", "macular edema", "a pale optic disc", "hemorrhages"][number % 4];
        let text = format!("Note {number}: the retina of the eye shows {finding} near the vessels.");
        texts
            .push_text(TextRecord {
                id: content_id("text", &[text.as_bytes()]),
                text,
                language: "en".to_owned(),
                source_id: "notes".to_owned(),
                licence: None,
                keywords: Vec::new(),
            })
            .unwrap();
    }
    texts.commit().unwrap();
    folder
}

/// The built program, run within `place`.
pub fn trainer(place: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trainer"));
    command.current_dir(place).env("RUST_LOG", "info");
    command
}

/// A shipped tiny config, with paths and sizes for a test.
pub fn config(stage: &str) -> Vec<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("configs/tiny-{stage}.toml"));
    let mut arguments = vec![
        stage.to_owned(),
        "--config".to_owned(),
        file.to_string_lossy().into_owned(),
    ];
    let mut set = |pair: &str| arguments.extend(["--set".to_owned(), pair.to_owned()]);
    set("datasets=[\"dataset\"]");
    match stage {
        "tokenizer" => set("vocab_size=400"),
        "mlm" => {
            for pair in [
                "tokenizer=tokenizer",
                "text_hidden=16",
                "text_layers=2",
                "text_heads=2",
                "text_intermediate=32",
                "steps=6",
            ] {
                set(pair);
            }
            for pair in ["save_every_steps=2", "eval_every=3", "batch=8"] {
                set(pair);
            }
        }
        "codebook" => {
            for pair in [
                "image_size=32",
                "multipliers=[1, 2]",
                "channels=4",
                "codes=16",
                "code_dim=8",
                "batch=4",
                "steps=6",
            ] {
                set(pair);
            }
            for pair in ["save_every_steps=2", "eval_every=3", "grid=3", "heldout=0.1"] {
                set(pair);
            }
            for pair in ["adversarial_weight=0.1", "discriminator_channels=2", "lecam_weight=0.5"] {
                set(pair);
            }
        }
        _ => {
            for pair in [
                "text_init=mlm",
                "codebook_init=codebook",
                "image_size=32",
                "vision_width=2",
                "proj_dim=8",
                "batch=4",
            ] {
                set(pair);
            }
            for pair in [
                "steps=8",
                "save_every_steps=3",
                "eval_every=4",
                "augment=true",
                "attention_dropout=0.5",
                "dropout=0.1",
            ] {
                set(pair);
            }
        }
    }
    arguments
}

/// Runs a stage to its end into the folder of its name.
pub fn run_stage(place: &Path, stage: &str) {
    trainer(place)
        .args(config(stage))
        .args(["--out", stage])
        .assert()
        .success();
}

/// Runs tokenizer, mlm and codebook, which keepfit needs.
pub fn run_stages_before_keepfit(place: &Path) {
    for stage in ["tokenizer", "mlm", "codebook"] {
        run_stage(place, stage);
    }
}
