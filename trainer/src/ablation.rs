//! The rows of the paper's ablation (Table VII) and its predecessors, as changes of one configuration.
//!
//! Every row runs with the same data, sizes and number of steps; only what the row says differs.

use serde::Serialize;

/// One row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Short name, fit for a folder.
    pub name: &'static str,
    /// Row of Table VII, from 1; None for rows that the table has not.
    pub table_row: Option<u8>,
    /// Semantics-oriented knowledge.
    pub semantic: bool,
    /// Textual pretraining.
    pub textual: bool,
    /// Appearance-oriented knowledge.
    pub appearance: bool,
    /// Whether MM-Retinal pairs take part at all.
    pub pairs: bool,
    /// What it stands for.
    pub note: &'static str,
    /// Changes of the config, each for one `--set` of `trainer keepfit`.
    pub set: &'static [&'static str],
}

/// All rows: those of Table VII in its order, then the other combinations, then FLAIR and KeepFIT V1.
pub const ROWS: [Row; 8] = [
    Row {
        name: "none",
        table_row: Some(1),
        semantic: false,
        textual: false,
        appearance: false,
        pairs: false,
        note: "public label sets alone",
        set: &["mm=false", "semantic=false", "textual=false", "appearance=false"],
    },
    Row {
        name: "semantic",
        table_row: Some(2),
        semantic: true,
        textual: false,
        appearance: false,
        pairs: true,
        note: "with the contrastive loss on MM-Retinal pairs, as every row with knowledge",
        set: &["mm=true", "semantic=true", "textual=false", "appearance=false"],
    },
    Row {
        name: "semantic-textual",
        table_row: Some(3),
        semantic: true,
        textual: true,
        appearance: false,
        pairs: true,
        note: "",
        set: &["mm=true", "semantic=true", "textual=true", "appearance=false"],
    },
    Row {
        name: "full",
        table_row: Some(4),
        semantic: true,
        textual: true,
        appearance: true,
        pairs: true,
        note: "KeepFIT V2",
        set: &["mm=true", "semantic=true", "textual=true", "appearance=true"],
    },
    Row {
        name: "pairs",
        table_row: None,
        semantic: false,
        textual: false,
        appearance: false,
        pairs: true,
        note: "MM-Retinal pairs enter by their contrastive loss alone",
        set: &["mm=true", "semantic=false", "textual=false", "appearance=false"],
    },
    Row {
        name: "appearance-textual",
        table_row: None,
        semantic: false,
        textual: true,
        appearance: true,
        pairs: true,
        note: "",
        set: &["mm=true", "semantic=false", "textual=true", "appearance=true"],
    },
    Row {
        name: "flair",
        table_row: None,
        semantic: false,
        textual: false,
        appearance: false,
        pairs: false,
        note: "FLAIR: row 1 with its draw of category or definition",
        set: &[
            "mm=false",
            "semantic=false",
            "textual=false",
            "appearance=false",
            "label_style=v1",
        ],
    },
    Row {
        name: "keepfit-v1",
        table_row: None,
        semantic: true,
        textual: false,
        appearance: false,
        pairs: true,
        note: "KeepFIT V1 as released: softmax over heads, cosine over 100 epochs, V1 captions",
        set: &[
            "mm=true",
            "semantic=true",
            "textual=false",
            "appearance=false",
            "mode=reference",
            "label_style=v1",
        ],
    },
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::{KeepfitConfig, load};

    #[test]
    fn every_row_makes_a_sound_config_of_its_own() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/tiny-keepfit.toml");
        let mut seen: Vec<KeepfitConfig> = Vec::new();
        for row in ROWS {
            // Over a config with another style, so that rows cannot agree by chance.
            let set: Vec<String> = std::iter::once("label_style=plain")
                .chain(row.set.iter().copied())
                .map(str::to_owned)
                .collect();
            let config: KeepfitConfig = load(&path, &set).unwrap();
            assert_eq!(
                (config.semantic, config.textual, config.appearance, config.mm),
                (row.semantic, row.textual, row.appearance, row.pairs),
                "{}",
                row.name
            );
            assert!(!seen.contains(&config), "{} repeats another row", row.name);
            seen.push(config);
        }
    }

    #[test]
    fn the_table_has_its_four_rows_in_order() {
        let rows: Vec<u8> = ROWS.iter().filter_map(|row| row.table_row).collect();
        assert_eq!(rows, [1, 2, 3, 4]);
        let documented =
            std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/ablations.md"))
                .unwrap();
        for row in ROWS {
            let set: Vec<String> = row.set.iter().map(|pair| format!("--set {pair}")).collect();
            assert!(
                documented.contains(&format!("| `{}` |", row.name)) && documented.contains(&set.join(" ")),
                "docs/ablations.md lacks row {} with `{}`",
                row.name,
                set.join(" ")
            );
        }
    }
}
