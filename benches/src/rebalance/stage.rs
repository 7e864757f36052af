//! The database that is moved about: `items` of about 200 bytes a row, and what is seen of its migrations.

use super::keys::TENANT_ROWS;
use crate::evenkeel::Evenkeel;
use anyhow::{Context, ensure};
use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use evenkeel_engine::{OpenOptions, PhaseHook};
use evenkeel_model::{Error, SqlState};
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

const TABLE: &str = "CREATE TABLE items (tenant BIGINT NOT NULL, id BIGINT NOT NULL, n BIGINT NOT NULL, \
                     payload TEXT NOT NULL, PRIMARY KEY (tenant, id)) SHARD BY (tenant)";
/// Rows of one INSERT.
const PIECE: usize = 250_000;
/// Slots of a database, unless it was made otherwise.
pub const SLOTS: u32 = 8_192;

/// A database with `items`.
pub struct Stage {
    pub evenkeel: Evenkeel,
    pub rows: usize,
    moments: Arc<Mutex<Moments>>,
}

/// When the latest migration was asked for, and when its target began to serve.
#[derive(Clone, Copy, Debug, Default)]
struct Moments {
    began: Option<Instant>,
    served: Option<Instant>,
}

/// One migration that is over.
#[derive(Clone, Copy, Debug)]
pub struct Moved {
    pub rows: f64,
    pub bytes: f64,
    /// From the statement until the target served the rows.
    pub served_seconds: f64,
    /// From the statement until both copies were compared and the source's was gone.
    pub over_seconds: f64,
}

impl Stage {
    /// Makes a database of so many shards and fills it.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn create(directory: &Path, shards: u32, rows: usize) -> anyhow::Result<Self> {
        Self::create_with(directory, OpenOptions { shards: Some(shards), ..OpenOptions::default() }, rows).await
    }

    /// The same in a database that counts neither rows nor accesses.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn create_uncounted(directory: &Path, shards: u32, rows: usize) -> anyhow::Result<Self> {
        let options = OpenOptions { shards: Some(shards), uncounted: true, ..OpenOptions::default() };
        Self::create_with(directory, options, rows).await
    }

    async fn create_with(directory: &Path, options: OpenOptions, rows: usize) -> anyhow::Result<Self> {
        let moments: Arc<Mutex<Moments>> = Arc::default();
        let seen = Arc::clone(&moments);
        let note = move |_, phase: &str, kept| {
            if kept && phase == "verifying" {
                seen.lock().unwrap_or_else(PoisonError::into_inner).served = Some(Instant::now());
            }
        };
        let on_phase = Some(PhaseHook(Arc::new(note)));
        let evenkeel = Evenkeel::create_with(directory, &OpenOptions { on_phase, ..options })?;
        evenkeel.execute(TABLE).await?;
        evenkeel.execute("ALTER SYSTEM SET max_migrations_per_hour = 0").await?;
        for from in (0..rows).step_by(PIECE) {
            evenkeel.execute(&fill(from, rows.min(from + PIECE) - 1)).await?;
        }
        Ok(Self { evenkeel, rows, moments })
    }

    fn moments(&self) -> MutexGuard<'_, Moments> {
        self.moments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets `migration_throttle`.
    ///
    /// # Errors
    /// The statement's own.
    pub async fn throttle(&self, on: bool) -> anyhow::Result<()> {
        let value = if on { "on" } else { "off" };
        self.evenkeel.execute(&format!("ALTER SYSTEM SET migration_throttle = {value}")).await
    }

    /// Moves all slots of one shard that has them all to another, and waits for the end.
    ///
    /// # Errors
    /// When a statement or the migration fails.
    pub async fn move_all(&self, source: u32, target: u32) -> anyhow::Result<Moved> {
        self.begin_move(0..=SLOTS - 1, source, target).await?;
        let moved = self.end_move().await?;
        self.ensure_all(moved.rows)?;
        Ok(moved)
    }

    /// Begins to move slots.
    ///
    /// # Errors
    /// The statement's own.
    pub async fn begin_move(&self, slots: RangeInclusive<u32>, source: u32, target: u32) -> anyhow::Result<()> {
        *self.moments() = Moments { began: Some(Instant::now()), served: None };
        let (first, last) = slots.into_inner();
        self.evenkeel.execute(&format!("MOVE SLOTS {first} TO {last} FROM SHARD {source} TO SHARD {target}")).await
    }

    /// Makes sure that what moved were all rows.
    ///
    /// # Errors
    /// When some were left out.
    pub fn ensure_all(&self, moved: f64) -> anyhow::Result<()> {
        ensure!(moved == self.rows as f64, "{} rows were to move, {moved} did", self.rows);
        Ok(())
    }

    /// Waits for the end of what was begun, up to a limit; whether it is over.
    ///
    /// # Errors
    /// When the migration fails.
    pub async fn is_over_within(&self, seconds: f64) -> anyhow::Result<bool> {
        match self.evenkeel.execute(&format!("WAIT FOR JOB LAST TIMEOUT '{}ms'", (seconds * 1e3) as u64)).await {
            Ok(()) => Ok(true),
            Err(error) => match error.downcast_ref::<Error>() {
                Some(error) if error.state == SqlState::QueryCanceled => Ok(false),
                _ => Err(error),
            },
        }
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When the migration fails.
    pub async fn end_move(&self) -> anyhow::Result<Moved> {
        self.evenkeel.execute("WAIT FOR JOB LAST").await?;
        let Moments { began, served } = *self.moments();
        let began = began.context("no migration began")?;
        let over_seconds = began.elapsed().as_secs_f64();
        let served = served.context("the target never served the rows")?;
        let number = async |column: &str| -> anyhow::Result<f64> {
            let newest = "job_id = (SELECT MAX(job_id) FROM SYSTEM.JOBS)";
            let from = "FROM SYSTEM.REBALANCE_STATUS WHERE phase = 'done' AND";
            let statement = format!("SELECT CAST(SUM({column}) AS DOUBLE PRECISION) {from} {newest}");
            self.evenkeel.floats(&statement).await?.first().copied().context("no migration is done")
        };
        let (rows, bytes) = (number("rows_total").await?, number("bytes_migrated").await?);
        Ok(Moved { rows, bytes, served_seconds: (served - began).as_secs_f64(), over_seconds })
    }

    /// Makes sure that no row and no acknowledged update is missing; says so.
    ///
    /// # Errors
    /// When one is.
    pub async fn check(&self, acknowledged: usize, failed: u64) -> anyhow::Result<String> {
        let rows = self.evenkeel.number("SELECT COUNT(*) FROM items").await?;
        ensure!(rows == self.rows as i64, "{rows} rows are there of {}", self.rows);
        let sum = self.evenkeel.number("SELECT CAST(SUM(n) AS BIGINT) FROM items").await?;
        // An update that failed may have been made.
        let possible = acknowledged as i64..=acknowledged as i64 + failed as i64;
        ensure!(possible.contains(&sum), "{acknowledged} updates were acknowledged and {sum} are there");
        Ok(format!("afterwards all {rows} rows and all {acknowledged} acknowledged updates are there"))
    }

    /// The rows that each shard has, read one by one, by VERIFY SHARD.
    ///
    /// # Errors
    /// When a shard does not hold what it counts.
    pub async fn rows_by_shard(&self) -> anyhow::Result<Vec<i64>> {
        let mut rows = Vec::new();
        for shard in 1..=self.evenkeel.session().database().shard_count() {
            rows.push(verified(&self.evenkeel, shard).await?);
        }
        Ok(rows)
    }
}

async fn verified(evenkeel: &Evenkeel, shard: usize) -> anyhow::Result<i64> {
    let batches = evenkeel.query(&format!("VERIFY SHARD {shard}")).await?;
    let column = batches.first().and_then(|batch| batch.column_by_name("row_count"));
    let column = column.and_then(|column| column.as_primitive_opt::<Int64Type>());
    Ok(column.context("VERIFY SHARD counts no rows")?.value(0))
}

fn fill(from: usize, to: usize) -> String {
    format!(
        "INSERT INTO items SELECT i / {TENANT_ROWS}, i, 0, md5(CAST(i AS TEXT)) || md5(CAST(i + 1 AS TEXT)) || \
         md5(CAST(i + 2 AS TEXT)) || md5(CAST(i + 3 AS TEXT)) || md5(CAST(i + 4 AS TEXT)) \
         FROM generate_series({from}, {to}) AS g(i)"
    )
}
