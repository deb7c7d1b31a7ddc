//! Groupings by codes against those of polars.

#![allow(clippy::unwrap_used)]
use super::*;
use arrow::array::{Float32Array, Int32Array, StringArray};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use polars::prelude::Engine;
use polars::sql::SQLContext;

/// 1,000 rows in row groups of 400: keys with and without runs, nulls and
/// numbers that are none.
fn file(properties: WriterProperties) -> (tempfile::TempDir, LazyFrame) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table.parquet");
    let text = |value: &dyn Fn(usize) -> Option<String>| -> Arc<dyn Array> {
        Arc::new((0..1000).map(value).collect::<StringArray>())
    };
    let float = |row: usize| match row % 11 {
        0 => None,
        1 => Some(f32::NAN),
        _ => Some(row as f32 / 8.0 - 20.0),
    };
    let columns: Vec<(&str, Arc<dyn Array>)> = vec![
        (
            "run",
            text(&|row| (row / 400 != 1).then(|| format!("run {}", row / 400))),
        ),
        ("mixed", text(&|row| (row % 7 > 0).then(|| format!("{}", row * 31 % 5)))),
        ("unique", text(&|row| Some(format!("id {row}")))),
        ("other", text(&|row| Some(format!("id {}", 999 - row)))),
        (
            "share",
            Arc::new(
                (0..1000)
                    .map(|row| float(row).filter(|_| row < 800))
                    .collect::<Float32Array>(),
            ),
        ),
        (
            "count",
            Arc::new(
                (0..1000)
                    .map(|row| (row % 3 > 0).then_some(row - 500))
                    .collect::<Int32Array>(),
            ),
        ),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer =
        ArrowWriter::try_new(std::fs::File::create(&path).unwrap(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let frame = crate::query::tables::scan(&[path]).unwrap();
    (folder, frame)
}

fn properties() -> parquet::file::properties::WriterPropertiesBuilder {
    WriterProperties::builder().set_max_row_group_row_count(Some(400))
}

/// The result as it is, and with groupings replaced; how many were.
fn both(table: &LazyFrame, sql: &str) -> (DataFrame, DataFrame, usize) {
    let context = || {
        let context = SQLContext::new();
        context.register("t", table.clone());
        context
    };
    let usual = context().execute(sql).unwrap();
    let usual = usual.collect_with_engine(Engine::InMemory).unwrap().unwrap_single();
    let mut frame = context().execute(sql).unwrap();
    let replaced = replace(&mut frame.logical_plan);
    let ours = frame.collect_with_engine(Engine::Streaming).unwrap().unwrap_single();
    (usual, ours, replaced)
}

#[test]
fn groups_are_those_of_polars() {
    let (_folder, table) = file(properties().build());
    for (sql, expected) in [
        ("SELECT run, COUNT(*) AS n FROM t GROUP BY run ORDER BY run", 1),
        (
            "SELECT mixed, run, COUNT(*), COUNT(share) AS some, AVG(share) AS mean FROM t GROUP BY run, mixed ORDER BY run, mixed",
            1,
        ),
        (
            "SELECT mixed AS m, AVG(count), MIN(count) AS low, MAX(count) AS high FROM t GROUP BY mixed ORDER BY m",
            1,
        ),
        (
            "SELECT run, MIN(share) AS low, MAX(share) AS high FROM t GROUP BY run ORDER BY run",
            1,
        ),
        (
            "SELECT run, COUNT(*) * 2 AS twice FROM t GROUP BY run ORDER BY twice DESC, run LIMIT 2",
            0,
        ),
        ("SELECT run FROM t GROUP BY run ORDER BY run", 1),
        (
            "SELECT SUM(n) AS all_rows FROM (SELECT mixed, COUNT(*) AS n FROM t GROUP BY mixed)",
            1,
        ),
        (
            "SELECT a.run, a.n, b.mean FROM (SELECT run, COUNT(*) AS n FROM t GROUP BY run) a JOIN (SELECT run, AVG(count) AS mean FROM t GROUP BY run) b ON a.run = b.run ORDER BY a.run",
            2,
        ),
        (
            "SELECT run, COUNT(*) AS n FROM t GROUP BY run UNION ALL SELECT mixed AS run, COUNT(*) AS n FROM t GROUP BY mixed ORDER BY run, n",
            2,
        ),
        ("SELECT unique, COUNT(*) AS n FROM t GROUP BY unique ORDER BY unique", 1),
        // Left to polars.
        (
            "SELECT run, COUNT(*) AS n FROM t WHERE count > 0 GROUP BY run ORDER BY run",
            0,
        ),
        ("SELECT run, SUM(count) AS total FROM t GROUP BY run ORDER BY run", 0),
        ("SELECT run, MIN(mixed) AS low FROM t GROUP BY run ORDER BY run", 0),
        ("SELECT count, COUNT(*) AS n FROM t GROUP BY count ORDER BY count", 0),
        (
            "SELECT UPPER(run) AS up, COUNT(*) AS n FROM t GROUP BY up ORDER BY up",
            0,
        ),
        (
            "SELECT run, COUNT(*) AS n FROM t GROUP BY run HAVING COUNT(*) > 300 ORDER BY run",
            0,
        ),
        ("SELECT AVG(share) AS mean FROM t", 0),
    ] {
        let (usual, ours, replaced) = both(&table, sql);
        assert!(usual.equals_missing(&ours), "{sql}: {usual} is not {ours}");
        assert_eq!((usual.schema(), replaced), (ours.schema(), expected), "{sql}");
    }
}

#[test]
fn other_encodings_and_many_values_are_met_as_well() {
    // Strings without codes in the file get some while they are read.
    let (_folder, table) = file(properties().set_dictionary_enabled(false).build());
    let (usual, ours, replaced) = both(
        &table,
        "SELECT mixed, COUNT(*) AS n FROM t GROUP BY mixed ORDER BY mixed",
    );
    assert!(usual.equals_missing(&ours) && replaced == 1, "{ours}");
    // Small row groups are left to polars.
    let (_folder, table) = file(properties().set_max_row_group_row_count(Some(100)).build());
    let (usual, ours, replaced) = both(
        &table,
        "SELECT mixed, COUNT(*) AS n FROM t GROUP BY mixed ORDER BY mixed",
    );
    assert!(usual.equals_missing(&ours) && replaced == 0, "{ours}");
    // Too many combinations in one row group.
    let (_folder, table) = file(properties().build());
    let (usual, ours, replaced) = both(
        &table,
        "SELECT unique, other, COUNT(*) AS n FROM t GROUP BY unique, other ORDER BY unique",
    );
    assert!(usual.equals_missing(&ours) && replaced == 0, "{ours}");
}
