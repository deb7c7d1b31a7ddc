//! Checks the card's numbers of rows against the rows.

use super::Report;
use crate::schema::Table;
use std::collections::BTreeMap;
use std::path::Path;

const CARD: &str = "README.md";

/// A card with other numbers is a warning: it was right before the last change.
pub(super) fn check(folder: &Path, report: &mut Report) {
    let Ok(text) = std::fs::read_to_string(folder.join(CARD)) else {
        return;
    };
    let stated = rows_by_config(&text);
    for table in Table::ALL {
        let of_table = |name: &str| match table {
            Table::Labels => name.starts_with("labels/"),
            _ => name == table.name(),
        };
        let found: u64 = report
            .rows
            .iter()
            .filter(|(name, _)| of_table(name))
            .map(|(_, rows)| rows)
            .sum();
        // A card that says nothing about a table is another maker's.
        if let Some(&rows) = stated.get(table.name())
            && rows != found
        {
            let message = format!(
                "says that `{}` has {rows} rows, it has {found}; write the card again with `data-cards dataset`",
                table.name()
            );
            report.warning("card", CARD, message);
        }
    }
}

/// `num_examples` of all splits by configuration, from the block
/// `dataset_info` of the front matter.
fn rows_by_config(text: &str) -> BTreeMap<String, u64> {
    let mut stated = BTreeMap::new();
    let mut lines = text.lines();
    if lines.next() != Some("---") {
        return stated;
    }
    let mut config = None;
    let mut inside = false;
    for line in lines.take_while(|line| *line != "---") {
        if !line.starts_with([' ', '-']) {
            inside = line.trim_end() == "dataset_info:";
        }
        let line = line.trim_start_matches([' ', '-']);
        if let Some(name) = line.strip_prefix("config_name:").filter(|_| inside) {
            config = Some(name.trim().trim_matches(['"', '\'']).to_owned());
        }
        if let Some(count) = line.strip_prefix("num_examples:").filter(|_| inside)
            && let (Some(config), Ok(count)) = (&config, count.trim().parse::<u64>())
        {
            *stated.entry(config.clone()).or_default() += count;
        }
    }
    stated
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const TEXT: &str = "---\nlanguage:\n- en\nconfigs:\n- config_name: text\n  default: true\ndataset_info:\n\
        - config_name: pairs\n  features:\n  - name: id\n    dtype: string\n  splits:\n  - name: train\n    \
        num_bytes: 9\n    num_examples: 10\n  - name: test\n    num_examples: 4\n- config_name: \"labels\"\n  \
        splits:\n  - name: train\n    num_examples: 3\nlicense: other\n---\nnum_examples: 7\n";

    #[test]
    fn numbers_of_the_card_are_compared() {
        let stated = rows_by_config(TEXT);
        assert_eq!(
            stated,
            BTreeMap::from([("pairs".to_owned(), 14), ("labels".to_owned(), 3)])
        );
        assert!(rows_by_config("# A card without front matter\nnum_examples: 7").is_empty());
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(CARD), TEXT).unwrap();
        let rows = [("pairs", 14), ("labels/a", 2), ("labels/b", 2)];
        let mut report = Report {
            rows: rows.map(|(name, count)| (name.to_owned(), count)).into(),
            ..Report::default()
        };
        check(folder.path(), &mut report);
        assert_eq!(report.warning_list.len(), 1, "{report:?}");
        assert!(report.warning_list[0].message.contains("`labels` has 3 rows, it has 4"));
    }
}
