//! A database with every kind of user, and servers in front of it.

use crate::table::{BUILT_IN, USERS};
use evenkeel_engine::{Session, SessionOptions};
use evenkeel_http as http;
use evenkeel_tests::{Temporary, lines, run, spelled};
use evenkeel_wire as wire;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls};

/// How long a test waits for what must come.
const SOON: Duration = Duration::from_secs(60);
/// What passwords are given as, so that nobody computes with them: everybody's, and one that is set anew.
const VERIFIER: &str = "SCRAM-SHA-256$4096:AAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:\
                        AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const OTHER_VERIFIER: &str = "SCRAM-SHA-256$4096:BBBB$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:\
                              AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const FILES: [&str; 2] = ["here.csv", "there.csv"];
const ROWS: [&str; 2] = ["INSERT INTO t VALUES (1, 1), (2, 2)", "INSERT INTO s VALUES (1, 10), (3, 30)"];

/// What is there, as far as a statement of the table could change it.
#[derive(Clone, Debug, PartialEq)]
struct State {
    rows: String,
    schema: String,
    users: String,
    settings: String,
    shards: String,
    files: String,
}

pub struct World {
    pub database: Temporary,
    pub built_in: Session,
    pub wire: SocketAddr,
    pub http: SocketAddr,
    /// Everybody's connection, while it is good.
    clients: Mutex<HashMap<char, Arc<Client>>>,
    /// What is meant to be.
    meant: Mutex<Option<State>>,
    stops: (wire::Stop, http::Stop),
    serving: [JoinHandle<()>; 2],
}

impl World {
    pub async fn new() -> Self {
        let database = Temporary::new(2);
        let listen = "127.0.0.1:0".parse().expect("an address");
        let (authentication, tls, tls_only) = (wire::Authentication::Trust, None, false);
        let options = wire::Options { listen, authentication, tls, tls_only };
        let one = wire::Server::bind(database.database(), options).await.expect("a free port");
        let options =
            http::Options { listen, authentication: http::Authentication::Trust, tls: None, connections: vec![] };
        let other = http::Server::bind(database.database(), options).await.expect("a free port");
        let world = Self {
            built_in: database.session(),
            wire: one.address().expect("an address"),
            http: other.address().expect("an address"),
            clients: Mutex::default(),
            meant: Mutex::default(),
            stops: (one.stop(), other.stop()),
            serving: [tokio::spawn(one.serve()), tokio::spawn(other.serve())],
            database,
        };
        world.made(&["ALTER SYSTEM SET synchronous_commit = off"]).await;
        world.make_users().await;
        world.make_tables().await;
        *world.meant.lock().await = Some(world.state().await);
        world
    }

    /// Ends the servers.
    pub async fn end(self) {
        self.clients.lock().await.clear();
        self.stops.0.now();
        self.stops.1.end();
        for serving in self.serving {
            tokio::time::timeout(SOON, serving).await.expect("a server ends").expect("a server does not panic");
        }
    }

    pub fn session(&self, who: char) -> Session {
        let Some(user) = name(who) else { return self.database.session() };
        let options = SessionOptions { user: user.to_string(), application: "matrix".to_string(), client: None };
        Session::of_user(self.database.database(), &options).expect("a user")
    }

    pub async fn client(&self, who: char) -> Arc<Client> {
        let mut clients = self.clients.lock().await;
        if let Some(client) = clients.get(&who).filter(|client| !client.is_closed()) {
            return Arc::clone(client);
        }
        let mut config = tokio_postgres::Config::new();
        // Who is no user is the database's own.
        config.host("127.0.0.1").port(self.wire.port()).user(name(who).unwrap_or("nobody"));
        let (client, connection) = config.connect(NoTls).await.expect("a connection");
        tokio::spawn(connection);
        let client = Arc::new(client);
        clients.insert(who, Arc::clone(&client));
        client
    }

    /// A statement with its files in the database's folder, and passwords that nobody has to compute with.
    pub fn placed(&self, statement: &str) -> String {
        let place = |file: &str| format!("'{}'", self.database.folder().join(file).display());
        let text = statement.replace("'SCRAM'", &format!("'{OTHER_VERIFIER}'"));
        FILES.iter().fold(text, |text, file| text.replace(&format!("'{file}'"), &place(file)))
    }

    /// What is not as it is meant to be; it is put right.
    pub async fn settle(&self) -> Option<String> {
        let now = self.state().await;
        let mut meant = self.meant.lock().await;
        let then = meant.clone().expect("the world was made");
        if now == then {
            return None;
        }
        if now.settings != then.settings {
            self.made(&["ALTER SYSTEM RESET ALL", "ALTER SYSTEM SET synchronous_commit = off"]).await;
        }
        if now.shards != then.shards {
            self.made(&["UNPIN SHARD 1", "WAIT FOR JOB ALL TIMEOUT '60s'"]).await;
        }
        if now.users != then.users {
            self.make_users().await;
        }
        // Who is made again has lost every right.
        if now.schema != then.schema || now.users != then.users {
            self.make_tables().await;
        } else {
            self.put_back().await;
        }
        if now.shards != then.shards {
            // Shards that were added stay, and jobs that were begun end.
            *meant = Some(self.state().await);
        }
        Some(format!("{now:?}\ninstead of\n{then:?}"))
    }

    async fn made(&self, statements: &[&str]) {
        for statement in statements {
            lines(&self.built_in, statement).await;
        }
    }

    /// The rows of `t`, and files, as they are meant to be.
    pub async fn put_back(&self) {
        self.put_files();
        self.made(&["DELETE FROM t", ROWS[0]]).await;
    }

    /// Tables, and who may do what with them.
    async fn make_tables(&self) {
        self.put_files();
        self.made(&[
            "DROP VIEW IF EXISTS w, seen",
            "DROP TABLE IF EXISTS t, s, made, other",
            "CREATE TABLE t (id integer PRIMARY KEY, v integer)",
            "CREATE TABLE s (id integer PRIMARY KEY, v integer)",
        ])
        .await;
        self.made(&ROWS).await;
        self.made(&["ALTER TABLE t OWNER TO olga", "ALTER TABLE s OWNER TO olga"]).await;
        lines(&self.session('W'), "CREATE VIEW w AS SELECT id FROM t WHERE v = 1").await;
        for (_, _, rights) in USERS {
            self.made(rights).await;
        }
    }

    /// Users, without a right to any table.
    async fn make_users(&self) {
        self.clients.lock().await.clear();
        lines(&self.built_in, "DROP USER IF EXISTS fresh").await;
        for (_, user, rights) in USERS {
            lines(&self.built_in, &format!("CREATE USER IF NOT EXISTS {user} PASSWORD '{VERIFIER}'")).await;
            lines(&self.built_in, &format!("ALTER USER {user} PASSWORD '{VERIFIER}'")).await;
            lines(&self.built_in, &format!("ALTER USER {user} CONNECTION LIMIT -1")).await;
            if !rights.iter().any(|right| right.contains("admin") || right.contains("operator")) {
                lines(&self.built_in, &format!("ALTER USER {user} SET ROLE user")).await;
            }
        }
    }

    fn put_files(&self) {
        let [here, there] = FILES.map(|file| self.database.folder().join(file));
        std::fs::write(here, "id,v\n500,1\n").expect("a file");
        if there.exists() {
            std::fs::remove_file(there).expect("a file that goes");
        }
    }

    async fn state(&self) -> State {
        let of = async |queries: &[&str]| {
            let mut all = Vec::new();
            for query in queries {
                all.extend(match run(&self.built_in, query).await {
                    Ok(answered) => answered.lines(),
                    Err(error) => vec![spelled(&error)],
                });
            }
            all.join("\n")
        };
        let passwords = USERS.iter().map(|(_, user, _)| {
            let verifier = self.database.database().scram_verifier(user);
            format!("{user} {:?}\n", verifier.map(|verifier| verifier.salt))
        });
        let mut files: Vec<_> = std::fs::read_dir(self.database.folder())
            .expect("the folder")
            .map(|file| file.expect("a file").file_name().to_string_lossy().into_owned())
            .collect();
        files.sort();
        State {
            rows: of(&["SELECT * FROM t ORDER BY id", "SELECT * FROM s ORDER BY id"]).await,
            schema: of(&[
                "SELECT table_name, owner FROM SYSTEM.TABLES ORDER BY 1",
                "SELECT table_name, column_name, column_default FROM information_schema.columns \
                 WHERE table_schema = 'public' ORDER BY 1, 2",
                "SELECT table_name, view_definition FROM information_schema.views ORDER BY 1",
                "SELECT * FROM SYSTEM.GRANTS ORDER BY 1, 2, 3",
            ])
            .await,
            users: of(&["SELECT user_name, role, connection_limit FROM SYSTEM.USERS ORDER BY 1"]).await
                + &passwords.collect::<String>(),
            settings: of(&["SELECT name, value FROM SYSTEM.SETTINGS WHERE origin = 'ALTER SYSTEM' ORDER BY 1"]).await,
            shards: of(&[
                "SELECT shard_id, state, pinned, slots FROM SYSTEM.SHARDS ORDER BY 1",
                "SELECT job_id, state FROM SYSTEM.JOBS ORDER BY 1",
            ])
            .await,
            files: files.join("\n"),
        }
    }
}

/// The name of who has a letter; none for the database's own user.
pub fn name(who: char) -> Option<&'static str> {
    if who == BUILT_IN {
        return None;
    }
    let found = USERS.iter().find(|(letter, ..)| *letter == who);
    Some(found.expect("a letter of the list").1)
}
