//! A stored table as DataFusion sees it: one partition a shard, only the columns asked for, only the keys that can match.

use crate::error::external;
use crate::route::{KeyRanges, Route};
use crate::table::{TableHandle, shard_of};
use crate::transaction::Writes;
use crate::view::ReadView;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result as DfResult, Statistics};
use datafusion::datasource::{TableProvider, TableType};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, ReplaceChildrenOptions,
};
use evenkeel_model::{Result, ShardId, Timestamp};
use evenkeel_storage::codec::ColumnBuilder;
use evenkeel_storage::{Cursor, Operation, Shard, View};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A query that needs this long for a batch is asked whether it is still wanted before it gets the next.
const COMPUTED_LONG: Duration = Duration::from_millis(10);

/// A table in a statement.
#[derive(Debug)]
pub(crate) struct TableScan {
    table: Arc<TableHandle>,
    view: ReadView,
    schema: SchemaRef,
}

impl TableScan {
    /// The columns that users see.
    pub(crate) fn new(table: Arc<TableHandle>, view: ReadView) -> Self {
        let schema = table.visible_schema();
        Self { table, view, schema }
    }

    /// All columns, the hidden row id too: what UPDATE and DELETE need.
    pub(crate) fn with_hidden(table: Arc<TableHandle>, view: ReadView) -> Self {
        let schema = Arc::clone(&table.arrow);
        Self { table, view, schema }
    }
}

#[async_trait]
impl TableProvider for TableScan {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> DfResult<Vec<TableProviderFilterPushDown>> {
        // Keys narrow what is read; the filter itself stays above the scan.
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let route = Route::of(&self.table, filters);
        let projection = projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        // A limit may only be taken here when no filter above can drop rows.
        let limit = if filters.is_empty() { limit } else { None };
        Ok(Arc::new(ShardScan::new(Arc::clone(&self.table), self.view.clone(), &route, projection, limit)))
    }

    fn statistics(&self) -> Option<Statistics> {
        let (rows, bytes) = self.view.exact_count(self.table.schema.id)?;
        let mut statistics = Statistics::new_unknown(&self.schema);
        statistics.num_rows = Precision::Exact(usize::try_from(rows).ok()?);
        statistics.total_byte_size = Precision::Inexact(usize::try_from(bytes).ok()?);
        Some(statistics)
    }
}

/// What one partition reads.
#[derive(Clone, Debug)]
struct Part {
    shard: Arc<Shard>,
    ranges: Vec<Range<Vec<u8>>>,
}

/// Reads one table from its shards.
#[derive(Debug)]
pub(crate) struct ShardScan {
    table: Arc<TableHandle>,
    view: ReadView,
    parts: Vec<Part>,
    shards_total: usize,
    keys: &'static str,
    projection: Vec<usize>,
    schema: SchemaRef,
    limit: Option<usize>,
    exact: Option<usize>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl ShardScan {
    fn new(
        table: Arc<TableHandle>,
        view: ReadView,
        route: &Route,
        projection: Vec<usize>,
        limit: Option<usize>,
    ) -> Self {
        let layout = Arc::clone(&view.layout);
        let ranges_of = |shard: ShardId| -> Vec<Range<Vec<u8>>> {
            match &route.ranges {
                KeyRanges::All => vec![evenkeel_storage::codec::table_range(table.schema.id)],
                KeyRanges::Some(ranges) => {
                    ranges.iter().filter(|range| shard_of(&range.start, &layout.slots) == shard).cloned().collect()
                }
            }
        };
        let parts: Vec<Part> = layout
            .owners()
            .map(|shard| Part { shard: Arc::clone(shard), ranges: ranges_of(shard.id()) })
            .filter(|part| !part.ranges.is_empty())
            .collect();
        let fields: Vec<_> = projection.iter().map(|at| table.arrow.fields()[*at].clone()).collect();
        let schema = Arc::new(Schema::new(fields));
        let exact = match (&route.ranges, limit) {
            (KeyRanges::All, None) => {
                view.exact_count(table.schema.id).and_then(|(rows, _)| usize::try_from(rows).ok())
            }
            _ => None,
        };
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            Partitioning::UnknownPartitioning(parts.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        ));
        Self {
            shards_total: layout.shards.len(),
            keys: route.describe(),
            table,
            view,
            parts,
            projection,
            schema,
            limit,
            exact,
            properties,
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }
}

impl DisplayAs for ShardScan {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shards: Vec<String> = self.parts.iter().map(|part| part.shard.id().to_string()).collect();
        let columns: Vec<&str> = self.schema.fields().iter().map(|field| field.name().as_str()).collect();
        write!(
            f,
            "ShardScan: {}, {}, shards=[{}] ({} of {}), columns=[{}]",
            self.table.schema.name,
            self.keys,
            short(&shards),
            self.parts.len(),
            self.shards_total,
            short(&columns)
        )?;
        self.limit.map_or(Ok(()), |limit| write!(f, ", limit={limit}"))
    }
}

/// The first few of a list.
fn short<S: std::borrow::Borrow<str>>(items: &[S]) -> String {
    const SHOWN: usize = 8;
    match items.get(..SHOWN) {
        Some(first) if items.len() > SHOWN => format!("{}, … {} in all", first.join(", "), items.len()),
        _ => items.join(", "),
    }
}

impl ExecutionPlan for ShardScan {
    fn name(&self) -> &'static str {
        "ShardScan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> DfResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        let part = &self.parts[partition];
        let reader = PartReader::new(self, part.clone(), context.session_config().batch_size());
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let stream =
            futures::stream::try_unfold((reader, metrics, Instant::now()), |(mut reader, metrics, given)| async move {
                // Other tasks of this thread get their turn between batches; a query that computed long over the last one
                // gives the thread up, so that it can be cancelled.
                tokio::task::consume_budget().await;
                if given.elapsed() > COMPUTED_LONG {
                    tokio::task::yield_now().await;
                }
                let timer = metrics.elapsed_compute().timer();
                let batch = reader.next().map_err(external)?;
                timer.done();
                Ok(batch.map(|batch| {
                    metrics.output_rows().add(batch.num_rows());
                    (batch, (reader, metrics, Instant::now()))
                }))
            });
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), stream)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn partition_statistics(&self, partition: Option<usize>) -> DfResult<Arc<Statistics>> {
        let mut statistics = Statistics::new_unknown(&self.schema);
        if let (Some(rows), None) = (self.exact, partition) {
            statistics.num_rows = Precision::Exact(rows);
        }
        Ok(Arc::new(statistics))
    }
}

/// Reads the rows of one shard, batch by batch.
struct PartReader {
    table: Arc<TableHandle>,
    read: Timestamp,
    hidden: Vec<Timestamp>,
    lock_timeout: Duration,
    /// Keeps what is read where it is.
    statement: ReadView,
    part: Part,
    range: usize,
    cursor: Option<Cursor>,
    overlay: Option<Overlay>,
    projection: Vec<usize>,
    schema: SchemaRef,
    batch_size: usize,
    remaining: usize,
}

impl PartReader {
    fn new(scan: &ShardScan, part: Part, batch_size: usize) -> Self {
        let view = &scan.view;
        let overlay = view.writes.as_ref().filter(|writes| writes.touches(scan.table.schema.id));
        Self {
            table: Arc::clone(&scan.table),
            read: view.read,
            hidden: view.database.hidden_loads(scan.table.schema.id, view.read),
            lock_timeout: view.lock_timeout,
            statement: view.clone(),
            overlay: overlay.map(|writes| Overlay { writes: Arc::clone(writes), next: Vec::new(), done: false }),
            part,
            range: 0,
            cursor: None,
            projection: scan.projection.clone(),
            schema: Arc::clone(&scan.schema),
            batch_size,
            remaining: scan.limit.unwrap_or(usize::MAX),
        }
    }

    fn next(&mut self) -> Result<Option<RecordBatch>> {
        let table = Arc::clone(&self.table);
        let ids = table.ids(&self.projection);
        let projection = table.format.projection(&ids);
        let wanted = self.batch_size.min(self.remaining);
        let capacity = if wanted < 128 { wanted } else { self.batch_size };
        let mut builders: Vec<ColumnBuilder> = self
            .projection
            .iter()
            .map(|position| ColumnBuilder::new(&table.column(*position).column_type, capacity))
            .collect();
        let mut rows = 0;
        while rows < wanted && self.range < self.part.ranges.len() {
            self.read_range(wanted, &mut rows, |row| projection.append(row, &mut builders))?;
        }
        self.remaining -= rows.min(self.remaining);
        if rows == 0 {
            return Ok(None);
        }
        let arrays = builders.iter_mut().map(ColumnBuilder::finish).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options)
            .map(Some)
            .map_err(crate::error::arrow_error)
    }

    /// Reads on in the present range, and goes to the next where it ends.
    fn read_range(&mut self, wanted: usize, rows: &mut usize, mut emit: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let range = &self.part.ranges[self.range];
        let shard = &self.part.shard;
        let slots = &self.statement.layout.slots;
        let view = View { read: self.read, hidden: &self.hidden, lock_timeout: self.lock_timeout, map: Some(slots) };
        let limit = wanted - *rows;
        if self.cursor.is_none() {
            self.cursor = Some(Cursor::new(range.clone()));
            if let Some(overlay) = &mut self.overlay {
                overlay.next.clone_from(&range.start);
                overlay.done = false;
            }
        }
        let Some(cursor) = &mut self.cursor else { return Ok(()) };
        match &mut self.overlay {
            None => shard.scan(cursor, &view, limit, |_, row| {
                *rows += 1;
                emit(row)
            })?,
            Some(overlay) => {
                let mut emit = |row: &[u8]| {
                    *rows += 1;
                    emit(row)
                };
                shard.scan(cursor, &view, limit, |key, row| {
                    overlay.before(key, |key| shard_of(key, slots) == shard.id(), &mut emit)?;
                    if overlay.writes.get(key).is_none() { emit(row) } else { overlay.at(key, &mut emit) }
                })?;
                if cursor.is_done() {
                    overlay.before(&range.end, |key| shard_of(key, slots) == shard.id(), &mut emit)?;
                }
            }
        }
        if cursor.is_done() {
            self.cursor = None;
            self.range += 1;
        }
        Ok(())
    }
}

/// The transaction's own writes, merged into the rows in order of key. A batch may grow by the writes between its rows.
struct Overlay {
    writes: Arc<Writes>,
    next: Vec<u8>,
    done: bool,
}

impl Overlay {
    /// Emits the written rows before `key`.
    fn before(
        &mut self,
        key: &[u8],
        here: impl Fn(&[u8]) -> bool,
        emit: &mut impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        for (written, operation) in self.writes.range(&self.next, key) {
            if let Operation::Put(row) = operation
                && here(written)
            {
                emit(row)?;
            }
        }
        self.next.clear();
        self.next.extend_from_slice(key);
        Ok(())
    }

    /// Emits what `key` was changed to.
    fn at(&mut self, key: &[u8], emit: &mut impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.next.clear();
        self.next.extend_from_slice(key);
        self.next.push(0);
        match self.writes.get(key) {
            Some(Operation::Put(row)) => emit(row),
            _ => Ok(()),
        }
    }
}
