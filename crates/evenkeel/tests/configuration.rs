//! `evenkeel serve` and `evenkeel config` as they are started: where values come from, what is refused, what is logged.
//!
//! WHAT MAY NEVER HAPPEN: a start that is refused leaves something behind; a file with a mistake changes a server that runs;
//! a log or a trace has a value of a statement in it, or a password.

#[path = "configuration/ground.rs"]
mod ground;
#[path = "configuration/layers.rs"]
mod layers;
#[path = "configuration/logs.rs"]
mod logs;
#[path = "configuration/reloading.rs"]
mod reloading;
#[path = "configuration/traces.rs"]
mod traces;
#[path = "configuration/units.rs"]
mod units;
