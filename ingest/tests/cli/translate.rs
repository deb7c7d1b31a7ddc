//! `ingest translate` from the command line.

use super::command::run;
use dataset::testing::{drawn_pair, drawn_pair_ledger};
use dataset::{Columns, Dataset, PairRecord, ReviewStatus, SourceUpdate};
use std::fs;
use std::path::Path;

/// Six pairs; the third and sixth are Chinese. Two carry the same words.
fn drawn_dataset(folder: &Path) {
    let mut update = SourceUpdate::pairs(folder, "atlas").unwrap();
    for number in 1..=6 {
        let mut row = drawn_pair("atlas", number);
        if number == 2 {
            row.caption_en = Some("Drusen at the macula, case 1".to_owned());
        }
        update.push_ledger(drawn_pair_ledger(&row)).unwrap();
        update.push_pair(row).unwrap();
    }
    update.commit().unwrap();
}

fn pairs(folder: &Path) -> Vec<PairRecord> {
    let rows = Dataset::open(folder).unwrap().pairs(Columns::All).unwrap();
    rows.map(Result::unwrap).collect()
}

/// A translator in awk that answers in reverse order, with noise in between.
const AWK: &str = r#"awk '{ id=$0; sub(/.*"id":"/,"",id); sub(/".*/,"",id); lines[NR]=id }
END { print "loading model"; print "{\"id\":\"zh-unknown\",\"translation\":\"x\"}";
for (k=NR;k>=1;k--) { to=substr(lines[k],1,2); t = to=="zh" ? "黄斑区玻璃膜疣" : "Drusen of the macula";
printf "{\"id\":\"%s\",\"translation\":\"%s\"}\n", lines[k], t } }'"#;

#[test]
fn a_command_translates_whatever_the_order() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    drawn_dataset(&at.join("ds"));
    let before = pairs(&at.join("ds"));
    let (code, summary, stderr) = run(at, &["translate", "run", "ds", "--command", AWK, "--editor", "awk"]);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(
        (summary["texts"].as_u64(), summary["rows"].as_u64()),
        (Some(5), Some(6)),
        "{summary}"
    );
    assert_eq!(summary["problems"]["unknown id"], 1);
    assert_eq!(summary["problems"]["no answer line"], 1);
    let after = pairs(&at.join("ds"));
    for (old, new) in before.iter().zip(&after) {
        let chinese = old.caption_zh.is_some();
        let (original, translated, origin) = if chinese {
            (
                (&old.caption_zh, &new.caption_zh),
                &new.caption_en,
                &new.caption_en_origin,
            )
        } else {
            (
                (&old.caption_en, &new.caption_en),
                &new.caption_zh,
                &new.caption_zh_origin,
            )
        };
        assert_eq!(original.0, original.1);
        assert_eq!(origin.as_deref(), Some("translation"));
        assert!(translated.is_some());
        assert_eq!(new.review_status, ReviewStatus::Auto);
    }
    // Nothing is left, nothing changes, and a new ingest keeps the translations.
    let (code, summary, _) = run(at, &["translate", "run", "ds", "--command", "exit 1"]);
    assert_eq!((code, summary["texts"].as_u64()), (0, Some(0)));
    drawn_dataset(&at.join("ds"));
    assert_eq!(pairs(&at.join("ds")), after);
    let (code, _, _) = run(at, &["translate", "check", "ds"]);
    assert_eq!(code, 0);
}

#[test]
fn a_command_that_dies_is_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    drawn_dataset(&at.join("ds"));
    let dying = r#"head -n 2 | sed 's/.*"id":"\([^"]*\)".*/{"id":"\1","translation":"黄斑疣"}/'; exit 3"#;
    let (code, summary, stderr) = run(at, &["translate", "run", "ds", "--to", "zh", "--command", dying]);
    assert_eq!(
        (code, summary["translated"].as_u64(), summary["open"].as_u64()),
        (1, Some(2), Some(1)),
        "{stderr}"
    );
    assert!(stderr.contains("exit status: 3"), "{stderr}");
    // The term is missing: the rows wait for a person, with the reason.
    assert_eq!(summary["missing_terms"]["drusen (玻璃膜疣)"], 2, "{summary}");
    let waiting: Vec<_> = pairs(&at.join("ds"))
        .into_iter()
        .filter(|r| r.review_status == ReviewStatus::NeedsReview)
        .collect();
    assert_eq!(waiting.len(), 3);
    assert!(waiting[0].review_reasons[0].contains("lacks: drusen"));
    // The second run asks for the rest alone.
    let (code, summary, _) = run(at, &["translate", "run", "ds", "--to", "zh", "--command", AWK]);
    assert_eq!(
        (code, summary["texts"].as_u64(), summary["translated"].as_u64()),
        (0, Some(1), Some(1))
    );
    // No answer at all, and silence.
    drawn_dataset(&at.join("two"));
    let (code, _, stderr) = run(at, &["translate", "run", "two", "--command", "no-such-program-here"]);
    assert!(code == 2 && stderr.contains("127"), "{stderr}");
    let (code, _, stderr) = run(
        at,
        &[
            "translate",
            "run",
            "two",
            "--timeout",
            "1",
            "--command",
            "exec sleep 30",
        ],
    );
    assert!(code == 2 && stderr.contains("silent for 1 s"), "{stderr}");
    assert!(!at.join("two/edits.jsonl").exists());
}

#[test]
fn people_translate_in_a_sheet() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    drawn_dataset(&at.join("ds"));
    let (code, summary, _) = run(at, &["translate", "sheet", "ds", "--to", "en", "--out", "todo.csv"]);
    assert_eq!((code, summary["texts"].as_u64()), (0, Some(2)));
    let sheet = fs::read_to_string(at.join("todo.csv")).unwrap();
    assert!(
        sheet.starts_with('\u{feff}') && sheet.contains("玻璃膜疣 → drusen"),
        "{sheet}"
    );
    let mut lines: Vec<String> = sheet.lines().map(str::to_owned).collect();
    lines[1] += "\"Drusen of the macula, case 3\"";
    lines[2] += "还是中文";
    fs::write(at.join("filled.csv"), lines.join("\n")).unwrap();
    let (code, summary, stderr) = run(at, &["translate", "apply", "ds", "filled.csv", "--editor", "ann"]);
    assert_eq!((code, summary["translated"].as_u64()), (1, Some(1)), "{stderr}");
    assert!(
        stderr.contains("filled.csv: line 3, column `translation`, value `还是中文`"),
        "{stderr}"
    );
    let row = pairs(&at.join("ds"))
        .into_iter()
        .find(|r| r.caption_en.as_deref() == Some("Drusen of the macula, case 3"));
    let row = row.unwrap();
    assert_eq!(row.caption_en_origin.as_deref(), Some("translation"));
    assert_eq!(row.caption_zh_origin.as_deref(), Some("ocr"));
    let log = fs::read(at.join("ds/edits.jsonl")).unwrap();
    let (_, summary, _) = run(at, &["translate", "apply", "ds", "filled.csv", "--editor", "ann"]);
    assert_eq!(summary["already_done"], 1);
    assert_eq!(log, fs::read(at.join("ds/edits.jsonl")).unwrap());
}
