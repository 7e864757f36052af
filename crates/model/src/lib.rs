//! The nouns of Evenkeel: ids, tokens, slots and who owns them, timestamps, column types, roles, settings, errors.
//!
//! Values only: nothing here reads a clock, a file, a socket or a random source.

pub mod access;
pub mod error;
pub mod oid;
pub mod progress;
pub mod settings;
pub mod slot;
mod slots;
pub mod time;
pub mod types;

pub use access::{Privilege, Role};
pub use error::{Error, Result, Span, SqlState, did_you_mean};
pub use oid::{PG_TYPES, PgType, TypeOid};
pub use progress::Progress;
pub use settings::{SETTINGS, Setting, SettingKind, SettingScope, Settings};
pub use slot::{Epoch, JobId, MigrationId, ShardId, Slot, SlotBits, SlotMap, TableId, Token};
pub use slots::SlotSet;
pub use time::Timestamp;
pub use types::ColumnType;
