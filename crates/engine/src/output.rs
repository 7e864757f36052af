//! What a statement answers, on its way to whoever asked.

use crate::session::Cancel;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use evenkeel_model::{Error, Result, SqlState};
use std::sync::Arc;
use tokio::sync::mpsc;

/// What a statement answers, in order: notices and progress at any time, a schema before the first batch, and
/// [`Event::Complete`] last. An error ends the answer.
#[derive(Clone, Debug)]
pub enum Event {
    /// The columns of the rows that follow.
    Schema(SchemaRef),
    /// Rows.
    Batch(RecordBatch),
    /// Something worth saying that is not an error.
    Notice { message: String, hint: Option<String> },
    /// How far a long statement has come.
    Progress(Progress),
    /// The statement is done; PostgreSQL's command tag.
    Complete(String),
}

/// How far a long statement has come.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// What is being done.
    pub label: String,
    /// Bytes, or rows where `in_bytes` is false, so far.
    pub done: u64,
    /// In all, where that is known.
    pub total: Option<u64>,
    pub in_bytes: bool,
    /// Rows so far.
    pub rows: u64,
}

/// Where a running statement sends its answer. Slow readers slow it down.
#[derive(Clone)]
pub(crate) struct Output {
    sender: mpsc::Sender<Result<Event>>,
    pub(crate) cancel: Arc<Cancel>,
}

impl Output {
    pub(crate) fn new(sender: mpsc::Sender<Result<Event>>, cancel: Arc<Cancel>) -> Self {
        Self { sender, cancel }
    }

    /// For a statement that answers with nothing but its outcome.
    pub(crate) fn nobody() -> Self {
        Self::new(mpsc::channel(1).0, Arc::default())
    }

    pub(crate) async fn send(&self, event: Event) -> Result<()> {
        self.sender.send(Ok(event)).await.map_err(|_| cancelled())
    }

    pub(crate) async fn fail(&self, error: Error) {
        // Nobody listens any more: then nobody needs the error.
        let _ = self.sender.send(Err(error)).await;
    }

    pub(crate) async fn notice(&self, message: impl Into<String>, hint: Option<&str>) -> Result<()> {
        self.send(Event::Notice { message: message.into(), hint: hint.map(str::to_string) }).await
    }

    /// Reports progress if there is room: it is never waited for.
    pub(crate) fn progress(&self, progress: Progress) {
        let _ = self.sender.try_send(Ok(Event::Progress(progress)));
    }
}

pub(crate) fn cancelled() -> Error {
    Error::new(SqlState::QueryCanceled, "the statement was cancelled")
}
