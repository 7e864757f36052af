//! What clients do while slots move: each knows what it was told is done, and looks whether it is.

use crate::ground::{column, number};
use evenkeel_engine::{Event, ScalarValue, Session};
use evenkeel_tests::{lines, run, spelled};
use futures::StreamExt;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

pub const ACCOUNTS: i64 = 2_000;
pub const BALANCE: i64 = 100;
/// Rows of the table that nobody changes.
pub const STILL: i64 = 30_000;
/// Rows of a bulk load, and how many moves lie between two.
const LOAD: i64 = 20_500;
const LOAD_EVERY: usize = 8;
/// How long a slow reader waits for slots to change hands.
const SLOWLY: Duration = Duration::from_millis(500);

/// What workers and the mover know of each other.
#[derive(Clone, Default)]
pub struct Shift {
    over: Arc<AtomicBool>,
    moves: Arc<AtomicUsize>,
}

impl Shift {
    pub fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    pub fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    pub fn moved(&self) {
        self.moves.fetch_add(1, Ordering::Relaxed);
    }
}

/// Source, target and amount of the transfers that were acknowledged, by worker and number.
pub type Transfers = BTreeMap<(i64, i64), (i64, i64, i64)>;

/// Moves money between two accounts and writes it down, in one transaction.
pub async fn transfers(session: Session, worker: i64, seed: u64, shift: Shift) -> Transfers {
    let mut random = StdRng::seed_from_u64(seed);
    let mut done = Transfers::new();
    while shift.goes_on() {
        let source = random.random_range(1..=ACCOUNTS);
        let target = (source + random.random_range(1..ACCOUNTS)) % ACCOUNTS + 1;
        if source == target {
            continue;
        }
        let (number, amount) = (done.len() as i64, random.random_range(1..10));
        let statements = [
            "BEGIN".to_string(),
            format!("UPDATE accounts SET balance = balance - {amount} WHERE id = {source}"),
            format!("UPDATE accounts SET balance = balance + {amount} WHERE id = {target}"),
            format!("INSERT INTO ledger VALUES ({worker}, {number}, {source}, {target}, {amount})"),
            "COMMIT".to_string(),
        ];
        let mut refused = false;
        for statement in &statements {
            if let Err(error) = run(&session, statement).await {
                assert!(error.is_retryable(), "{statement}\n{}", spelled(&error));
                // A COMMIT that fails has ended the block.
                let _ = run(&session, "ROLLBACK").await;
                refused = true;
                break;
            }
        }
        if !refused {
            done.insert((worker, number), (source, target, amount));
        }
    }
    done
}

/// Counts rows of its own up, one at a time, and reads them; what each shows at the end.
pub async fn ticks(session: Session, worker: i64, prepared: bool, shift: Shift) -> BTreeMap<i64, i64> {
    let update = session.prepare_update("UPDATE ticks SET v = v + 1 WHERE id = $1").expect("an update of one row");
    let mut shown: BTreeMap<i64, i64> = (0..100).map(|row| (worker * 100 + row, 0)).collect();
    let ids: Vec<i64> = shown.keys().copied().collect();
    for id in ids.into_iter().cycle() {
        if !shift.goes_on() {
            break;
        }
        let rows = if prepared {
            update.execute(&[ScalarValue::Int64(Some(id))]).await
        } else {
            run(&session, &format!("UPDATE ticks SET v = v + 1 WHERE id = {id}")).await.map(|answered| answered.count())
        };
        assert_eq!(rows.unwrap_or_else(|error| panic!("a tick of {id} failed: {}", spelled(&error))), 1, "row {id}");
        let value = shown.entry(id).or_default();
        *value += 1;
        assert_eq!(
            number(&session, &format!("SELECT v FROM ticks WHERE id = {id}")).await,
            *value,
            "row {id} is stale"
        );
    }
    shown
}

/// Inserts and deletes rows of its own; those that are left.
pub async fn comings(session: Session, seed: u64, shift: Shift) -> BTreeMap<i64, i64> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut there = BTreeMap::new();
    let mut round = 0;
    while shift.goes_on() {
        round += 1;
        let id = random.random_range(0..500);
        if there.remove(&id).is_some() {
            lines(&session, &format!("DELETE FROM own WHERE id = {id}")).await;
        } else {
            lines(&session, &format!("INSERT INTO own VALUES ({id}, {round})")).await;
            there.insert(id, round);
        }
        let found = column(&session, &format!("SELECT v FROM own WHERE id = {id}")).await;
        assert_eq!(found, there.get(&id).copied().into_iter().collect::<Vec<_>>(), "own row {id}");
        if round % 20 == 0 {
            let all = column(&session, "SELECT id FROM own ORDER BY id").await;
            assert_eq!(all, there.keys().copied().collect::<Vec<_>>(), "a scan of own rows");
        }
    }
    there
}

/// Loads many rows at once, now and then; how many there are.
pub async fn loads(session: Session, shift: Shift) -> i64 {
    let mut loaded = 0;
    while shift.goes_on() {
        if shift.moves.load(Ordering::Relaxed) < loaded / LOAD as usize * LOAD_EVERY {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        }
        let (first, last) = (loaded as i64 + 1, loaded as i64 + LOAD);
        lines(&session, &format!("INSERT INTO pile SELECT n, 0 FROM generate_series({first}, {last}) AS g(n)")).await;
        loaded += LOAD as usize;
        assert_eq!(number(&session, "SELECT count(v) FROM pile").await, last, "a load is seen at once");
    }
    loaded as i64
}

/// Reads everything again and again.
pub async fn sums(session: Session, shift: Shift) {
    while shift.goes_on() {
        let sums = "SELECT sum(balance), count(*), count(balance), count(DISTINCT id) FROM accounts";
        let all = ACCOUNTS;
        assert_eq!(lines(&session, sums).await, [format!("{}|{all}|{all}|{all}", ACCOUNTS * BALANCE)]);
        lines(&session, "BEGIN").await;
        for table in ["own", "pile", "ledger", "ticks"] {
            let counted = number(&session, &format!("SELECT count(*) FROM {table}")).await;
            let column = if table == "ledger" { "amount" } else { "v" };
            let scanned = number(&session, &format!("SELECT count({column}) FROM {table}")).await;
            assert_eq!(counted, scanned, "left: the counters of {table}, right: a scan of the same snapshot");
        }
        lines(&session, "COMMIT").await;
    }
}

/// Reads a table while its slots change hands; how often they did during a scan.
pub async fn slow_scans(session: Session, other: Session, shift: Shift) -> usize {
    let mut overtaken = 0;
    while shift.goes_on() {
        let epoch = "QUERY SYSTEM.SHARDS GROUP BY () COMPUTE epoch = MAX(epoch)";
        let began = number(&other, epoch).await;
        let mut answer = session.execute("SELECT id FROM still", &[]);
        let (mut seen, mut rows, mut waited) = (BTreeSet::new(), 0, false);
        while let Some(event) = answer.next().await {
            let Event::Batch(batch) = event.unwrap_or_else(|error| panic!("a slow scan: {}", spelled(&error))) else {
                continue;
            };
            rows += batch.num_rows();
            let ids = (0..batch.num_rows()).filter_map(|row| evenkeel_tests::text(batch.column(0), row));
            seen.extend(ids);
            let until = Instant::now() + SLOWLY;
            while !waited && shift.goes_on() && Instant::now() < until {
                if number(&other, epoch).await > began {
                    overtaken += 1;
                    break;
                }
            }
            waited = true;
        }
        assert_eq!((rows, seen.len()), (STILL as usize, STILL as usize), "left: rows, right: different rows");
    }
    overtaken
}
