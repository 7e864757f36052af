//! A private PostgreSQL: found, made, started, and gone again at the end.
//!
//! It runs with its default settings, answers on a Unix socket that only its own user and root can open, and lives
//! beside Evenkeel's files. PostgreSQL refuses to run as root, so root runs it as the user `postgres`, or `nobody`.

use anyhow::Context;
use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tokio_postgres::{Client, NoTls};

/// The oldest version worth comparing with.
const VERSION_MIN: u32 = 15;
/// The path of a Unix socket has at most 107 bytes, of which `/.s.PGSQL.5432` takes these.
const SOCKET_DIRECTORY_MAX: usize = 107 - 14;
const USER: &str = "bench";
const PORT: u16 = 5432;

/// An installation.
#[derive(Debug)]
struct Installation {
    binaries: PathBuf,
    version: String,
}

/// Who runs the server, where that is not ourselves.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Account {
    user: u32,
    group: u32,
}

/// A running server. Dropping it stops it.
#[derive(Debug)]
pub struct Server {
    installation: Installation,
    account: Option<Account>,
    directory: PathBuf,
}

impl Server {
    /// Makes a cluster in a new directory and starts it.
    ///
    /// # Errors
    /// The reason why there is none, for people.
    pub fn start(directory: &Path) -> Result<Self, String> {
        let installation =
            find().ok_or_else(|| format!("no postgres, initdb and pg_ctl of version {VERSION_MIN} or later found"))?;
        if directory.as_os_str().len() > SOCKET_DIRECTORY_MAX {
            return Err(format!("{} is too long for a socket's path", directory.display()));
        }
        let failed = |error: std::io::Error| format!("{}: {error}", directory.display());
        std::fs::create_dir(directory).map_err(failed)?;
        let account = if std::fs::metadata(directory).map_err(failed)?.uid() == 0 {
            let users = std::fs::read_to_string("/etc/passwd").map_err(|error| format!("/etc/passwd: {error}"))?;
            let account = ["postgres", "nobody"].iter().find_map(|name| account(&users, name));
            Some(account.ok_or("there is no user postgres or nobody to run it as")?)
        } else {
            None
        };
        if let Some(Account { user, group }) = account {
            std::os::unix::fs::chown(directory, Some(user), Some(group)).map_err(failed)?;
        }
        let server = Self { installation, account, directory: directory.to_path_buf() };
        let cluster = server.cluster();
        let cluster = cluster.as_os_str();
        let flags = ["--username", USER, "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-instructions", "-D"];
        server.tool("initdb", flags.iter().map(OsStr::new).chain([cluster]))?;
        let log = directory.join("log");
        let socket = format!(
            "-p {PORT} -c listen_addresses='' -c unix_socket_permissions=0700 -c unix_socket_directories='{}'",
            directory.display()
        );
        let start = ["-D".as_ref(), cluster, "-l".as_ref(), log.as_os_str(), "-o".as_ref(), socket.as_ref()];
        server
            .tool("pg_ctl", ["start", "-w", "-t", "60"].iter().map(OsStr::new).chain(start))
            .map_err(|error| format!("{error}\n{}", std::fs::read_to_string(&log).unwrap_or_default()))?;
        Ok(server)
    }

    fn cluster(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// Its version, as it says itself: `15.18`.
    pub fn version(&self) -> &str {
        &self.installation.version
    }

    /// Runs one of PostgreSQL's programs to its end.
    fn tool<'a>(&self, name: &str, arguments: impl Iterator<Item = &'a OsStr>) -> Result<(), String> {
        let mut command = Command::new(self.installation.binaries.join(name));
        command.args(arguments).current_dir(&self.directory).stdin(Stdio::null());
        // Its messages are shown where something goes wrong: in English they are found more easily.
        command.env("LC_ALL", "C");
        for (variable, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"PG")) {
            command.env_remove(variable);
        }
        if let Some(Account { user, group }) = self.account {
            command.gid(group).uid(user);
        }
        let output = command.output().map_err(|error| format!("{name}: {error}"))?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("{name} failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn connect(&self) -> anyhow::Result<Client> {
        let mut config = tokio_postgres::Config::new();
        config.host_path(&self.directory).port(PORT).user(USER).dbname("postgres");
        let (client, connection) = config.connect(NoTls).await.context("PostgreSQL does not answer")?;
        tokio::spawn(async move {
            // Whoever uses the client learns of an error there.
            let _ = connection.await;
        });
        Ok(client)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !self.cluster().join("postmaster.pid").exists() {
            return;
        }
        let cluster = self.cluster();
        let stop = ["stop", "-w", "-t", "30", "-m", "immediate", "-D"].map(OsStr::new);
        if let Err(error) = self.tool("pg_ctl", stop.into_iter().chain([cluster.as_os_str()])) {
            crate::bench::say(&format!("PostgreSQL did not stop: {error}"));
        }
    }
}

/// The newest installation on the PATH or where Debian puts them.
fn find() -> Option<Installation> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let packaged = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    places.extend(packaged.map(|version| version.path().join("bin")));
    let complete = |place: &PathBuf| ["postgres", "initdb", "pg_ctl"].iter().all(|name| place.join(name).is_file());
    let installations = places.into_iter().filter(complete).filter_map(|binaries| {
        let output = Command::new(binaries.join("postgres")).arg("--version").output().ok()?;
        let version = version(&String::from_utf8_lossy(&output.stdout))?;
        Some(Installation { binaries, version })
    });
    let supported = installations.filter(|installation| major(&installation.version) >= Some(VERSION_MIN));
    supported.max_by_key(|installation| major(&installation.version))
}

/// `15.18` of `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`.
fn version(text: &str) -> Option<String> {
    let word = text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    Some(word.to_string())
}

fn major(version: &str) -> Option<u32> {
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// A user's ids of the lines of `/etc/passwd`.
fn account(users: &str, name: &str) -> Option<Account> {
    let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut ids = line.split(':').skip(2);
    Some(Account { user: ids.next()?.parse().ok()?, group: ids.next()?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_postgres_says() {
        let said = version("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n");
        assert_eq!(said.as_deref(), Some("15.18"));
        assert_eq!((major("15.18"), major("17beta1"), major("x")), (Some(15), Some(17), None));
        assert_eq!(version("postgres"), None);
    }

    #[test]
    fn accounts_are_found_by_their_whole_name() {
        let users = "root:x:0:0::/root:/bin/sh\npostgresql:x:7:8:::\npostgres:x:101:102:,,,:/var/lib:/bin/bash\n";
        assert_eq!(account(users, "postgres"), Some(Account { user: 101, group: 102 }));
        assert_eq!(account(users, "nobody"), None);
    }
}
