//! Where a server is and who wants in: `postgres://user:password@host:port/database?sslmode=…`.
//!
//! What the URL does not say, the environment does, by the names that psql knows: PGHOST, PGPORT, PGUSER, PGPASSWORD,
//! PGDATABASE, PGSSLMODE, PGSSLROOTCERT.

use std::fmt;
use std::path::PathBuf;

use evenkeel_model::{Error, Result, SqlState, did_you_mean};

const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];
const HOST_DEFAULT: &str = "localhost";
/// Where `evenkeel serve` listens, unless it is told otherwise.
const PORT_DEFAULT: u16 = 5433;
/// What may stand behind the `?`, with the environment variable that says the same.
const PARAMETERS: [(&str, &str); 7] = [
    ("host", "PGHOST"),
    ("port", "PGPORT"),
    ("user", "PGUSER"),
    ("password", "PGPASSWORD"),
    ("dbname", "PGDATABASE"),
    ("sslmode", "PGSSLMODE"),
    ("sslrootcert", "PGSSLROOTCERT"),
];

/// A server, and who wants in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub host: String,
    pub port: u16,
    pub user: String,
    pub password: Option<Password>,
    /// A server of Evenkeel has one, whatever its name.
    pub database: Option<String>,
    pub security: Security,
}

/// A password, and who said it.
#[derive(Clone, PartialEq, Eq)]
pub struct Password {
    pub text: String,
    pub origin: &'static str,
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a password from {}", self.origin)
    }
}

/// Whether a connection is encrypted, and with whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Security {
    /// `disable`: it is not.
    Disable,
    /// `prefer`: it is, if the server can; whoever answers is believed.
    Prefer,
    /// `require`: it is; whoever answers is believed.
    Require,
    /// `verify-full`: it is, and the server has a certificate for its name that this file vouches for.
    VerifyFull { root: PathBuf },
}

impl Address {
    /// Whether a text is meant to be one.
    pub fn is_meant(text: &str) -> bool {
        SCHEMES.iter().any(|scheme| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))
    }

    /// Reads a URL; `environment` answers for what it does not say.
    ///
    /// # Errors
    /// 22023 for what is no such URL, or has parts that are not known.
    pub fn parse(url: &str, environment: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let said = Said::parse(url)?;
        let get = |name: &str| {
            let variable = PARAMETERS.iter().find(|(known, _)| *known == name).map(|(_, variable)| *variable);
            let found = said.get(name).map(|text| (text.to_string(), "the URL"));
            found.or_else(|| variable.and_then(|name| Some((environment(name).filter(|text| !text.is_empty())?, name))))
        };
        let text = |name: &str| get(name).map(|(text, _)| text);
        let host = text("host").unwrap_or_else(|| HOST_DEFAULT.to_string());
        if host.starts_with('/') {
            let message = format!("{host} is a socket of this machine, which is not spoken through");
            return Err(invalid(message).with_hint("localhost goes through the network"));
        }
        let port = match text("port") {
            None => PORT_DEFAULT,
            Some(text) => text.parse().ok().filter(|port| *port > 0).ok_or_else(|| {
                invalid(format!("\"{text}\" is no port")).with_hint("a port is a number from 1 to 65535")
            })?,
        };
        let of_system = || environment("USER").or_else(|| environment("LOGNAME")).filter(|user| !user.is_empty());
        let user = text("user").or_else(of_system).ok_or_else(|| {
            invalid("the URL names no user").with_hint("postgres://user@host names one, as PGUSER does")
        })?;
        let password = get("password").map(|(text, origin)| Password { text, origin });
        let security = Security::parse(text("sslmode").as_deref(), text("sslrootcert").map(PathBuf::from))?;
        Ok(Self { host, port, user, password, database: text("dbname"), security })
    }
}

/// `host:port`
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl Security {
    fn parse(mode: Option<&str>, root: Option<PathBuf>) -> Result<Self> {
        let full = |root: Option<PathBuf>| match root {
            Some(root) => Ok(Security::VerifyFull { root }),
            None => Err(invalid("sslmode=verify-full needs sslrootcert")
                .with_hint("sslrootcert=FILE names the certificates (PEM) that vouch for the server's")),
        };
        // Whoever names a certificate wants it to be looked at.
        let plain = |security, root: Option<PathBuf>| match root {
            None => Ok(security),
            Some(_) => Err(invalid("sslrootcert is looked at with sslmode=verify-full only")),
        };
        match mode {
            None if root.is_some() => full(root),
            None | Some("prefer") => plain(Security::Prefer, root),
            Some("disable") => Ok(Security::Disable),
            Some("require") => plain(Security::Require, root),
            Some("verify-full") => full(root),
            Some("verify-ca") => {
                Err(invalid("there is no sslmode verify-ca here").with_hint("verify-full looks at the name, too"))
            }
            Some(other) => {
                let modes = ["disable", "prefer", "require", "verify-full"];
                let hint = did_you_mean(other, modes).map(|near| format!("did you mean {near}?"));
                let error = invalid(format!("there is no sslmode \"{other}\""));
                Err(error.with_hint(hint.unwrap_or_else(|| format!("there is {}", modes.join(", ")))))
            }
        }
    }
}

/// What a URL says: names of parameters with their values.
struct Said(Vec<(&'static str, String)>);

impl Said {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(known, value)| *known == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    fn parse(url: &str) -> Result<Self> {
        let rest = url.split_once("://").filter(|_| Address::is_meant(url)).map(|(_, rest)| rest).ok_or_else(|| {
            invalid("the address of a server begins with postgres://").with_hint("postgres://user@host:5433")
        })?;
        let mut said = Vec::new();
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, place) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let (host, port) = host_and_port(place)?;
        for (name, text) in
            [("user", user), ("password", password), ("host", host), ("port", port), ("dbname", database)]
        {
            said.push((name, decoded(text)?));
        }
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let known = PARAMETERS.iter().map(|(known, _)| *known).find(|known| *known == name);
            said.push((known.ok_or_else(|| unknown(name))?, decoded(value)?));
        }
        Ok(Self(said))
    }
}

/// `host`, `host:port`, `[::1]:port`
fn host_and_port(place: &str) -> Result<(&str, &str)> {
    if let Some(rest) = place.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or_else(|| invalid("a [ in the URL is not closed"))?;
        return Ok((host, after.strip_prefix(':').unwrap_or(after)));
    }
    Ok(place.split_once(':').unwrap_or((place, "")))
}

fn unknown(name: &str) -> Error {
    let names = PARAMETERS.map(|(name, _)| name);
    let error = invalid(format!("there is no parameter \"{name}\" of a connection"));
    match did_you_mean(name, names) {
        Some(near) => error.with_hint(format!("did you mean {near}?")),
        None => error.with_hint(format!("there is {}", names.join(", "))),
    }
}

/// The text with `%40` and its like as the characters they stand for.
fn decoded(text: &str) -> Result<String> {
    let wrong = || invalid("a % in the URL is not followed by two digits").with_hint("a % itself is %25");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok()).ok_or_else(wrong)?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| wrong())?);
        rest = &after[2..];
    }
    String::from_utf8(bytes).map_err(|_| invalid("the URL is not UTF-8"))
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(SqlState::InvalidParameterValue, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Address> {
        Address::parse(url, |name| (name == "USER").then(|| "ada".to_string()))
    }

    fn complaint(url: &str) -> String {
        let error = parse(url).expect_err(url);
        format!("{}; {}", error.message, error.hint.unwrap_or_default())
    }

    #[test]
    fn every_part_may_be_said() {
        let address = parse("postgresql://b%40b:p%3Aw%2F%25@[::1]:5999/d%20b?sslmode=require").expect("a URL");
        let password = Some(Password { text: "p:w/%".to_string(), origin: "the URL" });
        let (host, user, database) = ("::1".to_string(), "b@b".to_string(), Some("d b".to_string()));
        let security = Security::Require;
        assert_eq!(address, Address { host, port: 5999, user, password, database, security });
        assert_eq!(address.to_string(), "[::1]:5999");
        let address = parse("POSTGRES://db.example?port=1&user=eve&dbname=x&password=s").expect("a URL");
        assert_eq!((address.to_string(), address.user.as_str()), ("db.example:1".to_string(), "eve"));
        assert!(!format!("{address:?}").contains("\"s\""), "passwords are not shown");
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        let address = parse("postgres://").expect("a URL");
        assert_eq!((address.to_string(), address.user.as_str()), ("localhost:5433".to_string(), "ada"));
        assert_eq!((address.password, address.database, address.security), (None, None, Security::Prefer));
        assert!(Address::parse("postgres://h", |_| None).is_err(), "somebody must want in");
    }

    #[test]
    fn the_environment_says_what_the_url_does_not() {
        let environment = |name: &str| {
            let pairs = [
                ("PGHOST", "far"),
                ("PGPORT", "77"),
                ("PGUSER", "eve"),
                ("PGPASSWORD", "secret"),
                ("PGDATABASE", "d"),
                ("PGSSLROOTCERT", "root.pem"),
                ("PGSSLMODE", ""),
            ];
            pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string())
        };
        let address = Address::parse("postgres://", environment).expect("a URL");
        assert_eq!((address.to_string(), address.user.as_str()), ("far:77".to_string(), "eve"));
        assert_eq!(address.password.map(|password| password.origin), Some("PGPASSWORD"));
        assert_eq!(address.database.as_deref(), Some("d"));
        assert_eq!(address.security, Security::VerifyFull { root: PathBuf::from("root.pem") });
        let address = Address::parse("postgres://ada:x@near:5/e", environment).expect("a URL");
        assert_eq!((address.to_string(), address.user.as_str()), ("near:5".to_string(), "ada"));
        assert_eq!(address.password.map(|password| password.origin), Some("the URL"));
    }

    #[test]
    fn what_is_wrong_is_said_with_what_would_be_right() {
        for (url, expected) in [
            ("mysql://h", "begins with postgres://"),
            ("postgres://h:0", "\"0\" is no port; a port is a number from 1 to 65535"),
            ("postgres://h:70000", "\"70000\" is no port"),
            ("postgres://h?sslmod=require", "no parameter \"sslmod\" of a connection; did you mean sslmode?"),
            ("postgres://h?sslmode=requires", "no sslmode \"requires\"; did you mean require?"),
            ("postgres://h?sslmode=verify-ca", "verify-full looks at the name, too"),
            ("postgres://h?sslmode=verify-full", "needs sslrootcert"),
            ("postgres://h?sslmode=require&sslrootcert=f", "sslmode=verify-full only"),
            ("postgres://a%4@h", "a % itself is %25"),
            ("postgres://[::1", "not closed"),
            ("postgres://%2Fvar%2Frun", "a socket of this machine"),
        ] {
            assert!(complaint(url).contains(expected), "{url}: {}", complaint(url));
        }
    }
}
