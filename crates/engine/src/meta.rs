//! What the whole database knows and no single shard does: schemas, settings, the slot map, marks and records.
//!
//! A small RocksDB of its own, written rarely and always synced; values are JSON, so that a directory can be read with
//! common tools when things go wrong.

pub(crate) use evenkeel_conductor::{MetaChange, MetaStore};

use evenkeel_model::Result;
use evenkeel_storage::storage_error;
use rocksdb::{DB, IteratorMode, Options, WriteBatch, WriteOptions};
use std::path::Path;

/// The database's durable facts.
pub(crate) struct Meta {
    db: DB,
}

impl Meta {
    /// Opens the store in `path`, making it where there is none.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let mut options = Self::options();
        options.create_if_missing(true);
        let db = DB::open(&options, path).map_err(|error| storage_error(&error))?;
        Ok(Self { db })
    }

    /// Opens the store in `path` to be looked at.
    pub(crate) fn read_only(path: &Path) -> Result<Self> {
        let db = DB::open_for_read_only(&Self::options(), path, false).map_err(|error| storage_error(&error))?;
        Ok(Self { db })
    }

    fn options() -> Options {
        let mut options = Options::default();
        options.set_write_buffer_size(1 << 20);
        options.set_wal_recovery_mode(rocksdb::DBRecoveryMode::TolerateCorruptedTailRecords);
        options.set_keep_log_file_num(2);
        options.set_log_level(rocksdb::LogLevel::Warn);
        options
    }
}

impl MetaStore for Meta {
    fn read(&self, key: &str) -> Result<Option<Vec<u8>>> {
        self.db.get(key).map_err(|error| storage_error(&error))
    }

    fn read_all(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>> {
        let mut values = Vec::new();
        for item in self.db.iterator(IteratorMode::From(prefix.as_bytes(), rocksdb::Direction::Forward)) {
            let (key, json) = item.map_err(|error| storage_error(&error))?;
            let key = String::from_utf8_lossy(&key);
            if !key.starts_with(prefix) {
                break;
            }
            values.push((key.to_string(), json.into_vec()));
        }
        Ok(values)
    }

    /// It is on disk when this returns.
    fn commit(&self, change: MetaChange) -> Result<()> {
        let mut batch = WriteBatch::default();
        for (key, value) in change.keys {
            match value {
                Some(json) => batch.put(key, json),
                None => batch.delete(key),
            }
        }
        let mut options = WriteOptions::default();
        options.set_sync(true);
        self.db.write_opt(batch, &options).map_err(|error| storage_error(&error))
    }
}
