//! Encryption: a certificate from files, or one made for trying things out. It can be replaced while the server runs.

use crate::stream::Socket;
use evenkeel_model::{Error, Result, SqlState};
use parking_lot::RwLock;
use std::io;
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::server::TlsStream;

/// With what connections are encrypted. Copies share the certificate.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    current: Arc<Current>,
}

/// A certificate (with those it rests on) and its key.
#[derive(Clone)]
pub struct Certificate(Arc<CertifiedKey>);

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Certificate")
    }
}

/// What is shown to whoever connects now.
struct Current(RwLock<Arc<CertifiedKey>>);

impl std::fmt::Debug for Current {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Current")
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read()))
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Certificate {
    /// A certificate (with those it rests on) and its key, as PEM files.
    ///
    /// # Errors
    /// 58P01 or 58030 for files that can't be read; 22023 for what is in them.
    pub fn files(certificate: &Path, key: &Path) -> Result<Self> {
        let read = |path: &Path| {
            std::fs::read(path).map_err(|error| {
                let state = match error.kind() {
                    io::ErrorKind::NotFound => SqlState::UndefinedFile,
                    _ => SqlState::IoError,
                };
                Error::new(state, format!("cannot read \"{}\": {error}", path.display()))
            })
        };
        let bad = |path: &Path, what: &str| {
            Error::new(SqlState::InvalidParameterValue, format!("\"{}\" holds no {what} in PEM", path.display()))
        };
        let chain = CertificateDer::pem_slice_iter(&read(certificate)?).collect::<std::result::Result<Vec<_>, _>>();
        let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or_else(|| bad(certificate, "certificate"))?;
        let secret = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|_| bad(key, "private key"))?;
        Self::checked(chain, secret)
    }

    /// That the key is the certificate's is checked here.
    fn checked(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Self> {
        CertifiedKey::from_der(chain, key, &default_provider()).map(|pair| Self(Arc::new(pair))).map_err(unfit)
    }
}

fn unfit(error: tokio_rustls::rustls::Error) -> Error {
    Error::new(SqlState::InvalidParameterValue, format!("the certificate can't be used: {error}"))
}

impl Tls {
    /// Encrypts with a certificate.
    ///
    /// # Errors
    /// 22023 when that can't be.
    pub fn new(certificate: Certificate) -> Result<Self> {
        let current = Arc::new(Current(RwLock::new(certificate.0)));
        let resolver: Arc<dyn ResolvesServerCert> = Arc::clone(&current) as _;
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(unfit)?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), current })
    }

    /// A certificate that nobody vouches for, made now: for trying things out.
    ///
    /// # Errors
    /// XX000 when none can be made.
    pub fn self_signed() -> Result<Self> {
        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_string);
        let made = rcgen::generate_simple_self_signed(names).map_err(|error| Error::internal(error.to_string()))?;
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        Self::new(Certificate::checked(vec![made.cert.der().clone()], key.into())?)
    }

    /// Whoever connects from now on is shown this certificate; who is connected stays so.
    pub fn replace(&self, certificate: Certificate) {
        *self.current.0.write() = certificate.0;
    }

    /// For another server that encrypts with the same certificate.
    pub fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.clone()
    }

    pub(crate) async fn accept(&self, socket: Box<dyn Socket>) -> io::Result<TlsStream<Box<dyn Socket>>> {
        self.acceptor.accept(socket).await
    }
}
