//! A disk that runs full: writes fail and say why, reads go on, and what was acknowledged is there afterwards.

use crate::client::{numbers, rows};
use crate::disk::{Disk, Filler};
use crate::shards;
use evenkeel_engine::Session;
use evenkeel_model::SqlState;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use tempfile::TempDir;

const BATCH: i64 = 8;
const FILE_ROWS: i64 = 2_000;
/// Blocks of `ulimit -f` (512 bytes or 1 KiB, as the shell has it) that stand for a full disk.
const BLOCKS: u32 = 8_192;

/// A database with an empty table for batches and one for loads.
async fn prepare(directory: &Path) {
    let database = shards::open(directory);
    let session = Session::new(&database, "setup");
    for statement in
        ["CREATE TABLE t (k BIGINT PRIMARY KEY, batch BIGINT, v TEXT)", "CREATE TABLE pile (k BIGINT, v TEXT)"]
    {
        rows(&session, statement).await.expect(statement);
    }
    drop(session);
    shards::close(database);
}

/// A file that takes some room once it is loaded.
fn file(home: &TempDir) -> String {
    let text = |row: i64| (0..100).map(|part| format!("{:x}", row * 7_919 + part * 104_729)).collect::<String>();
    let lines: Vec<_> = (0..FILE_ROWS).map(|row| format!("{row},{}", text(row))).collect();
    let path = home.path().join("rows.csv");
    std::fs::write(&path, format!("k,v\n{}\n", lines.join("\n"))).expect("a file");
    path.display().to_string()
}

/// Listens to the filler until it ends; returns the batches that it acknowledged.
fn fill(mut filler: Filler) -> Vec<i64> {
    let room = [SqlState::DiskFull.code(), SqlState::IoError.code()];
    let (mut done, mut failed) = (Vec::new(), false);
    loop {
        let line = filler.line().expect("the filler says when it ends");
        let mut words = line.splitn(3, ' ');
        match (words.next(), words.next()) {
            (Some("done"), Some(number)) => done.push(number.parse().expect("a number")),
            (Some("failed"), Some(state)) => {
                assert!(room.contains(&state), "{line}");
                failed = true;
            }
            // A commit whose outcome is in doubt keeps its rows locked: that is an answer too.
            (Some("after"), Some(state)) => {
                assert!(state == "ok" || state == "55P03" || room.contains(&state), "{line}");
            }
            (Some("end"), None) => break,
            _ => panic!("the filler said: {line}"),
        }
    }
    assert!(failed, "the disk was never full");
    assert!(filler.ended_well(), "the filler died");
    done
}

/// Opens the database where there is room again, and looks for everything that was acknowledged.
async fn check(directory: &Path, batches: &[i64], loads: i64) {
    let database = shards::open(directory);
    let session = Session::new(&database, "check");
    let found =
        numbers(&session, "SELECT batch, COUNT(v) FROM t WHERE batch > 0 GROUP BY batch").await.expect("batches");
    for row in &found {
        assert_eq!(row[1], BATCH, "batch {} is there in part", row[0]);
    }
    for batch in batches {
        assert!(found.iter().any(|row| row[0] == *batch), "acknowledged batch {batch} is missing");
    }
    let pile = numbers(&session, "SELECT COUNT(v) FROM pile").await.expect("the pile")[0][0];
    assert_eq!(pile % FILE_ROWS, 0, "a load is there in part");
    assert!(pile >= loads * FILE_ROWS, "of {loads} acknowledged loads of {FILE_ROWS} rows there are {pile} rows");
    rows(&session, "INSERT INTO t VALUES (-2, -2, 'there is room again')").await.expect("writing goes on");
    let claims = shards::claims(&database).await;
    drop(session);
    shards::close(database);
    shards::check(directory, &claims);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_loses_nothing_that_was_acknowledged() {
    let Some(disk) = Disk::new(64) else { return };
    prepare(&disk.directory()).await;
    let done = fill(Filler::start(&disk.directory(), &["insert"], None));
    disk.remount("size=512m");
    check(&disk.directory(), &done, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_up_under_loads_keeps_whole_ones() {
    let Some(disk) = Disk::new(64) else { return };
    let home = tempfile::tempdir().expect("a temporary directory");
    let file = file(&home);
    prepare(&disk.directory()).await;
    let done = fill(Filler::start(&disk.directory(), &["load", &file], None));
    disk.remount("size=512m");
    check(&disk.directory(), &[], done.len() as i64).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_may_not_grow_lose_nothing_that_was_acknowledged() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let directory = home.path().join("data");
    prepare(&directory).await;
    let done = fill(Filler::start(&directory, &["insert"], Some(BLOCKS)));
    check(&directory, &done, 0).await;
}

/// What a shard writes first must not reserve room that the others need: on a nearly full disk they would find none.
#[tokio::test(flavor = "multi_thread")]
async fn files_take_no_more_room_than_they_have_bytes() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let directory = home.path().join("data");
    prepare(&directory).await;
    let database = shards::open(&directory);
    let session = Session::new(&database, "test");
    rows(&session, "INSERT INTO t SELECT n, 0, 'a row' FROM generate_series(1, 400) AS g(n)").await.expect("rows");
    let mut reserved = Vec::new();
    for shard in std::fs::read_dir(directory.join("shards")).expect("the shards").flatten() {
        for file in std::fs::read_dir(shard.path()).expect("a shard's files").flatten() {
            let metadata = file.metadata().expect("its size");
            let (bytes, room_bytes) = (metadata.len(), metadata.blocks() * 512);
            // The last block of a file need not be full.
            if room_bytes > bytes + metadata.blksize().max(64 << 10) {
                reserved.push((file.path(), bytes, room_bytes));
            }
        }
    }
    assert!(reserved.is_empty(), "{reserved:?}");
    drop(session);
    shards::close(database);
}
