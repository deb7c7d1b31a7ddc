//! Replaces everything of one source in a dataset folder, in one crash-safe
//! step, and leaves everything else as it is.
//!
//! Rows go to a spool file as they come; only their sort keys stay in memory.
//! `commit` merges them with the rows of other sources, writes new shards and
//! ledger beside the old ones and swaps them in through the journal.

use crate::edits::{self, EDITS_FILE, Edits};
use crate::error::{DatasetError, Result};
use crate::journal::{Plan, Workspace};
use crate::ledger::{self, LEDGER_FILE, LedgerEntry, LedgerLine, LedgerTotals};
use crate::read::{Columns, Rows, file_stem, table_files};
use crate::record::{LabelRecord, PairRecord, TextRecord};
use crate::rows::{Row, metadata_batch};
use crate::schema::{Table, metadata_schema};
use crate::shard::{FileWriter, SHARD_BYTES, Shard, ShardWriter, shard_name};
use crate::spool::{Slot, Spool, SpoolReader};
use serde::Serialize;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// The copy of `data/` without image bytes, for analysts.
pub const METADATA_FILE: &str = "pairs-metadata.parquet";

/// What a commit did.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct CommitSummary {
    /// Rows of this source now in the folder.
    pub rows: u64,
    /// Ledger counts of this source in this table: kind, then state.
    pub ledger: LedgerTotals,
    /// Edits that found their row, over the whole table.
    pub edits_applied: u64,
    /// Edits that were not applied, each with the reason; they stay in the file.
    pub edits_unmatched: Vec<String>,
    /// Files of the table now in the folder, relative to it.
    pub files: Vec<String>,
}

/// An update of one source. Dropped without [`SourceUpdate::commit`], the
/// folder is as it was before.
///
/// The folder is locked for other writers from construction on, so two updates
/// of one folder must follow each other.
pub struct SourceUpdate {
    table: AnyTable,
}

enum AnyTable {
    Pairs(TableUpdate<PairRecord>),
    Text(TableUpdate<TextRecord>),
    Labels(TableUpdate<LabelRecord>),
}

impl SourceUpdate {
    /// Starts replacing the pairs of `source_id`.
    ///
    /// # Errors
    /// The folder cannot be made, another process writes to it, or the name is
    /// empty.
    pub fn pairs(folder: &Path, source_id: &str) -> Result<Self> {
        let table = AnyTable::Pairs(TableUpdate::open(folder, source_id)?);
        Ok(Self { table })
    }

    /// Starts replacing the utterances of the corpus `source_id`.
    ///
    /// # Errors
    /// As [`SourceUpdate::pairs`].
    pub fn text(folder: &Path, source_id: &str) -> Result<Self> {
        let table = AnyTable::Text(TableUpdate::open(folder, source_id)?);
        Ok(Self { table })
    }

    /// Starts replacing the labelled set `dataset_name`, which also names its
    /// file: letters, digits, `.`, `_` and `-` only.
    ///
    /// # Errors
    /// As [`SourceUpdate::pairs`]; or the name cannot be a file name.
    pub fn labels(folder: &Path, dataset_name: &str) -> Result<Self> {
        check_set_name(dataset_name)?;
        let table = AnyTable::Labels(TableUpdate::open(folder, dataset_name)?);
        Ok(Self { table })
    }

    /// Adds a pair. Edits that match it are applied at once. Of two rows with
    /// one id the first in file order stays; its twin's ledger line becomes
    /// `duplicate` on commit.
    ///
    /// # Errors
    /// The row breaks a rule of the format, belongs to another source, or
    /// cannot be spooled; or this is no update of pairs.
    pub fn push_pair(&mut self, record: PairRecord) -> Result<()> {
        match &mut self.table {
            AnyTable::Pairs(table) => table.push(record),
            _ => Err(wrong_table("a pair")),
        }
    }

    /// Adds an utterance.
    ///
    /// # Errors
    /// As [`SourceUpdate::push_pair`].
    pub fn push_text(&mut self, record: TextRecord) -> Result<()> {
        match &mut self.table {
            AnyTable::Text(table) => table.push(record),
            _ => Err(wrong_table("an utterance")),
        }
    }

    /// Adds a labelled image.
    ///
    /// # Errors
    /// As [`SourceUpdate::push_pair`].
    pub fn push_label(&mut self, record: LabelRecord) -> Result<()> {
        match &mut self.table {
            AnyTable::Labels(table) => table.push(record),
            _ => Err(wrong_table("a labelled image")),
        }
    }

    /// Adds a ledger line of this source.
    ///
    /// # Errors
    /// The line belongs to another source or cannot be spooled.
    pub fn push_ledger(&mut self, entry: LedgerEntry) -> Result<()> {
        match &mut self.table {
            AnyTable::Pairs(table) => table.push_ledger(entry),
            AnyTable::Text(table) => table.push_ledger(entry),
            AnyTable::Labels(table) => table.push_ledger(entry),
        }
    }

    /// Writes everything and swaps it in.
    ///
    /// # Errors
    /// A file of the folder cannot be read or written; the folder is then as it
    /// was before.
    pub fn commit(self) -> Result<CommitSummary> {
        match self.table {
            AnyTable::Pairs(table) => table.commit(SHARD_BYTES),
            AnyTable::Text(table) => table.commit(SHARD_BYTES),
            AnyTable::Labels(table) => table.commit(SHARD_BYTES),
        }
    }
}

fn wrong_table(what: &str) -> DatasetError {
    DatasetError::invalid("update", format!("{what} was given to an update of another table"))
}

/// A set's name is part of its file's name.
fn check_set_name(name: &str) -> Result<()> {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !name.is_empty() && !name.starts_with('.') && name.chars().all(plain) {
        return Ok(());
    }
    Err(DatasetError::invalid(
        format!("labelled set `{name}`"),
        "the name becomes a file name; use letters, digits, `.`, `_` and `-`",
    ))
}

/// A row in the spool.
struct Spooled {
    key: Vec<u8>,
    slot: Slot,
}

/// An update of one table.
pub(crate) struct TableUpdate<R: Row> {
    source: String,
    // Fields drop in this order: the spools close before the workspace removes
    // them.
    spool: Spool,
    ledger_spool: Spool,
    workspace: Workspace,
    rows: HashMap<Box<str>, Spooled>,
    ledger: Vec<(Vec<u8>, Slot)>,
    edits: Edits,
    used_edits: BTreeSet<usize>,
    record: std::marker::PhantomData<R>,
}

impl<R: Row + Editable> TableUpdate<R> {
    pub fn open(folder: &Path, source: &str) -> Result<Self> {
        if source.trim().is_empty() {
            return Err(DatasetError::invalid("source", "its name is empty; give it one"));
        }
        let workspace = Workspace::open(folder)?;
        let edits = if R::EDITABLE {
            edits::read(folder)?
        } else {
            Edits::default()
        };
        Ok(Self {
            source: source.to_owned(),
            spool: Spool::create(workspace.staging().join("rows.spool"))?,
            ledger_spool: Spool::create(workspace.staging().join("ledger.spool"))?,
            workspace,
            rows: HashMap::new(),
            ledger: Vec::new(),
            edits,
            used_edits: BTreeSet::new(),
            record: std::marker::PhantomData,
        })
    }

    pub fn push(&mut self, mut row: R) -> Result<()> {
        if row.source() != self.source {
            return Err(DatasetError::invalid(
                format!("row {}", row.id()),
                format!(
                    "belongs to source `{}`, this update is of `{}`",
                    row.source(),
                    self.source
                ),
            ));
        }
        row.check()
            .map_err(|message| DatasetError::invalid(format!("source {}", self.source), message))?;
        self.used_edits.extend(row.apply_edits(&self.edits));
        self.spool_row(&row)
    }

    /// Keeps the row unless one of its id that sorts earlier is there.
    fn spool_row(&mut self, row: &R) -> Result<()> {
        let key = row.sort_key();
        if self.rows.get(row.id()).is_some_and(|kept| kept.key <= key) {
            return Ok(());
        }
        let slot = self.spool.push_row(row)?;
        self.rows.insert(row.id().into(), Spooled { key, slot });
        Ok(())
    }

    pub fn push_ledger(&mut self, entry: LedgerEntry) -> Result<()> {
        if entry.source_id != self.source {
            return Err(DatasetError::invalid(
                format!("ledger line {}", entry.input),
                format!(
                    "belongs to source `{}`, this update is of `{}`",
                    entry.source_id, self.source
                ),
            ));
        }
        let line = LedgerLine {
            table: R::TABLE.name().to_owned(),
            entry,
        };
        let json =
            serde_json::to_vec(&line).map_err(|e| DatasetError::invalid(line.entry.input.clone(), e.to_string()))?;
        let slot = self.ledger_spool.push(&json, &[])?;
        self.ledger.push((line.sort_key(), slot));
        Ok(())
    }

    pub fn commit(mut self, shard_bytes: usize) -> Result<CommitSummary> {
        let folder = self.workspace.folder().to_path_buf();
        let old_files = self.old_files(&folder)?;
        let mut needed = 3 * self.spool.len();
        for path in &old_files {
            needed += std::fs::metadata(path).map(|m| m.len()).unwrap_or(0);
        }
        self.prepare_commit(&old_files, shard_bytes)
            .map_err(|error| error.with_needed(needed))
            .and_then(|(summary, plan)| {
                drop(self.spool);
                drop(self.ledger_spool);
                self.workspace.commit(plan).map_err(|error| error.with_needed(needed))?;
                Ok(summary)
            })
    }

    /// Files that the new shards replace: for labels only the set's own.
    fn old_files(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        let mut files = table_files(folder, R::TABLE)?;
        if R::TABLE == Table::Labels {
            files.retain(|path| file_stem(path).as_deref() == Some(&self.source));
        }
        Ok(files)
    }

    /// Writes everything into staging.
    fn prepare_commit(&mut self, old_files: &[PathBuf], shard_bytes: usize) -> Result<(CommitSummary, Plan)> {
        let others = self.survey(old_files)?;
        let staging = self.workspace.staging();
        let spool = std::mem::replace(&mut self.spool, Spool::create(staging.join("empty.spool"))?);
        let mut spool = spool.into_reader()?;
        let mut sorted: Vec<(Box<str>, Spooled)> = self.rows.drain().collect();
        sorted.sort_unstable_by(|a, b| a.1.key.cmp(&b.1.key));
        let own = sorted.iter().filter(|(id, _)| !others.respooled.contains(id)).count();

        let stream = Rows::<R>::new(old_files.to_vec(), Columns::All).filter(|row| match row {
            Ok(row) => row.source() != self.source && !others.respooled.contains(row.id()),
            Err(_) => true,
        });
        let (shards, metadata_rows) = self.write_shards(sorted, stream, &mut spool, shard_bytes)?;
        remove_spool(&spool);

        let mut plan = Plan::default();
        let mut summary = CommitSummary {
            rows: own as u64,
            ..CommitSummary::default()
        };
        summary.files = self.plan_shards(&mut plan, &shards, old_files)?;
        if R::TABLE == Table::Pairs {
            if metadata_rows > 0 {
                self.workspace
                    .stage(&mut plan, METADATA_FILE, METADATA_FILE.to_owned())?;
            } else {
                plan.deletes.push(METADATA_FILE.to_owned());
            }
        }
        summary.ledger = self.write_ledger(&others.taken)?;
        self.workspace.stage(&mut plan, LEDGER_FILE, LEDGER_FILE.to_owned())?;
        self.report_edits(&mut summary);
        Ok((summary, plan))
    }

    /// First pass over the rows already there, without image bytes: finds ids
    /// of other sources, rows that edits change, and whether the order holds.
    fn survey(&mut self, old_files: &[PathBuf]) -> Result<Others> {
        let mut others = Others::default();
        let mut ordered = true;
        let mut last: Vec<u8> = Vec::new();
        for row in Rows::<R>::new(old_files.to_vec(), Columns::WithoutImageBytes) {
            let mut row = row?;
            let key = row.sort_key();
            ordered &= last <= key;
            last = key;
            if row.source() == self.source {
                continue;
            }
            let id: Box<str> = row.id().into();
            let before = serde_json::to_value(&row).ok();
            let matched = row.apply_edits(&self.edits);
            if !matched.is_empty() && serde_json::to_value(&row).ok() != before {
                others.respooled.insert(id.clone());
            }
            self.used_edits.extend(matched);
            others.keep.insert(id);
        }
        // Twins in other sources: the row that is already there stays.
        self.rows.retain(|id, _| {
            let free = !others.keep.contains(id);
            if !free {
                others.taken.insert(id.clone());
            }
            free
        });
        if !ordered {
            // Made by other hands: everything is sorted anew.
            others.respooled = others.keep.clone();
        }
        if !others.respooled.is_empty() {
            self.respool(old_files, &others)?;
        }
        Ok(others)
    }

    /// Takes rows of other sources into the spool, edits applied.
    fn respool(&mut self, old_files: &[PathBuf], others: &Others) -> Result<()> {
        for row in Rows::<R>::new(old_files.to_vec(), Columns::All) {
            let mut row = row?;
            if row.source() == self.source || !others.respooled.contains(row.id()) {
                continue;
            }
            row.apply_edits(&self.edits);
            self.spool_row(&row)?;
        }
        Ok(())
    }

    /// Merges the sorted spool with the sorted rows of other sources.
    fn write_shards(
        &self,
        sorted: Vec<(Box<str>, Spooled)>,
        stream: impl Iterator<Item = Result<R>>,
        spool: &mut SpoolReader,
        shard_bytes: usize,
    ) -> Result<(Vec<Shard>, u64)> {
        let staging = self.workspace.staging();
        let metadata = MetadataCopy::create(&staging, R::TABLE)?;
        let tap = metadata.clone();
        let mut writer = ShardWriter::<R>::new(&staging, shard_bytes).with_tap(Box::new(move |rows| tap.write(rows)));
        let mut stream = stream.peekable();
        for (_, spooled) in sorted {
            loop {
                let earlier = match stream.peek() {
                    Some(Ok(row)) => row.sort_key() <= spooled.key,
                    Some(Err(_)) => true,
                    None => false,
                };
                if !earlier {
                    break;
                }
                if let Some(row) = stream.next() {
                    writer.push(row?)?;
                }
            }
            writer.push(spool.read_row(spooled.slot)?)?;
        }
        for row in stream {
            writer.push(row?)?;
        }
        let shards = writer.finish()?;
        Ok((shards, metadata.close()?))
    }

    /// Gives shards their final names; old files that are not replaced go.
    fn plan_shards(&self, plan: &mut Plan, shards: &[Shard], old_files: &[PathBuf]) -> Result<Vec<String>> {
        let mut totals: BTreeMap<&str, usize> = BTreeMap::new();
        for shard in shards {
            *totals.entry(&shard.stem).or_default() += 1;
        }
        let mut next: BTreeMap<&str, usize> = BTreeMap::new();
        let mut files = Vec::new();
        for shard in shards {
            let index = next.entry(&shard.stem).or_default();
            let target = shard_name(R::TABLE, &shard.stem, *index, totals[shard.stem.as_str()]);
            *index += 1;
            self.workspace.stage(plan, &shard.staged, target.clone())?;
            files.push(target);
        }
        for path in old_files {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            plan.deletes.push(format!("{}/{name}", R::TABLE.folder()));
        }
        Ok(files)
    }

    /// Writes the new ledger: lines of others as they are, ours replaced, all
    /// in order. Second lines of one row become `duplicate`.
    fn write_ledger(&mut self, taken: &HashSet<Box<str>>) -> Result<LedgerTotals> {
        let staging = self.workspace.staging();
        let spool = std::mem::replace(&mut self.ledger_spool, Spool::create(staging.join("empty2.spool"))?);
        let mut spool = spool.into_reader()?;
        let mut own = std::mem::take(&mut self.ledger);
        own.sort_by(|a, b| a.0.cmp(&b.0));
        let mut own = own.into_iter().peekable();

        let others = self.ledger_of_others()?;
        let path = staging.join(LEDGER_FILE);
        let file = std::fs::File::create(&path).map_err(|e| DatasetError::io(&path, "create", e))?;
        let mut out = BufWriter::new(file);
        let mut write = |line: &[u8]| {
            out.write_all(line)
                .and_then(|()| out.write_all(b"\n"))
                .map_err(|e| DatasetError::io(&path, "write", e))
        };
        let mut totals = LedgerTotals::new();
        let mut first_input: HashMap<(String, String), String> = HashMap::new();
        let mut write_own = |slot: Slot, write: &mut dyn FnMut(&[u8]) -> Result<()>| {
            let (json, _) = spool.read(slot)?;
            let mut line: LedgerLine = serde_json::from_slice(&json)
                .map_err(|e| DatasetError::invalid(spool.path().display().to_string(), e.to_string()))?;
            mark_duplicate(&mut line.entry, &mut first_input, taken);
            ledger::count(&mut totals, &line.entry);
            write(&serde_json::to_vec(&line).map_err(|e| DatasetError::invalid(LEDGER_FILE, e.to_string()))?)
        };
        for (key, line) in others {
            while own.peek().is_some_and(|(own_key, _)| *own_key < key) {
                if let Some((_, slot)) = own.next() {
                    write_own(slot, &mut write)?;
                }
            }
            write(&line)?;
        }
        for (_, slot) in own {
            write_own(slot, &mut write)?;
        }
        out.flush().map_err(|e| DatasetError::io(&path, "write", e))?;
        Ok(totals)
    }

    /// Lines of other sources and tables with their keys, sorted. Lines that
    /// cannot be read are nobody's: they stay, at the end.
    fn ledger_of_others(&self) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let path = self.workspace.folder().join(LEDGER_FILE);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(DatasetError::io(&path, "read", error)),
        };
        let mut others = Vec::new();
        for line in text
            .split(|&byte| byte == b'\n')
            .filter(|line| !line.trim_ascii().is_empty())
        {
            match serde_json::from_slice::<LedgerLine>(line) {
                Ok(known) if known.entry.source_id == self.source && known.table_name() == R::TABLE.name() => {}
                Ok(known) => others.push((known.sort_key(), line.to_vec())),
                Err(_) => others.push((vec![u8::MAX], line.to_vec())),
            }
        }
        others.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(others)
    }

    fn report_edits(&self, summary: &mut CommitSummary) {
        summary.edits_applied = self.used_edits.len() as u64;
        summary.edits_unmatched.clone_from(&self.edits.problems);
        for (at, edit) in self.edits.edits.iter().enumerate() {
            if !self.used_edits.contains(&at) {
                let message = format!("{EDITS_FILE}: no row `{}` for the edit of `{}`", edit.id, edit.field);
                summary.edits_unmatched.push(message);
            }
        }
    }
}

/// Rows of other sources.
#[derive(Default)]
struct Others {
    keep: HashSet<Box<str>>,
    /// Those that go through the spool because an edit changes them.
    respooled: HashSet<Box<str>>,
    /// Ids that this update brought as well, and gave up.
    taken: HashSet<Box<str>>,
}

/// Only one input can have become a row; the others are its duplicates.
fn mark_duplicate(
    entry: &mut LedgerEntry,
    first_input: &mut HashMap<(String, String), String>,
    taken: &HashSet<Box<str>>,
) {
    let Some(id) = entry.id.clone().filter(|_| entry.is_row()) else {
        return;
    };
    let reason = if taken.contains(id.as_str()) {
        Some("another source already has this row".to_owned())
    } else {
        match first_input.entry((entry.kind.clone(), id)) {
            std::collections::hash_map::Entry::Occupied(first) => Some(format!("same content as {}", first.get())),
            std::collections::hash_map::Entry::Vacant(slot) => {
                slot.insert(entry.input.clone());
                None
            }
        }
    };
    if let Some(reason) = reason {
        entry.state = "duplicate".to_owned();
        entry.reason = Some(reason);
    }
}

fn remove_spool(spool: &SpoolReader) {
    let _ = std::fs::remove_file(spool.path());
}

/// Rows that a person can correct; only pairs are.
pub(crate) trait Editable {
    const EDITABLE: bool = false;

    fn apply_edits(&mut self, _: &Edits) -> Vec<usize> {
        Vec::new()
    }

    /// Itself as pairs, for the copy without image bytes.
    fn as_pairs(_: &[Self]) -> &[PairRecord]
    where
        Self: Sized,
    {
        &[]
    }
}

impl Editable for PairRecord {
    const EDITABLE: bool = true;

    fn apply_edits(&mut self, edits: &Edits) -> Vec<usize> {
        edits.apply(self)
    }

    fn as_pairs(rows: &[Self]) -> &[PairRecord] {
        rows
    }
}

impl Editable for TextRecord {}
impl Editable for LabelRecord {}

/// The analysts' copy of `data/`, written beside the shards.
#[derive(Clone)]
struct MetadataCopy {
    open: Rc<RefCell<Option<(FileWriter, u64)>>>,
}

impl MetadataCopy {
    fn create(staging: &Path, table: Table) -> Result<Self> {
        let open = match table {
            Table::Pairs => Some((FileWriter::create(staging.join(METADATA_FILE), metadata_schema())?, 0)),
            _ => None,
        };
        Ok(Self {
            open: Rc::new(RefCell::new(open)),
        })
    }

    fn write<R: Editable>(&self, rows: &[R]) -> Result<()> {
        if let Some((file, count)) = &mut *self.open.borrow_mut() {
            let pairs = R::as_pairs(rows);
            let batch = metadata_batch(pairs).map_err(|e| DatasetError::invalid(METADATA_FILE, e.to_string()))?;
            file.append(&batch)?;
            *count += pairs.len() as u64;
        }
        Ok(())
    }

    fn close(&self) -> Result<u64> {
        match self.open.borrow_mut().take() {
            Some((file, count)) => file.close().map(|()| count),
            None => Ok(0),
        }
    }
}
