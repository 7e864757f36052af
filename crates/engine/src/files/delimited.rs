//! Reading csv and tsv.

use super::BATCH_ROWS;
use super::options::CopyOptions;
use super::origin::LineLog;
use super::reader::{Others, Target, TextInput, batch_of, match_columns, schema_of};
use super::splitter::Splitter;
use super::text::TextColumn;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use evenkeel_model::{Error, Result, SqlState};

/// Batches of a delimited text.
pub(super) struct DelimitedReader {
    splitter: Splitter,
    log: LineLog,
    null: Vec<u8>,
    /// For each field of a record, the column it fills; its index here, not among the targets.
    fields: Vec<Option<usize>>,
    columns: Vec<TextColumn>,
    provided: Vec<usize>,
    schema: SchemaRef,
    scratch: Vec<u8>,
}

impl DelimitedReader {
    pub(super) fn new(input: TextInput, options: &CopyOptions, targets: &[Target], others: Others) -> Result<Self> {
        let TextInput { window, file, log } = input;
        let mut splitter = Splitter::new(window, &file, options.delimiter, options.quote);
        let matched = match options.header {
            true => match header(&mut splitter, &file)? {
                Some(names) => match_columns(names.iter().map(String::as_str), targets, others)
                    .map_err(|error| error.with_detail(format!("{file}, line {}", splitter.line())))?,
                None => (0..targets.len()).map(Some).collect(),
            },
            false => (0..targets.len()).map(Some).collect(),
        };
        if matched.len() == 1 {
            splitter.keep_blank();
        }
        let provided: Vec<usize> = matched.iter().copied().flatten().collect();
        let mut next = 0..;
        let fields = matched.iter().map(|target| target.and_then(|_| next.next())).collect();
        let chosen = || provided.iter().map(|at| &targets[*at]);
        Ok(Self {
            log,
            null: options.null.clone().into_bytes(),
            fields,
            columns: chosen().map(|target| TextColumn::new(&target.column_type, BATCH_ROWS)).collect(),
            schema: schema_of(chosen()),
            provided,
            splitter,
            scratch: Vec::new(),
        })
    }

    pub(super) fn provided(&self) -> &[usize] {
        &self.provided
    }

    pub(super) fn next(&mut self) -> Result<Option<RecordBatch>> {
        let mut rows = 0;
        while rows < BATCH_ROWS && self.splitter.next()? {
            self.log.note(self.splitter.line());
            self.row()?;
            rows += 1;
        }
        if rows == 0 {
            return Ok(None);
        }
        let columns = self.columns.iter_mut().map(TextColumn::finish).collect();
        batch_of(&self.schema, columns, rows).map(Some)
    }

    #[inline]
    fn row(&mut self) -> Result<()> {
        if self.splitter.len() != self.fields.len() {
            return Err(self.wrong_length());
        }
        for (index, column) in self.fields.iter().enumerate() {
            let Some(at) = *column else { continue };
            let (text, quoted) = self.splitter.field(index, &mut self.scratch);
            if !quoted && text == self.null {
                self.columns[at].append_null();
            } else if let Err(error) = self.columns[at].append(text) {
                let place = self.log.place();
                return Err(error.with_detail(format!("{place}, column {}", self.schema.field(at).name())));
            }
        }
        Ok(())
    }

    fn wrong_length(&self) -> Error {
        let (found, expected) = (self.splitter.len(), self.fields.len());
        let plural = if found == 1 { "" } else { "s" };
        let what = if found < expected { "too few fields" } else { "too many fields" };
        Error::new(SqlState::BadCopyFileFormat, format!("{what}: the line has {found} field{plural}, not {expected}"))
            .with_detail(self.log.place())
    }
}

/// The names in the first line, `column3` for one without; `None` for an empty file.
pub(super) fn header(splitter: &mut Splitter, file: &str) -> Result<Option<Vec<String>>> {
    if !splitter.next()? {
        return Ok(None);
    }
    let mut scratch = Vec::new();
    let mut name = |index: usize| {
        let (text, _) = splitter.field(index, &mut scratch);
        let name = std::str::from_utf8(text).map_err(|_| {
            Error::new(SqlState::BadCopyFileFormat, "a column name is not UTF-8").with_detail(format!("{file}, line 1"))
        })?;
        Ok(if name.trim().is_empty() { format!("column{}", index + 1) } else { name.trim().to_string() })
    };
    (0..splitter.len()).map(&mut name).collect::<Result<Vec<_>>>().map(Some)
}
