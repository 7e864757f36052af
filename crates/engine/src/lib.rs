//! Sessions, transactions, DataFusion over shards, DDL and DML.
//!
//! A [`Database`] is a directory; a [`Session`] runs statements against it, one after another, and answers each with a
//! stream of [`Event`]s. The life of a statement: `session` (lists it, limits it) → `statement` (what kind) → `access` (whether it may) → `planning`
//! (names, DataFusion) → `scan` over shards for what is read, `dml` → `transaction` or `load` for what is written.

mod access;
mod administration;
mod alter;
mod arithmetic;
mod background;
mod casts;
mod changes;
mod clauses;
mod commit;
mod copy;
mod database;
mod ddl;
mod definition;
mod direct;
mod dml;
mod error;
mod evaluate;
mod files;
mod foreign;
mod functions;
mod interval;
mod json;
mod latency;
mod layout;
mod load;
mod locking;
mod measures;
mod memory;
mod meta;
mod names;
mod naming;
mod operators;
mod oracle;
mod output;
mod parameters;
mod parsed;
mod pg;
mod planning;
mod point;
mod prepared;
mod processors;
mod rebalancing;
mod recovery;
mod registry;
mod renewal;
mod route;
mod row_insert;
mod row_locks;
mod scan;
mod session;
mod sets;
mod settings;
mod snapshots;
mod spelling;
mod statement;
mod states;
mod sum;
mod table;
mod table_locks;
mod traces;
mod transaction;
mod types;
mod validate;
mod values;
mod view;

pub use access::{Credential, Verifier};
pub use database::{Database, OnPhase, OpenOptions, PhaseHook};
pub use datafusion::common::ScalarValue;
pub use evenkeel_catalog::BUILT_IN_USER;
pub use evenkeel_storage::codec::Value;
pub use files::{ColumnText, JsonRows, parse_value};
pub use measures::{Decided, Histogram, Measures, MovingMeasures, ShardMeasures, StatementClass};
pub use output::Event;
pub use parameters::field_type;
pub use parsed::{
    CopyStream, Forgotten, Parsed, copied_quote, copy_stream_of, ends_block, forgotten_by, may_share_a_block,
};
pub use prepared::{Prepared, PreparedUpdate};
pub use session::{Answer, Session, SessionOptions, TransactionState};
pub use settings::ConfiguredSettings;
pub use traces::SPAN_TARGET;
