//! What a query reads, full disks, several writers, path tricks, statistics beside pandas.

use super::{path, run, sample};
use dataset::testing::{drawn_label, drawn_pair, readers_python, shared_dir, snapshot, write_drawn_pairs};
use dataset::{Columns, Dataset, SourceUpdate};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Stdio};

/// Bytes of one big picture, and how many there are.
const BIG: usize = 300_000;
const MANY: u32 = 100;

/// What a query cost: bytes read by calls, peak memory (which counts mapped files).
fn cost(folder: &Path, sql: &str) -> (u64, u64) {
    let (code, _, stderr) = run(&["query", folder.to_str().unwrap(), sql, "--cost", "--format", "csv"]);
    assert_eq!(code, 0, "{stderr}");
    let line = stderr.lines().find_map(|line| line.strip_prefix("cost: ")).unwrap();
    let cost: Value = serde_json::from_str(line).unwrap();
    let number = |name: &str| cost[name].as_u64().unwrap();
    (number("read_bytes"), number("peak_memory_bytes"))
}

#[test]
#[cfg(target_os = "linux")]
fn image_bytes_are_read_only_when_named() {
    let folder = tempfile::tempdir().unwrap();
    let small = tempfile::tempdir().unwrap();
    for (folder, size) in [(&folder, BIG), (&small, 10)] {
        let mut labels = SourceUpdate::labels(folder.path(), "set").unwrap();
        for number in 0..MANY {
            let mut record = drawn_label("set", number);
            record.image.bytes = (0..size).map(|at| (at as u32).wrapping_mul(number + 7) as u8).collect();
            labels.push_label(record).unwrap();
        }
        labels.commit().unwrap();
        let mut pairs = SourceUpdate::pairs(folder.path(), "book").unwrap();
        for number in 0..MANY {
            let mut record = drawn_pair("book", number);
            record.image.bytes = vec![number as u8; size];
            pairs.push_pair(record).unwrap();
        }
        pairs.commit().unwrap();
    }
    let images = BIG as u64 * u64::from(MANY);
    for sql in [
        "SELECT * FROM labels",
        "SELECT dataset, COUNT(*) AS n FROM labels GROUP BY dataset",
        "SELECT * FROM pairs",
        "SELECT l.id, p.caption_en FROM labels l JOIN pairs p ON l.width = p.width",
    ] {
        let (read, memory) = cost(folder.path(), sql);
        let (_, base) = cost(small.path(), sql);
        let extra = read + memory.saturating_sub(base);
        assert!(
            extra < images / 3,
            "{sql}: {read} bytes read, memory {memory} beside {base}"
        );
    }
    // The measure sees images that are asked for.
    let sql = "SELECT id, image FROM labels";
    let (read, memory) = cost(folder.path(), sql);
    let (_, base) = cost(small.path(), sql);
    assert!(read + memory.saturating_sub(base) > images, "{read} {memory} {base}");
}

/// A limit on the size of files stands in for a full disk: writes fail half way.
#[test]
#[cfg(unix)]
fn a_disk_that_is_full_harms_nothing() {
    let folder = sample();
    let before = snapshot(folder.path());
    let binary = assert_cmd::cargo::cargo_bin("dataset");
    for (blocks, command) in [
        (8, "split --share test=0.3"),
        (120, "split --share test=0.3"),
        (8, "edit --apply"),
    ] {
        let (name, rest) = command.split_once(' ').unwrap();
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" {name} \"$1\" {rest}");
        let output = Command::new("sh")
            .args(["-c", &script])
            .arg(&binary)
            .arg(folder.path())
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{command}, {blocks} blocks: {errors}");
        assert!(errors.contains("error: "), "{errors}");
        assert!(
            snapshot(folder.path()) == before,
            "{command}, {blocks} blocks: the folder has changed"
        );
    }
    assert_eq!(run(&["split", path(&folder), "--share", "test=0.3"]).0, 0);
    assert_eq!(run(&["validate", path(&folder)]).0, 0);
}

#[test]
fn writers_at_the_same_time_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    write_drawn_pairs(folder.path(), "book", 60);
    let ids: Vec<String> = (0..6).map(|number| drawn_pair("book", number * 9).id).collect();
    let binary = assert_cmd::cargo::cargo_bin("dataset");
    let writers: Vec<_> = ids
        .iter()
        .map(|id| {
            let arguments = [
                "edit",
                path(&folder),
                id.as_str(),
                "--set",
                "panel=Z",
                "--editor",
                "ann",
            ];
            let mut command = Command::new(&binary);
            command
                .args(arguments)
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for writer in writers {
        let output = writer.wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        // Those that come too late are told so; their correction is kept all the same.
        let told = output.status.code() == Some(2) && errors.contains("Wait");
        assert!(output.status.code() == Some(0) || told, "{errors}");
    }
    assert_eq!(run(&["edit", path(&folder), "--apply"]).0, 0);
    assert_eq!(run(&["validate", path(&folder)]).0, 0);
    let found = Dataset::open(folder.path()).unwrap();
    let rows = found.pairs(Columns::WithoutImageBytes).unwrap().map(Result::unwrap);
    let mut changed: Vec<String> = rows
        .filter(|row| row.panel.as_deref() == Some("Z"))
        .map(|row| row.id)
        .collect();
    let mut expected = ids.clone();
    changed.sort();
    expected.sort();
    assert_eq!(changed, expected);
}

/// Statistics of real captions, number by number beside a computation in pandas.
#[test]
fn statistics_equal_those_of_pandas() {
    let python = match readers_python(Path::new(env!("CARGO_TARGET_TMPDIR"))) {
        Ok(python) => python,
        Err(reason) => {
            eprintln!("skipped: statistics beside pandas: {reason}");
            return;
        }
    };
    let Some(shared) = shared_dir() else { return };
    let list = shared.join("data/captions/mm_retinal_v1.csv");
    let out = tempfile::tempdir().unwrap();
    assert_eq!(
        run(&["stats", "--captions", list.to_str().unwrap(), "--out", path(&out)]).0,
        0
    );
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/bench/pandas_stats.py");
    let output = Command::new(python)
        .args([script, "compare", list.to_str().unwrap()])
        .arg(out.path().join("statistics.json"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let found: Value = serde_json::from_str(&text).unwrap();
    assert!(found["compared"].as_u64().unwrap() >= 30, "{text}");
}
