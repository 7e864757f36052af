//! The one small interface between the prompt and a database: a statement goes in; schema, batches, notices and
//! progress come out. Everything the shell shows, completes and asserts goes through it, so that an embedded database
//! and a server reached over the wire look alike.

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use evenkeel_model::Result;
use futures::stream::BoxStream;

/// What a statement answers, in order: notices and progress at any time, a schema before the first batch, and
/// [`Event::Complete`] last. An error ends the stream.
#[derive(Clone, Debug)]
pub enum Event {
    /// The columns of the rows that follow.
    Schema(SchemaRef),
    /// Rows.
    Batch(RecordBatch),
    /// Something worth saying that is not an error.
    Notice(Notice),
    /// How far a long statement has come.
    Progress(Progress),
    /// Rows of a COPY TO STDOUT, as they are to be written.
    Copy(Vec<u8>),
    /// The statement is done.
    Complete(Completion),
}

/// Something worth saying that is not an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub message: String,
    pub hint: Option<String>,
}

/// How far a long statement has come.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// What is being done: `COPY flights`, `building`, `shard 1 → 2, copying`. One bar for each name before the comma.
    pub label: String,
    /// Units done so far.
    pub done: u64,
    /// Units in all, where that is known.
    pub total: Option<u64>,
    /// What is counted.
    pub unit: ProgressUnit,
    /// Rows so far, where the unit is not rows.
    pub rows: Option<u64>,
}

/// What progress counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgressUnit {
    Rows,
    Bytes,
}

/// The end of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// PostgreSQL's command tag: `SELECT 5`, `INSERT 0 3`, `CREATE TABLE`.
    pub tag: String,
}

/// A session of a database.
pub trait Connection: Send + Sync {
    /// Runs one statement. `variables` are the values of `@name` parameters as text: a number, `true`, `false` or
    /// `null` is that, anything else is a string. Dropping the stream cancels the statement.
    fn execute<'a>(&'a self, statement: &'a str, variables: &'a [(String, String)]) -> BoxStream<'a, Result<Event>>;

    /// Stops what runs in this session now; its stream ends with SQLSTATE 57014.
    fn cancel(&self);

    /// Whether a transaction is open, and whether it has failed: shown in the prompt.
    fn transaction(&self) -> TransactionState;
}

/// Whether a transaction is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionState {
    Idle,
    Open,
    Failed,
}
