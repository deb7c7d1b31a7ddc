//! Four questions in a row: Is it on paper? In colour? In layers? With dye?
//!
//! Each is a [`Question`] on one or two measures, so that a camera unlike the
//! ones learnt from is judged by the physics of its pictures and not by its
//! colours. The probabilities multiply:
//! CFP = !paper * colour, OCT = !paper * !colour * layers,
//! FFA = !paper * !colour * !layers * dye, OTHER is what remains.

use dataset::modality::Modality;
use serde::{Deserialize, Serialize};

use super::logistic::{self, Question};
use super::measures::Measures;
use super::{Sample, Verdict};

/// The four questions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TreeModel {
    /// A chart, drawing or text page?
    pub paper: Question,
    /// A colour photograph?
    pub colour: Question,
    /// A B-scan?
    pub layers: Question,
    /// Vessels bright with dye?
    pub dye: Question,
}

impl TreeModel {
    /// Probabilities for a measured picture.
    pub fn classify(&self, measures: &Measures) -> Verdict {
        let ask = |question: &Question| {
            let values: Vec<f64> = question
                .measures
                .iter()
                .map(|name| measures.get(name).unwrap_or(0.0))
                .collect();
            question.probability(&values)
        };
        let picture = 1.0 - ask(&self.paper);
        let colour = ask(&self.colour);
        let layers = ask(&self.layers);
        let dye = ask(&self.dye);
        let gray = picture * (1.0 - colour);
        let cfp = picture * colour;
        let oct = gray * layers;
        let ffa = gray * (1.0 - layers) * dye;
        Verdict::from_scores([cfp, ffa, oct, (1.0 - cfp - ffa - oct).max(0.0)])
    }
}

/// OTHER samples with more paper than this are charts, drawings and text; the rest are gray photographs.
const PAPER_SHARE: f64 = 0.1;

/// Learns the four questions.
///
/// A colour photograph without its colour looks like a red-free one: dark vessels
/// in a round field. So the luminance of CFP samples stands in for gray
/// photographs without dye, of which collections hold few.
pub fn fit(samples: &[Sample]) -> TreeModel {
    let is_paper = |s: &Sample| s.modality == Modality::Other && s.measures.paper > PAPER_SHARE;
    let ask = |names: &[&str], chosen: Vec<(&Measures, bool)>| {
        let rows: Vec<(Vec<f64>, bool)> = chosen
            .into_iter()
            .map(|(m, answer)| (names.iter().map(|n| m.get(n).unwrap_or(0.0)).collect(), answer))
            .collect();
        logistic::fit(names, &rows)
    };
    let pictures = || samples.iter().filter(|s| !is_paper(s));
    let cfp_luminance = || {
        samples
            .iter()
            .filter(|s| s.modality == Modality::Cfp)
            .map(|s| (&s.gray_measures, false))
    };
    TreeModel {
        paper: ask(&["paper"], samples.iter().map(|s| (&s.measures, is_paper(s))).collect()),
        colour: ask(
            &["saturation"],
            pictures().map(|s| (&s.measures, s.modality == Modality::Cfp)).collect(),
        ),
        layers: ask(
            &["layers", "columns"],
            pictures()
                .filter(|s| s.modality != Modality::Cfp)
                .map(|s| (&s.measures, s.modality == Modality::Oct))
                .chain(cfp_luminance())
                .collect(),
        ),
        dye: ask(
            &["bright_lines", "line_contrast"],
            pictures()
                .filter(|s| matches!(s.modality, Modality::Ffa | Modality::Other))
                .map(|s| (&s.measures, s.modality == Modality::Ffa))
                .chain(cfp_luminance())
                .collect(),
        ),
    }
}
