//! Reading json and ndjson.
//!
//! Objects need not have the same keys: those of the first thousand say which columns the file fills. A key that turns
//! up for the first time later is refused rather than lost; one that an object lacks is NULL there.

use super::BATCH_ROWS;
use super::objects::{Objects, entries};
use super::origin::LineLog;
use super::reader::{Others, Target, TextInput, batch_of, match_columns, schema_of};
use super::text::TextColumn;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use evenkeel_model::{Error, Result, SqlState};
use std::collections::VecDeque;

/// Objects looked at beforehand: so many, and of so many bytes.
const SAMPLE_OBJECTS: usize = 1000;
const SAMPLE_BYTES: usize = 8 << 20;

/// Batches of the objects of a JSON text.
pub(super) struct JsonReader {
    objects: Objects,
    /// Objects that were looked at and not yet handed out, with their lines.
    sample: VecDeque<(u64, Vec<u8>)>,
    log: LineLog,
    others: Others,
    row: RowColumns,
    provided: Vec<usize>,
    schema: SchemaRef,
}

/// The columns, and which of them the current object has filled.
struct RowColumns {
    keys: Vec<String>,
    columns: Vec<TextColumn>,
    filled: Vec<bool>,
}

impl JsonReader {
    pub(super) fn new(input: TextInput, targets: &[Target], others: Others) -> Result<Self> {
        let TextInput { window, file, log } = input;
        let mut objects = Objects::new(window, &file);
        let mut sample = VecDeque::new();
        let (keys, provided) = match others {
            Others::Skipped => targets.iter().map(|target| target.name.clone()).zip(0..).unzip(),
            Others::Refused => match_keys(&mut objects, &mut sample, &file, targets)?,
        };
        let chosen = || provided.iter().map(|at| &targets[*at]);
        let columns: Vec<TextColumn> =
            chosen().map(|target| TextColumn::new(&target.column_type, BATCH_ROWS)).collect();
        let schema = schema_of(chosen());
        let row = RowColumns { keys, filled: vec![false; columns.len()], columns };
        Ok(Self { objects, sample, log, others, row, provided, schema })
    }

    /// The targets that the file fills: those that the first objects have, or all that were asked for.
    pub(super) fn provided(&self) -> &[usize] {
        &self.provided
    }

    pub(super) fn next(&mut self) -> Result<Option<RecordBatch>> {
        let mut rows = 0;
        while rows < BATCH_ROWS {
            match self.sample.pop_front() {
                Some((line, object)) => {
                    self.log.note(line);
                    self.row.append(&object, self.others, &self.log)?;
                }
                None if self.objects.next()? => {
                    self.log.note(self.objects.line());
                    self.row.append(self.objects.text(), self.others, &self.log)?;
                }
                None => break,
            }
            rows += 1;
        }
        if rows == 0 {
            return Ok(None);
        }
        let columns = self.row.columns.iter_mut().map(TextColumn::finish).collect();
        batch_of(&self.schema, columns, rows).map(Some)
    }
}

impl RowColumns {
    /// Appends an object, which is the row that was noted last.
    fn append(&mut self, object: &[u8], others: Others, log: &LineLog) -> Result<()> {
        let bad = |why: &str| bad_json(why, &log.place());
        let mut found = entries(object);
        // Objects mostly have their keys in the same order.
        let mut expected = 0;
        while let Some(entry) = found.next_entry().map_err(|why| bad(&why))? {
            let at = match self.keys.get(expected) {
                Some(key) if *key == entry.key => Some(expected),
                _ => self.keys.iter().position(|key| *key == entry.key),
            };
            let Some(at) = at else {
                match others {
                    Others::Skipped => continue,
                    Others::Refused => return Err(late_key(&entry.key).with_detail(log.place())),
                }
            };
            expected = at + 1;
            if std::mem::replace(&mut self.filled[at], true) {
                return Err(bad(&format!("the object has the key \"{}\" twice", entry.key)));
            }
            self.columns[at]
                .append_json(entry.value)
                .map_err(|error| error.with_detail(format!("{}, column {}", log.place(), self.keys[at])))?;
        }
        for (column, filled) in self.columns.iter_mut().zip(&mut self.filled) {
            if !std::mem::take(filled) {
                column.append_null();
            }
        }
        Ok(())
    }
}

/// The keys of the first objects, which go to `sample`, and the targets they fill.
fn match_keys(
    objects: &mut Objects,
    sample: &mut VecDeque<(u64, Vec<u8>)>,
    file: &str,
    targets: &[Target],
) -> Result<(Vec<String>, Vec<usize>)> {
    let (mut keys, mut bytes) = (Vec::<String>::new(), 0);
    while sample.len() < SAMPLE_OBJECTS && bytes < SAMPLE_BYTES && objects.next()? {
        collect_keys(objects.text(), &mut keys)
            .map_err(|why| bad_json(&why, &format!("{file}, line {}", objects.line())))?;
        bytes += objects.text().len();
        sample.push_back((objects.line(), objects.text().to_vec()));
    }
    let matched = match_columns(keys.iter().map(String::as_str), targets, Others::Refused)
        .map_err(|error| error.with_detail(format!("a key in {file}")))?;
    Ok(keys.into_iter().zip(matched).filter_map(|(key, target)| Some((key, target?))).unzip())
}

/// Adds the keys of an object that are not among `keys` yet.
pub(super) fn collect_keys(object: &[u8], keys: &mut Vec<String>) -> std::result::Result<(), String> {
    let mut found = entries(object);
    let mut expected = 0;
    while let Some(entry) = found.next_entry()? {
        if keys.get(expected).is_none_or(|key| *key != entry.key) && !keys.iter().any(|key| *key == entry.key) {
            keys.push(entry.key.into_owned());
        }
        expected += 1;
    }
    Ok(())
}

pub(super) fn bad_json(why: &str, place: &str) -> Error {
    Error::new(SqlState::BadCopyFileFormat, format!("invalid JSON: {why}")).with_detail(place)
}

fn late_key(key: &str) -> Error {
    Error::new(SqlState::BadCopyFileFormat, format!("the key \"{key}\" is in none of the first objects")).with_hint(
        format!(
            "keys are taken from the first {SAMPLE_OBJECTS} objects: give one of them this key, as null for example"
        ),
    )
}
