//! The changes of one statement, gathered before any of them is made: what INSERT, UPDATE and DELETE have in common.

use crate::database::Database;
use crate::error::{arrow_error, query_error};
use crate::evaluate::{Checks, cast, compile};
use crate::load::duplicate_key;
use crate::table::{TableHandle, describe_key};
use crate::transaction::too_large;
use crate::view::ReadView;
use arrow::array::{ArrayRef, BooleanArray, Int64Array, UInt64Array, new_null_array};
use arrow::compute::{filter_record_batch, take_record_batch};
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::DFSchema;
use datafusion::execution::context::SessionState as DfState;
use datafusion::physical_expr::PhysicalExpr;
use evenkeel_model::{Error, Result, SqlState};
use evenkeel_storage::codec::{ColumnBuilder, arrow_type};
use evenkeel_storage::{Mutation, Operation};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What an INSERT does with a row whose key is there.
pub(crate) enum Conflict {
    /// 23505.
    Fail,
    /// The row is skipped.
    Nothing,
    /// The row is replaced.
    Replace,
    /// The row that is there is changed.
    Update(ConflictUpdate),
}

/// `ON CONFLICT DO UPDATE SET … WHERE …`, compiled over the columns of the row that is there and of `excluded`.
pub(crate) struct ConflictUpdate {
    pub(crate) assignments: Vec<(usize, Arc<dyn PhysicalExpr>)>,
    pub(crate) condition: Option<Arc<dyn PhysicalExpr>>,
    pub(crate) schema: SchemaRef,
}

/// The changes of one statement.
pub(crate) struct Changes {
    table: Arc<TableHandle>,
    pub(crate) view: ReadView,
    checks: Checks,
    writes: BTreeMap<Vec<u8>, Operation>,
    bytes: usize,
    limit: u64,
    /// Rows inserted, updated or deleted.
    pub(crate) rows: u64,
    /// The rows as they are now (INSERT, UPDATE) or were (DELETE), for RETURNING.
    returning: Option<Vec<RecordBatch>>,
}

impl Changes {
    pub(crate) fn new(
        table: Arc<TableHandle>,
        view: ReadView,
        state: &DfState,
        limit: u64,
        returning: bool,
    ) -> Result<Self> {
        let checks = Checks::compile(state, &table)?;
        let returning = returning.then(Vec::new);
        Ok(Self { table, view, checks, writes: BTreeMap::new(), bytes: 0, limit, rows: 0, returning })
    }

    fn put(&mut self, key: Vec<u8>, operation: Operation) -> Result<()> {
        self.bytes += key.len() + 96 + if let Operation::Put(row) = &operation { row.len() } else { 0 };
        if self.bytes as u64 > self.limit {
            return Err(too_large(self.limit));
        }
        self.writes.insert(key, operation);
        Ok(())
    }

    /// Inserts the rows of a batch that has all columns; `place` says where a row came from.
    pub(crate) fn insert(
        &mut self,
        batch: &RecordBatch,
        conflict: &Conflict,
        place: &dyn Fn(usize) -> Option<String>,
    ) -> Result<()> {
        self.checks.check(&self.table, batch, place)?;
        let table = Arc::clone(&self.table);
        let mut encoder = table.encoder(batch)?;
        let mut inserted = Vec::with_capacity(batch.num_rows());
        let mut updates = Vec::new();
        for row in 0..batch.num_rows() {
            let mut key = Vec::new();
            encoder.key(row, &mut key)?;
            let ours = self.writes.get(&key).is_some_and(|operation| *operation != Operation::Delete);
            let there = match conflict {
                Conflict::Replace => false,
                _ => ours || self.view.get(table.schema.id, &key, |_| ())?.is_some(),
            };
            match conflict {
                Conflict::Fail if there => {
                    let key = describe_key(&table, batch, row);
                    let detail = place(row).map_or_else(|| key.clone(), |place| format!("{place}: {key}"));
                    return Err(duplicate_key(&table.schema.name).with_detail(detail));
                }
                Conflict::Nothing if there => {}
                Conflict::Update(_) if ours => return Err(twice(&describe_key(&table, batch, row))),
                Conflict::Update(_) if there => updates.push((row as u64, key)),
                _ => {
                    let mut bytes = Vec::new();
                    encoder.row(row, &mut bytes)?;
                    self.put(key, Operation::Put(bytes))?;
                    inserted.push(row as u64);
                }
            }
        }
        self.rows += inserted.len() as u64;
        self.keep(batch, inserted)?;
        match conflict {
            Conflict::Update(update) if !updates.is_empty() => self.update_conflicts(batch, &updates, update),
            _ => Ok(()),
        }
    }

    fn keep(&mut self, batch: &RecordBatch, rows: Vec<u64>) -> Result<()> {
        if let Some(kept) = &mut self.returning
            && !rows.is_empty()
        {
            kept.push(take_record_batch(batch, &UInt64Array::from(rows)).map_err(arrow_error)?);
        }
        Ok(())
    }

    /// Changes the rows that are there, by ON CONFLICT DO UPDATE.
    fn update_conflicts(
        &mut self,
        batch: &RecordBatch,
        rows: &[(u64, Vec<u8>)],
        update: &ConflictUpdate,
    ) -> Result<()> {
        let table = Arc::clone(&self.table);
        let old = self.existing(rows.iter().map(|(_, key)| key.as_slice()))?;
        let ordinals = UInt64Array::from(rows.iter().map(|(row, _)| *row).collect::<Vec<_>>());
        let excluded = take_record_batch(batch, &ordinals).map_err(arrow_error)?;
        let columns = old.columns().iter().chain(excluded.columns()).cloned().collect();
        let mut both = RecordBatch::try_new(Arc::clone(&update.schema), columns).map_err(arrow_error)?;
        if let Some(condition) = &update.condition {
            let verdict = condition
                .evaluate(&both)
                .and_then(|value| value.into_array(both.num_rows()))
                .map_err(|error| query_error(error, ""))?;
            if let Some(verdict) = verdict.as_any().downcast_ref::<BooleanArray>() {
                both = filter_record_batch(&both, verdict).map_err(arrow_error)?;
            }
        }
        let old = both.project(&(0..table.arrow.fields().len()).collect::<Vec<_>>()).map_err(arrow_error)?;
        let old = RecordBatch::try_new(Arc::clone(&table.arrow), old.columns().to_vec()).map_err(arrow_error)?;
        let mut new = old.columns().to_vec();
        for (position, value) in &update.assignments {
            let value = value
                .evaluate(&both)
                .and_then(|value| value.into_array(both.num_rows()))
                .map_err(|error| query_error(error, ""))?;
            new[*position] = column_value(&table, *position, &value)?;
        }
        self.replace(&old, &with_columns(&table, new)?)
    }

    /// The rows of keys that are there.
    fn existing<'k>(&self, keys: impl Iterator<Item = &'k [u8]>) -> Result<RecordBatch> {
        let table = &self.table;
        let positions: Vec<usize> = (0..table.arrow.fields().len()).collect();
        let ids = table.ids(&positions);
        let projection = table.format.projection(&ids);
        let mut builders: Vec<ColumnBuilder> =
            positions.iter().map(|at| ColumnBuilder::new(&table.column(*at).column_type, 16)).collect();
        for key in keys {
            self.view
                .get(table.schema.id, key, |row| projection.read(row, |index, value| builders[index].append(value)))?
                .transpose()?;
        }
        with_columns(table, builders.iter_mut().map(ColumnBuilder::finish).collect())
    }

    /// Puts new rows in the place of old ones; both have all columns.
    pub(crate) fn replace(&mut self, old: &RecordBatch, new: &RecordBatch) -> Result<()> {
        let table = Arc::clone(&self.table);
        self.checks.check(&table, new, &|_| None)?;
        let (mut before, mut after) = (table.encoder(old)?, table.encoder(new)?);
        let mut changed = Vec::new();
        for row in 0..new.num_rows() {
            let (mut old_key, mut new_key) = (Vec::new(), Vec::new());
            before.key(row, &mut old_key)?;
            after.key(row, &mut new_key)?;
            if old_key == new_key && self.writes.contains_key(&old_key) {
                // A join gave the row twice: the first match counts.
                continue;
            }
            let mut bytes = Vec::new();
            after.row(row, &mut bytes)?;
            if old_key != new_key {
                let there = match self.writes.get(&new_key) {
                    Some(operation) => *operation != Operation::Delete,
                    None => self.view.get(table.schema.id, &new_key, |_| ())?.is_some(),
                };
                if there {
                    let key = describe_key(&table, new, row);
                    return Err(duplicate_key(&table.schema.name).with_detail(key));
                }
                if self.writes.get(&old_key) == Some(&Operation::Delete) {
                    continue;
                }
                if !self.writes.contains_key(&old_key) {
                    self.put(old_key, Operation::Delete)?;
                }
            }
            self.put(new_key, Operation::Put(bytes))?;
            changed.push(row as u64);
        }
        self.rows += changed.len() as u64;
        self.keep(new, changed)
    }

    /// Deletes the rows of a batch that has all columns.
    pub(crate) fn delete(&mut self, batch: &RecordBatch) -> Result<()> {
        let table = Arc::clone(&self.table);
        let mut encoder = table.encoder(batch)?;
        let mut deleted = Vec::new();
        for row in 0..batch.num_rows() {
            let mut key = Vec::new();
            encoder.key(row, &mut key)?;
            if !self.writes.contains_key(&key) {
                self.put(key, Operation::Delete)?;
                deleted.push(row as u64);
            }
        }
        self.rows += deleted.len() as u64;
        self.keep(batch, deleted)
    }

    pub(crate) fn len(&self) -> usize {
        self.writes.len()
    }

    /// The changes, in order of key, and the rows for RETURNING.
    pub(crate) fn finish(self) -> (Vec<Mutation>, Vec<RecordBatch>) {
        let mutations = self.writes.into_iter().map(|(key, operation)| Mutation { key, operation }).collect();
        (mutations, self.returning.unwrap_or_default())
    }
}

fn twice(key: &str) -> Error {
    Error::new(SqlState::CardinalityViolation, "ON CONFLICT DO UPDATE would change one row twice")
        .with_detail(format!("the key {key} is there twice in the statement"))
        .with_hint("let the statement give each key once")
}

/// A batch of all columns of a table.
pub(crate) fn with_columns(table: &TableHandle, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
    let rows = columns.first().map_or(0, |column| column.len());
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    // NULL in a NOT NULL column is for the constraint check to report, with the row.
    let fields: Vec<Field> = table.arrow.fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect();
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options).map_err(arrow_error)
}

/// A computed array as the values of a column.
pub(crate) fn column_value(table: &TableHandle, position: usize, array: &ArrayRef) -> Result<ArrayRef> {
    let column = table.column(position);
    let cast = cast(array, &column.column_type, &column.name)?;
    crate::validate::normalise(&column.column_type, cast, &column.name)
}

/// Fills the columns that an INSERT or COPY does not give.
pub(crate) struct Defaults {
    /// For each column of the table: the position in the input, or the expression.
    sources: Vec<Source>,
}

enum Source {
    Given(usize),
    Default(Arc<dyn PhysicalExpr>),
    Null,
    RowId,
}

impl Defaults {
    /// `given[i]` is the position in the table of the input's column i.
    pub(crate) fn new(table: &TableHandle, given: &[usize], state: &DfState) -> Result<Self> {
        let source = |position: usize| {
            if let Some(at) = given.iter().position(|given| *given == position) {
                return Ok(Source::Given(at));
            }
            let column = table.column(position);
            match &column.default {
                _ if column.hidden => Ok(Source::RowId),
                None => Ok(Source::Null),
                Some(text) => {
                    let expr = evenkeel_pql::parse_expr(text)?;
                    compile(state, expr, &DFSchema::empty(), text).map(Source::Default)
                }
            }
        };
        Ok(Self { sources: (0..table.arrow.fields().len()).map(source).collect::<Result<_>>()? })
    }

    /// A batch of all columns of the table.
    pub(crate) fn complete(
        &self,
        table: &TableHandle,
        input: &RecordBatch,
        database: &Database,
    ) -> Result<RecordBatch> {
        let rows = input.num_rows();
        let column = |(position, source): (usize, &Source)| -> Result<ArrayRef> {
            let column_type = &table.column(position).column_type;
            match source {
                Source::Given(at) => column_value(table, position, input.column(*at)),
                Source::Null => Ok(new_null_array(&arrow_type(column_type), rows)),
                Source::RowId => {
                    let first = database.oracle.reserve(rows.max(1) as u64)?.0 as i64;
                    Ok(Arc::new(Int64Array::from_iter_values(first..first + rows as i64)))
                }
                Source::Default(expr) => {
                    let batch = crate::evaluate::rows_without_columns(rows)?;
                    let value = expr
                        .evaluate(&batch)
                        .and_then(|value| value.into_array(rows))
                        .map_err(|error| query_error(error, ""))?;
                    column_value(table, position, &value)
                }
            }
        };
        let columns = self.sources.iter().enumerate().map(column).collect::<Result<_>>()?;
        with_columns(table, columns)
    }
}
