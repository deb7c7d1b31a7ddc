//! One table of the folder, rewritten: rows and ledger lines come in, shards go
//! out.

use super::copy::{DataFiles, Editable, MetadataCopy};
use super::{CommitSummary, METADATA_FILE, check_set_name};
use crate::edits::{self, EDITS_FILE, Edits};
use crate::error::{DatasetError, Result};
use crate::journal::{Plan, Workspace};
use crate::ledger::{LEDGER_FILE, LedgerEntry, LedgerLine};
use crate::read::{Columns, Rows, file_stem, table_files};
use crate::rows::Row;
use crate::schema::Table;
use crate::shard::{Shard, ShardWriter, shard_name};
use crate::spool::{Slot, Spool, SpoolReader};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

/// What an update replaces.
pub(super) enum Scope {
    /// Rows and ledger lines of one source.
    Source(String),
    /// The whole table.
    Whole,
}

impl Scope {
    pub(super) fn owns(&self, source: &str) -> bool {
        match self {
            Self::Source(own) => own == source,
            Self::Whole => true,
        }
    }
}

/// A row in the spool.
struct Spooled {
    key: Vec<u8>,
    slot: Slot,
}

/// An update of one table.
pub(crate) struct TableUpdate<R: Row> {
    pub(super) scope: Scope,
    // Fields drop in this order: the spools close before the workspace removes
    // them.
    pub(super) spool: Spool,
    pub(super) ledger_spool: Spool,
    pub(super) workspace: Workspace,
    rows: HashMap<Box<str>, Spooled>,
    pub(super) ledger: Vec<(Vec<u8>, Slot)>,
    edits: Edits,
    used_edits: BTreeSet<usize>,
    /// Rows that a person took out, with the reason.
    pub(super) rejected: HashMap<Box<str>, String>,
    record: std::marker::PhantomData<R>,
}

impl<R: Row + Editable> TableUpdate<R> {
    /// Replaces the rows of one source.
    pub fn open(folder: &Path, source: &str) -> Result<Self> {
        if source.trim().is_empty() {
            return Err(DatasetError::invalid("source", "its name is empty; give it one"));
        }
        Self::open_scope(folder, Scope::Source(source.to_owned()))
    }

    /// Replaces the whole table.
    pub fn open_whole(folder: &Path) -> Result<Self> {
        Self::open_scope(folder, Scope::Whole)
    }

    fn open_scope(folder: &Path, scope: Scope) -> Result<Self> {
        let workspace = Workspace::open(folder)?;
        let edits = if R::EDITABLE {
            edits::read(folder)?
        } else {
            Edits::default()
        };
        Ok(Self {
            scope,
            spool: Spool::create(workspace.staging().join("rows.spool"))?,
            ledger_spool: Spool::create(workspace.staging().join("ledger.spool"))?,
            workspace,
            rows: HashMap::new(),
            ledger: Vec::new(),
            edits,
            used_edits: BTreeSet::new(),
            rejected: HashMap::new(),
            record: std::marker::PhantomData,
        })
    }

    pub fn push(&mut self, mut row: R) -> Result<()> {
        self.check_source(row.source(), || format!("row {}", row.id()))?;
        row.check()
            .map_err(|message| DatasetError::invalid(format!("source {}", row.source()), message))?;
        let (used, rejection) = row.apply_edits(&self.edits);
        self.used_edits.extend(used);
        if let Some(reason) = rejection {
            self.rejected.insert(row.id().into(), reason);
            return Ok(());
        }
        self.spool_row(&row)
    }

    fn check_source(&self, source: &str, place: impl Fn() -> String) -> Result<()> {
        match &self.scope {
            Scope::Source(own) if own != source => Err(DatasetError::invalid(
                place(),
                format!("belongs to source `{source}`, this update is of `{own}`"),
            )),
            Scope::Whole if R::TABLE == Table::Labels => check_set_name(source),
            _ => Ok(()),
        }
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
        self.check_source(&entry.source_id, || format!("ledger line {}", entry.input))?;
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
        if let Scope::Source(own) = &self.scope
            && R::TABLE == Table::Labels
        {
            files.retain(|path| file_stem(path).as_deref() == Some(own));
        }
        Ok(files)
    }

    /// Writes everything into staging.
    fn prepare_commit(&mut self, old_files: &[PathBuf], shard_bytes: usize) -> Result<(CommitSummary, Plan)> {
        let others = self.survey(old_files)?;
        let staging = self.workspace.staging();
        let spool = std::mem::replace(&mut self.spool, Spool::create(staging.join("empty.spool"))?);
        let mut spool = spool.into_reader()?;
        let mut sorted: Vec<(Box<str>, Spooled)> = std::mem::take(&mut self.rows).into_iter().collect();
        sorted.sort_unstable_by(|a, b| a.1.key.cmp(&b.1.key));
        let own = sorted.iter().filter(|(id, _)| !others.respooled.contains(id)).count();

        let stream = Rows::<R>::new(old_files.to_vec(), Columns::All).filter(|row| match row {
            Ok(row) => {
                !self.scope.owns(row.source())
                    && !others.respooled.contains(row.id())
                    && !self.rejected.contains_key(row.id())
            }
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
            if self.scope.owns(row.source()) {
                continue;
            }
            let id: Box<str> = row.id().into();
            let before = serde_json::to_value(&row).ok();
            let (matched, rejection) = row.apply_edits(&self.edits);
            if let Some(reason) = rejection {
                self.rejected.insert(id.clone(), reason);
                self.used_edits.extend(matched);
                continue;
            }
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
            if self.scope.owns(row.source()) || !others.respooled.contains(row.id()) {
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
        let mut files = DataFiles::new();
        for (shard, target) in shards.iter().zip(final_names(R::TABLE, &shards)) {
            let path = staging.join(&shard.staged);
            let length = std::fs::metadata(&path)
                .map_err(|e| DatasetError::io(&path, "read", e))?
                .len();
            files.insert(target, length);
        }
        let copied = metadata.close(&files)?;
        Ok((shards, copied))
    }

    /// Gives shards their final names; old files that are not replaced go.
    fn plan_shards(&self, plan: &mut Plan, shards: &[Shard], old_files: &[PathBuf]) -> Result<Vec<String>> {
        let files = final_names(R::TABLE, shards);
        for (shard, target) in shards.iter().zip(&files) {
            self.workspace.stage(plan, &shard.staged, target.clone())?;
        }
        for path in old_files {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            plan.deletes.push(format!("{}/{name}", R::TABLE.folder()));
        }
        Ok(files)
    }

    fn report_edits(&self, summary: &mut CommitSummary) {
        summary.edits_applied = self.used_edits.len() as u64;
        summary.edits_unmatched.clone_from(&self.edits.problems);
        for (at, edit) in self.edits.edits.iter().enumerate() {
            // A row that a person took out is not there, as it should be.
            if !self.used_edits.contains(&at) && !self.edits.is_rejected(&edit.id) {
                let message = format!("{EDITS_FILE}: no row `{}` for the edit of `{}`", edit.id, edit.field);
                summary.edits_unmatched.push(message);
            }
        }
    }
}

/// Names of shards in the folder.
fn final_names(table: Table, shards: &[Shard]) -> Vec<String> {
    let mut totals: BTreeMap<&str, usize> = BTreeMap::new();
    for shard in shards {
        *totals.entry(&shard.stem).or_default() += 1;
    }
    let mut next: BTreeMap<&str, usize> = BTreeMap::new();
    let name = |shard: &Shard, next: &mut usize, total: usize| {
        let name = shard_name(table, &shard.stem, *next, total);
        *next += 1;
        name
    };
    shards
        .iter()
        .map(|shard| name(shard, next.entry(&shard.stem).or_default(), totals[shard.stem.as_str()]))
        .collect()
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

fn remove_spool(spool: &SpoolReader) {
    let _ = std::fs::remove_file(spool.path());
}
