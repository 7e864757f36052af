//! The program, started in a directory of its own with an environment of its own.

use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// How long a test waits for what must come.
pub const SOON: Duration = Duration::from_secs(60);

/// Where a program is started.
pub struct Place(TempDir);

impl Place {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file; a configuration file is `evenkeel.toml`.
    pub fn write(&self, name: &str, text: &str) -> &Self {
        std::fs::write(self.path(name), text).expect("a file");
        self
    }

    /// The names of what is there.
    pub fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).expect("the directory");
        let mut names: Vec<_> =
            entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Nothing of the environment of the test is there, and nothing of the machine's proxies.
    fn command(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_evenkeel"));
        command.current_dir(self.0.path()).args(arguments).env_clear().envs(environment.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs it to its end.
    pub fn run(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
        let output = self.command(arguments, environment).output().expect("the program starts");
        let Output { status, stdout, stderr } = output;
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Ended { code: status.code(), out: text(stdout), err: text(stderr) }
    }

    /// Starts a server and waits until it listens.
    pub fn serve(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Server {
        let arguments: Vec<&str> = ["serve"].into_iter().chain(arguments.iter().copied()).collect();
        let mut child = self.command(&arguments, environment).spawn().expect("the program starts");
        let out = lines(child.stdout.take().expect("its output"));
        let log = lines(child.stderr.take().expect("its log"));
        let mut server = Server { child, out, log, logged: Vec::new(), address: ([0, 0, 0, 0], 0).into(), http: None };
        let first = server.until_says("listening on ");
        let address = first.trim_start_matches("listening on ").split(": ").next();
        server.address = address.and_then(|address| address.parse().ok()).unwrap_or_else(|| panic!("{first}"));
        server
    }
}

/// A program that has ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// A server, which does not outlive its test.
pub struct Server {
    child: Child,
    out: Receiver<String>,
    log: Receiver<String>,
    /// What it has logged so far, as far as somebody has looked.
    pub logged: Vec<String>,
    pub address: SocketAddr,
    pub http: Option<SocketAddr>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

impl Server {
    /// Waits for a line on standard output.
    pub fn until_says(&self, begin: &str) -> String {
        loop {
            match self.out.recv_timeout(SOON) {
                Ok(line) if line.starts_with(begin) => return line,
                Ok(_) => {}
                Err(error) => {
                    panic!("it never says {begin:?}: {error}; its log: {:?}", self.log.try_iter().collect::<Vec<_>>())
                }
            }
        }
    }

    /// Takes note of where it serves HTTP.
    pub fn with_http(mut self) -> Self {
        let line = self.until_says("listening on http");
        self.http = line.rsplit('/').next().and_then(|address| address.parse().ok());
        self
    }

    /// Waits for a line of the log, which has all these words.
    pub fn until_logs(&mut self, words: &[&str]) -> String {
        loop {
            let line = self
                .log
                .recv_timeout(SOON)
                .unwrap_or_else(|error| panic!("no line has {words:?}: {error}; {:#?}", self.logged));
            self.logged.push(line.clone());
            if words.iter().all(|word| line.contains(word)) {
                return line;
            }
        }
    }

    /// As [`Self::until_logs`], of a log in JSON.
    pub fn until_event(&mut self, message: &str) -> Value {
        let line = self.until_logs(&[&format!("\"message\":\"{message}\"")]);
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    pub fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().expect("a shell").success());
    }

    /// Ends it as a service manager would; the rest of its log is in `logged`.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.until_says("stopped");
        let status = self.child.wait().expect("it ends");
        self.logged.extend(self.log.iter());
        status
    }

    pub async fn client(&self, user: &str, password: Option<&str>) -> Result<Client, tokio_postgres::Error> {
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(self.address.port()).user(user);
        if let Some(password) = password {
            config.password(password);
        }
        let (client, connection) = config.connect(NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// A setting's value, and where it comes from.
    pub async fn setting(&self, name: &str) -> (String, String) {
        let client = self.client("anybody", None).await.expect("a connection");
        let query = format!("SELECT value, origin FROM system.settings WHERE name = '{name}'");
        let rows = client.simple_query(&query).await.expect("an answer");
        let row = rows.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let row = row.expect("a setting");
        (row.get(0).expect("a value").to_string(), row.get(1).expect("an origin").to_string())
    }
}

/// A setting's value and origin, as [`Server::setting`] has them.
pub fn of(value: &str, origin: &str) -> (String, String) {
    (value.to_string(), origin.to_string())
}

/// The rows of `config show --format json`, by key.
pub fn shown(ended: &Ended) -> std::collections::BTreeMap<String, (Value, Value)> {
    let rows: Vec<Value> = serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
    let row =
        |row: Value| (row["key"].as_str().expect("a key").to_string(), (row["value"].clone(), row["origin"].clone()));
    rows.into_iter().map(row).collect()
}

/// Whether a path is there.
pub fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}
