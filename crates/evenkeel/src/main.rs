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
use embedded::Embedded;
use evenkeel_engine::{Database, OpenOptions};
use evenkeel_model::{Error, SqlState};
use evenkeel_shell::connection::Connection;
use evenkeel_shell::remote::{Address, Remote, Target};
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;

/// One allocator for RocksDB and everything else, which gives memory back a second after it was freed.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A usage error, or a database or server that cannot be reached.
const EXIT_USAGE: i32 = 2;
/// What the prompt says first of itself.
const USAGE: &str = "Statements end with ;  \\? helps, \\q leaves.";

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
        Command::Shell { server, database, session } => {
            let opened = Opened::new(server.as_deref(), &database, "evenkeel shell").await?;
            let options = session.options(Some(opened.banner), history());
            let code = evenkeel_shell::interactive(opened.connection, options).await;
            close(opened.local).await;
            Ok(code)
        }
        Command::Run { database, session, mut files } => {
            let is_server = |file: &PathBuf| file.to_str().is_some_and(Address::is_meant);
            let server = files.first().is_some_and(is_server).then(|| files.remove(0).display().to_string());
            let opened = Opened::new(server.as_deref(), &database, "evenkeel run").await?;
            let code = evenkeel_shell::run(opened.connection, session.options(None, None), &files).await;
            close(opened.local).await;
            Ok(code)
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

/// What the shell is connected to.
struct Opened {
    connection: Arc<dyn Connection>,
    banner: String,
    /// Where that is a database of this process.
    local: Option<Local>,
}

/// A database of this process, and its directory if that is to go away again.
struct Local {
    server: Embedded,
    database: Arc<Database>,
    temporary: Option<TempDir>,
}

impl Opened {
    /// Connects to a server, or opens a database.
    async fn new(server: Option<&str>, database: &DatabaseArguments, application: &str) -> anyhow::Result<Self> {
        let Some(url) = server else {
            let local = Local::open(database)?;
            let connection = Arc::new(local.server.connect(application).await?);
            return Ok(Self { connection, banner: local.banner(), local: Some(local) });
        };
        if database.data.is_some() || database.shards.is_some() {
            let message = "--data and --shards are of a database in this process, and postgres://… is a server";
            return Err(Error::new(SqlState::InvalidParameterValue, message).with_hint("give one of the two").into());
        }
        let address = Address::parse(url, |name| std::env::var(name).ok())?;
        let (place, user) = (address.to_string(), address.user.clone());
        let connection = Remote::connect(Target::Network(address), application).await?;
        let (version, server) = (env!("CARGO_PKG_VERSION"), connection.server_version());
        let encrypted = if connection.is_encrypted() { "encrypted" } else { "not encrypted" };
        let banner = format!("Evenkeel {version}, connected to {place} ({server}) as {user}, {encrypted}.");
        Ok(Self { connection: Arc::new(connection), banner: format!("{banner}\n{USAGE}"), local: None })
    }
}

impl Local {
    fn open(arguments: &DatabaseArguments) -> anyhow::Result<Self> {
        let options = OpenOptions { shards: arguments.shards, ..OpenOptions::default() };
        let (database, temporary) = match &arguments.data {
            Some(directory) => (Database::open(directory, &options)?, None),
            None => {
                let temporary = tempfile::Builder::new()
                    .prefix("evenkeel-")
                    .tempdir()
                    .context("cannot make a temporary directory")?;
                (Database::open(temporary.path(), &options)?, Some(temporary))
            }
        };
        Ok(Self { server: Embedded::new(&database), database, temporary })
    }

    fn banner(&self) -> String {
        let version = env!("CARGO_PKG_VERSION");
        let shards = self.database.shard_count();
        let place = match &self.temporary {
            Some(_) => "a temporary database, gone when you leave; --data DIR keeps one".to_string(),
            None => self.database.directory().display().to_string(),
        };
        format!("Evenkeel {version}, {shards} shards, {place}.\n{USAGE}")
    }
}

/// Ends the sessions of a database of this process, so that it closes.
async fn close(local: Option<Local>) {
    if let Some(Local { server, database, temporary }) = local {
        server.end().await;
        database.close();
        drop(temporary);
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
