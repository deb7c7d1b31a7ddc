//! The files of an assessment: two assessors' lists, definitions of findings,
//! decisions of the seniors; and what follows from them for every picture.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, bail};
use serde::Deserialize;

use super::agreement::Agreement;
use crate::sheet::{render, unguard};
use crate::source::labels::list::parse_list;

/// Definitions of findings, in the order in which captions name them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definitions {
    /// The findings.
    #[serde(rename = "finding")]
    pub findings: Vec<Finding>,
    /// Words for a picture without findings.
    #[serde(default)]
    pub normal: Option<Wording>,
}

/// One finding.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// Its name in the lists.
    pub name: String,
    /// Other names in the lists.
    #[serde(default)]
    pub synonyms: Vec<String>,
    /// Its sentence in English.
    pub en: String,
    /// Its sentence in Chinese.
    #[serde(default)]
    pub zh: Option<String>,
}

/// Words in one or two languages.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wording {
    /// In English.
    pub en: String,
    /// In Chinese.
    #[serde(default)]
    pub zh: Option<String>,
}

impl Definitions {
    /// Reads a TOML file of `[[finding]]` tables and an optional `[normal]`.
    ///
    /// # Errors
    /// The file cannot be read, is no such file, or names one finding twice.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read the definitions {}", path.display()))?;
        let found: Self = toml::from_str(&text).with_context(|| {
            format!(
                "{}: no definitions; expected tables [[finding]] with name, en and optional zh, synonyms",
                path.display()
            )
        })?;
        let mut seen = BTreeSet::new();
        for name in found
            .findings
            .iter()
            .flat_map(|f| std::iter::once(&f.name).chain(&f.synonyms))
        {
            if !seen.insert(name.trim().to_lowercase()) {
                bail!("{}: the finding `{name}` is defined twice", path.display());
            }
        }
        Ok(found)
    }

    /// The place of a finding by name or synonym.
    fn position(&self, name: &str) -> Option<usize> {
        let name = name.trim().to_lowercase();
        self.findings
            .iter()
            .position(|f| f.name.to_lowercase() == name || f.synonyms.iter().any(|s| s.to_lowercase() == name))
    }

    /// Captions in English and Chinese for findings given by place; none when a text is missing.
    pub fn captions(&self, findings: &BTreeSet<usize>) -> Option<(String, Option<String>)> {
        if findings.is_empty() {
            return self.normal.as_ref().map(|n| (n.en.clone(), n.zh.clone()));
        }
        let chosen: Vec<&Finding> = findings.iter().filter_map(|&k| self.findings.get(k)).collect();
        let sentence = |text: &str, stop: char| {
            let text = text.trim();
            if text.ends_with(['.', '。']) {
                text.to_owned()
            } else {
                format!("{text}{stop}")
            }
        };
        let en = chosen
            .iter()
            .map(|f| sentence(&f.en, '.'))
            .collect::<Vec<_>>()
            .join(" ");
        let zh: Option<String> = chosen
            .iter()
            .map(|f| f.zh.as_deref().map(|t| sentence(t, '。')))
            .collect();
        Some((en, zh))
    }
}

/// One assessor's word on one picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assessment {
    /// The patient as the list names them; never written anywhere.
    pub patient: String,
    /// False when the picture cannot be judged.
    pub diagnosable: bool,
    /// Findings by place in the definitions.
    pub findings: BTreeSet<usize>,
}

/// A list: assessments by picture, and rows that could not be read.
#[derive(Debug, Default)]
pub struct AssessorList {
    /// By relative picture path.
    pub by_image: BTreeMap<String, Assessment>,
    /// Picture or line, and the reason.
    pub bad: Vec<(String, String)>,
}

/// Reads an assessor's CSV list with the columns `image`, `patient`, `findings` and optional `diagnosable`.
///
/// # Errors
/// The file cannot be read or lacks a column.
pub fn read_assessor(path: &Path, definitions: &Definitions) -> anyhow::Result<AssessorList> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read the assessments {}", path.display()))?;
    let name = path
        .file_name()
        .map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    parse_assessor(&bytes, &name, definitions)
}

fn parse_assessor(bytes: &[u8], name: &str, definitions: &Definitions) -> anyhow::Result<AssessorList> {
    let (rows, uneven) = table(bytes, name, &["image", "patient", "findings"])?;
    let mut list = AssessorList::default();
    for (line, reason) in uneven {
        list.bad.push((format!("{name}:{line}"), reason));
    }
    for (line, row) in rows {
        let cell = |column: &str| row.get(column).map_or("", String::as_str);
        let image = cell("image").replace('\\', "/");
        match assessment(cell("patient"), cell("findings"), cell("diagnosable"), definitions) {
            _ if image.is_empty() => list.bad.push((format!("{name}:{line}"), "`image` is empty".to_owned())),
            _ if list.by_image.contains_key(&image) => list.bad.push((
                format!("{name}:{line}"),
                format!("{image} is assessed twice in this list"),
            )),
            Ok(one) => {
                list.by_image.insert(image, one);
            }
            Err(reason) => list.bad.push((format!("{name}:{line}"), format!("{image}: {reason}"))),
        }
    }
    Ok(list)
}

fn assessment(
    patient: &str,
    findings: &str,
    diagnosable: &str,
    definitions: &Definitions,
) -> Result<Assessment, String> {
    if patient.is_empty() {
        return Err("`patient` is empty; patients keep splits apart".to_owned());
    }
    let diagnosable = yes_or_no(diagnosable)
        .map_err(|e| format!("`diagnosable`: {e}"))?
        .unwrap_or(true);
    let mut places = BTreeSet::new();
    let mut normal = None;
    for word in parse_list(findings)? {
        let lower = word.to_lowercase();
        if matches!(lower.as_str(), "normal" | "none" | "正常") && definitions.position(&word).is_none() {
            normal = Some(word);
            continue;
        }
        let place = definitions.position(&word).ok_or_else(|| {
            format!("the finding `{word}` has no definition; add it to the definitions or correct it")
        })?;
        places.insert(place);
    }
    if let Some(word) = normal
        && !places.is_empty()
    {
        return Err(format!("`{findings}` says `{word}` and names a finding; correct it"));
    }
    Ok(Assessment {
        patient: patient.to_owned(),
        diagnosable,
        findings: places,
    })
}

fn yes_or_no(word: &str) -> Result<Option<bool>, String> {
    match word.trim().to_lowercase().as_str() {
        "" => Ok(None),
        "yes" | "y" | "true" | "1" | "是" => Ok(Some(true)),
        "no" | "n" | "false" | "0" | "否" => Ok(Some(false)),
        other => Err(format!("`{other}` is neither yes nor no")),
    }
}

type Row = BTreeMap<String, String>;
/// Rows with their line numbers, and the lines that have fewer or more cells than the header and are not read.
type Rows = (Vec<(u64, Row)>, Vec<(u64, String)>);

/// A CSV table by column names (lower case): commas, semicolons or tabs, as spreadsheets save it.
fn table(bytes: &[u8], name: &str, needed: &[&str]) -> anyhow::Result<Rows> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
        anyhow::anyhow!("{name}:{line}: is not UTF-8; save the list as `CSV UTF-8`")
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let header = text.lines().next().unwrap_or_default();
    let separator = [b',', b';', b'\t']
        .into_iter()
        .max_by_key(|s| (header.bytes().filter(|b| b == s).count(), *s == b','))
        .unwrap_or(b',');
    let mut reader = csv::ReaderBuilder::new()
        .flexible(true)
        .delimiter(separator)
        .from_reader(text.as_bytes());
    let headers: Vec<String> = reader
        .headers()
        .with_context(|| format!("{name}: no CSV header"))?
        .iter()
        .map(|h| h.trim().to_lowercase())
        .collect();
    if let Some(missing) = needed.iter().find(|n| !headers.iter().any(|h| h == *n)) {
        bail!(
            "{name}: the column `{missing}` is missing; the header is `{}`",
            headers.join(",")
        );
    }
    let (mut rows, mut uneven) = (Vec::new(), Vec::new());
    for record in reader.records() {
        let record = record.with_context(|| format!("{name}: no CSV row"))?;
        let line = record.position().map_or(0, csv::Position::line);
        let blank = |cell: &str| cell.trim().is_empty();
        if record.iter().all(blank) {
            continue;
        }
        // Spreadsheets add empty cells at the end; a cell too few would pass for an empty one.
        if record.len() < headers.len() || record.iter().skip(headers.len()).any(|c| !blank(c)) {
            let reason = format!("the row has {} cells, the header {}", record.len(), headers.len());
            uneven.push((line, reason));
            continue;
        }
        let cells = record.iter().map(|c| unguard(c.trim()).to_owned());
        rows.push((line, headers.iter().cloned().zip(cells).collect()));
    }
    Ok((rows, uneven))
}

/// Decisions of the seniors: picture and finding (or `diagnosable`) → yes or no.
pub type Decisions = BTreeMap<(String, String), bool>;

/// Reads the adjudication: CSV with the columns `image`, `finding`, `decision`. Empty decisions are open.
///
/// # Errors
/// The file cannot be read, lacks a column, or holds a decision that is neither yes nor no, about no defined finding, or
/// against another one of the same file.
pub fn read_decisions(path: &Path, definitions: &Definitions) -> anyhow::Result<Decisions> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read the adjudication {}", path.display()))?;
    parse_decisions(&bytes, &path.display().to_string(), definitions)
}

fn parse_decisions(bytes: &[u8], name: &str, definitions: &Definitions) -> anyhow::Result<Decisions> {
    let mut out = Decisions::new();
    let (rows, uneven) = table(bytes, name, &["image", "finding", "decision"])?;
    if let Some((line, reason)) = uneven.first() {
        bail!("{name}:{line}: {reason}");
    }
    for (line, row) in rows {
        let cell = |column: &str| row.get(column).map_or("", String::as_str);
        let decision = match yes_or_no(cell("decision")) {
            Ok(Some(decision)) => decision,
            Ok(None) => continue,
            Err(reason) => bail!("{name}:{line}: `decision`: {reason}"),
        };
        let word = cell("finding");
        let finding = match definitions.position(word) {
            Some(place) => definitions.findings[place].name.to_lowercase(),
            None if word.eq_ignore_ascii_case("diagnosable") => "diagnosable".to_owned(),
            None => {
                bail!("{name}:{line}: `finding`: `{word}` has no definition; write it as in the sheet of conflicts")
            }
        };
        let image = cell("image").replace('\\', "/");
        if out
            .insert((image.clone(), finding), decision)
            .is_some_and(|other| other != decision)
        {
            bail!("{name}:{line}: {image}: `{word}` is decided both ways; keep one row");
        }
    }
    Ok(out)
}

/// A disagreement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The picture.
    pub image: String,
    /// The finding, or `diagnosable`.
    pub finding: String,
    /// The first assessor's word.
    pub a: bool,
    /// The second assessor's word.
    pub b: bool,
}

/// What follows for one picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Findings that stand.
    Settled {
        /// The patient, for hashing only.
        patient: String,
        /// Findings by place.
        findings: BTreeSet<usize>,
        /// True when a senior decided.
        adjudicated: bool,
    },
    /// The seniors have to decide first.
    Open(Vec<Conflict>),
    /// The picture is left out, with the reason.
    Dropped(String),
}

/// Verdicts by picture and agreement by finding.
pub fn compare(
    a: &AssessorList,
    b: &AssessorList,
    decisions: &Decisions,
    definitions: &Definitions,
) -> (BTreeMap<String, Verdict>, Vec<Agreement>) {
    let mut agreement: Vec<Agreement> = definitions
        .findings
        .iter()
        .map(|f| Agreement {
            finding: f.name.clone(),
            ..Agreement::default()
        })
        .collect();
    let mut verdicts = BTreeMap::new();
    let images: BTreeSet<&String> = a.by_image.keys().chain(b.by_image.keys()).collect();
    for image in images {
        let verdict = match (a.by_image.get(image), b.by_image.get(image)) {
            (Some(one), Some(two)) if one.patient != two.patient => {
                Verdict::Dropped("the two lists name different patients; correct the lists".to_owned())
            }
            (Some(one), Some(two)) => {
                if one.diagnosable && two.diagnosable {
                    for (k, table) in agreement.iter_mut().enumerate() {
                        table.count(one.findings.contains(&k), two.findings.contains(&k));
                    }
                }
                judge(image, one, two, decisions, definitions)
            }
            _ => Verdict::Dropped("only one assessor judged it".to_owned()),
        };
        verdicts.insert(image.clone(), verdict);
    }
    agreement.iter_mut().for_each(Agreement::finish);
    (verdicts, agreement)
}

fn judge(image: &str, a: &Assessment, b: &Assessment, decisions: &Decisions, definitions: &Definitions) -> Verdict {
    let decided = |finding: &str| decisions.get(&(image.to_owned(), finding.to_lowercase())).copied();
    let conflict = |finding: &str, a: bool, b: bool| Conflict {
        image: image.to_owned(),
        finding: finding.to_owned(),
        a,
        b,
    };
    let mut adjudicated = false;
    let diagnosable = if a.diagnosable == b.diagnosable {
        a.diagnosable
    } else {
        match decided("diagnosable") {
            Some(decision) => {
                adjudicated = true;
                decision
            }
            None => return Verdict::Open(vec![conflict("diagnosable", a.diagnosable, b.diagnosable)]),
        }
    };
    if !diagnosable {
        return Verdict::Dropped("not diagnosable from OCT alone".to_owned());
    }
    let mut open = Vec::new();
    let mut findings = BTreeSet::new();
    for (k, finding) in definitions.findings.iter().enumerate() {
        let (one, two) = (a.findings.contains(&k), b.findings.contains(&k));
        let stands = if one == two {
            one
        } else if let Some(decision) = decided(&finding.name) {
            adjudicated = true;
            decision
        } else {
            open.push(conflict(&finding.name, one, two));
            false
        };
        if stands {
            findings.insert(k);
        }
    }
    if open.is_empty() {
        Verdict::Settled {
            patient: a.patient.clone(),
            findings,
            adjudicated,
        }
    } else {
        Verdict::Open(open)
    }
}

/// The conflicts as a sheet that the seniors fill in and give back with `--adjudication`.
pub fn conflict_sheet(conflicts: &[Conflict]) -> Vec<u8> {
    let word = |yes: bool| Cow::Borrowed(if yes { "yes" } else { "no" });
    render(
        &["image", "finding", "assessor_a", "assessor_b", "decision"],
        conflicts.iter().map(|c| {
            vec![
                Cow::Borrowed(c.image.as_str()),
                Cow::Borrowed(c.finding.as_str()),
                word(c.a),
                word(c.b),
                Cow::Borrowed(""),
            ]
        }),
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn definitions() -> Definitions {
        toml::from_str(
            "[normal]\nen = \"Normal retinal layers\"\n[[finding]]\nname = \"SRF\"\nsynonyms = [\"subretinal fluid\"]\n\
             en = \"Subretinal fluid\"\nzh = \"视网膜下液\"\n[[finding]]\nname = \"ERM\"\nen = \"Epiretinal membrane.\"\nzh = \"视网膜前膜\"\n",
        )
        .unwrap()
    }

    fn list(text: &str) -> AssessorList {
        parse_assessor(text.as_bytes(), "a.csv", &definitions()).unwrap()
    }

    #[test]
    fn assessors_agree_disagree_and_are_overruled() {
        let a = list(
            "image,patient,findings,diagnosable\n1.png,P1,\"['SRF','ERM']\",yes\n2.png,P2,subretinal fluid,\n3.png,P3,normal,no\n4.png,P4,,\n5.png,P5,CME,\n",
        );
        let b = list("image,patient,findings\n1.png,P1,ERM;SRF\n2.png,P2,ERM\n4.png,P9,\n3.png,P3,\n");
        assert_eq!(a.bad.len(), 1, "{:?}", a.bad);
        assert!(a.bad[0].1.contains("CME"));
        let decisions = Decisions::from([(("2.png".to_owned(), "srf".to_owned()), true)]);
        let (verdicts, agreement) = compare(&a, &b, &decisions, &definitions());
        assert_eq!(
            verdicts["1.png"],
            Verdict::Settled {
                patient: "P1".to_owned(),
                findings: BTreeSet::from([0, 1]),
                adjudicated: false
            }
        );
        let Verdict::Open(open) = &verdicts["2.png"] else {
            panic!("{verdicts:?}")
        };
        assert_eq!(
            (open.len(), open[0].finding.as_str(), open[0].a, open[0].b),
            (1, "ERM", false, true)
        );
        assert!(matches!(&verdicts["3.png"], Verdict::Open(c) if c[0].finding == "diagnosable"));
        assert!(matches!(&verdicts["4.png"], Verdict::Dropped(r) if r.contains("patients")));
        assert_eq!((agreement[0].both, agreement[0].only_a), (1, 1));
        let sheet = String::from_utf8(conflict_sheet(open)).unwrap();
        assert!(
            sheet.starts_with('\u{feff}') && sheet.contains("2.png,ERM,no,yes,\r\n"),
            "{sheet}"
        );
        let filled = sheet.replace("no,yes,", "no,yes,no");
        let decided = parse_decisions(filled.as_bytes(), "f.csv", &definitions()).unwrap();
        assert_eq!(
            decided,
            Decisions::from([(("2.png".to_owned(), "erm".to_owned()), false)])
        );
    }

    #[test]
    fn lists_of_spreadsheets_are_read_and_doubtful_rows_told() {
        let found =
            list("\u{feff}Image;Patient;Findings\r\n1.png;P1;\"SRF;ERM\"\r\n;;\r\n2.png;P1\r\n3.png;P1;normal|SRF\r\n");
        assert_eq!(found.by_image["1.png"].findings.len(), 2);
        assert_eq!(found.by_image.len(), 1);
        let told: Vec<&str> = found.bad.iter().map(|b| b.1.as_str()).collect();
        assert!(told[0].contains("2 cells, the header 3"), "{told:?}");
        assert!(told[1].contains("says `normal`"), "{told:?}");
        for (text, word) in [
            ("image,finding,decision\n1.png,SFR,yes\n", "f.csv:2: `finding`: `SFR`"),
            (
                "image,finding,decision\n1.png,SRF,yes\n1.png,subretinal fluid,no\n",
                "f.csv:3: 1.png",
            ),
            ("image,finding,decision\n1.png,SRF,maybe\n", "neither yes nor no"),
            ("image,finding,decision\n1.png\n", "1 cells"),
        ] {
            let error = parse_decisions(text.as_bytes(), "f.csv", &definitions())
                .unwrap_err()
                .to_string();
            assert!(error.contains(word), "{error}");
        }
        let error = parse_assessor(b"image,patient,findings\n\xb2\xe2,1,\n", "a.csv", &definitions()).unwrap_err();
        assert!(error.to_string().contains("a.csv:2: is not UTF-8"), "{error}");
    }

    #[test]
    fn captions_name_findings_in_their_order() {
        let definitions = definitions();
        assert_eq!(
            definitions.captions(&BTreeSet::from([1, 0])),
            Some((
                "Subretinal fluid. Epiretinal membrane.".to_owned(),
                Some("视网膜下液。视网膜前膜。".to_owned())
            ))
        );
        assert_eq!(
            definitions.captions(&BTreeSet::new()),
            Some(("Normal retinal layers".to_owned(), None))
        );
        assert!(
            parse_assessor(b"image,findings\n", "x.csv", &definitions)
                .unwrap_err()
                .to_string()
                .contains("patient")
        );
    }
}
