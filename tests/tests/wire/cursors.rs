//! DECLARE, FETCH and CLOSE.

use crate::ground::{Ground, rows, state};
use tokio_postgres::{Client, SimpleQueryMessage};

const SERIES: &str = "SELECT v FROM generate_series(1, 30000) AS s(v)";

/// How many rows a text has fetched.
async fn fetched(client: &Client, statement: &str) -> u64 {
    let messages = client.simple_query(statement).await.expect(statement);
    messages.iter().map(|m| if let SimpleQueryMessage::CommandComplete(rows) = m { *rows } else { 0 }).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_come_once_and_in_order() {
    let ground = Ground::new().await;
    let client = ground.client().await;
    client.batch_execute("BEGIN").await.expect("open");
    client.batch_execute(&format!("DECLARE c NO SCROLL CURSOR FOR {SERIES}")).await.expect("declared");
    let mut all = Vec::new();
    for (fetch, wanted) in [
        ("FETCH FROM c", 1),
        ("fetch NEXT in C", 1),
        ("FETCH 10 FROM c", 10),
        ("FETCH FORWARD 20000 FROM c", 20_000),
        ("FETCH ALL FROM c", 30_000 - 20_012),
        ("FETCH 1 FROM c", 0),
        ("FETCH ALL c", 0),
    ] {
        let got = rows(&client, fetch).await;
        assert_eq!(got.len(), wanted, "{fetch}");
        all.extend(got);
    }
    assert!(all.iter().map(|row| row.parse::<u64>().expect("a number")).eq(1..=30_000));
    client.batch_execute("CLOSE c").await.expect("closed");
    assert_eq!(state(&client, "FETCH 1 FROM c").await, "34000");
    client.batch_execute("ROLLBACK").await.expect("over");
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_sees_what_there_was_when_it_was_declared() {
    let ground = Ground::new().await;
    let client = ground.client().await;
    client.batch_execute("CREATE TABLE t (id integer PRIMARY KEY)").await.expect("made");
    client.batch_execute("INSERT INTO t VALUES (1), (2), (3)").await.expect("filled");
    client.batch_execute("BEGIN").await.expect("open");
    client.batch_execute("DECLARE a CURSOR FOR SELECT id FROM t ORDER BY id").await.expect("declared");
    client.batch_execute("INSERT INTO t VALUES (4); DELETE FROM t WHERE id = 1").await.expect("its own changes");
    client.batch_execute("DECLARE \"B\" CURSOR FOR QUERY t ORDER BY id SELECT id").await.expect("declared");
    // In turns, with something else in between.
    assert_eq!(rows(&client, "FETCH 2 FROM a").await, ["1", "2"]);
    assert_eq!(rows(&client, "FETCH 2 FROM \"B\"").await, ["2", "3"]);
    assert_eq!(rows(&client, "SELECT count(*) FROM t").await, ["3"]);
    assert_eq!(rows(&client, "FETCH ALL FROM a").await, ["3"]);
    assert_eq!(rows(&client, "FETCH ALL FROM \"B\"").await, ["4"]);
    client.batch_execute("CLOSE ALL; COMMIT").await.expect("over");
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_ends_with_its_block_unless_it_is_held() {
    let ground = Ground::new().await;
    let client = ground.client().await;
    let declare = |name: &str, hold: &str| format!("DECLARE {name} CURSOR {hold} FOR VALUES (1), (2), (3)");
    assert_eq!(state(&client, &declare("c", "")).await, "25P01");
    // Several statements in one message are a block.
    let both = format!("{}; FETCH 2 FROM c", declare("c", ""));
    assert_eq!(fetched(&client, &both).await, 2);
    assert_eq!(state(&client, "FETCH 1 FROM c").await, "34000");
    client.batch_execute(&declare("held", "WITH HOLD")).await.expect("outside a block");
    assert_eq!(rows(&client, "FETCH 1 FROM held").await, ["1"]);
    assert_eq!(state(&client, &declare("held", "WITH HOLD")).await, "42P03");
    client.batch_execute("BEGIN").await.expect("open");
    client.batch_execute(&declare("committed", "WITH HOLD")).await.expect("declared");
    client.batch_execute(&declare("plain", "WITHOUT HOLD")).await.expect("declared");
    client.batch_execute("COMMIT").await.expect("over");
    assert_eq!(rows(&client, "FETCH 2 FROM committed").await, ["1", "2"]);
    assert_eq!(state(&client, "FETCH 1 FROM plain").await, "34000");
    for end in ["ROLLBACK", "SELECT 1/0"] {
        client.batch_execute("BEGIN").await.expect("open");
        client.batch_execute(&declare("undone", "WITH HOLD")).await.expect("declared");
        assert_eq!(client.batch_execute(end).await.is_ok(), end == "ROLLBACK");
        if end != "ROLLBACK" {
            assert_eq!(state(&client, "FETCH 1 FROM held").await, "25P02");
            assert_eq!(state(&client, "CLOSE held").await, "25P02");
            client.batch_execute("COMMIT").await.expect("it is rolled back");
        }
        assert_eq!(state(&client, "FETCH 1 FROM undone").await, "34000");
    }
    assert_eq!(rows(&client, "FETCH ALL FROM held").await, ["2", "3"]);
    assert_eq!(rows(&client, "FETCH ALL FROM committed").await, ["3"]);
    client.batch_execute("CLOSE held; CLOSE committed").await.expect("closed");
    assert_eq!(state(&client, "CLOSE held").await, "34000");
    ground.end().await;
}

/// As drivers do: the statement is prepared, with parameters and in binary, and a portal of the protocol is a cursor.
#[tokio::test(flavor = "multi_thread")]
async fn cursors_in_the_extended_protocol() {
    let ground = Ground::new().await;
    let mut client = ground.client().await;
    let block = client.transaction().await.expect("open");
    let declare = "DECLARE c CURSOR FOR \
                   SELECT v, v::text FROM generate_series(1, 99) AS s(v) WHERE v > $1::bigint AND v <= $2::bigint";
    block.execute(declare, &[&10_i64, &30_i64]).await.expect("declared");
    let fetch = block.prepare("FETCH 5 FROM c").await.expect("prepared");
    assert_eq!(fetch.columns().len(), 2);
    let mut next = 11;
    for _ in 0..2 {
        for row in block.query(&fetch, &[]).await.expect("rows") {
            assert_eq!((row.get::<_, i64>(0), row.get::<_, String>(1)), (next, next.to_string()));
            next += 1;
        }
    }
    assert_eq!(next, 21);
    // Text now, in the middle of a batch.
    assert_eq!(rows(block.client(), "FETCH 2 FROM c").await, ["21|21", "22|22"]);
    assert_eq!(block.query(&fetch, &[]).await.expect("rows")[0].get::<_, i64>(0), 23);
    // Fewer at a time than are asked for.
    let portal = block.bind("FETCH ALL FROM c", &[]).await.expect("bound");
    assert_eq!(block.query_portal(&portal, 2).await.expect("rows").len(), 2);
    assert_eq!(block.query_portal(&portal, 0).await.expect("rows").len(), 1);
    assert_eq!(block.query_portal(&portal, 0).await.expect("no more").len(), 0);
    let error = block.query("FETCH BACKWARD 1 FROM c", &[]).await.expect_err("only forward");
    assert_eq!(error.code().map(|code| code.code()), Some("55000"));
    block.rollback().await.expect("over");
    ground.end().await;
}

/// As a driver does whose user has seen enough: nothing of the block is lost by that.
#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_that_is_not_read_to_its_end_fails_nothing() {
    let ground = Ground::new().await;
    let mut client = ground.client().await;
    client.batch_execute("CREATE TABLE t (id integer PRIMARY KEY, x text)").await.expect("made");
    let large = "SELECT v, repeat('x', 100000) FROM generate_series(1, 2000) AS s(v)";
    for (id, end) in ["CLOSE c; COMMIT", "CLOSE ALL; COMMIT", "COMMIT"].into_iter().enumerate() {
        client.batch_execute("BEGIN").await.expect("open");
        client.batch_execute(&format!("INSERT INTO t VALUES ({id}, '')")).await.expect("inserted");
        client.batch_execute(&format!("DECLARE c CURSOR FOR {large}")).await.expect("declared");
        assert_eq!(rows(&client, "FETCH 2 FROM c").await.len(), 2);
        for statement in end.split("; ") {
            client.batch_execute(statement).await.expect(statement);
        }
        assert_eq!(rows(&client, "SELECT count(*) FROM t").await, [(id + 1).to_string()]);
        assert_eq!(state(&client, "FETCH 1 FROM c").await, "34000");
    }
    // By the protocol's own message.
    let block = client.transaction().await.expect("open");
    block.batch_execute("INSERT INTO t VALUES (10, '')").await.expect("inserted");
    let portal = block.bind(large, &[]).await.expect("bound");
    assert_eq!(block.query_portal(&portal, 1).await.expect("rows").len(), 1);
    drop(portal);
    block.commit().await.expect("committed");
    assert_eq!(rows(&client, "SELECT count(*) FROM t").await, ["4"]);
    // Another statement would have to keep all of it.
    client.batch_execute("BEGIN").await.expect("open");
    client.batch_execute(&format!("DECLARE c CURSOR FOR {large}")).await.expect("declared");
    assert_eq!(state(&client, "SELECT 1").await, "53200");
    client.batch_execute("ROLLBACK").await.expect("over");
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_rolled_back_takes_its_cursors_along() {
    let ground = Ground::new().await;
    let (client, other) = (ground.client().await, ground.client().await);
    client.batch_execute("CREATE TABLE t (id integer PRIMARY KEY, n integer)").await.expect("made");
    client.batch_execute("INSERT INTO t VALUES (1, 0)").await.expect("filled");
    let held = "DECLARE h CURSOR WITH HOLD FOR SELECT n FROM t";
    // To a savepoint.
    client.batch_execute("BEGIN; SAVEPOINT s").await.expect("open");
    client.batch_execute("UPDATE t SET n = 1; DECLARE c CURSOR FOR SELECT n FROM t").await.expect("declared");
    client.batch_execute("ROLLBACK TO s").await.expect("back");
    assert_eq!(state(&client, "FETCH 1 FROM c").await, "34000");
    client.batch_execute("ROLLBACK").await.expect("over");
    // In one message, which fails.
    assert_eq!(state(&client, &format!("UPDATE t SET n = 2; {held}; SELECT 1/0")).await, "22012");
    assert_eq!(state(&client, "FETCH 1 FROM h").await, "34000");
    // In one message, and another block begins before the client hears of it.
    let text = "BEGIN; DECLARE c CURSOR FOR SELECT n FROM t; ROLLBACK; BEGIN; FETCH 1 FROM c";
    assert_eq!(state(&client, text).await, "34000");
    client.batch_execute("ROLLBACK").await.expect("over");
    // By a COMMIT that fails.
    client.batch_execute("BEGIN").await.expect("open");
    client.batch_execute("SELECT count(*) FROM t").await.expect("read");
    other.batch_execute("INSERT INTO t VALUES (2, 0)").await.expect("by another");
    client.batch_execute("INSERT INTO t VALUES (2, 7)").await.expect("not seen yet");
    client.batch_execute(held).await.expect("declared");
    assert_eq!(state(&client, "COMMIT").await, "40001");
    assert_eq!(state(&client, "FETCH 1 FROM h").await, "34000");
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said_at_its_place() {
    let ground = Ground::new().await;
    let client = ground.client().await;
    let text = "DECLARE c CURSOR WITH HOLD FOR SELECT nothing FROM system.shards";
    let error = client.simple_query(text).await.expect_err("no such column");
    let error = error.as_db_error().expect("the server's");
    assert_eq!(error.code().code(), "42703");
    assert_eq!(error.position(), Some(&tokio_postgres::error::ErrorPosition::Original(39)));
    assert_eq!(state(&client, "DECLARE c SCROLL CURSOR WITH HOLD FOR VALUES (1)").await, "0A000");
    assert_eq!(state(&client, "DECLARE c CURSOR WITH HOLD FOR DELETE FROM t").await, "42601");
    assert_eq!(state(&client, "DECLARE c CURSOR WITH HOLD FOR SELECT $1").await, "42P02");
    // More than is kept: nothing is, and what was fetched of another goes on.
    client.batch_execute("DECLARE small CURSOR WITH HOLD FOR VALUES (1), (2)").await.expect("declared");
    let large = "DECLARE large CURSOR WITH HOLD FOR SELECT repeat('x', 100000) FROM generate_series(1, 1000) AS s(v)";
    assert_eq!(state(&client, large).await, "53200");
    assert_eq!(state(&client, "FETCH 1 FROM large").await, "34000");
    assert_eq!(rows(&client, "FETCH ALL FROM small").await, ["1", "2"]);
    ground.end().await;
}
