//! A database in a directory of its own, what tests ask it, and what must be true of it at the end.

use crate::client::numbers;
use crate::recounted;
use evenkeel_engine::{Database, Session};
use evenkeel_model::{Error, SqlState};
use evenkeel_tests::{lines, run, spelled};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What takes longer than this never ends.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked whether something has come about.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A database of four shards.
pub struct Ground {
    pub home: TempDir,
    pub database: Arc<Database>,
}

impl Ground {
    pub fn new() -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        let database = recounted::open(&home.path().join("data"));
        Self { home, database }
    }

    /// With `t (id bigint PRIMARY KEY, v bigint)`, where `v` is 0.
    pub async fn with_rows(rows: u32) -> Self {
        let ground = Self::new();
        let session = ground.session();
        lines(&session, "CREATE TABLE t (id bigint PRIMARY KEY, v bigint NOT NULL)").await;
        lines(&session, &format!("INSERT INTO t SELECT n, 0 FROM generate_series(1, {rows}) AS g(n)")).await;
        ground
    }

    pub fn session(&self) -> Session {
        Session::new(&self.database, "test")
    }

    pub fn directory(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// The directory of a shard.
    pub fn shard_directory(&self, shard: i64) -> PathBuf {
        self.directory().join("shards").join(shard.to_string())
    }

    /// Closes the database and opens it again.
    pub fn reopened(self) -> Self {
        let Self { home, database } = self;
        recounted::close(database);
        let database = recounted::open(&home.path().join("data"));
        Self { home, database }
    }

    /// Waits for all jobs and checks what must be true at every end: `counters-exact`, `one-owner`, `terminal`.
    pub async fn end(self) {
        let session = self.session();
        lines(&session, &format!("WAIT FOR JOB ALL TIMEOUT '{}s'", PATIENCE.as_secs())).await;
        for shard in shards(&session).await {
            lines(&session, &format!("VERIFY SHARD {shard}")).await;
        }
        // Rows of dropped tables go at once, not in a second.
        self.database.collect_garbage(None).expect("the disk is well");
        let claims = recounted::claims(&self.database).await;
        drop(session);
        let directory = self.directory();
        recounted::close(self.database);
        recounted::check(&directory, &claims);
    }
}

/// The numbers of the shards, ascending.
pub async fn shards(session: &Session) -> Vec<i64> {
    column(session, "QUERY SYSTEM.SHARDS SELECT shard_id ORDER BY shard_id").await
}

/// The numbers of a query's first column.
pub async fn column(session: &Session, query: &str) -> Vec<i64> {
    match numbers(session, query).await {
        Ok(rows) => rows.into_iter().map(|row| row[0]).collect(),
        Err(error) => panic!("{query}\nfailed: {}", spelled(&error)),
    }
}

/// The one number that a query gives.
pub async fn number(session: &Session, query: &str) -> i64 {
    *column(session, query).await.first().unwrap_or_else(|| panic!("{query}\ngives nothing"))
}

/// The slots of a shard, as `MOVE SLOTS` takes them: `0 TO 9, 12 TO 12`.
pub async fn slots_of(session: &Session, shard: i64) -> String {
    let slots =
        column(session, &format!("QUERY SYSTEM.SLOTS WHERE shard_id = {shard} SELECT slot ORDER BY slot")).await;
    let mut ranges: Vec<(i64, i64)> = Vec::new();
    for slot in slots {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == slot => *last = slot,
            _ => ranges.push((slot, slot)),
        }
    }
    ranges.iter().map(|(first, last)| format!("{first} TO {last}")).collect::<Vec<_>>().join(", ")
}

/// Starts a job; its number.
pub async fn start(session: &Session, statement: &str) -> i64 {
    let answered = match run(session, statement).await {
        Ok(answered) => answered,
        Err(error) => panic!("{statement}\nfailed: {}", spelled(&error)),
    };
    let started = answered.columns().first().is_some_and(|name| name == "job_id");
    assert!(started, "{statement}\nstarted nothing: {} {:?}", answered.tag, answered.notices);
    answered.rows()[0][0].as_ref().and_then(|job| job.parse().ok()).expect("a job's number")
}

/// Starts a job and waits until it is done; its number.
pub async fn done(session: &Session, statement: &str) -> i64 {
    let job = start(session, statement).await;
    lines(session, &format!("WAIT FOR JOB {job} TIMEOUT '{}s'", PATIENCE.as_secs())).await;
    assert_eq!(state(session, job).await, "done", "{statement}");
    job
}

/// The state of a job.
pub async fn state(session: &Session, job: i64) -> String {
    lines(session, &format!("QUERY SYSTEM.JOBS WHERE job_id = {job} SELECT state")).await.remove(0)
}

/// The phases of a job's migrations.
pub async fn phases(session: &Session, job: i64) -> Vec<String> {
    let query = "SELECT phase ORDER BY migration_id";
    lines(session, &format!("QUERY SYSTEM.REBALANCE_STATUS WHERE job_id = {job} {query}")).await
}

/// A statement that must fail.
pub async fn refused(session: &Session, statement: &str, expected: SqlState) -> Error {
    match run(session, statement).await {
        Ok(answered) => panic!("{statement}\nwas to fail with {expected:?} and answers {}", answered.tag),
        Err(error) => {
            assert_eq!(error.state, expected, "{statement}\n{}", spelled(&error));
            error
        }
    }
}

/// Waits until something holds.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Lets copies crawl: a few rows, and the next only after minutes.
pub async fn crawl(session: &Session) {
    lines(session, "ALTER SYSTEM SET migration_rate = 1, migration_batch_rows = 50").await;
}

/// Lets copies run again.
pub async fn hurry(session: &Session) {
    lines(session, "ALTER SYSTEM RESET migration_rate").await;
}

/// Starts a job whose copy has begun and does not get far.
pub async fn crawling(session: &Session, statement: &str) -> i64 {
    crawl(session).await;
    let job = start(session, statement).await;
    until("a copy begins", async || {
        let copied = "SELECT rows_migrated";
        let copied = format!("QUERY SYSTEM.REBALANCE_STATUS WHERE job_id = {job} AND phase = 'copying' {copied}");
        column(session, &copied).await.iter().any(|rows| *rows > 0)
    })
    .await;
    job
}
