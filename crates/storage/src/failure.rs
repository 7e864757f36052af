use evenkeel_model::{Error, SqlState};

/// Why a command changed nothing.
#[derive(Clone, Debug, PartialEq)]
pub enum ApplyError {
    /// Another transaction wrote this key after this one started.
    Conflict { key: Vec<u8> },
    /// The store failed.
    Failed(Error),
}

impl From<Error> for ApplyError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<rocksdb::Error> for ApplyError {
    fn from(error: rocksdb::Error) -> Self {
        Self::Failed(storage_error(&error))
    }
}

/// RocksDB's error in the user's words.
pub fn storage_error(error: &rocksdb::Error) -> Error {
    let text = error.to_string();
    if text.contains("No space left") || text.contains("Disk quota exceeded") || text.contains("Space limit reached") {
        return Error::new(SqlState::DiskFull, "no space left on the disk of the database")
            .with_detail(text)
            .with_hint("free some space and open the database again; nothing that was acknowledged is lost");
    }
    match error.kind() {
        rocksdb::ErrorKind::Corruption => Error::new(SqlState::DataCorrupted, "stored data is damaged")
            .with_detail(text)
            .with_hint("restore the directory from a backup; the other shards are untouched"),
        _ => Error::new(SqlState::IoError, "the disk of the database failed").with_detail(text),
    }
}
