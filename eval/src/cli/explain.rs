//! `eval explain`: one image, what the model says, and where it looks.

use std::io::Cursor;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use dataset::image_input::decode_rgb8;
use dataset::read::{Columns, Dataset};
use minijinja::{AutoEscape, Environment, UndefinedBehavior, context};

use crate::explain::{GRID, explain};
use crate::suite::config::{Several, Suite};
use crate::suite::html::{base64, template_value};
use crate::suite::model::open_model;

const TEMPLATE: &str = include_str!("../../templates/explain.html");
/// Longer side of the picture on the page, pixels.
const PICTURE_PIXELS: u32 = 480;
/// Pairs shown for each kind of knowledge.
const SHOWN_PAIRS: usize = 5;

/// Arguments of `eval explain`.
#[derive(Args)]
pub struct ExplainArgs {
    /// The image
    image: PathBuf,
    /// A suite: its classes, prompts and models
    #[arg(long, value_name = "SUITE.toml")]
    config: PathBuf,
    /// Data set of the suite whose classes are asked for; the first one when left out
    #[arg(long)]
    dataset: Option<String>,
    /// Model of the suite; the first with weights when left out
    #[arg(long)]
    model: Option<String>,
    /// Dataset folder with MM-Retinal pairs: its nearest English captions, and the pairs whose knowledge is drawn on
    #[arg(long, value_name = "DATASET")]
    captions: Option<PathBuf>,
    /// cpu, wgpu, wgpu:N, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    device: String,
    /// The page
    #[arg(long, value_name = "FILE.html")]
    out: PathBuf,
}

/// Writes the page; the probabilities go to stdout.
pub fn run(args: &ExplainArgs) -> anyhow::Result<()> {
    let suite = Suite::read(&args.config)?;
    let set = match &args.dataset {
        Some(name) => suite.datasets.iter().find(|d| d.name == *name),
        None => suite.datasets.first(),
    };
    let Some(set) = set else {
        bail!(
            "the suite has no such dataset; it has {:?}",
            suite.datasets.iter().map(|d| &d.name).collect::<Vec<_>>()
        )
    };
    let model = suite
        .models
        .iter()
        .find(|m| m.features.is_empty() && args.model.as_ref().is_none_or(|n| *n == m.name));
    let Some(model) = model else {
        bail!(
            "the suite has no such model with a trainer run or released weights; it has {:?}",
            suite.models.iter().map(|m| &m.name).collect::<Vec<_>>()
        )
    };
    let name = args.image.display().to_string();
    let bytes = std::fs::read(&args.image).with_context(|| name.clone())?;
    let picture = decode_rgb8(&bytes, &name)?.rgb;
    let Some(source) = open_model(model, &args.device).with_context(|| format!("model '{}'", model.name))? else {
        bail!(
            "model '{}' has feature files only; it cannot look at an image",
            model.name
        )
    };
    let mut captions = Vec::new();
    if let Some(folder) = &args.captions {
        for pair in Dataset::open(folder)?.pairs(Columns::WithoutImageBytes)? {
            let pair = pair?;
            captions.extend(pair.caption_en.map(|text| (pair.id, text)));
        }
    }
    let told = explain(source.as_ref(), set, &picture, &captions)?;
    let knowledge = match &args.captions {
        Some(folder) => source
            .knowledge(&picture, &[folder.to_string_lossy().into_owned()], SHOWN_PAIRS)
            .unwrap_or_else(|error| {
                tracing::warn!("the knowledge drawn on is left out: {error:#}");
                None
            }),
        None => None,
    };

    let small = image::DynamicImage::ImageRgb8(picture).thumbnail(PICTURE_PIXELS, PICTURE_PIXELS);
    let jpeg = |picture: &image::DynamicImage| -> anyhow::Result<String> {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, image::ImageFormat::Jpeg)?;
        Ok(base64(bytes.get_ref()))
    };
    let overlay = told
        .activation
        .as_ref()
        .map(|a| jpeg(&image::DynamicImage::ImageRgb8(a.overlay(&small.to_rgb8()))))
        .transpose()?;
    let strongest = told.heat.iter().flatten().copied().fold(0.0, f64::max);
    let shade = |fall: f64| {
        if strongest > 0.0 {
            (fall.max(0.0) / strongest * 0.75 * 100.0).round() / 100.0
        } else {
            0.0
        }
    };
    let heat: Vec<Vec<f64>> = told
        .heat
        .iter()
        .map(|line| line.iter().map(|f| shade(*f)).collect())
        .collect();
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.add_template("explain", TEMPLATE)?;
    let page = environment.get_template("explain")?.render(context! {
        image => args.image.file_name().map(|n| n.to_string_lossy().into_owned()),
        model => model.name.clone(),
        dataset => set.name.clone(),
        several => set.several == Several::MultiLabel,
        picture => jpeg(&small)?,
        overlay => overlay,
        width => small.width(),
        height => small.height(),
        grid => GRID,
        heat => template_value(heat)?,
        strongest => format!("{:.1}", 100.0 * strongest),
        told => template_value(&told)?,
        knowledge => template_value(&knowledge)?,
    })?;
    dataset::fs::write_atomic(&args.out, page.as_bytes())?;
    println!(
        "{}",
        serde_json::json!({"image": args.image.file_name().map(|n| n.to_string_lossy()), "model": model.name, "classes": told.classes,
            "captions": told.captions, "activation": told.activation, "knowledge": knowledge})
    );
    Ok(())
}
