//! Readers that look while others commit: a moment is seen as a whole or not at all (`snapshot-isolation`,
//! `no-stale-read`).

use crate::client::{numbers, rows};
use evenkeel_engine::Session;
use evenkeel_model::{Result, SqlState};
use evenkeel_tests::Temporary;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const ACCOUNTS: i64 = 16;
const BALANCE: i64 = 100;
const WRITERS: u64 = 4;
const TRANSFERS: usize = 40;
const UPDATES: usize = 12;

async fn all(session: &Session, statements: &[&str]) -> Result<()> {
    for statement in statements {
        rows(session, statement).await?;
    }
    Ok(())
}

async fn bank(session: &Session) {
    all(session, &["CREATE TABLE accounts (id BIGINT PRIMARY KEY, balance BIGINT NOT NULL)"])
        .await
        .expect("a statement");
    let values: Vec<_> = (0..ACCOUNTS).map(|id| format!("({id}, {BALANCE})")).collect();
    rows(session, &format!("INSERT INTO accounts VALUES {}", values.join(", "))).await.expect("a statement");
}

/// Moves money until it is done; a conflict is tried again.
async fn transfer(session: &Session, random: &mut StdRng) {
    let source = random.random_range(0..ACCOUNTS);
    let target = (source + random.random_range(1..ACCOUNTS)) % ACCOUNTS;
    let amount = random.random_range(1..20);
    let take = format!("UPDATE accounts SET balance = balance - {amount} WHERE id = {source}");
    let give = format!("UPDATE accounts SET balance = balance + {amount} WHERE id = {target}");
    while let Err(error) = all(session, &["BEGIN", &take, &give, "COMMIT"]).await {
        assert!(error.is_retryable(), "{error:?}");
        rows(session, "ROLLBACK").await.expect("a statement");
    }
}

/// Looks at the sum, by one scan and by one transaction that reads account after account.
async fn look(session: &Session) {
    let sums = numbers(session, "SELECT SUM(balance), COUNT(*) FROM accounts").await.expect("a statement");
    assert_eq!(sums, [[ACCOUNTS * BALANCE, ACCOUNTS]], "a scan");
    rows(session, "BEGIN").await.expect("a statement");
    let mut sum = 0;
    for id in 0..ACCOUNTS {
        sum += numbers(session, &format!("SELECT balance FROM accounts WHERE id = {id}")).await.expect("a statement")
            [0][0];
    }
    let again = numbers(session, "SELECT SUM(balance), COUNT(*) FROM accounts").await.expect("a statement");
    rows(session, "COMMIT").await.expect("a statement");
    assert_eq!(sum, ACCOUNTS * BALANCE, "account after account in one transaction");
    assert_eq!(again, sums, "a scan in the same transaction");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_never_see_half_a_transfer() {
    let home = Temporary::new(4);
    let database = home.database();
    bank(&Session::new(database, "setup")).await;
    let done = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (session, done) = (Session::new(database, "reader"), Arc::clone(&done));
            tokio::spawn(async move {
                let mut looks = 0;
                while !done.load(Ordering::SeqCst) || looks == 0 {
                    look(&session).await;
                    looks += 1;
                }
            })
        })
        .collect();
    let writers: Vec<_> = (0..WRITERS)
        .map(|seed| {
            let session = Session::new(database, "writer");
            tokio::spawn(async move {
                let mut random = StdRng::seed_from_u64(seed);
                let durability = if seed % 2 == 0 { "on" } else { "off" };
                rows(&session, &format!("SET synchronous_commit = {durability}")).await.expect("a statement");
                for _ in 0..TRANSFERS {
                    transfer(&session, &mut random).await;
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("a writer");
    }
    done.store(true, Ordering::SeqCst);
    for reader in readers {
        reader.await.expect("a reader");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn scans_see_an_update_of_all_rows_as_one() {
    let home = Temporary::new(4);
    let database = home.database();
    let session = Session::new(database, "setup");
    all(&session, &["CREATE TABLE t (k BIGINT PRIMARY KEY, v BIGINT)"]).await.expect("a statement");
    let values: Vec<_> = (0..2_000).map(|key| format!("({key}, 0)")).collect();
    rows(&session, &format!("INSERT INTO t VALUES {}", values.join(", "))).await.expect("a statement");
    let done = Arc::new(AtomicBool::new(false));
    let reader = {
        let (session, done) = (Session::new(database, "reader"), Arc::clone(&done));
        tokio::spawn(async move {
            let mut last = 0;
            while !done.load(Ordering::SeqCst) {
                let seen = numbers(&session, "SELECT MIN(v), MAX(v), COUNT(v) FROM t").await.expect("a statement");
                assert_eq!(seen[0][0], seen[0][1], "half an update is seen");
                assert_eq!(seen[0][2], 2_000, "a row is missing or there twice");
                assert!(seen[0][0] >= last, "an update that was seen is gone");
                last = seen[0][0];
            }
        })
    };
    for update in 1..=UPDATES as i64 {
        rows(&session, "UPDATE t SET v = v + 1").await.expect("a statement");
        let seen = numbers(&session, "SELECT MIN(v) FROM t").await.expect("a statement");
        assert_eq!(seen, [[update]], "a session misses its own commit");
    }
    done.store(true, Ordering::SeqCst);
    reader.await.expect("a reader");
}

/// A bulk load's rows carry a timestamp from before its commit. A transaction that began in between doesn't see them, and
/// must not overwrite them either.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_load_conflicts_with_transactions_that_began_before_its_commit() {
    const ROWS: i64 = 200 * 200;
    let home = Temporary::new(4);
    let database = home.database();
    let session = Session::new(database, "setup");
    let values: Vec<_> = (0..200).map(|n| format!("({n})")).collect();
    all(&session, &["CREATE TABLE n (n BIGINT PRIMARY KEY)", "CREATE TABLE t (k BIGINT PRIMARY KEY, v TEXT)"])
        .await
        .unwrap();
    rows(&session, &format!("INSERT INTO n VALUES {}", values.join(", "))).await.expect("a statement");
    let load = tokio::spawn(async move {
        rows(&session, "INSERT INTO t SELECT a.n * 200 + b.n, 'loaded' FROM n AS a CROSS JOIN n AS b").await
    });
    let mut began = Vec::new();
    while !load.is_finished() {
        let session = Session::new(database, "meanwhile");
        rows(&session, "BEGIN").await.expect("a statement");
        let seen = numbers(&session, "SELECT COUNT(v) FROM t").await.expect("a statement")[0][0];
        assert!(seen == 0 || seen == ROWS, "{seen} rows of a load of {ROWS} are seen");
        began.push((session, seen));
    }
    load.await.expect("the load").unwrap();
    for (key, (session, seen)) in began.iter().enumerate() {
        let inserted = rows(session, &format!("INSERT INTO t VALUES ({key}, 'mine')")).await;
        let outcome = match inserted {
            Ok(_) => rows(session, "COMMIT").await,
            failed => failed,
        };
        let state = outcome.expect_err("the row was loaded by somebody else").state;
        let expected = if *seen == 0 { SqlState::SerializationFailure } else { SqlState::UniqueViolation };
        assert_eq!(state, expected, "transaction {key} of {}, which saw {seen} rows", began.len());
    }
    let check = Session::new(database, "check");
    let left = numbers(&check, "SELECT COUNT(*), COUNT(v) FROM t WHERE v = 'loaded'").await.expect("a statement");
    assert_eq!(left, [[ROWS, ROWS]]);
}
