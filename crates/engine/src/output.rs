//! What a statement answers, on its way to whoever asked.

use crate::session::Cancel;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use evenkeel_model::{Error, Progress, Result, SqlState};
use parking_lot::Mutex;
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
    /// The rows of a COPY FROM STDIN may come, those of a COPY TO STDOUT follow: of how many columns.
    Copying(usize),
    /// Rows of a COPY TO STDOUT, in the file's format.
    Copy(Vec<u8>),
    /// The statement is done; PostgreSQL's command tag.
    Complete(String),
}

/// What a client sends of a COPY FROM STDIN.
pub(crate) type Input = Box<dyn std::io::Read + Send>;

/// Where a running statement sends its answer. Slow readers slow it down.
#[derive(Clone)]
pub(crate) struct Output {
    sender: mpsc::Sender<Result<Event>>,
    pub(crate) cancel: Arc<Cancel>,
    /// What the client sends, for the one statement that takes it.
    input: Arc<Mutex<Option<Input>>>,
}

impl Output {
    pub(crate) fn new(sender: mpsc::Sender<Result<Event>>, cancel: Arc<Cancel>) -> Self {
        Self { sender, cancel, input: Arc::default() }
    }

    /// With what the client sends.
    pub(crate) fn with_input(self, input: Input) -> Self {
        Self { input: Arc::new(Mutex::new(Some(input))), ..self }
    }

    /// What the client sends, if it sends something and nobody has taken it.
    pub(crate) fn input(&self) -> Option<Input> {
        self.input.lock().take()
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
