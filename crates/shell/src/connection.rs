//! The one small interface between the prompt and a database: a statement goes in; columns, rows, notices and progress come
//! out. [`crate::remote`] has the one that speaks to servers; tests have one that answers what it was told.

use std::io::Read;

use bytes::Bytes;
use evenkeel_model::{Progress, Result};
use futures::future::BoxFuture;
use futures::stream::BoxStream;

use crate::rows::{Batch, Columns};

/// What a statement answers, in order: notices and progress at any time, columns before the first rows, and
/// [`Event::Complete`] last. An error ends the stream.
#[derive(Clone, Debug)]
pub enum Event {
    /// The columns of the rows that follow.
    Columns(Columns),
    /// Rows.
    Batch(Batch),
    /// Something worth saying that is not an error.
    Notice(Notice),
    /// How far a long statement has come.
    Progress(Progress),
    /// Rows of a COPY TO STDOUT, as they are to be written; at first none.
    Copy(Bytes),
    /// The statement is done. PostgreSQL's command tag: `SELECT 5`, `INSERT 0 3`, `CREATE TABLE`.
    Complete(String),
}

/// Something worth saying that is not an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub message: String,
    pub hint: Option<String>,
}

/// Where the rows of a COPY FROM STDIN come from, if they come from somewhere.
pub type Input = Option<Box<dyn Read + Send>>;

/// A session of a database.
pub trait Connection: Send + Sync {
    /// Runs one statement. `variables` are the values of `@name` parameters as text: a number, `true`, `false` or
    /// `null` is that, anything else is a string. `input` is read if the statement asks for rows. Dropping the stream
    /// cancels the statement.
    fn execute<'a>(
        &'a self,
        statement: &'a str,
        variables: &'a [(String, String)],
        input: Input,
    ) -> BoxStream<'a, Result<Event>>;

    /// Stops what runs in this session now; its stream ends with SQLSTATE 57014.
    fn cancel(&self);

    /// Whether a transaction is open, and whether it has failed: shown in the prompt.
    fn transaction(&self) -> TransactionState;

    /// Whether it is known that the connection has broken.
    fn is_lost(&self) -> bool;

    /// Connects again where the connection has broken, and says so. A transaction that was open then counts as failed.
    ///
    /// # Errors
    /// 08001 when the server can't be reached, and what the server says when it does not let the user in.
    fn revive(&self) -> BoxFuture<'_, Result<Option<Notice>>>;
}

/// Whether a transaction is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionState {
    Idle,
    Open,
    Failed,
}
