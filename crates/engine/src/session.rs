//! A session: one statement after another, in or outside a transaction block.
//!
//! A statement outside BEGIN … COMMIT is a transaction of its own and is retried by itself when another one got in its
//! way; inside a block a conflict is the client's to retry, because the client has seen rows. A statement that fails
//! inside a block leaves the block failed, as in PostgreSQL: it takes nothing but ROLLBACK.

use crate::access::{Credential, Identity, Need, Who};
use crate::database::Database;
use crate::load::BlockLoad;
use crate::measures::StatementClass;
use crate::names::Names;
use crate::oracle::now_ms;
use crate::output::{Event, Output, cancelled};
use crate::parsed::Parsed;
use crate::planning::Planning;
use crate::prepared::PreparedUpdate;
use crate::registry::{Now, Registered, RunningQuery};
use crate::statement::Outcome;
use crate::traces;
use crate::transaction::Transaction;
use crate::view::ReadView;
use datafusion::common::ScalarValue;
use evenkeel_catalog::snapshot as state;
use evenkeel_model::{Error, Result, Settings, SqlState};
use evenkeel_storage::Durability;
use futures::future::BoxFuture;
use futures::{FutureExt, Stream};
use parking_lot::Mutex;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc};

/// How often a statement outside a transaction block is tried before a conflict is reported.
const ATTEMPTS_MAX: u32 = 50;

/// Asks a running statement to stop. Either it is stopped or it commits, whichever comes first.
#[derive(Debug, Default)]
pub(crate) struct Cancel {
    asked: AtomicBool,
    timed_out: AtomicBool,
    /// Nobody wants the rest of the answer, and what was read of it is right.
    abandoned: AtomicBool,
    stage: AtomicU8,
    notify: Notify,
}

/// It can be stopped.
const RUNNING: u8 = 0;
/// It can't be stopped any more.
const COMMITTING: u8 = 1;
/// It was stopped, and can't commit any more.
const STOPPED: u8 = 2;

impl Cancel {
    pub(crate) fn ask(&self) {
        self.asked.store(true, Ordering::SeqCst);
        self.notify.notify_waiters();
    }

    /// From here on the statement can't be stopped: it is committing.
    ///
    /// # Errors
    /// 57014 when it was stopped before.
    pub(crate) fn shield(&self) -> Result<()> {
        match self.enter(COMMITTING) {
            true => Ok(()),
            false => Err(self.reason()),
        }
    }

    /// The statement goes on after its commit has failed.
    fn unshield(&self) {
        let _ = self.stage.compare_exchange(COMMITTING, RUNNING, Ordering::SeqCst, Ordering::SeqCst);
    }

    fn enter(&self, stage: u8) -> bool {
        let before = self.stage.compare_exchange(RUNNING, stage, Ordering::SeqCst, Ordering::SeqCst);
        before.map_or_else(|found| found == stage, |_| true)
    }

    fn is_asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }

    /// # Errors
    /// 57014 when somebody asked, and it was not committing before.
    pub(crate) fn check(&self) -> Result<()> {
        if self.is_asked() && self.enter(STOPPED) { Err(self.reason()) } else { Ok(()) }
    }

    fn reason(&self) -> Error {
        if self.timed_out.load(Ordering::SeqCst) {
            return Error::new(SqlState::QueryCanceled, "the statement took longer than statement_timeout");
        }
        cancelled()
    }

    /// Resolves when somebody asks and the statement can still be stopped.
    async fn asked(&self) {
        loop {
            let notified = self.notify.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if self.check().is_err() {
                return;
            }
            notified.await;
        }
    }
}

/// Whether a transaction block is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionState {
    Idle,
    Open,
    Failed,
}

/// Whose a session is, and where it comes from.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// A user who has proved to be that.
    pub user: String,
    /// What SYSTEM.SESSIONS calls the session.
    pub application: String,
    /// Where the client is.
    pub client: Option<String>,
}

/// A session of a database. Statements of one session run one after another.
#[derive(Clone)]
pub struct Session {
    pub(crate) inner: Arc<SessionInner>,
}

pub(crate) struct SessionInner {
    pub(crate) database: Arc<Database>,
    pub(crate) id: u64,
    pub(crate) who: Who,
    user: Arc<str>,
    registered: Arc<Registered>,
    pub(crate) state: tokio::sync::Mutex<SessionState>,
    transaction: Mutex<TransactionState>,
}

/// What a statement is carried out from.
pub(crate) enum Work<'w> {
    /// Its text, with the values of `@name` parameters.
    Text(&'w [(String, String)]),
    Prepared(&'w PreparedUpdate, &'w [ScalarValue]),
    Parsed(&'w Parsed, &'w [ScalarValue]),
}

/// What changes from statement to statement.
pub(crate) struct SessionState {
    /// Who carries the present statement out.
    pub(crate) identity: Identity,
    /// What the present statement needs, of a user who may not do everything.
    pub(crate) needs: Vec<Need>,
    /// What the present statement does, as far as it is known.
    pub(crate) class: StatementClass,
    pub(crate) transaction: Option<Transaction>,
    pub(crate) settings: Settings,
    /// PostgreSQL's settings that were set, and have no effect.
    pub(crate) foreign: std::collections::BTreeMap<String, String>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("id", &self.inner.id).field("user", &self.inner.user).finish_non_exhaustive()
    }
}

impl Drop for SessionInner {
    fn drop(&mut self) {
        self.database.registry.sessions.lock().remove(&self.id);
    }
}

/// The answer of a statement. Dropping it cancels the statement.
pub struct Answer {
    receiver: mpsc::Receiver<Result<Event>>,
    cancel: Arc<Cancel>,
    /// What is still to be done for it, by whoever reads it.
    work: Option<BoxFuture<'static, ()>>,
}

/// Events that a statement may be ahead of whoever reads them.
const EVENTS_AHEAD: usize = 4;

impl Answer {
    /// An answer to work that goes on as the answer is read: nothing is handed to another thread.
    pub(crate) fn driven<W: Future<Output = ()> + Send + 'static>(work: impl FnOnce(Output) -> W) -> Self {
        let (mut answer, output) = Self::awaited();
        answer.work = Some(Box::pin(guarded(output.clone(), work(output))));
        answer
    }

    /// An answer to work that goes on by itself, on the current tokio runtime.
    pub(crate) fn spawned<W: Future<Output = ()> + Send + 'static>(work: impl FnOnce(Output) -> W) -> Self {
        let (answer, output) = Self::awaited();
        tokio::spawn(guarded(output.clone(), work(output)));
        answer
    }

    fn awaited() -> (Self, Output) {
        let (sender, receiver) = mpsc::channel(EVENTS_AHEAD);
        let cancel = Arc::new(Cancel::default());
        let output = Output::new(sender, Arc::clone(&cancel));
        (Self { receiver, cancel, work: None }, output)
    }

    /// Asks the statement to stop; its answer ends with 57014, unless it is committing.
    pub fn cancel(&self) {
        self.cancel.ask();
    }

    /// Ends a query of which nobody wants the rest. Unlike dropping the answer, it does not fail the transaction block: what
    /// only reads has done nothing by halves.
    pub fn abandon(self) {
        self.cancel.abandoned.store(true, Ordering::SeqCst);
    }
}

/// A session whose statement panicked keeps its settings and transaction, which only whole statements change.
async fn guarded(output: Output, work: impl Future<Output = ()>) {
    if AssertUnwindSafe(work).catch_unwind().await.is_err() {
        tracing::error!("a statement panicked");
        output.fail(Error::internal("the statement failed by a defect of the database")).await;
    }
}

impl Stream for Answer {
    type Item = Result<Event>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(work) = &mut self.work
            && work.as_mut().poll(context).is_ready()
        {
            self.work = None;
        }
        self.receiver.poll_recv(context)
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.cancel.ask();
        // What is committing ends as it would have.
        if let Some(work) = self.work.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            self.receiver.close();
            runtime.spawn(work);
        }
    }
}

/// Keeps a statement in SYSTEM.ACTIVE_QUERIES while it runs.
struct Running<'a> {
    session: &'a SessionInner,
    id: u64,
    started: Instant,
    started_at_ms: i64,
    statement: Arc<str>,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.session.registered.now.lock().running = None;
    }
}

impl Session {
    /// Opens a session that may do everything, for whoever has the database's files anyway; `application` is what
    /// SYSTEM.SESSIONS calls it.
    pub fn new(database: &Arc<Database>, application: &str) -> Self {
        Self::open(database, Who::BuiltIn, Identity::built_in(), application, None)
    }

    /// Opens a session of a user, which may do what the user may do, at each of its statements anew.
    ///
    /// # Errors
    /// 28000 when there is no such user.
    pub fn of_user(database: &Arc<Database>, options: &SessionOptions) -> Result<Self> {
        let users = database.users();
        let identity = users.identity(&options.user, None)?;
        let who = Who::User { name: Arc::clone(&identity.name), id: users.get(&options.user)?.id };
        Ok(Self::open(database, who, identity, &options.application, options.client.clone()))
    }

    /// As [`Session::of_user`], of a user who has logged in before.
    ///
    /// # Errors
    /// 28000 when the user was dropped since, or got another password.
    pub fn of_credential(
        database: &Arc<Database>,
        credential: &Credential,
        application: &str,
        client: Option<String>,
    ) -> Result<Self> {
        database.recognise(credential)?;
        let options =
            SessionOptions { user: credential.user().to_string(), application: application.to_string(), client };
        Self::of_user(database, &options)
    }

    /// Whose it is.
    pub fn user(&self) -> &str {
        &self.inner.user
    }

    /// How many connections its user may have at the same time, at this moment: what the user's own limit says, else the
    /// setting. `None` where there is no limit, and for admins: one of them may have to raise it.
    pub fn connections_max(&self) -> Option<u32> {
        if self.inner.identity().is_ok_and(|identity| identity.is_unrestricted()) {
            return None;
        }
        let database = self.database();
        let own = database.users().get(self.user()).ok().and_then(|user| user.connection_limit);
        let all =
            || u32::try_from(database.setting_integer("max_connections_per_user")).ok().filter(|limit| *limit > 0);
        own.or_else(all)
    }

    /// Its number in SYSTEM.SESSIONS.
    pub fn id(&self) -> u64 {
        self.inner.id
    }

    fn open(database: &Arc<Database>, who: Who, identity: Identity, application: &str, client: Option<String>) -> Self {
        let id = database.registry.next_id();
        let registered = Arc::new(Registered {
            user: Arc::clone(&identity.name),
            client,
            application: application.to_string(),
            started_at_ms: now_ms(),
            now: Mutex::new(Now::default()),
        });
        database.registry.sessions.lock().insert(id, Arc::clone(&registered));
        let named = (!application.is_empty()).then(|| ("application_name".to_string(), application.to_string()));
        let inner = SessionInner {
            database: Arc::clone(database),
            id,
            user: Arc::clone(&identity.name),
            who,
            registered,
            state: tokio::sync::Mutex::new(SessionState {
                identity,
                needs: Vec::new(),
                class: StatementClass::default(),
                transaction: None,
                settings: Settings::default(),
                foreign: named.into_iter().collect(),
            }),
            transaction: Mutex::new(TransactionState::Idle),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The session's database.
    pub fn database(&self) -> &Arc<Database> {
        &self.inner.database
    }

    /// Runs one statement on the current tokio runtime. `variables` are the values of `@name` parameters as text: a
    /// number, `true`, `false` or `null` is that, anything else a string.
    pub fn execute(&self, statement: &str, variables: &[(String, String)]) -> Answer {
        let inner = Arc::clone(&self.inner);
        let (statement, variables) = (statement.to_string(), variables.to_vec());
        Answer::spawned(move |output| async move { inner.answer(&statement, Work::Text(&variables), output).await })
    }

    /// Stops what runs in this session now.
    pub fn cancel(&self) {
        if let Some(query) = &self.inner.registered.now.lock().running {
            query.cancel.ask();
        }
    }

    /// Leaves an open transaction block failed: its client was told of an error that is none of its statements'.
    pub async fn fail_block(&self) {
        let mut state = self.inner.state.lock().await;
        if let Some(transaction) = &mut state.transaction {
            transaction.fail();
        }
        self.inner.note_transaction(&state);
    }

    /// Whether a transaction block is open.
    pub fn transaction(&self) -> TransactionState {
        *self.inner.transaction.lock()
    }
}

/// Writes down that a statement looks at a row, for as long as its transaction lasts.
pub(crate) fn note_read(state: &SessionState, key: &[u8]) {
    if let Some(transaction) = &state.transaction {
        transaction.reads.lock().note(key);
    }
}

/// A statement as it is shown to others: without passwords.
pub(crate) fn shown(text: &str) -> Arc<str> {
    evenkeel_pql::masked(text.trim()).into()
}

impl SessionInner {
    pub(crate) async fn answer(&self, text: &str, work: Work<'_>, output: Output) {
        match self.carry_out(text, work, &output).await {
            Ok(outcome) => {
                let _ = output.send(Event::Complete(outcome.tag)).await;
            }
            Err(error) => output.fail(error).await,
        }
    }

    /// Carries out a statement when those before it in this session are over.
    pub(crate) async fn carry_out(&self, text: &str, work: Work<'_>, output: &Output) -> Result<Outcome> {
        let mut state = self.state.lock().await;
        if let Err(error) = self.identify(&mut state) {
            self.note_transaction(&state);
            return Err(error);
        }
        let outcome = self.run(&mut state, text, work, output).await;
        self.note_transaction(&state);
        outcome
    }

    /// Runs a statement while it is listed, with its time limit and its cancellation.
    async fn run(&self, state: &mut SessionState, text: &str, work: Work<'_>, output: &Output) -> Result<Outcome> {
        let cancel = &output.cancel;
        let running = self.start(text, &work, cancel);
        let timeout = self.duration(state, "statement_timeout");
        state.class = StatementClass::default();
        let told = traces::Told { query: running.id, session: self.id, user: &self.user };
        let span = told.span(text);
        let outcome = {
            let work = async {
                match work {
                    Work::Text(variables) => Box::pin(self.statement(state, text, variables, output)).await,
                    Work::Prepared(update, parameters) => self.prepared_update(state, update, parameters, output).await,
                    Work::Parsed(parsed, parameters) => self.parsed(state, parsed, parameters, output).await,
                }
            };
            let limit = async {
                if timeout.is_zero() {
                    std::future::pending::<()>().await;
                }
                tokio::time::sleep(timeout.saturating_sub(running.started.elapsed())).await;
                cancel.timed_out.store(true, Ordering::SeqCst);
                cancel.ask();
                std::future::pending::<()>().await;
            };
            tokio::pin!(work);
            // Most statements are over at once: then nobody need listen for what could end them.
            let at_once = match cancel.check() {
                Ok(()) => futures::poll!(work.as_mut()),
                Err(error) => Poll::Ready(Err(error)),
            };
            match at_once {
                Poll::Ready(outcome) => outcome,
                // The work comes last: a poll of it may use up the task's budget, and then nothing after it would be
                // looked at.
                Poll::Pending => tokio::select! {
                    biased;
                    () = cancel.asked() => Err(cancel.reason()),
                    () = limit => Err(cancelled()),
                    outcome = work => outcome,
                },
            }
        };
        let outcome = match outcome {
            Err(error) if error.state == SqlState::QueryCanceled && cancel.abandoned.load(Ordering::SeqCst) => {
                Ok(Outcome::new("SELECT"))
            }
            outcome => outcome,
        };
        if outcome.is_err()
            && let Some(transaction) = &mut state.transaction
        {
            transaction.fail();
        }
        let elapsed = running.started.elapsed();
        let latencies = &self.database.registry.latencies;
        latencies.note(state.class, elapsed);
        if let Err(error) = &outcome {
            latencies.note_failure(state.class, error.state);
            told.failed(error);
        }
        traces::ended(&span, state.class, &outcome);
        if elapsed >= Duration::from_millis(self.database.settings().duration_ms("slow_query_threshold")) {
            told.slow(elapsed, &outcome);
            self.database.registry.slow_query(state::SlowQuery {
                id: running.id,
                session: self.id,
                user: self.user.to_string(),
                statement: running.statement.to_string(),
                started_at_ms: running.started_at_ms,
                duration_ms: elapsed.as_micros() as f64 / 1e3,
                rows: outcome.as_ref().ok().map(|outcome| outcome.rows),
                error: outcome.as_ref().err().map(|error| error.message.clone()),
            });
        }
        outcome
    }

    fn start(&self, text: &str, work: &Work<'_>, cancel: &Arc<Cancel>) -> Running<'_> {
        let statement = match work {
            Work::Text(_) => shown(text),
            Work::Prepared(prepared, _) => Arc::clone(&prepared.shown),
            Work::Parsed(parsed, _) => Arc::clone(&parsed.shown),
        };
        let (id, started, started_at_ms) = (self.database.registry.next_id(), Instant::now(), now_ms());
        let query =
            RunningQuery { id, statement: Arc::clone(&statement), started_at_ms, started, cancel: Arc::clone(cancel) };
        let mut now = self.registered.now.lock();
        now.statements += 1;
        now.running = Some(query);
        drop(now);
        Running { session: self, id, started, started_at_ms, statement }
    }

    fn note_transaction(&self, state: &SessionState) {
        *self.transaction.lock() = match &state.transaction {
            None => TransactionState::Idle,
            Some(transaction) if transaction.failed => TransactionState::Failed,
            Some(_) => TransactionState::Open,
        };
        let noted = state.transaction.as_ref().map(|transaction| state::Transaction {
            session: self.id,
            start: transaction.start().0,
            state: if transaction.failed { "failed" } else { "open" },
            written_rows: transaction.writes.len() as u64 + transaction.loads.iter().map(BlockLoad::rows).sum::<u64>(),
            written_bytes: transaction.writes.bytes() as u64
                + transaction.loads.iter().map(BlockLoad::bytes).sum::<u64>(),
            started_at_ms: transaction.started_at_ms,
        });
        self.registered.now.lock().transaction = noted;
    }

    /// What a statement of this session sees now. It may look at anything.
    pub(crate) fn view(&self, state: &SessionState) -> ReadView {
        if let Some(transaction) = &state.transaction {
            transaction.reads.lock().note_more();
        }
        self.view_of_rows(state)
    }

    /// As [`Self::view`], for a statement that notes each key that it looks at ([`note_read`]).
    pub(crate) fn view_of_rows(&self, state: &SessionState) -> ReadView {
        let lock_timeout = self.duration(state, "shard_lock_timeout");
        match &state.transaction {
            Some(transaction) => ReadView::of(&self.database, transaction.start(), &transaction.writes, lock_timeout),
            None => ReadView::latest(&self.database, lock_timeout),
        }
    }

    /// Prepares to plan a statement.
    pub(crate) fn planning<'t>(&self, names: Names, text: &'t str) -> Result<Planning<'t>> {
        let planner = &self.database.planner;
        let (threads, memory) = (planner.threads()?, planner.query_memory());
        Ok(Planning { state: planner.state(names), text, threads, memory })
    }

    pub(crate) fn duration(&self, state: &SessionState, name: &str) -> Duration {
        let own = state.settings.get(name).is_some();
        let millis = if own { state.settings.duration_ms(name) } else { self.database.settings().duration_ms(name) };
        Duration::from_millis(millis)
    }

    pub(crate) fn durability(&self, state: &SessionState) -> Durability {
        let own = state.settings.get("synchronous_commit").is_some();
        let on = if own {
            state.settings.boolean("synchronous_commit")
        } else {
            self.database.settings().boolean("synchronous_commit")
        };
        if on { Durability::Synced } else { Durability::Buffered }
    }

    /// Whether a statement that failed is to be tried again: it conflicted with another one, and stands outside a
    /// transaction block. Waits a little, longer each time.
    pub(crate) async fn again(&self, tried: &mut u32, error: &Error, state: &SessionState, output: &Output) -> bool {
        *tried += 1;
        if !error.is_retryable() || state.transaction.is_some() || *tried == ATTEMPTS_MAX {
            return false;
        }
        if output.cancel.is_asked() {
            return false;
        }
        output.cancel.unshield();
        // Two statements that conflict again and again part by the time they wait.
        tokio::time::sleep(Duration::from_micros((self.id % 7 + 1) * 50 * u64::from(*tried))).await;
        true
    }
}
