//! Carries the commands of one migration out, in this process's shards.
//!
//! WHAT MAY NEVER HAPPEN: a reader takes a picture between the source's last timestamp and the target's first; the target
//! has what a crash takes from the source; rows are deleted while somebody may read them.

use super::driver::{Carrier, Wish};
use super::movement::Movement;
use crate::database::Database;
use crate::layout::{CutoverPass, Layout};
use crate::snapshots::Pin;
use evenkeel_model::{Error, MigrationId, Result, ShardId, SlotMap, SqlState, TableId};
use evenkeel_rebalancer::migration::{
    Command, Holder, MapChange, Migration, Observed, Order, Part, Phase, Refusal, ShardCommand, Stamp, Tally,
};
use evenkeel_storage::{Family, FileOptions, OrderError, Owed, Sent, Shard, SortedVersions, Version};
use parking_lot::RwLockWriteGuard;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Changes that are sent at once while catching up.
const OWED_AT_ONCE: usize = 4_096;
/// So few changes are left to a cutover.
const OWED_TO_CUTOVER: usize = 256;
/// How often it is looked whether old readers are gone, or a load is over.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// One migration's hands.
pub(super) struct Carry<'d> {
    database: &'d Database,
    movement: Arc<Movement>,
    source: Arc<Shard>,
    target: Arc<Shard>,
    /// Nobody else takes a picture: from the cutover timestamp until the target serves.
    picture: Option<RwLockWriteGuard<'d, Arc<Layout>>>,
    pass: Option<CutoverPass<'d>>,
    /// The slot map that was committed and is not in the picture yet.
    switched: Option<SlotMap>,
    /// When writes began to be held.
    held_since: Option<Instant>,
    /// What was sent and what was stored since this process drives the migration.
    streamed: (Sent, Sent),
    /// Keeps the cutover timestamp readable until both sides were compared.
    _pin: Option<Pin>,
}

impl<'d> Carry<'d> {
    pub(super) fn new(database: &'d Database, movement: Arc<Movement>, migration: &Migration) -> Result<Self> {
        let layout = database.layout();
        let pin = migration.keeps_readable().map(|cutover| database.snapshots.pin(|| cutover));
        Ok(Self {
            source: Arc::clone(layout.shard(migration.source)?),
            target: Arc::clone(layout.shard(migration.target)?),
            database,
            movement,
            picture: None,
            pass: None,
            switched: None,
            held_since: None,
            streamed: Default::default(),
            _pin: pin,
        })
    }

    fn shard(&self, id: ShardId) -> Result<&Arc<Shard>> {
        [&self.source, &self.target]
            .into_iter()
            .find(|shard| shard.id() == id)
            .ok_or_else(|| Error::internal(format!("shard {id} has no part in the migration")))
    }

    fn order(&self, id: ShardId, command: &ShardCommand) -> Result<()> {
        self.shard(id)?.order(command).map_err(|error| match error {
            OrderError::Failed(error) => error,
            OrderError::Refused(refusal) => refused(id, &refusal),
        })
    }

    /// Streams all that the source has of the slots.
    fn copy(
        &mut self,
        migration: &Migration,
        outgoing: &ShardCommand,
        incoming: &ShardCommand,
    ) -> Result<Option<Observed>> {
        self.order(migration.source, outgoing)?;
        self.order(migration.target, incoming)?;
        let slots = &migration.slots;
        self.movement.begin_copy(self.source.count_of(slots));
        let directory = self.database.directory.join("tmp").join(format!("migration-{}", migration.id));
        let _ = std::fs::remove_dir_all(&directory);
        let made = std::fs::create_dir_all(&directory);
        made.map_err(|error| crate::database::io_error("cannot make", &directory, &error))?;
        let outcome = if self.target.has_received_nothing(slots)? {
            self.copy_files(migration, &directory)
        } else {
            self.target.recount_received(slots)?;
            self.copy_versions(migration)
        };
        let _ = std::fs::remove_dir_all(&directory);
        match outcome {
            Ok(()) => Ok(Some(Observed::Copied)),
            Err(error) if error.state == SqlState::QueryCanceled => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Through sorted files, where the target has nothing of the slots yet.
    fn copy_files(&mut self, migration: &Migration, directory: &std::path::Path) -> Result<()> {
        let options = FileOptions::of(&self.database.store);
        let mut files = SortedVersions::new(&self.target, &options, directory);
        let mut sent = Sent::default();
        let mut batch = Batch::new(self.database);
        let movement = Arc::clone(&self.movement);
        self.source.export(&migration.slots, |family, key, value| {
            files.push(family, key, value)?;
            sent.note(family, key, value);
            batch.add(family, key.len() + value.len(), |rows, bytes| movement.pace(self.database, rows, bytes))
        })?;
        batch.flush(|rows, bytes| movement.pace(self.database, rows, bytes))?;
        let stored = files.finish(&migration.stamp())?;
        self.streamed.0.add(sent);
        self.streamed.1.add(stored);
        Ok(())
    }

    /// Version by version, where a copy that was cut off has left some: they may be there already.
    fn copy_versions(&mut self, migration: &Migration) -> Result<()> {
        let (source, movement) = (Arc::clone(&self.source), Arc::clone(&self.movement));
        let database = self.database;
        let mut versions = Vec::new();
        let mut rows = 0;
        source.export(&migration.slots, |family, key, value| {
            rows += u64::from(family == Family::Newest);
            versions.push(Version { family, key: key.to_vec(), value: value.to_vec() });
            if versions.len() < OWED_AT_ONCE {
                return Ok(());
            }
            let bytes = self.send(&migration.stamp(), &std::mem::take(&mut versions))?;
            movement.pace(database, std::mem::take(&mut rows), bytes)
        })?;
        let bytes = self.send(&migration.stamp(), &versions)?;
        movement.pace(database, rows, bytes)
    }

    fn send(&mut self, stamp: &Stamp, versions: &[Version]) -> Result<u64> {
        if versions.is_empty() {
            return Ok(0);
        }
        self.target.receive(stamp, versions)?;
        let sent = Sent::of(versions);
        self.streamed.0.add(sent);
        self.streamed.1.add(sent);
        Ok(sent.bytes)
    }

    /// Sends some of what is owed; the source forgets it once the target has it.
    fn deliver(&mut self, migration: &Migration, owed: &Owed) -> Result<u64> {
        let stamp = migration.stamp();
        let mut bytes = self.send(&stamp, &owed.versions)?;
        let source = Arc::clone(&self.source);
        for (table, load) in &owed.loads {
            let mut rows = Vec::new();
            source.loaded(&migration.slots, *table, *load, |version| {
                rows.push(version);
                if rows.len() < OWED_AT_ONCE {
                    return Ok(());
                }
                bytes += self.send(&stamp, &std::mem::take(&mut rows))?;
                Ok(())
            })?;
            bytes += self.send(&stamp, &rows)?;
        }
        self.source.forget_owed(migration.id, owed.upto)?;
        Ok(bytes)
    }

    fn catch_up(&mut self, migration: &Migration) -> Result<Option<Observed>> {
        loop {
            if self.movement.wish() != Wish::GoOn {
                return Ok(None);
            }
            let owed = self.source.owed(migration.id, OWED_AT_ONCE)?;
            let entries = owed.entries;
            let bytes = if entries > 0 { self.deliver(migration, &owed)? } else { 0 };
            if entries <= OWED_TO_CUTOVER && !self.database.topology.is_loading() {
                return Ok(Some(Observed::CaughtUp { epoch: self.map()?.epoch() }));
            }
            // Not paced: an outbox that fills faster than it is drained would never be empty.
            self.movement.count(0, bytes);
            if entries <= OWED_TO_CUTOVER {
                // A bulk load keeps the slots where they are until it is over.
                self.movement.sleep(LOOK_EVERY);
            }
        }
    }

    /// Holds writes, drains the rest, and fences the source at a timestamp. If that can't be short, everything goes on.
    fn seal(&mut self, migration: &Migration) -> Result<Option<Observed>> {
        let Some(pass) = self.database.topology.begin_cutover() else { return Ok(Some(Observed::TooSlow)) };
        self.pass = Some(pass);
        let began = Instant::now();
        let budget = Duration::from_millis(self.database.settings().duration_ms("cutover_budget"));
        let deadline = began + budget;
        self.held_since = Some(began);
        let sealed = matches!(self.source.part_in(migration.id), Some(Part::Sealed { .. }));
        if !sealed && !self.source.hold(&migration.slots, deadline) {
            return Ok(self.too_slow(migration));
        }
        loop {
            let owed = self.source.owed(migration.id, OWED_AT_ONCE)?;
            if owed.entries == 0 {
                break;
            }
            if !sealed && Instant::now() > deadline {
                return Ok(self.too_slow(migration));
            }
            self.deliver(migration, &owed)?;
        }
        let tally = |shard: &Shard, sent: Sent| {
            let count = shard.count_of(&migration.slots);
            Tally { rows: count.rows.max(0) as u64, bytes: count.bytes.max(0) as u64, digest: sent.digest }
        };
        let (source, target) = (tally(&self.source, self.streamed.0), tally(&self.target, self.streamed.1));
        // From here until the target serves, nobody takes a timestamp to read at.
        self.picture = Some(self.database.topology.cutover());
        let cutover = self.database.oracle.next()?;
        let order = Order::Seal { cutover };
        self.order(
            migration.source,
            &ShardCommand { stamp: migration.stamp(), slots: migration.slots.clone(), order },
        )?;
        self.source.release_hold(&migration.slots);
        let Some(Part::Sealed { cutover }) = self.source.part_in(migration.id) else {
            return Err(Error::internal("a source that was sealed is not"));
        };
        self._pin = Some(self.database.snapshots.pin(|| cutover));
        Ok(Some(Observed::Sealed { cutover, source, target }))
    }

    fn too_slow(&mut self, migration: &Migration) -> Option<Observed> {
        self.source.release_hold(&migration.slots);
        self.open();
        Some(Observed::TooSlow)
    }

    /// Lets pictures be taken, and everybody who was kept off try again.
    fn open(&mut self) {
        self.picture = None;
        self.pass = None;
        self.database.topology.announce();
        if let Some(since) = self.held_since.take() {
            let pause = since.elapsed();
            self.movement.note_pause(pause);
            self.database.registry.cutovers.note(pause);
        }
    }

    /// The slot map as the meta store has it.
    fn map(&self) -> Result<SlotMap> {
        self.database.meta.get("slots")?.ok_or_else(|| Error::internal("the slot map is not there"))
    }

    fn commit(&mut self, migration: &Migration, change: &MapChange) -> Result<Option<Observed>> {
        if self.picture.is_none() {
            self.picture = Some(self.database.topology.cutover());
        }
        let mut map = self.map()?;
        if let Some(next) = change.apply(&map) {
            self.database.meta.put("slots", &next)?;
            map = next;
        }
        let seen = migration.read(&map);
        self.switched = Some(map);
        if !matches!(seen, Observed::Map { holder: Holder::Target, .. }) {
            self.publish(migration);
        }
        Ok(Some(seen))
    }

    /// Puts the committed slot map into the picture. As long as the source is sealed, nobody takes one.
    fn publish(&mut self, migration: &Migration) {
        let Some(map) = self.switched.take() else { return };
        let mut picture = self.picture.take().unwrap_or_else(|| self.database.topology.cutover());
        if picture.slots.epoch() < map.epoch() {
            let shards = picture.shards.clone();
            self.database.topology.replace(&mut picture, Layout::new(map, shards));
        }
        if matches!(self.source.part_in(migration.id), Some(Part::Sealed { .. })) {
            self.picture = Some(picture);
        }
    }

    fn tell(&mut self, migration: &Migration, commands: &[(ShardId, ShardCommand)]) -> Result<Option<Observed>> {
        if migration.phase == Phase::Dropping && !self.wait_for_readers(migration)? {
            return Ok(None);
        }
        for (shard, command) in commands {
            self.order(*shard, command)?;
        }
        if migration.phase == Phase::Activating {
            if self.switched.is_none() {
                // A process before this one committed it.
                self.switched = Some(self.map()?);
            }
            self.publish(migration);
        }
        self.source.release_hold(&migration.slots);
        self.open();
        Ok(Some(Observed::Told))
    }

    /// Waits until nobody goes by a picture in which the source has the slots; `false` when it is to stop.
    fn wait_for_readers(&self, migration: &Migration) -> Result<bool> {
        while self.database.topology.has_readers_before(migration.epoch) {
            if self.movement.wish() == Wish::Stop {
                return Ok(false);
            }
            self.movement.sleep(LOOK_EVERY);
        }
        // A commit that is only in the commit log must not be applied again to where its rows were.
        self.database.mark_log(self.database.log_last())?;
        Ok(true)
    }

    /// Reads both sides as of the cutover.
    fn compare(&self, migration: &Migration, cutover: evenkeel_model::Timestamp) -> Result<Option<Observed>> {
        let hidden = |table: TableId| self.database.hidden_loads(table, cutover);
        let read = |shard: &Shard| {
            shard.tally(&migration.slots, cutover, hidden, |_, bytes| self.movement.pace_reading(self.database, bytes))
        };
        match read(&self.source).and_then(|source| Ok((source, read(&self.target)?))) {
            Ok((source, target)) => Ok(Some(Observed::Compared { source, target })),
            Err(error) if error.state == SqlState::QueryCanceled => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn refused(shard: ShardId, refusal: &Refusal) -> Error {
    Error::new(SqlState::ObjectNotInPrerequisiteState, format!("shard {shard} refused: {refusal}"))
}

/// Rows and bytes since the last question whether to go on.
struct Batch {
    rows_max: u64,
    rows: u64,
    entries: u64,
    bytes: u64,
}

impl Batch {
    fn new(database: &Database) -> Self {
        let rows_max = database.settings().integer("migration_batch_rows").max(1) as u64;
        Self { rows_max, rows: 0, entries: 0, bytes: 0 }
    }

    fn add(&mut self, family: Family, bytes: usize, pace: impl FnOnce(u64, u64) -> Result<()>) -> Result<()> {
        self.rows += u64::from(family == Family::Newest);
        self.entries += 1;
        self.bytes += bytes as u64;
        if self.entries < self.rows_max { Ok(()) } else { self.flush(pace) }
    }

    fn flush(&mut self, pace: impl FnOnce(u64, u64) -> Result<()>) -> Result<()> {
        let (rows, bytes) = (std::mem::take(&mut self.rows), std::mem::take(&mut self.bytes));
        self.entries = 0;
        pace(rows, bytes)
    }
}

impl Carrier for Carry<'_> {
    fn carry_out(&mut self, migration: &Migration, command: Command) -> Result<Option<Observed>> {
        match command {
            Command::ReadMap => Ok(Some(migration.read(&self.map()?))),
            Command::Copy { outgoing, incoming } => self.copy(migration, &outgoing, &incoming),
            Command::CatchUp { .. } => self.catch_up(migration),
            Command::Seal { .. } => self.seal(migration),
            Command::Commit(change) => self.commit(migration, &change),
            Command::Tell(commands) => self.tell(migration, &commands),
            Command::Compare { cutover } => self.compare(migration, cutover),
        }
    }

    fn keep(&mut self, migration: &Migration) -> Result<()> {
        let hook = self.database.rebalancing.on_phase.as_ref();
        let tell = |kept| hook.map(|hook| hook.0(migration.id.0, migration.phase.name(), kept));
        tell(false);
        let registry = &self.database.registry;
        self.movement.keep(&self.database.meta, migration, |phase, took| registry.note_phase(phase, took))?;
        tell(true);
        Ok(())
    }

    fn wish(&self) -> Wish {
        self.movement.wish()
    }

    fn wait(&mut self) {
        self.movement.sleep(Duration::from_millis(200));
    }

    fn report(&mut self, migration: &Migration, error: &Error) {
        // Whoever waits for the picture must not wait for what is tried again.
        self.source.release_hold(&migration.slots);
        self.open();
        self.movement.note_error(error);
    }
}

/// The key of a migration's record.
pub(super) fn record_key(id: MigrationId) -> String {
    format!("migration/{:020}", id.0)
}
