//! Everything at once: transfers, updates, inserts, deletes, bulk loads and readers of all kinds, while the layout changes
//! twenty times.
//!
//! Carries `acked-is-durable`, `no-stale-read`, `exactly-once-visible`, `no-resurrection`, `snapshot-isolation`,
//! `counters-exact`, `one-owner` and `terminal`.

use crate::client::numbers;
use crate::ground::{Ground, number};
use crate::mover::Mover;
use crate::workers::{self, ACCOUNTS, BALANCE, STILL, Shift, Transfers};
use evenkeel_engine::Session;
use evenkeel_tests::{lines, moment};
use std::collections::BTreeMap;

const MOVES: usize = 20;
/// `EVENKEEL_SEED` is another.
const SEED: u64 = 20_130_101;

async fn filled() -> Ground {
    let ground = Ground::new();
    let session = ground.session();
    // Little memory makes small batches, so that a scan takes many.
    lines(&session, "ALTER SYSTEM SET memory_limit = '32MiB', synchronous_commit = off").await;
    drop(session);
    let ground = ground.reopened();
    let session = ground.session();
    for statement in [
        "CREATE TABLE accounts (id bigint PRIMARY KEY, balance bigint NOT NULL)",
        "CREATE TABLE ledger (worker bigint, number bigint, source bigint, target bigint, amount bigint NOT NULL, \
         PRIMARY KEY (worker, number))",
        "CREATE TABLE ticks (id bigint PRIMARY KEY, v bigint NOT NULL)",
        "CREATE TABLE own (id bigint PRIMARY KEY, v bigint NOT NULL)",
        "CREATE TABLE pile (id bigint PRIMARY KEY, v bigint NOT NULL)",
        "CREATE TABLE still (id bigint PRIMARY KEY, v bigint NOT NULL)",
        &format!("INSERT INTO accounts SELECT n, {BALANCE} FROM generate_series(1, {ACCOUNTS}) AS g(n)"),
        "INSERT INTO ticks SELECT n, 0 FROM generate_series(0, 199) AS g(n)",
        &format!("INSERT INTO still SELECT n, 0 FROM generate_series(1, {STILL}) AS g(n)"),
    ] {
        lines(&session, statement).await;
    }
    ground
}

/// What every account had at a moment.
async fn accounts_at(session: &Session, moment: &str) -> Vec<String> {
    let sums =
        "COMPUTE n = COUNT(*), sum = SUM(balance), weighted = SUM(balance * id), squares = SUM(balance * balance)";
    lines(session, &format!("QUERY accounts AS OF '{moment}' GROUP BY () {sums}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_and_nobody_notices() {
    let seed = std::env::var("EVENKEEL_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(SEED);
    println!("seed {seed}");
    let ground = filled().await;
    let shift = Shift::default();
    let session = || ground.session();
    let transfers = [0, 1, 2, 3]
        .map(|worker| tokio::spawn(workers::transfers(session(), worker, seed + worker as u64, shift.clone())));
    let ticks = [0, 1].map(|worker| tokio::spawn(workers::ticks(session(), worker, worker == 0, shift.clone())));
    let own = tokio::spawn(workers::comings(session(), seed, shift.clone()));
    let loads = tokio::spawn(workers::loads(session(), shift.clone()));
    let sums = tokio::spawn(workers::sums(session(), shift.clone()));
    let scans = tokio::spawn(workers::slow_scans(session(), session(), shift.clone()));
    let mut mover = Mover::new(session(), seed);
    let reader = session();
    for at in 0..MOVES {
        let past = if at % 5 == 0 {
            let moment = moment(&reader).await;
            let then = accounts_at(&reader, &moment).await;
            Some((moment, then))
        } else {
            None
        };
        mover.step().await;
        shift.moved();
        if let Some((moment, then)) = past {
            assert_eq!(accounts_at(&reader, &moment).await, then, "{moment}, {}", mover.story.join("\n"));
        }
    }
    println!("{}", mover.story.join("\n"));
    drop(mover);
    shift.end();
    let mut ledger = Transfers::new();
    for worker in transfers {
        ledger.extend(worker.await.expect("every transfer succeeds or is to be tried again"));
    }
    let mut shown = BTreeMap::new();
    for worker in ticks {
        shown.extend(worker.await.expect("every tick succeeds"));
    }
    let own = own.await.expect("every row of its own comes and goes");
    let loaded = loads.await.expect("every load succeeds");
    sums.await.expect("every sum is right");
    assert!(scans.await.expect("every scan is right") > 0, "no scan was overtaken");
    assert!(ledger.len() > MOVES && shown.values().sum::<i64>() > MOVES as i64, "work went on");
    check_bank(&reader, &ledger).await;
    for (table, expected) in [("ticks", &shown), ("own", &own)] {
        let found = numbers(&reader, &format!("SELECT id, v FROM {table}")).await.expect("a scan");
        let found: BTreeMap<_, _> = found.into_iter().map(|row| (row[0], row[1])).collect();
        assert_eq!(found, *expected, "{table}");
    }
    assert_eq!(number(&reader, "SELECT count(DISTINCT id) FROM pile").await, loaded);
    drop(reader);
    ground.end().await;
}

/// The ledger has every acknowledged transfer and no other, and the balances are the ledger's.
async fn check_bank(session: &Session, expected: &Transfers) {
    let rows = numbers(session, "SELECT worker, number, source, target, amount FROM ledger").await.expect("the ledger");
    let ledger: Transfers = rows.into_iter().map(|row| ((row[0], row[1]), (row[2], row[3], row[4]))).collect();
    assert_eq!(ledger, *expected, "left: the ledger, right: what was acknowledged");
    let mut balances: BTreeMap<i64, i64> = (1..=ACCOUNTS).map(|id| (id, BALANCE)).collect();
    for (source, target, amount) in ledger.values() {
        *balances.entry(*source).or_default() -= amount;
        *balances.entry(*target).or_default() += amount;
    }
    let found = numbers(session, "SELECT id, balance FROM accounts").await.expect("the accounts");
    let found: BTreeMap<_, _> = found.into_iter().map(|row| (row[0], row[1])).collect();
    assert_eq!(found, balances, "left: balances, right: what the ledger makes of them");
}
