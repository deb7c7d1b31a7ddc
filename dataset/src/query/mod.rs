//! SQL over the tables of a dataset folder, through polars.
//!
//! Image bytes are only read by queries that name the column `image`; `SELECT *`
//! gives all other columns.

mod groups;
mod like;
pub mod output;
mod tables;

use crate::error::{DatasetError, Result};
use crate::guard::quietly;
use crate::read::Dataset;
use polars::prelude::{DataFrame, DataType, Engine, PolarsError, SortMultipleOptions};
use polars::sql::SQLContext;

/// Tables that a query may name.
pub const TABLES: [&str; 5] = ["pairs", "text", "labels", "ledger", "edits"];

/// First words of statements that polars would run on its own view of the tables
/// alone: the files stay as they are, whatever it answers.
const CHANGING: [&str; 7] = ["delete", "truncate", "drop", "create", "insert", "update", "alter"];

/// Words that leave the order of the result to the engine.
const UNORDERED: [&str; 6] = ["group", "distinct", "join", "union", "intersect", "except"];

/// Runs one SQL statement.
///
/// Rows come in file order. Where grouping, joining or set operations would leave
/// the order to chance and the statement has no `ORDER BY`, they are sorted by
/// their columns from left to right, so that equal folders give equal bytes.
///
/// # Errors
/// The statement is not valid SQL or names unknown tables or columns (the
/// message lists the known ones); or a file cannot be read.
pub fn run(dataset: &Dataset, sql: &str) -> Result<DataFrame> {
    let words = words_outside_quotes(sql);
    if let Some(word) = words.first().filter(|word| CHANGING.contains(&word.as_str())) {
        return Err(DatasetError::invalid(
            "SQL",
            format!(
                "queries only read, `{}` would change nothing; use `dataset takedown` or `dataset edit`",
                word.to_uppercase()
            ),
        ));
    }
    let uses = |name: &str| words.iter().any(|word| word == name);
    let with_images = uses("image") || uses("image_path");
    let mut context = SQLContext::new();
    // Tables that the statement does not name are not even opened.
    for name in TABLES.into_iter().filter(|&name| uses(name)) {
        context.register(name, tables::table(dataset, name, with_images)?);
    }
    let mut run = |sql: &str, engine| {
        quietly(|| {
            let mut frame = context.execute(sql)?;
            if engine == Engine::Streaming {
                frame = groups::grouped_by_codes(frame);
            }
            Ok::<_, PolarsError>(frame.collect_with_engine(engine)?.unwrap_single())
        })
    };
    // Row groups go through the streaming engine one by one: less memory is
    // touched, which is most of the time of a grouping.
    let mut outcome = run(&like::as_searches(sql), Engine::Streaming);
    if !matches!(outcome, Ok(Ok(_))) {
        // What it cannot do, the other engine may; and the error is to speak of
        // the statement as it was given.
        outcome = run(sql, Engine::InMemory);
    }
    let error = |message: &str| sql_error(dataset, &words, message);
    let frame = outcome
        .map_err(|message| error(&message))?
        .map_err(|e| error(&e.to_string()))?;
    if !uses("order") && UNORDERED.into_iter().any(uses) {
        return sorted(&frame).map_err(|e| error(&e.to_string()));
    }
    Ok(frame)
}

/// Rows sorted by all columns that hold single values.
fn sorted(frame: &DataFrame) -> Result<DataFrame, PolarsError> {
    let single = |kind: &DataType| kind.is_primitive_numeric() || matches!(kind, DataType::String | DataType::Boolean);
    let columns = frame.columns().iter().filter(|column| single(column.dtype()));
    let names: Vec<_> = columns.map(|column| column.name().clone()).collect();
    if names.is_empty() || frame.height() < 2 {
        return Ok(frame.clone());
    }
    frame.sort(names, SortMultipleOptions::default().with_maintain_order(true))
}

/// The error with what would help: which tables and columns there are.
fn sql_error(dataset: &Dataset, words: &[String], message: &str) -> DatasetError {
    let mut hint = String::new();
    let named: Vec<&str> = TABLES
        .into_iter()
        .filter(|name| words.iter().any(|word| word == name))
        .collect();
    if named.is_empty() {
        hint += &format!("\nTables: {}.", TABLES.join(", "));
    }
    for name in named {
        let columns = tables::columns(dataset, name);
        hint += &if columns.is_empty() {
            let folder = dataset.folder().display();
            format!("\nThe files of {name} are not what a dataset folder has; `dataset validate {folder}` says why.")
        } else {
            format!("\nColumns of {name}: {}.", columns.join(", "))
        };
    }
    // polars adds the plan it was working on; the columns say more.
    let message = message.split("\n\nResolved plan").next().unwrap_or(message);
    let message = message.trim_end_matches('.');
    DatasetError::invalid("SQL", format!("{message}{hint}"))
}

/// Identifiers of a statement in lower case, without string literals and
/// comments; quoted identifiers count.
fn words_outside_quotes(sql: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut literal = false;
    let mut comment = false;
    let mut previous = ' ';
    for c in sql.chars().chain([' ']) {
        if comment {
            comment = c != '\n';
        } else if c == '\'' {
            literal = !literal;
        } else if literal {
        } else if c.is_alphanumeric() || c == '_' {
            word.extend(c.to_lowercase());
            previous = c;
            continue;
        } else if c == '-' && previous == '-' {
            comment = true;
        }
        if !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        previous = c;
    }
    words
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{drawn_label, drawn_pair, drawn_pair_ledger};
    use crate::write::SourceUpdate;
    use std::path::Path;

    fn folder_with_pairs() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let mut update = SourceUpdate::pairs(folder.path(), "book").unwrap();
        for number in 0..30 {
            let record = drawn_pair("book", number);
            update.push_ledger(drawn_pair_ledger(&record)).unwrap();
            update.push_pair(record).unwrap();
        }
        update.commit().unwrap();
        let mut update = SourceUpdate::labels(folder.path(), "set").unwrap();
        for number in 0..4 {
            update.push_label(drawn_label("set", number)).unwrap();
        }
        update.commit().unwrap();
        folder
    }

    fn csv(folder: &Path, sql: &str) -> String {
        let frame = run(&Dataset::open(folder).unwrap(), sql).unwrap();
        String::from_utf8(output::render(&frame, output::Format::Csv, None).unwrap()).unwrap()
    }

    #[test]
    fn counts_by_modality() {
        let folder = folder_with_pairs();
        let sql = "SELECT modality, COUNT(*) AS n FROM pairs GROUP BY modality ORDER BY modality";
        assert_eq!(csv(folder.path(), sql), "modality,n\nCFP,10\nFFA,10\nOCT,10\n");
        let sql = "SELECT state, COUNT(*) AS n FROM ledger GROUP BY state";
        assert_eq!(csv(folder.path(), sql), "state,n\npaired,30\n");
        let sql = "SELECT p.panel, l.input FROM pairs p JOIN ledger l ON p.id = l.id WHERE p.figure_no = '2-3'";
        assert_eq!(csv(folder.path(), sql), "panel,input\nA,page12.png#2-3/A\n");
    }

    #[test]
    fn results_have_an_order() {
        let folder = folder_with_pairs();
        let groups = csv(
            folder.path(),
            "SELECT figure_no, modality, COUNT(*) AS n FROM pairs GROUP BY modality, figure_no",
        );
        let lines: Vec<_> = groups.lines().skip(1).collect();
        assert!(lines.len() > 5 && lines.is_sorted(), "{groups}");
        let union = csv(
            folder.path(),
            "SELECT id FROM labels UNION ALL SELECT id FROM pairs WHERE modality = 'CFP'",
        );
        assert!(
            union.lines().count() == 15 && union.lines().skip(1).is_sorted(),
            "{union}"
        );
        // File order where nothing disturbs it, and the order that is asked for.
        let rows: Vec<String> = Dataset::open(folder.path())
            .unwrap()
            .pairs(crate::read::Columns::WithoutImageBytes)
            .unwrap()
            .map(|row| row.unwrap().id)
            .collect();
        assert!(!rows.is_sorted());
        let ids = csv(folder.path(), "SELECT id FROM pairs");
        assert_eq!(ids.lines().skip(1).collect::<Vec<_>>(), rows);
        let down = csv(
            folder.path(),
            "SELECT modality FROM pairs GROUP BY modality ORDER BY modality DESC",
        );
        assert_eq!(down, "modality\nOCT\nFFA\nCFP\n");
    }

    #[test]
    fn searches_find_what_like_finds() {
        let folder = folder_with_pairs();
        let count = |condition: &str| csv(folder.path(), &format!("SELECT COUNT(*) FROM pairs WHERE {condition}"));
        // A second wildcard inside keeps polars' own way.
        for (search, like) in [
            ("id LIKE '%a%'", "id LIKE '%a%%'"),
            ("id NOT LIKE '%7'", "id NOT LIKE '%%7'"),
            ("id ILIKE 'PAIR%'", "id ILIKE 'PAIR%%'"),
            (
                "NOT id LIKE '%b%' AND modality = 'CFP'",
                "NOT id LIKE '%b%%' AND modality = 'CFP'",
            ),
            ("caption_zh LIKE '%黄%'", "caption_zh LIKE '%%黄%'"),
        ] {
            assert_ne!(like::as_searches(search), search);
            assert_eq!(like::as_searches(like), like);
            assert_eq!(count(search), count(like), "{search}");
        }
    }

    #[test]
    fn missing_tables_are_empty_with_their_columns() {
        let folder = folder_with_pairs();
        assert_eq!(
            csv(folder.path(), "SELECT id, text, keywords FROM text"),
            "id,text,keywords\n"
        );
        assert_eq!(csv(folder.path(), "SELECT COUNT(*) AS n FROM edits"), "n\n0\n");
        let empty = tempfile::tempdir().unwrap();
        let header = csv(empty.path(), "SELECT * FROM pairs");
        assert!(
            header.starts_with("id,image_path,width") && header.lines().count() == 1,
            "{header}"
        );
        assert_eq!(csv(empty.path(), "SELECT id, image FROM labels"), "id,image\n");
    }

    #[test]
    fn files_of_another_schema_are_sent_to_validate() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("data")).unwrap();
        let numbers: arrow::array::ArrayRef = std::sync::Arc::new(arrow::array::Int32Array::from(vec![1, 2]));
        let batch = arrow::array::RecordBatch::try_from_iter([("weight", numbers)]).unwrap();
        let file = std::fs::File::create(folder.path().join("data/train-00000-of-00001.parquet")).unwrap();
        let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let dataset = Dataset::open(folder.path()).unwrap();
        let error = run(&dataset, "SELECT weight FROM pairs").unwrap_err().to_string();
        assert!(
            error.contains("dataset validate") && !error.contains("Columns of"),
            "{error}"
        );
    }

    #[test]
    fn pictures_come_only_when_named() {
        let folder = folder_with_pairs();
        let star = csv(
            folder.path(),
            "SELECT * FROM pairs WHERE modality = 'image' OR figure_no = '1-1'",
        );
        assert!(star.contains("book/fig1-1-A.png") && !star.contains("image,"), "{star}");
        let named = csv(folder.path(), "SELECT id, image FROM pairs LIMIT 1");
        assert!(named.contains("iVBOR"), "a PNG in base64: {named}");
        let labels = csv(
            folder.path(),
            "SELECT image_path, categories FROM labels ORDER BY image_path LIMIT 1",
        );
        assert_eq!(labels, "image_path,categories\nset/0.png,\"[\"\"normal\"\"]\"\n");
        // Without the picture files' bytes the query still works: overwrite them.
        let data = folder.path().join("data/train-00000-of-00001.parquet");
        let length = std::fs::metadata(&data).unwrap().len();
        std::fs::write(&data, vec![7; usize::try_from(length).unwrap()]).unwrap();
        assert_eq!(csv(folder.path(), "SELECT COUNT(*) AS n FROM pairs"), "n\n30\n");
        // The copy of other shards is not used.
        std::fs::write(&data, b"changed").unwrap();
        let dataset = Dataset::open(folder.path()).unwrap();
        let error = run(&dataset, "SELECT COUNT(*) FROM pairs").unwrap_err().to_string();
        assert!(error.contains("train-00000-of-00001.parquet"), "{error}");
    }

    #[test]
    fn errors_say_what_there_is() {
        let folder = folder_with_pairs();
        let dataset = Dataset::open(folder.path()).unwrap();
        let message = |sql: &str| run(&dataset, sql).unwrap_err().to_string();
        assert!(message("SELECT caption FROM pairs").contains("caption_en"));
        assert!(message("SELECT * FROM images").contains("Tables: pairs, text"));
        assert!(message("SELEC").contains("Tables"));
        assert!(message("").contains("Tables"));
        assert!(message("DELETE FROM pairs").contains("`DELETE` would change nothing"));
        assert!(message("-- x\nDrop TABLE pairs").contains("only read"));
        let nested = message("SELECT panel_bbox['x0'] FROM pairs");
        assert!(
            nested.contains("Struct") && !nested.contains("Resolved plan"),
            "{nested}"
        );
        assert_eq!(csv(folder.path(), "SELECT COUNT(*) AS n FROM pairs"), "n\n30\n");
    }

    #[test]
    fn words_of_a_statement() {
        let words = words_outside_quotes("SELECT \"image\" FROM pairs -- text\nWHERE x='labels' AND y=1");
        assert_eq!(
            words,
            ["select", "image", "from", "pairs", "where", "x", "and", "y", "1"]
        );
    }
}
