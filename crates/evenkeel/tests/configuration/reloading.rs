//! SIGHUP.

use crate::ground::{Place, SOON, Server, of};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

fn file(listen: &str, level: &str, settings: &str) -> String {
    format!(
        "data = \"db\"\nauth = \"trust\"\nlog_format = \"json\"\nlisten = \"{listen}\"\nlog_level = \"{level}\"\n[settings]\n{settings}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_reads_its_file_again() {
    let place = Place::new();
    place.write("evenkeel.toml", &file("127.0.0.1:0", "info", "split_fanout = 3\nload_history = 5"));
    let mut server = place.serve(&[], &[]);
    assert_eq!(server.setting("split_fanout").await, of("3", "file"));

    place.write("evenkeel.toml", &file("127.0.0.1:1", "info,evenkeel_wire=debug", "split_fanout = 4"));
    server.signal("HUP");
    let restart = server.until_event("needs a restart");
    assert_eq!((&restart["key"], &restart["level"]), (&"listen".into(), &"WARN".into()));
    let reloaded = server.until_event("configuration reloaded");
    // The level of the log and two settings.
    assert_eq!((&reloaded["changes"], &reloaded["file"]), (&3.into(), &"evenkeel.toml".into()));
    assert_eq!(server.setting("split_fanout").await, of("4", "file"));
    assert_eq!(server.setting("load_history").await, of("10", "default"));
    // Nobody was told of connections before.
    assert!(!server.logged.iter().any(|line| line.contains("\"connected\"")), "{:#?}", server.logged);
    server.until_event("connected");

    // What ALTER SYSTEM has set stays.
    let client = server.client("anybody", None).await.expect("a connection");
    client.simple_query("ALTER SYSTEM SET split_fanout = 8").await.expect("it is set");
    place.write("evenkeel.toml", &file("127.0.0.1:0", "info", "split_fanout = 5"));
    server.signal("HUP");
    server.until_event("configuration reloaded");
    assert_eq!(server.setting("split_fanout").await, of("8", "ALTER SYSTEM"));
    client.simple_query("ALTER SYSTEM RESET split_fanout").await.expect("it is reset");
    assert_eq!(server.setting("split_fanout").await, of("5", "file"));
    drop(client);
    assert!(server.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_a_mistake_changes_nothing() {
    let place = Place::new();
    place.write("evenkeel.toml", &file("127.0.0.1:0", "info", "split_fanout = 3"));
    let mut server = place.serve(&[], &[]);
    let mistakes: [(&str, &str); 4] = [
        ("split_fanout = 4\nload_histry = 5", "did you mean load_history?"),
        ("split_fanout = 4\nload_history = 0", "load_history"),
        ("split_fanout = 4\n\"", ""),
        ("split_fanout = 4\n[more]", ""),
    ];
    for (settings, hint) in mistakes {
        place.write("evenkeel.toml", &file("127.0.0.1:0", "debug", settings));
        server.signal("HUP");
        let refused = server.until_event("configuration refused");
        assert!(refused["error"].as_str().is_some_and(|error| error.starts_with("evenkeel.toml:8:")), "{refused}");
        assert!(hint.is_empty() || refused["hint"].as_str().is_some_and(|told| told.contains(hint)), "{refused}");
        server.until_event("configuration left as it was");
        assert_eq!(server.setting("split_fanout").await, of("3", "file"));
    }
    std::fs::remove_file(place.path("evenkeel.toml")).unwrap();
    server.signal("HUP");
    server.until_event("configuration left as it was");
    assert_eq!(server.setting("split_fanout").await, of("3", "file"));
    assert!(!server.logged.iter().any(|line| line.contains("DEBUG")), "{:#?}", server.logged);
    assert!(server.stop().success());
}

/// Writes a certificate that vouches for itself, and its key.
fn certify(directory: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_string()]).expect("a certificate");
    std::fs::write(directory.join("server.crt"), made.cert.pem()).expect("a file");
    std::fs::write(directory.join("server.key"), made.signing_key.serialize_pem()).expect("a file");
    made.cert.der().clone()
}

/// Whether a server shows this certificate.
async fn shows(address: SocketAddr, certificate: &CertificateDer<'static>) -> bool {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).expect("a root");
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let connector = TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth()));
    let socket = TcpStream::connect(address).await.expect("a connection");
    let name = ServerName::try_from("localhost").expect("a name");
    tokio::time::timeout(SOON, connector.connect(name, socket)).await.expect("an answer").is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_read_again() {
    let place = Place::new();
    let directory = place.path("tls");
    std::fs::create_dir(&directory).unwrap();
    let first = certify(&directory);
    let tls = "tls_cert = \"tls/server.crt\"\ntls_key = \"tls/server.key\"\nhttp = \"127.0.0.1:0\"\n";
    place.write("evenkeel.toml", &format!("{tls}{}", file("127.0.0.1:0", "info", "")));
    let mut server: Server = place.serve(&[], &[]).with_http();
    let address = server.http.expect("an address");
    assert!(shows(address, &first).await);

    let second = certify(&directory);
    assert!(shows(address, &first).await, "it is not read before it is asked for");
    server.signal("HUP");
    server.until_event("configuration reloaded");
    assert!(shows(address, &second).await);
    assert!(!shows(address, &first).await);

    // A key that is not the certificate's: what was shown is shown on, and nothing else changes either.
    certify(&directory);
    std::fs::write(directory.join("server.key"), "no key").unwrap();
    place.write("evenkeel.toml", &format!("{tls}{}", file("127.0.0.1:0", "info", "split_fanout = 9")));
    server.signal("HUP");
    server.until_event("configuration left as it was");
    assert!(shows(address, &second).await);
    assert_eq!(server.setting("split_fanout").await, of("2", "default"));
    assert!(server.stop().success());
}
