//! `dataset stats`.

use super::*;

#[test]
fn statistics_are_complete_and_the_same_with_any_threads() {
    let folder = sample();
    let out = tempfile::tempdir().unwrap();
    let mut results = Vec::new();
    for threads in ["1", "2"] {
        let target = out.path().join(threads);
        let output = program()
            .args(["stats", path(&folder), "--out", target.to_str().unwrap()])
            .env("RAYON_NUM_THREADS", threads)
            .env("POLARS_MAX_THREADS", threads)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        results.push(snapshot(&target));
    }
    assert!(results[0] == results[1]);
    let files = &results[0];
    let json: serde_json::Value = serde_json::from_slice(&files["statistics.json"]).unwrap();
    assert_eq!(json["pairs"]["all"]["pairs"], 170);
    assert_eq!(json["pairs"]["CFP"]["chinese"], 58);
    assert_eq!(json["labels"][0]["categories"]["normal"], 10);
    assert_eq!(json["text"][0]["utterances"], 25);
    let page = String::from_utf8(files["index.html"].clone()).unwrap();
    for part in ["data:image/jpeg;base64,", "玻璃膜疣", "labels-set1", "<svg", "Ledger"] {
        assert!(
            page.contains(part) || files.keys().any(|name| name.contains(part)),
            "{part}"
        );
    }
    assert!(!page.contains("src=\"http") && !page.contains(path(&folder)));
}

#[test]
fn real_captions_give_the_known_numbers() {
    let Some(shared) = shared_dir() else { return };
    let list = shared.join("data/captions/mm_retinal_v1.csv");
    let out = tempfile::tempdir().unwrap();
    let (code, _, stderr) = run(&["stats", "--captions", list.to_str().unwrap(), "--out", path(&out)]);
    assert_eq!(code, 0, "{stderr}");
    let text = std::fs::read(out.path().join("statistics.json")).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&text).unwrap();
    // Computed once with pandas from the same list by the same definitions.
    let all = json["captions"].as_array().unwrap().last().unwrap();
    assert_eq!(all["captions"], 3017);
    assert_eq!(all["words"], 110_248);
    assert_eq!(all["vocabulary"], 4495);
    assert_eq!(all["lexical_diversity"], 28.0948);
    assert_eq!(all["length_words"][1]["captions"], 1459);
}
