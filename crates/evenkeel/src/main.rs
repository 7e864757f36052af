//! Evenkeel: a sharded, SQL-flavoured database that keeps itself in balance.

mod arguments;
mod configuration;
mod demo;
#[cfg(test)]
mod deployment;
mod embedded;
mod generate;
mod health;
mod logs;
mod reload;
mod serve;
mod traces;

use anyhow::Context;
use arguments::{Arguments, BenchArguments, Command, ConfigCommand, DatabaseArguments, SessionArguments, Suite};
use clap::Parser;
use configuration::Problems;
use evenkeel_engine::{Database, OpenOptions, Session};
use evenkeel_model::Error;
use evenkeel_shell::connection::Connection;
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;

/// One allocator for RocksDB and everything else, which gives memory back a second after it was freed.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A usage error, or a database that cannot be opened.
const EXIT_USAGE: i32 = 2;

fn main() {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("ERROR: cannot start: {error}");
            std::process::exit(EXIT_USAGE);
        }
    };
    let code = runtime.block_on(run(arguments.command)).unwrap_or_else(|error| {
        match (error.downcast_ref::<Error>(), error.downcast_ref::<Problems>()) {
            (Some(error), _) => eprintln!("{}", evenkeel_pql::render(error, "", None)),
            (_, Some(problems)) => eprintln!("{problems}"),
            (None, None) => eprintln!("ERROR: {error:#}"),
        }
        EXIT_USAGE
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    std::process::exit(code);
}

async fn run(command: Command) -> anyhow::Result<i32> {
    // A server has a log of its own.
    if !matches!(command, Command::Serve(_)) {
        logs::warnings();
    }
    match command {
        Command::Shell { database, session } => {
            let opened = Opened::new(&database)?;
            let options = session.options(Some(opened.banner()), history());
            Ok(evenkeel_shell::interactive(opened.connection("evenkeel shell"), options).await)
        }
        Command::Run { database, session, files } => {
            let opened = Opened::new(&database)?;
            let options = session.options(None, None);
            Ok(evenkeel_shell::run(opened.connection("evenkeel run"), options, &files).await)
        }
        Command::Serve(given) => serve::run(given).await,
        Command::Config(ConfigCommand::Show { given, origin, format }) => {
            configuration::show::show(&given, origin, format)
        }
        Command::Config(ConfigCommand::Check(given)) => configuration::show::check(&given),
        Command::Health(given) => health::check(&given).await,
        Command::Generate(what) => generate::print(what).map(|()| 0),
        Command::Demo => demo::run().await,
        Command::Bench(BenchArguments { suite: Some(Suite::Rebalance(arguments)), .. }) => {
            evenkeel_benches::rebalance::run(arguments.into()).await
        }
        Command::Bench(arguments) => evenkeel_benches::run(arguments.into()).await,
    }
}

/// An open database, and its directory if that is to go away again.
struct Opened {
    database: Arc<Database>,
    temporary: Option<TempDir>,
}

impl Opened {
    fn new(arguments: &DatabaseArguments) -> anyhow::Result<Self> {
        let options = OpenOptions { shards: arguments.shards, ..OpenOptions::default() };
        match &arguments.data {
            Some(directory) => Ok(Self { database: Database::open(directory, &options)?, temporary: None }),
            None => {
                let temporary = tempfile::Builder::new()
                    .prefix("evenkeel-")
                    .tempdir()
                    .context("cannot make a temporary directory")?;
                Ok(Self { database: Database::open(temporary.path(), &options)?, temporary: Some(temporary) })
            }
        }
    }

    fn connection(&self, application: &str) -> Arc<dyn Connection> {
        Arc::new(embedded::Embedded::new(Session::new(&self.database, application)))
    }

    fn banner(&self) -> String {
        let version = env!("CARGO_PKG_VERSION");
        let shards = self.database.shard_count();
        let place = match &self.temporary {
            Some(_) => "a temporary database, gone when you leave; --data DIR keeps one".to_string(),
            None => self.database.directory().display().to_string(),
        };
        format!("Evenkeel {version}, {shards} shards, {place}.\nStatements end with ;  \\? helps, \\q leaves.")
    }
}

fn history() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    let directory = state.or_else(home)?.join("evenkeel");
    std::fs::create_dir_all(&directory).ok()?;
    Some(directory.join("history"))
}

impl SessionArguments {
    fn options(self, banner: Option<String>, history: Option<PathBuf>) -> evenkeel_shell::Options {
        evenkeel_shell::Options {
            format: self.format,
            variables: self.set,
            keep_going: self.keep_going,
            commands: self.command,
            history,
            banner,
            ..evenkeel_shell::Options::default()
        }
    }
}
