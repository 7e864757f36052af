//! Any bytes, as a client sends them: the connection ends by itself, and the server goes on.
//!
//! The first byte says whether the client begins as one should; the others are what it sends then. A panic anywhere in the
//! process ends the run, but for those of the message codec, which the connection expects; so does a connection that does not
//! end.
#![no_main]

use evenkeel_engine::{Database, OpenOptions, Session};
use evenkeel_wire::InProcess;
use futures::StreamExt;
use libfuzzer_sys::fuzz_target;
use std::backtrace::Backtrace;
use std::sync::OnceLock;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;

/// Nothing that a client can say in one input takes longer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Answers beyond this are not read: their client goes.
const ANSWER_MAX: u64 = 16 << 20;

struct Ground {
    runtime: Runtime,
    server: InProcess,
    _directory: TempDir,
}

/// The connection catches what the codec makes of messages that hold less than they should.
fn expect_codec() {
    let abort = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !Backtrace::force_capture().to_string().contains("PgWireFrontendMessage") {
            abort(panic);
        }
    }));
}

fn ground() -> &'static Ground {
    static GROUND: OnceLock<Ground> = OnceLock::new();
    GROUND.get_or_init(|| {
        expect_codec();
        let runtime = Runtime::new().expect("a runtime");
        let directory = tempfile::tempdir().expect("a temporary directory");
        let options = OpenOptions { shards: Some(2), ..OpenOptions::default() };
        let database = Database::open(&directory.path().join("data"), &options).expect("a new database");
        let session = Session::new(&database, "fuzz");
        runtime.block_on(async {
            for statement in [
                "ALTER SYSTEM SET statement_timeout = '2s'",
                "CREATE TABLE t (id integer PRIMARY KEY, v text)",
                "INSERT INTO t VALUES (1, 'one'), (2, NULL)",
            ] {
                let mut answer = session.execute(statement, &[]);
                while let Some(event) = answer.next().await {
                    event.expect(statement);
                }
            }
        });
        Ground { runtime, server: InProcess::new(&database), _directory: directory }
    })
}

fn start_up() -> Vec<u8> {
    let body = [&196_608_i32.to_be_bytes()[..], b"user\0", InProcess::USER.as_bytes(), b"\0\0"].concat();
    [&(body.len() as i32 + 4).to_be_bytes()[..], &body].concat()
}

fuzz_target!(|bytes: &[u8]| {
    let Some((first, rest)) = bytes.split_first() else { return };
    let ground = ground();
    ground.runtime.block_on(async {
        let (reader, mut writer) = tokio::io::split(ground.server.connect());
        let sent = if first % 8 == 0 { rest.to_vec() } else { [&start_up()[..], rest].concat() };
        let sending = async {
            // The server may have had enough.
            let _ = writer.write_all(&sent).await;
            let _ = writer.shutdown().await;
        };
        let mut answer = Vec::new();
        let mut reader = reader.take(ANSWER_MAX);
        let reading = reader.read_to_end(&mut answer);
        let both = async { tokio::join!(sending, reading) };
        assert!(tokio::time::timeout(PATIENCE, both).await.is_ok(), "a connection does not end");
    });
});
