//! How well a collection is judged by what the others taught.

use std::collections::{BTreeMap, BTreeSet};

use dataset::modality::Modality;
use serde_json::{Value, json};

use super::{Sample, Verdict, fit, kmeans};
use crate::parallel::map_ordered;

/// The true modality and the verdict.
type Judged = (Modality, Verdict);

/// What one collection, left out, was judged to be.
struct LeftOut {
    name: String,
    measures: Vec<Judged>,
    kmeans: Vec<Judged>,
    looks: Vec<Judged>,
}

/// Groups that the only collection of its modality is cut into.
const GROUPS: usize = 4;

/// Judges each collection, a source's images of one modality, by what the others taught, and reports accuracy, macro-F1
/// and calibration of both methods. `other_looks` judges the same pictures on yellowed paper, cropped, marked and so on.
///
/// Nothing else would teach the modality of an only collection. It is cut into groups of like histograms, and each
/// group is judged by what the rest taught: less than another camera, more than another picture.
pub fn leave_one_collection_out(samples: &[Sample], seed: u64, jobs: usize) -> anyhow::Result<Value> {
    let collections: BTreeSet<(Modality, &str)> = samples.iter().map(|s| (s.modality, s.source.as_str())).collect();
    // What is left out together: a name and the numbers of its samples.
    let mut groups: Vec<(String, Vec<usize>)> = Vec::new();
    let mut cut = Vec::new();
    for (modality, source) in &collections {
        let members: Vec<usize> = (0..samples.len())
            .filter(|&i| samples[i].modality == *modality && samples[i].source == *source)
            .collect();
        let name = format!("{modality} {source}");
        if collections.iter().filter(|(m, _)| m == modality).count() > 1 {
            groups.push((name, members));
            continue;
        }
        let own: Vec<&Sample> = members.iter().map(|&i| &samples[i]).collect();
        let group_of = kmeans::alike(&own, GROUPS, seed);
        for group in 0..GROUPS {
            let of_group: Vec<usize> = members
                .iter()
                .zip(&group_of)
                .filter(|(_, g)| **g == group)
                .map(|(i, _)| *i)
                .collect();
            if !of_group.is_empty() && of_group.len() < members.len() {
                groups.push((format!("{name}, group {}", group + 1), of_group));
            }
        }
        cut.push(name);
    }
    let mut parts: Vec<LeftOut> = Vec::new();
    map_ordered(
        &groups,
        jobs,
        || (),
        |(), (name, members)| {
            let mut rest = samples.to_vec();
            for index in members.iter().rev() {
                rest.remove(*index);
            }
            let model = fit(&rest, seed);
            let left = || members.iter().map(|&i| &samples[i]);
            LeftOut {
                name: name.clone(),
                measures: left()
                    .map(|s| (s.modality, model.softmax.classify(&s.measures)))
                    .collect(),
                kmeans: left()
                    .map(|s| (s.modality, model.kmeans.classify(&s.histogram)))
                    .collect(),
                looks: left()
                    .flat_map(|s| &s.looks)
                    .map(|(m, look)| (*m, model.softmax.classify(look)))
                    .collect(),
            }
        },
        |_, part| -> anyhow::Result<()> {
            parts.push(part);
            Ok(())
        },
    )?;
    let mut methods = serde_json::Map::new();
    for (name, of) in [
        ("measures", (|p: &LeftOut| &p.measures) as fn(&LeftOut) -> &Vec<Judged>),
        ("kmeans", |p| &p.kmeans),
    ] {
        let all: Vec<&Judged> = parts.iter().flat_map(of).collect();
        let mut table = figures(&all);
        if name == "measures" {
            let looks: Vec<&Judged> = parts.iter().flat_map(|p| &p.looks).collect();
            table["other_looks"] = figures(&looks);
        }
        let collections: serde_json::Map<String, Value> = parts
            .iter()
            .map(|p| {
                (
                    p.name.clone(),
                    json!({"images": of(p).len(), "accuracy": accuracy(of(p).iter())}),
                )
            })
            .collect();
        table["collections"] = collections.into();
        table["only_collection_of_its_modality"] = json!(cut);
        methods.insert(name.to_owned(), table);
    }
    Ok(json!({"images": samples.len(), "leave_one_collection_out": methods}))
}

fn accuracy<'a>(judged: impl Iterator<Item = &'a Judged>) -> f64 {
    let (right, all) = judged.fold((0usize, 0usize), |(right, all), (truth, verdict)| {
        (right + usize::from(verdict.modality == *truth), all + 1)
    });
    right as f64 / all.max(1) as f64
}

/// Accuracy, also over CFP, FFA and OCT alone; macro-F1 over the modalities present; expected calibration error: the
/// mean difference of confidence and accuracy over ten bins of confidence; confusion.
fn figures(judged: &[&Judged]) -> Value {
    let mut confusion: BTreeMap<(Modality, Modality), usize> = BTreeMap::new();
    let mut bins = [(0usize, 0usize, 0.0f64); 10];
    for (truth, verdict) in judged {
        *confusion.entry((*truth, verdict.modality)).or_default() += 1;
        let bin = &mut bins[((verdict.confidence() * 10.0) as usize).min(9)];
        bin.0 += 1;
        bin.1 += usize::from(verdict.modality == *truth);
        bin.2 += verdict.confidence();
    }
    let count = |test: &dyn Fn(Modality, Modality) -> bool| -> usize {
        confusion
            .iter()
            .filter(|((a, b), _)| test(*a, *b))
            .map(|(_, n)| n)
            .sum()
    };
    let scores: Vec<f64> = Modality::ALL
        .into_iter()
        .filter(|m| count(&|a, _| a == *m) > 0)
        .map(|m| {
            let both = count(&|a, _| a == m) + count(&|_, b| b == m);
            2.0 * count(&|a, b| a == m && b == m) as f64 / both as f64
        })
        .collect();
    let three = judged.iter().filter(|(truth, _)| *truth != Modality::Other).copied();
    let miscalibration = bins
        .iter()
        .map(|(_, right, confidence)| (confidence - *right as f64).abs())
        .sum::<f64>();
    json!({
        "images": judged.len(),
        "accuracy": accuracy(judged.iter().copied()),
        "accuracy_cfp_ffa_oct": accuracy(three),
        "macro_f1": scores.iter().sum::<f64>() / scores.len().max(1) as f64,
        "calibration_error": miscalibration / judged.len().max(1) as f64,
        "confusion": confusion.iter().map(|((a, b), n)| (format!("{a}->{b}"), json!(n))).collect::<serde_json::Map<_, _>>(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn figures_follow_their_definitions() {
        let verdict = |scores| Verdict::from_scores(scores);
        let judged = [
            (Modality::Cfp, verdict([0.9, 0.1, 0.0, 0.0])),
            (Modality::Cfp, verdict([0.3, 0.7, 0.0, 0.0])),
            (Modality::Other, verdict([0.0, 0.0, 0.2, 0.8])),
        ];
        let got = figures(&judged.iter().collect::<Vec<_>>());
        let near =
            |name: &str, value: f64| assert!((got[name].as_f64().unwrap() - value).abs() < 1e-9, "{name}: {got}");
        near("accuracy", 2.0 / 3.0);
        near("accuracy_cfp_ffa_oct", 0.5);
        // CFP: precision 1, recall 1/2; OTHER: both 1; FFA and OCT are not present.
        near("macro_f1", (2.0 / 3.0 + 1.0) / 2.0);
        near("calibration_error", (0.1 + 0.7 + 0.2) / 3.0);
        assert_eq!(got["confusion"]["CFP->FFA"], 1);
    }
}
