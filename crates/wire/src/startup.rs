//! From a socket to a session: encryption, the start-up message, who it is.

use crate::connection::put_text;
use crate::error::{self, Fault};
use crate::server::{Authentication, Seat, Shared};
use crate::stream::{End, Socket, Stream};
use bytes::{Buf, BufMut};
use evenkeel_engine::{Session, SessionOptions};
use evenkeel_model::progress::EXTENSION;
use evenkeel_model::{Error, SqlState};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// A start-up message is not longer than this.
const LENGTH_MAX: usize = 10_000;
const VERSION_3: i32 = 3;
/// So many characters of a name that nobody has checked are logged.
const USER_SHOWN_MAX: usize = 64;
/// Instead of a version: requests.
const CANCEL: i32 = 80_877_102;
const ENCRYPT: i32 = 80_877_103;
const ENCRYPT_GSS: i32 = 80_877_104;
/// What drivers take the server for: the version decides which queries they ask of the catalog.
const SERVER_VERSION: &str = concat!("15.0 (Evenkeel ", env!("CARGO_PKG_VERSION"), ")");

/// A client that has said who it is.
pub(crate) struct Started {
    pub(crate) stream: Stream,
    pub(crate) session: Session,
    pub(crate) user: String,
    pub(crate) seat: Seat,
}

/// What the start-up message asks for.
struct Wanted {
    minor: i32,
    parameters: BTreeMap<String, String>,
}

/// Brings a connection to where statements can come; `None` when it has ended before.
pub(crate) async fn start(
    shared: &Arc<Shared>,
    socket: Box<dyn Socket>,
    peer: Option<SocketAddr>,
    count: usize,
) -> Option<Started> {
    let mut stream = Stream::new(socket);
    let mut encrypted = false;
    loop {
        match first(&mut stream).await {
            Ok(First::Encrypt) if shared.tls.is_some() && !encrypted => {
                stream = encrypt(shared, stream).await?;
                encrypted = true;
            }
            Ok(First::Encrypt | First::EncryptGss) => {
                stream.output.put_u8(b'N');
                stream.flush().await.ok()?;
            }
            Ok(First::Cancel { pid, secret }) => {
                shared.cancel(pid, secret);
                return None;
            }
            Ok(First::Start(wanted)) => {
                let outcome = admit(shared, &mut stream, &wanted, encrypted, peer, count).await;
                return match outcome {
                    Ok((session, user, seat)) => {
                        stream.logged_in(shared.size("max_message_size"));
                        Some(Started { stream, session, user, seat })
                    }
                    Err(end) => {
                        log_refusal(&end, &wanted, peer);
                        refuse(&mut stream, end).await
                    }
                };
            }
            Err(end) => return refuse(&mut stream, end).await,
        }
    }
}

/// Somebody who is not let in; of a password nothing is told.
fn log_refusal(end: &End, wanted: &Wanted, peer: Option<SocketAddr>) {
    let End::Fault(fault) = end else { return };
    let error = &fault.error;
    let user: Option<String> = wanted.parameters.get("user").map(|user| user.chars().take(USER_SHOWN_MAX).collect());
    let (client, sqlstate) = (address(peer), error.state.code());
    match error.state {
        SqlState::InvalidPassword | SqlState::InvalidAuthorization => {
            tracing::warn!(protocol = "postgresql", client, user, sqlstate, "login failed");
        }
        SqlState::TooManyConnections => {
            tracing::warn!(protocol = "postgresql", client, user, sqlstate, "connection refused");
        }
        _ => tracing::debug!(protocol = "postgresql", client, user, sqlstate, "connection refused"),
    }
}

async fn refuse(stream: &mut Stream, end: End) -> Option<Started> {
    if let End::Fault(mut fault) = end {
        fault.fatal = true;
        error::write(&fault, "", "", stream);
        // Nobody may be there to read it.
        let _ = stream.flush().await;
    }
    None
}

enum First {
    Encrypt,
    EncryptGss,
    Cancel { pid: i32, secret: i32 },
    Start(Wanted),
}

async fn first(stream: &mut Stream) -> Result<First, End> {
    stream.fill(8).await?;
    let length = usize::try_from((&stream.input[..4]).get_i32()).unwrap_or(0);
    if !(8..=LENGTH_MAX).contains(&length) {
        return Err(Fault::protocol("this is no start-up message").into());
    }
    stream.fill(length).await?;
    let mut body = stream.input.split_to(length);
    body.advance(4);
    match body.get_i32() {
        ENCRYPT => Ok(First::Encrypt),
        ENCRYPT_GSS => Ok(First::EncryptGss),
        CANCEL if body.len() == 8 => Ok(First::Cancel { pid: body.get_i32(), secret: body.get_i32() }),
        version if version >> 16 == VERSION_3 => {
            let parameters = parameters(&body)?;
            Ok(First::Start(Wanted { minor: version & 0xffff, parameters }))
        }
        version => {
            let message = format!("protocol {}.{} is not spoken here", version >> 16, version & 0xffff);
            Err(Fault::protocol(message).with_hint("3.0 is").into())
        }
    }
}

/// Names and values, each ended by a zero; another zero ends them all.
fn parameters(body: &[u8]) -> Result<BTreeMap<String, String>, Fault> {
    let text = std::str::from_utf8(body)
        .map_err(|_| Fault::new(SqlState::CharacterNotInRepertoire, "the start-up message is not UTF-8"))?;
    let mut parts = text.split('\0');
    let mut parameters = BTreeMap::new();
    while let Some(name) = parts.next().filter(|name| !name.is_empty()) {
        let value = parts.next().ok_or_else(|| Fault::protocol(format!("parameter {name} has no value")))?;
        parameters.insert(name.to_string(), value.to_string());
    }
    Ok(parameters)
}

async fn encrypt(shared: &Shared, mut stream: Stream) -> Option<Stream> {
    let tls = shared.tls.as_ref()?;
    stream.output.put_u8(b'S');
    stream.flush().await.ok()?;
    let socket = stream.into_socket().ok()?;
    match tls.accept(socket).await {
        Ok(socket) => Some(Stream::new(Box::new(socket))),
        Err(error) => {
            tracing::debug!(%error, "a connection could not be encrypted");
            None
        }
    }
}

async fn admit(
    shared: &Arc<Shared>,
    stream: &mut Stream,
    wanted: &Wanted,
    encrypted: bool,
    peer: Option<SocketAddr>,
    count: usize,
) -> Result<(Session, String, Seat), End> {
    let of = |name: &str| wanted.parameters.get(name).map(String::as_str);
    let user = of("user")
        .filter(|user| !user.is_empty())
        .ok_or_else(|| Fault::fatal(SqlState::InvalidAuthorization, "the start-up message names no user"))?;
    stream.extended = of(EXTENSION).is_some();
    let foreign = |name: &&str| name.starts_with("_pq_.") && *name != EXTENSION;
    let unknown: Vec<&str> = wanted.parameters.keys().map(String::as_str).filter(foreign).collect();
    if wanted.minor > 0 || !unknown.is_empty() {
        negotiate(stream, &unknown);
    }
    if shared.tls_only && !encrypted {
        return Err(Fault::fatal(SqlState::InvalidAuthorization, "only encrypted connections are taken")
            .with_hint("sslmode=require")
            .into());
    }
    let limit = shared.database.setting_integer("max_connections");
    if limit > 0 && count as i64 > limit {
        return Err(Fault::fatal(SqlState::TooManyConnections, format!("there are {limit} connections already"))
            .with_hint("ALTER SYSTEM SET max_connections lets more in")
            .into());
    }
    if let Some(encoding) = of("client_encoding")
        && !matches!(encoding.to_ascii_lowercase().replace(['-', '_'], "").as_str(), "utf8" | "unicode" | "auto")
    {
        let message = format!("encoding {encoding} is not spoken here");
        return Err(Fault::fatal(SqlState::InvalidParameterValue, message).with_hint("UTF8 is").into());
    }
    let application = of("application_name").unwrap_or_default();
    let session = match shared.authentication {
        Authentication::Trust => trusted(shared, user, application, peer),
        Authentication::Scram => crate::scram::authenticate(shared, stream, user, application, peer).await?,
    };
    // Only who somebody has proved to be counts.
    let seat = Seat::take(shared, &session).map_err(Fault::from)?;
    settle(&session, wanted).await?;
    Ok((session, user.to_string(), seat))
}

/// Whoever gives a user's name is that user; anybody else is the database's owner.
fn trusted(shared: &Shared, user: &str, application: &str, peer: Option<SocketAddr>) -> Session {
    let options =
        SessionOptions { user: user.to_string(), application: application.to_string(), client: address(peer) };
    Session::of_user(&shared.database, &options).unwrap_or_else(|_| Session::new(&shared.database, application))
}

/// Where a client is, as SYSTEM.SESSIONS shows it.
pub(crate) fn address(peer: Option<SocketAddr>) -> Option<String> {
    peer.map(|peer| peer.to_string())
}

/// Settings that come with the start-up message, as SET would set them.
async fn settle(session: &Session, wanted: &Wanted) -> Result<(), Fault> {
    use futures::StreamExt;
    const NOT_SETTINGS: [&str; 6] =
        ["user", "database", "options", "replication", "client_encoding", "application_name"];
    let mut settings: Vec<(String, String)> = Vec::new();
    if let Some(options) = wanted.parameters.get("options") {
        settings.extend(options_of(options));
    }
    let named = wanted.parameters.iter().filter(|(name, _)| !NOT_SETTINGS.contains(&name.as_str()));
    settings.extend(named.filter(|(name, _)| !name.starts_with("_pq_.")).map(|(n, v)| (n.clone(), v.clone())));
    for (name, value) in settings {
        let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'));
        if !plain {
            return Err(Fault::fatal(SqlState::UndefinedObject, format!("\"{name}\" is no setting")));
        }
        let mut answer = session.answer(&format!("SET {name} = '{}'", value.replace('\'', "''")));
        while let Some(event) = answer.next().await {
            event.map_err(|error: Error| Fault { error, fatal: true })?;
        }
    }
    Ok(())
}

/// `-c name=value -c name=value`, `--name=value`
fn options_of(options: &str) -> Vec<(String, String)> {
    let words = options.split_whitespace().filter(|word| *word != "-c");
    let pair = |word: &str| {
        let word = word.trim_start_matches("--").trim_start_matches("-c");
        word.split_once('=').map(|(name, value)| (name.replace('-', "_"), value.to_string()))
    };
    words.filter_map(pair).collect()
}

/// Says that 3.0 is the newest minor version, and which options are not known.
fn negotiate(stream: &mut Stream, unknown: &[&str]) {
    let out = &mut stream.output;
    out.put_u8(b'v');
    out.put_i32(12 + unknown.iter().map(|name| name.len() as i32 + 1).sum::<i32>());
    out.put_i32(VERSION_3 << 16);
    out.put_i32(unknown.len() as i32);
    for name in unknown {
        out.put_slice(name.as_bytes());
        out.put_u8(0);
    }
}

/// Says that the client may begin, and what it should know.
pub(crate) fn greet(stream: &mut Stream, (pid, secret): (i32, i32), user: &str) {
    let out = &mut stream.output;
    out.extend_from_slice(&[b'R', 0, 0, 0, 8, 0, 0, 0, 0]);
    for (name, value) in [
        ("server_version", SERVER_VERSION),
        ("server_encoding", "UTF8"),
        ("client_encoding", "UTF8"),
        ("DateStyle", "ISO, MDY"),
        ("IntervalStyle", "postgres"),
        ("TimeZone", "UTC"),
        ("integer_datetimes", "on"),
        ("standard_conforming_strings", "on"),
        ("session_authorization", user),
    ] {
        put_text(b'S', &[name, value], out);
    }
    out.put_u8(b'K');
    out.put_i32(12);
    out.put_i32(pid);
    out.put_i32(secret);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_settings() {
        let expected = [("statement_timeout".to_string(), "5s".to_string()), ("a_b".to_string(), "1".to_string())];
        assert_eq!(options_of("-c statement_timeout=5s --a-b=1"), expected);
        assert_eq!(options_of("-cstatement_timeout=5s"), expected[..1]);
    }

    #[test]
    fn parameters_are_pairs() {
        let parsed = parameters(b"user\0ada\0database\0flights\0\0").expect("pairs");
        assert_eq!(parsed["user"], "ada");
        assert_eq!(parsed["database"], "flights");
        assert!(parameters(b"user").is_err());
        assert!(parameters(&[0xff, 0]).is_err());
    }
}
