//! A file as batches of a table's columns.

use super::columnar::{ColumnarReader, Conformed};
use super::delimited::DelimitedReader;
use super::input::{Consumed, open_text, short_name};
use super::json::JsonReader;
use super::options::{CopyOptions, FileFormat};
use super::origin::{LineLog, RowOrigin};
use super::plain::PlainText;
use super::window::Window;
use crate::error::{arrow_error, undefined_column};
use arrow::array::ArrayRef;
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use evenkeel_model::{ColumnType, Error, Result, SqlState};
use evenkeel_storage::codec::arrow_type;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

/// A column of the table that the file fills.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) column_type: ColumnType,
}

/// What becomes of columns of a file that are no targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Others {
    /// They are mistakes. Names are matched without regard to case.
    Refused,
    /// They were not asked for. Names are matched exactly.
    Skipped,
}

/// A text file that is open: its bytes, its name in errors, and where the lines of its rows are noted.
pub(super) struct TextInput {
    pub(super) window: Window,
    pub(super) file: String,
    pub(super) log: LineLog,
}

/// The name by which errors speak of what a client sends.
const STREAM: &str = "STDIN";

/// Reads a file as batches of the target columns that it has.
pub(crate) struct FileReader {
    source: Source,
    consumed: Consumed,
    origin: RowOrigin,
}

enum Source {
    Delimited(Box<DelimitedReader>),
    Json(Box<JsonReader>),
    Columnar(Box<Conformed>),
}

impl FileReader {
    /// Opens a file and finds out which of the targets it fills.
    ///
    /// # Errors
    /// 58P01 for a file that is not there, 58030 for one that cannot be read, 42703 for a column that is no target,
    /// 22P04 for a file that is not of its format.
    pub(crate) fn open(path: &Path, options: &CopyOptions, targets: &[Target]) -> Result<Self> {
        Self::open_with(path, options, targets, Others::Refused)
    }

    pub(super) fn open_with(path: &Path, options: &CopyOptions, targets: &[Target], others: Others) -> Result<Self> {
        let name = short_name(path);
        if matches!(options.format, FileFormat::Parquet | FileFormat::Arrow) {
            let reader = ColumnarReader::open(path, options.format, None)?;
            let consumed = reader.consumed().clone();
            let origin = RowOrigin::new(&name);
            let source = Source::Columnar(Box::new(Conformed::new(reader, &name, targets, origin.clone())?));
            return Ok(Self { source, consumed, origin });
        }
        let (input, consumed) = open_text(path, options.compression)?;
        Self::of_text(input, consumed, &name, options, targets, others)
    }

    /// Reads what a client sends.
    ///
    /// # Errors
    /// As [`FileReader::open`].
    pub(crate) fn of_stream(input: Box<dyn Read + Send>, options: &CopyOptions, targets: &[Target]) -> Result<Self> {
        Self::of_text(input, Consumed::default(), STREAM, options, targets, Others::Refused)
    }

    fn of_text(
        input: Box<dyn Read + Send>,
        consumed: Consumed,
        name: &str,
        options: &CopyOptions,
        targets: &[Target],
        others: Others,
    ) -> Result<Self> {
        let origin = RowOrigin::new(name);
        let input: Box<dyn Read + Send> = match options.format {
            FileFormat::Text => Box::new(PlainText::new(input, options)),
            _ => input,
        };
        let name = name.to_string();
        let input = TextInput { window: Window::new(input, &name), log: LineLog::new(origin.clone()), file: name };
        let source = if options.format.is_delimited() {
            Source::Delimited(Box::new(DelimitedReader::new(input, options, targets, others)?))
        } else {
            Source::Json(Box::new(JsonReader::new(input, targets, others)?))
        };
        Ok(Self { source, consumed, origin })
    }

    /// The targets that the file fills, in the order of its batches' columns.
    pub(crate) fn provided(&self) -> Vec<usize> {
        match &self.source {
            Source::Delimited(reader) => reader.provided().to_vec(),
            Source::Json(reader) => reader.provided().to_vec(),
            Source::Columnar(reader) => reader.provided().to_vec(),
        }
    }

    /// The next batch, or `None` at the end.
    ///
    /// # Errors
    /// 22P02, 22003, 22007 or 22P04, with the place as detail.
    pub(crate) fn next(&mut self) -> Result<Option<RecordBatch>> {
        match &mut self.source {
            Source::Delimited(reader) => reader.next(),
            Source::Json(reader) => reader.next(),
            Source::Columnar(reader) => reader.next(),
        }
    }

    /// Bytes of the file (as it lies on the disk) consumed so far, and its size.
    pub(crate) fn progress(&self) -> (u64, u64) {
        self.consumed.get()
    }

    /// Where rows came from.
    pub(crate) fn origin(&self) -> RowOrigin {
        self.origin.clone()
    }
}

/// Which of the targets each column of a file fills.
///
/// # Errors
/// 42703 or 42701 for a column that is no target, or one twice, when they are not skipped.
pub(super) fn match_columns<'a>(
    names: impl IntoIterator<Item = &'a str>,
    targets: &[Target],
    others: Others,
) -> Result<Vec<Option<usize>>> {
    let mut taken = vec![false; targets.len()];
    let mut matched = Vec::new();
    for name in names {
        let found = match others {
            Others::Skipped => targets.iter().position(|target| target.name == name),
            Others::Refused => targets
                .iter()
                .position(|target| target.name == name)
                .or_else(|| targets.iter().position(|target| target.name.eq_ignore_ascii_case(name))),
        };
        let again = found.is_some_and(|at| std::mem::replace(&mut taken[at], true));
        match (found, others) {
            (None, Others::Refused) => {
                return Err(undefined_column(name, None, targets.iter().map(|target| target.name.as_str())));
            }
            (Some(_), Others::Refused) if again => {
                return Err(Error::new(SqlState::DuplicateColumn, format!("the file has column \"{name}\" twice")));
            }
            (found, _) => matched.push(found.filter(|_| !again)),
        }
    }
    Ok(matched)
}

/// The schema of batches that have these targets.
pub(super) fn schema_of<'a>(targets: impl IntoIterator<Item = &'a Target>) -> SchemaRef {
    let field = |target: &Target| Field::new(&target.name, arrow_type(&target.column_type), true);
    Arc::new(Schema::new(targets.into_iter().map(field).collect::<Vec<_>>()))
}

/// A batch, which may have rows and no columns.
pub(super) fn batch_of(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).map_err(arrow_error)
}
