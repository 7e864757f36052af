//! Moves slots, and makes and removes shards, at random: the same way for the same seed and the same past.

use crate::ground::{PATIENCE, column, shards, start};
use evenkeel_engine::Session;
use evenkeel_tests::{lines, run, spelled};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Shards between which it moves.
const SHARDS_MIN: usize = 3;
const SHARDS_MAX: usize = 7;

/// What moves.
pub struct Mover {
    session: Session,
    random: StdRng,
    /// What it has asked for.
    pub story: Vec<String>,
}

impl Mover {
    pub fn new(session: Session, seed: u64) -> Self {
        Self { session, random: StdRng::seed_from_u64(seed), story: Vec::new() }
    }

    /// One random change of the layout, to its end.
    pub async fn step(&mut self) {
        let shards = shards(&self.session).await;
        let few = shards.len() <= SHARDS_MIN;
        let many = shards.len() >= SHARDS_MAX;
        let [one, other] = self.two_of(&shards);
        match self.random.random_range(0..10) {
            0 if !many => self.job(&format!("SPLIT SHARD {one}")).await,
            1 if !few => self.job(&format!("MERGE SHARDS {one}, {other}")).await,
            2 if !few => self.job(&format!("REMOVE SHARD {one}")).await,
            3 if !many => {
                self.story.push("ADD SHARD".to_string());
                lines(&self.session, "ADD SHARD").await;
            }
            4 => self.job("REBALANCE SHARDS WITH strategy = 'rows'").await,
            _ => self.move_slots().await,
        }
    }

    /// Some slots in a row that are one shard's go to another.
    pub async fn move_slots(&mut self) {
        let first = self.random.random_range(0..8192);
        let length = 1 << self.random.random_range(0..12);
        let owners = "SELECT shard_id ORDER BY slot";
        let owners = format!("QUERY SYSTEM.SLOTS WHERE slot >= {first} AND slot < {first} + {length} {owners}");
        let owners = column(&self.session, &owners).await;
        let source = owners[0];
        let last = first + owners.iter().take_while(|owner| **owner == source).count() - 1;
        let targets: Vec<i64> = shards(&self.session).await.into_iter().filter(|shard| *shard != source).collect();
        let target = targets[self.random.random_range(0..targets.len())];
        self.job(&format!("MOVE SLOTS {first} TO {last} FROM SHARD {source} TO SHARD {target}")).await;
    }

    fn two_of(&mut self, shards: &[i64]) -> [i64; 2] {
        let one = self.random.random_range(0..shards.len());
        let other = (one + self.random.random_range(1..shards.len())) % shards.len();
        [shards[one], shards[other]]
    }

    /// A job, to its end. A shard without slots can't be split, and a balance that is there needs nothing.
    async fn job(&mut self, statement: &str) {
        self.story.push(statement.to_string());
        if statement.starts_with("SPLIT") || statement.starts_with("REBALANCE") {
            match run(&self.session, statement).await {
                Ok(answered) if answered.tag == "NOTHING TO DO" => return,
                Ok(_) => {}
                Err(error) if error.message.contains("too few for") => return,
                Err(error) => panic!("{statement}\nfailed: {}\n{}", spelled(&error), self.story.join("\n")),
            }
        } else {
            start(&self.session, statement).await;
        }
        let wait = format!("WAIT FOR JOB LAST TIMEOUT '{}s'", PATIENCE.as_secs());
        if let Err(error) = run(&self.session, &wait).await {
            let status = "QUERY SYSTEM.REBALANCE_STATUS WHERE phase NOT IN ('done', 'undone')";
            let status = lines(&self.session, status).await;
            panic!("{statement}\nfailed: {}\n{status:?}\n{}", spelled(&error), self.story.join("\n"));
        }
    }
}
