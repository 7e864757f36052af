//! Lists of rows of a SYSTEM table, page by page.
//!
//! A page goes on behind the last row of the one before, by the table's key: what comes or goes meanwhile shifts nothing.

use crate::answer::Reading;
use crate::problem::Problem;
use arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use arrow::datatypes::DataType;
use evenkeel_catalog::{SystemTable, computed_tables};
use evenkeel_engine::Session;
use evenkeel_model::{Error, SqlState};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

const LIMIT: u32 = 100;
const LIMIT_MAX: u32 = 1_000;

pub(crate) type Row = serde_json::Map<String, serde_json::Value>;

/// Which part of a list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Part {
    /// Rows at most: 100 unless said, 1,000 at the most.
    #[param(minimum = 1, maximum = 1000)]
    pub(crate) limit: Option<u32>,
    /// Goes on behind the page that had this as its `next`.
    pub(crate) after: Option<String>,
}

/// A part of a list.
#[derive(Debug, Serialize)]
pub(crate) struct Page {
    items: Vec<Row>,
    /// What `after` has to be for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// A SYSTEM table as the interface shows it.
pub(crate) struct List {
    /// The table's name, in lower case.
    pub(crate) table: &'static str,
    /// What an item is called in the OpenAPI description.
    pub(crate) item: &'static str,
    /// The columns that no two rows share, in the order of the list.
    key: &'static [&'static str],
}

pub(crate) const SHARDS: List = List { table: "shards", item: "Shard", key: &["shard_id"] };
pub(crate) const SLOTS: List = List { table: "slots", item: "Slot", key: &["slot"] };
pub(crate) const JOBS: List = List { table: "jobs", item: "Job", key: &["job_id"] };
pub(crate) const MIGRATIONS: List = List { table: "rebalance_status", item: "Migration", key: &["migration_id"] };
pub(crate) const SETTINGS: List = List { table: "settings", item: "Setting", key: &["name"] };
pub(crate) const DECISIONS: List = List { table: "balancer_decisions", item: "Decision", key: &["time"] };
pub(crate) const MEASUREMENTS: List = List { table: "shard_metrics", item: "Measurement", key: &["time", "shard_id"] };
pub(crate) const EVENTS: List = List { table: "events", item: "Event", key: &["event_id"] };

/// Every list.
pub(crate) const LISTS: [&List; 8] =
    [&SHARDS, &SLOTS, &JOBS, &MIGRATIONS, &SETTINGS, &DECISIONS, &MEASUREMENTS, &EVENTS];

impl List {
    /// The catalog's table.
    pub(crate) fn system_table(&self) -> &'static SystemTable {
        let found = computed_tables().find(|t| t.schema_name == evenkeel_catalog::SYSTEM && t.name == self.table);
        found.expect("a test looks every list up")
    }

    fn column(&self, name: &str) -> Option<DataType> {
        (self.system_table().columns)().into_iter().find(|column| column.name == name).map(|column| column.data_type)
    }

    /// One page. `conditions` hold of all its rows.
    pub(crate) async fn page(&self, session: Session, part: &Part, conditions: &[String]) -> Result<Page, Problem> {
        let limit = part.limit.unwrap_or(LIMIT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            let message = format!("limit is {limit}");
            let error = Error::new(SqlState::InvalidParameterValue, message);
            return Err(error.with_hint(format!("it is 1 to {LIMIT_MAX}")).into());
        }
        let mut conditions = conditions.to_vec();
        if let Some(after) = &part.after {
            conditions.push(self.behind(after)?);
        }
        // One more than asked for tells whether there is a next page.
        let mut items = self.rows(session, &conditions, limit + 1).await?;
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let next = items.last().filter(|_| more).map(|last| self.key_of(last));
        Ok(Page { items, next })
    }

    /// The only row with this key.
    pub(crate) async fn one(&self, session: Session, value: &str) -> Result<Row, Problem> {
        let column = self.key[0];
        let condition = format!("\"{column}\" = {}", self.literal(column, value)?);
        let gone = || {
            let message = format!("there is no {} {value}", self.item.to_lowercase());
            Error::new(SqlState::UndefinedObject, message)
        };
        Ok(self.rows(session, &[condition], 1).await?.pop().ok_or_else(gone)?)
    }

    /// Rows in the list's order.
    pub(crate) async fn rows(&self, session: Session, conditions: &[String], limit: u32) -> Result<Vec<Row>, Problem> {
        let wanted = match conditions {
            [] => String::new(),
            conditions => format!(" WHERE {}", conditions.join(" AND ")),
        };
        let order = self.key.iter().map(|column| format!("\"{column}\"")).collect::<Vec<_>>().join(", ");
        let statement = format!("QUERY SYSTEM.{}{wanted} ORDER BY {order} LIMIT {limit}", self.table);
        let answer = session.answer(&statement);
        Reading::begin(session, answer, &statement).await?.objects().await
    }

    fn key_of(&self, row: &Row) -> String {
        let value = |column: &&str| match row.get(*column) {
            Some(serde_json::Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
            None => String::new(),
        };
        self.key.iter().map(value).collect::<Vec<_>>().join(",")
    }

    /// The condition of rows behind this key.
    fn behind(&self, after: &str) -> Result<String, Problem> {
        let values: Vec<&str> = after.splitn(self.key.len(), ',').collect();
        if values.len() != self.key.len() {
            return Err(unknown_place(after));
        }
        let (mut before, mut ways) = (Vec::new(), Vec::new());
        for (column, value) in self.key.iter().zip(values) {
            let literal = self.literal(column, value).map_err(|_| unknown_place(after))?;
            let way: Vec<_> = before.iter().cloned().chain([format!("\"{column}\" > {literal}")]).collect();
            ways.push(way.join(" AND "));
            before.push(format!("\"{column}\" = {literal}"));
        }
        Ok(format!("({})", ways.join(" OR ")))
    }

    /// A column's value in PQL.
    fn literal(&self, column: &str, value: &str) -> Result<String, Problem> {
        Ok(match self.column(column) {
            Some(DataType::Int64) => value.parse::<i64>().map_err(|_| no_number(value))?.to_string(),
            Some(DataType::Timestamp(..)) => {
                string_to_timestamp_nanos(value).map_err(|_| no_time(value))?;
                format!("TIMESTAMPTZ {}", quoted(value))
            }
            _ => quoted(value),
        })
    }
}

fn unknown_place(after: &str) -> Problem {
    let error = Error::new(SqlState::InvalidParameterValue, format!("after = {after} is no place in this list"));
    error.with_hint("it is what the page before gives as next").into()
}

fn no_number(value: &str) -> Problem {
    Error::new(SqlState::InvalidTextRepresentation, format!("{value} is no number")).into()
}

fn no_time(value: &str) -> Problem {
    Error::new(SqlState::InvalidDatetimeFormat, format!("{value} is no point in time")).into()
}

/// A string in PQL.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_tables_with_their_keys() {
        for list in LISTS {
            list.key.iter().for_each(|key| assert!(list.column(key).is_some(), "{}.{key}", list.table));
        }
    }

    #[test]
    fn pages_go_on_behind_a_key() {
        let behind = |list: &List, after: &str| list.behind(after).ok();
        assert_eq!(behind(&SHARDS, "7").as_deref(), Some("(\"shard_id\" > 7)"));
        assert_eq!(behind(&SHARDS, "7 OR true"), None);
        assert_eq!(behind(&SETTINGS, "a' OR 'b").as_deref(), Some("(\"name\" > 'a'' OR ''b')"));
        let time = "TIMESTAMPTZ '2026-01-02T03:04:05.678Z'";
        let expected = format!("(\"time\" > {time} OR \"time\" = {time} AND \"shard_id\" > 3)");
        assert_eq!(behind(&MEASUREMENTS, "2026-01-02T03:04:05.678Z,3"), Some(expected));
        assert_eq!(behind(&MEASUREMENTS, "2026-01-02T03:04:05.678Z"), None);
        assert_eq!(behind(&MEASUREMENTS, "x,3"), None);
        assert_eq!(behind(&DECISIONS, "x"), None);
    }
}
