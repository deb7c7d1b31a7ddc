//! `dataset query`, and the examples for analysts.

use super::*;

#[test]
fn query_writes_every_format() {
    let folder = sample();
    let sql = "SELECT modality, COUNT(*) AS n FROM pairs GROUP BY modality ORDER BY modality";
    let (code, stdout, _) = run(&["query", path(&folder), sql]);
    assert_eq!(code, 0);
    assert_eq!(
        stdout,
        "modality   n\n--------  --\nCFP       58\nFFA       56\nOCT       56\n"
    );
    for (name, start) in [
        ("a.csv", "modality,n\nCFP,58"),
        ("a.json", "{\"modality\":\"CFP\",\"n\":58}"),
        ("a.parquet", "PAR1"),
    ] {
        let out = folder.path().join(name);
        let (code, stdout, stderr) = run(&["query", path(&folder), sql, "--out", out.to_str().unwrap()]);
        assert!(code == 0 && stdout.is_empty(), "{stderr}");
        assert!(std::fs::read(&out).unwrap().starts_with(start.as_bytes()), "{name}");
    }
}

#[test]
fn the_page_for_analysts_shows_examples_that_run() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("../docs/analysts.md")).unwrap();
    for (language, file) in [("rust", "examples/analyst.rs"), ("python", "examples/analyst.py")] {
        let example = std::fs::read_to_string(root.join(file)).unwrap();
        assert!(
            page.contains(&format!("```{language}\n{example}```")),
            "copy {file} into docs/analysts.md"
        );
    }
    let folder = sample();
    analyst::look(folder.path()).unwrap();
    // Every query of the page runs.
    let mut queries = 0;
    let out = tempfile::tempdir().unwrap();
    for line in page
        .lines()
        .filter_map(|line| line.strip_prefix("dataset query DATASET "))
    {
        let (sql, rest) = line.trim_start_matches('"').split_once('"').unwrap();
        let mut arguments = vec!["query", path(&folder), sql];
        let target = rest
            .trim()
            .strip_prefix("--out ")
            .map(|name| out.path().join(name).to_string_lossy().into_owned());
        if let Some(target) = &target {
            arguments.extend(["--out", target.as_str()]);
        }
        let (code, _, stderr) = run(&arguments);
        assert_eq!(code, 0, "{sql}: {stderr}");
        queries += 1;
    }
    assert!(queries >= 5, "{queries}");
    for condition in ["ARRAY_CONTAINS(quality_flags, 'burnt-in-text')", "panel_bbox.x0 > 0"] {
        let sql = format!("SELECT id FROM pairs WHERE {condition}");
        let (code, _, stderr) = run(&["query", path(&folder), &sql]);
        assert_eq!(code, 0, "{condition}: {stderr}");
    }
}
