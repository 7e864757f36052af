//! Statements in, rows of text out: how tests talk to a session.

use arrow::util::display::{ArrayFormatter, FormatOptions};
use evenkeel_engine::{Event, Session};
use evenkeel_model::{Error, Result};
use futures::StreamExt;

/// The rows of a statement as text; NULL is `NULL`.
///
/// # Errors
/// What the statement says.
pub async fn rows(session: &Session, statement: &str) -> Result<Vec<Vec<String>>> {
    let options = FormatOptions::default().with_null("NULL");
    let mut rows = Vec::new();
    let mut answer = session.execute(statement, &[]);
    while let Some(event) = answer.next().await {
        let Event::Batch(batch) = event? else { continue };
        let columns = batch.columns().iter().map(|column| ArrayFormatter::try_new(column.as_ref(), &options));
        let columns = columns.collect::<std::result::Result<Vec<_>, _>>();
        let columns = columns.map_err(|error| Error::internal(error.to_string()))?;
        for row in 0..batch.num_rows() {
            rows.push(columns.iter().map(|column| column.value(row).to_string()).collect());
        }
    }
    Ok(rows)
}

/// The rows of a statement whose columns are whole numbers; NULL counts as 0.
///
/// # Errors
/// What the statement says.
pub async fn numbers(session: &Session, statement: &str) -> Result<Vec<Vec<i64>>> {
    let number = |cell: &String| match cell.as_str() {
        "NULL" => 0,
        text => text.parse().unwrap_or_else(|_| panic!("not a whole number: {text} in {statement}")),
    };
    Ok(rows(session, statement).await?.iter().map(|row| row.iter().map(number).collect()).collect())
}
