//! COPY between tables, queries and files.
//!
//! The rows go through sorted files (see [`crate::load`]): all of them or none, however many. Inside a transaction block they
//! commit with it (see [`crate::load::BlockLoad`]), or are writes as any other where the block has written the table. A file is read and parsed on a thread of its own, so that
//! parsing and encoding overlap.

use crate::changes::{Changes, Conflict, Defaults};
use crate::error::query_error;
use crate::evaluate::Checks;
use crate::files::{CopyOptions, FileReader, FileWriter, RowOrigin, StreamEncoder, Target};
use crate::load::BulkLoad;
use crate::output::{Event, Input, Output};
use crate::planning::Batches;
use crate::session::{Cancel, SessionInner, SessionState};
use crate::statement::{Outcome, blocking};
use crate::table::TableHandle;
use crate::types::fold;
use arrow::datatypes::Schema;
use arrow::record_batch::RecordBatch;
use evenkeel_model::{Error, Progress, Result};
use evenkeel_pql::ast::{Copy, CopyDirection, CopyEndpoint, CopySource};
use sqlparser::ast;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Batches that a file's thread may be ahead.
const AHEAD: usize = 4;

impl SessionInner {
    pub(crate) async fn copy(
        &self,
        state: &mut SessionState,
        copy: Copy,
        text: &str,
        output: &Output,
    ) -> Result<Outcome> {
        let path = match &copy.endpoint {
            CopyEndpoint::File(path) => Some(PathBuf::from(path)),
            CopyEndpoint::Stdin | CopyEndpoint::Stdout => None,
        };
        let options = match &path {
            Some(path) => CopyOptions::new(Some(path), &copy.options)?,
            None => CopyOptions::of_stream(&copy.options)?,
        };
        let rows = match (copy.direction, copy.source) {
            (CopyDirection::From, CopySource::Table { name, columns }) => {
                let source = match path {
                    Some(path) => RowSource::File(path),
                    None => RowSource::Client(output.input().ok_or_else(no_client)?),
                };
                self.copy_from(state, &name, &columns, source, options, text, output).await?
            }
            (CopyDirection::From, CopySource::Query(_)) => {
                return Err(Error::unsupported("COPY FROM takes a table"));
            }
            (CopyDirection::To, source) => self.copy_to(state, source, path.as_deref(), &options, text, output).await?,
        };
        Ok(Outcome::rows("COPY", rows))
    }

    #[expect(clippy::too_many_arguments, reason = "each is a part of the statement")]
    async fn copy_from(
        &self,
        state: &mut SessionState,
        name: &ast::ObjectName,
        columns: &[ast::Ident],
        source: RowSource,
        options: CopyOptions,
        text: &str,
        output: &Output,
    ) -> Result<u64> {
        let (handle, guard) = self.writable(state, name, text).await?;
        let positions = |table: &TableHandle| -> Result<Vec<usize>> {
            match columns {
                [] => Ok((0..table.visible).collect()),
                columns => columns.iter().map(|column| table.position(&fold(column))).collect(),
            }
        };
        if state.transaction.is_some() {
            let positions = positions(&handle)?;
            return self.copy_into_block(state, &handle, &positions, source, options, text, output).await;
        }
        // From here on nobody else writes the table; its schema may have changed while we waited.
        drop(guard);
        let timeout = self.duration(state, "shard_lock_timeout");
        let alone = self.alone(&handle.schema.name, timeout).await?;
        self.permitted(state)?;
        let table = self.database.schemas().tables.get(&handle.schema.name).cloned();
        let table = table.ok_or_else(|| crate::error::undefined_table(&handle.schema.name, []))?;
        let positions = positions(&table)?;
        let mut file = Incoming::open(source, options, &table, &positions, output).await?;
        let given: Vec<usize> = file.provided.iter().map(|at| positions[*at]).collect();
        let (defaults, checks) = {
            // Gone before rows are waited for: a client may be silent for long, and a view keeps old rows and layouts.
            let planning = self.planning(self.names(state), text)?;
            (Defaults::new(&table, &given, &planning.state)?, Checks::compile(&planning.state, &table)?)
        };
        let cancel = Arc::clone(&output.cancel);
        let mut load = BulkLoad::new(&self.database, Arc::clone(&table), timeout, cancel)?;
        while let Some(batch) = file.next().await? {
            let first = load.rows();
            let batch = defaults.complete(&table, &batch, &self.database).map_err(|error| file.about(first, error))?;
            let place = |row: usize| Some(file.origin.place(first + row as u64));
            checks.check(&table, &batch, &place)?;
            load.add(&batch)?;
        }
        let origin = file.origin.clone();
        output.cancel.check()?;
        blocking(move || {
            // Held until it is decided, whoever waits for it.
            let _alone = alone;
            load.finish(&|ordinal| Some(origin.place(ordinal)))
        })
        .await
    }

    #[expect(clippy::too_many_arguments, reason = "each is a part of the statement")]
    async fn copy_into_block(
        &self,
        state: &mut SessionState,
        table: &Arc<TableHandle>,
        positions: &[usize],
        source: RowSource,
        options: CopyOptions,
        text: &str,
        output: &Output,
    ) -> Result<u64> {
        let names = self.names(state);
        let view = names.view.clone();
        let planning = self.planning(names, text)?;
        let mut file = Incoming::open(source, options, table, positions, output).await?;
        let given: Vec<usize> = file.provided.iter().map(|at| positions[*at]).collect();
        let defaults = Defaults::new(table, &given, &planning.state)?;
        if self.may_load(state, table) {
            let checks = Checks::compile(&planning.state, table)?;
            let mut already = None;
            let add = |load: &mut BulkLoad, file: &Incoming, batch: RecordBatch| {
                let first = load.rows() - *already.get_or_insert(load.rows());
                let batch =
                    defaults.complete(table, &batch, &self.database).map_err(|error| file.about(first, error))?;
                checks.check(table, &batch, &|row| Some(file.origin.place(first + row as u64)))?;
                load.add(&batch)
            };
            return self.load_into_block(state, table, file, &output.cancel, add).await;
        }
        let limit = self.database.settings().size("max_transaction_size");
        let mut changes = Changes::new(Arc::clone(table), view, &planning.state, limit, false)?;
        while let Some(batch) = file.next().await? {
            let first = changes.rows;
            let batch = defaults.complete(table, &batch, &self.database).map_err(|error| file.about(first, error))?;
            let place = |row: usize| Some(file.origin.place(first + row as u64));
            changes.insert(&batch, &Conflict::Fail, &place)?;
        }
        let (rows, start) = (changes.rows, changes.view.read);
        let (mutations, _) = changes.finish();
        self.take_over(state, start, mutations, output).await?;
        Ok(rows)
    }

    async fn copy_to(
        &self,
        state: &SessionState,
        source: CopySource,
        path: Option<&Path>,
        options: &CopyOptions,
        text: &str,
        output: &Output,
    ) -> Result<u64> {
        let query = match source {
            CopySource::Query(query) => *query,
            CopySource::Table { name, columns } => {
                let item = |column: ast::Ident| ast::SelectItem::UnnamedExpr(ast::Expr::Identifier(column));
                let items = match columns.is_empty() {
                    true => vec![ast::SelectItem::Wildcard(ast::WildcardAdditionalOptions::default())],
                    false => columns.into_iter().map(item).collect(),
                };
                crate::clauses::select(items, vec![crate::clauses::table_with_joins(name, None)], None)?
            }
        };
        let (planning, plan) = self.plan(state, query, text).await?;
        let mut batches = planning.execute(Arc::clone(&plan));
        let Some(path) = path else { return send(batches, &plan.schema(), options, text, output).await };
        let mut writer = FileWriter::create(path, options, plan.schema())?;
        let mut rows = 0;
        while let Some(batch) = batches.next().await {
            let batch = batch.map_err(|error| query_error(error, text))?;
            rows += batch.num_rows() as u64;
            writer.write(&batch)?;
            let label = format!("COPY TO {}", path.display());
            output.progress(Progress { label, done: rows, total: None, in_bytes: false, rows });
        }
        output.cancel.check()?;
        blocking(move || writer.finish()).await?;
        Ok(rows)
    }
}

/// Sends rows to the client, in the form of a file.
async fn send(
    mut batches: Batches,
    schema: &Schema,
    options: &CopyOptions,
    text: &str,
    output: &Output,
) -> Result<u64> {
    output.send(Event::Copying(schema.fields().len())).await?;
    let mut encoder = StreamEncoder::new(options, schema);
    let mut rows = 0;
    while let Some(batch) = batches.next().await {
        let batch = batch.map_err(|error| query_error(error, text))?;
        rows += batch.num_rows() as u64;
        output.send(Event::Copy(encoder.batch(&batch)?)).await?;
    }
    output.send(Event::Copy(encoder.finish())).await?;
    Ok(rows)
}

/// Where rows come from.
enum RowSource {
    File(PathBuf),
    Client(Input),
}

fn no_client() -> Error {
    Error::unsupported("COPY FROM STDIN needs a client that sends rows")
        .with_hint("COPY … FROM 'file' reads a file where the database is")
}

/// A file on its way in, read on a thread of its own.
pub(crate) struct Incoming {
    batches: mpsc::Receiver<Result<RecordBatch>>,
    pub(crate) origin: RowOrigin,
    /// Which of the wanted columns the file has.
    provided: Vec<usize>,
}

impl Incoming {
    /// Reads as much as tells which columns there are.
    async fn open(
        source: RowSource,
        options: CopyOptions,
        table: &TableHandle,
        positions: &[usize],
        output: &Output,
    ) -> Result<Self> {
        let target = |position: &usize| {
            let column = table.column(*position);
            Target { name: column.name.clone(), column_type: column.column_type.clone() }
        };
        let targets: Vec<Target> = positions.iter().map(target).collect();
        if let RowSource::Client(_) = source {
            output.send(Event::Copying(targets.len())).await?;
        }
        let reader = blocking(move || match source {
            RowSource::File(path) => FileReader::open(&path, &options, &targets),
            RowSource::Client(input) => FileReader::of_stream(input, &options, &targets),
        });
        let reader = reader.await?;
        let (sender, batches) = mpsc::channel(AHEAD);
        let (origin, provided) = (reader.origin(), reader.provided());
        let label = format!("COPY {}", table.schema.name);
        let output = output.clone();
        tokio::task::spawn_blocking(move || read(reader, &sender, &label, &output));
        Ok(Self { batches, origin, provided })
    }

    pub(crate) async fn next(&mut self) -> Result<Option<RecordBatch>> {
        self.batches.recv().await.transpose()
    }

    /// Says from which row on an error may have come.
    fn about(&self, first: u64, error: Error) -> Error {
        let place = format!("in the rows from {}", self.origin.place(first));
        let detail = error.detail.clone().map_or(place.clone(), |detail| format!("{place}: {detail}"));
        error.with_detail(detail)
    }
}

fn read(mut reader: FileReader, sender: &mpsc::Sender<Result<RecordBatch>>, label: &str, output: &Output) {
    let cancel: &Cancel = &output.cancel;
    let mut rows = 0;
    loop {
        let batch = match cancel.check().and_then(|()| reader.next()) {
            Ok(Some(batch)) => batch,
            Ok(None) => return,
            Err(error) => {
                let _ = sender.blocking_send(Err(error));
                return;
            }
        };
        rows += batch.num_rows() as u64;
        let (done, total) = reader.progress();
        let label = label.to_string();
        output.progress(Progress { label, done, total: Some(total), in_bytes: true, rows });
        if sender.blocking_send(Ok(batch)).is_err() {
            return;
        }
    }
}
