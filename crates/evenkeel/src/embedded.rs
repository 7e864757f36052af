//! The shell's connection to a database in the same process.

use evenkeel_engine as engine;
use evenkeel_model::Result;
use evenkeel_shell::connection::{Completion, Connection, Event, Notice, Progress, ProgressUnit, TransactionState};
use futures::StreamExt;
use futures::stream::BoxStream;

/// A session of a database of this process.
pub struct Embedded {
    session: engine::Session,
}

impl Embedded {
    /// Wraps a session.
    pub fn new(session: engine::Session) -> Self {
        Self { session }
    }
}

impl Connection for Embedded {
    fn execute<'a>(&'a self, statement: &'a str, variables: &'a [(String, String)]) -> BoxStream<'a, Result<Event>> {
        let events = self.session.execute(statement, variables);
        events.filter_map(async |event| event.map(translate).transpose()).boxed()
    }

    fn cancel(&self) {
        self.session.cancel();
    }

    fn transaction(&self) -> TransactionState {
        match self.session.transaction() {
            engine::TransactionState::Idle => TransactionState::Idle,
            engine::TransactionState::Open => TransactionState::Open,
            engine::TransactionState::Failed => TransactionState::Failed,
        }
    }
}

fn translate(event: engine::Event) -> Option<Event> {
    Some(match event {
        // Only clients of a server are told before rows come or go.
        engine::Event::Copying(_) => return None,
        engine::Event::Schema(schema) => Event::Schema(schema),
        engine::Event::Batch(batch) => Event::Batch(batch),
        engine::Event::Notice { message, hint } => Event::Notice(Notice { message, hint }),
        engine::Event::Progress(progress) => Event::Progress(Progress {
            label: progress.label,
            done: progress.done,
            total: progress.total,
            unit: if progress.in_bytes { ProgressUnit::Bytes } else { ProgressUnit::Rows },
            rows: Some(progress.rows),
        }),
        engine::Event::Copy(rows) => Event::Copy(rows),
        engine::Event::Complete(tag) => Event::Complete(Completion { tag }),
    })
}
