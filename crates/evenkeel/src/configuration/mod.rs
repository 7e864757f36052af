//! What `evenkeel serve` goes by: a file, over it the environment, over it the flags.
//!
//! WHAT MAY NEVER HAPPEN: something in a file or a variable that nobody knows is passed over in silence; a configuration
//! with a mistake changes anything; a password is shown.
//!
//! ```text
//! keys: the one list ─┬▶ arguments: flags of the command line
//!                     ├▶ layers: file + environment + flags ─▶ Resolved, or every problem with its place
//!                     ╰▶ example: evenkeel.toml, docs/configuration.md
//! source: reads the file and the environment ─▶ layers ─▶ Configuration: checked as a whole, typed
//! ```
//!
//! `ALTER SYSTEM` stands above all of it, for settings, and is the engine's.

pub mod arguments;
pub mod example;
mod file;
pub mod keys;
mod layers;
mod problem;
pub mod show;
mod source;
#[cfg(test)]
mod tests;

pub use arguments::Given;
pub use keys::{KEYS, Key};
pub use layers::Resolved;
pub use problem::{Origin, Problem, Problems};
pub use source::{Loaded, load};

use evenkeel_model::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// Who may connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Users with passwords (SCRAM-SHA-256).
    Scram,
    /// Everybody who reaches the port; on loopback only.
    Trust,
}

/// What a file alone says.
#[cfg(test)]
pub fn resolve_file(path: &str, text: &str) -> Result<Resolved, Problems> {
    let file = Some(layers::File { path: PathBuf::from(path), text: text.to_string() });
    layers::resolve(&layers::Layers { file, ..layers::Layers::default() })
}

impl Auth {
    /// As the file spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scram => "scram",
            Self::Trust => "trust",
        }
    }

    pub fn of_wire(self) -> evenkeel_wire::Authentication {
        match self {
            Self::Scram => evenkeel_wire::Authentication::Scram,
            Self::Trust => evenkeel_wire::Authentication::Trust,
        }
    }

    pub fn of_http(self) -> evenkeel_http::Authentication {
        match self {
            Self::Scram => evenkeel_http::Authentication::Users,
            Self::Trust => evenkeel_http::Authentication::Trust,
        }
    }
}

/// With which certificate connections are encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Encryption {
    None,
    Files { certificate: PathBuf, key: PathBuf },
    SelfSigned,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// Everything that a server is started with, checked as far as that goes without starting it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    pub data: PathBuf,
    pub shards: Option<u32>,
    pub listen: SocketAddr,
    pub http: Option<SocketAddr>,
    pub auth: Auth,
    pub encryption: Encryption,
    pub tls_only: bool,
    pub log_level: String,
    pub log_format: LogFormat,
    pub otlp_endpoint: Option<String>,
}

impl Resolved {
    /// The whole, typed.
    ///
    /// # Errors
    /// What does not go together, or is missing.
    pub fn configuration(&self) -> Result<Configuration, Problems> {
        let mut problems = Vec::new();
        let is_on = |name| self.text(name).as_deref() == Some("true");
        let address = |name| self.text(name).and_then(|text| text.parse::<SocketAddr>().ok());
        let auth = if self.text("auth").as_deref() == Some("trust") { Auth::Trust } else { Auth::Scram };
        let encryption = self.encryption().unwrap_or_else(|problem| {
            problems.push(problem);
            Encryption::None
        });
        let tls_only = is_on("tls_only");
        if tls_only && encryption == Encryption::None && problems.is_empty() {
            problems.push(
                Problem::new(self.origin("tls_only"), "tls_only needs a certificate")
                    .with_hint("--tls-cert and --tls-key name one; --tls-self-signed makes one"),
            );
        }
        let (listen, http) = (address("listen").unwrap_or(LISTEN), address("http"));
        let refused =
            |name: &str, error: Error| Problem { hint: error.hint, ..Problem::new(self.origin(name), error.message) };
        problems.extend(evenkeel_wire::may_listen(listen, auth.of_wire()).err().map(|error| refused("listen", error)));
        let encrypted = encryption != Encryption::None;
        let open = http.and_then(|http| evenkeel_http::may_listen(http, auth.of_http(), encrypted).err());
        problems.extend(open.map(|error| refused("http", error)));
        if self.text("data").is_none() {
            problems.push(
                Problem::new(None, "no directory is given for the database")
                    .with_hint("--data DIR, EVENKEEL_DATA=DIR, or data = \"DIR\" in evenkeel.toml"),
            );
        }
        if !problems.is_empty() {
            return Err(Problems(problems));
        }
        Ok(Configuration {
            data: self.text("data").unwrap_or_default().into(),
            shards: self.text("shards").and_then(|text| text.parse().ok()),
            listen,
            http,
            auth,
            encryption,
            tls_only,
            log_level: self.text("log_level").unwrap_or_default(),
            log_format: if self.text("log_format").as_deref() == Some("json") {
                LogFormat::Json
            } else {
                LogFormat::Text
            },
            otlp_endpoint: self.text("otlp_endpoint"),
        })
    }

    fn encryption(&self) -> Result<Encryption, Problem> {
        let self_signed = self.text("tls_self_signed").as_deref() == Some("true");
        let half = |there: &str, missing: &str| {
            Err(Problem::new(self.origin(there), format!("{there} needs {missing}"))
                .with_hint("a certificate and its private key, each a file in PEM"))
        };
        match (self.text("tls_cert"), self.text("tls_key")) {
            (Some(_), None) => half("tls_cert", "tls_key"),
            (None, Some(_)) => half("tls_key", "tls_cert"),
            (Some(_), Some(_)) if self_signed => {
                let other = self.origin("tls_cert").map_or_else(String::new, |origin| format!(" ({origin})"));
                let message = format!("tls_self_signed is not for a server with tls_cert{other}");
                Err(Problem::new(self.origin("tls_self_signed"), message).with_hint("leave one of them out"))
            }
            (Some(certificate), Some(key)) => {
                Ok(Encryption::Files { certificate: certificate.into(), key: key.into() })
            }
            (None, None) if self_signed => Ok(Encryption::SelfSigned),
            (None, None) => Ok(Encryption::None),
        }
    }
}

/// As the list of keys has it.
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 5433);
