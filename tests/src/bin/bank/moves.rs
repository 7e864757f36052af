//! Slots that move while the bank works, and scans that look whether anybody notices.

use super::moment::Aim;
use super::{ACCOUNTS, Bank, FILE_ROWS, numbers, rows, say};
use evenkeel_engine::Session;
use evenkeel_model::{Error, Result, SqlState};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::time::Duration;

const SHARDS_MIN: usize = 2;
const SHARDS_MAX: usize = 6;
/// Kinds of statements about shards, moves by hand several times.
const KINDS: u32 = 12;
const SLOTS: usize = 8_192;
/// Slots of a move by hand.
const SLOTS_MAX: usize = 1_500;
/// Statements about shards under one choice of settings.
const ORDERS: u32 = 4;
const PAUSE_MS_MAX: u64 = 40;
/// Money in all accounts together.
const MONEY: i64 = ACCOUNTS * 1_000;

async fn pause(random: &mut StdRng) {
    tokio::time::sleep(Duration::from_millis(random.random_range(0..PAUSE_MS_MAX))).await;
}

fn pick<T: Copy>(random: &mut StdRng, from: &[T]) -> T {
    from[random.random_range(0..from.len())]
}

impl Bank {
    /// Moves slots, splits, merges, adds and removes shards, for ever.
    pub async fn shift(self) -> Result<()> {
        let session = Session::new(&self.database, "mover");
        let mut random = StdRng::seed_from_u64(self.seed ^ 0x5117);
        loop {
            let (rate, batch) = (pick(&mut random, &[0, 2_000, 20_000]), pick(&mut random, &[20, 100, 4_096]));
            // Too short for most cutovers, now and then: they are put off, again and again.
            let budgets: &[&str] = if self.aim == Aim::Unsealing { &["1ms"] } else { &["1ms", "50ms", "1s"] };
            let (budget, at_once) = (pick(&mut random, budgets), random.random_range(1..4));
            let settings = format!(
                "ALTER SYSTEM SET migration_rate = {rate}, migration_batch_rows = {batch}, cutover_budget = '{budget}', \
                 max_concurrent_migrations = {at_once}, max_migrations_per_hour = 0"
            );
            rows(&session, &settings).await?;
            for _ in 0..ORDERS {
                let statement = order(&session, &mut random, self.aim).await?;
                if let Some(job) = started(rows(&session, &statement).await, &statement)? {
                    say(&format!("job {job}"));
                    interfere(&session, &mut random, self.aim, job).await?;
                }
                pause(&mut random).await;
            }
        }
    }

    /// Reads all money and all of the pile twice in one transaction, and the money as it was a moment ago.
    pub async fn scan(self) -> Result<()> {
        let session = self.session("scans").await?;
        let mut random = StdRng::seed_from_u64(self.seed ^ 0x5ca4);
        let past = "SELECT SUM(balance), COUNT(balance) FROM accounts AS OF now() - INTERVAL '50 milliseconds'";
        loop {
            rows(&session, "BEGIN").await?;
            let first = look(&session).await?;
            pause(&mut random).await;
            let second = look(&session).await?;
            rows(&session, "COMMIT").await?;
            let past = numbers(&session, past).await?;
            let whole = first[..2] == [MONEY, ACCOUNTS] && first[2] % FILE_ROWS == 0 && past[0] == [MONEY, ACCOUNTS];
            if !whole || first != second {
                let seen = format!("a scan saw {first:?}, then {second:?}, and {past:?} before");
                return Err(Error::new(SqlState::DataCorrupted, seen));
            }
        }
    }
}

async fn look(session: &Session) -> Result<Vec<i64>> {
    let money = numbers(session, "SELECT SUM(balance), COUNT(balance) FROM accounts").await?;
    let pile = numbers(session, "SELECT COUNT(v) FROM pile").await?;
    Ok([money[0].as_slice(), &pile[0]].concat())
}

/// The job that a statement has started. It may be refused while another has its slots.
fn started(answer: Result<Vec<Vec<String>>>, statement: &str) -> Result<Option<i64>> {
    use SqlState::{InvalidParameterValue, ObjectNotInPrerequisiteState, UndefinedObject};
    match answer {
        Ok(rows) => Ok(rows.first().and_then(|row| row.first()?.parse().ok())),
        Err(error) if [InvalidParameterValue, ObjectNotInPrerequisiteState, UndefinedObject].contains(&error.state) => {
            Ok(None)
        }
        Err(error) => Err(Error { message: format!("{statement}: {}", error.message), ..error }),
    }
}

/// The next statement about shards.
async fn order(session: &Session, random: &mut StdRng, aim: Aim) -> Result<String> {
    let owners = numbers(session, "SELECT shard_id FROM SYSTEM.SLOTS ORDER BY slot").await?;
    let owners: Vec<i64> = owners.into_iter().map(|row| row[0]).collect();
    let shards = numbers(session, "QUERY SYSTEM.SHARDS SELECT shard_id").await?;
    let shards: Vec<i64> = shards.into_iter().map(|row| row[0]).collect();
    let (one, other) = (pick(random, &shards), pick(random, &shards));
    let kind = if aim == Aim::Unsealing { KINDS } else { random.random_range(0..KINDS) };
    Ok(match kind {
        0 | 1 if shards.len() < SHARDS_MAX => format!("SPLIT SHARD {one} INTO 2"),
        2 if shards.len() < SHARDS_MAX => "ADD SHARD".to_string(),
        3 if shards.len() > SHARDS_MIN => format!("REMOVE SHARD {one}"),
        4 | 5 if shards.len() > SHARDS_MIN && one != other => format!("MERGE SHARDS {one}, {other}"),
        6 => "REBALANCE SHARDS".to_string(),
        _ => {
            // The slots that are written most are the hardest to move.
            let hot = aim == Aim::Unsealing || random.random_bool(0.5);
            let first = if hot { hottest(session).await? } else { random.random_range(0..SLOTS) };
            let source = owners[first];
            let run = owners[first..].iter().take_while(|owner| **owner == source).count();
            let last = first + random.random_range(0..run.min(SLOTS_MAX));
            format!("MOVE SLOTS {first} TO {last} FROM SHARD {source} TO SHARD {other}")
        }
    })
}

async fn hottest(session: &Session) -> Result<usize> {
    let hottest = numbers(session, "SELECT slot FROM SYSTEM.SLOTS ORDER BY writes DESC LIMIT 1").await?;
    Ok(hottest[0][0] as usize)
}

/// Waits for a job, or leaves it alone, or stops it.
async fn interfere(session: &Session, random: &mut StdRng, aim: Aim, job: i64) -> Result<()> {
    let kind = match aim {
        Aim::TurningBack => 0,
        // Who is cancelled as it is unsealed turns back at the next start, and does not go on.
        Aim::Unsealing => random.random_range(3..8),
        Aim::Anything => random.random_range(0..8),
    };
    let statements = match kind {
        0..3 => vec![format!("CANCEL JOB {job}")],
        3 => vec![format!("PAUSE JOB {job}"), format!("RESUME JOB {job}")],
        4 => vec![format!("WAIT FOR JOB {job} TIMEOUT '2s'"), format!("UNDO JOB {job}")],
        5 | 6 => vec![format!("WAIT FOR JOB {job} TIMEOUT '2s'")],
        _ => Vec::new(),
    };
    for statement in statements {
        pause(random).await;
        match rows(session, &statement).await {
            // Not over in time.
            Err(error) if error.state == SqlState::QueryCanceled => {}
            answer => {
                if let Some(job) = started(answer, &statement)? {
                    say(&format!("job {job}"));
                }
            }
        }
    }
    Ok(())
}
