//! Sessions that get in each other's way, and what makes a statement stop.
//!
//! WHAT MAY NEVER HAPPEN: two transactions that wrote one row without seeing each other both commit; an increment is lost; a
//! reader sees half of a transfer; a statement that was asked to stop goes on.

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

pub(super) async fn patiently<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| panic!("{what} takes for ever"))
}

pub(super) async fn refused(session: &Session, statement: &str, state: SqlState) -> Error {
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

pub(super) async fn accounts(shards: u32, rows: u32) -> Temporary {
    let database = Temporary::new(shards);
    let session = database.session();
    lines(&session, "CREATE TABLE accounts (id integer PRIMARY KEY, balance integer NOT NULL)").await;
    lines(&session, &format!("INSERT INTO accounts SELECT value, 100 FROM generate_series(1, {rows})")).await;
    database
}

const TAKE_SEVEN: &str = "UPDATE accounts SET balance = balance + 10 WHERE id = 7";

/// Waits until a session waits for a row.
pub(super) async fn row_is_waited_for(session: &Session) {
    let query = "QUERY SYSTEM.LOCKS WHERE mode = 'row' AND NOT granted SELECT table_name, waits_for";
    let search = async {
        while !lines(session, query).await.iter().any(|line| line.starts_with("accounts|")) {
            tokio::task::yield_now().await;
        }
    };
    patiently("the list of locks", search).await;
}

/// A statement that goes on while its session's block waits.
pub(super) fn begun(
    session: Session,
    statement: &'static str,
) -> tokio::task::JoinHandle<(Session, Result<String, Error>)> {
    tokio::spawn(async move {
        let outcome = patiently(statement, run(&session, statement)).await.map(|answered| answered.tag);
        (session, outcome)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_writer_of_a_row_goes_on_from_what_the_first_has_left() {
    for shards in [1, 4] {
        let database = accounts(shards, 10).await;
        let (first, second) = (database.session(), database.session());
        lines(&first, "BEGIN").await;
        lines(&first, "UPDATE accounts SET balance = balance + 1 WHERE id = 7").await;
        lines(&second, "BEGIN").await;
        assert_eq!(lines(&second, "SELECT balance FROM accounts WHERE id = 3").await, ["100"]);
        let second = begun(second, TAKE_SEVEN);
        row_is_waited_for(&first).await;
        lines(&first, "UPDATE accounts SET balance = balance + 1 WHERE id = 8").await;
        lines(&first, "COMMIT").await;
        let (second, outcome) = second.await.unwrap();
        assert_eq!(outcome.unwrap(), "UPDATE 1");
        for (id, balance) in [(3, "100"), (7, "111"), (8, "101")] {
            let query = format!("SELECT balance FROM accounts WHERE id = {id}");
            assert_eq!(lines(&second, &query).await, [balance], "{query}");
        }
        lines(&second, "COMMIT").await;
        assert_eq!(lines(&first, "SELECT sum(balance) FROM accounts").await, ["1012"]);
        assert!(lines(&first, "QUERY SYSTEM.LOCKS").await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_that_has_looked_at_what_changed_is_told_to_retry() {
    for (looks, another) in [
        ("SELECT count(*) FROM accounts", "SELECT 1"),
        ("SELECT balance FROM accounts WHERE id = 7", "SELECT 1"),
        ("SELECT balance FROM accounts WHERE id = 3", "UPDATE accounts SET balance = 0 WHERE id = 3"),
        ("SELECT balance FROM accounts WHERE id = 50", "INSERT INTO accounts VALUES (50, 1)"),
        ("INSERT INTO accounts VALUES (50, 2)", "INSERT INTO accounts VALUES (50, 1)"),
        ("UPDATE accounts SET balance = 1 WHERE id = 50", "INSERT INTO accounts VALUES (50, 1)"),
        ("DELETE FROM accounts WHERE id = 3", "SELECT 1"),
    ] {
        let database = accounts(4, 10).await;
        let (first, second) = (database.session(), database.session());
        lines(&second, "BEGIN").await;
        lines(&second, looks).await;
        lines(&first, "UPDATE accounts SET balance = balance + 1 WHERE id = 7").await;
        lines(&first, another).await;
        let error = refused(&second, TAKE_SEVEN, SqlState::SerializationFailure).await;
        let detail = error.detail.clone().unwrap_or_default();
        assert!(detail.contains('7') && detail.contains("accounts"), "{}", spelled(&error));
        assert!(error.hint.clone().unwrap_or_default().contains("retry"), "{}", spelled(&error));
        refused(&second, "SELECT 1", SqlState::InFailedTransaction).await;
        lines(&second, "ROLLBACK").await;
        assert_eq!(lines(&second, "SELECT balance FROM accounts WHERE id = 7").await, ["101"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_was_given_back_unchanged_is_no_conflict() {
    let database = accounts(4, 10).await;
    let (first, second) = (database.session(), database.session());
    lines(&first, "BEGIN").await;
    lines(&first, "UPDATE accounts SET balance = 0 WHERE id = 7").await;
    lines(&second, "BEGIN").await;
    lines(&second, "SELECT count(*) FROM accounts").await;
    let second = begun(second, TAKE_SEVEN);
    row_is_waited_for(&first).await;
    // A block that has failed and has no savepoint is in nobody's way.
    refused(&first, "SELECT 1 / 0", SqlState::DivisionByZero).await;
    let (second, outcome) = second.await.unwrap();
    outcome.unwrap();
    lines(&second, "COMMIT").await;
    assert_eq!(lines(&second, "SELECT balance FROM accounts WHERE id = 7").await, ["110"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_outside_a_block_waits_for_the_row_too() {
    let database = accounts(4, 10).await;
    let (first, second) = (database.session(), database.session());
    lines(&first, "BEGIN").await;
    lines(&first, "SAVEPOINT s").await;
    lines(&first, "UPDATE accounts SET balance = balance + 1 WHERE id = 7").await;
    // With a savepoint it may go on.
    refused(&first, "SELECT 1 / 0", SqlState::DivisionByZero).await;
    lines(&second, "SET shard_lock_timeout = '20ms'").await;
    let error = refused(&second, TAKE_SEVEN, SqlState::LockNotAvailable).await;
    assert!(error.detail.clone().unwrap_or_default().contains("session"), "{}", spelled(&error));
    lines(&second, "SET shard_lock_timeout = '60s'").await;
    let second = begun(second, TAKE_SEVEN);
    row_is_waited_for(&database.session()).await;
    for statement in ["ROLLBACK TO s", "UPDATE accounts SET balance = balance + 2 WHERE id = 7", "COMMIT"] {
        lines(&first, statement).await;
    }
    let (second, outcome) = second.await.unwrap();
    outcome.unwrap();
    assert_eq!(lines(&second, "SELECT balance FROM accounts WHERE id = 7").await, ["112"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_goes_away_gives_its_rows_back() {
    let database = accounts(4, 10).await;
    let (first, second) = (database.session(), database.session());
    lines(&first, "BEGIN").await;
    lines(&first, "UPDATE accounts SET balance = balance + 1 WHERE id = 7").await;
    let looking = database.session();
    let second = begun(second, TAKE_SEVEN);
    row_is_waited_for(&looking).await;
    drop(first);
    let (second, outcome) = second.await.unwrap();
    outcome.unwrap();
    assert_eq!(lines(&second, "SELECT balance FROM accounts WHERE id = 7").await, ["110"]);
}

/// Two rows are changed in one block, always alike; a block that reads one, waits for a third, and reads the other must
/// find them alike, whether its snapshot rises meanwhile or not.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_rises_shows_what_was_seen_before() {
    const ROUNDS: usize = 60;
    let database = accounts(4, 10).await;
    let writers = (0..3).map(|_| {
        let session = database.session();
        tokio::spawn(async move {
            let mut done = 0;
            while done < ROUNDS {
                let statements = [
                    "BEGIN",
                    "UPDATE accounts SET balance = balance + 1 WHERE id = 1",
                    "UPDATE accounts SET balance = balance + 1 WHERE id = 2",
                    TAKE_SEVEN,
                    "COMMIT",
                ];
                for statement in statements {
                    lines(&session, statement).await;
                }
                done += 1;
            }
        })
    });
    let readers = (0..3).map(|_| {
        let session = database.session();
        tokio::spawn(async move {
            let (mut risen, mut refused) = (0, 0);
            for _ in 0..ROUNDS {
                lines(&session, "BEGIN").await;
                let one = lines(&session, "SELECT balance FROM accounts WHERE id = 1").await;
                match run(&session, TAKE_SEVEN).await {
                    Ok(_) => risen += 1,
                    Err(error) => {
                        assert!(error.is_retryable(), "{}", spelled(&error));
                        lines(&session, "ROLLBACK").await;
                        refused += 1;
                        continue;
                    }
                }
                assert_eq!(one, lines(&session, "SELECT balance FROM accounts WHERE id = 2").await);
                assert_eq!(one, lines(&session, "SELECT balance FROM accounts WHERE id = 1").await);
                lines(&session, "COMMIT").await;
            }
            (risen, refused)
        })
    });
    let (writers, readers): (Vec<_>, Vec<_>) = (writers.collect(), readers.collect());
    for writer in writers {
        patiently("the writers", writer).await.expect("no block of rows that it looks at by key alone fails");
    }
    let mut taken = 3 * ROUNDS;
    for reader in readers {
        let (risen, _) = patiently("the readers", reader).await.expect("a block sees one state");
        taken += risen;
    }
    let session = database.session();
    let expected = format!("{}|{}", 2 * (100 + 3 * ROUNDS), 100 + 10 * taken);
    let sums = "SELECT sum(balance) FILTER (WHERE id <= 2), sum(balance) FILTER (WHERE id = 7) FROM accounts";
    assert_eq!(lines(&session, sums).await, [expected]);
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
async fn of_blocks_that_wait_for_each_other_one_is_told() {
    let database = accounts(4, 20).await;
    let (first, second) = (database.session(), database.session());
    for (session, id) in [(&first, 3), (&second, 17)] {
        lines(session, "BEGIN").await;
        lines(session, &format!("UPDATE accounts SET balance = balance + {id} WHERE id = {id}")).await;
    }
    let first = begun(first, "UPDATE accounts SET balance = balance + 17 WHERE id = 17");
    row_is_waited_for(&second).await;
    let circle = "UPDATE accounts SET balance = balance + 3 WHERE id = 3";
    let error = refused(&second, circle, SqlState::DeadlockDetected).await;
    assert!(error.hint.is_some(), "{}", spelled(&error));
    // It has failed, and the other goes on before it is rolled back.
    let (first, outcome) = first.await.unwrap();
    outcome.unwrap();
    lines(&first, "COMMIT").await;
    lines(&second, "ROLLBACK").await;
    assert_eq!(lines(&second, "SELECT sum(balance) FROM accounts").await, ["2020"]);
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
