//! `evenkeel serve`: a database behind PostgreSQL's protocol, until it is told to stop.

use crate::arguments::{Auth, ServeArguments};
use anyhow::Context;
use evenkeel_engine::{Database, OpenOptions};
use evenkeel_model::{Error, SqlState};
use evenkeel_wire::{Authentication, Options, Server, Tls};
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
    if matches!(arguments.auth, Auth::Scram) {
        first_admin(&database)?;
    }
    let authentication = match arguments.auth {
        Auth::Scram => Authentication::Scram,
        Auth::Trust => Authentication::Trust,
    };
    let options = Options { listen: arguments.listen, authentication, tls, tls_only: arguments.tls_only };
    let server = Server::bind(&database, options).await?;
    let address = server.address()?;
    println!("Evenkeel {}, {} shards, {}", env!("CARGO_PKG_VERSION"), database.shard_count(), arguments.data.display());
    println!("listening on {address}: psql -h {} -p {} -U admin", address.ip(), address.port());
    let stop = server.stop();
    let mut serving = tokio::spawn(server.serve());
    tokio::select! {
        ended = &mut serving => ended.context("the server failed")?,
        () = signals.next() => {
            println!("stopping: open transactions may end; once more stops at once");
            stop.drain();
            tokio::select! {
                ended = &mut serving => ended.context("the server failed")?,
                () = signals.next() => {
                    stop.now();
                    serving.await.context("the server failed")?;
                }
            }
        }
    }
    database.close();
    println!("stopped");
    Ok(0)
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
