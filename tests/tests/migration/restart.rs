//! A database that closes in the middle of a migration goes on when it is opened again.
//!
//! Carries `terminal` and `acked-is-durable`.

use crate::ground::{Ground, crawling, hurry, phases, state, until};
use evenkeel_tests::{lines, moment, run};

const MOVE: &str = "MOVE SLOTS 0 TO 2047 FROM SHARD 1 TO SHARD 2";

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_goes_on_after_a_restart() {
    let ground = Ground::with_rows(4_000).await;
    let session = ground.session();
    let job = crawling(&session, MOVE).await;
    lines(&session, "UPDATE t SET v = 1 WHERE id <= 1000").await;
    drop(session);
    let ground = ground.reopened();
    let session = ground.session();
    assert_eq!(
        (state(&session, job).await.as_str(), phases(&session, job).await.join(" ").as_str()),
        ("running", "copying")
    );
    lines(&session, "UPDATE t SET v = 2 WHERE id > 3000").await;
    lines(&session, "DELETE FROM t WHERE id = 2000").await;
    drop(session);
    let ground = ground.reopened();
    let session = ground.session();
    hurry(&session).await;
    lines(&session, &format!("WAIT FOR JOB {job} TIMEOUT '30s'")).await;
    assert_eq!((state(&session, job).await.as_str(), phases(&session, job).await.join(" ").as_str()), ("done", "done"));
    assert_eq!(lines(&session, "SELECT count(v), sum(v) FROM t").await, ["3999|3000"]);
    drop(session);
    ground.end().await;
}

/// What a counter knew of its last change is not kept: a reader of the past counts rows instead.
#[tokio::test(flavor = "multi_thread")]
async fn a_count_of_the_past_outlives_a_restart() {
    let ground = Ground::with_rows(500).await;
    let session = ground.session();
    let past = moment(&session).await;
    lines(&session, "DELETE FROM t WHERE id <= 100").await;
    drop(session);
    let ground = ground.reopened();
    let session = ground.session();
    for count in ["COUNT(v)", "COUNT(*)"] {
        let query = format!("QUERY t AS OF '{past}' GROUP BY () COMPUTE n = {count}");
        assert_eq!(lines(&session, &query).await, ["500"], "{query}");
    }
    drop(session);
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_job_stays_paused_and_can_turn_back() {
    let ground = Ground::with_rows(4_000).await;
    let session = ground.session();
    let job = crawling(&session, MOVE).await;
    lines(&session, &format!("PAUSE JOB {job}")).await;
    hurry(&session).await;
    drop(session);
    let ground = ground.reopened();
    let session = ground.session();
    assert_eq!(state(&session, job).await, "paused");
    assert!(run(&session, &format!("WAIT FOR JOB {job} TIMEOUT '300ms'")).await.is_err(), "a paused job ends");
    lines(&session, &format!("CANCEL JOB {job}")).await;
    lines(&session, &format!("WAIT FOR JOB {job} TIMEOUT '30s'")).await;
    assert_eq!(
        (state(&session, job).await.as_str(), phases(&session, job).await.join(" ").as_str()),
        ("cancelled", "undone")
    );
    drop(session);
    ground.end().await;
}

/// Nobody asks for a close: the last session goes, and with it the database, though a migration is under way.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_nobody_has_stops_its_migrations() {
    let ground = Ground::with_rows(4_000).await;
    let directory = ground.directory();
    let session = ground.session();
    let job = crawling(&session, MOVE).await;
    drop(session);
    let Ground { home, database } = ground;
    drop(database);
    let mut again = None;
    until("the directory is free", async || {
        let options = evenkeel_engine::OpenOptions::default();
        again = evenkeel_engine::Database::open(&directory, &options).ok();
        again.is_some()
    })
    .await;
    let ground = Ground { home, database: again.expect("it is open") };
    let session = ground.session();
    hurry(&session).await;
    lines(&session, &format!("WAIT FOR JOB {job} TIMEOUT '30s'")).await;
    assert_eq!(lines(&session, "SELECT count(v) FROM t").await, ["4000"]);
    drop(session);
    ground.end().await;
}
