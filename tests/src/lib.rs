//! What the tests of every floor share: a database in a temporary directory, and answers as text.
//!
//! Text is PostgreSQL's where it has one spelling (`true`, `{1,2,NULL}`, `\xdead`, `1.10`, `Infinity`); instants are
//! RFC 3339, those with a time zone in UTC with a `Z`. What is NULL stays apart from every text.

mod text;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use evenkeel_engine::{Database, Event, OpenOptions, Session};
use evenkeel_model::Result;
use futures::StreamExt;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

pub use text::text;

/// A database whose directory goes with it.
///
/// Sessions keep a database open: those that outlive this write into a directory that is gone.
#[derive(Debug)]
pub struct Temporary {
    database: Arc<Database>,
    directory: TempDir,
}

impl Temporary {
    /// Makes a database of so many shards.
    ///
    /// # Panics
    /// When the disk does not take it.
    #[must_use]
    pub fn new(shards: u32) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let options = OpenOptions { shards: Some(shards), ..OpenOptions::default() };
        let database = Database::open(&directory.path().join("data"), &options).expect("a new database");
        Self { database, directory }
    }

    /// The database.
    #[must_use]
    pub fn database(&self) -> &Arc<Database> {
        &self.database
    }

    /// A session that calls itself `test`.
    #[must_use]
    pub fn session(&self) -> Session {
        Session::new(&self.database, "test")
    }

    /// A place for files beside the database, which goes with it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for Temporary {
    /// Migrations hold the database, too: they stop before its directory goes.
    fn drop(&mut self) {
        Arc::clone(&self.database).close();
    }
}

/// All of an answer.
#[derive(Clone, Debug, Default)]
pub struct Answered {
    /// The columns; `None` where the statement answers with no rows at all.
    pub schema: Option<SchemaRef>,
    /// The rows as they came.
    pub batches: Vec<RecordBatch>,
    /// What was said beside them.
    pub notices: Vec<String>,
    /// The command tag, such as `INSERT 0 3`.
    pub tag: String,
}

impl Answered {
    /// The rows as text, NULL as `None`.
    #[must_use]
    pub fn rows(&self) -> Vec<Vec<Option<String>>> {
        let rows = |batch: &RecordBatch| {
            let row = |row| batch.columns().iter().map(|column| text(column, row)).collect();
            (0..batch.num_rows()).map(row).collect::<Vec<_>>()
        };
        self.batches.iter().flat_map(rows).collect()
    }

    /// The rows as lines, cells joined by `|`, NULL as `NULL`.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let cell = |cell: Option<String>| cell.unwrap_or_else(|| "NULL".to_string());
        self.rows().into_iter().map(|row| row.into_iter().map(cell).collect::<Vec<_>>().join("|")).collect()
    }

    /// The names of the columns.
    #[must_use]
    pub fn columns(&self) -> Vec<String> {
        let fields = self.schema.iter().flat_map(|schema| schema.fields());
        fields.map(|field| field.name().clone()).collect()
    }

    /// The number at the end of the tag: rows returned or changed.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.tag.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
    }
}

/// Runs a statement to its end.
///
/// # Errors
/// The statement's.
pub async fn run(session: &Session, statement: &str) -> Result<Answered> {
    let mut answer = session.execute(statement, &[]);
    let mut all = Answered::default();
    while let Some(event) = answer.next().await {
        match event? {
            Event::Schema(schema) => all.schema = Some(schema),
            Event::Batch(batch) => all.batches.push(batch),
            Event::Notice { message, .. } => all.notices.push(message),
            Event::Progress(_) | Event::Copying(_) | Event::Copy(_) => {}
            Event::Complete(tag) => all.tag = tag,
        }
    }
    Ok(all)
}

/// Runs a statement that must succeed; its rows as [`Answered::lines`] has them.
///
/// # Panics
/// When the statement fails.
pub async fn lines(session: &Session, statement: &str) -> Vec<String> {
    match run(session, statement).await {
        Ok(answered) => answered.lines(),
        Err(error) => panic!("{statement}\nfailed: {}", spelled(&error)),
    }
}

/// A time after all that has been written and before all that will be: the clock's next tick, once it is over.
pub async fn moment(session: &Session) -> String {
    let tick = || async { lines(session, "SELECT date_trunc('millisecond', now()) AS tick").await.remove(0) };
    let first = tick().await;
    let mut now = tick().await;
    while now == first {
        now = tick().await;
    }
    let moment = now.clone();
    while now == moment {
        now = tick().await;
    }
    moment
}

/// An error on one line: state, message, detail and hint.
#[must_use]
pub fn spelled(error: &evenkeel_model::Error) -> String {
    let part = |name: &str, part: &Option<String>| part.as_ref().map_or_else(String::new, |p| format!("; {name}: {p}"));
    format!("{}: {}{}{}", error.state.code(), error.message, part("detail", &error.detail), part("hint", &error.hint))
}
