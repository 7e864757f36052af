//! Shards that are added, removed, split and merged, and a balance that is reached and stays.

use crate::ground::{Ground, column, done, number, shards, slots_of, start, until};
use evenkeel_engine::Session;
use evenkeel_tests::{lines, run};
use futures::StreamExt;
use std::time::{Duration, Instant};

const ROWS: i64 = 8_000;

async fn counts(session: &Session) -> Vec<i64> {
    column(session, "QUERY SYSTEM.SHARDS SELECT row_count ORDER BY shard_id").await
}

/// Four shards of which the first has four fifths of the rows.
async fn skewed() -> Ground {
    let ground = Ground::with_rows(ROWS as u32).await;
    let session = ground.session();
    for (shard, first) in [(2, 2048), (3, 4096), (4, 6144)] {
        done(&session, &format!("MOVE SLOTS {first} TO {} FROM SHARD {shard} TO SHARD 1", first + 1_501)).await;
    }
    assert!(counts(&session).await[0] > ROWS * 3 / 4, "{:?}", counts(&session).await);
    ground
}

#[tokio::test(flavor = "multi_thread")]
async fn a_skew_is_levelled_and_then_nothing_is_to_do() {
    let ground = skewed().await;
    let session = ground.session();
    let statement = "REBALANCE SHARDS WITH strategy = 'rows' AND target_imbalance = 0.05";
    let owners = "QUERY SYSTEM.SLOTS SELECT slot, shard_id ORDER BY slot";
    let (before, jobs) =
        (lines(&session, owners).await, number(&session, "QUERY SYSTEM.JOBS GROUP BY () COMPUTE n = COUNT(*)").await);
    let decisions = "QUERY SYSTEM.BALANCER_DECISIONS GROUP BY () COMPUTE n = COUNT(*)";
    let decided = number(&session, decisions).await;
    assert!(!lines(&session, &format!("EXPLAIN {statement}")).await.is_empty());
    assert_eq!(lines(&session, owners).await, before, "EXPLAIN moves slots");
    assert_eq!(
        number(&session, "QUERY SYSTEM.JOBS GROUP BY () COMPUTE n = COUNT(*)").await,
        jobs,
        "EXPLAIN starts a job"
    );
    assert_eq!(number(&session, decisions).await, decided, "EXPLAIN decides");
    done(&session, statement).await;
    let fair = ROWS / 4;
    for rows in counts(&session).await {
        assert!((rows - fair).abs() * 20 <= fair, "{rows} rows, fair are {fair}");
    }
    assert_eq!(number(&session, "QUERY SYSTEM.SHARDS GROUP BY () COMPUTE n = SUM(row_count)").await, ROWS);
    assert_eq!(run(&session, statement).await.expect("a statement").tag, "NOTHING TO DO");
    assert_eq!(lines(&session, "SELECT count(v), count(DISTINCT id) FROM t").await, [format!("{ROWS}|{ROWS}")]);
    drop(session);
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_shard_leaves_its_rows_and_no_directory() {
    let ground = Ground::with_rows(3_000).await;
    let session = ground.session();
    lines(&session, "ADD SHARD").await;
    assert_eq!(shards(&session).await, [1, 2, 3, 4, 5]);
    assert!(ground.shard_directory(5).is_dir());
    done(&session, "MOVE SLOTS 0 TO 1000 FROM SHARD 1 TO SHARD 5").await;
    lines(&session, "UPDATE t SET v = 1 WHERE id % 2 = 0").await;
    for shard in [5, 2] {
        let removed = done(&session, &format!("REMOVE SHARD {shard}")).await;
        assert!(!ground.shard_directory(shard).exists(), "the directory of shard {shard} is still there");
        assert_eq!(lines(&session, "SELECT count(v), sum(v) FROM t").await, ["3000|1500"]);
        if shard == 2 {
            // The number is never used again: a new shard takes the rows back.
            done(&session, &format!("UNDO JOB {removed}")).await;
            assert_eq!(shards(&session).await, [1, 3, 4, 6]);
        }
    }
    let split = done(&session, "SPLIT SHARD 1 INTO 3").await;
    assert_eq!(shards(&session).await, [1, 3, 4, 6, 7, 8]);
    done(&session, &format!("UNDO JOB {split}")).await;
    assert_eq!(shards(&session).await, [1, 3, 4, 6]);
    done(&session, "MERGE SHARDS 1, 3, 4, 6").await;
    assert_eq!(shards(&session).await.len(), 1);
    assert_eq!(lines(&session, "SELECT count(v), sum(v) FROM t").await, ["3000|1500"]);
    drop(session);
    ground.end().await;
}

/// A statement that began before a shard went reads on, and holds nobody else up; the files go at the next start.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_of_a_removed_shard_reads_on() {
    let ground = Ground::with_rows(2_000).await;
    let (session, reader) = (ground.session(), ground.session());
    lines(&session, "ADD SHARD").await;
    let mut answer = reader.execute("SELECT t.id FROM t CROSS JOIN generate_series(1, 1000) AS g(n)", &[]);
    answer.next().await.expect("an event").expect("no error");
    let job = start(&session, "REMOVE SHARD 5").await;
    until("the shard has gone", async || !shards(&session).await.contains(&5)).await;
    let asked = Instant::now();
    lines(&session, "SHOW JOBS").await;
    lines(&session, "EXPLAIN REBALANCE SHARDS").await;
    assert!(asked.elapsed() < Duration::from_secs(2), "statements wait for the reader: {:?}", asked.elapsed());
    let mut rows = 0;
    drop(session);
    while let Some(event) = answer.next().await {
        if let evenkeel_engine::Event::Batch(batch) = event.expect("the reader reads on") {
            rows += batch.num_rows();
        }
        if rows > 100_000 {
            break;
        }
    }
    let session = ground.session();
    lines(&session, &format!("WAIT FOR JOB {job} TIMEOUT '30s'")).await;
    drop((answer, session, reader));
    let ground = ground.reopened();
    assert!(!ground.shard_directory(5).exists(), "files of a removed shard stay");
    ground.end().await;
}

/// The shards of a table with rows of one key prefix: moving every slot of a shard away and back changes no route.
#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_shard_takes_everything_back() {
    let ground = Ground::with_rows(2_000).await;
    let session = ground.session();
    let slots = slots_of(&session, 2).await;
    let before = counts(&session).await;
    done(&session, &format!("MOVE SLOTS {slots} FROM SHARD 2 TO SHARD 3")).await;
    assert_eq!(counts(&session).await[1], 0);
    done(&session, &format!("MOVE SLOTS {slots} FROM SHARD 3 TO SHARD 2")).await;
    assert_eq!(counts(&session).await, before);
    drop(session);
    ground.end().await;
}
