//! The listener: who may connect, and how it ends.

use crate::connection::Connection;
use crate::startup::{self, Started};
use crate::stream::Socket;
use crate::tls::Tls;
use evenkeel_engine::{Database, Session};
use evenkeel_model::{Error, Result, SqlState};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{DuplexStream, duplex};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// After an error of the listener itself (no file handles left, say).
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// Bytes on their way between two ends in one process, each way.
const IN_PROCESS_BUFFER: usize = 256 << 10;

/// Who may connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// Users with passwords, by SCRAM-SHA-256.
    Scram,
    /// Everybody who reaches the port, as whatever user they say they are, or as the database's owner: loopback only.
    Trust,
}

/// What a server is started with.
pub struct Options {
    pub listen: SocketAddr,
    pub authentication: Authentication,
    /// With what connections are encrypted, if the client asks.
    pub tls: Option<Tls>,
    /// Whether connections that are not encrypted are refused.
    pub tls_only: bool,
}

/// How far the server's end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Serving,
    /// Nobody new; open transactions may end.
    Draining,
    /// Now.
    Stopping,
}

/// What connections share.
pub(crate) struct Shared {
    pub(crate) database: Arc<Database>,
    pub(crate) authentication: Authentication,
    pub(crate) tls: Option<Tls>,
    pub(crate) tls_only: bool,
    /// What a cancel request names, and the session it means.
    cancels: Mutex<HashMap<(i32, i32), Session>>,
    connections: AtomicUsize,
    /// Connections by user.
    users: Mutex<HashMap<String, usize>>,
    phase: watch::Sender<Phase>,
}

/// The end of the server, as a connection sees it.
pub(crate) struct Stopping(watch::Receiver<Phase>);

impl Stopping {
    /// Resolves when the connection is to end: at once when it is idle, later in a transaction.
    pub(crate) async fn wait(&mut self, in_block: bool) {
        let enough = if in_block { Phase::Stopping } else { Phase::Draining };
        reached(&mut self.0, enough).await;
    }
}

impl Shared {
    /// Of a server that asks nobody who they are, and does not encrypt.
    fn new(database: &Arc<Database>) -> Self {
        Self {
            database: Arc::clone(database),
            authentication: Authentication::Trust,
            tls: None,
            tls_only: false,
            cancels: Mutex::default(),
            connections: AtomicUsize::new(0),
            users: Mutex::default(),
            phase: watch::channel(Phase::Serving).0,
        }
    }

    pub(crate) fn duration(&self, setting: &str) -> Duration {
        Duration::from_millis(self.database.setting_duration_ms(setting))
    }

    pub(crate) fn size(&self, setting: &str) -> usize {
        usize::try_from(self.database.setting_size(setting)).unwrap_or(usize::MAX)
    }

    pub(crate) fn stopping(&self) -> Stopping {
        Stopping(self.phase.subscribe())
    }

    /// Stops what a session runs, if somebody knows its secret.
    pub(crate) fn cancel(&self, pid: i32, secret: i32) {
        if let Some(session) = self.cancels.lock().get(&(pid, secret)) {
            session.cancel();
        }
    }
}

/// A server that listens.
pub struct Server {
    listener: TcpListener,
    shared: Arc<Shared>,
}

/// Ends a server.
#[derive(Clone)]
pub struct Stop(watch::Sender<Phase>);

impl Stop {
    /// Takes nobody new, lets open transactions end, and ends idle connections.
    pub fn drain(&self) {
        self.0.send_if_modified(|phase| std::mem::replace(phase, (*phase).max(Phase::Draining)) < Phase::Draining);
    }

    /// Ends every connection now.
    pub fn now(&self) {
        self.0.send_replace(Phase::Stopping);
    }
}

/// Whether a server may listen there.
///
/// # Errors
/// 22023 for an address that others reach, without authentication.
pub fn may_listen(address: SocketAddr, authentication: Authentication) -> Result<()> {
    if authentication == Authentication::Scram || address.ip().is_loopback() {
        return Ok(());
    }
    let message = format!("{address} is reached from elsewhere, and nobody would be asked who they are");
    Err(Error::new(SqlState::InvalidParameterValue, message)
        .with_hint("--auth scram asks for a user and a password; 127.0.0.1 is reached from this machine only"))
}

/// Takes the address, before there is a database: clients that come already wait until somebody serves them.
///
/// # Errors
/// 58030 when the address can't be had; what [`may_listen`] says.
pub async fn listen(address: SocketAddr, authentication: Authentication) -> Result<TcpListener> {
    may_listen(address, authentication)?;
    let failed = |error: std::io::Error| {
        Error::new(SqlState::IoError, format!("cannot listen on {address}: {error}"))
            .with_hint("is another server there? port 0 takes any that is free")
    };
    TcpListener::bind(address).await.map_err(failed)
}

impl Server {
    /// Begins to listen.
    ///
    /// # Errors
    /// 58030 when the address can't be had; 22023 for an address that others reach, without authentication.
    pub async fn bind(database: &Arc<Database>, options: Options) -> Result<Self> {
        let listener = listen(options.listen, options.authentication).await?;
        Ok(Self::over(listener, database, options))
    }

    /// Serves whoever comes to a listener that [`listen`] gave.
    pub fn over(listener: TcpListener, database: &Arc<Database>, options: Options) -> Self {
        let shared = Shared {
            authentication: options.authentication,
            tls: options.tls,
            tls_only: options.tls_only,
            ..Shared::new(database)
        };
        Self { listener, shared: Arc::new(shared) }
    }

    /// Where it listens.
    ///
    /// # Errors
    /// 58030 when the system does not say.
    pub fn address(&self) -> Result<SocketAddr> {
        self.listener.local_addr().map_err(|error| Error::new(SqlState::IoError, error.to_string()))
    }

    /// Tells how many connections there are, also after the server has ended.
    pub fn connections(&self) -> impl Fn() -> usize + Send + Sync + use<> {
        let shared = Arc::clone(&self.shared);
        move || shared.connections.load(Ordering::SeqCst)
    }

    /// What ends it.
    pub fn stop(&self) -> Stop {
        Stop(self.shared.phase.clone())
    }

    /// Serves until it is stopped and every connection has ended.
    pub async fn serve(self) {
        let mut connections = JoinSet::new();
        let mut phase = self.shared.phase.subscribe();
        loop {
            tokio::select! {
                biased;
                () = reached(&mut phase, Phase::Draining) => break,
                Some(_) = connections.join_next() => {}
                accepted = self.listener.accept() => match accepted {
                    Ok((socket, peer)) => {
                        // Answers are small and waited for.
                        if let Err(error) = socket.set_nodelay(true) {
                            tracing::debug!(%error, %peer, "TCP_NODELAY");
                        }
                        connections.spawn(connect(Arc::clone(&self.shared), Box::new(socket), Some(peer)));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(RETRY_AFTER).await;
                    }
                },
            }
        }
        drop(self.listener);
        while !connections.is_empty() {
            tokio::select! {
                _ = connections.join_next() => {}
                () = reached(&mut phase, Phase::Stopping) => break,
            }
        }
        connections.shutdown().await;
    }
}

/// A server of clients in the same process: whoever has the database needs no network, and nobody is asked who they are.
pub struct InProcess {
    shared: Arc<Shared>,
    connections: Mutex<JoinSet<()>>,
}

impl InProcess {
    /// The user to name: the database's own.
    pub const USER: &str = evenkeel_engine::BUILT_IN_USER;

    /// Begins to serve a database.
    pub fn new(database: &Arc<Database>) -> Self {
        Self { shared: Arc::new(Shared::new(database)), connections: Mutex::default() }
    }

    /// A new connection: the client's end of it. Needs a running tokio runtime.
    pub fn connect(&self) -> DuplexStream {
        let (near, far) = duplex(IN_PROCESS_BUFFER);
        let mut connections = self.connections.lock();
        while connections.try_join_next().is_some() {}
        connections.spawn(connect(Arc::clone(&self.shared), Box::new(far), None));
        near
    }

    /// Ends every connection now.
    pub async fn end(&self) {
        let mut connections = std::mem::take(&mut *self.connections.lock());
        self.shared.phase.send_replace(Phase::Stopping);
        connections.shutdown().await;
    }
}

/// Resolves when the server's end has come so far.
async fn reached(phase: &mut watch::Receiver<Phase>, wanted: Phase) {
    let ended = phase.wait_for(|phase| *phase >= wanted).await.is_err();
    debug_assert!(!ended, "the server holds the sender");
}

/// Counts a connection as long as it is there.
struct Counted(Arc<Shared>);

impl Counted {
    /// The connection, and how many there are with it.
    fn new(shared: &Arc<Shared>) -> (Self, usize) {
        let count = shared.connections.fetch_add(1, Ordering::SeqCst) + 1;
        (Self(Arc::clone(shared)), count)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Counts a connection as its user's as long as it is there.
pub(crate) struct Seat {
    shared: Arc<Shared>,
    user: String,
}

impl Seat {
    /// # Errors
    /// 53300 for a user who has as many as this one may have.
    pub(crate) fn take(shared: &Arc<Shared>, session: &Session) -> Result<Self> {
        let limit = session.connections_max();
        let (user, mut users) = (session.user().to_string(), shared.users.lock());
        let count: usize = users.get(&user).copied().unwrap_or(0);
        if let Some(limit) = limit.filter(|limit| count >= *limit as usize) {
            let message = format!("\"{user}\" may have {limit} connections, and has them");
            let hint =
                format!("end one; max_connections_per_user, or ALTER USER {user} CONNECTION LIMIT, lets more in");
            return Err(Error::new(SqlState::TooManyConnections, message).with_hint(hint));
        }
        users.insert(user.clone(), count + 1);
        drop(users);
        Ok(Self { shared: Arc::clone(shared), user })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut users = self.shared.users.lock();
        if let Some(count) = users.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                users.remove(&self.user);
            }
        }
    }
}

/// Keeps a session open to cancel requests as long as it is there.
struct Registered {
    shared: Arc<Shared>,
    key: (i32, i32),
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.shared.cancels.lock().remove(&self.key);
    }
}

/// Serves a client until it goes; one without an address is in this process.
async fn connect(shared: Arc<Shared>, socket: Box<dyn Socket>, peer: Option<SocketAddr>) {
    let (counted, count) = Counted::new(&shared);
    let client = peer.map_or_else(|| "in process".to_string(), |peer| peer.to_string());
    let limit = shared.duration("authentication_timeout");
    let started = tokio::time::timeout(limit, startup::start(&shared, socket, peer, count)).await;
    let (mut stream, session, user, seat) = match started {
        Ok(Some(Started { stream, session, user, seat })) => (stream, session, user, seat),
        Ok(None) => return,
        Err(_) => {
            tracing::debug!(client, "did not say who it is in time");
            return;
        }
    };
    tracing::debug!(client, user, session = session.id(), "connected");
    let id = session.id();
    // The number is the session's, so that pg_backend_pid() and SYSTEM.SESSIONS say the same.
    let key = (session.id() as i32, rand::random::<i32>());
    startup::greet(&mut stream, key, &user);
    shared.cancels.lock().insert(key, session.clone());
    let registered = Registered { shared: Arc::clone(&shared), key };
    Connection::new(stream, session, shared).run().await;
    drop((registered, seat, counted));
    tracing::debug!(client, user, session = id, "disconnected");
}
