//! Faults of a suite that its values show, before anything is read or run.

use std::collections::{BTreeMap, BTreeSet};

use super::config::{ClassConfig, DatasetConfig, Suite, plain_name};
use super::run::file_name;
use crate::protocol::{DEFAULT_LOGIT_SCALE, Method};
use crate::truth::AND;

impl Suite {
    /// The first fault, in words.
    pub(super) fn check(&self) -> std::result::Result<(), String> {
        unique("dataset", self.datasets.iter().map(|d| d.name.as_str()))?;
        unique("model", self.models.iter().map(|m| m.name.as_str()))?;
        one_file_each("dataset", self.datasets.iter().map(|d| d.name.as_str()))?;
        one_file_each("model", self.models.iter().map(|m| m.name.as_str()))?;
        let probe = self.probe_amount().map_err(|e| format!("linear_probe_shots: {e}"))?;
        Method::LinearProbe
            .check_shots(probe)
            .map_err(|_| "linear_probe_shots must be more than none, such as \"80%\"".to_string())?;
        if let Some(twice) = repeated(&self.shots) {
            return Err(format!("shots names {twice} twice"));
        }
        if let Some(twice) = repeated(&self.methods) {
            return Err(format!("methods names \"{}\" twice", twice.name()));
        }
        if self.methods.is_empty() {
            return Err("methods is empty; name at least one, such as \"zero-shot\"".into());
        }
        if self.folds == 0 || self.shots.contains(&0) {
            return Err("folds and shots must be at least 1".into());
        }
        for set in &self.datasets {
            set.check().map_err(|e| format!("dataset '{}': {e}", set.name))?;
        }
        for model in &self.models {
            if let Some(scale) = model.logit_scale.filter(|s| !s.exp().is_finite()) {
                return Err(format!(
                    "model '{}': logit_scale is {scale}, but its exponential must be a finite number; it is the log of the scale, {DEFAULT_LOGIT_SCALE} when left out",
                    model.name
                ));
            }
            let sources = [
                model.run.is_some(),
                model.released.is_some(),
                !model.features.is_empty(),
            ];
            if sources.iter().filter(|s| **s).count() != 1 {
                return Err(format!(
                    "model '{}': give either run (a trainer run folder), released (weights of KeepFIT or FLAIR) or features (Parquet files by data set), one of them",
                    model.name
                ));
            }
            if let Some(unknown) = model
                .features
                .keys()
                .find(|k| !self.datasets.iter().any(|d| d.name == **k))
            {
                return Err(format!(
                    "model '{}': features name '{unknown}', which is no dataset of this suite",
                    model.name
                ));
            }
        }
        Ok(())
    }
}

impl DatasetConfig {
    fn check(&self) -> std::result::Result<(), String> {
        if self.folder.is_some() && self.tree.is_some() {
            return Err("give folder (a dataset folder) or tree (a folder per class), not both".into());
        }
        if self.folder.is_some() && self.set.is_none() {
            return Err("folder needs set, the name of its label set".into());
        }
        if self.folder.is_none() && (self.set.is_some() || self.split.is_some()) {
            return Err("set and split belong to a dataset folder; give folder".into());
        }
        if self.classes.len() < 2 {
            return Err(format!("has {} classes; at least two are needed", self.classes.len()));
        }
        if !self.template.contains("{}") {
            return Err(format!("template '{}' has no {{}} for the prompt", self.template));
        }
        unique("class", self.classes.iter().map(|c| c.name.as_str()))?;
        if let Some(class) = self.classes.iter().find(|c| c.name.contains(AND)) {
            return Err(format!(
                "class '{}': a name must not hold '{AND}', which stands between the classes of one image",
                class.name
            ));
        }
        // one class may spell its name in several ways; two classes must not share one
        let spellings = |c: &ClassConfig| c.match_names().into_iter().map(plain_name).collect::<BTreeSet<_>>();
        let all: Vec<String> = self.classes.iter().flat_map(spellings).collect();
        unique("match", all.iter().map(String::as_str))?;
        match self
            .classes
            .iter()
            .find(|c| c.prompts.is_empty() || c.prompts.iter().any(|p| p.trim().is_empty()))
        {
            Some(class) => Err(format!(
                "class '{}' needs prompts, none of them empty{}",
                class.name,
                self.definitions
                    .as_ref()
                    .map_or(String::new(), |d| format!("; the definitions ({d}) say nothing of it"))
            )),
            None => Ok(()),
        }
    }
}

/// The first value that occurs a second time.
fn repeated<T: Copy + PartialEq>(values: &[T]) -> Option<T> {
    let again = |(i, value): (usize, &T)| values[..i].contains(value).then_some(*value);
    values.iter().enumerate().find_map(again)
}

/// Stops at two names whose predictions would go to the same file.
fn one_file_each<'a>(what: &str, names: impl Iterator<Item = &'a str>) -> std::result::Result<(), String> {
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for name in names {
        let file = file_name(name);
        if let Some(earlier) = seen.insert(file.to_lowercase(), name) {
            return Err(format!(
                "{what}s '{earlier}' and '{name}' would both write their predictions below {file}; rename one"
            ));
        }
    }
    Ok(())
}

fn unique<'a>(what: &str, names: impl Iterator<Item = &'a str>) -> std::result::Result<(), String> {
    let mut seen = BTreeSet::new();
    let mut none = true;
    for name in names {
        none = false;
        if name.trim().is_empty() {
            return Err(format!("a {what} has an empty name"));
        }
        if !seen.insert(plain_name(name)) {
            return Err(format!("{what} '{name}' appears twice"));
        }
    }
    if none { Err(format!("names no {what}")) } else { Ok(()) }
}
