//! Fifteen questions about all flights that left New York in 2013, whose answers are known.
//!
//! Each is asked in SQL and as a pipeline, over one, four and sixty-four shards, and where rows lie together by hour.

use crate::questions::{self, FLIGHTS, SCHEMA, copy, folder, loaded};
use evenkeel_model::SqlState;
use evenkeel_tests::{Temporary, lines, run, spelled};
use std::collections::BTreeSet;

async fn ask(shards: u32, flights: &str) {
    let database = Temporary::new(shards);
    let session = loaded(&database, flights).await;
    questions::ask(&session, &format!("over {shards} shards")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_shard() {
    ask(1, FLIGHTS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn four_shards() {
    ask(4, FLIGHTS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_shards() {
    ask(64, FLIGHTS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sharded_by_hour() {
    ask(4, &format!("{FLIGHTS} SHARD BY (time_hour)")).await;
}

/// The hour before the clocks went back is there twice: a key of local times has duplicates.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_there_twice_leaves_nothing() {
    let database = Temporary::new(4);
    let session = database.session();
    let local = SCHEMA[3].replace("(origin, time_hour)", "(origin, year, month, day, hour)");
    lines(&session, &local).await;
    let error = run(&session, &copy("weather", "weather.csv")).await.expect_err("three keys are there twice");
    assert_eq!(error.state, SqlState::UniqueViolation, "{}", spelled(&error));
    let detail = error.detail.clone().unwrap_or_default();
    let lines_of_duplicates = duplicates();
    assert_eq!(lines_of_duplicates.len(), 3);
    let told = lines_of_duplicates.iter().any(|(line, key)| {
        detail.contains(&format!("weather.csv, line {line}:")) && key.iter().all(|part| detail.contains(part))
    });
    assert!(told, "{}\nnone of {lines_of_duplicates:?}", spelled(&error));
    assert!(detail.contains("(origin, year, month, day, hour)"), "{detail}");
    assert_eq!(lines(&session, "SELECT count(*) FROM weather").await, ["0"]);
    let counted = "QUERY SYSTEM.SHARDS SELECT SUM(row_count) AS rows";
    assert_eq!(lines(&session, counted).await, ["0"]);
    // The table takes rows as if nothing had been.
    lines(&session, "INSERT INTO weather (origin, year, month, day, hour) VALUES ('EWR', 2013, 11, 3, 1)").await;
    assert_eq!(lines(&session, "SELECT count(*) FROM weather").await, ["1"]);
}

/// The second lines of keys that are there twice, with their keys.
fn duplicates() -> Vec<(usize, Vec<String>)> {
    let text = std::fs::read_to_string(folder().join("weather.csv")).expect("the file");
    let mut seen = BTreeSet::new();
    let mut twice = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let key: Vec<String> = line.split(',').take(5).map(str::to_string).collect();
        if !seen.insert(key.clone()) {
            twice.push((index + 1, key));
        }
    }
    twice
}
