use super::draw::{canvas, text};
use assert_cmd::Command;

#[test]
fn a_line_of_english_is_read_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("line.png");
    let mut image = canvas(760, 90);
    text(&mut image, 30, 30, "Figure 2-12. Drusen of the macula");
    image.save(&file).unwrap();
    let run = Command::cargo_bin("ingest")
        .unwrap()
        .arg("ocr")
        .arg(&file)
        .assert()
        .code(0);
    let answer: serde_json::Value = serde_json::from_slice(&run.get_output().stdout).unwrap();
    assert_eq!(answer["text"], "Figure 2-12. Drusen of the macula");
    assert_eq!(answer["language"], "en");
    let bbox: Vec<i64> = answer["lines"][0]["bbox"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_i64().unwrap())
        .collect();
    assert!((25..40).contains(&bbox[0]) && (25..45).contains(&bbox[1]), "{bbox:?}");
    assert!(answer["confidence"].as_f64().unwrap() > 0.8);
}

#[test]
fn a_missing_language_pack_stops_before_any_work() {
    let dir = tempfile::tempdir().unwrap();
    let run = Command::cargo_bin("ingest")
        .unwrap()
        .env("TESSDATA_PREFIX", dir.path())
        .args(["ocr", "whatever.png"])
        .assert()
        .code(2);
    let message = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    assert!(message.contains("apt-get install"), "{message}");
}

#[test]
fn without_the_ocr_program_beside_it_the_command_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let lonely = folder.path().join("ingest");
    let program = assert_cmd::cargo::cargo_bin("ingest");
    // A link where the file system allows one: no program is open for writing while others start.
    if std::fs::hard_link(&program, &lonely).is_err() {
        std::fs::copy(&program, &lonely).unwrap();
    }
    let run = Command::new(&lonely).args(["ocr", "page.png"]).output().unwrap();
    assert_eq!(run.status.code(), Some(2));
    let told = String::from_utf8(run.stderr).unwrap();
    assert!(told.contains("ingest-ocr") && told.contains("cargo build"), "{told}");
    // What reads no image works alone.
    let run = Command::new(&lonely)
        .arg("split")
        .write_stdin("{\"caption\": \"A. One. B. Two.\"}\n")
        .output()
        .unwrap();
    assert_eq!(run.status.code(), Some(0));
    assert!(String::from_utf8(run.stdout).unwrap().contains("\"labels\":[\"B\"]"));
}
