//! `SELECT … FOR UPDATE`: rows that a block chooses, and what becomes of everybody else.
//!
//! WHAT MAY NEVER HAPPEN: a row that a block has chosen is changed by another before the block ends; two workers take one job
//! of a queue; a block that has read its rows this way and changes nothing else fails because somebody was quicker.

use super::conflicts::{accounts, begun, patiently, refused, row_is_waited_for};
use evenkeel_engine::Session;
use evenkeel_model::SqlState;
use evenkeel_tests::{Temporary, lines, run, spelled};
use std::collections::BTreeSet;

/// Of one row, the way past the planner and the way through it.
const ONE: [&str; 2] = ["id = 7", "id + 0 = 7"];

#[tokio::test(flavor = "multi_thread")]
async fn a_chosen_row_stays_as_it_is_until_its_block_ends() {
    let changes = [
        "UPDATE accounts SET balance = balance + 10 WHERE id = 7",
        "UPDATE accounts SET balance = balance + 10 WHERE id + 0 = 7",
        "UPDATE accounts SET balance = balance + 10 WHERE id = 7 RETURNING balance",
        "UPSERT INTO accounts VALUES (7, 110)",
        "INSERT INTO accounts VALUES (7, 0) ON CONFLICT (id) DO UPDATE SET balance = accounts.balance + 10",
        "DELETE FROM accounts WHERE id = 7",
        "SELECT balance FROM accounts WHERE id = 7 FOR UPDATE",
        "SELECT balance FROM accounts WHERE id + 0 = 7 FOR SHARE",
    ];
    for chosen in ONE {
        for change in changes {
            let database = accounts(4, 10).await;
            let (first, second) = (database.session(), database.session());
            lines(&first, "BEGIN").await;
            let query = format!("SELECT balance FROM accounts WHERE {chosen} FOR UPDATE");
            assert_eq!(lines(&first, &query).await, ["100"]);
            // Who only reads waits for nobody.
            assert_eq!(lines(&second, "SELECT sum(balance) FROM accounts").await, ["1000"]);
            lines(&second, "SET shard_lock_timeout = '10ms'").await;
            let error = refused(&second, change, SqlState::LockNotAvailable).await;
            assert!(error.hint.clone().unwrap_or_default().contains("SYSTEM.LOCKS"), "{}", spelled(&error));
            lines(&second, "BEGIN").await;
            let in_block = run(&second, change).await.map(|_| ());
            let ended = if in_block.is_ok() { run(&second, "COMMIT").await.map(|_| ()) } else { in_block };
            assert_eq!(ended.expect_err(change).state, SqlState::LockNotAvailable, "{change}, in a block");
            lines(&second, "ROLLBACK").await;
            lines(&second, "RESET shard_lock_timeout").await;
            let second = begun(second, change);
            row_is_waited_for(&database.session()).await;
            lines(&first, "UPDATE accounts SET balance = balance * 2 WHERE id = 7").await;
            lines(&first, "COMMIT").await;
            let (second, outcome) = second.await.expect("no panic");
            outcome.unwrap_or_else(|error| panic!("{change}: {}", spelled(&error)));
            let expected: &[&str] = match change {
                _ if change.starts_with("UPDATE") || change.starts_with("INSERT") => &["210"],
                _ if change.starts_with("UPSERT") => &["110"],
                _ if change.starts_with("DELETE") => &[],
                _ => &["200"],
            };
            assert_eq!(lines(&second, "SELECT balance FROM accounts WHERE id = 7").await, expected, "{change}");
            assert!(lines(&first, "QUERY SYSTEM.LOCKS").await.is_empty(), "{change}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_wait_is_told_or_goes_without() {
    let database = accounts(4, 10).await;
    let (first, second) = (database.session(), database.session());
    lines(&first, "BEGIN").await;
    assert_eq!(
        lines(&first, "SELECT id FROM accounts WHERE id IN (2, 4, 7) ORDER BY id FOR UPDATE").await,
        ["2", "4", "7"]
    );
    for one in ONE {
        let query = format!("SELECT balance FROM accounts WHERE {one} FOR UPDATE");
        let error = refused(&second, &format!("{query} NOWAIT"), SqlState::LockNotAvailable).await;
        assert!(error.detail.clone().unwrap_or_default().contains('7'), "{}", spelled(&error));
        assert!(lines(&second, &format!("{query} SKIP LOCKED")).await.is_empty());
    }
    for (rest, expected) in [
        ("", &["1", "3", "5", "6", "8", "9", "10"][..]),
        ("LIMIT 3", &["1", "3", "5"]),
        ("LIMIT 2 OFFSET 1", &["3", "5"]),
        ("OFFSET 5", &["9", "10"]),
        ("LIMIT 0", &[]),
        ("LIMIT 9223372036854775807", &["1", "3", "5", "6", "8", "9", "10"]),
        ("LIMIT 20", &["1", "3", "5", "6", "8", "9", "10"]),
        ("FETCH FIRST 2 ROWS ONLY", &["1", "3"]),
        ("FETCH NEXT ROW ONLY", &["1"]),
    ] {
        let query = format!("SELECT id FROM accounts ORDER BY id {rest} FOR UPDATE SKIP LOCKED");
        assert_eq!(lines(&second, &query).await, expected, "{query}");
    }
    // Its own rows are not in a block's way.
    assert_eq!(lines(&first, "SELECT count(*) FROM (SELECT 1) s").await, ["1"]);
    let all = "SELECT id FROM accounts WHERE id <= 4 ORDER BY id FOR UPDATE SKIP LOCKED";
    assert_eq!(lines(&first, all).await, ["1", "2", "3", "4"]);
    lines(&first, "ROLLBACK").await;
    assert_eq!(lines(&second, "SELECT balance FROM accounts WHERE id = 7 FOR UPDATE NOWAIT").await, ["100"]);
}

/// What is read and written back by the client.
#[tokio::test(flavor = "multi_thread")]
async fn what_clients_compute_from_chosen_rows_all_counts() {
    const SESSIONS: usize = 6;
    const EACH: usize = 10;
    for one in ONE {
        let database = accounts(4, 10).await;
        let increments = (0..SESSIONS).map(|_| {
            let session = database.session();
            tokio::spawn(async move {
                for _ in 0..EACH {
                    lines(&session, "BEGIN").await;
                    let query = format!("SELECT balance FROM accounts WHERE {one} FOR UPDATE");
                    let balance: i64 = lines(&session, &query).await[0].parse().expect("a number");
                    let update = format!("UPDATE accounts SET balance = {} WHERE {one}", balance + 1);
                    lines(&session, &update).await;
                    lines(&session, "COMMIT").await;
                }
            })
        });
        for session in increments.collect::<Vec<_>>() {
            patiently("the increments", session).await.expect("no block fails");
        }
        let expected = (100 + SESSIONS * EACH).to_string();
        let session = database.session();
        assert_eq!(lines(&session, "SELECT balance FROM accounts WHERE id = 7").await, [expected], "{one}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_job_of_a_queue_is_taken_once() {
    const JOBS: usize = 60;
    let database = Temporary::new(4);
    let session = database.session();
    lines(&session, "CREATE TABLE jobs (id bigint PRIMARY KEY, state text NOT NULL, worker bigint)").await;
    lines(&session, &format!("INSERT INTO jobs SELECT value, 'new', NULL FROM generate_series(1, {JOBS})")).await;
    async fn work(session: Session, worker: usize) -> Vec<String> {
        let mut done = Vec::new();
        loop {
            lines(&session, "BEGIN").await;
            let take = "SELECT id FROM jobs WHERE state = 'new' ORDER BY id LIMIT 2 FOR UPDATE SKIP LOCKED";
            let taken = lines(&session, take).await;
            for (at, id) in taken.iter().enumerate() {
                // By its key, and by what the planner has to look for; some are finished, some are gone.
                let change = match (worker + at) % 3 {
                    0 => format!("UPDATE jobs SET state = 'done', worker = {worker} WHERE id = {id}"),
                    1 => format!("UPDATE jobs SET state = 'done', worker = {worker} WHERE id + 0 = {id}"),
                    _ => format!("DELETE FROM jobs WHERE id = {id}"),
                };
                lines(&session, &change).await;
            }
            lines(&session, "COMMIT").await;
            let left = lines(&session, "SELECT count(*) FROM jobs WHERE state = 'new'").await;
            done.extend(taken);
            if left == ["0"] {
                return done;
            }
        }
    }
    let workers: Vec<_> = (0..6).map(|worker| tokio::spawn(work(database.session(), worker))).collect();
    let mut all = Vec::new();
    for worker in workers {
        all.extend(patiently("the workers", worker).await.expect("no block fails"));
    }
    let distinct: BTreeSet<&String> = all.iter().collect();
    assert_eq!((all.len(), distinct.len()), (JOBS, JOBS));
    assert!(lines(&session, "QUERY SYSTEM.LOCKS").await.is_empty());
}

/// Two transactions that each look at both rows and change one: what snapshot isolation alone lets through.
#[tokio::test(flavor = "multi_thread")]
async fn what_follows_from_chosen_rows_is_not_skewed() {
    for condition in ["balance > 0", "id IN (1, 2) AND balance > 0"] {
        for _ in 0..8 {
            let database = accounts(4, 2).await;
            let leave = |id: usize| {
                let session = database.session();
                tokio::spawn(async move {
                    lines(&session, "BEGIN").await;
                    let query = format!("SELECT id FROM accounts WHERE {condition} ORDER BY id FOR UPDATE");
                    if lines(&session, &query).await.len() > 1 {
                        lines(&session, &format!("UPDATE accounts SET balance = 0 WHERE id = {id}")).await;
                    }
                    lines(&session, "COMMIT").await;
                })
            };
            for left in [leave(1), leave(2)] {
                patiently("both", left).await.expect("neither fails");
            }
            let session = database.session();
            assert_eq!(lines(&session, "SELECT count(*) FROM accounts WHERE balance > 0").await, ["1"]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn transfers_between_chosen_rows_never_fail() {
    const SESSIONS: u32 = 6;
    let database = accounts(4, 5).await;
    let transfers = (0..SESSIONS).map(|session| {
        let (id, session) = (session, database.session());
        tokio::spawn(async move {
            for round in 0..12 {
                let (from, to) = ((id * 3 + round) % 5 + 1, (id + round * 2 + 1) % 5 + 1);
                if from == to {
                    continue;
                }
                lines(&session, "BEGIN").await;
                let both = format!("SELECT id FROM accounts WHERE id IN ({from}, {to}) ORDER BY id FOR UPDATE");
                assert_eq!(lines(&session, &both).await.len(), 2);
                lines(&session, &format!("UPDATE accounts SET balance = balance - 5 WHERE id = {from}")).await;
                lines(&session, &format!("UPDATE accounts SET balance = balance + 5 WHERE id = {to}")).await;
                lines(&session, "COMMIT").await;
            }
        })
    });
    for transfer in transfers.collect::<Vec<_>>() {
        patiently("the transfers", transfer).await.expect("no block fails");
    }
    assert_eq!(lines(&database.session(), "SELECT count(*), sum(balance) FROM accounts").await, ["5|500"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_that_has_looked_around_is_told_what_has_changed() {
    for one in ONE {
        let database = accounts(4, 10).await;
        let (first, second) = (database.session(), database.session());
        lines(&second, "BEGIN").await;
        lines(&second, "SELECT count(*) FROM accounts").await;
        lines(&first, "UPDATE accounts SET balance = 5 WHERE id = 7").await;
        let query = format!("SELECT balance FROM accounts WHERE {one} FOR UPDATE");
        let error = refused(&second, &query, SqlState::SerializationFailure).await;
        assert!(error.detail.clone().unwrap_or_default().contains('7'), "{}", spelled(&error));
        lines(&second, "ROLLBACK").await;
        // A block that begins with it sees what is there by then, however long ago it began.
        lines(&second, "BEGIN").await;
        lines(&first, "UPDATE accounts SET balance = 6 WHERE id = 7").await;
        assert_eq!(lines(&second, &query).await, ["6"]);
        lines(&second, "COMMIT").await;
    }
}

/// One row by its key, as clients write it: a block that has looked at nothing else may wait for the next, too.
#[tokio::test(flavor = "multi_thread")]
async fn rows_by_their_keys_may_be_chosen_one_after_another() {
    for query in [
        "SELECT balance FROM accounts WHERE id = {} FOR UPDATE",
        "SELECT accounts.balance AS accounts_balance FROM accounts WHERE accounts.id = {}::INTEGER FOR UPDATE OF accounts",
        "SELECT \"a\".\"balance\" FROM \"accounts\" \"a\" WHERE (\"a\".\"id\" = {}) FOR NO KEY UPDATE",
        "QUERY accounts WHERE id = {} SELECT balance FOR UPDATE",
        "SELECT a.* FROM accounts AS a WHERE a.id = {} LIMIT 1 FOR UPDATE",
    ] {
        let choose = |id: u32| query.replace("{}", &id.to_string());
        let database = accounts(4, 10).await;
        let (first, second) = (database.session(), database.session());
        lines(&first, "BEGIN").await;
        for id in 1..=3 {
            lines(&second, &format!("UPDATE accounts SET balance = balance + {id} WHERE id = {id}")).await;
            let row = lines(&first, &choose(id)).await.join(",");
            assert!(row.ends_with(&(100 + id).to_string()), "{query}: {row}");
        }
        // Of a row that it has chosen it knows that it has not changed.
        assert!(lines(&first, &choose(1)).await[0].ends_with("101"), "{query}");
        lines(&first, "UPDATE accounts SET balance = 0 WHERE id = 2").await;
        lines(&first, "COMMIT").await;
    }
}

/// Rows of an answer that was not given are nobody's, and a load elsewhere is in nobody's way.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_rises_to_rows_that_are_there() {
    let database = accounts(4, 10).await;
    let (first, second) = (database.session(), database.session());
    lines(&second, "CREATE TABLE elsewhere (id bigint PRIMARY KEY)").await;
    lines(&first, "BEGIN").await;
    assert_eq!(lines(&first, "SELECT balance FROM accounts WHERE id = 9").await, ["100"]);
    lines(&second, "UPDATE accounts SET balance = 1 WHERE id <= 3").await;
    lines(&second, "INSERT INTO elsewhere SELECT value FROM generate_series(1, 50000)").await;
    let full = "SELECT id FROM accounts WHERE balance = 100 ORDER BY id LIMIT 1 FOR UPDATE";
    assert_eq!(lines(&first, full).await, ["4"]);
    let held = "SELECT count(*) FROM SYSTEM.LOCKS WHERE mode = 'row'";
    assert_eq!(lines(&second, held).await, ["1"]);
    // It has looked at more than rows now: what is another by now is left out by who may leave out, and 40001 otherwise.
    lines(&second, "UPDATE accounts SET balance = 2 WHERE id = 5").await;
    let skipping = "SELECT id FROM accounts WHERE id > 4 ORDER BY id LIMIT 2 FOR UPDATE SKIP LOCKED";
    assert_eq!(lines(&first, skipping).await, ["6", "7"]);
    assert_eq!(lines(&second, held).await, ["3"]);
    refused(&first, "SELECT id FROM accounts WHERE id = 5 FOR UPDATE", SqlState::SerializationFailure).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn circles_are_found_and_a_lost_session_holds_nothing() {
    let database = accounts(4, 20).await;
    let (first, second) = (database.session(), database.session());
    for (session, id) in [(&first, 3), (&second, 17)] {
        lines(session, "BEGIN").await;
        lines(session, &format!("SELECT 1 FROM accounts WHERE id = {id} FOR UPDATE")).await;
    }
    let first = begun(first, "SELECT 1 FROM accounts WHERE id = 17 FOR UPDATE");
    row_is_waited_for(&second).await;
    refused(&second, "SELECT 1 FROM accounts WHERE id = 3 FOR UPDATE", SqlState::DeadlockDetected).await;
    let (first, outcome) = first.await.expect("no panic");
    outcome.expect("it goes on");
    let third = begun(database.session(), "DELETE FROM accounts WHERE id + 0 = 3");
    row_is_waited_for(&database.session()).await;
    drop(first);
    third.await.expect("no panic").1.expect("nobody holds it");
    // A row that is not there is nobody's: two may look for it, and insert it, and the second is told.
    let (first, second) = (database.session(), database.session());
    for session in [&first, &second] {
        lines(session, "BEGIN").await;
        assert!(lines(session, "SELECT 1 FROM accounts WHERE id = 50 FOR UPDATE").await.is_empty());
    }
    lines(&first, "INSERT INTO accounts VALUES (50, 1)").await;
    lines(&second, "INSERT INTO accounts VALUES (50, 2)").await;
    lines(&first, "COMMIT").await;
    refused(&second, "COMMIT", SqlState::SerializationFailure).await;
    assert!(lines(&first, "QUERY SYSTEM.LOCKS").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_chosen_rows_keeps_its_shape() {
    let database = accounts(4, 3).await;
    let (first, second) = (database.session(), database.session());
    lines(&second, "SET shard_lock_timeout = '10ms'").await;
    lines(&first, "BEGIN").await;
    lines(&first, "SELECT 1 FROM accounts WHERE id = 1 FOR UPDATE").await;
    for change in ["DROP TABLE accounts", "TRUNCATE accounts", "ALTER TABLE accounts ADD COLUMN note text"] {
        refused(&second, change, SqlState::LockNotAvailable).await;
    }
    lines(&first, "COMMIT").await;
    lines(&second, "TRUNCATE accounts").await;
}
