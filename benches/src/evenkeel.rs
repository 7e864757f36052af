//! Evenkeel as a contestant: a database in a directory of its own, and a session.

use anyhow::Context;
use arrow::array::AsArray;
use arrow::datatypes::{Float64Type, Int64Type};
use arrow::record_batch::RecordBatch;
use evenkeel_engine::{Database, Event, OpenOptions, Session};
use futures::StreamExt;
use std::path::Path;
use std::sync::Arc;

/// Shards of every database that is measured.
pub const SHARDS: u32 = 4;

/// A database and a session of it. The database closes when the last clone is gone.
#[derive(Clone)]
pub struct Evenkeel {
    database: Arc<Database>,
    session: Session,
}

impl Evenkeel {
    /// Makes a database in a new directory.
    ///
    /// # Errors
    /// When the disk fails or is full.
    pub fn create(directory: &Path) -> anyhow::Result<Self> {
        Self::create_with(directory, &OpenOptions { shards: Some(SHARDS), ..OpenOptions::default() })
    }

    /// Makes a database in a new directory, with options.
    ///
    /// # Errors
    /// When the disk fails or is full.
    pub fn create_with(directory: &Path, options: &OpenOptions) -> anyhow::Result<Self> {
        let database = Database::open(directory, options)?;
        let session = Session::new(&database, "evenkeel bench");
        Ok(Self { database, session })
    }

    /// Another session of the same database.
    pub fn another_session(&self) -> Session {
        Session::new(&self.database, "evenkeel bench")
    }

    /// The session.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Runs a statement and gathers its rows.
    ///
    /// # Errors
    /// The statement's own.
    pub async fn query(&self, statement: &str) -> anyhow::Result<Vec<RecordBatch>> {
        let mut batches = Vec::new();
        each_batch(&self.session, statement, |batch| batches.push(batch)).await?;
        Ok(batches)
    }

    /// Runs a statement for its effect.
    ///
    /// # Errors
    /// The statement's own.
    pub async fn execute(&self, statement: &str) -> anyhow::Result<()> {
        each_batch(&self.session, statement, |_| {}).await.map(|_| ())
    }

    /// A query's single number.
    ///
    /// # Errors
    /// The statement's own, and for an answer that is not one BIGINT.
    pub async fn number(&self, statement: &str) -> anyhow::Result<i64> {
        let batches = self.query(statement).await?;
        let batch = batches.iter().find(|batch| batch.num_rows() == 1).context("no row where one was expected")?;
        let column = batch.column(0).as_primitive_opt::<Int64Type>();
        Ok(column.context("no BIGINT where one was expected")?.value(0))
    }

    /// A query's first column, without its NULLs.
    ///
    /// # Errors
    /// The statement's own, and for a column that is not DOUBLE PRECISION.
    pub async fn floats(&self, statement: &str) -> anyhow::Result<Vec<f64>> {
        let mut floats = Vec::new();
        for batch in self.query(statement).await? {
            let column = batch.column(0).as_primitive_opt::<Float64Type>();
            floats.extend(column.context("no DOUBLE PRECISION where one was expected")?.iter().flatten());
        }
        Ok(floats)
    }
}

/// Runs a statement and hands over its rows batch by batch; returns the command tag.
///
/// # Errors
/// The statement's own.
pub async fn each_batch(
    session: &Session,
    statement: &str,
    mut each: impl FnMut(RecordBatch),
) -> anyhow::Result<String> {
    let mut answer = session.execute(statement, &[]);
    let mut tag = None;
    while let Some(event) = answer.next().await {
        match event.with_context(|| statement.to_string())? {
            Event::Batch(batch) => each(batch),
            Event::Complete(complete) => tag = Some(complete),
            Event::Schema(_) | Event::Notice { .. } | Event::Progress(_) | Event::Copying(_) | Event::Copy(_) => {}
        }
    }
    tag.with_context(|| format!("no end came to {statement}"))
}
