//! REST, metrics and readiness over sessions.
//!
//! WHAT MAY NEVER HAPPEN: a call does what its statement would not be allowed to; what is shown to somebody without a login
//! is more than how the process is; an answer that broke off looks whole.
//!
//! ```text
//! server   the listener, encryption, the end ─▶ login   who asks ─▶ api     one call, one statement
//!                                                                    ├─▶ page    lists of SYSTEM tables
//!                                                                    ├─▶ events  what happens, as it happens
//!                                                                    ╰─▶ answer  rows as JSON, NDJSON, Arrow
//!                                                          problem  errors        metrics  /livez /readyz /metrics
//! ```

mod answer;
mod api;
mod events;
mod login;
mod metrics;
mod page;
mod problem;
mod server;

pub use login::TOKEN_LIFETIME;
pub use metrics::{METRIC_NAMES, grafana, page as metrics_page};
pub use server::{Authentication, Connections, Options, Server, Stop, listen, may_listen};

/// The interface's description in OpenAPI 3.1, as JSON.
///
/// # Panics
/// Never: a description is JSON.
pub fn openapi() -> String {
    let document = api::router().merge(metrics::router()).into_openapi();
    let mut text = document.to_pretty_json().expect("a description is JSON");
    text.push('\n');
    text
}
