//! What all works share: the place, the contestants, and what is said meanwhile.

use crate::flights::Flights;
use crate::postgres::Server;
use crate::works::Work;
use crate::{Options, Postgres};
use anyhow::Context;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// What the figures are about.
#[derive(Clone, Debug)]
pub struct About {
    pub version: &'static str,
    pub optimized: bool,
    pub cores: usize,
    pub runs: usize,
    /// PostgreSQL's version, or why it takes no part.
    pub postgres: Result<String, String>,
    /// Processes that wanted to run in the last minute before, where the system says: a busy machine measures itself.
    pub load: Option<f64>,
    place: PathBuf,
}

impl About {
    /// Two lines for people.
    pub fn text(&self) -> String {
        let Self { version, cores, runs, .. } = self;
        let load = self.load.map_or_else(String::new, |load| format!(" (load before: {load})"));
        let build = if self.optimized { "" } else { " (not optimized: the figures say little)" };
        let postgres = match &self.postgres {
            Ok(version) => format!("PostgreSQL {version}, default settings"),
            Err(reason) => format!("without PostgreSQL: {reason}"),
        };
        let runs =
            if *runs == 1 { "one run".to_string() } else { format!("median of {runs} interleaved runs (min–max)") };
        format!(
            "Evenkeel {version}{build}; {postgres}; {cores} cores{load}; files in {}.\n\
             Each figure is the {runs}; a ratio above 1 means Evenkeel is the better one.",
            self.place.display()
        )
    }
}

/// The place and the contestants. Fields are dropped in order: the server stops before its directory goes.
pub struct Bench {
    pub about: About,
    pub server: Option<Server>,
    pub flights: Flights,
    directory: TempDir,
}

impl Bench {
    /// Makes the temporary directory and starts PostgreSQL, if a work needs it.
    ///
    /// # Errors
    /// When the directory can't be made. A PostgreSQL that doesn't start takes no part.
    pub async fn new(options: &Options, works: &[Work]) -> anyhow::Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix("evenkeel-bench-");
        let directory = match &options.directory {
            Some(place) => builder.tempdir_in(place),
            None => builder.tempdir(),
        };
        let directory = directory.context("cannot make a temporary directory")?;
        // PostgreSQL may run as another user, who has to get through here; what is inside is closed to others.
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o711))?;
        let wanted = options.postgres == Postgres::Auto && works.iter().any(|work| work.needs_postgres());
        let server = if wanted {
            say("starting a private PostgreSQL");
            Server::start(&directory.path().join("postgres"))
        } else {
            Err("not asked for".to_string())
        };
        if let Err(reason) = &server
            && wanted
        {
            say(&format!("going on without PostgreSQL: {reason}"));
        }
        let about = About {
            version: env!("CARGO_PKG_VERSION"),
            optimized: !cfg!(debug_assertions),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            runs: options.runs.max(1),
            postgres: server.as_ref().map(|server| server.version().to_string()).map_err(Clone::clone),
            load: load_average(),
            place: directory.path().parent().unwrap_or(directory.path()).to_path_buf(),
        };
        let flights = Flights::new(options.data.clone());
        Ok(Self { about, server: server.ok(), flights, directory })
    }

    /// The temporary directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The flights of this run, loaded where they are not yet.
    ///
    /// # Errors
    /// As [`Flights::load`].
    pub async fn loaded(&mut self) -> anyhow::Result<()> {
        self.flights.load(self.directory.path(), self.server.as_ref()).await
    }
}

/// Processes that wanted to run in the last minute, where the system says.
pub fn load_average() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// Says how far the measuring has come.
pub fn say(text: &str) {
    eprintln!("{text}");
}

/// Says what a run came to.
pub fn say_run(run: usize, what: &str) {
    eprintln!("  run {}: {what}", run + 1);
}
