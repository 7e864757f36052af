//! The listener: who may connect, and how it ends.

use crate::login::Logins;
use crate::problem::Problem;
use crate::{api, metrics};
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use evenkeel_engine::Database;
use evenkeel_model::{Error, Result, SqlState};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::timeout::TimeoutBody;

/// After an error of the listener itself (no file handles left, say).
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// A client has so long to agree on encryption.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Connections at once; others wait until one ends.
const CONNECTIONS_MAX: usize = 1_024;
/// Connections that were cut are waited for so long.
const END_MAX: Duration = Duration::from_secs(2);

/// Who may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// Users with passwords, who get tokens for them.
    Users,
    /// Everybody on this machine, as the database's owner: loopback only.
    Trust,
}

/// Tells how many connections another server has.
pub type Connections = Box<dyn Fn() -> usize + Send + Sync>;

/// What a server is started with.
pub struct Options {
    pub listen: SocketAddr,
    pub authentication: Authentication,
    /// With what connections are encrypted: all or none.
    pub tls: Option<TlsAcceptor>,
    /// The connections of other servers to the same database, by protocol, for the metrics.
    pub connections: Vec<(&'static str, Connections)>,
}

/// How far the server's end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Serving,
    /// No new statements; whoever asks is told so.
    Draining,
    /// Nobody new; what is being answered is answered.
    Ending,
    /// Now.
    Stopping,
}

/// What requests share.
pub(crate) struct Shared {
    pub(crate) database: Arc<Database>,
    pub(crate) authentication: Authentication,
    pub(crate) logins: Logins,
    /// Answers by status.
    pub(crate) answered: Mutex<BTreeMap<u16, u64>>,
    others: Vec<(&'static str, Connections)>,
    free: Arc<Semaphore>,
    phase: watch::Sender<Phase>,
}

impl Shared {
    /// # Errors
    /// 57P01 when the server has begun to stop.
    pub(crate) fn takes_statements(&self) -> std::result::Result<(), Problem> {
        match *self.phase.borrow() {
            Phase::Serving => Ok(()),
            _ => Err(Error::new(SqlState::AdminShutdown, "the server stops").into()),
        }
    }

    /// Resolves when the server's end has come so far.
    pub(crate) async fn reached(&self, wanted: Phase) {
        let mut phase = self.phase.subscribe();
        let ended = phase.wait_for(|phase| *phase >= wanted).await.is_err();
        debug_assert!(!ended, "the server holds the sender");
    }

    /// How long a client may be silent where it has the word.
    fn idle_max(&self) -> Duration {
        Duration::from_millis(self.database.setting_duration_ms("http_idle_timeout"))
    }

    /// Connections by protocol.
    pub(crate) fn connections(&self) -> Vec<(&'static str, usize)> {
        let own = ("http", CONNECTIONS_MAX - self.free.available_permits());
        std::iter::once(own).chain(self.others.iter().map(|(protocol, count)| (*protocol, count()))).collect()
    }
}

/// A server that listens.
pub struct Server {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    shared: Arc<Shared>,
}

/// Ends a server.
#[derive(Clone)]
pub struct Stop(Arc<Shared>);

impl Stop {
    fn reach(&self, wanted: Phase) {
        self.0.phase.send_if_modified(|phase| std::mem::replace(phase, (*phase).max(wanted)) < wanted);
    }

    /// Takes no more statements, and says so at `/readyz`; streams of events end.
    pub fn drain(&self) {
        self.reach(Phase::Draining);
    }

    /// Takes nobody new, and ends when what is being answered is answered.
    pub fn end(&self) {
        self.reach(Phase::Ending);
    }

    /// Breaks off what is being answered, too.
    pub fn now(&self) {
        self.reach(Phase::Stopping);
    }
}

impl Server {
    /// Begins to listen.
    ///
    /// # Errors
    /// 58030 when the address can't be had; 22023 for an address that others reach, without authentication or without
    /// encryption.
    pub async fn bind(database: &Arc<Database>, options: Options) -> Result<Self> {
        let listener = self::listen(options.listen, options.authentication, options.tls.is_some()).await?;
        Ok(Self::over(listener, database, options))
    }

    /// Serves whoever comes to a listener that [`listen`] gave.
    pub fn over(listener: TcpListener, database: &Arc<Database>, options: Options) -> Self {
        let Options { authentication, tls, connections, .. } = options;
        let shared = Shared {
            database: Arc::clone(database),
            authentication,
            logins: Logins::default(),
            answered: Mutex::default(),
            others: connections,
            free: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            phase: watch::channel(Phase::Serving).0,
        };
        Self { listener, tls, shared: Arc::new(shared) }
    }

    /// Where it listens.
    ///
    /// # Errors
    /// 58030 when the system does not say.
    pub fn address(&self) -> Result<SocketAddr> {
        self.listener.local_addr().map_err(|error| Error::new(SqlState::IoError, error.to_string()))
    }

    /// What ends it.
    pub fn stop(&self) -> Stop {
        Stop(Arc::clone(&self.shared))
    }

    /// Serves until it is stopped and everything is answered.
    pub async fn serve(self) {
        let Self { listener, tls, shared } = self;
        let mut accepting = Accepting::start(listener, tls, &shared);
        let routes = routes(&shared);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = shared.reached(Phase::Ending) => break,
                Some(_) = connections.join_next() => {}
                (connection, peer) = accepting.next() => {
                    let routes = routes.clone().layer(axum::Extension(ConnectInfo(peer)));
                    connections.spawn(answer(Arc::clone(&shared), connection, routes));
                }
            }
        }
        drop(accepting);
        let stopping = async {
            shared.reached(Phase::Stopping).await;
            tokio::time::sleep(END_MAX).await;
        };
        tokio::select! {
            () = async { while connections.join_next().await.is_some() {} } => {}
            () = stopping => {}
        }
    }
}

/// Answers the requests of a connection, one after another, until it ends, or the server does. It may be silent for so
/// long before each: those who only hold connections hold them from others.
async fn answer(shared: Arc<Shared>, connection: Connection, routes: axum::Router) {
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(shared.idle_max());
    let service = TowerToHyperService::new(routes);
    let mut serving = pin!(builder.serve_connection(TokioIo::new(connection), service));
    tokio::select! {
        biased;
        outcome = serving.as_mut() => return ended(outcome),
        () = shared.reached(Phase::Ending) => serving.as_mut().graceful_shutdown(),
    }
    ended(serving.await);
}

fn ended(outcome: std::result::Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = outcome {
        tracing::debug!(%error, "a connection ended");
    }
}

/// Whether a server may listen there.
///
/// # Errors
/// 22023 where strangers could do what they like, or read what is said.
pub fn may_listen(address: SocketAddr, authentication: Authentication, encrypted: bool) -> Result<()> {
    let refused = |message: String, hint: &str| {
        Err(Error::new(SqlState::InvalidParameterValue, message).with_hint(hint.to_string()))
    };
    match authentication {
        _ if address.ip().is_loopback() => Ok(()),
        Authentication::Trust => refused(
            format!("{address} is reached from elsewhere, and nobody would be asked who they are"),
            "--auth scram asks for a user and a password; 127.0.0.1 is reached from this machine only",
        ),
        Authentication::Users if !encrypted => refused(
            format!("{address} is reached from elsewhere, and passwords would be sent in the clear"),
            "--tls-cert and --tls-key encrypt; or listen on 127.0.0.1 behind a proxy that does",
        ),
        Authentication::Users => Ok(()),
    }
}

/// Takes the address, before there is a database: clients that come already wait until somebody serves them.
///
/// # Errors
/// 58030 when the address can't be had; what [`may_listen`] says.
pub async fn listen(address: SocketAddr, authentication: Authentication, encrypted: bool) -> Result<TcpListener> {
    may_listen(address, authentication, encrypted)?;
    let failed = |error: io::Error| {
        Error::new(SqlState::IoError, format!("cannot listen on {address}: {error}"))
            .with_hint("is another server there? port 0 takes any that is free")
    };
    TcpListener::bind(address).await.map_err(failed)
}

fn routes(shared: &Arc<Shared>) -> axum::Router {
    let (router, _) = api::router().merge(metrics::router()).split_for_parts();
    router
        .fallback(|| async { Problem::http(StatusCode::NOT_FOUND, "there is nothing here") })
        .method_not_allowed_fallback(|| async {
            Problem::http(StatusCode::METHOD_NOT_ALLOWED, "this is not what can be done here")
        })
        .layer(axum::extract::DefaultBodyLimit::max(api::BODY_BYTES_MAX))
        .layer(from_fn_with_state(Arc::clone(shared), around))
        .layer(PropagateRequestIdLayer::x_request_id())
        .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
        .with_state(Arc::clone(shared))
}

/// What is done for every request: it is counted, and its answer is kept by nobody on the way.
async fn around(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_string());
    let id = request.headers().get("x-request-id").cloned();
    let idle_max = shared.idle_max();
    let request = request.map(|body| Body::new(TimeoutBody::new(idle_max, body)));
    let mut response = next.run(request).await;
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    let status = response.status().as_u16();
    *shared.answered.lock().entry(status).or_default() += 1;
    tracing::debug!(%method, path, status, request_id = id.as_ref().and_then(|id| id.to_str().ok()), "answered");
    response
}

/// Where a client is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Connections that are ready for their first request: a client that is slow to agree on encryption keeps nobody.
pub(crate) struct Accepting {
    ready: mpsc::Receiver<(Connection, Peer)>,
}

impl Accepting {
    fn start(listener: TcpListener, tls: Option<TlsAcceptor>, shared: &Arc<Shared>) -> Self {
        let (sender, ready) = mpsc::channel(1);
        let shared = Arc::clone(shared);
        tokio::spawn(async move {
            loop {
                let Ok(counted) = Arc::clone(&shared.free).acquire_owned().await else { return };
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    () = sender.closed() => return,
                };
                match accepted {
                    Ok((socket, peer)) => {
                        let (tls, sender, shared) = (tls.clone(), sender.clone(), Arc::clone(&shared));
                        tokio::spawn(async move {
                            let Some(socket) = prepare(socket, tls).await else { return };
                            let cut = Box::pin(async move { shared.reached(Phase::Stopping).await });
                            // Nobody takes it any more when the server ends.
                            let _ = sender.send((Connection { socket, cut, _counted: counted }, Peer(peer))).await;
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(RETRY_AFTER).await;
                    }
                }
            }
        });
        Self { ready }
    }

    async fn next(&mut self) -> (Connection, Peer) {
        match self.ready.recv().await {
            Some(accepted) => accepted,
            None => std::future::pending().await,
        }
    }
}

async fn prepare(socket: tokio::net::TcpStream, tls: Option<TlsAcceptor>) -> Option<Box<dyn Socket>> {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    let Some(tls) = tls else { return Some(Box::new(socket)) };
    match tokio::time::timeout(HANDSHAKE_MAX, tls.accept(socket)).await {
        Ok(Ok(socket)) => Some(Box::new(socket)),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a connection could not be encrypted");
            None
        }
        Err(_) => None,
    }
}

/// A socket, encrypted or not.
trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

/// A connection, which is counted as long as it is there, and fails when the server stops at once: so everything that is
/// done for it ends.
pub(crate) struct Connection {
    socket: Box<dyn Socket>,
    /// Resolves then.
    cut: Pin<Box<dyn Future<Output = ()> + Send>>,
    _counted: OwnedSemaphorePermit,
}

impl Connection {
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.cut.as_mut().poll(context) {
            Poll::Pending => Ok(()),
            Poll::Ready(()) => {
                self.cut = Box::pin(std::future::ready(()));
                Err(io::ErrorKind::ConnectionAborted.into())
            }
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.socket).poll_read(context, into)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_asked_and_not_overheard() {
        let (here, everywhere) = ("127.0.0.1:0".parse().unwrap(), "0.0.0.0:0".parse().unwrap());
        assert!(may_listen(here, Authentication::Trust, false).is_ok());
        assert!(may_listen(here, Authentication::Users, false).is_ok());
        assert!(may_listen(everywhere, Authentication::Trust, true).is_err());
        assert!(may_listen(everywhere, Authentication::Users, false).is_err());
        assert!(may_listen(everywhere, Authentication::Users, true).is_ok());
    }
}
