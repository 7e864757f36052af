//! `evenkeel generate`: files for other programs, made from what this one has.

use crate::arguments::{Arguments, Generated};
use anyhow::Context;
use clap::CommandFactory;
use std::io::Write;

/// For the database in /var/lib/evenkeel. A full disk or a damaged file is not mended by starting again: hence the limit.
const UNIT: &str = "\
[Unit]
Description=Evenkeel
Documentation=man:evenkeel(1)
After=network-online.target
Wants=network-online.target
StartLimitIntervalSec=300
StartLimitBurst=5

[Service]
ExecStart=/usr/bin/evenkeel serve --data /var/lib/evenkeel/data --http 127.0.0.1:8080
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
UMask=0077
NoNewPrivileges=yes
PrivateDevices=yes
PrivateTmp=yes
ProtectHome=yes
ProtectSystem=strict
ProtectControlGroups=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native

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
        Generated::Man { command } => man(command.as_deref())?,
        Generated::Grafana => evenkeel_http::grafana().into_bytes(),
        Generated::Openapi => evenkeel_http::openapi().into_bytes(),
        Generated::Systemd => UNIT.as_bytes().to_vec(),
    };
    std::io::stdout().write_all(&text).context("cannot write")
}

fn man(name: Option<&str>) -> anyhow::Result<Vec<u8>> {
    let mut command = Arguments::command();
    command.build();
    let found = match name {
        None => command,
        Some(name) => command.find_subcommand(name).cloned().with_context(|| format!("there is no command {name}"))?,
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(found).render(&mut page)?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let mut command = Arguments::command();
        command.build();
        assert!(!man(None).unwrap().is_empty());
        for subcommand in command.get_subcommands().filter(|command| command.get_name() != "help") {
            assert!(!man(Some(subcommand.get_name())).unwrap().is_empty());
        }
        assert!(man(Some("nothing")).is_err());
    }
}
