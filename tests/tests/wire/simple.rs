//! Statements as text.

use crate::ground::{Ground, SOON, rows, state, until_it_runs};
use std::time::Duration;
use tokio_postgres::{NoTls, SimpleQueryMessage};

#[tokio::test(flavor = "multi_thread")]
async fn sql_and_pipelines_and_shard_statements() {
    let ground = Ground::new().await;
    let client = ground.client().await;
    client.batch_execute("CREATE TABLE t (id integer PRIMARY KEY, name text, on_time boolean)").await.expect("made");
    client.batch_execute("INSERT INTO t VALUES (1, 'one', true), (2, NULL, false)").await.expect("filled");
    assert_eq!(rows(&client, "SELECT * FROM t ORDER BY id").await, ["1|one|t", "2|NULL|f"]);
    assert_eq!(rows(&client, "QUERY t WHERE id = 1 SELECT name").await, ["one"]);
    assert_eq!(rows(&client, "QUERY SYSTEM.SHARDS SELECT count(*) AS n").await, ["4"]);
    assert_eq!(rows(&client, "SHOW server_encoding").await, ["UTF8"]);
    client.batch_execute("REBALANCE SHARDS WITH strategy = 'adaptive'").await.expect("nothing to do is no error");
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_have_their_state_hint_and_place() {
    let ground = Ground::new().await;
    let client = ground.client().await;
    let error = client.simple_query("SELECT 1; SELECT 'ä', nmae FROM system.shards").await.expect_err("no such column");
    let error = error.as_db_error().expect("the server's");
    assert_eq!(error.code().code(), "42703");
    // In characters, from the first one of all that was sent.
    assert_eq!(error.position(), Some(&tokio_postgres::error::ErrorPosition::Original(23)));
    assert_eq!(error.severity(), "ERROR");
    let error = client.simple_query("SELECT * FROM system.shrads").await.expect_err("no such table");
    assert!(error.as_db_error().and_then(|error| error.hint()).is_some_and(|hint| hint.contains("shards")));
    assert_eq!(state(&client, "SELEC 1").await, "42601");
    assert_eq!(state(&client, "SELECT 1/0").await, "22012");
    assert_eq!(rows(&client, "SELECT 1").await, ["1"]);
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_statements_are_one_transaction() {
    let ground = Ground::new().await;
    let client = ground.client().await;
    client.batch_execute("CREATE TABLE t (id integer PRIMARY KEY)").await.expect("made");
    assert_eq!(state(&client, "INSERT INTO t VALUES (1); INSERT INTO t VALUES (1)").await, "23505");
    assert_eq!(rows(&client, "SELECT count(*) FROM t").await, ["0"]);
    client.batch_execute("INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)").await.expect("both");
    assert_eq!(rows(&client, "SELECT count(*) FROM t").await, ["2"]);
    // What says so itself decides itself.
    client.batch_execute("BEGIN; INSERT INTO t VALUES (3); ROLLBACK; INSERT INTO t VALUES (4)").await.expect("all");
    assert_eq!(rows(&client, "SELECT id FROM t ORDER BY id").await, ["1", "2", "4"]);
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_are_open_failed_and_over() {
    let ground = Ground::new().await;
    let client = ground.client().await;
    client.batch_execute("CREATE TABLE t (id integer PRIMARY KEY)").await.expect("made");
    client.batch_execute("BEGIN").await.expect("open");
    client.batch_execute("INSERT INTO t VALUES (1)").await.expect("in it");
    assert_eq!(state(&client, "SELECT 1/0").await, "22012");
    assert_eq!(state(&client, "SELECT 1").await, "25P02");
    client.batch_execute("ROLLBACK").await.expect("over");
    assert_eq!(rows(&client, "SELECT count(*) FROM t").await, ["0"]);
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_request_stops_what_runs() {
    let ground = Ground::new().await;
    let (client, other) = (ground.client().await, ground.client().await);
    let token = client.cancel_token();
    let long = client.simple_query("SELECT count(*) FROM generate_series(1, 100000) a, generate_series(1, 100000) b");
    let cancel = async {
        // A request that comes before its statement stops nothing.
        until_it_runs(&other, "100000").await;
        token.cancel_query(NoTls).await.expect("asked");
    };
    let both = async { tokio::join!(long, cancel) };
    let (answer, ()) = tokio::time::timeout(SOON, both).await.expect("it is stopped");
    assert_eq!(answer.expect_err("stopped").code().map(|code| code.code()), Some("57014"));
    assert_eq!(rows(&client, "SELECT 1").await, ["1"]);
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_leaves_nothing_running() {
    let ground = Ground::new().await;
    let (client, connection) = ground.config().connect(NoTls).await.expect("a connection");
    let connection = tokio::spawn(connection);
    let running = tokio::spawn(async move {
        let query = "SELECT count(*) FROM generate_series(1, 100000) a, generate_series(1, 100000) b";
        client.simple_query(query).await
    });
    let other = ground.client().await;
    let query = "SELECT count(*) FROM system.active_queries WHERE statement LIKE '%generate_series%100000%' AND \
                 statement NOT LIKE '%active%'";
    let counted = async |wanted: &str| {
        while rows(&other, query).await != [wanted] {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, counted("1")).await.expect("it runs");
    running.abort();
    connection.abort();
    tokio::time::timeout(SOON, counted("0")).await.expect("it is stopped");
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_clients_set_and_ask_for() {
    let ground = Ground::new().await;
    let client = ground.client().await;
    client.batch_execute("SET extra_float_digits = 3").await.expect("accepted");
    assert_eq!(rows(&client, "SHOW extra_float_digits").await, ["3"]);
    client.batch_execute("SET client_encoding TO 'UTF8'").await.expect("accepted");
    assert_eq!(state(&client, "SET client_encoding TO 'LATIN1'").await, "0A000");
    assert_eq!(state(&client, "SET TIME ZONE 'Europe/Berlin'").await, "0A000");
    assert_eq!(rows(&client, "SHOW transaction_isolation").await, ["repeatable read"]);
    let mut config = ground.config();
    config.options("-c statement_timeout=50ms");
    let (hurried, connection) = config.connect(NoTls).await.expect("a connection");
    tokio::spawn(connection);
    let long = "SELECT count(*) FROM generate_series(1, 100000) a, generate_series(1, 100000) b";
    assert_eq!(state(&hurried, long).await, "57014");
    config.options("-c no_such_setting=1");
    let refused = config.connect(NoTls).await.err().expect("refused");
    assert_eq!(refused.code().map(|code| code.code()), Some("42704"));
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_text_is_answered() {
    let ground = Ground::new().await;
    let client = ground.client().await;
    for text in ["", ";", " -- nothing\n ;; "] {
        let messages = client.simple_query(text).await.expect("no error");
        assert!(!messages.iter().any(|message| matches!(message, SimpleQueryMessage::Row(_))));
    }
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_lets_transactions_end() {
    let ground = Ground::new().await;
    let (busy, idle) = (ground.client().await, ground.client().await);
    busy.batch_execute("CREATE TABLE t (id integer PRIMARY KEY)").await.expect("made");
    busy.batch_execute("BEGIN; INSERT INTO t VALUES (1)").await.expect("open");
    ground.stop.drain();
    let gone = async {
        while idle.simple_query("SELECT 1").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, gone).await.expect("idle connections end");
    busy.batch_execute("INSERT INTO t VALUES (2)").await.expect("the block goes on");
    busy.batch_execute("COMMIT").await.expect("to its end");
    tokio::time::timeout(SOON, ground.serving).await.expect("the server ends").expect("without a panic");
    let session = ground.database.session();
    assert_eq!(evenkeel_tests::lines(&session, "SELECT count(*) FROM t").await, ["2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_transactions_and_too_many_connections_end() {
    let ground = Ground::new().await;
    let client = ground.client().await;
    client.batch_execute("ALTER SYSTEM SET idle_in_transaction_timeout = '100ms'").await.expect("set");
    client.batch_execute("ALTER SYSTEM SET max_connections = 2").await.expect("set");
    let other = ground.client().await;
    let refused = ground.config().connect(NoTls).await.err().expect("refused");
    assert_eq!(refused.code().map(|code| code.code()), Some("53300"));
    other.batch_execute("BEGIN").await.expect("open");
    let ended = async {
        while !other.is_closed() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, ended).await.expect("it ends");
    assert_eq!(rows(&client, "SELECT 1").await, ["1"]);
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_made_from_queries_say_how_many_rows() {
    let ground = Ground::new().await;
    let client = ground.client().await;
    let tags =
        client.simple_query("CREATE TABLE t AS SELECT value AS id FROM generate_series(1, 30)").await.expect("made");
    let counts: Vec<u64> = tags
        .iter()
        .filter_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::CommandComplete(rows) => Some(*rows),
            _ => None,
        })
        .collect();
    assert_eq!(counts, [30]);
    ground.end().await;
}
