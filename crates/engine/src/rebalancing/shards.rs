//! What the conductor tells shards and asks of them, in this process's RocksDBs; and the directories that they are in.

use super::world::Process;
use crate::database::{Database, io_error};
use evenkeel_conductor::{Activity, Copied, Owed, Pace, Shards, Versions};
use evenkeel_model::{Error, MigrationId, Result, ShardId, Slot, SlotSet, SqlState, TableId, Timestamp};
use evenkeel_rebalancer::balance::Load;
use evenkeel_rebalancer::migration::{Part, Refusal, ShardCommand, Stamp, Tally};
use evenkeel_storage::{Family, FileOptions, OrderError, Sent, Shard, SortedVersions, Version};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Versions that are read at once.
const VERSIONS_AT_ONCE: usize = 4_096;

/// How long statements that may still read from a removed shard are waited for before its files go.
const READERS_LEAVE_WITHIN: Duration = Duration::from_secs(5);

/// Versions on their way.
pub(crate) struct Lot {
    versions: Vec<Version>,
    sent: Sent,
}

impl Lot {
    fn new(versions: Vec<Version>) -> Self {
        Self { sent: Sent::of(&versions), versions }
    }
}

impl Versions for Lot {
    fn is_empty(&self) -> bool {
        self.versions.is_empty()
    }

    fn rows(&self) -> u64 {
        self.versions.iter().filter(|version| version.family == Family::Newest).count() as u64
    }

    fn bytes(&self) -> u64 {
        self.sent.bytes
    }

    fn digest(&self) -> u64 {
        self.sent.digest
    }
}

/// Collects versions into lots.
struct Lots<'e> {
    versions: Vec<Version>,
    each: &'e mut dyn FnMut(Lot) -> Result<()>,
}

impl Lots<'_> {
    fn push(&mut self, version: Version) -> Result<()> {
        self.versions.push(version);
        if self.versions.len() < VERSIONS_AT_ONCE { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<()> {
        (self.each)(Lot::new(std::mem::take(&mut self.versions)))
    }
}

/// Rows and bytes since the last question whether to go on.
struct Batch<'p, 'q> {
    rows_max: u64,
    rows: u64,
    entries: u64,
    bytes: u64,
    pace: &'p mut Pace<'q>,
}

impl Batch<'_, '_> {
    fn add(&mut self, family: Family, bytes: usize) -> Result<()> {
        self.rows += u64::from(family == Family::Newest);
        self.entries += 1;
        self.bytes += bytes as u64;
        if self.entries < self.rows_max { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<()> {
        let (rows, bytes) = (std::mem::take(&mut self.rows), std::mem::take(&mut self.bytes));
        self.entries = 0;
        (self.pace)(rows, bytes)
    }
}

fn refused(shard: ShardId, refusal: &Refusal) -> Error {
    Error::new(SqlState::ObjectNotInPrerequisiteState, format!("shard {shard} refused: {refusal}"))
}

impl Shards for Process<'_> {
    type Shard = Shard;
    type Versions = Lot;
    type Load = (TableId, Timestamp);

    fn order(&self, shard: &Shard, command: &ShardCommand) -> Result<()> {
        shard.order(command).map_err(|error| match error {
            OrderError::Failed(error) => error,
            OrderError::Refused(refusal) => refused(shard.id(), &refusal),
        })
    }

    fn part_in(&self, shard: &Shard, migration: MigrationId) -> Option<Part> {
        shard.part_in(migration)
    }

    fn hold(&self, shard: &Shard, slots: &SlotSet, at_most: Duration) -> bool {
        shard.hold(slots, Instant::now() + at_most)
    }

    fn release_hold(&self, shard: &Shard, slots: &SlotSet) {
        shard.release_hold(slots);
    }

    fn count_of(&self, shard: &Shard, slots: &SlotSet) -> Tally {
        let count = shard.count_of(slots);
        Tally { rows: count.rows.max(0) as u64, bytes: count.bytes.max(0) as u64, digest: 0 }
    }

    fn owed(&self, shard: &Shard, migration: MigrationId, limit: usize) -> Result<Owed<Lot, (TableId, Timestamp)>> {
        let evenkeel_storage::Owed { versions, loads, upto, entries, behind } = shard.owed(migration, limit)?;
        Ok(Owed { versions: Lot::new(versions), loads, upto, entries, behind })
    }

    fn forget_owed(&self, shard: &Shard, migration: MigrationId, upto: u64) -> Result<()> {
        shard.forget_owed(migration, upto)
    }

    fn loaded(
        &self,
        shard: &Shard,
        slots: &SlotSet,
        (table, load): &(TableId, Timestamp),
        each: &mut dyn FnMut(Lot) -> Result<()>,
    ) -> Result<()> {
        let mut lots = Lots { versions: Vec::new(), each };
        shard.loaded(slots, *table, *load, |version| lots.push(version))?;
        lots.flush()
    }

    fn export(&self, shard: &Shard, slots: &SlotSet, each: &mut dyn FnMut(Lot) -> Result<()>) -> Result<()> {
        let mut lots = Lots { versions: Vec::new(), each };
        shard.export(slots, |family, key, value| {
            lots.push(Version { family, key: key.to_vec(), value: value.to_vec() })
        })?;
        lots.flush()
    }

    fn receive(&self, shard: &Shard, stamp: &Stamp, versions: &Lot) -> Result<()> {
        shard.receive(stamp, &versions.versions)
    }

    fn copy_files(
        &self,
        source: &Shard,
        target: &Shard,
        slots: &SlotSet,
        stamp: &Stamp,
        pace: &mut Pace<'_>,
    ) -> Result<Copied> {
        let directory = self.0.directory.join("tmp").join(format!("migration-{}", stamp.migration));
        let _ = std::fs::remove_dir_all(&directory);
        let made = std::fs::create_dir_all(&directory);
        made.map_err(|error| io_error("cannot make", &directory, &error))?;
        let rows_max = self.0.settings().integer("migration_batch_rows").max(1) as u64;
        let batch = Batch { rows_max, rows: 0, entries: 0, bytes: 0, pace };
        let copied = copy_through(&directory, &FileOptions::of(&self.0.store), (source, target), slots, stamp, batch);
        let _ = std::fs::remove_dir_all(&directory);
        copied
    }

    fn has_received_nothing(&self, shard: &Shard, slots: &SlotSet) -> Result<bool> {
        shard.has_received_nothing(slots)
    }

    fn recount_received(&self, shard: &Shard, slots: &SlotSet) -> Result<()> {
        shard.recount_received(slots)
    }

    fn tally(&self, shard: &Shard, slots: &SlotSet, at: Timestamp, pace: &mut Pace<'_>) -> Result<Tally> {
        shard.tally(slots, at, |table: TableId| self.0.hidden_loads(table, at), pace)
    }

    fn slot_loads(&self, shard: &Shard) -> BTreeMap<Slot, Load> {
        let load = |(slot, count): (Slot, evenkeel_storage::SlotCount)| {
            (slot, Load::of_slot(count.rows.max(0) as f64, count.bytes.max(0) as f64, 0.0, 0.0))
        };
        shard.slot_counts().into_iter().map(load).collect()
    }

    fn activity(&self, shard: &Shard) -> Activity {
        let activity = shard.activity();
        let layout = self.0.layout();
        let accesses = layout.slots.iter().filter_map(|(slot, _)| {
            let (reads, writes) = activity.of(slot);
            (reads + writes > 0).then_some((slot, reads + writes))
        });
        Activity { accesses: accesses.collect(), busy_ns: activity.busy_ns() }
    }
}

/// All versions of some slots, through sorted files in a directory.
fn copy_through(
    directory: &Path,
    options: &FileOptions,
    (source, target): (&Shard, &Shard),
    slots: &SlotSet,
    stamp: &Stamp,
    mut batch: Batch<'_, '_>,
) -> Result<Copied> {
    let mut files = SortedVersions::new(target, options, directory);
    let mut sent = Sent::default();
    source.export(slots, |family, key, value| {
        files.push(family, key, value)?;
        sent.note(family, key, value);
        batch.add(family, key.len() + value.len())
    })?;
    batch.flush()?;
    let stored = files.finish(stamp)?;
    Ok(Copied { sent: sent.digest, stored: stored.digest })
}

impl Database {
    fn shard_directory(&self, id: ShardId) -> PathBuf {
        self.directory.join("shards").join(id.to_string())
    }

    /// A shard's directory, without what a crash left of an earlier try.
    pub(super) fn emptied(&self, id: ShardId) -> Result<PathBuf> {
        let path = self.shard_directory(id);
        if path.exists() {
            std::fs::remove_dir_all(&path).map_err(|error| io_error("cannot empty", &path, &error))?;
        }
        Ok(path)
    }

    /// Deletes the files of a shard that is in no picture any more. Files that a reader keeps open a little longer go at the
    /// next start.
    pub(super) fn delete_files(&self, shard: Arc<Shard>, since: Instant) -> Result<()> {
        let path = shard.path().to_path_buf();
        while Arc::strong_count(&shard) > 1 && since.elapsed() < READERS_LEAVE_WITHIN {
            std::thread::park_timeout(Duration::from_millis(10));
        }
        // Closed here: a store that somebody else is still closing writes into the directory.
        if let Some(shard) = Arc::into_inner(shard) {
            drop(shard);
            std::fs::remove_dir_all(&path).map_err(|error| io_error("cannot remove", &path, &error))?;
        }
        Ok(())
    }

    /// Removes the directories of shards that were removed while somebody still read from them.
    pub(super) fn sweep_shards(&self) -> Result<()> {
        let folder = self.directory.join("shards");
        let layout = self.layout();
        let entries = std::fs::read_dir(&folder).map_err(|error| io_error("cannot read", &folder, &error))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            let number = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
            if number.is_some_and(|number| !layout.shards.contains_key(&ShardId(number))) {
                std::fs::remove_dir_all(&path).map_err(|error| io_error("cannot remove", &path, &error))?;
            }
        }
        Ok(())
    }
}
