//! Tables that come, change and go while their slots move; transactions and timestamps on both sides of a cutover.
//!
//! Carries `no-resurrection`, `snapshot-isolation` and `no-stale-read`.

use crate::ground::{Ground, crawling, done, hurry, number, phases, refused, slots_of, start, until};
use evenkeel_model::SqlState;
use evenkeel_tests::{lines, moment, run};

const MOVE: &str = "MOVE SLOTS 0 TO 2047 FROM SHARD 1 TO SHARD 2";

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_goes_half_way_stays_away() {
    let ground = Ground::with_rows(3_000).await;
    let session = ground.session();
    for table in ["dropped", "emptied", "altered"] {
        lines(&session, &format!("CREATE TABLE {table} (id bigint PRIMARY KEY, v bigint)")).await;
        lines(&session, &format!("INSERT INTO {table} SELECT n, 1 FROM generate_series(1, 3000) AS g(n)")).await;
    }
    crawling(&session, MOVE).await;
    lines(&session, "DROP TABLE dropped").await;
    lines(&session, "TRUNCATE emptied").await;
    lines(&session, "INSERT INTO emptied VALUES (1, 1), (2, 2)").await;
    lines(&session, "ALTER TABLE altered ADD COLUMN note text DEFAULT 'old'").await;
    lines(&session, "ALTER TABLE altered DROP COLUMN v").await;
    lines(&session, "CREATE TABLE created (id bigint PRIMARY KEY, v bigint)").await;
    lines(&session, "INSERT INTO created SELECT n, 1 FROM generate_series(1, 1000) AS g(n)").await;
    lines(&session, "CREATE TABLE loaded AS SELECT n AS id FROM generate_series(1, 25000) AS g(n)").await;
    hurry(&session).await;
    lines(&session, "WAIT FOR JOB ALL TIMEOUT '30s'").await;
    for (query, expected) in [
        ("SELECT count(v) FROM t", "3000"),
        ("SELECT count(v), sum(v) FROM emptied", "2|3"),
        ("SELECT count(note), count(DISTINCT id) FROM altered WHERE note = 'old'", "3000|3000"),
        ("SELECT count(v) FROM created", "1000"),
        ("SELECT count(id), count(DISTINCT id) FROM loaded", "25000|25000"),
    ] {
        assert_eq!(lines(&session, query).await, [expected], "{query}");
    }
    refused(&session, "SELECT * FROM dropped", SqlState::UndefinedTable).await;
    drop(session);
    ground.end().await;
}

/// A load that is taken back leaves nothing, at the source nor at the target.
#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_fails_half_way_stays_away() {
    let ground = Ground::with_rows(1_000).await;
    let session = ground.session();
    crawling(&session, MOVE).await;
    let load = "INSERT INTO t SELECT n + 950, 1 FROM generate_series(1, 25000) AS g(n)";
    refused(&session, load, SqlState::UniqueViolation).await;
    lines(&session, "INSERT INTO t SELECT n + 1000, 1 FROM generate_series(1, 25000) AS g(n)").await;
    hurry(&session).await;
    lines(&session, "WAIT FOR JOB ALL TIMEOUT '30s'").await;
    assert_eq!(lines(&session, "SELECT count(v), sum(v), count(DISTINCT id) FROM t").await, ["26000|25000|26000"]);
    drop(session);
    ground.end().await;
}

/// An open transaction sees what it saw, by a scan, by a key and by the counters, wherever its rows have gone meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn an_open_transaction_sees_the_same_rows() {
    let ground = Ground::with_rows(500).await;
    let (session, writer) = (ground.session(), ground.session());
    let past = moment(&session).await;
    let slots = slots_of(&session, 4).await;
    lines(&session, "BEGIN").await;
    assert_eq!(lines(&session, "SELECT count(*) FROM t").await, ["500"]);
    lines(&writer, "INSERT INTO t SELECT n, 9 FROM generate_series(1001, 1300) AS g(n)").await;
    lines(&writer, "DELETE FROM t WHERE id <= 100").await;
    let check = async |after: &str| {
        for query in
            ["SELECT count(*) FROM t", "SELECT count(v) FROM t", "SELECT count(DISTINCT id) FROM t WHERE v = 0"]
        {
            assert_eq!(lines(&session, query).await, ["500"], "{query} after {after}");
        }
        for (id, rows) in [(7, 1), (1_007, 0)] {
            let found = lines(&session, &format!("SELECT v FROM t WHERE id = {id}")).await;
            assert_eq!(found.len(), rows, "row {id} after {after}");
        }
        for count in ["COUNT(*)", "COUNT(v)"] {
            let query = format!("QUERY t AS OF '{past}' GROUP BY () COMPUTE n = {count}");
            assert_eq!(number(&writer, &query).await, 500, "{query} after {after}");
        }
    };
    check("the writes").await;
    done(&writer, MOVE).await;
    check("a move").await;
    done(&writer, &format!("MOVE SLOTS {slots} FROM SHARD 4 TO SHARD 3")).await;
    check("another").await;
    // The shards that had the newest writes go, and with them what they knew of those.
    for shard in [1, 4] {
        done(&writer, &format!("REMOVE SHARD {shard}")).await;
        check("a shard has gone").await;
    }
    done(&writer, "MERGE SHARDS 2, 3").await;
    check("a merge").await;
    lines(&session, "COMMIT").await;
    assert_eq!(lines(&session, "SELECT count(*) FROM t").await, ["700"]);
    drop((session, writer));
    ground.end().await;
}

/// The counters of a shard that is removed knew of writes that an older reader must not see.
#[tokio::test(flavor = "multi_thread")]
async fn a_count_of_the_past_outlives_the_shard_that_was_written() {
    let ground = Ground::with_rows(500).await;
    let (session, writer) = (ground.session(), ground.session());
    lines(&session, "BEGIN").await;
    assert_eq!(lines(&session, "SELECT count(*) FROM t").await, ["500"]);
    // All new rows are in shard 1.
    let mut written = 0;
    for id in 1_001..1_100 {
        let place = run(&writer, &format!("LOCATE t KEY ({id})")).await.expect("a place");
        let shard = place.columns().iter().position(|name| name == "shard_id").expect("a shard");
        if place.rows()[0][shard].as_deref() == Some("1") {
            lines(&writer, &format!("INSERT INTO t VALUES ({id}, 1)")).await;
            written += 1;
        }
    }
    assert!(written > 0);
    done(&writer, "REMOVE SHARD 1").await;
    for query in ["SELECT count(v) FROM t", "SELECT count(*) FROM t"] {
        assert_eq!(lines(&session, query).await, ["500"], "{query}");
    }
    lines(&session, "COMMIT").await;
    assert_eq!(lines(&session, "SELECT count(*) FROM t").await, [(500 + written).to_string()]);
    drop((session, writer));
    ground.end().await;
}

/// Two writers of one row conflict, also when the row has moved between their writes.
#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_is_seen_across_a_cutover() {
    let ground = Ground::with_rows(500).await;
    let (first, second) = (ground.session(), ground.session());
    lines(&first, "BEGIN").await;
    lines(&first, "UPDATE t SET v = v + 1 WHERE id <= 200").await;
    lines(&second, "UPDATE t SET v = v + 10 WHERE id <= 20").await;
    done(&second, MOVE).await;
    refused(&first, "COMMIT", SqlState::SerializationFailure).await;
    // And one without a conflict commits to where its rows are now.
    lines(&first, "BEGIN").await;
    lines(&first, "UPDATE t SET v = v + 100").await;
    done(&second, "MOVE SLOTS 0 TO 4095 FROM SHARD 2 TO SHARD 3").await;
    lines(&first, "COMMIT").await;
    assert_eq!(lines(&second, "SELECT count(v), sum(v) FROM t").await, ["500|50200"]);
    drop((first, second));
    ground.end().await;
}

/// Slots change hands while the rows of a bulk load come: only what its query reads from stays until it ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_load_whose_rows_still_come_keeps_no_slot_where_it_is() {
    let ground = Ground::with_rows(100).await;
    let (session, loader) = (ground.session(), ground.session());
    let slow = "INSERT INTO t SELECT n + 1000, 1 FROM generate_series(1, 1000000000) AS g(n)";
    let load = loader.execute(slow, &[]);
    let begun = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with("load-"))
    };
    until("the load begins", async || {
        std::fs::read_dir(ground.directory().join("tmp")).is_ok_and(|mut entries| entries.any(begun))
    })
    .await;
    let job = start(&session, MOVE).await;
    until("the slots have moved", async || phases(&session, job).await == ["dropping"]).await;
    drop(load);
    lines(&session, &format!("WAIT FOR JOB {job} TIMEOUT '30s'")).await;
    assert_eq!(lines(&session, "SELECT count(v), sum(v) FROM t").await, ["100|0"]);
    drop((session, loader));
    ground.end().await;
}
