//! A server on a free port, and a client of it: HTTP/1.1 by hand, so that a missing end is seen.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use evenkeel_http::{Authentication, Options, Server, Stop};
use evenkeel_tests::{Temporary, run};
use serde_json::Value;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// How long a test waits for what must come.
pub const SOON: Duration = Duration::from_secs(60);
/// Every user's password.
pub const PASSWORD: &str = "a long secret";

pub struct Ground {
    pub address: SocketAddr,
    pub stop: Stop,
    pub serving: JoinHandle<()>,
    pub database: Temporary,
}

impl Ground {
    /// Nobody is asked who they are.
    pub async fn new() -> Self {
        Self::with(Authentication::Trust).await
    }

    /// Users of every role, called by it, and one, `rita`, who may read `t`.
    pub async fn with_users() -> Self {
        let ground = Self::with(Authentication::Users).await;
        let session = ground.database.session();
        for role in ["admin", "operator", "user"] {
            let name = if role == "user" { "plain" } else { role };
            let statement = format!("CREATE USER {name}s PASSWORD '{PASSWORD}' ROLE {role}");
            run(&session, &statement).await.expect("a user");
        }
        run(&session, "CREATE TABLE t (id INT PRIMARY KEY, v TEXT)").await.expect("a table");
        run(&session, "INSERT INTO t VALUES (1, 'one'), (2, 'two'), (3, NULL)").await.expect("rows");
        ground
    }

    async fn with(authentication: Authentication) -> Self {
        let database = Temporary::new(4);
        let options = Options {
            listen: "127.0.0.1:0".parse().expect("an address"),
            authentication,
            tls: None,
            connections: vec![("postgresql", Box::new(|| 3))],
        };
        let server = Server::bind(database.database(), options).await.expect("a free port");
        let (address, stop) = (server.address().expect("an address"), server.stop());
        Self { address, stop, serving: tokio::spawn(server.serve()), database }
    }

    /// A request, and its whole answer.
    pub async fn ask(&self, request: Request<'_>) -> Reply {
        tokio::time::timeout(SOON, request.send(self.address)).await.expect("an answer")
    }

    /// A token of a user with the usual password.
    pub async fn token(&self, user: &str) -> String {
        let reply = self.ask(post("/api/v1/tokens").password(user, PASSWORD)).await;
        assert_eq!(reply.status, 201, "{}", reply.text());
        reply.json()["token"].as_str().expect("a token").to_string()
    }

    /// Runs a statement and gives its rows.
    pub async fn pql(&self, statement: &str) -> Value {
        let reply = self.ask(post("/api/v1/pql").json(&serde_json::json!({ "statement": statement }))).await;
        assert_eq!(reply.status, 200, "{statement}: {}", reply.text());
        reply.json()["rows"].clone()
    }

    /// Ends the server; everything must go.
    pub async fn end(self) {
        self.stop.end();
        tokio::time::timeout(SOON, self.serving).await.expect("the server ends").expect("the server does not panic");
    }
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Request<'r> {
    method: &'r str,
    path: &'r str,
    headers: Vec<(String, String)>,
    body: Option<String>,
}

pub fn request<'r>(method: &'r str, path: &'r str) -> Request<'r> {
    Request { method, path, headers: Vec::new(), body: None }
}

pub fn get(path: &str) -> Request<'_> {
    request("GET", path)
}

pub fn post(path: &str) -> Request<'_> {
    request("POST", path)
}

impl Request<'_> {
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_string(), value.to_string()));
        self
    }

    pub fn json(mut self, body: &Value) -> Self {
        self.body = Some(body.to_string());
        self.header("content-type", "application/json")
    }

    pub fn body(mut self, body: &str) -> Self {
        self.body = Some(body.to_string());
        self
    }

    pub fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub fn password(self, user: &str, password: &str) -> Self {
        let encoded = BASE64_STANDARD.encode(format!("{user}:{password}"));
        self.header("authorization", &format!("Basic {encoded}"))
    }

    async fn write(&self, address: SocketAddr) -> TcpStream {
        let mut socket = TcpStream::connect(address).await.expect("a connection");
        let mut text = format!("{} {} HTTP/1.1\r\nconnection: close\r\n", self.method, self.path);
        if !self.headers.iter().any(|(name, _)| name == "host") {
            text += &format!("host: {address}\r\n");
        }
        self.headers.iter().for_each(|(name, value)| text += &format!("{name}: {value}\r\n"));
        let body = self.body.clone().unwrap_or_default();
        text += &format!("content-length: {}\r\n\r\n{body}", body.len());
        socket.write_all(text.as_bytes()).await.expect("the request is sent");
        socket
    }

    async fn send(self, address: SocketAddr) -> Reply {
        let mut bytes = Vec::new();
        self.write(address).await.read_to_end(&mut bytes).await.expect("an answer");
        Reply::parse(&bytes)
    }

    /// The lines of an answer that does not end, after its head.
    pub async fn lines(self, address: SocketAddr) -> (u16, BufReader<TcpStream>) {
        let mut reader = BufReader::new(self.write(address).await);
        let (mut status, mut line) = (0, String::new());
        loop {
            line.clear();
            tokio::time::timeout(SOON, reader.read_line(&mut line)).await.expect("a head").expect("a line");
            if line == "\r\n" {
                return (status, reader);
            }
            if let Some(rest) = line.strip_prefix("HTTP/1.1 ") {
                status = rest[..3].parse().expect("a status");
            }
        }
    }
}

/// What is answered.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
    /// Whether the end of the body was there.
    pub is_whole: bool,
}

impl Reply {
    fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("the end of a head");
        let head = std::str::from_utf8(&bytes[..end]).expect("a head in ASCII");
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
        let pair =
            |line: &str| line.split_once(':').map(|(name, value)| (name.to_lowercase(), value.trim().to_string()));
        let headers: HashMap<_, _> = lines.filter_map(pair).collect();
        let rest = &bytes[end + 4..];
        let (body, is_whole) = match headers.get("content-length").and_then(|length| length.parse::<usize>().ok()) {
            Some(length) => (rest.to_vec(), rest.len() == length),
            None if headers.get("transfer-encoding").is_some_and(|coding| coding == "chunked") => chunks(rest),
            None => (rest.to_vec(), true),
        };
        Self { status: status.expect("a status"), headers, body, is_whole }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// A problem's SQLSTATE; a problem it must be.
    pub fn sqlstate(&self) -> String {
        assert_eq!(self.headers["content-type"], "application/problem+json", "{}", self.text());
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{problem}");
        assert!(
            problem["type"].is_string() && problem["title"].is_string() && problem["detail"].is_string(),
            "{problem}"
        );
        problem["sqlstate"].as_str().unwrap_or_default().to_string()
    }
}

fn chunks(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&rest[..end]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
        let size = size.expect("the size of a chunk");
        if size == 0 {
            return (body, true);
        }
        let Some(chunk) = rest.get(end + 2..end + 2 + size) else { break };
        body.extend_from_slice(chunk);
        rest = rest.get(end + 4 + size..).unwrap_or_default();
    }
    (body, false)
}
