//! `evenkeel generate`: files for other programs, made from what this one has.

use crate::arguments::{Arguments, Generated};
use crate::configuration;
use anyhow::Context;
use clap::CommandFactory;
use std::io::Write;
use std::path::Path;

/// A full disk or a damaged file is not mended by starting again: hence the limit.
const UNIT: &str = "\
[Unit]
Description=Evenkeel
Documentation=man:evenkeel(1) man:evenkeel-serve(1)
After=network-online.target
Wants=network-online.target
StartLimitIntervalSec=300
StartLimitBurst=5

[Service]
# evenkeel generate config prints a file to begin with.
ExecStartPre=/usr/bin/evenkeel config check --config /etc/evenkeel/evenkeel.toml
ExecStart=/usr/bin/evenkeel serve --config /etc/evenkeel/evenkeel.toml
ExecReload=/usr/bin/evenkeel config check --config /etc/evenkeel/evenkeel.toml
ExecReload=/bin/kill -HUP $MAINPID
# EVENKEEL_ADMIN_PASSWORD=...
EnvironmentFile=-/etc/evenkeel/environment
Restart=on-failure
# Open transactions may end; a second signal would end them.
KillSignal=SIGTERM
TimeoutStopSec=60
LimitNOFILE=65536
DynamicUser=yes
StateDirectory=evenkeel
StateDirectoryMode=0700
ConfigurationDirectory=evenkeel
UMask=0077
CapabilityBoundingSet=
AmbientCapabilities=
NoNewPrivileges=yes
LockPersonality=yes
PrivateDevices=yes
PrivateTmp=yes
ProtectClock=yes
ProtectHome=yes
ProtectHostname=yes
ProtectSystem=strict
ProtectControlGroups=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
RemoveIPC=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service

[Install]
WantedBy=multi-user.target
";

pub fn print(what: Generated) -> anyhow::Result<()> {
    let text = match what {
        Generated::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "evenkeel", &mut script);
            script
        }
        Generated::Man { command, dir: None } => man(&command)?,
        Generated::Man { dir: Some(directory), .. } => return write_pages(&directory),
        Generated::Grafana => evenkeel_http::grafana().into_bytes(),
        Generated::Openapi => evenkeel_http::openapi().into_bytes(),
        Generated::Systemd => UNIT.as_bytes().to_vec(),
        Generated::Config => configuration::example::example().into_bytes(),
    };
    std::io::stdout().write_all(&text).context("cannot write")
}

/// The page of evenkeel, or of the command that these words name.
fn man(words: &[String]) -> anyhow::Result<Vec<u8>> {
    let mut found = Arguments::command().disable_help_subcommand(true);
    found.build();
    for word in words {
        let inner = found.find_subcommand(word).cloned();
        found = inner.with_context(|| format!("there is no command {}", words.join(" ")))?;
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(found).render(&mut page)?;
    Ok(page)
}

/// Every page with its file's name: evenkeel.1, evenkeel-serve.1, evenkeel-config-show.1 …
fn write_pages(directory: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let written = clap_mangen::generate_to(Arguments::command(), directory);
    written.with_context(|| format!("cannot write to {}", directory.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::Given;
    use clap::{FromArgMatches, Parser};

    #[test]
    fn every_command_has_a_page() {
        let directory = tempfile::tempdir().unwrap();
        let pages = directory.path().join("man1");
        write_pages(&pages).unwrap();
        for name in
            ["evenkeel", "evenkeel-serve", "evenkeel-config", "evenkeel-config-show", "evenkeel-bench-rebalance"]
        {
            assert!(pages.join(format!("{name}.1")).exists(), "{name}");
        }
    }

    #[test]
    fn a_page_is_found_by_the_words_of_its_command() {
        let page = |words: &[&str]| man(&words.iter().map(|word| word.to_string()).collect::<Vec<_>>());
        let text = |words: &[&str]| String::from_utf8(page(words).unwrap()).unwrap();
        assert!(text(&[]).contains("evenkeel\\-serve(1)"), "{}", text(&[]));
        assert!(text(&["serve"]).contains("tls\\-only"));
        assert!(text(&["config", "show"]).contains("origin"));
        assert!(page(&["nothing"]).is_err());
    }

    /// The arguments of a line that starts the program.
    fn parsed(line: &str) -> Given {
        let words = line.split_whitespace();
        let matches =
            Arguments::command().try_get_matches_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
        let mut innermost = &matches;
        while let Some((_, inner)) = innermost.subcommand() {
            innermost = inner;
        }
        Given::from_arg_matches(innermost).unwrap()
    }

    #[test]
    fn the_unit_starts_what_there_is() {
        let lines = UNIT.lines().filter_map(|line| line.split_once('='));
        let of = |wanted: &str| {
            lines.clone().filter(|(name, _)| *name == wanted).map(|(_, value)| value).collect::<Vec<_>>()
        };
        for line in of("ExecStart").into_iter().chain(of("ExecStartPre")) {
            assert_eq!(parsed(line).config.as_deref(), Some(Path::new("/etc/evenkeel/evenkeel.toml")), "{line}");
        }
        assert_eq!(of("ExecReload").last(), Some(&"/bin/kill -HUP $MAINPID"));
        // Where it may write is where the example puts the database.
        assert!(configuration::example::example().contains("data = \"/var/lib/evenkeel/data\""));
        assert_eq!(of("StateDirectory"), ["evenkeel"]);
    }

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
        assert!(Arguments::try_parse_from(["evenkeel", "serve", "--tls-only", "--data", "d"]).is_ok());
        assert!(Arguments::try_parse_from(["evenkeel", "serve", "--tls-only=false"]).is_ok());
        assert!(Arguments::try_parse_from(["evenkeel", "serve", "--auth", "nobody"]).is_err());
    }
}
