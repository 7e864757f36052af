//! A file in the place of a table.

use super::columnar::ColumnarReader;
use super::infer::{SAMPLE_ROWS, infer};
use super::options::{CopyOptions, FileFormat};
use super::reader::{FileReader, Others, Target, schema_of};
use crate::error::{arrow_error, external};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::Result as DfResult;
use datafusion::datasource::{TableProvider, TableType};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use evenkeel_model::{Error, Result, SqlState};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Batches that wait between the reader and the query.
const BATCHES_AHEAD: usize = 2;

/// A file as a table, whose columns are those of the file.
#[derive(Debug)]
pub(crate) struct FileTable {
    path: PathBuf,
    options: CopyOptions,
    /// The columns of a text file; others say themselves what they have.
    targets: Vec<Target>,
    schema: SchemaRef,
}

impl FileTable {
    /// Finds out which columns a file has.
    ///
    /// # Errors
    /// 58P01 for a file that is not there, 58030 or 22P04 for one that cannot be read.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let options = CopyOptions::new(Some(path), &[])?;
        let (targets, schema) = if matches!(options.format, FileFormat::Parquet | FileFormat::Arrow) {
            (vec![], Arc::clone(ColumnarReader::open(path, options.format, None)?.schema()))
        } else {
            let targets = infer(path, &options)?;
            let schema = schema_of(&targets);
            (targets, schema)
        };
        Ok(Self { path: path.to_path_buf(), options, targets, schema })
    }

    fn part(&self, projection: Vec<usize>) -> DfResult<Part> {
        Ok(Part {
            path: self.path.clone(),
            options: self.options.clone(),
            schema: Arc::new(self.schema.project(&projection)?),
            targets: if self.targets.is_empty() {
                Wanted::Positions(projection)
            } else {
                Wanted::Targets(projection.iter().map(|at| self.targets[*at].clone()).collect())
            },
        })
    }
}

#[async_trait]
impl TableProvider for FileTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let projection = projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        let part = Arc::new(self.part(projection)?);
        let schema = Arc::clone(&part.schema);
        Ok(Arc::new(StreamingTableExec::try_new(schema, vec![part], None, [], false, limit)?))
    }
}

/// The columns of a file that a query wants.
#[derive(Debug)]
struct Part {
    path: PathBuf,
    options: CopyOptions,
    targets: Wanted,
    schema: SchemaRef,
}

#[derive(Clone, Debug)]
enum Wanted {
    Targets(Vec<Target>),
    Positions(Vec<usize>),
}

impl PartitionStream for Part {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut stream = RecordBatchReceiverStream::builder(Arc::clone(&self.schema), BATCHES_AHEAD);
        let sender = stream.tx();
        let (path, options, wanted) = (self.path.clone(), self.options.clone(), self.targets.clone());
        stream.spawn_blocking(move || {
            let mut source = Source::open(&path, &options, &wanted).map_err(external)?;
            while let Some(batch) = source.next().map_err(|error| external(guessed(error)))? {
                // Whoever reads may have enough.
                if sender.blocking_send(Ok(batch)).is_err() {
                    break;
                }
            }
            Ok(())
        });
        stream.build()
    }
}

/// A file's columns in its own order, and where each wanted one is among them.
struct Source {
    reader: Reader,
    order: Vec<usize>,
}

enum Reader {
    Text(Box<FileReader>),
    Columnar(Box<ColumnarReader>),
}

impl Source {
    fn open(path: &Path, options: &CopyOptions, wanted: &Wanted) -> Result<Self> {
        let order = |provided: &[usize], wanted: &[usize]| -> Result<Vec<usize>> {
            let place = |column: &usize| provided.iter().position(|other| other == column);
            wanted.iter().map(|column| place(column).ok_or_else(|| changed(path))).collect()
        };
        match wanted {
            Wanted::Targets(targets) => {
                let reader = FileReader::open_with(path, options, targets, Others::Skipped)?;
                let order = order(&reader.provided(), &(0..targets.len()).collect::<Vec<_>>())?;
                Ok(Self { reader: Reader::Text(Box::new(reader)), order })
            }
            Wanted::Positions(positions) => {
                let mut ascending = positions.clone();
                ascending.sort_unstable();
                ascending.dedup();
                let reader = ColumnarReader::open(path, options.format, Some(&ascending))?;
                Ok(Self { order: order(&ascending, positions)?, reader: Reader::Columnar(Box::new(reader)) })
            }
        }
    }

    fn next(&mut self) -> Result<Option<RecordBatch>> {
        let batch = match &mut self.reader {
            Reader::Text(reader) => reader.next()?,
            Reader::Columnar(reader) => reader.next()?,
        };
        batch.map(|batch| batch.project(&self.order).map_err(arrow_error)).transpose()
    }
}

fn changed(path: &Path) -> Error {
    Error::new(SqlState::BadCopyFileFormat, format!("the columns of \"{}\" have changed", path.display()))
}

/// Says why a value may not be of its column's type.
fn guessed(error: Error) -> Error {
    match error.state {
        SqlState::InvalidTextRepresentation | SqlState::NumericValueOutOfRange | SqlState::InvalidDatetimeFormat => {
            error.with_hint(format!(
                "types are those of the first {SAMPLE_ROWS} rows: COPY the file into a table of the types it should have"
            ))
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::prelude::SessionContext;

    async fn query(path: &Path, sql: &str) -> Result<String> {
        let context = SessionContext::new();
        let failed = |error| crate::error::query_error(error, sql);
        context.register_table("t", Arc::new(FileTable::open(path)?)).map_err(failed)?;
        let batches = context.sql(sql).await.map_err(failed)?.collect().await.map_err(failed)?;
        Ok(arrow::util::pretty::pretty_format_batches(&batches).map_err(arrow_error)?.to_string())
    }

    #[tokio::test]
    async fn files_answer_queries() {
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().join("x.csv");
        std::fs::write(&text, "a,b,c\n1,x,2.5\n2,,3\n").unwrap();
        let mut reader = Source::open(
            &text,
            &CopyOptions::new(Some(&text), &[]).unwrap(),
            &Wanted::Targets(FileTable::open(&text).unwrap().targets),
        )
        .unwrap();
        let batch = reader.next().unwrap().unwrap();
        for name in ["x.csv", "y.json", "y.ndjson.gz", "y.parquet", "y.arrow"] {
            let path = folder.path().join(name);
            let options = CopyOptions::new(Some(&path), &[]).unwrap();
            let mut writer = super::super::FileWriter::create(&path, &options, batch.schema()).unwrap();
            writer.write(&batch).unwrap();
            writer.finish().unwrap();
            let found = query(&path, "SELECT c, a FROM t WHERE b IS NULL").await.unwrap();
            assert!(found.contains("| 3.0 | 2 |"), "{name}: {found}");
            let counted = query(&path, "SELECT count(*) AS n FROM t").await.unwrap();
            assert!(counted.contains("| 2 |"), "{name}: {counted}");
        }
        let error = query(&folder.path().join("z.csv"), "SELECT 1").await.unwrap_err();
        assert_eq!(error.state, SqlState::UndefinedFile);
    }

    #[tokio::test]
    async fn a_value_of_another_type_than_guessed_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.csv");
        std::fs::write(&path, format!("a\n{}x\n", "1\n".repeat(SAMPLE_ROWS))).unwrap();
        let error = query(&path, "SELECT sum(a) FROM t").await.unwrap_err();
        assert_eq!(error.state, SqlState::InvalidTextRepresentation);
        assert_eq!(error.detail.unwrap(), "x.csv, line 10002, column a");
        assert!(error.hint.unwrap().contains("COPY"));
    }
}
