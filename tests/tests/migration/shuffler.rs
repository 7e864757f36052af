//! The scripts and the flights once more, while slots move all the time: no answer says where rows are, or that they move.
//!
//! Carries `exactly-once-visible` and `no-stale-read`.

use crate::connection::{scripts, wrong};
use crate::mover::Mover;
use crate::questions::{self, FLIGHTS, loaded};
use crate::wire::{Protocol, Served};
use evenkeel_tests::Temporary;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Scripts whose answers rightly change, with the reason.
pub const EXCLUDED: &[(&str, &str)] = &[
    ("catalog", "it expects no rows in SYSTEM.JOBS and SYSTEM.REBALANCE_STATUS"),
    ("failures", "it waits for the last job where there has been none"),
    ("users", "it is about who may do what, and no right depends on where rows are"),
];

/// Moves slots until it is stopped; then says how often it did.
pub struct Shuffler {
    stop: Arc<AtomicBool>,
    moves: tokio::task::JoinHandle<usize>,
}

impl Shuffler {
    pub fn start(database: &Temporary, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, mut mover) = (Arc::clone(&stop), Mover::new(database.session(), seed));
        let moves = tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                mover.move_slots().await;
            }
            mover.story.len()
        });
        Self { stop, moves }
    }

    pub async fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.moves.await.expect("every move ends well")
    }
}

async fn check(script: &str) {
    let database = Temporary::new(4);
    let shuffler = Shuffler::start(&database, 1);
    let wrong = wrong(script, &database).await;
    let (moves, count) = (shuffler.stop().await, wrong.len());
    assert!(moves > 0, "nothing has moved");
    assert!(wrong.is_empty(), "{count} wrong, during {moves} moves:\n{}", wrong.join("\n"));
}

macro_rules! scripts {
    ($($name:ident)*) => {
        const SCRIPTS: &[&str] = &[$(stringify!($name)),*];
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            check(stringify!($name)).await;
        })*
    };
}

scripts! {
    aggregates
    alter
    as_of
    constraints
    expressions
    functions
    joins
    pg_catalog
    pipelines
    queries
    schema
    settings
    subqueries
    transactions
    types
    windows
    writing
}

#[test]
fn every_script_is_run_or_excluded() {
    let excluded = EXCLUDED.iter().map(|(name, _)| *name);
    assert_eq!(scripts(), SCRIPTS.iter().copied().chain(excluded).map(ToString::to_string).collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn flights() {
    let database = Temporary::new(4);
    let shuffler = Shuffler::start(&database, 2);
    let session = loaded(&database, FLIGHTS).await;
    questions::ask(&session, "while slots move").await;
    for protocol in Protocol::ALL {
        let served = Served::new(&database, protocol).await;
        served.ask("while slots move").await;
        served.end().await;
    }
    assert!(shuffler.stop().await > 0, "nothing has moved");
}
