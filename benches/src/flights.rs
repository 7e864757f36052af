//! The flights that left New York City in 2013 (336,776 rows, 31 MB), and the contestants that hold them.

use crate::bench::say;
use crate::evenkeel::Evenkeel;
use crate::postgres::Server;
use crate::raw::Raw;
use anyhow::{Context, ensure};
use futures::{SinkExt, StreamExt};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Instant;
use tokio_postgres::Client;

/// Where the data is in the sources.
const FILE: &str = "tests/data/flights/flights.csv.gz";

/// The same statement for every contestant.
const TABLE: &str = "CREATE TABLE flights (
    year SMALLINT NOT NULL, month SMALLINT NOT NULL, day SMALLINT NOT NULL,
    dep_time SMALLINT, sched_dep_time SMALLINT, dep_delay SMALLINT,
    arr_time SMALLINT, sched_arr_time SMALLINT, arr_delay SMALLINT,
    carrier TEXT, flight INTEGER, tailnum TEXT, origin TEXT NOT NULL, dest TEXT NOT NULL,
    air_time SMALLINT, distance SMALLINT, hour SMALLINT, minute SMALLINT, time_hour TIMESTAMPTZ,
    PRIMARY KEY (time_hour, carrier, flight)
)";

/// Bytes that a client sends PostgreSQL at a time.
const CHUNK_BYTES: usize = 256 << 10;

/// The data file, and who has loaded it.
#[derive(Default)]
pub struct Flights {
    source: Option<PathBuf>,
    csv: Option<PathBuf>,
    rows: u64,
    postgres: Option<Client>,
    /// Before its directory's other users: closed before it is removed.
    raw: Option<Raw>,
    evenkeel: Option<(Evenkeel, PathBuf)>,
    databases: usize,
}

impl Flights {
    /// Nothing is loaded yet.
    pub fn new(source: Option<PathBuf>) -> Self {
        Self { source, ..Self::default() }
    }

    /// The rows of the file.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Evenkeel with the flights; loaded before.
    ///
    /// # Errors
    /// When they are not loaded.
    pub fn evenkeel(&self) -> anyhow::Result<&Evenkeel> {
        self.evenkeel.as_ref().map(|(evenkeel, _)| evenkeel).context("the flights are not loaded")
    }

    /// PostgreSQL with the flights, where it takes part.
    pub fn postgres(&self) -> Option<&Client> {
        self.postgres.as_ref()
    }

    /// Loads the flights everywhere, where nobody has measured that already.
    ///
    /// # Errors
    /// When the data is not there, the disk fails, or a contestant complains.
    pub async fn load(&mut self, directory: &Path, server: Option<&Server>) -> anyhow::Result<()> {
        if self.evenkeel.is_some() {
            return Ok(());
        }
        say("  loading the flights");
        self.copy_into_evenkeel(directory).await?;
        if let Some(server) = server {
            self.copy_into_postgres(directory, server).await?;
        }
        Ok(())
    }

    /// Times Evenkeel's COPY into a new database, in seconds.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub async fn copy_into_evenkeel(&mut self, directory: &Path) -> anyhow::Result<f64> {
        let csv = self.csv(directory)?;
        self.raw = None;
        if let Some((evenkeel, path)) = self.evenkeel.take() {
            drop(evenkeel);
            std::fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
        self.databases += 1;
        let path = directory.join(format!("flights-{}", self.databases));
        let evenkeel = Evenkeel::create(&path)?;
        evenkeel.execute(TABLE).await?;
        let file = csv.display().to_string().replace('\'', "''");
        let statement = format!("COPY flights FROM '{file}' WITH (null 'NA')");
        let since = Instant::now();
        evenkeel.execute(&statement).await?;
        let seconds = since.elapsed().as_secs_f64();
        let rows = evenkeel.number("SELECT count(*) FROM flights").await?;
        ensure!(rows as u64 == self.rows, "Evenkeel has {rows} flights of {}", self.rows);
        self.evenkeel = Some((evenkeel, path));
        Ok(seconds)
    }

    /// Times PostgreSQL's COPY into a new table, in seconds.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub async fn copy_into_postgres(&mut self, directory: &Path, server: &Server) -> anyhow::Result<f64> {
        let csv = self.csv(directory)?;
        let client = match self.postgres.take() {
            Some(client) => client,
            None => server.connect().await?,
        };
        client.batch_execute("DROP TABLE IF EXISTS flights").await?;
        client.batch_execute(TABLE).await?;
        let chunks = chunks(&csv)?;
        let since = Instant::now();
        let sink = client.copy_in("COPY flights FROM STDIN WITH (FORMAT csv, HEADER, NULL 'NA')").await?;
        let mut sink = std::pin::pin!(sink);
        sink.send_all(&mut futures::stream::iter(chunks).map(Ok)).await?;
        let rows = sink.finish().await?;
        let seconds = since.elapsed().as_secs_f64();
        ensure!(rows == self.rows, "PostgreSQL has {rows} flights of {}", self.rows);
        // What autovacuum would do a minute later: reading is measured on a table that has settled.
        client.batch_execute("VACUUM (ANALYZE) flights").await?;
        self.postgres = Some(client);
        Ok(seconds)
    }

    /// Bare RocksDB with the same keys and values as Evenkeel has.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn raw(&mut self, directory: &Path) -> anyhow::Result<&Raw> {
        if self.raw.is_none() {
            let (_, path) = self.evenkeel.as_ref().context("the flights are not loaded")?;
            say("  copying keys and values to bare RocksDB");
            let raw = Raw::copy_of(path, &directory.join(format!("raw-{}", self.databases)))?;
            ensure!(raw.rows() == self.rows, "the raw copy has {} flights of {}", raw.rows(), self.rows);
            self.raw = Some(raw);
        }
        self.raw.as_ref().context("just made")
    }

    /// The uncompressed file, and with it in the system's page cache.
    fn csv(&mut self, directory: &Path) -> anyhow::Result<PathBuf> {
        if let Some(csv) = &self.csv {
            return Ok(csv.clone());
        }
        let source = match &self.source {
            Some(source) => source.clone(),
            None => find()?,
        };
        let mut file = File::open(&source).with_context(|| format!("cannot read {}", source.display()))?;
        let mut text = Vec::new();
        if source.extension().is_some_and(|extension| extension == "gz") {
            flate2::read::MultiGzDecoder::new(file).read_to_end(&mut text)?;
        } else {
            file.read_to_end(&mut text)?;
        }
        let lines = text.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.rows = lines.checked_sub(1).with_context(|| format!("{} is empty", source.display()))?;
        let csv = directory.join("flights.csv");
        std::fs::write(&csv, text).with_context(|| format!("cannot write {}", csv.display()))?;
        self.csv = Some(csv.clone());
        Ok(csv)
    }
}

/// The file in the pieces that are sent.
fn chunks(csv: &Path) -> anyhow::Result<Vec<std::io::Cursor<Vec<u8>>>> {
    let text = std::fs::read(csv)?;
    Ok(text.chunks(CHUNK_BYTES).map(|chunk| std::io::Cursor::new(chunk.to_vec())).collect())
}

fn find() -> anyhow::Result<PathBuf> {
    let here = std::env::current_dir()?;
    let found = here.ancestors().map(|directory| directory.join(FILE)).find(|path| path.is_file());
    found.with_context(|| {
        format!("{FILE} is neither here nor above; --data FILE names the flights.csv or flights.csv.gz")
    })
}
