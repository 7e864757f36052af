//! `evenkeel serve`: a database behind PostgreSQL's protocol, and behind HTTP where that is asked for, until it is told to
//! stop.
//!
//! Everything that can be refused is refused before there is a database: a start that fails leaves no directory behind.

#![expect(clippy::print_stdout, reason = "where it listens is what it prints")]

use crate::configuration::keys::PASSWORD_VARIABLE;
use crate::configuration::{Auth, Configuration, Encryption, Given, LogFormat, load};
use crate::logs::Logs;
use crate::reload::Running;
use anyhow::Context;
use evenkeel_engine::{Database, OpenOptions, Verifier};
use evenkeel_model::Error;
use evenkeel_wire::{Certificate, Tls};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Wrong usage, or a database that cannot be opened.
const EXIT_REFUSED: i32 = 2;

/// Signals that end the server, and the one that reloads its configuration.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// What a signal asks for.
enum Asked {
    Stop,
    Reload,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Stop,
            _ = self.interrupt.recv() => Asked::Stop,
            _ = self.hangup.recv() => Asked::Reload,
        }
    }

    /// Resolves when the server is to stop; until then it reloads.
    async fn stop(&mut self, running: &mut Running<'_>) {
        while matches!(self.next().await, Asked::Reload) {
            running.reload();
        }
    }
}

pub async fn run(given: Given) -> anyhow::Result<i32> {
    let signals = Signals::new()?;
    let loaded = load(&given)?;
    let configuration = loaded.resolved.configuration()?;
    let tls = encryption(&configuration)?;
    let logs = Logs::start(&configuration)?;
    let served = serve(signals, given, loaded, &configuration, tls, &logs).await;
    let ended = match served {
        Err(error) if configuration.log_format == LogFormat::Json => {
            let hint = error.downcast_ref::<Error>().and_then(|error| error.hint.clone());
            tracing::error!(error = format!("{error:#}"), hint, "server failed");
            Ok(EXIT_REFUSED)
        }
        Err(error) => Err(error),
        Ok(()) => Ok(0),
    };
    logs.end();
    ended
}

async fn serve(
    mut signals: Signals,
    given: Given,
    loaded: crate::configuration::Loaded,
    configuration: &Configuration,
    tls: Option<Tls>,
    logs: &Logs,
) -> anyhow::Result<()> {
    let password = loaded.resolved.admin_password.clone();
    if let (Auth::Scram, Some(password)) = (configuration.auth, &password) {
        Verifier::of(password)?;
    }
    let (options, listeners) = (options(configuration, &tls), Listeners::bind(configuration).await?);
    let open = OpenOptions {
        shards: configuration.shards,
        configured: loaded.resolved.configured(),
        ..OpenOptions::default()
    };
    let database = Database::open(&configuration.data, &open)?;
    let servers = Servers::over(listeners, &database, options, configuration);
    // Only now: a password is said once, and a start that is refused must not have said it.
    if configuration.auth == Auth::Scram {
        first_admin(&database, password.as_deref())?;
    }
    servers.greet(&database, configuration, loaded.file.as_deref())?;
    let mut running = Running::new(given, loaded, logs, tls, &database);
    servers.run(&mut signals, &mut running).await?;
    drop(running);
    database.close();
    println!("stopped");
    tracing::info!("server stopped");
    Ok(())
}

/// Addresses that were taken.
struct Listeners {
    wire: TcpListener,
    http: Option<TcpListener>,
}

impl Listeners {
    async fn bind(configuration: &Configuration) -> anyhow::Result<Self> {
        let wire = evenkeel_wire::listen(configuration.listen, configuration.auth.of_wire()).await?;
        let encrypted = configuration.encryption != Encryption::None;
        let http = match configuration.http {
            Some(address) => Some(evenkeel_http::listen(address, configuration.auth.of_http(), encrypted).await?),
            None => None,
        };
        Ok(Self { wire, http })
    }
}

fn options(configuration: &Configuration, tls: &Option<Tls>) -> evenkeel_wire::Options {
    evenkeel_wire::Options {
        listen: configuration.listen,
        authentication: configuration.auth.of_wire(),
        tls: tls.clone(),
        tls_only: configuration.tls_only,
    }
}

/// What serves.
struct Servers {
    wire: evenkeel_wire::Server,
    http: Option<evenkeel_http::Server>,
}

impl Servers {
    fn over(
        listeners: Listeners,
        database: &Arc<Database>,
        options: evenkeel_wire::Options,
        configuration: &Configuration,
    ) -> Self {
        let tls = options.tls.as_ref().map(Tls::acceptor);
        let wire = evenkeel_wire::Server::over(listeners.wire, database, options);
        let http = listeners.http.zip(configuration.http).map(|(listener, listen)| {
            let connections: evenkeel_http::Connections = Box::new(wire.connections());
            let options = evenkeel_http::Options {
                listen,
                authentication: configuration.auth.of_http(),
                tls,
                connections: vec![("postgresql", connections)],
            };
            evenkeel_http::Server::over(listener, database, options)
        });
        Self { wire, http }
    }

    fn greet(
        &self,
        database: &Database,
        configuration: &Configuration,
        file: Option<&std::path::Path>,
    ) -> anyhow::Result<()> {
        let (version, shards) = (env!("CARGO_PKG_VERSION"), database.shard_count());
        println!("Evenkeel {version}, {shards} shards, {}", configuration.data.display());
        let address = self.wire.address()?;
        println!("listening on {address}: evenkeel shell (or psql) postgres://admin@{}", reached_from_here(address));
        let http = self.http.as_ref().map(evenkeel_http::Server::address).transpose()?;
        if let Some(http) = http {
            let encrypted = configuration.encryption != Encryption::None;
            println!("listening on http{}://{http}", if encrypted { "s" } else { "" });
        }
        tracing::info!(
            version,
            file = file.map(|file| file.display().to_string()),
            listen = %address,
            http = http.map(|http| http.to_string()),
            auth = configuration.auth.name(),
            encrypted = configuration.encryption != Encryption::None,
            "server started"
        );
        Ok(())
    }

    /// Serves until a signal, and then until everything is answered, or another signal. HTTP ends last, so that `/readyz`
    /// can say meanwhile that the server stops.
    async fn run(self, signals: &mut Signals, running: &mut Running<'_>) -> anyhow::Result<()> {
        let Self { wire, http } = self;
        let (stop, stop_http) = (wire.stop(), http.as_ref().map(evenkeel_http::Server::stop));
        let http = tokio::spawn(async move {
            if let Some(http) = http {
                http.serve().await;
            }
        });
        let end_http = stop_http.clone();
        let mut serving = tokio::spawn(async move {
            wire.serve().await;
            if let Some(stop) = end_http {
                stop.end();
            }
            http.await
        });
        tokio::select! {
            ended = &mut serving => return ended.and_then(|http| http).context("the server failed"),
            () = signals.stop(running) => {}
        }
        println!("stopping: open transactions may end; once more stops at once");
        tracing::info!("server stopping");
        stop.drain();
        stop_http.iter().for_each(evenkeel_http::Stop::drain);
        tokio::select! {
            ended = &mut serving => return ended.and_then(|http| http).context("the server failed"),
            () = signals.stop(running) => {}
        }
        tracing::info!("server stopping at once");
        stop.now();
        stop_http.iter().for_each(evenkeel_http::Stop::now);
        serving.await.and_then(|http| http).context("the server failed")
    }
}

/// An address that a client on this machine can use: one that stands for all addresses is none of them.
fn reached_from_here(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        let ip: IpAddr = if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
        address.set_ip(ip);
    }
    address
}

/// Sees to it that somebody can get in.
fn first_admin(database: &Database, given: Option<&str>) -> anyhow::Result<()> {
    if let Some(password) = database.ensure_admin(given)? {
        println!("the first user is \"admin\", with the password {password}");
        println!(
            "it is not shown again; ALTER USER admin PASSWORD '…' sets another, {PASSWORD_VARIABLE} gives the first"
        );
    }
    Ok(())
}

/// The certificate that a configuration names, read and checked.
///
/// # Errors
/// Files that can't be read, or hold something else.
pub fn certificate(configuration: &Configuration) -> anyhow::Result<Option<Certificate>> {
    match &configuration.encryption {
        Encryption::Files { certificate, key } => Ok(Some(Certificate::files(certificate, key)?)),
        Encryption::SelfSigned | Encryption::None => Ok(None),
    }
}

fn encryption(configuration: &Configuration) -> anyhow::Result<Option<Tls>> {
    match (certificate(configuration)?, &configuration.encryption) {
        (Some(certificate), _) => Ok(Some(Tls::new(certificate)?)),
        (None, Encryption::SelfSigned) => Ok(Some(Tls::self_signed()?)),
        (None, _) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_addresses_are_reached_at_the_loopback() {
        let reached = |address: &str| reached_from_here(address.parse().unwrap()).to_string();
        assert_eq!([reached("0.0.0.0:5433"), reached("[::]:5433")], ["127.0.0.1:5433", "[::1]:5433"]);
        assert_eq!([reached("10.0.0.7:5433"), reached("127.0.0.1:1")], ["10.0.0.7:5433", "127.0.0.1:1"]);
    }
}
