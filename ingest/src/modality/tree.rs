//! Four questions in a row: Is it print? In layers? In colour? With dye?
//!
//! Each is a [`Question`] on a few measures, so that a camera unlike the
//! ones learnt from is judged by the physics of its pictures and not by its
//! colours. The probabilities multiply:
//! OCT = !print * layers, CFP = !print * !layers * colour,
//! FFA = !print * !layers * !colour * dye, OTHER is what remains.
//! Layers come before colour, for devices show OCT scans in false colours, too.

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
        let oct = picture * layers;
        let flat = picture * (1.0 - layers);
        let cfp = flat * colour;
        let ffa = flat * (1.0 - colour) * dye;
        Verdict::from_scores([cfp, ffa, oct, (1.0 - cfp - ffa - oct).max(0.0)])
    }
}

/// OTHER samples with more paper than this are charts, drawings and text; the rest are gray photographs.
const PAPER_SHARE: f64 = 0.1;

/// Learns the four questions from the samples and from the other looks they can have.
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
    /// All looks of the chosen samples with the answer of each sample.
    fn looks<'a>(
        samples: &'a [Sample],
        chosen: impl Fn(&Sample) -> bool + 'a,
        answer: impl Fn(&Sample) -> bool + 'a,
    ) -> impl Iterator<Item = (&'a Measures, bool)> {
        samples.iter().filter(move |s| chosen(s)).flat_map(move |s| {
            let answer = answer(s);
            std::iter::once(&s.measures)
                .chain(&s.look_measures)
                .map(move |m| (m, answer))
        })
    }
    let cfp_luminance = || {
        samples
            .iter()
            .filter(|s| s.modality == Modality::Cfp)
            .map(|s| (&s.gray_measures, false))
    };
    TreeModel {
        paper: ask(&["paper", "fine"], looks(samples, |_| true, is_paper).collect()),
        colour: ask(
            &["tints"],
            looks(
                samples,
                |s| !is_paper(s) && s.modality != Modality::Oct,
                |s| s.modality == Modality::Cfp,
            )
            .collect(),
        ),
        layers: ask(
            &["layers", "columns"],
            looks(samples, |s| !is_paper(s), |s| s.modality == Modality::Oct).collect(),
        ),
        dye: ask(
            &["bright_lines", "line_contrast"],
            looks(
                samples,
                |s| !is_paper(s) && matches!(s.modality, Modality::Ffa | Modality::Other),
                |s| s.modality == Modality::Ffa,
            )
            .chain(cfp_luminance())
            .collect(),
        ),
    }
}
