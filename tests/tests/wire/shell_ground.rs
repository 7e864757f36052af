//! The shell, connected to a server, and everything that it writes.

use crate::ground::{Ground, SOON};
use evenkeel_model::{Error, Result};
use evenkeel_shell::connection::{Connection, Event, Input};
use evenkeel_shell::remote::{Address, Remote, Target};
use evenkeel_shell::{Interrupt, Options, Outcome, Shell, Streams};
use evenkeel_tests::Temporary;
use evenkeel_wire::InProcess;
use futures::StreamExt;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

/// A writer whose text can be read while somebody else owns it.
#[derive(Clone, Default)]
pub struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    /// What has been written since this was last asked.
    pub fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut self.0.lock().expect("nobody panicked"))).expect("UTF-8")
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("nobody panicked").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A shell over a connection.
pub struct Stage {
    pub shell: Shell,
    pub connection: Arc<Remote>,
    pub interrupt: watch::Sender<u64>,
    pub out: Captured,
    pub err: Captured,
}

impl Stage {
    pub fn new(connection: Remote) -> Self {
        let (out, err) = (Captured::default(), Captured::default());
        let connection = Arc::new(connection);
        let (interrupt, receiver) = Interrupt::by_hand();
        let streams = Streams::new(Box::new(out.clone()), Box::new(err.clone()));
        let shell = Shell::new(Arc::<Remote>::clone(&connection), &Options::default(), streams, receiver);
        Self { shell, connection, interrupt, out, err }
    }

    /// Runs a script; how it ended.
    pub async fn run(&mut self, script: &str) -> Outcome {
        tokio::time::timeout(SOON, self.shell.run_script(script, "test.pql")).await.expect("it ends")
    }

    /// Runs a script that must succeed; what it printed.
    pub async fn print(&mut self, script: &str) -> String {
        let outcome = self.run(script).await;
        assert_eq!((outcome, self.err.take().as_str()), (Outcome::Succeeded, ""), "{script}");
        self.out.take()
    }
}

/// A connection to what a URL says, and nothing else does.
pub async fn dial(url: &str) -> Result<Remote> {
    let address = Address::parse(url, |_| None)?;
    tokio::time::timeout(SOON, Remote::connect(Target::Network(address), "tests")).await.expect("an answer")
}

/// A connection to a server that asks nobody who they are.
pub async fn connected(address: SocketAddr) -> Remote {
    dial(&format!("postgres://tester@{address}?sslmode=disable")).await.expect("a connection")
}

/// The error of a connection that is refused.
pub async fn refused(url: &str) -> Error {
    dial(url).await.err().unwrap_or_else(|| panic!("{url} is let in"))
}

/// A connection to a server in this process.
pub async fn within(database: &Temporary) -> (Remote, Arc<InProcess>) {
    let server = Arc::new(InProcess::new(database.database()));
    let dialled = Arc::clone(&server);
    let dial = Box::new(move || Box::new(dialled.connect()) as Box<_>);
    let target = Target::Process { user: InProcess::USER.to_string(), dial };
    (Remote::connect(target, "tests").await.expect("a connection"), server)
}

/// All of an answer.
pub async fn events(connection: &Remote, statement: &str, input: Input) -> Result<Vec<Event>> {
    let answer = connection.execute(statement, &[], input).collect::<Vec<_>>();
    tokio::time::timeout(SOON, answer).await.expect("an answer").into_iter().collect()
}

/// Runs a statement for its effect.
pub async fn run(connection: &Remote, statement: &str) {
    if let Err(error) = events(connection, statement, None).await {
        panic!("{statement}: {error:?}");
    }
}

impl Ground {
    pub async fn stage(&self) -> Stage {
        Stage::new(connected(self.address).await)
    }
}
