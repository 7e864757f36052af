//! Who is let in, and which servers are believed.

use crate::ground::{Ground, SOON};
use crate::shell_ground::{Stage, dial, refused};
use evenkeel_model::{Error, SqlState};
use evenkeel_tests::{lines, spelled};
use evenkeel_wire::{Authentication, Certificate, Tls};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

/// Certificates in files: one that vouches, and one of a server, for `localhost`.
struct Certificates {
    root: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
    _folder: TempDir,
}

impl Certificates {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("written");
            path
        };
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root_key = KeyPair::generate().expect("a key");
        let root = params.self_signed(&root_key).expect("a certificate");
        let issuer = Issuer::new(params, root_key);
        let key = KeyPair::generate().expect("a key");
        let server = CertificateParams::new(vec!["localhost".to_string()]).expect("a name");
        let server = server.signed_by(&key, &issuer).expect("a certificate");
        let (root, certificate) = (file("root.pem", &root.pem()), file("server.pem", &server.pem()));
        Self { root, certificate, key: file("key.pem", &key.serialize_pem()), _folder: folder }
    }

    fn tls(&self) -> Tls {
        encrypted(&self.certificate, &self.key)
    }
}

/// With what a server encrypts that has a certificate and its key.
fn encrypted(certificate: &Path, key: &Path) -> Tls {
    Tls::new(Certificate::files(certificate, key).expect("they fit")).expect("a certificate")
}

/// A URL of a server's, with `ada`'s password and a `sslrootcert`.
fn verified(ground: &Ground, host: &str, root: &Path) -> String {
    let port = ground.address.port();
    format!("postgres://ada:secret@{host}:{port}?sslmode=verify-full&sslrootcert={}", root.display())
}

/// A server that asks for passwords, with the user `ada`.
async fn guarded(tls: Option<Tls>) -> Ground {
    let ground = Ground::with(Authentication::Scram, tls).await;
    lines(&ground.database.session(), "CREATE USER ada PASSWORD 'secret'").await;
    ground
}

fn says(error: &Error, state: SqlState, words: &[&str]) {
    let spelled = spelled(error);
    assert!(error.state == state && words.iter().all(|word| spelled.contains(word)), "{spelled}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_opens_and_another_does_not() {
    let ground = guarded(Some(Tls::self_signed().expect("a certificate"))).await;
    for mode in ["disable", "prefer", "require"] {
        let url = |login: &str| format!("postgres://{login}@{}?sslmode={mode}", ground.address);
        let mut stage = Stage::new(dial(&url("ada:secret")).await.expect("the password is right"));
        assert_eq!(stage.print("\\format csv\nSELECT current_user AS who;").await, "who\nada\n");
        assert_eq!(stage.connection.is_encrypted(), mode != "disable");
        assert!(stage.connection.server_version().contains("Evenkeel"));
        for login in ["ada:wrong", "nobody:secret"] {
            let error = refused(&url(login)).await;
            says(&error, SqlState::InvalidPassword, &["password authentication failed", "came from the URL"]);
        }
        says(&refused(&url("ada")).await, SqlState::InvalidPassword, &["asks for a password", "PGPASSWORD"]);
    }
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_right_server_is_believed() {
    let (certificates, others) = (Certificates::new(), Certificates::new());
    let ground = guarded(Some(certificates.tls())).await;
    let mut stage = Stage::new(dial(&verified(&ground, "localhost", &certificates.root)).await.expect("believed"));
    assert_eq!(stage.print("\\format csv\nSELECT 1 AS one;").await, "one\n1\n");
    let error = refused(&verified(&ground, "127.0.0.1", &certificates.root)).await;
    says(&error, SqlState::CannotConnect, &["is not for 127.0.0.1", "connect by a name"]);
    let error = refused(&verified(&ground, "localhost", &others.root)).await;
    says(&error, SqlState::CannotConnect, &["nobody who is trusted vouches", "sslrootcert"]);
    let missing = certificates.root.with_file_name("none.pem");
    says(&refused(&verified(&ground, "localhost", &missing)).await, SqlState::UndefinedFile, &["none.pem"]);
    let error = refused(&verified(&ground, "localhost", &certificates.key)).await;
    says(&error, SqlState::InvalidParameterValue, &["holds no certificate"]);
    drop(stage);
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_may_vouch_for_itself() {
    let ground = guarded(None).await;
    let error = refused(&format!("postgres://ada:secret@{}?sslmode=require", ground.address)).await;
    says(&error, SqlState::CannotConnect, &["does not encrypt", "--tls-self-signed", "sslmode=prefer"]);
    let connection = dial(&format!("postgres://ada:secret@{}?sslmode=prefer", ground.address)).await;
    assert!(!connection.expect("let in").is_encrypted());
    ground.end().await;
    let folder = tempfile::tempdir().expect("a temporary directory");
    let (certificate, key) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_string()]).expect("a certificate");
    std::fs::write(&certificate, made.cert.pem()).expect("written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    let ground = guarded(Some(encrypted(&certificate, &key))).await;
    assert!(dial(&verified(&ground, "127.0.0.1", &certificate)).await.expect("believed").is_encrypted());
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_there_or_speaks_something_else_is_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let server = tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.expect("a client");
            let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    for mode in ["disable", "prefer"] {
        let error = refused(&format!("postgres://ada@{address}?sslmode={mode}")).await;
        says(&error, SqlState::CannotConnect, &["does not speak PostgreSQL's protocol", "evenkeel serve"]);
    }
    server.abort();
    assert!(server.await.is_err_and(|error| error.is_cancelled()));
    let error = refused(&format!("postgres://ada@{address}")).await;
    says(&error, SqlState::CannotConnect, &["cannot connect to 127.0.0.1:", "is a server there?"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_goes_at_once_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let going = async {
        let (socket, _) = listener.accept().await.expect("a client");
        drop(socket);
    };
    let url = format!("postgres://ada@{address}?sslmode=disable");
    let (error, ()) = tokio::time::timeout(SOON, async { tokio::join!(refused(&url), going) }).await.expect("an end");
    assert_eq!(error.state, SqlState::CannotConnect, "{error:?}");
}
