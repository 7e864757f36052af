//! A session as sqllogictest wants it, and a script's run.
//!
//! Column types are checked (`I` whole numbers, `R` floats and decimals, `T` all else), NULL is `NULL`, an empty text
//! is `(empty)`. An expected error is a pattern over `SQLSTATE: message; detail: …; hint: …`. All records run, and all
//! that are wrong are told at the end.

use arrow::datatypes::DataType;
use async_trait::async_trait;
use evenkeel_engine::Session;
use evenkeel_tests::{Temporary, run, spelled};
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType, Record, Runner, strict_column_validator};
use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

/// A session as sqllogictest wants it.
struct Connection(Session);

/// A statement's error on one line.
#[derive(Debug)]
struct Failure(evenkeel_model::Error);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&spelled(&self.0))
    }
}

impl std::error::Error for Failure {}

#[async_trait]
impl AsyncDB for Connection {
    type Error = Failure;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, statement: &str) -> Result<DBOutput<DefaultColumnType>, Failure> {
        let answered = run(&self.0, statement.trim().trim_end_matches(';')).await.map_err(Failure)?;
        let Some(schema) = &answered.schema else { return Ok(DBOutput::StatementComplete(answered.count())) };
        let types = schema.fields().iter().map(|field| column_type(field.data_type())).collect();
        let rows = answered.rows().into_iter().map(|row| row.into_iter().map(cell).collect()).collect();
        Ok(DBOutput::Rows { types, rows })
    }

    async fn shutdown(&mut self) {}

    fn engine_name(&self) -> &str {
        "evenkeel"
    }

    fn error_sql_state(error: &Failure) -> Option<String> {
        Some(error.0.state.code().to_string())
    }
}

fn column_type(data_type: &DataType) -> DefaultColumnType {
    match data_type {
        integer if integer.is_integer() => DefaultColumnType::Integer,
        number if number.is_numeric() => DefaultColumnType::FloatingPoint,
        _ => DefaultColumnType::Text,
    }
}

/// Gives the names of all scripts to a macro, which makes tests of them.
macro_rules! every_script {
    ($make:ident) => {
        $make! {
            aggregates
            alter
            as_of
            catalog
            constraints
            expressions
            failures
            functions
            joins
            pg_catalog
            pipelines
            queries
            schema
            settings
            subqueries
            transactions
            types
            users
            windows
            writing
        }
    };
}
pub(crate) use every_script;

/// Where the scripts are.
fn folder() -> PathBuf {
    PathBuf::from("slt")
}

/// The scripts that there are, by what they are called.
pub fn scripts() -> BTreeSet<String> {
    let files = std::fs::read_dir(folder()).expect("the folder of scripts");
    files
        .map(|file| file.expect("a file").path())
        .filter_map(|path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned()))
        .collect()
}

/// A value as scripts have it.
pub fn cell(text: Option<String>) -> String {
    match text {
        None => "NULL".to_string(),
        Some(text) if text.is_empty() => "(empty)".to_string(),
        Some(text) => text,
    }
}

/// Runs a script in sessions of a database; what was wrong.
pub async fn wrong(script: &str, database: &Temporary) -> Vec<String> {
    wrong_over(script, || async { Ok(Connection(database.session())) }).await
}

/// Runs a script over connections of any kind, one for each name that it has for them; what was wrong.
pub async fn wrong_over<C, F>(script: &str, connect: impl FnMut() -> F) -> Vec<String>
where
    C: AsyncDB<ColumnType = DefaultColumnType>,
    F: Future<Output = Result<C, C::Error>>,
{
    let mut runner = Runner::new(connect);
    runner.with_column_validator(strict_column_validator);
    let path = folder().join(format!("{script}.slt"));
    let records: Vec<Record<DefaultColumnType>> = sqllogictest::parse_file(&path).expect("a script");
    let mut wrong = Vec::new();
    for record in records {
        if let Err(error) = runner.run_async(record).await {
            wrong.push(error.display(false).to_string());
        }
    }
    wrong
}
