//! What happens, as it happens: rows of SYSTEM.EVENTS as server-sent events.
//!
//! Every look is a statement of the caller's, so that a right that was taken away ends the stream. Nothing is passed over:
//! events are numbered, and a client that comes back says what it has seen last.

use crate::login::Caller;
use crate::page::{EVENTS, Part, Row};
use crate::problem::{Problem, ProblemBody, Query};
use crate::server::{Phase, Shared};
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use evenkeel_engine::Session;
use evenkeel_model::{Error, SqlState};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Events that are looked up at a time.
const LOOK: u32 = 500;
/// A comment is sent when nothing else was for so long, so that nobody on the way takes the connection for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

#[utoipa::path(
    get,
    path = "/api/v1/events",
    tag = "watching",
    summary = "What has happened, or with Accept: text/event-stream what happens",
    description = "As a stream: server-sent events, whose `id` is the event's number and whose `event` is its kind. It \
                   begins with the next event, or behind `after` or the header `Last-Event-ID`. It ends with the login.",
    params(Part),
    responses(
        (status = 200, description = "A page, oldest first, or a stream", content(
            (ref("#/components/schemas/EventPage") = "application/json"),
            (String = "text/event-stream"),
        )),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    ),
    security((), ("token" = []))
)]
pub(crate) async fn events(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    headers: HeaderMap,
    Query(part): Query<Part>,
) -> Result<Response, Problem> {
    let said = |name| headers.get(name).and_then(|value: &axum::http::HeaderValue| value.to_str().ok());
    let streams = said(header::ACCEPT).is_some_and(|accept| accept.contains("text/event-stream"));
    if !streams {
        return EVENTS.page(caller.session, &part, &[]).await.map(|page| Json(page).into_response());
    }
    let mut newest = shared.database.newest_event();
    let behind = said(header::HeaderName::from_static("last-event-id")).or(part.after.as_deref());
    let seen = match behind.map(|text| (text, text.parse::<u64>())) {
        Some((_, Ok(number))) => number,
        Some((text, Err(_))) => {
            let error = Error::new(SqlState::InvalidParameterValue, format!("\"{text}\" is no number of an event"));
            return Err(error.into());
        }
        None => *newest.borrow_and_update(),
    };
    let mut watching =
        Watching { shared, session: caller.session, until: caller.until, newest, seen, found: VecDeque::new() };
    // Whoever may not look is told before the stream begins.
    watching.look().await?;
    let stream = futures::stream::unfold(Some(watching), |watching| async {
        let mut watching = watching?;
        match watching.next().await {
            Ok(Some(row)) => Some((Ok::<_, Infallible>(event(&row)), Some(watching))),
            Ok(None) => None,
            Err(problem) => Some((Ok(ended(&problem)), None)),
        }
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

/// A client that is told of events.
struct Watching {
    shared: Arc<Shared>,
    session: Session,
    until: Option<Instant>,
    newest: watch::Receiver<u64>,
    /// The last event that was found.
    seen: u64,
    found: VecDeque<Row>,
}

impl Watching {
    async fn look(&mut self) -> Result<(), Problem> {
        let behind = format!("event_id > {}", self.seen);
        self.found.extend(EVENTS.rows(self.session.clone(), &[behind], LOOK).await?);
        self.seen = self.found.back().and_then(number).unwrap_or(self.seen);
        Ok(())
    }

    /// The next event; `None` when the server or the login ends.
    async fn next(&mut self) -> Result<Option<Row>, Problem> {
        loop {
            if let Some(row) = self.found.pop_front() {
                return Ok(Some(row));
            }
            if *self.newest.borrow_and_update() > self.seen {
                self.look().await?;
                if !self.found.is_empty() {
                    continue;
                }
            }
            let expired = async {
                match self.until {
                    Some(until) => tokio::time::sleep_until(until.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = self.newest.changed() => if changed.is_err() { return Ok(None) },
                () = self.shared.reached(Phase::Draining) => return Ok(None),
                () = expired => return Ok(None),
            }
        }
    }
}

fn number(row: &Row) -> Option<u64> {
    row.get("event_id").and_then(serde_json::Value::as_u64)
}

fn event(row: &Row) -> Event {
    let kind = row.get("kind").and_then(serde_json::Value::as_str).unwrap_or("event");
    let id = number(row).map(|id| id.to_string()).unwrap_or_default();
    Event::default().id(id).event(kind).data(serde_json::Value::Object(row.clone()).to_string())
}

/// Why nothing more comes.
fn ended(problem: &Problem) -> Event {
    Event::default().event("problem").data(serde_json::to_string(problem).unwrap_or_default())
}
