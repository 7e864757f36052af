//! What the whole database knows and no single shard does: schemas, settings, the slot map, marks and records.
//!
//! A small RocksDB of its own, written rarely and always synced; values are JSON, so that a directory can be read with
//! common tools when things go wrong.

use evenkeel_model::{Error, Result, SqlState};
use evenkeel_storage::storage_error;
use rocksdb::{DB, IteratorMode, Options, WriteBatch, WriteOptions};
use serde::{Serialize, de::DeserializeOwned};
use std::path::Path;

/// The database's durable facts.
pub(crate) struct Meta {
    db: DB,
}

/// Several changes that happen together or not at all.
#[derive(Default)]
pub(crate) struct MetaChange {
    batch: WriteBatch,
}

impl MetaChange {
    /// Sets a key.
    pub(crate) fn put(&mut self, key: &str, value: &impl Serialize) -> Result<()> {
        let json = serde_json::to_vec(value).map_err(|error| Error::internal(format!("{key}: {error}")))?;
        self.batch.put(key, json);
        Ok(())
    }

    /// Removes a key.
    pub(crate) fn delete(&mut self, key: &str) {
        self.batch.delete(key);
    }
}

impl Meta {
    /// Opens the store in `path`, making it where there is none.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_write_buffer_size(1 << 20);
        options.set_wal_recovery_mode(rocksdb::DBRecoveryMode::TolerateCorruptedTailRecords);
        options.set_keep_log_file_num(2);
        options.set_log_level(rocksdb::LogLevel::Warn);
        let db = DB::open(&options, path).map_err(|error| storage_error(&error))?;
        Ok(Self { db })
    }

    /// The value of a key.
    pub(crate) fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let value = self.db.get_pinned(key).map_err(|error| storage_error(&error))?;
        value.map(|json| decode(key, &json)).transpose()
    }

    /// Every value whose key starts with `prefix`, with the rest of its key.
    pub(crate) fn list<T: DeserializeOwned>(&self, prefix: &str) -> Result<Vec<(String, T)>> {
        let mut values = Vec::new();
        for item in self.db.iterator(IteratorMode::From(prefix.as_bytes(), rocksdb::Direction::Forward)) {
            let (key, json) = item.map_err(|error| storage_error(&error))?;
            let key = String::from_utf8_lossy(&key);
            let Some(rest) = key.strip_prefix(prefix) else { break };
            values.push((rest.to_string(), decode(&key, &json)?));
        }
        Ok(values)
    }

    /// Makes a change, which is on disk when this returns.
    pub(crate) fn commit(&self, change: MetaChange) -> Result<()> {
        let mut options = WriteOptions::default();
        options.set_sync(true);
        self.db.write_opt(change.batch, &options).map_err(|error| storage_error(&error))
    }

    /// Sets one key.
    pub(crate) fn put(&self, key: &str, value: &impl Serialize) -> Result<()> {
        let mut change = MetaChange::default();
        change.put(key, value)?;
        self.commit(change)
    }
}

fn decode<T: DeserializeOwned>(key: &str, json: &[u8]) -> Result<T> {
    serde_json::from_slice(json).map_err(|error| {
        Error::new(SqlState::DataCorrupted, format!("the database's record \"{key}\" is damaged"))
            .with_detail(error.to_string())
    })
}
