//! PostgreSQL's protocol, as a client: the one way in which the shell speaks to a database.
//!
//! ```text
//! address (URL, environment) ─▶ login (connection, encryption, password) ─▶ Remote ─▶ answer: one statement's messages
//!                                    tls, password                            │          decode, variables
//!                                                             line: messages as bytes ◀──┘
//! ```
//!
//! Statements go as simple queries, one at a time; values come as text. A server of Evenkeel is asked for two things more,
//! in ways that the protocol keeps open (`evenkeel_model::progress`): progress in figures, and where the place of an error
//! ends.
//!
//! WHAT MAY NEVER HAPPEN: an answer is taken for that of another statement; a cancel request stops a later statement than
//! the one it was meant for; statements meant for a transaction are carried out after the transaction was lost with its
//! connection.

mod address;
mod answer;
mod decode;
mod line;
mod login;
mod password;
mod tls;
mod variables;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use evenkeel_model::{Error, Result, SqlState};
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use tokio::task::JoinHandle;

pub use address::{Address, Password, Security};
use answer::Answer;
use line::Line;
pub use line::Stream;
pub use login::Target;
use login::{Login, Refusal, login};

use crate::connection::{Connection, Event, Input, Notice, TransactionState};

/// A session of a server.
pub struct Remote {
    target: Arc<Target>,
    application: String,
    /// The connection; whoever carries a statement out holds it.
    line: tokio::sync::Mutex<Link>,
    state: Mutex<State>,
    lost: AtomicBool,
}

/// The connection, and whether it can take a statement.
struct Link {
    /// `None` when it has broken.
    line: Option<Line>,
    /// Whether the answer to a statement that nobody waits for any more is still to come.
    unread: bool,
}

/// What is known of the session from outside.
struct State {
    transaction: TransactionState,
    /// Whether that transaction is gone with the connection that it was in.
    transaction_lost: bool,
    /// What a cancel request says.
    key: (i32, i32),
    password: Option<Password>,
    version: String,
    is_encrypted: bool,
    /// A cancel request on its way.
    cancelling: Option<JoinHandle<()>>,
}

impl Remote {
    /// Connects to a server. Asks for a password on the terminal where the server wants one and nothing else says it.
    ///
    /// # Errors
    /// 08001 when the server can't be reached, is not to be trusted or speaks something else; what it says when it does
    /// not let the user in.
    pub async fn connect(target: Target, application: &str) -> Result<Self> {
        let password = match &target {
            Target::Network(address) => address.password.clone().or_else(|| password::kept(address)),
            Target::Process { .. } => None,
        };
        let (login, password) = match login(&target, application, password.as_ref()).await {
            Ok(login) => (login, password),
            Err(Refusal::Failed(error)) => return Err(error),
            Err(Refusal::PasswordMissing) => {
                let asked = match &target {
                    Target::Network(address) => password::asked(address).await,
                    Target::Process { .. } => None,
                };
                let password = asked.ok_or_else(missing)?;
                (login(&target, application, Some(&password)).await.map_err(unwrapped)?, Some(password))
            }
        };
        let Login { line, key, version, is_encrypted } = login;
        let state = State {
            transaction: TransactionState::Idle,
            transaction_lost: false,
            key,
            password,
            version,
            is_encrypted,
            cancelling: None,
        };
        Ok(Self {
            target: Arc::new(target),
            application: application.to_string(),
            line: tokio::sync::Mutex::new(Link { line: Some(line), unread: false }),
            state: Mutex::new(state),
            lost: AtomicBool::new(false),
        })
    }

    /// What the server calls itself: `Evenkeel 0.1.0` of `15.0 (Evenkeel 0.1.0)`.
    pub fn server_version(&self) -> String {
        let version = &self.state().version;
        let own = version.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
        own.unwrap_or(version).to_string()
    }

    /// Whether what goes over the network is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.state().is_encrypted
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection has broken: a transaction that was open is gone, and has failed for whoever goes on with it.
    fn lose(&self, link: &mut Link) {
        link.line = None;
        link.unread = false;
        self.lost.store(true, Ordering::SeqCst);
        let mut state = self.state();
        if state.transaction != TransactionState::Idle {
            (state.transaction, state.transaction_lost) = (TransactionState::Failed, true);
        }
    }

    /// What a statement is answered after its transaction was lost: nothing but its end is taken.
    fn after_loss(&self, statement: &str) -> Option<Result<Event>> {
        let mut state = self.state();
        if !state.transaction_lost {
            return None;
        }
        let mut words = statement.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        let first = words.next().unwrap_or_default().to_ascii_uppercase();
        let ends = matches!(first.as_str(), "ROLLBACK" | "ABORT" | "COMMIT" | "END");
        if !ends || words.any(|word| word.eq_ignore_ascii_case("TO")) {
            let message = "the transaction was lost with its connection, and rolled back";
            return Some(Err(Error::new(SqlState::InFailedTransaction, message).with_hint("ROLLBACK lets you go on")));
        }
        (state.transaction, state.transaction_lost) = (TransactionState::Idle, false);
        Some(Ok(Event::Complete("ROLLBACK".to_string())))
    }

    async fn reconnect(&self) -> Result<Option<Notice>> {
        let mut link = self.line.lock().await;
        if !link.unread && link.line.as_mut().is_some_and(Line::is_over) {
            self.lose(&mut link);
        }
        if link.line.is_some() {
            return Ok(None);
        }
        let password = self.state().password.clone();
        let Login { line, key, version, is_encrypted } =
            login(&self.target, &self.application, password.as_ref()).await.map_err(|refusal| {
                let error = unwrapped(refusal);
                Error { message: format!("the connection to the server was lost; {}", error.message), ..error }
            })?;
        *link = Link { line: Some(line), unread: false };
        self.lost.store(false, Ordering::SeqCst);
        let mut state = self.state();
        (state.key, state.version, state.is_encrypted) = (key, version, is_encrypted);
        let hint = match state.transaction_lost {
            true => "the transaction that was open is rolled back; ROLLBACK lets you go on",
            false => "what SET had set in the session is as it was at first",
        };
        let message = "the connection to the server was lost; this is a new one".to_string();
        Ok(Some(Notice { message, hint: Some(hint.to_string()) }))
    }

    /// Waits until a cancel request that is on its way has arrived: it is not meant for what comes next.
    async fn settle(&self) {
        let cancelling = self.state().cancelling.take();
        if let Some(cancelling) = cancelling {
            // A task that failed has nothing on its way.
            let _ = cancelling.await;
        }
    }
}

fn missing() -> Error {
    Error::new(SqlState::InvalidPassword, "the server asks for a password")
        .with_hint("PGPASSWORD or ~/.pgpass give one; on a terminal it is asked for")
}

fn unwrapped(refusal: Refusal) -> Error {
    match refusal {
        Refusal::PasswordMissing => missing(),
        Refusal::Failed(error) => error,
    }
}

impl Connection for Remote {
    fn execute<'a>(
        &'a self,
        statement: &'a str,
        variables: &'a [(String, String)],
        input: Input,
    ) -> BoxStream<'a, Result<Event>> {
        if let Some(answer) = self.after_loss(statement) {
            return stream::once(std::future::ready(answer)).boxed();
        }
        let answer = async move { Answer::begin(self, statement, variables, input).await };
        let events = |begun: Result<Answer<'a>>| match begun {
            Ok(answer) => stream::unfold(answer, Answer::next).boxed(),
            Err(error) => stream::once(std::future::ready(Err(error))).boxed(),
        };
        answer.map(events).flatten_stream().boxed()
    }

    fn cancel(&self) {
        // Without a runtime nothing runs that could be stopped.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let target = Arc::clone(&self.target);
        let mut state = self.state();
        let (key, before) = (state.key, state.cancelling.take());
        state.cancelling = Some(runtime.spawn(async move {
            if let Some(before) = before {
                let _ = before.await;
            }
            login::cancel(&target, key).await;
        }));
    }

    fn transaction(&self) -> TransactionState {
        self.state().transaction
    }

    fn is_lost(&self) -> bool {
        self.lost.load(Ordering::SeqCst)
    }

    fn revive(&self) -> BoxFuture<'_, Result<Option<Notice>>> {
        self.reconnect().boxed()
    }
}
