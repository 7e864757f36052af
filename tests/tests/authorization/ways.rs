//! The ways in: what comes of a statement on each.

use crate::kinds::Kind;
use crate::table::{CALLS, Call};
use crate::world::{World, name};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use evenkeel_model::Error;
use evenkeel_tests::{run, spelled};
use futures::{SinkExt, TryStreamExt, pin_mut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What PostgreSQL calls a right that is missing.
pub const DENIED: &str = "42501";

#[derive(Clone, Copy, Debug)]
pub enum Way {
    /// A session in the process.
    Embedded,
    /// A statement as a Query message.
    Simple,
    /// Parse, Bind, Execute.
    Extended,
    /// `POST /api/v1/pql`
    Pql,
    /// A call that is the statement.
    Call(&'static Call),
}

/// Why a statement was not carried out.
#[derive(Debug)]
pub struct Failure {
    pub state: String,
    pub text: String,
}

impl Way {
    /// The ways of a statement. Rows that stream go over no HTTP.
    pub fn of(statement: &str, kind: Kind) -> Vec<Self> {
        if kind.is_cursor() {
            return vec![Self::Simple, Self::Extended];
        }
        let calls = CALLS.iter().filter(|call| call.statement == statement).map(Self::Call);
        let whole = (!kind.is_stream()).then_some(Self::Pql);
        [Self::Embedded, Self::Simple, Self::Extended].into_iter().chain(whole).chain(calls).collect()
    }
}

impl World {
    /// Carries a statement out for somebody. `permitted`: whether it is meant to succeed.
    pub async fn carry_out(
        &self,
        way: Way,
        who: char,
        kind: Kind,
        statement: &str,
        permitted: bool,
    ) -> Result<(), Failure> {
        let text = self.placed(statement);
        match way {
            Way::Embedded => {
                let failed = |error: Error| Failure { state: error.state.code().to_string(), text: spelled(&error) };
                run(&self.session(who), &text).await.map(drop).map_err(failed)
            }
            // The client takes no rows that stream in a simple query: a refusal is all that comes there.
            Way::Simple if !(kind.is_stream() && permitted) => {
                let client = self.client(who).await;
                let outcome = client.simple_query(&text).await.map(drop).map_err(of_client);
                self.leave(who, kind).await;
                outcome
            }
            Way::Simple | Way::Extended => {
                let outcome = self.extended(who, kind, &text).await.map_err(of_client);
                self.leave(who, kind).await;
                outcome
            }
            Way::Pql => {
                let body = serde_json::json!({ "statement": text }).to_string();
                self.ask(who, "POST", "/api/v1/pql", Some(&body)).await
            }
            Way::Call(call) => self.ask(who, call.method, call.path, call.body).await,
        }
    }

    async fn extended(&self, who: char, kind: Kind, text: &str) -> Result<(), tokio_postgres::Error> {
        let client = self.client(who).await;
        match kind {
            Kind::CopyFromStdin => {
                let rows = client.copy_in::<_, Bytes>(text).await?;
                pin_mut!(rows);
                rows.send(Bytes::from_static(b"600\t1\n")).await?;
                rows.finish().await.map(drop)
            }
            Kind::CopyToStdout | Kind::CopyQueryToStdout => {
                client.copy_out(text).await?.try_collect::<Vec<_>>().await.map(drop)
            }
            _ => client.query(text, &[]).await.map(drop),
        }
    }

    /// Ends the block that a statement may have begun.
    async fn leave(&self, who: char, kind: Kind) {
        if kind == Kind::Begin {
            self.client(who).await.batch_execute("ROLLBACK").await.expect("a block that ends");
        }
    }

    /// A request, whose answer is a statement's outcome.
    pub async fn ask(&self, who: char, method: &str, path: &str, body: Option<&str>) -> Result<(), Failure> {
        let mut socket = TcpStream::connect(self.http).await.expect("a connection");
        let mut text = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", self.http);
        if let Some(user) = name(who) {
            text += &format!("authorization: Basic {}\r\n", BASE64_STANDARD.encode(format!("{user}:")));
        }
        let body = body.unwrap_or_default();
        text += &format!("content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        socket.write_all(text.as_bytes()).await.expect("the request is sent");
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await.expect("an answer");
        let answer = String::from_utf8_lossy(&answer);
        let status = answer.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok()).expect("a status");
        if status < 400 {
            return Ok(());
        }
        let (_, problem) = answer.split_once("\r\n\r\n").expect("a body");
        let problem: serde_json::Value = serde_json::from_str(problem).expect("a problem");
        let state = problem["sqlstate"].as_str().unwrap_or_default().to_string();
        assert_eq!(status == 403, state == DENIED, "{answer}");
        Err(Failure { state, text: problem.to_string() })
    }
}

fn of_client(error: tokio_postgres::Error) -> Failure {
    let state = error.code().map(|code| code.code().to_string()).unwrap_or_default();
    Failure { state, text: format!("{error:?}") }
}
