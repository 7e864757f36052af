//! REST, metrics and readiness, by a client that knows nothing of the server but its address.
//!
//! WHAT MAY NEVER HAPPEN: a call does what its statement would not be allowed to; an answer that broke off looks whole; what
//! is shown of the process is not what is documented.

#[path = "http/answers.rs"]
mod answers;
#[path = "http/calls.rs"]
mod calls;
#[path = "http/documents.rs"]
mod documents;
#[path = "http/ending.rs"]
mod ending;
#[path = "http/events.rs"]
mod events;
#[path = "http/ground.rs"]
mod ground;
#[path = "http/logins.rs"]
mod logins;
#[path = "http/metrics.rs"]
mod metrics;
#[path = "http/silence.rs"]
mod silence;
