//! Disks that fail under a move: the job ends and says why, nothing is lost, writes go on, and the same move succeeds once
//! the disk is well again.

use crate::damage::{files, overwrite};
use crate::disk::Disk;
use crate::shards;
use evenkeel_engine::{Database, Session};
use evenkeel_model::SqlState;
use evenkeel_tests::{lines, run};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const ROWS: i64 = 24_000;
/// Characters of a row: what moves is several megabytes, compressed or not.
const ROW_CHARS: usize = 960;
/// What a disk has left: enough for commits and records, and not for what moves.
const ROOM_BYTES: u64 = 2 << 20;
const MOVE: &str = "MOVE SLOTS 0 TO 2047 FROM SHARD 1 TO SHARD 2";

/// Fills a table through sorted files, so that the rows are on the disk and not only in memory.
async fn fill(directory: &Path, home: &Path) {
    let file = home.join("rows.csv");
    let text =
        |row: i64| (0..ROW_CHARS as i64 / 8).map(move |part| format!("{:08x}", (row + 1) * (part + 7_919) * 104_729));
    let line =
        |row: i64| format!("{row},{}", text(row).map(|part| part[part.len() - 8..].to_string()).collect::<String>());
    fs::write(&file, (0..ROWS).map(line).collect::<Vec<_>>().join("\n")).expect("a file");
    let database = shards::open(directory);
    let session = Session::new(&database, "setup");
    lines(&session, "CREATE TABLE t (k BIGINT PRIMARY KEY, v TEXT)").await;
    lines(&session, &format!("COPY t FROM '{}' WITH (header false)", file.display())).await;
    drop(session);
    shards::close(database);
}

/// Starts the move and waits for its end; state, phase of its migration, and error.
async fn moved(session: &Session) -> (String, String) {
    lines(session, MOVE).await;
    ended(session).await
}

/// The same of a move that was started.
async fn ended(session: &Session) -> (String, String) {
    // Waiting for a job that fails says so, too.
    let _ = run(session, "WAIT FOR JOB ALL TIMEOUT '60s'").await;
    let job = lines(session, "QUERY SYSTEM.JOBS SELECT job_id, state, error ORDER BY job_id DESC LIMIT 1").await;
    let (job, rest) = job[0].split_once('|').expect("three columns");
    let (state, error) = rest.split_once('|').expect("three columns");
    let phase = format!("QUERY SYSTEM.REBALANCE_STATUS WHERE job_id = {job} SELECT phase");
    (format!("{state} {}", lines(session, &phase).await.join(" ")), error.to_string())
}

/// Every row is there, its shard's slots are, and rows can be written and deleted.
async fn is_whole(session: &Session) {
    assert_eq!(lines(session, "SELECT count(v), sum(k) FROM t").await, [format!("{ROWS}|{}", ROWS * (ROWS - 1) / 2)]);
    assert_eq!(
        lines(session, "QUERY SYSTEM.SHARDS WHERE shard_id <= 2 SELECT slots ORDER BY shard_id").await,
        ["2048", "2048"]
    );
    lines(session, "INSERT INTO t SELECT n, 'more' FROM generate_series(100001, 100020) AS g(n)").await;
    lines(session, "DELETE FROM t WHERE k > 100000").await;
}

/// The disk is well: the same move is made, and everything adds up below SQL, too.
async fn succeeds(database: Arc<Database>, directory: &Path) {
    let session = Session::new(&database, "after");
    assert_eq!(moved(&session).await, ("done done".to_string(), "NULL".to_string()));
    assert_eq!(lines(&session, "SELECT count(v), sum(k) FROM t").await, [format!("{ROWS}|{}", ROWS * (ROWS - 1) / 2)]);
    assert_eq!(lines(&session, "QUERY SYSTEM.SHARDS WHERE shard_id = 1 SELECT slots, row_count").await, ["0|0"]);
    for shard in 1..=4 {
        lines(&session, &format!("VERIFY SHARD {shard}")).await;
    }
    database.collect_garbage(None).expect("the disk is well");
    let claims = shards::claims(&database).await;
    drop(session);
    shards::close(database);
    shards::check(directory, &claims);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_to_a_full_disk_is_undone_and_says_so() {
    let Some(disk) = Disk::new(128) else { return };
    let home = tempfile::tempdir().expect("a temporary directory");
    fill(&disk.directory(), home.path()).await;
    let database = shards::open(&disk.directory());
    let session = Session::new(&database, "full");
    // The copy has begun when the disk fills up.
    lines(&session, "ALTER SYSTEM SET migration_rate = 1, migration_batch_rows = 50").await;
    lines(&session, MOVE).await;
    let begun = "QUERY SYSTEM.REBALANCE_STATUS WHERE phase = 'copying' AND rows_migrated > 0 SELECT phase";
    let deadline = Instant::now() + Duration::from_secs(60);
    while lines(&session, begun).await.is_empty() {
        assert!(Instant::now() < deadline, "the copy does not begin");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let ballast = disk.ballast(ROOM_BYTES);
    lines(&session, "ALTER SYSTEM RESET migration_rate").await;
    let (ended, error) = ended(&session).await;
    assert_eq!(ended, "failed undone", "{error}");
    assert!(error.contains("no space left"), "{error}");
    is_whole(&session).await;
    // Now it is known before anything is copied.
    let refused = run(&session, MOVE).await.map(|_| ()).expect_err("there is no room");
    assert_eq!(refused.state, SqlState::DiskFull);
    drop(session);
    fs::remove_file(ballast).expect("the ballast goes");
    succeeds(database, &disk.directory()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_can_not_be_written_is_undone_and_says_so() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let directory = home.path().join("data");
    fill(&directory, home.path()).await;
    let database = shards::open(&directory);
    // Where the copy's directory is to be there is a file.
    let parking = directory.join("tmp");
    let aside = directory.join("aside");
    fs::rename(&parking, &aside).expect("the directory of temporary files");
    fs::write(&parking, "in the way").expect("a file");
    let session = Session::new(&database, "obstructed");
    let (ended, error) = moved(&session).await;
    assert_eq!(ended, "failed undone", "{error}");
    assert!(error.contains("cannot make"), "{error}");
    is_whole(&session).await;
    drop(session);
    fs::remove_file(&parking).expect("the file goes");
    fs::rename(aside, parking).expect("the directory comes back");
    succeeds(database, &directory).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_can_not_be_read_keeps_its_slots_and_says_so() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let directory = home.path().join("data");
    fill(&directory, home.path()).await;
    let damaged = files(&home, 1, ".sst").remove(0);
    let whole = fs::read(&damaged).expect("a sorted file");
    overwrite(&damaged, whole.len() / 2, 64);
    let database = shards::open(&directory);
    let session = Session::new(&database, "damaged");
    let (ended, error) = moved(&session).await;
    assert_eq!(ended, "failed undone", "{error}");
    assert!(error.contains("damaged"), "{error}");
    assert_eq!(
        lines(&session, "QUERY SYSTEM.SHARDS WHERE shard_id <= 2 SELECT slots ORDER BY shard_id").await,
        ["2048", "2048"]
    );
    lines(&session, "SELECT count(v) FROM t WHERE k = 1").await;
    drop(session);
    shards::close(database);
    fs::write(&damaged, whole).expect("the file as it was");
    succeeds(shards::open(&directory), &directory).await;
}
