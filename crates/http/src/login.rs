//! Who asks: users by password at one place, by a token everywhere else.
//!
//! WHAT MAY NEVER HAPPEN: a token outlives its user, the user's password or its time; a page that a browser shows speaks
//! for whoever looks at it.

use crate::problem::Problem;
use crate::server::{Authentication, Peer, Shared};
use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use evenkeel_engine::{Credential, Session, SessionOptions};
use evenkeel_model::{Error, SqlState};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// How long a token is good for.
pub const TOKEN_LIFETIME: Duration = Duration::from_secs(12 * 60 * 60);
/// Tokens that a user may have at once: one more, and the oldest ends.
const TOKENS_MAX: usize = 100;
/// Passwords that are checked at the same time, because each takes a core for a while.
const CHECKS_MAX: usize = 2;
/// So many characters of a name that nobody has checked are logged.
const USER_SHOWN_MAX: usize = 64;
/// Bytes of a token.
const TOKEN_BYTES: usize = 32;

pub(crate) const BASIC: &str = "Basic realm=\"evenkeel\", charset=\"UTF-8\"";
const BEARER: &str = "Bearer realm=\"evenkeel\"";
const EITHER: &str = "Basic realm=\"evenkeel\", charset=\"UTF-8\", Bearer realm=\"evenkeel\"";

/// The tokens that were given out.
pub(crate) struct Logins {
    tokens: Mutex<HashMap<String, Token>>,
    checks: Semaphore,
}

#[derive(Clone)]
struct Token {
    credential: Credential,
    expires: Instant,
}

impl Default for Logins {
    fn default() -> Self {
        Self { tokens: Mutex::default(), checks: Semaphore::new(CHECKS_MAX) }
    }
}

impl Logins {
    fn issue(&self, credential: Credential) -> String {
        let token = BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; TOKEN_BYTES]>());
        let now = Instant::now();
        let mut tokens = self.tokens.lock();
        tokens.retain(|_, token| token.expires > now);
        let own = tokens.iter().filter(|(_, token)| token.credential.user() == credential.user());
        if own.clone().count() >= TOKENS_MAX {
            let oldest = own.min_by_key(|(_, token)| token.expires).map(|(text, _)| text.clone());
            oldest.map(|oldest| tokens.remove(&oldest));
        }
        tokens.insert(token.clone(), Token { credential, expires: now + TOKEN_LIFETIME });
        token
    }

    fn find(&self, token: &str) -> Option<Token> {
        self.tokens.lock().get(token).filter(|token| token.expires > Instant::now()).cloned()
    }

    /// Ends a token.
    pub(crate) fn forget(&self, token: &str) {
        self.tokens.lock().remove(token);
    }
}

/// Somebody who may make statements.
pub(crate) struct Caller {
    pub(crate) session: Session,
    /// When the login ends.
    pub(crate) until: Option<Instant>,
}

impl FromRequestParts<Arc<Shared>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Problem> {
        shared.takes_statements()?;
        if shared.authentication == Authentication::Trust {
            return trusted(shared, parts);
        }
        let Some(token) = bearer(&parts.headers) else {
            let error = Error::new(SqlState::InvalidAuthorization, "this needs a token")
                .with_hint("POST /api/v1/tokens gives one for a user and a password; Authorization: Bearer … uses it");
            return Err(Problem::from(error).challenge(BEARER));
        };
        by_token(shared, token, parts)
    }
}

/// Somebody who may look at what is measured: a token, or name and password for those who can't keep a token.
pub(crate) struct Watcher;

impl FromRequestParts<Arc<Shared>> for Watcher {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Problem> {
        if shared.authentication == Authentication::Trust {
            return trusted(shared, parts).map(|_| Self);
        }
        if let Some(token) = bearer(&parts.headers) {
            return by_token(shared, token, parts).map(|_| Self);
        }
        if authorization(&parts.headers, "Basic").is_none() {
            let error = Error::new(SqlState::InvalidAuthorization, "this needs a login")
                .with_hint("any user's name and password (Basic), or a token (Bearer)");
            return Err(Problem::from(error).challenge(EITHER));
        }
        log_in(shared, &parts.headers, client(parts)).await.map(|_| Self)
    }
}

/// Gives a token to a user with a password.
pub(crate) async fn token(shared: &Arc<Shared>, headers: &HeaderMap, peer: Peer) -> Result<String, Problem> {
    Ok(shared.logins.issue(log_in(shared, headers, Some(peer.0.to_string())).await?))
}

/// The user whose name and password these are.
async fn log_in(shared: &Arc<Shared>, headers: &HeaderMap, client: Option<String>) -> Result<Credential, Problem> {
    let Some((user, password)) = basic(headers) else {
        let error = Error::new(SqlState::InvalidAuthorization, "this needs a user and a password")
            .with_hint("Authorization: Basic, with user:password in base64");
        return Err(Problem::from(error).challenge(BASIC));
    };
    let closed = |_| Error::internal("logins have ended");
    let _turn = shared.logins.checks.acquire().await.map_err(closed)?;
    let database = Arc::clone(&shared.database);
    let shown: String = user.chars().take(USER_SHOWN_MAX).collect();
    let checked = tokio::task::spawn_blocking(move || database.log_in(&user, &password)).await;
    let checked = checked.unwrap_or_else(|_| Err(Error::internal("the password could not be checked")));
    checked.map_err(|error| {
        tracing::warn!(protocol = "http", client, user = shown, sqlstate = error.state.code(), "login failed");
        Problem::from(error).challenge(BASIC)
    })
}

fn by_token(shared: &Arc<Shared>, token: &str, parts: &Parts) -> Result<Caller, Problem> {
    let refused = |error: Error| Problem::from(error).challenge(BEARER);
    let Some(found) = shared.logins.find(token) else {
        let error = Error::new(SqlState::InvalidAuthorization, "the token is not valid, or not any more")
            .with_hint("POST /api/v1/tokens gives another");
        return Err(refused(error));
    };
    let application = application(&parts.headers);
    let session = Session::of_credential(&shared.database, &found.credential, &application, client(parts))
        .inspect_err(|_| shared.logins.forget(token))
        .map_err(refused)?;
    Ok(Caller { session, until: Some(found.expires) })
}

/// Without logins whoever gives a user's name is that user, and anybody else may do everything, so that it matters that
/// nobody speaks through them: a page in a browser on this machine, or a name that somebody else made point here.
fn trusted(shared: &Arc<Shared>, parts: &Parts) -> Result<Caller, Problem> {
    let headers = &parts.headers;
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let local = host.is_some_and(is_loopback);
    let foreign = headers.get(header::ORIGIN).is_some_and(|origin| {
        let host = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
        !host.is_some_and(is_loopback)
    });
    if !local || foreign {
        return Err(Problem::http(StatusCode::FORBIDDEN, "without logins, only programs of this machine may ask"));
    }
    let application = application(headers);
    let named = basic(headers).and_then(|(user, _)| {
        let options = SessionOptions { user, application: application.clone(), client: client(parts) };
        Session::of_user(&shared.database, &options).ok()
    });
    Ok(Caller { session: named.unwrap_or_else(|| Session::new(&shared.database, &application)), until: None })
}

/// Where the client is.
fn client(parts: &Parts) -> Option<String> {
    parts.extensions.get::<ConnectInfo<Peer>>().map(|peer| peer.0.0.to_string())
}

fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn application(headers: &HeaderMap) -> String {
    let agent = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
    agent.map_or_else(|| "http".to_string(), |agent| agent.chars().take(64).collect())
}

pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    authorization(headers, "Bearer")
}

fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let bytes = BASE64_STANDARD.decode(authorization(headers, "Basic")?).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    text.split_once(':').map(|(user, password)| (user.to_string(), password.to_string()))
}

fn authorization<'h>(headers: &'h HeaderMap, scheme: &str) -> Option<&'h str> {
    let (found, rest) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    found.eq_ignore_ascii_case(scheme).then(|| rest.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_this_machine() {
        for host in ["localhost", "localhost:8080", "127.0.0.1", "127.0.0.1:80", "[::1]:8080", "127.1.2.3:1"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example:8080", "10.0.0.1", "[fe80::1]:1", ""] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn authorization_is_read() {
        let with = |value: &str| HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]);
        assert_eq!(bearer(&with("bearer  abc")), Some("abc"));
        assert_eq!(bearer(&with("Basic abc")), None);
        assert_eq!(basic(&with("Basic YWRhOmE6Yg==")), Some(("ada".to_string(), "a:b".to_string())));
        assert_eq!(basic(&with("Basic YWRh")), None);
    }
}
