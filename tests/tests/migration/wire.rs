//! The scripts and the flights over the wire, by a client that nobody here wrote, while slots move: in simple queries, and
//! as prepared statements with values in binary. What comes is what a session in the process gives (see
//! [`crate::wire_values`] for how it is spelled).

use crate::connection::{cell, every_script, wrong_over};
use crate::questions::{ask_by, rounded};
use crate::shuffler::{EXCLUDED, Shuffler};
use crate::wire_values::{Raw, of_binary, of_text};
use async_trait::async_trait;
use evenkeel_tests::Temporary;
use evenkeel_wire::{Authentication, Options, Server, Stop};
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType};
use std::fmt;
use std::net::SocketAddr;
use tokio::task::JoinHandle;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Column, NoTls, SimpleQueryMessage, Statement};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Protocol {
    Simple,
    Extended,
}

impl Protocol {
    pub const ALL: [Self; 2] = [Self::Simple, Self::Extended];
}

/// A server in front of a database, whose clients speak one of the protocols.
pub struct Served {
    address: SocketAddr,
    stop: Stop,
    serving: JoinHandle<()>,
    protocol: Protocol,
}

/// What came of a statement.
enum Came {
    /// Its columns, and its rows as a session in the process spells them.
    Rows(Vec<Shape>, Vec<Vec<Option<String>>>),
    Done(u64),
}

/// A column of an answer.
struct Shape {
    name: String,
    kind: Type,
}

impl Shape {
    fn of(statement: &Statement) -> Vec<Self> {
        let shape = |column: &Column| Self { name: column.name().to_string(), kind: column.type_().clone() };
        statement.columns().iter().map(shape).collect()
    }
}

/// A client of a served database.
struct Connection {
    client: Client,
    protocol: Protocol,
}

impl Served {
    pub async fn new(database: &Temporary, protocol: Protocol) -> Self {
        let options = Options {
            listen: "127.0.0.1:0".parse().expect("an address"),
            authentication: Authentication::Trust,
            tls: None,
            tls_only: false,
        };
        let server = Server::bind(database.database(), options).await.expect("a free port");
        let (address, stop) = (server.address().expect("an address"), server.stop());
        Self { address, stop, serving: tokio::spawn(server.serve()), protocol }
    }

    /// Ends the server.
    pub async fn end(self) {
        self.stop.now();
        self.serving.await.expect("the server does not panic");
    }

    async fn connect(&self) -> Connection {
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(self.address.port()).user("nobody").application_name("test");
        let (client, connection) = config.connect(NoTls).await.expect("a connection");
        tokio::spawn(connection);
        Connection { client, protocol: self.protocol }
    }

    /// Runs a script; what was wrong.
    async fn wrong(&self, script: &str) -> Vec<String> {
        wrong_over(script, || async { Ok(self.connect().await) }).await
    }

    /// Asks the questions about the flights.
    pub async fn ask(&self, circumstances: &str) {
        let connection = self.connect().await;
        let answer = async |question: &str| {
            let came = connection.carry_out(question.trim().trim_end_matches(';')).await;
            let Came::Rows(columns, rows) = came.expect("an answer") else { panic!("{question} gives no rows") };
            let names = columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(",");
            let line = |row: Vec<Option<String>>| {
                let cells = row.into_iter().zip(&columns).map(|(cell, column)| match column.kind {
                    Type::FLOAT4 | Type::FLOAT8 => cell.map_or_else(String::new, |number| rounded(&number)),
                    _ => cell.unwrap_or_default(),
                });
                cells.collect::<Vec<_>>().join(",") + "\n"
            };
            format!("{names}\n{}", rows.into_iter().map(line).collect::<String>())
        };
        ask_by(answer, &format!("{circumstances}, {:?}", self.protocol)).await;
    }
}

impl Connection {
    async fn carry_out(&self, statement: &str) -> Result<Came, Failure> {
        match self.protocol {
            Protocol::Simple => self.simple(statement).await,
            Protocol::Extended => self.extended(statement).await,
        }
        .map_err(Failure)
    }

    async fn simple(&self, statement: &str) -> Result<Came, tokio_postgres::Error> {
        let (mut has_columns, mut texts, mut count) = (false, Vec::new(), 0);
        for message in self.client.simple_query(statement).await? {
            match message {
                SimpleQueryMessage::RowDescription(_) => has_columns = true,
                SimpleQueryMessage::Row(row) => {
                    texts.push((0..row.len()).map(|at| row.get(at).map(str::to_string)).collect::<Vec<_>>());
                }
                SimpleQueryMessage::CommandComplete(rows) => count = rows,
                _ => {}
            }
        }
        if !has_columns {
            return Ok(Came::Done(count));
        }
        // The client keeps types to itself in a simple query.
        let described = self.client.prepare(statement).await?;
        let columns = Shape::of(&described);
        let row = |row: Vec<Option<String>>| {
            let cells = row.into_iter().zip(&columns);
            cells.map(|(cell, column)| cell.map(|cell| of_text(&column.kind, &cell))).collect()
        };
        let rows = texts.into_iter().map(row).collect();
        Ok(Came::Rows(columns, rows))
    }

    async fn extended(&self, statement: &str) -> Result<Came, tokio_postgres::Error> {
        let prepared = self.client.prepare(statement).await?;
        let columns = Shape::of(&prepared);
        if columns.is_empty() {
            return self.client.execute(&prepared, &[]).await.map(Came::Done);
        }
        let rows = self.client.query(&prepared, &[]).await?;
        let cell = |row: &tokio_postgres::Row, at: usize| {
            let raw: Option<Raw<'_>> = row.get(at);
            raw.map(|Raw(bytes)| of_binary(&columns[at].kind, bytes))
        };
        let rows = rows.iter().map(|row| (0..row.len()).map(|at| cell(row, at)).collect()).collect();
        Ok(Came::Rows(columns, rows))
    }
}

/// An error that the server has sent, on one line as [`evenkeel_tests::spelled`] has it.
#[derive(Debug)]
struct Failure(tokio_postgres::Error);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(error) = self.0.as_db_error() else { return write!(f, "no answer: {}", self.0) };
        write!(f, "{}: {}", error.code().code(), error.message())?;
        error.detail().map_or(Ok(()), |detail| write!(f, "; detail: {detail}"))?;
        error.hint().map_or(Ok(()), |hint| write!(f, "; hint: {hint}"))
    }
}

impl std::error::Error for Failure {}

#[async_trait]
impl AsyncDB for Connection {
    type Error = Failure;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, statement: &str) -> Result<DBOutput<DefaultColumnType>, Failure> {
        match self.carry_out(statement.trim().trim_end_matches(';')).await? {
            Came::Done(count) => Ok(DBOutput::StatementComplete(count)),
            Came::Rows(columns, rows) => {
                let types = columns.iter().map(column_type).collect();
                let rows = rows.into_iter().map(|row| row.into_iter().map(cell).collect()).collect();
                Ok(DBOutput::Rows { types, rows })
            }
        }
    }

    async fn shutdown(&mut self) {}

    /// What scripts call it that have a statement for the others only.
    fn engine_name(&self) -> &str {
        "wire"
    }

    fn error_sql_state(error: &Failure) -> Option<String> {
        error.0.code().map(|code| code.code().to_string())
    }
}

fn column_type(column: &Shape) -> DefaultColumnType {
    match column.kind {
        Type::INT2 | Type::INT4 | Type::INT8 => DefaultColumnType::Integer,
        Type::FLOAT4 | Type::FLOAT8 | Type::NUMERIC => DefaultColumnType::FloatingPoint,
        _ => DefaultColumnType::Text,
    }
}

async fn check(script: &str, protocol: Protocol) {
    let database = Temporary::new(4);
    let still = EXCLUDED.iter().any(|(name, _)| *name == script);
    let shuffler = (!still).then(|| Shuffler::start(&database, 3));
    let served = Served::new(&database, protocol).await;
    let wrong = served.wrong(script).await;
    served.end().await;
    let (count, mut moves) = (wrong.len(), 0);
    if let Some(shuffler) = shuffler {
        moves = shuffler.stop().await;
        assert!(moves > 0, "nothing has moved");
    }
    assert!(wrong.is_empty(), "{count} wrong, during {moves} moves:\n{}", wrong.join("\n"));
}

macro_rules! scripts {
    ($($name:ident)*) => {
        $(mod $name {
            use super::{Protocol, check};

            #[tokio::test(flavor = "multi_thread")]
            async fn simple() {
                check(stringify!($name), Protocol::Simple).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn extended() {
                check(stringify!($name), Protocol::Extended).await;
            }
        })*
    };
}

every_script!(scripts);
