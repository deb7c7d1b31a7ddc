//! Translation by any program that reads and writes JSON lines.
//!
//! It gets `{"id", "from", "to", "text", "terms"}` lines on stdin and answers
//! `{"id", "translation"}` (or `{"id", "error"}`) lines on stdout, in any order.
//! What it answered is kept, whatever becomes of it afterwards.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use dataset::edits::{self, Edit};
use serde::Serialize;
use serde_json::json;

use super::{Choice, Task, take, tasks};
use crate::glossary::Glossary;

/// Answers that wait at most until they are written down.
const BATCH: usize = 64;
/// Time after which answers are written down, however few.
const BATCH_TIME: Duration = Duration::from_secs(5);
/// Longest line of an answer; a program that writes more without a line end has gone astray.
const LONGEST_LINE: u64 = 1 << 20;
/// Problems that are told one by one.
const TOLD: usize = 50;

/// What to run on what.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// The dataset folder.
    pub dataset: PathBuf,
    /// Which texts.
    pub choice: Choice,
    /// The program, as a shell runs it.
    pub command: String,
    /// Longest silence before the program is given up.
    pub timeout: Duration,
    /// At most so many texts; 0 for all.
    pub limit: usize,
    /// Who translated; written into every correction.
    pub editor: String,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct RunSummary {
    /// Texts that waited for a translation.
    pub texts: usize,
    /// Texts that have one now.
    pub translated: usize,
    /// Rows that carry them.
    pub rows: usize,
    /// Texts that still wait.
    pub open: usize,
    /// Translations that lack terms of the glossary; their rows are marked for review.
    pub with_missing_terms: usize,
    /// Terms that the glossary put in.
    pub terms_applied: usize,
    /// How often each term is missing.
    pub missing_terms: BTreeMap<String, usize>,
    /// Answers that were not taken, by reason.
    pub problems: BTreeMap<String, usize>,
    /// How the program ended.
    pub command: String,
}

/// Translates what waits for it. Run again after a failure, it goes on where it stopped.
///
/// # Errors
/// The dataset cannot be read or written, or the program could not be started
/// or ended without a single answer.
pub fn run(options: &RunOptions, glossary: &Glossary) -> anyhow::Result<RunSummary> {
    let mut open = tasks(&options.dataset, &options.choice)?;
    let waiting = open.len();
    if options.limit > 0 {
        open.truncate(options.limit);
    }
    let mut summary = RunSummary {
        texts: waiting,
        open: waiting,
        command: "not needed".to_owned(),
        ..RunSummary::default()
    };
    if !open.is_empty() {
        let mut keeper = Keeper {
            options,
            glossary,
            tasks: open.iter().map(|t| (t.id.as_str(), t)).collect(),
            answered: HashMap::new(),
            pending: Vec::new(),
            written: Instant::now(),
            summary: &mut summary,
            told: 0,
        };
        let end = converse(options, &open, glossary, &mut keeper)?;
        keeper.write_down()?;
        summary.command = end;
        summary.open = waiting - summary.translated;
    }
    if summary.translated > 0 || pending_in_log(&options.dataset)? {
        dataset::ops::apply_edits(&options.dataset)?;
    }
    if summary.translated == 0 && !open.is_empty() {
        bail!(
            "the command `{}` gave no translation ({}; {}); try it by hand: \
             echo '{{\"id\":\"1\",\"from\":\"en\",\"to\":\"zh\",\"text\":\"Drusen\"}}' | {}",
            options.command,
            summary.command,
            summary
                .problems
                .iter()
                .map(|(p, n)| format!("{n} x {p}"))
                .collect::<Vec<_>>()
                .join(", "),
            options.command
        );
    }
    Ok(summary)
}

/// Translations that a stopped run wrote into the log but not into the rows.
fn pending_in_log(folder: &Path) -> anyhow::Result<bool> {
    let dataset = dataset::Dataset::open(folder)?;
    let log = dataset.edits()?;
    let mut wanted: HashMap<(&str, &str), &Edit> = HashMap::new();
    for edit in &log.edits {
        wanted.insert((&edit.id, &edit.field), edit);
    }
    for row in dataset.pairs(dataset::Columns::WithoutImageBytes)? {
        let row = row?;
        for (field, there) in [("caption_en", &row.caption_en), ("caption_zh", &row.caption_zh)] {
            if let Some(edit) = wanted.get(&(row.id.as_str(), field))
                && edit.origin.is_some()
                && there.is_none()
                && edit.value.is_some()
            {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Starts the program, writes questions and reads answers; tells how it ended.
fn converse(
    options: &RunOptions,
    open: &[Task],
    glossary: &Glossary,
    keeper: &mut Keeper<'_>,
) -> anyhow::Result<String> {
    let mut child = Command::new("sh")
        .args(["-c", &options.command])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("`sh` cannot be started")?;
    let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        bail!("the command's input and output cannot be opened");
    };
    let questions: Vec<String> = open
        .iter()
        .map(|task| {
            let question = json!({
                "id": task.id, "from": task.to.other().code(), "to": task.to.code(),
                "text": task.text, "terms": task.terms(glossary),
            });
            format!("{question}\n")
        })
        .collect();
    let progress = dataset::progress::bar(Some(open.len() as u64), "texts");
    let (sender, receiver) = sync_channel::<Result<Vec<u8>, String>>(BATCH);
    let writer = std::thread::spawn(move || {
        for question in questions {
            // A program that has had enough closes its input; its answers still count.
            if stdin.write_all(question.as_bytes()).is_err() {
                return;
            }
        }
    });
    let reader = std::thread::spawn(move || {
        let mut stdout = BufReader::new(stdout);
        loop {
            let mut line = Vec::new();
            let read = (&mut stdout).take(LONGEST_LINE).read_until(b'\n', &mut line);
            let message = match read {
                Ok(0) => return,
                Ok(_) if line.len() as u64 == LONGEST_LINE => {
                    Err("the command wrote a line of over a megabyte".to_owned())
                }
                Ok(_) => Ok(line),
                Err(error) => Err(format!("the command's output cannot be read: {error}")),
            };
            let stop = message.is_err();
            if sender.send(message).is_err() || stop {
                return;
            }
        }
    });
    let mut given_up = None;
    let mut outcome = Ok(());
    loop {
        match receiver.recv_timeout(options.timeout) {
            Ok(Ok(line)) => {
                let taken = keeper.hear(&line);
                progress.inc(u64::from(matches!(taken, Ok(true))));
                if let Err(error) = taken {
                    outcome = Err(error);
                    break;
                }
            }
            Ok(Err(reason)) => {
                given_up = Some(reason);
                break;
            }
            Err(RecvTimeoutError::Timeout) => {
                given_up = Some(format!(
                    "silent for {} s and given up; see --timeout",
                    options.timeout.as_secs()
                ));
                break;
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    drop(receiver);
    if given_up.is_some() || outcome.is_err() {
        let _ = child.kill();
    }
    let status = child.wait().context("the command's end is not known")?;
    // What the command started may still hold its pipes; the threads are left to end with them.
    if given_up.is_none() && outcome.is_ok() {
        let _ = writer.join();
        let _ = reader.join();
    }
    progress.finish();
    outcome?;
    Ok(given_up.unwrap_or_else(|| status.to_string()))
}

/// Takes answers and writes them down.
struct Keeper<'a> {
    options: &'a RunOptions,
    glossary: &'a Glossary,
    tasks: HashMap<&'a str, &'a Task>,
    answered: HashMap<String, String>,
    pending: Vec<Edit>,
    written: Instant,
    summary: &'a mut RunSummary,
    told: usize,
}

#[derive(serde::Deserialize)]
struct Answer {
    id: serde_json::Value,
    #[serde(default, alias = "text")]
    translation: Option<String>,
    #[serde(default)]
    error: Option<String>,
}

impl Keeper<'_> {
    /// Hears a line; true when it brought a translation.
    fn hear(&mut self, line: &[u8]) -> anyhow::Result<bool> {
        if line.trim_ascii().is_empty() {
            return Ok(false);
        }
        let answer: Answer = match serde_json::from_slice(line) {
            Ok(answer) => answer,
            Err(_) => {
                let shown: String = String::from_utf8_lossy(line).trim().chars().take(80).collect();
                self.problem(
                    "no answer line",
                    &format!("`{shown}` is no {{\"id\", \"translation\"}} line"),
                );
                return Ok(false);
            }
        };
        let id = match &answer.id {
            serde_json::Value::String(id) => id.clone(),
            other => other.to_string(),
        };
        let Some(&task) = self.tasks.get(id.as_str()) else {
            self.problem("unknown id", &format!("`{id}` was not asked for"));
            return Ok(false);
        };
        let text = match (&answer.translation, &answer.error) {
            (_, Some(error)) => {
                self.problem("refused by the command", &format!("{id}: {error}"));
                return Ok(false);
            }
            (Some(text), None) => text,
            (None, None) => {
                self.problem("no translation", &format!("{id}: the answer has no `translation`"));
                return Ok(false);
            }
        };
        if let Some(first) = self.answered.get(&id) {
            if first != text {
                self.problem(
                    "second answer",
                    &format!("{id}: answered twice; the first answer stays"),
                );
            }
            return Ok(false);
        }
        let taken = match take(task, text, self.glossary, &self.options.editor) {
            Ok(taken) => taken,
            Err(reason) => {
                self.problem(&reason, &format!("{id}: {reason}"));
                return Ok(false);
            }
        };
        self.answered.insert(id, text.clone());
        self.summary.translated += 1;
        self.summary.rows += taken.edits.len();
        self.summary.terms_applied += taken.applied;
        self.summary.with_missing_terms += usize::from(!taken.missing.is_empty());
        for (en, zh) in &taken.missing {
            *self.summary.missing_terms.entry(format!("{en} ({zh})")).or_default() += 1;
        }
        self.pending.extend(taken.edits);
        if self.pending.len() >= BATCH || self.written.elapsed() > BATCH_TIME {
            self.write_down()?;
        }
        Ok(true)
    }

    /// Appends what waits to the log, so that a killed run loses little.
    fn write_down(&mut self) -> anyhow::Result<()> {
        edits::append_all(&self.options.dataset, &self.pending)?;
        self.pending.clear();
        self.written = Instant::now();
        Ok(())
    }

    fn problem(&mut self, kind: &str, told: &str) {
        *self.summary.problems.entry(kind.to_owned()).or_default() += 1;
        self.told += 1;
        if self.told <= TOLD {
            eprintln!("not taken: {told}");
        }
    }
}
