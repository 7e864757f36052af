//! A database directory: opening it, what a crash left half done, and what goes on in the background.
//!
//! ```text
//! DIR/FORMAT      the directory's format version
//! DIR/LOCK        held by the one process that has the directory open
//! DIR/meta/       schemas, settings, slot map, marks (a small RocksDB)
//! DIR/shards/N/   shard N (a RocksDB)
//! DIR/log/        the commit log of all shards
//! DIR/tmp/        sorted runs and spilled queries; emptied at every start
//! ```
//!
//! WHAT MAY NEVER HAPPEN: two processes write one directory; a transaction that a crash left half done stays half done.

use crate::access::Users;
use crate::background::Background;
use crate::layout::{Layout, Topology};
use crate::meta::{Meta, MetaChange, MetaStore};
use crate::oracle::{Oracle, now_ms};
use crate::planning::{Memory, Planner};
use crate::rebalancing::Rebalancing;
use crate::registry::Registry;
use crate::row_locks::RowLocks;
use crate::settings::{ConfiguredSettings, SystemSettings};
use crate::snapshots::Snapshots;
use crate::table::TableHandle;
use crate::table_locks::TableLocks;
use evenkeel_catalog as catalog;
use evenkeel_conductor::listed_shards;
use evenkeel_model::{Error, Result, Setting, Settings, ShardId, SlotBits, SlotMap, SqlState, TableId, Timestamp};
use evenkeel_storage::commit_log::{CommitLog, RecordNumber};
use evenkeel_storage::{ApplyError, Command, Durability, Shard, Store};
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// The version of the directory's format. A directory of another version is refused.
const FORMAT: &str = "evenkeel 2";

/// The file whose lock is the directory's.
pub(crate) const LOCK: &str = "LOCK";

/// Up to where the commit log is in the shards.
pub(crate) const MARK: &str = "log_mark";

/// How a database is opened.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// Shards of a new database; the setting `shards` where there is none. An existing database keeps its own.
    pub shards: Option<u32>,
    /// What the configuration gives settings that nobody has set with ALTER SYSTEM.
    pub configured: ConfiguredSettings,
    /// Who is told when a migration goes from phase to phase.
    pub on_phase: Option<PhaseHook>,
    /// For measuring what counting costs: rows, bytes and accesses are not counted, and whatever is told or decided by their
    /// counts is wrong.
    pub uncounted: bool,
}

/// Called with the number of a migration and the name of the phase that it enters, before its record is kept (`false`) and
/// after (`true`). Tests end the process there.
#[derive(Clone)]
pub struct PhaseHook(pub Arc<OnPhase>);

/// See [`PhaseHook`].
pub type OnPhase = dyn Fn(u64, &str, bool) + Send + Sync;

impl std::fmt::Debug for PhaseHook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PhaseHook")
    }
}

/// Schemas and views at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Schemas {
    pub(crate) tables: BTreeMap<String, Arc<TableHandle>>,
    pub(crate) views: BTreeMap<String, catalog::View>,
}

/// A bulk load that some readers must not see yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) table: TableId,
    pub(crate) load: Timestamp,
    /// When it became visible; `None` while it runs.
    pub(crate) commit: Option<Timestamp>,
    /// Whether the counters have its rows, and its record may be forgotten when every reader sees it.
    pub(crate) counted: bool,
}

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct StoredLoad {
    pub(crate) table: TableId,
    pub(crate) commit: Timestamp,
    /// The transaction that has committed with it: this is the record of its intents, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) transaction: Option<Timestamp>,
}

/// Everything up to a record of the commit log is in the shards' own files, whose sequence numbers were these.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct LogMark {
    pub(crate) record: RecordNumber,
    pub(crate) sequences: BTreeMap<ShardId, u64>,
}

/// An open database.
pub struct Database {
    pub(crate) directory: PathBuf,
    pub(crate) meta: Arc<Meta>,
    pub(crate) oracle: Oracle,
    pub(crate) store: Store,
    pub(crate) topology: Arc<Topology>,
    pub(crate) rebalancing: Rebalancing,
    pub(crate) schemas: RwLock<Arc<Schemas>>,
    pub(crate) users: RwLock<Arc<Users>>,
    /// Grows after schemas or users have changed: what was decided before has to be decided again.
    access_epoch: AtomicU64,
    /// Held while a schema changes, so that changes follow one another.
    pub(crate) schema_change: tokio::sync::Mutex<()>,
    pub(crate) table_locks: TableLocks,
    pub(crate) row_locks: RowLocks,
    pub(crate) settings: RwLock<SystemSettings>,
    pub(crate) effective: RwLock<Arc<Settings>>,
    pub(crate) snapshots: Snapshots,
    pub(crate) loads: RwLock<Vec<Load>>,
    /// Tables that were dropped, with when: their rows go once no reader is older.
    pub(crate) dropped: Mutex<Vec<(TableId, Timestamp)>>,
    /// Committed transactions over several shards, by primary, whose records may go after the next sync.
    pub(crate) resolved: Mutex<Vec<(ShardId, Timestamp)>>,
    /// Whether a commit was acknowledged that is not on disk yet.
    pub(crate) unsynced: AtomicBool,
    /// The last record of the commit log that is marked.
    marked: Mutex<RecordNumber>,
    pub(crate) registry: Registry,
    pub(crate) planner: Planner,
    background: Mutex<Option<Background>>,
    log: OnceLock<CommitLog>,
    _lock: File,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl Database {
    /// Opens a directory, making a new database where there is none, and finishes what a crash left half done.
    ///
    /// # Errors
    /// 57P03 when another process has the directory or it is none of ours; XX001 for damaged files; 58030 for a disk
    /// that fails or may not be written; 22023 for options that cannot be, before anything is made.
    pub fn open(directory: &Path, options: &OpenOptions) -> Result<Arc<Self>> {
        let began = Instant::now();
        let shards_wanted = shards_wanted(options)?;
        let lock = claim(directory)?;
        let created = check_format(directory)?;
        if !created && !directory.join("meta").join("CURRENT").exists() {
            return Err(Error::new(SqlState::DataCorrupted, "the files of the database's schemas are missing")
                .with_detail(format!("{} is not there or not complete", directory.join("meta").display()))
                .with_hint("restore the directory from a backup; nothing was changed"));
        }
        let meta = Arc::new(Meta::open(&directory.join("meta"))?);
        let slots = slot_map(&meta, shards_wanted)?;
        let settings = SystemSettings::load(&meta, options.configured.clone())?;
        let effective = Arc::new(settings.effective());
        let store = Store::new(effective.size("cache_size") as usize)?;
        let store = if options.uncounted { store.uncounted() } else { store };
        let mut shards = BTreeMap::new();
        let listed = listed_shards(&*meta, &slots)?;
        for id in listed.keys().copied() {
            let path = directory.join("shards").join(id.to_string());
            if !created && !path.join("CURRENT").exists() {
                return Err(Error::new(SqlState::DataCorrupted, format!("the files of shard {id} are missing"))
                    .with_detail(format!("{} is not there or not complete", path.display()))
                    .with_hint("restore the directory from a backup; nothing was changed"));
            }
            let shard = Shard::open(id, &path, slots.bits(), &store)?;
            shard.claim(slots.slots_of(id), slots.epoch())?;
            shards.insert(id, Arc::new(shard));
        }
        // The format is written last: a directory without it is new, whatever a crash left in it.
        if created {
            write_format(directory)?;
        }
        let spill = fresh_directory(&directory.join("tmp"))?;
        let schemas = load_schemas(&meta)?;
        let planner = Planner::new(&spill, query_memory(&effective))?;
        let database = Arc::new(Self {
            directory: directory.to_path_buf(),
            oracle: Oracle::open(Arc::clone(&meta))?,
            store,
            rebalancing: Rebalancing::open(&meta, listed, options.on_phase.clone())?,
            topology: Arc::new(Topology::new(Layout::new(slots, shards))),
            schemas: RwLock::new(Arc::new(schemas)),
            users: RwLock::new(Arc::new(Users::open(&meta)?)),
            access_epoch: AtomicU64::new(0),
            schema_change: tokio::sync::Mutex::default(),
            table_locks: TableLocks::default(),
            row_locks: RowLocks::default(),
            settings: RwLock::new(settings),
            effective: RwLock::new(effective),
            snapshots: Snapshots::default(),
            loads: RwLock::default(),
            dropped: Mutex::default(),
            resolved: Mutex::default(),
            unsynced: AtomicBool::new(false),
            marked: Mutex::default(),
            registry: Registry::open(Arc::clone(&meta))?,
            planner,
            background: Mutex::default(),
            log: OnceLock::new(),
            meta,
            _lock: lock,
        });
        if created {
            let layout = database.layout();
            let (shards, slots) = (layout.shards.len(), layout.slots.bits().slots());
            database.event("database", "created", &format!("{shards} shards, {slots} slots"));
        }
        let last = database.recover()?;
        database.start_log(last)?;
        database.resume_rebalancing()?;
        *database.background.lock() = Some(Background::start(Arc::downgrade(&database)));
        database.log_opened(created, began);
        Ok(database)
    }

    /// Says in the log how opening went; what recovery did stands before it, as events.
    fn log_opened(&self, created: bool, began: Instant) {
        let conductor = &self.rebalancing.conductor;
        let migrations = conductor.migrations().iter().filter(|stored| !stored.migration.phase.is_over()).count();
        tracing::info!(
            data = %self.directory.display(),
            created,
            shards = self.shard_count(),
            migrations_resumed = migrations,
            duration_ms = began.elapsed().as_millis() as u64,
            "database opened"
        );
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Lets migrations stop where they are, and ends what the database does by itself; waits for both. Then it is closed by
    /// whoever has it last: by this call where no session is left. What was begun goes on when it is opened again.
    ///
    /// A process that ends without this may end while the database's own thread still closes it, which RocksDB answers
    /// with an abort. Nothing that was acknowledged is lost by that.
    pub fn close(self: Arc<Self>) {
        self.stop_rebalancing();
        let background = self.background.lock().take();
        drop(background);
    }

    /// How many shards there are.
    pub fn shard_count(&self) -> usize {
        self.layout().shards.len()
    }

    pub(crate) fn log_directory(&self) -> PathBuf {
        self.directory.join("log")
    }

    fn start_log(self: &Arc<Self>, last: RecordNumber) -> Result<()> {
        let database = Arc::downgrade(self);
        let mark = move |last| {
            let Some(database) = database.upgrade() else { return Err(Error::internal("the database is closing")) };
            let outcome = database.mark_log(last);
            if let Err(error) = &outcome {
                database.registry.report_background(error);
            }
            outcome
        };
        let directory = self.log_directory();
        let log =
            CommitLog::start(&directory, last, mark).map_err(|error| io_error("cannot start", &directory, &error))?;
        self.log.set(log).map_err(|_| Error::internal("the commit log was started twice"))
    }

    /// Puts everything that was applied on disk, and notes that the commit log is not needed up to `last`.
    pub(crate) fn mark_log(&self, last: RecordNumber) -> Result<()> {
        // One after another: a mark that goes back would ask the next start for records that are overwritten.
        let mut marked = self.marked.lock();
        let mut sequences = BTreeMap::new();
        for (id, shard) in &self.layout().shards {
            let sequence = shard.sequence();
            shard.sync()?;
            sequences.insert(*id, sequence);
        }
        if last > *marked {
            self.meta.put(MARK, &LogMark { record: last, sequences })?;
            *marked = last;
        }
        Ok(())
    }

    pub(crate) fn log(&self) -> &CommitLog {
        self.log.get().expect("the commit log starts when the database has recovered")
    }

    /// Removes the rows of dropped tables that no reader can ask for.
    pub(crate) fn purge_dropped(&self) -> Result<()> {
        // A copy that is under way would bring rows back.
        if self.rebalancing.conductor.is_moving() {
            return Ok(());
        }
        let oldest = self.snapshots.oldest().unwrap_or(Timestamp::MAX);
        let ready: Vec<_> = self.dropped.lock().iter().filter(|(_, at)| *at < oldest).copied().collect();
        for (table, at) in ready {
            for shard in self.layout().shards.values() {
                shard.apply(&Command::DropTable { table }, Durability::Synced).map_err(apply_error)?;
            }
            let mut change = MetaChange::default();
            change.delete(&format!("dropped/{table}"));
            self.meta.commit(change)?;
            self.dropped.lock().retain(|entry| *entry != (table, at));
        }
        Ok(())
    }

    /// Acknowledged commits that are only in the operating system's hands go to disk, and transaction records whose
    /// second phase is on disk go away.
    pub(crate) fn sync(&self) -> Result<()> {
        let resolved = std::mem::take(&mut *self.resolved.lock());
        if !self.unsynced.swap(false, Ordering::SeqCst) && resolved.is_empty() {
            return Ok(());
        }
        for shard in self.layout().shards.values() {
            shard.sync()?;
        }
        let mut records: BTreeMap<ShardId, Vec<Timestamp>> = BTreeMap::new();
        for (primary, start) in resolved {
            records.entry(primary).or_default().push(start);
        }
        for (primary, transactions) in records {
            self.shard(primary)?.apply(&Command::Forget { transactions }, Durability::Buffered).map_err(apply_error)?;
        }
        Ok(())
    }

    /// Moves the point below which versions may be collected, as of `now_ms`, and forgets loads that every reader sees.
    pub(crate) fn raise_safe_point(&self, now_ms: i64) -> Result<()> {
        let retention = self.settings().duration_ms("gc_retention") as i64;
        let mut safe = Timestamp::from_millis(now_ms - retention);
        if let Some(oldest) = self.snapshots.oldest() {
            safe = safe.min(oldest);
        }
        // A commit that a restart may apply again must find what it replaced or what deleted its row.
        let unmarked = self.log.get().map_or(Timestamp::MAX, CommitLog::oldest_unmarked);
        safe = safe.min(Timestamp(unmarked.0 - 1));
        // A deletion that a migration's target collects could no longer hide an older version on its way there.
        safe = safe.min(self.rebalancing.conductor.oldest_start());
        // Later readers start at or above the safe point, also in a database that was idle for long.
        self.oracle.observe(safe)?;
        self.store.raise_safe_point(safe);
        let is_old = |load: &Load| load.counted && load.commit.is_some_and(|at| at <= safe);
        let old: Vec<_> = self.loads.read().iter().filter(|load| is_old(load)).copied().collect();
        if !old.is_empty() {
            let mut change = MetaChange::default();
            old.iter().for_each(|load| change.delete(&format!("load/{}", load.load.0)));
            self.meta.commit(change)?;
            self.loads.write().retain(|load| !is_old(load));
        }
        Ok(())
    }

    /// Rewrites a table, or everything, in all shards without the versions that no reader can ask for: VACUUM.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn collect_garbage(&self, table: Option<TableId>) -> Result<()> {
        self.raise_safe_point(now_ms())?;
        self.purge_dropped()?;
        self.layout().shards.values().for_each(|shard| shard.compact(table));
        Ok(())
    }

    /// A system setting that is a whole number.
    pub fn setting_integer(&self, name: &str) -> i64 {
        self.settings().integer(name)
    }

    /// A system setting that is a span of time, in milliseconds.
    pub fn setting_duration_ms(&self, name: &str) -> u64 {
        self.settings().duration_ms(name)
    }

    /// A system setting that is a size, in bytes.
    pub fn setting_size(&self, name: &str) -> u64 {
        self.settings().size(name)
    }

    /// The shards and their slots, now.
    pub(crate) fn layout(&self) -> Arc<Layout> {
        self.topology.layout()
    }

    pub(crate) fn shard(&self, id: ShardId) -> Result<Arc<Shard>> {
        self.layout().shard(id).cloned()
    }

    pub(crate) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.effective.read())
    }

    pub(crate) fn schemas(&self) -> Arc<Schemas> {
        Arc::clone(&self.schemas.read())
    }

    /// Which schemas and users there are: as long as it is the same, so are they.
    pub(crate) fn access_epoch(&self) -> u64 {
        self.access_epoch.load(Ordering::Acquire)
    }

    /// Notes that schemas or users are others now.
    pub(crate) fn access_changed(&self) {
        self.access_epoch.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn event(&self, kind: &str, subject: &str, message: &str) {
        self.registry.event(now_ms(), kind, subject, message);
    }

    /// The loads that a reader of `table` at `read` must not see.
    pub(crate) fn hidden_loads(&self, table: TableId, read: Timestamp) -> Vec<Timestamp> {
        let loads = self.loads.read();
        let hidden =
            |load: &&Load| load.table == table && load.load <= read && load.commit.is_none_or(|commit| commit > read);
        loads.iter().filter(hidden).map(|load| load.load).collect()
    }
}

impl Database {
    /// The tables in which rows of a bulk load became visible after `since`, or may be about to: they may be older than
    /// that.
    pub(crate) fn loaded_since(&self, since: Timestamp) -> BTreeSet<TableId> {
        let loads = self.loads.read();
        loads.iter().filter(|load| load.commit.is_none_or(|commit| commit > since)).map(|load| load.table).collect()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.background.lock().take();
        self.rebalancing.stop_runner();
        // Nothing acknowledged depends on this: it only shortens the next start.
        if let Some(log) = self.log.take()
            && let Err(error) = self.mark_log(log.close())
        {
            self.registry.report_background(&error);
        }
        if self.sync().is_ok() {
            let _ = fs::remove_dir_all(self.directory.join("tmp"));
        }
    }
}

/// A failed command in the user's words; conflicts are explained where the key is known.
pub(crate) fn apply_error(error: ApplyError) -> Error {
    match error {
        ApplyError::Failed(error) => error,
        ApplyError::Conflict { .. } => {
            Error::new(SqlState::SerializationFailure, "another transaction changed the same row first")
                .with_hint("retry the transaction")
        }
    }
}

/// An operating-system error in the user's words.
pub(crate) fn io_error(what: &str, path: &Path, error: &std::io::Error) -> Error {
    let state = match error.kind() {
        std::io::ErrorKind::NotFound => SqlState::UndefinedFile,
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => SqlState::DiskFull,
        _ => SqlState::IoError,
    };
    Error::new(state, format!("{what} {}: {error}", path.display()))
}

fn claim(directory: &Path) -> Result<File> {
    fs::create_dir_all(directory).map_err(|error| io_error("cannot make the directory", directory, &error))?;
    let path = directory.join(LOCK);
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|error| io_error("cannot write to the directory: ", &path, &error))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(Error::new(
            SqlState::CannotConnectNow,
            format!("the database {} is open in another process", directory.display()),
        )
        .with_hint("close that process, or use another directory with --data")),
        Err(TryLockError::Error(error)) => Err(io_error("cannot lock", &path, &error)),
    }
}

/// Whether the directory is new.
fn check_format(directory: &Path) -> Result<bool> {
    let path = directory.join("FORMAT");
    match fs::read_to_string(&path) {
        Ok(found) if found.trim() == FORMAT => Ok(false),
        Ok(found) => Err(Error::new(
            SqlState::CannotConnectNow,
            format!("the database {} has the format \"{}\"", directory.display(), found.trim()),
        )
        .with_hint(format!("this version of evenkeel reads \"{FORMAT}\""))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let entries = fs::read_dir(directory).map_err(|error| io_error("cannot read", directory, &error))?;
            let ours = [LOCK, "meta", "shards", "tmp", "FORMAT.part"];
            for entry in entries.flatten() {
                if !ours.contains(&entry.file_name().to_string_lossy().as_ref()) {
                    return Err(Error::new(
                        SqlState::CannotConnectNow,
                        format!("{} is not empty and no evenkeel database", directory.display()),
                    )
                    .with_detail(format!("it contains {}", entry.file_name().display()))
                    .with_hint("choose an empty or a new directory"));
                }
            }
            Ok(true)
        }
        Err(error) => Err(io_error("cannot read", &path, &error)),
    }
}

fn write_format(directory: &Path) -> Result<()> {
    use std::io::Write;
    let (part, path) = (directory.join("FORMAT.part"), directory.join("FORMAT"));
    let written = File::create(&part)
        .and_then(|mut file| file.write_all(format!("{FORMAT}\n").as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&part, &path))
        .and_then(|()| File::open(directory)?.sync_all());
    written.map_err(|error| io_error("cannot write", &path, &error))
}

fn fresh_directory(path: &Path) -> Result<PathBuf> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io_error("cannot empty", path, &error)),
        _ => {
            fs::create_dir_all(path).map(|()| path.to_path_buf()).map_err(|error| io_error("cannot make", path, &error))
        }
    }
}

/// How many shards a new database gets.
fn shards_wanted(options: &OpenOptions) -> Result<u32> {
    let wanted = options.shards.map_or_else(|| Settings::default().integer("shards").to_string(), |n| n.to_string());
    Ok(Setting::find("shards")?.check(&wanted)?.parse().unwrap_or(1))
}

fn slot_map(meta: &Meta, shards: u32) -> Result<SlotMap> {
    if let Some(slots) = meta.get::<SlotMap>("slots")? {
        return Ok(slots);
    }
    let defaults = Settings::default();
    let ids: Vec<ShardId> = (1..=shards).map(ShardId).collect();
    let slots = SlotMap::even(SlotBits::new(defaults.integer("slot_bits") as u32).unwrap_or(SlotBits::DEFAULT), &ids);
    let mut change = MetaChange::default();
    change.put("slots", &slots)?;
    change.put("created_at", &now_ms())?;
    meta.commit(change)?;
    Ok(slots)
}

fn load_schemas(meta: &Meta) -> Result<Schemas> {
    let tables = meta.list::<catalog::Table>("table/")?;
    let views = meta.list::<catalog::View>("view/")?;
    Ok(Schemas {
        tables: tables.into_iter().map(|(name, table)| (name, Arc::new(TableHandle::new(table)))).collect(),
        views: views.into_iter().collect(),
    })
}

/// What statements may have of the memory.
pub(crate) fn query_memory(settings: &Settings) -> Memory {
    Memory { all: settings.size("memory_limit") as usize, one: settings.size("query_memory_limit") as usize }
}
