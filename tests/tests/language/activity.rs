//! What the SYSTEM tables say of sessions, statements, transactions, tables and what has happened.

use evenkeel_engine::{Database, OpenOptions, Session, TransactionState};
use evenkeel_model::SqlState;
use evenkeel_tests::{Temporary, lines, run};
use std::path::Path;
use std::time::Duration;

/// What would hang for ever fails instead.
const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until a query has this answer: a session ends a moment after it was dropped.
async fn becomes(session: &Session, query: &str, expected: &[&str]) {
    let search = async {
        while lines(session, query).await != expected {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, search).await.unwrap_or_else(|_| panic!("{query} never gives {expected:?}"));
}

/// Opens a directory as soon as the process before has left it.
async fn opened(directory: &Path) -> Session {
    let open = async {
        loop {
            match Database::open(directory, &OpenOptions { shards: Some(3), ..OpenOptions::default() }) {
                Ok(database) => return Session::new(&database, "test"),
                Err(error) => assert_eq!(error.state, SqlState::CannotConnectNow, "{error}"),
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, open).await.expect("the directory is never free")
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_listed_while_they_are_open() {
    let database = Temporary::new(2);
    let watcher = Session::new(database.database(), "watcher");
    let idle = Session::new(database.database(), "idle one");
    let busy = Session::new(database.database(), "busy one");
    lines(&idle, "SELECT 1 AS one").await;
    lines(&busy, "BEGIN").await;
    lines(&busy, "SELECT 1 AS one").await;
    let query = "QUERY SYSTEM.SESSIONS SELECT application, state, statements ORDER BY application";
    assert_eq!(lines(&watcher, query).await, ["busy one|idle in transaction|2", "idle one|idle|1", "watcher|active|1"]);
    drop(busy);
    let query = "QUERY SYSTEM.SESSIONS SELECT application, state ORDER BY application";
    becomes(&watcher, query, &["idle one|idle", "watcher|active"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_are_listed_with_what_they_wrote() {
    let database = Temporary::new(4);
    let (watcher, writer) = (database.session(), database.session());
    lines(&writer, "CREATE TABLE t (id integer PRIMARY KEY, v integer)").await;
    let query = "QUERY SYSTEM.TRANSACTIONS SELECT state, written_rows, written_bytes > 0 AS bytes";
    assert!(lines(&watcher, query).await.is_empty());
    assert_eq!(writer.transaction(), TransactionState::Idle);
    lines(&writer, "BEGIN").await;
    assert_eq!(lines(&watcher, query).await, ["open|0|false"]);
    lines(&writer, "INSERT INTO t SELECT value, 1 FROM generate_series(1, 50)").await;
    lines(&writer, "UPDATE t SET v = 2 WHERE id <= 10").await;
    assert_eq!(lines(&watcher, query).await, ["open|50|true"]);
    assert_eq!(writer.transaction(), TransactionState::Open);
    assert!(run(&writer, "SELECT 1 / 0 AS nothing").await.is_err());
    assert_eq!(lines(&watcher, query).await, ["failed|50|true"]);
    assert_eq!(writer.transaction(), TransactionState::Failed);
    lines(&writer, "ROLLBACK").await;
    assert!(lines(&watcher, query).await.is_empty());
    lines(&writer, "BEGIN").await;
    drop(writer);
    becomes(&watcher, query, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_sees_itself_run() {
    let database = Temporary::new(1);
    let session = database.session();
    let query = "QUERY SYSTEM.ACTIVE_QUERIES JOIN SYSTEM.SESSIONS USING (session_id) SELECT application, statement";
    assert_eq!(lines(&session, query).await, [format!("test|{query}")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_statements_are_kept() {
    let database = Temporary::new(2);
    let session = database.session();
    let query = "QUERY SYSTEM.SLOW_QUERIES WHERE statement LIKE '%kept%' \
                 SELECT statement, row_count, error, duration_ms >= 0 AS took ORDER BY query_id";
    lines(&session, "ALTER SYSTEM SET slow_query_threshold = '1h'").await;
    lines(&session, "SELECT 'not kept' AS what").await;
    assert!(lines(&session, query).await.is_empty());
    lines(&session, "ALTER SYSTEM SET slow_query_threshold = 0").await;
    lines(&session, "SELECT value AS kept FROM generate_series(1, 3)").await;
    assert!(run(&session, "SELECT 1 / 0 AS kept").await.is_err());
    lines(&session, "ALTER SYSTEM RESET slow_query_threshold").await;
    assert_eq!(
        lines(&session, query).await,
        [
            "SELECT value AS kept FROM generate_series(1, 3)|3|NULL|true",
            "SELECT 1 / 0 AS kept|NULL|division by zero|true"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn events_outlive_the_process() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let directory = folder.path().join("data");
    let session = opened(&directory).await;
    for statement in [
        "CREATE TABLE t (id integer PRIMARY KEY)",
        "ALTER TABLE t ADD COLUMN v text",
        "CREATE VIEW w AS QUERY t",
        "TRUNCATE t",
        "DROP VIEW w",
        "DROP TABLE t",
        "ALTER SYSTEM SET gc_retention = '5min'",
        "ALTER SYSTEM RESET gc_retention",
    ] {
        lines(&session, statement).await;
    }
    let query = "QUERY SYSTEM.EVENTS WHERE kind <> 'recovery' SELECT kind, subject, message ORDER BY time";
    let expected = [
        "database|created|3 shards, 8192 slots",
        "setting|gc_retention|reset",
        "setting|gc_retention|set to 5min",
        "table|t|column v added",
        "table|t|created",
        "table|t|dropped",
        "table|t|truncated",
        "view|w|created",
        "view|w|dropped",
    ];
    let mut told = lines(&session, query).await;
    told.sort();
    assert_eq!(told, expected);
    drop(session);
    let mut told = lines(&opened(&directory).await, query).await;
    told.sort();
    assert_eq!(told, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_counted_exactly() {
    for shards in [1, 4, 7] {
        let database = Temporary::new(shards);
        let session = database.session();
        lines(&session, "CREATE TABLE t (id integer PRIMARY KEY, v text)").await;
        lines(&session, "CREATE TABLE u (v integer)").await;
        for (statement, rows) in [
            ("INSERT INTO t SELECT value, 'x' FROM generate_series(1, 500)", 500),
            ("UPDATE t SET v = 'longer' WHERE id % 3 = 0", 500),
            ("UPDATE t SET id = id + 1000 WHERE id <= 100", 500),
            ("DELETE FROM t WHERE id > 1000", 400),
            ("UPSERT INTO t VALUES (500, 'y'), (501, 'y')", 401),
            ("BEGIN", 401),
            ("DELETE FROM t", 401),
            ("ROLLBACK", 401),
            ("INSERT INTO u SELECT value FROM generate_series(1, 30000)", 30_401),
            ("DELETE FROM u WHERE v > 10", 411),
        ] {
            lines(&session, statement).await;
            let counts = [
                "SELECT sum(row_count) FROM system.tables",
                "SELECT sum(row_count) FROM system.shards",
                "SELECT sum(row_count) FROM system.slots",
            ];
            for count in counts {
                assert_eq!(lines(&session, count).await, [rows.to_string()], "{count} after {statement}");
            }
        }
        let shape =
            "QUERY SYSTEM.SHARDS SELECT COUNT(*) AS shards, SUM(slots) AS slots, COUNT(DISTINCT state) AS states";
        assert_eq!(lines(&session, shape).await, [format!("{shards}|8192|1")]);
        let owners = "QUERY SYSTEM.SLOTS SELECT COUNT(*) AS slots, COUNT(DISTINCT shard_id) AS shards";
        assert_eq!(lines(&session, owners).await, [format!("8192|{shards}")]);
    }
}
