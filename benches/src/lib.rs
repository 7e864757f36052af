//! Measures Evenkeel against raw RocksDB and PostgreSQL on the same machine, in one run.
//!
//! Seconds say more about a machine than about a database, so what counts here are ratios: the same work is done by
//! Evenkeel, by a private PostgreSQL with its default settings, and, where that is the floor that can't be undercut, by
//! bare RocksDB over the same keys and values. The contestants take turns, so that a noisy minute hits all of them; each
//! figure is the median of the runs, beside the least and the greatest.
//!
//! ```text
//! run ─▶ Bench: directory, data file, PostgreSQL ─▶ works::* ─▶ Measured ─▶ report: table, JSON, exit code
//! ```
//!
//! Everything lives in one temporary directory that goes away at the end, also after an interruption; all contestants
//! use the same file system. What moving rows between shards costs is measured by [`rebalance`].

mod bench;
mod evenkeel;
mod figures;
mod flights;
mod postgres;
mod random;
mod raw;
pub mod rebalance;
mod report;
mod works;

use anyhow::{Context, bail};
use bench::Bench;
use std::path::PathBuf;
use tokio::signal::unix::{SignalKind, signal};
use works::Work;

/// Exit codes: everything that was measured is as fast as it should be, something is not, interrupted.
const EXIT_MET: i32 = 0;
const EXIT_MISSED: i32 = 1;
const EXIT_INTERRUPTED: i32 = 130;

/// Whether PostgreSQL takes part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Postgres {
    /// If one of version 15 or later is installed.
    #[default]
    Auto,
    /// Never.
    Off,
}

/// What is measured, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// `flights.csv` or `flights.csv.gz`; without it `tests/data/flights` at or above the current directory.
    pub data: Option<PathBuf>,
    /// Names of works; empty means all but `memory`.
    pub only: Vec<String>,
    /// How often each contestant does each work.
    pub runs: usize,
    /// Whether PostgreSQL takes part.
    pub postgres: Postgres,
    /// Where the figures are written as JSON.
    pub json: Option<PathBuf>,
    /// Whether the memory of work on a large table is measured too; that takes minutes.
    pub memory: bool,
    /// Where the temporary directory is made; the system's place for them where there is none.
    pub directory: Option<PathBuf>,
    /// This process is the one whose memory is measured, and works in this directory.
    pub memory_child: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            data: None,
            only: Vec::new(),
            runs: 5,
            postgres: Postgres::Auto,
            json: None,
            memory: false,
            directory: None,
            memory_child: None,
        }
    }
}

/// Names of the works that [`Options::only`] takes.
pub fn work_names() -> Vec<&'static str> {
    Work::ALL.iter().map(|work| work.name()).collect()
}

/// Measures and reports. Returns the exit code: 0 when everything that was measured is as fast as it should be, 1 when
/// something is not, 130 when it was interrupted.
///
/// # Errors
/// For an unknown work, a data file that is not there, a disk that fails, or an answer that is not right.
pub async fn run(options: Options) -> anyhow::Result<i32> {
    if let Some(directory) = &options.memory_child {
        works::memory::child(directory).await?;
        return Ok(EXIT_MET);
    }
    until_interrupted(measure(&options)).await
}

/// Goes on until the end, or until a signal comes: noticed at the next wait, so that whoever is starting or stopping something
/// gets to the end of it.
async fn until_interrupted(measuring: impl Future<Output = anyhow::Result<i32>>) -> anyhow::Result<i32> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        outcome = measuring => outcome,
        _ = interrupt.recv() => Ok(EXIT_INTERRUPTED),
        _ = terminate.recv() => Ok(EXIT_INTERRUPTED),
    }
}

async fn measure(options: &Options) -> anyhow::Result<i32> {
    let works = chosen(options)?;
    let mut bench = Bench::new(options, &works).await?;
    let mut measured = Vec::new();
    for work in works {
        bench::say(work.title());
        let figures = work.measure(&mut bench).await.with_context(|| format!("while measuring {}", work.name()))?;
        measured.push(figures);
    }
    report::print(&bench.about, &measured)?;
    if let Some(path) = &options.json {
        let text = format!("{:#}\n", report::json(&bench.about, &measured));
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let missed = measured.iter().any(|measured| measured.met() == Some(false));
    Ok(if missed { EXIT_MISSED } else { EXIT_MET })
}

/// The works to measure, in their own order.
fn chosen(options: &Options) -> anyhow::Result<Vec<Work>> {
    for name in &options.only {
        if !Work::ALL.iter().any(|work| work.name() == name) {
            bail!("there is no work \"{name}\"; there are {}", work_names().join(", "));
        }
    }
    let named = |work: &Work| options.only.iter().any(|name| name == work.name());
    let wanted = |work: &Work| match work {
        Work::Memory => options.memory || named(work),
        _ => options.only.is_empty() || named(work),
    };
    Ok(Work::ALL.iter().copied().filter(wanted).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_measured_only_when_asked_for() {
        let all = chosen(&Options::default()).unwrap();
        assert!(all.contains(&Work::Copy) && !all.contains(&Work::Memory));
        let with = chosen(&Options { memory: true, ..Options::default() }).unwrap();
        assert_eq!(with, Work::ALL);
    }

    #[test]
    fn works_are_chosen_by_name_and_keep_their_order() {
        let only = vec!["scan".to_string(), "copy".to_string()];
        assert_eq!(chosen(&Options { only, ..Options::default() }).unwrap(), [Work::Copy, Work::Scan]);
        let only = vec!["scam".to_string()];
        let error = chosen(&Options { only, ..Options::default() }).unwrap_err().to_string();
        assert!(error.contains("scam") && error.contains("scan"), "{error}");
    }
}
