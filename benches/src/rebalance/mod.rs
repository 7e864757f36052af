//! Measures what moving rows costs: the moves themselves, and what a foreground feels of them.
//!
//! Rows move while sessions read and update them as fast as they are answered; what was acknowledged is counted and looked
//! for afterwards. Seconds say more about a machine than about a database, so a raw copy by RocksDB of the same rows stands
//! beside the migration, and the foreground is compared with itself before.
//!
//! ```text
//! run ─▶ Bench: directory, sizes, traffic ─▶ Work::measure ─▶ Outcome: findings, periods, timeline ─▶ table, JSON, HTML
//!                                              ├─ stage: a database whose rows move
//!                                              ╰─ load: sessions ─▶ Record ─▶ windows
//! ```
//!
mod chart;
mod cutovers;
mod finding;
mod html;
mod keys;
mod load;
mod migrate;
mod plan;
mod report;
mod skewed;
mod slowdown;
mod stage;
mod statistics;

use crate::bench::say;
use crate::{EXIT_MET, EXIT_MISSED, until_interrupted};
use anyhow::{Context, bail};
use finding::Outcome;
pub use finding::thousands;
pub use keys::Distribution;
use load::Traffic;
pub use load::{Record, Window};
use stage::Stage;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// What is measured, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Names of works; empty means all.
    pub only: Vec<String>,
    /// Everything small: whether it works, not how fast it is.
    pub quick: bool,
    /// Which rows the foreground asks for.
    pub keys: Distribution,
    /// Reads among a hundred requests; the others are durable updates.
    pub reads: u8,
    /// Sessions of the foreground.
    pub sessions: usize,
    /// Where the figures are written as JSON.
    pub json: Option<PathBuf>,
    /// Where the page with the charts is written.
    pub html: Option<PathBuf>,
    /// Where the temporary directory is made; the system's place for them where there is none.
    pub directory: Option<PathBuf>,
}

/// One work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    Migrate,
    Loaded,
    Slowdown,
    Cutovers,
    Plan,
    Skewed,
    Statistics,
}

impl Work {
    /// All works, in the order in which they are measured.
    pub const ALL: [Self; 7] =
        [Self::Plan, Self::Migrate, Self::Loaded, Self::Slowdown, Self::Cutovers, Self::Skewed, Self::Statistics];

    /// What the command line calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Migrate => "migrate",
            Self::Loaded => "loaded",
            Self::Slowdown => "slowdown",
            Self::Cutovers => "cutovers",
            Self::Plan => "plan",
            Self::Skewed => "skewed",
            Self::Statistics => "statistics",
        }
    }

    /// What the table calls it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Migrate => "migration, no load",
            Self::Loaded => "migration, full load",
            Self::Slowdown => "slowdown, defaults",
            Self::Cutovers => "cutovers, full load",
            Self::Plan => "plan for many shards",
            Self::Skewed => "rebalance of 80 % in one",
            Self::Statistics => "statistics of writes",
        }
    }

    async fn measure(self, bench: &mut Bench) -> anyhow::Result<Outcome> {
        match self {
            Self::Migrate => migrate::alone(bench).await,
            Self::Loaded => migrate::loaded(bench).await,
            Self::Slowdown => slowdown::measure(bench).await,
            Self::Cutovers => cutovers::measure(bench).await,
            Self::Plan => plan::measure(bench),
            Self::Skewed => skewed::measure(bench).await,
            Self::Statistics => statistics::measure(bench).await,
        }
    }
}

/// Names of the works that [`Options::only`] takes.
pub fn work_names() -> Vec<&'static str> {
    Work::ALL.map(Work::name).to_vec()
}

/// How large everything is.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    /// Rows that move as a whole.
    rows: usize,
    /// Rows where only some move.
    small_rows: usize,
    /// How often what varies is repeated.
    runs: usize,
    /// Seconds of calm before and after a migration.
    window: f64,
    /// Jobs in which all rows move where the foreground is compared with itself, and the least seconds of calm between two.
    pieces: u32,
    between: f64,
    /// Seconds that a throttled migration has.
    limit: f64,
    /// Turns of each database where two are compared with each other.
    turns: usize,
    cutovers: usize,
    /// Shards and slots to plan for.
    planned: (usize, usize),
    /// And others, for comparison.
    planned_besides: &'static [(usize, usize)],
}

impl Sizes {
    const FULL: Self = Self {
        rows: 1_000_000,
        small_rows: 200_000,
        runs: 3,
        window: 8.0,
        pieces: 24,
        between: 1.0,
        limit: 240.0,
        turns: 40,
        cutovers: 1_000,
        planned: (10_000, 65_536),
        planned_besides: &[(10_000, 8_192), (10_000, 16_384), (10_000, 65_536), (10_000, 1_048_576), (1_000, 65_536)],
    };
    const QUICK: Self = Self {
        rows: 100_000,
        small_rows: 50_000,
        runs: 1,
        window: 1.0,
        pieces: 8,
        between: 0.5,
        limit: 10.0,
        turns: 4,
        cutovers: 50,
        planned: (1_000, 65_536),
        planned_besides: &[(1_000, 1_024), (1_000, 8_192)],
    };
    /// For a test.
    #[cfg(test)]
    const TINY: Self = Self {
        rows: 3_000,
        small_rows: 20_000,
        runs: 1,
        window: 0.2,
        pieces: 3,
        between: 0.1,
        limit: 10.0,
        turns: 1,
        cutovers: 4,
        planned: (10, 8_192),
        planned_besides: &[(10, 8)],
    };
}

/// What all works share. Fields are dropped in order: the database closes before its directory goes.
struct Bench {
    sizes: Sizes,
    traffic: Traffic,
    moving: Option<Stage>,
    /// Which of two shards has the rows that move as a whole.
    home: u32,
    /// Updates of those rows that were acknowledged.
    acknowledged: usize,
    directory: TempDir,
}

impl Bench {
    fn new(sizes: Sizes, traffic: Traffic, place: Option<&Path>) -> anyhow::Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix("evenkeel-bench-");
        let directory = place.map_or_else(|| builder.tempdir(), |place| builder.tempdir_in(place));
        let directory = directory.context("cannot make a temporary directory")?;
        Ok(Self { sizes, traffic, moving: None, home: 1, acknowledged: 0, directory })
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The database whose rows all move from one shard to another and back.
    async fn moving(&mut self) -> anyhow::Result<&Stage> {
        if self.moving.is_none() {
            say(&format!("  filling {} rows", self.sizes.rows));
            let stage = Stage::create(&self.path().join("moving"), 1, self.sizes.rows).await?;
            stage.evenkeel.execute("ADD SHARD").await?;
            self.moving = Some(stage);
        }
        self.moving.as_ref().context("there is no database")
    }

    /// From where to where they go next.
    fn moving_ends(&self) -> (u32, u32) {
        (self.home, 3 - self.home)
    }

    fn moved_to(&mut self, shard: u32) {
        self.home = shard;
    }
}

/// What the figures are about.
#[derive(Clone, Debug)]
struct About {
    quick: bool,
    cores: usize,
    load: Option<f64>,
    traffic: Traffic,
    sizes: Sizes,
}

impl About {
    fn text(&self) -> String {
        let Self { cores, sizes, .. } = self;
        let load = self.load.map_or_else(String::new, |load| format!(" (load before: {load})"));
        let build = if cfg!(debug_assertions) { " (not optimized: the figures say little)" } else { "" };
        let quick = if self.quick { "; quick: the figures say little" } else { "" };
        format!(
            "Evenkeel {}{build}; {cores} cores{load}; {} rows; medians of {} runs (least to greatest){quick}.\nForeground: {}.",
            env!("CARGO_PKG_VERSION"),
            thousands(sizes.rows as f64),
            sizes.runs,
            self.traffic.text(),
        )
    }
}

/// Measures and reports. Returns the exit code: 0 when every target that was measured is met, 1 when one is not, 130 when it
/// was interrupted.
///
/// # Errors
/// For an unknown work, a disk that fails, a migration that fails, and rows or updates that are missing.
pub async fn run(options: Options) -> anyhow::Result<i32> {
    let sizes = if options.quick { Sizes::QUICK } else { Sizes::FULL };
    until_interrupted(measure(&options, sizes)).await
}

async fn measure(options: &Options, sizes: Sizes) -> anyhow::Result<i32> {
    let works = chosen(&options.only)?;
    let traffic = Traffic { keys: options.keys, reads: options.reads.min(100), sessions: options.sessions.max(1) };
    let mut bench = Bench::new(sizes, traffic, options.directory.as_deref())?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let about = About { quick: options.quick, cores, load: crate::bench::load_average(), traffic, sizes };
    let mut outcomes = Vec::new();
    for work in works {
        say(work.title());
        let outcome = work.measure(&mut bench).await.with_context(|| format!("while measuring {}", work.name()))?;
        outcomes.push(outcome);
    }
    report::print(&about, &outcomes)?;
    if let Some(path) = &options.json {
        write(path, &format!("{:#}\n", report::json(&about, &outcomes)))?;
    }
    if let Some(path) = &options.html {
        write(path, &html::page(&about, &outcomes))?;
    }
    Ok(if outcomes.iter().any(Outcome::has_missed) { EXIT_MISSED } else { EXIT_MET })
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// The works to measure, in their own order.
fn chosen(only: &[String]) -> anyhow::Result<Vec<Work>> {
    if let Some(name) = only.iter().find(|name| !work_names().contains(&name.as_str())) {
        bail!("there is no work \"{name}\"; there are {}", work_names().join(", "));
    }
    let wanted = |work: &Work| only.is_empty() || only.iter().any(|name| name == work.name());
    Ok(Work::ALL.into_iter().filter(wanted).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn every_work_runs_and_is_reported() {
        let place = tempfile::tempdir().unwrap();
        let (json, html) = (place.path().join("figures.json"), place.path().join("figures.html"));
        let options = Options {
            only: Vec::new(),
            quick: true,
            keys: Distribution::HotTenant,
            reads: 50,
            sessions: 2,
            json: Some(json.clone()),
            html: Some(html.clone()),
            directory: Some(place.path().to_path_buf()),
        };
        let code = measure(&options, Sizes::TINY).await.unwrap();
        assert!(code == EXIT_MET || code == EXIT_MISSED);
        let figures: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
        let works: Vec<_> = figures["works"].as_array().unwrap().iter().map(|work| &work["name"]).collect();
        assert_eq!(works, work_names());
        for work in figures["works"].as_array().unwrap() {
            let findings = work["findings"].as_array().unwrap();
            assert!(!findings.is_empty() && findings.iter().all(|finding| finding["median"].is_number()), "{work}");
            let errors = findings.iter().find(|finding| finding["what"] == "errors that clients saw");
            assert!(errors.is_none_or(|errors| errors["median"] == 0.0), "{work}");
        }
        let page = std::fs::read_to_string(html).unwrap();
        assert!(page.contains("<svg") && !page.contains("<script") && page.ends_with("</html>\n"));
    }

    #[test]
    fn an_unknown_work_is_told_what_there_is() {
        let error = chosen(&["migrat".to_string()]).unwrap_err().to_string();
        assert!(error.contains("\"migrat\"") && error.contains("slowdown"), "{error}");
        assert_eq!(chosen(&["skewed".to_string(), "plan".to_string()]).unwrap(), [Work::Plan, Work::Skewed]);
    }
}
