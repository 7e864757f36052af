//! Sessions that get in each other's way, and what makes a statement stop.
//!
//! WHAT MAY NEVER HAPPEN: two transactions that wrote one row both commit; an increment is lost; a reader sees half of
//! a transfer; a statement that was asked to stop goes on.

use evenkeel_engine::{Answer, Session};
use evenkeel_model::{Error, SqlState};
use evenkeel_tests::{Temporary, lines, run, spelled};
use futures::StreamExt;
use std::future::Future;
use std::time::Duration;

/// What would hang for ever fails instead.
const PATIENCE: Duration = Duration::from_secs(120);
/// A query that takes longer than anybody waits.
const ENDLESS: &str = "SELECT count(*) AS endless FROM generate_series(1, 1000000000000) AS g(n) WHERE n % 7 = 3";

async fn patiently<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| panic!("{what} takes for ever"))
}

async fn refused(session: &Session, statement: &str, state: SqlState) -> Error {
    match run(session, statement).await {
        Ok(answered) => panic!("{statement}\nwas to fail with {state:?} and answers {}", answered.tag),
        Err(error) => {
            assert_eq!(error.state, state, "{statement}\n{}", spelled(&error));
            error
        }
    }
}

/// Waits until SYSTEM.ACTIVE_QUERIES lists as many other statements like this; the number of the last.
async fn listed(session: &Session, pattern: &str, count: usize) -> Option<String> {
    let query = format!(
        "QUERY SYSTEM.ACTIVE_QUERIES WHERE statement LIKE '{pattern}' AND statement NOT LIKE '%ACTIVE_QUERIES%' \
         SELECT query_id ORDER BY query_id"
    );
    let search = async {
        loop {
            let found = lines(session, &query).await;
            if found.len() == count {
                return found.last().cloned();
            }
            tokio::task::yield_now().await;
        }
    };
    patiently("the list of statements", search).await
}

async fn outcome(mut answer: Answer) -> Result<(), Error> {
    while let Some(event) = patiently("the answer", answer.next()).await {
        event?;
    }
    Ok(())
}

async fn accounts(shards: u32, rows: u32) -> Temporary {
    let database = Temporary::new(shards);
    let session = database.session();
    lines(&session, "CREATE TABLE accounts (id integer PRIMARY KEY, balance integer NOT NULL)").await;
    lines(&session, &format!("INSERT INTO accounts SELECT value, 100 FROM generate_series(1, {rows})")).await;
    database
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_writer_of_a_row_is_told_to_retry() {
    for shards in [1, 4] {
        let database = accounts(shards, 10).await;
        let (first, second) = (database.session(), database.session());
        for session in [&first, &second] {
            lines(session, "BEGIN").await;
            lines(session, "UPDATE accounts SET balance = balance + 1 WHERE id = 7").await;
        }
        lines(&first, "COMMIT").await;
        let error = refused(&second, "COMMIT", SqlState::SerializationFailure).await;
        let detail = error.detail.clone().unwrap_or_default();
        assert!(detail.contains('7') && detail.contains("accounts"), "{}", spelled(&error));
        assert!(error.hint.clone().unwrap_or_default().contains("retry"), "{}", spelled(&error));
        assert_eq!(lines(&second, "SELECT balance FROM accounts WHERE id = 7").await, ["101"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_on_one_shard_takes_back_the_others() {
    let database = accounts(4, 100).await;
    let (first, second) = (database.session(), database.session());
    lines(&second, "BEGIN").await;
    lines(&second, "UPDATE accounts SET balance = 0").await;
    lines(&first, "DELETE FROM accounts WHERE id = 50").await;
    refused(&second, "COMMIT", SqlState::SerializationFailure).await;
    assert_eq!(lines(&second, "SELECT count(*), sum(balance) FROM accounts").await, ["99|9900"]);
    assert_eq!(lines(&first, "UPDATE accounts SET balance = 1 RETURNING 1 AS one").await.len(), 99);
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_in_opposite_order_do_not_wait_for_each_other() {
    let database = accounts(4, 20).await;
    let (first, second) = (database.session(), database.session());
    for (session, order) in [(&first, [3, 17]), (&second, [17, 3])] {
        lines(session, "BEGIN").await;
        for id in order {
            lines(session, &format!("UPDATE accounts SET balance = balance + {id} WHERE id = {id}")).await;
        }
    }
    let (one, other) =
        patiently("two commits", async { tokio::join!(run(&first, "COMMIT"), run(&second, "COMMIT")) }).await;
    let states: Vec<_> = [one, other].into_iter().filter_map(|end| end.err().map(|error| error.state)).collect();
    assert_eq!(states, [SqlState::SerializationFailure]);
    assert_eq!(lines(&first, "SELECT sum(balance) FROM accounts").await, ["2020"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn increments_from_many_sessions_all_count() {
    const SESSIONS: usize = 8;
    const EACH: usize = 10;
    let database = accounts(4, 1).await;
    let increments = (0..SESSIONS).map(|_| {
        let session = database.session();
        tokio::spawn(async move {
            for _ in 0..EACH {
                lines(&session, "UPDATE accounts SET balance = balance + 1 WHERE id = 1").await;
            }
        })
    });
    for session in increments.collect::<Vec<_>>() {
        patiently("the increments", session).await.expect("no increment fails");
    }
    let session = database.session();
    let expected = (100 + SESSIONS * EACH).to_string();
    assert_eq!(lines(&session, "SELECT balance FROM accounts").await, [expected]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_many_inserts_of_a_key_succeeds() {
    let database = accounts(4, 1).await;
    let inserts = (0..8).map(|session| {
        let statement = format!("INSERT INTO accounts VALUES (2, {session})");
        let session = database.session();
        tokio::spawn(async move { run(&session, &statement).await })
    });
    let mut inserted = 0;
    for insert in inserts.collect::<Vec<_>>() {
        match patiently("an insert", insert).await.expect("no panic") {
            Ok(_) => inserted += 1,
            Err(error) => assert_eq!(error.state, SqlState::UniqueViolation, "{}", spelled(&error)),
        }
    }
    assert_eq!(inserted, 1);
    assert_eq!(lines(&database.session(), "SELECT count(*) FROM accounts WHERE id = 2").await, ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_stays_while_others_commit() {
    for shards in [1, 4] {
        let database = accounts(shards, 30).await;
        let (reader, writer) = (database.session(), database.session());
        let everything = "SELECT id, balance FROM accounts ORDER BY id";
        lines(&reader, "BEGIN").await;
        let before = lines(&reader, everything).await;
        for change in [
            "UPDATE accounts SET balance = 0 WHERE id <= 10",
            "DELETE FROM accounts WHERE id > 20",
            "INSERT INTO accounts VALUES (100, 100)",
            "TRUNCATE accounts",
        ] {
            lines(&writer, change).await;
            if !change.starts_with("TRUNCATE") {
                assert_eq!(lines(&reader, everything).await, before, "after {change}");
                assert_eq!(lines(&reader, "SELECT count(*) FROM accounts").await, ["30"], "after {change}");
                assert_eq!(lines(&reader, "SELECT balance FROM accounts WHERE id = 25").await, ["100"]);
            }
        }
        lines(&reader, "COMMIT").await;
        assert!(lines(&reader, everything).await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn transfers_are_seen_whole() {
    const WRITERS: u32 = 3;
    let database = accounts(4, 40).await;
    let writers = (0..WRITERS).map(|writer| {
        let session = database.session();
        tokio::spawn(async move {
            for round in 0..12 {
                let (from, to) = ((writer * 13 + round * 7) % 40 + 1, (writer * 5 + round * 11) % 40 + 1);
                let transfer = format!(
                    "UPDATE accounts SET balance = balance + CASE id WHEN {from} THEN -5 ELSE 5 END \
                     WHERE id IN ({from}, {to}) AND {from} <> {to}"
                );
                lines(&session, &transfer).await;
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    let reader = database.session();
    loop {
        let done = writers.iter().all(tokio::task::JoinHandle::is_finished);
        assert_eq!(lines(&reader, "SELECT count(*), sum(balance) FROM accounts").await, ["40|4000"]);
        if done {
            break;
        }
    }
    for writer in writers {
        writer.await.expect("no transfer fails");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_query_stops() {
    let database = Temporary::new(2);
    let (worker, other) = (database.session(), database.session());
    let answer = worker.execute(ENDLESS, &[]);
    let id = listed(&other, "%endless FROM gen%", 1).await.expect("a number");
    lines(&other, &format!("KILL QUERY {id}")).await;
    let error = outcome(answer).await.expect_err("it was killed");
    assert_eq!(error.state, SqlState::QueryCanceled, "{}", spelled(&error));
    listed(&other, "%endless FROM gen%", 0).await;
    assert_eq!(lines(&worker, "SELECT 1 AS one").await, ["1"]);
    let error = refused(&other, &format!("KILL QUERY {id}"), SqlState::UndefinedObject).await;
    assert!(error.hint.unwrap_or_default().contains("ACTIVE_QUERIES"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_statement_leaves_its_block_failed() {
    let database = accounts(4, 5).await;
    let (worker, other) = (database.session(), database.session());
    lines(&worker, "BEGIN").await;
    lines(&worker, "UPDATE accounts SET balance = 0").await;
    let answer = worker.execute(ENDLESS, &[]);
    let id = listed(&other, "%endless FROM gen%", 1).await.expect("a number");
    lines(&other, &format!("KILL QUERY {id}")).await;
    assert!(outcome(answer).await.is_err());
    refused(&worker, "SELECT 1 AS one", SqlState::InFailedTransaction).await;
    assert_eq!(run(&worker, "COMMIT").await.expect("the end of the block").tag, "ROLLBACK");
    assert_eq!(lines(&worker, "SELECT sum(balance) FROM accounts").await, ["500"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_stops_what_it_runs() {
    let database = Temporary::new(2);
    let (worker, other) = (database.session(), database.session());
    let answer = worker.execute(ENDLESS, &[]);
    listed(&other, "%endless FROM gen%", 1).await;
    worker.cancel();
    let error = outcome(answer).await.expect_err("it was stopped");
    assert_eq!(error.state, SqlState::QueryCanceled, "{}", spelled(&error));
    worker.cancel();
    assert_eq!(lines(&worker, "SELECT 1 AS one").await, ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_ends_with_its_time_limit() {
    let database = accounts(4, 5).await;
    let session = database.session();
    lines(&session, "SET statement_timeout = '50ms'").await;
    let error = patiently("the limit", refused(&session, ENDLESS, SqlState::QueryCanceled)).await;
    assert!(error.message.contains("statement_timeout"), "{}", spelled(&error));
    lines(&session, "RESET statement_timeout").await;
    assert_eq!(lines(&session, "SELECT count(*) FROM accounts").await, ["5"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_answer_cancels_its_statement() {
    let database = accounts(4, 5).await;
    let (worker, other) = (database.session(), database.session());
    let load = "INSERT INTO accounts SELECT value, 1 AS endless FROM generate_series(1000, 1000000000000)";
    for statement in [ENDLESS, load] {
        let answer = worker.execute(statement, &[]);
        listed(&other, "%endless FROM gen%", 1).await;
        drop(answer);
        listed(&other, "%endless FROM gen%", 0).await;
        assert_eq!(lines(&worker, "SELECT count(*) FROM accounts").await, ["5"]);
    }
    // Rows that nobody takes: the statement waits for its reader, until there is none.
    let mut answer = worker.execute("SELECT value AS endless FROM generate_series(1, 1000000000000)", &[]);
    patiently("the first rows", answer.next()).await.expect("an event").expect("no error");
    listed(&other, "%endless FROM gen%", 1).await;
    drop(answer);
    listed(&other, "%endless FROM gen%", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_change_waits_for_open_writers() {
    let database = accounts(4, 5).await;
    let (writer, changer, other) = (database.session(), database.session(), database.session());
    lines(&writer, "BEGIN").await;
    lines(&writer, "INSERT INTO accounts VALUES (6, 1)").await;
    lines(&changer, "SET shard_lock_timeout = '20ms'").await;
    for change in ["DROP TABLE accounts", "TRUNCATE accounts", "ALTER TABLE accounts ADD COLUMN note text"] {
        let error = refused(&changer, change, SqlState::LockNotAvailable).await;
        assert!(error.hint.clone().unwrap_or_default().contains("SYSTEM.LOCKS"), "{}", spelled(&error));
    }
    let held = "SELECT count(*) FROM SYSTEM.LOCKS WHERE table_name = 'accounts' AND mode = 'shared' AND granted";
    assert_eq!(lines(&other, held).await, ["1"]);
    lines(&changer, "RESET shard_lock_timeout").await;
    let dropping = changer.execute("DROP TABLE accounts", &[]);
    listed(&other, "DROP TABLE accounts", 1).await;
    assert_eq!(lines(&writer, "SELECT count(*) FROM accounts").await, ["6"]);
    lines(&writer, "COMMIT").await;
    outcome(dropping).await.expect("the writer has gone");
    refused(&writer, "QUERY accounts", SqlState::UndefinedTable).await;
}
