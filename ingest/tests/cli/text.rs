//! `ingest text` from the command line.

use super::command::run;
use dataset::{Dataset, TextRecord};
use std::path::Path;

fn text(arguments: &[&str]) -> (i32, serde_json::Value, String) {
    run(Path::new("."), &[&["text"], arguments].concat())
}

fn rows(folder: &Path) -> Vec<TextRecord> {
    Dataset::open(folder)
        .unwrap()
        .text()
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

#[test]
fn corpora_of_several_formats_become_utterances_with_their_keywords() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let alpaca = file(
        "alpaca.json",
        r#"[{"instruction":"Answer.","input":"What is a macular hole?","output":"A macular hole is a small break in the macula. Take aspirin for a headache every day."},
            {"instruction":"Answer.","input":"Why does my knee hurt so much?","output":"The knee may be sprained after running."},
            {"id": 3}]"#,
    );
    let lines = file(
        "lines.txt",
        "{\"问\": \"什么是青光眼？\", \"答\": \"青光眼是以视神经损害为特征的疾病，眼压升高是主要危险因素。多喝水，注意休息，保持心情舒畅。\"}\n{\"text\": \"A macular hole is a small break in the macula!\"}\n",
    );
    let keywords = file("words.txt", "macular hole\nmacula\n青光眼\n眼压 # pressure\n");
    let out = folder.path().join("set");
    let corpora = [format!("alpaca={alpaca}"), format!("lines={lines}")];
    let arguments = [
        "--corpus",
        &corpora[0],
        "--corpus",
        &corpora[1],
        "--keywords",
        &keywords,
        "--licence",
        "lines=CC0-1.0",
        "--out",
        out.to_str().unwrap(),
    ];
    let (code, summary, stderr) = text(&arguments);
    for corpus in summary["corpora"].as_array().unwrap() {
        assert_eq!(corpus["balanced"], true, "{corpus}");
    }
    assert_eq!(code, 1, "one record has no text: {stderr}");
    let written = rows(&out);
    let texts: Vec<&str> = written.iter().map(|r| r.text.as_str()).collect();
    assert!(
        texts.contains(&"A macular hole is a small break in the macula."),
        "{texts:?}"
    );
    assert!(texts.iter().any(|t| t.starts_with("青光眼是以视神经损害")), "{texts:?}");
    assert!(
        texts
            .iter()
            .all(|t| !t.contains("knee") && !t.contains("aspirin") && !t.contains("喝水")),
        "{texts:?}"
    );
    let hole = written.iter().find(|r| r.text.starts_with("A macular")).unwrap();
    assert_eq!(
        (hole.keywords.as_slice(), hole.source_id.as_str()),
        (["macula".to_owned(), "macular hole".to_owned()].as_slice(), "alpaca")
    );
    let chinese = written.iter().find(|r| r.language == "zh").unwrap();
    assert_eq!(chinese.licence.as_deref(), Some("CC0-1.0"));
    for corpus in summary["corpora"].as_array().unwrap() {
        let sum = |name: &str| {
            corpus[name]
                .as_object()
                .unwrap()
                .values()
                .map(|v| v.as_u64().unwrap())
                .sum::<u64>()
        };
        let total = corpus["kept"].as_u64().unwrap() + sum("rejected") + sum("duplicates");
        assert_eq!(corpus["utterances"].as_u64().unwrap(), total, "{corpus}");
    }
    assert_eq!(
        summary["corpora"][1]["duplicates"].as_object().unwrap().len(),
        1,
        "{summary}"
    );
    // The same call gives the same rows, and a corpus of its own leaves the others.
    assert_eq!(text(&arguments).1, summary);
    assert_eq!(rows(&out), written);
    text(&[
        "--corpus",
        &corpora[1],
        "--keywords",
        &keywords,
        "--out",
        out.to_str().unwrap(),
    ]);
    assert!(rows(&out).iter().any(|r| r.source_id == "alpaca"));
}

#[test]
fn derived_keywords_are_written_and_an_edited_list_is_obeyed() {
    let folder = tempfile::tempdir().unwrap();
    let corpus = folder.path().join("corpus");
    std::fs::create_dir(&corpus).unwrap();
    let mut eye = String::new();
    let mut other = String::new();
    for k in 0..30 {
        eye += &format!("Case {k} shows staphyloma of the retina in this report number {k}.\n\n");
        other += &format!("{{\"text\": \"Patient number {k} was treated for pneumonia of the lung in ward {k}.\"}}\n");
    }
    std::fs::write(corpus.join("eye.txt"), &eye).unwrap();
    std::fs::write(corpus.join("other.jsonl"), &other).unwrap();
    let out = folder.path().join("set");
    let spec = format!("mixed={}", corpus.display());
    let arguments = ["--corpus", &spec, "--keywords", "auto", "--out", out.to_str().unwrap()];
    let (code, summary, stderr) = text(&arguments);
    assert_eq!(code, 0, "{stderr}");
    let list = out.join("keywords.txt");
    let keywords = std::fs::read_to_string(&list).unwrap();
    assert!(
        keywords.contains("staphyloma") && keywords.contains("retina\tcore") && !keywords.contains("pneumonia"),
        "{keywords}"
    );
    assert!(summary["rows"].as_u64().unwrap() > 0);
    assert!(rows(&out).iter().all(|r| r.text.contains("retina")));
    std::fs::write(&list, "pneumonia\n").unwrap();
    let (_, _, stderr) = text(&arguments);
    assert!(stderr.contains("edited by hand"), "{stderr}");
    assert!(rows(&out).iter().all(|r| r.keywords == ["pneumonia"]) && !rows(&out).is_empty());
}

#[test]
fn wrong_calls_stop_and_unreadable_corpora_leave_earlier_rows() {
    let folder = tempfile::tempdir().unwrap();
    let good = folder.path().join("good.txt");
    std::fs::write(&good, "The retina lines the back of the eye.\n").unwrap();
    let out = folder.path().join("set");
    let spec = format!("one={}", good.display());
    let base = ["--corpus", &spec, "--keywords", "auto", "--out", out.to_str().unwrap()];
    assert_eq!(text(&base).0, 0);
    assert_eq!(rows(&out).len(), 1);
    std::fs::write(&good, [0u8, 159, 146, 150]).unwrap();
    let (code, _, stderr) = text(&base);
    assert_eq!(code, 2);
    assert!(stderr.contains("readable record"), "{stderr}");
    assert_eq!(rows(&out).len(), 1);
    assert_eq!(text(&[&base[..], &["--from-dataset"]].concat()).0, 2);
    assert_eq!(text(&[&base[..], &["--domain", "two"]].concat()).0, 2);
    assert_eq!(
        text(&[
            "--corpus",
            "x=/nonexistent",
            "--keywords",
            "auto",
            "--out",
            out.to_str().unwrap()
        ])
        .0,
        2
    );
    assert_eq!(
        text(&[
            "--corpus",
            "nonsense",
            "--keywords",
            "auto",
            "--out",
            out.to_str().unwrap()
        ])
        .0,
        2
    );
}
