//! A database that answers what it was told to answer, and the shell around it: for tests.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use evenkeel_model::{Error, Result, SqlState};
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use tokio::sync::{Notify, watch};

use crate::connection::{Connection, Event, Input, Notice, TransactionState};
use crate::rows::{Batch, Column, Columns, Kind};
use crate::{Interrupt, Options, Shell, Streams};

/// A statement that does not end until it is cancelled; no more do those that wait.
pub const ENDLESS: &str = "SELECT endless";

/// A statement during which the connection breaks.
pub const FATAL: &str = "SELECT fatal";

/// Answers scripted statements; anything else is `OK`.
#[derive(Default)]
pub struct Fake {
    answers: BTreeMap<String, Vec<Result<Event>>>,
    log: Mutex<Vec<String>>,
    cancelled: Notify,
    lost: AtomicBool,
}

impl Fake {
    /// Answers this statement with these events.
    pub fn answer(mut self, statement: &str, events: Vec<Result<Event>>) -> Self {
        self.answers.insert(statement.to_string(), events);
        self
    }

    /// Answers this query with these rows.
    pub fn rows(self, query: &str, batch: Batch) -> Self {
        let tag = format!("SELECT {}", batch.row_count());
        let events = vec![Event::Columns(Columns::clone(batch.columns())), Event::Batch(batch), complete(&tag)];
        self.answer(query, events.into_iter().map(Ok).collect())
    }

    /// Fails this statement.
    pub fn error(self, statement: &str, error: Error) -> Self {
        self.answer(statement, vec![Err(error)])
    }
}

/// The end of a statement.
pub fn complete(tag: &str) -> Event {
    Event::Complete(tag.to_string())
}

/// Rows of columns of these names and of PostgreSQL's types of these numbers.
pub fn batch<const N: usize>(columns: [(&str, u32); N], rows: &[[Option<&str>; N]]) -> Batch {
    let columns = columns.map(|(name, oid)| Column { name: name.to_string(), kind: Kind::of_oid(oid) });
    let mut batch = Batch::new(Columns::from(columns));
    rows.iter().for_each(|row| batch.push(*row));
    batch
}

impl Connection for Fake {
    fn execute<'a>(
        &'a self,
        statement: &'a str,
        variables: &'a [(String, String)],
        _: Input,
    ) -> BoxStream<'a, Result<Event>> {
        let given: String = variables.iter().map(|(name, value)| format!(" @{name}={value}")).collect();
        self.log.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{statement}{given}"));
        if statement == ENDLESS || statement.starts_with("WAIT") {
            let ended = async {
                self.cancelled.notified().await;
                Err(Error::new(SqlState::QueryCanceled, "cancelled"))
            };
            return stream::once(ended).boxed();
        }
        if statement == FATAL {
            self.lost.store(true, Ordering::SeqCst);
            let error = Error::new(SqlState::ConnectionFailure, "the connection to the server was lost");
            return stream::once(std::future::ready(Err(error))).boxed();
        }
        let events = self.answers.get(statement).cloned().unwrap_or_else(|| vec![Ok(complete("OK"))]);
        stream::iter(events).boxed()
    }

    fn cancel(&self) {
        self.cancelled.notify_one();
    }

    fn transaction(&self) -> TransactionState {
        TransactionState::Idle
    }

    fn is_lost(&self) -> bool {
        self.lost.load(Ordering::SeqCst)
    }

    fn revive(&self) -> BoxFuture<'_, Result<Option<Notice>>> {
        let was_lost = self.lost.swap(false, Ordering::SeqCst);
        let notice = was_lost.then(|| Notice { message: "connected again".to_string(), hint: None });
        std::future::ready(Ok(notice)).boxed()
    }
}

/// A writer whose text can be read while somebody else owns it.
#[derive(Clone, Default)]
pub struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A shell over a fake, with everything that it writes.
pub struct Stage {
    pub shell: Shell,
    pub interrupt: watch::Sender<u64>,
    fake: Arc<Fake>,
    out: Captured,
    err: Captured,
}

impl Stage {
    pub fn new(fake: Fake, options: &Options) -> Self {
        let (out, err) = (Captured::default(), Captured::default());
        let fake = Arc::new(fake);
        let connection: Arc<dyn Connection> = Arc::<Fake>::clone(&fake);
        let (interrupt, receiver) = Interrupt::by_hand();
        let streams = Streams::new(Box::new(out.clone()), Box::new(err.clone()));
        Self { shell: Shell::new(connection, options, streams, receiver), interrupt, fake, out, err }
    }

    pub fn out(&self) -> String {
        self.out.text()
    }

    pub fn err(&self) -> String {
        self.err.text()
    }

    /// The statements that were run, with the variables they were given.
    pub fn log(&self) -> Vec<String> {
        self.fake.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
