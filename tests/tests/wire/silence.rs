//! Clients that are silent in the middle of something: what they may hold up, and for how long.

use crate::ground::{Ground, SOON, rows};
use bytes::Bytes;
use evenkeel_engine::Session;
use evenkeel_tests::{lines, run, spelled};
use futures::{SinkExt, pin_mut};
use tokio_postgres::Client;

const TABLE: &str = "CREATE TABLE t (id bigint PRIMARY KEY, name text)";

async fn copying(client: &Client) -> tokio_postgres::CopyInSink<Bytes> {
    client.copy_in::<_, Bytes>("COPY t FROM STDIN").await.expect("begun")
}

/// Rows from one number to another, the last not included.
fn lines_of(ids: std::ops::Range<u32>) -> Bytes {
    ids.map(|id| format!("{id}\tname of {id}, which is a long one to fill what is buffered\n"))
        .collect::<String>()
        .into()
}

/// Moves slots to another shard, to the end.
async fn moved(session: &Session, first: u32, from: u32, to: u32) {
    let last = first + 511;
    let statement = format!("MOVE SLOTS {first} TO {last} FROM SHARD {from} TO SHARD {to}");
    for statement in [statement.as_str(), "WAIT FOR JOB LAST TIMEOUT '60s'"] {
        run(session, statement).await.unwrap_or_else(|error| panic!("{statement}: {}", spelled(&error)));
    }
    let states = "QUERY SYSTEM.REBALANCE_STATUS WHERE phase <> 'done'";
    assert!(lines(session, states).await.is_empty(), "{:?}", lines(session, states).await);
}

async fn checked(session: &Session, count: u32) {
    let expected = format!("{count}|{count}|{}", u64::from(count) * u64::from(count - 1) / 2);
    assert_eq!(lines(session, "SELECT count(*), count(DISTINCT id), sum(id) FROM t").await, [expected]);
    // The scan of each shard, and its counters.
    let counted = "SELECT CAST(sum(row_count) AS bigint) FROM SYSTEM.SHARDS";
    assert_eq!(lines(session, counted).await, [count.to_string()]);
    for shard in 1..=4 {
        lines(session, &format!("VERIFY SHARD {shard}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_says_nothing_holds_no_job_up() {
    let ground = Ground::new().await;
    let (client, session) = (ground.client().await, ground.database.session());
    lines(&session, TABLE).await;
    let sink = copying(&client).await;
    pin_mut!(sink);
    moved(&session, 0, 1, 2).await;
    // Nor one that has said a little.
    sink.send(lines_of(0..1_000)).await.expect("sent");
    sink.flush().await.expect("sent");
    moved(&session, 2_048, 2, 3).await;
    sink.send(lines_of(1_000..2_000)).await.expect("sent");
    assert_eq!(sink.finish().await.expect("copied"), 2_000);
    checked(&session, 2_000).await;
    drop((session, client));
    ground.end().await;
}

/// What was gathered in memory and on disk for shards that have lost slots meanwhile goes to those that have them.
#[tokio::test(flavor = "multi_thread")]
async fn rows_follow_slots_that_move_while_they_come() {
    let ground = Ground::new().await;
    let (client, session) = (ground.client().await, ground.database.session());
    // A quarter of it is buffered: these rows take several runs.
    lines(&session, "ALTER SYSTEM SET memory_limit = '32MiB'").await;
    lines(&session, TABLE).await;
    let sink = copying(&client).await;
    pin_mut!(sink);
    let part = |at: u32| lines_of(at * 2_000..(at + 1) * 2_000);
    for at in 0..60 {
        sink.send(part(at)).await.expect("sent");
        if at % 20 == 10 {
            moved(&session, at / 20 * 512, 1, 2).await;
            moved(&session, 2_048 + at / 20 * 512, 2, 4).await;
        }
    }
    assert_eq!(sink.finish().await.expect("copied"), 120_000);
    checked(&session, 120_000).await;
    // A key that is there twice is found in whatever way its rows went.
    for (ids, twice) in [(119_990..120_000, true), (120_000..120_010, false)] {
        let sink = copying(&client).await;
        pin_mut!(sink);
        sink.send(lines_of(ids)).await.expect("sent");
        let outcome = sink.finish().await.map_err(|error| error.code().map(|code| code.code().to_string()));
        assert_eq!(outcome, if twice { Err(Some("23505".to_string())) } else { Ok(10) });
    }
    drop((session, client));
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_stops_half_way_is_ended() {
    let ground = Ground::new().await;
    let (client, session) = (ground.client().await, ground.database.session());
    lines(&session, TABLE).await;
    lines(&session, "ALTER SYSTEM SET idle_in_statement_timeout = '100ms'").await;
    for half in [0, 500] {
        let client = ground.client().await;
        let sink = copying(&client).await;
        pin_mut!(sink);
        if half > 0 {
            sink.send(lines_of(0..half)).await.expect("sent");
            sink.flush().await.expect("sent");
        }
        tokio::time::timeout(SOON, async {
            while !client.is_closed() {
                tokio::task::yield_now().await
            }
        })
        .await
        .expect("the connection is ended");
        // The table is everybody's again, and has no row of it.
        lines(&session, "INSERT INTO t VALUES (1, 'one')").await;
        assert_eq!(lines(&session, "SELECT id FROM t").await, ["1"]);
        lines(&session, "DELETE FROM t").await;
    }
    // Between statements a client may be silent for as long as it likes.
    assert_eq!(rows(&client, "SELECT count(*) FROM t").await, ["0"]);
    drop((session, client));
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_portal_that_is_not_fetched_is_ended() {
    let ground = Ground::new().await;
    let session = ground.database.session();
    lines(&session, TABLE).await;
    lines(&session, "INSERT INTO t SELECT value, repeat('x', 500) FROM generate_series(0, 49999)").await;
    lines(&session, "ALTER SYSTEM SET idle_in_statement_timeout = '100ms'").await;
    let mut client = ground.client().await;
    let block = client.transaction().await.expect("a block");
    let portal = block.bind("SELECT * FROM t", &[]).await.expect("bound");
    assert_eq!(block.query_portal(&portal, 10).await.expect("begun").len(), 10);
    // It reads rows where they were: the job waits for it, and goes on when it is ended.
    moved(&session, 0, 1, 2).await;
    let error = block.query_portal(&portal, 10).await.expect_err("the connection is ended");
    assert!(error.is_closed() || error.code().is_some_and(|code| code.code() == "25P03"), "{error:?}");
    drop(block);
    drop(session);
    ground.end().await;
}
