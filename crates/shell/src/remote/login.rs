//! From nothing to where statements can be sent: the connection, its encryption, the start-up message, the password.

use std::io;
use std::time::Duration;

use evenkeel_model::progress::EXTENSION;
use evenkeel_model::{Error, Result, SqlState};
use fallible_iterator::FallibleIterator;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;
use tokio::net::TcpStream;

use super::address::{Address, Password, Security};
use super::decode;
use super::line::{Line, Stream};
use super::tls;

/// A server that has not let anybody in after this long is not there.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);

/// Makes connections to a server in this process.
pub type Dial = Box<dyn Fn() -> Box<dyn Stream> + Send + Sync>;

/// Which server, and as whom.
pub enum Target {
    /// One that is reached over the network.
    Network(Address),
    /// One in this process, which is told this user's name and asks for nothing else.
    Process { user: String, dial: Dial },
}

/// A connection that is ready for statements.
pub struct Login {
    pub line: Line,
    /// What a cancel request says: the server's number of the session and its secret.
    pub key: (i32, i32),
    /// What the server calls its version.
    pub version: String,
    pub is_encrypted: bool,
}

/// Why nobody was let in.
pub enum Refusal {
    /// The server asks for a password, and there is none.
    PasswordMissing,
    Failed(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Refusal::Failed(error)
    }
}

/// Connects and logs in.
///
/// # Errors
/// 08001 when the server can't be reached or does not speak this protocol; whatever the server says.
pub async fn login(
    target: &Target,
    application: &str,
    password: Option<&Password>,
) -> std::result::Result<Login, Refusal> {
    limited(target, async {
        let (mut line, is_encrypted) = connect(target).await?;
        let (user, database) = match target {
            Target::Network(address) => (address.user.as_str(), address.database.as_deref()),
            Target::Process { user, .. } => (user.as_str(), None),
        };
        let mut parameters =
            vec![("user", user), ("application_name", application), ("client_encoding", "UTF8"), (EXTENSION, "1")];
        parameters.extend(database.map(|database| ("database", database)));
        frontend::startup_message(parameters, &mut line.output)
            .map_err(|_| Error::new(SqlState::InvalidParameterValue, "a name holds a zero byte"))?;
        authenticate(target, &mut line, password).await?;
        let (key, version) = greeting(target, &mut line).await?;
        line.logged_in();
        Ok(Login { line, key, version, is_encrypted })
    })
    .await
}

/// Asks the server to stop what a session runs. It has been asked when this is over, whether or not it could be.
pub async fn cancel(target: &Target, (pid, secret): (i32, i32)) {
    let asking = async {
        let (mut line, _) = connect(target).await?;
        frontend::cancel_request(pid, secret, &mut line.output);
        let sent = line.flush().await;
        // The server closes the connection when it has done it.
        let _ = line.byte().await;
        Ok::<_, Refusal>(sent)
    };
    // Where the request does not arrive, the statement goes on, and a second Ctrl-C leaves it.
    let _ = limited(target, asking).await;
}

async fn limited<T>(
    target: &Target,
    work: impl Future<Output = std::result::Result<T, Refusal>>,
) -> std::result::Result<T, Refusal> {
    tokio::time::timeout(CONNECT_LIMIT, work).await.unwrap_or_else(|_| {
        let message = format!("{} does not answer", place(target));
        Err(Error::new(SqlState::CannotConnect, message)
            .with_hint("is something in between that drops packets?")
            .into())
    })
}

/// How errors call a server.
fn place(target: &Target) -> String {
    match target {
        Target::Network(address) => address.to_string(),
        Target::Process { .. } => "this process".to_string(),
    }
}

/// A connection, encrypted if that is wanted.
async fn connect(target: &Target) -> Result<(Line, bool)> {
    let address = match target {
        Target::Process { dial, .. } => return Ok((Line::new(dial()), false)),
        Target::Network(address) => address,
    };
    let unreachable = |error: io::Error| {
        let message = format!("cannot connect to {address}: {error}");
        Error::new(SqlState::CannotConnect, message).with_hint(
            "is a server there? `evenkeel serve` says where it listens, 127.0.0.1:5433 unless it is told otherwise",
        )
    };
    let socket = TcpStream::connect((address.host.as_str(), address.port)).await.map_err(unreachable)?;
    // Statements are small, and their answers are waited for.
    socket.set_nodelay(true).map_err(unreachable)?;
    let mut line = Line::new(Box::new(socket));
    if address.security == Security::Disable {
        return Ok((line, false));
    }
    frontend::ssl_request(&mut line.output);
    line.flush().await.map_err(|error| broken(target, &error))?;
    match line.byte().await.map_err(|error| broken(target, &error))? {
        b'S' => {
            let stream = line.into_stream().map_err(|error| broken(target, &error))?;
            Ok((Line::new(tls::encrypt(stream, address).await?), true))
        }
        b'N' if address.security == Security::Prefer => Ok((line, false)),
        b'N' => Err(Error::new(SqlState::CannotConnect, format!("{address} does not encrypt")).with_hint(
            "`evenkeel serve` does with --tls-cert and --tls-key, or --tls-self-signed; sslmode=prefer goes on without",
        )),
        _ => Err(foreign(target)),
    }
}

/// Proves who the user is, as far as the server asks for it.
async fn authenticate(
    target: &Target,
    line: &mut Line,
    password: Option<&Password>,
) -> std::result::Result<(), Refusal> {
    let mut scram: Option<ScramSha256> = None;
    loop {
        line.flush().await.map_err(|error| broken(target, &error))?;
        let message = line.message().await.map_err(|error| broken(target, &error))?;
        match (message, &mut scram) {
            (Message::AuthenticationOk, None) => return Ok(()),
            (Message::AuthenticationSasl(body), None) => {
                let mut mechanisms = body.mechanisms();
                if !mechanisms.any(|name| Ok(name == SCRAM_SHA_256)).unwrap_or(false) {
                    return Err(unspoken("none of the server's ways to prove a password is known here").into());
                }
                let password = password.ok_or(Refusal::PasswordMissing)?;
                let exchange = ScramSha256::new(password.text.as_bytes(), ChannelBinding::unsupported());
                frontend::sasl_initial_response(SCRAM_SHA_256, exchange.message(), &mut line.output)
                    .map_err(|error| broken(target, &error))?;
                scram = Some(exchange);
            }
            (Message::AuthenticationSaslContinue(body), Some(exchange)) => {
                exchange.update(body.data()).map_err(|_| impostor())?;
                frontend::sasl_response(exchange.message(), &mut line.output)
                    .map_err(|error| broken(target, &error))?;
            }
            (Message::AuthenticationSaslFinal(body), Some(exchange)) => {
                exchange.finish(body.data()).map_err(|_| impostor())?;
                scram = None;
            }
            (Message::ErrorResponse(body), _) => return Err(Refusal::Failed(denied(body.fields(), password))),
            (Message::NoticeResponse(_), _) => {}
            (
                Message::AuthenticationCleartextPassword
                | Message::AuthenticationMd5Password(_)
                | Message::AuthenticationGss
                | Message::AuthenticationSspi
                | Message::AuthenticationKerberosV5
                | Message::AuthenticationScmCredential,
                _,
            ) => {
                return Err(
                    unspoken("the server asks for a password in a way that is not safe, or not known here").into()
                );
            }
            _ => return Err(foreign(target).into()),
        }
    }
}

/// Reads what a server says of itself before the first statement: its key and its version.
async fn greeting(target: &Target, line: &mut Line) -> Result<((i32, i32), String)> {
    let (mut key, mut version) = ((0, 0), String::new());
    loop {
        match line.message().await.map_err(|error| broken(target, &error))? {
            Message::BackendKeyData(body) => key = (body.process_id(), body.secret_key()),
            Message::ParameterStatus(body) => {
                if body.name().is_ok_and(|name| name == "server_version") {
                    version = body.value().unwrap_or_default().to_string();
                }
            }
            Message::NoticeResponse(_) => {}
            Message::ReadyForQuery(_) => return Ok((key, version)),
            Message::ErrorResponse(body) => return Err(denied(body.fields(), None)),
            _ => return Err(foreign(target)),
        }
    }
}

/// What a server says that does not let the user in.
fn denied(fields: postgres_protocol::message::backend::ErrorFields<'_>, password: Option<&Password>) -> Error {
    let error = decode::Report::read(fields).into_error();
    match password {
        Some(password) if error.state == SqlState::InvalidPassword && error.hint.is_none() => {
            error.with_hint(format!("the password came from {}", password.origin))
        }
        _ => error,
    }
}

fn broken(target: &Target, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::InvalidData => foreign(target),
        io::ErrorKind::UnexpectedEof => {
            Error::new(SqlState::CannotConnect, format!("{} closed the connection", place(target)))
        }
        _ => Error::new(SqlState::CannotConnect, format!("the connection to {} broke: {error}", place(target))),
    }
}

fn foreign(target: &Target) -> Error {
    Error::new(SqlState::CannotConnect, format!("{} does not speak PostgreSQL's protocol", place(target)))
        .with_hint("`evenkeel serve` says where it listens; the port of --http is another one")
}

fn unspoken(message: &str) -> Error {
    Error::new(SqlState::CannotConnect, message).with_hint(format!("{SCRAM_SHA_256} is"))
}

/// The server knows neither the password nor what follows from it.
fn impostor() -> Error {
    Error::new(SqlState::CannotConnect, "the server could not prove that it knows the password")
        .with_hint("somebody else may be answering in its place")
}
