//! `evenkeel serve`: a database behind PostgreSQL's protocol, and behind HTTP where that is asked for, until it is told to
//! stop.

#![expect(clippy::print_stdout, reason = "where it listens is what it prints")]

use crate::arguments::{Auth, ServeArguments};
use anyhow::Context;
use evenkeel_engine::{Database, OpenOptions};
use evenkeel_model::{Error, SqlState};
use evenkeel_wire::Tls;
use std::sync::Arc;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The environment variable that the first admin's password is taken from.
const ADMIN_PASSWORD: &str = "EVENKEEL_ADMIN_PASSWORD";

/// Signals that end the server.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

pub async fn run(arguments: ServeArguments) -> anyhow::Result<i32> {
    let mut signals = Signals::new()?;
    let tls = tls(&arguments)?;
    if arguments.tls_only && tls.is_none() {
        return Err(Error::new(SqlState::InvalidParameterValue, "--tls-only needs a certificate")
            .with_hint("--tls-cert and --tls-key name one; --tls-self-signed makes one")
            .into());
    }
    let options = OpenOptions { shards: arguments.shards, ..OpenOptions::default() };
    let database = Database::open(&arguments.data, &options)?;
    let servers = Servers::bind(&database, &arguments, tls).await?;
    // Only now: a password is said once, and a start that is refused must not have said it.
    if matches!(arguments.auth, Auth::Scram) {
        first_admin(&database)?;
    }
    servers.greet(&database, &arguments)?;
    servers.run(&mut signals).await?;
    database.close();
    println!("stopped");
    Ok(0)
}

/// What listens.
struct Servers {
    wire: evenkeel_wire::Server,
    http: Option<evenkeel_http::Server>,
}

impl Servers {
    async fn bind(database: &Arc<Database>, arguments: &ServeArguments, tls: Option<Tls>) -> anyhow::Result<Self> {
        let (wire, users) = match arguments.auth {
            Auth::Scram => (evenkeel_wire::Authentication::Scram, evenkeel_http::Authentication::Users),
            Auth::Trust => (evenkeel_wire::Authentication::Trust, evenkeel_http::Authentication::Trust),
        };
        let acceptor = tls.as_ref().map(Tls::acceptor);
        let options = evenkeel_wire::Options {
            listen: arguments.listen,
            authentication: wire,
            tls,
            tls_only: arguments.tls_only,
        };
        let wire = evenkeel_wire::Server::bind(database, options).await?;
        let http = match arguments.http {
            Some(listen) => {
                let connections: evenkeel_http::Connections = Box::new(wire.connections());
                let options = evenkeel_http::Options {
                    listen,
                    authentication: users,
                    tls: acceptor,
                    connections: vec![("postgresql", connections)],
                };
                Some(evenkeel_http::Server::bind(database, options).await?)
            }
            None => None,
        };
        Ok(Self { wire, http })
    }

    fn greet(&self, database: &Database, arguments: &ServeArguments) -> anyhow::Result<()> {
        let (version, shards, data) = (env!("CARGO_PKG_VERSION"), database.shard_count(), arguments.data.display());
        println!("Evenkeel {version}, {shards} shards, {data}");
        let address = self.wire.address()?;
        println!("listening on {address}: psql -h {} -p {} -U admin", address.ip(), address.port());
        if let Some(http) = &self.http {
            let encrypted = arguments.tls_cert.is_some() || arguments.tls_self_signed;
            println!("listening on http{}://{}", if encrypted { "s" } else { "" }, http.address()?);
        }
        Ok(())
    }

    /// Serves until a signal, and then until everything is answered, or another signal. HTTP ends last, so that `/readyz`
    /// can say meanwhile that the server stops.
    async fn run(self, signals: &mut Signals) -> anyhow::Result<()> {
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
            () = signals.next() => {}
        }
        println!("stopping: open transactions may end; once more stops at once");
        stop.drain();
        stop_http.iter().for_each(evenkeel_http::Stop::drain);
        tokio::select! {
            ended = &mut serving => return ended.and_then(|http| http).context("the server failed"),
            () = signals.next() => {}
        }
        stop.now();
        stop_http.iter().for_each(evenkeel_http::Stop::now);
        serving.await.and_then(|http| http).context("the server failed")
    }
}

/// Sees to it that somebody can get in.
fn first_admin(database: &Database) -> anyhow::Result<()> {
    let given = std::env::var(ADMIN_PASSWORD).ok();
    if let Some(password) = database.ensure_admin(given.as_deref())? {
        println!("the first user is \"admin\", with the password {password}");
        println!("it is not shown again; ALTER USER admin PASSWORD '…' sets another, {ADMIN_PASSWORD} gives the first");
    }
    Ok(())
}

fn tls(arguments: &ServeArguments) -> anyhow::Result<Option<Tls>> {
    Ok(match (&arguments.tls_cert, &arguments.tls_key) {
        (Some(certificate), Some(key)) => Some(Tls::files(certificate, key)?),
        _ if arguments.tls_self_signed => Some(Tls::self_signed()?),
        _ => None,
    })
}
