//! The files of an assessment: two assessors' lists, definitions of findings,
//! decisions of the seniors; and what follows from them for every picture.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, bail};
use serde::Deserialize;

use super::agreement::Agreement;
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
    let rows = table(bytes, name, &["image", "patient", "findings"])?;
    let mut list = AssessorList::default();
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
    for word in parse_list(findings)? {
        let lower = word.to_lowercase();
        if matches!(lower.as_str(), "normal" | "none" | "正常") && definitions.position(&word).is_none() {
            continue;
        }
        let place = definitions.position(&word).ok_or_else(|| {
            format!("the finding `{word}` has no definition; add it to the definitions or correct it")
        })?;
        places.insert(place);
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

/// A CSV table by column names (lower case), with line numbers.
fn table(bytes: &[u8], name: &str, needed: &[&str]) -> anyhow::Result<Vec<(u64, Row)>> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(bytes);
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
    let mut out = Vec::new();
    for record in reader.records() {
        let record = record.with_context(|| format!("{name}: no CSV row"))?;
        let line = record.position().map_or(0, csv::Position::line);
        out.push((
            line,
            headers
                .iter()
                .cloned()
                .zip(record.iter().map(|c| c.trim().to_owned()))
                .collect(),
        ));
    }
    Ok(out)
}

/// Decisions of the seniors: picture and finding (or `diagnosable`) → yes or no.
pub type Decisions = BTreeMap<(String, String), bool>;

/// Reads the adjudication: CSV with the columns `image`, `finding`, `decision`. Empty decisions are open.
///
/// # Errors
/// The file cannot be read, lacks a column, or holds a decision that is neither yes nor no.
pub fn read_decisions(path: &Path) -> anyhow::Result<Decisions> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read the adjudication {}", path.display()))?;
    let name = path.display().to_string();
    let mut out = Decisions::new();
    for (line, row) in table(&bytes, &name, &["image", "finding", "decision"])? {
        let cell = |column: &str| row.get(column).map_or("", String::as_str);
        match yes_or_no(cell("decision")) {
            Ok(Some(decision)) => {
                out.insert(
                    (cell("image").replace('\\', "/"), cell("finding").to_lowercase()),
                    decision,
                );
            }
            Ok(None) => {}
            Err(reason) => bail!("{name}:{line}: `decision`: {reason}"),
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
pub fn conflict_sheet(conflicts: &[Conflict]) -> String {
    let quote = |text: &str| {
        if text.contains([',', '"', '\n']) {
            format!("\"{}\"", text.replace('"', "\"\""))
        } else {
            text.to_owned()
        }
    };
    let word = |yes: bool| if yes { "yes" } else { "no" };
    let mut out = String::from("image,finding,assessor_a,assessor_b,decision\n");
    for c in conflicts {
        out.push_str(&format!(
            "{},{},{},{},\n",
            quote(&c.image),
            quote(&c.finding),
            word(c.a),
            word(c.b)
        ));
    }
    out
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
        assert!(conflict_sheet(open).contains("2.png,ERM,no,yes,\n"));
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
