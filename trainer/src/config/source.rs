//! Reading a config file strictly: unknown keys are errors with the nearest valid key.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};

use super::StageConfig;

/// Reads `path`, applies `overrides` (`key=value`) and checks the result.
///
/// # Errors
/// Unreadable file, broken TOML, unknown key, wrong type or value out of range; each names the
/// file (or the override) and the key.
pub fn load<C: StageConfig>(path: &Path, overrides: &[String]) -> Result<C> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{}: cannot read the config", path.display()))?;
    parse(&text, &path.display().to_string(), overrides)
}

/// Like [`load`], for text that came from `name`.
///
/// # Errors
/// As [`load`].
pub fn parse<C: StageConfig>(text: &str, name: &str, overrides: &[String]) -> Result<C> {
    let mut table: toml::Table = text
        .parse()
        .map_err(|error: toml::de::Error| anyhow!("{name}: not valid TOML: {}", error.to_string().trim_end()))?;
    let known = valid_keys::<C>()?;
    for key in table.keys() {
        if !known.contains(key) {
            let line = line_of(text, key).map_or(String::new(), |line| format!(", line {line}"));
            bail!(
                "{name}{line}: unknown key `{key}`; {}",
                suggestion(key, &known, C::KIND)
            );
        }
    }
    toml::from_str::<C>(text).map_err(|error| anyhow!("{name}: {}", error.to_string().trim_end()))?;
    for pair in overrides {
        let (key, value) = pair
            .split_once('=')
            .with_context(|| format!("--set {pair}: expected key=value, for example --set batch=8"))?;
        let key = key.trim();
        if !known.contains(&key.to_owned()) {
            bail!(
                "--set {pair}: unknown key `{key}`; {}",
                suggestion(key, &known, C::KIND)
            );
        }
        table.insert(key.to_owned(), override_value(value.trim()));
        table
            .clone()
            .try_into::<C>()
            .map_err(|error| anyhow!("--set {pair}: {}", error.to_string().trim_end()))?;
    }
    let config: C = table
        .try_into()
        .map_err(|error: toml::de::Error| anyhow!("{name}: {}", error.to_string().trim_end()))?;
    config.check().with_context(|| name.to_owned())?;
    Ok(config)
}

/// A TOML value, or the plain text where it is none (`--set device=cpu`).
fn override_value(value: &str) -> toml::Value {
    let parsed: Option<toml::Table> = format!("value = {value}").parse().ok();
    parsed
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| toml::Value::String(value.to_owned()))
}

fn valid_keys<C: StageConfig>() -> Result<Vec<String>> {
    let value = serde_json::to_value(C::default())?;
    Ok(value
        .as_object()
        .map(|keys| keys.keys().cloned().collect())
        .unwrap_or_default())
}

fn line_of(text: &str, key: &str) -> Option<usize> {
    text.lines()
        .position(|line| {
            line.trim_start()
                .strip_prefix(key)
                .is_some_and(|rest| rest.trim_start().starts_with('='))
        })
        .map(|line| line + 1)
}

fn suggestion(key: &str, known: &[String], kind: &str) -> String {
    match known.iter().min_by_key(|candidate| edit_distance(key, candidate)) {
        Some(nearest) if edit_distance(key, nearest) <= key.len().max(4) / 2 => {
            format!("the nearest valid key is `{nearest}`")
        }
        _ => format!("valid keys of a {kind} config are: {}", known.join(", ")),
    }
}

/// Levenshtein distance over characters.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::KeepfitConfig;
    use super::*;

    fn error(text: &str, overrides: &[&str]) -> String {
        let overrides: Vec<String> = overrides.iter().map(|o| (*o).to_owned()).collect();
        format!(
            "{:#}",
            parse::<KeepfitConfig>(text, "run.toml", &overrides).err().unwrap()
        )
    }

    #[test]
    fn unknown_keys_are_named_with_the_nearest() {
        let message = error("datasets = ['d']\nlearning_rat = 1e-4\n", &[]);
        assert!(message.contains("run.toml, line 2"), "{message}");
        assert!(
            message.contains("`learning_rat`") && message.contains("`learning_rate`"),
            "{message}"
        );
        let message = error("datasets = ['d']", &["bach=8"]);
        assert!(
            message.contains("--set bach=8") && message.contains("`batch`"),
            "{message}"
        );
    }

    #[test]
    fn wrong_types_and_ranges_are_named() {
        let message = error("datasets = ['d']\nbatch = 'many'\n", &[]);
        assert!(message.contains("run.toml") && message.contains("batch"), "{message}");
        let message = error("datasets = ['d']\nbatch = 0\n", &[]);
        assert!(message.contains("`batch` is 0"), "{message}");
        let message = error("datasets = ['d'\n", &[]);
        assert!(message.contains("run.toml: not valid TOML"), "{message}");
        let message = error("datasets = ['d']", &["batch=x"]);
        assert!(message.contains("--set batch=x"), "{message}");
        let message = error("datasets = ['d']", &["batch"]);
        assert!(message.contains("expected key=value"), "{message}");
    }

    #[test]
    fn overrides_take_toml_values_and_plain_words() {
        let overrides = [
            "batch=3",
            "device=wgpu:1",
            "vision_layers=[1, 2, 1, 1]",
            "learning_rate=1e-3",
        ];
        let config: KeepfitConfig = parse(
            "datasets = ['d']\nappearance = false",
            "x",
            &overrides.map(str::to_owned),
        )
        .unwrap();
        assert_eq!((config.batch, config.device.as_str()), (3, "wgpu:1"));
        assert_eq!((config.vision_layers, config.learning_rate), ([1, 2, 1, 1], 1e-3));
    }

    #[test]
    fn distances() {
        for (a, b, expected) in [
            ("", "abc", 3),
            ("batch", "batch", 0),
            ("bach", "batch", 1),
            ("ab", "ba", 2),
        ] {
            assert_eq!(edit_distance(a, b), expected);
        }
    }
}
