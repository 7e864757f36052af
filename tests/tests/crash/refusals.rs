//! What must not be opened, and how that is said.

use crate::client::rows;
use crate::disk::{Disk, Filler};
use crate::shards;
use evenkeel_engine::{Database, OpenOptions, Session};
use evenkeel_model::{Error, SqlState};
use std::path::Path;

fn refused(directory: &Path) -> Error {
    match Database::open(directory, &OpenOptions::default()) {
        Ok(_) => panic!("{} was opened", directory.display()),
        Err(error) => error,
    }
}

#[test]
fn a_second_process_is_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut holder = Filler::start(directory.path(), &["hold"], None);
    assert_eq!(holder.line().as_deref(), Some("open"));
    let error = refused(directory.path());
    assert_eq!(error.state, SqlState::CannotConnectNow);
    assert!(error.message.contains("is open in another process"), "{error}");
    assert!(error.hint.is_some(), "{error:?}");
    assert!(holder.ended_well());
    shards::close(shards::open(directory.path()));
}

#[test]
fn a_killed_process_holds_nothing() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut holder = Filler::start(directory.path(), &["hold"], None);
    assert_eq!(holder.line().as_deref(), Some("open"));
    drop(holder);
    shards::close(shards::open(directory.path()));
}

#[test]
fn a_database_is_open_once_in_a_process_too() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let database = shards::open(directory.path());
    assert_eq!(refused(directory.path()).state, SqlState::CannotConnectNow);
    shards::close(database);
    shards::close(shards::open(directory.path()));
}

#[test]
fn another_format_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    shards::close(shards::open(directory.path()));
    let format = directory.path().join("FORMAT");
    let ours = std::fs::read_to_string(&format).unwrap();
    std::fs::write(&format, "evenkeel 999\n").unwrap();
    let error = refused(directory.path());
    assert_eq!(error.state, SqlState::CannotConnectNow);
    assert!(error.message.contains("\"evenkeel 999\""), "{error}");
    assert!(error.hint.as_deref().is_some_and(|hint| hint.contains(ours.trim())), "{error:?}");
    assert_eq!(std::fs::read_to_string(&format).unwrap(), "evenkeel 999\n");
    std::fs::write(&format, ours).unwrap();
    shards::close(shards::open(directory.path()));
}

#[test]
fn a_foreign_directory_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(directory.path().join("thesis.tex"), "chapter 1").unwrap();
    let error = refused(directory.path());
    assert_eq!(error.state, SqlState::CannotConnectNow);
    assert!(error.message.contains("is not empty and no evenkeel database"), "{error}");
    assert!(error.detail.as_deref().is_some_and(|detail| detail.contains("thesis.tex")), "{error:?}");
    assert!(error.hint.is_some());
    assert_eq!(std::fs::read_to_string(directory.path().join("thesis.tex")).unwrap(), "chapter 1");
    assert!(!directory.path().join("meta").exists() && !directory.path().join("shards").exists());
}

#[test]
fn a_path_below_a_file_is_an_error() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    for path in [file.join("database"), file] {
        assert_eq!(refused(&path).state, SqlState::IoError, "{}", path.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_disk_is_an_error() {
    let Some(disk) = Disk::new(64) else { return };
    {
        let database = shards::open(&disk.directory());
        let session = Session::new(&database, "setup");
        rows(&session, "CREATE TABLE t (k BIGINT PRIMARY KEY)").await.expect("a statement");
        rows(&session, "INSERT INTO t VALUES (1), (2), (3)").await.expect("a statement");
        drop(session);
        shards::close(database);
    }
    disk.remount("ro");
    let error = refused(&disk.directory());
    assert_eq!(error.state, SqlState::IoError, "{error:?}");
    assert!(error.message.contains("cannot write"), "{error}");
    disk.remount("rw");
    let database = shards::open(&disk.directory());
    let session = Session::new(&database, "check");
    assert_eq!(rows(&session, "SELECT COUNT(*) FROM t").await.expect("a statement"), [["3"]]);
    drop(session);
    shards::close(database);
}
