//! How the process is, for those who watch it: `/livez`, `/readyz`, and what is measured at `/metrics`.
//!
//! ```text
//! table   every metric, in one list ─┬▶ text       what Prometheus reads
//!                                    ├▶ page       docs/metrics.md
//!                                    ╰▶ dashboard  docs/grafana.json
//! ```

mod dashboard;
mod page;
mod table;
mod text;

pub use dashboard::grafana;
pub use page::page;

use crate::login::Watcher;
use crate::problem::{Problem, ProblemBody};
use crate::server::Shared;
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use evenkeel_model::Error;
use serde::Serialize;
use std::sync::Arc;
use table::{METRICS, Observed};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// What `/metrics` is served as.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The names of all metrics.
pub const METRIC_NAMES: [&str; METRICS.len()] = {
    let (mut names, mut at) = ([""; METRICS.len()], 0);
    while at < METRICS.len() {
        names[at] = METRICS[at].name;
        at += 1;
    }
    names
};

pub(crate) fn router() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new().routes(routes!(livez)).routes(routes!(readyz)).routes(routes!(metrics))
}

/// Whether statements are taken.
#[derive(Debug, Serialize, ToSchema)]
struct Readiness {
    /// `ready`, `stopping` or `incomplete`: a shard is not open.
    status: &'static str,
    /// Storage is open and recovery is done: a server that answers has both behind it.
    storage: &'static str,
    recovery: &'static str,
    shards: ShardCounts,
}

/// Shards that this process serves.
#[derive(Debug, Serialize, ToSchema)]
struct ShardCounts {
    claimed: usize,
    target: usize,
}

#[utoipa::path(
    get,
    path = "/livez",
    tag = "watching",
    summary = "Whether the process answers",
    responses((status = 200, description = "It does", body = String, content_type = "text/plain"))
)]
async fn livez() -> &'static str {
    "ok\n"
}

#[utoipa::path(
    get,
    path = "/readyz",
    tag = "watching",
    summary = "Whether statements are taken",
    responses(
        (status = 200, description = "They are", body = Readiness),
        (status = 503, description = "They are not, or not any more", body = Readiness),
    )
)]
async fn readyz(State(shared): State<Arc<Shared>>) -> Response {
    let (target, claimed) = shared.database.shards_claimed();
    let (code, status) = match shared.takes_statements() {
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
        Ok(()) if claimed < target => (StatusCode::SERVICE_UNAVAILABLE, "incomplete"),
        Ok(()) => (StatusCode::OK, "ready"),
    };
    let shards = ShardCounts { claimed, target };
    (code, Json(Readiness { status, storage: "open", recovery: "done", shards })).into_response()
}

#[utoipa::path(
    get,
    path = "/metrics",
    tag = "watching",
    summary = "What is measured, as Prometheus reads it",
    description = "For every user, with a password or a token: numbers about the whole database, and no rows.",
    responses(
        (status = 200, description = "Metrics", body = String, content_type = "text/plain"),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    ),
    security((), ("password" = []), ("token" = []))
)]
async fn metrics(State(shared): State<Arc<Shared>>, _watcher: Watcher) -> Result<Response, Problem> {
    let measured = tokio::task::spawn_blocking(move || {
        let measures = shared.database.measures();
        text::text(&Observed {
            measures,
            connections: shared.connections(),
            answered: shared.answered.lock().iter().map(|(status, count)| (*status, *count)).collect(),
        })
    });
    let text = measured.await.map_err(|_| Error::internal("the measurement failed"))?;
    Ok(([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response())
}
