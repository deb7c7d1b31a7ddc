//! `ingest split` from the command line.

use assert_cmd::Command;

fn split(stdin: &str) -> (i32, Vec<serde_json::Value>) {
    let output = Command::cargo_bin("ingest")
        .unwrap()
        .arg("split")
        .write_stdin(stdin)
        .output()
        .unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    (
        output.status.code().unwrap(),
        lines.lines().map(|l| serde_json::from_str(l).unwrap()).collect(),
    )
}

#[test]
fn captions_come_back_in_order_with_their_panels() {
    let (code, lines) = split(
        "{\"id\": \"b\", \"caption\": \"图2-3　黄斑裂孔。A．彩照；B、C．造影\"}\n\n{\"id\": 7, \"caption\": \"Fig. 4 Drusen\", \"panels\": 1}\n",
    );
    assert_eq!(code, 0);
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["id"], "b");
    assert_eq!(lines[0]["figure_no"], "2-3");
    assert_eq!(lines[0]["panels"][1]["labels"], serde_json::json!(["B", "C"]));
    assert_eq!(lines[0]["panels"][1]["caption"], "黄斑裂孔。造影");
    assert_eq!(lines[1]["id"], 7);
    assert_eq!(lines[1]["panels"][0]["labels"], serde_json::json!([]));
    assert_eq!(lines[1]["panels"][0]["text"], "Drusen");
}

#[test]
fn a_bad_line_is_answered_and_harms_no_other() {
    let (code, lines) = split("{\"id\": 1}\nnot json\n{\"id\": 2, \"caption\": \"图1 眼底\"}\n");
    assert_eq!(code, 1);
    assert_eq!(lines.len(), 3);
    assert!(lines[0]["error"].as_str().unwrap().contains("caption"));
    assert_eq!(lines[1]["line"], 2);
    assert_eq!(lines[2]["figure_no"], "1");
}

#[test]
fn every_bad_line_is_answered_with_its_value_and_the_remedy() {
    for (line, id, words) in [
        (r#"{"id": 1}"#, "1", "`caption` is missing"),
        (r#"{"id": 1, "caption": 5}"#, "1", "`caption` is 5, not a text"),
        (r#"{"id": 1, "caption": null}"#, "1", "`caption` is null, not a text"),
        (
            r#"{"id": "a", "caption": "x", "panels": -1}"#,
            "\"a\"",
            "`panels` is -1, not a whole number",
        ),
        (r#"{"id": 1, "caption": "x", "panels": 2.5}"#, "1", "`panels` is 2.5"),
        (r#"{"id": 1, "caption": "x", "panels": "2"}"#, "1", "`panels` is \"2\""),
        (
            r#"{"id": 1, "caption": "x", "panels": 4294967296}"#,
            "1",
            "`panels` is 4294967296",
        ),
        (
            r#"{"id": 1, "caption": "x", "id": 2}"#,
            "2",
            "duplicate field `id` at column",
        ),
        (
            r#"{"id": 1, "caption": "x"} y"#,
            "null",
            "trailing characters at column 27",
        ),
        (r#"{"id": 1, "caption": "\ud800"}"#, "null", "at column"),
        (r#"[1, 2]"#, "null", "[1,2] is no object"),
        ("7", "null", "7 is no object"),
    ] {
        let (code, lines) = split(&format!(
            "{{\"id\": 0, \"caption\": \"x\"}}\n{line}\n{{\"caption\": \"图1 眼底\"}}"
        ));
        assert_eq!((code, lines.len()), (1, 3), "{line}");
        let error = lines[1]["error"].as_str().unwrap();
        assert!(
            error.contains(words) && error.contains("expected {\"id\""),
            "{line}: {error}"
        );
        assert_eq!(
            (lines[1]["id"].to_string().as_str(), &lines[1]["line"]),
            (id, &2.into()),
            "{line}"
        );
        assert_eq!(
            (&lines[2]["id"], &lines[2]["figure_no"]),
            (&serde_json::Value::Null, &"1".into())
        );
    }
}

#[test]
fn any_text_comes_back_as_json() {
    let texts = [
        "a \"quoted\" \\ back\\slash",
        "tab\tline\nend\u{0}\u{1f}\u{7f}",
        "\u{feff}\u{200b}e\u{301}𠮷🄰\u{10ffff}",
        "",
    ];
    let input: String = texts
        .iter()
        .map(|t| {
            serde_json::json!({"id": {"of": [t]}, "caption": format!("Fig. 1 (A) {t} (B) {t}")}).to_string() + "\n"
        })
        .collect();
    let (code, lines) = split(&format!("\u{feff}{input}"));
    assert_eq!((code, lines.len()), (0, texts.len()));
    for (line, text) in lines.iter().zip(texts) {
        assert_eq!(line["id"]["of"][0], text);
        assert_eq!(
            line["panels"].as_array().unwrap().len(),
            if text.is_empty() { 1 } else { 2 },
            "{line}"
        );
    }
    assert_eq!(lines[0]["panels"][0]["text"], texts[0]);
}

#[test]
fn the_development_captions_keep_their_scores() {
    let Some(shared) = dataset::testing::shared_dir() else {
        println!("skipped: no shared material");
        return;
    };
    let text = std::fs::read_to_string(shared.join("bench/captions/dev.jsonl")).unwrap();
    let rows: Vec<serde_json::Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let input: String = rows
        .iter()
        .map(|r| serde_json::json!({"id": r["id"], "caption": r["caption"]}).to_string() + "\n")
        .collect();
    let (code, answers) = split(&input);
    assert_eq!(code, 0);
    let labels = |v: &serde_json::Value| {
        let mut all: Vec<String> = v["panels"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|p| {
                p["labels"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|l| l.as_str().unwrap().to_owned())
            })
            .collect();
        all.sort();
        all
    };
    let (mut clean, mut clean_right, mut noised, mut noised_right) = (0, 0, 0, 0);
    for (row, answer) in rows.iter().zip(&answers) {
        let style = row["style"].as_str().unwrap();
        // Positions and circled digits come back as printed, the truth has them in one form.
        if row["kind"] == "real" || style.contains("pos") || style.contains("circled") {
            continue;
        }
        let right = usize::from(labels(&row["expected"]) == labels(answer));
        if row["noised"] == true {
            noised += 1;
            noised_right += right;
        } else {
            clean += 1;
            clean_right += right;
        }
    }
    assert!(clean_right * 100 >= clean * 97, "{clean_right} of {clean}");
    assert!(noised_right * 100 >= noised * 90, "{noised_right} of {noised}");
}

#[test]
fn any_number_of_threads_gives_the_same_bytes_in_order() {
    // More than the threads take at once, with lines in between that cannot be read.
    let mut input = String::new();
    for k in 0..4000 {
        let line = match k % 500 {
            250 => "no json\n".to_owned(),
            _ => format!(
                "{{\"id\": {k}, \"caption\": \"图{k} 眼底。A．彩照；B．造影 {}\"}}\n",
                "x".repeat(k % 97)
            ),
        };
        input.push_str(&line);
    }
    let run = |jobs: &str| {
        let output = assert_cmd::Command::cargo_bin("ingest")
            .unwrap()
            .args(["split", "--jobs", jobs])
            .write_stdin(input.as_str())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        output.stdout
    };
    let one = run("1");
    assert_eq!(run("3"), one);
    let lines: Vec<serde_json::Value> = one
        .split(|&b| b == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 4000);
    for (k, line) in lines.iter().enumerate() {
        match k % 500 {
            250 => assert_eq!(line["line"], k + 1),
            _ => assert_eq!(line["id"], k),
        }
    }
}

#[test]
fn an_answer_comes_before_the_next_caption_is_written() {
    use std::io::{BufRead, BufReader, Write};
    let mut program = std::process::Command::new(assert_cmd::cargo::cargo_bin("ingest"))
        .arg("split")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = program.stdin.take().unwrap();
    let mut output = BufReader::new(program.stdout.take().unwrap());
    for k in 0..3 {
        writeln!(
            input,
            "{{\"id\": {k}, \"caption\": \"Figure 2. (a) Photograph. (b) Angiogram.\"}}"
        )
        .unwrap();
        let mut answer = String::new();
        output.read_line(&mut answer).unwrap();
        assert!(answer.starts_with(&format!("{{\"id\":{k},")), "{answer}");
    }
    drop(input);
    assert!(program.wait().unwrap().success());
}
