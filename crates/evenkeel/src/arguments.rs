//! The command line.

use crate::configuration::{Given, show};
use clap::{Args, Parser, Subcommand};
use evenkeel_benches::rebalance;
use evenkeel_shell::Format;
use std::path::PathBuf;

/// A sharded, SQL-flavoured database that keeps itself in balance.
#[derive(Debug, Parser)]
#[command(name = "evenkeel", version, arg_required_else_help = true)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Open a prompt, or run statements given with -c or on standard input
    ///
    /// What the URL of a server does not say, the environment does: PGHOST, PGPORT, PGUSER, PGPASSWORD, PGDATABASE, PGSSLMODE and
    /// PGSSLROOTCERT; a password is also looked for in ~/.pgpass, and asked for on a terminal. sslmode is disable, prefer (the
    /// default), require or verify-full, which needs sslrootcert=FILE.
    Shell {
        /// A server to connect to: postgres://user@host:5433/?sslmode=require; without it the database is one of this process
        #[arg(value_name = "SERVER", conflicts_with_all = ["data", "shards"])]
        server: Option<String>,
        #[command(flatten)]
        database: DatabaseArguments,
        #[command(flatten)]
        session: SessionArguments,
    },
    /// Run scripts; without any, standard input
    ///
    /// Exit codes: 0 all went well, 1 a statement or assertion failed, 2 wrong usage or an unreadable file, 130 interrupted.
    Run {
        #[command(flatten)]
        database: DatabaseArguments,
        #[command(flatten)]
        session: SessionArguments,
        /// Scripts in PQL, run one after another; - is standard input. One that begins with postgres:// is the server to run the
        /// others on, as `evenkeel shell` takes it
        #[arg(value_name = "[SERVER] FILE")]
        files: Vec<PathBuf>,
    },
    /// Serve a database to psql, drivers and other clients of PostgreSQL's protocol
    ///
    /// SIGTERM or Ctrl-C lets open transactions end and closes the database; a second one does so at once.
    /// SIGHUP reads the configuration again.
    Serve(Given),
    /// Look at the configuration of a server: its file, the environment and flags, as `serve` would take them
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Ask a server on this machine whether it answers
    ///
    /// It is found as `serve` would place it. Exit codes: 0 it answers, 2 it does not.
    Health(Given),
    /// Print what other programs read
    #[command(subcommand)]
    Generate(Generated),
    /// Load the flights of 2013 into a temporary database and look around
    Demo,
    /// Measure against raw RocksDB, and PostgreSQL where it is installed
    ///
    /// Exit codes: 0 everything measured is as fast as it should be, 1 something is not, 2 wrong usage or a failure.
    Bench(BenchArguments),
}

/// What is asked about the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Show every key and setting with its value
    ///
    /// What ALTER SYSTEM has set is shown where the database can be looked into: not while a server has it open.
    Show {
        #[command(flatten)]
        given: Given,
        /// Show where each value comes from, too
        #[arg(long)]
        origin: bool,
        /// How it is shown
        #[arg(long, value_name = "FORMAT", default_value = "table")]
        format: show::Format,
    },
    /// Say whether a server could be started with it
    ///
    /// Exit codes: 0 it is right, 2 it is not; every mistake is named with its place.
    Check(Given),
}

/// What can be printed.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Generated {
    /// Completion of this command line, for a shell to source
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// The manual pages: of evenkeel, or of one of its commands, or all of them as files
    Man {
        /// The command, in several words where it has commands of its own: config show
        #[arg(conflicts_with = "dir")]
        command: Vec<String>,
        /// Write every page into this directory, each under its own name
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// A Grafana dashboard of every metric
    Grafana,
    /// The REST interface in OpenAPI 3.1
    Openapi,
    /// A systemd unit that serves what /etc/evenkeel/evenkeel.toml says
    Systemd,
    /// An annotated evenkeel.toml
    Config,
}

/// What is measured.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct BenchArguments {
    #[command(subcommand)]
    pub suite: Option<Suite>,
    /// Measure only these works
    #[arg(long, value_name = "WORK", value_delimiter = ',', value_parser = evenkeel_benches::work_names())]
    pub only: Vec<String>,
    /// How often each contestant does each work
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub runs: usize,
    /// flights.csv or flights.csv.gz; without it tests/data/flights at or above the current directory
    #[arg(long, value_name = "FILE")]
    pub flights: Option<PathBuf>,
    /// Leave PostgreSQL out
    #[arg(long)]
    pub no_postgres: bool,
    /// Write the figures as JSON, too
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Measure the memory of work on a table of 2 GB, too: minutes
    #[arg(long)]
    pub memory: bool,
    /// Where the temporary files go
    #[arg(long, value_name = "DIR")]
    pub directory: Option<PathBuf>,
    /// The process whose memory is measured
    #[arg(long, value_name = "DIR", hide = true)]
    pub memory_child: Option<PathBuf>,
}

/// What is measured besides.
#[derive(Debug, Subcommand)]
pub enum Suite {
    /// Measure what moving rows between shards costs, and what sessions feel of it
    Rebalance(RebalanceArguments),
}

/// What is moved, and under which load.
#[derive(Debug, Args)]
pub struct RebalanceArguments {
    /// Measure only these works
    #[arg(long, value_name = "WORK", value_delimiter = ',', value_parser = rebalance::work_names())]
    pub only: Vec<String>,
    /// Everything small: whether it works, not how fast it is
    #[arg(long)]
    pub quick: bool,
    /// Which rows are asked for: uniform, zipfian, hot-tenant
    #[arg(long, value_name = "KEYS", default_value = "uniform")]
    pub keys: rebalance::Distribution,
    /// Reads among a hundred requests; the others are durable updates
    #[arg(long, value_name = "PERCENT", default_value_t = 80, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub reads: u8,
    /// Sessions that ask at the same time
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = sessions)]
    pub sessions: usize,
    /// Write the figures as JSON, too
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write a page with charts, too
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Where the temporary files go
    #[arg(long, value_name = "DIR")]
    pub directory: Option<PathBuf>,
}

impl From<RebalanceArguments> for rebalance::Options {
    fn from(arguments: RebalanceArguments) -> Self {
        let RebalanceArguments { only, quick, keys, reads, sessions, json, html, directory } = arguments;
        Self { only, quick, keys, reads, sessions, json, html, directory }
    }
}

fn sessions(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=1_000).contains(number));
    number.ok_or_else(|| "it takes 1 to 1000".to_string())
}

impl From<BenchArguments> for evenkeel_benches::Options {
    fn from(arguments: BenchArguments) -> Self {
        let postgres = match arguments.no_postgres {
            true => evenkeel_benches::Postgres::Off,
            false => evenkeel_benches::Postgres::Auto,
        };
        Self {
            data: arguments.flights,
            only: arguments.only,
            runs: arguments.runs,
            postgres,
            json: arguments.json,
            memory: arguments.memory,
            directory: arguments.directory,
            memory_child: arguments.memory_child,
        }
    }
}

/// Which database.
#[derive(Debug, Args)]
pub struct DatabaseArguments {
    /// The database's directory, made where there is none; without it the database is a temporary one
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Shards of a new database: 1 to 1024 [default: 4]
    #[arg(long, value_name = "N")]
    pub shards: Option<u32>,
}

/// How the session runs.
#[derive(Debug, Args)]
pub struct SessionArguments {
    /// Run these statements and leave; may be given several times
    #[arg(short, long, value_name = "PQL")]
    pub command: Vec<String>,
    /// How rows are shown: table, vertical, csv, json, ndjson or markdown
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<Format>,
    /// Give the parameter @NAME a value; may be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = assignment)]
    pub set: Vec<(String, String)>,
    /// Go on after an error
    #[arg(long)]
    pub keep_going: bool,
}

fn assignment(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("it takes name=value")?;
    let name = name.trim_start_matches('@');
    let plain = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    if plain { Ok((name.to_string(), value.to_string())) } else { Err(format!("\"{name}\" is no name")) }
}
