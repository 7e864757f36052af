//! What the shards of one process share: block cache, write-buffer budget, background threads.

use crate::counters;
use evenkeel_model::Timestamp;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, CompactionDecision, DBCompressionType, DBRecoveryMode, Env,
    LogLevel, Options, WriteBufferManager,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Newest versions: row key → timestamp (8) · kind (1) · row.
pub(crate) const DATA: &str = "data";
/// Versions that were replaced: row key · inverted timestamp (8) → timestamp of the replacing version (8) · row.
pub(crate) const HISTORY: &str = "history";
/// Intents of transactions over several shards: row key → start (8) · primary shard (4) · kind (1) · row.
pub(crate) const LOCK: &str = "lock";
/// Counters, transaction records, loads under way.
pub(crate) const STATE: &str = "state";
pub(crate) const OUTBOX: &str = "outbox";

/// Bytes before the row in [`DATA`]'s values.
pub(crate) const DATA_HEADER: usize = 9;
/// Kinds of a version.
pub(crate) const KIND_DELETE: u8 = 0;
pub(crate) const KIND_PUT: u8 = 1;

/// RocksDB blocks hold about a hundred rows: fewer look-ups per scanned row, still cheap for a point read.
const BLOCK_BYTES: usize = 16 << 10;

/// Shared resources of all shards of a process.
#[derive(Clone)]
pub struct Store {
    cache: Cache,
    write_buffers: WriteBufferManager,
    env: Env,
    safe_point: Arc<AtomicU64>,
    uncounted: bool,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("cache_bytes", &self.cache.get_usage()).finish_non_exhaustive()
    }
}

impl Store {
    /// Shares `cache_bytes` of block cache, of which up to half may be write buffers.
    ///
    /// # Errors
    /// When RocksDB can't make its environment.
    pub fn new(cache_bytes: usize) -> Result<Self, evenkeel_model::Error> {
        let cache = Cache::new_hyper_clock_cache(cache_bytes, 0);
        let env = Env::new().map_err(|error| crate::storage_error(&error))?;
        Ok(Self {
            write_buffers: WriteBufferManager::new_write_buffer_manager_with_cache(
                cache_bytes / 2,
                false,
                cache.clone(),
            ),
            cache,
            env,
            safe_point: Arc::default(),
            uncounted: false,
        })
    }

    /// For measuring what counting costs: shards that are opened with this count neither rows and bytes nor accesses, and
    /// whatever is told or decided by their counts is wrong.
    pub fn uncounted(self) -> Self {
        Self { uncounted: true, ..self }
    }

    pub(crate) fn is_counting(&self) -> bool {
        !self.uncounted
    }

    /// Versions replaced at or below `safe_point` may be collected: no reader will ask for them any more.
    pub fn raise_safe_point(&self, safe_point: Timestamp) {
        self.safe_point.fetch_max(safe_point.0, Ordering::SeqCst);
    }

    /// Shares this much block cache from now on.
    pub fn set_cache_bytes(&self, bytes: usize) {
        // The handle is shared; the binding asks for it mutably all the same.
        self.cache.clone().set_capacity(bytes);
    }

    /// Bytes of cached blocks and write buffers.
    pub fn memory_bytes(&self) -> usize {
        self.cache.get_usage()
    }

    pub(crate) fn options(&self) -> Options {
        // A log that reserves its blocks takes all the room that is left on a nearly full disk, if only until the attempt
        // has failed, and every shard that writes meanwhile finds none. Nothing waits for these files to be synced that
        // reserved blocks would make quicker: the commit log has its own.
        let mut options = Options::default()
            .get_options_from_string("allow_fallocate=false")
            .expect("RocksDB knows the names of its options");
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_env(&self.env);
        options.set_write_buffer_manager(&self.write_buffers);
        options.set_max_background_jobs(2);
        options.set_max_open_files(256);
        // Commits are durable in the commit log; a shard's own log is written in large pieces and synced at every mark.
        // Behind the last sync it may have holes after a crash of the machine: it ends at the first, and the commit log
        // has the rest. That nothing before the mark is missing is seen from the sequence number kept with it.
        options.set_manual_wal_flush(true);
        options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
        options.set_keep_log_file_num(2);
        options.set_max_log_file_size(1 << 20);
        options.set_log_level(LogLevel::Warn);
        options.set_bytes_per_sync(1 << 20);
        options.set_max_total_wal_size(256 << 20);
        options
    }

    fn table_options(&self) -> BlockBasedOptions {
        let mut blocks = BlockBasedOptions::default();
        blocks.set_block_cache(&self.cache);
        blocks.set_block_size(BLOCK_BYTES);
        blocks.set_cache_index_and_filter_blocks(true);
        blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
        blocks.set_format_version(6);
        blocks
    }

    pub(crate) fn data_options(&self) -> Options {
        let mut blocks = self.table_options();
        blocks.set_bloom_filter(10.0, false);
        let mut options = self.options();
        options.set_block_based_table_factory(&blocks);
        options.set_compression_type(DBCompressionType::Lz4);
        options.set_memtable_whole_key_filtering(true);
        options.set_memtable_prefix_bloom_ratio(0.05);
        options
    }

    fn collected(&self, name: &str, replaced: impl Fn(&[u8]) -> Option<u64> + Send + 'static) -> Options {
        let mut options = self.data_options();
        let safe_point = Arc::clone(&self.safe_point);
        options.set_compaction_filter(name, move |_level, _key, value| match replaced(value) {
            Some(timestamp) if timestamp <= safe_point.load(Ordering::SeqCst) => CompactionDecision::Remove,
            _ => CompactionDecision::Keep,
        });
        options
    }

    pub(crate) fn column_families(&self) -> Vec<ColumnFamilyDescriptor> {
        // A deletion is only there for readers below it; without it the row is just as absent.
        let data = self.collected("evenkeel.deletions", |value| match timestamp_of(value) {
            Some(timestamp) if value.get(8) == Some(&KIND_DELETE) => Some(timestamp),
            _ => None,
        });
        let history = self.collected("evenkeel.history", timestamp_of);
        let mut state = self.options();
        state.set_merge_operator_associative("evenkeel.counters", counters::merge);
        vec![
            ColumnFamilyDescriptor::new(DATA, data),
            ColumnFamilyDescriptor::new(HISTORY, history),
            ColumnFamilyDescriptor::new(LOCK, self.options()),
            ColumnFamilyDescriptor::new(STATE, state),
            ColumnFamilyDescriptor::new(OUTBOX, self.options()),
        ]
    }
}

/// The timestamp that a value starts with.
#[inline]
pub(crate) fn timestamp_of(value: &[u8]) -> Option<u64> {
    value.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes))
}
