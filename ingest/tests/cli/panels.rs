use super::draw::{page_with_figure, two_fields};
use assert_cmd::Command;

#[test]
fn panels_and_captions_of_a_drawn_page() {
    let dir = tempfile::tempdir().unwrap();
    let page = dir.path().join("page.png");
    page_with_figure(&two_fields()).save(&page).unwrap();
    let missing = dir.path().join("missing.png");
    let run = Command::cargo_bin("ingest")
        .unwrap()
        .arg("panels")
        .args([&missing, &page])
        .assert()
        .code(1);
    let output = run.get_output();
    assert!(String::from_utf8_lossy(&output.stderr).contains("missing.png"));
    let lines: Vec<serde_json::Value> = output
        .stdout
        .split(|b| *b == b'\n')
        .filter(|l| !l.is_empty())
        .map(|l| serde_json::from_slice(l).unwrap())
        .collect();
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["path"], page.display().to_string());
    assert_eq!(lines[0]["panels"].as_array().unwrap().len(), 2);
    assert_eq!(lines[0]["panels"][0]["label"], "A");
    assert_eq!(lines[0]["panels"][1]["label"], "B");
    assert_eq!(lines[0]["captions"][0]["figure_no"], "2-12");
}
