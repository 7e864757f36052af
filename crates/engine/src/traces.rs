//! What is told outside of statements and of the phases of migrations: lines of the log, and spans for whoever collects
//! traces.
//!
//! WHAT MAY NEVER HAPPEN: a statement's text, or a value of it, is told, but for the name of a file that failed. Spans are of a target of their own and of the lowest
//! level, so that nothing is made while nobody collects them: the check is one comparison.

use crate::measures::StatementClass;
use crate::statement::Outcome;
use evenkeel_model::{Error, MigrationId, Result};
use evenkeel_pql::keywords::STATEMENTS;
use evenkeel_rebalancer::migration::Phase;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::time::Duration;
use tracing::Span;
use tracing::field::Empty;

/// The target of every span.
pub const SPAN_TARGET: &str = "evenkeel::span";

/// What a statement's text begins with, if that is a word of the language; nothing else of it is ever told.
fn operation(text: &str) -> &'static str {
    let word: String = text.trim_start().chars().take_while(char::is_ascii_alphabetic).collect();
    let mut known = STATEMENTS.iter().filter_map(|statement| statement.name.split(' ').next());
    known.find(|known| known.eq_ignore_ascii_case(&word)).unwrap_or("STATEMENT")
}

/// A statement, by the numbers that it has in the SYSTEM tables.
pub(crate) struct Told<'s> {
    pub(crate) query: u64,
    pub(crate) session: u64,
    pub(crate) user: &'s str,
}

impl Told<'_> {
    /// Its span, which begins here.
    pub(crate) fn span(&self, text: &str) -> Span {
        let span = tracing::trace_span!(
            target: SPAN_TARGET,
            "statement",
            otel.name = Empty,
            otel.kind = "server",
            otel.status_code = Empty,
            db.system.name = "evenkeel",
            db.operation.name = Empty,
            db.response.returned_rows = Empty,
            db.response.status_code = Empty,
            "error.type" = Empty,
            user.name = self.user,
            evenkeel.session = self.session,
            evenkeel.class = Empty,
        );
        if !span.is_disabled() {
            let operation = operation(text);
            span.record("otel.name", operation).record("db.operation.name", operation);
        }
        span
    }

    /// Logs what the operator has to know of: defects, damage, a disk or memory that is short. The rest is the client's.
    pub(crate) fn failed(&self, error: &Error) {
        let Self { query, session, user } = *self;
        let (sqlstate, detail) = (error.state.code(), error.detail.as_deref());
        match &sqlstate[..2] {
            "XX" => tracing::error!(query, session, user, sqlstate, error = error.message, detail, "statement failed"),
            "53" | "58" => {
                tracing::warn!(query, session, user, sqlstate, error = error.message, detail, "statement failed");
            }
            _ => tracing::debug!(query, session, user, sqlstate, "statement failed"),
        }
    }

    /// The text is not logged, because it has values: SYSTEM.SLOW_QUERIES has it, by the same number.
    pub(crate) fn slow(&self, elapsed: Duration, outcome: &Result<Outcome>) {
        let Self { query, session, user } = *self;
        let (rows, sqlstate) = match outcome {
            Ok(outcome) => (Some(outcome.rows), None),
            Err(error) => (None, Some(error.state.code())),
        };
        let duration_ms = elapsed.as_micros() as f64 / 1e3;
        tracing::info!(query, session, user, duration_ms, rows, sqlstate, "slow statement");
    }
}

/// Notes in a statement's span how it ended.
pub(crate) fn ended(span: &Span, class: StatementClass, outcome: &Result<Outcome>) {
    if span.is_disabled() {
        return;
    }
    span.record("evenkeel.class", class.name());
    match outcome {
        Ok(outcome) => {
            span.record("db.response.returned_rows", outcome.rows);
        }
        Err(Error { state, .. }) => {
            span.record("otel.status_code", "ERROR");
            span.record("db.response.status_code", state.code()).record("error.type", state.code());
        }
    }
}

/// The phases that migrations are in.
#[derive(Default)]
pub(crate) struct PhaseSpans(Mutex<HashMap<MigrationId, Span>>);

impl PhaseSpans {
    /// A migration enters a phase: its span begins, and that of the phase before ends.
    pub(crate) fn enter(&self, migration: MigrationId, phase: Phase) {
        let span = tracing::trace_span!(
            target: SPAN_TARGET,
            "migration phase",
            otel.name = Empty,
            evenkeel.migration = migration.0,
            evenkeel.phase = phase.name(),
        );
        let mut spans = self.0.lock();
        if span.is_disabled() || phase.is_over() {
            spans.remove(&migration);
            return;
        }
        span.record("otel.name", format!("migration {phase}"));
        spans.insert(migration, span);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_a_word_of_the_language_or_nothing() {
        assert_eq!(operation("  query t WHERE secret = 'x'"), "QUERY");
        assert_eq!(operation("SELECT 1"), "SELECT");
        assert_eq!(operation("hunter2"), "STATEMENT");
        assert_eq!(operation(""), "STATEMENT");
    }
}
