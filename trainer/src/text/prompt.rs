//! Captions for categorical labels: templates per modality, label augmentation, class descriptions.

use anyhow::{Result, bail};
use dataset::modality::Modality;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::definitions::Definitions;

/// How a category becomes text in training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum LabelStyle {
    /// KeepFIT V1 and FLAIR: a uniform draw from the category and its definitions.
    V1,
    /// KeepFIT V2 line: "category, definition", the definition drawn uniformly.
    #[default]
    V2,
    /// The category alone.
    Plain,
}

/// The training template of a modality, with `[ATR]` for an attribute and `[CLS]` for the category.
pub fn training_template(modality: Modality) -> &'static str {
    match modality {
        Modality::Cfp | Modality::Other => "A [ATR] fundus photograph of [CLS]",
        Modality::Oct => "A [ATR] Optical coherence tomography(OCT) photograph of [CLS]",
        Modality::Ffa => "A [ATR] fundus fluorescein angiography of [CLS]",
    }
}

/// The template used for prediction: the training template without the attribute.
pub fn prediction_template(modality: Modality) -> &'static str {
    match modality {
        Modality::Cfp | Modality::Other => "A fundus photograph of [CLS]",
        Modality::Oct => "A Optical coherence tomography(OCT) photograph of [CLS]",
        Modality::Ffa => "A fundus fluorescein angiography of [CLS]",
    }
}

/// Refuses a template without a place for the category.
///
/// # Errors
/// `[CLS]` is missing.
pub fn check_template(template: &str) -> Result<()> {
    if !template.contains("[CLS]") {
        bail!("template {template:?} has no [CLS], where the category goes");
    }
    Ok(())
}

/// Fills `template`; an empty attribute leaves no double space.
pub fn fill(template: &str, attribute: &str, class: &str) -> String {
    let text = template
        .replace("[ATR]", attribute.trim())
        .replace("[CLS]", class.trim());
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A category as words: underscores become spaces.
pub fn spoken(category: &str) -> String {
    category.replace('_', " ").trim().to_owned()
}

/// The caption of one draw of a labelled image.
pub fn training_caption(
    template: &str,
    category: &str,
    attribute: Option<&str>,
    definitions: &Definitions,
    style: LabelStyle,
    rng: &mut ChaCha8Rng,
) -> String {
    let known = definitions.of(category);
    let name = spoken(category);
    let class = match style {
        LabelStyle::Plain => name,
        _ if known.is_empty() => name,
        LabelStyle::V1 => match rng.random_range(0..=known.len()) {
            0 => name,
            i => known[i - 1].clone(),
        },
        LabelStyle::V2 => format!("{name}, {}", known[rng.random_range(0..known.len())]),
    };
    fill(template, attribute.unwrap_or(""), &class)
}

/// The descriptions of a category whose embeddings are averaged at evaluation: every text that
/// training can draw in `style`, under the prediction template, in a fixed order.
pub fn class_descriptions(template: &str, category: &str, definitions: &Definitions, style: LabelStyle) -> Vec<String> {
    let known = definitions.of(category);
    let name = spoken(category);
    let classes: Vec<String> = match style {
        LabelStyle::Plain => vec![name],
        _ if known.is_empty() => vec![name],
        LabelStyle::V1 => std::iter::once(name).chain(known.iter().cloned()).collect(),
        LabelStyle::V2 => known.iter().map(|definition| format!("{name}, {definition}")).collect(),
    };
    classes.iter().map(|class| fill(template, "", class)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rand::SeedableRng;

    fn definitions() -> Definitions {
        Definitions::parse("[[category]]\nname = 'glaucoma'\ndefinitions = ['large cup', 'thin rim']").unwrap()
    }

    #[test]
    fn templates_are_filled_without_gaps() {
        let template = training_template(Modality::Cfp);
        assert_eq!(fill(template, "", "cataract"), "A fundus photograph of cataract");
        assert_eq!(
            fill(template, "blurred", "cataract"),
            "A blurred fundus photograph of cataract"
        );
        for modality in Modality::ALL {
            assert_eq!(
                fill(training_template(modality), "", "x"),
                fill(prediction_template(modality), "", "x")
            );
        }
        assert!(check_template("A photograph").is_err());
    }

    #[test]
    fn styles_draw_what_they_say() {
        let known = definitions();
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut draw = |style, category: &str| training_caption("of [CLS]", category, None, &known, style, &mut rng);
        let v1: std::collections::BTreeSet<String> = (0..60).map(|_| draw(LabelStyle::V1, "Glaucoma")).collect();
        assert_eq!(
            v1,
            ["of Glaucoma", "of large cup", "of thin rim"].map(str::to_owned).into()
        );
        let v2: std::collections::BTreeSet<String> = (0..60).map(|_| draw(LabelStyle::V2, "glaucoma")).collect();
        assert_eq!(
            v2,
            ["of glaucoma, large cup", "of glaucoma, thin rim"]
                .map(str::to_owned)
                .into()
        );
        assert_eq!(draw(LabelStyle::V2, "macular_hole"), "of macular hole");
        assert_eq!(draw(LabelStyle::Plain, "glaucoma"), "of glaucoma");
    }

    #[test]
    fn descriptions_cover_the_training_draws() {
        let texts = class_descriptions("of [CLS]", "glaucoma", &definitions(), LabelStyle::V2);
        assert_eq!(texts, ["of glaucoma, large cup", "of glaucoma, thin rim"]);
        let texts = class_descriptions("of [CLS]", "drusen", &definitions(), LabelStyle::V2);
        assert_eq!(texts, ["of drusen"]);
    }
}
