//! Clients that send anything. The session may die; the server lives, and answers others.

use crate::ground::{Ground, SOON, rows};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use std::io::ErrorKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Messages that are sent in all, at the least.
const MESSAGES: usize = 100_000;
const KINDS: &[u8] = b"QPBDECSHXdcfpFN?\0\xff";

fn start_up() -> Vec<u8> {
    let mut body = 196_608_i32.to_be_bytes().to_vec();
    body.extend_from_slice(b"user\0fuzz\0\0");
    let mut message = (body.len() as i32 + 4).to_be_bytes().to_vec();
    message.extend(body);
    message
}

fn message(dice: &mut StdRng) -> Vec<u8> {
    const TEXTS: &[&str] = &[
        "SELECT 1",
        "SELECT $1",
        "BEGIN",
        "ROLLBACK",
        "COPY t FROM STDIN",
        "QUERY t",
        "",
        ";",
        "SELEC",
        "SHOW ALL",
        "INSERT INTO t VALUES ($1)",
        "COPY t TO STDOUT",
    ];
    let kind = KINDS[dice.random_range(0..KINDS.len())];
    let mut body = Vec::new();
    match dice.random_range(0..4) {
        0 => {
            let mut noise = vec![0; dice.random_range(0..64)];
            dice.fill_bytes(&mut noise);
            body.extend(noise);
        }
        1 => {
            body.extend_from_slice(TEXTS[dice.random_range(0..TEXTS.len())].as_bytes());
            body.push(0);
        }
        2 => {
            // Nearly a Parse or a Bind.
            body.push(0);
            body.extend_from_slice(TEXTS[dice.random_range(0..TEXTS.len())].as_bytes());
            body.push(0);
            for _ in 0..dice.random_range(0..6) {
                body.extend_from_slice(&dice.random_range(-2_i16..5).to_be_bytes());
            }
        }
        _ => {
            body.push([b'S', b'P', b'x'][dice.random_range(0..3)]);
            body.push(0);
            body.extend_from_slice(&dice.random_range(-1_i32..100).to_be_bytes());
        }
    }
    let length = match dice.random_range(0..20) {
        0 => dice.random::<i32>(),
        1 => body.len() as i32 + dice.random_range(-8..8),
        _ => body.len() as i32 + 4,
    };
    let mut message = vec![kind];
    message.extend(length.to_be_bytes());
    message.extend(body);
    message
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_bad_messages() {
    let seed = std::env::var("EVENKEEL_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0x5eed);
    println!("EVENKEEL_SEED={seed}");
    let ground = Ground::new().await;
    let client = ground.client().await;
    client.batch_execute("CREATE TABLE t (id integer PRIMARY KEY)").await.expect("made");
    let mut dice = StdRng::seed_from_u64(seed);
    let mut sent = 0;
    while sent < MESSAGES {
        let mut socket = TcpStream::connect(ground.address).await.expect("the server listens");
        let mut bytes = if dice.random_range(0..10) == 0 { vec![] } else { start_up() };
        let count = dice.random_range(1..400);
        for _ in 0..count {
            bytes.extend(message(&mut dice));
        }
        sent += count;
        let (mut read, mut write) = socket.split();
        let sending = async {
            match write.write_all(&bytes).await {
                // The server may have had enough.
                Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {}
                outcome => outcome.expect("sent"),
            }
            let _ = write.shutdown().await;
        };
        let mut answer = Vec::new();
        let reading = read.read_to_end(&mut answer);
        let both = async { tokio::join!(sending, reading) };
        // Whatever it is answered: it ends.
        let _ = tokio::time::timeout(SOON, both).await.unwrap_or_else(|_| panic!("seed {seed}: a connection hangs"));
    }
    assert_eq!(rows(&client, "SELECT 1").await, ["1"]);
    let others = "SELECT count(*) FROM system.sessions WHERE application <> 'tests'";
    let gone = async {
        while rows(&client, others).await != ["0"] {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, gone).await.expect("every session goes");
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_too_long_is_refused() {
    let ground = Ground::new().await;
    let mut socket = TcpStream::connect(ground.address).await.expect("the server listens");
    socket.write_all(&start_up()).await.expect("sent");
    let mut long = vec![b'Q'];
    long.extend(0x7fff_ffff_i32.to_be_bytes());
    socket.write_all(&long).await.expect("sent");
    let mut answer = Vec::new();
    tokio::time::timeout(SOON, socket.read_to_end(&mut answer)).await.expect("it ends").expect("bytes");
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.contains("C54000") && answer.contains("max_message_size"), "{answer}");
    ground.end().await;
}
