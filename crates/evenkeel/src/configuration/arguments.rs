//! The keys as flags: one for each, and `--config` and `--set` beside them.

use super::keys::{CONFIG_VARIABLE, KEYS, Key, Kind};
use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, ValueHint};
use std::path::PathBuf;

const CONFIG: &str = "config";
const SET: &str = "set";

/// What the command line says about the configuration.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// The file, if one is named.
    pub config: Option<PathBuf>,
    pub flags: Vec<(&'static str, String)>,
    pub sets: Vec<(String, String)>,
}

impl Given {
    fn of(matches: &ArgMatches) -> Self {
        let flag = |key: &Key| Some((key.name, matches.get_one::<String>(key.name)?.clone()));
        let sets = matches.get_many::<(String, String)>(SET).into_iter().flatten().cloned();
        Self {
            config: matches.get_one::<PathBuf>(CONFIG).cloned(),
            flags: KEYS.iter().filter_map(flag).collect(),
            sets: sets.collect(),
        }
    }
}

impl FromArgMatches for Given {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self::of(matches))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::of(matches);
        Ok(())
    }
}

impl Args for Given {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new(CONFIG)
            .long(CONFIG)
            .value_name("FILE")
            .value_hint(ValueHint::FilePath)
            .value_parser(clap::value_parser!(PathBuf))
            .help(format!("The configuration file [default: {CONFIG_VARIABLE}, or evenkeel.toml where there is one]"));
        let set = Arg::new(SET)
            .long(SET)
            .value_name("NAME=VALUE")
            .action(ArgAction::Append)
            .value_parser(assignment)
            .help("A setting's value, unless ALTER SYSTEM has set another; may be given several times");
        command.arg(config).args(KEYS.iter().map(argument)).arg(set)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn argument(key: &Key) -> Arg {
    let default = key.default.filter(|_| key.kind != Kind::Switch);
    let default = default.map_or_else(String::new, |default| format!(" [default: {default}]"));
    let argument =
        Arg::new(key.name).long(key.long).value_name(key.value_name).help(format!("{}{default}", key.description));
    match key.kind {
        Kind::Path if key.value_name == "DIR" => argument.value_hint(ValueHint::DirPath),
        Kind::Path => argument.value_hint(ValueHint::FilePath),
        Kind::Word(words) => argument.value_parser(PossibleValuesParser::new(words)),
        Kind::Switch => argument
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .value_parser(PossibleValuesParser::new(["true", "false"])),
        Kind::Collector => argument.value_hint(ValueHint::Url),
        Kind::Shards | Kind::Address | Kind::Filter => argument,
    }
}

fn assignment(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("it takes name=value")?;
    Ok((name.trim().to_string(), value.trim().to_string()))
}
