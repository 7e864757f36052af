//! The command line.

use clap::{Args, Parser, Subcommand};
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
    Shell {
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
        /// Scripts in PQL, run one after another; - is standard input
        files: Vec<PathBuf>,
    },
    /// Load the flights of 2013 into a temporary database and look around
    Demo,
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
