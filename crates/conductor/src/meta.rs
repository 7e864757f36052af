//! The database's durable facts, as far as jobs and migrations are concerned: keys and JSON values, changed together.

use evenkeel_model::{Error, Result, SqlState};
use serde::{Serialize, de::DeserializeOwned};

/// Several changes that happen together or not at all.
#[derive(Clone, Debug, Default)]
pub struct MetaChange {
    /// In order; without a value the key is removed.
    pub keys: Vec<(String, Option<Vec<u8>>)>,
}

impl MetaChange {
    /// Sets a key.
    ///
    /// # Errors
    /// XX000 for what can't be written as JSON.
    pub fn put(&mut self, key: &str, value: &impl Serialize) -> Result<()> {
        let json = serde_json::to_vec(value).map_err(|error| Error::internal(format!("{key}: {error}")))?;
        self.keys.push((key.to_string(), Some(json)));
        Ok(())
    }

    /// Removes a key.
    pub fn delete(&mut self, key: &str) {
        self.keys.push((key.to_string(), None));
    }
}

/// Where they are kept.
pub trait MetaStore {
    /// The JSON of a key.
    ///
    /// # Errors
    /// What the store says; this and all below.
    fn read(&self, key: &str) -> Result<Option<Vec<u8>>>;

    /// Every key that starts with `prefix`, ascending, with its JSON.
    fn read_all(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>>;

    /// Makes a change, which is durable when this returns. After an error it may have happened or not.
    fn commit(&self, change: MetaChange) -> Result<()>;

    /// The value of a key.
    fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        self.read(key)?.map(|json| decode(key, &json)).transpose()
    }

    /// Every value whose key starts with `prefix`, with the rest of its key.
    fn list<T: DeserializeOwned>(&self, prefix: &str) -> Result<Vec<(String, T)>> {
        let rest = |key: &str| key.strip_prefix(prefix).unwrap_or(key).to_string();
        self.read_all(prefix)?.iter().map(|(key, json)| Ok((rest(key), decode(key, json)?))).collect()
    }

    /// Sets one key.
    fn put(&self, key: &str, value: &impl Serialize) -> Result<()> {
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
