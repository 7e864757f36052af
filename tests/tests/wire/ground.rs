//! A server on a free port, and clients of it.

use evenkeel_tests::Temporary;
use evenkeel_wire::{Authentication, Options, Server, Stop, Tls};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// How long a test waits for what must come.
pub const SOON: Duration = Duration::from_secs(60);

pub struct Ground {
    pub address: SocketAddr,
    pub stop: Stop,
    pub serving: JoinHandle<()>,
    pub database: Temporary,
}

impl Ground {
    pub async fn new() -> Self {
        Self::with(Authentication::Trust, Some(Tls::self_signed().expect("a certificate"))).await
    }

    pub async fn with(authentication: Authentication, tls: Option<Tls>) -> Self {
        let database = Temporary::new(4);
        let listen = "127.0.0.1:0".parse().expect("an address");
        let options = Options { listen, authentication, tls, tls_only: false };
        let server = Server::bind(database.database(), options).await.expect("a free port");
        let (address, stop) = (server.address().expect("an address"), server.stop());
        Self { address, stop, serving: tokio::spawn(server.serve()), database }
    }

    pub fn config(&self) -> tokio_postgres::Config {
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(self.address.port()).user("tester").application_name("tests");
        config
    }

    pub async fn client(&self) -> Client {
        let (client, connection) = self.config().connect(NoTls).await.expect("a connection");
        tokio::spawn(connection);
        client
    }

    /// Ends the server; every connection must go.
    pub async fn end(self) {
        self.stop.now();
        tokio::time::timeout(SOON, self.serving).await.expect("the server ends").expect("the server does not panic");
    }
}

/// The rows of a simple query as text, columns between bars, NULL as `NULL`.
pub async fn rows(client: &Client, query: &str) -> Vec<String> {
    let messages = client.simple_query(query).await.unwrap_or_else(|error| panic!("{query}: {error:?}"));
    let row = |message: SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => {
            let cells: Vec<_> = (0..row.len()).map(|at| row.get(at).unwrap_or("NULL")).collect();
            Some(cells.join("|"))
        }
        _ => None,
    };
    messages.into_iter().filter_map(row).collect()
}

/// The SQLSTATE with which a simple query fails.
pub async fn state(client: &Client, query: &str) -> String {
    let error = client.simple_query(query).await.expect_err(query);
    error.code().unwrap_or_else(|| panic!("{query}: {error:?}")).code().to_string()
}

/// Waits until a statement with this in it runs, and no longer than for anything else: what is done to it before does nothing.
pub async fn until_it_runs(other: &Client, part: &str) {
    let query = format!(
        "SELECT count(*) FROM system.active_queries WHERE statement LIKE '%{part}%' AND statement NOT LIKE '%active%'"
    );
    let looked = async {
        while rows(other, &query).await != ["1"] {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, looked).await.expect("it runs");
}
