//! From drawn pages to a dataset: what was printed is found again, whatever happens on the way.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use dataset::read::{Columns, Dataset};
use dataset::record::PairRecord;
use tests::page::{BookLanguage, PageTruth, draw_book};

use super::programs;

const PAGES: usize = 5;

/// A drawn bilingual book with its truth.
fn book(folder: &Path) -> (PathBuf, Vec<PageTruth>) {
    let pages = folder.join("book");
    let truth = draw_book(&pages, &folder.join("truth"), BookLanguage::Bilingual, PAGES, 11).unwrap();
    (pages, truth)
}

fn ingest_book(pages: &Path, out: &Path, jobs: &str) -> Command {
    let mut command = Command::new(programs().join("ingest"));
    command
        .args(["book", "--source-id", "drawn", "--jobs", jobs, "--input"])
        .arg(pages)
        .arg("--out")
        .arg(out);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Every file of a dataset folder that a reader sees, by name.
fn visible_files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    walkdir::WalkDir::new(folder)
        .into_iter()
        .filter_entry(|e| e.depth() == 0 || !e.file_name().to_string_lossy().starts_with('.'))
        .map(Result::unwrap)
        .filter(|e| e.file_type().is_file())
        .map(|e| {
            (
                e.path().strip_prefix(folder).unwrap().to_string_lossy().into_owned(),
                std::fs::read(e.path()).unwrap(),
            )
        })
        .collect()
}

fn pairs(folder: &Path) -> Vec<PairRecord> {
    Dataset::open(folder)
        .unwrap()
        .pairs(Columns::WithoutImageBytes)
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

/// Shares of letters and digits of `expected` that `found` holds in order, 0 to 1.
fn similarity(expected: &str, found: &str) -> f64 {
    let clean = |s: &str| {
        s.chars()
            .filter(|c| c.is_alphanumeric())
            .flat_map(char::to_lowercase)
            .collect::<Vec<_>>()
    };
    let (a, b) = (clean(expected), clean(found));
    let mut row = vec![0usize; b.len() + 1];
    for x in &a {
        let mut diagonal = 0;
        for (j, y) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = if x == y { diagonal + 1 } else { above.max(row[j]) };
            diagonal = above;
        }
    }
    row[b.len()] as f64 / a.len().max(b.len()).max(1) as f64
}

#[test]
fn printed_pairs_are_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let (pages, truth) = book(folder.path());
    let out = folder.path().join("dataset");
    let status = ingest_book(&pages, &out, "2").status().unwrap();
    assert_eq!(status.code(), Some(0));
    let rows = pairs(&out);
    let (mut expected, mut right) = (0, 0);
    for page in &truth {
        for panel in &page.panels {
            expected += 1;
            let overlap = |row: &&PairRecord| {
                let Some(found) = row.panel_bbox else { return false };
                let [x0, y0, x1, y1] = panel.bbox.map(|v| v as i32);
                let inner = (x1.min(found.x1) - x0.max(found.x0)).max(0) * (y1.min(found.y1) - y0.max(found.y0)).max(0);
                let union = (x1 - x0) * (y1 - y0) + (found.x1 - found.x0) * (found.y1 - found.y0) - inner;
                f64::from(inner) / f64::from(union) >= 0.66
            };
            let row = rows
                .iter()
                .filter(|r| r.source_page.as_deref() == Some(&page.file))
                .find(overlap);
            let captions = |row: &PairRecord| {
                let english = format!(
                    "{} {}",
                    page.preface_en.clone().unwrap_or_default(),
                    panel.text_en.clone().unwrap_or_default()
                );
                let chinese = format!(
                    "{}{}",
                    page.preface_zh.clone().unwrap_or_default(),
                    panel.text_zh.clone().unwrap_or_default()
                );
                similarity(&english, row.caption_en.as_deref().unwrap_or_default()) >= 0.85
                    && similarity(&chinese, row.caption_zh.as_deref().unwrap_or_default()) >= 0.8
            };
            match row {
                Some(row) if captions(row) && row.modality == panel.modality && row.panel == panel.label => right += 1,
                other => eprintln!(
                    "{} {:?}: {:?}",
                    page.file,
                    panel.label,
                    other.map(|r| (&r.panel, r.modality, &r.caption_en, &r.caption_zh))
                ),
            }
        }
    }
    assert!(
        right * 10 >= expected * 9,
        "{right} of {expected} printed pairs were found"
    );
}

#[test]
fn one_job_or_two_give_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (pages, _) = book(folder.path());
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    assert!(ingest_book(&pages, &one, "1").status().unwrap().success());
    assert!(ingest_book(&pages, &two, "2").status().unwrap().success());
    assert!(visible_files(&one).keys().any(|name| name.starts_with("data/")));
    assert_eq!(visible_files(&one), visible_files(&two));
}

#[test]
fn a_killed_run_can_be_run_again() {
    let folder = tempfile::tempdir().unwrap();
    let (pages, _) = book(folder.path());
    let (calm, harmed) = (folder.path().join("calm"), folder.path().join("harmed"));
    assert!(ingest_book(&pages, &calm, "2").status().unwrap().success());
    for milliseconds in [150, 700, 1500, 2600] {
        let mut child = ingest_book(&pages, &harmed, "2").spawn().unwrap();
        std::thread::sleep(Duration::from_millis(milliseconds));
        child.kill().unwrap(); // SIGKILL; no harm if it had ended by itself
        child.wait().unwrap();
    }
    assert!(ingest_book(&pages, &harmed, "2").status().unwrap().success());
    assert_eq!(visible_files(&calm), visible_files(&harmed));
}
