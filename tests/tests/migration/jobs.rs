//! Jobs: they pause and go on, turn back, are undone and waited for; settings and pins change half-way.
//!
//! Carries `terminal` and `pinned-stays`.

use crate::ground::{Ground, crawl, crawling, done, hurry, number, phases, refused, slots_of, start, state, until};
use evenkeel_model::SqlState;
use evenkeel_tests::lines;
use futures::StreamExt;
use std::time::Duration;

const MOVE: &str = "MOVE SLOTS 0 TO 2047 FROM SHARD 1 TO SHARD 2";

/// Slots of a shard.
async fn owned(session: &evenkeel_engine::Session, shard: i64) -> i64 {
    number(session, &format!("QUERY SYSTEM.SHARDS WHERE shard_id = {shard} SELECT slots")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_job_makes_no_progress() {
    let ground = Ground::with_rows(4_000).await;
    let session = ground.session();
    let job = crawling(&session, MOVE).await;
    refused(&session, &format!("RESUME JOB {job}"), SqlState::ObjectNotInPrerequisiteState).await;
    lines(&session, &format!("PAUSE JOB {job}")).await;
    hurry(&session).await;
    refused(&session, &format!("PAUSE JOB {job}"), SqlState::ObjectNotInPrerequisiteState).await;
    let progress = format!("QUERY SYSTEM.REBALANCE_STATUS WHERE job_id = {job} SELECT rows_migrated");
    let before = number(&session, &progress).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(number(&session, &progress).await, before, "a paused job copies");
    assert_eq!((state(&session, job).await.as_str(), owned(&session, 1).await), ("paused", 2048));
    let error = refused(&session, &format!("WAIT FOR JOB {job} TIMEOUT '50ms'"), SqlState::QueryCanceled).await;
    assert!(error.hint.unwrap_or_default().contains("CANCEL JOB"));
    lines(&session, "UPDATE t SET v = v + 1").await;
    lines(&session, &format!("RESUME JOB {job}")).await;
    lines(&session, &format!("WAIT FOR JOB {job} TIMEOUT '30s'")).await;
    assert_eq!(owned(&session, 1).await, 0);
    assert_eq!(lines(&session, "SELECT count(v), sum(v) FROM t").await, ["4000|4000"]);
    drop(session);
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_job_leaves_nothing_at_its_target() {
    let ground = Ground::with_rows(4_000).await;
    let session = ground.session();
    let rows = "QUERY SYSTEM.SHARDS SELECT row_count ORDER BY shard_id";
    let before = lines(&session, rows).await;
    for paused in [false, true] {
        let job = crawling(&session, MOVE).await;
        lines(&session, "UPDATE t SET v = v + 1 WHERE id % 3 = 0").await;
        if paused {
            lines(&session, &format!("PAUSE JOB {job}")).await;
        }
        lines(&session, &format!("CANCEL JOB {job}")).await;
        lines(&session, &format!("WAIT FOR JOB {job} TIMEOUT '30s'")).await;
        assert_eq!(
            (state(&session, job).await.as_str(), phases(&session, job).await.join(" ")),
            ("cancelled", "undone".to_string())
        );
        for statement in ["CANCEL", "PAUSE", "RESUME", "UNDO"] {
            refused(&session, &format!("{statement} JOB {job}"), SqlState::ObjectNotInPrerequisiteState).await;
        }
        assert_eq!(lines(&session, rows).await, before);
    }
    hurry(&session).await;
    assert_eq!(lines(&session, "SELECT count(v), sum(v) FROM t").await, ["4000|2666"]);
    drop(session);
    ground.end().await;
}

/// A limit of rows is one of the copy: what its last batch would have to wait for is nothing to the verification.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_one_batch_waits_for_no_limit_of_rows() {
    let ground = Ground::with_rows(4_000).await;
    let session = ground.session();
    lines(&session, "ALTER SYSTEM SET migration_rate = 1, migration_batch_rows = 100000").await;
    let job = start(&session, MOVE).await;
    lines(&session, &format!("WAIT FOR JOB {job} TIMEOUT '60s'")).await;
    assert_eq!((state(&session, job).await.as_str(), owned(&session, 1).await), ("done", 0));
    drop(session);
    ground.end().await;
}

/// What is large moves in parts while the throttle is on, one after another, and each that is over stays where it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_move_is_made_in_parts() {
    let ground = Ground::with_rows(100).await;
    let session = ground.session();
    lines(&session, "CREATE TABLE wide (k BIGINT PRIMARY KEY, v TEXT)").await;
    // A shard has about 38 MiB of them.
    lines(&session, "INSERT INTO wide SELECT n, repeat('x', 10000) FROM generate_series(1, 16000) AS g(n)").await;
    let there = "SELECT count(v), sum(k) FROM wide";
    let before = lines(&session, there).await;
    let owners = "QUERY SYSTEM.SLOTS SELECT slot, shard_id ORDER BY slot";
    let home = lines(&session, owners).await;
    let moves = async || {
        let rows = lines(&session, &format!("EXPLAIN {MOVE}")).await;
        rows.iter().filter(|row| row.starts_with("move ")).count()
    };
    assert_eq!(moves().await, 2);
    lines(&session, "ALTER SYSTEM SET migration_throttle = off").await;
    assert_eq!(moves().await, 1, "who asks for speed gets it");
    lines(&session, "ALTER SYSTEM RESET migration_throttle").await;
    // The second part is under way when the job is cancelled: it turns back, or is past that.
    let job = start(&session, MOVE).await;
    until("the second part begins", async || phases(&session, job).await.len() == 2).await;
    crawl(&session).await;
    lines(&session, &format!("CANCEL JOB {job}")).await;
    lines(&session, &format!("WAIT FOR JOB {job} TIMEOUT '60s'")).await;
    let ended = phases(&session, job).await;
    assert_eq!((ended.len(), ended[0].as_str()), (2, "done"), "{ended:?}");
    assert_eq!(lines(&session, there).await, before);
    let left = owned(&session, 1).await;
    assert!(left < 2048 && (left > 0) == (ended[1] == "undone"), "{left} slots, {ended:?}");
    hurry(&session).await;
    done(&session, &format!("UNDO JOB {job}")).await;
    assert_eq!(lines(&session, owners).await, home);
    // Who reads for long holds up no part: only the old copies wait.
    let reader = ground.session();
    let mut rows = reader.execute("SELECT n FROM t CROSS JOIN generate_series(1, 1000000) AS g(n)", &[]);
    rows.next().await.expect("columns").expect("a query");
    // Two jobs were begun before, and the parts of this one are no more than a third.
    lines(&session, "ALTER SYSTEM SET max_migrations_per_hour = 3").await;
    let again = start(&session, MOVE).await;
    until("both parts wait for the reader", async || phases(&session, again).await == ["dropping"; 2]).await;
    drop((rows, reader));
    lines(&session, &format!("WAIT FOR JOB {again} TIMEOUT '60s'")).await;
    assert_eq!((phases(&session, again).await, owned(&session, 1).await), (vec!["done".to_string(); 2], 0));
    assert_eq!(lines(&session, there).await, before);
    lines(&session, "VERIFY SHARD 2").await;
    drop(session);
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_moved_moves_back() {
    let ground = Ground::with_rows(2_000).await;
    let session = ground.session();
    let owners = "QUERY SYSTEM.SLOTS SELECT slot, shard_id ORDER BY slot";
    let before = lines(&session, owners).await;
    let moved = done(&session, "MOVE SLOTS 100 TO 199, 300 TO 399 FROM SHARD 1 TO SHARD 3").await;
    assert_ne!(lines(&session, owners).await, before);
    lines(&session, "DELETE FROM t WHERE id % 2 = 0").await;
    done(&session, &format!("UNDO JOB {moved}")).await;
    assert_eq!(lines(&session, owners).await, before, "UNDO gives the slots back");
    // And by hand, at once, again and again.
    for _ in 0..3 {
        done(&session, "MOVE SLOTS 0 TO 500 FROM SHARD 1 TO SHARD 4").await;
        lines(&session, "UPDATE t SET v = v + 1").await;
        done(&session, "MOVE SLOTS 0 TO 500 FROM SHARD 4 TO SHARD 1").await;
    }
    assert_eq!(lines(&session, owners).await, before);
    assert_eq!(lines(&session, "SELECT count(v), sum(v) FROM t").await, ["1000|3000"], "no deleted row is back");
    drop(session);
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_different_shards_run_at_once() {
    let ground = Ground::with_rows(4_000).await;
    let session = ground.session();
    let one = crawling(&session, MOVE).await;
    let other = crawling(&session, "MOVE SLOTS 4096 TO 5000 FROM SHARD 3 TO SHARD 4").await;
    assert_eq!(
        (phases(&session, one).await, phases(&session, other).await),
        (vec!["copying".into()], vec!["copying".into()])
    );
    // A third waits for its shards.
    let third = start(&session, "MOVE SLOTS 6144 TO 6200 FROM SHARD 4 TO SHARD 1").await;
    let error =
        refused(&session, "MOVE SLOTS 10 TO 20 FROM SHARD 1 TO SHARD 3", SqlState::ObjectNotInPrerequisiteState).await;
    assert!(error.hint.unwrap_or_default().contains(&format!("JOB {one}")), "{}", error.message);
    hurry(&session).await;
    lines(&session, "WAIT FOR JOB ALL TIMEOUT '30s'").await;
    for job in [one, other, third] {
        assert_eq!(state(&session, job).await, "done");
    }
    assert_eq!(lines(&session, "SELECT count(v) FROM t").await, ["4000"]);
    drop(session);
    ground.end().await;
}

/// A shard that takes part in a job is not pinned: its slots would have to stop on the way.
#[tokio::test(flavor = "multi_thread")]
async fn a_pin_does_not_stop_what_is_planned() {
    let ground = Ground::with_rows(4_000).await;
    let session = ground.session();
    let job = crawling(&session, MOVE).await;
    for shard in [1, 2] {
        let error = refused(&session, &format!("PIN SHARD {shard}"), SqlState::ObjectNotInPrerequisiteState).await;
        assert!(error.hint.unwrap_or_default().contains(&format!("CANCEL JOB {job}")), "{}", error.message);
    }
    lines(&session, "PIN SHARD 3").await;
    refused(&session, "MOVE SLOTS 2048 TO 2050 FROM SHARD 2 TO SHARD 3", SqlState::ObjectNotInPrerequisiteState).await;
    hurry(&session).await;
    lines(&session, "WAIT FOR JOB ALL TIMEOUT '30s'").await;
    let pinned = slots_of(&session, 3).await;
    done(&session, "REBALANCE SHARDS").await;
    assert_eq!(slots_of(&session, 3).await, pinned, "a pinned shard's slots have moved");
    lines(&session, "UNPIN SHARD 3").await;
    drop(session);
    ground.end().await;
}

/// A copy that waits for its turn by an old rate goes by the new one as soon as it is set.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_rate_holds_at_once() {
    let ground = Ground::with_rows(4_000).await;
    let session = ground.session();
    let job = crawling(&session, MOVE).await;
    lines(&session, "ALTER SYSTEM SET migration_rate = 100000, max_concurrent_migrations = 1, cutover_budget = '1s'")
        .await;
    lines(&session, &format!("WAIT FOR JOB {job} TIMEOUT '10s'")).await;
    assert_eq!(owned(&session, 1).await, 0);
    drop(session);
    ground.end().await;
}

/// Writes that are acknowledged before they are on disk move as any others.
#[tokio::test(flavor = "multi_thread")]
async fn writes_that_are_not_synced_move_too() {
    let ground = Ground::with_rows(1_000).await;
    let session = ground.session();
    let writer = ground.session();
    lines(&writer, "SET synchronous_commit = off").await;
    crawl(&session).await;
    let job = start(&session, MOVE).await;
    for round in 1..=60 {
        lines(&writer, &format!("UPDATE t SET v = {round} WHERE id = {}", round % 7 + 1)).await;
        lines(&writer, &format!("INSERT INTO t VALUES ({}, {round})", 1_000 + round)).await;
        lines(&writer, &format!("DELETE FROM t WHERE id = {}", 500 + round)).await;
        if round == 30 {
            hurry(&session).await;
        }
    }
    lines(&session, &format!("WAIT FOR JOB {job} TIMEOUT '30s'")).await;
    let expected = [format!("1000|{}", (54..=60).sum::<i64>() + (1..=60).sum::<i64>())];
    assert_eq!(lines(&session, "SELECT count(v), sum(v) FROM t").await, expected);
    drop((session, writer));
    let ground = ground.reopened();
    assert_eq!(lines(&ground.session(), "SELECT count(v), sum(v) FROM t").await, expected, "after a restart");
    ground.end().await;
}

/// Past the point of no return a cancellation lets the move at hand end, and begins no other.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancellation_that_comes_late_ends_what_has_switched() {
    let ground = Ground::with_rows(30_000).await;
    let (session, reader) = (ground.session(), ground.session());
    lines(&session, "BEGIN").await;
    // A reader by the old layout keeps the source's copy from going.
    let mut answer = reader.execute("SELECT a.id FROM t AS a CROSS JOIN generate_series(1, 1000) AS g(n)", &[]);
    futures::StreamExt::next(&mut answer).await.expect("an event").expect("no error");
    lines(&session, "COMMIT").await;
    let job = start(&session, MOVE).await;
    until("the move has switched", async || {
        phases(&session, job).await.iter().any(|phase| phase == "dropping" || phase == "verifying")
    })
    .await;
    lines(&session, &format!("CANCEL JOB {job}")).await;
    drop(answer);
    lines(&session, &format!("WAIT FOR JOB {job} TIMEOUT '30s'")).await;
    assert_eq!((phases(&session, job).await.join(" ").as_str(), owned(&session, 1).await), ("done", 0));
    drop((session, reader));
    ground.end().await;
}
