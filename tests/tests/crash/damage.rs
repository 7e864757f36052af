//! Files that went missing or changed behind the database's back: an error that says so, never a panic, never silence.

use crate::client::rows;
use crate::shards;
use evenkeel_engine::{Database, OpenOptions, Session};
use evenkeel_model::{Error, SqlState};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A database with a table in sorted files, another beside it, and everything closed.
async fn database() -> TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("rows.csv");
    let lines: Vec<_> = (0..20_000).map(|row| format!("{row},text of row {row}")).collect();
    fs::write(&file, lines.join("\n")).unwrap();
    let database = shards::open(&directory.path().join("data"));
    let session = Session::new(&database, "setup");
    for statement in [
        "CREATE TABLE sorted (k BIGINT PRIMARY KEY, v TEXT)",
        &format!("COPY sorted FROM '{}' WITH (header false)", file.display()),
        "CREATE TABLE beside (k BIGINT PRIMARY KEY, v TEXT)",
        "INSERT INTO beside VALUES (1, 'one'), (2, 'two'), (3, 'three'), (4, 'four'), (5, 'five')",
    ] {
        rows(&session, statement).await.expect(statement);
    }
    drop(session);
    shards::close(database);
    directory
}

fn data(directory: &TempDir) -> PathBuf {
    directory.path().join("data")
}

/// The files of a shard whose names end so, the largest first.
pub fn files(directory: &TempDir, shard: u32, end: &str) -> Vec<PathBuf> {
    let shard = data(directory).join("shards").join(shard.to_string());
    let mut files: Vec<_> = fs::read_dir(shard).unwrap().flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().contains(end)));
    files.sort_by_key(|path| std::cmp::Reverse(fs::metadata(path).map_or(0, |file| file.len())));
    assert!(!files.is_empty(), "no file {end}");
    files
}

/// Turns over some bytes of a file, from an offset on.
pub fn overwrite(path: &Path, offset: usize, bytes: usize) {
    let mut content = fs::read(path).unwrap();
    let end = (offset + bytes).min(content.len());
    content[offset..end].iter_mut().for_each(|byte| *byte ^= 0xA5);
    fs::write(path, content).unwrap();
}

fn refused(directory: &TempDir) -> Error {
    match Database::open(&data(directory), &OpenOptions::default()) {
        Ok(_) => panic!("a damaged database was opened"),
        Err(error) => error,
    }
}

fn is_damage(error: &Error) {
    assert!(matches!(error.state, SqlState::DataCorrupted | SqlState::IoError), "{error:?}");
    assert!(!error.message.is_empty() && error.detail.is_some(), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_is_gone_is_missed() {
    let directory = database().await;
    fs::remove_dir_all(data(&directory).join("shards/3")).unwrap();
    let error = refused(&directory);
    assert_eq!(error.state, SqlState::DataCorrupted);
    assert!(error.message.contains("shard 3"), "{error}");
    assert!(error.hint.is_some() && error.detail.is_some(), "{error:?}");
    assert!(!data(&directory).join("shards/3").exists(), "a missing shard is not made anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn schemas_that_are_gone_are_missed() {
    let directory = database().await;
    fs::remove_dir_all(data(&directory).join("meta")).unwrap();
    let error = refused(&directory);
    assert_eq!(error.state, SqlState::DataCorrupted, "{error:?}");
    assert!(!data(&directory).join("meta/CURRENT").exists(), "missing schemas are not made anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_file_of_a_shard_is_missed() {
    let directory = database().await;
    fs::remove_file(&files(&directory, 2, ".sst")[0]).unwrap();
    let error = refused(&directory);
    is_damage(&error);
    assert!(error.message.contains("shard 2"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_manifest_is_missed() {
    let directory = database().await;
    fs::remove_file(&files(&directory, 2, "MANIFEST")[0]).unwrap();
    let error = refused(&directory);
    is_damage(&error);
    assert!(error.message.contains("shard 2"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_manifest_is_noticed() {
    let directory = database().await;
    overwrite(&files(&directory, 4, "MANIFEST")[0], 10, 40);
    is_damage(&refused(&directory));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_file_of_a_shard_is_noticed() {
    let directory = database().await;
    let file = &files(&directory, 1, ".sst")[0];
    let content = fs::read(file).unwrap();
    fs::write(file, &content[..content.len() / 2]).unwrap();
    is_damage(&refused(&directory));
}

/// A block is checked when it is read: the statement fails, everything else goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_block_fails_the_statement_that_reads_it() {
    let directory = database().await;
    overwrite(&files(&directory, 2, ".sst")[0], 200, 64);
    let database = shards::open(&data(&directory));
    let session = Session::new(&database, "check");
    for _ in 0..2 {
        let error = rows(&session, "SELECT COUNT(v), MAX(v) FROM sorted").await.expect_err("a block is damaged");
        assert_eq!(error.state, SqlState::DataCorrupted, "{error:?}");
        assert!(error.hint.is_some(), "{error:?}");
    }
    assert_eq!(rows(&session, "SELECT COUNT(v) FROM beside").await.expect("a statement"), [["5"]]);
    rows(&session, "INSERT INTO beside VALUES (6, 'six'), (7, 'seven')").await.expect("the process goes on");
    assert_eq!(rows(&session, "SELECT COUNT(v) FROM beside").await.expect("a statement"), [["7"]]);
    drop(session);
    shards::close(database);
}

/// A directory as a crash of the machine would leave it: shards keep their newest changes in memory until the next mark,
/// and only the commit log has them on disk.
async fn crash_image() -> TempDir {
    let directory = database().await;
    let database = shards::open(&data(&directory));
    let session = Session::new(&database, "writer");
    for k in 1..=5 {
        rows(&session, &format!("UPDATE beside SET v = 'new' WHERE k = {k}")).await.expect("an update");
    }
    let image = tempfile::tempdir().expect("a temporary directory");
    copy(&data(&directory), &data(&image));
    drop(session);
    shards::close(database);
    image
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target)
        } else {
            assert!(fs::copy(entry.path(), target).is_ok())
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_that_only_the_commit_log_has_are_applied_once() {
    let image = crash_image().await;
    // A process that dies right after it has recovered leaves the same to the next.
    for expected in [1, 1] {
        let database = shards::open(&data(&image));
        let session = Session::new(&database, "check");
        assert_eq!(rows(&session, "SELECT COUNT(v) FROM beside WHERE v = 'new'").await.unwrap(), [["5"]]);
        let events = "SELECT COUNT(*) FROM SYSTEM.EVENTS WHERE kind = 'recovery' AND subject = 'commit log'";
        assert_eq!(rows(&session, events).await.unwrap(), [[expected.to_string()]]);
        let claims = shards::claims(&database).await;
        drop(session);
        shards::close(database);
        shards::check(&data(&image), &claims);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_commit_log_is_noticed() {
    let image = crash_image().await;
    let log = data(&image).join("log/0");
    let whole = fs::read(&log).unwrap();
    for at in [0, 16, 40] {
        fs::write(&log, &whole).unwrap();
        overwrite(&log, at, 8);
        let error = refused(&image);
        assert_eq!(error.state, SqlState::DataCorrupted, "{error:?}");
        assert!(error.message.contains("commit log") && error.hint.is_some(), "{error:?}");
    }
    fs::write(&log, &whole).unwrap();
    shards::close(shards::open(&data(&image)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_has_lost_synced_changes_is_noticed() {
    let directory = database().await;
    for log in files(&directory, 2, ".log") {
        fs::write(log, "").unwrap();
    }
    let error = refused(&directory);
    assert_eq!(error.state, SqlState::DataCorrupted, "{error:?}");
    assert!(error.message.contains("shard 2 has lost changes"), "{error:?}");
}
