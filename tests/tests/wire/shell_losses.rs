//! Connections that break, and what becomes of the statements and transactions in them.

use crate::ground::{Ground, SOON, rows, until_it_runs};
use crate::shell_ground::{Stage, connected, dial, events, run};
use evenkeel_model::{Error, SqlState};
use evenkeel_shell::Outcome;
use evenkeel_shell::connection::{Connection, TransactionState};
use evenkeel_shell::remote::Remote;
use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A way to a server that can be cut.
struct Cable {
    address: SocketAddr,
    cuts: watch::Sender<u64>,
    work: JoinHandle<()>,
}

impl Cable {
    async fn new(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (cuts, cut) = watch::channel(0);
        let work = tokio::spawn(async move {
            loop {
                let (mut near, _) = listener.accept().await.expect("a client");
                let mut far = TcpStream::connect(server).await.expect("the server listens");
                let mut cut = cut.clone();
                cut.mark_unchanged();
                tokio::spawn(async move {
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Self { address, cuts, work }
    }

    /// Cuts it; whoever sends something now has lost it.
    async fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
        // Each connection has a receiver, and so has the listener.
        while self.cuts.receiver_count() > 1 {
            tokio::task::yield_now().await;
        }
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.work.abort();
    }
}

async fn failure(connection: &Remote, statement: &str) -> Error {
    events(connection, statement, None).await.expect_err(statement)
}

/// Connects again; what is said of it.
async fn revived(connection: &Remote) -> String {
    let notice =
        tokio::time::timeout(SOON, connection.revive()).await.expect("an answer").expect("the server is there");
    notice.map(|notice| format!("{}; {}", notice.message, notice.hint.unwrap_or_default())).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_whose_connection_breaks_fails_and_the_next_goes_over_a_new_one() {
    let ground = Ground::new().await;
    let cable = Cable::new(ground.address).await;
    let other = ground.client().await;
    let connection = connected(cable.address).await;
    assert_eq!(revived(&connection).await, "", "nothing is wrong");
    let cut = async {
        until_it_runs(&other, "100000").await;
        cable.cut().await;
    };
    let long = failure(&connection, "SELECT count(*) FROM generate_series(1, 100000) a, generate_series(1, 100000) b");
    let (error, ()) = tokio::join!(long, cut);
    assert_eq!((error.state, connection.is_lost()), (SqlState::ConnectionFailure, true), "{error:?}");
    assert!(error.message.starts_with("the connection to the server was lost"), "{error:?}");
    assert_eq!(failure(&connection, "SELECT 1").await.state, SqlState::ConnectionFailure, "nobody connects unasked");
    assert!(revived(&connection).await.starts_with("the connection to the server was lost; this is a new one"));
    assert!(!connection.is_lost());
    run(&connection, "SELECT 1").await;
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_meant_for_a_lost_transaction_is_not_carried_out() {
    let ground = Ground::new().await;
    let cable = Cable::new(ground.address).await;
    let connection = connected(cable.address).await;
    for statement in ["CREATE TABLE t (id bigint PRIMARY KEY)", "BEGIN", "INSERT INTO t VALUES (1)"] {
        run(&connection, statement).await;
    }
    cable.cut().await;
    // Nothing was asked of it: that it broke is seen before the next statement is sent.
    let again = async {
        loop {
            let told = revived(&connection).await;
            if !told.is_empty() {
                return told;
            }
            tokio::task::yield_now().await;
        }
    };
    let told = tokio::time::timeout(SOON, again).await.expect("it is seen");
    assert!(told.contains("ROLLBACK lets you go on"), "{told}");
    assert_eq!(connection.transaction(), TransactionState::Failed);
    for statement in ["INSERT INTO t VALUES (2)", "ROLLBACK TO SAVEPOINT s", "SELECT 1"] {
        assert_eq!(failure(&connection, statement).await.state, SqlState::InFailedTransaction, "{statement}");
    }
    run(&connection, "COMMIT").await;
    assert_eq!(connection.transaction(), TransactionState::Idle);
    run(&connection, "INSERT INTO t VALUES (3)").await;
    assert_eq!(rows(&ground.client().await, "SELECT id FROM t").await, ["3"]);
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_ends_where_its_connection_does() {
    let ground = Ground::new().await;
    let cable = Cable::new(ground.address).await;
    let mut stage = Stage::new(connected(cable.address).await);
    run(&stage.connection, "CREATE TABLE t (id bigint PRIMARY KEY)").await;
    cable.cut().await;
    assert_eq!(stage.run("INSERT INTO t VALUES (1); INSERT INTO t VALUES (2);").await, Outcome::Failed);
    let err = stage.err.take();
    assert!(err.starts_with("ERROR 08006: ") && err.matches("ERROR").count() == 1, "{err}");
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_says_so() {
    let ground = Ground::new().await;
    let connection =
        dial(&format!("postgres://tester@{}?sslmode=require", ground.address)).await.expect("a connection");
    run(&connection, "SELECT 1").await;
    let address = ground.address;
    ground.end().await;
    let error = failure(&connection, "SELECT 1").await;
    assert!([SqlState::AdminShutdown, SqlState::ConnectionFailure].contains(&error.state), "{error:?}");
    assert!(connection.is_lost());
    let error = tokio::time::timeout(SOON, connection.revive()).await.expect("an answer").expect_err("nobody is there");
    assert!(error.message.contains(&format!("cannot connect to {address}")));
}
